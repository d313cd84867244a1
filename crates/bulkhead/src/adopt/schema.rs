//! What a collection of Qdrant's is made of, as one of ours is made. What cannot be taken is
//! refused by name; what is about the machines it lies on is not ours to take.

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::{fault::Fault, print};

/// What is given up on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Without {
    /// Smaller copies of vectors: the full ones are taken
    Quantization,
    /// float16 and uint8: the numbers are taken as float32
    Datatype,
}

/// What is made for each tenant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Qdrant's own body for making a collection.
    pub(super) create: Value,
    /// Field and schema of each payload index.
    pub(super) indexes: Vec<(String, Value)>,
    /// What is not taken, and changes no result.
    pub(super) notes: Vec<String>,
}

/// Of a collection's parameters: about machines.
const MACHINES: &[&str] = &[
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "read_fan_out_factor",
    "read_fan_out_delay_ms",
    "on_disk_payload",
    "payload",
    "id_tracker",
];
/// Of a vector's: where it lies, and how its graph is built.
const PLACEMENT: &[&str] = &["on_disk", "memory", "hnsw_config"];
/// Of an index's: likewise.
const INDEX_PLACEMENT: &[&str] = &["is_tenant", "is_principal", "on_disk", "memory", "enable_hnsw"];

struct Taking<'a> {
    without: &'a [Without],
    notes: Vec<String>,
}

/// From what `GET /collections/{name}` answers.
pub(super) fn take(info: &Value, without: &[Without]) -> Result<Plan, Fault> {
    let mut taking = Taking { without, notes: Vec::new() };
    let empty = Value::Object(Map::new());
    let config = info.get("config").unwrap_or(&empty);
    let params = config.get("params").unwrap_or(&empty);
    let mut create = Map::new();
    for (name, value) in fields(params).filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "vectors" => {
                create.insert(name.clone(), taking.vectors(value)?);
            }
            "sparse_vectors" => {
                create.insert(name.clone(), taking.sparse(value)?);
            }
            name if MACHINES.contains(&name) => {}
            name => return Err(cannot(&format!("`{name}` of the collection"))),
        }
    }
    if config.get("quantization_config").is_some_and(|q| !q.is_null()) {
        taking.give_up(Without::Quantization, "quantization_config")?;
    }
    if let Some(graph) = config.get("hnsw_config").and_then(graph) {
        create.insert("hnsw_config".into(), graph);
    }
    if let Some(metadata) = config.get("metadata").filter(|metadata| !metadata.is_null()) {
        create.insert("metadata".into(), metadata.clone());
    }
    if config.pointer("/strict_mode_config/enabled") == Some(&json!(true)) {
        taking.note("strict_mode_config: [memory] in bulkhead.toml has the bounds here");
    }
    let indexes = fields(info.get("payload_schema").unwrap_or(&empty)).map(index).collect();
    let mut notes = taking.notes;
    notes.sort();
    notes.dedup();
    Ok(Plan { create: Value::Object(create), indexes, notes })
}

impl Taking<'_> {
    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn give_up(&mut self, what: Without, name: &str) -> Result<(), Fault> {
        if self.without.contains(&what) {
            self.note(format!("{name}: given up, as --without says"));
            return Ok(());
        }
        let flag = what.to_possible_value().map(|value| value.get_name().to_owned());
        let flag = flag.unwrap_or_default();
        Err(cannot(&format!("`{name}`")).advise(format!("to do without it: --without {flag}")))
    }

    fn vectors(&mut self, vectors: &Value) -> Result<Value, Fault> {
        if vectors.get("size").is_some_and(Value::is_u64) {
            return self.dense("", vectors);
        }
        let one = |(name, space): (&String, &Value)| Ok((name.clone(), self.dense(name, space)?));
        Ok(Value::Object(fields(vectors).map(one).collect::<Result<_, Fault>>()?))
    }

    fn dense(&mut self, name: &str, space: &Value) -> Result<Value, Fault> {
        let of = |field: &str| format!("`{field}` of {}", vector(name));
        let mut taken = Map::new();
        for (field, value) in fields(space).filter(|(_, value)| !value.is_null()) {
            match field.as_str() {
                "size" | "distance" => {
                    taken.insert(field.clone(), value.clone());
                }
                "multivector_config" if value == &json!({"comparator": "max_sim"}) => {
                    taken.insert(field.clone(), value.clone());
                }
                "datatype" if value == "float32" => {}
                "datatype" => self.give_up(Without::Datatype, field)?,
                "quantization_config" => self.give_up(Without::Quantization, field)?,
                field if PLACEMENT.contains(&field) => {
                    if field == "hnsw_config" && !fields(value).all(|(_, v)| v.is_null()) {
                        self.note(format!("{}: the collection's holds for it", of(field)));
                    }
                }
                field => return Err(cannot(&of(field))),
            }
        }
        Ok(Value::Object(taken))
    }

    fn sparse(&mut self, spaces: &Value) -> Result<Value, Fault> {
        let mut all = Map::new();
        for (name, space) in fields(spaces) {
            let mut taken = Map::new();
            for (field, value) in fields(space).filter(|(_, value)| !value.is_null()) {
                match (field.as_str(), value.as_str()) {
                    ("modifier", Some("none")) => {}
                    ("modifier", Some("idf")) => {
                        taken.insert(field.clone(), value.clone());
                    }
                    ("index", _) => self.sparse_index(name, value)?,
                    _ => return Err(cannot(&format!("`{field}` of {}", vector(name)))),
                }
            }
            all.insert(name.clone(), Value::Object(taken));
        }
        Ok(Value::Object(all))
    }

    fn sparse_index(&mut self, name: &str, index: &Value) -> Result<(), Fault> {
        for (field, value) in fields(index).filter(|(_, value)| !value.is_null()) {
            match field.as_str() {
                "full_scan_threshold" | "on_disk" | "memory" => {}
                "datatype" if value == "float32" => {}
                "datatype" => self.give_up(Without::Datatype, field)?,
                field => return Err(cannot(&format!("`index.{field}` of {}", vector(name)))),
            }
        }
        Ok(())
    }
}

