//! Proof 1: however many nearer points others have, a tenant gets as many of its own as it has. Proof 4: nobody's
//! query visits what is not its tenant's. Proof 6: what is rare is rare among the tenant's own.

use bulkhead_memory::MemorySettings;
use serde_json::json;

use super::world::{Random, World, dense, ids_of, point};

const SIZE: usize = 16;
const K: usize = 10;

#[tokio::test]
async fn foreign_points_however_near_crowd_nobody_out() {
    let world = World::new().await;
    let running = world.start(MemorySettings { graph_from: 1_000, ..Default::default() }).await;
    let mut random = Random(1);
    let asked = random.vector(SIZE);
    // 500 · k points that are nearer than any of the others': of another tenant, and of another environment.
    for (tenant, environment) in [("globex", "live"), ("acme", "staging")] {
        let scope = world.scope(tenant, environment).await;
        let own = running.of(&scope, "docs");
        own.create(dense(SIZE, "Cosine")).await;
        for batch in 0..5 {
            let points = (0..K as u64 * 100).map(|n| {
                point(batch * 1_000 + n, &random.near(&asked, 0.01), json!({"of": tenant}))
            });
            own.put(points.collect()).await;
        }
        assert_eq!(own.query(json!({"query": asked, "limit": K})).await.len(), K);
    }
    let scope = world.scope("acme", "live").await;
    let own = running.of(&scope, "docs");
    own.create(dense(SIZE, "Cosine")).await;
    let mut has = 0;
    for size in [1, 7, 10, 11, 200] {
        let points = (has..size)
            .map(|id| point(id, &random.vector(SIZE), json!({"of": "acme", "n": id % 4})));
        own.put(points.collect()).await;
        has = size;
        let wanted = K.min(usize::try_from(size).unwrap());
        let found = own.query(json!({"query": asked, "limit": K, "with_payload": true})).await;
        assert_eq!(found.len(), wanted, "of {size} own points");
        let whose =
            |record: &bulkhead_memory::Record| record.payload.as_ref().unwrap()["of"].clone();
        assert!(found.iter().all(|record| whose(record) == "acme"));
        // A sub-query is crowded as little as a query.
        let fused = json!({
            "prefetch": [{"query": asked, "limit": K}, {"query": asked, "limit": K}],
            "query": {"fusion": "rrf"},
            "limit": K,
        });
        assert_eq!(own.query(fused).await.len(), wanted);
        let like = json!({"query": {"recommend": {"positive": [asked]}}, "limit": K});
        assert_eq!(own.query(like).await.len(), wanted);
        assert_eq!(own.count(json!({})).await, size);
        assert_eq!(own.scroll(json!({})).await.len() as u64, size);
        let filtered = json!({"query": asked, "limit": 1_000, "filter": {"must": [{"key": "n", "match": {"value": 0}}]}});
        assert_eq!(own.query(filtered).await.len() as u64, size.div_ceil(4));
        let groups = own
            .groups(json!({"query": asked, "group_by": "of", "group_size": 100, "limit": 10}))
            .await;
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].hits.len(), 100.min(usize::try_from(size).unwrap()));
    }
    own.agree(200).await;
    running.stop().await;
}

#[tokio::test]
async fn a_query_visits_no_more_than_its_tenant_has() {
    let world = World::new().await;
    let running = world.start(MemorySettings::default()).await;
    let mut random = Random(2);
    let (acme, globex) = (world.scope("acme", "live").await, world.scope("globex", "live").await);
    let (small, large) = (running.of(&acme, "docs"), running.of(&globex, "docs"));
    small.create(dense(SIZE, "Cosine")).await;
    large.create(dense(SIZE, "Cosine")).await;
    small.put((0..30).map(|id| point(id, &random.vector(SIZE), json!({}))).collect()).await;
    large.put((0..3_000).map(|id| point(id, &random.vector(SIZE), json!({}))).collect()).await;
    large.query(json!({"query": random.vector(SIZE), "limit": 10})).await;
    let figures = |before: bulkhead_memory::Figures| {
        let now = running.memory.figures();
        (now.queries - before.queries, now.visited - before.visited)
    };
    let before = running.memory.figures();
    for nth in 1..=20 {
        small.query(json!({"query": random.vector(SIZE), "limit": 100})).await;
        let (queries, visited) = figures(before);
        assert_eq!(queries, nth);
        assert!(visited <= nth * 30, "{visited} points visited by {nth} queries over 30");
    }
    let before = running.memory.figures();
    large.query(json!({"query": random.vector(SIZE), "limit": 100})).await;
    let (queries, visited) = figures(before);
    assert!(queries == 1 && visited <= 3_000 && visited > 30, "{visited}");
    running.stop().await;
}

#[tokio::test]
async fn what_is_rare_for_others_weighs_nothing_here() {
    let world = World::new().await;
    let running = world.start(MemorySettings::default()).await;
    let schema = json!({"sparse_vectors": {"words": {"modifier": "idf"}}});
    let words = |id: u64, indices: &[u32]| {
        let values = vec![1.0; indices.len()];
        json!({"id": id, "vector": {"words": {"indices": indices, "values": values}}})
    };
    let (acme, globex) = (world.scope("acme", "live").await, world.scope("globex", "live").await);
    let (ours, theirs) = (running.of(&acme, "docs"), running.of(&globex, "docs"));
    ours.create(schema.clone()).await;
    theirs.create(schema).await;
    // Term 1 is in one text of ours, term 2 in all.
    ours.put((0..20).map(|id| words(id, if id == 7 { &[1, 2] } else { &[2, 3] })).collect()).await;
    theirs.put(vec![words(0, &[9])]).await;
    let asked = json!({
        "query": {"indices": [1, 2], "values": [1.0, 1.0]}, "using": "words", "limit": 20,
    });
    let before = ours.query(asked.clone()).await;
    assert_eq!(ids_of(&before)[0], 7);
    assert!(before[0].score > before[1].score * 2.0, "a rare term weighs more");
    for batch in 0..10 {
        theirs.put((0..1_000).map(|n| words(batch * 1_000 + n, &[1])).collect()).await;
    }
    assert_eq!(theirs.count(json!({})).await, 10_000);
    let scores = |records: &[bulkhead_memory::Record]| {
        records.iter().map(|record| (record.id, record.score.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(scores(&ours.query(asked.clone()).await), scores(&before));
    ours.rebuild().await;
    // Of equal ones the order is that in which the index has them.
    let sorted = |mut scores: Vec<_>| {
        scores.sort_unstable();
        scores
    };
    assert_eq!(sorted(scores(&ours.query(asked).await)), sorted(scores(&before)));
    running.stop().await;
}
