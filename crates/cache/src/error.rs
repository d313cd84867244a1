//! Why something could not be kept or cleared. Reading the cache has no errors: what cannot be
//! read is a miss. Reading state has them: a gap in it would be a wrong answer.

/// Why a tier, the state of runs or the sealing failed. The message is public; causes are for
/// the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("what is kept on disk cannot be used at the moment")]
    Store(#[from] store::Error),
    /// The value could not be sealed, or did not open.
    #[error("values cannot be sealed or opened at the moment")]
    Vault(#[from] vault::Error),
    /// Settings that contradict each other.
    #[error("{0} settings: {1}")]
    Settings(&'static str, &'static str),
    /// Another backend failed.
    #[error("the cache cannot be used at the moment")]
    Backend(String),
    /// Something else is there than the write asked for.
    #[error("the key is not as the condition says; read it and try again")]
    Conflict,
    /// A quota is used up.
    #[error("{0} is used up: delete something, or have the bound raised")]
    Full(&'static str),
    /// A key or a value is over its bound.
    #[error("{what} of {size} bytes is over the bound of {bound}")]
    TooLarge {
        /// What is over.
        what: &'static str,
        /// How large it is, in bytes.
        size: usize,
        /// How large it may be, in bytes.
        bound: usize,
    },
    /// A key, a content type or a time that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The scope ended before the write had its turn.
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// A row that this program did not write.
    #[error("what is kept on disk is damaged")]
    Damaged,
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Settings(..) => "config.invalid",
            Self::Backend(_) | Self::Damaged => "internal",
            Self::Conflict => "state.conflict",
            Self::Full(_) => "state.full",
            Self::TooLarge { .. } => "request.too_large",
            Self::Scope(error) => error.code(),
            Self::Invalid(_) => "request.malformed",
        }
    }
}
