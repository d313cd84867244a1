//! The last report, kept so that its proofs can be run again.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use probe::{Report, Source};

use crate::print;

/// Where it is kept; `None` where nothing says who this is.
pub(super) fn file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("bulkhead/probe/last.json"))
}

/// Keeps a report. That it cannot be kept is no failure of probing.
pub(super) fn keep(report: &Report) {
    if report.dry_run {
        return;
    }
    let Some(file) = file() else { return };
    if let Err(error) = written(report, &file) {
        print::note(format!("the report is not kept for `bulkhead probe replay`: {error:#}"));
    }
}

fn written(report: &Report, file: &Path) -> Result<()> {
    let mut report = report.clone();
    // It is read from other directories, too.
    if let Source::File { path } = &mut report.source
        && let Ok(whole) = fs::canonicalize(&path)
    {
        *path = whole.display().to_string();
    }
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| dir.display().to_string())?;
    let new = file.with_extension(format!("new{}", std::process::id()));
    // One of a run that was killed.
    let _ = fs::remove_file(&new);
    let write = || -> Result<()> {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        out.write_all(serde_json::to_string(&report)?.as_bytes())?;
        out.sync_all()?;
        Ok(fs::rename(&new, file)?)
    };
    write().with_context(|| file.display().to_string())
}
