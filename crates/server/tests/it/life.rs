//! The whole life of a deployment: erasure, backup, restore, rotation, policies.

use std::{fs, path::Path, sync::Arc};

use bulkhead_server::restore_with;
use futures_util::future::join_all;
use http::Method;
use ids::OsEntropy;
use records::Verdict;
use serde_json::{Value, json};

use super::rig::{ALL, Rig, secret_of};

#[tokio::test]
async fn a_backup_comes_back_without_what_was_revoked_or_erased() {
    let mut rig = Rig::start().await;
    rig.add_tenant("initech").await;
    let token = rig.token("globex", "live", ALL).await;
    let key = rig.key("globex", "live").await;
    let key = key["secret"].as_str().unwrap();
    let doomed = rig.token("acme", "live", ALL).await;
    rig.chat(&doomed, "cached", "what acme asked").await.good();

    // While it serves.
    let backup = rig.dir.path().join("backup");
    let body = json!({"path": backup});
    let (copied, answers) = tokio::join!(
        rig.admin(Method::POST, "/admin/v1/backup", body.clone()),
        join_all((0..20).map(|n| {
            let (rig, token) = (&rig, token.as_str());
            async move { rig.chat(token, "cached", &format!("question {n}")).await.status }
        })),
    );
    copied.good();
    assert_eq!(answers, [200; 20]);
    rig.admin(Method::POST, "/admin/v1/backup", body).await.refused(400, "store.not_empty");
    let relative = json!({"path": "backup"});
    rig.admin(Method::POST, "/admin/v1/backup", relative).await.refused(400, "request.malformed");

    // Afterwards one tenant is erased, and one came and was erased.
    rig.add_tenant("brief").await;
    for tenant in ["acme", "brief"] {
        let path = format!("/admin/v1/tenants/{tenant}");
        let receipt = rig.admin(Method::DELETE, &path, Value::Null).await.good().json();
        let environments = receipt["environments"].as_array().unwrap();
        assert_eq!(environments.len(), 2);
        for unit in environments {
            assert!(unit["rows"].as_u64().unwrap() > 0, "{unit}");
            assert!(!unit["keys"].as_array().unwrap().is_empty(), "{unit}");
        }
    }
    rig.get(&doomed, "/v1/models").await.refused(403, "scope.tenant");
    rig.stop().await;

    rig.settings.storage.data.dir = rig.dir.path().join("restored");
    let restored =
        restore_with(&rig.settings, &backup, rig.clock.clone(), Arc::new(OsEntropy)).await;
    let restored = restored.unwrap();
    assert_eq!(restored.tenants, 3);
    let names: Vec<_> = restored.erased.iter().map(ids::TenantId::as_str).collect();
    assert_eq!(names, ["acme", "brief"]);
    rig.serve_again().await;

    for old in [token.as_str(), key] {
        rig.get(old, "/v1/models").await.refused(401, "scope.revoked");
    }
    let fresh = rig.token("globex", "live", ALL).await;
    let reply = rig.chat(&fresh, "plain", "still there?").await.good();
    assert!(reply.text().contains("globex/live"));
    for tenant in ["acme", "brief"] {
        rig.get(&doomed, "/v1/models").await.refused(403, "scope.tenant");
        let again = json!({"id": tenant, "environments": ["live"]});
        let reply = rig.admin(Method::POST, "/admin/v1/tenants", again).await;
        reply.refused(409, "directory.exists");
        let path = format!("/admin/v1/tenants/{tenant}");
        let shown = rig.admin(Method::GET, &path, Value::Null).await.good().json();
        assert_eq!(shown["status"], "erased");
    }
    let log = rig.admin(Method::GET, "/admin/v1/audit?limit=1000", Value::Null).await.good();
    assert!(log.text().contains("\"restore\""), "{}", log.text());
}

