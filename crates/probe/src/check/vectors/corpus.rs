//! Another's words move no score.
//!
//! How rare a word is weighs in a score (IDF). Counted over everybody's points, it tells one
//! tenant what others write about.

use super::steady;
use crate::{
    canary::Side,
    drive::vectors::{MARK, Point, Store, TOPIC, hits},
    lab::Lab,
    run::Depth,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// The word that b floods, and one that it does not.
const FLOODED: u32 = 1_001;
const OTHER: u32 = 1_002;

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    if store.sparse.is_none() {
        return Err(Halt::Lacking("no sparse vectors with IDF here".into()));
    }
    let mark = lab.canary(Side::A, "points");
    let own = (0..20).map(|nth: u32| {
        let mut words = vec![(2_000 + nth, 1.0)];
        if nth < 6 {
            words.push((FLOODED, 1.0 + 0.1 * nth as f32));
        }
        if (4..8).contains(&nth) {
            words.push((OTHER, 1.5));
        }
        words.sort_by_key(|&(word, _)| word);
        document(lab, store, &words).with(MARK, mark.text.as_str())
    });
    store.put(lab, Side::A, &own.collect::<Vec<_>>()).await?;
    let ask = || async {
        let body = store.worded(Side::A, &[(FLOODED, 1.0), (OTHER, 1.0)], 20);
        store.ask(lab, Side::A, "/points/query", &body).await
    };
    let (before, again) = (ask().await?, ask().await?);
    let same =
        before.accepted() && !scores(&before).is_empty() && steady(&before) == steady(&again);
    if !trial.negative(same, "asked twice, the scores are the same") {
        return Ok(());
    }

    let copies = if lab.options.depth == Depth::Quick { 1_000 } else { 10_000 };
    let flood = (0..copies).map(|_| document(lab, store, &[(FLOODED, 1.0)]));
    let written = store.put(lab, Side::B, &flood.collect::<Vec<_>>()).await?;
    judge(trial, "added", copies, &[&before, &written, &ask().await?]);
    let cleared = store.clear(lab, Side::B).await?;
    judge(trial, "erased", copies, &[&before, &cleared, &ask().await?]);

    let more = (0..20).map(|_| document(lab, store, &[(FLOODED, 1.0)]));
    store.put(lab, Side::A, &more.collect::<Vec<_>>()).await?;
    let moved = first(&ask().await?) != first(&before);
    trial.positive(moved, "20 points of A's own move its scores");
    trial.summary(format!("scores equal, with {} of B's", super::thousands(copies)));
    Ok(())
}

/// Not dense where that would be megabytes.
fn document(lab: &Lab, store: &Store, words: &[(u32, f32)]) -> Point {
    let mut dense = vec![0.0; if store.size > 64 { 0 } else { store.size }];
    if let Some(value) = dense.get_mut(lab.below(store.size)) {
        *value = 1.0;
    }
    Point::new(dense).words(words).with(TOPIC, "words")
}

fn scores(exchange: &Exchange) -> Vec<(String, Option<u64>)> {
    let hits = hits(&exchange.json()).into_iter();
    hits.map(|hit| (hit.id, hit.score.map(f64::to_bits))).collect()
}

fn first(exchange: &Exchange) -> Option<u64> {
    scores(exchange).first().and_then(|(_, score)| *score)
}

fn judge(trial: &mut Trial, verb: &str, copies: usize, proof: &[&Exchange; 3]) {
    let [before, _, after] = proof;
    if after.inconclusive() {
        return trial.doubt(format!("A's query ended with {}", after.status()));
    }
    trial.attacked();
    if scores(before) != scores(after) {
        let show = |exchange: &Exchange| {
            let score = hits(&exchange.json()).first().and_then(|hit| hit.score);
            score.map_or_else(|| "none".to_owned(), |score| format!("{score:.3}"))
        };
        let (was, is) = (show(before), show(after));
        let copies = super::thousands(copies);
        trial.leak(format!("A's score went from {was} to {is}: B {verb} {copies}"), &proof[..]);
    }
}
