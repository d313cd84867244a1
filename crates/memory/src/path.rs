//! JSON paths as Qdrant writes them: `a.b`, `a[].b`, `a[0]`, `a."with space"`. Read by our own
//! means: what leaves is held against rows without asking the engine what a path means.

use std::{iter::Peekable, str::Chars};

use serde_json::{Map, Value};

use crate::Payload;

/// A path from the top of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    first: String,
    rest: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    Each,
}

impl Path {
    /// `None` for what is no path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut chars = text.chars().peekable();
        let first = key(&mut chars)?;
        let mut rest = Vec::new();
        while let Some(c) = chars.next() {
            rest.push(match c {
                '.' => Step::Key(key(&mut chars)?),
                '[' => index(&mut chars)?,
                _ => return None,
            });
        }
        Some(Self { first, rest })
    }

    /// Everything that it leads to. An array is one value; `[]` leads to each of its elements.
    pub(crate) fn values<'a>(&self, payload: &'a Payload) -> Vec<&'a Value> {
        let mut found = Vec::new();
        if let Some(value) = payload.get(&self.first) {
            walk(value, &self.rest, &mut found);
        }
        found
    }

    /// Whether one of the two leads to or beyond where the other leads.
    fn meets(&self, at: &Place<'_>) -> bool {
        self.first == at.first && self.rest.iter().zip(&at.rest).all(|(a, b)| a == b)
    }

    /// Whether what is at a place goes when this path goes.
    fn covers(&self, at: &Place<'_>) -> bool {
        self.first == at.first && at.rest.starts_with(&self.rest)
    }
}

fn key(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut key = String::new();
    if chars.next_if_eq(&'"').is_some() {
        loop {
            match chars.next()? {
                '"' => return Some(key),
                '\\' => return None,
                c => key.push(c),
            }
        }
    }
    while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        key.push(c);
    }
    (!key.is_empty()).then_some(key)
}

fn index(chars: &mut Peekable<Chars<'_>>) -> Option<Step> {
    let mut digits = String::new();
    loop {
        match chars.next()? {
            ']' if digits.is_empty() => return Some(Step::Each),
            ']' => return digits.parse().ok().map(Step::Index),
            c if c.is_ascii_digit() => digits.push(c),
            _ => return None,
        }
    }
}

fn walk<'a>(value: &'a Value, steps: &[Step], found: &mut Vec<&'a Value>) {
    let Some((step, rest)) = steps.split_first() else { return found.push(value) };
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => {
            if let Some(value) = map.get(key) {
                walk(value, rest, found);
            }
        }
        (Step::Index(index), Value::Array(values)) => {
            if let Some(value) = values.get(*index) {
                walk(value, rest, found);
            }
        }
        (Step::Each, Value::Array(values)) => {
            for value in values {
                walk(value, rest, found);
            }
        }
        _ => {}
    }
}

/// Where in a payload something stands; elements of arrays are not told apart.
struct Place<'a> {
    first: &'a str,
    rest: Vec<Step>,
}

/// What the paths lead to, or pass.
pub(crate) fn only(payload: &Payload, paths: &[Path]) -> Payload {
    keep(payload, &|place| paths.iter().any(|path| path.meets(place)))
}

/// What the paths do not lead to.
pub(crate) fn without(payload: &Payload, paths: &[Path]) -> Payload {
    keep(payload, &|place| !paths.iter().any(|path| path.covers(place)))
}