/// A crash between copying the data and voiding what it knows must not skip the second.
#[tokio::test]
async fn a_restore_that_was_cut_off_is_finished_before_anything_is_served() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    rig.stop().await;
    let mark = rig.settings.storage.keys.join("restore.pending");
    fs::write(&mark, b"").unwrap();
    rig.serve_again().await;
    assert!(!mark.exists());
    rig.get(&token, "/v1/models").await.refused(401, "scope.revoked");
    let fresh = rig.token("acme", "live", ALL).await;
    rig.stop().await;
    rig.serve_again().await;
    rig.get(&fresh, "/v1/models").await.good();
}

/// What lies on disk is sealed: neither prompts nor credentials nor answers can be read there.
#[tokio::test]
async fn nothing_on_disk_can_be_read() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    rig.chat(&token, "cached", "canary-of-the-prompt").await.good();
    let key = rig.key("acme", "live").await;
    rig.stop().await;
    let secret = secret_of("acme", "live");
    let key = key["secret"].as_str().unwrap();
    let hidden = ["canary-of-the-prompt", "acme/live #", &secret, &rig.operator, key, &token];
    let mut looked_at = 0;
    for dir in ["data", "keys"] {
        for file in fs::read_dir(rig.dir.path().join(dir)).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                // Of indexes, where nothing is yet: `keeping` looks into them.
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            looked_at += bytes.len();
            for text in hidden {
                assert!(!contains(&bytes, text.as_bytes()), "{text} in {}", path.display());
            }
        }
    }
    assert!(looked_at > 50_000);
    // The positive control: what is not secret is found in the same way.
    let core = fs::read(rig.dir.path().join("data/core.db")).unwrap();
    assert!(contains(&core, b"org_acme"));
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn keys_are_rotated_while_serving() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    rig.chat(&token, "cached", "before").await.good();
    let root = &rig.settings.storage.keys.join("root.key");
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    let path = "/admin/v1/keys/root/rotate";
    let report = rig.admin(Method::POST, path, json!({"renew": true})).await.good().json();
    assert_eq!((&report["stranded"], lines(root)), (&json!(0), 2));
    rig.admin(Method::POST, path, json!({"retire": true})).await.good();
    assert_eq!(lines(root), 1);
    let path = "/admin/v1/tenants/acme/environments/live/data-key/rotate";
    let rotated = rig.admin(Method::POST, path, Value::Null).await.good().json();
    assert_eq!((&rotated["version"], rotated["keys"].as_array().unwrap().len()), (&json!(2), 2));
    for _ in 0..2 {
        let hit = rig.chat(&token, "cached", "before").await.good();
        assert_eq!(hit.header("x-bulkhead-cache"), "hit");
        rig.chat(&token, "plain", "after").await.good();
        rig.stop().await;
        rig.serve_again().await;
    }
}

#[tokio::test]
async fn policies_are_reloaded_and_a_bad_file_changes_nothing() {
    const ALLOWS: &str = "permit (principal, action, resource);";
    const FORBIDS: &str = r#"forbid (principal in Bulkhead::Tenant::"acme", action == Bulkhead::Action::"model:chat", resource);"#;
    let rig = Rig::with(|settings| {
        let path = settings.storage.keys.with_file_name("policies.cedar");
        fs::write(&path, ALLOWS).unwrap();
        settings.policy.file = Some(path);
    })
    .await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    rig.chat(&a, "cached", "hello").await.good();
    let file = rig.settings.policy.file.clone().unwrap();
    let reload = async |text: &str| {
        fs::write(&file, text).unwrap();
        rig.admin(Method::POST, "/admin/v1/policy/reload", Value::Null).await
    };
    reload(&format!("{ALLOWS}\n{FORBIDS}")).await.good();
    rig.chat(&a, "cached", "hello").await.refused(403, "policy.denied");
    rig.chat(&b, "cached", "hello").await.good();
    let bad =
        reload(&format!("{ALLOWS}\n{}", FORBIDS.replace("principal in", "principal.evil in")))
            .await;
    bad.refused(400, "policy.invalid");
    rig.chat(&a, "cached", "hello").await.refused(403, "policy.denied");
    let shown = rig.admin(Method::GET, "/admin/v1/policy", Value::Null).await.good().json();
    assert_eq!(shown["policies"], 2);
    reload(ALLOWS).await.good();
    rig.chat(&a, "cached", "hello").await.good();
}

