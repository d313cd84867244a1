//! Ids that a caller chooses name nothing of another's: writes that aim at another's points.
//!
//! A has every point twice. What a's own write changes in the one, b's same write must not change
//! in the other. All of them are the prober's own points.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{direction, rng};
use crate::{
    canary::Side,
    drive::vectors::{MARK, Point, Store, TOPIC, done, fresh_word, matching, send, shown_vector},
    lab::Lab,
    verdict::{Halt, Trial},
    wire::{Exchange, Request},
};

/// A write that aims at one point, by its id or by what it says.
struct Write {
    name: &'static str,
    method: Method,
    tail: &'static str,
    body: fn(&Store, id: &str, topic: &str) -> Value,
}

const WRITES: &[Write] = &[
    Write {
        name: "put",
        method: Method::PUT,
        tail: "/points?wait=true",
        body: |store, id, _| {
            let mut dense = vec![0.0; store.size];
            dense[0] = 1.0;
            let vector = shown_vector(&dense);
            let vector = match store.dense.as_str() {
                "" => vector,
                name => json!({ name: vector }),
            };
            json!({ "points": [{ "id": id, "vector": vector, "payload": store.own_payload(Side::B) }] })
        },
    },
    Write {
        name: "set payload",
        method: Method::POST,
        tail: "/points/payload?wait=true",
        body: |_, id, _| json!({ "payload": { "written": true }, "points": [id] }),
    },
    Write {
        name: "set payload by filter",
        method: Method::POST,
        tail: "/points/payload?wait=true",
        body: |_, _, topic| json!({ "payload": { "written": true }, "filter": by(topic) }),
    },
    Write {
        name: "overwrite payload",
        method: Method::PUT,
        tail: "/points/payload?wait=true",
        body: |store, id, _| json!({ "payload": store.own_payload(Side::B), "points": [id] }),
    },
    Write {
        name: "delete fields",
        method: Method::POST,
        tail: "/points/payload/delete?wait=true",
        body: |_, id, _| json!({ "keys": [MARK], "points": [id] }),
    },
    Write {
        name: "put vector",
        method: Method::PUT,
        tail: "/points/vectors?wait=true",
        body: |store, id, _| {
            let mut dense = vec![0.0; store.size];
            dense[0] = 1.0;
            let vector = shown_vector(&dense);
            let vector = match store.dense.as_str() {
                "" => vector,
                name => json!({ name: vector }),
            };
            json!({ "points": [{ "id": id, "vector": vector }] })
        },
    },
    Write {
        name: "batch",
        method: Method::POST,
        tail: "/points/batch?wait=true",
        body: |_, id, _| json!({ "operations": [{ "delete": { "points": [id] } }] }),
    },
    Write {
        name: "delete by filter",
        method: Method::POST,
        tail: "/points/delete?wait=true",
        body: |_, _, topic| json!({ "filter": by(topic) }),
    },
    Write {
        name: "delete",
        method: Method::POST,
        tail: "/points/delete?wait=true",
        body: |_, id, _| json!({ "points": [id] }),
    },
];

fn by(topic: &str) -> Value {
    json!({ "should": [matching(TOPIC, topic)] })
}

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let mut rng = rng(lab);
    let mark = lab.canary(Side::A, "points");
    let mut draw = || {
        let point = Point::new(direction(&mut rng, store.size));
        point.with(TOPIC, fresh_word()).with(MARK, mark.text.as_str())
    };
    // One for b to aim at, one for a, and one that nobody touches.
    let pairs: Vec<[Point; 2]> = WRITES.iter().map(|_| [draw(), draw()]).collect();
    let apart = draw();
    let own: Vec<Point> = pairs.iter().flatten().chain([&apart]).cloned().collect();
    store.put(lab, Side::A, &own).await?;
    let all: Vec<&str> = own.iter().map(|point| point.id.as_str()).collect();
    let (_, before) = state(lab, store, &all).await?;
    if !trial.positive(before.len() == own.len(), "A reads what it left, by ids") {
        return Ok(());
    }
    let live = Point::new(direction(&mut rng, store.size)).with(TOPIC, "live");
    store.put(lab, Side::B, &[live]).await?;

    let mut known = 0;
    for (write, [target, spare]) in WRITES.iter().zip(&pairs) {
        send(lab, lab.caller(Side::A), write.request(store, spare)).await?;
        let attack = send(lab, lab.caller(Side::B), write.request(store, target)).await?;
        let (read, now) = state(lab, store, &[&target.id, &spare.id]).await?;
        let same = |point: &Point| now.get(&point.id) == before.get(&point.id);
        if !same(target) {
            trial.attacked();
            let what = format!("B's {} by A's id changed A's point", write.name);
            trial.leak(what, &[&attack, &read]);
        }
        if same(spare) && !lab.options.dry_run {
            continue;
        }
        known += 1;
        if attack.inconclusive() {
            trial.doubt(format!("B's {} ended with {}", write.name, attack.status()));
        } else {
            trial.attacked();
        }
    }
    let (_, after) = state(lab, store, &[&apart.id]).await?;
    let there = after.contains_key(&apart.id);
    let same = there && after.get(&apart.id) == before.get(&apart.id);
    trial.negative(same, "a point that nobody wrote to is as it was");
    trial.positive(known > 0, format!("{known} kinds of writes change A's points for A"));
    trial.summary(format!("{known} kinds of writes at A's ids"));
    Ok(())
}

impl Write {
    fn request(&self, store: &Store, point: &Point) -> Request {
        let topic = point.payload.get(TOPIC).and_then(Value::as_str).unwrap_or_default();
        let body = (self.body)(store, &point.id, topic);
        Request::new(self.method.clone(), store.path(Side::A, self.tail)).json(&body)
    }
}

/// Points of a's by their ids, each as it is shown.
async fn state(
    lab: &Lab,
    store: &Store,
    ids: &[&str],
) -> Result<(Exchange, BTreeMap<String, Value>), Halt> {
    let body = json!({ "ids": ids, "with_payload": true, "with_vector": true });
    let exchange = store.ask(lab, Side::A, "/points", &body).await?;
    done(&exchange, "A reads its points by ids")?;
    let points = exchange.json().get("result").and_then(Value::as_array).cloned();
    let points = points.unwrap_or_default().into_iter().filter_map(|mut point| {
        // It rises with each write of anybody's, which is what non-interference is about.
        point.as_object_mut()?.remove("version");
        Some((point.get("id")?.as_str()?.to_owned(), point))
    });
    let points = points.collect();
    Ok((exchange, points))
}
