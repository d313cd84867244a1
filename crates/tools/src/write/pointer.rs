//! JSON Pointers (RFC 6901) into arguments and answers.

use ids::json::Json;

/// The parts of a pointer; `None` if it is none.
fn parts(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let rest = pointer.strip_prefix('/')?;
    Some(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

/// The value at a pointer.
pub(crate) fn get<'a>(json: &'a Json, pointer: &str) -> Option<&'a Json> {
    parts(pointer)?.iter().try_fold(json, |at, part| match at {
        Json::Object(_) => at.get(part),
        Json::Array(items) => {
            let plain = part == "0" || !part.starts_with(['0', '+']);
            items.get(part.parse::<usize>().ok().filter(|_| plain)?)
        }
        _ => None,
    })
}

/// Puts a value at a pointer through objects, making those that are missing; whether it has a
/// place there.
pub(crate) fn set(json: &mut Json, pointer: &str, value: Json) -> bool {
    let Some(parts) = parts(pointer) else { return false };
    let mut at = json;
    for part in &parts {
        let Json::Object(entries) = at else { return false };
        let found = entries.iter().position(|(key, _)| key == part);
        let index = found.unwrap_or_else(|| {
            entries.push((part.clone(), Json::Object(Vec::new())));
            entries.len() - 1
        });
        at = &mut entries[index].1;
    }
    *at = value;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &ids::json::Limits::default()).unwrap()
    }

    #[test]
    fn finds_and_sets() {
        let mut all = json(r#"{"a":{"b/c":[1,{"~":2}]}}"#);
        assert_eq!(get(&all, "/a/b~1c/1/~0"), Some(&json("2")));
        assert_eq!(get(&all, ""), Some(&all));
        for none in ["a", "/a/x", "/a/b~1c/2", "/a/b~1c/01", "/a/b~1c/-1"] {
            assert_eq!(get(&all, none), None, "{none}");
        }
        assert!(set(&mut all, "/a/n/m", json("true")));
        assert!(set(&mut all, "/a/b~1c", json("0")));
        assert!(!set(&mut all, "/a/b~1c/d", json("0")));
        assert_eq!(all, json(r#"{"a":{"b/c":0,"n":{"m":true}}}"#));
    }
}
