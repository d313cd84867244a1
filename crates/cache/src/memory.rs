//! The memory tier: least recently used first, with a quota for each shelf and a fair share
//! of the whole.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use ids::{BoxFuture, Clock, Millis, planted};
use lru::LruCache;
use parking_lot::Mutex;
use scope::{Scope, Write};

use crate::{Backend, CacheKey, Error, Settings, Stamp, Usage};

/// What an entry weighs besides its bytes: the maps it stands in, rounded up.
const OVERHEAD: usize = 256;

/// Expired entries dropped with each write, at most: the price of a write stays bounded.
const SWEEP: usize = 8;

/// How long a removal is remembered: longer than a slower tier takes to answer whoever asked
/// it before.
const REMOVED_FOR: Duration = Duration::from_secs(60);

type Partition = [u8; 32];

/// Sealed bytes in memory.
#[derive(Debug)]
pub struct Memory {
    per_shelf: usize,
    total: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shelves: HashMap<Partition, Entries>,
    /// Every shelf by what it weighs, so that the heaviest is found without a search.
    by_weight: BTreeSet<(usize, Partition)>,
    /// Every entry by when it ends.
    by_end: BTreeSet<(Millis, Partition, CacheKey)>,
    weight: usize,
}

#[derive(Debug)]
struct Entries {
    kept: LruCache<CacheKey, Entry>,
    /// How many of them are removals.
    removals: usize,
    weight: usize,
}

#[derive(Debug)]
struct Entry {
    /// Nothing: it was removed, and nothing older comes back.
    sealed: Option<Bytes>,
    stamp: Stamp,
    expires: Millis,
}

impl Entry {
    fn weight(&self) -> usize {
        self.sealed.as_ref().map_or(0, Bytes::len) + OVERHEAD
    }
}

impl State {
    fn reweigh(&mut self, partition: &Partition, before: usize, after: usize) {
        self.weight = self.weight + after - before;
        if before > 0 {
            self.by_weight.remove(&(before, *partition));
        }
        if after > 0 {
            self.by_weight.insert((after, *partition));
        } else {
            self.shelves.remove(partition);
        }
    }

    fn remove(&mut self, partition: &Partition, key: &CacheKey) {
        let Some(shelf) = self.shelves.get_mut(partition) else { return };
        let Some(entry) = shelf.kept.pop(key) else { return };
        let before = shelf.weight;
        shelf.weight -= entry.weight();
        shelf.removals -= usize::from(entry.sealed.is_none());
        let after = shelf.weight;
        self.by_end.remove(&(entry.expires, *partition, *key));
        self.reweigh(partition, before, after);
    }

    fn has_newer(&self, partition: &Partition, key: &CacheKey, stamp: Stamp) -> bool {
        let known = self.shelves.get(partition).and_then(|shelf| shelf.kept.peek(key));
        known.is_some_and(|known| known.stamp > stamp && !planted::is("cache-older-comes-back"))
    }

    fn insert(&mut self, partition: &Partition, key: &CacheKey, entry: Entry) {
        self.remove(partition, key);
        let shelf = self.shelves.entry(*partition).or_insert_with(|| Entries {
            kept: LruCache::unbounded(),
            removals: 0,
            weight: 0,
        });
        let before = shelf.weight;
        shelf.weight += entry.weight();
        shelf.removals += usize::from(entry.sealed.is_none());
        let after = shelf.weight;
        self.by_end.insert((entry.expires, *partition, *key));
        shelf.kept.put(*key, entry);
        self.reweigh(partition, before, after);
    }

    /// Drops what this shelf has not used for longest.
    fn evict_from(&mut self, partition: &Partition) -> bool {
        let oldest = self.shelves.get(partition).and_then(|s| s.kept.peek_lru());
        let Some((&key, _)) = oldest else { return false };
        self.remove(partition, &key);
        true
    }

    fn drop_expired(&mut self, now: Millis) {
        for _ in 0..SWEEP {
            match self.by_end.first() {
                Some(&(end, partition, key)) if end <= now => self.remove(&partition, &key),
                _ => return,
            }
        }
    }
}

