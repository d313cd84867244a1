//! What all shelves share.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ids::Clock;
use parking_lot::Mutex;
use scope::{Read, Scope, Write};
use store::Store;
use tokio::sync::watch;
use vault::Vault;
use zeroize::Zeroizing;

use crate::{Backend, Disk, Error, Memory, Settings, Shelf, Stamps, flight::Flights};

/// Told when a tier answers with bytes that are not the shelf's: the database lied, or
/// somebody wrote where only we write.
pub trait Alarm: Send + Sync + fmt::Debug {
    /// Bytes that do not open turned up on this scope's hop. They were not handed out.
    fn foreign_bytes(&self, scope: &Scope<Read>, surface: &'static str);
}

/// Raises the alarm in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogAlarm;

impl Alarm for LogAlarm {
    fn foreign_bytes(&self, scope: &Scope<Read>, surface: &'static str) {
        tracing::error!(
            tenant = scope.tenant().as_str(),
            environment = scope.environment().as_str(),
            surface,
            code = "vault.foreign",
            "bytes that are not this tenant's turned up and were not opened"
        );
    }
}

/// What happened since the start, over all shelves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
    /// Values that were kept.
    pub kept: u64,
    /// Answers of a tier that did not open: each one a security event.
    pub foreign: u64,
    /// Reads and writes that a tier failed.
    pub failed: u64,
    /// Bytes that the memory tier holds.
    pub memory_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) failed: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The cache of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    /// Quickest first. A write waits for the first one only, unless it has to be through.
    pub(crate) tiers: Vec<Arc<dyn Backend>>,
    memory: Option<Arc<Memory>>,
    pub(crate) vault: Vault,
    pub(crate) secret: Zeroizing<[u8; 32]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) alarm: Arc<dyn Alarm>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) counters: Counters,
    pub(crate) behind: Arc<Behind>,
    pub(crate) stamps: Stamps,
}

/// What is kept where.
struct Tiers {
    tiers: Vec<Arc<dyn Backend>>,
    /// The one of them that says what it weighs, if there is one.
    memory: Option<Arc<Memory>>,
    /// Which those of them that outlive the process look at, too.
    stamps: Stamps,
}

impl Cache {
    /// The cache with its two tiers, memory and disk. `secret` is the vault's subkey for cache
    /// keys: it outlives the process and is no other's.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn open(
        settings: Settings,
        store: &Store,
        vault: &Vault,
        secret: Zeroizing<[u8; 32]>,
        clock: Arc<dyn Clock>,
        alarm: Arc<dyn Alarm>,
    ) -> Result<Self, Error> {
        let memory = Arc::new(Memory::new(&settings, Arc::clone(&clock)));
        let stamps = Stamps::default();
        let mut tiers: Vec<Arc<dyn Backend>> = vec![Arc::clone(&memory) as _];
        if settings.disk_bytes_per_tenant > 0 {
            tiers.push(Arc::new(Disk::new(&settings, store.clone(), stamps.clone())));
        }
        let tiers = Tiers { tiers, memory: Some(memory), stamps };
        Self::over_these(settings, tiers, vault, secret, clock, alarm)
    }

    /// The cache over other tiers, quickest first.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn over(
        settings: Settings,
        tiers: Vec<Arc<dyn Backend>>,
        vault: &Vault,
        secret: Zeroizing<[u8; 32]>,
        clock: Arc<dyn Clock>,
        alarm: Arc<dyn Alarm>,
    ) -> Result<Self, Error> {
        let tiers = Tiers { tiers, memory: None, stamps: Stamps::default() };
        Self::over_these(settings, tiers, vault, secret, clock, alarm)
    }

    fn over_these(
        settings: Settings,
        Tiers { tiers, memory, stamps }: Tiers,
        vault: &Vault,
        secret: Zeroizing<[u8; 32]>,
        clock: Arc<dyn Clock>,
        alarm: Arc<dyn Alarm>,
    ) -> Result<Self, Error> {
        settings.check()?;
        let inner = Inner {
            settings,
            tiers,
            memory,
            vault: vault.clone(),
            secret,
            clock,
            alarm,
            flights: Arc::default(),
            counters: Counters::default(),
            behind: Arc::default(),
            stamps,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The one doorway: the shelf of this scope.
    pub const fn of<'a>(&'a self, scope: &'a Scope<Write>) -> Shelf<'a> {
        Shelf::new(self, scope)
    }

    /// What happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Counters { hits, misses, kept, foreign, failed } = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            hits: read(hits),
            misses: read(misses),
            kept: read(kept),
            foreign: read(foreign),
            failed: read(failed),
            memory_bytes: self.inner.memory.as_ref().map_or(0, |memory| memory.weight()),
        }
    }

    /// Waits until no write to a slower tier is under way.
    pub async fn settled(&self) {
        self.inner.behind.settled(None).await;
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("tiers", &self.inner.tiers).finish_non_exhaustive()
    }
}

/// Bytes that wait to be written to the slower tiers. Bounded, and bounded for each shelf, so
/// that a tenant that floods loses its own writes and nobody else's.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    waiting: Mutex<Waiting>,
    writes: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    by_shelf: HashMap<[u8; 32], usize>,
}

impl Behind {
    const TOTAL: usize = 64 << 20;
    const PER_SHELF: usize = 8 << 20;

    /// A place for so many bytes, unless too many wait.
    pub(crate) fn reserve(self: &Arc<Self>, shelf: &[u8; 32], bytes: usize) -> Option<Place> {
        let mut waiting = self.waiting.lock();
        let of_shelf = waiting.by_shelf.get(shelf).copied().unwrap_or(0);
        if waiting.total + bytes > Self::TOTAL || of_shelf + bytes > Self::PER_SHELF {
            return None;
        }
        waiting.total += bytes;
        waiting.by_shelf.insert(*shelf, of_shelf + bytes);
        drop(waiting);
        self.writes.send_modify(|writes| *writes += 1);
        Some(Place { behind: Arc::clone(self), shelf: *shelf, bytes })
    }

    /// Waits until no write is under way, or none of one shelf.
    pub(crate) async fn settled(&self, shelf: Option<&[u8; 32]>) {
        let idle = |writes: &usize| {
            shelf.map_or(*writes == 0, |shelf| !self.waiting.lock().by_shelf.contains_key(shelf))
        };
        // The sender lives in `self`, so this cannot end for want of one.
        let _ = self.writes.subscribe().wait_for(idle).await;
    }
}

/// Given back when the write has ended, or was dropped.
pub(crate) struct Place {
    behind: Arc<Behind>,
    shelf: [u8; 32],
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.behind.waiting.lock();
        waiting.total -= self.bytes;
        if let Some(of_shelf) = waiting.by_shelf.get_mut(&self.shelf) {
            *of_shelf -= self.bytes;
            if *of_shelf == 0 {
                waiting.by_shelf.remove(&self.shelf);
            }
        }
        drop(waiting);
        self.behind.writes.send_modify(|writes| *writes -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_writes_loses_its_own_only() {
        let behind = Arc::<Behind>::default();
        let held: Vec<_> =
            std::iter::from_fn(|| behind.reserve(&[1; 32], 1 << 20)).take(100).collect();
        assert_eq!(held.len(), Behind::PER_SHELF >> 20);
        assert!(behind.reserve(&[2; 32], 1 << 20).is_some());
        drop(held);
        assert!(behind.waiting.lock().by_shelf.is_empty());
        assert_eq!(*behind.writes.borrow(), 0);
    }
}
