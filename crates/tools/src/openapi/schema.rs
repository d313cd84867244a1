//! Schemas of a document, made whole.

use std::cell::Cell;

use serde_json::{Map, Value, json};

/// References that lead to references.
const HOPS: usize = 16;
/// How deep a schema is made whole; further in, anything goes.
const DEEPEST: usize = 24;
/// Most schemas that one of them is made of: references multiply.
const MOST: usize = 5_000;

/// The schemas of a document.
pub(super) struct Schemas<'a> {
    root: &'a Value,
}

impl<'a> Schemas<'a> {
    pub(super) const fn new(root: &'a Value) -> Self {
        Self { root }
    }

    /// What a reference within the document leads to; what is none, as it is.
    pub(super) fn resolve(&self, value: &'a Value) -> Result<&'a Value, String> {
        let mut at = value;
        for _ in 0..HOPS {
            let Some(reference) = at.get("$ref").and_then(Value::as_str) else { return Ok(at) };
            let pointer = reference
                .strip_prefix('#')
                .and_then(crate::template::decode)
                .ok_or("a reference leads out of the document")?;
            at = self.root.pointer(&pointer).ok_or("a reference leads nowhere")?;
        }
        Err("a reference leads in a circle".to_owned())
    }

    /// A schema in which no reference is left, as JSON Schema 2020-12 has it. Where one leads to
    /// itself, anything goes.
    pub(super) fn inline(&self, schema: &'a Value) -> Result<Value, String> {
        self.whole(schema, &mut Vec::new(), &Cell::new(MOST))
    }

    fn whole(
        &self,
        schema: &'a Value,
        above: &mut Vec<usize>,
        left: &Cell<usize>,
    ) -> Result<Value, String> {
        left.set(left.get().checked_sub(1).ok_or("a schema is made of too many")?);
        let target = self.resolve(schema)?;
        let address = std::ptr::from_ref(target) as usize;
        let Some(object) = target.as_object() else {
            return Ok(if target.is_boolean() { target.clone() } else { json!({}) });
        };
        if above.contains(&address) || above.len() >= DEEPEST {
            return Ok(json!({}));
        }
        above.push(address);
        let made = self.members(object, above, left);
        above.pop();
        let mut made = made?;
        // Siblings of a reference say more of it.
        if let Some(text) = schema.get("description").filter(|_| schema.get("$ref").is_some()) {
            made.insert("description".to_owned(), text.clone());
        }
        Ok(Value::Object(modern(made)))
    }

    fn members(
        &self,
        object: &'a Map<String, Value>,
        above: &mut Vec<usize>,
        left: &Cell<usize>,
    ) -> Result<Map<String, Value>, String> {
        let mut made = Map::new();
        for (key, value) in object {
            let value = match (key.as_str(), value) {
                // Of the document's reader, not of the argument's.
                (
                    "example" | "examples" | "xml" | "externalDocs" | "discriminator" | "$defs"
                    | "$id" | "$anchor" | "$comment" | "$schema",
                    _,
                ) => continue,
                ("properties" | "patternProperties" | "dependentSchemas", Value::Object(all)) => {
                    let all: Result<Map<_, _>, String> = all
                        .iter()
                        .map(|(name, one)| Ok((name.clone(), self.whole(one, above, left)?)))
                        .collect();
                    Value::Object(all?)
                }
                ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(all)) => {
                    let all: Result<_, String> =
                        all.iter().map(|one| self.whole(one, above, left)).collect();
                    Value::Array(all?)
                }
                (
                    "items"
                    | "additionalProperties"
                    | "not"
                    | "contains"
                    | "propertyNames"
                    | "if"
                    | "then"
                    | "else"
                    | "unevaluatedItems"
                    | "unevaluatedProperties",
                    _,
                ) => self.whole(value, above, left)?,
                _ => value.clone(),
            };
            made.insert(key.clone(), value);
        }
        Ok(made)
    }
}

/// What 3.0 says in words of its own, in those of JSON Schema.
fn modern(mut schema: Map<String, Value>) -> Map<String, Value> {
    if schema.remove("nullable") == Some(Value::Bool(true)) {
        if let Some(Value::String(kind)) = schema.get("type").cloned() {
            schema.insert("type".to_owned(), json!([kind, "null"]));
        }
        if let Some(Value::Array(choices)) = schema.get_mut("enum")
            && !choices.contains(&Value::Null)
        {
            choices.push(Value::Null);
        }
    }
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match schema.get(exclusive) {
            Some(Value::Bool(true)) => {
                schema.remove(exclusive);
                if let Some(bound) = schema.remove(bound) {
                    schema.insert(exclusive.to_owned(), bound);
                }
            }
            Some(Value::Bool(false)) => {
                schema.remove(exclusive);
            }
            _ => {}
        }
    }
    schema
}
