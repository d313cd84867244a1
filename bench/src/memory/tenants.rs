//! The deployment's tenants, and their data over HTTP, as a user would load it.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bench::{
    deployment::Deployment,
    load::{Connection, Request, Sample},
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::data::{DIMENSIONS, Data};

/// The collection of every tenant.
pub(crate) const COLLECTION: &str = "docs";
/// Points of one request that writes.
pub(crate) const BATCH: u64 = 500;
/// Connections that load. A body of [`BATCH`] points has 4.2 MB, so that eight of one tenant's at once are more than
/// `limits.bodies_bytes_per_tenant` lets in (32 MiB): the eighth is answered 429, before it was read.
const LOADERS: usize = 4;
/// Tenants in one `tenants apply`.
const APPLY: usize = 1_000;

/// The id of a tenant.
pub(crate) fn id(tenant: usize) -> String {
    format!("tenant-{tenant:06}")
}

/// Makes `count` tenants.
pub(crate) fn make(runtime: &Runtime, ours: &Deployment, count: usize) -> Result<()> {
    for first in (0..count).step_by(APPLY) {
        let batch: Vec<Value> = (first..count.min(first + APPLY))
            .map(|n| json!({"id": id(n), "environments": ["live"]}))
            .collect();
        ours.admin(runtime, "PUT /admin/v1/tenants", &json!({"tenants": batch}).to_string())?;
    }
    Ok(())
}

/// A token of each of the first `count` tenants. They live for 15 minutes.
pub(crate) fn tokens(runtime: &Runtime, ours: &Deployment, count: usize) -> Result<Vec<String>> {
    let tokens = (0..count).map(|n| {
        let ask = json!({
            "tenant": id(n),
            "environment": "live",
            "workflow": "support",
            "scope": "memory:read memory:write memory:collections",
            "ttl_seconds": 900,
            "reason": "benchmark",
        });
        let minted = ours.admin(runtime, "POST /admin/v1/tokens", &ask.to_string())?;
        let minted: Value = serde_json::from_str(&minted)?;
        minted["token"].as_str().map(str::to_owned).context("no token")
    });
    tokens.collect()
}

/// Something to load: points of a tenant's.
type Part = (usize, Range<u64>);

/// Where things are asked, and by whom.
pub(crate) struct Doors<'a> {
    pub(crate) ours: &'a Deployment,
    pub(crate) data: &'a Arc<Data>,
    pub(crate) tokens: Vec<String>,
}

impl Doors<'_> {
    /// Any request of a tenant's about its collection; `path` follows on the collection's.
    pub(crate) fn request(&self, tenant: usize, method: &str, path: &str, body: &str) -> Request {
        let line = format!("{method} /qdrant/collections/{COLLECTION}{path}");
        Request::new(self.ours.data, &line, &self.tokens[tenant], body)
    }

    /// A query as RAG asks it: ten results with their payloads.
    pub(crate) fn query(&self, tenant: usize, nth: u64) -> Request {
        let query = self.data.query(tenant, nth);
        let body = json!({"query": query, "limit": 10, "with_payload": true});
        self.request(tenant, "POST", "/points/query", &body.to_string())
    }

    /// Makes the collections of tenants.
    pub(crate) async fn create(&self, tenants: Range<usize>) -> Result<()> {
        let body = json!({"vectors": {"size": DIMENSIONS, "distance": "Cosine"}}).to_string();
        let mut connection = Connection::open(self.ours.data).await?;
        for tenant in tenants {
            let answer = connection.ask(&self.request(tenant, "PUT", "", &body)).await?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        }
        Ok(())
    }

    /// Loads points of tenants, in batches, on several connections; how long it took.
    pub(crate) async fn load(&self, parts: &[Part]) -> Result<Duration> {
        let cut = |(tenant, points): &Part| {
            let (tenant, points) = (*tenant, points.clone());
            let starts = points.clone().step_by(usize::try_from(BATCH).unwrap_or(1));
            starts.map(move |from| (tenant, from..points.end.min(from + BATCH)))
        };
        let mut batches: Vec<Part> = parts.iter().flat_map(cut).collect();
        batches.reverse();
        let batches = Arc::new(Mutex::new(batches));
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..LOADERS {
            let batches = Arc::clone(&batches);
            let (data, address) = (Arc::clone(self.data), self.ours.data);
            let tokens = self.tokens.clone();
            workers.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let line = format!("PUT /qdrant/collections/{COLLECTION}/points?wait=true");
                loop {
                    let next = batches.lock().ok().and_then(|mut batches| batches.pop());
                    let Some((tenant, points)) = next else { return anyhow::Ok(()) };
                    let body = data.upsert(tenant, points);
                    let request = Request::new(address, &line, &tokens[tenant], &body);
                    let answer = connection.ask(&request).await?;
                    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
                }
            });
        }
        while let Some(done) = workers.join_next().await {
            done??;
        }
        Ok(begun.elapsed())
    }

    /// Upserts whose bodies are ready before the clock runs: `batches` of each of these tenants, each tenant on a
    /// connection of its own. Points per second of all, and how long a batch took.
    pub(crate) async fn upserts(&self, tenants: Range<usize>, batches: u64) -> Result<Sample> {
        let count = tenants.len() as u64 * batches * BATCH;
        let mut workers = JoinSet::new();
        let ready = Arc::new(tokio::sync::Barrier::new(tenants.len() + 1));
        for tenant in tenants {
            let batch = |nth: u64| {
                let body = self.data.upsert(tenant, nth * BATCH..(nth + 1) * BATCH);
                self.request(tenant, "PUT", "/points?wait=true", &body)
            };
            let requests: Vec<Request> = (0..batches).map(batch).collect();
            let (ready, address) = (Arc::clone(&ready), self.ours.data);
            workers.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut sample = Sample::default();
                ready.wait().await;
                for request in &requests {
                    let begun = Instant::now();
                    let answer = connection.ask(request).await?;
                    sample.push(begun.elapsed());
                    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
                }
                anyhow::Ok(sample)
            });
        }
        ready.wait().await;
        let begun = Instant::now();
        let mut all = Sample::default();
        while let Some(done) = workers.join_next().await {
            all.add(done??);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of points")]
        all.push_rate(count as f64 / begun.elapsed().as_secs_f64());
        Ok(all)
    }

    /// How many points of a tenant are in a graph.
    pub(crate) async fn indexed(&self, tenant: usize) -> Result<u64> {
        let mut connection = Connection::open(self.ours.data).await?;
        let answer = connection.ask(&self.request(tenant, "GET", "", "")).await?;
        let info: Value = serde_json::from_slice(answer.body())?;
        info["result"]["indexed_vectors_count"].as_u64().context("no indexed_vectors_count")
    }
}
