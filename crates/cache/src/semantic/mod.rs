//! Which kept answers are near a question, by the vectors of their texts.
//!
//! The index answers with the key of an answer, never with an answer: what a shelf keeps under
//! that key opens for its owner alone. Each tenant's environment has vectors of its own behind
//! a lock of its own, so that a search looks at nobody else's and waits for nobody else's;
//! within it a [`SemanticKey`] tells apart what may not answer for each other. Searches are
//! exact. All is in memory and gone with the process.
//!
//! Vectors give away much of the text they were made from (Morris et al., "Text Embeddings
//! Reveal (Almost) As Much As Text", 2023): none is logged or shown, and they are overwritten
//! when they are dropped.

mod space;
mod vector;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use ids::{Clock, Millis, planted};
use parking_lot::Mutex;
use scope::{Scope, Write};
use serde::{Deserialize, Serialize};

use self::{
    space::{Entry, Space},
    vector::Unit,
};
use crate::{CacheKey, Error, SemanticKey};

/// Vectors that one write drops at most to keep to the whole; the next write goes on.
const EVICT: usize = 1_024;

/// Tenants whose expired vectors one write drops besides.
const SWEEP: usize = 2;

type Partition = [u8; 32];

/// Bounds of the semantic index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticSettings {
    /// Bytes for one tenant's environment.
    pub bytes_per_tenant: u64,
    /// Bytes over all tenants. When they are used up, whoever has most gives way.
    pub bytes_total: u64,
    /// Vectors that one search compares with, at most.
    pub entries_per_partition: u64,
}

impl Default for SemanticSettings {
    /// 8 MiB a tenant, 64 MiB in all, 512 vectors a search.
    fn default() -> Self {
        Self { bytes_per_tenant: 8 << 20, bytes_total: 64 << 20, entries_per_partition: 512 }
    }
}

impl SemanticSettings {
    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// What contradicts what.
    pub const fn check(&self) -> Result<(), Error> {
        let refused = match self {
            _ if self.bytes_per_tenant > self.bytes_total => {
                "bytes_per_tenant is more than bytes_total"
            }
            _ if self.entries_per_partition > 16_384 => "entries_per_partition is more than 16,384",
            _ => return Ok(()),
        };
        Err(Error::Settings("semantic", refused))
    }
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Where the answer is, if it is still kept.
    pub key: CacheKey,
    /// Cosine of the angle between the two vectors; at most 1.
    pub similarity: f32,
}

/// What the index holds over all tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SemanticCounts {
    /// Tenants' environments.
    pub tenants: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The semantic index of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Semantic {
    inner: Arc<Inner>,
}

struct Inner {
    settings: SemanticSettings,
    clock: Arc<dyn Clock>,
    books: Mutex<Books>,
}

/// Who has how much. Nobody waits for a tenant's lock while holding this one.
#[derive(Default)]
struct Books {
    spaces: HashMap<Partition, Held>,
    /// Every tenant by what it weighs, so that the heaviest is found without a search.
    by_weight: BTreeSet<(usize, Partition)>,
    /// Every tenant by when its first vector ends.
    by_end: BTreeSet<(Millis, Partition)>,
    weight: usize,
}

struct Held {
    space: Arc<Mutex<Space>>,
    weight: usize,
    end: Option<Millis>,
}

impl Books {
    /// Writes down how a space stands, and lets go of one that is empty.
    fn update(&mut self, partition: &Partition, space: &mut Space) {
        let Some(held) = self.spaces.get_mut(partition) else { return };
        let (before, was_end) = (held.weight, held.end);
        (held.weight, held.end) = (space.weight(), space.first_end());
        let (after, end) = (held.weight, held.end);
        self.weight = self.weight + after - before;
        if before != after {
            self.by_weight.remove(&(before, *partition));
            self.by_weight.insert((after, *partition));
        }
        if was_end != end {
            was_end.map(|end| self.by_end.remove(&(end, *partition)));
            end.map(|end| self.by_end.insert((end, *partition)));
        }
        if after == 0 {
            self.by_weight.remove(&(0, *partition));
            self.spaces.remove(partition);
            space.close();
        }
    }
}

