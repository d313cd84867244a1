//! Schema surgery: what the model sees of a tool's arguments, without what is bound.
//!
//! A bound argument is taken out of every place that speaks of it where it stands: properties, what
//! is required, defaults and examples, nested objects and lists, branches, conditions, and
//! definitions that a `$ref` leads to. A definition that is used elsewhere too stays as it is
//! there: the way to the argument gets a copy. Whatever cannot be followed to its end (a remote `$ref`, an
//! `$id` or a `$dynamicRef` on the way) is an error, and the tool is not offered.

use std::collections::{BTreeMap, BTreeSet};

use ids::{json::Json, planted};

use crate::pointer::{Pointer, Step, escape};

/// Most nodes that one surgery looks at: definitions may multiply.
const MOST_VISITS: usize = 100_000;

/// The schema without these arguments, and which of them it had declared.
pub(super) fn without(schema: &Json, hidden: &[&Pointer]) -> Result<(Json, Vec<bool>), String> {
    let mut shown = schema.clone();
    let mut declared = Vec::with_capacity(hidden.len());
    for pointer in hidden {
        let mut surgeon = Surgeon {
            root: &shown,
            copies: BTreeMap::new(),
            made: Vec::new(),
            declared: false,
            visits: 0,
        };
        let mut next = surgeon.hide(surgeon.root, pointer.steps())?;
        declared.push(surgeon.declared);
        let made = surgeon.made;
        define(&mut next, made);
        shown = next;
    }
    mend(schema, &mut shown)?;
    prune(&mut shown);
    Ok((shown, declared))
}

/// What a local `$ref` leads to, or the node itself.
pub(super) fn followed<'a>(root: &'a Json, node: &'a Json) -> Option<&'a Json> {
    let mut at = node;
    for _ in 0..8 {
        match at.get("$ref").and_then(Json::as_str) {
            None => return Some(at),
            Some(reference) => at = resolve(root, reference)?,
        }
    }
    None
}

struct Surgeon<'a> {
    root: &'a Json,
    /// Definitions that were copied, by reference and by what is taken out of them.
    copies: BTreeMap<(String, Vec<Step>), String>,
    made: Vec<(String, Json)>,
    declared: bool,
    visits: usize,
}

