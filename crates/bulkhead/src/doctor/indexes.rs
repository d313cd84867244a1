//! The indexes of collections: where they lie, what they take, whether as many can be open.

use std::{fs::Metadata, path::Path};

use serde_json::Value;
use server::Settings;

use super::{
    Finding,
    files::{private, space},
};
use crate::print::bytes;

/// Files that one open index has, with some to spare.
const FILES: u64 = 2;
/// Files of everything else.
const OTHERS: u64 = 256;
/// Deeper than this nothing of ours lies.
const DEPTH: usize = 8;

/// The directory on this machine, and what the process may open.
pub(super) fn directory(settings: &Settings) -> Vec<Finding> {
    let dir = settings.index_dir();
    let mut findings = Vec::new();
    if dir.exists() {
        let (files, size) = size(&dir, DEPTH);
        let detail = format!("{}: {} in {files} files", dir.display(), bytes(size));
        findings.push(Finding::good("indexes", detail));
        findings.push(private("indexes", &dir, 0o007));
        if settings.memory.index_dir.is_some() {
            findings.push(space("indexes", &dir));
        }
    }
    findings.extend(open_files().map(|most| descriptors(settings, most)));
    findings
}

/// Files and bytes below a directory. Nothing is followed; what vanishes meanwhile is not there.
fn size(dir: &Path, depth: usize) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return (0, 0) };
    let mut sum = (0, 0);
    for entry in entries.flatten() {
        let Ok(about) = entry.metadata() else { continue };
        let (files, size) = if about.is_dir() && depth > 0 {
            size(&entry.path(), depth - 1)
        } else {
            (u64::from(about.is_file()), if about.is_file() { on_disk(&about) } else { 0 })
        };
        sum = (sum.0 + files, sum.1 + size);
    }
    sum
}

/// What a file takes of its disk, which for one with holes is less than its length.
#[cfg(unix)]
fn on_disk(about: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    about.blocks() * 512
}

#[cfg(not(unix))]
fn on_disk(about: &Metadata) -> u64 {
    about.len()
}

/// Whether the files of all indexes that may be open, and of all connections, can be open at once.
fn descriptors(settings: &Settings, most: u64) -> Finding {
    let indexes = FILES * settings.memory.open_indexes as u64;
    let connections = 3 * settings.limits.connections as u64;
    let needed = indexes + connections + OTHERS;
    let detail = format!(
        "this machine lets a process open {most}; memory.open_indexes and limits.connections may take {needed}"
    );
    if most >= needed {
        return Finding::good("open files", detail);
    }
    Finding::warning(
        "open files",
        detail,
        "raise `ulimit -n` or LimitNOFILE for the server, or lower memory.open_indexes",
    )
}

/// What the system lets a process raise its bound to: the server does.
fn open_files() -> Option<u64> {
    hard(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// "Max open files            1024                 1048576              files"
fn hard(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        most => most.parse().ok(),
    }
}

/// What a running server says of them. One of before there were any says nothing.
pub(super) fn told(status: &Value) -> Option<Finding> {
    let memory = status.get("memory")?;
    let count = |name: &str| memory.get(name).and_then(Value::as_u64).unwrap_or_default();
    let detail = format!(
        "{} open, {}; {} made from rows since the start, {} closed to make room",
        count("open"),
        bytes(count("open_bytes")),
        count("rebuilt"),
        count("evicted")
    );
    let distrusted = count("distrusted");
    Some(match distrusted {
        0 => Finding::good("indexes", detail),
        _ => Finding::warning(
            "indexes",
            format!("{distrusted} were not what was left there, and made again; {detail}"),
            "files were changed, lost or damaged under the server: see its log, and the disk. Nothing of\nthem was answered with",
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::State;

    #[test]
    fn what_lies_there_is_counted_and_nothing_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/one"), [7; 100_000]).unwrap();
        let holes = std::fs::File::create(dir.path().join("a/two")).unwrap();
        holes.set_len(1 << 40).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("/", dir.path().join("a/everything")).unwrap();
        let (files, bytes) = size(dir.path(), DEPTH);
        assert_eq!(files, 2);
        assert!((100_000..1 << 20).contains(&bytes) || cfg!(not(unix)), "{bytes}");
        assert_eq!(size(&dir.path().join("none"), DEPTH), (0, 0));
    }

    #[test]
    fn too_few_open_files_are_told() {
        let settings = Settings::default();
        assert_eq!(descriptors(&settings, 1_024).state(), State::Warning);
        assert_eq!(descriptors(&settings, 1 << 20).state(), State::Good);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!((hard(limits), hard("")), (Some(4_096), None));
    }

    #[test]
    fn an_index_that_was_changed_is_told() {
        for (status, state) in [
            (json!({"memory": {"open": 3, "distrusted": 0}}), Some(State::Good)),
            (json!({"memory": {"open": 3, "distrusted": 1}}), Some(State::Warning)),
            (json!({}), None),
        ] {
            assert_eq!(told(&status).map(|finding| finding.state()), state, "{status}");
        }
    }
}
