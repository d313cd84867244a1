//! Bodies in Qdrant's words: what is read says everything once, asks about nothing that is sealed or the program's own,
//! keeps to the bounds, and no sub-query is without the reach. What is refused does not come back in the message.

use std::collections::BTreeSet;

use memory::{
    MemorySettings, Schema, Vector, fuzzing,
    request::{self, Given, NewPoint, Operation, Query, Selector},
};
use serde_json::Value;

/// What bodies are made of.
pub const WORDS: &[&str] = &[
    "{\"points\":[{\"id\":1,\"vector\":[1.0,0.5],\"payload\":{\"a\":1}}]}",
    "{\"batch\":{\"ids\":[1],\"vectors\":[[1.0,0.5]],\"payloads\":[{}]}}",
    "\"vector\":{\"sparse\":{\"indices\":[1,2],\"values\":[1.0,2.0]}}",
    "\"vector\":{\"text\":\"a\",\"model\":\"m\",\"options\":{}}",
    "\"prefetch\":[{\"query\":[1.0,0.5],\"limit\":2}]",
    "\"prefetch\":{\"prefetch\":{},\"query\":1}",
    "\"query\":{\"fusion\":\"rrf\"}",
    "\"query\":{\"rrf\":{\"k\":2,\"weights\":[1.0]}}",
    "\"query\":{\"nearest\":1,\"mmr\":{\"diversity\":0.5}}",
    "\"query\":{\"recommend\":{\"positive\":[1],\"negative\":[[1,2]]}}",
    "\"query\":{\"order_by\":\"n\"}",
    "\"filter\":{\"must\":[{\"key\":\"a\",\"match\":{\"value\":1}}]}",
    "{\"key\":\"page_content\",\"match\":{\"value\":\"x\"}}",
    "{\"key\":\"_bulkhead.subject\",\"is_null\":true}",
    "{\"nested\":{\"key\":\"text\",\"filter\":{\"must\":[]}}}",
    "\"min_should\":{\"conditions\":[],\"min_count\":0}",
    "\"should\":",
    "\"must_not\":",
    "\"has_id\":[1]",
    "\"using\":\"multi\"",
    "\"using\":\"sparse\"",
    "\"with_payload\":{\"include\":[\"a\"]}",
    "\"$serde_json::private::RawValue\":\"{}\"",
    "\"$serde_json::private::Number\":\"1\"",
    "\\u0061",
    "1e39",
    "-0",
    "18446744073709551615",
    "\"5c56c793-69f3-4fbf-87e6-c4bf54c28c26\"",
    "null",
    "{}",
    "[]",
];

/// Longest message.
const LONGEST: usize = 1_000;

/// Small, so that inputs come to them.
fn bounds() -> MemorySettings {
    MemorySettings {
        dimensions: 8,
        vectors: 4,
        payload_bytes: 256,
        batch: 4,
        results: 100,
        queries: 4,
        conditions: 8,
        depth: 4,
        ..MemorySettings::default()
    }
}

