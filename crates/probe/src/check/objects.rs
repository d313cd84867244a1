//! What has an id: another's ids, ids of the caller's choice, HTTP caches, erasing.

use std::{cell::Cell, time::Duration};

use super::left::{self, Left, Thing, outcome};
use crate::{
    canary::Side,
    catalog::{CALLER_ID, Check, ERASURE, OBJECT_ID, SHARED_HTTP_CACHE},
    drive::app::naming,
    lab::Lab,
    place::{Place, Planted, Twist},
    sheet::Sheet,
    verdict::{Halt, Strength, Trial},
    wire::Exchange,
};

/// What is done here.
pub(super) static CHECKS: [&Check; 4] = [&OBJECT_ID, &CALLER_ID, &SHARED_HTTP_CACHE, &ERASURE];

pub(super) async fn all(place: &dyn Place, lab: &Lab, sheet: &mut Sheet<'_>) {
    let name = place.name();
    // Nothing keeps what is asked for by POST; until it is known, it may be a GET.
    let by_get = Cell::new(true);
    if place.remembers() {
        sheet
            .run(&OBJECT_ID, name, async |trial| {
                left::at(place, lab, trial, async |left, trial| {
                    object_id(left, trial, &by_get).await
                })
                .await
            })
            .await;
    }
    if place.takes_headers() {
        sheet
            .run(&CALLER_ID, name, async |trial| left::at(place, lab, trial, caller_id).await)
            .await;
        if place.remembers() && by_get.get() {
            sheet
                .run(&SHARED_HTTP_CACHE, name, async |trial| {
                    left::at(place, lab, trial, shared_cache).await
                })
                .await;
        }
    }
    if place.remembers() {
        sheet.run(&ERASURE, name, async |trial| left::at(place, lab, trial, erasure).await).await;
    }
}

async fn object_id(
    left: &mut Left<'_>,
    trial: &mut Trial,
    by_get: &Cell<bool>,
) -> Result<(), Halt> {
    let (a, b) = (left.plant(Side::A).await?, left.plant(Side::B).await?);
    let own = left.found(trial, Side::A, &a).await?;
    by_get.set(own.line.starts_with("GET "));
    if !left.place.by_id() {
        // Whoever asks a question gets what is its own: no id was ever asked for.
        return Err(Halt::Lacking("add the route that reads it to `objects`".into()));
    }
    left.found(trial, Side::B, &b).await?;
    let kept = left.plant(Side::A).await?;

    let other = left.lab.caller(Side::B);
    let missing = [absent(left.lab, &a.planted), absent(left.lab, &a.planted)];
    let (mut opened, mut looks) = (false, Looks::Alike);
    // As B asks for its own; and where the file says how a tenant is named, by A's name, too.
    let ways = [
        Some(("reading", "B read what is A's", Twist::none())),
        naming(left.lab, Side::A)
            .map(|twist| ("reading by A's name", "B read what is A's by A's name", twist)),
    ];
    for (what, leak, twist) in ways.into_iter().flatten() {
        // Twice each: what differs from itself tells nothing.
        let (mut foreign, mut nothing) = (Vec::new(), Vec::new());
        for missing in &missing {
            let read = left.read(trial, other, &a.planted, &twist).await?;
            let proof = [&a.planted.exchange, &read];
            opened |= left.attacked(trial, (Side::B, leak), &proof);
            foreign.push(Seen::of(read, &a.planted));
            let read = left.read(trial, other, missing, &twist).await?;
            nothing.push(Seen::of(read, missing));
        }
        if !opened {
            looks = looks.max(compared(trial, what, &foreign, &nothing));
        }
    }

    let (removed, taken) = removing(left, trial, (&a, &kept), &missing).await?;
    opened |= removed;
    looks = looks.max(taken);
    if !opened && looks == Looks::Unlike {
        trial.strength(Strength::Metadata);
    }
    trial.summary(match looks {
        Looks::AlikeByStatus => {
            "a foreign id has the status of a missing one; bodies are never the same twice"
        }
        _ => "a foreign id is answered as a missing one",
    });
    Ok(())
}

