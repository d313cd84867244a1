//! `cargo xtask bench memory`: what retrieval costs, and whether one tenant's size is another's concern.
//!
//! One run loads tenants of very different sizes into the released `bulkhead serve` over HTTP, every control on, and
//! measures: one tenant's latency while another grows; latency and recall by size; upserts; starts, first questions
//! and memory of tenants at rest. Then, over the same files, the crate in process and the engine alone; and, with
//! `--peers`, pgvector on the same data.
#![expect(clippy::print_stdout, reason = "a command-line tool: what it prints is its result")]

mod cold;
mod data;
mod near;
mod pgvector;
mod report;
mod tenants;
mod truth;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bench::{
    deployment::Deployment,
    load::{self, Request, Sample, Until},
    table,
};
use clap::Parser;
use data::Data;
use report::{Bar, Report};
use serde_json::{Value, json};
use tenants::Doors;
use tokio::runtime::Runtime;
use truth::{Truth, recall};

/// Benchmark of retrieval.
#[derive(Parser)]
struct Arguments {
    /// Tenants that have a collection.
    #[arg(long, default_value_t = 1_000)]
    tenants: usize,
    /// Points of the largest; the n-th has `largest / n^exponent`.
    #[arg(long, default_value_t = 100_000)]
    largest: u64,
    /// How fast sizes fall.
    #[arg(long, default_value_t = 1.5)]
    exponent: f64,
    /// Points that every tenant has at least.
    #[arg(long, default_value_t = 20)]
    least: u64,
    /// Seconds of measuring per round, kind and number of connections.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Rounds; the kinds take turns, so that a slow moment of the machine hits them all.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// 200 tenants, the largest of 5,000 points, one short round: to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Measures pgvector, too: `cargo xtask bench memory -- --peers` installs it.
    #[arg(long)]
    peers: bool,
}

impl Arguments {
    fn settled(mut self) -> Self {
        if self.quick {
            self.tenants = self.tenants.min(200);
            self.largest = self.largest.min(5_000);
            self.seconds = self.seconds.min(0.3);
            self.rounds = 1;
        }
        self
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

const CONNECTIONS: [usize; 2] = [1, 16];
/// Queries by which recall is measured, and different ones of a tenant under load.
const QUERIES: u64 = 200;
/// `memory.graph_from`: beyond so many points without a graph, and a quarter of all, one is made in the background.
const GRAPH_FROM: u64 = 20_000;
/// Points of B before it grows.
const FIRST: u64 = 1_000;
/// The rows of one tenant while another grows.
const GROWTH: &str = "A, of about 1,000 points, while B grows";
/// Longest that one may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Tenants that only upsert.
const WRITERS: usize = 8;

fn main() -> Result<()> {
    measure(&Arguments::parse().settled())
}

/// Everything of a run.
struct Run<'a> {
    arguments: &'a Arguments,
    runtime: Runtime,
    data: Arc<Data>,
    report: Report,
}

fn measure(arguments: &Arguments) -> Result<()> {
    let results = table::results()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let Arguments { tenants, largest, exponent, least, .. } = *arguments;
    let data = Arc::new(Data::new(tenants, largest, exponent, least));
    let mut run = Run { arguments, runtime, data, report: Report::default() };
    run.report.data = format!(
        "{tenants} tenants, {} points of {} dimensions, cosine; the largest has {largest}",
        run.data.points(),
        data::DIMENSIONS
    );
    println!("{}", run.report.data);
    let folder = tempfile::tempdir()?;
    let mut ours = Deployment::create(folder.path(), "")?;
    ours.until_ready(&run.runtime)?;
    tenants::make(&run.runtime, &ours, tenants + WRITERS)?;
    run.served(&ours)?;
    run.at_rest(&mut ours)?;
    ours.stop()?;
    run.in_process(&ours)?;
    if let (true, Some(python)) = (arguments.peers, pgvector::python()) {
        // Kept if what others made cannot be measured.
        run.report.write(&results)?;
        println!("pgvector");
        run.report.pgvector = Some(pgvector::measure(&python, &run.data, &run.sizes())?);
    }
    run.report.print();
    run.report.write(&results)
}

impl Run<'_> {
    /// Tenants of several sizes, the smallest first.
    fn sizes(&self) -> Vec<usize> {
        let mut all: Vec<usize> =
            [100, 500, 1_000, 2_000, 10_000, 35_000].map(|size| self.data.about(size)).to_vec();
        all.push(0);
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.dedup();
        all
    }

