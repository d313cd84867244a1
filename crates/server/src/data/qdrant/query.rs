//! What is asked of a collection's points.

use std::sync::Arc;

use axum::response::Response;
use memory::request;
use scope::{Scope, Write};
use serde_json::json;

use super::{
    Call,
    envelope::{Grouped, Id, Page, Points, scored, shown},
};
use crate::{App, ask::Ask, fault::Fault};

pub(crate) async fn query(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, mut call) = Call::reading(&app, &ask)?;
    let mut query = call.body(&app, &scope, &mut ask, request::parse_query).await?;
    let found = async {
        let collections = app.memory.of(&scope);
        collections.embed_query(&name, &mut query).await?;
        Ok(Points { points: scored(collections.query(&name, query).await?) })
    };
    call.answer(&app, &scope, found).await
}

/// Several queries, one after the other: they take one place among those of the tenant.
pub(crate) async fn batch(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, mut call) = Call::reading(&app, &ask)?;
    let queries = call.body(&app, &scope, &mut ask, request::parse_queries).await?;
    let found = async {
        let collections = app.memory.of(&scope);
        if queries.is_empty() {
            // That there is no such collection is said also of no query at all.
            collections.info(&name).await?;
        }
        let mut all = Vec::with_capacity(queries.len());
        for mut query in queries {
            collections.embed_query(&name, &mut query).await?;
            all.push(Points { points: scored(collections.query(&name, query).await?) });
        }
        Ok(all)
    };
    call.answer(&app, &scope, found).await
}

pub(crate) async fn groups(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, mut call) = Call::reading(&app, &ask)?;
    let mut groups = call.body(&app, &scope, &mut ask, request::parse_groups).await?;
    let found = async {
        let collections = app.memory.of(&scope);
        collections.embed_query(&name, &mut groups.query).await?;
        Ok(Grouped::new(collections.groups(&name, groups).await?))
    };
    call.answer(&app, &scope, found).await
}

pub(crate) async fn scroll(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, mut call) = Call::reading(&app, &ask)?;
    let scroll = call.body(&app, &scope, &mut ask, request::parse_scroll).await?;
    let found = async {
        let (records, next) = app.memory.of(&scope).scroll(&name, scroll).await?;
        Ok(Page { points: shown(records), next_page_offset: next.map(Id) })
    };
    call.answer(&app, &scope, found).await
}

pub(crate) async fn count(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, mut call) = Call::reading(&app, &ask)?;
    let count = call.body(&app, &scope, &mut ask, request::parse_count).await?;
    let found = async { Ok(json!({"count": app.memory.of(&scope).count(&name, count).await?})) };
    call.answer(&app, &scope, found).await
}

pub(crate) async fn facet(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let (name, mut call) = Call::reading(&app, &ask)?;
    let facet = call.body(&app, &scope, &mut ask, request::parse_facet).await?;
    let found = async {
        let values = app.memory.of(&scope).facet(&name, facet).await?;
        let hit = |(value, count)| json!({"value": value, "count": count});
        Ok(json!({"hits": values.into_iter().map(hit).collect::<Vec<_>>()}))
    };
    call.answer(&app, &scope, found).await
}
