//! The state of runs against a simple model of it in memory.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use bulkhead_cache::{Condition, Put, State, StateSettings};
use ids::{Clock, Millis};
use proptest::prelude::*;
use scope::{Scope, Write};
use store::{Range, Store};

use super::{state::run, world::World};

const RUNS: [&str; 2] = ["r", "r1"];
const KEYS: [&str; 5] = ["a", "a/1", "a/2", "ab", "b"];
const HISTORY: usize = 2;

/// Which `ETag` a write names.
#[derive(Clone, Copy, Debug)]
enum If {
    Any,
    Absent,
    Present,
    Latest,
    /// One that was given out at some time, to anybody.
    Given(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Put { at: (usize, usize, usize), bytes: usize, ttl: Option<u64>, condition: If },
    Delete { at: (usize, usize, usize), condition: If },
    DeleteRun { who: usize, run: usize },
    List { who: usize, run: usize, prefix: &'static str, after: Option<usize>, limit: usize },
    Wait(u64),
}

fn condition() -> impl Strategy<Value = If> {
    prop_oneof![
        3 => Just(If::Any),
        1 => Just(If::Absent),
        1 => Just(If::Present),
        2 => Just(If::Latest),
        2 => (0..64_usize).prop_map(If::Given),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = || (0..8_usize, 0..RUNS.len(), 0..KEYS.len());
    prop_oneof![
        8 => (at(), 0..40_usize, proptest::option::of(1..60_u64), condition())
            .prop_map(|(at, bytes, ttl, condition)| Step::Put { at, bytes, ttl, condition }),
        3 => (at(), condition()).prop_map(|(at, condition)| Step::Delete { at, condition }),
        1 => (0..8_usize, 0..RUNS.len()).prop_map(|(who, run)| Step::DeleteRun { who, run }),
        3 => (
            (0..8_usize, 0..RUNS.len()),
            prop_oneof![Just(""), Just("a"), Just("a/"), Just("c")],
            proptest::option::of(0..KEYS.len()),
            0..6_usize,
        )
            .prop_map(|((who, run), prefix, after, limit)| {
                Step::List { who, run, prefix, after, limit }
            }),
        2 => (1..40_u64).prop_map(Step::Wait),
    ]
}

#[derive(Clone, Debug)]
struct Known {
    put: Put,
    value: Vec<u8>,
    expires: Option<Millis>,
}

impl Known {
    fn is_live(&self, now: Millis) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// What has to be there: versions by owner, run and key, newest first.
#[derive(Default)]
struct Model {
    keys: BTreeMap<(usize, usize, usize), Vec<Known>>,
    /// The greatest version that each key ever had.
    greatest: BTreeMap<(usize, usize, usize), u64>,
    given: Vec<String>,
    /// By tenant's environment, which shares its versions' numbers with nobody.
    unique: HashSet<((usize, usize, usize), u64)>,
}

impl Model {
    /// Versions of a key that is there, newest first.
    fn live(&self, at: (usize, usize, usize), now: Millis) -> Vec<&Known> {
        let Some(known) = self.keys.get(&at) else { return Vec::new() };
        if known.first().is_none_or(|latest| !latest.is_live(now)) {
            return Vec::new();
        }
        known.iter().filter(|known| known.is_live(now)).collect()
    }

    fn holds(&self, at: (usize, usize, usize), condition: Condition<'_>, now: Millis) -> bool {
        let latest = self.live(at, now).first().map(|known| known.put.etag.clone());
        match condition {
            Condition::Any => true,
            Condition::Absent => latest.is_none(),
            Condition::Present => latest.is_some(),
            Condition::Is(etag) => latest.as_deref() == Some(etag),
        }
    }

    fn etag(&self, at: (usize, usize, usize), asked: If, now: Millis) -> String {
        let none = || "\"v0-00000000\"".to_owned();
        match asked {
            If::Latest => {
                self.live(at, now).first().map_or_else(none, |known| known.put.etag.clone())
            }
            If::Given(n) if !self.given.is_empty() => self.given[n % self.given.len()].clone(),
            _ => none(),
        }
    }

    fn kept(&mut self, at: (usize, usize, usize), known: Known, now: Millis) {
        let mut earlier: Vec<Known> = self.live(at, now).into_iter().cloned().collect();
        earlier.truncate(HISTORY);
        assert_eq!(known.put.created, earlier.is_empty());
        let greatest = self.greatest.entry(at).or_default();
        assert!(known.put.version > *greatest, "versions rise");
        if let Some(before) = earlier.first() {
            assert_eq!(known.put.version, before.put.version + 1);
        }
        *greatest = known.put.version;
        assert!(self.unique.insert((at, known.put.version)));
        assert!(!self.given.contains(&known.put.etag), "an ETag is given once");
        self.given.push(known.put.etag.clone());
        earlier.insert(0, known);
        self.keys.insert(at, earlier);
    }
}

fn asked<'a>(condition: If, etag: &'a str) -> Condition<'a> {
    match condition {
        If::Any => Condition::Any,
        If::Absent => Condition::Absent,
        If::Present => Condition::Present,
        If::Latest | If::Given(_) => Condition::Is(etag),
    }
}

struct Both {
    world: World,
    state: State,
    store: Store,
    owners: Vec<Scope<Write>>,
    model: Model,
    steps: u8,
}

impl Both {
    async fn new() -> Self {
        let world = World::new().await;
        let settings = StateSettings { history: HISTORY as u64, ..StateSettings::default() };
        let (state, store) = world.state(settings);
        let mut owners = Vec::new();
        for tenant in ["acme", "globex"] {
            for environment in ["live", "staging"] {
                for workflow in ["support", "billing"] {
                    owners.push(world.kit.scope_for(tenant, environment, workflow).await);
                }
            }
        }
        Self { world, state, store, owners, model: Model::default(), steps: 0 }
    }

    async fn take(&mut self, step: Step) {
        self.steps = self.steps.wrapping_add(1);
        let now = self.world.clock.now();
        match step {
            Step::Put { at, bytes, ttl, condition } => {
                let mut value = vec![self.steps; bytes];
                value.push(u8::try_from(at.0).unwrap());
                self.put(at, value, ttl.map(Duration::from_millis), condition, now).await;
            }
            Step::Delete { at, condition } => {
                let etag = self.model.etag(at, condition, now);
                let condition = asked(condition, &etag);
                let there = !self.model.live(at, now).is_empty();
                let holds = self.model.holds(at, condition, now);
                let book = self.state.of(&self.owners[at.0]);
                match book.delete(&run(RUNS[at.1]), KEYS[at.2], condition).await {
                    Ok(was) => assert!(holds && was == there),
                    Err(error) => assert!(!holds && error.code() == "state.conflict"),
                }
                if holds {
                    self.model.keys.remove(&at);
                }
            }
            Step::DeleteRun { who, run: of } => {
                let all = (0..KEYS.len()).map(|key| (who, of, key));
                let there = all.clone().filter(|at| !self.model.live(*at, now).is_empty()).count();
                let book = self.state.of(&self.owners[who]);
                assert_eq!(book.delete_run(&run(RUNS[of])).await.unwrap(), there as u64);
                all.for_each(|at| drop(self.model.keys.remove(&at)));
            }
            Step::List { who, run: of, prefix, after, limit } => {
                let after = after.map(|key| KEYS[key]);
                let book = self.state.of(&self.owners[who]);
                let listed = book.list(&run(RUNS[of]), prefix, after, limit).await.unwrap();
                let expected: Vec<_> = (0..KEYS.len())
                    .filter(|key| {
                        KEYS[*key].starts_with(prefix)
                            && after.is_none_or(|after| KEYS[*key] > after)
                    })
                    .filter_map(|key| {
                        let live = self.model.live((who, of, key), now);
                        let known = live.first()?;
                        Some((KEYS[key].to_owned(), known.put.etag.clone()))
                    })
                    .take(limit)
                    .collect();
                let listed: Vec<_> = listed.into_iter().map(|l| (l.key, l.etag)).collect();
                assert_eq!(listed, expected);
            }
            Step::Wait(by) => self.world.clock.advance(Duration::from_millis(by)),
        }
    }

    async fn put(
        &mut self,
        at: (usize, usize, usize),
        value: Vec<u8>,
        ttl: Option<Duration>,
        condition: If,
        now: Millis,
    ) {
        let etag = self.model.etag(at, condition, now);
        let condition = asked(condition, &etag);
        let holds = self.model.holds(at, condition, now);
        let book = self.state.of(&self.owners[at.0]);
        let (name, key) = (run(RUNS[at.1]), KEYS[at.2]);
        match book.put(&name, key, &value, "x/y", ttl, condition).await {
            Ok(put) => {
                assert!(holds);
                let expires = ttl.map(|ttl| now.plus(ttl));
                self.model.kept(at, Known { put, value, expires }, now);
            }
            Err(error) => assert!(!holds && error.code() == "state.conflict", "{error}"),
        }
    }

    /// Everything that can be read is what the model has, for every owner.
    async fn compare(&self) {
        let now = self.world.clock.now();
        for (who, scope) in self.owners.iter().enumerate() {
            let book = self.state.of(scope);
            for (of, name) in RUNS.iter().enumerate() {
                for (key, text) in KEYS.iter().enumerate() {
                    let live = self.model.live((who, of, key), now);
                    let history = book.history(&run(name), text, 100).await.unwrap();
                    let etags = |known: &&Known| known.put.etag.clone();
                    assert_eq!(
                        history.iter().map(|l| l.etag.clone()).collect::<Vec<_>>(),
                        live.iter().map(etags).collect::<Vec<_>>()
                    );
                    let latest = book.get(&run(name), text, None).await.unwrap();
                    assert_eq!(latest.is_some(), !live.is_empty());
                    for known in live {
                        let version = Some(known.put.version);
                        let item = book.get(&run(name), text, version).await.unwrap().unwrap();
                        assert_eq!(
                            (&item.value[..], item.expires),
                            (&known.value[..], known.expires)
                        );
                    }
                }
            }
        }
    }

    /// After all runs are deleted no row is left but the floor of versions.
    async fn empty(&self) {
        for scope in &self.owners {
            for name in RUNS {
                self.state.of(scope).delete_run(&run(name)).await.unwrap();
            }
        }
        for scope in &self.owners {
            for table in bulkhead_cache::STATE_TABLES {
                let left = self.store.of(scope).scan(*table, Range::all()).await.unwrap();
                assert!(left.len() <= usize::from(table.name == "state.floor"), "{}", table.name);
            }
        }
    }
}

proptest! {
    // A planted bug must fail here and leave no file behind.
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    /// Two tenants, two environments, two workflows, two runs: each has its own, as it wrote it.
    #[test]
    fn does_as_the_model_does(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut both = Both::new().await;
            for step in steps {
                both.take(step).await;
            }
            both.compare().await;
            both.empty().await;
        });
    }
}
