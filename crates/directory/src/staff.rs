//! Services and operators: credentials of the company itself.

use std::time::Duration;

use ids::{Environment, Millis, OperatorName, ServiceName, TenantId, WorkflowId};
use scope::{Digest, Grants, Listed, OperatorRecord, Right, ServiceRecord};
use store::Range;

use crate::{
    Error, Page, Registry,
    rows::{self, Desk},
};

/// For how long a credential that was removed is still answered with "revoked".
const AFTERLIFE: Duration = Duration::from_secs(90 * 24 * 3_600);
/// The most names in one list of a service.
const MAX_LISTED: usize = 10_000;

/// A service credential to be made.
#[derive(Clone, Debug)]
pub struct NewService {
    /// The keyed digest of its secret.
    pub digest: Digest,
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
    /// When it ends, if ever.
    pub expires: Option<Millis>,
}

/// An operator to be made.
#[derive(Clone, Debug)]
pub struct NewOperator {
    /// The keyed digest of the secret.
    pub digest: Digest,
    /// Who.
    pub name: OperatorName,
    /// What they may do; something, at least.
    pub rights: Vec<Right>,
    /// When the credential ends, if ever.
    pub expires: Option<Millis>,
}

impl Registry {
    /// Makes a service credential.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Invalid`] for an empty or malformed list: nothing here
    /// means everything unless it says `*`.
    pub async fn create_service(&self, new: NewService) -> Result<ServiceRecord, Error> {
        let NewService { digest, name, tenants, environments, workflows, grants, expires } = new;
        listed("tenants", &tenants, |name| TenantId::parse(name).is_ok())?;
        listed("environments", &environments, |name| Environment::parse(name).is_ok())?;
        listed("workflows", &workflows, |name| WorkflowId::parse(name).is_ok())?;
        if grants.is_empty() {
            return Err(Error::Invalid("a service without grants could do nothing".into()));
        }
        self.change(2_048, move |desk| {
            let now = desk.now();
            check_end(expires, now)?;
            if desk.service(&name)?.is_some() || desk.holds(rows::SERVICE, &digest)? {
                return Err(Error::Exists { what: "service", name: name.to_string(), hint: "" });
            }
            let record = ServiceRecord {
                name,
                tenants,
                environments,
                workflows,
                grants,
                created: now,
                expires,
                revoked: false,
            };
            desk.put_service(&digest, &record, None)?;
            Ok(record)
        })
        .await
    }

    /// Ends a service credential at once. What it minted lives on until it expires or is
    /// revoked. The name is free again.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub async fn remove_service(&self, name: &ServiceName) -> Result<ServiceRecord, Error> {
        let name = name.clone();
        self.change(1_024, move |desk| {
            let (at, mut record) =
                desk.service(&name)?.ok_or_else(|| Error::missing("service", &name))?;
            record.revoked = true;
            let until = desk.now().plus(AFTERLIFE);
            desk.put_service(&at, &record, Some(until))?;
            Ok(record)
        })
        .await
    }

    /// A page of services by name.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn services(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ServiceRecord>, Error> {
        self.by_name(rows::SERVICE_NAME, rows::SERVICE, after, limit).await
    }

    /// Makes an operator.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Invalid`] without rights.
    pub async fn create_operator(&self, new: NewOperator) -> Result<OperatorRecord, Error> {
        let NewOperator { digest, name, mut rights, expires } = new;
        rights.sort_unstable();
        rights.dedup();
        if rights.is_empty() {
            return Err(Error::Invalid("an operator needs `read`, `write` or `enter`".into()));
        }
        self.change(1_024, move |desk| {
            let now = desk.now();
            check_end(expires, now)?;
            if desk.operator(&name)?.is_some() || desk.holds(rows::OPERATOR, &digest)? {
                return Err(Error::Exists { what: "operator", name: name.to_string(), hint: "" });
            }
            let record = OperatorRecord { name, rights, created: now, expires, revoked: false };
            desk.put_operator(&digest, &record, None)?;
            Ok(record)
        })
        .await
    }

    /// Ends an operator's credential at once. The name is free again.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Invalid`] for the last one who may write and whose
    /// credential does not expire: nobody could let anybody in again.
    pub async fn remove_operator(&self, name: &OperatorName) -> Result<OperatorRecord, Error> {
        let name = name.clone();
        self.change(1_024, move |desk| {
            let (at, mut record) =
                desk.operator(&name)?.ok_or_else(|| Error::missing("operator", &name))?;
            if rules(&record) && !others_rule(desk, &name)? {
                return Err(Error::Invalid(format!(
                    "{name} is the last operator who may write: make another one first"
                )));
            }
            record.revoked = true;
            let until = desk.now().plus(AFTERLIFE);
            desk.put_operator(&at, &record, Some(until))?;
            Ok(record)
        })
        .await
    }

    /// A page of operators by name.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn operators(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OperatorRecord>, Error> {
        self.by_name(rows::OPERATOR_NAME, rows::OPERATOR, after, limit).await
    }

    async fn by_name<T: serde::de::DeserializeOwned>(
        &self,
        names: store::Table,
        records: store::Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<T>, Error> {
        let limit = limit.clamp(1, Page::<()>::MAX);
        let mut range = Range::all().limit(limit);
        range.after = after.map(Into::into);
        let found = self.scan(names, range).await?;
        let mut items = Vec::with_capacity(found.len());
        for (_, at) in &found {
            if let Some(row) = self.get(records, at).await? {
                items.push(rows::decode(&row)?);
            }
        }
        let last = found.last().filter(|_| found.len() == limit);
        let next = last.map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        Ok(Page { items, next })
    }
}

/// May write, for good.
fn rules(record: &OperatorRecord) -> bool {
    !record.revoked && record.expires.is_none() && record.rights.contains(&Right::Write)
}

fn others_rule(desk: &mut Desk<'_, '_>, name: &OperatorName) -> Result<bool, Error> {
    Ok(desk.operators()?.iter().any(|other| other.name != *name && rules(other)))
}

fn check_end(expires: Option<Millis>, now: Millis) -> Result<(), Error> {
    if expires.is_some_and(|end| end <= now) {
        return Err(Error::Invalid("a credential cannot end before it begins".into()));
    }
    Ok(())
}

fn listed(what: &str, list: &Listed, valid: impl Fn(&str) -> bool) -> Result<(), Error> {
    let Listed::These(names) = list else { return Ok(()) };
    if names.is_empty() {
        return Err(Error::Invalid(format!("{what}: name some, or \"*\" for every one")));
    }
    if names.len() > MAX_LISTED {
        return Err(Error::Full { what: "names in a service's list", most: MAX_LISTED, hint: "" });
    }
    match names.iter().find(|name| !valid(name)) {
        Some(_) => Err(Error::Invalid(format!("{what}: a name is malformed"))),
        None => Ok(()),
    }
}
