//! Incident `redis-desync`: a backend that answers with somebody else's bytes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bulkhead_cache::{Backend, CacheKey, Error, Settings, Stamp, Usage};
use bytes::Bytes;
use ids::{BoxFuture, Millis};
use scope::{Scope, Write};

use super::world::{HOUR, World, about};

type Id = ([u8; 32], CacheKey);

/// A stand-in for an outside cache that goes wrong in the ways that were seen.
#[derive(Debug, Default)]
struct Faulty {
    rows: Mutex<HashMap<Id, Bytes>>,
    /// Everything it was ever given, to answer with at random.
    all: Mutex<Vec<(Id, Bytes)>>,
    /// When set, answers at random: the state of a small generator.
    dice: Mutex<Option<u64>>,
    lies: Mutex<u64>,
    /// When set, answers come over one connection in the order of the questions, and an
    /// answer that nobody waited for is read by whoever comes next.
    connection: Mutex<Option<VecDeque<Option<Bytes>>>>,
}

impl Faulty {
    fn roll(&self) -> Option<u64> {
        let mut dice = self.dice.lock().unwrap();
        let state = dice.as_mut()?;
        // splitmix64 (Steele, Lea, Flood 2014)
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(z ^ (z >> 31))
    }

    fn answer(&self, id: &Id) -> Option<Bytes> {
        match self.roll() {
            Some(roll) if roll & 1 == 1 => {
                let all = self.all.lock().unwrap();
                let (of, bytes) = &all[(roll >> 1) as usize % all.len()];
                *self.lies.lock().unwrap() += u64::from(of != id);
                Some(bytes.clone())
            }
            _ => self.rows.lock().unwrap().get(id).cloned(),
        }
    }

    fn over_the_connection(&self, asked: Option<Option<Bytes>>) -> Option<Option<Bytes>> {
        let mut connection = self.connection.lock().unwrap();
        let replies = connection.as_mut()?;
        match asked {
            Some(reply) => {
                replies.push_back(reply);
                Some(None)
            }
            None => replies.pop_front(),
        }
    }
}

impl Backend for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn get<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        let id = (*scope.partition_bytes(), *key);
        Box::pin(async move {
            let answer = self.answer(&id);
            if self.over_the_connection(Some(answer.clone())).is_none() {
                return Ok(answer);
            }
            tokio::task::yield_now().await;
            Ok(self.over_the_connection(None).flatten())
        })
    }

    fn put<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        key: &'a CacheKey,
        sealed: Bytes,
        _: Stamp,
        _expires: Millis,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let id = (*scope.partition_bytes(), *key);
        self.rows.lock().unwrap().insert(id, sealed.clone());
        self.all.lock().unwrap().push((id, sealed));
        Box::pin(std::future::ready(Ok(())))
    }

    fn delete<'a>(
        &'a self,
        _scope: &'a Scope<Write>,
        _key: &'a CacheKey,
        _: Stamp,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(std::future::ready(Ok(Usage::default())))
    }

    fn usage<'a>(&'a self, _scope: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(std::future::ready(Ok(Usage::default())))
    }
}

fn value(scope: &Scope<Write>, i: usize) -> String {
    format!("canary of {}/{} number {i}", scope.tenant(), scope.environment())
}

#[tokio::test]
async fn redis_desync() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_230_320);
    println!("SEED={seed}");
    let world = World::new().await;
    let backend = Arc::new(Faulty::default());
    let cache = world.over(Settings::default(), vec![backend.clone()]);
    let mut scopes = Vec::new();
    for (tenant, environment) in
        [("acme", "live"), ("acme", "staging"), ("globex", "live"), ("globex", "staging")]
    {
        let scope = world.kit.scope(tenant, environment).await;
        for i in 0..16 {
            let shelf = cache.of(&scope);
            let key = shelf.key(&about(&i.to_string()));
            assert!(shelf.put(&key, value(&scope, i).as_bytes(), HOUR).await.unwrap());
        }
        scopes.push(scope);
    }

    *backend.dice.lock().unwrap() = Some(seed);
    let mut found = 0_u64;
    for read in 0..100_000_usize {
        let scope = &scopes[read % scopes.len()];
        let i = read / scopes.len() % 16;
        let shelf = cache.of(scope);
        if let Some(hit) = shelf.get(&shelf.key(&about(&i.to_string()))).await {
            assert_eq!(hit.value, value(scope, i), "foreign bytes came out");
            found += 1;
        }
    }
    let lies = *backend.lies.lock().unwrap();
    assert!(lies > 40_000, "the backend has to lie to prove anything: {lies}");
    let counts = cache.counts();
    assert_eq!((found, counts.foreign), (100_000 - lies, lies));
    assert_eq!(world.alarm.0.lock().unwrap().len() as u64, lies, "each one is an event");
}

