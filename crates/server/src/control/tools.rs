//! Tools, as operators see and try them: what is declared, what is pinned, how far a tenant's
//! writes go, and calls as a tenant makes them.

use std::{sync::Arc, time::Duration};

use axum::{body::Bytes, response::Response};
use ids::{Environment, RequestId, WorkflowId};
use scope::{Exchange, Grants, Operator, Presented, Scope, Source, Want, Write};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tools::{Content, Contract, Effect, Mode, Progress, Recorded, Upstream};

use super::{Why, announce, cause, enter, enter_into, may_enter, needed};
use crate::{
    App,
    ask::{Ask, ok},
    data,
    fault::Fault,
};

/// What calls that are only tried are put down to, if no workflow is named.
const WORKFLOW: &str = "bulkhead-test";
/// The life of the token with which they are made.
const LIFE: Duration = Duration::from_secs(120);

/// A definition that is accepted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// Its hash: nobody accepts something else than they looked at.
    hash: String,
    reason: Option<String>,
}

/// How far writes go at most.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetMode {
    /// Without: as tools and workflows have it.
    mode: Option<Mode>,
    reason: Option<String>,
}

/// A call that is tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    #[serde(default)]
    arguments: Map<String, Value>,
    workflow: Option<WorkflowId>,
    reason: Option<String>,
}

/// A contract that is tried on a recorded answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    #[serde(default)]
    arguments: Map<String, Value>,
    /// What the upstream answered, as it was recorded.
    answer: Option<Recorded>,
    /// Asks the upstream instead; of a tool that reads.
    #[serde(default)]
    live: bool,
    workflow: Option<WorkflowId>,
    reason: Option<String>,
}

pub(crate) async fn list(app: Arc<App>, _: Operator, _: Ask) -> Result<Response, Fault> {
    let settings = &app.settings.tools;
    let pins = app.tools.pins(&app.system).await?;
    // What holds for all, and what each tenant's environment saw.
    let of = |contract: &Contract, everybodys: bool| {
        let there = contract.tool.as_deref().unwrap_or(&contract.name);
        let of_it =
            pins.iter().filter(|pin| pin.upstream == contract.upstream && pin.tool == there);
        of_it.filter(|pin| pin.tenant.is_none() == everybodys).collect::<Vec<_>>()
    };
    let items: Vec<_> = settings
        .contracts
        .iter()
        .map(|contract| {
            let pin = of(contract, true).pop();
            json!({"contract": contract, "pin": pin, "seen": of(contract, false)})
        })
        .collect();
    let upstreams: Vec<_> = settings.upstreams.iter().map(shown).collect();
    ok(&json!({"items": items, "next": null, "upstreams": upstreams, "pins": pins,
        "workflows": settings.workflows}))
}

/// An upstream, without a password in its URL.
fn shown(upstream: &Upstream) -> Value {
    let mut told = json!(upstream);
    let mut url = reqwest::Url::parse(&upstream.url).ok();
    if let Some(url) = &mut url {
        // A URL that can have neither has none.
        let _ = url.set_password(None);
        let _ = url.set_username("");
    }
    told["url"] = url.map_or(Value::Null, |url| url.as_str().into());
    told
}

pub(crate) async fn pin(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Pin { hash, reason } = ask.json(&app).await?;
    let why = cause(&ask, reason)?;
    let name = declared(&app, ask.param("tool"))?.name.clone();
    announce(&operator, "tool.pin", &name, &why).await?;
    ok(&json!(app.tools.pin(&app.system, &name, &hash).await?))
}

/// The contract of this name.
fn declared<'a>(app: &'a App, name: &str) -> Result<&'a Contract, Fault> {
    let found = app.settings.tools.contracts.iter().find(|contract| contract.name == name);
    found.ok_or_else(|| Fault::new("directory.missing", "no tool of this name is declared"))
}

pub(crate) async fn mode(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let environment: Environment = ask.id("environment")?;
    let why = needed(&ask, reason)?;
    let entered = operator.enter(ask.param("tenant"), &environment, &why).await;
    let scope = entered.map_err(super::not_there)?;
    ok(&json!({"mode": app.tools.mode(&scope).await?}))
}

