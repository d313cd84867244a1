//! What the registry refuses.

use scope::Unavailable;

/// Why the registry did not do, or could not say, what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is in use, or was used by a tenant that is erased.
    #[error("{what} {name} exists already{hint}")]
    Exists {
        /// Of what kind it is.
        what: &'static str,
        /// The name.
        name: String,
        /// What to know about it.
        hint: &'static str,
    },
    /// There is nothing of this name.
    #[error("there is no {what} {name}")]
    Missing {
        /// Of what kind it would be.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The alias is another tenant's alias or id.
    #[error("{alias} names the tenant {tenant} already")]
    AliasTaken {
        /// The alias asked for.
        alias: String,
        /// Whose it is.
        tenant: String,
    },
    /// Not something that the registry can hold.
    #[error("{0}")]
    Invalid(String),
    /// A list has reached its bound.
    #[error("{what}: at most {most}{hint}")]
    Full {
        /// Which list.
        what: &'static str,
        /// The bound.
        most: usize,
        /// What to do about it.
        hint: &'static str,
    },
    /// A row of the registry does not read as what it should be.
    #[error("the registry holds a row that cannot be read")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store below.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The write was given up because the process is stopping; it is there wholly or not at
    /// all.
    #[error("the server is stopping")]
    Stopping,
}

impl Error {
    /// The stable code; each has a page under `docs/errors/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "directory.exists",
            Self::Missing { .. } => "directory.missing",
            Self::AliasTaken { .. } => "directory.alias_taken",
            Self::Invalid(_) => "directory.invalid",
            Self::Full { .. } => "directory.full",
            Self::Corrupt(_) => "store.corrupt",
            Self::Store(error) => error.code(),
            Self::Stopping => "server.draining",
        }
    }

    pub(crate) fn missing(what: &'static str, name: impl ToString) -> Self {
        Self::Missing { what, name: name.to_string() }
    }

    pub(crate) fn corrupt(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Corrupt(why.into())
    }
}

impl From<Error> for Unavailable {
    fn from(error: Error) -> Self {
        let why = match &error {
            Error::Corrupt(why) => format!("{error}: {why}"),
            _ => error.to_string(),
        };
        Self(why)
    }
}
