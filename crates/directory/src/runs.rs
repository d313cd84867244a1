//! What outlives a request: run grants, and which mandates are spent.

use std::time::Duration;

use ids::{Millis, RandomId, TenantId};
use scope::{Digest, RunGrantRecord};
use store::Range;

use crate::{
    Error, Page, Registry,
    rows::{self, Desk, GrantRow},
    tenants::revoke_within,
};

/// For how long a run grant that has ended, or a mandate that was spent and has expired, is
/// still known: the first for a better error, the second against a clock that is set back.
const AFTERLIFE: Duration = Duration::from_secs(24 * 3_600);

impl Registry {
    /// Keeps a new run grant under the digest of its secret.
    pub(crate) async fn keep_grant(
        &self,
        digest: Digest,
        record: RunGrantRecord,
    ) -> Result<(), Error> {
        self.transact(move |desk: &mut Desk<'_, '_>| {
            let born = desk.tenant(&record.tenant)?.born(&record.environment)?;
            if desk.holds(rows::RUN_GRANT, &digest)? {
                let name = record.id.to_string();
                return Err(Error::Exists { what: "run grant", name, hint: "" });
            }
            let until = record.expires.plus(AFTERLIFE);
            desk.put_grant(&digest, &GrantRow { record, born }, until)
        })
        .await
    }

    /// Ends a run grant at once, and the tokens that were made from it.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub async fn revoke_run_grant(
        &self,
        tenant: &TenantId,
        id: &RandomId,
    ) -> Result<RunGrantRecord, Error> {
        let (tenant, id) = (tenant.clone(), *id);
        self.change(1_024, move |desk| {
            let (at, mut row) = desk.grant(&tenant, &id)?;
            if !row.record.revoked {
                row.record.revoked = true;
                desk.put_grant(&at, &row, row.record.expires.plus(AFTERLIFE))?;
                revoke_within(desk, &tenant, id, row.record.expires)?;
            }
            Ok(row.record)
        })
        .await
    }

    /// A page of a tenant's run grants, in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach; `after` is not what a page said.
    pub async fn run_grants(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunGrantRecord>, Error> {
        let limit = limit.clamp(1, Page::<()>::MAX);
        let mut range = Range::prefix(rows::grant_of(tenant, None)).limit(limit);
        if let Some(after) = after {
            let id = RandomId::parse(after).map_err(|e| Error::Invalid(format!("after: {e}")))?;
            range = range.after(rows::grant_of(tenant, Some(&id)));
        }
        let found = self.scan(rows::RUN_GRANT_OF, range).await?;
        let mut items = Vec::with_capacity(found.len());
        for (_, at) in &found {
            if let Some(row) = self.get(rows::RUN_GRANT, at).await? {
                items.push(rows::decode::<GrantRow>(&row)?.record);
            }
        }
        Ok(Page { items, next: rows::last_id(&found, limit) })
    }

    /// Marks a mandate as redeemed: `true` for one caller only, however many ask at once and
    /// whatever restarts lie between.
    pub(crate) async fn spend_mandate(&self, id: RandomId, until: Millis) -> Result<bool, Error> {
        self.transact(move |desk: &mut Desk<'_, '_>| desk.spend(&id, until.plus(AFTERLIFE))).await
    }
}
