//! Another's writes change no byte of one's answers.
//!
//! What may pass is taken out (how long it took), and ways of asking whose answers change of
//! themselves are left out. A single write of a's own must change an answer, or the look is blind.

use serde_json::{Value, json};

use super::{direction, near, rng, steady};
use crate::{
    canary::Side,
    drive::vectors::{MARK, Point, Store, TOPIC, fresh_word, matching, send, shown_vector},
    lab::Lab,
    run::Depth,
    verdict::{Halt, Trial},
    wire::{Exchange, Request},
};

struct Look {
    name: &'static str,
    request: Request,
    before: Exchange,
}

impl Look {
    /// What must stay. Of what a collection is, how many points it has: the rest tells how far
    /// work in the background is, which goes on by itself.
    fn told(&self, exchange: &Exchange) -> String {
        match self.name {
            INFO => format!("{:?}", exchange.json().pointer("/result/points_count")),
            _ => steady(exchange),
        }
    }

    fn moved(&self, now: &Exchange) -> bool {
        self.told(now) != self.told(&self.before)
    }
}

const INFO: &str = "number of points";

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let mut rng = rng(lab);
    let query = direction(&mut rng, store.size);
    let topic = fresh_word();
    let mark = lab.canary(Side::A, "points");
    let mut own: Vec<Point> = Vec::new();
    for nth in 0..16 {
        let point = Point::new(near(&mut rng, &query, 0.8 - 0.02 * nth as f32));
        own.push(
            point
                .words(&[(7, 1.0), (nth + 20, 1.0)])
                .with(TOPIC, topic.as_str())
                .with(MARK, mark.text.as_str()),
        );
    }
    store.put(lab, Side::A, &own).await?;
    let (looks, known) = steady_looks(lab, store, &query, &topic, &own[0].id).await?;
    let nearest = looks.iter().any(|look| look.name == "query");
    let note = format!("{} of {known} answers are the same when nothing was written", looks.len());
    if !trial.negative(nearest, note) {
        return Ok(());
    }

    let theirs = theirs(lab, &mut rng, &query, &topic);
    let written = store.put(lab, Side::B, &theirs).await?;
    compare(lab, trial, &looks, &written, "wrote").await?;
    let half: Vec<String> = theirs.iter().step_by(2).map(|point| point.id.clone()).collect();
    let removed = store.delete(lab, Side::B, &half).await?;
    crate::drive::vectors::done(&removed, "B deletes points")?;
    compare(lab, trial, &looks, &removed, "deleted").await?;
    let cleared = store.clear(lab, Side::B).await?;
    crate::drive::vectors::done(&cleared, "B erases its points")?;
    compare(lab, trial, &looks, &cleared, "erased").await?;
    if store.layout().views() {
        numbers(lab, store, trial, &own[0], &theirs[..1]).await?;
    }

    // Last of all, since what it changes stays changed.
    let mine = Point::new(near(&mut rng, &query, 0.95)).words(&[(7, 1.0)]);
    store.put(lab, Side::A, &[mine.with(TOPIC, topic.as_str())]).await?;
    let mut moved = 0;
    for look in &looks {
        let now = send(lab, lab.caller(Side::A), look.request.clone()).await?;
        moved += usize::from(look.moved(&now));
    }
    trial.positive(moved > 0, format!("a point of A's own changes {moved} of {}", looks.len()));
    trial.summary(format!("{} kinds of answers, 3 times, unchanged", looks.len()));
    Ok(())
}

fn theirs(lab: &Lab, rng: &mut fastrand::Rng, query: &[f32], topic: &str) -> Vec<Point> {
    let many = if lab.options.depth == Depth::Quick { 100 } else { 400 };
    let mark = lab.canary(Side::B, "points");
    let each = (0..many).map(|nth| {
        let point = Point::new(near(rng, query, 0.5 + 0.49 * nth as f32 / many as f32));
        let point = point.words(&[(7, 1.0), (20, 2.0), (nth + 40, 1.0)]);
        point.with(TOPIC, topic).with(MARK, mark.text.as_str())
    });
    each.collect()
}

