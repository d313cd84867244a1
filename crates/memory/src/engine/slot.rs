//! One collection's index in this process: what is open of it, and who may work on it.

use std::{path::Path, sync::Arc};

use ids::Millis;
use parking_lot::Mutex;
use scope::{Read, Scope};

use super::{
    home::{Home, Key},
    shard::Shard,
};
use crate::{Collection, Seq, truth::Truth};

/// What a collection's rows are read with.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) scope: Scope<Read>,
    pub(super) truth: Truth,
    pub(super) collection: Collection,
}

/// The generation in use.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) shard: Arc<Shard>,
    pub(super) generation: u64,
    /// What it was made for.
    pub(super) shape: [u8; 32],
    /// Of the schema that this was last seen to be the shape of.
    pub(super) revision: Seq,
}

pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) home: Home,
    /// Held by whoever opens, catches up, puts in place, or closes: a queue of those who want
    /// the index to be as new as their own writes, so it is held across awaits.
    pub(super) work: Arc<tokio::sync::Mutex<()>>,
    /// Held by whoever makes a new generation beside the one in use.
    pub(super) building: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) live: Option<Live>,
    /// Generations that are in use by queries alone, and go after them.
    pub(super) retired: Vec<Live>,
    pub(super) owner: Option<Owner>,
    /// When it was used last, counted in uses of all.
    pub(super) used: u64,
    /// Since when there has been something to flush.
    pub(super) dirty: Option<Millis>,
    /// The generation that is being made, and up to which write it needs deletions to be told
    /// from.
    pub(super) building: Option<(u64, Seq)>,
    /// The highest number given to a generation.
    pub(super) last: u64,
    /// From how many points on a graph is tried again, after one was.
    pub(super) graph: u64,
    /// Until when nothing is tried: it failed, also with a new one.
    pub(super) failed: Option<Millis>,
    /// The collection is no more.
    pub(super) gone: bool,
}

impl Slot {
    pub(super) fn new(root: &Path, key: Key) -> Self {
        Self {
            home: Home::of(root, &key),
            key,
            work: Arc::default(),
            building: Arc::default(),
            state: Mutex::default(),
        }
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock())
    }

    pub(super) fn live(&self) -> Option<Live> {
        self.with(|state| state.live.clone())
    }

    /// The shard, if it has everything up to `seq` and is what the collection is now.
    pub(super) fn current(&self, collection: &Collection, seq: Seq) -> Option<Arc<Shard>> {
        self.with(|state| {
            let live = state.live.as_ref()?;
            let fits = live.revision == collection.revision
                && !live.shard.poisoned()
                && live.shard.applied() >= seq;
            fits.then(|| Arc::clone(&live.shard))
        })
    }

    /// Takes the generation in use out of use.
    pub(super) fn retire(&self) {
        self.with(|state| {
            state.dirty = None;
            let live = state.live.take();
            state.retired.extend(live);
        });
    }

    /// Of the generations that are out of use, those that no query reads any more.
    pub(super) fn take_unread(&self) -> Vec<Live> {
        self.with(|state| {
            let retired = std::mem::take(&mut state.retired);
            let (unread, read) =
                retired.into_iter().partition(|live| Arc::strong_count(&live.shard) == 1);
            state.retired = read;
            unread
        })
    }

    /// Numbers of the generations whose files have to stay.
    pub(super) fn kept(&self) -> Vec<u64> {
        self.with(|state| {
            let kept = state.live.iter().chain(&state.retired).map(|live| live.generation);
            kept.chain(state.building.map(|(number, _)| number)).collect()
        })
    }

    /// A number for a generation that none had, given the highest on the disk.
    pub(super) fn reserve(&self, on_disk: u64) -> u64 {
        self.with(|state| {
            state.last = state.last.max(on_disk) + 1;
            state.last
        })
    }

    /// From which write on the generation that is being made needs deletions to be told.
    pub(super) fn told_from(&self, seq: Seq) {
        self.with(|state| {
            if let Some((_, from)) = &mut state.building {
                *from = seq;
            }
        });
    }

    /// Whether there is nothing to be kept in mind of it.
    pub(super) fn is_idle(&self) -> bool {
        self.with(|state| state.live.is_none() && state.retired.is_empty())
    }

    /// The generation in use, if nobody is using it: to be closed.
    pub(super) fn take_idle(&self) -> Option<Live> {
        self.with(|state| {
            let idle = state.retired.is_empty()
                && state.live.as_ref().is_some_and(|live| Arc::strong_count(&live.shard) == 1);
            if !idle {
                return None;
            }
            state.dirty = None;
            state.live.take()
        })
    }
}
