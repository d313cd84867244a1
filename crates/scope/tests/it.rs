//! The doors, from outside: real keys, real tokens, a registry in memory.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::type_complexity,
    reason = "tests: a panic is a failed test, and their tasks belong to no tenant"
)]

extern crate bulkhead_scope as scope;

mod it {
    pub(crate) mod issuers;
    pub(crate) mod keys_and_people;
    pub(crate) mod mandates;
    pub(crate) mod narrowing;
    pub(crate) mod scopes;
    pub(crate) mod tokens;
}

use std::sync::Arc;

use ids::{ManualClock, Millis};
use testkit::Kit;

/// 2026-11-22, noon.
const NOON: Millis = Millis::from_secs(1_795_348_800);

async fn kit() -> (Kit, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOON));
    (Kit::new(Arc::clone(&clock) as Arc<dyn ids::Clock>).await, clock)
}

fn code<T>(result: Result<T, scope::Error>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}
