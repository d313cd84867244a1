//! One shard, without any rows behind it.

use super::*;
use crate::{
    Sparse,
    engine::{Held, form::ContentFields, home, shard::Left},
    request::{Example, Given, Order, Query, Rank, Show, ShowPayload, ShowVectors, plan::Plan},
    truth::Change,
};

fn collection(schema: Schema) -> Collection {
    Collection {
        name: CollectionName::parse("docs").unwrap(),
        incarnation: [1; 16],
        schema,
        revision: 1,
        created: Millis(0),
    }
}

fn dense() -> Schema {
    let dense = Dense { size: DIMENSIONS, distance: Distance::Dot, multi: false };
    Schema { vectors: [(String::new(), dense)].into(), ..Schema::default() }
}

fn content() -> Arc<ContentFields> {
    Arc::new(ContentFields::new(&["text".into()]))
}

fn puts(ids: std::ops::Range<u64>) -> Vec<Change> {
    ids.map(|id| Change::Put(point(id))).collect()
}

fn nearest(collection: &Collection, using: &str, vector: Vector, limit: usize) -> Plan {
    let query = Query {
        prefetch: vec![],
        rank: Some(Rank::Nearest(Example::Given(Given::Vector(vector)))),
        using: using.into(),
        filter: None,
        score_threshold: None,
        limit,
        offset: 0,
        ef: None,
        exact: false,
        indexed_only: false,
        show: Show { payload: ShowPayload::All(false), vectors: ShowVectors::All(false) },
    };
    Plan::new(&query, collection, None, &|_| None).unwrap()
}

#[test]
fn a_point_is_found_by_its_vector_and_held_against_its_row() {
    let directory = tempfile::tempdir().unwrap();
    let shard = Shard::create(directory.path(), &collection(dense()), &content()).unwrap();
    shard.apply(&puts(0..100), 1).unwrap();
    let plan = nearest(&collection(dense()), "", Vector::Dense(vector(7)), 100);
    let found = shard.query(&plan).unwrap();
    assert_eq!(found.len(), 100);
    for verdict in found {
        let PointId::Num(id) = verdict.id else { panic!() };
        let dot: f32 = vector(7).iter().zip(vector(id)).map(|(a, b)| a * b).sum();
        assert!((dot - verdict.score).abs() < 1e-3, "{id}: {dot} {}", verdict.score);
    }
    let mut rows = [point(3), point(4), point(500)];
    rows[1].payload.insert("n".into(), 5.into());
    assert_eq!(shard.hold(&rows).unwrap(), [Held::Same, Held::Different, Held::Missing]);
    assert_eq!((shard.points(), shard.count(None, true).unwrap()), (100, 100));
}

#[test]
fn payload_indexes_of_the_schema_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut schema = dense();
    schema.indexes =
        [("n".into(), json!("integer")), ("word".into(), json!({"type": "keyword"}))].into();
    let shard = Shard::create(directory.path(), &collection(schema), &content()).unwrap();
    shard.apply(&puts(0..10), 1).unwrap();
    let order = Order { key: "n".into(), descending: true, start_from: Some(json!(5)) };
    let ordered = shard.ordered(None, &order, 3).unwrap();
    let ordered: Vec<_> = ordered.into_iter().map(|v| (v.id, v.order.unwrap())).collect();
    let expected = [5, 4, 3].map(|n: u64| (PointId::Num(n), json!(n)));
    assert_eq!(ordered, expected);
    let facet = shard.facet("word", None, 100, true).unwrap();
    assert!(facet.contains(&(json!(word(3)), 1)) && facet.len() == 10);
    // Of what has no index, the caller is told so.
    let refused = shard.facet("other", None, 10, true).unwrap_err();
    assert_eq!(refused.code(), "request.malformed");
    assert!(!shard.poisoned());
}

#[test]
fn writing_goes_on_where_it_stopped_when_old_log_is_removed_and_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, collection) = (directory.path(), collection(dense()));
    let closed = || {
        let names = home::names(&path.join("wal")).unwrap();
        names.into_iter().filter(|name| name.starts_with("closed-")).collect::<Vec<_>>()
    };
    let mut shard = Shard::create(path, &collection, &content()).unwrap();
    let mut seq = 0;
    for round in 0..4 {
        // More than two segments of the log.
        for _ in 0..6 {
            seq += 1;
            shard.apply(&puts(0..1_500), seq).unwrap();
        }
        assert!(round == 0 || closed().len() > 1, "{:?}", closed());
        assert_eq!(shard.flush().unwrap(), seq);
        assert_eq!(closed().len(), 1, "the last one stays");
        drop(shard);
        let left = Left { seq, ..Left::default() };
        shard = Shard::load(path, &collection, &content(), &left).unwrap();
        // The engine leaves out what has a number that is not above a point's.
        let mut changed = point(3);
        changed.payload.insert("n".into(), json!(1_000 + round));
        seq += 1;
        shard.apply(&[Change::Put(changed.clone()), Change::Delete(PointId::Num(4))], seq).unwrap();
        let held = shard.hold(&[changed, point(4)]).unwrap();
        assert_eq!(held, [Held::Same, Held::Missing], "round {round}");
        assert!(!shard.poisoned());
    }
}

