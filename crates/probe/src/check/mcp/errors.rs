//! Errors: what one says of another's record, and whether it is kept for somebody else.

use serde_json::{Value, json};

use super::{
    super::objects::{Looks, Seen, absent, compared},
    bench::{Bench, Own},
};
use crate::{
    canary::Side,
    drive::{
        app::told,
        mcp::{Message, Way, denied},
    },
    place::Planted,
    verdict::{Halt, Strength, Trial},
    wire::Exchange,
};

/// Arguments that make a call fail late, if it does not look at whose a record is first.
fn wrong() -> [(&'static str, Value); 4] {
    [
        ("debug", json!(true)),
        ("limit", json!({ "nothing": "such" })),
        ("version", json!("999999999")),
        ("format", json!(["no", "such", "format"])),
    ]
}

/// What a call for another's record is told: nothing of it, and no more than of one that is not
/// there.
pub(super) async fn quoting(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = bench.both().await?;
    let (mut opened, mut looks, mut asked, mut errors) = (false, Looks::Alike, 0, 0);
    for way in bench.ways() {
        bench.each_its_own(trial, &way, (&a, &b)).await?;
        let missing = [absent(bench.lab, &a.planted), absent(bench.lab, &a.planted)];
        let (mut foreign, mut nothing) = (Vec::new(), Vec::new());
        for missing in &missing {
            let read = bench.read(trial, &way, (Side::B, &a)).await?;
            errors += usize::from(denied(&read));
            opened |= quoted(bench, trial, (&way, &a), &read);
            foreign.push(Seen::of(read, &a.planted));
            nothing.push(Seen::of(none(bench, trial, &way, missing).await?, missing));
        }
        asked += 1;
        if !opened {
            looks = looks.max(compared(trial, way.name(), &foreign, &nothing));
        }
        for message in failing(bench, &way, &a)? {
            let exchange = bench.say(bench.by(Side::B), &message).await?;
            errors += usize::from(denied(&exchange));
            asked += 1;
            opened |= quoted(bench, trial, (&way, &a), &exchange);
        }
    }
    trial.positive(errors > 0, format!("{errors} of B's calls were answered with an error"));
    if !opened && looks == Looks::Unlike {
        trial.strength(Strength::Metadata);
    }
    trial.summary(format!("{asked} calls for another's record, {errors} errors, nothing in them"));
    Ok(())
}

fn quoted(
    bench: &Bench<'_>,
    trial: &mut Trial,
    (way, a): (&Way, &Own),
    exchange: &Exchange,
) -> bool {
    let what = match denied(exchange) {
        true => format!("the error of {} quotes A's record to B", way.name()),
        false => format!("B got A's record from {}", way.name()),
    };
    bench.attacked(trial, (a, &what), &[&a.planted.exchange, exchange])
}

/// B asks for what is not there.
async fn none(
    bench: &Bench<'_>,
    trial: &mut Trial,
    way: &Way,
    missing: &Planted,
) -> Result<Exchange, Halt> {
    let words = crate::drive::app::Words::of(bench.lab, bench.by(Side::B));
    let message = bench.mcp.asking(way, &words.with_all(&missing.handles))?;
    let exchange = bench.say(bench.by(Side::B), &message).await?;
    bench.pass(trial, &exchange);
    Ok(exchange)
}

/// The same call with something wrong besides.
fn failing(bench: &Bench<'_>, way: &Way, a: &Own) -> Result<Vec<Message>, Halt> {
    let message = bench.asking(way, (Side::B, a))?;
    let Way::Tool(call) = way else { return Ok(Vec::new()) };
    let wrong = wrong().into_iter();
    let mut all: Vec<Message> =
        wrong.map(|(name, value)| message.clone().argument(name, value)).collect();
    // Everything else that the call has, as something that it cannot be.
    let arguments = call.arguments.as_ref().and_then(Value::as_object);
    for (name, _) in arguments.into_iter().flatten().filter(|(_, value)| *value != "{id}") {
        all.push(message.clone().argument(name, json!({ "nothing": ["such"] })));
        all.push(message.clone().argument(name, Value::Null));
    }
    Ok(all)
}

/// A call that fails, with what it failed on in the error, and then the same of the other tenant.
pub(super) async fn kept(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let Some(fail) = &bench.mcp.server.fail else {
        return Err(Halt::Lacking(
            "name a call whose error quotes data: fail = { tool = … }".into(),
        ));
    };
    let (a, b) = bench.both().await?;
    let failed = bench.call(bench.by(Side::A), fail, &bench.words(Side::A, &a)).await?;
    bench.pass(trial, &failed);
    let quotes = denied(&failed) && a.seen_in(&failed).is_some();
    let note = match quotes {
        true => format!("the error of {} quotes what it failed on", fail.tool),
        false => format!("{} as A: {}", fail.tool, told(&failed)),
    };
    trial.positive(quotes, note);
    for _ in 0..2 {
        let again = bench.call(bench.by(Side::B), fail, &bench.words(Side::B, &b)).await?;
        bench.attacked(trial, (&a, "B got the error of A's call"), &[&failed, &again]);
    }
    let again = bench.call(bench.by(Side::A), fail, &bench.words(Side::A, &a)).await?;
    bench.attacked(trial, (&b, "A got the error of B's call"), &[&again]);
    trial.summary("each its own error");
    Ok(())
}
