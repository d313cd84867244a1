//! A tiny shard of the engine's, made of Qdrant's bodies alone.

use std::collections::HashMap;

use ids::Millis;
use qdrant_edge::{
    CreateIndex, Distance as EdgeDistance, EdgeConfig, EdgeShard, EdgeSparseVectorParams,
    EdgeVectorParams, FieldIndexOperations, HnswIndexConfig, Modifier, MultiVectorComparator,
    MultiVectorConfig, PointInsertOperations, PointOperations, PointStruct, UpdateOperation,
    Vectors, WalOptions,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{bounds, with};
use crate::{
    Collection, CollectionName, Distance, Error, Point, PointId, Vector,
    request::{
        Filter, Given, NewPoint, Operation, parse_create, parse_index, parse_query, parse_upsert,
        plan::{Plan, engine_id},
    },
};

pub(super) struct Shelf {
    pub(super) edge: EdgeShard,
    pub(super) collection: Collection,
    rows: Vec<Point>,
    // The engine writes to it when it goes, so it goes last.
    _dir: TempDir,
}

fn vector(vector: &Vector) -> qdrant_edge::Vector {
    match vector.clone() {
        Vector::Dense(values) => qdrant_edge::Vector::new_dense(values),
        Vector::Sparse { indices, values } => {
            qdrant_edge::Vector::new_sparse(indices, values).unwrap()
        }
        Vector::Multi(rows) => qdrant_edge::Vector::new_multi(rows).unwrap(),
    }
}

impl Shelf {
    /// `create`, indexes and `points` in Qdrant's words.
    pub(super) fn new(create: &Value, indexes: &[(&str, Value)], points: &Value) -> Self {
        let body = |value: &Value| value.to_string().into_bytes();
        let mut schema = parse_create(&body(create), &bounds()).unwrap();
        for (field, index) in indexes {
            let index = json!({ "field_name": field, "field_schema": index });
            let (field, index) = parse_index(&body(&index), &bounds()).unwrap();
            schema.indexes.insert(field, index);
        }
        let collection = Collection {
            name: CollectionName::parse("c").unwrap(),
            incarnation: [0; 16],
            schema,
            revision: 1,
            created: Millis(0),
        };
        let dir = tempfile::tempdir().unwrap();
        let edge = EdgeShard::new(dir.path(), config(&collection)).unwrap();
        for (field, index) in &collection.schema.indexes {
            let index = CreateIndex {
                field_name: field.parse().unwrap(),
                field_schema: Some(serde_json::from_value(index.clone()).unwrap()),
            };
            let index = FieldIndexOperations::CreateIndex(index);
            edge.update(UpdateOperation::FieldIndexOperation(index)).unwrap();
        }
        let mut shelf = Self { edge, collection, rows: Vec::new(), _dir: dir };
        shelf.put(points);
        shelf
    }

    /// Puts points, which are named `{"points": …}` or `{"batch": …}`.
    pub(super) fn put(&mut self, points: &Value) {
        let read = parse_upsert(points.to_string().as_bytes(), &bounds()).unwrap();
        let Operation::Upsert(points) = read else {
            panic!("no upsert");
        };
        for NewPoint { id, vectors, payload } in points {
            let vectors = vectors.into_iter().map(|(name, given)| match given {
                Given::Vector(vector) => (name, vector),
                Given::Document(_) => panic!("a document"),
            });
            let row = Point {
                id,
                version: 1,
                vectors: vectors.collect(),
                payload,
                subject: None,
                expires: None,
            };
            let named: HashMap<_, _> =
                row.vectors.iter().map(|(name, one)| (name.clone(), vector(one))).collect();
            let payload = Value::Object(row.payload.clone());
            let point = PointStruct::new(engine_id(id), Vectors::from(named), payload);
            let points = PointInsertOperations::PointsList(vec![point.into()]);
            let upsert = PointOperations::UpsertPoints(points);
            self.edge.update(UpdateOperation::PointOperation(upsert)).unwrap();
            self.rows.push(row);
        }
    }

    pub(super) fn plan(&self, body: &Value, reach: Option<&Filter>) -> Result<Plan, Error> {
        let query = parse_query(body.to_string().as_bytes(), &bounds())?;
        let row = |id: PointId| self.rows.iter().find(|row| row.id == id).cloned();
        Plan::new(&query, &self.collection, reach, &row)
    }

    /// Ids and scores.
    pub(super) fn scores(&self, body: &Value, reach: Option<&Filter>) -> Vec<(u64, f32)> {
        let plan = self.plan(body, reach).unwrap_or_else(|error| panic!("{error} for {body}"));
        let found = self.edge.query(plan.engine.clone());
        let found = plan.settled(found.unwrap_or_else(|error| panic!("{error} for {body}")));
        let one = |point: qdrant_edge::ScoredPoint| (number(point.id), point.score);
        let offset = body["offset"].as_u64().unwrap_or(0);
        found.into_iter().skip(usize::try_from(offset).unwrap()).map(one).collect()
    }

    pub(super) fn query(&self, body: &Value) -> Vec<u64> {
        self.scores(body, None).into_iter().map(|(id, _)| id).collect()
    }

    /// The ids that a filter lets through, ascending.
    pub(super) fn through(&self, filter: &Filter) -> Vec<u64> {
        let request = qdrant_edge::ScrollRequest {
            filter: Some(filter.engine.clone()),
            limit: Some(1_000),
            offset: None,
            with_payload: Some(false.into()),
            with_vector: false.into(),
            order_by: None,
        };
        let (found, _) = self.edge.scroll(request).unwrap();
        found.into_iter().map(|record| number(record.id)).collect()
    }

    /// As [`Self::through`], of a filter in Qdrant's words.
    pub(super) fn filtered(&self, filter: &Value) -> Vec<u64> {
        let read = Filter::parse(filter, &bounds());
        self.through(&read.unwrap_or_else(|error| panic!("{error} for {filter}")))
    }
}

fn number(id: qdrant_edge::PointId) -> u64 {
    match id {
        qdrant_edge::PointId::NumId(number) => number,
        qdrant_edge::PointId::Uuid(uuid) => panic!("{uuid}"),
    }
}

fn config(collection: &Collection) -> EdgeConfig {
    let schema = &collection.schema;
    let vectors = schema.vectors.iter().map(|(name, dense)| {
        let distance = match dense.distance {
            Distance::Cosine => EdgeDistance::Cosine,
            Distance::Euclid => EdgeDistance::Euclid,
            Distance::Dot => EdgeDistance::Dot,
            Distance::Manhattan => EdgeDistance::Manhattan,
        };
        let multi = MultiVectorConfig { comparator: MultiVectorComparator::MaxSim };
        let params = EdgeVectorParams {
            size: dense.size,
            distance,
            on_disk: Some(true),
            multivector_config: dense.multi.then_some(multi),
            datatype: None,
            quantization_config: None,
            hnsw_config: None,
        };
        (name.clone(), params)
    });
    let sparse_vectors = schema.sparse.iter().map(|(name, sparse)| {
        let params = EdgeSparseVectorParams {
            modifier: sparse.idf.then_some(Modifier::Idf),
            ..EdgeSparseVectorParams::default()
        };
        (name.clone(), params)
    });
    EdgeConfig {
        vectors: vectors.collect(),
        sparse_vectors: sparse_vectors.collect(),
        hnsw_config: HnswIndexConfig {
            m: schema.hnsw.m,
            ef_construct: schema.hnsw.ef_construct,
            ..HnswIndexConfig::default()
        },
        wal_options: Some(WalOptions { segment_capacity: 1 << 20, ..WalOptions::default() }),
        ..EdgeConfig::default()
    }
}

/// Eight points with something of every kind; 8 has a payload of nothing.
pub(super) fn shelf() -> Shelf {
    let create = json!({
        "vectors": {
            "": { "size": 2, "distance": "Dot" },
            "far": { "size": 2, "distance": "Euclid" },
            "multi": { "size": 2, "distance": "Dot", "multivector_config": { "comparator": "max_sim" } },
        },
        "sparse_vectors": { "idf": { "modifier": "idf" }, "plain": {} },
    });
    let indexes = [
        ("n", json!("integer")),
        ("f", json!("float")),
        ("ts", json!("datetime")),
        ("city", json!("keyword")),
        ("t", json!({ "type": "text", "phrase_matching": true })),
    ];
    Shelf::new(&create, &indexes, &json!({ "points": points() }))
}

fn points() -> Vec<Value> {
    let angle = |at: u64| f64::from(u32::try_from(at).unwrap()) * 0.2;
    let point = |at: u64| {
        let (sin, cos) = angle(at).sin_cos();
        let long = 1.0 + f64::from(u32::try_from(at).unwrap()) / 10.0;
        let vector = json!({
            "": [cos, sin],
            "far": [at, 0.0],
            "multi": [[cos, sin], [-sin, at]],
            // 1 is everywhere, 2 at odd points, 100 + at here only.
            "idf": { "indices": [1, if at % 2 == 1 { 2 } else { 3 }, 100 + at], "values": [1.0, long, 2.0] },
            "plain": { "indices": [1, 100 + at], "values": [long, 1.0] },
        });
        json!({ "id": at, "vector": vector, "payload": payload(at) })
    };
    (1..=7).map(point).chain([json!({ "id": 8, "vector": { "": [0.1, 0.0] } })]).collect()
}

fn payload(at: u64) -> Value {
    let base = json!({
        "n": at,
        "f": f64::from(u32::try_from(at).unwrap()) / 2.0,
        "city": if at < 4 { "Bern" } else { "Chur" },
        "b": at.is_multiple_of(2),
        "ts": format!("2024-01-0{at}T00:00:00Z"),
        "t": if at.is_multiple_of(3) { "the quick brown fox" } else { "a quick red fox" },
        "loc": { "lon": at, "lat": 0.0 },
        "tags": (0..at).collect::<Vec<_>>(),
        "list": [{ "a": at, "b": 1 }, { "a": 0, "b": at }],
        "m": { "k": { "deep": at } },
    });
    match at {
        5 => with(&base, &json!({ "maybe": null })),
        6 => with(&base, &json!({ "maybe": "here" })),
        _ => base,
    }
}
