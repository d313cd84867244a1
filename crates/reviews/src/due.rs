//! What was approved and is Bulkhead's own to do. From before its approval is durable until its outcome is
//! on record it stands in the deployment's partition, with the mandates by which it is done: a crash
//! in between leaves it to the next start.

use bytes::Bytes;
use ids::{Millis, RandomId, planted};
use scope::{Access, Mandate, Scope, SystemScope};
use serde::{Deserialize, Serialize};
use store::{File, Range};
use vault::Place;
use zeroize::Zeroizing;

use crate::{Error, OPEN, Review, Reviews, inbox::Inner};

/// In what seals the entries.
const SURFACE: &str = "review-due";
/// What begins the rows; behind it stands whose it is, and which.
const DUE: u8 = b'd';
/// Bytes of whose it is, with what begins the row.
const WHOSE: usize = 33;
/// The rest of such a key, at its greatest.
const LAST: [u8; 16] = [0xff; 16];
/// Entries that are read in one go.
const BATCH: usize = 256;
/// How often it is noted anew because somebody else began it meanwhile.
const TRIES: usize = 16;

/// Something that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// The review that allows it.
    pub id: RandomId,
    /// Under which it is done: each good for one time.
    pub mandates: Vec<Mandate>,
    /// How often it was begun.
    pub looks: u32,
    /// When it is begun next.
    pub next: Millis,
    /// Until when it is allowed.
    pub expires: Millis,
    key: Vec<u8>,
    /// As it was read: nothing is done on an older one.
    row: Bytes,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    mandates: Vec<Mandate>,
    looks: u32,
    next: Millis,
    expires: Millis,
}

impl Due {
    /// Whether it lies where this scope's things do: what a mandate says and where it lies agree.
    #[must_use]
    pub fn is_of(&self, scope: &Scope<impl Access>) -> bool {
        self.key == key(scope, &self.id)
    }
}

fn key(scope: &Scope<impl Access>, id: &RandomId) -> Vec<u8> {
    [&[DUE][..], scope.partition_bytes(), id.as_bytes()].concat()
}

fn whose(scope: &Scope<impl Access>) -> Vec<u8> {
    [&[DUE][..], scope.partition_bytes()].concat()
}

const fn place(key: &[u8]) -> Place<'_> {
    Place { surface: SURFACE, key, version: 0 }
}

impl Inner {
    /// Notes that it is Bulkhead's to do, if it is. If it was due before, under the mandates that were written
    /// down then: those beside the review may be spent.
    pub(crate) async fn note_due(
        &self,
        scope: &Scope<impl Access>,
        review: &Review,
        mut mandates: Vec<Mandate>,
    ) -> Result<(), Error> {
        if mandates.is_empty() {
            return Ok(());
        }
        let (key, expires) = (key(scope, &review.id), review.expires);
        let view = self.store.system(&self.system);
        for _ in 0..TRIES {
            let was = view.get(OPEN, &key).await?;
            if let Some(row) = was.clone().filter(|_| !planted::is("review-due-mandates-spent")) {
                mandates = self.opened_due(&key, row).await?.mandates;
            }
            let kept = Kept { mandates: mandates.clone(), looks: 0, next: Millis(0), expires };
            let row = self.sealed_due(&key, &kept).await?;
            if self.replace_due(&key, was, row.into(), expires).await? {
                return Ok(());
            }
        }
        Err(store::Error::Busy.into())
    }

    /// Puts an entry in place of what was read, if that is still there.
    async fn replace_due(
        &self,
        key: &[u8],
        was: Option<Bytes>,
        is: Bytes,
        expires: Millis,
    ) -> Result<bool, Error> {
        let key = key.to_vec();
        let view = self.store.system(&self.system);
        view.write(File::State, is.len() + 256, move |txn| {
            if txn.get(OPEN, &key)? != was {
                return Ok(false);
            }
            txn.put_until(OPEN, &key, &is, expires)?;
            Ok(true)
        })
        .await
    }

    async fn sealed_due(&self, key: &[u8], kept: &Kept) -> Result<Vec<u8>, Error> {
        let plain = serde_json::to_vec(kept)
            .map(Zeroizing::new)
            .map_err(|_| vault::Error::Malformed("what is due and JSON cannot hold"))?;
        Ok(self.vault.of_deployment(&self.system).seal(&place(key), &plain).await?)
    }

    async fn opened_due(&self, key: &[u8], row: Bytes) -> Result<Due, Error> {
        let plain = self.vault.of_deployment(&self.system).open(&place(key), &row).await?;
        let malformed = vault::Error::Malformed("nothing due of this version");
        let id = key.get(WHOSE..).and_then(|id| id.try_into().ok()).map(RandomId::from_bytes);
        let (Some(id), Ok(kept)) = (id, serde_json::from_slice(&plain)) else {
            return Err(malformed.into());
        };
        let Kept { mandates, looks, next, expires } = kept;
        Ok(Due { id, mandates, looks, next, expires, key: key.to_vec(), row })
    }