/// B removes what is A's: whether it is gone then, and how the answers look beside none.
/// What it holds afterwards only A can say.
async fn removing(
    left: &mut Left<'_>,
    trial: &mut Trial,
    (a, kept): (&Thing, &Thing),
    missing: &[Planted],
) -> Result<(bool, Looks), Halt> {
    let other = left.lab.caller(Side::B);
    let Some(removed) = left.place.remove(left.lab, other, &a.planted).await? else {
        return Ok((false, Looks::Alike));
    };
    let owner = left.lab.caller(Side::A);
    let after = left.read(trial, owner, &a.planted, &Twist::none()).await?;
    match removed.inconclusive() {
        true => trial.doubt(format!("B's removal was {}", outcome(&removed))),
        false => trial.attacked(),
    }
    let mut opened = false;
    if !left.lab.foreign(Side::A, &after).is_empty() {
        trial.leak("what is A's holds B's text now", &[&removed, &after]);
        opened = true;
    } else if !left.own(&after, &a.canary) && lost(left, trial, (a, kept), &after).await? {
        trial.leak("B removed what is A's", &[&a.planted.exchange, &removed, &after]);
        left.gone(&a.planted);
        opened = true;
    }
    if opened {
        return Ok((true, Looks::Alike));
    }
    // Twice each, as in reading.
    let mut taken = vec![Seen::of(removed, &a.planted)];
    if let Some(again) = left.place.remove(left.lab, other, &a.planted).await? {
        taken.push(Seen::of(again, &a.planted));
    }
    let mut absent = Vec::new();
    for missing in missing {
        if let Some(none) = left.place.remove(left.lab, other, missing).await? {
            absent.push(Seen::of(none, missing));
        }
    }
    Ok((false, compared(trial, "removing", &taken, &absent)))
}

/// Whether an answer to the owner says that there is nothing: 404, 410, or a success without it.
/// An error, a refusal or half an answer says nothing of what became of it.
pub(super) fn says_gone(exchange: &Exchange, held: bool) -> bool {
    match exchange.status() {
        404 | 410 => true,
        200..300 => !held && !exchange.answer().is_some_and(|answer| answer.cut),
        _ => false,
    }
}

/// Whether what B removed is gone, and stays it, while what B did not touch is served still: an
/// outage takes everything away at once.
async fn lost(
    left: &Left<'_>,
    trial: &mut Trial,
    (a, kept): (&Thing, &Thing),
    after: &Exchange,
) -> Result<bool, Halt> {
    let owner = left.lab.caller(Side::A);
    let again = left.read(trial, owner, &a.planted, &Twist::none()).await?;
    for read in [after, &again] {
        if !says_gone(read, left.own(read, &a.canary)) {
            trial.doubt(format!("after B's removal A's own read was {}", outcome(read)));
            return Ok(false);
        }
    }
    let still = left.read(trial, owner, &kept.planted, &Twist::none()).await?;
    if !left.own(&still, &kept.canary) {
        let came = outcome(&still);
        trial.doubt(format!("after B's removal A's read of what B did not touch was {came}"));
        return Ok(false);
    }
    Ok(true)
}

/// An answer, and what of it does not depend on which id was asked for.
pub(super) struct Seen {
    shape: String,
    exchange: Exchange,
}

impl Seen {
    /// An answer to whoever asked for this.
    pub(super) fn of(exchange: Exchange, planted: &Planted) -> Self {
        Self { shape: shape(&exchange, planted), exchange }
    }
}

/// How another's things look beside none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Looks {
    /// The same.
    Alike,
    /// The same status; the bodies differ from themselves already.
    AlikeByStatus,
    /// So that it can be told which ids exist.
    Unlike,
}

