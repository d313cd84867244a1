//! The same prompts, by both tenants: who gets what from where.

use std::collections::HashMap;

use anyhow::Result;
use futures_util::future::try_join_all;

use super::{
    caller::{Ask, Heard, chat},
    stage::{Cast, Stage},
};

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// Who asked.
    pub(super) who: String,
    /// What.
    pub(super) what: String,
    /// `provider` or `cache`, as the answer's own id tells, whatever the header says.
    pub(super) answered: &'static str,
    /// What the header says.
    pub(super) cache: String,
    /// What to see in it.
    pub(super) note: String,
    /// What is wrong with it, if anything.
    pub(super) wrong: Option<String>,
}

/// One thing to ask, and what must come of it.
struct Turn<'a> {
    who: &'a str,
    credential: &'a str,
    what: &'a str,
    prompt: &'a str,
    stream: bool,
    headers: Vec<(&'a str, String)>,
    expected: (&'static str, &'static str),
    note: &'static str,
}

const PROMPT: &str = "Summarise our open invoices";
const OTHER: &str = "Which customer owes us most?";
const FLIGHT: &str = "What is due this week?";
const MISS: (&str, &str) = ("provider", "miss");
const HIT: (&str, &str) = ("cache", "hit");

/// Remembers which answers were given before.
#[derive(Default)]
struct Book {
    ids: HashMap<String, String>,
}

impl Book {
    /// Whether this answer was made for this request, or given before.
    fn place(&mut self, heard: &Heard) -> &'static str {
        match self.ids.insert(heard.id.clone(), heard.who.clone()) {
            None => "provider",
            Some(_) => "cache",
        }
    }
}

/// Asks everything, and says how it went.
pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>> {
    let (mut rows, mut book) = (Vec::new(), Book::default());
    let cast = stage.cast.clone();
    for turn in plain(&cast) {
        let (row, _) = take(stage, &mut book, turn).await?;
        // A real provider that does not answer the first will not answer the rest.
        let vain = rows.is_empty() && row.wrong.is_some() && stage.standin.is_none();
        rows.push(row);
        if vain {
            return Ok(rows);
        }
    }
    let quoted = format!("{OTHER:?}");
    let turn = |who, credential, what, headers, note| Turn {
        who,
        credential,
        what,
        prompt: OTHER,
        stream: false,
        headers,
        expected: MISS,
        note,
    };
    let theirs = turn("globex", cast.globex.as_str(), quoted.as_str(), Vec::new(), "");
    let (row, heard) = take(stage, &mut book, theirs).await?;
    rows.push(row);
    let chosen = ["x-request-id", "idempotency-key", "x-cache-key", "x-cache-namespace"];
    let headers = chosen.iter().map(|name| (*name, heard.request.clone())).collect();
    let what = "replays globex's request, request id and all";
    let note = "ids that callers choose name nothing";
    let replay = turn("acme", cast.acme.as_str(), what, headers, note);
    rows.push(take(stage, &mut book, replay).await?.0);
    rows.extend(at_once(stage, &mut book).await?);
    Ok(rows)
}

fn plain(cast: &Cast) -> Vec<Turn<'_>> {
    let quoted = "\"Summarise our open invoices\"";
    let turn = |who, credential, what, stream, expected, note| Turn {
        who,
        credential,
        what,
        prompt: PROMPT,
        stream,
        headers: Vec::new(),
        expected,
        note,
    };
    let (acme, globex) = (cast.acme.as_str(), cast.globex.as_str());
    let staging = cast.staging.as_str();
    let mut narrowed = turn(
        "acme",
        acme,
        "…with cache-control: no-store",
        false,
        ("provider", "bypass"),
        "callers may only narrow",
    );
    narrowed.headers = vec![("cache-control", "no-store".to_owned())];
    vec![
        turn("acme", acme, quoted, false, MISS, ""),
        turn("acme", acme, quoted, false, HIT, ""),
        turn("globex", globex, quoted, false, MISS, "same bytes, other tenant: never shared"),
        turn("globex", globex, quoted, false, HIT, "its own"),
        turn("acme", acme, "…streamed", true, MISS, ""),
        turn("acme", acme, "…streamed", true, HIT, "replayed as a stream"),
        turn("globex", globex, "…streamed", true, MISS, "other tenant"),
        turn("acme", staging, "…in staging", false, MISS, "same tenant, other environment"),
        turn(
            "acme",
            cast.billing.as_str(),
            "…as workflow billing",
            false,
            MISS,
            "same tenant, other workflow",
        ),
        narrowed,
    ]
}

