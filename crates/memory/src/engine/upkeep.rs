//! Background work: graphs, and what is to be forgotten. One after the other, tenants in turn;
//! and, apart from it, what must not wait for that.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ids::Millis;

use super::{
    Shards,
    build::From,
    home::Key,
    shards::{Inner, blocking},
    slot::{Owner, Slot},
};
use crate::Error;

/// For how long what was written may wait to be flushed.
const IDLE: Duration = Duration::from_secs(60);

/// Something to do to one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Its mark is due: nothing deleted may be left in it.
    Forget,
    /// More than a fifth of it is dead.
    Shrink,
    /// Much of it is without a graph.
    Graph,
}

impl Shards {
    /// What is quickly done: flushes what has waited, removes files that nobody reads any more,
    /// and drops indexes that should have forgotten by now; how many of these.
    pub(crate) async fn tend(&self, now: Millis) -> usize {
        let Ok(_tending) = self.inner.tending.try_lock() else { return 0 };
        self.inner.settle(now).await;
        self.inner.drop_late(now).await
    }

    /// Makes again what is due at `now`, one after the other; how many indexes were made again
    /// or dropped. Making a graph takes minutes; who calls this while it is at work does nothing.
    pub(crate) async fn renew(&self, now: Millis) -> usize {
        let Ok(mut turn) = self.inner.turn.try_lock() else { return 0 };
        let (mut tried, mut done) = (HashSet::new(), 0);
        loop {
            // Asked anew for each round: nobody waits for more than one piece of work of each.
            let mut jobs = self.inner.jobs(now).await;
            jobs.retain(|(key, _)| !tried.contains(key));
            let graphs = jobs.iter().filter(|(_, job)| *job == Job::Graph).count() as u64;
            self.inner.graphs.store(graphs, Ordering::Relaxed);
            let round = in_turn(jobs, *turn);
            if round.is_empty() {
                return done;
            }
            for (key, job) in round {
                let result = self.inner.run(key, job).await;
                tried.insert(key);
                *turn = key.partition;
                done += usize::from(matches!(result, Ok(true)));
                if let Err(error) = result {
                    tracing::warn!(%error, ?job, "an index could not be tended to");
                }
            }
        }
    }
}

/// The first of each tenant's, beginning behind the one that had its turn last. What is to be
/// forgotten comes first: a graph can wait.
fn in_turn(jobs: Vec<(Key, Job)>, last: [u8; 32]) -> Vec<(Key, Job)> {
    let mut first: BTreeMap<[u8; 32], (Key, Job)> = BTreeMap::new();
    for (key, job) in jobs {
        first.entry(key.partition).or_insert((key, job));
    }
    let mut round: Vec<_> = first.into_values().collect();
    round.sort_by_key(|(key, job)| (*job != Job::Forget, key.partition <= last));
    round
}

impl Inner {
    /// Flushes what has waited for long, and removes files that nobody reads any more.
    async fn settle(self: &Arc<Self>, now: Millis) {
        for slot in self.all() {
            let (dirty, retired) = slot.with(|state| (state.dirty, !state.retired.is_empty()));
            let dirty = dirty.is_some_and(|since| now.since(since) >= IDLE);
            if !dirty && !retired {
                continue;
            }
            // Others are not held up by whoever is opened for long.
            let Ok(_working) = slot.work.try_lock() else { continue };
            let (live, owner) = slot.with(|state| (state.live.clone(), state.owner.clone()));
            if dirty
                && let (Some(live), Some(owner)) = (live, owner)
                && let Err(error) = self.save(&owner, &slot, &live).await
            {
                // A flush that failed has poisoned it. What was flushed and has no stamp only
                // waits for one.
                slot.with(|state| state.dirty = state.dirty.or(Some(now)));
                tracing::error!(%error, "an index could not be flushed");
            }
            if retired && let Err(error) = self.reap_late(&slot).await {
                tracing::warn!(%error, "files of an index could not be removed");
            }
        }
        self.keep_in_mind();
    }

    /// Drops indexes that should have been made again some time ago: whatever keeps others busy,
    /// a graph of somebody's say, what is deleted is gone in time.
    async fn drop_late(self: &Arc<Self>, now: Millis) -> usize {
        // Of the half of the time that is for the work, half is over.
        let late = Duration::from_secs(self.settings.forget_seconds) / 4;
        let until =
            Millis(now.0.saturating_sub(u64::try_from(late.as_millis()).unwrap_or(u64::MAX)));
        // The planted bug: what is due waits for whatever is done before it.
        if ids::planted::is("memory-forget-waits") {
            return 0;
        }
        let mut dropped = 0;
        for key in self.due(until).await {
            let slot = self.slot_of(key);
            self.forget.begin(&key);
            let done = self.forget_by_dropping(&slot).await;
            dropped += usize::from(done.is_ok());
            if let Err(error) = done {
                tracing::warn!(%error, "an index with deleted points could not be removed");
            }
        }
        dropped
    }

