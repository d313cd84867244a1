//! What becomes of a breach: refused, or only reported.

use crate::{Enforcement, Error};

/// Most breaches that one call reports.
const MOST: usize = 32;

/// Breaches of one call.
#[derive(Debug)]
pub(super) struct Verdict {
    enforcement: Enforcement,
    observed: Vec<String>,
}

impl Verdict {
    pub(super) const fn new(enforcement: Enforcement) -> Self {
        Self { enforcement, observed: Vec::new() }
    }

    /// An error where the contract is held; where it only observes, a line in the report.
    pub(super) fn breach(&mut self, error: Error) -> Result<(), Error> {
        match self.enforcement {
            Enforcement::Enforce => Err(error),
            Enforcement::Observe => {
                if self.observed.len() < MOST {
                    self.observed.push(error.to_string());
                }
                Ok(())
            }
        }
    }

    /// What would have been refused.
    pub(super) fn observed(self) -> Vec<String> {
        self.observed
    }
}
