//! Who may do what on the control plane, and that what was taken stays taken.

use std::{fs, path::PathBuf, sync::Arc};

use bulkhead_server::{restore_with, routes::Plane};
use http::Method;
use ids::OsEntropy;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::rig::{ALL, Reply, Rig, encode};

/// As an operator who says nothing of why.
async fn unsaid(rig: &Rig, operator: &str, method: Method, path: &str, body: Value) -> Reply {
    let bearer = format!("Bearer {operator}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("authorization", bearer.as_str())];
    rig.send(Plane::Control, method, path, &headers, body).await
}

async fn operator(rig: &Rig, name: &str, rights: &[&str]) -> String {
    let body = json!({"name": name, "rights": rights});
    let made = rig.admin(Method::POST, "/admin/v1/operators", body).await.good().json();
    made["secret"].as_str().unwrap().to_owned()
}

async fn log(rig: &Rig) -> Vec<Value> {
    let log = rig.admin(Method::GET, "/admin/v1/audit?limit=1000", Value::Null).await.good();
    log.json()["items"].as_array().unwrap().clone()
}

fn with<'a>(log: &'a [Value], action: &str, decision: &str) -> Vec<&'a Value> {
    log.iter().filter(|e| e["action"] == action && e["decision"] == decision).collect()
}

const TOKENS: &str = "/admin/v1/tokens";
const KEYS: &str = "/admin/v1/tenants/acme/environments/live/keys";

fn wanted() -> Value {
    json!({"tenant": "acme", "environment": "live", "workflow": "w",
        "scope": "audit:read records:read"})
}

/// A misspelled grant is found out when it is given, not at the first hop.
#[tokio::test]
async fn a_grant_has_to_be_one_of_ours() {
    let rig = Rig::start().await;
    let service = json!({"name": "mine", "tenants": ["acme"], "environments": ["live"],
        "workflows": ["*"]});
    for (scope, found) in [
        ("audit:read records:read", true),
        ("model:*", true),
        ("model:chta", false),
        ("audit:read models:*", false),
    ] {
        let asked = [
            (TOKENS, wanted()),
            (KEYS, json!({"workflow": "w"})),
            ("/admin/v1/services", service.clone()),
        ];
        for (path, mut body) in asked {
            body["scope"] = scope.into();
            let reply = rig.admin(Method::POST, path, body).await;
            let taken = reply.status == 201 || reply.status == 409;
            assert_eq!(taken, found, "{path} {scope}: {}", reply.text());
            assert!(found || reply.text().contains("there are: audit:read"), "{}", reply.text());
        }
    }
}

/// Whoever gives out a credential of a tenant can use it, so it takes what entering takes.
#[tokio::test]
async fn a_credential_of_a_tenant_takes_the_right_to_enter_and_a_reason() {
    let rig = Rig::start().await;
    let key = rig.key("acme", "live").await;
    let rotate = format!("/admin/v1/keys/{}/rotate", key["id"].as_str().unwrap());
    let new = json!({"workflow": "w", "scope": "audit:read"});
    let grant = {
        let mut wanted = wanted();
        wanted["run_grant"] = true.into();
        wanted
    };
    let service = json!({"name": "mine", "tenants": ["*"], "environments": ["*"],
        "workflows": ["*"], "scope": ALL});
    let asked = [
        (TOKENS, wanted()),
        (TOKENS, grant),
        (KEYS, new.clone()),
        (&rotate, json!({})),
        ("/admin/v1/services", service),
        // Trying a credential is using it.
        ("/admin/v1/tenants/acme/environments/live/models/test", json!({})),
    ];
    let writer = operator(&rig, "writer", &["read", "write"]).await;
    for (path, body) in &asked {
        let reply = rig.admin_as(&writer, Method::POST, path, body.clone()).await;
        let reply = reply.refused(403, "scope.grant");
        assert!(!reply.text().contains("eyJ") && !reply.text().contains("_"), "{}", reply.text());
    }
    let denied = log(&rig).await;
    let denied: Vec<_> = with(&denied, "operator.denied", "denied")
        .into_iter()
        .map(|entry| entry["target"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        denied,
        [
            "token.mint",
            "run_grant.mint",
            "key.create",
            "key.rotate",
            "service.create",
            "model.test"
        ]
    );
    for (path, body) in &asked[..3] {
        let reply = unsaid(&rig, &rig.operator, Method::POST, path, body.clone()).await;
        reply.refused(400, "request.malformed");
        rig.admin(Method::POST, path, body.clone()).await.good();
    }
}

/// So does what is taken from a tenant; and a reason that no log would take leaves no trace of
/// something that was not done.
#[tokio::test]
async fn what_is_taken_from_a_tenant_takes_a_reason() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let acme = "/admin/v1/tenants/acme";
    let before = log(&rig).await.len();
    for (method, path) in [
        (Method::POST, format!("{acme}/suspend")),
        (Method::POST, format!("{acme}/revoke")),
        (Method::DELETE, acme.to_owned()),
    ] {
        let reply = unsaid(&rig, &rig.operator, method, &path, Value::Null).await;
        reply.refused(400, "request.malformed");
    }
    for bad in ["x".repeat(501), "two\nlines".to_owned()] {
        for path in [format!("{acme}/suspend"), format!("{acme}/resume"), KEYS.to_owned()] {
            let mut body = json!({"reason": bad});
            if path == KEYS {
                body = json!({"workflow": "w", "scope": "model:chat", "reason": bad});
            }
            let reply = unsaid(&rig, &rig.operator, Method::POST, &path, body).await;
            reply.refused(400, "request.malformed");
        }
    }
    assert_eq!(log(&rig).await.len(), before, "nothing was announced that was not done");
    rig.get(&token, "/v1/models").await.good();
}

