use std::{fs, path::Path};

use bulkhead_store::{Check, Depth, Error, File, Options, Range, Store};
use futures_util::FutureExt;
use scope::Write;

use super::world::{EVENTS, Held, Pending, THINGS, World, system};

/// What a power cut at this moment would leave.
fn cut_off(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_drop_and_after_a_crash() {
    let world = World::new().await;
    let acme = world.acme().await;
    let store = world.open();
    for n in 0..50u8 {
        store.of(&acme).put(THINGS, &[n], &[n; 3_000]).await.unwrap();
        store.of(&acme).put(EVENTS, &[n], &[n]).await.unwrap();
    }
    let crashed = world.dir.path().join("crashed");
    cut_off(&world.path(), &crashed);
    drop(store);
    for dir in [world.path(), crashed] {
        let store = Store::open(&Options::new(&dir), world.clock()).unwrap();
        for table in [THINGS, EVENTS] {
            let rows = store.of(&acme).scan(table, Range::all()).await.unwrap();
            assert!(rows.iter().map(|(key, _)| key[0]).eq(0..50), "{}", dir.display());
        }
        store.check_integrity(&system(), Depth::Full).await.unwrap();
    }
}

#[tokio::test]
async fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    let world = World::new().await;
    let (store, system, acme) = (world.open(), system(), world.acme().await);
    let (hold, held) = Held::new(&store, &system, File::Core);
    let mut pending = Pending::new();
    for n in 0..600u32 {
        let view = store.of(&acme);
        pending.push(async move { view.put(THINGS, &n.to_be_bytes(), b"").await });
    }
    let mut close = Box::pin(store.close());
    assert!((&mut close).now_or_never().is_none());
    held.let_go();
    close.await.unwrap();
    hold.await.unwrap();
    assert!(pending.all().await.into_iter().all(|put| put.is_ok()));

    let view = store.of(&acme);
    for (what, refused) in [
        ("put", view.put(THINGS, b"late", b"").await.err()),
        ("get", view.get(THINGS, b"late").await.err()),
        ("scan", view.scan(THINGS, Range::all()).await.err()),
        ("first write to a file", view.put(EVENTS, b"late", b"").await.err()),
    ] {
        assert!(matches!(refused, Some(Error::Closed)), "{what}: {refused:?}");
    }
    store.close().await.unwrap();
    // The directory is free although the handle still lives.
    let again = world.open();
    assert_eq!(again.of(&acme).usage(THINGS).await.unwrap().rows, 600);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let world = World::new().await;
    let first = world.open();
    let second = world.try_open();
    assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
    let looking = Options { read_only: true, ..world.options() };
    let second = Store::open(&looking, world.clock());
    assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
    drop(first);
    let second = Store::open(&looking, world.clock()).unwrap();
    drop((second, Store::open(&looking, world.clock()).unwrap()));
    world.open();
}

/// Damages a page in the middle of the file, so that only a check notices.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = (bytes.len() / 8_192) * 4_096;
    bytes[middle..middle + 4_096].fill(0xA5);
    fs::write(path, bytes).unwrap();
}

async fn filled() -> World {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    for n in 0..100u8 {
        store.of(&acme).put(EVENTS, &[n], &[n; 1_000]).await.unwrap();
    }
    world
}

#[tokio::test]
async fn files_are_checked_unless_the_shutdown_was_clean() {
    // The marker is there, and the file is as it was left: no check.
    let world = filled().await;
    assert!(world.path().join("clean").exists());
    damage(&world.path().join("records.db"));
    world.open();
    let options = Options { check: Check::Always, ..world.options() };
    let checked = Store::open(&options, world.clock());
    assert!(matches!(checked, Err(Error::Corrupt { file: File::Records, .. })), "{checked:?}");

    // A crash leaves none.
    let world = filled().await;
    let store = world.open();
    assert!(!world.path().join("clean").exists());
    let crashed = world.dir.path().join("crashed");
    cut_off(&world.path(), &crashed);
    drop(store);
    damage(&crashed.join("records.db"));
    let opened = Store::open(&Options::new(&crashed), world.clock());
    assert!(matches!(opened, Err(Error::Corrupt { file: File::Records, .. })), "{opened:?}");
    assert_eq!(opened.unwrap_err().code(), "store.corrupt");

    // A file that somebody exchanged is not the one that was left.
    let world = filled().await;
    let path = world.path().join("records.db");
    damage(&path);
    fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    assert!(matches!(world.try_open(), Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn a_file_comes_with_its_first_write() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    let path = world.path().join("records.db");
    assert!(world.path().join("core.db").exists());
    assert_eq!(store.of(&acme).get(EVENTS, b"key").await.unwrap(), None);
    assert!(store.of(&acme).scan(EVENTS, Range::all()).await.unwrap().is_empty());
    assert_eq!(store.of(&acme).usage(EVENTS).await.unwrap().rows, 0);
    assert!(!path.exists());
    store.of(&acme).put(EVENTS, b"key", b"value").await.unwrap();
    assert!(path.exists());
    assert!(store.of(&acme).get(EVENTS, b"key").await.unwrap().is_some());
}

#[tokio::test]
#[cfg(unix)]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    store.of(&acme).put(THINGS, b"key", b"value").await.unwrap();
    store.backup(&system(), &world.dir.path().join("backup"), |_, _| {}).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for dir in [world.path(), world.dir.path().join("backup")] {
        assert_eq!(mode(&dir), 0o700);
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some() {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_single_file_store_has_one_file() {
    let world = World::new().await;
    let path = world.dir.path().join("keys/keystore.db");
    let (store, system) = (Store::open_single(&path, world.clock()).unwrap(), system());
    store.system(&system).put(THINGS, b"key", b"value").await.unwrap();
    let other = store.system(&system).put(EVENTS, b"key", b"value").await;
    assert!(matches!(other, Err(Error::WrongFile { .. })), "{other:?}");
    assert!(store.system(&system).get(EVENTS, b"key").await.is_err());
    store.flush().await;
    let second = Store::open_single(&path, world.clock());
    assert!(matches!(second, Err(Error::InUse { .. })));
    drop(store);
    let store = Store::open_single(&path, world.clock()).unwrap();
    assert!(store.system(&system).get(THINGS, b"key").await.unwrap().is_some());
}

/// Nothing at the start looks at every tenant: with 10,000 of them, none of their pages is
/// read, so damage there, which any look would find, goes unnoticed until it is read.
#[tokio::test]
async fn a_start_does_not_look_at_tenants() {
    let world = World::new().await;
    let acme = world.acme().await;
    drop(world.open());
    let raw = world.raw(File::Core);
    raw.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO rows SELECT randomblob(32), 60001, 'key', randomblob(200), NULL FROM n;
         INSERT INTO usage SELECT part, tbl, 1, 203 FROM rows;",
    )
    .unwrap();
    let leaf: i64 = raw
        .query_row(
            "SELECT max(pageno) FROM dbstat WHERE name = 'usage' AND pagetype = 'leaf'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    raw.close().unwrap();
    drop(Store::open(&Options { check: Check::Always, ..world.options() }, world.clock()).unwrap());
    let path = world.path().join("core.db");
    let mut bytes = fs::read(&path).unwrap();
    let at = (usize::try_from(leaf).unwrap() - 1) * 4_096;
    bytes[at..at + 4_096].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    let store = world.open();
    store.of::<Write>(&acme).put(EVENTS, b"key", b"value").await.unwrap();
    let checked = store.check_integrity(&system(), Depth::Quick).await;
    assert!(matches!(checked, Err(Error::Corrupt { file: File::Core, .. })), "{checked:?}");
}
