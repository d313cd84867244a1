//! Tenants as they should be: one transaction brings the registry there and says what that
//! took. Creating and changing a single tenant go the same way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ids::{AccountId, Alias, Environment, Millis, System, TenantId};
use scope::{EnvironmentRecord, Status, TenantRecord};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Registry,
    rows::{Desk, TenantRow},
    tenants::{MAX_ACCOUNTS, MAX_ALIASES, MAX_ENVIRONMENTS, bump},
};

/// Issuers' tokens carry no epoch of ours; they count by when they were issued. A new
/// tenant's epoch lies this far back, so that a user's session from just before the tenant
/// was made is good.
const BEFORE: u64 = 3_600;

/// A list of tenants as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Each named once. A tenant that is not listed is left alone, unless pruning is asked
    /// for.
    pub tenants: Vec<TenantSpec>,
}

/// A tenant as it should be. What is left out is left as it is; what is given replaces what
/// was there, and an empty list empties it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSpec {
    /// Its id, which never changes.
    pub id: TenantId,
    /// Its other names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<Alias>>,
    /// Its environments; a new tenant needs one at least. What is removed loses its
    /// credentials for good; its data stays sealed and comes back if it is added again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<Environment>>,
    /// Its accounts in outside systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<BTreeMap<System, Vec<AccountId>>>,
    /// `active` or `suspended`. Erasing is never a matter of a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Its environments are all that it ever had, which may be more than it can have: for an
    /// erasure, never of a document.
    #[serde(skip)]
    pub ends: bool,
}

impl TenantSpec {
    /// Of this tenant, leaving everything as it is.
    #[must_use]
    pub const fn of(id: TenantId) -> Self {
        Self { id, aliases: None, environments: None, accounts: None, status: None, ends: false }
    }
}

/// One difference that a change makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// To which tenant.
    pub tenant: TenantId,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a change does to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "what", content = "name", rename_all = "snake_case")]
pub enum What {
    /// It is new.
    Created,
    /// It is served again.
    Resumed,
    /// It is no longer served.
    Suspended,
    /// It has one more name.
    AliasAdded(Alias),
    /// It lost a name.
    AliasRemoved(Alias),
    /// It has one more environment.
    EnvironmentAdded(Environment),
    /// It lost an environment, and the credentials of it.
    EnvironmentRemoved(Environment),
    /// It has one more account outside.
    AccountAdded(System, AccountId),
    /// It lost an account outside.
    AccountRemoved(System, AccountId),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.tenant)?;
        match &self.what {
            What::Created => f.write_str("created"),
            What::Resumed => f.write_str("resumed"),
            What::Suspended => f.write_str("suspended"),
            What::AliasAdded(alias) => write!(f, "alias {alias} added"),
            What::AliasRemoved(alias) => write!(f, "alias {alias} removed"),
            What::EnvironmentAdded(name) => write!(f, "environment {name} added"),
            What::EnvironmentRemoved(name) => {
                write!(f, "environment {name} removed with its credentials")
            }
            What::AccountAdded(system, account) => write!(f, "account {system}:{account} added"),
            What::AccountRemoved(system, account) => {
                write!(f, "account {system}:{account} removed")
            }
        }
    }
}

/// How a document is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Suspend every tenant that the document does not list. Nothing is ever erased.
    pub prune: bool,
    /// Say what would change, and change nothing.
    pub dry_run: bool,
}

/// Whether the tenants of a document may, must, or must not be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Either,
    New,
    Known,
}

/// How a rehearsal ends: never in a commit.
enum Rehearsed {
    Report(Vec<Change>),
    Failed(Error),
}