/// A document brings tenants to where they should be, wholly or not at all, and again is
/// nothing.
#[tokio::test]
async fn tenants_are_applied_as_a_document() {
    let rig = Rig::empty(|_| {}).await;
    let document = json!({"tenants": [
        {"id": "acme", "aliases": ["org_1"], "environments": ["live", "test"], "accounts": {"crm": ["42"]}},
        {"id": "globex", "environments": ["live"]},
    ]});
    let path = "/admin/v1/tenants";
    let dry = rig.admin(Method::PUT, "/admin/v1/tenants?dry_run=true", document.clone()).await;
    assert!(!dry.good().json()["changes"].as_array().unwrap().is_empty());
    let listed = rig.admin(Method::GET, path, Value::Null).await.good().json();
    assert_eq!(listed["items"], json!([]));
    rig.admin(Method::PUT, path, document.clone()).await.good();
    let again = rig.admin(Method::PUT, path, document).await.good().json();
    assert_eq!(again["changes"], json!([]));
    let clash = json!({"tenants": [
        {"id": "initech", "environments": ["live"]},
        {"id": "globex", "aliases": ["org_1"]},
    ]});
    rig.admin(Method::PUT, path, clash).await.refused(409, "directory.alias_taken");
    let listed = rig.admin(Method::GET, "/admin/v1/tenants?limit=1", Value::Null).await.good();
    assert_eq!(listed.json()["next"], "acme");
    let rest = rig.admin(Method::GET, "/admin/v1/tenants?after=acme", Value::Null).await.good();
    let ids: Vec<_> =
        rest.json()["items"].as_array().unwrap().iter().map(|t| t["id"].clone()).collect();
    assert_eq!(ids, ["globex"], "nothing of what clashed is there");
}

/// An operator sees a tenant's records with a reason, and the tenant sees that.
#[tokio::test]
async fn who_looks_is_seen() {
    let rig = Rig::start().await;
    let token = rig.minted("acme", "live", &[("scope", ALL), ("run", "r-1")]).await;
    rig.chat(token["access_token"].as_str().unwrap(), "plain", "hello").await.good();
    let path = "/admin/v1/tenants/org_acme/environments/live/events?run=r-1";
    let bearer = format!("Bearer {}", rig.operator);
    let headers = [("authorization", bearer.as_str())];
    let plane = bulkhead_server::routes::Plane::Control;
    let unsaid = rig.send(plane, Method::GET, path, &headers, "").await;
    unsaid.refused(400, "request.malformed");
    let mut events = Value::Null;
    // Events are written behind the answer.
    while events["items"].as_array().is_none_or(Vec::is_empty) {
        let said = format!("{path}&reason=ticket%2042");
        events = rig.send(plane, Method::GET, &said, &headers, "").await.good().json();
    }
    assert_eq!(events["items"][0]["action"], "chat");
    let seen = rig.audit("acme", "live").await;
    let entered: Vec<_> = seen.iter().filter(|e| e["action"] == "operator.enter").collect();
    assert!(!entered.is_empty());
    for entry in entered {
        assert_eq!(
            (&entry["actor"], &entry["reason"]),
            (&json!("operator:ada"), &json!("ticket 42"))
        );
    }
    let others = rig.audit("globex", "live").await;
    assert!(others.iter().all(|entry| entry["action"] != "operator.enter"), "{others:#?}");

    for path in ["/admin/v1/tenants/acme/environments/live/audit/verify", "/admin/v1/audit/verify"]
    {
        let verified = rig.admin(Method::GET, path, Value::Null).await.good().json();
        assert_eq!(verified["intact"], true, "{verified}");
    }
    let head = rig.admin(Method::GET, "/admin/v1/audit/head", Value::Null).await.good().json();
    assert!(head.to_string().contains("bulkhead/bulkhead/"), "{head}");
    // Whoever has the key and an export needs nothing of us.
    let own = rig.token("acme", "live", "audit:read").await;
    let head = rig.get(&own, "/v1/audit/head").await.good().json();
    let key = head["keys"][0].as_str().unwrap();
    let export = rig.get(&own, "/v1/audit/export").await.good();
    let verdict = records::verify_export(&export.body, key).unwrap();
    assert!(matches!(verdict, Verdict::Intact(_)), "{verdict:?}");
    let other = rig.token("globex", "live", "audit:read").await;
    let foreign = rig.get(&other, "/v1/audit/export").await.good();
    let verdict = records::verify_export(&foreign.body, key);
    assert!(!matches!(verdict, Ok(Verdict::Intact(_))), "{verdict:?}");
}

