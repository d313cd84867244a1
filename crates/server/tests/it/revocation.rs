//! A revocation is effective at once, on what is in flight too.

use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Rig, Streaming};

const RUN_GRANT: (&str, &str) =
    ("requested_token_type", "urn:bulkhead:params:oauth:token-type:run-grant");

/// Opens a stream that is held in the middle, revokes, and says how it ended.
async fn ended_by(rig: &Rig, token: &str, path: &str, body: Value) -> (String, String) {
    let mut stream = begun(rig, token).await;
    let method = if path.starts_with("/admin/v1/keys/") { Method::DELETE } else { Method::POST };
    rig.admin(method, path, body).await.good();
    let last = rest(&mut stream).await;
    let after = rig.get(token, "/v1/models").await;
    assert!(after.status == 401 || after.status == 403, "{}", after.text());
    (last, after.code())
}

async fn begun(rig: &Rig, token: &str) -> Streaming {
    let mut stream = rig.stream(token, "plain", "tell me [hold] all").await;
    let first = stream.next().await.unwrap();
    assert!(first.contains("acme/live"), "{first}");
    rig.upstream.holding(1).await;
    stream
}

async fn rest(stream: &mut Streaming) -> String {
    let mut text = String::new();
    while let Some(piece) = stream.next().await {
        text.push_str(&piece);
    }
    text
}

fn id(minted: &Value) -> String {
    minted["id"].as_str().unwrap().to_owned()
}

fn token(minted: &Value) -> String {
    minted["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn by_token_lineage_grant_key_epoch_and_suspension() {
    let rig = Rig::start().await;
    let revocations = "/admin/v1/revocations";
    let scope = ("scope", ALL);

    let one = rig.minted("acme", "live", &[scope]).await;
    let other = rig.token("acme", "live", ALL).await;
    let by_jti = json!({"tenant": "acme", "jti": id(&one)});
    let mut cases = vec![(token(&one), revocations.to_owned(), by_jti, "scope.revoked")];

    let itself = rig.token("acme", "live", ALL).await;
    let by_token = json!({"token": itself});
    cases.push((itself.clone(), revocations.to_owned(), by_token, "scope.revoked"));

    // A token that was narrowed from one that was made from a run grant: three generations.
    let descendant = async |grant: &Value| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:bulkhead:params:oauth:token-type:run-grant"),
            ("subject_token", grant["access_token"].as_str().unwrap()),
        ];
        let parent = rig.exchange(&rig.service, &form).await.good().json();
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:txn_token"),
            ("subject_token", parent["access_token"].as_str().unwrap()),
            ("scope", "model:*"),
        ];
        token(&rig.exchange(&rig.service, &form).await.good().json())
    };
    let grant = rig.minted("acme", "live", &[scope, RUN_GRANT]).await;
    let by_lineage = json!({"tenant": "org_acme", "lineage": id(&grant)});
    cases.push((descendant(&grant).await, revocations.to_owned(), by_lineage, "scope.revoked"));
    let grant = rig.minted("acme", "live", &[scope, RUN_GRANT]).await;
    let by_grant = json!({"tenant": "acme", "grant": id(&grant)});
    cases.push((descendant(&grant).await, revocations.to_owned(), by_grant, "scope.revoked"));

    let key = rig.key("acme", "live").await;
    let secret = key["secret"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/keys/{}", id(&key));
    cases.push((secret, path, Value::Null, "scope.revoked"));

    for (token, path, body, code) in cases {
        let (last, after) = ended_by(&rig, &token, &path, body.clone()).await;
        assert!(last.contains(code) && last.contains("\"error\""), "{path} {body}: {last:?}");
        assert!(!last.contains("[DONE]"), "{last}");
        assert_eq!(after, code, "{path}");
        // Nobody else is touched.
        rig.get(&other, "/v1/models").await.good();
    }

    let globex = rig.token("globex", "live", ALL).await;
    let suspend = "/admin/v1/tenants/acme/suspend";
    let (last, after) = ended_by(&rig, &other, suspend, Value::Null).await;
    assert!(last.contains("scope.suspended"), "{last}");
    assert_eq!(after, "scope.suspended");
    rig.get(&globex, "/v1/models").await.good();
    rig.admin(Method::POST, "/admin/v1/tenants/acme/resume", Value::Null).await.good();
    rig.get(&other, "/v1/models").await.good();

    let revoke = "/admin/v1/tenants/acme/revoke";
    let (last, after) = ended_by(&rig, &other, revoke, Value::Null).await;
    assert!(last.contains("scope.revoked"), "{last}");
    assert_eq!(after, "scope.revoked");
    rig.get(&globex, "/v1/models").await.good();
    let fresh = rig.token("acme", "live", ALL).await;
    rig.get(&fresh, "/v1/models").await.good();

    let mut stream = begun(&rig, &fresh).await;
    rig.admin(Method::DELETE, "/admin/v1/tenants/acme", Value::Null).await.good();
    let last = rest(&mut stream).await;
    // An erasure begins with that; it ends with the tenant being nobody.
    assert!(last.contains("scope.suspended"), "{last}");
    rig.get(&fresh, "/v1/models").await.refused(403, "scope.tenant");
    rig.get(&globex, "/v1/models").await.good();
}

/// What is not a stream ends, too: nothing of a suspended tenant goes on.
#[tokio::test]
async fn an_answer_that_is_awaited_is_given_up() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let asked = rig.chat(&token, "plain", "please [hold]");
    let suspended = async {
        rig.upstream.holding(1).await;
        rig.admin(Method::POST, "/admin/v1/tenants/acme/suspend", Value::Null).await.good();
    };
    let (reply, ()) = tokio::join!(asked, suspended);
    reply.refused(403, "scope.suspended");
}

/// A key is replaced with an overlap, and without one.
#[tokio::test]
async fn keys_are_rotated() {
    let rig = Rig::start().await;
    let old = rig.key("acme", "live").await;
    let secret = |key: &Value| key["secret"].as_str().unwrap().to_owned();
    let rotate = |key: &Value| format!("/admin/v1/keys/{}/rotate", id(key));
    let new = rig.admin(Method::POST, &rotate(&old), json!({"overlap_seconds": 60})).await;
    let new = new.good().json();
    for key in [&old, &new] {
        rig.get(&secret(key), "/v1/models").await.good();
    }
    rig.clock.advance(std::time::Duration::from_secs(61));
    rig.get(&secret(&old), "/v1/models").await.refused(401, "scope.expired");
    let newest = rig.admin(Method::POST, &rotate(&new), json!({})).await.good().json();
    rig.get(&secret(&new), "/v1/models").await.refused(401, "scope.revoked");
    rig.get(&secret(&newest), "/v1/models").await.good();
    let path = "/admin/v1/tenants/acme/environments/live/keys";
    let listed = rig.admin(Method::GET, path, Value::Null).await.good();
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 3);
    for key in [&old, &new, &newest] {
        assert!(!listed.text().contains(&secret(key)), "shown once");
    }
}
