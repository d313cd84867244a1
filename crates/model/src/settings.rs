//! What an operator may set: providers, routes, bounds.

use std::collections::{HashMap, HashSet};

use ids::ProviderId;
use serde::{Deserialize, Serialize};

use crate::{Api, Error, HandleBounds, fields, target::Target, tools};

mod limits;
mod provider;
mod route;

pub use limits::{ClaimPath, Limits, Named};
pub use provider::{HandlePolicy, Kind, Provider, Retries, Timeouts};
pub use route::{CacheRoute, Route, RouteTarget, SemanticRoute, Threshold};

const MIB: u64 = 1 << 20;

/// Providers and the routes to them; the section `[model]` of `bulkhead.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where answers come from.
    pub providers: Vec<Provider>,
    /// The model names that callers use.
    pub routes: Vec<Route>,
    /// The provider that `/v1/files`, `/v1/batches` and `/v1/conversations` speak to, where
    /// more than one could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ProviderId>,
    /// What is remembered of what providers keep for tenants.
    pub handles: HandleBounds,
    /// Bounds on requests.
    pub limits: Limits,
}

/// What is wrong, with whose.
fn wrong<T>(what: &str, name: &str, why: impl std::fmt::Display) -> Result<T, Error> {
    Err(Error::Settings(format!("{what} {name}: {why}")))
}

impl Settings {
    /// Refuses settings that contradict each other or cannot be used.
    ///
    /// # Errors
    /// What and where.
    pub fn check(&self) -> Result<(), Error> {
        self.targets().map(drop)
    }

    /// The provider that keeps files and batches, if one does; of those that are for everybody.
    ///
    /// # Errors
    /// The one that is named is not there, or keeps none.
    pub fn resources(&self) -> Result<Option<&Provider>, Error> {
        let keeps = |provider: &&Provider| provider.kind.keeps_files() && provider.only.is_empty();
        let mut keeping = self.providers.iter().filter(keeps);
        let Some(named) = &self.resources else {
            // Of several none is chosen by chance.
            let first = keeping.next();
            return Ok(first.filter(|_| keeping.next().is_none()));
        };
        match keeping.find(|provider| provider.id == *named) {
            Some(found) => Ok(Some(found)),
            None => Err(Error::Settings(format!(
                "resources: no provider {named} of kind openai, azure-openai or openai-compatible"
            ))),
        }
    }

    /// Where each provider is, by its id.
    pub(crate) fn targets(&self) -> Result<HashMap<ProviderId, Target>, Error> {
        let mut targets = HashMap::new();
        let mut providers = HashMap::new();
        for provider in &self.providers {
            check_provider(provider)?;
            let id = provider.id.as_str();
            let target = Target::parse(&provider.base_url, provider.allow_plain_http)
                .or_else(|why| wrong("provider", id, why))?;
            if targets.insert(provider.id.clone(), target).is_some() {
                return Err(Error::Settings(format!("provider {id} is there twice")));
            }
            providers.insert(&provider.id, provider);
        }
        let mut names = HashSet::new();
        for route in &self.routes {
            check_route(route, &providers)?;
            if let Some(twice) = route.names().find(|name| !names.insert(*name)) {
                return Err(Error::Settings(format!("model {twice} is there twice")));
            }
        }
        for route in &self.routes {
            self.check_semantic(route, &providers)?;
        }
        self.resources()?;
        if self.handles.most == 0 || self.handles.days == 0 {
            return Err(Error::Settings("handles: most and days are not 0".to_owned()));
        }
        if self.limits.depth > 512 {
            return Err(Error::Settings("limits.depth is more than 512".to_owned()));
        }
        Ok(targets)
    }

    fn check_semantic(
        &self,
        route: &Route,
        providers: &HashMap<&ProviderId, &Provider>,
    ) -> Result<(), Error> {
        let Some(semantic) = &route.semantic else { return Ok(()) };
        let refuse = |why: String| wrong("model", route.name.as_str(), why);
        if route.cache.is_none() {
            return refuse("semantic needs cache".to_owned());
        }
        let named = |other: &&Route| other.names().any(|name| *name == semantic.embeddings);
        let Some(measures) = self.routes.iter().find(named) else {
            return refuse(format!("semantic.embeddings: no model {}", semantic.embeddings));
        };
        let embeds = |target: &RouteTarget| {
            providers.get(&target.provider).is_some_and(|p| p.apis().contains(&Api::Embeddings))
        };
        if measures.all_targets().iter().any(embeds) {
            return Ok(());
        }
        refuse(format!("semantic.embeddings: {} does not serve embeddings", semantic.embeddings))
    }
}

