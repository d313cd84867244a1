//! Floor 7: model calls, to providers of several kinds.
//!
//! [`ModelHop::ask`] takes a scope, a [`gate::Pass`] (the proof that the gate was passed) and a
//! [`Request`] (a body that is bounded, unambiguous and names nobody else), and gives an
//! [`Answer`]. What goes upstream is the caller's body, byte for byte but for the fields by
//! which a provider is told whose it is ([`Mark`]), under headers that are built here, with
//! the credential of the caller's tenant. What comes back is bounded and, if it is an error,
//! rebuilt without anything like a credential.
//!
//! What a provider keeps is known by its handle. Whatever a tenant's call made is recorded as
//! that tenant's before it hears of it ([`Handles`]), and a call that names anything else is
//! refused as if there were no such thing.
//!
//! Connections belong to one tenant's environment and one credential, and go back to their
//! pool only after an answer that ended in order. So does the budget of what is asked again.
//!
//! Absent on purpose: redirects, asking again once a byte was handed on, and any way for a
//! caller to name a credential, a destination or a partition.

mod answer;
mod api;
mod batch;
mod controls;
mod delivery;
mod document;
mod embeddings;
mod error;
mod event;
mod fields;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod handles;
mod hop;
mod lax;
mod marks;
mod multipart;
mod pool;
mod relay;
mod request;
mod resources;
mod retry;
mod routing;
mod salt;
mod scrub;
mod settings;
mod shapes;
pub mod sse;
mod stored;
mod target;
mod tls;
mod tools;
mod upstream;
mod usage;

pub use answer::{Answer, Body, CacheStatus, ChatStream, ModelCard};
pub use api::{Api, Dialect};
pub use controls::{Caller, CallerCache};
pub use embeddings::Embeddings;
pub use error::{Error, Fault, Phase};
pub use fields::{REFUSED_FIELDS, STRIPPED_FIELDS};
pub use handle::{Cited, HandleKind, MAX_HANDLE, Made};
pub use handles::{Account, HandleBounds, Handles, TABLES};
pub use hop::{ModelHop, Parts, RouteStanding, SemanticStanding, TargetStanding};
pub use marks::Mark;
pub use request::Request;
pub use resources::{Resource, ResourceAsk};
pub use salt::Salts;
pub use settings::{
    CacheRoute, ClaimPath, HandlePolicy, Kind, Limits, Named, Provider, Retries, Route,
    RouteTarget, SemanticRoute, Settings, Threshold, Timeouts,
};
pub use usage::Usage;
