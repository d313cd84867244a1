//! What operators decide: tenants' reviews, one tenant at a time and with a reason, and what is in
//! quarantine. Each look is on record before it is answered: in the tenant's log, and for what is
//! nobody's in the deployment's.

use std::sync::Arc;

use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ids::{Millis, RandomId};
use reviews::{Doubt, Notice};
use scope::Operator;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Paging, Why, announce, enter, enter_to_read, may_enter, needed, time};
use crate::{
    App, approved,
    ask::{Ask, ok},
    data::reviews::{self as shown, Decide, Edit, Settle, named},
    fault::Fault,
};

/// An operator's decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decision {
    approve: bool,
    /// Of what the operator saw, as the review says it.
    digest: String,
    reason: Option<String>,
}

/// Which reviews wait, of all tenants, without what is in them.
pub(crate) async fn index(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let after = paging.after.as_deref().map(behind).transpose()?;
    let limit = paging.limit();
    let pending = app.reviews.pending(&app.system, after, limit).await?;
    let next = pending.last().filter(|_| pending.len() == limit);
    let next = next.map(|last| format!("{}.{}", last.opened.0, last.id));
    let items: Vec<_> = pending.iter().map(noticed).collect();
    ok(&json!({"items": items, "next": next}))
}

/// Where a page of the index begins.
fn behind(after: &str) -> Result<(Millis, RandomId), Fault> {
    let read = || {
        let (opened, id) = after.split_once('.')?;
        Some((Millis(opened.parse().ok()?), RandomId::parse(id).ok()?))
    };
    read().ok_or_else(|| Fault::malformed("`after` is what a page said in `next`"))
}

fn noticed(notice: &Notice) -> Value {
    let mut told = json!(notice);
    told["opened"] = time(notice.opened).into();
    told["expires"] = time(notice.expires).into();
    told
}

/// The page of a list that goes on behind an id.
fn page(paging: &Paging) -> Result<(Option<RandomId>, usize), Fault> {
    let after = paging.after.as_deref().map(RandomId::parse).transpose()?;
    Ok((after, paging.limit()))
}

pub(crate) async fn list(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let mut paging: Paging = ask.query(&app)?;
    let (after, limit) = page(&paging)?;
    let scope = enter_to_read(&operator, &ask, paging.reason.take()).await?;
    let listed = app.reviews.of(&scope).list(after, limit).await?;
    ok(&shown::page(&listed, limit))
}

pub(crate) async fn one(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let id = named(&ask)?;
    let scope = enter_to_read(&operator, &ask, reason).await?;
    let (review, payload) = app.reviews.of(&scope).get(id).await?;
    ok(&shown::whole(&review, payload))
}

pub(crate) async fn decide(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Decision { approve, digest, reason } = ask.json(&app).await?;
    let why = needed(&ask, reason)?;
    let id = named(&ask)?;
    let action = Decide::action(approve);
    may_enter(&operator, action).await?;
    let by = operator.actor().to_string();
    let decision = Decide::new(approve, digest, why.clone()).by(by)?;
    let scope = enter(&app, &operator, &ask, action, id, &why).await?;
    let decided = app.reviews.of(&scope).decide(id, decision).await?;
    approved::carry_out(&app, &scope, &decided);
    ok(&shown::shown(&decided))
}

/// Says how a write went of which nothing else could find that out.
pub(crate) async fn settle(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let mut settle: Settle = ask.json(&app).await?;
    let why = needed(&ask, settle.reason.take())?;
    settle.reason = Some(why.clone());
    let id = named(&ask)?;
    may_enter(&operator, "review.settle").await?;
    let finding = settle.by(operator.actor().to_string())?;
    let scope = enter(&app, &operator, &ask, "review.settle", id, &why).await?;
    let settled = shown::found_out(&app, &scope, id, finding).await?;
    ok(&shown::shown(&settled))
}

/// Puts other arguments in place of those that were asked for. Nobody has allowed these yet.
pub(crate) async fn edit(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Edit { arguments, reason } = ask.json(&app).await?;
    let why = needed(&ask, reason)?;
    let id = named(&ask)?;
    may_enter(&operator, "review.edit").await?;
    let scope = enter(&app, &operator, &ask, "review.edit", id, &why).await?;
    let by = operator.actor().to_string();
    let edited = app.tools.edit(&scope, id, arguments.get().as_bytes(), &by).await?;
    ok(&shown::shown(&edited))
}

/// Whoever looks into quarantine sees what is some tenant's, and it is not known whose.
async fn looking(
    operator: &Operator,
    ask: &Ask,
    action: &'static str,
    target: &str,
    reason: Option<String>,
) -> Result<String, Fault> {
    let why = needed(ask, reason)?;
    if !ids::planted::is("quarantine-look-unrecorded") {
        announce(operator, action, target, &why).await?;
    }
    Ok(why)
}

pub(crate) async fn quarantined(
    app: Arc<App>,
    operator: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let mut paging: Paging = ask.query(&app)?;
    let (after, limit) = page(&paging)?;
    looking(&operator, &ask, "quarantine.list", "quarantine", paging.reason.take()).await?;
    let doubts = app.reviews.quarantined(&app.system, after, limit).await?;
    let next = doubts.last().filter(|_| doubts.len() == limit).map(|last| last.review.id);
    let items: Vec<_> = doubts.iter().map(doubted).collect();
    ok(&json!({"items": items, "next": next}))
}

pub(crate) async fn doubtful(
    app: Arc<App>,
    operator: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let id = named(&ask)?;
    looking(&operator, &ask, "quarantine.read", &id.to_string(), reason).await?;
    let (doubt, thing) = app.reviews.doubtful(&app.system, id).await?;
    let mut told = doubted(&doubt);
    if let Some(thing) = thing {
        // As it came, whatever it is.
        let (encoding, payload) = match String::from_utf8(thing) {
            Ok(text) => ("utf-8", text),
            Err(bytes) => ("base64", STANDARD.encode(bytes.as_bytes())),
        };
        told["encoding"] = encoding.into();
        told["payload"] = payload.into();
    }
    ok(&told)
}

pub(crate) async fn dismiss(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.json(&app).await?;
    let id = named(&ask)?;
    may_enter(&operator, "quarantine.settle").await?;
    let why = looking(&operator, &ask, "quarantine.settle", &id.to_string(), reason).await?;
    let by = operator.actor().to_string();
    let settled = app.reviews.settle(&app.system, id, &by, &why).await?;
    ok(&doubted(&settled))
}

/// A thing in doubt, without it.
fn doubted(doubt: &Doubt) -> Value {
    let mut told = shown::shown(&doubt.review);
    told["found_on"] = json!({"tenant": doubt.tenant, "environment": doubt.environment});
    told
}