/// What a tenant had in an environment that it lost is erased with the rest.
#[tokio::test]
async fn an_environment_that_was_removed_is_erased_too() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "staging", ALL).await;
    rig.chat(&token, "cached", "what acme tried").await.good();
    let path = "/admin/v1/tenants/acme";
    let fewer = json!({"environments": ["live"]});
    rig.admin(Method::PATCH, path, fewer).await.good();
    rig.get(&token, "/v1/models").await.refused(403, "scope.environment");
    let receipt = rig.admin(Method::DELETE, path, Value::Null).await.good().json();
    let units = receipt["environments"].as_array().unwrap();
    let erased: Vec<_> = units.iter().map(|unit| unit["environment"].as_str().unwrap()).collect();
    assert_eq!(erased, ["live", "staging"]);
    for unit in units {
        assert!(unit["credentials"] == 1 && !unit["keys"].as_array().unwrap().is_empty(), "{unit}");
        assert!(unit["audit"].as_str().unwrap().contains("bulkhead/bulkhead/"), "{unit}");
    }
    // Again is the same as once.
    rig.admin(Method::DELETE, path, Value::Null).await.good();
    let log = rig.admin(Method::GET, "/admin/v1/audit?limit=1000", Value::Null).await.good();
    assert!(log.text().contains("tenant.erased"), "{}", log.text());
}

/// However many it had over time, more than a tenant can have at once.
#[tokio::test]
async fn a_tenant_of_many_former_environments_is_erased() {
    let rig = Rig::start().await;
    let path = "/admin/v1/tenants/acme";
    for round in 0..2 {
        let many: Vec<_> = (0..20).map(|n| format!("preview-{round}-{n}")).collect();
        rig.admin(Method::PATCH, path, json!({"environments": many})).await.good();
    }
    let receipt = rig.admin(Method::DELETE, path, Value::Null).await.good().json();
    assert_eq!(receipt["finished"], true, "{receipt}");
    assert!(receipt["environments"].as_array().unwrap().len() >= 40, "{receipt}");
    let record = rig.admin(Method::GET, path, Value::Null).await.good().json();
    assert_eq!(record["status"], "erased");
}

/// What operators and services are refused is in the deployment's own log.
#[tokio::test]
async fn refusals_of_the_control_plane_are_recorded() {
    let rig = Rig::start().await;
    let eve = json!({"name": "eve", "rights": ["read"]});
    let eve = rig.admin(Method::POST, "/admin/v1/operators", eve).await.good().json();
    let eve = eve["secret"].as_str().unwrap();
    let path = "/admin/v1/tenants/acme/suspend";
    rig.admin_as(eve, Method::POST, path, Value::Null).await.refused(403, "scope.grant");
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:bulkhead:params:oauth:token-type:tenant"),
        ("subject_token", "acme"),
        ("environment", "live"),
        ("workflow", "support"),
        ("scope", "queue:*"),
    ];
    rig.exchange(&rig.service, &form).await.refused(403, "scope.grant");
    let log = rig.admin(Method::GET, "/admin/v1/audit?limit=1000", Value::Null).await.good().json();
    let denied: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["decision"] == "denied")
        .map(|entry| (entry["actor"].as_str().unwrap(), entry["action"].as_str().unwrap()))
        .collect();
    assert_eq!(
        denied,
        [("operator:eve", "operator.denied"), ("service:backend", "token.exchange")]
    );
}
