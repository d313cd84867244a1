//! Where arguments stand: in a request, and among the arguments.

use std::fmt;

use http::{HeaderName, HeaderValue};
use ids::json::Json;

use super::{Kind, Segment, encode::stays};

/// Which argument: keys through objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// Of a JSON Pointer, or of the name of an argument.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an argument needs a name".to_owned());
        }
        let Some(pointer) = text.strip_prefix('/') else { return Ok(Self(vec![text.to_owned()])) };
        if !text.split('~').skip(1).all(|after| after.starts_with(['0', '1'])) {
            return Err(format!("`{text}` is not a JSON Pointer"));
        }
        let keys = pointer.split('/').map(|key| key.replace("~1", "/").replace("~0", "~"));
        Ok(Self(keys.collect()))
    }

    pub(super) fn key(key: &str) -> Self {
        Self(vec![key.to_owned()])
    }

    /// The name of the argument, if it is one at the top: in a path there are no others.
    pub(super) fn name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    pub(super) fn begins_with(&self, key: &str) -> bool {
        self.0.first().is_some_and(|first| first == key)
    }

    /// Whether one is the other, or stands within it.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, two)| one == two)
    }

    /// Takes the value out, and with it the objects that are empty then.
    pub(super) fn take(&self, from: &mut Json) -> Option<Json> {
        take(&self.0, from)
    }

    /// Puts a value where there is none yet.
    pub(super) fn put(&self, into: &mut Json, value: Json) -> Option<()> {
        let (last, way) = self.0.split_last()?;
        let mut at = into;
        for key in way {
            let Json::Object(entries) = at else { return None };
            let position = match entries.iter().position(|(k, _)| k == key) {
                Some(position) => position,
                None => {
                    entries.push((key.clone(), Json::Object(Vec::new())));
                    entries.len() - 1
                }
            };
            at = &mut entries[position].1;
        }
        let Json::Object(entries) = at else { return None };
        if entries.iter().any(|(key, _)| key == last) {
            return None;
        }
        entries.push((last.clone(), value));
        Some(())
    }
}

fn take(keys: &[String], from: &mut Json) -> Option<Json> {
    let (key, deeper) = keys.split_first()?;
    let Json::Object(entries) = from else { return None };
    let position = entries.iter().position(|(k, _)| k == key)?;
    if deeper.is_empty() {
        return Some(entries.remove(position).1);
    }
    let taken = take(deeper, &mut entries[position].1);
    if taken.is_some() && entries[position].1 == Json::Object(Vec::new()) {
        entries.remove(position);
    }
    taken
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|key| write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")))
    }
}

/// Takes a path apart.
pub(super) fn path(path: &str) -> Result<Vec<Segment>, String> {
    let rest = path.strip_prefix('/').ok_or("the path has to begin with `/`")?;
    let count = rest.split('/').count();
    rest.split('/')
        .enumerate()
        .map(|(at, text)| match text.is_empty() {
            // `/` alone, or at the end: some APIs want it.
            true if at + 1 == count => {
                Ok(Segment { before: String::new(), place: None, after: String::new() })
            }
            true => Err(format!("`{path}` has an empty segment")),
            false => segment(text).map_err(|why| format!("`{text}` in the path {why}")),
        })
        .collect()
}

fn segment(text: &str) -> Result<Segment, &'static str> {
    let (before, place, after) = match text.split_once('{') {
        None => (text, None, ""),
        Some((before, rest)) => {
            let (name, after) =
                rest.split_once('}').ok_or("opens a place and does not close it")?;
            (before, Some(name), after)
        }
    };
    let literal = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$'()*+,:@=&".contains(&b))
    };
    if !literal(before) || !literal(after) {
        return Err("has more than one place, or characters that have to be encoded");
    }
    if place.is_none() && !stays(before) {
        return Err("leads elsewhere");
    }
    let place = match place {
        None => None,
        Some(name) if (1..=64).contains(&name.len()) && name.bytes().all(is_of_a_name) => {
            Some((Pointer::key(name), Kind::Text))
        }
        Some(_) => {
            return Err("has a place whose name is not 1 to 64 of letters, digits, `_`, `-`, `.`");
        }
    };
    Ok(Segment { before: before.to_owned(), place, after: after.to_owned() })
}

const fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Headers by which a request says who it is from, where it goes or where it ends.
const OURS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A header with a fixed value.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let refused = || format!("`{name}` is not a header that a contract may set");
    let name: HeaderName = name.parse().map_err(|_| refused())?;
    if OURS.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-") {
        return Err(refused());
    }
    let value =
        HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` is not one"))?;
    Ok((name, value))
}

/// What the schema says that an argument is.
pub(super) fn kind_of(schema: &Json, pointer: &Pointer) -> Kind {
    let mut at = schema;
    for key in &pointer.0 {
        let Some(deeper) = at.get("properties").and_then(|all| all.get(key)) else {
            return Kind::Text;
        };
        at = deeper;
    }
    match type_of(at) {
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Truth,
        Some("array") => match at.get("items").and_then(type_of) {
            Some("integer") => Kind::Integers,
            _ => Kind::Texts,
        },
        _ => Kind::Text,
    }
}

/// The one type of a schema, besides `null`.
fn type_of(schema: &Json) -> Option<&str> {
    match schema.get("type")? {
        Json::String(one) => Some(one),
        Json::Array(all) => {
            let mut some = all.iter().filter_map(Json::as_str).filter(|one| *one != "null");
            some.next().filter(|_| some.next().is_none())
        }
        _ => None,
    }
}
