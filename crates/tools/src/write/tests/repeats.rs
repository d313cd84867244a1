//! The same write is done once; what only looks alike is done as often as it is asked for.

use std::time::Duration;

use super::ground::{Does, Ground, ask, claims};
use crate::{Ask, Error, Mode, write::intent::Kept};

fn keyed(ask: Ask, key: &str) -> Ask {
    Ask { key: Some(key.to_owned()), ..ask }
}

fn stepped(ask: Ask, step: &str) -> Ask {
    Ask { step: Some(step.parse().unwrap()), ..ask }
}

#[tokio::test]
async fn the_same_write_of_a_run_is_done_once_and_of_another_run_again() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let one = process.run("acme", "run-1").await;
    let first = process.call(&one, ask("note", 5)).await.unwrap();
    assert!(!first.duplicate);
    let again = process.call(&one, ask("note", 5)).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(Kept::of(&again.content), Kept::of(&first.content));
    assert_eq!(again.receipt, first.receipt);
    // A token of the same run is the same run.
    let fresh = process.run("acme", "run-1").await;
    assert!(process.call(&fresh, ask("note", 5)).await.unwrap().duplicate);
    assert_eq!(process.crm.writes(), 1);
    assert!(!process.call(&one, ask("note", 6)).await.unwrap().duplicate);
    let two = process.run("acme", "run-2").await;
    let other = process.call(&two, ask("note", 5)).await.unwrap();
    assert!(!other.duplicate && other.receipt != first.receipt);
    assert_eq!(process.crm.writes(), 3);
}

#[tokio::test]
async fn without_a_run_the_credential_stands_for_it() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let key = |n: u64| process.kit.registry.add_key("acme", "live", Some(ids::Millis(n)));
    let (one, two) = (key(u64::MAX), key(u64::MAX - 1));
    let one = process.kit.authenticate(&one).await.unwrap();
    let two = process.kit.authenticate(&two).await.unwrap();
    assert!(one.run().is_none());
    assert!(!process.call(&one, ask("note", 5)).await.unwrap().duplicate);
    assert!(process.call(&one, ask("note", 5)).await.unwrap().duplicate);
    assert!(!process.call(&two, ask("note", 5)).await.unwrap().duplicate);
    assert!(!process.call(&one, stepped(ask("note", 5), "s")).await.unwrap().duplicate);
    assert_eq!(process.crm.writes(), 3);
}

/// Another product kept writes under the ids of requests, which clients count from 1: a second
/// run's first call was answered with the first run's result.
#[tokio::test]
async fn rpc_idempotency_a_key_tells_apart_and_never_joins() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let globex = process.run("globex", "run-1").await;
    let first = process.call(&acme, keyed(ask("note", 5), "1")).await.unwrap();
    for (scope, ask) in [
        (&acme, keyed(ask("note", 6), "1")),
        (&acme, keyed(ask("charge", 5), "1")),
        (&acme, keyed(ask("note", 5), "2")),
        (&acme, ask("note", 5)),
        (&acme, stepped(keyed(ask("note", 5), "1"), "step")),
        (&globex, keyed(ask("note", 5), "1")),
        (&process.run("acme", "run-2").await, keyed(ask("note", 5), "1")),
        (&process.run_in("acme", "run-1", "billing").await, keyed(ask("note", 5), "1")),
    ] {
        let other = process.call(scope, ask.clone()).await.unwrap();
        assert!(!other.duplicate && other.receipt != first.receipt, "{ask:?}");
    }
    assert!(process.call(&acme, keyed(ask("note", 5), "1")).await.unwrap().duplicate);
    assert_eq!(process.crm.writes(), 9);
}

#[tokio::test]
async fn tenants_with_the_same_run_and_arguments_share_nothing() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let globex = process.run("globex", "run-1").await;
    let first = process.call(&acme, ask("charge", 5)).await.unwrap().receipt.unwrap();
    let other = process.call(&globex, ask("charge", 5)).await.unwrap();
    assert!(!other.duplicate);
    let other = other.receipt.unwrap();
    assert_eq!(claims(&first)["tenant"], "acme");
    assert_eq!(claims(&other)["tenant"], "globex");
    assert_eq!(process.receipts(&acme).await, std::slice::from_ref(&first));
    assert_eq!(process.receipts(&globex).await, std::slice::from_ref(&other));
    // What is another's and what never was are alike.
    let missing = process.tools.receipt(&globex, first.intent).await.unwrap_err();
    let never = process.tools.receipt(&globex, ids::RandomId::from_bytes([7; 16])).await;
    assert_eq!(missing.to_string(), never.unwrap_err().to_string());
    let tenants: Vec<_> = process.crm.done.lock().iter().map(|d| d.tenant.clone()).collect();
    assert_eq!(tenants, ["acme", "globex"]);
}

