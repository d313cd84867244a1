//! What a person allowed and nobody comes back for: carried out once, whatever dies in between.

use std::time::Duration;

use futures_util::FutureExt as _;
use reviews::{Kind, State};
use scope::Status;
use store::File;

use super::{
    ground::{Does, Ground, Process, TOTAL, ask, claims, settings, system},
    people::{decide, waits},
};
use crate::{Error, Mode};

/// Longer than the pause before what was cut off is begun again.
const AGAIN: Duration = Duration::from_secs(121);

#[tokio::test]
async fn what_was_allowed_is_carried_out_whatever_became_of_the_token() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    process.carries_out().await;
    assert_eq!(process.crm.sends(), 0, "nobody has allowed it yet");
    ground.clock.advance(Duration::from_secs(1_800));
    assert!(acme.live().is_err());
    decide(&process, &acme, review, true).await;
    for _ in 0..2 {
        process.carries_out().await;
        ground.clock.advance(AGAIN);
    }
    let acme = process.run("acme", "run-1").await;
    assert!(process.due(&acme, review).await.is_none());
    let again = process.call(&acme, ask("wire", 5)).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(claims(&again.receipt.unwrap())["review"], review.to_string());
    assert_eq!((process.crm.sends(), process.crm.writes()), (1, 1));
    assert_eq!(
        process.crm.done.lock()[0].arguments.to_vec(),
        br#"{"account_id":"acct_acme","amount":5}"#
    );
}

/// Starts from a picture; whether it was allowed by then, and done in the end.
async fn goes_on(
    ground: &Ground,
    next: &Process,
    review: ids::RandomId,
    when: &str,
) -> (bool, bool) {
    for _ in 0..2 {
        next.tools.resume(&system()).await.unwrap();
        next.carries_out().await;
        ground.clock.advance(AGAIN);
    }
    let acme = next.run("acme", "run-1").await;
    let inbox = next.reviews.of(&acme);
    let (done, sent) = (next.crm.writes(), next.crm.sends());
    assert!(done <= 1 && sent <= 1, "{when}: done {done} times, sent {sent} times");
    match inbox.record(review).await.unwrap().state {
        State::Open => {
            assert_eq!(sent, 0, "{when}: nobody has allowed it");
            (false, false)
        }
        State::Used => {
            let asked = inbox.list(None, 10).await.unwrap();
            let asked = asked.iter().any(|one| one.kind == Kind::Unknown);
            assert!(done == 1 || asked, "{when}: neither done nor asked about");
            let again = next.call(&acme, ask("wire", 5)).await;
            assert!(
                matches!(again, Ok(_) | Err(Error::OutcomeUnknown { .. })),
                "{when}: {again:?}"
            );
            assert_eq!(next.crm.sends(), sent, "{when}: sent again");
            (true, done == 1)
        }
        state => panic!("{when}: it was allowed and is {}", state.as_str()),
    }
}

#[tokio::test]
async fn what_a_crash_cut_off_at_any_step_is_carried_out_once() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    // So that what is only made once is not among the steps.
    process.call(&acme, ask("charge", 1)).await.unwrap();
    process.crm.done.lock().clear();
    process.crm.sent.lock().clear();
    let review = waits(&process, &acme, ask("wire", 5)).await;
    let pictures = process.photographed(&ground);
    decide(&process, &acme, review, true).await;
    process.carries_out().await;
    process.kit.doors.drained().await;
    ground.entropy.off();
    let pictures: Vec<_> = std::mem::take(&mut *pictures.lock());
    let (mut allowed, mut done) = (0, 0);
    for (nth, picture) in pictures.into_iter().enumerate() {
        let next = ground.start_in(&picture.directory, picture.crm, settings()).await;
        next.kit.registry.respend(picture.spent);
        let went = goes_on(&ground, &next, review, &format!("step {nth}")).await;
        allowed += usize::from(went.0);
        done += usize::from(went.1);
    }
    // Of most it is known; of those between the intent and the answer a person is asked.
    assert!(allowed >= 6 && done >= 4 && allowed - done <= 3, "{allowed} allowed, {done} done");
}

#[tokio::test]
async fn what_was_stopped_before_it_was_begun_is_not_done() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    decide(&process, &acme, review, false).await;
    process.carries_out().await;
    assert!(process.due(&acme, review).await.is_none());
    assert_eq!(process.crm.sends(), 0);
}

