//! How tenants stand right now: what makes a revocation effective at once.
//!
//! One [`Standing`] per tenant in use is shared by every scope of that tenant. A change of the
//! registry replaces its state and wakes whoever waits for the end of a scope. Nothing here
//! is loaded before a tenant is used.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use ids::{Environment, RandomId, TenantId};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{Directory, Error, Revoked, Status, TenantRecord, Unavailable};

/// Above this many tenants in memory, those that no scope uses are let go.
const KEPT: usize = 65_536;

pub(crate) struct Standing {
    state: ArcSwap<State>,
    changed: watch::Sender<u64>,
}

pub(crate) struct State {
    pub(crate) record: TenantRecord,
    revoked: HashMap<RandomId, ids::Millis>,
    /// Whether a change is known to have been made that could not be read. Then nothing is
    /// decided until it can be.
    stale: bool,
}

impl State {
    fn new(record: TenantRecord) -> Self {
        let revoked = record.revoked.iter().map(|Revoked { id, until }| (*id, *until)).collect();
        Self { record, revoked, stale: false }
    }
}

impl Standing {
    fn new(record: TenantRecord) -> Self {
        let changed = watch::Sender::new(record.revision);
        Self { state: ArcSwap::from_pointee(State::new(record)), changed }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.state.load().record.revision
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the tenant still has this environment.
    pub(crate) fn has(&self, environment: &Environment) -> bool {
        self.state.load().record.environments.iter().any(|known| known.name == *environment)
    }

    /// Whether a credential of this epoch and ancestry is still good.
    pub(crate) fn check(&self, epoch: u64, chain: &[RandomId]) -> Result<(), Error> {
        Self::check_in(&self.state.load(), epoch, chain)
    }

    /// The same, and that the tenant still has the environment.
    pub(crate) fn check_unit(
        &self,
        environment: &Environment,
        epoch: u64,
        chain: &[RandomId],
    ) -> Result<(), Error> {
        let state = self.state.load();
        if !state.record.environments.iter().any(|known| known.name == *environment) {
            return Err(Error::Environment);
        }
        Self::check_in(&state, epoch, chain)
    }

    fn check_in(state: &State, epoch: u64, chain: &[RandomId]) -> Result<(), Error> {
        if state.stale {
            return Err(Unavailable("a change of the tenant could not be read".into()).into());
        }
        match state.record.status {
            Status::Active => {}
            Status::Suspended => return Err(Error::Suspended),
            Status::Erased => return Err(Error::Tenant),
        }
        if state.record.epoch != epoch
            || (!state.revoked.is_empty() && chain.iter().any(|id| state.revoked.contains_key(id)))
        {
            return Err(Error::Revoked);
        }
        Ok(())
    }

    fn stale(&self) -> bool {
        self.state.load().stale
    }

    /// Notes that there is a change that could not be read: fails closed until it can be.
    fn distrust(&self) {
        self.state.rcu(|now| State {
            record: now.record.clone(),
            revoked: now.revoked.clone(),
            stale: true,
        });
        self.changed.send_modify(|_| {});
    }

    /// Takes over a record that is newer than what is known.
    fn renew(&self, record: TenantRecord) {
        let next = Arc::new(State::new(record));
        let revision = next.record.revision;
        self.state.rcu(|now| {
            let newer =
                now.record.revision < revision || (now.stale && now.record.revision == revision);
            if newer { Arc::clone(&next) } else { Arc::clone(now) }
        });
        self.changed.send_if_modified(|known| {
            let newer = *known < revision;
            *known = (*known).max(revision);
            newer
        });
    }
}

/// The standings of the tenants in use.
pub(crate) struct Standings {
    directory: Arc<dyn Directory>,
    known: RwLock<HashMap<TenantId, Arc<Standing>>>,
}

impl Standings {
    pub(crate) fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory, known: RwLock::default() }
    }

    /// The standing of a tenant by id, from memory if it is there.
    pub(crate) async fn of(&self, tenant: &TenantId) -> Result<Arc<Standing>, Error> {
        let standing = self.named(tenant.as_str()).await?;
        if standing.state().record.id == *tenant { Ok(standing) } else { Err(Error::Tenant) }
    }

    /// The standing of a tenant by id or alias, from memory if it is there.
    pub(crate) async fn named(&self, name: &str) -> Result<Arc<Standing>, Error> {
        let known = self.known.read().get(name).cloned();
        if let Some(standing) = known.filter(|standing| !standing.stale()) {
            return Ok(standing);
        }
        self.load(name).await?.ok_or(Error::Tenant)
    }

    /// Reads the registry again; what it says holds from now on. If it cannot be read, the
    /// tenant's scopes fail until it can: the next use tries again.
    pub(crate) async fn refresh(&self, tenant: &TenantId) -> Result<(), Unavailable> {
        let read = self.load(tenant.as_str()).await;
        if read.is_err()
            && let Some(standing) = self.known.read().get(tenant)
        {
            standing.distrust();
        }
        read.map(drop)
    }

    async fn load(&self, name: &str) -> Result<Option<Arc<Standing>>, Unavailable> {
        let Some(record) = self.directory.tenant(name).await? else { return Ok(None) };
        let mut known = self.known.write();
        if let Some(standing) = known.get(&record.id).cloned() {
            standing.renew(record);
            return Ok(Some(standing));
        }
        if known.len() >= KEPT {
            known.retain(|_, standing| Arc::strong_count(standing) > 1);
        }
        let id = record.id.clone();
        let standing = Arc::new(Standing::new(record));
        known.insert(id, Arc::clone(&standing));
        Ok(Some(standing))
    }
}
