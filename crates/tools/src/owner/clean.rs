//! What is handed on is rebuilt from what is known of its form; nothing else goes through.

use std::cell::Cell;

use ids::json::Json;
use serde_json::Value;
use vault::Forms;

use super::judge::{Text, read};
use crate::{Content, Fault, FaultKind, upstream::Reply};

/// JSON within strings is looked into so often, beginning with the texts of an answer: quoted with
/// `\\u005c`, it could be nested so deeply that reading each level anew costs far more than the answer's size.
const NESTED: usize = super::judge::NESTED + 1;

const fn malformed(why: &'static str) -> Fault {
    Fault::sent(FaultKind::Malformed(why))
}

/// Rebuilds an answer: of MCP's `_meta` and `annotations`, icons and unknown fields are left out, and
/// a block of an unknown type is refused.
pub(crate) fn clean(content: &Content) -> Result<Content, Fault> {
    match content {
        Content::Mcp(result) => {
            let parts = Parts::read(result)?;
            Ok(Content::Mcp(parts.into_json()))
        }
        Content::Http { .. } => Ok(content.clone()),
        Content::Rows(Json::Array(rows))
            if rows.iter().all(|row| matches!(row, Json::Object(_))) =>
        {
            Ok(content.clone())
        }
        Content::Rows(_) => Err(malformed("rows are not a list of objects")),
    }
}

/// Refuses an answer that repeats the credential, in whatever form: what quotes secrets is not read on.
pub(crate) fn silent(reply: &Reply, secret: &Forms) -> Result<(), Fault> {
    let search = Search { secret, too_deep: Cell::new(false) };
    let quoted = match &reply.content {
        Content::Mcp(json) | Content::Rows(json) => search.json(json),
        Content::Http { content_type, body, .. } => {
            secret.found_in(body)
                || content_type.as_ref().is_some_and(|kind| secret.found_in(kind.as_bytes()))
                || match &reply.read {
                    // What it says behind escapes; without a backslash there are none.
                    Some(value) => body.contains(&b'\\') && search.value(value, 0),
                    None => search.escaped(std::str::from_utf8(body).unwrap_or_default(), 0),
                }
        }
    };
    match (quoted, search.too_deep.get()) {
        (true, _) => Err(malformed("it repeats the credential")),
        (false, true) => Err(malformed("it holds JSON in strings in strings")),
        (false, false) => Ok(()),
    }
}

/// A search for a credential.
struct Search<'a> {
    secret: &'a Forms,
    /// Whether there was something that was not looked into.
    too_deep: Cell<bool>,
}

impl Search<'_> {
    fn json(&self, json: &Json) -> bool {
        match json {
            Json::Null | Json::Bool(_) => false,
            Json::Number(number) => self.secret.found_in(number.to_string().as_bytes()),
            Json::String(text) => self.text(text, 0),
            Json::Array(items) => items.iter().any(|item| self.json(item)),
            Json::Object(entries) => entries
                .iter()
                .any(|(key, value)| self.secret.found_in(key.as_bytes()) || self.json(value)),
        }
    }

    fn value(&self, value: &Value, nested: usize) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.secret.found_in(number.to_string().as_bytes()),
            Value::String(text) => self.text(text, nested),
            Value::Array(items) => items.iter().any(|item| self.value(item, nested)),
            Value::Object(entries) => entries.iter().any(|(key, value)| {
                self.secret.found_in(key.as_bytes()) || self.value(value, nested)
            }),
        }
    }

    /// A text may be JSON in turn, with escapes of its own.
    fn text(&self, text: &str, nested: usize) -> bool {
        if self.secret.found_in(text.as_bytes()) {
            return true;
        }
        if nested == NESTED {
            let more = matches!(read(text), Text::Json(_));
            self.too_deep.set(self.too_deep.get() || more);
            return false;
        }
        self.escaped(text, nested + 1)
    }

    /// Whether JSON says it behind escapes, which hide it from a search of the bytes. Where there is no
    /// backslash there is no escape, and nothing that the search has not seen.
    fn escaped(&self, text: &str, nested: usize) -> bool {
        (nested > 1 || text.contains('\\'))
            && match read(text) {
                Text::Json(value) => self.value(&value, nested),
                _ => false,
            }
    }
}

/// One block of an MCP result.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Block {
    /// `text`
    Text(String),
    /// `resource` with a text
    Resource { uri: String, kind: Option<String>, text: String },
    /// `resource` with a blob
    Blob { uri: String, kind: Option<String>, data: String },
    /// `resource_link`
    Link(Link),
    /// `image`, `audio`
    Media { of: &'static str, data: String, kind: String },
}

/// A link to a resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) uri: String,
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) size: Option<u64>,
}

/// An MCP result, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    pub(super) structured: Option<Json>,
    pub(super) blocks: Vec<Block>,
    pub(super) is_error: bool,
}

