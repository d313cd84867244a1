//! The rows: the truth about collections and points. What they say is sealed and bound to its
//! place and version; names, ids and counters stand beside it. A write is one transaction of
//! rows, changes, counters and quotas, durable before it is answered. Writes of one collection
//! happen one after the other.

mod commit;
mod point;
mod row;
#[cfg(test)]
mod tests;
mod writing;

use std::sync::Arc;

use bytes::Bytes;
use ids::{Clock, Entropy};
use scope::{Access, Scope};
use store::{File, MAX_SCAN, Partition, Range, Store, Table, View};
use vault::{Place, Plain, Vault};

use self::row::{CollectionRow, Kind, PointRow, point_key, prefix};
use crate::{Collection, CollectionName, Error, MemorySettings, Point, PointId, Seq};

/// name → incarnation ‖ version ‖ sealed schema
const COLLECTIONS: Table = Table { file: File::Memory, id: 701, name: "memory.collections" };
/// incarnation ‖ id → version ‖ end ‖ sealed point
const POINTS: Table = Table { file: File::Memory, id: 702, name: "memory.points" };
/// incarnation ‖ put or deleted ‖ version ‖ id: what an index that is behind applies
const CHANGES: Table = Table { file: File::Memory, id: 703, name: "memory.changes" };
/// incarnation → counters; there as long as the collection is
const HEADS: Table = Table { file: File::Memory, id: 704, name: "memory.heads" };
/// incarnation of a deleted collection, until the last of its rows is removed
const GONE: Table = Table { file: File::Memory, id: 705, name: "memory.gone" };
/// incarnation ‖ end ‖ id: points that end, in the order in which they do
const ENDS: Table = Table { file: File::Memory, id: 706, name: "memory.ends" };

/// Every table, for whoever sums up.
pub const MEMORY_TABLES: &[Table] = &[COLLECTIONS, POINTS, CHANGES, HEADS, GONE, ENDS];

/// Rows that are sealed or opened before others get their turn on the thread.
const TURN: usize = 64;

/// Rows that are read at once.
const AT_ONCE: usize = 256;

/// The counters of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Of the last write.
    pub(crate) seq: Seq,
    /// Points, with those that have ended and were not removed yet.
    pub(crate) points: u64,
    /// Deletions up to this one are not told by changes any more.
    pub(crate) trimmed: Seq,
}

/// A row as a write leaves it.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    /// Is there, in this form. Its version is set by the write.
    Put(Point),
    /// Is not there.
    Delete(PointId),
}

/// A change as an index applies it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Is there in this form.
    Put(Point),
    /// Is not there.
    Delete(PointId),
}

/// Some of the changes of a collection.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// In the order in which they were made.
    pub(crate) changes: Vec<Change>,
    /// Up to which write they go: whole writes only.
    pub(crate) upto: Seq,
    /// Whether there are more.
    pub(crate) more: bool,
}

/// All rows of all tenants; [`Truth::of`] is the doorway.
#[derive(Clone)]
pub(crate) struct Truth {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<MemorySettings>,
    store: Store,
    vault: Vault,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// The rows that one scope can reach.
pub(crate) struct Rows<'a, A: Access> {
    inner: &'a Inner,
    scope: &'a Scope<A>,
}
// By hand: a derive would ask for a copyable `A`.
impl<A: Access> Copy for Rows<'_, A> {}
impl<A: Access> Clone for Rows<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Truth {
    /// The rows in this store. `clock` is the store's, too.
    pub(crate) fn new(
        settings: Arc<MemorySettings>,
        store: Store,
        vault: Vault,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { inner: Arc::new(Inner { settings, store, vault, clock, entropy }) }
    }

    /// The one doorway.
    pub(crate) fn of<'a, A: Access>(&'a self, scope: &'a Scope<A>) -> Rows<'a, A> {
        Rows { inner: &self.inner, scope }
    }
}

impl<'a, A: Access> Rows<'a, A> {
    /// All collections, by name.
    pub(crate) async fn collections(self) -> Result<Vec<Collection>, Error> {
        let (mut found, mut range) = (Vec::new(), Range::all());
        loop {
            let rows = self.view().scan(COLLECTIONS, range.clone()).await?;
            let more = rows.len() == range.limit;
            for (key, value) in &rows {
                let name = std::str::from_utf8(key).map_err(|_| Error::Damaged)?;
                let name = CollectionName::parse(name).map_err(|_| Error::Damaged)?;
                found.push(self.open_collection(&name, value).await?);
            }
            match rows.last() {
                Some((last, _)) if more => range = range.after(last.to_vec()),
                _ => return Ok(found),
            }
        }
    }

    /// One of them, if there is one of this name.
    pub(crate) async fn collection(
        self,
        name: &CollectionName,
    ) -> Result<Option<Collection>, Error> {
        match self.view().get(COLLECTIONS, name.as_str().as_bytes()).await? {
            Some(row) => Ok(Some(self.open_collection(name, &row).await?)),
            None => Ok(None),
        }
    }

