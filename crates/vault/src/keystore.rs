//! The rows of the keystore: wrapped keys, heads of units, the erasure ledger.
//!
//! A wrapped key's associated data is its row key, which names kind, owner and version, so
//! that no row opens in another's place.

use chacha20poly1305::{AeadInPlace as _, KeyInit as _, XChaCha20Poly1305};
use ids::{Entropy, Environment, Millis, TenantId, frame::Frame, text};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store::{File, Table, Txn};
use zeroize::Zeroizing;

use crate::{
    Error,
    root::{Root, Roots},
};

/// Every key but the roots, wrapped.
pub const WRAPPED: Table = Table { file: File::Core, id: 301, name: "keystore.wrapped" };
/// A head for each (tenant, environment).
pub const UNITS: Table = Table { file: File::Core, id: 302, name: "keystore.units" };
/// Erasures, in order.
pub const LEDGER: Table = Table { file: File::Core, id: 303, name: "keystore.ledger" };

/// The row key of the deployment's master key.
pub(crate) const MASTER: &[u8] = b"m";

/// The row key of a data key.
pub(crate) fn data_row(unit: &[u8; 32], version: u32) -> Vec<u8> {
    [&data_rows(unit), &version.to_be_bytes()[..]].concat()
}

/// What the row keys of a unit's data keys begin with.
pub(crate) fn data_rows(unit: &[u8; 32]) -> Vec<u8> {
    [b"d", &unit[..]].concat()
}

/// The row key of a signing seed.
pub(crate) fn seed_row(purpose: &str, number: u64) -> Vec<u8> {
    [&seed_rows(purpose), &number.to_be_bytes()[..]].concat()
}

/// What the row keys of the signing seeds for a purpose begin with.
pub(crate) fn seed_rows(purpose: &str) -> Vec<u8> {
    [b"s", purpose.as_bytes(), b"\0"].concat()
}

/// A key under a root key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wrapped {
    /// Under which root.
    pub(crate) root: String,
    /// When the key was made.
    pub(crate) at: Millis,
    /// A name for the key: derived from it one way, or random.
    pub(crate) id: String,
    /// Nonce, ciphertext, tag; in base64url.
    key: String,
}

const NONCE: usize = 24;
const KEY: usize = 32;

impl Wrapped {
    pub(crate) fn wrap(
        root: &Root,
        entropy: &dyn Entropy,
        row: &[u8],
        (at, id): (Millis, String),
        key: &[u8; KEY],
    ) -> Result<Self, Error> {
        let mut bytes = [0; NONCE + KEY + 16];
        entropy.fill(&mut bytes[..NONCE]);
        let (nonce, rest) = bytes.split_at_mut(NONCE);
        let (inside, tag) = rest.split_at_mut(KEY);
        inside.copy_from_slice(key);
        let made = XChaCha20Poly1305::new(root.key().into())
            .encrypt_in_place_detached((&*nonce).into(), &bound(row, at, &id), inside)
            .map_err(|_| Error::Malformed("not a key"))?;
        tag.copy_from_slice(&made);
        Ok(Self { root: root.id().to_owned(), at, id, key: text::base64url(&bytes) })
    }

    pub(crate) fn unwrap(&self, roots: &Roots, row: &[u8]) -> Result<Zeroizing<[u8; KEY]>, Error> {
        let root = roots.find(&self.root)?;
        let bytes = text::unbase64url(&self.key).unwrap_or_default();
        if bytes.len() != NONCE + KEY + 16 {
            return Err(Error::Malformed("a wrapped key"));
        }
        let mut key = Zeroizing::new([0; KEY]);
        key.copy_from_slice(&bytes[NONCE..NONCE + KEY]);
        XChaCha20Poly1305::new(root.key().into())
            .decrypt_in_place_detached(
                bytes[..NONCE].into(),
                &bound(row, self.at, &self.id),
                key.as_mut(),
                bytes[NONCE + KEY..].into(),
            )
            // An id that was given to another key, or a row that was changed.
            .map_err(|_| Error::NoRoot { root: self.root.clone() })?;
        Ok(key)
    }

    pub(crate) fn into_row(self) -> Result<Vec<u8>, Error> {
        to_row(&self)
    }
}

fn bound(row: &[u8], at: Millis, id: &str) -> Vec<u8> {
    Frame::new("bulkhead.wrap.v1").field(row).u64(at.0).field(id).finish()
}

