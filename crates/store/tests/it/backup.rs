use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use bulkhead_store::{Depth, Error, File, Manifest, Options, Range, Store};
use scope::{Scope, Write};

use super::world::{EVENTS, OTHERS, THINGS, World, system};

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

/// Writes `n` into two tables of one file in one transaction, then into another file, each
/// after the one before was acknowledged.
async fn write(store: &Store, scope: &Scope<Write>, n: u64) {
    let both = store.of(scope).write(File::Core, 0, move |txn| {
        txn.put(THINGS, b"n", &n.to_be_bytes())?;
        txn.put(THINGS, &n.to_be_bytes(), &[7; 2_000])?;
        txn.put(OTHERS, b"n", &n.to_be_bytes())
    });
    both.await.unwrap();
    store.of(scope).put(EVENTS, b"n", &n.to_be_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_backup_under_writes_is_one_moment() {
    let world = World::new().await;
    let (store, acme, system) = (world.open(), world.acme().await, system());
    write(&store, &acme, 0).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    for round in 0..5u64 {
        let dest = world.dir.path().join(format!("backup-{round}"));
        let tell = Arc::clone(&told);
        let taking = store.backup(&system, &dest, move |done, all| {
            tell.lock().unwrap().push((done, all));
        });
        let writing = async {
            for n in 1..40 {
                write(&store, &acme, round * 100 + n).await;
            }
        };
        let (taken, ()) = futures_util::join!(taking, writing);
        let manifest = taken.unwrap();
        assert_eq!(
            manifest.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
            ["core", "records"]
        );

        let restored = world.dir.path().join(format!("restored-{round}"));
        assert_eq!(Store::restore(&dest, &restored).unwrap(), manifest);
        let copy = Store::open(&Options::new(&restored), world.clock()).unwrap();
        copy.check_integrity(&system, Depth::Full).await.unwrap();
        let view = copy.of(&acme);
        let things = number(&view.get(THINGS, b"n").await.unwrap().unwrap());
        let others = number(&view.get(OTHERS, b"n").await.unwrap().unwrap());
        let events = number(&view.get(EVENTS, b"n").await.unwrap().unwrap());
        assert_eq!(things, others, "one transaction");
        // What was acknowledged first is not missing when what followed it is there.
        let behind = if things == 0 {
            0
        } else if things % 100 == 1 {
            100
        } else {
            1
        };
        assert!(events <= things && things - events <= behind, "core {things}, records {events}");
        let rows = view.scan(THINGS, Range::all()).await.unwrap();
        assert_eq!(view.usage(THINGS).await.unwrap().rows, rows.len() as u64);
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert!(told.is_sorted() && told.last().is_some_and(|(done, all)| done == all), "{told:?}");
    }
}

async fn taken(world: &World) -> (Scope<Write>, std::path::PathBuf) {
    let (store, acme) = (world.open(), world.acme().await);
    store.of(&acme).put(THINGS, b"key", b"value").await.unwrap();
    store.of(&acme).put(EVENTS, b"key", &[7; 10_000]).await.unwrap();
    let dest = world.dir.path().join("backup");
    store.backup(&system(), &dest, |_, _| {}).await.unwrap();
    let again = store.backup(&system(), &dest, |_, _| {}).await;
    assert!(matches!(again, Err(Error::NotEmpty { .. })), "{again:?}");
    (acme, dest)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_holds_the_files_and_their_manifest_only() {
    let world = World::new().await;
    let (acme, backup) = taken(&world).await;
    assert_eq!(names(&backup), ["core.db", "manifest.json", "records.db"]);
    let into = Store::restore(&backup, &world.path());
    assert!(matches!(into, Err(Error::NotEmpty { .. })), "has data: {into:?}");
    let dest = world.dir.path().join("restored");
    Store::restore(&backup, &dest).unwrap();
    assert_eq!(names(&dest), ["core.db", "records.db"]);
    let store = Store::open(&Options::new(&dest), world.clock()).unwrap();
    assert_eq!(store.of(&acme).get(EVENTS, b"key").await.unwrap().unwrap().len(), 10_000);
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_refused_and_leaves_nothing() {
    type Harm = fn(&Path);
    fn manifest(dir: &Path, change: impl FnOnce(&mut Manifest)) {
        let path = dir.join("manifest.json");
        let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    }
    let cases: &[(&str, Harm, &str)] = &[
        (
            "a flipped bit",
            |dir| {
                let path = dir.join("records.db");
                let mut bytes = fs::read(&path).unwrap();
                bytes[9_000] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            "store.bad_backup",
        ),
        (
            "a short file",
            |dir| {
                let path = dir.join("core.db");
                let bytes = fs::read(&path).unwrap();
                fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
            },
            "store.bad_backup",
        ),
        (
            "a missing file",
            |dir| fs::remove_file(dir.join("records.db")).unwrap(),
            "store.bad_backup",
        ),
        (
            "no manifest",
            |dir| fs::remove_file(dir.join("manifest.json")).unwrap(),
            "store.bad_backup",
        ),
        (
            "half a manifest",
            |dir| fs::write(dir.join("manifest.json"), "{").unwrap(),
            "store.bad_backup",
        ),
        (
            "a way out",
            |dir| manifest(dir, |m| m.files[0].name = "../core".into()),
            "store.bad_backup",
        ),
        (
            "a file twice",
            |dir| manifest(dir, |m| m.files[1] = m.files[0].clone()),
            "store.bad_backup",
        ),
        ("no core", |dir| manifest(dir, |m| drop(m.files.remove(0))), "store.bad_backup"),
        ("another format", |dir| manifest(dir, |m| m.format = 2), "store.bad_backup"),
        ("a newer schema", |dir| manifest(dir, |m| m.schema = 99), "store.newer"),
    ];
    for (what, harm, code) in cases {
        let world = World::new().await;
        let (_, backup) = taken(&world).await;
        harm(&backup);
        let dest = world.dir.path().join("restored");
        let error = Store::restore(&backup, &dest).unwrap_err();
        assert_eq!(error.code(), *code, "{what}: {error}");
        assert!(!dest.exists() || names(&dest).is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_restore_that_was_cut_off_does_not_open() {
    let world = World::new().await;
    let (_, backup) = taken(&world).await;
    let dest = world.dir.path().join("restored");
    Store::restore(&backup, &dest).unwrap();
    fs::write(dest.join("restoring"), b"").unwrap();
    let opened = Store::open(&Options::new(&dest), world.clock());
    assert!(matches!(opened, Err(Error::HalfRestored { .. })), "{opened:?}");
}