pub(crate) async fn set_mode(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let SetMode { mode, reason } = ask.json(&app).await?;
    let why = cause(&ask, reason)?;
    let target = mode.map_or("none", name_of);
    let scope = enter(&app, &operator, &ask, "tool.mode", target, &why).await?;
    app.tools.set_mode(&scope, mode).await?;
    ok(&json!({"mode": mode}))
}

const fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Suggest => "suggest",
        Mode::Approve => "approve",
        Mode::Execute => "execute",
    }
}

/// A call such as the tenant's own agents make, of a tool that reads.
pub(crate) async fn call(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Call { arguments, workflow, reason } = ask.json(&app).await?;
    let (scope, name) = entered(&app, &operator, &ask, "tool.call", (workflow, reason)).await?;
    if declared(&app, &name)?.effect != Effect::Read {
        return Err(Fault::new("request.unsupported", "only tools that read are called from here"));
    }
    let asked = asked(&name, &arguments, ask.request);
    let answer = data::tools::call(&app, &scope, asked, Progress::none()).await?;
    ok(&json!({"answer": told(answer.content), "observed": answer.observed}))
}

/// What a contract would do: what is bound, refused, sent, and what becomes of an answer. Nothing
/// is sent, unless a live answer is wanted.
pub(crate) async fn test(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Test { arguments, answer, live, workflow, reason } = ask.json(&app).await?;
    let (scope, name) = entered(&app, &operator, &ask, "tool.test", (workflow, reason)).await?;
    let contract = declared(&app, &name)?;
    let asked = asked(&name, &arguments, ask.request);
    let (mut content, mut failed) = (answer.as_ref().map(Recorded::content).transpose()?, None);
    if live {
        if contract.effect != Effect::Read || content.is_some() {
            let why = "only a tool that reads is asked, and only where no answer was recorded";
            return Err(Fault::new("request.unsupported", why));
        }
        match data::tools::call(&app, &scope, asked.clone(), Progress::none()).await {
            Ok(answer) => content = Some(answer.content),
            Err(error) => failed = Some(Fault::from(error)),
        }
    }
    let report = app.tools.test(&scope, &name, &asked.arguments, content.as_ref())?;
    let mut report = json!(report);
    if let Some(fault) = failed {
        report["live"] = json!({"code": fault.code, "message": fault.message});
    }
    ok(&report)
}

fn asked(name: &str, arguments: &Map<String, Value>, request: RequestId) -> tools::Ask {
    tools::Ask {
        name: name.to_owned(),
        arguments: Bytes::from(Value::Object(arguments.clone()).to_string()),
        request,
        step: None,
        key: None,
        review: None,
    }
}

/// A scope such as the tenant's own calls have, with what is needed to read. Whoever tries a
/// tenant's tools uses its credentials.
async fn entered(
    app: &App,
    operator: &Operator,
    ask: &Ask,
    action: &'static str,
    (workflow, reason): (Option<WorkflowId>, Option<String>),
) -> Result<(Scope<Write>, String), Fault> {
    let environment: Environment = ask.id("environment")?;
    let why = needed(ask, reason)?;
    if !ids::planted::is("tool-call-without-enter") {
        may_enter(operator, action).await?;
    }
    let name = ask.param("tool").to_owned();
    let whose = (ask.param("tenant"), &environment);
    let entered = enter_into(app, operator, whose, action, &name, &why).await?;
    let workflow = match workflow {
        Some(workflow) => workflow,
        None => WorkflowId::parse(WORKFLOW)?,
    };
    let exchange = Exchange {
        source: Source::Tenant(entered.tenant().as_str()),
        want: Want::Token,
        environment: Some(environment),
        workflow: Some(workflow),
        run: None,
        agent: None,
        subject: None,
        grants: Some(Grants::parse("tools:list tools:read")?),
        life: Some(LIFE),
    };
    let minted = app.doors.mint_for(operator, exchange).await?;
    let presented = Presented { credentials: vec![&minted.secret], claims: Vec::new() };
    Ok((app.doors.authenticate(&presented).await?, name))
}

/// An answer, for a person.
fn told(content: Content) -> Value {
    match content {
        Content::Mcp(json) | Content::Rows(json) => data::mcp::value(json),
        Content::Http { status, content_type, body } => json!({
            "status": status.as_u16(),
            "content_type": content_type,
            "body": String::from_utf8_lossy(&body),
        }),
    }
}
