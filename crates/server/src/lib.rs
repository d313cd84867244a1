//! Floor 8: HTTP. The only crate with wire types.
//!
//! [`Deployment::open`] puts the floors below together; [`Server::start`] serves it on two
//! listeners: the data plane, where agents come, and the control plane, where operators and
//! services come. Every route of both is in one table, [`routes::ROUTES`].
//!
//! A request passes: `edge` (id, `Host`, time, panics, `no-store`) → `dispatch` (the proof that
//! the route needs) → a handler (wire in, wire out) → the gate and the surfaces below.
//!
//! Absent on purpose: sessions and cookies, CORS, caller-chosen request ids, redirects, and any
//! answer that an HTTP cache may keep.

mod app;
mod approved;
mod ask;
mod control;
mod data;
mod delivery;
mod deployment;
mod dispatch;
mod edge;
mod erase;
mod error;
mod extract;
mod fault;
mod fields;
mod files;
mod former;
mod held;
mod jwks;
mod listen;
mod load;
pub mod logs;
mod metrics;
mod openapi;
mod pairs;
mod places;
mod reload;
mod restore;
pub mod routes;
pub mod selfprobe;
mod serve;
mod settings;
mod signing;
mod stall;
mod tls;
mod webhook;

use app::App;
use routes::Plane;

pub use deployment::Deployment;
pub use error::Error;
pub use fault::Shape;
pub use reload::Reloaded;
pub use restore::{Restored, restore, restore_with};
pub use serve::{Handle, Server};
pub use settings::{
    CONTROL_PORT, DATA_PORT, Form, Identity, Jwks, Limits, Listener, Log, Metrics, Policy, Probe,
    RootKey, Settings, Storage, Tls, TrustedIssuer,
};
