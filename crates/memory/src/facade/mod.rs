//! The doorway: what one scope can do with its collections.

mod asked;
mod edits;
mod groups;
mod kept;
mod queues;
mod reads;
mod shown;
#[cfg(test)]
mod tests;
mod verify;
mod writer;
mod writes;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ids::{Clock, Entropy};
use scope::{Access, Scope};
use serde_json::Value;
use store::Store;
use vault::Vault;

use crate::{
    Collection, Embedder, Error, MemorySettings, Payload, PointId, Seq, Vectors,
    engine::{Lanes, Shards},
    reach::Rules,
    truth::Truth,
};

pub(crate) use self::asked::Asked;
use self::queues::Queues;

/// What it works with.
pub struct Parts {
    /// The rows.
    pub store: Store,
    /// What seals them.
    pub vault: Vault,
    /// The store's, too.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub entropy: Arc<dyn Entropy>,
    /// Where indexes are kept.
    pub index_dir: PathBuf,
    /// What embeds texts, if anything does.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Keys the digests of end users' ids.
    pub subject_key: [u8; 32],
}

/// The collections of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Arc<MemorySettings>,
    pub(crate) truth: Truth,
    pub(crate) shards: Shards,
    pub(crate) lanes: Lanes,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) embedder: Option<Arc<dyn Embedder>>,
    pub(crate) subject_key: [u8; 32],
    /// What workflows are held to.
    pub(crate) rules: Rules,
    pub(crate) work: Work,
    /// Who writes, and who waits for it.
    pub(crate) queues: Queues,
}

/// How much was asked.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) queries: AtomicU64,
    pub(crate) visited: AtomicU64,
}

/// Figures of the whole deployment, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Indexes that are open.
    pub open: u64,
    /// Bytes that they are counted with.
    pub open_bytes: u64,
    /// Opened since the start.
    pub opened: u64,
    /// Closed to make room.
    pub evicted: u64,
    /// Made again since the start, for whatever reason.
    pub rebuilt: u64,
    /// Found to be somebody else's, changed, or wrong.
    pub distrusted: u64,
    /// Background work that waits.
    pub waiting: u64,
    /// Queries that were ranked.
    pub queries: u64,
    /// Points in the shards that were asked: no query visited more.
    pub visited: u64,
}

/// A point as it is shown.
#[derive(Clone, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: PointId,
    /// The write that made it so.
    pub version: Seq,
    /// How near, where it was ranked.
    pub score: f32,
    /// By what it was ordered, where it was.
    pub order: Option<Value>,
    /// What was asked for of it.
    pub payload: Option<Payload>,
    /// What was asked for of them.
    pub vectors: Option<Vectors>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({}, version {})", self.id, self.version)
    }
}

/// Results with one value of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The value: a string or a number.
    pub id: Value,
    /// Best first.
    pub hits: Vec<Record>,
}

/// What a collection is and takes.
#[derive(Clone, Debug)]
pub struct Info {
    /// What it is.
    pub collection: Collection,
    /// The last write.
    pub seq: Seq,
    /// Points there are.
    pub points: u64,
    /// Bytes of rows are known of all collections together only: of the tenant's environment.
    pub index_bytes: u64,
    /// Points in a graph.
    pub indexed: u64,
    /// Whether the index is open.
    pub open: bool,
}

/// What [`Collections::verify`] found: the index against the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows that were read; each of them opened.
    pub rows: u64,
    /// In the rows, and not in the index.
    pub missing: u64,
    /// In the index, and not in the rows.
    pub foreign: u64,
    /// With other vectors or payload in the index.
    pub different: u64,
}

/// The collections of one tenant's environment, as the holder of a scope sees them.
#[must_use]
pub struct Collections<'a, A: Access> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) scope: &'a Scope<A>,
}

// By hand: a derive would ask for a copyable `A`.
impl<A: Access> Copy for Collections<'_, A> {}
impl<A: Access> Clone for Collections<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Memory {
    /// Opens nothing but itself: no index, no row.
    ///
    /// # Errors
    /// Settings that cannot be held.
    pub fn open(settings: MemorySettings, parts: Parts) -> Result<Self, Error> {
        settings.check()?;
        let rules = Rules::of(&settings)?;
        let settings = Arc::new(settings);
        let Parts { store, vault, clock, entropy, index_dir, embedder, subject_key } = parts;
        let lanes = Lanes::start(&settings)?;
        let shards = Shards::open_at(
            index_dir,
            Arc::clone(&settings),
            vault.clone(),
            Arc::clone(&clock),
            lanes.clone(),
        )?;
        let truth = Truth::new(
            Arc::clone(&settings),
            store,
            vault,
            Arc::clone(&clock),
            Arc::clone(&entropy),
        );
        let work = Work::default();
        let inner = Inner {
            settings,
            truth,
            shards,
            lanes,
            clock,
            entropy,
            embedder,
            subject_key,
            rules,
            work,
            queues: Queues::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The one doorway.
    pub fn of<'a, A: Access>(&'a self, scope: &'a Scope<A>) -> Collections<'a, A> {
        Collections { inner: &self.inner, scope }
    }

    /// The bounds.
    #[must_use]
    pub fn settings(&self) -> &MemorySettings {
        &self.inner.settings
    }

    /// Now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let shards = self.inner.shards.counts();
        let work = &self.inner.work;
        Figures {
            open: shards.open,
            open_bytes: shards.open_bytes,
            opened: shards.opened,
            evicted: shards.evicted,
            rebuilt: shards.rebuilt,
            distrusted: shards.distrusted,
            waiting: shards.waiting,
            queries: work.queries.load(Ordering::Relaxed),
            visited: work.visited.load(Ordering::Relaxed),
        }
    }

    /// Does what is quickly done in the background: flushes, and drops indexes that should have
    /// forgotten by now; how many. To be called every few seconds.
    pub async fn tend(&self) -> usize {
        self.inner.shards.tend(self.inner.clock.now()).await
    }

    /// Makes indexes again that are to forget or to get a graph, which takes minutes. One after
    /// the other, tenants in turn; how many. To be called every few seconds, apart from
    /// [`Self::tend`].
    pub async fn renew(&self) -> usize {
        self.inner.shards.renew(self.inner.clock.now()).await
    }

    /// Closes every index in order, so that the next start finds them whole. None is opened
    /// after it.
    pub async fn close(&self) {
        self.inner.shards.close().await;
    }
}