impl Surgeon<'_> {
    /// A schema without what stands at `steps` in what it describes.
    fn hide(&mut self, node: &Json, steps: &[Step]) -> Result<Json, String> {
        self.visits += 1;
        if self.visits > MOST_VISITS {
            return Err("the schema is too large to be looked through".to_owned());
        }
        let (Json::Object(entries), Some((step, rest))) = (node, steps.split_first()) else {
            return Ok(node.clone());
        };
        let anchored =
            ["$dynamicRef", "$recursiveRef"].into_iter().find(|key| node.get(key).is_some());
        if let Some(key) = anchored {
            return Err(format!("the schema has a `{key}`, which cannot be followed"));
        }
        if node.get("$id").is_some() && !std::ptr::eq(node, self.root) {
            return Err("a part of the schema has an `$id` of its own".to_owned());
        }
        let mut shown = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let left = match step {
                Step::Name(name) if rest.is_empty() => {
                    self.at_last(node, key, value, name, steps)?
                }
                _ => self.on_the_way(node, key, value, step, rest)?,
            };
            let left = match left {
                Touch::Leave => self.anywhere(key, value, steps)?,
                Touch::Replace(value) => Some(value),
                Touch::Remove => None,
            };
            if let Some(value) = left {
                shown.push((key.clone(), value));
            }
        }
        Ok(Json::Object(conditions(entries, shown)))
    }

    /// Keywords about the object that the argument is a member of.
    fn at_last(
        &mut self,
        node: &Json,
        key: &str,
        value: &Json,
        name: &str,
        steps: &[Step],
    ) -> Result<Touch, String> {
        let is_name = |item: &Json| item.as_str() == Some(name);
        Ok(match (key, value) {
            ("properties", Json::Object(properties)) => {
                self.declared |= value.get(name).is_some();
                Touch::Replace(others(properties, |key| key != name))
            }
            ("required", Json::Array(_)) if planted::is("tools-schema-required-kept") => {
                Touch::Leave
            }
            ("required", Json::Array(names)) => {
                let left: Vec<_> = names.iter().filter(|item| !is_name(item)).cloned().collect();
                // Older drafts know no empty list here.
                if left.is_empty() { Touch::Remove } else { Touch::Replace(Json::Array(left)) }
            }
            ("dependentRequired" | "dependentSchemas" | "dependencies", Json::Object(of)) => {
                let mut left = Vec::new();
                for (key, value) in of.iter().filter(|(key, _)| key != name) {
                    let value = match value {
                        Json::Array(names) => Json::Array(
                            names.iter().filter(|item| !is_name(item)).cloned().collect(),
                        ),
                        schema => self.hide(schema, steps)?,
                    };
                    left.push((key.clone(), value));
                }
                Touch::Replace(Json::Object(left))
            }
            ("patternProperties", Json::Object(patterns)) => {
                Touch::Replace(others(patterns, |pattern| !pattern.contains(name)))
            }
            ("propertyNames", names) if says(names, name) => Touch::Remove,
            ("discriminator", by) if by.get("propertyName").is_some_and(is_name) => Touch::Remove,
            ("minProperties" | "maxProperties", Json::Number(count)) => {
                let counted = node.get("properties").is_some_and(|of| of.get(name).is_some());
                match count.as_u64() {
                    Some(count) if counted => {
                        Touch::Replace(Json::Number(count.saturating_sub(1).into()))
                    }
                    _ => Touch::Leave,
                }
            }
            _ => Touch::Leave,
        })
    }

    /// Keywords about what lies between here and the argument.
    fn on_the_way(
        &mut self,
        node: &Json,
        key: &str,
        value: &Json,
        step: &Step,
        rest: &[Step],
    ) -> Result<Touch, String> {
        let every = *step == Step::Every;
        let below = |key: &str| match step {
            Step::Name(name) => key == name,
            Step::Every => true,
        };
        let declared = |name: &str| node.get("properties").is_some_and(|of| of.get(name).is_some());
        let elsewhere = match step {
            Step::Name(name) => !declared(name),
            Step::Every => true,
        };
        Ok(match (key, value) {
            ("properties", Json::Object(properties)) => {
                let mut left = Vec::with_capacity(properties.len());
                for (key, schema) in properties {
                    let schema = if below(key) { self.hide(schema, rest)? } else { schema.clone() };
                    left.push((key.clone(), schema));
                }
                Touch::Replace(Json::Object(left))
            }
            ("patternProperties", Json::Object(patterns)) => {
                let mut left = Vec::with_capacity(patterns.len());
                for (pattern, schema) in patterns {
                    left.push((pattern.clone(), self.hide(schema, rest)?));
                }
                Touch::Replace(Json::Object(left))
            }
            ("additionalProperties" | "unevaluatedProperties", schema) if elsewhere => {
                Touch::Replace(self.hide(schema, rest)?)
            }
            ("items" | "prefixItems" | "additionalItems" | "unevaluatedItems" | "contains", of)
                if every =>
            {
                Touch::Replace(self.each(of, rest)?)
            }
            _ => Touch::Leave,
        })
    }

    /// Keywords about the same value, and values themselves.
    fn anywhere(
        &mut self,
        key: &str,
        value: &Json,
        steps: &[Step],
    ) -> Result<Option<Json>, String> {
        Ok(Some(match (key, value) {
            ("$ref", Json::String(reference)) => Json::String(self.copied(reference, steps)?),
            ("allOf" | "anyOf" | "oneOf" | "if" | "then" | "else" | "not", schemas) => {
                self.each(schemas, steps)?
            }
            ("dependentSchemas" | "dependencies", Json::Object(of)) => {
                let mut left = Vec::with_capacity(of.len());
                for (key, schema) in of {
                    left.push((key.clone(), self.hide(schema, steps)?));
                }
                Json::Object(left)
            }
            ("default" | "const" | "example", value) => emptied(value, steps),
            ("examples" | "enum", Json::Array(values)) => {
                let mut left: Vec<Json> = Vec::with_capacity(values.len());
                for value in values.iter().map(|value| emptied(value, steps)) {
                    if !left.contains(&value) {
                        left.push(value);
                    }
                }
                Json::Array(left)
            }
            ("examples", Json::Object(named)) => {
                let inner: Vec<_> = std::iter::once(Step::Every)
                    .chain([Step::Name("value".to_owned())])
                    .chain(steps.iter().cloned())
                    .collect();
                emptied(&Json::Object(named.clone()), &inner)
            }
            (_, other) => other.clone(),
        }))
    }

    fn each(&mut self, schemas: &Json, steps: &[Step]) -> Result<Json, String> {
        match schemas {
            Json::Array(items) => items
                .iter()
                .map(|schema| self.hide(schema, steps))
                .collect::<Result<_, _>>()
                .map(Json::Array),
            schema => self.hide(schema, steps),
        }
    }

    /// A reference to a copy of what this one leads to.
    fn copied(&mut self, reference: &str, steps: &[Step]) -> Result<String, String> {
        let known = (reference.to_owned(), steps.to_vec());
        if let Some(name) = self.copies.get(&known) {
            return Ok(format!("#/$defs/{name}"));
        }
        let root = self.root;
        let target = resolve(root, reference)
            .ok_or_else(|| format!("the schema's reference `{reference}` cannot be followed"))?;
        let taken = root.get("$defs");
        let name = (self.copies.len() + 1..)
            .map(|n| format!("shown{n}"))
            .find(|name| {
                taken.is_none_or(|of| of.get(name).is_none())
                    && !self.copies.values().any(|copy| copy == name)
            })
            .unwrap_or_default();
        self.copies.insert(known, name.clone());
        let mut copy = self.hide(target, steps)?;
        // What is at the top is about the document: it is not repeated.
        if std::ptr::eq(target, root)
            && let Json::Object(entries) = &mut copy
        {
            let of_document = ["$defs", "definitions", "$id", "$schema"];
            entries.retain(|(key, _)| !of_document.contains(&key.as_str()));
        }
        self.made.push((name.clone(), copy));
        Ok(format!("#/$defs/{name}"))
    }
}

