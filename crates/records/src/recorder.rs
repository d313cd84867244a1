//! Keeps events: a bounded queue in front, batches behind.
//!
//! Events that wait for each other share a chunk, one sealed row per owner and batch, so that
//! the cost of a hop's event is that of its bytes. A second table finds the chunks of a run.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use ids::{Clock, Entropy, Millis, RandomId, RequestId, RunId, frame::Frame};
use parking_lot::Mutex;
use scope::{Access, Maintenance, Scope, Status, SystemScope, Write};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use store::{File, Range, Store, Table, Txn};
use tokio::sync::{Notify, oneshot};
use vault::{Place, Vault};

use crate::{Error, Event, Filter, Recorded, lanes::Lanes};

/// Chunks of events, by time.
pub const EVENTS: Table = Table { file: File::Records, id: 401, name: "records.events" };
/// Which chunks hold events of a run.
pub const EVENTS_OF_RUN: Table =
    Table { file: File::Records, id: 402, name: "records.events_of_run" };

/// Events in one chunk, at most.
const CHUNK: usize = 64;
/// Chunks that a listing reads at a time.
const PAGE: usize = 8;
/// Owners whose batches are written at a time.
const AT_ONCE: usize = 32;
/// A chunk's key: 6 bytes of Unix milliseconds, 8 bytes of a counter.
const KEY: usize = 14;
/// A digest of a run.
const RUN: usize = 16;
const SURFACE: &str = "event";
/// Owners whose dropped events are told of in their own log, in one batch.
const TOLD: usize = 1_024;

/// Settings for events.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Events that may wait to be written, for all tenants together. Beyond that they are
    /// dropped and counted; a tenant that floods is held to half. Default 16,384.
    pub queue: usize,
    /// How long events wait for others to share a write with, in milliseconds. Default 200.
    pub linger_ms: u64,
    /// How long events are kept, in days. Default 30.
    pub keep_days: u32,
    /// Bytes of events that one tenant may have in one environment; beyond that the oldest
    /// go. Default 256 MiB.
    pub bytes_per_environment: u64,
    /// Denials of one tenant in one environment that are entries of their own in its audit
    /// log, a day; the rest is counted in summaries. Default 1,000.
    pub denials_per_day: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 16_384,
            linger_ms: 200,
            keep_days: 30,
            bytes_per_environment: 256 << 20,
            denials_per_day: 1_000,
        }
    }
}

/// What became of events, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Written.
    pub written: u64,
    /// Dropped, because too many waited.
    pub dropped: u64,
    /// Lost, because they could not be written.
    pub failed: u64,
}

#[derive(Default)]
struct Tally {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// Wakes the writer.
#[derive(Default)]
struct Signals {
    /// Something waits.
    work: Notify,
    /// It should not wait for more.
    hurry: Notify,
}

struct Waiting {
    lanes: Lanes<(Scope<Write>, Event)>,
    /// The events that tell owners how many of theirs were dropped.
    dropped: HashMap<[u8; 32], (Scope<Write>, Event)>,
    /// Told when everything before them is written.
    flushes: Vec<oneshot::Sender<()>>,
}

impl Waiting {
    fn note_dropped(&mut self, scope: &Scope<Write>, at: Millis, request: RequestId) {
        let unit = scope.partition_bytes();
        if self.dropped.len() >= TOLD && !self.dropped.contains_key(unit) {
            return;
        }
        let (_, event) = self
            .dropped
            .entry(*unit)
            .or_insert_with(|| (scope.clone(), Event::dropped(scope, at, request)));
        event.dropped = event.dropped.map(|count| count.saturating_add(1));
    }

    /// Everything that waits, a batch per owner.
    fn drain(&mut self) -> Vec<Vec<(Scope<Write>, Event)>> {
        let mut batches = self.lanes.drain();
        batches.extend(std::mem::take(&mut self.dropped).into_values().map(|note| vec![note]));
        batches
    }
}

struct Inner {
    options: Options,
    store: Store,
    vault: Vault,
    clock: Arc<dyn Clock>,
    system: SystemScope,
    run_key: [u8; 32],
    counter: AtomicU64,
    tally: Tally,
    waiting: Mutex<Waiting>,
    signals: Arc<Signals>,
}

/// Takes events in without waiting, and lists them. Cheap to clone; what still waits when the
/// last one goes is lost, so shutdown calls [`Recorder::flush`].
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer finds that nobody is left, and ends.
        self.signals.work.notify_one();
        self.signals.hurry.notify_one();
    }
}

