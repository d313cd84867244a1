//! A review: what is asked, and what was decided.

use std::fmt;

use ids::{
    AccountId, AgentId, Environment, Millis, ProviderId, RandomId, Subject, TenantId, WorkflowId,
};
use serde::{Deserialize, Serialize};

/// What kind of decision it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A write that waits until a person allows it.
    Approval,
    /// A write that was recorded and will not be executed; for people to look at.
    Suggestion,
    /// A write of which it is not known whether it was done.
    Unknown,
    /// A definition that is no longer the one that was pinned.
    Drift,
    /// A thing whose owner is in doubt.
    Quarantine,
}

impl Kind {
    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Suggestion => "suggestion",
            Self::Unknown => "unknown",
            Self::Drift => "drift",
            Self::Quarantine => "quarantine",
        }
    }
}

/// How a review stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits.
    Open,
    /// Allowed, and not used yet.
    Approved,
    /// Refused.
    Denied,
    /// Allowed, and used: never again.
    Used,
    /// Nobody decided in time.
    Expired,
    /// Closed by an operator who settled it elsewhere.
    Closed,
}

impl State {
    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Closed => "closed",
        }
    }

    /// Whether something can still come of it.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Open | Self::Approved)
    }
}

/// What is to be decided.
#[derive(Clone, Debug)]
pub struct New {
    /// Which kind.
    pub kind: Kind,
    /// What it is about: the tool, as agents call it.
    pub what: String,
    /// Where that is.
    pub upstream: Option<ProviderId>,
    /// On which account there.
    pub account: Option<AccountId>,
    /// All of the final arguments, as canonical JSON: what is approved, whole. Sealed.
    pub payload: Vec<u8>,
    /// Their digest.
    pub digest: [u8; 32],
    /// The policies in force when it was asked.
    pub policy: [u8; 32],
    /// Why a person has to decide, in words.
    pub reason: String,
    /// Two different people have to agree.
    pub four_eyes: bool,
    /// Until when it can be decided and used.
    pub expires: Millis,
    /// Of kind `Approval`: the mandates under which Bulkhead itself executes it once it is approved, if it
    /// is to. Two: a crash may come when one was redeemed and nothing done.
    pub mandates: Vec<scope::Mandate>,
    /// Of an intent of a write.
    pub intent: Option<RandomId>,
}

/// A review as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its id.
    pub id: RandomId,
    /// Which kind.
    pub kind: Kind,
    /// How it stands.
    pub state: State,
    /// What it is about.
    pub what: String,
    /// Where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<ProviderId>,
    /// On which account there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The digest of what is approved, in hexadecimal digits.
    pub digest: String,
    /// The policies in force when it was asked, likewise.
    pub policy: String,
    /// Why a person has to decide.
    pub reason: String,
    /// Who asked.
    pub asked_by: String,
    /// In which workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// In which run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<ids::RunId>,
    /// Which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// On behalf of which end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Whether two different people have to agree.
    pub four_eyes: bool,
    /// When it was opened.
    pub opened: Millis,
    /// Until when it can be decided and used.
    pub expires: Millis,
    /// Who decided what, in order.
    #[serde(default)]
    pub decisions: Vec<Decided>,
    /// Of an intent of a write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<RandomId>,
    /// The intent that used it: not always the one that it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_for: Option<RandomId>,
}

/// One person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who.
    pub by: String,
    /// When.
    pub at: Millis,
    /// Whether it is allowed.
    pub approved: bool,
    /// Of kind `Unknown`: whether the write was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which person that is, for the rule of four eyes: two credentials of one end user, or of one
    /// workflow without an end user, are one person.
    #[serde(default)]
    pub person: String,
    /// It was of arguments that were edited since, and does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub void: bool,
}

/// A decision to be noted.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Who: a proven actor as records show it (`operator:ada`, `key:bh_…`), never what a request says.
    pub by: String,
    /// Whether it is allowed. Of what is no approval, nothing follows from it.
    pub approve: bool,
    /// Why.
    pub reason: Option<String>,
    /// The digest of what the person saw: of something else nothing is decided.
    pub digest: [u8; 32],
}

/// What a person found out of a write of which it was not known whether it was done.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Who: as of a [`Decision`].
    pub by: String,
    /// Whether it was done.
    pub done: bool,
    /// How that was found out.
    pub reason: Option<String>,
    /// The digest of what the person saw.
    pub digest: [u8; 32],
}

/// What an approval is asked for by whoever wants to use it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which tool.
    pub what: &'a str,
    /// Which final arguments.
    pub digest: [u8; 32],
    /// Under which policies.
    pub policy: [u8; 32],
    /// On which account.
    pub account: Option<&'a AccountId>,
    /// For which intent: the one that is executed.
    pub intent: RandomId,
}

/// What is told of a new review: nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Which.
    pub id: RandomId,
    /// Of which tenant; nobody's for what is in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// In which environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Which kind.
    pub kind: Kind,
    /// What it is about.
    pub what: String,
    /// When it was opened.
    pub opened: Millis,
    /// Until when.
    pub expires: Millis,
}

/// Whoever is told of new reviews. It must not block.
pub trait Notify: Send + Sync + fmt::Debug {
    /// There is a new one, from a hop of this tenant. Whose hop it was is for fairness alone: of what is
    /// in doubt nobody is told.
    fn opened(&self, whose: &TenantId, notice: Notice);
}
