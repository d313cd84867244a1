//! What keeps the prober itself from working; what a target does wrong is a finding.

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target file, or a flag that stands for it, does not make sense.
    #[error("{0}")]
    Plan(String),
    /// A credential could not be had.
    #[error("the credential of tenant {tenant} of target {target}: {why}")]
    Credential {
        /// `a` or `b`.
        tenant: &'static str,
        /// The target's name.
        target: String,
        /// Why; never the credential.
        why: String,
    },
    /// A target is not local and nobody said that probing it is allowed.
    #[error("target {0} is not on this machine: say --i-am-authorized if you may probe it")]
    Authorization(String),
    /// Something of this machine's.
    #[error("{what}: {why}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        why: std::io::Error,
    },
    /// The stand-in stack of the demo could not start.
    #[error("the demo: {0}")]
    Demo(String),
}

impl Error {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Plan(_) => "probe.plan",
            Self::Credential { .. } => "probe.credential",
            Self::Authorization(_) => "probe.authorization",
            Self::Io { .. } => "probe.io",
            Self::Demo(_) => "probe.demo",
        }
    }
}
