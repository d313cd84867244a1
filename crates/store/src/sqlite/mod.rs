//! The embedded engine: a SQLite file for each kind of load.

mod commit;
mod connection;
mod lanes;
mod place;
mod rows;
mod schema;
mod scrub;
mod volume;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use ids::{BoxFuture, Clock};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use self::{
    commit::{Chore, What, Work},
    place::Place,
    scrub::Scrub,
    volume::Volume,
};
pub(crate) use self::{
    connection::{create, sync_dir},
    place::{Layout, RESTORING, make_dir},
    schema::newest,
};
use crate::{
    Check, Depth, Erased, Error, Figures, File, Manifest, Options, Partition, Range, Row, Table,
    Usage, backup,
    engine::{Engine, Found, Job, Progress, Reply},
    error::Cause,
};

/// Rows that a sweep or an erasure removes in one job.
const REMOVED_AT_ONCE: i64 = 500;
/// Keys that are read at once, as a single one is; more of them are read away from the tasks.
const READ_AT_ONCE: usize = 64;
/// A file up to this size is checked before it serves, a larger one while it does.
const CHECKED_AT_ONCE: u64 = 64 << 20;
/// How often to try to empty a write-ahead log that a reader needs, and how long each time.
const TRIES: u32 = 20;
const TRY: Duration = Duration::from_millis(50);

pub(crate) struct Sqlite {
    /// By [`File::index`]; a single-file store has one.
    volumes: Vec<Arc<Volume>>,
    clock: Arc<dyn Clock>,
    /// `None` once closed.
    place: Mutex<Option<Place>>,
}

impl Sqlite {
    pub(crate) fn open(
        layout: Layout,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let place = Place::take(layout.clone(), options.read_only)?;
        let options = Options { read_only: place.read_only, ..options.clone() };
        let volumes = File::ALL
            .into_iter()
            .filter_map(|file| Some((file, layout.path(file)?)))
            .map(|(file, path)| Volume::new(file, path, &options, Arc::clone(&clock)))
            .collect::<Vec<_>>();
        if place.read_only && !place.has_core() {
            return Err(Error::ReadOnly);
        }
        // From here on dropping ends what was started.
        let engine = Self { volumes, clock, place: Mutex::new(None) };
        for volume in &engine.volumes {
            if volume.path.exists() || volume.file == File::Core {
                start(volume, &options, place.clean)?;
            }
        }
        *engine.place.lock() = Some(place);
        Ok(engine)
    }

    fn volume(&self, table: &'static str, file: File) -> Result<&Arc<Volume>, Error> {
        self.volumes.get(file.index()).ok_or(Error::WrongFile { table })
    }

    /// The files that are there.
    fn present(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.iter().filter(|volume| volume.ready())
    }

    fn end(&self) -> Result<(), Error> {
        let Some(place) = self.place.lock().take() else { return Ok(()) };
        let clean = end(&self.volumes);
        if clean { place.leave_clean() } else { Ok(()) }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(?error, "the store did not close in order");
        }
        end(&self.volumes);
    }
}

/// Finishes what was accepted and closes the files.
fn end(volumes: &[Arc<Volume>]) -> bool {
    volumes.iter().for_each(|volume| volume.begin_close());
    // All of them, whatever the first says.
    volumes.iter().filter(|volume| !volume.finish_close()).count() == 0
}

/// Opens a file at start, checking it as the options and the last shutdown say.
fn start(volume: &Arc<Volume>, options: &Options, clean: bool) -> Result<(), Error> {
    let size = std::fs::metadata(&volume.path).map_or(0, |meta| meta.len());
    let always = options.check == Check::Always;
    let now = size > 0 && (always || (!clean && size <= CHECKED_AT_ONCE));
    if options.read_only {
        let conn = volume.readers.open()?;
        let found = schema::version(&conn, volume.file)?;
        let known = newest();
        if found > known {
            return Err(Error::Newer { file: volume.file, found, known });
        }
        if found < known {
            // It would have to be migrated first.
            return Err(Error::ReadOnly);
        }
        if now {
            connection::quick_check(&conn, volume.file)?;
        }
        volume.serve_read_only();
        return Ok(());
    }
    volume.start(now)?;
    if !clean && !now && size > 0 {
        tracing::info!(file = %volume.file, "the last shutdown was not clean: checking while serving");
        volume.check_while_serving()?;
    }
    Ok(())
}

