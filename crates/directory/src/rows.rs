//! The registry's rows, and the desk at which a transaction reads and writes them.

use std::collections::{BTreeMap, BTreeSet};

use ids::{Environment, Millis, OperatorName, RandomId, ServiceName, TenantId};
use scope::{
    ApiKeyRecord, Digest, OperatorRecord, Revoked, RunGrantRecord, ServiceRecord, Status,
    TenantRecord,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store::{File, Range, Table, Txn};

use crate::{Error, memory::By};

const fn table(id: u16, name: &'static str) -> Table {
    Table { file: File::Core, id, name }
}

/// id → [`TenantRow`]
pub(crate) const TENANT: Table = table(40, "tenant");
/// alias → tenant id
pub(crate) const ALIAS: Table = table(41, "alias");
/// digest → [`KeyRow`]
pub(crate) const API_KEY: Table = table(42, "api_key");
/// id → digest
pub(crate) const API_KEY_ID: Table = table(43, "api_key_id");
/// tenant, environment, id → digest
pub(crate) const API_KEY_OF: Table = table(44, "api_key_of");
/// digest → [`ServiceRecord`]
pub(crate) const SERVICE: Table = table(45, "service");
/// name → digest
pub(crate) const SERVICE_NAME: Table = table(46, "service_name");
/// digest → [`OperatorRecord`]
pub(crate) const OPERATOR: Table = table(47, "operator");
/// name → digest
pub(crate) const OPERATOR_NAME: Table = table(48, "operator_name");
/// digest → [`GrantRow`]
pub(crate) const RUN_GRANT: Table = table(49, "run_grant");
/// tenant, id → digest
pub(crate) const RUN_GRANT_OF: Table = table(50, "run_grant_of");
/// id of a redeemed mandate → nothing
pub(crate) const SPENT: Table = table(51, "spent");
/// tenant, id of a revoked credential → until when, in milliseconds
pub(crate) const REVOKED: Table = table(52, "revoked");

/// name → the tenant whose alias it was last
pub(crate) const FORMER: Table = table(53, "former_alias");

/// Every table of this crate, for the test that ids are unique.
pub const TABLES: [Table; 14] = [
    TENANT,
    ALIAS,
    API_KEY,
    API_KEY_ID,
    API_KEY_OF,
    SERVICE,
    SERVICE_NAME,
    OPERATOR,
    OPERATOR_NAME,
    RUN_GRANT,
    RUN_GRANT_OF,
    SPENT,
    REVOKED,
    FORMER,
];

/// A tenant as stored. Its revocations are rows of their own, so that one more of them costs
/// no more than the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TenantRow {
    pub(crate) record: TenantRecord,
    /// How many revocations there are at most; those that expired are still counted.
    pub(crate) revocations: usize,
    /// The revision at which each environment came to be. A credential remembers it, so that
    /// an environment that was removed and added again does not revive old credentials.
    pub(crate) born: BTreeMap<Environment, u64>,
    /// Environments that were removed. Adding one back voids what was minted for it before.
    #[serde(default)]
    pub(crate) was: BTreeSet<Environment>,
}

impl TenantRow {
    /// Whether a credential made for this incarnation of an environment still stands.
    pub(crate) fn has(&self, environment: &Environment, born: u64) -> bool {
        self.born.get(environment) == Some(&born)
    }

    /// The incarnation of an environment that the tenant has.
    pub(crate) fn born(&self, environment: &Environment) -> Result<u64, Error> {
        self.born.get(environment).copied().ok_or_else(|| {
            Error::missing("environment", format!("{environment} of {}", self.record.id))
        })
    }
}

/// An API key as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    pub(crate) record: ApiKeyRecord,
    pub(crate) born: u64,
}

/// A run grant as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GrantRow {
    pub(crate) record: RunGrantRecord,
    pub(crate) born: u64,
}

/// Ids and names hold no NUL, so it ends them.
pub(crate) fn key_of(
    tenant: &TenantId,
    environment: &Environment,
    id: Option<&RandomId>,
) -> Vec<u8> {
    let mut key =
        [tenant.as_str().as_bytes(), b"\0", environment.as_str().as_bytes(), b"\0"].concat();
    key.extend(id.iter().flat_map(|id| id.as_bytes()));
    key
}

pub(crate) fn grant_of(tenant: &TenantId, id: Option<&RandomId>) -> Vec<u8> {
    let mut key = [tenant.as_str().as_bytes(), b"\0"].concat();
    key.extend(id.iter().flat_map(|id| id.as_bytes()));
    key
}

