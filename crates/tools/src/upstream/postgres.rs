//! Queries of a company's own database, each in one transaction, as the tenant's own role or
//! under the setting that row-level security looks at.
//!
//! A connection belongs to one partition and one version of its credential. It goes back only
//! after its transaction ended in order and its session was put back to its beginning; after an
//! error, or when the caller hangs up, it is closed, and the server undoes what was begun. So
//! until `COMMIT` is sent, nothing can have been done, and the fault says so.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ids::{AccountId, RandomId, RunId, Subject, System, WorkflowId, json::Json, planted};
use parking_lot::Mutex;
use scope::{Scope, Write};
use tokio::{sync::Semaphore, time::Instant};
use tokio_rustls::TlsConnector;

use self::{
    address::Address,
    session::{Begin, Bounds, Session},
};
use super::Reply;
use crate::{
    Content, Effect, Error, Fault, FaultKind, Limits, Query, Source, Upstream,
    contract::{Final, Form, Tool},
    credential::{Authorized, trust},
    shares::Shares,
};

mod address;
mod parameter;
mod session;
mod statement;
#[cfg(test)]
mod tests;

/// Connections of one owner at most; whoever comes then waits.
const CONNECTIONS: usize = 8;
/// How long a connection may be idle.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// How long putting a session back may take.
const TIDYING: Duration = Duration::from_secs(1);

/// One database.
pub(crate) struct Postgres {
    upstream: Arc<Upstream>,
    address: Address,
    tls: TlsConnector,
    /// Most rows of one answer.
    records: usize,
    pools: Mutex<Shares<Owner, Arc<Pool>>>,
}

/// Whose connections they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Owner {
    partition: [u8; 32],
    version: u64,
}

struct Pool {
    slots: Semaphore,
    idle: Mutex<Vec<(Session, Instant)>>,
}

impl Pool {
    /// A connection that is idle and still good.
    fn take(&self) -> Option<Session> {
        loop {
            let (mut session, since) = self.idle.lock().pop()?;
            if since.elapsed() < IDLE_FOR && session.is_good() {
                return Some(session);
            }
        }
    }
}

impl Postgres {
    /// Reads where it is. No connection is made.
    ///
    /// # Errors
    /// An address that a credential may not be sent to, or authorities that cannot be read.
    pub(crate) fn open(upstream: &Arc<Upstream>, limits: &Limits) -> Result<Self, Error> {
        let address = Address::parse(upstream)
            .map_err(|why| Error::Settings(format!("upstream `{}`: {why}", upstream.id)))?;
        let mut roots = rustls::RootCertStore::empty();
        match &upstream.ca_file {
            Some(file) => trust::add(&mut roots, file)?,
            None => roots = trust::public(),
        }
        let tls = TlsConnector::from(Arc::new(trust::client(roots)?));
        Ok(Self {
            upstream: Arc::clone(upstream),
            address,
            tls,
            records: limits.records,
            pools: Mutex::new(Shares::new(limits.clients)),
        })
    }

    /// One call. The intent's id stands in the arguments where the contract wants it.
    pub(crate) async fn call(
        &self,
        scope: &Scope<Write>,
        tool: &Tool,
        call: &Final,
        by: &Authorized,
        _intent: Option<RandomId>,
    ) -> Result<Reply, Fault> {
        let Form::Sql(query) = &tool.form else {
            return Err(Fault::unsent(FaultKind::Malformed("it is not a query")));
        };
        let timeout = tool.contract.timeout_ms.unwrap_or(self.upstream.timeouts.total_ms);
        let largest = tool.contract.max_response_bytes.unwrap_or(self.upstream.max_response_bytes);
        let bounds = Bounds { timeout_ms: timeout, bytes: largest, rows: self.records };
        let setting = match &query.setting {
            Some(name) => Some((name.as_str(), self.setting(scope, query, call)?)),
            None => None,
        };
        let effect = tool.contract.effect;
        let committing = AtomicBool::new(false);
        let asked = Asked { query, effect, setting, arguments: &call.arguments, bounds };
        let run = self.run(scope, by, &asked, &committing);
        match tokio::time::timeout(Duration::from_millis(timeout), run).await {
            Ok(answer) => answer,
            Err(_) => {
                let sent = committing.load(Ordering::Relaxed);
                Err(Fault { kind: FaultKind::Timeout, sent })
            }
        }
    }

