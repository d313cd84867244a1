//! Collections and payload indexes, in Qdrant's words.

use std::collections::BTreeMap;

use qdrant_edge::{PayloadFieldSchema, PayloadSchemaParams};
use serde_json::{Map, Value, json};

use super::{
    Bounds, Patch, PatchHnsw, paths,
    points::size,
    reading::{self, Met, Object, Only, Read, Reader, Refused, Step, object, too_large},
};
use crate::{CollectionName, Dense, Distance, Error, Hnsw, Schema, Sparse};

/// Most edges per node, and most neighbours considered: beyond it a graph costs more than it
/// gives.
const M: usize = 512;
const EF_CONSTRUCT: usize = 4_096;

/// One of it, as there is anyway.
pub(super) struct One;

impl Met for One {
    fn met(value: &Value) -> bool {
        value.as_u64() == Some(1)
    }
}

/// On disk, where everything is anyway.
pub(super) struct OnDisk;

impl Met for OnDisk {
    fn met(value: &Value) -> bool {
        value == true
    }
}

/// Numbers as they are kept anyway.
pub(super) struct Float32;

impl Met for Float32 {
    fn met(value: &Value) -> bool {
        value == "float32"
    }
}

/// Shards as Qdrant makes them itself; here there is one.
pub(super) struct Auto;

impl Met for Auto {
    fn met(value: &Value) -> bool {
        value == "auto"
    }
}

/// Several vectors compared by the sum of best matches: the only way that there is.
pub(super) struct MaxSim;

impl Met for MaxSim {
    fn met(value: &Value) -> bool {
        *value == json!({ "comparator": "max_sim" })
    }
}

object! {
    /// A space of dense vectors. Vectors are always on disk, so `on_disk: true` is met.
    VectorParams {
        "size" => size: usize,
        "distance" => distance: String,
        "multivector_config" => multivector_config: MultiVector,
        "on_disk" => _on_disk: Only<OnDisk>,
        "datatype" => _datatype: Only<Float32>,
        "hnsw_config" => _hnsw_config: Refused,
        "quantization_config" => _quantization_config: Refused,
        "memory" => _memory: Refused,
    }
}

object! {
    /// Of a sparse index nothing can be chosen.
    SparseIndex {
        "full_scan_threshold" => _full_scan_threshold: Refused,
        "on_disk" => _on_disk: Refused,
        "memory" => _memory: Refused,
        "datatype" => _datatype: Only<Float32>,
    }
}

object! {
    /// A space of sparse vectors.
    SparseParams {
        "index" => _index: Option<SparseIndex>,
        "modifier" => modifier: Option<String>,
    }
}

object! {
    /// The graph.
    HnswConfig {
        "m" => m: Option<usize>,
        "ef_construct" => ef_construct: Option<usize>,
        "full_scan_threshold" => _full_scan_threshold: Refused,
        "max_indexing_threads" => _max_indexing_threads: Refused,
        "on_disk" => _on_disk: Refused,
        "memory" => _memory: Refused,
        "payload_m" => _payload_m: Refused,
        "inline_storage" => _inline_storage: Refused,
    }
}

object! {
    /// A collection. Payloads are always on disk, so `on_disk_payload: true` is met; so are one
    /// shard, one replica, and one replica that confirms a write.
    Create {
        "vectors" => vectors: Option<Value>,
        "sparse_vectors" => sparse_vectors: Option<Map<String, Value>>,
        "hnsw_config" => hnsw_config: Option<HnswConfig>,
        "metadata" => metadata: Option<Map<String, Value>>,
        "on_disk_payload" => _on_disk_payload: Only<OnDisk>,
        "shard_number" => _shard_number: Only<One>,
        "sharding_method" => _sharding_method: Only<Auto>,
        "replication_factor" => _replication_factor: Only<One>,
        "write_consistency_factor" => _write_consistency_factor: Only<One>,
        "payload" => _payload: Refused,
        "id_tracker" => _id_tracker: Refused,
        "wal_config" => _wal_config: Refused,
        "optimizers_config" => _optimizers_config: Refused,
        "quantization_config" => _quantization_config: Refused,
        "strict_mode_config" => _strict_mode_config: Refused,
        "init_from" => _init_from: Refused,
    }
}

