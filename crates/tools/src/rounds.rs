//! Calls that take several rounds (MCP 2026-07-28): an upstream asks the caller for more, and the
//! caller comes back with the answers and with what the upstream wants to be reminded of.
//!
//! What it asks for is no record of anybody's and cannot be held against an owner, so only tools
//! whose contract says that nothing of them can ask back, and only those that change nothing. What
//! a caller answers are arguments that no contract holds: a tool that binds any has no rounds, and
//! answers to what was not asked go nowhere: the upstream asks. What the upstream wants to be reminded of is a handle to the
//! caller, of this tool and these arguments. Prompts may ask back, too: whoever offers an upstream's says
//! by that that nothing of them is held.

use ids::{ProviderId, frame::Frame, json::Json, planted, text};
use scope::{Scope, Write};

use crate::{
    Effect, Error,
    contract::{Final, Tool},
    handles::{HandleKind, Handles},
    upstream::Asks,
};

/// What a caller may be asked for, as it declares it.
pub(crate) const KNOWN: [&str; 3] = ["elicitation", "roots", "sampling"];

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

impl Opened {
    /// What of it stands in a request, beside what is declared.
    pub(crate) fn params(&self) -> impl Iterator<Item = (String, Json)> + use<> {
        let state = self.state.clone().map(Json::String);
        let responses = self.responses.clone().map(|said| ("inputResponses".to_owned(), said));
        responses.into_iter().chain(state.map(|state| ("requestState".to_owned(), state)))
    }
}

/// What may ask back.
pub(crate) struct Asker<'a> {
    upstream: &'a ProviderId,
    /// What its states begin with: it is in no other's.
    mark: String,
    may: bool,
}

impl<'a> Asker<'a> {
    /// A tool, with these arguments.
    pub(crate) fn tool(tool: &'a Tool, call: &Final) -> Self {
        let contract = &tool.contract;
        let may = contract.unverifiable
            && contract.owner.is_empty()
            && contract.bind.is_empty()
            && contract.effect == Effect::Read;
        let mark = format!("{} {} ", contract.name, text::hex(&call.digest));
        Self { upstream: &tool.upstream.id, mark, may }
    }

    /// A prompt, likewise. No tool has a name with a slash.
    pub(crate) fn prompt(upstream: &'a ProviderId, name: &str, arguments: Option<&Json>) -> Self {
        let arguments = arguments.map(|arguments| {
            let mut canonical = Vec::new();
            arguments.canonical(&mut |part| canonical.extend_from_slice(part));
            canonical
        });
        let frame = Frame::new("bulkhead.tools.prompt.v1").field(name).option(arguments);
        let digest = blake3::hash(&frame.finish());
        let mark = format!("prompts/get {} ", text::hex(digest.as_bytes()));
        Self { upstream, mark, may: true }
    }
}

impl Round {
    /// What of it goes to the upstream; nothing if it may not ask back.
    ///
    /// # Errors
    /// [`Error::Handle`] for a state that is not of this scope, tool and call.
    pub(crate) async fn open(
        &self,
        handles: &Handles,
        scope: &Scope<Write>,
        asker: &Asker<'_>,
    ) -> Result<Option<Opened>, Error> {
        let state = match &self.state {
            None => None,
            Some(handle) => {
                let kind = HandleKind::State;
                let opened = handles.open_of(scope, asker.upstream, kind, handle).await?;
                let state = opened.strip_prefix(&asker.mark);
                let state = state.ok_or(Error::Handle(kind.name()))?;
                Some(state.strip_prefix(REMINDED).map(str::to_owned))
            }
        };
        // The upstream is not told what nobody asked for, and asks.
        let asked = state.is_some() || planted::is("tools-unasked-answered");
        let responses = self.responses.clone().filter(|_| asked);
        let state = state.flatten();
        if !asker.may {
            return Ok(None);
        }
        let Some(Json::Object(declared)) = &self.capabilities else { return Ok(None) };
        let known = declared.iter().filter(|(key, _)| KNOWN.contains(&key.as_str()));
        let capabilities = Json::Object(known.cloned().collect());
        Ok(Some(Opened { capabilities, responses, state }))
    }
}

/// What the caller is asked for, as it is shown: `resultType`, `inputRequests`, `requestState`.
pub(crate) async fn shown(
    handles: &Handles,
    scope: &Scope<Write>,
    asker: &Asker<'_>,
    asks: Asks,
) -> Result<Json, Error> {
    let kind = Json::String("input_required".to_owned());
    let mut shown = vec![("resultType".to_owned(), kind)];
    shown.extend(asks.requests.map(|requests| ("inputRequests".to_owned(), requests)));
    // Also where the upstream wants none: it shows that the answers are to what was asked.
    let state = asks.state.map_or_else(String::new, |state| format!("{REMINDED}{state}"));
    let state = format!("{}{state}", asker.mark);
    let state = handles.seal(scope, asker.upstream, HandleKind::State, &state).await?;
    shown.push(("requestState".to_owned(), Json::String(state)));
    Ok(Json::Object(shown))
}

#[cfg(test)]
mod tests;
