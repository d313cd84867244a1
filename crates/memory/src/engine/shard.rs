//! One shard of the engine's. With `form` and `request`, all that knows the engine's types.
//!
//! The engine panics where others answer with an error, also when a shard is dropped. No panic
//! of it goes further than this: the shard is then not to be trusted any more.

use std::{
    collections::HashMap,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use qdrant_edge::{
    CountRequest, EdgeShard, FacetRequest, FacetValue, OperationError, OperationResult, OrderBy,
    OrderByInterface, OrderValue, PointInsertOperations, PointOperations, ScrollRequest, StartFrom,
    UpdateOperation, WithPayloadInterface, WithVector, external::uuid::Uuid,
};
use serde_json::Value;

use super::form::{self, ContentFields};
use crate::{
    Collection, Error, Point, PointId, Seq,
    request::{Filter, Order, plan::Plan},
    truth::Change,
};

/// Segments of the engine's log, in a shard's directory.
const LOG: &str = "wal";

/// A point as the engine ranked it: not yet anybody's content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) id: PointId,
    pub(crate) score: f32,
    /// By what it was ordered, where it was.
    pub(crate) order: Option<Value>,
}

/// How a point stands in the index, held against its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// As in its row.
    Same,
    /// Not there.
    Missing,
    /// With other vectors or another payload.
    Different,
}

/// An open shard. Writes and flushes are serialized; queries are not held up by them for longer
/// than the engine does.
pub(crate) struct Shard {
    /// `None` only while it is dropped.
    edge: Option<EdgeShard>,
    path: PathBuf,
    content: Arc<ContentFields>,
    /// Names of all vectors: a point that has them all replaces all of an older one.
    vectors: usize,
    /// Held by whoever applies or flushes: the engine's `flush` panics beside an update.
    writing: Mutex<Writing>,
    /// Up to which write everything is in it.
    applied: AtomicU64,
    /// Up to which write everything is in its files, and its stamp says so.
    durable: AtomicU64,
    bytes: AtomicU64,
    /// Points in it. The engine knows, too, but has whoever asks wait for a write.
    points: AtomicU64,
    /// Points that a graph knows, at least: the engine says it of vectors of all kinds together.
    graphed: AtomicU64,
    poisoned: AtomicBool,
}

/// What a shard was when it was left: of what is not in its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Everything up to this write is in it.
    pub(super) seq: Seq,
    /// Points that were deleted or replaced.
    pub(super) dead: u64,
    /// Points that a graph knows.
    pub(super) graphed: u64,
}

/// What writes have to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Writing {
    /// Points that were deleted or replaced since the shard was made: their bytes are in it.
    pub(super) dead: u64,
    /// Points applied since the last flush.
    pub(super) unflushed: u64,
}

impl Shard {
    /// A new one, empty. Blocks.
    pub(super) fn create(
        path: &Path,
        collection: &Collection,
        content: &Arc<ContentFields>,
    ) -> Result<Self, Error> {
        let config = form::config(collection);
        let shard = guarded("create", || EdgeShard::new(path, config))?;
        let this = Self::over(shard, path, collection, content, &Left::default());
        for index in form::indexes(collection)? {
            this.guarded("index", |edge| edge.update(index))?;
        }
        Ok(this)
    }

    /// The one in a directory. Blocks.
    pub(super) fn load(
        path: &Path,
        collection: &Collection,
        content: &Arc<ContentFields>,
        left: &Left,
    ) -> Result<Self, Error> {
        let config = form::config(collection);
        let shard = guarded("load", || EdgeShard::load(path, Some(config)))?;
        Ok(Self::over(shard, path, collection, content, left))
    }

    fn over(
        edge: EdgeShard,
        path: &Path,
        collection: &Collection,
        content: &Arc<ContentFields>,
        left: &Left,
    ) -> Self {
        let schema = &collection.schema;
        let this = Self {
            edge: Some(edge),
            path: path.to_owned(),
            content: Arc::clone(content),
            vectors: schema.vectors.len() + schema.sparse.len(),
            writing: Mutex::new(Writing { dead: left.dead, unflushed: 0 }),
            applied: AtomicU64::new(left.seq),
            durable: AtomicU64::new(left.seq),
            bytes: AtomicU64::new(0),
            points: AtomicU64::new(0),
            graphed: AtomicU64::new(left.graphed),
            poisoned: AtomicBool::new(false),
        };
        this.count_points();
        this
    }

