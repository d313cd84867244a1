//! The data plane's handlers: wire in, wire out, nothing else.

pub(crate) mod model;
pub(crate) mod own;
pub(crate) mod public;
