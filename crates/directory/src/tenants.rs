//! One tenant at a time: status, epoch, revocation, erasure, listing.

use std::time::Duration;

use ids::{Millis, RandomId, TenantId};
use scope::{Revoked, Status, TenantRecord};
use store::Range;

use crate::{
    Error, Page, Registry,
    rows::{self, Desk, TenantRow},
};

/// The most aliases of a tenant.
pub const MAX_ALIASES: usize = 64;
/// The most environments of a tenant.
pub const MAX_ENVIRONMENTS: usize = 32;
/// The most outside accounts of a tenant, over all systems.
pub const MAX_ACCOUNTS: usize = 10_000;
/// The most single revocations that a tenant can have at once.
pub const MAX_REVOKED: usize = store::MAX_SCAN;
/// For how long a revocation is kept at least: what descends from a credential may lie in a
/// queue as a mandate for up to 90 days, and dies with the lineage that it names.
pub const REVOCATION_MEMORY: Duration = Duration::from_secs(91 * 24 * 3_600);

/// Credentials deleted per transaction when a tenant is erased, so that no other write waits
/// for long.
const PER_STEP: usize = 500;

impl Registry {
    /// A page of tenants in the order of their ids, erased ones among them; without their
    /// single revocations.
    ///
    /// # Errors
    /// The store is out of reach, or a row is damaged.
    pub async fn tenants(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<TenantRecord>, Error> {
        let limit = limit.clamp(1, Page::<()>::MAX);
        let mut range = Range::all().limit(limit);
        range.after = after.map(Into::into);
        let found = self.scan(rows::TENANT, range).await?;
        let records = found
            .iter()
            .map(|(_, bytes)| Ok(rows::decode::<TenantRow>(bytes)?.record))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Page::of(records, limit, |record| record.id.to_string()))
    }

    /// How many tenants there are, erased ones among them.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn count(&self) -> Result<u64, Error> {
        Ok(self.usage(rows::TENANT).await?.rows)
    }

    /// Stops serving a tenant. Nothing is deleted.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub async fn suspend(&self, tenant: &TenantId) -> Result<TenantRecord, Error> {
        self.set_status(tenant, Status::Suspended).await
    }

    /// Serves a tenant again.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub async fn resume(&self, tenant: &TenantId) -> Result<TenantRecord, Error> {
        self.set_status(tenant, Status::Active).await
    }

    async fn set_status(&self, tenant: &TenantId, status: Status) -> Result<TenantRecord, Error> {
        self.edit(tenant, move |record, _| {
            let changed = record.status != status;
            record.status = status;
            Ok(changed)
        })
        .await
    }

    /// Voids every credential of a tenant: tokens, run grants, API keys, mandates.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub async fn revoke_all(&self, tenant: &TenantId) -> Result<TenantRecord, Error> {
        self.edit(tenant, |record, now| {
            bump(record, now);
            Ok(true)
        })
        .await
    }

    /// Revokes one credential by its id, and everything that descends from it. Remembered
    /// until `until`, and for [`REVOCATION_MEMORY`] at least.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Full`] at [`MAX_REVOKED`].
    pub async fn revoke(
        &self,
        tenant: &TenantId,
        id: RandomId,
        until: Millis,
    ) -> Result<(), Error> {
        let tenant = tenant.clone();
        self.change(512, move |desk| revoke_within(desk, &tenant, id, until)).await
    }

    /// Marks a tenant as erased: it is not served, its aliases are free, its id is not given
    /// out again; then deletes its credentials. Its data is for the vault and the store. May
    /// be called again, and goes on where it was cut off.
    ///
    /// # Errors
    /// [`Error::Missing`] if there was never a tenant of this id.
    pub async fn erase_tenant(&self, tenant: &TenantId) -> Result<TenantRecord, Error> {
        let id = tenant.clone();
        self.change(512, move |desk| mark_erased(desk, &id)).await?;
        loop {
            let id = tenant.clone();
            let dropped = self
                .change(PER_STEP * 128, move |desk| {
                    Ok(desk.drop_keys(&id, PER_STEP)?
                        + desk.drop_grants(&id, PER_STEP)?
                        + desk.drop_revoked(&id, PER_STEP)?)
                })
                .await?;
            if dropped == 0 {
                return self.record(tenant).await;
            }
        }
    }

    /// The record of a tenant by its id.
    pub(crate) async fn record(&self, tenant: &TenantId) -> Result<TenantRecord, Error> {
        let row = self.row(tenant.as_str()).await?;
        Ok(row.ok_or_else(|| Error::missing("tenant", tenant))?.record.clone())
    }

    /// Voids every credential of every tenant, in one transaction: after a restore, when
    /// revocations since the backup are lost. How many tenants.
    ///
    /// # Errors
    /// The store; then no epoch has changed.
    pub async fn bump_all_epochs(&self) -> Result<usize, Error> {
        let cost = usize::try_from(self.usage(rows::TENANT).await?.bytes).unwrap_or(usize::MAX);
        self.change(cost, |desk| {
            let (mut after, mut count) = (None, 0);
            loop {
                let page = desk.tenants(after.as_ref(), Page::<()>::MAX)?;
                let Some(last) = page.last() else { return Ok(count) };
                after = Some(last.record.id.clone());
                for mut row in page {
                    let now = desk.now();
                    bump(&mut row.record, now);
                    desk.put_tenant(&mut row)?;
                    count += 1;
                }
            }
        })
        .await
    }

    /// Changes the record of a tenant that is not erased. `body` says whether it changed
    /// anything.
    async fn edit<F>(&self, tenant: &TenantId, body: F) -> Result<TenantRecord, Error>
    where
        F: FnOnce(&mut TenantRecord, Millis) -> Result<bool, Error> + Send + 'static,
    {
        let id = tenant.clone();
        self.change(512, move |desk| {
            let mut row = desk.tenant(&id)?;
            if body(&mut row.record, desk.now())? {
                desk.put_tenant(&mut row)?;
            }
            Ok(())
        })
        .await?;
        self.record(tenant).await
    }
}

