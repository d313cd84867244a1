//! Strict JSON and its canonical form, which decides what shares a cache entry.

use bytes::Bytes;
use ids::json::{Json, Limits};
use model::{Api, REFUSED_FIELDS, Request};
use serde_json::Value;

use crate::folded;

/// What JSON is made of.
pub const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u0000",
    "\\ud83d\\ude00",
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1e2",
    "1E400",
    "0.1",
    "18446744073709551616",
    "-9223372036854775809",
    "\"a\":1",
    "\"\\u0061\":2",
    "\"model\":\"m\"",
    "\"messages\":[]",
    "\"metadata\":{\"tenant_id\":\"acme\"}",
    "\"store\":false",
    "\"stream\":true",
    "\"$serde_json::private::RawValue\":\"{}\"",
    " ",
    "\n",
    "\u{feff}",
];

/// Fields that name a tenant or an environment, as the default configuration lists them, folded.
const CLAIMS: [&str; 3] = ["tenantid", "tenant", "environment"];
const METADATA_CLAIMS: [&str; 4] = ["tenantid", "tenant", "environment", "env"];

/// What is accepted means one thing only, and its canonical form means the same.
pub fn run(input: &[u8]) {
    let parsed = Json::parse(input, &Limits::default());
    let independent = serde_json::from_slice::<Value>(input);
    let Ok(json) = parsed else {
        return;
    };
    let Ok(expected) = independent else {
        panic!("accepted what serde_json refuses");
    };
    assert_eq!(nodes(&json), values(&expected), "a repeated key was accepted");
    let canonical = json.to_vec();
    let Ok(meant) = serde_json::from_slice::<Value>(&canonical) else {
        panic!("the canonical form is not JSON");
    };
    assert_eq!(meant, expected, "the canonical form means something else");
    let Ok(again) = Json::parse(&canonical, &Limits::default()) else {
        panic!("the canonical form is refused");
    };
    assert_eq!(again.to_vec(), canonical, "the canonical form is not stable");
    assert_eq!(reversed(json).to_vec(), canonical, "the order of keys shows");
    chat(input, &expected);
}

/// A body that is accepted as a chat hides no field that names a tenant, and has none that would choose a partition.
fn chat(input: &[u8], body: &Value) {
    let limits = model::Limits::default();
    let Ok(request) = Request::parse(Api::Chat, Bytes::copy_from_slice(input), &limits) else {
        return;
    };
    let Value::Object(fields) = body else {
        panic!("a chat that is no object was accepted");
    };
    let refused =
        |name: &String| REFUSED_FIELDS.iter().any(|(field, _)| folded(field) == folded(name));
    assert!(!fields.keys().any(refused), "a refused field was accepted");
    let metadata = fields.iter().filter(|(name, _)| folded(name) == "metadata");
    let named = metadata
        .filter_map(|(_, value)| value.as_object())
        .flatten()
        .filter(|(name, _)| METADATA_CLAIMS.contains(&folded(name).as_str()))
        .chain(fields.iter().filter(|(name, _)| CLAIMS.contains(&folded(name).as_str())))
        .filter(|(_, value)| !value.is_null());
    assert_eq!(request.claims().count(), named.count(), "a field that names a tenant was missed");
    assert_eq!(Some(request.model()), fields.get("model").and_then(Value::as_str));
}

fn nodes(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Json::Object(entries) => 1 + entries.iter().map(|(_, value)| nodes(value)).sum::<usize>(),
        _ => 1,
    }
}

fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

fn reversed(json: Json) -> Json {
    match json {
        Json::Array(items) => Json::Array(items.into_iter().map(reversed).collect()),
        Json::Object(entries) => Json::Object(
            entries.into_iter().rev().map(|(key, value)| (key, reversed(value))).collect(),
        ),
        other => other,
    }
}
