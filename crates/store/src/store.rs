//! The store: the one doorway to rows.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
};

use ids::Clock;
use parking_lot::RwLock;
use scope::{Access, Scope, SystemScope};

use crate::{
    Depth, Error, File, Manifest, Options, Partition, SystemView, Usage, View, backup,
    engine::Engine,
    sqlite::{Layout, Sqlite},
    view::Rows,
};

/// What is noted of rows and partitions; apart from the engine, so that a queued write can hold
/// it.
#[derive(Default)]
pub(crate) struct Notes {
    /// Foreign rows that were found.
    pub(crate) foreign: AtomicU64,
    /// Partitions whose erasure has begun. As many as there were erasures in this process.
    erased: RwLock<HashSet<Partition>>,
}

impl Notes {
    /// From here on nothing is put into the partition: what was under way would bring back rows
    /// of whom nothing may be left.
    pub(crate) fn erase(&self, part: Partition) {
        self.erased.write().insert(part);
    }

    pub(crate) fn is_erased(&self, part: Partition) -> bool {
        !ids::planted::is("store-late-write-kept") && self.erased.read().contains(&part)
    }
}

/// Figures of one file, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Transactions committed.
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
    /// Writes refused because too many waited.
    pub refused: u64,
    /// Writes that wait.
    pub waiting: u64,
}

/// The store. Cheap to clone; the last one to go finishes accepted writes and closes the
/// files.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    engine: Box<dyn Engine>,
    notes: Arc<Notes>,
}

impl Store {
    /// Opens the data directory, making what is missing. Blocks: call it while starting.
    ///
    /// Costs the same for any number of tenants. Files are checked as `options.check` says:
    /// the last thing of an orderly end, by [`Self::close`] or by dropping the last `Store`,
    /// is a marker that names the files and their sizes; the first thing of a start is to
    /// take the marker away. A start that finds none, or other sizes, follows a crash or
    /// somebody's hand, and checks.
    ///
    /// On a read-only disk it opens for reading, and every write says [`Error::ReadOnly`].
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Newer`], [`Error::Corrupt`], [`Error::HalfRestored`],
    /// [`Error::Full`], [`Error::ReadOnly`] (nothing there and nothing can be made),
    /// [`Error::Io`].
    pub fn open(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let layout = Layout::Directory(options.dir.clone());
        Ok(Self::over(Sqlite::open(layout, options, clock)?))
    }

    /// Opens a store that has the one file [`File::Core`], at `path`; for the keystore, which
    /// lives apart from the data.
    ///
    /// # Errors
    /// As [`Self::open`]; using another file later is [`Error::WrongFile`].
    pub fn open_single(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let layout = Layout::Single(path.to_owned());
        Ok(Self::over(Sqlite::open(layout, &Options::default(), clock)?))
    }

    fn over(engine: impl Engine + 'static) -> Self {
        Self(Arc::new(Inner { engine: Box::new(engine), notes: Arc::default() }))
    }

    /// The rows of the scope's tenant and environment.
    pub fn of<'a, A: Access>(&'a self, scope: &'a Scope<A>) -> View<'a, A> {
        View::new(self.rows(Partition::of(scope)))
    }

    /// The deployment's own rows.
    pub fn system<'a>(&'a self, scope: &'a SystemScope) -> SystemView<'a> {
        SystemView::new(self.rows(Partition::of_deployment(scope)))
    }

    fn rows(&self, part: Partition) -> Rows<'_> {
        Rows { engine: &*self.0.engine, notes: &self.0.notes, part }
    }

    /// How many rows were found under a partition that was not theirs, and withheld. More
    /// than none is a security event.
    #[must_use]
    pub fn foreign_rows(&self) -> u64 {
        self.0.notes.foreign.load(Ordering::Relaxed)
    }

    /// Figures of one file.
    #[must_use]
    pub fn figures(&self, file: File) -> Figures {
        self.0.engine.figures(file)
    }

    /// Removes expired rows of every partition, in bounded batches between other writes;
    /// what was removed.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub async fn sweep(&self, _: &SystemScope) -> Result<Usage, Error> {
        self.0.engine.sweep().await
    }

    /// Checks every file while serving.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the first thing that is wrong.
    pub async fn check_integrity(&self, _: &SystemScope, depth: Depth) -> Result<(), Error> {
        self.0.engine.check(depth).await
    }

    /// Copies every file as of one moment into `dest`, while serving, with a manifest.
    /// `progress` is told of done and all pages. A file that nothing was ever written to is
    /// not in it. The keystore is another store and not in it either.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] if `dest` holds anything.
    pub async fn backup(
        &self,
        _: &SystemScope,
        dest: &Path,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<Manifest, Error> {
        self.0.engine.backup(dest.to_owned(), Box::new(progress)).await
    }

    /// Copies a backup into a data directory that holds nothing yet, checking every byte
    /// against the manifest. Offline: open the directory afterwards. Blocks.
    ///
    /// # Errors
    /// [`Error::BadBackup`], [`Error::Newer`], [`Error::NotEmpty`]. After an error, or a
    /// crash, `dest` does not open ([`Error::HalfRestored`]) or is as it was.
    pub fn restore(src: &Path, dest: &Path) -> Result<Manifest, Error> {
        backup::restore(src, dest)
    }

    /// Returns when every write that was accepted before is finished.
    pub async fn flush(&self) {
        self.0.engine.flush().await;
    }

    /// Refuses new writes, finishes the accepted ones, and closes the files. Then everything
    /// is [`Error::Closed`].
    ///
    /// # Errors
    /// If a file could not be closed in order; nothing acknowledged is lost then either.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.engine.close().await
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
