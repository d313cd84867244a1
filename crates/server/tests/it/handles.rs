//! What is kept at a provider, on one account that everybody shares: each handle of A's, tried by
//! everybody else, in every place where it can stand.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::{
    rig::{ALL, Headers, Reply, Rig, units},
    upstream::{FORM, form},
};

const JSON: Headers<'static> = &[("content-type", "application/json")];

/// What A made.
struct Made {
    response: String,
    conversation: String,
    item: String,
    file: String,
    lines: String,
    batch: String,
    output: String,
}

async fn post(rig: &Rig, token: &str, path: &str, body: &Value) -> Reply {
    rig.call(token, Method::POST, path, JSON, body.to_string()).await
}

fn id(reply: Reply) -> String {
    reply.good().json()["id"].as_str().unwrap().to_owned()
}

async fn make(rig: &Rig, token: &str) -> Made {
    let said = json!({"type": "message", "role": "user", "content": "canary"});
    let conversation = post(rig, token, "/v1/conversations", &json!({"items": [said]})).await;
    let conversation = id(conversation);
    let items = rig.get(token, &format!("/v1/conversations/{conversation}/items")).await.good();
    let asked = json!({"model": "plain", "input": "canary", "stream": true});
    let streamed = post(rig, token, "/v1/responses", &asked).await.good().text();
    let at = streamed.find("\"resp_").unwrap() + 1;
    let upload = async |purpose: &str, content: &str| {
        id(rig.call(token, Method::POST, "/v1/files", &[FORM], form(purpose, content)).await)
    };
    let line = json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "plain", "messages": [{"role": "user", "content": "canary"}]}});
    let lines = upload("batch", &line.to_string()).await;
    let batch = json!({"input_file_id": lines, "endpoint": "/v1/chat/completions",
        "completion_window": "24h"});
    let batch = post(rig, token, "/v1/batches", &batch).await.good().json();
    Made {
        response: streamed[at..].split('"').next().unwrap().to_owned(),
        item: items.json()["data"][0]["id"].as_str().unwrap().to_owned(),
        conversation,
        file: upload("assistants", "canary").await,
        lines,
        batch: batch["id"].as_str().unwrap().to_owned(),
        output: batch["output_file_id"].as_str().unwrap().to_owned(),
    }
}

/// Every place where a handle can stand, as requests that name it: method, path, body.
fn places(made: &Made) -> Vec<(Method, String, Value)> {
    let Made { response, conversation, item, file, lines, batch, output } = made;
    let get = |path: String| (Method::GET, path, Value::Null);
    let mut all = vec![
        get(format!("/v1/responses/{response}")),
        get(format!("/v1/responses/{response}/input_items")),
        (Method::POST, format!("/v1/responses/{response}/cancel"), Value::Null),
        (Method::DELETE, format!("/v1/responses/{response}"), Value::Null),
        get(format!("/v1/conversations/{conversation}")),
        get(format!("/v1/conversations/{conversation}/items")),
        get(format!("/v1/conversations/{conversation}/items/{item}")),
        (Method::POST, format!("/v1/conversations/{conversation}"), json!({"metadata": {}})),
        (
            Method::POST,
            format!("/v1/conversations/{conversation}/items"),
            json!({"items": [{"type": "message", "role": "user", "content": "mine"}]}),
        ),
        (Method::DELETE, format!("/v1/conversations/{conversation}/items/{item}"), Value::Null),
        (Method::DELETE, format!("/v1/conversations/{conversation}"), Value::Null),
        get(format!("/v1/files/{file}")),
        get(format!("/v1/files/{file}/content")),
        get(format!("/v1/files/{output}/content")),
        (Method::DELETE, format!("/v1/files/{file}"), Value::Null),
        get(format!("/v1/batches/{batch}")),
        (Method::POST, format!("/v1/batches/{batch}/cancel"), Value::Null),
        (
            Method::POST,
            "/v1/batches".into(),
            json!({"input_file_id": lines, "endpoint": "/v1/chat/completions",
                "completion_window": "24h"}),
        ),
    ];
    let respond = |field: &str, value: Value, stream: bool| {
        let mut body = json!({"model": "plain", "input": "and?", "stream": stream});
        body[field] = value;
        (Method::POST, "/v1/responses".to_owned(), body)
    };
    let part =
        |kind: &str, name: &str| json!([{"role": "user", "content": [{"type": kind, name: file}]}]);
    for stream in [false, true] {
        all.extend([
            respond("previous_response_id", json!(response), stream),
            respond("conversation", json!(conversation), stream),
            respond("conversation", json!({"id": conversation}), stream),
            respond("input", json!([{"type": "item_reference", "id": item}]), stream),
            respond("input", part("input_file", "file_id"), stream),
            respond("input", part("input_image", "file_id"), stream),
            (
                Method::POST,
                "/v1/chat/completions".into(),
                json!({"model": "plain", "stream": stream, "messages": [{"role": "user",
                    "content": [{"type": "file", "file": {"file_id": file}}]}]}),
            ),
        ]);
    }
    all
}

