//! The state of runs: whose it is, conditions, versions, time.

use std::{sync::mpsc, time::Duration};

use bulkhead_cache::{Book, Condition, Error, Put, State, StateSettings};
use futures_util::FutureExt;
use ids::RunId;
use scope::{Scope, Write};
use store::{File, Range, Store};

use super::world::{HOUR, World};

pub(super) const TEXT: &str = "text/plain";

/// Well within the life of a token.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn run(name: &str) -> RunId {
    RunId::parse(name).unwrap()
}

/// Keeps a text under any condition.
pub(super) async fn set(state: &State, scope: &Scope<Write>, name: &str, key: &str, value: &str) {
    let book = state.of(scope);
    book.put(&run(name), key, value.as_bytes(), TEXT, None, Condition::Any).await.unwrap();
}

async fn text(state: &State, scope: &Scope<Write>, name: &str, key: &str) -> Option<String> {
    let item = state.of(scope).get(&run(name), key, None).await.unwrap()?;
    Some(String::from_utf8(item.value.to_vec()).unwrap())
}

/// Catches the planted bug `state-key-without-workflow`.
#[tokio::test]
async fn one_key_has_a_value_for_each_tenant_environment_workflow_and_run() {
    let world = World::new().await;
    let (state, _store) = world.state(StateSettings::default());
    let mut owners = Vec::new();
    for tenant in ["acme", "globex"] {
        for environment in ["live", "staging"] {
            for workflow in ["support", "billing"] {
                owners.push(world.kit.scope_for(tenant, environment, workflow).await);
            }
        }
    }
    let runs = ["r", "r1"];
    let value = |scope: &Scope<Write>, name: &str| {
        format!("canary {}/{}/{:?}/{name}", scope.tenant(), scope.environment(), scope.workflow())
    };
    for scope in &owners {
        for name in runs {
            set(&state, scope, name, "key", &value(scope, name)).await;
        }
    }
    for scope in &owners {
        let book = state.of(scope);
        for name in runs {
            assert_eq!(text(&state, scope, name, "key").await, Some(value(scope, name)));
            let listed = book.list(&run(name), "", None, 10).await.unwrap();
            assert_eq!(listed.len(), 1, "one key of this run");
            assert_eq!(listed[0].bytes, value(scope, name).len() as u64);
            let history = book.history(&run(name), "key", 10).await.unwrap();
            assert_eq!(history.len(), 1, "nobody else's write is a version of it");
        }
    }
    // What one removes is gone for it alone.
    assert_eq!(state.of(&owners[0]).delete_run(&run("r")).await.unwrap(), 1);
    for (i, scope) in owners.iter().enumerate() {
        for (j, name) in runs.iter().enumerate() {
            assert_eq!(text(&state, scope, name, "key").await.is_none(), (i, j) == (0, 0));
        }
    }
}

/// Catches the planted bug `state-cas-outside-transaction`: everybody has looked before
/// anybody writes.
#[tokio::test]
async fn of_those_who_write_on_one_version_one_wins() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    let mut etag = String::new();
    for round in 0..4 {
        let condition = if round == 0 { Condition::Absent } else { Condition::Is(&etag) };
        let (hold, go_on) = hold(&store, &acme);
        let mut hold = Box::pin(hold);
        assert!((&mut hold).now_or_never().is_none());
        let values: Vec<String> = (0..16).map(|i| format!("{round} by {i}")).collect();
        let mut puts = Vec::new();
        for value in &values {
            let mut put = Box::pin(book.put(&name, "key", value.as_bytes(), TEXT, None, condition));
            assert!((&mut put).now_or_never().is_none(), "waits for the writer");
            puts.push(put);
        }
        go_on.send(()).unwrap();
        hold.await.unwrap();
        let outcomes = futures_util::future::join_all(puts).await;
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "round {round}");
        let lost = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(lost.into_iter().all(|error| error.code() == "state.conflict"));
        let winner = outcomes.iter().position(Result::is_ok).unwrap();
        assert_eq!(text(&state, &acme, "r", "key").await.unwrap(), values[winner]);
        assert_eq!(won[0].created, round == 0);
        etag.clone_from(&won[0].etag);
    }
}

/// Holds the writer of the state until told to go on.
fn hold<'a>(
    store: &'a Store,
    scope: &'a Scope<Write>,
) -> (impl Future<Output = Result<(), store::Error>> + 'a, mpsc::Sender<()>) {
    let (go_on, wait) = mpsc::channel();
    let held = store.of(scope).write(File::State, 0, move |_| {
        let _ = wait.recv();
        Ok(())
    });
    (held, go_on)
}