impl From<store::Error> for Rehearsed {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Registry {
    /// Brings the registry to what a document says, wholly or not at all, and reports what
    /// changed: nothing if it says what is there.
    ///
    /// # Errors
    /// A tenant named twice or erased, an alias that is taken, a list over its bound. Then
    /// nothing has changed.
    pub async fn apply(&self, document: Document, how: Applied) -> Result<Vec<Change>, Error> {
        if !how.dry_run {
            let cost = document.tenants.len().saturating_mul(512);
            return self
                .change(cost, move |desk| settle(desk, &document.tenants, Mode::Either, how.prune))
                .await;
        }
        let rehearsed = self
            .transact(move |desk| -> Result<(), Rehearsed> {
                Err(match settle(desk, &document.tenants, Mode::Either, how.prune) {
                    Ok(report) => Rehearsed::Report(report),
                    Err(error) => Rehearsed::Failed(error),
                })
            })
            .await;
        match rehearsed {
            Ok(()) => Ok(Vec::new()),
            Err(Rehearsed::Report(report)) => Ok(report),
            Err(Rehearsed::Failed(error)) => Err(error),
        }
    }

    /// Creates one tenant.
    ///
    /// # Errors
    /// As [`Registry::apply`]; [`Error::Exists`] if there is or was a tenant of this id.
    pub async fn create_tenant(&self, spec: TenantSpec) -> Result<TenantRecord, Error> {
        self.settle_one(spec, Mode::New).await
    }

    /// Changes one tenant.
    ///
    /// # Errors
    /// As [`Registry::apply`]; [`Error::Missing`] if there is none of this id.
    pub async fn change_tenant(&self, spec: TenantSpec) -> Result<TenantRecord, Error> {
        self.settle_one(spec, Mode::Known).await
    }

