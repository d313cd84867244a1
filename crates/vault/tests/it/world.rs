//! What every test here stands on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bulkhead_vault::{Error, FileRoot, Place, Vault};
use ids::{Entropy, ManualClock, Millis, OsEntropy};
use parking_lot::Mutex;
use scope::{Maintenance, Scope, SystemScope, Write};
use testkit::Kit;

pub(crate) const PLACE: Place<'static> = Place { surface: "test", key: b"record", version: 1 };

/// Remembers every 32 bytes that it gave: keys, all of them.
#[derive(Debug, Default)]
pub(crate) struct Recording(Mutex<Vec<[u8; 32]>>);

impl Entropy for Recording {
    fn fill(&self, out: &mut [u8]) {
        OsEntropy.fill(out);
        if let Ok(key) = (&*out).try_into() {
            self.0.lock().push(key);
        }
    }
}

impl Recording {
    pub(crate) fn keys(&self) -> Vec<[u8; 32]> {
        self.0.lock().clone()
    }
}

/// A keystore with its root key file, and two tenants with two environments each.
pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) entropy: Arc<Recording>,
    pub(crate) root: FileRoot,
    pub(crate) vault: Vault,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let entropy = Arc::new(Recording::default());
        let root = FileRoot::create(directory.path().join("root.key"), &*entropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root.clone(), clock.clone(), entropy.clone());
        let vault = vault.await.unwrap();
        let kit = Kit::new(clock.clone()).await;
        Self { kit, clock, entropy, root, vault, directory }
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    /// Opens the keystore, which must be closed, with this root key file.
    pub(crate) async fn open_with(&self, root: &FileRoot) -> Result<Vault, Error> {
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        Vault::open(&self.keys(), root.clone(), clock, entropy).await
    }

    /// What a restart leaves: nothing in memory.
    pub(crate) async fn restart(&mut self) {
        self.vault.close().await.unwrap();
        self.vault = self.open_with(&self.root).await.unwrap();
    }

    pub(crate) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    pub(crate) async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    /// A tenant that there was not before.
    pub(crate) async fn tenant(&self, name: &str) -> Scope<Write> {
        use ids::Clock as _;
        self.kit.registry.add_tenant(name, &["live"], self.clock.now());
        self.kit.scope(name, "live").await
    }

    pub(crate) async fn seal(&self, scope: &Scope<Write>, plain: &str) -> Vec<u8> {
        self.vault.of(scope).seal(&PLACE, plain.as_bytes()).await.unwrap()
    }

    pub(crate) async fn open(&self, scope: &Scope<Write>, sealed: &[u8]) -> Result<String, Error> {
        let plain = self.vault.of(scope).open(&PLACE, sealed).await?;
        Ok(String::from_utf8(plain.into_vec()).unwrap())
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of what maintenance does")]
pub(crate) const fn system() -> SystemScope {
    SystemScope::claim(Maintenance::Keys)
}

/// The version of the data key, as it stands in sealed bytes.
pub(crate) fn version_in(sealed: &[u8]) -> u32 {
    u32::from_be_bytes(sealed[1..5].try_into().unwrap())
}

/// The bytes of every file below a directory.
pub(crate) fn bytes_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all
}

pub(crate) fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
