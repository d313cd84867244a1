//! `/v1/messages` as Anthropic's SDKs expect it: answers, streams, and errors in its own form.

use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Reply, Rig, secret_of};

const PATH: &str = "/v1/messages";

async fn rig() -> (Rig, String) {
    let rig = Rig::with(|settings| settings.limits.body_bytes = 2_000).await;
    let body = json!({"secret": secret_of("acme", "live")});
    rig.set_credential_of("claude", "acme", "live", body).await.good();
    let token = rig.token("acme", "live", ALL).await;
    (rig, token)
}

fn body(prompt: &str, stream: bool) -> String {
    json!({"model": "claude", "max_tokens": 9, "stream": stream,
        "messages": [{"role": "user", "content": prompt}]})
    .to_string()
}

/// Whether it is an error as Anthropic has them.
#[track_caller]
fn shaped(reply: &Reply, status: u16, kind: &str, code: &str) {
    let json = reply.json();
    let id = reply.header("request-id");
    assert_eq!((reply.status, json["error"]["type"].as_str()), (status, Some(kind)), "{json}");
    assert_eq!(json["error"]["code"], code, "{json}");
    assert_eq!(json["type"], "error");
    assert!(!json["error"]["message"].as_str().unwrap().is_empty());
    assert_eq!(json["request_id"], id, "{json}");
    assert_eq!(
        (id, reply.header("content-type")),
        (reply.header("x-request-id"), "application/json")
    );
}

#[tokio::test]
async fn answers_streams_and_counts() {
    let (rig, token) = rig().await;
    let headers = [("x-api-key", token.as_str()), ("anthropic-version", "2023-06-01")];
    let plane = bulkhead_server::routes::Plane::Data;
    let whole = rig.send(plane, Method::POST, PATH, &headers, body("hello", false)).await.good();
    assert_eq!(whole.json()["content"][0]["text"], "acme/live #0 heard: hello");
    assert!(whole.header("request-id").starts_with("req_"));
    let seen = rig.upstream.seen().pop().unwrap();
    assert_eq!((seen.path.as_str(), seen.body["model"].as_str()), (PATH, Some("c")));
    assert_eq!(seen.headers["x-api-key"].to_str().unwrap(), secret_of("acme", "live"));
    assert!(!seen.headers.contains_key("authorization"));
    let marked = seen.body["metadata"]["user_id"].as_str().unwrap();
    assert!(marked.starts_with("bk_"), "{}", seen.body);
    let streamed = rig.call(&token, Method::POST, PATH, &[], body("hello", true)).await.good();
    assert!(
        streamed.text().ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    );
    let count = format!("{PATH}/count_tokens");
    let asked = json!({"model": "claude", "messages": [{"role": "user", "content": "hello"}]});
    let counted = rig.call(&token, Method::POST, &count, &[], asked.to_string()).await.good();
    assert_eq!(counted.json(), json!({"input_tokens": 5}));
}

#[tokio::test]
async fn errors_have_its_form() {
    let (rig, token) = rig().await;
    let post =
        async |token: &str, body: String| rig.call(token, Method::POST, PATH, &[], body).await;
    let good = body("hello", false);
    let missing =
        rig.send(bulkhead_server::routes::Plane::Data, Method::POST, PATH, &[], good.clone()).await;
    shaped(&missing, 401, "authentication_error", "scope.missing");
    assert!(!missing.header("www-authenticate").is_empty());
    let narrow = rig.token("acme", "live", "model:chat").await;
    shaped(&post(&narrow, good.clone()).await, 403, "permission_error", "scope.grant");
    let poor = rig.token("globex", "live", ALL).await;
    shaped(&post(&poor, good.clone()).await, 403, "permission_error", "model.no_credential");
    let unknown = good.replace("claude", "nobody");
    shaped(&post(&token, unknown).await, 404, "not_found_error", "model.unknown");
    // Served, and not at this endpoint.
    let elsewhere = good.replace("claude", "plain");
    shaped(&post(&token, elsewhere).await, 404, "not_found_error", "model.unknown");
    shaped(&post(&token, "{".into()).await, 400, "invalid_request_error", "request.malformed");
    let large = post(&token, body(&"x".repeat(3_000), false)).await;
    shaped(&large, 413, "request_too_large", "request.too_large");
    let named = good.replacen('{', "{\"tenant\":\"globex\",", 1);
    shaped(&post(&token, named).await, 403, "permission_error", "scope.mismatch");
    let wrong = rig.call(&token, Method::GET, PATH, &[], "").await;
    shaped(&wrong, 405, "invalid_request_error", "request.method");
    let astray = rig.call(&token, Method::GET, "/v1/messages/batches", &[], "").await;
    shaped(&astray, 404, "not_found_error", "not_found");

    // The provider's own error keeps its form, and loses what it quotes.
    for stream in [false, true] {
        let failed = post(&token, body("[fail]", stream)).await;
        let json: Value = failed.json();
        assert_eq!((failed.status, json["type"].as_str()), (500, Some("error")), "{json}");
        assert!(!failed.text().contains("sk-"), "{json}");
    }
}