    async fn run(
        &self,
        scope: &Scope<Write>,
        by: &Authorized,
        asked: &Asked<'_>,
        committing: &AtomicBool,
    ) -> Result<Reply, Fault> {
        let pool = self.pool(Owner { partition: *scope.partition_bytes(), version: by.version });
        let unreachable = |_| Fault::unsent(FaultKind::Unreachable);
        let _slot = pool.slots.acquire().await.map_err(unreachable)?;
        let mut session = match pool.take() {
            Some(session) => session,
            None => {
                let login = by.login.as_ref();
                let limit = Duration::from_millis(self.upstream.timeouts.connect_ms);
                let opened = Session::open(&self.address, &self.tls, login);
                let opened = tokio::time::timeout(limit, opened).await;
                opened.unwrap_or(Err(Fault::unsent(FaultKind::Timeout)))?
            }
        };
        let rows = asked.run(&mut session, by).await?;
        committing.store(true, Ordering::Relaxed);
        session.commit().await?;
        // The answer stands, whatever becomes of the connection.
        if let Ok(Ok(())) = tokio::time::timeout(TIDYING, session.tidy()).await {
            pool.idle.lock().push((session, Instant::now()));
        }
        Ok(Reply::of(Content::Rows(Json::Array(rows))))
    }

    fn pool(&self, owner: Owner) -> Arc<Pool> {
        let mut pools = self.pools.lock();
        let new = || {
            let (slots, idle) = (Semaphore::new(CONNECTIONS), Mutex::default());
            Arc::new(Pool { slots, idle })
        };
        pools.get_or_insert(&owner.partition, owner, new)
    }

    /// Closes connections that were idle for too long. For maintenance, now and then.
    pub(crate) fn tidy(&self) {
        let pools: Vec<_> = self.pools.lock().values().map(Arc::clone).collect();
        for pool in pools {
            pool.idle.lock().retain(|(_, since)| since.elapsed() < IDLE_FOR);
        }
    }

    /// What the setting of row-level security is set to. Never empty: that is what it is when
    /// nobody set it.
    fn setting(&self, scope: &Scope<Write>, query: &Query, call: &Final) -> Result<String, Fault> {
        let unbound = |what| Fault::unsent(FaultKind::Unbound(what));
        let record = scope.tenant_record();
        let accounts = || match self.upstream.system().parse::<System>() {
            Ok(system) => record.accounts.get(&system).map_or(&[][..], Vec::as_slice),
            Err(_) => &[],
        };
        let told = |what, id: Option<&str>| id.map(str::to_owned).ok_or_else(|| unbound(what));
        let value = match query.setting_from {
            Source::Account => match (&call.account, accounts()) {
                (Some(account), _) => account.as_str().to_owned(),
                (None, [only]) => only.as_str().to_owned(),
                (None, _) => return Err(unbound("one account there")),
            },
            Source::Accounts => {
                let all: Vec<_> = accounts().iter().map(AccountId::as_str).collect();
                if all.iter().any(|account| account.contains(',')) {
                    return Err(unbound("accounts without a comma"));
                }
                all.join(",")
            }
            Source::Tenant => scope.tenant().as_str().to_owned(),
            Source::Environment => scope.environment().as_str().to_owned(),
            Source::Workflow => told("a workflow", scope.workflow().map(WorkflowId::as_str))?,
            Source::Run => told("a run", scope.run().map(RunId::as_str))?,
            Source::Subject => told("an end user", scope.subject().map(Subject::as_str))?,
        };
        if value.is_empty() { Err(unbound("an account there")) } else { Ok(value) }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({})", self.upstream.id)
    }
}

/// One query, with everything that belongs to it.
struct Asked<'a> {
    query: &'a Query,
    effect: Effect,
    setting: Option<(&'a str, String)>,
    arguments: &'a Json,
    bounds: Bounds,
}

impl Asked<'_> {
    /// Up to, and without, `COMMIT`.
    async fn run(&self, session: &mut Session, by: &Authorized) -> Result<Vec<Json>, Fault> {
        let writes = self.effect != Effect::Read || planted::is("tools-pg-write-in-read");
        session.begin(Begin { writes, bounds: self.bounds }).await?;
        if let Some((name, value)) = &self.setting {
            session.set(name, value).await?;
        }
        let reads = self.effect == Effect::Read;
        let statement = session.prepared(&self.query.sql, reads, &self.bounds).await?;
        let arguments = parameter::all(&statement, &self.query.parameters, self.arguments)?;
        session.rows(&statement, &arguments, self.bounds, &by.secrets).await
    }
}
