//! What a tenant's environment holds of outside systems, and the key it is sealed under.

use std::sync::Arc;

use axum::response::Response;
use ids::{Environment, ProviderId, WorkflowId};
use scope::Operator;
use serde::Deserialize;
use serde_json::json;
use vault::SecretText;

use super::{Paging, Why, cause, enter, needed, not_there};
use crate::{
    App,
    ask::{Ask, ok},
    fault::Fault,
};

/// A provider credential.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    secret: SecretText,
    /// For one workflow only.
    workflow: Option<WorkflowId>,
    /// Whether others may have the same secret, if theirs says so too.
    #[serde(default)]
    shared: bool,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    workflow: Option<WorkflowId>,
    reason: Option<String>,
}

pub(crate) async fn list(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let environment: Environment = ask.id("environment")?;
    let why = needed(&ask, paging.reason)?;
    let entered = operator.enter(ask.param("tenant"), &environment, &why).await;
    let scope = entered.map_err(not_there)?;
    let items = app.credentials.of(&scope).list().await?;
    ok(&json!({"items": items, "next": null}))
}

pub(crate) async fn set(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Set { secret, workflow, shared, reason } = ask.json(&app).await?;
    let provider: ProviderId = ask.id("provider")?;
    let tenant = super::tenant(&app, &ask).await?;
    let there = |known: &&model::Provider| known.id == provider && known.serves(&tenant.id);
    let of_tools = app.settings.tools.upstream(&provider).is_some();
    if !of_tools && !app.settings.model.providers.iter().any(|known| there(&known)) {
        let none = "no provider or upstream of this name is configured";
        return Err(Fault::new("directory.missing", none));
    }
    let why = cause(&ask, reason)?;
    let scope = enter(&app, &operator, &ask, "credential.set", &provider, &why).await?;
    let version =
        app.credentials.of(&scope).set(&provider, workflow.as_ref(), secret, shared).await?;
    app.shared.forget().await;
    ok(&json!({"provider": provider, "workflow": workflow, "shared": shared, "version": version}))
}

pub(crate) async fn remove(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Which { workflow, reason } = ask.query(&app)?;
    let provider: ProviderId = ask.id("provider")?;
    let why = cause(&ask, reason)?;
    let scope = enter(&app, &operator, &ask, "credential.remove", &provider, &why).await?;
    if !app.credentials.of(&scope).remove(&provider, workflow.as_ref()).await? {
        return Err(Fault::new("directory.missing", "there is no such credential"));
    }
    app.shared.forget().await;
    ok(&json!({"provider": provider, "workflow": workflow}))
}

pub(crate) async fn rotate_data_key(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.json(&app).await?;
    let why = cause(&ask, reason)?;
    let scope = enter(&app, &operator, &ask, "data_key.rotate", "data key", &why).await?;
    let version = app.vault.rotate_data_key(&scope).await?;
    let keys = app.vault.data_key_versions(&scope).await?;
    ok(&json!({"version": version, "keys": keys}))
}
