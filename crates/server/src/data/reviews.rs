//! `/v1/reviews`: what a tenant's own people have to decide, and how their agents' writes stand.
//!
//! Decisions are for people: `reviews:decide` is in no credential of an agent unless somebody puts it
//! there, and even then whoever asked, or works in the same workflow, approves nothing.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use gate::{Hop, Touch};
use ids::{
    RandomId,
    json::{self as strict, Json},
    text,
};
use reviews::{Decision, Finding, Review, State};
use scope::{AuditSink as _, Entry, Scope, Write};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

use super::body::{self, Body};
use crate::{
    App, approved,
    ask::{Ask, ok},
    fault::Fault,
    held::held,
    pairs,
};

/// The most bytes of a decision.
const DECISION: usize = 16 << 10;
/// The longest reason, in bytes; audit logs have the same bound.
const MAX_REASON: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    after: Option<RandomId>,
    limit: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    /// Seconds.
    wait: Option<u64>,
}

/// A person's decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decide {
    approve: bool,
    /// Of what the person saw, as the review says it.
    digest: String,
    reason: Option<String>,
}

/// How a write went of which that was not known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settle {
    /// Whether it was done.
    done: bool,
    /// Of what the person saw, as the review says it.
    digest: String,
    pub(crate) reason: Option<String>,
}

/// Other arguments in place of those that were asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// All of them, but for what comes from the credential.
    pub(crate) arguments: Box<RawValue>,
    pub(crate) reason: Option<String>,
}

impl Decide {
    pub(crate) const fn new(approve: bool, digest: String, reason: String) -> Self {
        Self { approve, digest, reason: Some(reason) }
    }

    /// What was decided, by whom.
    pub(crate) fn by(self, by: String) -> Result<Decision, Fault> {
        let Self { approve, digest, reason } = self;
        Ok(Decision { by, approve, reason: fit(reason)?, digest: seen(&digest)? })
    }

    /// What stands in a log.
    pub(crate) const fn action(approve: bool) -> &'static str {
        if approve { "review.approve" } else { "review.deny" }
    }
}

impl Settle {
    /// What was found out, by whom.
    pub(crate) fn by(self, by: String) -> Result<Finding, Fault> {
        let Self { done, digest, reason } = self;
        Ok(Finding { by, done, reason: fit(reason)?, digest: seen(&digest)? })
    }
}

/// The digest of what a person saw.
fn seen(digest: &str) -> Result<[u8; 32], Fault> {
    text::unhex(digest)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Fault::malformed("`digest` is the review's, 64 hexadecimal digits"))
}

/// The review of the path. What is no id names nothing.
pub(crate) fn named(ask: &Ask) -> Result<RandomId, Fault> {
    RandomId::parse(ask.param("id")).map_err(|_| reviews::Error::Missing.into())
}

pub(crate) async fn list(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let Paging { after, limit } = ask.query(&app)?;
    let limit = usize::try_from(limit.unwrap_or(100)).unwrap_or(usize::MAX).clamp(1, 1_000);
    let hop = Hop::review(Touch::Read, ask.request);
    let (app, scope) = (&*app, &scope);
    app.gate
        .pass(scope, hop, |pass| async move {
            let listed = app.reviews.of(scope).list(after, limit).await?;
            Ok(held(ok(&page(&listed, limit))?, scope, pass).await)
        })
        .await
}

/// One, with all that is to be decided on; at once, or as soon as it is decided. Whoever waits holds no
/// place of the tenant's: it is let through once to be told that there is something to wait for, and
/// again when there is something to be told.
pub(crate) async fn one(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let Waiting { wait } = ask.query(&app)?;
    let id = named(&ask)?;
    if let Some(seconds) = wait.filter(|seconds| *seconds > 0) {
        let hop = Hop::review(Touch::Read, ask.request);
        let before = app.gate.pass(&scope, hop, |pass| async {
            let found = app.reviews.of(&scope).record(id).await?;
            pass.complete();
            Ok::<_, Fault>(found)
        });
        if before.await?.state == State::Open {
            waited(&app, &scope, id, seconds).await?;
        }
    }
    let hop = Hop::review(Touch::Read, ask.request);
    let (app, scope) = (&*app, &scope);
    app.gate
        .pass(scope, hop, |pass| async move {
            let (review, payload) = app.reviews.of(scope).get(id).await?;
            Ok(held(ok(&whole(&review, payload))?, scope, pass).await)
        })
        .await
}

/// Waits for a decision, for at most as long as is allowed. That there is none by then is no error.
async fn waited(app: &App, scope: &Scope<Write>, id: RandomId, seconds: u64) -> Result<(), Fault> {
    let most = Duration::from_secs(seconds.min(app.settings.tools.limits.approval_wait_seconds));
    if let Ok(decided) = tokio::time::timeout(most, app.reviews.waiting(scope, id)).await {
        decided?;
    }
    Ok(())
}