/// Statuses first: where these differ, no matter what the bodies do, it tells which ids exist.
pub(super) fn compared(trial: &mut Trial, what: &str, foreign: &[Seen], nothing: &[Seen]) -> Looks {
    let (Some(one), Some(none)) = (foreign.first(), nothing.first()) else { return Looks::Alike };
    if let Some(seen) = foreign.iter().chain(nothing).find(|seen| seen.exchange.inconclusive()) {
        trial.doubt(format!("{what} to compare was {}", outcome(&seen.exchange)));
        return Looks::Alike;
    }
    let status = |seen: &Seen| seen.exchange.status();
    let steady =
        |same: fn(&[Seen]) -> bool| foreign.windows(2).all(same) && nothing.windows(2).all(same);
    if !steady(|pair| pair[0].exchange.status() == pair[1].exchange.status()) {
        trial.doubt(format!("{what}: the same request has another status the next time"));
        return Looks::Alike;
    }
    let (is, not) = (status(one), status(none));
    let how = if is != not {
        format!("{is}, not {not}")
    } else if !steady(|pair| pair[0].shape == pair[1].shape) {
        return Looks::AlikeByStatus;
    } else if one.shape == none.shape {
        return Looks::Alike;
    } else {
        "by the body".to_owned()
    };
    trial.leak(format!("{what} tells which ids exist ({how})"), &[&none.exchange, &one.exchange]);
    Looks::Unlike
}

/// Status and body, with everything masked that differs from one id, moment and request to another:
/// what was asked for, and whatever has a digit in it. That is an id, a time or a number; never prose.
fn shape(exchange: &Exchange, planted: &Planted) -> String {
    let body = exchange.answer().map(|answer| &answer.body[..]).unwrap_or_default();
    let body = String::from_utf8_lossy(body);
    let (mut masked, mut word) = (String::new(), String::new());
    for letter in body.chars().chain([' ']) {
        if letter.is_ascii_alphanumeric() || ".-_:+".contains(letter) {
            word.push(letter);
            continue;
        }
        let bare = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let asked_for = planted.handles.iter().any(|(_, value)| value == bare || *value == word);
        match asked_for || word.contains(|letter: char| letter.is_ascii_digit()) {
            true => masked.push('#'),
            false => masked.push_str(&word),
        }
        word.clear();
        masked.push(letter);
    }
    format!("{} {masked}", exchange.status())
}

/// Ids of the same make that lead to nothing.
pub(super) fn absent(lab: &Lab, planted: &Planted) -> Planted {
    let mut absent = planted.clone();
    for (_, value) in &mut absent.handles {
        *value = other_id(lab, value);
    }
    absent
}

/// The last letters and digits changed, each for one of its kind, so that the make stays: a UUID's
/// version, a prefix, a length. Short numbers count things; far off there is none yet.
fn other_id(lab: &Lab, id: &str) -> String {
    if id.len() < 9 && id.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("9{:08}", lab.below(100_000_000));
    }
    let mut left = 8;
    let hex = id.bytes().all(|byte| !byte.is_ascii_alphabetic() || byte.is_ascii_hexdigit());
    let other = |letter: char| match letter {
        '0'..='9' => char::from(b'0' + lab.below(10) as u8),
        'a'..='f' if hex => char::from(b'a' + lab.below(6) as u8),
        'A'..='F' if hex => char::from(b'A' + lab.below(6) as u8),
        'a'..='z' => char::from(b'a' + lab.below(26) as u8),
        'A'..='Z' => char::from(b'A' + lab.below(26) as u8),
        other => other,
    };
    let mut letters: Vec<char> = id.chars().rev().collect();
    for letter in &mut letters {
        if left > 0 && letter.is_ascii_alphanumeric() {
            *letter = other(*letter);
            left -= 1;
        }
    }
    letters.into_iter().rev().collect()
}

/// Names under which callers send ids of their own, with a value of the make that is usual.
const CALLERS_IDS: &[&str] = &[
    "x-request-id",
    "x-correlation-id",
    "idempotency-key",
    "traceparent",
    "x-session-id",
    "x-conversation-id",
];

