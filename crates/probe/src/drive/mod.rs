//! Drivers: how each kind of target is spoken to.

pub(crate) mod app;
pub(crate) mod chat;
pub(crate) mod mcp;
pub(crate) mod redis;
pub(crate) mod vectors;
