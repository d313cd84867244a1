//! Denials are bounded: a caller that is refused in a loop must not fill the log. Of one
//! owner and code, so many a minute are entries of their own, and of one owner, so many a day;
//! the rest is one entry with their number, when the minute ends, or the hour, once the day's
//! are used up.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ids::Millis;
use lru::LruCache;
use parking_lot::Mutex;
use scope::{Decision, Entry};

use super::Owner;

/// Denials of one owner and code that are entries of their own, a minute.
const SINGLE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Owners and codes that are counted at a time.
const WINDOWS: usize = 8_192;

type Key = (Option<[u8; 32]>, String);

struct Window {
    owner: Owner,
    since: Millis,
    /// Until when it gathers; an hour once the owner's day is used up.
    lasts: Duration,
    single: u32,
    more: u64,
    first: Millis,
    last: Millis,
}

/// The denials that were no entries of their own.
pub(crate) struct Summary {
    pub(crate) owner: Owner,
    code: String,
    count: u64,
    first: Millis,
    last: Millis,
}

impl Summary {
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            actor: "bulkhead".into(),
            action: "denials.summary".into(),
            target: self.code.clone(),
            decision: Decision::Denied,
            code: Some(self.code.clone()),
            reason: None,
            detail: BTreeMap::from([
                ("count".into(), self.count.to_string()),
                ("first".into(), self.first.to_string()),
                ("last".into(), self.last.to_string()),
            ]),
        }
    }
}

/// What to do about a denial.
pub(crate) struct Verdict {
    /// Whether it is an entry of its own.
    pub(crate) single: bool,
    /// Summaries that are due, to be written before it.
    pub(crate) due: Vec<Summary>,
}

pub(crate) struct Denials {
    /// Of one owner, so many a day are entries of their own.
    per_day: AtomicU32,
    state: Mutex<State>,
}

struct State {
    windows: LruCache<Key, Window>,
    days: LruCache<Option<[u8; 32]>, Day>,
}

/// What an owner has used of its day.
struct Day {
    since: Millis,
    used: u32,
}

impl State {
    /// Takes one of the owner's entries of its day, if there is one left.
    fn spend(&mut self, owner: Option<[u8; 32]>, per_day: u32, now: Millis) -> bool {
        if self.days.len() >= WINDOWS && !self.days.contains(&owner) {
            self.days.pop_lru();
        }
        let day = self.days.get_or_insert_mut(owner, || Day { since: now, used: 0 });
        if now < day.since || now.since(day.since) >= DAY {
            *day = Day { since: now, used: 0 };
        }
        let left = day.used < per_day;
        day.used += u32::from(left);
        left
    }
}

impl Denials {
    pub(crate) fn new(per_day: u32) -> Self {
        let state = State { windows: LruCache::unbounded(), days: LruCache::unbounded() };
        Self { per_day: per_day.into(), state: Mutex::new(state) }
    }

    /// From now on, so many a day.
    pub(crate) fn hold_to(&self, per_day: u32) {
        self.per_day.store(per_day, Ordering::Relaxed);
    }

    /// Counts a denial.
    pub(crate) fn count(&self, owner: &Owner, code: &str, now: Millis) -> Verdict {
        let key = (owner.id(), code.to_owned());
        let mut due = Vec::new();
        let mut state = self.state.lock();
        let windows = &mut state.windows;
        if windows.peek(&key).is_some_and(|window| over(window, now)) {
            due.extend(windows.pop(&key).and_then(|window| summary(&key, window)));
        }
        if windows.len() >= WINDOWS
            && !windows.contains(&key)
            && let Some((oldest, window)) = windows.pop_lru()
        {
            due.extend(summary(&oldest, window));
        }
        let few = windows.peek(&key).is_none_or(|window| window.single < SINGLE);
        let single = few && state.spend(key.0, self.per_day.load(Ordering::Relaxed), now);
        let window = state.windows.get_or_insert_mut(key, || Window {
            owner: owner.clone(),
            since: now,
            lasts: MINUTE,
            single: 0,
            more: 0,
            first: now,
            last: now,
        });
        if single {
            window.single += 1;
        } else {
            if few {
                window.lasts = HOUR;
            }
            if window.more == 0 {
                window.first = now;
            }
            window.more += 1;
            window.last = now;
        }
        Verdict { single, due }
    }