/// Whatever the clock says, an epoch is greater than the one before.
pub(crate) fn bump(record: &mut TenantRecord, now: Millis) {
    record.epoch = (record.epoch + 1).max(now.secs());
}

fn mark_erased(desk: &mut Desk<'_, '_>, id: &TenantId) -> Result<(), Error> {
    let row = desk.find_tenant(id.as_str())?;
    let mut row = row.ok_or_else(|| Error::missing("tenant", id))?;
    if row.record.status == Status::Erased {
        return Ok(());
    }
    for alias in std::mem::take(&mut row.record.aliases) {
        desk.drop_alias(alias.as_str())?;
    }
    row.record.status = Status::Erased;
    row.record.accounts.clear();
    row.revocations = 0;
    row.born.clear();
    bump(&mut row.record, desk.now());
    desk.put_tenant(&mut row)
}

/// Revokes a credential within a transaction, which may do more.
pub(crate) fn revoke_within(
    desk: &mut Desk<'_, '_>,
    tenant: &TenantId,
    id: RandomId,
    until: Millis,
) -> Result<(), Error> {
    let mut row = desk.tenant(tenant)?;
    let until = until.max(desk.now().plus(REVOCATION_MEMORY));
    match desk.revoked(tenant, &id)? {
        Some(known) if known >= until => return Ok(()),
        Some(_) => {}
        None => {
            if row.revocations >= MAX_REVOKED {
                row.revocations = desk.count_revoked(tenant)?;
            }
            if row.revocations >= MAX_REVOKED {
                let hint = "; revoke all of the tenant's credentials instead";
                let what = "single revocations of a tenant";
                return Err(Error::Full { what, most: MAX_REVOKED, hint });
            }
            row.revocations += 1;
        }
    }
    desk.put_revoked(tenant, &Revoked { id, until })?;
    desk.put_tenant(&mut row)
}
