use std::{sync::atomic::Ordering, time::Duration};

use ids::Environment;
use scope::Right;

use crate::{NOON, code, kit};

#[tokio::test]
async fn an_api_key_is_bound_and_expires() {
    let (kit, clock) = kit().await;
    let key = kit.registry.add_key("acme", "staging", Some(NOON.plus(Duration::from_secs(60))));
    let scope = kit.authenticate(&key).await.unwrap();
    assert_eq!((scope.tenant().as_str(), scope.environment().as_str()), ("acme", "staging"));
    assert_eq!(code(kit.authenticate(&format!("{key}x")).await), "scope.unknown");
    assert_eq!(code(kit.authenticate(&key[..key.len() - 1]).await), "scope.unknown");
    clock.advance(Duration::from_secs(60));
    assert_eq!(code(kit.authenticate(&key).await), "scope.expired");

    let key = kit.registry.add_key("acme", "staging", None);
    assert_eq!(code(kit.authenticate(&key).await), "ok");
    kit.bump_epoch("acme").await;
    assert_eq!(code(kit.authenticate(&key).await), "scope.revoked");
}

#[tokio::test]
async fn other_peoples_secrets_open_no_tenant() {
    let (kit, _) = kit().await;
    let operator = kit.registry.add_operator("ada", &[Right::Enter]);
    assert_eq!(code(kit.authenticate(&operator).await), "scope.malformed");
    let token = kit.mint("acme", "live", "support").await;
    assert_eq!(code(kit.doors.operator(&token.secret).await), "scope.unknown");
    assert_eq!(code(kit.doors.service(&token.secret).await), "scope.unknown");
    assert_eq!(code(kit.doors.service(&operator).await), "scope.unknown");
    let key = kit.registry.add_key("acme", "live", None);
    assert_eq!(code(kit.doors.operator(&key.replacen("bk_", "bo_", 1)).await), "scope.unknown");
}

#[tokio::test]
async fn nobody_enters_without_a_record() {
    let (kit, _) = kit().await;
    let live: Environment = "live".parse().unwrap();
    let secret = kit.registry.add_operator("ada", &[Right::Read, Right::Enter]);
    let ada = kit.doors.operator(&secret).await.unwrap();

    let scope = ada.enter("acme", &live, "ticket 4711").await.unwrap();
    assert!(!scope.may("model:chat"), "support does not act as the tenant");
    let recorded = kit.audit.of("acme/live");
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].actor, "operator:ada");
    assert_eq!(recorded[0].reason.as_deref(), Some("ticket 4711"));

    for (reason, expected) in [("", "request.malformed"), ("  ", "request.malformed")] {
        assert_eq!(code(ada.enter("acme", &live, reason).await), expected);
    }
    assert_eq!(code(ada.enter("initech", &live, "x").await), "scope.tenant");
    let write = ada.enter_to_write("acme", &live, "credential.set", "openai", "x").await;
    assert_eq!(code(write), "scope.grant");

    kit.audit.full.store(true, Ordering::SeqCst);
    assert_eq!(code(ada.enter("acme", &live, "x").await), "scope.unavailable");
    kit.audit.full.store(false, Ordering::SeqCst);
    kit.change("acme", |record| record.status = scope::Status::Suspended).await;
    let scope = ada.enter("acme", &live, "why was it suspended").await.unwrap();
    assert_eq!(code(scope.live()), "ok");

    let reader = kit.registry.add_operator("bob", &[Right::Read]);
    let bob = kit.doors.operator(&reader).await.unwrap();
    assert_eq!(code(bob.enter("acme", &live, "x").await), "scope.grant");
}

#[tokio::test]
async fn an_erased_tenant_is_entered_only_to_erase_what_is_left() {
    let (kit, _) = kit().await;
    let live: Environment = "live".parse().unwrap();
    let secret = kit.registry.add_operator("ada", &[Right::Enter, Right::Write]);
    let ada = kit.doors.operator(&secret).await.unwrap();
    kit.change("acme", |record| record.status = scope::Status::Erased).await;
    assert_eq!(code(ada.enter("acme", &live, "x").await), "scope.tenant");
    let write = |action: &'static str| ada.enter_to_write("acme", &live, action, "x", "x");
    assert_eq!(code(write("credential.set").await), "scope.tenant");
    assert_eq!(code(write("tenant.erase").await), "ok");
}

#[tokio::test]
async fn an_operator_mints_to_try_things_out() {
    let (kit, _) = kit().await;
    let secret = kit.registry.add_operator("ada", &[Right::Write]);
    let ada = kit.doors.operator(&secret).await.unwrap();
    let ask = testkit::Kit::ask("acme", "live", "support");
    let minted = kit.doors.mint_for(&ada, ask).await.unwrap();
    assert_eq!(code(kit.authenticate(&minted.secret).await), "ok");
    let reader = kit.registry.add_operator("bob", &[Right::Read, Right::Enter]);
    let bob = kit.doors.operator(&reader).await.unwrap();
    let ask = testkit::Kit::ask("acme", "live", "support");
    assert_eq!(code(kit.doors.mint_for(&bob, ask).await), "scope.grant");
}
