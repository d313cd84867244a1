//! Requests in Qdrant's words, read strictly: an object with a key twice, a field that is not
//! known, or one that asks for something that there is not, is refused by name. What is read
//! here is not yet held against a collection.

mod average;
pub(crate) mod edit;
mod filter;
pub(crate) mod paths;
pub(crate) mod plan;
pub(crate) mod points;
mod query;
mod reading;
mod schema;
mod shown;
mod values;
mod vectors;

use serde_json::{Map, Value};

use crate::{Document, MemorySettings, Payload, PointId, Vector};

pub(crate) use self::reading::name as quoted;
pub use self::{
    filter::Filter,
    points::{
        parse_batch, parse_clear, parse_delete, parse_delete_payload, parse_delete_vectors,
        parse_overwrite_payload, parse_set_payload, parse_update_vectors, parse_upsert,
    },
    query::{
        parse_count, parse_facet, parse_groups, parse_queries, parse_query, parse_retrieve,
        parse_scroll,
    },
    schema::{field_schema, parse_create, parse_index, parse_patch},
};

/// A vector, or what becomes one.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// As it is.
    Vector(Vector),
    /// A text, to be embedded at the door.
    Document(Document),
}

/// A vector to compare with.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// As it is, or a text.
    Given(Given),
    /// That of a point of the same collection.
    Id(PointId),
}

/// A point as a caller has it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPoint {
    /// Its id.
    pub id: PointId,
    /// By name; `""` for the one without.
    pub vectors: std::collections::BTreeMap<String, Given>,
    /// Whole.
    pub payload: Payload,
}

/// Which points.
#[derive(Clone, Debug)]
pub enum Selector {
    /// These.
    Ids(Vec<PointId>),
    /// All that match.
    Filter(Filter),
}

/// One thing to do to points.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Puts points in place of those with their ids.
    Upsert(Vec<NewPoint>),
    /// Removes points.
    Delete(Selector),
    /// Merges fields into payloads: at the top, or at `key`.
    SetPayload {
        /// The fields.
        payload: Payload,
        /// Of which points.
        points: Selector,
        /// Under which path.
        key: Option<String>,
    },
    /// Puts payloads in place of what there was.
    OverwritePayload {
        /// The payload.
        payload: Payload,
        /// Of which points.
        points: Selector,
        /// Under which path.
        key: Option<String>,
    },
    /// Removes fields.
    DeletePayload {
        /// Paths.
        keys: Vec<String>,
        /// Of which points.
        points: Selector,
    },
    /// Removes all fields.
    ClearPayload(Selector),
    /// Puts vectors in place of those with their names.
    UpdateVectors(Vec<(PointId, std::collections::BTreeMap<String, Given>)>),
    /// Removes vectors.
    DeleteVectors {
        /// Their names.
        names: Vec<String>,
        /// Of which points.
        points: Selector,
    },
}

/// What of payloads is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum ShowPayload {
    /// All or nothing.
    All(bool),
    /// These paths only.
    Only(Vec<String>),
    /// All but these paths.
    Without(Vec<String>),
}

/// What of vectors is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum ShowVectors {
    /// All or nothing.
    All(bool),
    /// These.
    Only(Vec<String>),
}

/// What of a point is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Show {
    /// Of its payload.
    pub payload: ShowPayload,
    /// Of its vectors.
    pub vectors: ShowVectors,
}

/// How to fuse.
#[derive(Clone, Debug, PartialEq)]
pub enum Fusion {
    /// Reciprocal ranks.
    Rrf {
        /// Of `1 / (k + rank)`. Qdrant's default is 2.
        k: usize,
        /// One per prefetch.
        weights: Option<Vec<f32>>,
    },
    /// By the distribution of scores.
    Dbsf,
}

/// By a payload field.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Which.
    pub key: String,
    /// From large to small.
    pub descending: bool,
    /// Beginning with this value: a number or a date.
    pub start_from: Option<Value>,
}

/// How positive and negative examples are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as Qdrant has them")]
pub enum Strategy {
    AverageVector,
    BestScore,
    SumScores,
}

/// How to rank.
#[derive(Clone, Debug, PartialEq)]
pub enum Rank {
    /// By how near.
    Nearest(Example),
    /// By how near, and how unlike each other (MMR).
    Mmr {
        /// Near to this.
        nearest: Example,
        /// From 0 (near only) to 1 (unlike only). Qdrant's default is 0.5.
        diversity: f32,
        /// How many are looked at.
        candidates: Option<usize>,
    },
    /// Like some and unlike others.
    Recommend {
        /// Like these.
        positive: Vec<Example>,
        /// Unlike these.
        negative: Vec<Example>,
        /// How they are weighed.
        strategy: Strategy,
    },
    /// By a payload field.
    OrderBy(Order),
    /// What the prefetches found, as one.
    Fusion(Fusion),
}

/// A query, or one of its sub-queries.
#[derive(Clone, Debug)]
pub struct Query {
    /// What is asked first.
    pub prefetch: Vec<Query>,
    /// `None`: by id, or what the one prefetch found.
    pub rank: Option<Rank>,
    /// Which vectors; `""` for the one without a name.
    pub using: String,
    /// Only these.
    pub filter: Option<Filter>,
    /// No worse than this.
    pub score_threshold: Option<f32>,
    /// At most so many.
    pub limit: usize,
    /// Leaving out the first ones. 0 in a prefetch.
    pub offset: usize,
    /// `hnsw_ef`.
    pub ef: Option<usize>,
    /// Without the graph.
    pub exact: bool,
    /// Only what the graph knows.
    pub indexed_only: bool,
    /// Of what is found; nothing in a prefetch.
    pub show: Show,
}

/// Results by the value of a payload field.
#[derive(Clone, Debug)]
pub struct Groups {
    /// What is asked. Its limit is of groups.
    pub query: Query,
    /// The field.
    pub by: String,
    /// At most so many of each.
    pub size: usize,
}

/// A page of points.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in Query")]
pub struct Scroll {
    pub filter: Option<Filter>,
    /// Beginning with this one.
    pub offset: Option<PointId>,
    pub limit: usize,
    pub order: Option<Order>,
    pub show: Show,
}

/// How many.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in Query")]
pub struct Count {
    pub filter: Option<Filter>,
    /// Or about how many.
    pub exact: bool,
}

/// Values of a field.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in Query")]
pub struct Facet {
    pub key: String,
    pub filter: Option<Filter>,
    pub limit: usize,
    pub exact: bool,
}

/// Points by their ids.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in Query")]
pub struct Retrieve {
    pub ids: Vec<PointId>,
    pub show: Show,
}

/// What of a collection is changed. `None`: as it is.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// Of all graphs: see [`PatchHnsw::of`].
    pub hnsw: Option<PatchHnsw>,
    /// Merged into what there is.
    pub metadata: Option<Map<String, Value>>,
}

/// What of the graphs is changed. `None`: as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Hnsw")]
pub struct PatchHnsw {
    pub m: Option<usize>,
    pub ef_construct: Option<usize>,
}

/// Bounds that are held while a request is read.
pub type Bounds = MemorySettings;

#[cfg(test)]
mod tests;
