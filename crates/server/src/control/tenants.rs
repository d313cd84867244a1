//! Tenants: made, changed, applied as a document, suspended, resumed, revoked, erased.

use std::{collections::BTreeMap, sync::Arc};

use axum::response::Response;
use directory::{Applied, Change, Document, Page, TenantSpec, What};
use http::StatusCode;
use ids::{AccountId, Alias, Environment, System, TenantId};
use scope::{Maintenance, Operator, Scope, Status, TenantRecord, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Paging, Why, announce, announce_to, cause, is_own, needed, not_reserved, tenant, time,
};
use crate::{
    App,
    ask::{Ask, created, json_answer, ok},
    deployment::system,
    erase,
    fault::Fault,
    former,
    selfprobe::is_reserved,
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

/// Whether a tenant of this operator's may have these names.
fn may_be_called(
    operator: &Operator,
    id: Option<&TenantId>,
    aliases: Option<&[Alias]>,
) -> Result<(), Fault> {
    if is_own(operator) {
        return Ok(());
    }
    let aliases = aliases.unwrap_or_default().iter().map(Alias::as_str);
    not_reserved(id.map(TenantId::as_str).into_iter().chain(aliases))
}

pub(crate) async fn create(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Create { id, aliases, environments, accounts, reason } = ask.json(&app).await?;
    let reason = cause(&ask, reason)?;
    may_be_called(&operator, Some(&id), aliases.as_deref())?;
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
    let (record, reason) = (tenant(&app, &ask).await?, cause(&ask, reason)?);
    may_be_called(&operator, Some(&record.id), aliases.as_deref())?;
    erase::not_begun(&app, &record.id).await?;
    announce(&operator, "tenant.change", &record.id, &reason).await?;
    let mut scopes = announce_to(&operator, &record, "tenant.change", &reason).await?;
    scopes.retain(|scope| environments.as_ref().is_some_and(|e| !e.contains(scope.environment())));
    if let Some(kept) = &environments {
        let had = record.environments.iter().map(|had| &had.name);
        former::remember(&app, &record.id, had.filter(|had| !kept.contains(had))).await?;
    }
    let spec = TenantSpec { aliases, environments, accounts, ..TenantSpec::of(record.id.clone()) };
    let changed = app.registry.change_tenant(spec).await?;
    forget_questions(&app, &scopes);
    ok(&shown(&changed))
}

pub(crate) async fn apply(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let How { dry_run, prune, reason } = ask.query(&app)?;
    let document: Document = ask.json(&app).await?;
    let reason = cause(&ask, reason)?;
    let about = format!("{} tenants", document.tenants.len());
    for TenantSpec { aliases, .. } in
        document.tenants.iter().filter(|one| !is_reserved(one.id.as_str()))
    {
        may_be_called(&operator, None, aliases.as_deref())?;
    }
    let rehearsal = Applied { prune, dry_run: true };
    let mut changes = app.registry.apply(document.clone(), rehearsal).await?;
    // A list of all that there are may have the deployment's own, and leave them as they are.
    let changed = |of: &TenantId| changes.iter().any(|change| change.tenant == *of);
    for TenantSpec { id, .. } in document.tenants.iter().filter(|one| changed(&one.id)) {
        may_be_called(&operator, Some(id), None)?;
    }
    if !dry_run && !changes.is_empty() {
        for Change { tenant, .. } in &changes {
            erase::not_begun(&app, tenant).await?;
        }
        announce(&operator, "tenants.apply", about, &reason).await?;
        let scopes = announce_each(&app, &operator, &changes, &reason).await?;
        changes = app.registry.apply(document, Applied { prune, dry_run: false }).await?;
        forget_questions(&app, &scopes);
    }
    ok(&json!({"changes": changes, "dry_run": dry_run}))
}

/// What questions meant can be read out of the vectors of them, and these lie open in memory: of
/// whoever is not served any more none is kept, and none is added once its scope has ended.
fn forget_questions(app: &App, scopes: &[Scope<Write>]) {
    for scope in scopes.iter().filter(|_| !ids::planted::is("suspension-keeps-questions")) {
        app.semantic.of(scope).clear();
    }
}

/// What takes something from a tenant is in its own logs, too. Scopes of those that lose an
/// environment, or all.
async fn announce_each(
    app: &App,
    operator: &Operator,
    changes: &[Change],
    reason: &str,
) -> Result<Vec<Scope<Write>>, Fault> {
    let mut scopes = Vec::new();
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
            let entered = announce_to(operator, &record, action, reason).await?;
            if *what != What::Resumed {
                scopes.extend(entered);
            }
        }
    }
    Ok(scopes)
}

