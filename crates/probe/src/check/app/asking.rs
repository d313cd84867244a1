//! Questions: the same of two tenants, one that fails, one about what was erased.

use std::time::Duration;

use super::bench::{Bench, Left, any_holds, holds};
use crate::{
    canary::Side,
    drive::app::{Done, everything, named, told, wanted},
    target::Template,
    verdict::{Halt, Trial},
};

/// How often an erasure is waited for.
const TRIES: u32 = 5;

fn note(code: &str) -> String {
    format!("The reference code of this account is {code}.")
}

fn ask<'a>(bench: &Bench<'a>) -> Result<&'a Template, Halt> {
    let ask = bench.app.ask.as_ref();
    ask.ok_or_else(|| Halt::Lacking("say how a question is asked: ask = { post = … }".into()))
}

/// Whether a question is answered with what is kept of the tenant who asks.
fn knows(trial: &mut Trial, side: Side, done: &Done, own: &Left) {
    let known = any_holds(&done.exchanges, &own.canary);
    let mut held = format!("{}'s own document is in its answer", side.name());
    if !known && let Some(refused) = done.exchanges.iter().find(|each| !each.accepted()) {
        held = told(refused);
    }
    trial.positive(known, held);
}

/// The same question of two tenants: one after the other, both ways round, and at once.
pub(super) async fn same_question(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let ask = ask(bench)?;
    let (a, b) = (bench.plant(Side::A, note).await?, bench.plant(Side::B, note).await?);
    for (first, second, mine, other) in [(Side::A, Side::B, &a, &b), (Side::B, Side::A, &b, &a)] {
        let prompt = everything();
        let before = bench.question(first, &prompt).await?;
        knows(trial, first, &before, mine);
        let after = bench.question(second, &prompt).await?;
        knows(trial, second, &after, other);
        bench.attacked(trial, after.last()?);
        judge(bench, trial, (second, &after), &before)?;
        judge(bench, trial, (first, &before), &after)?;
    }
    let prompt = everything();
    let words = (bench.asking(Side::A, ask, &prompt), bench.asking(Side::B, ask, &prompt));
    let (to_a, to_b) = bench.both(ask, (&words.0, &words.1)).await?;
    bench.attacked(trial, to_b.last()?);
    judge(bench, trial, (Side::A, &to_a), &to_b)?;
    judge(bench, trial, (Side::B, &to_b), &to_a)?;
    trial.summary("3 questions asked by both, 6 answers");
    Ok(())
}

fn judge(
    bench: &Bench<'_>,
    trial: &mut Trial,
    (side, got): (Side, &Done),
    other: &Done,
) -> Result<(), Halt> {
    if let Some((seen, at)) = bench.foreign(trial, side, &got.exchanges) {
        let (who, whose) = (side.name().to_uppercase(), side.other().name().to_uppercase());
        trial.leaked(&format!("{who} got {whose}'s answer"), &seen, &[other.last()?, at]);
    }
    Ok(())
}

/// A request that fails, with what it failed on in the error, and then the same of the other
/// tenant.
pub(super) async fn failing(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let Some(fail) = &bench.app.fail else {
        let advice = "name a request whose error quotes data: fail = { post = … }";
        return Err(Halt::Lacking(advice.into()));
    };
    let (a, b) = (bench.plant(Side::A, note).await?, bench.plant(Side::B, note).await?);
    let mut words = bench.words(Side::A).with("canary", &a.canary.text).with("prompt", "fail");
    words = words.with_all(&a.planted.handles);
    let failed = bench.ask(Side::A, fail, &words).await?;
    let quotes = any_holds(&failed.exchanges, &a.canary) && !failed.last()?.accepted();
    trial.positive(quotes, format!("the error of {} quotes what it failed on", named(fail)));
    // The very same request, but for what would give a's away.
    for _ in 0..2 {
        let mut own = words.clone().with("canary", &b.canary.text);
        own = own.with_all(&b.planted.handles);
        let again = bench.ask(Side::B, fail, &own).await?;
        match again.last()?.status() {
            0 | 429 | 503 => trial.doubt(told(again.last()?)),
            // An error is what was asked for.
            _ => trial.attacked(),
        }
        if let Some((seen, at)) = bench.foreign(trial, Side::B, &again.exchanges) {
            trial.leaked("B got the error of A's request", &seen, &[failed.last()?, at]);
        }
    }
    if let Some((seen, at)) = bench.foreign(trial, Side::A, &failed.exchanges) {
        trial.leaked("A's error holds what is B's", &seen, &[at]);
    }
    Ok(())
}

/// What was erased is not in answers any more, nor in what tools give.
pub(super) async fn erased(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let left = bench.plant(Side::A, note).await?;
    let before = bench.question(Side::A, &everything()).await?;
    knows(trial, Side::A, &before, &left);
    let removed = bench.remove(Side::A, &left).await?;
    trial.positive(removed, "it was removed");
    let mut last = None;
    for tries in 0..TRIES {
        let after = bench.question(Side::A, &everything()).await?;
        after.exchanges.iter().for_each(|exchange| bench.pass(trial, exchange));
        let still = any_holds(&after.exchanges, &left.canary);
        last = Some(after);
        if !still || bench.lab.options.dry_run {
            break;
        }
        // An index may take a while to follow.
        tokio::time::sleep(Duration::from_millis(50 << (2 * tries).min(5))).await;
    }
    if let Some(after) = &last {
        bench.attacked(trial, after.last()?);
        let seen = after.exchanges.iter().find(|exchange| holds(exchange, &left.canary));
        if let Some((exchange, seen)) = seen.and_then(|at| Some((at, left.canary.seen_in(at)?))) {
            trial.leaked("what A erased is still in answers", &seen, &[before.last()?, exchange]);
        }
    }
    for tool in &bench.app.tools {
        if !wanted(tool).iter().any(|name| name == "id") {
            continue;
        }
        let words = bench.words(Side::A).with_all(&left.planted.handles);
        let Ok(done) = bench.ask(Side::A, tool, &words).await else { continue };
        done.exchanges.iter().for_each(|exchange| bench.pass(trial, exchange));
        bench.attacked(trial, done.last()?);
        if let Some(seen) = left.canary.seen_in(done.last()?) {
            let what = format!("what A erased is still given by {}", named(tool));
            trial.leaked(&what, &seen, &[done.last()?]);
        }
    }
    Ok(())
}
