//! Denials are bounded: a caller that is refused in a loop must not fill the log. Of one
//! owner and code, so many a minute are entries of their own; the rest is one entry with
//! their number, when the minute ends.

use std::{collections::BTreeMap, time::Duration};

use ids::Millis;
use lru::LruCache;
use parking_lot::Mutex;
use scope::{Decision, Entry};

use super::Owner;

/// Denials of one owner and code that are entries of their own, a minute.
const SINGLE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// Owners and codes that are counted at a time.
const WINDOWS: usize = 8_192;

type Key = (Option<[u8; 32]>, String);

struct Window {
    owner: Owner,
    since: Millis,
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

pub(crate) struct Denials(Mutex<LruCache<Key, Window>>);

impl Denials {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }

    /// Counts a denial.
    pub(crate) fn count(&self, owner: &Owner, code: &str, now: Millis) -> Verdict {
        let key = (owner.id(), code.to_owned());
        let mut due = Vec::new();
        let mut windows = self.0.lock();
        if windows.peek(&key).is_some_and(|window| over(window, now)) {
            due.extend(windows.pop(&key).and_then(|window| summary(&key, window)));
        }
        if windows.len() >= WINDOWS
            && !windows.contains(&key)
            && let Some((oldest, window)) = windows.pop_lru()
        {
            due.extend(summary(&oldest, window));
        }
        let window = windows.get_or_insert_mut(key, || Window {
            owner: owner.clone(),
            since: now,
            single: 0,
            more: 0,
            first: now,
            last: now,
        });
        let single = window.single < SINGLE;
        if single {
            window.single += 1;
        } else {
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
        let mut windows = self.0.lock();
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
        let mut windows = self.0.lock();
        let window = windows.get_or_insert_mut((owner.id(), code), || Window {
            owner,
            since: first,
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
    now < window.since || now.since(window.since) >= MINUTE
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
        let denials = Denials::new();
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
    fn what_could_not_be_written_is_told_later() {
        let denials = Denials::new();
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
        let denials = Denials::new();
        let start = Millis(1_000_000);
        flood(&denials, "first", 61, start);
        let due: usize =
            (0..WINDOWS).map(|n| flood(&denials, &n.to_string(), 1, start).1.len()).sum();
        assert_eq!(due, 1);
        assert_eq!(denials.0.lock().len(), WINDOWS);
    }
}
