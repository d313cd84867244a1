//! What a write does inside its one transaction.

use std::sync::Arc;

use bytes::Bytes;
use ids::{Millis, planted};
use scope::{Scope, Write};
use store::{File, Range, Table, Txn};
use vault::{Place, Vault};
use zeroize::Zeroizing;

use super::{
    Condition, Put, SURFACE, StateSettings,
    row::{Head, Mark, TAG, end_key, run_of, value_key},
};
use crate::Error;

/// The versions of each key, without their values. Names of keys are not sealed.
pub(super) const HEADS: Table = Table { file: File::State, id: 503, name: "state.heads" };
/// Sealed values, one for each version.
pub(super) const VALUES: Table = Table { file: File::State, id: 504, name: "state.values" };
/// Keys that end, in the order in which they do.
const ENDS: Table = Table { file: File::State, id: 505, name: "state.ends" };
/// How many keys each run has (8 bytes, big-endian).
const RUNS: Table = Table { file: File::State, id: 506, name: "state.runs" };
/// One row: the greatest version that any key had that is no more (8 bytes, big-endian).
pub(super) const FLOOR: Table = Table { file: File::State, id: 507, name: "state.floor" };

/// The tables of run state, for the registry of all tables.
pub const STATE_TABLES: &[Table] = &[HEADS, VALUES, ENDS, RUNS, FLOOR];

/// The key of the one row of [`FLOOR`].
pub(super) const FLOOR_KEY: &[u8] = b"floor";

/// Keys whose time has passed that one write removes besides.
const SWEEP: usize = 8;

/// Bytes and keys that one transaction removes at most, so that no commit takes long.
const BATCH_BYTES: u64 = 4 << 20;
pub(super) const BATCH_KEYS: usize = 128;

/// How a write ended.
pub(super) enum Outcome {
    Kept(Put),
    /// Sealed for a version that is not the next one any more.
    Stale,
}

/// Something to be kept.
pub(super) struct Change {
    pub(super) head: Vec<u8>,
    pub(super) condition: Wanted,
    /// Sealed for this version.
    pub(super) version: u64,
    pub(super) sealed: Bytes,
    pub(super) written: Millis,
    pub(super) expires: Option<Millis>,
    pub(super) bytes: u64,
    /// Seals for another version, for who lost the race before.
    pub(super) late: Option<Late>,
    pub(super) scope: Scope<Write>,
    pub(super) settings: StateSettings,
}

/// What seals inside the transaction, without waiting.
pub(super) struct Late {
    pub(super) vault: Vault,
    pub(super) plain: Arc<Zeroizing<Vec<u8>>>,
}

impl Late {
    fn seal(
        &self,
        scope: &Scope<Write>,
        head: &[u8],
        version: u64,
    ) -> Option<Result<Bytes, Error>> {
        let sealer = self.vault.of(scope);
        let sealed = sealer.try_seal(&place(head, version), &self.plain)?;
        Some(sealed.map(Bytes::from).map_err(Error::Vault))
    }
}

pub(super) const fn place(head: &[u8], version: u64) -> Place<'_> {
    Place { surface: SURFACE, key: head, version }
}

/// A condition that owns its `ETag`.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Any,
    Absent,
    Present,
    Is(Box<str>),
}

impl From<Condition<'_>> for Wanted {
    fn from(condition: Condition<'_>) -> Self {
        match condition {
            Condition::Any => Self::Any,
            Condition::Absent => Self::Absent,
            Condition::Present => Self::Present,
            Condition::Is(etag) => Self::Is(etag.into()),
        }
    }
}

impl Wanted {
    pub(super) fn check(&self, there: Option<&Mark>) -> Result<(), Error> {
        let holds = match (self, there) {
            (Self::Any, _) | (Self::Absent, None) | (Self::Present, Some(_)) => true,
            (Self::Is(etag), Some(mark)) => mark.is(etag),
            (Self::Absent, Some(_)) | (Self::Present | Self::Is(_), None) => false,
        };
        if holds { Ok(()) } else { Err(Error::Conflict) }
    }
}

