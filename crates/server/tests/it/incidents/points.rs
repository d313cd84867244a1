//! The same leaks, where collections could have them.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::it::rig::{ALL, ENVIRONMENTS, Reply, Rig, TENANTS};

/// An answer without how long it took and without the name that was asked for.
fn told(reply: &Reply, name: &str) -> (u16, String) {
    let mut json: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if let Some(answer) = json.as_object_mut() {
        answer.remove("time");
    }
    (reply.status, json.to_string().replace(name, "it"))
}

/// Langflow, CVE-2026-55255; Flowise, GHSA-c2c9-mfw7-p8hw: who knows the id of an object has it.
#[tokio::test]
async fn object_id() {
    let rig = Rig::start().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    let staging = rig.token("acme", "staging", ALL).await;
    let theirs = "11111111-2222-3333-4444-555555555555";
    for name in ["shared", "only-a"] {
        rig.collection(&a, name).await;
        for id in [json!(1), json!(2), json!(3), json!(theirs)] {
            rig.point(&a, name, id, json!({"topic": "A's secret"})).await.good();
        }
    }
    let scroll = json!({"limit": 2});
    let page = rig.ask(&a, "POST", "/qdrant/collections/shared/points/scroll", scroll).await;
    let offset = page.good().json()["result"]["next_page_offset"].clone();
    assert_eq!(offset, 3);
    let memory = rig.ask(&a, "POST", "/v1/memory/notes", json!({"text": "A's secret"})).await;
    let memory = memory.good().json()["id"].as_str().unwrap().to_owned();
    for other in [&b, &staging] {
        rig.collection(other, "shared").await;
        rig.point(other, "shared", json!(9), json!({"topic": "own"})).await.good();
        let own = json!({"text": "own"});
        rig.ask(other, "POST", "/v1/memory/notes", own).await.good();
        let never = json!("99999999-2222-3333-4444-555555555555");
        let by_id = |id: Value| {
            let near = |query: Value| json!({"query": query, "with_payload": true});
            let points = "/qdrant/collections/shared/points";
            let path = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            [
                ("GET", format!("{points}/{path}"), Value::Null),
                ("POST", points.to_owned(), json!({"ids": [id], "with_vector": true})),
                ("POST", format!("{points}/query"), near(json!({"nearest": id}))),
                ("POST", format!("{points}/query"), near(json!({"recommend": {"positive": [id]}}))),
                (
                    "POST",
                    format!("{points}/query"),
                    json!({"query": [1.0, 0.0], "with_payload": true,
                    "filter": {"must_not": [{"has_id": [id]}]}}),
                ),
                (
                    "POST",
                    format!("{points}/count"),
                    json!({"filter": {"must": [{"has_id": [id]}]}}),
                ),
                (
                    "POST",
                    format!("{points}/payload?wait=true"),
                    json!({"payload": {"x": 1}, "points": [id]}),
                ),
                ("POST", format!("{points}/delete?wait=true"), json!({"points": [id]})),
                (
                    "PUT",
                    format!("{points}/vectors?wait=true"),
                    json!({"points": [{"id": id, "vector": [5.0, 5.0]}]}),
                ),
            ]
        };
        // A's own ids are like ids that nobody has: whether numbers or not.
        for (id, unknown) in [(json!(1), json!(77)), (json!(theirs), never)] {
            for (known, none) in by_id(id.clone()).into_iter().zip(by_id(unknown.clone())) {
                let reply = rig.ask(other, known.0, &known.1, known.2).await;
                let expected = rig.ask(other, none.0, &none.1, none.2).await;
                // Each write counts, whatever it was about.
                let word = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
                let plain = |reply: &Reply, id: &Value| {
                    // Its own words again; a number stands in scores, too.
                    let quoted = format!("id {}", word(id));
                    let (status, text) = told(reply, &quoted);
                    let text = match text.find("operation_id") {
                        Some(at) => text[at..].trim_start_matches(|c: char| c != ',').to_owned(),
                        None => text,
                    };
                    (status, text)
                };
                assert_eq!(
                    plain(&reply, &id),
                    plain(&expected, &unknown),
                    "{} {}",
                    known.0,
                    known.1
                );
                assert!(!reply.text().contains("A's secret"), "{}", reply.text());
            }
        }
        // A's place in a page is a number like any other.
        let body = json!({"limit": 5, "offset": offset, "with_payload": true});
        let page = rig.ask(other, "POST", "/qdrant/collections/shared/points/scroll", body).await;
        let page = page.good().json();
        assert_eq!(page["result"]["points"].as_array().unwrap().len(), 1, "{page}");
        assert_eq!(page["result"]["points"][0]["id"], 9, "{page}");
        // The name of A's collection is a name that nobody has.
        for (method, rest, body) in [
            ("GET", "", Value::Null),
            ("GET", "/exists", Value::Null),
            ("PATCH", "", json!({"metadata": {"x": 1}})),
            ("DELETE", "", Value::Null),
            ("GET", "/points/1", Value::Null),
            ("POST", "/points", json!({"ids": [1]})),
            ("POST", "/points/query", json!({"query": [1.0, 0.0]})),
            ("POST", "/points/scroll", json!({})),
            ("POST", "/points/count", json!({})),
            ("POST", "/facet", json!({"key": "topic"})),
            ("PUT", "/points", json!({"points": [{"id": 1, "vector": [1.0, 1.0]}]})),
            ("POST", "/points/delete", json!({"points": [1]})),
            ("PUT", "/index", json!({"field_name": "topic", "field_schema": "keyword"})),
        ] {
            let at = |name: &str| format!("/qdrant/collections/{name}{rest}");
            let reply = rig.ask(other, method, &at("only-a"), body.clone()).await;
            let none = rig.ask(other, method, &at("nobodys"), body).await;
            assert_eq!(told(&reply, "only-a"), told(&none, "nobodys"), "{method} {rest}");
        }
        let path = format!("/v1/memory/notes/{memory}");
        rig.ask(other, "DELETE", &path, Value::Null).await.refused(404, "not_found");
    }
    // And nothing happened to A's.
    for name in ["shared", "only-a"] {
        let at = format!("/qdrant/collections/{name}/points");
        let all = rig.ask(&a, "POST", &format!("{at}/scroll"), json!({"with_vector": true})).await;
        let all = all.good().json()["result"]["points"].clone();
        assert_eq!(all.as_array().unwrap().len(), 4, "{all}");
        for point in all.as_array().unwrap() {
            assert_eq!(point["payload"], json!({"topic": "A's secret"}), "{point}");
            assert_eq!(point["vector"][""], json!([1.0, 0.5]), "{point}");
        }
    }
    let found = json!({"text": "secret"});
    let found = rig.ask(&a, "POST", "/v1/memory/notes/search", found).await.good().json();
    assert_eq!(found["results"][0]["text"], "A's secret", "{found}");
}

