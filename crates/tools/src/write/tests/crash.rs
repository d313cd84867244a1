//! The process dies at each step of a write: nothing is done twice, and no intent is lost.

use super::ground::{Does, Ground, Process, TOTAL, ask, system};
use crate::{Error, write::reconcile::SETTLES};

/// The next process, after whatever a crash left: it looks up what is open, and the agent asks again.
async fn goes_on(ground: &Ground, process: &Process, tool: &str, when: &str) {
    let before = process.crm.writes();
    process.tools.resume(&system()).await.unwrap();
    assert_eq!(process.crm.writes(), before, "{when}: looking up sends nothing");
    ground.clock.advance(SETTLES + TOTAL);
    process.tools.resume(&system()).await.unwrap();
    assert_eq!(process.crm.writes(), before, "{when}: looking up sends nothing");
    let acme = process.run("acme", "run-1").await;
    match process.call(&acme, ask(tool, 5)).await {
        Ok(answer) => {
            let receipt = answer.receipt.unwrap();
            assert_eq!(process.tools.receipt(&acme, receipt.intent).await.unwrap(), receipt);
            assert_eq!(process.crm.writes(), 1, "{when}");
        }
        // It may have gone out, and nothing can say: a person knows of it.
        Err(Error::OutcomeUnknown { .. }) if tool == "note" => {
            let asked = process.reviews.of(&acme).list(None, 10).await.unwrap();
            // Whoever was asked right before the crash is asked once more.
            assert!((1..=2).contains(&asked.len()), "{when}: {}", asked.len());
        }
        Err(error) => panic!("{when}: {error:?}"),
    }
    assert!(process.crm.writes() <= 1, "{when}: done twice");
    let sent = process.crm.sends();
    assert!(sent <= 1 || tool != "note", "{when}: sent {sent} times");
}

/// Pictures of the disk before every step, and the upstream as it was then.
async fn every_step(tool: &str, does: Does) {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    // So that what is only made once is not among the steps.
    process.call(&acme, ask("charge", 1)).await.unwrap();
    process.crm.done.lock().clear();
    process.crm.sent.lock().clear();
    process.crm.will([does]);
    let pictures = process.photographed(&ground);
    let _ = process.call(&acme, ask(tool, 5)).await;
    process.kit.doors.drained().await;
    ground.entropy.off();
    let pictures: Vec<_> = std::mem::take(&mut *pictures.lock());
    assert!(pictures.len() >= 4, "{} steps", pictures.len());
    for (nth, picture) in pictures.into_iter().enumerate() {
        let when = format!("{tool} {does:?}, step {nth}");
        let settings = super::ground::settings();
        let next = ground.start_in(&picture.directory, picture.crm, settings).await;
        goes_on(&ground, &next, tool, &when).await;
    }
}

#[tokio::test]
async fn at_each_step_of_a_write_that_is_answered() {
    every_step("refund", Does::Answers).await;
    every_step("note", Does::Answers).await;
}

#[tokio::test]
async fn at_each_step_of_a_write_whose_answer_is_lost() {
    every_step("refund", Does::Breaks { done: true }).await;
    every_step("refund", Does::Breaks { done: false }).await;
    every_step("note", Does::Breaks { done: true }).await;
}

#[tokio::test]
async fn while_the_upstream_works_on_it() {
    for (tool, done) in [("refund", true), ("refund", false), ("note", true), ("note", false)] {
        let ground = Ground::new().await;
        let process = ground.start().await;
        let acme = process.run("acme", "run-1").await;
        process.crm.will([Does::Hangs { done }]);
        process.until_heard(process.call(&acme, ask(tool, 5))).await;
        let next = ground.cut(process).await;
        goes_on(&ground, &next, tool, &format!("{tool}, done: {done}")).await;
    }
}

#[tokio::test]
async fn a_receipt_is_durable_before_anybody_has_it() {
    let ground = Ground::new().await;
    let mut process = ground.start().await;
    for amount in 1..5 {
        let acme = process.run("acme", "run-1").await;
        let receipt = process.call(&acme, ask("note", amount)).await.unwrap().receipt.unwrap();
        process = ground.cut(process).await;
        let acme = process.run("acme", "run-1").await;
        assert_eq!(process.tools.receipt(&acme, receipt.intent).await.unwrap(), receipt);
        assert_eq!(process.receipts(&acme).await.len(), usize::try_from(amount).unwrap());
        assert!(process.call(&acme, ask("note", amount)).await.unwrap().duplicate);
    }
    assert_eq!(process.crm.writes(), 4);
}
