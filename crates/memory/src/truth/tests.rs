use std::{path::Path, sync::mpsc, time::Duration};

use ids::{ManualClock, Millis, OsEntropy};
use scope::Write;
use serde_json::json;
use store::Options;
use testkit::Kit;
use vault::FileRoot;

use super::*;
use crate::{Dense, Distance, Payload, Schema, Vector, Vectors};

pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) vault: Vault,
    pub(crate) store: Store,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let kit = Kit::new(clock.clone()).await;
        let options = Options::new(directory.path().join("data"));
        let store = Store::open(&options, clock.clone()).unwrap();
        Self { kit, clock, vault, store, directory }
    }

    fn truth(&self) -> Truth {
        self.bounded(MemorySettings::default())
    }

    fn bounded(&self, settings: MemorySettings) -> Truth {
        let (store, vault) = (self.store.clone(), self.vault.clone());
        Truth::new(Arc::new(settings), store, vault, self.clock.clone(), Arc::new(OsEntropy))
    }

    async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    /// A connection beside the store's own.
    fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.directory.path().join("data/memory.db")).unwrap()
    }
}

fn name(name: &str) -> CollectionName {
    CollectionName::parse(name).unwrap()
}

fn schema() -> Schema {
    let dense = Dense { size: 2, distance: Distance::Dot, multi: false };
    Schema { vectors: [(String::new(), dense)].into(), ..Schema::default() }
}

async fn made(truth: &Truth, scope: &Scope<Write>, of: &str) -> Collection {
    assert!(truth.of(scope).create(&name(of), schema()).await.unwrap());
    truth.of(scope).collection(&name(of)).await.unwrap().unwrap()
}

fn point(id: u64, text: &str) -> Point {
    let vectors = Vectors::from([(String::new(), Vector::Dense(vec![id as f32, 0.5]))]);
    let payload = Payload::from_iter([("text".to_owned(), json!(text))]);
    Point { id: PointId::Num(id), version: 0, vectors, payload, subject: None, expires: None }
}

fn put(id: u64, text: &str) -> Row {
    Row::Put(point(id, text))
}

fn delete(id: u64) -> Row {
    Row::Delete(PointId::Num(id))
}

fn ids(points: &[Point]) -> Vec<(u64, Seq)> {
    let id = |point: &Point| match point.id {
        PointId::Num(id) => (id, point.version),
        PointId::Uuid(_) => unreachable!("none here"),
    };
    points.iter().map(id).collect()
}

/// Changes as an index has them after it applied them: id → version.
async fn caught_up(
    rows: Rows<'_, Write>,
    collection: &Collection,
    index: &mut std::collections::BTreeMap<PointId, Seq>,
    mut seq: Seq,
    limit: usize,
) -> Seq {
    loop {
        let changes = rows.changes(collection, seq, limit).await.unwrap();
        assert!(changes.upto > seq || !changes.more, "it goes on");
        for change in changes.changes {
            match change {
                Change::Put(point) => drop(index.insert(point.id, point.version)),
                Change::Delete(id) => drop(index.remove(&id)),
            }
        }
        seq = changes.upto;
        if !changes.more {
            return seq;
        }
    }
}

#[tokio::test]
async fn rows_come_back_as_they_were_written() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let rows = truth.of(&scope);
    assert_eq!(rows.head(&docs).await.unwrap(), Head::default());
    assert!(!rows.create(&docs.name, schema()).await.unwrap());

    let mut rich = point(7, "seven");
    rich.id = PointId::Uuid([7; 16]);
    rich.subject = Some([3; 16]);
    rich.expires = Some(world.clock.now().plus(Duration::from_secs(60)));
    let sparse = Vector::Sparse { indices: vec![1, 9], values: vec![0.5, -1.0] };
    rich.vectors.insert("words".into(), sparse);
    rich.vectors.insert("late".into(), Vector::Multi(vec![vec![1.0, 2.0], vec![3.0, 4.0]]));
    let written = vec![Row::Put(rich.clone()), put(2, "two"), put(1, "one")];
    assert_eq!(rows.commit(&docs, 0, written).await.unwrap(), Some(1));
    assert_eq!(rows.commit(&docs, 1, vec![put(2, "zwei"), delete(1)]).await.unwrap(), Some(2));
    // Nothing to do is a write, too.
    assert_eq!(rows.commit(&docs, 2, vec![delete(77)]).await.unwrap(), Some(3));

    rich.version = 1;
    let asked = [rich.id, PointId::Num(1), PointId::Num(2)];
    let found = rows.points(&docs, &asked).await.unwrap();
    assert_eq!(found[0].as_ref(), Some(&rich));
    assert_eq!(found[1], None);
    let two = found[2].clone().unwrap();
    assert_eq!((two.version, &two.payload["text"]), (2, &json!("zwei")));

    assert_eq!(rows.page(&docs, None, 1).await.unwrap(), std::slice::from_ref(&two));
    assert_eq!(rows.page(&docs, Some(two.id), 9).await.unwrap(), [rich.clone()]);
    assert_eq!(rows.page(&docs, Some(rich.id), 9).await.unwrap(), []);
    let head = rows.head(&docs).await.unwrap();
    assert_eq!(head, Head { seq: 3, points: 2, trimmed: 0 });
    assert_eq!(rows.usage().await.unwrap().rows, 2);
    let all = rows.collections().await.unwrap();
    assert_eq!(all, [docs]);
}

