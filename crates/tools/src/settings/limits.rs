//! Bounds on calls, and how long upstreams may take.

use serde::{Deserialize, Serialize};

/// Bounds on calls of tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most bytes of a call's arguments. Default 256 KiB.
    pub arguments_bytes: usize,
    /// Deepest nesting of a call's arguments. Default 32.
    pub depth: usize,
    /// Most values and keys in a call's arguments. Default 10,000.
    pub nodes: usize,
    /// Most different values in a call's arguments: policies see each of them, so a call with more
    /// is refused. Default 256.
    pub values: usize,
    /// Most records whose owner is looked for in one answer; an answer with more is withheld.
    /// Default 10,000.
    pub records: usize,
    /// Seconds for which an upstream's list of tools is taken as it was. Default 300.
    pub catalog_seconds: u64,
    /// Most intents of writes that one tenant's environment has on record. Default 100,000.
    pub intents: u64,
    /// Days for which an intent, its answer and its receipt are kept. Default 30.
    pub intent_days: u32,
    /// Most connections, sessions and tokens of tenants kept at once, by owner and credential.
    /// Default 1,024.
    pub clients: usize,
    /// Seconds that a call may wait for an approval at most, if its caller wants to wait
    /// (`Prefer: wait=…`). Default 60.
    pub approval_wait_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            arguments_bytes: 256 << 10,
            depth: 32,
            nodes: 10_000,
            values: 256,
            records: 10_000,
            catalog_seconds: 300,
            intents: 100_000,
            intent_days: 30,
            clients: 1_024,
            approval_wait_seconds: 60,
        }
    }
}

/// How long to wait for an upstream, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a connection. Default 5,000.
    pub connect_ms: u64,
    /// Between two pieces of an answer. Default 30,000.
    pub idle_ms: u64,
    /// For the whole call. Default 60,000.
    pub total_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 5_000, idle_ms: 30_000, total_ms: 60_000 }
    }
}
