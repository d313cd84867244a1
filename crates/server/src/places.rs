//! Who has a connection to a listener. When there is no place left, the connection goes that
//! has shown the least right to be there, and not the one that comes: otherwise whoever opens
//! enough of them and says nothing would keep everybody out.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Requests without a credential that a connection may make one after another: probes,
/// metadata, mistakes. Then it is closed, and whoever meant it well opens another one.
const STRANGE: u32 = 64;
/// From this machine come proxies and everybody behind them: so many times what others have.
const LOCAL: usize = 3;

/// The places of one listener.
pub(crate) struct Places {
    pub(crate) free: Arc<Semaphore>,
    per_peer: usize,
    per_local: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    next: u64,
    /// In the order in which they came.
    open: BTreeMap<u64, Arc<Line>>,
    peers: HashMap<IpAddr, usize>,
}

impl Held {
    fn remove(&mut self, id: u64) -> Option<Arc<Line>> {
        let line = self.open.remove(&id)?;
        if let Some(count) = self.peers.get_mut(&line.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&line.peer);
            }
        }
        Some(line)
    }

    /// The oldest that never came with a credential, else the one that is idle for longest.
    fn least(&self, of: Option<IpAddr>) -> Option<u64> {
        let mut idle: Option<(Instant, u64)> = None;
        for (id, line) in &self.open {
            if of.is_some_and(|peer| peer != line.peer) {
                continue;
            }
            let state = line.state.lock();
            if state.in_flight > 0 {
                continue;
            }
            if !state.proven {
                return Some(*id);
            }
            if idle.is_none_or(|(since, _)| state.since < since) {
                idle = Some((state.since, *id));
            }
        }
        idle.map(|(_, id)| id)
    }
}

impl Places {
    /// `most` places. No peer gets all of them, whatever `per_peer` says.
    pub(crate) fn new(most: usize, per_peer: usize) -> Arc<Self> {
        let some = (most - most / 4).max(1);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(most)),
            per_peer: per_peer.min(some),
            per_local: per_peer.saturating_mul(LOCAL).min(some),
            held: Mutex::default(),
        })
    }

    /// A place for a new connection; nothing if every other one is at work.
    pub(crate) async fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = network(peer);
        let bound = if peer.is_loopback() { self.per_local } else { self.per_peer };
        let full = self.held.lock().peers.get(&peer).is_some_and(|count| *count >= bound);
        if full && !self.end_least(Some(peer)) {
            return None;
        }
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            // What was told to end gives its place back as soon as it is polled.
            Err(_) if full || self.end_least(None) => {
                Arc::clone(&self.free).acquire_owned().await.ok()?
            }
            Err(_) => return None,
        };
        let line = Arc::new(Line::of(peer));
        let mut held = self.held.lock();
        let id = held.next;
        held.next += 1;
        held.open.insert(id, Arc::clone(&line));
        *held.peers.entry(peer).or_insert(0) += 1;
        drop(held);
        Some(Place { id, line, places: Arc::clone(self), _permit: permit })
    }

    fn end_least(&self, of: Option<IpAddr>) -> bool {
        let mut held = self.held.lock();
        let ended = held.least(of).and_then(|id| held.remove(id));
        drop(held);
        ended.is_some_and(|line| {
            line.end.cancel();
            true
        })
    }
}

/// One who has many IPv6 addresses has a whole network of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        peer => peer,
    }
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    id: u64,
    pub(crate) line: Arc<Line>,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held.lock().remove(self.id);
    }
}

/// What is known of a connection.
pub(crate) struct Line {
    peer: IpAddr,
    state: Mutex<State>,
    end: CancellationToken,
    first: CancellationToken,
}

struct State {
    /// Requests whose answer has not gone out yet.
    in_flight: u32,
    /// Whether a request came with a credential that holds.
    proven: bool,
    /// Requests since the last such one.
    strange: u32,
    /// When the last answer had gone out.
    since: Instant,
}

impl Line {
    fn of(peer: IpAddr) -> Self {
        let state = State { in_flight: 0, proven: false, strange: 0, since: Instant::now() };
        Self {
            peer,
            state: Mutex::new(state),
            end: CancellationToken::new(),
            first: CancellationToken::new(),
        }
    }

    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.first.cancel();
        self.state.lock().in_flight += 1;
        Busy(Arc::clone(self))
    }

    /// A request is answered; whether the connection has to be closed then.
    pub(crate) fn answered(&self, proven: bool) -> bool {
        let mut state = self.state.lock();
        state.proven |= proven;
        state.strange = if proven { 0 } else { state.strange + 1 };
        state.strange >= STRANGE
    }

    /// Until its place is needed, or its first request did not come in time.
    pub(crate) async fn unwanted(&self, patience: Duration) {
        let late = async {
            if tokio::time::timeout(patience, self.first.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.end.cancelled() => {}
            () = late => {}
        }
    }
}

/// A request in flight, until its answer is out.
pub(crate) struct Busy(Arc<Line>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.in_flight -= 1;
        state.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ended(place: &Place) -> bool {
        place.line.end.is_cancelled()
    }

    #[tokio::test]
    async fn who_never_came_with_a_credential_goes_first_then_who_is_idle() {
        let places = Places::new(4, 4);
        let mut open = Vec::new();
        for peer in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
            open.push(places.take(ip(peer)).await.unwrap());
        }
        let busy = open[0].line.begin();
        open[1].line.answered(true);
        open[3].line.answered(true);
        for goes in [2, 1, 3] {
            // It waits until the one that goes has gone.
            assert!(places.take(ip("192.0.2.9")).now_or_never().is_none());
            let gone: Vec<_> = open.iter().map(ended).collect();
            assert!(gone[goes] && !gone[0], "{goes}: {gone:?}");
        }
        // All that is left is at work.
        assert!(places.take(ip("192.0.2.9")).await.is_none());
        drop(busy);
        assert!(places.take(ip("192.0.2.9")).now_or_never().is_none() && ended(&open[0]));
    }

    #[tokio::test]
    async fn a_peer_has_its_own_bound_and_a_network_is_one_peer() {
        let places = Places::new(100, 2);
        let first = places.take(ip("2001:db8::1")).await.unwrap();
        let second = places.take(ip("2001:db8::2")).await.unwrap();
        let third = places.take(ip("2001:db8:0:0:9::3")).await.unwrap();
        assert!(ended(&first) && !ended(&second));
        let _busy = [second.line.begin(), third.line.begin()];
        assert!(places.take(ip("2001:db8::4")).await.is_none());
        assert!(places.take(ip("2001:db8:0:1::4")).await.is_some());
        let mut local = Vec::new();
        for _ in 0..6 {
            local.push(places.take(ip("127.0.0.1")).await.unwrap());
        }
        assert!(local.iter().all(|place| !ended(place)));
        drop((first, second, third, local));
        assert_eq!((places.free.available_permits(), places.held.lock().peers.len()), (100, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_is_awaited_for_so_long() {
        let patience = Duration::from_secs(10);
        let (silent, speaks) = (Arc::new(Line::of(ip("::1"))), Arc::new(Line::of(ip("::1"))));
        drop(speaks.begin());
        silent.unwanted(patience).await;
        let later = tokio::time::timeout(patience * 9, speaks.unwanted(patience)).await;
        assert!(later.is_err());
    }
}