/// Each look, asked twice; those whose answers were the same, and how many there were at all.
async fn steady_looks(
    lab: &Lab,
    store: &Store,
    query: &[f32],
    topic: &str,
    id: &str,
) -> Result<(Vec<Look>, usize), Halt> {
    let requests = requests(store, query, topic, id);
    let known = requests.len();
    let mut looks = Vec::new();
    for (name, request) in requests {
        let before = send(lab, lab.caller(Side::A), request.clone()).await?;
        let again = send(lab, lab.caller(Side::A), request.clone()).await?;
        let accepted = before.accepted();
        let look = Look { name, request, before };
        if accepted && !look.moved(&again) {
            looks.push(look);
        }
    }
    Ok((looks, known))
}

fn requests(store: &Store, query: &[f32], topic: &str, id: &str) -> Vec<(&'static str, Request)> {
    let a = Side::A;
    let post = |tail, body: Value| store.post(a, tail, &body);
    let on_topic = || Some(json!({ "must": [matching(TOPIC, topic)] }));
    let vectors = json!({ "query": shown_vector(query), "limit": 30, "with_vector": true, "with_payload": true });
    let prefetch = json!({ "query": shown_vector(query), "limit": 10 });
    let prefetch = store.body(a, store.using(prefetch), None);
    let fused = json!({ "prefetch": [prefetch], "query": { "fusion": "dbsf" }, "limit": 10 });
    let alike = json!({ "query": { "recommend": { "positive": [id] } }, "limit": 10 });
    let mut all = vec![
        ("query", post("/points/query", store.nearest(a, query, 10, None))),
        ("filtered query", post("/points/query", store.nearest(a, query, 10, on_topic()))),
        ("vectors", post("/points/query", store.body(a, store.using(vectors), None))),
        ("fusion", post("/points/query", store.body(a, fused, None))),
        ("recommend", post("/points/query", store.body(a, store.using(alike), None))),
        ("scroll", post("/points/scroll", store.body(a, json!({ "limit": 100 }), None))),
        ("count", post("/points/count", store.body(a, json!({ "exact": true }), on_topic()))),
        ("estimate", post("/points/count", store.body(a, json!({ "exact": false }), None))),
        ("facet", post("/facet", store.body(a, json!({ "key": TOPIC, "limit": 100 }), None))),
    ];
    if store.sparse.is_some() {
        all.push(("words", post("/points/query", store.worded(a, &[(7, 1.0), (20, 1.0)], 10))));
    }
    if store.layout().views() && store.layout().makes() {
        let info = Request::get(store.path(a, "")).example(json!({ "result": {} }));
        all.push((INFO, info));
    }
    all
}

async fn compare(
    lab: &Lab,
    trial: &mut Trial,
    looks: &[Look],
    done: &Exchange,
    verb: &str,
) -> Result<(), Halt> {
    for look in looks {
        let now = send(lab, lab.caller(Side::A), look.request.clone()).await?;
        let proof = [&look.before, done, &now];
        for seen in lab.foreign(Side::A, &now) {
            trial.leaked("A got what is B's", &seen, &proof);
        }
        if now.inconclusive() {
            trial.doubt(format!("A's {} ended with {}", look.name, now.status()));
            continue;
        }
        trial.attacked();
        if look.moved(&now) {
            trial.leak(format!("A's {} changed when B {verb}", look.name), &proof);
        }
    }
    Ok(())
}

/// Whether the numbers of a's writes count b's, where they count a's at all.
async fn numbers(
    lab: &Lab,
    store: &Store,
    trial: &mut Trial,
    own: &Point,
    theirs: &[Point],
) -> Result<(), Halt> {
    let number = |exchange: &Exchange| {
        exchange.json().pointer("/result/operation_id").and_then(Value::as_u64)
    };
    let again = || store.put(lab, Side::A, std::slice::from_ref(own));
    let (first, second) = (again().await?, again().await?);
    let (Some(one), Some(two)) = (number(&first), number(&second)) else { return Ok(()) };
    if two.checked_sub(one) != Some(1) {
        return Ok(());
    }
    for _ in 0..5 {
        store.put(lab, Side::B, theirs).await?;
    }
    let third = again().await?;
    trial.attacked();
    if number(&third) == Some(two + 6) {
        trial.leak("the numbers of A's writes count B's", &[&second, &third]);
    }
    store.clear(lab, Side::B).await?;
    Ok(())
}
