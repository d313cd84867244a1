//! What can be asked.

use std::collections::BTreeSet;

use scope::{Access, Write};
use serde_json::Value;

use super::{Collections, Group, Info, Record, Verified, shown::Shown};
use crate::{
    Collection, CollectionName, Error, PointId, bm25, embed,
    engine::{Shard, Verdict},
    request::{Count, Example, Facet, Given, Groups, Query, Rank, Retrieve, Scroll, plan, quoted},
};

impl<A: Access> Collections<'_, A> {
    /// All, by name.
    ///
    /// # Errors
    /// What the store and the vault answer.
    pub async fn list(self) -> Result<Vec<CollectionName>, Error> {
        let collections = self.inner.truth.of(self.scope).collections().await?;
        Ok(collections.into_iter().map(|collection| collection.name).collect())
    }

    /// # Errors
    /// As [`Self::list`].
    pub async fn exists(self, name: &CollectionName) -> Result<bool, Error> {
        Ok(self.inner.truth.of(self.scope).collection(name).await?.is_some())
    }

    /// What it is and how much there is within reach. Opens no index unless others of the
    /// tenant may reach more.
    ///
    /// # Errors
    /// [`Error::NoCollection`]; as [`Self::list`].
    pub async fn info(self, name: &CollectionName) -> Result<Info, Error> {
        let asked = self.asked(name).await?;
        let head = self.inner.truth.of(self.scope).head(&asked.collection).await?;
        let sizes = self.inner.shards.sizes(self.scope, &asked.collection).await;
        let (points, index_bytes) = if asked.reach.bounded() {
            let within = Count { filter: None, exact: true };
            (asked.within_time(asked.count(&within)).await?, 0)
        } else {
            (head.points, sizes.disk)
        };
        Ok(Info {
            seq: head.seq,
            points,
            index_bytes,
            indexed: sizes.indexed.min(points),
            open: sizes.open,
            collection: asked.collection,
        })
    }

    /// Those within reach, in the order of their ids as given; nothing for the others.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub async fn retrieve(
        self,
        name: &CollectionName,
        retrieve: Retrieve,
    ) -> Result<Vec<Record>, Error> {
        let asked = self.asked(name).await?;
        let shown = Shown::of(&retrieve.show, &asked.collection)?;
        let mut once = BTreeSet::new();
        let ids: Vec<PointId> =
            retrieve.ids.iter().copied().filter(|id| once.insert(*id)).collect();
        let rows = asked.within_time(asked.rows(&ids)).await?;
        Ok(rows.into_iter().map(|row| shown.row(row)).collect())
    }

    /// Ranked. No document may be left in the query: see [`Self::embed_query`].
    ///
    /// # Errors
    /// As [`Self::info`]; what does not fit the collection.
    pub async fn query(self, name: &CollectionName, query: Query) -> Result<Vec<Record>, Error> {
        let asked = self.asked(name).await?;
        asked.within_time(asked.query(&query)).await
    }

    /// Ranked, by the value of a field.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn groups(self, name: &CollectionName, groups: Groups) -> Result<Vec<Group>, Error> {
        let asked = self.asked(name).await?;
        asked.within_time(asked.groups(&groups)).await
    }

    /// A page, and where the next begins.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn scroll(
        self,
        name: &CollectionName,
        scroll: Scroll,
    ) -> Result<(Vec<Record>, Option<PointId>), Error> {
        let asked = self.asked(name).await?;
        asked.within_time(asked.scroll(&scroll)).await
    }

    /// # Errors
    /// As [`Self::query`].
    pub async fn count(self, name: &CollectionName, count: Count) -> Result<u64, Error> {
        let asked = self.asked(name).await?;
        asked.within_time(asked.count(&count)).await
    }

    /// # Errors
    /// As [`Self::query`].
    pub async fn facet(
        self,
        name: &CollectionName,
        facet: Facet,
    ) -> Result<Vec<(Value, u64)>, Error> {
        let asked = self.asked(name).await?;
        asked.within_time(asked.facet(&facet)).await
    }

    /// Holds the index against every row. Reads all of both; changes nothing.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub async fn verify(self, name: &CollectionName) -> Result<Verified, Error> {
        self.asked(name).await?.verified().await
    }
}

