//! The report as people read it.

use std::collections::BTreeSet;

use probe::{
    Answered, Finding, Foreseen, Leftover, Outcome, Reply, Report, Verdict,
    report::{Compared, Place},
};

use super::To;
use crate::print::{Ink, Printer, tame};

/// With more findings than this, those that are alike share a line.
const LONG: usize = 24;
/// Lines of NOT PROVEN in a long table.
const DOUBTS: usize = 12;
/// So wide is a summary.
const WIDE: usize = 64;

/// A line of the table.
struct Row {
    verdict: Verdict,
    target: String,
    check: String,
    summary: String,
    proof: String,
}

/// All of it, line by line.
pub(super) fn lines(report: &Report, to: &To, out: Printer) -> Vec<String> {
    if report.dry_run {
        return foreseen(report, out);
    }
    let mut lines = vec![head(report, out)];
    lines.extend(planting(report, out));
    lines.push(String::new());
    lines.extend(findings(report, to.verbose, out));
    lines.push(String::new());
    lines.extend(report.questions.iter().map(|answered| question(answered, out)));
    lines.extend(uncovered(report, to.verbose, out));
    lines.extend(report.baseline.iter().flat_map(|compared| baseline(compared, out)));
    lines.push(String::new());
    lines.push(last(report, report.status(to.fail_on.into()), out));
    lines
}

/// A number with its noun.
pub(super) fn count(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

fn head(report: &Report, out: Printer) -> String {
    let spent = &report.spent;
    let seconds = f64::from(u32::try_from(report.milliseconds).unwrap_or(u32::MAX)) / 1e3;
    let mut line = format!(
        "{}  {}  {}  ${:.2}/${:.2}  {seconds:.0} s",
        out.ink(Ink::Bold, &tame(&report.file)),
        count(report.targets.len(), "target"),
        count(usize::try_from(spent.requests).unwrap_or(usize::MAX), "request"),
        spent.usd,
        report.budget.usd,
    );
    line.push_str(&out.ink(Ink::Dim, &format!("  seed {}", report.seed)));
    if report.stopped {
        line.push_str(&out.ink(Ink::Yellow, "  ended before its end"));
    }
    line
}

/// What became of the canaries; what could not be removed is loud.
fn planting(report: &Report, out: Printer) -> Vec<String> {
    let canaries = &report.canaries;
    let verified = match canaries.verified {
        0 => String::new(),
        all if all == canaries.removed => ", verified".to_owned(),
        some => format!(", {some} verified"),
    };
    let mut lines = vec![format!(
        "{} planted, {} removed{verified}",
        count(canaries.planted, "canary").replace("canarys", "canaries"),
        canaries.removed,
    )];
    lines.extend(leftovers(&canaries.left, out));
    shortened(lines, LONG)
}

/// What is there still: a line for each place and reason, the first of its things by name.
pub(super) fn leftovers(left: &[Leftover], out: Printer) -> Vec<String> {
    let mut rows: Vec<(&Leftover, usize)> = Vec::new();
    for one in left {
        let same = |known: &Leftover| {
            (&known.target, &known.place, &known.why, known.failed)
                == (&one.target, &one.place, &one.why, one.failed)
        };
        match rows.iter_mut().find(|(known, _)| same(known)) {
            Some((_, more)) => *more += 1,
            None => rows.push((one, 0)),
        }
    }
    let row = |(left, more): &(&Leftover, usize)| {
        let (mark, ink) = match left.failed {
            true => ("NOT REMOVED", Ink::Red),
            false => ("stays", Ink::Dim),
        };
        let Leftover { target, place, what, why, by_hand, .. } = left;
        let more = if *more == 0 { String::new() } else { format!(" and {more} more") };
        let text = format!("{mark}  {target} {place}: {what}{more}: {why}; {by_hand}");
        out.ink(ink, &tame(&text)).into_owned()
    };
    rows.iter().map(row).collect()
}

/// The first of many lines.
fn shortened(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        let more = lines.len() - most;
        lines.truncate(most);
        lines.push(format!("… and {more} more: --format json has all"));
    }
    lines
}