    /// The counters of a collection that is there.
    ///
    /// # Errors
    /// [`Error::NoCollection`] if it was deleted since it was read.
    pub(crate) async fn head(self, collection: &Collection) -> Result<Head, Error> {
        let row = self.view().get(HEADS, &prefix(collection)).await?;
        Head::decode(&row.ok_or_else(|| gone(collection))?)
    }

    /// Points of the tenant's environment, and the bytes of everything that is kept for them:
    /// over all of its collections.
    #[cfg(test)]
    pub(crate) async fn usage(self) -> Result<store::Usage, Error> {
        let mut sum = store::Usage::default();
        for table in MEMORY_TABLES {
            sum = sum.plus(self.view().usage(*table).await?);
        }
        let points = self.view().usage(POINTS).await?.rows;
        Ok(store::Usage { rows: points, bytes: sum.bytes })
    }

    /// The rows of these ids, in their order; `None` for what there is not, or not any more, and
    /// for what stands there and is not this tenant's: that is on record, and does not keep the
    /// tenant from its other rows.
    pub(crate) async fn points(
        self,
        collection: &Collection,
        ids: &[PointId],
    ) -> Result<Vec<Option<Point>>, Error> {
        self.points_within(collection, ids, usize::MAX).await
    }

    /// As [`Self::points`], if their rows have no more than so many bytes altogether.
    ///
    /// # Errors
    /// [`Error::TooLarge`] once they have.
    pub(crate) async fn points_within(
        self,
        collection: &Collection,
        ids: &[PointId],
        most: usize,
    ) -> Result<Vec<Option<Point>>, Error> {
        let mut points = Vec::with_capacity(ids.len());
        let now = self.inner.clock.now();
        let mut bytes = 0;
        for ids in ids.chunks(AT_ONCE) {
            let keys: Vec<_> = ids.iter().map(|id| point_key(collection, id)).collect();
            let rows = match self.view().get_many(POINTS, keys.clone()).await {
                Err(store::Error::ForeignRow) => self.own_rows(keys).await?,
                rows => rows?,
            };
            bytes += rows.iter().flatten().map(Bytes::len).sum::<usize>();
            if bytes > most {
                let what = "bytes of the points of one answer: ask for fewer, which";
                return Err(Error::TooLarge { what, size: bytes as u64, bound: most as u64 });
            }
            for (id, row) in ids.iter().zip(rows) {
                let point = match row {
                    Some(row) => self.own_point(collection, *id, &row).await?,
                    None => None,
                };
                // What is under the seal decides, not what stands beside it.
                points.push(point.filter(|point| point.expires.is_none_or(|end| end > now)));
                rest(points.len()).await;
            }
        }
        Ok(points)
    }

    /// One by one, without those that are not this tenant's.
    async fn own_rows(self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Bytes>>, Error> {
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            rows.push(match self.view().get(POINTS, &key).await {
                Err(store::Error::ForeignRow) => None,
                row => row?,
            });
        }
        Ok(rows)
    }

    /// Up to `limit` rows behind `after`, in the order of ids: for making an index again, and
    /// for verifying one. Fewer are there at the end only. What is not this tenant's is left
    /// out, as in [`Self::points`].
    pub(crate) async fn page(
        self,
        collection: &Collection,
        after: Option<PointId>,
        limit: usize,
    ) -> Result<Vec<Point>, Error> {
        let mut points = Vec::new();
        let mut range = Range::prefix(prefix(collection));
        range.after = after.map(|id| point_key(collection, &id));
        while points.len() < limit {
            range.limit = (limit - points.len()).min(MAX_SCAN);
            let rows = self.view().scan_own(POINTS, range.clone()).await?;
            let ended = rows.len() < range.limit;
            range.after = rows.last().map(|(key, _)| key.to_vec());
            for (key, row) in rows {
                let id = PointId::of_key(key.get(row::PREFIX..).ok_or(Error::Damaged)?)?;
                if let Some(row) = row {
                    points.extend(self.own_point(collection, id, &row).await?);
                }
                rest(points.len()).await;
            }
            if ended {
                break;
            }
        }
        Ok(points)
    }

    /// What was changed after a write, as it is now: a point that was changed twice may be told
    /// twice, the second time as the first. Whole writes, so there may be more than `limit`.
    /// Points that have ended are not told of; they are removed by a later write.
    pub(crate) async fn changes(
        self,
        collection: &Collection,
        after: Seq,
        limit: usize,
    ) -> Result<Changes, Error> {
        // First: whatever was written up to here is seen by the scans.
        let head = self.head(collection).await?;
        let limit = limit.clamp(1, MAX_SCAN - 1);
        let mut named = Vec::new();
        let mut upto = head.seq.max(after);
        let mut more = false;
        for kind in [Kind::Put, Kind::Deleted] {
            let listed = self.listed(collection, kind, after, limit + 1).await?;
            if let Some(last) = listed.get(limit) {
                // Of the last write there may be more.
                upto = upto.min(last.version - 1);
                more = true;
            }
            named.extend(listed);
        }
        if more && upto <= after {
            // The first write alone is more than that: all of it.
            upto = after;
            named.sort_unstable_by_key(|named| named.version);
            if let Some(first) = named.first() {
                upto = first.version;
            }
            named.clear();
            for kind in [Kind::Put, Kind::Deleted] {
                named.extend(self.listed_of(collection, kind, upto).await?);
            }
        }
        named.retain(|named| named.version <= upto);
        // A point that is both put and deleted by one write is there: it had ended before.
        named.sort_unstable_by_key(|named| (named.version, named.id, named.kind == Kind::Put));
        let changes = self.resolve(collection, named).await?;
        Ok(Changes { changes, upto, more })
    }

