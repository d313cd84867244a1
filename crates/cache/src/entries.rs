//! An agent's own results on its shelf.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{CacheKey, Error, KeyParts, Shelf, Version, content};

/// Tells these apart from everything else on a shelf.
const KIND: &str = "agent.cache";

/// Bytes of an entity, at most.
const ENTITY: usize = 255;
/// Bytes of a key, at most.
const KEY: usize = 1_024;
/// Versions of a key, at most.
const VERSIONS: usize = 16;
/// Bytes of a version, at most.
const VERSION: usize = 255;

/// The results that the agents of one workflow keep, as the holder of a scope sees them. From
/// [`Shelf::entries`].
#[must_use]
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a> {
    shelf: Shelf<'a>,
    policy: Version,
    config: Version,
}

/// A result that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it was kept.
    pub value: Bytes,
    /// As it was kept.
    pub content_type: String,
    /// A strong `ETag` in its quotes, of content type and value.
    pub etag: String,
    /// How long ago it was kept.
    pub age: Duration,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} bytes, {:?} old)", self.value.len(), self.age)
    }
}

/// What names a result, within one workflow.
#[derive(Clone, Copy)]
pub struct EntryName<'a> {
    /// The caller's own partition; may be empty.
    pub entity: &'a str,
    /// The key.
    pub key: &'a str,
    /// The caller's versions: of its model, its prompt, its documents. Their order counts.
    pub versions: &'a [&'a str],
}

impl fmt::Debug for EntryName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryName({} bytes, {} versions)", self.key.len(), self.versions.len())
    }
}

impl EntryName<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.key.is_empty() {
            return Err(Error::Invalid("a key is not empty"));
        }
        if self.versions.len() > VERSIONS {
            return Err(Error::Invalid("a key has at most 16 versions"));
        }
        let versions = self.versions.iter().map(|version| ("a version", *version, VERSION));
        let names = [("an entity", self.entity, ENTITY), ("a key", self.key, KEY)];
        for (what, text, bound) in names.into_iter().chain(versions) {
            if text.len() > bound {
                return Err(Error::TooLarge { what, size: text.len(), bound });
            }
        }
        Ok(())
    }
}

impl<'a> Entries<'a> {
    pub(crate) const fn new(shelf: Shelf<'a>, policy: Version, config: Version) -> Self {
        Self { shelf, policy, config }
    }

    /// Keeps a result for `ttl`, no longer than the cache's settings allow, and says its
    /// `ETag`. It may go earlier: it is a cache.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Invalid`]; that it could not be sealed, or not be kept
    /// everywhere: then what was there before may still be found.
    pub async fn put(
        &self,
        name: &EntryName<'_>,
        content_type: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<String, Error> {
        let key = self.key(name)?;
        if ttl < Duration::from_millis(1) {
            return Err(Error::Invalid("a time to live is a millisecond at the least"));
        }
        let plain = content::encode(&[], content_type, value)?;
        let whole = usize::try_from(self.shelf.value_max()).unwrap_or(usize::MAX);
        if plain.len() > whole {
            let bound = whole.saturating_sub(content::overhead(content_type));
            return Err(Error::TooLarge { what: "a value", size: value.len(), bound });
        }
        self.shelf.put_through(&key, &plain, ttl).await?;
        Ok(etag(&plain))
    }

    /// A result, if it is kept. What fails or does not open is not there.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Invalid`], for a name that cannot be.
    pub async fn get(&self, name: &EntryName<'_>) -> Result<Option<Entry>, Error> {
        let Some(hit) = self.shelf.get(&self.key(name)?).await else { return Ok(None) };
        Ok(content::decode(&hit.value).map(|(content_type, value)| Entry {
            value,
            content_type,
            etag: etag(&hit.value),
            age: hit.age,
        }))
    }

    /// Forgets a result: this one with these versions, no other.
    ///
    /// # Errors
    /// As [`Self::get`]; that a tier could not be reached.
    pub async fn delete(&self, name: &EntryName<'_>) -> Result<(), Error> {
        self.shelf.remove(&self.key(name)?).await
    }

    fn key(&self, name: &EntryName<'_>) -> Result<CacheKey, Error> {
        name.check()?;
        let EntryName { entity, key, versions } = *name;
        Ok(self.shelf.key(&KeyParts {
            kind: KIND,
            entity,
            versions,
            policy: self.policy,
            config: self.config,
            request: key.as_bytes(),
        }))
    }
}

/// A strong `ETag`: 128 bits of the hash of the framed content.
fn etag(plain: &[u8]) -> String {
    format!("\"{}\"", ids::text::hex(&blake3::hash(plain).as_bytes()[..16]))
}
