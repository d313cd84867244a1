//! API keys: long-lived secrets for clients that cannot fetch tokens. Known here by digest.

use std::time::Duration;

use ids::{Environment, Millis, RandomId, TenantId, WorkflowId};
use scope::{ApiKeyRecord, Digest, Grants};
use store::Range;

use crate::{
    Error, Page, Registry,
    rows::{self, Desk, KeyRow},
    tenants::revoke_within,
};

/// The longest that an old key lives beside the one that replaces it.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3_600);

/// For how long a key that has ended is still known, so that its use is answered with what
/// happened to it.
const AFTERLIFE: Duration = Duration::from_secs(90 * 24 * 3_600);

/// What is stored of a new secret.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The credential's id.
    pub id: RandomId,
    /// The part that may be shown.
    pub prefix: String,
    /// The keyed digest of the secret.
    pub digest: Digest,
}

/// An API key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its secret's digest, id and prefix.
    pub fresh: Fresh,
    /// Whose.
    pub tenant: TenantId,
    /// In which environment, which the tenant must have.
    pub environment: Environment,
    /// For which workflow.
    pub workflow: WorkflowId,
    /// What it may do; something, at least.
    pub grants: Grants,
    /// When it ends, if ever.
    pub expires: Option<Millis>,
}

impl Registry {
    /// Makes an API key. It is void once the tenant's epoch moves on.
    ///
    /// # Errors
    /// [`Error::Missing`] for the tenant or the environment; [`Error::Invalid`] without
    /// grants or with an expiry that has passed.
    pub async fn create_key(&self, new: NewKey) -> Result<ApiKeyRecord, Error> {
        self.change(1_024, move |desk| make(desk, new)).await
    }

    /// Replaces a key by one with the same bounds. The old one ends after `overlap`, at once
    /// if that is nothing. A key with a life of a certain length is replaced by one with a
    /// life of the same length.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Invalid`] for a key that was revoked or has expired, or
    /// an overlap beyond [`MAX_OVERLAP`].
    pub async fn rotate_key(
        &self,
        id: &RandomId,
        fresh: Fresh,
        overlap: Duration,
    ) -> Result<ApiKeyRecord, Error> {
        let id = *id;
        if overlap > MAX_OVERLAP {
            return Err(Error::Invalid("an overlap is 30 days at most".into()));
        }
        self.change(2_048, move |desk| {
            let now = desk.now();
            let (at, mut old) = desk.key(&id)?;
            let record = &old.record;
            if record.revoked
                || record.expires.is_some_and(|end| end <= now)
                || !desk.tenant(&record.tenant)?.has(&record.environment, old.born)
            {
                return Err(Error::Invalid("the key has ended already: create a new one".into()));
            }
            let life = record.expires.map(|end| end.since(record.created));
            let new = NewKey {
                fresh,
                tenant: record.tenant.clone(),
                environment: record.environment.clone(),
                workflow: record.workflow.clone(),
                grants: record.grants.clone(),
                expires: life.map(|life| now.plus(life)),
            };
            let made = make(desk, new)?;
            if overlap.is_zero() {
                end_now(desk, &at, old)?;
            } else {
                let ends = now.plus(overlap);
                let ends = old.record.expires.map_or(ends, |before| before.min(ends));
                old.record.expires = Some(ends);
                desk.put_key(&at, &old, Some(ends.plus(AFTERLIFE)))?;
                renew(desk, &old.record.tenant)?;
            }
            Ok(made)
        })
        .await
    }

    /// Ends a key at once, and what was begun with it. Again is the same as once.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub async fn revoke_key(&self, id: &RandomId) -> Result<ApiKeyRecord, Error> {
        let id = *id;
        self.change(1_024, move |desk| {
            let (at, row) = desk.key(&id)?;
            if row.record.revoked {
                return Ok(row.record);
            }
            end_now(desk, &at, row)
        })
        .await
    }

    /// One key by its id.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub async fn key(&self, id: &RandomId) -> Result<ApiKeyRecord, Error> {
        let missing = || Error::missing("API key", id);
        let at = self.get(rows::API_KEY_ID, id.as_bytes()).await?.ok_or_else(missing)?;
        self.key_at(&at).await?.ok_or_else(missing)
    }

    async fn key_at(&self, digest: &[u8]) -> Result<Option<ApiKeyRecord>, Error> {
        let Some(row) = self.get(rows::API_KEY, digest).await? else { return Ok(None) };
        let KeyRow { mut record, born } = rows::decode(&row)?;
        record.revoked |= !self.stands(&record.tenant, &record.environment, born).await?;
        Ok(Some(record))
    }

    /// A page of the keys of a tenant's environment, ended ones of late among them.
    ///
    /// # Errors
    /// The store is out of reach; `after` is not what a page said.
    pub async fn keys(
        &self,
        tenant: &TenantId,
        environment: &Environment,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ApiKeyRecord>, Error> {
        let limit = limit.clamp(1, Page::<()>::MAX);
        let mut range = Range::prefix(rows::key_of(tenant, environment, None)).limit(limit);
        if let Some(after) = after {
            let id = RandomId::parse(after).map_err(|e| Error::Invalid(format!("after: {e}")))?;
            range = range.after(rows::key_of(tenant, environment, Some(&id)));
        }
        let found = self.scan(rows::API_KEY_OF, range).await?;
        let mut items = Vec::with_capacity(found.len());
        for (_, at) in &found {
            // Gone between the two reads, if it is not there: keys end so.
            items.extend(self.key_at(at).await?);
        }
        Ok(Page { items, next: rows::last_id(&found, limit) })
    }
}

fn make(desk: &mut Desk<'_, '_>, new: NewKey) -> Result<ApiKeyRecord, Error> {
    let NewKey { fresh, tenant, environment, workflow, grants, expires } = new;
    let row = desk.tenant(&tenant)?;
    let now = desk.now();
    let born = row.born(&environment)?;
    if grants.is_empty() {
        return Err(Error::Invalid("a key without grants could do nothing: name some".into()));
    }
    if expires.is_some_and(|end| end <= now) {
        return Err(Error::Invalid("a key cannot end before it begins".into()));
    }
    if desk.has_key(&fresh.digest, &fresh.id)? {
        let name = fresh.id.to_string();
        return Err(Error::Exists { what: "API key", name, hint: "" });
    }
    let record = ApiKeyRecord {
        id: fresh.id,
        prefix: fresh.prefix,
        epoch: row.record.epoch,
        tenant,
        environment,
        workflow,
        grants,
        created: now,
        expires,
        revoked: false,
    };
    let until = expires.map(|end| end.plus(AFTERLIFE));
    desk.put_key(&fresh.digest, &KeyRow { record: record.clone(), born }, until)?;
    Ok(record)
}

fn end_now(desk: &mut Desk<'_, '_>, at: &Digest, mut row: KeyRow) -> Result<ApiKeyRecord, Error> {
    let now = desk.now();
    row.record.revoked = true;
    desk.put_key(at, &row, Some(now.plus(AFTERLIFE)))?;
    // Scopes that it opened, and mandates written under them, name it in their lineage.
    revoke_within(desk, &row.record.tenant, row.record.id, now)?;
    Ok(row.record)
}

/// Makes the doors look at a tenant's credentials again: they keep what they proved until
/// the tenant's revision changes.
fn renew(desk: &mut Desk<'_, '_>, tenant: &TenantId) -> Result<(), Error> {
    let mut row = desk.tenant(tenant)?;
    desk.put_tenant(&mut row)
}
