//! What these tests stand on: a deployment that can be cut off at any moment and opened again, and an
//! upstream that does what it is told to.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gate::{Gate, Policies};
use http::StatusCode;
use ids::{
    AccountId, BoxFuture, Entropy, ManualClock, Millis, OsEntropy, RandomId, RequestId, System,
    TenantId, json::Json,
};
use parking_lot::Mutex;
use records::Recorder;
use reviews::{Due, Notice, Notify, Reviews};
use scope::{Maintenance, Scope, SystemScope, Write};
use store::{Options, Store};
use testkit::Kit;
use vault::{FileRoot, Vault};

use crate::{
    Answer, Ask, Content, Error, Fault, FaultKind, Parts, Progress, Receipt, Settings, ToolKeys,
    Tools,
    catalog::Definition,
    contract,
    contract::Tool,
    outside::{Errand, Network},
    upstream::Reply,
};

const TOOLS: &str = r#"
    [[upstreams]]
    id = "crm"
    kind = "mcp"
    url = "http://127.0.0.1:9/mcp"

    # Can be looked up.
    [[contracts]]
    name = "refund"
    upstream = "crm"
    effect = "destructive"
    mode = "execute"
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]
    reconcile = { tool = "get_refund", arguments = { "/key" = "intent" }, holds = [{ path = "$.amount", equals = { from = "argument:/amount" } }] }

    [[contracts]]
    name = "get_refund"
    upstream = "crm"
    effect = "read"
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]

    # Cannot.
    [[contracts]]
    name = "note"
    upstream = "crm"
    effect = "write"
    mode = "execute"
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]

    # Knows a repetition when it sees one.
    [[contracts]]
    name = "charge"
    upstream = "crm"
    effect = "write"
    mode = "execute"
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]
    idempotency = { argument = "/key" }

    [[contracts]]
    name = "wire"
    upstream = "crm"
    effect = "write"
    mode = "approve"
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]
    approval = { execute = true, expires_seconds = 3600 }

    [[contracts]]
    name = "spend"
    upstream = "crm"
    effect = "write"
    mode = "execute"
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]
    approval = { amount = "/amount", above = 100.0 }

    # Has no mode.
    [[contracts]]
    name = "draft"
    upstream = "crm"
    effect = "write"
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]

    [[contracts]]
    name = "ledger"
    upstream = "crm"
    effect = "write"
    mode = "execute"
    workflows = ["billing"]
    bind = { "/account_id" = "account" }
    owner = [{ owner = "/account_id" }]

    [[workflows]]
    workflow = "careful"
    mode = "suggest"
"#;

pub(super) fn settings() -> Settings {
    toml::from_str(TOOLS).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "as the deployment does it")]
pub(super) fn system() -> SystemScope {
    SystemScope::claim(Maintenance::Storage)
}

/// When everything began.
const BEGAN: Millis = Millis::from_secs(1_795_000_000);
/// How long a call is waited for, in all.
pub(super) const TOTAL: Duration = Duration::from_secs(60);

/// What the upstream does with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Does it and says so.
    Answers,
    /// Does not, and says why.
    Refuses,
    /// Nothing goes out.
    Unreachable,
    /// The connection breaks, before or after it was done.
    Breaks { done: bool },
    /// An error of its own, before or after.
    Fails { done: bool },
    /// Does it, and answers with somebody else's record.
    Mixes,
    /// Never answers, before or after.
    Hangs { done: bool },
    /// Is given up on when the test says so, before it is done.
    Outlasts,
}

/// A write that was done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    pub(super) tenant: String,
    pub(super) tool: String,
    pub(super) intent: RandomId,
    pub(super) arguments: Json,
}

/// The upstream.
#[derive(Default)]
pub(super) struct Crm {
    /// What to do next; then it answers.
    pub(super) script: Mutex<VecDeque<Does>>,
    /// Intents in the order in which they were sent, with what became of them.
    pub(super) sent: Mutex<Vec<(RandomId, Does)>>,
    pub(super) done: Mutex<Vec<Done>>,
    /// What it still works on.
    working: Mutex<Vec<Done>>,
    /// Reads of whom do not come back.
    pub(super) hung: Mutex<Option<&'static str>>,
    /// Whoever waits is to give up.
    pub(super) given_up: tokio::sync::Notify,
    /// Reads do not answer.
    pub(super) blind: Mutex<bool>,
    /// So many reads answer as if nothing had been done.
    pub(super) lags: AtomicUsize,
    /// Whoever waits for something to be sent.
    pub(super) heard: tokio::sync::Notify,
}

