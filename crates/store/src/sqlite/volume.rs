//! One file: the lanes of its writes, the thread that commits them, its readers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use ids::Clock;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::{Semaphore, oneshot};

use super::{
    commit::{self, Work},
    connection::{self, Readers},
    lanes::{Lanes, Limits},
};
use crate::{Error, Figures, File, Options, Partition, error::Cause};

/// Work on the writing connection between commits, outside any transaction.
pub(super) type Between = Box<dyn FnOnce(&Connection) + Send>;

pub(super) struct Volume {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) readers: Readers,
    /// Scans at once.
    pub(super) scans: Semaphore,
    options: Options,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The file is there and current.
    ready: AtomicBool,
    /// The file was folded together and closed in order.
    closed_clean: AtomicBool,
    checking: Mutex<Option<InterruptHandle>>,
    commits: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
}

struct Queue {
    lanes: Lanes<Work>,
    between: Vec<Between>,
    /// Who waits for the job of this number, and all before it.
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    /// A commit is under way.
    committing: bool,
    /// The writer thread runs.
    running: bool,
    closing: bool,
    /// Why nothing may be written any more.
    refusal: Option<Error>,
}

/// What the writer thread does next.
enum Step {
    Between(Vec<Between>),
    Commit(Vec<(Partition, Work)>),
    End,
}

impl Volume {
    pub(super) fn new(
        file: File,
        path: PathBuf,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            file,
            readers: Readers::new(file, path.clone(), options),
            path,
            scans: Semaphore::new(options.readers.max(1)),
            options: options.clone(),
            clock,
            queue: Mutex::new(Queue {
                lanes: Lanes::new(Limits::from(options)),
                between: Vec::new(),
                flushes: Vec::new(),
                committing: false,
                running: false,
                closing: false,
                refusal: options.read_only.then_some(Error::ReadOnly),
            }),
            wake: Condvar::new(),
            thread: Mutex::new(None),
            ready: AtomicBool::new(false),
            closed_clean: AtomicBool::new(true),
            checking: Mutex::new(None),
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Whether there is a file to read.
    pub(super) fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Serves an existing file for reading only.
    pub(super) fn serve_read_only(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Opens the file now, making it if it is missing, and starts its writer.
    pub(super) fn start(self: &Arc<Self>, check: bool) -> Result<(), Error> {
        let conn = connection::writer(&self.path, self.file, &self.options)?;
        if check {
            connection::quick_check(&conn, self.file)?;
        }
        self.opened();
        self.spawn(&mut self.queue.lock(), Some(conn))
    }

    fn opened(&self) {
        self.closed_clean.store(false, Ordering::Release);
        self.ready.store(true, Ordering::Release);
    }

    /// Accepts work into the partition's lane. The first write makes the file.
    pub(super) fn submit(
        self: &Arc<Self>,
        part: Partition,
        cost: usize,
        work: Work,
    ) -> Result<(), Error> {
        let mut queue = self.queue.lock();
        if let Some(refusal) = &queue.refusal {
            return Err(refusal.clone());
        }
        if queue.closing {
            return Err(Error::Closed);
        }
        if !queue.running {
            self.spawn(&mut queue, None)?;
        }
        if queue.lanes.push(part, cost, work).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Busy);
        }
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Runs `body` on the writing connection between two commits. False if there is no
    /// writer to run it.
    pub(super) fn between(&self, body: Between) -> bool {
        let mut queue = self.queue.lock();
        if !queue.running || queue.closing {
            return false;
        }
        queue.between.push(body);
        drop(queue);
        self.wake.notify_one();
        true
    }

    /// Resolves when everything accepted before is finished.
    pub(super) fn flushed(&self) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.committing || queue.lanes.waiting() > 0 {
            let last = queue.lanes.accepted();
            queue.flushes.push((last, done));
        } else {
            let _ = done.send(());
        }
        wait
    }

    /// Refuses writes from here on.
    pub(super) fn begin_close(&self) {
        self.queue.lock().closing = true;
        self.wake.notify_one();
        // Before the writer, so that the writer is the last and folds the log away.
        self.readers.close();
        if let Some(check) = self.checking.lock().as_ref() {
            check.interrupt();
        }
    }

