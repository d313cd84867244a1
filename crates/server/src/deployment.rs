//! Putting the floors together: the one place where every crate meets every other.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use cache::{Cache, LogAlarm, Semantic, State};
use directory::{NewOperator, Registry};
use gate::{Gate, InFlight, Policies};
use ids::{Clock, Entropy, OperatorName, OsEntropy, SystemClock, TenantId};
use memory::Memory;
use model::{Embeddings, Handles, ModelHop, Parts, Salts};
use records::{Audit, Recorder};
use reviews::Reviews;
use scope::{Digester, Doors, Kind, Maintenance, Right, Secret, SystemScope, TokenKeys};
use store::Store;
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tools::{ToolKeys, Tools};
use vault::{Credentials, EnvRoot, FileRoot, KeyProvider, Vault};

use crate::{
    App, Error, RootKey, Settings, approved,
    data::mcp::Calls,
    erase,
    extract::Extract,
    jwks,
    load::Load,
    metrics::Metrics,
    restore,
    selfprobe::Prober,
    signing::{Signs, signing_keys},
    webhook::Webhooks,
};

/// How often expired rows, idle connections and old keys are let go.
const UPKEEP: Duration = Duration::from_secs(60);
/// How often indexes are tended to.
const TENDING: Duration = Duration::from_secs(5);
/// How long tasks of tenants have to end at shutdown.
const TASKS: Duration = Duration::from_secs(10);
/// How often the doors are told of a change. If they could not read it, nobody of the tenant is
/// served until they can, at the next use.
const TELLINGS: u32 = 5;

/// An open deployment: its files, keys and registries, and everything that works on them.
/// Serves nothing by itself.
pub struct Deployment {
    pub(crate) app: Arc<App>,
    upkeep: [JoinHandle<()>; 4],
    stop: CancellationToken,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployment").field("name", &self.app.settings.name).finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "opening and tending a deployment is for no tenant")]
pub(crate) fn system(purpose: Maintenance) -> SystemScope {
    SystemScope::claim(purpose)
}

pub(crate) fn root(settings: &Settings) -> Arc<dyn KeyProvider> {
    match &settings.storage.root_key {
        RootKey::File(path) => Arc::new(FileRoot::new(path)),
        RootKey::Environment(name) => Arc::new(EnvRoot::new(name)),
    }
}

async fn open_store(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Store, Error> {
    let (options, clock) = (settings.storage.data.clone(), Arc::clone(clock));
    // Opening checks files, which blocks.
    let opened = tokio::task::spawn_blocking(move || Store::open(&options, clock)).await;
    Ok(opened.map_err(|_| store::Error::Panicked)??)
}

fn digester(vault: &Vault, system: &SystemScope) -> Digester {
    Digester::new(vault.subkey(system, "credential digests"))
}

impl Deployment {
    /// Makes a new deployment where `settings` say: a root key if there is none in the key
    /// file, a keystore, data files, and a first operator with every right, whose secret this
    /// returns.
    ///
    /// # Errors
    /// There is a keystore already; what files and keys answer.
    pub async fn create(settings: &Settings, operator: &OperatorName) -> Result<Secret, Error> {
        Self::create_with(settings, operator, Arc::new(SystemClock), Arc::new(OsEntropy)).await
    }

    /// [`Deployment::create`] with another clock and source of randomness.
    ///
    /// # Errors
    /// As [`Deployment::create`].
    pub async fn create_with(
        settings: &Settings,
        operator: &OperatorName,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Secret, Error> {
        settings.check()?;
        let keys = &settings.storage.keys;
        std::fs::create_dir_all(keys).map_err(|why| Error::File { path: keys.clone(), why })?;
        if let RootKey::File(path) = &settings.storage.root_key
            && !path.exists()
        {
            FileRoot::create(path, &*entropy)?;
        }
        let vault =
            Vault::create(keys, root(settings), Arc::clone(&clock), Arc::clone(&entropy)).await?;
        let store = open_store(settings, &clock).await?;
        let secret = Secret::draw(Kind::Operator, &*entropy);
        let new = NewOperator {
            digest: digester(&vault, &system(Maintenance::Start)).digest(secret.expose()),
            name: operator.clone(),
            rights: vec![Right::Read, Right::Write, Right::Enter],
            expires: None,
        };
        Registry::new(store.clone()).create_operator(new).await?;
        store.close().await?;
        vault.close().await?;
        Ok(secret)
    }

    /// Opens a deployment.
    ///
    /// # Errors
    /// Settings that cannot work; what files and keys answer.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        Self::open_with(settings, Arc::new(SystemClock), Arc::new(OsEntropy)).await
    }

    /// [`Deployment::open`] with another clock and source of randomness.
    ///
    /// # Errors
    /// As [`Deployment::open`].
    pub async fn open_with(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        settings.check()?;
        restore::forget_indexes(&settings)?;
        let app = Arc::new(compose(settings, clock, entropy).await?);
        restore::finish(&app).await?;
        erase::resume(&app).await?;
        let stop = CancellationToken::new();
        let (tended, stopping) = (Arc::clone(&app), stop.clone());
        let rows = system(Maintenance::Storage)
            .spawn(|system| async move { tend(&tended, &system, &stopping).await });
        let (tended, stopping) = (Arc::clone(&app), stop.clone());
        let indexes = system(Maintenance::Storage)
            .spawn(|_| async move { tend_indexes(&tended, &stopping).await });
        let (tended, stopping) = (Arc::clone(&app), stop.clone());
        let writes = system(Maintenance::Storage)
            .spawn(|system| async move { tend_writes(&tended, &system, &stopping).await });
        let (tended, stopping) = (Arc::clone(&app), stop.clone());
        let approved = system(Maintenance::Storage).spawn(|system| async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = approved::tend(&tended, &system) => {}
            }
        });
        Ok(Self { app, upkeep: [rows, indexes, writes, approved], stop })
    }

