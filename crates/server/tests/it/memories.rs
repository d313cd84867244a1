//! `/v1/memory`: what agents remember.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{ALL, NOON, Reply, Rig};

const NOTES: &str = "/v1/memory/notes";

async fn remember(rig: &Rig, token: &str, body: Value) -> String {
    let reply = rig.ask(token, "POST", NOTES, body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn search(rig: &Rig, token: &str, body: Value) -> Reply {
    rig.ask(token, "POST", &format!("{NOTES}/search"), body).await
}

/// The texts that are found.
async fn recalled(rig: &Rig, token: &str, body: Value) -> Vec<String> {
    let found = search(rig, token, body).await.good().json();
    let results = found["results"].as_array().unwrap().clone();
    results.iter().map(|one| one["text"].as_str().unwrap().to_owned()).collect()
}

/// A token for an end user.
async fn token_of(rig: &Rig, sub: &str, scope: &str) -> String {
    let minted = rig.minted("acme", "live", &[("scope", scope), ("sub", sub)]).await;
    minted["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_text_is_remembered_found_and_forgotten() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    assert_eq!(recalled(&rig, &token, json!({"text": "tea"})).await, [""; 0]);
    let metadata = json!({"about": "drinks"});
    let tea = json!({"text": "Ada takes her tea with lemon", "metadata": metadata});
    let tea = remember(&rig, &token, tea).await;
    remember(&rig, &token, json!({"text": "Bob has a boat"})).await;
    let found = search(&rig, &token, json!({"text": "who takes lemon?"})).await.good().json();
    let first = &found["results"][0];
    assert_eq!((&first["id"], &first["metadata"]), (&json!(tea), &metadata));
    assert_eq!(first["text"], "Ada takes her tea with lemon");
    assert_eq!(first["created"], NOON.to_string());
    assert!(first["score"].is_number() && first.get("expires").is_none(), "{first}");
    let drinks = json!({"must": [{"key": "about", "match": {"value": "drinks"}}]});
    let only = json!({"text": "Bob Ada boat lemon", "filter": drinks, "limit": 5});
    assert_eq!(recalled(&rig, &token, only).await, ["Ada takes her tea with lemon"]);
    let path = format!("{NOTES}/{tea}");
    assert_eq!(rig.ask(&token, "DELETE", &path, Value::Null).await.status, 204);
    rig.ask(&token, "DELETE", &path, Value::Null).await.refused(404, "not_found");
    let left = recalled(&rig, &token, json!({"text": "lemon boat"})).await;
    assert_eq!(left, ["Bob has a boat"]);
}

#[tokio::test]
async fn a_memory_ends_when_its_time_is_over() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let body = json!({"text": "the code is 42", "ttl": 60});
    let told = rig.ask(&token, "POST", NOTES, body).await.good().json();
    assert_eq!(told["expires"], NOON.plus(Duration::from_secs(60)).to_string());
    remember(&rig, &token, json!({"text": "the code is on paper"})).await;
    assert_eq!(recalled(&rig, &token, json!({"text": "code"})).await.len(), 2);
    rig.clock.advance(Duration::from_secs(61));
    let token = rig.token("acme", "live", ALL).await;
    assert_eq!(recalled(&rig, &token, json!({"text": "code"})).await, ["the code is on paper"]);
}

/// End users of one tenant are apart, unless a grant says otherwise.
#[tokio::test]
async fn end_users_have_memories_of_their_own() {
    const OWN: &str = "memory:read memory:write";
    let rig = Rig::start().await;
    let (ada, bob) = (token_of(&rig, "ada", OWN).await, token_of(&rig, "bob", OWN).await);
    let adas = remember(&rig, &ada, json!({"text": "a secret of ada"})).await;
    remember(&rig, &bob, json!({"text": "a secret of bob"})).await;
    let any = json!({"text": "secret"});
    assert_eq!(recalled(&rig, &ada, any.clone()).await, ["a secret of ada"]);
    assert_eq!(recalled(&rig, &bob, any.clone()).await, ["a secret of bob"]);
    // By no other way, either: Qdrant's words reach no further.
    let points = "/qdrant/collections/notes/points";
    for (method, path, body) in [
        ("POST", format!("{points}/scroll"), json!({"with_payload": true})),
        ("POST", points.to_owned(), json!({"ids": [adas]})),
        ("POST", format!("{points}/count"), json!({})),
        ("GET", format!("{points}/{adas}"), Value::Null),
    ] {
        let reply = rig.ask(&bob, method, &path, body).await;
        let told = reply.text().replace(&adas, "");
        assert!(!told.contains("of ada") && !told.contains(r#""count":2"#), "{path} {told}");
    }
    let count = rig.get(&bob, "/qdrant/collections/notes").await.good().json();
    assert_eq!(count["result"]["points_count"], 1, "{count}");
    let path = format!("{NOTES}/{adas}");
    rig.ask(&bob, "DELETE", &path, Value::Null).await.refused(404, "not_found");
    let theirs = json!({"text": "as if ada", "subject": "ada"});
    let reply = rig.ask(&bob, "POST", NOTES, theirs).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    // Who serves all of them.
    let lifted = "memory:read memory:write memory:subjects";
    let all = rig.token("acme", "live", lifted).await;
    let mut found = recalled(&rig, &all, any.clone()).await;
    found.sort();
    assert_eq!(found, ["a secret of ada", "a secret of bob"]);
    let one = json!({"text": "secret", "subject": "bob"});
    assert_eq!(recalled(&rig, &all, one).await, ["a secret of bob"]);
    // Whoever has somebody of its own is asked whose it means.
    let desk = token_of(&rig, "desk", lifted).await;
    assert_eq!(recalled(&rig, &desk, any.clone()).await, [""; 0]);
    let one = json!({"text": "secret", "subject": "ada"});
    assert_eq!(recalled(&rig, &desk, one).await, ["a secret of ada"]);
    // Who is nobody in particular sees what is nobody's.
    let nobody = rig.token("acme", "live", OWN).await;
    assert_eq!(recalled(&rig, &nobody, any).await, [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_the_form_of_native_routes() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    remember(&rig, &token, json!({"text": "something"})).await;
    let find = format!("{NOTES}/search");
    for (path, body, status, code) in [
        (NOTES, json!({"text": ""}), 400, "request.malformed"),
        (NOTES, json!({"text": "a", "txt": 1}), 400, "request.malformed"),
        (NOTES, json!({"text": "a", "ttl": 0}), 400, "request.malformed"),
        (NOTES, json!({"text": "a", "ttl": 1_u64 << 40}), 400, "request.malformed"),
        (NOTES, json!({"text": "a", "metadata": []}), 400, "request.malformed"),
        (NOTES, json!(null), 400, "request.malformed"),
        (&find, json!({"text": "a", "limit": 0}), 400, "request.malformed"),
        (&find, json!({"text": "a", "limit": 1_000_000}), 413, "request.too_large"),
        (&find, json!({"text": "a", "filter": {"mast": []}}), 400, "request.malformed"),
        (&find, json!({"text": "a", "top": 3}), 400, "request.malformed"),
        ("/v1/memory/a%2Fb", json!({"text": "a"}), 400, "request.malformed"),
        ("/v1/memory/notes?x=1", json!({"text": "a"}), 400, "request.malformed"),
    ] {
        let reply = rig.ask(&token, "POST", path, body).await.refused(status, code);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{path}");
    }
    let twice = r#"{"text":"a","text":"b"}"#;
    let reply = rig.call(&token, http::Method::POST, NOTES, &[], twice).await;
    reply.refused(400, "request.malformed");
    // A misspelled grant is found out at once; the one that lifts the bound is none.
    let path = "/admin/v1/tenants/acme/environments/live/keys";
    for (scope, status) in [("memory:subjects", 201), ("memory:subject", 400)] {
        let body = json!({"workflow": "w", "scope": scope});
        let reply = rig.admin(http::Method::POST, path, body).await;
        assert_eq!(reply.status, status, "{scope} {}", reply.text());
    }
}
