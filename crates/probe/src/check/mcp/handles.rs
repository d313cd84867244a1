//! Handles that a server gives out: cursors, URIs of resources, states of interrupted calls. Each is
//! a name, and no right to what it names.

use serde_json::{Value, json};

use super::bench::{Bench, Own};
use crate::{
    canary::Side,
    drive::{
        app::{Words, told},
        mcp::{Message, Version, Way, denied, pick, result, text},
    },
    target::Call,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// So many records are left, so that a list has a second page.
const RECORDS: usize = 3;
/// So many URIs of one tenant's are tried.
const LINKS: usize = 6;

/// A page of a list, and the cursor of what follows.
async fn page(
    bench: &Bench<'_>,
    trial: &mut Trial,
    side: Side,
    (list, cursor): (&Call, Option<&str>),
) -> Result<(Exchange, Option<String>), Halt> {
    let mut words = Words::of(bench.lab, bench.by(side));
    if let Some(cursor) = cursor {
        words.put("cursor", cursor);
    }
    let exchange = bench.call(bench.by(side), list, &words).await?;
    bench.pass(trial, &exchange);
    let at = list.cursor.as_deref().unwrap_or_default();
    let next = result(&exchange).and_then(|result| pick(&result, at));
    Ok((exchange, next.as_ref().and_then(text)))
}

/// B goes on in A's list.
pub(super) async fn cursors(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let Some(list) = &bench.mcp.server.list else { return Ok(()) };
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for _ in 0..if bench.mcp.server.plant.is_some() { RECORDS } else { 1 } {
        of_a.push(bench.own(Side::A).await?);
        of_b.push(bench.own(Side::B).await?);
    }
    let names = |exchange: &Exchange, all: &[Own]| all.iter().any(|own| own.named_in(exchange));
    let (first, cursor) = page(bench, trial, Side::A, (list, None)).await?;
    let (_, own) = page(bench, trial, Side::B, (list, None)).await?;
    let (Some(cursor), Some(own)) = (cursor, own) else {
        let advice = "a list of three has no cursor: ask for short pages, e.g. limit = 1";
        return Err(Halt::Lacking(advice.into()));
    };
    let (theirs, _) = page(bench, trial, Side::B, (list, Some(&own))).await?;
    trial.positive(names(&theirs, &of_b), "B goes on in its own list");
    let (crossed, _) = page(bench, trial, Side::B, (list, Some(&cursor))).await?;
    let (mine, _) = page(bench, trial, Side::A, (list, Some(&cursor))).await?;
    trial.positive(names(&mine, &of_a), "A goes on in its own list");
    if let Some(other) = of_a.first() {
        let proof = [&first, &crossed];
        let leaked = bench.attacked(trial, (other, "B goes on in A's list"), &proof);
        if !leaked && names(&crossed, &of_a) {
            trial.leak("B goes on in A's list: its ids are named", &proof);
        }
    }
    let what = if denied(&crossed) { "refused" } else { "answered with B's own" };
    trial.summary(format!("A's cursor as B: {what}"));
    Ok(())
}

/// B reads what A was given a link to.
pub(super) async fn resources(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = bench.both().await?;
    let mut links = Vec::new();
    if let Some(uri) = &bench.mcp.server.resource {
        links.push(uri.replace("{id}", a.id()));
    }
    links.extend(found(&a.planted.exchange));
    if let Ok(Way::Tool(_)) = bench.way() {
        let read = bench.read(trial, &bench.way()?, (Side::A, &a)).await?;
        links.extend(found(&read));
    }
    let listed = bench.say(bench.by(Side::A), &Message::new("resources/list", json!({}))).await?;
    bench.pass(trial, &listed);
    if a.named_in(&listed) {
        links.extend(found(&listed).into_iter().filter(|uri| uri.contains(a.id())));
    }
    links.sort();
    links.dedup();
    links.truncate(LINKS);
    if links.is_empty() {
        return Err(Halt::Lacking("no record has a URI: resource = \"notes://{id}\"".into()));
    }
    let mut opened = 0;
    for uri in &links {
        let read = Message::new("resources/read", json!({ "uri": uri }));
        let mine = bench.say(bench.by(Side::A), &read).await?;
        bench.pass(trial, &mine);
        opened += usize::from(a.seen_in(&mine).is_some());
        for message in [read.clone(), Message::new("resources/read", json!({ "uri": same(uri) }))] {
            let exchange = bench.say(bench.by(Side::B), &message).await?;
            let what = "B reads A's resource by its URI";
            bench.attacked(trial, (&a, what), &[&mine, &exchange]);
        }
    }
    trial.positive(opened > 0, format!("A reads its own by {opened} of {} URIs", links.len()));
    let own = links.iter().map(|uri| uri.replace(a.id(), b.id())).next().unwrap_or_default();
    let own = Message::new("resources/read", json!({ "uri": own }));
    let theirs = bench.say(bench.by(Side::B), &own).await?;
    bench.pass(trial, &theirs);
    trial.positive(b.seen_in(&theirs).is_some(), "B reads its own by a URI");
    trial.summary(format!("{} URIs of A's, none opens for B", links.len()));
    Ok(())
}

/// The same address in another spelling.
fn same(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) => format!("{}://./{rest}", scheme.to_uppercase()),
        None => uri.to_uppercase(),
    }
}

