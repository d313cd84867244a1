//! What every test here stands on.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bulkhead_cache::{
    Alarm, Backend, Cache, KeyParts, Semantic, SemanticSettings, Settings, State, StateSettings,
    Version,
};
use ids::{ManualClock, Millis, OsEntropy};
use scope::{Read, Scope, Write};
use store::{Options, Store};
use testkit::Kit;
use vault::{FileRoot, Vault};
use zeroize::Zeroizing;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Remembers whose hop each foreign answer turned up on.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<String>>);

impl Alarm for Heard {
    fn foreign_bytes(&self, scope: &Scope<Read>, surface: &'static str) {
        assert_eq!(surface, "cache");
        let whose = format!("{}/{}", scope.tenant(), scope.environment());
        self.0.lock().unwrap().push(whose);
    }
}

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) vault: Vault,
    pub(crate) alarm: Arc<Heard>,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let kit = Kit::new(clock.clone()).await;
        Self { kit, clock, vault, alarm: Arc::default(), directory }
    }

    /// Over these tiers.
    pub(crate) fn over(&self, settings: Settings, tiers: Vec<Arc<dyn Backend>>) -> Cache {
        let secret = Zeroizing::new([3; 32]);
        let alarm = self.alarm.clone();
        Cache::over(settings, tiers, &self.vault, secret, self.clock.clone(), alarm).unwrap()
    }

    /// Over memory and disk, in the world's directory.
    pub(crate) fn open(&self, settings: Settings) -> (Cache, Store) {
        let store = self.store(&self.directory.path().join("data"));
        let secret = Zeroizing::new([3; 32]);
        let alarm = self.alarm.clone();
        let cache =
            Cache::open(settings, &store, &self.vault, secret, self.clock.clone(), alarm).unwrap();
        (cache, store)
    }

    /// The state of runs, in the world's directory.
    pub(crate) fn state(&self, settings: StateSettings) -> (State, Store) {
        let store = self.store(&self.directory.path().join("data"));
        (State::open(settings, &store, &self.vault, self.clock.clone()).unwrap(), store)
    }

    /// An empty semantic index.
    pub(crate) fn semantic(&self, settings: SemanticSettings) -> Semantic {
        Semantic::new(settings, self.clock.clone())
    }

    fn store(&self, directory: &Path) -> Store {
        Store::open(&Options::new(directory), self.clock.clone()).unwrap()
    }

    pub(crate) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    pub(crate) async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }
}

/// The parts of a key about `request`.
pub(crate) fn about(request: &str) -> KeyParts<'_> {
    KeyParts {
        kind: "test",
        entity: "gpt",
        versions: &[],
        policy: Version::of(b"policy"),
        config: Version::of(b"config"),
        request: request.as_bytes(),
    }
}
