//! The fields of a request: which are sent on, which are refused, and which stay here.

mod chat;
mod embeddings;
mod messages;
mod responses;

use std::fmt;

use ids::{json::Json, planted};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Api, Dialect, Error};

/// Fields that would choose a partition, an account, a destination or another model than the
/// route's, with what each one would choose. They are refused by name, however they are
/// spelled, and no configuration allows them.
pub const REFUSED_FIELDS: &[(&str, &str)] = &[
    ("nvext", PARTITION),
    ("kv_transfer_params", PARTITION),
    ("ec_transfer_params", PARTITION),
    ("session_id", PARTITION),
    ("session_params", PARTITION),
    ("request_id", PARTITION),
    ("rid", PARTITION),
    ("api_base", DESTINATION),
    ("base_url", DESTINATION),
    ("bootstrap_*", DESTINATION),
    ("api_key", ACCOUNT),
    ("extra_headers", ACCOUNT),
    ("extra_body", ACCOUNT),
    ("user_config", ACCOUNT),
    ("data_sources", ACCOUNT),
    ("models", MODEL),
    ("lora_path", MODEL),
    ("fallbacks", MODEL),
    ("custom_logit_processor", CODE),
];

/// Fields by which a caller would choose whom the provider takes it for, or whose cached
/// prefixes and answers it shares. They are accepted, since SDKs and gateways' clients send
/// them, and never sent on, however they are spelled: what stands there instead is derived
/// from the credential. At Anthropic's endpoints `metadata.user_id` is one, too.
pub const STRIPPED_FIELDS: &[&str] = &[
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "cache_salt",
    "extra_key",
    "cache",
    "caching",
    "cache_key",
    "cache_namespace",
    "namespace",
];

const PARTITION: &str = "whose cached answers and prefixes are used follows from the credential";
const DESTINATION: &str = "where a request goes is set in the configuration";
const ACCOUNT: &str = "the provider's credential and account come from the vault";
const MODEL: &str = "the model that answers is the one of the route";
const CODE: &str = "it would run code at the provider, next to other tenants";
const KEPT: &str = "nothing is left with a provider whose account is shared";

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    Stays,
    Unknown,
}

/// What becomes of a top-level field of this name.
pub(crate) fn judge(api: Api, name: &str) -> Result<Fate, Error> {
    if passes(api, name) {
        return Ok(Fate::Passes);
    }
    if stays(name) {
        return Ok(Fate::Stays);
    }
    // Spelled in another way, the provider might still understand it.
    if same("model", name) {
        return Err(Error::Unsupported("model"));
    }
    match REFUSED_FIELDS.iter().find(|(refused, _)| spells(refused, name)) {
        Some((field, _)) => Err(Error::Unsupported(field)),
        None => Ok(Fate::Unknown),
    }
}

/// Refuses what would be refused at the top, in the fields by which vLLM takes further ones.
pub(crate) fn judge_within(name: &str, value: &Json) -> Result<(), Error> {
    let Json::Object(entries) = value else { return Ok(()) };
    if !["vllm_xargs", "extra_args"].iter().any(|field| same(field, name)) {
        return Ok(());
    }
    match entries.iter().find_map(|(name, _)| refused(name)) {
        Some(field) => Err(Error::Unsupported(field)),
        None => Ok(()),
    }
}

fn passes(api: Api, name: &str) -> bool {
    match api {
        Api::Chat => chat::PASSES.contains(&name),
        Api::Responses => responses::PASSES.contains(&name),
        Api::Embeddings => embeddings::PASSES.contains(&name),
        Api::Messages => messages::COUNTED.contains(&name) || messages::PASSES.contains(&name),
        Api::CountTokens => messages::COUNTED.contains(&name),
    }
}

/// Whether a top-level field of this name is never sent on, silently.
pub(crate) fn stays(name: &str) -> bool {
    // The planted bug: a caller's word reaches the key of the cache, and the provider.
    if planted::is("cache-caller-namespace") && same("cache", name) {
        return false;
    }
    STRIPPED_FIELDS.iter().any(|stripped| same(stripped, name))
}