async fn take(stage: &mut Stage, book: &mut Book, turn: Turn<'_>) -> Result<(Row, Heard)> {
    let Turn { who, credential, what, prompt, stream, headers, expected, note } = turn;
    let body = chat(&stage.model, prompt, stream).to_string();
    let mut ask = Ask::post(stage.data("/v1/chat/completions")?, body).bearer(credential);
    for (name, value) in &headers {
        ask = ask.header(name, value);
    }
    let heard = stage.caller.ask(who, what, ask).await?;
    let row = judge(stage, book, &heard, what, expected, note, stream);
    Ok((row, heard))
}

fn judge(
    stage: &mut Stage,
    book: &mut Book,
    heard: &Heard,
    what: &str,
    expected: (&'static str, &'static str),
    note: &str,
    stream: bool,
) -> Row {
    let answered = if heard.status == 200 { book.place(heard) } else { "nobody" };
    let wrong = if heard.status != 200 {
        Some(format!("{} {}", heard.status, heard.code))
    } else if heard.id.is_empty() || (stream && !heard.streamed) {
        Some("half an answer".to_owned())
    } else if (answered, heard.cache.as_str()) != expected {
        Some(format!("expected {} {}", expected.0, expected.1))
    } else {
        None
    };
    stage.learn(heard);
    let took = heard.took.as_secs_f64() * 1_000.0;
    let saved = if answered == "cache" { "saved " } else { "" };
    let cost = format!("{saved}{} tokens, {took:.1} ms", heard.tokens);
    let note = if note.is_empty() { cost } else { format!("{cost} · {note}") };
    Row {
        who: heard.who.clone(),
        what: what.to_owned(),
        answered,
        cache: heard.cache.clone(),
        note,
        wrong,
    }
}

/// Both tenants at once, several times the same: each tenant's flight asks the provider once.
async fn at_once(stage: &mut Stage, book: &mut Book) -> Result<Vec<Row>> {
    const EACH: usize = 4;
    let body = chat(&stage.model, FLIGHT, false).to_string();
    let cast = stage.cast.clone();
    let all = [("acme", cast.acme.as_str()), ("globex", cast.globex.as_str())].repeat(EACH);
    let mut flights = Vec::new();
    for (who, credential) in all {
        let url = stage.data("/v1/chat/completions")?;
        let ask = Ask::post(url, body.clone()).bearer(credential);
        flights.push(stage.caller.ask(who, "four at once", ask));
    }
    let heard = try_join_all(flights).await?;
    let rows = ["acme", "globex"].map(|who| {
        let own: Vec<&Heard> = heard.iter().filter(|heard| heard.who == who).collect();
        let made = own.iter().filter(|heard| book.place(heard) == "provider").count();
        let good = own.iter().all(|heard| heard.status == 200 && !heard.id.is_empty());
        let count = |state: &str| own.iter().filter(|heard| heard.cache == state).count();
        Row {
            who: who.to_owned(),
            what: format!("{FLIGHT:?} ×{EACH}, both tenants at once"),
            answered: if made == 1 { "provider" } else { "several" },
            cache: format!("{} hit", count("hit")),
            note: format!("the provider was asked {}", times(made)),
            wrong: (!good || made != 1).then(|| "expected one answer for all".to_owned()),
        }
    });
    for heard in &heard {
        stage.learn(heard);
    }
    Ok(rows.into())
}

fn times(count: usize) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}
