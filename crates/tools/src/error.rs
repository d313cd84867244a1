//! Why there is no answer.

use http::StatusCode;
use ids::{Millis, ProviderId, RandomId, json};

/// Why a call was refused or gave no answer. Messages are for the caller: they hold neither a
/// credential nor anything of another tenant's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arguments are not JSON, or pass a bound.
    #[error("the arguments are refused: {0}")]
    Arguments(json::Error),
    /// The arguments name a key twice, so that two readers may read two calls.
    #[error("an object in the arguments names the same key twice; send each key once")]
    Duplicate,
    /// The arguments are larger than allowed.
    #[error("the arguments are {bytes} bytes; at most {most} are accepted")]
    TooLarge {
        /// How large they are.
        bytes: usize,
        /// How large they may be.
        most: usize,
    },
    /// No tool of this name is here for this caller.
    #[error("there is no tool of this name here; list the tools to see which there are")]
    Unknown,
    /// An argument that comes from the credential was supplied by the caller.
    #[error("`{0}` is not the caller's to say: it comes from the credential; leave it out")]
    Bound(String),
    /// An argument breaks a rule of the contract.
    #[error("`{argument}` is refused: {rule}")]
    Rule {
        /// Which, as a JSON Pointer.
        argument: String,
        /// What it has to be.
        rule: String,
    },
    /// What an argument is bound to is not there: no account, or more than one; no workflow.
    #[error("this call needs {0}, which the credential's tenant does not have here")]
    Unbound(&'static str),
    /// The tenant has no credential for the upstream.
    #[error(
        "this tenant and environment have no credential for upstream `{0}`; set one with `bulkhead credential set`"
    )]
    NoCredential(ProviderId),
    /// The credential is not of the form that the upstream's `auth` asks for, or could not be exchanged.
    #[error("this tenant's credential for upstream `{upstream}` cannot be used: {why}")]
    Credential {
        /// Which upstream.
        upstream: ProviderId,
        /// Why. Says nothing of the secret.
        why: &'static str,
    },
    /// The definition of the tool is not the one that was pinned.
    #[error("this tool changed at its upstream and is withheld until an operator has looked at it")]
    Drifted,
    /// A record in the answer is not the tenant's, or does not say whose it is. It is withheld.
    #[error("the answer held something that is not this tenant's, and is withheld")]
    OutOfScope,
    /// A read found nothing that is the tenant's: what there is not and what is another's are one.
    #[error("there is no such record here, or it is not this tenant's")]
    NoRecord,
    /// What a header of a call says is not what the call says.
    #[error("{0}")]
    Header(String),
    /// A handle that is not this tenant's here, or never was one.
    #[error("`{0}` names nothing that this tenant and environment have here")]
    Handle(&'static str),
    /// A write that is recorded and not executed.
    #[error("this write was recorded as a suggestion and was not executed")]
    Suggested {
        /// The review under which it stands.
        review: RandomId,
    },
    /// A write that waits for a person.
    #[error("this write waits for an approval; ask again with the review's id once it is decided")]
    ApprovalRequired {
        /// The review.
        review: RandomId,
        /// Until when.
        expires: Millis,
    },
    /// A person said no, or it expired, or it is not for this call.
    #[error("this write is not approved: {0}")]
    NotApproved(&'static str),
    /// The same write is under way.
    #[error("the same write is under way; ask again for its outcome")]
    InFlight,
    /// Whether the write was done is not known. It is not tried again on a guess.
    #[error("whether this write was done is not known yet; it is looked up, not sent again")]
    OutcomeUnknown {
        /// The intent.
        intent: RandomId,
    },
    /// As many intents as one tenant may have.
    #[error("this tenant and environment have {0} writes on record, which is the most")]
    IntentsFull(u64),
    /// The upstream did not answer as it should.
    #[error(transparent)]
    Upstream(#[from] Fault),
    /// An upstream's own error, for whoever calls: checked and scrubbed.
    #[error("the upstream refused: {0}")]
    Refused(String),
    /// The upstream asks whoever calls for more: `resultType`, `inputRequests`, `requestState`, as MCP
    /// has it. The same call goes on with the answers ([`crate::Round`]).
    #[error("the upstream asks for more; call again with what it asks for")]
    InputRequired(Box<ids::json::Json>),
    /// Reviews could not be read or written.
    #[error(transparent)]
    Reviews(#[from] reviews::Error),
    /// Rows could not be read or written.
    #[error("what is known of this write cannot be looked up at the moment")]
    Store(#[from] store::Error),
    /// The scope does not hold, or no longer.
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// The gate refused.
    #[error(transparent)]
    Gate(#[from] gate::Error),
    /// A credential could not be read, or something not sealed.
    #[error("the credential cannot be read at the moment")]
    Vault(#[from] vault::Error),
    /// Settings that contradict each other or cannot be used.
    #[error("tools settings: {0}")]
    Settings(String),
    /// Something that cannot be.
    #[error("this cannot be done at the moment")]
    Internal(&'static str),
}

impl From<json::Error> for Error {
    fn from(error: json::Error) -> Self {
        match error {
            json::Error::Duplicate => Self::Duplicate,
            other => Self::Arguments(other),
        }
    }
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Arguments(_) => "request.malformed",
            Self::Duplicate => "scope.mismatch",
            Self::TooLarge { .. } => "request.too_large",
            Self::Unknown => "tool.unknown",
            Self::Bound(_) => "tool.argument_bound",
            Self::Rule { .. } => "tool.argument_refused",
            Self::Unbound(_) => "tool.no_account",
            Self::NoCredential(_) => "tool.no_credential",
            Self::Credential { .. } => "tool.credential",
            Self::Drifted => "tool.drifted",
            Self::OutOfScope => "tool.result_out_of_scope",
            Self::NoRecord => "tool.no_record",
            Self::Header(_) => "request.malformed",
            Self::Handle(_) => "tool.handle",
            Self::Suggested { .. } => "tool.suggested",
            Self::ApprovalRequired { .. } => "approval.required",
            Self::NotApproved(_) => "approval.refused",
            Self::InFlight => "tool.in_flight",
            Self::OutcomeUnknown { .. } => "tool.outcome_unknown",
            Self::IntentsFull(_) => "tool.intents_full",
            Self::Upstream(fault) => fault.code(),
            Self::Refused(_) => "upstream.refused",
            Self::InputRequired(_) => "tool.input_required",
            Self::Reviews(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Scope(error) => error.code(),
            Self::Gate(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Settings(_) => "config.invalid",
            Self::Internal(_) => "internal",
        }
    }
}

impl gate::Coded for Error {
    fn code(&self) -> &'static str {
        self.code()
    }
}

/// How an upstream failed, and whether the call may have reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Fault {
    /// How.
    pub kind: FaultKind,
    /// Whether anything of the call may have been sent. If not, nothing can have been done.
    pub sent: bool,
}

/// How an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// It answered with a redirect. None is followed: the credential would go along.
    #[error("the upstream answered with a redirect ({0}), which is never followed")]
    Redirect(StatusCode),
    /// No connection, or one that broke before the answer was whole.
    #[error("the upstream cannot be reached, or broke off")]
    Unreachable,
    /// It took too long.
    #[error("the upstream took too long")]
    Timeout,
    /// Not an answer in its protocol.
    #[error("the upstream's answer makes no sense: {0}")]
    Malformed(&'static str),
    /// More than the configured bound.
    #[error("the upstream's answer is larger than {0} bytes")]
    TooLarge(u64),
    /// It refused the tenant's credential. Its words are not repeated: they tend to quote it.
    #[error(
        "the upstream refused this tenant's credential; set a valid one with `bulkhead credential set`"
    )]
    Credential,
    /// It accepted the credential and refused this call (403 with a challenge): the tenant may not, or not that.
    #[error("the upstream does not let this tenant's credential do this")]
    Forbidden,
    /// An error of HTTP's where its protocol has errors of its own.
    #[error("the upstream's answer makes no sense: it answered with an error ({0})")]
    Status(StatusCode),
    /// A database refused a query. Its code (SQLSTATE), and not its words: they quote rows.
    #[error("the database refused the query (SQLSTATE {})", String::from_utf8_lossy(.0))]
    Database([u8; 5]),
    /// It needs something of whoever calls (`elicitation`, `sampling`, `roots`) that they did not
    /// declare that they can be asked for.
    #[error("this tool asks its caller for {0}, which this client does not declare")]
    Undeclared(&'static str),
    /// What row-level security is to look at is not there.
    #[error("this call needs {0}, which the credential's tenant does not have here")]
    Unbound(&'static str),
}

impl Fault {
    /// Of a call of which nothing was sent.
    pub(crate) const fn unsent(kind: FaultKind) -> Self {
        Self { kind, sent: false }
    }

    /// Of a call that may have arrived.
    pub(crate) const fn sent(kind: FaultKind) -> Self {
        Self { kind, sent: true }
    }

    /// Whether the upstream got the call and would not have it: what it names is not there, or is not
    /// for who asks.
    pub(crate) fn is_refusal(&self) -> bool {
        self.sent
            && match self.kind {
                FaultKind::Forbidden => true,
                FaultKind::Status(status) => status.is_client_error(),
                _ => false,
            }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.kind {
            FaultKind::Redirect(_) => "upstream.redirect",
            FaultKind::Unreachable => "upstream.unreachable",
            FaultKind::Timeout => "upstream.timeout",
            FaultKind::Malformed(_) | FaultKind::Status(_) => "upstream.malformed",
            FaultKind::TooLarge(_) => "upstream.too_large",
            FaultKind::Credential | FaultKind::Forbidden => "upstream.credential",
            FaultKind::Database(_) => "upstream.refused",
            FaultKind::Undeclared(_) => "tool.undeclared",
            FaultKind::Unbound(_) => "tool.no_account",
        }
    }
}
