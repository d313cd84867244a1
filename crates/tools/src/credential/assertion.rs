//! Tokens that are made here for a company's own tools: an Ed25519 JWT for one call, which says
//! for whom it is. Whoever gets one verifies it by our JWKS, and needs no secret of a tenant's.
//!
//! Two things keep them from being taken for a tenant token: the keys are other ones, and the
//! type in the header is another one. Either would do.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ed25519_dalek::{Signer as _, SigningKey};
use ids::{
    AccountId, AgentId, Entropy, Environment, Millis, RandomId, RunId, Subject, TenantId,
    WorkflowId, planted, text,
};
use scope::{Scope, Write};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Error;

/// The longest life of an assertion, in seconds.
const LONGEST: u64 = 300;

/// The type of an assertion.
pub(crate) const ASSERTION: &str = "bulkhead-assertion+jwt";

/// The keys that sign assertions and receipts; the first signs, all verify. They are none of the
/// keys of tenant tokens: no door here takes what they sign.
#[derive(Clone)]
pub struct AssertionKeys(Arc<ArcSwap<Vec<Key>>>);

struct Key {
    /// Zeroizes itself.
    signing: SigningKey,
    /// The JWK thumbprint (RFC 7638, RFC 8037).
    kid: String,
}

impl Key {
    fn from_seed(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let x = text::base64url(signing.verifying_key().as_bytes());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        Self { signing, kid: text::base64url(&Sha256::digest(canonical.as_bytes())) }
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'a str,
    kid: &'a str,
}

/// What an assertion says. Nothing of it comes from a caller.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    /// The end user, or else the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    iat: u64,
    exp: u64,
    jti: RandomId,
    tenant: &'a TenantId,
    environment: &'a Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<&'a WorkflowId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentId>,
    /// The external account that the call is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a AccountId>,
}

/// For whom an assertion is made.
pub(super) struct Made<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) seconds: u64,
    pub(super) account: Option<&'a AccountId>,
}

impl AssertionKeys {
    /// From seeds, the signing one first.
    #[must_use]
    pub fn from_seeds<'a>(seeds: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let keys = seeds.into_iter().map(Key::from_seed).collect();
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }

    /// Takes over another set, at once, for every clone; an empty one is ignored.
    pub fn replace<'a>(&self, seeds: impl IntoIterator<Item = &'a [u8; 32]>) {
        let keys: Vec<_> = seeds.into_iter().map(Key::from_seed).collect();
        if !keys.is_empty() {
            self.0.store(Arc::new(keys));
        }
    }

    /// The public keys as a JWK Set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let public = |key: &Key| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid,
                "x": text::base64url(key.signing.verifying_key().as_bytes()),
            })
        };
        let keys: Vec<_> = self.0.load().iter().map(public).collect();
        serde_json::json!({ "keys": keys })
    }

    /// Signs claims as a JWT of this type, which is one of our own (`bulkhead-…+jwt`).
    ///
    /// # Errors
    /// There is no key, the claims cannot be written, or the type is somebody else's.
    pub(crate) fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, Error> {
        if !(typ.starts_with("bulkhead-") && typ.ends_with("+jwt")) {
            return Err(Error::Internal("a type that is not ours"));
        }
        let typ = if planted::is("tools-assertion-as-token") { "txntoken+jwt" } else { typ };
        let keys = self.0.load();
        let key = keys.first().ok_or(Error::Internal("there is no key for assertions"))?;
        let header = Header { alg: "EdDSA", typ, kid: &key.kid };
        let message = [part(&header)?, part(claims)?].join(".");
        let signature = key.signing.sign(message.as_bytes());
        Ok([message, text::base64url(&signature.to_bytes())].join("."))
    }

    /// Makes an assertion for one call of the scope's.
    pub(super) fn assert(
        &self,
        scope: &Scope<Write>,
        made: Made<'_>,
        now: Millis,
        entropy: &dyn Entropy,
    ) -> Result<Zeroizing<String>, Error> {
        let claims = Claims {
            iss: made.issuer,
            aud: made.audience,
            sub: scope.subject().map(Subject::as_str).or(scope.agent().map(AgentId::as_str)),
            iat: now.secs(),
            exp: now.secs().saturating_add(made.seconds.clamp(1, LONGEST)),
            jti: RandomId::draw(entropy),
            tenant: scope.tenant(),
            environment: scope.environment(),
            workflow: scope.workflow(),
            run: scope.run(),
            agent: scope.agent(),
            account: made.account,
        };
        self.sign(ASSERTION, &claims).map(Zeroizing::new)
    }
}

fn part(json: &impl Serialize) -> Result<String, Error> {
    let json = serde_json::to_vec(json).map_err(|_| Error::Internal("claims"))?;
    Ok(text::base64url(&json))
}

impl std::fmt::Debug for AssertionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AssertionKeys(…)")
    }
}

#[cfg(test)]
mod tests {
    use ids::{ManualClock, OsEntropy};
    use scope::SigningKey as TokenKey;
    use serde_json::{Value, json};
    use testkit::Kit;

    use super::*;

