//! How far it is: one line that is written over, on a terminal alone.

use std::{
    io::IsTerminal as _,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use probe::{Allowed, Finding, Progress, Spent, Verdict, catalog::Check};

use crate::print;

/// The line.
pub(super) struct Line {
    shown: bool,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    needed: Spent,
    requests: u64,
    checks: usize,
    leaks: usize,
}

impl Line {
    /// Shown if people are watching, and not a program.
    pub(super) fn new(for_people: bool) -> Self {
        let shown = for_people && std::io::stdout().is_terminal();
        Self { shown, begun: Instant::now(), state: Mutex::default() }
    }

    /// Takes it away.
    pub(super) fn clear(&self) {
        if self.shown {
            print::tick("");
        }
    }
}

impl Progress for Line {
    fn foreseen(&self, needed: Spent, allowed: Allowed) {
        print::note(announced(needed, allowed));
        self.state.lock().unwrap_or_else(PoisonError::into_inner).needed = needed;
    }

    fn begins(&self, target: &str, check: &'static Check) {
        if !self.shown {
            return;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { needed, requests, checks, leaks } = &*state;
        print::tick(&format!(
            "{target} {} … {checks} checks, {leaks} leaks, {requests} of about {} requests, {:.0} s",
            check.id,
            needed.requests,
            self.begun.elapsed().as_secs_f64(),
        ));
    }

    fn ended(&self, finding: &Finding) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.checks += 1;
        state.requests += finding.requests;
        state.leaks += usize::from(finding.verdict == Verdict::Leak);
    }
}

/// Before anything is sent: what it will take, and what it may.
pub(super) fn announced(needed: Spent, allowed: Allowed) -> String {
    let Spent { requests, usd } = needed;
    let short = requests > allowed.requests || usd > allowed.usd;
    let mut text = format!(
        "about {requests} requests and at most ${usd:.2}; the budget is {} requests, ${:.2}, {} minutes",
        allowed.requests, allowed.usd, allowed.minutes,
    );
    if short {
        text.push_str(
            "\n  → that will not do for all: what is left then is NOT PROVEN; see --max-requests, --max-usd, --only",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_will_not_do_is_told_before() {
        let allowed = Allowed { requests: 100, usd: 1.0, minutes: 10.0 };
        let enough = announced(Spent { requests: 100, usd: 0.5 }, allowed);
        assert_eq!(
            enough,
            "about 100 requests and at most $0.50; the budget is 100 requests, $1.00, 10 minutes"
        );
        assert!(announced(Spent { requests: 101, usd: 0.5 }, allowed).contains("will not do"));
        assert!(announced(Spent { requests: 1, usd: 1.5 }, allowed).contains("will not do"));
    }
}
