//! What every test here stands on.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bulkhead_reviews::{
    Decision, Finding, Kind, New, Notice, Notify, Review, Reviews, Settings, State, Wanted,
};
use ids::{Clock as _, Environment, ManualClock, Millis, OsEntropy, RandomId, TenantId};
use scope::{Maintenance, Right, Scope, SystemScope, Write};
use store::{Options, Store};
use testkit::Kit;
use vault::{FileRoot, Vault};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const ARGUMENTS: &[u8] = br#"{"amount":500,"to":"canary-5d1e"}"#;
pub(crate) const DIGEST: [u8; 32] = [1; 32];
pub(crate) const POLICY: [u8; 32] = [2; 32];
/// Of whoever uses an approval.
pub(crate) const INTENT: RandomId = RandomId::from_bytes([3; 16]);
pub(crate) const WANTED: Wanted<'static> =
    Wanted { what: "crm.refund", digest: DIGEST, policy: POLICY, account: None, intent: INTENT };

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<Notice>>);

impl Notify for Told {
    fn opened(&self, _: &TenantId, notice: Notice) {
        self.0.lock().unwrap().push(notice);
    }
}

impl Told {
    pub(crate) fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) vault: Vault,
    pub(crate) store: Store,
    pub(crate) told: Arc<Told>,
    pub(crate) reviews: Reviews,
    settings: Settings,
    ada: String,
    bob: String,
    directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let kit = Kit::new(clock.clone()).await;
        let ada = kit.registry.add_operator("ada", &[Right::Enter, Right::Write]);
        let bob = kit.registry.add_operator("bob", &[Right::Enter, Right::Write]);
        let told = Arc::new(Told::default());
        let store =
            Store::open(&Options::new(directory.path().join("data")), clock.clone()).unwrap();
        let reviews = open(&settings, &store, &vault, &clock, &told);
        Self { kit, clock, vault, store, told, reviews, settings, ada, bob, directory }
    }

    /// What a restart leaves: what is in the files.
    pub(crate) async fn restart(&mut self) {
        self.store.close().await.unwrap();
        self.store = Store::open(&Options::new(self.data()), self.clock.clone()).unwrap();
        self.reviews = open(&self.settings, &self.store, &self.vault, &self.clock, &self.told);
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    pub(crate) async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    /// A token of acme's on behalf of an end user, in a run.
    pub(crate) async fn for_subject(&self, run: &str, subject: Option<&str>) -> Scope<Write> {
        let mut ask = Kit::ask("acme", "live", "support");
        ask.run = Some(run.parse().unwrap());
        ask.subject = subject.map(|subject| subject.parse().unwrap());
        let minted = self.kit.doors.exchange(&self.kit.service().await, ask).await.unwrap();
        self.kit.authenticate(&minted.secret).await.unwrap()
    }

    /// A person of acme's, by a credential that no agent has.
    pub(crate) async fn approver(&self) -> Scope<Write> {
        self.kit.scope_for("acme", "live", "approvals").await
    }

    /// An operator within acme.
    pub(crate) async fn ada(&self) -> Scope<Write> {
        self.enter(&self.ada).await
    }

    /// Another one.
    pub(crate) async fn bob(&self) -> Scope<Write> {
        self.enter(&self.bob).await
    }

    async fn enter(&self, secret: &str) -> Scope<Write> {
        self.enter_in("acme", secret).await
    }

    /// The first operator, within another tenant.
    pub(crate) async fn ada_in(&self, tenant: &str) -> Scope<Write> {
        self.enter_in(tenant, &self.ada).await
    }

    async fn enter_in(&self, tenant: &str, secret: &str) -> Scope<Write> {
        let live = Environment::parse("live").unwrap();
        let operator = self.kit.doors.operator(secret).await.unwrap();
        operator.enter_to_write(tenant, &live, "review.decide", "it", "a test").await.unwrap()
    }

    pub(crate) fn asked(&self) -> New {
        asked(self.clock.now().plus(HOUR))
    }

    pub(crate) async fn ask(&self, scope: &Scope<Write>) -> Review {
        self.reviews.of(scope).ask(self.asked()).await.unwrap()
    }

    /// Asked by acme, and approved by an operator.
    pub(crate) async fn approved(&self) -> Review {
        let review = self.ask(&self.acme().await).await;
        self.approve(&self.ada().await, review.id).await.unwrap()
    }

    pub(crate) async fn approve(
        &self,
        who: &Scope<Write>,
        id: RandomId,
    ) -> Result<Review, bulkhead_reviews::Error> {
        self.reviews.of(who).decide(id, decision(who, true)).await
    }

    /// Asked under this scope, to be carried out by Bulkhead itself, and approved by an operator.
    pub(crate) async fn approved_with_mandate(&self, asker: &Scope<Write>) -> Review {
        let mandate = self.kit.doors.mandate(asker, "tool.execute", HOUR).unwrap();
        let new = New { mandates: vec![mandate], ..self.asked() };
        let review = self.reviews.of(asker).ask(new).await.unwrap();
        let ada = self.ada_in(asker.tenant().as_str()).await;
        self.approve(&ada, review.id).await.unwrap()
    }

    pub(crate) async fn state(&self, id: RandomId) -> State {
        self.reviews.of(&self.acme().await).record(id).await.unwrap().state
    }
}

fn open(
    settings: &Settings,
    store: &Store,
    vault: &Vault,
    clock: &Arc<ManualClock>,
    told: &Arc<Told>,
) -> Reviews {
    let entropy = Arc::new(OsEntropy);
    let (clock, told) = (clock.clone(), told.clone());
    Reviews::open(settings.clone(), store, vault, system(), clock, entropy, told).unwrap()
}

/// An approval of a write that may be decided and used until then.
pub(crate) fn asked(expires: Millis) -> New {
    New {
        kind: Kind::Approval,
        what: "crm.refund".into(),
        upstream: Some("crm".parse().unwrap()),
        account: None,
        payload: ARGUMENTS.to_vec(),
        digest: DIGEST,
        policy: POLICY,
        reason: "above 100".into(),
        four_eyes: false,
        expires,
        mandates: Vec::new(),
        intent: None,
    }
}

pub(crate) fn decision(who: &Scope<Write>, approve: bool) -> Decision {
    Decision { by: who.actor().to_string(), approve, reason: None, digest: DIGEST }
}

pub(crate) fn finding(who: &Scope<Write>, done: bool) -> Finding {
    Finding { by: who.actor().to_string(), done, reason: None, digest: DIGEST }
}

#[expect(clippy::disallowed_methods, reason = "a test of what operators see")]
pub(crate) const fn system() -> SystemScope {
    SystemScope::claim(Maintenance::Administration)
}