    /// The summaries of minutes that have ended; of all, at shutdown.
    pub(crate) fn due(&self, now: Millis, all: bool) -> Vec<Summary> {
        let windows = &mut self.state.lock().windows;
        let ended: Vec<_> = windows
            .iter()
            .filter(|(_, window)| all || over(window, now))
            .map(|(key, _)| key.clone())
            .collect();
        ended
            .into_iter()
            .filter_map(|key| windows.pop(&key).and_then(|window| summary(&key, window)))
            .collect()
    }

    /// Takes back a summary that could not be written.
    pub(crate) fn put_back(&self, summary: Summary) {
        let Summary { owner, code, count, first, last } = summary;
        let windows = &mut self.state.lock().windows;
        let window = windows.get_or_insert_mut((owner.id(), code), || Window {
            owner,
            since: first,
            lasts: MINUTE,
            single: SINGLE,
            more: 0,
            first,
            last,
        });
        if window.more == 0 {
            window.last = last;
        }
        window.more += count;
        window.first = first;
    }
}

fn over(window: &Window, now: Millis) -> bool {
    // A clock that went back must not keep a window open for ever.
    now < window.since || now.since(window.since) >= window.lasts
}

fn summary((_, code): &Key, window: Window) -> Option<Summary> {
    let Window { owner, more: count, first, last, .. } = window;
    (count > 0).then(|| Summary { owner, code: code.clone(), count, first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(denials: &Denials, code: &str, times: usize, now: Millis) -> (usize, Vec<Summary>) {
        let mut due = Vec::new();
        let single = (0..times)
            .filter(|_| {
                let verdict = denials.count(&Owner::Deployment, code, now);
                due.extend(verdict.due);
                verdict.single
            })
            .count();
        (single, due)
    }

    #[test]
    fn a_minute_has_sixty_entries_and_one_summary() {
        let denials = Denials::new(1_000);
        let start = Millis(1_000_000);
        let (single, due) = flood(&denials, "a", 100, start);
        assert_eq!((single, due.len()), (60, 0));
        assert_eq!(flood(&denials, "b", 1, start).0, 1);
        assert!(denials.due(start.plus(MINUTE - Duration::from_millis(1)), false).is_empty());
        let (single, due) = flood(&denials, "a", 1, start.plus(MINUTE));
        assert_eq!((single, due.len(), due[0].count), (1, 1, 40));
        assert!(denials.due(start.plus(MINUTE * 3), true).is_empty(), "nothing is told twice");
    }

    #[test]
    fn a_day_has_so_many_entries_and_then_a_summary_an_hour() {
        let denials = Denials::new(100);
        let start = Millis(1_000_000);
        let (mut single, mut summaries, mut counted) = (0, 0, 0);
        let minutes = u32::try_from(DAY.as_secs() / 60).unwrap();
        for minute in 0..minutes {
            let (now_single, due) = flood(&denials, "a", 70, start.plus(MINUTE * minute));
            single += now_single;
            summaries += due.len();
            counted += due.iter().map(|summary| summary.count).sum::<u64>();
        }
        let left = denials.due(start.plus(DAY), true);
        counted += left.iter().map(|summary| summary.count).sum::<u64>();
        assert_eq!(single, 100);
        assert!((20..=27).contains(&summaries), "{summaries}");
        assert_eq!(counted + 100, u64::from(minutes) * 70, "none is lost");
        assert_eq!(flood(&denials, "b", 70, start.plus(DAY)).0, 60, "another day");
        assert_eq!(flood(&denials, "c", 70, start.plus(DAY)).0, 40, "of all codes together");
    }

    #[test]
    fn what_could_not_be_written_is_told_later() {
        let denials = Denials::new(1_000);
        let start = Millis(1_000_000);
        flood(&denials, "a", 100, start);
        let summary = denials.due(start, true).remove(0);
        flood(&denials, "a", 61, start);
        denials.put_back(summary);
        let told = denials.due(start, true);
        assert_eq!(told.iter().map(|summary| summary.count).collect::<Vec<_>>(), [41]);
    }

    #[test]
    fn windows_are_bounded_and_none_is_lost() {
        let denials = Denials::new(1_000);
        let start = Millis(1_000_000);
        flood(&denials, "first", 61, start);
        let due: usize =
            (0..WINDOWS).map(|n| flood(&denials, &n.to_string(), 1, start).1.len()).sum();
        assert_eq!(due, 1);
        assert_eq!(denials.state.lock().windows.len(), WINDOWS);
    }
}
