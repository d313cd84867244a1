//! Where this floor leaves its records; a higher floor keeps them.

use std::collections::BTreeMap;

use ids::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{Scope, SystemScope, Unavailable, Write};

/// Whether something was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It was.
    Allowed,
    /// It was not.
    Denied,
}

/// One entry of an audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who: `operator:ada`, `token:1f0a…`.
    pub actor: String,
    /// What: `operator.enter`, `tenant.suspend`, `hop.denied`.
    pub action: String,
    /// To what: a name or an id.
    pub target: String,
    /// Whether it was let through.
    pub decision: Decision,
    /// The code of a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, in a person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More, in short words; never a payload or a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, String>,
}

impl Entry {
    /// Something that was done.
    pub fn allowed(actor: impl ToString, action: impl Into<String>, target: impl ToString) -> Self {
        Self {
            actor: actor.to_string(),
            action: action.into(),
            target: target.to_string(),
            decision: Decision::Allowed,
            code: None,
            reason: None,
            detail: BTreeMap::new(),
        }
    }

    /// Something that was refused.
    pub fn denied(
        actor: impl ToString,
        action: impl Into<String>,
        target: impl ToString,
        code: &str,
    ) -> Self {
        let mut entry = Self::allowed(actor, action, target);
        entry.decision = Decision::Denied;
        entry.code = Some(code.to_owned());
        entry
    }

    /// Adds the reason that a person gave.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.detail.insert(name.to_owned(), value.to_string());
        self
    }
}

/// Keeps audit entries. What answers `Ok` is durable.
pub trait AuditSink: Send + Sync {
    /// Appends to the log of the scope's tenant and environment.
    fn record<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// Appends to the deployment's own log.
    fn record_deployment<'a>(
        &'a self,
        system: &'a SystemScope,
        entry: Entry,
    ) -> BoxFuture<'a, Result<(), Unavailable>>;
}
