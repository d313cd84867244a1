//! Rows and usage figures in SQL.

use std::collections::HashMap;

use bytes::Bytes;
use ids::Millis;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Error, File, Partition, Range, Row, Table, Usage, engine::RawTxn, partition::tag_of};

const GET: &str = "SELECT val FROM rows WHERE part = ?1 AND tbl = ?2 AND key = ?3
    AND (expires IS NULL OR expires > ?4)";
const SIZE: &str = "SELECT length(val), expires FROM rows
    WHERE part = ?1 AND tbl = ?2 AND key = ?3";
const PUT: &str = "INSERT INTO rows (part, tbl, key, val, expires) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (part, tbl, key) DO UPDATE SET val = excluded.val, expires = excluded.expires";
const DELETE: &str = "DELETE FROM rows WHERE part = ?1 AND tbl = ?2 AND key = ?3";
const SCAN_UP: &str = "SELECT key, val FROM rows WHERE part = ?1 AND tbl = ?2
    AND key >= ?3 AND key < ?4 AND (expires IS NULL OR expires > ?5)
    ORDER BY key LIMIT ?6";
const SCAN_DOWN: &str = "SELECT key, val FROM rows WHERE part = ?1 AND tbl = ?2
    AND key >= ?3 AND key < ?4 AND (expires IS NULL OR expires > ?5)
    ORDER BY key DESC LIMIT ?6";
const USAGE: &str = "SELECT rows, bytes FROM usage WHERE part = ?1 AND tbl = ?2";
const ADD_USAGE: &str = "INSERT INTO usage (part, tbl, rows, bytes) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (part, tbl) DO UPDATE
    SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes";
const DROP_USAGE: &str =
    "DELETE FROM usage WHERE part = ?1 AND tbl = ?2 AND rows = 0 AND bytes = 0";
const FORGET_USAGE: &str = "DELETE FROM usage WHERE part = ?1";
const OF_PARTITION: &str = "SELECT part, tbl, key, length(val) FROM rows
    WHERE part = ?1 LIMIT ?2";
const EXPIRED: &str = "SELECT part, tbl, key, length(val) FROM rows
    WHERE expires <= ?1 ORDER BY expires LIMIT ?2";

