//! Credentials of tenants: API keys, tokens to try something out, run grants, revocations.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use directory::{Fresh, NewKey, Page};
use ids::{AgentId, Environment, RandomId, RunId, Subject, WorkflowId};
use scope::{ApiKeyRecord, Exchange, Grants, Kind, Operator, RunGrantRecord, Secret, Source, Want};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Paging, Why, announce, announce_to, cause, ends, enter, enter_into, exist, may_enter, named,
    needed, tenant, time,
};
use crate::{
    App,
    ask::{Ask, created, ok},
    fault::Fault,
};

/// A new API key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    workflow: WorkflowId,
    scope: Grants,
    ttl_seconds: Option<u64>,
    reason: Option<String>,
}

/// How a key is replaced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    /// How long the old one lives on. Default 0.
    #[serde(default)]
    overlap_seconds: u64,
    reason: Option<String>,
}

/// A token to be minted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mint {
    tenant: String,
    environment: Environment,
    workflow: WorkflowId,
    run: Option<RunId>,
    agent: Option<AgentId>,
    sub: Option<Subject>,
    scope: Grants,
    ttl_seconds: Option<u64>,
    /// A run grant instead of a token.
    #[serde(default)]
    run_grant: bool,
    reason: Option<String>,
}

/// What is revoked: one of `token`, `jti`, `lineage`, `grant`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    /// The credential itself: a token, an API key or a run grant.
    token: Option<String>,
    /// A token's id.
    jti: Option<RandomId>,
    /// The id of a token or run grant that others descend from.
    lineage: Option<RandomId>,
    /// A run grant's id.
    grant: Option<RandomId>,
    /// Whose; needed with an id.
    tenant: Option<String>,
    reason: Option<String>,
}

fn shown(key: &ApiKeyRecord) -> Value {
    json!({
        "id": key.id,
        "prefix": key.prefix,
        "tenant": key.tenant,
        "environment": key.environment,
        "workflow": key.workflow,
        "scope": key.grants,
        "created": time(key.created),
        "expires": key.expires.map(time),
        "revoked": key.revoked,
    })
}

/// Without its run, agent and end user: those are the tenant's own records, which are read by
/// entering, with a reason.
fn shown_grant(grant: &RunGrantRecord) -> Value {
    json!({
        "id": grant.id,
        "tenant": grant.tenant,
        "environment": grant.environment,
        "workflow": grant.workflow,
        "scope": grant.grants,
        "created": time(grant.created),
        "expires": time(grant.expires),
        "revoked": grant.revoked,
    })
}

fn with_secret(mut shown: Value, secret: &str) -> Value {
    shown["secret"] = secret.into();
    shown
}

fn fresh(app: &App, secret: &Secret) -> Fresh {
    Fresh {
        id: secret.id(),
        prefix: secret.prefix().to_owned(),
        digest: app.doors.digester().digest(secret.expose()),
    }
}

pub(crate) async fn list(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let (record, environment) = (tenant(&app, &ask).await?, ask.id("environment")?);
    let Page { items, next } = app
        .registry
        .keys(&record.id, &environment, paging.after.as_deref(), paging.limit())
        .await?;
    let items: Vec<_> = items.iter().map(shown).collect();
    ok(&json!({"items": items, "next": next}))
}

pub(crate) async fn create(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Create { workflow, scope, ttl_seconds, reason } = ask.json(&app).await?;
    let reason = needed(&ask, reason)?;
    exist(&app, &scope)?;
    may_enter(&operator, "key.create").await?;
    let secret = Secret::draw(Kind::ApiKey, &*app.entropy);
    let entered = enter(&app, &operator, &ask, "key.create", secret.prefix(), &reason).await?;
    let new = NewKey {
        fresh: fresh(&app, &secret),
        tenant: entered.tenant().clone(),
        environment: entered.environment().clone(),
        workflow,
        grants: scope,
        expires: ends(&app, ttl_seconds),
    };
    let key = app.registry.create_key(new).await?;
    created(&with_secret(shown(&key), secret.expose()))
}

pub(crate) async fn rotate(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Rotate { overlap_seconds, reason } = ask.json(&app).await?;
    let key = app.registry.key(&id(&ask)?).await?;
    // Whoever rotates a key has one.
    may_enter(&operator, "key.rotate").await?;
    announce_key(&app, &operator, &key, "key.rotate", &cause(&ask, reason)?).await?;
    let secret = Secret::draw(Kind::ApiKey, &*app.entropy);
    let overlap = Duration::from_secs(overlap_seconds);
    let new = app.registry.rotate_key(&key.id, fresh(&app, &secret), overlap).await?;
    created(&with_secret(shown(&new), secret.expose()))
}

