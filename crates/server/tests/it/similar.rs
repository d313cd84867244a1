//! Answers to questions that mean the same: for the tenant's environment alone, and only where
//! the tenant can have them measured.

use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Reply, Rig, chat_body, secret_of, units};

async fn rig() -> Rig {
    Rig::with(|settings| {
        let base = settings.model.providers[0].base_url.clone();
        let model = json!({
            "providers": [
                {"id": "standin", "base_url": base},
                {"id": "measuring", "base_url": base},
            ],
            "routes": [
                {"name": "plain", "provider": "standin"},
                {"name": "similar", "aliases": ["alike"], "provider": "standin",
                    "cache": {"ttl_seconds": 600},
                    "semantic": {"embeddings": "measure", "threshold": 0.97}},
                {"name": "measure", "provider": "measuring"},
            ],
        });
        settings.model = serde_json::from_value(model).unwrap();
    })
    .await
}

async fn ask(rig: &Rig, token: &str, prompt: &str) -> Reply {
    rig.chat_with(token, &[], chat_body("similar", prompt, false)).await.good()
}

#[tokio::test]
async fn a_similar_question_is_answered_within_one_environment() {
    let rig = rig().await;
    for (tenant, environment) in units() {
        let body = json!({"secret": format!("{}-m", secret_of(tenant, environment))});
        rig.upstream.mark(&format!("{}-m", secret_of(tenant, environment)), "measured");
        rig.set_credential_of("measuring", tenant, environment, body).await.good();
    }
    for (tenant, environment) in units() {
        let token = rig.token(tenant, environment, ALL).await;
        let unit = format!("{tenant}/{environment}");
        let first = ask(&rig, &token, "refunds are how").await;
        assert_eq!(first.header("x-bulkhead-cache"), "miss", "{unit}");
        assert!(first.text().contains(&unit), "{}", first.text());
        let near = ask(&rig, &token, "refunds work how").await;
        assert_eq!(near.header("x-bulkhead-cache"), "semantic", "{unit}");
        assert_eq!(near.header("x-bulkhead-similarity"), "1.0000");
        assert_eq!(near.body, first.body, "{unit}");
        assert_eq!(ask(&rig, &token, "refunds are how").await.header("x-bulkhead-cache"), "hit");
        assert_eq!(ask(&rig, &token, "weather is how").await.header("x-bulkhead-cache"), "miss");
    }
    let metrics = rig.admin(Method::GET, "/metrics", Value::Null).await.good().text();
    assert!(metrics.contains("bulkhead_semantic_hits_total 4\n"), "{metrics}");
    let status =
        async || rig.admin(Method::GET, "/admin/v1/status", Value::Null).await.good().json();
    let before = status().await;
    assert_eq!(before["semantic"]["tenants"], 4);
    assert_eq!(
        before["routes"][1],
        json!({"name": "similar", "aliases": ["alike"], "semantic": true})
    );
    // Nothing of it outlives a tenant, nor the time that it is served, nor an environment.
    rig.admin(Method::DELETE, "/admin/v1/tenants/acme", Value::Null).await.good();
    assert_eq!(status().await["semantic"]["tenants"], 2);
    let globex = "/admin/v1/tenants/globex";
    let fewer = json!({"environments": ["live"]});
    rig.admin(Method::PATCH, globex, fewer).await.good();
    assert_eq!(status().await["semantic"]["tenants"], 1);
    let suspend = format!("{globex}/suspend");
    rig.admin(Method::POST, &suspend, json!({"reason": "a test"})).await.good();
    assert_eq!(status().await["semantic"]["tenants"], 0);
}

#[tokio::test]
async fn without_anybody_to_measure_it_is_off_and_says_so() {
    let rig = rig().await;
    let token = rig.token("acme", "live", ALL).await;
    for prompt in ["refunds are how", "refunds work how"] {
        let reply = ask(&rig, &token, prompt).await;
        assert_eq!(reply.header("x-bulkhead-cache"), "miss");
        assert!(reply.header("x-bulkhead-semantic").starts_with("off; reason="), "{reply:?}");
        assert!(reply.header("x-bulkhead-similarity").is_empty());
    }
}
