//! Settings of the store.

use std::path::PathBuf;

use serde::Deserialize;

/// How the store is opened.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The data directory. Made if it is missing.
    pub dir: PathBuf,
    /// Idle reader connections kept per file, and scans at once per file. Default 4.
    pub readers: usize,
    /// Most writes in one commit. Default 256.
    pub max_batch: usize,
    /// Most bytes of one partition in one commit; a larger single write goes alone.
    /// Default 1 MiB.
    pub byte_cap_per_commit: usize,
    /// Most writes of one partition that may wait, per file. Default 4,096.
    pub lane_writes: usize,
    /// Most bytes of one partition that may wait, per file. Default 64 MiB.
    pub lane_bytes: usize,
    /// Bytes of all partitions that may wait, per file; beyond it a partition is held to
    /// its even share. Default 512 MiB.
    pub queue_bytes: usize,
    /// When files are checked as the store opens.
    pub check: Check,
    /// Opens for reading only, for looking into a stopped deployment's files.
    #[serde(skip)]
    pub read_only: bool,
    /// Most pages (4 KiB; 16 KiB of `memory`) that a file may have: a full disk, for tests.
    #[serde(skip)]
    pub max_pages: Option<u32>,
}

/// When files are checked (`PRAGMA quick_check`) as the store opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// After anything but a clean shutdown. Files of more than 64 MiB are then checked
    /// while they serve; one that fails refuses from there on.
    #[default]
    IfUnclean,
    /// Always, all of it, before anything is served.
    Always,
}

/// How thoroughly to check files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The structure of the file.
    Quick,
    /// Also its indexes, every row's tag, and the usage figures against the rows.
    Full,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data"),
            readers: 4,
            max_batch: 256,
            byte_cap_per_commit: 1 << 20,
            lane_writes: 4_096,
            lane_bytes: 64 << 20,
            queue_bytes: 512 << 20,
            check: Check::IfUnclean,
            read_only: false,
            max_pages: None,
        }
    }
}

impl Options {
    /// The defaults, in this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }
}
