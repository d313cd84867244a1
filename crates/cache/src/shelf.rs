//! What one scope sees of the cache.

use std::{fmt, time::Duration};

use bytes::Bytes;
use ids::{Millis, planted};
use scope::{Scope, Write};
use vault::Place;

use crate::{
    Cache, CacheKey, Entries, Error, Follower, KeyParts, Leader, SemanticKey, Stamp, Usage,
    Version, cache::count, flight::Joined,
};

/// Names the surface in the associated data of what is sealed.
const SURFACE: &str = "cache";

/// What stands before a value under the seal: the stamp of when it was kept, and until when in
/// Unix milliseconds; big-endian.
const HEAD: usize = 16;

/// What a tier's bytes turned out to be.
enum Opened {
    /// What was kept here, since when and until when.
    Good(Hit, Stamp, Millis),
    /// Not what was kept here, or too old.
    Useless,
    /// Nobody can say at the moment.
    Unknown,
}

/// What a tier is given.
#[derive(Clone)]
struct Kept {
    sealed: Bytes,
    stamp: Stamp,
    expires: Millis,
}

/// Something that was found.
#[derive(Clone)]
pub struct Hit {
    /// As it was kept.
    pub value: Bytes,
    /// How long ago that was.
    pub age: Duration,
}

impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hit({} bytes, {:?} old)", self.value.len(), self.age)
    }
}

/// What [`Shelf::seek`] found.
#[derive(Debug)]
pub enum Found {
    /// The value.
    Hit(Hit),
    /// Nothing, and nobody is getting it: do the work.
    Lead(Leader),
    /// Nothing, and somebody is getting it.
    Follow(Follower),
}

/// The cache of one tenant's environment, as the holder of a scope sees it.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub struct Shelf<'a> {
    cache: &'a Cache,
    scope: &'a Scope<Write>,
}

impl<'a> Shelf<'a> {
    pub(crate) const fn new(cache: &'a Cache, scope: &'a Scope<Write>) -> Self {
        Self { cache, scope }
    }

    /// The key of something on this shelf.
    #[must_use]
    pub fn key(&self, parts: &KeyParts<'_>) -> CacheKey {
        CacheKey::new(&self.cache.inner.secret, self.scope, parts)
    }

    /// The key of the things that may answer for each other in the semantic index. The
    /// request's part is everything of it but what is compared by its meaning.
    #[must_use]
    pub fn partition(&self, parts: &KeyParts<'_>) -> SemanticKey {
        SemanticKey::new(&self.cache.inner.secret, self.scope, parts)
    }

