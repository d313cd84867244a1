//! Points and schemas in the engine's form: what an index is told of a point, and what not.

use std::collections::HashMap;

use qdrant_edge::{
    CreateIndex, Distance as EdgeDistance, EdgeConfig, EdgeOptimizersConfig,
    EdgeSparseVectorParams, EdgeVectorParams, FieldIndexOperations, HnswIndexConfig, JsonPath,
    Modifier, MultiVectorComparator, MultiVectorConfig, PayloadFieldSchema, PointStructPersisted,
    Record, UpdateOperation, VectorInternal, VectorPersisted, VectorStructInternal,
    VectorStructPersisted, WalOptions, external::uuid::Uuid,
};
use serde_json::{Map, Value, json};

use crate::{Collection, Distance, Error, Payload, Point, PointId, Schema, Vector};

/// The field of an index's payload that is ours.
const OURS: &str = "_bulkhead";
/// Segments of a shard's log: a collection of ten points is not to take 32 MiB.
const LOG_SEGMENT: usize = 1 << 20;

/// Fields whose content stands in no index: paths from the top, through lists too.
#[derive(Clone, Debug, Default)]
pub(super) struct ContentFields(Vec<Vec<String>>);

impl ContentFields {
    /// The paths are those that the settings have checked.
    pub(super) fn new(paths: &[String]) -> Self {
        let keys = |path: &String| {
            path.split('.').map(|key| key.trim_end_matches("[]").to_owned()).collect()
        };
        Self(paths.iter().map(keys).collect())
    }

    /// What an index is told of a payload.
    fn without(&self, payload: &Payload) -> Payload {
        let mut rest = payload.clone();
        // The planted bug: content goes to the index.
        if ids::planted::is("memory-content-in-shard") {
            return rest;
        }
        for path in &self.0 {
            remove(&mut rest, path);
        }
        rest
    }
}

fn remove(fields: &mut Map<String, Value>, path: &[String]) {
    match path {
        [] => {}
        [last] => {
            fields.remove(last);
        }
        [key, deeper @ ..] => {
            if let Some(value) = fields.get_mut(key) {
                remove_within(value, deeper);
            }
        }
    }
}

fn remove_within(value: &mut Value, path: &[String]) {
    match value {
        Value::Object(fields) => remove(fields, path),
        Value::Array(items) => items.iter_mut().for_each(|item| remove_within(item, path)),
        _ => {}
    }
}

/// A digest of all that an index depends on besides its points. One that was made for something
/// else is made again.
pub(super) fn shape(collection: &Collection, content: &ContentFields) -> [u8; 32] {
    let Schema { vectors, sparse, hnsw, indexes, metadata: _ } = &collection.schema;
    let all = json!([vectors, sparse, hnsw, indexes, content.0]);
    let mut digest = blake3::Hasher::new_derive_key("bulkhead memory 2026 shape of an index");
    digest.update(all.to_string().as_bytes());
    *digest.finalize().as_bytes()
}

/// The engine's settings for a collection.
pub(super) fn config(collection: &Collection) -> EdgeConfig {
    let schema = &collection.schema;
    let vectors = schema.vectors.iter().map(|(name, dense)| {
        let params = EdgeVectorParams {
            size: dense.size,
            distance: distance(dense.distance),
            on_disk: Some(true),
            multivector_config: dense
                .multi
                .then_some(MultiVectorConfig { comparator: MultiVectorComparator::MaxSim }),
            datatype: None,
            quantization_config: None,
            hnsw_config: None,
        };
        (name.clone(), params)
    });
    let sparse_vectors = schema.sparse.iter().map(|(name, sparse)| {
        let params = EdgeSparseVectorParams {
            full_scan_threshold: None,
            on_disk: Some(true),
            modifier: sparse.idf.then_some(Modifier::Idf),
            datatype: None,
        };
        (name.clone(), params)
    });
    EdgeConfig {
        on_disk_payload: true,
        vectors: vectors.collect(),
        sparse_vectors: sparse_vectors.collect(),
        hnsw_config: HnswIndexConfig {
            m: schema.hnsw.m,
            ef_construct: schema.hnsw.ef_construct,
            max_indexing_threads: 1,
            on_disk: Some(true),
            ..HnswIndexConfig::default()
        },
        quantization_config: None,
        // When a graph is made, and what is left behind, is decided outside of the engine: if
        // it is asked to, it does all of it.
        optimizers: EdgeOptimizersConfig {
            deleted_threshold: Some(0.0),
            vacuum_min_vector_number: Some(1),
            default_segment_number: Some(1),
            max_segment_size: Some(usize::MAX >> 10),
            indexing_threshold: Some(1),
            prevent_unoptimized: None,
        },
        wal_options: Some(WalOptions { segment_capacity: LOG_SEGMENT, ..WalOptions::default() }),
    }
}

