//! Suggestions and approvals: a person decides on exactly this, once.

use std::time::Duration;

use ids::{RandomId, text};
use reviews::{Decision, Kind, State, Wanted};
use scope::{Scope, Write};
use testkit::Kit;

use super::ground::{Does, Ground, Process, ask, claims};
use crate::{Ask, Error, Mode, write::APPROVED};

/// An operator decides on what the review shows.
pub(super) async fn decide(process: &Process, scope: &Scope<Write>, id: RandomId, approve: bool) {
    let scope = &process.run_in(scope.tenant().as_str(), "another", "supervision").await;
    let inbox = process.reviews.of(scope);
    let digest = inbox.record(id).await.unwrap().digest;
    let digest = text::unhex(&digest).unwrap().try_into().unwrap();
    let by = "operator:ada".to_owned();
    inbox.decide(id, Decision { by, approve, reason: None, digest }).await.unwrap();
}

pub(super) async fn waits(process: &Process, scope: &Scope<Write>, ask: Ask) -> RandomId {
    match process.call(scope, ask).await {
        Err(Error::ApprovalRequired { review, .. }) => review,
        other => panic!("{other:?}"),
    }
}

fn by(ask: Ask, review: RandomId) -> Ask {
    Ask { review: Some(review), ..ask }
}

#[tokio::test]
async fn a_suggestion_is_recorded_once_and_never_sent() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        match process.call(&acme, ask("draft", 5)).await {
            Err(Error::Suggested { review }) => seen.push(review),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen[0], seen[1]);
    let (review, payload) = process.reviews.of(&acme).get(seen[0]).await.unwrap();
    assert_eq!((review.kind, review.what.as_str()), (Kind::Suggestion, "draft"));
    assert_eq!(payload, br#"{"account_id":"acct_acme","amount":5}"#);
    assert_eq!(process.crm.sends(), 0);
}

#[tokio::test]
async fn an_approval_is_asked_for_once_and_used_once() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    assert_eq!(waits(&process, &acme, ask("wire", 5)).await, review);
    let early = process.call(&acme, by(ask("wire", 5), review)).await.unwrap_err();
    assert!(matches!(early, Error::NotApproved("open")), "{early:?}");
    decide(&process, &acme, review, true).await;
    let done = process.call(&acme, by(ask("wire", 5), review)).await.unwrap();
    let receipt = done.receipt.unwrap();
    assert_eq!(claims(&receipt)["review"], review.to_string());
    // The first receipt again, by whichever way it is asked for.
    for again in [ask("wire", 5), by(ask("wire", 5), review)] {
        let again = process.call(&acme, again).await.unwrap();
        assert!(again.duplicate && again.receipt.as_ref() == Some(&receipt));
    }
    // Of nothing else.
    let other = Ask { step: Some("next".parse().unwrap()), ..ask("wire", 5) };
    let used = process.call(&acme, by(other, review)).await.unwrap_err();
    assert!(matches!(used, Error::NotApproved("used")), "{used:?}");
    assert_eq!(process.crm.writes(), 1);
}

#[tokio::test]
async fn an_approval_is_of_its_tool_and_its_arguments_and_its_tenant() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let (acme, globex) = (process.run("acme", "r").await, process.run("globex", "r").await);
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    for (scope, ask) in [
        (&acme, by(ask("wire", 6), review)),
        (&acme, by(ask("spend", 500), review)),
        (&globex, by(ask("wire", 5), review)),
    ] {
        let error = process.call(scope, ask.clone()).await.unwrap_err();
        assert!(matches!(error, Error::NotApproved(_)), "{ask:?}: {error:?}");
    }
    assert_eq!(process.crm.sends(), 0);
    assert!(process.call(&acme, by(ask("wire", 5), review)).await.is_ok());
}

