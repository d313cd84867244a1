//! Erasing a tenant: its keys first, then the rows that they sealed.
//!
//! What cannot be undone is done first and in one go: every environment's keys, wherever their
//! rows lie. Removing the rows may have to wait for a reader or a full disk, so a mark stands
//! for an erasure until all of it is done: it goes on while serving, and after a restart. Until
//! then the tenant is suspended and can be neither resumed nor changed; then it is erased.

use std::collections::BTreeMap;

use ids::{Environment, TenantId, text};
use scope::{AuditSink as _, Entry, Scope, Status, TenantRecord, Write};
use serde::Serialize;
use store::{File, Range, Table};
use tokio::sync::Mutex;

use crate::{App, Error, fault::Fault, former, restore};

/// tenant → why
const ERASING: Table = Table { file: File::Core, id: 802, name: "server.erasing" };
/// A greatest number of unfinished erasures that are looked at.
const MOST: usize = 1_000;

/// Erasures of this process that are not finished, by tenant. One goes on at a time.
pub(crate) type Erasing = Mutex<BTreeMap<TenantId, Erasure>>;

/// An erasure under way.
pub(crate) struct Erasure {
    /// Who began it, as logs have it.
    by: String,
    reason: String,
    /// Of all environments, from when the tenant stood.
    scopes: Vec<Scope<Write>>,
    /// Of those whose keys are destroyed.
    receipts: Vec<Receipt>,
}

/// What was erased in one environment. The keys are named by fingerprint: whoever has a backup
/// can tell that it was sealed under one of them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Receipt {
    environment: Environment,
    partition: String,
    at: String,
    credentials: u64,
    rows: u64,
    bytes: u64,
    keys: Vec<vault::KeyVersion>,
    /// The last head of the audit log that went with the rest, signed.
    audit: Option<String>,
    /// Whether its rows are gone, too. Else they are sealed under keys that are no more, and
    /// are removed as soon as that can be done.
    finished: bool,
    /// The code of what is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'static str>,
}

impl Receipt {
    /// Whether nothing is left of it.
    pub(crate) const fn is_finished(&self) -> bool {
        self.finished
    }
}

/// A tenant's record with every environment that it ever had: those that it lost hold data
/// too, and only an environment that a tenant has can be entered.
pub(crate) async fn whole(app: &App, record: TenantRecord) -> Result<TenantRecord, Error> {
    let former = former::of(app, &record.id).await?;
    with(app, record, &former).await
}

/// A tenant's record with these environments besides its own.
async fn with(
    app: &App,
    record: TenantRecord,
    more: &[Environment],
) -> Result<TenantRecord, Error> {
    let mut all: Vec<_> = record.environments.iter().map(|e| e.name.clone()).collect();
    all.extend(more.iter().cloned());
    all.sort();
    all.dedup();
    if record.status == Status::Erased || all.len() == record.environments.len() {
        return Ok(record);
    }
    let spec = directory::TenantSpec {
        environments: Some(all),
        ends: true,
        ..directory::TenantSpec::of(record.id)
    };
    Ok(app.registry.change_tenant(spec).await?)
}

/// Whether a tenant's erasure has begun and is not finished.
async fn has_begun(app: &App, tenant: &TenantId) -> Result<bool, Error> {
    let row = app.store.system(&app.system).get(ERASING, tenant.as_str().as_bytes()).await?;
    Ok(row.is_some())
}

/// # Errors
/// The erasure of this tenant has begun: nothing of it is changed any more.
pub(crate) async fn not_begun(app: &App, tenant: &TenantId) -> Result<(), Fault> {
    if has_begun(app, tenant).await? {
        return Err(Fault::new("directory.missing", "this tenant is being erased"));
    }
    Ok(())
}

/// Ends everything that a tenant has in flight and erases what it has. The scopes are of all
/// its environments. After an error it goes on by itself; it can be called again, too.
pub(crate) async fn tenant(
    app: &App,
    tenant: &TenantId,
    (by, reason): (&str, &str),
    scopes: Vec<Scope<Write>>,
) -> Result<Vec<Receipt>, Error> {
    let mark = app.store.system(&app.system);
    mark.put(ERASING, tenant.as_str().as_bytes(), reason.as_bytes()).await?;
    let mut all = app.erasing.lock().await;
    let erasure = all.entry(tenant.clone()).or_insert_with(|| Erasure {
        by: by.to_owned(),
        reason: reason.to_owned(),
        scopes,
        receipts: Vec::new(),
    });
    let done = advance(app, tenant, erasure).await;
    let receipts = erasure.receipts.clone();
    if done? {
        all.remove(tenant);
    }
    Ok(receipts)
}

/// Erases a tenant while nobody is served yet.
pub(crate) async fn unattended(
    app: &App,
    record: TenantRecord,
    more: &[Environment],
    reason: &str,
) -> Result<Vec<Receipt>, Error> {
    let id = record.id.clone();
    if record.status == Status::Suspended {
        // Its scopes can be had only while it stands.
        app.registry.resume(&id).await?;
    }
    let record = with(app, whole(app, record).await?, more).await?;
    let mut scopes = Vec::new();
    for environment in &record.environments {
        scopes.push(restore::scope_of(app, &id, &environment.name).await?);
    }
    tenant(app, &id, ("bulkhead", reason), scopes).await
}