/// The payload indexes of a collection, and those of what is ours.
pub(super) fn indexes(collection: &Collection) -> Result<Vec<UpdateOperation>, Error> {
    let ours = [
        (format!("{OURS}.subject"), json!("keyword")),
        (format!("{OURS}.expires"), json!("integer")),
    ];
    let theirs = collection.schema.indexes.iter();
    let all = theirs.map(|(field, schema)| (field.clone(), schema.clone())).chain(ours);
    all.map(|(field, schema)| {
        let field_schema: PayloadFieldSchema = serde_json::from_value(schema)
            .map_err(|_| Error::Engine("a payload index of an unknown kind".into()))?;
        let index = CreateIndex { field_name: path(&field)?, field_schema: Some(field_schema) };
        Ok(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(index)))
    })
    .collect()
}

/// A path in a payload.
pub(super) fn path(field: &str) -> Result<JsonPath, Error> {
    field.parse().map_err(|()| Error::Invalid(format!("`{field}` is no path of a field")))
}

const fn distance(distance: Distance) -> EdgeDistance {
    match distance {
        Distance::Cosine => EdgeDistance::Cosine,
        Distance::Euclid => EdgeDistance::Euclid,
        Distance::Dot => EdgeDistance::Dot,
        Distance::Manhattan => EdgeDistance::Manhattan,
    }
}

/// An id as the engine has it.
pub(super) const fn id(id: PointId) -> qdrant_edge::PointId {
    match id {
        PointId::Num(n) => qdrant_edge::PointId::NumId(n),
        PointId::Uuid(bytes) => qdrant_edge::PointId::Uuid(Uuid::from_bytes(bytes)),
    }
}

/// An id of the engine's.
pub(super) const fn id_of(id: qdrant_edge::PointId) -> PointId {
    match id {
        qdrant_edge::PointId::NumId(n) => PointId::Num(n),
        qdrant_edge::PointId::Uuid(uuid) => PointId::Uuid(uuid.into_bytes()),
    }
}

/// What the index is told of a point: its vectors, what it may be filtered by, whose it is, and
/// when it ends.
pub(super) fn point(point: &Point, content: &ContentFields) -> PointStructPersisted {
    let vectors: HashMap<_, _> =
        point.vectors.iter().map(|(name, given)| (name.clone(), vector(given))).collect();
    PointStructPersisted {
        id: id(point.id),
        vector: VectorStructPersisted::Named(vectors),
        payload: Some(payload(point, content).into()),
    }
}

/// The payload part of it.
pub(super) fn payload(point: &Point, content: &ContentFields) -> Payload {
    let mut payload = content.without(&point.payload);
    let mut ours = Map::new();
    if let Some(subject) = &point.subject {
        ours.insert("subject".into(), Value::from(ids::text::hex(subject)));
    }
    if let Some(expires) = point.expires {
        ours.insert("expires".into(), Value::from(expires.0));
    }
    if ours.is_empty() {
        payload.remove(OURS);
    } else {
        payload.insert(OURS.into(), Value::Object(ours));
    }
    payload
}

