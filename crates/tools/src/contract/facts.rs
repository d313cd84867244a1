//! What policies see of a call's arguments.
//!
//! One text for each different value: `pointer=value`. Two different calls never look alike to a
//! policy in what it can ask for, and nothing is out of its sight:
//!
//! * `=` in a key is written `~2` (as `~` is `~0` and `/` is `~1`), so the first `=` ends the pointer.
//! * An item of a list stands under `*`, wherever in the list it is.
//! * A text stands there as it is, unless it reads as a number or a truth value, or begins with `"` or
//!   `~`: then it stands in quotes, so that `true` is never `"true"`.
//! * What is longer than [`LONGEST`] bytes is `~b3:` and 32 hexadecimal digits of its BLAKE3. No
//!   text stands there like that, and two long texts that differ differ here.
//! * A call with more different values than the limit is refused, rather than shown in part.

use std::collections::BTreeSet;

use ids::{json::Json, text::hex};

use crate::{Error, pointer::escape};

/// Longest pointer, and longest value, that is shown as it is.
pub(super) const LONGEST: usize = 256;

/// Every text, number and truth value of the arguments.
pub(super) fn of(arguments: &Json, most: usize) -> Result<Vec<String>, Error> {
    let mut facts = BTreeSet::new();
    collect(arguments, "", most, &mut facts)?;
    Ok(facts.into_iter().collect())
}

fn collect(
    at: &Json,
    pointer: &str,
    most: usize,
    facts: &mut BTreeSet<String>,
) -> Result<(), Error> {
    match at {
        Json::Null => {}
        Json::Array(items) => {
            let below = format!("{pointer}/*");
            for item in items {
                collect(item, &below, most, facts)?;
            }
        }
        Json::Object(entries) => {
            for (key, value) in entries {
                let key = escape(key).replace('=', "~2");
                collect(value, &format!("{pointer}/{key}"), most, facts)?;
            }
        }
        scalar => {
            facts.insert(format!("{}={}", short(pointer), shown(scalar)));
            if facts.len() > most {
                return Err(Error::Rule {
                    argument: String::new(),
                    rule: format!("at most {most} different values, all of which policies see"),
                });
            }
        }
    }
    Ok(())
}

fn shown(scalar: &Json) -> String {
    let Json::String(text) = scalar else {
        return String::from_utf8_lossy(&scalar.to_vec()).into_owned();
    };
    let reads_otherwise = text.starts_with(['"', '~'])
        || matches!(text.as_str(), "true" | "false" | "null")
        || text.parse::<f64>().is_ok();
    if text.len() > LONGEST {
        short(text)
    } else if reads_otherwise {
        String::from_utf8_lossy(&scalar.to_vec()).into_owned()
    } else {
        text.clone()
    }
}

fn short(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("~b3:{}", hex(&blake3::hash(text.as_bytes()).as_bytes()[..16]))
}

#[cfg(test)]
mod tests {
    use ids::json::Limits;
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn facts() {
        for (arguments, expected) in [
            (
                r#"{"currency":"EUR","n":1.50,"ok":true,"no":null}"#,
                vec!["/currency=EUR", "/n=1.5", "/ok=true"],
            ),
            (r#"{"a":{"b~":1,"c/d":2}}"#, vec!["/a/b~0=1", "/a/c~1d=2"]),
            (r#"{"q=a":"b"}"#, vec!["/q~2a=b"]),
            (r#"{"q":"a=b"}"#, vec!["/q=a=b"]),
            (r#"{"l":["x","y","x",1]}"#, vec!["/l/*=1", "/l/*=x", "/l/*=y"]),
            (
                r#"{"a":"true","b":"1","c":"1e3","d":"null","e":"\"x","f":"~b3:0"}"#,
                vec![
                    "/a=\"true\"",
                    "/b=\"1\"",
                    "/c=\"1e3\"",
                    "/d=\"null\"",
                    "/e=\"\\\"x\"",
                    "/f=\"~b3:0\"",
                ],
            ),
            ("{}", vec![]),
        ] {
            assert_eq!(of(&json(arguments), 256).unwrap(), expected, "{arguments}");
        }
    }

    #[test]
    fn what_is_long_is_a_digest_that_no_text_spells() {
        let long = "x".repeat(LONGEST + 1);
        let fact = |value: &str| of(&json(&format!(r#"{{"a":"{value}"}}"#)), 9).unwrap().remove(0);
        let digest = fact(&long);
        assert!(digest.starts_with("/a=~b3:") && digest.len() == "/a=~b3:".len() + 32, "{digest}");
        assert_ne!(fact(&format!("{long}y")), digest);
        assert_ne!(fact(digest.strip_prefix("/a=").unwrap()), digest);
        let under = of(&json(&format!(r#"{{"{long}":1}}"#)), 9).unwrap();
        assert!(under[0].starts_with("~b3:") && under[0].ends_with("=1"), "{under:?}");
    }

    #[test]
    fn nothing_is_out_of_sight() {
        let many = |n: usize| {
            format!(r#"{{"l":[{}]}}"#, (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(","))
        };
        assert_eq!(of(&json(&many(256)), 256).unwrap().len(), 256);
        let error = of(&json(&many(257)), 256).unwrap_err();
        assert!(matches!(error, Error::Rule { .. }), "{error}");
    }

    proptest! {
        /// Two values of one argument, two facts.
        #[test]
        fn different_scalars_have_different_facts(a in "\\PC{0,12}", b in "\\PC{0,12}", n: i64) {
            let of = |value| of(&Json::Object(vec![("k".to_owned(), value)]), 9).unwrap();
            let (text, other) = (Json::String(a.clone()), Json::String(b.clone()));
            prop_assert_eq!(of(text.clone()) == of(other), a == b);
            prop_assert_ne!(of(Json::String(n.to_string())), of(Json::Number(n.into())));
            prop_assert_ne!(of(text), of(Json::Bool(true)));
        }
    }
}
