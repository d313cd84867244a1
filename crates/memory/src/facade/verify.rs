//! The index held against the rows it was made from: all of both.

use std::sync::Arc;

use scope::Access;
use serde_json::json;

use super::{Asked, Verified};
use crate::{
    Error, Point, PointId,
    engine::{Held, Shard},
    reach::ours,
};

/// Rows, or ids of the index, at once.
const PAGE: usize = 512;

impl<A: Access> Asked<'_, A> {
    pub(super) async fn verified(&self) -> Result<Verified, Error> {
        let inner = self.of.inner;
        let shard = inner.shards.open(&inner.truth, self.of.scope, &self.collection).await?;
        let mut found = Verified::default();
        self.rows_in_index(&shard, &mut found).await?;
        self.index_in_rows(&shard, &mut found).await?;
        Ok(found)
    }

    /// Whether every row is in the index, as it is.
    async fn rows_in_index(&self, shard: &Arc<Shard>, found: &mut Verified) -> Result<(), Error> {
        let truth = self.of.inner.truth.of(self.of.scope);
        let mut after = None;
        loop {
            let rows = truth.page(&self.collection, after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.id);
            let (asked, upto) = (Arc::clone(shard), shard.applied());
            let rows = Arc::new(rows);
            let given: Arc<Vec<Point>> = Arc::clone(&rows);
            let held = self.run(move || asked.hold(&given)).await?;
            for (row, held) in rows.iter().zip(held) {
                found.rows += 1;
                match held {
                    // Written since.
                    _ if row.version > upto => {}
                    Held::Same => {}
                    Held::Missing => found.missing += 1,
                    Held::Different => found.different += 1,
                }
            }
        }
    }

    /// Whether everything in the index has a row.
    async fn index_in_rows(&self, shard: &Arc<Shard>, found: &mut Verified) -> Result<(), Error> {
        let truth = self.of.inner.truth.of(self.of.scope);
        // What expired stays in the index until it is swept; nothing finds it.
        let over = json!({"key": "_bulkhead.expires", "range": {"lte": self.reach.now().0}});
        let there = ours(&json!({"must_not": [over]}))?;
        let mut from: Option<PointId> = None;
        loop {
            let (asked, filter) = (Arc::clone(shard), there.clone());
            let mut ids = self.run(move || asked.scroll(Some(&filter), from, PAGE + 1)).await?;
            let next = ids.get(PAGE).copied();
            ids.truncate(PAGE);
            let rows = truth.points(&self.collection, &ids).await?;
            let missing: Vec<PointId> =
                ids.iter().zip(&rows).filter(|(_, row)| row.is_none()).map(|(id, _)| *id).collect();
            if !missing.is_empty() {
                found.foreign += self.unexplained(shard.applied(), missing).await?;
            }
            match next {
                None => return Ok(()),
                next => from = next,
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.of.inner.lanes.run(self.of.scope.partition_bytes(), work).await?
    }
}
