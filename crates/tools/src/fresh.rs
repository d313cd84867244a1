//! What upstreams said, taken as it was for a while: fetched once for all who ask at once, for
//! each owner, and for nobody else.

use std::{sync::Arc, time::Duration};

use ids::{Clock, Millis, Subject};
use parking_lot::{Mutex, RwLock};
use scope::{Scope, Write};

use crate::{
    Auth, Error, Fault, Upstream, credential::Authorized, shares::Shares, upstream::Owner,
};

/// How long a fault is taken for an answer, so that those who wait do not each ask again; and how
/// long an answer is, to whom it is not good enough.
pub(crate) const COOL: Duration = Duration::from_secs(1);

/// Whose it is. An end user's own, where the upstream is told who that is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Whose {
    owner: Owner,
    subject: Option<Subject>,
}

impl Whose {
    pub(crate) fn of(scope: &Scope<Write>, upstream: &Upstream, by: &Authorized) -> Self {
        let told = matches!(upstream.auth, Auth::Assertion { .. });
        let subject = scope.subject().filter(|_| told).cloned();
        Self { owner: Owner::of(scope, upstream, by), subject }
    }
}

/// When it came, and what it is.
type Came<V> = (Millis, Result<Arc<V>, Fault>);

/// What one owner has.
struct Held<V> {
    came: RwLock<Option<Came<V>>>,
    /// Held while it is fetched, so that it is fetched once. Whom it is good enough for as it is
    /// waits for nobody who wants it newer.
    turn: tokio::sync::Mutex<()>,
}

impl<V> Default for Held<V> {
    fn default() -> Self {
        Self { came: RwLock::new(None), turn: tokio::sync::Mutex::default() }
    }
}

impl<V> Held<V> {
    fn found(&self, now: Millis, keep: Duration) -> Option<Result<Arc<V>, Fault>> {
        let came = self.came.read();
        let (at, found) = came.as_ref()?;
        (now < at.plus(if found.is_ok() { keep } else { COOL })).then(|| found.clone())
    }
}

/// What was fetched, by whose it is.
pub(crate) struct Fresh<V> {
    clock: Arc<dyn Clock>,
    by: Mutex<Shares<Whose, Arc<Held<V>>>>,
}

impl<V> Fresh<V> {
    /// Of so many owners at most.
    pub(crate) fn new(most: usize, clock: Arc<dyn Clock>) -> Self {
        Self { clock, by: Mutex::new(Shares::new(most)) }
    }

    /// What is not older than this; it is fetched if there is none.
    pub(crate) async fn of(
        &self,
        whose: Whose,
        keep: Duration,
        fetch: impl Future<Output = Result<V, Error>>,
    ) -> Result<Arc<V>, Error> {
        let share = *whose.owner.partition();
        let one = self.by.lock().get_or_insert(&share, whose, Arc::default);
        if let Some(found) = one.found(self.clock.now(), keep) {
            return Ok(found?);
        }
        let _turn = one.turn.lock().await;
        if let Some(found) = one.found(self.clock.now(), keep) {
            return Ok(found?);
        }
        let found = match fetch.await {
            Ok(found) => Ok(Arc::new(found)),
            Err(Error::Upstream(fault)) => Err(fault),
            Err(error) => return Err(error),
        };
        // From when it came, or what takes long to come were old at once.
        *one.came.write() = Some((self.clock.now(), found.clone()));
        Ok(found?)
    }

    /// Everybody's is fetched anew.
    pub(crate) fn clear(&self) {
        self.by.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::{
        FaultKind,
        world::{self, World},
    };

    const KEEP: Duration = Duration::from_secs(300);
    const SLOW: Duration = Duration::from_secs(5);

    async fn whose(world: &World) -> Whose {
        let upstream = world::mcp(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        Whose::of(&world.acme().await, &upstream, &Authorized::bare())
    }

    #[tokio::test]
    async fn what_takes_long_is_asked_for_once_all_the_same() {
        let world = World::new().await;
        let whose = whose(&world).await;
        let fresh = Fresh::<usize>::new(8, world.clock.clone());
        let asked = AtomicUsize::new(0);
        for fails in [true, false] {
            world.clock.advance(KEEP);
            asked.store(0, Ordering::Relaxed);
            let one = async || {
                let fetch = async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    world.clock.advance(SLOW);
                    match fails {
                        true => Err(Fault::sent(FaultKind::Timeout).into()),
                        false => Ok(7),
                    }
                };
                fresh.of(whose.clone(), COOL, fetch).await.is_err()
            };
            let all = futures_util::future::join_all((0..20).map(|_| one())).await;
            assert_eq!(all, [fails; 20]);
            assert_eq!(asked.load(Ordering::Relaxed), 1);
        }
    }

    #[tokio::test]
    async fn nobody_whom_it_is_good_enough_for_waits_for_a_newer_one() {
        let world = World::new().await;
        let whose = whose(&world).await;
        let fresh = Fresh::<usize>::new(8, world.clock.clone());
        let of = |keep, value| fresh.of(whose.clone(), keep, std::future::ready(Ok(value)));
        assert_eq!(*of(KEEP, 1).await.unwrap(), 1);
        world.clock.advance(COOL);
        let (go, gate) = tokio::sync::oneshot::channel();
        let mut newer = std::pin::pin!(
            fresh.of(whose.clone(), COOL, async { Ok(gate.await.unwrap_or_default()) })
        );
        assert!(newer.as_mut().now_or_never().is_none());
        let held = of(KEEP, 9).now_or_never().expect("it waits");
        assert_eq!(*held.unwrap(), 1);
        go.send(2).unwrap();
        assert_eq!(*newer.await.unwrap(), 2);
        assert_eq!(*of(KEEP, 9).await.unwrap(), 2);
    }
}