impl Engine for Sqlite {
    fn get(
        &self,
        part: Partition,
        table: Table,
        key: &[u8],
    ) -> Reply<'_, Result<Option<Bytes>, Error>> {
        Reply::Now(self.volume(table.name, table.file).and_then(|volume| {
            if !volume.ready() {
                return Ok(None);
            }
            let now = self.clock.now();
            volume.readers.read(|conn| rows::get(conn, &part, table, key, now))
        }))
    }

    fn get_many(&self, part: Partition, table: Table, keys: Vec<Vec<u8>>) -> Reply<'_, Found> {
        let volume = match self.volume(table.name, table.file) {
            Ok(volume) if volume.ready() => volume,
            Ok(_) => return Reply::Now(Ok(vec![None; keys.len()])),
            Err(error) => return Reply::Now(Err(error)),
        };
        let now = self.clock.now();
        if keys.len() <= READ_AT_ONCE {
            return Reply::Now(
                volume.readers.read(|conn| rows::get_many(conn, &part, table, &keys, now)),
            );
        }
        let volume = Arc::clone(volume);
        Reply::Later(Box::pin(async move {
            let read = Arc::clone(&volume);
            let _turn = volume.scans.acquire().await;
            blocking(move || {
                read.readers.read(|conn| rows::get_many(conn, &part, table, &keys, now))
            })
            .await
        }))
    }

    fn scan(
        &self,
        part: Partition,
        table: Table,
        range: Range,
    ) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            let volume = Arc::clone(self.volume(table.name, table.file)?);
            if !volume.ready() {
                return Ok(Vec::new());
            }
            let now = self.clock.now();
            let _turn = self.volume(table.name, table.file)?.scans.acquire().await;
            blocking(move || {
                volume.readers.read(|conn| rows::scan(conn, &part, table, &range, now))
            })
            .await
        })
    }

    fn usage(&self, part: Partition, table: Table) -> Reply<'_, Result<Usage, Error>> {
        Reply::Now(self.volume(table.name, table.file).and_then(|volume| {
            if !volume.ready() {
                return Ok(Usage::default());
            }
            volume.readers.read(|conn| rows::usage(conn, &part, table.id))
        }))
    }

    fn write(
        &self,
        part: Partition,
        file: File,
        cost: usize,
        job: Box<dyn Job>,
    ) -> Result<(), Error> {
        self.volume("of a write", file)?.submit(part, cost, Work::Job(job))
    }

    fn erase(&self, part: Partition) -> BoxFuture<'_, Result<Erased, Error>> {
        Box::pin(async move {
            let (mut erased, mut outcome) = (Erased::default(), Ok(()));
            for volume in self.present() {
                // A file that has to be waited for does not keep rows in the others.
                match erase(volume, part).await {
                    Ok(removed) if removed.rows > 0 => erased.files.push((volume.file, removed)),
                    Ok(_) => {}
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            outcome.map(|()| erased)
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<Usage, Error>> {
        Box::pin(async move {
            let mut swept = Usage::default();
            for volume in self.present() {
                swept = swept.plus(remove(volume, Partition::deployment(), What::Sweep).await?);
            }
            Ok(swept)
        })
    }

    fn check(&self, depth: Depth) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            for volume in self.present() {
                let volume = Arc::clone(volume);
                blocking(move || check(&volume.readers.open()?, volume.file, depth)).await?;
            }
            Ok(())
        })
    }

    fn backup(&self, dest: PathBuf, progress: Progress) -> BoxFuture<'_, Result<Manifest, Error>> {
        Box::pin(async move {
            let volumes: Vec<_> = self.present().map(Arc::clone).collect();
            let taken = self.clock.now();
            blocking(move || {
                let sources = snapshot(&volumes)?;
                backup::write(sources, &dest, taken, progress)
            })
            .await
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for volume in &self.volumes {
                // An error says that the volume is gone, and with it what waited.
                let _ = volume.flushed().await;
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let Some(place) = self.place.lock().take() else { return Ok(()) };
            let volumes = self.volumes.clone();
            blocking(move || if end(&volumes) { place.leave_clean() } else { Ok(()) }).await
        })
    }

    fn figures(&self, file: File) -> Figures {
        self.volumes.get(file.index()).map(|volume| volume.figures()).unwrap_or_default()
    }
}