/// The one that asked for it comes back when another one has used it: it is sent once, and takes
/// another approval for more.
#[tokio::test]
async fn of_two_calls_that_are_alike_one_has_the_approval() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let keyed = |key: &str| Ask { key: Some(key.parse().unwrap()), ..ask("wire", 5) };
    let review = waits(&process, &acme, keyed("one")).await;
    decide(&process, &acme, review, true).await;
    let mandate = process.due(&acme, review).await.unwrap().mandates.remove(0);
    let done = process.call(&acme, by(keyed("two"), review)).await.unwrap();
    let intent = done.receipt.unwrap().intent;
    let record = process.reviews.of(&acme).record(review).await.unwrap();
    assert_eq!(record.used_for, Some(intent));
    assert_ne!(record.intent, Some(intent));
    // Neither whoever asked nor Bulkhead itself, which was told to carry it out, does it again.
    let used = process.call(&acme, by(keyed("one"), review)).await.unwrap_err();
    assert!(matches!(used, Error::NotApproved("used")), "{used:?}");
    let scope = process.kit.doors.redeem(&mandate, APPROVED).await.unwrap();
    let prepared = process.tools.prepare_approved(&scope, review).await.unwrap();
    let used = process.go(&scope, prepared).await.unwrap_err();
    assert!(matches!(used, Error::NotApproved("used")), "{used:?}");
    assert_ne!(waits(&process, &acme, keyed("one")).await, review);
    assert_eq!((process.crm.sends(), process.crm.writes()), (1, 1));
}

/// Uses an approval for its own intent, as what dies before it sends anything leaves it.
async fn used(process: &Process, scope: &Scope<Write>, review: RandomId) -> RandomId {
    let inbox = process.reviews.of(scope);
    let record = inbox.record(review).await.unwrap();
    let bytes = |digits: &str| text::unhex(digits).unwrap().try_into().unwrap();
    let (digest, policy) = (bytes(&record.digest), bytes(&record.policy));
    let (what, account) = (record.what.as_str(), record.account.as_ref());
    assert_eq!(account.map(|account| account.as_str()), Some("acct_acme"));
    let intent = record.intent.unwrap();
    inbox.redeem(review, Wanted { what, digest, policy, account, intent }).await.unwrap();
    intent
}

/// It died between using its approval and sending: the approval is still its own.
#[tokio::test]
async fn what_was_used_and_not_sent_is_sent_by_the_same_intent() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.tools.set_mode(&acme, Some(Mode::Approve)).await.unwrap();
    for tool in ["wire", "note"] {
        let review = waits(&process, &acme, ask(tool, 5)).await;
        decide(&process, &acme, review, true).await;
        let intent = used(&process, &acme, review).await;
        // Nor is it lost where no approval is asked for any more.
        process.tools.set_mode(&acme, None).await.unwrap();
        let done = process.call(&acme, by(ask(tool, 5), review)).await.unwrap();
        assert_eq!(done.receipt.unwrap().intent, intent, "{tool}");
        process.tools.set_mode(&acme, Some(Mode::Approve)).await.unwrap();
    }
    assert_eq!(process.crm.writes(), 2);
}

#[tokio::test]
async fn an_approval_is_of_its_workflow_and_its_end_user() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    let mut minting = Kit::ask("acme", "live", "support");
    minting.run = Some("run-1".parse().unwrap());
    minting.subject = Some("user-1".parse().unwrap());
    let service = process.kit.service().await;
    let minted = process.kit.doors.exchange(&service, minting).await.unwrap();
    let for_a_user = process.kit.authenticate(&minted.secret).await.unwrap();
    for other in [process.run_in("acme", "run-1", "billing").await, for_a_user] {
        let error = process.call(&other, by(ask("wire", 5), review)).await.unwrap_err();
        assert!(matches!(error, Error::NotApproved(_)), "{error:?}");
    }
    assert_eq!(process.crm.sends(), 0);
    // The same agent in a later run is no other.
    let later = process.run("acme", "run-2").await;
    assert!(process.call(&later, by(ask("wire", 5), review)).await.is_ok());
}

