//! Erasing a tenant: rows first, then the keys that could open what lies elsewhere.

use ids::{Environment, TenantId, text};
use scope::{Scope, TenantRecord, Write};
use serde::Serialize;

use crate::{App, Error, former};

/// What was erased in one environment. The keys are named by fingerprint: whoever has a backup
/// can tell that it was sealed under one of them.
#[derive(Debug, Serialize)]
pub(crate) struct Receipt {
    pub(crate) environment: Environment,
    partition: String,
    at: String,
    credentials: u64,
    rows: u64,
    bytes: u64,
    keys: Vec<vault::KeyVersion>,
    /// The last head of the audit log that went with the rest, signed.
    pub(crate) audit: String,
}

/// A tenant's record with every environment that it ever had: those that it lost hold data
/// too, and only an environment that a tenant has can be entered.
pub(crate) async fn whole(app: &App, record: TenantRecord) -> Result<TenantRecord, Error> {
    let former = former::of(app, &record.id).await?;
    with(app, record, &former).await
}

/// A tenant's record with these environments besides its own.
pub(crate) async fn with(
    app: &App,
    record: TenantRecord,
    more: &[Environment],
) -> Result<TenantRecord, Error> {
    let mut all: Vec<_> = record.environments.iter().map(|e| e.name.clone()).collect();
    all.extend(more.iter().cloned());
    all.sort();
    all.dedup();
    if record.status == scope::Status::Erased || all.len() == record.environments.len() {
        return Ok(record);
    }
    let spec =
        directory::TenantSpec { environments: Some(all), ..directory::TenantSpec::of(record.id) };
    Ok(app.registry.change_tenant(spec).await?)
}

/// Marks a tenant as erased, which ends everything that it has in flight, and erases what it
/// has. The scopes are of all its environments. Can be run again.
pub(crate) async fn tenant(
    app: &App,
    tenant: &TenantId,
    scopes: &[Scope<Write>],
) -> Result<Vec<Receipt>, Error> {
    app.registry.erase_tenant(tenant).await?;
    let mut receipts = Vec::with_capacity(scopes.len());
    for scope in scopes {
        receipts.push(unit(app, scope).await?);
    }
    former::forget(app, tenant).await?;
    Ok(receipts)
}

async fn unit(app: &App, scope: &Scope<Write>) -> Result<Receipt, Error> {
    // What waits in queues is written or dropped before the rows go, not after.
    app.recorder.flush().await;
    let head = app.audit.of(scope).head().await?;
    let credentials = app.credentials.of(scope).clear().await?;
    app.cache.of(scope).clear().await?;
    let erased = app.store.of(scope).erase_all().await?.total();
    let shredded = app.vault.shred(scope).await?;
    Ok(Receipt {
        environment: scope.environment().clone(),
        partition: text::hex(scope.partition_bytes()),
        at: shredded.at.to_string(),
        credentials,
        rows: erased.rows,
        bytes: erased.bytes,
        keys: shredded.keys,
        audit: head.text,
    })
}