async fn caller_id(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = left.plant_both().await?;
    let read = left.found(trial, Side::A, &a).await?;
    left.found(trial, Side::B, &b).await?;
    // Nobody looks at an idempotency key where nothing is written: to try it there proves nothing.
    let by_get = read.line.starts_with("GET ");
    let tried = CALLERS_IDS.iter().filter(|name| !(by_get && **name == "idempotency-key"));
    let (mut own, mut replays) = (0, 0);
    for name in tried {
        replays += 1;
        let id = ids::RandomId::draw(&ids::OsEntropy).to_string();
        let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
        let value = match *name {
            "traceparent" => format!("00-{}-{}-01", &hex[..32], &hex[4..20]),
            _ => id,
        };
        let twist = Twist::header(name, &value);
        let first = left.read(trial, left.lab.caller(Side::A), &a.planted, &twist).await?;
        let replayed = left.read(trial, left.lab.caller(Side::B), &b.planted, &twist).await?;
        let what = format!("B got A's answer by A's {name}");
        let leaked = left.attacked(trial, (Side::B, &what), &[&first, &replayed]);
        own += usize::from(left.own(&replayed, &b.canary));
        if !leaked && replayed.accepted() && !left.own(&replayed, &b.canary) {
            trial.doubt(format!("with A's {name} B got neither its own nor A's"));
        }
    }
    trial.summary(format!("{own} of {replays} replays got their own answer"));
    Ok(())
}

/// Whether the answer is said to come out of a cache.
fn from_cache(exchange: &Exchange) -> bool {
    let hit = |name: &str| {
        exchange.header(name).is_some_and(|value| value.to_ascii_lowercase().contains("hit"))
    };
    exchange.header("age").is_some_and(|age| age.trim() != "0")
        || ["x-cache", "cf-cache-status", "x-cache-status", "x-proxy-cache", "cache-status"]
            .into_iter()
            .any(hit)
}

async fn shared_cache(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (cold, warm) = (left.plant(Side::A).await?, left.plant(Side::A).await?);
    let other = left.lab.caller(Side::B);
    // Without a cache in it: what B reads already now is another check's finding.
    let before = left.read(trial, other, &cold.planted, &Twist::none()).await?;
    if !left.lab.foreign(Side::B, &before).is_empty() {
        return Err(Halt::Failed("B reads A's things without a cache, too".into()));
    }
    left.found(trial, Side::A, &warm).await?;
    let again = left.found(trial, Side::A, &warm).await?;
    let mut cached = from_cache(&again);
    for _ in 0..2 {
        let read = left.read(trial, other, &warm.planted, &Twist::none()).await?;
        cached |= from_cache(&read);
        left.attacked(trial, (Side::B, "B got A's answer from a cache"), &[&again, &read]);
    }
    let said = again.header("cache-control").unwrap_or_default().to_ascii_lowercase();
    let says = |word: &str| said.split([',', ' ', '=']).any(|own| own == word);
    let kept_out = says("no-store") || says("private");
    trial.summary(match (kept_out, cached) {
        (true, false) => "no-store, and nothing came out of a cache".to_owned(),
        (true, true) => "out of a cache, but each its own".to_owned(),
        (false, true) => "a cache keeps it, without no-store; each its own".to_owned(),
        (false, false) => "nothing cached on this way; no-store is missing".to_owned(),
    });
    if !kept_out && (says("public") || says("s-maxage")) {
        // Nobody cached it on this way; any cache in between may, and says so rightly.
        trial.doubt(format!("answers offer themselves to caches: {said}"));
    }
    Ok(())
}

/// Asked at these moments after it was removed: at once, and when a stale answer would have ended.
const AFTERWARDS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(150), Duration::from_millis(600)];

