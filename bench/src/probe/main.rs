//! `cargo xtask bench probe`: how good the prober is. Its statistics on simulated latencies of known effect: how often
//! an effect is seen, what power it prints, how often it sees what is not there. And its checks on the stack of
//! `bulkhead probe --demo`: for each flaw how often its check finds it, and what is found in the right one.
#![expect(clippy::print_stdout, reason = "a command-line tool: what it prints is its result")]

mod stack;
mod statistics;

use std::{fs, time::Instant};

use anyhow::Result;
use bench::table;
use clap::Parser;
use serde_json::json;

/// Benchmark of the prober.
#[derive(Parser)]
struct Arguments {
    /// Runs for each flaw, each with a seed of its own.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Whole runs over the right stack.
    #[arg(long, default_value_t = 5)]
    twins: u64,
    /// Simulated tests for each row of the statistics.
    #[arg(long, default_value_t = 2_000)]
    tests: usize,
    /// Flaws whose names begin so.
    #[arg(long, default_value = "")]
    flaws: String,
    /// Few of everything: to see that it runs.
    #[arg(long)]
    quick: bool,
}

impl Arguments {
    fn settled(mut self) -> Self {
        if self.quick {
            self.seeds = self.seeds.min(1);
            self.twins = self.twins.min(1);
            self.tests = self.tests.min(200);
        }
        self
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse().settled();
    let results = table::results()?;
    let begun = Instant::now();
    let statistics = statistics::measure(arguments.tests);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let flaws = runtime.block_on(stack::flaws(&arguments.flaws, arguments.seeds))?;
    let twins = runtime.block_on(stack::twins(arguments.twins))?;
    let report = json!({
        "machine": table::machine(),
        "seconds": begun.elapsed().as_secs(),
        "statistics": statistics,
        "flaws": flaws,
        "twins": twins,
    });
    let file = results.join("probe.json");
    fs::write(&file, format!("{report:#}\n"))?;
    println!("\n{} s; written to bench/results/probe.json", begun.elapsed().as_secs());
    Ok(())
}