    /// Keys of marks that are due.
    async fn due(self: &Arc<Self>, now: Millis) -> Vec<Key> {
        let inner = Arc::clone(self);
        let due = blocking(move || inner.forget.due(now)).await;
        due.unwrap_or_else(|error| {
            tracing::error!(%error, "what is to be forgotten could not be read");
            Vec::new()
        })
    }

    /// What a query still read is removed, and with it the last of what was to be forgotten.
    async fn reap_late(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), Error> {
        self.reap(slot, false).await?;
        match slot.with(|state| state.retired.is_empty()) {
            true => self.forgotten(slot.key).await,
            false => Ok(()),
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().values().cloned().collect()
    }

    async fn jobs(self: &Arc<Self>, now: Millis) -> Vec<(Key, Job)> {
        let due = self.due(now).await;
        // What forgets shrinks as well.
        let forgets: HashSet<_> = due.iter().copied().collect();
        let mut jobs: Vec<_> = due.into_iter().map(|key| (key, Job::Forget)).collect();
        for slot in self.all() {
            let (live, owner, tried) =
                slot.with(|state| (state.live.clone(), state.owner.clone(), state.graph));
            let (Some(live), Some(owner)) = (live, owner) else { continue };
            if live.shard.poisoned() || forgets.contains(&slot.key) {
                continue;
            }
            let (points, dead) = (live.shard.points(), live.shard.writing().dead);
            if dead > points / 4 && dead > 1_000 {
                jobs.push((slot.key, Job::Shrink));
            } else if points >= tried && self.wants_graph(&owner, &live.shard) {
                jobs.push((slot.key, Job::Graph));
            }
        }
        jobs
    }

    /// Whether there was something to do.
    async fn run(self: &Arc<Self>, key: Key, job: Job) -> Result<bool, Error> {
        let slot = &self.slot_of(key);
        // Without a scope that still holds, nobody's rows are read.
        let owner = slot.with(|state| state.owner.clone());
        let owner = owner.filter(|owner| owner.scope.live().is_ok());
        match (job, owner) {
            (Job::Forget, owner) => self.forget_one(slot, owner).await.map(|()| true),
            (_, None) => Ok(false),
            (Job::Shrink, Some(owner)) => {
                self.build(&owner, slot, From::Rows, false).await.map(|()| true)
            }
            (Job::Graph, Some(owner)) => {
                // Again when it has grown by a quarter, should it fail or not be complete.
                let points = slot.live().map_or(0, |live| live.shard.points());
                slot.with(|state| state.graph = points + points / 4);
                self.build(&owner, slot, From::Files, false).await.map(|()| true)
            }
        }
    }

    async fn forget_one(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        owner: Option<Owner>,
    ) -> Result<(), Error> {
        self.forget.begin(&slot.key);
        // The planted bug: it is forgotten that something is to be forgotten.
        if ids::planted::is("memory-forget-keeps-index") {
            return self.forgotten(slot.key).await;
        }
        let built = match owner {
            Some(owner) => self.build(&owner, slot, From::Rows, false).await,
            None => Err(Error::Engine("no scope".into())),
        };
        if built.is_err() {
            return self.forget_by_dropping(slot).await;
        }
        let left = slot.with(|state| !state.retired.is_empty());
        if left {
            // A query still reads the old one: what is left is removed the next time.
            return Ok(());
        }
        self.forgotten(slot.key).await
    }

    /// What was begun to be forgotten goes with all there is. It is made again by whoever uses
    /// it next.
    async fn forget_by_dropping(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), Error> {
        let working = slot.work.lock().await;
        if let Err(error) = self.drop_index(slot).await {
            self.mark(slot.key, Millis(0)).await;
            return Err(error);
        }
        drop(working);
        self.forgotten(slot.key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_take_turns() {
        let key = |partition, n| Key { partition: [partition; 32], incarnation: [n; 16] };
        let jobs = vec![
            (key(1, 1), Job::Graph),
            (key(1, 2), Job::Graph),
            (key(2, 1), Job::Forget),
            (key(3, 1), Job::Shrink),
            (key(3, 2), Job::Shrink),
            (key(4, 1), Job::Forget),
        ];
        let order = |last| {
            let order = in_turn(jobs.clone(), [last; 32]);
            order.iter().map(|(key, _)| (key.partition[0], key.incarnation[0])).collect::<Vec<_>>()
        };
        assert_eq!(order(0), [(2, 1), (4, 1), (1, 1), (3, 1)]);
        assert_eq!(order(2), [(4, 1), (2, 1), (3, 1), (1, 1)]);
        assert_eq!(order(4), order(0));
    }
}
