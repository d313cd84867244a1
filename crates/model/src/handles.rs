//! Who owns which handle, behind two locks.
//!
//! The first is a row in the tenant's own partition, sealed. The second, where tenants share an
//! account, is a row in the deployment's partition: a keyed digest of provider, kind and id, and
//! whose partition claimed it first. A handle is owned if both say so. The second row stays when
//! a handle is deleted and when its owner is erased, so that nobody else can ever claim the same
//! id. At an account of a tenant's own the account itself is the second lock: the ids of two
//! accounts may well be equal, and what was claimed at the one opens nothing at a shared one.
//!
//! The second row is written first. A crash in between leaves a handle that nobody can use,
//! never one that two can.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ids::{BoxFuture, Clock, Millis, ProviderId, planted};
use scope::{Access, Scope, SystemScope, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{File, Range, Store, Table};
use vault::Vault;
use zeroize::Zeroizing;

use crate::{Cited, Error, HandleKind, Made, handle::is_id};

mod locks;

use locks::place_of;

/// Handles, sealed, in the partition of their owner: digest → [`Owned`].
const OWNED: Table = Table { file: File::State, id: 601, name: "model.handles" };
/// Files and batches in the order in which they were recorded, in the partition of their
/// owner: kind ‖ when (8 bytes, big-endian Unix milliseconds) ‖ digest → nothing.
const BY_AGE: Table = Table { file: File::State, id: 602, name: "model.handles_by_age" };
/// Whose handle it is, in the deployment's partition: digest → partition.
const CLAIMS: Table = Table { file: File::State, id: 603, name: "model.handle_claims" };

/// The tables of this crate, for the registry of all tables.
pub const TABLES: &[Table] = &[OWNED, BY_AGE, CLAIMS];

const SURFACE: &str = "handle";
/// The largest object of a provider's that is kept with a handle, in bytes.
pub(crate) const MAX_OBJECT: usize = 16 * 1024;
/// The most handles that are taken from one answer.
const MAX_MADE: usize = 1_024;
/// What a handle takes in the store besides its object, in bytes.
const ROW: usize = 512;
/// Rows that are looked at in one go, for a list.
const PAGE: usize = 256;
/// A list is cut behind so many bytes of objects; the next page goes on.
const MAX_LIST: usize = 4 << 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long handles are remembered, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HandleBounds {
    /// The most that one tenant may own in one environment.
    pub most: u64,
    /// How long responses, their items, containers and sounds are remembered, in days, from
    /// when they were last seen. Files, batches and conversations are until they are deleted.
    pub days: u64,
    /// For how many more days nobody else can claim one of them.
    pub barred_days: u64,
}

impl Default for HandleBounds {
    /// 1,000,000 handles; 30 days, and barred for a year.
    fn default() -> Self {
        Self { most: 1_000_000, days: 30, barred_days: 365 }
    }
}

/// Whose account at a provider a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// At which provider.
    pub provider: &'a ProviderId,
    /// Whether others' calls go there, too.
    pub shared: bool,
}

/// What a tenant owns, as it is sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owned {
    pub(crate) provider: ProviderId,
    pub(crate) kind: HandleKind,
    pub(crate) id: String,
    /// When it was recorded here.
    pub(crate) created: Millis,
    /// When it was last seen, if it is forgotten by and by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<Millis>,
    /// It was claimed at an account of the tenant's own, where the first claim of all does not
    /// matter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    alone: bool,
    /// A file's or a batch's more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) more: Option<More>,
}

impl Owned {
    fn new(account: Account<'_>, made: &Made, created: Millis, seen: Option<Millis>) -> Self {
        Self {
            provider: account.provider.clone(),
            kind: made.kind,
            id: made.id.clone(),
            created,
            seen,
            alone: !account.shared,
            more: None,
        }
    }
}

/// What is remembered of a file or a batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct More {
    /// What a file was uploaded for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<String>,
    /// The endpoint of every line, of a file whose lines were judged one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<String>,
    /// The models that these lines name, by the names that the caller used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) models: Vec<String>,
    /// From when on it is not there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Millis>,
    /// The provider's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<Box<RawValue>>,
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Behind the one of this id.
    pub(crate) after: Option<String>,
    /// At most so many.
    pub(crate) limit: usize,
    /// The oldest first.
    pub(crate) ascending: bool,
    /// Those alone that were uploaded for this.
    pub(crate) purpose: Option<String>,
}

/// The record of who owns what. Cheap to clone.
#[derive(Clone)]
pub struct Handles {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    vault: Vault,
    secret: Zeroizing<[u8; 32]>,
    system: SystemScope,
    clock: Arc<dyn Clock>,
    bounds: HandleBounds,
    conflicts: AtomicU64,
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handles(…)")
    }
}

