//! Keys that sign what is said here of calls and writes: assertions and receipts, as Ed25519 JWTs that
//! anybody verifies by our JWKS. What assertions are signed with signs no receipt, nor the reverse,
//! and neither is a key of tenant tokens.
//!
//! Two things keep what they sign from being taken for a tenant token: the keys are other ones, and
//! the type in the header is another one. Either would do.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use ed25519_dalek::{Signer as _, SigningKey};
use ids::{planted, text};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// The type of an assertion.
pub(crate) const ASSERTION: &str = "bulkhead-assertion+jwt";
/// The type of a receipt.
pub(crate) const RECEIPT: &str = "bulkhead-receipt+jwt";

/// Keys for one type of statement; the first signs, all verify. Cheap to clone: a clone takes over
/// what another one is given.
#[derive(Clone)]
pub struct ToolKeys(Arc<Set>);

struct Set {
    typ: &'static str,
    keys: ArcSwap<Vec<Key>>,
}

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

/// What of a header says by which key it was signed.
#[derive(Deserialize)]
struct SignedBy {
    kid: String,
}

impl ToolKeys {
    /// Those of assertions, from seeds, the signing one first.
    #[must_use]
    pub fn assertions<'a>(seeds: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        Self::new(ASSERTION, seeds)
    }

    /// Those of receipts, from seeds, the signing one first.
    #[must_use]
    pub fn receipts<'a>(seeds: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        Self::new(RECEIPT, seeds)
    }

    fn new<'a>(typ: &'static str, seeds: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let keys = seeds.into_iter().map(Key::from_seed).collect();
        Self(Arc::new(Set { typ, keys: ArcSwap::from_pointee(keys) }))
    }

    /// Takes over another set, at once, for every clone; an empty one is ignored.
    pub fn replace<'a>(&self, seeds: impl IntoIterator<Item = &'a [u8; 32]>) {
        let keys: Vec<_> = seeds.into_iter().map(Key::from_seed).collect();
        if !keys.is_empty() {
            self.0.keys.store(Arc::new(keys));
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
        let keys: Vec<_> = self.0.keys.load().iter().map(public).collect();
        serde_json::json!({ "keys": keys })
    }

    /// Signs claims as a JWT of these keys' type.
    ///
    /// # Errors
    /// There is no key, or the claims cannot be written.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        self.signed(&part(claims)?)
    }

    /// What was signed here once, by a key that is still published: if its own was retired, the
    /// same words are signed again. Only for what nobody else can have put where it was found.
    ///
    /// # Errors
    /// It was not signed here, or there is no key.
    pub(crate) fn renewed(&self, signed: String) -> Result<String, Error> {
        let broken = || Error::Internal("what was signed");
        let mut parts = signed.split('.');
        let (header, claims) = (parts.next(), parts.next().ok_or_else(broken)?);
        let header = header.and_then(text::unbase64url).ok_or_else(broken)?;
        let by: SignedBy = serde_json::from_slice(&header).map_err(|_| broken())?;
        let published = self.0.keys.load().iter().any(|key| key.kid == by.kid);
        if published || planted::is("tools-receipt-not-renewed") {
            return Ok(signed);
        }
        self.signed(claims)
    }

    /// A payload that is encoded, signed.
    fn signed(&self, payload: &str) -> Result<String, Error> {
        let typ = match planted::is("tools-assertion-as-token") {
            true => "txntoken+jwt",
            false => self.0.typ,
        };
        let keys = self.0.keys.load();
        let key = keys.first().ok_or(Error::Internal("there is no key to sign with"))?;
        let message = [&part(&Header { alg: "EdDSA", typ, kid: &key.kid })?, payload].join(".");
        let signature = key.signing.sign(message.as_bytes());
        Ok([message, text::base64url(&signature.to_bytes())].join("."))
    }
}

fn part(json: &impl Serialize) -> Result<String, Error> {
    let json = serde_json::to_vec(json).map_err(|_| Error::Internal("claims"))?;
    Ok(text::base64url(&json))
}

impl fmt::Debug for ToolKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolKeys({}, …)", self.0.typ)
    }
}

