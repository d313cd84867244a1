//! For tests only: the real doors, with real keys and real tokens, over a registry in memory.
//!
//! There is no way around the doors here either: a scope for a test comes from a token that
//! the exchange minted and [`scope::Doors::authenticate`] verified. `cargo xtask check` lets
//! this crate be a dev-dependency only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use ids::{BoxFuture, Clock, Entropy, Environment, Millis, OsEntropy, RandomId, TenantId};
use parking_lot::Mutex;
use scope::{
    ApiKeyRecord, AuditSink, Digest, Digester, Directory, Doors, Entry, EnvironmentRecord,
    Exchange, Grants, Issuer, Kind, Listed, Minted, OperatorRecord, Presented, Revoked, Right,
    RunGrantRecord, Scope, Secret, Service, ServiceRecord, Settings, SigningKey, Source, Status,
    SystemScope, TenantRecord, TokenKeys, Unavailable, Want, Write,
};
use zeroize::Zeroizing;

/// The `iss` of the tokens of a [`Kit`].
pub const ISSUER: &str = "https://bulkhead.test";
/// Their `aud`.
pub const AUDIENCE: &str = "bulkhead:test";
/// The grants of scopes that [`Kit::scope`] gives.
pub const GRANTS: &str =
    "model:* cache:* state:* memory:* memory:subjects records:* audit:* queue:* tools:*";

/// Doors over a registry in memory.
pub struct Kit {
    /// The doors.
    pub doors: Arc<Doors>,
    /// What they look things up in.
    pub registry: Arc<Registry>,
    /// What they recorded.
    pub audit: Arc<Heard>,
    keys: Arc<TokenKeys>,
    service: String,
}

impl Kit {
    /// Tenants `acme` and `globex`, each with environments `live` and `staging`.
    pub async fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_issuers(clock, Vec::new()).await
    }

    /// The same, trusting these issuers too.
    pub async fn with_issuers(clock: Arc<dyn Clock>, issuers: Vec<Issuer>) -> Self {
        let entropy = OsEntropy;
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        let registry = Arc::new(Registry { digester: digester(), ..Registry::default() });
        for tenant in ["acme", "globex"] {
            registry.add_tenant(tenant, &["live", "staging"], clock.now());
        }
        let audit = Arc::new(Heard::default());
        let keys = unwrap(TokenKeys::new(vec![SigningKey::from_seed(&seed)]));
        let doors = Doors::open(
            Settings {
                issuer: ISSUER.into(),
                audience: AUDIENCE.into(),
                keys: Arc::clone(&keys),
                digester: digester(),
                mandate_key: Zeroizing::new([7; 32]),
                issuers,
            },
            Arc::clone(&registry) as Arc<dyn Directory>,
            Arc::clone(&audit) as Arc<dyn AuditSink>,
            clock,
            Arc::new(entropy),
        );
        let all = Listed::from_names(vec!["*".into()]);
        let service = registry.add_service("backend", all.clone(), all, GRANTS);
        Self { doors, registry, audit, keys, service }
    }

    /// The keys that sign the tokens.
    #[must_use]
    pub fn keys(&self) -> &TokenKeys {
        &self.keys
    }

    /// The proven service credential that [`Kit::mint`] uses: it may mint for everybody.
    pub async fn service(&self) -> Service {
        unwrap(self.doors.service(&self.service).await)
    }

    /// An ask for a tenant token with [`GRANTS`].
    #[must_use]
    pub fn ask<'a>(tenant: &'a str, environment: &str, workflow: &str) -> Exchange<'a> {
        Exchange {
            source: Source::Tenant(tenant),
            want: Want::Token,
            environment: Some(unwrap(environment.parse())),
            workflow: Some(unwrap(workflow.parse())),
            run: None,
            agent: None,
            subject: None,
            grants: Some(unwrap(Grants::parse(GRANTS))),
            life: None,
        }
    }

    /// A tenant token.
    pub async fn mint(&self, tenant: &str, environment: &str, workflow: &str) -> Minted {
        let ask = Self::ask(tenant, environment, workflow);
        unwrap(self.doors.exchange(&self.service().await, ask).await)
    }

    /// A scope, by a token of workflow `support`.
    pub async fn scope(&self, tenant: &str, environment: &str) -> Scope<Write> {
        self.scope_for(tenant, environment, "support").await
    }

    /// A scope, by a token of this workflow.
    pub async fn scope_for(&self, tenant: &str, env: &str, workflow: &str) -> Scope<Write> {
        let token = self.mint(tenant, env, workflow).await;
        unwrap(self.authenticate(&token.secret).await)
    }

    /// Presents one credential.
    ///
    /// # Errors
    /// What the doors say.
    pub async fn authenticate(&self, credential: &str) -> Result<Scope<Write>, scope::Error> {
        let presented = Presented { credentials: vec![credential], claims: Vec::new() };
        self.doors.authenticate(&presented).await
    }

    /// Changes a tenant's record and tells the doors.
    pub async fn change(&self, tenant: &str, change: impl FnOnce(&mut TenantRecord)) {
        let id = unwrap(TenantId::parse(tenant));
        self.registry.change(&id, change);
        unwrap(self.doors.refresh(&id).await);
    }

    /// Voids everything that was minted for a tenant.
    pub async fn bump_epoch(&self, tenant: &str) {
        self.change(tenant, |record| record.epoch += 1).await;
    }

    /// Revokes one credential and all that descend from it.
    pub async fn revoke(&self, tenant: &str, id: RandomId) {
        let until = Millis(u64::MAX);
        self.change(tenant, |record| record.revoked.push(Revoked { id, until })).await;
    }
}

