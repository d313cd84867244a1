use std::time::Duration;

use ids::text;
use scope::{Claim, Names, Presented, SigningKey, TokenKeys};
use serde_json::{Value, json};

use crate::{NOON, code, kit};

/// A token as any program with a key could make it.
fn forge(seed: u8, header: Value, change: impl FnOnce(&mut Value)) -> String {
    use ed25519_dalek::Signer as _;
    let mut claims = json!({
        "iss": testkit::ISSUER, "aud": testkit::AUDIENCE, "iat": NOON.secs(),
        "exp": NOON.secs() + 600, "jti": "00000000000000000000000000000001", "txn": "r1",
        "tenant": "acme", "env": "live", "workflow": "support", "scope": "model:chat",
        "epoch": NOON.secs() - 3_600,
    });
    change(&mut claims);
    let part = |json: &Value| text::base64url(json.to_string().as_bytes());
    let message = format!("{}.{}", part(&header), part(&claims));
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let signature = key.sign(message.as_bytes());
    format!("{message}.{}", text::base64url(&signature.to_bytes()))
}

/// Doors whose signing key this test knows.
async fn known_key() -> (testkit::Kit, Value) {
    let (kit, _) = kit().await;
    let key = SigningKey::from_seed(&[1; 32]);
    let header = json!({ "alg": "EdDSA", "typ": "txntoken+jwt", "kid": key.kid() });
    kit.keys().replace(vec![key]);
    (kit, header)
}

#[tokio::test]
async fn a_token_carries_the_identity() {
    let (kit, _) = kit().await;
    let scope = kit.scope_for("acme", "live", "billing.refund").await;
    assert_eq!(scope.tenant().as_str(), "acme");
    assert_eq!(scope.environment().as_str(), "live");
    assert_eq!(scope.workflow().unwrap().as_str(), "billing.refund");
    assert!(scope.run().unwrap().as_str().starts_with("run_"));
    assert!(scope.may("model:chat") && !scope.may("admin:write"));
    let by_alias = kit.mint("org_acme", "live", "support").await;
    assert_eq!(by_alias.tenant.as_str(), "acme");
}

#[tokio::test]
async fn every_fault_has_its_code() {
    let (kit, header) = known_key().await;
    let good = forge(1, header.clone(), |_| {});
    assert_eq!(code(kit.authenticate(&good).await), "ok");

    let with = |key: &str, value: Value| {
        let mut header = header.clone();
        header[key] = value;
        header
    };
    let claim = |key: &'static str, value: Value| {
        forge(1, header.clone(), move |claims| claims[key] = value)
    };
    let now = NOON.secs();
    let cases = [
        ("nonsense", "nonsense".to_owned(), "scope.malformed"),
        ("two parts", "a.b".to_owned(), "scope.malformed"),
        ("too long", "a".repeat(9_000), "scope.malformed"),
        ("alg none", forge(1, with("alg", json!("none")), |_| {}), "scope.algorithm"),
        ("alg HS256", forge(1, with("alg", json!("HS256")), |_| {}), "scope.algorithm"),
        ("other kid", forge(1, with("kid", json!("other")), |_| {}), "scope.unknown_key"),
        ("no kid", forge(1, with("kid", Value::Null), |_| {}), "scope.unknown_key"),
        ("other typ", forge(1, with("typ", json!("JWT")), |_| {}), "scope.malformed"),
        ("crit", forge(1, with("crit", json!(["b64"])), |_| {}), "scope.malformed"),
        ("other key", forge(2, header.clone(), |_| {}), "scope.signature"),
        ("no signature", good.rsplit_once('.').unwrap().0.to_owned() + ".", "scope.signature"),
        ("issuer", claim("iss", json!("https://evil.test")), "scope.issuer"),
        ("audience", claim("aud", json!("bulkhead:other")), "scope.audience"),
        ("expired", claim("exp", json!(now)), "scope.expired"),
        ("as long as one may live", claim("exp", json!(now + 900)), "ok"),
        ("longer than any lives", claim("exp", json!(now + 901)), "scope.malformed"),
        ("for ever", claim("exp", json!(u64::MAX)), "scope.malformed"),
        ("from the future", claim("iat", json!(now + 61)), "scope.clock_skew"),
        ("within the skew", claim("iat", json!(now + 60)), "ok"),
        ("no such tenant", claim("tenant", json!("initech")), "scope.tenant"),
        ("alias as id", claim("tenant", json!("org_acme")), "scope.tenant"),
        ("no such environment", claim("env", json!("prod")), "scope.environment"),
        ("older epoch", claim("epoch", json!(1)), "scope.revoked"),
        ("newer epoch", claim("epoch", json!(now)), "scope.revoked"),
        ("bad tenant", claim("tenant", json!("AC ME")), "scope.malformed"),
        ("all grants", claim("scope", json!("*")), "scope.malformed"),
        ("long lineage", claim("ancestors", json!(vec!["0".repeat(32); 9])), "scope.malformed"),
    ];
    for (name, token, expected) in cases {
        assert_eq!(code(kit.authenticate(&token).await), expected, "{name}");
    }
}