/// A time as SQLite keeps it.
fn stamp(at: Millis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn size(key: &[u8], value: i64) -> i64 {
    i64::try_from(key.len()).unwrap_or(i64::MAX).saturating_add(value)
}

pub(super) fn get(
    conn: &Connection,
    part: &Partition,
    table: Table,
    key: &[u8],
    now: Millis,
) -> rusqlite::Result<Option<Bytes>> {
    conn.prepare_cached(GET)?
        .query_row(params![part.key(), table.id, key, stamp(now)], |row| {
            Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
        })
        .optional()
}

/// As [`get`], each of them, as of one moment.
pub(super) fn get_many(
    conn: &Connection,
    part: &Partition,
    table: Table,
    keys: &[Vec<u8>],
    now: Millis,
) -> rusqlite::Result<Vec<Option<Bytes>>> {
    // The first read begins the snapshot, which ends with the transaction, that is, here.
    let moment = conn.unchecked_transaction()?;
    keys.iter().map(|key| get(&moment, part, table, key, now)).collect()
}

pub(super) fn scan(
    conn: &Connection,
    part: &Partition,
    table: Table,
    range: &Range,
    now: Millis,
) -> rusqlite::Result<Vec<Row>> {
    let (low, high) = range.bounds();
    let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
    conn.prepare_cached(if range.reverse { SCAN_DOWN } else { SCAN_UP })?
        .query_map(params![part.key(), table.id, low, high, stamp(now), limit], |row| {
            let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            Ok((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
        })?
        .collect()
}

pub(super) fn usage(conn: &Connection, part: &Partition, tbl: u16) -> rusqlite::Result<Usage> {
    let found = conn
        .prepare_cached(USAGE)?
        .query_row(params![part.key(), tbl], |row| {
            Ok(Usage { rows: count(row.get(0)?), bytes: count(row.get(1)?) })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// The figures of usage against the rows, and every row's tag against its partition. What is
/// wrong, if anything is.
pub(super) fn audit(conn: &Connection) -> rusqlite::Result<Option<&'static str>> {
    let wrong: bool = conn.query_row(
        "SELECT EXISTS (
            SELECT part, tbl, count(*), sum(length(key) + length(val)) FROM rows GROUP BY 1, 2
            EXCEPT SELECT part, tbl, rows, bytes FROM usage)
         OR EXISTS (
            SELECT part, tbl, rows, bytes FROM usage
            EXCEPT SELECT part, tbl, count(*), sum(length(key) + length(val))
                   FROM rows GROUP BY 1, 2)",
        [],
        |row| row.get(0),
    )?;
    if wrong {
        return Ok(Some("the usage figures do not match the rows"));
    }
    let mut rows = conn.prepare("SELECT part, substr(val, 1, 16) FROM rows GROUP BY 1, 2")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (part, tag): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let ours = <[u8; 32]>::try_from(part).is_ok_and(|part| tag_of(&part)[..] == tag[..]);
        if !ours {
            return Ok(Some("a row stands under a partition that is not its own"));
        }
    }
    Ok(None)
}

/// What a job changes about one partition's table: rows and bytes.
type Change = ((Partition, u16), (i64, i64));

/// The open transaction of a commit. Changes of usage are summed here and written once at
/// its end; those of a job that is undone are forgotten.
pub(super) struct Open<'c> {
    conn: &'c Connection,
    file: File,
    now: Millis,
    commit: HashMap<(Partition, u16), (i64, i64)>,
    job: Vec<Change>,
    /// What SQLite reported during the job, whether or not the job passed it on.
    fault: Option<Error>,
}

impl<'c> Open<'c> {
    pub(super) fn new(conn: &'c Connection, file: File, now: Millis) -> Self {
        Self { conn, file, now, commit: HashMap::new(), job: Vec::new(), fault: None }
    }

    /// The job's writes stay.
    pub(super) fn keep(&mut self) {
        for (whose, (rows, bytes)) in self.job.drain(..) {
            let sum = self.commit.entry(whose).or_default();
            *sum = (sum.0 + rows, sum.1 + bytes);
        }
    }

    /// The job's writes were rolled back.
    pub(super) fn undo(&mut self) {
        self.job.clear();
    }

    /// What SQLite reported during the job.
    pub(super) fn fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// Writes the figures of usage.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let changes: Vec<_> = self.commit.drain().collect();
        for ((part, tbl), (rows, bytes)) in changes {
            self.sql(|conn| {
                let mut add = conn.prepare_cached(ADD_USAGE)?;
                add.execute(params![part.key(), tbl, rows, bytes])?;
                if rows < 0 {
                    conn.prepare_cached(DROP_USAGE)?.execute(params![part.key(), tbl])?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Binds it to one partition.
    pub(super) fn of(&mut self, part: Partition) -> OfPartition<'_, 'c> {
        OfPartition { open: self, part }
    }

    /// Removes up to `limit` rows of a partition, of every table; when none are left, also
    /// its figures, whatever they say.
    pub(super) fn erase(&mut self, part: &Partition, limit: i64) -> Result<Usage, Error> {
        let rows = self.sql(|conn| listed(conn, OF_PARTITION, params![part.key(), limit]))?;
        if rows.is_empty() {
            self.sql(|conn| conn.prepare_cached(FORGET_USAGE)?.execute(params![part.key()]))?;
            self.commit.retain(|(whose, _), _| whose != part);
        }
        self.remove(rows)
    }

    /// Removes up to `limit` rows that have expired, of every partition.
    pub(super) fn sweep(&mut self, limit: i64) -> Result<Usage, Error> {
        let now = stamp(self.now);
        let rows = self.sql(|conn| listed(conn, EXPIRED, params![now, limit]))?;
        self.remove(rows)
    }

    fn remove(&mut self, rows: Vec<Listed>) -> Result<Usage, Error> {
        let mut removed = Usage::default();
        for Listed { part, tbl, key, value } in rows {
            self.sql(|conn| conn.prepare_cached(DELETE)?.execute(params![part.key(), tbl, key]))?;
            let bytes = size(&key, value);
            self.changed(part, tbl, -1, -bytes);
            removed = removed.plus(Usage { rows: 1, bytes: count(bytes) });
        }
        Ok(removed)
    }

    fn changed(&mut self, part: Partition, tbl: u16, rows: i64, bytes: i64) {
        match self.job.iter_mut().find(|(whose, _)| *whose == (part, tbl)) {
            Some((_, sum)) => *sum = (sum.0 + rows, sum.1 + bytes),
            None => self.job.push(((part, tbl), (rows, bytes))),
        }
    }

    fn sql<T>(
        &mut self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        body(self.conn).map_err(|e| {
            let error = Error::sqlite(self.file, &e);
            self.fault.get_or_insert_with(|| error.clone());
            error
        })
    }
}

/// A row without its value.
struct Listed {
    part: Partition,
    tbl: u16,
    key: Vec<u8>,
    value: i64,
}

fn listed(
    conn: &Connection,
    sql: &str,
    params: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<Listed>> {
    conn.prepare_cached(sql)?
        .query_map(params, |row| {
            Ok(Listed {
                part: Partition::read(row.get(0)?),
                tbl: row.get(1)?,
                key: row.get(2)?,
                value: row.get(3)?,
            })
        })?
        .collect()
}

/// An open transaction, bound to one partition.
pub(super) struct OfPartition<'o, 'c> {
    open: &'o mut Open<'c>,
    part: Partition,
}

impl OfPartition<'_, '_> {
    const fn here(&self, table: Table) -> Result<(), Error> {
        if table.file as usize == self.open.file as usize {
            return Ok(());
        }
        Err(Error::WrongFile { table: table.name })
    }

    /// The size and expiry of the row that is there, expired or not.
    fn found(&mut self, table: Table, key: &[u8]) -> Result<Option<(i64, Option<i64>)>, Error> {
        let part = self.part;
        self.open.sql(|conn| {
            conn.prepare_cached(SIZE)?
                .query_row(params![part.key(), table.id, key], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
    }
}

impl RawTxn for OfPartition<'_, '_> {
    fn now(&self) -> Millis {
        self.open.now
    }

    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.here(table)?;
        let (part, now) = (self.part, self.open.now);
        self.open.sql(|conn| get(conn, &part, table, key, now))
    }

    fn put(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
        expires: Option<Millis>,
    ) -> Result<(), Error> {
        self.here(table)?;
        let part = self.part;
        let before = self.found(table, key)?;
        self.open.sql(|conn| {
            let expires = expires.map(stamp);
            conn.prepare_cached(PUT)?.execute(params![part.key(), table.id, key, value, expires])
        })?;
        let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
        match before {
            Some((before, _)) => self.open.changed(part, table.id, 0, length - before),
            None => self.open.changed(part, table.id, 1, size(key, length)),
        }
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, Error> {
        self.here(table)?;
        let part = self.part;
        let Some((value, expires)) = self.found(table, key)? else { return Ok(false) };
        self.open
            .sql(|conn| conn.prepare_cached(DELETE)?.execute(params![part.key(), table.id, key]))?;
        self.open.changed(part, table.id, -1, -size(key, value));
        Ok(expires.is_none_or(|at| at > stamp(self.open.now)))
    }

    fn scan(&mut self, table: Table, range: &Range) -> Result<Vec<Row>, Error> {
        self.here(table)?;
        let (part, now) = (self.part, self.open.now);
        self.open.sql(|conn| scan(conn, &part, table, range, now))
    }

    fn usage(&mut self, table: Table) -> Result<Usage, Error> {
        self.here(table)?;
        let whose = (self.part, table.id);
        let stored = self.open.sql(|conn| usage(conn, &whose.0, table.id))?;
        let commit = self.open.commit.get(&whose).copied().unwrap_or_default();
        let job = self.open.job.iter().find(|(who, _)| *who == whose);
        let job = job.map(|(_, change)| *change).unwrap_or_default();
        Ok(Usage {
            rows: stored.rows.saturating_add_signed(commit.0 + job.0),
            bytes: stored.bytes.saturating_add_signed(commit.1 + job.1),
        })
    }
}
