//! What waits to be announced: a line for each tenant, served in turn. Whoever opens many reviews waits
//! behind itself, and takes nobody's place.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use ids::TenantId;
use parking_lot::Mutex;
use reviews::Notice;
use tokio::sync::Notify;

/// Most that wait of one tenant.
const MOST_OF_ONE: usize = 64;
/// Most that wait of all. Beyond, the last of the longest line makes room for a shorter one.
const MOST: usize = 4_096;

/// Where announcements wait for one receiver.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Inner>);

/// Whoever may announce something; when it is dropped, nobody does any more.
#[derive(Debug)]
pub(super) struct Entrance(Queue);

#[derive(Debug, Default)]
struct Inner {
    lines: Mutex<Lines>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    of: HashMap<TenantId, VecDeque<Notice>>,
    /// Whose turn it is: each that waits, once.
    turns: VecDeque<TenantId>,
    all: usize,
    closed: bool,
}

impl Lines {
    /// What has to make room is handed back.
    fn put(&mut self, whose: &TenantId, notice: Notice) -> Option<Notice> {
        let own = self.of.get(whose).map_or(0, VecDeque::len);
        let shared = ids::planted::is("webhooks-first-come");
        if own >= MOST_OF_ONE && !shared {
            return Some(notice);
        }
        let mut gone = None;
        if self.all >= MOST {
            let longest = self.of.values_mut().max_by_key(|line| line.len());
            match longest.filter(|line| line.len() > own + 1 && !shared) {
                Some(line) => gone = line.pop_back(),
                None => return Some(notice),
            }
            self.all -= 1;
        }
        let line = self.of.entry(whose.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(whose.clone());
        }
        line.push_back(notice);
        self.all += 1;
        gone
    }

    fn next(&mut self) -> Option<Notice> {
        let whose = self.turns.pop_front()?;
        let line = self.of.get_mut(&whose)?;
        let notice = line.pop_front();
        self.all -= 1;
        if line.is_empty() {
            self.of.remove(&whose);
        } else if ids::planted::is("webhooks-first-come") {
            self.turns.push_front(whose);
        } else {
            self.turns.push_back(whose);
        }
        notice
    }
}

impl Queue {
    /// Both ends.
    pub(super) fn new() -> (Entrance, Self) {
        let queue = Self::default();
        (Entrance(queue.clone()), queue)
    }

    /// The next one, when there is one; nothing when all are gone and none can come.
    pub(super) async fn next(&self) -> Option<Notice> {
        loop {
            {
                let mut lines = self.0.lines.lock();
                match lines.next() {
                    Some(notice) => return Some(notice),
                    None if lines.closed => return None,
                    None => {}
                }
            }
            // What comes in between is not missed: it leaves a permit.
            self.0.more.notified().await;
        }
    }
}

impl Entrance {
    /// Takes one; hands back what there is no room for, this one or another.
    pub(super) fn put(&self, whose: &TenantId, notice: Notice) -> Option<Notice> {
        let gone = self.0.0.lines.lock().put(whose, notice);
        self.0.0.more.notify_one();
        gone
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.0.lines.lock().closed = true;
        self.0.0.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use ids::{Millis, RandomId};
    use reviews::Kind;

    use super::*;

    fn tenant(n: usize) -> TenantId {
        format!("tenant-{n}").parse().unwrap()
    }

    /// The `n`th of a tenant's.
    fn notice(whose: &TenantId, n: u64) -> Notice {
        Notice {
            id: RandomId::from_bytes([7; 16]),
            tenant: Some(whose.clone()),
            environment: Some("live".parse().unwrap()),
            kind: Kind::Approval,
            what: "crm.refund".into(),
            opened: Millis(n),
            expires: Millis(n + 1),
        }
    }

    #[tokio::test]
    async fn one_tenants_flood_takes_nobodys_turn() {
        let (entrance, queue) = Queue::new();
        let (loud, quiet) = (tenant(1), tenant(2));
        let mut refused = 0;
        for n in 0..10_000 {
            refused += usize::from(entrance.put(&loud, notice(&loud, n)).is_some());
        }
        assert_eq!(refused, 10_000 - MOST_OF_ONE);
        assert_eq!(entrance.put(&quiet, notice(&quiet, 1)), None);
        let first = [queue.next().await.unwrap(), queue.next().await.unwrap()];
        assert!(first.contains(&notice(&quiet, 1)), "{first:?}");
        // What is left goes on in its order, and then it is over.
        drop(entrance);
        for n in 1..MOST_OF_ONE {
            assert_eq!(queue.next().await, Some(notice(&loud, u64::try_from(n).unwrap())));
        }
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn many_floods_take_nobodys_place() {
        let (entrance, queue) = Queue::new();
        let flooding = MOST / MOST_OF_ONE;
        for whose in (0..flooding).map(tenant) {
            for n in 0..1_000 {
                drop(entrance.put(&whose, notice(&whose, n)));
            }
        }
        let late = tenant(flooding);
        let gone = entrance.put(&late, notice(&late, 0)).unwrap();
        assert_eq!(gone.opened, Millis(u64::try_from(MOST_OF_ONE).unwrap() - 1));
        let mut heard = Vec::new();
        for _ in 0..=flooding {
            heard.push(queue.next().await.unwrap());
        }
        assert!(heard.contains(&notice(&late, 0)));
        assert!(heard.iter().all(|one| one.opened == Millis(0)), "each has its turn");
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_it() {
        let (entrance, queue) = Queue::new();
        let whose = tenant(1);
        let put = async { entrance.put(&whose, notice(&whose, 1)) };
        let (heard, gone) = futures_util::future::join(queue.next(), put).await;
        assert_eq!((heard, gone), (Some(notice(&whose, 1)), None));
    }
}
