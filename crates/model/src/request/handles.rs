//! What a body names that a provider keeps, and which tools it wants the provider to run: one
//! walk through all of it, known places first and every likely name after that.

use std::collections::HashSet;

use ids::{json::Json, planted};

use crate::{
    Api, Cited, Dialect, Error, HandleKind, MAX_HANDLE,
    fields::{self, fold, same},
    tools,
};

/// More than so many handles are nothing that a request needs.
const MOST: usize = 512;

/// Below these keys stands what the caller's own tools take and give: nothing of it is looked
/// up at a provider.
const OPAQUE: [&str; 9] = [
    "parameters",
    "arguments",
    "schema",
    "input_schema",
    "inputSchema",
    "output_schema",
    "input_examples",
    "properties",
    "guided_json",
];

/// What was found.
pub(super) struct Sweep {
    api: Api,
    /// Each once, in the order of the body.
    pub(super) cited: Vec<Cited>,
    seen: HashSet<(HandleKind, String)>,
    /// Families of hosted tools, each once.
    pub(super) hosted: Vec<String>,
    /// The provider keeps nothing of this response, and kept nothing of those before it.
    stateless: bool,
    /// Items have ids that are left out ([`carries`]).
    pub(super) sheds: bool,
    /// Something is to be fetched from elsewhere than the web ([`leads_elsewhere`]).
    pub(super) elsewhere: bool,
}

impl Sweep {
    pub(super) fn new(api: Api, stateless: bool) -> Self {
        let (cited, seen, hosted) = (Vec::new(), HashSet::new(), Vec::new());
        Self { api, cited, seen, hosted, stateless, sheds: false, elsewhere: false }
    }

    /// Goes through a top-level field that is sent on.
    pub(super) fn field(&mut self, name: &str, value: &Json) -> Result<(), Error> {
        // The caller's own labels: providers keep them, and look nothing up by them.
        if name == "metadata" {
            return Ok(());
        }
        if let Some(family) = tools::in_field(name, value) {
            self.host(family.to_owned());
        }
        if same("tool_choice", name)
            && let Some(family) = tools::chosen(self.api.dialect(), value)
        {
            self.host(family);
        }
        if same("conversation", name) {
            self.name_or_id(HandleKind::Conversation, "conversation", value)?;
        }
        if same("prompt", name) {
            return self.template(value);
        }
        if same("audio", name) {
            // The voice to answer in: one that was made is an object.
            for voice in members(value, "voice") {
                self.ids(HandleKind::Other, "audio.voice.id", voice)?;
            }
            return self.walk(value);
        }
        if same("input", name) && self.api == Api::Responses {
            let (items, listed) = match value {
                Json::Array(items) => (items.as_slice(), name == "input"),
                one => (std::slice::from_ref(one), false),
            };
            for item in items {
                if self.stateless && listed && carries(item) {
                    self.sheds |= members(item, "id").next().is_some();
                    continue;
                }
                self.ids(HandleKind::Item, "input[].id", item)?;
            }
        }
        self.member(name, value)
    }

