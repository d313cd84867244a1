//! Ways to what is private here, for the fuzz targets alone.

use std::sync::Arc;

use scope::{Scope, Write};

use crate::{
    Error, Limits, Settings,
    contract::{self, Tool},
};

/// A contract, ready.
pub struct Held(Arc<Tool>);

/// A call's arguments, final.
pub struct Made {
    /// What goes to the upstream: canonical JSON.
    pub arguments: Vec<u8>,
    /// The external account that the call is for.
    pub account: Option<String>,
    /// Of what goes to the upstream.
    pub digest: [u8; 32],
    /// What policies see.
    pub facts: Vec<String>,
    /// In hundredths.
    pub amount: Option<i64>,
    /// How much would have been refused.
    pub observed: usize,
}

/// The contract of this name.
///
/// # Errors
/// What is wrong with the settings.
pub fn held(settings: &Settings, name: &str) -> Result<Held, Error> {
    settings.check()?;
    contract::table(settings)?.get(name).cloned().map(Held).ok_or(Error::Unknown)
}

impl Held {
    /// Makes a call's arguments final.
    ///
    /// # Errors
    /// What is refused of them.
    pub fn finalize(&self, scope: &Scope<Write>, arguments: &[u8]) -> Result<Made, Error> {
        let made = self.0.finalize(scope, arguments, &Limits::default())?;
        Ok(Made {
            arguments: made.arguments.to_vec(),
            account: made.account.map(|account| account.as_str().to_owned()),
            digest: made.digest,
            facts: made.facts,
            amount: made.amount,
            observed: made.observed.len(),
        })
    }
}
