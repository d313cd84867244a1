use super::*;
use crate::{Depth, Finding, Options, Plan, Silent, Verdict};

/// What the prober says of this piece alone.
async fn probed(flaws: Flaws, seed: u64, allow_flood: bool) -> Vec<Finding> {
    let draw = |of: &str| format!("tok-{of}-{}", ids::RandomId::draw(&ids::OsEntropy));
    let cast = Arc::new(Cast { a: draw("a"), b: draw("b"), expired: draw("a") });
    let mut tasks = JoinSet::new();
    let target = start(&cast, &Arc::new(flaws), &mut tasks).await.unwrap();
    let file = format!("[budget]\nrequests = 100000\nminutes = 10\n\n{target}");
    let plan = Plan::parse("the demo", &file).unwrap();
    let options = Options { depth: Depth::Quick, allow_flood, seed, ..Options::default() };
    let report = crate::run(&plan, options, &Silent).await.unwrap();
    report.findings
}

fn told(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding { place, check, verdict, summary, requests, milliseconds, .. } = finding;
        let verdict = verdict.label();
        format!(
            "{verdict:<10} {place:<9} {:<18} {summary} ({requests}, {milliseconds} ms)",
            check.id
        )
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_twin_is_isolated_everywhere() {
    for seed in 0..2 {
        let findings = probed(Flaws::none(), seed, true).await;
        println!("{}", told(&findings));
        for finding in &findings {
            // A machine that is busy otherwise shows nothing of load; it never shows a leak.
            let busy = *finding.check == NOISY_NEIGHBOUR && finding.verdict == Verdict::NotProven;
            assert!(finding.verdict == Verdict::Isolated || busy, "{}", told(&findings));
        }
        for check in [&KEY_ESCAPE, &KEY_HUNT, &SERVER_COMMANDS, &DESYNC, &ERASURE] {
            assert!(findings.iter().any(|finding| finding.check == check), "{}", check.id);
        }
    }
}

#[tokio::test]
async fn each_flaw_is_found_and_nothing_else() {
    for flaw in FLAWS {
        let load = *flaw.check == NOISY_NEIGHBOUR;
        let findings = probed(Flaws::one(flaw.name), 7, load).await;
        println!("== {}\n{}", flaw.name, told(&findings));
        let leaks = || findings.iter().filter(|finding| finding.verdict == Verdict::Leak);
        let found = leaks().any(|finding| finding.check == flaw.check);
        assert!(found, "{}:\n{}", flaw.name, told(&findings));
        for finding in leaks() {
            let meant = finding.check == flaw.check || flaw.also.contains(&finding.check);
            assert!(meant, "{}: {}\n{}", flaw.name, finding.check.id, told(&findings));
            assert!(finding.proof.is_some(), "{}: {}", flaw.name, finding.check.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_the_binary_does_it() {
    for seed in 0..3 {
        for flaws in [Flaws::none(), Flaws::one("redis-desync")] {
            let leaks = flaws.has("redis-desync");
            let findings = probed(flaws, seed, false).await;
            let race = findings.iter().find(|finding| *finding.check == DESYNC).unwrap();
            println!("{}", told(&findings));
            let meant = if leaks { Verdict::Leak } else { Verdict::Isolated };
            assert_eq!(race.verdict, meant, "{}", told(&findings));
        }
    }
}
