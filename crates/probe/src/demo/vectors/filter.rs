//! Filters of payloads, as Qdrant has them.

use serde_json::Value;

use super::engine::Point;

/// Whether a point meets a filter.
pub(super) fn meets(point: &Point, filter: &Value) -> bool {
    let clauses = |name| list(filter.get(name));
    let met = |clause: &Value| condition(point, clause);
    let should = clauses("should");
    let least = filter.get("min_should").is_none_or(|min| {
        let count = min.get("min_count").and_then(Value::as_u64).unwrap_or(1);
        list(min.get("conditions")).into_iter().filter(|clause| met(clause)).count() as u64 >= count
    });
    clauses("must").iter().all(|clause| met(clause))
        && !clauses("must_not").iter().any(|clause| met(clause))
        && (should.is_empty() || should.iter().any(|clause| met(clause)))
        && least
}

/// Whether it meets any of a filter's `should`.
pub(super) fn meets_should(point: &Point, filter: &Value) -> bool {
    list(filter.get("should")).iter().any(|clause| condition(point, clause))
}

/// One, or a list of them.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

fn condition(point: &Point, clause: &Value) -> bool {
    if let Some(ids) = clause.get("has_id") {
        return list(Some(ids)).iter().any(|id| id.as_str() == Some(&point.id));
    }
    if let Some(field) = clause.pointer("/is_empty/key").and_then(Value::as_str) {
        return !point.payload.contains_key(field);
    }
    let Some(field) = clause.get("key").and_then(Value::as_str) else {
        return meets(point, clause);
    };
    let own = point.payload.get(field);
    let among = |name: &str| clause.pointer(name).and_then(Value::as_array);
    match (clause.pointer("/match/value"), among("/match/any"), among("/match/except")) {
        (Some(value), _, _) => own == Some(value),
        (_, Some(any), _) => own.is_some_and(|own| any.contains(own)),
        (_, _, Some(except)) => own.is_some_and(|own| !except.contains(own)),
        _ => false,
    }
}
