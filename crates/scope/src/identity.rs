//! The scope itself.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc};

use ids::{
    AgentId, Clock, Environment, Jti, Millis, RandomId, RunId, Subject, TenantId, WorkflowId,
    frame::Frame,
};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::{
    Claim, Error, Grants, Names,
    standing::{Standing, State},
};

/// A scope that may read and write.
#[derive(Clone, Copy, Debug)]
pub struct Write(());

/// A scope that may only read.
#[derive(Clone, Copy, Debug)]
pub struct Read(());

mod sealed {
    pub trait Sealed: Clone + Send + Sync + 'static {}
    impl Sealed for super::Read {}
    impl Sealed for super::Write {}
}

/// What a scope may do with data: [`Read`] or [`Write`], and nothing else.
pub trait Access: sealed::Sealed {}
impl Access for Read {}
impl Access for Write {}

/// By which credential a scope was entered; what records show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A tenant token of ours.
    Token(Jti),
    /// A token of a trusted issuer.
    Issuer(String, Jti),
    /// An API key, by its prefix.
    Key(String),
    /// A mandate.
    Mandate(RandomId),
    /// An operator.
    Operator(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(jti) => write!(f, "token:{}", jti.short()),
            Self::Issuer(name, jti) => write!(f, "issuer:{name}:{}", jti.short()),
            Self::Key(prefix) => write!(f, "key:{prefix}"),
            Self::Mandate(id) => write!(f, "mandate:{}", id.short()),
            Self::Operator(name) => write!(f, "operator:{name}"),
        }
    }
}

/// What was proven. Never leaves this crate but behind a [`Scope`].
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) tenant: TenantId,
    pub(crate) environment: Environment,
    pub(crate) workflow: Option<WorkflowId>,
    pub(crate) run: Option<RunId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) subject: Option<Subject>,
    pub(crate) grants: Grants,
    pub(crate) actor: Actor,
    pub(crate) jti: Jti,
    /// The credentials that this one was made from, oldest first.
    pub(crate) lineage: Vec<RandomId>,
    pub(crate) epoch: u64,
    pub(crate) expires: Millis,
}

impl Identity {
    /// The lineage with the credential itself at its end.
    pub(crate) fn chain(&self) -> Vec<RandomId> {
        self.lineage.iter().copied().chain([self.jti]).collect()
    }
}

/// What all scopes of a process share.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: TaskTracker,
}

pub(crate) struct Inner {
    pub(crate) identity: Identity,
    chain: Vec<RandomId>,
    fingerprint: [u8; 32],
    partition: [u8; 32],
    standing: Arc<Standing>,
    shared: Arc<Shared>,
}

impl Inner {
    pub(crate) fn new(identity: Identity, standing: Arc<Standing>, shared: Arc<Shared>) -> Self {
        let unit = Frame::new("bulkhead partition 1")
            .field(identity.tenant.as_str())
            .field(identity.environment.as_str())
            .finish();
        let whole = Frame::new("bulkhead scope fingerprint 1")
            .field(&unit)
            .option(identity.workflow.as_ref().map(WorkflowId::as_str))
            .option(identity.run.as_ref().map(RunId::as_str))
            .option(identity.agent.as_ref().map(AgentId::as_str))
            .option(identity.subject.as_ref().map(Subject::as_str))
            .field(identity.grants.to_string())
            .field(identity.actor.to_string().split(':').next().unwrap_or_default())
            .finish();
        Self {
            chain: identity.chain(),
            fingerprint: *blake3::hash(&whole).as_bytes(),
            partition: *blake3::hash(&unit).as_bytes(),
            identity,
            standing,
            shared,
        }
    }

    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    pub(crate) fn live(&self) -> Result<(), Error> {
        if self.shared.clock.now() >= self.identity.expires {
            return Err(Error::Expired);
        }
        self.unrevoked()
    }

    fn unrevoked(&self) -> Result<(), Error> {
        match &self.identity.actor {
            // Support must be able to look into a tenant that is suspended.
            Actor::Operator(_) => Ok(()),
            _ => {
                let identity = &self.identity;
                self.standing.check_unit(&identity.environment, identity.epoch, &self.chain)
            }
        }
    }
}

/// The proven identity: for which tenant, environment and workflow this code works.
///
/// Obtained from the doors of this crate alone; cheap to clone; an argument that cannot be
/// forgotten and cannot be made.
#[must_use]
pub struct Scope<A: Access> {
    inner: Arc<Inner>,
    access: PhantomData<A>,
}

impl<A: Access> Clone for Scope<A> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), access: PhantomData }
    }
}