/// The id at the end of the last key of a full page: where the next one begins.
pub(crate) fn last_id(page: &[store::Row], limit: usize) -> Option<String> {
    let (key, _) = page.last().filter(|_| page.len() == limit)?;
    let id: [u8; 16] = key.get(key.len().checked_sub(16)?..)?.try_into().ok()?;
    Some(RandomId::from_bytes(id).to_string())
}

pub(crate) fn encode(row: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(row).map_err(Error::corrupt)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(Error::corrupt)
}

pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, Error> {
    bytes.try_into().map(Digest).map_err(|_| Error::corrupt("an index row that is no digest"))
}

/// A tenant's row, held against the key it was found under.
pub(crate) fn tenant_row(id: &str, bytes: &[u8]) -> Result<TenantRow, Error> {
    let row: TenantRow = decode(bytes)?;
    if row.record.id.as_str() == id {
        Ok(row)
    } else {
        Err(Error::corrupt("a tenant's row under another tenant's id"))
    }
}

/// What a transaction changed: for the memory, and for whoever listens.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) keys: Vec<By>,
    pub(crate) tenants: BTreeSet<TenantId>,
}

/// A transaction's reads and writes, which notes what it touches.
pub(crate) struct Desk<'t, 's> {
    txn: &'t mut Txn<'s>,
    touched: Touched,
}

impl<'t, 's> Desk<'t, 's> {
    pub(crate) fn new(txn: &'t mut Txn<'s>) -> Self {
        Self { txn, touched: Touched::default() }
    }

    pub(crate) fn touched(self) -> Touched {
        self.touched
    }

    pub(crate) fn now(&self) -> Millis {
        self.txn.now()
    }

    // Tenants and aliases

    pub(crate) fn find_tenant(&mut self, id: &str) -> Result<Option<TenantRow>, Error> {
        let found = self.txn.get(TENANT, id.as_bytes())?;
        found.map(|bytes| tenant_row(id, &bytes)).transpose()
    }

    /// A tenant that is not erased.
    pub(crate) fn tenant(&mut self, id: &TenantId) -> Result<TenantRow, Error> {
        self.find_tenant(id.as_str())?
            .filter(|row| row.record.status != Status::Erased)
            .ok_or_else(|| Error::missing("tenant", id))
    }

    /// Writes a tenant's row under the next revision.
    pub(crate) fn put_tenant(&mut self, row: &mut TenantRow) -> Result<(), Error> {
        row.record.revision += 1;
        let id = row.record.id.clone();
        self.txn.put(TENANT, id.as_str().as_bytes(), &encode(row)?)?;
        self.touched.keys.push(By::Tenant(id.as_str().into()));
        self.touched.tenants.insert(id);
        Ok(())
    }