impl Crm {
    pub(super) fn will(&self, does: impl IntoIterator<Item = Does>) {
        self.script.lock().extend(does);
    }

    pub(super) fn sends(&self) -> usize {
        self.sent.lock().len()
    }

    pub(super) fn writes(&self) -> usize {
        self.done.lock().len()
    }

    /// The same, at another moment: what was done stays done.
    fn copy(&self) -> Self {
        Self {
            sent: Mutex::new(self.sent.lock().clone()),
            done: Mutex::new(self.done.lock().clone()),
            working: Mutex::new(self.working.lock().clone()),
            ..Self::default()
        }
    }

    /// It comes to an end with what it still works on.
    pub(super) fn commits(&self) {
        self.done.lock().append(&mut self.working.lock());
    }

    fn read(&self, errand: Errand<'_>) -> Result<Reply, Error> {
        if *self.blind.lock() {
            return Err(Fault::unsent(FaultKind::Unreachable).into());
        }
        let key = errand.call.arguments.get("key").and_then(Json::as_str).unwrap_or_default();
        let lags = self.lags.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        let done = self.done.lock();
        let found = done.iter().find(|done| done.intent.to_string() == key && lags.is_err());
        let amount = found.and_then(|done| done.arguments.get("amount").cloned());
        let more = amount.map(|amount| ("amount".to_owned(), amount));
        Ok(own(errand.call.account.as_ref(), more))
    }
}

/// A record of this account.
fn own(account: Option<&AccountId>, more: Option<(String, Json)>) -> Reply {
    let account = account.map_or("acct_of_nobody", |account| account.as_str());
    let mut record = vec![("account_id".to_owned(), Json::String(account.to_owned()))];
    record.extend(more);
    let structured = ("structuredContent".to_owned(), Json::Object(record));
    let content = ("content".to_owned(), Json::Array(Vec::new()));
    Reply::of(Content::Mcp(Json::Object(vec![content, structured])))
}

impl Network for Crm {
    fn send<'a>(&'a self, errand: Errand<'a>) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let Some(intent) = errand.intent else {
                let hung = *self.hung.lock();
                if hung.is_some_and(|tenant| errand.scope.tenant().as_str() == tenant) {
                    self.heard.notify_one();
                    return std::future::pending().await;
                }
                return self.read(errand);
            };
            let does = self.script.lock().pop_front().unwrap_or(Does::Answers);
            self.sent.lock().push((intent, does));
            let done = Done {
                tenant: errand.scope.tenant().to_string(),
                tool: errand.tool.contract.name.clone(),
                intent,
                arguments: errand.call.arguments.clone(),
            };
            let knows = crate::write::execute::knows_repetitions(errand.tool);
            let is_done = match does {
                Does::Answers | Does::Mixes => true,
                Does::Refuses | Does::Unreachable | Does::Outlasts => false,
                Does::Breaks { done } | Does::Fails { done } | Does::Hangs { done } => done,
            };
            if is_done {
                let mut all = self.done.lock();
                if !(knows && all.iter().any(|known| known.intent == intent)) {
                    all.push(done);
                }
            } else if matches!(does, Does::Hangs { .. } | Does::Outlasts) {
                self.working.lock().push(done);
            }
            self.heard.notify_one();
            let failed = |status| {
                let body = bytes::Bytes::from_static(b"{}");
                Ok(Reply::of(Content::Http { status, content_type: None, body }))
            };
            match does {
                Does::Answers => {
                    let id = ("id".to_owned(), Json::String(format!("r-{}", intent.short())));
                    Ok(own(errand.call.account.as_ref(), Some(id)))
                }
                Does::Refuses => failed(StatusCode::UNPROCESSABLE_ENTITY),
                Does::Unreachable => Err(Fault::unsent(FaultKind::Unreachable).into()),
                Does::Breaks { .. } => Err(Fault::sent(FaultKind::Unreachable).into()),
                Does::Fails { .. } => failed(StatusCode::BAD_GATEWAY),
                Does::Mixes => Ok(own(Some(&"acct_of_others".parse().unwrap()), None)),
                Does::Hangs { .. } => std::future::pending().await,
                Does::Outlasts => {
                    self.given_up.notified().await;
                    Err(Fault::sent(FaultKind::Timeout).into())
                }
            }
        })
    }

    fn definition<'a>(
        &'a self,
        _: &'a Scope<Write>,
        _: &'a Arc<Tool>,
    ) -> BoxFuture<'a, Result<Definition, Error>> {
        Box::pin(async { Err(Error::Unknown) })
    }
}