    /// Up to which write everything is in it.
    pub(crate) fn applied(&self) -> Seq {
        self.applied.load(Ordering::Acquire)
    }

    /// Up to which write everything is in its files, and its stamp says so.
    pub(crate) fn durable(&self) -> Seq {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn stamped(&self, upto: Seq) {
        self.durable.fetch_max(upto, Ordering::AcqRel);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether it is not to be trusted any more.
    pub(crate) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// It is not to be trusted any more; whether it was until now.
    pub(super) fn poison(&self) -> bool {
        !self.poisoned.swap(true, Ordering::AcqRel)
    }

    pub(super) fn writing(&self) -> Writing {
        *self.writing.lock()
    }

    /// For the planted bug of a shared shard only: what it has is somebody else's.
    pub(super) fn begin_again(&self) {
        self.applied.store(0, Ordering::Release);
    }

    /// Makes changes; with them it has everything up to `upto`. Blocks. If it fails, nobody
    /// knows what is in it.
    pub(super) fn apply(&self, changes: &[Change], upto: Seq) -> Result<(), Error> {
        let mut writing = self.writing.lock();
        let (mut gone, mut here) = (Vec::new(), Vec::new());
        let mut weight = 0;
        // What is told twice counts as it was told last.
        let last: HashMap<_, _> =
            changes.iter().map(|change| (id_of_change(change), change)).collect();
        // Into a segment with a graph the engine writes nothing: it moves a point, and what the
        // new one does not have is taken from the old one. So the old one has to go first.
        let graph = self.segments() > 1;
        for change in last.into_values() {
            match change {
                Change::Put(point) => {
                    if graph && point.vectors.len() < self.vectors {
                        gone.push(form::id(point.id));
                    }
                    weight += form::weight(point);
                    here.push(form::point(point, &self.content));
                }
                Change::Delete(id) => gone.push(form::id(*id)),
            }
        }
        let (before, put) = (self.count_points(), here.len() as u64);
        if !gone.is_empty() {
            self.update(UpdateOperation::PointOperation(PointOperations::DeletePoints {
                ids: gone,
            }))?;
        }
        let between = self.count_points();
        if !here.is_empty() {
            let here = PointInsertOperations::PointsList(here);
            self.update(UpdateOperation::PointOperation(PointOperations::UpsertPoints(here)))?;
        }
        let replaced = (between + put).saturating_sub(self.count_points());
        let dead = before.saturating_sub(between) + replaced;
        writing.dead += dead;
        // They may all have been in the graph.
        let _ = self.graphed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |graphed| {
            Some(graphed.saturating_sub(dead))
        });
        writing.unflushed += changes.len() as u64;
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        self.applied.store(upto, Ordering::Release);
        Ok(())
    }

    fn update(&self, operation: UpdateOperation) -> Result<(), Error> {
        self.guarded("update", |edge| edge.update(operation)).map_err(|error| {
            self.poison();
            match error {
                Error::Engine(_) => error,
                // Whatever is wrong with a row that was accepted, it is not the asker's request.
                _ => Error::Engine("update: a row does not fit".into()),
            }
        })
    }

    /// Brings everything to the files; up to which write that is. Blocks.
    pub(super) fn flush(&self) -> Result<Seq, Error> {
        let mut writing = self.writing.lock();
        self.flush_locked(&mut writing)
    }

    fn flush_locked(&self, writing: &mut Writing) -> Result<Seq, Error> {
        let upto = self.applied();
        let flushed = self.guarded("flush", |edge| {
            edge.flush();
            Ok(())
        });
        if flushed.is_err() {
            self.poison();
        }
        flushed?;
        trim_log(&self.path.join(LOG)).map_err(|error| failed("log", &error))?;
        writing.unflushed = 0;
        Ok(upto)
    }

    /// Flushes, and copies what is in the files to another directory. Nothing is written
    /// meanwhile. Blocks.
    pub(super) fn copy_to(&self, to: &Path) -> Result<Left, Error> {
        let mut writing = self.writing.lock();
        let upto = self.flush_locked(&mut writing)?;
        super::home::copy(&self.path, to).map_err(|error| failed("copy", &error))?;
        Ok(Left { seq: upto, dead: writing.dead, graphed: self.indexed() })
    }

    /// Makes graphs, and leaves behind what is deleted. Blocks for long; never done to a shard
    /// that is in use.
    pub(super) fn optimize(&self) -> Result<(), Error> {
        let mut writing = self.writing.lock();
        self.guarded("optimize", |edge| edge.optimize().map(|_| ()))?;
        writing.dead = 0;
        self.graphed.store(self.count_points(), Ordering::Relaxed);
        Ok(())
    }

    /// The ranking of a plan (already within reach). Blocks.
    pub(crate) fn query(&self, plan: &Plan) -> Result<Vec<Verdict>, Error> {
        let found = self.guarded("query", |edge| edge.query(plan.engine.clone()))?;
        let found = plan.settled(found);
        let verdict = |point: qdrant_edge::ScoredPoint| Verdict {
            id: form::id_of(point.id),
            score: point.score,
            order: point.order_value.map(order_value),
        };
        Ok(found.into_iter().map(verdict).collect())
    }

    /// Ids in their order, beginning with `from`. Blocks.
    pub(crate) fn scroll(
        &self,
        filter: Option<&Filter>,
        from: Option<PointId>,
        limit: usize,
    ) -> Result<Vec<PointId>, Error> {
        let request = ScrollRequest { offset: from.map(form::id), ..plain_scroll(filter, limit) };
        let (records, _) = self.guarded("scroll", |edge| edge.scroll(request))?;
        Ok(records.into_iter().map(|record| form::id_of(record.id)).collect())
    }

    /// Ids ordered by a payload field. Blocks.
    pub(crate) fn ordered(
        &self,
        filter: Option<&Filter>,
        order: &Order,
        limit: usize,
    ) -> Result<Vec<Verdict>, Error> {
        let start_from = order.start_from.clone().map(serde_json::from_value::<StartFrom>);
        let order = OrderBy {
            key: form::path(&order.key)?,
            direction: Some(if order.descending {
                qdrant_edge::Direction::Desc
            } else {
                qdrant_edge::Direction::Asc
            }),
            start_from: start_from.transpose().map_err(|_| {
                Error::Invalid("Wrong input: start_from is a number or a date".into())
            })?,
        };
        let request = ScrollRequest {
            order_by: Some(OrderByInterface::Struct(order)),
            ..plain_scroll(filter, limit)
        };
        let (records, _) = self.guarded("scroll", |edge| edge.scroll(request))?;
        let verdict = |record: qdrant_edge::Record| Verdict {
            id: form::id_of(record.id),
            score: 0.0,
            order: record.order_value.map(order_value),
        };
        Ok(records.into_iter().map(verdict).collect())
    }

    /// How many. Blocks.
    pub(crate) fn count(&self, filter: Option<&Filter>, exact: bool) -> Result<u64, Error> {
        let request = CountRequest { filter: filter.map(|filter| filter.engine.clone()), exact };
        Ok(self.guarded("count", |edge| edge.count(request))? as u64)
    }

    /// Values of a payload field and how many points have them, most first. Blocks.
    pub(crate) fn facet(
        &self,
        key: &str,
        filter: Option<&Filter>,
        limit: usize,
        exact: bool,
    ) -> Result<Vec<(Value, u64)>, Error> {
        let request = FacetRequest {
            key: form::path(key)?,
            limit,
            filter: filter.map(|filter| filter.engine.clone()),
            exact,
        };
        let found = self.guarded("facet", |edge| edge.facet(request))?;
        let hit = |hit: qdrant_edge::FacetValueHit| (facet_value(hit.value), hit.count as u64);
        Ok(found.hits.into_iter().map(hit).collect())
    }

    /// Holds what the index has of these points against their rows. Blocks.
    pub(crate) fn hold(&self, rows: &[Point]) -> Result<Vec<Held>, Error> {
        let ids: Vec<_> = rows.iter().map(|row| form::id(row.id)).collect();
        let all = Some(WithPayloadInterface::Bool(true));
        let found = self
            .guarded("retrieve", |edge| edge.retrieve(&ids, all, Some(WithVector::Bool(true))))?;
        let mut found: HashMap<_, _> =
            found.into_iter().map(|record| (record.id, record)).collect();
        let held = |row: &Point| match found.remove(&form::id(row.id)) {
            None => Held::Missing,
            Some(record) => match form::same(row, record, &self.content) {
                true => Held::Same,
                false => Held::Different,
            },
        };
        Ok(rows.iter().map(held).collect())
    }

    /// Points in the shard: no query of it visits more.
    pub(crate) fn points(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    fn count_points(&self) -> u64 {
        let points = self.info().map_or(0, |info| info.points_count as u64);
        self.points.store(points, Ordering::Relaxed);
        points
    }

    /// Points that the graph knows, at least.
    pub(crate) fn indexed(&self) -> u64 {
        self.graphed.load(Ordering::Relaxed).min(self.points())
    }

    fn segments(&self) -> usize {
        self.info().map_or(0, |info| info.segments_count)
    }

    fn info(&self) -> Option<qdrant_edge::ShardInfo> {
        self.guarded("info", |edge| Ok(edge.info())).ok()
    }

    /// Runs one call of the engine. A panic in it poisons the shard.
    fn guarded<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&EdgeShard) -> OperationResult<T>,
    ) -> Result<T, Error> {
        let Some(edge) = &self.edge else {
            return Err(Error::Engine(format!("{what}: closed")));
        };
        let done = catch_unwind(AssertUnwindSafe(|| call(edge)));
        done.map_or_else(
            |_| {
                self.poison();
                Err(Error::Engine(format!("{what}: a panic")))
            },
            |done| done.map_err(|error| refused(what, error)),
        )
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let edge = self.edge.take();
        // Its own drop flushes, and panics if that fails: what was not flushed before is not
        // counted on by any stamp, so nothing is lost.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(edge)));
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shard(up to {})", self.applied())
    }
}

