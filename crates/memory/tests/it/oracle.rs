//! Proof 3: what a tenant is told is what a look at every point of its own gives. The look shares no code with the crate.

use bulkhead_memory::{MemorySettings, Record};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{Random, World, dense, ids_of, point};

const SIZE: usize = 6;
const COUNT: u64 = 120;

/// A point as the oracle has it.
struct Known {
    id: u64,
    vector: Vec<f32>,
    payload: Value,
}

fn known(seed: u64) -> Vec<Known> {
    let mut random = Random(seed);
    let mut one = |id| {
        let vector = random.vector(SIZE);
        let mut payload = json!({"n": random.below(10), "f": f64::from(random.even())});
        if random.below(3) > 0 {
            payload["tag"] = ["x", "y", "z"][random.below(3) as usize].into();
        }
        if random.below(3) == 0 {
            let tags = ["a", "b", "c"];
            payload["tags"] = tags.iter().filter(|_| random.below(2) == 0).copied().collect();
        }
        match random.below(6) {
            0 => payload["maybe"] = Value::Null,
            1 => payload["maybe"] = true.into(),
            2 => payload["deep"] = json!({"n": random.below(4)}),
            _ => {}
        }
        Known { id, vector, payload }
    };
    (0..COUNT).map(&mut one).collect()
}

