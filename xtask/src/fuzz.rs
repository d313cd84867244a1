//! `fuzz NAME`: runs a fuzz target with the mutation loop of fuzz/, which needs no nightly compiler, or with
//! cargo-fuzz where one is there and it is asked for.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{report::Tally, shell};

/// What parses bytes from outside.
const TARGETS: &[&str] =
    &["token", "canonical", "sse", "request", "batch", "multipart", "qdrant", "tool_arguments"];

/// Inputs per target in `cargo xtask test`: enough to walk every seed through every kind of mutation.
const REGRESSION: u64 = 100_000;

/// Which target, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// `token`, `canonical`, `sse`, `request`, `batch`, `multipart`, `qdrant` or `tool_arguments`.
    name: String,
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the random sequence begins; printed, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Use cargo-fuzz (coverage-guided; needs a nightly compiler).
    #[arg(long)]
    libfuzzer: bool,
}

/// Fuzzes one target until the time is up or it fails.
pub(crate) fn run(tally: &mut Tally, options: &Options) -> Result<()> {
    let name = options.name.as_str();
    if !TARGETS.contains(&name) {
        bail!("no fuzz target is called {name}; there are: {}", TARGETS.join(", "));
    }
    let passed = if options.libfuzzer {
        libfuzzer(name, options.seconds)?
    } else {
        let mut command = Command::new(built()?);
        command.args([name, "--seconds", &options.seconds.to_string()]);
        if let Some(seed) = options.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        shell::succeeds(&mut command)?
    };
    tally.row(name, u64::from(passed), u64::from(!passed), "");
    Ok(())
}

/// A fixed number of inputs from a fixed seed, for each target.
pub(crate) fn regression(tally: &mut Tally) -> Result<()> {
    let loops = built()?;
    let (passed, failed) = shell::at_once(TARGETS, |name| {
        let mut command = Command::new(&loops);
        command.args([name, "--seed", "1", "--inputs", &REGRESSION.to_string()]);
        Ok(if shell::succeeds(&mut command)? { (1, 0) } else { (0, 1) })
    })?;
    tally.row("fuzz", passed, failed, "");
    Ok(())
}

/// The mutation loop. Its workspace is its own, its builds lie with ours.
fn built() -> Result<PathBuf> {
    keep_in_step()?;
    let target = shell::target()?;
    let mut command = shell::cargo(&["build", "--manifest-path", "fuzz/Cargo.toml"])?;
    shell::must(command.env("CARGO_TARGET_DIR", &target).args(["--bin", "mutate"]))?;
    Ok(target.join("debug/mutate"))
}

/// Takes over the versions of the root's lock file where they differ: one of the two would otherwise be fuzzed and
/// the other shipped, and everything be built twice.
fn keep_in_step() -> Result<()> {
    let (own, root) = (shell::root()?.join("fuzz/Cargo.lock"), shell::root()?.join("Cargo.lock"));
    let (have, want) = (fs::read_to_string(&own).unwrap_or_default(), fs::read_to_string(&root)?);
    let (have, want) = (packages(&have), packages(&want));
    let known = |name: &str| want.iter().any(|(other, _)| *other == name);
    if have.is_empty() || have.iter().any(|package| known(package.0) && !want.contains(package)) {
        println!("fuzz/Cargo.lock takes over the versions of Cargo.lock");
        fs::copy(&root, &own)?;
    }
    Ok(())
}

/// Names and versions of a lock file.
fn packages(lock: &str) -> BTreeSet<(&str, &str)> {
    lock.split("[[package]]")
        .filter_map(|package| Some((value(package, "name")?, value(package, "version")?)))
        .collect()
}

fn value<'a>(package: &'a str, key: &str) -> Option<&'a str> {
    let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
    line.strip_suffix('"')
}

fn libfuzzer(name: &str, seconds: u64) -> Result<bool> {
    if !shell::answers(shell::command("cargo")?.args(["+nightly", "fuzz", "--version"])) {
        bail!(
            "this needs `rustup toolchain install nightly` and `cargo install cargo-fuzz --locked`"
        );
    }
    let mut command = shell::command("cargo")?;
    command
        .args(["+nightly", "fuzz", "run", "--features", "libfuzzer", name])
        .args([&format!("fuzz/corpus/{name}"), &format!("fuzz/seeds/{name}")])
        .args(["--", &format!("-max_total_time={seconds}")]);
    fs::create_dir_all(shell::root()?.join("fuzz/corpus").join(name))?;
    shell::succeeds(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_read() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"b\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n";
        assert_eq!(packages(lock), [("a", "1.2.3"), ("b", "0.1.0")].into());
    }
}
