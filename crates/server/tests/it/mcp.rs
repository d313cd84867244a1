//! `/mcp`, as raw JSON-RPC over HTTP, in both versions.

use std::time::Duration;

use bulkhead_server::routes::Plane;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::rig::{ALL, Rig, Streaming, account_of, failure};

const LEGACY: (&str, &str) = ("mcp-protocol-version", "2025-11-25");
const MODERN: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

fn message(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// The same in the version in which every request says everything.
fn modern(method: &str, mut params: Value) -> Value {
    let meta = params["_meta"].as_object().cloned().unwrap_or_default();
    params["_meta"] = Value::Object(meta);
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "t", "version": "1"});
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    message(method, params)
}

/// Acme and globex, each with an account and notes in the CRM.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    for tenant in ["acme", "globex"] {
        rig.tooled(tenant).await;
        for environment in ["live", "staging"] {
            let text = format!("canary of {tenant}/{environment}");
            let id = format!("{tenant}-{environment}");
            rig.crm.keep(&id, &account_of(tenant), environment, &text);
        }
    }
    rig
}

fn names(reply: &Value) -> Vec<&str> {
    let tools = reply["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn both_versions_list_and_call() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let start = message(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"}}),
    );
    let reply = rig.mcp_with(&token, &[], start.to_string()).await.good();
    assert!(reply.header("mcp-session-id").is_empty(), "nothing to hijack");
    let began = reply.json();
    assert_eq!(began["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(began["result"]["serverInfo"]["name"], "bulkhead");
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(rig.mcp(&token, ready).await.status, 202);
    let discover = modern("server/discover", json!({})).to_string();
    let headers = [MODERN, ("mcp-method", "server/discover")];
    let found = rig.mcp_with(&token, &headers, discover).await.good().json();
    assert!(found["result"]["supportedVersions"].to_string().contains("2026-07-28"), "{found}");

    let headers = [MODERN, ("mcp-method", "tools/list")];
    let list = rig.mcp_with(&token, &headers, modern("tools/list", json!({})).to_string()).await;
    let listed = list.good().json();
    assert_eq!(listed["result"]["cacheScope"], "private");
    assert_eq!(listed["result"]["ttlMs"], 0);
    let legacy = rig.mcp(&token, message("tools/list", json!({}))).await.good().json();
    assert_eq!(names(&listed), names(&legacy));
    assert!(names(&listed).contains(&"get_note") && names(&listed).contains(&"mcp_note"));
    for tool in listed["result"]["tools"].as_array().unwrap() {
        assert!(!tool["inputSchema"].to_string().contains("account_id"), "{tool}");
    }
    let get = listed["result"]["tools"].as_array().unwrap().iter();
    let get = get.clone().find(|tool| tool["name"] == "delete_note").unwrap();
    assert_eq!(get["annotations"]["readOnlyHint"], false);

    for (tool, id) in [("get_note", "acme-live"), ("mcp_note", "acme-live")] {
        let params = json!({"name": tool, "arguments": {"id": id}});
        let headers = [MODERN, ("mcp-method", "tools/call"), ("mcp-name", tool)];
        let call = modern("tools/call", params.clone()).to_string();
        let new = rig.mcp_with(&token, &headers, call).await.good().json();
        let old = rig.mcp(&token, message("tools/call", params)).await.good().json();
        for reply in [&new, &old] {
            assert_eq!(failure(&reply["result"]), "", "{reply}");
            let text = reply["result"]["structuredContent"]["text"].as_str();
            assert_eq!(text, Some("canary of acme/live"), "{reply}");
        }
        assert_eq!(new["result"]["resultType"], "complete");
    }
    let never = message("tools/call", json!({"name": "never", "arguments": {}}));
    let unknown = rig.mcp(&token, never).await.json();
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert_eq!(unknown["error"]["data"]["code"], "tool.unknown");
}

#[tokio::test]
async fn what_a_grant_does_not_cover_is_not_listed() {
    let rig = rig().await;
    let token = rig.token("acme", "live", "tools:list tools:read").await;
    let listed = rig.mcp(&token, message("tools/list", json!({}))).await.good().json();
    let listed = names(&listed);
    assert!(listed.contains(&"get_note"), "{listed:?}");
    assert!(!listed.contains(&"add_note") && !listed.contains(&"refund"), "{listed:?}");
    let refused = rig.tool(&token, "add_note", json!({"text": "x"})).await;
    assert_ne!(failure(&refused), "", "{refused}");
    assert!(rig.crm.writes().is_empty());
}

#[tokio::test]
async fn a_message_means_one_thing() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let before = rig.crm.asked().len();
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_note","arguments":{"id":"acme-live"},"arguments":{"id":"globex-live"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_note","n\u0061me":"mcp_note","arguments":{"id":"acme-live"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_note","arguments":{"id":"acme-live","\u0069d":"globex-live"}}}"#,
    ] {
        let reply = rig.mcp_with(&token, &[LEGACY], body).await;
        reply.refused(403, "scope.mismatch");
    }
    let batch = json!([message("tools/list", json!({}))]);
    rig.mcp(&token, batch).await.refused(400, "request.malformed");
    for bad in ["", "{", "7", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#] {
        rig.mcp_with(&token, &[LEGACY], bad).await.refused(400, "request.malformed");
    }
    let large = json!({"name": "get_note", "arguments": {"id": "x".repeat(500_000)}});
    let large = rig.mcp(&token, message("tools/call", large)).await;
    large.refused(413, "request.too_large");
    assert_eq!(rig.crm.asked().len(), before, "none of it went on");
    let log = rig.audit("acme", "live").await;
    assert!(log.iter().any(|entry| entry["code"] == "scope.mismatch"), "{log:?}");
}

