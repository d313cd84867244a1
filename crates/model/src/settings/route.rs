//! The model names that callers use.

use std::{fmt, time::Duration};

use ids::{ProviderId, RouteName};
use serde::{Deserialize, Serialize};

use super::MIB;

/// A model name that callers use, and what answers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The name that callers use.
    pub name: RouteName,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<RouteName>,
    /// The provider that answers; instead of `targets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// The provider's own name of the model, where it differs; with `provider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_model: Option<String>,
    /// The providers that answer, where there are several.
    #[serde(default)]
    pub targets: Vec<RouteTarget>,
    /// Tools that the provider runs, by name (`web_search`, `file_search`,
    /// `code_interpreter`, `computer_use`, `mcp`, …), that callers may ask for. What they do
    /// passes by the tools of this machine.
    #[serde(default)]
    pub hosted_tools: Vec<String>,
    /// Keeps answers. Absent: nothing is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheRoute>,
    /// Answers a question with what is kept for one that means the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticRoute>,
}

/// One provider behind a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTarget {
    /// The provider.
    pub provider: ProviderId,
    /// The provider's own name of the model, where it differs from the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_model: Option<String>,
    /// How much of the load it gets, beside the others'. 0: only what the others failed.
    #[serde(default = "one")]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

impl Route {
    /// A route to one provider, which knows the model by the same name.
    #[must_use]
    pub const fn new(name: RouteName, provider: ProviderId) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            provider: Some(provider),
            upstream_model: None,
            targets: Vec::new(),
            hosted_tools: Vec::new(),
            cache: None,
            semantic: None,
        }
    }

    /// Its targets, however they are written.
    #[must_use]
    pub fn all_targets(&self) -> Vec<RouteTarget> {
        match &self.provider {
            Some(provider) => vec![RouteTarget {
                provider: provider.clone(),
                upstream_model: self.upstream_model.clone(),
                weight: 1,
            }],
            None => self.targets.clone(),
        }
    }

    /// The name, and each other one.
    pub fn names(&self) -> impl Iterator<Item = &RouteName> {
        std::iter::once(&self.name).chain(&self.aliases)
    }
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

/// Answers from the cache to questions that mean the same, within all that the exact cache
/// keeps apart, and the same but for the last turn of the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemanticRoute {
    /// The route whose model measures what a question means. Each tenant asks it with its own
    /// credential; without one this is off for it.
    pub embeddings: RouteName,
    /// How alike two questions have to be.
    #[serde(default)]
    pub threshold: Threshold,
    /// Whether one subject (`sub`) of a tenant may be answered with what another one was. Who
    /// controls a question can word it so that it is near an honest one and its answer is not
    /// true; so each subject has its own, unless all of them are trusted.
    #[serde(default)]
    pub across_subjects: bool,
}

/// A cosine similarity from 0.80 to 1.00, in ten-thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Threshold(u16);

impl Threshold {
    /// As a number.
    #[must_use]
    pub fn as_f32(self) -> f32 {
        f32::from(self.0) / 10_000.0
    }
}

impl Default for Threshold {
    /// 0.97
    fn default() -> Self {
        Self(9_700)
    }
}

impl TryFrom<f64> for Threshold {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        if !(0.80..=1.0).contains(&number) {
            return Err("a threshold is a number from 0.80 to 1.00".to_owned());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 8,000 and 10,000"
        )]
        Ok(Self((number * 10_000.0).round() as u16))
    }
}

impl From<Threshold> for f64 {
    fn from(threshold: Threshold) -> Self {
        Self::from(threshold.0) / 10_000.0
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4}", f64::from(*self))
    }
}
