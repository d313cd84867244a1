//! All shards: which are open, which have to be made again.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ids::{Clock, Millis};
use parking_lot::Mutex;
use scope::{Access, Read, Scope};
use vault::Vault;

use super::{
    Lanes, Shard,
    build::From,
    forget::Forget,
    form::{self, ContentFields},
    home::{self, Key},
    shard::failed,
    slot::{Owner, Slot},
    stamp::Stamp,
};
use crate::{Collection, Error, MemorySettings, Seq, truth::Truth};

/// What indexes of a tenant's environment, or of one collection, take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Bytes on disk.
    pub(crate) disk: u64,
    /// Points.
    pub(crate) points: u64,
    /// Of these in a graph.
    pub(crate) indexed: u64,
    /// Whether it is open now.
    pub(crate) open: bool,
}

/// Figures of all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Open now.
    pub(crate) open: u64,
    /// Bytes that these are counted with.
    pub(crate) open_bytes: u64,
    /// Opened since the start, or made.
    pub(crate) opened: u64,
    /// Closed to make room.
    pub(crate) evicted: u64,
    /// Made again.
    pub(crate) rebuilt: u64,
    /// Found to be somebody else's, changed, or wrong.
    pub(crate) distrusted: u64,
    /// Indexes with something to forget, and those that wait for a graph.
    pub(crate) waiting: u64,
}

/// All shards of a deployment. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) settings: Arc<MemorySettings>,
    pub(super) root: PathBuf,
    pub(super) vault: Vault,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lanes: Lanes,
    pub(super) content: Arc<ContentFields>,
    pub(super) forget: Forget,
    pub(super) slots: Mutex<HashMap<Key, Arc<Slot>>>,
    /// Tenants' environments that are erased: nothing of them is opened again.
    erased: Mutex<HashSet<[u8; 32]>>,
    uses: AtomicU64,
    closed: AtomicBool,
    /// Held by whoever makes room, so that nobody closes more than it takes.
    pub(super) room: Mutex<()>,
    /// Held by whoever flushes in the background.
    pub(super) tending: tokio::sync::Mutex<()>,
    /// Held by whoever makes generations in the background; whose turn is next.
    pub(super) turn: tokio::sync::Mutex<[u8; 32]>,
    pub(super) opened: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) rebuilt: AtomicU64,
    pub(super) distrusted: AtomicU64,
    pub(super) graphs: AtomicU64,
    /// Called at the steps of writing to the disk.
    #[cfg(test)]
    pub(super) step: Mutex<Option<super::tests::Step>>,
}

