//! New generations, made beside the one in use and put in its place: the one way in which an
//! index is ever rewritten.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Shard, home,
    opening::Place,
    shards::{Inner, aside, blocking},
    slot::{Live, Owner, Slot},
};
use crate::Error;

/// What a new generation is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The rows: nothing of the old one is in it.
    Rows,
    /// The files of the one in use, with a graph.
    Files,
}

impl Inner {
    /// Makes a new generation, and puts it in place. `now`: the old one's files are gone on
    /// return, even if a query still reads them.
    pub(super) async fn build(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        from: From,
        now: bool,
    ) -> Result<(), Error> {
        // One at a time: the queue of those who build is held across awaits.
        let _building = slot.building.lock().await;
        let place = self.reserve(slot).await?;
        let generation = place.generation;
        // Until it is known from where on, no deletion goes untold.
        slot.with(|state| state.building = Some((generation, 0)));
        let built = self.build_and_swap(owner, slot, from, place, now).await;
        let gone = slot.with(|state| {
            state.building = None;
            state.gone
        });
        if gone {
            let home = slot.home.clone();
            blocking(move || home.remove()).await?;
            self.forget.begin(&slot.key);
            self.forgotten(slot.key).await?;
            return Err(Error::NoCollection(owner.collection.name.to_string()));
        }
        if built.is_err() {
            // Whatever there is of the new one.
            let path = slot.home.generation(generation);
            blocking(move || home::remove(&path)).await?;
        }
        built
    }

    async fn build_and_swap(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        from: From,
        place: Place,
        now: bool,
    ) -> Result<(), Error> {
        let rows = owner.truth.of(&owner.scope);
        let start = rows.head(&owner.collection).await?.seq;
        let (new, source, start) = match from {
            From::Rows => (self.from_rows(owner, slot, place, start).await?, None, start),
            From::Files => {
                let Some(live) = slot.live() else { return Ok(()) };
                let (new, start) = self.from_files(owner, slot, place, &live).await?;
                (new, Some(live.generation), start)
            }
        };
        self.step("built");
        let _working = slot.work.lock().await;
        let source_is_live = |state: &mut super::slot::State| {
            let live = state.live.as_ref();
            live.is_some_and(|l| Some(l.generation) == source && !l.shard.poisoned())
        };
        // Who removed all files has removed its own.
        let whole = slot.with(|state| state.building.is_some() && !state.gone);
        if !whole || source.is_some() && !slot.with(source_is_live) {
            return Err(Error::Engine("what it was made from is gone".into()));
        }
        self.catch_up(owner, slot, &new).await?;
        // Deletions that nobody told meanwhile are missing.
        if rows.head(&owner.collection).await?.trimmed > start {
            return Err(Error::Engine("it was overtaken".into()));
        }
        self.save(owner, slot, &new).await?;
        let used = self.use_now();
        slot.with(|state| {
            state.building = None;
            let old = state.live.replace(new);
            state.retired.extend(old);
            state.owner = Some(owner.clone());
            state.used = used;
            state.dirty = None;
        });
        self.rebuilt.fetch_add(u64::from(from == From::Rows), Ordering::Relaxed);
        self.step("swapped");
        self.reap(slot, now).await
    }

    async fn from_rows(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        place: Place,
        start: u64,
    ) -> Result<Live, Error> {
        slot.told_from(start);
        let new = self.create(owner, place).await?;
        self.catch_up(owner, slot, &new).await?;
        if self.wants_graph(owner, &new.shard) {
            self.optimize(&new).await?;
        }
        Ok(new)
    }

    async fn from_files(
        self: &Arc<Self>,
        owner: &Owner,
        slot: &Arc<Slot>,
        Place { generation, path }: Place,
        live: &Live,
    ) -> Result<(Live, u64), Error> {
        // Told from here on at the latest: what is durable can only be more by then.
        let from = live.shard.durable();
        slot.told_from(from);
        let (old, content) = (Arc::clone(&live.shard), Arc::clone(&self.content));
        let collection = owner.collection.clone();
        let (shard, start) = aside(move || {
            let left = old.copy_to(&path)?;
            drop(old);
            Ok((Shard::load(&path, &collection, &content, &left)?, left.seq))
        })
        .await?;
        let (shape, revision) = (live.shape, live.revision);
        let new = Live { shard: Arc::new(shard), generation, shape, revision };
        self.optimize(&new).await?;
        Ok((new, start))
    }

    async fn optimize(&self, new: &Live) -> Result<(), Error> {
        let shard = Arc::clone(&new.shard);
        aside(move || shard.optimize()).await
    }

    /// Whether so much of a shard is without a graph that one is worth its making.
    pub(super) fn wants_graph(&self, owner: &Owner, shard: &Shard) -> bool {
        let (points, indexed) = (shard.points(), shard.indexed());
        let without = points.saturating_sub(indexed);
        !owner.collection.schema.vectors.is_empty()
            && without > self.settings.graph_from as u64
            && without.saturating_mul(4) > points
    }

    /// Removes the files of generations that are not in use any more: those that a query still
    /// reads only if it has to be now. By whoever holds `work`.
    pub(super) async fn reap(&self, slot: &Arc<Slot>, now: bool) -> Result<(), Error> {
        let unread = slot.take_unread();
        let keep = match now {
            false => slot.kept(),
            true => slot.with(|state| {
                let building = state.building.map(|(number, _)| number);
                state.live.iter().map(|live| live.generation).chain(building).collect()
            }),
        };
        let home = slot.home.clone();
        blocking(move || {
            // First closed, then removed: the engine writes once more when it is dropped.
            drop(unread);
            home.sweep(&keep)
        })
        .await
    }
}
