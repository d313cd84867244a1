//! What a storage backend is: opaque keys and values in partitions. Nothing here knows a
//! tenant, and nothing outside this crate can reach an engine: [`crate::Store`] is the door.

use std::path::PathBuf;

use bytes::Bytes;
use ids::{BoxFuture, Millis};

use crate::{Depth, Erased, Error, Figures, File, Manifest, Partition, Range, Table, Usage};

/// A row as a scan returns it: key and value.
pub type Row = (Bytes, Bytes);

/// Values in the order of the keys that were asked for.
pub(crate) type Found = Result<Vec<Option<Bytes>>, Error>;

/// Told of done and all pages while a backup runs.
pub(crate) type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// An answer that an embedded engine has at once, so that a point read costs no allocation.
pub(crate) enum Reply<'a, T> {
    Now(T),
    /// One that takes longer: many rows, or an engine that is reached by network.
    Later(BoxFuture<'a, T>),
}

impl<T> Reply<'_, T> {
    pub(crate) async fn wait(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

/// What becomes of a job's own writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    Undo,
}

/// A write: runs once in the engine's transaction and learns once how that ended.
pub(crate) trait Job: Send {
    /// Reads and writes. What it returns decides about its own writes only.
    fn run(&mut self, txn: &mut dyn RawTxn) -> Verdict;
    /// The transaction is durable, or failed with all of its jobs.
    fn finish(self: Box<Self>, outcome: Result<(), Error>);
}

/// An open transaction, bound to one partition. Values are as stored, tag and all.
pub(crate) trait RawTxn {
    /// The time at which this job runs, by the store's clock.
    fn now(&self) -> Millis;
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error>;
    fn put(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
        expires: Option<Millis>,
    ) -> Result<(), Error>;
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, Error>;
    fn scan(&mut self, table: Table, range: &Range) -> Result<Vec<Row>, Error>;
    fn usage(&mut self, table: Table) -> Result<Usage, Error>;
}

/// A storage backend.
pub(crate) trait Engine: Send + Sync {
    fn get(
        &self,
        part: Partition,
        table: Table,
        key: &[u8],
    ) -> Reply<'_, Result<Option<Bytes>, Error>>;
    /// The values of these keys, in their order.
    fn get_many(&self, part: Partition, table: Table, keys: Vec<Vec<u8>>) -> Reply<'_, Found>;
    fn scan(
        &self,
        part: Partition,
        table: Table,
        range: Range,
    ) -> BoxFuture<'_, Result<Vec<Row>, Error>>;
    fn usage(&self, part: Partition, table: Table) -> Reply<'_, Result<Usage, Error>>;
    /// Accepts a write, or refuses it at once. Accepted, it runs and finishes whether or
    /// not anybody waits for it.
    fn write(
        &self,
        part: Partition,
        file: File,
        cost: usize,
        job: Box<dyn Job>,
    ) -> Result<(), Error>;
    /// Removes every row of the partition and leaves none of its bytes behind.
    fn erase(&self, part: Partition) -> BoxFuture<'_, Result<Erased, Error>>;
    /// Removes what has expired, of every partition.
    fn sweep(&self) -> BoxFuture<'_, Result<Usage, Error>>;
    fn check(&self, depth: Depth) -> BoxFuture<'_, Result<(), Error>>;
    fn backup(&self, dest: PathBuf, progress: Progress) -> BoxFuture<'_, Result<Manifest, Error>>;
    /// Returns when every write that was accepted before is finished.
    fn flush(&self) -> BoxFuture<'_, ()>;
    /// Refuses new writes, finishes the accepted ones, closes the files.
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
    fn figures(&self, file: File) -> Figures;
}
