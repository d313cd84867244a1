//! Single flight: of many equal requests on one shelf, one does the work and the others read
//! what it kept. The result is handed over through the cache alone, so a follower opens it
//! with its own data key like any other reader.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ids::planted;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::CacheKey;

/// A shelf and a key on it. The shelf stands here although every key already differs by
/// shelf: should two keys collide, no flight joins two tenants.
type Id = ([u8; 32], CacheKey);

/// All flights that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Id, Arc<Slot>>>,
    /// Counts flights that kept something: unchanged since a miss means that it is still one.
    landed: AtomicU64,
}

/// Where the requests of one flight meet. The one permit is the lead; a leader that is
/// cancelled drops it, and the semaphore gives it to who waited longest.
struct Slot {
    lead: Arc<Semaphore>,
    /// Requests that hold this slot. Changes under the lock of the map alone.
    seats: AtomicUsize,
    landed: AtomicU64,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({} seats)", self.seats.load(Ordering::Relaxed))
    }
}

/// What a request finds when it joins.
pub(crate) enum Joined {
    Lead(Leader),
    Follow(Follower),
}

impl Flights {
    pub(crate) fn join(self: &Arc<Self>, shelf: &[u8; 32], key: &CacheKey) -> Joined {
        let shelf = if planted::is("flight-across-tenants") { [0; 32] } else { *shelf };
        let id = (shelf, *key);
        let slot = {
            let mut under_way = self.under_way.lock();
            let slot = under_way.entry(id).or_insert_with(|| {
                Arc::new(Slot {
                    lead: Arc::new(Semaphore::new(1)),
                    seats: AtomicUsize::new(0),
                    landed: AtomicU64::new(0),
                })
            });
            slot.seats.fetch_add(1, Ordering::Relaxed);
            Arc::clone(slot)
        };
        let lead = Arc::clone(&slot.lead);
        let seat = Seat { flights: Arc::clone(self), id, slot };
        match lead.try_acquire_owned() {
            Ok(permit) => Joined::Lead(Leader { permit: Some(permit), seat }),
            Err(_) => Joined::Follow(Follower { seat }),
        }
    }

    /// How many flights have kept something so far.
    pub(crate) fn landed(&self) -> u64 {
        self.landed.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.lock().len()
    }
}

/// One request's place in a flight. The slot goes with its last seat.
struct Seat {
    flights: Arc<Flights>,
    id: Id,
    slot: Arc<Slot>,
}

impl Seat {
    /// Ends the flight: who comes later starts a new one, who waits wakes up.
    fn end(&self, kept: bool) {
        if kept {
            self.slot.landed.store(1, Ordering::Release);
            self.flights.landed.fetch_add(1, Ordering::AcqRel);
        }
        let mut under_way = self.flights.under_way.lock();
        self.leave(&mut under_way);
        drop(under_way);
        self.slot.lead.close();
    }

    fn leave(&self, under_way: &mut HashMap<Id, Arc<Slot>>) {
        if under_way.get(&self.id).is_some_and(|slot| Arc::ptr_eq(slot, &self.slot)) {
            under_way.remove(&self.id);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        if self.slot.seats.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.leave(&mut under_way);
        }
    }
}

/// The one that does the work. Dropped without a word, it was cancelled, and the lead goes to
/// a follower.
#[must_use = "a leader that is dropped hands over"]
pub struct Leader {
    // Given back before the seat is left: a follower that has it keeps the slot alive.
    permit: Option<OwnedSemaphorePermit>,
    seat: Seat,
}

impl Leader {
    /// The result is in the cache: followers read it there.
    pub fn kept(self) {
        self.seat.end(true);
    }

    /// There is a result, and it is not one to keep: each follower goes its own way at once,
    /// rather than one after the other.
    pub fn not_kept(self) {
        self.seat.end(false);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if planted::is("cancelled-leader-loses-followers")
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leader")
    }
}

/// One that waits for the leader.
#[must_use]
pub struct Follower {
    seat: Seat,
}

/// What a follower does next.
#[derive(Debug)]
pub enum Turn {
    /// Read the cache.
    Read,
    /// Do the work: the leader was cancelled.
    Lead(Leader),
    /// Do the work alone: the leader's result was not one to keep, or it took too long.
    Alone,
}

impl Follower {
    /// Waits for the leader, but no longer than `patience`.
    pub async fn turn(self, patience: Duration) -> Turn {
        let lead = Arc::clone(&self.seat.slot.lead);
        match tokio::time::timeout(patience, lead.acquire_owned()).await {
            Ok(Ok(permit)) => Turn::Lead(Leader { permit: Some(permit), seat: self.seat }),
            Ok(Err(_closed)) if self.seat.slot.landed.load(Ordering::Acquire) == 1 => Turn::Read,
            Ok(Err(_)) | Err(_) => Turn::Alone,
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Follower")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::any;

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];
    const LONG: Duration = Duration::from_secs(3_600);

    fn lead(flights: &Arc<Flights>, shelf: &[u8; 32]) -> Leader {
        match flights.join(shelf, &any(7)) {
            Joined::Lead(leader) => leader,
            Joined::Follow(_) => panic!("expected to lead"),
        }
    }

    fn follow(flights: &Arc<Flights>, shelf: &[u8; 32]) -> Follower {
        match flights.join(shelf, &any(7)) {
            Joined::Follow(follower) => follower,
            Joined::Lead(_) => panic!("expected to follow"),
        }
    }

    #[test]
    fn two_shelves_share_no_flight_even_if_their_keys_collide() {
        let flights = Arc::default();
        let a = lead(&flights, &A);
        let b = lead(&flights, &B);
        drop((a, b));
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn followers_read_what_was_kept() {
        let flights = Arc::default();
        let leader = lead(&flights, &A);
        let followers: Vec<_> = (0..3).map(|_| follow(&flights, &A).turn(LONG)).collect();
        leader.kept();
        for turn in futures_util::future::join_all(followers).await {
            assert!(matches!(turn, Turn::Read), "{turn:?}");
        }
        assert_eq!((flights.under_way(), flights.landed()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_leader_hands_over_to_one() {
        let flights = Arc::default();
        let leader = lead(&flights, &A);
        let first = follow(&flights, &A);
        let second = follow(&flights, &A);
        drop(leader);
        let Turn::Lead(next) = first.turn(LONG).await else { panic!("nobody leads") };
        next.kept();
        assert!(matches!(second.turn(LONG).await, Turn::Read));
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn a_result_not_kept_sets_all_free_at_once() {
        let flights = Arc::default();
        let leader = lead(&flights, &A);
        let waiting = [follow(&flights, &A), follow(&flights, &A)];
        leader.not_kept();
        for follower in waiting {
            assert!(matches!(follower.turn(LONG).await, Turn::Alone));
        }
        drop(lead(&flights, &A));
        assert_eq!((flights.under_way(), flights.landed()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let flights = Arc::default();
        let leader = lead(&flights, &A);
        let turn = follow(&flights, &A).turn(Duration::from_secs(1)).await;
        assert!(matches!(turn, Turn::Alone), "{turn:?}");
        drop(leader);
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn a_follower_that_leaves_takes_nothing_along() {
        let flights = Arc::default();
        let leader = lead(&flights, &A);
        let stays = follow(&flights, &A);
        drop(follow(&flights, &A).turn(LONG));
        drop(leader);
        assert!(matches!(stays.turn(LONG).await, Turn::Lead(_)));
        assert_eq!(flights.under_way(), 0);
    }
}
