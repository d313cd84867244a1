//! What the demo prints.

use anyhow::Result;
use serde_json::json;

use super::{asks, canary::Leak, refusals, stage::Stage};
use crate::print::{Ink, Printer};

/// Everything that the demo found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Who got what from where.
    pub(super) asks: Vec<asks::Row>,
    /// What was refused.
    pub(super) refusals: Vec<refusals::Row>,
    /// What leaked.
    pub(super) leaks: Vec<Leak>,
    /// Answers and provider requests that were searched.
    pub(super) checks: usize,
    /// Canaries that they were searched for.
    pub(super) canaries: usize,
}

impl Findings {
    /// Whether everything was as it should be.
    pub(super) fn good(&self) -> bool {
        self.leaks.is_empty()
            && self.asks.iter().all(|row| row.wrong.is_none())
            && self.refusals.iter().all(|row| row.wrong.is_none())
    }
}

/// The first line.
pub(super) fn head(provider: &str, out: Printer) -> Result<()> {
    if out.is_json() {
        return Ok(());
    }
    let what = "embedded · data in a temporary directory";
    out.line(format!("{} · {what} · provider: {provider}\n", out.ink(Ink::Bold, "Bulkhead demo")))
}

/// The tables and the verdict.
pub(super) fn body(found: &Findings, out: Printer) -> Result<()> {
    if out.is_json() {
        return out.value(&as_json(found));
    }
    let wide = found.asks.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let head = format!(
        "  {:<wide$}  {:<11}  {:<6}  note",
        "same prompt, two customers",
        "answered by",
        "cache",
        wide = wide + 8
    );
    out.line(out.ink(Ink::Dim, &head))?;
    for row in &found.asks {
        let line = format!(
            "  {:<6}  {:<wide$}  {:<11}  {:<6}  ",
            row.who, row.what, row.answered, row.cache
        );
        out.line(verdict(&line, &row.note, row.wrong.as_deref(), out))?;
    }
    let wide = found.refusals.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    out.line("")?;
    let head = format!("  {:<wide$}  code", "refused, as it should be");
    out.line(out.ink(Ink::Dim, &head))?;
    for row in &found.refusals {
        out.line(verdict(
            &format!("  {:<wide$}  ", row.what),
            &row.got,
            row.wrong.as_deref(),
            out,
        ))?;
    }
    out.line("")?;
    for Leak { owner, what, got, place } in &found.leaks {
        let line = format!("  LEAK: {got} got {owner}'s {what}: {place}");
        out.line(out.ink(Ink::Red, &line))?;
    }
    let sum = format!("  {} leaks in {} checks", found.leaks.len(), found.checks);
    let ink = if found.leaks.is_empty() { Ink::Green } else { Ink::Red };
    let how = format!(
        " (each answer and provider request, searched for {} things that are others' alone)",
        found.canaries
    );
    out.line(format!("{}{}", out.ink(ink, &sum), out.ink(Ink::Dim, &how)))
}

fn verdict(line: &str, note: &str, wrong: Option<&str>, out: Printer) -> String {
    match wrong {
        None => format!("{line}{note}"),
        Some(wrong) => out.ink(Ink::Red, &format!("{line}{note}  ✗ {wrong}")).into_owned(),
    }
}

fn as_json(found: &Findings) -> serde_json::Value {
    let asks = found.asks.iter().map(|row| {
        json!({
            "who": row.who, "what": row.what, "answered_by": row.answered, "cache": row.cache,
            "note": row.note, "wrong": row.wrong,
        })
    });
    let refusals = found
        .refusals
        .iter()
        .map(|row| json!({ "what": row.what, "got": row.got, "wrong": row.wrong }));
    let leaks = found.leaks.iter().map(|leak| {
        json!({ "owner": leak.owner, "what": leak.what, "got": leak.got, "place": leak.place })
    });
    json!({
        "asks": asks.collect::<Vec<_>>(),
        "refusals": refusals.collect::<Vec<_>>(),
        "leaks": leaks.collect::<Vec<_>>(),
        "checks": found.checks,
        "good": found.good(),
    })
}

/// The lines to paste.
pub(super) fn paste(stage: &Stage, keep: bool, out: Printer) -> Result<()> {
    if out.is_json() {
        return Ok(());
    }
    let base = stage.data("/v1")?;
    let (key, model) = (&stage.cast.key, &stage.model);
    let when = if keep {
        "Try it, as acme:"
    } else {
        "Try it: run it again with --keep, which leaves it running; then, as acme:"
    };
    out.line(format!("\n{}", out.ink(Ink::Bold, when)))?;
    // Without --keep nothing listens any more, and the next run has another port and key.
    let (base, key) =
        if keep { (base.as_str(), key.as_str()) } else { ("http://127.0.0.1:…/v1", "bk_…") };
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello" }] });
    for line in [
        format!("  export OPENAI_BASE_URL={base} OPENAI_API_KEY={key}"),
        "  curl -si $OPENAI_BASE_URL/chat/completions -H \"authorization: Bearer $OPENAI_API_KEY\" \\".to_owned(),
        format!("    -H 'content-type: application/json' -d '{body}'"),
        format!(
            "  python -c 'from openai import OpenAI; print(OpenAI().chat.completions.create(model=\"{model}\", messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]))'"
        ),
    ] {
        out.line(line)?;
    }
    if keep {
        out.line(format!("  bulkhead tenant list --dir {}", stage.directory().display()))?;
        out.line(out.ink(Ink::Dim, "\nRunning until Ctrl-C."))?;
    }
    Ok(())
}
