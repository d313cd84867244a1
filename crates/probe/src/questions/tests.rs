use super::*;
use crate::{
    Plan,
    catalog::{self, Check},
    verdict::{Proof, Strength},
};

fn finding(target: &str, check: &'static Check, verdict: Verdict) -> Finding {
    Finding {
        target: target.into(),
        place: "somewhere".into(),
        check,
        verdict,
        summary: "why".into(),
        strength: Strength::Exact,
        positive: None,
        negative: None,
        attacks: 1,
        statistic: None,
        proof: (verdict == Verdict::Leak).then(|| Proof { number: 7, steps: Vec::new() }),
        requests: 0,
        milliseconds: 0,
        line: 1,
    }
}

fn targets(text: &str) -> Vec<Arc<Target>> {
    let tenants = "[tenant.a]\ntoken = \"a\"\n[tenant.b]\ntoken = \"b\"\n";
    Plan::parse("t.toml", &format!("{tenants}{text}")).unwrap().targets
}

const GATE: &str = "[target.gate]\nkind = \"openai\"\nurl = \"http://127.0.0.1\"\nmodel = \"m\"\n";
const CACHE: &str = "[target.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\n\
                     a = { prefix = \"a:\" }\nb = { prefix = \"b:\" }\n";
const APP: &str = "[target.app]\nkind = \"http\"\nurl = \"http://127.0.0.1\"\n\
                   admin = [\"/admin\"]\nlogs = [\"/metrics\"]\n";

fn of(question: Question, findings: &[Finding], targets: &[Arc<Target>]) -> Answered {
    answer(findings, targets).remove(question.number() - 1)
}

#[test]
fn one_leak_is_yes_with_its_proof() {
    let found = [
        finding("gate", &catalog::EXACT_KEY, Verdict::Leak),
        finding("gate", &catalog::SHARED_ENV, Verdict::Isolated),
        finding("gate", &catalog::SOFT_SCOPE, Verdict::NotProven),
    ];
    let answered = of(Question::Context, &found, &targets(GATE));
    assert_eq!((answered.answer, &answered.proofs[..], answered.checks), (Reply::Yes, &[7][..], 1));
}

#[test]
fn no_needs_every_surface_that_bears_on_it() {
    let gate = targets(GATE);
    let model = || finding("gate", &catalog::EXACT_KEY, Verdict::Isolated);
    let identity = || finding("gate", &catalog::SHARED_ENV, Verdict::Isolated);
    let half = of(Question::Context, &[model()], &gate);
    assert_eq!(half.answer, Reply::NotProven);
    assert_eq!(
        half.missing[0].to_string(),
        "gate identity: nothing that bears on it was looked at"
    );
    let both = of(Question::Context, &[model(), identity()], &gate);
    assert_eq!((both.answer, both.checks, both.missing.len()), (Reply::No, 2, 0));
    let doubt = finding("gate", &catalog::SOFT_SCOPE, Verdict::NotProven);
    let doubted = of(Question::Context, &[model(), identity(), doubt], &gate);
    assert_eq!(doubted.answer, Reply::NotProven);
    assert_eq!(doubted.missing[0].to_string(), "gate soft-scope: why");
}

#[test]
fn each_target_counts_by_itself() {
    let both = targets(&format!("{GATE}{CACHE}"));
    let found = [
        finding("gate", &catalog::EXACT_KEY, Verdict::Isolated),
        finding("gate", &catalog::SHARED_ENV, Verdict::Isolated),
    ];
    let answered = of(Question::Context, &found, &both);
    assert_eq!(answered.answer, Reply::NotProven);
    assert!(answered.missing.iter().all(|missing| missing.target == "cache"), "{answered:?}");
}

#[test]
fn nothing_that_bears_on_it_is_not_proven() {
    let answered = of(Question::Debugging, &[], &targets(GATE));
    assert_eq!((answered.answer, answered.checks), (Reply::NotProven, 0));
    assert_eq!(answered.missing[0].to_string(), "no `admin` or `logs` in any target");
    assert!(answer(&[], &[]).iter().all(|answered| answered.answer == Reply::NotProven));
}

#[test]
fn records_are_looked_at_where_the_file_says_where_they_are() {
    let app = targets(APP);
    let answered = of(Question::Debugging, &[], &app);
    assert_eq!(
        answered.missing[0].to_string(),
        "app records: nothing that bears on it was looked at"
    );
    let found = [finding("app", &catalog::ADMIN_ROUTE, Verdict::Isolated)];
    assert_eq!(of(Question::Debugging, &found, &app).answer, Reply::No);
}

#[test]
fn the_five_are_numbered_in_their_order() {
    let numbers: Vec<_> = Question::ALL.iter().map(|question| question.number()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}
