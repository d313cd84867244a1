//! Bounds on requests.

use ids::json;
use scope::Names;
use serde::{Deserialize, Serialize};

/// Bounds on requests, and the fields that may name a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// How deep its JSON may nest.
    pub depth: usize,
    /// How many values and keys its JSON may have; of embeddings twice as many, since texts may
    /// come as numbers of tokens.
    pub nodes: usize,
    /// Fields that have to agree with the credential if they are there.
    pub claims: Vec<ClaimPath>,
}

impl Default for Limits {
    /// 8 MiB, 64 deep, 200,000 values; `tenant_id`, `tenant`, `environment` at the top, and
    /// these and `env` in `metadata`.
    fn default() -> Self {
        let json::Limits { depth, nodes } = json::Limits::default();
        let claims = [
            ("tenant_id", Named::Tenant),
            ("tenant", Named::Tenant),
            ("environment", Named::Environment),
            ("metadata.tenant_id", Named::Tenant),
            ("metadata.tenant", Named::Tenant),
            ("metadata.environment", Named::Environment),
            ("metadata.env", Named::Environment),
        ];
        let claims = claims
            .into_iter()
            .map(|(path, names)| ClaimPath { path: path.to_owned(), names })
            .collect();
        Self { body_bytes: 8 << 20, depth, nodes, claims }
    }
}

/// A field of the body that names a tenant or an environment. Spelling does not matter:
/// `metadata.tenant_id` is `metadata.tenantId` and `metadata.Tenant-ID` too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimPath {
    /// Dotted, through objects.
    pub path: String,
    /// What it names.
    pub names: Named,
}

/// What a field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Named {
    /// A tenant, by id or alias.
    Tenant,
    /// An environment.
    Environment,
}

impl From<Named> for Names {
    fn from(named: Named) -> Self {
        match named {
            Named::Tenant => Self::Tenant,
            Named::Environment => Self::Environment,
        }
    }
}
