//! Answers in the shape that Qdrant's clients read.

use std::collections::BTreeMap;

use memory::{Dense, Group, Info, PointId, Record, Schema, Sparse, Vector, Vectors};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeStruct as _},
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

/// Around every answer.
#[derive(Serialize)]
pub(super) struct Envelope<T> {
    result: T,
    status: &'static str,
    /// In seconds.
    time: f64,
}

impl<T> Envelope<T> {
    pub(super) fn new(result: T, began: Instant) -> Self {
        Self { result, status: "ok", time: began.elapsed().as_secs_f64() }
    }
}

/// What became of a write.
#[derive(Serialize)]
pub(super) struct Updated {
    pub(super) operation_id: u64,
    pub(super) status: &'static str,
}

/// Results under one name.
#[derive(Serialize)]
pub(super) struct Points<T> {
    pub(super) points: T,
}

/// A page.
#[derive(Serialize)]
pub(super) struct Page {
    pub(super) points: Vec<Shown>,
    pub(super) next_page_offset: Option<Id>,
}

/// The id of a point.
pub(super) struct Id(pub(super) PointId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            PointId::Num(n) => to.serialize_u64(n),
            id @ PointId::Uuid(_) => to.collect_str(&id),
        }
    }
}

/// A point as it is.
pub(super) struct Shown(pub(super) Record);

/// A point as it was ranked.
pub(super) struct Scored(pub(super) Record);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        record(&self.0, false, to)
    }
}

impl Serialize for Scored {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        record(&self.0, true, to)
    }
}

/// What was not asked for is left out, as Qdrant does.
fn record<S: Serializer>(record: &Record, scored: bool, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    map.serialize_entry("id", &Id(record.id))?;
    if scored {
        map.serialize_entry("version", &record.version)?;
        map.serialize_entry("score", &record.score)?;
    }
    if let Some(payload) = &record.payload {
        map.serialize_entry("payload", payload)?;
    }
    if let Some(vectors) = &record.vectors {
        map.serialize_entry("vector", &All(vectors))?;
    }
    if let Some(order) = &record.order {
        map.serialize_entry("order_value", order)?;
    }
    map.end()
}

/// The vectors of a point: the one without a name stands for itself if it is alone.
struct All<'a>(&'a Vectors);

impl Serialize for All<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.get("") {
            Some(one) if self.0.len() == 1 => One(one).serialize(to),
            _ => to.collect_map(self.0.iter().map(|(name, vector)| (name, One(vector)))),
        }
    }
}

struct One<'a>(&'a Vector);

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Vector::Dense(values) => values.serialize(to),
            Vector::Multi(rows) => rows.serialize(to),
            Vector::Sparse { indices, values } => {
                let mut sparse = to.serialize_struct("Sparse", 2)?;
                sparse.serialize_field("indices", indices)?;
                sparse.serialize_field("values", values)?;
                sparse.end()
            }
        }
    }
}

/// Results by the value of a field.
#[derive(Serialize)]
pub(super) struct Grouped {
    groups: Vec<OfGroup>,
}

#[derive(Serialize)]
struct OfGroup {
    hits: Vec<Scored>,
    id: Value,
}

impl Grouped {
    pub(super) fn new(groups: Vec<Group>) -> Self {
        let of = |Group { id, hits }| OfGroup { hits: scored(hits), id };
        Self { groups: groups.into_iter().map(of).collect() }
    }
}

pub(super) fn scored(records: Vec<Record>) -> Vec<Scored> {
    records.into_iter().map(Scored).collect()
}

pub(super) fn shown(records: Vec<Record>) -> Vec<Shown> {
    records.into_iter().map(Shown).collect()
}

/// What a collection is. What is said of Qdrant's own machinery is as its documentation has the
/// defaults: clients need the fields.
pub(super) fn info(info: &Info) -> Value {
    let schema = &info.collection.schema;
    let mut config = json!({
        "params": params(schema),
        "hnsw_config": hnsw(schema),
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1_000,
            "default_segment_number": 1,
            "flush_interval_sec": 60,
            "max_optimization_threads": 1,
        },
        "wal_config": {"wal_capacity_mb": 1, "wal_segments_ahead": 0},
        "quantization_config": null,
    });
    if !schema.metadata.is_empty() {
        config["metadata"] = Value::Object(schema.metadata.clone());
    }
    json!({
        "status": "green",
        "optimizer_status": "ok",
        "indexed_vectors_count": info.indexed,
        "points_count": info.points,
        "segments_count": 1,
        "config": config,
        "payload_schema": indexes(schema, Some(info.points)),
        "created_at": info.collection.created.to_string(),
    })
}

