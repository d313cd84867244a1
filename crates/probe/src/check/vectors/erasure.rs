//! What was erased is nowhere: not by its id, not near its vector, not in lists and sums.

use serde_json::{Value, json};

use super::{direction, near, rng};
use crate::{
    canary::{Canary, Side},
    drive::vectors::{
        MARK, Point, Store, TOPIC, counted, done, fresh_word, matching, send, shown_vector,
    },
    lab::Lab,
    verdict::{Halt, Trial},
    wire::{Exchange, Request},
};

/// A way to find points.
struct Look {
    name: &'static str,
    request: Request,
    counts: bool,
}

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let mut rng = rng(lab);
    let query = direction(&mut rng, store.size);
    let topic = fresh_word();
    let marks: Vec<Canary> = (0..3).map(|_| lab.canary(Side::A, "points")).collect();
    let never = lab.canaries.never_planted(Side::A);
    // By id, by filter, and what stays.
    let kinds: Vec<(Canary, String)> = marks.into_iter().map(|mark| (mark, fresh_word())).collect();
    let mut own = Vec::new();
    for (mark, kind) in &kinds {
        for _ in 0..3 {
            let point = Point::new(near(&mut rng, &query, 0.9)).with(TOPIC, topic.as_str());
            own.push(point.with(MARK, mark.text.as_str()).with("kind", kind.as_str()));
        }
    }
    store.put(lab, Side::A, &own).await?;
    let ids: Vec<String> = own.iter().map(|point| point.id.clone()).collect();
    let mut looks = Vec::new();
    let mut quiet = true;
    for look in all(store, &query, &topic, &ids) {
        let exchange = send(lab, lab.caller(Side::A), look.request.clone()).await?;
        quiet &= never.seen_in(&exchange).is_none();
        let found = match look.counts {
            true => counted(&exchange) == Some(9),
            false => kinds.iter().all(|(mark, _)| mark.seen_in(&exchange).is_some()),
        };
        if found || lab.options.dry_run {
            looks.push(look);
        }
    }
    let note = format!("{} looks find the points before", looks.len());
    if !trial.positive(looks.len() >= 2, note) {
        return Ok(());
    }

    let erased = store.delete(lab, Side::A, &ids[..3]).await?;
    done(&erased, "A deletes points by ids")?;
    let filter = json!({ "must": [matching("kind", kinds[1].1.as_str())] });
    let filter = json!({ "filter": store.filter(Side::A, Some(filter)) });
    let erased = store.ask(lab, Side::A, "/points/delete?wait=true", &filter).await?;
    done(&erased, "A deletes points by a filter")?;
    let (gone, kept) = kinds.split_at(2);
    for look in &looks {
        let exchange = send(lab, lab.caller(Side::A), look.request.clone()).await?;
        quiet &= never.seen_in(&exchange).is_none();
        judge(trial, look, gone, &kept[0].0, &[&erased, &exchange]);
    }
    if store.layout().makes() && store.layout().views() {
        again(lab, store, trial, &looks, &kinds).await?;
    }
    trial.negative(quiet, "a canary that was never planted is in no answer");
    trial.summary(format!("{} ways to find it, none does", looks.len()));
    Ok(())
}

fn judge(
    trial: &mut Trial,
    look: &Look,
    gone: &[(Canary, String)],
    kept: &Canary,
    proof: &[&Exchange; 2],
) {
    let exchange = proof[1];
    for seen in gone.iter().filter_map(|(mark, _)| mark.seen_in(exchange)) {
        trial.leaked(&format!("a deleted point is found: {}", look.name), &seen, proof);
    }
    if exchange.inconclusive() {
        return trial.doubt(format!("{} ended with {}", look.name, exchange.status()));
    }
    trial.attacked();
    if look.counts {
        match counted(exchange) {
            Some(3) => {}
            Some(more @ 4..) => {
                trial.leak(format!("{more} are counted, where 3 are left"), proof);
            }
            _ => trial.doubt("what is left is not counted any more"),
        }
    } else {
        let note = format!("what was not deleted is found still: {}", look.name);
        trial.positive(kept.seen_in(exchange).is_some(), note);
    }
}

/// A collection of the same name as one that was deleted begins empty.
async fn again(
    lab: &Lab,
    store: &Store,
    trial: &mut Trial,
    looks: &[Look],
    kinds: &[(Canary, String)],
) -> Result<(), Halt> {
    let removed = Request::new(http::Method::DELETE, store.path(Side::A, ""));
    let removed = send(lab, lab.caller(Side::A), removed).await?;
    done(&removed, "A deletes the collection")?;
    store.make_again(lab, Side::A).await?;
    for look in looks {
        let exchange = send(lab, lab.caller(Side::A), look.request.clone()).await?;
        for seen in kinds.iter().filter_map(|(mark, _)| mark.seen_in(&exchange)) {
            let what = "points of a deleted collection are found in a new one";
            trial.leaked(what, &seen, &[&removed, &exchange]);
        }
        match exchange.inconclusive() {
            true => trial.doubt(format!("{} ended with {}", look.name, exchange.status())),
            false => trial.attacked(),
        }
    }
    Ok(())
}

fn all(store: &Store, query: &[f32], topic: &str, ids: &[String]) -> Vec<Look> {
    let a = Side::A;
    let on_topic = || Some(json!({ "must": [matching(TOPIC, topic)] }));
    let page = || json!({ "limit": 100, "with_payload": true });
    let prefetch = store.using(json!({ "query": shown_vector(query), "limit": 100 }));
    let fused = json!({
        "prefetch": [prefetch], "query": { "fusion": "rrf" }, "limit": 100, "with_payload": true
    });
    let by_id = |body: Value| store.body(a, store.using(body), None);
    let kept = ids.last().cloned().unwrap_or_default();
    let alike = json!({ "query": kept, "limit": 100, "with_payload": true });
    let mut bodies = vec![
        ("a query", "/points/query", store.nearest(a, query, 100, None)),
        ("a filtered query", "/points/query", store.nearest(a, query, 100, on_topic())),
        ("a prefetch", "/points/query", store.body(a, fused, None)),
        ("a query by id", "/points/query", by_id(alike)),
        ("a scroll", "/points/scroll", store.body(a, page(), None)),
        ("a filtered scroll", "/points/scroll", store.body(a, page(), on_topic())),
        ("a facet", "/facet", store.body(a, json!({ "key": MARK, "limit": 1000 }), None)),
    ];
    if store.layout().views() {
        bodies.push(("points by ids", "/points", json!({ "ids": ids, "with_payload": true })));
    }
    let look = |counts| {
        move |(name, tail, body): (&'static str, &str, Value)| Look {
            name,
            request: store.post(a, tail, &body),
            counts,
        }
    };
    let mut looks: Vec<Look> = bodies.into_iter().map(look(false)).collect();
    let count = store.body(a, json!({ "exact": true }), on_topic());
    looks.push(look(true)(("a count", "/points/count", count)));
    looks
}
