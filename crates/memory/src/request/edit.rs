//! What writes do to payloads, by the engine's own rules.

use qdrant_edge::JsonPath;

use super::paths;
use crate::{Error, Payload};

/// Where in a payload, in a caller's words.
#[derive(Clone, Debug)]
pub(crate) struct At(JsonPath);

impl At {
    /// # Errors
    /// No path, or one to what is this program's own.
    pub(crate) fn parse(path: &str) -> Result<Self, Error> {
        paths::own(path).map(Self)
    }

    /// Merges fields into the object that is there, or puts one there.
    pub(crate) fn set(&self, payload: &mut Payload, fields: &Payload) {
        JsonPath::value_set(Some(&self.0), payload, fields);
    }

    /// Removes what is there.
    pub(crate) fn remove(&self, payload: &mut Payload) {
        drop(self.0.value_remove(payload));
    }
}

/// Puts fields in place of those with their keys; one that is null goes.
pub(crate) fn merge(payload: &mut Payload, fields: &Payload) {
    JsonPath::value_set(None, payload, fields);
}
