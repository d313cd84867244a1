//! A store in a temporary directory, with scopes from real tokens.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, mpsc},
};

use bulkhead_store::{Error, File, Options, Store, Table, Txn};
use futures_util::FutureExt;
use ids::{Clock, ManualClock, Millis};
use scope::{Maintenance, Scope, SystemScope, Write};
use tempfile::TempDir;
use testkit::Kit;

pub(crate) const THINGS: Table = Table { file: File::Core, id: 60_001, name: "things" };
pub(crate) const OTHERS: Table = Table { file: File::Core, id: 60_002, name: "others" };
pub(crate) const EVENTS: Table = Table { file: File::Records, id: 60_003, name: "events" };

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) kit: Kit,
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_000)));
        let kit = Kit::new(Arc::clone(&clock) as Arc<dyn Clock>).await;
        Self { dir: tempfile::tempdir().unwrap(), clock, kit }
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.path())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Store, Error> {
        Store::open(&self.options(), self.clock())
    }

    pub(crate) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    pub(crate) async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    /// A connection beside the store's own.
    pub(crate) fn raw(&self, file: File) -> rusqlite::Connection {
        raw(&self.path(), file)
    }
}

pub(crate) fn raw(dir: &Path, file: File) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join(format!("{file}.db"))).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the tests of the store are maintenance of it")]
pub(crate) fn system() -> SystemScope {
    SystemScope::claim(Maintenance::Storage)
}

/// Futures that were polled once: what they write is accepted and waits.
pub(crate) struct Pending<'a, T>(Vec<Pin<Box<dyn Future<Output = T> + 'a>>>);

impl<'a, T> Pending<'a, T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, future: impl Future<Output = T> + 'a) {
        let mut future: Pin<Box<dyn Future<Output = T> + 'a>> = Box::pin(future);
        assert!((&mut future).now_or_never().is_none(), "done at once: nothing to wait for");
        self.0.push(future);
    }

    pub(crate) async fn all(self) -> Vec<T> {
        futures_util::future::join_all(self.0).await
    }
}

/// Holds a file's writer between its first job and its second, so that what is written
/// meanwhile waits and goes into one commit.
pub(crate) struct Held {
    go_on: mpsc::Sender<()>,
}

impl Held {
    /// The future to await after letting go, and the hold.
    pub(crate) fn new<'a>(
        store: &'a Store,
        scope: &'a SystemScope,
        file: File,
    ) -> (impl Future<Output = Result<(), Error>> + 'a, Self) {
        let (go_on, wait) = mpsc::channel();
        let (began, has_begun) = mpsc::channel();
        let hold = move |_: &mut Txn<'_>| {
            let _ = began.send(());
            let _ = wait.recv();
            Ok(())
        };
        let mut held = Box::pin(store.system(scope).write(file, 0, hold));
        assert!((&mut held).now_or_never().is_none());
        has_begun.recv().unwrap();
        (held, Self { go_on })
    }

    pub(crate) fn let_go(self) {
        self.go_on.send(()).unwrap();
    }
}
