//! Where answers come from.

use std::{path::PathBuf, time::Duration};

use ids::{ProviderId, TenantId};
use serde::{Deserialize, Serialize};

use super::MIB;
use crate::{Api, marks::Mark};

/// What a provider is: which endpoints it has, how it wants its credential, and which marks
/// it understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The API of OpenAI, at OpenAI.
    Openai,
    /// The API of OpenAI, at Azure.
    AzureOpenai,
    /// The API of Anthropic.
    Anthropic,
    /// vLLM's server.
    Vllm,
    /// SGLang's server.
    Sglang,
    /// The API of OpenAI, elsewhere.
    #[default]
    OpenaiCompatible,
}

impl Kind {
    /// The endpoints that it has, unless the configuration says otherwise.
    #[must_use]
    pub const fn apis(self) -> &'static [Api] {
        match self {
            Self::Anthropic => &[Api::Messages, Api::CountTokens],
            _ => &[Api::Chat, Api::Responses, Api::Embeddings],
        }
    }

    /// Whether it keeps files and batches as OpenAI does.
    #[must_use]
    pub const fn keeps_files(self) -> bool {
        matches!(self, Self::Openai | Self::AzureOpenai | Self::OpenaiCompatible)
    }

    /// Whether it is a server of one's own: its prompt cache is one, whatever the credentials.
    #[must_use]
    pub const fn is_engine(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang)
    }

    /// As it stands in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::AzureOpenai => "azure-openai",
            Self::Anthropic => "anthropic",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::OpenaiCompatible => "openai-compatible",
        }
    }
}

/// Which handles a tenant may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandlePolicy {
    /// Those that its own calls made here.
    #[default]
    Owned,
    /// On a credential of its own, all of its account's. On a shared credential this is
    /// [`HandlePolicy::Owned`].
    Account,
}

/// A provider. Its credential is each tenant's own and comes from the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name here.
    pub id: ProviderId,
    /// What it is.
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
    /// On a credential that tenants share: top-level fields of requests that it understands
    /// beyond those known here, such as `top_k`. They are sent on untouched; every other
    /// unknown field is refused. None that is refused by name can be allowed.
    #[serde(default)]
    pub extra_fields: Vec<String>,
    /// The endpoints that it has, where they are not those of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apis: Option<Vec<Api>>,
    /// The marks that requests to it carry, where they are not those of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Vec<Mark>>,
    /// Which handles a tenant may name.
    #[serde(default)]
    pub handles: HandlePolicy,
    /// `azure-openai` without `/v1`: the value of `api-version`, such as `2024-10-21`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Asks for usage in streams whose callers did not ask, and leaves it out of what they
    /// get (`stream_options.include_usage`).
    #[serde(default = "yes")]
    pub stream_usage: bool,
    /// `anthropic`, on a credential that tenants share: the betas that callers may ask for.
    #[serde(default)]
    pub betas: Vec<String>,
    /// What is asked again.
    #[serde(default)]
    pub retries: Retries,
    /// Says that it keeps prefixes in a cache outside itself which does not look at salts
    /// (SGLang #37160). Nothing here can make up for that; `doctor` warns.
    #[serde(default)]
    pub external_kv_tiers: bool,
    /// Tenants that it is for, if it is not for all of them: nobody else can use it, whatever
    /// credential they hold, or is told that it is there. No configuration says so: it is for what
    /// a deployment needs for itself.
    #[serde(skip)]
    pub only: Vec<TenantId>,
}

const fn max_response_bytes() -> u64 {
    32 * MIB
}

const fn yes() -> bool {
    true
}

impl Provider {
    /// A provider with nothing set but where it is.
    #[must_use]
    pub fn new(id: ProviderId, kind: Kind, base_url: &str) -> Self {
        Self {
            id,
            kind,
            base_url: base_url.to_owned(),
            timeouts: Timeouts::default(),
            max_response_bytes: max_response_bytes(),
            allow_plain_http: false,
            ca_file: None,
            extra_fields: Vec::new(),
            apis: None,
            marks: None,
            handles: HandlePolicy::default(),
            api_version: None,
            stream_usage: true,
            betas: Vec::new(),
            retries: Retries::default(),
            external_kv_tiers: false,
            only: Vec::new(),
        }
    }