#[tokio::test]
async fn of_another_tenant_and_of_nobody_are_refused_alike() {
    let rig = Rig::start().await;
    rig.share("sk-everybodys-0123456789abcdef").await;
    let a = rig.token("acme", "live", ALL).await;
    let made = make(&rig, &a).await;
    let nobodys = Made {
        response: "resp_none".into(),
        conversation: "conv_none".into(),
        item: "item_none".into(),
        file: "file-none".into(),
        lines: "file-none2".into(),
        batch: "batch_none".into(),
        output: "file-none3".into(),
    };
    let before = rig.upstream.seen().len();
    for (tenant, environment) in units().filter(|unit| *unit != ("acme", "live")) {
        let other = rig.token(tenant, environment, ALL).await;
        for ((method, path, body), (_, none, naming)) in places(&made).iter().zip(places(&nobodys))
        {
            let sent = |body: &Value| if body.is_null() { String::new() } else { body.to_string() };
            let what = format!("{tenant}/{environment}: {method} {path} {body}");
            let tried = rig.call(&other, method.clone(), path, JSON, sent(body)).await;
            let never = rig.call(&other, method.clone(), &none, JSON, sent(&naming)).await;
            assert_eq!(
                (tried.status, tried.code().as_str()),
                (404, "model.handle"),
                "{what}: {}",
                tried.text()
            );
            assert_eq!((tried.status, &tried.body), (never.status, &never.body), "{what}");
            assert!(!tried.text().contains("canary"), "{what}: {}", tried.text());
        }
        for path in ["/v1/files", "/v1/batches"] {
            let listed = rig.get(&other, path).await.good().json();
            assert_eq!(listed["data"], json!([]), "{path}");
        }
    }
    assert_eq!(rig.upstream.seen().len(), before, "none of it was even asked of the provider");
    let metrics = rig.admin(Method::GET, "/metrics", Value::Null).await.good().text();
    let refused = places(&made).len() * 3 * 2;
    assert!(metrics.contains(&format!("bulkhead_handles_refused_total {refused}\n")), "{metrics}");

    // To A all of it is there. Not what it deletes.
    for (method, path, body) in places(&made) {
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let removes = method == Method::DELETE;
        if !removes {
            let reply = rig.call(&a, method, &path, JSON, sent).await;
            assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text());
            assert_eq!(reply.header("x-bulkhead-cache"), "bypass", "{path} {body}");
        }
    }
    let path = format!("/v1/files/{}", made.file);
    let content = rig.get(&a, &format!("{path}/content")).await.good();
    assert_eq!(
        (content.text().as_str(), content.header("content-disposition")),
        ("canary", "attachment")
    );
    let listed = rig.get(&a, "/v1/files").await.good();
    assert!(listed.text().contains(&made.file) && listed.text().contains(&made.output));
    rig.call(&a, Method::DELETE, &path, &[], "").await.good();
    rig.get(&a, &path).await.refused(404, "model.handle");
}

/// What outlives the process, and what does not outlive its tenant.
#[tokio::test]
async fn owners_are_remembered() {
    let mut rig = Rig::start().await;
    rig.share("sk-everybodys-0123456789abcdef").await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    let made = make(&rig, &a).await;
    rig.stop().await;
    rig.serve_again().await;
    let path = format!("/v1/responses/{}", made.response);
    rig.get(&a, &path).await.good();
    rig.get(&b, &path).await.refused(404, "model.handle");
    rig.admin(Method::DELETE, "/admin/v1/tenants/acme", Value::Null).await.good();
    rig.get(&b, &path).await.refused(404, "model.handle");
}

/// One tenant's environment has one salt, nobody else has it, and no caller sets it.
#[tokio::test]
async fn salts() {
    let rig = Rig::with(|settings| {
        settings.model.providers[0].kind = model::Kind::Vllm;
    })
    .await;
    rig.share("sk-everybodys-0123456789abcdef").await;
    let mut salts = BTreeSet::new();
    for (tenant, environment) in units() {
        let token = rig.token(tenant, environment, ALL).await;
        let mut own = BTreeSet::new();
        for (field, value) in [("temperature", "0"), ("cache_salt", "\"mine\""), ("user", "\"me\"")]
        {
            let body = format!(
                "{{\"model\":\"plain\",\"{field}\":{value},\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}"
            );
            let headers = [("x-tenant-salt", "mine"), ("content-type", "application/json")];
            rig.call(&token, Method::POST, "/v1/chat/completions", &headers, body).await.good();
            let sent = rig.upstream.seen().pop().unwrap().body;
            own.insert(sent["cache_salt"].as_str().unwrap().to_owned());
            assert!(!sent.to_string().contains("mine"), "{sent}");
        }
        assert_eq!(own.len(), 1, "{own:?}");
        salts.extend(own);
    }
    assert_eq!(salts.len(), 4, "{salts:?}");
}