impl Handles {
    /// The record in this store. `secret` is the vault's subkey for it: it outlives the
    /// process and is no other's.
    #[must_use]
    pub fn open(
        store: &Store,
        vault: &Vault,
        secret: Zeroizing<[u8; 32]>,
        system: SystemScope,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::bounded(store, vault, secret, system, clock, HandleBounds::default())
    }

    /// The same with other bounds.
    #[must_use]
    pub fn bounded(
        store: &Store,
        vault: &Vault,
        secret: Zeroizing<[u8; 32]>,
        system: SystemScope,
        clock: Arc<dyn Clock>,
        bounds: HandleBounds,
    ) -> Self {
        let (store, vault) = (store.clone(), vault.clone());
        let conflicts = AtomicU64::new(0);
        let inner = Inner { store, vault, secret, system, clock, bounds, conflicts };
        Self { inner: Arc::new(inner) }
    }

    /// How often a provider named another tenant's handle as new, or the two rows of a handle
    /// did not agree. More than none is a security event.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.inner.conflicts.load(Ordering::Relaxed)
    }

    /// Whether the scope's tenant and environment own what a request names.
    ///
    /// # Errors
    /// If the rows cannot be read. Then nothing is known to be owned.
    pub async fn owns<A: Access>(
        &self,
        scope: &Scope<A>,
        account: Account<'_>,
        cited: &Cited,
    ) -> Result<bool, Error> {
        if planted::is("handle-check-skipped") {
            return Ok(true);
        }
        let recorded = self.recorded(scope, account.provider, cited.kind, &cited.id).await?;
        match recorded {
            Some(recorded) => self.confirmed(scope, account, &recorded).await,
            None => Ok(false),
        }
    }

    /// Refuses the first of these that the scope's tenant and environment do not own.
    pub(crate) async fn all_owned<A: Access>(
        &self,
        scope: &Scope<A>,
        account: Account<'_>,
        cited: &[Cited],
    ) -> Result<(), Error> {
        for one in cited {
            if !self.owns(scope, account, one).await? {
                return Err(Error::Missing(one.place));
            }
        }
        Ok(())
    }

    /// Records what an answer made as the scope's, durably. What is the scope's already stays
    /// as it is, and is remembered for longer. An item or a sound that is somebody else's at a
    /// shared account is not recorded, and can be named by the other alone: servers that keep
    /// none give the same ids to everybody.
    ///
    /// # Errors
    /// [`Error::Claimed`] if anything else of it is somebody else's: then nothing is recorded,
    /// and the answer has to be withheld. [`Error::HandlesFull`].
    pub async fn claim(
        &self,
        scope: &Scope<Write>,
        account: Account<'_>,
        made: &[Made],
    ) -> Result<(), Error> {
        if made.is_empty() {
            return Ok(());
        }
        if made.len() > MAX_MADE || made.iter().any(|made| !is_id(&made.id)) {
            return Err(Error::Claimed);
        }
        let now = self.inner.clock.now();
        let mut claims = Vec::with_capacity(made.len());
        let mut rows = Vec::with_capacity(made.len());
        let mut new = false;
        for made in made {
            let digest = self.digest(account.provider, made.kind, &made.id);
            claims.push((digest, made.kind));
            let seen = (!made.kind.lasts()).then_some(now);
            let owned = match self.read(scope, &digest).await? {
                // A day more or less does not matter, and spares a write.
                Some(known)
                    if known.seen.is_none_or(|seen| now.since(seen) < DAY)
                        && !(known.alone && account.shared) =>
                {
                    continue;
                }
                Some(known) => Owned { seen, alone: known.alone && !account.shared, ..known },
                None => {
                    new = true;
                    Owned::new(account, made, now, seen)
                }
            };
            rows.push(self.row(scope, digest, &owned).await?);
        }
        if new {
            self.room(scope).await?;
        }
        let others = self.first(scope, account, claims).await?;
        rows.retain(|row| !others.contains(&row.digest));
        self.write(scope, rows).await
    }

    /// Records a file or a batch with what is remembered of it, in the place of what was
    /// remembered before.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub(crate) async fn claim_with(
        &self,
        scope: &Scope<Write>,
        account: Account<'_>,
        made: &Made,
        more: More,
    ) -> Result<(), Error> {
        if !is_id(&made.id) {
            return Err(Error::Claimed);
        }
        let digest = self.digest(account.provider, made.kind, &made.id);
        let known = self.read(scope, &digest).await?;
        if known.is_none() {
            self.room(scope).await?;
        }
        let created = known.map_or_else(|| self.inner.clock.now(), |known| known.created);
        let owned = Owned { more: Some(more), ..Owned::new(account, made, created, None) };
        let row = self.row(scope, digest, &owned).await?;
        self.first(scope, account, vec![(digest, made.kind)]).await?;
        self.write(scope, vec![row]).await
    }

    /// Refuses a scope that owns as much as it may, before a provider makes more for it.
    ///
    /// # Errors
    /// [`Error::HandlesFull`].
    pub(crate) async fn room<A: Access>(&self, scope: &Scope<A>) -> Result<(), Error> {
        let most = self.inner.bounds.most;
        if self.inner.store.of(scope).usage(OWNED).await?.rows >= most {
            return Err(Error::HandlesFull { most });
        }
        Ok(())
    }

    /// What is recorded as the scope's of a handle at this provider: the first lock alone.
    pub(crate) async fn find<A: Access>(
        &self,
        scope: &Scope<A>,
        provider: &ProviderId,
        kind: HandleKind,
        id: &str,
    ) -> Result<Option<Owned>, Error> {
        if let Some(owned) = self.recorded(scope, provider, kind, id).await? {
            return Ok(Some(owned));
        }
        if planted::is("handle-check-skipped") {
            let (made, now) = (Made { kind, id: id.to_owned() }, self.inner.clock.now());
            return Ok(Some(Owned::new(Account { provider, shared: false }, &made, now, None)));
        }
        Ok(None)
    }

    /// Whether the second lock is open, too, at the account that a call goes to.
    pub(crate) async fn confirmed<A: Access>(
        &self,
        scope: &Scope<A>,
        account: Account<'_>,
        owned: &Owned,
    ) -> Result<bool, Error> {
        let both = self.agrees(scope, account, owned).await?;
        Ok(both || planted::is("handle-check-skipped"))
    }

    /// Forgets a handle that was deleted at the provider; whether it was the scope's. Nobody
    /// else can claim it later.
    ///
    /// # Errors
    /// If the rows cannot be read or written.
    pub async fn release(
        &self,
        scope: &Scope<Write>,
        provider: &ProviderId,
        kind: HandleKind,
        id: &str,
    ) -> Result<bool, Error> {
        let digest = self.digest(provider, kind, id);
        let Some(known) = self.read(scope, &digest).await? else { return Ok(false) };
        let listed = place_of(&known, &digest);
        let view = self.inner.store.of(scope);
        view.write(File::State, ROW, move |txn| -> Result<bool, Error> {
            if let Some(listed) = listed {
                txn.delete(BY_AGE, &listed)?;
            }
            Ok(txn.delete(OWNED, &digest)?)
        })
        .await
    }

    /// Files or batches of the scope, the newest first unless the page says otherwise, and
    /// whether there are more. Without the page's `after` there is nothing to go on from.
    pub(crate) async fn list<A: Access>(
        &self,
        scope: &Scope<A>,
        providers: &[&ProviderId],
        kind: HandleKind,
        page: &Page,
    ) -> Result<(Vec<Owned>, bool), Error> {
        let mut range = Range::prefix(vec![kind.byte()]).limit(PAGE);
        if !page.ascending {
            range = range.reverse();
        }
        if let Some(after) = &page.after {
            let mut found = None;
            for provider in providers {
                if found.is_none() {
                    found = self.find(scope, provider, kind, after).await?;
                }
            }
            let owned = found.ok_or(Error::Missing("after"))?;
            let digest = self.digest(&owned.provider, kind, after);
            range = range.after(place_of(&owned, &digest).unwrap_or_default());
        }
        let (mut list, mut bytes) = (Vec::new(), 0);
        loop {
            let rows = self.inner.store.of(scope).scan(BY_AGE, range.clone()).await?;
            let Some((last, _)) = rows.last() else { return Ok((list, false)) };
            range = range.after(last.to_vec());
            for (key, _) in &rows {
                let digest = key.last_chunk().ok_or(Error::Claimed)?;
                // Deleted or expired meanwhile.
                let Some(owned) = self.read(scope, digest).await? else { continue };
                let more = owned.more.as_ref();
                let purpose = more.and_then(|more| more.purpose.as_deref());
                if page.purpose.as_deref().is_some_and(|wanted| purpose != Some(wanted)) {
                    continue;
                }
                if list.len() == page.limit || bytes > MAX_LIST {
                    return Ok((list, true));
                }
                let object = more.and_then(|more| more.object.as_ref());
                bytes += owned.id.len() + object.map_or(0, |object| object.get().len());
                list.push(owned);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Records what the answers of one provider make, wherever they are read.
#[derive(Clone, Debug)]
pub(crate) struct Claimer {
    /// Where.
    pub(crate) handles: Handles,
    /// Whose answers they are.
    pub(crate) provider: ProviderId,
    /// Whether others use the account, too.
    pub(crate) shared: bool,
}

impl Claimer {
    /// As [`Handles::claim`], on its own.
    pub(crate) fn claim(
        &self,
        scope: Scope<Write>,
        made: Vec<Made>,
    ) -> BoxFuture<'static, Result<(), Error>> {
        let Self { handles, provider, shared } = self.clone();
        Box::pin(async move {
            let account = Account { provider: &provider, shared };
            handles.claim(&scope, account, &made).await
        })
    }
}
