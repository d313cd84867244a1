//! What writes do inside their one transaction.

use bytes::Bytes;
use ids::Millis;
use store::{Range, Txn};

use super::{
    CHANGES, COLLECTIONS, ENDS, GONE, HEADS, Head, MEMORY_TABLES, POINTS,
    row::{
        CollectionRow, Kind, PREFIX, PointRow, change_key, change_prefix, end_key, of_change_key,
        of_end_key, point_key, prefix,
    },
};
use crate::{Collection, Error, MemorySettings, PointId, Seq};

/// Most bytes of rows that one write has: others wait for its commit.
pub(super) const MAX_BYTES: usize = 32 << 20;

/// Points that have ended which every write removes besides.
const SWEEP: usize = 16;

/// Points that have ended which are removed in one go to make room.
pub(super) const TIDY: usize = 512;

/// Rows that one transaction of upkeep removes at most, so that no commit takes long.
pub(super) const STEP: usize = 512;

/// A row that is sealed already.
pub(super) struct Prepared {
    pub(super) id: PointId,
    /// The row and its end; `None` for a deletion.
    pub(super) row: Option<(Bytes, Option<Millis>)>,
}

impl Prepared {
    /// About how many bytes it writes.
    pub(super) fn cost(&self) -> usize {
        128 + self.row.as_ref().map_or(0, |(row, _)| row.len())
    }
}

pub(super) fn create(
    txn: &mut Txn<'_>,
    collection: &Collection,
    row: &[u8],
    settings: &MemorySettings,
) -> Result<bool, Error> {
    let name = collection.name.as_str().as_bytes();
    if txn.get(COLLECTIONS, name)?.is_some() {
        return Ok(false);
    }
    if txn.usage(COLLECTIONS)?.rows >= settings.collections {
        return Err(Error::Full { what: "memory.collections", bound: settings.collections });
    }
    txn.put(COLLECTIONS, name, row)?;
    txn.put(HEADS, &prefix(collection), &Head::default().encode())?;
    within(txn, settings)?;
    Ok(true)
}

/// `None` if the row is not `before` any more.
pub(super) fn change(
    txn: &mut Txn<'_>,
    collection: &Collection,
    before: &[u8],
    row: &[u8],
    settings: &MemorySettings,
) -> Result<Option<Seq>, Error> {
    let name = collection.name.as_str().as_bytes();
    if txn.get(COLLECTIONS, name)?.as_deref() != Some(before) {
        return Ok(None);
    }
    let mut head = read_head(txn, collection)?;
    head.seq += 1;
    txn.put(COLLECTIONS, name, row)?;
    put_head(txn, collection, head)?;
    if row.len() > before.len() {
        within(txn, settings)?;
    }
    Ok(Some(head.seq))
}

/// Takes the collection away; its rows are listed for removal.
pub(super) fn delete(txn: &mut Txn<'_>, collection: &Collection) -> Result<(), Error> {
    let name = collection.name.as_str().as_bytes();
    if let Some(row) = txn.get(COLLECTIONS, name)? {
        // One of the same name that was made since stays.
        if CollectionRow::decode(&row)?.incarnation == collection.incarnation {
            txn.delete(COLLECTIONS, name)?;
        }
    }
    if txn.delete(HEADS, &prefix(collection))? {
        txn.put(GONE, &prefix(collection), &[])?;
    }
    Ok(())
}

/// `None` if there was another write since `expected`.
pub(super) fn commit(
    txn: &mut Txn<'_>,
    collection: &Collection,
    expected: Seq,
    rows: &[Prepared],
    settings: &MemorySettings,
) -> Result<Option<Seq>, Error> {
    let mut head = read_head(txn, collection)?;
    if head.seq != expected {
        return Ok(None);
    }
    head.seq += 1;
    sweep(txn, collection, &mut head, SWEEP)?;
    let points = head.points;
    let mut grown = 0_usize;
    for Prepared { id, row } in rows {
        let key = point_key(collection, id);
        let before = take(txn, collection, id, &key)?;
        let Some((row, expires)) = row else {
            if before.is_some() {
                txn.delete(POINTS, &key)?;
                txn.put(CHANGES, &change_key(collection, Kind::Deleted, head.seq, id), &[])?;
                head.points = head.points.saturating_sub(1);
            }
            continue;
        };
        let change = change_key(collection, Kind::Put, head.seq, id);
        match expires {
            Some(end) => {
                txn.put_until(POINTS, &key, row, *end)?;
                txn.put_until(CHANGES, &change, &[], *end)?;
                txn.put(ENDS, &end_key(collection, *end, id), &[])?;
            }
            None => {
                txn.put(POINTS, &key, row)?;
                txn.put(CHANGES, &change, &[])?;
            }
        }
        head.points += u64::from(before.is_none());
        grown += row.len().saturating_sub(before.unwrap_or(0));
    }
    put_head(txn, collection, head)?;
    // Whoever is over a bound already can still remove, and replace by what is no larger.
    if head.points > settings.points && head.points > points {
        return Err(Error::Full { what: "memory.points", bound: settings.points });
    }
    if grown > 0 {
        within(txn, settings)?;
    }
    Ok(Some(head.seq))
}

