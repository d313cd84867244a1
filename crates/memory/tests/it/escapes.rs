//! Proof 5: no filter, id, example or sub-query of any form reaches beyond the scope.

use bulkhead_memory::{Error, MemorySettings};
use serde_json::{Value, json};

use super::world::{Random, World, dense, point};

const SIZE: usize = 8;
const CANARY: &str = "canary-of-globex";

/// Filters by which a caller could hope to get out.
fn filters() -> Vec<(&'static str, Value)> {
    let theirs = json!({"key": "who", "match": {"value": CANARY}});
    vec![
        ("nothing", json!({})),
        ("should", json!({"should": [theirs, {"key": "who", "match": {"value": "acme"}}]})),
        (
            "nested should",
            json!({"must": [{"should": [{"should": [theirs, {"must_not": [theirs]}]}]}]}),
        ),
        (
            "must_not of what is ours",
            json!({"must_not": [{"key": "who", "match": {"value": "acme"}}]}),
        ),
        ("must_not of nothing", json!({"must_not": [{"must_not": [{"must_not": []}]}]})),
        ("has_id", json!({"must": [{"has_id": [5, 6, 7, 1_000, 1_001]}]})),
        (
            "has_id or not",
            json!({"should": [{"has_id": [1_000]}, {"must_not": [{"has_id": [1_000]}]}]}),
        ),
        (
            "min_should",
            json!({"min_should": {"conditions": [theirs, {"must_not": [theirs]}], "min_count": 1}}),
        ),
        ("is_empty", json!({"should": [{"is_empty": {"key": "who"}}, theirs]})),
        ("is_null", json!({"must_not": [{"is_null": {"key": "who"}}]})),
        ("except", json!({"must": [{"key": "who", "match": {"except": ["acme"]}}]})),
        (
            "nested",
            json!({"should": [{"nested": {"key": "parts", "filter": {"must": [{"key": "who", "match": {"value": CANARY}}]}}}]}),
        ),
    ]
}

#[tokio::test]
async fn no_filter_and_no_example_leads_to_anothers_points() {
    let world = World::new().await;
    let running = world.start(MemorySettings::default()).await;
    let (acme, globex) = (world.scope("acme", "live").await, world.scope("globex", "live").await);
    let (own, theirs) = (running.of(&acme, "docs"), running.of(&globex, "docs"));
    let mut random = Random(20);
    for (of, first, who) in [(&own, 0, "acme"), (&theirs, 0, CANARY), (&theirs, 1_000, CANARY)] {
        if first == 0 {
            of.create(dense(SIZE, "Cosine")).await;
            of.index("who", "keyword").await;
        }
        let points = (first..first + 40).map(|id| {
            point(id, &random.vector(SIZE), json!({"who": who, "parts": [{"who": who}]}))
        });
        of.put(points.collect()).await;
    }
    let asked = random.vector(SIZE);
    let mut seen = String::new();
    for (name, filter) in filters() {
        let near = json!({"query": asked, "limit": 100, "with_payload": true, "filter": filter});
        seen += &format!("{name}: {:?}\n", own.query(near).await);
        let under = json!({
            "prefetch": {"prefetch": {"query": asked, "filter": filter, "limit": 100}, "query": asked, "filter": filter, "limit": 100},
            "query": {"fusion": "dbsf"}, "limit": 100, "with_payload": true,
        });
        seen += &format!("{name}, below: {:?}\n", own.query(under).await);
        seen += &format!("{name}, scrolled: {:?}\n", own.scroll(filter.clone()).await);
        assert!(own.count(filter.clone()).await <= 40, "{name}");
        // What a deletion by it finds is checked below: theirs are still there.
        let erased = own.memory.of(own.scope);
        let body = json!({"filter": filter, "payload": {"touched": true}});
        let set = bulkhead_memory::request::parse_set_payload(
            &super::world::bytes(&body),
            own.memory.settings(),
        );
        if let Ok(set) = set {
            erased.write(&own.name, vec![set]).await.unwrap();
        }
    }
    seen += &format!("{:?}", own.retrieve(&(0..2_000).collect::<Vec<_>>()).await);
    seen += &format!("{:?}", own.facet("who").await);
    seen += &format!("{:?}", own.groups(json!({"query": asked, "group_by": "who", "limit": 100, "group_size": 100, "with_payload": true})).await);
    assert!(seen.contains("acme"), "the questions are answered");
    assert!(!seen.contains(CANARY), "{seen}");
    // Examples by id that only the other has: as if there were none.
    for query in [
        json!({"query": 1_000, "limit": 5}),
        json!({"query": {"recommend": {"positive": [1_000]}}, "limit": 5}),
        json!({"query": {"recommend": {"positive": [1], "negative": [1_000], "strategy": "best_score"}}, "limit": 5}),
        json!({"prefetch": {"query": 1_000, "limit": 5}, "query": {"fusion": "rrf"}, "limit": 5}),
    ] {
        let (here, nowhere) = (query.to_string(), query.to_string().replace("1000", "987654"));
        let nowhere: Value = serde_json::from_str(&nowhere).unwrap();
        let (here, nowhere) = (
            own.try_query(serde_json::from_str(&here).unwrap()).await,
            own.try_query(nowhere).await,
        );
        let shown = |answer: Result<Vec<_>, Error>| format!("{answer:?}").replace("987654", "1000");
        assert_eq!(shown(here), shown(nowhere), "{query}");
    }
    assert_eq!(theirs.count(json!({})).await, 80);
    assert_eq!(
        theirs.count(json!({"must": [{"key": "touched", "match": {"value": true}}]})).await,
        0
    );
    theirs.agree(80).await;
    running.stop().await;
}

#[tokio::test]
async fn a_collection_of_anothers_is_none() {
    let world = World::new().await;
    let running = world.start(MemorySettings::default()).await;
    let (acme, globex) = (world.scope("acme", "live").await, world.scope("globex", "live").await);
    running.of(&globex, "secret").create(dense(SIZE, "Dot")).await;
    let own = running.of(&acme, "secret");
    let none = |error: Error| matches!(error, Error::NoCollection(_));
    let of = || own.memory.of(own.scope);
    assert!(of().list().await.unwrap().is_empty());
    assert!(!of().exists(&own.name).await.unwrap());
    assert!(none(of().info(&own.name).await.unwrap_err()));
    assert!(none(own.try_query(json!({"query": [1.0], "limit": 1})).await.unwrap_err()));
    assert!(none(own.try_put(vec![point(1, &[1.0; SIZE], json!({}))]).await.unwrap_err()));
    assert!(none(own.try_retrieve(&[1]).await.unwrap_err()));
    assert!(none(of().rebuild(&own.name).await.unwrap_err()));
    assert!(none(of().verify(&own.name).await.unwrap_err()));
    assert!(!of().delete(&own.name).await.unwrap());
    assert!(running.memory.of(&globex).exists(&own.name).await.unwrap());
    running.stop().await;
}