/// Draws as the system does, and takes a picture of the disk first, if it is to.
#[derive(Default)]
pub(super) struct Watched {
    hook: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl Watched {
    pub(super) fn on_each(&self, hook: impl FnMut() + Send + 'static) {
        *self.hook.lock() = Some(Box::new(hook));
    }

    pub(super) fn off(&self) {
        *self.hook.lock() = None;
    }
}

impl Entropy for Watched {
    fn fill(&self, out: &mut [u8]) {
        if let Some(hook) = &mut *self.hook.lock() {
            hook();
        }
        OsEntropy.fill(out);
    }
}

#[derive(Debug, Default)]
pub(super) struct Told(pub(super) Mutex<Vec<Notice>>);

impl Notify for Told {
    fn opened(&self, _: &TenantId, notice: Notice) {
        self.0.lock().push(notice);
    }
}

/// What outlives every process.
pub(super) struct Ground {
    pub(super) clock: Arc<ManualClock>,
    pub(super) vault: Vault,
    pub(super) entropy: Arc<Watched>,
    pub(super) inbox: reviews::Settings,
    pictures: AtomicUsize,
    pub(super) kept: tempfile::TempDir,
}

/// One process over one data directory.
pub(super) struct Process {
    pub(super) kit: Kit,
    pub(super) store: Store,
    pub(super) reviews: Reviews,
    pub(super) told: Arc<Told>,
    pub(super) tools: Tools,
    pub(super) crm: Arc<Crm>,
    pub(super) directory: PathBuf,
    gate: Gate,
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Ground {
    pub(super) async fn new() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(BEGAN));
        let entropy = Arc::new(Watched::default());
        let root = FileRoot::create(kept.path().join("root.key"), &OsEntropy).unwrap();
        let keys = kept.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), entropy.clone()).await.unwrap();
        let inbox = reviews::Settings::default();
        Self { clock, vault, entropy, inbox, pictures: AtomicUsize::new(0), kept }
    }

    /// A process over a directory of its own that is empty.
    pub(super) async fn start(&self) -> Process {
        let nth = self.pictures.fetch_add(1, Ordering::SeqCst);
        let directory = self.kept.path().join(format!("data-{nth}"));
        self.start_in(&directory, Arc::default(), settings()).await
    }

    pub(super) async fn start_in(
        &self,
        directory: &Path,
        crm: Arc<Crm>,
        settings: Settings,
    ) -> Process {
        let store = Store::open(&Options::new(directory), self.clock.clone()).unwrap();
        let kit = Kit::new(self.clock.clone()).await;
        for tenant in ["acme", "globex"] {
            let account = format!("acct_{tenant}").parse().unwrap();
            let system = System::parse("crm").unwrap();
            kit.change(tenant, |record| {
                record.accounts.insert(system, vec![account]);
                // Whatever the time: what an earlier process wrote down holds in the next.
                record.epoch = BEGAN.secs();
            })
            .await;
        }
        let options = records::Options { linger_ms: 0, ..records::Options::default() };
        let (vault, clock) = (&self.vault, self.clock.clone());
        let recorder = Recorder::open(options, &store, vault, clock.clone(), &OsEntropy).unwrap();
        let policies = Policies::built_in();
        let gate = Gate::new(policies, Vec::new(), recorder, kit.audit.clone(), clock.clone());
        let told = Arc::new(Told::default());
        let entropy: Arc<dyn Entropy> = self.entropy.clone();
        let open = Reviews::open;
        let reviews = open(
            self.inbox.clone(),
            &store,
            vault,
            system(),
            clock.clone(),
            Arc::clone(&entropy),
            told.clone(),
        )
        .unwrap();
        let parts = Parts {
            store: store.clone(),
            vault: vault.clone(),
            credentials: vault.credentials(&store),
            reviews: reviews.clone(),
            doors: kit.doors.clone(),
            audit: kit.audit.clone(),
            assertion_keys: ToolKeys::assertions([&[5; 32]]),
            receipt_keys: ToolKeys::receipts([&[6; 32]]),
            issuer: testkit::ISSUER.to_owned(),
            clock,
            entropy,
            system: system(),
        };
        let table = contract::table(&settings).unwrap();
        let network = Arc::clone(&crm) as Arc<dyn Network>;
        let tools = Tools::over(settings, table, Arc::new(parts), (network, None)).unwrap();
        let directory = directory.to_owned();
        Process { kit, store, reviews, told, tools, crm, directory, gate }
    }

    /// The process is cut off: whoever runs in it is never told, and the next one starts from what
    /// is on the disk now.
    pub(super) async fn cut(&self, process: Process) -> Process {
        let nth = self.pictures.fetch_add(1, Ordering::SeqCst);
        let directory = self.kept.path().join(format!("data-{nth}"));
        copy(&process.directory, &directory);
        let crm = Arc::new(process.crm.copy());
        std::mem::forget(process);
        self.start_in(&directory, crm, settings()).await
    }
}