    /// Brings who probes it while it is served; without, nobody does.
    #[must_use]
    pub fn probed_by(self, prober: Arc<dyn Prober>) -> Self {
        self.app.selfprobe.set(prober);
        self
    }

    /// Writes what waits and closes every file, in order. Whatever is still in flight fails.
    ///
    /// # Errors
    /// The first of what records, store and vault answer; all is tried.
    pub async fn close(self) -> Result<(), Error> {
        let Self { app, upkeep, stop } = self;
        stop.cancel();
        for task in upkeep {
            // It ends at the next point where it waits; a panic there was reported there.
            let _ = task.await;
        }
        if tokio::time::timeout(TASKS, app.doors.drained()).await.is_err() {
            tracing::warn!("tasks of tenants did not end in time and are cut off");
        }
        app.cache.settled().await;
        app.memory.close().await;
        app.recorder.flush().await;
        let audit = app.audit.close().await;
        let store = app.store.close().await;
        let vault = app.vault.close().await;
        audit?;
        store?;
        vault?;
        Ok(())
    }
}

/// What everything else stands on.
struct Ground {
    system: SystemScope,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    store: Store,
    vault: Vault,
}

impl Ground {
    async fn seeds(&self, what: Signs) -> Result<Vec<vault::Seed>, Error> {
        Ok(self.vault.signing_seeds(&self.system, what.purpose()).await?)
    }

    /// Those of assertions, and those of receipts.
    async fn tool_keys(&self) -> Result<(ToolKeys, ToolKeys), Error> {
        let assertions = self.seeds(Signs::Assertions).await?;
        let receipts = self.seeds(Signs::Receipts).await?;
        let assertions = ToolKeys::assertions(assertions.iter().map(vault::Seed::expose));
        Ok((assertions, ToolKeys::receipts(receipts.iter().map(vault::Seed::expose))))
    }
}

