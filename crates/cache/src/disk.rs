//! The disk tier: rows of the store, the oldest of a shelf going first.

use bytes::Bytes;
use ids::{BoxFuture, Millis};
use scope::{Scope, Write};
use store::{File, Range, Store, Table, Txn};

use crate::{Backend, CacheKey, Error, Settings, Stamp, Stamps, Usage};

/// Its stamp (8 bytes, big-endian), then the sealed bytes.
const ENTRIES: Table = Table { file: File::Cache, id: 501, name: "cache.entries" };

/// Its stamp, then its key: the shelf in order of age. The value is about how many bytes
/// both rows take (8 bytes, big-endian).
const BY_AGE: Table = Table { file: File::Cache, id: 502, name: "cache.by_age" };

/// The tables of this crate, for the registry of all tables.
pub const TABLES: &[Table] = &[ENTRIES, BY_AGE];

/// What the two rows of a value take besides it, in bytes: keys, tags, and a little more.
const ROWS: usize = 160;

/// Rows that one write removes at most to make room for itself. A write that would need more
/// keeps nothing, and the room that it made is the next one's.
const EVICT: usize = 256;

/// Rows that are removed in one go when a shelf is cleared.
const CLEAR: usize = 1_000;

/// Sealed bytes on disk.
#[derive(Debug)]
pub struct Disk {
    store: Store,
    per_shelf: u64,
    stamps: Stamps,
}

impl Disk {
    /// The tier in this store, with the bounds of the settings.
    #[must_use]
    pub fn new(settings: &Settings, store: Store, stamps: Stamps) -> Self {
        Self { store, per_shelf: settings.disk_bytes_per_tenant, stamps }
    }

    async fn look(&self, scope: &Scope<Write>, key: &CacheKey) -> Result<Option<Bytes>, Error> {
        let row = self.store.of(scope).get(ENTRIES, key.as_bytes()).await?;
        Ok(row.filter(|row| row.len() > 8).map(|row| row.slice(8..)))
    }

    async fn keep(
        &self,
        scope: &Scope<Write>,
        key: &CacheKey,
        sealed: Bytes,
        stamp: Stamp,
        expires: Millis,
    ) -> Result<(), Error> {
        let kept = stamp.0.to_be_bytes();
        let (quota, stamps) = (self.per_shelf, self.stamps.clone());
        let key = *key;
        let cost = sealed.len() + ROWS;
        let view = self.store.of(scope);
        view.write(File::Cache, cost, move |txn| -> Result<(), Error> {
            if !forget(txn, &key, stamp, &stamps)? {
                return Ok(());
            }
            if !make_room(txn, quota, cost as u64)? {
                return Ok(());
            }
            let row = [&kept[..], &sealed].concat();
            txn.put_until(ENTRIES, key.as_bytes(), &row, expires)?;
            txn.put_until(BY_AGE, &by_age(&kept, &key), &(cost as u64).to_be_bytes(), expires)?;
            Ok(())
        })
        .await
    }

    async fn clear_all(&self, scope: &Scope<Write>) -> Result<Usage, Error> {
        let gone = self.sum(scope).await?;
        for table in [ENTRIES, BY_AGE] {
            loop {
                let view = self.store.of(scope);
                let range = Range { limit: CLEAR, ..Range::default() };
                let rows = view.scan(table, range).await?;
                if rows.is_empty() {
                    break;
                }
                view.write(File::Cache, CLEAR * 64, move |txn| -> Result<(), Error> {
                    for (key, _) in &rows {
                        txn.delete(table, key)?;
                    }
                    Ok(())
                })
                .await?;
            }
        }
        Ok(gone)
    }

    async fn sum(&self, scope: &Scope<Write>) -> Result<Usage, Error> {
        let view = self.store.of(scope);
        let (entries, order) = (view.usage(ENTRIES).await?, view.usage(BY_AGE).await?);
        Ok(Usage { entries: entries.rows, bytes: entries.bytes + order.bytes })
    }
}

fn by_age(kept: &[u8], key: &CacheKey) -> Vec<u8> {
    [kept, key.as_bytes()].concat()
}

/// Removes what an earlier write left under this key; whether nothing newer is there.
fn forget(txn: &mut Txn<'_>, key: &CacheKey, stamp: Stamp, stamps: &Stamps) -> Result<bool, Error> {
    let Some(row) = txn.get(ENTRIES, key.as_bytes())? else { return Ok(true) };
    if let Some(kept) = row.first_chunk() {
        if stamps.seen(Stamp(u64::from_be_bytes(*kept))) > stamp {
            return Ok(false);
        }
        txn.delete(BY_AGE, &by_age(kept, key))?;
    }
    txn.delete(ENTRIES, key.as_bytes())?;
    Ok(true)
}

/// Removes the shelf's oldest until `cost` more bytes fit under its quota.
fn make_room(txn: &mut Txn<'_>, quota: u64, cost: u64) -> Result<bool, Error> {
    let mut left = EVICT;
    loop {
        let mut used = txn.usage(ENTRIES)?.bytes + txn.usage(BY_AGE)?.bytes;
        if used + cost <= quota {
            return Ok(true);
        }
        if cost > quota || left == 0 {
            return Ok(false);
        }
        let oldest = txn.scan(BY_AGE, &Range { limit: left.min(16), ..Range::default() })?;
        if oldest.is_empty() {
            return Ok(false);
        }
        for (order, size) in oldest {
            if used + cost <= quota {
                break;
            }
            left -= 1;
            if let Some(key) = order.get(8..) {
                txn.delete(ENTRIES, key)?;
            }
            txn.delete(BY_AGE, &order)?;
            // Near enough to know when to stop; what counts is asked for again above.
            let size = size.first_chunk().map_or(0, |size| u64::from_be_bytes(*size));
            used = used.saturating_sub(size);
        }
    }
}

impl Backend for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn get<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        Box::pin(self.look(scope, key))
    }

    fn put<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
        sealed: Bytes,
        stamp: Stamp,
        expires: Millis,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.keep(scope, key, sealed, stamp, expires))
    }

    fn delete<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
        stamp: Stamp,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let (key, stamps) = (*key, self.stamps.clone());
        Box::pin(async move {
            let view = self.store.of(scope);
            view.write(File::Cache, 64, move |txn| forget(txn, &key, stamp, &stamps).map(drop))
                .await
        })
    }

    fn clear<'a>(&'a self, scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(self.clear_all(scope))
    }

    fn usage<'a>(&'a self, scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(self.sum(scope))
    }
}