/// At start: goes on with the erasures that the last process did not finish.
///
/// # Errors
/// The marks cannot be read, or a tenant cannot be kept from being served.
pub(crate) async fn resume(app: &App) -> Result<(), Error> {
    let marks = app.store.system(&app.system).scan(ERASING, Range::all().limit(MOST)).await?;
    for (name, reason) in marks {
        let Some(id) = std::str::from_utf8(&name).ok().and_then(|n| TenantId::parse(n).ok()) else {
            continue;
        };
        let reason = String::from_utf8_lossy(&reason).into_owned();
        let begun = match app.registry.find(id.as_str()).await? {
            Some(record) if record.id == id && record.status != Status::Erased => {
                unattended(app, record, &[], &reason).await.map(drop)
            }
            Some(record) if record.id == id => finish(app, &id).await,
            _ => forget(app, &id).await,
        };
        if let Err(error) = begun {
            tracing::error!(tenant = id.as_str(), code = error.code(), %error, "an erasure is not finished");
            // It was opened to itself for this. It must not be served.
            let found = app.registry.find(id.as_str()).await?;
            if found.is_some_and(|record| record.status == Status::Active) {
                app.registry.suspend(&id).await?;
            }
        }
    }
    Ok(())
}

/// Goes on with what is not finished.
pub(crate) async fn go_on(app: &App) {
    let mut all = app.erasing.lock().await;
    let mut done = Vec::new();
    for (tenant, erasure) in all.iter_mut() {
        match advance(app, tenant, erasure).await {
            Ok(true) => done.push(tenant.clone()),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(tenant = tenant.as_str(), code = error.code(), %error, "an erasure is not finished");
            }
        }
    }
    for tenant in done {
        all.remove(&tenant);
    }
}

/// One attempt at everything that is left; whether nothing is.
async fn advance(app: &App, tenant: &TenantId, erasure: &mut Erasure) -> Result<bool, Error> {
    if erasure.receipts.is_empty() {
        app.registry.suspend(tenant).await?;
    }
    // What waits in queues is written or dropped before the keys go, not after.
    app.recorder.flush().await;
    let mut outcome = Ok(());
    for at in 0..erasure.scopes.len() {
        let environment = erasure.scopes[at].environment();
        if erasure.receipts.iter().any(|receipt| receipt.environment == *environment) {
            continue;
        }
        match shred(app, tenant, erasure, &erasure.scopes[at]).await {
            Ok(receipt) => erasure.receipts.push(receipt),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome?;
    for scope in &erasure.scopes {
        let own = |receipt: &&mut Receipt| receipt.environment == *scope.environment();
        let Some(receipt) = erasure.receipts.iter_mut().find(own) else { continue };
        if receipt.finished {
            continue;
        }
        match rows(app, scope, receipt).await {
            Ok(()) => (receipt.finished, receipt.waits_for) = (true, None),
            Err(error) => {
                let environment = scope.environment().as_str();
                tracing::warn!(tenant = tenant.as_str(), environment, code = error.code(), %error, "rows whose keys are destroyed are still to be removed");
                receipt.waits_for = Some(error.code());
            }
        }
    }
    if !erasure.receipts.iter().all(|receipt| receipt.finished) {
        return Ok(false);
    }
    finish(app, tenant).await?;
    Ok(true)
}

/// Destroys one environment's keys, and says so in the deployment's log. The tenant's own logs
/// go with the rest: what they had come to stays there, signed, so that a log that somebody
/// exported can still be held against it.
async fn shred(
    app: &App,
    tenant: &TenantId,
    erasure: &Erasure,
    scope: &Scope<Write>,
) -> Result<Receipt, Error> {
    let head = app.audit.of(scope).head().await;
    let shredded = app.vault.shred(scope).await?;
    // A log that cannot be read any more does not stand in the way.
    let audit = head.map(|head| head.text).map_err(|error| {
        tracing::warn!(tenant = tenant.as_str(), code = error.code(), "no head of an erased log");
    });
    let audit = audit.ok();
    let entry = Entry::allowed(&erasure.by, "tenant.erased", tenant)
        .because(&erasure.reason)
        .with("environment", scope.environment())
        .with("audit", audit.as_deref().unwrap_or("unreadable"));
    app.audit.record_deployment(&app.system, entry).await.map_err(scope::Error::from)?;
    Ok(Receipt {
        environment: scope.environment().clone(),
        partition: text::hex(scope.partition_bytes()),
        at: shredded.at.to_string(),
        credentials: 0,
        rows: 0,
        bytes: 0,
        keys: shredded.keys,
        audit,
        finished: false,
        waits_for: None,
    })
}

/// Removes one environment's rows.
async fn rows(app: &App, scope: &Scope<Write>, receipt: &mut Receipt) -> Result<(), Error> {
    receipt.credentials += app.credentials.of(scope).clear().await?;
    app.cache.of(scope).clear().await?;
    app.semantic.of(scope).clear();
    // What names it in the operators' list, which is not its own.
    app.reviews.forget(&app.system, scope).await?;
    app.tools.forget(scope).await?;
    // Files that are sealed under no key: they go before the rows from which they were made.
    if !ids::planted::is("memory-erasure-keeps-indexes") {
        app.memory.of(scope).forget_all().await?;
    }
    let erased = app.store.of(scope).erase_all().await?.total();
    receipt.rows += erased.rows;
    receipt.bytes += erased.bytes;
    Ok(())
}

async fn finish(app: &App, tenant: &TenantId) -> Result<(), Error> {
    app.registry.erase_tenant(tenant).await?;
    former::forget(app, tenant).await?;
    forget(app, tenant).await
}

async fn forget(app: &App, tenant: &TenantId) -> Result<(), Error> {
    let view = app.store.system(&app.system);
    view.delete(ERASING, tenant.as_str().as_bytes()).await?;
    Ok(())
}