/// What is changed of a tenant is in its own log and in the deployment's.
#[tokio::test]
async fn every_change_of_a_tenant_is_in_both_logs() {
    let rig = Rig::start().await;
    let key = rig.key("acme", "live").await;
    let key = format!("/admin/v1/keys/{}", key["id"].as_str().unwrap());
    rig.admin(Method::POST, TOKENS, wanted()).await.good();
    rig.admin(Method::POST, &format!("{key}/rotate"), Value::Null).await.good();
    rig.admin(Method::DELETE, &key, Value::Null).await.good();
    let live = "/admin/v1/tenants/acme/environments/live";
    rig.admin(Method::POST, &format!("{live}/data-key/rotate"), Value::Null).await.good();
    rig.admin(Method::DELETE, &format!("{live}/credentials/standin"), Value::Null).await.good();
    let tried = rig.admin(Method::POST, &format!("{live}/models/test"), json!({})).await.good();
    assert!(!tried.text().contains("sk-"), "{}", tried.text());
    let (own, deployment) = (rig.audit("acme", "live").await, log(&rig).await);
    for action in [
        "credential.set",
        "model.test",
        "key.create",
        "token.mint",
        "key.rotate",
        "key.revoke",
        "data_key.rotate",
        "credential.remove",
    ] {
        let entries = with(&deployment, action, "allowed");
        let entry = entries.iter().find(|entry| entry["target"] == "acme");
        let entry = entry.unwrap_or_else(|| panic!("{action}: {deployment:#?}"));
        assert_eq!(
            (&entry["reason"], &entry["actor"]),
            (&json!("a test"), &json!("operator:ada")),
            "{action}"
        );
        assert_eq!(with(&own, action, "allowed").len(), 1, "{action}");
    }
}

/// A run grant is kept for long: it is not made before it is clear for whom, and its tenant
/// sees it.
#[tokio::test]
async fn a_run_grant_is_its_tenants_to_see_and_is_not_made_for_two() {
    let rig = Rig::start().await;
    let form = encode(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:bulkhead:params:oauth:token-type:tenant"),
        ("requested_token_type", "urn:bulkhead:params:oauth:token-type:run-grant"),
        ("subject_token", "acme"),
        ("environment", "live"),
        ("workflow", "support"),
        ("run", "r-1"),
        ("scope", "model:chat"),
    ]);
    let bearer = format!("Bearer {}", rig.service);
    let ask = async |tenant: &str| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-tenant-id", tenant),
        ];
        rig.send(Plane::Control, Method::POST, "/oauth/token", &headers, form.clone()).await
    };
    let made = async || {
        let path = "/admin/v1/tenants/acme/run-grants";
        rig.admin(Method::GET, path, Value::Null).await.good().json()["items"].clone()
    };
    ask("globex").await.refused(403, "scope.mismatch");
    assert_eq!(made().await, json!([]));
    let grant = ask("acme").await.good().json();
    assert_eq!(made().await[0]["id"], grant["id"]);
    for entries in [rig.audit("acme", "live").await, log(&rig).await] {
        let minted = with(&entries, "run_grant.mint", "allowed");
        let [minted] = minted.as_slice() else { panic!("{entries:#?}") };
        assert_eq!(minted["actor"], "service:backend");
        assert_eq!(
            (&minted["detail"]["grant"], &minted["detail"]["run"]),
            (&grant["id"], &json!("r-1"))
        );
    }
}

