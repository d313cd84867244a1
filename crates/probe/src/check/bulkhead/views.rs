//! What is recorded, and who sees it: a tenant its own events and audit log, operators figures and
//! logs, and nobody anything of what was said.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{
    Known,
    desk::{Desk, REASON, name},
    places::{Spot, What},
};
use crate::{
    canary::{Canary, Side},
    catalog,
    lab::{Caller, Lab},
    place::Place,
    sheet::Sheet,
    verdict::{Halt, Trial},
    wire::{Exchange, Request, quote},
};

/// How often a record is looked for that may not be written yet.
const TRIES: usize = 40;
const PAUSE: Duration = Duration::from_millis(100);
/// The most pages that are turned to the end of a log.
const PAGES: usize = 60;

pub(super) async fn all(desk: &Desk<'_>, known: &Known<'_>, lab: &Lab, sheet: &mut Sheet<'_>) {
    if known.more.run.is_some() {
        sheet
            .run(&catalog::OBJECT_ID, "events of runs", async |trial| {
                events(known, lab, trial).await
            })
            .await;
    }
    if known.control.is_none() {
        return;
    }
    sheet
        .run(&catalog::OBJECT_ID, "audit log", async |trial| audit(desk, known, lab, trial).await)
        .await;
    sheet
        .run(&catalog::OPEN_LOG_STORE, "figures and logs", async |trial| {
            logs(desk, known, lab, trial).await
        })
        .await;
}

/// A hop that leaves a name in the caller's own records: the step that it says it is in.
async fn step(lab: &Lab, by: &Caller, step: &str) -> Result<Exchange, Halt> {
    // That nothing is kept there is an answer, and a hop.
    let path = "/v1/cache/bulkhead-probe/nothing";
    let request = Request::get(path).header("x-bulkhead-step", step);
    let exchange = lab.patiently(by, request).await?;
    match exchange.accepted() || exchange.status() == 404 {
        true => Ok(exchange),
        false => Err(Halt::Failed(format!("the cache was answered {}", exchange.status()))),
    }
}

/// A listing from beginning to end, page by page.
async fn pages(lab: &Lab, by: &Caller, path: &str) -> Result<Vec<Exchange>, Halt> {
    let (mut read, mut after) = (Vec::new(), String::new());
    for _ in 0..PAGES {
        let sign = if path.contains('?') { '&' } else { '?' };
        let whole = format!("{path}{sign}limit=1000{after}");
        let request = Request::get(whole).header("x-bulkhead-reason", REASON);
        let exchange = lab.patiently(by, request).await?;
        let next = exchange.json()["next"].as_str().map(str::to_owned);
        read.push(exchange);
        match next {
            Some(next) => after = format!("&after={}", quote(&next)),
            None => break,
        }
    }
    Ok(read)
}

