use bulkhead_store::{Depth, Error, File, Options, Range, Store};

use super::world::{EVENTS, THINGS, World, system};

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_reads() {
    let world = World::new().await;
    let options = Options { max_pages: Some(64), ..world.options() };
    let store = Store::open(&options, world.clock()).unwrap();
    let acme = world.acme().await;
    let view = store.of(&acme);
    let mut written = 0u8;
    let error = loop {
        match view.put(THINGS, &[written], &[7; 3_000]).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full), "{error:?}");
    assert_eq!(error.code(), "store.full");
    assert!(written > 20);
    assert_eq!(view.scan(THINGS, Range::all()).await.unwrap().len(), usize::from(written));
    assert_eq!(view.get(THINGS, &[0]).await.unwrap().unwrap().len(), 3_000);
    assert_eq!(view.usage(THINGS).await.unwrap().rows, u64::from(written));
    let half = view.write(File::Core, 0, |txn| {
        txn.put(THINGS, b"small", b"")?;
        // Whoever ignores it does not keep half of the work.
        let _ = txn.put(THINGS, b"large", &[7; 100_000]);
        Ok::<_, Error>(())
    });
    assert!(matches!(half.await, Err(Error::Full)));
    assert_eq!(view.get(THINGS, b"small").await.unwrap(), None);

    // With room again, writes recover by themselves.
    for n in 0..10 {
        assert!(view.delete(THINGS, &[n]).await.unwrap());
    }
    view.put(THINGS, b"again", &[7; 3_000]).await.unwrap();
    store.check_integrity(&system(), Depth::Full).await.unwrap();
}

#[tokio::test]
async fn a_store_opened_for_reading_serves_reads_and_refuses_writes() {
    let world = World::new().await;
    let acme = world.acme().await;
    let options = Options { read_only: true, ..world.options() };
    let nothing = Store::open(&options, world.clock());
    assert!(matches!(nothing, Err(Error::ReadOnly | Error::Io { .. })), "{nothing:?}");
    assert!(!world.path().exists(), "nothing was made");

    let store = world.open();
    store.of(&acme).put(THINGS, b"key", b"value").await.unwrap();
    drop(store);
    let before = listing(&world);
    let store = Store::open(&options, world.clock()).unwrap();
    let view = store.of(&acme);
    assert_eq!(view.get(THINGS, b"key").await.unwrap().unwrap(), "value");
    for (what, refused) in [
        ("put", view.put(THINGS, b"key", b"other").await.err()),
        ("first write to a file", view.put(EVENTS, b"key", b"value").await.err()),
        ("erase", view.erase_all().await.err()),
        ("sweep", store.sweep(&system()).await.err()),
    ] {
        assert!(matches!(refused, Some(Error::ReadOnly)), "{what}: {refused:?}");
    }
    store.check_integrity(&system(), Depth::Full).await.unwrap();
    store.backup(&system(), &world.dir.path().join("backup"), |_, _| {}).await.unwrap();
    drop(store);
    assert_eq!(listing(&world), before, "nothing was left behind");
}

fn listing(world: &World) -> Vec<(std::ffi::OsString, u64)> {
    let entries = std::fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> =
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
    all.sort();
    all
}

#[tokio::test]
#[cfg(unix)]
async fn a_read_only_directory_opens_for_reading() {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};
    fn chmod(dir: &Path, mode: u32, files: u32) {
        for entry in fs::read_dir(dir).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(files)).unwrap();
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    }
    let world = World::new().await;
    let acme = world.acme().await;
    let store = world.open();
    store.of(&acme).put(THINGS, b"key", b"value").await.unwrap();
    let crashed = world.dir.path().join("crashed");
    fs::create_dir(&crashed).unwrap();
    for entry in fs::read_dir(world.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), crashed.join(entry.file_name())).unwrap();
    }
    drop(store);
    for dir in [world.path(), crashed] {
        chmod(&dir, 0o500, 0o400);
        // To root no directory is read-only; the same ways are taken under `read_only` above.
        let root = fs::write(dir.join("probe"), b"").is_ok();
        if !root {
            let store = Store::open(&Options::new(&dir), world.clock()).unwrap();
            assert_eq!(store.of(&acme).get(THINGS, b"key").await.unwrap().unwrap(), "value");
            let error = store.of(&acme).put(THINGS, b"key", b"other").await.unwrap_err();
            assert!(matches!(error, Error::ReadOnly), "{error:?}");
        }
        chmod(&dir, 0o700, 0o600);
    }
    let elsewhere = Store::open(&Options::new("/proc/bulkhead-store"), world.clock());
    assert!(matches!(elsewhere, Err(Error::ReadOnly | Error::Io { .. })), "{elsewhere:?}");
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused() {
    let world = World::new().await;
    std::fs::create_dir_all(world.path()).unwrap();
    std::fs::write(world.path().join("core.db"), "not a database, and long enough. ".repeat(200))
        .unwrap();
    let opened = world.try_open();
    assert!(matches!(opened, Err(Error::Corrupt { file: File::Core, .. })), "{opened:?}");
    std::fs::remove_file(world.path().join("core.db")).unwrap();
    world.raw(File::Core).execute_batch("CREATE TABLE theirs (x)").unwrap();
    let opened = world.try_open();
    assert!(matches!(opened, Err(Error::Corrupt { file: File::Core, .. })), "{opened:?}");
}