/// What becomes of a keyword.
enum Touch {
    Leave,
    Replace(Json),
    Remove,
}

/// Conditions that spoke of the argument: without it they would say something else.
fn conditions(before: &[(String, Json)], mut shown: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let changed = |shown: &[(String, Json)], key: &str| {
        let at = |entries: &[(String, Json)]| {
            entries.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone())
        };
        at(before) != at(shown)
    };
    if changed(&shown, "not") {
        shown.retain(|(key, _)| key != "not");
    }
    if changed(&shown, "if") {
        shown.retain(|(key, _)| !matches!(key.as_str(), "if" | "then" | "else"));
    }
    // Branches that were told apart by it may now hold together.
    if changed(&shown, "oneOf") {
        let both = shown.iter().any(|(key, _)| key == "anyOf");
        let of = shown.iter().position(|(key, _)| key == "oneOf");
        if let Some((_, branches)) = of.map(|at| shown.remove(at)) {
            let any = ("anyOf".to_owned(), branches);
            if !both {
                shown.push(any);
            } else if let Some((_, Json::Array(all))) =
                shown.iter_mut().find(|(key, _)| key == "allOf")
            {
                all.push(Json::Object(vec![any]));
            } else {
                shown.push(("allOf".to_owned(), Json::Array(vec![Json::Object(vec![any])])));
            }
        }
    }
    shown
}

fn others(entries: &[(String, Json)], keep: impl Fn(&str) -> bool) -> Json {
    Json::Object(entries.iter().filter(|(key, _)| keep(key)).cloned().collect())
}

/// Whether a name stands somewhere as a text.
fn says(json: &Json, name: &str) -> bool {
    match json {
        Json::String(text) => text == name,
        Json::Array(items) => items.iter().any(|item| says(item, name)),
        Json::Object(entries) => entries.iter().any(|(_, value)| says(value, name)),
        _ => false,
    }
}

