//! A gate with everything behind it that it has in a deployment.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bulkhead_gate::{Action, Admission, Coded, Error, Gate, Hop, Pass, Permit, Policies, Refusal};
use ids::{Clock as _, ManualClock, Millis, OsEntropy, RequestId};
use records::{Event, Filter, Recorder};
use scope::{Grants, Read, Scope, Write};
use store::{Options, Store};
use tempfile::TempDir;
use testkit::Kit;
use vault::{FileRoot, Vault};

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) recorder: Recorder,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_000)));
        let dir = TempDir::new().unwrap();
        let entropy = Arc::new(OsEntropy);
        let root = FileRoot::create(dir.path().join("root.key"), &OsEntropy).unwrap();
        let keys = dir.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), entropy).await.unwrap();
        let store = Store::open(&Options::new(dir.path().join("data")), clock.clone()).unwrap();
        let options = records::Options { linger_ms: 0, ..records::Options::default() };
        let recorder = Recorder::open(options, &store, &vault, clock.clone(), &OsEntropy).unwrap();
        let kit = Kit::new(clock.clone()).await;
        Self { kit, clock, recorder, dir }
    }

    pub(crate) fn gate(&self, policies: Policies, admissions: Vec<Arc<dyn Admission>>) -> Gate {
        let audit = self.kit.audit.clone();
        Gate::new(policies, admissions, self.recorder.clone(), audit, self.clock.clone())
    }

    /// A gate with this policy and nothing else.
    pub(crate) fn ruled(&self, policy: &str) -> Gate {
        self.gate(Policies::load(&self.file(policy)).unwrap(), Vec::new())
    }

    pub(crate) fn file(&self, policy: &str) -> PathBuf {
        let path = self.dir.path().join("policy.cedar");
        std::fs::write(&path, policy).unwrap();
        path
    }

    /// A scope with these grants only.
    pub(crate) async fn granted(&self, tenant: &str, grants: &str) -> Scope<Write> {
        let mut ask = Kit::ask(tenant, "live", "support");
        ask.grants = Some(Grants::parse(grants).unwrap());
        let token = self.kit.doors.exchange(&self.kit.service().await, ask).await.unwrap();
        self.kit.authenticate(&token.secret).await.unwrap()
    }

    pub(crate) async fn events(&self, scope: &Scope<Write>) -> Vec<Event> {
        self.recorder.flush().await;
        let listed = self.recorder.list(scope, &Filter::default()).await.unwrap();
        listed.into_iter().map(|recorded| recorded.event).collect()
    }

    /// The one event that there must be.
    pub(crate) async fn event(&self, scope: &Scope<Write>) -> Event {
        let mut events = self.events(scope).await;
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }
}

pub(crate) fn chat() -> Hop {
    let hop = Hop::model(Action::Chat, "gpt-5", RequestId::draw(&OsEntropy));
    hop.provider("openai".parse().unwrap())
}

/// What a surface fails with.
#[derive(Debug)]
pub(crate) enum Failed {
    Gate(Error),
    Surface(&'static str),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Gate(error)
    }
}

impl Coded for Failed {
    fn code(&self) -> &'static str {
        match self {
            Self::Gate(error) => error.code(),
            Self::Surface(code) => code,
        }
    }
}

/// A surface that answers at once.
pub(crate) async fn done(pass: Pass) -> Result<(), Failed> {
    pass.complete();
    Ok(())
}

/// What the gate says about a hop: `ok`, or the code.
pub(crate) async fn says(gate: &Gate, scope: &Scope<Write>, hop: Hop) -> &'static str {
    match gate.pass(scope, hop, done).await {
        Ok(()) => "ok",
        Err(failed) => failed.code(),
    }
}

/// An admission that counts who asks, and refuses beyond so many.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) asked: AtomicUsize,
    pub(crate) allowed: usize,
}

impl Counting {
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Admission for Counting {
    fn admit(&self, _scope: &Scope<Read>, _hop: &Hop) -> Result<Permit, Refusal> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.allowed {
            return Ok(Permit::free());
        }
        Err(Refusal { code: "limit.test", message: "enough", retry_after: None })
    }
}
