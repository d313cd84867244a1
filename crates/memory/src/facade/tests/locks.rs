//! The second lock: what the index says of a row is held against the row.

use store::{File, Table};

use super::*;

const POINTS: Table = Table { file: File::Memory, id: 702, name: "memory.points" };
const CHANGES: Table = Table { file: File::Memory, id: 703, name: "memory.changes" };

struct Set {
    memory: Memory,
    acme: Scope<Write>,
    collection: Collection,
    world: World,
}

async fn set(settings: MemorySettings) -> Set {
    let world = World::new().await;
    let memory = world.memory(settings);
    let acme = world.acme().await;
    let collection = memory.made(&acme, plain(&[("kind", "keyword")])).await;
    let points = (1..=4).map(|id| point(id, [id as f32, 1.0], json!({"kind": "a"})));
    memory.put(&acme, points.collect()).await;
    assert_eq!(memory.asks(&acme, nearest()).await, [4, 3, 2, 1]);
    Set { memory, acme, collection, world }
}

fn nearest() -> Value {
    json!({"query": [1.0, 0.0], "limit": 10})
}

impl Set {
    /// Changes a row of which the index never hears.
    async fn behind_its_back(&self, row: Row) {
        let id = match &row {
            Row::Put(point) => point.id,
            Row::Delete(id) => *id,
        };
        let truth = self.memory.inner.truth.of(&self.acme);
        let kind = u8::from(matches!(row, Row::Delete(_)));
        let seq = {
            let head = truth.head(&self.collection).await.unwrap();
            truth.commit(&self.collection, head.seq, vec![row]).await.unwrap().unwrap()
        };
        let incarnation = &self.collection.incarnation[..];
        let key = [incarnation, &[kind], &seq.to_be_bytes(), &id.key()].concat();
        // Not there while the index catches up, and there again.
        let (view, gone) = (self.world.store.of(&self.acme), key.clone());
        let delete = move |txn: &mut store::Txn<'_>| txn.delete(CHANGES, &gone);
        assert!(view.write(File::Memory, 64, delete).await.unwrap(), "there was such a change");
        let shards = &self.memory.inner.shards;
        drop(shards.open(&self.memory.inner.truth, &self.acme, &self.collection).await.unwrap());
        let put = move |txn: &mut store::Txn<'_>| txn.put(CHANGES, &key, &[]);
        view.write(File::Memory, 64, put).await.unwrap();
    }

    fn distrusted(&self) -> u64 {
        self.memory.figures().distrusted
    }
}

#[tokio::test]
async fn a_row_that_is_not_there_is_missed_and_the_index_made_again() {
    let set = set(MemorySettings::default()).await;
    set.behind_its_back(Row::Delete(PointId::Num(3))).await;
    assert_eq!(set.memory.asks(&set.acme, nearest()).await, [4, 2, 1]);
    assert_eq!(set.distrusted(), 1);
    assert_eq!(set.memory.asks(&set.acme, nearest()).await, [4, 2, 1]);
    assert_eq!(set.memory.counts(&set.acme, json!({"exact": true})).await, 3);
    assert_eq!(set.distrusted(), 1, "once");
}

#[tokio::test]
async fn a_score_that_is_not_the_row_s_is_noticed() {
    let set = set(MemorySettings::default()).await;
    set.behind_its_back(Row::Put(point(1, [9.0, 1.0], json!({"kind": "a"})))).await;
    assert_eq!(set.memory.asks(&set.acme, nearest()).await, [1, 4, 3, 2]);
    assert_eq!(set.distrusted(), 1);
}

#[tokio::test]
async fn a_row_out_of_reach_does_not_leave_whatever_the_index_says() {
    let set = set(MemorySettings::default()).await;
    let bob = set.memory.subject(&set.acme, "bob");
    let theirs = Point { subject: Some(bob), ..point(4, [4.0, 1.0], json!({"kind": "a"})) };
    set.behind_its_back(Row::Put(theirs)).await;
    let alice = set.world.user(Some("alice")).await;
    for ask in [nearest(), json!({"prefetch": nearest(), "query": {"fusion": "rrf"}})] {
        let mut found = set.memory.asks(&alice, ask).await;
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }
    assert_eq!(set.distrusted(), 1);
    assert_eq!(set.memory.scrolls(&alice, json!({})).await, [1, 2, 3]);
    assert_eq!(set.memory.gets(&alice, &[1, 2, 3, 4]).await, [1, 2, 3]);
}

#[tokio::test]
async fn verify_says_what_is_wrong_and_changes_nothing() {
    let set = set(MemorySettings::default()).await;
    let verify = || async { set.memory.of(&set.acme).verify(&name()).await.unwrap() };
    assert_eq!(verify().await, Verified { rows: 4, ..Verified::default() });
    set.behind_its_back(Row::Delete(PointId::Num(3))).await;
    set.behind_its_back(Row::Put(point(1, [1.0, 1.0], json!({"kind": "b"})))).await;
    set.behind_its_back(Row::Put(point(5, [5.0, 1.0], json!({})))).await;
    let wrong = Verified { rows: 4, missing: 1, foreign: 1, different: 1 };
    assert_eq!(verify().await, wrong);
    assert_eq!(verify().await, wrong);
    assert_eq!(set.distrusted(), 0);
}

#[tokio::test]
async fn a_row_of_another_tenant_is_nobody_s() {
    let set = set(MemorySettings::default()).await;
    let globex = set.world.kit.scope("globex", "live").await;
    let theirs = set.memory.made(&globex, plain(&[])).await;
    set.memory.put(&globex, vec![point(1, [7.0, 7.0], json!({"kind": "globex's"}))]).await;
    // The bytes of globex's row under acme's name, written by acme's own means.
    let key = [&theirs.incarnation[..], &PointId::Num(1).key()].concat();
    let row = set.world.store.of(&globex).get(POINTS, &key).await.unwrap().unwrap();
    let key = [&set.collection.incarnation[..], &PointId::Num(4).key()].concat();
    let view = set.world.store.of(&set.acme);
    let put = move |txn: &mut store::Txn<'_>| txn.put(POINTS, &key, &row);
    view.write(File::Memory, 64, put).await.unwrap();
    for _ in 0..2 {
        assert_eq!(set.memory.gets(&set.acme, &[1, 2, 3, 4]).await, [1, 2, 3]);
        assert_eq!(set.memory.asks(&set.acme, nearest()).await, [3, 2, 1]);
        assert_eq!(set.memory.scrolls(&set.acme, json!({})).await, [1, 2, 3]);
    }
    assert_eq!(set.distrusted(), 1);
}
