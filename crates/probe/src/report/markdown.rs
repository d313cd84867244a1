//! Markdown, for a pull request or a ticket.

use std::fmt::Write as _;

use super::Report;
use crate::{
    questions::Reply,
    verdict::{Finding, Proof, Verdict},
};

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a text does not fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let (leaks, unproven) = (report.count(Verdict::Leak), report.count(Verdict::NotProven));
    let isolated = report.count(Verdict::Isolated);
    writeln!(out, "# Tenant isolation: {}\n", text(&report.file))?;
    writeln!(
        out,
        "**{leaks} LEAK · {isolated} ISOLATED · {unproven} NOT PROVEN**, by bulkhead probe {} with {} requests.\n",
        report.version, report.spent.requests
    )?;
    writeln!(out, "| question | answer | evidence |\n|---|---|---|")?;
    for (at, answered) in report.questions.iter().enumerate() {
        let evidence = match answered.answer {
            Reply::Yes => {
                let proofs: Vec<String> = answered.proofs.iter().map(usize::to_string).collect();
                format!("proof {}", proofs.join(", "))
            }
            Reply::No => format!("{} checks", answered.checks),
            Reply::NotProven => {
                answered.missing.first().map_or("no check".into(), ToString::to_string)
            }
        };
        let question = answered.question.text();
        writeln!(
            out,
            "| {}. {question} | {} | {} |",
            at + 1,
            answered.answer.label(),
            text(&evidence)
        )?;
    }
    writeln!(out, "\n| verdict | target | place | check | |\n|---|---|---|---|---|")?;
    for finding in &report.findings {
        let Finding { verdict, target, place, check, summary, proof, .. } = finding;
        let proof = proof.as_ref().map(|proof| format!(" (proof {})", proof.number));
        let (target, place, summary) = (text(target), text(place), text(summary));
        let (id, proof) = (check.id, proof.unwrap_or_default());
        writeln!(out, "| {} | {target} | {place} | `{id}` | {summary}{proof} |", verdict.label())?;
    }
    for finding in report.findings.iter().filter(|finding| finding.verdict == Verdict::Leak) {
        leak(out, finding)?;
    }
    if !report.uncovered.is_empty() {
        writeln!(out, "\n## Not covered\n")?;
        for uncovered in &report.uncovered {
            writeln!(out, "* `{}`: add {}", uncovered.check, text(uncovered.add))?;
        }
    }
    Ok(())
}

fn leak(out: &mut String, finding: &Finding) -> std::fmt::Result {
    let check = finding.check;
    writeln!(
        out,
        "\n## {} at {}\n\n{}\n\n{}.\n",
        check.id,
        text(&finding.target),
        check.means,
        text(&finding.summary)
    )?;
    writeln!(
        out,
        "**Fix.** {} See [{id}]({page}).\n",
        check.fix,
        id = check.id,
        page = check.page()
    )?;
    let Some(Proof { number, steps }) = &finding.proof else { return Ok(()) };
    writeln!(out, "**Proof {number}.** `bulkhead probe replay {number}`\n\n```text")?;
    for step in steps {
        writeln!(out, "{}: {} -> {}", step.who, fence(&step.line), fence(&step.outcome))?;
        if let Some(excerpt) = &step.excerpt {
            writeln!(out, "   {}", fence(excerpt))?;
        }
    }
    writeln!(out, "```")
}

/// What a target said must not become markup of the report.
fn text(said: &str) -> String {
    let mut out = String::with_capacity(said.len());
    for c in said.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!' => {
                out.extend(['\\', c])
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn fence(said: &str) -> String {
    said.replace("```", "'''").replace(char::is_control, " ")
}
