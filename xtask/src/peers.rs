//! What other people made, installed to be stood behind or measured beside.

use std::path::PathBuf;

use anyhow::Result;

use crate::{packages, shell};

/// Names the program of `LiteLLM` to the real clients and the benchmark.
pub(crate) const LITELLM: &str = "LITELLM_BIN";
/// Names the folder of Portkey's package to the real clients and the benchmark.
pub(crate) const PORTKEY: &str = "PORTKEY_DIR";
/// Names the program of Redis to the prober's tests.
pub(crate) const REDIS: &str = "REDIS_SERVER";
/// Names the Python with Postgres and pgvector to the benchmark and to the prober's tests.
pub(crate) const PGVECTOR: &str = "PGVECTOR_PYTHON";

/// The program of `LiteLLM`'s proxy, as e2e/peers pins it.
pub(crate) fn litellm() -> Result<PathBuf> {
    let python = packages::python(&shell::root()?.join("e2e/peers"))?;
    Ok(python.with_file_name("litellm"))
}

/// Redis, with its command line, as Debian ships it.
pub(crate) fn redis() -> Result<PathBuf> {
    let program = "redis-server";
    if !shell::answers(shell::command(program)?.arg("--version")) {
        shell::install_packages(&[program])?;
    }
    Ok(program.into())
}

/// Postgres as Debian ships it, for the tests of tools that are queries: they skip it where it is
/// neither installed nor may be.
pub(crate) fn postgres() -> Result<()> {
    let mut versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.any(|one| one.path().join("bin/pg_ctl").exists());
    if !installed && shell::may_install() {
        shell::install_packages(&["postgresql"])?;
    }
    Ok(())
}

/// The folder of Portkey's package, as bench/peers pins it.
pub(crate) fn portkey() -> Result<PathBuf> {
    let folder = shell::root()?.join("bench/peers");
    packages::npm(&folder)?;
    Ok(folder.join("node_modules/@portkey-ai/gateway"))
}

/// The Python with Postgres and pgvector, as bench/pgvector pins it.
pub(crate) fn pgvector() -> Result<PathBuf> {
    packages::python(&shell::root()?.join("bench/pgvector"))
}
