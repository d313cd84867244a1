//! Why a door stayed shut.

use crate::Unavailable;

/// Why no scope was given. The message is for the caller and never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credential came with the request.
    #[error(
        "no credential: send a tenant token as `Authorization: Bearer`, `x-api-key` or `api-key`"
    )]
    Missing,
    /// A credential that is none of the kinds we know.
    #[error("the credential is malformed: {0}")]
    Malformed(&'static str),
    /// Signed with a key that we do not know.
    #[error("the token is signed with a key that is not known here; fetch a fresh token")]
    UnknownKey,
    /// An algorithm that is not on the issuer's allowlist.
    #[error("the token's algorithm is not allowed for its issuer")]
    Algorithm,
    /// The signature is wrong.
    #[error("the credential's signature does not verify")]
    Signature,
    /// Past its expiry.
    #[error("the credential has expired; fetch a fresh one")]
    Expired,
    /// Issued in the future, by more than the tolerated skew.
    #[error("the credential is issued in the future by more than 60 s: check the clocks")]
    ClockSkew,
    /// Meant for somebody else.
    #[error("the token is meant for another audience")]
    Audience,
    /// From an issuer that is not trusted.
    #[error("the token's issuer is not trusted here")]
    Issuer,
    /// Revoked: the token, one of its ancestors, or all of the tenant's.
    #[error("the credential was revoked")]
    Revoked,
    /// A secret that is not on file.
    #[error("the credential is not known")]
    Unknown,
    /// The tenant that it names is not known.
    #[error("the credential names no tenant that is known here")]
    Tenant,
    /// The environment that it names is not one of the tenant's.
    #[error("the credential names an environment that the tenant does not have")]
    Environment,
    /// The tenant is suspended.
    #[error("the tenant is suspended")]
    Suspended,
    /// Two identities disagree.
    #[error("identities disagree: {0}")]
    Mismatch(String),
    /// A right that the credential does not have.
    #[error("the credential does not grant {0}")]
    Grant(String),
    /// An argument that is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// What the decision depends on is out of reach. Fails closed.
    #[error("identity cannot be checked at the moment; try again")]
    Unavailable(#[from] Unavailable),
}

impl Error {
    /// The stable code; each has a page under `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "scope.missing",
            Self::Malformed(_) => "scope.malformed",
            Self::UnknownKey => "scope.unknown_key",
            Self::Algorithm => "scope.algorithm",
            Self::Signature => "scope.signature",
            Self::Expired => "scope.expired",
            Self::ClockSkew => "scope.clock_skew",
            Self::Audience => "scope.audience",
            Self::Issuer => "scope.issuer",
            Self::Revoked => "scope.revoked",
            Self::Unknown => "scope.unknown",
            Self::Tenant => "scope.tenant",
            Self::Environment => "scope.environment",
            Self::Suspended => "scope.suspended",
            Self::Mismatch(_) => "scope.mismatch",
            Self::Grant(_) => "scope.grant",
            Self::Invalid(_) => "request.malformed",
            Self::Unavailable(_) => "scope.unavailable",
        }
    }
}