    fn walk(&mut self, json: &Json) -> Result<(), Error> {
        match json {
            Json::Array(items) => items.iter().try_for_each(|item| self.walk(item)),
            Json::Object(entries) => {
                let kind = json.get("type").and_then(Json::as_str).unwrap_or_default();
                if kind == "item_reference" {
                    self.ids(HandleKind::Item, "input[].id", json)?;
                }
                entries.iter().try_for_each(|(name, value)| {
                    if self.passed_over(kind, name) {
                        return Ok(());
                    }
                    if same("tools", name) && tools::listed(json) {
                        return Ok(());
                    }
                    self.elsewhere |= leads_elsewhere(name, value);
                    if kind == "tool_definition" && same("definition", name) {
                        self.tool(value)?;
                    }
                    self.member(name, value)
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing at this key of an object of this type is looked up by a provider.
    fn passed_over(&self, kind: &str, name: &str) -> bool {
        let anthropic = self.api.dialect() == Dialect::Anthropic;
        OPAQUE.contains(&name)
            || (name == "input" && kind.ends_with("tool_use"))
            // An MCP server's headers are for that server.
            || (name == "headers" && kind == "mcp")
            // Anthropic's own skills are everybody's.
            || (name == "skill_id" && kind == "anthropic" && anthropic)
    }

    fn member(&mut self, name: &str, value: &Json) -> Result<(), Error> {
        if let Some((kind, place)) = named(name) {
            return self.names(kind, place, value);
        }
        if same("tools", name) {
            match value {
                Json::Null => {}
                Json::Array(tools) => tools.iter().try_for_each(|tool| self.tool(tool))?,
                _ => return Err(Error::Malformed { field: "tools", must: "a list of objects" }),
            }
        } else if same("container", name) {
            self.name_or_id(HandleKind::Container, "container", value)?;
        } else if same("audio", name) {
            self.ids(HandleKind::Audio, "audio.id", value)?;
        }
        self.walk(value)
    }

    fn tool(&mut self, tool: &Json) -> Result<(), Error> {
        if let Some(family) = tools::hosted(self.api.dialect(), tool)? {
            self.host(family);
        }
        Ok(())
    }

    fn host(&mut self, family: String) {
        if !self.hosted.contains(&family) {
            self.hosted.push(family);
        }
    }

    /// A prompt template: its id, and files among the values of its variables. What the
    /// variables are called is the template's business.
    fn template(&mut self, prompt: &Json) -> Result<(), Error> {
        self.ids(HandleKind::Prompt, "prompt.id", prompt)?;
        let Json::Object(entries) = prompt else { return self.walk(prompt) };
        for (name, value) in entries {
            match value {
                Json::Object(variables) if same("variables", name) => {
                    variables.iter().try_for_each(|(_, value)| self.walk(value))?;
                }
                _ => self.member(name, value)?,
            }
        }
        Ok(())
    }

    /// The thing's name itself, or an object with its `id`.
    fn name_or_id(
        &mut self,
        kind: HandleKind,
        place: &'static str,
        value: &Json,
    ) -> Result<(), Error> {
        match value {
            Json::Object(_) => self.ids(kind, place, value),
            _ => self.cite(kind, place, value),
        }
    }

    /// The `id` of an object, however it is spelled.
    fn ids(&mut self, kind: HandleKind, place: &'static str, of: &Json) -> Result<(), Error> {
        members(of, "id").try_for_each(|id| self.cite(kind, place, id))
    }

    /// One, or a list of them.
    fn names(&mut self, kind: HandleKind, place: &'static str, value: &Json) -> Result<(), Error> {
        match value {
            Json::Array(items) => items.iter().try_for_each(|item| match item {
                Json::Null => Err(malformed(place)),
                item => self.cite(kind, place, item),
            }),
            value => self.cite(kind, place, value),
        }
    }

    fn cite(&mut self, kind: HandleKind, place: &'static str, value: &Json) -> Result<(), Error> {
        let id = match value {
            Json::Null => return Ok(()),
            Json::String(id) if (1..=MAX_HANDLE).contains(&id.len()) => id,
            _ => return Err(malformed(place)),
        };
        if self.seen.insert((kind, id.clone())) {
            if self.cited.len() == MOST {
                let must = "without more than 512 ids of what a provider keeps";
                return Err(Error::Malformed { field: "body", must });
            }
            self.cited.push(Cited { kind, id: id.clone(), place });
        }
        Ok(())
    }
}

const fn malformed(place: &'static str) -> Error {
    Error::Malformed { field: place, must: "an id: text of 1 to 1,024 bytes" }
}

/// Every member of an object whose key spells this name.
fn members<'a>(of: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    let entries = match of {
        Json::Object(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter(move |(key, _)| same(name, key)).map(|(_, value)| value)
}

/// What a key names wherever it stands, if it names something that a provider keeps.
fn named(key: &str) -> Option<(HandleKind, &'static str)> {
    const NAMES: [(&str, HandleKind); 30] = [
        ("file_id", HandleKind::File),
        ("file_ids", HandleKind::File),
        ("input_file_id", HandleKind::File),
        ("output_file_id", HandleKind::File),
        ("error_file_id", HandleKind::File),
        ("vector_store_id", HandleKind::VectorStore),
        ("vector_store_ids", HandleKind::VectorStore),
        ("collection_ids", HandleKind::VectorStore),
        ("library_ids", HandleKind::VectorStore),
        ("container_id", HandleKind::Container),
        ("container_ids", HandleKind::Container),
        ("previous_response_id", HandleKind::Response),
        ("comparison_response_id", HandleKind::Response),
        ("response_id", HandleKind::Response),
        ("conversation_id", HandleKind::Conversation),
        ("batch_id", HandleKind::Batch),
        ("approval_request_id", HandleKind::Item),
        ("item_id", HandleKind::Item),
        ("prompt_id", HandleKind::Prompt),
        ("thread_id", HandleKind::Other),
        ("assistant_id", HandleKind::Other),
        ("agent_id", HandleKind::Other),
        ("connector_id", HandleKind::Other),
        ("tunnel_id", HandleKind::Other),
        ("skill_id", HandleKind::Other),
        ("skill_ids", HandleKind::Other),
        ("memory_store_id", HandleKind::Other),
        ("previous_message_id", HandleKind::Other),
        // vLLM takes an image that somebody sent before by its name alone.
        ("uuid", HandleKind::Other),
        ("multi_modal_uuids", HandleKind::Other),
    ];
    // Most keys are none: look at the end first.
    match fold(key).next_back()? {
        'd' | 's' => {}
        _ => return None,
    }
    let found = NAMES.iter().find(|(name, _)| fold(name).eq(fold(key)));
    found.map(|(name, kind)| (*kind, *name))
}

/// Whether an item of a response's input says all that it is, so that its id is of no use where
/// the provider keeps nothing: clients send along what they were answered (`input +=
/// response.output`), with ids that name nothing. What a provider runs for itself, and reasoning
/// that is not in the item, it looks up.
pub(super) fn carries(item: &Json) -> bool {
    let text = |name: &str| item.get(name).and_then(Json::as_str);
    match item.get("type") {
        None => text("role").is_some() && item.get("content").is_some(),
        Some(Json::String(kind)) => match kind.as_str() {
            "message" => item.get("content").is_some(),
            "reasoning" => {
                let said = |said: &Json| matches!(said, Json::Array(parts) if !parts.is_empty());
                text("encrypted_content").is_some_and(|sealed| !sealed.is_empty())
                    || item.get("content").is_some_and(said)
            }
            "function_call" | "custom_tool_call" => text("call_id").is_some(),
            "function_call_output" | "custom_tool_call_output" => item.get("output").is_some(),
            _ => false,
        },
        Some(_) => false,
    }
}

/// Whether this names a picture, a sound or a document that is neither in the request nor on the
/// web: servers of one's own open paths and `file:`, gateways what an account keeps (`gs:`).
fn leads_elsewhere(name: &str, value: &Json) -> bool {
    const FIELDS: [&str; 6] =
        ["url", "image_url", "video_url", "audio_url", "file_url", "document_url"];
    let Json::String(url) = value else { return false };
    let web = |scheme: &str| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    !url.is_empty()
        && FIELDS.iter().any(|field| same(field, name))
        && !["https://", "http://", "data:"].into_iter().any(web)
        && !planted::is("url-leads-anywhere")
}

/// Whether a hosted tool makes something at the provider that outlives the call.
pub(super) fn makes(family: &str) -> bool {
    !matches!(family, "web_search" | "web_fetch" | "tool_search")
}

/// Whether a member of this body is there, and says something else than no.
pub(super) fn says(json: &Json, name: &str) -> bool {
    members(json, name).any(|value| !matches!(value, Json::Null | Json::Bool(false)))
}

/// Whether the top-level `metadata`, however it is spelled, says who calls.
pub(super) fn names_caller(api: Api, json: &Json) -> bool {
    members(json, "metadata").any(|metadata| match metadata {
        Json::Object(entries) => entries.iter().any(|(name, _)| fields::names_caller(api, name)),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
