//! `/tools/{upstream}/…`: an HTTP API's own requests.

use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Rig, account_of, crm_secret};

async fn rig() -> Rig {
    let rig = Rig::start().await;
    for tenant in ["acme", "globex"] {
        rig.tooled(tenant).await;
        let text = format!("canary of {tenant}");
        rig.crm.keep(&format!("{tenant}-1"), &account_of(tenant), "live", &text);
    }
    rig
}

#[tokio::test]
async fn an_api_answers_its_own_client() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let reply = rig.get(&token, "/tools/crm/notes/acme-1").await.good();
    assert_eq!(reply.json()["text"], "canary of acme");
    assert!(
        reply.header("x-leak").is_empty() && reply.header("content-type") == "application/json"
    );
    assert_eq!(reply.header("content-security-policy"), "sandbox");
    let asked = rig.crm.asked().pop().unwrap();
    assert_eq!(asked.secret, crm_secret("acme", "live", "crm"));
    assert!(!asked.headers.contains(&token), "nothing of the agent's goes on");
    let query = "account_id=acct-acme&environment=live";
    assert!(asked.what.contains("account_id=acct-acme"), "{}", asked.what);
    // What is bound may stand there if it is the same.
    rig.get(&token, &format!("/tools/crm/notes?{query}")).await.good();
    for other in
        ["account_id=acct-globex&environment=live", "account_id=acct-acme&account_id=acct-globex"]
    {
        let reply = rig.get(&token, &format!("/tools/crm/notes?{other}")).await;
        assert!(reply.status >= 400 && !reply.text().contains("canary"), "{}", reply.text());
    }
    let bound = rig.get(&token, "/tools/crm/notes?account_id=acct-globex").await;
    bound.refused(403, "tool.argument_bound");
    let staging = rig.get(&token, "/tools/crm/notes?environment=staging").await;
    staging.refused(403, "scope.mismatch");
}

#[tokio::test]
async fn what_no_contract_has_is_not_there() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    for path in [
        "/tools/crm/accounts",
        "/tools/crm/notes/acme-1/x",
        "/tools/crm/notes/..%2fglobex-1",
        "/tools/crm/notes/%2e%2e",
        "/tools/nothing/notes",
        "/tools/crm-mcp/notes",
        "/tools/standin/v1/models",
    ] {
        let before = rig.crm.asked().len();
        let reply = rig.get(&token, path).await;
        assert_eq!(reply.status, 404, "{path} {}", reply.text());
        assert_eq!(rig.crm.asked().len(), before, "{path}");
    }
    let put = rig.call(&token, Method::PUT, "/tools/crm/notes", &[], "{}").await;
    put.refused(404, "tool.unknown");
}

#[tokio::test]
async fn a_record_of_anothers_is_withheld_in_errors_too() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    for path in ["/tools/crm/notes/globex-1", "/tools/crm/fail/globex-1"] {
        let reply = rig.get(&token, path).await;
        assert!(!reply.text().contains("canary"), "{path} {}", reply.text());
        reply.refused(404, "tool.no_record");
    }
    // Nobody learns from it that there is such a note.
    let shape = |reply: &super::rig::Reply| {
        let mut headers = reply.headers.clone();
        headers.remove("x-request-id");
        headers.remove("date");
        (reply.status, headers, reply.body.clone())
    };
    let foreign = rig.get(&token, "/tools/crm/notes/globex-1").await;
    let never = rig.get(&token, "/tools/crm/notes/globex-never").await;
    assert_eq!(shape(&foreign), shape(&never));
    for tool in ["get_note", "mcp_note"] {
        let foreign = rig.tool(&token, tool, json!({"id": "globex-1"})).await;
        let never = rig.tool(&token, tool, json!({"id": "globex-never"})).await;
        assert_eq!(foreign, never, "{tool}");
    }
    let told = rig.audit_of_withheld("acme", "live").await;
    assert!(!told.contains("canary of globex"));
}

