//! Calls that wait until a review is decided. They hold nothing but a place here: no slot of a surface,
//! no connection of a store, no lock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ids::RandomId;
use parking_lot::Mutex;
use scope::{Access, Scope};
use store::Partition;
use tokio::sync::watch;

use crate::{Error, Review, Reviews, State};

/// Most calls that wait at once, of all tenants.
const MOST: usize = 8_192;
/// Most of one tenant's environment.
const MOST_OF_ONE: usize = 256;
/// How long is slept at most before the clock is asked anew.
const NAP: Duration = Duration::from_secs(60);

/// Who waits for which review.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    rows: HashMap<(Partition, RandomId), Row>,
    of_one: HashMap<Partition, usize>,
    all: usize,
}

struct Row {
    changes: watch::Sender<u64>,
    waiting: usize,
}

/// A place in the book, until it is dropped.
struct Place {
    book: Waiting,
    key: (Partition, RandomId),
    changes: watch::Receiver<u64>,
}

impl Waiting {
    /// Something has changed about a review.
    pub(crate) fn settled<A: Access>(&self, scope: &Scope<A>, id: RandomId) {
        let book = self.0.lock();
        if let Some(row) = book.rows.get(&(Partition::of(scope), id)) {
            row.changes.send_modify(|count| *count += 1);
        }
    }

    fn enter(&self, key: (Partition, RandomId)) -> Result<Place, Error> {
        let mut book = self.0.lock();
        let of_one = book.of_one.get(&key.0).copied().unwrap_or_default();
        for (waiting, most) in [(book.all, MOST), (of_one, MOST_OF_ONE)] {
            if waiting >= most {
                return Err(Error::Waiting(most));
            }
        }
        book.all += 1;
        *book.of_one.entry(key.0).or_default() += 1;
        let row = book
            .rows
            .entry(key)
            .or_insert_with(|| Row { changes: watch::Sender::new(0), waiting: 0 });
        row.waiting += 1;
        let changes = row.changes.subscribe();
        drop(book);
        Ok(Place { book: self.clone(), key, changes })
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let book = self.0.lock();
        book.rows.is_empty() && book.of_one.is_empty() && book.all == 0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.book.0.lock();
        book.all = book.all.saturating_sub(1);
        if let Some(row) = book.rows.get_mut(&self.key) {
            row.waiting -= 1;
            if row.waiting == 0 {
                book.rows.remove(&self.key);
            }
        }
        if let Some(of_one) = book.of_one.get_mut(&self.key.0) {
            *of_one -= 1;
            if *of_one == 0 {
                book.of_one.remove(&self.key.0);
            }
        }
    }
}

impl Reviews {
    /// Waits until a review of the scope's tenant and environment is decided or has expired, and says
    /// how it stands then. At once, if it does not wait any more.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Waiting`] where too many wait; a scope that is revoked meanwhile;
    /// what rows answer.
    pub async fn waiting<A: Access>(
        &self,
        scope: &Scope<A>,
        id: RandomId,
    ) -> Result<Review, Error> {
        // Nobody holds a place for what is not there.
        let review = self.of(scope).record(id).await?;
        if review.state != State::Open {
            return Ok(review);
        }
        // The place first, then the look: what is decided in between is seen or heard of.
        let mut place = self.0.waiting.enter((Partition::of(scope), id))?;
        loop {
            let review = self.of(scope).record(id).await?;
            if review.state != State::Open {
                return Ok(review);
            }
            let left = review.expires.since(self.0.clock.now()).min(NAP);
            tokio::select! {
                biased;
                why = scope.ended() => return Err(why.into()),
                // The sender lives as long as the place does.
                _ = place.changes.changed() => {}
                () = tokio::time::sleep(left.max(Duration::from_millis(1))) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> RandomId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        RandomId::from_bytes(bytes)
    }

    #[tokio::test]
    async fn one_tenant_fills_its_own_places_and_places_come_back() {
        let clock = Arc::new(ids::ManualClock::at(ids::Millis(1)));
        let kit = testkit::Kit::new(clock).await;
        let parts = [
            Partition::of(&kit.scope("acme", "live").await),
            Partition::of(&kit.scope("globex", "live").await),
        ];
        let waiting = Waiting::default();
        let mut places = Vec::new();
        for n in 0..MOST_OF_ONE {
            places.push(waiting.enter((parts[0], id(u16::try_from(n / 2).unwrap()))).unwrap());
        }
        assert!(matches!(waiting.enter((parts[0], id(0))), Err(Error::Waiting(MOST_OF_ONE))));
        drop(waiting.enter((parts[1], id(0))).unwrap());
        places.pop();
        places.push(waiting.enter((parts[0], id(9))).unwrap());
        drop(places);
        assert!(waiting.is_empty());
    }
}