#[tokio::test]
async fn repeated_claims_are_refused() {
    use ed25519_dalek::Signer as _;
    let (kit, header) = known_key().await;
    let good = forge(1, header, |_| {});
    let (message, _) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let payload = String::from_utf8(text::unbase64url(payload).unwrap()).unwrap();
    let twice = payload.replacen('{', r#"{"tenant":"globex","#, 1);
    let message = format!("{header}.{}", text::base64url(twice.as_bytes()));
    let signature = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).sign(message.as_bytes());
    let token = format!("{message}.{}", text::base64url(&signature.to_bytes()));
    assert_eq!(code(kit.authenticate(&token).await), "scope.malformed");
}

/// Incident `token-prefix` (LiteLLM CVE-2026-35030): the cache of proven tokens was keyed on
/// the first bytes.
#[tokio::test]
async fn token_prefix() {
    let (kit, _) = kit().await;
    let acme = kit.mint("acme", "live", "support").await;
    let globex = kit.mint("globex", "live", "support").await;
    assert_eq!(acme.secret[..40], globex.secret[..40], "they share a prefix");
    for _ in 0..3 {
        for minted in [&acme, &globex] {
            let scope = kit.authenticate(&minted.secret).await.unwrap();
            assert_eq!(*scope.tenant(), minted.tenant);
        }
    }
}

#[tokio::test]
async fn a_proven_token_is_not_proven_for_ever() {
    let (kit, clock) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    assert_eq!(code(kit.authenticate(&token.secret).await), "ok");
    clock.advance(Duration::from_secs(899));
    assert_eq!(code(kit.authenticate(&token.secret).await), "ok");
    clock.advance(Duration::from_secs(1));
    assert_eq!(code(kit.authenticate(&token.secret).await), "scope.expired");
}

#[tokio::test]
async fn revocation_is_effective_at_once() {
    let (kit, _) = kit().await;
    let [one, two] = [kit.mint("acme", "live", "a").await, kit.mint("acme", "live", "b").await];
    let scope = kit.authenticate(&one.secret).await.unwrap();
    assert_eq!(code(kit.authenticate(&two.secret).await), "ok");
    let stream = tokio::spawn({
        let scope = scope.clone();
        async move { scope.ended().await.code() }
    });
    kit.revoke("acme", one.id).await;
    assert_eq!(code(kit.authenticate(&one.secret).await), "scope.revoked");
    assert_eq!(code(scope.live()), "scope.revoked");
    assert_eq!(stream.await.unwrap(), "scope.revoked");
    assert_eq!(code(kit.authenticate(&two.secret).await), "ok", "only that one");

    let other = kit.scope("globex", "live").await;
    kit.bump_epoch("acme").await;
    assert_eq!(code(kit.authenticate(&two.secret).await), "scope.revoked");
    assert_eq!(code(other.live()), "ok", "another tenant's epoch is its own");
}

