//! `test`: everything that decides whether a change is good, in the order in which it fails soonest.

use std::process::Command;

use anyhow::Result;

use crate::{check, e2e, fuzz, peers, planted, report::Tally, shell};

/// What to leave out while working; by default nothing is.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out what needs the release build: the real clients and the kill loop, and the demo.
    #[arg(long)]
    no_e2e: bool,
    /// Leave out the planted bugs.
    #[arg(long)]
    no_planted: bool,
    /// Put other people's servers behind the real clients, too: LiteLLM's proxy (some 700 MB of Python).
    #[arg(long)]
    peers: bool,
    /// Leave out clippy and cargo-deny.
    #[arg(long)]
    fast: bool,
}

/// Runs everything. A failed step does not keep the others from running.
pub(crate) fn run(tally: &mut Tally, options: &Options) -> Result<()> {
    check::run(tally, options.fast)?;
    tests(tally)?;
    doctests(tally)?;
    attempt(tally, "fuzz", fuzz::regression);
    if !options.no_planted {
        attempt(tally, "planted", |tally| planted::run(tally, None));
    }
    if !options.no_e2e {
        attempt(tally, "e2e", |tally| e2e::run(tally, &[]));
        attempt(tally, "demo", demo);
    }
    if options.peers {
        attempt(tally, "peers", e2e::peers);
    }
    Ok(())
}

/// A step that could not even start is a failure, and the next one still runs.
fn attempt(tally: &mut Tally, name: &str, step: impl FnOnce(&mut Tally) -> Result<()>) {
    if let Err(error) = step(tally) {
        println!("{name}: {error:#}");
        tally.row(name, 0, 1, &format!("{error:#}"));
    }
}

fn tests(tally: &mut Tally) -> Result<()> {
    peers::postgres()?;
    let mut counts = Counts::default();
    let nextest = shell::answers(&mut shell::cargo(&["nextest", "--version"])?);
    let succeeded = if nextest {
        let mut command = tested(&["nextest", "run", "--workspace", "--no-fail-fast"])?;
        shell::watched(&mut command, |line| counts.nextest(line))?
    } else {
        let mut command = tested(&["test", "--workspace", "--all-targets", "--no-fail-fast"])?;
        shell::watched(&mut command, |line| counts.libtest(line))?
    };
    counts.row(tally, "tests", succeeded);
    Ok(())
}

/// In the build with the planted bugs, of which none is on, so that nothing is built for them alone.
fn tested(args: &[&str]) -> Result<Command> {
    let mut command = shell::cargo(args)?;
    command.args(planted::features()?).env_remove("BULKHEAD_PLANTED");
    Ok(command)
}

fn doctests(tally: &mut Tally) -> Result<()> {
    let mut counts = Counts::default();
    let mut command = tested(&["test", "--workspace", "--doc", "--no-fail-fast"])?;
    let succeeded = shell::watched(&mut command, |line| counts.libtest(line))?;
    counts.row(tally, "doctests", succeeded);
    Ok(())
}

/// The main job: exits non-zero if anything leaked.
fn demo(tally: &mut Tally) -> Result<()> {
    let mut command = shell::command(e2e::binary()?)?;
    // The stand-in provider, whatever keys the machine has.
    let passed = shell::succeeds(command.arg("demo").env_remove("OPENAI_API_KEY"))?;
    tally.row("demo", u64::from(passed), u64::from(!passed), "");
    Ok(())
}

/// Sums of what test runners print.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
    fn libtest(&mut self, line: &str) {
        if let Some(rest) = line.trim_start().strip_prefix("test result: ") {
            self.passed += before(rest, " passed");
            self.failed += before(rest, " failed");
            self.ignored += before(rest, " ignored");
        }
    }

    /// `Summary [ 0.1s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 1 skipped`
    fn nextest(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once(" run: ")
            && line.trim_start().starts_with("Summary")
        {
            self.passed += before(rest, " passed");
            self.failed += before(rest, " failed") + before(rest, " timed out");
            self.ignored += before(rest, " skipped");
        }
    }

    fn row(&self, tally: &mut Tally, name: &str, succeeded: bool) {
        // A build that breaks runs no test, and is a failure all the same.
        let failed = if succeeded { self.failed } else { self.failed.max(1) };
        let note = match (self.passed + self.failed, self.ignored) {
            (0, _) if !succeeded => "no test ran: see above".to_owned(),
            (_, 0) => String::new(),
            (_, ignored) => format!("{ignored} ignored"),
        };
        tally.row(name, self.passed, failed, &note);
    }
}

/// The number that stands directly before `words`, or 0.
fn before(text: &str, words: &str) -> u64 {
    text.find(words)
        .and_then(|at| text[..at].rsplit(|c: char| !c.is_ascii_digit()).next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_sums_are_read() {
        let mut counts = Counts::default();
        counts.libtest(
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out",
        );
        counts
            .libtest("test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.libtest("test a::result ... ok");
        counts.nextest("     Summary [   0.123s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 5 skipped");
        assert_eq!((counts.passed, counts.failed, counts.ignored), (22, 6, 6));
    }
}