object! {
    /// What is changed.
    Change {
        "hnsw_config" => hnsw_config: Option<HnswConfig>,
        "metadata" => metadata: Option<Map<String, Value>>,
        "vectors" => _vectors: Refused,
        "params" => _params: Refused,
        "sparse_vectors" => _sparse_vectors: Refused,
        "optimizers_config" => _optimizers_config: Refused,
        "quantization_config" => _quantization_config: Refused,
        "strict_mode_config" => _strict_mode_config: Refused,
    }
}

object! {
    /// A payload index.
    Index {
        "field_name" => field_name: String,
        "field_schema" | "field_type" => field_schema: Value,
    }
}

/// Whether there is `{"comparator": "max_sim"}`.
pub(super) struct MultiVector(bool);

impl Read for MultiVector {
    fn read<'de, D: serde::Deserializer<'de>>(
        reader: &Reader<'_>,
        from: D,
    ) -> Result<Self, D::Error> {
        let value = Value::read(reader, from)?;
        if value.is_null() || MaxSim::met(&value) {
            return Ok(Self(!value.is_null()));
        }
        Err(reader.fail(reader.unsupported()))
    }

    fn absent() -> Option<Self> {
        Some(Self(false))
    }
}

impl VectorParams {
    fn dense(self, reader: &Reader<'_>) -> Result<Dense, Error> {
        let bound = reader.bounds.dimensions;
        if self.size == 0 {
            return Err(reader.invalid("`size` is a number from 1 on"));
        }
        if self.size > bound {
            return Err(too_large("dimensions of a vector", self.size, bound));
        }
        let distance = match self.distance.as_str() {
            "Cosine" => Distance::Cosine,
            "Euclid" => Distance::Euclid,
            "Dot" => Distance::Dot,
            "Manhattan" => Distance::Manhattan,
            _ => {
                return Err(reader.invalid("`distance` is one of Cosine, Euclid, Dot, Manhattan"));
            }
        };
        Ok(Dense { size: self.size, distance, multi: self.multivector_config.0 })
    }
}

/// The name of a vector: what may be the name of a file, or nothing at all.
fn vector_name(reader: &Reader<'_>, name: &str) -> Result<(), Error> {
    if name.is_empty() || CollectionName::parse(name).is_ok() {
        return Ok(());
    }
    Err(reader.invalid("a vector's name is at most 128 bytes without < > : \" / \\ | ? *"))
}

/// A part of what was read already.
fn part<T: Object>(reader: &Reader<'_>, value: Value) -> Result<T, Error> {
    reader.part(value)
}

fn vectors(reader: &Reader<'_>, value: Value) -> Result<BTreeMap<String, Dense>, Error> {
    let Value::Object(fields) = value else {
        return Err(reader.invalid("expected vector params, or such by name"));
    };
    // A vector may be called `size`: its params are an object, a size is none.
    if fields.get("size").is_some_and(|size| !size.is_object()) {
        let params: VectorParams = part(reader, Value::Object(fields))?;
        return Ok(BTreeMap::from([(String::new(), params.dense(reader)?)]));
    }
    let one = |(name, value): (String, Value)| {
        reader.at(Step::Named, || {
            vector_name(reader, &name)?;
            Ok((name, part::<VectorParams>(reader, value)?.dense(reader)?))
        })
    };
    fields.into_iter().map(one).collect()
}

fn sparse(
    reader: &Reader<'_>,
    fields: Map<String, Value>,
) -> Result<BTreeMap<String, Sparse>, Error> {
    let one = |(name, value): (String, Value)| {
        reader.at(Step::Named, || {
            vector_name(reader, &name)?;
            if name.is_empty() {
                return Err(reader.invalid("a sparse vector has a name"));
            }
            let params: SparseParams = part(reader, value)?;
            let idf = match params.modifier.as_deref() {
                None | Some("none") => false,
                Some("idf") => true,
                Some(_) => return Err(reader.invalid("`modifier` is one of none, idf")),
            };
            Ok((name, Sparse { idf }))
        })
    };
    fields.into_iter().map(one).collect()
}