fn guarded<T>(what: &'static str, call: impl FnOnce() -> OperationResult<T>) -> Result<T, Error> {
    let done = catch_unwind(AssertUnwindSafe(call));
    done.map_err(|_| Error::Engine(format!("{what}: a panic")))?
        .map_err(|error| refused(what, error))
}

/// What the engine says goes to the caller where it is about the request, and nowhere where it
/// may be about somebody's content.
fn refused(what: &'static str, error: OperationError) -> Error {
    match error {
        OperationError::MissingRangeIndexForOrderBy { .. }
        | OperationError::MissingMapIndexForFacet { .. }
        | OperationError::WrongVectorDimension { .. }
        | OperationError::VectorNameNotExists { .. }
        | OperationError::WrongSparse
        | OperationError::WrongMulti => Error::Invalid(format!("Bad request: {error}")),
        OperationError::ValidationError { description } => {
            Error::Invalid(format!("Bad request: {description}"))
        }
        OperationError::InconsistentStorage { .. } => Error::Engine(format!("{what}: damaged")),
        OperationError::OutOfMemory { .. } => Error::Engine(format!("{what}: out of memory")),
        _ => Error::Engine(format!("{what}: failed")),
    }
}

pub(super) fn failed(what: &'static str, error: &io::Error) -> Error {
    Error::Engine(format!("{what}: {}", error.kind()))
}

