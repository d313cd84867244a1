//! How reviews lie in the store.
//!
//! Of each review: the record and its arguments, apart, so that a list reads no arguments; a mandate;
//! its place in the order of opening; and, as long as something can still come of it, its place in
//! the order of ends. That last row is what counts against the tenant's bound.

use ids::{Millis, RandomId};
use serde::{Deserialize, Serialize};
use store::{Range, Txn};
use vault::{Place, Sealer};
use zeroize::Zeroizing;

use crate::{Error, REVIEWS, Review, Settings};

/// The last moment that dates are written for: the end of the year 9999.
pub(crate) const NEVER: Millis = Millis(253_402_300_799_000);

/// One row: how many reviews something can still come of (8 bytes, big-endian).
pub(crate) const COUNT: &[u8] = b"c";
/// What begins the rows of the order of opening.
pub(crate) const ORDER: u8 = b'o';
/// What begins the rows of the order of ends.
pub(crate) const ENDS: u8 = b'e';

/// Reviews whose time has passed that one opening takes off the count.
const SWEEP: usize = 64;
/// Settled reviews that one opening removes if there are too many.
const PRUNE: usize = 32;
/// So many times the bound of open ones are kept with those that are settled.
const KEPT: u64 = 10;
/// Rows that one review has at most.
const ROWS: u64 = 5;
/// What all reviews of a tenant's environment may take, in bytes.
const MOST_BYTES: u64 = 512 << 20;

/// A review with what is kept beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) review: Review,
    /// Rises with each change of the record.
    pub(crate) revision: u64,
    /// Rises with each edit of the arguments.
    pub(crate) edition: u64,
    /// Whether there is a mandate.
    pub(crate) mandate: bool,
}

impl Kept {
    /// The record's row: its revision, big-endian, and the sealed record.
    pub(crate) async fn seal(
        &self,
        sealer: &Sealer<'_>,
        surface: &'static str,
    ) -> Result<Vec<u8>, Error> {
        let plain = serde_json::to_vec(self)
            .map(Zeroizing::new)
            .map_err(|_| vault::Error::Malformed("a review that JSON cannot hold"))?;
        let place = Place { surface, key: self.review.id.as_bytes(), version: self.revision };
        let mut row = self.revision.to_be_bytes().to_vec();
        row.extend_from_slice(&sealer.seal(&place, &plain).await?);
        Ok(row)
    }

    /// Opens a record's row.
    pub(crate) async fn open(
        sealer: &Sealer<'_>,
        surface: &'static str,
        id: &RandomId,
        row: &[u8],
    ) -> Result<Self, Error> {
        let (revision, sealed) = row.split_first_chunk().ok_or(vault::Error::Foreign)?;
        let revision = u64::from_be_bytes(*revision);
        let place = Place { surface, key: id.as_bytes(), version: revision };
        let plain = sealer.open(&place, sealed).await?;
        let kept: Self = serde_json::from_slice(&plain)
            .map_err(|_| vault::Error::Malformed("not a review of this version"))?;
        // The seal has said both; a record that says otherwise was sealed by another hand.
        if kept.review.id != *id || kept.revision != revision {
            return Err(vault::Error::Foreign.into());
        }
        Ok(kept)
    }
}

pub(crate) fn item(id: &RandomId) -> Vec<u8> {
    named(b'r', id)
}

pub(crate) fn payload(id: &RandomId) -> Vec<u8> {
    named(b'p', id)
}

pub(crate) fn mandate(id: &RandomId) -> Vec<u8> {
    named(b'm', id)
}

fn named(kind: u8, id: &RandomId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(id.as_bytes());
    key
}