/// A picture of a disk and of the upstream at one moment.
pub(super) struct Picture {
    pub(super) directory: PathBuf,
    pub(super) crm: Arc<Crm>,
    /// Mandates that were redeemed by then.
    pub(super) spent: HashMap<RandomId, Millis>,
}

impl Process {
    /// Until the upstream has heard of a call that hangs there. Whoever asked is gone then, unless the
    /// call is lent.
    pub(super) async fn until_heard(&self, call: impl Future<Output = impl Sized>) {
        tokio::select! {
            _ = call => panic!("it hangs"),
            () = self.crm.heard.notified() => {}
        }
    }

    /// Takes a picture before every draw of randomness, of which there is one at each step: what is
    /// sealed has a nonce.
    pub(super) fn photographed(&self, ground: &Ground) -> Arc<Mutex<Vec<Picture>>> {
        let pictures = Arc::new(Mutex::new(Vec::new()));
        let (all, from, crm) = (pictures.clone(), self.directory.clone(), self.crm.clone());
        let registry = self.kit.registry.clone();
        let (root, mut nth) = (ground.kept.path().to_owned(), 0);
        let name = ground.pictures.fetch_add(1, Ordering::SeqCst);
        ground.entropy.on_each(move || {
            let directory = root.join(format!("picture-{name}-{nth}"));
            nth += 1;
            copy(&from, &directory);
            let (crm, spent) = (Arc::new(crm.copy()), registry.spent());
            all.lock().push(Picture { directory, crm, spent });
        });
        pictures
    }

    /// A scope of this run.
    pub(super) async fn run(&self, tenant: &str, run: &str) -> Scope<Write> {
        self.run_in(tenant, run, "support").await
    }

    pub(super) async fn run_in(&self, tenant: &str, run: &str, workflow: &str) -> Scope<Write> {
        let mut ask = Kit::ask(tenant, "live", workflow);
        ask.run = Some(run.parse().unwrap());
        let minted = self.kit.doors.exchange(&self.kit.service().await, ask).await.unwrap();
        self.kit.authenticate(&minted.secret).await.unwrap()
    }

    /// Through the gate, as the server does it.
    pub(super) async fn call(&self, scope: &Scope<Write>, ask: Ask) -> Result<Answer, Error> {
        let prepared = self.tools.prepare(scope, ask)?;
        self.go(scope, prepared).await
    }

    pub(super) async fn go(
        &self,
        scope: &Scope<Write>,
        prepared: crate::Prepared,
    ) -> Result<Answer, Error> {
        let (hop, tools) = (prepared.hop(scope), &self.tools);
        let call = |pass| tools.call(scope, pass, prepared, Progress::none());
        self.gate.pass(scope, hop, call).await
    }

    /// What is due by a review.
    pub(super) async fn due(&self, scope: &Scope<Write>, review: RandomId) -> Option<Due> {
        self.reviews.due(&system(), scope, review).await.unwrap()
    }

    /// Carries out what is due, as every start does.
    pub(super) async fn carries_out(&self) {
        self.tools.carry_out_due(&self.gate, &system()).await.unwrap();
    }

    pub(super) async fn receipts(&self, scope: &Scope<Write>) -> Vec<Receipt> {
        self.tools.receipts(scope, None, 100).await.unwrap()
    }

    /// Actions in a tenant's audit log.
    pub(super) fn log(&self, tenant: &str) -> Vec<String> {
        let entries = self.kit.audit.of(&format!("{tenant}/live"));
        entries.into_iter().map(|entry| entry.action).collect()
    }
}

/// A call.
pub(super) fn ask(name: &str, amount: u64) -> Ask {
    Ask {
        name: name.to_owned(),
        arguments: format!(r#"{{"amount":{amount}}}"#).into_bytes().into(),
        request: RequestId::draw(&OsEntropy),
        step: None,
        key: None,
        review: None,
    }
}

/// What a receipt says.
pub(super) fn claims(receipt: &Receipt) -> serde_json::Value {
    let payload = receipt.signed.split('.').nth(1).unwrap();
    serde_json::from_slice(&ids::text::unbase64url(payload).unwrap()).unwrap()
}
