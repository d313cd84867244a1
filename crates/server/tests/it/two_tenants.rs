//! The two-tenant model test: tenants and environments do what they like, at random, over every
//! surface there is, and nothing of one ever shows up with another.
//!
//! Every secret, prompt, answer and run is a canary that names its owner. The oracle below
//! knows who owns what and which credential should still be good; it is plain bookkeeping and
//! shares no code with what enforces anything.

mod acts;
mod points;
mod reviews;
mod surfaces;
mod tools;

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_server::routes::Plane;
use http::Method;
use ids::{Entropy as _, OsEntropy};
use serde_json::{Value, json};

use self::{points::Kept, reviews::Asked, surfaces::Thing, tools::Note};
use super::rig::{Reply, Rig, log};

const NAMES: [&str; 3] = ["alpha", "bravo", "carol"];
const PLACES: [&str; 2] = ["live", "staging"];
const GRANTS: [&str; 22] = [
    "model:chat",
    "model:models",
    "model:responses",
    "model:embeddings",
    "model:messages",
    "model:files",
    "cache:read",
    "cache:write",
    "state:read",
    "state:write",
    "memory:read",
    "memory:write",
    "memory:collections",
    "memory:subjects",
    "audit:read",
    "records:read",
    "tools:list",
    "tools:read",
    "tools:write",
    "tools:destructive",
    "reviews:read",
    "reviews:decide",
];
/// Of API keys.
const KEYS: [&str; 7] = [
    "model:chat",
    "model:models",
    "state:read",
    "state:write",
    "memory:read",
    "memory:write",
    "memory:collections",
];
/// Every canary begins so, then says of which kind it is and whose.
const MARK: &str = "cnry";

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }
}

/// A tenant's environment, by number.
type Unit = usize;

fn tenant(unit: Unit) -> &'static str {
    NAMES[unit / PLACES.len()]
}

fn place(unit: Unit) -> &'static str {
    PLACES[unit % PLACES.len()]
}

/// What the oracle knows of a credential.
struct Held {
    unit: Unit,
    secret: String,
    id: String,
    grants: BTreeSet<&'static str>,
    /// The tenant's epoch when it was made.
    epoch: u32,
    parent: Option<usize>,
    revoked: bool,
    is_key: bool,
    run: Option<String>,
    sub: Option<String>,
}

/// What the oracle knows of a tenant.
#[derive(Clone, Default)]
struct Stand {
    epoch: u32,
    suspended: bool,
}

struct World {
    rig: Rig,
    dice: Dice,
    held: Vec<Held>,
    stands: [Stand; NAMES.len()],
    count: u64,
    /// How often each unit got something of its own, and from the cache.
    own: Vec<u64>,
    hits: u64,
    refused: u64,
    /// What was made at the provider.
    things: Vec<Thing>,
    /// What runs hold: by unit, run and key. It is exact.
    state: BTreeMap<(Unit, String, String), String>,
    /// What collections hold: by unit and name, and by id. It is exact, too.
    points: BTreeMap<(Unit, String), BTreeMap<u64, Kept>>,
    /// What each unit's agents remember, if any ever did.
    notes: BTreeMap<Unit, Vec<Kept>>,
    /// How often points of one's own were found.
    found: u64,
    /// Notes in the CRM.
    notes_of_tools: Vec<Note>,
    /// What waits for a person, or did.
    asked: Vec<Asked>,
    /// How often a tool answered with one's own.
    answered: u64,
    /// How often a value of one's own was read, and what is another's was tried.
    read: u64,
    tried: u64,
}

/// The owners named by the canaries of these kinds in a text.
fn owners(text: &str, kinds: &str) -> BTreeSet<Unit> {
    text.match_indices(MARK)
        .filter_map(|(at, _)| {
            let mut rest = text[at + MARK.len()..].chars();
            let kind = rest.next()?;
            let digits: String = rest.take_while(char::is_ascii_digit).collect();
            kinds.contains(kind).then(|| digits.parse().unwrap())
        })
        .collect()
}

