//! The registry: how it is read, how it is changed, and how the doors see it.

use std::sync::{Arc, OnceLock};

use ids::{Alias, BoxFuture, Millis, RandomId, TenantId};
use scope::{
    ApiKeyRecord, Digest, Directory, Maintenance, OperatorRecord, RunGrantRecord, ServiceRecord,
    SystemScope, TenantRecord, Unavailable,
};
use serde::Serialize;
use store::{File, Range, Store, Table};

use crate::{
    Error,
    memory::{By, Memory, Value},
    rows::{self, Desk, GrantRow, TenantRow},
};

/// Told of every tenant whose record changed, before the change returns to its caller.
pub type Listener = Box<dyn Fn(TenantId) -> BoxFuture<'static, ()> + Send + Sync>;

/// Some of a longer list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// In the order of their keys.
    pub items: Vec<T>,
    /// Where the next page begins, if there may be one: goes into `after`.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The most that one page holds.
    pub const MAX: usize = 1_000;

    pub(crate) fn of(items: Vec<T>, limit: usize, name: impl Fn(&T) -> String) -> Self {
        let next = items.last().filter(|_| items.len() == limit).map(name);
        Self { items, next }
    }
}

/// A record with more revocations than this is read anew each time, so that the memory's
/// size is bounded by its number of records.
const REMEMBERED_REVOCATIONS: usize = 1_000;

/// The registry of tenants and credentials. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    system: SystemScope,
    memory: Memory,
    listener: OnceLock<Listener>,
}

fn system() -> SystemScope {
    #[expect(clippy::disallowed_methods, reason = "the registry belongs to the deployment")]
    SystemScope::claim(Maintenance::Directory)
}

impl Registry {
    /// Over an open store; reads nothing yet. Its time is the store's.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let inner =
            Inner { store, system: system(), memory: Memory::new(), listener: OnceLock::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Sets who is told of changes; for the doors, whose scopes must end at once. The first
    /// listener stays.
    pub fn listen(&self, listener: Listener) {
        if self.inner.listener.set(listener).is_err() {
            tracing::warn!("a second listener of the registry was ignored");
        }
    }

    /// Changes the registry in one transaction. Runs to its end even if the caller stops
    /// waiting: a change that is durable has also been forgotten here and been told.
    pub(crate) async fn change<T, F>(&self, cost: usize, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Desk<'_, '_>) -> Result<T, Error> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let task = system().spawn(move |system| async move {
            let changing = inner.memory.change();
            let (value, mut touched) = inner
                .store
                .system(&system)
                .write(File::Core, cost, move |txn| {
                    let mut desk = Desk::new(txn);
                    let value = body(&mut desk)?;
                    Ok::<_, Error>((value, desk.touched()))
                })
                .await?;
            changing.done(&mut touched);
            if let Some(listener) = inner.listener.get() {
                for tenant in touched.tenants {
                    listener(tenant).await;
                }
            }
            Ok(value)
        });
        task.await.unwrap_or(Err(Error::Stopping))
    }

    /// A transaction that touches nothing that is remembered, or that is rolled back.
    pub(crate) async fn transact<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<store::Error> + Send + 'static,
        F: FnOnce(&mut Desk<'_, '_>) -> Result<T, E> + Send + 'static,
    {
        let view = self.inner.store.system(&self.inner.system);
        view.write(File::Core, 256, move |txn| body(&mut Desk::new(txn))).await
    }

