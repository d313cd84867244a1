//! `bench NAME`: builds the benchmark and what it measures in release mode, then runs it; with `-- --peers` beside
//! what other people made for the same.

use anyhow::Result;

use crate::{e2e, peers, report::Tally, shell};

/// Benchmarks, each a binary of the package in bench/.
const BENCHMARKS: &[&str] = &["model", "memory", "tools", "probe"];

/// Runs a benchmark; it prints its own table and writes bench/results/NAME.json.
pub(crate) fn run(tally: &mut Tally, name: &str, rest: &[String]) -> Result<()> {
    if !BENCHMARKS.contains(&name) {
        anyhow::bail!("no benchmark is called {name}; there is: {}", BENCHMARKS.join(", "));
    }
    let binary = e2e::binary()?;
    let build = ["build", "--release", "--package", "bulkhead-bench", "--bin", name];
    shell::must(&mut shell::cargo(&build)?)?;
    let mut command = shell::command(shell::target()?.join("release").join(name))?;
    command.args(rest).env("BULKHEAD_BIN", &binary);
    if rest.iter().any(|argument| argument == "--peers") {
        match name {
            "memory" => command.env(peers::PGVECTOR, peers::pgvector()?),
            _ => command
                .env(peers::PORTKEY, peers::portkey()?)
                .env(peers::LITELLM, peers::litellm()?),
        };
    }
    let passed = shell::succeeds(&mut command)?;
    tally.row(name, u64::from(passed), u64::from(!passed), "");
    Ok(())
}
