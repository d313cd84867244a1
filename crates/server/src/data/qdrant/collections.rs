//! Collections themselves, and what their points are found by.

use std::sync::Arc;

use axum::response::Response;
use gate::Use;
use memory::request;
use scope::{Scope, Write};
use serde_json::json;

use super::{
    Call, Changing, Reading, Writing,
    envelope::{self, Updated},
    named,
};
use crate::{App, ask::Ask, fault::Fault};

pub(crate) async fn list(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let call = Call::new(&ask, Use::Read, "*", Reading::of(&app, &ask)?)?;
    let listed = async {
        let names = app.memory.of(&scope).list().await?;
        let names: Vec<_> = names.iter().map(|name| json!({"name": name.as_str()})).collect();
        Ok(json!({"collections": names}))
    };
    call.answer(&app, &scope, listed).await
}

pub(crate) async fn info(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let (name, call) = Call::reading(&app, &ask)?;
    let told = async {
        // Of the points that this caller reaches.
        let info = app.memory.of(&scope).info(&name).await?;
        Ok(envelope::info(&info))
    };
    call.answer(&app, &scope, told).await
}

pub(crate) async fn exists(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let (name, call) = Call::reading(&app, &ask)?;
    let exists = async { Ok(json!({"exists": app.memory.of(&scope).exists(&name).await?})) };
    call.answer(&app, &scope, exists).await
}

pub(crate) async fn create(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let name = named(&ask)?;
    let mut call = Call::new(&ask, Use::Collections, name.as_str(), Changing::of(&app, &ask)?)?;
    let schema = call.body(&app, &scope, &mut ask, request::parse_create).await?;
    let created = async {
        app.memory.of(&scope).create(&name, schema).await?;
        Ok(true)
    };
    call.answer(&app, &scope, created).await
}

pub(crate) async fn change(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let name = named(&ask)?;
    let mut call = Call::new(&ask, Use::Collections, name.as_str(), Changing::of(&app, &ask)?)?;
    let patch = call.body(&app, &scope, &mut ask, request::parse_patch).await?;
    let changed = async {
        app.memory.of(&scope).change(&name, patch).await?;
        Ok(true)
    };
    call.answer(&app, &scope, changed).await
}

pub(crate) async fn delete(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let name = named(&ask)?;
    let call = Call::new(&ask, Use::Collections, name.as_str(), Changing::of(&app, &ask)?)?;
    let deleted = async { Ok(app.memory.of(&scope).delete(&name).await?) };
    call.answer(&app, &scope, deleted).await
}

pub(crate) async fn create_index(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let name = named(&ask)?;
    let (patience, status) = Writing::of(&app, &ask)?;
    let mut call = Call::new(&ask, Use::Collections, name.as_str(), patience)?;
    let (field, schema) = call.body(&app, &scope, &mut ask, request::parse_index).await?;
    let made = async {
        let operation_id = app.memory.of(&scope).create_index(&name, field, schema).await?;
        Ok(Updated { operation_id, status })
    };
    call.answer(&app, &scope, made).await
}

pub(crate) async fn delete_index(
    app: Arc<App>,
    scope: Scope<Write>,
    ask: Ask,
) -> Result<Response, Fault> {
    let name = named(&ask)?;
    let (patience, status) = Writing::of(&app, &ask)?;
    let call = Call::new(&ask, Use::Collections, name.as_str(), patience)?;
    let gone = async {
        let operation_id = app.memory.of(&scope).delete_index(&name, ask.param("field")).await?;
        Ok(Updated { operation_id, status })
    };
    call.answer(&app, &scope, gone).await
}
