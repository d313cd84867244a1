//! Who somebody is: missing, dead, conflicting, swapped, cut, and named by a header.
//!
//! Every check here asks for what a tenant left, with an identity that is in doubt. At a place
//! that remembers, to be served is to get the canary; at one that does not, it is to be answered
//! at all. The owner asks before and afterwards: a target that refuses everybody proves nothing.

mod conflict;
mod dead;
mod missing;
mod named;
mod swap;
#[cfg(test)]
mod tests;
mod token;

use serde_json::Value;

use super::left::{self, Left, Thing, outcome};
use crate::{
    canary::Side,
    catalog::{CONFLICT, EXPIRED, MISSING, PLATFORM_SECRET, SWAP, TENANT_ARG, TOKEN_PREFIX},
    drive::app::documents,
    lab::{Caller, Lab},
    place::{Place, Twist},
    sheet::Sheet,
    target::Credential,
    verdict::{Halt, Trial},
    wire::Exchange,
};

pub(super) async fn all(place: &dyn Place, lab: &Lab, sheet: &mut Sheet<'_>) {
    // Where an application tells tenants apart by a field or a prefix, there is no identity to
    // put in doubt.
    if !two_identities(lab) {
        return;
    }
    let name = place.name();
    let (keeps, headers) = (place.remembers(), place.takes_headers());
    sheet
        .run(&MISSING, name, async |trial| left::at(place, lab, trial, missing::check).await)
        .await;
    sheet.run(&EXPIRED, name, async |trial| left::at(place, lab, trial, dead::check).await).await;
    if headers {
        sheet
            .run(&CONFLICT, name, async |trial| left::at(place, lab, trial, conflict::check).await)
            .await;
    }
    if keeps {
        sheet.run(&SWAP, name, async |trial| left::at(place, lab, trial, swap::check).await).await;
    }
    if keeps && headers {
        sheet
            .run(&TENANT_ARG, name, async |trial| left::at(place, lab, trial, named::tenant).await)
            .await;
    }
    sheet
        .run(&TOKEN_PREFIX, name, async |trial| left::at(place, lab, trial, token::check).await)
        .await;
    if keeps {
        sheet
            .run(&PLATFORM_SECRET, name, async |trial| {
                left::at(place, lab, trial, named::person).await
            })
            .await;
    }
}

fn two_identities(lab: &Lab) -> bool {
    let secret = |side| lab.caller(side).credential.as_ref().map(Credential::expose);
    match (secret(Side::A), secret(Side::B)) {
        (Some(a), Some(b)) => a != b,
        _ => false,
    }
}

/// What an answer says of whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// It has what was left; at a place that does not remember: it is an answer.
    Served,
    /// A success that has nothing of it.
    Hollow,
    /// Refused, hidden, sent elsewhere.
    Refused,
    /// Overload, an error of the server's, silence, half an answer: neither yes nor no.
    Undecided,
}

fn heard(left: &Left<'_>, exchange: &Exchange, thing: &Thing) -> Heard {
    if thing.canary.seen_in(exchange).is_some() {
        return Heard::Served;
    }
    match exchange.status() {
        // Refusals of JSON-RPC and GraphQL come with a 200.
        200..300 if failed(exchange) => Heard::Refused,
        _ if exchange.inconclusive() => Heard::Undecided,
        200..300 if left.place.remembers() => Heard::Hollow,
        200..300 => Heard::Served,
        _ => Heard::Refused,
    }
}

/// Whether a body says that it is an error: a document, or the last word of a stream; at its top,
/// or as a tool's own (`result.isError`).
fn failed(exchange: &Exchange) -> bool {
    // Many servers have the field in every answer, with nothing in it.
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    let Some(body) = documents(exchange).into_iter().next() else { return false };
    let of_a_tool = body.pointer("/result/isError") == Some(&Value::Bool(true));
    of_a_tool || ["error", "errors", "isError"].iter().any(|name| body.get(name).is_some_and(says))
}

