//! JSON-RPC: ids that two callers have alike, at the same time and one after the other.

use serde_json::Value;

use super::bench::{Bench, any_holds};
use crate::{
    canary::{Canary, Side},
    drive::app::{Done, Words, documents, open, wanted},
    place::Twist,
    target::{App, Template},
    verdict::{Halt, Trial},
    wire::Exchange,
};

fn template<'a>(bench: &Bench<'a>) -> Result<&'a Template, Halt> {
    let rpc = bench.app.rpc.as_ref();
    rpc.ok_or_else(|| Halt::Lacking("say how JSON-RPC is asked: rpc = { post = … }".into()))
}

/// The id that an answer is for.
fn answered(done: &Done) -> Option<Value> {
    let documents = done.exchanges.last().map(documents).unwrap_or_default();
    documents.into_iter().find_map(|document| document.get("id").cloned())
}

fn words(bench: &Bench<'_>, side: Side, id: &str, canary: &Canary) -> Words {
    bench.words(side).with("rpc_id", id).with("canary", &canary.text)
}

/// Equal ids at the same moment, many times: each gets the answer to what it asked.
pub(super) async fn same_ids(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let rpc = template(bench)?;
    let (a, b) = (bench.lab.canary(Side::A, "rpc"), bench.lab.canary(Side::B, "rpc"));
    let rounds = bench.lab.options.depth.races().min(250);
    let first = bench.lab.below(1_000_000);
    let mut own = [0_usize; 2];
    for round in 0..rounds {
        let id = (first + round).to_string();
        let (of_a, of_b) = (words(bench, Side::A, &id, &a), words(bench, Side::B, &id, &b));
        let (to_a, to_b) = bench.both(rpc, (&of_a, &of_b)).await?;
        trial.attacked();
        for (at, (side, canary, done)) in
            [(Side::A, &a, &to_a), (Side::B, &b, &to_b)].into_iter().enumerate()
        {
            if let Some((seen, exchange)) = bench.foreign(trial, side, &done.exchanges) {
                let who = side.name().to_uppercase();
                trial.leaked(&format!("{who} got the other's answer"), &seen, &[exchange]);
                return Ok(());
            }
            own[at] += usize::from(any_holds(&done.exchanges, canary));
            let id_back = answered(done).map(|id| id.to_string().trim_matches('"').to_owned());
            if id_back.is_some_and(|back| back != id) {
                trial.doubt("an answer names another id than was asked");
            }
        }
    }
    // Some may fail under load; those that say nothing of themselves tell nothing.
    let enough = own.iter().all(|own| own * 10 >= rounds * 9);
    let note = format!("{} and {} of {rounds} answers said what was asked", own[0], own[1]);
    trial.positive(enough, note);
    trial.summary(format!("{rounds} pairs with equal ids"));
    Ok(())
}

