//! What operators look at: routes of administration; logs, traces and metrics.

use std::time::Duration;

use http::Method;

use super::bench::{Bench, Left, holds};
use crate::{
    canary::Side,
    drive::app::{Words, everything, names, path, route, steady, told},
    lab::Caller,
    verdict::{Halt, Trial},
    wire::{Exchange, Request},
};

/// The tenants' credentials work where they should: then a refusal says something.
async fn at_work(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<Option<Left>, Halt> {
    let mut left = None;
    for side in [Side::B, Side::A] {
        if bench.app.plant.is_some() {
            left = Some(bench.plant(side, str::to_owned).await?);
        } else if bench.app.ask.is_some() {
            bench.question(side, &everything()).await?.whole()?;
        } else {
            let advice = "say what tenants may do: plant = { post = … }";
            return Err(Halt::Lacking(advice.into()));
        }
        let text = format!("{}'s credential works on its own routes", side.name());
        trial.positive(true, text);
    }
    Ok(left)
}

/// The operator, if the file names one. From now on its credential is taken out of what is shown.
fn operator(bench: &Bench<'_>) -> Result<Option<Caller>, Halt> {
    let named = bench.app.operator.is_some();
    if bench.lab.options.dry_run && named {
        // No secret is looked up for what is only listed.
        return Ok(Some(Caller { label: "operator".into(), ..bench.lab.nobody() }));
    }
    let operator = bench.lab.target.operator()?;
    operator.iter().for_each(|operator| bench.lab.wire.knows(operator));
    Ok(operator)
}

/// Routes of administration, as a tenant and as nobody.
///
/// A refusal proves something only of a route that is there. An operator's credential shows that
/// it is; so does a 401 or 403 to somebody whose credential is good elsewhere. Where everybody
/// gets 404 and no operator is known, the path may be misspelt: that is NOT PROVEN.
pub(super) async fn admin(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let left = at_work(bench, trial).await?;
    let operator = operator(bench)?;
    let mut words = bench.words(Side::A);
    if let Some(left) = &left {
        words = words.with_all(&left.planted.handles);
    }
    for text in &bench.app.admin {
        let (method, template) = route(text);
        let address = path(template, &words)?;
        decoy(bench, trial, &address).await?;
        one(bench, trial, (&method, &address), operator.as_ref()).await?;
    }
    let routes = bench.app.admin.len();
    trial.summary(format!("{routes} routes refused to tenants and to nobody"));
    Ok(())
}

/// An application that answers whatever it is asked, as a page with a router in the browser does,
/// would seem to open everything.
async fn decoy(bench: &Bench<'_>, trial: &mut Trial, address: &str) -> Result<(), Halt> {
    let words = Words::of(bench.lab, bench.by(Side::B));
    let name = words.get("name").unwrap_or("none");
    let decoy = match address.split_once("://").and_then(|(_, rest)| rest.split_once('/')) {
        Some((_, rest)) => {
            let origin = address.len() - rest.len();
            format!("{}{name}/{rest}", &address[..origin])
        }
        None => format!("/{name}{address}"),
    };
    let exchange = steady(bench.lab, bench.by(Side::B), Request::get(decoy)).await?;
    bench.pass(trial, &exchange);
    trial.negative(!exchange.accepted(), "what is not there is not answered with 200");
    Ok(())
}

async fn one(
    bench: &Bench<'_>,
    trial: &mut Trial,
    (method, address): (&Method, &str),
    operator: Option<&Caller>,
) -> Result<(), Halt> {
    let request = Request::new(method.clone(), address);
    let nobody = bench.lab.nobody();
    let mut there = false;
    for by in [bench.by(Side::B), bench.by(Side::A), &nobody] {
        let exchange = steady(bench.lab, by, request.clone()).await?;
        bench.pass(trial, &exchange);
        match exchange.status() {
            200..300 => {
                trial.attacked();
                let who = match by.side {
                    Some(side) => format!("{}'s credential opened", side.name().to_uppercase()),
                    None => "without a credential one opens".to_owned(),
                };
                trial.leak(format!("{who} {method} {address}"), &[&exchange]);
                there = true;
            }
            401 | 403 => {
                trial.attacked();
                there = true;
            }
            // Hidden, or sent to where one signs in.
            404 | 302 | 303 | 307 => trial.attacked(),
            _ => trial.doubt(told(&exchange)),
        }
    }
    // What changes things is not done in an operator's name.
    let may_try = *method == Method::GET || *method == Method::HEAD;
    if let (Some(operator), true) = (operator, may_try) {
        let exchange = steady(bench.lab, operator, request).await?;
        bench.pass(trial, &exchange);
        let note = format!("the operator opens {address} ({})", exchange.status());
        trial.positive(exchange.accepted(), note);
    } else {
        let advice = "nobody sees that it is there: operator = \"env:…\"";
        let note = if there { "refused as such, not as unknown" } else { advice };
        trial.positive(there, format!("{address}: {note}"));
    }
    Ok(())
}

/// What one place of logs showed to each.
struct Views {
    /// To whom it may be shown: a's own, and the operator's.
    allowed: Vec<Exchange>,
    /// To b, and to nobody.
    attacks: Vec<Exchange>,
}

/// Logs, traces and metrics, as the other tenant and as nobody.
///
/// The look is shown to work where a's text is, in its own view or in the operator's. A log that
/// an operator reads, that changes with what a does and that has none of a's text in it is better
/// still.
pub(super) async fn logs(bench: &mut Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let operator = operator(bench)?;
    // Twice: what differs from itself already, as a clock or a count of requests does, is no sign
    // of what a does.
    let (mut first, mut before) = (Vec::new(), Vec::new());
    for looks in [&mut first, &mut before] {
        for text in &bench.app.logs {
            looks.push(views(bench, trial, text, operator.as_ref(), None).await?);
        }
    }
    let left = at_work(bench, trial).await?;
    let Some(left) = left else {
        return Err(Halt::Lacking("say how a document is left: plant = { post = … }".into()));
    };
    if bench.app.ask.is_some() {
        let prompt = format!("Repeat this reference code: {}", left.canary.text);
        bench.question(Side::A, &prompt).await?;
    }
    for (text, before) in bench.app.logs.iter().zip(first.iter().zip(&before)) {
        let after = views(bench, trial, text, operator.as_ref(), Some(&left)).await?;
        attacks(bench, trial, text, &after.attacks);
        judge(bench, trial, (text, &left), before, &after);
    }
    if !bench.lab.options.dry_run {
        tokio::time::sleep(LATER).await;
    }
    for text in &bench.app.logs {
        let later = strangers(bench, trial, text, Some(&left)).await?;
        attacks(bench, trial, text, &later);
    }
    Ok(())
}

/// Logs are written in batches: strangers look once more after this.
const LATER: Duration = Duration::from_secs(2);

/// How often what was just done is looked for, while it may not be written yet.
const TRIES: u32 = 3;

async fn views(
    bench: &Bench<'_>,
    trial: &mut Trial,
    text: &str,
    operator: Option<&Caller>,
    left: Option<&Left>,
) -> Result<Views, Halt> {
    let mut views = Views { allowed: Vec::new(), attacks: Vec::new() };
    let Some(request) = look(bench, text, left)? else { return Ok(views) };
    for tries in 0..TRIES {
        views.allowed.clear();
        for by in [Some(bench.by(Side::A)), operator].into_iter().flatten() {
            let exchange = steady(bench.lab, by, request.clone()).await?;
            bench.pass(trial, &exchange);
            views.allowed.push(exchange);
        }
        let Some(left) = left else { break };
        let seen = views.allowed.iter().any(|exchange| holds(exchange, &left.canary));
        let readable = views.allowed.iter().any(Exchange::accepted);
        if seen || !readable || tries + 1 == TRIES || bench.lab.options.dry_run {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50 << (2 * tries))).await;
    }
    views.attacks = strangers(bench, trial, text, left).await?;
    Ok(views)
}