pub(crate) async fn decide(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let id = named(&ask)?;
    let (decide, hop, _held) = said::<Decide>(&app, &scope, &mut ask, DECISION).await?;
    let decision = decide.by(scope.actor().to_string())?;
    let decided = app.gate.pass(&scope, hop, |pass| async {
        // What is not there is not announced either.
        app.reviews.of(&scope).record(id).await?;
        let action = Decide::action(decision.approve);
        let mut entry = Entry::allowed(scope.actor(), action, id);
        if let Some(reason) = &decision.reason {
            entry = entry.because(reason);
        }
        app.audit.record(&scope, entry).await?;
        let decided = app.reviews.of(&scope).decide(id, decision).await?;
        pass.complete();
        Ok::<_, Fault>(decided)
    });
    let decided = decided.await?;
    approved::carry_out(&app, &scope, &decided);
    ok(&shown(&decided))
}

/// Says how a write went of which nothing else could find that out.
pub(crate) async fn settle(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let id = named(&ask)?;
    let (settle, hop, _held) = said::<Settle>(&app, &scope, &mut ask, DECISION).await?;
    let finding = settle.by(scope.actor().to_string())?;
    let settled = app.gate.pass(&scope, hop, |pass| async {
        let settled = found_out(&app, &scope, id, finding).await?;
        pass.complete();
        Ok::<_, Fault>(settled)
    });
    ok(&shown(&settled.await?))
}

/// Settles it, and puts on record first what was said, by whom: of what may be said alone.
pub(crate) async fn found_out(
    app: &App,
    scope: &Scope<Write>,
    id: RandomId,
    finding: Finding,
) -> Result<Review, Fault> {
    app.reviews.of(scope).may_settle(id, &finding).await?;
    let action = if finding.done { "review.done" } else { "review.not_done" };
    let mut entry = Entry::allowed(&finding.by, action, id);
    if let Some(reason) = &finding.reason {
        entry = entry.because(reason);
    }
    app.audit.record(scope, entry).await?;
    Ok(app.tools.settle(scope, id, finding).await?)
}

/// Puts other arguments in place of those that were asked for. Nobody has allowed these yet.
pub(crate) async fn edit(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let id = named(&ask)?;
    let most = app.settings.tools.limits.arguments_bytes.saturating_add(DECISION);
    let (edit, hop, _held) = said::<Edit>(&app, &scope, &mut ask, most).await?;
    let Edit { arguments, reason } = edit;
    let reason = fit(reason)?;
    let edited = app.gate.pass(&scope, hop, |pass| async {
        // What is not there is not announced either.
        app.reviews.of(&scope).record(id).await?;
        let mut entry = Entry::allowed(scope.actor(), "review.edit", id);
        if let Some(reason) = &reason {
            entry = entry.because(reason);
        }
        app.audit.record(&scope, entry).await?;
        let by = scope.actor().to_string();
        let arguments = arguments.get().as_bytes();
        let edited = app.tools.edit(&scope, id, arguments, &by).await?;
        pass.complete();
        Ok::<_, Fault>(edited)
    });
    ok(&shown(&edited.await?))
}

/// A body that a person sends, read strictly; the hop that it makes, and what it counts.
async fn said<T: DeserializeOwned>(
    app: &App,
    scope: &Scope<Write>,
    ask: &mut Ask,
    most: usize,
) -> Result<(T, Hop, impl Sized + use<T>), Fault> {
    let hop = Hop::review(Touch::Write, ask.request);
    let Body { bytes, charge, entered } = body::read(app, scope, ask, &hop, most).await?;
    Json::parse(&bytes, &strict::Limits::default())
        .map_err(|error| Fault::malformed(error.to_string()))?;
    let said = serde_json::from_slice(&bytes)
        .map_err(|error| Fault::malformed(pairs::told(&error.to_string())))?;
    Ok((said, hop.bytes_in(bytes.len() as u64), (charge, entered)))
}

/// A reason as logs take it.
fn fit(reason: Option<String>) -> Result<Option<String>, Fault> {
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|text| !text.is_empty());
    let unfit = |text: &String| text.len() > MAX_REASON || text.chars().any(char::is_control);
    if reason.as_ref().is_some_and(unfit) {
        return Err(Fault::malformed(format!(
            "a reason is text of {MAX_REASON} bytes at most, on one line"
        )));
    }
    Ok(reason)
}

/// A page of a list.
pub(crate) fn page(listed: &[Review], limit: usize) -> Value {
    let next = listed.last().filter(|_| listed.len() == limit).map(|last| last.id);
    let items: Vec<_> = listed.iter().map(shown).collect();
    json!({"items": items, "next": next})
}

/// A review without what is in it.
pub(crate) fn shown(review: &Review) -> Value {
    let mut told = json!(review);
    told["opened"] = review.opened.to_string().into();
    told["expires"] = review.expires.to_string().into();
    for (told, decided) in
        told["decisions"].as_array_mut().into_iter().flatten().zip(&review.decisions)
    {
        told["at"] = decided.at.to_string().into();
    }
    told
}

/// A review with all of what is in it: as JSON, and as the very text that the digest is of, so
/// that nothing is lost of a number and nobody decides on something else.
#[derive(serde::Serialize)]
pub(crate) struct Whole {
    #[serde(flatten)]
    review: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Box<RawValue>>,
    canonical: String,
}

pub(crate) fn whole(review: &Review, payload: Vec<u8>) -> Whole {
    // It is canonical JSON, whoever asked.
    let canonical = String::from_utf8_lossy(&payload).into_owned();
    let arguments = RawValue::from_string(canonical.clone()).ok();
    Whole { review: shown(review), arguments, canonical }
}
