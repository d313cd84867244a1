//! `cargo xtask bench tools`: what a call of a tool costs.
//!
//! One run measures, over the same upstream and with the same load: the upstream itself, and the released `bulkhead serve`
//! before it with every control on, for a read whose account is bound, whose arguments a policy looks at, and each of whose
//! records is held against its owner: as an HTTP API, as an HTTP API behind MCP, and as an MCP server behind MCP.
#![expect(clippy::print_stdout, reason = "a command-line tool: what it prints is its result")]

mod upstream;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Result, ensure};
use bench::{
    deployment::Deployment,
    load::{self, Request, Sample, Until},
    table::{self, as_micros, micros},
};
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

/// Benchmark of the tool hop.
#[derive(Parser)]
struct Arguments {
    /// Seconds of measuring per round, case and number of connections.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds; the cases take turns, so that a slow moment of the machine hits them all.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The part that this program plays for itself.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Upstream,
}

/// What is added at the median, at one connection, may be at most this.
const BAR: Duration = Duration::from_micros(300);

/// It looks at the final arguments, so that each call is decided on anew.
const POLICY: &str = r#"
permit (principal, action, resource);
forbid (principal, action == Bulkhead::Action::"tools:read", resource)
when { context.arguments.contains("/limit=0") };
"#;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Upstream) => upstream::serve(),
        None => measure(&arguments),
    }
}

/// The same tool at an HTTP API and at an MCP server.
fn deployment(folder: &Path, upstream: SocketAddr) -> Result<Deployment> {
    let holds = r#"effect = "read"
bind = { "/account_id" = "account" }
rules = [{ argument = "/limit", min = 1, max = 100 }]
owner = [{ records = "$.contacts[*]", owner = "/account_id" }]"#;
    let configuration = format!(
        r#"
[policy]
file = "policy.cedar"

[[tools.upstreams]]
id = "api"
kind = "http"
system = "crm"
url = "http://{upstream}/api"

[[tools.upstreams]]
id = "mcp"
kind = "mcp"
system = "crm"
url = "http://{upstream}/mcp"

[[tools.contracts]]
name = "contacts"
upstream = "api"
request = {{ method = "GET", path = "/contacts", query = {{ account_id = "/account_id", limit = "/limit" }} }}
parameters = {{ type = "object", properties = {{ account_id = {{ type = "string" }}, limit = {{ type = "integer" }} }} }}
{holds}

[[tools.contracts]]
name = "list_contacts"
upstream = "mcp"
{holds}
"#
    );
    let ours = Deployment::create(folder, &configuration)?;
    fs::write(ours.folder.join("policy.cedar"), POLICY)?;
    Ok(ours)
}

struct Case {
    name: &'static str,
    request: Request,
    /// What this is held against, by its place in the list.
    direct: Option<usize>,
}

/// A call as MCP has it, without a session.
fn call(address: SocketAddr, token: &str, tool: &str) -> Request {
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": {"limit": 50}},
    });
    // The credential ends its line, so that more headers can follow it.
    let headers = "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25";
    Request::new(address, "POST /mcp", &format!("{token}\r\n{headers}"), &body.to_string())
}

fn cases(upstream: SocketAddr, ours: SocketAddr, token: &str) -> Vec<Case> {
    let direct = format!("GET /api/contacts?account_id={}&limit=50", upstream::ACCOUNT);
    let case = |name, request, direct| Case { name, request, direct };
    vec![
        case("HTTP API, direct", Request::new(upstream, &direct, "direct", ""), None),
        case(
            "HTTP API, through /tools",
            Request::new(ours, "GET /tools/api/contacts?limit=50", token, ""),
            Some(0),
        ),
        case("HTTP API, through /mcp", call(ours, token, "contacts"), Some(0)),
        case("MCP server, direct", call(upstream, "direct", "list_contacts"), None),
        case("MCP server, through /mcp", call(ours, token, "list_contacts"), Some(3)),
    ]
}

struct Row {
    name: &'static str,
    connections: usize,
    sample: Sample,
    /// Time of a processor that went into it in our process.
    busy: Duration,
    direct: Option<usize>,
}

