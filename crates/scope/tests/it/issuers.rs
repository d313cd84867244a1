use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::Signer as _;
use ids::{BoxFuture, ManualClock, text};
use parking_lot::Mutex;
use scope::{
    Algorithm, Bound, Error, Exchange, Grants, Issuer, KeySource, Minted, Source, Unavailable, Want,
};
use serde_json::{Value, json};
use testkit::Kit;

use crate::{NOON, code};

const ISS: &str = "https://login.test";

struct Published {
    keys: Mutex<Option<Value>>,
    fetches: AtomicUsize,
}

impl KeySource for Published {
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, Unavailable>> {
        Box::pin(async {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let keys = self.keys.lock().clone();
            keys.map(|k| k.to_string().into_bytes()).ok_or(Unavailable("down".into()))
        })
    }
}

fn key(seed: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
}

fn jwk(kid: &str, seed: u8) -> Value {
    let x = text::base64url(key(seed).verifying_key().as_bytes());
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "alg": "EdDSA", "x": x })
}

fn sign(seed: u8, header: &Value, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "iss": ISS, "aud": ["other", "bulkhead"], "sub": "ada", "iat": NOON.secs(),
        "exp": NOON.secs() + 3_600, "org": { "id": "org_acme", "env": "live" },
    });
    change(&mut claims);
    let part = |json: &Value| text::base64url(json.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(&claims));
    let signature = key(seed).sign(message.as_bytes());
    format!("{message}.{}", text::base64url(&signature.to_bytes()))
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "JWT", "kid": "k1" })
}

async fn kit(direct: bool) -> (Kit, Arc<ManualClock>, Arc<Published>) {
    let keys = json!({ "keys": [jwk("k1", 1)] });
    let published =
        Arc::new(Published { keys: Mutex::new(Some(keys)), fetches: AtomicUsize::new(0) });
    let issuer = Issuer {
        name: "login".parse().unwrap(),
        issuer: ISS.into(),
        audience: "bulkhead".into(),
        algorithms: vec![Algorithm::EdDSA],
        tenant: Bound::Claim("org.id".into()),
        environment: Bound::Claim("org.env".into()),
        workflow: Some(Bound::Fixed("chat".into())),
        grants: Grants::parse("model:chat").unwrap(),
        direct,
        keys: Arc::clone(&published) as Arc<dyn KeySource>,
    };
    let clock = Arc::new(ManualClock::at(NOON));
    let kit = Kit::with_issuers(Arc::clone(&clock) as Arc<dyn ids::Clock>, vec![issuer]).await;
    (kit, clock, published)
}

async fn exchange(kit: &Kit, token: &str) -> Result<Minted, Error> {
    let ask = Exchange {
        source: Source::Issuer(token),
        want: Want::Token,
        environment: None,
        workflow: None,
        run: None,
        agent: None,
        subject: None,
        grants: Grants::parse("model:chat").ok(),
        life: None,
    };
    kit.doors.exchange(&kit.service().await, ask).await
}

#[tokio::test]
async fn a_trusted_token_is_exchanged_or_used_directly() {
    let (kit, clock, _) = kit(true).await;
    let token = sign(1, &header(), |_| {});
    let minted = exchange(&kit, &token).await.unwrap();
    assert_eq!((minted.tenant.as_str(), minted.environment.as_str()), ("acme", "live"));
    let scope = kit.authenticate(&token).await.unwrap();
    assert_eq!(scope.subject().unwrap().as_str(), "ada");
    assert_eq!(scope.workflow().unwrap().as_str(), "chat");
    assert_eq!(scope.grants().to_string(), "model:chat");

    kit.revoke("acme", *scope.jti()).await;
    for token in [&token, &*minted.secret] {
        assert_eq!(code(kit.authenticate(token).await), "scope.revoked", "and what it became");
    }
    assert_eq!(code(exchange(&kit, &token).await), "scope.revoked");

    let token = sign(1, &header(), |claims| claims["jti"] = json!("another"));
    assert_eq!(code(kit.authenticate(&token).await), "ok");
    clock.advance(Duration::from_secs(60));
    kit.change("acme", |record| record.epoch = NOON.secs() + 30).await;
    assert_eq!(code(kit.authenticate(&token).await), "scope.revoked", "issued before the epoch");
}

#[tokio::test]
async fn attacks_on_the_token() {
    let (kit, ..) = kit(true).await;
    let with = |key: &str, value: Value| {
        let mut header = header();
        header[key] = value;
        header
    };
    let claim = |pointer: &'static str, value: Value| {
        sign(1, &header(), move |claims| *claims.pointer_mut(pointer).unwrap() = value)
    };
    let unsigned = sign(1, &with("alg", json!("none")), |_| {});
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    let now = NOON.secs();
    for (name, token, expected) in [
        ("none", unsigned, "scope.algorithm"),
        (
            "HS256 with the public key",
            sign(1, &with("alg", json!("HS256")), |_| {}),
            "scope.algorithm",
        ),
        (
            "an algorithm that is not listed",
            sign(1, &with("alg", json!("RS256")), |_| {}),
            "scope.algorithm",
        ),
        ("unknown kid", sign(1, &with("kid", json!("k9")), |_| {}), "scope.unknown_key"),
        (
            "what another Bulkhead says to tools",
            sign(1, &with("typ", json!("bulkhead-assertion+jwt")), |_| {}),
            "scope.malformed",
        ),
        (
            "what it says of a write",
            sign(1, &with("typ", json!("bulkhead-receipt+jwt")), |_| {}),
            "scope.malformed",
        ),
        (
            "its own key in the header",
            sign(2, &with("jwk", jwk("k1", 2)), |_| {}),
            "scope.signature",
        ),
        ("another key", sign(2, &header(), |_| {}), "scope.signature"),
        ("another issuer", claim("/iss", json!("https://evil.test")), "scope.issuer"),
        ("another audience", claim("/aud", json!("other")), "scope.audience"),
        ("expired beyond the skew", claim("/exp", json!(now - 60)), "scope.expired"),
        ("expired within the skew", claim("/exp", json!(now - 59)), "ok"),
        ("from the future", claim("/iat", json!(now + 61)), "scope.clock_skew"),
        ("tenant unknown", claim("/org/id", json!("org_x")), "scope.tenant"),
        ("tenant not text", claim("/org/id", json!(["org_acme"])), "scope.tenant"),
        ("environment unknown", claim("/org/env", json!("prod")), "scope.environment"),
        ("not yet", sign(1, &header(), |c| c["nbf"] = json!(now + 61)), "scope.clock_skew"),
    ] {
        assert_eq!(code(kit.authenticate(&token).await), expected, "{name}");
    }
}

