use super::*;
use crate::{
    catalog,
    wire::{Answer, Exchange},
};

fn exchange() -> Exchange {
    Exchange {
        who: "b".into(),
        line: "GET http://x/".into(),
        headers: Vec::new(),
        body: None,
        outcome: Ok(Answer { status: 200, ..Answer::default() }),
    }
}

/// A trial with everything that isolation needs.
fn whole() -> Trial {
    let mut trial = Trial::new(&catalog::EXACT_KEY, false);
    trial.positive(true, "A finds its own");
    trial.negative(true, "what was never planted is not found");
    trial.attacked();
    trial
}

fn verdict(trial: Trial) -> (Verdict, String) {
    let concluded = trial.conclude(None);
    (concluded.verdict, concluded.summary)
}

#[test]
fn isolated_needs_both_controls_and_an_attack() {
    assert_eq!(verdict(whole()), (Verdict::Isolated, "1 attack".into()));
}

#[test]
fn each_thing_that_is_missing_is_not_proven() {
    let bare = || Trial::new(&catalog::EXACT_KEY, false);
    let mut no_positive = bare();
    no_positive.negative(true, "n");
    no_positive.attacked();
    let mut no_negative = bare();
    no_negative.positive(true, "p");
    no_negative.attacked();
    let mut no_attack = bare();
    no_attack.positive(true, "p");
    no_attack.negative(true, "n");
    let mut failed_positive = whole();
    failed_positive.positive(false, "A does not find its own");
    let mut failed_negative = whole();
    failed_negative.negative(false, "it finds anything");
    let mut doubted = whole();
    doubted.doubt("the answer was 503");
    for (trial, why) in [
        (bare(), "no positive control"),
        (no_positive, "no positive control"),
        (no_negative, "no negative control"),
        (no_attack, "no attack"),
        (failed_positive, "A does not find its own"),
        (failed_negative, "it finds anything"),
        (doubted, "the answer was 503"),
    ] {
        let (verdict, summary) = verdict(trial);
        assert_eq!(verdict, Verdict::NotProven, "{summary}");
        assert!(summary.contains(why), "{summary}");
    }
}

#[test]
fn a_check_that_was_halted_is_not_proven_however_far_it_came() {
    for halt in [
        Halt::Budget("the budget of 5 requests is used up".into()),
        Halt::Lacking("no model".into()),
        Halt::Failed("500".into()),
        Halt::Ended,
    ] {
        let concluded = whole().conclude(Some(&halt));
        assert_eq!(concluded.verdict, Verdict::NotProven);
        assert_eq!(concluded.summary, halt.to_string());
    }
}

#[test]
fn a_control_that_failed_stays_failed() {
    let mut trial = whole();
    assert!(!trial.positive(false, "the first that failed"));
    assert!(trial.positive(true, "later it held"));
    assert!(!trial.positive(false, "the second"));
    let concluded = trial.conclude(None);
    assert_eq!(concluded.verdict, Verdict::NotProven);
    assert!(concluded.summary.contains("the first that failed"), "{}", concluded.summary);
}

#[test]
fn a_leak_is_one_also_where_silence_would_mean_nothing() {
    let mut unfinished = Trial::new(&catalog::EXACT_KEY, false);
    unfinished.leak("B got A's answer", &[&exchange()]);
    let concluded = unfinished.conclude(Some(&Halt::Ended));
    assert_eq!(concluded.verdict, Verdict::Leak);
    assert_eq!((concluded.summary.as_str(), concluded.steps.len()), ("B got A's answer", 1));
    let mut blind = whole();
    blind.positive(false, "A does not find its own");
    blind.doubt("503");
    blind.leak("B got A's answer", &[&exchange()]);
    assert_eq!(verdict(blind).0, Verdict::Leak);
}

#[test]
fn a_look_that_sees_what_is_not_there_shows_no_leak() {
    let mut trial = whole();
    trial.leak("B got A's answer", &[&exchange()]);
    trial.negative(false, "it finds anything");
    let concluded = trial.conclude(None);
    assert_eq!(concluded.verdict, Verdict::NotProven);
    assert!(concluded.summary.contains("it finds anything") && concluded.steps.is_empty());
}

#[test]
fn the_first_of_several_leaks_is_told_and_proven() {
    let mut trial = whole();
    trial.leak("first", &[&exchange(), &exchange()]);
    trial.leak("second", &[&exchange()]);
    trial.leak("third", &[]);
    let concluded = trial.conclude(None);
    assert_eq!((concluded.summary.as_str(), concluded.steps.len()), ("first, and 2 more", 2));
}

#[test]
fn what_was_seen_is_told_where_it_was_seen() {
    let canary = crate::canary::Canaries::new("run".into()).draw(crate::canary::Side::A, "docs");
    let seen = Sighting { canary, place: "in the body".into(), excerpt: "bhca…".into() };
    let mut trial = whole();
    trial.leaked("B got it", &seen, &[&exchange(), &exchange()]);
    let steps = trial.conclude(None).steps;
    assert_eq!(steps.iter().map(|step| step.excerpt.is_some()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_dry_run_has_neither_leaks_nor_doubts() {
    let mut trial = Trial::new(&catalog::EXACT_KEY, true);
    assert!(trial.positive(false, "nothing was sent") && trial.negative(false, "nothing"));
    trial.leak("B got A's answer", &[&exchange()]);
    trial.doubt("503");
    trial.attacked();
    assert_eq!(verdict(trial).0, Verdict::Isolated);
}
