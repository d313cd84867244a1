//! What can be changed, by whom, and what is left when somebody hangs up.

use std::{sync::mpsc, time::Duration};

use store::File;

use super::*;
use crate::{
    CollectionName,
    request::{self, parse_batch},
};

/// Number of points over which operations over filters go in several steps.
const MANY: u64 = 600;

impl Memory {
    async fn does(&self, scope: &Scope<Write>, operations: Value) -> Result<Vec<Seq>, Error> {
        let body = json!({"operations": operations}).to_string();
        let operations = parse_batch(body.as_bytes(), self.settings()).unwrap();
        self.of(scope).write(&name(), operations).await
    }

    /// Does one thing; why not, if it cannot be done.
    async fn refuses(&self, scope: &Scope<Write>, operation: Value) -> &'static str {
        self.does(scope, json!([operation])).await.expect_err("it is refused").code()
    }

    async fn upserts(&self, scope: &Scope<Write>, ids: &[u64], payload: Value) {
        self.does(scope, upsert(ids, payload)).await.unwrap();
    }

    async fn row(&self, scope: &Scope<Write>, id: u64) -> Option<Point> {
        let truth = self.inner.truth.of(scope);
        let collection = truth.collection(&name()).await.unwrap().unwrap();
        truth.points(&collection, &[PointId::Num(id)]).await.unwrap().remove(0)
    }

    async fn payload(&self, scope: &Scope<Write>, id: u64) -> Value {
        Value::Object(self.row(scope, id).await.expect("it is there").payload)
    }
}

fn upsert(ids: &[u64], payload: Value) -> Value {
    let point = |id: &u64| json!({"id": id, "vector": [*id as f32, 1.0], "payload": payload});
    json!([{"upsert": {"points": ids.iter().map(point).collect::<Vec<_>>()}}])
}

async fn world() -> (World, Memory, Scope<Write>) {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[("kind", "keyword")])).await;
    (world, memory, acme)
}

#[tokio::test]
async fn every_operation_does_what_it_does_in_qdrant() {
    let (_world, memory, acme) = world().await;
    memory.upserts(&acme, &[1, 2, 3], json!({"kind": "a", "deep": {"x": 1}})).await;
    let done = memory
        .does(
            &acme,
            json!([
                {"set_payload": {"payload": {"kind": "b"}, "points": [1]}},
                {"set_payload": {"payload": {"y": 2}, "points": [1], "key": "deep"}},
                {"overwrite_payload": {"payload": {"only": true}, "points": [2]}},
                {"delete_payload": {"keys": ["deep.x"], "filter": {"must": [{"has_id": [1, 3]}]}}},
                {"update_vectors": {"points": [
                    {"id": 1, "vector": {"words": {"indices": [7, 3], "values": [1.0, 2.0]}}},
                ]}},
                {"delete_vectors": {"vector": [""], "points": [3]}},
                {"clear_payload": {"points": [3]}},
                {"delete": {"points": [2, 99]}},
            ]),
        )
        .await
        .unwrap();
    assert_eq!(done, [2, 3, 4, 5, 6, 7, 8, 9], "a sequence number for each");
    assert_eq!(memory.payload(&acme, 1).await, json!({"kind": "b", "deep": {"y": 2}}));
    let one = memory.row(&acme, 1).await.unwrap();
    assert_eq!(one.vectors[""], Vector::Dense(vec![1.0, 1.0]));
    let words = Vector::Sparse { indices: vec![3, 7], values: vec![2.0, 1.0] };
    assert_eq!((&one.vectors["words"], one.version), (&words, 6));
    assert_eq!(memory.row(&acme, 2).await, None);
    let three = memory.row(&acme, 3).await.unwrap();
    assert!(three.vectors.is_empty() && three.payload.is_empty(), "the point stays");

    // Whoever asks next sees it all.
    assert_eq!(memory.scrolls(&acme, json!({"limit": 10})).await, [1, 3]);
    let b = json!({"filter": {"must": [{"key": "kind", "match": {"value": "b"}}]}});
    assert_eq!(memory.counts(&acme, b).await, 1);
    assert_eq!(memory.asks(&acme, json!({"query": [1.0, 0.0]})).await, [1]);
    let found = memory.of(&acme).verify(&name()).await.unwrap();
    assert_eq!((found.rows, found.missing, found.foreign, found.different), (2, 0, 0, 0));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_deleting_it_is_no_error() {
    let (_world, memory, acme) = world().await;
    memory.upserts(&acme, &[1], json!({})).await;
    for operation in [
        json!({"set_payload": {"payload": {"a": 1}, "points": [1, 9]}}),
        json!({"overwrite_payload": {"payload": {"a": 1}, "points": [1, 9]}}),
        json!({"delete_payload": {"keys": ["a"], "points": [1, 9]}}),
        json!({"clear_payload": {"points": [1, 9]}}),
        json!({"update_vectors": {"points": [{"id": 9, "vector": [1.0, 1.0]}]}}),
        json!({"delete_vectors": {"vector": [""], "points": [1, 9]}}),
    ] {
        assert_eq!(
            memory.refuses(&acme, operation.clone()).await,
            "memory.no_point",
            "{operation}"
        );
    }
    assert_eq!(memory.row(&acme, 1).await.unwrap().version, 1, "all or nothing");
    memory.does(&acme, json!([{"delete": {"points": [9]}}])).await.unwrap();
    for operation in [
        json!({"upsert": {"points": [{"id": 2, "vector": [1.0]}]}}),
        json!({"upsert": {"points": [{"id": 2, "vector": {"none": [1.0, 1.0]}}]}}),
        json!({"update_vectors": {"points": [{"id": 1, "vector": {"none": [1.0, 1.0]}}]}}),
        json!({"delete_vectors": {"vector": ["none"], "points": [1]}}),
    ] {
        let refused = memory.refuses(&acme, operation.clone()).await;
        assert_eq!(refused, "request.malformed", "{operation}");
    }
    let none = CollectionName::parse("none").unwrap();
    let refused = memory.of(&acme).write(&none, Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), "memory.no_collection");
}