/// Whoever does not ask for a version is never told of a conflict, however many write.
#[tokio::test]
async fn writes_without_a_condition_all_succeed() {
    let world = World::new().await;
    let (state, _store) = world.state(StateSettings { history: 64, ..StateSettings::default() });
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    let puts = (0..40_u8).map(|i| {
        let name = &name;
        async move { book.put(name, "key", &[i], TEXT, None, Condition::Any).await.unwrap() }
    });
    let mut versions: Vec<u64> =
        futures_util::future::join_all(puts).await.iter().map(|put| put.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=40).collect::<Vec<_>>(), "each one a version of its own");
    let mut values: Vec<u8> = Vec::new();
    for version in versions {
        values.push(book.get(&name, "key", Some(version)).await.unwrap().unwrap().value[0]);
    }
    values.sort_unstable();
    assert_eq!(values, (0..40).collect::<Vec<_>>(), "and a value of its own");
}

#[tokio::test]
async fn conditions_are_held_against_what_is_there() {
    let world = World::new().await;
    let (state, _store) = world.state(StateSettings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    let (book, name) = (state.of(&acme), run("r"));
    let conflict = |outcome: Result<Put, Error>| outcome.unwrap_err().code() == "state.conflict";
    assert!(conflict(try_put(book, "key", Condition::Present).await));
    assert!(conflict(try_put(book, "key", Condition::Is("\"v1-00000000\"")).await));
    let first = try_put(book, "key", Condition::Absent).await.unwrap();
    assert!(first.created);
    assert!(conflict(try_put(book, "key", Condition::Absent).await));
    assert!(conflict(try_put(book, "key", Condition::Is(&format!("W/{}", first.etag))).await));
    assert!(conflict(try_put(book, "key", Condition::Is("*")).await));
    let second = try_put(book, "key", Condition::Is(&first.etag)).await.unwrap();
    assert!(!second.created && second.version > first.version);
    assert_ne!(second.etag, first.etag, "though the value is the same");
    assert!(
        conflict(try_put(book, "key", Condition::Is(&first.etag)).await),
        "not the newest any more"
    );
    assert!(conflict(try_put(book, "other", Condition::Is(&second.etag)).await), "another key's");
    let third = try_put(book, "key", Condition::Present).await.unwrap();

    // Nobody else's condition reaches it.
    let theirs = state.of(&globex);
    let foreign =
        theirs.put(&name, "key", b"v", TEXT, None, Condition::Is(&third.etag)).await.unwrap_err();
    assert_eq!(foreign.code(), "state.conflict");
    let foreign = theirs.delete(&name, "key", Condition::Is(&third.etag)).await.unwrap_err();
    assert_eq!(foreign.code(), "state.conflict", "as for a key that is nowhere");
    assert!(!theirs.delete(&name, "key", Condition::Any).await.unwrap());

    assert!(book.delete(&name, "key", Condition::Is(&second.etag)).await.is_err());
    assert!(book.delete(&name, "key", Condition::Is(&third.etag)).await.unwrap());
    assert!(!book.delete(&name, "key", Condition::Any).await.unwrap());
    assert!(book.delete(&name, "key", Condition::Present).await.is_err());
}

async fn try_put(book: Book<'_, Write>, key: &str, condition: Condition<'_>) -> Result<Put, Error> {
    book.put(&run("r"), key, b"v", TEXT, None, condition).await
}

/// An `ETag` from before a deletion never fits what was made after it.
#[tokio::test]
async fn versions_rise_across_deletion_expiry_and_restart() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let acme = world.acme().await;
    let name = run("r");
    let mut last = 0;
    let mut etags = std::collections::HashSet::new();
    let (mut state, mut store) = (state, store);
    for round in 0..8 {
        let book = state.of(&acme);
        let ttl = (round % 2 == 0).then_some(MINUTE);
        let put = book.put(&name, "key", b"same", TEXT, ttl, Condition::Absent).await.unwrap();
        assert!(put.created && put.version > last, "round {round}");
        assert!(etags.insert(put.etag.clone()));
        let put = book.put(&name, "key", b"same", TEXT, ttl, Condition::Is(&put.etag)).await;
        let put = put.unwrap();
        assert!(etags.insert(put.etag));
        last = put.version;
        match round % 4 {
            0 | 2 => world.clock.advance(MINUTE),
            1 => assert!(book.delete(&name, "key", Condition::Any).await.unwrap()),
            _ => assert_eq!(book.delete_run(&name).await.unwrap(), 1),
        }
        assert!(book.get(&name, "key", None).await.unwrap().is_none());
        assert!(book.get(&name, "key", Some(last)).await.unwrap().is_none());
        assert!(book.history(&name, "key", 10).await.unwrap().is_empty());
        drop(state);
        store.close().await.unwrap();
        (state, store) = world.state(StateSettings::default());
    }
}

