//! The checks, on the stack that leaks on purpose and on the one that does not.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};
use probe::{
    Depth, Finding, Options, Report, Silent, Verdict,
    demo::{self, Flaws, Stack},
};
use serde_json::{Value, json};

/// Goes through a stack; `only` these checks and targets, if any are named.
async fn probed(flaws: Flaws, seed: u64, only: Vec<String>) -> Result<Report> {
    let stack = Stack::start(flaws).await?;
    let options =
        Options { seed, depth: Depth::Quick, allow_flood: true, only, ..Options::default() };
    Ok(probe::run(&stack.plan()?, options, &Silent).await?)
}

/// Each flaw alone, probed by the check that must find it.
pub(crate) async fn flaws(prefix: &str, seeds: u64) -> Result<Value> {
    println!("\n{:<34} {:<20} {:>9} {:>9}", "flaw", "check", "found", "seconds");
    let mut rows = Vec::new();
    let (mut all, mut found_of_all) = (0, 0);
    for flaw in demo::flaws().filter(|flaw| flaw.name.starts_with(prefix)) {
        let (mut found, begun) = (0, Instant::now());
        let mut only = vec![flaw.check.id.to_owned()];
        for seed in 0..seeds {
            let report = probed(Flaws::one(flaw.name), seed, only.clone()).await;
            let report = report.with_context(|| format!("{}, seed {seed}", flaw.name))?;
            let leak = report.findings.iter().find(|finding| finding.verdict == Verdict::Leak);
            found += u64::from(leak.is_some());
            // Where it was found once, the other runs look alone.
            if let (1, Some(leak)) = (only.len(), leak) {
                only.push(leak.target.clone());
            }
        }
        all += seeds;
        found_of_all += found;
        let each = begun.elapsed().as_secs_f64() / seeds.max(1) as f64;
        println!(
            "{:<34} {:<20} {:>9} {each:>9.2}",
            flaw.name,
            flaw.check.id,
            format!("{found}/{seeds}")
        );
        rows.push(
            json!({"flaw": flaw.name, "check": flaw.check.id, "found": found, "runs": seeds}),
        );
    }
    println!("{:<55} {:>9}", "all", format!("{found_of_all}/{all}"));
    Ok(json!({"rows": rows, "found": found_of_all, "runs": all}))
}

/// The right stack, probed by all: every leak is a false positive.
pub(crate) async fn twins(runs: u64) -> Result<Value> {
    let mut by_check: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let (mut said, begun) = (Vec::new(), Instant::now());
    for seed in 0..runs {
        let report = probed(Flaws::none(), seed, Vec::new()).await?;
        for Finding { check, verdict, target, place, summary, .. } in &report.findings {
            by_check.entry(check.id).or_default()[*verdict as usize] += 1;
            if *verdict != Verdict::Isolated {
                said.push(format!(
                    "seed {seed}: {} {target} {} {place}: {summary}",
                    verdict.label(),
                    check.id
                ));
            }
        }
    }
    println!("\n{:<34} {:>9} {:>11} {:>9}", "the right stack", "leak", "not proven", "isolated");
    for (check, [leak, unclear, isolated]) in &by_check {
        println!("{check:<34} {leak:>9} {unclear:>11} {isolated:>9}");
    }
    said.iter().for_each(|line| println!("  {line}"));
    let sum = |at: usize| by_check.values().map(|counts| counts[at]).sum::<usize>();
    let each = begun.elapsed().as_secs_f64() / runs.max(1) as f64;
    println!(
        "{} of {} findings are false positives, {} not proven; {each:.1} s a run",
        sum(0),
        sum(0) + sum(1) + sum(2),
        sum(1)
    );
    Ok(json!({
        "runs": runs, "seconds_each": each, "leak": sum(0), "not_proven": sum(1), "isolated": sum(2),
        "not_isolated": said,
    }))
}
