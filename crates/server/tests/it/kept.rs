//! The scoped cache over HTTP: an agent's own results, for its own workflow and nobody else.

use std::{collections::BTreeSet, fs, time::Duration};

use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, ENVIRONMENTS, Headers, Reply, Rig, TENANTS};

const PATH: &str = "/v1/cache/prices/eur/2026";

async fn put(rig: &Rig, token: &str, headers: Headers<'_>, body: &str) -> Reply {
    rig.call(token, Method::PUT, PATH, headers, body.to_owned()).await
}

#[tokio::test]
async fn a_result_is_kept_for_a_while() {
    let rig = Rig::start().await;
    let a = rig.token("acme", "live", ALL).await;
    let made = put(&rig, &a, &[("content-type", "application/json")], "[1]").await.good();
    assert_eq!((made.status, made.body.len()), (204, 0));
    // Whichever run asks: it is the workflow's.
    let again = rig.token("acme", "live", ALL).await;
    let got = rig.get(&again, PATH).await.good();
    assert_eq!((got.text().as_str(), got.header("content-type")), ("[1]", "application/json"));
    assert_eq!((got.header("etag"), got.header("x-bulkhead-cache")), (made.header("etag"), "hit"));
    let fresh = [("if-none-match", got.header("etag"))];
    let unchanged = rig.call(&a, Method::GET, PATH, &fresh, "").await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    put(&rig, &a, &[], "other").await.good();
    assert_eq!(rig.call(&a, Method::GET, PATH, &fresh, "").await.good().text(), "other");

    put(&rig, &a, &[("x-bulkhead-ttl", "60")], "brief").await.good();
    rig.clock.advance(Duration::from_secs(61));
    rig.get(&a, PATH).await.refused(404, "not_found");
    put(&rig, &a, &[], "long").await.good();
    let a = rig.token("acme", "live", ALL).await;
    assert_eq!(rig.call(&a, Method::DELETE, PATH, &[], "").await.status, 204);
    rig.get(&a, PATH).await.refused(404, "not_found");
    assert_eq!(rig.call(&a, Method::DELETE, PATH, &[], "").await.status, 204, "as if it was");
}

/// The caller's own versions tell its own results apart, and nothing that it says reaches
/// anybody else's.
#[tokio::test]
async fn caller_namespace() {
    let rig = Rig::start().await;
    let mut tokens = Vec::new();
    for tenant in TENANTS {
        for environment in ENVIRONMENTS {
            tokens.push((
                format!("{tenant}/{environment}"),
                rig.token(tenant, environment, ALL).await,
            ));
        }
    }
    let at = "/admin/v1/tenants/acme/environments/live/keys";
    let billing = json!({"workflow": "billing", "scope": ALL});
    let billing = rig.admin(Method::POST, at, billing).await.good().json();
    tokens.push(("billing".to_owned(), billing["secret"].as_str().unwrap().to_owned()));
    let mut missing = BTreeSet::new();
    for (unit, token) in &tokens {
        for version in ["1", "2"] {
            let headers = [("x-bulkhead-cache-version", version)];
            missing.insert(rig.call(token, Method::GET, PATH, &headers, "").await.text());
            put(&rig, token, &headers, &format!("{unit} {version}")).await.good();
        }
        missing.insert(rig.get(token, PATH).await.refused(404, "not_found").text());
    }
    assert_eq!(missing.len(), 1, "{missing:?}");
    for (unit, token) in &tokens {
        for version in ["1", "2"] {
            let headers = [("x-bulkhead-cache-version", version)];
            let got = rig.call(token, Method::GET, PATH, &headers, "").await.good();
            assert_eq!(got.text(), format!("{unit} {version}"));
        }
        for name in
            ["x-cache-namespace", "helicone-cache-seed", "cf-aig-cache-key", "x-bf-cache-key"]
        {
            let headers = [(name, "acme"), ("x-bulkhead-cache-version", "1")];
            let got = rig.call(token, Method::GET, PATH, &headers, "").await.good();
            assert_eq!(got.text(), format!("{unit} 1"), "{name}");
        }
    }
    for (_, token) in &tokens[1..] {
        let headers = [("x-tenant-id", "acme"), ("x-environment", "live")];
        let reply = rig.call(token, Method::GET, PATH, &headers, "").await;
        assert!(reply.status == 403 || token == &tokens[4].1, "{}", reply.text());
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let rig = Rig::with(|settings| settings.cache.value_max_bytes = 1_000).await;
    let a = rig.token("acme", "live", ALL).await;
    let long = "k".repeat(513);
    for (path, headers, body, status, code) in [
        ("/v1/cache/e/a%00", &[][..], "", 400, "request.malformed"),
        ("/v1/cache/e%0A/a", &[], "", 400, "request.malformed"),
        (&format!("/v1/cache/e/{long}"), &[], "", 400, "request.malformed"),
        (&format!("/v1/cache/{}/k", &long[..129]), &[], "", 400, "request.malformed"),
        (PATH, &[], &"v".repeat(1_001), 413, "request.too_large"),
        (PATH, &[], &"v".repeat(999), 413, "request.too_large"),
        (PATH, &[("x-bulkhead-ttl", "-1")], "", 400, "request.malformed"),
        (PATH, &[("x-bulkhead-cache-version", "a b")], "", 400, "request.malformed"),
        (PATH, &[("if-none-match", "*")], "", 400, "request.unsupported"),
        (PATH, &[("if-match", "\"x\"")], "", 400, "request.unsupported"),
    ] {
        let reply = rig.call(&a, Method::PUT, path, headers, body.to_owned()).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{path} {headers:?}");
    }
}

/// What was kept under policies that hold no more is not shown under others.
#[tokio::test]
async fn results_do_not_outlive_the_policies() {
    const ALLOWS: &str = "permit (principal, action, resource);";
    let rig = Rig::with(|settings| {
        let path = settings.storage.keys.with_file_name("policies.cedar");
        fs::write(&path, ALLOWS).unwrap();
        settings.policy.file = Some(path);
    })
    .await;
    let a = rig.token("acme", "live", ALL).await;
    put(&rig, &a, &[], "kept").await.good();
    let file = rig.settings.policy.file.clone().unwrap();
    let reload = async |text: &str| {
        fs::write(&file, format!("{ALLOWS}\n{text}")).unwrap();
        rig.admin(Method::POST, "/admin/v1/policy/reload", Value::Null).await.good();
    };
    reload(r#"forbid (principal, action, resource == Bulkhead::Shelf::"prices");"#).await;
    rig.get(&a, PATH).await.refused(403, "policy.denied");
    reload(r#"forbid (principal, action, resource == Bulkhead::Shelf::"others");"#).await;
    rig.get(&a, PATH).await.refused(404, "not_found");
}