#[tokio::test]
async fn earlier_versions_are_kept_so_far() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings { history: 3, ..StateSettings::default() });
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    for i in 1..=6 {
        set(&state, &acme, "r", "key", &format!("value {i}")).await;
    }
    let history = book.history(&name, "key", 100).await.unwrap();
    let versions: Vec<u64> = history.iter().map(|listed| listed.version).collect();
    assert_eq!(versions, [6, 5, 4, 3]);
    assert_eq!(book.history(&name, "key", 2).await.unwrap(), history[..2]);
    for listed in &history {
        let item = book.get(&name, "key", Some(listed.version)).await.unwrap().unwrap();
        assert_eq!(item.value, format!("value {}", listed.version));
        assert_eq!((&item.etag, item.written), (&listed.etag, listed.written));
    }
    for gone in [0, 1, 2, 7, u64::MAX] {
        assert!(book.get(&name, "key", Some(gone)).await.unwrap().is_none(), "{gone}");
    }
    assert_eq!(rows(&store, &acme).await, 4, "the rows of the others are gone");
    drop(state);

    // Fewer from now on.
    let fewer = StateSettings { history: 0, ..StateSettings::default() };
    let state = State::open(fewer, &store, &world.vault, world.clock.clone()).unwrap();
    set(&state, &acme, "r", "key", "value 7").await;
    assert_eq!(state.of(&acme).history(&name, "key", 100).await.unwrap().len(), 1);
    assert_eq!(rows(&store, &acme).await, 1);
}

/// How many sealed values there are.
async fn rows(store: &Store, scope: &Scope<Write>) -> usize {
    let values = bulkhead_cache::STATE_TABLES[1];
    store.of(scope).scan(values, Range::all()).await.unwrap().len()
}

#[tokio::test]
async fn a_key_ends_with_its_newest_version() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    let put = |key: &'static str, ttl| {
        let name = &name;
        async move { book.put(name, key, b"v", TEXT, ttl, Condition::Any).await.unwrap() }
    };
    // Without an end, then with one; and the other way round.
    put("ends", None).await;
    put("ends", Some(MINUTE)).await;
    put("stays", Some(MINUTE)).await;
    put("stays", None).await;
    put("longer", Some(MINUTE)).await;
    put("longer", Some(2 * MINUTE)).await;
    let item = book.get(&name, "ends", None).await.unwrap().unwrap();
    assert_eq!(item.expires, Some(item.written.plus(MINUTE)));

    world.clock.advance(MINUTE - Duration::from_millis(1));
    assert_eq!(book.list(&name, "", None, 10).await.unwrap().len(), 3);
    world.clock.advance(Duration::from_millis(1));
    let keys = |listed: Vec<bulkhead_cache::Listed>| {
        listed.into_iter().map(|listed| listed.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(book.list(&name, "", None, 10).await.unwrap()), ["longer", "stays"]);
    assert!(!book.delete(&name, "ends", Condition::Any).await.unwrap(), "gone already");
    // The earlier version, which had an end, has reached it.
    assert_eq!(book.history(&name, "stays", 10).await.unwrap().len(), 1);
    assert_eq!(book.history(&name, "longer", 10).await.unwrap().len(), 1);

    // And no rows stay behind once somebody writes.
    world.clock.advance(MINUTE);
    put("stays", None).await;
    assert_eq!(rows(&store, &acme).await, 2);
    book.delete_run(&name).await.unwrap();
    for table in bulkhead_cache::STATE_TABLES {
        let left = store.of(&acme).scan(*table, Range::all()).await.unwrap();
        assert_eq!(left.len(), usize::from(table.name == "state.floor"), "{}", table.name);
    }
}

#[tokio::test]
async fn an_operator_bounds_how_long_anything_stays() {
    let world = World::new().await;
    let (state, _store) = world.state(StateSettings { ttl_max_days: 1, ..Default::default() });
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    for (key, ttl) in [("none", None), ("long", Some(100 * HOUR)), ("short", Some(HOUR))] {
        book.put(&name, key, b"v", TEXT, ttl, Condition::Any).await.unwrap();
        let item = book.get(&name, key, None).await.unwrap().unwrap();
        let hours = if key == "short" { 1 } else { 24 };
        assert_eq!(item.expires, Some(item.written.plus(hours * HOUR)), "{key}");
    }
}

