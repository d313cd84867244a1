//! A process may end between any two steps: what is on the disk then is either opened and
//! brought up to the rows, or made again.

use parking_lot::Mutex;

use super::*;

type Taken = Arc<Mutex<Vec<(&'static str, tempfile::TempDir)>>>;

/// Takes a copy of all indexes at each step.
fn taking(world: &World) -> Taken {
    let taken = Taken::default();
    let (copies, root) = (taken.clone(), world.root());
    let step: Step = Arc::new(move |what| {
        let copy = tempfile::tempdir().unwrap();
        snapshot(&root, copy.path());
        copies.lock().push((what, copy));
    });
    *world.shards.inner.step.lock() = Some(step);
    taken
}

async fn whole_from_each(
    world: &World,
    taken: &Taken,
    scope: &Scope<Write>,
    docs: &Collection,
    expected: &[u64],
) -> Vec<&'static str> {
    let taken = std::mem::take(&mut *taken.lock());
    for (n, (what, copy)) in taken.iter().enumerate() {
        let shards = world.shards_at(copy.path().to_owned());
        let shard = shards.open(&world.truth, scope, docs).await.unwrap();
        assert_eq!(ids_of(&shard), expected, "step {n}, {what}");
        let rows: Vec<_> = {
            let ids: Vec<_> = expected.iter().map(|id| PointId::Num(*id)).collect();
            let rows = world.truth.of(scope).points(docs, &ids).await.unwrap();
            rows.into_iter().flatten().collect()
        };
        let held = shard.hold(&rows).unwrap();
        assert!(held.iter().all(|held| *held == crate::engine::Held::Same), "step {n}, {what}");
        assert_eq!(shards.counts().distrusted, 0, "step {n}, {what}: nothing was touched");
    }
    taken.iter().map(|(what, _)| *what).collect()
}

#[tokio::test]
async fn the_stamp_never_says_more_than_the_files_hold() {
    let world = World::new().await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.open(&acme, &docs).await;
    let taken = taking(&world);

    world.put(&acme, &docs, 0..500).await;
    world.open(&acme, &docs).await;
    world.clock.advance(Duration::from_secs(61));
    world.tend().await;
    let all: Vec<_> = (0..500).collect();
    let steps = whole_from_each(&world, &taken, &acme, &docs, &all).await;
    assert_eq!(steps, ["flushed", "stamped"]);

    world.delete(&acme, &docs, 0..100).await;
    world.put(&acme, &docs, 450..600).await;
    world.open(&acme, &docs).await;
    world.clock.advance(Duration::from_secs(61));
    world.tend().await;
    let rest: Vec<_> = (100..600).collect();
    let steps = whole_from_each(&world, &taken, &acme, &docs, &rest).await;
    assert_eq!(steps, ["flushed", "stamped"]);
}

#[tokio::test]
async fn between_any_two_steps_of_a_new_generation_nothing_is_lost() {
    let world =
        World::with(MemorySettings { graph_from: 200, threads: 2, ..Default::default() }).await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..300).await;
    world.open(&acme, &docs).await;
    world.delete(&acme, &docs, 0..20).await;
    let rest: Vec<_> = (20..300).collect();
    let taken = taking(&world);

    world.shards.rebuild(&world.truth, &acme, &docs).await.unwrap();
    let steps = whole_from_each(&world, &taken, &acme, &docs, &rest).await;
    assert_eq!(steps, ["built", "flushed", "stamped", "swapped"]);
    assert!(world.open(&acme, &docs).await.indexed() >= 280, "with its graph");

    world.put(&acme, &docs, 300..700).await;
    world.open(&acme, &docs).await;
    let rest: Vec<_> = (20..700).collect();
    assert_eq!(world.tend().await, 1, "a graph");
    let steps = whole_from_each(&world, &taken, &acme, &docs, &rest).await;
    assert_eq!(steps, ["built", "flushed", "stamped", "swapped"]);
    assert_eq!(world.ids(&acme, &docs).await, rest);
}

#[tokio::test]
async fn between_any_two_steps_of_closing_and_opening_nothing_is_lost() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..300).await;
    world.open(&acme, &docs).await;
    let taken = taking(&world);
    let all: Vec<_> = (0..300).collect();
    world.restart().await;
    let steps = whole_from_each(&world, &taken, &acme, &docs, &all).await;
    assert_eq!(steps, ["flushed", "closed", "stamped"]);
    // Opened, and nothing written.
    let held = world.open(&acme, &docs).await;
    let copy = tempfile::tempdir().unwrap();
    snapshot(&world.root(), copy.path());
    taken.lock().push(("opened", copy));
    whole_from_each(&world, &taken, &acme, &docs, &all).await;
    drop(held);
}

#[tokio::test]
async fn a_stamp_that_cannot_be_written_is_tried_again_and_costs_no_index() {
    let world = World::new().await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..50).await;
    let before = world.open(&acme, &docs).await;
    // A file cannot be put in place of a directory.
    let stamp = world.home(&acme, &docs).join("stamp");
    std::fs::remove_file(&stamp).unwrap();
    std::fs::create_dir(&stamp).unwrap();
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(61));
        world.tend().await;
        assert!(!before.poisoned() && before.durable() == 0);
    }
    std::fs::remove_dir(&stamp).unwrap();
    world.clock.advance(Duration::from_secs(61));
    world.tend().await;
    assert_eq!(before.durable(), before.applied());
    assert!(Arc::ptr_eq(&before, &world.open(&acme, &docs).await));
    assert_eq!(world.shards.counts().distrusted, 0);
}
