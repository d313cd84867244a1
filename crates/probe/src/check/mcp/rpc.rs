//! JSON-RPC ids that two callers have alike, at the same time and one after the other.

use serde_json::{Value, json};

use super::bench::{Bench, Own};
use crate::{
    canary::Side,
    drive::{app::told, mcp::answers},
    lab::Caller,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// Equal ids at the same moment, many times: each gets the answer to what it asked.
pub(super) async fn same_ids(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = bench.both().await?;
    let way = bench.way()?;
    bench.each_its_own(trial, &way, (&a, &b)).await?;
    let rounds =
        if bench.lab.options.dry_run { 4 } else { bench.lab.options.depth.races().min(250) };
    let first = bench.lab.below(1_000_000);
    let mut own = [0_usize; 2];
    for round in 0..rounds {
        // Clients count, from 1 most of them; some name theirs.
        let id = match round % 3 {
            0 => json!(first + round),
            1 => json!(format!("request-{}", first + round)),
            _ => json!(1 + round / 3),
        };
        let meta = json!({ "progressToken": id });
        let message = |own: &Own| -> Result<_, Halt> {
            let message = bench.asking(&way, (own.side, own))?;
            Ok(message.id(id.clone()).param("_meta", meta.clone()))
        };
        let (of_a, of_b) = (message(&a)?, message(&b)?);
        let (to_a, to_b) =
            tokio::join!(bench.say(bench.by(Side::A), &of_a), bench.say(bench.by(Side::B), &of_b),);
        for (at, (mine, other, exchange)) in
            [(&a, &b, to_a?), (&b, &a, to_b?)].into_iter().enumerate()
        {
            let what = format!("{} got the other's answer", mine.side.name().to_uppercase());
            if got(bench, trial, (other, &what), &exchange) {
                return Ok(());
            }
            own[at] += usize::from(mine.seen_in(&exchange).is_some());
            if answers(&exchange).is_some_and(|back| back != id) {
                trial.doubt("an answer names another id than was asked");
            }
        }
    }
    // Some may fail under load; those that say nothing of themselves tell nothing.
    let enough = own.iter().all(|own| own * 10 >= rounds * 9);
    let note = format!("{} and {} of {rounds} answers were one's own", own[0], own[1]);
    trial.positive(enough, note);
    trial.summary(format!("{rounds} pairs with equal ids"));
    Ok(())
}

/// As an attack, but for what failed under load.
fn got(
    bench: &Bench<'_>,
    trial: &mut Trial,
    (other, what): (&Own, &str),
    exchange: &Exchange,
) -> bool {
    if !exchange.inconclusive() {
        trial.attacked();
    }
    match bench.foreign(trial, other, exchange) {
        Some(seen) => {
            trial.leaked(what, &seen, &[exchange]);
            true
        }
        None => false,
    }
}

/// One id, three writes: two runs of A's, and one of B's. Each is done, and none is another's.
pub(super) async fn same_id_later(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let way = bench.way()?;
    let id = json!(1 + bench.lab.below(1_000_000));
    // A session of its own each, where there are sessions: in one, ids are not to be used twice.
    let caller =
        |side: Side, label: &str| Caller { label: label.to_owned(), ..bench.by(side).clone() };
    let (one, two, three) =
        (caller(Side::A, "a"), caller(Side::A, "a, in the next run"), caller(Side::B, "b"));
    let first = bench.left(&one, Some(id.clone())).await?;
    let second = bench.left(&two, Some(id.clone())).await;
    let third = bench.left(&three, Some(id)).await;
    // What B's write is like with an id that nobody had.
    let alone =
        bench.left(&three, Some(Value::from(2_000_000 + bench.lab.below(1_000_000)))).await?;
    for (own, what) in [(&first, "a's write is done"), (&alone, "b's, with an id of its own, too")]
    {
        let exchange = bench.read(trial, &way, (own.side, own)).await?;
        trial.positive(own.seen_in(&exchange).is_some(), what);
    }
    for (written, whose) in [(second, "the same tenant's next run"), (third, "B")] {
        let written = match written {
            Ok(written) => written,
            Err(Halt::Failed(why)) => {
                trial.doubt(format!("a second write with the same id: {why}"));
                continue;
            }
            Err(halt) => return Err(halt),
        };
        let proof = [&first.planted.exchange, &written.planted.exchange];
        if first.id() == written.id() || first.named_in(&written.planted.exchange) {
            trial.attacked();
            trial.leak(format!("{whose} got the result of an earlier write"), &proof);
            continue;
        }
        let exchange = bench.read(trial, &way, (written.side, &written)).await?;
        match (written.seen_in(&exchange), exchange.inconclusive()) {
            (Some(_), _) => trial.attacked(),
            (None, true) => trial.doubt(told(&exchange)),
            (None, false) => {
                trial.attacked();
                let proof = [proof[0], proof[1], &exchange];
                trial.leak(format!("{whose}: its write was not done"), &proof);
            }
        }
    }
    trial.summary("one id, three writes, three results");
    Ok(())
}