#[tokio::test]
async fn lists_in_order_in_pages_under_a_prefix() {
    let world = World::new().await;
    let (state, _store) = world.state(StateSettings::default());
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    let mut keys: Vec<String> = (0..30).map(|i| format!("a/{i}")).collect();
    keys.extend(["a".into(), "a/".into(), "b".into(), "ü".into(), "z z".into()]);
    for (i, key) in keys.iter().enumerate() {
        let ttl = (i % 3 == 0).then_some(HOUR);
        book.put(&name, key, key.as_bytes(), TEXT, ttl, Condition::Any).await.unwrap();
    }
    keys.sort();
    let pages = |prefix: &'static str, limit: usize| {
        let name = &name;
        async move {
            let (mut all, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = book.list(name, prefix, after.as_deref(), limit).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { return all };
                after = Some(last.key.clone());
                all.extend(page.into_iter().map(|listed| listed.key));
            }
        }
    };
    for (prefix, limit) in [("", 1_000), ("", 7), ("a/", 4), ("a/1", 1), ("ü", 9), ("c", 9)] {
        let mut expected = keys.clone();
        expected.retain(|key| key.starts_with(prefix));
        assert_eq!(pages(prefix, limit).await, expected, "{prefix} by {limit}");
    }
    assert!(book.list(&name, "", None, 0).await.unwrap().is_empty());
    // Ended ones take no place in a page.
    world.clock.advance(HOUR);
    assert_eq!(book.list(&name, "", None, 20).await.unwrap().len(), 20);
    assert_eq!(pages("", 5).await.len(), keys.len() - keys.len().div_ceil(3));
}

/// A write goes on when nobody waits for it any more, and is whole.
#[tokio::test]
async fn who_stops_waiting_leaves_no_half() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let acme = world.acme().await;
    let (book, name) = (state.of(&acme), run("r"));
    set(&state, &acme, "r", "key", "0").await;
    let mut seen = 0;
    for i in 1..=50 {
        let value = i.to_string();
        let mut put =
            Box::pin(book.put(&name, "key", value.as_bytes(), TEXT, None, Condition::Any));
        if i % 3 > 0 {
            // Hands it to the writer, which may even be quicker than this.
            let _ = (&mut put).now_or_never();
        }
        drop(put);
        store.flush().await;
        let item = book.get(&name, "key", None).await.unwrap().unwrap();
        let now: u64 = std::str::from_utf8(&item.value).unwrap().parse().unwrap();
        assert_eq!(now, if i % 3 > 0 { i } else { seen }, "under way, or never begun");
        let history = book.history(&name, "key", 64).await.unwrap();
        assert_eq!(rows(&store, &acme).await, history.len(), "each version has its value");
        for listed in history {
            assert!(book.get(&name, "key", Some(listed.version)).await.unwrap().is_some());
        }
        seen = now;
    }
}

/// Nor is a removal.
#[tokio::test]
async fn nothing_more_is_removed_by_who_was_revoked() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    try_put(state.of(&acme), "key", Condition::Any).await.unwrap();
    let before = rows(&store, &acme).await;
    let (held, go_on) = hold(&store, &globex);
    let mut held = Box::pin(held);
    assert!((&mut held).now_or_never().is_none());
    let name = run("r");
    let mut delete = Box::pin(state.of(&acme).delete(&name, "key", Condition::Any));
    let mut clear = Box::pin(state.of(&acme).delete_run(&name));
    assert!((&mut delete).now_or_never().is_none());
    assert!((&mut clear).now_or_never().is_none());
    world.kit.bump_epoch("acme").await;
    go_on.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(delete.await.unwrap_err().code(), "scope.revoked");
    assert_eq!(clear.await.unwrap_err().code(), "scope.revoked");
    assert_eq!(rows(&store, &acme).await, before);
}

/// A write that waits when its tenant is erased, or its credential revoked, is not done.
#[tokio::test]
async fn nothing_more_is_written_for_who_was_revoked() {
    let world = World::new().await;
    let (state, store) = world.state(StateSettings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    let (held, go_on) = hold(&store, &globex);
    let mut held = Box::pin(held);
    assert!((&mut held).now_or_never().is_none());
    let mut put = Box::pin(try_put(state.of(&acme), "key", Condition::Any));
    assert!((&mut put).now_or_never().is_none());
    world.kit.bump_epoch("acme").await;
    go_on.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(put.await.unwrap_err().code(), "scope.revoked");
    assert_eq!(rows(&store, &acme).await, 0);
}
