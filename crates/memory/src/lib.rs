//! Retrieval and memory: a tenant's points, ranked among themselves.
//!
//! The truth is the store: every point is a sealed row of its tenant's partition, durable before
//! anybody hears of it (`truth`). The index is a shard of the engine's for one collection of one
//! tenant's environment, and disposable: whatever is wrong with it, it is made again from the
//! rows (`engine`). A query is read strictly (`request`), is held to what its scope may reach
//! (`reach`), ranked in the tenant's own shard, and what leaves is opened from the tenant's own
//! rows (`facade`). No line outside `engine` and `request` knows the engine's types.

mod bm25;
mod embed;
mod engine;
mod error;
mod facade;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod name;
mod path;
mod point;
mod reach;
mod recall;
pub mod request;
mod schema;
mod settings;
mod truth;
mod vector;

pub use self::{
    embed::{Document, EmbedError, Embedder},
    engine::remove_indexes,
    error::Error,
    facade::{Collections, Figures, Group, Info, Memory, Parts, Record, Verified},
    name::CollectionName,
    point::{Payload, Point, PointId, Seq, Subject, Vector, Vectors},
    reach::WorkflowFilter,
    recall::{Found, Recall, Remember},
    schema::{Collection, Dense, Distance, Hnsw, Schema, Sparse},
    settings::MemorySettings,
    truth::MEMORY_TABLES,
};
