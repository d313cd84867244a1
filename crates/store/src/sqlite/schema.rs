//! The tables of a file, and how an older file becomes a current one.

use rusqlite::{Connection, TransactionBehavior};

use crate::{Error, File, error::Cause};

/// Marks a file as ours (`PRAGMA application_id`): "BLKH".
const APPLICATION: i32 = 0x424c_4b48;

/// One step up: from version `n` to `n + 1` for the step at index `n`. A step that has been
/// in a release is never changed again.
pub(super) const MIGRATIONS: &[&str] = &[
    // 1. Rows, and what each partition holds.
    //    WITHOUT ROWID: the row is found by the one look-up of its key.
    "CREATE TABLE rows (
        part BLOB NOT NULL,
        tbl INTEGER NOT NULL,
        key BLOB NOT NULL,
        val BLOB NOT NULL,
        expires INTEGER,
        PRIMARY KEY (part, tbl, key)
     ) WITHOUT ROWID;
     CREATE TABLE usage (
        part BLOB NOT NULL,
        tbl INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (part, tbl)
     ) WITHOUT ROWID;",
    // 2. The sweep finds what has expired without reading everything.
    "CREATE INDEX rows_expires ON rows (expires) WHERE expires IS NOT NULL;",
];

/// The newest schema that this program knows.
pub(crate) const fn newest() -> u32 {
    MIGRATIONS.len() as u32
}

/// The version of a file, or why it is not one of ours.
pub(super) fn version(conn: &Connection, file: File) -> Result<u32, Error> {
    let fail = |e: rusqlite::Error| Error::sqlite(file, &e);
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(fail);
    let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if tables > 0 && application != i64::from(APPLICATION) {
        return Err(Error::Corrupt { file, cause: Cause::from("not a file of this program") });
    }
    u32::try_from(version)
        .map_err(|_| Error::Corrupt { file, cause: Cause::from("a negative schema version") })
}

/// Brings a file up to date, each step in its own transaction, so that a crash leaves it at
/// one version or the next. What it was before.
pub(super) fn migrate(
    conn: &mut Connection,
    file: File,
    migrations: &[&str],
) -> Result<u32, Error> {
    let fail = |e: rusqlite::Error| Error::sqlite(file, &e);
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let found = version(conn, file)?;
    if found > known {
        return Err(Error::Newer { file, found, known });
    }
    for (step, sql) in (1u32..).zip(migrations).skip(found as usize) {
        let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        txn.execute_batch(sql).map_err(fail)?;
        txn.pragma_update(None, "application_id", APPLICATION).map_err(fail)?;
        txn.pragma_update(None, "user_version", step).map_err(fail)?;
        txn.commit().map_err(fail)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    fn schema(conn: &Connection) -> Vec<String> {
        conn.prepare("SELECT sql FROM sqlite_schema ORDER BY name")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    #[test]
    fn every_older_version_ends_as_the_newest() {
        let mut fresh = memory();
        assert_eq!(migrate(&mut fresh, File::Core, MIGRATIONS).unwrap(), 0);
        for from in 0..MIGRATIONS.len() {
            let mut old = memory();
            migrate(&mut old, File::Core, &MIGRATIONS[..from]).unwrap();
            assert_eq!(migrate(&mut old, File::Core, MIGRATIONS).unwrap() as usize, from);
            assert_eq!(version(&old, File::Core).unwrap(), newest());
            assert_eq!(schema(&old), schema(&fresh));
        }
    }

    #[test]
    fn a_failing_step_leaves_the_version_before() {
        let mut conn = memory();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"];
        assert!(migrate(&mut conn, File::Core, &steps).is_err());
        assert_eq!(version(&conn, File::Core).unwrap(), 1);
        assert_eq!(schema(&conn), ["CREATE TABLE a (x)"]);
    }

    #[test]
    fn newer_and_foreign_files_are_refused() {
        let mut conn = memory();
        migrate(&mut conn, File::Queue, MIGRATIONS).unwrap();
        conn.pragma_update(None, "user_version", newest() + 1).unwrap();
        match migrate(&mut conn, File::Queue, MIGRATIONS) {
            Err(Error::Newer { file: File::Queue, found, known }) => {
                assert_eq!((found, known), (newest() + 1, newest()));
            }
            other => panic!("{other:?}"),
        }
        let mut conn = memory();
        conn.execute_batch("CREATE TABLE somebody_elses (x)").unwrap();
        let refused = migrate(&mut conn, File::Core, MIGRATIONS);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }
}
