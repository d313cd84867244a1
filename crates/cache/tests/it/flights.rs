//! Single flight through the whole cache.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bulkhead_cache::{Cache, Found, Settings, Turn};
use scope::{Scope, Write};
use tokio::{sync::Notify, task::JoinSet};

use super::world::{HOUR, World, about};

const LONG: Duration = Duration::from_secs(3_600);

/// One request: reads, or works and keeps, or waits and reads.
async fn request(cache: Cache, scope: Scope<Write>, work: Arc<AtomicU64>) -> String {
    let shelf = cache.of(&scope);
    let key = shelf.key(&about("q"));
    let leader = match shelf.seek(&key, None).await {
        Found::Hit(hit) => return text(&hit.value),
        Found::Lead(leader) => leader,
        Found::Follow(follower) => match follower.turn(LONG).await {
            Turn::Lead(leader) => leader,
            Turn::Read => return text(&shelf.get(&key).await.expect("kept").value),
            Turn::Alone => panic!("somebody leads"),
        },
    };
    let nth = work.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    let answer = format!("answer {nth} for {}", scope.tenant());
    shelf.put(&key, answer.as_bytes(), HOUR).await.unwrap();
    leader.kept();
    answer
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_does_the_work() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    for _ in 0..20 {
        cache.of(&acme).clear().await.unwrap();
        let work = Arc::new(AtomicU64::new(0));
        let mut all = JoinSet::new();
        for _ in 0..100 {
            all.spawn(request(cache.clone(), acme.clone(), work.clone()));
        }
        let answers = all.join_all().await;
        assert_eq!(work.load(Ordering::SeqCst), 1, "one leader");
        assert!(answers.iter().all(|answer| answer == "answer 0 for acme"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_never_share_a_flight() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    let mut all = JoinSet::new();
    let works = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    for _ in 0..50 {
        for (scope, work) in [&acme, &globex].into_iter().zip(&works) {
            let tenant = scope.tenant().to_string();
            let asked = request(cache.clone(), scope.clone(), work.clone());
            all.spawn(async move { (tenant, asked.await) });
        }
    }
    for (tenant, answer) in all.join_all().await {
        assert_eq!(answer, format!("answer 0 for {tenant}"));
    }
    for work in works {
        assert_eq!(work.load(Ordering::SeqCst), 1, "a leader each");
    }
}

#[tokio::test]
async fn a_cancelled_leader_hands_over() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let work = Arc::new(AtomicU64::new(0));
    let shelf = cache.of(&acme);
    let Found::Lead(leader) = shelf.seek(&shelf.key(&about("q")), None).await else {
        panic!("nobody else is here")
    };
    let mut all = JoinSet::new();
    let (started, waits) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    {
        let (started, waits) = (started.clone(), waits.clone());
        all.spawn(async move {
            started.notify_one();
            waits.notified().await;
            drop(leader);
            String::new()
        });
    }
    started.notified().await;
    let mut followers = JoinSet::new();
    for _ in 0..10 {
        followers.spawn(request(cache.clone(), acme.clone(), work.clone()));
    }
    all.abort_all();
    while all.join_next().await.is_some() {}
    for answer in followers.join_all().await {
        assert_eq!(answer, "answer 0 for acme");
    }
    assert_eq!(work.load(Ordering::SeqCst), 1);
    drop(waits);
}

#[tokio::test]
async fn a_hit_that_is_too_old_for_the_caller_is_fetched_again() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let key = shelf.key(&about("q"));
    shelf.put(&key, b"old", 10 * HOUR).await.unwrap();
    world.clock.advance(HOUR);
    assert!(matches!(shelf.seek(&key, Some(HOUR)).await, Found::Hit(_)));
    let Found::Lead(leader) = shelf.seek(&key, Some(HOUR / 2)).await else {
        panic!("an hour is more than half an hour")
    };
    shelf.put(&key, b"new", 10 * HOUR).await.unwrap();
    leader.kept();
    let Found::Hit(hit) = shelf.seek(&key, Some(Duration::ZERO)).await else { panic!("fresh") };
    assert_eq!(hit.value, "new");
}