/// A credential that leaked is revoked whether or not its tenant is served at that moment.
#[tokio::test]
async fn a_suspended_tenants_credentials_can_be_revoked() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let key = rig.key("acme", "live").await["secret"].as_str().unwrap().to_owned();
    rig.admin(Method::POST, "/admin/v1/tenants/acme/suspend", Value::Null).await.good();
    for leaked in [&token, &key] {
        let body = json!({"token": leaked});
        rig.admin(Method::POST, "/admin/v1/revocations", body).await.good();
    }
    rig.admin(Method::POST, "/admin/v1/tenants/acme/resume", Value::Null).await.good();
    for leaked in [&token, &key] {
        rig.get(leaked, "/v1/models").await.refused(401, "scope.revoked");
    }
}

/// A key of ours that somebody else may have signs nothing that is taken.
#[tokio::test]
async fn a_signing_key_is_withdrawn_at_once() {
    let mut rig = Rig::start().await;
    let old = [rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await];
    let path = "/admin/v1/signing-keys/rotate";
    rig.admin(Method::POST, path, Value::Null).await.good();
    // Proven once, it is remembered; what was signed under the key before it is good, too.
    for token in &old {
        rig.get(token, "/v1/models").await.good();
    }
    let now = json!({"retire_now": true});
    unsaid(&rig, &rig.operator, Method::POST, path, now.clone())
        .await
        .refused(400, "request.malformed");
    let keys = rig.admin(Method::POST, path, now).await.good().json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    let fresh = rig.token("acme", "live", ALL).await;
    for _ in 0..2 {
        for token in &old {
            rig.get(token, "/v1/models").await.refused(401, "scope.unknown_key");
        }
        rig.get(&fresh, "/v1/models").await.good();
        rig.stop().await;
        rig.serve_again().await;
    }
}

#[tokio::test]
async fn a_backup_goes_neither_to_the_data_nor_to_the_keys() {
    let rig = Rig::start().await;
    let (data, keys) = (&rig.settings.storage.data.dir, &rig.settings.storage.keys);
    let link = rig.dir.path().join("link");
    std::os::unix::fs::symlink(keys, &link).unwrap();
    let paths: [PathBuf; 5] = [
        data.clone(),
        data.join("backup"),
        keys.join("a/b"),
        link.join("backup"),
        rig.dir.path().join("away/../keys/backup"),
    ];
    for path in paths {
        let reply = rig.admin(Method::POST, "/admin/v1/backup", json!({"path": path})).await;
        reply.refused(400, "request.malformed");
    }
    let good = json!({"path": rig.dir.path().join("database")});
    rig.admin(Method::POST, "/admin/v1/backup", good).await.good();
}

/// A restore that failed halfway and is called again does not forget that it has to be finished.
#[tokio::test]
async fn a_restore_that_is_called_twice_still_voids_what_was_revoked() {
    let mut rig = Rig::start().await;
    let key = rig.key("globex", "live").await;
    let key = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    let backup = rig.dir.path().join("backup");
    rig.admin(Method::POST, "/admin/v1/backup", json!({"path": backup})).await.good();
    let path = format!("/admin/v1/keys/{}", key.0);
    rig.admin(Method::DELETE, &path, Value::Null).await.good();
    rig.admin(Method::DELETE, "/admin/v1/tenants/acme", Value::Null).await.good();
    rig.stop().await;

    rig.settings.storage.data.dir = rig.dir.path().join("restored");
    let (root, away) = (rig.settings.storage.keys.join("root.key"), rig.dir.path().join("away"));
    fs::rename(&root, &away).unwrap();
    let mark = rig.settings.storage.keys.join("restore.pending");
    for code in ["vault.root", "store.not_empty"] {
        let restored =
            restore_with(&rig.settings, &backup, rig.clock.clone(), Arc::new(OsEntropy)).await;
        assert_eq!(restored.unwrap_err().code(), code);
        assert!(mark.exists(), "{code}");
    }
    fs::rename(&away, &root).unwrap();
    rig.serve_again().await;
    assert!(!mark.exists());
    rig.get(key.1, "/v1/models").await.refused(401, "scope.revoked");
    let shown = rig.admin(Method::GET, "/admin/v1/tenants/acme", Value::Null).await.good().json();
    assert_eq!(shown["status"], "erased");

    // One that put nothing there leaves no mark.
    rig.stop().await;
    let restored =
        restore_with(&rig.settings, &backup, rig.clock.clone(), Arc::new(OsEntropy)).await;
    assert_eq!(restored.unwrap_err().code(), "store.not_empty");
    assert!(!mark.exists());
}

