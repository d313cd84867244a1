//! Whatever is wrong with an index, it is noticed, made again, and hurts nobody else.

use super::*;

/// Acme's and Globex's collections of one name, each with points of its own, closed in order.
async fn two() -> (World, [Scope<Write>; 2], [Collection; 2]) {
    let mut world = World::new().await;
    let scopes = [world.acme().await, world.globex().await];
    let [acme, globex] = &scopes;
    let docs = [world.collection(acme, "docs").await, world.collection(globex, "docs").await];
    world.put(acme, &docs[0], 0..30).await;
    world.put(globex, &docs[1], 100..160).await;
    for (scope, docs) in scopes.iter().zip(&docs) {
        world.open(scope, docs).await;
    }
    world.restart().await;
    (world, scopes, docs)
}

async fn as_they_were(world: &World, scopes: &[Scope<Write>; 2], docs: &[Collection; 2]) {
    assert_eq!(world.ids(&scopes[0], &docs[0]).await, (0..30).collect::<Vec<_>>());
    assert_eq!(world.ids(&scopes[1], &docs[1]).await, (100..160).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_closed_in_order_is_opened_as_it_was() {
    let (mut world, scopes, docs) = two().await;
    let sizes = world.shards.sizes(&scopes[0], &docs[0]).await;
    assert_eq!((sizes.points, sizes.open), (30, false));
    assert!(sizes.disk > 0);
    as_they_were(&world, &scopes, &docs).await;
    assert!(world.shards.sizes(&scopes[0], &docs[0]).await.open);
    world.restart().await;
    as_they_were(&world, &scopes, &docs).await;
    let counts = world.shards.counts();
    assert_eq!((counts.opened, counts.rebuilt, counts.distrusted), (2, 0, 0));
}

#[tokio::test]
async fn two_tenants_collections_of_one_name_are_two_indexes() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let ours = world.collection(&acme, "docs").await;
    let theirs = world.collection(&globex, "docs").await;
    world.put(&globex, &theirs, 100..160).await;
    assert_eq!(world.ids(&globex, &theirs).await.len(), 60);
    world.put(&acme, &ours, 0..30).await;
    assert_eq!(world.ids(&acme, &ours).await, (0..30).collect::<Vec<_>>());
    assert_eq!(world.open(&acme, &ours).await.points(), 30, "visited at most");
    assert_ne!(world.home(&acme, &ours), world.home(&globex, &theirs));
}

#[tokio::test]
async fn another_tenants_directory_is_not_opened() {
    let (world, scopes, docs) = two().await;
    let [ours, theirs] = [0, 1].map(|n| world.home(&scopes[n], &docs[n]));
    fs::remove_dir_all(&ours).unwrap();
    snapshot(&theirs, &ours);
    as_they_were(&world, &scopes, &docs).await;
    let counts = world.shards.counts();
    assert_eq!((counts.rebuilt, counts.distrusted), (1, 1));
}

#[tokio::test]
async fn another_tenants_files_under_ones_own_stamp_are_not_opened() {
    let (world, scopes, docs) = two().await;
    let [ours, theirs] = [0, 1].map(|n| generation(&world.home(&scopes[n], &docs[n])));
    fs::remove_dir_all(&ours).unwrap();
    snapshot(&theirs, &ours);
    as_they_were(&world, &scopes, &docs).await;
    assert_eq!(world.shards.counts().distrusted, 1);
}

#[tokio::test]
async fn an_edited_or_shortened_file_is_noticed() {
    let (mut world, scopes, docs) = two().await;
    // Of files that have something in them, one of each size: named anew each time.
    for (n, shorten) in [(0, false), (3, true), (7, false), (12, true)] {
        let mut files = Vec::new();
        let mut below = vec![generation(&world.home(&scopes[0], &docs[0]))];
        while let Some(path) = below.pop() {
            if path.is_dir() {
                below.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if fs::metadata(&path).unwrap().len() > 0 {
                files.push((fs::metadata(&path).unwrap().len(), path));
            }
        }
        files.sort();
        let (len, path) = &files[n * files.len() / 13];
        let mut bytes = fs::read(path).unwrap();
        bytes[*len as usize / 2] ^= 1;
        fs::write(path, if shorten { &bytes[..bytes.len() - 1] } else { &bytes }).unwrap();
        as_they_were(&world, &scopes, &docs).await;
        assert_eq!(world.shards.counts().distrusted, 1, "{}", path.display());
        world.restart().await;
    }
}

#[tokio::test]
async fn an_edited_stamp_does_not_open() {
    let (world, scopes, docs) = two().await;
    let stamp = world.home(&scopes[0], &docs[0]).join("stamp");
    for bytes in [b"".to_vec(), vec![0; 100], vec![7; 100_000]] {
        let world_shards = world.shards_at(world.root());
        fs::write(&stamp, bytes).unwrap();
        let shard = world_shards.open(&world.truth, &scopes[0], &docs[0]).await.unwrap();
        assert_eq!(ids_of(&shard), (0..30).collect::<Vec<_>>());
        drop(shard);
        assert_eq!(world_shards.counts().distrusted, 1);
        world_shards.close().await;
    }
    as_they_were(&world, &scopes, &docs).await;
}

#[tokio::test]
async fn a_directory_that_is_gone_is_made_again() {
    let (mut world, scopes, docs) = two().await;
    // Closed:
    fs::remove_dir_all(world.home(&scopes[0], &docs[0])).unwrap();
    as_they_were(&world, &scopes, &docs).await;
    assert_eq!(world.shards.counts().rebuilt, 1);
    // Open: it answers from what it has, and notices when it is to be flushed.
    fs::remove_dir_all(world.home(&scopes[0], &docs[0])).unwrap();
    as_they_were(&world, &scopes, &docs).await;
    world.put(&scopes[0], &docs[0], 10..20).await;
    as_they_were(&world, &scopes, &docs).await;
    world.clock.advance(Duration::from_secs(61));
    world.tend().await;
    as_they_were(&world, &scopes, &docs).await;
    assert!(world.home(&scopes[0], &docs[0]).exists(), "made again");
    world.restart().await;
    as_they_were(&world, &scopes, &docs).await;
}

#[tokio::test]
async fn an_index_ahead_of_its_rows_is_not_opened() {
    let (mut world, scopes, docs) = two().await;
    // As if the rows had been restored from an earlier day: a later stamp of the same index.
    let home = world.home(&scopes[0], &docs[0]);
    let elsewhere = tempfile::tempdir().unwrap();
    as_they_were(&world, &scopes, &docs).await;
    let live = world
        .shards
        .inner
        .slots
        .lock()
        .values()
        .find(|slot| slot.key.incarnation == docs[0].incarnation)
        .unwrap()
        .live()
        .unwrap();
    live.shard.apply(&[], 999).unwrap();
    drop(live);
    world.restart().await;
    snapshot(&home, elsewhere.path());
    as_they_were(&world, &scopes, &docs).await;
    assert_eq!(world.shards.counts().distrusted, 1);
}

#[tokio::test]
async fn an_index_that_lacks_trimmed_deletions_is_made_again() {
    let (mut world, scopes, docs) = two().await;
    let home = world.home(&scopes[0], &docs[0]);
    let elsewhere = tempfile::tempdir().unwrap();
    snapshot(&home, elsewhere.path());
    as_they_were(&world, &scopes, &docs).await;
    world.delete(&scopes[0], &docs[0], 0..10).await;
    world.put(&scopes[0], &docs[0], 30..31).await;
    assert_eq!(world.ids(&scopes[0], &docs[0]).await, (10..31).collect::<Vec<_>>());
    world.clock.advance(Duration::from_secs(61));
    world.tend().await;
    let head = world.truth.of(&scopes[0]).head(&docs[0]).await.unwrap();
    assert_eq!(world.shards.trimmable(&scopes[0], &docs[0]), Some(head.seq));
    world.truth.of(&scopes[0]).trim(&docs[0], head.seq).await.unwrap();
    world.restart().await;
    // An older one of one's own: whole, but nobody tells what it lacks.
    fs::remove_dir_all(&home).unwrap();
    snapshot(elsewhere.path(), &home);
    assert_eq!(world.ids(&scopes[0], &docs[0]).await, (10..31).collect::<Vec<_>>());
    let counts = world.shards.counts();
    assert_eq!((counts.rebuilt, counts.distrusted), (1, 0));
}

#[tokio::test]
async fn a_changed_schema_makes_the_index_again_and_a_changed_note_does_not() {
    let (world, scopes, docs) = two().await;
    as_they_were(&world, &scopes, &docs).await;
    let mut schema = docs[0].schema.clone();
    schema.metadata.insert("note".into(), json!("kept by the caller"));
    let rows = world.truth.of(&scopes[0]);
    let (noted, _) = rows.change(&docs[0], schema.clone()).await.unwrap().unwrap();
    assert_eq!(world.ids(&scopes[0], &noted).await.len(), 30);
    assert_eq!(world.shards.counts().rebuilt, 0);
    schema.indexes.insert("n".into(), json!("integer"));
    let (changed, _) = rows.change(&noted, schema).await.unwrap().unwrap();
    let shard = world.open(&scopes[0], &changed).await;
    let order = crate::request::Order { key: "n".into(), descending: true, start_from: None };
    assert_eq!(shard.ordered(None, &order, 1).unwrap()[0].id, PointId::Num(29));
    let counts = world.shards.counts();
    assert_eq!((counts.rebuilt, counts.distrusted), (1, 0));
}

#[tokio::test]
async fn what_was_not_content_before_is_gone_from_the_index_when_it_is() {
    let (world, scopes, docs) = two().await;
    world.shards.close().await;
    assert!(stands(&world.root(), word(3).as_bytes()));
    let mut settings = MemorySettings::clone(&world.settings);
    settings.content_fields.push("word".into());
    let shards = Shards::open_at(
        world.root(),
        Arc::new(settings),
        world.vault.clone(),
        world.clock.clone(),
        world.lanes.clone(),
    )
    .unwrap();
    shards.open(&world.truth, &scopes[0], &docs[0]).await.unwrap();
    assert!(!stands(&world.home(&scopes[0], &docs[0]), word(3).as_bytes()));
}

#[tokio::test]
async fn what_is_said_to_be_wrong_is_made_again_once() {
    let (world, scopes, docs) = two().await;
    let shard = world.open(&scopes[0], &docs[0]).await;
    for _ in 0..3 {
        world.shards.distrust(&scopes[0], &docs[0], "a test says so").await;
    }
    assert!(!world.home(&scopes[0], &docs[0]).join("stamp").exists());
    as_they_were(&world, &scopes, &docs).await;
    assert_eq!(ids_of(&shard).len(), 30, "who still has it can ask it");
    let counts = world.shards.counts();
    assert_eq!((counts.rebuilt, counts.distrusted), (1, 1));
}

#[tokio::test]
async fn a_removed_collections_index_is_gone_and_does_not_come_back() {
    let (world, scopes, docs) = two().await;
    as_they_were(&world, &scopes, &docs).await;
    let held = world.open(&scopes[0], &docs[0]).await;
    world.truth.of(&scopes[0]).retire(&docs[0]).await.unwrap();
    world.shards.remove(&scopes[0], &docs[0]).await.unwrap();
    assert!(!world.home(&scopes[0], &docs[0]).exists());
    drop(held);
    let gone = world.shards.open(&world.truth, &scopes[0], &docs[0]).await.unwrap_err();
    assert_eq!(gone.code(), "memory.no_collection");
    assert!(!world.home(&scopes[0], &docs[0]).exists());
    assert_eq!(world.ids(&scopes[1], &docs[1]).await.len(), 60);
}

#[tokio::test]
async fn an_erased_tenants_indexes_are_gone_and_others_are_not() {
    let (world, scopes, docs) = two().await;
    as_they_were(&world, &scopes, &docs).await;
    world.shards.to_forget(&scopes[0], &docs[0]).await;
    world.shards.remove_all(&scopes[0]).await.unwrap();
    assert!(!world.home(&scopes[0], &docs[0]).parent().unwrap().exists());
    // A write that was under way.
    world.shards.to_forget(&scopes[0], &docs[0]).await;
    assert_eq!(world.shards.counts().waiting, 0);
    assert_eq!(fs::read_dir(world.root().join(".forget")).unwrap().count(), 0);
    assert!(world.shards.open(&world.truth, &scopes[0], &docs[0]).await.is_err());
    assert_eq!(world.ids(&scopes[1], &docs[1]).await.len(), 60);
}
