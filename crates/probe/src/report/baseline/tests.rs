use super::*;
use crate::{
    budget::{Allowed, Spent},
    catalog::{self, Check},
    ledger::{Leftover, Planting},
    questions::{Answered, Question},
    report::FailOn,
    verdict::{Finding, Strength},
};

fn finding(check: &'static Check, verdict: Verdict) -> Finding {
    Finding {
        target: "gate".into(),
        place: "chat".into(),
        check,
        verdict,
        summary: "why".into(),
        strength: Strength::Exact,
        positive: None,
        negative: None,
        attacks: 1,
        statistic: None,
        proof: (verdict == Verdict::Leak).then(|| Proof { number: 1, steps: Vec::new() }),
        requests: 0,
        milliseconds: 0,
        line: 1,
    }
}

/// A report of these findings, in which each question has this answer.
fn report(findings: Vec<Finding>, answer: Reply) -> Report {
    let answered = |question| Answered {
        question,
        answer,
        proofs: Vec::new(),
        checks: 1,
        missing: Vec::new(),
    };
    let mut report = Report {
        schema: SCHEMA,
        version: "0",
        run: "r".into(),
        file: "stack.toml".into(),
        source: Source::File { path: "stack.toml".into() },
        begun: "2026-01-01T00:00:00Z".into(),
        milliseconds: 1,
        depth: Depth::Quick,
        seed: 5,
        only: Vec::new(),
        allow_flood: true,
        dry_run: false,
        stopped: false,
        budget: Allowed::default(),
        spent: Spent::default(),
        outcome: Outcome::Clean,
        targets: Vec::new(),
        canaries: Planting::default(),
        questions: Question::ALL.map(answered).into(),
        uncovered: Vec::new(),
        foreseen: Vec::new(),
        baseline: None,
        findings,
    };
    report.outcome = report.concluded();
    report
}

fn earlier(report: &Report) -> Earlier {
    Earlier::parse("before.json", &serde_json::to_string(report).unwrap()).unwrap()
}

const ALL: [FailOn; 3] = [FailOn::NotProven, FailOn::Leak, FailOn::Never];

fn statuses(report: &Report) -> [u8; 3] {
    ALL.map(|on| report.status(on))
}

#[test]
fn the_exit_status_is_the_worst_that_was_found() {
    let (leak, doubt, isolated) = (
        || finding(&catalog::EXACT_KEY, Verdict::Leak),
        || finding(&catalog::SOFT_SCOPE, Verdict::NotProven),
        || finding(&catalog::CALLER_ID, Verdict::Isolated),
    );
    assert_eq!(statuses(&report(vec![isolated()], Reply::No)), [0, 0, 0]);
    assert_eq!(statuses(&report(vec![isolated(), doubt()], Reply::NotProven)), [2, 0, 0]);
    assert_eq!(statuses(&report(vec![doubt(), leak(), isolated()], Reply::Yes)), [1, 1, 0]);
}

#[test]
fn too_little_covered_is_not_clean() {
    let isolated = || finding(&catalog::CALLER_ID, Verdict::Isolated);
    let little = report(vec![isolated()], Reply::NotProven);
    assert_eq!((little.outcome, statuses(&little)), (Outcome::LittleCovered, [2, 0, 0]));
    assert_eq!(report(Vec::new(), Reply::No).outcome, Outcome::LittleCovered, "nothing was asked");
    let mut asked_for = little;
    asked_for.only = vec!["caller-id".into()];
    assert_eq!(asked_for.concluded(), Outcome::Clean, "all that was asked for is isolated");
}

#[test]
fn what_is_not_removed_and_what_was_ended_is_not_clean() {
    let mut report = report(vec![finding(&catalog::CALLER_ID, Verdict::Isolated)], Reply::No);
    report.stopped = true;
    assert_eq!(report.concluded(), Outcome::NotProven);
    report.stopped = false;
    let mut left = Leftover {
        target: "gate".into(),
        place: "files".into(),
        what: "id 1".into(),
        why: "500".into(),
        by_hand: "DELETE".into(),
        failed: false,
    };
    report.canaries.left = vec![left.clone()];
    assert_eq!(report.concluded(), Outcome::Clean, "nothing says how to remove it");
    left.failed = true;
    report.canaries.left = vec![left];
    assert_eq!(report.concluded(), Outcome::NotProven);
}

