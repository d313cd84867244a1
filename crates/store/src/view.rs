//! Views: what a scope may do with its own rows.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use ids::Millis;
use scope::{Access, Write};
use tokio::sync::oneshot;

use crate::{
    Erased, Error, File, MAX_KEY, MAX_SCAN, MAX_VALUE, Partition, Range, Row, Table, Usage,
    engine::{Engine, Job, RawTxn, Verdict},
    partition::TAG,
    store::Notes,
};

/// The rows of one tenant and environment. From [`crate::Store::of`]; ends with its scope.
///
/// Whoever may only read has no `put`:
/// ```compile_fail
/// # use bulkhead_store as store;
/// # const T: store::Table = store::Table { file: store::File::Core, id: 1, name: "t" };
/// async fn f(store: &store::Store, scope: &scope::Scope<scope::Read>) -> Result<(), store::Error> {
///     store.of(scope).put(T, b"key", b"value").await
/// }
/// ```
/// Its compiling twin:
/// ```
/// # use bulkhead_store as store;
/// # const T: store::Table = store::Table { file: store::File::Core, id: 1, name: "t" };
/// async fn f(store: &store::Store, scope: &scope::Scope<scope::Write>) -> Result<(), store::Error> {
///     store.of(scope).put(T, b"key", b"value").await
/// }
/// ```
/// Nobody names a tenant:
/// ```compile_fail
/// # use bulkhead_store as store;
/// async fn f(store: &store::Store, tenant: &ids::TenantId) { store.of(tenant); }
/// ```
/// A view does not outlive its scope:
/// ```compile_fail
/// # use bulkhead_store as store;
/// fn f(store: &store::Store, scope: scope::Scope<scope::Write>) -> store::View<'_, scope::Write> {
///     store.of(&scope)
/// }
/// ```
/// ```
/// # use bulkhead_store as store;
/// fn f<'a>(store: &'a store::Store, scope: &'a scope::Scope<scope::Write>) -> store::View<'a, scope::Write> {
///     store.of(scope)
/// }
/// ```
#[must_use]
pub struct View<'a, A: Access> {
    rows: Rows<'a>,
    access: PhantomData<fn() -> A>,
}

/// The deployment's own rows, for reading and writing. From [`crate::Store::system`].
#[must_use]
#[derive(Clone, Copy)]
pub struct SystemView<'a> {
    rows: Rows<'a>,
}

/// The rows of one partition; the body of both views.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) notes: &'a Arc<Notes>,
    pub(crate) part: Partition,
}

// By hand: a derive would ask for a copyable `A`.
impl<A: Access> Copy for View<'_, A> {}
impl<A: Access> Clone for View<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, A: Access> View<'a, A> {
    pub(crate) fn new(rows: Rows<'a>) -> Self {
        Self { rows, access: PhantomData }
    }

    /// The value of a key, if there is one that has not expired.
    ///
    /// # Errors
    /// [`Error::ForeignRow`] if the row found is not this partition's.
    pub async fn get(self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.rows.get(table, key).await
    }

    /// The values of several keys, in their order, as [`Self::get`] has them. The keys of one
    /// call are read as of one moment.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than [`MAX_SCAN`] keys; [`Error::ForeignRow`] if any row
    /// found is not this partition's.
    pub async fn get_many(
        self,
        table: Table,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        self.rows.get_many(table, keys).await
    }

    /// Rows in the order of their keys.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a limit over [`crate::MAX_SCAN`]; [`Error::ForeignRow`] if any
    /// row found is not this partition's.
    pub async fn scan(self, table: Table, range: Range) -> Result<Vec<Row>, Error> {
        self.rows.scan(table, range).await
    }

    /// As [`Self::scan`], with a row that is not this partition's as a key without a value: it
    /// is withheld and counted, and does not keep anybody from the rows behind it.
    ///
    /// # Errors
    /// As [`Self::scan`], but for [`Error::ForeignRow`].
    pub async fn scan_own(
        self,
        table: Table,
        range: Range,
    ) -> Result<Vec<(Bytes, Option<Bytes>)>, Error> {
        range.check()?;
        let Rows { engine, notes, part } = self.rows;
        let rows = engine.scan(part, table, range).await?;
        Ok(rows.into_iter().map(|(key, value)| (key, own(part, notes, value).ok())).collect())
    }

    /// What this partition holds in a table.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn usage(self, table: Table) -> Result<Usage, Error> {
        self.rows.engine.usage(self.rows.part, table).wait().await
    }
}

