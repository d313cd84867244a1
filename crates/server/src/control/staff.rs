//! Credentials of the company itself: services and operators.

use std::sync::Arc;

use axum::response::Response;
use directory::Page;
use ids::{OperatorName, ServiceName};
use scope::{Entry, Grants, Kind, Listed, Operator, OperatorRecord, Right, Secret, ServiceRecord};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Paging, Why, announce, cause, ends, exist, may_enter, not_reserved, time};
use crate::{
    App,
    ask::{Ask, created, ok},
    fault::Fault,
};

/// A new service. `["*"]` is every one; nothing is nobody.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewService {
    name: ServiceName,
    tenants: Vec<String>,
    environments: Vec<String>,
    workflows: Vec<String>,
    scope: Grants,
    ttl_seconds: Option<u64>,
    reason: Option<String>,
}

/// A new operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOperator {
    name: OperatorName,
    rights: Vec<Right>,
    ttl_seconds: Option<u64>,
    reason: Option<String>,
}

fn service(record: &ServiceRecord) -> Value {
    json!({
        "name": record.name,
        "tenants": record.tenants,
        "environments": record.environments,
        "workflows": record.workflows,
        "scope": record.grants,
        "created": time(record.created),
        "expires": record.expires.map(time),
    })
}

fn operator(record: &OperatorRecord) -> Value {
    json!({
        "name": record.name,
        "rights": record.rights,
        "created": time(record.created),
        "expires": record.expires.map(time),
    })
}

pub(crate) async fn services(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let page = app.registry.services(paging.after.as_deref(), paging.limit()).await?;
    let Page { items, next } = page;
    ok(&json!({"items": items.iter().map(service).collect::<Vec<_>>(), "next": next}))
}

pub(crate) async fn create_service(
    app: Arc<App>,
    by: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let new: NewService = ask.json(&app).await?;
    exist(&app, &new.scope)?;
    // Whoever has a service's credential has those of its tenants.
    may_enter(&by, "service.create").await?;
    announce(&by, "service.create", &new.name, &cause(&ask, new.reason)?).await?;
    let secret = Secret::draw(Kind::Service, &*app.entropy);
    let new = directory::NewService {
        digest: app.doors.digester().digest(secret.expose()),
        name: new.name,
        tenants: Listed::from_names(new.tenants),
        environments: Listed::from_names(new.environments),
        workflows: Listed::from_names(new.workflows),
        grants: new.scope,
        expires: ends(&app, new.ttl_seconds),
    };
    let mut shown = service(&app.registry.create_service(new).await?);
    shown["secret"] = secret.expose().into();
    created(&shown)
}

pub(crate) async fn remove_service(
    app: Arc<App>,
    by: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let name: ServiceName = ask.id("name")?;
    announce(&by, "service.remove", &name, &cause(&ask, reason)?).await?;
    ok(&service(&app.registry.remove_service(&name).await?))
}

pub(crate) async fn operators(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let page = app.registry.operators(paging.after.as_deref(), paging.limit()).await?;
    let Page { items, next } = page;
    ok(&json!({"items": items.iter().map(operator).collect::<Vec<_>>(), "next": next}))
}

pub(crate) async fn create_operator(
    app: Arc<App>,
    by: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let new: NewOperator = ask.json(&app).await?;
    let reason = cause(&ask, new.reason)?;
    not_reserved([new.name.as_str()])?;
    // Nobody hands out what they do not have.
    for right in &new.rights {
        if let Err(error) = by.require(*right) {
            let entry = Entry::denied(by.actor(), "operator.create", &new.name, error.code());
            by.announce(entry.because(reason)).await?;
            return Err(error.into());
        }
    }
    announce(&by, "operator.create", &new.name, &reason).await?;
    let secret = Secret::draw(Kind::Operator, &*app.entropy);
    let new = directory::NewOperator {
        digest: app.doors.digester().digest(secret.expose()),
        name: new.name,
        rights: new.rights,
        expires: ends(&app, new.ttl_seconds),
    };
    let mut shown = operator(&app.registry.create_operator(new).await?);
    shown["secret"] = secret.expose().into();
    created(&shown)
}

pub(crate) async fn remove_operator(
    app: Arc<App>,
    by: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let name: OperatorName = ask.id("name")?;
    announce(&by, "operator.remove", &name, &cause(&ask, reason)?).await?;
    ok(&operator(&app.registry.remove_operator(&name).await?))
}
