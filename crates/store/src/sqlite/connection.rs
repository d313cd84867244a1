//! Connections to a file: how they are set up, and the few that read.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::schema;
use crate::{Error, File, Options, error::Cause};

/// How long to wait for a lock that another program, such as the `sqlite3` shell, holds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Settings of the one connection that writes. `synchronous=FULL`: what is acknowledged
/// survives a power cut. `secure_delete`: freed space is overwritten. `temp_store`: no rows
/// in temporary files. The write-ahead log is kept under 64 MiB.
const WRITER: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8192;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;";

/// Bytes of log after which it is folded back.
const FOLD_AT: u32 = 8 * 1024 * 1024;

/// Bytes of a page of a new file; an older one keeps its own. Rows of points are of some 2 KB,
/// which a page of 4 KiB mostly cannot hold: they would go on in pages of their own, and a read
/// of ten rows take twice as long, from a file twice as large.
const fn page(file: File) -> u32 {
    match file {
        File::Memory => 16 * 1024,
        _ => 4 * 1024,
    }
}

/// Settings of the connections that read.
const READER: &str = "
    PRAGMA query_only = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -1024;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;";

/// Opens the connection that writes, making and migrating the file as needed.
pub(super) fn writer(path: &Path, file: File, options: &Options) -> Result<Connection, Error> {
    let fail = |e: rusqlite::Error| Error::sqlite(file, &e);
    match create(path) {
        Ok(_) => sync_dir(path.parent())?,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Error::io("make a file", &e)),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(fail)?;
    conn.busy_timeout(PATIENCE).map_err(fail)?;
    // Before the journal is chosen: after that a page keeps its size.
    conn.pragma_update(None, "page_size", page(file)).map_err(fail)?;
    conn.execute_batch(WRITER).map_err(fail)?;
    let page: u32 = conn.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(fail)?;
    let fold = FOLD_AT / page.max(1);
    conn.pragma_update_and_check(None, "wal_autocheckpoint", fold, |_| Ok(())).map_err(fail)?;
    // The file's schema is not to be trusted to run code.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).map_err(fail)?;
    conn.set_prepared_statement_cache_capacity(32);
    if let Some(pages) = options.max_pages {
        // The answer is the limit that holds now, which is of no interest.
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(fail)?;
    }
    let found = schema::migrate(&mut conn, file, schema::MIGRATIONS)?;
    if found > 0 && found < schema::newest() {
        tracing::info!(%file, from = found, to = schema::newest(), "migrated");
    }
    Ok(conn)
}

/// Makes a file that its owner alone may read; SQLite gives its companions the same mode.
pub(crate) fn create(path: &Path) -> std::io::Result<fs::File> {
    let mut open = fs::OpenOptions::new();
    open.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    open.open(path)
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: Option<&Path>) -> Result<(), Error> {
    let dir = dir.filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("sync a directory", &e))
}

/// Whether the structure of a file holds together; the first thing that does not.
pub(super) fn quick_check(conn: &Connection, file: File) -> Result<(), Error> {
    pragma_check(conn, file, "PRAGMA quick_check(1)")
}

pub(super) fn pragma_check(conn: &Connection, file: File, sql: &str) -> Result<(), Error> {
    let verdict: String =
        conn.query_row(sql, [], |row| row.get(0)).map_err(|e| Error::sqlite(file, &e))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Error::Corrupt { file, cause: Cause::from(verdict) })
}

/// The connections that read a file: taken for one read and put back.
pub(super) struct Readers {
    file: File,
    path: PathBuf,
    keep: usize,
    read_only: bool,
    /// `None` once closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: File, path: PathBuf, options: &Options) -> Self {
        Self {
            file,
            path,
            keep: options.readers.max(1),
            read_only: options.read_only,
            idle: Mutex::new(Some(Vec::new())),
        }
    }

    /// Reads with one of them, opening another if all are taken.
    pub(super) fn read<T>(
        &self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let idle = self.idle.lock().as_mut().ok_or(Error::Closed)?.pop();
        let conn = idle.map_or_else(|| self.open(), Ok)?;
        // After an error the connection is dropped rather than used again.
        let value = body(&conn).map_err(|e| Error::sqlite(self.file, &e))?;
        if let Some(idle) = self.idle.lock().as_mut()
            && idle.len() < self.keep
        {
            idle.push(conn);
        }
        Ok(value)
    }

    /// One more connection that reads.
    pub(super) fn open(&self) -> Result<Connection, Error> {
        let fail = |e: rusqlite::Error| Error::sqlite(self.file, &e);
        let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = if self.read_only && !has_log(&self.path) {
            // Without a write-ahead log to read, and no way to make one, SQLite must be told
            // that nobody else writes either.
            flags |= OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(immutable(&self.path), flags)
        } else {
            Connection::open_with_flags(&self.path, flags)
        }
        .map_err(fail)?;
        conn.busy_timeout(PATIENCE).map_err(fail)?;
        conn.execute_batch(READER).map_err(fail)?;
        Ok(conn)
    }

    pub(super) fn close(&self) {
        drop(self.idle.lock().take());
    }
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|meta| meta.len() > 0)
}

/// The path as a URI (<https://sqlite.org/uri.html>) that says so.
fn immutable(path: &Path) -> String {
    let escaped: String = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(*byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("file:{escaped}?immutable=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_points_has_large_pages_and_each_log_is_folded_at_the_same_length() {
        let dir = tempfile::tempdir().unwrap();
        for (file, expected) in [(File::Memory, 16_384u32), (File::Core, 4_096)] {
            let path = dir.path().join(format!("{file}.db"));
            let told = |name: &str| -> u32 {
                let conn = writer(&path, file, &Options::default()).unwrap();
                conn.pragma_query_value(None, name, |row| row.get(0)).unwrap()
            };
            // The second time it is there already.
            for _ in 0..2 {
                assert_eq!(told("page_size"), expected, "{file}");
                assert_eq!(told("wal_autocheckpoint") * expected, FOLD_AT, "{file}");
            }
        }
    }

    #[test]
    fn a_file_with_other_pages_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch("PRAGMA page_size = 4096; CREATE TABLE t (x); DROP TABLE t").unwrap();
        drop(old);
        let conn = writer(&path, File::Memory, &Options::default()).unwrap();
        let page: u32 = conn.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
        let fold: u32 =
            conn.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap();
        assert_eq!((page, page * fold), (4_096, FOLD_AT));
    }
}
