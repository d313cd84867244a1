//! What was acknowledged survives `kill -9`: tenants, keys, revocations, audit entries.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet};

use super::deployment::{Deployment, client, send};

const ROUNDS: usize = 3;
const WRITERS: usize = 4;
/// The server is killed once this many writes of a round were acknowledged.
const ENOUGH: usize = 24;

/// What the server said it has done.
#[derive(Default)]
struct Acknowledged {
    tenants: Vec<String>,
    /// Secret, and whether it was revoked.
    keys: Vec<(String, bool)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_kill_9() {
    let mut deployment = Deployment::started("http://127.0.0.1:9/v1");
    let done = Arc::new(Mutex::new(Acknowledged::default()));
    for round in 0..ROUNDS {
        let mut writers = JoinSet::new();
        let count = Arc::new(AtomicUsize::new(0));
        for writer in 0..WRITERS {
            let (base, operator) = (deployment.control("/admin/v1"), deployment.operator());
            let (done, count) = (Arc::clone(&done), Arc::clone(&count));
            let name = format!("t{round}-{writer}");
            writers.spawn(async move { write(&base, &operator, &name, &done, &count).await });
        }
        while count.load(Ordering::Acquire) < ENOUGH {
            tokio::task::yield_now().await;
            assert!(!writers.is_empty());
        }
        // The others are in the middle of something.
        deployment.kill();
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        deployment.start();
        check(&deployment, &*done.lock().await, round).await;
    }
}

/// Creates tenants, gives them keys and revokes every other one, until the server is gone.
async fn write(
    base: &str,
    operator: &str,
    name: &str,
    done: &Mutex<Acknowledged>,
    count: &AtomicUsize,
) {
    let client = client();
    let ask = async |method: &str, path: String, body: Option<Value>| {
        let got = send(&client, method, format!("{base}{path}"), operator, body).await?;
        // One that is being killed may still say that it cannot.
        assert!(got.status < 300 || got.status >= 500, "{got:?}");
        (got.status < 300).then(|| {
            count.fetch_add(1, Ordering::AcqRel);
            got.json
        })
    };
    for number in 0.. {
        let tenant = format!("{name}-{number}");
        let new = json!({ "id": tenant, "environments": ["live"] });
        let Some(_) = ask("POST", "/tenants".into(), Some(new)).await else { return };
        done.lock().await.tenants.push(tenant.clone());
        let path = format!("/tenants/{tenant}/environments/live/keys");
        let new = json!({ "workflow": "support", "scope": "model:models", "reason": "a test" });
        let Some(key) = ask("POST", path, Some(new)).await else { return };
        let secret = key["secret"].as_str().unwrap().to_owned();
        if number % 2 == 0 {
            done.lock().await.keys.push((secret, false));
            continue;
        }
        let path = format!("/keys/{}", key["id"].as_str().unwrap());
        // If the answer is lost, it may be revoked or not: nothing was acknowledged.
        let Some(_) = ask("DELETE", path, None).await else { return };
        done.lock().await.keys.push((secret, true));
    }
}

async fn check(deployment: &Deployment, done: &Acknowledged, round: usize) {
    let listed = deployment.run(&["tenant", "list", "--all", "--json"]).json();
    let found: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap()).collect();
    let log = deployment.run(&["audit", "list", "--all", "--json"]).out;
    for tenant in &done.tenants {
        assert!(found.contains(&tenant.as_str()), "round {round}: {tenant} is gone");
        assert!(log.contains(tenant), "round {round}: {tenant} is not in the audit log");
    }
    let client = client();
    for (secret, revoked) in &done.keys {
        let models = deployment.data("/v1/models");
        let got = send(&client, "GET", models, secret, None).await.unwrap();
        let expected = if *revoked { 401 } else { 200 };
        assert_eq!(got.status, expected, "round {round}: {got:?}");
    }
    let verdict = deployment.run(&["doctor", "--json"]).json();
    assert_eq!(verdict["wrong"], 0, "round {round}: {verdict}");
}