    pub(crate) async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let view = self.inner.store.system(&self.inner.system);
        Ok(view.get(table, key).await?.map(Into::into))
    }

    pub(crate) async fn scan(&self, table: Table, range: Range) -> Result<Vec<store::Row>, Error> {
        Ok(self.inner.store.system(&self.inner.system).scan(table, range).await?)
    }

    pub(crate) async fn usage(&self, table: Table) -> Result<store::Usage, Error> {
        Ok(self.inner.store.system(&self.inner.system).usage(table).await?)
    }

    /// The tenant of this id, from memory if it is there.
    pub(crate) async fn row(&self, id: &str) -> Result<Option<Arc<TenantRow>>, Error> {
        let key = By::Tenant(id.into());
        let ticket = match self.inner.memory.look(&key) {
            Ok(Value::Tenant(row)) => return Ok(Some(row)),
            Ok(_) => return Err(Error::corrupt("a tenant remembered as something else")),
            Err(ticket) => ticket,
        };
        let Some(bytes) = self.get(rows::TENANT, id.as_bytes()).await? else { return Ok(None) };
        let mut row = rows::tenant_row(id, &bytes)?;
        if row.revocations > 0 {
            // Written in one transaction with the row and never taken back, so what is read
            // after the row holds at least what belongs to it.
            let revoked = self.scan(rows::REVOKED, rows::all_revoked(&row.record.id)).await?;
            row.record.revoked = revoked.iter().map(rows::revoked_row).collect::<Result<_, _>>()?;
        }
        let row = Arc::new(row);
        if row.record.revoked.len() <= REMEMBERED_REVOCATIONS {
            self.inner.memory.learn(ticket, key, Value::Tenant(Arc::clone(&row)));
        }
        Ok(Some(row))
    }

    async fn owner(&self, alias: &str) -> Result<Option<TenantId>, Error> {
        let key = By::Alias(alias.into());
        let ticket = match self.inner.memory.look(&key) {
            Ok(Value::Alias(id)) => return Ok(Some(id)),
            Ok(_) => return Err(Error::corrupt("an alias remembered as something else")),
            Err(ticket) => ticket,
        };
        let Some(bytes) = self.get(rows::ALIAS, alias.as_bytes()).await? else { return Ok(None) };
        let id = rows::alias_owner(&bytes)?;
        self.inner.memory.learn(ticket, key, Value::Alias(id.clone()));
        Ok(Some(id))
    }

    /// The tenant of this id or alias; also one that is erased.
    ///
    /// # Errors
    /// The store is out of reach, or the row is damaged.
    pub async fn find(&self, name: &str) -> Result<Option<TenantRecord>, Error> {
        // No alias is a tenant's id, so the order of the two decides nothing.
        if let Ok(id) = TenantId::parse(name)
            && let Some(row) = self.row(id.as_str()).await?
        {
            return Ok(Some(row.record.clone()));
        }
        let Ok(alias) = Alias::parse(name) else { return Ok(None) };
        // An alias that moves between the two reads is looked up again.
        for _ in 0..3 {
            let Some(id) = self.owner(alias.as_str()).await? else { return Ok(None) };
            let row = self.row(id.as_str()).await?;
            if let Some(row) = row.filter(|row| row.record.aliases.contains(&alias)) {
                return Ok(Some(row.record.clone()));
            }
        }
        Err(Error::corrupt("an alias of a tenant that does not have it"))
    }

    async fn api_key_at(&self, digest: &Digest) -> Result<Option<ApiKeyRecord>, Error> {
        let key = By::ApiKey(*digest);
        let row = match self.inner.memory.look(&key) {
            Ok(Value::ApiKey(row)) => row,
            Ok(_) => return Err(Error::corrupt("an API key remembered as something else")),
            Err(ticket) => {
                let Some(bytes) = self.get(rows::API_KEY, &digest.0).await? else {
                    return Ok(None);
                };
                let row: Arc<rows::KeyRow> = Arc::new(rows::decode(&bytes)?);
                self.inner.memory.learn(ticket, key, Value::ApiKey(Arc::clone(&row)));
                row
            }
        };
        let mut record = row.record.clone();
        record.revoked |= !self.stands(&record.tenant, &record.environment, row.born).await?;
        Ok(Some(record))
    }

    /// Whether the environment that a credential was made for is still the same one.
    pub(crate) async fn stands(
        &self,
        tenant: &TenantId,
        environment: &ids::Environment,
        born: u64,
    ) -> Result<bool, Error> {
        let row = self.row(tenant.as_str()).await?;
        Ok(row.is_some_and(|row| row.has(environment, born)))
    }

    async fn service_at(&self, digest: &Digest) -> Result<Option<ServiceRecord>, Error> {
        let key = By::Service(*digest);
        let ticket = match self.inner.memory.look(&key) {
            Ok(Value::Service(record)) => return Ok(Some((*record).clone())),
            Ok(_) => return Err(Error::corrupt("a service remembered as something else")),
            Err(ticket) => ticket,
        };
        let Some(bytes) = self.get(rows::SERVICE, &digest.0).await? else { return Ok(None) };
        let record: Arc<ServiceRecord> = Arc::new(rows::decode(&bytes)?);
        self.inner.memory.learn(ticket, key, Value::Service(Arc::clone(&record)));
        Ok(Some((*record).clone()))
    }

    async fn operator_at(&self, digest: &Digest) -> Result<Option<OperatorRecord>, Error> {
        let key = By::Operator(*digest);
        let ticket = match self.inner.memory.look(&key) {
            Ok(Value::Operator(record)) => return Ok(Some((*record).clone())),
            Ok(_) => return Err(Error::corrupt("an operator remembered as something else")),
            Err(ticket) => ticket,
        };
        let Some(bytes) = self.get(rows::OPERATOR, &digest.0).await? else { return Ok(None) };
        let record: Arc<OperatorRecord> = Arc::new(rows::decode(&bytes)?);
        self.inner.memory.learn(ticket, key, Value::Operator(Arc::clone(&record)));
        Ok(Some((*record).clone()))
    }

    async fn run_grant_at(&self, digest: &Digest) -> Result<Option<RunGrantRecord>, Error> {
        let Some(bytes) = self.get(rows::RUN_GRANT, &digest.0).await? else { return Ok(None) };
        let GrantRow { mut record, born } = rows::decode(&bytes)?;
        record.revoked |= !self.stands(&record.tenant, &record.environment, born).await?;
        Ok(Some(record))
    }
}

impl Directory for Registry {
    fn tenant<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.find(name).await?) })
    }

    fn api_key<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.api_key_at(digest).await?) })
    }

    fn service<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<ServiceRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.service_at(digest).await?) })
    }

    fn operator<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<OperatorRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.operator_at(digest).await?) })
    }

    fn run_grant<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<RunGrantRecord>, Unavailable>> {
        Box::pin(async move { Ok(self.run_grant_at(digest).await?) })
    }

    fn keep_run_grant<'a>(
        &'a self,
        digest: &'a Digest,
        record: RunGrantRecord,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move { Ok(self.keep_grant(*digest, record).await?) })
    }

    fn spend<'a>(
        &'a self,
        id: &'a RandomId,
        until: Millis,
    ) -> BoxFuture<'a, Result<bool, Unavailable>> {
        Box::pin(async move { Ok(self.spend_mandate(*id, until).await?) })
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
