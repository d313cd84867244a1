//! A real Postgres, if one is installed (Debian: `postgresql`).

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ids::{ManualClock, Millis, json};
use serde_json::{Value, json};
use testkit::Kit;
use tokio::task::JoinSet;
use tokio_postgres::{Config, NoTls};
use vault::SecretText;

use super::*;
use crate::{Auth, Contract, Settings, Timeouts, UpstreamKind};

const PASSWORD: &str = "canary-of-the-server";

/// A timeout that no test waits for.
const LONG: u64 = 600_000;

const SCHEMA: &str = "
    create table notes (id bigint generated always as identity, account text not null, body text not null);
    insert into notes (account, body) values
        ('acct_acme', 'acme one'), ('acct_acme', 'acme two'), ('acct_globex', 'globex one');
    alter table notes enable row level security;
    create policy own on notes using (
        account = case session_user when 'acme' then 'acct_acme' when 'globex' then 'acct_globex'
                  else current_setting('app.account', true) end);
    create role acme login password 'canary-acme';
    create role globex login password 'canary-globex';
    create role agents login;
    create role chief login superuser password 'canary-chief';
    grant select, insert, update, delete on notes to acme, globex, agents;
    create function touch() returns bigint language sql volatile as
        $$ update notes set body = body || '!' returning id $$;
    create function keep(value text) returns text language sql volatile as
        $$ select set_config('app.account', value, false) $$;
    create type mood as enum ('calm', 'cross');
";

/// A server of our own, gone when it is dropped.
struct Server {
    bin: PathBuf,
    directory: tempfile::TempDir,
    port: u16,
}

/// A command that does not run as root, which Postgres refuses.
fn command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn give(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

impl Server {
    fn start() -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok();
        let mut all: Vec<_> = versions.into_iter().flatten().flatten().map(|v| v.path()).collect();
        all.sort();
        let bin = all.pop().map(|version| version.join("bin"));
        let Some(bin) = bin.filter(|bin| bin.join("pg_ctl").exists()) else {
            println!("skipped: no Postgres in /usr/lib/postgresql; install `postgresql`");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        give(directory.path());
        let (data, password) = (directory.path().join("data"), directory.path().join("password"));
        fs::write(&password, PASSWORD).unwrap();
        give(&password);
        let made = command(bin.join("initdb"))
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--pwfile"])
            .arg(&password)
            .status();
        assert!(made.unwrap().success(), "initdb");
        let hba = "host all agents 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        for (name, pem) in [
            ("server.crt", include_str!("../../../tests/it/tls/certificate.pem")),
            ("server.key", include_str!("../../../tests/it/tls/key.pem")),
        ] {
            use std::os::unix::fs::PermissionsExt as _;
            let file = data.join(name);
            fs::write(&file, pem).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            give(&file);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c ssl=on"
        );
        let started = command(bin.join("pg_ctl"))
            .args(["start", "--wait", "--pgdata"])
            .arg(&data)
            .arg("--log")
            .arg(directory.path().join("log"))
            .args(["--options", &options])
            .status();
        let server = Self { bin, directory, port };
        let log = fs::read_to_string(server.directory.path().join("log")).unwrap_or_default();
        assert!(started.unwrap().success(), "{log}");
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.directory.path().join("data");
        let stopped = command(self.bin.join("pg_ctl"))
            .args(["stop", "--mode=immediate", "--pgdata"])
            .arg(data)
            .status();
        assert!(stopped.unwrap().success());
    }
}

pub(super) fn upstream(url: &str, auth: Auth) -> Upstream {
    Upstream {
        id: "crm".parse().unwrap(),
        kind: UpstreamKind::Postgres,
        url: url.to_owned(),
        system: None,
        auth,
        timeouts: Timeouts { connect_ms: LONG, idle_ms: LONG, total_ms: LONG },
        max_response_bytes: 1 << 20,
        allow_plain_http: false,
        ca_file: None,
        openapi: None,
        resources: false,
        prompts: false,
        prompt_prefix: None,
        uris: bulkhead_tools::Uris::default(),
    }
}

struct World {
    server: Server,
    admin: tokio_postgres::Client,
    kit: Kit,
    _tasks: JoinSet<()>,
}

