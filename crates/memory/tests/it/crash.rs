//! What was acknowledged is there after a power cut, and what was acknowledged as deleted is not: in the answers, and
//! after the index was made again.

use std::collections::BTreeMap;

use bulkhead_memory::{Error, MemorySettings};
use serde_json::json;

use super::world::{Own, Random, World, dense, ids_of, point};

const SIZE: usize = 8;

/// What a collection is to have: the value of `n` by id.
type Wanted = BTreeMap<u64, u64>;

async fn assert_has(own: &Own<'_>, wanted: &Wanted, when: &str) {
    let found = own.scroll(json!({})).await;
    let found: Wanted = ids_of(&found)
        .into_iter()
        .zip(found.iter().map(|record| record.payload.as_ref().unwrap()["n"].as_u64().unwrap()))
        .collect();
    assert_eq!(&found, wanted, "{when}, by the rows in the index's order");
    let asked = vec![0.5_f32; SIZE];
    let mut found = ids_of(&own.query(json!({"query": asked, "limit": 10_000})).await);
    found.sort_unstable();
    assert_eq!(found, wanted.keys().copied().collect::<Vec<_>>(), "{when}, by the ranking");
    // The payload that the index has is the newest, too.
    for (id, n) in wanted.iter().take(20) {
        let filter = json!({"must": [{"has_id": [id]}, {"key": "n", "match": {"value": n}}]});
        assert_eq!(own.count(filter).await, 1, "{when}, point {id}");
    }
    own.agree(wanted.len() as u64).await;
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_power_cut() {
    let mut world = World::new().await;
    let acme = world.scope("acme", "live").await;
    let mut random = Random(40);
    let mut wanted = Wanted::new();
    for round in 0..6 {
        let running = world.start(MemorySettings::default()).await;
        let own = running.of(&acme, "docs");
        if round == 0 {
            own.create(dense(SIZE, "Cosine")).await;
            own.index("n", "integer").await;
        }
        if round % 3 == 2 {
            own.rebuild().await;
        }
        assert_has(&own, &wanted, &format!("round {round}")).await;
        for _ in 0..20 {
            let ids: Vec<u64> = (0..10).map(|_| random.below(300)).collect();
            if random.below(4) == 0 {
                own.delete(json!({"points": ids})).await;
                ids.iter().for_each(|id| _ = wanted.remove(id));
            } else {
                let n = random.next() >> 12;
                own.put(
                    ids.iter()
                        .map(|id| point(*id, &random.vector(SIZE), json!({"n": n})))
                        .collect(),
                )
                .await;
                wanted.extend(ids.iter().map(|id| (*id, n)));
            }
            if random.below(5) == 0 {
                own.query(json!({"query": random.vector(SIZE), "limit": 3})).await;
            }
        }
        // Whoever runs is never told: it goes on to exist, on a disk that nobody looks at any more.
        std::mem::forget(running);
        world.power_cut();
    }
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_not_acknowledged() {
    let mut world = World::new().await;
    let acme = world.scope("acme", "live").await;
    let mut random = Random(41);
    let running =
        world.start_with(MemorySettings::default(), |options| options.max_pages = Some(80)).await;
    let own = running.of(&acme, "docs");
    own.create(dense(SIZE, "Cosine")).await;
    own.index("n", "integer").await;
    let mut wanted = Wanted::new();
    let mut refused = None;
    for nth in 0..200 {
        let ids = nth * 50..(nth + 1) * 50;
        let points = ids.clone().map(|id| point(id, &random.vector(SIZE), json!({"n": id})));
        match own.try_put(points.collect()).await {
            Ok(_) => wanted.extend(ids.map(|id| (id, id))),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(Error::Store(_))), "the disk is full: {refused:?}");
    assert!(wanted.len() >= 100, "{}", wanted.len());
    assert_has(&own, &wanted, "on the full disk").await;
    std::mem::forget(running);
    world.power_cut();
    let running = world.start(MemorySettings::default()).await;
    let own = running.of(&acme, "docs");
    assert_has(&own, &wanted, "after the power cut").await;
    own.rebuild().await;
    assert_has(&own, &wanted, "made again").await;
    own.put(vec![point(1_000_000, &random.vector(SIZE), json!({"n": 1}))]).await;
    wanted.insert(1_000_000, 1);
    assert_has(&own, &wanted, "with room again").await;
    running.stop().await;
}

#[tokio::test]
async fn an_index_that_is_lost_is_made_again_from_the_rows() {
    let mut world = World::new().await;
    let acme = world.scope("acme", "live").await;
    let mut random = Random(42);
    let running = world.start(MemorySettings::default()).await;
    let own = running.of(&acme, "docs");
    own.create(dense(SIZE, "Cosine")).await;
    own.index("n", "integer").await;
    own.put((0..500).map(|id| point(id, &random.vector(SIZE), json!({"n": id}))).collect()).await;
    own.delete(json!({"points": (100..200).collect::<Vec<_>>()})).await;
    let wanted: Wanted =
        (0..500).filter(|id| !(100..200).contains(id)).map(|id| (id, id)).collect();
    assert_has(&own, &wanted, "before").await;
    std::mem::forget(running);
    world.power_cut();
    std::fs::remove_dir_all(world.directory.join("index")).unwrap();
    let running = world.start(MemorySettings::default()).await;
    assert_has(&running.of(&acme, "docs"), &wanted, "without any index").await;
    running.stop().await;
    // An index that is older than the rows: what is in a backup of the whole directory.
    let old = world.directory.join("old-index");
    super::world::copy(&world.directory.join("index"), &old);
    let running = world.start(MemorySettings::default()).await;
    let own = running.of(&acme, "docs");
    own.put((600..700).map(|id| point(id, &random.vector(SIZE), json!({"n": id}))).collect()).await;
    own.delete(json!({"points": [0, 1, 2]})).await;
    running.stop().await;
    std::fs::remove_dir_all(world.directory.join("index")).unwrap();
    std::fs::rename(old, world.directory.join("index")).unwrap();
    let wanted: Wanted = wanted.into_iter().skip(3).chain((600..700).map(|id| (id, id))).collect();
    let running = world.start(MemorySettings::default()).await;
    assert_has(&running.of(&acme, "docs"), &wanted, "with an older index").await;
    running.stop().await;
}

#[tokio::test]
async fn rows_that_are_older_than_the_index_are_believed() {
    let mut world = World::new().await;
    let acme = world.scope("acme", "live").await;
    let mut random = Random(43);
    let running = world.start(MemorySettings::default()).await;
    let own = running.of(&acme, "docs");
    own.create(dense(SIZE, "Cosine")).await;
    own.index("n", "integer").await;
    own.put((0..50).map(|id| point(id, &random.vector(SIZE), json!({"n": id}))).collect()).await;
    running.stop().await;
    let before = world.directory.clone();
    world.power_cut();
    let running = world.start(MemorySettings::default()).await;
    let own = running.of(&acme, "docs");
    own.put((50..90).map(|id| point(id, &random.vector(SIZE), json!({"n": id}))).collect()).await;
    own.query(json!({"query": random.vector(SIZE), "limit": 3})).await;
    running.stop().await;
    // A backup of the rows is restored, and the newer index is left where it was.
    let index = before.join("index");
    std::fs::remove_dir_all(&index).unwrap();
    super::world::copy(&world.directory.join("index"), &index);
    world.directory = before;
    let wanted: Wanted = (0..50).map(|id| (id, id)).collect();
    let running = world.start(MemorySettings::default()).await;
    assert_has(&running.of(&acme, "docs"), &wanted, "with an index that is ahead").await;
    assert_eq!(running.memory.figures().distrusted, 1);
    running.stop().await;
}
