//! Operators: people who support or debug. They enter one tenant at a time, with a reason, and
//! never without a record.

use std::{sync::Arc, time::Duration};

use ids::{Environment, RandomId};

use crate::{
    Access, Actor, Doors, Entry, Error, Grants, Kind, OperatorRecord, Read, Right, Scope, Status,
    Write, identity::Identity,
};

/// How long an entry lasts.
const ENTRY_LIFE: Duration = Duration::from_secs(15 * 60);
/// The one action for which an erased tenant may be entered: to erase what is left of it.
const ERASE: &str = "tenant.erase";
/// The longest reason, in bytes.
const MAX_REASON: usize = 500;

/// A proven operator.
#[must_use]
#[derive(Debug)]
pub struct Operator {
    record: OperatorRecord,
    doors: Arc<Doors>,
}

impl Doors {
    /// An operator's credential.
    ///
    /// # Errors
    /// Not known, revoked or expired.
    pub async fn operator(self: &Arc<Self>, secret: &str) -> Result<Operator, Error> {
        if Kind::of(secret) != Some(Kind::Operator) {
            return Err(Error::Unknown);
        }
        let digest = self.digester.digest(secret);
        let record = self.directory.operator(&digest).await?.ok_or(Error::Unknown)?;
        if record.revoked {
            return Err(Error::Revoked);
        }
        if record.expires.is_some_and(|end| self.now() >= end) {
            return Err(Error::Expired);
        }
        Ok(Operator { record, doors: Arc::clone(self) })
    }
}

impl Operator {
    /// As records show it.
    pub fn actor(&self) -> Actor {
        Actor::Operator(self.record.name.to_string())
    }

    /// Whether the operator has this right.
    ///
    /// # Errors
    /// [`Error::Grant`] if not.
    pub fn require(&self, right: Right) -> Result<(), Error> {
        if self.record.rights.contains(&right) {
            Ok(())
        } else {
            Err(Error::Grant(format!("operators' right `{right:?}`").to_lowercase()))
        }
    }

    /// Enters a tenant's environment to read. Returns only when the entry is in the tenant's
    /// own audit log, where the tenant can see it.
    ///
    /// # Errors
    /// No right to enter, no reason, no such tenant, or a record that could not be written.
    pub async fn enter(
        &self,
        tenant: &str,
        environment: &Environment,
        reason: &str,
    ) -> Result<Scope<Read>, Error> {
        self.require(Right::Enter)?;
        let scope = self.scope(tenant, environment, "operator.enter").await?;
        self.record(&scope, "operator.enter", tenant, reason).await?;
        Ok(scope.read_only())
    }

    /// Enters to change something of a tenant: a credential, a key. `action` says what and is
    /// in the tenant's audit log before this returns.
    ///
    /// # Errors
    /// As [`Operator::enter`]; the right needed is [`Right::Write`].
    pub async fn enter_to_write(
        &self,
        tenant: &str,
        environment: &Environment,
        action: &str,
        target: &str,
        reason: &str,
    ) -> Result<Scope<Write>, Error> {
        self.require(Right::Write)?;
        let scope = self.scope(tenant, environment, action).await?;
        self.record(&scope, action, target, reason).await?;
        Ok(scope)
    }

    /// Records an action on the deployment itself, before it is done.
    ///
    /// # Errors
    /// A record that could not be written: then the action must not be done.
    pub async fn announce(&self, entry: Entry) -> Result<(), Error> {
        self.doors.record_deployment(entry).await?;
        Ok(())
    }

    async fn record<A: Access>(
        &self,
        scope: &Scope<A>,
        action: &str,
        target: &str,
        reason: &str,
    ) -> Result<(), Error> {
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
            return Err(Error::Invalid(
                "a reason is needed: 1 to 500 bytes, which the tenant can read".into(),
            ));
        }
        let entry = Entry::allowed(self.actor(), action, target).because(reason);
        let whole = Scope::<Write>::from_inner(scope.inner_arc());
        self.doors.audit.record(&whole, entry).await?;
        Ok(())
    }

    async fn scope(
        &self,
        tenant: &str,
        environment: &Environment,
        action: &str,
    ) -> Result<Scope<Write>, Error> {
        let standing = self.doors.standings.named(tenant).await?;
        let state = standing.state();
        if state.record.status == Status::Erased && action != ERASE {
            return Err(Error::Tenant);
        }
        let jti = RandomId::draw(&*self.doors.entropy);
        let identity = Identity {
            tenant: state.record.id.clone(),
            environment: environment.clone(),
            workflow: None,
            run: None,
            agent: None,
            subject: None,
            grants: Grants::parse("records:read audit:read")?,
            actor: self.actor(),
            jti,
            lineage: Vec::new(),
            epoch: state.record.epoch,
            expires: self.doors.now().plus(ENTRY_LIFE),
        };
        Ok(Scope::from_inner(self.doors.admit_to(identity, standing)?))
    }
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Doors({})", self.issuer)
    }
}
