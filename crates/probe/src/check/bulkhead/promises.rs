//! What Bulkhead promises of every answer, and what it says of itself: no answer may be kept by an
//! HTTP cache, request ids are its own, and nothing of one tenant turned up with another, even where
//! a second lock withheld it.

use serde_json::Value;

use super::{
    Known,
    desk::{Desk, name},
};
use crate::{
    canary::Side,
    catalog,
    lab::Lab,
    sheet::Sheet,
    verdict::{Halt, Strength, Trial},
    wire::{Exchange, Request, quote},
};

/// Where somebody else's bytes are counted that turned up and were withheld.
const WITHHELD: [&str; 3] = ["/foreign/cache", "/foreign/vault", "/foreign/store"];

pub(super) async fn all(known: &Known<'_>, lab: &Lab, sheet: &mut Sheet<'_>) {
    let at = "every answer";
    sheet
        .run(&catalog::SHARED_HTTP_CACHE, at, async |trial| no_store(known, lab, trial).await)
        .await;
    sheet
        .run(&catalog::CALLER_ID, "request ids", async |trial| request_ids(lab, trial).await)
        .await;
    let at = "identities that disagree";
    sheet.run(&catalog::TENANT_ARG, at, async |trial| disagreeing(lab, trial).await).await;
}

/// Reads of a tenant's own, whatever comes of them.
fn reads(known: &Known<'_>) -> Vec<String> {
    let run = quote(known.run());
    let own = ["/v1/models", "/v1/audit", "/v1/audit/head", "/v1/files", "/v1/batches"];
    let more = [
        format!("/v1/runs/{run}/events"),
        format!("/v1/state/{run}"),
        "/v1/cache/bulkhead-probe/nothing".to_owned(),
        "/v1/responses/resp_of_nobody".to_owned(),
        "/qdrant/collections".to_owned(),
        "/qdrant/collections/bulkhead-probe-nothing".to_owned(),
        "/nowhere".to_owned(),
    ];
    own.into_iter().map(str::to_owned).chain(more).collect()
}

fn forbids(exchange: &Exchange) -> bool {
    let said = exchange.header("cache-control").unwrap_or_default().to_ascii_lowercase();
    said.split(',').any(|word| word.trim() == "no-store")
}

async fn no_store(known: &Known<'_>, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let (mut answered, mut all) = (0, 0);
    trial.strength(Strength::Metadata);
    for path in reads(known) {
        for by in [lab.caller(Side::A), lab.caller(Side::B), &lab.nobody()] {
            let exchange = lab.patiently(by, Request::get(path.clone())).await?;
            all += 1;
            answered += usize::from(exchange.accepted());
            match exchange.status() {
                0 => trial.doubt(format!("{path} was not answered")),
                _ => trial.attacked(),
            }
            if exchange.answer().is_some() && !forbids(&exchange) {
                trial.leak(format!("{path} may be kept by an HTTP cache"), &[&exchange]);
            }
        }
    }
    trial
        .positive(answered >= 4, format!("{answered} of {all} are answers with something in them"));
    trial.negative(!forbids(&Exchange { ..silence() }), "an answer without the word is seen");
    trial.summary(format!("all {all} answers say no-store, refusals too"));
    Ok(())
}

/// An answer that says nothing.
fn silence() -> Exchange {
    Exchange {
        who: String::new(),
        line: String::new(),
        headers: Vec::new(),
        body: None,
        outcome: Ok(crate::wire::Answer::default()),
    }
}