#[tokio::test]
async fn a_suspended_tenant_is_not_served() {
    let (kit, _) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    let scope = kit.authenticate(&token.secret).await.unwrap();
    kit.change("acme", |record| record.status = scope::Status::Suspended).await;
    assert_eq!(code(kit.authenticate(&token.secret).await), "scope.suspended");
    assert_eq!(scope.ended().await.code(), "scope.suspended");
    kit.change("acme", |record| record.status = scope::Status::Active).await;
    assert_eq!(code(kit.authenticate(&token.secret).await), "ok");
    kit.change("acme", |record| record.status = scope::Status::Erased).await;
    assert_eq!(code(kit.authenticate(&token.secret).await), "scope.tenant");
}

#[tokio::test]
async fn an_environment_that_is_gone_ends_what_runs_in_it() {
    let (kit, _) = kit().await;
    let [live, staging] = [kit.scope("acme", "live").await, kit.scope("acme", "staging").await];
    kit.change("acme", |record| record.environments.retain(|e| e.name.as_str() == "live")).await;
    assert_eq!(staging.ended().await.code(), "scope.environment");
    assert_eq!(code(staging.live()), "scope.environment");
    assert_eq!(code(live.live()), "ok");
}

#[tokio::test]
async fn an_older_record_never_replaces_a_newer_one() {
    let (kit, _) = kit().await;
    let scope = kit.scope("acme", "live").await;
    let id = scope.tenant().clone();
    kit.bump_epoch("acme").await;
    kit.registry.change(&id, |record| {
        record.epoch -= 1;
        record.revision -= 2;
    });
    kit.doors.refresh(&id).await.unwrap();
    assert_eq!(code(scope.live()), "scope.revoked", "the stale record was not taken");
}

#[tokio::test]
async fn when_the_registry_is_out_of_reach_nothing_is_guessed() {
    let (kit, _) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    let fresh = testkit::Kit::new(std::sync::Arc::new(ids::ManualClock::at(NOON))).await;
    fresh.registry.down.store(true, std::sync::atomic::Ordering::SeqCst);
    let key = fresh.registry.add_key("acme", "live", None);
    assert_eq!(code(fresh.authenticate(&key).await), "scope.unavailable");
    assert_eq!(code(fresh.authenticate(&token.secret).await), "scope.unknown_key");
}

/// Incidents `tenant-arg` and `platform-secret`: what stands beside the credential decides
/// nothing; it agrees or the request fails, and the denial is on the record.
#[tokio::test]
async fn two_identities_that_disagree() {
    let (kit, _) = kit().await;
    let acme = kit.mint("acme", "live", "support").await.secret;
    let globex = kit.mint("globex", "live", "support").await.secret;
    let claim = |names, value| Claim { place: "header x", names, value };
    let cases: Vec<(&str, Vec<&str>, Vec<Claim<'_>>, &str)> = vec![
        ("none", vec![], vec![], "scope.missing"),
        ("one", vec![&acme], vec![], "ok"),
        ("the same twice", vec![&acme, &acme], vec![], "ok"),
        ("two", vec![&acme, &globex], vec![], "scope.mismatch"),
        ("a good and a bad one", vec![&acme, "sk-1"], vec![], "scope.mismatch"),
        ("own id", vec![&acme], vec![claim(Names::Tenant, "acme")], "ok"),
        ("own alias", vec![&acme], vec![claim(Names::Tenant, "org_acme")], "ok"),
        ("other id", vec![&acme], vec![claim(Names::Tenant, "globex")], "scope.mismatch"),
        ("other case", vec![&acme], vec![claim(Names::Tenant, "ACME")], "scope.mismatch"),
        ("empty", vec![&acme], vec![claim(Names::Tenant, "")], "scope.mismatch"),
        ("own environment", vec![&acme], vec![claim(Names::Environment, "live")], "ok"),
        ("other one", vec![&acme], vec![claim(Names::Environment, "staging")], "scope.mismatch"),
    ];
    let mut denied = 0;
    for (name, credentials, claims, expected) in cases {
        let outcome = kit.doors.authenticate(&Presented { credentials, claims }).await;
        assert_eq!(code(outcome), expected, "{name}");
        denied += usize::from(expected == "scope.mismatch");
    }
    let recorded = kit.audit.of("acme/live");
    assert_eq!(recorded.len(), denied);
    assert!(recorded.iter().all(|entry| entry.code.as_deref() == Some("scope.mismatch")));
    assert!(kit.audit.of("globex/live").is_empty(), "nothing in a log that is not its own");
}

