//! The same request of two tenants has two answers, also where answers of queries are kept.

use serde_json::json;

use super::{direction, near, rng};
use crate::{
    canary::{Canary, Side},
    drive::vectors::{MARK, Point, Store, TOPIC},
    lab::Lab,
    verdict::{Halt, Trial},
    wire::Exchange,
};

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let mut rng = rng(lab);
    let query = direction(&mut rng, store.size);
    let marks = [lab.canary(Side::A, "points"), lab.canary(Side::B, "points")];
    let never = lab.canaries.never_planted(Side::A);
    for (side, mark) in [Side::A, Side::B].into_iter().zip(&marks) {
        let own = (0..4)
            .map(|_| near(&mut rng, &query, 0.8))
            .map(|dense| Point::new(dense).with(MARK, mark.text.as_str()).with(TOPIC, "same"));
        store.put(lab, side, &own.collect::<Vec<_>>()).await?;
    }
    let body = |side| {
        [
            ("/points/query", store.nearest(side, &query, 10, None)),
            (
                "/points/scroll",
                store.body(side, json!({ "limit": 50, "with_payload": true }), None),
            ),
        ]
    };
    for ((tail, asked), (_, likewise)) in body(Side::A).into_iter().zip(body(Side::B)) {
        let mut before: Option<Exchange> = None;
        for side in [Side::A, Side::B, Side::A, Side::B] {
            let said = if side == Side::A { &asked } else { &likewise };
            let exchange = store.ask(lab, side, tail, said).await?;
            let note = format!("each finds its own, by {tail}");
            trial.positive(sees(&exchange, &marks[side as usize]), note);
            trial.negative(!sees(&exchange, &never), "what was never planted is not found");
            if before.is_some() && !exchange.inconclusive() {
                trial.attacked();
            }
            for seen in lab.foreign(side, &exchange) {
                let what = format!("{} got the other's answer", side.name().to_uppercase());
                let proof: Vec<&Exchange> = before.iter().chain([&exchange]).collect();
                trial.leaked(&what, &seen, &proof);
            }
            before = Some(exchange);
        }
    }
    trial.summary("the same bytes, each its own");
    Ok(())
}

fn sees(exchange: &Exchange, canary: &Canary) -> bool {
    canary.seen_in(exchange).is_some()
}