#[tokio::test]
async fn two_tenants_have_one_name_and_one_id() {
    let world = World::new().await;
    let truth = world.truth();
    let mut scopes = vec![world.acme().await, world.globex().await];
    scopes.push(world.kit.scope("acme", "staging").await);
    let mut all = Vec::new();
    for scope in &scopes {
        let docs = made(&truth, scope, "docs").await;
        let text = format!("{}/{}", scope.tenant(), scope.environment());
        truth.of(scope).commit(&docs, 0, vec![put(1, &text)]).await.unwrap();
        all.push((docs, text));
    }
    for (scope, (docs, text)) in scopes.iter().zip(&all) {
        let rows = truth.of(scope);
        let page = rows.page(docs, None, 10).await.unwrap();
        assert_eq!((page.len(), &page[0].payload["text"]), (1, &json!(text)));
        for (theirs, _) in all.iter().filter(|(theirs, _)| theirs != docs) {
            // A collection that came from another's scope is nothing in this one.
            assert!(matches!(rows.head(theirs).await, Err(Error::NoCollection(_))));
            assert_eq!(rows.points(theirs, &[PointId::Num(1)]).await.unwrap(), [None]);
            let lost = rows.commit(theirs, 1, vec![put(1, "mine")]).await;
            assert!(matches!(lost, Err(Error::NoCollection(_))), "{lost:?}");
        }
    }
    truth.of(&scopes[0]).retire(&all[0].0).await.unwrap();
    truth.of(&scopes[0]).clear_away().await.unwrap();
    for (scope, (docs, _)) in scopes.iter().zip(&all).skip(1) {
        assert_eq!(truth.of(scope).page(docs, None, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn who_decided_on_an_older_head_writes_nothing() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let rows = truth.of(&scope);
    rows.commit(&docs, 0, vec![put(1, "one")]).await.unwrap();
    assert_eq!(rows.commit(&docs, 0, vec![put(1, "late"), put(2, "late")]).await.unwrap(), None);
    assert_eq!(rows.commit(&docs, 9, vec![delete(1)]).await.unwrap(), None);
    assert_eq!(ids(&rows.page(&docs, None, 10).await.unwrap()), [(1, 1)]);
    assert_eq!(rows.head(&docs).await.unwrap().seq, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_at_once_each_has_a_sequence_of_its_own() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (truth, docs) = (truth.clone(), docs.clone());
            scope.spawn(move |scope| async move {
                let mut own = Vec::new();
                while own.len() < 5 {
                    let rows = truth.of(&scope);
                    let seq = rows.head(&docs).await.unwrap().seq;
                    let id = writer * 100 + own.len() as u64;
                    let row = vec![put(id, "own"), put(1_000, "everybody's")];
                    own.extend(rows.commit(&docs, seq, row).await.unwrap());
                }
                own
            })
        })
        .collect();
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (1..=40).collect::<Vec<_>>());
    let rows = truth.of(&scope);
    assert_eq!(rows.head(&docs).await.unwrap(), Head { seq: 40, points: 41, trimmed: 0 });
    assert_eq!(rows.page(&docs, None, 100).await.unwrap().len(), 41);
}

/// Catches the planted bug `memory-ack-before-commit`.
#[tokio::test]
async fn nothing_is_answered_before_it_is_durable() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    // The writer of the file is held inside a transaction of somebody else's.
    let (go_on, wait) = mpsc::channel::<()>();
    let (inside, is_inside) = mpsc::channel::<()>();
    let (store, other) = (world.store.clone(), world.globex().await);
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
    let (task, written) = (truth.clone(), docs.clone());
    let write = scope.spawn(move |scope| async move {
        task.of(&scope).commit(&written, 0, vec![put(1, "one")]).await
    });
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!write.is_finished(), "answered while nothing could be written");
    go_on.send(()).unwrap();
    assert_eq!(write.await.unwrap().unwrap(), Some(1));
    assert_eq!(truth.of(&scope).page(&docs, None, 9).await.unwrap().len(), 1);
    holder.await.unwrap().unwrap();
}

