//! What comes from Python's and npm's registries, pinned, into folders of the checkout. The interpreters themselves
//! are installed where they are missing and may be.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::shell;

/// The oldest Node.js that the pinned packages run on.
const NODE: u32 = 20;

/// The Python of `folder`/.venv, with what its requirements.txt pins.
pub(crate) fn python(folder: &Path) -> Result<PathBuf> {
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

/// `folder`/node_modules, with what its package-lock.json pins.
pub(crate) fn npm(folder: &Path) -> Result<()> {
    let modules = folder.join("node_modules");
    let wanted = fs::read_to_string(folder.join("package-lock.json"))?;
    let stamp = modules.join("installed.json");
    let runs = |program: &str| -> Result<bool> {
        Ok(shell::answers(shell::command(program)?.arg("--version")))
    };
    let current = fs::read_to_string(&stamp).is_ok_and(|have| have == wanted);
    if current && runs("node")? {
        return Ok(());
    }
    if !runs("node")? || !runs("npm")? {
        shell::install_packages(&["nodejs", "npm"])?;
    }
    recent(shell::output(shell::command("node")?.arg("--version"))?.trim())?;
    let mut install = shell::command("npm")?;
    install.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder);
    shell::must(&mut install)?;
    fs::write(&stamp, wanted)?;
    Ok(())
}

/// Refuses a Node.js, by what it says of itself (`v20.1.0`), that is too old.
fn recent(version: &str) -> Result<()> {
    let major = version.trim_start_matches('v').split('.').next().map(str::parse::<u32>);
    match major {
        Some(Ok(major)) if major >= NODE => Ok(()),
        _ => bail!("this needs Node.js {NODE} or newer; here is {version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_has_to_be_recent() {
        for (version, good) in
            [("v20.20.2", true), ("v24.0.0", true), ("v18.19.0", false), ("", false), ("x", false)]
        {
            assert_eq!(recent(version).is_ok(), good, "{version}");
        }
    }
}
