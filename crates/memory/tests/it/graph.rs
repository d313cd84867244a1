//! A large collection is ranked by a graph, made in the background: it finds what a look at everything finds, and what
//! is written or deleted meanwhile and afterwards is in the answers at once.

use bulkhead_memory::MemorySettings;
use serde_json::json;

use super::world::{Own, Random, World, dense, ids_of, point};

const SIZE: usize = 16;
const COUNT: u64 = 3_000;

fn nearest(vectors: &[(u64, Vec<f32>)], asked: &[f32], limit: usize) -> Vec<u64> {
    let far = |vector: &[f32]| -> f64 {
        vector.iter().zip(asked).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let mut all: Vec<_> = vectors.iter().map(|(id, vector)| (far(vector), *id)).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().take(limit).map(|(_, id)| id).collect()
}

async fn assert_near(own: &Own<'_>, vectors: &[(u64, Vec<f32>)], seed: u64) {
    let mut random = Random(seed);
    let mut hits = 0;
    for _ in 0..50 {
        let asked = random.vector(SIZE);
        let found = ids_of(&own.query(json!({"query": asked, "limit": 10})).await);
        let wanted = nearest(vectors, &asked, 10);
        hits += found.iter().filter(|id| wanted.contains(id)).count();
        let exact = json!({"query": asked, "limit": 10, "params": {"exact": true}});
        assert_eq!(ids_of(&own.query(exact).await), wanted);
        let few = json!({"query": asked, "limit": 5, "filter": {"must": [{"key": "n", "match": {"value": 3}}]}});
        let of: Vec<_> = vectors.iter().filter(|(id, _)| id % 100 == 3).cloned().collect();
        assert_eq!(
            ids_of(&own.query(few).await),
            nearest(&of, &asked, 5),
            "a filter that few match"
        );
    }
    assert!(hits >= 490, "{hits} of 500");
}

#[tokio::test]
async fn a_graph_finds_what_a_look_at_everything_finds() {
    let world = World::new().await;
    let settings = || MemorySettings { graph_from: 1_000, ..Default::default() };
    let running = world.start(settings()).await;
    let acme = world.scope("acme", "live").await;
    let own = running.of(&acme, "docs");
    own.create(dense(SIZE, "Euclid")).await;
    own.index("n", "integer").await;
    let mut random = Random(70);
    let mut vectors: Vec<_> = (0..COUNT).map(|id| (id, random.vector(SIZE))).collect();
    for batch in vectors.chunks(500) {
        let points = batch.iter().map(|(id, vector)| point(*id, vector, json!({"n": id % 100})));
        own.put(points.collect()).await;
    }
    assert_near(&own, &vectors, 71).await;
    let info = || async { own.memory.of(own.scope).info(&own.name).await.unwrap() };
    assert_eq!(info().await.indexed, 0);
    assert!(running.memory.renew().await >= 1);
    assert_eq!(info().await.indexed, COUNT);
    assert_near(&own, &vectors, 72).await;
    // What is written after it was made is found beside it, and what is deleted is not.
    own.delete(json!({"points": (0..200).collect::<Vec<_>>()})).await;
    vectors.retain(|(id, _)| *id >= 200);
    let more: Vec<_> = (COUNT..COUNT + 100).map(|id| (id, random.vector(SIZE))).collect();
    own.put(more.iter().map(|(id, v)| point(*id, v, json!({"n": id % 100}))).collect()).await;
    vectors.extend(more);
    assert_near(&own, &vectors, 73).await;
    own.agree(COUNT - 100).await;
    running.stop().await;
    let running = world.start(settings()).await;
    let own = running.of(&acme, "docs");
    assert_near(&own, &vectors, 74).await;
    let figures = running.memory.figures();
    assert_eq!((figures.distrusted, figures.rebuilt), (0, 0));
    own.rebuild().await;
    assert_near(&own, &vectors, 75).await;
    running.stop().await;
}