/// Removes what belongs to a point's row that is about to be replaced or removed; the size of
/// the row, if there is one.
fn take(
    txn: &mut Txn<'_>,
    collection: &Collection,
    id: &PointId,
    key: &[u8],
) -> Result<Option<usize>, Error> {
    let row = match txn.get(POINTS, key) {
        // It is not this tenant's, and neither is what belongs to it.
        Err(store::Error::ForeignRow) => return Ok(Some(0)),
        row => row?,
    };
    let Some(row) = row else { return Ok(None) };
    let Ok(before) = PointRow::decode(&row) else { return Ok(Some(row.len())) };
    txn.delete(CHANGES, &change_key(collection, Kind::Put, before.version, id))?;
    if let Some(end) = before.expires {
        txn.delete(ENDS, &end_key(collection, end, id))?;
    }
    Ok(Some(row.len()))
}

/// Removes points that have ended; how many. Each of them was counted, and is told to the
/// index as a deletion.
fn sweep(
    txn: &mut Txn<'_>,
    collection: &Collection,
    head: &mut Head,
    most: usize,
) -> Result<u64, Error> {
    let now = txn.now();
    let mut swept = 0;
    for (ended, _) in txn.scan(ENDS, &Range::prefix(prefix(collection)).limit(most))? {
        let (end, id) = of_end_key(&ended)?;
        if end > now {
            break;
        }
        txn.delete(ENDS, &ended)?;
        head.points = head.points.saturating_sub(1);
        swept += 1;
        let key = point_key(collection, &id);
        // One with this id that was put there after the end is another point, with another
        // change: it was counted for itself.
        if matches!(txn.get(POINTS, &key), Ok(None)) {
            txn.delete(POINTS, &key)?;
            txn.put(CHANGES, &change_key(collection, Kind::Deleted, head.seq, &id), &[])?;
        }
    }
    Ok(swept)
}

/// Removes points that have ended; how many.
pub(super) fn tidy(txn: &mut Txn<'_>, collection: &Collection) -> Result<u64, Error> {
    let mut head = read_head(txn, collection)?;
    head.seq += 1;
    let swept = sweep(txn, collection, &mut head, TIDY)?;
    if swept > 0 {
        put_head(txn, collection, head)?;
    }
    Ok(swept)
}

/// Removes deletions up to `upto`; whether there may be more.
pub(super) fn trim(txn: &mut Txn<'_>, collection: &Collection, upto: Seq) -> Result<bool, Error> {
    // Deleted meanwhile: nothing to trim.
    let Some(row) = txn.get(HEADS, &prefix(collection))? else { return Ok(false) };
    let mut head = Head::decode(&row)?;
    let upto = upto.min(head.seq);
    let range = Range::prefix(change_prefix(collection, Kind::Deleted)).limit(STEP);
    let (mut removed, mut last) = (0, head.trimmed);
    for (key, _) in txn.scan(CHANGES, &range)? {
        let (version, _) = of_change_key(&key)?;
        if version > upto {
            break;
        }
        txn.delete(CHANGES, &key)?;
        (removed, last) = (removed + 1, version);
    }
    if removed > 0 {
        // As far as one is missing, who is behind it cannot catch up any more.
        head.trimmed = head.trimmed.max(last);
        put_head(txn, collection, head)?;
    }
    Ok(removed == STEP)
}

/// Removes rows of a deleted collection, and, with the last of them, its mark.
pub(super) fn clear_away(txn: &mut Txn<'_>, incarnation: [u8; PREFIX]) -> Result<(), Error> {
    let mut left = STEP;
    // Every point has a change, whose row is small: its own may be large.
    for (key, _) in txn.scan(CHANGES, &Range::prefix(incarnation).limit(left))? {
        let (_, id) = of_change_key(&key)?;
        txn.delete(POINTS, &[&incarnation[..], &id.key()].concat())?;
        txn.delete(CHANGES, &key)?;
        left -= 1;
    }
    // Of points whose changes are not there, there are none, but for a fault.
    for (table, most) in [(ENDS, left), (POINTS, left.min(16))] {
        let rows = txn.scan(table, &Range::prefix(incarnation).limit(most))?;
        left = left.saturating_sub(rows.len());
        for (key, _) in rows {
            txn.delete(table, &key)?;
        }
    }
    if left == STEP {
        txn.delete(GONE, &incarnation)?;
    }
    Ok(())
}

fn read_head(txn: &mut Txn<'_>, collection: &Collection) -> Result<Head, Error> {
    let row = txn.get(HEADS, &prefix(collection))?;
    Head::decode(&row.ok_or_else(|| super::gone(collection))?)
}

fn put_head(txn: &mut Txn<'_>, collection: &Collection, head: Head) -> Result<(), Error> {
    Ok(txn.put(HEADS, &prefix(collection), &head.encode())?)
}

fn within(txn: &mut Txn<'_>, settings: &MemorySettings) -> Result<(), Error> {
    let mut bytes = 0_u64;
    for table in MEMORY_TABLES {
        bytes = bytes.saturating_add(txn.usage(*table)?.bytes);
    }
    if bytes > settings.bytes {
        return Err(Error::Full { what: "memory.bytes", bound: settings.bytes });
    }
    Ok(())
}
