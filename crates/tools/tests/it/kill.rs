//! A process that writes is killed, `kill -9`, while its upstream works, before and after it did what
//! it was asked; and between two answers. The next process goes on: nothing is written twice, and what
//! was acknowledged was written and has its receipt.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bulkhead_tools::{Parts, Progress, Settings, ToolKeys, Tools, UpstreamKind};
use gate::{Gate, Policies};
use ids::{AccountId, ManualClock, Millis, OsEntropy, RandomId, System};
use parking_lot::Mutex;
use records::Recorder;
use reviews::Reviews;
use scope::{Scope, Write};
use serde_json::json;
use store::{Options, Store};
use testkit::Kit;
use vault::{FileRoot, SecretText, Vault};

use super::{
    standin::{HttpStandIn, Seen, json_reply, whole},
    world::{Told, ask, contract_of, system, upstream},
};

/// Where the child works, and against which upstream, and the how many-th it is.
const DIRECTORY: &str = "BULKHEAD_TEST_KILL_DIRECTORY";
const UPSTREAM: &str = "BULKHEAD_TEST_KILL_UPSTREAM";
const ROUND: &str = "BULKHEAD_TEST_KILL_ROUND";
/// How many writes there are in all.
const WRITES: u64 = 24;

fn settings(address: SocketAddr) -> Settings {
    let refund = r#"
        name = "refund"
        upstream = "crm"
        effect = "destructive"
        mode = "execute"
        bind = { "/account_id" = "account" }
        owner = [{ owner = "/account_id" }]
        request = { method = "POST", path = "/refunds" }
        parameters = { type = "object", properties = { amount = { type = "integer" }, account_id = { type = "string" } } }
        reconcile = { tool = "get_refund", arguments = { "/amount" = "argument:/amount" }, holds = [{ path = "$.amount", equals = { from = "argument:/amount" } }] }
    "#;
    let read = r#"
        name = "get_refund"
        upstream = "crm"
        effect = "read"
        bind = { "/account_id" = "account" }
        owner = [{ owner = "/account_id" }]
        request = { method = "GET", path = "/refunds/{amount}", query = { account_id = "account_id" } }
        parameters = { type = "object", properties = { amount = { type = "integer" }, account_id = { type = "string" } } }
    "#;
    let upstreams = vec![upstream(UpstreamKind::Http, &format!("http://{address}/api"))];
    Settings {
        upstreams,
        contracts: vec![contract_of(refund), contract_of(read)],
        ..Settings::default()
    }
}

struct Process {
    tools: Tools,
    gate: Gate,
    scope: Scope<Write>,
}

impl Process {
    async fn open(directory: &Path, address: SocketAddr, round: u64) -> Self {
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        // The same registry in every process; only time goes on.
        let kit = Kit::new(clock.clone()).await;
        let (account, crm) =
            (AccountId::parse("acct_acme").unwrap(), System::parse("crm").unwrap());
        kit.change("acme", |record| drop(record.accounts.insert(crm, vec![account]))).await;
        // Longer than an upstream is given, so that what it was asked can be told not done.
        clock.advance(Duration::from_secs(900 * round));
        let root = directory.join("root.key");
        let keys = directory.join("keys");
        let entropy = Arc::new(OsEntropy);
        let vault = if round == 0 {
            let root = FileRoot::create(root, &OsEntropy).unwrap();
            Vault::create(&keys, root, clock.clone(), entropy.clone()).await.unwrap()
        } else {
            Vault::open(&keys, FileRoot::new(root), clock.clone(), entropy.clone()).await.unwrap()
        };
        let store = Store::open(&Options::new(directory.join("data")), clock.clone()).unwrap();
        let options = records::Options::default();
        let recorder = Recorder::open(options, &store, &vault, clock.clone(), &OsEntropy).unwrap();
        let (audit, policies) = (kit.audit.clone(), Policies::built_in());
        let gate = Gate::new(policies, Vec::new(), recorder, audit.clone(), clock.clone());
        let credentials = vault.credentials(&store);
        let reviews = Reviews::open(
            reviews::Settings::default(),
            &store,
            &vault,
            system(),
            clock.clone(),
            entropy.clone(),
            Arc::new(Told::default()),
        )
        .unwrap();
        let mut want = Kit::ask("acme", "live", "support");
        want.run = Some("run-1".parse().unwrap());
        let minted = kit.doors.exchange(&kit.service().await, want).await.unwrap();
        let scope = kit.authenticate(&minted.secret).await.unwrap();
        let secret = SecretText::parse("crm-acme-live-0123456789".to_owned()).unwrap();
        credentials.of(&scope).set(&"crm".parse().unwrap(), None, secret, false).await.unwrap();
        let parts = Parts {
            store,
            vault,
            credentials,
            reviews,
            doors: kit.doors.clone(),
            audit,
            assertion_keys: ToolKeys::assertions([&[5; 32]]),
            receipt_keys: ToolKeys::receipts([&[6; 32]]),
            issuer: testkit::ISSUER.to_owned(),
            clock,
            entropy,
            system: system(),
        };
        Self { tools: Tools::open(settings(address), parts).unwrap(), gate, scope }
    }