/// An answer, without what an audit log has of the asker's own words: of what was refused, it
/// says what was asked for.
fn without_words(reply: &Reply) -> String {
    let Ok(mut json) = serde_json::from_slice::<Value>(&reply.body) else { return reply.text() };
    for item in json["items"].as_array_mut().into_iter().flatten() {
        if item["action"] == "hop.denied" {
            item["target"] = Value::Null;
        }
    }
    json.to_string()
}

impl World {
    async fn new(seed: u64) -> Self {
        let rig = Rig::empty(|_| {}).await;
        let mut world = Self {
            rig,
            dice: Dice(seed),
            held: Vec::new(),
            stands: Default::default(),
            count: 0,
            own: vec![0; NAMES.len() * PLACES.len()],
            hits: 0,
            refused: 0,
            things: Vec::new(),
            state: BTreeMap::new(),
            points: BTreeMap::new(),
            notes: BTreeMap::new(),
            found: 0,
            notes_of_tools: Vec::new(),
            asked: Vec::new(),
            answered: 0,
            read: 0,
            tried: 0,
        };
        for name in NAMES {
            let body =
                json!({"id": name, "aliases": [format!("org_{name}")], "environments": PLACES});
            world.rig.admin(Method::POST, "/admin/v1/tenants", body).await.good();
        }
        for unit in 0..world.own.len() {
            world.credential(unit).await;
            world.mint(unit).await;
            world.key(unit).await;
        }
        world.tooled().await;
        world
    }

    /// A fresh canary.
    fn canary(&mut self, kind: char, unit: Unit) -> String {
        self.count += 1;
        format!("{MARK}{kind}{unit}n{}", self.count)
    }

    /// Whether a credential should still be good.
    fn stands(&self, of: usize) -> bool {
        let held = &self.held[of];
        let stand = &self.stands[held.unit / PLACES.len()];
        let mut at = Some(of);
        while let Some(of) = at {
            if self.held[of].revoked {
                return false;
            }
            at = self.held[of].parent;
        }
        !stand.suspended && stand.epoch == held.epoch
    }

    /// Some credential, more often than not one that is good.
    fn some(&mut self) -> usize {
        let mut of = self.dice.roll(self.held.len());
        for _ in 0..self.dice.roll(8) {
            if self.stands(of) {
                break;
            }
            of = self.dice.roll(self.held.len());
        }
        of
    }

    /// Looks at an answer to a unit: it may hold what is the unit's own, and nothing else.
    fn look(&mut self, unit: Unit, what: &str, reply: &Reply) {
        let text = format!("{} {:?}", without_words(reply), reply.headers);
        let owners = owners(&text, "psarvn");
        for owner in &owners {
            assert_eq!(*owner, unit, "{what}: of unit {owner} to {unit}: {text}");
        }
        assert!(!text.contains(&format!("{MARK}s")), "{what}: a secret: {text}");
        for name in NAMES.iter().filter(|name| **name != tenant(unit)) {
            assert!(!text.contains(name), "{what}: {name} to {}: {text}", tenant(unit));
        }
        if !owners.is_empty() {
            self.own[unit] += 1;
        }
        if reply.header("x-bulkhead-cache") == "hit" {
            self.hits += 1;
        }
    }

