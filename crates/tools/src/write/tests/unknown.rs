//! What went out and was not answered: looked up, by a read or by a person, and not sent again.

use std::{sync::atomic::Ordering, time::Duration};

use reviews::{Finding, Kind, New, Review, State};

use super::ground::{Does, Ground, Process, TOTAL, ask, claims, system};
use crate::{Error, Resumed, write::reconcile::SETTLES};

/// Reviews of writes whose outcome is not known.
async fn asked(process: &Process, scope: &scope::Scope<scope::Write>) -> Vec<State> {
    let all = process.reviews.of(scope).list(None, 100).await.unwrap();
    all.into_iter().filter(|one| one.kind == Kind::Unknown).map(|one| one.state).collect()
}

/// The one that is open.
async fn open(process: &Process, scope: &scope::Scope<scope::Write>) -> Review {
    let all = process.reviews.of(scope).list(None, 100).await.unwrap();
    let mut open = all.into_iter().filter(|one| one.state == State::Open);
    let one = open.next().unwrap();
    assert!(one.kind == Kind::Unknown && open.next().is_none());
    one
}

fn finding(of: &Review, by: &str, done: bool) -> Finding {
    let digest = ids::text::unhex(&of.digest).unwrap().try_into().unwrap();
    Finding { by: by.to_owned(), done, reason: None, digest }
}

/// An operator found it out, within this tenant.
async fn found(process: &Process, tenant: &str, of: &Review, done: bool) -> Result<Review, Error> {
    let person = process.run_in(tenant, "another", "supervision").await;
    process.tools.settle(&person, of.id, finding(of, "operator:ada", done)).await
}

#[tokio::test]
async fn what_is_unknown_is_never_sent_again() {
    for does in [
        Does::Breaks { done: true },
        Does::Breaks { done: false },
        Does::Fails { done: true },
        Does::Fails { done: false },
    ] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        process.crm.will([does]);
        for _ in 0..3 {
            let error = process.call(&acme, ask("note", 5)).await.unwrap_err();
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{does:?}: {error:?}");
            ground.clock.advance(SETTLES);
        }
        assert_eq!(process.crm.sends(), 1, "{does:?}");
        // One person is asked, once.
        assert_eq!(asked(&process, &acme).await, [State::Open]);
        assert!(process.log("acme").contains(&"tool.outcome_unknown".to_owned()));
        assert!(process.receipts(&acme).await.is_empty());
    }
}

#[tokio::test]
async fn a_person_settles_what_nothing_else_can() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Breaks { done: true }, Does::Breaks { done: false }]);
    let unknown = async |amount| match process.call(&acme, ask("note", amount)).await {
        Err(Error::OutcomeUnknown { intent }) => intent,
        other => panic!("{other:?}"),
    };
    let done = unknown(1).await;
    let asks = open(&process, &acme).await;
    let settled = found(&process, "acme", &asks, true).await.unwrap();
    assert_eq!((settled.state, settled.decisions[0].done), (State::Closed, Some(true)));
    let receipt = process.tools.receipt(&acme, done).await.unwrap();
    // It is of whoever asked for it, not of the person who knew.
    let said = claims(&receipt);
    for (name, is) in [("confirmed_by", "person"), ("workflow", "support"), ("run", "run-1")] {
        assert_eq!(said[name], is, "{name}");
    }
    // Whose word it is, and of no answer: none came.
    assert_eq!(said["settled_by"], "operator:ada");
    assert_eq!(said["settled_in"], asks.id.to_string());
    assert!(said.get("answer").is_none(), "{said}");
    // Once.
    let again = found(&process, "acme", &asks, false).await.unwrap_err();
    assert_eq!(again.code(), "review.settled");
    unknown(2).await;
    found(&process, "acme", &open(&process, &acme).await, false).await.unwrap();
    let again = process.call(&acme, ask("note", 1)).await.unwrap();
    assert!(again.duplicate && again.receipt == Some(receipt));
    assert!(!process.call(&acme, ask("note", 2)).await.unwrap().duplicate);
    assert_eq!((process.crm.sends(), process.crm.writes()), (3, 2));
    assert_eq!(asked(&process, &acme).await, [State::Closed, State::Closed]);
}

