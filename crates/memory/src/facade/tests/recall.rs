//! Agents' memory: remembered, found, forgotten; whose it is.

use std::time::Duration;

use super::*;
use crate::{Found, Recall, Remember};

fn text(text: &str) -> Remember {
    Remember { text: text.into(), metadata: Payload::new(), ttl: None, subject: None }
}

fn like(text: &str) -> Recall {
    Recall { text: text.into(), limit: 10, filter: None, subject: None }
}

async fn texts(memory: &Memory, scope: &Scope<Write>, recall: Recall) -> Vec<String> {
    let found: Vec<Found> = memory.of(scope).recall(&name(), recall).await.unwrap();
    found.into_iter().map(|found| found.text).collect()
}

#[tokio::test]
async fn words_are_found_without_any_route() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    assert!(texts(&memory, &acme, like("anything")).await.is_empty(), "nothing is remembered yet");
    let metadata = json!({"topic": "pets", "text": "a"}).as_object().unwrap().clone();
    let cats = Remember { metadata: metadata.clone(), ..text("The cat hunts mice") };
    let id = memory.of(&acme).remember(&name(), cats).await.unwrap();
    assert!(matches!(id, PointId::Uuid(bytes) if bytes[6] >> 4 == 7 && bytes[8] >> 6 == 2));
    memory.of(&acme).remember(&name(), text("Dogs hunt nothing but sleep")).await.unwrap();
    let later = memory.of(&acme).remember(&name(), text("A cat sleeps")).await.unwrap();
    assert_ne!(id, later);
    let found = memory.of(&acme).recall(&name(), like("hunting cats")).await.unwrap();
    assert_eq!(found[0].text, "The cat hunts mice");
    assert_eq!((found[0].id, &found[0].metadata), (id, &metadata));
    assert_eq!((found[0].created, found[0].expires), (world.clock.now(), None));
    assert_eq!(found.len(), 3);
    assert!(found[0].score > found[1].score);
    for (filter, many) in [
        (json!({"must": [{"key": "topic", "match": {"value": "pets"}}]}), 1),
        (json!({"must": [{"key": "text", "match": {"value": "a"}}]}), 1),
        (json!({"must_not": [{"key": "topic", "match": {"value": "pets"}}]}), 2),
    ] {
        let recall = Recall { filter: Some(filter.clone()), ..like("cat hunt sleep") };
        assert_eq!(texts(&memory, &acme, recall).await.len(), many, "{filter}");
    }
    let one = Recall { limit: 1, ..like("cat hunt sleep") };
    assert_eq!(texts(&memory, &acme, one).await.len(), 1);
    assert!(texts(&memory, &acme, like("the")).await.is_empty(), "no word that says anything");
}

#[tokio::test]
async fn meaning_and_words_are_fused_with_a_route() {
    let world = World::new().await;
    let settings =
        || MemorySettings { embedding: Some("letters".into()), ..MemorySettings::default() };
    let memory = world.with(settings(), Some(Arc::new(Letters::default())));
    let acme = world.acme().await;
    for line in ["xxxx", "yyyy zebra", "lion"] {
        memory.of(&acme).remember(&name(), text(line)).await.unwrap();
    }
    // Near by meaning, though no word is the same; and the other way round.
    assert_eq!(texts(&memory, &acme, like("x x x")).await[0], "xxxx");
    assert_eq!(texts(&memory, &acme, like("lion y")).await.len(), 3);
    let schema = memory.of(&acme).info(&name()).await.unwrap().collection.schema;
    assert_eq!(schema.vectors[""].size, 2);
    assert!(schema.sparse["bm25"].idf);
    // Without the route it goes on by words.
    drop(memory);
    let memory = world.memory(MemorySettings::default());
    memory.of(&acme).remember(&name(), text("tiger")).await.unwrap();
    assert_eq!(texts(&memory, &acme, like("tigers")).await, ["tiger"]);
    // A route of other dimensions is told.
    let letters = Letters { wrong: Some(vec![vec![1.0; 3]]), ..Letters::default() };
    let memory = world.with(settings(), Some(Arc::new(letters)));
    let error = memory.of(&acme).remember(&name(), text("x")).await.unwrap_err();
    assert!(error.to_string().contains("gives 3 dimensions"), "{error}");
    assert!(memory.of(&acme).recall(&name(), like("x")).await.is_err());
}

#[tokio::test]
async fn memories_expire() {
    let world = World::new().await;
    let memory =
        world.memory(MemorySettings { ttl_seconds: Some(60), ..MemorySettings::default() });
    let acme = world.acme().await;
    memory.of(&acme).remember(&name(), text("a short story")).await.unwrap();
    let long = Remember { ttl: Some(Duration::from_secs(600)), ..text("a long story") };
    memory.of(&acme).remember(&name(), long).await.unwrap();
    assert_eq!(texts(&memory, &acme, like("story")).await.len(), 2);
    world.clock.advance(Duration::from_secs(60));
    let found = memory.of(&acme).recall(&name(), like("story")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].expires, Some(world.clock.now().plus(Duration::from_secs(540))));
    world.clock.advance(Duration::from_secs(540));
    assert!(texts(&memory, &acme, like("story")).await.is_empty());
    for seconds in [0, 200 * 366 * 86_400] {
        let never = Remember { ttl: Some(Duration::from_secs(seconds)), ..text("x") };
        let error = memory.of(&acme).remember(&name(), never).await.unwrap_err();
        assert_eq!(error.code(), "request.malformed");
    }
}

