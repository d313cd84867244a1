//! Where tools are.

use std::{borrow::Cow, path::PathBuf};

use ids::{ProviderId, System};
use serde::{Deserialize, Serialize};

use super::Timeouts;

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamKind {
    /// The Model Context Protocol over Streamable HTTP.
    Mcp,
    /// Plain HTTP.
    Http,
    /// PostgreSQL: named queries with parameters.
    Postgres,
}

/// How a tenant's credential is shown to an upstream. The secret is the tenant's own and comes from
/// the vault (`bulkhead credential set UPSTREAM`); what it has to be is said with each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer` and the secret.
    #[default]
    Bearer,
    /// A header of its own, with the secret as it is.
    Header {
        /// Which.
        name: String,
    },
    /// `Authorization: Basic`; the secret is `user:password`.
    Basic,
    /// OAuth 2.1 client credentials; the secret is `client_id:client_secret`.
    OauthClient {
        /// Where tokens are.
        token_url: String,
        /// The `scope` to ask for.
        #[serde(default)]
        scope: Option<String>,
        /// The `resource` (RFC 8707) to ask for.
        #[serde(default)]
        resource: Option<String>,
    },
    /// OAuth 2.1 with a refresh token, which is replaced when the server replaces it. The secret is
    /// `client_id:client_secret:refresh_token`; the client secret may be empty. Neither of the two
    /// may hold a colon. While a server replaces refresh tokens, a secret cannot serve two tenants.
    OauthRefresh {
        /// Where tokens are.
        token_url: String,
        /// The `scope` to ask for.
        #[serde(default)]
        scope: Option<String>,
    },
    /// A certificate of the tenant's own. The secret is base64 of a PEM file with its chain and key.
    Mtls,
    /// A token that is made here for each call, with the tenant in it, for a company's own internal
    /// tools: they verify it by our JWKS. No secret is needed.
    Assertion {
        /// Its `aud`.
        audience: String,
        /// For how long it holds. Default 60.
        #[serde(default = "minute")]
        seconds: u64,
    },
    /// None: the upstream trusts whoever reaches it. PostgreSQL takes `user:password` or, with
    /// this, what `url` says.
    None,
}

const fn minute() -> u64 {
    60
}

/// How agents name the resources of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uris {
    /// By handles: what the upstream itself showed to this tenant and end user, and to nobody else.
    #[default]
    Handles,
    /// By the upstream's own URIs, and its templates with whatever an agent puts in. What is asked for
    /// has to be in the tenant's own list, or to be made of a template in it; beyond that the
    /// upstream alone says whose it is, and nobody can verify it. One upstream at most.
    Unverifiable,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its name here; tenants' credentials are stored under it.
    pub id: ProviderId,
    /// What it speaks.
    pub kind: UpstreamKind,
    /// Where: an MCP endpoint, the base of an HTTP API, `postgres://host:port/database`.
    pub url: String,
    /// The outside system of whose accounts it knows; default: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// How the tenant's credential is shown.
    #[serde(default)]
    pub auth: Auth,
    /// How long to wait for it.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The largest answer that is accepted, in bytes. Default 4 MiB.
    #[serde(default = "four_mib")]
    pub max_response_bytes: u64,
    /// Allows plain text to hosts other than this machine.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Authorities (PEM) that may vouch for it, instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// An OpenAPI document (JSON), for contracts that name an `operation` of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openapi: Option<PathBuf>,
    /// `mcp`: whether its resources are offered too. What is in them is not held against an owner:
    /// set it only where the credential alone decides what there is. Default no.
    #[serde(default)]
    pub resources: bool,
    /// `mcp`: how agents name its resources. Default: by handles.
    #[serde(default)]
    pub uris: Uris,
    /// `mcp`: whether its prompts are offered too; likewise. Default no.
    #[serde(default)]
    pub prompts: bool,
    /// `mcp`: what stands before the names of its prompts. Default: its `id` and `__`. No two upstreams
    /// have the same; one of them may have none (`""`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_prefix: Option<String>,
}

const fn four_mib() -> u64 {
    4 << 20
}

impl Upstream {
    /// What stands before the names of its prompts.
    #[must_use]
    pub fn prompt_prefix(&self) -> Cow<'_, str> {
        match &self.prompt_prefix {
            Some(prefix) => prefix.into(),
            None => format!("{}__", self.id).into(),
        }
    }

    /// The outside system of whose accounts it knows.
    #[must_use]
    pub fn system(&self) -> &str {
        self.system.as_ref().map_or(self.id.as_str(), System::as_str)
    }
}
