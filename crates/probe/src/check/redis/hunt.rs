//! Names and values that are shown to whoever asks for all of them.

use super::{Hand, OURS, channels};
use crate::{
    canary::Side,
    drive::redis::{integer, key, texts, value},
    run::Depth,
    target::Kind,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// Keys that one step of a scan looks at.
const STEP: &str = "1000";
/// In a database with more keys than this `KEYS` is not asked: it keeps everybody waiting.
const SMALL: i64 = 50_000;
/// How often what a database counts is measured.
const COUNTS: usize = 3;

/// Steps of a scan, and keys under the pattern whose values are looked into.
const fn bounds(depth: Depth) -> (usize, usize) {
    match depth {
        Depth::Quick => (100, 100),
        Depth::Default => (400, 400),
        Depth::Deep => (2_000, 5_000),
    }
}

pub(super) async fn hunt(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = hand.both(trial).await?;
    let planted = a.planted.exchange.clone();
    let scanned = scan(hand, trial, OURS, &planted).await?;
    if scanned.allowed && !scanned.names.iter().any(|name| name == key(&b.planted)) {
        trial.doubt(format!("B's own key was not found in {} steps of SCAN", scanned.steps));
    }
    let by = hand.caller(Side::B);
    let script = "return redis.call('SCAN', '0', 'MATCH', ARGV[1], 'COUNT', '1000')";
    let mut listing: Vec<Vec<&str>> = vec![vec!["EVAL", script, "0", OURS]];
    let size = hand.redis.ask(hand.lab(), by, &["DBSIZE"]).await?;
    if integer(&size).is_some_and(|keys| keys <= SMALL) {
        listing.push(vec!["KEYS", OURS]);
    }
    // A name by chance: in a small database it is A's before long.
    listing.extend(std::iter::repeat_n(vec!["RANDOMKEY"], 12));
    for command in listing {
        let listed = hand.redis.ask(hand.lab(), by, &command).await?;
        let what = format!("{} shows B the names of A's keys", command[0]);
        if hand.look(trial, &what, &[&planted, &listed]) && command[0] == "RANDOMKEY" {
            break;
        }
    }
    counts(hand, trial).await?;
    channels::overhear(hand, trial).await?;
    if let Kind::Redis { pattern: Some(pattern) } = &hand.lab().target.kind {
        let looked = values(hand, trial, pattern, &planted).await?;
        trial.summary(format!("no names; {looked} values under {pattern}, none A's"));
        return Ok(());
    }
    trial.summary(match scanned.allowed {
        true => "listings show B its own keys alone",
        false => "B may list no keys",
    });
    Ok(())
}

/// What a scan showed.
struct Scanned {
    allowed: bool,
    names: Vec<String>,
    steps: usize,
}

/// Goes through the names that match, as B, and looks at each reply.
async fn scan(
    hand: &mut Hand<'_, '_>,
    trial: &mut Trial,
    pattern: &str,
    planted: &Exchange,
) -> Result<Scanned, Halt> {
    let (most, _) = bounds(hand.lab().options.depth);
    let mut scanned = Scanned { allowed: false, names: Vec::new(), steps: 0 };
    let mut cursor = "0".to_owned();
    loop {
        let command = ["SCAN", &cursor, "MATCH", pattern, "COUNT", STEP];
        let step = hand.redis.ask(hand.lab(), hand.caller(Side::B), &command).await?;
        scanned.steps += 1;
        let leaked = hand.look(trial, "SCAN shows B the names of A's keys", &[planted, &step]);
        let redis::Value::Array(parts) = value(&step) else { return Ok(scanned) };
        let [next, names] = &parts[..] else { return Ok(scanned) };
        scanned.allowed = true;
        scanned.names.extend(texts(names));
        cursor = texts(next).into_iter().next().unwrap_or_default();
        if leaked || cursor == "0" || cursor.is_empty() || scanned.steps >= most {
            return Ok(scanned);
        }
    }
}

/// Values under the pattern of the target file: whatever canary of A's this run has planted, here
/// or at another target, must not be among what B can read.
async fn values(
    hand: &mut Hand<'_, '_>,
    trial: &mut Trial,
    pattern: &str,
    planted: &Exchange,
) -> Result<usize, Halt> {
    let (_, most) = bounds(hand.lab().options.depth);
    let scanned = scan(hand, trial, pattern, planted).await?;
    let by = hand.caller(Side::B);
    let mut looked = 0;
    for name in scanned.names.iter().take(most) {
        let kind = hand.redis.ask(hand.lab(), by, &["TYPE", name]).await?;
        let kind = texts(&value(&kind)).into_iter().next().unwrap_or_default();
        let command: &[&str] = match kind.as_str() {
            "string" => &["GETRANGE", name, "0", "65535"],
            "hash" => &["HGETALL", name],
            "list" => &["LRANGE", name, "0", "99"],
            "set" => &["SRANDMEMBER", name, "100"],
            "zset" => &["ZRANGE", name, "0", "99"],
            "stream" => &["XRANGE", name, "-", "+", "COUNT", "100"],
            _ => continue,
        };
        let read = hand.redis.ask(hand.lab(), by, command).await?;
        looked += usize::from(read.accepted());
        hand.look(trial, &format!("B reads A's text under {pattern}"), &[&read]);
    }
    Ok(looked)
}

/// How many keys the database has, as B is told, moves as A comes and goes.
async fn counts(hand: &mut Hand<'_, '_>, trial: &mut Trial) -> Result<(), Halt> {
    let by = hand.caller(Side::B);
    for command in [&["DBSIZE"][..], &["INFO", "keyspace"]] {
        let mut moved = 0;
        let mut proof = Vec::new();
        for _ in 0..COUNTS {
            let before = hand.redis.ask(hand.lab(), by, command).await?;
            let Some(first) = keys(&before) else { break };
            let mut things = Vec::new();
            for _ in 0..3 {
                things.push(hand.left.plant(Side::A).await?);
            }
            let between = hand.redis.ask(hand.lab(), by, command).await?;
            for thing in things {
                hand.left.remove(Side::A, &thing.planted).await?;
            }
            let after = hand.redis.ask(hand.lab(), by, command).await?;
            trial.attacked();
            moved += usize::from(keys(&between) == Some(first + 3) && keys(&after) == Some(first));
            proof = vec![before, between, after];
        }
        if moved * 2 > COUNTS {
            let proof: Vec<&Exchange> = proof.iter().collect();
            hand.metadata(trial, format!("{} counts A's keys for B", command[0]), &proof);
        }
    }
    Ok(())
}

/// How many keys there are: a number, or `db0:keys=12,expires=…`, of all databases.
fn keys(exchange: &Exchange) -> Option<i64> {
    if let Some(number) = integer(exchange) {
        return Some(number);
    }
    let text = texts(&value(exchange)).join("");
    let counts = text.split("keys=").skip(1).filter_map(|rest| {
        rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<i64>().ok()
    });
    counts.reduce(|sum, next| sum + next)
}
