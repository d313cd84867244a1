//! Random writes of two tenants against a simple model in memory, with restarts, lost indexes and power cuts between.

use std::collections::BTreeMap;

use bulkhead_memory::{MemorySettings, request};
use proptest::prelude::*;
use scope::{Scope, Write};
use serde_json::{Map, Value, json};

use super::world::{Own, Random, Running, World, bytes, dense, ids_of, point};

const SIZE: usize = 4;
const IDS: u64 = 40;

#[derive(Clone, Debug)]
enum Step {
    Put { who: usize, ids: Vec<u64>, n: u64 },
    Delete { who: usize, ids: Vec<u64> },
    DeleteBy { who: usize, n: u64 },
    Set { who: usize, ids: Vec<u64>, n: u64 },
    Overwrite { who: usize, n: u64, to: u64 },
    Unset { who: usize, ids: Vec<u64> },
    Clear { who: usize, ids: Vec<u64> },
    Move { who: usize, ids: Vec<u64>, seed: u64 },
    Erase { who: usize, ids: Vec<u64> },
    Rebuild { who: usize },
    Drop { who: usize },
    Restart,
    PowerCut,
    LoseIndexes,
}

fn step() -> impl Strategy<Value = Step> {
    let ids =
        || proptest::collection::btree_set(0..IDS, 1..8).prop_map(|ids| ids.into_iter().collect());
    let (who, n) = (|| 0..3_usize, || 0..5_u64);
    prop_oneof![
        10 => (who(), ids(), n()).prop_map(|(who, ids, n)| Step::Put { who, ids, n }),
        4 => (who(), ids()).prop_map(|(who, ids)| Step::Delete { who, ids }),
        1 => (who(), n()).prop_map(|(who, n)| Step::DeleteBy { who, n }),
        3 => (who(), ids(), n()).prop_map(|(who, ids, n)| Step::Set { who, ids, n }),
        1 => (who(), n(), n()).prop_map(|(who, n, to)| Step::Overwrite { who, n, to }),
        1 => (who(), ids()).prop_map(|(who, ids)| Step::Unset { who, ids }),
        1 => (who(), ids()).prop_map(|(who, ids)| Step::Clear { who, ids }),
        3 => (who(), ids(), any::<u64>()).prop_map(|(who, ids, seed)| Step::Move { who, ids, seed }),
        1 => (who(), ids()).prop_map(|(who, ids)| Step::Erase { who, ids }),
        1 => who().prop_map(|who| Step::Rebuild { who }),
        1 => who().prop_map(|who| Step::Drop { who }),
        1 => Just(Step::Restart),
        1 => Just(Step::PowerCut),
        1 => Just(Step::LoseIndexes),
    ]
}

type Known = BTreeMap<u64, (Vec<f32>, Map<String, Value>)>;

struct Model {
    world: World,
    running: Option<Running>,
    scopes: Vec<Scope<Write>>,
    known: Vec<Known>,
    /// So that no two points have a vector in common.
    random: Random,
}

impl Model {
    async fn new() -> Self {
        let world = World::new().await;
        let scopes = vec![
            world.scope("acme", "live").await,
            world.scope("acme", "staging").await,
            world.scope("globex", "live").await,
        ];
        let running = world.start(MemorySettings::default()).await;
        for scope in &scopes {
            created(&running.of(scope, "docs")).await;
        }
        let known = vec![Known::new(); scopes.len()];
        Self { world, running: Some(running), scopes, known, random: Random(60) }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn own(&self, who: usize) -> Own<'_> {
        self.running().of(&self.scopes[who], "docs")
    }

    async fn write(&self, who: usize, write: request::Operation) {
        let own = self.own(who);
        own.memory.of(own.scope).write(&own.name, vec![write]).await.unwrap();
    }

    fn those(&self, who: usize, ids: &[u64]) -> Vec<u64> {
        ids.iter().copied().filter(|id| self.known[who].contains_key(id)).collect()
    }

    fn payloads(&mut self, who: usize, ids: &[u64], change: impl Fn(&mut Map<String, Value>)) {
        for id in ids {
            change(&mut self.known[who].get_mut(id).unwrap().1);
        }
    }

    async fn start(&mut self) {
        self.running = Some(self.world.start(MemorySettings::default()).await);
    }