    /// Holds an answer against what the oracle expects of the credential.
    fn judge(&mut self, of: usize, grant: &str, what: &str, reply: &Reply, good: &[u16]) {
        let allowed = self.stands(of) && self.held[of].grants.contains(grant);
        let unit = self.held[of].unit;
        if allowed {
            assert!(good.contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
        } else {
            assert!(
                [401, 403].contains(&reply.status),
                "{what}: {} {}",
                reply.status,
                reply.text()
            );
            assert!(owners(&reply.text(), "psavn").is_empty(), "{what}: {}", reply.text());
            self.refused += 1;
        }
        self.look(unit, what, reply);
    }

    /// A provider credential for a unit, whose answers the provider marks as its owner's.
    async fn credential(&mut self, unit: Unit) {
        let secret = format!("sk-{}", self.canary('s', unit));
        let mark = self.canary('a', unit);
        self.rig.upstream.mark(&secret, &mark);
        for provider in ["standin", "claude"] {
            let body = json!({"secret": secret});
            let set = self.rig.set_credential_of(provider, tenant(unit), place(unit), body);
            let reply = set.await.good();
            assert!(!reply.text().contains(MARK), "{}", reply.text());
        }
    }

    async fn mint(&mut self, unit: Unit) {
        let grants: BTreeSet<_> =
            GRANTS.into_iter().filter(|_| self.dice.roll(4) > 0).chain(["model:chat"]).collect();
        let scope = grants.iter().copied().collect::<Vec<_>>().join(" ");
        let (run, sub) = (self.canary('r', unit), self.canary('p', unit));
        let name = if self.dice.roll(2) == 0 {
            tenant(unit).to_owned()
        } else {
            format!("org_{}", tenant(unit))
        };
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:bulkhead:params:oauth:token-type:tenant"),
            ("subject_token", name.as_str()),
            ("environment", place(unit)),
            ("workflow", "support"),
            ("scope", scope.as_str()),
            ("run", run.as_str()),
            ("sub", sub.as_str()),
        ];
        let reply = self.rig.exchange(&self.rig.service, &form).await;
        self.look(unit, "mint", &reply);
        let stand = self.stands[unit / PLACES.len()].clone();
        assert_eq!(reply.status == 200, !stand.suspended, "{}", reply.text());
        if reply.status == 200 {
            self.keep(unit, &reply.json(), "access_token", grants, None, Some((run, sub)));
        }
    }

    fn keep(
        &mut self,
        unit: Unit,
        made: &Value,
        secret: &str,
        grants: BTreeSet<&'static str>,
        parent: Option<usize>,
        whom: Option<(String, String)>,
    ) {
        let (run, sub) = whom.unzip();
        let epoch = match parent {
            Some(parent) => self.held[parent].epoch,
            None => self.stands[unit / PLACES.len()].epoch,
        };
        self.held.push(Held {
            unit,
            secret: made[secret].as_str().unwrap().to_owned(),
            id: made["id"].as_str().unwrap().to_owned(),
            grants,
            epoch,
            parent,
            revoked: false,
            is_key: secret == "secret",
            run,
            sub,
        });
    }

    async fn key(&mut self, unit: Unit) {
        let path = format!("/admin/v1/tenants/{}/environments/{}/keys", tenant(unit), place(unit));
        let body = json!({"workflow": "support", "scope": KEYS.join(" ")});
        let made = self.rig.admin(Method::POST, &path, body).await.good().json();
        self.keep(unit, &made, "secret", BTreeSet::from(KEYS), None, None);
    }