/// A review goes sooner than the intent that it asks about.
#[tokio::test]
async fn people_are_asked_anew_when_nobody_said_in_time() {
    let day = Duration::from_secs(24 * 60 * 60);
    let ground = Ground::new().await;
    let process = ground.start().await;
    process.crm.will([Does::Breaks { done: true }]);
    for _ in 0..3 {
        let acme = process.run("acme", "run-1").await;
        process.call(&acme, ask("note", 1)).await.unwrap_err();
        assert_eq!(asked(&process, &acme).await.len(), 1);
        ground.clock.advance(day * 14);
    }
    let acme = process.run("acme", "run-1").await;
    process.call(&acme, ask("note", 1)).await.unwrap_err();
    assert_eq!(asked(&process, &acme).await, [State::Open, State::Expired]);
    found(&process, "acme", &open(&process, &acme).await, true).await.unwrap();
    assert!(process.call(&acme, ask("note", 1)).await.unwrap().duplicate);
    assert_eq!(process.crm.sends(), 1);
}

/// Who wants it done again would say that it was not.
#[tokio::test]
async fn nobody_settles_what_it_asked_for_nor_what_is_anothers() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Breaks { done: true }]);
    process.call(&acme, ask("note", 1)).await.unwrap_err();
    let asks = open(&process, &acme).await;
    for agent in [acme.clone(), process.run("acme", "run-2").await] {
        let finding = finding(&asks, &agent.actor().to_string(), false);
        let error = process.tools.settle(&agent, asks.id, finding).await.unwrap_err();
        assert_eq!(error.code(), "review.same_person");
    }
    let others = found(&process, "globex", &asks, false).await.unwrap_err();
    assert_eq!(others.code(), "review.missing");
    let unseen = Review { digest: "00".repeat(32), ..asks.clone() };
    let unseen = found(&process, "acme", &unseen, false).await.unwrap_err();
    assert_eq!(unseen.code(), "review.other");
    assert!(process.call(&acme, ask("note", 1)).await.is_err());
    assert_eq!((process.crm.sends(), process.crm.writes()), (1, 1));
    found(&process, "acme", &asks, true).await.unwrap();
}

/// What a person knew of one attempt says nothing of another.
#[tokio::test]
async fn only_the_review_that_asks_settles() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Breaks { done: true }]);
    let error = process.call(&acme, ask("note", 1)).await.unwrap_err();
    let Error::OutcomeUnknown { intent } = error else { panic!("{error:?}") };
    let asks = open(&process, &acme).await;
    // As a crash leaves it between the question and the note of it.
    let orphan = async || {
        let digest = ids::text::unhex(&asks.digest).unwrap().try_into().unwrap();
        let new = New {
            kind: Kind::Unknown,
            what: asks.what.clone(),
            upstream: None,
            account: None,
            payload: b"{}".to_vec(),
            digest,
            policy: [0; 32],
            reason: "asked once more".into(),
            four_eyes: false,
            expires: asks.expires,
            mandates: Vec::new(),
            intent: Some(intent),
        };
        process.reviews.of(&acme).ask(new).await.unwrap()
    };
    let moot = orphan().await;
    assert_eq!(found(&process, "acme", &moot, false).await.unwrap_err().code(), "review.settled");
    assert!(process.call(&acme, ask("note", 1)).await.is_err(), "it is still not known");
    assert_eq!(process.crm.sends(), 1);
    found(&process, "acme", &asks, true).await.unwrap();
    // Nor does anybody undo what is known.
    let late = orphan().await;
    assert_eq!(found(&process, "acme", &late, false).await.unwrap_err().code(), "review.settled");
    assert!(process.call(&acme, ask("note", 1)).await.unwrap().duplicate);
    let left = asked(&process, &acme).await;
    assert!(left.iter().all(|state| *state == State::Closed), "{left:?}");
}

