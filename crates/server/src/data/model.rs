//! The OpenAI-shaped routes: chat completions and models.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use gate::{Action, Hop};
use http::{HeaderName, HeaderValue, header};
use ids::StepId;
use model::{Answer, CallerCache, ChatRequest, ModelCard};
use scope::{Scope, Write};
use serde_json::{Value, json};

use crate::{
    App,
    ask::{Ask, ok},
    fault::Fault,
};

/// What the cache had to do with an answer.
const CACHE: HeaderName = HeaderName::from_static("x-bulkhead-cache");
/// The step of the run, as the caller names it; for records alone.
const STEP: &str = "x-bulkhead-step";

pub(crate) async fn chat(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let wishes = CallerCache::from_headers(ask.headers())?;
    let step = step(&ask)?;
    let body = ask.body(&app).await?;
    let (size, request) = (body.len() as u64, ask.request);
    let described = |target: &str| {
        let mut hop = Hop::model(Action::Chat, target, request).bytes_in(size);
        if let Some(step) = &step {
            hop = hop.step(step.clone());
        }
        hop
    };
    let chat = match parse(&app, &scope, body) {
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
    Ok(wire(answer))
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