#[tokio::test]
async fn what_is_denied_or_expired_is_not_done() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let denied = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, denied, false).await;
    for again in [ask("wire", 5), by(ask("wire", 5), denied)] {
        let error = process.call(&acme, again).await.unwrap_err();
        assert!(matches!(error, Error::NotApproved(_)), "{error:?}");
    }
    let late = waits(&process, &acme, ask("wire", 6)).await;
    decide(&process, &acme, late, true).await;
    ground.clock.advance(Duration::from_secs(3_601));
    let acme = process.run("acme", "run-1").await;
    let error = process.call(&acme, by(ask("wire", 6), late)).await.unwrap_err();
    assert!(matches!(error, Error::NotApproved(_)), "{error:?}");
    // Another person may be asked then.
    assert_ne!(waits(&process, &acme, ask("wire", 6)).await, late);
    assert_eq!(process.crm.sends(), 0);
}

#[tokio::test]
async fn a_failed_attempt_takes_another_approval() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    decide(&process, &acme, review, true).await;
    process.crm.will([Does::Unreachable]);
    assert!(matches!(process.call(&acme, ask("wire", 5)).await, Err(Error::Upstream(_))));
    let next = waits(&process, &acme, ask("wire", 5)).await;
    assert_ne!(next, review);
    decide(&process, &acme, next, true).await;
    assert!(process.call(&acme, ask("wire", 5)).await.is_ok());
    assert_eq!((process.crm.sends(), process.crm.writes()), (2, 1));
}

#[tokio::test]
async fn what_was_approved_is_carried_out_after_the_token_has_expired() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    assert!(process.due(&acme, review).await.is_none());
    ground.clock.advance(Duration::from_secs(1_800));
    assert!(acme.live().is_err());
    decide(&process, &acme, review, true).await;
    let mandate = process.due(&acme, review).await.unwrap().mandates.remove(0);
    let scope = process.kit.doors.redeem(&mandate, APPROVED).await.unwrap();
    let prepared = process.tools.prepare_approved(&scope, review).await.unwrap();
    let done = process.go(&scope, prepared).await.unwrap();
    assert!(!done.duplicate);
    assert_eq!(claims(done.receipt.as_ref().unwrap())["review"], review.to_string());
    // The agent that comes back finds it done.
    let acme = process.run("acme", "run-1").await;
    let again = process.call(&acme, ask("wire", 5)).await.unwrap();
    assert!(again.duplicate && again.receipt == done.receipt);
    assert_eq!(process.crm.writes(), 1);
}

#[tokio::test]
async fn what_a_person_edited_is_what_is_carried_out() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    // What it is bound to stays, whatever the person says.
    for said in [&br#"{"amount":4}"#[..], br#"{ "amount": 4, "account_id": "acct_globex" }"#] {
        process.tools.edit(&acme, review, said, "operator:ada").await.unwrap();
    }
    let edited = br#"{"account_id":"acct_acme","amount":4}"#;
    assert_eq!(process.reviews.of(&acme).get(review).await.unwrap().1, edited);
    decide(&process, &acme, review, true).await;
    let mandate = process.due(&acme, review).await.unwrap().mandates.remove(0);
    let scope = process.kit.doors.redeem(&mandate, APPROVED).await.unwrap();
    let prepared = process.tools.prepare_approved(&scope, review).await.unwrap();
    process.go(&scope, prepared).await.unwrap();
    let done = process.crm.done.lock().clone();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].arguments.to_vec(), edited);
}

#[tokio::test]
async fn an_edit_that_names_another_account_is_not_carried_out() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let review = waits(&process, &acme, ask("wire", 5)).await;
    let edited = br#"{"account_id":"acct_globex","amount":5}"#;
    let digest = *blake3::hash(edited).as_bytes();
    let inbox = process.reviews.of(&acme);
    inbox.edit(review, edited.to_vec(), digest, "operator:ada").await.unwrap();
    decide(&process, &acme, review, true).await;
    let error = process.tools.prepare_approved(&acme, review).await.unwrap_err();
    assert!(matches!(error, Error::NotApproved(_)), "{error:?}");
    assert_eq!(process.reviews.of(&acme).record(review).await.unwrap().state, State::Approved);
    assert_eq!(process.crm.sends(), 0);
}