#[test]
fn a_point_loses_the_vectors_that_it_has_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut schema = dense();
    schema.vectors.insert("other".into(), schema.vectors[""].clone());
    schema.sparse.insert("words".into(), Sparse { idf: true });
    let collection = collection(schema);
    let whole = |id| {
        let mut point = point(id);
        point.vectors.insert("other".into(), Vector::Dense(vector(id + 1_000)));
        let words = Vector::Sparse { indices: vec![1, id as u32 + 5], values: vec![1.0, 2.0] };
        point.vectors.insert("words".into(), words);
        point
    };
    let shard = Shard::create(&directory.path().join("a"), &collection, &content());
    assert!(shard.is_err(), "its directory is made before");
    fs::create_dir(directory.path().join("b")).unwrap();
    let shard = Shard::create(&directory.path().join("b"), &collection, &content()).unwrap();
    shard.apply(&(0..50).map(|id| Change::Put(whole(id))).collect::<Vec<_>>(), 1).unwrap();
    let found = shard.query(&nearest(
        &collection,
        "words",
        Vector::Sparse { indices: vec![7], values: vec![1.0] },
        9,
    ));
    assert_eq!(found.unwrap().len(), 1, "{}", shard.points());
    for graph in [false, true] {
        if graph {
            shard.optimize().unwrap();
            assert_eq!((shard.indexed(), shard.points()), (50, 50));
        }
        let id = 10 + u64::from(graph);
        shard.apply(&[Change::Put(point(id))], 2).unwrap();
        assert_eq!(shard.hold(&[point(id), whole(12)]).unwrap(), [Held::Same; 2], "{graph}");
    }
}

#[test]
fn what_was_replaced_or_deleted_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let shard = Shard::create(directory.path(), &collection(dense()), &content()).unwrap();
    shard.apply(&puts(0..10), 1).unwrap();
    assert_eq!(shard.writing().dead, 0);
    shard.apply(&puts(5..12), 2).unwrap();
    assert_eq!(shard.writing().dead, 5);
    shard.apply(&[Change::Delete(PointId::Num(1)), Change::Delete(PointId::Num(99))], 3).unwrap();
    assert_eq!(shard.writing().dead, 6);
    // Told twice: as it was told last.
    shard.apply(&[Change::Put(point(50)), Change::Delete(PointId::Num(50))], 4).unwrap();
    assert_eq!(shard.hold(&[point(50)]).unwrap(), [Held::Missing]);
}

#[test]
fn an_empty_collection_is_small_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let shard = Shard::create(directory.path(), &collection(dense()), &content()).unwrap();
    shard.apply(&puts(0..10), 1).unwrap();
    shard.flush().unwrap();
    let bytes = home::allocated(directory.path()).unwrap();
    assert!(bytes < 4 << 20, "{bytes} bytes");
}

#[test]
fn content_never_reaches_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let shard = Shard::create(directory.path(), &collection(dense()), &content()).unwrap();
    shard.apply(&puts(0..20), 1).unwrap();
    shard.flush().unwrap();
    let files = Files::of(directory.path());
    assert!(files.hold(word(7).as_bytes()), "what is not content does");
    for id in 0..20 {
        assert!(!files.hold(secret(id).as_bytes()), "content of {id}");
    }
}

#[test]
fn queries_go_on_while_others_write_and_flush() {
    let directory = tempfile::tempdir().unwrap();
    let shard = Shard::create(directory.path(), &collection(dense()), &content()).unwrap();
    shard.apply(&puts(0..200), 1).unwrap();
    std::thread::scope(|threads| {
        let asking = threads.spawn(|| {
            for n in 0..200 {
                let found = shard
                    .query(&nearest(&collection(dense()), "", Vector::Dense(vector(n)), 200))
                    .unwrap();
                assert!(found.len() >= 100, "{}", found.len());
            }
        });
        for seq in 2..40 {
            shard.apply(&puts(0..100), seq).unwrap();
            shard.flush().unwrap();
        }
        asking.join().unwrap();
    });
    assert!(!shard.poisoned());
}

#[test]
fn a_shard_whose_files_are_gone_is_dropped_without_a_panic_and_answers_until_then() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shard");
    fs::create_dir(&path).unwrap();
    let shard = Shard::create(&path, &collection(dense()), &content()).unwrap();
    shard.apply(&puts(0..20), 1).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(shard.count(None, true).unwrap(), 20);
    assert!(shard.flush().is_err());
    assert!(shard.poisoned());
    drop(shard);
}
