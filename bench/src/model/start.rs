//! How long a deployment with many tenants takes to be ready, and what it holds in memory when nobody asks.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Tenants in one `tenants apply`.
const BATCH: u32 = 1_000;
/// Starts; the median counts.
const STARTS: usize = 5;

/// What a start took.
pub(crate) struct Start {
    pub(crate) tenants: u32,
    /// The median of several.
    pub(crate) ready: Duration,
    /// Bytes resident, a second after the last start.
    pub(crate) idle_rss: u64,
}

/// Makes the tenants through the admin API, then starts again and again.
pub(crate) fn measure(runtime: &Runtime, upstream: SocketAddr, tenants: u32) -> Result<Start> {
    let folder = tempfile::tempdir()?;
    let mut deployment = crate::deployment(folder.path(), upstream)?;
    deployment.until_ready(runtime)?;
    for first in (0..tenants).step_by(BATCH as usize) {
        let batch: Vec<Value> = (first..tenants.min(first + BATCH))
            .map(|n| {
                json!({
                    "id": format!("tenant-{n:06}"),
                    "aliases": [format!("org_{n:06}")],
                    "environments": ["live", "staging"],
                    "accounts": {"crm": [format!("acct_{n:06}")]},
                })
            })
            .collect();
        let body = json!({ "tenants": batch }).to_string();
        deployment.admin(runtime, "PUT /admin/v1/tenants", &body)?;
    }
    deployment.stop()?;
    let mut times = Vec::new();
    let mut idle_rss = 0;
    for _ in 0..STARTS {
        times.push(deployment.until_ready(runtime)?);
        thread::sleep(Duration::from_secs(1));
        idle_rss = deployment.resident()?;
        deployment.stop()?;
    }
    times.sort();
    Ok(Start { tenants, ready: times[STARTS / 2], idle_rss })
}
