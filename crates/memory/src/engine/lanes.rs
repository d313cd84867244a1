//! Who searches next: a few threads, and a lane for each tenant's environment, served in turn.
//!
//! A thread takes one piece of work of each lane in turn, so whoever asks for little waits for
//! one piece of everybody's at most, however much of others' waits. A piece may take long, and
//! nothing ends it: so no lane ever has all of the threads, if there are several.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::{Error, MemorySettings};

type Lane = [u8; 32];

/// Threads that search, for all in turn. Cheap to clone; they end with the last of the clones.
#[derive(Clone)]
pub(crate) struct Lanes {
    inner: Arc<Inner>,
    _threads: Arc<Threads>,
}

struct Inner {
    turns: Mutex<Turns>,
    ready: Condvar,
}

/// Stops the threads when it is dropped.
struct Threads {
    inner: Arc<Inner>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// Something to do, for somebody who may have stopped waiting for it.
trait Work: Send {
    fn wanted(&self) -> bool;
    fn run(self: Box<Self>);
}

struct Piece<T, F> {
    answer: oneshot::Sender<Option<T>>,
    work: F,
}

impl<T: Send, F: FnOnce() -> T + Send> Work for Piece<T, F> {
    fn wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(self: Box<Self>) {
        let Self { answer, work } = *self;
        // What the work leaves half done is its shard's, which knows that it panicked.
        let done = catch_unwind(AssertUnwindSafe(work)).ok();
        // Nobody waits any more: fine.
        let _ = answer.send(done);
    }
}

/// What waits, and whose turn it is.
struct Turns {
    lanes: HashMap<Lane, VecDeque<Box<dyn Work>>>,
    /// The lanes, none of them empty, in the order of their turns.
    order: VecDeque<Lane>,
    /// Threads that each lane has now, of those that have any.
    running: HashMap<Lane, usize>,
    /// Most threads that one lane has.
    share: usize,
    /// Most that may wait in one lane.
    bound: usize,
    closed: bool,
}

impl Turns {
    fn new(bound: usize, threads: usize) -> Self {
        let share = threads.saturating_sub(1).max(1);
        // The planted bug: whoever asks first has everything.
        let share = if ids::planted::is("memory-lanes-unshared") { threads } else { share };
        Self {
            lanes: HashMap::new(),
            order: VecDeque::new(),
            running: HashMap::new(),
            share,
            bound: bound.max(1),
            closed: false,
        }
    }

    fn push(&mut self, lane: &Lane, work: Box<dyn Work>) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Engine("searching has ended".into()));
        }
        // The planted bug: one lane for everybody, first come, first served.
        let lane = if ids::planted::is("memory-lanes-shared") { &[0; 32] } else { lane };
        let waiting = self.lanes.entry(*lane).or_insert_with(|| {
            self.order.push_back(*lane);
            VecDeque::new()
        });
        if waiting.len() >= self.bound {
            waiting.retain(|work| work.wanted());
        }
        if waiting.len() >= self.bound {
            return Err(Error::Busy);
        }
        waiting.push_back(work);
        Ok(())
    }

    /// What is next, and whose it is: to be told [`Self::done`] with.
    fn next(&mut self) -> Option<(Lane, Box<dyn Work>)> {
        for _ in 0..self.order.len() {
            let lane = self.order.pop_front()?;
            if self.running.get(&lane).is_some_and(|threads| *threads >= self.share) {
                self.order.push_back(lane);
                continue;
            }
            let Some(waiting) = self.lanes.get_mut(&lane) else { continue };
            let mut next = waiting.pop_front();
            while next.as_ref().is_some_and(|work| !work.wanted()) {
                next = waiting.pop_front();
            }
            if waiting.is_empty() {
                self.lanes.remove(&lane);
            } else {
                self.order.push_back(lane);
            }
            if let Some(next) = next {
                *self.running.entry(lane).or_default() += 1;
                return Some((lane, next));
            }
        }
        None
    }

    /// A piece of this lane's is done.
    fn done(&mut self, lane: &Lane) {
        if let Some(threads) = self.running.get_mut(lane) {
            *threads -= 1;
            if *threads == 0 {
                self.running.remove(lane);
            }
        }
    }
}

impl Lanes {
    /// Starts the threads.
    pub(crate) fn start(settings: &MemorySettings) -> Result<Self, Error> {
        let threads = match settings.threads {
            // One more than can be busy with one lane: the last is for the others.
            0 => 1 + thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let turns = Mutex::new(Turns::new(settings.waiting, threads));
        let inner = Arc::new(Inner { turns, ready: Condvar::new() });
        let handles = Mutex::new(Vec::with_capacity(threads));
        let all = Threads { inner: Arc::clone(&inner), handles };
        for n in 0..threads {
            let inner = Arc::clone(&inner);
            let handle = thread::Builder::new()
                .name(format!("memory-{n}"))
                .spawn(move || inner.serve())
                .map_err(|error| Error::Settings(format!("no thread to search on: {error}")))?;
            all.handles.lock().push(handle);
        }
        Ok(Self { inner, _threads: Arc::new(all) })
    }

    /// Runs `work` when it is this lane's turn. Whoever stops waiting before that has it not
    /// done. A panic in it is [`Error::Engine`], and nobody else's concern.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        lane: &[u8; 32],
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.inner.turns.lock().push(lane, Box::new(Piece { answer, work }))?;
        self.inner.ready.notify_one();
        match answered.await {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(Error::Engine("a panic".into())),
            Err(_) => Err(Error::Engine("searching has ended".into())),
        }
    }
}

