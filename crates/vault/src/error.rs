//! What can go wrong in the vault.

use std::path::PathBuf;

/// Why the vault refused. Never holds secret text, nor whose bytes were met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not this owner's, not of this place, or were changed. A security event:
    /// it is counted in [`crate::Vault::foreign`].
    #[error("sealed bytes do not belong here")]
    Foreign,
    /// The key that sealed these bytes was destroyed by an erasure.
    #[error("the key of this data was destroyed by an erasure")]
    Shredded,
    /// A stored key is wrapped under a root key that the provider does not have.
    #[error(
        "the keystore needs root key {root:?}, which the root key provider does not have; put its line back, after the current one"
    )]
    NoRoot {
        /// Its id, as in `rk1:<id>:…`.
        root: String,
    },
    /// Not sealed bytes, or not a row that this version wrote.
    #[error("not in a format that this version reads: {0}")]
    Malformed(&'static str),
    /// The root key source is absent, unreadable, too widely readable or ill-formed.
    #[error("root key: {0}")]
    Root(String),
    /// There is no keystore in the directory.
    #[error("no keystore in {}: `bulkhead init` makes one; without the right one no data can be opened", .0.display())]
    Missing(PathBuf),
    /// There already is a keystore in the directory.
    #[error("{} already holds a keystore", .0.display())]
    Exists(PathBuf),
    /// The same outside secret is stored for another tenant or environment.
    #[error(
        "this secret is already stored for another tenant or environment; give each its own, or mark it shared in both places"
    )]
    Duplicate,
    /// Text that cannot be a secret for an outside system.
    #[error("not a usable secret: {0}")]
    Secret(&'static str),
    /// A bound on stored things was reached.
    #[error("too many {what}: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: u64,
    },
    /// The key cannot be retired: it is the one in use, or something still needs it.
    #[error("this key is still in use")]
    InUse,
    /// No such key.
    #[error("no such key")]
    NoSuchKey,
    /// The store beneath failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// The stable code, as documented in `docs/errors/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Foreign => "vault.foreign",
            Self::Shredded => "vault.shredded",
            Self::NoRoot { .. } => "vault.no_root",
            Self::Malformed(_) => "vault.malformed",
            Self::Root(_) => "vault.root",
            Self::Missing(_) => "vault.missing",
            Self::Exists(_) => "vault.exists",
            Self::Duplicate => "vault.duplicate",
            Self::Secret(_) => "vault.secret",
            Self::TooMany { .. } => "vault.too_many",
            Self::InUse => "vault.in_use",
            Self::NoSuchKey => "vault.no_such_key",
            Self::Store(error) => error.code(),
        }
    }
}
