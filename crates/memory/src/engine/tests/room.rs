//! How many are open, and who waits for whom.

use super::*;

async fn tenants(world: &World, count: usize) -> Vec<(Scope<Write>, Collection)> {
    let acme = world.acme().await;
    let mut all = Vec::new();
    for n in 0..count {
        let docs = world.collection(&acme, &format!("docs-{n}")).await;
        world.put(&acme, &docs, n as u64 * 10..n as u64 * 10 + 5).await;
        all.push((acme.clone(), docs));
    }
    all
}

#[tokio::test]
async fn what_was_not_used_for_longest_is_closed_and_what_is_in_use_stays() {
    let world =
        World::with(MemorySettings { open_indexes: 3, threads: 2, ..Default::default() }).await;
    let all = tenants(&world, 6).await;
    let held = world.open(&all[0].0, &all[0].1).await;
    for (scope, docs) in &all[1..] {
        world.open(scope, docs).await;
        assert!(world.shards.counts().open <= 3);
    }
    let mut open = Vec::new();
    for (n, (scope, docs)) in all.iter().enumerate() {
        if world.shards.sizes(scope, docs).await.open {
            open.push(n);
        }
    }
    assert_eq!(open, [0, 4, 5], "the first is in use");
    assert_eq!(world.shards.counts().evicted, 3);
    drop(held);
    for (n, (scope, docs)) in all.iter().enumerate() {
        let n = n as u64 * 10;
        assert_eq!(world.ids(scope, docs).await, (n..n + 5).collect::<Vec<_>>());
    }
    let counts = world.shards.counts();
    assert_eq!((counts.rebuilt, counts.distrusted), (6, 0), "made once, then opened: {counts:?}");
}

#[tokio::test]
async fn all_in_use_is_more_than_the_bound_and_nobody_is_cut_off() {
    let world =
        World::with(MemorySettings { open_indexes: 2, threads: 2, ..Default::default() }).await;
    let all = tenants(&world, 5).await;
    let mut held = Vec::new();
    for (scope, docs) in &all {
        held.push(world.open(scope, docs).await);
    }
    assert_eq!(world.shards.counts().open, 5);
    for (n, shard) in held.iter().enumerate() {
        assert_eq!(ids_of(shard)[0], n as u64 * 10);
    }
    drop(held);
    let (scope, docs) = &tenants_more(&world).await;
    world.open(scope, docs).await;
    assert_eq!(world.shards.counts().open, 2, "room is made when there can be");
}

async fn tenants_more(world: &World) -> (Scope<Write>, Collection) {
    let globex = world.globex().await;
    let docs = world.collection(&globex, "docs").await;
    (globex, docs)
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let world =
        World::with(MemorySettings { open_bytes: 1, threads: 2, ..Default::default() }).await;
    for (scope, docs) in &tenants(&world, 3).await {
        world.open(scope, docs).await;
        assert_eq!(world.shards.counts().open, 1);
    }
}

#[tokio::test]
async fn many_at_once_open_an_index_once_and_see_their_own_writes() {
    let world = World::new().await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..100).await;
    let all = (0..20).map(|_| world.open(&acme, &docs));
    let mut tasks: Vec<_> = all.map(Box::pin).collect();
    for task in &mut tasks {
        assert_eq!(task.await.points(), 100);
    }
    assert_eq!(world.shards.counts().opened, 1);
    for n in 100..110 {
        world.put(&acme, &docs, n..n + 1).await;
        assert!(world.ids(&acme, &docs).await.contains(&n));
    }
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_the_index_whole() {
    let world = World::new().await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..3_000).await;
    for _ in 0..5 {
        let opening = world.shards.open(&world.truth, &acme, &docs);
        tokio::pin!(opening);
        // Begun, and given up.
        tokio::select! { biased; _ = &mut opening => {}, () = tokio::task::yield_now() => {} }
    }
    assert_eq!(world.ids(&acme, &docs).await.len(), 3_000);
    assert_eq!(world.shards.counts().distrusted, 0);
}

#[tokio::test]
async fn nothing_is_opened_at_the_start_or_after_the_end() {
    let mut world = World::new().await;
    let all = tenants(&world, 2).await;
    world.open(&all[0].0, &all[0].1).await;
    world.shards.close().await;
    assert!(world.shards.open(&world.truth, &all[0].0, &all[0].1).await.is_err());
    world.shards = world.shards_at(world.root());
    assert_eq!(world.shards.counts(), Default::default());
}

#[tokio::test]
async fn nobody_waits_for_what_another_closes() {
    let world =
        World::with(MemorySettings { open_indexes: 1, threads: 2, ..Default::default() }).await;
    let all = tenants(&world, 2).await;
    world.open(&all[0].0, &all[0].1).await;
    let free = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (inner, seen) = (Arc::downgrade(&world.shards.inner), free.clone());
    *world.shards.inner.step.lock() = Some(Arc::new(move |what| {
        if what == "closed" {
            seen.lock().push(inner.upgrade().unwrap().room.try_lock().is_some());
        }
    }));
    world.open(&all[1].0, &all[1].1).await;
    *world.shards.inner.step.lock() = None;
    assert_eq!(*free.lock(), [true]);
}

#[tokio::test]
async fn only_what_is_open_or_to_be_forgotten_is_kept_in_mind() {
    let world =
        World::with(MemorySettings { open_indexes: 1, threads: 2, ..Default::default() }).await;
    let all = tenants(&world, 4).await;
    let (acme, first) = &all[0];
    for (scope, docs) in &all {
        world.open(scope, docs).await;
    }
    world.shards.to_forget(acme, first).await;
    let kept = |world: &World| world.shards.inner.slots.lock().len();
    world.open(acme, first).await;
    world.open(acme, &all[1].1).await;
    world.tend().await;
    assert_eq!(kept(&world), 2, "the open one, and the one that is marked");
    world.clock.advance(HOUR / 2);
    world.tend().await;
    world.open(acme, &all[1].1).await;
    world.tend().await;
    assert_eq!(kept(&world), 1);
}
