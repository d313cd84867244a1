//! Reading records: the deployment's own, and, with a reason and on the record, a tenant's.

use std::sync::Arc;

use axum::response::Response;
use ids::{RandomId, RunId};
use records::{Filter, Log, Verdict};
use scope::Operator;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Paging, Why, enter_to_read};
use crate::{
    App,
    ask::{Ask, ok},
    data::own,
    fault::Fault,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    run: Option<RunId>,
    after: Option<RandomId>,
    limit: Option<u64>,
    #[serde(default)]
    newest_first: bool,
    reason: Option<String>,
}

pub(crate) async fn deployment_audit(
    app: Arc<App>,
    _: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    listed(&app.audit.of_deployment(&app.system), &paging).await
}

pub(crate) async fn deployment_head(app: Arc<App>, _: Operator, _: Ask) -> Result<Response, Fault> {
    ok(&own::head(&app.audit.of_deployment(&app.system)).await?)
}

pub(crate) async fn deployment_export(
    app: Arc<App>,
    _: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    export(&app.audit.of_deployment(&app.system), &paging).await
}

pub(crate) async fn deployment_verify(
    app: Arc<App>,
    _: Operator,
    _: Ask,
) -> Result<Response, Fault> {
    verified(&app.audit.of_deployment(&app.system)).await
}

pub(crate) async fn audit(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let mut paging: Paging = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, paging.reason.take()).await?;
    listed(&app.audit.of(&scope), &paging).await
}

pub(crate) async fn audit_head(
    app: Arc<App>,
    operator: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, reason).await?;
    ok(&own::head(&app.audit.of(&scope)).await?)
}

pub(crate) async fn audit_export(
    app: Arc<App>,
    operator: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let mut paging: Paging = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, paging.reason.take()).await?;
    export(&app.audit.of(&scope), &paging).await
}

pub(crate) async fn audit_verify(
    app: Arc<App>,
    operator: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, reason).await?;
    verified(&app.audit.of(&scope)).await
}

pub(crate) async fn events(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Events { run, after, limit, newest_first, reason } = ask.query(&app)?;
    let scope = enter_to_read(&operator, &ask, reason).await?;
    let limit = usize::try_from(limit.unwrap_or(100)).unwrap_or(usize::MAX);
    let filter = Filter { run, after, limit: limit.clamp(1, Filter::MOST), newest_first };
    ok(&own::page(&app.recorder.list(&scope, &filter).await?, filter.limit))
}

async fn listed(log: &Log<'_>, paging: &Paging) -> Result<Response, Fault> {
    let after = own::number(paging.after.as_deref())?;
    ok(&own::entries(&log.list(after, paging.limit()).await?, paging.limit()))
}

async fn export(log: &Log<'_>, paging: &Paging) -> Result<Response, Fault> {
    let after = own::number(paging.after.as_deref())?;
    ok(&log.export(after, own::exported(paging.limit)).await?)
}

async fn verified(log: &Log<'_>) -> Result<Response, Fault> {
    let told: Value = match log.verify().await? {
        Verdict::Intact(verified) => json!({"intact": true, "verified": verified}),
        Verdict::Broken(broken) => json!({"intact": false, "broken": broken}),
    };
    ok(&told)
}
