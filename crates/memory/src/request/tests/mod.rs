//! What is read is asked of a real shard of the engine's: a field that is accepted changes what
//! comes out, a field that is refused is refused by its name.

mod bodies;
mod collections;
mod filters;
mod queries;
mod random;
mod reach;
mod shelf;

use serde_json::Value;

use super::Bounds;
use crate::Error;

fn bounds() -> Bounds {
    Bounds::default()
}

/// What a parser says of a body that it refuses.
fn refusal<T>(parse: fn(&[u8], &Bounds) -> Result<T, Error>, body: &Value) -> Error {
    match parse(body.to_string().as_bytes(), &bounds()) {
        Ok(_) => panic!("{body} was read"),
        Err(error) => error,
    }
}

/// Refused as something that there is not, by this name.
fn unsupported<T>(parse: fn(&[u8], &Bounds) -> Result<T, Error>, body: &Value, name: &str) {
    match refusal(parse, body) {
        Error::Unsupported(what) => assert!(what.contains(name), "{what} for {body}"),
        other => panic!("{other} for {body}"),
    }
}

/// Refused as what cannot be, in these words.
fn invalid<T>(parse: fn(&[u8], &Bounds) -> Result<T, Error>, body: &Value, words: &str) {
    match refusal(parse, body) {
        Error::Invalid(what) => assert!(what.contains(words), "{what} for {body}"),
        other => panic!("{other} for {body}"),
    }
}

/// An object with these fields over those.
fn with(base: &Value, more: &Value) -> Value {
    let mut all = base.clone();
    if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    all
}
