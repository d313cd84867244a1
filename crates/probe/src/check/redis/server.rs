//! Commands that show what others do.

use std::time::Duration;

use super::Hand;
use crate::{
    canary::Side,
    drive::redis::{key, told, value},
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// `MONITOR` costs a server half of its throughput: for a moment only.
const MOMENT: Duration = Duration::from_millis(250);

/// Whose answer is about everybody, by their nature.
const OF_ALL: &[&[&str]] = &[
    &["SLOWLOG", "GET", "32"],
    &["CLIENT", "LIST"],
    &["ACL", "LOG"],
    &["ACL", "LIST"],
    &["CONFIG", "GET", "maxmemory"],
    &["LATENCY", "LATEST"],
    &["FUNCTION", "LIST"],
    &["INFO", "commandstats"],
    &["INFO", "clients"],
];

/// Of these it takes a canary to show anything: what they tell is the server's, not a tenant's.
const HARMLESS: &[&str] = &["LATENCY", "FUNCTION", "INFO"];

pub(super) async fn watch(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, _) = hand.both(trial).await?;
    let lab = hand.lab();
    monitor(hand, trial).await?;
    // What A does, and how it calls itself, stands in the one or the other list.
    let mut own = hand.session(Side::A).await?;
    let name = lab.canary(Side::A, "a connection's name");
    let named = own.ask(lab, &["CLIENT", "SETNAME", &name.text]).await?;
    own.ask(lab, &["GET", key(&a.planted)]).await?;
    let by = hand.caller(Side::B);
    let mut refused = 0;
    for command in OF_ALL {
        let shown = hand.redis.ask(lab, by, command).await?;
        let what = format!("{} {} shows B what A does", command[0], command[1]);
        let leaked = hand.look(trial, &what, &[&named, &shown]);
        refused += usize::from(!shown.accepted());
        if leaked || !shown.accepted() || HARMLESS.contains(&command[0]) {
            continue;
        }
        let what = format!("B may ask {} {}", command[0], command[1]);
        match empty(&shown) {
            true => trial.doubt(format!("{what}; it was empty")),
            false => hand.metadata(trial, what, &[&shown]),
        }
    }
    let looked = hand.redis.ask(lab, by, &["DEBUG", "OBJECT", key(&a.planted)]).await?;
    hand.look(trial, "DEBUG shows B what is A's", &[&looked]);
    if looked.accepted() {
        hand.metadata(trial, "B may ask DEBUG OBJECT of A's key", &[&looked]);
    }
    trial.summary(format!("MONITOR and {refused} of {} refused", OF_ALL.len()));
    Ok(())
}

/// Nothing in it.
fn empty(exchange: &Exchange) -> bool {
    match value(exchange) {
        redis::Value::Array(each) => each.is_empty(),
        redis::Value::Map(each) => each.is_empty(),
        redis::Value::Nil => true,
        _ => false,
    }
}

/// Every command of everybody, as it comes in.
async fn monitor(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let mut session = hand.session(Side::B).await?;
    let asked = session.ask(hand.lab(), &["MONITOR"]).await?;
    hand.look(trial, "MONITOR shows B what A does", &[&asked]);
    if !asked.accepted() {
        return Ok(());
    }
    let done = hand.left.plant(Side::A).await?;
    let text = done.canary.text.clone();
    let holds =
        move |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let heard = session.listen("(what MONITOR shows)", MOMENT, holds).await;
    let proof = [&asked, &done.planted.exchange, &heard];
    if !hand.look(trial, "MONITOR shows B what A does", &proof) {
        hand.metadata(trial, format!("B may ask MONITOR ({})", told(&heard)), &[&asked]);
    }
    Ok(())
}