#[tokio::test]
async fn it_waits_for_who_is_suspended_and_goes_with_who_was_revoked() {
    for (status, waits_for) in [(Status::Suspended, true), (Status::Erased, false)] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        let review = waits(&process, &acme, ask("wire", 5)).await;
        decide(&process, &acme, review, true).await;
        process.kit.change("acme", |record| record.status = status).await;
        process.carries_out().await;
        assert_eq!(process.due(&acme, review).await.is_some(), waits_for, "{status:?}");
        process.kit.change("acme", |record| record.status = Status::Active).await;
        process.carries_out().await;
        assert_eq!(process.crm.writes(), usize::from(waits_for), "{status:?}");
    }
}

/// What failed was tried: more takes another approval.
#[tokio::test]
async fn what_fails_is_tried_once() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    process.crm.will([Does::Unreachable]);
    for _ in 0..2 {
        process.carries_out().await;
        ground.clock.advance(AGAIN);
    }
    assert!(process.due(&acme, review).await.is_none());
    assert_eq!(process.crm.sends(), 1);
}

#[tokio::test]
async fn what_was_in_the_way_leaves_it_due() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 6)).await;
    decide(&process, &acme, review, true).await;
    process.crm.will([Does::Hangs { done: false }]);
    // Whoever asked is quicker, and its call is under way.
    process.until_heard(process.call(&acme, ask("wire", 6))).await;
    process.carries_out().await;
    let due = process.due(&acme, review).await.unwrap();
    assert_eq!((due.looks, due.mandates.len()), (1, 2));
    assert_eq!(process.crm.sends(), 1);
}

/// Each look spends a mandate, and those that lie beside the review are good for two.
#[tokio::test]
async fn what_is_approved_anew_after_many_looks_is_carried_out() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    process.tools.edit(&acme, review, br#"{"amount":4}"#, "operator:ada").await.unwrap();
    for _ in 0..3 {
        process.carries_out().await;
        ground.clock.advance(Duration::from_secs(500));
    }
    let acme = process.run("acme", "run-1").await;
    decide(&process, &acme, review, true).await;
    process.carries_out().await;
    assert_eq!((process.crm.sends(), process.crm.writes()), (1, 1));
    assert!(process.due(&acme, review).await.is_none());
}

/// What stood in the way says nothing of whether it is allowed still.
#[tokio::test]
async fn it_is_due_until_its_outcome_is_on_record() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    process.tools.set_mode(&acme, Some(Mode::Suggest)).await.unwrap();
    process.carries_out().await;
    assert!(process.due(&acme, review).await.is_some());
    process.tools.set_mode(&acme, None).await.unwrap();
    ground.clock.advance(AGAIN);
    process.carries_out().await;
    assert_eq!((process.crm.sends(), process.crm.writes()), (1, 1));
    let acme = process.run("acme", "run-1").await;
    assert!(process.due(&acme, review).await.is_none());
}

#[tokio::test]
async fn an_upstream_that_hangs_ends_no_pass() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    process.crm.will([Does::Hangs { done: true }]);
    let heard = async {
        process.crm.heard.notified().await;
        tokio::time::pause();
    };
    let pass = async { tokio::join!(process.carries_out(), heard) };
    tokio::time::timeout(TOTAL, pass).await.expect("it waits for who hangs");
    tokio::time::resume();
    // It is under way, and stays due until it is known how it went.
    assert_eq!(process.due(&acme, review).await.unwrap().looks, 1);
    assert_eq!(process.crm.sends(), 1);
}

/// A mandate is spent before the next one is written down.
#[tokio::test]
async fn a_store_that_is_busy_burns_no_mandate() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    process.kit.doors.drained().await;
    let (store, system) = (process.store.clone(), system());
    let (mut release, blocked) = {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        (Some(release), blocked)
    };
    let waits = move || store.figures(File::State).waiting;
    let view = || process.store.system(&system);
    let blocks = move |_: &mut store::Txn<'_>| {
        let _ = blocked.recv();
        Ok::<_, store::Error>(())
    };
    assert!(view().write(File::State, 0, blocks).now_or_never().is_none());
    while waits() > 0 {
        std::thread::yield_now();
    }
    let all = |_: &mut store::Txn<'_>| Ok::<_, store::Error>(());
    assert!(view().write(File::State, 64 << 20, all).now_or_never().is_none());
    let store = process.store.clone();
    ground.entropy.on_each(move || {
        if store.figures(File::State).refused > 0 {
            release.take();
            while waits() > 0 {
                std::thread::yield_now();
            }
        }
    });
    process.carries_out().await;
    assert!(process.store.figures(File::State).refused > 0);
    assert_eq!((process.crm.sends(), process.crm.writes()), (1, 1));
}