/// The first line says what the rest is read as.
pub fn run(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (kind, body) = (&input[..at], &input[at + 1..]);
    let bounds = &bounds();
    let read = match kind {
        b"upsert" => request::parse_upsert(body, bounds).map(|it| written(&[it], bounds)),
        b"delete" => request::parse_delete(body, bounds).map(|it| written(&[it], bounds)),
        b"set" => request::parse_set_payload(body, bounds).map(|it| written(&[it], bounds)),
        b"overwrite" => {
            request::parse_overwrite_payload(body, bounds).map(|it| written(&[it], bounds))
        }
        b"unset" => request::parse_delete_payload(body, bounds).map(|it| written(&[it], bounds)),
        b"clear" => request::parse_clear(body, bounds).map(|it| written(&[it], bounds)),
        b"vectors" => request::parse_update_vectors(body, bounds).map(|it| written(&[it], bounds)),
        b"unvector" => request::parse_delete_vectors(body, bounds).map(|it| written(&[it], bounds)),
        b"batch" => request::parse_batch(body, bounds).map(|it| written(&it, bounds)),
        b"query" => request::parse_query(body, bounds).map(|it| asked(&[it], bounds)),
        b"queries" => request::parse_queries(body, bounds).map(|it| asked(&it, bounds)),
        b"groups" => request::parse_groups(body, bounds).map(|it| asked(&[it.query], bounds)),
        b"scroll" => request::parse_scroll(body, bounds).map(drop),
        b"count" => request::parse_count(body, bounds).map(drop),
        b"facet" => request::parse_facet(body, bounds).map(drop),
        b"retrieve" => request::parse_retrieve(body, bounds).map(drop),
        b"create" => request::parse_create(body, bounds).map(|it| made(&it, bounds)),
        b"patch" => request::parse_patch(body, bounds).map(drop),
        b"index" => request::parse_index(body, bounds).map(drop),
        _ => return,
    };
    match read {
        Ok(()) => {
            let Ok(value) = serde_json::from_slice::<Value>(body) else {
                panic!("what is no JSON was read");
            };
            assert!(once(body), "something said twice was read");
            let created = matches!(kind, b"create" | b"patch");
            open(&value, &[], created);
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() <= LONGEST, "a message of {} bytes", message.len());
            assert!(!message.chars().any(char::is_control), "a message that a terminal obeys");
        }
    }
}

fn written(operations: &[Operation], bounds: &MemorySettings) {
    let mut points = 0;
    for operation in operations {
        match operation {
            Operation::Upsert(rows) => {
                points += rows.len();
                for NewPoint { vectors, payload, .. } in rows {
                    assert!(!payload.contains_key("_bulkhead"), "the program's own field");
                    let size = Value::Object(payload.clone()).to_string().len();
                    // Escapes make six bytes of one.
                    assert!(size <= bounds.payload_bytes * 6, "a payload of {size} bytes");
                    vectors.values().for_each(|given| vector(given, bounds));
                }
            }
            Operation::UpdateVectors(rows) => {
                points += rows.len();
                rows.iter().flat_map(|row| row.1.values()).for_each(|given| vector(given, bounds));
            }
            Operation::SetPayload { payload, points: of, .. }
            | Operation::OverwritePayload { payload, points: of, .. } => {
                assert!(!payload.contains_key("_bulkhead"), "the program's own field");
                points += chosen(of);
            }
            Operation::Delete(of)
            | Operation::ClearPayload(of)
            | Operation::DeletePayload { points: of, .. }
            | Operation::DeleteVectors { points: of, .. } => points += chosen(of),
        }
    }
    assert!(points <= bounds.batch, "{points} points");
}

fn chosen(points: &Selector) -> usize {
    match points {
        Selector::Ids(ids) => ids.len(),
        Selector::Filter(_) => 0,
    }
}

fn vector(given: &Given, bounds: &MemorySettings) {
    let sound = |row: &[f32]| {
        assert!(!row.is_empty() && row.len() <= bounds.dimensions, "{} dimensions", row.len());
        assert!(row.iter().all(|value| value.is_finite()), "no number");
    };
    match given {
        Given::Document(_) => {}
        Given::Vector(Vector::Dense(row)) => sound(row),
        Given::Vector(Vector::Multi(rows)) => {
            assert!(!rows.is_empty(), "no rows");
            rows.iter().for_each(|row| sound(row));
        }
        Given::Vector(Vector::Sparse { indices, values }) => {
            assert_eq!(indices.len(), values.len(), "a sparse vector of two lengths");
            assert!(indices.windows(2).all(|two| two[0] < two[1]), "not ascending");
            assert!(values.iter().all(|value| value.is_finite()), "no number");
        }
    }
}