type Kept<'a> = &'a dyn Fn(&Place<'_>) -> bool;

fn keep(payload: &Payload, kept: Kept<'_>) -> Payload {
    let mut out = Map::new();
    for (key, value) in payload {
        let mut place = Place { first: key, rest: Vec::new() };
        if kept(&place) {
            out.insert(key.clone(), below(value, &mut place, kept));
        }
    }
    out
}

fn below(value: &Value, place: &mut Place<'_>, kept: Kept<'_>) -> Value {
    match value {
        Value::Array(values) => {
            place.rest.push(Step::Each);
            let mut out = Vec::new();
            for value in values {
                if kept(place) {
                    out.push(below(value, place, kept));
                }
            }
            place.rest.pop();
            Value::Array(out)
        }
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                place.rest.push(Step::Key(key.clone()));
                if kept(place) {
                    out.insert(key.clone(), below(value, place, kept));
                }
                place.rest.pop();
            }
            Value::Object(out)
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    fn payload(value: Value) -> Payload {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn leads_to_values() {
        let row = payload(json!({
            "a": {"b": [{"c": 1}, {"c": [2, 3]}, 4], "d e": 5},
            "é": null,
        }));
        for (text, want) in [
            ("a.b[].c", json!([1, [2, 3]])),
            ("a.b[0].c", json!([1])),
            ("a.b[1].c[]", json!([2, 3])),
            ("a.\"d e\"", json!([5])),
            ("é", json!([null])),
            ("a.b[9]", json!([])),
            ("a.x", json!([])),
        ] {
            assert_eq!(json!(path(text).values(&row)), want, "{text}");
        }
        for bad in ["", ".a", "a.", "a[", "a[x]", "a b", "a\"b", "\"a\\\"\"", "a]", "[]"] {
            assert_eq!(Path::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn shows_some_fields() {
        let row = payload(json!({"a": {"b": [{"c": 1, "d": 2}], "e": 3}, "f": 4}));
        let paths = |texts: &[&str]| texts.iter().map(|text| path(text)).collect::<Vec<_>>();
        for (texts, inside, outside) in [
            (&["f"][..], json!({"f": 4}), json!({"a": {"b": [{"c": 1, "d": 2}], "e": 3}})),
            (
                &["a.b[].c"],
                json!({"a": {"b": [{"c": 1}]}}),
                json!({"a": {"b": [{"d": 2}], "e": 3}, "f": 4}),
            ),
            (&["a"], json!({"a": {"b": [{"c": 1, "d": 2}], "e": 3}}), json!({"f": 4})),
            (&["x"], json!({}), json!({"a": {"b": [{"c": 1, "d": 2}], "e": 3}, "f": 4})),
        ] {
            assert_eq!(Value::Object(only(&row, &paths(texts))), inside, "only {texts:?}");
            assert_eq!(Value::Object(without(&row, &paths(texts))), outside, "without {texts:?}");
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..5_i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_path() -> impl Strategy<Value = String> {
        let step = prop_oneof![
            "\\.[a-c]",
            Just("[]".to_owned()),
            (0..3_usize).prop_map(|i| format!("[{i}]")),
            Just(".\"a\"".to_owned())
        ];
        ("[a-c]", prop::collection::vec(step, 0..4)).prop_map(|(key, rest)| key + &rest.concat())
    }

    proptest! {
        /// The engine's own reading of paths is the oracle.
        #[test]
        fn as_the_engine_reads_them(
            map in prop::collection::btree_map("[a-c]", tree(), 0..4), text in any_path()
        ) {
            let map: Payload = map.into_iter().collect();
            let theirs: qdrant_edge::JsonPath = text.parse().unwrap();
            let want: Vec<Value> = theirs.value_get(&map).into_iter().cloned().collect();
            prop_assert_eq!(json!(path(&text).values(&map)), json!(want));
            let selector = qdrant_edge::PayloadSelector::new_include(vec![theirs.clone()]);
            prop_assert_eq!(
                only(&map, &[path(&text)]), selector.process(qdrant_edge::Payload(map.clone())).0
            );
            let selector = qdrant_edge::PayloadSelector::new_exclude(vec![theirs]);
            prop_assert_eq!(
                without(&map, &[path(&text)]), selector.process(qdrant_edge::Payload(map.clone())).0
            );
        }

        #[test]
        fn reads_what_the_engine_reads(text in "[a\\.\\[\\]\"0 é\\\\]{0,7}") {
            let theirs: Result<qdrant_edge::JsonPath, ()> = text.parse();
            prop_assert_eq!(Path::parse(&text).is_some(), theirs.is_ok());
        }
    }
}