/// The page with the canary, as soon as it is written.
async fn awaited(
    lab: &Lab,
    by: &Caller,
    path: &str,
    canary: &Canary,
) -> Result<Option<Exchange>, Halt> {
    for _ in 0..TRIES {
        for page in pages(lab, by, path).await? {
            if canary.seen_in(&page).is_some() || lab.options.dry_run {
                return Ok(Some(page));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// Looks at what the attacker is shown.
fn judge(
    lab: &Lab,
    trial: &mut Trial,
    (never, canaries): (&Canary, &[&Canary]),
    (what, page): (&str, &Exchange),
) {
    trial.negative(never.seen_in(page).is_none(), "what was never planted is not found");
    match page.accepted() || page.refused() {
        true => trial.attacked(),
        false => trial.doubt(format!("a look was answered {}", page.status())),
    }
    let side = Side::B;
    let foreign = lab.foreign(side, page);
    let planted = canaries.iter().find_map(|canary| canary.seen_in(page));
    if let Some(seen) = planted.or(foreign.first().cloned()) {
        trial.leaked(what, &seen, &[page]);
    }
}

/// Each tenant's run of the same name has events of its own.
async fn events(known: &Known<'_>, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let never = lab.canaries.never_planted(Side::A);
    let (mine, theirs) = (lab.canary(Side::A, "events"), lab.canary(Side::B, "events"));
    step(lab, a, &mine.text).await?;
    step(lab, b, &theirs.text).await?;
    let path = format!("/v1/runs/{}/events", quote(known.run()));
    for (by, own) in [(a, &mine), (b, &theirs)] {
        let found = awaited(lab, by, &path, own).await?;
        trial.positive(found.is_some(), format!("{} finds its own event", by.label));
    }
    for page in pages(lab, b, &path).await? {
        judge(lab, trial, (&never, &[&mine]), ("B sees A's events", &page));
    }
    let nobody = lab.patiently(&lab.nobody(), Request::get(path)).await?;
    judge(lab, trial, (&never, &[&mine, &theirs]), ("anybody sees events", &nobody));
    trial.summary("a run of the same name is each tenant's own");
    Ok(())
}

/// What an operator did to A, with a reason, is in A's log and not in B's.
async fn audit(
    desk: &Desk<'_>,
    known: &Known<'_>,
    lab: &Lab,
    trial: &mut Trial,
) -> Result<(), Halt> {
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let never = lab.canaries.never_planted(Side::A);
    let mine = lab.canary(Side::A, "audit log");
    let environment = known.more.environments.first().map_or("live", String::as_str);
    let ask = json!({
        "tenant": name(lab, Side::A)?, "environment": environment, "workflow": "bulkhead-probe",
        "scope": "model:models", "ttl_seconds": 60, "reason": mine.text,
    });
    desk.does(lab, "/admin/v1/tokens", &ask, Value::Null).await?;
    let from = beginning(lab, a).await?;
    let found = awaited(lab, a, &format!("/v1/audit?{from}"), &mine).await?;
    trial.positive(found.is_some(), "A finds what was done to it");
    for path in ["/v1/audit", "/v1/audit/export"] {
        for by in [b, &lab.nobody()] {
            for page in pages(lab, by, path).await? {
                let what = format!("{} sees A's audit log", by.label);
                judge(lab, trial, (&never, &[&mine]), (&what, &page));
            }
        }
    }
    trial.summary("each tenant's log is its own");
    Ok(())
}

/// Where the last page of an audit log begins, as a parameter.
async fn beginning(lab: &Lab, by: &Caller) -> Result<String, Halt> {
    let head = lab.patiently(by, Request::get("/v1/audit/head")).await?.json();
    let size = head["size"].as_u64().unwrap_or_default();
    Ok(format!("after={}", size.saturating_sub(100)).replace("after=0", ""))
}

/// Nothing of what A said is in what operators see, and tenants see none of it.
async fn logs(
    desk: &Desk<'_>,
    known: &Known<'_>,
    lab: &Lab,
    trial: &mut Trial,
) -> Result<(), Halt> {
    let (a, b) = (lab.caller(Side::A), lab.caller(Side::B));
    let never = lab.canaries.never_planted(Side::A);
    let (named, said) = (lab.canary(Side::A, "a step"), lab.canary(Side::A, "what was said"));
    step(lab, a, &named.text).await?;
    let spot = Spot::new(What::State, known, lab);
    let planted = spot.plant(lab, a, &said.text).await?;
    asked(known, lab, a, &said.text).await?;
    let metrics = desk.at("/metrics")?;
    for by in [b, a, &lab.nobody()] {
        let exchange = lab.patiently(by, Request::get(metrics.clone())).await?;
        trial.negative(never.seen_in(&exchange).is_none(), "what was never planted is not found");
        trial.attacked();
        if exchange.accepted() {
            trial.leak(format!("{} reads the figures of all", by.label), &[&exchange]);
        }
    }
    operators(desk, lab, trial, (&never, &named, &said), known).await?;
    spot.remove(lab, a, &planted).await?;
    trial.summary("operators see names and numbers; tenants, their own");
    Ok(())
}

/// A question with the text in it, if there is a model to ask.
async fn asked(known: &Known<'_>, lab: &Lab, by: &Caller, text: &str) -> Result<(), Halt> {
    let Some(model) = known.model else { return Ok(()) };
    let body = json!({ "model": model, "max_tokens": 16,
        "messages": [{ "role": "user", "content": text }] });
    lab.patiently(by, Request::new(Method::POST, "/v1/chat/completions").json(&body)).await?;
    Ok(())
}

/// What an operator is shown of A and of the deployment.
async fn operators(
    desk: &Desk<'_>,
    lab: &Lab,
    trial: &mut Trial,
    (never, named, said): (&Canary, &Canary, &Canary),
    known: &Known<'_>,
) -> Result<(), Halt> {
    let operator = desk.operator()?;
    let environment = known.more.environments.first().map_or("live", String::as_str);
    let of = format!(
        "/admin/v1/tenants/{}/environments/{}",
        quote(name(lab, Side::A)?),
        quote(environment)
    );
    let events = desk.at(&format!("{of}/events?run={}", quote(known.run())))?;
    let found = awaited(lab, operator, &events, named).await?;
    trial.positive(found.is_some(), "the operator finds A's step among its events");
    let mut seen = pages(lab, operator, &events).await?;
    for path in ["/metrics", "/admin/v1/status", "/admin/v1/tenants", "/admin/v1/policy"] {
        let exchange = desk.sees(lab, path).await?;
        trial.positive(exchange.accepted(), format!("the operator reads {path}"));
        seen.push(exchange);
    }
    for page in &seen {
        trial.negative(never.seen_in(page).is_none(), "what was never planted is not found");
        trial.attacked();
        if let Some(seen) = said.seen_in(page) {
            trial.leaked("an operator's view has what A said", &seen, &[page]);
        }
    }
    Ok(())
}
