//! Memory, then disk: time, quotas, survival, failures.

use std::{sync::Arc, time::Duration};

use bulkhead_cache::{Backend, CacheKey, Error, Settings, Stamp, TABLES, Usage};
use bytes::Bytes;
use ids::{BoxFuture, Millis};
use scope::{Scope, Write};

use super::world::{HOUR, World, about};

#[tokio::test]
async fn ends_with_its_time() {
    let world = World::new().await;
    let settings = Settings { ttl_max_seconds: 7_200, ..Settings::default() };
    let (cache, _store) = world.open(settings);
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let (short, long) = (shelf.key(&about("short")), shelf.key(&about("long")));
    assert!(shelf.put(&short, b"s", HOUR).await.unwrap());
    assert!(shelf.put(&long, b"l", 100 * HOUR).await.unwrap());
    assert!(!shelf.put(&long, b"never", Duration::ZERO).await.unwrap());
    cache.settled().await;

    world.clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(shelf.get(&short).await.unwrap().age, HOUR - Duration::from_millis(1));
    world.clock.advance(Duration::from_millis(1));
    assert!(shelf.get(&short).await.is_none(), "in no tier");
    assert_eq!(shelf.get(&long).await.unwrap().value, "l");
    world.clock.advance(HOUR);
    assert!(shelf.get(&long).await.is_none(), "no longer than the settings allow");
    assert_eq!(cache.counts().foreign, 0, "what has expired is no event");
}

#[tokio::test]
async fn lowering_the_greatest_age_ends_what_is_older() {
    let world = World::new().await;
    let acme = world.acme().await;
    let (cache, store) = world.open(Settings::default());
    let key = cache.of(&acme).key(&about("q"));
    cache.of(&acme).put(&key, b"v", 10 * HOUR).await.unwrap();
    cache.settled().await;
    drop(cache);
    store.close().await.unwrap();
    world.clock.advance(2 * HOUR);
    let (cache, _store) = world.open(Settings { ttl_max_seconds: 3_600, ..Settings::default() });
    assert!(cache.of(&acme).get(&key).await.is_none());
}

#[tokio::test]
async fn what_is_on_disk_survives_a_restart() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let (cache, store) = world.open(Settings::default());
    let key = cache.of(&acme).key(&about("q"));
    cache.of(&acme).put(&key, b"before", 10 * HOUR).await.unwrap();
    cache.of(&acme).put(&key, b"after", 10 * HOUR).await.unwrap();
    cache.settled().await;
    assert_eq!(cache.of(&acme).usage().await.unwrap().entries, 1, "replaced, not added");
    drop(cache);
    store.close().await.unwrap();

    world.clock.advance(HOUR);
    let (cache, _store) = world.open(Settings::default());
    let shelf = cache.of(&acme);
    assert_eq!(key, shelf.key(&about("q")));
    assert!(cache.of(&globex).get(&key).await.is_none(), "even with A's key in hand");
    assert_eq!(cache.counts().memory_bytes, 0);
    let hit = shelf.get(&key).await.unwrap();
    assert_eq!((&*hit.value, hit.age), (&b"after"[..], HOUR));
    assert!(cache.counts().memory_bytes > 0, "found on disk, kept in memory");
    world.clock.advance(9 * HOUR);
    assert!(shelf.get(&key).await.is_none(), "its time goes on");
}

#[tokio::test]
async fn a_flood_takes_nothing_from_another_tenant() {
    let world = World::new().await;
    let settings = Settings {
        memory_bytes_total: 256 * 1_024,
        memory_bytes_per_tenant: 256 * 1_024,
        disk_bytes_per_tenant: 64 * 1_024,
        ..Settings::default()
    };
    let (cache, _store) = world.open(settings);
    let (acme, globex) = (world.acme().await, world.globex().await);
    let (a, b) = (cache.of(&acme), cache.of(&globex));
    let keys: Vec<CacheKey> = (0..20).map(|i| a.key(&about(&i.to_string()))).collect();
    for key in &keys {
        assert!(a.put(key, &[b'a'; 1_024], HOUR).await.unwrap());
    }
    for i in 0..600 {
        let key = b.key(&about(&i.to_string()));
        b.put(&key, &[b'b'; 2_048], HOUR).await.unwrap();
        if i % 16 == 0 {
            cache.settled().await;
        }
    }
    cache.settled().await;
    assert_eq!(a.usage().await.unwrap().entries, 20);
    assert!(b.usage().await.unwrap().bytes <= 256 * 1_024);
    assert!(cache.counts().memory_bytes <= 256 * 1_024);
    for key in &keys {
        assert!(a.get(key).await.is_some());
    }
    // B's own oldest went; its latest is there.
    assert!(b.get(&b.key(&about("0"))).await.is_none());
    assert!(b.get(&b.key(&about("599"))).await.is_some());
}

