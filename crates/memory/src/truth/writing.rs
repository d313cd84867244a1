//! What changes rows: sealed first, then one transaction.

use std::sync::Arc;

use bytes::Bytes;
use scope::Write;
use store::{File, Range, Txn};

use super::{
    COLLECTIONS, GONE, Row, Rows,
    commit::{self, Prepared},
    gone, point, rest,
    row::{self, CollectionRow, Kind, PointRow, point_key},
};
use crate::{Collection, CollectionName, Error, Schema, Seq};

/// Steps of the removal of deleted collections that others' writes do besides.
const CLEARED: usize = 16;

impl Rows<'_, Write> {
    /// `false` if there is one of this name.
    pub(crate) async fn create(self, name: &CollectionName, schema: Schema) -> Result<bool, Error> {
        if let Err(error) = self.clear_some(CLEARED).await {
            // Nobody else's collection has to wait for it.
            tracing::warn!(code = error.code(), "rows of a deleted collection are left");
        }
        let mut incarnation = [0; 16];
        self.inner.entropy.fill(&mut incarnation);
        let created = self.inner.clock.now();
        let collection =
            Collection { name: name.clone(), incarnation, schema, revision: 1, created };
        let row = self.seal_collection(&collection, 1).await?;
        let (scope, settings) = (self.scope.clone(), Arc::clone(&self.inner.settings));
        let made = self.view().write(File::Memory, row.len(), move |txn| {
            scope.live()?;
            commit::create(txn, &collection, &row, &settings)
        });
        made.await
    }

    /// Replaces the schema of the collection as it was read; `None` if it was changed since.
    /// Counts as a write.
    pub(crate) async fn change(
        self,
        collection: &Collection,
        schema: Schema,
    ) -> Result<Option<(Collection, Seq)>, Error> {
        let name = collection.name.as_str().as_bytes();
        let found = self.view().get(COLLECTIONS, name).await?;
        let before = found.ok_or_else(|| gone(collection))?;
        let there = self.open_collection(&collection.name, &before).await?;
        if there.incarnation != collection.incarnation {
            return Err(gone(collection));
        }
        if there != *collection {
            return Ok(None);
        }
        let version = CollectionRow::decode(&before)?.version + 1;
        let revision = collection.revision + u64::from(needs_index(&there.schema, &schema));
        let changed = Collection { schema, revision, ..there };
        let row = self.seal_collection(&changed, version).await?;
        let (scope, settings) = (self.scope.clone(), Arc::clone(&self.inner.settings));
        let seq = self.view().write(File::Memory, row.len(), {
            let changed = changed.clone();
            move |txn| {
                scope.live()?;
                commit::change(txn, &changed, &before, &row, &settings)
            }
        });
        Ok(seq.await?.map(|seq| (changed, seq)))
    }

    /// The collection is gone at once; its rows are removed by [`Self::clear_away`], or, if that
    /// is cut short, by the next that makes a collection of the tenant's.
    pub(crate) async fn retire(self, collection: &Collection) -> Result<(), Error> {
        let (scope, deleted) = (self.scope.clone(), collection.clone());
        let cost = deleted.name.as_str().len();
        let done = self.view().write(File::Memory, cost, move |txn| {
            scope.live()?;
            commit::delete(txn, &deleted)
        });
        done.await
    }

    /// Writes rows as one: all of them are durable on return, under one sequence number, or
    /// none. `expected` is the head's sequence on which the caller decided; if there was another
    /// write since, nothing is written and the answer is `None`.
    pub(crate) async fn commit(
        self,
        collection: &Collection,
        expected: Seq,
        rows: Vec<Row>,
    ) -> Result<Option<Seq>, Error> {
        let version = expected + 1;
        let mut prepared = Vec::with_capacity(rows.len());
        let mut cost = 0;
        for row in rows {
            let row = self.prepare(collection, version, row).await?;
            cost += row.cost();
            if cost > commit::MAX_BYTES {
                return Err(Error::TooLarge {
                    what: "a write",
                    size: cost as u64,
                    bound: commit::MAX_BYTES as u64,
                });
            }
            prepared.push(row);
            rest(prepared.len()).await;
        }
        let (scope, settings) = (self.scope.clone(), Arc::clone(&self.inner.settings));
        let written = collection.clone();
        let body = move |txn: &mut Txn<'_>| {
            scope.live()?;
            commit::commit(txn, &written, expected, &prepared, &settings)
        };
        if ids::planted::is("memory-ack-before-commit") {
            let store = self.inner.store.clone();
            drop(self.scope.spawn(move |scope| async move {
                store.of(&scope).write(File::Memory, cost, body).await
            }));
            return Ok(Some(version));
        }
        match self.view().write(File::Memory, cost, body).await {
            // What has ended, or is left of deleted collections, still counted.
            Err(Error::Full { .. }) if self.make_room(collection).await? => Ok(None),
            answer => answer,
        }
    }

    /// Whether there is more room than before, and another head.
    async fn make_room(self, collection: &Collection) -> Result<bool, Error> {
        Ok(self.tidy(collection).await? > 0 || self.clear_some(CLEARED).await? > 0)
    }

    /// Removes points that have ended, a bounded number; how many. Counts as a write.
    pub(crate) async fn tidy(self, collection: &Collection) -> Result<u64, Error> {
        let tidied = collection.clone();
        let body = move |txn: &mut Txn<'_>| commit::tidy(txn, &tidied);
        self.view().write(File::Memory, 64 * commit::TIDY, body).await
    }

    /// Forgets deletions up to `upto`: the index has them.
    pub(crate) async fn trim(self, collection: &Collection, upto: Seq) -> Result<(), Error> {
        // Mostly there is nothing to do, and nothing is written.
        let first = self.listed(collection, Kind::Deleted, 0, 1).await?;
        if first.first().is_none_or(|first| first.version > upto) {
            return Ok(());
        }
        loop {
            let trimmed = collection.clone();
            let body = move |txn: &mut Txn<'_>| commit::trim(txn, &trimmed, upto);
            if !self.view().write(File::Memory, 64 * commit::STEP, body).await? {
                return Ok(());
            }
        }
    }

    /// Removes what is left of deleted collections.
    pub(crate) async fn clear_away(self) -> Result<(), Error> {
        while self.clear_some(CLEARED).await? == CLEARED {}
        Ok(())
    }

    /// A bounded number of steps of it; how many there were to do.
    async fn clear_some(self, most: usize) -> Result<usize, Error> {
        for done in 0..most {
            let gone = self.view().scan(GONE, Range::all().limit(1)).await?;
            let Some((key, _)) = gone.first() else { return Ok(done) };
            let incarnation: [u8; 16] = key[..].try_into().map_err(|_| Error::Damaged)?;
            let body = move |txn: &mut Txn<'_>| commit::clear_away(txn, incarnation);
            self.view().write(File::Memory, 128 * commit::STEP, body).await?;
        }
        Ok(most)
    }

    async fn prepare(
        self,
        collection: &Collection,
        version: Seq,
        row: Row,
    ) -> Result<Prepared, Error> {
        let point = match row {
            Row::Delete(id) => return Ok(Prepared { id, row: None }),
            Row::Put(point) => point,
        };
        let key = point_key(collection, &point.id);
        let plain = point::encode(&point)?;
        let sealer = self.inner.vault.of(self.scope);
        let sealed = sealer.seal(&row::point_place(&key, version), &plain).await?;
        let row = PointRow { version, expires: point.expires, sealed: &sealed }.encode();
        Ok(Prepared { id: point.id, row: Some((Bytes::from(row), point.expires)) })
    }

    async fn seal_collection(
        self,
        collection: &Collection,
        version: Seq,
    ) -> Result<Vec<u8>, Error> {
        let plain = row::encode_collection(collection)?;
        let incarnation = collection.incarnation;
        let row = CollectionRow { incarnation, version, sealed: &[] };
        let key = row.place_key(&collection.name);
        let sealer = self.inner.vault.of(self.scope);
        let sealed = sealer.seal(&row::collection_place(&key, version), &plain).await?;
        Ok(CollectionRow { sealed: &sealed, ..row }.encode())
    }
}

/// Whether an index of the one is none of the other.
fn needs_index(before: &Schema, after: &Schema) -> bool {
    before.vectors != after.vectors
        || before.sparse != after.sparse
        || before.hnsw != after.hnsw
        || before.indexes != after.indexes
}
