//! Trusted OIDC issuers: whose tokens we take, and which of their claims name the tenant and
//! the environment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use ids::{
    BoxFuture, Environment, IssuerName, Millis, Subject, WorkflowId,
    json::{Json, Limits},
};
use jsonwebtoken::{
    Algorithm as Alg, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Grants, Unavailable,
    token::{Parts, SKEW, check_times},
};

/// How old fetched keys may be before they are fetched again.
const KEYS_MAX_AGE: Duration = Duration::from_secs(600);
/// How long keys are trusted while their source is out of reach.
const KEYS_TRUSTED: Duration = Duration::from_secs(3_600);
/// How soon after a fetch an unknown key id may cause another.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// Signature algorithms that an issuer may use. None is symmetric, none is `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    const fn jwt(self) -> (&'static str, Alg) {
        match self {
            Self::RS256 => ("RS256", Alg::RS256),
            Self::PS256 => ("PS256", Alg::PS256),
            Self::ES256 => ("ES256", Alg::ES256),
            Self::ES384 => ("ES384", Alg::ES384),
            Self::EdDSA => ("EdDSA", Alg::EdDSA),
        }
    }

    /// Whether a key is of the kind that this algorithm uses: an RSA key never verifies as
    /// something else.
    fn fits(self, key: &Jwk) -> bool {
        if key.common.public_key_use.as_ref().is_some_and(|u| *u != PublicKeyUse::Signature)
            || key.common.key_algorithm.is_some_and(|alg| alg.to_string() != self.jwt().0)
        {
            return false;
        }
        match (&key.algorithm, self) {
            (AlgorithmParameters::RSA(_), Self::RS256 | Self::PS256) => true,
            (AlgorithmParameters::EllipticCurve(p), Self::ES256) => p.curve == EllipticCurve::P256,
            (AlgorithmParameters::EllipticCurve(p), Self::ES384) => p.curve == EllipticCurve::P384,
            (AlgorithmParameters::OctetKeyPair(p), Self::EdDSA) => {
                p.curve == EllipticCurve::Ed25519
            }
            _ => false,
        }
    }
}

/// Where a part of the identity comes from in an issuer's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// From the claim at this dotted path.
    Claim(String),
    /// Always this.
    Fixed(String),
}

/// Where an issuer's keys are read.
pub trait KeySource: Send + Sync {
    /// The JWK Set, as text.
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, Unavailable>>;
}

/// A trusted issuer.
pub struct Issuer {
    /// What we call it.
    pub name: IssuerName,
    /// Its `iss`, exactly.
    pub issuer: String,
    /// The `aud` that its tokens must have.
    pub audience: String,
    /// The algorithms that it may use.
    pub algorithms: Vec<Algorithm>,
    /// What names the tenant, by id or alias.
    pub tenant: Bound,
    /// What names the environment.
    pub environment: Bound,
    /// What names the workflow; without it an exchange must name one, and the issuer's tokens
    /// are not accepted directly.
    pub workflow: Option<Bound>,
    /// What its tokens may do when they are used directly.
    pub grants: Grants,
    /// Whether its tokens are accepted directly on the data plane, and not in an exchange only.
    pub direct: bool,
    /// Where its keys are.
    pub keys: Arc<dyn KeySource>,
}

/// What a verified token of an issuer says.
pub(crate) struct Subjectage {
    pub(crate) tenant: String,
    pub(crate) environment: Environment,
    pub(crate) workflow: Option<WorkflowId>,
    pub(crate) subject: Option<Subject>,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
}

/// An issuer with its keys as last fetched.
pub(crate) struct Trusted {
    pub(crate) issuer: Issuer,
    keys: ArcSwap<Vec<Jwk>>,
    fetched: AtomicU64,
    tried: AtomicU64,
    fetching: tokio::sync::Mutex<()>,
}

