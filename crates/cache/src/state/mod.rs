//! The state of runs: what an agent keeps between its steps, with versions.
//!
//! A value belongs to a tenant's environment, a workflow, a run and a key. It is sealed and
//! bound to all of them and to its version. A write is one transaction: condition, value,
//! earlier versions and quotas together, so that whoever stops waiting, or dies, leaves all of
//! it or nothing. Names of keys are not sealed: they have to stand in order.

mod change;
mod row;
mod settings;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use ids::{Clock, Millis, RunId, planted};
use scope::{Access, Scope, Write};
use store::{File, Range, Store, Usage};
use vault::Vault;
use zeroize::Zeroizing;

pub use self::{change::STATE_TABLES, settings::StateSettings};
use self::{
    change::{Change, FLOOR, FLOOR_KEY, HEADS, Late, Outcome, VALUES, Wanted},
    row::{Head, Mark, run_prefix, value_key},
};
use crate::{Error, content};

/// Names the surface in the associated data of what is sealed.
const SURFACE: &str = "state";

/// What stands before the content under the seal: when it was written and when it ends (0:
/// never); Unix milliseconds, big-endian.
const HEAD: usize = 16;

/// The most keys that one listing gives.
pub const MAX_LIST: usize = 1_000;

/// How often a write seals for a version that another one takes before it. From the second time
/// on it can seal inside the transaction, so a third is rare.
const TRIES: usize = 8;

/// How often a reader looks again for a value that was replaced under its eyes.
const LOOKS: usize = 8;

/// Keys that a listing looks at in one go, at least.
const ROWS: usize = 128;

/// Keys whose time has passed that are removed in one go to make room.
const TIDY: usize = 512;

/// A value of a run.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// As it was written.
    pub value: Bytes,
    /// As it was written.
    pub content_type: String,
    /// Rises with each write of the key, also when it was deleted in between.
    pub version: u64,
    /// A strong `ETag` of this version, in its quotes.
    pub etag: String,
    /// When.
    pub written: Millis,
    /// From when on it is not there any more.
    pub expires: Option<Millis>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({} bytes, version {})", self.value.len(), self.version)
    }
}

/// A key, or a version of it, without its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// A strong `ETag` of this version, in its quotes.
    pub etag: String,
    /// Which one.
    pub version: u64,
    /// Of the value.
    pub bytes: u64,
    /// When.
    pub written: Millis,
    /// From when on it is not there any more.
    pub expires: Option<Millis>,
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({} bytes, version {})", self.bytes, self.version)
    }
}

impl Listed {
    fn new(key: &str, mark: &Mark) -> Self {
        Self {
            key: key.to_owned(),
            etag: mark.etag(),
            version: mark.version,
            bytes: mark.bytes,
            written: mark.written,
            expires: mark.expires,
        }
    }
}

/// What has to be there for a write to be done (RFC 9110 § 13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Whatever there is.
    Any,
    /// Nothing: `If-None-Match: *`.
    Absent,
    /// Anything: `If-Match: *`.
    Present,
    /// The version with this `ETag`, in its quotes: `If-Match: "…"`. Compared strongly.
    Is(&'a str),
}

/// How a value was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// A strong `ETag` of the new version, in its quotes.
    pub etag: String,
    /// The new version.
    pub version: u64,
    /// Whether there was nothing before.
    pub created: bool,
}

/// The state of all runs of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

struct Inner {
    settings: StateSettings,
    store: Store,
    vault: Vault,
    clock: Arc<dyn Clock>,
}

impl State {
    /// The state in this store. `clock` is the store's, too.
    ///
    /// # Errors
    /// Settings that cannot be held.
    pub fn open(
        settings: StateSettings,
        store: &Store,
        vault: &Vault,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        settings.check()?;
        let (store, vault) = (store.clone(), vault.clone());
        Ok(Self { inner: Arc::new(Inner { settings, store, vault, clock }) })
    }

    /// The bounds.
    #[must_use]
    pub fn settings(&self) -> &StateSettings {
        &self.inner.settings
    }

