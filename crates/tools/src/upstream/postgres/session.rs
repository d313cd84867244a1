//! One connection, driven by whoever uses it: no task stays behind, and dropping it closes its
//! socket.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
};

use futures_util::TryStreamExt as _;
use ids::{
    json::{self, Json},
    planted,
};
use lru::LruCache;
use tokio::net::TcpStream;
use tokio_postgres::{
    Client, Config, Connection, Statement,
    config::SslMode,
    types::{ToSql, Type},
};
use tokio_rustls::TlsConnector;
use vault::{Forms, SecretText};

use super::{
    address::{Address, Allowance, Encrypted, Metered, Tls},
    parameter::Parameter,
    statement,
};
use crate::{Fault, FaultKind};

/// What a server may send beside the rows.
const BESIDE: u64 = 256 << 10;
/// Statements that a connection keeps prepared.
const STATEMENTS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(63);

/// Puts a session back to its beginning, all but its prepared statements: `DISCARD ALL` would
/// drop those that the driver itself keeps, too.
const TIDY: &str = "reset session authorization; reset role; reset all; close all; unlisten *; \
                    select pg_catalog.pg_advisory_unlock_all(); discard temp; discard sequences";

/// Whether row-level security means nothing to a role.
const ABOVE: &str = "select rolsuper or rolbypassrls from pg_catalog.pg_roles \
                     where rolname = session_user";

/// Bounds on one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) timeout_ms: u64,
    pub(super) bytes: u64,
    pub(super) rows: usize,
}

/// What kind of transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) writes: bool,
    pub(super) bounds: Bounds,
}

type Line = Connection<Metered, Encrypted>;
type Lost = tokio_postgres::Error;

/// A connection, and what drives it.
pub(super) struct Session {
    client: Client,
    line: Line,
    allowance: Allowance,
    /// Whether the server notices by itself that we hung up while it works (from version 14).
    notices: bool,
    statements: LruCache<(String, bool, u64), Statement>,
}

impl Session {
    /// Connects and logs in.
    pub(super) async fn open(
        address: &Address,
        connector: &TlsConnector,
        login: Option<&SecretText>,
    ) -> Result<Self, Fault> {
        let lost = |_| Fault::unsent(FaultKind::Unreachable);
        let mut config = Config::new();
        config.dbname(&address.database).application_name("bulkhead");
        config.ssl_mode(match address.tls {
            Some(_) => SslMode::Require,
            None => SslMode::Disable,
        });
        match (login.and_then(|login| login.expose().split_once(':')), &address.role) {
            (Some((user, password)), None) => config.user(user).password(password),
            (None, Some(role)) => config.user(role),
            _ => return Err(Fault::unsent(FaultKind::Credential)),
        };
        let socket = TcpStream::connect((address.host.as_str(), address.port)).await;
        let socket = socket.map_err(lost)?;
        socket.set_nodelay(true).map_err(lost)?;
        let allowance = Allowance::default();
        allowance.set(BESIDE);
        let stream = Metered { socket, allowance: allowance.clone() };
        let tls = Tls { connector: connector.clone(), name: address.tls.clone() };
        let (client, line) = config.connect_raw(stream, tls).await.map_err(|e| refused(&e))?;
        let major = line.parameter("server_version").and_then(|version| {
            version.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
        });
        let notices = major.is_some_and(|major| major >= 14);
        let statements = LruCache::new(STATEMENTS);
        let mut session = Self { client, line, allowance, notices, statements };
        session.stands_below().await?;
        Ok(session)
    }

    /// Refuses a role that sees every tenant's rows, whatever their policies say.
    async fn stands_below(&mut self) -> Result<(), Fault> {
        let Self { client, line, .. } = self;
        let asked = client.query_typed(ABOVE, &[]);
        let rows = drive(line, asked).await.map_err(|error| refused(&error))?;
        let above = rows.first().and_then(|row| row.try_get::<_, bool>(0).ok());
        match above {
            Some(false) => Ok(()),
            _ => {
                let why = "its role is above row-level security: give the tenant one that is not";
                Err(Fault::unsent(FaultKind::Malformed(why)))
            }
        }
    }

    /// Whether it is open, and nothing came that nobody asked for.
    pub(super) fn is_good(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let quiet = matches!(self.line.poll_message(&mut cx), Poll::Pending);
        quiet && !self.client.is_closed()
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self, begin: Begin) -> Result<(), Fault> {
        let Bounds { timeout_ms, bytes, .. } = begin.bounds;
        self.allowance.set(bytes.saturating_mul(2).saturating_add(BESIDE));
        let access = if begin.writes { "read write" } else { "read only" };
        let ms = timeout_ms.clamp(1, 86_400_000);
        let mut sql = format!(
            "begin {access}; set local statement_timeout = {ms}; \
             set local idle_in_transaction_session_timeout = {ms}"
        );
        if self.notices {
            sql.push_str("; set local client_connection_check_interval = 1000");
        }
        self.simple(&sql).await
    }