impl Trusted {
    pub(crate) fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            keys: ArcSwap::default(),
            fetched: AtomicU64::new(0),
            tried: AtomicU64::new(0),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) async fn verify(&self, parts: &Parts<'_>, now: Millis) -> Result<Subjectage, Error> {
        // Another Bulkhead has its keys in one set: what it says to tools, and of writes, is no
        // identity.
        if parts.header.typ.as_ref().is_some_and(|typ| typ.starts_with("bulkhead-"))
            && !ids::planted::is("assertion-as-identity")
        {
            return Err(Error::Malformed("an assertion or a receipt, and no identity"));
        }
        let algorithm = self
            .issuer
            .algorithms
            .iter()
            .copied()
            .find(|a| a.jwt().0 == parts.header.alg)
            .ok_or(Error::Algorithm)?;
        let kid = parts.header.kid.as_deref().ok_or(Error::UnknownKey)?;
        let key = self.key(kid, now).await?;
        if !algorithm.fits(&key) {
            return Err(Error::Algorithm);
        }
        let key = DecodingKey::from_jwk(&key).map_err(|_| Error::UnknownKey)?;
        let message = parts.message.as_bytes();
        match jsonwebtoken::crypto::verify(parts.signature, message, &key, algorithm.jwt().1) {
            Ok(true) => self.read(&parts.payload, now),
            _ => Err(Error::Signature),
        }
    }

    fn read(&self, payload: &[u8], now: Millis) -> Result<Subjectage, Error> {
        let claims = Json::parse(payload, &Limits { depth: 16, nodes: 2_000 })
            .map_err(|_| Error::Malformed("the token's claims"))?;
        if claims.get("iss").and_then(Json::as_str) != Some(&self.issuer.issuer) {
            return Err(Error::Issuer);
        }
        let meant = match claims.get("aud") {
            Some(Json::String(aud)) => *aud == self.issuer.audience,
            Some(Json::Array(all)) => {
                all.iter().any(|aud| aud.as_str() == Some(&self.issuer.audience))
            }
            _ => false,
        };
        if !meant {
            return Err(Error::Audience);
        }
        let seconds = |name| claims.get(name).and_then(Json::as_u64);
        let exp = seconds("exp").ok_or(Error::Malformed("the token has no expiry"))?;
        let iat = seconds("iat").ok_or(Error::Malformed("the token has no time of issue"))?;
        check_times(iat, seconds("nbf"), exp, now, SKEW)?;
        let bound = |bound: &Bound| match bound {
            Bound::Fixed(value) => Some(value.clone()),
            Bound::Claim(path) => claims.at_path(path).and_then(Json::as_str).map(str::to_owned),
        };
        let environment = bound(&self.issuer.environment).ok_or(Error::Environment)?;
        let workflow = match &self.issuer.workflow {
            None => None,
            Some(from) => Some(
                bound(from)
                    .and_then(|name| WorkflowId::parse(&name).ok())
                    .ok_or(Error::Malformed("the claim that names the workflow"))?,
            ),
        };
        let subject = claims.get("sub").and_then(Json::as_str).map(Subject::parse).transpose();
        Ok(Subjectage {
            tenant: bound(&self.issuer.tenant).ok_or(Error::Tenant)?,
            environment: Environment::parse(&environment).map_err(|_| Error::Environment)?,
            workflow,
            subject: subject.map_err(|_| Error::Malformed("the token's subject"))?,
            iat,
            exp,
        })
    }

    /// The key of this id. An id that we don't know makes us look again, but not more often
    /// than the cool-down allows; callers that wait together share one fetch.
    async fn key(&self, kid: &str, now: Millis) -> Result<Jwk, Error> {
        let find = || {
            let keys = self.keys.load();
            let mut fitting = keys.iter().filter(|k| k.common.key_id.as_deref() == Some(kid));
            let found = fitting.next().cloned();
            // Two keys of one id would leave the choice to us.
            if fitting.next().is_some() { None } else { found }
        };
        let age = |of: &AtomicU64| now.since(Millis(of.load(Ordering::Acquire)));
        if let Some(key) = find().filter(|_| age(&self.fetched) < KEYS_MAX_AGE) {
            return Ok(key);
        }
        let _one = self.fetching.lock().await;
        if age(&self.tried) >= COOL_DOWN {
            self.tried.store(now.0, Ordering::Release);
            match self.fetch().await {
                Ok(()) => self.fetched.store(now.0, Ordering::Release),
                Err(error) => {
                    tracing::warn!(issuer = %self.issuer.name, %error, "an issuer's keys could not be fetched");
                }
            }
        }
        if age(&self.fetched) > KEYS_TRUSTED {
            return Err(Unavailable(format!("issuer {}: no keys", self.issuer.name)).into());
        }
        find().ok_or(Error::UnknownKey)
    }

    async fn fetch(&self) -> Result<(), Unavailable> {
        let text = self.issuer.keys.fetch().await?;
        let set: JwkSet = serde_json::from_slice(&text)
            .map_err(|_| Unavailable(format!("issuer {}: not a JWK Set", self.issuer.name)))?;
        self.keys.store(Arc::new(set.keys));
        Ok(())
    }
}
