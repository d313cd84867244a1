//! The state of runs: its bounds, and what stands in its rows.

use bulkhead_cache::{Condition, STATE_TABLES, StateSettings};
use store::Range;

use super::{
    state::{MINUTE, TEXT, run, set},
    world::World,
};

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_by_name() {
    let world = World::new().await;
    let settings =
        StateSettings { value_max_bytes: 100, key_max_bytes: 10, ..StateSettings::default() };
    let (state, _store) = world.state(settings);
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    let long_type = "t".repeat(256);
    for (key, bytes, content_type, expected) in [
        ("key", 100, TEXT, "ok"),
        ("key", 101, TEXT, "request.too_large"),
        ("0123456789", 0, TEXT, "ok"),
        ("0123456789a", 0, TEXT, "request.too_large"),
        ("äöüäöü", 0, TEXT, "request.too_large"),
        ("", 0, TEXT, "request.malformed"),
        ("a\nb", 0, TEXT, "request.malformed"),
        ("a\0b", 0, TEXT, "request.malformed"),
        ("key", 1, "", "request.malformed"),
        ("key", 1, "a\r\nset-cookie: b", "request.malformed"),
        ("key", 1, long_type.as_str(), "request.too_large"),
    ] {
        let value = vec![7; bytes];
        let put = book.put(&name, key, &value, content_type, None, Condition::Any).await;
        assert_eq!(put.map_or_else(|e| e.code(), |_| "ok"), expected, "{key:?} {content_type:?}");
    }
    let zero = Some(std::time::Duration::ZERO);
    let put = book.put(&name, "key", b"", TEXT, zero, Condition::Any).await;
    assert_eq!(put.unwrap_err().code(), "request.malformed");
    let long = "0123456789a";
    for code in [
        book.get(&name, long, None).await.unwrap_err().code(),
        book.delete(&name, long, Condition::Any).await.unwrap_err().code(),
        book.history(&name, long, 1).await.unwrap_err().code(),
        book.list(&name, long, None, 1).await.unwrap_err().code(),
        book.list(&name, "", Some(long), 1).await.unwrap_err().code(),
    ] {
        assert_eq!(code, "request.too_large");
    }
    // An error never repeats what was sent.
    let error = book.get(&name, "canary\n", None).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"));
}