#[tokio::test]
async fn quotas_hold_and_never_keep_anybody_from_deleting() {
    let world = World::new().await;
    let settings =
        MemorySettings { collections: 2, points: 3, bytes: 64 << 10, ..MemorySettings::default() };
    let (truth, scope) = (world.bounded(settings), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let more = made(&truth, &scope, "more").await;
    let rows = truth.of(&scope);
    let full = |what: &'static str, result: Result<Option<Seq>, Error>| match result {
        Err(Error::Full { what: w, .. }) => assert_eq!(w, what),
        other => panic!("{other:?}"),
    };
    full("memory.collections", rows.create(&name("third"), schema()).await.map(|_| None));
    let other = world.globex().await;
    made(&truth, &other, "docs").await;

    let four = (0..4).map(|id| put(id, "x")).collect();
    full("memory.points", rows.commit(&docs, 0, four).await);
    assert_eq!(rows.head(&docs).await.unwrap(), Head::default(), "all or nothing");
    let three = (0..3).map(|id| put(id, "x")).collect();
    assert_eq!(rows.commit(&docs, 0, three).await.unwrap(), Some(1));
    full("memory.points", rows.commit(&docs, 1, vec![put(9, "x")]).await);
    assert_eq!(rows.commit(&docs, 1, vec![put(9, "x"), delete(0)]).await.unwrap(), Some(2));
    assert_eq!(rows.commit(&more, 0, vec![put(1, "x")]).await.unwrap(), Some(1));

    let large = "x".repeat(70 << 10);
    full("memory.bytes", rows.commit(&docs, 2, vec![put(9, &large)]).await);
    // A bound that was lowered: what there is stays, and can be taken away.
    let lowered = MemorySettings { points: 1, bytes: 100, ..MemorySettings::default() };
    let truth = world.bounded(lowered);
    let rows = truth.of(&scope);
    full("memory.bytes", rows.commit(&docs, 2, vec![put(9, "larger")]).await);
    assert_eq!(rows.commit(&docs, 2, vec![delete(9), put(1, "x")]).await.unwrap(), Some(3));
    rows.retire(&docs).await.unwrap();
    rows.clear_away().await.unwrap();
}

#[tokio::test]
async fn a_write_that_is_too_large_is_refused() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let text = "x".repeat(1 << 20);
    let large = (0..40).map(|id| put(id, &text)).collect();
    let refused = truth.of(&scope).commit(&docs, 0, large).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
}