    /// A page of tenants in the order of their ids.
    pub(crate) fn tenants(
        &mut self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantRow>, Error> {
        let mut range = Range::all().limit(limit);
        range.after = after.map(|id| id.as_str().into());
        let rows = self.txn.scan(TENANT, &range)?;
        rows.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    pub(crate) fn owner(&mut self, alias: &str) -> Result<Option<TenantId>, Error> {
        let found = self.txn.get(ALIAS, alias.as_bytes())?;
        found.map(|bytes| alias_owner(&bytes)).transpose()
    }

    pub(crate) fn put_alias(&mut self, alias: &str, owner: &TenantId) -> Result<(), Error> {
        self.txn.put(ALIAS, alias.as_bytes(), owner.as_str().as_bytes())?;
        self.touched.keys.push(By::Alias(alias.into()));
        Ok(())
    }

    /// Gives a name free. Whose it was is remembered: see [`Desk::was_anothers`].
    pub(crate) fn drop_alias(&mut self, alias: &str) -> Result<(), Error> {
        if let Some(owner) = self.owner(alias)? {
            self.txn.put(FORMER, alias.as_bytes(), owner.as_str().as_bytes())?;
        }
        self.txn.delete(ALIAS, alias.as_bytes())?;
        self.touched.keys.push(By::Alias(alias.into()));
        Ok(())
    }

    /// Whether a name was another tenant's before.
    pub(crate) fn was_anothers(&mut self, name: &str, owner: &TenantId) -> Result<bool, Error> {
        let found = self.txn.get(FORMER, name.as_bytes())?;
        let former = found.map(|bytes| alias_owner(&bytes)).transpose()?;
        Ok(former.is_some_and(|former| former != *owner))
    }

    // Revocations

    /// Until when a credential's revocation is kept.
    pub(crate) fn revoked(
        &mut self,
        tenant: &TenantId,
        id: &RandomId,
    ) -> Result<Option<Millis>, Error> {
        let found = self.txn.get(REVOKED, &grant_of(tenant, Some(id)))?;
        found.map(|until| millis(&until)).transpose()
    }

    pub(crate) fn put_revoked(
        &mut self,
        tenant: &TenantId,
        revoked: &Revoked,
    ) -> Result<(), Error> {
        let until = revoked.until.0.to_le_bytes();
        self.put(REVOKED, &grant_of(tenant, Some(&revoked.id)), &until, Some(revoked.until))
    }

    /// How many revocations of a tenant have not expired.
    pub(crate) fn count_revoked(&mut self, tenant: &TenantId) -> Result<usize, Error> {
        Ok(self.txn.scan(REVOKED, &all_revoked(tenant))?.len())
    }

    /// Deletes up to `most` of a tenant's revocations; how many.
    pub(crate) fn drop_revoked(&mut self, tenant: &TenantId, most: usize) -> Result<usize, Error> {
        let rows = self.txn.scan(REVOKED, &all_revoked(tenant).limit(most))?;
        for (key, _) in &rows {
            self.txn.delete(REVOKED, key)?;
        }
        Ok(rows.len())
    }

    // API keys

    pub(crate) fn key(&mut self, id: &RandomId) -> Result<(Digest, KeyRow), Error> {
        let missing = || Error::missing("API key", id);
        let at = self.txn.get(API_KEY_ID, id.as_bytes())?.ok_or_else(missing)?;
        let row = self.txn.get(API_KEY, &at)?.ok_or_else(missing)?;
        let row: KeyRow = decode(&row)?;
        if row.record.id != *id {
            return Err(Error::corrupt("an API key under another key's id"));
        }
        Ok((digest(&at)?, row))
    }

    pub(crate) fn put_key(
        &mut self,
        at: &Digest,
        row: &KeyRow,
        until: Option<Millis>,
    ) -> Result<(), Error> {
        let record = &row.record;
        let of = key_of(&record.tenant, &record.environment, Some(&record.id));
        self.put(API_KEY, &at.0, &encode(row)?, until)?;
        self.put(API_KEY_ID, record.id.as_bytes(), &at.0, until)?;
        self.put(API_KEY_OF, &of, &at.0, until)?;
        self.touched.keys.push(By::ApiKey(*at));
        Ok(())
    }

    pub(crate) fn has_key(&mut self, at: &Digest, id: &RandomId) -> Result<bool, Error> {
        Ok(self.txn.get(API_KEY, &at.0)?.is_some()
            || self.txn.get(API_KEY_ID, id.as_bytes())?.is_some())
    }

    /// Deletes up to `most` of a tenant's API keys; how many.
    pub(crate) fn drop_keys(&mut self, tenant: &TenantId, most: usize) -> Result<usize, Error> {
        let range = Range::prefix(grant_of(tenant, None)).limit(most);
        let rows = self.txn.scan(API_KEY_OF, &range)?;
        for (of, at) in &rows {
            if let Some(id) = of.len().checked_sub(16).and_then(|tail| of.get(tail..)) {
                self.txn.delete(API_KEY_ID, id)?;
            }
            self.txn.delete(API_KEY, at)?;
            self.txn.delete(API_KEY_OF, of)?;
            self.touched.keys.push(By::ApiKey(digest(at)?));
        }
        Ok(rows.len())
    }

    // Run grants

    pub(crate) fn grant(
        &mut self,
        tenant: &TenantId,
        id: &RandomId,
    ) -> Result<(Digest, GrantRow), Error> {
        let missing = || Error::missing("run grant", id);
        let at = self.txn.get(RUN_GRANT_OF, &grant_of(tenant, Some(id)))?.ok_or_else(missing)?;
        let row = self.txn.get(RUN_GRANT, &at)?.ok_or_else(missing)?;
        let row: GrantRow = decode(&row)?;
        if row.record.id != *id || row.record.tenant != *tenant {
            return Err(Error::corrupt("a run grant under another's id"));
        }
        Ok((digest(&at)?, row))
    }

    pub(crate) fn put_grant(
        &mut self,
        at: &Digest,
        row: &GrantRow,
        until: Millis,
    ) -> Result<(), Error> {
        let of = grant_of(&row.record.tenant, Some(&row.record.id));
        self.put(RUN_GRANT, &at.0, &encode(row)?, Some(until))?;
        self.put(RUN_GRANT_OF, &of, &at.0, Some(until))
    }

    /// Deletes up to `most` of a tenant's run grants; how many.
    pub(crate) fn drop_grants(&mut self, tenant: &TenantId, most: usize) -> Result<usize, Error> {
        let range = Range::prefix(grant_of(tenant, None)).limit(most);
        let rows = self.txn.scan(RUN_GRANT_OF, &range)?;
        for (of, at) in &rows {
            self.txn.delete(RUN_GRANT, at)?;
            self.txn.delete(RUN_GRANT_OF, of)?;
        }
        Ok(rows.len())
    }

    // Services and operators

    pub(crate) fn service(
        &mut self,
        name: &ServiceName,
    ) -> Result<Option<(Digest, ServiceRecord)>, Error> {
        self.named(SERVICE_NAME, SERVICE, name.as_str())
    }

    pub(crate) fn put_service(
        &mut self,
        at: &Digest,
        record: &ServiceRecord,
        until: Option<Millis>,
    ) -> Result<(), Error> {
        self.put(SERVICE, &at.0, &encode(record)?, until)?;
        self.index(SERVICE_NAME, record.name.as_str(), at, record.revoked)?;
        self.touched.keys.push(By::Service(*at));
        Ok(())
    }

    pub(crate) fn operator(
        &mut self,
        name: &OperatorName,
    ) -> Result<Option<(Digest, OperatorRecord)>, Error> {
        self.named(OPERATOR_NAME, OPERATOR, name.as_str())
    }

    pub(crate) fn operators(&mut self) -> Result<Vec<OperatorRecord>, Error> {
        let rows = self.txn.scan(OPERATOR, &Range::all().limit(store::MAX_SCAN))?;
        rows.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    pub(crate) fn put_operator(
        &mut self,
        at: &Digest,
        record: &OperatorRecord,
        until: Option<Millis>,
    ) -> Result<(), Error> {
        self.put(OPERATOR, &at.0, &encode(record)?, until)?;
        self.index(OPERATOR_NAME, record.name.as_str(), at, record.revoked)?;
        self.touched.keys.push(By::Operator(*at));
        Ok(())
    }

    pub(crate) fn holds(&mut self, table: Table, at: &Digest) -> Result<bool, Error> {
        Ok(self.txn.get(table, &at.0)?.is_some())
    }

    // Mandates

    /// Marks a mandate as redeemed; whether it was not so before.
    pub(crate) fn spend(&mut self, id: &RandomId, until: Millis) -> Result<bool, Error> {
        let before = self.txn.get(SPENT, id.as_bytes())?.is_some();
        if before && !ids::planted::is("directory-spend-twice") {
            return Ok(false);
        }
        self.txn.put_until(SPENT, id.as_bytes(), &[], until)?;
        Ok(true)
    }

    fn named<T: DeserializeOwned>(
        &mut self,
        names: Table,
        records: Table,
        name: &str,
    ) -> Result<Option<(Digest, T)>, Error> {
        let Some(at) = self.txn.get(names, name.as_bytes())? else { return Ok(None) };
        let Some(row) = self.txn.get(records, &at)? else { return Ok(None) };
        Ok(Some((digest(&at)?, decode(&row)?)))
    }

    /// A revoked credential gives its name free and stays known by its digest.
    fn index(&mut self, names: Table, name: &str, at: &Digest, gone: bool) -> Result<(), Error> {
        if gone {
            self.txn.delete(names, name.as_bytes())?;
        } else {
            self.txn.put(names, name.as_bytes(), &at.0)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
        until: Option<Millis>,
    ) -> Result<(), Error> {
        match until {
            Some(until) => self.txn.put_until(table, key, value, until)?,
            None => self.txn.put(table, key, value)?,
        }
        Ok(())
    }
}

/// All revocations of a tenant: never more than one scan holds.
pub(crate) fn all_revoked(tenant: &TenantId) -> Range {
    Range::prefix(grant_of(tenant, None)).limit(store::MAX_SCAN)
}

pub(crate) fn revoked_row((key, until): &store::Row) -> Result<Revoked, Error> {
    let malformed = || Error::corrupt("a revocation that cannot be read");
    let id = key.len().checked_sub(16).and_then(|tail| key.get(tail..)).ok_or_else(malformed)?;
    let id = RandomId::from_bytes(id.try_into().map_err(|_| malformed())?);
    Ok(Revoked { id, until: millis(until)? })
}

fn millis(bytes: &[u8]) -> Result<Millis, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::corrupt("a time that cannot be read"))?;
    Ok(Millis(u64::from_le_bytes(bytes)))
}

pub(crate) fn alias_owner(bytes: &[u8]) -> Result<TenantId, Error> {
    let id = std::str::from_utf8(bytes).map_err(Error::corrupt)?;
    TenantId::parse(id).map_err(Error::corrupt)
}