impl Memory {
    /// An empty tier with the bounds of the settings.
    #[must_use]
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        let bytes = |setting: u64| usize::try_from(setting).unwrap_or(usize::MAX);
        Self {
            per_shelf: bytes(settings.memory_bytes_per_tenant),
            total: bytes(settings.memory_bytes_total),
            clock,
            state: Mutex::default(),
        }
    }

    /// What all shelves together weigh, in bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.state.lock().weight as u64
    }

    fn look(&self, partition: &Partition, key: &CacheKey) -> Option<Bytes> {
        let mut state = self.state.lock();
        let entry = state.shelves.get_mut(partition)?.kept.get(key)?;
        if entry.expires > self.clock.now() {
            return entry.sealed.clone();
        }
        state.remove(partition, key);
        None
    }

    fn keep(&self, partition: &Partition, key: &CacheKey, entry: Entry) {
        let mut state = self.state.lock();
        state.drop_expired(self.clock.now());
        if state.has_newer(partition, key, entry.stamp) {
            return;
        }
        // What cannot fit must not push anything out first; what it replaces is stale anyway.
        if entry.weight() > self.per_shelf.min(self.total) {
            state.remove(partition, key);
            return;
        }
        state.insert(partition, key, entry);
        while state.shelves.get(partition).is_some_and(|s| s.weight > self.per_shelf)
            && state.evict_from(partition)
        {}
        // The heaviest shelf weighs at least the average, and the average is above the fair
        // share as long as the whole is: nobody at or under a fair share loses anything.
        while state.weight > self.total {
            let Some(&(_, heaviest)) = state.by_weight.last() else { break };
            if !state.evict_from(&heaviest) {
                break;
            }
        }
    }

    fn sum(&self, partition: &Partition) -> Usage {
        let state = self.state.lock();
        state.shelves.get(partition).map_or_else(Usage::default, |shelf| Usage {
            entries: (shelf.kept.len() - shelf.removals) as u64,
            bytes: shelf.weight as u64,
        })
    }

    fn forget(&self, partition: &Partition) -> Usage {
        let sum = self.sum(partition);
        let mut state = self.state.lock();
        while state.evict_from(partition) {}
        sum
    }
}

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn get<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        let found = self.look(scope.partition_bytes(), key);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn put<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
        sealed: Bytes,
        stamp: Stamp,
        expires: Millis,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.keep(scope.partition_bytes(), key, Entry { sealed: Some(sealed), stamp, expires });
        Box::pin(std::future::ready(Ok(())))
    }

    fn delete<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
        stamp: Stamp,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let expires = self.clock.now().plus(REMOVED_FOR);
        self.keep(scope.partition_bytes(), key, Entry { sealed: None, stamp, expires });
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        let gone = self.forget(scope.partition_bytes());
        Box::pin(std::future::ready(Ok(gone)))
    }

    fn usage<'a>(&'a self, scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        let sum = self.sum(scope.partition_bytes());
        Box::pin(std::future::ready(Ok(sum)))
    }
}

#[cfg(test)]
mod tests {
    use ids::ManualClock;
    use proptest::prelude::*;

    use super::*;
    use crate::key::tests::any;

    const A: Partition = [1; 32];
    const B: Partition = [2; 32];

