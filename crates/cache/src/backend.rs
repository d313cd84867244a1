//! A tier: something that keeps sealed bytes under a key.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use ids::{BoxFuture, Millis};
use scope::{Scope, Write};

use crate::{CacheKey, Error};

/// Tells of two values under one key which is the newer, also if both were kept in the same
/// millisecond: Unix milliseconds in the upper 44 bits, then a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    const COUNT: u32 = 20;

    /// The first one of a moment.
    #[must_use]
    pub const fn at(moment: Millis) -> Self {
        Self(moment.0 << Self::COUNT)
    }

    /// When it was drawn, or a little before.
    #[must_use]
    pub const fn moment(self) -> Millis {
        Millis(self.0 >> Self::COUNT)
    }
}

/// Draws stamps, each newer than those before. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stamps(Arc<AtomicU64>);

impl Stamps {
    /// A newer one than any before.
    #[must_use]
    pub fn draw(&self, now: Millis) -> Stamp {
        let now = Stamp::at(now).0;
        let next = |latest: u64| now.max(latest.saturating_add(1));
        let draw = |latest| Some(next(latest));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, draw);
        Stamp(before.map_or(now, next))
    }

    /// The one that was drawn last.
    #[must_use]
    pub fn latest(&self) -> Stamp {
        Stamp(self.0.load(Ordering::Relaxed))
    }

    /// As old as it is: what bears a stamp that is still to be drawn here was kept before the
    /// process began, by a clock that was ahead.
    #[must_use]
    pub fn seen(&self, stamp: Stamp) -> Stamp {
        if stamp > self.latest() { Stamp::default() } else { stamp }
    }
}

/// How much one shelf holds in a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Values.
    pub entries: u64,
    /// Bytes, sealing and keys included.
    pub bytes: u64,
}

/// A tier. It sees sealed bytes only and need not be trusted: an answer that is not the one
/// asked for does not open.
///
/// Whose shelf it is comes from the scope; no method takes a name for it.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Its name in the log.
    fn name(&self) -> &'static str;

    /// What is kept under a key. Expired and never kept are the same.
    ///
    /// # Errors
    /// The backend cannot answer; the caller treats that as a miss.
    fn get<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Error>>;

    /// Keeps sealed bytes until a moment, if they fit. Whatever else must go to make room goes
    /// from the same shelf, or from one that holds more than its fair share. A newer value or
    /// removal stays: writes may come in another order than they were made.
    ///
    /// # Errors
    /// The backend cannot keep them; nothing depends on that it does.
    fn put<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
        sealed: Bytes,
        stamp: Stamp,
        expires: Millis,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Forgets a key, as of this stamp.
    ///
    /// # Errors
    /// The backend cannot be reached.
    fn delete<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
        stamp: Stamp,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Forgets the whole shelf.
    ///
    /// # Errors
    /// The backend cannot be reached, or forgot only a part.
    fn clear<'a>(&'a self, scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>>;

    /// How much the shelf holds.
    ///
    /// # Errors
    /// The backend cannot be reached.
    fn usage<'a>(&'a self, scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>>;
}