fn vector(vector: &Vector) -> VectorPersisted {
    match vector {
        Vector::Dense(values) => VectorPersisted::Dense(values.clone()),
        Vector::Sparse { indices, values } => VectorPersisted::Sparse(qdrant_edge::SparseVector {
            indices: indices.clone(),
            values: values.clone(),
        }),
        Vector::Multi(rows) => VectorPersisted::MultiDense(rows.clone()),
    }
}

/// Whether a record of the index is what its row makes of it.
pub(super) fn same(row: &Point, record: Record, content: &ContentFields) -> bool {
    let told = record.payload.map(|payload| payload.0).unwrap_or_default();
    if told != payload(row, content) {
        return false;
    }
    let vectors: HashMap<String, VectorInternal> = match record.vector {
        None => HashMap::new(),
        Some(VectorStructInternal::Single(one)) => [(String::new(), one.into())].into(),
        Some(VectorStructInternal::MultiDense(one)) => [(String::new(), one.into())].into(),
        Some(VectorStructInternal::Named(all)) => all,
    };
    vectors.len() == row.vectors.len()
        && row
            .vectors
            .iter()
            .all(|(name, given)| vectors.get(name).is_some_and(|held| same_vector(given, held)))
}

fn same_vector(given: &Vector, held: &VectorInternal) -> bool {
    match (given, held) {
        (Vector::Dense(given), VectorInternal::Dense(held)) => near(given, held),
        (Vector::Sparse { indices, values }, VectorInternal::Sparse(held)) => {
            *indices == held.indices && near(values, &held.values)
        }
        (Vector::Multi(rows), VectorInternal::MultiDense(held)) => {
            near(&rows.concat(), &held.flattened_vectors)
        }
        _ => false,
    }
}

/// The engine normalizes what is normalized already: the last bits may differ.
fn near(given: &[f32], held: &[f32]) -> bool {
    given.len() == held.len()
        && given.iter().zip(held).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0))
}

/// About how many bytes a point takes in an index.
pub(super) fn weight(point: &Point) -> u64 {
    let vectors = point.vectors.values().map(|vector| match vector {
        Vector::Dense(values) => 4 * values.len(),
        Vector::Sparse { indices, .. } => 24 * indices.len(),
        Vector::Multi(rows) => rows.iter().map(|row| 4 * row.len()).sum(),
    });
    // A payload's size is not known without writing it down; most are small.
    vectors.sum::<usize>() as u64 + 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_removed_wherever_its_path_leads() {
        let content = ContentFields::new(&["text".into(), "meta.body".into(), "list[].raw".into()]);
        let payload = json!({
            "text": "secret", "kept": {"text": "not content"},
            "meta": {"body": "secret", "kind": 1},
            "list": [{"raw": "secret", "n": 1}, [{"raw": "secret"}], 3],
        });
        let rest = content.without(payload.as_object().unwrap());
        let expected = json!({
            "kept": {"text": "not content"}, "meta": {"kind": 1}, "list": [{"n": 1}, [{}], 3],
        });
        assert_eq!(Value::Object(rest), expected);
    }

    #[test]
    fn a_caller_s_field_of_our_name_does_not_reach_the_index() {
        let point = Point {
            id: PointId::Num(1),
            version: 1,
            vectors: [].into(),
            payload: json!({"_bulkhead": {"subject": "someone else"}}).as_object().unwrap().clone(),
            subject: None,
            expires: None,
        };
        assert!(payload(&point, &ContentFields::default()).is_empty());
    }

    #[test]
    fn ids_keep_their_order_and_come_back() {
        for given in [PointId::Num(0), PointId::Num(u64::MAX), PointId::Uuid([7; 16])] {
            assert_eq!(id_of(id(given)), given);
        }
        assert!(id(PointId::Num(u64::MAX)) < id(PointId::Uuid([0; 16])));
    }
}
