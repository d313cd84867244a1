//! Floor 0: the words every other crate speaks.
//!
//! Validated ids, length-framed encodings, strict JSON, and the two traits behind which
//! time and randomness stand. Nothing here knows what a scope is.

mod clock;
mod entropy;
pub mod frame;
mod id;
pub mod json;
pub mod planted;
pub mod text;

use std::{future::Future, pin::Pin};

pub use clock::{Clock, ManualClock, Millis, SystemClock};
pub use entropy::{Entropy, OsEntropy};
pub use id::{
    AccountId, AgentId, Alias, Entity, Environment, Error, IssuerName, Jti, OperatorName,
    ProviderId, RandomId, RequestId, RouteName, RunId, ServiceName, StepId, Subject, System,
    TenantId, WorkflowId,
};

/// What a dyn-safe asynchronous trait method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
