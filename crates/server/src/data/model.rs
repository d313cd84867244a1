//! The endpoints of models: chat completions, responses, embeddings, messages, and the list.

use std::sync::Arc;

use axum::{body::Body as Bytestream, response::Response};
use gate::{Action, Hop};
use http::{HeaderName, HeaderValue, header};
use model::{Answer, Api, CacheStatus, Caller, ModelCard, Request};
use scope::{Scope, Write};
use serde_json::{Value, json};

use super::{
    body::{self, Body},
    cache::CACHE,
    stepped,
};
use crate::{
    App,
    ask::{Ask, ok},
    fault::Fault,
};

/// How alike the question was whose answer this is.
const SIMILARITY: HeaderName = HeaderName::from_static("x-bulkhead-similarity");
/// That no similar question was looked for, and why.
const SEMANTIC: HeaderName = HeaderName::from_static("x-bulkhead-semantic");

pub(crate) async fn chat(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    asked(app, scope, ask, Api::Chat).await
}

pub(crate) async fn responses(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    asked(app, scope, ask, Api::Responses).await
}

pub(crate) async fn embeddings(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    asked(app, scope, ask, Api::Embeddings).await
}

pub(crate) async fn messages(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    asked(app, scope, ask, Api::Messages).await
}

pub(crate) async fn count_tokens(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    asked(app, scope, ask, Api::CountTokens).await
}

pub(crate) const fn action(api: Api) -> Action {
    match api {
        Api::Chat => Action::Chat,
        Api::Responses => Action::Responses,
        Api::Embeddings => Action::Embeddings,
        Api::Messages | Api::CountTokens => Action::Messages,
    }
}

/// Asks a model at one of its endpoints.
async fn asked(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
    api: Api,
) -> Result<Response, Fault> {
    let caller = Caller::from_headers(ask.headers())?;
    let unread = stepped(&ask, Hop::model(action(api), "*", ask.request))?;
    let most = app.model.limits().body_bytes;
    let Body { bytes, charge, entered } = body::read(&app, &scope, &mut ask, &unread, most).await?;
    let size = bytes.len() as u64;
    let described = |target: &str| {
        let hop = Hop::model(action(api), target, ask.request).bytes_in(size);
        stepped(&ask, hop)
    };
    let (parsed, charge) =
        body::understood(&app, &scope, bytes, charge, move |app, scope, body| {
            let asked = Request::parse(api, body, app.model.limits())?;
            asked.concur(scope)?;
            Ok(asked)
        })
        .await?;
    let asked = match parsed {
        Ok(asked) => asked,
        Err(error) => return Err(body::refused(&app, &scope, &described("body")?, error).await),
    };
    // Policies know a route by its name, whichever of its names the caller used.
    let route = app.model.route(asked.model());
    let name = route.map_or(asked.model(), |route| route.name.as_str());
    let mut hop = described(name)?.stream(asked.stream());
    for provider in app.model.providers(asked.model()) {
        hop = hop.provider(provider);
    }
    let model = &app.model;
    let answer = app
        .gate
        .pass(&scope, hop, |pass| async {
            Ok::<_, Fault>(model.ask(&scope, pass, asked, caller).await?)
        })
        .await?;
    // The body is gone; from here on the gate's own place counts.
    drop((charge, entered));
    Ok(wire(answer))
}

pub(super) fn wire(answer: Answer) -> Response {
    let Answer { status, content_type, cache, retry_after, semantic_off, body } = answer;
    let body = match body {
        model::Body::Full(bytes) => Bytestream::from(bytes),
        model::Body::Stream(stream) => Bytestream::from_stream(stream),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(CACHE, HeaderValue::from_static(cache.as_str()));
    if let CacheStatus::Semantic { similarity } = cache
        && let Ok(similarity) = HeaderValue::from_str(&format!("{similarity:.4}"))
    {
        headers.insert(SIMILARITY, similarity);
    }
    if let Some(why) = semantic_off
        && let Ok(off) = HeaderValue::from_str(&format!("off; reason={why}"))
    {
        headers.insert(SEMANTIC, off);
    }
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
    let model = &app.model;
    // Policies know a route by its name, whichever of its names the caller used.
    let target = model.route(target).map_or(target, |route| route.name.as_str());
    let hop = Hop::model(Action::Models, target, ask.request);
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