/// GitHub, 2021: a request object shared across threads. Everybody asks at once, in collections of
/// one name, and each answer carries what its own caller put there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_env() {
    let rig = Rig::start().await;
    let mut units = Vec::new();
    for tenant in TENANTS {
        for environment in ENVIRONMENTS {
            let token = rig.token(tenant, environment, ALL).await;
            rig.collection(&token, "shared").await;
            units.push((format!("{tenant}/{environment}"), token));
        }
    }
    let (rig, units) = (&rig, &units);
    let asked = (0..240).map(|n| {
        let (unit, token) = &units[n % units.len()];
        async move {
            let nonce = format!("nonce {n} of {unit}");
            let id = json!(n / units.len());
            let payload = json!({"topic": nonce, "text": nonce});
            rig.point(token, "shared", id.clone(), payload).await.good();
            let at = "/qdrant/collections/shared/points";
            let own = json!({"must": [{"key": "topic", "match": {"value": nonce}}]});
            let (path, body) = match n % 3 {
                0 => (
                    format!("{at}/query"),
                    json!({"query": [1.0, 0.5], "filter": own,
                    "with_payload": true, "with_vector": true}),
                ),
                1 => (format!("{at}/scroll"), json!({"filter": own, "with_payload": true})),
                _ => (at.to_owned(), json!({"ids": [id], "with_payload": true})),
            };
            let text = rig.ask(token, "POST", &path, body).await.good().text();
            assert!(text.contains(&nonce), "{nonce}: {text}");
            // Without a filter: whatever is there, it is the unit's own.
            let all = json!({"query": [1.0, 0.5], "limit": 100, "with_payload": true});
            let all = rig.ask(token, "POST", &format!("{at}/query"), all).await.good().text();
            assert!(all.contains(&nonce), "{nonce}: {all}");
            for (other, _) in units.iter().filter(|(other, _)| other != unit) {
                assert!(!text.contains(other.as_str()), "{nonce}: {text}");
                assert!(!all.contains(other.as_str()), "{nonce}: {all}");
            }
        }
    });
    join_all(asked).await;
}