fn digester() -> Digester {
    Digester::new(Zeroizing::new([9; 32]))
}

fn unwrap<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| unreachable!("the kit's own set-up: {error}"))
}

/// A registry in memory.
pub struct Registry {
    digester: Digester,
    tenants: Mutex<BTreeMap<TenantId, TenantRecord>>,
    keys: Mutex<HashMap<Digest, ApiKeyRecord>>,
    services: Mutex<HashMap<Digest, ServiceRecord>>,
    operators: Mutex<HashMap<Digest, OperatorRecord>>,
    grants: Mutex<HashMap<Digest, RunGrantRecord>>,
    spent: Mutex<HashMap<RandomId, Millis>>,
    /// While set, every look-up fails.
    pub down: std::sync::atomic::AtomicBool,
    /// While set, others have their turn before a tenant's record is read.
    pub slow: std::sync::atomic::AtomicBool,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            digester: digester(),
            tenants: Mutex::default(),
            keys: Mutex::default(),
            services: Mutex::default(),
            operators: Mutex::default(),
            grants: Mutex::default(),
            spent: Mutex::default(),
            down: false.into(),
            slow: false.into(),
        }
    }
}

impl Registry {
    /// Adds a tenant with these environments.
    pub fn add_tenant(&self, tenant: &str, environments: &[&str], now: Millis) {
        let id = unwrap(TenantId::parse(tenant));
        let record = TenantRecord {
            id: id.clone(),
            revision: 1,
            aliases: vec![unwrap(format!("org_{tenant}").parse())],
            status: Status::Active,
            epoch: now.secs().saturating_sub(3_600),
            named_since: 0,
            environments: environments
                .iter()
                .map(|name| EnvironmentRecord { name: unwrap(Environment::parse(name)) })
                .collect(),
            accounts: BTreeMap::new(),
            revoked: Vec::new(),
            created: now,
        };
        self.tenants.lock().insert(id, record);
    }

    /// Adds a service credential and gives its secret.
    pub fn add_service(
        &self,
        name: &str,
        tenants: Listed,
        environments: Listed,
        grants: &str,
    ) -> String {
        let secret = Secret::draw(Kind::Service, &OsEntropy);
        let record = ServiceRecord {
            name: unwrap(name.parse()),
            tenants,
            environments,
            workflows: Listed::from_names(vec!["*".into()]),
            grants: unwrap(Grants::parse(grants)),
            created: Millis(0),
            expires: None,
            revoked: false,
        };
        self.services.lock().insert(self.digester.digest(secret.expose()), record);
        secret.expose().to_owned()
    }

    /// Adds an API key and gives its secret.
    pub fn add_key(&self, tenant: &str, environment: &str, expires: Option<Millis>) -> String {
        let secret = Secret::draw(Kind::ApiKey, &OsEntropy);
        let tenant = unwrap(TenantId::parse(tenant));
        let epoch = self.tenants.lock().get(&tenant).map_or(0, |record| record.epoch);
        let record = ApiKeyRecord {
            id: secret.id(),
            prefix: secret.prefix().to_owned(),
            tenant,
            environment: unwrap(environment.parse()),
            workflow: unwrap("support".parse()),
            grants: unwrap(Grants::parse(GRANTS)),
            epoch,
            created: Millis(0),
            expires,
            revoked: false,
        };
        self.keys.lock().insert(self.digester.digest(secret.expose()), record);
        secret.expose().to_owned()
    }