/// A value without what stands at these steps.
fn emptied(value: &Json, steps: &[Step]) -> Json {
    let Some((step, rest)) = steps.split_first() else { return value.clone() };
    match value {
        Json::Object(entries) => Json::Object(
            entries
                .iter()
                .filter(|(key, _)| !(rest.is_empty() && *step == Step::Name(key.clone())))
                .map(|(key, value)| {
                    let below = match step {
                        Step::Name(name) => name == key,
                        Step::Every => true,
                    };
                    let value = if below { emptied(value, rest) } else { value.clone() };
                    (key.clone(), value)
                })
                .collect(),
        ),
        Json::Array(items) if *step == Step::Every => {
            Json::Array(items.iter().map(|item| emptied(item, rest)).collect())
        }
        other => other.clone(),
    }
}

/// What a local reference leads to.
fn resolve<'a>(root: &'a Json, reference: &str) -> Option<&'a Json> {
    let text = percent_decoded(reference.strip_prefix('#')?)?;
    let pointer = Pointer::literal(&text).ok()?;
    pointer.one(root)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn define(schema: &mut Json, made: Vec<(String, Json)>) {
    let Json::Object(entries) = schema else { return };
    if made.is_empty() {
        return;
    }
    if let Some((_, Json::Object(definitions))) = entries.iter_mut().find(|(key, _)| key == "$defs")
    {
        definitions.extend(made);
    } else {
        entries.push(("$defs".to_owned(), Json::Object(made)));
    }
}

/// References into what was taken out get a copy of it of their own: they are about something else.
fn mend(original: &Json, shown: &mut Json) -> Result<(), String> {
    for round in 0.. {
        let lost = references(shown).into_iter().find(|reference| {
            reference.starts_with('#')
                && resolve(shown, reference).is_none()
                && resolve(original, reference).is_some()
        });
        let Some(lost) = lost else { return Ok(()) };
        if round > 64 {
            break;
        }
        let name = format!("kept{round}");
        if shown.get("$defs").is_some_and(|of| of.get(&name).is_some()) {
            break;
        }
        let target = resolve(original, &lost).cloned().unwrap_or(Json::Null);
        let to = format!("#/$defs/{name}");
        redirect(shown, &lost, &to);
        define(shown, vec![(name, target)]);
    }
    Err("the schema refers to what is bound in too many places".to_owned())
}

/// Definitions that nothing leads to any more are taken out.
fn prune(schema: &mut Json) {
    const HOLDERS: [&str; 2] = ["$defs", "definitions"];
    let Json::Object(entries) = &*schema else { return };
    let body = others(entries, |key| !HOLDERS.contains(&key));
    let mut waiting: Vec<String> = references(&body).into_iter().collect();
    let mut reached = BTreeSet::new();
    while let Some(reference) = waiting.pop() {
        let path = percent_decoded(&reference).unwrap_or_default();
        for holder in HOLDERS {
            let Some(Json::Object(definitions)) = schema.get(holder) else { continue };
            for (name, definition) in definitions {
                let place = format!("#/{holder}/{}", escape(name));
                let leads = path == place || path.starts_with(&format!("{place}/"));
                if leads && reached.insert((holder, name.clone())) {
                    waiting.extend(references(definition));
                }
            }
        }
    }
    let Json::Object(entries) = schema else { return };
    for (holder, definitions) in entries.iter_mut() {
        let Some(of) = HOLDERS.into_iter().find(|of| of == holder) else { continue };
        if let Json::Object(definitions) = definitions {
            definitions.retain(|(name, _)| reached.contains(&(of, name.clone())));
        }
    }
    entries.retain(|(key, value)| {
        !(HOLDERS.contains(&key.as_str()) && matches!(value, Json::Object(of) if of.is_empty()))
    });
}

fn references(json: &Json) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(json, &mut found);
    found
}

fn collect(json: &Json, found: &mut BTreeSet<String>) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Json::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Json::String(reference) if key == "$ref" => {
                        found.insert(reference.clone());
                    }
                    other => collect(other, found),
                }
            }
        }
        _ => {}
    }
}

fn redirect(json: &mut Json, from: &str, to: &str) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(|item| redirect(item, from, to)),
        Json::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Json::String(reference) if key == "$ref" => {
                        if reference == from {
                            to.clone_into(reference);
                        }
                    }
                    other => redirect(other, from, to),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
