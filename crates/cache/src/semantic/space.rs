//! The vectors of one tenant's environment.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ids::Millis;

use super::{Near, vector::Unit};
use crate::{CacheKey, SemanticKey};

/// What an entry weighs besides its vector: the maps it stands in, rounded up.
pub(super) const OVERHEAD: usize = 768;

/// Places in a group that may stand empty before it is made smaller.
const SPARE: usize = 8;

/// Expired entries dropped with each use, at most: its price stays bounded.
const SWEEP: usize = 64;

/// What is added, still without its vector.
pub(super) struct Entry<V = ()> {
    vector: V,
    key: CacheKey,
    expires: Millis,
}

impl Entry {
    pub(super) const fn new(key: CacheKey, expires: Millis) -> Self {
        Self { vector: (), key, expires }
    }

    pub(super) fn with(self, vector: Unit) -> Entry<Unit> {
        Entry { vector, key: self.key, expires: self.expires }
    }
}

impl<V> Entry<V> {
    pub(super) fn is_live(&self, now: Millis) -> bool {
        now < self.expires
    }
}

impl Entry<Unit> {
    fn weight(&self) -> usize {
        self.vector.bytes() + OVERHEAD
    }

    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.weight() <= bytes
    }
}

/// An entry and when it was last of use.
struct Kept {
    entry: Entry<Unit>,
    used: u64,
}

/// The vectors of one tenant's environment.
#[derive(Default)]
pub(super) struct Space {
    groups: HashMap<SemanticKey, Vec<Kept>>,
    /// In which group an answer stands: it has one vector.
    places: HashMap<CacheKey, SemanticKey>,
    /// By when they were last of use.
    by_use: BTreeMap<u64, CacheKey>,
    /// By when they end.
    by_end: BTreeSet<(Millis, CacheKey)>,
    weight: usize,
    uses: u64,
    closed: bool,
}

impl Space {
    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn first_end(&self) -> Option<Millis> {
        self.by_end.first().map(|(end, _)| *end)
    }

    /// Whether it still is the tenant's, and not one that was let go.
    pub(super) const fn is_open(&self) -> bool {
        !self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn clear(&mut self) {
        *self = Self { closed: self.closed, ..Self::default() };
    }

    /// The nearest that is near enough and has not ended; from now on the last that goes.
    pub(super) fn find(
        &mut self,
        group: &SemanticKey,
        asked: &Unit,
        threshold: f32,
        now: Millis,
    ) -> Option<Near> {
        let mut nearest: Option<(usize, f32)> = None;
        let group = self.groups.get_mut(group)?;
        for (at, kept) in group.iter().enumerate().filter(|(_, kept)| kept.entry.is_live(now)) {
            let Some(similarity) = kept.entry.vector.cosine(asked) else { continue };
            if similarity >= threshold && nearest.is_none_or(|(_, so_far)| similarity > so_far) {
                nearest = Some((at, similarity));
            }
        }
        let (at, similarity) = nearest?;
        let kept = group.get_mut(at)?;
        self.by_use.remove(&kept.used);
        self.uses += 1;
        kept.used = self.uses;
        self.by_use.insert(kept.used, kept.entry.key);
        Some(Near { key: kept.entry.key, similarity })
    }

    /// Adds, and makes room for it: in its group, then in all.
    pub(super) fn add(
        &mut self,
        group: SemanticKey,
        entry: Entry<Unit>,
        entries: usize,
        bytes: usize,
    ) {
        self.forget(&entry.key);
        while let Some(kept) = self.groups.get(&group).filter(|kept| kept.len() >= entries) {
            let oldest = kept.iter().min_by_key(|kept| kept.used).map(|kept| kept.entry.key);
            let Some(oldest) = oldest else { break };
            self.forget(&oldest);
        }
        while self.weight + entry.weight() > bytes && self.evict() {}
        self.uses += 1;
        self.weight += entry.weight();
        self.places.insert(entry.key, group);
        self.by_use.insert(self.uses, entry.key);
        self.by_end.insert((entry.expires, entry.key));
        self.groups.entry(group).or_default().push(Kept { entry, used: self.uses });
    }

    /// Drops what was of no use for longest; whether there was anything.
    pub(super) fn evict(&mut self) -> bool {
        let Some((_, &key)) = self.by_use.first_key_value() else { return false };
        self.forget(&key);
        true
    }

    pub(super) fn drop_expired(&mut self, now: Millis) {
        for _ in 0..SWEEP {
            match self.by_end.first() {
                Some(&(end, key)) if end <= now => self.forget(&key),
                _ => return,
            }
        }
    }

    pub(super) fn forget(&mut self, key: &CacheKey) {
        let Some(place) = self.places.remove(key) else { return };
        let Some(group) = self.groups.get_mut(&place) else { return };
        let Some(at) = group.iter().position(|kept| kept.entry.key == *key) else { return };
        let Kept { entry, used } = group.swap_remove(at);
        // Empty places are not weighed, so there may be only few: a tenant could fill one group
        // after the other and leave an entry in each.
        if group.capacity() > SPARE + 4 * group.len() {
            group.shrink_to(2 * group.len());
        }
        if group.is_empty() {
            self.groups.remove(&place);
        }
        self.by_use.remove(&used);
        self.by_end.remove(&(entry.expires, *key));
        self.weight -= entry.weight();
    }

    /// Whether the books are right: for tests.
    #[cfg(test)]
    pub(super) fn balances(&self) -> bool {
        let kept = || self.groups.values().flatten();
        let weight: usize = kept().map(|kept| kept.entry.weight()).sum();
        let entries = kept().count();
        weight == self.weight
            && self.groups.values().all(|group| group.capacity() <= SPARE + 4 * group.len())
            && self.groups.values().all(|group| !group.is_empty())
            && [self.places.len(), self.by_use.len(), self.by_end.len()] == [entries; 3]
            && kept().all(|kept| {
                self.by_use.get(&kept.used) == Some(&kept.entry.key)
                    && self.by_end.contains(&(kept.entry.expires, kept.entry.key))
            })
    }
}
