//! What an answer of an MCP server says: a result, or one of the two ways of saying no.

use serde_json::Value;

use crate::{
    drive::app::{documents, put},
    target::Call,
    wire::Exchange,
};

/// The response among what came, if there is one.
fn response(exchange: &Exchange) -> Option<Value> {
    let says = |document: &Value| {
        document.get("result").is_some() || document.get("error").is_some_and(|is| !is.is_null())
    };
    documents(exchange).into_iter().find(says)
}

/// The result, if it is one that says yes.
pub(crate) fn result(exchange: &Exchange) -> Option<Value> {
    if !exchange.accepted() {
        return None;
    }
    let response = response(exchange)?;
    if response.get("error").is_some_and(|is| !is.is_null()) {
        return None;
    }
    let result = response.get("result")?.clone();
    (result.get("isError") != Some(&Value::Bool(true))).then_some(result)
}

/// The id that it is an answer to.
pub(crate) fn answers(exchange: &Exchange) -> Option<Value> {
    response(exchange)?.get("id").cloned()
}

/// It was answered, and said no: by status, as an error of JSON-RPC, or as a tool's own.
pub(crate) fn denied(exchange: &Exchange) -> bool {
    !exchange.inconclusive() && result(exchange).is_none()
}

/// What a pointer names in a result, going on into a text that is JSON.
pub(crate) fn pick(result: &Value, at: &str) -> Option<Value> {
    let mut here = result.clone();
    for name in at.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        if let Value::String(text) = &here {
            here = serde_json::from_str(text).ok()?;
        }
        here = match &here {
            Value::Object(object) => object.get(&name)?.clone(),
            Value::Array(each) => each.get(name.parse::<usize>().ok()?)?.clone(),
            _ => return None,
        };
    }
    match here {
        Value::String(text) if text.is_empty() => None,
        Value::Null => None,
        other => Some(other),
    }
}

/// A value as it goes into a template.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A result in which everything is that a call's pointers name, for a dry run.
pub(super) fn example(call: &Call) -> Value {
    let mut answer = serde_json::json!({});
    for at in [&call.id, &call.cursor].into_iter().flatten() {
        put(&mut answer, at, Value::String("example".into()));
    }
    answer
}
