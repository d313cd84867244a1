//! Admission: may it happen now? Asked after it is known that it may happen at all.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use scope::{Read, Scope};

use crate::Hop;

/// What stands between the decision and the surface: a limit, a budget, a breaker.
pub trait Admission: Send + Sync + fmt::Debug {
    /// Admits the hop or refuses it. The permit is held until the hop is over, streams
    /// included.
    ///
    /// # Errors
    /// The refusal, with its code.
    fn admit(&self, scope: &Scope<Read>, hop: &Hop) -> Result<Permit, Refusal>;
}

/// Why a hop was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code, such as `limit.concurrency`.
    pub code: &'static str,
    /// What the caller is told.
    pub message: &'static str,
    /// When asking again may help.
    pub retry_after: Option<Duration>,
}

/// Held while an admitted hop lasts; what it stands for is given back when it is dropped.
#[must_use = "dropping a permit gives back what it stands for"]
pub struct Permit {
    _held: Option<Box<dyn Send + Sync>>,
}

impl Permit {
    /// A permit that gives nothing back.
    pub const fn free() -> Self {
        Self { _held: None }
    }

    /// Gives back by dropping `held`.
    pub fn holding(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Some(Box::new(held)) }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// At most so many hops of one tenant and environment at once.
#[derive(Clone, Debug)]
pub struct InFlight {
    per_tenant: u32,
    /// Partitions with a hop in flight, and nobody else: an entry goes with its last permit.
    running: Arc<Mutex<HashMap<[u8; 32], u32>>>,
}

impl InFlight {
    /// At most `per_tenant` hops at once in each tenant's environment.
    #[must_use]
    pub fn new(per_tenant: u32) -> Self {
        Self { per_tenant, running: Arc::default() }
    }

    /// How many tenants' environments have a hop in flight.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.running.lock().len()
    }

    /// How many hops are in flight in the scope's tenant and environment.
    #[must_use]
    pub fn running(&self, scope: &Scope<Read>) -> u32 {
        self.running.lock().get(scope.partition_bytes()).copied().unwrap_or(0)
    }
}

impl Admission for InFlight {
    fn admit(&self, scope: &Scope<Read>, _hop: &Hop) -> Result<Permit, Refusal> {
        let partition = *scope.partition_bytes();
        let mut running = self.running.lock();
        let count = running.entry(partition).or_insert(0);
        if *count >= self.per_tenant {
            if *count == 0 {
                running.remove(&partition);
            }
            return Err(Refusal {
                code: "limit.concurrency",
                message: "too many requests of this tenant at once",
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        *count += 1;
        drop(running);
        Ok(Permit::holding(Slot { partition, running: Arc::clone(&self.running) }))
    }
}

/// One place of a tenant.
struct Slot {
    partition: [u8; 32],
    running: Arc<Mutex<HashMap<[u8; 32], u32>>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(count) = running.get_mut(&self.partition) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.partition);
            }
        }
    }
}