impl View<'_, Write> {
    /// Stores a value under a key, replacing what was there. Durable on return.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Busy`], [`Error::Full`], [`Error::ReadOnly`].
    pub async fn put(self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.rows.put(table, key, value, None).await
    }

    /// As [`Self::put`]; from `expires` on the row is not there.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn put_until(
        self,
        table: Table,
        key: &[u8],
        value: &[u8],
        expires: Millis,
    ) -> Result<(), Error> {
        self.rows.put(table, key, value, Some(expires)).await
    }

    /// Removes a row; whether there was one.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn delete(self, table: Table, key: &[u8]) -> Result<bool, Error> {
        self.rows.delete(table, key).await
    }

    /// Runs `body` in a transaction over one file: all of it is stored, or, if it returns an
    /// error, nothing. Runs on the file's writer thread, so it must not wait for anything.
    /// `cost` is about how many bytes it writes; it decides how many fit into one commit.
    ///
    /// Whoever stops waiting does not stop the write.
    ///
    /// # Errors
    /// What `body` returns; what [`Self::put`] returns.
    pub async fn write<T, E, F>(self, file: File, cost: usize, body: F) -> Result<T, E>
    where
        F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.rows.write(file, cost, body).await
    }

    /// Removes every row of this partition from every file, and its bytes from the files
    /// (freed space is overwritten, write-ahead logs are emptied). Bytes that the file
    /// system or a disk keeps elsewhere are out of reach; the vault's shredding covers them.
    ///
    /// It is for good: from when this is called until the process ends, whatever is still under
    /// way for this partition may read and delete, and put nothing ([`Error::Erased`]).
    ///
    /// # Errors
    /// [`Error::Busy`] if the rows are gone but a reader that runs for long, such as a
    /// backup, still needs the write-ahead log: run it again later. The first error of any
    /// file, after all files were tried.
    pub async fn erase_all(self) -> Result<Erased, Error> {
        // First the mark: what was written before it is removed, and nothing comes after.
        self.rows.notes.erase(self.rows.part);
        self.rows.engine.erase(self.rows.part).await
    }
}

impl<'a> SystemView<'a> {
    pub(crate) const fn new(rows: Rows<'a>) -> Self {
        Self { rows }
    }

    /// As [`View::get`].
    ///
    /// # Errors
    /// As [`View::get`].
    pub async fn get(self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.rows.get(table, key).await
    }

    /// As [`View::scan`].
    ///
    /// # Errors
    /// As [`View::scan`].
    pub async fn scan(self, table: Table, range: Range) -> Result<Vec<Row>, Error> {
        self.rows.scan(table, range).await
    }

    /// As [`View::usage`].
    ///
    /// # Errors
    /// As [`View::usage`].
    pub async fn usage(self, table: Table) -> Result<Usage, Error> {
        self.rows.engine.usage(self.rows.part, table).wait().await
    }

    /// As [`View::put`].
    ///
    /// # Errors
    /// As [`View::put`].
    pub async fn put(self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.rows.put(table, key, value, None).await
    }

    /// As [`View::put_until`].
    ///
    /// # Errors
    /// As [`View::put`].
    pub async fn put_until(
        self,
        table: Table,
        key: &[u8],
        value: &[u8],
        expires: Millis,
    ) -> Result<(), Error> {
        self.rows.put(table, key, value, Some(expires)).await
    }

    /// As [`View::delete`].
    ///
    /// # Errors
    /// As [`View::put`].
    pub async fn delete(self, table: Table, key: &[u8]) -> Result<bool, Error> {
        self.rows.delete(table, key).await
    }

    /// As [`View::write`].
    ///
    /// # Errors
    /// As [`View::write`].
    pub async fn write<T, E, F>(self, file: File, cost: usize, body: F) -> Result<T, E>
    where
        F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.rows.write(file, cost, body).await
    }
}

impl Rows<'_> {
    async fn get(self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = self.engine.get(self.asked(), table, key).wait().await?;
        found.map(|value| own(self.part, self.notes, value)).transpose()
    }

    async fn get_many(self, table: Table, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Bytes>>, Error> {
        if keys.len() > MAX_SCAN {
            let (what, size) = ("a read of keys", keys.len());
            return Err(Error::TooLarge { what, size, bound: MAX_SCAN });
        }
        let found = self.engine.get_many(self.asked(), table, keys).wait().await?;
        let own = |value: Option<Bytes>| value.map(|v| own(self.part, self.notes, v)).transpose();
        found.into_iter().map(own).collect()
    }

    /// The partition to ask for: this one, always.
    fn asked(self) -> Partition {
        if ids::planted::is("store-view-ignores-partition") {
            static FIRST: std::sync::OnceLock<Partition> = std::sync::OnceLock::new();
            return *FIRST.get_or_init(|| self.part);
        }
        self.part
    }

    async fn scan(self, table: Table, range: Range) -> Result<Vec<Row>, Error> {
        range.check()?;
        let rows = self.engine.scan(self.part, table, range).await?;
        own_all(self.part, self.notes, rows)
    }

    async fn put(
        self,
        table: Table,
        key: &[u8],
        value: &[u8],
        expires: Option<Millis>,
    ) -> Result<(), Error> {
        let value = tagged(self.part, key, value)?;
        let key = key.to_vec();
        self.write(table.file, key.len() + value.len(), move |txn| {
            txn.keep(table, &key, &value, expires)
        })
        .await
    }

    async fn delete(self, table: Table, key: &[u8]) -> Result<bool, Error> {
        let key = key.to_vec();
        self.write(table.file, key.len(), move |txn| txn.delete(table, &key)).await
    }

    async fn write<T, E, F>(self, file: File, cost: usize, body: F) -> Result<T, E>
    where
        F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Closure {
            part: self.part,
            notes: Arc::clone(self.notes),
            body: Some(body),
            result: None,
            reply,
        };
        self.engine.write(self.part, file, cost, Box::new(job))?;
        answer.await.unwrap_or_else(|_| Err(Error::Closed.into()))
    }
}

