//! Points, as they are put and as answers show them.

use serde_json::{Map, Value, json};

use crate::{verdict::Halt, wire::Exchange};

/// A point.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) id: String,
    /// Empty for a point of words alone.
    pub(crate) dense: Vec<f32>,
    /// Terms and their weights.
    pub(crate) words: Vec<(u32, f32)>,
    pub(crate) payload: Map<String, Value>,
}

impl Point {
    /// With an id that nobody has.
    pub(crate) fn new(dense: Vec<f32>) -> Self {
        Self { id: fresh_id(), dense, words: Vec::new(), payload: Map::new() }
    }

    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.payload.insert(field.to_owned(), value.into());
        self
    }

    pub(crate) fn words(mut self, words: &[(u32, f32)]) -> Self {
        self.words = words.to_vec();
        self
    }
}

/// An id in the form that Qdrant takes: a UUID.
pub(crate) fn fresh_id() -> String {
    let hex = ids::RandomId::draw(&ids::OsEntropy).to_string();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// A word that nobody else has.
pub(crate) fn fresh_word() -> String {
    fresh_id().split('-').take(3).collect::<Vec<_>>().concat()
}

/// Something that an answer says of a point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) id: String,
    pub(crate) score: Option<f64>,
}

/// Every point in an answer, wherever it stands there.
pub(crate) fn hits(answer: &Value) -> Vec<Hit> {
    let mut found = Vec::new();
    collect(answer, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<Hit>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| collect(one, found)),
        Value::Object(object) => {
            let point = ["score", "payload", "version", "vector"];
            if let Some(id) =
                object.get("id").filter(|_| point.iter().any(|&key| object.contains_key(key)))
            {
                let id = id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned);
                found.push(Hit { id, score: object.get("score").and_then(Value::as_f64) });
                return;
            }
            object.values().for_each(|one| collect(one, found));
        }
        _ => {}
    }
}

/// The ids of the points in an answer, in its order.
pub(crate) fn hit_ids(exchange: &Exchange) -> Vec<String> {
    hits(&exchange.json()).into_iter().map(|hit| hit.id).collect()
}

/// What an answer counts.
pub(crate) fn counted(exchange: &Exchange) -> Option<u64> {
    exchange.json().pointer("/result/count").and_then(Value::as_u64)
}

/// A vector as it is sent: five digits are enough, and a flood of points stays small.
pub(crate) fn shown_vector(vector: &[f32]) -> Value {
    let short = |value: &f32| (f64::from(*value) * 1e5).round() / 1e5;
    json!(vector.iter().map(short).collect::<Vec<f64>>())
}

/// `match` on one field.
pub(crate) fn matching(field: &str, value: impl Into<Value>) -> Value {
    json!({ "key": field, "match": { "value": value.into() } })
}

/// It was done, or why the check cannot go on.
pub(crate) fn done(exchange: &Exchange, what: &str) -> Result<(), Halt> {
    if exchange.accepted() {
        return Ok(());
    }
    Err(Halt::Failed(match &exchange.outcome {
        Ok(answer) => format!("{what}: {}", answer.status),
        Err(why) => format!("{what}: {why}"),
    }))
}

/// A proof does not need thousands of points: the first one is kept.
pub(crate) fn brief(mut exchange: Exchange) -> Exchange {
    let body = exchange.body.as_deref().filter(|body| body.len() > 4_096);
    let Some(Value::Object(mut body)) = body.and_then(|body| serde_json::from_slice(body).ok())
    else {
        return exchange;
    };
    if let Some(Value::Array(points)) = body.get_mut("points") {
        let more = points.len().saturating_sub(1);
        points.truncate(1);
        points.push(json!(format!("and {more} more like it")));
    }
    exchange.body = Some(Value::Object(body).to_string().into());
    exchange
}
