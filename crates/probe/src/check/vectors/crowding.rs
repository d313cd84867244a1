//! Another's nearer points push none of one's own out.
//!
//! A server that ranks all points first and filters the ranking afterwards gives a tenant with
//! far points fewer than it asked for, without a word.

use serde_json::{Value, json};

use super::{direction, near, rng, thousands};
use crate::{
    canary::Side,
    drive::vectors::{MARK, Point, Store, TOPIC, fresh_word, hit_ids, matching, shown_vector},
    lab::Lab,
    run::Depth,
    verdict::{Halt, Trial},
    wire::Exchange,
};

const LIMIT: usize = 10;
/// Points that a has; three of them have a topic of their own. With fewer, a planner like
/// Postgres' would look at each of them and leave the shared index alone.
const OWN: usize = 240;
const RARE: usize = 3;

/// A way of asking for what is nearest, and how many a must get.
struct Look {
    name: &'static str,
    tail: &'static str,
    body: Value,
    expected: usize,
}

/// How many of b's are nearer.
const fn crowd(depth: Depth) -> usize {
    match depth {
        Depth::Quick => 1_000,
        Depth::Default => 500 * LIMIT,
        Depth::Deep => 2_000 * LIMIT,
    }
}

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let mut rng = rng(lab);
    let query = direction(&mut rng, store.size);
    let (rare, mark) = (fresh_word(), lab.canary(Side::A, "points"));
    let own = (0..OWN).map(|nth| {
        let cosine = 0.7 - 0.3 * nth as f32 / OWN as f32;
        let topic = if nth % (OWN / RARE) == 0 { rare.as_str() } else { "common" };
        let point = Point::new(near(&mut rng, &query, cosine));
        point.with(TOPIC, topic).with(MARK, mark.text.as_str())
    });
    store.put(lab, Side::A, &own.collect::<Vec<_>>()).await?;

    let nothing = nothing(lab, store, &query).await?;
    trial.negative(nothing, "a topic that nobody has finds no point");
    let alone = alone(lab, store, looks(store, &query, &rare)).await?;
    let plain = alone.iter().any(|(look, _, _)| look.name == "nearest");
    let note = format!("A alone gets {LIMIT} of {LIMIT}, twice the same");
    if !trial.positive(plain, note) {
        return Ok(());
    }

    let crowd = crowd(lab.options.depth);
    let mark = lab.canary(Side::B, "points");
    let nearer = (0..crowd).map(|nth| {
        let cosine = 0.9 + 0.09 * (nth as f32 / crowd as f32);
        let point = Point::new(near(&mut rng, &query, cosine)).with(TOPIC, "common");
        point.with(MARK, mark.text.as_str())
    });
    let written = store.put(lab, Side::B, &nearer.collect::<Vec<_>>()).await?;
    let theirs = store.nearest(Side::B, &query, LIMIT, None);
    let theirs = store.ask(lab, Side::B, "/points/query", &theirs).await?;
    trial.positive(hit_ids(&theirs).len() == LIMIT, format!("B gets {LIMIT} of its own"));

    for (look, ids, before) in &alone {
        let after = store.ask(lab, Side::A, look.tail, &look.body).await?;
        judge(lab, trial, look, (ids, crowd), &[before, &written, &after]);
    }
    trial.summary(format!("{LIMIT}/{LIMIT}, {} nearer", thousands(crowd)));
    Ok(())
}

/// The last of the exchanges against what the first one had.
fn judge(
    lab: &Lab,
    trial: &mut Trial,
    look: &Look,
    (ids, crowd): (&[String], usize),
    proof: &[&Exchange],
) {
    let Some(after) = proof.last() else { return };
    if !after.accepted() {
        let what = format!("A's query ({}) ended with {}", look.name, after.status());
        return trial.doubt(what);
    }
    trial.attacked();
    for seen in lab.foreign(Side::A, after) {
        trial.leaked("A got a point of B's", &seen, proof);
    }
    let now = hit_ids(after);
    let own = now.iter().filter(|id| ids.contains(id)).count();
    let (got, expected) = (now.len(), look.expected);
    if got < expected {
        let nearer = thousands(crowd);
        trial.leak(format!("A got {got} of {expected}, {nearer} nearer ({})", look.name), proof);
    } else if own < ids.len() {
        let lost = ids.len() - own;
        trial
            .leak(format!("{lost} of A's {expected} nearest were replaced ({})", look.name), proof);
    }
}

fn looks(store: &Store, query: &[f32], rare: &str) -> Vec<Look> {
    let nearest = |limit, own| store.nearest(Side::A, query, limit, own);
    let few = json!({ "must": [matching(TOPIC, rare)] });
    let prefetch = store.using(json!({ "query": shown_vector(query), "limit": LIMIT }));
    let fused = json!({
        "prefetch": [store.body(Side::A, prefetch, None)],
        "query": { "fusion": "rrf" }, "limit": LIMIT, "with_payload": true
    });
    let query = "/points/query";
    vec![
        Look { name: "nearest", tail: query, body: nearest(LIMIT, None), expected: LIMIT },
        Look { name: "all of them", tail: query, body: nearest(2 * OWN, None), expected: OWN },
        Look { name: "filtered", tail: query, body: nearest(LIMIT, Some(few)), expected: RARE },
        Look {
            name: "prefetched",
            tail: query,
            body: store.body(Side::A, fused, None),
            expected: LIMIT,
        },
        Look {
            name: "in a batch",
            tail: "/points/query/batch",
            body: json!({ "searches": [nearest(LIMIT, None)] }),
            expected: LIMIT,
        },
    ]
}

/// The looks by which a, alone, gets what it has, the same twice, with what it got.
async fn alone(
    lab: &Lab,
    store: &Store,
    looks: Vec<Look>,
) -> Result<Vec<(Look, Vec<String>, Exchange)>, Halt> {
    let mut kept = Vec::new();
    for look in looks {
        let first = store.ask(lab, Side::A, look.tail, &look.body).await?;
        let again = store.ask(lab, Side::A, look.tail, &look.body).await?;
        let ids = hit_ids(&first);
        if lab.options.dry_run || (ids.len() == look.expected && ids == hit_ids(&again)) {
            kept.push((look, ids, first));
        }
    }
    Ok(kept)
}

async fn nothing(lab: &Lab, store: &Store, query: &[f32]) -> Result<bool, Halt> {
    let never = json!({ "must": [matching(TOPIC, fresh_word())] });
    let body = store.nearest(Side::A, query, LIMIT, Some(never));
    let exchange = store.ask(lab, Side::A, "/points/query", &body).await?;
    Ok(exchange.accepted() && hit_ids(&exchange).is_empty())
}
