//! Files of every older version, made from schemas that are frozen here, become current.

use std::time::Duration;

use bulkhead_store::{Depth, Error, File, Usage};
use ids::Clock;
use rusqlite::Connection;

use super::world::{EVENTS, THINGS, World, raw, system};

/// By version, beginning with 1. What is in a release is never changed here.
const OLDER: &[&str] = &["
    CREATE TABLE rows (part BLOB NOT NULL, tbl INTEGER NOT NULL, key BLOB NOT NULL,
        val BLOB NOT NULL, expires INTEGER, PRIMARY KEY (part, tbl, key)) WITHOUT ROWID;
    CREATE TABLE usage (part BLOB NOT NULL, tbl INTEGER NOT NULL, rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL, PRIMARY KEY (part, tbl)) WITHOUT ROWID;
    PRAGMA application_id = 1112296264;
    PRAGMA user_version = 1;"];

fn version(conn: &Connection) -> i64 {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn older_files_keep_their_rows_and_gain_what_is_new() {
    for (index, schema) in OLDER.iter().enumerate() {
        let world = World::new().await;
        let acme = world.acme().await;
        let soon = world.clock.now().plus(Duration::from_secs(60));
        let store = world.open();
        store.of(&acme).put(THINGS, b"key", b"value").await.unwrap();
        store.of(&acme).put_until(THINGS, b"short", b"value", soon).await.unwrap();
        let usage = store.of(&acme).usage(THINGS).await.unwrap();
        drop(store);

        // The same rows in a file of the older version.
        let newest = version(&world.raw(File::Core));
        let now = world.path().join("core.db");
        let aside = world.dir.path().join("newest.db");
        std::fs::rename(&now, &aside).unwrap();
        let old = raw(&world.path(), File::Core);
        old.execute_batch(schema).unwrap();
        assert_eq!(version(&old), 1 + index as i64);
        old.execute("ATTACH ? AS newest", [aside.to_str()]).unwrap();
        old.execute_batch(
            "INSERT INTO rows SELECT * FROM newest.rows; INSERT INTO usage SELECT * FROM newest.usage;",
        )
        .unwrap();
        old.close().unwrap();

        let store = world.open();
        assert_eq!(version(&world.raw(File::Core)), newest);
        assert_eq!(store.of(&acme).get(THINGS, b"key").await.unwrap().unwrap(), "value");
        assert_eq!(store.of(&acme).usage(THINGS).await.unwrap(), usage);
        world.clock.set(soon);
        assert_eq!(store.sweep(&system()).await.unwrap(), Usage { rows: 1, bytes: 26 });
        store.of(&acme).put(EVENTS, b"key", b"value").await.unwrap();
        store.check_integrity(&system(), Depth::Full).await.unwrap();
    }
}

#[tokio::test]
async fn there_is_a_schema_here_for_every_older_version() {
    let world = World::new().await;
    drop(world.open());
    assert_eq!(version(&world.raw(File::Core)), 1 + OLDER.len() as i64);
}

#[tokio::test]
async fn a_newer_file_is_refused_and_left_as_it_is() {
    let world = World::new().await;
    let acme = world.acme().await;
    let store = world.open();
    store.of(&acme).put(EVENTS, b"key", b"value").await.unwrap();
    drop(store);
    world.raw(File::Records).execute_batch("PRAGMA user_version = 99").unwrap();
    let error = world.try_open().unwrap_err();
    assert!(matches!(error, Error::Newer { file: File::Records, found: 99, .. }), "{error:?}");
    assert_eq!(error.code(), "store.newer");
    assert_eq!(
        error.to_string(),
        "records has schema 99, this program knows 2: use the newer program"
    );
    assert_eq!(version(&world.raw(File::Records)), 99);
}
