//! The OpenAI-shaped routes: chat completions and models.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use gate::{Action, Coded as _, Hop};
use http::{HeaderName, HeaderValue, header};
use ids::{RequestId, StepId};
use model::{Answer, CallerCache, ChatRequest, ModelCard};
use records::{End, Event};
use scope::{Decision, Scope, Write};
use serde_json::{Value, json};

use crate::{
    App,
    ask::{Ask, ok},
    fault::Fault,
    load::Charge,
};

/// What the cache had to do with an answer.
const CACHE: HeaderName = HeaderName::from_static("x-bulkhead-cache");
/// The step of the run, as the caller names it; for records alone.
const STEP: &str = "x-bulkhead-step";
/// A body of more bytes is not understood where others wait for it.
const LARGE: usize = 256 * 1024;

pub(crate) async fn chat(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let wishes = CallerCache::from_headers(ask.headers())?;
    let step = step(&ask)?;
    let request = ask.request;
    // Nothing is read for whoever may not ask, or asks for too much at once.
    let unread = Hop::model(Action::Chat, "*", request);
    if !scope.may(unread.grant()) {
        let error = scope::Error::Grant(unread.grant().to_owned());
        app.gate.refuse(&scope, &unread, error.code(), &error.to_string()).await;
        return Err(error.into());
    }
    let entered = app.load.enter(&scope, &unread);
    let entered =
        entered.inspect_err(|fault| turned_away(&app, &scope, &unread, request, fault))?;
    let read = ask.body_of(&app, &scope, app.model.limits().body_bytes).await;
    let (body, charge) =
        read.inspect_err(|fault| turned_away(&app, &scope, &unread, request, fault))?;
    let size = body.len() as u64;
    let described = |target: &str| {
        let mut hop = Hop::model(Action::Chat, target, request).bytes_in(size);
        if let Some(step) = &step {
            hop = hop.step(step.clone());
        }
        hop
    };
    let (parsed, charge) = understood(&app, &scope, body, charge).await?;
    let chat = match parsed {
        Ok(chat) => chat,
        Err(error) => {
            if error.code() == "scope.mismatch" {
                let hop = described("body");
                app.gate.refuse(&scope, &hop, error.code(), &error.to_string()).await;
            }
            return Err(error.into());
        }
    };
    let mut hop = described(chat.model()).stream(chat.stream());
    if let Some(route) = app.model.route(chat.model()) {
        hop = hop.provider(route.provider.clone());
    }
    let model = &app.model;
    let answer = app
        .gate
        .pass(&scope, hop, |pass| async {
            Ok::<_, Fault>(model.chat(&scope, pass, chat, wishes).await?)
        })
        .await?;
    // The body is gone; from here on the gate's own place counts.
    drop((charge, entered));
    Ok(wire(answer))
}

/// Load is no question of rights: it has its event, and no entry in the audit log.
fn turned_away(app: &App, scope: &Scope<Write>, hop: &Hop, request: RequestId, fault: &Fault) {
    if fault.code() != "limit.concurrency" {
        return;
    }
    let now = app.clock.now();
    let mut event = Event::of(scope, now, request, hop.surface(), hop.action());
    event.decision = Decision::Denied;
    event.end = End::Failed;
    event.code = Some(fault.code().into());
    app.recorder.event(scope, event);
}

/// A large body takes a thread of its own, and a tenant has only so many of them at once.
async fn understood(
    app: &Arc<App>,
    scope: &Scope<Write>,
    body: Bytes,
    charge: Charge,
) -> Result<(Result<ChatRequest, model::Error>, Charge), Fault> {
    if body.len() <= LARGE {
        return Ok((parse(app, scope, body), charge));
    }
    let lane = app.load.lane(scope).await?;
    let (app, scope) = (Arc::clone(app), scope.clone());
    let parsing = tokio::task::spawn_blocking(move || {
        let parsed = parse(&app, &scope, body);
        // Whoever hangs up meanwhile gives neither back before this is over.
        drop(lane);
        (parsed, charge)
    });
    parsing.await.map_err(|panicked| Fault::internal(&panicked))
}

/// A body that is whole, unambiguous, and names nobody else.
fn parse(app: &App, scope: &Scope<Write>, body: Bytes) -> Result<ChatRequest, model::Error> {
    let chat = ChatRequest::parse(body, app.model.limits())?;
    chat.concur(scope)?;
    Ok(chat)
}

fn step(ask: &Ask) -> Result<Option<StepId>, Fault> {
    let Some(step) = ask.headers().get(STEP) else { return Ok(None) };
    let step = step.to_str().map_err(|_| Fault::malformed("a step that is not text"))?;
    Ok(Some(StepId::parse(step)?))
}

fn wire(answer: Answer) -> Response {
    let Answer { status, content_type, cache, retry_after, body } = answer;
    let body = match body {
        model::Body::Full(bytes) => Body::from(bytes),
        model::Body::Stream(stream) => Body::from_stream(stream),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(CACHE, HeaderValue::from_static(cache.as_str()));
    if let Some(retry_after) = retry_after {
        headers.insert(header::RETRY_AFTER, retry_after);
    }
    response
}

pub(crate) async fn list(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let cards = cards(&app, &scope, &ask, "*").await?;
    let data: Vec<_> = cards.iter().map(card).collect();
    ok(&json!({"object": "list", "data": data}))
}

pub(crate) async fn one(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let name = ask.param("model");
    let cards = cards(&app, &scope, &ask, name).await?;
    let found = cards.iter().find(|card| card.name.as_str() == name);
    ok(&card(found.ok_or_else(|| Fault::from(model::Error::UnknownModel))?))
}

async fn cards(
    app: &App,
    scope: &Scope<Write>,
    ask: &Ask,
    target: &str,
) -> Result<Vec<ModelCard>, Fault> {
    let hop = Hop::model(Action::Models, target, ask.request);
    let model = &app.model;
    app.gate.pass(scope, hop, |pass| async { Ok(model.models(scope, pass).await?) }).await
}

fn card(card: &ModelCard) -> Value {
    json!({
        "id": card.name,
        "object": "model",
        // SDKs expect one; when a model was made is not known here.
        "created": 0,
        "owned_by": card.provider,
    })
}