impl Semantic {
    /// An empty index.
    #[must_use]
    pub fn new(settings: SemanticSettings, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { settings, clock, books: Mutex::default() }) }
    }

    /// The one doorway: what this scope may see.
    pub const fn of<'a>(&'a self, scope: &'a Scope<Write>) -> Neighbours<'a> {
        Neighbours { index: self, scope }
    }

    /// Forgets everything of a tenant's environment, by what its partition derives from
    /// ([`Scope::partition_bytes`]): at an erasure there may be no scope any more. It can only
    /// take away. [`crate::Shelf::clear`] does not: whoever clears a shelf calls this, too.
    pub fn forget_tenant(&self, partition: &[u8; 32]) {
        let partition = &whose(partition);
        self.change(partition, Space::clear);
    }

    /// What the index holds.
    #[must_use]
    pub fn counts(&self) -> SemanticCounts {
        let books = self.inner.books.lock();
        SemanticCounts { tenants: books.spaces.len() as u64, bytes: books.weight as u64 }
    }

    fn find(
        &self,
        partition: &Partition,
        key: &SemanticKey,
        vector: &[f32],
        threshold: f32,
    ) -> Option<Near> {
        let asked = Unit::of(vector).filter(|_| threshold.is_finite())?;
        let now = self.inner.clock.now();
        self.change(&whose(partition), |space| {
            space.drop_expired(now);
            space.find(key, &asked, threshold, now)
        })?
    }

    fn add(&self, partition: &Partition, key: &SemanticKey, vector: &[f32], entry: Entry) -> bool {
        let partition = &whose(partition);
        let bound = |setting: u64| usize::try_from(setting).unwrap_or(usize::MAX);
        let settings = &self.inner.settings;
        let (most, total) = (bound(settings.bytes_per_tenant), bound(settings.bytes_total));
        let entries = bound(settings.entries_per_partition);
        let now = self.inner.clock.now();
        let entry = Unit::of(vector).map(|vector| entry.with(vector));
        let Some(entry) = entry.filter(|entry| entry.fits(most.min(total)) && entries > 0) else {
            return false;
        };
        if !entry.is_live(now) {
            return false;
        }
        self.make(partition, |space| {
            space.drop_expired(now);
            space.add(*key, entry, entries, most);
        });
        self.sweep(now);
        self.make_room(total);
        true
    }

    /// Changes a tenant's space, if it has one.
    fn change<T>(&self, partition: &Partition, change: impl FnOnce(&mut Space) -> T) -> Option<T> {
        let space = Arc::clone(&self.inner.books.lock().spaces.get(partition)?.space);
        let mut space = space.lock();
        let done = change(&mut space);
        if space.is_open() {
            self.inner.books.lock().update(partition, &mut space);
        }
        Some(done)
    }

    /// Changes a tenant's space, and makes it first if there is none.
    fn make(&self, partition: &Partition, change: impl FnOnce(&mut Space)) {
        loop {
            let space = Arc::clone(
                &self
                    .inner
                    .books
                    .lock()
                    .spaces
                    .entry(*partition)
                    .or_insert_with(|| Held { space: Arc::default(), weight: 0, end: None })
                    .space,
            );
            let mut space = space.lock();
            // Emptied and let go between the two locks: there is a new one, or none.
            if space.is_open() {
                change(&mut space);
                self.inner.books.lock().update(partition, &mut space);
                return;
            }
        }
    }

    /// Drops what has ended with tenants that do not come back.
    fn sweep(&self, now: Millis) {
        for _ in 0..SWEEP {
            let first = self.inner.books.lock().by_end.first().copied();
            match first {
                Some((end, partition)) if end <= now => {
                    self.change(&partition, |space| space.drop_expired(now));
                }
                _ => return,
            }
        }
    }

    /// The heaviest weighs at least the average, and the average is above the fair share as
    /// long as the whole is: nobody at or under a fair share loses anything.
    fn make_room(&self, total: usize) {
        for _ in 0..EVICT {
            let heaviest = {
                let books = self.inner.books.lock();
                books.by_weight.last().filter(|_| books.weight > total).map(|(_, whose)| *whose)
            };
            let Some(heaviest) = heaviest else { return };
            self.change(&heaviest, Space::evict);
        }
    }
}

/// Whose vectors: the partition, always.
fn whose(partition: &Partition) -> Partition {
    if planted::is("semantic-index-across-tenants") {
        return [0; 32];
    }
    *partition
}

impl fmt::Debug for Semantic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Semantic({:?})", self.counts())
    }
}

/// The vectors of one tenant's environment, as the holder of a scope sees them.
#[must_use]
#[derive(Clone, Copy)]
pub struct Neighbours<'a> {
    index: &'a Semantic,
    scope: &'a Scope<Write>,
}

impl Neighbours<'_> {
    /// The nearest of those that were added under this key, if it is at least as near as
    /// `threshold`. A vector of another length is never near; one that is not finite, or has
    /// no direction, has no neighbours.
    #[must_use]
    pub fn find(&self, partition: &SemanticKey, vector: &[f32], threshold: f32) -> Option<Near> {
        self.index.find(self.scope.partition_bytes(), partition, vector, threshold)
    }

    /// Adds the vector of what is kept under `key` until `expires`, and says whether it did.
    /// An answer has one vector: an earlier one goes. What must make room for it is the
    /// tenant's own that was of no use for longest, or another's above its fair share.
    pub fn add(
        &self,
        partition: &SemanticKey,
        vector: &[f32],
        key: CacheKey,
        expires: Millis,
    ) -> bool {
        // Revoked or erased since the question was asked: nothing comes back.
        if self.scope.live().is_err() {
            return false;
        }
        let entry = Entry::new(key, expires);
        let added = self.index.add(self.scope.partition_bytes(), partition, vector, entry);
        // Ended between the two: whoever cleared then may have come too early for this one.
        if self.scope.live().is_err() {
            self.clear();
            return false;
        }
        added
    }

    /// Forgets the vector of an answer: its key turned out to hold nothing, or was removed.
    pub fn forget(&self, key: &CacheKey) {
        let partition = whose(self.scope.partition_bytes());
        self.index.change(&partition, |space| space.forget(key));
    }

    /// Forgets all vectors of this tenant's environment.
    pub fn clear(&self) {
        self.index.forget_tenant(self.scope.partition_bytes());
    }
}

impl fmt::Debug for Neighbours<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Neighbours({:?})", self.scope)
    }
}

#[cfg(test)]
mod tests;
