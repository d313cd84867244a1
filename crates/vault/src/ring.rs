//! The unwrapped data keys that are in memory: a bounded ring, least recently used out first.
//!
//! Coherence without a lock held across a wait: whoever reads the keystore notes the ring's
//! generation before, and its finding is remembered only if no key was changed since.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use parking_lot::Mutex;

use crate::{keystore::Head, seal::DataKey};

/// Units whose keys are kept in memory.
const UNITS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
/// Versions that are kept for one unit.
const VERSIONS: usize = 8;

/// What is known of a key version.
pub(crate) enum Found {
    /// It opens.
    Key(Arc<DataKey>),
    /// It was destroyed.
    Shredded,
    /// There was never such a version.
    Never,
}

/// A point in time: see the module.
#[derive(Clone, Copy)]
pub(crate) struct Generation(u64);

struct Cached {
    head: Head,
    keys: Vec<Arc<DataKey>>,
}

struct Inner {
    generation: u64,
    units: LruCache<[u8; 32], Cached>,
}

pub(crate) struct Ring(Mutex<Inner>);

impl Ring {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner { generation: 0, units: LruCache::sparse(UNITS) }))
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation(self.0.lock().generation)
    }

    /// The key that seals now.
    pub(crate) fn current(&self, unit: &[u8; 32]) -> Option<Arc<DataKey>> {
        let mut inner = self.0.lock();
        let cached = inner.units.get(unit)?;
        let current = cached.head.current?;
        cached.keys.iter().find(|key| key.version == current).cloned()
    }

    /// What is known of one version; `None` if the keystore has to be asked.
    pub(crate) fn version(&self, unit: &[u8; 32], version: u32) -> Option<Found> {
        let mut inner = self.0.lock();
        let cached = inner.units.get(unit)?;
        if let Some(key) = cached.keys.iter().find(|key| key.version == version) {
            return Some(Found::Key(key.clone()));
        }
        cached.head.fate(version)
    }

    /// Remembers what was read since `since`, unless a key was changed meanwhile.
    pub(crate) fn remember(
        &self,
        since: Generation,
        unit: &[u8; 32],
        head: Head,
        key: Arc<DataKey>,
    ) {
        let mut inner = self.0.lock();
        if inner.generation != since.0 {
            return;
        }
        let cached = inner.units.get_or_insert_mut(*unit, || Cached { head, keys: Vec::new() });
        cached.head = head;
        if cached.keys.iter().any(|known| known.version == key.version) {
            return;
        }
        if cached.keys.len() == VERSIONS {
            // Not the current one, without which sealing would always wait.
            let out = cached.keys.iter().position(|known| Some(known.version) != head.current);
            cached.keys.swap_remove(out.unwrap_or(0));
        }
        cached.keys.push(key);
    }

    /// Forgets a unit's keys, whose keystore rows were changed.
    pub(crate) fn forget(&self, unit: &[u8; 32]) {
        let mut inner = self.0.lock();
        inner.generation += 1;
        inner.units.pop(unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: u32) -> Arc<DataKey> {
        Arc::new(DataKey::new(version, &[1; 32]))
    }

    fn head(last: u32) -> Head {
        Head { current: Some(last), last, shredded_through: 1 }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered() {
        let (ring, unit) = (Ring::new(), [1; 32]);
        let before = ring.generation();
        ring.forget(&unit);
        ring.remember(before, &unit, head(2), key(2));
        assert!(ring.current(&unit).is_none());
        ring.remember(ring.generation(), &unit, head(2), key(2));
        assert_eq!(ring.current(&unit).unwrap().version, 2);
    }

    #[test]
    fn versions_are_bounded_and_the_current_one_stays() {
        let (ring, unit) = (Ring::new(), [1; 32]);
        for version in (2..=40).rev() {
            ring.remember(ring.generation(), &unit, head(40), key(version));
        }
        assert_eq!(ring.0.lock().units.get(&unit).unwrap().keys.len(), VERSIONS);
        assert_eq!(ring.current(&unit).unwrap().version, 40);
        assert!(matches!(ring.version(&unit, 1), Some(Found::Shredded)));
        assert!(matches!(ring.version(&unit, 41), Some(Found::Never)));
        assert!(ring.version(&unit, 39).is_none());
        assert!(ring.version(&[2; 32], 1).is_none());
    }
}
