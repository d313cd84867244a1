//! Nothing is opened before it is asked for, and no more than there is room for.

use bulkhead_memory::MemorySettings;
use serde_json::json;

use super::world::{Random, World, dense, files, ids_of, point};

const SIZE: usize = 4;
const MANY: u64 = 40;

#[tokio::test]
async fn a_start_opens_nothing_and_a_question_opens_one() {
    let world = World::new().await;
    let running = world.start(MemorySettings::default()).await;
    let acme = world.scope("acme", "live").await;
    let mut random = Random(30);
    for nth in 0..MANY {
        let own = running.of(&acme, &format!("c{nth}"));
        own.create(dense(SIZE, "Cosine")).await;
        own.put((0..5).map(|id| point(id, &random.vector(SIZE), json!({}))).collect()).await;
    }
    running.stop().await;
    std::fs::remove_dir_all(world.directory.join("index")).unwrap();
    let running = world.start(MemorySettings::default()).await;
    let figures = running.memory.figures();
    assert_eq!((figures.open, figures.opened, figures.rebuilt), (0, 0, 0));
    assert!(running.indexes().is_empty());
    // What needs no ranking opens none either.
    let own = running.of(&acme, "c7");
    assert_eq!(running.memory.of(&acme).list().await.unwrap().len() as u64, MANY);
    assert_eq!(own.retrieve(&[1, 2]).await.len(), 2);
    assert_eq!(running.memory.of(&acme).info(&own.name).await.unwrap().points, 5);
    assert_eq!(running.memory.figures().open, 0);
    assert!(running.index.read_dir().is_err() || files(&running.index).is_empty());
    assert_eq!(own.query(json!({"query": random.vector(SIZE), "limit": 10})).await.len(), 5);
    assert_eq!(running.memory.figures().open, 1);
    assert_eq!(running.indexes().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn indexes_give_way_to_each_other_and_lose_nothing() {
    let world = World::new().await;
    let settings = MemorySettings { open_indexes: 3, ..Default::default() };
    let running = world.start(settings).await;
    let (acme, globex) = (world.scope("acme", "live").await, world.scope("globex", "live").await);
    let mut random = Random(31);
    let mut wanted = Vec::new();
    let names: Vec<String> = (0..10).map(|nth| format!("c{nth}")).collect();
    let own = |nth: usize| running.of([&acme, &globex][nth % 2], &names[nth]);
    for nth in 0..10 {
        own(nth).create(dense(SIZE, "Cosine")).await;
        wanted.push(0_u64);
    }
    for _ in 0..60 {
        let nth = usize::try_from(random.below(10)).unwrap();
        let count = &mut wanted[nth];
        own(nth).put(vec![point(*count, &random.vector(SIZE), json!({}))]).await;
        *count += 1;
        let found = own(nth).query(json!({"query": random.vector(SIZE), "limit": 1_000})).await;
        let mut found = ids_of(&found);
        found.sort_unstable();
        assert_eq!(found, (0..*count).collect::<Vec<_>>());
        assert!(running.memory.figures().open <= 3, "{:?}", running.memory.figures());
    }
    let figures = running.memory.figures();
    assert!(figures.evicted > 10 && figures.distrusted == 0, "{figures:?}");
    for (nth, count) in wanted.into_iter().enumerate() {
        if count > 0 {
            own(nth).agree(count).await;
        }
    }
    running.stop().await;
}
