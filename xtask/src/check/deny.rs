//! cargo-deny: licences, banned crates, sources, and known vulnerabilities where their database is in reach.

use std::{
    net::{TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;

use crate::{report::Tally, shell};

/// Installed when there is none; any newer one that is already there will do.
const VERSION: &str = "0.20.2";

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let Some(program) = installed()? else {
        tally.row("cargo-deny", 0, 1, "could not be installed");
        return Ok(());
    };
    let deny = |what: &[&str]| -> Result<bool> {
        let mut command = shell::command(&program)?;
        // Started by name it is `cargo-deny`, which takes no leading `deny`.
        shell::succeeds(command.args(["--all-features", "check"]).args(what))
    };
    let passed = deny(&["bans", "licenses", "sources"])?;
    tally.row("cargo-deny", u64::from(passed), u64::from(!passed), "");
    if database_in_reach() {
        let passed = deny(&["advisories"])?;
        tally.row("advisories", u64::from(passed), u64::from(!passed), "");
    } else {
        println!("  advisories: github.com is out of reach, so the RustSec database is too");
        tally.row("advisories", 0, 0, "not checked: database out of reach");
    }
    Ok(())
}

fn installed() -> Result<Option<PathBuf>> {
    let own = shell::target()?.join("tools");
    let places = [PathBuf::from("cargo-deny"), own.join("bin/cargo-deny")];
    for place in &places {
        if shell::answers(shell::command(place)?.arg("--version")) {
            return Ok(Some(place.clone()));
        }
    }
    println!(
        "cargo-deny is missing: building {VERSION} into {} (some minutes, once)",
        own.display()
    );
    let mut install = shell::cargo(&["install", "cargo-deny", "--locked", "--version", VERSION])?;
    let done = shell::succeeds(
        install.arg("--root").arg(&own).env("CARGO_TARGET_DIR", own.join("build")),
    )?;
    Ok(done.then(|| own.join("bin/cargo-deny")))
}

fn database_in_reach() -> bool {
    ("github.com", 443)
        .to_socket_addrs()
        .into_iter()
        .flatten()
        .any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok())
}
