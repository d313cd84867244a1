//! Calls that take several rounds (MCP 2026-07-28): an upstream asks the caller for more, and the
//! caller comes back with the answers and with what the upstream wants to be reminded of.
//!
//! What it asks for is no record of anybody's and cannot be held against an owner, so only tools
//! whose contract says that nothing of them can ask back, and only those that change nothing. What
//! a caller answers are arguments that no contract holds: a tool that binds any has no rounds, and
//! nobody answers what was not asked. What the upstream wants to be reminded of is a handle to the
//! caller, of this tool and these arguments.

use ids::{json::Json, text};
use scope::{Scope, Write};

use crate::{
    Effect, Error,
    contract::{Final, Tool},
    handles::{HandleKind, Handles},
    upstream::Asks,
};

/// What a caller may be asked for, as it declares it.
const KNOWN: [&str; 3] = ["elicitation", "roots", "sampling"];

/// Stands before what the upstream wants to be reminded of, if that is anything.
const REMINDED: char = '=';

/// A caller's part of a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// What it can be asked for: `clientCapabilities`.
    pub capabilities: Option<Json>,
    /// What it answers: `inputResponses`.
    pub responses: Option<Json>,
    /// What it was given to come back with: `requestState`.
    pub state: Option<String>,
}

/// The same, as the upstream gets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub(crate) capabilities: Json,
    pub(crate) responses: Option<Json>,
    pub(crate) state: Option<String>,
}

impl Round {
    /// What of it goes to the upstream; nothing if the tool may not ask back.
    ///
    /// # Errors
    /// [`Error::Handle`] for a state that is not of this scope, tool and call, and for answers
    /// without one: nobody asked.
    pub(crate) async fn open(
        &self,
        handles: &Handles,
        scope: &Scope<Write>,
        tool: &Tool,
        call: &Final,
    ) -> Result<Option<Opened>, Error> {
        let state = match &self.state {
            None => None,
            Some(handle) => {
                let kind = HandleKind::State;
                let opened = handles.open_of(scope, &tool.upstream.id, kind, handle).await?;
                let state = opened.strip_prefix(&mark(tool, call));
                let state = state.ok_or(Error::Handle(kind.name()))?;
                Some(state.strip_prefix(REMINDED).map(str::to_owned))
            }
        };
        if state.is_none() && self.responses.is_some() {
            return Err(Error::Handle(HandleKind::State.name()));
        }
        let state = state.flatten();
        let contract = &tool.contract;
        if !contract.unverifiable
            || !contract.owner.is_empty()
            || !contract.bind.is_empty()
            || contract.effect != Effect::Read
        {
            return Ok(None);
        }
        let Some(Json::Object(declared)) = &self.capabilities else { return Ok(None) };
        let known = declared.iter().filter(|(key, _)| KNOWN.contains(&key.as_str()));
        let capabilities = Json::Object(known.cloned().collect());
        Ok(Some(Opened { capabilities, responses: self.responses.clone(), state }))
    }
}

/// What the caller is asked for, as it is shown: `resultType`, `inputRequests`, `requestState`.
pub(crate) async fn shown(
    handles: &Handles,
    scope: &Scope<Write>,
    tool: &Tool,
    call: &Final,
    asks: Asks,
) -> Result<Json, Error> {
    let kind = Json::String("input_required".to_owned());
    let mut shown = vec![("resultType".to_owned(), kind)];
    shown.extend(asks.requests.map(|requests| ("inputRequests".to_owned(), requests)));
    // Also where the upstream wants none: it shows that the answers are to what was asked.
    let state = asks.state.map_or_else(String::new, |state| format!("{REMINDED}{state}"));
    let state = format!("{}{state}", mark(tool, call));
    let state = handles.seal(scope, &tool.upstream.id, HandleKind::State, &state).await?;
    shown.push(("requestState".to_owned(), Json::String(state)));
    Ok(Json::Object(shown))
}

/// What a state of this tool and these arguments begins with.
fn mark(tool: &Tool, call: &Final) -> String {
    format!("{} {} ", tool.contract.name, text::hex(&call.digest))
}

#[cfg(test)]
mod tests;
