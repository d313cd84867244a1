//! The write path: mode, approval, intent, idempotency, execution, reconciliation, receipt.
//!
//! A write is an intent from before it is sent until it is known how it went:
//!
//! ```text
//!             ┌ suggested     recorded, never sent
//! (nothing) ──┼ pending       waits for a person
//!             └ sent ──┬──── confirmed     by its answer or by a read; it has a receipt
//!                      ├──── failed        known not to be done: it may be sent again
//!                      └──── unknown ───── confirmed, failed: by a read, or by a person
//! ```
//!
//! `sent` is durable, and stands in [`OPEN`] with a mandate, before anything goes out. What was
//! sent is not sent again unless it is known that it was not done; whoever hangs up, and whatever
//! dies, changes nothing of that. An intent of `sent` that nobody in this process works on was cut
//! off by a crash: it is looked up like one that is unknown. That takes one process over one
//! store, which the store sees to.

pub(crate) mod approval;
mod carry;
pub(crate) mod execute;
pub(crate) mod intent;
pub(crate) mod ledger;
pub(crate) mod modes;
pub(crate) mod receipt;
pub(crate) mod reconcile;
pub(crate) mod resume;

use std::{collections::HashSet, sync::Arc};

use ids::{RandomId, planted};
use parking_lot::Mutex;
use scope::{Scope, Write};
use store::{File, Table};

use crate::{
    Answer, Error, Mode, Progress,
    hop::{Inner, Prepared},
};

use intent::{Intent, Key, State};
pub use receipt::Receipt;
pub use resume::Resumed;

/// Intents of writes, by what tells them apart.
pub(crate) const INTENTS: Table = Table { file: File::State, id: 901, name: "tools.intents" };
/// Intents by their ids.
pub(crate) const BY_ID: Table = Table { file: File::State, id: 902, name: "tools.intents_by_id" };
/// Intents that are under way, in the deployment's partition, each with its mandate.
pub(crate) const OPEN: Table = Table { file: File::State, id: 903, name: "tools.open" };
/// Hashes of definitions, in the deployment's partition: those that hold for all, and behind the
/// bytes of a partition those that it saw first.
pub(crate) const PINS: Table = Table { file: File::Core, id: 904, name: "tools.pins" };
/// How far writes of a tenant's environment may go at most.
pub(crate) const MODES: Table = Table { file: File::Core, id: 905, name: "tools.modes" };
/// Receipts in the order in which writes were confirmed.
pub(crate) const RECEIPTS: Table = Table { file: File::State, id: 906, name: "tools.receipts" };

/// Every table of this crate.
pub const TABLES: [Table; 6] = [INTENTS, BY_ID, OPEN, PINS, MODES, RECEIPTS];

/// What may be done with a mandate that stands in [`OPEN`].
pub(crate) const RECONCILE: &str = "tools.reconcile";
/// What may be done with a mandate that stands with an approval.
pub(crate) const APPROVED: &str = "tools.approved";

/// How often one call looks at its intent anew because it changed under its hands.
const TURNS: usize = 4;

/// Intents that something in this process works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<Mutex<HashSet<Key>>>);

/// The turn of one; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    of: UnderWay,
    key: Key,
}

impl UnderWay {
    /// Takes the turn, unless somebody has it.
    pub(crate) fn enter(&self, key: Key) -> Option<Turn> {
        self.0.lock().insert(key).then(|| Turn { of: self.clone(), key })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.0.lock().remove(&self.key);
    }
}

/// A write that passed the gate.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) prepared: Prepared,
    pub(crate) key: Key,
    /// The id of its intent, if none is on record: an approval is used for it before it is.
    pub(crate) fresh: RandomId,
    /// The policies that let it through.
    pub(crate) policy: [u8; 32],
    pub(crate) progress: Progress,
}

impl Job {
    /// The id of its intent: that of what is on record, or a fresh one.
    pub(crate) fn intent_id(&self, known: Option<&Intent>) -> RandomId {
        known.map_or(self.fresh, |known| known.id)
    }
}

impl Inner {
    /// One write, from its intent to its receipt. Runs in a task of its own, so that nobody's
    /// hanging up leaves it half done.
    pub(crate) async fn write(&self, scope: &Scope<Write>, job: &Job) -> Result<Answer, Error> {
        let Some(_turn) = self.under_way.enter(job.key) else { return Err(Error::InFlight) };
        for _ in 0..TURNS {
            let row = self.row(scope, job.key).await?;
            let Some(intent) = &row.intent else { return self.begin(scope, job, row).await };
            match &intent.state {
                State::Confirmed { receipt, answer } => {
                    return Ok(Answer {
                        content: answer.content()?,
                        receipt: Some(self.handed_out(receipt.clone())?),
                        duplicate: true,
                        observed: job.prepared.call.observed.clone(),
                    });
                }
                State::Sent { .. } | State::Unknown { .. }
                    if !planted::is("tools-unknown-resent") =>
                {
                    let id = intent.id;
                    if !self.settle(scope, row, None).await?.is_settled() {
                        return Err(Error::OutcomeUnknown { intent: id });
                    }
                }
                _ => return self.begin(scope, job, row).await,
            }
        }
        Err(Error::InFlight)
    }

    /// A write of which nothing was sent, or which is known not to be done.
    async fn begin(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: ledger::Row,
    ) -> Result<Answer, Error> {
        match self.mode_of(scope, &job.prepared).await? {
            Mode::Suggest => Err(self.suggest(scope, job, row).await),
            Mode::Approve => {
                let (review, row) = self.approval(scope, job, row).await?;
                self.execute(scope, job, row, Some(review)).await
            }
            Mode::Execute => {
                let review = match job.prepared.ask.review {
                    Some(review) => Some(self.named(scope, job, &row, review).await?),
                    None => None,
                };
                self.execute(scope, job, row, review).await
            }
        }
    }
}

#[cfg(test)]
mod tests;
