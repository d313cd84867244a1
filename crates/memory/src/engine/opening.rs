//! From what is on the disk to a shard that has everything, and back.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::OwnedMutexGuard;

use super::{
    Shard, home,
    shard::Left,
    shards::{Inner, aside, blocking},
    slot::{Live, Owner, Slot},
    stamp::Stamp,
};
use crate::{Error, Seq, truth::Change};

/// Changes that are applied at a time.
const BATCH: usize = 1_000;
/// For how long nothing is tried with an index that failed twice.
const PAUSE: Duration = Duration::from_secs(5);
/// Points after which a shard is flushed, whoever writes them.
const FLUSH: u64 = 10_000;

/// Why an index on the disk is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// There is none.
    Absent,
    /// The schema, or what is content, has changed.
    Shape,
    /// It lacks deletions that nobody tells any more.
    Behind,
    /// It is not what we left there.
    Suspect(&'static str),
}

/// Where a generation is made.
pub(super) struct Place {
    pub(super) generation: u64,
    pub(super) path: PathBuf,
}

/// An index that was taken out of use to be closed. Nobody works on it meanwhile.
struct Idle {
    slot: Arc<Slot>,
    live: Live,
    _working: OwnedMutexGuard<()>,
    _building: OwnedMutexGuard<()>,
}

impl Inner {
    /// The shard with everything in it that the store has, whatever is on the disk. By whoever
    /// holds `work`.
    pub(super) async fn bring_up(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
    ) -> Result<Arc<Shard>, Error> {
        let now = self.clock.now();
        let (gone, failed) = slot.with(|state| (state.gone, state.failed));
        if gone {
            return Err(Error::NoCollection(owner.collection.name.to_string()));
        }
        if self.closed() || failed.is_some_and(|until| now < until) {
            return Err(Error::Engine("closed, or failed a moment ago".into()));
        }
        let done = match self.try_bring_up(owner, slot).await {
            // What the shard failed with may be the shard's: once more, with a new one.
            Err(Error::Engine(_)) => {
                self.discard(owner, slot, Unfit::Suspect("it failed")).await?;
                self.try_bring_up(owner, slot).await
            }
            done => return done,
        };
        // It is not the shard: a full disk, say. Making it again for each query helps nobody.
        let failed = matches!(done, Err(Error::Engine(_))).then(|| now.plus(PAUSE));
        slot.with(|state| state.failed = failed);
        done
    }

    async fn try_bring_up(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
    ) -> Result<Arc<Shard>, Error> {
        let head = owner.truth.of(&owner.scope).head(&owner.collection).await?;
        let kept = self.kept(owner, slot).await?;
        let cold = kept.is_none();
        let live = match kept {
            Some(live) => live,
            None => {
                self.make_room().await;
                self.opened.fetch_add(1, Ordering::Relaxed);
                match self.load(owner, slot).await? {
                    Ok(live) => live,
                    Err(unfit) => {
                        self.discard(owner, slot, unfit).await?;
                        if head.seq > 0 {
                            self.rebuilt.fetch_add(1, Ordering::Relaxed);
                        }
                        self.fresh(owner, slot).await?
                    }
                }
            }
        };
        self.catch_up(owner, slot, &live).await?;
        if cold {
            self.still_there(owner, slot).await?;
        }
        Ok(live.shard)
    }

    /// The generation in use, if it is fit to be.
    async fn kept(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
    ) -> Result<Option<Live>, Error> {
        let Some(mut live) = slot.live() else { return Ok(None) };
        if live.shard.poisoned() {
            // Whoever poisoned it has put it on record, or it panicked.
            self.discard(owner, slot, Unfit::Absent).await?;
            return Ok(None);
        }
        if live.revision != owner.collection.revision {
            if live.shape != self.shape(&owner.collection) {
                self.discard(owner, slot, Unfit::Shape).await?;
                return Ok(None);
            }
            live.revision = owner.collection.revision;
            self.install(owner, slot, &live);
        }
        Ok(Some(live))
    }

