//! A's keys by their names, which anybody may guess: by every command that reads, copies, moves or
//! changes one.

use super::{super::left::Thing, Hand};
use crate::{
    canary::Side,
    drive::redis::{integer, key, told},
    place::Twist,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// Reads a key that it does not declare, and one that it does.
const UNDECLARED: &str = "return redis.call('GET', ARGV[1])";
const DECLARED: &str = "return redis.call('GET', KEYS[1])";

/// A few commands on one connection of B's.
type Attack = (&'static str, Vec<Vec<String>>);

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

/// What shows a value. `own` is a key of B's, `spare` a name of B's where nothing is.
fn readings(theirs: &str, own: &str, spare: &str) -> Vec<Attack> {
    let (head, tail) = theirs.split_at(theirs.len().saturating_sub(4));
    let pattern = format!("{head}*");
    let one = |command: &[&str]| vec![words(command)];
    vec![
        ("GET", one(&["GET", theirs])),
        ("GETRANGE", one(&["GETRANGE", theirs, "0", "-1"])),
        ("MGET", one(&["MGET", own, theirs])),
        ("GETEX", one(&["GETEX", theirs])),
        ("DUMP", one(&["DUMP", theirs])),
        ("EVAL, undeclared", one(&["EVAL", UNDECLARED, "0", theirs])),
        ("EVAL", one(&["EVAL", DECLARED, "1", theirs])),
        ("EVAL_RO", one(&["EVAL_RO", UNDECLARED, "0", theirs])),
        ("MULTI", vec![words(&["MULTI"]), words(&["GET", theirs]), words(&["EXEC"])]),
        (
            "COPY",
            vec![
                words(&["COPY", theirs, spare, "REPLACE"]),
                words(&["GET", spare]),
                words(&["DEL", spare]),
            ],
        ),
        (
            "SORT … GET",
            vec![
                words(&["RPUSH", spare, tail]),
                words(&["EXPIRE", spare, "60"]),
                words(&["SORT", spare, "BY", "nosort", "GET", &pattern]),
                words(&["DEL", spare]),
            ],
        ),
    ]
}

/// What changes or takes a value; after each of these A looks whether it is still there.
fn changes(theirs: &str, spare: &str) -> Vec<Attack> {
    let one = |command: &[&str]| vec![words(command)];
    vec![
        ("APPEND", one(&["APPEND", theirs, "x"])),
        ("SETRANGE", one(&["SETRANGE", theirs, "0", "x"])),
        ("SET", one(&["SET", theirs, "x", "EX", "900"])),
        ("GETSET", one(&["GETSET", theirs, "x"])),
        (
            "EVAL, writing",
            one(&["EVAL", "return redis.call('SET', ARGV[1], 'x', 'EX', 900)", "0", theirs]),
        ),
        (
            "RENAME",
            vec![words(&["RENAME", theirs, spare]), words(&["GET", spare]), words(&["DEL", spare])],
        ),
        ("GETDEL", one(&["GETDEL", theirs])),
        ("UNLINK", one(&["UNLINK", theirs])),
        ("DEL", one(&["DEL", theirs])),
    ]
}

/// What tells whether there is a key.
const EXISTENCE: &[&[&str]] = &[
    &["EXISTS"],
    &["TYPE"],
    &["STRLEN"],
    &["TTL"],
    &["OBJECT", "ENCODING"],
    &["MEMORY", "USAGE"],
    &["TOUCH"],
];

pub(super) async fn reach(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let (mut a, b) = hand.both(trial).await?;
    let spare = hand.redis.key(Side::B, &hand.lab().canary(Side::B, "a spare key").text);
    for (name, commands) in readings(key(&a.planted), key(&b.planted), &spare) {
        try_one(hand, trial, &a, (name, &commands)).await?;
    }
    stream(hand, trial).await?;
    existence(hand, trial, &a).await?;
    watched(hand, trial, &a).await?;
    for at in 0..changes("", "").len() {
        // Named anew each time: where the last one took A's key, A has another one.
        let these = changes(key(&a.planted), &spare).into_iter().nth(at);
        let Some((name, commands)) = these else { break };
        let proof = try_one(hand, trial, &a, (name, &commands)).await?;
        let owner = hand.caller(Side::A);
        let after = hand.left.read(trial, owner, &a.planted, &Twist::none()).await?;
        if after.inconclusive() {
            trial.doubt("A's key could not be read after an attack");
        } else if !unchanged(&after, &a) {
            let mut proof: Vec<_> = proof.iter().collect();
            proof.push(&after);
            hand.exact(trial, format!("B changed A's key by {name}"), &proof);
            hand.left.remove(Side::A, &a.planted).await?;
            a = hand.left.plant(Side::A).await?;
        }
    }
    trial.summary("A's keys: not read, copied, changed or told");
    Ok(())
}

/// Byte for byte what A left.
fn unchanged(after: &Exchange, left: &Thing) -> bool {
    let reply = format!("${}\r\n{}\r\n", left.planted.text.len(), left.planted.text);
    let body = after.answer().map(|answer| &answer.body[..]).unwrap_or_default();
    // A dry run answers nothing of the kind.
    body == reply.as_bytes() || body == b"+OK\r\n"
}

/// The commands of one attack, in their order; each reply is looked at.
async fn try_one(
    hand: &mut Hand<'_, '_>,
    trial: &mut Trial,
    theirs: &Thing,
    (name, commands): (&str, &[Vec<String>]),
) -> Result<Vec<Exchange>, Halt> {
    let mut session = hand.session(Side::B).await?;
    let mut proof = vec![theirs.planted.exchange.clone()];
    for command in commands {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        proof.push(session.ask(hand.lab(), &command).await?);
        let shown: Vec<&Exchange> = proof.iter().collect();
        hand.look(trial, &format!("B read A's key by {name}"), &shown);
    }
    Ok(proof)
}

/// A key of another kind, for whoever guards strings alone.
async fn stream(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let (lab, owner) = (hand.lab(), hand.caller(Side::A));
    let name = hand.redis.key(Side::A, &lab.canary(Side::A, "a stream's name").text);
    let canary = lab.canary(Side::A, "a stream");
    let by_hand = format!("as a: DEL {name}");
    let added = hand.redis.ask(lab, owner, &["XADD", &name, "*", "text", &canary.text]).await?;
    if !added.accepted() {
        return Ok(());
    }
    let mark = lab.ledger.made("keys", &format!("the stream {name}"), &by_hand);
    let kept = hand.redis.ask(lab, owner, &["EXPIRE", &name, "900"]).await?;
    let own = hand.redis.ask(lab, owner, &["XRANGE", &name, "-", "+"]).await?;
    if own.accepted() && kept.accepted() {
        trial.positive(canary.seen_in(&own).is_some(), "a reads its own stream");
        for command in [
            &["XRANGE", &name, "-", "+"][..],
            &["XREAD", "COUNT", "9", "STREAMS", &name, "0"],
            &["XINFO", "STREAM", &name, "FULL"],
        ] {
            let read = hand.redis.ask(lab, hand.caller(Side::B), command).await?;
            hand.look(trial, &format!("B read A's stream by {}", command[0]), &[&added, &read]);
        }
    }
    let removed = hand.redis.ask(lab, owner, &["DEL", &name]).await?;
    match removed.accepted() {
        true => lab.ledger.removed(mark, integer(&removed) == Some(1)),
        false => lab.ledger.failed(mark, told(&removed)),
    }
    Ok(())
}

/// Whether a key of A's that is there looks other than one that is not.
async fn existence(hand: &mut Hand<'_, '_>, trial: &mut Trial, a: &Thing) -> Result<(), Halt> {
    let lab = hand.lab();
    let by = hand.caller(Side::B);
    let none = hand.redis.key(Side::A, &lab.canary(Side::A, "no key").text);
    for verb in EXISTENCE {
        let (there, not) = ([*verb, &[key(&a.planted)]].concat(), [*verb, &[&none]].concat());
        let is = hand.redis.ask(lab, by, &there).await?;
        let is_not = hand.redis.ask(lab, by, &not).await?;
        let body = |exchange: &Exchange| exchange.answer().map(|answer| answer.body.clone());
        if is.inconclusive() || is_not.inconclusive() {
            trial.doubt(format!("{} was not answered", there[0]));
            continue;
        }
        trial.attacked();
        if body(&is) != body(&is_not) {
            let what = format!("{} tells B whether a key of A's is there", there[0]);
            hand.metadata(trial, what, &[&is_not, &is]);
        }
    }
    Ok(())
}

/// Watching a key tells when its owner writes.
async fn watched(hand: &mut Hand<'_, '_>, trial: &mut Trial, a: &Thing) -> Result<(), Halt> {
    let mut session = hand.session(Side::B).await?;
    let watching = session.ask(hand.lab(), &["WATCH", key(&a.planted)]).await?;
    if watching.accepted() {
        let owner = hand.caller(Side::A);
        let again = ["SET", key(&a.planted), &a.planted.text, "EX", "900"];
        let written = hand.redis.ask(hand.lab(), owner, &again).await?;
        session.ask(hand.lab(), &["MULTI"]).await?;
        session.ask(hand.lab(), &["PING"]).await?;
        let ended = session.ask(hand.lab(), &["EXEC"]).await?;
        // Nil: not carried out, because what is watched was written.
        if written.accepted() && ended.status() == 404 && integer(&ended).is_none() {
            let what = "WATCH tells B when A writes";
            hand.metadata(trial, what, &[&watching, &written, &ended]);
        }
    }
    trial.attacked();
    Ok(())
}