#[tokio::test]
async fn a_read_finds_out_what_was_done() {
    for does in [Does::Breaks { done: true }, Does::Fails { done: true }, Does::Mixes] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        process.crm.will([does]);
        let answer = process.call(&acme, ask("refund", 5)).await.unwrap();
        let receipt = answer.receipt.unwrap();
        assert_eq!(claims(&receipt)["confirmed_by"], "read", "{does:?}");
        assert!(!format!("{:?}", answer.content).contains("others"), "{does:?}");
        let again = process.call(&acme, ask("refund", 5)).await.unwrap();
        assert!(again.duplicate && again.receipt == Some(receipt));
        assert_eq!(process.crm.writes(), 1, "{does:?}");
        assert!(process.log("acme").contains(&"tool.reconciled".to_owned()));
    }
}

#[tokio::test]
async fn what_a_read_does_not_find_is_sent_again_once_it_can_be_under_way_no_more() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Breaks { done: false }]);
    for _ in 0..2 {
        let error = process.call(&acme, ask("refund", 5)).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        assert_eq!(process.crm.sends(), 1);
    }
    // It is soon looked up again, so that nobody is asked.
    assert!(asked(&process, &acme).await.is_empty());
    ground.clock.advance(SETTLES);
    let answer = process.call(&acme, ask("refund", 5)).await.unwrap();
    assert!(!answer.duplicate && answer.receipt.is_some());
    assert_eq!((process.crm.sends(), process.crm.writes()), (2, 1));
}

#[tokio::test]
async fn an_upstream_has_time_from_when_it_was_given_up_on() {
    for commits in [true, false] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        process.crm.will([Does::Outlasts]);
        let timed_out = async {
            process.crm.heard.notified().await;
            ground.clock.advance(TOTAL);
            process.crm.given_up.notify_one();
        };
        let (answer, ()) = tokio::join!(process.call(&acme, ask("refund", 5)), timed_out);
        let first = answer.unwrap_err();
        ground.clock.advance(SETTLES - Duration::from_millis(1));
        let again = process.call(&acme, ask("refund", 5)).await.unwrap_err();
        for error in [first, again] {
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        }
        assert_eq!(process.crm.sends(), 1);
        if commits {
            process.crm.commits();
        }
        ground.clock.advance(Duration::from_millis(1));
        let answer = process.call(&acme, ask("refund", 5)).await.unwrap();
        assert_eq!((answer.duplicate, process.crm.writes()), (commits, 1));
        assert_eq!(process.crm.sends(), if commits { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_crash_takes_none_of_the_time_that_an_upstream_has() {
    for commits in [true, false] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        process.crm.will([Does::Hangs { done: false }]);
        process.until_heard(process.call(&acme, ask("refund", 5))).await;
        let process = ground.cut(process).await;
        let acme = process.run("acme", "run-1").await;
        // Found soon, and once more right before its time is over: by then it is on record as one
        // that is not known.
        for wait in [SETTLES, TOTAL - Duration::from_millis(1)] {
            ground.clock.advance(wait);
            let resumed = process.tools.resume(&system()).await.unwrap();
            assert_eq!(resumed, Resumed { unknown: 1, ..Resumed::default() });
            let error = process.call(&acme, ask("refund", 5)).await.unwrap_err();
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        }
        assert_eq!(process.crm.sends(), 1);
        if commits {
            process.crm.commits();
        }
        ground.clock.advance(Duration::from_millis(1));
        let answer = process.call(&acme, ask("refund", 5)).await.unwrap();
        assert_eq!((answer.duplicate, process.crm.writes()), (commits, 1));
    }
}

#[tokio::test]
async fn a_write_that_arrives_late_is_not_done_twice() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    // Done, but reads do not show it yet.
    process.crm.will([Does::Breaks { done: true }]);
    process.crm.lags.store(1, Ordering::SeqCst);
    let error = process.call(&acme, ask("refund", 5)).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    let answer = process.call(&acme, ask("refund", 5)).await.unwrap();
    assert!(answer.duplicate && answer.receipt.is_some());
    assert_eq!((process.crm.sends(), process.crm.writes()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_the_upstream_says_is_done_is_never_held_for_undone() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    // The read shows it a little later.
    process.crm.lags.store(2, Ordering::SeqCst);
    let answer = process.call(&acme, ask("refund", 1)).await.unwrap();
    assert_eq!(claims(&answer.receipt.unwrap())["confirmed_by"], "read");
    // Never.
    process.crm.lags.store(usize::MAX, Ordering::SeqCst);
    let error = process.call(&acme, ask("refund", 2)).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    ground.clock.advance(SETTLES * 2);
    let error = process.call(&acme, ask("refund", 2)).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(asked(&process, &acme).await, [State::Open]);
    process.crm.lags.store(0, Ordering::SeqCst);
    // A read that says nothing takes nothing back.
    *process.crm.blind.lock() = true;
    let answer = process.call(&acme, ask("refund", 3)).await.unwrap();
    assert_eq!(claims(&answer.receipt.unwrap())["confirmed_by"], "answer");
    assert_eq!((process.crm.sends(), process.crm.writes()), (3, 3));
}

#[tokio::test]
async fn what_is_anothers_is_withheld_put_away_and_on_record() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Mixes]);
    let error = process.call(&acme, ask("note", 5)).await.unwrap_err();
    assert!(matches!(error, Error::OutOfScope), "{error:?}");
    let again = process.call(&acme, ask("note", 5)).await.unwrap_err();
    assert!(matches!(again, Error::OutcomeUnknown { .. }), "{again:?}");
    assert_eq!(process.crm.sends(), 1);
    let entries = process.kit.audit.of("acme/live");
    let entry = entries.iter().find(|e| e.action == "tool.result_out_of_scope").unwrap();
    assert!(!format!("{entry:?}").contains("acct_of_others"), "{entry:?}");
    let kinds: Vec<_> = process.told.0.lock().iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [Kind::Quarantine, Kind::Unknown]);
    // For operators, not for the tenant.
    for review in process.reviews.of(&acme).list(None, 100).await.unwrap() {
        let (_, payload) = process.reviews.of(&acme).get(review.id).await.unwrap();
        assert!(!String::from_utf8_lossy(&payload).contains("acct_of_others"));
    }
}

