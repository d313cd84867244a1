//! How a tenant stands with each model, and whether it answers.

use std::{sync::Arc, time::Duration};

use axum::{body::Bytes, response::Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gate::Hop;
use ids::{Environment, RequestId, RouteName, WorkflowId};
use model::{
    Answer, Api, Caller, CallerCache, Kind, Provider, Request, RouteStanding, TargetStanding,
};
use scope::{Exchange, Grants, Operator, Presented, Scope, Source, Want, Write};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use vault::SharedCredential;

use super::{enter_into, may_enter, needed, not_there};
use crate::{
    App,
    ask::{Ask, ok},
    data,
    fault::{Fault, status_of},
    selfprobe::is_reserved,
};

/// What calls that are only tried are put down to, if no workflow is named.
const WORKFLOW: &str = "bulkhead-test";
/// The life of the token with which they are made.
const LIFE: Duration = Duration::from_secs(120);
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many are made at once.
const AT_ONCE: usize = 4;
/// Of what a provider says about its error, so many characters are told.
const TOLD: usize = 300;
/// How long it is remembered whose credentials are shared.
const FRESH: Duration = Duration::from_secs(300);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: Option<String>,
}

/// What is tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    /// One model alone, by any of its names.
    route: Option<RouteName>,
    /// With the credential that this workflow has.
    workflow: Option<WorkflowId>,
    reason: Option<String>,
}

pub(crate) async fn list(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let environment: Environment = ask.id("environment")?;
    let why = needed(&ask, reason)?;
    let entered = operator.enter(ask.param("tenant"), &environment, &why).await;
    let scope = entered.map_err(not_there)?;
    ok(&json!({"items": app.model.standing(&scope).await?}))
}

/// One tiny call for each model, by the way that the tenant's own calls take.
pub(crate) async fn test(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Test { route, workflow, reason } = ask.json(&app).await?;
    let environment: Environment = ask.id("environment")?;
    let why = needed(&ask, reason)?;
    // Whoever tries a tenant's credential uses it.
    if !ids::planted::is("model-test-without-enter") {
        may_enter(&operator, "model.test").await?;
    }
    let whose = (ask.param("tenant"), &environment);
    let named = route.as_ref().map_or("*", RouteName::as_str);
    let entered = enter_into(&app, &operator, whose, "model.test", named, &why).await?;
    let workflow = match workflow {
        Some(workflow) => workflow,
        None => WorkflowId::parse(WORKFLOW)?,
    };
    let tenant = entered.tenant().as_str();
    let all = app.model.standing(&entered).await?;
    let chosen: Vec<_> = all
        .into_iter()
        .filter(|standing| match &route {
            Some(route) => standing.name == *route || standing.aliases.contains(route),
            None => true,
        })
        .map(|standing| (endpoint(&app, &standing), standing))
        .collect();
    if chosen.is_empty() && route.is_some() {
        return Err(model::Error::UnknownModel.into());
    }
    let mut tried = Vec::with_capacity(chosen.len());
    for (api, standing) in chosen {
        let whose = (tenant, &environment, &workflow);
        tried.push(one(&app, &operator, whose, api, standing));
    }
    let items: Vec<_> = stream::iter(tried).buffered(AT_ONCE).try_collect().await?;
    ok(&json!({"items": items}))
}

/// The endpoint at which a route is tried.
fn endpoint(app: &App, standing: &RouteStanding) -> Api {
    let has = |api: Api| standing.targets.iter().any(|target| target.apis.contains(&api));
    let measures = app.settings.model.routes.iter().any(|route| {
        route.semantic.as_ref().is_some_and(|semantic| {
            standing.name == semantic.embeddings || standing.aliases.contains(&semantic.embeddings)
        })
    });
    // Providers do not say which of their models answer and which measure; names do.
    let named = |target: &TargetStanding| target.model.contains("embed");
    if has(Api::Embeddings) && (measures || standing.targets.iter().all(named)) {
        return Api::Embeddings;
    }
    let order = [Api::Chat, Api::Messages, Api::Responses, Api::Embeddings];
    order.into_iter().find(|api| has(*api)).unwrap_or(Api::Chat)
}

/// A scope such as the tenant's own calls have, with the one grant that is needed.
async fn scope(
    app: &App,
    operator: &Operator,
    (tenant, environment, workflow): (&str, &Environment, &WorkflowId),
    api: Api,
) -> Result<Scope<Write>, Fault> {
    let hop = Hop::model(data::model::action(api), "*", RequestId::draw(&*app.entropy));
    let exchange = Exchange {
        source: Source::Tenant(tenant),
        want: Want::Token,
        environment: Some(environment.clone()),
        workflow: Some(workflow.clone()),
        run: None,
        agent: None,
        subject: None,
        grants: Some(Grants::parse(hop.grant())?),
        life: Some(LIFE),
    };
    let minted = app.doors.mint_for(operator, exchange).await?;
    let presented = Presented { credentials: vec![&minted.secret], claims: Vec::new() };
    Ok(app.doors.authenticate(&presented).await?)
}