/// One id, three writes: two runs of a's, and one of b's. Each is done, and none is another's.
pub(super) async fn same_id_later(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let rpc = template(bench)?;
    let id = (1 + bench.lab.below(1_000_000)).to_string();
    let draw = |side| bench.lab.canary(side, "rpc");
    let canaries = [draw(Side::A), draw(Side::A), draw(Side::B), draw(Side::B)];
    let mut done = Vec::new();
    for (side, canary) in [Side::A, Side::A, Side::B].into_iter().zip(&canaries) {
        let words = words(bench, side, &id, canary);
        done.push(bench.ask(side, rpc, &words).await?);
    }
    // What b's write is like with an id that nobody had.
    let other = (2_000_000 + bench.lab.below(1_000_000)).to_string();
    let alone = words(bench, Side::B, &other, &canaries[3]);
    let alone = bench.ask(Side::B, rpc, &alone).await?;
    let all = done.iter().chain([&alone]).flat_map(|done| &done.exchanges);
    all.for_each(|exchange| bench.pass(trial, exchange));
    let says = |done: &Done, canary| any_holds(&done.exchanges, canary);
    trial.positive(says(&done[0], &canaries[0]), "the answer to a write says what was written");
    trial.positive(says(&alone, &canaries[3]), "b's write with an id of its own is done");
    for (at, whose) in [(1, "the same tenant's next run"), (2, "B")] {
        let earlier = canaries[..at].iter().find(|earlier| says(&done[at], earlier));
        let (before, after) = (done[0].last()?, done[at].last()?);
        bench.attacked(trial, after);
        if let Some(seen) = earlier.and_then(|earlier| earlier.seen_in(after)) {
            let what = format!("{whose} got the result of an earlier write");
            trial.leaked(&what, &seen, &[before, after]);
        } else if !says(&done[at], &canaries[at]) {
            let judged = !matches!(after.status(), 0 | 429 | 500..);
            match at == 2 && judged && says(&done[0], &canaries[0]) {
                true => trial.leak("B's write was not done: A's had that id", &[before, after]),
                false => trial.doubt("a second write with the same id was refused"),
            }
        }
    }
    trial.summary("one id, three writes, three results");
    Ok(())
}

/// Whether JSON-RPC is asked in sessions.
pub(super) fn in_sessions(app: &App) -> bool {
    let asked =
        app.rpc.as_ref().is_some_and(|rpc| wanted(rpc).iter().any(|name| name == "session"));
    asked && !app.open.is_empty()
}

/// A session is a name, not a capability: another tenant's is refused, as one that nobody opened.
pub(super) async fn foreign_session(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let rpc = template(bench)?;
    let id = (1 + bench.lab.below(1_000_000)).to_string();
    let (a, b) = (bench.lab.canary(Side::A, "rpc"), bench.lab.canary(Side::B, "rpc"));
    let mut own = words(bench, Side::A, &id, &a);
    let calm = Twist::none();
    if let Some(failed) = open(bench.lab, bench.app, bench.by(Side::A), &mut own, &calm).await? {
        failed.whole()?;
    }
    let Some(session) = own.get("session").map(str::to_owned) else {
        return Err(Halt::Lacking("no request of open names a session: session = …".into()));
    };
    let mine = bench.ask(Side::A, rpc, &own).await?;
    let of_b = words(bench, Side::B, &id, &b);
    let theirs = bench.ask(Side::B, rpc, &of_b).await?;
    let unknown: String = session.chars().rev().collect();
    let nowhere = bench.ask(Side::B, rpc, &of_b.clone().with("session", &unknown)).await?;
    let crossed = bench.ask(Side::B, rpc, &of_b.with("session", &session)).await?;
    let still = bench.ask(Side::A, rpc, &own).await?;
    let works = |done: &Done, canary| any_holds(&done.exchanges, canary) && !failed(done);
    trial.positive(works(&mine, &a), "a works in its own session");
    trial.positive(works(&theirs, &b), "b works in its own session");
    // Where any name will do there are no sessions that could be taken over.
    trial.negative(!works(&nowhere, &b), "a session that nobody opened is refused");
    bench.attacked(trial, crossed.last()?);
    for (side, done) in [(Side::B, &crossed), (Side::A, &still)] {
        if let Some((seen, at)) = bench.foreign(trial, side, &done.exchanges) {
            trial.leaked("the other's text in a session", &seen, &[crossed.last()?, at]);
        }
    }
    if works(&crossed, &b) && !works(&nowhere, &b) {
        trial.leak("B works in A's session", &[mine.last()?, crossed.last()?]);
    }
    trial.summary("A's session is refused to B");
    Ok(())
}

/// It was refused, in whichever of the two ways.
fn failed(done: &Done) -> bool {
    let documents = done.exchanges.last().map(documents).unwrap_or_default();
    !done.exchanges.last().is_some_and(Exchange::accepted)
        || documents.iter().any(|document| document.get("error").is_some_and(|is| !is.is_null()))
}