    async fn settle_one(&self, spec: TenantSpec, mode: Mode) -> Result<TenantRecord, Error> {
        let id = spec.id.clone();
        self.change(512, move |desk| settle(desk, &[spec], mode, false)).await?;
        self.record(&id).await
    }
}

/// A tenant before and after.
struct Plan {
    before: Option<TenantRow>,
    after: TenantRow,
}

fn settle(
    desk: &mut Desk<'_, '_>,
    specs: &[TenantSpec],
    mode: Mode,
    prune: bool,
) -> Result<Vec<Change>, Error> {
    let listed: BTreeSet<&TenantId> = specs.iter().map(|spec| &spec.id).collect();
    if listed.len() != specs.len() {
        return Err(Error::Invalid("the document names a tenant twice".into()));
    }
    let mut plans = Vec::with_capacity(specs.len());
    for spec in specs {
        plans.push(plan(desk, spec, mode)?);
    }
    if prune {
        plan_pruning(desk, &listed, &mut plans)?;
    }
    let mut changes = Vec::new();
    plans.retain(|plan| {
        let before = changes.len();
        differences(plan, &mut changes);
        changes.len() > before
    });
    // What is given free comes before what is taken, so that a name can move within one
    // document; ids come before aliases, so that the two are held against each other.
    for plan in &plans {
        for alias in plan.before.iter().flat_map(|row| &row.record.aliases) {
            if !plan.after.record.aliases.contains(alias) {
                desk.drop_alias(alias.as_str())?;
            }
        }
    }
    for plan in &mut plans {
        if plan.before.is_none()
            && let Some(tenant) = desk.owner(plan.after.record.id.as_str())?
        {
            let alias = plan.after.record.id.to_string();
            return Err(Error::AliasTaken { alias, tenant: tenant.to_string() });
        }
        let now = desk.now();
        if takes_over_a_name(desk, plan)? {
            plan.after.record.named_since = now.secs();
        }
        bear(&mut plan.after, now);
        desk.put_tenant(&mut plan.after)?;
    }
    for plan in &plans {
        take_aliases(desk, plan)?;
    }
    changes.sort();
    Ok(changes)
}

fn plan(desk: &mut Desk<'_, '_>, spec: &TenantSpec, mode: Mode) -> Result<Plan, Error> {
    let before = desk.find_tenant(spec.id.as_str())?;
    let exists = |hint| Error::Exists { what: "tenant", name: spec.id.to_string(), hint };
    match (&before, mode) {
        (Some(row), Mode::Either | Mode::New) if row.record.status == Status::Erased => {
            return Err(exists(" as one that was erased; its id is not given out again"));
        }
        (Some(_), Mode::New) => return Err(exists("")),
        (None, Mode::Known) => return Err(Error::missing("tenant", &spec.id)),
        (Some(row), Mode::Known) if row.record.status == Status::Erased => {
            return Err(Error::missing("tenant", &spec.id));
        }
        _ => {}
    }
    let mut after = before.clone().unwrap_or_else(|| blank(&spec.id, desk.now()));
    lay(spec, &mut after.record)?;
    Ok(Plan { before, after })
}

fn blank(id: &TenantId, now: Millis) -> TenantRow {
    let record = TenantRecord {
        id: id.clone(),
        revision: 0,
        aliases: Vec::new(),
        status: Status::Active,
        epoch: now.secs().saturating_sub(BEFORE),
        named_since: 0,
        environments: Vec::new(),
        accounts: BTreeMap::new(),
        revoked: Vec::new(),
        created: now,
    };
    TenantRow { record, revocations: 0, born: BTreeMap::new(), was: BTreeSet::new() }
}

/// Lays what a document says over a record. Lists are sets: sorted, each member once.
fn lay(spec: &TenantSpec, record: &mut TenantRecord) -> Result<(), Error> {
    let TenantSpec { id, aliases, environments, accounts, status, ends } = spec;
    if let Some(aliases) = aliases {
        record.aliases = set(aliases);
    }
    if let Some(environments) = environments {
        record.environments =
            set(environments).into_iter().map(|name| EnvironmentRecord { name }).collect();
    }
    if let Some(accounts) = accounts {
        record.accounts = accounts
            .iter()
            .filter(|(_, accounts)| !accounts.is_empty())
            .map(|(system, accounts)| (system.clone(), set(accounts)))
            .collect();
    }
    match status {
        Some(Status::Erased) => {
            return Err(Error::Invalid(format!(
                "{id}: a tenant is erased by its own command, not by a status"
            )));
        }
        Some(status) => record.status = *status,
        None => {}
    }
    if record.environments.is_empty() {
        return Err(Error::Invalid(format!("{id}: a tenant needs at least one environment")));
    }
    if record.aliases.iter().any(|alias| alias.as_str() == id.as_str()) {
        return Err(Error::Invalid(format!("{id}: a tenant's own id is not an alias of it")));
    }
    let full = |what, most| Error::Full { what, most, hint: "" };
    if record.aliases.len() > MAX_ALIASES {
        return Err(full("aliases of a tenant", MAX_ALIASES));
    }
    if record.environments.len() > MAX_ENVIRONMENTS && !ends {
        return Err(full("environments of a tenant", MAX_ENVIRONMENTS));
    }
    if record.accounts.values().map(Vec::len).sum::<usize>() > MAX_ACCOUNTS {
        return Err(full("outside accounts of a tenant", MAX_ACCOUNTS));
    }
    Ok(())
}

fn set<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    list.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Plans to suspend every active tenant that is not listed.
fn plan_pruning(
    desk: &mut Desk<'_, '_>,
    listed: &BTreeSet<&TenantId>,
    plans: &mut Vec<Plan>,
) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = desk.tenants(after.as_ref(), store::MAX_SCAN)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.record.id.clone());
        for row in page {
            if row.record.status == Status::Active && !listed.contains(&row.record.id) {
                let mut suspended = row.clone();
                suspended.record.status = Status::Suspended;
                plans.push(Plan { before: Some(row), after: suspended });
            }
        }
    }
}