#[tokio::test]
async fn headers_that_mirror_the_body_are_equal_to_it() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let call = modern("tools/call", json!({"name": "get_note", "arguments": {"id": "acme-live"}}));
    let good = [MODERN, ("mcp-method", "tools/call"), ("mcp-name", "get_note")];
    rig.mcp_with(&token, &good, call.to_string()).await.good();
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "get_note"));
    for bad in [
        &[MODERN, ("mcp-method", "tools/list"), name][..],
        &[MODERN, method, ("mcp-name", "list_notes")],
        &[MODERN, method, name, name],
        &[MODERN, method],
        &[MODERN, name],
        &[LEGACY, method, name],
        &[MODERN, method, name, ("mcp-param-account", "acct-globex")],
        &[LEGACY, ("mcp-name", "list_notes")],
        &[method, name],
    ] {
        let reply = rig.mcp_with(&token, bad, call.to_string()).await;
        assert_eq!(reply.status, 400, "{bad:?} {}", reply.text());
        assert_eq!(reply.json()["error"]["code"], -32020, "{bad:?} {}", reply.text());
    }
    let old = message("tools/list", json!({})).to_string();
    let unknown = [("mcp-protocol-version", "1999-01-01")];
    assert_eq!(rig.mcp_with(&token, &unknown, old).await.status, 400);
}

