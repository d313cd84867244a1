//! The deployment's probing of itself: what the server does for it. Who probes is a stand-in here.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bulkhead_server::{
    routes::Plane,
    selfprobe::{self, Commission, Outcome, Prober, TENANTS},
};
use http::Method;
use ids::{BoxFuture, ProviderId, RouteName};
use model::{Kind, Provider, Route};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::rig::{ALL, Rig};

/// Waits until it is told what it found.
#[derive(Default)]
pub(crate) struct Told {
    /// Of the last run.
    commission: Mutex<Option<(String, Arc<AtomicBool>)>>,
    begun: Notify,
    answers: Mutex<Option<mpsc::Receiver<Result<Outcome, String>>>>,
}

impl Prober for Told {
    fn probe(&self, commission: Commission) -> BoxFuture<'static, Result<Outcome, String>> {
        commission.progress.begins("exact-key");
        commission.progress.ended();
        let secret = commission.operator.expose().to_owned();
        let stop = Arc::clone(&commission.stop);
        *self.commission.lock() = Some((secret, commission.stop));
        self.begun.notify_one();
        let answers = self.answers.lock().take();
        Box::pin(async move {
            let Some(mut answers) = answers else { return Ok(Outcome::default()) };
            loop {
                tokio::select! {
                    answer = answers.recv() => return answer.unwrap_or(Err("nobody".into())),
                    () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {
                        if stop.load(Ordering::Relaxed) {
                            return Err("the run was ended".into());
                        }
                    }
                }
            }
        })
    }
}

impl Told {
    /// Its next run waits for this.
    fn waits(&self) -> mpsc::Sender<Result<Outcome, String>> {
        let (says, hears) = mpsc::channel(1);
        *self.answers.lock() = Some(hears);
        says
    }

    fn operator(&self) -> String {
        self.commission.lock().as_ref().unwrap().0.clone()
    }

    fn stopped(&self) -> bool {
        self.commission.lock().as_ref().unwrap().1.load(Ordering::Relaxed)
    }
}

async fn shown(rig: &Rig, path: &str) -> Value {
    rig.admin(Method::GET, path, Value::Null).await.good().json()
}

async fn metrics(rig: &Rig) -> String {
    rig.admin(Method::GET, "/metrics", Value::Null).await.good().text()
}

