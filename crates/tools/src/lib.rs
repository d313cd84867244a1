//! Floor 7: tools, the one surface that can be argued with.
//!
//! A model decides what to do; it never decides whose data it does it to. What an operator
//! declared of a tool ([`Contract`]) says which of its arguments come from the scope, what the
//! others may be, and where the owner stands in what comes back. The way of one call:
//!
//! 1. [`Tools::prepare`]: arguments are read strictly, bound ones are filled in from the scope (and
//!    refused if the caller supplies them), rules are held. What comes out is final.
//! 2. The gate decides on the final arguments ([`Prepared::hop`]).
//! 3. [`Tools::call`]: a read goes to the upstream with the tenant's own credential; a write
//!    goes the write path: mode, approval, intent, idempotency, execution, reconciliation, receipt.
//! 4. Whatever comes back, errors too, is held against the owner before anybody sees it.
//!
//! Absent on purpose: stdio upstreams (a child process could read our keys), passing on anything
//! like a credential of the caller's, redirects, and asking a write again on a guess.

mod call;
mod catalog;
mod contract;
mod credential;
mod dry;
mod error;
mod fresh;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handles;
mod hop;
mod learn;
mod offers;
mod openapi;
mod outside;
mod owner;
mod pointer;
mod rounds;
mod settings;
mod shares;
mod signing;
mod template;
mod upstream;
mod write;

// The unit tests stand on the same ground as the integration tests.
#[cfg(test)]
extern crate self as bulkhead_tools;
#[cfg(test)]
#[path = "../tests/it/standin.rs"]
mod standin;
#[cfg(test)]
#[path = "../tests/it/world.rs"]
mod world;

pub use call::{Answer, Ask, Content, Note, Progress};
pub use catalog::Pinned;
pub use contract::Mode;
pub use credential::{assertion::MAX_ASSERTION_LIFE, check_secret};
pub use dry::{Refusal, Report, Sent, Verdict};
pub use error::{Error, Fault, FaultKind};
pub use hop::{Described, Offer, Parts, Prepared, Tools};
pub use learn::{Material, Recorded, learn};
pub use offers::Completes;
pub use owner::Facts;
pub use rounds::Round;
pub use settings::{
    Approval, Auth, Contract, Effect, Enforcement, Holds, HttpRequest, Idempotency, Limits, Owner,
    Query, Reconcile, Rule, Settings, Source, Timeouts, Upstream, UpstreamKind, Uris, WorkflowMode,
};
pub use signing::ToolKeys;
pub use write::{Receipt, Resumed, TABLES};
