//! What own structured content says, ready to be looked up.

use std::collections::HashSet;

use blake3::Hash;
use serde_json::Value;

/// What own structured content says. It is built once: an upstream chooses how many blocks there are and how
/// large the structured content is, so a walk of the one for each of the other would be quadratic in what it sends.
#[derive(Default)]
pub(super) struct Own {
    /// Its strings, and its numbers as they are written.
    texts: HashSet<String>,
    /// The digests of its lists and objects.
    parts: HashSet<Hash>,
}

impl Own {
    pub(super) fn of(value: &Value) -> Self {
        let mut own = Self::default();
        digest(value, &mut |value, hash| match value {
            Value::String(text) => _ = own.texts.insert(text.clone()),
            Value::Number(number) => _ = own.texts.insert(number.to_string()),
            Value::Array(_) | Value::Object(_) => _ = own.parts.insert(hash),
            Value::Null | Value::Bool(_) => {}
        });
        own
    }

    /// Whether a text is one of its values.
    pub(super) fn repeats(&self, text: &str) -> bool {
        step();
        self.texts.contains(text)
    }

    /// Whether a list or an object stands somewhere in it, whatever the order of its keys.
    pub(super) fn contains(&self, value: &Value) -> bool {
        !self.parts.is_empty() && self.parts.contains(&digest(value, &mut |_, _| {}))
    }
}

/// Digests a value of the digests of what is in it, so that each part costs what it holds itself, and tells each.
fn digest(value: &Value, each: &mut impl FnMut(&Value, Hash)) -> Hash {
    step();
    // The first byte tells the kinds apart; what follows in lists and objects is of one length for each item.
    let mut form = Vec::new();
    match value {
        Value::Null => form.push(b'n'),
        Value::Bool(truth) => form.push(if *truth { b't' } else { b'f' }),
        Value::Number(number) => {
            form.push(b'0');
            form.extend_from_slice(number.to_string().as_bytes());
        }
        Value::String(text) => {
            form.push(b'"');
            form.extend_from_slice(text.as_bytes());
        }
        Value::Array(items) => {
            form.push(b'[');
            for item in items {
                form.extend_from_slice(digest(item, each).as_bytes());
            }
        }
        Value::Object(entries) => {
            form.push(b'{');
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                form.extend_from_slice(blake3::hash(key.as_bytes()).as_bytes());
                form.extend_from_slice(digest(value, each).as_bytes());
            }
        }
    }
    let hash = blake3::hash(&form);
    each(value, hash);
    hash
}

/// Values and keys in all.
pub(super) fn nodes(value: &Value) -> usize {
    step();
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(|value| 1 + nodes(value)).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
thread_local! {
    /// Values walked over and looked up: tests hold the work against the answer's size, not against a clock.
    pub(super) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
pub(super) fn step() {
    STEPS.set(STEPS.get() + 1);
}

#[cfg(not(test))]
pub(super) const fn step() {}

#[cfg(test)]
mod unit {
    use serde_json::json;

    use super::*;

    #[test]
    fn knows_what_it_says_and_nothing_else() {
        let own = Own::of(&json!({"a": [1, "x", {"k": null, "l": [true]}], "b": {"n": 1.5}}));
        for text in ["1", "x", "1.5"] {
            assert!(own.repeats(text), "{text}");
        }
        for text in ["", "a", "null", "true", "1.0", "X"] {
            assert!(!own.repeats(text), "{text}");
        }
        for part in [
            json!({"l": [true], "k": null}),
            json!([true]),
            json!({"b": {"n": 1.5}, "a": [1, "x", {"l": [true], "k": null}]}),
        ] {
            assert!(own.contains(&part), "{part}");
        }
        for other in [
            json!([]),
            json!({}),
            json!([false]),
            json!(["true"]),
            json!([[true]]),
            json!({"k": null}),
            json!({"k": [true], "l": null}),
            json!({"n": "1.5"}),
            json!([1, "x"]),
            json!(["1", "x", {"k": null, "l": [true]}]),
        ] {
            assert!(!own.contains(&other), "{other}");
        }
        assert!(!Own::default().contains(&json!([])) && !Own::default().repeats(""));
    }
}
