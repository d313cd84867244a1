//! Why something could not be kept or cleared. Reading has no errors: what cannot be read is
//! a miss.

/// Why a tier or the sealing failed. The message is public; causes are for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk tier failed.
    #[error("the cache on disk cannot be used at the moment")]
    Store(#[from] store::Error),
    /// The value could not be sealed.
    #[error("the cache cannot seal at the moment")]
    Vault(#[from] vault::Error),
    /// Settings that contradict each other.
    #[error("cache settings: {0}")]
    Settings(&'static str),
    /// Another backend failed.
    #[error("the cache cannot be used at the moment")]
    Backend(String),
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Settings(_) => "config.invalid",
            Self::Backend(_) => "internal",
        }
    }
}