    /// The one doorway: what this scope may see. Whoever may only read has no `put`:
    /// ```compile_fail
    /// # use bulkhead_cache as cache;
    /// async fn f(state: &cache::State, scope: &scope::Scope<scope::Read>, run: &ids::RunId) {
    ///     let _ = state.of(scope).delete(run, "key", cache::Condition::Any).await;
    /// }
    /// ```
    /// Its compiling twin:
    /// ```
    /// # use bulkhead_cache as cache;
    /// async fn f(state: &cache::State, scope: &scope::Scope<scope::Write>, run: &ids::RunId) {
    ///     let _ = state.of(scope).delete(run, "key", cache::Condition::Any).await;
    /// }
    /// ```
    pub fn of<'a, A: Access>(&'a self, scope: &'a Scope<A>) -> Book<'a, A> {
        Book { inner: &self.inner, scope }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// The state of the runs of one workflow of a tenant's environment, as the holder of a scope
/// sees it. Every run of the workflow is within reach, not the credential's own alone: who
/// resumes a run comes with a later credential. A policy may say otherwise.
#[must_use]
pub struct Book<'a, A: Access> {
    inner: &'a Inner,
    scope: &'a Scope<A>,
}

// By hand: a derive would ask for a copyable `A`.
impl<A: Access> Copy for Book<'_, A> {}
impl<A: Access> Clone for Book<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Access> fmt::Debug for Book<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Book({:?})", self.scope)
    }
}

impl<A: Access> Book<'_, A> {
    /// The newest version of a key, or the one asked for if it is still kept.
    ///
    /// # Errors
    /// A key that cannot be; what the store and the vault answer.
    pub async fn get(
        self,
        run: &RunId,
        key: &str,
        version: Option<u64>,
    ) -> Result<Option<Item>, Error> {
        let row = self.head_key(run, key)?;
        for _ in 0..LOOKS {
            let Some(head) = self.head(&row).await? else { return Ok(None) };
            let asked = version.unwrap_or(head.latest.version);
            let now = self.inner.clock.now();
            let mut marks = head.marks().filter(|mark| mark.is_live(now));
            let Some(mark) = marks.find(|mark| mark.version == asked) else { return Ok(None) };
            let view = self.inner.store.of(self.scope);
            if let Some(sealed) = view.get(VALUES, &value_key(&row, asked)).await? {
                return self.open(&row, mark, &sealed).await;
            }
            // Removed since the head was read: look what is there now.
        }
        Err(Error::Store(store::Error::Busy))
    }

    /// The keys of a run that begin with `prefix`, in bytewise order, behind `after`; at most
    /// `limit` of them, and [`MAX_LIST`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn list(
        self,
        run: &RunId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, Error> {
        for part in [Some(prefix), after].into_iter().flatten() {
            self.check_key(part)?;
        }
        let whole = self.run(run);
        let limit = limit.min(MAX_LIST);
        let mut from = after.map(|after| [&whole, after.as_bytes()].concat());
        let mut listed = Vec::new();
        // A run has a bound of keys, and so have the rounds: those that have ended count.
        while listed.len() < limit {
            // However few are asked for: of keys that have ended there may be many.
            let wanted = (limit - listed.len()).max(ROWS);
            let range = Range {
                prefix: [&whole, prefix.as_bytes()].concat(),
                after: from.take(),
                limit: wanted,
                reverse: false,
            };
            let rows = self.inner.store.of(self.scope).scan(HEADS, range).await?;
            let now = self.inner.clock.now();
            for (row, head) in &rows {
                let mark = Head::decode(head)?.latest;
                if mark.is_live(now) && listed.len() < limit {
                    let key = row.get(whole.len()..).and_then(|key| std::str::from_utf8(key).ok());
                    listed.push(Listed::new(key.ok_or(Error::Damaged)?, &mark));
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == wanted => from = Some(last.to_vec()),
                _ => break,
            }
        }
        Ok(listed)
    }

    /// The versions of a key that are kept, newest first, beginning with the one that stands;
    /// nothing if there is no such key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn history(self, run: &RunId, key: &str, limit: usize) -> Result<Vec<Listed>, Error> {
        let row = self.head_key(run, key)?;
        let Some(head) = self.head(&row).await? else { return Ok(Vec::new()) };
        let now = self.inner.clock.now();
        let live = head.marks().filter(|mark| mark.is_live(now));
        Ok(live.take(limit).map(|mark| Listed::new(key, mark)).collect())
    }

    /// What the tenant's environment holds, over all workflows and runs: keys, and the bytes
    /// that count against its quota. Reads two figures per table, however much that is.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn usage(self) -> Result<crate::Usage, Error> {
        let view = self.inner.store.of(self.scope);
        let mut sum = Usage::default();
        for table in STATE_TABLES {
            sum = sum.plus(view.usage(*table).await?);
        }
        let entries = view.usage(HEADS).await?.rows;
        Ok(crate::Usage { entries, bytes: sum.bytes })
    }

    /// The head of a key that is there.
    async fn head(&self, row: &[u8]) -> Result<Option<Head>, Error> {
        let head = self.inner.store.of(self.scope).get(HEADS, row).await?;
        let head = head.map(|row| Head::decode(&row)).transpose()?;
        let now = self.inner.clock.now();
        Ok(head.filter(|head| head.latest.is_live(now)))
    }

    /// Opens a value. What is under the seal decides, not what stands beside it.
    async fn open(&self, row: &[u8], mark: &Mark, sealed: &[u8]) -> Result<Option<Item>, Error> {
        let sealer = self.inner.vault.of(self.scope);
        let plain = sealer.open(&change::place(row, mark.version), sealed).await?;
        let plain = Bytes::from_owner(plain);
        let moment = |at: usize| {
            let bytes = plain.get(at..at + 8)?.try_into().ok()?;
            Some(Millis(u64::from_be_bytes(bytes)))
        };
        let (Some(written), Some(end)) = (moment(0), moment(8)) else {
            return Err(Error::Damaged);
        };
        let expires = Some(end).filter(|end| end.0 > 0);
        if expires.is_some_and(|end| end <= self.inner.clock.now()) {
            return Ok(None);
        }
        let content = content::decode(&plain.slice(HEAD..));
        let (content_type, value) = content.ok_or(Error::Damaged)?;
        let (version, etag) = (mark.version, mark.etag());
        Ok(Some(Item { value, content_type, version, etag, written, expires }))
    }

    fn head_key(&self, run: &RunId, key: &str) -> Result<Vec<u8>, Error> {
        if key.is_empty() {
            return Err(Error::Invalid("a key is not empty"));
        }
        self.check_key(key)?;
        Ok([&self.run(run), key.as_bytes()].concat())
    }

    fn check_key(&self, key: &str) -> Result<(), Error> {
        let bound = usize::try_from(self.inner.settings.key_max_bytes).unwrap_or(usize::MAX);
        if key.len() > bound {
            return Err(Error::TooLarge { what: "a key", size: key.len(), bound });
        }
        if key.chars().any(char::is_control) {
            return Err(Error::Invalid("a key has no control characters"));
        }
        Ok(())
    }

    fn run(&self, run: &RunId) -> Vec<u8> {
        run_prefix(self.scope.workflow(), run)
    }
}

