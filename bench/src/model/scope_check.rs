//! The scope check alone: a credential becomes a scope, without HTTP.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use ids::SystemClock;
use testkit::Kit;
use tokio::runtime::Runtime;

/// Tokens that are checked once each.
const COLD: usize = 2_000;
/// Checks of one token: batches, and checks in each.
const BATCHES: usize = 400;
const BATCH: u32 = 1_000;

/// Medians.
pub(crate) struct ScopeCheck {
    /// A token that was never seen: signature, claims, standing of its tenant.
    pub(crate) cold: Duration,
    /// A token that was proven before: its standing alone.
    pub(crate) cached: Duration,
}

/// Real doors over a registry in memory, real tokens.
pub(crate) fn measure(runtime: &Runtime) -> Result<ScopeCheck> {
    runtime.block_on(async {
        let kit = Kit::new(Arc::new(SystemClock)).await;
        let mut tokens = Vec::with_capacity(COLD);
        for _ in 0..COLD {
            tokens.push(kit.mint("acme", "live", "support").await.secret);
        }
        // The tenant's record is read once and then kept, by whichever token comes first.
        let _standing = kit.scope("acme", "live").await;
        let mut times = Vec::with_capacity(COLD);
        for token in &tokens {
            let begun = Instant::now();
            let scope = kit.authenticate(token).await;
            times.push(begun.elapsed());
            let _ = black_box(scope.map_err(|error| anyhow!("a fresh token: {error}"))?);
        }
        times.sort();
        let token = tokens.last().context("no token")?;
        let mut batches = Vec::with_capacity(BATCHES);
        for _ in 0..BATCHES {
            let begun = Instant::now();
            for _ in 0..BATCH {
                let scope = kit.authenticate(black_box(token)).await;
                let _ = black_box(scope.map_err(|error| anyhow!("a proven token: {error}"))?);
            }
            batches.push(begun.elapsed() / BATCH);
        }
        batches.sort();
        Ok(ScopeCheck { cold: times[COLD / 2], cached: batches[BATCHES / 2] })
    })
}
