//! What only the engine's inside can bring about.

use std::sync::Arc;

use ids::{ManualClock, Millis};
use tempfile::TempDir;

use super::*;
use crate::engine::{RawTxn, Verdict};

const TABLE: Table = Table { file: File::Core, id: 60_000, name: "test" };

struct Put {
    key: Vec<u8>,
    reply: oneshot::Sender<Result<(), Error>>,
}

impl Job for Put {
    fn run(&mut self, txn: &mut dyn RawTxn) -> Verdict {
        match txn.put(TABLE, &self.key, &[0; 20], None) {
            Ok(()) => Verdict::Keep,
            Err(_) => Verdict::Undo,
        }
    }

    fn finish(self: Box<Self>, outcome: Result<(), Error>) {
        let _ = self.reply.send(outcome);
    }
}

struct Bench {
    engine: Sqlite,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis(1_000)));
        let layout = Layout::Directory(dir.path().join("data"));
        let engine = Sqlite::open(layout, &Options::default(), clock).unwrap();
        Self { engine, dir }
    }

    fn put(&self, part: u8, key: &[u8]) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Put { key: key.to_vec(), reply });
        self.engine.write(Partition::numbered(part), File::Core, 20, job).unwrap();
        answer
    }

    async fn get(&self, part: u8, key: &[u8]) -> Option<Bytes> {
        self.engine.get(Partition::numbered(part), TABLE, key).wait().await.unwrap()
    }

    async fn on_writer(&self, sql: &'static str) {
        between(&self.engine.volumes[0], move |conn| conn.execute_batch(sql)).await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_turns_read_only_refuses_writes_and_serves_reads() {
    let bench = Bench::new();
    bench.put(1, b"before").await.unwrap().unwrap();
    bench.on_writer("PRAGMA query_only = ON").await;
    let refused = bench.put(1, b"key").await.unwrap();
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    assert!(bench.get(1, b"before").await.is_some());
    bench.on_writer("PRAGMA query_only = OFF").await;
    bench.put(1, b"after").await.unwrap().unwrap();
}

#[tokio::test]
async fn a_commit_that_fails_fails_every_job_in_it() {
    let bench = Bench::new();
    // A deferred constraint is first noticed by COMMIT.
    bench
        .on_writer(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TABLE armed (x);
             PRAGMA foreign_keys = ON;",
        )
        .await;
    struct Break(oneshot::Sender<Result<(), Error>>);
    impl Job for Break {
        fn run(&mut self, _: &mut dyn RawTxn) -> Verdict {
            Verdict::Keep
        }
        fn finish(self: Box<Self>, outcome: Result<(), Error>) {
            let _ = self.0.send(outcome);
        }
    }
    let (reply, first) = oneshot::channel();
    let (second_reply, second) = oneshot::channel();
    let jobs = vec![
        (Partition::numbered(1), Work::Job(Box::new(Put { key: b"a".to_vec(), reply }))),
        (Partition::numbered(2), Work::Job(Box::new(Break(second_reply)))),
    ];
    between(&bench.engine.volumes[0], move |conn| {
        // The trigger stands for what goes wrong as late as that.
        conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        conn.execute_batch(
            "CREATE TRIGGER late AFTER INSERT ON usage BEGIN INSERT INTO child VALUES (7); END;",
        )?;
        commit::commit(conn, File::Core, Millis(1), jobs, |outcome| assert!(outcome.is_err()));
        assert!(conn.is_autocommit());
        conn.execute_batch("DROP TRIGGER late")
    })
    .await
    .unwrap();
    for answer in [first, second] {
        assert!(matches!(answer.await.unwrap(), Err(Error::Io { .. })));
    }
    assert_eq!(bench.get(1, b"a").await, None);
    bench.put(1, b"a").await.unwrap().unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_made_fails_its_writes_and_is_tried_again() {
    let bench = Bench::new();
    let path = bench.dir.path().join("data/cache.db");
    std::fs::create_dir(&path).unwrap();
    let write = || {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Put { key: b"key".to_vec(), reply });
        bench.engine.write(Partition::numbered(1), File::Cache, 20, job).unwrap();
        answer
    };
    let failed = write().await.unwrap();
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    bench.engine.flush().await;
    std::fs::remove_dir(&path).unwrap();
    // The job is for a table of another file, which is found out in the new one.
    write().await.unwrap().unwrap();
    assert!(path.is_file());
}

#[tokio::test]
async fn a_writer_that_dies_fails_what_waits() {
    let bench = Bench::new();
    let volume = &bench.engine.volumes[0];
    let (parked, is_parked) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let die = move |_: &Connection| {
        let _ = parked.send(());
        let _ = wait.recv();
        panic!("on purpose");
    };
    assert!(volume.between(Box::new(die)));
    is_parked.recv().unwrap();
    let waiting = bench.put(1, b"key");
    drop(go_on);
    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
    bench.engine.flush().await;
    let (reply, _) = oneshot::channel();
    let job = Box::new(Put { key: b"key".to_vec(), reply });
    let refused = bench.engine.write(Partition::numbered(1), File::Core, 0, job);
    assert!(matches!(refused, Err(Error::Closed)));
}

#[tokio::test]
async fn a_large_file_is_checked_while_it_serves() {
    let bench = Bench::new();
    let volume = &bench.engine.volumes[0];
    volume.check_while_serving().unwrap();
    bench.put(1, b"key").await.unwrap().unwrap();
    assert!(bench.get(1, b"key").await.is_some());
}