    /// What the agents themselves keep here, under these policies and this configuration.
    pub const fn entries(self, policy: Version, config: Version) -> Entries<'a> {
        Entries::new(self, policy, config)
    }

    /// Bytes of the largest value that is kept.
    pub(crate) fn value_max(&self) -> u64 {
        self.cache.inner.settings.value_max_bytes
    }

    /// Reads. What fails or does not open is a miss.
    pub async fn get(&self, key: &CacheKey) -> Option<Hit> {
        let inner = &self.cache.inner;
        for (i, tier) in inner.tiers.iter().enumerate() {
            // What is kept from here on is no longer what was read.
            let asked = inner.stamps.latest();
            let sealed = match tier.get(self.scope, key).await {
                Ok(Some(sealed)) => sealed,
                Ok(None) => continue,
                Err(Error::Store(store::Error::ForeignRow)) => {
                    self.foreign();
                    continue;
                }
                Err(error) => {
                    self.failed(tier.name(), &error);
                    continue;
                }
            };
            let (hit, stamp, expires) = match self.open(key, &sealed).await {
                Opened::Good(hit, stamp, expires) => (hit, inner.stamps.seen(stamp), expires),
                Opened::Unknown => continue,
                Opened::Useless => {
                    if let Err(error) = tier.delete(self.scope, key, asked).await {
                        self.failed(tier.name(), &error);
                    }
                    continue;
                }
            };
            for quicker in &inner.tiers[..i] {
                let put = quicker.put(self.scope, key, sealed.clone(), stamp, expires);
                if let Err(error) = put.await {
                    self.failed(quicker.name(), &error);
                }
            }
            count(&inner.counters.hits);
            return Some(hit);
        }
        count(&inner.counters.misses);
        None
    }

    /// Reads, and if there is nothing that is fresh enough, joins the flight that gets it.
    /// `oldest` is the greatest age that will do.
    pub async fn seek(&self, key: &CacheKey, oldest: Option<Duration>) -> Found {
        let fresh = |hit: &Hit| oldest.is_none_or(|oldest| hit.age <= oldest);
        let flights = &self.cache.inner.flights;
        let landed = flights.landed();
        if let Some(hit) = self.get(key).await.filter(fresh) {
            return Found::Hit(hit);
        }
        match flights.join(self.scope.partition_bytes(), key) {
            Joined::Follow(follower) => Found::Follow(follower),
            Joined::Lead(leader) if flights.landed() == landed => Found::Lead(leader),
            // A flight landed between looking and joining; it may have been this one.
            Joined::Lead(leader) => match self.get(key).await.filter(fresh) {
                Some(hit) => {
                    leader.kept();
                    Found::Hit(hit)
                }
                None => Found::Lead(leader),
            },
        }
    }

    /// Keeps a value for `ttl`, within the bounds of the settings. Returns whether it was kept;
    /// from then on it is found. Slower tiers get it in the background.
    ///
    /// # Errors
    /// It could not be sealed. Nothing unsealed is ever kept.
    pub async fn put(&self, key: &CacheKey, value: &[u8], ttl: Duration) -> Result<bool, Error> {
        let inner = &self.cache.inner;
        let Some(kept) = self.sealed(key, value, ttl).await? else { return Ok(false) };
        let Some((quickest, slower)) = inner.tiers.split_first() else { return Ok(false) };
        let Kept { sealed, stamp, expires } = kept.clone();
        if let Err(error) = quickest.put(self.scope, key, sealed, stamp, expires).await {
            self.failed(quickest.name(), &error);
        }
        if !slower.is_empty() {
            self.put_behind(*key, kept);
        }
        count(&inner.counters.kept);
        Ok(true)
    }

    /// Keeps a value as [`Self::put`] does, in every tier before it returns: what it replaces
    /// is nowhere found again.
    ///
    /// # Errors
    /// It could not be sealed, or a tier failed; then what was there before may still be found.
    pub async fn put_through(
        &self,
        key: &CacheKey,
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, Error> {
        let inner = &self.cache.inner;
        let Some(kept) = self.sealed(key, value, ttl).await? else { return Ok(false) };
        // The slowest first: whatever is found later is no older than what was found before.
        for tier in inner.tiers.iter().rev() {
            let Kept { sealed, stamp, expires } = kept.clone();
            let put = tier.put(self.scope, key, sealed, stamp, expires).await;
            put.inspect_err(|error| self.failed(tier.name(), error))?;
        }
        count(&inner.counters.kept);
        Ok(true)
    }

    /// A value, ready to be kept; nothing if the bounds do not allow it.
    async fn sealed(
        &self,
        key: &CacheKey,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Option<Kept>, Error> {
        let settings = &self.cache.inner.settings;
        let ttl = ttl.min(settings.ttl_max());
        if ttl.is_zero() || value.len() as u64 > settings.value_max_bytes {
            return Ok(None);
        }
        let stamp = self.stamp();
        let expires = stamp.moment().plus(ttl);
        let sealed = self.seal(key, value, stamp, expires).await?;
        Ok(Some(Kept { sealed, stamp, expires }))
    }

    /// Forgets a key in every tier.
    ///
    /// # Errors
    /// A tier could not be reached; the others were.
    pub async fn remove(&self, key: &CacheKey) -> Result<(), Error> {
        let (stamp, mut outcome) = (self.stamp(), Ok(()));
        for tier in self.cache.inner.tiers.iter().rev() {
            outcome = outcome.and(tier.delete(self.scope, key, stamp).await);
        }
        outcome
    }

    /// Forgets the whole shelf in every tier, and says how much that was in the fullest one.
    ///
    /// # Errors
    /// A tier could not be reached; the others were.
    pub async fn clear(&self) -> Result<Usage, Error> {
        self.cache.inner.behind.settled(Some(self.scope.partition_bytes())).await;
        let mut outcome = Ok(Usage::default());
        for tier in &self.cache.inner.tiers {
            let gone = tier.clear(self.scope).await;
            outcome = outcome.and_then(|so_far| Ok(fuller(so_far, gone?)));
        }
        outcome
    }

    /// How much the shelf holds in its fullest tier.
    ///
    /// # Errors
    /// A tier cannot be reached.
    pub async fn usage(&self) -> Result<Usage, Error> {
        let mut most = Usage::default();
        for tier in &self.cache.inner.tiers {
            most = fuller(most, tier.usage(self.scope).await?);
        }
        Ok(most)
    }

    /// A newer one than any before, over all shelves.
    fn stamp(&self) -> Stamp {
        self.cache.inner.stamps.draw(self.cache.inner.clock.now())
    }

    fn put_behind(&self, key: CacheKey, kept: Kept) {
        let inner = &self.cache.inner;
        let size = kept.sealed.len();
        let Some(place) = inner.behind.reserve(self.scope.partition_bytes(), size) else {
            count(&inner.counters.failed);
            return;
        };
        let cache = self.cache.clone();
        drop(self.scope.spawn(move |scope| async move {
            // Revoked or erased since: nothing more is written for it.
            if scope.live().is_ok() {
                let shelf = cache.of(&scope);
                for tier in &cache.inner.tiers[1..] {
                    let Kept { sealed, stamp, expires } = kept.clone();
                    if let Err(error) = tier.put(&scope, &key, sealed, stamp, expires).await {
                        shelf.failed(tier.name(), &error);
                    }
                }
            }
            drop(place);
        }));
    }

    async fn seal(
        &self,
        key: &CacheKey,
        value: &[u8],
        stamp: Stamp,
        expires: Millis,
    ) -> Result<Bytes, Error> {
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(HEAD + value.len()));
        plain.extend_from_slice(&stamp.0.to_be_bytes());
        plain.extend_from_slice(&expires.0.to_be_bytes());
        plain.extend_from_slice(value);
        if planted::is("cache-value-unsealed") {
            return Ok(Bytes::from(std::mem::take(&mut *plain)));
        }
        let sealer = self.cache.inner.vault.of(self.scope);
        Ok(Bytes::from(sealer.seal(&place(key), &plain).await?))
    }

    /// Opens and dates.
    async fn open(&self, key: &CacheKey, sealed: &Bytes) -> Opened {
        let inner = &self.cache.inner;
        let plain = if planted::is("cache-value-unsealed") {
            sealed.clone()
        } else {
            match inner.vault.of(self.scope).open(&place(key), sealed).await {
                Ok(plain) => Bytes::from_owner(plain),
                Err(vault::Error::Foreign | vault::Error::Malformed(_)) => {
                    self.foreign();
                    return Opened::Useless;
                }
                Err(error) => {
                    self.failed("vault", &Error::Vault(error));
                    return Opened::Unknown;
                }
            }
        };
        let number = |at: usize| {
            let bytes = plain.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_be_bytes(bytes))
        };
        let (Some(stamp), Some(expires)) = (number(0), number(8)) else {
            return Opened::Useless;
        };
        let (stamp, expires) = (Stamp(stamp), Millis(expires));
        let now = inner.clock.now();
        let age = now.since(stamp.moment());
        if now >= expires || age >= inner.settings.ttl_max() {
            return Opened::Useless;
        }
        Opened::Good(Hit { value: plain.slice(HEAD..), age }, stamp, expires)
    }

    /// Somebody else's bytes turned up: a security event.
    fn foreign(&self) {
        count(&self.cache.inner.counters.foreign);
        self.cache.inner.alarm.foreign_bytes(&self.scope.read_only(), SURFACE);
    }

    fn failed(&self, tier: &'static str, error: &Error) {
        count(&self.cache.inner.counters.failed);
        tracing::warn!(
            tenant = self.scope.tenant().as_str(),
            environment = self.scope.environment().as_str(),
            tier,
            code = error.code(),
            error = error as &dyn std::error::Error,
            "a tier of the cache failed"
        );
    }
}

fn place(key: &CacheKey) -> Place<'_> {
    Place { surface: SURFACE, key: key.as_bytes(), version: 1 }
}

fn fuller(a: Usage, b: Usage) -> Usage {
    Usage { entries: a.entries.max(b.entries), bytes: a.bytes.max(b.bytes) }
}
