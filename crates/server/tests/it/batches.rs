//! What a provider works off later passes no gate then, so all of it passes now.

use std::fs;

use http::Method;
use serde_json::{Value, json};

use super::rig::{Reply, Rig};

/// A batch of one line for each of these models.
fn file(models: &[&str]) -> String {
    let line = |model: &&str| {
        json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": "x"}]}})
        .to_string()
    };
    models.iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn upload(rig: &Rig, token: &str, file: &str) -> Reply {
    let part = |name: &str, value: &str| {
        format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = format!("{}{}--x--\r\n", part("purpose", "batch"), part("file", file));
    let headers = [("content-type", "multipart/form-data; boundary=x")];
    rig.call(token, Method::POST, "/v1/files", &headers, body).await
}

/// Whoever may keep files and begin batches may not therefore ask every model.
#[tokio::test]
async fn policies_and_grants_hold_for_each_line() {
    const ALLOWS: &str = "permit (principal, action, resource);";
    let rig = Rig::with(|settings| {
        let path = settings.storage.keys.with_file_name("policies.cedar");
        fs::write(&path, ALLOWS).unwrap();
        settings.policy.file = Some(path);
        settings.model.routes[1].aliases = vec!["other-name".parse().unwrap()];
    })
    .await;
    let all = rig.token("acme", "live", "model:*").await;
    let begin = |file: Value| {
        let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions",
            "completion_window": "24h"});
        body.to_string()
    };
    let json = [("content-type", "application/json")];
    let both = upload(&rig, &all, &file(&["plain", "cached"])).await.good().json()["id"].clone();
    rig.call(&all, Method::POST, "/v1/batches", &json, begin(both.clone())).await.good();
    let policies = rig.settings.policy.file.clone().unwrap();
    let forbids = r#"forbid (principal, action == Bulkhead::Action::"model:chat",
        resource == Bulkhead::Route::"cached");"#;
    fs::write(&policies, format!("{ALLOWS}\n{forbids}")).unwrap();
    rig.admin(Method::POST, "/admin/v1/policy/reload", Value::Null).await.good();
    for model in ["cached", "other-name"] {
        let refused = upload(&rig, &all, &file(&["plain", model])).await;
        refused.refused(403, "policy.denied");
    }
    let one = upload(&rig, &all, &file(&["plain"])).await.good().json()["id"].clone();
    // What was allowed when the lines came is asked again when they are to be worked off.
    let refused = rig.call(&all, Method::POST, "/v1/batches", &json, begin(both)).await;
    refused.refused(403, "policy.denied");

    let files = rig.token("acme", "live", "model:files model:batches").await;
    let refused = rig.call(&files, Method::POST, "/v1/batches", &json, begin(one.clone())).await;
    refused.refused(403, "scope.grant");
    rig.call(&all, Method::POST, "/v1/batches", &json, begin(one)).await.good();
    upload(&rig, &files, &file(&["plain"])).await.refused(403, "scope.grant");
}
