//! What can go wrong with records.

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The vault failed; a foreign record is [`vault::Error::Foreign`], and never data.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// Stored records are not as this program left them. The log is verified to find where.
    #[error("the records are damaged: {0}; `bulkhead audit verify` tells where")]
    Damaged(&'static str),
    /// An export, a note or a key that cannot be read.
    #[error("not readable: {0}")]
    Unreadable(&'static str),
    /// Settings that cannot be.
    #[error("records settings: {0}")]
    Settings(&'static str),
}

impl Error {
    /// Whether it says that the owner was erased, or is being erased: nothing is kept any more.
    pub(crate) const fn says_erased(&self) -> bool {
        matches!(self, Self::Store(store::Error::Erased) | Self::Vault(vault::Error::Shredded))
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Damaged(_) => "records.damaged",
            Self::Unreadable(_) => "records.unreadable",
            Self::Settings(_) => "config.invalid",
        }
    }
}