#[tokio::test]
async fn an_upstream_hears_nothing_of_a_call_that_the_gate_refuses() {
    let rig = Rig::with(|settings| {
        let path = settings.storage.keys.with_file_name("policies.cedar");
        let forbids = r#"forbid (principal, action, resource == Bulkhead::Tool::"mcp_note");"#;
        std::fs::write(&path, format!("permit (principal, action, resource);\n{forbids}")).unwrap();
        settings.policy.file = Some(path);
    })
    .await;
    rig.tooled("acme").await;
    rig.crm.keep("acme-live", &account_of("acme"), "live", "canary");
    let token = rig.token("acme", "live", ALL).await;
    let called = async |tool: &str, more: &[(&str, &str)]| {
        let call = modern("tools/call", json!({"name": tool, "arguments": {"id": "acme-live"}}));
        let all = [MODERN, ("mcp-method", "tools/call"), ("mcp-name", tool)];
        rig.mcp_with(&token, &[&all, more].concat(), call.to_string()).await
    };
    for more in [&[][..], &[("mcp-param-id", "acme-live")]] {
        let refused = called("mcp_note", more).await.good().json();
        assert_eq!(failure(&refused["result"]), "policy.denied", "{refused}");
    }
    assert!(rig.crm.asked().is_empty(), "{:?}", rig.crm.asked());
    let good = called("mcp_count", &[]).await.good().json();
    assert_eq!(failure(&good["result"]), "", "{good}");
    // What is not declared is refused, once it is known what is.
    let refused = called("mcp_count", &[("mcp-param-id", "acme-live")]).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!(-32020)));
    let calls = rig.crm.asked();
    let calls = calls.iter().filter(|asked| asked.body["method"] == "tools/call");
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn what_was_done_is_told_without_its_upstream() {
    let rig = rig().await;
    let minted = rig.minted("acme", "live", &[("scope", ALL), ("run", "run-1")]).await;
    let token = minted["access_token"].as_str().unwrap();
    let add = async |text: &str, more: &[(&str, &str)]| {
        let call = modern("tools/call", json!({"name": "add_note", "arguments": {"text": text}}));
        let all = [MODERN, ("mcp-method", "tools/call"), ("mcp-name", "add_note")];
        let reply = rig.mcp_with(token, &[&all, more].concat(), call.to_string()).await;
        reply.good().json()["result"].clone()
    };
    let first = add("hello", &[]).await;
    assert_eq!(failure(&first), "", "{first}");
    // Now nobody can look up what the tool declares.
    let at = "/admin/v1/tenants/acme/environments/live/credentials/crm";
    rig.admin(Method::DELETE, at, Value::Null).await.good();
    let again = add("hello", &[]).await;
    assert_eq!(failure(&again), "", "{again}");
    assert_eq!(again["_meta"]["bulkhead/duplicate"], true, "{again}");
    assert_eq!(again["_meta"]["bulkhead/receipt"], first["_meta"]["bulkhead/receipt"]);
    // A header that cannot be held lets nothing through, nor is anything new sent.
    for (text, more) in [("hello", &[("mcp-param-text", "hello")][..]), ("new", &[])] {
        let refused = add(text, more).await;
        assert_eq!(failure(&refused), "tool.no_credential", "{refused}");
    }
    assert_eq!(rig.crm.writes().len(), 1);
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_speak() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let list = message("tools/list", json!({})).to_string();
    let allowed = [LEGACY, ("origin", "https://app.example.com")];
    rig.mcp_with(&token, &allowed, list.clone()).await.good();
    for origin in ["https://evil.example", "null", "https://app.example.com:8443"] {
        let headers = [LEGACY, ("origin", origin)];
        let reply = rig.mcp_with(&token, &headers, list.clone()).await;
        reply.refused(403, "request.origin");
    }
}

#[tokio::test]
async fn there_is_no_stream_to_open_and_no_session_to_end() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    for method in [Method::GET, Method::DELETE] {
        let headers = [("accept", "text/event-stream"), ("mcp-session-id", "guessed")];
        let reply = rig.call(&token, method.clone(), "/mcp", &headers, "").await;
        let reply = reply.refused(405, "request.method");
        assert_eq!(reply.header("allow"), "POST");
        let nobody = rig.send(Plane::Data, method, "/mcp", &headers, "").await;
        let nobody = nobody.refused(401, "scope.missing");
        let challenge = nobody.header("www-authenticate").to_owned();
        assert!(challenge.ends_with("/.well-known/oauth-protected-resource/mcp\""), "{challenge}");
    }
    let path = "/.well-known/oauth-protected-resource/mcp";
    let told = rig.send(Plane::Data, Method::GET, path, &[], "").await.good().json();
    assert!(told["resource"].as_str().unwrap().ends_with("/mcp"), "{told}");
    assert!(told["scopes_supported"].to_string().contains("tools:destructive"), "{told}");
    // A session id of anybody's is no more than a header.
    let headers = [LEGACY, ("mcp-session-id", "guessed")];
    let list = message("tools/list", json!({})).to_string();
    rig.mcp_with(&token, &headers, list).await.good();
}