#[tokio::test]
async fn not_directly_unless_configured() {
    let (kit, ..) = kit(false).await;
    let token = sign(1, &header(), |_| {});
    assert_eq!(code(kit.authenticate(&token).await), "scope.issuer");
    assert_eq!(code(exchange(&kit, &token).await), "ok");
}

#[tokio::test]
async fn an_unknown_key_id_does_not_make_us_hammer_the_issuer() {
    let (kit, clock, published) = kit(true).await;
    let unknown = sign(2, &json!({ "alg": "EdDSA", "kid": "k2" }), |_| {});
    let all = (0..50).map(|_| kit.authenticate(&unknown));
    for outcome in futures_util::future::join_all(all).await {
        assert_eq!(code(outcome), "scope.unknown_key");
    }
    assert_eq!(published.fetches.load(Ordering::SeqCst), 1);

    *published.keys.lock() = Some(json!({ "keys": [jwk("k1", 1), jwk("k2", 2)] }));
    clock.advance(Duration::from_secs(31));
    assert_eq!(code(kit.authenticate(&unknown).await), "ok", "a rotated key is found");
    assert_eq!(published.fetches.load(Ordering::SeqCst), 2);

    *published.keys.lock() = None;
    clock.advance(Duration::from_secs(1_000));
    let again = sign(2, &json!({ "alg": "EdDSA", "kid": "k2" }), |c| c["jti"] = json!("b"));
    assert_eq!(code(kit.authenticate(&again).await), "ok", "a short outage is survived");
    clock.advance(Duration::from_secs(2_000));
    let later = sign(2, &json!({ "alg": "EdDSA", "kid": "k2" }), |c| c["jti"] = json!("c"));
    let expired = matches!(code(kit.authenticate(&later).await), "ok");
    assert!(expired);
    clock.advance(Duration::from_secs(590));
    let last = sign(2, &json!({ "alg": "EdDSA", "kid": "k2" }), |c| {
        c["exp"] = json!(NOON.secs() + 90_000);
    });
    clock.advance(Duration::from_secs(600));
    assert_eq!(code(kit.authenticate(&last).await), "scope.unavailable", "a long one is not");
}

#[tokio::test]
async fn two_keys_of_one_id_leave_no_choice() {
    let (kit, clock, published) = kit(true).await;
    *published.keys.lock() = Some(json!({ "keys": [jwk("k1", 2), jwk("k1", 1)] }));
    clock.advance(Duration::from_secs(1));
    let token = sign(1, &header(), |_| {});
    assert_eq!(code(kit.authenticate(&token).await), "scope.unknown_key");
}

/// A name that was another tenant's: tokens that name it and were issued before mean the other.
#[tokio::test]
async fn a_token_from_before_a_name_was_taken_over_is_void() {
    let (kit, ..) = kit(true).await;
    let token = sign(1, &header(), |_| {});
    kit.change("acme", |record| record.aliases.clear()).await;
    kit.change("globex", |record| {
        record.aliases.push("org_acme".parse().unwrap());
        record.named_since = NOON.secs();
    })
    .await;
    assert_eq!(code(kit.authenticate(&token).await), "scope.revoked");
    assert_eq!(code(exchange(&kit, &token).await), "scope.revoked");
    let ahead = sign(1, &header(), |claims| claims["iat"] = json!(NOON.secs() + 50));
    assert_eq!(code(kit.authenticate(&ahead).await), "scope.revoked", "its clock may be ahead");
}

#[tokio::test]
async fn revoking_all_covers_tokens_of_a_clock_that_is_ahead() {
    let (kit, ..) = kit(true).await;
    let ahead = sign(1, &header(), |claims| claims["iat"] = json!(NOON.secs() + 50));
    assert_eq!(code(kit.authenticate(&ahead).await), "ok");
    kit.change("acme", |record| record.epoch = NOON.secs()).await;
    assert_eq!(code(kit.authenticate(&ahead).await), "scope.revoked");
    assert_eq!(code(exchange(&kit, &ahead).await), "scope.revoked");
}

/// The id by which a token is revoked is of what was signed. A signature may have a twin.
#[tokio::test]
async fn a_token_is_revoked_by_what_it_says() {
    let (kit, ..) = kit(false).await;
    let token = sign(1, &header(), |_| {});
    let (tenant, id) = kit.doors.identify(&token).await.unwrap();
    assert_eq!(tenant.as_str(), "acme");
    let twin = sign(1, &header(), |_| {});
    assert_eq!(kit.doors.identify(&twin).await.unwrap().1, id);
    assert_eq!(code(exchange(&kit, &token).await), "ok");
    kit.revoke("acme", id).await;
    assert_eq!(code(exchange(&kit, &token).await), "scope.revoked");
}
