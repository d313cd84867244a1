//! What the gate refuses, and why policies are not taken over.

use std::{path::PathBuf, time::Duration};

use crate::Refusal;

/// Why a hop was refused, or a policy file was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scope does not hold any more, or does not have the grant.
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// A policy forbids it, or none permits it.
    #[error("a policy of this deployment does not permit this")]
    Denied,
    /// A policy could not be evaluated, so what it would have said is not known.
    #[error("a policy of this deployment could not be evaluated, so this is refused")]
    Policy,
    /// Not admitted now.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The policy file cannot be read.
    #[error("the policy file {} cannot be read: {why}", path.display())]
    PolicyFile {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The policies do not parse, or do not fit the schema. Says where.
    #[error("the policies are not taken over:\n{0}")]
    PolicyInvalid(String),
}

impl Error {
    /// The stable code; each has a page under `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Scope(error) => error.code(),
            Self::Denied => "policy.denied",
            Self::Policy => "policy.error",
            Self::Refused(refusal) => refusal.code,
            Self::PolicyFile { .. } | Self::PolicyInvalid(_) => "policy.invalid",
        }
    }

    /// When asking again may help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

/// An error with a stable code: what a surface fails with, so that the gate can record it.
pub trait Coded {
    /// The stable code.
    fn code(&self) -> &'static str;
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        self.code()
    }
}

impl Coded for scope::Error {
    fn code(&self) -> &'static str {
        self.code()
    }
}
