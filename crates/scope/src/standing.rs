//! How tenants stand right now: what makes a revocation effective at once.
//!
//! One [`Standing`] per tenant in use is shared by every scope of that tenant. A change of the
//! registry replaces its state and wakes whoever waits for the end of a scope. Nothing here
//! is loaded before a tenant is used.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

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
    /// How often standings were let go, or a change of one that is not known could not be read.
    lost: AtomicU64,
}

impl Standings {
    pub(crate) fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory, known: RwLock::default(), lost: AtomicU64::new(0) }
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
        if read.is_err() {
            self.lost.fetch_add(1, Ordering::SeqCst);
            if let Some(standing) = self.known.read().get(tenant) {
                standing.distrust();
            }
        }
        read.map(drop)
    }

    async fn load(&self, name: &str) -> Result<Option<Arc<Standing>>, Unavailable> {
        loop {
            let since = self.lost.load(Ordering::SeqCst);
            let Some(record) = self.directory.tenant(name).await? else { return Ok(None) };
            let mut known = self.known.write();
            // There is nothing to tell that this was read before a change: read it again.
            if self.lost.load(Ordering::SeqCst) != since {
                continue;
            }
            if let Some(standing) = known.get(&record.id).cloned() {
                standing.renew(record);
                return Ok(Some(standing));
            }
            let full = known.len();
            if full >= KEPT {
                known.retain(|_, standing| Arc::strong_count(standing) > 1);
                self.lost.fetch_add(u64::from(known.len() < full), Ordering::SeqCst);
            }
            let id = record.id.clone();
            let standing = Arc::new(Standing::new(record));
            known.insert(id, Arc::clone(&standing));
            return Ok(Some(standing));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::atomic::AtomicBool};

    use ids::{BoxFuture, Millis};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{ApiKeyRecord, Digest, OperatorRecord, RunGrantRecord, ServiceRecord};

    /// A registry in which every tenant's revision is `revision`; a read of `slow` has its
    /// answer, and keeps it back until it may go on.
    struct Fake {
        revision: AtomicU64,
        down: AtomicBool,
        go_on: Semaphore,
    }

    fn record(name: &str, revision: u64) -> TenantRecord {
        TenantRecord {
            id: TenantId::parse(name).unwrap(),
            revision,
            aliases: Vec::new(),
            status: Status::Active,
            epoch: 0,
            named_since: 0,
            environments: Vec::new(),
            accounts: BTreeMap::new(),
            revoked: Vec::new(),
            created: Millis(0),
        }
    }

    type Answer<'a, T> = BoxFuture<'a, Result<T, Unavailable>>;

    impl Directory for Fake {
        fn tenant<'a>(&'a self, name: &'a str) -> Answer<'a, Option<TenantRecord>> {
            Box::pin(async move {
                if self.down.load(Ordering::SeqCst) {
                    return Err(Unavailable("down".into()));
                }
                let read = record(name, self.revision.load(Ordering::SeqCst));
                if name == "slow" {
                    self.go_on.acquire().await.unwrap().forget();
                }
                Ok(Some(read))
            })
        }
        fn api_key<'a>(&'a self, _: &'a Digest) -> Answer<'a, Option<ApiKeyRecord>> {
            unreachable!()
        }
        fn service<'a>(&'a self, _: &'a Digest) -> Answer<'a, Option<ServiceRecord>> {
            unreachable!()
        }
        fn operator<'a>(&'a self, _: &'a Digest) -> Answer<'a, Option<OperatorRecord>> {
            unreachable!()
        }
        fn run_grant<'a>(&'a self, _: &'a Digest) -> Answer<'a, Option<RunGrantRecord>> {
            unreachable!()
        }
        fn keep_run_grant<'a>(&'a self, _: &'a Digest, _: RunGrantRecord) -> Answer<'a, ()> {
            unreachable!()
        }
        fn spend<'a>(&'a self, _: &'a RandomId, _: Millis) -> Answer<'a, bool> {
            unreachable!()
        }
    }

    fn standings() -> (Arc<Fake>, Standings) {
        let fake = Arc::new(Fake {
            revision: AtomicU64::new(1),
            down: AtomicBool::new(false),
            go_on: Semaphore::new(0),
        });
        (fake.clone(), Standings::new(fake))
    }

    /// A record was read, then changed; the change came and was let go with its standing, before
    /// the reader came to insert what it had read.
    #[tokio::test]
    async fn what_was_read_before_a_standing_was_let_go_is_read_again() {
        let (fake, standings) = standings();
        let mut late = Box::pin(standings.named("slow"));
        assert!(futures_util::poll!(&mut late).is_pending());
        fake.revision.store(2, Ordering::SeqCst);
        fake.go_on.add_permits(1);
        for n in 0..KEPT {
            standings.named(&format!("tenant{n}")).await.unwrap();
        }
        // The first to come to a full house lets those go that nobody uses.
        let full = standings.named("one-more").await.unwrap();
        fake.go_on.add_permits(2);
        assert_eq!(late.await.unwrap().revision(), 2);
        assert_eq!((full.revision(), standings.known.read().len()), (2, 2));
    }

    /// The same, of a tenant whose standing is known.
    #[tokio::test]
    async fn a_reader_who_comes_late_does_not_bring_trust_back() {
        let (fake, standings) = standings();
        fake.go_on.add_permits(1);
        let known = standings.named("slow").await.unwrap();
        let mut late = Box::pin(standings.load("slow"));
        assert!(futures_util::poll!(&mut late).is_pending());
        fake.revision.store(2, Ordering::SeqCst);
        fake.down.store(true, Ordering::SeqCst);
        assert!(standings.refresh(&TenantId::parse("slow").unwrap()).await.is_err());
        fake.go_on.add_permits(2);
        assert!(late.await.is_err());
        fake.down.store(false, Ordering::SeqCst);
        assert_eq!(standings.named("slow").await.unwrap().revision(), 2);
        assert_eq!(known.revision(), 2);
    }

    /// A change that could not be read is nobody's yet: what was read before it is no answer.
    #[tokio::test]
    async fn what_was_read_before_a_change_that_could_not_be_is_read_again() {
        let (fake, standings) = standings();
        let mut late = Box::pin(standings.named("slow"));
        assert!(futures_util::poll!(&mut late).is_pending());
        fake.revision.store(2, Ordering::SeqCst);
        fake.down.store(true, Ordering::SeqCst);
        assert!(standings.refresh(&TenantId::parse("slow").unwrap()).await.is_err());
        fake.go_on.add_permits(2);
        assert!(matches!(late.await, Err(Error::Unavailable(_))));
        fake.down.store(false, Ordering::SeqCst);
        assert_eq!(standings.named("slow").await.unwrap().revision(), 2);
    }
}