impl Book<'_, Write> {
    /// Keeps a value as the newest version of a key, if the condition holds; durable on
    /// return. `ttl` is how long it stays there; without one, or with too long a one, as long
    /// as the settings allow. When the newest version ends, the key does.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Full`], [`Error::TooLarge`], [`Error::Invalid`]; a scope
    /// that ended meanwhile; what the store and the vault answer.
    pub async fn put(
        self,
        run: &RunId,
        key: &str,
        value: &[u8],
        content_type: &str,
        ttl: Option<Duration>,
        condition: Condition<'_>,
    ) -> Result<Put, Error> {
        let head = self.head_key(run, key)?;
        let condition = Wanted::from(condition);
        let bound = usize::try_from(self.inner.settings.value_max_bytes).unwrap_or(usize::MAX);
        if value.len() > bound {
            return Err(Error::TooLarge { what: "a value", size: value.len(), bound });
        }
        let written = self.inner.clock.now();
        let expires = self.end(written, ttl)?;
        let mut moments = [0; HEAD];
        moments[..8].copy_from_slice(&written.0.to_be_bytes());
        moments[8..].copy_from_slice(&expires.map_or(0, |end| end.0).to_be_bytes());
        let plain = Arc::new(content::encode(&moments, content_type, value)?);
        if planted::is("state-cas-outside-transaction") {
            condition.check(self.head(&head).await?.as_ref().map(|head| &head.latest))?;
        }
        for attempt in 0..TRIES {
            let version = self.next_version(&head).await?;
            let sealer = self.inner.vault.of(self.scope);
            let sealed = sealer.seal(&change::place(&head, version), &plain).await?;
            let change = Change {
                head: head.clone(),
                condition: condition.clone(),
                version,
                sealed: sealed.into(),
                written,
                expires,
                bytes: value.len() as u64,
                late: (attempt > 0).then(|| self.late(&plain)),
                scope: self.scope.clone(),
                settings: self.inner.settings.clone(),
            };
            match self.commit(change).await {
                Ok(Outcome::Kept(put)) => return Ok(put),
                Ok(Outcome::Stale) => {}
                // What has ended still counted; each round makes room or gives up.
                Err(Error::Full(_)) if self.tidy().await? => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Store(store::Error::Busy))
    }

    /// Removes a key with all its versions, if the condition holds; whether it was there.
    ///
    /// # Errors
    /// [`Error::Conflict`]; a key that cannot be; what the store answers.
    pub async fn delete(
        self,
        run: &RunId,
        key: &str,
        condition: Condition<'_>,
    ) -> Result<bool, Error> {
        let head = self.head_key(run, key)?;
        let (condition, scope) = (Wanted::from(condition), self.scope.clone());
        let view = self.inner.store.of(self.scope);
        view.write(File::State, head.len(), move |txn| {
            still(&scope)?;
            change::delete(txn, &head, &condition)
        })
        .await
    }

    /// Removes every key of a run; how many there were. Goes in bounded steps, each of whole
    /// keys: who is cut off runs it again. What is written meanwhile may stay.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub async fn delete_run(self, run: &RunId) -> Result<u64, Error> {
        let prefix = self.run(run);
        let mut gone = 0;
        // A step removes a key at the least, so that many do for all that was there before.
        for _ in 0..=self.inner.settings.keys_per_run {
            let view = self.inner.store.of(self.scope);
            let (prefix, scope) = (prefix.clone(), self.scope.clone());
            let (some, more) = view
                .write(File::State, change::BATCH_KEYS * 64, move |txn| {
                    still(&scope)?;
                    change::delete_some(txn, &prefix)
                })
                .await?;
            gone += some;
            if !more {
                break;
            }
        }
        Ok(gone)
    }

    async fn commit(&self, change: Change) -> Result<Outcome, Error> {
        let view = self.inner.store.of(self.scope);
        let cost = change.sealed.len() + change.head.len();
        view.write(File::State, cost, move |txn| change::keep(txn, change)).await
    }

    /// Removes keys whose time has passed; whether there were any.
    async fn tidy(&self) -> Result<bool, Error> {
        let view = self.inner.store.of(self.scope);
        let gone = view.write(File::State, TIDY * 64, |txn| change::sweep(txn, TIDY)).await?;
        Ok(gone > 0)
    }

    /// The version that a write of this key most likely gets; its transaction decides.
    async fn next_version(&self, row: &[u8]) -> Result<u64, Error> {
        let view = self.inner.store.of(self.scope);
        let head = view.get(HEADS, row).await?.map(|row| Head::decode(&row)).transpose()?;
        let floor = change::number(view.get(FLOOR, FLOOR_KEY).await?.as_deref())?;
        let now = self.inner.clock.now();
        let latest = head.as_ref().map(|head| &head.latest);
        let ended = latest.filter(|mark| !mark.is_live(now)).map_or(0, |mark| mark.version);
        Ok(change::next_version(latest.filter(|mark| mark.is_live(now)), floor.max(ended)))
    }

    fn late(&self, plain: &Arc<Zeroizing<Vec<u8>>>) -> Late {
        Late { vault: self.inner.vault.clone(), plain: Arc::clone(plain) }
    }

    fn end(&self, written: Millis, ttl: Option<Duration>) -> Result<Option<Millis>, Error> {
        if ttl.is_some_and(|ttl| ttl < Duration::from_millis(1)) {
            return Err(Error::Invalid("a time to live is a millisecond at the least"));
        }
        let most = self.inner.settings.ttl_max();
        let ttl = ttl.map_or(most, |ttl| Some(most.map_or(ttl, |most| most.min(ttl))));
        Ok(ttl.map(|ttl| written.plus(ttl)))
    }
}

/// Who was revoked while a removal waited for its turn removes nothing.
fn still(scope: &Scope<Write>) -> Result<(), Error> {
    if planted::is("state-removal-outlives-revocation") {
        return Ok(());
    }
    Ok(scope.live()?)
}