/// The graph's bounds. Where one graph was kept for each tenant (`payload_m`), and none over all
/// (`m` of 0), each tenant's own collection has that one.
fn graph(config: &Value) -> Option<Value> {
    let number = |name: &str| config.get(name).and_then(Value::as_u64);
    let m = match number("m") {
        Some(0) => number("payload_m").or(Some(0)),
        m => m,
    };
    let mut graph = Map::new();
    for (name, value) in [("m", m), ("ef_construct", number("ef_construct"))] {
        if let Some(value) = value {
            graph.insert(name.into(), value.into());
        }
    }
    (!graph.is_empty()).then_some(Value::Object(graph))
}

fn index((field, schema): (&String, &Value)) -> (String, Value) {
    let kind = schema.get("data_type").cloned().unwrap_or(Value::Null);
    let taken = match schema.get("params") {
        Some(Value::Object(params)) => {
            let keep = |(name, value): &(&String, &Value)| {
                !value.is_null() && !INDEX_PLACEMENT.contains(&name.as_str())
            };
            let kept: Map<String, Value> = params
                .iter()
                .filter(keep)
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if kept.keys().all(|name| name == "type") { kind } else { Value::Object(kept) }
        }
        _ => kind,
    };
    (field.clone(), taken)
}

/// What two collections have to agree in, so that the points of one fit the other.
pub(super) fn shape(params: &Value) -> Value {
    let dense = |space: &Value| {
        let multi = space.get("multivector_config").is_some_and(|config| !config.is_null());
        json!([space.get("size"), space.get("distance"), multi])
    };
    let none = Value::Null;
    let vectors = params.get("vectors").unwrap_or(&none);
    let vectors: Map<String, Value> = if vectors.get("size").is_some_and(Value::is_u64) {
        Map::from_iter([(String::new(), dense(vectors))])
    } else {
        fields(vectors).map(|(name, space)| (name.clone(), dense(space))).collect()
    };
    let idf = |space: &Value| space.get("modifier").and_then(Value::as_str) == Some("idf");
    let sparse: Map<String, Value> = fields(params.get("sparse_vectors").unwrap_or(&none))
        .map(|(name, space)| (name.clone(), idf(space).into()))
        .collect();
    json!({ "vectors": vectors, "sparse": sparse })
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn vector(name: &str) -> String {
    if name.is_empty() { "the vector".into() } else { format!("vector {}", print::tame(name)) }
}

fn cannot(what: &str) -> Fault {
    Fault::failed(format!("the source has {}, which is not taken here", print::tame(what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(params: Value, more: Value) -> Value {
        let mut config = json!({"params": params, "hnsw_config": {"m": 16, "ef_construct": 100,
            "full_scan_threshold": 10_000, "max_indexing_threads": 0}, "optimizer_config": {"x": 1},
            "wal_config": {"wal_capacity_mb": 32}, "quantization_config": null});
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        json!({"status": "green", "config": config, "payload_schema": {}})
    }

    #[test]
    fn what_makes_a_result_is_taken_and_what_is_of_machines_is_not() {
        let params = json!({
            "vectors": {
                "a": {"size": 3, "distance": "Cosine", "on_disk": true, "hnsw_config": {"m": 8}},
                "b": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"},
                    "datatype": "float32"},
            },
            "sparse_vectors": {"s": {"modifier": "idf", "index": {"on_disk": true}}, "n": {"modifier": "none"}},
            "shard_number": 6, "replication_factor": 2, "write_consistency_factor": 1,
            "on_disk_payload": true,
        });
        let mut source = info(
            params,
            json!({"metadata": {"by": "us"}, "strict_mode_config": {"enabled": true}}),
        );
        source["payload_schema"] = json!({
            "tenant_id": {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": true}, "points": 7},
            "n": {"data_type": "integer", "points": 3},
            "text": {"data_type": "text", "params": {"type": "text", "tokenizer": "word", "on_disk": true}},
        });
        let plan = take(&source, &[]).unwrap();
        assert_eq!(
            plan.create,
            json!({
                "vectors": {
                    "a": {"size": 3, "distance": "Cosine"},
                    "b": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
                },
                "sparse_vectors": {"s": {"modifier": "idf"}, "n": {}},
                "hnsw_config": {"m": 16, "ef_construct": 100},
                "metadata": {"by": "us"},
            })
        );
        let indexes: Vec<_> = plan.indexes.iter().map(|(f, s)| (f.as_str(), s.clone())).collect();
        assert_eq!(
            indexes,
            [
                ("tenant_id", json!("keyword")),
                ("n", json!("integer")),
                ("text", json!({"type": "text", "tokenizer": "word"})),
            ]
        );
        assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
    }

    #[test]
    fn the_graph_of_a_tenant_is_the_graph_of_its_collection() {
        let shared = json!({"hnsw_config": {"m": 0, "payload_m": 12, "ef_construct": 90}});
        let params = json!({"vectors": {"size": 3, "distance": "Cosine"}});
        let plan = take(&info(params, shared), &[]).unwrap();
        assert_eq!(plan.create["hnsw_config"], json!({"m": 12, "ef_construct": 90}));
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let vectors = |more: Value| {
            let mut one = json!({"size": 3, "distance": "Cosine"});
            if let (Some(one), Some(more)) = (one.as_object_mut(), more.as_object()) {
                one.extend(more.clone());
            }
            json!({ "vectors": one })
        };
        let scalar = json!({"scalar": {"type": "int8"}});
        let none = json!({});
        for (params, more, named, flag) in [
            (
                vectors(none.clone()),
                json!({"quantization_config": scalar}),
                "quantization_config",
                Some(Without::Quantization),
            ),
            (
                vectors(json!({"quantization_config": scalar})),
                none.clone(),
                "quantization_config",
                Some(Without::Quantization),
            ),
            (
                vectors(json!({"datatype": "float16"})),
                none.clone(),
                "datatype",
                Some(Without::Datatype),
            ),
            (
                json!({"sparse_vectors": {"s": {"index": {"datatype": "uint8"}}}}),
                none.clone(),
                "datatype",
                Some(Without::Datatype),
            ),
            (
                vectors(json!({"multivector_config": {"comparator": "other"}})),
                none.clone(),
                "multivector_config",
                None,
            ),
            (vectors(json!({"new_thing": 1})), none.clone(), "new_thing", None),
            (json!({"new_thing": 1}), none.clone(), "new_thing", None),
            (
                json!({"sparse_vectors": {"s": {"modifier": "bm42"}}}),
                none.clone(),
                "modifier",
                None,
            ),
            (json!({"sparse_vectors": {"s": {"index": {"new": 1}}}}), none, "index.new", None),
        ] {
            let source = info(params, more);
            let error = take(&source, &[]).unwrap_err();
            assert!(error.to_string().contains(named), "{named}: {error}");
            let given_up = flag.map(|flag| take(&source, &[flag]));
            match given_up {
                None => assert!(error.advice().is_none()),
                Some(plan) => assert_eq!(plan.unwrap().notes.len(), 1, "{named}"),
            }
        }
    }

    #[test]
    fn a_shape_is_what_points_have_to_fit() {
        let one = json!({"vectors": {"size": 3, "distance": "Cosine"}});
        let named = json!({"vectors": {"": {"size": 3, "distance": "Cosine", "on_disk": true}}, "sparse_vectors": {}});
        assert_eq!(shape(&one), shape(&named));
        for other in [
            json!({"vectors": {"size": 4, "distance": "Cosine"}}),
            json!({"vectors": {"size": 3, "distance": "Dot"}}),
            json!({"vectors": {"a": {"size": 3, "distance": "Cosine"}}}),
            json!({"vectors": {"size": 3, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}}),
            json!({"vectors": {"size": 3, "distance": "Cosine"}, "sparse_vectors": {"s": {}}}),
            json!({}),
        ] {
            assert_ne!(shape(&one), shape(&other), "{other}");
        }
    }
}
