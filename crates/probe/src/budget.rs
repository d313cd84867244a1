//! What a run may cost: requests, money, time. Charged before anything is sent.
//!
//! Only the clean-up may exceed it, by its own need: who plants must be able to remove.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{target::Limits, verdict::Halt};

/// The most that a dry run lists; a real run's budget is far below.
const FORESEEN: u64 = 200_000;

/// What a run may spend, as the report has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allowed {
    /// Requests.
    pub requests: u64,
    /// US dollars.
    pub usd: f64,
    /// Minutes.
    pub minutes: f64,
}

impl From<&Limits> for Allowed {
    fn from(limits: &Limits) -> Self {
        Self { requests: limits.requests, usd: limits.usd, minutes: limits.minutes }
    }
}

/// What was used of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Requests sent.
    pub requests: u64,
    /// What the model calls among them cost at most, by the prices of the target file.
    pub usd: f64,
}

/// The purse of a run.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    begun: Instant,
    spent: Mutex<Spent>,
    /// How many are cleaning up right now; while there are any, nothing is refused.
    cleaning: AtomicUsize,
}

/// While this is held, nothing is refused: what was planted is being removed.
#[derive(Debug)]
pub(crate) struct Cleaning<'a>(&'a Budget);

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        self.0.cleaning.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        let (spent, cleaning) = (Mutex::default(), AtomicUsize::new(0));
        Self { limits, begun: Instant::now(), spent, cleaning }
    }

    /// For a dry run, which is to tell what it would take, whatever may be spent.
    pub(crate) fn boundless() -> Self {
        Self::new(Limits { requests: FORESEEN, usd: f64::INFINITY, minutes: f64::INFINITY })
    }

    /// Takes a request, and what it may cost, out of the purse.
    pub(crate) fn charge(&self, usd: f64) -> Result<(), Halt> {
        let mut spent = self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !self.is_cleaning() {
            self.allows(*spent, usd)?;
        }
        spent.requests += 1;
        spent.usd += usd;
        Ok(())
    }

    fn allows(&self, spent: Spent, usd: f64) -> Result<(), Halt> {
        let Limits { requests, usd: dollars, minutes } = self.limits;
        if spent.requests >= requests {
            return Err(Halt::Budget(format!("the budget of {requests} requests is used up")));
        }
        if spent.usd + usd > dollars {
            return Err(Halt::Budget(format!("the budget of ${dollars:.2} would be exceeded")));
        }
        let most = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(Duration::MAX);
        if self.begun.elapsed() > most {
            return Err(Halt::Budget(format!("the budget of {minutes} minutes is used up")));
        }
        Ok(())
    }

    /// From now on what was planted is removed, also if the budget is used up or the user ended
    /// the run.
    pub(crate) fn cleaning(&self) -> Cleaning<'_> {
        self.cleaning.fetch_add(1, Ordering::Relaxed);
        Cleaning(self)
    }

    pub(crate) fn is_cleaning(&self) -> bool {
        self.cleaning.load(Ordering::Relaxed) > 0
    }

    /// Requests that may still be sent.
    pub(crate) fn left(&self) -> u64 {
        self.limits.requests.saturating_sub(self.spent().requests)
    }

    pub(crate) fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(requests: u64, usd: f64, minutes: f64) -> Budget {
        Budget::new(Limits { requests, usd, minutes })
    }

    #[test]
    fn requests_beyond_the_budget_are_not_charged() {
        let budget = budget(2, 1.0, 1.0);
        assert!(budget.charge(0.0).is_ok() && budget.charge(0.0).is_ok());
        assert!(matches!(budget.charge(0.0), Err(Halt::Budget(why)) if why.contains("2 requests")));
        assert_eq!(budget.spent().requests, 2);
    }

    #[test]
    fn money_is_refused_before_it_is_spent() {
        let budget = budget(100, 0.10, 1.0);
        assert!(budget.charge(0.09).is_ok());
        assert!(matches!(budget.charge(0.02), Err(Halt::Budget(why)) if why.contains("$0.10")));
        assert!(budget.charge(0.0).is_ok(), "what costs nothing goes on");
        assert!((budget.spent().usd - 0.09).abs() < 1e-9);
    }

    #[test]
    fn time_ends_a_run() {
        let budget = budget(100, 1.0, 0.0);
        std::thread::sleep(Duration::from_millis(1));
        assert!(matches!(budget.charge(0.0), Err(Halt::Budget(why)) if why.contains("minutes")));
    }

    #[test]
    fn cleaning_up_exceeds_it_and_is_counted() {
        let budget = budget(0, 0.0, 0.0);
        assert!(budget.charge(0.0).is_err());
        let cleaning = budget.cleaning();
        assert!(budget.charge(0.0).is_ok());
        drop(cleaning);
        assert!(budget.charge(0.0).is_err());
        assert_eq!(budget.spent().requests, 1);
    }

    #[test]
    fn a_dry_run_is_told_in_full() {
        let budget = Budget::boundless();
        assert!((0..10_000).all(|_| budget.charge(5.0).is_ok()));
        assert!((budget.spent().usd - 50_000.0).abs() < 1e-6);
    }
}