    /// Whether this tenant may use it, if it has a credential.
    #[must_use]
    pub fn serves(&self, tenant: &TenantId) -> bool {
        self.only.is_empty() || self.only.contains(tenant)
    }

    /// The endpoints that it has.
    #[must_use]
    pub fn apis(&self) -> &[Api] {
        self.apis.as_deref().unwrap_or_else(|| self.kind.apis())
    }

    /// The marks that requests to this endpoint of it carry.
    #[must_use]
    pub fn marks(&self, api: Api) -> Vec<Mark> {
        Mark::of(self.kind, self.marks.as_deref(), api)
    }

    /// Whether what it keeps of prompts is apart for each tenant's environment: it looks at a
    /// salt, and gets one with every request for text.
    #[must_use]
    pub fn salts_prompts(&self) -> bool {
        // Marks of these say who asked, and keep nothing apart.
        if matches!(self.kind, Kind::Openai | Kind::AzureOpenai | Kind::Anthropic) {
            return false;
        }
        let salts = |mark| matches!(mark, Mark::CacheSalt | Mark::ExtraKey | Mark::TenantHeader);
        let text = |api: &&Api| !matches!(api, Api::Embeddings | Api::CountTokens);
        let mut asked = self.apis().iter().filter(text).peekable();
        asked.peek().is_some() && asked.all(|api| self.marks(*api).into_iter().any(salts))
    }
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

/// What is asked again of a provider that is overloaded or cannot be reached, and how soon.
/// Nothing is asked again once a byte of an answer was handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// How often at most; 0 never.
    pub most: u32,
    /// How long to wait before the first time, at most, in milliseconds; twice as long before
    /// each further one. The wait itself is a random part of it.
    pub backoff_ms: u64,
    /// The longest wait, in milliseconds. A provider that wants to be left alone for longer
    /// (`Retry-After`) is: its answer goes to the caller.
    pub wait_most_ms: u64,
    /// For each hundred calls of a tenant, so many may be asked again, beyond a few to begin
    /// with.
    pub budget_percent: u32,
}

impl Default for Retries {
    /// Twice, after 250 ms, never later than 5 s, for 20 of a hundred calls.
    fn default() -> Self {
        Self { most: 2, backoff_ms: 250, wait_most_ms: 5_000, budget_percent: 20 }
    }
}

impl Retries {
    pub(crate) const fn wait_most(&self) -> Duration {
        Duration::from_millis(self.wait_most_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_salted_where_a_salt_is_looked_at_and_every_text_has_one() {
        for (kind, apis, marks, salted) in [
            (Kind::Vllm, None, None, true),
            (Kind::Sglang, None, None, true),
            (Kind::Vllm, None, Some(vec![]), false),
            (Kind::Vllm, None, Some(vec![Mark::User]), false),
            (Kind::Vllm, Some(vec![Api::Embeddings]), None, false),
            // What it does not know it does not look at.
            (Kind::Openai, None, None, false),
            (Kind::Openai, None, Some(vec![Mark::CacheSalt]), false),
            (Kind::Anthropic, None, Some(vec![Mark::TenantHeader]), false),
            (Kind::OpenaiCompatible, None, None, false),
            (Kind::OpenaiCompatible, None, Some(vec![Mark::TenantHeader]), true),
            // One endpoint without it is enough to meet in.
            (Kind::Vllm, Some(vec![Api::Chat, Api::Messages]), None, false),
        ] {
            let mut provider = Provider::new("p".parse().unwrap(), kind, "https://p.example/v1");
            (provider.apis, provider.marks) = (apis, marks);
            assert_eq!(provider.salts_prompts(), salted, "{provider:?}");
        }
    }
}