    /// The index on the disk, if it is fit to be used.
    async fn load(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
    ) -> Result<Result<Live, Unfit>, Error> {
        let home = slot.home.clone();
        let read = blocking(move || Ok((home.stamp()?, home.last()?))).await?;
        let (Some(sealed), last) = read else { return Ok(Err(Unfit::Absent)) };
        let shape = self.shape(&owner.collection);
        let opened = Stamp::open(&sealed, &self.vault, &owner.scope, &owner.collection).await?;
        // Not before the stamp: what it says was so then.
        let head = owner.truth.of(&owner.scope).head(&owner.collection).await?;
        let unchecked = ids::planted::is("memory-stamp-unchecked");
        let stamp = match opened {
            Some(stamp) => stamp,
            // The planted bug: a directory is taken for what it seems to be.
            None if unchecked => Stamp::new(last, head.seq, shape),
            None => return Ok(Err(Unfit::Suspect("its stamp does not open"))),
        };
        if stamp.seq > head.seq {
            return Ok(Err(Unfit::Suspect("it is ahead of the rows")));
        }
        if stamp.shape != shape {
            return Ok(Err(Unfit::Shape));
        }
        if stamp.seq < head.trimmed {
            return Ok(Err(Unfit::Behind));
        }
        let opened = Stamp { clean: None, ..stamp.clone() };
        let opened = opened.seal(&self.vault, &owner.scope, &owner.collection).await?;
        let (home, content) = (slot.home.clone(), Arc::clone(&self.content));
        let collection = owner.collection.clone();
        let loaded = self.lanes.run(owner.scope.partition_bytes(), move || {
            let path = home.generation(stamp.generation);
            let whole = match stamp.clean {
                Some(clean) if !unchecked => home::digest(&path).is_ok_and(|found| found == clean),
                _ => home::plain(&path).is_ok(),
            };
            if !whole {
                return Err(Unfit::Suspect("its files are not those that were left"));
            }
            // From here on its files change.
            let stamped = home.set_stamp(&opened).and_then(|()| home.sweep(&[stamp.generation]));
            stamped.map_err(|_| Unfit::Suspect("its directory cannot be written"))?;
            let left = Left { seq: stamp.seq, dead: stamp.dead, graphed: stamp.indexed };
            let shard = Shard::load(&path, &collection, &content, &left);
            let shard = shard.map_err(|_| Unfit::Suspect("it does not load"))?;
            shard.set_bytes(home.bytes());
            let (generation, revision) = (stamp.generation, collection.revision);
            Ok(Live { shard: Arc::new(shard), generation, shape, revision })
        });
        let loaded = loaded.await?;
        if let Ok(live) = &loaded {
            self.install(owner, slot, live);
        }
        Ok(loaded)
    }

    /// Throws away what there is.
    async fn discard(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        why: Unfit,
    ) -> Result<(), Error> {
        match why {
            Unfit::Suspect(what) => self.alarm(&owner.scope, &owner.collection, what),
            Unfit::Absent => {}
            Unfit::Shape | Unfit::Behind => {
                tracing::info!(
                    collection = owner.collection.name.as_str(),
                    ?why,
                    "an index is made again"
                );
            }
        }
        // Queries that still read it may: its files are removed after them.
        slot.retire();
        let home = slot.home.clone();
        blocking(move || home.unstamp()).await?;
        self.reap(slot, false).await
    }

    /// A generation with nothing in it, in use.
    async fn fresh(self: &Arc<Self>, owner: &Owner, slot: &Arc<Slot>) -> Result<Live, Error> {
        let place = self.reserve(slot).await?;
        let live = self.create(owner, place).await?;
        self.install(owner, slot, &live);
        self.save(owner, slot, &live).await?;
        Ok(live)
    }

