//! One page of HTML that needs nothing else: no script, no address, nothing fetched.

use std::fmt::Write as _;

use quick_xml::escape::escape;

use super::Report;
use crate::{
    questions::Reply,
    verdict::{Finding, Proof, Verdict},
};

const STYLE: &str = include_str!("report.css");

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a text does not fail.
    let _ = page(&mut out, report);
    out
}

fn page(out: &mut String, report: &Report) -> std::fmt::Result {
    let file = escape(report.file.as_str());
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Tenant isolation: {file}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    )?;
    head(out, report)?;
    questions(out, report)?;
    findings(out, report)?;
    for finding in report.findings.iter().filter(|finding| finding.verdict == Verdict::Leak) {
        leak(out, finding)?;
    }
    method(out, report)?;
    writeln!(out, "</main>\n</body>\n</html>")
}

fn head(out: &mut String, report: &Report) -> std::fmt::Result {
    let file = escape(report.file.as_str());
    let count = |verdict: Verdict| report.count(verdict);
    writeln!(out, "<h1>Tenant isolation <small>{file}</small></h1>\n<p class=\"sums\">")?;
    for verdict in [Verdict::Leak, Verdict::Isolated, Verdict::NotProven] {
        writeln!(
            out,
            "<span class=\"{}\"><b>{}</b> {}</span>",
            class(verdict),
            count(verdict),
            verdict.label()
        )?;
    }
    let spent = report.spent;
    writeln!(
        out,
        "</p>\n<p>{}. bulkhead probe {}, run {}, seed {}: {} requests, at most ${:.2}; {} canaries planted, {} removed, {} shown to be gone.</p>",
        escape(report.begun.as_str()),
        report.version,
        escape(report.run.as_str()),
        report.seed,
        spent.requests,
        spent.usd,
        report.canaries.planted,
        report.canaries.removed,
        report.canaries.verified
    )
}

fn questions(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "<h2>Five questions</h2>\n<table>\n<tbody>")?;
    for (at, answered) in report.questions.iter().enumerate() {
        let (class, evidence) = match answered.answer {
            Reply::Yes => {
                let links =
                    answered.proofs.iter().map(|n| format!("<a href=\"#proof-{n}\">{n}</a>"));
                ("leak", format!("proof {}", links.collect::<Vec<_>>().join(", ")))
            }
            Reply::No => ("isolated", format!("{} checks", answered.checks)),
            Reply::NotProven => {
                let missing =
                    answered.missing.iter().map(|why| escape(why.to_string()).into_owned());
                ("not-proven", missing.collect::<Vec<_>>().join("<br>"))
            }
        };
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{evidence}</td></tr>",
            at + 1,
            escape(answered.question.text()),
            answered.answer.label()
        )?;
    }
    writeln!(out, "</tbody>\n</table>")
}

fn findings(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>Checks</h2>\n<table>\n<thead><tr><th>Verdict</th><th>Target</th><th>Place</th><th>Check</th><th>What was seen</th><th>Controls</th></tr></thead>\n<tbody>"
    )?;
    for finding in &report.findings {
        let Finding { verdict, target, place, check, summary, .. } = finding;
        let proof = finding
            .proof
            .as_ref()
            .map(|Proof { number, .. }| format!(" <a href=\"#proof-{number}\">proof {number}</a>"));
        let controls =
            [("+", &finding.positive), ("−", &finding.negative)].map(|(sign, control)| {
                let Some(control) = control else { return format!("<li>{sign} none</li>") };
                let mark = if control.held { "" } else { " failed:" };
                format!("<li>{sign}{mark} {}</li>", escape(control.note.as_str()))
            });
        let statistic = finding.statistic.as_ref().map(|s| {
            format!(
                "<br><small>{}: n = {}, p = {:.2e} (α = {:.0e}), power {:.2}</small>",
                escape(s.test),
                s.samples,
                s.p,
                s.alpha,
                s.power
            )
        });
        writeln!(
            out,
            "<tr><td class=\"{}\">{}</td><td>{}</td><td>{}</td><td title=\"{}\">{}</td><td>{}{}{}</td><td><ul>{}</ul></td></tr>",
            class(*verdict),
            verdict.label(),
            escape(target.as_str()),
            escape(place.as_str()),
            escape(check.title),
            check.id,
            escape(summary.as_str()),
            proof.unwrap_or_default(),
            statistic.unwrap_or_default(),
            controls.concat()
        )?;
    }
    writeln!(out, "</tbody>\n</table>")
}

fn leak(out: &mut String, finding: &Finding) -> std::fmt::Result {
    let check = finding.check;
    let number = finding.proof.as_ref().map_or(0, |proof| proof.number);
    writeln!(
        out,
        "<section id=\"proof-{number}\">\n<h2>Proof {number}: {} at {}</h2>\n<p>{}</p>\n<p>{}</p>\n<p><b>Fix.</b> {}</p>",
        check.id,
        escape(finding.target.as_str()),
        escape(finding.summary.as_str()),
        escape(check.means),
        escape(check.fix)
    )?;
    let rows = check.standards.iter().map(|s| format!("{} {}", s.name, s.row));
    let rows = rows.collect::<Vec<_>>().join(" · ");
    writeln!(out, "<p><small>{}</small></p>\n<ol class=\"steps\">", escape(rows.as_str()))?;
    for step in finding.proof.iter().flat_map(|proof| &proof.steps) {
        let line = format!("{}: {} → {}", step.who, step.line, step.outcome);
        writeln!(out, "<li><code>{}</code>", escape(line.as_str()))?;
        for (name, shown) in [("sent", &step.body), ("got", &step.excerpt)] {
            if let Some(shown) = shown {
                writeln!(out, "<pre>{name}: {}</pre>", escape(shown.as_str()))?;
            }
        }
        writeln!(out, "</li>")?;
    }
    writeln!(out, "</ol>\n<p><code>bulkhead probe replay {number}</code></p>\n</section>")
}

fn method(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>How to read this</h2>\n<p>A check plants a random text of 128 bits as one tenant and looks for it in all that the other one gets, in several encodings. \
         <b>LEAK</b>: it was there. <b>ISOLATED</b>: it was not, while the same look found it for its owner (positive control, +) and did not find a text that was never planted (negative control, −). \
         <b>NOT PROVEN</b>: a control failed, or the attack could not be carried out; silence would mean nothing. No verdict is a model's opinion.</p>"
    )?;
    if !report.uncovered.is_empty() {
        writeln!(out, "<h2>Not covered</h2>\n<ul>")?;
        for uncovered in &report.uncovered {
            let told = format!("{}: add {}", uncovered.check, uncovered.add);
            writeln!(out, "<li>{}</li>", escape(told))?;
        }
        writeln!(out, "</ul>")?;
    }
    Ok(())
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Leak => "leak",
        Verdict::NotProven => "not-proven",
        Verdict::Isolated => "isolated",
    }
}
