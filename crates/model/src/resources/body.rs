//! Bodies in JSON, field by field.

use bytes::Bytes;
use ids::json::Json;

use super::ask::Content;
use crate::{Api, Error, Limits, handle::is_id, multipart::EXPIRES_AFTER, request::Request};

/// The most items that are added to a conversation at once.
const MAX_ITEMS: usize = 20;

/// A batch to be begun.
#[derive(Clone, Debug)]
pub(crate) struct BatchAsk {
    pub(crate) input_file_id: String,
    /// The endpoint of every line.
    pub(crate) endpoint: Api,
    window: String,
    metadata: Option<Json>,
    expires_after: Option<u64>,
}

/// Items for a conversation, and the request that they would be: what may stand in the one may
/// stand in the other.
#[derive(Clone)]
pub(crate) struct Items {
    pub(crate) items: Json,
    pub(crate) request: Request,
}

type Field = (String, Json);

pub(crate) fn batch<'a>(fields: impl Iterator<Item = &'a Field>) -> Result<BatchAsk, Error> {
    let wrong = |field, must| Err(Error::Malformed { field, must });
    let (mut file, mut endpoint, mut window) = (None, None, None);
    let (mut noted, mut expires_after) = (None, None);
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("input_file_id", Json::String(id)) if is_id(id) => file = Some(id.clone()),
            // What can be no id is none of this tenant's either.
            ("input_file_id", Json::String(_)) => return Err(Error::Missing("input_file_id")),
            ("input_file_id", _) => return wrong("input_file_id", "the id of a file"),
            ("endpoint", value) => match value.as_str().and_then(batched) {
                Some(api) => endpoint = Some(api),
                None => return wrong("endpoint", BATCHED),
            },
            ("completion_window", Json::String(text)) if text == "24h" => {
                window = Some(text.clone());
            }
            ("completion_window", _) => return wrong("completion_window", "24h"),
            ("metadata", value) => noted = metadata(value)?,
            ("output_expires_after", Json::Null) => {}
            ("output_expires_after", value) => expires_after = Some(expiry(value)?),
            (other, _) => return Err(Error::unknown_field(other)),
        }
    }
    let Some(input_file_id) = file else { return wrong("input_file_id", "the id of a file") };
    let Some(endpoint) = endpoint else { return wrong("endpoint", BATCHED) };
    let Some(window) = window else { return wrong("completion_window", "24h") };
    Ok(BatchAsk { input_file_id, endpoint, window, metadata: noted, expires_after })
}

const BATCHED: &str = "one of /v1/chat/completions, /v1/responses, /v1/embeddings";

/// The endpoint of a batch's lines, by its path.
pub(crate) fn batched(path: &str) -> Option<Api> {
    let path = path.strip_prefix("/v1")?;
    [Api::Chat, Api::Responses, Api::Embeddings].into_iter().find(|api| api.path() == path)
}

impl BatchAsk {
    /// For the provider.
    pub(crate) fn write(&self) -> Bytes {
        let text = |text: &str| Json::String(text.to_owned());
        let mut fields = vec![
            ("input_file_id".to_owned(), text(&self.input_file_id)),
            ("endpoint".to_owned(), text(&format!("/v1{}", self.endpoint.path()))),
            ("completion_window".to_owned(), text(&self.window)),
        ];
        if let Some(metadata) = &self.metadata {
            fields.push(("metadata".to_owned(), metadata.clone()));
        }
        if let Some(seconds) = self.expires_after {
            let expiry = vec![
                ("anchor".to_owned(), text("created_at")),
                ("seconds".to_owned(), Json::Number(seconds.into())),
            ];
            fields.push(("output_expires_after".to_owned(), Json::Object(expiry)));
        }
        Json::Object(fields).to_vec().into()
    }
}

/// A body of these fields, of which the last is needed unless a conversation begins.
pub(crate) fn conversation<'a>(
    fields: impl Iterator<Item = &'a Field>,
    known: &[&'static str],
    limits: &Limits,
) -> Result<Content, Error> {
    let (mut items, mut noted) = (None, None);
    for (name, value) in fields {
        match (name.as_str(), value) {
            (name, _) if !known.contains(&name) => return Err(Error::unknown_field(name)),
            ("items", Json::Null) => {}
            ("items", Json::Array(list)) if list.len() <= MAX_ITEMS => {
                let request = Request::parse(Api::Responses, as_input(value), limits)?;
                items = Some(Box::new(Items { items: value.clone(), request }));
            }
            ("items", _) => {
                return Err(Error::Malformed { field: "items", must: "at most 20 items" });
            }
            (_, value) => noted = metadata(value)?,
        }
    }
    match known {
        ["items"] if items.is_none() => {
            Err(Error::Malformed { field: "items", must: "at most 20 items" })
        }
        ["metadata"] if noted.is_none() => Err(METADATA),
        _ => Ok(Content::Items { items, metadata: noted }),
    }
}

/// The request that has these items for its input.
fn as_input(items: &Json) -> Bytes {
    let fields = vec![
        ("model".to_owned(), Json::String("-".to_owned())),
        ("input".to_owned(), items.clone()),
    ];
    Json::Object(fields).to_vec().into()
}

/// For the provider.
pub(crate) fn write(items: Option<&Items>, metadata: Option<&Json>) -> Bytes {
    let items = items.map(|items| ("items".to_owned(), items.items.clone()));
    let metadata = metadata.map(|metadata| ("metadata".to_owned(), metadata.clone()));
    Json::Object(items.into_iter().chain(metadata).collect()).to_vec().into()
}

const METADATA: Error = Error::Malformed {
    field: "metadata",
    must: "at most 16 texts, with names of at most 64 and values of at most 512 characters",
};

fn metadata(value: &Json) -> Result<Option<Json>, Error> {
    let pair = |(name, value): &Field| {
        let short = value.as_str().is_some_and(|value| value.chars().count() <= 512);
        short && name.chars().count() <= 64
    };
    match value {
        Json::Null => Ok(None),
        Json::Object(pairs) if pairs.len() <= 16 && pairs.iter().all(pair) => {
            Ok(Some(value.clone()))
        }
        _ => Err(METADATA),
    }
}

fn expiry(value: &Json) -> Result<u64, Error> {
    let wrong = Error::Malformed {
        field: "output_expires_after",
        must: "an anchor `created_at` and 3,600 to 2,592,000 seconds",
    };
    let Json::Object(fields) = value else { return Err(wrong) };
    let anchor = value.get("anchor").and_then(Json::as_str) == Some("created_at");
    match value.get("seconds").and_then(Json::as_u64) {
        Some(seconds) if anchor && fields.len() == 2 && EXPIRES_AFTER.contains(&seconds) => {
            Ok(seconds)
        }
        _ => Err(wrong),
    }
}