impl Recorder {
    /// Begins to keep events. To be called within the runtime, which runs the writer.
    ///
    /// # Errors
    /// [`Error::Settings`] for bounds of nothing.
    #[expect(
        clippy::disallowed_methods,
        reason = "one writer serves all tenants; each event carries its scope"
    )]
    pub fn open(
        options: Options,
        store: &Store,
        vault: &Vault,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, Error> {
        if options.queue == 0 || options.keep_days == 0 || options.bytes_per_environment == 0 {
            return Err(Error::Settings(
                "queue, keep_days and bytes_per_environment are at least 1",
            ));
        }
        let system = SystemScope::claim(Maintenance::Start);
        // Random at first, so that no two processes name a chunk alike.
        let mut first = [0; 8];
        entropy.fill(&mut first);
        let linger = Duration::from_millis(options.linger_ms);
        let signals = Arc::new(Signals::default());
        let inner = Arc::new(Inner {
            waiting: Mutex::new(Waiting {
                lanes: Lanes::new(options.queue),
                dropped: HashMap::new(),
                flushes: Vec::new(),
            }),
            options,
            store: store.clone(),
            vault: vault.clone(),
            clock,
            run_key: *vault.subkey(&system, "events of a run"),
            system,
            counter: AtomicU64::new(u64::from_be_bytes(first) >> 1),
            tally: Tally::default(),
            signals: signals.clone(),
        });
        let weak = Arc::downgrade(&inner);
        SystemScope::claim(Maintenance::Start).spawn(|_| write_on(weak, signals, linger));
        Ok(Self(inner))
    }

    /// Takes an event in. Never waits: if too many wait already, it is dropped and counted,
    /// and an event says how many of its owner's were.
    pub fn event(&self, scope: &Scope<Write>, event: Event) {
        let inner = &*self.0;
        let (at, request) = (event.at, event.request);
        let item = (scope.clone(), event);
        let (taken, waiting) = {
            let mut waiting = inner.waiting.lock();
            let taken = waiting.lanes.push(scope.partition_bytes(), item);
            if !taken {
                waiting.note_dropped(scope, at, request);
            }
            (taken, waiting.lanes.len())
        };
        if !taken {
            inner.tally.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if waiting == 1 {
            inner.signals.work.notify_one();
        }
        if waiting >= inner.options.queue / 4 {
            inner.signals.hurry.notify_one();
        }
    }

    /// Returns when every event that was taken in before is written, or lost and counted.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.0.waiting.lock().flushes.push(done);
        self.0.signals.work.notify_one();
        self.0.signals.hurry.notify_one();
        // An error means that the runtime is going down, and the writer with it.
        let _ = wait.await;
    }

    /// What became of events.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let tally = &self.0.tally;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            written: get(&tally.written),
            dropped: get(&tally.dropped),
            failed: get(&tally.failed),
        }
    }

    /// Events of the scope's tenant and environment, in order.
    ///
    /// # Errors
    /// What the store or the vault answers.
    pub async fn list<A: Access>(
        &self,
        scope: &Scope<A>,
        filter: &Filter,
    ) -> Result<Vec<Recorded>, Error> {
        let mut listing = Listing { inner: &self.0, scope, filter, found: Vec::new() };
        listing.run().await?;
        Ok(listing.found)
    }
}

/// The writer: sleeps until something waits, lets more gather, writes all of it.
async fn write_on(inner: Weak<Inner>, signals: Arc<Signals>, linger: Duration) {
    loop {
        signals.work.notified().await;
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            () = signals.hurry.notified() => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        let (batches, flushes) = {
            let mut waiting = inner.waiting.lock();
            (waiting.drain(), std::mem::take(&mut waiting.flushes))
        };
        stream::iter(batches).for_each_concurrent(AT_ONCE, |batch| inner.write_batch(batch)).await;
        for flush in flushes {
            // Whoever asked may have stopped waiting.
            let _ = flush.send(());
        }
    }
}

