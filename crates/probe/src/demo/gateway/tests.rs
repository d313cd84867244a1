//! Each flaw is found by its check, the right gateway is isolated in everything, for both
//! interfaces and several seeds.

use super::FLAWS;
use crate::{
    Depth, Finding, Options, Plan, Report, Silent, Verdict, catalog,
    demo::{Flaw, Flaws, Stack},
    run,
};

/// Goes through the gateway alone; `only` these checks, if there are any.
async fn probed(flaws: Flaws, kind: &str, options: Options, only: &[&str]) -> Report {
    let stack = Stack::start(flaws).await.unwrap();
    let file = stack.file().replace("kind = \"openai\"", &format!("kind = \"{kind}\""));
    let plan = Plan::parse("the demo", &file).unwrap();
    let only = only.iter().chain(&["gateway"]).map(|name| (*name).to_owned()).collect();
    run(&plan, Options { only, ..options }, &Silent).await.unwrap()
}

fn quick(seed: u64) -> Options {
    Options { seed, depth: Depth::Quick, ..Options::default() }
}

fn told(finding: &Finding) -> String {
    let Finding { place, check, verdict, summary, .. } = finding;
    format!("{} {} at {place}: {summary}", verdict.label(), check.id)
}

fn of(report: &Report, verdict: Verdict) -> Vec<String> {
    report.findings.iter().filter(|finding| finding.verdict == verdict).map(told).collect()
}

#[tokio::test]
async fn the_right_gateway_is_isolated() {
    for (kind, seed) in [("openai", 1), ("openai", 2), ("anthropic", 3)] {
        let mut report = probed(Flaws::none(), kind, quick(seed), &[]).await;
        // No load is made: whether it would be felt is a matter of time, and of this machine.
        report.findings.retain(|finding| finding.check != &catalog::NOISY_NEIGHBOUR);
        let (leaks, unclear) = (of(&report, Verdict::Leak), of(&report, Verdict::NotProven));
        assert!(leaks.is_empty(), "{kind}, seed {seed}: {leaks:#?}");
        assert!(unclear.is_empty(), "{kind}, seed {seed}: {unclear:#?}");
        assert!(report.findings.len() > 10);
    }
}

/// What is not as it should be, when this is wrong with it.
fn amiss(flaw: &Flaw, seed: u64, report: &Report) -> Vec<String> {
    let leaks = || report.findings.iter().filter(|finding| finding.verdict == Verdict::Leak);
    let mut amiss = Vec::new();
    if !leaks().any(|finding| finding.check.id == flaw.check.id) {
        let of = report.findings.iter().filter(|finding| finding.check.id == flaw.check.id);
        amiss.push(format!("missed: {:?}", of.map(told).collect::<Vec<_>>()));
    }
    for finding in leaks() {
        let mut named = flaw.also.iter().chain([&flaw.check]);
        if !named.any(|check| check.id == finding.check.id) || finding.proof.is_none() {
            amiss.push(told(finding));
        }
    }
    amiss.into_iter().map(|what| format!("{}, seed {seed}: {what}", flaw.name)).collect()
}

#[tokio::test]
async fn each_flaw_is_found_by_its_check() {
    let mut all = Vec::new();
    for flaw in FLAWS {
        for seed in [1, 2, 3] {
            let report =
                probed(Flaws::one(flaw.name), "openai", quick(seed), &[flaw.check.id]).await;
            all.extend(amiss(flaw, seed, &report));
        }
    }
    assert!(all.is_empty(), "{all:#?}");
}

#[tokio::test]
async fn each_flaw_is_found_by_no_other_check() {
    // What waits for what was erased takes long.
    let checks = catalog::CHECKS.iter().map(|check| check.id);
    let mut all = Vec::new();
    let but_erasure: Vec<&str> = checks.filter(|id| *id != catalog::ERASURE.id).collect();
    for flaw in FLAWS.iter().filter(|flaw| flaw.check != &catalog::ERASURE) {
        let report = probed(Flaws::one(flaw.name), "openai", quick(4), &but_erasure).await;
        all.extend(amiss(flaw, 4, &report));
    }
    assert!(all.is_empty(), "{all:#?}");
}

#[tokio::test]
async fn the_other_interface_is_looked_at_likewise() {
    for name in [
        "gateway-cache-without-tenant",
        "gateway-tenant-in-text",
        "gateway-errors-by-kind",
        "gateway-prompt-cache-shared",
        "gateway-prompt-cache-silent",
    ] {
        let flaw = FLAWS.iter().find(|flaw| flaw.name == name).unwrap();
        let report = probed(Flaws::one(name), "anthropic", quick(5), &[flaw.check.id]).await;
        let amiss = amiss(flaw, 5, &report);
        assert!(amiss.is_empty(), "{amiss:#?}");
    }
}

#[tokio::test]
async fn a_dry_run_foresees_what_is_sent() {
    let ids = ["exact-key", "cached-errors", "prompt-cache", "prompt-timing"];
    let real = probed(Flaws::none(), "openai", quick(6), &ids).await;
    let dry = probed(Flaws::none(), "openai", Options { dry_run: true, ..quick(6) }, &ids).await;
    let foreseen: u64 = dry.foreseen.iter().map(|target| target.requests).sum();
    assert!(foreseen >= real.spent.requests, "{foreseen}, and {} were sent", real.spent.requests);
    assert!(foreseen < real.spent.requests * 2, "{foreseen}");
}
