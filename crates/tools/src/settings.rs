//! What an operator may set: upstreams, the contracts of tools, bounds. The section `[tools]` of
//! `bulkhead.toml`.

use ids::{ProviderId, WorkflowId};
use serde::{Deserialize, Serialize};

mod check;
mod contract;
mod limits;
mod upstream;

pub(crate) use check::header_is_ours;
pub use contract::{
    Approval, Contract, Effect, Enforcement, Holds, HttpRequest, Idempotency, Owner, Query,
    Reconcile, Rule, Source,
};
pub use limits::{Limits, Timeouts};
pub use upstream::{Auth, Upstream, UpstreamKind, Uris};

use crate::Mode;

/// Upstreams and the tools at them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where tools are: MCP servers, HTTP APIs, databases.
    pub upstreams: Vec<Upstream>,
    /// The tools that agents get, each with what holds for it. What is not here is not offered.
    pub contracts: Vec<Contract>,
    /// How far the writes of a workflow may go at most.
    pub workflows: Vec<WorkflowMode>,
    /// Origins (`https://app.example.com`) whose pages may speak to `/mcp`. Default: none; a
    /// request with an `Origin` that is not here is refused.
    pub origins: Vec<String>,
    /// Bounds on calls.
    pub limits: Limits,
}

/// How far the writes of one workflow may go at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowMode {
    /// Which.
    pub workflow: WorkflowId,
    /// How far.
    pub mode: Mode,
}

impl Settings {
    /// The upstream of this name.
    #[must_use]
    pub fn upstream(&self, id: &ProviderId) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.id == *id)
    }
}
