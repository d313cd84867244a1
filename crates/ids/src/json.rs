//! Strict, bounded JSON.
//!
//! A body that names a key twice means one thing to us and another to the next parser; that
//! is an ambiguity, so it is an error here. Depth and node count are bounded while parsing.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A parsed document. Objects keep the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Keys and values; every key once.
    Object(Vec<(String, Json)>),
}

/// Bounds on a document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting of lists and objects.
    pub depth: usize,
    /// Values and keys in all.
    pub nodes: usize,
}

impl Default for Limits {
    /// 64 deep, 200,000 nodes.
    fn default() -> Self {
        Self { depth: 64, nodes: 200_000 }
    }
}

/// Why a document was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One object names a key twice.
    #[error("an object names the same key twice")]
    Duplicate,
    /// Nested deeper than allowed.
    #[error("nested too deeply")]
    Depth,
    /// More values than allowed.
    #[error("too many values")]
    Nodes,
    /// Not JSON. Says where, and never repeats content.
    #[error("not valid JSON at line {line}, column {column}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

impl Json {
    /// Parses one document; nothing but white space may follow it.
    ///
    /// # Errors
    /// A repeated key, a bound passed, or bad syntax.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let mut bounds = Bounds { nodes: limits.nodes, depth: limits.depth, broken: None };
        let mut from = serde_json::Deserializer::from_slice(bytes);
        let parsed =
            Reader(&mut bounds).deserialize(&mut from).and_then(|json| from.end().map(|()| json));
        match (parsed, bounds.broken) {
            (_, Some(broken)) => Err(broken),
            (Ok(json), None) => Ok(json),
            (Err(at), None) => Err(Error::Syntax { line: at.line(), column: at.column() }),
        }
    }

    /// The value of a key, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value at a dotted path through objects, such as `metadata.tenant_id`.
    #[must_use]
    pub fn at_path(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, Self::get)
    }

    /// As a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// As a truth value.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// As a whole number that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// Writes the canonical form: keys sorted bytewise, no white space. Two documents that
    /// differ in order of keys or spacing alone write the same bytes.
    pub fn canonical(&self, sink: &mut impl FnMut(&[u8])) {
        match self {
            Self::Null => sink(b"null"),
            Self::Bool(true) => sink(b"true"),
            Self::Bool(false) => sink(b"false"),
            Self::Number(number) => sink(number.to_string().as_bytes()),
            Self::String(text) => quote(text, sink),
            Self::Array(items) => {
                sink(b"[");
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        sink(b",");
                    }
                    item.canonical(sink);
                }
                sink(b"]");
            }
            Self::Object(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
                sink(b"{");
                for (i, (key, value)) in sorted.into_iter().enumerate() {
                    if i > 0 {
                        sink(b",");
                    }
                    quote(key, sink);
                    sink(b":");
                    value.canonical(sink);
                }
                sink(b"}");
            }
        }
    }

    /// The canonical form in a buffer.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.canonical(&mut |part| out.extend_from_slice(part));
        out
    }
}

fn quote(text: &str, sink: &mut impl FnMut(&[u8])) {
    sink(b"\"");
    let bytes = text.as_bytes();
    let mut from = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        sink(&bytes[from..i]);
        match byte {
            b'"' => sink(b"\\\""),
            b'\\' => sink(b"\\\\"),
            other => sink(format!("\\u{other:04x}").as_bytes()),
        }
        from = i + 1;
    }
    sink(&bytes[from..]);
    sink(b"\"");
}

struct Bounds {
    nodes: usize,
    depth: usize,
    broken: Option<Error>,
}

impl Bounds {
    fn refuse<E: de::Error>(&mut self, why: Error) -> E {
        let error = E::custom(&why);
        self.broken.get_or_insert(why);
        error
    }

    fn node<E: de::Error>(&mut self) -> Result<(), E> {
        match self.nodes.checked_sub(1) {
            Some(left) => {
                self.nodes = left;
                Ok(())
            }
            None => Err(self.refuse(Error::Nodes)),
        }
    }

    fn descend<E: de::Error>(&mut self) -> Result<(), E> {
        match self.depth.checked_sub(1) {
            Some(left) => {
                self.depth = left;
                Ok(())
            }
            None => Err(self.refuse(Error::Depth)),
        }
    }
}

struct Reader<'a>(&'a mut Bounds);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        self.0.node()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        self.0.descend()?;
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Reader(self.0))? {
            items.push(item);
        }
        self.0.depth += 1;
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        self.0.descend()?;
        let mut entries: Vec<(String, Json)> = Vec::new();
        // A linear look at few keys is quicker than a set; a set bounds the work for many.
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = from.next_key::<String>()? {
            self.0.node()?;
            let repeated = if entries.len() < 16 {
                entries.iter().any(|(k, _)| *k == key)
            } else {
                if seen.is_empty() {
                    seen.extend(entries.iter().map(|(k, _)| k.clone()));
                }
                !seen.insert(key.clone())
            };
            if repeated {
                return Err(self.0.refuse(Error::Duplicate));
            }
            let value = from.next_value_seed(Reader(self.0))?;
            entries.push((key, value));
        }
        self.0.depth += 1;
        Ok(Json::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Json, Error> {
        Json::parse(text.as_bytes(), &Limits { depth: 4, nodes: 60 })
    }

    #[test]
    fn refuses() {
        let many = format!("[{}1]", "1,".repeat(80));
        for (text, why) in [
            (r#"{"a":1,"a":1}"#, Error::Duplicate),
            (r#"{"a":1,"\u0061":2}"#, Error::Duplicate),
            (r#"[{"x":{"a":1,"b":2,"a":3}}]"#, Error::Duplicate),
            ("[[[[[1]]]]]", Error::Depth),
            (many.as_str(), Error::Nodes),
            ("{} {}", Error::Syntax { line: 1, column: 4 }),
            ("{\"a\":", Error::Syntax { line: 1, column: 5 }),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn finds_a_repeat_among_many_keys() {
        let keys: String = (0..20).map(|i| format!("\"k{i}\":1,")).collect();
        assert_eq!(parse(&format!("{{{keys}\"k3\":1}}")), Err(Error::Duplicate));
        assert_eq!(parse(&format!("{{{keys}\"k18\":1}}")), Err(Error::Duplicate));
        assert!(parse(&format!("{{{keys}\"k20\":1}}")).is_ok());
    }

    #[test]
    fn canonical_form_sorts_and_keeps_meaning() {
        let a = parse(r#"{ "b": [1, 2.5, "x\ny"], "a": {"z": null, "y": true} }"#).unwrap();
        let b = parse(r#"{"a":{"y":true,"z":null},"b":[1,2.5,"x\u000ay"]}"#).unwrap();
        assert_eq!(a.to_vec(), b.to_vec());
        assert_eq!(parse(std::str::from_utf8(&a.to_vec()).unwrap()).unwrap().to_vec(), a.to_vec());
        assert_eq!(a.at_path("a.y").and_then(Json::as_bool), Some(true));
        assert_eq!(a.at_path("a.q.r"), None);
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in "\\PC{0,40}") {
            let quoted = serde_json::to_vec(&text).unwrap();
            let json = Json::parse(&quoted, &Limits::default()).unwrap();
            prop_assert_eq!(json.as_str(), Some(text.as_str()));
            let back: String = serde_json::from_slice(&json.to_vec()).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