    /// Adds an operator and gives the secret.
    pub fn add_operator(&self, name: &str, rights: &[Right]) -> String {
        let secret = Secret::draw(Kind::Operator, &OsEntropy);
        let record = OperatorRecord {
            name: unwrap(name.parse()),
            rights: rights.to_vec(),
            created: Millis(0),
            expires: None,
            revoked: false,
        };
        self.operators.lock().insert(self.digester.digest(secret.expose()), record);
        secret.expose().to_owned()
    }

    /// Changes a tenant's record; the doors learn of it by `refresh`.
    pub fn change(&self, tenant: &TenantId, change: impl FnOnce(&mut TenantRecord)) {
        if let Some(record) = self.tenants.lock().get_mut(tenant) {
            change(record);
            record.revision += 1;
        }
    }

    /// Mandates that were redeemed.
    pub fn spent(&self) -> HashMap<RandomId, Millis> {
        self.spent.lock().clone()
    }

    /// Takes over which were redeemed before a restart.
    pub fn respend(&self, spent: HashMap<RandomId, Millis>) {
        self.spent.lock().extend(spent);
    }

    fn up<T>(&self, value: T) -> Result<T, Unavailable> {
        if self.down.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Unavailable("down, as the test wants it".into()));
        }
        Ok(value)
    }
}

impl Directory for Registry {
    fn tenant<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move {
            if self.slow.load(std::sync::atomic::Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            let tenants = self.tenants.lock();
            let by_alias = || {
                tenants.values().find(|record| record.aliases.iter().any(|a| a.as_str() == name))
            };
            self.up(tenants.get(name).or_else(by_alias).cloned())
        })
    }

    fn api_key<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, Unavailable>> {
        Box::pin(async move { self.up(self.keys.lock().get(digest).cloned()) })
    }

    fn service<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<ServiceRecord>, Unavailable>> {
        Box::pin(async move { self.up(self.services.lock().get(digest).cloned()) })
    }

    fn operator<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<OperatorRecord>, Unavailable>> {
        Box::pin(async move { self.up(self.operators.lock().get(digest).cloned()) })
    }

    fn run_grant<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<RunGrantRecord>, Unavailable>> {
        Box::pin(async move { self.up(self.grants.lock().get(digest).cloned()) })
    }

    fn keep_run_grant<'a>(
        &'a self,
        digest: &'a Digest,
        record: RunGrantRecord,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            self.grants.lock().insert(*digest, record);
            self.up(())
        })
    }

    fn spend<'a>(
        &'a self,
        id: &'a RandomId,
        until: Millis,
    ) -> BoxFuture<'a, Result<bool, Unavailable>> {
        Box::pin(async move { self.up(self.spent.lock().insert(*id, until).is_none()) })
    }
}

/// An audit sink that remembers: the tenant and environment of each entry, and the entry.
#[derive(Default)]
pub struct Heard {
    entries: Mutex<Vec<(String, Entry)>>,
    /// While set, nothing can be recorded.
    pub full: std::sync::atomic::AtomicBool,
}

impl Heard {
    /// Entries of one log: `acme/live`, or `deployment`.
    #[must_use]
    pub fn of(&self, log: &str) -> Vec<Entry> {
        let entries = self.entries.lock();
        entries.iter().filter(|(of, _)| of == log).map(|(_, entry)| entry.clone()).collect()
    }

    fn hear(&self, log: String, entry: Entry) -> Result<(), Unavailable> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Unavailable("full, as the test wants it".into()));
        }
        self.entries.lock().push((log, entry));
        Ok(())
    }
}

impl AuditSink for Heard {
    fn record<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        let log = format!("{}/{}", scope.tenant(), scope.environment());
        Box::pin(async move { self.hear(log, entry) })
    }

    fn record_deployment<'a>(
        &'a self,
        _system: &'a SystemScope,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move { self.hear("deployment".into(), entry) })
    }
}

/// The longest that a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