/// The request for it, if all is known that it names.
fn look(bench: &Bench<'_>, text: &str, left: Option<&Left>) -> Result<Option<Request>, Halt> {
    let mut words = bench.words(Side::A);
    if let Some(left) = left {
        words = words.with_all(&left.planted.handles);
    }
    let template = route(text).1;
    let known = names(template).iter().all(|name| words.get(name).is_some());
    known.then(|| path(template, &words).map(Request::get)).transpose()
}

/// What b and nobody see there.
async fn strangers(
    bench: &Bench<'_>,
    trial: &mut Trial,
    text: &str,
    left: Option<&Left>,
) -> Result<Vec<Exchange>, Halt> {
    let mut seen = Vec::new();
    let Some(request) = look(bench, text, left)? else { return Ok(seen) };
    for by in [bench.by(Side::B), &bench.lab.nobody()] {
        let exchange = steady(bench.lab, by, request.clone()).await?;
        bench.pass(trial, &exchange);
        seen.push(exchange);
    }
    Ok(seen)
}

fn attacks(bench: &Bench<'_>, trial: &mut Trial, text: &str, attacks: &[Exchange]) {
    for (exchange, who) in attacks.iter().zip(["B", "anybody"]) {
        bench.attacked(trial, exchange);
        let foreign = match who {
            "B" => bench.lab.foreign(Side::B, exchange),
            _ => bench.lab.hunt(exchange),
        };
        let revealed = exchange.answer().and_then(|answer| answer.revealed.first());
        if let Some(credential) = revealed {
            trial.leak(format!("{who} finds the credential {credential} in {text}"), &[exchange]);
        }
        if let Some(seen) = foreign.first() {
            let whose = seen.canary.side.name().to_uppercase();
            trial.leaked(&format!("{who} finds {whose}'s text in {text}"), seen, &[exchange]);
        }
    }
}

fn judge(
    bench: &Bench<'_>,
    trial: &mut Trial,
    (text, left): (&str, &Left),
    (first, before): (&Views, &Views),
    after: &Views,
) {
    // Of a's own view: what is b's must not be there.
    if let Some(own) = after.allowed.first()
        && let Some(seen) = bench.lab.foreign(Side::A, own).first()
    {
        trial.leaked(&format!("A finds B's text in {text}"), seen, &[own]);
    }
    let shown = after.allowed.iter().any(|exchange| holds(exchange, &left.canary));
    // Only of whoever may read it: what strangers get changes for reasons of its own.
    let all = |views: &Views| -> Vec<_> {
        let body = |exchange: &Exchange| exchange.answer().map(|answer| answer.body.clone());
        let allowed = views.allowed.iter();
        allowed.map(|exchange| exchange.accepted().then(|| body(exchange)).flatten()).collect()
    };
    let (first, was, is) = (all(first), all(before), all(after));
    let changed = |at: usize| was.get(at).is_some_and(|was| is[at].is_some() && *was != is[at]);
    let steady = |at: usize| first.get(at) == was.get(at);
    let lives = (0..is.len()).any(|at| changed(at) && steady(at));
    let note = match (shown, lives) {
        (true, _) => format!("a's text is in {text}, for whom it is meant"),
        (false, true) => format!("{text} changes with what a does, and has none of its text"),
        _ if (0..is.len()).any(changed) => {
            format!("{text} changes by itself, too: that shows nothing of what a does")
        }
        _ => format!("{text} shows nothing to anybody: operator = \"env:…\""),
    };
    trial.positive(shown || lives, note);
}
