//! How a flaw of the demo's stack has to be found: by its check, and by no other.

use bulkhead_probe::{Finding, Report, Verdict, demo::Flaw};
use futures_util::{StreamExt as _, stream};

/// How many stacks are probed at once. A probe waits, most of its time, for what comes late.
const AT_ONCE: usize = 8;

/// More than one, where it is asked for, by `PROBE_SEEDS=N`; `bench probe` has many.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("PROBE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Whether it is asked for, by `PROBE_FLAW=PART`; all are, otherwise.
pub(crate) fn wanted(flaw: &Flaw) -> bool {
    std::env::var("PROBE_FLAW").map_or(true, |only| flaw.name.contains(&only))
}

pub(crate) fn line(finding: &Finding) -> String {
    let (verdict, check) = (finding.verdict.label(), finding.check.id);
    let (place, summary, ms) = (&finding.place, &finding.summary, finding.milliseconds);
    format!("{verdict:10} {check:18} {place:18} {ms:5} ms {:4}  {summary}", finding.requests)
}

pub(crate) fn told(report: &Report) -> String {
    report.findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Nothing, or what is wrong with how a flaw was found.
pub(crate) fn judged(flaw: &Flaw, seed: u64, report: &Report) -> Option<String> {
    let leaks = report.findings.iter().filter(|each| each.verdict == Verdict::Leak);
    let leaks: Vec<&Finding> = leaks.collect();
    let found = leaks.iter().any(|finding| finding.check == flaw.check);
    let also = |each: &&&Finding| each.check != flaw.check && !flaw.also.contains(&each.check);
    let foreign: Vec<String> = leaks.iter().filter(also).map(|each| line(each)).collect();
    let proven = leaks.iter().all(|leak| leak.proof.is_some());
    (!found || !proven || !foreign.is_empty()).then(|| {
        let name = flaw.name;
        format!("{name}, seed {seed}: found {found}; besides {foreign:#?}\n{}", told(report))
    })
}

/// All of these flaws, each in a stack of its own, over all seeds.
pub(crate) async fn each_is_found(
    flaws: impl Iterator<Item = &'static Flaw>,
    probed: impl AsyncFn(&'static Flaw, u64) -> Report,
) {
    let flaws: Vec<&'static Flaw> = flaws.filter(|flaw| wanted(flaw)).collect();
    let each = flaws.iter().flat_map(|flaw| seeds().map(|seed| (*flaw, seed)));
    let probed = &probed;
    let each =
        each.map(|(flaw, seed)| async move { judged(flaw, seed, &probed(flaw, seed).await) });
    let wrong = stream::iter(each).buffer_unordered(AT_ONCE);
    let wrong: Vec<String> = wrong.filter_map(|wrong| async { wrong }).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
