//! Identity as an operator sets it: our tokens, trusted issuers, and where requests may name
//! a tenant.

use std::path::PathBuf;

use http::HeaderName;
use ids::IssuerName;
use scope::{Algorithm, Bound, Grants};
use serde::Deserialize;

use crate::Error;

/// Our tokens, trusted issuers, and claims.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// The `iss` of our tokens. Default `bulkhead`.
    pub issuer: String,
    /// The `aud` of our tokens: this deployment, and no other. Default `bulkhead`.
    pub audience: String,
    /// Under which URL clients reach the data plane; for the metadata that points them to
    /// where tokens come from (RFC 9728). Default: the address that it listens on.
    pub resource: Option<String>,
    /// Request headers that name a tenant. They decide nothing: one that disagrees with the
    /// credential is an error. Body fields are set in `model.limits.claims`.
    pub tenant_headers: Vec<String>,
    /// Request headers that name an environment; likewise.
    pub environment_headers: Vec<String>,
    /// Whose tokens are trusted besides ours. Default: nobody's.
    pub issuers: Vec<TrustedIssuer>,
}

impl Default for Identity {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            issuer: "bulkhead".into(),
            audience: "bulkhead".into(),
            resource: None,
            tenant_headers: owned(&[
                "x-tenant-id",
                "x-tenant",
                "tenant-id",
                "x-org-id",
                "x-bulkhead-tenant",
            ]),
            environment_headers: owned(&[
                "x-environment",
                "x-tenant-environment",
                "x-bulkhead-environment",
            ]),
            issuers: Vec::new(),
        }
    }
}

/// A trusted OIDC issuer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// What we call it, in records: 1 to 63 of a-z, 0-9, '-', '_'.
    pub name: IssuerName,
    /// Its `iss`, exactly.
    pub issuer: String,
    /// The `aud` that its tokens must have.
    pub audience: String,
    /// The signature algorithms that it may use. There is no `none`, nor a symmetric one.
    pub algorithms: Vec<Algorithm>,
    /// What names the tenant, by id or alias: `{ claim = "org_id" }` or `{ fixed = "acme" }`.
    pub tenant: Bound,
    /// What names the environment, likewise.
    pub environment: Bound,
    /// What names the workflow, likewise. Without it an exchange has to name one.
    pub workflow: Option<Bound>,
    /// What its tokens may do when they are used directly. Default: nothing.
    #[serde(default)]
    pub grants: Grants,
    /// Whether its tokens are accepted on the data plane, and not in an exchange only.
    /// Default false.
    #[serde(default)]
    pub direct: bool,
    /// Where its keys are: `{ file = "…" }` or `{ url = "https://…" }`.
    pub keys: Jwks,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jwks {
    /// A file, read again as keys grow old.
    File(PathBuf),
    /// An `https` URL; plain `http` to loopback only. Redirects are not followed.
    Url(String),
}

/// Headers that hold credentials or belong to HTTP itself: they cannot name a tenant.
const NO_CLAIMS: [&str; 6] =
    ["authorization", "x-api-key", "api-key", "host", "content-length", "content-type"];

impl Identity {
    pub(super) fn check(&self) -> Result<(), Error> {
        for (field, value) in
            [("identity.issuer", &self.issuer), ("identity.audience", &self.audience)]
        {
            if value.is_empty() || value.len() > 255 || value.chars().any(char::is_control) {
                return Err(Error::settings(field, "1 to 255 bytes without control characters"));
            }
        }
        for (field, names) in [
            ("identity.tenant_headers", &self.tenant_headers),
            ("identity.environment_headers", &self.environment_headers),
        ] {
            for name in names {
                let header = HeaderName::from_bytes(name.as_bytes());
                if !header.is_ok_and(|header| !NO_CLAIMS.contains(&header.as_str())) {
                    return Err(Error::settings(field, format!("{name:?} cannot be used")));
                }
            }
        }
        for (i, issuer) in self.issuers.iter().enumerate() {
            let field = |name: &str| format!("identity.issuers[{i}].{name}");
            if issuer.algorithms.is_empty() {
                return Err(Error::settings(field("algorithms"), "at least one"));
            }
            if issuer.issuer.is_empty() || issuer.issuer == self.issuer {
                return Err(Error::settings(field("issuer"), "its `iss`, which is not ours"));
            }
            if issuer.audience.is_empty() {
                return Err(Error::settings(field("audience"), "what its tokens are meant for"));
            }
            if issuer.direct && issuer.workflow.is_none() {
                return Err(Error::settings(field("workflow"), "needed where `direct` is true"));
            }
            let twice = self.issuers[..i]
                .iter()
                .any(|o| o.issuer == issuer.issuer || o.name == issuer.name);
            if twice {
                return Err(Error::settings(field("issuer"), "named once"));
            }
        }
        Ok(())
    }
}
