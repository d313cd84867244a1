//! A tenant's collections, as an operator sees and mends them: what they take, whether an index
//! is what its rows are, and what has to go.
//!
//! Points themselves are never shown here.

use std::sync::Arc;

use axum::response::Response;
use memory::{
    CollectionName, Info,
    request::{self, Operation, Selector},
};
use scope::{Operator, Scope, Write};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Paging, Why, enter, enter_to_read, may_enter, needed, time};
use crate::{
    App,
    ask::{Ask, json_answer, ok},
    data::qdrant,
    fault::Fault,
};

/// What is erased: one of `all`, `points`, `filter`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Erase {
    /// The whole collection.
    #[serde(default)]
    all: bool,
    /// The points of these ids.
    points: Option<Vec<Value>>,
    /// The points that match.
    filter: Option<Map<String, Value>>,
    reason: Option<String>,
}

/// The collection of the path.
fn named(ask: &Ask) -> Result<CollectionName, Fault> {
    Ok(CollectionName::parse(ask.param("collection"))?)
}

/// The same, to change something: what is done to a collection is in the tenant's log.
async fn entered_to(
    app: &App,
    operator: &Operator,
    ask: &Ask,
    action: &'static str,
    reason: Option<String>,
) -> Result<(CollectionName, Scope<Write>), Fault> {
    let why = needed(ask, reason)?;
    if !ids::planted::is("collections-without-enter") {
        may_enter(operator, action).await?;
    }
    let name = named(ask)?;
    let scope = enter(app, operator, ask, action, &name, &why).await?;
    Ok((name, scope))
}

/// In short.
fn short(info: &Info) -> Value {
    json!({
        "name": info.collection.name.as_str(),
        "created": time(info.collection.created),
        "points": info.points,
        "seq": info.seq,
        "index": {"bytes": info.index_bytes, "indexed": info.indexed, "open": info.open},
    })
}

pub(crate) async fn list(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let mut paging: Paging = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, paging.reason.take()).await?;
    let collections = app.memory.of(&scope);
    let behind =
        |name: &CollectionName| paging.after.as_deref().is_none_or(|after| name.as_str() > after);
    let mut names = collections.list().await?;
    names.sort();
    names.retain(behind);
    let more = names.len() > paging.limit();
    names.truncate(paging.limit());
    let mut items = Vec::with_capacity(names.len());
    for name in &names {
        match collections.info(name).await {
            Ok(info) => items.push(short(&info)),
            // Gone since.
            Err(memory::Error::NoCollection(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let next = names.last().filter(|_| more).map(CollectionName::as_str);
    ok(&json!({"items": items, "next": next}))
}

pub(crate) async fn one(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, reason).await?;
    let info = app.memory.of(&scope).info(&named(&ask)?).await?;
    let schema = &info.collection.schema;
    let mut told = short(&info);
    told["revision"] = info.collection.revision.into();
    told["config"] = qdrant::params(schema);
    told["hnsw_config"] = qdrant::hnsw(schema);
    told["payload_schema"] = qdrant::indexes(schema, None);
    told["metadata"] = Value::Object(schema.metadata.clone());
    ok(&told)
}

pub(crate) async fn verify(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, reason).await?;
    let found = app.memory.of(&scope).verify(&named(&ask)?).await?;
    let memory::Verified { rows, missing, foreign, different } = found;
    let good = missing == 0 && foreign == 0 && different == 0;
    ok(&json!({"rows": rows, "missing": missing, "foreign": foreign, "different": different,
        "good": good}))
}

/// Makes it if there is none of this name.
pub(crate) async fn create(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let body = ask.bytes(&app).await?;
    let schema = request::parse_create(&body, app.memory.settings())?;
    let (name, scope) = entered_to(&app, &operator, &ask, "collection.create", reason).await?;
    let (status, created) = match app.memory.of(&scope).create(&name, schema).await {
        Ok(()) => (http::StatusCode::CREATED, true),
        Err(memory::Error::Exists(_)) => (http::StatusCode::OK, false),
        Err(error) => return Err(error.into()),
    };
    json_answer(status, &json!({"created": created}))
}

/// Indexes a field of payloads, as an adoption finds it; one that is there is made again.
pub(crate) async fn index(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let body = ask.bytes(&app).await?;
    let (field, schema) = request::parse_index(&body, app.memory.settings())?;
    let (name, scope) = entered_to(&app, &operator, &ask, "collection.index", reason).await?;
    let seq = app.memory.of(&scope).create_index(&name, field, schema).await?;
    ok(&json!({"seq": seq}))
}

pub(crate) async fn rebuild(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.json(&app).await?;
    let (name, scope) = entered_to(&app, &operator, &ask, "collection.rebuild", reason).await?;
    let collections = app.memory.of(&scope);
    collections.rebuild(&name).await?;
    let info = collections.info(&name).await?;
    ok(&json!({"points": info.points, "seq": info.seq}))
}

/// Erases. The rows, and whatever the index has of them, are gone when this answers.
pub(crate) async fn erase(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Erase { all, points, filter, reason } = ask.json(&app).await?;
    let selector = match (all, points, filter) {
        (true, None, None) => None,
        (false, Some(points), None) => Some(json!({"points": points})),
        (false, None, Some(filter)) => Some(json!({"filter": filter})),
        _ => return Err(Fault::malformed("one of `all`, `points`, `filter` says what")),
    };
    let selector = selector.map(|words| selected(&app, &words)).transpose()?;
    let (name, scope) = entered_to(&app, &operator, &ask, "collection.erase", reason).await?;
    let collections = app.memory.of(&scope);
    let erased = match selector {
        Some(selector) => collections.erase(&name, selector).await?,
        None => {
            let info = collections.info(&name).await;
            // Also if there is nothing to be told of it: what is left of it goes.
            collections.delete(&name).await?;
            info?.points
        }
    };
    ok(&json!({"erased": erased, "collection": all}))
}

fn selected(app: &App, words: &Value) -> Result<Selector, Fault> {
    let words = words.to_string();
    match request::parse_delete(words.as_bytes(), app.memory.settings())? {
        Operation::Delete(selector) => Ok(selector),
        _ => Err(Fault::malformed("one of `all`, `points`, `filter` says what")),
    }
}

/// Puts points: what an adoption brings. They are nobody's alone.
pub(crate) async fn put(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let body = ask.bytes(&app).await?;
    let parsing = Arc::clone(&app);
    // As many bytes as a tenant may send, which is too much to read where others wait.
    let parse = move || request::parse_upsert(&body, parsing.memory.settings());
    let parsed = tokio::task::spawn_blocking(parse).await;
    let operation = parsed.map_err(|panicked| Fault::internal(&panicked))??;
    let points = match &operation {
        Operation::Upsert(points) => points.len(),
        _ => return Err(Fault::malformed("`points` is a list of points")),
    };
    let (name, scope) = entered_to(&app, &operator, &ask, "collection.put", reason).await?;
    let seqs = app.memory.of(&scope).write(&name, vec![operation]).await?;
    ok(&json!({"points": points, "seq": seqs.last()}))
}