/// What has ended makes room by itself, also when it is much and another run's.
#[tokio::test]
async fn a_run_has_so_many_keys() {
    let world = World::new().await;
    let settings = StateSettings { keys_per_run: 20, ..StateSettings::default() };
    let (state, _store) = world.state(settings);
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    let put = |run_name: &'static str, key: String, ttl| async move {
        book.put(&run(run_name), &key, b"v", TEXT, ttl, Condition::Any).await
    };
    for i in 0..20 {
        put("other", i.to_string(), Some(MINUTE)).await.unwrap();
        put("r", i.to_string(), Some(2 * MINUTE)).await.unwrap();
    }
    let full = put("r", "more".into(), None).await.unwrap_err();
    assert_eq!((full.code(), full.to_string().contains("keys_per_run")), ("state.full", true));
    put("r", "7".into(), Some(2 * MINUTE)).await.unwrap();
    put("third", "more".into(), None).await.unwrap();

    assert!(book.delete(&name, "7", Condition::Any).await.unwrap());
    put("r", "more".into(), None).await.unwrap();
    assert_eq!(put("r", "7".into(), None).await.unwrap_err().code(), "state.full");

    world.clock.advance(2 * MINUTE);
    for i in 0..19 {
        put("r", format!("new {i}"), None).await.unwrap();
    }
    assert_eq!(put("r", "7".into(), None).await.unwrap_err().code(), "state.full");
    assert_eq!(book.delete_run(&name).await.unwrap(), 20);
    for i in 0..20 {
        put("r", i.to_string(), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_tenant_has_so_many_bytes_and_takes_none_from_another() {
    let world = World::new().await;
    let settings =
        StateSettings { bytes_per_tenant: 50_000, history: 1, ..StateSettings::default() };
    let (state, store) = world.state(settings);
    let (acme, globex) = (world.acme().await, world.globex().await);
    let (book, name) = (state.of(&acme), run("r"));
    let mut kept = 0;
    let full = loop {
        let key = format!("key {kept}");
        match book.put(&name, &key, &[0; 1_000], TEXT, Some(MINUTE), Condition::Any).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((full.code(), full.to_string().contains("bytes_per_tenant")), ("state.full", true));
    assert!((35..45).contains(&kept), "{kept}");
    assert!(book.usage().await.unwrap().bytes <= 50_000);
    assert_eq!(book.usage().await.unwrap().entries, kept);
    // Whole or not at all: the refused one left nothing.
    assert_eq!(book.list(&name, "", None, 1_000).await.unwrap().len() as u64, kept);
    set(&state, &globex, "r", "key", &"v".repeat(10_000)).await;
    assert!(book.delete(&name, "key 0", Condition::Any).await.unwrap());
    set(&state, &acme, "r", "key 0", &"v".repeat(900)).await;

    // Values that have ended count until they are swept; a write sees to that itself.
    world.clock.advance(MINUTE);
    set(&state, &acme, "other", "large", &"v".repeat(30_000)).await;
    let system = maintenance();
    store.sweep(&system).await.unwrap();
    assert_eq!(state.of(&globex).usage().await.unwrap().entries, 1);
    let mut sum = 0;
    for table in STATE_TABLES {
        sum += store.of(&acme).usage(*table).await.unwrap().bytes;
    }
    assert_eq!(book.usage().await.unwrap().bytes, sum);
}

#[expect(clippy::disallowed_methods, reason = "the sweep of the store, as maintenance runs it")]
fn maintenance() -> scope::SystemScope {
    scope::SystemScope::claim(scope::Maintenance::Storage)
}

#[tokio::test]
async fn what_is_on_disk_is_sealed_for_its_place() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    let (book, name) = (state.of(&acme), run("r"));
    let first = book.put(&name, "key", b"canary one", "x/canary", None, Condition::Any).await;
    let first = first.unwrap();
    set(&state, &acme, "r", "key", "canary two").await;
    set(&state, &acme, "r", "kez", "canary three").await;
    set(&state, &globex, "r", "key", "canary four").await;

    let values = STATE_TABLES[1];
    for table in STATE_TABLES {
        for (_, row) in store.of(&acme).scan(*table, Range::all()).await.unwrap() {
            assert!(!row.windows(6).any(|bytes| bytes == b"canary"), "{}", table.name);
        }
    }
    let rows = store.of(&acme).scan(values, Range::all()).await.unwrap();
    assert_eq!(rows.len(), 3);
    let theirs = store.of(&globex).scan(values, Range::all()).await.unwrap();
    let (place, whole) = rows[1].clone();
    // An earlier version, another key's, another tenant's, none at all.
    let mut changed = whole.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    for wrong in [&rows[0].1[..], &rows[2].1, &theirs[0].1, &changed, b"canary"] {
        store.of(&acme).put(values, &place, wrong).await.unwrap();
        let error = book.get(&name, "key", None).await.unwrap_err();
        assert_eq!(error.code(), "vault.foreign");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    store.of(&acme).put(values, &place, &whole).await.unwrap();
    let item = book.get(&name, "key", None).await.unwrap().unwrap();
    assert_eq!((&*item.value, item.content_type.as_str()), (&b"canary two"[..], TEXT));
    let item = book.get(&name, "key", Some(first.version)).await.unwrap().unwrap();
    assert_eq!((&*item.value, item.content_type.as_str()), (&b"canary one"[..], "x/canary"));
    let listed = book.list(&name, "", None, 10).await.unwrap();
    assert!(!format!("{state:?} {book:?} {item:?} {listed:?}").contains("canary"));

    // A head that is no head is an error, not an empty run.
    store.of(&acme).put(STATE_TABLES[0], &place[..place.len() - 8], b"?").await.unwrap();
    assert_eq!(book.get(&name, "key", None).await.unwrap_err().code(), "internal");
    assert_eq!(book.list(&name, "", None, 10).await.unwrap_err().code(), "internal");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_restart() {
    let world = World::new().await;
    let acme = world.acme().await;
    let (state, store) = world.state(StateSettings::default());
    for i in 0..20 {
        set(&state, &acme, "r", &format!("key {}", i % 5), &i.to_string()).await;
    }
    let before = state.of(&acme).list(&run("r"), "", None, 100).await.unwrap();
    drop(state);
    store.close().await.unwrap();
    let (state, _store) = world.state(StateSettings::default());
    let book = state.of(&acme);
    assert_eq!(book.list(&run("r"), "", None, 100).await.unwrap(), before);
    for i in 0..5 {
        let item = book.get(&run("r"), &format!("key {i}"), None).await.unwrap().unwrap();
        assert_eq!(item.value, (15 + i).to_string());
    }
}

/// An erasure takes it all, and nothing can be written afterwards.
#[tokio::test]
async fn an_erasure_leaves_nothing() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    set(&state, &acme, "r", "key", "a").await;
    set(&state, &globex, "r", "key", "b").await;
    store.of(&acme).erase_all().await.unwrap();
    let book = state.of(&acme);
    assert!(book.get(&run("r"), "key", None).await.unwrap().is_none());
    assert_eq!(book.usage().await.unwrap(), bulkhead_cache::Usage::default());
    assert!(state.of(&globex).get(&run("r"), "key", None).await.unwrap().is_some());
}

/// Whoever may only read can read.
#[tokio::test]
async fn a_reader_sees_what_a_writer_wrote() {
    let world = World::new().await;
    let (state, _store) = world.state(StateSettings::default());
    let acme = world.acme().await;
    set(&state, &acme, "r", "key", "a").await;
    let reader = acme.read_only();
    let book = state.of(&reader);
    assert_eq!(book.get(&run("r"), "key", None).await.unwrap().unwrap().value, "a");
    assert_eq!(book.list(&run("r"), "", None, 1).await.unwrap().len(), 1);
    assert_eq!(book.history(&run("r"), "key", 1).await.unwrap().len(), 1);
}