impl Inner {
    fn serve(&self) {
        loop {
            let (lane, work) = {
                let mut turns = self.turns.lock();
                loop {
                    if turns.closed {
                        return;
                    }
                    if let Some(work) = turns.next() {
                        break work;
                    }
                    self.ready.wait(&mut turns);
                }
            };
            work.run();
            let mut turns = self.turns.lock();
            turns.done(&lane);
            if !turns.order.is_empty() {
                // What this lane's share kept from another thread.
                self.ready.notify_one();
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let waiting = {
            let mut turns = self.inner.turns.lock();
            turns.closed = true;
            turns.order.clear();
            std::mem::take(&mut turns.lanes)
        };
        drop(waiting);
        self.inner.ready.notify_all();
        let me = thread::current().id();
        for handle in self.handles.get_mut().drain(..) {
            // The last clone may be dropped by a piece of work.
            if handle.thread().id() != me {
                // It has caught every panic that it could have ended by.
                let _ = handle.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Named(&'static str, bool, mpsc::Sender<&'static str>);

    impl Work for Named {
        fn wanted(&self) -> bool {
            self.1
        }

        fn run(self: Box<Self>) {
            self.2.send(self.0).unwrap();
        }
    }

    fn settings(threads: usize, waiting: usize) -> MemorySettings {
        MemorySettings { threads, waiting, ..MemorySettings::default() }
    }

    #[test]
    fn a_flood_of_one_delays_another_by_one_piece() {
        let (done, order) = mpsc::channel();
        let mut turns = Turns::new(1_000, 1);
        for _ in 0..500 {
            turns.push(&[1; 32], Box::new(Named("flood", true, done.clone()))).unwrap();
        }
        turns.push(&[2; 32], Box::new(Named("single", true, done.clone()))).unwrap();
        while let Some((lane, work)) = turns.next() {
            work.run();
            turns.done(&lane);
        }
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order.len(), 501);
        assert_eq!(order.iter().position(|name| *name == "single"), Some(1));
        assert!(turns.lanes.is_empty() && turns.order.is_empty(), "an idle lane leaves nothing");
    }

    #[test]
    fn no_lane_has_all_of_the_threads() {
        let (done, _order) = mpsc::channel();
        let mut turns = Turns::new(10, 2);
        let work = |name| Box::new(Named(name, true, done.clone()));
        turns.push(&[1; 32], work("endless")).unwrap();
        turns.push(&[1; 32], work("endless")).unwrap();
        let (endless, _running) = turns.next().unwrap();
        assert!(turns.next().is_none(), "one thread is kept for the others");
        turns.push(&[2; 32], work("short")).unwrap();
        let (short, _running) = turns.next().unwrap();
        assert_eq!((endless, short), ([1; 32], [2; 32]));
        assert!(turns.next().is_none());
        turns.done(&short);
        assert!(turns.next().is_none());
        turns.done(&endless);
        assert_eq!(turns.next().unwrap().0, endless);
        turns.done(&endless);
        assert!(turns.running.is_empty() && turns.order.is_empty() && turns.lanes.is_empty());
    }

    #[test]
    fn a_full_lane_refuses_and_closes_no_other() {
        let (done, _order) = mpsc::channel();
        let mut turns = Turns::new(2, 1);
        let work = |wanted| Box::new(Named("work", wanted, done.clone()));
        turns.push(&[1; 32], work(true)).unwrap();
        turns.push(&[1; 32], work(true)).unwrap();
        assert!(matches!(turns.push(&[1; 32], work(true)), Err(Error::Busy)));
        turns.push(&[2; 32], work(true)).unwrap();

        let mut turns = Turns::new(2, 1);
        turns.push(&[1; 32], work(false)).unwrap();
        turns.push(&[1; 32], work(true)).unwrap();
        turns.push(&[1; 32], work(true)).expect("what nobody waits for makes room");
    }

    #[test]
    fn what_nobody_waits_for_is_not_done() {
        let (done, order) = mpsc::channel();
        let mut turns = Turns::new(10, 1);
        turns.push(&[1; 32], Box::new(Named("gone", false, done.clone()))).unwrap();
        turns.push(&[1; 32], Box::new(Named("here", true, done))).unwrap();
        while let Some((lane, work)) = turns.next() {
            work.run();
            turns.done(&lane);
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["here"]);
    }

    #[tokio::test]
    async fn a_panic_is_the_asker_s_alone() {
        let lanes = Lanes::start(&settings(1, 8)).unwrap();
        let failed = lanes.run(&[1; 32], || -> u8 { panic!("on purpose") }).await;
        assert!(matches!(failed, Err(Error::Engine(_))));
        assert_eq!(lanes.run(&[1; 32], || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_has_nothing_done() {
        let lanes = Lanes::start(&settings(1, 8)).unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let (done, heard) = mpsc::channel();
        let held = {
            let lanes = lanes.clone();
            async move { lanes.run(&[1; 32], move || gate.recv().unwrap()).await }
        };
        let cancelled = lanes.run(&[1; 32], {
            let done = done.clone();
            move || done.send("cancelled").unwrap()
        });
        {
            tokio::pin!(held);
            {
                tokio::pin!(cancelled);
                tokio::select! { biased; _ = &mut held => {}, _ = &mut cancelled => {}, () = async {} => {} }
                // Both wait now; the second is given up here, the first when the gate is open.
            }
            open.send(()).unwrap();
        }
        lanes.run(&[1; 32], move || done.send("last").unwrap()).await.unwrap();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["last"]);
    }

    #[tokio::test]
    async fn the_last_clone_ends_the_threads() {
        let lanes = Lanes::start(&settings(2, 8)).unwrap();
        let inner = Arc::clone(&lanes.inner);
        assert_eq!(lanes.run(&[1; 32], || 1).await.unwrap(), 1);
        drop(lanes);
        assert!(inner.turns.lock().closed);
        assert_eq!(Arc::strong_count(&inner), 1, "no thread is left");
    }
}
