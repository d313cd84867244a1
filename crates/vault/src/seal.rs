//! Sealed bytes: their format, and the sealer of one owner.
//!
//! ```text
//! 0xB1 ‖ data key version, u32 big-endian ‖ nonce, 24 bytes ‖ ciphertext ‖ tag, 16 bytes
//! ```
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): its 192-bit nonce may be drawn at random for
//! the lifetime of a key. The associated data frames tenant, environment, surface, record
//! key, version and key version, so that bytes open in the place they were sealed for, and
//! nowhere else.

use std::{marker::PhantomData, sync::Arc};

use chacha20poly1305::{AeadInPlace as _, KeyInit as _, XChaCha20Poly1305};
use ids::{Entropy, frame::Frame};
use scope::{Access, Read, Scope, Status};
use zeroize::Zeroizing;

use crate::{Error, Plain, Vault, ring::Found};

const MAGIC: u8 = 0xB1;
const VERSION_AT: usize = 1;
const NONCE_AT: usize = VERSION_AT + 4;
const TEXT_AT: usize = NONCE_AT + 24;
const TAG: usize = 16;

/// By how many bytes sealed bytes are longer than what was sealed.
pub const OVERHEAD: usize = TEXT_AT + TAG;

/// The place that bytes are sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose table it is: `cache`, `event`, `audit`, …
    pub surface: &'static str,
    /// The key of the record there.
    pub key: &'a [u8],
    /// The version of the record, or 0.
    pub version: u64,
}

/// An unwrapped data key. The cipher zeroizes its key when dropped.
pub(crate) struct DataKey {
    pub(crate) version: u32,
    cipher: XChaCha20Poly1305,
}

impl DataKey {
    pub(crate) fn new(version: u32, key: &[u8; 32]) -> Self {
        Self { version, cipher: XChaCha20Poly1305::new(key.into()) }
    }

    fn seal(
        &self,
        unit: &Unit<'_>,
        place: &Place<'_>,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.push(MAGIC);
        sealed.extend_from_slice(&self.version.to_be_bytes());
        let mut nonce = [0; TEXT_AT - NONCE_AT];
        entropy.fill(&mut nonce);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .cipher
            .encrypt_in_place_detached(
                (&nonce).into(),
                &unit.bound(place, self.version),
                &mut sealed[TEXT_AT..],
            )
            .map_err(|_| Error::Malformed("longer than can be sealed at once"))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    fn open(&self, unit: &Unit<'_>, place: &Place<'_>, sealed: &[u8]) -> Result<Plain, Error> {
        let (head, tag) = sealed.split_at(sealed.len() - TAG);
        let mut text = Zeroizing::new(head[TEXT_AT..].to_vec());
        self.cipher
            .decrypt_in_place_detached(
                head[NONCE_AT..TEXT_AT].into(),
                &unit.bound(place, self.version),
                &mut text,
                tag.into(),
            )
            .map_err(|_| Error::Foreign)?;
        Ok(Plain::new(text))
    }
}

/// The key version that sealed bytes name, if they have the form of sealed bytes.
fn version_of(sealed: &[u8]) -> Result<u32, Error> {
    if sealed.len() < OVERHEAD || sealed[0] != MAGIC {
        return Err(Error::Foreign);
    }
    let mut version = [0; 4];
    version.copy_from_slice(&sealed[VERSION_AT..NONCE_AT]);
    Ok(u32::from_be_bytes(version))
}

/// Whom a data key belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Unit<'a> {
    pub(crate) id: &'a [u8; 32],
    pub(crate) tenant: &'a str,
    pub(crate) environment: &'a str,
}

/// The deployment's own unit. A tenant's id is a hash, and no tenant has an empty name.
pub(crate) const DEPLOYMENT: Unit<'static> =
    Unit { id: b"bulkhead: the deployment's own. ", tenant: "", environment: "" };

impl<'a> Unit<'a> {
    pub(crate) fn of<A: Access>(scope: &'a Scope<A>) -> Self {
        if ids::planted::is("vault-aad-without-tenant") {
            return DEPLOYMENT;
        }
        Self {
            id: scope.partition_bytes(),
            tenant: scope.tenant().as_str(),
            environment: scope.environment().as_str(),
        }
    }

