//! How a tenant stands with each route: what it can ask, and what keeps it apart there.

use std::collections::HashMap;

use ids::{ProviderId, RouteName};
use scope::{Access, Scope};
use serde::Serialize;

use super::{ModelHop, Target};
use crate::{Api, Error, Kind, ModelCard, Threshold};

/// How a tenant stands with a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStanding {
    /// The name that callers use.
    pub name: RouteName,
    /// Other names for it.
    pub aliases: Vec<RouteName>,
    /// Who answers.
    pub targets: Vec<TargetStanding>,
    /// What the provider may run for callers.
    pub hosted_tools: Vec<String>,
    /// Whether answers are kept.
    pub cached: bool,
    /// How similar questions are answered, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticStanding>,
}

/// How a tenant stands with one provider behind a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetStanding {
    /// The provider.
    pub provider: ProviderId,
    /// What it is.
    pub kind: Kind,
    /// The model, by the provider's name for it.
    pub model: String,
    /// The endpoints that it has.
    pub apis: Vec<Api>,
    /// How much of the load it gets; 0 is what others failed.
    pub weight: u32,
    /// Whether the tenant has a credential for it.
    pub credential: bool,
    /// Whether others use the same credential.
    pub shared: bool,
    /// What keeps the tenant's prompts apart at the provider: `account` (one of its own),
    /// `workspace` (Anthropic's, one of its own), `salted` (only its own requests carry its
    /// salt), or `shared prompt-cache domain` (nothing does). Absent without a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<&'static str>,
    /// What weakens that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
}

/// How similar questions are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SemanticStanding {
    /// The route that measures what questions mean.
    pub embeddings: RouteName,
    /// Whether the tenant has a credential for it. Without one it is off.
    pub credential: bool,
    /// How alike two questions have to be.
    pub threshold: Threshold,
    /// Whether one subject may be answered with what another one was.
    pub across_subjects: bool,
}

/// What tells the warning of tiers that ignore salts.
const TIERS: &str =
    "an external KV cache tier ignores salts: prefixes may be shared (SGLang #37160)";

impl ModelHop {
    /// How the scope's tenant stands with each route, in the order of the configuration.
    ///
    /// # Errors
    /// The scope does not hold any more, or the vault cannot be asked.
    pub async fn standing<A: Access>(&self, scope: &Scope<A>) -> Result<Vec<RouteStanding>, Error> {
        scope.live()?;
        let mut all = Vec::with_capacity(self.inner.entries.len());
        for entry in self.inner.entries.iter().filter(|entry| entry.serves(scope)) {
            let mut targets = Vec::with_capacity(entry.targets.len());
            for target in &entry.targets {
                let credential = self.inner.credential(scope, target.provider()).await?;
                targets.push(standing(target, credential.map(|held| held.shared)));
            }
            let semantic = match (&entry.measure, &entry.route.semantic) {
                (Some(measure), Some(semantic)) => Some(SemanticStanding {
                    embeddings: semantic.embeddings.clone(),
                    credential: self.inner.credential(scope, measure.provider()).await?.is_some(),
                    threshold: semantic.threshold,
                    across_subjects: semantic.across_subjects,
                }),
                _ => None,
            };
            all.push(RouteStanding {
                name: entry.route.name.clone(),
                aliases: entry.route.aliases.clone(),
                targets,
                hosted_tools: entry.route.hosted_tools.clone(),
                cached: entry.route.cache.is_some(),
                semantic,
            });
        }
        Ok(all)
    }

    pub(super) async fn listed<A: Access>(
        &self,
        scope: &Scope<A>,
    ) -> Result<Vec<ModelCard>, Error> {
        scope.live()?;
        let mut held = HashMap::new();
        let mut cards = Vec::new();
        for entry in &self.inner.entries {
            for target in &entry.targets {
                let provider = target.provider();
                let has = match held.get(provider) {
                    Some(has) => *has,
                    None => {
                        let has = self.inner.credential(scope, provider).await?.is_some();
                        held.insert(provider, has);
                        has
                    }
                };
                if has {
                    let card = |name: &RouteName| ModelCard {
                        name: name.clone(),
                        provider: provider.clone(),
                    };
                    cards.extend(entry.route.names().map(card));
                    break;
                }
            }
        }
        Ok(cards)
    }

    /// The providers that a call to this model may reach, each once: for the gate, which has
    /// to permit every one.
    #[must_use]
    pub fn providers(&self, model: &str) -> Vec<ProviderId> {
        let Some(entry) = self.inner.routes.get(model) else { return Vec::new() };
        let mut all: Vec<ProviderId> = Vec::new();
        for target in entry.targets.iter().chain(&entry.measure) {
            if !all.contains(target.provider()) {
                all.push(target.provider().clone());
            }
        }
        all
    }
}

impl Target {
    fn provider(&self) -> &ProviderId {
        &self.supplier.provider.id
    }
}

/// `shared`: of the credential, if there is one.
fn standing(target: &Target, shared: Option<bool>) -> TargetStanding {
    let provider = &target.supplier.provider;
    let salted = provider.salts_prompts();
    let isolation =
        shared.map(|shared| match (salted, shared || provider.kind.is_engine(), provider.kind) {
            (true, _, _) => "salted",
            (false, true, _) => "shared prompt-cache domain",
            (false, false, Kind::Anthropic) => "workspace",
            (false, false, _) => "account",
        });
    TargetStanding {
        provider: provider.id.clone(),
        kind: provider.kind,
        model: target.model.clone(),
        apis: provider.apis().to_vec(),
        weight: target.weight,
        credential: shared.is_some(),
        shared: shared.unwrap_or(false),
        isolation,
        warning: provider.external_kv_tiers.then_some(TIERS),
    }
}