#[tokio::test]
async fn what_is_known_not_to_be_done_may_be_tried_again_under_the_same_id() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Unreachable, Does::Refuses]);
    let error = process.call(&acme, ask("note", 5)).await.unwrap_err();
    assert!(matches!(error, Error::Upstream(fault) if !fault.sent), "{error:?}");
    let refused = process.call(&acme, ask("note", 5)).await.unwrap();
    assert!(refused.content.is_error() && refused.receipt.is_none() && !refused.duplicate);
    let done = process.call(&acme, ask("note", 5)).await.unwrap();
    assert!(done.receipt.is_some() && !done.duplicate);
    let sent = process.crm.sent.lock().clone();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|(intent, _)| *intent == sent[0].0));
    assert_eq!(process.crm.writes(), 1);
    assert_eq!(
        process.tools.resume(&super::ground::system()).await.unwrap(),
        crate::Resumed::default()
    );
}

#[tokio::test]
async fn a_second_caller_does_not_send_what_is_under_way() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    process.crm.will([Does::Hangs { done: true }]);
    let first = process.call(&acme, ask("note", 5));
    tokio::pin!(first);
    process.until_heard(&mut first).await;
    let second = process.call(&acme, ask("note", 5)).await;
    assert!(matches!(second, Err(Error::InFlight)), "{second:?}");
    // Under way here: nobody looks it up.
    let resumed = process.tools.resume(&super::ground::system()).await.unwrap();
    assert_eq!((resumed.left, process.crm.sends()), (1, 1));
}

#[tokio::test]
async fn whoever_hangs_up_does_not_stop_the_write() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    {
        let first = process.call(&acme, ask("note", 5));
        tokio::pin!(first);
        tokio::select! {
            biased;
            // Polled once, and dropped.
            _ = &mut first => panic!("nobody has answered yet"),
            () = std::future::ready(()) => {}
        }
    }
    process.kit.doors.drained().await;
    assert_eq!(process.crm.writes(), 1);
    let again = process.call(&acme, ask("note", 5)).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(process.receipts(&acme).await, [again.receipt.unwrap()]);
}

#[tokio::test]
async fn the_strictest_mode_holds() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let suggested = |error: &Error| matches!(error, Error::Suggested { .. });
    let waits = |error: &Error| matches!(error, Error::ApprovalRequired { .. });
    // None set is suggested.
    assert!(suggested(&process.call(&acme, ask("draft", 1)).await.unwrap_err()));
    assert!(waits(&process.call(&acme, ask("wire", 1)).await.unwrap_err()));
    // An amount.
    assert!(process.call(&acme, ask("spend", 99)).await.is_ok());
    assert!(waits(&process.call(&acme, ask("spend", 100)).await.unwrap_err()));
    // The workflow's.
    let careful = process.run_in("acme", "run-1", "careful").await;
    assert!(suggested(&process.call(&careful, ask("note", 1)).await.unwrap_err()));
    // The tenant's, and nobody else's.
    process.tools.set_mode(&acme, Some(Mode::Approve)).await.unwrap();
    assert_eq!(process.tools.mode(&acme).await.unwrap(), Some(Mode::Approve));
    assert!(waits(&process.call(&acme, ask("note", 1)).await.unwrap_err()));
    assert!(suggested(&process.call(&acme, ask("draft", 1)).await.unwrap_err()));
    let globex = process.run("globex", "run-1").await;
    assert!(process.call(&globex, ask("note", 1)).await.is_ok());
    process.tools.set_mode(&acme, Some(Mode::Execute)).await.unwrap();
    assert!(suggested(&process.call(&acme, ask("draft", 1)).await.unwrap_err()));
    process.tools.set_mode(&acme, None).await.unwrap();
    // It still waits for the person who was asked, or is done now: it is done.
    assert!(process.call(&acme, ask("note", 1)).await.is_ok());
    assert_eq!(process.crm.writes(), 3);
}