    const NOW: Millis = Millis::from_secs(1_795_000_000);
    const SEED: [u8; 32] = [11; 32];

    async fn kit() -> Kit {
        Kit::new(Arc::new(ManualClock::at(NOW))).await
    }

    fn parts(token: &str) -> (Value, Value) {
        let mut parts = token.split('.').map(|part| text::unbase64url(part).unwrap());
        let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        (next(), next())
    }

    /// Everything that a tenant token says, by the keys of tenant tokens even: the type alone
    /// is another one.
    #[tokio::test]
    async fn what_is_signed_here_opens_no_door() {
        let kit = kit().await;
        kit.keys().replace(vec![TokenKey::from_seed(&SEED)]);
        let minted = kit.mint("acme", "live", "support").await;
        let (header, claims) = parts(&minted.secret);
        let _ = kit.authenticate(&minted.secret).await.unwrap();

        let same = AssertionKeys::from_seeds([&SEED]);
        assert_eq!(same.jwks(), kit.keys().jwks());
        for typ in [ASSERTION, "bulkhead-receipt+jwt"] {
            let signed = same.sign(typ, &claims).unwrap();
            let refused = kit.authenticate(&signed).await;
            assert!(matches!(refused, Err(scope::Error::Malformed(_))), "{refused:?}");
            assert_eq!(parts(&signed).0["typ"], typ);
        }
        for typ in ["txntoken+jwt", "JWT", "at+jwt", ""] {
            assert!(same.sign(typ, &claims).is_err(), "{typ}");
        }

        // And the other lock: everything, the type too, but the keys.
        let other = AssertionKeys::from_seeds([&[12; 32]]);
        assert_ne!(other.jwks()["keys"][0]["kid"], header["kid"]);
        let key = other.0.load();
        let header = json!({ "alg": "EdDSA", "typ": "txntoken+jwt", "kid": key[0].kid });
        let message = [part(&header).unwrap(), part(&claims).unwrap()].join(".");
        let signature = text::base64url(&key[0].signing.sign(message.as_bytes()).to_bytes());
        let refused = kit.authenticate(&format!("{message}.{signature}")).await;
        assert!(matches!(refused, Err(scope::Error::UnknownKey)), "{refused:?}");
    }

    #[tokio::test]
    async fn it_says_for_whom_it_is_and_not_for_long() {
        let kit = kit().await;
        let keys = AssertionKeys::from_seeds([&SEED, &[12; 32]]);
        let ask = scope::Exchange {
            agent: Some("planner".parse().unwrap()),
            run: Some("run_1".parse().unwrap()),
            ..Kit::ask("acme", "live", "support")
        };
        let minted = kit.doors.exchange(&kit.service().await, ask).await.unwrap();
        let scope = kit.authenticate(&minted.secret).await.unwrap();
        let account: AccountId = "acct_42".parse().unwrap();
        let made = |seconds| Made {
            issuer: "https://bulkhead.test",
            audience: "https://crm.internal",
            seconds,
            account: Some(&account),
        };
        let token = keys.assert(&scope, made(60), NOW, &OsEntropy).unwrap();
        let (header, mut claims) = parts(&token);
        assert_eq!(header["kid"], keys.jwks()["keys"][0]["kid"]);
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(
            claims,
            json!({
                "iss": "https://bulkhead.test", "aud": "https://crm.internal", "sub": "planner",
                "iat": NOW.secs(), "exp": NOW.secs() + 60, "tenant": "acme",
                "environment": "live", "workflow": "support", "run": "run_1",
                "agent": "planner", "account": "acct_42",
            })
        );
        // The signature is over what was said, by the key that is published.
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature: [u8; 64] = text::unbase64url(signature).unwrap().try_into().unwrap();
        let x = text::unbase64url(keys.jwks()["keys"][0]["x"].as_str().unwrap()).unwrap();
        let public = ed25519_dalek::VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
        public.verify_strict(message.as_bytes(), &signature.into()).unwrap();

        let again = parts(&keys.assert(&scope, made(100_000), NOW, &OsEntropy).unwrap()).1;
        assert_ne!(again["jti"], jti);
        assert_eq!(again["exp"], NOW.secs() + 300);
        assert_eq!(
            parts(&keys.assert(&scope, made(0), NOW, &OsEntropy).unwrap()).1["exp"],
            NOW.secs() + 1
        );
    }

    #[test]
    fn another_set_is_taken_over_at_once() {
        let keys = AssertionKeys::from_seeds([&SEED]);
        let clone = keys.clone();
        let before = keys.jwks();
        clone.replace(std::iter::empty());
        assert_eq!(keys.jwks(), before);
        clone.replace([&[12; 32], &SEED]);
        assert_eq!(keys.jwks()["keys"].as_array().unwrap().len(), 2);
        assert_eq!(keys.jwks()["keys"][1], before["keys"][0]);
        assert!(AssertionKeys::from_seeds([]).sign(ASSERTION, &json!({})).is_err());
        assert_eq!(format!("{keys:?}"), "AssertionKeys(…)");
    }
}