#[tokio::test]
async fn a_crash_is_looked_up_by_mandate_and_not_sent_again() {
    for done in [true, false] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        process.crm.will([Does::Hangs { done }]);
        let call = process.call(&acme, ask("refund", 5));
        process.until_heard(call).await;
        let process = ground.cut(process).await;
        let resumed = process.tools.resume(&system()).await.unwrap();
        let wanted = match done {
            true => Resumed { confirmed: 1, ..Resumed::default() },
            false => Resumed { unknown: 1, ..Resumed::default() },
        };
        assert_eq!((resumed, process.crm.sends()), (wanted, 1));
        ground.clock.advance(TOTAL + SETTLES);
        let resumed = process.tools.resume(&system()).await.unwrap();
        assert_eq!(resumed.failed, u64::from(!done), "the mandate was made anew");
        let resumed = process.tools.resume(&system()).await.unwrap();
        assert_eq!((resumed, process.crm.sends()), (Resumed::default(), 1));
        let acme = process.run("acme", "run-1").await;
        let answer = process.call(&acme, ask("refund", 5)).await.unwrap();
        assert_eq!((answer.duplicate, process.crm.writes()), (done, 1));
        assert_eq!(process.receipts(&acme).await, [answer.receipt.unwrap()]);
    }
}

#[tokio::test]
async fn a_crash_of_what_nothing_can_look_up_is_for_a_person() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Hangs { done: true }]);
    process.until_heard(process.call(&acme, ask("note", 5))).await;
    let process = ground.cut(process).await;
    let acme = process.run("acme", "run-1").await;
    let resumed = process.tools.resume(&system()).await.unwrap();
    assert_eq!(resumed, Resumed { unknown: 1, ..Resumed::default() });
    assert_eq!(process.tools.resume(&system()).await.unwrap(), Resumed::default());
    assert_eq!(asked(&process, &acme).await, [State::Open]);
    let error = process.call(&acme, ask("note", 5)).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(process.crm.sends(), 1);
}

#[tokio::test]
async fn where_nobody_could_be_asked_somebody_is_later() {
    let mut ground = Ground::new().await;
    ground.inbox.open_per_tenant = 1;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let Err(Error::Suggested { review }) = process.call(&acme, ask("draft", 1)).await else {
        panic!("it has no mode")
    };
    process.crm.will([Does::Breaks { done: true }]);
    let error = process.call(&acme, ask("note", 5)).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert!(asked(&process, &acme).await.is_empty(), "the inbox is full");
    process.reviews.of(&acme).close(review, "operator:ada", "seen").await.unwrap();
    assert_eq!(process.tools.resume(&system()).await.unwrap().unknown, 1);
    assert_eq!(asked(&process, &acme).await, [State::Open]);
    assert_eq!(process.tools.resume(&system()).await.unwrap(), Resumed::default());
    assert_eq!(process.crm.sends(), 1);
}

