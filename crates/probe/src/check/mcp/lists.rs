//! Lists: of records, tools, resources and prompts. Each is made for whoever asks, and kept for
//! nobody else.

use serde_json::{Value, json};

use super::{
    bench::{Bench, Own},
    resolve::only_reads,
};
use crate::{
    canary::Side,
    drive::{
        app::{Words, told},
        mcp::{Message, denied, result},
    },
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// What a server may list by itself, and under which name.
const LISTS: [(&str, &str); 4] = [
    ("tools/list", "tools"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resourceTemplates"),
    ("prompts/list", "prompts"),
];

/// Both tenants' lists: each of its own, whoever asked first.
pub(super) async fn own(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = bench.both().await?;
    let mut lists = 0;
    if bench.mcp.server.list.is_some() {
        records(bench, trial, (&a, &b)).await?;
        lists += 1;
    }
    for (method, name) in LISTS {
        lists += usize::from(offered(bench, trial, (method, name), (&a, &b)).await?);
    }
    trial.summary(format!("{lists} lists, each made for whoever asks"));
    Ok(())
}

async fn records(bench: &Bench<'_>, trial: &mut Trial, (a, b): (&Own, &Own)) -> Result<(), Halt> {
    let Some(list) = &bench.mcp.server.list else { return Ok(()) };
    // Before the other one and after it: whatever keeps lists has one then.
    for side in [Side::B, Side::A, Side::B, Side::A] {
        let (mine, other) = if side == Side::A { (a, b) } else { (b, a) };
        let words = Words::of(bench.lab, bench.by(side));
        let exchange = bench.call(bench.by(side), list, &words).await?;
        let (who, whose) = (side.name().to_uppercase(), other.side.name().to_uppercase());
        let what = format!("{} shows {whose}'s record to {who}", list.tool);
        let leaked = bench.attacked(trial, (other, &what), &[&exchange]);
        if !leaked && other.named_in(&exchange) {
            trial.leak(format!("{what}: its id"), &[&exchange]);
        }
        let note = match result(&exchange).is_some() {
            true => format!("{} of {who}'s has what it left", list.tool),
            false => told(&exchange),
        };
        // A first page need not have it all.
        let held = mine.named_in(&exchange) || (list.cursor.is_some() && !denied(&exchange));
        trial.positive(held, note);
    }
    Ok(())
}

/// One of the protocol's own lists. Whether the server has it.
async fn offered(
    bench: &Bench<'_>,
    trial: &mut Trial,
    (method, name): (&str, &str),
    (a, b): (&Own, &Own),
) -> Result<bool, Halt> {
    let message = Message::new(method, json!({})).example(json!({ name: [] }));
    let mut seen: Vec<(Side, Exchange)> = Vec::new();
    for side in [Side::B, Side::A, Side::B] {
        let exchange = bench.say(bench.by(side), &message).await?;
        bench.pass(trial, &exchange);
        if denied(&exchange) && method != "tools/list" {
            return Ok(false);
        }
        trial.positive(!denied(&exchange), format!("{method}: {}", told(&exchange)));
        let other = if side == Side::A { b } else { a };
        let (who, whose) = (side.name().to_uppercase(), other.side.name().to_uppercase());
        let what = format!("{method} shows {whose}'s record to {who}");
        let before: Vec<&Exchange> = seen.iter().map(|(_, exchange)| exchange).collect();
        let proof: Vec<&Exchange> = before.into_iter().chain([&exchange]).collect();
        let leaked = bench.attacked(trial, (other, &what), &proof);
        if !leaked && other.named_in(&exchange) {
            trial.leak(format!("{what}: its id"), &proof);
        }
        seen.push((side, exchange));
    }
    for_all(trial, (method, name), &seen);
    if method == "tools/list" {
        private(bench, trial, &seen).await?;
    }
    Ok(true)
}

/// What a list has, without what changes from one answer to the next.
fn names(exchange: &Exchange, list: &str) -> Vec<String> {
    let listed = result(exchange).and_then(|result| result.get(list).cloned());
    let each = listed.as_ref().and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<String> = each
        .filter_map(|one| ["name", "uri"].iter().find_map(|field| one[*field].as_str()))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// A list that is another for somebody else must not say that it is everybody's.
fn for_all(trial: &mut Trial, (method, name): (&str, &str), seen: &[(Side, Exchange)]) {
    let [(_, first), (_, second), ..] = seen else { return };
    let public = [first, second]
        .into_iter()
        .find(|exchange| result(exchange).is_some_and(|result| result["cacheScope"] == "public"));
    if let Some(public) = public
        && names(first, name) != names(second, name)
    {
        let what = format!("{method} is another for each, and says cacheScope: public");
        trial.leak(what, &[first, second, public]);
    }
}

/// Tools that only one tenant may see.
async fn private(
    bench: &Bench<'_>,
    trial: &mut Trial,
    seen: &[(Side, Exchange)],
) -> Result<(), Halt> {
    let of = |side: Side| bench.mcp.server.private.get(&side).into_iter().flatten();
    for (owner, tool) in
        [Side::A, Side::B].into_iter().flat_map(|side| of(side).map(move |tool| (side, tool)))
    {
        let (own, whose) = (owner.name(), owner.name().to_uppercase());
        let who = owner.other().name().to_uppercase();
        let listed = |exchange: &Exchange| names(exchange, "tools").contains(tool);
        let last = |side: Side| seen.iter().rev().find(|(by, _)| *by == side).map(|(_, seen)| seen);
        let (Some(mine), Some(theirs)) = (last(owner), last(owner.other())) else { continue };
        trial.positive(listed(mine), format!("{own} is shown {tool}, which is its own"));
        if listed(theirs) {
            trial.leak(format!("{who} is shown {tool}, which is {whose}'s"), &[mine, theirs]);
        }
        // Nothing is called of which nobody said that it only reads.
        let shown = result(mine).and_then(|result| result["tools"].as_array().cloned());
        let shown = shown.into_iter().flatten().find(|one| one["name"] == tool.as_str());
        if !shown.as_ref().is_some_and(only_reads) {
            continue;
        }
        let call = Message::new("tools/call", json!({ "name": tool, "arguments": {} }));
        let called = bench.say(bench.by(owner.other()), &call).await?;
        bench.pass(trial, &called);
        let own_call = bench.say(bench.by(owner), &call).await?;
        bench.pass(trial, &own_call);
        if result(&called).is_some() && result(&own_call).is_some() {
            trial.leak(format!("{who} called {tool}, which is {whose}'s"), &[&own_call, &called]);
        }
    }
    Ok(())
}