/// Asks until a run is at its end.
async fn ended(rig: &Rig) -> Value {
    loop {
        let now = shown(rig, "/admin/v1/probe?report=true").await;
        if now["running"].is_null() && !now["last"].is_null() {
            return now;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_run_is_asked_for_told_and_counted() {
    let rig = Rig::empty(|_| {}).await;
    let before = shown(&rig, "/admin/v1/probe").await;
    assert_eq!((&before["available"], &before["last"]), (&json!(true), &Value::Null));
    let says = rig.prober.waits();
    let begun = rig.admin(Method::POST, "/admin/v1/probe", json!({"reason": "a test"})).await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    let id = begun.json()["id"].clone();
    rig.prober.begun.notified().await;
    rig.admin(Method::POST, "/admin/v1/probe", json!({})).await.refused(409, "probe.running");
    let now = shown(&rig, "/admin/v1/probe").await;
    assert_eq!(now["running"]["id"], id);
    assert_eq!(
        (&now["running"]["done"], &now["running"]["doing"]),
        (&json!(1), &json!("exact-key"))
    );
    assert_eq!(now["running"]["by"], "operator:ada");
    // Its operator is one while it runs, and nobody afterwards; and the last one cannot be removed.
    let operator = rig.prober.operator();
    let bearer = format!("Bearer {operator}");
    let with = [("authorization", bearer.as_str())];
    let status = async || {
        rig.send(Plane::Control, Method::GET, "/admin/v1/status", &with, String::new()).await
    };
    status().await.good();
    let found =
        Outcome { leaks: 1, not_proven: 2, isolated: 3, requests: 4, report: json!({"x": 1}) };
    says.send(Ok(found)).await.unwrap();
    let last = &ended(&rig).await["last"];
    assert_eq!((&last["id"], &last["report"]), (&id, &json!({"x": 1})));
    assert_eq!(
        (&last["leaks"], &last["not_proven"], &last["isolated"]),
        (&json!(1), &json!(2), &json!(3))
    );
    status().await.refused(401, "scope.revoked");
    let figures = metrics(&rig).await;
    for line in [
        "bulkhead_probe_leaks 1",
        "bulkhead_probe_not_proven 2",
        "bulkhead_probe_isolated 3",
        "bulkhead_probe_running 0",
        "bulkhead_probe_runs_total{end=\"leak\"} 1",
        "bulkhead_probe_timestamp_seconds 1800000000",
        "bulkhead_probe_age_seconds 0",
    ] {
        assert!(figures.contains(&format!("{line}\n")), "{line}: {figures}");
    }
    let log = shown(&rig, "/admin/v1/audit").await.to_string();
    for action in ["probe.start", "probe.begin", "probe.end"] {
        assert!(log.contains(action), "{action}: {log}");
    }
    assert!(!log.contains(&operator) && !figures.contains(&operator));
}

#[tokio::test]
async fn a_run_that_failed_leaves_the_last_verdict() {
    let rig = Rig::empty(|_| {}).await;
    for found in [Ok(Outcome { isolated: 7, ..Outcome::default() }), Err("no port".to_owned())] {
        let says = rig.prober.waits();
        rig.admin(Method::POST, "/admin/v1/probe", json!({})).await.good();
        rig.prober.begun.notified().await;
        says.send(found).await.unwrap();
        ended(&rig).await;
    }
    let now = shown(&rig, "/admin/v1/probe").await;
    assert_eq!(
        (&now["last"]["failed"], &now["proven"]["isolated"]),
        (&json!("no port"), &json!(7))
    );
    assert!(metrics(&rig).await.contains("bulkhead_probe_runs_total{end=\"failed\"} 1\n"));
}

#[tokio::test]
async fn a_schedule_needs_nobody() {
    let rig = Rig::empty(|settings| settings.probe.every_seconds = 1).await;
    rig.prober.begun.notified().await;
    rig.prober.begun.notified().await;
    assert_eq!(ended(&rig).await["last"]["by"], "schedule");
}

#[tokio::test]
async fn the_end_of_the_server_ends_a_run_in_order() {
    let mut rig = Rig::empty(|_| {}).await;
    let _says = rig.prober.waits();
    rig.admin(Method::POST, "/admin/v1/probe", json!({})).await.good();
    rig.prober.begun.notified().await;
    rig.handle.take().unwrap().shutdown().await.unwrap();
    assert!(rig.prober.stopped());
}

/// What is reserved for two tenants is to everybody else as if it were not there, whatever they hold.
#[tokio::test]
async fn what_is_for_probing_is_nobody_elses() {
    let rig = Rig::with(|settings| {
        let id = ProviderId::parse("bulkhead-probe-shared").unwrap();
        let at = settings.model.providers[0].base_url.clone();
        let route = Route::new(RouteName::parse("bulkhead-probe-chat").unwrap(), id.clone());
        let provider = Provider::new(id, Kind::Openai, &at);
        selfprobe::reserve(settings, vec![provider], vec![route]).unwrap();
    })
    .await;
    let (says, own) = running(&rig).await;
    let new = json!({"id": TENANTS[0], "environments": ["live"]});
    rig.admin_as(&own, Method::POST, "/admin/v1/tenants", new).await.good();
    rig.upstream.mark("sk-of-all", "everybody");
    let held = json!({"secret": "sk-of-all", "shared": true});
    let path = "bulkhead-probe-shared";
    rig.set_credential_of(path, "acme", "live", held.clone())
        .await
        .refused(404, "directory.missing");
    rig.set_credential_of(path, TENANTS[0], "live", held).await.good();
    let (acme, own) =
        (rig.token("acme", "live", ALL).await, rig.token(TENANTS[0], "live", ALL).await);
    assert_eq!(rig.chat(&own, "bulkhead-probe-chat", "hello").await.status, 200);
    rig.chat(&acme, "bulkhead-probe-chat", "hello").await.refused(404, "model.unknown");
    rig.get(&acme, "/v1/models/bulkhead-probe-chat").await.refused(404, "model.unknown");
    assert!(!rig.get(&acme, "/v1/models").await.good().text().contains("bulkhead-probe"));
    assert!(rig.get(&own, "/v1/models").await.good().text().contains("bulkhead-probe-chat"));
    let standing = "/admin/v1/tenants/acme/environments/live/models?reason=test";
    assert!(!shown(&rig, standing).await.to_string().contains("bulkhead-probe"));
    let status = shown(&rig, "/admin/v1/status").await;
    assert_eq!((&status["models"], &status["providers"]), (&json!(3), &json!(2)));
    let operator = json!({"name": "bulkhead-probe", "rights": ["read"]});
    rig.admin(Method::POST, "/admin/v1/operators", operator)
        .await
        .refused(400, "directory.invalid");
    drop(says);
}

/// A run goes on: until what is told is dropped. And its operator.
async fn running(rig: &Rig) -> (mpsc::Sender<Result<Outcome, String>>, String) {
    let says = rig.prober.waits();
    rig.admin(Method::POST, "/admin/v1/probe", json!({})).await.good();
    rig.prober.begun.notified().await;
    (says, rig.prober.operator())
}

/// Who probes takes the tenants of its names for its own: so they are nobody else's.
#[tokio::test]
async fn a_tenant_of_such_a_name_is_the_deployments_own() {
    const ALL_OF_THEM: &str = "/admin/v1/tenants";
    let rig = Rig::with(|_| {}).await;
    let [a, b] = TENANTS;
    let refused = async |method: Method, path: &str, body: Value| {
        rig.admin(method, path, body).await.refused(400, "directory.invalid");
    };
    let new = |id: &str, aliases: &[&str]| json!({"id": id, "aliases": aliases, "environments": ["live"]});
    refused(Method::POST, ALL_OF_THEM, new(a, &[])).await;
    refused(Method::POST, ALL_OF_THEM, new("mallory", &["x", a])).await;
    refused(Method::PATCH, "/admin/v1/tenants/acme", json!({"aliases": [b]})).await;
    for dry_run in ["", "?dry_run=true"] {
        let path = format!("{ALL_OF_THEM}{dry_run}");
        refused(Method::PUT, &path, json!({"tenants": [new(b, &[])]})).await;
        refused(Method::PUT, &path, json!({"tenants": [new("acme", &[b])]})).await;
    }
    assert!(!shown(&rig, ALL_OF_THEM).await.to_string().contains("bulkhead-probe"));

    let (says, own) = running(&rig).await;
    rig.admin_as(&own, Method::POST, ALL_OF_THEM, new(a, &[])).await.good();
    let path = format!("{ALL_OF_THEM}/{a}");
    refused(Method::PATCH, &path, json!({"environments": ["live", "more"]})).await;
    refused(Method::PUT, ALL_OF_THEM, json!({"tenants": [new(a, &["mine"])]})).await;
    // A list may have it, if it is left as it is; and it can be ended.
    rig.admin(Method::PUT, ALL_OF_THEM, json!({"tenants": [new(a, &[])]})).await.good();
    rig.admin(Method::POST, &format!("{path}/suspend"), json!({})).await.good();
    drop(says);
}

#[test]
fn nobody_elses_models_may_have_such_a_name() {
    let mut settings = bulkhead_server::Settings::default();
    let id = ProviderId::parse("bulkhead-probe-x").unwrap();
    settings.model.providers.push(Provider::new(id, Kind::Openai, "https://p.example/v1"));
    assert!(settings.check().unwrap_err().to_string().contains("bulkhead-probe"));
}