impl Inner {
    /// Writes the events of one owner.
    async fn write_batch(&self, batch: Vec<(Scope<Write>, Event)>) {
        for chunk in batch.chunks(CHUNK) {
            let Some((scope, _)) = chunk.first() else { continue };
            let count = chunk.len() as u64;
            // What came in before an erasure must not come back after it.
            if scope.tenant_record().status == Status::Erased {
                self.tally.dropped.fetch_add(count, Ordering::Relaxed);
                continue;
            }
            match self.write_chunk(scope, chunk).await {
                Ok(()) => {
                    self.tally.written.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) if error.says_erased() => {
                    self.tally.dropped.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) => {
                    self.tally.failed.fetch_add(count, Ordering::Relaxed);
                    tracing::error!(
                        code = error.code(),
                        tenant = scope.tenant().as_str(),
                        environment = scope.environment().as_str(),
                        events = count,
                        "events could not be written and are lost"
                    );
                }
            }
        }
    }

    async fn write_chunk(
        &self,
        scope: &Scope<Write>,
        chunk: &[(Scope<Write>, Event)],
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let key = self.next_key(now);
        let events: Vec<&Event> = chunk.iter().map(|(_, event)| event).collect();
        let plain = serde_json::to_vec(&events).map_err(|_| Error::Damaged("an event"))?;
        let place = Place { surface: SURFACE, key: &key, version: 0 };
        let unscoped = ids::planted::is("records-list-unscoped");
        let sealed = if unscoped {
            self.vault.of_deployment(&self.system).seal(&place, &plain).await?
        } else {
            self.vault.of(scope).seal(&place, &plain).await?
        };
        let mut runs: Vec<_> = events
            .iter()
            .filter_map(|event| event.run.as_ref())
            .map(|run| self.digest(run))
            .collect();
        runs.sort_unstable();
        runs.dedup();
        let row = Chunk { runs, sealed: &sealed }.to_row();

        let keep = Duration::from_secs(u64::from(self.options.keep_days) * 86_400);
        let until = now.plus(keep);
        let most = self.options.bytes_per_environment;
        let cost = row.len() + 64 * events.len();
        let work = move |txn: &mut Txn<'_>| {
            make_room(txn, row.len() as u64, most)?;
            for run in Chunk::parse(&row)?.runs {
                txn.put_until(EVENTS_OF_RUN, &[&run[..], &key].concat(), b"", until)?;
            }
            Ok(txn.put_until(EVENTS, &key, &row, until)?)
        };
        if unscoped {
            return self.store.system(&self.system).write(File::Records, cost, work).await;
        }
        self.store.of(scope).write(File::Records, cost, work).await
    }

    fn next_key(&self, now: Millis) -> [u8; KEY] {
        let mut key = [0; KEY];
        key[..6].copy_from_slice(&now.0.to_be_bytes()[2..]);
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        key[6..].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// A run, as keys show it.
    fn digest(&self, run: &RunId) -> [u8; RUN] {
        let framed =
            Frame::new("bulkhead.event.run.v1").field(self.run_key).field(run.as_str()).finish();
        let mut digest = [0; RUN];
        digest.copy_from_slice(&Sha256::digest(&framed)[..RUN]);
        digest
    }
}

/// A row of [`EVENTS`]: the runs in it, so that it can be removed from their index without
/// being opened, then the sealed events.
struct Chunk<'a> {
    runs: Vec<[u8; RUN]>,
    sealed: &'a [u8],
}

impl<'a> Chunk<'a> {
    fn to_row(&self) -> Vec<u8> {
        let count = u16::try_from(self.runs.len()).unwrap_or(u16::MAX);
        let mut row = Vec::with_capacity(2 + self.runs.len() * RUN + self.sealed.len());
        row.extend_from_slice(&count.to_be_bytes());
        for run in &self.runs {
            row.extend_from_slice(run);
        }
        row.extend_from_slice(self.sealed);
        row
    }

    fn parse(row: &'a [u8]) -> Result<Self, Error> {
        let damaged = || Error::Damaged("a chunk of events");
        let (count, rest) = row.split_first_chunk::<2>().ok_or_else(damaged)?;
        let runs = usize::from(u16::from_be_bytes(*count)) * RUN;
        let (runs, sealed) = rest.split_at_checked(runs).ok_or_else(damaged)?;
        let runs = runs.chunks_exact(RUN).filter_map(|run| run.try_into().ok()).collect();
        Ok(Self { runs, sealed })
    }
}