#[tokio::test]
async fn the_disk_keeps_to_its_quota_oldest_first() {
    let world = World::new().await;
    let settings = Settings { disk_bytes_per_tenant: 20_000, ..Settings::default() };
    let acme = world.acme().await;
    let (cache, store) = world.open(settings.clone());
    let shelf = cache.of(&acme);
    for i in 0..40 {
        shelf.put(&shelf.key(&about(&i.to_string())), &[0; 1_000], HOUR).await.unwrap();
        cache.settled().await;
        world.clock.advance(Duration::from_millis(1));
        let mut bytes = 0;
        for &table in TABLES {
            bytes += store.of(&acme).usage(table).await.unwrap().bytes;
        }
        assert!(bytes <= 20_000, "{bytes} after {i}");
    }
    drop(cache);
    store.close().await.unwrap();
    let (cache, _store) = world.open(settings);
    let shelf = cache.of(&acme);
    let mut left = Vec::new();
    for i in 0..40 {
        if shelf.get(&shelf.key(&about(&i.to_string()))).await.is_some() {
            left.push(i);
        }
    }
    assert!(left.len() > 10 && left.last() == Some(&39), "{left:?}");
    assert!(left.windows(2).all(|pair| pair[1] == pair[0] + 1), "oldest first: {left:?}");
}

#[tokio::test]
async fn too_large_is_not_kept() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings { value_max_bytes: 100, ..Settings::default() });
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let key = shelf.key(&about("q"));
    assert!(!shelf.put(&key, &[0; 101], HOUR).await.unwrap());
    assert!(shelf.get(&key).await.is_none());
    assert!(shelf.put(&key, &[0; 100], HOUR).await.unwrap());
    assert!(shelf.get(&key).await.is_some());
}

#[tokio::test]
async fn forgetting_is_in_every_tier_and_for_one_shelf() {
    let world = World::new().await;
    let (cache, store) = world.open(Settings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    for scope in [&acme, &globex, &staging] {
        for i in 0..3 {
            let shelf = cache.of(scope);
            shelf.put(&shelf.key(&about(&i.to_string())), b"v", HOUR).await.unwrap();
        }
    }
    let shelf = cache.of(&acme);
    let key = shelf.key(&about("0"));
    shelf.remove(&key).await.unwrap();
    assert!(shelf.get(&key).await.is_none());
    assert_eq!(shelf.clear().await.unwrap().entries, 2);
    assert_eq!(shelf.usage().await.unwrap(), Usage::default());
    assert!(shelf.get(&shelf.key(&about("1"))).await.is_none());
    for &table in TABLES {
        assert_eq!(store.of(&acme).usage(table).await.unwrap().rows, 0, "{}", table.name);
    }
    for scope in [&globex, &staging] {
        assert_eq!(cache.of(scope).usage().await.unwrap().entries, 3);
    }
}

/// A tier that cannot be reached.
#[derive(Debug)]
struct Broken;

impl Broken {
    fn fail<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(std::future::ready(Err(Error::Backend("connection refused".into()))))
    }
}

impl Backend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }
    fn get<'a>(
        &'a self,
        _: &'a Scope<Write>,
        _: &'a CacheKey,
    ) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        Self::fail()
    }
    fn put<'a>(
        &'a self,
        _: &'a Scope<Write>,
        _: &'a CacheKey,
        _: Bytes,
        _: Stamp,
        _: Millis,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Self::fail()
    }
    fn delete<'a>(
        &'a self,
        _: &'a Scope<Write>,
        _: &'a CacheKey,
        _: Stamp,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Self::fail()
    }
    fn clear<'a>(&'a self, _: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        Self::fail()
    }
    fn usage<'a>(&'a self, _: &'a Scope<Write>) -> BoxFuture<'a, Result<Usage, Error>> {
        Self::fail()
    }
}

#[tokio::test]
async fn a_tier_that_fails_is_a_miss() {
    let world = World::new().await;
    let cache = world.over(Settings::default(), vec![Arc::new(Broken)]);
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let key = shelf.key(&about("q"));
    assert!(shelf.get(&key).await.is_none());
    shelf.put(&key, b"v", HOUR).await.unwrap();
    let counts = cache.counts();
    assert_eq!((counts.failed, counts.misses, counts.foreign), (2, 1, 0));
    let error = shelf.clear().await.unwrap_err();
    assert!(!error.to_string().contains("refused"), "causes are for the log: {error}");
}

#[tokio::test]
async fn nothing_more_is_written_for_who_was_revoked() {
    let world = World::new().await;
    let (cache, store) = world.open(Settings::default());
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    world.kit.bump_epoch("acme").await;
    shelf.put(&shelf.key(&about("q")), b"v", HOUR).await.unwrap();
    cache.settled().await;
    assert_eq!(store.of(&acme).usage(TABLES[0]).await.unwrap().rows, 0);
}

#[tokio::test]
async fn a_shredded_shelf_is_empty() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let key = shelf.key(&about("q"));
    shelf.put(&key, b"v", HOUR).await.unwrap();
    assert!(shelf.get(&key).await.is_some());
    world.vault.shred(&acme).await.unwrap();
    assert!(shelf.get(&key).await.is_none());
    assert_eq!(cache.counts().foreign, 0, "its own bytes are no foreign ones");
}
