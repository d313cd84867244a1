//! `cargo xtask bench model`: what a model hop costs.
//!
//! One run measures, over the same upstream and with the same load: the upstream itself, a bare hyper reverse proxy
//! before it, and the released `bulkhead serve` before it with every control on, with the cache off and on. Each is
//! a process of its own. Then: memory, the time to start with 10,000 tenants, and the scope check alone.
#![expect(clippy::print_stdout, reason = "a command-line tool: what it prints is its result")]

mod deployment;
mod load;
mod peers;
mod report;
mod scope_check;
mod start;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use deployment::Deployment;
use load::{Request, Sample};
use report::{Report, Row};

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

const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Bytes of the prompt.
const PROMPT: usize = 2_048;
const WARM_UP: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Upstream) => peers::upstream(),
        Some(Role::Proxy { to }) => peers::proxy(to),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = results()?;
    let mut report = Report::new(PROMPT);
    println!("scope check");
    report.scope_check = Some(scope_check::measure(&runtime)?);
    let upstream = peers::Peer::start(&["upstream".into()])?;
    let proxy = peers::Peer::start(&["proxy".into(), upstream.address.to_string()])?;
    let folder = tempfile::tempdir()?;
    let mut ours = Deployment::create(folder.path(), upstream.address)?;
    ours.start(&runtime)?;
    let kinds = kinds(&runtime, &ours, upstream.address, proxy.address)?;
    report.idle_rss = ours.resident()?;
    report.rows = rows(&runtime, arguments, &kinds)?;
    report.loaded_rss = ours.resident()?;
    for (end, count) in &mut report.events {
        *count = ours.figure(&runtime, &format!("bulkhead_events_total{{end=\"{end}\"}}"))?;
    }
    ours.stop()?;
    println!("start with {} tenants", arguments.tenants);
    report.start = Some(start::measure(&runtime, upstream.address, arguments.tenants)?);
    report.print();
    report.write(&results)
}

/// What is measured: a name, where it listens and what it is asked.
struct Kind {
    name: &'static str,
    request: Request,
}

fn kinds(
    runtime: &tokio::runtime::Runtime,
    ours: &Deployment,
    upstream: SocketAddr,
    proxy: SocketAddr,
) -> Result<Vec<Kind>> {
    let token = ours.token("acme")?;
    let ask = |name, address, model| Kind {
        name,
        request: Request::chat(address, &token, model, PROMPT),
    };
    let kinds = vec![
        ask(report::DIRECT, upstream, "plain"),
        ask(report::PROXY, proxy, "plain"),
        ask(report::CACHE_OFF, ours.data, "plain"),
        ask(report::CACHE_HIT, ours.data, "cached"),
    ];
    // The first request of each is the check that it answers, and fills the cache.
    for kind in &kinds {
        let answer = runtime
            .block_on(load::once(&kind.request))
            .with_context(|| format!("{} does not answer", kind.name))?;
        anyhow::ensure!(answer.status == 200, "{}: {}", kind.name, answer.text());
    }
    let hit = runtime.block_on(load::once(&kinds[3].request))?;
    anyhow::ensure!(
        hit.header("x-bulkhead-cache") == Some("hit"),
        "the second request was no cache hit"
    );
    Ok(kinds)
}

fn rows(
    runtime: &tokio::runtime::Runtime,
    arguments: &Arguments,
    kinds: &[Kind],
) -> Result<Vec<Row>> {
    let length = Duration::from_secs_f64(arguments.seconds);
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let mut samples: Vec<Sample> = kinds.iter().map(|_| Sample::default()).collect();
        for round in 0..arguments.rounds {
            for (kind, sample) in kinds.iter().zip(&mut samples) {
                println!("{connections} connections, round {}: {}", round + 1, kind.name);
                let run = load::run(&kind.request, connections, WARM_UP, length);
                sample.add(runtime.block_on(run)?);
            }
        }
        rows.extend(
            kinds
                .iter()
                .zip(samples)
                .map(|(kind, sample)| Row::new(kind.name, connections, sample)),
        );
    }
    Ok(rows)
}

/// bench/results of the checkout that this runs in.
fn results() -> Result<PathBuf> {
    let bench = std::env::current_dir()?.join("bench");
    anyhow::ensure!(bench.join("Cargo.toml").is_file(), "run this as `cargo xtask bench model`");
    let results = bench.join("results");
    std::fs::create_dir_all(&results)?;
    Ok(results)
}