impl<A: Access> super::Asked<'_, A> {
    async fn scroll(&self, scroll: &Scroll) -> Result<(Vec<Record>, Option<PointId>), Error> {
        let shown = Shown::of(&scroll.show, &self.collection)?;
        let filter = self.filter(scroll.filter.as_ref())?;
        let (from, limit) = (scroll.offset, scroll.limit);
        let Some(order) = &scroll.order else {
            let ask = move |shard: &Shard| {
                // One more: where the next page begins.
                let ids = shard.scroll(filter.as_ref(), from, limit.saturating_add(1))?;
                Ok(ids.into_iter().map(unranked).collect())
            };
            let mut held = self.held(ask, None).await?;
            let next = held.last.filter(|_| held.named > limit);
            held.rows.retain(|(verdict, _)| Some(verdict.id) != next);
            return Ok((held.rows.into_iter().map(|(_, row)| shown.row(row)).collect(), next));
        };
        if from.is_some() {
            return Err(Error::Invalid(
                "Wrong input: `offset` cannot be used with `order_by`: page by `start_from`".into(),
            ));
        }
        plan::check_order(order, &self.collection.schema)?;
        let order = order.clone();
        let held =
            self.held(move |shard| shard.ordered(filter.as_ref(), &order, limit), None).await?;
        Ok((held.rows.into_iter().map(|(verdict, row)| shown.record(row, verdict)).collect(), None))
    }

    pub(super) async fn count(&self, count: &Count) -> Result<u64, Error> {
        if !count.exact && count.filter.is_none() && !self.reach.bounded() {
            let truth = self.of.inner.truth.of(self.of.scope);
            return Ok(truth.head(&self.collection).await?.points);
        }
        // An estimate would be of the whole collection, not of what is within reach.
        let filter = self.filter(count.filter.as_ref())?;
        self.told(move |shard| shard.count(filter.as_ref(), true)).await
    }

    async fn facet(&self, facet: &Facet) -> Result<Vec<(Value, u64)>, Error> {
        plan::check_facet(&facet.key, &self.collection.schema)?;
        let filter = self.filter(facet.filter.as_ref())?;
        let exact = facet.exact || self.reach.bounded();
        let (key, limit) = (facet.key.clone(), facet.limit);
        self.told(move |shard| shard.facet(&key, filter.as_ref(), limit, exact)).await
    }
}

const fn unranked(id: PointId) -> Verdict {
    Verdict { id, score: 0.0, order: None }
}

impl Collections<'_, Write> {
    /// Puts vectors in place of a query's documents, at every depth.
    ///
    /// # Errors
    /// [`Error::Embedding`], [`Error::Embedder`].
    pub async fn embed_query(self, name: &CollectionName, query: &mut Query) -> Result<(), Error> {
        let mut given = Vec::new();
        documents(query, &mut given);
        if given.is_empty() {
            return Ok(());
        }
        // Nothing is asked of a route for a query that cannot be.
        let collection = self.inner.truth.of(self.scope).collection(name).await?;
        let collection = collection.ok_or_else(|| Error::NoCollection(name.to_string()))?;
        for (using, item) in &given {
            fits(&collection, using, item)?;
        }
        let mut items: Vec<&mut Given> = given.into_iter().map(|(_, item)| item).collect();
        embed::resolve(self.inner, self.scope, &mut items, true).await
    }
}

fn fits(collection: &Collection, using: &str, item: &Given) -> Result<(), Error> {
    let Given::Document(document) = item else { return Ok(()) };
    let schema = &collection.schema;
    schema.check_name(using)?;
    let (words, sparse) = (bm25::named(&document.model), schema.sparse.contains_key(using));
    let (name, model) = (quoted(using), bm25::MODEL);
    match (words, sparse) {
        (true, false) => Err(Error::Invalid(format!(
            "Wrong input: `{model}` makes sparse vectors, and {name} is dense"
        ))),
        (false, true) => Err(Error::Invalid(format!(
            "Wrong input: {name} is sparse: only `{model}` makes such vectors"
        ))),
        _ => Ok(()),
    }
}

/// Every document of a query, at every depth, and for which vectors.
fn documents<'q>(query: &'q mut Query, found: &mut Vec<(String, &'q mut Given)>) {
    let mut add = |example: &'q mut Example| {
        if let Example::Given(given @ Given::Document(_)) = example {
            found.push((query.using.clone(), given));
        }
    };
    match &mut query.rank {
        Some(Rank::Nearest(example) | Rank::Mmr { nearest: example, .. }) => add(example),
        Some(Rank::Recommend { positive, negative, .. }) => {
            positive.iter_mut().chain(negative).for_each(add);
        }
        Some(Rank::OrderBy(_) | Rank::Fusion(_)) | None => {}
    }
    for prefetch in &mut query.prefetch {
        documents(prefetch, found);
    }
}
