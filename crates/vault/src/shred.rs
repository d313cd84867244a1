//! Destroying a unit's data keys, and the ledger of what was destroyed.

use ids::text;
use scope::{Scope, SystemScope, Write};
use store::Range;

use crate::{
    Erasure, Error, Vault,
    keystore::{Head, LEDGER, WRAPPED, data_row, from_row, to_row},
    rotate::living,
    seal::Unit,
};

impl Vault {
    /// Destroys every data key of the scope's tenant and environment and writes the erasure
    /// ledger, in one transaction. From then on what they sealed does not open, wherever it
    /// lies. The receipt names the keys.
    ///
    /// It is for good: the unit gets no key again, and what is still under way for it cannot be
    /// sealed ([`Error::Shredded`]).
    ///
    /// # Errors
    /// What the keystore answers; then nothing was destroyed.
    pub async fn shred(&self, scope: &Scope<Write>) -> Result<Erasure, Error> {
        let unit = *Unit::of(scope).id;
        let erasure = Erasure {
            tenant: scope.tenant().clone(),
            environment: scope.environment().clone(),
            partition: text::hex(scope.partition_bytes()),
            at: self.0.clock.now(),
            keys: Vec::new(),
        };
        let shredded = self
            .change(4, move |_, txn| {
                let mut erasure = erasure;
                let mut head = Head::read(txn, &unit)?;
                erasure.keys = living(txn, &unit, head)?;
                for key in &erasure.keys {
                    txn.delete(WRAPPED, &data_row(&unit, key.version))?;
                }
                head.shred();
                head.write(txn, &unit)?;
                let newest = Range { limit: 1, reverse: true, ..Range::default() };
                let number = match txn.scan(LEDGER, &newest)?.first() {
                    Some((last, _)) => number_of(last)?.saturating_add(1),
                    None => 1,
                };
                txn.put(LEDGER, &number.to_be_bytes(), &to_row(&erasure)?)?;
                Ok(erasure)
            })
            .await;
        // Even if the outcome is unknown: what is forgotten is read again.
        self.ring().forget(&unit);
        self.0.held.forget_unit(scope.partition_bytes());
        let shredded = shredded?;
        // The rows are gone and their pages overwritten; now empty the write-ahead log, which
        // held their old images. The unit has no rows of its own in the keystore, so this
        // erases nothing else. A reader that runs for long may stand in the way; the log is
        // emptied by a later checkpoint then, and what it holds is still wrapped.
        match self.0.keystore.of(scope).erase_all().await {
            Ok(_) => {}
            Err(error) => tracing::warn!(code = error.code(), "the keystore's log was not emptied"),
        }
        Ok(shredded)
    }

    /// Every erasure, oldest first. A restored backup is erased again by it.
    ///
    /// # Errors
    /// What the keystore answers.
    pub async fn erasures(&self, system: &SystemScope) -> Result<Vec<Erasure>, Error> {
        let view = self.0.keystore.system(system);
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let range = Range { after, limit: 512, ..Range::default() };
            let rows = view.scan(LEDGER, range).await?;
            let Some((last, _)) = rows.last() else { return Ok(all) };
            after = Some(last.to_vec());
            for (_, row) in &rows {
                all.push(from_row(row)?);
            }
        }
    }
}

pub(crate) fn number_of(key: &[u8]) -> Result<u64, Error> {
    let tail = key.last_chunk().ok_or(Error::Malformed("a numbered row"))?;
    Ok(u64::from_be_bytes(*tail))
}