    async fn narrow(&mut self, of: usize) {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:txn_token"),
            ("subject_token", self.held[of].secret.as_str()),
            ("scope", "model:chat"),
        ];
        let reply = self.rig.exchange(&self.rig.service, &form).await;
        let unit = self.held[of].unit;
        self.look(unit, "narrow", &reply);
        if self.held[of].is_key {
            assert!(reply.status >= 400, "{}", reply.text());
            return;
        }
        let depth = std::iter::successors(Some(of), |of| self.held[*of].parent).count();
        assert_eq!(reply.status == 200, self.stands(of) && depth <= 8, "{}", reply.text());
        if reply.status == 200 {
            let whom = self.held[of].run.clone().zip(self.held[of].sub.clone());
            let grants = BTreeSet::from(["model:chat"]);
            self.keep(unit, &reply.json(), "access_token", grants, Some(of), whom);
        }
    }

    async fn revoke(&mut self, of: usize) {
        let Held { unit, id, is_key, .. } = &self.held[of];
        let reply = if *is_key {
            let path = format!("/admin/v1/keys/{id}");
            self.rig.admin(Method::DELETE, &path, Value::Null).await
        } else {
            let body = json!({"tenant": tenant(*unit), "jti": id});
            self.rig.admin(Method::POST, "/admin/v1/revocations", body).await
        };
        reply.good();
        self.held[of].revoked = true;
    }

    /// Suspends, resumes, or voids everything of a tenant.
    async fn stand(&mut self, of: usize, action: &str) {
        let path = format!("/admin/v1/tenants/{}/{action}", NAMES[of]);
        self.rig.admin(Method::POST, &path, Value::Null).await.good();
        match action {
            "revoke" => self.stands[of].epoch += 1,
            other => self.stands[of].suspended = other == "suspend",
        }
    }

    /// A tenant that is suspended, if there is one.
    fn suspended(&self, unit: Unit) -> usize {
        let suspended = self.stands.iter().position(|stand| stand.suspended);
        suspended.unwrap_or(unit / PLACES.len())
    }

    async fn step(&mut self) {
        let (of, unit) = (self.some(), self.dice.roll(self.own.len()));
        match self.dice.roll(112) {
            0..=11 => self.chats().await,
            12..=16 => self.read(of).await,
            17..=19 => self.mint(unit).await,
            20 | 21 => self.narrow(of).await,
            22 => self.key(unit).await,
            23 | 24 => self.revoke(of).await,
            25 => self.credential(unit).await,
            26 => self.stand(unit / PLACES.len(), "suspend").await,
            27..=29 => self.stand(self.suspended(unit), "resume").await,
            30 if self.dice.roll(3) == 0 => {
                self.stand(unit / PLACES.len(), "revoke").await;
                self.mint(unit).await;
            }
            30 => self.operate(unit).await,
            31 => self.pretend(of).await,
            32..=37 => self.ask(of).await,
            38..=40 => self.upload(of).await,
            41..=46 => self.cite(of).await,
            47 | 48 => self.cached(of).await,
            49..=63 => self.keep_state(of).await,
            64..=74 | 100..=111 => self.use_tools(of).await,
            75..=79 => self.use_reviews(of).await,
            _ => self.collect(of).await,
        }
    }

    /// What the positive controls ask for.
    fn has_seen_enough(&self) -> bool {
        let Self { own, hits, refused, read, tried, found, answered, .. } = self;
        let often = [hits, refused, read, tried, found, answered];
        own.iter().all(|own| *own > 3) && often.iter().all(|times| **times > 10)
    }

    fn figures(&self) -> String {
        let Self { own, hits, refused, read, tried, found, answered, .. } = self;
        format!(
            "{own:?} own, {hits} hits, {refused} refused, {read} read, {tried} tried, \
             {found} found, {answered} of tools"
        )
    }

    /// What the provider was sent: each prompt under its own owner's credential.
    fn look_upstream(&self) {
        for seen in self.rig.upstream.seen() {
            let credential = owners(&seen.secret, "s");
            assert_eq!(credential.len(), 1, "{}", seen.secret);
            let bytes = String::from_utf8_lossy(&seen.bytes);
            let sent = format!("{} {} {bytes} {:?}", seen.method, seen.path, seen.headers);
            for owner in owners(&sent, "par") {
                assert!(credential.contains(&owner), "{sent} under {credential:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_one_shows_up_with_another() {
    let seed = match std::env::var("BULKHEAD_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => {
            let mut bytes = [0; 8];
            OsEntropy.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        }
    };
    println!("BULKHEAD_SEED={seed}");
    let mut world = World::new(seed).await;
    for round in 0..20_000 {
        if round == 550 {
            // A restart forgets nothing and remembers nothing that it should not.
            world.rig.stop().await;
            world.rig.serve_again().await;
        }
        if round >= 1_100 && world.has_seen_enough() {
            break;
        }
        world.step().await;
    }
    for of in 0..NAMES.len() {
        world.stand(of, "resume").await;
    }
    for unit in 0..world.own.len() {
        world.operate(unit).await;
    }
    world.look_upstream();
    world.look_at_crm();
    let status = world.rig.admin(Method::GET, "/admin/v1/status", Value::Null).await.good().json();
    assert_eq!(status["foreign"], json!({"cache": 0, "vault": 0, "store": 0}));
    let live = world.rig.send(Plane::Data, Method::GET, "/health/ready", &[], "").await;
    live.good();
    world.rig.stop().await;

    // Lines name tenants and runs, and never what was said.
    let lines = log().text();
    let told: Vec<_> = lines.lines().filter(|line| !owners(line, "psavn").is_empty()).collect();
    assert!(told.is_empty(), "{told:#?}");
    assert!(!owners(&lines, "r").is_empty(), "the log does name runs: the hunt can find");
    // The positive controls: everybody got their own, the cache was in use, and not all was good.
    println!("{}", world.figures());
    assert!(world.has_seen_enough(), "{}", world.figures());
}
