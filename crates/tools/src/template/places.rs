//! Where arguments stand: in a request, and among the arguments.

use http::{HeaderName, HeaderValue};
use ids::json::Json;

use super::{Kind, Segment, encode::stays};
use crate::pointer::{Pointer, Step};

/// Which argument a JSON Pointer, or the name of one, is.
pub(crate) fn argument(text: &str) -> Result<Pointer, String> {
    match text {
        "" => Err("an argument needs a name".to_owned()),
        _ if text.starts_with('/') => Pointer::literal(text),
        name => Ok(Pointer::named(name)),
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
            Some((Pointer::named(name), Kind::Text))
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
    for step in pointer.steps() {
        let Step::Name(name) = step else { return Kind::Text };
        let Some(deeper) = at.get("properties").and_then(|all| all.get(name)) else {
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