impl Parts {
    pub(super) fn read(result: &Json) -> Result<Self, Fault> {
        let Json::Object(_) = result else { return Err(malformed("a result is not an object")) };
        if let Some(kind) = result.get("resultType")
            && kind.as_str() != Some("complete")
        {
            return Err(malformed("a result is of an unknown type"));
        }
        let is_error = match result.get("isError") {
            None | Some(Json::Null) => false,
            Some(Json::Bool(is)) => *is,
            Some(_) => return Err(malformed("`isError` is neither true nor false")),
        };
        let structured =
            result.get("structuredContent").filter(|json| **json != Json::Null).cloned();
        let blocks = match result.get("content") {
            None | Some(Json::Null) if structured.is_some() => Vec::new(),
            Some(Json::Array(blocks)) => {
                blocks.iter().map(Block::read).collect::<Result<_, _>>()?
            }
            _ => return Err(malformed("a result has no content")),
        };
        Ok(Self { structured, blocks, is_error })
    }

    pub(super) fn into_json(self) -> Json {
        let blocks = self.blocks.into_iter().map(Block::into_json).collect();
        let mut entries = vec![("content".to_owned(), Json::Array(blocks))];
        if let Some(structured) = self.structured {
            entries.push(("structuredContent".to_owned(), structured));
        }
        entries.push(("isError".to_owned(), Json::Bool(self.is_error)));
        Json::Object(entries)
    }
}

impl Block {
    fn read(block: &Json) -> Result<Self, Fault> {
        match block.get("type").and_then(Json::as_str) {
            Some("text") => Ok(Self::Text(needed(block, "text")?)),
            Some("resource") => {
                let resource = block.get("resource").ok_or(malformed("a resource is empty"))?;
                let (uri, kind) = (needed(resource, "uri")?, optional(resource, "mimeType")?);
                match (optional(resource, "text")?, optional(resource, "blob")?) {
                    (Some(text), None) => Ok(Self::Resource { uri, kind, text }),
                    (None, Some(data)) => Ok(Self::Blob { uri, kind, data }),
                    _ => Err(malformed("a resource is neither text nor blob")),
                }
            }
            Some("resource_link") => Ok(Self::Link(Link {
                uri: needed(block, "uri")?,
                name: needed(block, "name")?,
                title: optional(block, "title")?,
                description: optional(block, "description")?,
                kind: optional(block, "mimeType")?,
                size: block.get("size").and_then(Json::as_u64),
            })),
            Some("image") => Self::media("image", block),
            Some("audio") => Self::media("audio", block),
            _ => Err(malformed("a block of content is of an unknown type")),
        }
    }

    fn media(of: &'static str, block: &Json) -> Result<Self, Fault> {
        let (data, kind) = (needed(block, "data")?, needed(block, "mimeType")?);
        Ok(Self::Media { of, data, kind })
    }

    fn into_json(self) -> Json {
        match self {
            Self::Text(text) => object("text", [("text", Some(text))]),
            Self::Resource { uri, kind, text } => resource(uri, kind, "text", text),
            Self::Blob { uri, kind, data } => resource(uri, kind, "blob", data),
            Self::Media { of, data, kind } => {
                object(of, [("data", Some(data)), ("mimeType", Some(kind))])
            }
            Self::Link(link) => {
                let mut json = object(
                    "resource_link",
                    [
                        ("uri", Some(link.uri)),
                        ("name", Some(link.name)),
                        ("title", link.title),
                        ("description", link.description),
                        ("mimeType", link.kind),
                    ],
                );
                if let (Json::Object(entries), Some(size)) = (&mut json, link.size) {
                    entries.push(("size".to_owned(), Json::Number(size.into())));
                }
                json
            }
        }
    }
}

fn resource(uri: String, kind: Option<String>, form: &str, content: String) -> Json {
    let Json::Object(mut inner) =
        object("", [("uri", Some(uri)), ("mimeType", kind), (form, Some(content))])
    else {
        return Json::Null;
    };
    inner.remove(0);
    Json::Object(vec![
        ("type".to_owned(), Json::String("resource".to_owned())),
        ("resource".to_owned(), Json::Object(inner)),
    ])
}

fn object<const N: usize>(kind: &str, fields: [(&str, Option<String>); N]) -> Json {
    let kind = ("type".to_owned(), Json::String(kind.to_owned()));
    let fields =
        fields.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Json::String(text?))));
    Json::Object(std::iter::once(kind).chain(fields).collect())
}

fn needed(json: &Json, field: &'static str) -> Result<String, Fault> {
    optional(json, field)?.ok_or(malformed("a block of content lacks what its type needs"))
}

fn optional(json: &Json, field: &'static str) -> Result<Option<String>, Fault> {
    match json.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(malformed("a field of a block of content is not a text")),
    }
}
