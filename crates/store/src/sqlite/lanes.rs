//! Who is next: writes wait in a lane per partition, and lanes take turns.
//!
//! A commit takes one write of each lane in turn, until it is full or nobody has anything
//! left that fits. A lane that came to its turn goes to the back, one that did not keeps its
//! place, so of `n` lanes each has its turn within `n / commit size + 1` commits, however
//! long the others are.

use std::collections::{HashMap, VecDeque};

use crate::{Options, Partition};

/// Bytes of all lanes in one commit, so that no commit takes long.
const COMMIT_BYTES: usize = 8 << 20;
/// What a write costs beside its bytes, so that many small ones count too.
const OVERHEAD: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Writes in one commit.
    pub(super) commit: usize,
    /// Bytes of one lane in one commit; a larger write goes alone.
    pub(super) lane_commit_bytes: usize,
    /// Writes that may wait in one lane.
    pub(super) lane: usize,
    /// Bytes that may wait in one lane.
    pub(super) lane_bytes: usize,
    /// Bytes that may wait in all; beyond it a lane is held to its even share.
    pub(super) bytes: usize,
}

impl From<&Options> for Limits {
    fn from(options: &Options) -> Self {
        Self {
            commit: options.max_batch.max(1),
            lane_commit_bytes: options.byte_cap_per_commit.max(1),
            lane: options.lane_writes.max(1),
            lane_bytes: options.lane_bytes.max(1),
            bytes: options.queue_bytes.max(1),
        }
    }
}

pub(super) struct Lanes<J> {
    limits: Limits,
    lanes: HashMap<Partition, Lane<J>>,
    /// The lanes, none of them empty, in the order of their turns.
    turns: VecDeque<Partition>,
    waiting: usize,
    bytes: usize,
    accepted: u64,
    commit: u64,
}

struct Lane<J> {
    jobs: VecDeque<Waiting<J>>,
    bytes: usize,
    /// Bytes taken in the commit of this number.
    taken: (u64, usize),
}

struct Waiting<J> {
    number: u64,
    cost: usize,
    job: J,
}