    /// Sets what row-level security looks at, for this transaction.
    pub(super) async fn set(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let local = !planted::is("tools-pg-setting-kept");
        let sql = "select pg_catalog.set_config($1, $2, $3)";
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&name, Type::TEXT), (&value, Type::TEXT), (&local, Type::BOOL)];
        let set = drive(&mut self.line, self.client.query_typed(sql, &parameters)).await;
        set.map(|_| ()).map_err(|error| self.fault(&error))
    }

    /// The statement that a query becomes, and that this connection knows from then on. The
    /// extended protocol takes one statement alone.
    pub(super) async fn prepared(
        &mut self,
        sql: &str,
        reads: bool,
        bounds: &Bounds,
    ) -> Result<Statement, Fault> {
        let key = (sql.to_owned(), reads, bounds.bytes);
        if let Some(known) = self.statements.get(&key) {
            return Ok(known.clone());
        }
        let statement = match reads {
            true => self.prepare(&statement::reading(sql, bounds)).await?,
            false => {
                let own = self.prepare(sql).await?;
                match own.columns() {
                    [] if statement::is_plain_write(sql) => own,
                    [] => {
                        let why = "the query is none that writes";
                        return Err(Fault::unsent(FaultKind::Malformed(why)));
                    }
                    _ => self.prepare(&statement::writing(sql, bounds)).await?,
                }
            }
        };
        self.statements.put(key, statement.clone());
        Ok(statement)
    }

    async fn prepare(&mut self, sql: &str) -> Result<Statement, Fault> {
        let prepared = drive(&mut self.line, self.client.prepare(sql)).await;
        prepared.map_err(|error| self.fault(&error))
    }

    /// Runs a statement and reads its rows.
    pub(super) async fn rows(
        &mut self,
        statement: &Statement,
        parameters: &[Parameter],
        bounds: Bounds,
        secrets: &Forms,
    ) -> Result<Vec<Json>, Fault> {
        let client = &self.client;
        let work = async {
            let rows = client.query_raw(statement, parameters).await?;
            let mut rows = pin!(rows);
            let mut read = Read { bounds, secrets, bytes: 0, rows: Vec::new() };
            while let Some(row) = rows.try_next().await? {
                if let Err(fault) = read.take(row.try_get(0)?) {
                    return Ok(Err(fault));
                }
            }
            Ok(Ok(read.rows))
        };
        match drive(&mut self.line, work).await {
            Ok(rows) => rows.map_err(Fault::unsent),
            Err(_) if self.allowance.is_spent() => {
                Err(Fault::unsent(FaultKind::TooLarge(bounds.bytes)))
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Ends the transaction. From here on what was asked for may have been done.
    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        self.allowance.set(BESIDE);
        let done = drive(&mut self.line, self.client.batch_execute("commit")).await;
        done.map_err(|error| {
            let fault = self.fault(&error);
            // A constraint that is looked at in the end: the server says that it undid all.
            let undone = error.code().is_some_and(|code| {
                matches!(code.code().get(..2), Some("22" | "23" | "25" | "27" | "40" | "44" | "P0"))
                    && code.code() != "40003"
            });
            Fault { sent: !undone, ..fault }
        })
    }

    /// Puts the session back to its beginning.
    pub(super) async fn tidy(&mut self) -> Result<(), Fault> {
        if planted::is("tools-pg-setting-kept") {
            return Ok(());
        }
        self.allowance.set(BESIDE);
        self.simple(TIDY).await
    }

    async fn simple(&mut self, sql: &str) -> Result<(), Fault> {
        let done = drive(&mut self.line, self.client.batch_execute(sql)).await;
        done.map_err(|error| self.fault(&error))
    }

    /// Before `COMMIT` nothing is done, whatever was sent.
    fn fault(&self, error: &Lost) -> Fault {
        Fault::unsent(kind(error))
    }
}

/// What a server's error is to a caller: its code, and none of its words, which quote rows.
fn kind(error: &Lost) -> FaultKind {
    let Some(code) = error.code() else { return FaultKind::Unreachable };
    match code.code() {
        "57014" | "25P03" | "55P03" => FaultKind::Timeout,
        code if code.starts_with("57") || code.starts_with("08") => FaultKind::Unreachable,
        code => match code.as_bytes().try_into() {
            Ok(code) if code_is_plain(&code) => FaultKind::Database(code),
            _ => FaultKind::Malformed("an error without a code"),
        },
    }
}

fn code_is_plain(code: &[u8; 5]) -> bool {
    code.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// What an error is while logging in.
fn refused(error: &Lost) -> Fault {
    let login = error.code().is_some_and(|code| code.code().starts_with("28"));
    Fault::unsent(if login { FaultKind::Credential } else { kind(error) })
}

/// The rows so far.
struct Read<'a> {
    bounds: Bounds,
    secrets: &'a Forms,
    bytes: u64,
    rows: Vec<Json>,
}

impl Read<'_> {
    fn take(&mut self, row: Option<&str>) -> Result<(), FaultKind> {
        let too_large = FaultKind::TooLarge(self.bounds.bytes);
        let text = row.ok_or(too_large)?;
        self.bytes += text.len() as u64;
        if self.bytes > self.bounds.bytes {
            return Err(too_large);
        }
        if self.rows.len() >= self.bounds.rows {
            return Err(FaultKind::Malformed("more rows than are looked through"));
        }
        if self.secrets.found_in(text.as_bytes()) {
            return Err(FaultKind::Malformed("it repeats the credential"));
        }
        let row = Json::parse(text.as_bytes(), &json::Limits::default());
        self.rows.push(row.map_err(|error| match error {
            json::Error::Duplicate => FaultKind::Malformed("two columns of one name"),
            _ => FaultKind::Malformed("a row that is not JSON"),
        })?);
        Ok(())
    }
}

/// Moves bytes until the work is done. What a server says beside (notices, which quote rows,
/// and notifications) goes nowhere.
async fn drive<T>(line: &mut Line, work: impl Future<Output = Result<T, Lost>>) -> Result<T, Lost> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            match line.poll_message(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                // It is over; the work cannot but end.
                Poll::Ready(None) => return work.as_mut().poll(cx),
                Poll::Pending => return work.as_mut().poll(cx),
            }
        }
    })
    .await
}
