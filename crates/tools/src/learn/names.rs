//! What names give away.

use serde_json::{Map, Value, json};

use super::draft::{Bind, Place};
use crate::Source;

/// Words for whose data it is.
const OWNERS: &[&str] = &[
    "tenant",
    "account",
    "acct",
    "customer",
    "org",
    "organization",
    "organisation",
    "workspace",
    "company",
    "merchant",
    "team",
];
/// Words that may stand beside them in such a name.
const BESIDE: &[&str] =
    &["id", "uid", "uuid", "key", "ref", "external", "owner", "number", "slug", "name"];
/// Words for the end user. Half of the time they name somebody that the call is about.
const USERS: &[&str] = &["user", "subject", "actor", "requester"];

const DEEPEST: usize = 6;

/// The words of a name: `accountId`, `account_id` and `Account-ID` have two.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in name.chars() {
        let fresh = !before.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if c.is_alphanumeric() {
            if fresh || words.is_empty() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words
}

/// Whether a name is one of whose data it is, and nothing else.
fn is_owner(name: &str) -> bool {
    let words = words(name);
    let known = |word: &String| OWNERS.contains(&word.as_str()) || BESIDE.contains(&word.as_str());
    words.iter().all(known) && words.iter().any(|word| OWNERS.contains(&word.as_str()))
}

fn is_scalar(schema: &Value) -> bool {
    !matches!(schema.get("type").and_then(Value::as_str), Some("object" | "array"))
        && schema.get("properties").is_none()
        && schema.get("items").is_none()
}

/// Arguments that look like whose data a call is on.
pub(super) fn binds(schema: &Value) -> Vec<Bind> {
    let mut found = Vec::new();
    bind("", schema, 0, &mut found);
    // Bound twice, an argument of the same meaning is bound wrongly once.
    let surest = found.iter().position(|bind| bind.sure);
    for (at, bind) in found.iter_mut().enumerate() {
        bind.sure &= bind.source != Source::Account || Some(at) == surest;
    }
    found
}

fn bind(at: &str, schema: &Value, depth: usize, found: &mut Vec<Bind>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        if !is_scalar(property) {
            if depth < DEEPEST {
                bind(&pointer, property, depth + 1, found);
            }
            continue;
        }
        let words = words(name);
        let has = |of: &[&str]| words.iter().any(|word| of.contains(&word.as_str()));
        let (source, sure) = if is_owner(name) {
            (Source::Account, true)
        } else if words == ["environment"] || words == ["env"] {
            (Source::Environment, false)
        } else if has(USERS) && has(&["id", "uid", "uuid"])
            || words == ["user"]
            || words == ["subject"]
        {
            (Source::Subject, false)
        } else if has(OWNERS) {
            (Source::Account, false)
        } else {
            continue;
        };
        found.push(Bind { pointer, source, sure });
    }
}

/// Where owners seem to stand in an answer of this schema, the shallowest first.
pub(super) fn owners(schema: &Value) -> Vec<Place> {
    let mut found = Vec::new();
    owner("$", schema, 0, &mut found);
    found.sort_by_key(|(depth, _)| *depth);
    found.into_iter().map(|(_, place)| place).collect()
}

fn owner(path: &str, schema: &Value, depth: usize, found: &mut Vec<(usize, Place)>) {
    if depth > DEEPEST {
        return;
    }
    if let Some(items) = schema.get("items") {
        owner(&format!("{path}[*]"), items, depth + 1, found);
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let named = properties.iter().find_map(|(name, property)| {
        let key = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        if !is_owner(name) {
            return None;
        }
        if is_scalar(property) {
            return Some(key);
        }
        // `account: {id: …}`
        let inner = property.get("properties").and_then(Value::as_object)?;
        inner.contains_key("id").then(|| format!("{key}/id"))
    });
    if let Some(pointer) = named {
        found.push((depth, Place { records: path.to_owned(), pointer }));
        return;
    }
    for (name, property) in properties {
        if !is_scalar(property) {
            owner(&format!("{path}{}", segment(name)), property, depth + 1, found);
        }
    }
}

/// A segment of a JSONPath.
fn segment(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match plain {
        true => format!(".{name}"),
        false => format!("[{}]", Value::from(name)),
    }
}

/// The schema of a value that was seen.
pub(super) fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(number) if number.is_f64() => json!({"type": "number"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::String(_) => json!({"type": "string"}),
        Value::Array(items) => {
            let mut of = json!({});
            for item in items.iter().take(20) {
                merge(&mut of, &shape(item));
            }
            json!({"type": "array", "items": of})
        }
        Value::Object(entries) => {
            let properties: Map<_, _> =
                entries.iter().map(|(key, value)| (key.clone(), shape(value))).collect();
            json!({"type": "object", "properties": properties})
        }
    }
}

/// Adds to a schema what another has.
pub(super) fn merge(into: &mut Value, more: &Value) {
    let (Some(object), Some(more)) = (into.as_object_mut(), more.as_object()) else { return };
    for (key, value) in more {
        match (object.get_mut(key), value) {
            (Some(known @ Value::Object(_)), Value::Object(_)) if key == "items" => {
                merge(known, value)
            }
            (Some(Value::Object(known)), Value::Object(properties)) => {
                for (name, schema) in properties {
                    merge(known.entry(name.clone()).or_insert_with(|| json!({})), schema);
                }
            }
            (Some(_), _) => {}
            (None, _) => {
                object.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A path with a place for each segment that looks like an id.
pub(super) fn template(path: &str) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut before = String::new();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let segments = path.trim_start_matches('/').split('/').map(|segment| {
        let digits = segment.bytes().any(|b| b.is_ascii_digit());
        let version = segment.starts_with('v') && segment.len() <= 3;
        if !digits || version {
            segment.clone_into(&mut before);
            return segment.to_owned();
        }
        let of = before.trim_end_matches('s').replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let mut name = if of.is_empty() { "id".to_owned() } else { format!("{of}_id") };
        if names.contains(&name) {
            name = format!("{name}_{}", names.len() + 1);
        }
        names.push(name.clone());
        format!("{{{name}}}")
    });
    format!("/{}", segments.collect::<Vec<_>>().join("/"))
}

/// The names of the places in a path.
pub(super) fn places(path: &str) -> Vec<&str> {
    path.split('{')
        .skip(1)
        .filter_map(|after| after.split_once('}'))
        .map(|(name, _)| name)
        .collect()
}

/// What a request may be called.
pub(super) fn of_request(method: &str, path: &str) -> String {
    let literal =
        path.split('/').filter(|segment| !segment.is_empty() && !segment.starts_with('{'));
    let words: Vec<_> =
        std::iter::once(method.to_ascii_lowercase()).chain(literal.map(str::to_owned)).collect();
    words.join("_")
}
