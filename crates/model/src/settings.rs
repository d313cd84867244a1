//! What an operator may set: providers, routes, bounds.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use ids::{ProviderId, RouteName, json};
use scope::Names;
use serde::{Deserialize, Serialize};

use crate::{Error, fields, target::Target};

const MIB: u64 = 1 << 20;

/// Providers and the routes to them; the section `[model]` of `bulkhead.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where answers come from.
    pub providers: Vec<Provider>,
    /// The model names that callers use.
    pub routes: Vec<Route>,
    /// Bounds on requests.
    pub limits: Limits,
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The API of OpenAI, at OpenAI.
    Openai,
    /// The API of OpenAI, elsewhere.
    #[default]
    OpenaiCompatible,
}

/// A provider. Its credential is each tenant's own and comes from the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name here.
    pub id: ProviderId,
    /// What it speaks.
    #[serde(default)]
    pub kind: Kind,
    /// Up to and without `/chat/completions`: `https://api.openai.com/v1`.
    pub base_url: String,
    /// How long to wait for it.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The largest answer that is accepted, in bytes.
    #[serde(default = "max_response_bytes")]
    pub max_response_bytes: u64,
    /// Allows `http:` to hosts other than this machine: prompts and credentials then cross
    /// the network readable.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Authorities (PEM) that may vouch for it, instead of the public ones: for providers
    /// inside one's own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Top-level fields of requests that it understands beyond those of OpenAI's chat
    /// completions, such as `top_k`. They are sent on untouched; every other unknown field is
    /// refused. None that is refused by name can be allowed.
    #[serde(default)]
    pub extra_fields: Vec<String>,
}

const fn max_response_bytes() -> u64 {
    32 * MIB
}

/// How long to wait for a provider, in milliseconds each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect_ms: u64,
    /// From the request to the head of the answer.
    pub first_byte_ms: u64,
    /// Between two pieces of an answer.
    pub idle_ms: u64,
    /// From the request to the end of the answer.
    pub total_ms: u64,
}

impl Default for Timeouts {
    /// 5 s to connect, 2 min to begin, 1 min between pieces, 10 min in all.
    fn default() -> Self {
        Self { connect_ms: 5_000, first_byte_ms: 120_000, idle_ms: 60_000, total_ms: 600_000 }
    }
}

/// A model name that callers use, and what answers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The name that callers use.
    pub name: RouteName,
    /// The provider that answers.
    pub provider: ProviderId,
    /// The provider's own name of the model, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_model: Option<String>,
    /// Keeps answers. Absent: nothing is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheRoute>,
}

/// How a route's answers are kept, each for the tenant, environment and workflow that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheRoute {
    /// How long, in seconds.
    pub ttl_seconds: u64,
    /// The largest answer that is kept, in bytes.
    #[serde(default = "max_value_bytes")]
    pub max_value_bytes: u64,
    /// How long an equal request waits for one that is under way before it asks the provider
    /// itself, in milliseconds; 0 does not wait.
    #[serde(default = "wait_ms")]
    pub wait_ms: u64,
}

const fn max_value_bytes() -> u64 {
    MIB
}

const fn wait_ms() -> u64 {
    5_000
}

impl CacheRoute {
    pub(crate) const fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_seconds)
    }

    pub(crate) const fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }
}

/// Bounds on requests, and the fields that may name a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// How deep its JSON may nest.
    pub depth: usize,
    /// How many values and keys its JSON may have.
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

impl Settings {
    /// Refuses settings that contradict each other or cannot be used.
    ///
    /// # Errors
    /// What and where.
    pub fn check(&self) -> Result<(), Error> {
        self.targets().map(drop)
    }

    /// Where each provider is, by its id.
    pub(crate) fn targets(&self) -> Result<HashMap<ProviderId, Target>, Error> {
        let refuse = |why: String| Err(Error::Settings(why));
        let mut targets = HashMap::new();
        for provider in &self.providers {
            let Timeouts { connect_ms, first_byte_ms, idle_ms, total_ms } = provider.timeouts;
            if [connect_ms, first_byte_ms, idle_ms, total_ms].contains(&0) {
                return refuse(format!("provider {}: a timeout of 0 ms", provider.id));
            }
            if provider.max_response_bytes == 0 {
                return refuse(format!("provider {}: max_response_bytes is 0", provider.id));
            }
            if let Some(field) = provider.extra_fields.iter().find_map(|f| fields::refused(f)) {
                return refuse(format!(
                    "provider {}: extra_fields has `{field}`, which is never sent on: {}",
                    provider.id,
                    fields::why_refused(field)
                ));
            }
            let target = Target::parse(&provider.base_url, provider.allow_plain_http)
                .map_err(|why| Error::Settings(format!("provider {}: {why}", provider.id)))?;
            if targets.insert(provider.id.clone(), target).is_some() {
                return refuse(format!("provider {} is there twice", provider.id));
            }
        }
        let mut names = HashSet::new();
        for route in &self.routes {
            if !targets.contains_key(&route.provider) {
                return refuse(format!("model {}: no provider {}", route.name, route.provider));
            }
            if !names.insert(&route.name) {
                return refuse(format!("model {} is there twice", route.name));
            }
            if route.upstream_model.as_ref().is_some_and(|m| m.is_empty() || m.len() > 256) {
                return refuse(format!(
                    "model {}: upstream_model is not 1 to 256 bytes",
                    route.name
                ));
            }
            if route.cache.is_some_and(|cache| cache.ttl_seconds == 0) {
                return refuse(format!("model {}: cache.ttl_seconds is 0", route.name));
            }
        }
        if self.limits.depth > 512 {
            return refuse("limits.depth is more than 512".to_owned());
        }
        Ok(targets)
    }
}