#[tokio::test]
async fn every_end_user_s_memories_are_their_own() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let (alice, bob) = (world.user(Some("alice")).await, world.user(Some("bob")).await);
    let (nobody, backend) = (world.user(None).await, world.acme().await);
    memory.of(&alice).remember(&name(), text("story of alice")).await.unwrap();
    memory.of(&bob).remember(&name(), text("story of bob")).await.unwrap();
    memory.of(&nobody).remember(&name(), text("story of everybody")).await.unwrap();
    let named = Remember { subject: Some("alice".into()), ..text("story told to alice") };
    memory.of(&backend).remember(&name(), named.clone()).await.unwrap();
    let found = |scope: &Scope<Write>, subject: Option<&str>| {
        let (memory, scope) = (memory.clone(), scope.clone());
        let recall = Recall { subject: subject.map(Into::into), ..like("story") };
        async move {
            let mut found = memory.of(&scope).recall(&name(), recall).await?;
            found.sort_by(|a, b| a.text.cmp(&b.text));
            Ok::<_, Error>(found.into_iter().map(|f| (f.text, f.subject)).collect::<Vec<_>>())
        }
    };
    let of = |text: &str, subject: Option<&str>| (text.to_owned(), subject.map(str::to_owned));
    let alices = vec![
        of("story of alice", Some("alice")),
        of("story of everybody", None),
        of("story told to alice", Some("alice")),
    ];
    assert_eq!(found(&alice, None).await.unwrap(), alices);
    assert_eq!(found(&alice, Some("alice")).await.unwrap(), alices);
    assert_eq!(found(&backend, Some("alice")).await.unwrap(), alices, "on behalf of her");
    assert_eq!(found(&nobody, None).await.unwrap(), [of("story of everybody", None)]);
    assert_eq!(found(&bob, None).await.unwrap().len(), 2);
    assert_eq!(found(&backend, None).await.unwrap().len(), 4);
    for scope in [&bob, &nobody] {
        let error = found(scope, Some("alice")).await.unwrap_err();
        assert_eq!(error.code(), "memory.out_of_reach");
        let error = memory.of(scope).remember(&name(), named.clone()).await.unwrap_err();
        assert_eq!(error.code(), "memory.out_of_reach");
    }
    // By the other door, too.
    assert_eq!(memory.counts(&bob, json!({"exact": false})).await, 2);
    // The holder of the grant who is somebody's looks at their own, until another is named.
    let wildcard = world.scope("support", Some("bob"), "memory:*").await;
    let error = found(&wildcard, Some("alice")).await.unwrap_err();
    assert_eq!(error.code(), "memory.out_of_reach", "the grant is given by its name alone");
    assert_eq!(memory.counts(&wildcard, json!({"exact": false})).await, 2);
    let both = world.scope("support", Some("bob"), "memory:* memory:subjects").await;
    assert_eq!(found(&both, None).await.unwrap().len(), 2);
    assert_eq!(found(&both, Some("alice")).await.unwrap(), alices);
}

#[tokio::test]
async fn another_s_collection_is_told_apart() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let error = memory.of(&acme).remember(&name(), text("x")).await.unwrap_err();
    assert!(error.to_string().contains("was not made by /v1/memory"), "{error}");
    let error = memory.of(&acme).recall(&name(), like("x")).await.unwrap_err();
    assert_eq!(error.code(), "request.malformed");
    for limit in [0, 10_001] {
        let recall = Recall { limit, ..like("x") };
        let error = memory.of(&acme).recall(&name(), recall).await.unwrap_err();
        assert_eq!(error.code(), "request.malformed");
    }
    let error = memory.of(&acme).remember(&name(), text(" \n")).await.unwrap_err();
    assert_eq!(error.code(), "request.malformed");
}

/// A payload that was written by another way than `remember` says what its writer likes.
#[tokio::test]
async fn nobody_speaks_in_another_s_name() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let (alice, backend) = (world.user(Some("alice")).await, world.acme().await);
    let id = memory.of(&alice).remember(&name(), text("story of alice")).await.unwrap();
    let as_if = |subject: &str| {
        let forged = json!({"payload": {"subject": subject, "expires": 1}, "points": [id.json()]});
        let body = forged.to_string();
        crate::request::parse_set_payload(body.as_bytes(), memory.settings()).unwrap()
    };
    for (said, told) in [("bob", None), ("alice", Some("alice"))] {
        memory.of(&alice).write(&name(), vec![as_if(said)]).await.unwrap();
        let found = memory.of(&backend).recall(&name(), like("story")).await.unwrap();
        assert_eq!((found[0].id, found[0].subject.as_deref()), (id, told));
        assert_eq!(found[0].expires, None, "it is kept for good");
    }
}
