//! What can be changed.

use std::sync::Arc;

use scope::Write;
use serde_json::Value;

use super::{Collections, Inner, writer::Writer};
use crate::{
    Collection, CollectionName, Error, Schema, Seq, embed,
    request::{Given, Operation, Patch, Selector, paths, points},
};

/// Most payload indexes of a collection.
const INDEXES: usize = 64;

/// How often a change of a schema is made anew because another one came first.
const TRIES: usize = 8;

impl Collections<'_, Write> {
    /// Makes a collection.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Full`], and what is over a bound.
    pub async fn create(self, name: &CollectionName, schema: Schema) -> Result<(), Error> {
        self.check(&schema)?;
        let name = name.clone();
        self.whole(move |inner, scope| async move {
            if inner.truth.of(&scope).create(&name, schema).await? {
                return Ok(());
            }
            Err(Error::Exists(name.to_string()))
        })
        .await
    }

    /// Changes what of a collection can be changed.
    ///
    /// # Errors
    /// [`Error::NoCollection`].
    pub async fn change(self, name: &CollectionName, patch: Patch) -> Result<(), Error> {
        self.schema(name, move |schema| {
            if let Some(hnsw) = patch.hnsw {
                schema.hnsw = hnsw.of(schema.hnsw);
            }
            if let Some(fields) = &patch.metadata {
                crate::request::edit::merge(&mut schema.metadata, fields);
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Whether there was one. Its rows and its index are gone.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn delete(self, name: &CollectionName) -> Result<bool, Error> {
        let name = name.clone();
        self.whole(move |inner, scope| async move {
            let rows = inner.truth.of(&scope);
            let Some(collection) = rows.collection(&name).await? else {
                // Of one that was deleted and not cleared away.
                rows.clear_away().await?;
                return Ok(false);
            };
            // First: once it is not there any more, nobody else knows of its index.
            if !ids::planted::is("memory-delete-unmarked") {
                inner.shards.to_forget(&scope, &collection).await;
            }
            rows.retire(&collection).await?;
            inner.shards.remove(&scope, &collection).await?;
            rows.clear_away().await?;
            Ok(true)
        })
        .await
    }

    /// Makes a payload index, in place of one that there was.
    ///
    /// # Errors
    /// [`Error::NoCollection`], [`Error::Content`].
    pub async fn create_index(
        self,
        name: &CollectionName,
        field: String,
        schema: Value,
    ) -> Result<Seq, Error> {
        let field = paths::asked(&field, &self.inner.settings)?.to_string();
        self.schema(name, move |changed| {
            changed.indexes.insert(field.clone(), schema.clone());
            let (size, bound) = (changed.indexes.len() as u64, INDEXES as u64);
            if size > bound {
                return Err(Error::TooLarge { what: "payload indexes", size, bound });
            }
            Ok(())
        })
        .await
    }

    /// Removes a payload index, if there is one.
    ///
    /// # Errors
    /// [`Error::NoCollection`].
    pub async fn delete_index(self, name: &CollectionName, field: &str) -> Result<Seq, Error> {
        let field = paths::own(field)?.to_string();
        self.schema(name, move |schema| {
            schema.indexes.remove(&field);
            Ok(())
        })
        .await
    }

    /// Does one after the other, each durable when it is done. One by ids is all or nothing; one
    /// over a filter goes in steps, each of which is, and who is cut short repeats it. Documents
    /// are embedded first. A sequence number for each.
    ///
    /// Whoever stops waiting does not stop a write that has begun.
    ///
    /// # Errors
    /// [`Error::NoCollection`], [`Error::Unreachable`], [`Error::Full`], what does not fit the
    /// collection, [`Error::Embedding`].
    pub async fn write(
        self,
        name: &CollectionName,
        operations: Vec<Operation>,
    ) -> Result<Vec<Seq>, Error> {
        let mut operations = operations;
        self.embed(name, &mut operations).await?;
        let name = name.clone();
        self.whole(move |inner, scope| async move {
            let writer = Writer::of(inner, scope, &name).await?;
            let (mut written, mut outcome) = (Vec::new(), Ok(()));
            for operation in operations {
                match writer.write(operation).await {
                    Ok(done) => written.push(done.seq),
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            if !written.is_empty() {
                writer.finish().await;
            }
            outcome.map(|()| written)
        })
        .await
    }

    /// Removes points, and everything of them from the index's files, before it returns; how
    /// many there were.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn erase(self, name: &CollectionName, points: Selector) -> Result<u64, Error> {
        let name = name.clone();
        self.whole(move |inner, scope| async move {
            let (shards, truth) = (inner.shards.clone(), inner.truth.clone());
            let writer = Writer::of(inner, scope.clone(), &name).await?;
            let done = writer.write(Operation::Delete(points)).await?;
            let collection = writer.collection().clone();
            drop(writer);
            shards.rebuild(&truth, &scope, &collection).await?;
            Ok(done.points)
        })
        .await
    }

    /// Removes the index files of all collections: for the erasure of a tenant, whose rows go
    /// with its partition.
    ///
    /// # Errors
    /// What the file system answers.
    pub async fn forget_all(self) -> Result<(), Error> {
        self.whole(|inner, scope| async move { inner.shards.remove_all(&scope).await }).await
    }

    /// Makes a collection's index again from the rows.
    ///
    /// # Errors
    /// [`Error::NoCollection`]; what the engine answers.
    pub async fn rebuild(self, name: &CollectionName) -> Result<(), Error> {
        let found = self.inner.truth.of(self.scope).collection(name).await?;
        let collection = found.ok_or_else(|| Error::NoCollection(name.to_string()))?;
        self.inner.shards.rebuild(&self.inner.truth, self.scope, &collection).await
    }

    /// Runs all of it, whether or not anybody waits for it.
    async fn whole<T, F>(
        self,
        work: impl FnOnce(Arc<Inner>, scope::Scope<Write>) -> F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let inner = Arc::clone(self.inner);
        let done = self.scope.spawn(|scope| work(inner, scope)).await;
        done.map_err(|_| Error::Store(store::Error::Panicked))?
    }

    /// Changes a schema; the write that it was, or the last one if it is as it was before.
    async fn schema(
        self,
        name: &CollectionName,
        change: impl Fn(&mut Schema) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<Seq, Error> {
        let name = name.clone();
        self.whole(move |inner, scope| async move {
            let rows = inner.truth.of(&scope);
            for _ in 0..TRIES {
                let found = rows.collection(&name).await?;
                let collection = found.ok_or_else(|| Error::NoCollection(name.to_string()))?;
                let mut schema = collection.schema.clone();
                change(&mut schema)?;
                // Every request reads it. An index has lists of words, too.
                let indexes: usize = schema.indexes.values().map(points::weight).sum();
                let size = points::size(&schema.metadata).max(indexes);
                let bound = inner.settings.payload_bytes;
                if size > bound {
                    let what = "bytes of metadata, or of payload indexes,";
                    let (size, bound) = (size as u64, bound as u64);
                    return Err(Error::TooLarge { what, size, bound });
                }
                if schema == collection.schema {
                    return Ok(rows.head(&collection).await?.seq);
                }
                if let Some((_, seq)) = rows.change(&collection, schema).await? {
                    return Ok(seq);
                }
            }
            Err(Error::Store(store::Error::Busy))
        })
        .await
    }

    /// Puts vectors in place of documents.
    async fn embed(self, name: &CollectionName, operations: &mut [Operation]) -> Result<(), Error> {
        let mut items: Vec<(&str, &mut Given)> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Upsert(points) => {
                    for point in points {
                        items.extend(point.vectors.iter_mut().map(|(n, v)| (n.as_str(), v)));
                    }
                }
                Operation::UpdateVectors(points) => {
                    for (_, vectors) in points {
                        items.extend(vectors.iter_mut().map(|(n, v)| (n.as_str(), v)));
                    }
                }
                _ => {}
            }
        }
        items.retain(|(_, given)| matches!(given, Given::Document(_)));
        if items.is_empty() {
            return Ok(());
        }
        // Nobody pays for texts that are not kept.
        let found = self.inner.truth.of(self.scope).collection(name).await?;
        let Collection { schema, .. } =
            found.ok_or_else(|| Error::NoCollection(name.to_string()))?;
        items.iter().try_for_each(|(name, _)| schema.check_name(name))?;
        let mut items: Vec<_> = items.into_iter().map(|(_, given)| given).collect();
        embed::resolve(self.inner, self.scope, &mut items, false).await
    }

    /// The bounds of what a collection is made of.
    fn check(&self, schema: &Schema) -> Result<(), Error> {
        let settings = &self.inner.settings;
        let vectors = schema.vectors.len() + schema.sparse.len();
        let size = schema.vectors.values().map(|space| space.size).max().unwrap_or(0);
        for (what, size, bound) in [
            ("vectors by name", vectors, settings.vectors),
            ("dimensions of a vector", size, settings.dimensions),
        ] {
            if size > bound {
                let (size, bound) = (size as u64, bound as u64);
                return Err(Error::TooLarge { what, size, bound });
            }
        }
        Ok(())
    }
}
