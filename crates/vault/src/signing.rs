//! Seeds of the deployment's signing keys: for tenant tokens, audit heads, receipts.

use std::fmt;

use ids::{Millis, RandomId};
use scope::SystemScope;
use store::{Range, Txn};
use zeroize::Zeroizing;

use crate::{
    Error, Vault,
    keystore::{WRAPPED, Wrapped, from_row, seed_row, seed_rows},
    shred::number_of,
};

/// Seeds that one purpose may have at a time.
const MOST: usize = 32;

/// The seed of an Ed25519 key.
#[derive(Clone)]
pub struct Seed {
    /// Its random id, for `kid`.
    pub id: RandomId,
    /// When it was drawn.
    pub created: Millis,
    seed: Zeroizing<[u8; 32]>,
}

impl Seed {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.seed
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed({}, {})", self.id, self.created)
    }
}

impl Vault {
    /// The seeds for a purpose, newest first: the first signs, all verify. The first call
    /// draws one.
    ///
    /// # Errors
    /// What the keystore answers.
    pub async fn signing_seeds(
        &self,
        _system: &SystemScope,
        purpose: &'static str,
    ) -> Result<Vec<Seed>, Error> {
        self.change(1, move |this, txn| {
            let mut seeds = this.seeds(txn, purpose)?;
            if seeds.is_empty() {
                seeds.push(this.draw_seed(txn, purpose, 1)?);
            }
            Ok(seeds.into_iter().map(|(_, seed)| seed).collect())
        })
        .await
    }

    /// Draws a new seed, which signs from now on. Of the older ones stay, to verify until they are
    /// retired, as many as there may be of all, `keep`; the others are destroyed, in the same
    /// transaction: nothing is half done. Returns what is left, newest first.
    ///
    /// # Errors
    /// [`Error::TooMany`]; what the keystore answers.
    pub async fn rotate_signing(
        &self,
        _system: &SystemScope,
        purpose: &'static str,
        keep: usize,
    ) -> Result<Vec<Seed>, Error> {
        self.change(1, move |this, txn| {
            let mut seeds = this.seeds(txn, purpose)?;
            let number = seeds.first().map_or(1, |(number, _)| number + 1);
            for (number, _) in seeds.drain(seeds.len().min(keep.saturating_sub(1))..) {
                txn.delete(WRAPPED, &seed_row(purpose, number))?;
            }
            if seeds.len() >= MOST {
                return Err(Error::TooMany { what: "signing keys", most: MOST as u64 });
            }
            seeds.insert(0, this.draw_seed(txn, purpose, number)?);
            Ok(seeds.into_iter().map(|(_, seed)| seed).collect())
        })
        .await
    }

    /// Destroys an older seed, once nothing that it signed has to verify. Returns the others,
    /// newest first.
    ///
    /// # Errors
    /// [`Error::InUse`] for the one that signs; [`Error::NoSuchKey`].
    pub async fn retire_signing(
        &self,
        _system: &SystemScope,
        purpose: &'static str,
        id: RandomId,
    ) -> Result<Vec<Seed>, Error> {
        self.change(1, move |this, txn| {
            let mut seeds = this.seeds(txn, purpose)?;
            match seeds.iter().position(|(_, seed)| seed.id == id) {
                None => Err(Error::NoSuchKey),
                Some(0) => Err(Error::InUse),
                Some(at) => {
                    let (number, _) = seeds.remove(at);
                    txn.delete(WRAPPED, &seed_row(purpose, number))?;
                    Ok(seeds.into_iter().map(|(_, seed)| seed).collect())
                }
            }
        })
        .await
    }

    fn seeds(&self, txn: &mut Txn<'_>, purpose: &str) -> Result<Vec<(u64, Seed)>, Error> {
        let prefix = seed_rows(purpose);
        let range = Range { prefix, limit: MOST, reverse: true, ..Range::default() };
        let rows = txn.scan(WRAPPED, &range)?;
        let roots = self.roots();
        rows.iter()
            .map(|(row_key, row)| {
                let wrapped: Wrapped = from_row(row)?;
                let seed = wrapped.unwrap(&roots, row_key)?;
                let id = RandomId::parse(&wrapped.id)
                    .map_err(|_| Error::Malformed("a signing key's id"))?;
                Ok((number_of(row_key)?, Seed { id, created: wrapped.at, seed }))
            })
            .collect()
    }

    fn draw_seed(
        &self,
        txn: &mut Txn<'_>,
        purpose: &str,
        number: u64,
    ) -> Result<(u64, Seed), Error> {
        let mut seed = Zeroizing::new([0; 32]);
        self.entropy().fill(seed.as_mut());
        let (id, created) = (RandomId::draw(self.entropy()), self.0.clock.now());
        let row_key = seed_row(purpose, number);
        let made = (created, id.to_string());
        let wrapped = Wrapped::wrap(&self.roots().current, self.entropy(), &row_key, made, &seed)?;
        txn.put(WRAPPED, &row_key, &wrapped.into_row()?)?;
        Ok((number, Seed { id, created, seed }))
    }
}