#[tokio::test]
async fn two_tenants_write_one_name_and_one_id() {
    let (world, memory, acme) = world().await;
    let globex = world.kit.scope("globex", "live").await;
    memory.made(&globex, plain(&[])).await;
    for (scope, whose) in [(&acme, "acme"), (&globex, "globex")] {
        memory.upserts(scope, &[1, 2], json!({"whose": whose})).await;
    }
    let all = json!([{"set_payload": {"payload": {"seen": true}, "filter": {}}}]);
    memory.does(&acme, all).await.unwrap();
    memory.does(&acme, json!([{"delete": {"points": [2]}}])).await.unwrap();
    assert_eq!(memory.payload(&acme, 1).await, json!({"whose": "acme", "seen": true}));
    assert_eq!(memory.payload(&globex, 1).await, json!({"whose": "globex"}));
    assert_eq!(memory.gets(&globex, &[1, 2]).await, [1, 2]);
    assert!(memory.of(&acme).delete(&name()).await.unwrap());
    assert_eq!(memory.asks(&globex, json!({"query": [1.0, 0.0]})).await, [2, 1]);
}

/// Catches the planted bug `memory-upsert-over-foreign-owner`.
#[tokio::test]
async fn an_end_user_changes_only_their_own() {
    let (world, memory, acme) = world().await;
    memory.upserts(&acme, &[1], json!({"whose": "nobody's"})).await;
    let (alice, bob) = (world.user(Some("alice")).await, world.user(Some("bob")).await);
    memory.upserts(&alice, &[11, 12], json!({"whose": "alice"})).await;
    let own = Some(memory.subject(&acme, "alice"));
    assert_eq!(memory.row(&acme, 11).await.unwrap().subject, own);

    // One space of ids: somebody else's is refused, not replaced.
    let over = |id: u64| upsert(&[id], json!({"whose": "bob"}))[0].clone();
    assert_eq!(memory.refuses(&bob, over(11)).await, "memory.out_of_reach");
    assert_eq!(memory.refuses(&bob, over(1)).await, "memory.out_of_reach");
    let set = |id: u64| json!({"set_payload": {"payload": {"x": 1}, "points": [id]}});
    // What is somebody else's is not there; what is nobody's can be seen, and not be changed.
    assert_eq!(memory.refuses(&bob, set(11)).await, "memory.no_point");
    assert_eq!(memory.refuses(&bob, set(1)).await, "memory.out_of_reach");
    let delete = |id: u64| json!({"delete": {"points": [id]}});
    memory.does(&bob, json!([delete(11)])).await.unwrap();
    assert_eq!(memory.refuses(&bob, delete(1)).await, "memory.out_of_reach");
    let vectors = json!({"update_vectors": {"points": [{"id": 11, "vector": [9.0, 9.0]}]}});
    assert_eq!(memory.refuses(&bob, vectors).await, "memory.no_point");
    // Over a filter, what is not theirs is passed over.
    memory.upserts(&bob, &[21], json!({"whose": "bob"})).await;
    memory.does(&bob, json!([{"set_payload": {"payload": {"x": 1}, "filter": {}}}])).await.unwrap();
    memory.does(&bob, json!([{"delete": {"filter": {}}}])).await.unwrap();
    assert_eq!(memory.payload(&acme, 11).await, json!({"whose": "alice"}));
    assert_eq!(memory.payload(&acme, 1).await, json!({"whose": "nobody's"}));
    assert_eq!(memory.row(&acme, 21).await, None);

    // Who may reach all may change all, and leaves each whose it is.
    memory.does(&acme, json!([set(11)])).await.unwrap();
    memory.upserts(&acme, &[12], json!({"whose": "still alice's"})).await;
    for id in [11, 12] {
        assert_eq!(memory.row(&acme, id).await.unwrap().subject, own);
    }
    memory.does(&alice, json!([delete(11)])).await.unwrap();
    assert_eq!(memory.row(&acme, 11).await, None);
    // Nobody in particular: only what is nobody's.
    let nobody = world.user(None).await;
    assert_eq!(memory.refuses(&nobody, over(12)).await, "memory.out_of_reach");
    memory.does(&nobody, json!([over(1), delete(1)])).await.unwrap();
}

