//! The hash chain: what its links are computed from, and its rows.
//!
//! ```text
//! commitment = SHA-256(salt ‖ body)                           salt: 32 random bytes
//! link_0     = SHA-256(0x00 ‖ field(origin))
//! link_n     = SHA-256(0x01 ‖ field(link_n-1) ‖ field(n as u64 LE) ‖ field(commitment_n))
//! field(x)   = length of x as u64 LE ‖ x
//! ```
//! The chain is over commitments: a body can be erased, and the links still verify; the salt
//! goes with it, so that nobody can try bodies against the commitment.

use std::fmt;

use ids::{frame::field, text};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use store::{File, Table, Txn};

use super::note::Signers;
use crate::Error;

/// Entries, by number.
pub const AUDIT: Table = Table { file: File::Records, id: 403, name: "records.audit" };
/// The head of the chain: one row.
pub const AUDIT_HEAD: Table = Table { file: File::Records, id: 404, name: "records.audit_head" };
/// Signed notes of heads, by the number of entries.
pub const AUDIT_NOTES: Table = Table { file: File::Records, id: 405, name: "records.audit_notes" };

/// A head is signed and kept every so many entries.
pub(crate) const NOTE_EVERY: u64 = 256;
const HEAD: &[u8] = b"head";

/// 32 bytes of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text::hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(from)?;
        text::unhex(&digits)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| de::Error::custom("64 lower-case hexadecimal digits"))
    }
}

pub(crate) fn commitment(salt: &[u8], body: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update(salt).chain_update(body).finalize().into())
}

/// The link before the first entry.
pub(crate) fn beginning(origin: &str) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    field(&mut |part| hash.update(part), origin.as_bytes());
    Hash(hash.finalize().into())
}

pub(crate) fn link(before: &Hash, seq: u64, commitment: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    for part in [&before.0[..], &seq.to_le_bytes(), &commitment.0] {
        field(&mut |part| hash.update(part), part);
    }
    Hash(hash.finalize().into())
}

/// What is left of an entry's body.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Body {
    /// Salt and body, sealed under the data key of their owner; in base64url.
    Sealed(String),
    /// In the open: the record of an erasure, which has to stay readable after it.
    Clear { salt: Hash, text: String },
    /// Erased.
    Erased,
}

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) commitment: Hash,
    pub(crate) link: Hash,
    pub(crate) body: Body,
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) link: Hash,
    /// Under a key of the deployment's: who can write rows cannot move the head.
    mac: Hash,
}

/// What makes one chain its own.
pub(crate) struct Chain {
    pub(crate) origin: String,
    pub(crate) head_key: [u8; 32],
}

impl Chain {
    fn head(&self, seq: u64, link: Hash) -> Head {
        let mut mac = blake3::Hasher::new_keyed(&self.head_key);
        for part in [self.origin.as_bytes(), &seq.to_le_bytes(), &link.0] {
            field(
                &mut |part| {
                    mac.update(part);
                },
                part,
            );
        }
        Head { seq, link, mac: Hash(*mac.finalize().as_bytes()) }
    }

    /// The head of a stored row, or of the empty chain.
    pub(crate) fn parse_head(&self, row: Option<&[u8]>) -> Result<Head, Error> {
        let Some(row) = row else { return Ok(self.head(0, beginning(&self.origin))) };
        let head: Head = from_row(row)?;
        // blake3::Hash compares in constant time.
        let expected = self.head(head.seq, head.link).mac;
        if blake3::Hash::from(expected.0) != blake3::Hash::from(head.mac.0) {
            return Err(Error::Damaged("the head of an audit log is not of our making"));
        }
        Ok(head)
    }

    pub(crate) fn read_head(&self, txn: &mut Txn<'_>) -> Result<Head, Error> {
        self.parse_head(txn.get(AUDIT_HEAD, HEAD)?.as_deref())
    }

    /// Appends an entry, and signs the head when it is time.
    pub(crate) fn append(
        &self,
        txn: &mut Txn<'_>,
        signers: &Signers,
        commitment: Hash,
        body: Body,
    ) -> Result<Head, Error> {
        let before = self.read_head(txn)?;
        let seq = before.seq + 1;
        let head = self.head(seq, link(&before.link, seq, &commitment));
        let row = Row { commitment, link: head.link, body };
        txn.put(AUDIT, &seq.to_be_bytes(), &to_row(&row)?)?;
        txn.put(AUDIT_HEAD, HEAD, &to_row(&head)?)?;
        if seq.is_multiple_of(NOTE_EVERY) {
            self.keep_note(txn, signers, &head)?;
        }
        Ok(head)
    }

    /// Signs a head and keeps the note.
    pub(crate) fn keep_note(
        &self,
        txn: &mut Txn<'_>,
        signers: &Signers,
        head: &Head,
    ) -> Result<(), Error> {
        let note = signers.sign(&self.origin, head.seq, head.link);
        Ok(txn.put(AUDIT_NOTES, &head.seq.to_be_bytes(), note.text.as_bytes())?)
    }
}

/// The row key of the head.
pub(crate) const fn head_key() -> &'static [u8] {
    HEAD
}

/// The number in a row key.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

pub(crate) fn to_row(row: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(row).map_err(|_| Error::Damaged("a row that cannot be written"))
}

pub(crate) fn from_row<T: de::DeserializeOwned>(row: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(row).map_err(|_| Error::Damaged("a row of the audit log"))
}
