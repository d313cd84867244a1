//! Why a review cannot be opened, read or decided.

use crate::Kind;

/// Why a review cannot be opened, read or decided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is none of this id here. One of another tenant's and one that never was are alike.
    #[error("there is no such review")]
    Missing,
    /// As it stands, this cannot be done with it: it is open, approved, denied, used, expired or
    /// closed. The word is that of [`crate::State`].
    #[error("this review is {0}")]
    Settled(&'static str),
    /// It asks for another kind of decision.
    #[error("this review is of kind {}: {}", .0.as_str(), asks(*.0))]
    Kind(Kind),
    /// The approval is not for this: another tool, other arguments, other policies.
    #[error("this review is of something else: {0}")]
    Other(&'static str),
    /// Whoever asked cannot approve, and nobody approves twice.
    #[error("somebody else has to decide this: not who asked, and nobody twice")]
    SamePerson,
    /// As many calls wait for decisions as may.
    #[error("{0} calls wait for decisions, which is the most; ask again later")]
    Waiting(usize),
    /// A decision in words that cannot be kept.
    #[error("the decision is refused: {0}")]
    Malformed(&'static str),
    /// As many open reviews as one tenant may have.
    #[error("{0} reviews wait for a decision, which is the most")]
    Full(u64),
    /// Quarantine is full. Nothing is let go for it: intake stops.
    #[error("quarantine is full ({0} things); an operator has to settle some")]
    QuarantineFull(u64),
    /// Arguments that a person edited are malformed.
    #[error("the edited arguments are refused: {0}")]
    Edited(String),
    /// The scope does not hold, or no longer.
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// Rows could not be read or written.
    #[error("reviews cannot be read or written at the moment")]
    Store(#[from] store::Error),
    /// Something did not open.
    #[error("reviews cannot be read or written at the moment")]
    Vault(#[from] vault::Error),
    /// Settings that cannot be used.
    #[error("reviews settings: {0}")]
    Settings(String),
}

/// What is to be done about a review.
const fn asks(kind: Kind) -> &'static str {
    match kind {
        Kind::Unknown => "settle it, as done or as not done",
        Kind::Approval | Kind::Suggestion | Kind::Drift | Kind::Quarantine => {
            "no outcome of a write is in question; decide on it"
        }
    }
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "review.missing",
            Self::Settled(_) => "review.settled",
            Self::Kind(_) => "review.kind",
            Self::Other(_) => "review.other",
            Self::SamePerson => "review.same_person",
            Self::Full(_) => "review.full",
            Self::QuarantineFull(_) => "review.quarantine_full",
            Self::Waiting(_) => "review.waiting",
            Self::Edited(_) | Self::Malformed(_) => "request.malformed",
            Self::Scope(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Settings(_) => "config.invalid",
        }
    }
}