impl HnswConfig {
    fn patch(&self, reader: &Reader<'_>) -> Result<PatchHnsw, Error> {
        if let Some(m) = self.m.filter(|m| *m > M) {
            return Err(too_large("hnsw_config.m", m, M));
        }
        match self.ef_construct {
            Some(ef) if ef > EF_CONSTRUCT => {
                return Err(too_large("hnsw_config.ef_construct", ef, EF_CONSTRUCT));
            }
            // As Qdrant has it.
            Some(ef) if ef < 4 => {
                return Err(reader.invalid("`hnsw_config.ef_construct` is a number from 4 on"));
            }
            _ => {}
        }
        Ok(PatchHnsw { m: self.m, ef_construct: self.ef_construct })
    }
}

impl PatchHnsw {
    /// The graph as it is to be.
    #[must_use]
    pub fn of(self, hnsw: Hnsw) -> Hnsw {
        Hnsw {
            m: self.m.unwrap_or(hnsw.m),
            ef_construct: self.ef_construct.unwrap_or(hnsw.ef_construct),
        }
    }
}

fn metadata(
    fields: Option<Map<String, Value>>,
    bounds: &Bounds,
) -> Result<Option<Map<String, Value>>, Error> {
    let (size, bound) = (fields.as_ref().map_or(0, size), bounds.payload_bytes);
    if size > bound {
        return Err(too_large("bytes of a collection's metadata", size, bound));
    }
    Ok(fields)
}

/// A collection to be made.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_create(body: &[u8], bounds: &Bounds) -> Result<Schema, Error> {
    let reader = &Reader::new(bounds);
    let body: Create = reader.body(body)?;
    let dense = body.vectors.unwrap_or_else(|| json!({}));
    let sparse_vectors = body.sparse_vectors.unwrap_or_default();
    let schema = Schema {
        vectors: reader.at(Step::Field("vectors"), || vectors(reader, dense))?,
        sparse: reader.at(Step::Field("sparse_vectors"), || sparse(reader, sparse_vectors))?,
        hnsw: match &body.hnsw_config {
            Some(config) => config.patch(reader)?.of(Hnsw::default()),
            None => Hnsw::default(),
        },
        indexes: BTreeMap::new(),
        metadata: metadata(body.metadata, bounds)?.unwrap_or_default(),
    };
    if let Some(name) = schema.vectors.keys().find(|name| schema.sparse.contains_key(*name)) {
        let name = reading::name(name);
        return Err(reader.invalid(&format!("there are two vectors called {name}")));
    }
    let (count, bound) = (schema.vectors.len() + schema.sparse.len(), bounds.vectors);
    if count > bound {
        return Err(too_large("vectors of a collection", count, bound));
    }
    Ok(schema)
}

/// A collection to be changed.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_patch(body: &[u8], bounds: &Bounds) -> Result<Patch, Error> {
    let reader = &Reader::new(bounds);
    let body: Change = reader.body(body)?;
    let hnsw = body.hnsw_config.map(|config| config.patch(reader)).transpose()?;
    Ok(Patch { hnsw, metadata: metadata(body.metadata, bounds)? })
}

/// What each kind of payload index takes, as the engine honours it. What only says where or how
/// densely an index is kept (`on_disk`, `is_tenant`, `is_principal`, `enable_hnsw`) goes to the
/// engine and changes no result.
const PARAMS: [(&str, &[&str]); 8] = [
    ("keyword", &["is_tenant", "on_disk", "enable_hnsw"]),
    ("integer", &["lookup", "range", "is_principal", "on_disk", "enable_hnsw"]),
    ("float", &["is_principal", "on_disk", "enable_hnsw"]),
    ("geo", &["on_disk", "enable_hnsw"]),
    (
        "text",
        &[
            "tokenizer",
            "min_token_len",
            "max_token_len",
            "lowercase",
            "ascii_folding",
            "phrase_matching",
            "stopwords",
            "stemmer",
            "on_disk",
            "enable_hnsw",
        ],
    ),
    ("bool", &["on_disk", "enable_hnsw"]),
    ("datetime", &["is_principal", "on_disk", "enable_hnsw"]),
    ("uuid", &["is_tenant", "on_disk", "enable_hnsw"]),
];

