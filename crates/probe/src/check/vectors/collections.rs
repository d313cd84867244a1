//! Another's id opens nothing: collections of another's, by listing and by name.

use http::Method;
use serde_json::{Value, json};

use super::{direction, rng};
use crate::{
    canary::{Canary, Side},
    drive::vectors::{MARK, Point, Store, counted, send, shown_vector},
    lab::Lab,
    verdict::{Halt, Trial},
    wire::{Exchange, Request, quote},
};

pub(super) async fn check(lab: &Lab, store: &Store, trial: &mut Trial) -> Result<(), Halt> {
    // Their names are canaries themselves.
    let names = [Side::A, Side::B].map(|side| lab.canary(side, "the name of a collection"));
    let ended = inside(lab, store, trial, &names).await;
    let mut closed = Ok(());
    for (side, name) in [Side::A, Side::B].into_iter().zip(&names) {
        let path = format!("{}/collections/{}", store.layout().base, quote(&name.text));
        let request = Request::new(Method::DELETE, path);
        closed = closed.and(send(lab, lab.caller(side), request).await.map(drop));
    }
    ended.and(closed)
}

async fn inside(
    lab: &Lab,
    store: &Store,
    trial: &mut Trial,
    names: &[Canary; 2],
) -> Result<(), Halt> {
    let mark = lab.canary(Side::A, "points");
    let mut rng = rng(lab);
    let point = Point::new(direction(&mut rng, store.size)).with(MARK, mark.text.as_str());
    for (side, name) in [Side::A, Side::B].into_iter().zip(names) {
        let alone = store.elsewhere(&name.text);
        let made = alone.make_again(lab, side).await;
        made.map_err(|why| Halt::Failed(format!("no second collection: {why}")))?;
    }
    let own = store.elsewhere(&names[0].text);
    own.put(lab, Side::A, std::slice::from_ref(&point)).await?;

    listings(lab, store, trial, names).await?;
    let by_name = by_name(&own, &point);
    let (mut known, never) = (0, lab.canaries.never_planted(Side::A));
    let mut quiet = true;
    for (what, request, shown) in by_name {
        let control = send(lab, lab.caller(Side::A), request.clone()).await?;
        quiet &= never.seen_in(&control).is_none();
        let found = control.accepted() && shown(&control, &mark);
        if !found && !lab.options.dry_run {
            continue;
        }
        known += 1;
        let exchange = send(lab, lab.caller(Side::B), request).await?;
        match exchange.inconclusive() {
            true => trial.doubt(format!("B's {what} ended with {}", exchange.status())),
            false => trial.attacked(),
        }
        quiet &= never.seen_in(&exchange).is_none();
        let seen = mark.seen_in(&exchange);
        match seen {
            Some(seen) => {
                trial.leaked(
                    &format!("B opened A's collection: {what}"),
                    &seen,
                    &[&control, &exchange],
                );
            }
            None if exchange.accepted() && shown(&exchange, &mark) => {
                trial.leak(format!("B learnt of A's collection: {what}"), &[&control, &exchange]);
            }
            None => {}
        }
    }
    trial.positive(known > 0, format!("{known} requests open a collection of A's for A"));
    trial.negative(quiet, "a canary that was never planted is in no answer");
    removal(lab, &own, trial).await?;
    trial.summary(format!("listings, {known} requests by name, and its removal"));
    Ok(())
}

/// Lists of names, in which each tenant's own is a canary.
async fn listings(
    lab: &Lab,
    store: &Store,
    trial: &mut Trial,
    names: &[Canary; 2],
) -> Result<(), Halt> {
    let base = &store.layout().base;
    for tail in ["/collections", "/aliases", "/cluster", "/telemetry?details_level=10", "/metrics"]
    {
        let request = Request::get(format!("{base}{tail}"));
        let exchange = send(lab, lab.caller(Side::B), request).await?;
        if tail == "/collections" {
            let own = names[1].seen_in(&exchange).is_some();
            trial.positive(own, "B sees its own collection in the list");
        }
        match exchange.inconclusive() {
            true => trial.doubt(format!("B's {tail} ended with {}", exchange.status())),
            false => trial.attacked(),
        }
        if let Some(seen) = names[0].seen_in(&exchange) {
            trial.leaked(
                &format!("B saw the name of A's collection in {tail}"),
                &seen,
                &[&exchange],
            );
        }
    }
    Ok(())
}

type Shown = fn(&Exchange, &Canary) -> bool;

/// What opens a collection by its name, and how it shows that it did.
fn by_name(own: &Store, point: &Point) -> Vec<(&'static str, Request, Shown)> {
    let a = Side::A;
    let seen: Shown = |exchange, mark| mark.seen_in(exchange).is_some();
    let exists: Shown =
        |exchange, _| exchange.json().pointer("/result/exists") == Some(&Value::Bool(true));
    let info: Shown = |exchange, _| exchange.json().pointer("/result/config").is_some();
    let count: Shown = |exchange, _| counted(exchange) > Some(0);
    let nearest = own.nearest(a, &point.dense, 10, None);
    let page = json!({ "limit": 10, "with_payload": true });
    let facet = json!({ "key": MARK, "limit": 10 });
    let vector = shown_vector(&point.dense);
    vec![
        ("exists", Request::get(own.path(a, "/exists")), exists),
        ("info", Request::get(own.path(a, "")), info),
        ("query", own.post(a, "/points/query", &nearest), seen),
        ("scroll", own.post(a, "/points/scroll", &page), seen),
        ("facet", own.post(a, "/facet", &facet), seen),
        ("count", own.post(a, "/points/count", &json!({ "exact": true })), count),
        ("point", Request::get(own.path(a, &format!("/points/{}", point.id))), seen),
        (
            "search",
            own.post(a, "/points/search", &json!({
                "vector": { "name": own.dense, "vector": vector }, "limit": 10, "with_payload": true
            })),
            seen,
        ),
    ]
}

/// B cannot remove it.
async fn removal(lab: &Lab, own: &Store, trial: &mut Trial) -> Result<(), Halt> {
    let count = async || own.ask(lab, Side::A, "/points/count", &json!({ "exact": true })).await;
    let before = count().await?;
    if counted(&before) != Some(1) && !lab.options.dry_run {
        trial.doubt("A does not find its own point in the collection");
        return Ok(());
    }
    let remove = Request::new(Method::DELETE, own.path(Side::A, ""));
    let removed = send(lab, lab.caller(Side::B), remove).await?;
    let after = count().await?;
    if removed.inconclusive() || after.inconclusive() {
        let (removed, after) = (removed.status(), after.status());
        trial.doubt(format!("B's removal ended with {removed}, and A's count with {after}"));
        return Ok(());
    }
    trial.attacked();
    if counted(&after) != Some(1) {
        trial.leak("B removed A's collection", &[&before, &removed, &after]);
    }
    Ok(())
}
