//! What the doors need to know of tenants and credentials; a higher floor keeps it.

use std::collections::BTreeMap;

use ids::{
    AccountId, AgentId, Alias, BoxFuture, Environment, Millis, OperatorName, RandomId, RunId,
    ServiceName, Subject, System, TenantId, WorkflowId,
};
use serde::{Deserialize, Serialize};

use crate::{Digest, Grants};

/// Something that a decision depends on could not be reached. The text is for the log only.
#[derive(Clone, Debug, thiserror::Error)]
#[error("unavailable: {0}")]
pub struct Unavailable(pub String);

/// Whether a tenant is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Served.
    Active,
    /// Not served, nothing deleted.
    Suspended,
    /// Erased; the name is not given out again.
    Erased,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its id.
    pub id: TenantId,
    /// Rises with every change of this record: an older record never replaces a newer one.
    pub revision: u64,
    /// Its other names, unique over all tenants.
    pub aliases: Vec<Alias>,
    /// Whether it is served.
    pub status: Status,
    /// Credentials made before this are void. In Unix seconds, strictly rising.
    pub epoch: u64,
    /// Tokens of outside issuers that were issued at or before this are void, in Unix seconds:
    /// when the tenant last took over a name that had been another's. Such a token names a
    /// tenant, and what it named then was somebody else.
    #[serde(default)]
    pub named_since: u64,
    /// Its environments.
    pub environments: Vec<EnvironmentRecord>,
    /// Its accounts in outside systems: its allowlist there.
    pub accounts: BTreeMap<System, Vec<AccountId>>,
    /// Tokens, grants and keys that were revoked and have not yet expired.
    pub revoked: Vec<Revoked>,
    /// When it was created.
    pub created: Millis,
}

/// One environment of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRecord {
    /// Its name.
    pub name: Environment,
}

/// A revoked credential or lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The id of the token, run grant or API key; whatever descends from it is void too.
    pub id: RandomId,
    /// After this the credential would have expired anyway.
    pub until: Millis,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// Its id.
    pub id: RandomId,
    /// The part that may be shown.
    pub prefix: String,
    /// Whose.
    pub tenant: TenantId,
    /// In which environment.
    pub environment: Environment,
    /// For which workflow.
    pub workflow: WorkflowId,
    /// What it may do.
    pub grants: Grants,
    /// The tenant's epoch when it was made.
    pub epoch: u64,
    /// When it was made.
    pub created: Millis,
    /// When it ends, if ever.
    pub expires: Option<Millis>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Which names something may be used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Listed {
    /// Every one: written `"*"`, and never a default.
    Any(Star),
    /// These.
    These(Vec<String>),
}

/// The text `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Star {
    /// `*`
    #[serde(rename = "*")]
    Star,
}

impl Listed {
    /// From names as they are typed: `["*"]` is every one.
    #[must_use]
    pub fn from_names(names: Vec<String>) -> Self {
        if names.len() == 1 && names[0] == "*" { Self::Any(Star::Star) } else { Self::These(names) }
    }

    /// Whether every name is.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        matches!(self, Self::Any(_))
    }

    /// Whether `name` is among them.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Self::Any(_) => true,
            Self::These(names) => names.iter().any(|n| n == name),
        }
    }
}

/// A service credential: the company's backend or worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name.
    pub name: ServiceName,
    /// The tenants that it may mint for.
    pub tenants: Listed,
    /// In which environments.
    pub environments: Listed,
    /// For which workflows.
    pub workflows: Listed,
    /// The most that its tokens may do.
    pub grants: Grants,
    /// When it was made.
    pub created: Millis,
    /// When it ends, if ever.
    pub expires: Option<Millis>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// See the deployment's configuration and registries, never a tenant's data.
    Read,
    /// Change tenants, credentials and keys.
    Write,
    /// Enter one tenant at a time, with a reason, on the record.
    Enter,
}

/// An operator: a person who supports or debugs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// Who.
    pub name: OperatorName,
    /// What they may do.
    pub rights: Vec<Right>,
    /// When the credential was made.
    pub created: Millis,
    /// When it ends, if ever.
    pub expires: Option<Millis>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A run grant: days-long, useless for a hop, exchanged for fresh tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGrantRecord {
    /// Its id; tokens made from it descend from it.
    pub id: RandomId,
    /// Whose.
    pub tenant: TenantId,
    /// In which environment.
    pub environment: Environment,
    /// For which workflow.
    pub workflow: WorkflowId,
    /// For which run.
    pub run: RunId,
    /// By which agent.
    pub agent: Option<AgentId>,
    /// For which end user.
    pub subject: Option<Subject>,
    /// What its tokens may do at most.
    pub grants: Grants,
    /// The tenant's epoch when it was made.
    pub epoch: u64,
    /// What it was made from, oldest first.
    pub lineage: Vec<RandomId>,
    /// When it was made.
    pub created: Millis,
    /// When it ends.
    pub expires: Millis,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// The registry of tenants and credentials.
pub trait Directory: Send + Sync {
    /// The tenant of this id or alias.
    fn tenant<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<TenantRecord>, Unavailable>>;

    /// The API key whose secret has this digest.
    fn api_key<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, Unavailable>>;

    /// The service credential whose secret has this digest.
    fn service<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<ServiceRecord>, Unavailable>>;

    /// The operator whose secret has this digest.
    fn operator<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<OperatorRecord>, Unavailable>>;

    /// The run grant whose secret has this digest.
    fn run_grant<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<RunGrantRecord>, Unavailable>>;

    /// Keeps a new run grant, durably.
    fn keep_run_grant<'a>(
        &'a self,
        digest: &'a Digest,
        record: RunGrantRecord,
    ) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// Marks a mandate as redeemed: `true` exactly once for an id, durably. It need not be
    /// remembered after `until`.
    fn spend<'a>(
        &'a self,
        id: &'a RandomId,
        until: Millis,
    ) -> BoxFuture<'a, Result<bool, Unavailable>>;
}
