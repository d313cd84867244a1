//! Proof 2: what a tenant is told does not change by a bit, whatever others do.

use bulkhead_memory::MemorySettings;
use scope::{Scope, Write};
use serde_json::json;

use super::world::{Own, Random, Running, World, dense, point, told};

const SIZE: usize = 8;

/// Many kinds of questions, always the same, as text.
async fn everything(own: &Own<'_>) -> String {
    let mut random = Random(11);
    let mut text = String::new();
    for _ in 0..5 {
        let asked = random.vector(SIZE);
        let near = json!({"query": asked, "limit": 7, "with_payload": true, "with_vector": true});
        text += &told(&own.query(near).await);
        let filter = json!({"must": [{"key": "n", "range": {"gte": 3}}]});
        text += &told(&own.query(json!({"query": asked, "limit": 50, "filter": filter})).await);
        let fused = json!({
            "prefetch": [{"query": asked, "limit": 5}, {"query": random.vector(SIZE), "limit": 9}],
            "query": {"fusion": "rrf"},
            "limit": 8,
        });
        text += &told(&own.query(fused).await);
        let like =
            json!({"query": {"recommend": {"positive": [1, asked], "negative": [2]}}, "limit": 5});
        text += &told(&own.query(like).await);
        let unlike = json!({"query": {"nearest": asked, "mmr": {"diversity": 0.4}}, "limit": 6});
        text += &told(&own.query(unlike).await);
    }
    text += &told(&own.query(json!({"query": {"order_by": "n"}, "limit": 40})).await);
    text += &told(&own.scroll(json!({})).await);
    text += &told(&own.retrieve(&[1, 2, 999, 5_000]).await);
    text += &format!("{:?}", own.facet("tag").await);
    text += &format!("{}", own.count(json!({})).await);
    let names = own.memory.of(own.scope).list().await.unwrap();
    text += &format!("{names:?}");
    let info = own.memory.of(own.scope).info(&own.name).await.unwrap();
    text + &format!("{} {} {:?}", info.seq, info.points, info.collection)
}

/// Writes, deletes, erases, makes again, throws away: in a collection of the same name, with the same ids.
async fn disturb(running: &Running, scope: &Scope<Write>, round: u64) {
    let mut random = Random(100 + round);
    let own = running.of(scope, "docs");
    own.create(dense(SIZE, "Cosine")).await;
    own.index("n", "integer").await;
    let points =
        (0..300).map(|id| point(id, &random.vector(SIZE), json!({"n": id, "tag": "theirs"})));
    own.put(points.collect()).await;
    own.query(json!({"query": random.vector(SIZE), "limit": 10})).await;
    own.delete(json!({"points": (0..50).collect::<Vec<_>>()})).await;
    own.delete(json!({"filter": {"must": [{"key": "n", "range": {"lt": 100}}]}})).await;
    assert_eq!(own.count(json!({})).await, 200);
    assert_eq!(own.erase(json!({"points": [150, 151]})).await, 2);
    own.rebuild().await;
    own.agree(198).await;
    if round.is_multiple_of(2) {
        assert!(own.drop_all().await);
    } else {
        assert_eq!(own.erase(json!({"filter": {}})).await, 198);
        assert!(own.drop_all().await);
    }
}

#[tokio::test]
async fn nothing_that_others_do_changes_a_bit() {
    let world = World::new().await;
    let running = world.start(MemorySettings::default()).await;
    let acme = world.scope("acme", "live").await;
    let own = running.of(&acme, "docs");
    own.create(dense(SIZE, "Cosine")).await;
    own.index("n", "integer").await;
    own.index("tag", "keyword").await;
    let mut random = Random(10);
    let points = (0..60).map(|id| {
        point(id, &random.vector(SIZE), json!({"n": id % 13, "tag": (["x", "y"][id as usize % 2])}))
    });
    own.put(points.collect()).await;
    let before = everything(&own).await;
    assert!(before.len() > 10_000, "the questions are answered");
    for round in 0..4 {
        let (tenant, environment) = [("globex", "live"), ("acme", "staging")][round as usize % 2];
        let scope = world.scope(tenant, environment).await;
        disturb(&running, &scope, round).await;
        assert_eq!(everything(&own).await, before, "after {tenant}/{environment}, round {round}");
    }
    // Another of the tenant's own collections is another's, too.
    let aside = running.of(&acme, "aside");
    aside.create(dense(SIZE, "Cosine")).await;
    aside.put((0..100).map(|id| point(id, &random.vector(SIZE), json!({}))).collect()).await;
    assert!(aside.drop_all().await);
    assert_eq!(everything(&own).await, before);
    running.stop().await;
    let running = world.start(MemorySettings::default()).await;
    assert_eq!(everything(&running.of(&acme, "docs")).await, before, "after a start");
    running.stop().await;
}