#[tokio::test]
async fn keys_rotate_with_overlap() {
    let (kit, _) = kit().await;
    let old = SigningKey::from_seed(&[1; 32]);
    let new = SigningKey::from_seed(&[2; 32]);
    kit.keys().replace(vec![old.clone()]);
    let before = kit.mint("acme", "live", "support").await.secret;
    kit.keys().replace(vec![new.clone(), old]);
    let after = kit.mint("acme", "live", "support").await.secret;
    assert_eq!(code(kit.authenticate(&before).await), "ok");
    assert_eq!(code(kit.authenticate(&after).await), "ok");
    let published = kit.doors.jwks();
    assert_eq!(published["keys"].as_array().unwrap().len(), 2);
    assert_eq!(published["keys"][0]["kid"], new.kid());
    assert!(!published.to_string().contains("\"d\""), "public keys only");
    kit.keys().replace(vec![new]);
    let unseen = kit.mint("acme", "live", "x").await.secret;
    assert_eq!(code(kit.authenticate(&unseen).await), "ok");
    assert!(TokenKeys::new(vec![]).is_err());
}

#[tokio::test]
async fn a_change_that_cannot_be_read_fails_closed_until_it_can() {
    let (kit, _) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    let scope = kit.authenticate(&token.secret).await.unwrap();
    let down = |down| kit.registry.down.store(down, std::sync::atomic::Ordering::SeqCst);
    kit.registry.change(scope.tenant(), |_| {});
    down(true);
    assert!(kit.doors.refresh(scope.tenant()).await.is_err());
    assert_eq!(code(scope.live()), "scope.unavailable");
    assert_eq!(scope.ended().await.code(), "scope.unavailable");
    assert_eq!(code(kit.authenticate(&token.secret).await), "scope.unavailable");
    down(false);
    assert_eq!(code(kit.authenticate(&token.secret).await), "ok", "the next use reads again");
    assert_eq!(code(scope.live()), "ok");
}

#[tokio::test]
async fn a_withdrawn_key_opens_nothing_that_was_proven_before() {
    let (kit, _) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    assert_eq!(code(kit.authenticate(&token.secret).await), "ok");
    kit.keys().replace(vec![SigningKey::from_seed(&[3; 32])]);
    assert_eq!(code(kit.authenticate(&token.secret).await), "scope.unknown_key");
}

/// A proof that is under way when the key goes is none afterwards.
#[tokio::test]
async fn a_key_that_is_withdrawn_while_it_proves_proves_nothing_later() {
    let (kit, _) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    kit.registry.slow.store(true, std::sync::atomic::Ordering::SeqCst);
    // Its standing is known by now, and has to be read again.
    kit.registry.down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(kit.doors.refresh(&token.tenant).await.is_err());
    kit.registry.down.store(false, std::sync::atomic::Ordering::SeqCst);
    let mut proving = std::pin::pin!(kit.authenticate(&token.secret));
    tokio::select! {
        biased;
        _ = &mut proving => panic!("it was to wait for the registry"),
        () = std::future::ready(()) => {}
    }
    kit.keys().replace(vec![SigningKey::from_seed(&[3; 32])]);
    assert_eq!(code(proving.await), "ok", "it was there before");
    assert_eq!(code(kit.authenticate(&token.secret).await), "scope.unknown_key");
}