#[tokio::test]
async fn a_tool_of_other_workflows_is_not_there() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let support = process.run("acme", "run-1").await;
    let never = process.call(&support, ask("no_such_tool", 1)).await.unwrap_err();
    let other = process.call(&support, ask("ledger", 1)).await.unwrap_err();
    assert_eq!((never.code(), never.to_string()), (other.code(), other.to_string()));
    let billing = process.run_in("acme", "run-1", "billing").await;
    assert!(process.call(&billing, ask("ledger", 1)).await.is_ok());
}

#[tokio::test]
async fn intents_are_bounded_and_end() {
    let ground = Ground::new().await;
    let directory = ground.kept.path().join("bounded");
    let mut settings = super::ground::settings();
    settings.limits.intents = 2;
    let process = ground.start_in(&directory, Default::default(), settings).await;
    let acme = process.run("acme", "run-1").await;
    process.call(&acme, ask("note", 1)).await.unwrap();
    process.call(&acme, ask("note", 2)).await.unwrap();
    let full = process.call(&acme, ask("note", 3)).await.unwrap_err();
    assert!(matches!(full, Error::IntentsFull(2)), "{full:?}");
    // Nothing is left of it in the list of open ones.
    let resumed = process.tools.resume(&super::ground::system()).await.unwrap();
    assert_eq!(resumed, crate::Resumed::default());
    // Those that are there are answered, and others have their own bound.
    assert!(process.call(&acme, ask("note", 2)).await.unwrap().duplicate);
    let globex = process.run("globex", "run-1").await;
    process.call(&globex, ask("note", 3)).await.unwrap();
    assert_eq!(process.crm.writes(), 3);
    ground.clock.advance(Duration::from_secs(31 * 24 * 3_600));
    process.store.sweep(&super::ground::system()).await.unwrap();
    let acme = process.run("acme", "run-1").await;
    assert!(!process.call(&acme, ask("note", 1)).await.unwrap().duplicate);
}

#[tokio::test]
async fn receipts_say_what_was_done_and_are_found() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let mut given = Vec::new();
    for amount in 1..=5 {
        let answer = process.call(&acme, ask("refund", amount)).await.unwrap();
        given.push(answer.receipt.unwrap());
        ground.clock.advance(Duration::from_secs(1));
    }
    given.reverse();
    assert_eq!(process.receipts(&acme).await, given);
    let page = process.tools.receipts(&acme, Some(given[1].intent), 2).await.unwrap();
    assert_eq!(page, given[2..4]);
    assert_eq!(process.tools.receipt(&acme, given[3].intent).await.unwrap(), given[3]);
    let says = claims(&given[0]);
    for (claim, value) in [
        ("iss", testkit::ISSUER),
        ("tenant", "acme"),
        ("environment", "live"),
        ("run", "run-1"),
        ("tool", "refund"),
        ("upstream", "crm"),
        ("account", "acct_acme"),
        ("effect", "destructive"),
        ("confirmed_by", "read"),
    ] {
        assert_eq!(says[claim], value, "{claim}");
    }
    let arguments = br#"{"account_id":"acct_acme","amount":5}"#;
    assert_eq!(says["arguments"], format!("b3:{}", blake3::hash(arguments).to_hex()));
    let plain = process.call(&acme, ask("note", 1)).await.unwrap().receipt.unwrap();
    assert_eq!(claims(&plain)["confirmed_by"], "answer");
}

/// The key that signed a receipt is retired: it is handed out with the same words, under a key that
/// is published, whichever way it is asked for.
#[tokio::test]
async fn a_receipt_outlives_the_key_that_signed_it() {
    let ground = Ground::new().await;
    let process = ground.start().await;
    let acme = process.run("acme", "run-1").await;
    let first = process.call(&acme, ask("note", 5)).await.unwrap().receipt.unwrap();
    let keys = &process.tools.0.parts.receipt_keys;
    keys.replace([&[7; 32], &[6; 32]]);
    assert_eq!(process.receipts(&acme).await, std::slice::from_ref(&first));
    keys.replace([&[7; 32]]);
    let repeated = process.call(&acme, ask("note", 5)).await.unwrap().receipt.unwrap();
    let named = process.tools.receipt(&acme, first.intent).await.unwrap();
    let listed = process.receipts(&acme).await.remove(0);
    for again in [repeated, named, listed] {
        assert_eq!(claims(&again), claims(&first));
        assert_eq!((again.intent, again.at), (first.intent, first.at));
        let header = again.signed.split('.').next().unwrap();
        let header: serde_json::Value =
            serde_json::from_slice(&ids::text::unbase64url(header).unwrap()).unwrap();
        assert_eq!(header["kid"], keys.jwks()["keys"][0]["kid"]);
    }
}
