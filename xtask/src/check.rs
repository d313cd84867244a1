//! `check`: what can be said about the sources without running them.

mod codes;
mod deny;
mod docs;
mod engine;
mod floors;
mod paths;
mod probes;
mod sizes;
mod tables;

use std::path::Path;

use anyhow::Result;

use crate::{
    report::Tally,
    shell,
    source::{self, File},
};

/// What the single checks look at.
struct Tree<'a> {
    root: &'a Path,
    /// Every source file under crates/, tests left out.
    files: Vec<File>,
}

/// Runs all checks; `fast` leaves out clippy and cargo-deny.
pub(crate) fn run(tally: &mut Tally, fast: bool) -> Result<()> {
    let root = shell::root()?;
    let tree = Tree { root: &root, files: source::files(&root, "crates")? };
    tally.check("floors", &floors::findings(&tree)?);
    tally.check("sizes", &sizes::findings(&tree)?);
    tally.check("paths", &paths::findings(&tree)?);
    tally.check("error codes", &codes::findings(&tree)?);
    tally.check("docs", &docs::findings(&tree)?);
    tally.check("probes", &probes::findings(&tree)?);
    tally.check("tables", &tables::findings(&tree));
    tally.check("engine", &engine::findings()?);
    ensure_components()?;
    step(tally, "format", &["fmt", "--all", "--check"])?;
    if !fast {
        let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        step(tally, "clippy", &lints)?;
        deny::run(tally)?;
    }
    Ok(())
}

fn step(tally: &mut Tally, name: &str, args: &[&str]) -> Result<()> {
    let passed = shell::succeeds(&mut shell::cargo(args)?)?;
    tally.row(name, u64::from(passed), u64::from(!passed), "");
    Ok(())
}

/// A minimal toolchain has neither rustfmt nor clippy.
fn ensure_components() -> Result<()> {
    for name in ["fmt", "clippy"] {
        if !shell::answers(&mut shell::cargo(&[name, "--version"])?) {
            let component = if name == "fmt" { "rustfmt" } else { name };
            let mut rustup = shell::command("rustup")?;
            shell::must(rustup.args(["component", "add", component]))?;
        }
    }
    Ok(())
}