/// Whether a tenant gets a name that was another's: outside tokens that name it may still be
/// about, and they mean the other.
fn takes_over_a_name(desk: &mut Desk<'_, '_>, plan: &Plan) -> Result<bool, Error> {
    let record = &plan.after.record;
    let had = plan.before.as_ref().map_or(&[][..], |row| &row.record.aliases);
    let new = record.aliases.iter().filter(|alias| !had.contains(alias)).map(Alias::as_str);
    let own = plan.before.is_none().then_some(record.id.as_str());
    for name in new.chain(own) {
        if desk.was_anothers(name, &record.id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes which environments are new with the revision that is written next. One that comes
/// back moves the epoch, so that nothing minted before it went is good again.
fn bear(row: &mut TenantRow, now: Millis) {
    let names: BTreeSet<Environment> =
        row.record.environments.iter().map(|e| e.name.clone()).collect();
    row.was.extend(row.born.keys().filter(|name| !names.contains(*name)).cloned());
    row.born.retain(|name, _| names.contains(name));
    for name in names {
        if row.was.remove(&name) {
            bump(&mut row.record, now);
        }
        row.born.entry(name).or_insert(row.record.revision + 1);
    }
}

fn take_aliases(desk: &mut Desk<'_, '_>, plan: &Plan) -> Result<(), Error> {
    let record = &plan.after.record;
    let had = plan.before.as_ref().map_or(&[][..], |row| &row.record.aliases);
    for alias in record.aliases.iter().filter(|alias| !had.contains(alias)) {
        let taken = |tenant: &TenantId| Error::AliasTaken {
            alias: alias.to_string(),
            tenant: tenant.to_string(),
        };
        if let Some(other) = desk.find_tenant(alias.as_str())? {
            return Err(taken(&other.record.id));
        }
        if let Some(other) = desk.owner(alias.as_str())? {
            return Err(taken(&other));
        }
        desk.put_alias(alias.as_str(), &record.id)?;
    }
    Ok(())
}

/// What a plan changes; exhaustive by destructuring, so that a new field must be thought of.
fn differences(plan: &Plan, out: &mut Vec<Change>) {
    let TenantRecord {
        id,
        aliases,
        status,
        environments,
        accounts,
        revision: _,
        epoch: _,
        named_since: _,
        revoked: _,
        created: _,
    } = &plan.after.record;
    let mut push = |what| out.push(Change { tenant: id.clone(), what });
    let before = plan.before.as_ref().map(|row| &row.record);
    let was = before.map_or(Status::Active, |record| record.status);
    if before.is_none() {
        push(What::Created);
    }
    match (was, *status) {
        (was, now) if was == now => {}
        (_, Status::Active) => push(What::Resumed),
        (_, Status::Suspended | Status::Erased) => push(What::Suspended),
    }
    let had = before.map_or(&[][..], |record| &record.aliases);
    diff(
        had,
        aliases,
        &mut push,
        |a| What::AliasAdded(a.clone()),
        |a| What::AliasRemoved(a.clone()),
    );
    let had = before.map_or(&[][..], |record| &record.environments);
    diff(
        had,
        environments,
        &mut push,
        |e| What::EnvironmentAdded(e.name.clone()),
        |e| What::EnvironmentRemoved(e.name.clone()),
    );
    let flat = |accounts: &BTreeMap<System, Vec<AccountId>>| -> Vec<(System, AccountId)> {
        accounts.iter().flat_map(|(s, ids)| ids.iter().map(|id| (s.clone(), id.clone()))).collect()
    };
    diff(
        &before.map(|record| flat(&record.accounts)).unwrap_or_default(),
        &flat(accounts),
        &mut push,
        |(system, id)| What::AccountAdded(system.clone(), id.clone()),
        |(system, id)| What::AccountRemoved(system.clone(), id.clone()),
    );
}

fn diff<T: PartialEq>(
    before: &[T],
    after: &[T],
    push: &mut impl FnMut(What),
    added: impl Fn(&T) -> What,
    removed: impl Fn(&T) -> What,
) {
    after.iter().filter(|member| !before.contains(member)).for_each(|member| push(added(member)));
    before.iter().filter(|member| !after.contains(member)).for_each(|member| push(removed(member)));
}