/// Catches the planted bug `memory-row-of-another-incarnation`.
#[tokio::test]
async fn a_collection_of_the_same_name_is_another_one() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let first = made(&truth, &scope, "docs").await;
    let rows = truth.of(&scope);
    rows.commit(&first, 0, vec![put(1, "of the first")]).await.unwrap();
    rows.retire(&first).await.unwrap();
    rows.clear_away().await.unwrap();
    assert_eq!(rows.collection(&first.name).await.unwrap(), None);
    let second = made(&truth, &scope, "docs").await;
    assert_ne!(first.incarnation, second.incarnation);
    rows.commit(&second, 0, vec![put(1, "of the second")]).await.unwrap();

    // Whoever still holds the first has nothing.
    assert_eq!(rows.points(&first, &[PointId::Num(1)]).await.unwrap(), [None]);
    assert!(matches!(rows.head(&first).await, Err(Error::NoCollection(_))));
    let late = rows.commit(&first, 1, vec![put(1, "late")]).await;
    assert!(matches!(late, Err(Error::NoCollection(_))), "{late:?}");
    assert!(matches!(rows.change(&first, schema()).await, Err(Error::NoCollection(_))));
    rows.retire(&first).await.unwrap();
    rows.clear_away().await.unwrap();
    let page = rows.page(&second, None, 10).await.unwrap();
    assert_eq!((page.len(), &page[0].payload["text"]), (1, &json!("of the second")));
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_gone_on_with() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let rows = truth.of(&scope);
    let end = world.clock.now().plus(Duration::from_secs(60));
    let many = (0..1_200).map(|id| {
        let expires = (id % 2 == 0).then_some(end);
        Row::Put(Point { expires, ..point(id, "x") })
    });
    rows.commit(&docs, 0, many.collect()).await.unwrap();
    rows.commit(&docs, 1, (0..600).map(delete).collect()).await.unwrap();
    // The first step only, as if the process had ended behind it.
    let deleted = docs.clone();
    let view = world.store.of(&scope);
    view.write(File::Memory, 0, move |txn| commit::delete(txn, &deleted)).await.unwrap();
    assert_eq!(rows.collections().await.unwrap(), []);
    assert!(matches!(rows.head(&docs).await, Err(Error::NoCollection(_))));
    assert_eq!(view.usage(POINTS).await.unwrap().rows, 600);

    made(&truth, &scope, "other").await;
    for table in [POINTS, CHANGES, ENDS, GONE] {
        assert_eq!(view.usage(table).await.unwrap(), store::Usage::default(), "{}", table.name);
    }
}

#[tokio::test]
async fn changes_are_told_in_whole_writes() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let rows = truth.of(&scope);
    rows.commit(&docs, 0, (0..10).map(|id| put(id, "a")).collect()).await.unwrap();
    rows.commit(&docs, 1, vec![put(3, "b"), delete(4), delete(5)]).await.unwrap();
    rows.commit(&docs, 2, vec![put(4, "again"), delete(3)]).await.unwrap();
    rows.commit(&docs, 3, (20..30).map(|id| put(id, "c")).collect()).await.unwrap();
    let truly = |points: Vec<Point>| -> std::collections::BTreeMap<_, _> {
        points.into_iter().map(|point| (point.id, point.version)).collect()
    };
    let whole = truly(rows.page(&docs, None, 100).await.unwrap());
    assert_eq!(whole.len(), 18);
    for limit in [1, 2, 3, 5, 8, 100] {
        let mut index = Default::default();
        assert_eq!(caught_up(rows, &docs, &mut index, 0, limit).await, 4, "limit {limit}");
        assert_eq!(index, whole, "limit {limit}");
    }
    // An index that stopped in between.
    let first = rows.changes(&docs, 0, 1).await.unwrap();
    assert_eq!((first.upto, first.more), (1, true));
    assert_eq!(rows.changes(&docs, 4, 10).await.unwrap().changes, []);

    // Deletions are told until they are trimmed; what there is, always.
    let deleted = |changes: &Changes| {
        changes.changes.iter().filter(|change| matches!(change, Change::Delete(_))).count()
    };
    assert_eq!(deleted(&rows.changes(&docs, 1, 100).await.unwrap()), 3);
    rows.trim(&docs, 2).await.unwrap();
    assert_eq!(rows.head(&docs).await.unwrap().trimmed, 2);
    assert_eq!(deleted(&rows.changes(&docs, 1, 100).await.unwrap()), 1);
    rows.trim(&docs, 99).await.unwrap();
    assert_eq!(rows.head(&docs).await.unwrap().trimmed, 3);
    let mut index = Default::default();
    caught_up(rows, &docs, &mut index, 0, 3).await;
    assert_eq!(index, whole);
}

