//! `/oauth/token`: a service turns what it holds into tenant tokens and run grants (RFC 8693).

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use ids::{AgentId, Environment, RunId, Subject, WorkflowId};
use scope::{
    AuditSink as _, Entry, Exchange, Grants, Minted, Names, Presented, Scope, Service, Source,
    Want, Write,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    App,
    ask::{Ask, ok},
    fault::Fault,
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";
const RUN_GRANT: &str = "urn:bulkhead:params:oauth:token-type:run-grant";
const TENANT: &str = "urn:bulkhead:params:oauth:token-type:tenant";
/// The types of a trusted issuer's tokens.
const ISSUED: [&str; 3] = [
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:access_token",
];

/// A request for a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    grant_type: String,
    subject_token: String,
    subject_token_type: String,
    requested_token_type: Option<String>,
    audience: Option<String>,
    scope: Option<Grants>,
    environment: Option<Environment>,
    workflow: Option<WorkflowId>,
    run: Option<RunId>,
    agent: Option<AgentId>,
    sub: Option<Subject>,
    ttl_seconds: Option<u64>,
}

pub(crate) async fn exchange(
    app: Arc<App>,
    service: Service,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let form: Form = ask.form(&app).await?;
    let unsupported = |what| Fault::new("request.unsupported", what);
    if form.grant_type != EXCHANGE {
        return Err(unsupported("`grant_type` has to be token exchange (RFC 8693)"));
    }
    if form.audience.as_ref().is_some_and(|audience| audience != app.doors.audience()) {
        return Err(Fault::new("scope.audience", "`audience` is not this deployment"));
    }
    let subject = form.subject_token.as_str();
    let source = match form.subject_token_type.as_str() {
        TENANT => Source::Tenant(subject),
        RUN_GRANT => Source::RunGrant(subject),
        TXN_TOKEN => Source::Token(subject),
        kind if ISSUED.contains(&kind) => Source::Issuer(subject),
        _ => return Err(Fault::malformed("`subject_token_type` is none that is known here")),
    };
    let want = match form.requested_token_type.as_deref() {
        None | Some(TXN_TOKEN) => Want::Token,
        Some(RUN_GRANT) => Want::RunGrant,
        Some(_) => {
            return Err(Fault::malformed("`requested_token_type` is none that is made here"));
        }
    };
    let exchange = Exchange {
        source,
        want,
        environment: form.environment,
        workflow: form.workflow,
        run: form.run,
        agent: form.agent,
        subject: form.sub,
        grants: form.scope,
        life: form.ttl_seconds.map(Duration::from_secs),
    };
    let minted = match want {
        Want::Token => token(&app, &service, &ask, exchange).await,
        Want::RunGrant => run_grant(&app, &service, &ask, exchange).await,
    };
    match minted {
        Ok(minted) => ok(&answer(&app, want, &minted)),
        Err(fault) => {
            refused(&app, &service, &fault).await;
            Err(fault)
        }
    }
}

/// A token. Making one leaves nothing behind, so one that is not for whom the request named is
/// dropped here.
async fn token(
    app: &App,
    service: &Service,
    ask: &Ask,
    exchange: Exchange<'_>,
) -> Result<Minted, Fault> {
    let minted = app.doors.exchange(service, exchange).await?;
    concur(app, ask, &minted).await?;
    Ok(minted)
}

/// A run grant, which is kept: so a token is made first that tells for whom it would be. By it
/// the grant can be recorded where its tenant sees it, too.
async fn run_grant(
    app: &App,
    service: &Service,
    ask: &Ask,
    exchange: Exchange<'_>,
) -> Result<Minted, Fault> {
    let first = Exchange { want: Want::Token, life: None, ..exchange.clone() };
    let first = token(app, service, ask, first).await?;
    let presented = Presented { credentials: vec![&*first.secret], claims: Vec::new() };
    let scope = app.doors.authenticate(&presented).await?;
    let minted = app.doors.exchange(service, exchange).await?;
    if let Err(fault) = granted(app, service, &scope, &minted).await {
        // Nobody has seen it, and nobody will.
        app.registry.revoke_run_grant(&minted.tenant, &minted.id).await?;
        return Err(fault);
    }
    Ok(minted)
}

/// Run grants live long, so each is in its tenant's log and the deployment's before it is handed
/// out. Tokens are not: they live for minutes, and what they do is in their tenant's records.
async fn granted(
    app: &App,
    service: &Service,
    scope: &Scope<Write>,
    minted: &Minted,
) -> Result<(), Fault> {
    if (scope.tenant(), scope.environment()) != (&minted.tenant, &minted.environment) {
        return Err(Fault::new("scope.mismatch", "the subject token's tenant has just changed"));
    }
    let told = |target: &dyn ToString| {
        Entry::allowed(actor(service), "run_grant.mint", target.to_string())
            .with("environment", &minted.environment)
            .with("grant", minted.id)
            .with("run", &minted.run)
    };
    app.audit.record(scope, told(&minted.id)).await?;
    Ok(app.audit.record_deployment(&app.system, told(&minted.tenant)).await?)
}

/// So is what a proven service was refused. The refusal stands, recorded or not.
async fn refused(app: &App, service: &Service, fault: &Fault) {
    let entry = Entry::denied(actor(service), "token.exchange", "token", fault.code)
        .because(&fault.message);
    if let Err(error) = app.audit.record_deployment(&app.system, entry).await {
        tracing::error!(%error, "a refusal could not be recorded");
    }
}

fn actor(service: &Service) -> String {
    format!("service:{}", service.name())
}

/// A request that names another tenant beside the one it asks a token for is ambiguous: it gets
/// none.
async fn concur(app: &App, ask: &Ask, minted: &Minted) -> Result<(), Fault> {
    for claim in app.extract.claims(ask.headers(), &ask.query) {
        let agrees = match claim.names {
            Names::Environment => claim.value == minted.environment.as_str(),
            Names::Tenant => {
                let found = app.registry.find(claim.value).await?;
                found.is_some_and(|record| record.id == minted.tenant)
            }
        };
        if !agrees {
            let place = claim.place;
            return Err(Fault::new(
                "scope.mismatch",
                format!("identities disagree: {place} names another one than the token is for"),
            ));
        }
    }
    Ok(())
}

fn answer(app: &App, want: Want, minted: &Minted) -> serde_json::Value {
    let (kind, usage) = match want {
        Want::Token => (TXN_TOKEN, "Bearer"),
        // It is good for an exchange and nothing else (RFC 8693, section 2.2.1).
        Want::RunGrant => (RUN_GRANT, "N_A"),
    };
    json!({
        "access_token": *minted.secret,
        "issued_token_type": kind,
        "token_type": usage,
        "expires_in": minted.expires.since(app.clock.now()).as_secs(),
        "scope": minted.grants,
        "id": minted.id,
        "tenant": minted.tenant,
        "environment": minted.environment,
        "run": minted.run,
    })
}