    /// Those that are measured in process, too.
    fn few(&self) -> Vec<usize> {
        let mut all = [100, 1_000, 10_000].map(|size| self.data.about(size)).to_vec();
        all.push(0);
        all.dedup();
        all
    }

    fn name(&self, tenant: usize) -> String {
        format!("{} points", self.data.sizes[tenant])
    }

    /// Doors to the first `count` tenants, with new tokens: a run takes longer than a token lives.
    fn doors<'a>(
        &self,
        ours: &'a Deployment,
        data: &'a Arc<Data>,
        count: usize,
    ) -> Result<Doors<'a>> {
        Ok(Doors { ours, data, tokens: tenants::tokens(&self.runtime, ours, count)? })
    }

    /// What is measured while the server runs and loads.
    fn served(&mut self, ours: &Deployment) -> Result<()> {
        let data = Arc::clone(&self.data);
        self.growth(ours)?;
        println!("loading");
        let doors = self.doors(ours, &data, data.sizes.len())?;
        let rest: Vec<_> = (1..data.sizes.len())
            .filter(|tenant| *tenant != data.about(1_000))
            .map(|tenant| (tenant, 0..data.sizes[tenant]))
            .collect();
        for tenant in rest.iter().map(|(tenant, _)| *tenant) {
            self.runtime.block_on(doors.create(tenant..tenant + 1))?;
        }
        let points: u64 = rest.iter().map(|(_, points)| points.end).sum();
        let took = self.runtime.block_on(doors.load(&rest))?;
        #[expect(clippy::cast_precision_loss, reason = "a count of points")]
        let rate = points as f64 / took.as_secs_f64();
        let shown = format!("{rate:.0}/s");
        self.report.fact("points loaded, all tenants, rendered on the way", shown, json!(rate));
        for (tenant, size) in data.sizes.iter().enumerate() {
            self.settle(&doors, tenant, *size)?;
        }
        let doors = self.doors(ours, &data, data.sizes.len() + WRITERS)?;
        self.bar_of_recall(&doors)?;
        self.latency(&doors)?;
        self.upserts(&doors)?;
        self.report.bytes("resident after the load", ours.resident()?);
        let figures = ours.admin(&self.runtime, "GET /metrics", "")?;
        self.report.figures = figures
            .lines()
            .filter(|line| line.starts_with("bulkhead_memory"))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        Ok(())
    }

    /// Waits until a tenant of this size has its graph, if one is made for it, and the server has nothing to do.
    fn settle(&self, doors: &Doors<'_>, tenant: usize, size: u64) -> Result<()> {
        if size <= GRAPH_FROM {
            return if tenant == 0 { doors.ours.until_idle(PATIENCE) } else { Ok(()) };
        }
        let begun = Instant::now();
        loop {
            let without = size.saturating_sub(self.runtime.block_on(doors.indexed(tenant))?);
            if without <= GRAPH_FROM || without * 4 <= size {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "no graph after {} s", PATIENCE.as_secs());
            thread::sleep(Duration::from_millis(250));
        }
        doors.ours.until_idle(PATIENCE)
    }

    /// A's median while B grows, and while B is loaded.
    ///
    /// A machine that others use is faster in one minute than in the next, by more than the bar. So there are two
    /// deployments: B grows in one and keeps its first points in the other, and A is asked in both, in turns.
    fn growth(&mut self, ours: &Deployment) -> Result<()> {
        println!("one tenant while another grows");
        let data = Arc::clone(&self.data);
        let (a, b) = (data.about(1_000), 0);
        ensure!(a != b, "too few tenants");
        let folder = tempfile::tempdir()?;
        let mut still = Deployment::create(folder.path(), "")?;
        still.until_ready(&self.runtime)?;
        tenants::make(&self.runtime, &still, a + 1)?;
        for deployment in [ours, &still] {
            let doors = self.doors(deployment, &data, a + 1)?;
            self.runtime.block_on(async {
                doors.create(a..a + 1).await?;
                doors.create(b..b + 1).await?;
                doors.load(&[(a, 0..data.sizes[a]), (b, 0..FIRST)]).await
            })?;
            self.settle(&doors, b, FIRST)?;
        }
        let most = data.sizes[b];
        let mut had = FIRST;
        let mut worst = f64::MIN;
        for size in [FIRST, most / 10, most / 3, most] {
            let doors = self.doors(ours, &data, a + 1)?;
            let more = [(b, had.min(size)..size)];
            if size == most {
                let length = self.arguments.length();
                let requests = queries(&doors, &[a]);
                let asked = load::run(&requests, Until::End, 1, length);
                let both = async { tokio::join!(asked, doors.load(&more)) };
                let (sample, loaded) = self.runtime.block_on(both);
                loaded?;
                self.report.row(GROWTH, "B is being loaded, on the same two cores", 1, sample?);
            } else if size > had {
                self.runtime.block_on(doors.load(&more))?;
            } else if size < had {
                continue;
            }
            had = size;
            self.settle(&doors, b, size)?;
            let (doors, control) =
                (self.doors(ours, &data, a + 1)?, self.doors(&still, &data, a + 1)?);
            let requests = [queries(&control, &[a]), queries(&doors, &[a])];
            let mut samples = [Sample::default(), Sample::default()];
            for _ in 0..self.arguments.rounds {
                for (requests, sample) in requests.iter().zip(&mut samples) {
                    let run = load::run(requests, Until::End, 1, self.arguments.length());
                    sample.add(self.runtime.block_on(run)?);
                }
            }
            let [before, after] = &mut samples;
            let [before, after] = [before, after].map(|sample| sample.quantile(0.5).as_secs_f64());
            worst = worst.max((after / before - 1.0) * 100.0);
            let [control, sample] = samples;
            self.report.row(GROWTH, &format!("B has {FIRST} still, in turns with:"), 1, control);
            self.report.row(GROWTH, &format!("B has {size}"), 1, sample);
        }
        still.stop()?;
        self.report.bars.push(Bar {
            what: format!("A's p50 moves while B grows from {FIRST} to {most} points"),
            measured: format!("{worst:.1} %"),
            bar: "≤ 10 %",
            kept: worst <= 10.0,
        });
        Ok(())
    }

    /// Latency by size of the tenant, and over all tenants.
    fn latency(&mut self, doors: &Doors<'_>) -> Result<()> {
        println!("latency over HTTP");
        for connections in CONNECTIONS {
            for tenant in self.sizes() {
                let sample = self.asked(&queries(doors, &[tenant]), connections)?;
                self.report.row("query over HTTP", &self.name(tenant), connections, sample);
            }
            let all: Vec<usize> = (0..self.data.sizes.len()).collect();
            let sample = self.asked(&queries(doors, &all), connections)?;
            self.report.row("query over HTTP", "all tenants in turn", connections, sample);
        }
        Ok(())
    }

    fn asked(&self, requests: &[Request], connections: usize) -> Result<Sample> {
        let mut sample = Sample::default();
        for _ in 0..self.arguments.rounds {
            let run = load::run(requests, Until::End, connections, self.arguments.length());
            sample.add(self.runtime.block_on(run)?);
        }
        Ok(sample)
    }

    /// Recall of the largest tenant, after its graph is there.
    fn bar_of_recall(&mut self, doors: &Doors<'_>) -> Result<()> {
        println!("recall");
        let indexed = self.runtime.block_on(doors.indexed(0))?;
        self.report.fact(
            "the largest tenant's points in a graph",
            indexed.to_string(),
            json!(indexed),
        );
        for tenant in [0, self.data.about(10_000)] {
            let truth = Truth::of(&self.data, tenant);
            let mut sum = 0.0;
            for nth in 0..QUERIES {
                let answer = self.runtime.block_on(load::once(&doors.query(tenant, nth)))?;
                let answer: Value = serde_json::from_slice(answer.body())?;
                let found: Vec<u64> = answer["result"]["points"]
                    .as_array()
                    .context("no points")?
                    .iter()
                    .filter_map(|point| point["id"].as_u64())
                    .collect();
                sum += recall(&found, &truth.nearest(&self.data.query(tenant, nth), 10));
            }
            #[expect(clippy::cast_precision_loss, reason = "a count of queries")]
            let mean = sum / QUERIES as f64;
            let what = format!("recall@10, {}", self.name(tenant));
            self.report.bars.push(Bar {
                what,
                measured: format!("{mean:.4}"),
                bar: "≥ 0.98",
                kept: mean >= 0.98,
            });
        }
        Ok(())
    }

    /// Upserts of one tenant and of several.
    fn upserts(&mut self, doors: &Doors<'_>) -> Result<()> {
        println!("upserts");
        let first = self.data.sizes.len();
        self.runtime.block_on(doors.create(first..first + WRITERS))?;
        let batches = if self.arguments.quick { 2 } else { 20 };
        for (tenants, batches) in [(1, batches), (WRITERS, batches / 2)] {
            let sample = self.runtime.block_on(doors.upserts(first..first + tenants, batches))?;
            let kind = format!("{tenants} tenant(s), a connection each; points/s");
            self.report.row("upserts in batches of 500", &kind, tenants, sample);
        }
        Ok(())
    }

    /// What is measured of tenants that ask nothing, or for the first time.
    fn at_rest(&mut self, ours: &mut Deployment) -> Result<()> {
        println!("tenants at rest");
        let rest = cold::at_rest(&self.runtime, ours)?;
        self.report.at_rest(self.data.sizes.len(), &rest);
        let data = Arc::clone(&self.data);
        let doors = self.doors(ours, &data, data.sizes.len())?;
        let cold = self.runtime.block_on(cold::first_questions(&doors))?;
        let group = "each tenant once, one after the other";
        self.report.row(group, "first query after a start: opens its index", 1, cold.first);
        self.report.row(group, "second query", 1, cold.second);
        let kilobytes = |bytes: u64| format!("{} KB", bytes / 1_000);
        let open = cold.resident;
        self.report.fact("resident per open index", kilobytes(open), json!(open));
        self.report.fact("of that not pages of its files", kilobytes(cold.own), json!(cold.own));
        Ok(())
    }

    /// The crate and the engine, without HTTP.
    fn in_process(&mut self, ours: &Deployment) -> Result<()> {
        println!("in process");
        let length = self.arguments.length();
        let open = || self.runtime.block_on(near::Near::open(&ours.folder));
        let near = open()?;
        self.runtime.block_on(near.touch(&self.data, &self.few()))?;
        self.runtime.block_on(near.close())?;
        let near = open()?;
        for tenant in self.few() {
            let own = self.runtime.block_on(near.own(&self.data, tenant))?;
            let copy = tempfile::tempdir()?;
            let engine = near.copy(&own, copy.path())?;
            for connections in CONNECTIONS {
                let (mut ours, mut raw) = (Sample::default(), Sample::default());
                for _ in 0..self.arguments.rounds {
                    raw.add(near::engine_alone(&engine, &own, connections, length)?);
                    ours.add(self.runtime.block_on(near.crate_alone(&own, connections, length))?);
                }
                let group = format!("in process, {}", self.name(tenant));
                self.report.row(&group, "the engine alone", connections, raw);
                self.report.row(
                    &group,
                    "memory, results opened from sealed rows",
                    connections,
                    ours,
                );
            }
        }
        self.runtime.block_on(near.close())?;
        Ok(())
    }
}

/// Queries of these tenants, each tenant in turn.
fn queries(doors: &Doors<'_>, tenants: &[usize]) -> Vec<Request> {
    let each = (QUERIES / tenants.len() as u64).max(1);
    (0..each).flat_map(|nth| tenants.iter().map(move |tenant| doors.query(*tenant, nth))).collect()
}