/// The engine only adds to its log, and reads none of it when it loads. The numbers of what it
/// writes go on from the last segment that is closed, so that one stays. That it has its name is
/// durable before others go.
fn trim_log(log: &Path) -> io::Result<()> {
    let mut closed = Vec::new();
    for entry in fs::read_dir(log)? {
        let name = entry?.file_name();
        let start = name.to_str().and_then(|name| name.strip_prefix("closed-"));
        if let Some(start) = start.and_then(|start| start.parse::<u64>().ok()) {
            closed.push(start);
        }
    }
    closed.sort_unstable();
    if closed.len() > 1 {
        fs::File::open(log)?.sync_all()?;
        for start in &closed[..closed.len() - 1] {
            fs::remove_file(log.join(format!("closed-{start}")))?;
        }
    }
    Ok(())
}

fn plain_scroll(filter: Option<&Filter>, limit: usize) -> ScrollRequest {
    ScrollRequest {
        offset: None,
        limit: Some(limit),
        filter: filter.map(|filter| filter.engine.clone()),
        with_payload: Some(WithPayloadInterface::Bool(false)),
        with_vector: WithVector::Bool(false),
        order_by: None,
    }
}

fn order_value(value: OrderValue) -> Value {
    match value {
        OrderValue::Int(n) => Value::from(n),
        OrderValue::Float(n) => Value::from(n),
    }
}

fn facet_value(value: FacetValue) -> Value {
    match value {
        FacetValue::Keyword(text) => Value::from(text),
        FacetValue::Int(n) => Value::from(n),
        FacetValue::Uuid(n) => Value::from(Uuid::from_u128(n).to_string()),
        FacetValue::Bool(is) => Value::from(is),
    }
}

const fn id_of_change(change: &Change) -> PointId {
    match change {
        Change::Put(point) => point.id,
        Change::Delete(id) => *id,
    }
}