    async fn take(&mut self, step: Step) {
        let bounds = MemorySettings::default();
        match step {
            Step::Put { who, ids, n } => {
                let points: Vec<_> = ids
                    .iter()
                    .map(|id| (*id, self.random.vector(SIZE), json!({"n": n, "m": id % 3})))
                    .collect();
                let body = points.iter().map(|(id, v, p)| point(*id, v, p.clone())).collect();
                self.own(who).put(body).await;
                for (id, vector, payload) in points {
                    let Value::Object(payload) = payload else { unreachable!("an object") };
                    self.known[who].insert(id, (vector, payload));
                }
            }
            Step::Delete { who, ids } => {
                self.own(who).delete(json!({"points": ids})).await;
                self.known[who].retain(|id, _| !ids.contains(id));
            }
            Step::DeleteBy { who, n } => {
                let filter = json!({"must": [{"key": "n", "match": {"value": n}}]});
                self.own(who).delete(json!({"filter": filter})).await;
                self.known[who].retain(|_, (_, payload)| payload.get("n") != Some(&n.into()));
            }
            Step::Set { who, ids, n } => {
                let ids = self.those(who, &ids);
                let body = json!({"payload": {"n": n, "set": true}, "points": ids});
                self.write(who, request::parse_set_payload(&bytes(&body), &bounds).unwrap()).await;
                self.payloads(who, &ids, |payload| {
                    payload.insert("n".into(), n.into());
                    payload.insert("set".into(), true.into());
                });
            }
            Step::Overwrite { who, n, to } => {
                let filter = json!({"must": [{"key": "n", "match": {"value": n}}]});
                let body = json!({"payload": {"n": to}, "filter": filter});
                let set = request::parse_set_payload(&bytes(&body), &bounds).unwrap();
                let request::Operation::SetPayload { payload, points, key } = set else {
                    unreachable!("it was asked for")
                };
                self.write(who, request::Operation::OverwritePayload { payload, points, key })
                    .await;
                for (_, payload) in self.known[who].values_mut() {
                    if payload.get("n") == Some(&n.into()) {
                        *payload = Map::from_iter([("n".to_owned(), to.into())]);
                    }
                }
            }
            Step::Unset { who, ids } => {
                let ids = self.those(who, &ids);
                let body = json!({"keys": ["n"], "points": ids});
                self.write(who, request::parse_delete_payload(&bytes(&body), &bounds).unwrap())
                    .await;
                self.payloads(who, &ids, |payload| drop(payload.remove("n")));
            }
            Step::Clear { who, ids } => {
                let ids = self.those(who, &ids);
                let body = json!({"points": ids});
                self.write(who, request::parse_clear(&bytes(&body), &bounds).unwrap()).await;
                self.payloads(who, &ids, Map::clear);
            }
            Step::Move { who, ids, seed } => {
                let ids = self.those(who, &ids);
                let mut random = Random(seed);
                let moved: Vec<_> = ids.iter().map(|id| (*id, random.vector(SIZE))).collect();
                let points: Vec<_> =
                    moved.iter().map(|(id, vector)| json!({"id": id, "vector": vector})).collect();
                let body = json!({"points": points});
                self.write(who, request::parse_update_vectors(&bytes(&body), &bounds).unwrap())
                    .await;
                for (id, vector) in moved {
                    self.known[who].get_mut(&id).unwrap().0 = vector;
                }
            }
            Step::Erase { who, ids } => {
                let there = self.those(who, &ids).len() as u64;
                assert_eq!(self.own(who).erase(json!({"points": ids})).await, there);
                self.known[who].retain(|id, _| !ids.contains(id));
            }
            Step::Rebuild { who } => self.own(who).rebuild().await,
            Step::Drop { who } => {
                assert!(self.own(who).drop_all().await);
                created(&self.own(who)).await;
                self.known[who].clear();
            }
            Step::Restart => {
                self.running.take().unwrap().stop().await;
                self.start().await;
            }
            Step::PowerCut => {
                std::mem::forget(self.running.take());
                self.world.power_cut();
                self.start().await;
            }
            Step::LoseIndexes => {
                self.running.take().unwrap().stop().await;
                let _ = std::fs::remove_dir_all(self.world.directory.join("index"));
                self.start().await;
            }
        }
    }

    async fn check(&mut self) {
        let asked = self.random.vector(SIZE);
        for (who, known) in self.known.iter().enumerate() {
            let own = self.own(who);
            let found = own.scroll(json!({})).await;
            assert_eq!(ids_of(&found), known.keys().copied().collect::<Vec<_>>());
            for (record, (_, payload)) in found.iter().zip(known.values()) {
                assert_eq!(record.payload.as_ref(), Some(payload));
            }
            let mut wanted: Vec<(f64, u64)> = known
                .iter()
                .map(|(id, (vector, _))| {
                    let far = vector.iter().zip(&asked).map(|(a, b)| f64::from(a - b).powi(2));
                    (far.sum::<f64>().sqrt(), *id)
                })
                .collect();
            wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
            let found = own.query(json!({"query": asked, "limit": 100})).await;
            assert_eq!(ids_of(&found), wanted.iter().map(|(_, id)| *id).collect::<Vec<_>>());
            for n in 0..5_u64 {
                let filter = json!({"must": [{"key": "n", "match": {"value": n}}]});
                let of = known.values().filter(|(_, payload)| payload.get("n") == Some(&n.into()));
                assert_eq!(own.count(filter).await, of.count() as u64);
            }
        }
    }

    async fn end(mut self) {
        for who in 0..self.known.len() {
            self.own(who).agree(self.known[who].len() as u64).await;
        }
        self.running.take().unwrap().stop().await;
    }
}

async fn created(own: &Own<'_>) {
    own.create(dense(SIZE, "Euclid")).await;
    own.index("n", "integer").await;
}

async fn run(steps: Vec<Step>) {
    let mut model = Model::new().await;
    for (nth, step) in steps.into_iter().enumerate() {
        model.take(step).await;
        if nth % 4 == 3 {
            model.check().await;
        }
    }
    model.check().await;
    model.end().await;
}

#[test]
fn writes_of_all_kinds_leave_what_a_simple_model_has() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig {
        cases: 4,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Default::default()
    };
    proptest!(config, |(steps in proptest::collection::vec(step(), 40..41))| {
        runtime.block_on(run(steps));
    });
}
