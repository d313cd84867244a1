//! The tasks of this repository. `cargo xtask test` is the one that decides whether a change is good;
//! the others are its parts, and the benchmarks.
#![expect(clippy::print_stdout, reason = "a command-line tool: what it prints is its result")]

mod bench;
mod check;
mod e2e;
mod fuzz;
mod packages;
mod peers;
mod planted;
mod report;
mod shell;
mod source;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the Bulkhead repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Floors, formatting, lints, dependencies, sizes, documented error codes.
    Check {
        /// Leave out what compiles or installs something (clippy, cargo-deny).
        #[arg(long)]
        fast: bool,
    },
    /// Everything: checks, unit and integration tests, planted bugs, real clients, kill loop, fuzz regression.
    Test(test::Options),
    /// One build with the planted bugs; each must make its test fail.
    Planted {
        /// Only bugs whose name contains this.
        filter: Option<String>,
    },
    /// The real clients in e2e/ against the release binary.
    E2e {
        /// Handed to pytest, such as `-k stream`.
        #[arg(last = true)]
        pytest: Vec<String>,
    },
    /// A benchmark: prints a table and writes bench/results/NAME.json.
    Bench {
        /// Which one: `model`.
        name: String,
        /// Handed to the benchmark, such as `--peers`, which installs Portkey and LiteLLM to measure beside ours.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// A fuzz target: mutates the seeds of fuzz/seeds/NAME.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let mut tally = report::Tally::default();
    let outcome = match Arguments::parse().task {
        Task::Check { fast } => check::run(&mut tally, fast),
        Task::Test(options) => test::run(&mut tally, &options),
        Task::Planted { filter } => planted::run(&mut tally, filter.as_deref()),
        Task::E2e { pytest } => e2e::run(&mut tally, &pytest),
        Task::Bench { name, rest } => bench::run(&mut tally, &name, &rest),
        Task::Fuzz(options) => fuzz::run(&mut tally, &options),
    };
    if let Err(error) = outcome {
        println!("error: {error:#}");
        tally.row("xtask", 0, 1, &format!("{error:#}"));
    }
    tally.print();
    if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
