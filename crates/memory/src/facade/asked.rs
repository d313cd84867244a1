//! One collection as one read sees it: what is ranked is held against the rows before anything
//! of it leaves.

use std::{
    collections::HashSet,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ids::planted;
use scope::Access;
use serde_json::{Value, json};

use super::{Collections, Record, shown::Shown};
use crate::{
    Collection, CollectionName, Error, Point, PointId, Seq, Vector,
    engine::{self, Shard, Verdict},
    reach::{Reach, ours},
    request::{
        Example, Filter, Given, Query, Rank,
        plan::{self, Plan},
    },
    truth::{Change, Head},
    vector::Ranked,
};

/// Changes that are looked through for why a row is not there any more.
const LOOKED_THROUGH: usize = 10_000;

/// What one read works with.
pub(crate) struct Asked<'a, A: Access> {
    pub(crate) of: Collections<'a, A>,
    pub(crate) collection: Collection,
    pub(crate) reach: Reach,
}

/// What the shard said, each with its row.
pub(crate) struct Held {
    pub(crate) rows: Vec<(Verdict, Point)>,
    /// How many the shard named, and the last of them.
    pub(crate) named: usize,
    pub(crate) last: Option<PointId>,
}

impl<'a, A: Access> Collections<'a, A> {
    pub(crate) async fn asked(self, name: &CollectionName) -> Result<Asked<'a, A>, Error> {
        let collection = self.inner.truth.of(self.scope).collection(name).await?;
        let collection = collection.ok_or_else(|| Error::NoCollection(name.to_string()))?;
        let reach = Reach::of(self.inner, self.scope, &collection);
        Ok(Asked { of: self, collection, reach })
    }
}

