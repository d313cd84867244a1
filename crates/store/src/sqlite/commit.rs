//! One commit: several jobs in one transaction, each in its own savepoint.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ids::Millis;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::rows::Open;
use crate::{
    Error, File, Partition, Usage,
    engine::{Job, Verdict},
    error::Cause,
};

/// What waits in the lanes.
pub(super) enum Work {
    /// A tenant's, or the deployment's, write.
    Job(Box<dyn Job>),
    /// The engine's own.
    Chore(Chore),
}

/// A bounded batch of the engine's own work.
pub(super) struct Chore {
    pub(super) what: What,
    pub(super) limit: i64,
    pub(super) removed: Usage,
    pub(super) reply: oneshot::Sender<Result<Usage, Error>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Remove rows of the lane's partition.
    Erase,
    /// Remove rows that have expired.
    Sweep,
}

impl Work {
    fn run(&mut self, part: Partition, open: &mut Open<'_>) -> Result<Verdict, Error> {
        match self {
            Self::Job(job) => {
                let run = AssertUnwindSafe(|| job.run(&mut open.of(part)));
                catch_unwind(run).map_err(|_| Error::Panicked)
            }
            Self::Chore(chore) => {
                chore.removed = match chore.what {
                    What::Erase => open.erase(&part, chore.limit)?,
                    What::Sweep => open.sweep(chore.limit)?,
                };
                Ok(Verdict::Keep)
            }
        }
    }

    pub(super) fn finish(self, outcome: Result<(), Error>) {
        match self {
            Self::Job(job) => job.finish(outcome),
            Self::Chore(chore) => {
                // Whoever asked may have stopped waiting.
                let _ = chore.reply.send(outcome.map(|()| chore.removed));
            }
        }
    }
}

/// Runs the jobs in one transaction and tells each how it ended, once that is durable.
/// `ended` is told before they are.
pub(super) fn commit(
    conn: &Connection,
    file: File,
    now: Millis,
    jobs: Vec<(Partition, Work)>,
    ended: impl FnOnce(&Result<(), Error>),
) {
    let mut jobs: Vec<_> = jobs.into_iter().map(|(part, work)| (part, work, Ok(()))).collect();
    let outcome = transact(conn, file, now, &mut jobs);
    if outcome.is_err() && !conn.is_autocommit() {
        // If this fails too, SQLite has rolled back already or will when it closes.
        let _ = conn.execute_batch("ROLLBACK");
    }
    ended(&outcome);
    for (_, work, own) in jobs {
        work.finish(outcome.clone().and(own));
    }
}

type Entry = (Partition, Work, Result<(), Error>);

fn transact(conn: &Connection, file: File, now: Millis, jobs: &mut [Entry]) -> Result<(), Error> {
    let sql = |text: &str| -> Result<(), Error> {
        let run = conn.prepare_cached(text).and_then(|mut statement| statement.execute([]));
        run.map(drop).map_err(|e| Error::sqlite(file, &e))
    };
    sql("BEGIN IMMEDIATE")?;
    let mut open = Open::new(conn, file, now);
    for (part, work, own) in jobs {
        sql("SAVEPOINT job")?;
        let verdict = work.run(*part, &mut open);
        let fault = open.fault();
        if conn.is_autocommit() {
            // SQLite gave up the whole transaction (https://sqlite.org/lang_transaction.html,
            // "Response To Errors Within A Transaction"), so nothing of it stays.
            return Err(fault.unwrap_or_else(lost));
        }
        let verdict = match fault {
            // A job that swallows what SQLite reported does not get to keep half of its work.
            Some(fault) => Err(fault),
            None => verdict,
        };
        if matches!(verdict, Ok(Verdict::Keep)) {
            sql("RELEASE job")?;
            open.keep();
        } else {
            if !ids::planted::is("store-failed-write-kept") {
                sql("ROLLBACK TO job")?;
            }
            sql("RELEASE job")?;
            open.undo();
            *own = verdict.map(drop);
        }
    }
    open.settle()?;
    sql("COMMIT")
}

fn lost() -> Error {
    Error::Io { doing: "commit", cause: Cause::from("the transaction was rolled back") }
}
