//! The real clients: builds the release binary, makes e2e/.venv and runs pytest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{report::Tally, shell};

/// The released binary, built now if it is not up to date.
pub(crate) fn binary() -> Result<PathBuf> {
    shell::must(&mut shell::cargo(&["build", "--release", "--package", "bulkhead"])?)?;
    Ok(shell::target()?.join("release/bulkhead"))
}

/// Runs the suite; `rest` is handed to pytest.
pub(crate) fn run(tally: &mut Tally, rest: &[String]) -> Result<()> {
    let folder = shell::root()?.join("e2e");
    let python = environment(&folder)?;
    let binary = binary()?;
    let report = shell::target()?.join("e2e.xml");
    let _ = fs::remove_file(&report);
    let mut pytest = shell::command(python)?;
    pytest
        .args(["-m", "pytest", "--junitxml"])
        .arg(&report)
        .args(rest)
        .current_dir(&folder)
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
    tally.row("e2e", suite.passed, failed, &note);
    Ok(())
}

/// The Python of e2e/.venv, with what requirements.txt pins.
fn environment(folder: &Path) -> Result<PathBuf> {
    let venv = folder.join(".venv");
    let python = venv.join("bin/python");
    let wanted = fs::read_to_string(folder.join("requirements.txt"))?;
    let stamp = venv.join("requirements.txt");
    let current = fs::read_to_string(&stamp).is_ok_and(|have| have == wanted);
    if current && shell::answers(shell::command(&python)?.arg("--version")) {
        return Ok(python);
    }
    if !shell::answers(shell::command("python3")?.args(["-c", "import venv, ensurepip"])) {
        shell::install_packages(&["python3", "python3-venv"])?;
    }
    let mut create = shell::command("python3")?;
    shell::must(create.args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut install = shell::command(&python)?;
    install
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"])
        .arg(folder.join("requirements.txt"));
    shell::must(&mut install)?;
    fs::write(&stamp, wanted)?;
    Ok(python)
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
