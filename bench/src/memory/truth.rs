//! The right answers, by looking at everything. Shares no code with what it checks.

use std::collections::HashSet;

use crate::data::{DIMENSIONS, Data};

/// All vectors of a tenant, one after the other.
pub(crate) struct Truth(Vec<f32>);

impl Truth {
    pub(crate) fn of(data: &Data, tenant: usize) -> Self {
        Self((0..data.sizes[tenant]).flat_map(|id| data.vector(tenant, id)).collect())
    }

    /// The ids of the `limit` nearest by cosine, nearest first. All vectors have length 1.
    pub(crate) fn nearest(&self, query: &[f32], limit: usize) -> Vec<u64> {
        let score = |row: &[f32]| {
            // In lanes, so that it is vectorized.
            let mut lanes = [0.0_f32; 16];
            for (a, b) in row.chunks_exact(16).zip(query.chunks_exact(16)) {
                for at in 0..16 {
                    lanes[at] += a[at] * b[at];
                }
            }
            lanes.iter().sum::<f32>()
        };
        let mut all: Vec<(f32, u64)> =
            self.0.chunks_exact(DIMENSIONS).map(score).zip(0..).collect();
        let limit = limit.min(all.len());
        if limit < all.len() {
            all.select_nth_unstable_by(limit, |a, b| b.0.total_cmp(&a.0));
        }
        all.truncate(limit);
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.into_iter().map(|(_, id)| id).collect()
    }
}

/// Which part of what was to be found was found.
#[expect(clippy::cast_precision_loss, reason = "counts of results")]
pub(crate) fn recall(found: &[u64], wanted: &[u64]) -> f64 {
    let found: HashSet<_> = found.iter().collect();
    let hits = wanted.iter().filter(|id| found.contains(id)).count();
    hits as f64 / wanted.len().max(1) as f64
}
