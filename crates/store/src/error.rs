//! What can go wrong in the store, each with a stable code.

use std::{fmt, path::PathBuf, sync::Arc};

use crate::File;

/// The cause behind an [`Error`], for the log: it may name paths and SQL, so it is no part of
/// the error's own message.
#[derive(Clone, Debug)]
pub struct Cause(Arc<str>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl<T: Into<Arc<str>>> From<T> for Cause {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// Why the store could not do what it was asked. Cloneable: a failed commit fails every
/// write in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No space is left. Reads go on; writes recover by themselves once there is space.
    #[error("the disk of the data directory is full: free space or grow it; reads go on")]
    Full,
    /// The files or their disk cannot be written. Reads go on.
    #[error("the data directory is read-only: check its mount and its owner; reads go on")]
    ReadOnly,
    /// A file is damaged, or is not one of ours.
    #[error("the file {file} is damaged: stop and restore it from a backup")]
    Corrupt {
        /// Which file.
        file: File,
        /// What SQLite or the check said.
        #[source]
        cause: Cause,
    },
    /// A file, or a backup, was written by a newer version of this program.
    #[error("{file} has schema {found}, this program knows {known}: use the newer program")]
    Newer {
        /// Which file.
        file: File,
        /// The schema version that it has.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// A row that was found under one partition belongs to another. Never data; a security
    /// event, counted in [`crate::Store::foreign_rows`].
    #[error("a record did not belong to its owner and was withheld")]
    ForeignRow,
    /// A key, a value or a request is over its bound.
    #[error("{what} of {size} is over the bound of {bound}")]
    TooLarge {
        /// What is over: `a key` or `a value` (bytes), `a scan` (rows) or `a read of keys`.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        bound: usize,
    },
    /// Too many writes of this tenant wait already, or another program holds the files.
    #[error("too many writes are waiting: try again")]
    Busy,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Everything of this tenant and environment was erased, or is being erased: nothing is
    /// kept for it any more.
    #[error("what belongs to this tenant was erased: nothing is kept for it any more")]
    Erased,
    /// A running process has this directory open.
    #[error("{} is in use by another process", dir.display())]
    InUse {
        /// The directory, or the file of a single-file store.
        dir: PathBuf,
    },
    /// A restore into this directory was cut off.
    #[error("{} holds half a restore: empty it and restore again", dir.display())]
    HalfRestored {
        /// The directory.
        dir: PathBuf,
    },
    /// A place that must be empty is not.
    #[error("{} is not empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A backup that is not whole.
    #[error("the backup is not whole: {0}")]
    BadBackup(String),
    /// A table of one file was used in a write to another.
    #[error("table {table} is not in the file of this write")]
    WrongFile {
        /// The table's name.
        table: &'static str,
    },
    /// The code inside a write panicked. It was rolled back; others were not touched.
    #[error("a write failed and was rolled back")]
    Panicked,
    /// The operating system refused.
    #[error("the store could not {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        cause: Cause,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full => "store.full",
            Self::ReadOnly => "store.read_only",
            Self::Corrupt { .. } => "store.corrupt",
            Self::Newer { .. } => "store.newer",
            Self::ForeignRow => "store.foreign_row",
            Self::TooLarge { .. } => "store.too_large",
            Self::Busy => "store.busy",
            Self::Closed => "store.closed",
            Self::Erased => "store.erased",
            Self::InUse { .. } => "store.in_use",
            Self::HalfRestored { .. } => "store.half_restored",
            Self::NotEmpty { .. } => "store.not_empty",
            Self::BadBackup(_) => "store.bad_backup",
            Self::WrongFile { .. } | Self::Panicked => "internal",
            Self::Io { .. } => "store.io",
        }
    }

    /// Sorts an error of the operating system.
    pub(crate) fn io(doing: &'static str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => Self::Full,
            Kind::ReadOnlyFilesystem | Kind::PermissionDenied => Self::ReadOnly,
            _ => Self::Io { doing, cause: error.to_string().into() },
        }
    }

    /// Sorts an error of SQLite.
    pub(crate) fn sqlite(file: File, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let cause = || Cause::from(error.to_string());
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::Full,
            Some(Code::ReadOnly | Code::PermissionDenied) => Self::ReadOnly,
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => {
                Self::Corrupt { file, cause: cause() }
            }
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy,
            _ => Self::Io { doing: "use its files", cause: cause() },
        }
    }
}
