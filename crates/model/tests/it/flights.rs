//! Single flight through the surface.

use std::sync::{Arc, Mutex};

use bulkhead_model::{CacheStatus, ModelHop};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    standin::{Reply, StandIn, chunks, completion, json, status},
    world::{World, prompt, secret_of, settings, stream_prompt, text, whose},
};

/// Many equal requests of each tenant at once; what each of them got, by tenant.
async fn at_once(
    world: &Arc<World>,
    model: &ModelHop,
    tenants: &[&'static str],
    body: &str,
) -> Vec<(&'static str, CacheStatus, String)> {
    let mut all = JoinSet::new();
    for nth in 0..50 * tenants.len() {
        let tenant = tenants[nth % tenants.len()];
        let scope = world.kit.scope(tenant, "live").await;
        let (world, model, body) = (world.clone(), model.clone(), body.to_owned());
        all.spawn(async move {
            let answer = world.ask(&model, &scope, &body).await.unwrap();
            (tenant, answer.cache, text(answer).await)
        });
    }
    all.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_of_one_tenant_ask_once_and_of_two_tenants_twice() {
    let (world, upstream) = (Arc::new(World::new().await), StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    for (body, stream) in [(prompt("kept", "q"), false), (stream_prompt("kept", "q"), true)] {
        let before = upstream.asked();
        let got = at_once(&world, &model, &["acme", "globex"], &body).await;
        assert_eq!(upstream.asked() - before, 2, "once for each tenant");
        let misses = got.iter().filter(|(_, cache, _)| *cache == CacheStatus::Miss).count();
        assert_eq!(misses, 2);
        for (tenant, _, answer) in got {
            let own = whose(&secret_of(tenant, "live"));
            assert!(answer.contains(&own), "{tenant}: {answer}");
            assert_eq!(answer.contains("[DONE]"), stream);
        }
    }
}

#[tokio::test]
async fn a_cancelled_leader_hands_over() {
    let (world, upstream) = (Arc::new(World::new().await), StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    // The first request is never answered, and tells when it has come.
    let (came, has_come) = oneshot::channel();
    let came = Mutex::new(Some(came));
    upstream.answers(move |nth, _| match nth {
        0 => {
            came.lock().unwrap().take().unwrap().send(()).unwrap();
            Reply::Never
        }
        _ => json(completion("handed over")),
    });
    let mut leader = JoinSet::new();
    let (of_leader, its_model, its_scope) = (world.clone(), model.clone(), acme.clone());
    leader.spawn(async move {
        of_leader.ask(&its_model, &its_scope, &prompt("kept", "q")).await.is_ok()
    });
    has_come.await.unwrap();
    let mut followers = JoinSet::new();
    for _ in 0..10 {
        let (world, model, acme) = (world.clone(), model.clone(), acme.clone());
        followers.spawn(async move {
            let answer = world.ask(&model, &acme, &prompt("kept", "q")).await.unwrap();
            text(answer).await
        });
    }
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.asked(), 1, "they wait");
    leader.abort_all();
    for answer in followers.join_all().await {
        assert_eq!(answer, completion("handed over"));
    }
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn a_stream_that_its_reader_leaves_hands_over() {
    let (world, upstream) = (Arc::new(World::new().await), StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let (by_hand, pieces) = mpsc::channel(1);
    let pieces = Mutex::new(Some(pieces));
    upstream.answers(move |_, _| match pieces.lock().unwrap().take() {
        Some(pieces) => Reply::Stream(pieces),
        None => super::standin::events(chunks("whole")),
    });
    let body = stream_prompt("kept", "q");
    let led = world.ask(&model, &acme, &body).await.unwrap();
    by_hand.send("data: {\"a\":1}\n\n".into()).await.unwrap();
    let mut followers = JoinSet::new();
    for _ in 0..5 {
        let (world, model, acme, body) = (world.clone(), model.clone(), acme.clone(), body.clone());
        followers.spawn(async move { text(world.ask(&model, &acme, &body).await.unwrap()).await });
    }
    drop(led);
    for answer in followers.join_all().await {
        assert_eq!(answer, chunks("whole"));
    }
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn a_failure_sets_followers_free_at_once() {
    let (world, upstream) = (Arc::new(World::new().await), StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    upstream.answers(|_, _| status(503, r#"{"error":{"message":"overloaded"}}"#));
    let got = at_once(&world, &model, &["acme"], &prompt("kept", "q")).await;
    assert!(
        got.iter()
            .all(|(_, cache, answer)| *cache == CacheStatus::Miss && answer.contains("overloaded"))
    );
    assert_eq!(upstream.asked(), got.len());
}

#[tokio::test]
async fn followers_do_not_wait_for_ever() {
    let (world, upstream) = (Arc::new(World::new().await), StandIn::new().await);
    let mut settings = settings(upstream.address);
    if let Some(cache) = &mut settings.routes[1].cache {
        cache.wait_ms = 1;
    }
    let model = world.hop(settings);
    let acme = world.acme().await;
    let (_by_hand, pieces) = mpsc::channel(1);
    let pieces = Mutex::new(Some(pieces));
    upstream.answers(move |_, _| match pieces.lock().unwrap().take() {
        Some(pieces) => Reply::Stream(pieces),
        None => super::standin::events(chunks("mine")),
    });
    let body = stream_prompt("kept", "q");
    let endless = world.ask(&model, &acme, &body).await.unwrap();
    let own = world.ask(&model, &acme, &body).await.unwrap();
    assert_eq!((own.cache, text(own).await), (CacheStatus::Miss, chunks("mine")));
    drop(endless);
}