/// Catches the planted bug `memory-write-unreached`.
#[tokio::test]
async fn no_write_leaves_what_its_workflow_could_not_reach() {
    let world = World::new().await;
    let filter = json!({"must": [{"key": "kind", "match": {"value": "public"}}]});
    let memory = world.memory(held_to("support", "docs", filter));
    let free = world.scope("billing", None, testkit::GRANTS).await;
    let held = world.acme().await;
    memory.made(&free, plain(&[("kind", "keyword")])).await;
    memory.upserts(&free, &[1], json!({"kind": "secret"})).await;
    memory.upserts(&held, &[2], json!({"kind": "public"})).await;

    for operation in [
        upsert(&[3], json!({"kind": "secret"}))[0].clone(),
        upsert(&[3], json!({}))[0].clone(),
        // Onto a row that it does not see.
        upsert(&[1], json!({"kind": "public"}))[0].clone(),
        json!({"set_payload": {"payload": {"kind": "secret"}, "points": [2]}}),
        json!({"set_payload": {"payload": {"kind": "secret"}, "filter": {}}}),
        json!({"overwrite_payload": {"payload": {}, "points": [2]}}),
        json!({"delete_payload": {"keys": ["kind"], "points": [2]}}),
        json!({"clear_payload": {"points": [2]}}),
    ] {
        let refused = memory.refuses(&held, operation.clone()).await;
        assert_eq!(refused, "memory.out_of_reach", "{operation}");
    }
    let unseen = json!({"set_payload": {"payload": {"kind": "public"}, "points": [1]}});
    assert_eq!(memory.refuses(&held, unseen).await, "memory.no_point");
    memory
        .does(&held, json!([{"delete": {"points": [1]}}, {"delete": {"filter": {}}}]))
        .await
        .unwrap();
    assert_eq!(memory.row(&free, 1).await.unwrap().version, 1);
    assert_eq!(memory.row(&free, 2).await, None);
}

#[tokio::test]
async fn a_filter_reaches_all_that_match_in_steps() {
    let (_world, memory, acme) = world().await;
    let ids: Vec<u64> = (1..=MANY).collect();
    let (a, b) = ids.split_at(500);
    memory.upserts(&acme, a, json!({"kind": "a"})).await;
    memory.upserts(&acme, b, json!({"kind": "b"})).await;
    let of = |kind: &str| json!({"must": [{"key": "kind", "match": {"value": kind}}]});
    // What it changes is what it goes by.
    let set = json!([{"set_payload": {"payload": {"kind": "b"}, "filter": of("a")}}]);
    memory.does(&acme, set).await.unwrap();
    assert_eq!(memory.counts(&acme, json!({"filter": of("a")})).await, 0);
    assert_eq!(memory.counts(&acme, json!({"filter": of("b")})).await, MANY);
    let head = async || {
        let truth = memory.inner.truth.of(&acme);
        let collection = truth.collection(&name()).await.unwrap().unwrap();
        truth.head(&collection).await.unwrap()
    };
    let before = head().await.seq;
    let none = memory.does(&acme, json!([{"delete": {"filter": of("a")}}])).await.unwrap();
    assert_eq!(none, [before + 1], "an operation all the same");
    let gone = memory.of(&acme).erase(&name(), selected(&memory, of("b"))).await.unwrap();
    assert_eq!((gone, head().await.points), (MANY, 0));
    assert_eq!(memory.scrolls(&acme, json!({"limit": 10})).await, Vec::<u64>::new());
}

