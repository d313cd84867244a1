//! How a tenant stands with each model, whether it answers, and what figures say of providers.

use std::fs;

use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Rig, chat_body, secret_of};

const AT: &str = "/admin/v1/tenants/acme/environments/live/models";

#[tokio::test]
async fn each_model_is_tried_the_way_that_calls_take() {
    let rig = Rig::start().await;
    let listed = rig.admin(Method::GET, AT, Value::Null).await.good().json();
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["plain", "cached", "claude"]);
    let target = |at: usize| &listed["items"][at]["targets"][0];
    assert_eq!((&target(0)["credential"], &target(2)["credential"]), (&json!(true), &json!(false)));

    let test = format!("{AT}/test");
    let before = rig.upstream.seen().len();
    let tried = rig.admin(Method::POST, &test, json!({})).await.good().json();
    let items = tried["items"].as_array().unwrap();
    let told: Vec<_> =
        items.iter().map(|item| (&item["route"], &item["ok"], &item["code"])).collect();
    let no = json!("model.no_credential");
    assert_eq!(
        json!(told),
        json!([["plain", true, null], ["cached", true, null], ["claude", false, no]])
    );
    assert_eq!((&items[0]["status"], &items[2]["status"]), (&json!(200), &json!(403)));
    assert_eq!(
        (&items[0]["provider"], &items[0]["isolation"]),
        (&json!("standin"), &json!("account"))
    );
    assert!(items[0]["latency_ms"].is_u64(), "{tried}");
    // The cache would have answered for the provider; and the tenant's own credential was used.
    rig.admin(Method::POST, &test, json!({"route": "cached"})).await.good();
    let seen = rig.upstream.seen();
    assert_eq!(seen.len() - before, 3);
    assert!(seen[before..].iter().all(|seen| seen.secret == secret_of("acme", "live")));
    assert_eq!(seen[before].body["max_tokens"], 1);
    // It is in the tenant's log, and its events are the tenant's.
    let log = json!(rig.audit("acme", "live").await).to_string();
    assert_eq!(log.matches("\"model.test\"").count(), 2, "{log}");
    let events = "/admin/v1/tenants/acme/environments/live/events?limit=1000";
    loop {
        let listed = rig.admin(Method::GET, events, Value::Null).await.good().text();
        if listed.matches("bulkhead-test").count() >= 4 {
            break;
        }
    }

    rig.admin(Method::POST, &test, json!({"route": "nobody"})).await.refused(404, "model.unknown");
    let bad = rig.admin(Method::POST, &test, json!({"prompt": "x"})).await;
    bad.refused(400, "request.malformed");
    rig.upstream.mark(&secret_of("acme", "live"), "acme/live");
    rig.set_credential("acme", "live", "sk-nobody-0123456789abcdef").await.good();
    let refused = rig.admin(Method::POST, &test, json!({"route": "plain"})).await.good();
    assert_eq!(refused.json()["items"][0]["code"], "upstream.credential");
    assert!(!refused.text().contains("sk-"), "{}", refused.text());
}

/// A policy names a route, and an alias is no way around it.
#[tokio::test]
async fn an_alias_is_the_route() {
    const POLICY: &str = r#"
        permit (principal, action, resource);
        forbid (principal, action in Bulkhead::Action::"model", resource)
        when { resource.name == "plain" };"#;
    let rig = Rig::with(|settings| {
        let path = settings.storage.keys.with_file_name("policies.cedar");
        fs::write(&path, POLICY).unwrap();
        settings.policy.file = Some(path);
        settings.model.routes[0].aliases = vec!["other-name".parse().unwrap()];
    })
    .await;
    let token = rig.token("acme", "live", ALL).await;
    for name in ["plain", "other-name"] {
        let body = chat_body(name, "hello", false);
        rig.chat_with(&token, &[], body).await.refused(403, "policy.denied");
        rig.get(&token, &format!("/v1/models/{name}")).await.refused(403, "policy.denied");
    }
    rig.chat(&token, "cached", "hello").await.good();
}

#[tokio::test]
async fn figures_say_what_is_shared_and_what_was_used() {
    let rig = Rig::start().await;
    let metrics = async || rig.admin(Method::GET, "/metrics", Value::Null).await.good().text();
    let shared = |provider: &str, is: u8| {
        format!("bulkhead_model_shared_prompt_cache{{provider=\"{provider}\"}} {is}\n")
    };
    let before = metrics().await;
    assert!(before.contains(&shared("standin", 0)) && before.contains(&shared("claude", 0)));
    let status =
        async || rig.admin(Method::GET, "/admin/v1/status", Value::Null).await.good().json();
    assert_eq!(status().await["shared_credentials"], json!([]));
    rig.share("sk-everybodys-0123456789abcdef").await;
    let after = metrics().await;
    assert!(
        after.contains(&shared("standin", 1)) && after.contains(&shared("claude", 1)),
        "{after}"
    );
    assert_eq!(status().await["shared_credentials"].as_array().unwrap().len(), 2);

    let token = rig.token("acme", "live", ALL).await;
    for _ in 0..3 {
        rig.chat(&token, "plain", "hello").await.good();
    }
    let tokens = |tenant: &str, direction: &str, count: u32| {
        format!("bulkhead_tokens_total{{tenant=\"{tenant}\",direction=\"{direction}\"}} {count}\n")
    };
    let used = metrics().await;
    assert!(
        used.contains(&tokens("acme", "in", 15)) && used.contains(&tokens("acme", "out", 21)),
        "{used}"
    );
    // A service sees no tenants.
    let bearer = format!("Bearer {}", rig.service);
    let headers = [("authorization", bearer.as_str())];
    let plane = bulkhead_server::routes::Plane::Control;
    let summed = rig.send(plane, Method::GET, "/metrics", &headers, "").await.good().text();
    assert!(summed.contains("bulkhead_tokens_total{direction=\"in\"} 15\n"), "{summed}");
    assert!(!summed.contains("acme"), "{summed}");
}