/// The version that the next write of a key gets.
pub(super) fn next_version(live: Option<&Mark>, floor: u64) -> u64 {
    live.map_or(floor, |mark| mark.version).saturating_add(1)
}

/// Keeps a value as the newest version of its key, if the condition holds.
pub(super) fn keep(txn: &mut Txn<'_>, change: Change) -> Result<Outcome, Error> {
    // Revoked or erased while it waited for its turn: nothing comes back.
    change.scope.live()?;
    sweep(txn, SWEEP)?;
    let before = live_head(txn, &change.head)?;
    if !planted::is("state-cas-outside-transaction") {
        change.condition.check(before.as_ref().map(|head| &head.latest))?;
    }
    let version = next_version(before.as_ref().map(|head| &head.latest), floor(txn)?);
    let sealed = match &change.late {
        _ if version == change.version => change.sealed.clone(),
        None => return Ok(Outcome::Stale),
        Some(late) => match late.seal(&change.scope, &change.head, version) {
            Some(sealed) => sealed?,
            None => return Ok(Outcome::Stale),
        },
    };
    let mut tag = [0; TAG];
    tag.copy_from_slice(&blake3::hash(&sealed).as_bytes()[..TAG]);
    let (written, expires) = (change.written, change.expires);
    let latest = Mark { version, tag, written, expires, bytes: change.bytes };
    let key = value_key(&change.head, version);
    match expires {
        Some(end) => txn.put_until(VALUES, &key, &sealed, end)?,
        None => txn.put(VALUES, &key, &sealed)?,
    }
    let created = before.is_none();
    let earlier = before.map_or(Ok(Vec::new()), |old| demote(txn, &change, old))?;
    if let Some(end) = expires {
        txn.put(ENDS, &end_key(end, &change.head), &[])?;
    }
    if created {
        count(txn, &change.head, 1, change.settings.keys_per_run)?;
    }
    txn.put(HEADS, &change.head, &Head { latest, earlier }.encode())?;
    if used(txn)? > change.settings.bytes_per_tenant {
        return Err(Error::Full("state.bytes_per_tenant"));
    }
    Ok(Outcome::Kept(Put { etag: latest.etag(), version, created }))
}

/// Makes the versions so far earlier ones, and removes those that are too many.
fn demote(txn: &mut Txn<'_>, change: &Change, old: Head) -> Result<Vec<Mark>, Error> {
    if let Some(end) = old.latest.expires {
        txn.delete(ENDS, &end_key(end, &change.head))?;
    }
    let history = usize::try_from(change.settings.history).unwrap_or(usize::MAX);
    let now = txn.now();
    let mut earlier = Vec::with_capacity(1 + old.earlier.len());
    for mark in old.marks() {
        if earlier.len() < history && mark.is_live(now) {
            earlier.push(*mark);
        } else {
            txn.delete(VALUES, &value_key(&change.head, mark.version))?;
        }
    }
    Ok(earlier)
}

/// Removes a key with all its versions, if the condition holds; whether it was there.
pub(super) fn delete(txn: &mut Txn<'_>, head: &[u8], condition: &Wanted) -> Result<bool, Error> {
    let there = live_head(txn, head)?;
    condition.check(there.as_ref().map(|head| &head.latest))?;
    let Some(there) = there else { return Ok(false) };
    remove(txn, head, &there)?;
    Ok(true)
}

/// Removes some of the keys that begin so: how many, and whether there may be more.
pub(super) fn delete_some(txn: &mut Txn<'_>, prefix: &[u8]) -> Result<(u64, bool), Error> {
    let rows = txn.scan(HEADS, &Range::prefix(prefix).limit(BATCH_KEYS))?;
    let (mut gone, mut bytes) = (0, 0);
    for (key, row) in &rows {
        if bytes > BATCH_BYTES {
            return Ok((gone, true));
        }
        let head = Head::decode(row)?;
        let live = head.latest.is_live(txn.now());
        bytes += remove(txn, key, &head)?;
        gone += u64::from(live);
    }
    Ok((gone, rows.len() == BATCH_KEYS))
}