/// What indexes take in Qdrant, and not here.
const NOT_HERE: [&str; 4] = ["memory", "prefix", "nested", "scoring"];

/// A payload index: the field and its checked schema, as [`crate::Schema::indexes`] has it.
///
/// # Errors
/// What is wrong, by name.
pub fn parse_index(body: &[u8], bounds: &Bounds) -> Result<(String, Value), Error> {
    let reader = &Reader::new(bounds);
    let body: Index = reader.body(body)?;
    let field = reader.at(Step::Field("field_name"), || paths::asked(&body.field_name, bounds))?;
    let schema = reader.at(Step::Field("field_schema"), || index(reader, body.field_schema))?;
    Ok((field.to_string(), schema))
}

fn index(reader: &Reader<'_>, schema: Value) -> Result<Value, Error> {
    const KINDS: &str = "expected one of keyword, integer, float, geo, text, bool, datetime, uuid";
    let params = match schema {
        Value::String(_) => Map::from_iter([("type".to_owned(), schema)]),
        Value::Object(params) => params,
        _ => return Err(reader.invalid(KINDS)),
    };
    let kind = params.get("type").and_then(Value::as_str);
    let Some((kind, known)) = PARAMS.iter().find(|(name, _)| Some(*name) == kind) else {
        return Err(reader.invalid(KINDS));
    };
    let mut checked = Map::from_iter([("type".to_owned(), Value::from(*kind))]);
    for (name, value) in params {
        if name == "type"
            || value.is_null() && (known.contains(&&*name) || NOT_HERE.contains(&&*name))
        {
            continue;
        }
        if let Some(refused) = NOT_HERE.iter().find(|refused| **refused == name) {
            return reader.at(Step::Field(refused), || Err(reader.unsupported()));
        }
        if !known.contains(&&*name) {
            let name = reading::name(&name);
            return Err(reader.invalid(&format!("unknown field {name}")));
        }
        // No stemming is what there is without.
        if name == "stemmer" && value == json!({ "type": "none" }) {
            continue;
        }
        inner(reader, &name, &value)?;
        checked.insert(name, value);
    }
    let params = Value::Object(checked);
    let engine: PayloadFieldSchema = serde_json::from_value(params.clone())
        .map_err(|_| reader.invalid("a parameter of the index is none that there is"))?;
    // The engine tries one kind after the other; what it took it for has to be what was said.
    match &engine {
        PayloadFieldSchema::FieldParams(found) if found.name() == *kind => {}
        _ => return Err(reader.invalid("a parameter of the index is none that there is")),
    }
    if let PayloadFieldSchema::FieldParams(PayloadSchemaParams::Integer(integer)) = &engine
        && (integer.lookup, integer.range) == (Some(false), Some(false))
    {
        return Err(reader.invalid("`lookup` and `range` cannot be both false"));
    }
    let only_kind = params.as_object().is_some_and(|fields| fields.len() == 1);
    Ok(if only_kind { Value::from(*kind) } else { params })
}

/// Objects within params, of which the engine would pass over what it does not know.
fn inner(reader: &Reader<'_>, name: &str, value: &Value) -> Result<(), Error> {
    let known: &[&str] = match name {
        "stopwords" => &["languages", "custom"],
        "stemmer" => &["type", "language"],
        _ => return Ok(()),
    };
    let unknown = value
        .as_object()
        .and_then(|fields| fields.keys().find(|field| !known.contains(&field.as_str())));
    match unknown {
        Some(unknown) => {
            let unknown = reading::name(unknown);
            Err(reader.invalid(&format!("{name}: unknown field {unknown}")))
        }
        None => Ok(()),
    }
}

/// A payload index as clients are shown it: `{"data_type": …, "params"?: …}`.
#[must_use]
pub fn field_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(params) => {
            let kind = params.get("type").cloned().unwrap_or_default();
            json!({ "data_type": kind, "params": schema })
        }
        kind => json!({ "data_type": kind }),
    }
}