/// B says A's request id of its own request.
async fn request_ids(lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let id = |exchange: &Exchange| exchange.header("x-request-id").map(str::to_owned);
    for _ in 0..3 {
        let mine = lab.patiently(lab.caller(Side::A), Request::get("/v1/models")).await?;
        let again = lab.patiently(lab.caller(Side::A), Request::get("/v1/models")).await?;
        let own = id(&mine).unwrap_or_default();
        trial.positive(!own.is_empty(), "every answer has an id");
        trial.negative(id(&again).as_deref() != Some(&own), "each has another one");
        let replayed = Request::get("/v1/models").header("x-request-id", &own);
        let taken = lab.patiently(lab.caller(Side::B), replayed).await?;
        trial.attacked();
        if !own.is_empty() && id(&taken).as_deref() == Some(&own) {
            trial.leak("B's request has the id of A's", &[&mine, &taken]);
        }
    }
    trial.summary("ids are made here, whatever a caller says");
    Ok(())
}

/// In what form somebody else is named.
#[derive(Clone, Copy)]
enum Naming {
    Header(&'static str),
    Query(&'static str),
}

/// Identities that disagree are refused, and not settled in favour of one: B's credential, and A's
/// name beside it.
async fn disagreeing(lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let (mine, theirs) = (name(lab, Side::A)?, name(lab, Side::B)?);
    let b = lab.caller(Side::B);
    let ask = async |naming: Naming, name: &str| -> Result<Exchange, Halt> {
        let request = match naming {
            Naming::Header(header) => Request::get("/v1/models").header(header, name),
            Naming::Query(field) => Request::get(format!("/v1/models?{field}={}", quote(name))),
        };
        lab.patiently(b, request).await
    };
    let namings = [
        Naming::Header("x-tenant-id"),
        Naming::Header("x-tenant"),
        Naming::Header("x-bulkhead-tenant"),
        Naming::Query("tenant_id"),
        Naming::Query("tenant"),
    ];
    for naming in namings {
        let own = ask(naming, theirs).await?;
        trial.positive(own.accepted(), format!("B's own name is taken ({})", own.status()));
        let other = ask(naming, mine).await?;
        match other.status() {
            200..300 => {
                trial.attacked();
                trial.leak("B goes on, though the request names A", &[&own, &other]);
            }
            400..500 if !matches!(other.status(), 408 | 429) => trial.attacked(),
            status => trial.doubt(format!("a name that disagrees was answered {status}")),
        }
    }
    let nobody = lab.patiently(&lab.nobody(), Request::get("/v1/models")).await?;
    trial.negative(!nobody.accepted(), "nobody is not answered");
    trial.summary(format!("{} ways to name another are refused", namings.len()));
    Ok(())
}

/// How much was withheld so far, by what an operator sees.
pub(super) async fn withheld(desk: &Desk<'_>, lab: &Lab) -> Option<Exchange> {
    desk.operator().ok()?;
    desk.sees(lab, "/admin/v1/status").await.ok()
}

fn count(exchange: &Exchange) -> Option<u64> {
    let status = exchange.json();
    WITHHELD.iter().map(|path| status.pointer(path).and_then(Value::as_u64)).sum()
}

/// Nothing of one tenant turned up with another while all this was done.
pub(super) async fn nothing_met(
    before: Option<&Exchange>,
    desk: &Desk<'_>,
    lab: &Lab,
    sheet: &mut Sheet<'_>,
) {
    let Some(before) = before else { return };
    let body = async |trial: &mut Trial| -> Result<(), Halt> {
        let after = desk.sees(lab, "/admin/v1/status").await?;
        let again = desk.sees(lab, "/admin/v1/status").await?;
        let counts = [before, &after, &again].map(count);
        let note = "the deployment counts what it withholds";
        trial.positive(counts.iter().all(Option::is_some), note);
        trial.negative(counts[1] == counts[2], "the count does not rise by itself");
        trial.attacked();
        let met = counts[1].unwrap_or_default().saturating_sub(counts[0].unwrap_or_default());
        if met > 0 {
            trial.strength(Strength::Metadata);
            let what = format!("{met} reads met another's bytes, which a second lock withheld");
            trial.leak(what, &[before, &after]);
        }
        trial.summary("no read met another's bytes");
        Ok(())
    };
    sheet.run(&catalog::KEY_ESCAPE, "withheld bytes", body).await;
}
