//! What own structured content says, ready to be looked up.

use std::{cell::OnceCell, collections::HashSet};

use blake3::Hash;
use serde_json::Value;

/// What own structured content says. It is looked up: an upstream chooses how many blocks there are and how
/// large the structured content is, so a walk of the one for each of the other would be quadratic in what it sends.
#[derive(Default)]
pub(super) struct Own {
    all: Option<Value>,
    said: OnceCell<Said>,
}

/// What it is looked up in: made once, and only if somebody asks.
#[derive(Default)]
struct Said {
    /// Its strings, and its numbers as they are written.
    texts: HashSet<String>,
    /// The digests of its lists and objects.
    parts: HashSet<Hash>,
}

impl Own {
    pub(super) fn of(value: Value) -> Self {
        Self { all: Some(value), said: OnceCell::new() }
    }

    fn said(&self) -> &Said {
        self.said.get_or_init(|| {
            let mut said = Said::default();
            if let Some(all) = &self.all {
                frame(all, &mut Vec::new(), &mut Some(&mut said));
            }
            said
        })
    }

    /// Whether a text is one of its values.
    pub(super) fn repeats(&self, text: &str) -> bool {
        step();
        self.all.is_some() && self.said().texts.contains(text)
    }

    /// Whether a list or an object stands somewhere in it, whatever the order of its keys.
    pub(super) fn contains(&self, value: &Value) -> bool {
        // Most servers say all of it once more; to see that, nothing has to be digested. It ends at the first
        // difference, so it costs no more than the value is large.
        match &self.all {
            None => false,
            Some(all) if all == value => true,
            Some(_) => self.said().parts.contains(&digest(value, &mut None)),
        }
    }
}

/// Writes a value so that no two are written alike: lists and objects by their digests, so that each costs what it
/// holds itself; and tells what there is, where it is to be told.
fn frame(value: &Value, form: &mut Vec<u8>, told: &mut Option<&mut Said>) {
    step();
    let mut scalar = |kind: u8, text: &str| {
        form.push(kind);
        form.extend_from_slice(&text.len().to_le_bytes());
        form.extend_from_slice(text.as_bytes());
    };
    match value {
        Value::Null => form.push(b'n'),
        Value::Bool(truth) => form.push(if *truth { b't' } else { b'f' }),
        Value::Number(number) => {
            let number = number.to_string();
            scalar(b'0', &number);
            if let Some(said) = told {
                said.texts.insert(number);
            }
        }
        Value::String(text) => {
            scalar(b'"', text);
            if let Some(said) = told {
                said.texts.insert(text.clone());
            }
        }
        Value::Array(_) | Value::Object(_) => {
            let hash = digest(value, told);
            form.push(b'#');
            form.extend_from_slice(hash.as_bytes());
            if let Some(said) = told {
                said.parts.insert(hash);
            }
        }
    }
}

/// The digest of a list or an object.
fn digest(value: &Value, told: &mut Option<&mut Said>) -> Hash {
    let mut form = Vec::new();
    match value {
        Value::Object(entries) => {
            form.push(b'{');
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                form.extend_from_slice(&key.len().to_le_bytes());
                form.extend_from_slice(key.as_bytes());
                frame(value, &mut form, told);
            }
        }
        Value::Array(items) => {
            form.push(b'[');
            for item in items {
                frame(item, &mut form, told);
            }
        }
        scalar => frame(scalar, &mut form, told),
    }
    blake3::hash(&form)
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
        let own = Own::of(json!({"a": [1, "x", {"k": null, "l": [true]}], "b": {"n": 1.5}}));
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