    /// The changes as the points are now.
    async fn resolve(
        self,
        collection: &Collection,
        named: Vec<Named>,
    ) -> Result<Vec<Change>, Error> {
        let puts = named.iter().filter(|named| named.kind == Kind::Put);
        let ids: Vec<_> = puts.map(|named| named.id).collect();
        let mut points = self.points(collection, &ids).await?.into_iter();
        let change = |named: Named| match named.kind {
            Kind::Deleted => Change::Delete(named.id),
            // Deleted, or ended, since.
            Kind::Put => points.next().flatten().map_or(Change::Delete(named.id), Change::Put),
        };
        Ok(named.into_iter().map(change).collect())
    }

    /// Changes of a kind behind a write.
    async fn listed(
        self,
        collection: &Collection,
        kind: Kind,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Named>, Error> {
        let mut range = Range::prefix(row::change_prefix(collection, kind)).limit(limit);
        range.after = Some(row::change_end(collection, kind, after));
        let rows = self.view().scan(CHANGES, range).await?;
        rows.iter().map(|(key, _)| Named::of_key(kind, key)).collect()
    }

    /// Every change of a kind that one write made.
    async fn listed_of(
        self,
        collection: &Collection,
        kind: Kind,
        version: Seq,
    ) -> Result<Vec<Named>, Error> {
        let whole = row::version_prefix(collection, kind, version);
        let (mut listed, mut range) = (Vec::new(), Range::prefix(whole).limit(MAX_SCAN));
        loop {
            let rows = self.view().scan(CHANGES, range.clone()).await?;
            for (key, _) in &rows {
                listed.push(Named::of_key(kind, key)?);
            }
            match rows.last() {
                Some((last, _)) if rows.len() == range.limit => range = range.after(last.to_vec()),
                _ => return Ok(listed),
            }
        }
    }

    fn view(self) -> View<'a, A> {
        self.inner.store.of(self.scope)
    }

    async fn open_collection(self, name: &CollectionName, row: &[u8]) -> Result<Collection, Error> {
        let row = CollectionRow::decode(row)?;
        let key = row.place_key(name);
        let plain = self.open(&row::collection_place(&key, row.version), row.sealed).await?;
        row.collection(name, &plain)
    }

    /// The point of a row; `None` for a row that was not written for this place.
    async fn own_point(
        self,
        collection: &Collection,
        id: PointId,
        row: &[u8],
    ) -> Result<Option<Point>, Error> {
        match self.open_point(collection, id, row).await {
            Err(Error::Vault(vault::Error::Foreign)) => Ok(None),
            Err(Error::Damaged) => {
                let partition = Partition::of(self.scope);
                tracing::error!(?partition, "a damaged row of a point was found and withheld");
                Ok(None)
            }
            point => point.map(Some),
        }
    }

    async fn open_point(
        self,
        collection: &Collection,
        id: PointId,
        row: &[u8],
    ) -> Result<Point, Error> {
        let row = PointRow::decode(row)?;
        let key = point_key(collection, &id);
        let plain = self.open(&row::point_place(&key, row.version), row.sealed).await?;
        point::decode(id, row.version, &plain)
    }

    async fn open(self, place: &Place<'_>, sealed: &[u8]) -> Result<Plain, Error> {
        let opened = self.inner.vault.of(self.scope).open(place, sealed).await;
        opened.map_err(|error| {
            if matches!(error, vault::Error::Foreign) {
                let partition = Partition::of(self.scope);
                tracing::error!(
                    ?partition,
                    surface = place.surface,
                    "a row that was not sealed for its place was found and withheld"
                );
            }
            error.into()
        })
    }
}

/// A change as its key has it.
struct Named {
    kind: Kind,
    version: Seq,
    id: PointId,
}

impl Named {
    fn of_key(kind: Kind, key: &[u8]) -> Result<Self, Error> {
        let (version, id) = row::of_change_key(key)?;
        Ok(Self { kind, version, id })
    }
}

fn gone(collection: &Collection) -> Error {
    Error::NoCollection(collection.name.to_string())
}

/// Lets others have their turn on the thread now and then.
async fn rest(done: usize) {
    if done.is_multiple_of(TURN) {
        tokio::task::yield_now().await;
    }
}
