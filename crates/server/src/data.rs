//! The data plane's handlers: wire in, wire out, nothing else.

pub(crate) mod body;
pub(crate) mod cache;
mod claims;
pub(crate) mod mcp;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod own;
pub(crate) mod public;
pub(crate) mod qdrant;
pub(crate) mod raw;
pub(crate) mod receipts;
pub(crate) mod resources;
pub(crate) mod reviews;
pub(crate) mod state;
pub(crate) mod tools;

use gate::Hop;
use ids::StepId;

use crate::{ask::Ask, fault::Fault};

/// The step of the run, as the caller names it; for records alone.
const STEP: &str = "x-bulkhead-step";

/// The hop, with the step that the caller says it is in.
fn stepped(ask: &Ask, hop: Hop) -> Result<Hop, Fault> {
    let Some(step) = ask.headers().get(STEP) else { return Ok(hop) };
    let step = step.to_str().map_err(|_| Fault::malformed("a step that is not text"))?;
    Ok(hop.step(StepId::parse(step)?))
}

/// A part of the path that is the caller's own word for something.
fn word<'a>(ask: &'a Ask, name: &str, most: usize) -> Result<&'a str, Fault> {
    let word = ask.param(name);
    if word.is_empty() || word.len() > most || word.chars().any(char::is_control) {
        return Err(Fault::malformed(format!(
            "{name} is 1 to {most} bytes of text without control characters"
        )));
    }
    Ok(word)
}
