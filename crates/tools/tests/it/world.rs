//! What every test here stands on: real doors, vault, store, reviews and gate.
#![allow(dead_code, reason = "shared with the unit tests, each of which needs a part of it")]

use std::{net::SocketAddr, sync::Arc};

use bulkhead_tools::{
    Answer, Ask, Auth, Contract, Effect, Error, Parts, Progress, Settings, Timeouts, ToolKeys,
    Tools, Upstream, UpstreamKind,
};
use bytes::Bytes;
use gate::{Gate, Policies};
use ids::{AccountId, ManualClock, Millis, OsEntropy, RequestId, System, TenantId};
use records::{Filter, Recorded, Recorder};
use reviews::{Notice, Notify, Reviews};
use scope::{Maintenance, Scope, SystemScope, Write};
use store::{Options, Store};
use testkit::Kit;
use vault::{Credentials, FileRoot, SecretText, Vault};

/// A timeout that no test waits for.
pub(crate) const LONG: u64 = 600_000;

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) vault: Vault,
    pub(crate) store: Store,
    pub(crate) credentials: Credentials,
    pub(crate) reviews: Reviews,
    pub(crate) told: Arc<Told>,
    pub(crate) gate: Gate,
    pub(crate) recorder: Recorder,
    pub(crate) directory: tempfile::TempDir,
}

/// Whoever is told of reviews, here: a list.
#[derive(Debug, Default)]
pub(crate) struct Told(pub(crate) parking_lot::Mutex<Vec<Notice>>);

impl Notify for Told {
    fn opened(&self, _: &TenantId, notice: Notice) {
        self.0.lock().push(notice);
    }
}

impl World {
    /// Tenants `acme` and `globex`, each with environments `live` and `staging`, an account
    /// `acct_{tenant}_{environment}`… of which both are in system `crm`, and a credential for
    /// upstream `crm` in each: [`secret_of`].
    pub(crate) async fn new() -> Self {
        Self::under(Policies::built_in()).await
    }