#[tokio::test]
async fn what_has_ended_is_not_there_and_makes_room() {
    let world = World::new().await;
    let settings = MemorySettings { points: 20, ..MemorySettings::default() };
    let (truth, scope) = (world.bounded(settings), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let rows = truth.of(&scope);
    let end = world.clock.now().plus(Duration::from_secs(60));
    let ending = |id| Row::Put(Point { expires: Some(end), ..point(id, "x") });
    rows.commit(&docs, 0, (0..20).map(ending).collect()).await.unwrap();
    // One of them is to stay after all.
    assert_eq!(rows.commit(&docs, 1, vec![put(7, "stays")]).await.unwrap(), Some(2));
    let mut index = Default::default();
    let seq = caught_up(rows, &docs, &mut index, 0, 100).await;
    assert_eq!(index.len(), 20);

    world.clock.advance(Duration::from_secs(60));
    assert_eq!(ids(&rows.page(&docs, None, 100).await.unwrap()), [(7, 2)]);
    assert_eq!(rows.points(&docs, &[PointId::Num(1)]).await.unwrap(), [None]);
    assert_eq!(rows.head(&docs).await.unwrap().points, 20, "not removed yet");
    // One of them is there again, by another write: it counts, and its end is not the other's.
    assert_eq!(rows.commit(&docs, 2, vec![put(1, "again")]).await.unwrap(), Some(3));
    assert_eq!(rows.head(&docs).await.unwrap().points, 21 - 16);
    // What does not fit makes room and is tried again on a new head.
    let many: Vec<_> = (100..118).map(|id| put(id, "x")).collect();
    assert_eq!(rows.commit(&docs, 3, many.clone()).await.unwrap(), Some(4));
    let head = rows.head(&docs).await.unwrap();
    assert_eq!((head.seq, head.points), (4, 20));
    caught_up(rows, &docs, &mut index, seq, 100).await;
    let whole = rows.page(&docs, None, 100).await.unwrap();
    let whole: std::collections::BTreeMap<_, _> =
        whole.into_iter().map(|point| (point.id, point.version)).collect();
    assert_eq!(index, whole);
    assert_eq!(world.store.of(&scope).usage(ENDS).await.unwrap().rows, 0);
}

#[tokio::test]
async fn a_schema_is_changed_by_who_saw_it() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    let rows = truth.of(&scope);
    let noted = Schema { metadata: [("a".to_owned(), json!(1))].into_iter().collect(), ..schema() };
    let (changed, seq) = rows.change(&docs, noted.clone()).await.unwrap().unwrap();
    assert_eq!((changed.revision, seq), (1, 1), "its index stays as it is");
    assert_eq!(rows.collection(&docs.name).await.unwrap().unwrap(), changed);
    assert!(rows.change(&docs, schema()).await.unwrap().is_none(), "it was changed since");
    let indexed = Schema { indexes: [("k".to_owned(), json!("keyword"))].into(), ..noted };
    let (indexed, seq) = rows.change(&changed, indexed).await.unwrap().unwrap();
    assert_eq!((indexed.revision, seq), (2, 2));
    assert_eq!(rows.collection(&docs.name).await.unwrap().unwrap(), indexed);
}

/// Whoever was revoked while a write waited for its turn writes nothing.
#[tokio::test]
async fn a_scope_that_ended_writes_nothing() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let docs = made(&truth, &scope, "docs").await;
    world.kit.bump_epoch("acme").await;
    let refused = truth.of(&scope).commit(&docs, 0, vec![put(1, "x")]).await;
    assert!(matches!(refused, Err(Error::Scope(_))), "{refused:?}");
    let scope = world.acme().await;
    assert_eq!(truth.of(&scope).head(&docs).await.unwrap(), Head::default());
}

