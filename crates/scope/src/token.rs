//! Tenant tokens: Ed25519 JWTs in the Transaction Token profile
//! (draft-ietf-oauth-transaction-tokens), with the tenant and the environment as claims.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use ed25519_dalek::{Signer as _, SigningKey as Ed25519, VerifyingKey};
use ids::{AgentId, Environment, Millis, RandomId, RunId, Subject, TenantId, WorkflowId, text};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Error, Grants};

/// The longest life of a tenant token.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);
/// The skew that is tolerated between clocks.
pub(crate) const SKEW: Duration = Duration::from_secs(60);
/// The longest chain of tokens narrowed from one another.
pub(crate) const MAX_LINEAGE: usize = 8;
/// The longest credential that is looked at, in bytes.
pub(crate) const MAX_CREDENTIAL: usize = 8 * 1024;

const TYPE: &str = "txntoken+jwt";

/// What a tenant token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    pub(crate) jti: RandomId,
    /// The run.
    pub(crate) txn: RunId,
    pub(crate) tenant: TenantId,
    pub(crate) env: Environment,
    pub(crate) workflow: WorkflowId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<Subject>,
    pub(crate) scope: Grants,
    /// The tenant's epoch when it was minted.
    pub(crate) epoch: u64,
    /// The token or run grant that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<RandomId>,
    /// What the parent was made from, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ancestors: Vec<RandomId>,
}

impl Claims {
    pub(crate) fn lineage(&self) -> Vec<RandomId> {
        self.ancestors.iter().copied().chain(self.parent).collect()
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    #[serde(default)]
    pub(crate) typ: Option<String>,
    #[serde(default)]
    pub(crate) kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// The three parts of a compact JWS.
pub(crate) struct Parts<'a> {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) message: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(token: &'a str) -> Result<Self, Error> {
        let malformed = || Error::Malformed("a token has three base64url parts");
        let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = message.split_once('.').ok_or_else(malformed)?;
        let header = text::unbase64url(header).ok_or_else(malformed)?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| Error::Malformed("the token's header"))?;
        if header.crit.is_some() {
            return Err(Error::Malformed("the token's header has critical extensions"));
        }
        let payload = text::unbase64url(payload).ok_or_else(malformed)?;
        Ok(Self { header, payload, message, signature })
    }
}

/// An Ed25519 key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    key: Ed25519,
    kid: String,
}

impl SigningKey {
    /// From its 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = Ed25519::from_bytes(seed);
        let kid = thumbprint(&key.verifying_key());
        Self { key, kid }
    }

    /// Its id: the JWK thumbprint (RFC 7638, RFC 8037).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let header = Header {
            alg: "EdDSA".into(),
            typ: Some(TYPE.into()),
            kid: Some(self.kid.clone()),
            crit: None,
        };
        let part = |json: serde_json::Result<Vec<u8>>| {
            json.map(|bytes| text::base64url(&bytes))
                .map_err(|_| Error::Invalid("claims that cannot be written".into()))
        };
        let header = part(serde_json::to_vec(&header))?;
        let message = format!("{header}.{}", part(serde_json::to_vec(claims))?);
        let signature = text::base64url(&self.key.sign(message.as_bytes()).to_bytes());
        Ok(format!("{message}.{signature}"))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

fn thumbprint(key: &VerifyingKey) -> String {
    let x = text::base64url(key.as_bytes());
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    text::base64url(&Sha256::digest(canonical.as_bytes()))
}

/// The keys that sign and verify our tokens. The first signs; the others still verify what
/// they signed, until they are retired. With how often they were replaced.
#[derive(Debug)]
pub struct TokenKeys(ArcSwap<(u64, Vec<SigningKey>)>);

impl TokenKeys {
    /// With at least one key, the signing one first.
    ///
    /// # Errors
    /// No key.
    pub fn new(keys: Vec<SigningKey>) -> Result<Arc<Self>, Error> {
        if keys.is_empty() {
            return Err(Error::Invalid("no signing key".into()));
        }
        Ok(Arc::new(Self(ArcSwap::from_pointee((0, keys)))))
    }

    /// Takes over another set, at once; an empty one is ignored. What was proven by the one
    /// before is verified again.
    pub fn replace(&self, keys: Vec<SigningKey>) {
        if !keys.is_empty() {
            self.0.rcu(|now| (now.0 + 1, keys.clone()));
        }
    }

    pub(crate) fn turn(&self) -> u64 {
        if ids::planted::is("proof-outlives-its-key") { 0 } else { self.0.load().0 }
    }

    /// The public keys as a JWK Set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let public = |key: &SigningKey| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": key.kid, "x": text::base64url(key.key.verifying_key().as_bytes()),
            })
        };
        let keys: Vec<_> = self.0.load().1.iter().map(public).collect();
        serde_json::json!({ "keys": keys })
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        self.0.load().1.first().ok_or(Error::UnknownKey)?.sign(claims)
    }

    /// Verifies signature, type, issuer, audience and times, in this order.
    pub(crate) fn verify(
        &self,
        parts: &Parts<'_>,
        issuer: &str,
        audience: &str,
        now: Millis,
    ) -> Result<Claims, Error> {
        if parts.header.alg != "EdDSA" {
            return Err(Error::Algorithm);
        }
        let kid = parts.header.kid.as_deref().ok_or(Error::UnknownKey)?;
        let keys = self.0.load();
        let key = keys.1.iter().find(|key| key.kid == kid).ok_or(Error::UnknownKey)?;
        let signature = text::unbase64url(parts.signature)
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
            .ok_or(Error::Signature)?;
        key.key
            .verifying_key()
            .verify_strict(parts.message.as_bytes(), &signature.into())
            .map_err(|_| Error::Signature)?;
        if parts.header.typ.as_deref() != Some(TYPE) {
            return Err(Error::Malformed("not a tenant token"));
        }
        let claims: Claims = serde_json::from_slice(&parts.payload)
            .map_err(|_| Error::Malformed("the token's claims"))?;
        if claims.iss != issuer {
            return Err(Error::Issuer);
        }
        if claims.aud != audience {
            return Err(Error::Audience);
        }
        check_times(claims.iat, None, claims.exp, now, Duration::ZERO)?;
        let life = Duration::from_secs(claims.exp.saturating_sub(claims.iat));
        if life > MAX_TOKEN_LIFE && !ids::planted::is("token-without-longest-life") {
            return Err(Error::Malformed("it would live longer than any of ours"));
        }
        if claims.lineage().len() > MAX_LINEAGE {
            return Err(Error::Malformed("narrowed too many times"));
        }
        Ok(claims)
    }
}

/// Whether an outside issuer's token was issued at or before `since`, in Unix seconds. Its
/// clock may be ahead by the tolerated skew, so the answer errs on the side of yes.
pub(crate) fn issued_by(iat: u64, since: u64) -> bool {
    iat.saturating_sub(SKEW.as_secs()) <= since
}

/// Checks a token's times, in Unix seconds; `late` is how long past its expiry it passes.
pub(crate) fn check_times(
    iat: u64,
    nbf: Option<u64>,
    exp: u64,
    now: Millis,
    late: Duration,
) -> Result<(), Error> {
    let latest = now.plus(SKEW).secs();
    if iat > latest || nbf.is_some_and(|nbf| nbf > latest) {
        return Err(Error::ClockSkew);
    }
    if now >= Millis::from_secs(exp).plus(late) {
        return Err(Error::Expired);
    }
    Ok(())
}