pub(crate) async fn suspend(
    app: Arc<App>,
    operator: Operator,
    ask: Ask,
) -> Result<Response, Fault> {
    let (id, scopes) = announced(&app, &operator, ask, "tenant.suspend", needed).await?;
    let suspended = app.registry.suspend(&id).await?;
    forget_questions(&app, &scopes);
    ok(&shown(&suspended))
}

pub(crate) async fn resume(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let (id, _) = announced(&app, &operator, ask, "tenant.resume", cause).await?;
    ok(&shown(&app.registry.resume(&id).await?))
}

pub(crate) async fn revoke(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let (id, _) = announced(&app, &operator, ask, "tenant.revoke", needed).await?;
    ok(&shown(&app.registry.revoke_all(&id).await?))
}

async fn announced(
    app: &App,
    operator: &Operator,
    mut ask: Ask,
    action: &'static str,
    why: fn(&Ask, Option<String>) -> Result<String, Fault>,
) -> Result<(TenantId, Vec<Scope<Write>>), Fault> {
    let Why { reason } = ask.json(app).await?;
    let (reason, record) = (why(&ask, reason)?, tenant(app, &ask).await?);
    erase::not_begun(app, &record.id).await?;
    announce(operator, action, &record.id, &reason).await?;
    let scopes = announce_to(operator, &record, action, &reason).await?;
    Ok((record.id, scopes))
}

/// Erases. May be asked again, and goes on where it was cut off. `202` while rows whose keys are
/// destroyed are still to be removed: that goes on by itself.
pub(crate) async fn erase(app: Arc<App>, operator: Operator, ask: Ask) -> Result<Response, Fault> {
    let Why { reason } = ask.query(&app)?;
    let reason = needed(&ask, reason)?;
    // By its id alone: an alias may have moved since it was looked up.
    let id: TenantId = ask.id("tenant")?;
    let record = tenant(&app, &ask).await?;
    if record.id != id {
        return Err(Fault::malformed("erasing takes the tenant's id, not an alias"));
    }
    announce(&operator, "tenant.erase", &id, &reason).await?;
    if record.status == Status::Erased {
        return ok(&json!({"tenant": id, "environments": [], "finished": true}));
    }
    let record = erase::whole(&app, record).await?;
    let held = app.erasing.lock().await.contains_key(&id);
    let scopes = match held {
        // Announced when it began; its logs may be gone already.
        true => Vec::new(),
        false => announce_to(&operator, &record, "tenant.erase", &reason).await?,
    };
    let by = operator.actor().to_string();
    // Whoever hangs up does not leave it half done.
    let (own, tenant) = (Arc::clone(&app), id.clone());
    let erasing = system(Maintenance::Administration)
        .spawn(|_| async move { erase::tenant(&own, &tenant, (&by, &reason), scopes).await });
    let receipts = erasing.await.map_err(|cut_off| Fault::internal(&cut_off))??;
    let finished = receipts.iter().all(erase::Receipt::is_finished);
    let status = if finished { StatusCode::OK } else { StatusCode::ACCEPTED };
    json_answer(status, &json!({"tenant": id, "environments": receipts, "finished": finished}))
}