/// A transaction over one file, bound to one partition; all of it is stored, or nothing.
pub struct Txn<'t> {
    raw: &'t mut dyn RawTxn,
    part: Partition,
    notes: &'t Notes,
    /// Whether the partition was erased before this runs.
    erased: bool,
}

impl Txn<'_> {
    /// The time at which it runs, by the store's clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.raw.now()
    }

    /// As [`View::get`]; sees what was written earlier in the transaction.
    ///
    /// # Errors
    /// As [`View::get`]; [`Error::WrongFile`].
    pub fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = self.raw.get(table, key)?;
        found.map(|value| own(self.part, self.notes, value)).transpose()
    }

    /// As [`View::put`], durable when the transaction is.
    ///
    /// # Errors
    /// As [`View::put`]; [`Error::WrongFile`].
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let value = tagged(self.part, key, value)?;
        self.keep(table, key, &value, None)
    }

    /// As [`View::put_until`], durable when the transaction is.
    ///
    /// # Errors
    /// As [`View::put`]; [`Error::WrongFile`].
    pub fn put_until(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
        expires: Millis,
    ) -> Result<(), Error> {
        let value = tagged(self.part, key, value)?;
        self.keep(table, key, &value, Some(expires))
    }

    fn keep(
        &mut self,
        table: Table,
        key: &[u8],
        tagged: &[u8],
        expires: Option<Millis>,
    ) -> Result<(), Error> {
        if self.erased {
            return Err(Error::Erased);
        }
        self.raw.put(table, key, tagged, expires)
    }

    /// As [`View::delete`].
    ///
    /// # Errors
    /// As [`View::put`]; [`Error::WrongFile`].
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, Error> {
        self.raw.delete(table, key)
    }

    /// As [`View::scan`]; sees what was written earlier in the transaction.
    ///
    /// # Errors
    /// As [`View::scan`]; [`Error::WrongFile`].
    pub fn scan(&mut self, table: Table, range: &Range) -> Result<Vec<Row>, Error> {
        range.check()?;
        let rows = self.raw.scan(table, range)?;
        own_all(self.part, self.notes, rows)
    }

    /// As [`View::usage`]; counts what was written earlier in the transaction.
    ///
    /// # Errors
    /// If the file cannot be read; [`Error::WrongFile`].
    pub fn usage(&mut self, table: Table) -> Result<Usage, Error> {
        self.raw.usage(table)
    }
}

/// A closure as a job, with the way back to whoever waits.
struct Closure<T, E, F> {
    part: Partition,
    notes: Arc<Notes>,
    body: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Job for Closure<T, E, F>
where
    F: FnOnce(&mut Txn<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, raw: &mut dyn RawTxn) -> Verdict {
        let Some(body) = self.body.take() else { return Verdict::Undo };
        // Asked here and not when it was accepted: an erasure that begins later removes what
        // this writes, because its work waits in the same lane.
        let erased = self.notes.is_erased(self.part);
        let result = body(&mut Txn { raw, part: self.part, notes: &self.notes, erased });
        let verdict = if result.is_ok() { Verdict::Keep } else { Verdict::Undo };
        self.result = Some(result);
        verdict
    }

    fn finish(self: Box<Self>, outcome: Result<(), Error>) {
        let answer = match (outcome, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::Panicked.into()),
            (Err(error), _) => Err(error.into()),
        };
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(answer);
    }
}

/// The value as stored: behind its partition's tag.
fn tagged(part: Partition, key: &[u8], value: &[u8]) -> Result<Vec<u8>, Error> {
    for (what, size, bound) in [("a key", key.len(), MAX_KEY), ("a value", value.len(), MAX_VALUE)]
    {
        if size > bound {
            return Err(Error::TooLarge { what, size, bound });
        }
    }
    let mut stored = Vec::with_capacity(TAG + value.len());
    stored.extend_from_slice(&part.tag());
    stored.extend_from_slice(value);
    Ok(stored)
}

/// The pair assertion: what was read under a partition carries its tag, or is withheld.
fn own(part: Partition, notes: &Notes, mut stored: Bytes) -> Result<Bytes, Error> {
    let ours = stored.len() >= TAG
        && (stored[..TAG] == part.tag() || ids::planted::is("store-row-unchecked"));
    if !ours {
        notes.foreign.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tracing::error!(partition = ?part, "a row of another partition was found and withheld");
        return Err(Error::ForeignRow);
    }
    Ok(stored.split_off(TAG))
}

fn own_all(part: Partition, notes: &Notes, rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    rows.into_iter().map(|(key, value)| Ok((key, own(part, notes, value)?))).collect()
}
