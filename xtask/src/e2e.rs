//! The real clients: builds the release binary, installs e2e/.venv and e2e/js/node_modules and runs pytest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{packages, peers, report::Tally, shell};

/// The released binary, built now if it is not up to date.
pub(crate) fn binary() -> Result<PathBuf> {
    shell::must(&mut shell::cargo(&["build", "--release", "--package", "bulkhead"])?)?;
    Ok(shell::target()?.join("release/bulkhead"))
}

/// Runs the suite; `rest` is handed to pytest.
pub(crate) fn run(tally: &mut Tally, rest: &[String]) -> Result<()> {
    let folder = shell::root()?.join("e2e");
    let python = packages::python(&folder)?;
    packages::npm(&folder.join("js"))?;
    pytest(tally, "e2e", &python, rest, &[])
}

/// Runs the SDKs through Bulkhead against other people's servers.
pub(crate) fn peers(tally: &mut Tally) -> Result<()> {
    let python = packages::python(&shell::root()?.join("e2e"))?;
    let variables = [
        (peers::LITELLM, peers::litellm()?),
        (peers::PORTKEY, peers::portkey()?),
        (peers::REDIS, peers::redis()?),
        (peers::PGVECTOR, peers::pgvector()?),
    ];
    // Its own paths are left out of the ordinary suite (pytest.ini), so it is named.
    pytest(tally, "peers", &python, &["peers".to_owned()], &variables)
}

fn pytest(
    tally: &mut Tally,
    name: &str,
    python: &Path,
    rest: &[String],
    variables: &[(&str, PathBuf)],
) -> Result<()> {
    let binary = binary()?;
    let report = shell::target()?.join(format!("{name}.xml"));
    let _ = fs::remove_file(&report);
    let mut pytest = shell::command(python)?;
    pytest
        .args(["-m", "pytest", "--junitxml"])
        .arg(&report)
        .args(rest)
        .current_dir(shell::root()?.join("e2e"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("BULKHEAD_BIN", &binary)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let succeeded = shell::succeeds(&mut pytest)?;
    let text = fs::read_to_string(&report).context("pytest wrote no report")?;
    let suite = Suite::read(&text).context("pytest's report is not what it was")?;
    let failed = if succeeded { suite.failed } else { suite.failed.max(1) };
    let note = match suite.skipped {
        0 => String::new(),
        skipped => format!("{skipped} skipped"),
    };
    tally.row(name, suite.passed, failed, &note);
    Ok(())
}

/// The sums at the head of a JUnit report.
#[derive(Debug, PartialEq, Eq)]
struct Suite {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Suite {
    fn read(xml: &str) -> Result<Self> {
        let (_, rest) = xml.split_once("<testsuite ").context("no <testsuite>")?;
        let head = rest.split('>').next().unwrap_or_default();
        let number = |name: &str| -> Result<u64> {
            let (_, value) =
                head.split_once(&format!("{name}=\"")).with_context(|| format!("no {name}"))?;
            Ok(value.split('"').next().unwrap_or_default().parse()?)
        };
        let (all, skipped) = (number("tests")?, number("skipped")?);
        let failed = number("failures")? + number("errors")?;
        let Some(passed) = all.checked_sub(skipped + failed) else {
            bail!("{failed} of {all} tests failed, {skipped} were skipped");
        };
        Ok(Self { passed, failed, skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_junit_head_is_read() -> Result<()> {
        let xml = r#"<?xml version="1.0"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10" time="1.5"><testcase/>"#;
        let expected = Suite { passed: 4, failed: 3, skipped: 3 };
        assert_eq!(Suite::read(xml)?, expected);
        Ok(())
    }
}