/// Asks for what was left there. Counted as an attack if the answer means something.
async fn ask(
    left: &Left<'_>,
    trial: &mut Trial,
    by: &Caller,
    thing: &Thing,
    twist: &Twist,
) -> Result<(Heard, Exchange), Halt> {
    let exchange = left.read(trial, by, &thing.planted, twist).await?;
    let heard = heard(left, &exchange, thing);
    match heard {
        Heard::Undecided => trial.doubt(format!("{}: {}", by.label, outcome(&exchange))),
        _ => trial.attacked(),
    }
    Ok((heard, exchange))
}

/// The owner asks, and is served: the look works. Answers whether to go on.
async fn owner(
    left: &Left<'_>,
    trial: &mut Trial,
    side: Side,
    thing: &Thing,
) -> Result<Option<Exchange>, Halt> {
    let by = left.lab.caller(side);
    let exchange = left.read(trial, by, &thing.planted, &Twist::none()).await?;
    let held = heard(left, &exchange, thing) == Heard::Served;
    let note = format!("{} is served its own ({})", side.name(), outcome(&exchange));
    Ok(trial.positive(held, note).then_some(exchange))
}

/// Something that means nothing instead of a credential is not served: otherwise to be served
/// says nothing of any other credential. Answers whether to go on.
async fn nonsense(left: &Left<'_>, trial: &mut Trial, thing: &Thing) -> Result<bool, Halt> {
    let by = forged(left.lab, Side::A, "nonsense", &random(left.lab, 40), None);
    let exchange = left.read(trial, &by, &thing.planted, &Twist::none()).await?;
    let held = match heard(left, &exchange, thing) {
        Heard::Served => false,
        Heard::Undecided => {
            trial.doubt(format!("nonsense for a credential is {}", outcome(&exchange)));
            true
        }
        Heard::Hollow | Heard::Refused => true,
    };
    Ok(trial.negative(held, "nonsense for a credential is served, too"))
}

/// One tenant alone does not get what is the other's: otherwise no trick is needed, and none is
/// shown by getting it. Answers whether to go on.
async fn apart(
    left: &Left<'_>,
    trial: &mut Trial,
    side: Side,
    thing: &Thing,
) -> Result<bool, Halt> {
    let by = left.lab.caller(side);
    let exchange = left.read(trial, by, &thing.planted, &Twist::none()).await?;
    let served = heard(left, &exchange, thing) == Heard::Served;
    let (own, other) = (side.name(), side.other().name());
    Ok(trial.negative(!served, format!("{own} gets {other}'s also without it")))
}

/// A credential that has to be refused.
async fn refused(
    left: &Left<'_>,
    trial: &mut Trial,
    (by, twist): (&Caller, &Twist),
    (thing, own): (&Thing, &Exchange),
    what: &str,
) -> Result<Heard, Halt> {
    let (heard, exchange) = ask(left, trial, by, thing, twist).await?;
    if heard == Heard::Served {
        served(trial, what, thing, &[own, &exchange]);
    }
    Ok(heard)
}

/// Somebody was served who should not have been.
fn served(trial: &mut Trial, what: &str, thing: &Thing, proof: &[&Exchange]) {
    match proof.last().and_then(|last| thing.canary.seen_in(last)) {
        Some(seen) => trial.leaked(what, &seen, proof),
        None => trial.leak(what, proof),
    }
}

/// Somebody who has a tenant's headers and another credential.
fn forged(lab: &Lab, side: Side, label: &str, secret: &str, shown: Option<&str>) -> Caller {
    let credential = Credential::shown_as(secret.to_owned(), shown.unwrap_or(secret));
    Caller {
        side: Some(side),
        label: label.to_owned(),
        credential: Some(credential),
        headers: lab.caller(side).headers.clone(),
    }
}

/// Letters and digits, by the run's seed.
fn random(lab: &Lab, length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..length).map(|_| char::from(LETTERS[lab.below(32)])).collect()
}

/// A tenant's secret; both have one, or no check here is done.
fn secret(lab: &Lab, side: Side) -> &str {
    lab.caller(side).credential.as_ref().map_or("", Credential::expose)
}