impl Shards {
    /// Opens no index. `root` is made if there is none.
    pub(crate) fn open_at(
        root: PathBuf,
        settings: Arc<MemorySettings>,
        vault: Vault,
        clock: Arc<dyn Clock>,
        lanes: Lanes,
    ) -> Result<Self, Error> {
        let parent = root.parent().map_or(Ok(()), std::fs::create_dir_all);
        parent.and_then(|()| home::private(&root)).map_err(|error| {
            Error::Settings(format!("the directory of indexes cannot be made: {}", error.kind()))
        })?;
        let inner = Inner {
            content: Arc::new(ContentFields::new(&settings.content_fields)),
            forget: Forget::new(&root),
            settings,
            root,
            vault,
            clock,
            lanes,
            slots: Mutex::default(),
            erased: Mutex::default(),
            uses: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            room: Mutex::default(),
            tending: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            opened: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            rebuilt: AtomicU64::new(0),
            distrusted: AtomicU64::new(0),
            graphs: AtomicU64::new(0),
            #[cfg(test)]
            step: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The collection's shard, opened if it was not, with everything in it that the store has
    /// now. In use until it is dropped: it is not closed meanwhile.
    ///
    /// Whoever stops waiting does not stop what has begun.
    pub(crate) async fn open<A: Access>(
        &self,
        truth: &Truth,
        scope: &Scope<A>,
        collection: &Collection,
    ) -> Result<Arc<Shard>, Error> {
        // First of all: of a collection that is no more, nothing is kept in mind.
        let head = truth.of(scope).head(collection).await?;
        let slot = self.inner.slot(scope, collection)?;
        if let Some(shard) = self.inner.ready(&slot, scope, collection, head.seq) {
            return Ok(shard);
        }
        let working = Arc::clone(&slot.work).lock_owned().await;
        // Somebody else may have done it meanwhile.
        if let Some(shard) = self.inner.ready(&slot, scope, collection, head.seq) {
            return Ok(shard);
        }
        let inner = Arc::clone(&self.inner);
        let owner = Owner {
            scope: scope.read_only(),
            truth: truth.clone(),
            collection: collection.clone(),
        };
        let done = owner.scope.clone().spawn(|_| async move {
            let opened = inner.bring_up(&owner, &slot).await;
            drop(working);
            opened
        });
        done.await.map_err(|_| Error::Engine("opening was cut short".into()))?
    }

    /// Something that the shard said cannot be: it is thrown away and made again by the next
    /// [`Self::open`]; on record and counted. `what` goes to the log.
    pub(crate) async fn distrust<A: Access>(
        &self,
        scope: &Scope<A>,
        collection: &Collection,
        what: &'static str,
    ) {
        // The planted bug is a shard that all tenants share, with what is not the asker's left
        // out afterwards: there it is nothing special.
        if ids::planted::is("memory-shard-without-tenant") {
            return;
        }
        let slot = self.inner.seen(scope, collection);
        if slot.live().is_some_and(|live| live.shard.poison()) {
            self.inner.alarm(&scope.read_only(), collection, what);
        }
        // Should the process end before it is made again.
        let home = slot.home.clone();
        let _ = blocking(move || home.unstamp()).await;
    }

    /// Removes the index of a collection that is no more from the disk, now.
    pub(crate) async fn remove<A: Access>(
        &self,
        scope: &Scope<A>,
        collection: &Collection,
    ) -> Result<(), Error> {
        let key = key(scope, collection);
        let slot = self.inner.slot_of(key);
        let ended = self.inner.end(&slot).await;
        self.inner.slots.lock().remove(&key);
        ended
    }

    /// Removes all indexes of a tenant's environment from the disk, now. It is for good: none
    /// is opened again until the process ends.
    pub(crate) async fn remove_all<A: Access>(&self, scope: &Scope<A>) -> Result<(), Error> {
        let partition = *scope.partition_bytes();
        self.inner.erased.lock().insert(partition);
        let slots: Vec<_> = {
            let mut slots = self.inner.slots.lock();
            slots.extract_if(|key, _| key.partition == partition).map(|(_, slot)| slot).collect()
        };
        for slot in slots {
            self.inner.end(&slot).await?;
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            home::remove(&home::above(&inner.root, &partition))?;
            for key in inner.forget.of(&partition)? {
                inner.forget.begin(&key);
                inner.forget.done(&key)?;
            }
            Ok(())
        })
        .await
    }

    /// Something is deleted or replaced: within `forget_seconds` nothing of it is in the index's
    /// files. To be called before the rows are written, so that a process that ends in between
    /// has not lost it; one that writes none has done no harm.
    pub(crate) async fn to_forget<A: Access>(&self, scope: &Scope<A>, collection: &Collection) {
        self.inner.mark(key(scope, collection), self.inner.clock.now()).await;
    }

    /// Makes the index again from the rows, now, beside the one in use, and puts it in place.
    pub(crate) async fn rebuild<A: Access>(
        &self,
        truth: &Truth,
        scope: &Scope<A>,
        collection: &Collection,
    ) -> Result<(), Error> {
        let slot = self.inner.slot(scope, collection)?;
        let owner = Owner {
            scope: scope.read_only(),
            truth: truth.clone(),
            collection: collection.clone(),
        };
        let inner = Arc::clone(&self.inner);
        let done = owner.scope.clone().spawn(|_| async move {
            inner.forget.begin(&slot.key);
            let built = inner.build(&owner, &slot, From::Rows, true).await;
            if built.is_err() {
                // What was to be forgotten still is.
                inner.mark(slot.key, inner.clock.now()).await;
            }
            built?;
            inner.forgotten(slot.key).await
        });
        done.await.map_err(|_| Error::Engine("making it again was cut short".into()))?
    }

    /// Up to which write the collection's deletions need not be told any more. `None` if its
    /// index is not open: then nobody knows.
    pub(crate) fn trimmable<A: Access>(
        &self,
        scope: &Scope<A>,
        collection: &Collection,
    ) -> Option<Seq> {
        let slot = self.inner.slots.lock().get(&key(scope, collection)).cloned()?;
        slot.with(|state| {
            let live = state.live.as_ref().filter(|live| !live.shard.poisoned())?;
            let durable = live.shard.durable();
            Some(state.building.map_or(durable, |(_, from)| durable.min(from)))
        })
    }

    /// What the index of a collection takes. Opens nothing.
    pub(crate) async fn sizes<A: Access>(
        &self,
        scope: &Scope<A>,
        collection: &Collection,
    ) -> Sizes {
        let slot = self.inner.seen(scope, collection);
        let home = slot.home.clone();
        let read = blocking(move || Ok((home.bytes(), home.stamp()?))).await;
        let (disk, stamp) = read.unwrap_or_default();
        if let Some(live) = slot.live() {
            let (points, indexed) = (live.shard.points(), live.shard.indexed());
            return Sizes { disk, points, indexed, open: true };
        }
        let scope = scope.read_only();
        let stamp = match &stamp {
            Some(sealed) => Stamp::open(sealed, &self.inner.vault, &scope, collection).await,
            None => Ok(None),
        };
        stamp.ok().flatten().map_or(Sizes { disk, ..Sizes::default() }, |stamp| Sizes {
            disk,
            points: stamp.points,
            indexed: stamp.indexed,
            open: false,
        })
    }

    /// Now.
    pub(crate) fn counts(&self) -> Counts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let inner = &self.inner;
        let (open, open_bytes) = inner.open();
        Counts {
            open,
            open_bytes,
            opened: count(&inner.opened),
            evicted: count(&inner.evicted),
            rebuilt: count(&inner.rebuilt),
            distrusted: count(&inner.distrusted),
            waiting: inner.forget.waiting() as u64 + count(&inner.graphs),
        }
    }