    /// Waits until accepted writes are finished and closes the file. Whether all of it went
    /// in order.
    pub(super) fn finish_close(&self) -> bool {
        let thread = self.thread.lock().take();
        let joined = thread.is_none_or(|thread| thread.join().is_ok());
        // A check that was cut short must happen at the next start.
        let checked = self.checking.lock().is_none();
        joined && checked && self.closed_clean.load(Ordering::Acquire)
    }

    /// Checks the file on a thread of its own; if it fails, nothing is written any more.
    pub(super) fn check_while_serving(self: &Arc<Self>) -> Result<(), Error> {
        let conn = self.readers.open()?;
        *self.checking.lock() = Some(conn.get_interrupt_handle());
        let volume = Arc::clone(self);
        let check = move || match connection::quick_check(&conn, volume.file) {
            Ok(()) => *volume.checking.lock() = None,
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(file = %volume.file, ?error, "a file is damaged: writes stop");
                volume.queue.lock().refusal = Some(error);
            }
            Err(error) => tracing::warn!(file = %volume.file, ?error, "the check did not end"),
        };
        spawn("store-check", check).map(drop)
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            commits: self.commits.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            waiting: self.queue.lock().lanes.waiting() as u64,
        }
    }

    fn spawn(self: &Arc<Self>, queue: &mut Queue, conn: Option<Connection>) -> Result<(), Error> {
        let volume = Arc::clone(self);
        let thread = spawn("store-writer", move || {
            if catch_unwind(AssertUnwindSafe(|| volume.run(conn))).is_err() {
                volume.queue.lock().refusal = Some(Error::Closed);
                volume.give_up(&Error::Closed);
            }
        })?;
        queue.running = true;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// The writer thread.
    fn run(&self, conn: Option<Connection>) {
        let opened =
            conn.map_or_else(|| connection::writer(&self.path, self.file, &self.options), Ok);
        let conn = match opened {
            Ok(conn) => conn,
            Err(error) => return self.give_up(&error),
        };
        self.opened();
        loop {
            match self.next_step() {
                Step::Between(tasks) => tasks.into_iter().for_each(|task| task(&conn)),
                Step::Commit(jobs) => self.commit(&conn, jobs),
                Step::End => break,
            }
        }
        // Folds the log into the file. With a reader in the way the next start does it.
        let folded = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        let folded = matches!(folded, Ok(0i64));
        conn.flush_prepared_statement_cache();
        let closed = conn.close().is_ok();
        self.closed_clean.store(folded && closed, Ordering::Release);
    }

    fn next_step(&self) -> Step {
        let mut queue = self.queue.lock();
        queue.committing = false;
        queue.settle_flushes();
        loop {
            if !queue.between.is_empty() {
                return Step::Between(std::mem::take(&mut queue.between));
            }
            if queue.lanes.waiting() > 0 {
                queue.committing = true;
                return Step::Commit(queue.lanes.next_commit());
            }
            if queue.closing {
                queue.running = false;
                return Step::End;
            }
            self.wake.wait(&mut queue);
        }
    }

    fn commit(&self, conn: &Connection, jobs: Vec<(Partition, Work)>) {
        let writes = jobs.len() as u64;
        commit::commit(conn, self.file, self.clock.now(), jobs, |outcome| match outcome {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.writes.fetch_add(writes, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(file = %self.file, writes, ?error, "a commit failed"),
        });
    }

    /// The file could not be opened: everything that waits fails, the next write tries again.
    fn give_up(&self, error: &Error) {
        let mut waiting = Vec::new();
        let mut queue = self.queue.lock();
        while queue.lanes.waiting() > 0 {
            waiting.extend(queue.lanes.next_commit());
        }
        queue.between.clear();
        queue.settle_flushes();
        queue.running = false;
        drop(queue);
        for (_, work) in waiting {
            work.finish(Err(error.clone()));
        }
    }
}

impl Queue {
    fn settle_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let oldest = self.lanes.oldest().unwrap_or(u64::MAX);
        let (done, wait) = self.flushes.drain(..).partition(|(last, _)| *last < oldest);
        self.flushes = wait;
        for (_, flushed) in done {
            let _ = flushed.send(());
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|e| Error::Io { doing: "start a thread", cause: Cause::from(e.to_string()) })
}
