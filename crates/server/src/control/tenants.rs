//! Tenants: made, changed, applied as a document, suspended, resumed, revoked, erased.

use std::{collections::BTreeMap, sync::Arc};

use axum::response::Response;
use directory::{Applied, Change, Document, Page, TenantSpec, What};
use ids::{AccountId, Alias, Environment, System, TenantId};
use scope::{Entry, Operator, Status, TenantRecord};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Paging, Why, announce, announce_to, cause, tenant, time};
use crate::{
    App,
    ask::{Ask, created, ok},
    erase,
    fault::Fault,
    former,
};

/// A new tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    id: TenantId,
    aliases: Option<Vec<Alias>>,
    environments: Vec<Environment>,
    accounts: Option<BTreeMap<System, Vec<AccountId>>>,
    reason: Option<String>,
}

/// What changes of a tenant; what is left out stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patch {
    aliases: Option<Vec<Alias>>,
    environments: Option<Vec<Environment>>,
    accounts: Option<BTreeMap<System, Vec<AccountId>>>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    prune: bool,
    reason: Option<String>,
}

/// A tenant as the API shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a TenantId,
    aliases: &'a [Alias],
    status: Status,
    environments: Vec<&'a Environment>,
    accounts: &'a BTreeMap<System, Vec<AccountId>>,
    epoch: u64,
    created: String,
}

fn shown(record: &TenantRecord) -> Shown<'_> {
    Shown {
        id: &record.id,
        aliases: &record.aliases,
        status: record.status,
        environments: record.environments.iter().map(|e| &e.name).collect(),
        accounts: &record.accounts,
        epoch: record.epoch,
        created: time(record.created),
    }
}

pub(crate) async fn list(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    let paging: Paging = ask.query(&app)?;
    let Page { items, next } =
        app.registry.tenants(paging.after.as_deref(), paging.limit()).await?;
    let items: Vec<_> = items.iter().map(shown).collect();
    ok(&json!({"items": items, "next": next}))
}

pub(crate) async fn one(app: Arc<App>, _: Operator, ask: Ask) -> Result<Response, Fault> {
    ok(&shown(&tenant(&app, &ask).await?))
}

pub(crate) async fn create(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Create { id, aliases, environments, accounts, reason } = ask.json(&app).await?;
    let reason = cause(&ask, reason);
    announce(&operator, "tenant.create", &id, &reason).await?;
    let spec =
        TenantSpec { aliases, environments: Some(environments), accounts, ..TenantSpec::of(id) };
    let record = app.registry.create_tenant(spec).await?;
    announce_to(&operator, &record, "tenant.create", &reason).await?;
    created(&shown(&record))
}

pub(crate) async fn change(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Patch { aliases, environments, accounts, reason } = ask.json(&app).await?;
    let (record, reason) = (tenant(&app, &ask).await?, cause(&ask, reason));
    announce(&operator, "tenant.change", &record.id, &reason).await?;
    announce_to(&operator, &record, "tenant.change", &reason).await?;
    if let Some(kept) = &environments {
        let had = record.environments.iter().map(|had| &had.name);
        former::remember(&app, &record.id, had.filter(|had| !kept.contains(had))).await?;
    }
    let spec = TenantSpec { aliases, environments, accounts, ..TenantSpec::of(record.id.clone()) };
    ok(&shown(&app.registry.change_tenant(spec).await?))
}

pub(crate) async fn apply(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let How { dry_run, prune, reason } = ask.query(&app)?;
    let document: Document = ask.json(&app).await?;
    let reason = cause(&ask, reason);
    let about = format!("{} tenants", document.tenants.len());
    let rehearsal = Applied { prune, dry_run: true };
    let mut changes = app.registry.apply(document.clone(), rehearsal).await?;
    if !dry_run && !changes.is_empty() {
        announce(&operator, "tenants.apply", about, &reason).await?;
        announce_each(&app, &operator, &changes, &reason).await?;
        changes = app.registry.apply(document, Applied { prune, dry_run: false }).await?;
    }
    ok(&json!({"changes": changes, "dry_run": dry_run}))
}

/// What takes something from a tenant is in its own logs, too.
async fn announce_each(
    app: &App,
    operator: &Operator,
    changes: &[Change],
    reason: &str,
) -> Result<(), Fault> {
    for Change { tenant, what } in changes {
        let action = match what {
            What::Suspended => "tenant.suspend",
            What::Resumed => "tenant.resume",
            What::EnvironmentRemoved(lost) => {
                former::remember(app, tenant, std::iter::once(lost)).await?;
                "tenant.change"
            }
            _ => continue,
        };
        if let Some(record) = app.registry.find(tenant.as_str()).await? {
            announce_to(operator, &record, action, reason).await?;
        }
    }
    Ok(())
}

pub(crate) async fn suspend(
    app: Arc<App>,
    operator: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let (id, ..) = announced(&app, &operator, ask, "tenant.suspend").await?;
    ok(&shown(&app.registry.suspend(&id).await?))
}

pub(crate) async fn resume(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let (id, ..) = announced(&app, &operator, ask, "tenant.resume").await?;
    ok(&shown(&app.registry.resume(&id).await?))
}

pub(crate) async fn revoke(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let (id, ..) = announced(&app, &operator, ask, "tenant.revoke").await?;
    ok(&shown(&app.registry.revoke_all(&id).await?))
}

async fn announced(
    app: &App,
    operator: &Operator,
    mut ask: Ask,
    action: &'static str,
) -> Result<(TenantId, String), Fault> {
    let Why { reason } = ask.json(app).await?;
    let (record, reason) = (tenant(app, &ask).await?, cause(&ask, reason));
    announce(operator, action, &record.id, &reason).await?;
    announce_to(operator, &record, action, &reason).await?;
    Ok((record.id, reason))
}

/// Erases. May be asked again, and goes on where it was cut off.
pub(crate) async fn erase(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let reason = cause(&ask, reason);
    // By its id alone: an alias may have moved since it was looked up.
    let id: TenantId = ask.id("tenant")?;
    let record = tenant(&app, &ask).await?;
    if record.id != id {
        return Err(Fault::malformed("erasing takes the tenant's id, not an alias"));
    }
    announce(&operator, "tenant.erase", &id, &reason).await?;
    let record = erase::whole(&app, record).await?;
    let scopes = announce_to(&operator, &record, "tenant.erase", &reason).await?;
    let receipts = erase::tenant(&app, &id, &scopes).await?;
    // The tenant's own logs went with the rest. What they had come to stays, signed, in the
    // deployment's, so that a log that somebody exported can still be held against it.
    for receipt in &receipts {
        let entry = Entry::allowed(operator.actor(), "tenant.erased", &id)
            .because(&reason)
            .with("environment", &receipt.environment)
            .with("audit", &receipt.audit);
        operator.announce(entry).await?;
    }
    ok(&json!({"tenant": id, "environments": receipts}))
}