    fn tier(per_shelf: usize, total: usize) -> (Memory, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Millis(1_000)));
        let settings = Settings {
            memory_bytes_per_tenant: per_shelf as u64,
            memory_bytes_total: total as u64,
            ..Settings::default()
        };
        (Memory::new(&settings, clock.clone()), clock)
    }

    fn entry(bytes: usize, expires: u64) -> Entry {
        let sealed = Some(Bytes::from(vec![0; bytes]));
        Entry { sealed, stamp: Stamp::default(), expires: Millis(expires) }
    }

    #[test]
    fn a_shelf_evicts_its_own_least_recently_used() {
        let (memory, _) = tier(3 * (OVERHEAD + 100), 1 << 20);
        for i in 0..3 {
            memory.keep(&A, &any(i), entry(100, 9_000));
        }
        assert!(memory.look(&A, &any(0)).is_some());
        memory.keep(&A, &any(3), entry(100, 9_000));
        let kept: Vec<bool> = (0..4).map(|i| memory.look(&A, &any(i)).is_some()).collect();
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn a_flood_takes_nothing_from_a_shelf_under_its_share() {
        let one = OVERHEAD + 100;
        let (memory, _) = tier(100 * one, 100 * one);
        for i in 0..50 {
            memory.keep(&A, &any(i), entry(100, 9_000));
        }
        for round in 0..40_u8 {
            for i in 0..250 {
                memory.keep(&B, &any(i), entry(100 + usize::from(round), 9_000));
            }
        }
        assert!((0..50).all(|i| memory.look(&A, &any(i)).is_some()));
        assert!(memory.weight() <= 100 * one as u64);
        // What B could not take from A it had to take from itself.
        assert!(memory.sum(&B).entries < 50);
    }

    #[test]
    fn what_is_too_large_pushes_nothing_out() {
        let (memory, _) = tier(1_000, 10_000);
        memory.keep(&A, &any(0), entry(100, 9_000));
        memory.keep(&A, &any(1), entry(1_000, 9_000));
        assert!(memory.look(&A, &any(0)).is_some() && memory.look(&A, &any(1)).is_none());
    }

    #[test]
    fn ends_with_its_time_and_is_dropped_without_being_read() {
        let (memory, clock) = tier(1 << 20, 1 << 20);
        for i in 0..6 {
            memory.keep(&A, &any(i), entry(100, 2_000));
        }
        clock.advance(Duration::from_millis(999));
        assert!(memory.look(&A, &any(0)).is_some());
        clock.advance(Duration::from_millis(1));
        assert!(memory.look(&A, &any(0)).is_none());
        memory.keep(&B, &any(9), entry(100, 9_000));
        assert_eq!(memory.sum(&A), Usage::default());
        assert_eq!(memory.weight() as usize, OVERHEAD + 100);
    }

    #[test]
    fn forgetting_a_shelf_leaves_the_others() {
        let (memory, _) = tier(1 << 20, 1 << 20);
        memory.keep(&A, &any(0), entry(100, 9_000));
        memory.keep(&B, &any(0), entry(100, 9_000));
        assert_eq!(memory.forget(&A).entries, 1);
        assert!(memory.look(&A, &any(0)).is_none() && memory.look(&B, &any(0)).is_some());
    }

    #[test]
    fn the_newer_stays_whatever_comes_first() {
        let (memory, clock) = tier(1 << 20, 1 << 20);
        let put = |stamp, bytes: usize| {
            let own = Entry { stamp: Stamp(stamp), ..entry(bytes, 900_000) };
            memory.keep(&A, &any(0), own);
            memory.look(&A, &any(0)).map(|sealed| sealed.len())
        };
        assert_eq!([put(5, 50), put(4, 40), put(6, 60)], [Some(50), Some(50), Some(60)]);
        let removed =
            Entry { sealed: None, stamp: Stamp(7), expires: clock.now().plus(REMOVED_FOR) };
        memory.keep(&A, &any(0), removed);
        assert_eq!([put(6, 60), put(8, 80)], [None, Some(80)]);
    }

    proptest! {
        /// The books are right after any sequence of writes, reads and removals, and nobody
        /// who stays at or under a fair share loses what has not expired.
        #[test]
        fn books_balance(steps: Vec<(u8, u8, u16, bool)>) {
            let (memory, clock) = tier(6_000, 10_000);
            for (shelf, key, bytes, remove) in steps {
                let partition = [shelf % 4; 32];
                if remove && bytes % 2 == 0 {
                    memory.keep(&partition, &any(key), Entry { sealed: None, ..entry(0, 5_000) });
                } else if remove {
                    memory.state.lock().remove(&partition, &any(key));
                } else {
                    memory.keep(&partition, &any(key), entry(usize::from(bytes % 3_000), 5_000));
                }
                clock.advance(Duration::from_millis(7));
                let state = memory.state.lock();
                prop_assert!(state.weight <= 10_000);
                let mut sum = 0;
                for (partition, shelf) in &state.shelves {
                    let weight: usize = shelf.kept.iter().map(|(_, e)| e.weight()).sum();
                    prop_assert!(weight > 0 && weight == shelf.weight && weight <= 6_000);
                    let removals = shelf.kept.iter().filter(|(_, e)| e.sealed.is_none()).count();
                    prop_assert_eq!(removals, shelf.removals);
                    prop_assert!(state.by_weight.contains(&(weight, *partition)));
                    sum += weight;
                }
                prop_assert_eq!(sum, state.weight);
                prop_assert_eq!(state.by_weight.len(), state.shelves.len());
                let entries: usize = state.shelves.values().map(|s| s.kept.len()).sum();
                prop_assert_eq!(entries, state.by_end.len());
            }
        }
    }
}