#[test]
fn a_report_that_was_written_is_read() {
    let leaky = report(vec![finding(&catalog::EXACT_KEY, Verdict::Leak)], Reply::Yes);
    let read = earlier(&leaky);
    assert_eq!((read.seed, read.depth, read.allow_flood), (5, Depth::Quick, true));
    assert_eq!(read.source, leaky.source);
    assert_eq!(read.proof(1).unwrap().0.check, "exact-key");
    assert!(read.proof(2).is_none());
}

#[test]
fn what_is_no_report_is_refused() {
    for text in ["", "{}", "[1]", "{\"schema\": 1}"] {
        assert!(Earlier::parse("x.json", text).unwrap_err().to_string().contains("no report"));
    }
    let text = serde_json::to_string(&report(Vec::new(), Reply::No)).unwrap();
    let newer = text.replace("\"schema\":1", "\"schema\":99");
    assert!(Earlier::parse("x.json", &newer).unwrap_err().to_string().contains("form 99"));
}

#[test]
fn new_fixed_unchanged_and_unclear() {
    use Verdict::{Isolated, Leak, NotProven};
    let checks = [
        (&catalog::EXACT_KEY, Some(Leak), Leak, "unchanged"),
        (&catalog::CALLER_ID, Some(Isolated), Leak, "new"),
        (&catalog::SOFT_SCOPE, None, Leak, "new"),
        (&catalog::PROMPT_CACHE, Some(NotProven), Leak, "new"),
        (&catalog::SHARED_ENV, Some(Leak), Isolated, "fixed"),
        (&catalog::DESYNC, Some(NotProven), Isolated, "fixed"),
        (&catalog::MISSING, Some(NotProven), NotProven, "unchanged"),
        (&catalog::EXPIRED, Some(Isolated), NotProven, "new"),
        (&catalog::SWAP, Some(Leak), NotProven, "unclear"),
        (&catalog::ERASURE, Some(Isolated), Isolated, ""),
        (&catalog::CROWDING, None, Isolated, ""),
    ];
    let then = checks.iter().filter_map(|(check, then, ..)| Some(finding(check, (*then)?)));
    let mut then: Vec<_> = then.collect();
    then.push(finding(&catalog::KEY_HUNT, Leak));
    let earlier = earlier(&report(then, Reply::Yes));
    let now = checks.iter().map(|(check, _, now, _)| finding(check, *now)).collect();
    let mut now = report(now, Reply::Yes);
    now.compare(&earlier);
    let compared = now.baseline.as_ref().unwrap();
    let ids = |places: &[Place]| places.iter().map(|place| place.check.clone()).collect::<Vec<_>>();
    for (list, name) in [
        (&compared.new, "new"),
        (&compared.fixed, "fixed"),
        (&compared.unchanged, "unchanged"),
        (&compared.unclear, "unclear"),
    ] {
        let told = checks.iter().filter(|(.., told)| *told == name);
        let mut told: Vec<_> = told.map(|(check, ..)| check.id.to_owned()).collect();
        // A leak of which nothing is said any more is not taken for fixed.
        told.extend((name == "unclear").then(|| "key-hunt".to_owned()));
        assert_eq!(ids(list), told, "{name}");
    }
}

#[test]
fn against_a_baseline_only_what_is_new_fails() {
    let then = vec![
        finding(&catalog::EXACT_KEY, Verdict::Leak),
        finding(&catalog::SOFT_SCOPE, Verdict::NotProven),
    ];
    let earlier = earlier(&report(then.clone(), Reply::Yes));
    let against = |findings: Vec<Finding>| {
        let mut now = report(findings, Reply::Yes);
        now.compare(&earlier);
        statuses(&now)
    };
    assert_eq!(against(then.clone()), [0, 0, 0], "as it was");
    let with = |check, verdict| [then.clone(), vec![finding(check, verdict)]].concat();
    assert_eq!(against(with(&catalog::CALLER_ID, Verdict::Leak)), [1, 1, 0]);
    assert_eq!(against(with(&catalog::CALLER_ID, Verdict::NotProven)), [2, 0, 0]);
    assert_eq!(against(with(&catalog::CALLER_ID, Verdict::Isolated)), [0, 0, 0]);
}

#[test]
fn a_question_that_was_answered_and_no_longer_is_counts() {
    let isolated = || vec![finding(&catalog::CALLER_ID, Verdict::Isolated)];
    let before = earlier(&report(isolated(), Reply::No));
    let mut now = report(isolated(), Reply::NotProven);
    now.compare(&before);
    assert_eq!(statuses(&now), [2, 0, 0]);
    let before = earlier(&report(isolated(), Reply::NotProven));
    now.compare(&before);
    assert_eq!(statuses(&now), [0, 0, 0]);
}