fn check_provider(provider: &Provider) -> Result<(), Error> {
    let refuse = |why: String| wrong("provider", provider.id.as_str(), why);
    let Timeouts { connect_ms, first_byte_ms, idle_ms, total_ms } = provider.timeouts;
    if [connect_ms, first_byte_ms, idle_ms, total_ms].contains(&0) {
        return refuse("a timeout of 0 ms".to_owned());
    }
    if provider.max_response_bytes == 0 {
        return refuse("max_response_bytes is 0".to_owned());
    }
    if let Some(field) = provider.extra_fields.iter().find_map(|f| fields::refused(f)) {
        return refuse(format!(
            "extra_fields has `{field}`, which is never sent on: {}",
            fields::why_refused(field)
        ));
    }
    if provider.apis().is_empty() {
        return refuse("apis is empty".to_owned());
    }
    let Retries { most, backoff_ms, wait_most_ms, budget_percent } = provider.retries;
    if most > 10 || !(1..=60_000).contains(&backoff_ms) || wait_most_ms > 60_000 {
        return refuse("retries: at most 10, backoff_ms 1 to 60000, wait_most_ms to 60000".into());
    }
    if budget_percent > 100 {
        return refuse("retries.budget_percent is more than 100".to_owned());
    }
    if let Some(beta) = provider.betas.iter().find(|beta| !is_beta(beta)) {
        return refuse(format!("betas: `{beta}` is not 1 to 64 of a-z, 0-9 and -"));
    }
    if let Some(version) = &provider.api_version {
        if provider.kind != Kind::AzureOpenai {
            return refuse("api_version is for azure-openai alone".to_owned());
        }
        if !is_beta(version) {
            return refuse("api_version is not like 2024-10-21".to_owned());
        }
    }
    Ok(())
}

/// Whether this can be the name of a beta: 1 to 64 of `a-z`, `0-9` and `-`.
pub(crate) fn is_beta(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

fn check_route(route: &Route, providers: &HashMap<&ProviderId, &Provider>) -> Result<(), Error> {
    let refuse = |why: String| wrong("model", route.name.as_str(), why);
    match (&route.provider, route.targets.is_empty()) {
        (Some(_), false) => return refuse("it has both provider and targets".to_owned()),
        (None, true) => return refuse("it has neither provider nor targets".to_owned()),
        (None, false) if route.upstream_model.is_some() => {
            return refuse("upstream_model stands in each of its targets".to_owned());
        }
        _ => {}
    }
    let targets = route.all_targets();
    if targets.len() > 16 {
        return refuse("it has more than 16 targets".to_owned());
    }
    if targets.iter().all(|target| target.weight == 0) {
        return refuse("every target has weight 0".to_owned());
    }
    for target in &targets {
        let Some(provider) = providers.get(&target.provider) else {
            return refuse(format!("no provider {}", target.provider));
        };
        if target.weight > 1_000_000 {
            return refuse("a weight is more than 1000000".to_owned());
        }
        if target.upstream_model.as_ref().is_some_and(|m| m.is_empty() || m.len() > 256) {
            return refuse("upstream_model is not 1 to 256 bytes".to_owned());
        }
        let model = target.upstream_model.as_deref().unwrap_or(route.name.as_str());
        if provider.api_version.is_some() && !is_segment(model) {
            return refuse(format!("`{model}` is not the name of a deployment at Azure"));
        }
    }
    if let Some(tool) = route.hosted_tools.iter().find(|t| t.is_empty() || t.len() > 64) {
        return refuse(format!("hosted_tools: `{tool}` is not 1 to 64 bytes"));
    }
    for tool in &route.hosted_tools {
        if let Some(meant) = tools::meant(tool) {
            return refuse(format!("hosted_tools: `{tool}` is called `{meant}` here"));
        }
    }
    if route.cache.is_some_and(|cache| cache.ttl_seconds == 0) {
        return refuse("cache.ttl_seconds is 0".to_owned());
    }
    Ok(())
}

/// Whether this can stand in a path as it is.
fn is_segment(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !matches!(text, "" | "." | "..") && text.bytes().all(fits)
}