#[cfg(test)]
mod tests {
    use ids::{ManualClock, Millis};
    use scope::SigningKey as TokenKey;
    use serde_json::{Value, json};
    use testkit::Kit;

    use super::*;

    const NOW: Millis = Millis::from_secs(1_795_000_000);
    const SEED: [u8; 32] = [11; 32];
    const OTHER: [u8; 32] = [12; 32];

    fn parts(token: &str) -> (Value, Value) {
        let mut parts = token.split('.').map(|part| text::unbase64url(part).unwrap());
        let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        (next(), next())
    }

    /// Everything that a tenant token says, by the keys of tenant tokens even: the type alone
    /// is another one.
    #[tokio::test]
    async fn what_is_signed_here_opens_no_door() {
        let kit = Kit::new(Arc::new(ManualClock::at(NOW))).await;
        kit.keys().replace(vec![TokenKey::from_seed(&SEED)]);
        let minted = kit.mint("acme", "live", "support").await;
        let (header, claims) = parts(&minted.secret);
        let _ = kit.authenticate(&minted.secret).await.unwrap();

        let same =
            [(ASSERTION, ToolKeys::assertions([&SEED])), (RECEIPT, ToolKeys::receipts([&SEED]))];
        for (typ, keys) in same {
            assert_eq!(keys.jwks(), kit.keys().jwks());
            let signed = keys.sign(&claims).unwrap();
            let refused = kit.authenticate(&signed).await;
            assert!(matches!(refused, Err(scope::Error::Malformed(_))), "{refused:?}");
            assert_eq!(parts(&signed).0["typ"], typ);
        }

        // And the other lock: everything, the type too, but the keys.
        let other = ToolKeys::assertions([&OTHER]);
        assert_ne!(other.jwks()["keys"][0]["kid"], header["kid"]);
        let key = other.0.keys.load();
        let header = json!({ "alg": "EdDSA", "typ": "txntoken+jwt", "kid": key[0].kid });
        let message = [part(&header).unwrap(), part(&claims).unwrap()].join(".");
        let signature = text::base64url(&key[0].signing.sign(message.as_bytes()).to_bytes());
        let refused = kit.authenticate(&format!("{message}.{signature}")).await;
        assert!(matches!(refused, Err(scope::Error::UnknownKey)), "{refused:?}");
    }

    #[test]
    fn another_set_is_taken_over_at_once() {
        let keys = ToolKeys::assertions([&SEED]);
        let clone = keys.clone();
        let before = keys.jwks();
        clone.replace(std::iter::empty());
        assert_eq!(keys.jwks(), before);
        clone.replace([&OTHER, &SEED]);
        assert_eq!(keys.jwks()["keys"].as_array().unwrap().len(), 2);
        assert_eq!(keys.jwks()["keys"][1], before["keys"][0]);
        assert!(ToolKeys::assertions([]).sign(&json!({})).is_err());
        assert_eq!(format!("{keys:?}"), "ToolKeys(bulkhead-assertion+jwt, …)");
    }

    /// The words stay; the key that vouches for them is one that is published.
    #[test]
    fn what_a_retired_key_signed_is_signed_again() {
        let keys = ToolKeys::receipts([&SEED]);
        let first = keys.sign(&json!({ "jti": "1", "at": 5 })).unwrap();
        keys.replace([&OTHER, &SEED]);
        assert_eq!(keys.renewed(first.clone()).unwrap(), first, "its key is published still");
        keys.replace([&OTHER]);
        let again = keys.renewed(first.clone()).unwrap();
        assert_eq!(parts(&again).1, parts(&first).1);
        assert_eq!(parts(&again).0["kid"], keys.jwks()["keys"][0]["kid"]);
        let (message, signature) = again.rsplit_once('.').unwrap();
        let signature: [u8; 64] = text::unbase64url(signature).unwrap().try_into().unwrap();
        let public = keys.0.keys.load()[0].signing.verifying_key();
        public.verify_strict(message.as_bytes(), &signature.into()).unwrap();
        for broken in ["", "a", "a.b.c", "e30.e30.c"] {
            assert!(keys.renewed(broken.to_owned()).is_err(), "{broken}");
        }
    }
}
