//! Why something of a collection could not be done.

/// Why. The message is public; causes are for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("what is kept on disk cannot be used at the moment")]
    Store(#[from] store::Error),
    /// Something could not be sealed, or did not open.
    #[error("points cannot be sealed or opened at the moment")]
    Vault(#[from] vault::Error),
    /// The scope ended on the way.
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// Settings that cannot be held.
    #[error("memory settings: {0}")]
    Settings(String),
    /// There is no such collection, or it is not the caller's: one answer for both.
    #[error("Not found: Collection `{0}` doesn't exist!")]
    NoCollection(String),
    /// There is no such point to compare with, or it is out of reach: one answer for both.
    #[error("Not found: No point with id {0} found")]
    NoPoint(crate::PointId),
    /// There is one already.
    #[error("Wrong input: Collection `{0}` already exists!")]
    Exists(String),
    /// A request that cannot be: what, where, and what to do.
    #[error("{0}")]
    Invalid(String),
    /// A field, a value or a feature that there is in Qdrant, and not here. Names it.
    #[error("{0} is not supported here")]
    Unsupported(String),
    /// A filter, an index, an order or a facet on a field whose content is sealed.
    #[error(
        "`{0}` is a content field: it is sealed and stands in no index, so nothing can be filtered, ordered or counted by it (memory.content_fields)"
    )]
    Content(String),
    /// A write that would leave, or reach beyond, what the caller may reach.
    #[error("{0}")]
    Unreachable(&'static str),
    /// A quota is used up.
    #[error("{what} is used up ({bound}): delete something, or have the bound raised")]
    Full {
        /// Which quota.
        what: &'static str,
        /// How much it is.
        bound: u64,
    },
    /// Something is over its bound.
    #[error("{what} is {size}, over the bound of {bound}")]
    TooLarge {
        /// What is over.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        bound: u64,
    },
    /// Too much of this tenant's waits already.
    #[error("too many queries of this tenant wait; try again")]
    Busy,
    /// It took too long.
    #[error("the query took longer than {0} s: ask for less, or have memory.query_seconds raised")]
    Late(u64),
    /// A text is to be embedded, and there is nothing to do it with.
    #[error("{0}")]
    Embedding(String),
    /// The tenant's route of embeddings failed; its own code.
    #[error(transparent)]
    Embedder(#[from] crate::EmbedError),
    /// The index failed, also after it was made again.
    #[error("the collection's index cannot be used at the moment")]
    Engine(String),
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
            Self::Scope(error) => error.code(),
            Self::Settings(_) => "config.invalid",
            Self::NoCollection(_) => "memory.no_collection",
            Self::NoPoint(_) => "memory.no_point",
            Self::Exists(_) => "memory.exists",
            Self::Invalid(_) => "request.malformed",
            Self::Unsupported(_) => "memory.unsupported",
            Self::Content(_) => "memory.content_field",
            Self::Unreachable(_) => "memory.out_of_reach",
            Self::Full { .. } => "memory.full",
            Self::TooLarge { .. } => "request.too_large",
            Self::Busy => "memory.busy",
            Self::Late(_) => "memory.timeout",
            Self::Embedding(_) => "memory.no_embedder",
            Self::Embedder(error) => error.code,
            Self::Engine(_) | Self::Damaged => "internal",
        }
    }
}
