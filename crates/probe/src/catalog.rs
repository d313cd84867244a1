//! The catalogue: every check there is, what it means, what it maps to, how to mend it.

mod calls;
mod mcp;
mod things;

use serde::Serialize;

pub use self::{calls::*, mcp::*, things::*};
use crate::questions::Question;

/// What a check attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// Who somebody is.
    Identity,
    /// Model calls and the caches of their answers.
    Model,
    /// Caches and state.
    Cache,
    /// Retrieval and memory.
    Memory,
    /// Tools.
    Tools,
    /// Whatever has an id.
    Objects,
    /// Logs, traces, replay, administration.
    Records,
    /// Everybody's share.
    Load,
}

/// A row of a standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Standard {
    /// Which.
    pub name: &'static str,
    /// Its row.
    pub row: &'static str,
}

/// One check.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable; names its page, its SARIF rule and its line in a baseline.
    pub id: &'static str,
    /// What holds if it is isolated.
    pub title: &'static str,
    /// What it attacks.
    pub surface: Surface,
    /// Which of the five it bears on.
    pub questions: &'static [Question],
    /// The incident after which it is made, if there is one.
    pub incident: &'static str,
    /// What a leak means.
    pub means: &'static str,
    /// How to mend it.
    pub fix: &'static str,
    /// Where standards ask for it.
    pub standards: &'static [Standard],
}

impl Check {
    /// The page that says more.
    #[must_use]
    pub fn page(&self) -> String {
        format!("docs/checks/{}.md", self.id)
    }
}

const fn row(name: &'static str, row: &'static str) -> Standard {
    Standard { name, row }
}

/// The check of this id.
#[must_use]
pub fn of(id: &str) -> Option<&'static Check> {
    CHECKS.iter().copied().find(|check| check.id == id)
}

/// All of them, in the order in which they are told.
pub static CHECKS: &[&Check] = &[
    &EXACT_KEY,
    &CALLER_NAMESPACE,
    &CALLER_ID,
    &SOFT_SCOPE,
    &CACHED_ERRORS,
    &PROMPT_CACHE,
    &PROMPT_TIMING,
    &SHARED_ENV,
    &DESYNC,
    &SHARED_HTTP_CACHE,
    &MISSING,
    &EXPIRED,
    &CONFLICT,
    &SWAP,
    &TENANT_ARG,
    &TOKEN_PREFIX,
    &PLATFORM_SECRET,
    &OBJECT_ID,
    &ID_RESOLVE,
    &RPC_ID,
    &RPC_IDEMPOTENCY,
    &ID_SPELLING,
    &ERROR_RECORD,
    &SESSION_REUSE,
    &HANDLE_REUSE,
    &LIST_SCOPE,
    &TOKEN_IN_ADDRESS,
    &INJECTION_EGRESS,
    &ADMIN_ROUTE,
    &OPEN_LOG_STORE,
    &CROWDING,
    &NON_INTERFERENCE,
    &FILTER_ESCAPE,
    &CORPUS,
    &KEY_ESCAPE,
    &KEY_HUNT,
    &SERVER_COMMANDS,
    &NOISY_NEIGHBOUR,
    &ERASURE,
];