fn files(directory: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(directory.join("data")).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn nothing_of_a_point_or_a_schema_stands_in_the_file() {
    let world = World::new().await;
    let (truth, scope) = (world.truth(), world.acme().await);
    let secret = Schema {
        metadata: [("note".to_owned(), json!("canary-metadata"))].into_iter().collect(),
        ..schema()
    };
    truth.of(&scope).create(&name("docs"), secret).await.unwrap();
    let docs = truth.of(&scope).collection(&name("docs")).await.unwrap().unwrap();
    let mut canary = point(1, "canary-payload");
    let numbers: Vec<f32> = (1..9).map(|n| n as f32 * 0.123_456).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    canary.vectors.insert("canary-vector".into(), Vector::Dense(numbers));
    truth.of(&scope).commit(&docs, 0, vec![Row::Put(canary)]).await.unwrap();
    let written = files(world.directory.path());
    let holds = |what: &[u8]| written.windows(what.len()).any(|window| window == what);
    assert!(holds(b"docs"), "the scan sees what is there");
    for canary in [&b"canary-"[..], b"text", &bytes[..8]] {
        assert!(!holds(canary), "{canary:?}");
    }
    assert_eq!(truth.of(&scope).page(&docs, None, 9).await.unwrap().len(), 1);
}

/// Rows of the table in the file: partition, key, value.
fn raw_rows(raw: &rusqlite::Connection, table: Table) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut rows = raw.prepare("SELECT part, key, val FROM rows WHERE tbl = ?1").unwrap();
    let rows = rows.query_map([table.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_row_that_was_moved_or_changed_is_withheld() {
    let world = World::new().await;
    let (truth, acme, globex) = (world.truth(), world.acme().await, world.globex().await);
    let theirs = made(&truth, &acme, "docs").await;
    let docs = made(&truth, &globex, "docs").await;
    truth.of(&acme).commit(&theirs, 0, vec![put(1, "of acme")]).await.unwrap();
    truth.of(&globex).commit(&docs, 0, vec![put(1, "own"), put(2, "too")]).await.unwrap();
    let raw = world.raw();
    let all = raw_rows(&raw, POINTS);
    let foreign = all.iter().find(|row| row.0 == acme.partition_bytes()).unwrap();
    let mut own = all.iter().filter(|row| row.0 == globex.partition_bytes());
    let (one, two) = (own.next().unwrap(), own.next().unwrap());
    let becomes = |value: &[u8]| {
        let changed = raw.execute(
            "UPDATE rows SET val = ?1 WHERE part = ?2 AND tbl = ?3 AND key = ?4",
            (value, &one.0, POINTS.id, &one.1),
        );
        assert_eq!(changed.unwrap(), 1);
    };
    let id = PointId::of_key(&one.1[row::PREFIX..]).unwrap();
    let rows = truth.of(&globex);
    // The others come out, and this one does not; the index is told that it is not there.
    let withheld = async || {
        let known = world.vault.foreign() + world.store.foreign_rows();
        assert_eq!(rows.points(&docs, &[id]).await.unwrap(), [None]);
        assert_eq!(ids(&rows.page(&docs, None, 1).await.unwrap()), [(2, 1)]);
        assert_eq!(rows.page(&docs, None, 2).await.unwrap().len(), 1);
        let changes = rows.changes(&docs, 0, 10).await.unwrap().changes;
        assert_eq!(changes[0], Change::Delete(id));
        assert!(matches!(changes[1], Change::Put(_)));
        world.vault.foreign() + world.store.foreign_rows() - known
    };

    // As it is: the store withholds it.
    becomes(&foreign.2);
    assert!(withheld().await >= 3, "each is an event");
    assert_eq!(world.vault.foreign(), 0);
    // With the right tag: it does not open.
    let tag = &one.2[..16];
    let before = world.store.foreign_rows();
    becomes(&[tag, &foreign.2[16..]].concat());
    assert!(withheld().await >= 3, "each is an event");
    assert_eq!(world.store.foreign_rows(), before);
    // Another one of its own; one with another version; one with a bit turned.
    becomes(&two.2);
    assert!(withheld().await >= 3);
    let mut other = one.2.clone();
    other[16 + 7] ^= 2;
    becomes(&other);
    assert!(withheld().await >= 3);
    let mut turned = one.2.clone();
    *turned.last_mut().unwrap() ^= 1;
    becomes(&turned);
    assert!(withheld().await >= 3);
    becomes(&one.2[..20]);
    withheld().await;
    becomes(&one.2);
    assert_eq!(rows.page(&docs, None, 10).await.unwrap().len(), 2);
    // Whatever stands there can be replaced, and counts as the one that it stood for.
    for value in [&foreign.2[..], &one.2[..20], &two.2] {
        becomes(value);
        let seq = rows.head(&docs).await.unwrap().seq;
        assert_eq!(rows.commit(&docs, seq, vec![put(1, "again")]).await.unwrap(), Some(seq + 1));
        assert_eq!(ids(&rows.page(&docs, None, 10).await.unwrap()), [(1, seq + 1), (2, 1)]);
        assert_eq!(rows.head(&docs).await.unwrap().points, 2);
    }
    // A collection's row is bound to its name and its tenant, too.
    let all = raw_rows(&raw, COLLECTIONS);
    let foreign = all.iter().find(|row| row.0 == acme.partition_bytes()).unwrap();
    raw.execute(
        "UPDATE rows SET val = ?1 WHERE part = ?2 AND tbl = ?3",
        ([tag, &foreign.2[16..]].concat(), globex.partition_bytes(), COLLECTIONS.id),
    )
    .unwrap();
    let refused = rows.collection(&docs.name).await;
    assert_eq!(refused.expect_err("it is withheld").code(), "vault.foreign");
}