/// Tries one. Its token is made only now: those before it may have taken their time.
async fn one(
    app: &App,
    operator: &Operator,
    whose: (&str, &Environment, &WorkflowId),
    api: Api,
    standing: RouteStanding,
) -> Result<Value, Fault> {
    let scope = scope(app, operator, whose, api).await?;
    let began = Instant::now();
    let name = standing.name.as_str();
    // The one that answers, as far as that is known.
    let likely = |target: &&TargetStanding| target.credential && target.weight > 0;
    let target = standing.targets.iter().find(likely).or_else(|| standing.targets.first());
    let kind = target.map_or(Kind::default(), |target| target.kind);
    let calling = tokio::time::timeout(PATIENCE, call(app, &scope, api, kind, name)).await;
    let late = || Fault::new("upstream.timeout", "it took more than a minute");
    let (status, code, message) = match calling.unwrap_or_else(|_| Err(late())) {
        Ok(answer) if answer.status.is_success() => (answer.status, None, None),
        Ok(answer) => (answer.status, Some("upstream.error"), Some(told(&answer))),
        Err(fault) => (status_of(fault.code), Some(fault.code), Some(fault.message)),
    };
    Ok(json!({
        "route": name,
        "endpoint": api,
        "provider": target.map(|target| &target.provider),
        "ok": code.is_none(),
        "code": code,
        "message": message,
        "status": status.as_u16(),
        "latency_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "isolation": target.and_then(|target| target.isolation),
        "warning": target.and_then(|target| target.warning),
    }))
}

async fn call(
    app: &App,
    scope: &Scope<Write>,
    api: Api,
    kind: Kind,
    name: &str,
) -> Result<Answer, Fault> {
    let body = Bytes::from(tiny(api, kind, name).to_string());
    let mut hop = Hop::model(data::model::action(api), name, RequestId::draw(&*app.entropy))
        .bytes_in(body.len() as u64);
    for provider in app.model.providers(name) {
        hop = hop.provider(provider);
    }
    let asked = Request::parse(api, body, app.model.limits())?;
    // An answer of the cache would prove nothing.
    let cache = CallerCache { no_store: true, ..CallerCache::default() };
    let caller = Caller { cache, ..Caller::default() };
    let model = &app.model;
    app.gate
        .pass(scope, hop, |pass| async { Ok(model.ask(scope, pass, asked, caller).await?) })
        .await
}

/// The smallest request there is.
fn tiny(api: Api, kind: Kind, name: &str) -> Value {
    let messages = json!([{"role": "user", "content": "ping"}]);
    match api {
        Api::Embeddings => json!({"model": name, "input": "ping"}),
        Api::Responses => {
            json!({"model": name, "input": "ping", "max_output_tokens": 16, "store": false})
        }
        // The newer models of OpenAI take the one and not the other.
        Api::Chat if matches!(kind, Kind::Openai | Kind::AzureOpenai) => {
            json!({"model": name, "messages": messages, "max_completion_tokens": 16})
        }
        Api::Chat | Api::Messages | Api::CountTokens => {
            json!({"model": name, "messages": messages, "max_tokens": 1})
        }
    }
}

/// What a provider says about its error; it is rebuilt without anything like a credential.
fn told(answer: &Answer) -> String {
    let model::Body::Full(body) = &answer.body else { return String::new() };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = body["error"]["message"].as_str().unwrap_or("the provider answered with an error");
    said.chars().filter(|c| !c.is_control()).take(TOLD).collect()
}

/// Which providers' credentials are shared, as it was some minutes ago at most: looking reads
/// a row for every credential of the deployment.
#[derive(Default)]
pub(crate) struct Shared(tokio::sync::Mutex<Option<(Instant, Arc<[SharedCredential]>)>>);

impl Shared {
    /// Nothing if it cannot be read: figures of everything else are wanted then most of all.
    pub(crate) async fn get(&self, app: &App) -> Option<Arc<[SharedCredential]>> {
        let mut known = self.0.lock().await;
        if let Some((when, shared)) = &*known
            && when.elapsed() < FRESH
        {
            return Some(Arc::clone(shared));
        }
        let shared: Arc<[_]> = match app.credentials.shared(&app.system).await {
            // What the deployment holds for itself is no tenant's.
            Ok(mut shared) => {
                shared
                    .retain(|one| one.provider.as_ref().is_none_or(|id| !is_reserved(id.as_str())));
                shared.into()
            }
            Err(error) => {
                tracing::error!(code = error.code(), %error, "which credentials are shared could not be read");
                return None;
            }
        };
        *known = Some((Instant::now(), Arc::clone(&shared)));
        Some(shared)
    }

    /// A credential has changed.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// Whether tenants are apart in nothing that this provider keeps of their prompts: they hold
/// one account of it, or it is one server, and their requests carry no salt.
pub(crate) fn shares_prompts(provider: &Provider, shared: &[SharedCredential]) -> bool {
    let held = |one: &SharedCredential| one.provider.as_ref().is_none_or(|id| *id == provider.id);
    (provider.kind.is_engine() || shared.iter().any(held)) && !provider.salts_prompts()
}