/// The field that is never sent on, and of which this name is a spelling.
pub(crate) fn refused(name: &str) -> Option<&'static str> {
    let refused = REFUSED_FIELDS.iter().map(|(refused, _)| *refused);
    refused.chain(STRIPPED_FIELDS.iter().copied()).find(|field| spells(field, name))
}

pub(crate) fn why_refused(field: &str) -> &'static str {
    match REFUSED_FIELDS.iter().find(|(name, _)| *name == field) {
        Some((_, why)) => why,
        None if field == "store" => KEPT,
        None if field == "model" => MODEL,
        None if STRIPPED_FIELDS.contains(&field) => PARTITION,
        None => "",
    }
}

fn spells(field: &str, name: &str) -> bool {
    match field.strip_suffix('*') {
        Some(start) => {
            fold(start).zip(fold(name)).filter(|(a, b)| a == b).count() == fold(start).count()
        }
        None => same(field, name),
    }
}

/// Whether two keys are the same word, whatever the case, `-` and `_`.
pub(crate) fn same(a: &str, b: &str) -> bool {
    fold(a).eq(fold(b))
}

/// A key without what spellings differ in. The letters besides ASCII's are those that servers
/// which do not look at case take for one of it: Go's JSON `ſ` and the Kelvin sign, Java's `ı`
/// and `İ`.
pub(crate) fn fold(text: &str) -> impl DoubleEndedIterator<Item = char> {
    text.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| match c {
        _ if planted::is("field-folded-as-ascii") => c.to_ascii_lowercase(),
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        c => c.to_ascii_lowercase(),
    })
}

/// Whether engines of one's own know a type of part that OpenAI does not.
pub(crate) fn engines_know(api: Api, name: &str) -> bool {
    api == Api::Chat && chat::ENGINE_TYPES.contains(&name)
}

/// Hands over every type of item or part in this top-level field that is not known at this
/// endpoint.
pub(crate) fn unknown_types(api: Api, field: &str, value: &Json, found: &mut dyn FnMut(&str)) {
    match (api, field) {
        (Api::Chat, "messages") => each_part(value, chat::TYPES, found),
        (Api::Responses, "input") => {
            each_type(value, responses::ITEMS, found);
            each_part(value, responses::TYPES, found);
        }
        (Api::Messages | Api::CountTokens, "messages") => each_part(value, messages::TYPES, found),
        (Api::Messages | Api::CountTokens, "system") => each_type(value, messages::TYPES, found),
        _ => {}
    }
}

/// The parts in the `content` of each, and those in the `content` of these.
fn each_part(items: &Json, known: &[&str], found: &mut dyn FnMut(&str)) {
    let Json::Array(items) = items else { return };
    for content in items.iter().filter_map(|item| item.get("content")) {
        each_type(content, known, found);
        // What a tool returned has parts of its own.
        let Json::Array(parts) = content else { continue };
        let results = parts.iter().filter(|part| is_type(part, "tool_result"));
        for inner in results.filter_map(|part| part.get("content")) {
            each_type(inner, known, found);
        }
    }
}

fn each_type(parts: &Json, known: &[&str], found: &mut dyn FnMut(&str)) {
    let Json::Array(parts) = parts else { return };
    let named = parts.iter().filter_map(|part| part.get("type").and_then(Json::as_str));
    named.filter(|name| !known.contains(name)).for_each(found);
}

/// Whether this is an object of this type.
pub(crate) fn is_type(json: &Json, name: &str) -> bool {
    json.get("type").and_then(Json::as_str) == Some(name)
}

/// Whether a member of a top-level `metadata` says to the provider who calls.
pub(crate) fn names_caller(api: Api, name: &str) -> bool {
    api.dialect() == Dialect::Anthropic && same("user_id", name)
}

/// The members of an object, values as they are written.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

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
