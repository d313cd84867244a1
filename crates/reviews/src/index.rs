//! Which reviews wait for a decision, of all tenants: for operators, without what is in them.

use ids::{Millis, RandomId};
use scope::{Access, Scope, SystemScope};
use store::Range;
use vault::Place;

use crate::{
    Error, Notice, OPEN, Reviews,
    inbox::{Inner, MAX_LIST},
    row,
};

/// In what seals the entries.
const SURFACE: &str = "review-index";
/// What begins the rows.
const ENTRY: u8 = b'i';
/// Entries that an erasure looks at in one go.
const BATCH: usize = 256;

impl Inner {
    /// Puts a review into the index. It goes from there by itself when it expires.
    pub(crate) async fn announce(&self, notice: &Notice) -> Result<(), Error> {
        let plain = serde_json::to_vec(notice)
            .map_err(|_| vault::Error::Malformed("a notice that JSON cannot hold"))?;
        let sealer = self.vault.of_deployment(&self.system);
        let sealed = sealer.seal(&place(&notice.id), &plain).await?;
        let key = row::at(ENTRY, notice.opened, &notice.id);
        Ok(self.store.system(&self.system).put_until(OPEN, &key, &sealed, notice.expires).await?)
    }

    /// Takes a review out of the index. If that fails, an entry stays that leads to a settled
    /// review, until it would have expired.
    pub(crate) async fn withdraw(&self, opened: Millis, id: &RandomId) {
        let key = row::at(ENTRY, opened, id);
        if let Err(error) = self.store.system(&self.system).delete(OPEN, &key).await {
            tracing::warn!(review = %id, code = error.code(), "a settled review stays in the index");
        }
    }

    async fn notice(&self, id: &RandomId, row: &[u8]) -> Result<Notice, Error> {
        let plain = self.vault.of_deployment(&self.system).open(&place(id), row).await?;
        let notice: Notice = serde_json::from_slice(&plain)
            .map_err(|_| vault::Error::Malformed("not a notice of this version"))?;
        Ok(notice)
    }
}

impl Reviews {
    /// Reviews of all tenants that wait for a decision, newest first, without what is in them; behind
    /// the one that was opened then and has this id; at most `limit` and 1,000.
    ///
    /// # Errors
    /// What rows answer.
    pub async fn pending(
        &self,
        system: &SystemScope,
        after: Option<(Millis, RandomId)>,
        limit: usize,
    ) -> Result<Vec<Notice>, Error> {
        let mut range = Range::prefix([ENTRY]).limit(limit.min(MAX_LIST)).reverse();
        if let Some((opened, id)) = after {
            range = range.after(row::at(ENTRY, opened, &id));
        }
        let mut notices = Vec::new();
        for (key, sealed) in self.0.store.system(system).scan(OPEN, range).await? {
            let Some((_, id)) = row::read_at(&key) else { continue };
            notices.push(self.0.notice(&id, &sealed).await?);
        }
        Ok(notices)
    }

    /// Takes everything of a tenant's environment out of the index, and off what is due: it was erased.
    ///
    /// # Errors
    /// What rows answer.
    pub async fn forget(
        &self,
        system: &SystemScope,
        scope: &Scope<impl Access>,
    ) -> Result<u64, Error> {
        let view = self.0.store.system(system);
        let (mut after, mut gone) = (None, self.0.forget_due(system, scope).await?);
        loop {
            let mut range = Range::prefix([ENTRY]).limit(BATCH);
            range.after = after;
            let rows = view.scan(OPEN, range).await?;
            for (key, sealed) in &rows {
                let Some((_, id)) = row::read_at(key) else { continue };
                let notice = self.0.notice(&id, sealed).await?;
                let theirs = notice.tenant.as_ref() == Some(scope.tenant())
                    && notice.environment.as_ref() == Some(scope.environment());
                if theirs {
                    gone += u64::from(view.delete(OPEN, key).await?);
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == BATCH => after = Some(last.to_vec()),
                _ => return Ok(gone),
            }
        }
    }
}

const fn place(id: &RandomId) -> Place<'_> {
    Place { surface: SURFACE, key: id.as_bytes(), version: 0 }
}