pub(crate) async fn remove(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let key = app.registry.key(&id(&ask)?).await?;
    announce_key(&app, &operator, &key, "key.revoke", &cause(&ask, reason)?).await?;
    ok(&shown(&app.registry.revoke_key(&key.id).await?))
}

fn id(ask: &Ask) -> Result<RandomId, Fault> {
    RandomId::parse(ask.param("id")).map_err(|_| Fault::not_found())
}

/// Announces what is done to a key.
async fn announce_key(
    app: &App,
    operator: &Operator,
    key: &ApiKeyRecord,
    action: &'static str,
    reason: &str,
) -> Result<(), Fault> {
    let whose = (key.tenant.as_str(), &key.environment);
    enter_into(app, operator, whose, action, &key.prefix, reason).await.map(drop)
}

pub(crate) async fn run_grants(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let record = tenant(&app, &ask).await?;
    let Page { items, next } =
        app.registry.run_grants(&record.id, paging.after.as_deref(), paging.limit()).await?;
    let items: Vec<_> = items.iter().map(shown_grant).collect();
    ok(&json!({"items": items, "next": next}))
}

pub(crate) async fn mint(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let mint: Mint = ask.json(&app).await?;
    let reason = needed(&ask, mint.reason)?;
    exist(&app, &mint.scope)?;
    let action = if mint.run_grant { "run_grant.mint" } else { "token.mint" };
    may_enter(&operator, action).await?;
    let whose = (mint.tenant.as_str(), &mint.environment);
    let entered = enter_into(&app, &operator, whose, action, &mint.workflow, &reason).await?;
    let exchange = Exchange {
        source: Source::Tenant(entered.tenant().as_str()),
        want: if mint.run_grant { Want::RunGrant } else { Want::Token },
        environment: Some(mint.environment),
        workflow: Some(mint.workflow),
        run: mint.run,
        agent: mint.agent,
        subject: mint.sub,
        grants: Some(mint.scope),
        life: mint.ttl_seconds.map(Duration::from_secs),
    };
    let minted = app.doors.mint_for(&operator, exchange).await?;
    created(&json!({
        "token": *minted.secret,
        "id": minted.id,
        "tenant": minted.tenant,
        "environment": minted.environment,
        "run": minted.run,
        "scope": minted.grants,
        "expires": time(minted.expires),
    }))
}

pub(crate) async fn revoke(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let revoke: Revoke = ask.json(&app).await?;
    let reason = cause(&ask, revoke.reason.clone())?;
    let found = what(&app, &revoke).await?;
    let record = named(&app, &found.tenant).await?;
    announce(&operator, "credential.revoke", found.id, &reason).await?;
    announce_to(&operator, &record, "credential.revoke", &reason).await?;
    match found.kind {
        Revoked::Id => {
            app.registry.revoke(&record.id, found.id, app.clock.now()).await?;
        }
        Revoked::Grant => {
            app.registry.revoke_run_grant(&record.id, &found.id).await?;
        }
        Revoked::Key => {
            app.registry.revoke_key(&found.id).await?;
        }
    }
    ok(&json!({"revoked": found.id, "tenant": record.id}))
}

struct Found {
    tenant: String,
    id: RandomId,
    kind: Revoked,
}

enum Revoked {
    Id,
    Grant,
    Key,
}

async fn what(app: &App, revoke: &Revoke) -> Result<Found, Fault> {
    let Revoke { token, jti, lineage, grant, tenant, .. } = revoke;
    let by_id = |id: RandomId, kind| match tenant {
        Some(tenant) => Ok(Found { tenant: tenant.clone(), id, kind }),
        None => Err(Fault::malformed("`tenant` is needed with an id")),
    };
    let found = match (token, jti, lineage, grant) {
        (Some(token), None, None, None) => by_secret(app, token).await?,
        (None, Some(id), None, None) | (None, None, Some(id), None) => by_id(*id, Revoked::Id)?,
        (None, None, None, Some(id)) => by_id(*id, Revoked::Grant)?,
        _ => return Err(Fault::malformed("one of `token`, `jti`, `lineage`, `grant` is needed")),
    };
    // A credential and a name that disagree: nothing is chosen.
    if let Some(name) = tenant
        && named(app, name).await?.id != named(app, &found.tenant).await?.id
    {
        return Err(Fault::new("scope.mismatch", "the credential is not that tenant's"));
    }
    Ok(found)
}

/// What a credential stands for, be it good at this moment or not.
async fn by_secret(app: &App, secret: &str) -> Result<Found, Fault> {
    let (tenant, id) = app.doors.identify(secret).await?;
    let kind = match Kind::of(secret) {
        Some(Kind::ApiKey) => Revoked::Key,
        Some(Kind::RunGrant) => Revoked::Grant,
        _ => Revoked::Id,
    };
    Ok(Found { tenant: tenant.to_string(), id, kind })
}
