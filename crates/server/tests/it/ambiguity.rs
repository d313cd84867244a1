//! Ambiguity is an error, never a choice, and is recorded where the tenant can see it.

use bulkhead_server::routes::Plane;
use http::Method;
use serde_json::json;

use super::rig::{ALL, Rig, chat_body};

/// Every form in which a request can name another tenant or environment than its credential.
#[tokio::test]
async fn every_form_is_a_mismatch_and_is_recorded() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let others = rig.token("globex", "live", ALL).await;
    let staging = rig.token("acme", "staging", ALL).await;
    let bearer = format!("Bearer {token}");

    let mut headers = Vec::new();
    for name in ["x-tenant-id", "x-tenant", "tenant-id", "x-org-id", "x-bulkhead-tenant"] {
        for value in ["globex", "org_globex", "ACME", "acme,globex", "acme globex", "", "*"] {
            headers.push(vec![(name, value)]);
        }
        headers.push(vec![(name, "acme"), (name, "globex")]);
    }
    for name in ["x-environment", "x-tenant-environment", "x-bulkhead-environment"] {
        headers.extend(["staging", "LIVE", ""].map(|value| vec![(name, value)]));
    }
    let damaged = format!("{token}x");
    for credential in [&others, &staging, &damaged] {
        headers.push(vec![("x-api-key", credential.as_str())]);
        headers.push(vec![("api-key", credential.as_str())]);
    }
    let mut expected = 0;
    for more in &headers {
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(more);
        let reply = rig.send(Plane::Data, Method::GET, "/v1/models", &all, "").await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "scope.mismatch"), "{more:?}");
        assert!(!reply.text().contains("globex"), "{}", reply.text());
        let reply = rig.chat_with(&token, more, chat_body("plain", "hello", false)).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "scope.mismatch"), "{more:?}");
        expected += 2;
    }
    for query in [
        "tenant_id=globex",
        "tenantId=globex",
        "Tenant-ID=globex",
        "tenant=org_globex",
        "environment=staging",
        "tenant=",
    ] {
        let reply = rig.get(&token, &format!("/v1/audit?{query}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "scope.mismatch"), "{query}");
        expected += 1;
    }
    for (pointer, value) in [
        ("tenant_id", json!("globex")),
        ("tenant", json!("globex")),
        ("environment", json!("staging")),
        ("metadata", json!({"tenant_id": "globex"})),
        ("metadata", json!({"tenant": "org_globex"})),
        ("metadata", json!({"tenantId": "globex"})),
        ("metadata", json!({"environment": "staging"})),
        ("metadata", json!({"env": "staging"})),
        ("metadata", json!({"tenant_id": ["acme"]})),
        ("metadata", json!({"tenant_id": {"$ne": ""}})),
        ("tenant_id", json!(7)),
    ] {
        for stream in [false, true] {
            let mut body = chat_body("plain", "hello", stream);
            body[pointer] = value.clone();
            let reply = rig.chat_with(&token, &[], body).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (403, "scope.mismatch"),
                "{pointer} {value}"
            );
            expected += 1;
        }
    }
    // One key twice: what we would read is not what the next parser reads.
    for body in [
        r#"{"model":"plain","messages":[],"metadata":{"tenant_id":"acme","tenant_id":"globex"}}"#,
        r#"{"model":"plain","model":"plain","messages":[]}"#,
        r#"{"model":"plain","messages":[{"role":"user","content":"a","content":"b"}]}"#,
    ] {
        let headers = [("authorization", bearer.as_str())];
        let reply =
            rig.send(Plane::Data, Method::POST, "/v1/chat/completions", &headers, body).await;
        reply.refused(403, "scope.mismatch");
        expected += 1;
    }
    assert!(rig.upstream.seen().is_empty(), "nothing of it reached the provider");

    // All of it is in the log of the tenant whose credential it was, and in no other's.
    let denied = |entries: &[serde_json::Value]| -> usize {
        let denied = entries.iter().filter(|entry| entry["code"] == "scope.mismatch");
        denied.map(|entry| summed(entry).unwrap_or(1)).sum()
    };
    rig.clock.advance(std::time::Duration::from_secs(61));
    // The next denial closes the minute and writes its sum.
    rig.get(&token, "/v1/audit?tenant=globex").await.refused(403, "scope.mismatch");
    expected += 1;
    let recorded = denied(&rig.audit("acme", "live").await);
    assert_eq!(recorded, expected, "{:#?}", rig.audit("acme", "live").await);
    for (tenant, environment) in [("globex", "live"), ("acme", "staging"), ("globex", "staging")] {
        assert_eq!(denied(&rig.audit(tenant, environment).await), 0, "{tenant}/{environment}");
    }
}

/// How many denials an entry sums up.
fn summed(entry: &serde_json::Value) -> Option<usize> {
    entry["detail"]["count"].as_str()?.parse().ok()
}

/// A claim may agree, and what SDKs send from the environment is no claim.
#[tokio::test]
async fn what_agrees_passes_and_what_sdks_add_is_stripped() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let agreeing = [
        ("x-tenant-id", "acme"),
        ("x-org-id", "org_acme"),
        ("x-environment", "live"),
        ("x-api-key", token.as_str()),
        ("openai-organization", "org_globex"),
        ("openai-project", "globex"),
        ("cookie", "tenant=globex"),
        ("baggage", "tenant=globex"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let mut body = chat_body("plain", "hello", false);
    body["metadata"] = json!({"tenant_id": "org_acme", "env": "live", "about": "globex"});
    rig.chat_with(&token, &agreeing, body).await.good();
    rig.get(&token, "/v1/audit?tenant=acme&environment=live&limit=5").await.good();

    let seen = rig.upstream.seen();
    let [seen] = seen.as_slice() else { panic!("{seen:?}") };
    for (name, _) in agreeing {
        assert!(!seen.headers.contains_key(name), "{name} went to the provider");
    }
    assert!(!format!("{:?}", seen.headers).contains("globex"), "{:?}", seen.headers);
    assert_eq!(seen.secret, super::rig::secret_of("acme", "live"));
}

/// The control plane, too: a service that names two tenants gets a token for neither.
#[tokio::test]
async fn a_service_that_names_two_tenants_gets_no_token() {
    let rig = Rig::start().await;
    let form = super::rig::encode(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:bulkhead:params:oauth:token-type:tenant"),
        ("subject_token", "acme"),
        ("environment", "live"),
        ("workflow", "support"),
        ("scope", "model:chat"),
    ]);
    let bearer = format!("Bearer {}", rig.service);
    for (name, value, good) in [
        ("x-tenant-id", "globex", false),
        ("x-tenant-id", "nobody", false),
        ("x-environment", "staging", false),
        ("x-tenant-id", "acme", true),
        ("x-tenant-id", "org_acme", true),
    ] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            (name, value),
        ];
        let reply =
            rig.send(Plane::Control, Method::POST, "/oauth/token", &headers, form.clone()).await;
        if good {
            reply.good();
        } else {
            let reply = reply.refused(403, "scope.mismatch");
            assert!(!reply.text().contains("eyJ"), "{}", reply.text());
        }
    }
}