#[tokio::test]
async fn a_write_is_done_once_and_has_a_receipt() {
    let rig = rig().await;
    let minted = rig.minted("acme", "live", &[("scope", ALL), ("run", "run-1")]).await;
    let token = minted["access_token"].as_str().unwrap();
    let headers = [("content-type", "application/json")];
    let note = json!({"text": "hello"}).to_string();
    let post = async |more: &[(&str, &str)]| {
        let all = [&headers[..], more].concat();
        rig.call(token, Method::POST, "/tools/crm/notes", &all, note.clone()).await
    };
    let first = post(&[]).await.good();
    let receipt = first.header("x-bulkhead-receipt").to_owned();
    assert_eq!(receipt.split('.').count(), 3, "{receipt}");
    let again = post(&[]).await.good();
    assert_eq!(again.header("x-bulkhead-duplicate"), "true");
    assert_eq!(again.header("x-bulkhead-receipt"), receipt);
    assert_eq!(rig.crm.writes().len(), 1);
    let key = [("idempotency-key", "two")];
    let other = post(&key).await.good();
    assert!(other.header("x-bulkhead-duplicate").is_empty());
    assert_eq!(rig.crm.writes().len(), 2);
    assert_eq!(rig.crm.writes()[0]["account_id"], "acct-acme");
    post(&[("idempotency-key", "a b")]).await.refused(400, "request.malformed");
}

#[tokio::test]
async fn a_write_that_waits_names_its_review() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    let headers = [("content-type", "application/json")];
    let body = json!({"text": "five"}).to_string();
    let reply = rig.call(&token, Method::POST, "/tools/crm/refunds", &headers, body.clone()).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (202, "approval.required"),
        "{}",
        reply.text()
    );
    let review = reply.header("x-bulkhead-review").to_owned();
    assert_eq!(reply.json()["review"], review);
    let suggested = rig.call(&token, Method::POST, "/tools/crm/suggestions", &headers, body).await;
    assert!(!suggested.header("x-bulkhead-review").is_empty());
    suggested.refused(409, "tool.suggested");
    assert!(rig.crm.writes().is_empty());
    // It is this tenant's, and this call's.
    let other = rig.token("globex", "live", ALL).await;
    let stolen = [headers[0], ("x-bulkhead-review", review.as_str())];
    let body = json!({"text": "five"}).to_string();
    let reply = rig.call(&other, Method::POST, "/tools/crm/refunds", &stolen, body).await;
    assert!(reply.status >= 400, "{}", reply.text());
    assert!(rig.crm.writes().is_empty());
}

#[tokio::test]
async fn keys_of_assertions_are_published_and_open_nothing() {
    let rig = rig().await;
    let set = rig.send(
        bulkhead_server::routes::Plane::Data,
        Method::GET,
        "/.well-known/jwks.json",
        &[],
        "",
    );
    let keys: Vec<Value> = set.await.good().json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 3, "of tokens, of assertions, of receipts: {keys:?}");
    let token = rig.token("acme", "live", ALL).await;
    let headers = [("content-type", "application/json")];
    let body = json!({"text": "x"}).to_string();
    let reply = rig.call(&token, Method::POST, "/tools/crm/notes", &headers, body).await.good();
    let receipt = reply.header("x-bulkhead-receipt");
    assert_eq!(rig.get(receipt, "/v1/models").await.status, 401);
}

