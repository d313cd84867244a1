//! Why a deployment could not be opened or served.

use std::{net::SocketAddr, path::PathBuf};

/// Why a deployment could not be opened or served. For the operator, at start; what a request
/// gets is in its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error("settings: `{field}`: {rule}")]
    Settings {
        /// Which, as a path.
        field: String,
        /// What it has to be.
        rule: String,
    },
    /// An address that could not be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        why: std::io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("TLS: {}: {why}", path.display())]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file that could not be read or written.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: std::io::Error,
    },
    /// The doors.
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// The registry.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// Events and the audit log.
    #[error(transparent)]
    Records(#[from] records::Error),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// Collections.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The gate.
    #[error(transparent)]
    Gate(#[from] gate::Error),
    /// The model surface.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Reviews.
    #[error(transparent)]
    Reviews(#[from] reviews::Error),
    /// The tools surface.
    #[error(transparent)]
    Tools(#[from] tools::Error),
}

impl Error {
    pub(crate) fn settings(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Settings { field: field.into(), rule: rule.into() }
    }

    /// The stable code; each has a page under `docs/errors/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Settings { .. } => "config.invalid",
            Self::Listen { .. } => "server.listen",
            Self::Tls { .. } => "server.tls",
            Self::File { .. } => "server.file",
            Self::Scope(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Directory(error) => error.code(),
            Self::Records(error) => error.code(),
            Self::Cache(error) => error.code(),
            Self::Memory(error) => error.code(),
            Self::Gate(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::Reviews(error) => error.code(),
            Self::Tools(error) => error.code(),
        }
    }
}