    /// The associated data.
    fn bound(&self, place: &Place<'_>, key_version: u32) -> Vec<u8> {
        let Place { surface, key, version } = place;
        Frame::new("bulkhead.seal.v1")
            .field(self.tenant)
            .field(self.environment)
            .field(surface)
            .field(key)
            .u64(*version)
            .u64(key_version.into())
            .finish()
    }
}

/// Whose keys are used, and whether there still is anybody.
pub(crate) trait Owner: Send + Sync {
    /// The owner's scope, for a task of its own.
    fn reader(&self) -> Scope<Read>;
}

impl<A: Access> Owner for Scope<A> {
    fn reader(&self) -> Scope<Read> {
        self.read_only()
    }
}

/// Refuses to make a key for whom an erasure has ended: nothing of theirs may come back.
pub(crate) fn not_erased(scope: &Scope<Read>) -> Result<(), Error> {
    match scope.tenant_record().status {
        Status::Erased => Err(Error::Shredded),
        Status::Active | Status::Suspended => Ok(()),
    }
}

/// Seals and opens the bytes of one tenant in one environment.
#[must_use]
#[derive(Clone, Copy)]
pub struct Sealer<'a> {
    vault: &'a Vault,
    unit: Unit<'a>,
    /// Nobody but the deployment itself has none.
    owner: Option<&'a dyn Owner>,
}

impl<'a> Sealer<'a> {
    pub(crate) const fn new(
        vault: &'a Vault,
        unit: Unit<'a>,
        owner: Option<&'a dyn Owner>,
    ) -> Self {
        Self { vault, unit, owner }
    }

    /// Seals. The first time makes the owner's data key, durably, before it is used.
    ///
    /// # Errors
    /// What the keystore answers; [`Error::Shredded`] if the owner was erased and has no key.
    pub async fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Error> {
        if let Some(sealed) = self.try_seal(place, plain) {
            return sealed;
        }
        let owner = self.owner.map(Owner::reader);
        let key = self.vault.current_key(self.unit.id, owner).await?;
        key.seal(&self.unit, place, plain, self.vault.entropy())
    }

    /// Opens.
    ///
    /// # Errors
    /// [`Error::Foreign`] for bytes of another owner, another place, changed ones, and what are
    /// no sealed bytes at all (counted); [`Error::Shredded`] when their key was destroyed;
    /// [`Error::NoRoot`] or what the keystore answers.
    pub async fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Plain, Error> {
        if let Some(opened) = self.try_open(place, sealed) {
            return opened;
        }
        // `try_open` has answered for bytes without a version.
        let found = self.vault.key_of(self.unit.id, version_of(sealed)?).await?;
        self.open_with(found, place, sealed)
    }

    /// Seals without waiting; `None` if the data key is not in memory, and then
    /// [`Sealer::seal`] does.
    #[must_use]
    pub fn try_seal(&self, place: &Place<'_>, plain: &[u8]) -> Option<Result<Vec<u8>, Error>> {
        let key = self.vault.ring().current(self.unit.id)?;
        Some(key.seal(&self.unit, place, plain, self.vault.entropy()))
    }

    /// Opens without waiting; `None` if the data key is not in memory, and then
    /// [`Sealer::open`] does.
    #[must_use]
    pub fn try_open(&self, place: &Place<'_>, sealed: &[u8]) -> Option<Result<Plain, Error>> {
        let version = match version_of(sealed) {
            Ok(version) => version,
            Err(error) => return Some(Err(self.noted(error))),
        };
        let found = self.vault.ring().version(self.unit.id, version)?;
        Some(self.open_with(found, place, sealed))
    }

    fn open_with(&self, found: Found, place: &Place<'_>, sealed: &[u8]) -> Result<Plain, Error> {
        match found {
            Found::Key(key) => key.open(&self.unit, place, sealed),
            Found::Shredded => Err(Error::Shredded),
            Found::Never => Err(Error::Foreign),
        }
        .map_err(|error| self.noted(error))
    }