fn findings(report: &Report, verbose: bool, out: Printer) -> Vec<String> {
    let long = report.findings.len() > LONG && !verbose;
    let of = |verdict| report.findings.iter().filter(move |finding| finding.verdict == verdict);
    let leaks = of(Verdict::Leak).map(|finding| single(report, finding)).collect::<Vec<_>>();
    let (isolated, doubts) = match long {
        true => (together(of(Verdict::Isolated)), shared(of(Verdict::NotProven))),
        false => (
            of(Verdict::Isolated).map(|finding| single(report, finding)).collect(),
            of(Verdict::NotProven).map(|finding| single(report, finding)).collect(),
        ),
    };
    let more = if long { doubts.len().saturating_sub(DOUBTS) } else { 0 };
    let kept = doubts.len() - more;
    let rows: Vec<Row> =
        leaks.into_iter().chain(isolated).chain(doubts.into_iter().take(kept)).collect();
    let mut lines = aligned(&rows, out);
    if more > 0 {
        lines.push(format!("            … and {more} more not proven: --verbose"));
    }
    if lines.is_empty() {
        lines.push(out.ink(Ink::Yellow, "nothing was asked").into_owned());
    }
    lines
}

/// A finding by itself.
fn single(report: &Report, finding: &Finding) -> Row {
    // The place is told where the check was done at several of the target's.
    let several = report.findings.iter().any(|other| {
        other.target == finding.target
            && other.check.id == finding.check.id
            && other.place != finding.place
    });
    let target = match several {
        true => format!("{} {}", finding.target, finding.place),
        false => finding.target.clone(),
    };
    let proof = finding.proof.as_ref();
    Row {
        verdict: finding.verdict,
        target,
        check: finding.check.id.to_owned(),
        summary: finding.summary.clone(),
        proof: proof.map(|proof| format!("proof {}", proof.number)).unwrap_or_default(),
    }
}

/// What is isolated, a line a target.
fn together<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<Row> {
    let mut rows: Vec<(String, usize, BTreeSet<&str>)> = Vec::new();
    for finding in findings {
        match rows.iter_mut().find(|(target, ..)| *target == finding.target) {
            Some((_, times, checks)) => {
                *times += 1;
                checks.insert(finding.check.id);
            }
            None => rows.push((finding.target.clone(), 1, [finding.check.id].into())),
        }
    }
    let row = |(target, times, checks): (String, usize, BTreeSet<&str>)| Row {
        verdict: Verdict::Isolated,
        target,
        check: count(times, "check"),
        summary: checks.into_iter().collect::<Vec<_>>().join(", "),
        proof: String::new(),
    };
    rows.into_iter().map(row).collect()
}

/// What is not proven for the same reason, a line a target and reason.
fn shared<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<Row> {
    let mut rows: Vec<(Row, usize)> = Vec::new();
    for finding in findings {
        let same = |row: &Row| row.target == finding.target && row.summary == finding.summary;
        match rows.iter_mut().find(|(row, _)| same(row)) {
            Some((_, more)) => *more += 1,
            None => {
                let row = Row {
                    verdict: finding.verdict,
                    target: finding.target.clone(),
                    check: finding.check.id.to_owned(),
                    summary: finding.summary.clone(),
                    proof: String::new(),
                };
                rows.push((row, 0));
            }
        }
    }
    let told = |(mut row, more): (Row, usize)| {
        if more > 0 {
            row.check.push_str(&format!(" +{more}"));
        }
        row
    };
    rows.into_iter().map(told).collect()
}

