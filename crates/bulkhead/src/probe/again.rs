//! `bulkhead probe replay`: one proof of a report, run again with canaries of its own.

use std::path::PathBuf;

use anyhow::Result;
use probe::{
    FailOn, Finding, Options, Plan, Proof, Report, Source, Verdict,
    demo::{Flaws, Stack},
    report::{Earlier, EarlierFinding},
};
use serde_json::json;

use super::{Fails, To, ended, explained, output, own, state, steps, table, watched, what};
use crate::{
    cli::Place,
    fault::Fault,
    print::{Ink, Printer, tame},
};

/// Which proof.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 it is isolated now · 1 it leaks still · 2 not proven · 3 it could not be run")]
pub(crate) struct Args {
    /// The number of the proof
    #[arg(value_name = "PROOF")]
    number: usize,
    /// The report (JSON) [default: the last one]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// I may probe its target: needed if that is not on this machine
    #[arg(long)]
    i_am_authorized: bool,
}

pub(super) async fn run(args: Args, place: &Place, out: Printer) -> Result<()> {
    let file = match args.report.clone().or_else(state::file) {
        Some(file) if file.is_file() => file,
        _ => return Err(none()),
    };
    let earlier = output::earlier(&file)?;
    let (then, proof) = earlier.proof(args.number).ok_or_else(|| missing(&earlier, args.number))?;
    if earlier.source == Source::Own {
        let report = own::again(place, &earlier, &then.check).await?;
        let report = report.alone(&then.check, &then.place);
        told(args.number, then, proof, &report, out)?;
        return ended(report.status(FailOn::NotProven));
    }
    let (mut plan, _stack) = planned(&earlier).await?;
    plan.targets.retain(|target| target.name == then.target);
    if plan.targets.is_empty() {
        return Err(Fault::failed(format!("{} has no target {} any more", plan.file, then.target))
            .advise("probe the file again: proofs are numbered anew")
            .into());
    }
    let options = Options {
        depth: earlier.depth,
        seed: earlier.seed,
        allow_flood: earlier.allow_flood,
        authorized: args.i_am_authorized || matches!(earlier.source, Source::Demo { .. }),
        only: vec![then.check.clone()],
        at: Some(then.place.clone()),
        source: earlier.source.clone(),
        ..Options::default()
    };
    let report = watched(&plan, options, &quietly(), out).await?;
    told(args.number, then, proof, &report, out)?;
    ended(report.status(FailOn::NotProven))
}

/// As a report that nobody asked for.
fn quietly() -> To {
    To {
        format: None,
        output: Vec::new(),
        baseline: None,
        fail_on: Fails::NotProven,
        verbose: false,
    }
}

/// The plan of the report, and the stack that it needs if it is the demo's.
async fn planned(earlier: &Earlier) -> Result<(Plan, Option<Stack>)> {
    let Source::Demo { flaws } = &earlier.source else {
        return Ok((what::parsed(&earlier.source)?, None));
    };
    let flaws = Flaws::named(flaws)
        .ok_or_else(|| Fault::failed("the report is of a demo with other flaws than there are"))?;
    let stack = Stack::start(flaws).await.map_err(explained)?;
    Ok((stack.plan().map_err(explained)?, Some(stack)))
}

fn none() -> anyhow::Error {
    Fault::failed("there is no report to take a proof of")
        .advise("`bulkhead probe FILE` keeps its last one; --report names another, in JSON")
        .into()
}

fn missing(earlier: &Earlier, number: usize) -> Fault {
    let proofs = earlier.findings.iter().filter(|finding| finding.proof.is_some()).count();
    let fault = Fault::failed(format!("the report of {} has no proof {number}", earlier.file));
    match proofs {
        0 => fault.advise("nothing leaked in it"),
        all => fault.advise(format!("it has proofs 1 to {all}")),
    }
}

/// The worst of what was found now.
fn now(report: &Report) -> Option<&Finding> {
    report.findings.iter().min_by_key(|finding| finding.verdict)
}

fn told(
    number: usize,
    then: &EarlierFinding,
    proof: &Proof,
    report: &Report,
    out: Printer,
) -> Result<()> {
    let now = now(report);
    if out.is_json() {
        return out.value(&json!({
            "proof": number,
            "target": then.target,
            "place": then.place,
            "check": then.check,
            "then": { "verdict": then.verdict, "summary": then.summary, "steps": proof.steps },
            "now": now,
            "canaries": report.canaries,
        }));
    }
    out.line(format!(
        "{}  {} {} {}  {}\n",
        out.ink(Ink::Bold, &format!("proof {number}")),
        tame(&then.target),
        tame(&then.place),
        then.check,
        tame(&then.summary),
    ))?;
    // Where it leaks still, the steps are those of now: their ids exist.
    let fresh = now.and_then(|now| now.proof.as_ref()).filter(|proof| !proof.steps.is_empty());
    for line in steps::lines(fresh.unwrap_or(proof), out) {
        out.line(line)?;
    }
    let Some(now) = now else {
        return Err(Fault::failed(format!(
            "{} was not done at {} {}: the target file is another than it was",
            then.check, then.target, then.place
        ))
        .into());
    };
    let ink = match now.verdict {
        Verdict::Leak => Ink::Red,
        Verdict::NotProven => Ink::Yellow,
        Verdict::Isolated => Ink::Green,
    };
    let status = report.status(FailOn::NotProven);
    out.line(format!(
        "\n{}  {}    exit {status}",
        out.ink(
            ink,
            if now.verdict == Verdict::Leak { "LEAKS STILL" } else { now.verdict.label() }
        ),
        tame(&now.summary),
    ))?;
    table::leftovers(&report.canaries.left, out).into_iter().try_for_each(|line| out.line(line))
}