    /// Nothing of a scope's is due any more.
    pub(crate) async fn forget_due(
        &self,
        system: &SystemScope,
        scope: &Scope<impl Access>,
    ) -> Result<u64, Error> {
        let (view, mut gone) = (self.store.system(system), 0);
        loop {
            let rows = view.scan(OPEN, Range::prefix(whose(scope)).limit(BATCH)).await?;
            if rows.is_empty() {
                return Ok(gone);
            }
            for (key, _) in rows {
                gone += u64::from(view.delete(OPEN, &key).await?);
            }
        }
    }
}

impl Reviews {
    /// For whom something is due: each tenant's environment once, as [`Self::due_of`] takes it.
    ///
    /// # Errors
    /// What rows answer.
    pub async fn owing(&self, system: &SystemScope) -> Result<Vec<Vec<u8>>, Error> {
        let (view, mut all) = (self.0.store.system(system), Vec::<Vec<u8>>::new());
        loop {
            let mut range = Range::prefix([DUE]).limit(1);
            if let Some(last) = all.last() {
                // Past all that this one has: it may have more than anybody wants to read here.
                range = range.after([&last[..], &LAST].concat());
            }
            let rows = view.scan(OPEN, range).await?;
            let Some((key, _)) = rows.first() else { return Ok(all) };
            all.push(key.get(..WHOSE).unwrap_or(key).to_vec());
        }
    }

    /// What is due of one of them, and behind what it goes on; nothing of that at the end. What cannot be
    /// read is left out, and said.
    ///
    /// # Errors
    /// What rows answer.
    pub async fn due_of(
        &self,
        system: &SystemScope,
        whose: &[u8],
        after: Option<Bytes>,
    ) -> Result<(Vec<Due>, Option<Bytes>), Error> {
        let mut range = Range::prefix(whose).limit(BATCH);
        if let Some(after) = after {
            range = range.after(after);
        }
        let rows = self.0.store.system(system).scan(OPEN, range).await?;
        let last = rows.last().map(|(key, _)| key.clone());
        let mut all = Vec::new();
        for (key, row) in rows {
            match self.0.opened_due(&key, row).await {
                Ok(due) => all.push(due),
                Err(error) => {
                    tracing::error!(code = error.code(), "something that is due cannot be read");
                }
            }
        }
        Ok((all, last))
    }

    /// What is due by this review of the scope's tenant and environment, if anything is.
    ///
    /// # Errors
    /// What rows answer.
    pub async fn due(
        &self,
        system: &SystemScope,
        scope: &Scope<impl Access>,
        id: RandomId,
    ) -> Result<Option<Due>, Error> {
        let key = key(scope, &id);
        match self.0.store.system(system).get(OPEN, &key).await? {
            Some(row) => Ok(Some(self.0.opened_due(&key, row).await?)),
            None => Ok(None),
        }
    }

    /// It is begun: notes, durably, by what it is begun the next time, should this be cut off. Nothing, if
    /// somebody else began it, or it was approved anew.
    ///
    /// # Errors
    /// What rows answer.
    pub async fn begun(
        &self,
        _: &SystemScope,
        due: &Due,
        mandates: Vec<Mandate>,
        next: Millis,
    ) -> Result<Option<Due>, Error> {
        let (looks, expires) = (due.looks.saturating_add(1), due.expires);
        let kept = Kept { mandates, looks, next, expires };
        let row = Bytes::from(self.0.sealed_due(&due.key, &kept).await?);
        let was = Some(due.row.clone());
        let noted = self.0.replace_due(&due.key, was, row.clone(), expires).await?;
        let Kept { mandates, looks, next, expires } = kept;
        let (id, key) = (due.id, due.key.clone());
        Ok(noted.then_some(Due { id, mandates, looks, next, expires, key, row }))
    }

    /// Nothing is to be done of it any more, unless it was approved anew since it was read.
    ///
    /// # Errors
    /// What rows answer.
    pub async fn over(&self, system: &SystemScope, due: &Due) -> Result<(), Error> {
        let (key, was) = (due.key.clone(), due.row.clone());
        let view = self.0.store.system(system);
        view.write(File::State, 256, move |txn| {
            let same = txn.get(OPEN, &key)?.is_some_and(|now| now == was);
            if same || planted::is("review-due-dropped-unseen") {
                txn.delete(OPEN, &key)?;
            }
            Ok(())
        })
        .await
    }
}