impl World {
    async fn new() -> Option<Self> {
        let server = Server::start()?;
        let mut config = Config::new();
        config.host("127.0.0.1").port(server.port).user("postgres").password(PASSWORD);
        config.dbname("postgres");
        let (admin, line) = config.connect(NoTls).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { line.await.unwrap_or(()) });
        admin.batch_execute(SCHEMA).await.unwrap();
        let kit = Kit::new(Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)))).await;
        for tenant in ["acme", "globex"] {
            let account = format!("acct_{tenant}").parse().unwrap();
            kit.change(tenant, |record| {
                record.accounts.insert("crm".parse().unwrap(), vec![account]);
            })
            .await;
        }
        Some(Self { server, admin, kit, _tasks: tasks })
    }

    /// With the tenant's own role.
    fn own(&self) -> Postgres {
        self.database(&format!("postgres://127.0.0.1:{}/postgres", self.server.port), Auth::Basic)
    }

    /// With one role for all, and row-level security.
    fn one_for_all(&self) -> Postgres {
        let url = format!("postgres://agents@127.0.0.1:{}/postgres", self.server.port);
        self.database(&url, Auth::None)
    }

    fn database(&self, url: &str, auth: Auth) -> Postgres {
        let limits = Limits { records: 50, ..Limits::default() };
        Postgres::open(&Arc::new(upstream(url, auth)), &limits).unwrap()
    }

    async fn scope(&self, tenant: &str) -> Scope<Write> {
        self.kit.scope(tenant, "live").await
    }

    async fn bodies(&self) -> Vec<String> {
        let rows = self.admin.query("select body from notes order by id", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// How many connections a role has, and how many of them work.
    async fn connections(&self, role: &str) -> (i64, i64) {
        let sql = "select count(*), count(*) filter (where state = 'active' and query like '%sleep%') \
                   from pg_stat_activity where usename = $1";
        let row = self.admin.query_one(sql, &[&role]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// Waits, as the server's clock goes.
    async fn until(&self, role: &str, expected: (i64, i64)) {
        for _ in 0..600 {
            if self.connections(role).await == expected {
                return;
            }
            self.admin.batch_execute("select pg_sleep(0.05)").await.unwrap();
        }
        panic!("{:?}, not {expected:?}", self.connections(role).await);
    }
}

fn carrying(login: Option<&str>, version: u64) -> Authorized {
    let login = login.map(|login| SecretText::parse(login.to_owned()).unwrap());
    let secrets = login.iter().map(SecretText::expose).collect::<Vec<_>>();
    let password = secrets.iter().filter_map(|login| login.split(':').nth(1));
    let secrets = Arc::new(vault::Forms::of_all(password));
    Authorized { version, headers: Vec::new(), identity: None, login, secrets }
}

fn acme() -> Authorized {
    carrying(Some("acme:canary-acme"), 1)
}

/// A tool of one query.
fn tool(database: &Postgres, effect: &str, query: Value) -> Tool {
    let contract: Contract = serde_json::from_value(json!({
        "name": "notes", "upstream": "crm", "effect": effect, "query": query,
        "parameters": { "type": "object" }, "unverifiable": true,
    }))
    .unwrap();
    let query = contract.query.clone().unwrap();
    let settings = Settings {
        upstreams: vec![Upstream::clone(&database.upstream)],
        contracts: vec![contract.clone()],
        ..Settings::default()
    };
    let mut tool = Tool::compile(&settings, &contract, &database.upstream, None).unwrap();
    tool.form = Form::Sql(query);
    tool
}

fn read(database: &Postgres, sql: &str) -> Tool {
    tool(database, "read", json!({ "sql": sql }))
}

fn write(database: &Postgres, sql: &str) -> Tool {
    tool(database, "write", json!({ "sql": sql }))
}

fn arguments(value: Value) -> Final {
    let arguments = Json::parse(value.to_string().as_bytes(), &json::Limits::default()).unwrap();
    Final {
        arguments,
        account: None,
        digest: [0; 32],
        facts: Vec::new(),
        amount: None,
        observed: Vec::new(),
    }
}

async fn ask(
    database: &Postgres,
    scope: &Scope<Write>,
    tool: &Tool,
    given: Value,
    by: &Authorized,
) -> Result<Value, Fault> {
    let reply = database.call(scope, tool, &arguments(given), by, None).await?;
    let Content::Rows(rows) = reply.content else { panic!("{:?}", reply.content) };
    Ok(serde_json::from_slice(&rows.to_vec()).unwrap())
}

fn refused(code: &[u8; 5]) -> Result<Value, Fault> {
    Err(Fault::unsent(FaultKind::Database(*code)))
}

#[tokio::test]
async fn each_tenant_reads_with_its_own_role_and_sees_its_own_rows() {
    let Some(world) = World::new().await else { return };
    let database = world.own();
    let notes = read(&database, "select account, body from notes order by id");
    let globex = carrying(Some("globex:canary-globex"), 1);
    for _ in 0..2 {
        let rows = ask(&database, &world.scope("acme").await, &notes, json!({}), &acme()).await;
        let (one, two) = ("acme one", "acme two");
        let own = |body| json!({ "account": "acct_acme", "body": body });
        assert_eq!(rows.unwrap(), json!([own(one), own(two)]));
        let rows = ask(&database, &world.scope("globex").await, &notes, json!({}), &globex).await;
        assert_eq!(rows.unwrap(), json!([{ "account": "acct_globex", "body": "globex one" }]));
    }
    // One connection each, and another one for another version of the credential.
    assert_eq!(world.connections("acme").await.0, 1);
    assert_eq!(world.connections("globex").await.0, 1);
    let scope = world.scope("acme").await;
    let next = carrying(Some("acme:canary-acme"), 2);
    ask(&database, &scope, &notes, json!({}), &next).await.unwrap();
    assert_eq!(world.connections("acme").await.0, 2);

    let wrong = carrying(Some("acme:canary-wrong"), 3);
    let answer = ask(&database, &scope, &notes, json!({}), &wrong).await;
    assert_eq!(answer, Err(Fault::unsent(FaultKind::Credential)));
    // A role that policies do not hold for.
    let chief = carrying(Some("chief:canary-chief"), 4);
    let answer = ask(&database, &scope, &notes, json!({}), &chief).await.unwrap_err();
    assert!(answer.to_string().contains("above row-level security"), "{answer}");
}

#[tokio::test]
async fn a_read_changes_nothing_and_a_write_is_whole_or_not_at_all() {
    let Some(world) = World::new().await else { return };
    let (database, scope) = (world.own(), world.scope("acme").await);
    let before = world.bodies().await;
    for sql in [
        "select touch()",
        "select set_config('transaction_read_only', 'off', false), touch()",
        "select nextval('notes_id_seq')",
    ] {
        let answer = ask(&database, &scope, &read(&database, sql), json!({}), &acme()).await;
        assert!(
            matches!(answer, Err(Fault { kind: FaultKind::Database(_), sent: false })),
            "{sql}: {answer:?}"
        );
        assert_eq!(world.bodies().await, before, "{sql}");
    }
    for sql in [
        "insert into notes (account, body) values ('acct_acme', 'x') returning id",
        "delete from notes",
        "select 1; delete from notes",
        "commit",
        "select 1) as x; commit; select (1",
    ] {
        let answer = ask(&database, &scope, &read(&database, sql), json!({}), &acme()).await;
        assert_eq!(answer, refused(b"42601"), "{sql}");
    }
    for sql in ["select 1; delete from notes", "delete from notes; commit"] {
        let answer = ask(&database, &scope, &write(&database, sql), json!({}), &acme()).await;
        assert_eq!(answer, refused(b"42601"), "{sql}");
    }
    for sql in ["commit", "set role globex", "set app.account = 'acct_globex'", "truncate notes"] {
        let answer = ask(&database, &scope, &write(&database, sql), json!({}), &acme()).await;
        assert!(answer.is_err(), "{sql}: {answer:?}");
    }
    assert_eq!(world.bodies().await, before);

    let put = tool(
        &database,
        "write",
        json!({
            "sql": "insert into notes (account, body) values ('acct_acme', $1) returning body",
            "parameters": ["/body"],
        }),
    );
    let rows = ask(&database, &scope, &put, json!({ "body": "it's \"three\"" }), &acme()).await;
    assert_eq!(rows.unwrap(), json!([{ "body": "it's \"three\"" }]));
    let silent = write(&database, "update notes set body = upper(body) where body = 'acme one'");
    assert_eq!(ask(&database, &scope, &silent, json!({}), &acme()).await.unwrap(), json!([]));
    // Policies hold for writes: that of a row of somebody else's is undone.
    let foreign = write(&database, "update notes set account = 'acct_globex' returning id");
    assert_eq!(ask(&database, &scope, &foreign, json!({}), &acme()).await, refused(b"42501"));
    // An answer that is too large is not one: it is undone as well.
    let long = write(&database, "update notes set body = 'gone' returning repeat('x', 2000000)");
    let answer = ask(&database, &scope, &long, json!({}), &acme()).await;
    assert_eq!(answer, Err(Fault::unsent(FaultKind::TooLarge(1 << 20))));
    assert_eq!(world.bodies().await, ["ACME ONE", "acme two", "globex one", "it's \"three\""]);
}

#[tokio::test]
async fn the_setting_is_the_scopes_own_and_gone_after_the_call() {
    let Some(world) = World::new().await else { return };
    let database = world.one_for_all();
    let sql = "select account, body from notes order by id";
    let set = tool(&database, "read", json!({ "sql": sql, "setting": "app.account" }));
    let unset = read(
        &database,
        "select current_setting('app.account', true) as set, \
                                 (select count(*) from notes) as seen",
    );
    let bare = carrying(None, 0);
    for tenant in ["acme", "globex"] {
        let scope = world.scope(tenant).await;
        let rows = ask(&database, &scope, &set, json!({}), &bare).await.unwrap();
        let rows = rows.as_array().unwrap();
        assert!(!rows.is_empty());
        assert!(rows.iter().all(|row| row["account"] == format!("acct_{tenant}")), "{rows:?}");
        // The next call of the same tenant, over the same connection, sets nothing.
        let rows = ask(&database, &scope, &unset, json!({}), &bare).await.unwrap();
        assert_eq!(rows[0]["seen"], 0);
        assert!(matches!(rows[0]["set"].as_str(), None | Some("")), "{rows}");
        assert_eq!(world.connections("agents").await.0, if tenant == "acme" { 1 } else { 2 });
        // Nor does a query that sets it for longer.
        let keep = tool(
            &database,
            "read",
            json!({
                "sql": "select keep($1) as kept", "parameters": ["/account"],
            }),
        );
        let given = json!({ "account": "acct_acme" });
        ask(&database, &scope, &keep, given, &bare).await.unwrap();
        let rows = ask(&database, &scope, &unset, json!({}), &bare).await.unwrap();
        assert_eq!(rows[0]["seen"], 0, "{rows}");
    }
    // Without what it is to be set to, nothing is asked.
    let scope = world.scope("acme").await;
    let subject = tool(
        &database,
        "read",
        json!({
            "sql": sql, "setting": "app.account", "setting_from": "subject",
        }),
    );
    let answer = ask(&database, &scope, &subject, json!({}), &bare).await;
    assert_eq!(answer, Err(Fault::unsent(FaultKind::Unbound("an end user"))));
    world.kit.change("acme", |record| record.accounts.clear()).await;
    let answer = ask(&database, &scope, &set, json!({}), &bare).await;
    assert!(matches!(answer, Err(Fault { kind: FaultKind::Unbound(_), .. })), "{answer:?}");
}

#[tokio::test]
async fn a_call_that_is_given_up_takes_its_connection_along() {
    let Some(world) = World::new().await else { return };
    let (database, scope) = (world.own(), world.scope("acme").await);
    let before = world.bodies().await;
    let slow = write(
        &database,
        "with x as (update notes set body = 'late' returning id) \
                                 select id, pg_sleep(600) from x",
    );
    // Its update stands in no subquery: Postgres does not take it there.
    let answer = ask(&database, &scope, &slow, json!({}), &acme()).await;
    assert_eq!(answer, refused(b"0A000"));
    let slow = write(
        &database,
        "update notes set body = 'late' where (pg_sleep(600) is null) is false \
                                 returning id",
    );
    let by = acme();
    tokio::select! {
        biased;
        answer = ask(&database, &scope, &slow, json!({}), &by) => panic!("{answer:?}"),
        () = world.until("acme", (1, 1)) => {}
    }
    world.until("acme", (0, 0)).await;
    assert_eq!(world.bodies().await, before);
    // One that takes too long ends by itself, and says that nothing was done.
    let mut quick = write(&database, "select pg_sleep(600)");
    quick.contract.timeout_ms = Some(300);
    let answer = ask(&database, &scope, &quick, json!({}), &acme()).await;
    assert_eq!(answer, Err(Fault::unsent(FaultKind::Timeout)));
    let notes = read(&database, "select body from notes");
    let rows = ask(&database, &scope, &notes, json!({}), &acme()).await.unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn arguments_are_values_and_rows_are_bounded_json() {
    let Some(world) = World::new().await else { return };
    let (database, scope) = (world.own(), world.scope("acme").await);
    let typed = tool(
        &database,
        "read",
        json!({
            "sql": "select $1::text as t, $2::int as i, $3::numeric as n, $4::boolean as b, \
                    $5::jsonb as j, $6::text[] as l, $7::timestamptz as w, $8::mood as m, $9::text as z",
            "parameters": ["/t", "/i", "/n", "/b", "/j", "/l", "/w", "/m", "/none"],
        }),
    );
    let given = json!({
        "t": "'; drop table notes; --", "i": 7, "n": 1.25, "b": true, "j": { "a": [1, null] },
        "l": ["a\"b", "{c}", "d,e\\", null], "w": "2026-11-22T00:00:00Z", "m": "calm",
    });
    for _ in 0..2 {
        let rows = ask(&database, &scope, &typed, given.clone(), &acme()).await.unwrap();
        for key in ["t", "i", "n", "b", "j", "l", "m"] {
            assert_eq!(rows[0][key], given[key], "{key}");
        }
        assert_eq!(rows[0]["z"], Value::Null);
    }
    for (key, value, code) in [
        ("i", json!("canary-7"), b"22P02"),
        ("i", json!(1.5), b"22P02"),
        ("i", json!(99_999_999_999_u64), b"22003"),
        ("m", json!("canary"), b"22P02"),
        ("l", json!("{a,b}"), b"22P02"),
        ("t", json!(["canary"]), b"22P02"),
        ("t", json!("canary\u{0}"), b"22P02"),
    ] {
        let mut given = given.clone();
        given[key] = value.clone();
        let answer = ask(&database, &scope, &typed, given, &acme()).await;
        assert_eq!(answer, refused(code), "{key} {value}");
        assert!(!answer.unwrap_err().to_string().contains("canary"));
    }
    for (sql, part) in [
        ("select 1 as id, 2 as id", "two columns of one name"),
        ("select 'canary-acme' as password", "repeats the credential"),
        ("select i from generate_series(1, 51) i", "more rows"),
        ("select repeat('x', 2000000)", "larger than"),
        ("select repeat('x', 30000) from generate_series(1, 50)", "larger than"),
        ("select $1::text", "another number of parameters"),
        ("select 1 / 0", "22012"),
        ("select * from nowhere", "42P01"),
    ] {
        let answer = ask(&database, &scope, &read(&database, sql), json!({}), &acme()).await;
        let fault = answer.unwrap_err();
        assert!(fault.to_string().contains(part) && !fault.sent, "{sql}: {fault}");
    }
    let all = read(&database, "select i from generate_series(1, 50) i; ");
    let rows = ask(&database, &scope, &all, json!({}), &acme()).await.unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn under_tls_the_server_is_who_it_says() {
    let Some(world) = World::new().await else { return };
    let scope = world.scope("acme").await;
    let url = format!("postgres://127.0.0.1:{}/postgres?sslmode=require", world.server.port);
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls/authority.pem");
    for (ca_file, good) in [(Some(authority), true), (None, false)] {
        let upstream = Upstream { ca_file, ..upstream(&url, Auth::Basic) };
        let database = Postgres::open(&Arc::new(upstream), &Limits::default()).unwrap();
        let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        let answer = ask(&database, &scope, &read(&database, sql), json!({}), &acme()).await;
        match good {
            true => assert_eq!(answer.unwrap(), json!([{ "ssl": true }])),
            false => assert_eq!(answer, Err(Fault::unsent(FaultKind::Unreachable))),
        }
    }
}

#[tokio::test]
async fn connections_are_bounded_and_go_when_they_are_idle() {
    let Some(world) = World::new().await else { return };
    let (database, scope) = (world.own(), world.scope("acme").await);
    let by = acme();
    let tool = read(&database, "select pg_sleep(0.05), count(*) from notes");
    let calls = (0..40).map(|_| ask(&database, &scope, &tool, json!({}), &by));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap()[0]["count"], 2);
    }
    let (open, _) = world.connections("acme").await;
    assert!((1..=CONNECTIONS as i64).contains(&open), "{open}");
    database.tidy();
    assert_eq!(world.connections("acme").await.0, open);
    drop(database);
    world.until("acme", (0, 0)).await;
}