    /// Closes every index in order, so that the next start finds them whole. None is opened
    /// after it.
    pub(crate) async fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        let slots: Vec<_> = self.inner.slots.lock().drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            let _working = slot.work.lock().await;
            if let Some(live) = slot.with(|state| state.live.take())
                && let Err(error) = self.inner.close_one(&slot, live).await
            {
                // It is opened from its last stamp, or made again.
                tracing::warn!(%error, "an index was not closed in order");
            }
        }
    }
}

/// Whose index.
fn key<A: Access>(scope: &Scope<A>, collection: &Collection) -> Key {
    // The planted bug: an index is named by its collection alone.
    if ids::planted::is("memory-shard-without-tenant") {
        let name = blake3::hash(collection.name.as_str().as_bytes());
        let mut incarnation = [0; 16];
        incarnation.copy_from_slice(&name.as_bytes()[..16]);
        return Key { partition: [0; 32], incarnation };
    }
    Key { partition: *scope.partition_bytes(), incarnation: collection.incarnation }
}

impl Inner {
    fn slot<A: Access>(
        &self,
        scope: &Scope<A>,
        collection: &Collection,
    ) -> Result<Arc<Slot>, Error> {
        if self.closed() {
            return Err(Error::Engine("all indexes are closed".into()));
        }
        let mut slots = self.slots.lock();
        // Under the lock: whoever erases either finds this slot, or has said so before.
        if self.erased.lock().contains(scope.partition_bytes()) {
            return Err(Error::NoCollection(collection.name.to_string()));
        }
        Ok(self.slot_in(&mut slots, key(scope, collection)))
    }

    /// The collection's slot, if there is one; else one that nobody else gets.
    fn seen<A: Access>(&self, scope: &Scope<A>, collection: &Collection) -> Arc<Slot> {
        let key = key(scope, collection);
        let slot = self.slots.lock().get(&key).cloned();
        slot.unwrap_or_else(|| Arc::new(Slot::new(&self.root, key)))
    }

    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn slot_of(&self, key: Key) -> Arc<Slot> {
        self.slot_in(&mut self.slots.lock(), key)
    }

    fn slot_in(&self, slots: &mut HashMap<Key, Arc<Slot>>, key: Key) -> Arc<Slot> {
        Arc::clone(slots.entry(key).or_insert_with(|| Arc::new(Slot::new(&self.root, key))))
    }

    /// Keeps in mind what is open, in somebody's hands, or to be forgotten: that can be done as
    /// long as a scope is remembered. The rest is found again when it is used.
    pub(super) fn keep_in_mind(&self) {
        self.slots.lock().retain(|key, slot| {
            Arc::strong_count(slot) > 1 || !slot.is_idle() || self.forget.any(key)
        });
    }

