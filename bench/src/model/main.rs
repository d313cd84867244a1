//! `cargo xtask bench model`: what a model hop costs.
//!
//! One run measures, over the same upstream and with the same load: the upstream itself, a bare hyper reverse proxy
//! before it, the released `bulkhead serve` before it with every control on, with the cache off and on, and, with
//! `--peers`, other gateways before it. Each is a process of its own. Then: memory, the time to start with 10,000
//! tenants, and the scope check alone.
#![expect(clippy::print_stdout, reason = "a command-line tool: what it prints is its result")]

mod cases;
mod gateways;
mod peers;
mod report;
mod scope_check;
mod start;

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Result;
use bench::{deployment::Deployment, table};
use cases::Places;
use clap::{Parser, Subcommand};
use report::Report;
use tokio::runtime::Runtime;

/// Benchmark of the model hop.
#[derive(Parser)]
struct Arguments {
    /// Seconds of measuring per round, kind and number of connections.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds; the kinds take turns, so that a slow moment of the machine hits them all.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Tenants for the start.
    #[arg(long, default_value_t = 10_000)]
    tenants: u32,
    /// Measures Portkey and `LiteLLM`, too: `cargo xtask bench model -- --peers` installs them.
    #[arg(long)]
    peers: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The parts that this program plays for itself.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Upstream,
    #[command(hide = true)]
    Proxy { to: SocketAddr },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Upstream) => peers::upstream(),
        Some(Role::Proxy { to }) => peers::proxy(to),
        None => measure(&arguments),
    }
}

/// As a deployment might have it: nothing here looks at the request itself, so decisions may be remembered.
const POLICY: &str = r#"
permit (principal, action, resource);
forbid (principal, action == Bulkhead::Action::"model:chat", resource)
when { resource.name == "large" }
unless { principal has workflow && principal.workflow == "billing" };
forbid (principal in Bulkhead::Tenant::"initech", action, resource);
"#;

/// One provider, reached with and without a cache.
fn deployment(folder: &Path, upstream: SocketAddr) -> Result<Deployment> {
    let configuration = format!(
        r#"
[policy]
file = "policy.cedar"

[[model.providers]]
id = "upstream"
kind = "openai-compatible"
base_url = "http://{upstream}/v1"

[[model.routes]]
name = "plain"
provider = "upstream"
upstream_model = "bench"

[[model.routes]]
name = "cached"
provider = "upstream"
upstream_model = "bench"
cache = {{ ttl_seconds = 3600 }}

[[model.routes]]
name = "semantic"
provider = "upstream"
upstream_model = "bench"
cache = {{ ttl_seconds = 3600 }}
semantic = {{ embeddings = "embed", threshold = 0.95 }}

[[model.routes]]
name = "embed"
provider = "upstream"
upstream_model = "bench"
"#
    );
    let ours = Deployment::create(folder, &configuration)?;
    fs::write(ours.folder.join("policy.cedar"), POLICY)?;
    Ok(ours)
}

/// Starts it and gives the tenant `acme` what it needs.
fn give(ours: &mut Deployment, runtime: &Runtime) -> Result<()> {
    ours.until_ready(runtime)?;
    ours.cli(&["tenant", "create", "acme", "--environment", "live"], "")?;
    let set = ["credential", "set", "upstream", "--tenant", "acme", "--environment", "live"];
    ours.cli(&set, "sk-bench-0123456789abcdef")?;
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = table::results()?;
    let mut report = Report::default();
    println!("scope check");
    report.scope_check = Some(scope_check::measure(&runtime)?);
    let upstream = peers::Peer::start(&["upstream".into()])?;
    let proxy = peers::Peer::start(&["proxy".into(), upstream.address.to_string()])?;
    let folder = tempfile::tempdir()?;
    let mut ours = deployment(folder.path(), upstream.address)?;
    give(&mut ours, &runtime)?;
    let gateways = if arguments.peers {
        gateways::start(&runtime, folder.path(), upstream.address)?
    } else {
        Vec::new()
    };
    let groups = Places {
        upstream: upstream.address,
        proxy: proxy.address,
        ours: ours.data,
        token: &ours.token("acme", "model:chat model:models")?,
        gateways: &gateways,
    }
    .groups();
    groups.iter().try_for_each(|group| group.check(&runtime))?;
    report.idle_rss = ours.resident()?;
    for group in &groups {
        report.rows.extend(group.run(&runtime, arguments)?);
    }
    drop(gateways);
    report.loaded_rss = ours.resident()?;
    for (end, count) in &mut report.events.0 {
        *count = ours.figure(&runtime, &format!("bulkhead_events_total{{end=\"{end}\"}}"))?;
    }
    ours.stop()?;
    println!("start with {} tenants", arguments.tenants);
    report.start = Some(start::measure(&runtime, upstream.address, arguments.tenants)?);
    report.print();
    report.write(&results)
}
