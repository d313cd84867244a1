//! Nothing that was deleted stays in the files of an index.

use super::*;

struct Case {
    world: World,
    acme: Scope<Write>,
    docs: Collection,
}

/// Points 0 to 49, of which the first ten are then deleted and the next ten replaced.
async fn case() -> Case {
    let world = World::new().await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..50).await;
    world.open(&acme, &docs).await;
    assert!(holds(&world.root(), 3) && holds(&world.root(), 13));
    world.shards.to_forget(&acme, &docs).await;
    world.delete(&acme, &docs, 0..10).await;
    let other = |id: u64| {
        let mut other = point(id + 1_000);
        other.id = PointId::Num(id);
        Row::Put(other)
    };
    world.write(&acme, &docs, (10..20).map(other).collect()).await;
    Case { world, acme, docs }
}

/// Whether anything of a point stands in any file.
fn holds(root: &Path, id: u64) -> bool {
    in_files(&Files::of(root), id)
}

fn in_files(files: &Files, id: u64) -> bool {
    files.hold(word(id).as_bytes()) || files.hold(&bytes_of(&vector(id)))
}

fn forgotten(world: &World) {
    let files = Files::of(&world.root());
    for id in 0..20 {
        assert!(!in_files(&files, id), "{id}");
    }
}

#[tokio::test]
async fn what_is_deleted_is_gone_from_the_files_in_time() {
    let Case { world, acme, docs } = case().await;
    world.open(&acme, &docs).await;
    assert_eq!(world.tend().await, 0, "not due");
    world.clock.advance(HOUR / 2);
    assert_eq!(world.tend().await, 1);
    forgotten(&world);
    assert_eq!(world.ids(&acme, &docs).await, (10..50).collect::<Vec<_>>());
    assert!(holds(&world.root(), 30) && holds(&world.root(), 1_013));
    assert_eq!((world.tend().await, world.shards.counts().waiting), (0, 0));
    world.clock.advance(HOUR);
    assert_eq!(world.tend().await, 0, "once");
}

#[tokio::test]
async fn a_restart_forgets_nothing_of_that() {
    let Case { mut world, acme, docs } = case().await;
    world.restart().await;
    world.clock.advance(HOUR / 2);
    // Nobody is there to read rows with: the index goes, and comes back when it is used.
    assert_eq!(world.tend().await, 1);
    assert!(!world.home(&acme, &docs).exists());
    assert_eq!(world.ids(&acme, &docs).await, (10..50).collect::<Vec<_>>());
    forgotten(&world);
    assert_eq!(world.shards.counts().waiting, 0);
}

#[tokio::test]
async fn a_process_that_ends_right_behind_a_deletion_has_noted_it() {
    let Case { mut world, .. } = case().await;
    // The index was not caught up with the deletion, and is not closed in order.
    world.shards = world.shards_at(world.root());
    world.clock.advance(HOUR / 2);
    assert_eq!(world.tend().await, 1);
    forgotten(&world);
}

#[tokio::test]
async fn who_reads_rows_no_more_has_the_index_dropped() {
    let Case { world, acme, docs } = case().await;
    world.open(&acme, &docs).await;
    world.clock.advance(HOUR * 24 * 30);
    assert!(acme.live().is_err());
    assert_eq!(world.tend().await, 1);
    assert!(!world.home(&acme, &docs).exists());
    forgotten(&world);
}

#[tokio::test]
async fn an_erasure_is_at_once_even_while_a_query_reads() {
    let Case { world, acme, docs } = case().await;
    let held = world.open(&acme, &docs).await;
    world.shards.rebuild(&world.truth, &acme, &docs).await.unwrap();
    forgotten(&world);
    assert_eq!(ids_of(&held), (10..50).collect::<Vec<_>>());
    drop(held);
    assert_eq!(world.ids(&acme, &docs).await, (10..50).collect::<Vec<_>>());
    forgotten(&world);
    assert_eq!(world.shards.counts().waiting, 0);
}

#[tokio::test]
async fn what_a_query_still_reads_is_removed_after_it() {
    let Case { world, acme, docs } = case().await;
    let held = world.open(&acme, &docs).await;
    world.clock.advance(HOUR / 2);
    assert_eq!(world.tend().await, 1);
    assert_eq!(ids_of(&held), (10..50).collect::<Vec<_>>());
    drop(held);
    world.tend().await;
    forgotten(&world);
}

#[tokio::test]
async fn what_has_expired_is_forgotten_as_well() {
    let world = World::new().await;
    let acme = world.acme().await;
    let docs = world.collection(&acme, "docs").await;
    world.put(&acme, &docs, 0..5).await;
    let mut ending = point(7);
    ending.expires = Some(world.clock.now().plus(Duration::from_secs(60)));
    world.write(&acme, &docs, vec![Row::Put(ending)]).await;
    world.open(&acme, &docs).await;
    world.clock.advance(Duration::from_secs(59) + HOUR / 2);
    assert_eq!(world.tend().await, 0);
    assert!(holds(&world.root(), 7));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.tend().await, 1);
    assert!(!holds(&world.root(), 7));
    assert_eq!(world.ids(&acme, &docs).await, (0..5).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_tenant_s_forgetting_leaves_another_s_index_open() {
    let Case { world, acme, docs } = case().await;
    let globex = world.globex().await;
    let theirs = world.collection(&globex, "docs").await;
    world.put(&globex, &theirs, 100..110).await;
    let before = world.open(&globex, &theirs).await;
    world.open(&acme, &docs).await;
    world.clock.advance(HOUR / 2);
    assert_eq!(world.tend().await, 1);
    let after = world.open(&globex, &theirs).await;
    assert!(Arc::ptr_eq(&before, &after));
}

#[tokio::test]
async fn what_keeps_upkeep_busy_keeps_nobody_from_forgetting() {
    let Case { world, acme, docs } = case().await;
    world.open(&acme, &docs).await;
    // As if graphs were made all the time, of this index, too.
    let slot = world.shards.inner.all().remove(0);
    let graphs = (world.shards.inner.turn.lock().await, slot.building.lock().await);
    world.clock.advance(HOUR / 2);
    assert_eq!(world.tend().await, 0, "there is time left for making it again");
    world.clock.advance(HOUR / 4);
    assert_eq!(world.tend().await, 1);
    forgotten(&world);
    assert_eq!(world.ids(&acme, &docs).await, (10..50).collect::<Vec<_>>());
    drop(graphs);
    assert_eq!((world.tend().await, world.shards.counts().distrusted), (0, 0));
}

#[tokio::test]
async fn what_is_dropped_while_it_is_made_again_is_not_put_in_its_place() {
    let Case { world, acme, docs } = case().await;
    world.open(&acme, &docs).await;
    let slot = world.shards.inner.all().remove(0);
    let home = world.home(&acme, &docs);
    // What dropping it does.
    let step: Step = Arc::new({
        let home = home.clone();
        move |what| {
            if what == "built" {
                slot.with(|state| (state.building, state.live) = (None, None));
                fs::remove_dir_all(&home).unwrap();
            }
        }
    });
    *world.shards.inner.step.lock() = Some(step);
    assert!(world.shards.rebuild(&world.truth, &acme, &docs).await.is_err());
    assert!(!home.exists());
    *world.shards.inner.step.lock() = None;
    assert_eq!(world.ids(&acme, &docs).await, (10..50).collect::<Vec<_>>());
    forgotten(&world);
    assert_eq!(world.shards.counts().distrusted, 0);
}
