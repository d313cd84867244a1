//! Requests that ask for more than they are: what they may cost is bounded, and told.

use super::*;
use crate::{Document, Recall, Remember, request};

fn too_large<T>(result: Result<T, Error>) -> String {
    match result.map(drop).unwrap_err() {
        Error::TooLarge { what, .. } => what.into(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_filter_is_not_multiplied_by_prefetches() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let names: Vec<String> = (0..40_000).map(|n| format!("{n:06}")).collect();
    let filter = json!({"must": [{"key": "a", "match": {"any": names}}]});
    let prefetch = json!({"query": [1.0, 0.0], "limit": 1});
    let query = |prefetches: usize, depth: usize| {
        let mut query = json!({"prefetch": vec![prefetch.clone(); prefetches],
            "query": {"fusion": "rrf"}, "limit": 1});
        for _ in 0..depth {
            query["limit"] = 1.into();
            query = json!({"prefetch": query, "query": {"fusion": "rrf"}, "limit": 1});
        }
        query["filter"] = filter.clone();
        memory.query(query)
    };
    assert!(memory.of(&acme).query(&name(), query(2, 0)).await.unwrap().is_empty());
    for query in [query(200, 0), query(200, 4)] {
        assert!(too_large(memory.of(&acme).query(&name(), query).await).contains("filters"));
    }
}

#[test]
fn what_is_compared_with_every_point_is_bounded() {
    let settings = MemorySettings::default();
    let rows = |many: usize| {
        let body = json!({"query": {"nearest": vec![[1.0]; many]}}).to_string();
        request::parse_query(body.as_bytes(), &settings)
    };
    assert!(rows(4_096).is_ok());
    assert!(too_large(rows(4_097)).contains("rows"));
    let polygon = |many: usize| {
        let mut line = vec![json!({"lon": 0.0, "lat": 0.0}); many];
        line[1] = json!({"lon": 1.0, "lat": 0.0});
        let polygon = json!({"exterior": {"points": line}});
        let filter = json!({"must": [{"key": "at", "geo_polygon": polygon}]});
        request::Filter::parse(&filter, &settings)
    };
    assert!(polygon(999).is_ok());
    assert!(too_large(polygon(1_000)).contains("conditions"));
}

#[tokio::test]
async fn values_count_what_they_take() {
    let settings = MemorySettings::default();
    let body = |many: usize| {
        let point = json!({"id": 1, "vector": {}, "payload": {"a": vec![0; many]}});
        request::parse_upsert(json!({"points": [point]}).to_string().as_bytes(), &settings)
    };
    assert!(body(16_000).is_ok());
    assert!(too_large(body(17_000)).contains("payload"), "34 kB of JSON, 544 kB of values");
}

#[tokio::test]
async fn texts_are_bounded_before_anybody_works_on_them() {
    let world = World::new().await;
    let memory = world.with(MemorySettings::default(), Some(Arc::new(Letters::default())));
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let text = "x ".repeat(200 << 10);
    for model in ["Qdrant/bm25", "letters"] {
        let document =
            Document { text: text.clone(), model: model.into(), options: Payload::new() };
        let mut query = memory.query(json!({"query": [1.0, 0.0]}));
        query.using = if model == "letters" { String::new() } else { "words".into() };
        query.rank = Some(request::Rank::Nearest(request::Example::Given(
            request::Given::Document(document),
        )));
        let embedded = memory.of(&acme).embed_query(&name(), &mut query).await;
        assert_eq!(too_large(embedded), "bytes of a text");
    }
    let remember =
        Remember { text: text.clone(), metadata: Payload::new(), ttl: None, subject: None };
    assert_eq!(too_large(memory.of(&acme).remember(&name(), remember).await), "bytes of a text");
    let recall = Recall { text, limit: 1, filter: None, subject: None };
    assert_eq!(too_large(memory.of(&acme).recall(&name(), recall).await), "bytes of a text");
}

/// Ten points of 100 KiB each: more than one answer, or one write, may have in memory.
#[tokio::test]
async fn an_answer_is_no_larger_than_memory_has_room_for() {
    let world = World::new().await;
    let settings = MemorySettings { answer_bytes: 900 << 10, ..MemorySettings::default() };
    let memory = world.memory(settings);
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let all: Vec<u64> = (1..=10).collect();
    for id in &all {
        let payload = json!({"text": "x".repeat(100 << 10)});
        memory.put(&acme, vec![point(*id, [1.0, 0.0], payload)]).await;
    }
    let get = |ids: &[u64]| {
        let body = json!({"ids": ids}).to_string();
        request::parse_retrieve(body.as_bytes(), memory.settings()).unwrap()
    };
    let some = memory.of(&acme).retrieve(&name(), get(&all[..8])).await.unwrap();
    assert_eq!(some.len(), 8);
    let answer = "bytes of the points of one answer";
    assert!(too_large(memory.of(&acme).retrieve(&name(), get(&all)).await).contains(answer));
    let query = memory.query(json!({"query": [1.0, 0.0]}));
    assert!(too_large(memory.of(&acme).query(&name(), query).await).contains(answer));
    let scroll = memory.parsed_scroll(json!({}));
    assert!(too_large(memory.of(&acme).scroll(&name(), scroll).await).contains(answer));
    let set = json!({"payload": {"a": 1}, "points": all}).to_string();
    let set = request::parse_set_payload(set.as_bytes(), memory.settings()).unwrap();
    assert_eq!(too_large(memory.of(&acme).write(&name(), vec![set]).await), "a write");
    assert_eq!(memory.figures().distrusted, 0);
}

/// What is in a hundred thousand groups is found in as many as are asked for.
#[tokio::test]
async fn a_row_may_be_in_many_groups() {
    let world = World::new().await;
    let settings = MemorySettings { payload_bytes: 8 << 20, ..MemorySettings::default() };
    let memory = world.memory(settings);
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let many: Vec<u64> = (0..100_000).collect();
    memory.put(&acme, vec![point(1, [1.0, 0.0], json!({"g": many}))]).await;
    let groups = json!({"query": [1.0, 0.0], "group_by": "g", "limit": 10_000, "group_size": 1});
    let groups = memory.parsed_groups(groups);
    let found = memory.of(&acme).groups(&name(), groups).await.unwrap();
    assert_eq!(found.len(), 10_000);
}

/// Two or three bytes of a body that would each be hundreds in memory, or a write.
#[test]
fn what_is_short_to_say_is_counted_for_what_it_is() {
    let settings = MemorySettings::default();
    let many = |count: usize, one: &str| vec![one; count].join(",");
    let upsert = |body: &str| request::parse_upsert(body.as_bytes(), &settings).map(drop);
    let batch = |body: &str| request::parse_batch(body.as_bytes(), &settings).map(drop);
    let query = |body: &str| request::parse_query(body.as_bytes(), &settings).map(drop);
    let prefetches = format!(r#"{{"prefetch":[{}],"query":1}}"#, many(200_000, "{}"));
    assert!(too_large(query(&prefetches)).starts_with("values"));
    let vectors = many(600_000, "[1]");
    for column in [format!("[{vectors}]"), format!(r#"{{"a":[{vectors}]}}"#)] {
        let columns = format!(r#"{{"batch":{{"ids":[1],"vectors":{column}}}}}"#);
        assert!(too_large(upsert(&columns)).starts_with("values"));
    }
    let operations = |count, one| format!(r#"{{"operations":[{}]}}"#, many(count, one));
    assert!(too_large(batch(&operations(200_000, "{}"))).starts_with("values"));
    let nothing = r#"{"delete":{"points":[]}}"#;
    assert!(batch(&operations(1_000, nothing)).is_ok());
    assert_eq!(too_large(batch(&operations(1_001, nothing))), "operations of a batch");
    let all = r#"{"clear_payload":{"filter":{}}}"#;
    assert!(batch(&operations(64, all)).is_ok());
    assert_eq!(too_large(batch(&operations(65, all))), "queries of a batch");
    let list = many(200_000, "0");
    let filter = format!(r#"{{"filter":{{"must":[{{"has_id":[{list}]}}]}}}}"#);
    assert!(query(&filter).is_ok());
    let list = many(300_000, "0");
    let filter = format!(r#"{{"filter":{{"must":[{{"has_id":[{list}]}}]}}}}"#);
    assert_eq!(too_large(query(&filter)), "bytes of a filter");
}

/// Whoever makes scores that no number can tell does not have an index made again by each query.
#[tokio::test]
async fn scores_beyond_numbers_are_no_reason_to_distrust() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    memory
        .put(&acme, vec![point(1, [1e38, 1e38], json!({})), point(2, [1e38, -1e38], json!({}))])
        .await;
    for query in [[1e38, 1e38], [1e38, -1e38], [3e38, 3e38]] {
        let query = json!({"query": query});
        assert_eq!(memory.asks(&acme, query.clone()).await.len(), 2, "{query}");
    }
    let figures = memory.figures();
    assert_eq!((figures.distrusted, figures.rebuilt), (0, 1), "made once, and believed");
}

#[tokio::test]
async fn what_every_request_reads_of_a_collection_is_small() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let index = |words: usize| {
        let words: Vec<String> = (0..words).map(|n| format!("word {n}")).collect();
        json!({"type": "text", "stopwords": {"custom": words}})
    };
    let docs = name();
    let make =
        |field: &str, words| memory.of(&acme).create_index(&docs, field.into(), index(words));
    make("a", 6_000).await.unwrap();
    assert!(too_large(make("b", 6_000).await).contains("indexes"));
    make("b", 10).await.unwrap();
}
