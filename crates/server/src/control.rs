//! The control plane's handlers: tokens for services, and the admin API for operators.
//!
//! A change is announced in an audit log before it is made: in the tenant's own where it
//! concerns one, so that the tenant can see it, and in the deployment's.

pub(crate) mod credentials;
pub(crate) mod deployment;
pub(crate) mod keys;
pub(crate) mod reading;
pub(crate) mod staff;
pub(crate) mod tenants;
pub(crate) mod token;

use std::{fmt::Display, time::Duration};

use ids::{Environment, Millis};
use scope::{Entry, Operator, Scope, TenantRecord, Write};
use serde::Deserialize;

use crate::{App, ask::Ask, fault::Fault};

/// The header in which an operator says why.
const REASON: &str = "x-bulkhead-reason";
/// What stands in the log where a change was made without one.
const NO_REASON: &str = "no reason given";

/// The query of a listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    after: Option<String>,
    limit: Option<u64>,
    reason: Option<String>,
}

impl Paging {
    /// A page's length: 100 unless it is said.
    fn limit(&self) -> usize {
        usize::try_from(self.limit.unwrap_or(100)).unwrap_or(usize::MAX).clamp(1, 1_000)
    }
}

/// A body or query that says why, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Why {
    reason: Option<String>,
}

/// Why an operator does something: from the body or query, or the header.
fn reason(ask: &Ask, stated: Option<String>) -> Option<String> {
    let header = || ask.headers().get(REASON).and_then(|value| value.to_str().ok());
    stated.or_else(|| header().map(str::to_owned)).filter(|reason| !reason.trim().is_empty())
}

/// Why a change is made, for the log.
fn cause(ask: &Ask, stated: Option<String>) -> String {
    reason(ask, stated).unwrap_or_else(|| NO_REASON.to_owned())
}

/// Why a tenant's things are read: that has to be said.
fn needed(ask: &Ask, stated: Option<String>) -> Result<String, Fault> {
    reason(ask, stated).ok_or_else(|| {
        Fault::malformed(format!(
            "say why, in `reason` or the header {REASON}: the tenant can read it in its audit log"
        ))
    })
}

/// Announces a change in the deployment's log.
async fn announce(
    operator: &Operator,
    action: &'static str,
    target: impl Display,
    reason: &str,
) -> Result<(), Fault> {
    let entry = Entry::allowed(operator.actor(), action, target).because(reason);
    Ok(operator.announce(entry).await?)
}

/// Announces a change of a tenant in the logs of all its environments.
async fn announce_to(
    operator: &Operator,
    record: &TenantRecord,
    action: &'static str,
    reason: &str,
) -> Result<Vec<Scope<Write>>, Fault> {
    let mut scopes = Vec::with_capacity(record.environments.len());
    for environment in &record.environments {
        let id = record.id.as_str();
        let entered = operator.enter_to_write(id, &environment.name, action, id, reason);
        scopes.push(entered.await?);
    }
    Ok(scopes)
}

/// Announces a change in one environment in that environment's log, and opens it.
async fn enter(
    operator: &Operator,
    ask: &Ask,
    action: &'static str,
    target: impl Display,
    reason: &str,
) -> Result<Scope<Write>, Fault> {
    let environment: Environment = ask.id("environment")?;
    let (tenant, target) = (ask.param("tenant"), target.to_string());
    let entered = operator.enter_to_write(tenant, &environment, action, &target, reason);
    entered.await.map_err(not_there)
}

/// To an operator, a tenant that is not there is a path that is not there.
fn not_there(error: scope::Error) -> Fault {
    match error {
        scope::Error::Tenant | scope::Error::Environment => {
            Fault::new("directory.missing", "there is no such tenant or environment")
        }
        other => other.into(),
    }
}

/// The tenant of the path, by id or alias.
async fn tenant(app: &App, ask: &Ask) -> Result<TenantRecord, Fault> {
    named(app, ask.param("tenant")).await
}

async fn named(app: &App, name: &str) -> Result<TenantRecord, Fault> {
    let found = app.registry.find(name).await?;
    found.ok_or_else(|| Fault::new("directory.missing", "there is no tenant of this name"))
}

/// A time for a person and a program: RFC 3339.
fn time(at: Millis) -> String {
    at.to_string()
}

/// When something ends that lives for so many seconds from now.
fn ends(app: &App, seconds: Option<u64>) -> Option<Millis> {
    seconds.map(|seconds| app.clock.now().plus(Duration::from_secs(seconds)))
}