    async fn refund(&self, amount: u64) -> Result<RandomId, bulkhead_tools::Error> {
        let (tools, scope) = (&self.tools, &self.scope);
        let prepared =
            tools.prepare(scope, ask("refund", &json!({"amount": amount}).to_string()))?;
        let hop = prepared.hop(scope);
        let call = |pass| tools.call(scope, pass, prepared, Progress::none());
        Ok(self.gate.pass(scope, hop, call).await?.receipt.unwrap().intent)
    }
}

/// What runs in the process that is killed. Nothing, where nobody says where.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let address = std::env::var(UPSTREAM).unwrap().parse().unwrap();
    let round = std::env::var(ROUND).unwrap().parse().unwrap();
    let process = Process::open(Path::new(&directory), address, round).await;
    process.tools.resume(&system()).await.unwrap();
    for first in (0..WRITES).step_by(3) {
        let three = [first, first + 1, first + 2];
        let done = futures_util::future::join_all(three.map(|n| process.refund(n))).await;
        for (amount, done) in three.into_iter().zip(done) {
            let intent = done.unwrap();
            assert_eq!(process.tools.receipt(&process.scope, intent).await.unwrap().intent, intent);
            println!("\nacknowledged {amount} {intent}");
        }
    }
}

/// When the child is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    /// At this write of the round, before it is done, or after.
    AtWrite {
        nth: u64,
        done: bool,
    },
    /// Once so many were acknowledged.
    Acknowledged(u64),
    Never,
}

#[derive(Default)]
struct Upstream {
    /// How often each amount was refunded.
    done: BTreeMap<u64, u64>,
    /// Writes of this round.
    writes: u64,
    kill: Option<Kill>,
    child: Option<Child>,
}

impl Upstream {
    fn end(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
        }
    }

    fn answer(&mut self, seen: &Seen) -> axum::response::Response {
        let record = |amount| json_reply(&json!({"account_id": "acct_acme", "amount": amount}));
        if seen.method == "GET" {
            let amount = seen.path.rsplit('/').next().unwrap().parse().unwrap();
            return match self.done.contains_key(&amount) {
                true => record(amount),
                false => whole(404, "application/json", "{}"),
            };
        }
        let amount = seen.json()["amount"].as_u64().unwrap();
        let nth = self.writes;
        self.writes += 1;
        if self.kill == Some(Kill::AtWrite { nth, done: false }) {
            self.end();
            return whole(500, "application/json", "{}");
        }
        *self.done.entry(amount).or_default() += 1;
        if self.kill == Some(Kill::AtWrite { nth, done: true }) {
            self.end();
        }
        record(amount)
    }
}

/// Reads what a child acknowledges, until it ends.
fn listen(said: ChildStdout, upstream: &Mutex<Upstream>) -> Vec<(u64, RandomId)> {
    let mut acknowledged = Vec::new();
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        let Some(rest) = line.strip_prefix("acknowledged ") else { continue };
        let (amount, intent) = rest.split_once(' ').unwrap();
        acknowledged.push((amount.parse().unwrap(), RandomId::parse(intent).unwrap()));
        let mut upstream = upstream.lock();
        if upstream.kill == Some(Kill::Acknowledged(acknowledged.len() as u64)) {
            upstream.end();
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_writes_nothing_twice_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = HttpStandIn::new().await;
    let upstream = Arc::<Mutex<Upstream>>::default();
    let answering = Arc::clone(&upstream);
    server.answers(move |_, seen| answering.lock().answer(seen));
    let kills = [
        Kill::AtWrite { nth: 0, done: false },
        Kill::AtWrite { nth: 0, done: true },
        Kill::AtWrite { nth: 4, done: true },
        Kill::Acknowledged(7),
        Kill::AtWrite { nth: 2, done: false },
        Kill::Acknowledged(13),
        Kill::AtWrite { nth: 3, done: true },
        Kill::Never,
    ];
    let mut known = BTreeMap::new();
    for (round, kill) in kills.into_iter().enumerate() {
        let said = {
            let mut upstream = upstream.lock();
            (upstream.writes, upstream.kill) = (0, Some(kill));
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["it::kill::child", "--exact", "--nocapture"])
                .env(DIRECTORY, directory.path())
                .env(UPSTREAM, server.address().to_string())
                .env(ROUND, round.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let said = child.stdout.take().unwrap();
            upstream.child = Some(child);
            said
        };
        let listening = Arc::clone(&upstream);
        let heard = tokio::task::spawn_blocking(move || listen(said, &listening)).await.unwrap();
        let mut upstream = upstream.lock();
        let ended = upstream.child.take().unwrap().wait().unwrap();
        assert_eq!(ended.success(), kill == Kill::Never, "{kill:?}: {ended}");
        for (amount, intent) in heard {
            assert_eq!(upstream.done.get(&amount), Some(&1), "{kill:?}: {amount}");
            // The first receipt, in every process.
            assert_eq!(*known.entry(amount).or_insert(intent), intent, "{kill:?}: {amount}");
        }
        let twice: Vec<_> = upstream.done.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{kill:?}: {twice:?}");
    }
    assert_eq!(known.len() as u64, WRITES);
    assert_eq!(upstream.lock().done.len() as u64, WRITES);
}
