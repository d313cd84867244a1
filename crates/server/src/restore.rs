//! Coming back from a backup.
//!
//! A backup knows nothing of what was revoked or erased since. So every tenant's epoch moves
//! on, which voids every token, run grant, API key and mandate of before, and the ledger of
//! erasures, which lies with the keys and not with the data, is replayed. Until that is done,
//! a mark beside the keys stands for it, so that a crash between cannot skip it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use directory::TenantSpec;
use ids::{Clock, Entropy, Environment, OsEntropy, SystemClock, TenantId, WorkflowId};
use scope::{AuditSink as _, Commission, Entry, Grants, Scope, Status, Write};
use store::Store;

use crate::{App, Deployment, Error, Settings, erase};

/// Stands in the directory of keys while a restore is not finished.
const MARK: &str = "restore.pending";
/// The action of the mandates by which erased tenants are erased again.
const ACTION: &str = "restore.erase";

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Tenants whose credentials are void now.
    pub tenants: usize,
    /// Tenants that were erased since the backup, and are again.
    pub erased: Vec<TenantId>,
}

/// Restores a backup into the data directory of `settings`, which holds nothing yet. Offline:
/// no process serves it.
///
/// # Errors
/// The backup is not whole, the directory is not empty, or what opening a deployment answers.
pub async fn restore(settings: &Settings, backup: &Path) -> Result<Restored, Error> {
    restore_with(settings, backup, Arc::new(SystemClock), Arc::new(OsEntropy)).await
}

/// [`restore`] with another clock and source of randomness.
///
/// # Errors
/// As [`restore`].
pub async fn restore_with(
    settings: &Settings,
    backup: &Path,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Restored, Error> {
    let mark = mark(settings);
    let ours = put(&mark).map_err(|why| Error::File { path: mark.clone(), why })?;
    if holds_indexes_only(settings) {
        forget_indexes(settings)?;
    }
    let (from, to) = (backup.to_owned(), settings.storage.data.dir.clone());
    let copied = tokio::task::spawn_blocking(move || Store::restore(&from, &to)).await;
    if let Err(error) = copied.map_err(|_| store::Error::Panicked)? {
        // Nothing that would open was put there by this call. A mark from before it stands for
        // data that an earlier call did put there.
        if ours {
            take(&mark).map_err(|why| Error::File { path: mark, why })?;
        }
        return Err(error.into());
    }
    let deployment = Deployment::open_with(settings.clone(), clock, entropy).await?;
    let restored = deployment.app.restored.lock().take().unwrap_or_default();
    deployment.close().await?;
    Ok(restored)
}

fn mark(settings: &Settings) -> PathBuf {
    settings.storage.keys.join(MARK)
}

/// Makes the mark; whether it was not there yet.
fn put(mark: &Path) -> std::io::Result<bool> {
    let mut file = match fs::File::create_new(mark) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        file => file?,
    };
    file.write_all(b"the data was restored from a backup: see `bulkhead restore`\n")?;
    file.sync_all()?;
    sync_directory(mark)?;
    Ok(true)
}

fn take(mark: &Path) -> std::io::Result<()> {
    fs::remove_file(mark)?;
    sync_directory(mark)
}

fn sync_directory(of: &Path) -> std::io::Result<()> {
    of.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

/// While a restore is not finished, removes every index: whatever is in them was made from other
/// rows, perhaps of a tenant that is erased since. They are made again when they are used.
pub(crate) fn forget_indexes(settings: &Settings) -> Result<(), Error> {
    let path = settings.index_dir();
    if !mark(settings).exists() || ids::planted::is("memory-restore-keeps-indexes") {
        return Ok(());
    }
    memory::remove_indexes(&path).map_err(|why| Error::File { path, why })
}

/// Whether indexes are all that is left in the data directory: then it holds no data.
fn holds_indexes_only(settings: &Settings) -> bool {
    let indexes = settings.index_dir();
    let Ok(mut entries) = fs::read_dir(&settings.storage.data.dir) else { return false };
    entries.all(|entry| entry.is_ok_and(|entry| entry.path() == indexes))
}

/// Finishes a restore, if there is one to finish. Nothing is served before.
pub(crate) async fn finish(app: &App) -> Result<(), Error> {
    let mark = mark(&app.settings);
    if !mark.exists() {
        return Ok(());
    }
    let tenants = app.registry.bump_all_epochs().await?;
    let mut ledger: BTreeMap<TenantId, Vec<Environment>> = BTreeMap::new();
    for erasure in app.vault.erasures(&app.system).await? {
        ledger.entry(erasure.tenant).or_default().push(erasure.environment);
    }
    let mut erased = Vec::new();
    for (tenant, environments) in ledger {
        if again(app, &tenant, environments).await? {
            erased.push(tenant);
        }
    }
    let names: Vec<_> = erased.iter().map(TenantId::as_str).collect();
    let entry = Entry::allowed("bulkhead", "restore", "data")
        .with("tenants", tenants)
        .with("erased", names.join(" "));
    app.audit.record_deployment(&app.system, entry).await.map_err(scope::Error::from)?;
    take(&mark).map_err(|why| Error::File { path: mark, why })?;
    tracing::warn!(
        tenants,
        erased = erased.len(),
        "data was restored from a backup: every credential of every tenant is void; services and operators that were removed since are there again"
    );
    *app.restored.lock() = Some(Restored { tenants, erased });
    Ok(())
}

/// Erases a tenant again; whether it had come back.
async fn again(
    app: &App,
    tenant: &TenantId,
    environments: Vec<Environment>,
) -> Result<bool, Error> {
    let record = match app.registry.find(tenant.as_str()).await? {
        // By its id and no alias.
        Some(record) if record.id == *tenant => record,
        _ => {
            // From before it was made. Its name must not be given out again.
            let environments = Some(environments.clone());
            let spec = TenantSpec { environments, ..TenantSpec::of(tenant.clone()) };
            app.registry.create_tenant(spec).await?
        }
    };
    if record.status == Status::Erased {
        return Ok(false);
    }
    erase::unattended(app, record, &environments, "restored from a backup").await?;
    Ok(true)
}

/// A scope of a tenant's environment, by a mandate that the deployment writes for itself.
pub(crate) async fn scope_of(
    app: &App,
    tenant: &TenantId,
    environment: &Environment,
) -> Result<Scope<Write>, Error> {
    let workflow =
        WorkflowId::parse("restore").map_err(|e| scope::Error::Invalid(e.to_string()))?;
    let whom = Commission {
        tenant: tenant.clone(),
        environment: environment.clone(),
        workflow,
        grants: Grants::default(),
    };
    let life = Duration::from_secs(600);
    let mandate = app.doors.commission(&app.system, whom, ACTION, life).await?;
    Ok(app.doors.redeem(&mandate, ACTION).await?)
}