    fn noted(&self, error: Error) -> Error {
        if matches!(error, Error::Foreign) {
            self.vault.note_foreign();
        }
        error
    }
}

impl std::fmt::Debug for Sealer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({}/{})", self.unit.tenant, self.unit.environment)
    }
}

/// Sealed bytes that hold a `T`, as JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed<T> {
    bytes: Arc<[u8]>,
    holds: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    /// Bytes that came from storage.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into(), holds: PhantomData }
    }

    /// The sealed bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T: serde::Serialize> Sealed<T> {
    /// Seals a value.
    ///
    /// # Errors
    /// As [`Sealer::seal`]; [`Error::Malformed`] if it has no form in JSON.
    pub async fn seal(sealer: &Sealer<'_>, place: &Place<'_>, value: &T) -> Result<Self, Error> {
        let plain = serde_json::to_vec(value)
            .map(Zeroizing::new)
            .map_err(|_| Error::Malformed("not a value that JSON can hold"))?;
        Ok(Self::from_bytes(sealer.seal(place, &plain).await?))
    }
}

impl<T: serde::de::DeserializeOwned> Sealed<T> {
    /// Opens the value.
    ///
    /// # Errors
    /// As [`Sealer::open`]; [`Error::Malformed`] if another type was sealed.
    pub async fn open(&self, sealer: &Sealer<'_>, place: &Place<'_>) -> Result<T, Error> {
        let plain = sealer.open(place, &self.bytes).await?;
        serde_json::from_slice(&plain).map_err(|_| Error::Malformed("sealed for another type"))
    }
}

impl<T> std::fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use ids::OsEntropy;

    use super::*;

    const PLACE: Place<'static> = Place { surface: "test", key: b"k", version: 3 };

    fn unit<'a>(tenant: &'a str, environment: &'a str) -> Unit<'a> {
        Unit { id: &[0; 32], tenant, environment }
    }

    /// The second lock alone: one key for all, and yet bytes open in their own place only.
    #[test]
    fn the_associated_data_binds_every_part() {
        let key = DataKey::new(1, &[7; 32]);
        let sealed = key.seal(&unit("acme", "live"), &PLACE, b"hello", &OsEntropy).unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(&*key.open(&unit("acme", "live"), &PLACE, &sealed).unwrap(), b"hello");

        let elsewhere = [
            (unit("globex", "live"), PLACE),
            (unit("acme", "test"), PLACE),
            (unit("acmel", "ive"), PLACE),
            (unit("acme", "live"), Place { surface: "tes", key: b"tk", ..PLACE }),
            (unit("acme", "live"), Place { surface: "other", ..PLACE }),
            (unit("acme", "live"), Place { key: b"K", ..PLACE }),
            (unit("acme", "live"), Place { version: 4, ..PLACE }),
        ];
        for (unit, place) in elsewhere {
            assert!(matches!(key.open(&unit, &place, &sealed), Err(Error::Foreign)), "{place:?}");
        }
        let other_version = DataKey::new(2, &[7; 32]);
        let other_key = DataKey::new(1, &[8; 32]);
        for key in [other_version, other_key] {
            assert!(matches!(
                key.open(&unit("acme", "live"), &PLACE, &sealed),
                Err(Error::Foreign)
            ));
        }
    }

    #[test]
    fn no_single_bit_may_change() {
        let key = DataKey::new(1, &[7; 32]);
        let sealed = key.seal(&unit("acme", "live"), &PLACE, b"hello", &OsEntropy).unwrap();
        for at in NONCE_AT..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(matches!(
                    key.open(&unit("acme", "live"), &PLACE, &changed),
                    Err(Error::Foreign)
                ));
            }
        }
        for bad in [&b""[..], &sealed[..OVERHEAD - 1], &[&[0xB0], &sealed[1..]].concat()] {
            assert!(matches!(version_of(bad), Err(Error::Foreign)));
        }
    }

    #[test]
    fn debug_shows_sizes_only() {
        let sealed: Sealed<String> = Sealed::from_bytes(b"canary".to_vec());
        assert_eq!(format!("{sealed:?}"), "Sealed(6 bytes)");
    }
}
