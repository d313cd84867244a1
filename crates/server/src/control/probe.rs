//! The deployment's probing of itself: what came of it last, and another run.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use scope::Operator;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{announce, cause, time};
use crate::{
    App,
    ask::{Ask, json_answer, ok},
    fault::Fault,
    metrics::Text,
    selfprobe::{Depth, ENDS, Ended, How, Outcome, PREFIX, Run},
};

/// A run that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    /// `quick`, `default` or `deep`; as the configuration says, if not said.
    depth: Option<Depth>,
    /// Whether load may be made, to see whether it is felt elsewhere.
    flood: Option<bool>,
    /// These checks alone. Default: all.
    only: Option<Vec<String>>,
    /// For orders and shuffles. Default: another one each time.
    seed: Option<u64>,
    reason: Option<String>,
}

/// How much is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    /// The report, too.
    #[serde(default)]
    report: bool,
}

pub(crate) async fn show(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    let Told { report } = ask.query(&app)?;
    ok(&shown(&app, report))
}

pub(crate) async fn start(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Start { depth, flood, only, seed, reason } = ask.json(&app).await?;
    let reason = cause(&ask, reason)?;
    if !app.selfprobe.is_there() {
        return Err(Fault::new("request.unsupported", "this process was started without a prober"));
    }
    announce(&operator, "probe.start", PREFIX, &reason).await?;
    let settings = &app.settings.probe;
    let how = How {
        depth: depth.unwrap_or(settings.depth),
        flood: flood.unwrap_or(settings.flood),
        only: only.unwrap_or_default(),
        seed,
    };
    let started = app.selfprobe.want(&app, operator.actor().to_string(), how);
    match started {
        Ok(id) => json_answer(StatusCode::ACCEPTED, &json!({"id": id})),
        Err(id) => Err(Fault::new("probe.running", format!("run {id} is not at its end"))),
    }
}

/// What is known, for the admin API.
fn shown(app: &App, report: bool) -> Value {
    let (own, settings) = (&app.selfprobe, &app.settings.probe);
    json!({
        "available": own.is_there(),
        "every_seconds": settings.every_seconds,
        "depth": settings.depth,
        "flood": settings.flood,
        "running": own.running().map(|run| running(&run)),
        "last": own.last().map(|last| ended(app, &last, report)),
        "proven": own.proven().map(|last| ended(app, &last, false)),
    })
}

fn running(run: &Run) -> Value {
    let (done, doing) = run.progress();
    json!({
        "id": run.id,
        "by": run.by,
        "begun": time(run.begun),
        "depth": run.how.depth,
        "flood": run.how.flood,
        "only": run.how.only,
        "done": done,
        "doing": doing,
    })
}

fn ended(app: &App, run: &Ended, report: bool) -> Value {
    let mut shown = json!({
        "id": run.id,
        "by": run.by,
        "begun": time(run.begun),
        "ended": time(run.ended),
        "age_seconds": age(app, run),
    });
    match &run.outcome {
        Err(why) => shown["failed"] = why.as_str().into(),
        Ok(Outcome { leaks, not_proven, isolated, requests, report: whole }) => {
            for (name, count) in [
                ("leaks", leaks),
                ("not_proven", not_proven),
                ("isolated", isolated),
                ("requests", requests),
            ] {
                shown[name] = (*count).into();
            }
            if report {
                shown["report"] = whole.clone();
            }
        }
    }
    shown
}

fn age(app: &App, run: &Ended) -> u64 {
    app.clock.now().since(run.ended).as_secs()
}

/// The verdict of the last run of which something came, and its age.
pub(super) fn write(app: &App, out: &mut Text) {
    let own = &app.selfprobe;
    if let Some(last) = own.proven()
        && let Ok(Outcome { leaks, not_proven, isolated, .. }) = &last.outcome
    {
        for (name, help, count) in [
            ("bulkhead_probe_leaks", "Checks that found a leak, when last probed.", *leaks),
            (
                "bulkhead_probe_not_proven",
                "Checks that showed nothing either way, when last probed.",
                *not_proven,
            ),
            (
                "bulkhead_probe_isolated",
                "Checks that found it isolated, when last probed.",
                *isolated,
            ),
            (
                "bulkhead_probe_timestamp_seconds",
                "When it was last probed, in Unix time.",
                last.ended.0 / 1_000,
            ),
            ("bulkhead_probe_age_seconds", "Since it was last probed.", age(app, &last)),
        ] {
            out.family(name, "gauge", help);
            out.sample(name, &[], count);
        }
    }
    out.family("bulkhead_probe_running", "gauge", "Whether the deployment is being probed.");
    out.sample("bulkhead_probe_running", &[], u64::from(own.running().is_some()));
    out.family("bulkhead_probe_runs_total", "counter", "Probes of the deployment, by their end.");
    for (end, count) in ENDS.into_iter().zip(own.ends()) {
        out.sample("bulkhead_probe_runs_total", &[("end", end)], count);
    }
}
