//! The surface itself: routes, the cache in front of them, the providers behind.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use cache::{Cache, Semantic, Version};
use gate::Pass;
use ids::{Clock, Entropy, ProviderId, RouteName, frame::Frame, planted};
use scope::{Access, Scope, Write};
use vault::{Credential, Credentials};

use crate::{
    Account, Answer, Api, Caller, Error, HandlePolicy, Handles, Kind, Limits, ModelCard, Provider,
    Request, Route, Salts, Settings, routing::Spread, tls, upstream::Upstream,
};

mod answering;
mod fetch;
mod plan;
mod semantic;
mod standing;

pub use standing::{RouteStanding, SemanticStanding, TargetStanding};

pub(crate) use fetch::{Refusal, refusal};
pub(crate) use plan::{Candidate, terms};

/// What the surface stands on.
pub struct Parts {
    /// Tenants' credentials for providers.
    pub credentials: Credentials,
    /// Where answers are kept.
    pub cache: Cache,
    /// Which of them answer similar questions.
    pub semantic: Semantic,
    /// Who owns what at providers.
    pub handles: Handles,
    /// What tells providers whose a request is.
    pub salts: Salts,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where chance comes from.
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts(…)")
    }
}

/// The model surface. Cheap to clone.
#[derive(Clone)]
pub struct ModelHop {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// By name and by each other name.
    routes: HashMap<RouteName, Arc<Entry>>,
    /// As they are configured.
    entries: Vec<Arc<Entry>>,
    pub(crate) suppliers: HashMap<ProviderId, Arc<Supplier>>,
    /// Who keeps files and batches.
    pub(crate) resources: Option<Arc<Supplier>>,
    /// Who keeps them for some tenants alone, in the order of the configuration.
    reserved: Vec<Arc<Supplier>>,
    limits: Limits,
    pub(crate) parts: Parts,
}

/// A provider, as configured and as it is asked.
pub(crate) struct Supplier {
    pub(crate) provider: Provider,
    pub(crate) upstream: Arc<Upstream>,
}

impl Supplier {
    /// Whose account a credential leads to. Whose key it is means nothing to a server of one's
    /// own: what it keeps, it keeps for all.
    pub(crate) fn account(&self, credential: &Credential) -> Account<'_> {
        let one = matches!(self.provider.kind, Kind::Vllm | Kind::Sglang)
            && !planted::is("engine-is-ones-own");
        Account { provider: &self.provider.id, shared: credential.shared || one }
    }

    /// Whether the tenant may name whatever the account has.
    pub(crate) fn whole_account(&self, credential: &Credential) -> bool {
        self.provider.handles == HandlePolicy::Account && !self.account(credential).shared
    }
}

/// One model of one provider.
pub(crate) struct Target {
    pub(crate) supplier: Arc<Supplier>,
    /// By the provider's name for it.
    pub(crate) model: String,
    weight: u32,
}

/// A route, and what it takes to serve it.
pub(crate) struct Entry {
    pub(crate) route: Route,
    pub(crate) targets: Vec<Target>,
    /// What measures how alike two questions are.
    measure: Option<Target>,
    version: Version,
    spread: Spread,
}

