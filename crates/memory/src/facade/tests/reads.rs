//! Reads, one by one.

use super::*;
use crate::{Document, request::Given};

async fn five() -> (World, Memory, Scope<Write>) {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[("n", "integer"), ("kind", "keyword")])).await;
    let points = (1..=5).map(|id| {
        let kind = if id % 2 == 0 { "a" } else { "b" };
        let payload = json!({"n": 10 - id, "kind": kind, "page_content": "x"});
        point(id, [id as f32, 1.0], payload)
    });
    memory.put(&acme, points.collect()).await;
    (world, memory, acme)
}

#[tokio::test]
async fn scroll_pages_by_id_and_orders_by_a_field() {
    let (_world, memory, acme) = five().await;
    let scroll = |scroll: Value| {
        let (memory, acme) = (&memory, &acme);
        async move { memory.of(acme).scroll(&name(), memory.parsed_scroll(scroll)).await }
    };
    let (mut seen, mut next) = (Vec::new(), Some(json!(0)));
    while let Some(offset) = next {
        let (page, more) = scroll(json!({"limit": 2, "offset": offset})).await.unwrap();
        assert!(page.len() <= 2);
        seen.extend(ids(&page));
        next = more.map(|id| id.json());
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let (page, next) = scroll(json!({"limit": 5})).await.unwrap();
    assert_eq!((page.len(), next), (5, None), "there is no page behind the last");
    let (page, next) = scroll(json!({"limit": 2, "order_by": "n"})).await.unwrap();
    assert_eq!((ids(&page), next), (vec![5, 4], None));
    assert_eq!(page[0].order, Some(json!(5)));
    let from = json!({"order_by": {"key": "n", "direction": "desc", "start_from": 7}});
    assert_eq!(ids(&scroll(from).await.unwrap().0), [3, 4, 5]);
    for bad in [
        json!({"order_by": "kind"}),
        json!({"order_by": "nothing"}),
        json!({"with_vector": ["nothing"]}),
    ] {
        assert_eq!(scroll(bad.clone()).await.unwrap_err().code(), "request.malformed", "{bad}");
    }
}

#[tokio::test]
async fn shows_what_is_asked_for_from_the_row() {
    let (_world, memory, acme) = five().await;
    let body =
        json!({"ids": [5, 9, 1, 5], "with_payload": {"exclude": ["n"]}, "with_vector": true});
    let retrieve = parse_retrieve(body.to_string().as_bytes(), memory.settings()).unwrap();
    let found = memory.of(&acme).retrieve(&name(), retrieve).await.unwrap();
    assert_eq!(ids(&found), [5, 1], "each once, in the order in which they were asked for");
    let payload = Value::Object(found[0].payload.clone().unwrap());
    assert_eq!(payload, json!({"kind": "b", "page_content": "x"}), "content is the row's");
    assert_eq!(found[0].vectors.as_ref().unwrap()[""], Vector::Dense(vec![5.0, 1.0]));
    assert_eq!(found[0].version, 1);
    let query = json!({"query": [1.0, 0.0], "limit": 2, "offset": 1, "with_payload": ["n"]});
    let found = memory.of(&acme).query(&name(), memory.query(query)).await.unwrap();
    assert_eq!(ids(&found), [4, 3]);
    assert_eq!(found[0].score.to_bits(), 4.0_f32.to_bits());
    assert_eq!(Value::Object(found[0].payload.clone().unwrap()), json!({"n": 6}));
    assert_eq!(found[0].vectors, None);
}

#[tokio::test]
async fn what_was_written_is_read_and_work_is_counted() {
    let (_world, memory, acme) = five().await;
    let globex_before = memory.figures();
    for id in 6..=8 {
        memory.put(&acme, vec![point(id, [id as f32, 1.0], json!({"n": id}))]).await;
        assert_eq!(memory.asks(&acme, json!({"query": [1.0, 0.0], "limit": 1})).await, [id]);
        memory.rows(&acme, vec![Row::Delete(PointId::Num(id))]).await;
        assert_eq!(memory.asks(&acme, json!({"query": [1.0, 0.0], "limit": 1})).await, [5]);
    }
    let figures = memory.figures();
    assert_eq!(figures.queries - globex_before.queries, 6);
    assert!(figures.visited - globex_before.visited <= 6 * 8, "no query visits more than there is");
    assert_eq!((figures.open, figures.distrusted), (1, 0));
    memory.close().await;
}

#[tokio::test]
async fn says_what_there_is() {
    let (_world, memory, acme) = five().await;
    let of = memory.of(&acme);
    assert_eq!(of.list().await.unwrap(), [name()]);
    let other = CollectionName::parse("other").unwrap();
    assert!(of.exists(&name()).await.unwrap() && !of.exists(&other).await.unwrap());
    let info = of.info(&name()).await.unwrap();
    assert_eq!((info.points, info.seq, info.collection.name), (5, 1, name()));
    let missing = of.info(&other).await.unwrap_err();
    assert_eq!(missing.code(), "memory.no_collection");
    assert_eq!(missing.to_string(), "Not found: Collection `other` doesn't exist!");
    assert_eq!(memory.facets(&acme, json!({"key": "kind", "limit": 1})).await, [(json!("b"), 3)]);
    let facet = parse_facet(br#"{"key": "n2"}"#, memory.settings()).unwrap();
    assert_eq!(of.facet(&name(), facet).await.unwrap_err().code(), "request.malformed");
    let evens = json!({"filter": {"must": [{"key": "kind", "match": {"value": "a"}}]}});
    assert_eq!(memory.counts(&acme, evens).await, 2);
}

#[tokio::test]
async fn documents_of_a_query_are_embedded_at_every_depth() {
    let world = World::new().await;
    let letters = Arc::new(Letters::default());
    let memory = world.with(MemorySettings::default(), Some(letters.clone()));
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let mut points = vec![point(1, [3.0, 0.0], json!({})), point(2, [0.0, 3.0], json!({}))];
    let words =
        Document { text: "hunter".into(), model: "qdrant/BM25".into(), options: Payload::new() };
    points[0].vectors.insert("words".into(), crate::bm25::document(&words).unwrap());
    memory.put(&acme, points).await;
    let text = |text: &str, model: &str| json!({"text": text, "model": model});
    let mut query = memory.query(json!({"prefetch": [
        {"query": text("xx", "letters"), "limit": 1},
        {"prefetch": {"query": {"recommend": {"positive": [text("yy", "letters")]}}, "limit": 1},
         "query": text("the hunters", "Qdrant/bm25"), "using": "words"},
    ], "query": {"fusion": "rrf"}}));
    memory.of(&acme).embed_query(&name(), &mut query).await.unwrap();
    assert_eq!(letters.calls.load(Ordering::SeqCst), 1, "one call for one model");
    assert_eq!(ids(&memory.of(&acme).query(&name(), query).await.unwrap()), [1]);
    for (query, code) in [
        (json!({"query": text("x", "other")}), "model.no_route"),
        (json!({"query": text("x", "letters"), "using": "words"}), "request.malformed"),
        (json!({"query": text("x", "Qdrant/bm25")}), "request.malformed"),
        (json!({"query": text("x", "letters"), "using": "nothing"}), "request.malformed"),
    ] {
        let mut asked = memory.query(query.clone());
        let error = memory.of(&acme).embed_query(&name(), &mut asked).await.unwrap_err();
        assert_eq!(error.code(), code, "{query}");
    }
    let mut query = memory.query(json!({"query": text("x", "letters")}));
    let none = CollectionName::parse("none").unwrap();
    let error = memory.of(&acme).embed_query(&none, &mut query).await.unwrap_err();
    assert_eq!(error.code(), "memory.no_collection");
    assert_eq!(letters.calls.load(Ordering::SeqCst), 2, "nothing is paid for what cannot be");
}

#[tokio::test]
async fn an_embedder_is_not_believed_unseen() {
    let world = World::new().await;
    let acme = world.acme().await;
    let given = |text: &str| {
        let (text, model) = (text.into(), "letters".into());
        Given::Document(Document { text, model, options: Payload::new() })
    };
    let resolve = |memory: Memory| {
        let acme = acme.clone();
        async move {
            let (mut a, mut b) = (given("x"), given("y"));
            let done =
                crate::embed::resolve(&memory.inner, &acme, &mut [&mut a, &mut b], false).await;
            done.map(|()| (a, b)).map_err(|error| error.code())
        }
    };
    for (index, wrong) in [
        vec![vec![1.0, 2.0]],
        vec![vec![1.0], vec![1.0, 2.0]],
        vec![vec![], vec![]],
        vec![vec![1.0, f32::NAN], vec![1.0, 2.0]],
        vec![vec![1.0], vec![1.0], vec![1.0]],
    ]
    .into_iter()
    .enumerate()
    {
        let letters = Letters { wrong: Some(wrong), ..Letters::default() };
        let memory = world.with(MemorySettings::default(), Some(Arc::new(letters)));
        assert_eq!(resolve(memory).await.unwrap_err(), "memory.no_embedder", "{index}");
    }
    let nothing = world.memory(MemorySettings::default());
    assert_eq!(resolve(nothing).await.unwrap_err(), "memory.no_embedder");
    let good = world.with(MemorySettings::default(), Some(Arc::new(Letters::default())));
    let (a, b) = resolve(good).await.unwrap();
    assert_eq!(a, Given::Vector(Vector::Dense(vec![1.01, 0.01])));
    assert_eq!(b, Given::Vector(Vector::Dense(vec![0.01, 1.01])));
}