impl<A: Access> fmt::Debug for Scope<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.inner.identity;
        write!(f, "Scope({}/{} {})", id.tenant, id.environment, id.actor)
    }
}

impl<A: Access> Scope<A> {
    pub(crate) const fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner, access: PhantomData }
    }

    pub(crate) fn inner_arc(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The customer.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.inner.identity.tenant
    }

    /// The environment.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.inner.identity.environment
    }

    /// The workflow, if the credential is bound to one.
    #[must_use]
    pub fn workflow(&self) -> Option<&WorkflowId> {
        self.inner.identity.workflow.as_ref()
    }

    /// The run, if there is one.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        self.inner.identity.run.as_ref()
    }

    /// The agent, if it is named.
    #[must_use]
    pub fn agent(&self) -> Option<&AgentId> {
        self.inner.identity.agent.as_ref()
    }

    /// The end user within the tenant, if any.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.inner.identity.subject.as_ref()
    }

    /// What it may do.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.inner.identity.grants
    }

    /// Whether this grant is held.
    #[must_use]
    pub fn may(&self, grant: &str) -> bool {
        self.inner.identity.grants.contains(grant)
    }

    /// By which credential it was entered.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.inner.identity.actor
    }

    /// The id of that credential.
    #[must_use]
    pub fn jti(&self) -> &Jti {
        &self.inner.identity.jti
    }

    /// When the credential ends.
    #[must_use]
    pub fn expires(&self) -> Millis {
        self.inner.identity.expires
    }

    /// A digest of everything that a policy may look at: two scopes with one fingerprint get
    /// one decision.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.inner.fingerprint
    }

    /// What the partition of (tenant, environment) derives from; for the store.
    #[must_use]
    pub fn partition_bytes(&self) -> &[u8; 32] {
        &self.inner.partition
    }

    /// The same identity, to read with.
    pub fn read_only(&self) -> Scope<Read> {
        Scope::from_inner(Arc::clone(&self.inner))
    }

    /// Whether the scope still holds: not expired, revoked or suspended.
    ///
    /// # Errors
    /// Why it does not.
    pub fn live(&self) -> Result<(), Error> {
        self.inner.live()
    }

    /// Waits until the scope is revoked, its tenant suspended or erased, and says why. Does
    /// not end at the credential's expiry: what began in time may finish.
    pub async fn ended(&self) -> Error {
        let mut changes = self.inner.standing.changes();
        loop {
            if let Err(why) = self.inner.unrevoked() {
                return why;
            }
            if changes.changed().await.is_err() {
                return Error::Tenant;
            }
        }
    }

    /// Holds a claim against the proven identity. A claim may agree or fail, never choose.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it names another tenant or environment.
    pub fn concur(&self, claim: &Claim<'_>) -> Result<(), Error> {
        let state = self.inner.standing.state();
        let (agrees, what) = match claim.names {
            Names::Tenant => (
                claim.value == self.tenant().as_str()
                    || state.record.aliases.iter().any(|a| a.as_str() == claim.value),
                "tenant",
            ),
            Names::Environment => (claim.value == self.environment().as_str(), "environment"),
        };
        if agrees {
            return Ok(());
        }
        Err(Error::Mismatch(format!(
            "{} names a {what} that is not the credential's; remove it or use that {what}'s credential",
            claim.place
        )))
    }

    /// The tenant's record as it stands now: aliases, external accounts.
    #[must_use]
    pub fn tenant_record(&self) -> TenantView {
        TenantView(self.inner.standing.state())
    }

    /// Spawns a task, handing it this scope: the only way to spawn for a tenant. Shutdown
    /// waits for such tasks.
    pub fn spawn<F, Fut>(&self, task: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output: Send> + Send + 'static,
    {
        let scope = if ids::planted::is("scope-lost-in-spawn") {
            Self::from_inner(ambient(&self.inner))
        } else {
            self.clone()
        };
        self.inner.shared.tasks.spawn(task(scope))
    }
}

/// The planted bug: an ambient "current scope" that the first spawner sets for everybody.
fn ambient(inner: &Arc<Inner>) -> Arc<Inner> {
    static CURRENT: std::sync::OnceLock<Arc<Inner>> = std::sync::OnceLock::new();
    Arc::clone(CURRENT.get_or_init(|| Arc::clone(inner)))
}

/// A tenant's record, as one scope may see it.
pub struct TenantView(Arc<State>);

impl std::ops::Deref for TenantView {
    type Target = crate::TenantRecord;
    fn deref(&self) -> &Self::Target {
        &self.0.record
    }
}