fn aligned(rows: &[Row], out: Printer) -> Vec<String> {
    let wide = |cell: fn(&Row) -> &str| {
        rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0)
    };
    let (target, check) = (wide(|row| &row.target), wide(|row| &row.check));
    let summary = wide(|row| &row.summary).min(WIDE);
    let line = |row: &Row| {
        let ink = ink(row.verdict);
        let label = format!("{:<10}", row.verdict.label());
        let mut line = format!(
            "{}  {:<target$}  {:<check$}  {:<summary$}  {}",
            out.ink(ink, &label),
            tame(&row.target),
            row.check,
            cut(&tame(&row.summary)),
            out.ink(Ink::Bold, &row.proof),
        );
        line.truncate(line.trim_end().len());
        line
    };
    rows.iter().map(line).collect()
}

fn ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Leak => Ink::Red,
        Verdict::NotProven => Ink::Yellow,
        Verdict::Isolated => Ink::Green,
    }
}

fn cut(text: &str) -> String {
    match text.chars().count() {
        long if long > WIDE => text.chars().take(WIDE - 1).chain(['…']).collect(),
        _ => text.to_owned(),
    }
}

fn question(answered: &Answered, out: Printer) -> String {
    let which = answered.question;
    let (ink, detail) = match answered.answer {
        Reply::Yes => (Ink::Red, ranges(&answered.proofs)),
        Reply::No => (Ink::Green, count(answered.checks, "check")),
        Reply::NotProven => (Ink::Yellow, missing(answered)),
    };
    let label = format!("{:<10}", answered.answer.label());
    format!("{} {:<20}  {}  {detail}", which.number(), which.short(), out.ink(ink, &label))
        .trim_end()
        .to_owned()
}

/// Numbers in their order, those that follow each other as one: 1, 3–5.
fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let part = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}–{last}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// The first thing that is missing, and how many more.
fn missing(answered: &Answered) -> String {
    let Some(first) = answered.missing.first() else { return "nothing was asked".to_owned() };
    let more = answered.missing.len() - 1;
    let more = if more == 0 { String::new() } else { format!(" (+{more})") };
    format!("{}{more}", cut(&tame(&first.to_string())))
}

/// Checks that no target could be put to, by what they need.
fn uncovered(report: &Report, verbose: bool, out: Printer) -> Vec<String> {
    let mut needs: Vec<(&str, Vec<&str>)> = Vec::new();
    for open in &report.uncovered {
        match needs.iter_mut().find(|(add, _)| *add == open.add) {
            Some((_, checks)) => checks.push(open.check),
            None => needs.push((open.add, vec![open.check])),
        }
    }
    if needs.is_empty() {
        return Vec::new();
    }
    let what = format!("Not covered: {}; add", count(report.uncovered.len(), "check"));
    let mut lines = vec![String::new(), out.ink(Ink::Dim, &what).into_owned()];
    let rows = needs.iter().map(|(add, checks)| match (checks.as_slice(), verbose) {
        ([one, two, more @ ..], false) if !more.is_empty() => {
            format!("  {add}  for {one}, {two} and {} more", more.len())
        }
        (all, _) => format!("  {add}  for {}", all.join(", ")),
    });
    lines.extend(rows.map(|row| out.ink(Ink::Dim, &row).into_owned()));
    lines
}

fn baseline(compared: &Compared, out: Printer) -> Vec<String> {
    let Compared { new, fixed, unchanged, unclear, .. } = compared;
    let mut lines = vec![
        String::new(),
        format!(
            "Since the baseline: {} new, {} fixed, {} unchanged, {} unclear",
            new.len(),
            fixed.len(),
            unchanged.len(),
            unclear.len()
        ),
    ];
    for (what, places, ink) in
        [("new", new, Ink::Red), ("fixed", fixed, Ink::Green), ("unclear", unclear, Ink::Yellow)]
    {
        let row = |place: &Place| {
            let label = format!("  {what:<8}{:<10}", place.verdict.label());
            format!("{}  {} {} {}", out.ink(ink, &label), place.target, place.place, place.check)
        };
        lines.extend(shortened(places.iter().map(row).collect(), DOUBTS));
    }
    lines
}

