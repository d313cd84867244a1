//! The two locks of a handle, row by row.

use std::sync::atomic::Ordering;

use ids::{Millis, ProviderId, frame::Frame, planted};
use scope::{Access, Scope, Write};
use store::{File, Txn};
use vault::Place;

use super::{Account, BY_AGE, CLAIMS, DAY, Handles, OWNED, Owned, ROW, SURFACE};
use crate::{Error, HandleKind, handle::is_id};

pub(super) type Digest = [u8; 32];

/// A row that is to be written: its key, its place in the order of age, its sealed bytes.
pub(super) struct Row {
    pub(super) digest: Digest,
    listed: Option<Vec<u8>>,
    expires: Option<Millis>,
    sealed: Vec<u8>,
}

impl Handles {
    /// The first lock: what is recorded as the scope's.
    pub(super) async fn recorded<A: Access>(
        &self,
        scope: &Scope<A>,
        provider: &ProviderId,
        kind: HandleKind,
        id: &str,
    ) -> Result<Option<Owned>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        let digest = self.digest(provider, kind, id);
        let Some(owned) = self.read(scope, &digest).await? else { return Ok(None) };
        let itself = owned.provider == *provider && owned.kind == kind && owned.id == id;
        Ok(itself.then_some(owned))
    }

    /// The second lock. An account of the tenant's own is one itself.
    pub(super) async fn agrees<A: Access>(
        &self,
        scope: &Scope<A>,
        account: Account<'_>,
        owned: &Owned,
    ) -> Result<bool, Error> {
        let trusted = owned.alone && planted::is("own-account-opens-shared");
        if !account.shared || trusted || planted::is("handle-owner-ignored") {
            return Ok(true);
        }
        let digest = self.digest(&owned.provider, owned.kind, &owned.id);
        let claims = self.inner.store.system(&self.inner.system);
        let claimed = claims.get(CLAIMS, &digest).await?;
        let agrees = claimed.is_some_and(|by| *by == *scope.partition_bytes());
        // At another account the same id may be anybody's.
        if !agrees && !owned.alone {
            self.inner.conflicts.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                tenant = scope.tenant().as_str(),
                environment = scope.environment().as_str(),
                provider = owned.provider.as_str(),
                "a handle is recorded as this tenant's and as somebody else's, and is withheld"
            );
        }
        Ok(agrees)
    }

    /// The tenant's own row, opened.
    pub(super) async fn read<A: Access>(
        &self,
        scope: &Scope<A>,
        digest: &Digest,
    ) -> Result<Option<Owned>, Error> {
        let Some(sealed) = self.inner.store.of(scope).get(OWNED, digest).await? else {
            return Ok(None);
        };
        let place = Place { surface: SURFACE, key: digest, version: 0 };
        let plain = self.inner.vault.of(scope).open(&place, &sealed).await?;
        let owned = serde_json::from_slice(&plain)
            .map_err(|_| vault::Error::Malformed("a handle's row"))?;
        Ok(Some(owned))
    }

    pub(super) async fn row(
        &self,
        scope: &Scope<Write>,
        digest: Digest,
        owned: &Owned,
    ) -> Result<Row, Error> {
        let plain =
            serde_json::to_vec(owned).map_err(|_| vault::Error::Malformed("a handle's row"))?;
        let place = Place { surface: SURFACE, key: &digest, version: 0 };
        let sealed = self.inner.vault.of(scope).seal(&place, &plain).await?;
        let kept = DAY.saturating_mul(u32::try_from(self.inner.bounds.days).unwrap_or(u32::MAX));
        let expires = match owned.seen {
            Some(seen) => Some(seen.plus(kept)),
            None => owned.more.as_ref().and_then(|more| more.expires),
        };
        Ok(Row { digest, listed: place_of(owned, &digest), expires, sealed })
    }

    /// Claims at a shared account for the scope, all or nothing: the first claim wins. Says what
    /// another has, of the kinds for which that is no reason to withhold an answer.
    pub(super) async fn first(
        &self,
        scope: &Scope<Write>,
        account: Account<'_>,
        claims: Vec<(Digest, HandleKind)>,
    ) -> Result<Vec<Digest>, Error> {
        if !account.shared {
            return Ok(Vec::new());
        }
        let bounds = &self.inner.bounds;
        let days = u32::try_from(bounds.days.saturating_add(bounds.barred_days));
        let barred = self.inner.clock.now().plus(DAY.saturating_mul(days.unwrap_or(u32::MAX)));
        let by = *scope.partition_bytes();
        let view = self.inner.store.system(&self.inner.system);
        let claimed = view
            .write(File::State, ROW * claims.len(), move |txn| -> Result<Vec<Digest>, Error> {
                let mut others = Vec::new();
                for (digest, kind) in claims {
                    let known = txn.get(CLAIMS, &digest)?;
                    if known.is_some_and(|known| *known != by) {
                        if planted::is("handle-owner-ignored") {
                            continue;
                        }
                        if !kind.may_repeat() {
                            return Err(Error::Claimed);
                        }
                        others.push(digest);
                        continue;
                    }
                    if kind.lasts() {
                        txn.put(CLAIMS, &digest, &by)?;
                    } else {
                        txn.put_until(CLAIMS, &digest, &by, barred)?;
                    }
                }
                Ok(others)
            })
            .await;
        if matches!(claimed, Err(Error::Claimed)) {
            self.inner.conflicts.fetch_add(1, Ordering::Relaxed);
            // Which one is not said: it is another's.
            tracing::error!(
                tenant = scope.tenant().as_str(),
                environment = scope.environment().as_str(),
                provider = account.provider.as_str(),
                code = "model.handle_conflict",
                "a provider named another tenant's handle as new, and its answer was withheld"
            );
        }
        claimed
    }

    pub(super) async fn write(&self, scope: &Scope<Write>, rows: Vec<Row>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let most = self.inner.bounds.most;
        let cost = rows.iter().map(|row| row.sealed.len() + ROW).sum();
        let view = self.inner.store.of(scope);
        view.write(File::State, cost, move |txn| {
            for row in rows {
                store_row(txn, &row, most)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) fn digest(&self, provider: &ProviderId, kind: HandleKind, id: &str) -> Digest {
        let framed = Frame::new("bulkhead.handle.1")
            .field(provider.as_str())
            .field([kind.byte()])
            .field(id)
            .finish();
        *blake3::keyed_hash(&self.inner.secret, &framed).as_bytes()
    }
}

fn store_row(txn: &mut Txn<'_>, row: &Row, most: u64) -> Result<(), Error> {
    if txn.get(OWNED, &row.digest)?.is_none() && txn.usage(OWNED)?.rows >= most {
        return Err(Error::HandlesFull { most });
    }
    match row.expires {
        Some(expires) => txn.put_until(OWNED, &row.digest, &row.sealed, expires)?,
        None => txn.put(OWNED, &row.digest, &row.sealed)?,
    }
    match (&row.listed, row.expires) {
        (Some(listed), Some(expires)) => txn.put_until(BY_AGE, listed, b"", expires)?,
        (Some(listed), None) => txn.put(BY_AGE, listed, b"")?,
        (None, _) => {}
    }
    Ok(())
}

/// Where it stands in the order of age, if it is listed.
pub(super) fn place_of(owned: &Owned, digest: &Digest) -> Option<Vec<u8>> {
    let listed = matches!(owned.kind, HandleKind::File | HandleKind::Batch);
    listed.then(|| [&[owned.kind.byte()][..], &owned.created.0.to_be_bytes(), digest].concat())
}