/// Removes the oldest chunks until `more` bytes fit.
fn make_room(txn: &mut Txn<'_>, more: u64, most: u64) -> Result<(), Error> {
    loop {
        let used = txn.usage(EVENTS)?.bytes;
        if used == 0 || used.saturating_add(more) <= most {
            return Ok(());
        }
        let rows = txn.scan(EVENTS, &Range::all().limit(16))?;
        if rows.is_empty() {
            // What is left has expired, and the next sweep takes it.
            return Ok(());
        }
        for (key, row) in rows {
            for run in Chunk::parse(&row)?.runs {
                txn.delete(EVENTS_OF_RUN, &[&run[..], &key].concat())?;
            }
            txn.delete(EVENTS, &key)?;
        }
    }
}

/// One listing.
struct Listing<'a, A: Access> {
    inner: &'a Inner,
    scope: &'a Scope<A>,
    filter: &'a Filter,
    found: Vec<Recorded>,
}

impl<A: Access> Listing<'_, A> {
    async fn run(&mut self) -> Result<(), Error> {
        let after = self.filter.after.map(|id| *id.as_bytes());
        let mut after = after.and_then(|id| id.first_chunk::<KEY>().copied());
        // The chunk that the page before ended in may have more.
        if let Some(key) = &after
            && let Some(row) = self.chunk(key).await?
        {
            self.take(key, &row).await?;
        }
        while !self.full() {
            let page = self.page(after).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (key, row) in page {
                let row = match row {
                    Some(row) => Some(row),
                    None => self.chunk(&key).await?,
                };
                if let Some(row) = row {
                    self.take(&key, &row).await?;
                }
            }
        }
        Ok(())
    }

    fn full(&self) -> bool {
        self.found.len() >= self.filter.most()
    }

    /// The next chunks: from the index of the run, or all.
    async fn page(
        &self,
        after: Option<[u8; KEY]>,
    ) -> Result<Vec<([u8; KEY], Option<Vec<u8>>)>, Error> {
        let prefix =
            self.filter.run.as_ref().map_or(Vec::new(), |run| self.inner.digest(run).to_vec());
        let table = if self.filter.run.is_some() { EVENTS_OF_RUN } else { EVENTS };
        let range = Range {
            after: after.map(|key| [&prefix[..], &key].concat()),
            prefix,
            limit: PAGE,
            reverse: self.filter.newest_first,
        };
        let rows = if ids::planted::is("records-list-unscoped") {
            self.inner.store.system(&self.inner.system).scan(table, range).await?
        } else {
            self.inner.store.of(self.scope).scan(table, range).await?
        };
        rows.into_iter()
            .map(|(key, row)| {
                let key = key.last_chunk().ok_or(Error::Damaged("a key of events"))?;
                Ok((*key, self.filter.run.is_none().then(|| row.to_vec())))
            })
            .collect()
    }

    async fn chunk(&self, key: &[u8; KEY]) -> Result<Option<Vec<u8>>, Error> {
        let row = if ids::planted::is("records-list-unscoped") {
            self.inner.store.system(&self.inner.system).get(EVENTS, key).await?
        } else {
            self.inner.store.of(self.scope).get(EVENTS, key).await?
        };
        Ok(row.map(|row| row.to_vec()))
    }

    /// Takes those events of a chunk that are asked for.
    async fn take(&mut self, key: &[u8; KEY], row: &[u8]) -> Result<(), Error> {
        let sealed = Chunk::parse(row)?.sealed;
        let place = Place { surface: SURFACE, key, version: 0 };
        let plain = if ids::planted::is("records-list-unscoped") {
            self.inner.vault.of_deployment(&self.inner.system).open(&place, sealed).await?
        } else {
            self.inner.vault.of(self.scope).open(&place, sealed).await?
        };
        let events: Vec<Event> =
            serde_json::from_slice(&plain).map_err(|_| Error::Damaged("an event"))?;
        let mut numbered: Vec<_> = (0_u16..).zip(events).collect();
        if self.filter.newest_first {
            numbered.reverse();
        }
        for (number, event) in numbered {
            let mut id = [0; 16];
            id[..KEY].copy_from_slice(key);
            id[KEY..].copy_from_slice(&number.to_be_bytes());
            let id = RandomId::from_bytes(id);
            let beyond = self
                .filter
                .after
                .is_none_or(|after| if self.filter.newest_first { id < after } else { id > after });
            let asked = self.filter.run.is_none() || self.filter.run == event.run;
            if beyond && asked && !self.full() {
                self.found.push(Recorded { id, event });
            }
        }
        Ok(())
    }
}