async fn erasure(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (erased, kept) = (left.plant(Side::A).await?, left.plant(Side::A).await?);
    let owner = left.lab.caller(Side::A);
    // Twice, so that whatever caches has cached it; and as B, for a cache of refusals.
    left.found(trial, Side::A, &erased).await?;
    let read = left.found(trial, Side::A, &erased).await?;
    let removed = left.place.remove(left.lab, owner, &erased.planted).await?;
    let Some(removed) = removed else {
        return Err(Halt::Lacking("say how it is removed: cleanup = { delete = … }".into()));
    };
    if !removed.accepted() {
        return Err(Halt::Failed(format!("removing was {}", outcome(&removed))));
    }
    left.gone(&erased.planted);
    let (mut late, mut last) = (false, None);
    for wait in AFTERWARDS {
        if !left.lab.options.dry_run {
            tokio::time::sleep(wait).await;
        }
        let mut seen = None;
        for side in [Side::A, Side::B] {
            let caller = left.lab.caller(side);
            let after = left.read(trial, caller, &erased.planted, &Twist::none()).await?;
            if after.inconclusive() {
                trial.doubt(format!("a look afterwards was {}", outcome(&after)));
            } else {
                trial.attacked();
            }
            let found = erased.canary.seen_in(&after);
            seen = seen.or(found.map(|found| (side, after, found)));
        }
        late |= seen.is_some();
        last = seen;
    }
    // An outage looks like an erasure, too.
    left.found(trial, Side::A, &kept).await?;
    if let Some((side, after, seen)) = last {
        let what = format!("{} reads what was erased", side.name().to_uppercase());
        trial.leaked(&what, &seen, &[&read, &removed, &after]);
    }
    trial.summary(match late {
        true => "gone, after a moment",
        false => "gone at once, for both",
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::Answer;

    fn answered(status: u16, body: &str) -> Exchange {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Exchange {
            who: "b".into(),
            line: "GET /x".into(),
            headers: Vec::new(),
            body: None,
            outcome: Ok(Answer { status, body, ..Answer::default() }),
        }
    }

    fn planted(id: &str) -> Planted {
        let handles = vec![("id".to_owned(), id.to_owned())];
        Planted { text: String::new(), handles, exchange: answered(201, "") }
    }

    #[test]
    fn the_shape_of_an_answer_leaves_out_ids_and_moments() {
        let one =
            answered(404, r#"{"error":"no doc-77af","at":"2026-11-22T10:00:01Z","rid":"9c"}"#);
        let two = answered(404, r#"{"error":"no doc-1204","at":"2026-11-22T10:00:09Z","rid":"1"}"#);
        assert_eq!(shape(&one, &planted("doc-77af")), shape(&two, &planted("doc-1204")));
        let (one, two) =
            (answered(404, "no inv, score 0.731e-9"), answered(404, "no abc, score 1"));
        assert_eq!(shape(&one, &planted("inv")), shape(&two, &planted("abc")));
        let one =
            answered(404, r#"{"error":"no doc-77af","at":"2026-11-22T10:00:01Z","rid":"9c"}"#);
        let forbidden = answered(404, r#"{"error":"not yours"}"#);
        assert_ne!(shape(&one, &planted("doc-77af")), shape(&forbidden, &planted("doc-77af")));
        assert_ne!(
            shape(&answered(403, ""), &planted("1")),
            shape(&answered(404, ""), &planted("1"))
        );
    }
    fn looks(foreign: [(u16, &str); 2], nothing: [(u16, &str); 2]) -> (Looks, String) {
        let mut trial = Trial::new(&OBJECT_ID, false);
        trial.positive(true, "");
        trial.negative(true, "");
        trial.attacked();
        let seen = |(status, body): (u16, &str)| {
            let exchange = answered(status, body);
            Seen { shape: shape(&exchange, &planted("1")), exchange }
        };
        let looks = compared(&mut trial, "reading", &foreign.map(seen), &nothing.map(seen));
        (looks, trial.conclude(None).summary)
    }

    #[test]
    fn a_status_tells_whatever_the_bodies_do() {
        let (how, said) = looks([(403, "ab"), (403, "cd")], [(404, "ef"), (404, "gh")]);
        assert_eq!((how, said.contains("403, not 404")), (Looks::Unlike, true), "{said}");
        let (how, _) = looks([(404, "ab"), (404, "cd")], [(404, "ef"), (404, "gh")]);
        assert_eq!(how, Looks::AlikeByStatus);
        let (how, said) = looks([(404, "yours"), (404, "yours")], [(404, "ef"), (404, "ef")]);
        assert_eq!((how, said.contains("by the body")), (Looks::Unlike, true), "{said}");
        for nothing in [(0, ""), (429, ""), (503, "")] {
            let (how, said) = looks([(404, ""), (404, "")], [(404, ""), nothing]);
            assert_eq!((how, said.contains("to compare")), (Looks::Alike, true), "{said}");
        }
        let (how, said) = looks([(403, ""), (404, "")], [(404, ""), (404, "")]);
        assert_eq!((how, said.contains("another status")), (Looks::Alike, true), "{said}");
    }
}