impl<J> Lanes<J> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            bytes: 0,
            accepted: 0,
            commit: 0,
        }
    }

    /// Accepts a job behind the others of its partition, unless too much waits already.
    pub(super) fn push(&mut self, part: Partition, cost: usize, job: J) -> Result<(), J> {
        let part = self.lane_of(part);
        let cost = cost.saturating_add(OVERHEAD);
        let (jobs, bytes) = self.lanes.get(&part).map_or((0, 0), |l| (l.jobs.len(), l.bytes));
        let share = self.limits.bytes / (self.lanes.len() + 1);
        let crowded = self.bytes.saturating_add(cost) > self.limits.bytes && bytes > share;
        // A lane takes one write of any size, or a large one could never be written.
        let full = jobs >= self.limits.lane
            || (jobs > 0 && bytes.saturating_add(cost) > self.limits.lane_bytes);
        if full || crowded {
            return Err(job);
        }
        let lane = self.lanes.entry(part).or_insert_with(|| {
            self.turns.push_back(part);
            Lane { jobs: VecDeque::new(), bytes: 0, taken: (0, 0) }
        });
        self.accepted += 1;
        lane.jobs.push_back(Waiting { number: self.accepted, cost, job });
        lane.bytes += cost;
        self.waiting += 1;
        self.bytes += cost;
        Ok(())
    }

    /// Takes the jobs of the next commit.
    pub(super) fn next_commit(&mut self) -> Vec<(Partition, J)> {
        self.commit += 1;
        let mut commit = Vec::with_capacity(self.waiting.min(self.limits.commit));
        let mut satisfied = Vec::new();
        let mut bytes = 0;
        while commit.len() < self.limits.commit && bytes < COMMIT_BYTES {
            let Some(part) = self.turns.pop_front() else { break };
            let Some(lane) = self.lanes.get_mut(&part) else { continue };
            if lane.taken.0 != self.commit {
                lane.taken = (self.commit, 0);
            }
            let cost = lane.jobs.front().map_or(0, |waiting| waiting.cost);
            if lane.taken.1 > 0 && lane.taken.1 + cost > self.limits.lane_commit_bytes {
                satisfied.push(part);
                continue;
            }
            if let Some(waiting) = lane.jobs.pop_front() {
                lane.bytes -= cost;
                lane.taken.1 += cost;
                self.waiting -= 1;
                self.bytes -= cost;
                bytes += cost;
                commit.push((part, waiting.job));
            }
            if lane.jobs.is_empty() {
                self.lanes.remove(&part);
            } else {
                self.turns.push_back(part);
            }
        }
        // They had more than others: behind everybody.
        self.turns.extend(satisfied);
        commit
    }

    /// How many jobs were ever accepted; the number of the last.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The number of the oldest job that waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.lanes.values().filter_map(|lane| lane.jobs.front()).map(|job| job.number).min()
    }

    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    fn lane_of(&self, part: Partition) -> Partition {
        // The planted bug: one lane for everybody, first come, first served.
        if ids::planted::is("store-lanes-shared") {
            return self.turns.front().copied().unwrap_or(part);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        commit: 8,
        lane_commit_bytes: 4_096,
        lane: 100_000,
        lane_bytes: 64 << 20,
        bytes: 512 << 20,
    };

    fn part(n: u8) -> Partition {
        Partition::numbered(n)
    }

    /// In which commit, counted from one, each of these jobs goes.
    fn commits_until<J: PartialEq>(lanes: &mut Lanes<J>, job: &J) -> usize {
        (1..).find(|_| lanes.next_commit().iter().any(|(_, j)| j == job)).unwrap()
    }

    #[test]
    fn a_flood_does_not_delay_a_single_write() {
        for (flooders, each, bound) in
            [(1u8, 5_000, 1), (7, 1_000, 1), (50, 200, 7), (200, 100, 26)]
        {
            let mut lanes = Lanes::new(LIMITS);
            for n in 0..each {
                for flooder in 0..flooders {
                    assert!(lanes.push(part(flooder), 10, (flooder, n)).is_ok());
                }
            }
            assert!(lanes.push(part(255), 10, (255, 0)).is_ok());
            let commits = commits_until(&mut lanes, &(255, 0));
            assert!(commits <= bound, "{flooders} flooders: in commit {commits}, bound {bound}");
        }
    }

    #[test]
    fn a_flood_of_bytes_leaves_room_in_every_commit() {
        let mut lanes = Lanes::new(LIMITS);
        for n in 0..100 {
            assert!(lanes.push(part(1), 3_000, (1, n)).is_ok());
        }
        for n in 0..10 {
            assert!(lanes.push(part(2), 100, (2, n)).is_ok());
        }
        let first = lanes.next_commit();
        let of = |who| first.iter().filter(|(p, _)| *p == part(who)).count();
        assert_eq!((of(1), of(2)), (1, 7));
    }

    #[test]
    fn a_write_over_the_cap_goes_alone_of_its_lane() {
        let mut lanes = Lanes::new(LIMITS);
        for n in 0..3 {
            assert!(lanes.push(part(1), 1 << 20, n).is_ok());
        }
        for _ in 0..3 {
            assert_eq!(lanes.next_commit().len(), 1);
        }
        assert!(lanes.next_commit().is_empty());
    }

    #[test]
    fn bounds_refuse() {
        let mut lanes = Lanes::new(Limits { lane: 3, ..LIMITS });
        let taken = (0..5).filter(|n| lanes.push(part(1), 1, *n).is_ok()).count();
        assert_eq!(taken, 3);
        assert!(lanes.push(part(2), 1, 9).is_ok(), "one full lane does not close another");

        let mut lanes = Lanes::new(Limits { lane_bytes: 1_000, bytes: 2_000, ..LIMITS });
        assert!(lanes.push(part(1), 10_000, 0).is_ok(), "any single write");
        assert!(lanes.push(part(1), 1, 1).is_err());
        assert!(lanes.push(part(2), 500, 2).is_ok(), "below its even share");
        assert!(lanes.push(part(2), 500, 3).is_err());
    }

    #[test]
    fn an_idle_lane_leaves_nothing_behind() {
        let mut lanes = Lanes::new(LIMITS);
        for n in 0..=255 {
            assert!(lanes.push(part(n), 1, n).is_ok());
        }
        while !lanes.next_commit().is_empty() {}
        assert_eq!(
            (lanes.lanes.len(), lanes.turns.len(), lanes.bytes, lanes.waiting()),
            (0, 0, 0, 0)
        );
        assert_eq!((lanes.oldest(), lanes.accepted()), (None, 256));
    }

    proptest! {
        /// Nothing is lost or doubled, each lane keeps its order, and bounds hold.
        #[test]
        fn takes_everything_once_in_order(
            steps in prop::collection::vec((0u8..6, 0usize..6_000, any::<bool>()), 1..200),
        ) {
            let mut lanes = Lanes::new(LIMITS);
            let (mut pushed, mut taken) = (Vec::new(), Vec::new());
            for (n, (who, cost, drain)) in steps.into_iter().enumerate() {
                prop_assert!(lanes.push(part(who), cost, n).is_ok());
                pushed.push((part(who), n));
                prop_assert!(lanes.oldest().is_some());
                if drain {
                    let commit = lanes.next_commit();
                    prop_assert!(!commit.is_empty() && commit.len() <= LIMITS.commit);
                    taken.extend(commit);
                }
            }
            while lanes.waiting() > 0 {
                taken.extend(lanes.next_commit());
            }
            pushed.sort();
            let mut in_order = taken.clone();
            in_order.sort_by_key(|(p, _)| *p);
            prop_assert_eq!(&in_order, &pushed);
        }
    }
}