/// A name for a data key that tells nothing of it.
pub(crate) fn fingerprint(key: &[u8; KEY]) -> String {
    text::hex(&blake3::derive_key("bulkhead 2026 data key fingerprint v1", key)[..16])
}

/// What is known of a unit's data keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The version that seals; none before the first seal and after a shredding.
    pub(crate) current: Option<u32>,
    /// The greatest version there ever was: no version is used twice.
    pub(crate) last: u32,
    /// Versions up to here were destroyed. Not 0: the unit was erased, which is for good.
    pub(crate) shredded_through: u32,
}

impl Head {
    /// Destroys every version. One that never was is used up where there was none, so that the
    /// erasure can be told.
    pub(crate) fn shred(&mut self) {
        self.last = self.last.max(1);
        (self.current, self.shredded_through) = (None, self.last);
    }

    /// Refuses to make a key for whom an erasure is in the ledger: what is still under way would
    /// seal what nobody is left to open.
    pub(crate) fn not_shredded(&self) -> Result<(), Error> {
        if self.shredded_through > 0 && !ids::planted::is("vault-key-after-shredding") {
            return Err(Error::Shredded);
        }
        Ok(())
    }

    /// What became of a version for which there is no key; `None` if there should be one.
    pub(crate) const fn fate(&self, version: u32) -> Option<crate::ring::Found> {
        use crate::ring::Found;
        if version == 0 || version > self.last {
            Some(Found::Never)
        } else if version <= self.shredded_through {
            Some(Found::Shredded)
        } else {
            None
        }
    }

    pub(crate) fn read(txn: &mut Txn<'_>, unit: &[u8; 32]) -> Result<Self, Error> {
        txn.get(UNITS, unit)?.map_or(Ok(Self::default()), |row| from_row(&row))
    }

    pub(crate) fn write(&self, txn: &mut Txn<'_>, unit: &[u8; 32]) -> Result<(), Error> {
        Ok(txn.put(UNITS, unit, &to_row(self)?)?)
    }
}

/// A data key that was destroyed, or a living one as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersion {
    /// From 1; never used twice.
    pub version: u32,
    /// When it was made.
    pub created: Millis,
    /// A name for it that tells nothing of it.
    pub fingerprint: String,
    /// Whether it seals. The others only open.
    pub current: bool,
}

/// A line of the erasure ledger: which data keys were destroyed. It lives in the keystore, so
/// that a restored backup of the data can be erased again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Whose data it was.
    pub tenant: TenantId,
    /// In which environment.
    pub environment: Environment,
    /// The partition, in hexadecimal.
    pub partition: String,
    /// When.
    pub at: Millis,
    /// The keys that were destroyed; none if nothing had been sealed.
    pub keys: Vec<KeyVersion>,
}

pub(crate) fn to_row(row: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(row).map_err(|_| Error::Malformed("a keystore row"))
}

pub(crate) fn from_row<T: DeserializeOwned>(row: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(row).map_err(|_| Error::Malformed("a keystore row"))
}

#[cfg(test)]
mod tests {
    use ids::OsEntropy;

    use super::*;

    #[test]
    fn a_wrapped_key_opens_in_its_own_row_under_its_own_root_only() {
        let roots = |root| Roots { current: root, older: Vec::new() };
        let (ours, theirs) = (Root::generate(&OsEntropy), Root::generate(&OsEntropy));
        let row = data_row(&[1; 32], 1);
        let made = (Millis(1), "id".to_owned());
        let wrapped = Wrapped::wrap(&ours, &OsEntropy, &row, made, &[9; 32]).unwrap();
        let bytes = wrapped.into_row().unwrap();
        let mut wrapped: Wrapped = from_row(&bytes).unwrap();
        let ours = roots(ours);
        assert_eq!(*wrapped.unwrap(&ours, &row).unwrap(), [9; 32]);
        assert!(wrapped.unwrap(&roots(theirs), &row).is_err());
        for other in [data_row(&[1; 32], 2), data_row(&[2; 32], 1), seed_row("x", 1)] {
            assert!(wrapped.unwrap(&ours, &other).is_err());
        }
        wrapped.at = Millis(2);
        assert!(wrapped.unwrap(&ours, &row).is_err());
    }
}