    /// A generation with nothing in it.
    pub(super) async fn create(
        self: &Arc<Self>,
        owner: &Owner,
        Place { generation, path }: Place,
    ) -> Result<Live, Error> {
        let (collection, content) = (owner.collection.clone(), Arc::clone(&self.content));
        let shard = aside(move || Shard::create(&path, &collection, &content)).await?;
        Ok(Live {
            shard: Arc::new(shard),
            generation,
            shape: self.shape(&owner.collection),
            revision: owner.collection.revision,
        })
    }

    /// A number and an empty directory for a generation.
    pub(super) async fn reserve(&self, slot: &Arc<Slot>) -> Result<Place, Error> {
        let slot = Arc::clone(slot);
        blocking(move || {
            let generation = slot.reserve(slot.home.last()?);
            Ok(Place { generation, path: slot.home.make(generation)? })
        })
        .await
    }

    /// Puts a generation in use, in place of none or of itself.
    fn install(&self, owner: &Owner, slot: &Slot, live: &Live) {
        let used = self.use_now();
        slot.with(|state| {
            state.live = Some(live.clone());
            state.owner = Some(owner.clone());
            state.used = used;
        });
    }

    /// Applies what the store has beyond the shard.
    pub(super) async fn catch_up(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        live: &Live,
    ) -> Result<(), Error> {
        let rows = owner.truth.of(&owner.scope);
        loop {
            let from = live.shard.applied();
            let found = rows.changes(&owner.collection, from, BATCH).await?;
            if found.changes.is_empty() && found.upto <= from {
                return Ok(());
            }
            if found.more && found.upto <= from {
                return Err(Error::Engine("changes that do not go on".into()));
            }
            let ends = found.changes.iter().filter_map(|change| match change {
                Change::Put(point) => point.expires,
                Change::Delete(_) => None,
            });
            let first_end = ends.min();
            let dead = live.shard.writing().dead;
            let shard = Arc::clone(&live.shard);
            let (changes, upto) = (found.changes, found.upto);
            let lane = owner.scope.partition_bytes();
            self.lanes.run(lane, move || shard.apply(&changes, upto)).await??;
            self.applied(owner, slot, live, dead).await?;
            if let Some(end) = first_end {
                // What has expired is deleted as well, only that nobody says so then.
                self.mark(slot.key, end).await;
            }
            if !found.more {
                return Ok(());
            }
        }
    }

    /// What follows from changes that were applied.
    async fn applied(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        live: &Live,
        dead: u64,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let writing = live.shard.writing();
        if writing.dead > dead {
            self.mark(slot.key, now).await;
        }
        let in_use = slot.with(|state| {
            let in_use = state.live.as_ref().is_some_and(|l| l.generation == live.generation);
            if in_use {
                state.dirty.get_or_insert(now);
            }
            in_use
        });
        if in_use && writing.unflushed >= FLUSH {
            self.save(owner, slot, live).await?;
        }
        Ok(())
    }

    /// A collection that was deleted while its index was opened must not leave one behind.
    async fn still_there(self: &Arc<Self>, owner: &Owner, slot: &Arc<Slot>) -> Result<(), Error> {
        let now = owner.truth.of(&owner.scope).collection(&owner.collection.name).await?;
        if now.is_some_and(|now| now.incarnation == owner.collection.incarnation) {
            return Ok(());
        }
        slot.with(|state| state.gone = true);
        self.drop_index(slot).await?;
        self.slots.lock().remove(&slot.key);
        Err(Error::NoCollection(owner.collection.name.to_string()))
    }

    /// Flushes a generation, then stamps it: never the other way round.
    pub(super) async fn save(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        live: &Live,
    ) -> Result<(), Error> {
        // The planted bug: the mark is set before what it stands for is there.
        if ids::planted::is("memory-watermark-before-flush") {
            self.stamp(owner, slot, live, live.shard.applied()).await?;
            self.flush(slot, live).await?;
            return Ok(());
        }
        let upto = self.flush(slot, live).await?;
        self.stamp(owner, slot, live, upto).await
    }