/// Runs what blocks for long away from the tasks.
async fn blocking<T: Send + 'static>(
    body: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(body).await.unwrap_or(Err(Error::Closed))
}

/// Removes rows batch by batch, in a lane's turns, until none are left.
async fn remove(volume: &Arc<Volume>, part: Partition, what: What) -> Result<Usage, Error> {
    let mut removed = Usage::default();
    loop {
        let (reply, answer) = oneshot::channel();
        let chore = Chore { what, limit: REMOVED_AT_ONCE, removed: Usage::default(), reply };
        volume.submit(part, 0, Work::Chore(chore))?;
        let batch = answer.await.unwrap_or(Err(Error::Closed))?;
        if batch.rows == 0 {
            return Ok(removed);
        }
        removed = removed.plus(batch);
    }
}

/// Removes a partition's rows from one file, and their bytes.
async fn erase(volume: &Arc<Volume>, part: Partition) -> Result<Usage, Error> {
    let removed = remove(volume, part, What::Erase).await?;
    if !ids::planted::is("store-erase-keeps-moved") {
        scrub(volume).await?;
    }
    if !ids::planted::is("store-erase-keeps-log") {
        empty_log(volume).await?;
    }
    Ok(removed)
}

/// Runs `body` on the writing connection, between two commits.
async fn between<T: Send + 'static>(
    volume: &Volume,
    body: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let (reply, answer) = oneshot::channel();
    volume.between(Box::new(move |conn| drop(reply.send(body(conn)))));
    let answer = answer.await.map_err(|_| Error::Closed)?;
    answer.map_err(|e| Error::sqlite(volume.file, &e))
}

async fn scrub(volume: &Volume) -> Result<(), Error> {
    let mut at = Scrub::At(1);
    while at != Scrub::Done {
        at = between(volume, move |conn| at.step(conn)).await?;
    }
    Ok(())
}

/// Folds the write-ahead log into the file and cuts it to nothing.
async fn empty_log(volume: &Volume) -> Result<(), Error> {
    for _ in 0..TRIES {
        let busy: bool = between(volume, |conn| {
            // A short patience: the commits of others wait meanwhile.
            conn.busy_timeout(TRY)?;
            let busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            conn.busy_timeout(connection::PATIENCE)?;
            busy
        })
        .await?;
        if !busy {
            return Ok(());
        }
    }
    Err(Error::Busy)
}

fn check(conn: &Connection, file: File, depth: Depth) -> Result<(), Error> {
    if depth == Depth::Quick {
        return connection::quick_check(conn, file);
    }
    connection::pragma_check(conn, file, "PRAGMA integrity_check(1)")?;
    match rows::audit(conn).map_err(|e| Error::sqlite(file, &e))? {
        None => Ok(()),
        Some(wrong) => Err(Error::Corrupt { file, cause: Cause::from(wrong) }),
    }
}

/// Connections that read every file as of one moment: no file's writer commits while the
/// last of them begins.
fn snapshot(volumes: &[Arc<Volume>]) -> Result<Vec<backup::Source>, Error> {
    // Writers go on when this is dropped.
    let mut held = Vec::new();
    for volume in volumes {
        let (parked, is_parked) = std::sync::mpsc::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let hold = move |_: &Connection| {
            let _ = parked.send(());
            let _ = wait.recv();
        };
        // A store that is opened for reading only has no writers to hold.
        if volume.between(Box::new(hold)) {
            is_parked.recv().map_err(|_| Error::Closed)?;
        }
        held.push(go_on);
    }
    volumes
        .iter()
        .map(|volume| {
            let conn = volume.readers.open()?;
            // A read begins the snapshot; it lasts as long as the transaction.
            conn.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")
                .map_err(|e| Error::sqlite(volume.file, &e))?;
            Ok(backup::Source { file: volume.file, conn })
        })
        .collect()
}

#[cfg(test)]
mod tests;
