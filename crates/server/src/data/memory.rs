//! `/v1/memory`: what agents remember, in two calls. A text is kept, and found again by what it
//! says; with an end user in the credential, each has memories of their own.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use gate::{Hop, Use};
use http::StatusCode;
use ids::json::{self as strict, Json};
use memory::{
    CollectionName, Found, MemorySettings, Payload, Recall, Remember,
    request::{self, Operation, Retrieve},
};
use scope::{Scope, Write};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    body::{self, Body},
    raw, stepped,
};
use crate::{
    App,
    ask::{Ask, created, ok},
    fault::Fault,
    held::held,
    load::Charge,
    pairs,
};

/// The longest that something can be asked to be kept: a hundred years.
const LONGEST: u64 = 100 * 365 * 24 * 60 * 60;

/// What is to be remembered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMemory {
    text: String,
    #[serde(default)]
    metadata: Payload,
    /// In seconds.
    ttl: Option<u64>,
    subject: Option<String>,
}

/// What is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    text: String,
    limit: Option<usize>,
    filter: Option<Value>,
    subject: Option<String>,
}

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, memory::Error> {
    let malformed = memory::Error::Invalid;
    Json::parse(body, &strict::Limits::default()).map_err(|e| malformed(e.to_string()))?;
    serde_json::from_slice(body).map_err(|e| malformed(pairs::told(&e.to_string())))
}

fn remembered(body: &[u8], _: &MemorySettings) -> Result<Remember, memory::Error> {
    let NewMemory { text, metadata, ttl, subject } = parsed(body)?;
    if text.trim().is_empty() {
        return Err(memory::Error::Invalid("`text` is empty".into()));
    }
    if ttl.is_some_and(|seconds| !(1..=LONGEST).contains(&seconds)) {
        let bound = format!("`ttl` is a number of seconds, 1 to {LONGEST}");
        return Err(memory::Error::Invalid(bound));
    }
    Ok(Remember { text, metadata, ttl: ttl.map(Duration::from_secs), subject })
}

fn searched(body: &[u8], bounds: &MemorySettings) -> Result<Recall, memory::Error> {
    let Search { text, limit, filter, subject } = parsed(body)?;
    if text.trim().is_empty() {
        return Err(memory::Error::Invalid("`text` is empty".into()));
    }
    let limit = limit.unwrap_or(10);
    if limit == 0 {
        return Err(memory::Error::Invalid("`limit` is 1 or more".into()));
    }
    if limit > bounds.results {
        let (size, bound) = (limit as u64, bounds.results as u64);
        return Err(memory::Error::TooLarge { what: "`limit`", size, bound });
    }
    Ok(Recall { text, limit, filter, subject })
}

/// A request about a collection, its body read.
async fn asked<T: Send + 'static>(
    app: &Arc<App>,
    scope: &Scope<Write>,
    ask: &mut Ask,
    how: Use,
    parse: fn(&[u8], &MemorySettings) -> Result<T, memory::Error>,
) -> Result<(CollectionName, Hop, T, Charge), Fault> {
    let Nothing {} = ask.query(app)?;
    let name = CollectionName::parse(ask.param("collection"))?;
    let hop = stepped(ask, Hop::memory(how, name.as_str(), ask.request))?;
    let Body { bytes, charge, entered } = body::read(app, scope, ask, &hop, usize::MAX).await?;
    let hop = hop.bytes_in(bytes.len() as u64);
    let parse =
        move |app: &App, _: &Scope<Write>, body: bytes::Bytes| parse(&body, app.memory.settings());
    let (parsed, charge) = body::understood(app, scope, bytes, charge, parse).await?;
    drop(entered);
    Ok((name, hop, parsed?, charge))
}

pub(crate) async fn remember(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, hop, new, charge) = asked(&app, &scope, &mut ask, Use::Write, remembered).await?;
    let ttl = new.ttl.or(app.memory.settings().ttl_seconds.map(Duration::from_secs));
    let (app, scope) = (&*app, &scope);
    app.gate
        .pass(scope, hop, |pass| async {
            let _held = (pass, charge);
            let expires = ttl.map(|ttl| app.clock.now().plus(ttl).to_string());
            let id = app.memory.of(scope).remember(&name, new).await?;
            let mut told = json!({"id": id.json()});
            if let Some(expires) = expires {
                told["expires"] = expires.into();
            }
            created(&told)
        })
        .await
}

pub(crate) async fn search(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, hop, recall, charge) = asked(&app, &scope, &mut ask, Use::Read, searched).await?;
    let (app, scope) = (&*app, &scope);
    app.gate
        .pass(scope, hop, |pass| async {
            let _held = charge;
            let found = app.memory.of(scope).recall(&name, recall).await?;
            let results: Vec<_> = found.into_iter().map(shown).collect();
            Ok(held(ok(&json!({"results": results}))?, scope, pass).await)
        })
        .await
}

fn shown(found: Found) -> Value {
    let Found { id, score, text, metadata, subject, created, expires } = found;
    let mut told = json!({
        "id": id.json(),
        "score": score,
        "text": text,
        "metadata": metadata,
        "created": created.to_string(),
    });
    if let Some(subject) = subject {
        told["subject"] = subject.into();
    }
    if let Some(expires) = expires {
        told["expires"] = expires.to_string().into();
    }
    told
}

/// Forgets one. What is not there and what is somebody else's are one answer.
pub(crate) async fn forget(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let Nothing {} = ask.query(&app)?;
    let name = CollectionName::parse(ask.param("collection"))?;
    let hop = stepped(&ask, Hop::memory(Use::Write, name.as_str(), ask.request))?;
    let (look, gone) = named(ask.param("id"), app.memory.settings())?;
    let (app, scope) = (&*app, &scope);
    app.gate
        .pass(scope, hop, |pass| async {
            let _held = pass;
            let collections = app.memory.of(scope);
            if collections.retrieve(&name, look).await?.is_empty() {
                return Ok(None);
            }
            collections.write(&name, vec![gone]).await?;
            Ok::<_, Fault>(Some(raw::empty(StatusCode::NO_CONTENT, None)))
        })
        .await?
        .ok_or_else(Fault::not_found)
}

/// A point by its id, to look at and to remove: by the words for several, so that there is one
/// way to read an id.
fn named(id: &str, bounds: &MemorySettings) -> Result<(Retrieve, Operation), Fault> {
    let id = id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number));
    let look = json!({"ids": [id], "with_payload": false, "with_vector": false}).to_string();
    let gone = json!({"points": [id]}).to_string();
    Ok((
        request::parse_retrieve(look.as_bytes(), bounds)?,
        request::parse_delete(gone.as_bytes(), bounds)?,
    ))
}