fn selected(memory: &Memory, filter: Value) -> request::Selector {
    let filter = request::Filter::parse(&filter, memory.settings()).unwrap();
    request::Selector::Filter(filter)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_lose_nothing() {
    let (_world, memory, acme) = world().await;
    memory.upserts(&acme, &[1], json!({})).await;
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let memory = memory.clone();
            acme.spawn(move |acme| async move {
                for round in 0..4 {
                    let key = format!("w{writer}r{round}");
                    let set = json!([{"set_payload": {"payload": {key: 1}, "points": [1]}}]);
                    memory.does(&acme, set).await.unwrap();
                    let text = json!({"text": "x", "metadata": {}});
                    memory.upserts(&acme, &[100 + writer * 10 + round], text).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(memory.row(&acme, 1).await.unwrap().payload.len(), 24);
    let truth = memory.inner.truth.of(&acme);
    let collection = truth.collection(&name()).await.unwrap().unwrap();
    assert_eq!(truth.head(&collection).await.unwrap().seq, 49);
    assert_eq!(memory.counts(&acme, json!({})).await, 25);
}

#[tokio::test]
async fn who_hangs_up_leaves_no_half_write() {
    let (world, memory, acme) = world().await;
    memory.upserts(&acme, &[1], json!({"kind": "old"})).await;
    // The writer of the file is held inside a transaction of somebody else's.
    let (go_on, wait) = mpsc::channel::<()>();
    let (inside, is_inside) = mpsc::channel::<()>();
    let (store, other) = (world.store.clone(), world.kit.scope("globex", "live").await);
    let holder = other.spawn(move |other| async move {
        let held = store.of(&other).write(File::Memory, 0, move |_| {
            let _ = inside.send(());
            let _ = wait.recv();
            Ok::<_, store::Error>(())
        });
        held.await
    });
    while is_inside.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    let operations = json!([
        {"set_payload": {"payload": {"kind": "new"}, "points": [1]}},
        upsert(&[2], json!({}))[0],
    ]);
    {
        let write = memory.does(&acme, operations);
        let mut write = std::pin::pin!(write);
        for _ in 0..1_000 {
            tokio::select! {
                biased;
                _ = &mut write => panic!("answered while nothing could be written"),
                () = tokio::task::yield_now() => {}
            }
        }
        // The caller is gone.
    }
    go_on.send(()).unwrap();
    holder.await.unwrap().unwrap();
    // The next writer waits for its turn behind it.
    memory.upserts(&acme, &[3], json!({})).await;
    assert_eq!(memory.payload(&acme, 1).await, json!({"kind": "new"}));
    assert_eq!(memory.row(&acme, 2).await.unwrap().version, 3);
    assert_eq!(memory.row(&acme, 3).await.unwrap().version, 4);
}

#[tokio::test]
async fn a_tenants_writers_are_bounded_and_others_are_not_held_up() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings { waiting: 1, ..MemorySettings::default() });
    let (acme, globex) = (world.acme().await, world.kit.scope("globex", "live").await);
    let docs = memory.made(&acme, plain(&[])).await;
    memory.made(&globex, plain(&[])).await;
    let partition = *acme.partition_bytes();
    let turn = memory.inner.queues.turn(partition, docs.incarnation, 1).await.unwrap();
    assert_eq!(memory.refuses(&acme, upsert(&[1], json!({}))[0].clone()).await, "memory.busy");
    memory.upserts(&globex, &[1], json!({})).await;
    drop(turn);
    memory.upserts(&acme, &[1], json!({})).await;
}

#[tokio::test]
async fn a_collection_is_made_changed_and_deleted() {
    let world = World::new().await;
    let settings = MemorySettings { vectors: 2, dimensions: 4, ..MemorySettings::default() };
    let memory = world.memory(settings);
    let acme = world.acme().await;
    let of = memory.of(&acme);
    let space = |size| Dense { size, distance: Distance::Dot, multi: false };
    let schema = |spaces: &[(&str, usize)]| Schema {
        vectors: spaces.iter().map(|(name, size)| ((*name).to_owned(), space(*size))).collect(),
        ..Schema::default()
    };
    for over in [schema(&[("", 5)]), schema(&[("a", 1), ("b", 1), ("c", 1)])] {
        assert_eq!(of.create(&name(), over).await.unwrap_err().code(), "request.too_large");
    }
    of.create(&name(), schema(&[("", 2)])).await.unwrap();
    let twice = of.create(&name(), schema(&[("", 2)])).await.unwrap_err();
    assert_eq!(twice.code(), "memory.exists");

    memory.upserts(&acme, &[1], json!({"kind": "a", "text": "t"})).await;
    let index = async |field: &str| {
        let (field, kind) = (field.to_owned(), json!("keyword"));
        of.create_index(&name(), field, kind).await
    };
    let seq = index("kind").await.unwrap();
    assert_eq!((seq, index("kind").await.unwrap()), (2, 2), "as it was");
    assert_eq!(index("text").await.unwrap_err().code(), "memory.content_field");
    assert!(index("_bulkhead.subject").await.is_err());
    let facets = memory.facets(&acme, json!({"key": "kind"})).await;
    assert_eq!(facets, [(json!("a"), 1)]);
    assert_eq!(of.delete_index(&name(), "kind").await.unwrap(), 3);
    let patch = request::Patch {
        metadata: Some(json!({"a": 1}).as_object().unwrap().clone()),
        ..request::Patch::default()
    };
    of.change(&name(), patch).await.unwrap();
    let info = of.info(&name()).await.unwrap();
    assert_eq!(Value::Object(info.collection.schema.metadata), json!({"a": 1}));
    assert_eq!(info.points, 1);

    assert!(of.delete(&name()).await.unwrap());
    assert!(!of.delete(&name()).await.unwrap());
    assert!(!of.exists(&name()).await.unwrap());
    let left = memory.inner.truth.of(&acme).usage().await.unwrap();
    assert_eq!((left.rows, left.bytes), (0, 0));
    // One of the same name has nothing of it.
    of.create(&name(), schema(&[("", 2)])).await.unwrap();
    assert_eq!(memory.asks(&acme, json!({"query": [1.0, 0.0]})).await, Vec::<u64>::new());
}

#[tokio::test]
async fn texts_are_embedded_before_anything_is_written() {
    let world = World::new().await;
    let embedder = Arc::new(Letters::default());
    let memory = world.with(MemorySettings::default(), Some(embedder.clone()));
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let text = |text: &str, model: &str| json!({"text": text, "model": model});
    let upsert = |vector: Value| json!({"upsert": {"points": [{"id": 1, "vector": vector}]}});
    let both = json!({"": text("xxy", "letters"), "words": text("green words", "Qdrant/bm25")});
    memory.does(&acme, json!([upsert(both)])).await.unwrap();
    let row = memory.row(&acme, 1).await.unwrap();
    assert_eq!(row.vectors[""], Vector::Dense(vec![2.01, 1.01]));
    assert!(matches!(&row.vectors["words"], Vector::Sparse { indices, .. } if indices.len() == 2));
    let calls = || embedder.calls.load(Ordering::SeqCst);
    assert_eq!(calls(), 1);
    // Nobody pays for what cannot be kept.
    let none = upsert(json!({"none": text("x", "letters")}));
    assert_eq!(memory.refuses(&acme, none).await, "request.malformed");
    assert_eq!(calls(), 1);
    assert_eq!(memory.refuses(&acme, upsert(text("x", "other"))).await, "model.no_route");
    let plain = world.memory(MemorySettings::default());
    let refused = plain.refuses(&acme, upsert(text("x", "letters"))).await;
    assert_eq!(refused, "memory.no_embedder");
    assert_eq!(memory.row(&acme, 1).await.unwrap().version, 1);
}

#[tokio::test]
async fn the_index_of_what_is_deleted_is_marked_before_its_rows_go() {
    let (world, memory, acme) = world().await;
    memory.upserts(&acme, &[1], json!({})).await;
    assert_eq!(memory.figures().waiting, 0);
    // It ends right before the rows go: as a process may, right behind it.
    world.clock.advance(Duration::from_secs(30 * 24 * 3_600));
    memory.of(&acme).delete(&name()).await.unwrap_err();
    assert_eq!(memory.figures().waiting, 1);
    // Whoever can do it leaves nothing, and no mark.
    let acme = world.acme().await;
    assert!(memory.of(&acme).delete(&name()).await.unwrap());
    assert_eq!(memory.figures().waiting, 0);
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_finished_by_the_next() {
    let (_world, memory, acme) = world().await;
    memory.upserts(&acme, &[1, 2], json!({})).await;
    let rows = memory.inner.truth.of(&acme);
    let docs = rows.collection(&name()).await.unwrap().unwrap();
    rows.retire(&docs).await.unwrap();
    assert!(rows.usage().await.unwrap().rows > 0);
    assert!(!memory.of(&acme).delete(&name()).await.unwrap());
    assert_eq!(rows.usage().await.unwrap(), store::Usage::default());
}
