//! What every test here stands on.

use std::{path::PathBuf, sync::Arc};

use bulkhead_records::{Audit, Event, Filter, Options, Recorded, Recorder, Verdict, Verified};
use ids::{Clock as _, ManualClock, Millis, OsEntropy, RequestId};
use scope::{Access, AuditSink as _, Entry, Maintenance, Scope, SystemScope, Write};
use store::Store;
use testkit::Kit;
use vault::{FileRoot, Vault};

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) vault: Vault,
    pub(crate) store: Store,
    pub(crate) acme: Scope<Write>,
    pub(crate) globex: Scope<Write>,
    directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on_disk_of(None).await
    }

    /// On a disk that is full at so many pages of 4 KiB, per file.
    pub(crate) async fn on_disk_of(max_pages: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let mut options = store::Options::new(directory.path().join("data"));
        options.max_pages = max_pages;
        let store = Store::open(&options, clock.clone()).unwrap();
        let kit = Kit::new(clock.clone()).await;
        let (acme, globex) = (kit.scope("acme", "live").await, kit.scope("globex", "live").await);
        Self { kit, clock, vault, store, acme, globex, directory }
    }

    pub(crate) fn recorder(&self, options: Options) -> Recorder {
        Recorder::open(options, &self.store, &self.vault, self.clock.clone(), &OsEntropy).unwrap()
    }

    pub(crate) async fn audit(&self) -> Audit {
        self.audit_named("test").await
    }

    pub(crate) async fn audit_named(&self, name: &str) -> Audit {
        let (clock, entropy) = (self.clock.clone(), Arc::new(OsEntropy));
        Audit::open(name, &self.store, &self.vault, clock, entropy).await.unwrap()
    }

    pub(crate) fn event(&self, scope: &Scope<Write>) -> Event {
        let request = RequestId::draw(&OsEntropy);
        Event::of(scope, self.clock.now(), request, "model", "chat")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

pub(crate) async fn list<A: Access>(recorder: &Recorder, scope: &Scope<A>) -> Vec<Recorded> {
    recorder.list(scope, &Filter::default()).await.unwrap()
}

/// Appends so many entries, numbered.
pub(crate) async fn fill(audit: &Audit, scope: &Scope<Write>, entries: u64) {
    let all = (0..entries).map(|n| {
        let entry = Entry::allowed(scope.actor(), "tenant.change", n).because("canary reason");
        audit.record(scope, entry)
    });
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
}

pub(crate) fn intact(verdict: Verdict) -> Verified {
    match verdict {
        Verdict::Intact(verified) => verified,
        Verdict::Broken(broken) => unreachable!("{broken}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of what maintenance does")]
pub(crate) const fn system() -> SystemScope {
    SystemScope::claim(Maintenance::Audit)
}

/// Whether any file of the data directory holds these bytes.
pub(crate) fn on_disk(world: &World, needle: &str) -> bool {
    std::fs::read_dir(world.data()).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    })
}
