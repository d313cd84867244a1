//! Strict, bounded JSON.
//!
//! A body that names a key twice means one thing to us and another to the next parser; that
//! is an ambiguity, so it is an error here, and so is a key that `serde_json` reads as something
//! else than a key. Depth and node count are bounded while parsing.

use std::{collections::HashSet, fmt, marker::PhantomData};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

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

/// Begins the keys under which `serde_json` hides values that are text until they are read. An
/// object with such a key is one thing here, and whatever stands in the text to `serde_json`.
const RESERVED: &str = "$serde_json::private::";

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
    /// A key that means something else further on.
    #[error("an object has a key that is reserved")]
    Reserved,
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
        read(bytes, limits)
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

/// Parses one document as [`Json::parse`] does, just as strictly, into the form that paths are looked up in.
///
/// # Errors
/// A repeated key, a bound passed, or bad syntax.
pub fn value(bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
    read(bytes, limits)
}

fn read<T: Tree>(bytes: &[u8], limits: &Limits) -> Result<T, Error> {
    let mut bounds = Bounds { nodes: limits.nodes, depth: limits.depth, broken: None };
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let parsed =
        Reader::of(&mut bounds).deserialize(&mut from).and_then(|tree| from.end().map(|()| tree));
    match (parsed, bounds.broken) {
        (_, Some(broken)) => Err(broken),
        (Ok(tree), None) => Ok(tree),
        (Err(at), None) => Err(Error::Syntax { line: at.line(), column: at.column() }),
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

/// What a document is read into.
trait Tree: Sized {
    /// An object, as far as it was read.
    type Entries: Default;

    fn null() -> Self;
    fn truth(truth: bool) -> Self;
    fn number(number: Number) -> Self;
    fn text(text: String) -> Self;
    fn list(items: Vec<Self>) -> Self;
    fn object(entries: Self::Entries) -> Self;
    /// Whether the object names a key already; it is about to get it.
    fn repeats(entries: &mut Self::Entries, key: &str) -> bool;
    fn put(entries: &mut Self::Entries, key: String, value: Self);
}

/// Keys in their order, and all of them once there are many.
#[derive(Default)]
struct Entries {
    all: Vec<(String, Json)>,
    seen: HashSet<String>,
}

impl Tree for Json {
    type Entries = Entries;

    fn null() -> Self {
        Self::Null
    }

    fn truth(truth: bool) -> Self {
        Self::Bool(truth)
    }

    fn number(number: Number) -> Self {
        Self::Number(number)
    }

    fn text(text: String) -> Self {
        Self::String(text)
    }

    fn list(items: Vec<Self>) -> Self {
        Self::Array(items)
    }

    fn object(entries: Entries) -> Self {
        Self::Object(entries.all)
    }

    fn repeats(entries: &mut Entries, key: &str) -> bool {
        // A linear look at few keys is quicker than a set; a set bounds the work for many.
        if entries.all.len() < 16 {
            return entries.all.iter().any(|(k, _)| k == key);
        }
        if entries.seen.is_empty() {
            entries.seen.extend(entries.all.iter().map(|(k, _)| k.clone()));
        }
        !entries.seen.insert(key.to_owned())
    }

    fn put(entries: &mut Entries, key: String, value: Self) {
        entries.all.push((key, value));
    }
}

impl Tree for Value {
    type Entries = Map<String, Self>;

    fn null() -> Self {
        Self::Null
    }

    fn truth(truth: bool) -> Self {
        Self::Bool(truth)
    }

    fn number(number: Number) -> Self {
        Self::Number(number)
    }

    fn text(text: String) -> Self {
        Self::String(text)
    }

    fn list(items: Vec<Self>) -> Self {
        Self::Array(items)
    }

    fn object(entries: Map<String, Self>) -> Self {
        Self::Object(entries)
    }

    fn repeats(entries: &mut Map<String, Self>, key: &str) -> bool {
        match entries.len() {
            // The planted bug: the last one wins.
            _ if crate::planted::is("json-value-repeated-keys") => false,
            ..16 => entries.keys().any(|k| k == key),
            _ => entries.contains_key(key),
        }
    }

    fn put(entries: &mut Map<String, Self>, key: String, value: Self) {
        if entries.is_empty() {
            // Most objects have that many, and would grow twice until then.
            *entries = Map::with_capacity(4);
        }
        entries.insert(key, value);
    }
}

struct Reader<'a, T> {
    bounds: &'a mut Bounds,
    into: PhantomData<T>,
}

impl<'a, T> Reader<'a, T> {
    const fn of(bounds: &'a mut Bounds) -> Self {
        Self { bounds, into: PhantomData }
    }
}

impl<'de, T: Tree> DeserializeSeed<'de> for Reader<'_, T> {
    type Value = T;

    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        self.bounds.node()?;
        from.deserialize_any(self)
    }
}

impl<'de, T: Tree> Visitor<'de> for Reader<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::null())
    }

    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::truth(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        Number::from_f64(value).map(T::number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<T, E> {
        Ok(T::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<T, A::Error> {
        self.bounds.descend()?;
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Reader::of(self.bounds))? {
            items.push(item);
        }
        self.bounds.depth += 1;
        Ok(T::list(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<T, A::Error> {
        self.bounds.descend()?;
        let mut entries = T::Entries::default();
        while let Some(key) = from.next_key::<String>()? {
            self.bounds.node()?;
            if key.starts_with(RESERVED) && !crate::planted::is("json-reserved-keys") {
                return Err(self.bounds.refuse(Error::Reserved));
            }
            // Before the value is read: of what is wrong twice, this is said.
            if T::repeats(&mut entries, &key) {
                return Err(self.bounds.refuse(Error::Duplicate));
            }
            let value = from.next_value_seed(Reader::of(self.bounds))?;
            T::put(&mut entries, key, value);
        }
        self.bounds.depth += 1;
        Ok(T::object(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Both forms, which say the same of whatever they read.
    fn parse(text: &str) -> Result<Json, Error> {
        let limits = Limits { depth: 4, nodes: 60 };
        let json = Json::parse(text.as_bytes(), &limits);
        let other = value(text.as_bytes(), &limits);
        let written = other.map(|other| serde_json::to_vec(&other).unwrap());
        let again = written.clone().and_then(|text| Json::parse(&text, &limits));
        assert_eq!(json, again, "{text}: {written:?}");
        json
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
    fn a_key_that_hides_a_document_is_none() {
        let hidden = r#"{"a":[{"$serde_json::private::RawValue":"{\"b\":1,\"b\":2}"}]}"#;
        // What it would be to whoever reads it next.
        let read: Value = serde_json::from_str(hidden).unwrap();
        assert_eq!(read["a"][0]["b"], 2);
        for text in [
            hidden,
            r#"{"$serde_json::private::RawValue":1}"#,
            r#"{"\u0024serde_json::private::RawValue":"5"}"#,
            r#"{"a":1,"$serde_json::private::Number":"1"}"#,
        ] {
            assert_eq!(parse(text), Err(Error::Reserved), "{text}");
        }
        assert!(parse(r#"{"$serde_json":"$serde_json::private::RawValue"}"#).is_ok());
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
