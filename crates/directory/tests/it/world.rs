//! A registry over a real store, with a clock that stands still.

use std::{sync::Arc, time::Duration};

use bulkhead_directory::{Fresh, NewKey, Registry, TenantSpec};
use ids::{Environment, ManualClock, Millis, OsEntropy, TenantId};
use scope::{Digester, Grants, Kind, Secret, TenantRecord};
use store::{Options, Store};
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) const START: Millis = Millis::from_secs(1_800_000_000);

pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let dir = TempDir::new().unwrap();
        let store = Store::open(&Options::new(dir.path()), clock.clone()).unwrap();
        Self { registry: Registry::new(store.clone()), store, clock, dir }
    }

    /// The process ends and another one opens the same files.
    pub(crate) async fn reopen(self) -> Self {
        let Self { registry, store, clock, dir } = self;
        store.close().await.unwrap();
        drop((registry, store));
        let store = Store::open(&Options::new(dir.path()), clock.clone()).unwrap();
        Self { registry: Registry::new(store.clone()), store, clock, dir }
    }

    /// With a tenant that has an environment `live` and an alias `org_<tenant>`.
    pub(crate) async fn with(self, tenants: &[&str]) -> Self {
        for tenant in tenants {
            self.registry.create_tenant(spec(tenant, &["live"], &[&org(tenant)])).await.unwrap();
        }
        self
    }

    pub(crate) async fn tenant(&self, name: &str) -> TenantRecord {
        self.registry.find(name).await.unwrap().unwrap()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Everything in the data directory, in one.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                all.extend(std::fs::read(path).unwrap());
            }
        }
        all
    }
}

pub(crate) fn org(tenant: &str) -> String {
    format!("org_{tenant}")
}

pub(crate) fn id(text: &str) -> TenantId {
    text.parse().unwrap()
}

pub(crate) fn environment(text: &str) -> Environment {
    text.parse().unwrap()
}

pub(crate) fn spec(tenant: &str, environments: &[&str], aliases: &[&str]) -> TenantSpec {
    TenantSpec {
        environments: Some(environments.iter().map(|e| e.parse().unwrap()).collect()),
        aliases: Some(aliases.iter().map(|a| a.parse().unwrap()).collect()),
        ..TenantSpec::of(id(tenant))
    }
}

pub(crate) fn digester() -> Digester {
    Digester::new(Zeroizing::new([5; 32]))
}

pub(crate) fn fresh(kind: Kind) -> (Secret, Fresh) {
    let secret = Secret::draw(kind, &OsEntropy);
    let digest = digester().digest(secret.expose());
    let fresh = Fresh { id: secret.id(), prefix: secret.prefix().to_owned(), digest };
    (secret, fresh)
}

/// An API key of workflow `support` with `model:chat`.
pub(crate) fn new_key(tenant: &str, env: &str, expires: Option<Millis>) -> (Secret, NewKey) {
    let (secret, fresh) = fresh(Kind::ApiKey);
    let new = NewKey {
        fresh,
        tenant: id(tenant),
        environment: environment(env),
        workflow: "support".parse().unwrap(),
        grants: Grants::parse("model:chat").unwrap(),
        expires,
    };
    (secret, new)
}
