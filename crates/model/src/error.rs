//! Why there is no answer.

use http::StatusCode;
use ids::{ProviderId, json};

/// Why a request was refused or the provider gave no answer. Messages are for the caller:
/// they hold neither a credential nor anything of another tenant's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The body is not JSON, or too deep.
    #[error("the body is refused: {0}")]
    Json(json::Error),
    /// The body names a key twice, so that two readers may read two requests.
    #[error("an object in the body names the same key twice; send each key once")]
    Duplicate,
    /// A field that we read has another type than it must have.
    #[error("`{field}` must be {must}")]
    Malformed {
        /// Which.
        field: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// The body is larger than allowed.
    #[error("the body is {bytes} bytes; at most {most} are accepted")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// A field by which a caller would choose a partition, an account or a destination.
    #[error("`{0}` is not accepted: {why}; remove it", why = crate::fields::why_refused(.0))]
    Unsupported(&'static str),
    /// A field, or a type of content, that is neither of this endpoint nor allowed for the
    /// provider, whose credential is shared.
    #[error(
        "`{0}` is no field or type of this endpoint that is known here; remove it, or have it allowed in the provider's `extra_fields`"
    )]
    UnknownField(String),
    /// A tool that runs at the provider, and that the route does not allow.
    #[error(
        "tool `{0}` runs at the provider; remove it, or have it allowed in the route's `hosted_tools`"
    )]
    Tool(String),
    /// A beta of Anthropic's, on a shared credential that it is not allowed for.
    #[error(
        "the beta `{0}` is not allowed, as the credential for this provider is shared; remove it, or have it allowed in the provider's `betas`"
    )]
    Beta(String),
    /// A query parameter that the endpoint does not have.
    #[error("`{0}` is no query parameter of this endpoint; remove it")]
    Parameter(String),
    /// What is wrong with a line of a batch.
    #[error("line {line}: {error}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What.
        error: Box<Self>,
    },
    /// No provider that keeps files, or several and none that is chosen.
    #[error(
        "no provider is set to keep files, batches and conversations; name one in `resources` of the configuration"
    )]
    NoKeeper,
    /// A handle that is not this tenant's in this environment. Somebody else's, a deleted one
    /// and one that never was are refused alike.
    #[error("`{0}` names nothing that this tenant and environment have here")]
    Missing(&'static str),
    /// A field that names a tenant or an environment, in a form that nothing agrees with.
    #[error("{0} must be text that agrees with the credential; remove it")]
    Claim(String),
    /// No route has this name.
    #[error("there is no model of this name here; GET /v1/models lists them")]
    UnknownModel,
    /// The route is of another endpoint.
    #[error("the model `{model}` is served at {serves}, not here")]
    NotServed {
        /// As the caller named it.
        model: String,
        /// The endpoints at which it is.
        serves: String,
    },
    /// The tenant has no credential for the provider.
    #[error(
        "this tenant and environment have no credential for provider `{0}`; set one with `bulkhead credential set`"
    )]
    NoCredential(ProviderId),
    /// The answer says that it made what is somebody else's. It is withheld.
    #[error("the provider's answer makes no sense: it names as new what was there before")]
    Claimed,
    /// As many handles as one tenant may have in one environment.
    #[error(
        "this tenant and environment own {most} things at providers, which is the most; delete files, batches or conversations"
    )]
    HandlesFull {
        /// How many.
        most: u64,
    },
    /// Who owns what could not be read or written.
    #[error("who owns what cannot be looked up at the moment")]
    Store(#[from] store::Error),
    /// The provider did not answer as it should.
    #[error(transparent)]
    Upstream(#[from] Fault),
    /// The scope does not hold, or no longer.
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// The gate refused.
    #[error(transparent)]
    Gate(#[from] gate::Error),
    /// The credential could not be read.
    #[error("the credential cannot be read at the moment")]
    Vault(#[from] vault::Error),
    /// Settings that contradict each other or cannot be used.
    #[error("model settings: {0}")]
    Settings(String),
}

impl From<json::Error> for Error {
    fn from(error: json::Error) -> Self {
        match error {
            json::Error::Duplicate => Self::Duplicate,
            other => Self::Json(other),
        }
    }
}

impl Error {
    /// Names the field, cut to a length that an answer can hold.
    pub(crate) fn unknown_field(name: &str) -> Self {
        Self::UnknownField(name[..name.floor_char_boundary(64)].to_owned())
    }

    /// Names the parameter, cut likewise.
    pub(crate) fn parameter(name: &str) -> Self {
        Self::Parameter(name[..name.floor_char_boundary(64)].to_owned())
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::Malformed { .. } => "request.malformed",
            Self::Duplicate | Self::Claim(_) => "scope.mismatch",
            Self::TooLarge { .. } => "request.too_large",
            Self::Unsupported(_)
            | Self::UnknownField(_)
            | Self::Beta(_)
            | Self::Parameter(_)
            | Self::NoKeeper => "request.unsupported",
            Self::Line { error, .. } => error.code(),
            Self::Tool(_) => "model.tool",
            Self::Missing(_) => "model.handle",
            Self::UnknownModel | Self::NotServed { .. } => "model.unknown",
            Self::NoCredential(_) => "model.no_credential",
            Self::Claimed => "upstream.malformed",
            Self::HandlesFull { .. } => "model.handles_full",
            Self::Store(error) => error.code(),
            Self::Upstream(fault) => fault.code(),
            Self::Scope(error) => error.code(),
            Self::Gate(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Settings(_) => "config.invalid",
        }
    }
}

impl gate::Coded for Error {
    fn code(&self) -> &'static str {
        self.code()
    }
}

/// How a provider failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It answered with a redirect. None is followed: the credential would go along.
    #[error("the provider answered with a redirect ({0}), which is never followed")]
    Redirect(StatusCode),
    /// No connection, or one that broke before the answer was whole.
    #[error("the provider cannot be reached, or broke off")]
    Unreachable,
    /// It took too long.
    #[error("the provider took too long to {0}")]
    Timeout(Phase),
    /// Not an answer in its protocol.
    #[error("the provider's answer makes no sense: {0}")]
    Malformed(&'static str),
    /// More than the configured bound.
    #[error("the provider's answer is larger than {0} bytes")]
    TooLarge(u64),
    /// It refused the tenant's credential. Its words are not repeated: they tend to quote it.
    #[error(
        "the provider refused this tenant's credential ({0}); set a valid one with `bulkhead credential set`"
    )]
    Credential(StatusCode),
}

/// What a provider took too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// To accept a connection.
    Connect,
    /// To begin its answer.
    FirstByte,
    /// To go on with it.
    Idle,
    /// To finish it.
    Total,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "accept a connection",
            Self::FirstByte => "begin its answer",
            Self::Idle => "go on with its answer",
            Self::Total => "finish its answer",
        })
    }
}

impl Fault {
    /// It says the credential that it was sent.
    pub(crate) const REPEATS: Self = Self::Malformed("it repeats the credential");

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Redirect(_) => "upstream.redirect",
            Self::Unreachable => "upstream.unreachable",
            Self::Timeout(_) => "upstream.timeout",
            Self::Malformed(_) => "upstream.malformed",
            Self::TooLarge(_) => "upstream.too_large",
            Self::Credential(_) => "upstream.credential",
        }
    }
}
