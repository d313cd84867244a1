//! Floor 7: model calls, to OpenAI-compatible providers.
//!
//! [`ModelHop::chat`] takes a scope, a [`gate::Pass`] (the proof that the gate was passed) and
//! a [`ChatRequest`] (a body that is bounded, unambiguous and names nobody else), and gives an
//! [`Answer`]. What goes upstream is the caller's body, byte for byte, under headers that are
//! built here from nothing of the caller's, with the credential of the caller's tenant. What
//! comes back is bounded and, if it is an error, rebuilt without anything like a credential.
//!
//! Connections belong to one tenant's environment and one credential, and go back to their
//! pool only after an answer that ended in order.
//!
//! Absent on purpose: redirects, retries after anything was sent, and any way for a caller to
//! name a credential, a destination or a partition.

mod answer;
mod controls;
mod delivery;
mod error;
mod fields;
mod hop;
mod leak;
mod pool;
mod relay;
mod request;
mod scrub;
mod settings;
pub mod sse;
mod stored;
mod target;
mod tls;
mod upstream;

pub use answer::{Answer, Body, CacheStatus, ChatStream, ModelCard};
pub use controls::{CallerCache, VERSION_HEADER};
pub use error::{Error, Fault, Phase};
pub use fields::REFUSED_FIELDS;
pub use hop::ModelHop;
pub use request::ChatRequest;
pub use settings::{
    CacheRoute, ClaimPath, Kind, Limits, Named, Provider, Route, Settings, Timeouts,
};
