//! Paths into payloads, as Qdrant writes them: `a.b`, `a[].b`, `a[0]`, `"a b".c`.

use qdrant_edge::JsonPath;

use super::{Bounds, reading};
use crate::Error;

/// The field of the engine's payload that is this program's own: whose a point is, and until
/// when it is there. No caller's payload, filter or index may name it.
pub(crate) const RESERVED: &str = "_bulkhead";

/// Longest path.
const LONGEST: usize = 512;

/// A path, as the engine has it.
///
/// # Errors
/// No path.
pub(crate) fn parse(path: &str) -> Result<JsonPath, Error> {
    let wrong = || Error::Invalid(format!("Wrong input: {} is no path", reading::name(path)));
    if path.len() > LONGEST {
        return Err(wrong());
    }
    path.parse().map_err(|()| wrong())
}

/// A path of a caller's: nothing of this program's own.
pub(crate) fn own(path: &str) -> Result<JsonPath, Error> {
    let path = parse(path)?;
    reserved(&path.first_key)?;
    Ok(path)
}

/// A path by whose values something is found, ordered or counted: nothing of this program's own,
/// and no content.
pub(crate) fn asked(path: &str, bounds: &Bounds) -> Result<JsonPath, Error> {
    let path = own(path)?;
    content(&path, bounds)?;
    Ok(path)
}

/// # Errors
/// A key at the top of a payload that is this program's own.
pub(crate) fn reserved(key: &str) -> Result<(), Error> {
    if key == RESERVED {
        return Err(Error::Invalid(format!("Wrong input: `{RESERVED}` is reserved")));
    }
    Ok(())
}

/// # Errors
/// [`Error::Content`] if the path leads to a content field, into one, or to what one is a part
/// of. Steps into lists are left out on both sides: `text[]`, `text[0].a` and `text` are one.
pub(crate) fn content(path: &JsonPath, bounds: &Bounds) -> Result<(), Error> {
    let asked = keys(path);
    for field in &bounds.content_fields {
        let Ok(sealed) = parse(field) else {
            // No path, so the settings were not checked: a key at the top.
            if asked.first() == Some(field) {
                return Err(Error::Content(field.clone()));
            }
            continue;
        };
        if keys(&sealed).iter().zip(&asked).all(|(a, b)| a == b) {
            return Err(Error::Content(field.clone()));
        }
    }
    Ok(())
}

/// The keys of a path, in their order. The engine does not let its steps be looked at, but
/// writes every path in one way: a key with anything but letters, digits, `_` and `-` in quotes,
/// and no quote within.
fn keys(path: &JsonPath) -> Vec<String> {
    let text = path.to_string();
    let (mut keys, mut rest) = (Vec::new(), text.as_str());
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            rest = inside.split_once(']').map_or("", |(_, behind)| behind);
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (key, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
            keys.push(key.to_owned());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('.') {
            rest = behind;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, behind) = rest.split_at(end);
            keys.push(key.to_owned());
            rest = behind;
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_paths() {
        let of = |path: &str| keys(&parse(path).unwrap());
        assert_eq!(of("a"), ["a"]);
        assert_eq!(of("a[].b"), ["a", "b"]);
        assert_eq!(of("a[3][].\"b.c[0] d\".e"), ["a", "b.c[0] d", "e"]);
        assert_eq!(of("\"page_content\"[0]"), ["page_content"]);
        assert_eq!(of("\"\".x"), ["", "x"]);
    }
}
