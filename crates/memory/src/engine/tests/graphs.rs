//! Graphs are made beside the index in use, and put in its place.

use super::*;

#[tokio::test]
async fn a_large_collection_gets_a_graph_and_keeps_what_is_written_meanwhile() {
    let world =
        World::with(MemorySettings { graph_from: 500, threads: 2, ..Default::default() }).await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..500).await;
    world.open(&acme, &docs).await;
    assert_eq!(world.tend().await, 0, "small enough without one");
    world.put(&acme, &docs, 500..1_000).await;
    let held = world.open(&acme, &docs).await;
    // Written while it is made: the rows are ahead of the copy when it is put in place.
    world.delete(&acme, &docs, 0..10).await;
    world.put(&acme, &docs, 1_000..1_010).await;
    assert_eq!(world.tend().await, 1);
    let shard = world.open(&acme, &docs).await;
    assert_eq!(ids_of(&shard), (10..1_010).collect::<Vec<_>>());
    assert!(shard.indexed() >= 990, "{}", shard.indexed());
    assert_eq!(held.indexed(), 0, "the old one was not touched");
    assert_eq!(world.tend().await, 0, "and that is it");
    drop((held, shard));
    world.tend().await;
    generation(&world.home(&acme, &docs));
}

#[tokio::test]
async fn a_graph_is_there_after_a_restart_and_takes_further_points() {
    let mut world =
        World::with(MemorySettings { graph_from: 300, threads: 2, ..Default::default() }).await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..400).await;
    world.open(&acme, &docs).await;
    assert_eq!(world.tend().await, 1);
    world.restart().await;
    let sizes = world.shards.sizes(&acme, &docs).await;
    assert_eq!((sizes.points, sizes.indexed, sizes.open), (400, 400, false));
    world.put(&acme, &docs, 200..500).await;
    world.delete(&acme, &docs, 0..100).await;
    assert_eq!(world.ids(&acme, &docs).await, (100..500).collect::<Vec<_>>());
    let shard = world.open(&acme, &docs).await;
    let ids: Vec<_> = (100..500).map(PointId::Num).collect();
    let rows = world.truth.of(&acme).points(&docs, &ids).await.unwrap();
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let held = shard.hold(&rows).unwrap();
    assert!(held.iter().all(|held| *held == crate::engine::Held::Same));
}
