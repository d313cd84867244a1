//! What requests take of this process while they are on their way in: memory for bodies, and
//! time to understand them. Each tenant's environment has its own bounds, so that the one which
//! asks for too much is the one that is refused.

use std::{collections::HashMap, sync::Arc};

use gate::{Admission as _, Hop, InFlight, Permit, Refusal};
use parking_lot::Mutex;
use scope::{Scope, Write};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{fault::Fault, settings::Limits};

/// Large bodies of one tenant's environment that are understood at once.
const PARSING: usize = 2;

/// A tenant's environment.
type Partition = [u8; 32];

pub(crate) struct Load {
    entering: InFlight,
    bodies: Arc<Bodies>,
    lanes: Arc<Mutex<HashMap<Partition, Arc<Semaphore>>>>,
}

impl Load {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            entering: InFlight::new(limits.hops_per_tenant),
            bodies: Arc::new(Bodies {
                total: limits.bodies_bytes_total,
                each: limits.bodies_bytes_per_tenant,
                held: Mutex::default(),
            }),
            lanes: Arc::default(),
        }
    }

    /// A place for a hop whose body was not read yet; the gate counts what comes after.
    pub(crate) fn enter(&self, scope: &Scope<Write>, hop: &Hop) -> Result<Permit, Fault> {
        self.entering.admit(&scope.read_only(), hop).map_err(|refusal: Refusal| {
            let after = refusal.retry_after.map(|after| after.as_secs().max(1));
            Fault::new(refusal.code, refusal.message).after(after)
        })
    }

    /// An account for a body of this tenant, without anything in it yet.
    pub(crate) fn body_of(&self, scope: &Scope<Write>) -> Charge {
        self.bodies.charge(Some(*scope.partition_bytes()))
    }

    /// An account for a body of an operator or a service: apart from what tenants use.
    pub(crate) fn body_of_staff(&self) -> Charge {
        self.bodies.charge(None)
    }

    /// Waits until another large body of this tenant may be understood.
    pub(crate) async fn lane(&self, scope: &Scope<Write>) -> Result<Lane, Fault> {
        let partition = *scope.partition_bytes();
        let turns = {
            let mut lanes = self.lanes.lock();
            let turns = lanes.entry(partition).or_insert_with(|| Arc::new(Semaphore::new(PARSING)));
            Arc::clone(turns)
        };
        let waiting = Leaving { partition, turns, lanes: Arc::clone(&self.lanes) };
        let turn = Arc::clone(&waiting.turns).acquire_owned().await;
        let turn = turn.map_err(|closed| Fault::internal(&closed))?;
        Ok(Lane { _turn: turn, _leaving: waiting })
    }
}

/// A turn to understand a large body. Field order matters: the turn is given back first.
pub(crate) struct Lane {
    _turn: OwnedSemaphorePermit,
    _leaving: Leaving,
}

/// Takes a tenant's lane away with whoever is the last in it.
struct Leaving {
    partition: Partition,
    turns: Arc<Semaphore>,
    lanes: Arc<Mutex<HashMap<Partition, Arc<Semaphore>>>>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock();
        // The table's and ours; a turn that somebody has or waits for comes with one more.
        if Arc::strong_count(&self.turns) <= 2 {
            lanes.remove(&self.partition);
        }
    }
}

/// Bytes of bodies that are in memory.
struct Bodies {
    total: usize,
    each: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Of all tenants.
    all: usize,
    /// By tenant's environment; `None` is the staff. An entry goes with its last byte.
    each: HashMap<Option<Partition>, usize>,
}

impl Bodies {
    fn charge(self: &Arc<Self>, owner: Option<Partition>) -> Charge {
        Charge { bodies: Arc::clone(self), owner, bytes: 0 }
    }
}

/// So many bytes of a body are in memory; they count until this is dropped.
pub(crate) struct Charge {
    bodies: Arc<Bodies>,
    owner: Option<Partition>,
    bytes: usize,
}

impl Charge {
    /// Takes more, up to `bytes` altogether.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Fault> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let refused = |why| Err(Fault::new("limit.concurrency", why).after(Some(1)));
        let Held { all, each } = &mut *self.bodies.held.lock();
        let own = each.get(&self.owner).copied().unwrap_or(0);
        if own + more > self.bodies.each {
            return refused("too many bytes of bodies of this tenant at once");
        }
        if self.owner.is_some() {
            if *all + more > self.bodies.total {
                return refused("too many bytes of bodies at once");
            }
            *all += more;
        }
        each.insert(self.owner, own + more);
        self.bytes += more;
        Ok(())
    }
}

#[cfg(test)]
impl Charge {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let Held { all, each } = &mut *self.bodies.held.lock();
        if self.owner.is_some() {
            *all -= self.bytes;
        }
        if let Some(own) = each.get_mut(&self.owner) {
            *own -= self.bytes;
            if *own == 0 {
                each.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_bounded_for_each_and_for_all_and_given_back() {
        let bodies = Arc::new(Bodies { total: 25, each: 10, held: Mutex::default() });
        let of = |owner: u8, bytes| {
            let mut charge = bodies.charge((owner > 0).then_some([owner; 32]));
            charge.grow_to(bytes).map(|()| charge).map_err(|fault| fault.code)
        };
        let mut first = of(1, 6).unwrap();
        first.grow_to(10).unwrap();
        assert_eq!(of(1, 1).err(), Some("limit.concurrency"), "its own bound");
        let _second = of(2, 10).unwrap();
        assert_eq!(of(3, 6).err(), Some("limit.concurrency"), "the bound of all");
        let _third = of(3, 5).unwrap();
        let _staff = of(0, 10).unwrap();
        drop(first);
        drop(of(1, 10).unwrap());
        assert_eq!(bodies.held.lock().each.len(), 3, "who has nothing leaves nothing");
        assert_eq!(bodies.held.lock().all, 15);
    }
}