/// The keys of one kind change, those of the others stay. What an older one signed can be verified
/// until it is withdrawn; a receipt is then signed again.
#[tokio::test]
async fn keys_of_assertions_and_receipts_are_rotated() {
    let mut rig = rig().await;
    let published = async |rig: &Rig| {
        let plane = bulkhead_server::routes::Plane::Data;
        let set = rig.send(plane, Method::GET, "/.well-known/jwks.json", &[], "").await;
        let all = set.good().json()["keys"].as_array().unwrap().clone();
        all.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let kid = |signed: &str| {
        let header = signed.split('.').next().unwrap();
        let header = ids::text::unbase64url(header).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    let token = rig.token("acme", "live", ALL).await;
    let headers = [("content-type", "application/json")];
    let body = json!({"text": "x"}).to_string();
    rig.call(&token, Method::POST, "/tools/crm/notes", &headers, body).await.good();
    let receipt = async |rig: &Rig| {
        let listed = rig.get(&token, "/v1/receipts").await.good().json();
        listed["items"][0]["signed"].as_str().unwrap().to_owned()
    };
    let (first, before) = (receipt(&rig).await, published(&rig).await);
    assert!(before.contains(&kid(&first)));

    let path = "/admin/v1/signing-keys/rotate";
    for of in ["assertions", "receipts"] {
        rig.admin(Method::POST, path, json!({"of": of})).await.good();
    }
    let after = published(&rig).await;
    assert!(after.len() == 5 && before.iter().all(|kid| after.contains(kid)), "{after:?}");
    assert_eq!(receipt(&rig).await, first, "its key is there still");

    for of in ["assertions", "receipts"] {
        let unsaid = rig.admin(Method::POST, path, json!({"of": of, "retire": true})).await;
        unsaid.refused(400, "request.malformed");
        let leaked = json!({"of": of, "retire_now": true, "reason": "it leaked"});
        let left = rig.admin(Method::POST, path, leaked).await.good().json();
        assert_eq!(left["keys"].as_array().unwrap().len(), 1, "{of}: {left}");
    }
    for _ in 0..2 {
        let last = published(&rig).await;
        assert_eq!(last.len(), 3, "{last:?}");
        // That of tokens is the same, and what it signed is good.
        assert_eq!(last.iter().filter(|kid| after.contains(kid)).count(), 1, "{last:?}");
        let again = receipt(&rig).await;
        assert!(last.contains(&kid(&again)), "{again}");
        assert_eq!(again.split('.').nth(1), first.split('.').nth(1));
        rig.stop().await;
        rig.serve_again().await;
    }
    for of in ["", "Tokens", "mandates"] {
        rig.admin(Method::POST, path, json!({"of": of})).await.refused(400, "request.malformed");
    }
}

#[tokio::test]
async fn an_operator_tries_tools_and_that_is_on_record() {
    let rig = rig().await;
    let under = "/admin/v1/tenants/acme/environments/live/tools";
    let call = json!({"arguments": {"id": "acme-1"}, "reason": "ticket 4711"});
    let path = format!("{under}/get_note/call");
    let answer = rig.admin(Method::POST, &path, call.clone()).await.good().json();
    assert!(answer.to_string().contains("canary of acme"), "{answer}");
    // As the tenant's own agents: nobody else's, and no writes.
    let foreign = json!({"arguments": {"id": "globex-1"}, "reason": "ticket 4711"});
    rig.admin(Method::POST, &path, foreign).await.refused(404, "tool.no_record");
    let write = json!({"arguments": {"text": "x"}, "reason": "ticket 4711"});
    let refused = rig.admin(Method::POST, &format!("{under}/add_note/call"), write).await;
    refused.refused(400, "request.unsupported");
    assert!(rig.crm.writes().is_empty());
    let log = json!(rig.audit("acme", "live").await).to_string();
    assert!(log.contains("tool.call") && log.contains("ticket 4711"), "{log}");
    // Whoever may not enter tenants uses nothing of theirs.
    let body = json!({"name": "ops", "rights": ["read", "write"]});
    let ops = rig.admin(Method::POST, "/admin/v1/operators", body).await.good().json();
    let ops = ops["secret"].as_str().unwrap();
    rig.admin_as(ops, Method::POST, &path, call).await.refused(403, "scope.grant");
    // What a contract does with an answer that was recorded.
    let record =
        json!({"id": "x", "account_id": "acct-globex", "environment": "live", "text": "t"});
    let recorded = json!({"method": "GET", "path": "/notes/x", "answer": record});
    let ask = json!({"arguments": {"id": "x"}, "answer": recorded, "reason": "ticket 4711"});
    let before = rig.crm.asked().len();
    let report =
        rig.admin(Method::POST, &format!("{under}/get_note/test"), ask).await.good().json();
    assert_eq!(report["bound"]["/account_id"], "acct-acme", "{report}");
    assert_eq!(report["answer"]["verdict"], "foreign", "{report}");
    assert_eq!(rig.crm.asked().len(), before, "nothing is sent");
}

#[tokio::test]
async fn a_tenants_mode_is_the_most_that_its_writes_do() {
    let rig = rig().await;
    let path = "/admin/v1/tenants/acme/environments/live/tools/mode";
    let set = async |mode: Value| {
        let body = json!({"mode": mode, "reason": "ticket 4711"});
        rig.admin(Method::PUT, path, body).await.good().json()["mode"].clone()
    };
    assert_eq!(set(json!("suggest")).await, "suggest");
    let token = rig.token("acme", "live", ALL).await;
    let note = |text: &str| json!({"text": text});
    let suggested = rig.tool(&token, "add_note", note("a")).await;
    assert_eq!(super::rig::failure(&suggested), "tool.suggested", "{suggested}");
    assert!(rig.crm.writes().is_empty());
    // Another's, and another environment's, are as they were.
    let other = rig.token("globex", "live", ALL).await;
    assert_eq!(super::rig::failure(&rig.tool(&other, "add_note", note("a")).await), "");
    assert_eq!(set(Value::Null).await, Value::Null);
    assert_eq!(super::rig::failure(&rig.tool(&token, "add_note", note("b")).await), "");
    assert_eq!(rig.crm.writes().len(), 2);
}
