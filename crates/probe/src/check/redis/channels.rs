//! What a server says without being asked: messages, notifications, invalidations.

use std::time::Duration;

use super::{Hand, OURS};
use crate::{
    canary::Side,
    drive::redis::Session,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// So long B listens for what comes within a millisecond.
const LISTEN: Duration = Duration::from_millis(250);

/// B listens while A works.
pub(super) async fn overhear(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    tracking(hand, trial).await?;
    notifications(hand, trial).await?;
    messages(hand, trial).await
}

/// What B heard, until A's canary is in it or the time is over.
async fn heard(session: &mut Session, line: &str, text: &str) -> Exchange {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    session.listen(line, LISTEN, holds).await
}

/// A client-side cache is told which keys changed: under a prefix, whosever these are.
async fn tracking(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let mut session = hand.session(Side::B).await?;
    if !session.ask(hand.lab(), &["HELLO", "3"]).await?.accepted() {
        return Ok(());
    }
    let prefix = hand.redis.key(Side::A, "");
    let command = ["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", &prefix];
    let asked = session.ask(hand.lab(), &command).await?;
    hand.look(trial, "CLIENT TRACKING shows B the names of A's keys", &[&asked]);
    if asked.accepted() {
        let written = hand.left.plant(Side::A).await?;
        let name = written.planted.handles.first().map(|(_, key)| key.clone()).unwrap_or_default();
        let told = heard(&mut session, "(told of changes)", &name).await;
        let what = "CLIENT TRACKING shows B the names of A's keys";
        hand.look(trial, what, &[&asked, &written.planted.exchange, &told]);
    }
    Ok(())
}

/// Keyspace notifications, where they are on.
async fn notifications(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let mut session = hand.session(Side::B).await?;
    let pattern = format!("__key*__:{OURS}");
    let asked = session.ask(hand.lab(), &["PSUBSCRIBE", &pattern]).await?;
    hand.look(trial, "notifications show B the names of A's keys", &[&asked]);
    if asked.accepted() {
        let written = hand.left.plant(Side::A).await?;
        let name = written.planted.handles.first().map(|(_, key)| key.clone()).unwrap_or_default();
        let told = heard(&mut session, "(notified)", &name).await;
        let what = "notifications show B the names of A's keys";
        hand.look(trial, what, &[&asked, &written.planted.exchange, &told]);
    }
    Ok(())
}

/// A's channel: who may listen to it, and who is told that it is there.
async fn messages(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let lab = hand.lab();
    let channel = hand.redis.key(Side::A, &lab.canary(Side::A, "a channel's name").text);
    let mut own = hand.session(Side::A).await?;
    let subscribed = own.ask(lab, &["SUBSCRIBE", &channel]).await?;
    let by = hand.caller(Side::B);
    if subscribed.accepted() {
        let listed = hand.redis.ask(lab, by, &["PUBSUB", "CHANNELS", OURS]).await?;
        let what = "PUBSUB CHANNELS shows B the names of A's channels";
        hand.look(trial, what, &[&subscribed, &listed]);
    }
    for command in [["PSUBSCRIBE", OURS], ["SUBSCRIBE", &channel]] {
        let mut session = hand.session(Side::B).await?;
        let asked = session.ask(lab, &command).await?;
        hand.look(trial, "B hears what A publishes", &[&asked]);
        let canary = lab.canary(Side::A, "a message");
        if !asked.accepted() {
            continue;
        }
        let publish = ["PUBLISH", &channel, &canary.text];
        let published = hand.redis.ask(lab, hand.caller(Side::A), &publish).await?;
        if published.accepted() {
            let told = heard(&mut session, "(a message)", &canary.text).await;
            hand.look(trial, "B hears what A publishes", &[&asked, &published, &told]);
        }
    }
    Ok(())
}