    /// The shard, if there is nothing to do before it is asked.
    fn ready<A: Access>(
        &self,
        slot: &Slot,
        scope: &Scope<A>,
        collection: &Collection,
        seq: Seq,
    ) -> Option<Arc<Shard>> {
        self.shared(slot, scope);
        let shard = slot.current(collection, seq)?;
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        slot.with(|state| {
            state.used = used;
            // The scope that lasts longest serves what is done in the background.
            if let Some(owner) = &mut state.owner
                && owner.scope.expires() < scope.expires()
            {
                owner.scope = scope.read_only();
            }
        });
        Some(shard)
    }

    /// With the planted bug, a shard that was last used by another tenant lacks what this one
    /// wrote.
    fn shared<A: Access>(&self, slot: &Slot, scope: &Scope<A>) {
        if !ids::planted::is("memory-shard-without-tenant") {
            return;
        }
        slot.with(|state| {
            let Some(owner) = &mut state.owner else { return };
            if owner.scope.partition_bytes() != scope.partition_bytes() {
                owner.scope = scope.read_only();
                if let Some(live) = &state.live {
                    live.shard.begin_again();
                }
            }
        });
    }

    /// The next number of a use.
    pub(super) fn use_now(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// How many are open, and their bytes.
    pub(super) fn open(&self) -> (u64, u64) {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let open =
            slots.iter().filter_map(|slot| slot.with(|s| Some(s.live.as_ref()?.shard.bytes())));
        open.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }

    /// The shape of a collection's index.
    pub(super) fn shape(&self, collection: &Collection) -> [u8; 32] {
        form::shape(collection, &self.content)
    }

    /// On record: an index is not what it was when it was left.
    pub(super) fn alarm(&self, scope: &Scope<Read>, collection: &Collection, what: &'static str) {
        self.distrusted.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            tenant = scope.tenant().as_str(),
            environment = scope.environment().as_str(),
            collection = collection.name.as_str(),
            what,
            "an index is not to be trusted, and is made again from the rows"
        );
    }

    /// Marks an index for `forget_seconds` from `from` on. Half of them are for the work.
    pub(super) async fn mark(self: &Arc<Self>, key: Key, from: Millis) {
        let due = from.plus(Duration::from_secs(self.settings.forget_seconds) / 2);
        // Of who is erased there is nothing left to be forgotten.
        if self.forget.has(&key, due) || self.erased.lock().contains(&key.partition) {
            return;
        }
        let inner = Arc::clone(self);
        if let Err(error) = blocking(move || inner.forget.mark(&key, due)).await {
            tracing::error!(%error, "what is to be forgotten could not be noted");
        }
    }

    /// What was begun to be forgotten is.
    pub(super) async fn forgotten(self: &Arc<Self>, key: Key) -> Result<(), Error> {
        let inner = Arc::clone(self);
        blocking(move || inner.forget.done(&key)).await
    }

    /// The collection is no more: neither is its index.
    async fn end(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), Error> {
        slot.with(|state| state.gone = true);
        let working = slot.work.lock().await;
        self.drop_index(slot).await?;
        drop(working);
        self.forget.begin(&slot.key);
        if slot.building.try_lock().is_err() {
            // Whoever builds removes what it built. Should the process end before that:
            self.mark(slot.key, Millis(0)).await;
        }
        self.forgotten(slot.key).await
    }

    /// Removes an index, whatever is in its directory, even while a query reads it. By whoever
    /// holds `work`.
    pub(super) async fn drop_index(&self, slot: &Arc<Slot>) -> Result<(), Error> {
        slot.retire();
        // What is being made beside it loses its files as well.
        slot.with(|state| state.building = None);
        let unread = slot.take_unread();
        let home = slot.home.clone();
        blocking(move || {
            // First closed, then removed: the engine writes once more when it is dropped.
            drop(unread);
            home.remove()
        })
        .await
    }

    #[cfg(test)]
    pub(super) fn step(&self, what: &'static str) {
        let step = self.step.lock().clone();
        if let Some(step) = step {
            step(what);
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a hook of the tests")]
    pub(super) const fn step(&self, _: &'static str) {}
}

/// Runs what waits for the disk where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Engine("disk: a panic".into()))?.map_err(|error| failed("disk", &error))
}

/// The same, for what has an error of ours.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Engine("disk: a panic".into()))?
}
