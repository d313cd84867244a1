//! The fields of a request: which are sent on, which are refused, and which stay here.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use ids::{json::Json, planted};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::Error;

/// Fields that would choose a partition, an account, a destination or another model than the
/// route's, with what each one would choose. They are refused by name, however they are
/// spelled, and no configuration allows them.
pub const REFUSED_FIELDS: &[(&str, &str)] = &[
    ("cache", PARTITION),
    ("caching", PARTITION),
    ("cache_key", PARTITION),
    ("cache_namespace", PARTITION),
    ("cache_salt", PARTITION),
    ("extra_key", PARTITION),
    ("namespace", PARTITION),
    ("nvext", PARTITION),
    ("kv_transfer_params", PARTITION),
    ("ec_transfer_params", PARTITION),
    ("session_id", PARTITION),
    ("session_params", PARTITION),
    ("request_id", PARTITION),
    ("rid", PARTITION),
    ("api_base", DESTINATION),
    ("base_url", DESTINATION),
    ("bootstrap_host", DESTINATION),
    ("bootstrap_port", DESTINATION),
    ("bootstrap_room", DESTINATION),
    ("api_key", ACCOUNT),
    ("extra_headers", ACCOUNT),
    ("extra_body", ACCOUNT),
    ("user_config", ACCOUNT),
    ("data_sources", ACCOUNT),
    ("models", MODEL),
    ("fallbacks", MODEL),
    ("custom_logit_processor", CODE),
    ("web_search_options", HOSTED),
    ("store", KEPT),
];

const PARTITION: &str = "whose cached answers and prefixes are used follows from the credential";
const DESTINATION: &str = "where a request goes is set in the configuration";
const ACCOUNT: &str = "the provider's credential and account come from the vault";
const MODEL: &str = "the model that answers is the one of the route";
const CODE: &str = "it would run code at the provider, next to other tenants";
const HOSTED: &str = "tools that the provider runs would send the conversation elsewhere";
const KEPT: &str = "nothing is left with the provider";

/// Sent on: the fields of OpenAI's chat completions, besides those that stay or are refused.
const PASSES: &[&str] = &[
    "messages",
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "stop",
    "seed",
    "n",
    "metadata",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "modalities",
    "audio",
    "prediction",
    "service_tier",
    "verbosity",
    "functions",
    "function_call",
];

/// Accepted, since SDKs send them, and not sent on: a caller does not choose whom the provider
/// takes it for, nor which prompts it shares a cache with.
const STAYS: &[&str] = &["user", "safety_identifier", "prompt_cache_key"];

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    Stays,
    Unknown,
}

/// What becomes of a top-level field of this name.
pub(crate) fn judge(name: &str) -> Result<Fate, Error> {
    if PASSES.contains(&name) {
        return Ok(Fate::Passes);
    }
    if STAYS.contains(&name) {
        return Ok(Fate::Stays);
    }
    // Spelled in another way, the provider might still understand it.
    match refused(name) {
        Some(_) if planted::is("cache-caller-namespace") => Ok(Fate::Passes),
        Some(field) => Err(Error::Unsupported(field)),
        None => Ok(Fate::Unknown),
    }
}

/// The refused field that this name is a spelling of.
pub(crate) fn refused(name: &str) -> Option<&'static str> {
    REFUSED_FIELDS.iter().find(|(refused, _)| same(refused, name)).map(|(field, _)| *field)
}

pub(crate) fn why_refused(field: &str) -> &'static str {
    REFUSED_FIELDS.iter().find(|(name, _)| *name == field).map_or("", |(_, why)| why)
}

/// Whether two keys are the same word, whatever the case, `-` and `_`.
pub(crate) fn same(a: &str, b: &str) -> bool {
    fn folded(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(|b| !matches!(b, b'-' | b'_')).map(|b| b.to_ascii_lowercase())
    }
    folded(a).eq(folded(b))
}

/// What in these messages names something that the provider keeps for its account.
pub(crate) fn handle(json: &Json) -> Option<&'static str> {
    match json {
        Json::Array(items) => items.iter().find_map(handle),
        Json::Object(fields) => fields.iter().find_map(|(name, value)| match value {
            Json::Null => None,
            _ if same("file_id", name) => Some("file_id"),
            Json::Object(inner) if same("audio", name) => {
                let named = inner.iter().any(|(name, id)| same("id", name) && *id != Json::Null);
                named.then_some("audio.id").or_else(|| handle(value))
            }
            _ => handle(value),
        }),
        _ => None,
    }
}

/// The members of an object, values as they are written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The body without the fields that stay here, with its model by another name if one is given.
/// Every other value keeps its bytes.
pub(crate) fn without_stays(body: &[u8], model: Option<&str>) -> Result<Bytes, Error> {
    let wrong = || Error::Malformed { field: "body", must: "an object" };
    let Members(members) = serde_json::from_slice(body).map_err(|_| wrong())?;
    let mut out = BytesMut::with_capacity(body.len() + model.map_or(0, str::len)).writer();
    let mut before = '{';
    for (name, value) in members.iter().filter(|(name, _)| !STAYS.contains(&name.as_str())) {
        out.get_mut().put_u8(before as u8);
        before = ',';
        serde_json::to_writer(&mut out, name).map_err(|_| wrong())?;
        out.get_mut().put_u8(b':');
        match model {
            Some(model) if name == "model" => {
                serde_json::to_writer(&mut out, model).map_err(|_| wrong())?;
            }
            _ => out.get_mut().put_slice(value.get().as_bytes()),
        }
    }
    out.get_mut().put_u8(b'}');
    Ok(out.into_inner().freeze())
}
