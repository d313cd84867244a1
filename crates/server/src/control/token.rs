//! `/oauth/token`: a service turns what it holds into tenant tokens and run grants (RFC 8693).

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use ids::{AgentId, Environment, RunId, Subject, WorkflowId};
use scope::{AuditSink as _, Entry, Exchange, Grants, Minted, Names, Service, Source, Want};
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
    let token = form.subject_token.as_str();
    let source = match form.subject_token_type.as_str() {
        TENANT => Source::Tenant(token),
        RUN_GRANT => Source::RunGrant(token),
        TXN_TOKEN => Source::Token(token),
        kind if ISSUED.contains(&kind) => Source::Issuer(token),
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
    let minted = async {
        let minted = app.doors.exchange(&service, exchange).await?;
        concur(&app, &ask, &minted).await?;
        Ok(minted)
    };
    match minted.await {
        Ok(minted) => {
            if want == Want::RunGrant {
                granted(&app, &service, &minted).await?;
            }
            ok(&answer(&app, want, &minted))
        }
        Err(fault) => {
            refused(&app, &service, &fault).await;
            Err(fault)
        }
    }
}

/// Run grants live long, so each is in the deployment's log before it is handed out. Tokens are
/// not: they live for minutes, and what they do is in their tenant's records.
async fn granted(app: &App, service: &Service, minted: &Minted) -> Result<(), Fault> {
    let entry = Entry::allowed(actor(service), "run_grant.mint", &minted.tenant)
        .with("environment", &minted.environment)
        .with("grant", minted.id)
        .with("run", &minted.run);
    Ok(app.audit.record_deployment(&app.system, entry).await?)
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

/// A request that names another tenant beside the one it asks a token for is ambiguous: what
/// was minted is not handed out.
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