#[tokio::test]
async fn a_call_is_ended_by_its_own_caller_and_by_nobody_else() {
    let rig = rig().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    let staging = rig.token("acme", "staging", ALL).await;
    let again = rig.token("acme", "live", ALL).await;
    let slow =
        message("tools/call", json!({"name": "slow_note", "arguments": {"id": "acme-live"}}));
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 1, "reason": "no more"}});
    let mut calling = Box::pin(rig.mcp(&a, slow.clone()));
    tokio::select! {
        reply = &mut calling => panic!("{}", reply.text()),
        () = rig.crm.holding() => {}
    }
    // Another tenant's, another environment's, another credential of the same: none of them.
    for other in [&b, &staging, &again] {
        assert_eq!(rig.mcp(other, cancelled.clone()).await.status, 202);
    }
    rig.crm.release();
    let reply = calling.await.good().json();
    assert_eq!(reply["result"]["structuredContent"]["text"], "canary of acme/live", "{reply}");
    let mut calling = Box::pin(rig.mcp(&a, slow));
    tokio::select! {
        reply = &mut calling => panic!("{}", reply.text()),
        () = rig.crm.holding() => {}
    }
    assert_eq!(rig.mcp(&a, cancelled).await.status, 202);
    let ended = calling.await.json();
    assert!(ended["error"]["message"].as_str().unwrap().contains("ended by its caller"), "{ended}");
    rig.crm.release();
}

#[tokio::test]
async fn progress_goes_to_whoever_asked_for_it() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let params = json!({"name": "mcp_count", "arguments": {"id": "acme-live"},
        "_meta": {"progressToken": "p1"}});
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        LEGACY,
    ];
    let body = message("tools/call", params).to_string().into();
    let response = rig.open(Plane::Data, Method::POST, "/mcp", &headers, body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = Streaming::of(response).rest().await;
    assert_eq!(text.matches("notifications/progress").count(), 2, "{text}");
    assert!(text.contains("\"progressToken\":\"p1\""), "{text}");
    assert!(text.contains("canary of acme/live"), "{text}");
}

#[tokio::test]
async fn a_revocation_ends_a_call() {
    let rig = rig().await;
    let minted = rig.minted("acme", "live", &[("scope", ALL)]).await;
    let token = minted["access_token"].as_str().unwrap();
    let slow =
        message("tools/call", json!({"name": "slow_note", "arguments": {"id": "acme-live"}}));
    let mut calling = Box::pin(rig.mcp(token, slow));
    tokio::select! {
        reply = &mut calling => panic!("{}", reply.text()),
        () = rig.crm.holding() => {}
    }
    let body = json!({"tenant": "acme", "jti": minted["id"]});
    rig.admin(Method::POST, "/admin/v1/revocations", body).await.good();
    let reply = tokio::time::timeout(Duration::from_secs(10), calling).await.unwrap();
    reply.refused(401, "scope.revoked");
    rig.crm.release();
}

#[tokio::test]
async fn a_write_that_waits_says_for_what_and_is_waited_for() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let waits = rig.tool(&token, "refund", json!({"text": "five"})).await;
    assert_eq!(failure(&waits), "approval.required", "{waits}");
    let review = waits["_meta"]["bulkhead/review"].as_str().unwrap();
    assert!(waits["content"][0]["text"].as_str().unwrap().contains(review), "{waits}");
    assert!(rig.crm.writes().is_empty());
    // Who wants to wait is told to come back, with something that is its own.
    let params = json!({"name": "refund", "arguments": {"text": "five"},
        "_meta": {"bulkhead/wait": true}});
    let headers = [MODERN, ("mcp-method", "tools/call"), ("mcp-name", "refund")];
    let call = modern("tools/call", params.clone()).to_string();
    let later = rig.mcp_with(&token, &headers, call).await.good().json();
    assert_eq!(later["result"]["resultType"], "input_required", "{later}");
    let state = later["result"]["requestState"].as_str().unwrap().to_owned();
    let other = rig.token("globex", "live", ALL).await;
    let mut theirs = params;
    theirs["requestState"] = json!(state);
    let call = modern("tools/call", theirs).to_string();
    let refused = rig.mcp_with(&other, &headers, call).await.good().json();
    assert_eq!(refused["error"]["data"]["code"], "tool.handle", "{refused}");
    assert!(rig.crm.writes().is_empty());
}

/// A body that is read to its end whatever it is.
#[tokio::test]
async fn every_answer_says_no_store() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    for body in [message("tools/list", json!({})), message("nothing", json!({})), json!(7)] {
        let reply = rig.mcp(&token, body).await;
        assert_eq!(reply.header("cache-control"), "no-store", "{}", reply.text());
    }
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), LEGACY];
    let open = rig.open(Plane::Data, Method::POST, "/mcp", &headers, "{}".into()).await;
    assert_eq!(open.headers()["cache-control"], "no-store");
    open.into_body().collect().await.unwrap();
}