/// Every URI in a result.
fn found(exchange: &Exchange) -> Vec<String> {
    fn look(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(uri)) = object.get("uri") {
                    found.push(uri.clone());
                }
                object.values().for_each(|value| look(value, found));
            }
            Value::Array(each) => each.iter().for_each(|value| look(value, found)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    if let Some(result) = result(exchange) {
        look(&result, &mut all);
    }
    all
}

/// An interrupted call, and the state that its answer names.
async fn begun(
    bench: &Bench<'_>,
    trial: &mut Trial,
    (resume, own): (&Call, &Own),
) -> Result<(Exchange, Value), Halt> {
    let words = bench.words(own.side, own).with("canary", &own.planted.text);
    let message = bench.mcp.calling(resume, &words)?.version(Version::Stateless);
    let message = message.example(json!({ "requestState": "example" }));
    let exchange = bench.say(bench.by(own.side), &message).await?;
    bench.pass(trial, &exchange);
    let state = result(&exchange).and_then(|result| result.get("requestState").cloned());
    match state {
        Some(state) => Ok((exchange, state)),
        None => Err(Halt::Failed(format!("no requestState: {}", told(&exchange)))),
    }
}

/// Whether a call is done, and not interrupted once more.
fn went_on(exchange: &Exchange) -> bool {
    result(exchange).is_some_and(|result| result["requestState"].is_null())
}

/// B goes on with a call of A's that was interrupted.
pub(super) async fn interrupted(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let Some(resume) = &bench.mcp.server.resume else { return Ok(()) };
    let (a, b) = bench.both().await?;
    let (first, second) =
        (begun(bench, trial, (resume, &a)).await?, begun(bench, trial, (resume, &a)).await?);
    let own = begun(bench, trial, (resume, &b)).await?;
    let going_on = |side: Side, with: &Own, state: &Value| -> Result<Message, Halt> {
        let words = bench.words(side, with).with("canary", &with.planted.text);
        let message = bench.mcp.calling(resume, &words)?.version(Version::Stateless);
        let answers = resume.answers.clone().unwrap_or_else(|| json!({}));
        Ok(message.param("requestState", state.clone()).param("inputResponses", answers))
    };
    let nonsense = json!(first.1.as_str().unwrap_or("none").chars().rev().collect::<String>());
    let none = bench.say(bench.by(Side::B), &going_on(Side::B, &b, &nonsense)?).await?;
    bench.pass(trial, &none);
    // A server may ask once more; but where any state will do, none says whose a call is.
    trial.negative(!went_on(&none), "a state that was never given goes on, too");
    // With its own arguments, and with those that A had.
    for with in [&b, &a] {
        let exchange = bench.say(bench.by(Side::B), &going_on(Side::B, with, &first.1)?).await?;
        let proof = [&first.0, &exchange];
        let leaked = bench.attacked(trial, (&a, "B went on with A's call"), &proof);
        if !leaked && went_on(&exchange) && !went_on(&none) {
            trial.leak("B went on with A's call: its state is anybody's", &proof);
        }
    }
    let mine = bench.say(bench.by(Side::A), &going_on(Side::A, &a, &second.1)?).await?;
    let theirs = bench.say(bench.by(Side::B), &going_on(Side::B, &b, &own.1)?).await?;
    for (exchange, who) in [(&mine, "A"), (&theirs, "B")] {
        bench.pass(trial, exchange);
        trial.positive(went_on(exchange), format!("{who} goes on with its own call"));
    }
    trial.summary("A's state goes on for A alone");
    Ok(())
}
