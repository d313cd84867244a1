//! How rows are named, and what stands in them beside what is sealed.

use ids::Millis;
use serde::{Deserialize, Serialize};
use vault::Place;

use super::Head;
use crate::{Collection, CollectionName, Error, PointId, Schema, Seq};

/// Names the surface in the associated data of what is sealed.
const POINT: &str = "memory";
const COLLECTION: &str = "memory.collection";

/// Bytes of what leads every key of a collection's rows: its incarnation.
pub(super) const PREFIX: usize = 16;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put = 0,
    Deleted = 1,
}

/// What leads the keys of a collection's rows. One of the same name made later has another, so
/// that nothing of the first is ever in it.
pub(super) fn prefix(collection: &Collection) -> [u8; PREFIX] {
    if ids::planted::is("memory-row-of-another-incarnation") {
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&blake3::hash(collection.name.as_str().as_bytes()).as_bytes()[..16]);
        return prefix;
    }
    collection.incarnation
}

pub(super) fn point_key(collection: &Collection, id: &PointId) -> Vec<u8> {
    [&prefix(collection)[..], &id.key()].concat()
}

pub(super) fn end_key(collection: &Collection, end: Millis, id: &PointId) -> Vec<u8> {
    [&prefix(collection)[..], &end.0.to_be_bytes(), &id.key()].concat()
}

/// The end and the id that a key of ends names.
pub(super) fn of_end_key(key: &[u8]) -> Result<(Millis, PointId), Error> {
    let (end, id) = numbered(key.get(PREFIX..).ok_or(Error::Damaged)?)?;
    Ok((Millis(end), id))
}

pub(super) fn change_key(
    collection: &Collection,
    kind: Kind,
    version: Seq,
    id: &PointId,
) -> Vec<u8> {
    [&version_prefix(collection, kind, version)[..], &id.key()].concat()
}

pub(super) fn change_prefix(collection: &Collection, kind: Kind) -> Vec<u8> {
    [&prefix(collection)[..], &[kind as u8]].concat()
}

/// What leads the keys of the changes of one write.
pub(super) fn version_prefix(collection: &Collection, kind: Kind, version: Seq) -> Vec<u8> {
    [&change_prefix(collection, kind)[..], &version.to_be_bytes()].concat()
}

/// Behind every change up to this write, and before every one of the next.
pub(super) fn change_end(collection: &Collection, kind: Kind, version: Seq) -> Vec<u8> {
    // Longer than any id, and greater than every first byte of one.
    [&version_prefix(collection, kind, version)[..], &[u8::MAX; 2]].concat()
}

/// The write and the id that a key of changes names.
pub(super) fn of_change_key(key: &[u8]) -> Result<(Seq, PointId), Error> {
    numbered(key.get(PREFIX + 1..).ok_or(Error::Damaged)?)
}

fn numbered(key: &[u8]) -> Result<(u64, PointId), Error> {
    let (number, id) = key.split_first_chunk().ok_or(Error::Damaged)?;
    Ok((u64::from_be_bytes(*number), PointId::of_key(id)?))
}

pub(super) const fn point_place(key: &[u8], version: Seq) -> Place<'_> {
    Place { surface: POINT, key, version }
}

pub(super) const fn collection_place(key: &[u8], version: u64) -> Place<'_> {
    Place { surface: COLLECTION, key, version }
}

/// A point's row: version ‖ end (0: none), both big-endian ‖ sealed.
pub(super) struct PointRow<'a> {
    pub(super) version: Seq,
    /// For the upkeep of rows; the one under the seal decides.
    pub(super) expires: Option<Millis>,
    pub(super) sealed: &'a [u8],
}

impl<'a> PointRow<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let expires = self.expires.map_or(0, |end| end.0);
        [&self.version.to_be_bytes()[..], &expires.to_be_bytes(), self.sealed].concat()
    }

    pub(super) fn decode(row: &'a [u8]) -> Result<Self, Error> {
        let (version, rest) = row.split_first_chunk().ok_or(Error::Damaged)?;
        let (expires, sealed) = rest.split_first_chunk().ok_or(Error::Damaged)?;
        let expires = Some(Millis(u64::from_be_bytes(*expires))).filter(|end| end.0 > 0);
        Ok(Self { version: u64::from_be_bytes(*version), expires, sealed })
    }
}

/// A collection's row: incarnation ‖ version of the row, big-endian ‖ sealed.
pub(super) struct CollectionRow<'a> {
    pub(super) incarnation: [u8; 16],
    pub(super) version: u64,
    pub(super) sealed: &'a [u8],
}

/// What is sealed of a collection.
#[derive(Serialize)]
struct Written<'a> {
    schema: &'a Schema,
    revision: Seq,
    created: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    schema: Schema,
    revision: Seq,
    created: u64,
}

impl<'a> CollectionRow<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.incarnation[..], &self.version.to_be_bytes(), self.sealed].concat()
    }

    pub(super) fn decode(row: &'a [u8]) -> Result<Self, Error> {
        let (incarnation, rest) = row.split_first_chunk().ok_or(Error::Damaged)?;
        let (version, sealed) = rest.split_first_chunk().ok_or(Error::Damaged)?;
        Ok(Self { incarnation: *incarnation, version: u64::from_be_bytes(*version), sealed })
    }

    /// What the seal is bound to: the name and the incarnation.
    pub(super) fn place_key(&self, name: &CollectionName) -> Vec<u8> {
        [name.as_str().as_bytes(), &self.incarnation].concat()
    }

    pub(super) fn collection(
        &self,
        name: &CollectionName,
        plain: &[u8],
    ) -> Result<Collection, Error> {
        let read: Read = serde_json::from_slice(plain).map_err(|_| Error::Damaged)?;
        Ok(Collection {
            name: name.clone(),
            incarnation: self.incarnation,
            schema: read.schema,
            revision: read.revision,
            created: Millis(read.created),
        })
    }
}

/// What is sealed of a collection.
pub(super) fn encode_collection(collection: &Collection) -> Result<Vec<u8>, Error> {
    let Collection { schema, revision, created, .. } = collection;
    let written = Written { schema, revision: *revision, created: created.0 };
    serde_json::to_vec(&written).map_err(|_| Error::Damaged)
}

impl Head {
    /// Three numbers, big-endian.
    pub(super) fn encode(self) -> [u8; 24] {
        let mut row = [0; 24];
        for (at, number) in [self.seq, self.points, self.trimmed].into_iter().enumerate() {
            row[at * 8..][..8].copy_from_slice(&number.to_be_bytes());
        }
        row
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Error> {
        let row: &[u8; 24] = row.try_into().map_err(|_| Error::Damaged)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&row[at * 8..][..8]);
            u64::from_be_bytes(bytes)
        };
        Ok(Self { seq: number(0), points: number(1), trimmed: number(2) })
    }
}
