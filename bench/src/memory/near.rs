//! The same data in process: the crate over the files of the deployment that has just been measured, and the engine
//! alone over a copy of the crate's own shards.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use bench::load::Sample;
use ids::{Clock, OsEntropy, SystemClock};
use memory::{CollectionName, Memory, MemorySettings, Parts, request};
use qdrant_edge::{
    EdgeShard, NamedQuery, QueryEnum, QueryRequest, ScoringQuery, WithPayloadInterface, WithVector,
};
use scope::{Scope, Write};
use serde_json::json;
use store::{Options, Store};
use testkit::Kit;
use tokio::task::JoinSet;
use vault::{FileRoot, Vault};

use crate::{data::Data, tenants};

/// Not counted, before every run.
const WARM_UP: Duration = Duration::from_millis(500);
/// Different queries of a tenant.
const QUERIES: u64 = 256;

/// The files of a deployment that does not run.
pub(crate) struct Near {
    memory: Memory,
    store: Store,
    vault: Vault,
    kit: Kit,
    index: PathBuf,
}

/// One tenant's own.
pub(crate) struct Own {
    scope: Arc<Scope<Write>>,
    queries: Arc<Vec<request::Query>>,
    vectors: Arc<Vec<Vec<f32>>>,
    name: CollectionName,
}

impl Near {
    /// Opens them as the server does.
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let kit = Kit::new(Arc::clone(&clock)).await;
        let entropy = Arc::new(OsEntropy);
        let keys = folder.join("keys");
        let root = FileRoot::new(keys.join("root.key"));
        let vault = Vault::open(&keys, root, Arc::clone(&clock), entropy.clone()).await?;
        let store = Store::open(&Options::new(folder.join("data")), Arc::clone(&clock))?;
        let index = folder.join("data/index");
        let parts = Parts {
            store: store.clone(),
            vault: vault.clone(),
            clock,
            entropy,
            index_dir: index.clone(),
            embedder: None,
            subject_key: [0; 32],
        };
        let memory = Memory::open(MemorySettings::default(), parts)?;
        Ok(Self { memory, store, vault, kit, index })
    }

    /// A tenant, with its queries read.
    pub(crate) async fn own(&self, data: &Data, tenant: usize) -> Result<Own> {
        let name = tenants::id(tenant);
        self.kit.registry.add_tenant(&name, &["live"], SystemClock.now());
        let scope = self.kit.scope(&name, "live").await;
        let vectors: Vec<_> = (0..QUERIES).map(|nth| data.query(tenant, nth)).collect();
        let read = |vector: &Vec<f32>| {
            let body = json!({"query": vector, "limit": 10, "with_payload": true}).to_string();
            request::parse_query(body.as_bytes(), self.memory.settings())
        };
        let queries: Result<Vec<_>, _> = vectors.iter().map(read).collect();
        Ok(Own {
            scope: Arc::new(scope),
            queries: Arc::new(queries?),
            vectors: Arc::new(vectors),
            name: CollectionName::parse(tenants::COLLECTION)?,
        })
    }

    /// The crate: rank in the shard, open what leaves from the rows.
    pub(crate) async fn crate_alone(
        &self,
        own: &Own,
        tasks: usize,
        length: Duration,
    ) -> Result<Sample> {
        let begins = Instant::now() + WARM_UP;
        let ends = begins + length;
        let mut workers = JoinSet::new();
        for nth in 0..tasks {
            let (memory, scope) = (self.memory.clone(), Arc::clone(&own.scope));
            let (queries, name) = (Arc::clone(&own.queries), own.name.clone());
            workers.spawn(async move {
                let mut sample = Sample::default();
                for query in queries.iter().cycle().skip(nth * 16) {
                    let asked = Instant::now();
                    if asked >= ends {
                        break;
                    }
                    let found = memory.of(&scope).query(&name, query.clone()).await?;
                    let took = asked.elapsed();
                    anyhow::ensure!(!found.is_empty(), "nothing was found");
                    if asked >= begins {
                        sample.push(took);
                    }
                }
                anyhow::Ok(sample)
            });
        }
        let mut all = Sample::default();
        while let Some(done) = workers.join_next().await {
            all.add(done??);
        }
        all.push_rate(per_second(all.count(), length));
        Ok(all)
    }

    /// A copy of a tenant's shard, as the engine left it on disk.
    pub(crate) fn copy(&self, own: &Own, to: &Path) -> Result<EdgeShard> {
        let partition = ids::text::hex(own.scope.partition_bytes());
        let of_collection = only(&self.index.join(partition), |_| true)?;
        let generation = only(&of_collection, |name| name.starts_with('g'))?;
        copy_tree(&generation, to)?;
        EdgeShard::load(to, None).map_err(|error| anyhow!("the engine: {error}"))
    }

    /// Asks one question of each: then their indexes are there, whatever made them last.
    pub(crate) async fn touch(&self, data: &Data, tenants: &[usize]) -> Result<()> {
        for tenant in tenants {
            let own = self.own(data, *tenant).await?;
            self.crate_alone(&own, 1, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Closes everything in order.
    pub(crate) async fn close(self) -> Result<()> {
        self.memory.close().await;
        self.store.close().await?;
        self.vault.close().await?;
        Ok(())
    }
}

/// The engine alone: the same query, with the filterable payload that its shard holds.
pub(crate) fn engine_alone(
    shard: &EdgeShard,
    own: &Own,
    threads: usize,
    length: Duration,
) -> Result<Sample> {
    let begins = Instant::now() + WARM_UP;
    let ends = begins + length;
    let one = |nth: usize| {
        let mut sample = Sample::default();
        for vector in own.vectors.iter().cycle().skip(nth * 16) {
            let asked = Instant::now();
            if asked >= ends {
                break;
            }
            let found =
                shard.query(nearest(vector)).map_err(|error| anyhow!("the engine: {error}"))?;
            let took = asked.elapsed();
            anyhow::ensure!(!found.is_empty(), "nothing was found");
            if asked >= begins {
                sample.push(took);
            }
        }
        anyhow::Ok(sample)
    };
    let mut all = Sample::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|nth| scope.spawn(move || one(nth))).collect();
        for worker in workers {
            all.add(worker.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        anyhow::Ok(())
    })?;
    all.push_rate(per_second(all.count(), length));
    Ok(all)
}

fn nearest(vector: &[f32]) -> QueryRequest {
    let vector = NamedQuery::default_dense(vector.to_vec());
    QueryRequest {
        prefetches: Vec::new(),
        query: Some(ScoringQuery::Vector(QueryEnum::Nearest(vector))),
        filter: None,
        score_threshold: None,
        limit: 10,
        offset: 0,
        params: None,
        with_vector: WithVector::Bool(false),
        with_payload: WithPayloadInterface::Bool(true),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of queries")]
fn per_second(count: usize, length: Duration) -> f64 {
    count as f64 / length.as_secs_f64()
}

/// The one directory below `folder` whose name is right: the last, if there are several.
fn only(folder: &Path, right: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && right(&name) {
            found.push(entry.path());
        }
    }
    found.sort();
    found.pop().with_context(|| format!("nothing in {}", folder.display()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
