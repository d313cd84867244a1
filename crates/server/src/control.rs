//! The control plane's handlers: tokens for services, and the admin API for operators.
//!
//! A change is announced in an audit log before it is made: in the tenant's own where it
//! concerns one, so that the tenant can see it, and in the deployment's.

pub(crate) mod collections;
pub(crate) mod credentials;
pub(crate) mod deployment;
pub(crate) mod keys;
pub(crate) mod models;
pub(crate) mod probe;
pub(crate) mod reading;
pub(crate) mod reviews;
pub(crate) mod staff;
pub(crate) mod tenants;
pub(crate) mod token;
pub(crate) mod tools;

use std::{fmt::Display, time::Duration};

use ids::{Environment, Millis};
use scope::{Actor, Entry, Grants, Operator, Read, Right, Scope, TenantRecord, Write};
use serde::Deserialize;

use crate::{
    App,
    ask::Ask,
    erase,
    fault::Fault,
    selfprobe::{self, is_reserved},
};

/// The header in which an operator says why.
const REASON: &str = "x-bulkhead-reason";
/// What stands in the log where a change was made without one.
const NO_REASON: &str = "no reason given";
/// The longest reason, in bytes; the doors have the same bound.
const MAX_REASON: usize = 500;

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

/// Why an operator does something: from the body or query, or the header. One that no log would
/// take is refused here, before anything is announced.
fn reason(ask: &Ask, stated: Option<String>) -> Result<Option<String>, Fault> {
    let header = || ask.headers().get(REASON).map(|value| value.to_str().unwrap_or("\0"));
    let Some(reason) = stated.or_else(|| header().map(str::to_owned)) else { return Ok(None) };
    let reason = reason.trim();
    if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(Fault::malformed(format!(
            "a reason is text of {MAX_REASON} bytes at most, on one line"
        )));
    }
    Ok(Some(reason.to_owned()).filter(|reason| !reason.is_empty()))
}

/// Why a change is made, for the log.
fn cause(ask: &Ask, stated: Option<String>) -> Result<String, Fault> {
    Ok(reason(ask, stated)?.unwrap_or_else(|| NO_REASON.to_owned()))
}

/// Why a tenant's things are read, or taken from it, or somebody is let in: that has to be said.
fn needed(ask: &Ask, stated: Option<String>) -> Result<String, Fault> {
    reason(ask, stated)?.ok_or_else(|| {
        Fault::malformed(format!(
            "say why, in `reason` or the header {REASON}: the tenant can read it in its audit log"
        ))
    })
}

/// Besides the right of the route, the one to enter tenants: who gives out a credential of a
/// tenant can use it. A refusal is recorded, as that of a route is.
async fn may_enter(operator: &Operator, action: &'static str) -> Result<(), Fault> {
    let Err(error) = operator.require(Right::Enter) else { return Ok(()) };
    let entry = Entry::denied(operator.actor(), "operator.denied", action, error.code());
    operator.announce(entry).await?;
    Err(error.into())
}

/// What probes the deployment takes what is called so for its own, suspends it and voids what it
/// holds: nobody else's may have such a name.
fn not_reserved<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<(), Fault> {
    match names.into_iter().find(|name| is_reserved(name)) {
        None => Ok(()),
        Some(_) => {
            let own =
                format!("names that begin with {} are the deployment's own", selfprobe::PREFIX);
            Err(Fault::new("directory.invalid", own))
        }
    }
}

/// Whether it is the deployment itself, for one run. No operator that somebody made can have that
/// name.
fn is_own(operator: &Operator) -> bool {
    operator.actor() == Actor::Operator(selfprobe::PREFIX.into())
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

/// Opens a tenant's environment to be read, once why stands in its log.
async fn enter_to_read(
    operator: &Operator,
    ask: &Ask,
    reason: Option<String>,
) -> Result<Scope<Read>, Fault> {
    let environment: Environment = ask.id("environment")?;
    let why = needed(ask, reason)?;
    operator.enter(ask.param("tenant"), &environment, &why).await.map_err(not_there)
}

/// Announces a change in one environment in that environment's log and the deployment's, and
/// opens it.
async fn enter(
    app: &App,
    operator: &Operator,
    ask: &Ask,
    action: &'static str,
    target: impl Display,
    reason: &str,
) -> Result<Scope<Write>, Fault> {
    let environment: Environment = ask.id("environment")?;
    enter_into(app, operator, (ask.param("tenant"), &environment), action, target, reason).await
}

/// The same, for an environment that is not in the path.
async fn enter_into(
    app: &App,
    operator: &Operator,
    (tenant, environment): (&str, &Environment),
    action: &'static str,
    target: impl Display,
    reason: &str,
) -> Result<Scope<Write>, Fault> {
    erase::not_begun(app, &named(app, tenant).await?.id).await?;
    let target = target.to_string();
    let entered = operator.enter_to_write(tenant, environment, action, &target, reason);
    let scope = entered.await.map_err(not_there)?;
    let entry = Entry::allowed(operator.actor(), action, scope.tenant())
        .because(reason)
        .with("environment", environment)
        .with("of", target);
    operator.announce(entry).await?;
    Ok(scope)
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

/// Whether there is something here that each of these grants: a misspelled one is found out now
/// and not at the first hop.
fn exist(app: &App, grants: &Grants) -> Result<(), Fault> {
    let known = app.grants();
    let unknown = grants.iter().find(|grant| match grant.strip_suffix(":*") {
        Some(surface) => !known.iter().any(|known| known.split(':').next() == Some(surface)),
        None => !known.contains(grant),
    });
    match unknown {
        None => Ok(()),
        Some(grant) => Err(Fault::malformed(format!(
            "there is no grant `{grant}` here; there are: {}",
            known.join(" ")
        ))),
    }
}