    pub(crate) async fn under(policies: Policies) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let data = directory.path().join("data");
        let store = Store::open(&Options::new(data), clock.clone()).unwrap();
        let kit = Kit::new(clock.clone()).await;
        let options = records::Options { linger_ms: 0, ..records::Options::default() };
        let recorder = Recorder::open(options, &store, &vault, clock.clone(), &OsEntropy).unwrap();
        let audit = kit.audit.clone();
        let gate = Gate::new(policies, Vec::new(), recorder.clone(), audit, clock.clone());
        let credentials = vault.credentials(&store);
        let told = Arc::new(Told::default());
        let reviews = Reviews::open(
            reviews::Settings::default(),
            &store,
            &vault,
            system(),
            clock.clone(),
            Arc::new(OsEntropy),
            told.clone(),
        )
        .unwrap();
        let world = Self {
            kit,
            clock,
            vault,
            store,
            credentials,
            reviews,
            told,
            gate,
            recorder,
            directory,
        };
        for tenant in ["acme", "globex"] {
            world.set_accounts(tenant, &[&account_of(tenant)]).await;
            for environment in ["live", "staging"] {
                let scope = world.kit.scope(tenant, environment).await;
                world.set_secret(&scope, "crm", &secret_of(tenant, environment)).await;
            }
        }
        world
    }

    /// The tenant's accounts in system `crm`, from now on.
    pub(crate) async fn set_accounts(&self, tenant: &str, accounts: &[&str]) {
        let system = System::parse("crm").unwrap();
        let accounts = accounts.iter().map(|account| AccountId::parse(account).unwrap()).collect();
        self.kit.change(tenant, |record| drop(record.accounts.insert(system, accounts))).await;
    }

    pub(crate) async fn set_secret(&self, scope: &Scope<Write>, upstream: &str, secret: &str) {
        let secret = SecretText::parse(secret.to_owned()).unwrap();
        let upstream = upstream.parse().unwrap();
        self.credentials.of(scope).set(&upstream, None, secret, false).await.unwrap();
    }

    pub(crate) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    pub(crate) async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    /// A scope of this end user's.
    pub(crate) async fn subject(
        &self,
        tenant: &str,
        environment: &str,
        subject: Option<&str>,
    ) -> Scope<Write> {
        let mut ask = Kit::ask(tenant, environment, "support");
        ask.subject = subject.map(|subject| subject.parse().unwrap());
        let minted = self.kit.doors.exchange(&self.kit.service().await, ask).await.unwrap();
        self.kit.authenticate(&minted.secret).await.unwrap()
    }

    /// A scope of this run.
    pub(crate) async fn run(&self, tenant: &str, environment: &str, run: &str) -> Scope<Write> {
        let mut ask = Kit::ask(tenant, environment, "support");
        ask.run = Some(run.parse().unwrap());
        let minted = self.kit.doors.exchange(&self.kit.service().await, ask).await.unwrap();
        self.kit.authenticate(&minted.secret).await.unwrap()
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts {
            store: self.store.clone(),
            vault: self.vault.clone(),
            credentials: self.credentials.clone(),
            reviews: self.reviews.clone(),
            doors: self.kit.doors.clone(),
            audit: self.kit.audit.clone(),
            assertion_keys: ToolKeys::assertions([&[5; 32]]),
            receipt_keys: ToolKeys::receipts([&[6; 32]]),
            issuer: testkit::ISSUER.to_owned(),
            clock: self.clock.clone(),
            entropy: Arc::new(OsEntropy),
            system: system(),
        }
    }

    pub(crate) fn tools(&self, settings: Settings) -> Tools {
        Tools::open(settings, self.parts()).unwrap()
    }

    /// Through the gate, as the server does it.
    pub(crate) async fn call(
        &self,
        tools: &Tools,
        scope: &Scope<Write>,
        ask: Ask,
    ) -> Result<Answer, Error> {
        let prepared = tools.prepare(scope, ask)?;
        let hop = prepared.hop(scope);
        let progress = Progress::none();
        self.gate.pass(scope, hop, |pass| tools.call(scope, pass, prepared, progress)).await
    }

    /// How many answers were withheld, as the log of acme's live environment has it: so many, or more. Of
    /// what is answered like what is not there, that is written behind the answer.
    pub(crate) async fn withheld(&self, least: usize) -> usize {
        loop {
            let entries = self.kit.audit.of("acme/live");
            let withheld = |entry: &&scope::Entry| entry.action == "tool.result_out_of_scope";
            let found = entries.iter().filter(withheld).count();
            if found >= least {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn events(&self, scope: &Scope<Write>) -> Vec<Recorded> {
        self.recorder.flush().await;
        self.recorder.list(scope, &Filter::default()).await.unwrap()
    }
}

/// The deployment's own scope.
pub(crate) fn system() -> SystemScope {
    #[expect(clippy::disallowed_methods, reason = "as the deployment does it")]
    SystemScope::claim(Maintenance::Storage)
}

/// A call of `name`, whose arguments are this text.
pub(crate) fn ask(name: &str, arguments: &str) -> Ask {
    Ask {
        name: name.to_owned(),
        arguments: Bytes::copy_from_slice(arguments.as_bytes()),
        request: RequestId::draw(&OsEntropy),
        step: None,
        key: None,
        review: None,
    }
}

pub(crate) fn secret_of(tenant: &str, environment: &str) -> String {
    format!("crm-{tenant}-{environment}-0123456789")
}

pub(crate) fn account_of(tenant: &str) -> String {
    format!("acct_{tenant}")
}

/// An upstream `crm` of which no time-out is waited for.
pub(crate) fn upstream(kind: UpstreamKind, url: &str) -> Upstream {
    Upstream {
        id: "crm".parse().unwrap(),
        kind,
        url: url.to_owned(),
        system: None,
        auth: Auth::Bearer,
        timeouts: Timeouts { connect_ms: LONG, idle_ms: LONG, total_ms: LONG },
        max_response_bytes: 1 << 20,
        allow_plain_http: false,
        ca_file: None,
        openapi: None,
        resources: false,
        prompts: false,
        prompt_prefix: None,
        uris: bulkhead_tools::Uris::default(),
    }
}

/// An MCP server `crm` at this address.
pub(crate) fn mcp(address: SocketAddr) -> Upstream {
    upstream(UpstreamKind::Mcp, &format!("http://{address}/mcp"))
}

/// An HTTP API `crm` at this address.
pub(crate) fn http(address: SocketAddr) -> Upstream {
    upstream(UpstreamKind::Http, &format!("http://{address}/api"))
}

/// A contract of tool `name` of `crm`, of which nothing is held yet.
pub(crate) fn contract(name: &str, effect: Effect) -> Contract {
    let effect = match effect {
        Effect::Read => "read",
        Effect::Write => "write",
        Effect::Destructive => "destructive",
    };
    contract_of(&format!(
        "name = \"{name}\"\nupstream = \"crm\"\neffect = \"{effect}\"\nunverifiable = true\n"
    ))
}

/// A contract, as it stands in `bulkhead.toml`.
pub(crate) fn contract_of(text: &str) -> Contract {
    toml::from_str(text).unwrap()
}