impl<A: Access> Asked<'_, A> {
    /// Holds a read to the setting's bound.
    pub(crate) async fn within_time<T>(
        &self,
        read: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let seconds = self.of.inner.settings.query_seconds;
        let bound = Duration::from_secs(seconds);
        tokio::time::timeout(bound, read).await.unwrap_or(Err(Error::Late(seconds)))
    }

    /// The reach ANDed with a caller's filter.
    pub(crate) fn filter(&self, given: Option<&Filter>) -> Result<Option<Filter>, Error> {
        let reach = self.first_lock()?;
        Ok(reach.into_iter().chain(given.cloned()).reduce(Filter::and))
    }

    fn first_lock(&self) -> Result<Option<Filter>, Error> {
        if planted::is("memory-post-filter") {
            return Ok(None);
        }
        self.reach.filter()
    }

    /// Ranked, and as it is shown.
    pub(crate) async fn query(&self, query: &Query) -> Result<Vec<Record>, Error> {
        let shown = Shown::of(&query.show, &self.collection)?;
        let held = self.ranked(query).await?;
        Ok(held.rows.into_iter().map(|(verdict, row)| shown.record(row, verdict)).collect())
    }

    /// Ranked, with rows.
    pub(crate) async fn ranked(&self, query: &Query) -> Result<Held, Error> {
        let examples = self.rows(&plan::examples(query)).await?;
        let example = |id: PointId| examples.iter().find(|row| row.id == id).cloned();
        let reach = self.first_lock()?;
        let plan = Plan::new(query, &self.collection, reach.as_ref(), &example)?;
        let scored = scored(query, &self.collection, &example);
        let (plan, offset) = (Arc::new(plan), query.offset);
        let ask = move |shard: &Shard| {
            let found = shard.query(&plan)?;
            Ok(found.into_iter().skip(offset).collect())
        };
        self.held(ask, scored.as_ref()).await
    }

    /// The rows of these ids that are within reach. Nothing is ranked.
    pub(crate) async fn rows(&self, ids: &[PointId]) -> Result<Vec<Point>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let Collections { inner, scope } = self.of;
        let (truth, most) = (inner.truth.of(scope), inner.settings.answer_bytes);
        let rows = truth.points_within(&self.collection, ids, most).await?;
        Ok(rows.into_iter().flatten().filter(|row| self.reach.holds(row)).collect())
    }

    /// What a question to the shard answers, held against the rows. If it cannot be, the index
    /// is made again and asked once more.
    pub(crate) async fn held(
        &self,
        ask: impl Fn(&Shard) -> Result<Vec<Verdict>, Error> + Clone + Send + 'static,
        scored: Option<&Ranked>,
    ) -> Result<Held, Error> {
        for _ in 0..2 {
            let head = self.of.inner.truth.of(self.of.scope).head(&self.collection).await?;
            let (verdicts, shard) = match self.asked_once(ask.clone()).await {
                Ok(answer) => answer,
                Err(Error::Engine(_)) => {
                    self.distrust("it failed").await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.second_lock(&head, &shard, verdicts, scored).await? {
                Ok(held) => return Ok(held),
                // Who asked the same shard may have found it first: it is made again once.
                Err(_) if shard.poisoned() => {}
                Err(what) => {
                    drop(shard);
                    self.distrust(what).await;
                }
            }
        }
        Err(Error::Engine("the index does not agree with the rows it was made from".into()))
    }

    /// What a question to the shard answers that no row stands behind: numbers.
    pub(crate) async fn told<T: Send + 'static>(
        &self,
        ask: impl Fn(&Shard) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        match self.asked_once(ask.clone()).await {
            Err(Error::Engine(_)) => {
                self.distrust("it failed").await;
                Ok(self.asked_once(ask).await?.0)
            }
            answer => Ok(answer?.0),
        }
    }

    async fn asked_once<T: Send + 'static>(
        &self,
        ask: impl Fn(&Shard) -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, Arc<Shard>), Error> {
        let Collections { inner, scope } = self.of;
        let shard = inner.shards.open(&inner.truth, scope, &self.collection).await?;
        inner.work.queries.fetch_add(1, Ordering::Relaxed);
        inner.work.visited.fetch_add(shard.points(), Ordering::Relaxed);
        let asked = Arc::clone(&shard);
        let answer = inner.lanes.run(scope.partition_bytes(), move || ask(&asked)).await??;
        Ok((answer, shard))
    }

    async fn distrust(&self, what: &'static str) {
        let Collections { inner, scope } = self.of;
        inner.shards.distrust(scope, &self.collection, what).await;
    }

    /// Every row that was named must be there, within reach, and worth its score; unless the
    /// collection changed meanwhile.
    async fn second_lock(
        &self,
        head: &Head,
        shard: &Arc<Shard>,
        verdicts: Vec<Verdict>,
        scored: Option<&Ranked>,
    ) -> Result<Result<Held, &'static str>, Error> {
        let ids: Vec<PointId> = verdicts.iter().map(|verdict| verdict.id).collect();
        let Collections { inner, scope } = self.of;
        let (truth, most) = (inner.truth.of(scope), inner.settings.answer_bytes);
        let rows = truth.points_within(&self.collection, &ids, most).await?;
        let (named, last) = (ids.len(), ids.last().copied());
        let mut held = Held { rows: Vec::with_capacity(named), named, last };
        let (mut missing, mut beyond) = (Vec::new(), Vec::new());
        for (verdict, row) in verdicts.into_iter().zip(rows) {
            let Some(row) = row else {
                missing.push(verdict.id);
                continue;
            };
            let since = row.version > head.seq;
            if !self.reach.holds(&row) {
                if !since {
                    beyond.push(row);
                }
                continue;
            }
            let right = scored.is_none_or(|ranked| {
                ranked.explains(row.vectors.get(&ranked.using), verdict.score)
            });
            if !right && !since && !planted::is("memory-score-unchecked") {
                return Ok(Err("a score is not that of the row"));
            }
            held.rows.push((verdict, row));
        }
        if !self.as_in_rows(shard, beyond).await? {
            return Ok(Err("it named a row out of reach"));
        }
        if missing.is_empty() || self.explained(head, shard, missing).await? {
            return Ok(Ok(held));
        }
        Ok(Err("it named a row that there is not"))
    }

    /// Whether the index has these rows as they are. Then it is not wrong about what is beyond
    /// the reach, but an index of a payload field knows less than the row: a range of whole
    /// numbers, say, nothing of fractions.
    async fn as_in_rows(&self, shard: &Arc<Shard>, rows: Vec<Point>) -> Result<bool, Error> {
        if rows.is_empty() {
            return Ok(true);
        }
        let shard = Arc::clone(shard);
        let hold = move || shard.hold(&rows);
        let held = self.of.inner.lanes.run(self.of.scope.partition_bytes(), hold).await??;
        Ok(held.iter().all(|held| *held == engine::Held::Same))
    }

    /// Whether rows are not there because they were deleted, or expired, since the shard was
    /// asked.
    async fn explained(
        &self,
        head: &Head,
        shard: &Arc<Shard>,
        mut missing: Vec<PointId>,
    ) -> Result<bool, Error> {
        let Collections { inner, scope } = self.of;
        self.keep_undeleted(head.seq, &mut missing).await?;
        if missing.is_empty() {
            return Ok(true);
        }
        let now = inner.clock.now();
        if now == self.reach.now() {
            return Ok(false);
        }
        let ids: Vec<Value> = missing.iter().map(PointId::json).collect();
        let over = ours(&json!({"must": [
            {"has_id": ids}, {"key": "_bulkhead.expires", "range": {"lte": now.0}},
        ]}))?;
        let shard = Arc::clone(shard);
        let count = move || shard.count(Some(&over), true);
        Ok(inner.lanes.run(scope.partition_bytes(), count).await?? == missing.len() as u64)
    }

    /// Of rows that are not there, those that were not deleted after a write.
    async fn keep_undeleted(&self, after: Seq, missing: &mut Vec<PointId>) -> Result<(), Error> {
        let truth = self.of.inner.truth.of(self.of.scope);
        let since = truth.changes(&self.collection, after, LOOKED_THROUGH).await?;
        // Deletions that the index has flushed are not told any more.
        let untold = truth.head(&self.collection).await?.trimmed > after;
        let deleted = |change: &Change| match change {
            Change::Delete(id) => Some(*id),
            Change::Put(_) => None,
        };
        let gone: HashSet<PointId> = since.changes.iter().filter_map(deleted).collect();
        missing.retain(|id| !gone.contains(id) && !since.more && !untold);
        Ok(())
    }

    /// How many of the rows that are not there were not deleted after a write.
    pub(super) async fn unexplained(
        &self,
        after: Seq,
        mut missing: Vec<PointId>,
    ) -> Result<u64, Error> {
        self.keep_undeleted(after, &mut missing).await?;
        Ok(missing.len() as u64)
    }
}

/// By what rows were ranked, if it is as plain as it can be.
fn scored(
    query: &Query,
    collection: &Collection,
    example: &dyn Fn(PointId) -> Option<Point>,
) -> Option<Ranked> {
    let space = collection.schema.vectors.get(&query.using)?;
    match &query.rank {
        Some(Rank::Nearest(nearest)) if query.prefetch.is_empty() => match nearest {
            Example::Given(Given::Vector(Vector::Dense(vector))) => {
                Ranked::new(&query.using, vector, space)
            }
            Example::Id(id) => match example(*id)?.vectors.get(&query.using)? {
                Vector::Dense(vector) => Ranked::new(&query.using, vector, space),
                _ => None,
            },
            Example::Given(_) => None,
        },
        _ => None,
    }
}
