//! The other ways to a provider, and what is kept: at the provider, in run state, in the cache
//! of agents. Only with the stand-in, which has an account that both tenants share.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    asks,
    caller::{Ask, Heard},
    provider::{EMBED, MESSAGES, SHARED},
    refusals,
    stage::Stage,
};
use crate::standin::{Seen, StandIn};

/// The run of every token: each tenant has one of this name.
pub(super) const RUN: &str = "run_invoices";

/// What was asked, and what must be refused.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) asks: Vec<asks::Row>,
    pub(super) refusals: Vec<refusals::Row>,
}

/// Asks and tries everything.
pub(super) async fn run(stage: &Stage) -> Result<Rows> {
    let mut rows = Rows::default();
    if stage.standin.is_none() {
        return Ok(rows);
    }
    endpoints(stage, &mut rows).await?;
    handles(stage, &mut rows).await?;
    kept(stage, &mut rows).await?;
    rows.asks.push(salts(stage));
    Ok(rows)
}

/// Who asks, with what.
fn holders(stage: &Stage) -> [(&'static str, &'static str, &str); 3] {
    let cast = &stage.cast;
    [("acme", "", &cast.acme), ("globex", "", &cast.globex), ("acme", " in staging", &cast.staging)]
}

fn row(heard: &Heard, note: &str, good: bool) -> asks::Row {
    let took = heard.took.as_secs_f64() * 1_000.0;
    let wrong = (!good || heard.status != 200).then(|| format!("{} {}", heard.status, heard.code));
    asks::Row {
        who: heard.who.clone(),
        what: heard.what.clone(),
        answered: "provider",
        cache: heard.cache.clone(),
        note: format!("{took:.1} ms · {note}"),
        wrong,
    }
}

async fn post(
    stage: &Stage,
    who: &str,
    what: &str,
    to: (&str, &str),
    body: Value,
) -> Result<Heard> {
    let (path, credential) = to;
    let ask = Ask::post(stage.data(path)?, body.to_string()).bearer(credential);
    stage.caller.ask(who, what, ask).await
}

async fn endpoints(stage: &Stage, rows: &mut Rows) -> Result<()> {
    let acme = stage.cast.acme.as_str();
    let ask = json!({ "model": EMBED, "input": "Which invoices are open?" });
    let heard = post(stage, "acme", "an embedding", ("/v1/embeddings", acme), ask).await?;
    rows.asks.push(row(&heard, "/v1/embeddings", heard.everything.contains("\"embedding\"")));
    let ask = json!({
        "model": MESSAGES, "max_tokens": 64,
        "messages": [{ "role": "user", "content": "Which invoices are open?" }],
    });
    let heard = post(stage, "acme", "a message, Anthropic's way", ("/v1/messages", acme), ask);
    let heard = heard.await?;
    rows.asks.push(row(&heard, "/v1/messages", heard.id.starts_with("msg_")));
    Ok(())
}

/// Responses that the provider keeps, at an account that all share: each one's id is its
/// maker's.
async fn handles(stage: &Stage, rows: &mut Rows) -> Result<()> {
    let at = |credential| ("/v1/responses", credential);
    let mut first = String::new();
    for (who, place, credential) in holders(stage) {
        let ask = json!({ "model": SHARED, "input": "Remember our invoices" });
        let what = format!("a response{place}, kept at an account that all share");
        let made = post(stage, who, &what, at(credential), ask).await?;
        rows.asks.push(row(&made, "/v1/responses", made.id.starts_with("resp_")));
        if first.is_empty() {
            first = made.id;
        }
    }
    for (who, place, credential) in holders(stage) {
        let ask = json!({ "model": SHARED, "input": "Go on", "previous_response_id": first });
        let own = (who, place) == ("acme", "");
        let what = match own {
            true => "…carried on by its id".to_owned(),
            false => format!("{who}{place} carries acme's response on by its id"),
        };
        let heard = post(stage, who, &what, at(credential), ask).await?;
        if own {
            rows.asks.push(row(&heard, "made by acme in live", true));
        } else {
            rows.refusals.push(refusals::judge(what, &heard, 404, "model.handle"));
        }
    }
    Ok(())
}

/// What acme's agents keep, by names that everybody knows.
async fn kept(stage: &Stage, rows: &mut Rows) -> Result<()> {
    for (what, path) in [
        ("run state", format!("/v1/state/{RUN}/plan")),
        ("result in the cache", "/v1/cache/invoices/open".to_owned()),
    ] {
        let body = json!({ "note": "three open" }).to_string();
        let put = Ask::put(stage.data(&path)?, body).bearer(&stage.cast.acme);
        let put = stage.caller.ask("acme", &format!("keeps a {what}"), put).await?;
        for (who, place, credential) in holders(stage) {
            let told = format!("{who}{place} reads acme's {what} by its name");
            let ask = Ask::get(stage.data(&path)?).bearer(credential);
            let heard = stage.caller.ask(who, &told, ask).await?;
            if (who, place) != ("acme", "") {
                rows.refusals.push(refusals::judge(told, &heard, 404, "not_found"));
                continue;
            }
            let back = heard.status == 200 && heard.everything.contains("three open");
            if !back || !matches!(put.status, 200 | 201 | 204) {
                let mut lost = refusals::judge(told, &heard, 200, "");
                lost.wrong = Some(format!("kept with {}, read with {}", put.status, heard.status));
                rows.refusals.push(lost);
            }
        }
    }
    Ok(())
}

/// What the prompt cache of the shared account was salted with: acme asked twice in live, and
/// once in staging, and globex once; what was refused did not go out.
fn salts(stage: &Stage) -> asks::Row {
    let seen = stage.standin.as_ref().map(StandIn::seen).unwrap_or_default();
    let salt = |seen: &Seen| {
        let (_, body) = seen.text.split_once('\n')?;
        let body: Value = serde_json::from_str(body).ok()?;
        Some(body.get("cache_salt")?.as_str()?.to_owned())
    };
    let salts: Vec<String> = seen.iter().filter_map(salt).collect();
    let apart: BTreeSet<&String> = salts.iter().collect();
    let wrong = (salts.len(), apart.len()) != (4, 3);
    asks::Row {
        who: "all".into(),
        what: "…whose prompt cache is salted for each".into(),
        answered: "provider",
        cache: String::new(),
        note: format!("{} requests with {} salts", salts.len(), apart.len()),
        wrong: wrong.then(|| "expected 4 with 3".into()),
    }
}