impl Row {
    fn busy_each(&self) -> Option<Duration> {
        let calls = u32::try_from(self.sample.count()).ok().filter(|calls| *calls > 0)?;
        self.direct.map(|_| self.busy / calls)
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = table::results()?;
    let upstream = upstream::Peer::start()?;
    let folder = tempfile::tempdir()?;
    let mut ours = deployment(folder.path(), upstream.address)?;
    ours.until_ready(&runtime)?;
    let account = format!("crm={}", upstream::ACCOUNT);
    ours.cli(&["tenant", "create", "acme", "--environment", "live", "--account", &account], "")?;
    for (id, secret) in [("api", "sk-api-0123456789abcdef"), ("mcp", "sk-mcp-0123456789abcdef")] {
        ours.cli(&["credential", "set", id, "-t", "acme", "-e", "live"], secret)?;
    }
    let token = ours.token("acme", "tools:list tools:read")?;
    let cases = cases(upstream.address, ours.data, &token);
    for case in &cases {
        let answer = runtime.block_on(load::once(&case.request))?;
        let text = answer.text();
        ensure!(answer.status == 200 && text.contains("contact 49"), "{}: {text}", case.name);
    }
    let mut rows = Vec::new();
    for connections in [1, 16] {
        let mut group: Vec<Row> = cases
            .iter()
            .map(|case| Row {
                name: case.name,
                connections,
                sample: Sample::default(),
                busy: Duration::ZERO,
                direct: case.direct,
            })
            .collect();
        for _ in 0..arguments.rounds {
            for (case, row) in cases.iter().zip(&mut group) {
                let before = ours.busy()?;
                row.sample.add(run(&runtime, &case.request, connections, arguments.seconds)?);
                row.busy += ours.busy()?.saturating_sub(before);
            }
        }
        rows.push(group);
    }
    let resident = ours.resident()?;
    ours.stop()?;
    report(rows, resident, &results)
}

fn run(runtime: &Runtime, request: &Request, connections: usize, seconds: f64) -> Result<Sample> {
    let length = Duration::from_secs_f64(seconds);
    let requests = std::slice::from_ref(request);
    runtime.block_on(load::run(requests, Until::End, connections, length))
}

fn report(groups: Vec<Vec<Row>>, resident: u64, results: &Path) -> Result<()> {
    println!("\ntools, loopback, {}", table::machine());
    println!("a read of 50 records, {} bytes\n", upstream::body().len());
    println!(
        "{:<34}{:>6}{:>11}{:>11}{:>12}{:>12}{:>12}",
        "", "conn.", "p50", "p99", "per second", "added, p50", "our CPU"
    );
    let mut json = Vec::new();
    let mut bars = Vec::new();
    for mut group in groups {
        let medians: Vec<_> = group.iter_mut().map(|row| row.sample.quantile(0.5)).collect();
        for (nth, row) in group.iter_mut().enumerate() {
            let (p50, p99) = (medians[nth], row.sample.quantile(0.99));
            let added = row.direct.map(|direct| p50.saturating_sub(medians[direct]));
            let rate = row.sample.rate();
            println!(
                "{:<34}{:>6}{:>11}{:>11}{rate:>12.0}{:>12}{:>12}",
                row.name,
                row.connections,
                micros(p50),
                micros(p99),
                added.map(micros).unwrap_or_default(),
                row.busy_each().map(micros).unwrap_or_default()
            );
            json.push(serde_json::json!({
                "case": row.name, "connections": row.connections, "requests": row.sample.count(),
                "p50_us": as_micros(p50), "p99_us": as_micros(p99), "per_second": rate.round(),
                "added_p50_us": added.map(as_micros), "cpu_us": row.busy_each().map(as_micros),
            }));
            if let Some(added) = added.filter(|_| row.connections == 1) {
                bars.push((row.name, added));
            }
        }
        println!();
    }
    println!("resident after the load {:>10}", table::megabytes(resident));
    println!(
        "controls on: tenant token verified (cached while it lives); tenant status, epoch and revocations; grants; two Cedar policies on the final arguments; hops in flight bounded per tenant; arguments parsed strictly, bound and held to rules; the tenant's own credential; answer parsed strictly, 50 owners looked at, looked through for the credential; an event per hop recorded\n"
    );
    for (name, added) in &bars {
        let kept = if *added <= BAR { "kept  " } else { "MISSED" };
        println!("{kept} {name}: {} added at p50, bar {}", micros(*added), micros(BAR));
    }
    let file = results.join("tools.json");
    let all = serde_json::json!({
        "machine": table::machine(), "bytes": upstream::body().len(), "rows": json,
        "resident_bytes": resident, "bar_us": as_micros(BAR),
    });
    fs::write(&file, serde_json::to_string_pretty(&all)? + "\n")?;
    println!("\nwritten: bench/results/tools.json");
    Ok(())
}
