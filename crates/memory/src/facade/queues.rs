//! Writers of one collection take turns: each decides on what the one before has left.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::Error;

/// A tenant's environment.
type Partition = [u8; 32];
/// One of its collections.
type Incarnation = [u8; 16];

/// Who writes, and who waits for it. What nobody uses is not in it.
#[derive(Clone, Default)]
pub(crate) struct Queues(Arc<Mutex<HashMap<Partition, Queue>>>);

#[derive(Default)]
struct Queue {
    /// Writers of all collections, those who write now too.
    writers: usize,
    gates: HashMap<Incarnation, Gate>,
}

#[derive(Default)]
struct Gate {
    writers: usize,
    /// Held over a whole write, which waits for the store: a queue, no lock on data.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Nobody else writes to the collection until it is dropped.
#[must_use]
pub(crate) struct Turn {
    // First: whoever is next must find the place that the ticket gives up.
    _held: OwnedMutexGuard<()>,
    _ticket: Ticket,
}

/// A place in a queue.
struct Ticket {
    queues: Queues,
    partition: Partition,
    incarnation: Incarnation,
}

impl Queues {
    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Error::Busy`] if `bound` writers of the tenant's environment are there already.
    pub(crate) async fn turn(
        &self,
        partition: Partition,
        incarnation: Incarnation,
        bound: usize,
    ) -> Result<Turn, Error> {
        let (turn, ticket) = {
            let mut queues = self.0.lock();
            let queue = queues.entry(partition).or_default();
            if queue.writers >= bound.max(1) {
                return Err(Error::Busy);
            }
            queue.writers += 1;
            let gate = queue.gates.entry(incarnation).or_default();
            gate.writers += 1;
            let ticket = Ticket { queues: self.clone(), partition, incarnation };
            (Arc::clone(&gate.turn), ticket)
        };
        let held = turn.lock_owned().await;
        Ok(Turn { _held: held, _ticket: ticket })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queues = self.queues.0.lock();
        let Some(queue) = queues.get_mut(&self.partition) else { return };
        queue.writers -= 1;
        if let Some(gate) = queue.gates.get_mut(&self.incarnation) {
            gate.writers -= 1;
            if gate.writers == 0 {
                queue.gates.remove(&self.incarnation);
            }
        }
        if queue.writers == 0 {
            queues.remove(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Partition = [1; 32];
    const B: Partition = [2; 32];

    /// Polls it once: whether it is done.
    async fn done<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        std::future::poll_fn(|context| {
            let polled = std::pin::Pin::new(&mut *future).poll(context);
            std::task::Poll::Ready(match polled {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn one_writes_and_the_others_of_a_collection_wait() {
        let queues = Queues::default();
        let first = queues.turn(A, [1; 16], 3).await.unwrap();
        let mut second = Box::pin(queues.turn(A, [1; 16], 3));
        assert!(done(&mut second).await.is_none());
        let other = queues.turn(A, [2; 16], 3).await.unwrap();
        let theirs = queues.turn(B, [1; 16], 3).await.unwrap();
        // Three of this tenant are there; that of the other does not count.
        assert!(matches!(queues.turn(A, [3; 16], 3).await, Err(Error::Busy)));
        drop(first);
        let second = done(&mut second).await.unwrap().unwrap();
        drop(second);

        // Who gives up leaves nothing behind.
        let mut waiting = Box::pin(queues.turn(A, [2; 16], 3));
        assert!(done(&mut waiting).await.is_none());
        drop(waiting);
        drop((other, theirs));
        assert!(queues.0.lock().is_empty());
    }
}
