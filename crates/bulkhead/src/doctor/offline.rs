//! Into the files of a stopped deployment: schema, integrity, keys.

use std::{path::Path, sync::Arc};

use ids::{Clock, OsEntropy, SystemClock};
use scope::{Maintenance, SystemScope};
use server::{RootKey, Settings};
use store::{Depth, Options, Store};
use vault::{Credentials, EnvRoot, FileRoot, KeyProvider, SharedCredential, Vault};

use super::{Finding, isolation};
use crate::{print::progress, serve::explain};

/// Opens data and keys and checks them through; changes no row.
pub(super) async fn look(settings: &Settings, path: &Path) -> Vec<Finding> {
    #[expect(clippy::disallowed_methods, reason = "looks into a stopped deployment's own files")]
    let system = SystemScope::claim(Maintenance::Storage);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (keys, vault) = keys(settings, path, &system, &clock).await;
    let (data, store) = data(settings, path, &system, &clock).await;
    let mut findings = vec![keys, data];
    if let (Some(vault), Some(store)) = (&vault, &store) {
        findings.extend(shared(settings, path, &vault.credentials(store), &system).await);
    }
    // Nothing was written: what cannot be closed is closed with the process.
    if let Some(store) = store {
        let _ = store.close().await;
    }
    if let Some(vault) = vault {
        let _ = vault.close().await;
    }
    findings
}

async fn keys(
    settings: &Settings,
    path: &Path,
    system: &SystemScope,
    clock: &Arc<dyn Clock>,
) -> (Finding, Option<Vault>) {
    let root: Arc<dyn KeyProvider> = match &settings.storage.root_key {
        RootKey::File(path) => Arc::new(FileRoot::new(path)),
        RootKey::Environment(name) => Arc::new(EnvRoot::new(name)),
    };
    let opened = async {
        let keys = &settings.storage.keys;
        let vault = Vault::open(keys, root, Arc::clone(clock), Arc::new(OsEntropy)).await?;
        let erasures = vault.erasures(system).await?.len();
        Ok::<_, vault::Error>((vault, erasures))
    };
    match opened.await {
        Ok((vault, erasures)) => {
            let detail = format!("opens under the root key; {erasures} erasures");
            (Finding::good("keystore", detail), Some(vault))
        }
        Err(error) => (Finding::fault("keystore", &explain(error.into(), path)), None),
    }
}

async fn data(
    settings: &Settings,
    path: &Path,
    system: &SystemScope,
    clock: &Arc<dyn Clock>,
) -> (Finding, Option<Store>) {
    let options = Options { read_only: true, ..settings.storage.data.clone() };
    let (dir, clock) = (options.dir.display().to_string(), Arc::clone(clock));
    let opened = tokio::task::spawn_blocking(move || Store::open(&options, clock)).await;
    let checked = async {
        let store = opened.map_err(|_| store::Error::Panicked)??;
        let checked = store.check_integrity(system, Depth::Full).await;
        Ok::<_, store::Error>((store, checked))
    };
    let (store, checked) = match progress("checking every row", checked).await {
        Ok((store, checked)) => (Some(store), checked),
        Err(error) => (None, Err(error)),
    };
    let finding = match checked {
        Ok(()) => Finding::good("data files", format!("{dir}: schema known, every row whole")),
        Err(error) => Finding::fault("data files", &explain(error.into(), path)),
    };
    (finding, store)
}

/// Whose secrets at which provider are shared, as the claims say.
async fn shared(
    settings: &Settings,
    path: &Path,
    credentials: &Credentials,
    system: &SystemScope,
) -> Vec<Finding> {
    let all = match progress("reading claims", credentials.shared(system)).await {
        Ok(all) => all,
        Err(error) => return vec![Finding::fault("accounts", &explain(error.into(), path))],
    };
    let told = |one: SharedCredential| isolation::Shared {
        provider: one.provider.map(|id| id.as_str().to_owned()),
        secrets: one.secrets,
        units: one.units,
    };
    let all: Vec<isolation::Shared> = all.into_iter().map(told).collect();
    isolation::shared(&settings.model, &all)
}