    async fn flush(self: &Arc<Self>, slot: &Arc<Slot>, live: &Live) -> Result<Seq, Error> {
        slot.with(|state| state.dirty = None);
        let (shard, home) = (Arc::clone(&live.shard), slot.home.clone());
        let upto = aside(move || {
            let upto = shard.flush()?;
            let bytes = home::allocated(shard.path()).unwrap_or_else(|_| home.bytes());
            shard.set_bytes(bytes);
            Ok(upto)
        })
        .await?;
        self.step("flushed");
        Ok(upto)
    }

    async fn stamp(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        live: &Live,
        seq: Seq,
    ) -> Result<(), Error> {
        let stamp = of(live, seq);
        self.put_stamp(owner, slot, &stamp).await?;
        live.shard.stamped(seq);
        Ok(())
    }

    async fn put_stamp(&self, owner: &Owner, slot: &Arc<Slot>, stamp: &Stamp) -> Result<(), Error> {
        let sealed = stamp.seal(&self.vault, &owner.scope, &owner.collection).await?;
        let home = slot.home.clone();
        blocking(move || home.set_stamp(&sealed)).await?;
        self.step("stamped");
        Ok(())
    }

    /// Closes a generation that was taken out of use, in order. By whoever holds `work`.
    pub(super) async fn close_one(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        live: Live,
    ) -> Result<(), Error> {
        let Some(owner) = slot.with(|state| state.owner.clone()) else { return Ok(()) };
        if live.shard.poisoned() {
            let home = slot.home.clone();
            drop(live);
            return blocking(move || home.unstamp()).await;
        }
        let seq = self.flush(slot, &live).await?;
        let stamp = of(&live, seq);
        let path = live.shard.path().to_owned();
        let digest = aside(move || {
            // Still in use at the end of the process: then it is not whole.
            let Some(shard) = Arc::into_inner(live.shard) else { return Ok(None) };
            drop(shard);
            let digest = home::digest(&path).map_err(|error| super::shard::failed("close", &error));
            digest.map(Some)
        })
        .await?;
        self.step("closed");
        self.put_stamp(&owner, slot, &Stamp { clean: digest, ..stamp }).await
    }

    /// Closes what was not used for longest, until there is room for one more. What is in use
    /// stays. Whoever needs the room waits for what it closes itself, and for nobody else's.
    pub(super) async fn make_room(self: &Arc<Self>) {
        while let Some(Idle { slot, live, _working, _building }) = self.least_used() {
            self.evicted.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.close_one(&slot, live).await {
                tracing::warn!(%error, "an index was not closed in order");
            }
        }
    }

    /// What is to be closed to make room, if there has to be more.
    fn least_used(&self) -> Option<Idle> {
        // One at a time, so that nobody closes more than it takes.
        let _one = self.room.lock();
        let (open, bytes) = self.open();
        let most = self.settings.open_indexes as u64;
        if open < most.max(1) && bytes <= self.settings.open_bytes {
            return None;
        }
        let mut slots: Vec<_> = self.slots.lock().values().cloned().collect();
        slots.retain(|slot| slot.with(|state| state.live.is_some()));
        slots.sort_by_cached_key(|slot| slot.with(|state| state.used));
        slots.into_iter().find_map(|slot| {
            let working = Arc::clone(&slot.work).try_lock_owned().ok()?;
            let building = Arc::clone(&slot.building).try_lock_owned().ok()?;
            let live = slot.take_idle()?;
            Some(Idle { slot, live, _working: working, _building: building })
        })
    }
}

/// The stamp of a generation whose files have everything up to a write.
fn of(live: &Live, seq: Seq) -> Stamp {
    Stamp {
        dead: live.shard.writing().dead,
        points: live.shard.points(),
        indexed: live.shard.indexed(),
        ..Stamp::new(live.generation, seq, live.shape)
    }
}