impl ModelHop {
    /// The surface for these settings.
    ///
    /// # Errors
    /// Settings that contradict each other or cannot be used.
    pub fn open(settings: Settings, parts: Parts) -> Result<Self, Error> {
        let suppliers = suppliers(&settings)?;
        let by_name = |name: &RouteName| {
            settings.routes.iter().find(|route| route.names().any(|own| own == name))
        };
        let mut routes = HashMap::new();
        let mut entries = Vec::new();
        for route in &settings.routes {
            let own = targets(route, &suppliers);
            // One model, always: what two models measure cannot be compared.
            let measure = route.semantic.as_ref().and_then(|semantic| {
                let all = targets(by_name(&semantic.embeddings)?, &suppliers);
                all.into_iter().find(|t| t.supplier.provider.apis().contains(&Api::Embeddings))
            });
            let version = version(route, &own);
            let route = route.clone();
            let spread = Spread::default();
            let entry = Arc::new(Entry { route, targets: own, measure, version, spread });
            for name in entry.route.names() {
                routes.insert(name.clone(), Arc::clone(&entry));
            }
            entries.push(entry);
        }
        let resources = settings.resources()?.and_then(|provider| suppliers.get(&provider.id));
        let resources = resources.cloned();
        let reserved = settings.providers.iter().filter(|p| !p.only.is_empty());
        let reserved = reserved.filter(|provider| provider.kind.keeps_files());
        let reserved = reserved.filter_map(|p| suppliers.get(&p.id).cloned()).collect();
        let limits = settings.limits;
        let inner = Inner { routes, entries, suppliers, resources, reserved, limits, parts };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Bounds on requests, for [`Request::parse`].
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The route of this name, or with this other name.
    #[must_use]
    pub fn route(&self, model: &str) -> Option<&Route> {
        self.inner.routes.get(model).map(|entry| &entry.route)
    }

    /// The provider that keeps the scope's files and batches, if one does.
    pub(crate) fn resources<A: Access>(&self, scope: &Scope<A>) -> Option<&Arc<Supplier>> {
        let own = self.inner.reserved.iter().find(|one| one.provider.serves(scope.tenant()));
        own.or(self.inner.resources.as_ref())
    }

    /// The route that measures texts for this scope alone, if there is one.
    pub(crate) fn measures<A: Access>(&self, scope: &Scope<A>) -> Option<&str> {
        let own = |target: &Target| {
            let provider = &target.supplier.provider;
            provider.only.contains(scope.tenant()) && *provider.apis() == [Api::Embeddings]
        };
        let found = self.inner.entries.iter().find(|entry| entry.targets.iter().all(own));
        found.map(|entry| entry.route.name.as_str())
    }

    /// Closes connections to providers that were idle for too long. For maintenance, now and
    /// then.
    pub fn tidy(&self) {
        for supplier in self.inner.suppliers.values() {
            supplier.upstream.tidy();
        }
    }

    /// The models that this scope may name: those for one of whose providers it has a
    /// credential, under each of their names.
    ///
    /// # Errors
    /// The scope does not hold any more, or the vault cannot be asked.
    pub async fn models<A: Access>(
        &self,
        scope: &Scope<A>,
        pass: Pass,
    ) -> Result<Vec<ModelCard>, Error> {
        let listed = self.listed(scope).await;
        match &listed {
            Ok(_) => pass.complete(),
            Err(error) => pass.failed(error.code()),
        }
        listed
    }

    /// Asks a model.
    ///
    /// An error that the provider answers with is an answer, with its status and rebuilt body.
    ///
    /// # Errors
    /// The body names somebody else or what is not the tenant's, the model is not known, the
    /// tenant has no credential, the provider failed, or the scope was revoked meanwhile.
    pub async fn ask(
        &self,
        scope: &Scope<Write>,
        mut pass: Pass,
        ask: Request,
        caller: Caller,
    ) -> Result<Answer, Error> {
        let outcome = match pass.admits(scope, grant(ask.api())) {
            Err(mixed_up) => Err(Error::Gate(mixed_up)),
            Ok(()) => {
                let policy = Version::from_digest(*pass.policy().as_bytes());
                tokio::select! {
                    biased;
                    why = scope.ended() => Err(Error::Scope(why)),
                    outcome = self.inner.answer(scope, &ask, &caller, policy) => outcome,
                }
            }
        };
        match outcome {
            Ok(outcome) => {
                pass.tally().cache(outcome.cache.as_str());
                Ok(self.inner.hand_on(scope, pass, &ask, outcome))
            }
            Err(error) => {
                pass.failed(error.code());
                Err(error)
            }
        }
    }
}

/// The grant that asking at this endpoint takes.
pub(crate) const fn grant(api: Api) -> &'static str {
    match api {
        Api::Chat => "model:chat",
        Api::Responses => "model:responses",
        Api::Embeddings => "model:embeddings",
        Api::Messages | Api::CountTokens => "model:messages",
    }
}

fn suppliers(settings: &Settings) -> Result<HashMap<ProviderId, Arc<Supplier>>, Error> {
    let mut addresses = settings.targets()?;
    let public = tls::connector(None)?;
    let mut suppliers = HashMap::new();
    for provider in &settings.providers {
        let Some(address) = addresses.remove(&provider.id) else { continue };
        let tls = match &provider.ca_file {
            Some(path) => tls::connector(Some(path))?,
            None => public.clone(),
        };
        let upstream = Arc::new(Upstream::new(provider, address, tls));
        let supplier = Arc::new(Supplier { provider: provider.clone(), upstream });
        suppliers.insert(provider.id.clone(), supplier);
    }
    Ok(suppliers)
}

fn targets(route: &Route, suppliers: &HashMap<ProviderId, Arc<Supplier>>) -> Vec<Target> {
    let target = |target: crate::RouteTarget| {
        let name = || route.name.as_str().to_owned();
        Some(Target {
            supplier: Arc::clone(suppliers.get(&target.provider)?),
            model: target.upstream_model.unwrap_or_else(name),
            weight: target.weight,
        })
    };
    route.all_targets().into_iter().filter_map(target).collect()
}

/// What of the configuration an answer depends on. A new field has to be decided on here.
fn version(route: &Route, targets: &[Target]) -> Version {
    let Route {
        name,
        // Another name is another request.
        aliases: _,
        // These are the targets.
        provider: _,
        upstream_model: _,
        targets: _,
        hosted_tools,
        cache: _,
        // What measures is a part of a question's partition; the threshold applies when asked.
        semantic: _,
    } = route;
    let mut frame = Frame::new("bulkhead.model.route.2").field(name.as_str());
    let allowed: BTreeSet<_> = hosted_tools.iter().collect();
    frame = frame.u64(allowed.len() as u64);
    frame = allowed.into_iter().fold(frame, Frame::field);
    frame = frame.u64(targets.len() as u64);
    for Target { supplier, model, weight } in targets {
        let Provider {
            id,
            kind,
            base_url,
            timeouts: _,
            max_response_bytes: _,
            allow_plain_http: _,
            ca_file: _,
            // What is sent is the request, which is a part of every key; what is refused is
            // refused before the cache is asked.
            extra_fields: _,
            apis: _,
            betas: _,
            // Marks are the scope's own, as the key is.
            marks: _,
            // A call with handles is not kept.
            handles: _,
            api_version,
            // What is asked for unseen is not handed on.
            stream_usage: _,
            retries: _,
            external_kv_tiers: _,
            // Whoever it is not for is refused before the cache is asked.
            only: _,
        } = &supplier.provider;
        frame = frame
            .field(id.as_str())
            .field(kind.as_str())
            .field(base_url)
            .option(api_version.as_ref())
            .field(model)
            .u64(u64::from(*weight));
    }
    Version::of(&frame.finish())
}

impl fmt::Debug for ModelHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: BTreeSet<_> = self.inner.routes.keys().map(RouteName::as_str).collect();
        f.debug_struct("ModelHop").field("routes", &routes).finish_non_exhaustive()
    }
}
