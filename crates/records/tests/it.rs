//! Records over real doors, a real vault and a real store.

#![allow(clippy::unwrap_used, reason = "tests: a panic is a failed test")]

mod it {
    mod audit;
    mod denials;
    mod events;
    mod notes;
    mod tamper;
    mod world;
}
