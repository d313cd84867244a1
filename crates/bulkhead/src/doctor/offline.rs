//! Into the files of a stopped deployment: schema, integrity, keys.

use std::{path::Path, sync::Arc};

use ids::{Clock, OsEntropy, SystemClock};
use scope::{Maintenance, SystemScope};
use server::{RootKey, Settings};
use store::{Depth, Options, Store};
use vault::{EnvRoot, FileRoot, KeyProvider, Vault};

use super::Finding;
use crate::{print::progress, serve::explain};

/// Opens data and keys and checks them through; changes no row.
pub(super) async fn look(settings: &Settings, path: &Path) -> Vec<Finding> {
    #[expect(clippy::disallowed_methods, reason = "looks into a stopped deployment's own files")]
    let system = SystemScope::claim(Maintenance::Storage);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    vec![keys(settings, path, &system, &clock).await, data(settings, path, &system, &clock).await]
}

async fn keys(
    settings: &Settings,
    path: &Path,
    system: &SystemScope,
    clock: &Arc<dyn Clock>,
) -> Finding {
    let root: Arc<dyn KeyProvider> = match &settings.storage.root_key {
        RootKey::File(path) => Arc::new(FileRoot::new(path)),
        RootKey::Environment(name) => Arc::new(EnvRoot::new(name)),
    };
    let opened = async {
        let keys = &settings.storage.keys;
        let vault = Vault::open(keys, root, Arc::clone(clock), Arc::new(OsEntropy)).await?;
        let erasures = vault.erasures(system).await?.len();
        vault.close().await?;
        Ok::<_, vault::Error>(erasures)
    };
    match opened.await {
        Ok(erasures) => {
            Finding::good("keystore", format!("opens under the root key; {erasures} erasures"))
        }
        Err(error) => Finding::fault("keystore", &explain(error.into(), path)),
    }
}

async fn data(
    settings: &Settings,
    path: &Path,
    system: &SystemScope,
    clock: &Arc<dyn Clock>,
) -> Finding {
    let options = Options { read_only: true, ..settings.storage.data.clone() };
    let (dir, clock) = (options.dir.display().to_string(), Arc::clone(clock));
    let opened = tokio::task::spawn_blocking(move || Store::open(&options, clock)).await;
    let checked = async {
        let store = opened.map_err(|_| store::Error::Panicked)??;
        let checked = store.check_integrity(system, Depth::Full).await;
        store.close().await?;
        checked
    };
    match progress("checking every row", checked).await {
        Ok(()) => Finding::good("data files", format!("{dir}: schema known, every row whole")),
        Err(error) => Finding::fault("data files", &explain(error.into(), path)),
    }
}