#[tokio::test]
async fn open_writes_wait_for_who_is_suspended_and_go_with_who_is_erased() {
    for (status, left, dropped) in [(scope::Status::Suspended, 1, 0), (scope::Status::Erased, 0, 1)]
    {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        process.crm.will([Does::Hangs { done: true }]);
        process.until_heard(process.call(&acme, ask("refund", 5))).await;
        let process = ground.cut(process).await;
        process.kit.change("acme", |record| record.status = status).await;
        let resumed = process.tools.resume(&system()).await.unwrap();
        assert_eq!((resumed.left, resumed.dropped), (left, dropped), "{status:?}");
        process.kit.change("acme", |record| record.status = scope::Status::Active).await;
        let resumed = process.tools.resume(&system()).await.unwrap();
        assert_eq!(resumed.confirmed, left, "{status:?}");
    }
}

#[tokio::test]
async fn nobody_waits_for_anothers_upstream() {
    // Whoever's comes first in the table.
    for (hung, other) in [("acme", "globex"), ("globex", "acme")] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        for (tenant, run) in [(hung, "run-1"), (hung, "run-2"), (other, "run-1")] {
            let scope = process.run(tenant, run).await;
            process.crm.will([Does::Outlasts]);
            process.crm.given_up.notify_one();
            assert!(process.call(&scope, ask("refund", 5)).await.is_err());
        }
        process.crm.commits();
        *process.crm.hung.lock() = Some(hung);
        let settled = async {
            while !process.log(other).contains(&"tool.reconciled".to_owned()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // From here on only those who hang are waited for.
            tokio::time::pause();
        };
        let system = system();
        let (resumed, ()) = tokio::join!(process.tools.resume(&system), settled);
        // The second of its own has its turn when the first had its time, in another pass.
        let wanted = Resumed { confirmed: 1, unknown: 1, left: 1, ..Resumed::default() };
        assert_eq!(resumed.unwrap(), wanted, "{hung} hangs");
        tokio::time::resume();
        *process.crm.hung.lock() = None;
        ground.clock.advance(Duration::from_secs(60));
        let resumed = process.tools.resume(&system).await.unwrap();
        assert_eq!(resumed, Resumed { confirmed: 2, ..Resumed::default() }, "{hung} hung");
        assert_eq!((process.crm.sends(), process.crm.writes()), (3, 3));
    }
}

#[tokio::test]
async fn an_erasure_takes_open_writes_along() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let (acme, globex) = (process.run("acme", "r").await, process.run("globex", "r").await);
    process.crm.will([Does::Breaks { done: false }, Does::Breaks { done: false }]);
    for scope in [&acme, &globex] {
        assert!(process.call(scope, ask("refund", 5)).await.is_err());
    }
    assert_eq!(process.tools.forget(&acme).await.unwrap(), 1);
    process.store.of(&acme).erase_all().await.unwrap();
    ground.clock.advance(Duration::from_secs(60));
    let resumed = process.tools.resume(&system()).await.unwrap();
    assert_eq!(resumed, Resumed { failed: 1, ..Resumed::default() });
    assert!(process.receipts(&acme).await.is_empty());
}

#[tokio::test]
async fn a_write_of_who_is_revoked_meanwhile_is_recorded_and_not_told() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Hangs { done: true }]);
    let call = process.call(&acme, ask("refund", 5));
    tokio::pin!(call);
    process.until_heard(&mut call).await;
    process.kit.bump_epoch("acme").await;
    let error = call.await.unwrap_err();
    assert!(matches!(error, Error::Scope(_)), "{error:?}");
    // And nothing begins for who was revoked before.
    let error = process.call(&acme, ask("note", 5)).await.unwrap_err();
    assert!(matches!(error, Error::Gate(_)), "{error:?}");
    assert_eq!(process.crm.sends(), 1);
}