/// Removes some keys whose time has passed; how many.
pub(super) fn sweep(txn: &mut Txn<'_>, most: usize) -> Result<usize, Error> {
    let now = txn.now();
    let (mut gone, mut bytes) = (0, 0);
    for (row, _) in txn.scan(ENDS, &Range::all().limit(most))? {
        let Some((end, key)) = row.split_first_chunk() else { return Err(Error::Damaged) };
        let end = Millis(u64::from_be_bytes(*end));
        if end > now || bytes > BATCH_BYTES {
            break;
        }
        match read_head(txn, key)? {
            Some(head) if head.latest.expires == Some(end) => bytes += remove(txn, key, &head)?,
            // Of a version that is not the latest any more; `demote` leaves none.
            _ => drop(txn.delete(ENDS, &row)?),
        }
        gone += 1;
    }
    Ok(gone)
}

fn read_head(txn: &mut Txn<'_>, key: &[u8]) -> Result<Option<Head>, Error> {
    txn.get(HEADS, key)?.map(|row| Head::decode(&row)).transpose()
}

/// The head of a key. One whose time has passed is removed, as if it had been swept.
fn live_head(txn: &mut Txn<'_>, key: &[u8]) -> Result<Option<Head>, Error> {
    match read_head(txn, key)? {
        Some(head) if !head.latest.is_live(txn.now()) => {
            remove(txn, key, &head)?;
            Ok(None)
        }
        head => Ok(head),
    }
}

/// Removes all rows of a key; of how many bytes its values were.
fn remove(txn: &mut Txn<'_>, key: &[u8], head: &Head) -> Result<u64, Error> {
    let mut bytes = 0;
    for mark in head.marks() {
        txn.delete(VALUES, &value_key(key, mark.version))?;
        bytes += mark.bytes;
    }
    if let Some(end) = head.latest.expires {
        txn.delete(ENDS, &end_key(end, key))?;
    }
    txn.delete(HEADS, key)?;
    count(txn, key, -1, u64::MAX)?;
    // Whoever makes the key anew goes on above every version that it had: an `ETag` from
    // before never fits again.
    let floor = floor(txn)?.max(head.latest.version);
    txn.put(FLOOR, FLOOR_KEY, &floor.to_be_bytes())?;
    Ok(bytes)
}

fn count(txn: &mut Txn<'_>, head: &[u8], by: i64, most: u64) -> Result<(), Error> {
    let run = run_of(head).ok_or(Error::Damaged)?;
    let keys = number(txn.get(RUNS, run)?.as_deref())?.saturating_add_signed(by);
    match keys {
        0 => drop(txn.delete(RUNS, run)?),
        keys if by > 0 && keys > most => return Err(Error::Full("state.keys_per_run")),
        keys => txn.put(RUNS, run, &keys.to_be_bytes())?,
    }
    Ok(())
}

fn floor(txn: &mut Txn<'_>) -> Result<u64, Error> {
    number(txn.get(FLOOR, FLOOR_KEY)?.as_deref())
}

/// A number in a row; 0 if there is none.
pub(super) fn number(row: Option<&[u8]>) -> Result<u64, Error> {
    let Some(row) = row else { return Ok(0) };
    row.try_into().map(u64::from_be_bytes).map_err(|_| Error::Damaged)
}

fn used(txn: &mut Txn<'_>) -> Result<u64, Error> {
    let mut bytes = 0_u64;
    for table in STATE_TABLES {
        bytes = bytes.saturating_add(txn.usage(*table)?.bytes);
    }
    Ok(bytes)
}