/// The incident as it was: a cancelled read leaves its answer on the shared connection, and
/// whoever reads next is one answer behind.
#[tokio::test]
async fn redis_desync_by_cancelling() {
    let world = World::new().await;
    let backend = Arc::new(Faulty::default());
    let cache = world.over(Settings::default(), vec![backend.clone()]);
    let (acme, globex) = (world.acme().await, world.globex().await);
    for scope in [&acme, &globex] {
        let shelf = cache.of(scope);
        let key = shelf.key(&about("q"));
        assert!(shelf.put(&key, value(scope, 0).as_bytes(), HOUR).await.unwrap());
    }
    *backend.connection.lock().unwrap() = Some(VecDeque::new());

    let (a, b) = (cache.of(&acme), cache.of(&globex));
    let (a_key, b_key) = (a.key(&about("q")), b.key(&about("q")));
    // From the first cancelled read on, every second answer that B gets is A's.
    let mut nothing = 0;
    for _ in 0..1_000 {
        let mut cancelled = Box::pin(a.get(&a_key));
        let polled = cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        drop(cancelled);
        match b.get(&b_key).await {
            Some(hit) => assert_eq!(hit.value, value(&globex, 0), "B read A's answer"),
            None => nothing += 1,
        }
    }
    assert_eq!(nothing, 500, "B was behind and got nothing rather than A's");
    assert_eq!(cache.counts().foreign, 500);
    assert!(world.alarm.0.lock().unwrap().iter().all(|whose| whose == "globex/live"));
}

#[tokio::test]
async fn a_value_opens_under_its_own_key_only() {
    let world = World::new().await;
    let backend = Arc::new(Faulty::default());
    let cache = world.over(Settings::default(), vec![backend.clone()]);
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let (one, two) = (shelf.key(&about("1")), shelf.key(&about("2")));
    shelf.put(&one, b"first", HOUR).await.unwrap();

    let moved = |to: CacheKey, bytes: Bytes| {
        backend.rows.lock().unwrap().insert((*acme.partition_bytes(), to), bytes);
    };
    let sealed = backend.all.lock().unwrap()[0].1.clone();
    moved(two, sealed.clone());
    assert!(shelf.get(&two).await.is_none(), "moved between two keys of one tenant");
    let mut changed = sealed.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    moved(one, changed.into());
    assert!(shelf.get(&one).await.is_none(), "changed");
    moved(one, Bytes::from_static(b"not sealed by anybody"));
    assert!(shelf.get(&one).await.is_none(), "not sealed");
    assert_eq!(cache.counts().foreign, 3);
    moved(one, sealed);
    assert_eq!(shelf.get(&one).await.unwrap().value, "first");
}

#[tokio::test]
async fn what_a_backend_sees_is_sealed() {
    let world = World::new().await;
    let backend = Arc::new(Faulty::default());
    let cache = world.over(Settings::default(), vec![backend.clone()]);
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let key = shelf.key(&about("the prompt"));
    shelf.put(&key, b"canary", HOUR).await.unwrap();
    let (_, sealed) = backend.all.lock().unwrap()[0].clone();
    assert!(!sealed.windows(6).any(|bytes| bytes == b"canary"));
    let hit = shelf.get(&key).await.unwrap();
    assert!(!format!("{cache:?} {shelf:?} {key:?} {hit:?}").contains("canary"));
}