/// The key of a place in an order.
pub(crate) fn at(order: u8, when: Millis, id: &RandomId) -> Vec<u8> {
    let mut key = vec![order];
    key.extend_from_slice(&when.0.to_be_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

/// When and which, of a key of an order.
pub(crate) fn read_at(key: &[u8]) -> Option<(Millis, RandomId)> {
    let (when, id) = key.get(1..)?.split_first_chunk()?;
    let id = RandomId::from_bytes(id.try_into().ok()?);
    Some((Millis(u64::from_be_bytes(*when)), id))
}

/// A number in a row; 0 if there is none.
pub(crate) fn number(row: Option<&[u8]>) -> u64 {
    row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// A review that is opened: its rows, and the bounds that they have to keep.
pub(crate) struct Opening {
    pub(crate) id: RandomId,
    pub(crate) opened: Millis,
    pub(crate) expires: Millis,
    pub(crate) item: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) mandate: Option<Vec<u8>>,
    pub(crate) settings: Settings,
}

impl Opening {
    /// What the rows take, for the store.
    pub(crate) fn cost(&self) -> usize {
        self.item.len() + self.payload.len() + self.mandate.as_ref().map_or(0, Vec::len) + 256
    }

    /// Writes all of it, or nothing.
    pub(crate) fn write(self, txn: &mut Txn<'_>) -> Result<(), Error> {
        let live = sweep(txn)?;
        if live >= self.settings.open_per_tenant {
            return Err(Error::Full(live));
        }
        prune(txn, &self.settings)?;
        let gone = self.expires.plus(self.settings.keep());
        txn.put_until(REVIEWS, &item(&self.id), &self.item, gone)?;
        txn.put_until(REVIEWS, &payload(&self.id), &self.payload, gone)?;
        if let Some(sealed) = &self.mandate {
            txn.put_until(REVIEWS, &mandate(&self.id), sealed, gone)?;
        }
        let expires = self.expires.0.to_be_bytes();
        txn.put_until(REVIEWS, &at(ORDER, self.opened, &self.id), &expires, gone)?;
        // Without an end: a row that went by itself would stay in the count.
        txn.put(REVIEWS, &at(ENDS, self.expires, &self.id), &[])?;
        txn.put(REVIEWS, COUNT, &(live + 1).to_be_bytes())?;
        if txn.usage(REVIEWS)?.bytes > MOST_BYTES {
            return Err(Error::Full(live));
        }
        Ok(())
    }
}

/// Takes a review off the count, if it is in it.
pub(crate) fn settled(txn: &mut Txn<'_>, expires: Millis, id: &RandomId) -> Result<(), Error> {
    if txn.delete(REVIEWS, &at(ENDS, expires, id))? {
        let live = number(txn.get(REVIEWS, COUNT)?.as_deref());
        txn.put(REVIEWS, COUNT, &live.saturating_sub(1).to_be_bytes())?;
    }
    Ok(())
}

/// Takes those off the count whose time has passed; how many are left in it.
fn sweep(txn: &mut Txn<'_>) -> Result<u64, Error> {
    let now = txn.now();
    for (key, _) in txn.scan(REVIEWS, &Range::prefix([ENDS]).limit(SWEEP))? {
        match read_at(&key) {
            Some((expires, id)) if expires <= now => settled(txn, expires, &id)?,
            _ => break,
        }
    }
    Ok(number(txn.get(REVIEWS, COUNT)?.as_deref()))
}

/// Makes room: the oldest of those that are settled go, if there are many.
fn prune(txn: &mut Txn<'_>, settings: &Settings) -> Result<(), Error> {
    let most = KEPT * ROWS * settings.open_per_tenant;
    let usage = txn.usage(REVIEWS)?;
    if usage.rows <= most && usage.bytes <= MOST_BYTES / 2 {
        return Ok(());
    }
    // Those that wait are at most so many; behind them, or between, are settled ones.
    let waiting = usize::try_from(settings.open_per_tenant).unwrap_or(usize::MAX);
    let reach = waiting.saturating_add(PRUNE).min(store::MAX_SCAN);
    let mut gone = 0;
    for (key, expires) in txn.scan(REVIEWS, &Range::prefix([ORDER]).limit(reach))? {
        let Some((_, id)) = read_at(&key) else { continue };
        let expires = Millis(number(Some(&expires)));
        if gone == PRUNE {
            break;
        }
        if txn.get(REVIEWS, &at(ENDS, expires, &id))?.is_none() {
            for key in [item(&id), payload(&id), mandate(&id), key.to_vec()] {
                txn.delete(REVIEWS, &key)?;
            }
            gone += 1;
        }
    }
    Ok(())
}
