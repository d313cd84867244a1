//! Rotation of root keys and of data keys, while everything goes on.

use std::sync::Arc;

use scope::{Access, Scope, SystemScope, Write};
use serde::Serialize;
use store::{Range, Txn};

use crate::{
    Error, KeyVersion, Vault,
    keystore::{Head, WRAPPED, Wrapped, data_rows, from_row},
    seal::{Unit, not_erased},
};

/// Keys that one transaction wraps anew.
const BATCH: usize = 64;

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Keys looked at.
    pub done: u64,
    /// Keys there were at the beginning.
    pub total: u64,
}

/// What a rotation of the root key did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// The id of the root key that everything is now wrapped under.
    pub current: String,
    /// Keys that were wrapped anew.
    pub rewrapped: u64,
    /// Keys that already were under the current root.
    pub already: u64,
    /// Keys that could not be, because the provider does not have their root.
    pub stranded: u64,
}

/// What one transaction did.
struct Pass {
    after: Option<Vec<u8>>,
    rewrapped: u64,
    already: u64,
    stranded: u64,
}

impl Vault {
    /// Wraps every key under the provider's current root, while sealing goes on. Where it
    /// stopped does not matter: it can be run again, and does what is left. Afterwards the
    /// older roots are not needed, which [`Vault::retire_roots`] checks.
    ///
    /// # Errors
    /// What the provider or the keystore answers.
    pub async fn rotate_root(
        &self,
        system: &SystemScope,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Rotation, Error> {
        let roots = Arc::new(self.0.provider.roots()?);
        let mut report = Rotation { current: roots.current.id().to_owned(), ..Rotation::default() };
        // A provider that lost the root of what is in memory would strand it: refuse first.
        self.check_master(system, &roots).await?;
        // From here on new keys are wrapped under the new root; what was wrapped before is
        // committed before the first pass, because the keystore has one writer.
        *self.0.roots.write() = roots;
        let total = self.0.keystore.system(system).usage(WRAPPED).await?.rows;
        let mut at = Progress { done: 0, total };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let pass = self.change(BATCH, move |this, txn| this.rewrap(txn, after)).await?;
            report.rewrapped += pass.rewrapped;
            report.already += pass.already;
            report.stranded += pass.stranded;
            at.done = report.rewrapped + report.already + report.stranded;
            progress(at);
            after = pass.after;
            if after.is_none() {
                return Ok(report);
            }
        }
    }

    /// Draws a new root key into the provider's source, in front of the others, and rotates
    /// to it.
    ///
    /// # Errors
    /// [`Error::Root`] if the source is not ours to write: then a person puts the new line in
    /// front and [`Vault::rotate_root`] does the rest.
    pub async fn renew_root(
        &self,
        system: &SystemScope,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<Rotation, Error> {
        self.0.provider.renew(self.entropy())?;
        self.rotate_root(system, progress).await
    }

    /// Drops older roots from the provider's source, once nothing needs them.
    ///
    /// # Errors
    /// [`Error::InUse`] if a key is still wrapped under one: rotate first.
    pub async fn retire_roots(&self, system: &SystemScope) -> Result<(), Error> {
        let current = self.roots().current.id().to_owned();
        let view = self.0.keystore.system(system);
        let mut after = None;
        loop {
            let range = Range { after, limit: 512, ..Range::default() };
            let rows = view.scan(WRAPPED, range).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.to_vec());
            for (_, row) in &rows {
                if from_row::<Wrapped>(row)?.root != current {
                    return Err(Error::InUse);
                }
            }
        }
        if self.0.provider.roots()?.current.id() != current {
            return Err(Error::InUse);
        }
        self.0.provider.retire()?;
        *self.0.roots.write() = Arc::new(self.0.provider.roots()?);
        Ok(())
    }

    async fn check_master(&self, system: &SystemScope, roots: &crate::Roots) -> Result<(), Error> {
        let row = self.0.keystore.system(system).get(WRAPPED, crate::keystore::MASTER).await?;
        let row = row.ok_or(Error::Malformed("a keystore without its master key"))?;
        from_row::<Wrapped>(&row)?.unwrap(roots, crate::keystore::MASTER).map(drop)
    }

    fn rewrap(&self, txn: &mut Txn<'_>, after: Option<Vec<u8>>) -> Result<Pass, Error> {
        let roots = self.roots();
        let range = Range { after, limit: BATCH, ..Range::default() };
        let rows = txn.scan(WRAPPED, &range)?;
        let mut pass = Pass { after: None, rewrapped: 0, already: 0, stranded: 0 };
        if rows.len() == BATCH {
            pass.after = rows.last().map(|(key, _)| key.to_vec());
        }
        for (row_key, row) in rows {
            let wrapped: Wrapped = from_row(&row)?;
            if wrapped.root == roots.current.id() {
                pass.already += 1;
                continue;
            }
            let Ok(key) = wrapped.unwrap(&roots, &row_key) else {
                pass.stranded += 1;
                continue;
            };
            let made = (wrapped.at, wrapped.id);
            let anew = Wrapped::wrap(&roots.current, self.entropy(), &row_key, made, &key)?;
            txn.put(WRAPPED, &row_key, &anew.into_row()?)?;
            pass.rewrapped += 1;
        }
        Ok(pass)
    }

    /// Makes a new data key for the scope's tenant and environment. From now on it seals; the
    /// older ones still open. Returns its version.
    ///
    /// # Errors
    /// What the keystore answers; [`Error::Shredded`] if the tenant was erased.
    pub async fn rotate_data_key(&self, scope: &Scope<Write>) -> Result<u32, Error> {
        let (unit, owner) = (*Unit::of(scope).id, scope.read_only());
        let make = move |this: &Self, txn: &mut Txn<'_>| {
            not_erased(&owner)?;
            this.make_key(txn, &unit)
        };
        let made = self.change(2, make).await;
        self.ring().forget(&unit);
        made.map(|(_, key)| key.version)
    }

    /// The living data keys of the scope's tenant and environment, oldest first.
    ///
    /// # Errors
    /// What the keystore answers.
    pub async fn data_key_versions<A: Access>(
        &self,
        scope: &Scope<A>,
    ) -> Result<Vec<KeyVersion>, Error> {
        let unit = *Unit::of(scope).id;
        self.change(0, move |_, txn| {
            let head = Head::read(txn, &unit)?;
            living(txn, &unit, head)
        })
        .await
    }
}

/// The living data keys of a unit, oldest first.
pub(crate) fn living(
    txn: &mut Txn<'_>,
    unit: &[u8; 32],
    head: Head,
) -> Result<Vec<KeyVersion>, Error> {
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let range = Range { prefix: data_rows(unit), after, limit: BATCH, ..Range::default() };
        let rows = txn.scan(WRAPPED, &range)?;
        let Some((last, _)) = rows.last() else { return Ok(keys) };
        after = Some(last.to_vec());
        for (row_key, row) in &rows {
            let tail = row_key.last_chunk().ok_or(Error::Malformed("a data key's row"))?;
            let version = u32::from_be_bytes(*tail);
            let Wrapped { at, id, .. } = from_row(row)?;
            keys.push(KeyVersion {
                version,
                created: at,
                fingerprint: id,
                current: head.current == Some(version),
            });
        }
    }
}