/// Everything, wired.
pub(crate) async fn compose(
    settings: Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<App, Error> {
    let store = open_store(&settings, &clock).await?;
    let keys = &settings.storage.keys;
    let vault =
        Vault::open(keys, root(&settings), Arc::clone(&clock), Arc::clone(&entropy)).await?;
    let system = system(Maintenance::Administration);
    let ground = Ground { system, clock, entropy, store, vault };
    let seeds = ground.seeds(Signs::Tokens).await?;
    let keys = TokenKeys::new(signing_keys(&seeds))?;
    let registry = Registry::new(ground.store.clone());
    let audit = audit(&ground, &settings).await?;
    let recorder = recorder(&ground, &settings)?;
    let doors = doors(&ground, &settings, &keys, &registry, &audit)?;
    let metrics = Arc::new(Metrics::new(settings.metrics.tenants));
    let gate = gate(&ground, &settings, &recorder, &audit)?.metered(metrics.clone());
    let gate = Arc::new(gate);
    let credentials = ground.vault.credentials(&ground.store);
    let cache = cache(&ground, &settings)?;
    let state = state(&ground, &settings)?;
    let semantic = Semantic::new(settings.semantic.clone(), Arc::clone(&ground.clock));
    let model = model(&ground, &settings, (&credentials, &cache, &semantic))?;
    let embedder = Embeddings::new(Arc::clone(&gate), model.clone());
    let memory = memory(&ground, &settings, embedder)?;
    let reviews = reviews(&ground, &settings)?;
    let (assertion_keys, receipt_keys) = ground.tool_keys().await?;
    let own = (&assertion_keys, &receipt_keys);
    let tools = tools(&ground, &settings, own, (&credentials, &reviews, &doors, &audit))?;
    let Ground { system, clock, entropy, store, vault } = ground;
    Ok(App {
        started: clock.now(),
        metrics,
        load: Load::new(&settings.limits),
        extract: Extract::new(&settings.identity, &settings.model.limits.claims),
        settings,
        clock,
        entropy,
        store,
        vault,
        credentials,
        registry,
        doors,
        keys,
        audit,
        recorder,
        gate,
        cache,
        state,
        semantic,
        model,
        memory,
        reviews,
        tools,
        assertion_keys,
        receipt_keys,
        calls: Calls::default(),
        system,
        ready: AtomicBool::new(false),
        public: OnceLock::new(),
        shared: crate::control::models::Shared::default(),
        restored: parking_lot::Mutex::new(None),
        signing: tokio::sync::Mutex::default(),
        selfprobe: crate::selfprobe::SelfProbe::default(),
        erasing: erase::Erasing::default(),
    })
}

/// Who calls tools.
fn tools(
    ground: &Ground,
    settings: &Settings,
    (assertion_keys, receipt_keys): (&ToolKeys, &ToolKeys),
    (credentials, reviews, doors, audit): (&Credentials, &Reviews, &Arc<Doors>, &Audit),
) -> Result<Tools, Error> {
    let Ground { clock, entropy, store, vault, .. } = ground;
    let parts = tools::Parts {
        store: store.clone(),
        vault: vault.clone(),
        credentials: credentials.clone(),
        reviews: reviews.clone(),
        doors: Arc::clone(doors),
        audit: Arc::new(audit.clone()),
        assertion_keys: assertion_keys.clone(),
        receipt_keys: receipt_keys.clone(),
        issuer: settings.identity.issuer.clone(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        system: system(Maintenance::Storage),
    };
    Ok(Tools::open(settings.tools.clone(), parts)?)
}

async fn audit(ground: &Ground, settings: &Settings) -> Result<Audit, Error> {
    let (clock, entropy) = (Arc::clone(&ground.clock), Arc::clone(&ground.entropy));
    let audit = Audit::open(&settings.name, &ground.store, &ground.vault, clock, entropy).await?;
    audit.hold_denials_to(settings.records.denials_per_day);
    Ok(audit)
}

fn recorder(ground: &Ground, settings: &Settings) -> Result<Recorder, Error> {
    let Ground { clock, entropy, store, vault, .. } = ground;
    Ok(Recorder::open(settings.records.clone(), store, vault, Arc::clone(clock), &**entropy)?)
}

/// Who decides who somebody is.
fn doors(
    ground: &Ground,
    settings: &Settings,
    keys: &Arc<TokenKeys>,
    registry: &Registry,
    audit: &Audit,
) -> Result<Arc<Doors>, Error> {
    let Ground { system, clock, entropy, vault, .. } = ground;
    let identity = &settings.identity;
    let settings = scope::Settings {
        issuer: identity.issuer.clone(),
        audience: identity.audience.clone(),
        keys: Arc::clone(keys),
        digester: digester(vault, system),
        mandate_key: vault.subkey(system, "mandates"),
        issuers: identity.issuers.iter().map(jwks::issuer).collect::<Result<_, _>>()?,
    };
    let (directory, sink) = (Arc::new(registry.clone()), Arc::new(audit.clone()));
    let doors = Doors::open(settings, directory, sink, Arc::clone(clock), Arc::clone(entropy));
    listen(registry, &doors);
    Ok(doors)
}

/// Who decides what they may.
fn gate(
    ground: &Ground,
    settings: &Settings,
    recorder: &Recorder,
    audit: &Audit,
) -> Result<Gate, Error> {
    let policies = match &settings.policy.file {
        Some(path) => Policies::load(path)?,
        None => Policies::built_in(),
    };
    let in_flight = Arc::new(InFlight::new(settings.limits.hops_per_tenant));
    let (sink, clock) = (Arc::new(audit.clone()), Arc::clone(&ground.clock));
    Ok(Gate::new(policies, vec![in_flight], recorder.clone(), sink, clock))
}

fn cache(ground: &Ground, settings: &Settings) -> Result<Cache, Error> {
    let Ground { system, clock, store, vault, .. } = ground;
    let secret = vault.subkey(system, "cache keys");
    let alarm = Arc::new(LogAlarm);
    Ok(Cache::open(settings.cache.clone(), store, vault, secret, Arc::clone(clock), alarm)?)
}

/// Who asks models.
fn model(
    ground: &Ground,
    settings: &Settings,
    (credentials, cache, semantic): (&Credentials, &Cache, &Semantic),
) -> Result<ModelHop, Error> {
    let Ground { system: administration, clock, entropy, store, vault } = ground;
    let secret = vault.subkey(administration, "model handles");
    let owners = system(Maintenance::Storage);
    let parts = Parts {
        credentials: credentials.clone(),
        cache: cache.clone(),
        semantic: semantic.clone(),
        handles: Handles::bounded(
            store,
            vault,
            secret,
            owners,
            Arc::clone(clock),
            settings.model.handles,
        ),
        salts: Salts::new(vault.subkey(administration, "provider marks")),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    };
    Ok(ModelHop::open(settings.model.clone(), parts)?)
}

fn state(ground: &Ground, settings: &Settings) -> Result<State, Error> {
    let Ground { clock, store, vault, .. } = ground;
    Ok(State::open(settings.state.clone(), store, vault, Arc::clone(clock))?)
}

/// Who keeps points, and finds them.
fn memory(ground: &Ground, settings: &Settings, by: Embeddings) -> Result<Memory, Error> {
    let Ground { system, clock, entropy, store, vault } = ground;
    let parts = memory::Parts {
        store: store.clone(),
        vault: vault.clone(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        index_dir: settings.index_dir(),
        embedder: Some(Arc::new(by)),
        subject_key: *vault.subkey(system, "memory subjects"),
    };
    Ok(Memory::open(settings.memory.clone(), parts)?)
}

/// What people decide.
fn reviews(ground: &Ground, settings: &Settings) -> Result<Reviews, Error> {
    let Ground { clock, entropy, store, vault, .. } = ground;
    let own = system(Maintenance::Storage);
    let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
    let hooks = &settings.reviews.webhooks;
    let notify = Webhooks::start(hooks, &clock, |name| std::env::var(name).ok())?;
    let notify = Arc::new(notify);
    Ok(Reviews::open(settings.reviews.clone(), store, vault, own, clock, entropy, notify)?)
}

/// Tells the doors of every change of a tenant, before the change returns to its caller.
fn listen(registry: &Registry, doors: &Arc<Doors>) {
    // Weak: the doors hold the registry.
    let doors = Arc::downgrade(doors);
    registry.listen(Box::new(move |tenant| {
        let doors = doors.clone();
        Box::pin(async move {
            if let Some(doors) = doors.upgrade() {
                tell(&doors, &tenant).await;
            }
        })
    }));
}

async fn tell(doors: &Doors, tenant: &TenantId) {
    for _ in 0..TELLINGS {
        match doors.refresh(tenant).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(tenant = tenant.as_str(), %error, "a change of a tenant could not be read; trying again");
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Now and then: indexes that have to be flushed, to forget, or to get a graph. Apart from the
/// rest and from each other, because a graph takes minutes.
async fn tend_indexes(app: &App, stop: &CancellationToken) {
    let tending = now_and_then(|| app.memory.tend());
    let renewing = now_and_then(|| app.memory.renew());
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = futures_util::future::join(tending, renewing) => {}
    }
}

/// At start, and now and then: writes of which it is not known whether they were done.
async fn tend_writes(app: &App, system: &SystemScope, stop: &CancellationToken) {
    let mut due = tokio::time::interval(Tools::RESUME_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let resuming = async {
            due.tick().await;
            if let Err(error) = app.tools.resume(system).await {
                tracing::error!(code = error.code(), %error, "open writes could not be looked up");
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = resuming => {}
        }
    }
}

async fn now_and_then<F: Future<Output = usize>>(work: impl Fn() -> F) {
    let mut due = tokio::time::interval(TENDING);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due.tick().await;
    loop {
        due.tick().await;
        work().await;
    }
}

/// Now and then: expired rows, idle connections, old keys.
async fn tend(app: &App, system: &SystemScope, stop: &CancellationToken) {
    let mut due = tokio::time::interval(UPKEEP);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is due at once, and nothing is yet.
    due.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let tidying = async {
            if let Err(error) = app.store.sweep(system).await {
                tracing::error!(code = error.code(), %error, "expired rows could not be removed");
            }
            erase::go_on(app).await;
        };
        // Both can take long, and go on after the next start.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tidying => {}
        }
        app.model.tidy();
        app.tools.tidy();
        if let Err(error) = app.retire_signing().await {
            tracing::error!(code = error.code(), %error, "old signing keys could not be retired");
        }
    }
}