/// What to do next, and how it ends.
fn last(report: &Report, status: u8, out: Printer) -> String {
    let exit = out.ink(Ink::Bold, &format!("exit {status}")).into_owned();
    let leak = report.findings.iter().find_map(|finding| {
        let proof = finding.proof.as_ref()?;
        Some((finding.check.id, proof.number))
    });
    match (leak, report.outcome) {
        (Some((check, number)), _) => format!(
            "Fix: docs/checks/{check}.md    Repeat: bulkhead probe replay {number}    {exit}"
        ),
        (None, Outcome::Clean) => format!("Nothing crossed in {}    {exit}", checks(report)),
        (None, Outcome::LittleCovered) => {
            format!("Nothing crossed in {}, but too little is covered    {exit}", checks(report))
        }
        (None, _) => {
            let doubts = report.count(Verdict::NotProven);
            format!("No leak, but {doubts} of {} not proven    {exit}", checks(report))
        }
    }
}

fn checks(report: &Report) -> String {
    count(report.findings.len(), "check")
}

/// A dry run: every request, by target.
fn foreseen(report: &Report, out: Printer) -> Vec<String> {
    let sum: u64 = report.foreseen.iter().map(|target| target.requests).sum();
    let usd: f64 = report.foreseen.iter().map(|target| target.usd).sum();
    let mut lines = vec![format!(
        "{}  {}  {sum} requests  at most ${usd:.2}  nothing was sent",
        out.ink(Ink::Bold, &tame(&report.file)),
        count(report.targets.len(), "target"),
    )];
    for target in &report.foreseen {
        lines.push(String::new());
        lines.extend(of_target(report, target, out));
    }
    lines.push(String::new());
    let budget = &report.budget;
    lines.push(format!(
        "The budget is {} requests, ${:.2}, {} minutes{}",
        budget.requests,
        budget.usd,
        budget.minutes,
        if sum > budget.requests || usd > budget.usd { ": that will not do for all" } else { "" },
    ));
    lines
}

fn of_target(report: &Report, target: &Foreseen, out: Printer) -> Vec<String> {
    let described = report.targets.iter().find(|probed| probed.name == target.target);
    let what = described.map(|probed| format!("  {}  {}", probed.kind, probed.url));
    let mut lines = vec![format!(
        "{}{}  {} requests  at most ${:.2}",
        out.ink(Ink::Bold, &tame(&target.target)),
        tame(&what.unwrap_or_default()),
        target.requests,
        target.usd,
    )];
    for item in &target.items {
        let times = match item.times {
            1 => String::new(),
            times => format!("×{times}"),
        };
        let who = format!("{} as {}", tame(&item.line), tame(&item.who));
        lines.push(format!("  {times:>6}  {who}"));
        if let Some(body) = item.body.as_deref().filter(|body| !body.is_empty()) {
            lines.push(out.ink(Ink::Dim, &format!("          {}", tame(body))).into_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one() {
        for (numbers, told) in
            [(&[][..], ""), (&[2], "2"), (&[1, 2], "1, 2"), (&[1, 2, 3, 5, 7, 8, 9], "1–3, 5, 7–9")]
        {
            assert_eq!(ranges(numbers), told);
        }
    }

    #[test]
    fn what_is_left_is_a_line_a_place_and_reason() {
        let left = |place: &str, what: &str, failed| Leftover {
            target: "app".into(),
            place: place.into(),
            what: what.into(),
            why: "500".into(),
            by_hand: "remove it as a".into(),
            failed,
        };
        let all =
            [left("docs", "id 1", true), left("docs", "id 2", true), left("ask", "id 3", false)];
        assert_eq!(
            leftovers(&all, Printer::plain()),
            [
                "NOT REMOVED  app docs: id 1 and 1 more: 500; remove it as a",
                "stays  app ask: id 3: 500; remove it as a"
            ]
        );
    }

    #[test]
    fn counts_and_their_nouns() {
        assert_eq!((count(1, "check"), count(2, "check")), ("1 check".into(), "2 checks".into()));
    }
}
