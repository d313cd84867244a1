//! An agent's own results.

use std::time::Duration;

use bulkhead_cache::{Cache, Entries, EntryName, Error, Settings, Version};
use ids::{Clock as _, Millis};
use scope::{Scope, Write};

use super::world::{HOUR, World, about};

fn entries<'a>(cache: &'a Cache, scope: &'a Scope<Write>) -> Entries<'a> {
    cache.of(scope).entries(Version::of(b"policy"), Version::of(b"config"))
}

const fn name<'a>(entity: &'a str, key: &'a str, versions: &'a [&'a str]) -> EntryName<'a> {
    EntryName { entity, key, versions }
}

#[tokio::test]
async fn comes_back_to_its_owner_by_its_whole_name() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let own = entries(&cache, &acme);
    let whole = name("docs", "key", &["m1", "p2"]);
    let etag = own.put(&whole, "application/json", b"{}", HOUR).await.unwrap();
    cache.settled().await;
    world.clock.advance(Duration::from_secs(5));
    let entry = own.get(&whole).await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.content_type.as_str()), (&b"{}"[..], "application/json"));
    assert_eq!((&entry.etag, entry.age), (&etag, Duration::from_secs(5)));

    for other in [
        name("doc", "key", &["m1", "p2"]),
        name("docs", "kez", &["m1", "p2"]),
        name("docs", "key", &["p2", "m1"]),
        name("docs", "key", &["m1"]),
        name("docs", "key", &["m1p2"]),
        name("docsk", "ey", &["m1", "p2"]),
    ] {
        assert!(own.get(&other).await.unwrap().is_none(), "{other:?}");
    }
    let (policy, config) = (Version::of(b"policy"), Version::of(b"config"));
    for (policy, config) in [(Version::of(b"?"), config), (policy, Version::of(b"?"))] {
        assert!(cache.of(&acme).entries(policy, config).get(&whole).await.unwrap().is_none());
    }
    let others = [
        world.globex().await,
        world.kit.scope("acme", "staging").await,
        world.kit.scope_for("acme", "live", "billing").await,
    ];
    for scope in &others {
        assert!(entries(&cache, scope).get(&whole).await.unwrap().is_none());
        entries(&cache, scope).delete(&whole).await.unwrap();
    }
    // What the model surface keeps under the same words is another thing.
    let shelf = cache.of(&acme);
    assert!(shelf.get(&shelf.key(&about("key"))).await.is_none());
    assert!(own.get(&whole).await.unwrap().is_some());
    assert!(!format!("{own:?} {entry:?} {whole:?}").contains("{}"));
}

#[tokio::test]
async fn an_etag_is_of_content_type_and_value() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let own = entries(&cache, &acme);
    let put = |key: &'static str, of: &'static str, value: &'static [u8]| async move {
        own.put(&name("", key, &[]), of, value, HOUR).await.unwrap()
    };
    let one = put("a", "t/a", b"v").await;
    assert_eq!(one, put("b", "t/a", b"v").await);
    assert_ne!(one, put("a", "t/b", b"v").await);
    assert_ne!(one, put("a", "t/a", b"w").await);
    assert_ne!(put("a", "t/a", b"bv").await, put("a", "t/ab", b"v").await);
    assert!(one.starts_with('"') && one.ends_with('"') && one.len() == 34);
}

#[tokio::test]
async fn forgets_one_set_of_versions_alone() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let own = entries(&cache, &acme);
    let (one, two) = (name("e", "key", &["1"]), name("e", "key", &["2"]));
    for (name, value) in [(&one, b"1"), (&two, b"2")] {
        own.put(name, "t/t", value, HOUR).await.unwrap();
    }
    own.delete(&one).await.unwrap();
    own.delete(&one).await.unwrap();
    assert!(own.get(&one).await.unwrap().is_none());
    assert_eq!(own.get(&two).await.unwrap().unwrap().value, "2");
    world.clock.advance(HOUR);
    assert!(own.get(&two).await.unwrap().is_none(), "ends with its time");
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_by_name() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings { value_max_bytes: 100, ..Settings::default() });
    let acme = world.acme().await;
    let own = entries(&cache, &acme);
    let long = "x".repeat(1_025);
    let many = ["v"; 17];
    let versions = [&long[..256]];
    // 3 bytes of content type and 2 of layout count.
    for (name, bytes, ttl, expected) in [
        (name("", "k", &[]), 95, HOUR, "ok"),
        (name("", "k", &[]), 96, HOUR, "request.too_large"),
        (name("", "k", &[]), 1, Duration::ZERO, "request.malformed"),
        (name("", "", &[]), 1, HOUR, "request.malformed"),
        (name(&long[..255], &long[..1_024], &many[..16]), 1, HOUR, "ok"),
        (name(&long[..256], "k", &[]), 1, HOUR, "request.too_large"),
        (name("", &long, &[]), 1, HOUR, "request.too_large"),
        (name("", "k", &many), 1, HOUR, "request.malformed"),
        (name("", "k", &versions), 1, HOUR, "request.too_large"),
    ] {
        let put = own.put(&name, "t/t", &vec![7; bytes], ttl).await;
        assert_eq!(put.as_ref().map_or_else(Error::code, |_| "ok"), expected, "{name:?}");
    }
    let refused = own.put(&name("", "k", &[]), "t\r\nx: y", b"", HOUR).await.unwrap_err();
    assert_eq!(refused.code(), "request.malformed");
    assert_eq!(own.get(&name("", &long, &[])).await.unwrap_err().code(), "request.too_large");
    assert_eq!(own.delete(&name("", "", &[])).await.unwrap_err().code(), "request.malformed");
}

/// What was replaced is nowhere found again, also when what replaced it has ended.
#[tokio::test]
async fn what_is_replaced_does_not_come_back() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let (own, name) = (entries(&cache, &acme), name("", "k", &[]));
    for _ in 0..20 {
        own.put(&name, "t/t", b"old", HOUR).await.unwrap();
        own.put(&name, "t/t", b"brief", Duration::from_secs(60)).await.unwrap();
        assert_eq!(own.get(&name).await.unwrap().unwrap().value, "brief");
        world.clock.advance(Duration::from_secs(61));
        assert!(own.get(&name).await.unwrap().is_none());
    }
    own.put(&name, "t/t", b"old", HOUR).await.unwrap();
    own.delete(&name).await.unwrap();
    assert!(own.get(&name).await.unwrap().is_none());
}

/// A clock that was ahead and was set right before the process began again.
#[tokio::test]
async fn what_bears_a_later_date_is_replaced_all_the_same() {
    let world = World::new().await;
    let acme = world.acme().await;
    let name = name("", "k", &[]);
    let (cache, store) = world.open(Settings::default());
    world.clock.advance(HOUR);
    entries(&cache, &acme).put(&name, "t/t", b"old", 24 * HOUR).await.unwrap();
    drop(cache);
    store.close().await.unwrap();

    world.clock.set(Millis(world.clock.now().0 - 3_600_000));
    let (cache, _store) = world.open(Settings::default());
    let own = entries(&cache, &acme);
    assert_eq!(own.get(&name).await.unwrap().unwrap().value, "old");
    own.put(&name, "t/t", b"new", HOUR).await.unwrap();
    assert_eq!(own.get(&name).await.unwrap().unwrap().value, "new");
    own.delete(&name).await.unwrap();
    assert!(own.get(&name).await.unwrap().is_none());
}
