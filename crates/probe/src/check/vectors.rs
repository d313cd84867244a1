//! Retrieval: crowding, interference, filters, statistics of the corpus.
//!
//! Every check makes what it needs and removes it, also when it ends early. A way of asking counts
//! as an attack only if the very same request finds, for the one whose points they are, what the
//! attacker must not find; so a server that does not know a way is not called isolated for it.

mod collections;
mod corpus;
mod crowding;
mod erasure;
mod escape;
mod forms;
mod interference;
mod open;
mod same;
#[cfg(test)]
mod tests;
mod written;

use std::sync::OnceLock;

use serde_json::Value;

use crate::{
    catalog::{self, Check},
    drive::vectors::{Layout, Points, Store},
    lab::Lab,
    sheet::Sheet,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// A target of kind `qdrant`.
pub(super) async fn all(lab: &Lab, sheet: &mut Sheet<'_>) {
    at(&Layout::of(&lab.target), lab, sheet).await;
}

/// Everything that a store of points is put to, wherever it is.
pub(super) async fn at(layout: &Layout, lab: &Lab, sheet: &mut Sheet<'_>) {
    let place = Points::new(layout);
    super::at(&place, lab, sheet).await;
    place.close(lab).await;
    let idf = place.counts_words();
    special(layout, idf, lab, sheet).await;
}

/// What is asked of retrieval alone.
async fn special(layout: &Layout, idf: bool, lab: &Lab, sheet: &mut Sheet<'_>) {
    on(&catalog::CROWDING, "points", layout, lab, sheet, crowding::check).await;
    on(&catalog::NON_INTERFERENCE, "points", layout, lab, sheet, interference::check).await;
    on(&catalog::FILTER_ESCAPE, "points", layout, lab, sheet, escape::check).await;
    if idf {
        on(&catalog::CORPUS, "points", layout, lab, sheet, corpus::check).await;
    }
    on(&catalog::ERASURE, "queries", layout, lab, sheet, erasure::check).await;
    if !layout.views() {
        on(&catalog::MISSING, "queries", layout, lab, sheet, open::check).await;
    }
    if layout.views() {
        on(&catalog::EXACT_KEY, "queries", layout, lab, sheet, same::check).await;
        on(&catalog::CALLER_ID, "point ids", layout, lab, sheet, written::check).await;
    }
    if layout.views() && layout.makes() {
        on(&catalog::OBJECT_ID, "collections", layout, lab, sheet, collections::check).await;
    }
}

/// A check in a collection of its own, which is removed whatever comes of it.
async fn on(
    check: &'static Check,
    place: &str,
    layout: &Layout,
    lab: &Lab,
    sheet: &mut Sheet<'_>,
    body: impl AsyncFnOnce(&Lab, &Store, &mut Trial) -> Result<(), Halt>,
) {
    let opened = OnceLock::new();
    let whole = async |trial: &mut Trial| {
        let store = Store::open(lab, layout).await?;
        body(lab, opened.get_or_init(|| store), trial).await
    };
    sheet.run(check, place, whole).await;
    // Not in the check, which may have been ended.
    if let Some(store) = opened.get() {
        store.close(lab).await;
    }
}

/// Numbers for vectors, by the run's seed.
fn rng(lab: &Lab) -> fastrand::Rng {
    fastrand::Rng::with_seed(lab.below(usize::MAX) as u64)
}

/// A vector of length one.
fn direction(rng: &mut fastrand::Rng, size: usize) -> Vec<f32> {
    let draw = |rng: &mut fastrand::Rng| (0..4).map(|_| rng.f32() - 0.5).sum::<f32>();
    unit((0..size).map(|_| draw(rng)).collect())
}

fn unit(vector: Vec<f32>) -> Vec<f32> {
    let length = dot(&vector, &vector).sqrt().max(f32::MIN_POSITIVE);
    vector.into_iter().map(|value| value / length).collect()
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// A vector of length one, as near to `to` as the cosine says.
fn near(rng: &mut fastrand::Rng, to: &[f32], cosine: f32) -> Vec<f32> {
    let other = direction(rng, to.len());
    let along = dot(&other, to);
    let across = unit(other.iter().zip(to).map(|(other, to)| other - along * to).collect());
    let sine = (1.0 - cosine * cosine).max(0.0).sqrt();
    unit(to.iter().zip(across).map(|(to, across)| cosine * to + sine * across).collect())
}

/// What of an answer must stay the same: status and body, but for how long it took.
fn steady(exchange: &Exchange) -> String {
    let json = exchange.json();
    match (exchange.answer(), json) {
        (Some(answer), Value::Null) => {
            format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
        }
        (_, json) => format!("{} {}", exchange.status(), without_times(json)),
    }
}

fn without_times(value: Value) -> Value {
    const PASSING: [&str; 3] = ["time", "usage", "took"];
    match value {
        Value::Array(all) => Value::Array(all.into_iter().map(without_times).collect()),
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(name, _)| !PASSING.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, without_times(value))).collect())
        }
        other => other,
    }
}

/// For people: `5,000`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let each = digits.chars().enumerate().map(|(at, digit)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        if comma { format!(",{digit}") } else { digit.to_string() }
    });
    each.collect()
}