fn asked(queries: &[Query], bounds: &MemorySettings) {
    const COLLECTION: &str = r#"{
        "vectors": {
            "": { "size": 2, "distance": "Dot" },
            "multi": { "size": 2, "distance": "Dot", "multivector_config": { "comparator": "max_sim" } }
        },
        "sparse_vectors": { "sparse": {} }
    }"#;
    assert!(queries.len() <= bounds.queries, "{} queries", queries.len());
    let Ok(mut schema) = request::parse_create(COLLECTION.as_bytes(), bounds) else {
        panic!("no collection");
    };
    schema.indexes.insert("n".into(), "integer".into());
    for query in queries {
        within(query, bounds, 0);
        if let Ok((held, all)) = fuzzing::held(query, &schema, bounds) {
            assert_eq!(held, all, "a sub-query beyond reach");
        }
    }
}

fn within(query: &Query, bounds: &MemorySettings, depth: usize) {
    assert!(depth <= bounds.depth, "too deep");
    assert!(query.limit > 0 && query.limit + query.offset <= bounds.results, "too many results");
    query.prefetch.iter().for_each(|prefetch| within(prefetch, bounds, depth + 1));
}

fn made(schema: &Schema, bounds: &MemorySettings) {
    let names = schema.vectors.keys().chain(schema.sparse.keys());
    for name in names {
        assert!(!name.contains(['/', '\\', '\0']) && name != ".." && name != ".", "{name:?}");
    }
    assert!(schema.vectors.len() + schema.sparse.len() <= bounds.vectors, "too many vectors");
    assert!(schema.vectors.values().all(|space| (1..=bounds.dimensions).contains(&space.size)));
}

/// Whether no object of a text has a key twice: read by its tokens, whatever they are for.
fn once(body: &[u8]) -> bool {
    let (mut open, mut at): (Vec<Option<BTreeSet<String>>>, usize) = (Vec::new(), 0);
    while let Some(byte) = body.get(at) {
        match byte {
            b'{' => open.push(Some(BTreeSet::new())),
            b'[' => open.push(None),
            b'}' | b']' => drop(open.pop()),
            b'"' => {
                let mut end = at + 1;
                while body.get(end).is_some_and(|byte| *byte != b'"') {
                    end += if body[end] == b'\\' { 2 } else { 1 };
                }
                let rest = body[end + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
                if let (Some(b':'), Some(Some(keys))) = (rest, open.last_mut()) {
                    let Ok(key) = serde_json::from_slice::<String>(&body[at..=end]) else {
                        return false;
                    };
                    if !keys.insert(key) {
                        return false;
                    }
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    true
}

/// What may hold any field: nothing in it is asked about.
const FREE: [&str; 4] = ["payload", "payloads", "options", "metadata"];

/// Every path that is asked about, with the lists within which it is, begins with no field that is sealed or the
/// program's own.
fn open(value: &Value, within: &[String], created: bool) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| open(one, within, created)),
        Value::Object(fields) => {
            let mut inner = within.to_vec();
            for name in ["key", "field_name", "group_by"] {
                // A collection may call a vector so.
                let Some(Value::String(path)) = fields.get(name).filter(|_| !created) else {
                    continue;
                };
                // Where fields are set, the path is one that is written.
                let written = fields.contains_key("payload");
                let first = inner.first().map_or(path.as_str(), String::as_str);
                let first = first.trim_start_matches('"').split(['"', '.', '[']).next();
                let first = first.unwrap_or_default();
                assert_ne!(first, "_bulkhead", "the program's own field in {name}");
                let sealed = ["page_content", "text", "document", "_node_content"];
                assert!(written || !sealed.contains(&first), "{first} is asked about in {name}");
                inner.push(path.clone());
            }
            for (name, value) in fields {
                if !FREE.contains(&name.as_str()) {
                    open(value, if name == "filter" { &inner } else { within }, created);
                }
            }
        }
        _ => {}
    }
}
