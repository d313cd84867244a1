//! The tenant's own view: its audit log, and what happened in its runs.

use std::sync::Arc;

use axum::response::Response;
use gate::{Hop, Reading};
use ids::{RandomId, RunId};
use records::{AuditEntry, Filter, Log, Recorded};
use scope::{Scope, Write};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    App,
    ask::{Ask, ok},
    fault::Fault,
    held::held,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    after: Option<String>,
    limit: Option<u64>,
}

impl Paging {
    fn limit(&self) -> usize {
        usize::try_from(self.limit.unwrap_or(100)).unwrap_or(usize::MAX).clamp(1, 1_000)
    }
}

pub(crate) async fn audit(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let after = number(paging.after.as_deref())?;
    let limit = paging.limit();
    let hop = Hop::records(Reading::Audit, ask.request);
    let (log, scope) = (&app.audit.of(&scope), &scope);
    app.gate
        .pass(scope, hop, |pass| async move {
            let listed = log.list(after, limit).await?;
            Ok(held(ok(&entries(&listed, limit))?, scope, pass).await)
        })
        .await
}

pub(crate) async fn audit_head(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let hop = Hop::records(Reading::Audit, ask.request);
    let log = &app.audit.of(&scope);
    app.gate
        .pass(&scope, hop, |pass| async move {
            let _held = pass;
            ok(&head(log).await?)
        })
        .await
}

pub(crate) async fn audit_export(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let (after, limit) = (number(paging.after.as_deref())?, exported(paging.limit));
    let hop = Hop::records(Reading::Audit, ask.request);
    let (log, scope) = (&app.audit.of(&scope), &scope);
    app.gate
        .pass(scope, hop, |pass| async move {
            Ok(held(ok(&log.export(after, limit).await?)?, scope, pass).await)
        })
        .await
}

pub(crate) async fn run_events(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let run: RunId = ask.id("run")?;
    let after = paging.after.as_deref().map(RandomId::parse).transpose()?;
    let filter = Filter { run: Some(run), after, limit: paging.limit(), newest_first: false };
    let hop = Hop::records(Reading::Runs, ask.request);
    let (recorder, scope, filter) = (&app.recorder, &scope, &filter);
    app.gate
        .pass(scope, hop, |pass| async move {
            let listed = recorder.list(scope, filter).await?;
            // Another tenant's run and one that never was look the same from here.
            if listed.is_empty() && filter.after.is_none() {
                return Err(Fault::not_found());
            }
            Ok(held(ok(&page(&listed, filter.limit))?, scope, pass).await)
        })
        .await
}

/// A page of events.
pub(crate) fn page(listed: &[Recorded], limit: usize) -> Value {
    let next = listed.last().filter(|_| listed.len() == limit).map(|last| last.id);
    let items: Vec<_> = listed
        .iter()
        .map(|recorded| {
            let mut item = json!(recorded);
            item["at"] = recorded.event.at.to_string().into();
            // As it stood in the answer's header.
            item["request"] = recorded.event.request.to_string().into();
            item
        })
        .collect();
    json!({"items": items, "next": next})
}

/// A page of an audit log.
pub(crate) fn entries(listed: &[AuditEntry], limit: usize) -> Value {
    let next = listed.last().filter(|_| listed.len() == limit).map(|last| last.seq.to_string());
    let items: Vec<_> = listed
        .iter()
        .map(|entry| {
            let mut item = json!(entry);
            if let Some(at) = entry.at {
                item["at"] = at.to_string().into();
            }
            item
        })
        .collect();
    json!({"items": items, "next": next})
}

/// The signed head of a log as it is now, with the keys that verify it, newest first.
pub(crate) async fn head(log: &Log<'_>) -> Result<Value, Fault> {
    let mut head = json!(log.head().await?);
    head["keys"] = log.verifier_keys().into();
    Ok(head)
}

/// How much one export gives: as much as there is, up to 10,000 entries, unless it is said.
pub(crate) fn exported(limit: Option<u64>) -> usize {
    usize::try_from(limit.unwrap_or(10_000)).unwrap_or(usize::MAX).clamp(1, 10_000)
}

/// Where a page of an audit log begins.
pub(crate) fn number(after: Option<&str>) -> Result<u64, Fault> {
    match after {
        None => Ok(0),
        Some(after) => {
            after.parse().map_err(|_| Fault::malformed("`after` is what a page said in `next`"))
        }
    }
}