/// What a collection's points have, as it is made: `vectors`, `sparse_vectors`.
pub(crate) fn params(schema: &Schema) -> Value {
    let vectors = match schema.vectors.get("") {
        Some(one) if schema.vectors.len() == 1 => dense(one),
        _ => schema.vectors.iter().map(|(name, one)| (name.clone(), dense(one))).collect(),
    };
    let mut params = json!({
        "vectors": vectors,
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": true,
    });
    if !schema.sparse.is_empty() {
        params["sparse_vectors"] = sparse(&schema.sparse);
    }
    params
}

fn dense(space: &Dense) -> Value {
    let mut told = json!({"size": space.size, "distance": space.distance});
    if space.multi {
        told["multivector_config"] = json!({"comparator": "max_sim"});
    }
    told
}

fn sparse(spaces: &BTreeMap<String, Sparse>) -> Value {
    let told = |space: &Sparse| if space.idf { json!({"modifier": "idf"}) } else { json!({}) };
    spaces.iter().map(|(name, space)| (name.clone(), told(space))).collect()
}

/// The graph's parameters.
pub(crate) fn hnsw(schema: &Schema) -> Value {
    json!({
        "m": schema.hnsw.m,
        "ef_construct": schema.hnsw.ef_construct,
        "full_scan_threshold": 10_000,
        "max_indexing_threads": 1,
        "on_disk": true,
    })
}

/// Which fields are indexed, and how.
pub(crate) fn indexes(schema: &Schema, points: Option<u64>) -> Value {
    let mut told = Map::new();
    for (field, index) in &schema.indexes {
        let mut index = memory::request::field_schema(index);
        if let Some(points) = points {
            index["points"] = points.into();
        }
        told.insert(field.clone(), index);
    }
    told.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn points_are_as_clients_read_them() {
        let dense = Vector::Dense(vec![0.1, -2.0]);
        let sparse = Vector::Sparse { indices: vec![7], values: vec![0.5] };
        let mut record = Record {
            id: PointId::Uuid([0x11; 16]),
            version: 3,
            score: 0.1,
            order: None,
            payload: None,
            vectors: Some(Vectors::from([(String::new(), dense.clone())])),
        };
        let id = r#""id":"11111111-1111-1111-1111-111111111111""#;
        let scored = format!(r#"{{{id},"version":3,"score":0.1,"vector":[0.1,-2.0]}}"#);
        assert_eq!(told(Scored(record.clone())), scored, "as short as it was given");
        record.vectors = Some(Vectors::from([(String::new(), dense), ("s".into(), sparse)]));
        record.payload = Some(Map::new());
        let named = r#"{"":[0.1,-2.0],"s":{"indices":[7],"values":[0.5]}}"#;
        let shown = format!(r#"{{{id},"payload":{{}},"vector":{named}}}"#);
        assert_eq!(told(Shown(record.clone())), shown);
        let multi = Vector::Multi(vec![vec![1.0], vec![2.0]]);
        record.vectors = Some(Vectors::from([("m".into(), multi)]));
        (record.id, record.payload, record.order) = (PointId::Num(u64::MAX), None, Some(json!(9)));
        let shown = r#"{"id":18446744073709551615,"vector":{"m":[[1.0],[2.0]]},"order_value":9}"#;
        assert_eq!(told(Shown(record)), shown);
    }

    #[test]
    fn a_collection_is_told_as_it_was_made() {
        let space = |size, multi| Dense { size, distance: memory::Distance::Cosine, multi };
        let mut schema = Schema::default();
        schema.vectors.insert(String::new(), space(4, false));
        assert_eq!(params(&schema)["vectors"], json!({"size": 4, "distance": "Cosine"}));
        assert_eq!(params(&schema).get("sparse_vectors"), None);
        schema.vectors.insert("m".into(), space(2, true));
        schema.sparse.insert("s".into(), Sparse { idf: true });
        let named = json!({"": {"size": 4, "distance": "Cosine"}, "m": {"size": 2,
            "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}});
        assert_eq!(params(&schema)["vectors"], named);
        assert_eq!(params(&schema)["sparse_vectors"], json!({"s": {"modifier": "idf"}}));
    }
}