/// What a tenant had in an environment that it lost before the backup is erased again, too.
#[tokio::test]
async fn a_restore_erases_environments_that_were_removed() {
    let mut rig = Rig::start().await;
    let acme = "/admin/v1/tenants/acme";
    rig.admin(Method::PATCH, acme, json!({"environments": ["live"]})).await.good();
    let backup = rig.dir.path().join("backup");
    rig.admin(Method::POST, "/admin/v1/backup", json!({"path": backup})).await.good();
    // And one that came and went after it.
    rig.admin(Method::PATCH, acme, json!({"environments": ["live", "late"]})).await.good();
    let token = rig.token("acme", "late", "model:models").await;
    rig.get(&token, "/v1/models").await.good();
    rig.admin(Method::PATCH, acme, json!({"environments": ["live"]})).await.good();
    rig.admin(Method::DELETE, acme, Value::Null).await.good();
    rig.stop().await;

    rig.settings.storage.data.dir = rig.dir.path().join("restored");
    let restored =
        restore_with(&rig.settings, &backup, rig.clock.clone(), Arc::new(OsEntropy)).await;
    assert_eq!(restored.unwrap().erased.len(), 1);
    rig.serve_again().await;
    let entries = log(&rig).await;
    let mut erased: Vec<_> = with(&entries, "tenant.erased", "allowed")
        .into_iter()
        .map(|entry| (entry["actor"].as_str().unwrap(), entry["detail"]["environment"].as_str()))
        .collect();
    erased.sort_unstable();
    let again = ["late", "live", "staging"].map(|name| ("bulkhead", Some(name)));
    assert_eq!(erased, again, "{entries:#?}");
}

/// Somebody reads a file for long: its log cannot be emptied, so rows cannot be removed for good.
/// The keys are gone all the same, the tenant is not served, and the rest follows.
#[tokio::test]
async fn an_erasure_that_has_to_wait_destroys_the_keys_and_goes_on() {
    let mut rig = Rig::start().await;
    for (tenant, by_restart) in [("acme", false), ("globex", true)] {
        let token = rig.token(tenant, "live", ALL).await;
        rig.chat(&token, "cached", "what was asked").await.good();
        let reader = Connection::open(rig.settings.storage.data.dir.join("core.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM rows;").unwrap();

        let path = format!("/admin/v1/tenants/{tenant}");
        let reply = rig.admin(Method::DELETE, &path, Value::Null).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
        let receipt = reply.json();
        assert_eq!(receipt["finished"], false);
        for unit in receipt["environments"].as_array().unwrap() {
            assert!(!unit["keys"].as_array().unwrap().is_empty(), "{unit}");
            assert_eq!(
                (&unit["finished"], &unit["waits_for"]),
                (&json!(false), &json!("store.busy"))
            );
        }
        rig.get(&token, "/v1/models").await.refused(403, "scope.suspended");
        // There is no way back.
        for (method, path, body) in [
            (Method::POST, format!("{path}/resume"), Value::Null),
            (Method::PATCH, path.clone(), json!({"aliases": ["other"]})),
            (
                Method::PUT,
                "/admin/v1/tenants".to_owned(),
                json!({"tenants": [{"id": tenant, "environments": ["live", "more"]}]}),
            ),
        ] {
            rig.admin(method, &path, body).await.refused(404, "directory.missing");
        }
        rig.set_credential(tenant, "live", "sk-new").await.refused(404, "directory.missing");

        drop(reader);
        if by_restart {
            rig.stop().await;
            rig.serve_again().await;
        } else {
            let again = rig.admin(Method::DELETE, &path, Value::Null).await;
            assert_eq!((again.status, &again.json()["finished"]), (200, &json!(true)));
        }
        let shown = rig.admin(Method::GET, &path, Value::Null).await.good().json();
        assert_eq!(shown["status"], "erased");
        rig.get(&token, "/v1/models").await.refused(403, "scope.tenant");
    }
    let entries = log(&rig).await;
    for tenant in ["acme", "globex"] {
        let erased = with(&entries, "tenant.erased", "allowed");
        let erased = erased.into_iter().filter(|entry| entry["target"] == tenant);
        assert!(erased.count() >= 2, "{tenant}: {entries:#?}");
    }
}
