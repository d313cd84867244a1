//! What is taken out of answers: by JSON pointer from a body of JSON, from the events of a stream
//! or from its lines; by `header:NAME` from a header.

use serde_json::Value;

use crate::{
    target::Template,
    wire::{Exchange, READABLE},
};

/// What stands before the name of a header.
const HEADER: &str = "header:";

/// Everything in an answer that is JSON, the last first.
pub(crate) fn documents(exchange: &Exchange) -> Vec<Value> {
    let body = exchange.answer().map(|answer| &answer.body[..]).unwrap_or_default();
    // As values it takes many times its length: what is longer is only hunted in.
    if body.len() > READABLE {
        return Vec::new();
    }
    if let Ok(whole) = serde_json::from_slice(body) {
        return vec![whole];
    }
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().rev().map(|line| line.strip_prefix("data:").unwrap_or(line).trim());
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What a pointer names, as text.
pub(super) fn pick(exchange: &Exchange, at: &str) -> Option<String> {
    if let Some(name) = at.strip_prefix(HEADER) {
        let value = exchange.header(name)?;
        // A Location ends with the id.
        let is_address = name.eq_ignore_ascii_case("location");
        let value =
            if is_address { value.trim_end_matches('/').rsplit('/').next()? } else { value };
        return Some(value.to_owned());
    }
    let documents = documents(exchange);
    let found = documents.iter().find_map(|document| document.pointer(at));
    match found? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Whether a job is done: what `until` names is true, or is there; or is one of what stands after
/// `=`, as in `/status=done|failed`.
pub(super) fn until(exchange: &Exchange, poll: &Template) -> bool {
    let Some(until) = &poll.until else {
        let answer = poll.answer.as_deref();
        return answer.is_none_or(|at| pick(exchange, at).is_some_and(|text| !text.is_empty()));
    };
    match until.split_once('=') {
        Some((at, wanted)) => {
            pick(exchange, at).is_some_and(|text| wanted.split('|').any(|one| one == text))
        }
        None => pick(exchange, until).is_some_and(|text| !matches!(text.as_str(), "false" | "")),
    }
}

/// What an answer is made of, without what it says: `{id: text, tags: [1]}`.
pub(crate) fn shape(exchange: &Exchange) -> String {
    let Some(document) = documents(exchange).into_iter().next() else {
        let bytes = exchange.answer().map_or(0, |answer| answer.body.len());
        return format!("{bytes} bytes, no JSON");
    };
    of(&document, 2)
}

fn of(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "true or false".into(),
        Value::Number(_) => "a number".into(),
        Value::String(_) => "text".into(),
        Value::Array(each) => format!("[{}]", each.len()),
        Value::Object(_) if depth == 0 => "{…}".into(),
        Value::Object(each) => {
            let fields = each.iter().take(8).map(|(name, value)| {
                let name: String = name.chars().filter(|c| !c.is_control()).take(24).collect();
                format!("{name}: {}", of(value, depth - 1))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// An answer in which everything is that a template's pointers name, for a dry run.
pub(super) fn example(template: &Template) -> Value {
    let mut answer = Value::Object(serde_json::Map::new());
    let pointers =
        [&template.id, &template.job, &template.thread, &template.session, &template.answer];
    for at in pointers.into_iter().flatten() {
        put(&mut answer, at, Value::String("example".into()));
    }
    if let Some(until) = &template.until {
        let (at, wanted) = until.split_once('=').unwrap_or((until, ""));
        let wanted = wanted.split('|').next().filter(|wanted| !wanted.is_empty());
        let value = wanted.map_or(Value::Bool(true), |wanted| Value::String(wanted.to_owned()));
        put(&mut answer, at, value);
    }
    answer
}

/// Puts a value where a pointer will find it. Numbers are names here: a list would do no better.
pub(crate) fn put(answer: &mut Value, at: &str, value: Value) {
    let mut here = answer;
    for name in at.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        if !here.is_object() {
            *here = Value::Object(serde_json::Map::new());
        }
        let Some(object) = here.as_object_mut() else { return };
        here = object.entry(name).or_insert(Value::Null);
    }
    *here = value;
}
