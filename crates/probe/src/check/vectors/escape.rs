//! No filter reaches another's points.
//!
//! Every form is first asked by a, for what is a's own: if it does not find that, the server does
//! not know the form, and it counts for nothing. Then b asks the same.

use super::{
    direction,
    forms::{self, Form, Shows, World},
    near, rng,
};
use crate::{
    canary::{Canary, Side},
    drive::vectors::{
        MARK, Point, Store, TOPIC, counted, fresh_id, fresh_word, hit_ids, hits, send,
    },
    lab::Lab,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// Points of each.
const OWN: usize = 6;
/// A server that knows fewer forms than this was not asked much.
const LEAST: usize = 4;

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let mark = lab.canary(Side::A, "points");
    let never = lab.canaries.never_planted(Side::A);
    let world = world(lab, store, &mark).await?;
    let absent = World { ids: vec![fresh_id()], topic: fresh_word(), ..world.clone() };

    let body = store.nearest(Side::B, &world.query, 100, None);
    let live = store.ask(lab, Side::B, "/points/query", &body).await?;
    let theirs = lab.hunt(&live).iter().any(|seen| seen.canary.side == Side::B);
    trial.positive(theirs, "B finds its own points");

    let forms = forms::all(store, &world, Side::A).into_iter();
    let attacks = forms::all(store, &world, Side::B).into_iter();
    let blanks = forms::all(store, &absent, Side::B);
    let (mut known, mut quiet) = (0, true);
    for ((own, attack), blank) in forms.zip(attacks).zip(blanks) {
        let control = store.ask(lab, Side::A, own.tail, &own.body).await?;
        quiet &= never.seen_in(&control).is_none();
        if !shows(&own, &control, &mark, &world.ids) && !lab.options.dry_run {
            continue;
        }
        known += 1;
        let request = store.post(Side::A, attack.tail, &attack.body);
        let exchange = send(lab, lab.caller(Side::B), request).await?;
        quiet &= never.seen_in(&exchange).is_none();
        judge(lab, trial, &attack, &world.ids, &[&control, &exchange]);
        if exchange.inconclusive() {
            trial.doubt(format!("B's {} ended with {}", attack.name, exchange.status()));
            continue;
        }
        trial.attacked();
        if matches!(attack.shows, Shows::Reference | Shows::Count) {
            let request = store.post(Side::A, blank.tail, &blank.body);
            let blank = send(lab, lab.caller(Side::B), request).await?;
            against(trial, &attack, &blank, &exchange);
        }
    }
    trial.positive(known >= LEAST, format!("{known} forms find A's points for A"));
    trial.negative(quiet, "a canary that was never planted is in no answer");
    trial.summary(format!("{known} forms of filters and queries"));
    Ok(())
}

/// Points of both, apart from each other, with what an attacker may know of a's.
async fn world(lab: &Lab, store: &Store, mark: &Canary) -> Result<World, Halt> {
    let mut rng = rng(lab);
    let query = direction(&mut rng, store.size);
    let elsewhere = near(&mut rng, &query, 0.1);
    let (topic, other) = (fresh_word(), fresh_word());
    let theirs = lab.canary(Side::B, "points");
    let ids: Vec<String> = (0..OWN).map(|_| fresh_id()).collect();
    let mut draw = |side: Side, nth: usize| {
        let (around, topic, mark, id) = match side {
            Side::A => (&query, &topic, mark, ids[nth].clone()),
            Side::B => (&elsewhere, &other, &theirs, fresh_id()),
        };
        // The value of `group` is an id of a's: what a lookup by groups would open.
        let point = Point { id, ..Point::new(near(&mut rng, around, 0.9)) };
        let point = point.with(TOPIC, topic.as_str()).with(MARK, mark.text.as_str());
        point.with("group", ids[(nth + 1) % OWN].as_str())
    };
    let own: Vec<Point> = (0..OWN).map(|nth| draw(Side::A, nth)).collect();
    let others: Vec<Point> = (0..OWN).map(|nth| draw(Side::B, nth)).collect();
    store.put(lab, Side::A, &own).await?;
    store.put(lab, Side::B, &others).await?;
    let tenant = store.tenant(Side::A).to_owned();
    Ok(World { query, topic, ids, tenant, never: fresh_word() })
}

/// Whether the form finds a's points.
fn shows(form: &Form, exchange: &Exchange, mark: &Canary, ids: &[String]) -> bool {
    let seen = || mark.seen_in(exchange).is_some();
    exchange.accepted()
        && match form.shows {
            Shows::Points | Shows::Reference => seen(),
            Shows::Count => counted(exchange) >= Some(OWN as u64),
            Shows::Ids => tells(exchange, ids),
            Shows::Lookup => seen() && looked_up(exchange),
        }
}

fn looked_up(exchange: &Exchange) -> bool {
    let groups = exchange.json().pointer("/result/groups").cloned().unwrap_or_default();
    let lookup = |group: &serde_json::Value| group.pointer("/lookup/payload").is_some();
    groups.as_array().is_some_and(|groups| groups.iter().any(lookup))
}

/// Whether an id is in the answer that was not in the request.
fn tells(exchange: &Exchange, ids: &[String]) -> bool {
    let body = exchange.answer().map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    body.is_some_and(|body| ids.iter().any(|id| !exchange.said(id) && body.contains(id.as_str())))
}

fn judge(lab: &Lab, trial: &mut Trial, form: &Form, ids: &[String], proof: &[&Exchange; 2]) {
    let exchange = proof[1];
    let seen = lab.foreign(Side::B, exchange);
    if let Some(seen) = seen.first() {
        return trial.leaked(&format!("B got A's points: {}", form.name), seen, proof);
    }
    if !exchange.accepted() {
        return;
    }
    if hit_ids(exchange).iter().any(|id| ids.contains(id))
        || (form.shows == Shows::Ids && tells(exchange, ids))
    {
        trial.leak(format!("B got ids of A's points: {}", form.name), proof);
    }
}

/// What is a's must do what is nobody's does; else a number tells how much of it there is, scores
/// tell where a's point lies, or at least it is known to be there.
fn against(trial: &mut Trial, form: &Form, blank: &Exchange, exchange: &Exchange) {
    if blank.inconclusive() {
        return trial.doubt(format!("B's {} ended with {}", form.name, blank.status()));
    }
    let proof = [blank, exchange];
    if form.shows == Shows::Count {
        let (nobodys, count) = (counted(blank).unwrap_or(0), counted(exchange).unwrap_or(0));
        // More than nobody's, or, where the filter counts for nothing, more than b has.
        if count > nobodys || count > OWN as u64 {
            trial.leak(format!("B counted {count} points with A's: {}", form.name), &proof);
        }
        return;
    }
    let told = |exchange: &Exchange| (exchange.status(), hits(&exchange.json()));
    if told(blank) == told(exchange) {
        return;
    }
    match hits(&exchange.json()).is_empty() {
        false => trial.leak(format!("{} by A's id ranks B's points by it", form.name), &proof),
        true => trial.leak(format!("{} tells A's id from nobody's", form.name), &proof),
    }
}