/// All values at a path: of a list, each of its elements.
fn values<'a>(payload: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut at = Some(payload);
    for part in path.split('.') {
        at = at.and_then(|value| value.get(part));
    }
    match at {
        None => Vec::new(),
        Some(Value::Array(all)) => all.iter().collect(),
        Some(value) => vec![value],
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn holds(known: &Known, condition: &Value) -> bool {
    if let Some(ids) = condition.get("has_id") {
        return ids.as_array().unwrap().contains(&known.id.into());
    }
    if let Some(empty) = condition.get("is_empty") {
        let found = values(&known.payload, empty["key"].as_str().unwrap());
        return found.iter().all(|value| value.is_null());
    }
    if let Some(null) = condition.get("is_null") {
        return values(&known.payload, null["key"].as_str().unwrap()).iter().any(|v| v.is_null());
    }
    let Some(key) = condition.get("key") else { return matches(known, condition) };
    let found = values(&known.payload, key.as_str().unwrap());
    if let Some(range) = condition.get("range") {
        let inside = |value: &&Value| {
            let Some(value) = value.as_f64() else { return false };
            let bound = |name: &str| range.get(name).and_then(Value::as_f64);
            bound("gt").is_none_or(|b| value > b)
                && bound("gte").is_none_or(|b| value >= b)
                && bound("lt").is_none_or(|b| value < b)
                && bound("lte").is_none_or(|b| value <= b)
        };
        return found.iter().any(inside);
    }
    let wanted = &condition["match"];
    if let Some(value) = wanted.get("value") {
        return found.iter().any(|found| equal(found, value));
    }
    if let Some(any) = wanted.get("any") {
        return found.iter().any(|found| any.as_array().unwrap().iter().any(|v| equal(found, v)));
    }
    let except = wanted["except"].as_array().unwrap();
    found.iter().any(|found| !except.iter().any(|v| equal(found, v)))
}

fn matches(known: &Known, filter: &Value) -> bool {
    let list = |name: &str| filter.get(name).and_then(Value::as_array).cloned();
    let must = list("must").is_none_or(|all| all.iter().all(|c| holds(known, c)));
    let not = list("must_not").is_none_or(|all| !all.iter().any(|c| holds(known, c)));
    // One that is empty asks for nothing.
    let should =
        list("should").is_none_or(|all| all.is_empty() || all.iter().any(|c| holds(known, c)));
    must && not && should
}

/// Higher is better, but for what is a distance.
fn score(distance: &str, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot = pairs().map(|(a, b)| a * b).sum::<f64>();
    match distance {
        "Cosine" => {
            let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            dot / (length(a) * length(b))
        }
        "Dot" => dot,
        "Euclid" => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
        _ => pairs().map(|(a, b)| (a - b).abs()).sum(),
    }
}

/// All that match, best first.
fn ranked(known: &[Known], filter: &Value, distance: &str, asked: &[f32]) -> Vec<(f64, u64)> {
    let mut all: Vec<_> = known
        .iter()
        .filter(|known| matches(known, filter))
        .map(|known| (score(distance, &known.vector, asked), known.id))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    if matches!(distance, "Cosine" | "Dot") {
        all.reverse();
    }
    all
}

fn assert_ranked(found: &[Record], wanted: &[(f64, u64)], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (record, (score, id)) in found.iter().zip(wanted) {
        assert!((f64::from(record.score) - score).abs() < 1e-4, "{what}: {} {score}", record.score);
        // Where two are as good as equal, either may come first.
        let tied = wanted.iter().filter(|(other, _)| (other - score).abs() < 1e-5).count() > 1;
        assert!(tied || ids_of(std::slice::from_ref(record)) == [*id], "{what}");
    }
}

fn condition() -> impl Strategy<Value = Value> {
    let tag = prop_oneof![Just("x"), Just("y"), Just("z"), Just("none")];
    let few = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop_oneof![
        (0..12_i64).prop_map(|n| json!({"key": "n", "match": {"value": n}})),
        (0..12_i64, 0..6_i64)
            .prop_map(|(n, w)| json!({"key": "n", "range": {"gte": n, "lt": n + w}})),
        (-1.0..1.0_f64).prop_map(|f| json!({"key": "f", "range": {"gt": f}})),
        (-1.0..1.0_f64).prop_map(|f| json!({"key": "f", "range": {"lte": f}})),
        tag.clone().prop_map(|tag| json!({"key": "tag", "match": {"value": tag}})),
        proptest::collection::vec(tag.clone(), 1..3)
            .prop_map(|t| json!({"key": "tag", "match": {"any": t}})),
        proptest::collection::vec(tag, 1..3)
            .prop_map(|t| json!({"key": "tag", "match": {"except": t}})),
        few.prop_map(|tag| json!({"key": "tags", "match": {"value": tag}})),
        (0..5_i64).prop_map(|n| json!({"key": "deep.n", "match": {"value": n}})),
        prop_oneof![Just("tag"), Just("tags"), Just("maybe"), Just("deep.n"), Just("nowhere")]
            .prop_map(|key| json!({"is_empty": {"key": key}})),
        Just(json!({"is_null": {"key": "maybe"}})),
        Just(json!({"key": "maybe", "match": {"value": true}})),
        proptest::collection::vec(0..COUNT + 20, 0..40).prop_map(|ids| json!({"has_id": ids})),
    ]
}

fn filter() -> impl Strategy<Value = Value> {
    let leaf = condition();
    leaf.prop_recursive(3, 24, 4, |inner| {
        let some = || proptest::collection::vec(inner.clone(), 0..4);
        (some(), some(), some(), 0..8_u8).prop_map(|(must, should, not, which)| {
            let mut filter = json!({});
            for (bit, name, conditions) in
                [(1, "must", must), (2, "should", should), (4, "must_not", not)]
            {
                if which & bit != 0 {
                    filter[name] = conditions.into();
                }
            }
            filter
        })
    })
    .prop_map(|filter| {
        // A condition alone is no filter.
        let is_filter =
            ["must", "should", "must_not"].iter().any(|name| filter.get(name).is_some());
        if is_filter || filter == json!({}) { filter } else { json!({"must": [filter]}) }
    })
}

#[derive(Clone, Debug)]
struct Question {
    seed: u64,
    filter: Value,
    limit: usize,
    offset: usize,
    exact: bool,
}

fn question() -> impl Strategy<Value = Question> {
    (any::<u64>(), filter(), 1..40_usize, prop_oneof![Just(0_usize), 0..20_usize], any::<bool>())
        .prop_map(|(seed, filter, limit, offset, exact)| Question {
            seed,
            filter,
            limit,
            offset,
            exact,
        })
}

/// All questions to four collections of one tenant, beside another with the same ids.
async fn asked(questions: Vec<Question>) {
    let world = World::new().await;
    let running = world.start(MemorySettings::default()).await;
    let (acme, globex) = (world.scope("acme", "live").await, world.scope("globex", "live").await);
    let mine = known(50);
    for distance in ["Cosine", "Dot", "Euclid", "Manhattan"] {
        for (scope, known) in [(&acme, &mine), (&globex, &known(51))] {
            let own = running.of(scope, distance);
            own.create(dense(SIZE, distance)).await;
            // Some fields with an index, some without.
            own.index("n", "integer").await;
            own.index("tag", "keyword").await;
            own.put(known.iter().map(|k| point(k.id, &k.vector, k.payload.clone())).collect())
                .await;
        }
    }
    for (nth, question) in questions.iter().enumerate() {
        let distance = ["Cosine", "Dot", "Euclid", "Manhattan"][nth % 4];
        let own = running.of(&acme, distance);
        let Question { seed, filter, limit, offset, exact } = question;
        let vector = Random(*seed).vector(SIZE);
        let all = ranked(&mine, filter, distance, &vector);
        let what = format!("{distance}, {question:?}");
        let query = json!({
            "query": vector, "filter": filter, "limit": limit, "offset": offset,
            "params": {"exact": exact},
        });
        let wanted: Vec<_> = all.iter().skip(*offset).take(*limit).copied().collect();
        assert_ranked(&own.query(query).await, &wanted, &what);
        assert_eq!(own.count(filter.clone()).await, all.len() as u64, "{what}");
        let mut ids: Vec<u64> = all.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        assert_eq!(ids_of(&own.scroll(filter.clone()).await), ids, "{what}");
        // In a sub-query it is the same filter.
        let below = json!({
            "prefetch": {"query": vector, "filter": filter, "limit": 1_000},
            "query": vector, "limit": limit,
        });
        let wanted: Vec<_> = all.iter().take(*limit).copied().collect();
        assert_ranked(&own.query(below).await, &wanted, &what);
        // And a threshold cuts where it says.
        if let Some((score, _)) = all.get(all.len() / 2) {
            let higher = matches!(distance, "Cosine" | "Dot");
            let beyond = |s: f64| if higher { s > score - 1e-6 } else { s < score + 1e-6 };
            let query = json!({
                "query": vector, "filter": filter, "limit": 1_000, "score_threshold": if higher { score - 1e-6 } else { score + 1e-6 },
            });
            let wanted: Vec<_> = all.iter().filter(|(s, _)| beyond(*s)).copied().collect();
            let near = all.iter().filter(|(s, _)| (s - score).abs() < 1e-5).count() > 1;
            if !near {
                assert_ranked(&own.query(query).await, &wanted, &what);
            }
        }
    }
    running.stop().await;
}

#[test]
fn answers_are_those_of_a_look_at_everything() {
    // The seed of a failure is printed, with the questions.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig {
        cases: 3,
        max_shrink_iters: 30,
        failure_persistence: None,
        ..Default::default()
    };
    proptest!(config, |(questions in proptest::collection::vec(question(), 40..41))| {
        runtime.block_on(asked(questions));
    });
}
