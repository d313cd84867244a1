//! The forms of an answer, each held by itself.

use bytes::Bytes;
use http::StatusCode;
use ids::json::Json;
use serde_json::Value;

use super::{
    Foreign,
    clean::{Block, Link, Parts},
    judge::{Hold, Text, Verdict, value},
    links,
    own::Own,
    words,
};
use crate::Content;

/// The most blocks of an answer that are looked at.
const BLOCKS: usize = 1_000;

/// What is said of an error that says nothing that can be handed on.
const REFUSED: &str = "the upstream refused this call";

/// Holds an MCP result, and rebuilds it.
pub(super) fn hold(hold: &Hold<'_>, parts: Parts) -> Result<Json, Foreign> {
    let is_error = parts.is_error;
    if parts.blocks.len() > BLOCKS {
        return Err(Foreign::because("the answer holds more blocks than are looked at"));
    }
    let mut held = Held {
        hold,
        is_error,
        own: Own::default(),
        verified: false,
        left_out: false,
        blocks: Vec::new(),
    };
    let structured = held.structured(parts.structured)?;
    for (at, block) in parts.blocks.into_iter().enumerate() {
        held.block(&format!("content[{at}]"), block)?;
    }
    let Held { verified, left_out, mut blocks, .. } = held;
    if is_error && structured.is_none() && blocks.is_empty() {
        blocks.push(Block::Text(REFUSED.to_owned()));
    }
    let says = left_out || structured.is_some() || !blocks.is_empty();
    if says && !is_error && !verified && !hold.unverifiable {
        return Err(Foreign::because("nothing in the answer can be held against its owner"));
    }
    if let (true, Some(json)) = (blocks.is_empty(), &structured) {
        blocks.push(Block::Text(String::from_utf8_lossy(&json.to_vec()).into_owned()));
    }
    Ok(Parts { structured, blocks, is_error }.into_json())
}

/// An answer, while it is held.
struct Held<'a> {
    hold: &'a Hold<'a>,
    is_error: bool,
    /// Structured content that is ours.
    own: Own,
    /// Whether there is a form that is ours.
    verified: bool,
    /// Whether there was a text that is not.
    left_out: bool,
    /// What may be handed on.
    blocks: Vec<Block>,
}

impl Held<'_> {
    fn structured(&mut self, json: Option<Json>) -> Result<Option<Json>, Foreign> {
        let Some(json) = json else { return Ok(None) };
        let value = value(&json);
        if !self.hold.spend(&value) {
            return Err(Foreign::because("the structured content holds more than is looked at"));
        }
        if !self.json("the structured content", &value)? {
            return Ok(None);
        }
        self.own = Own::of(value);
        Ok(Some(json))
    }

    /// Whether JSON may be handed on. In an error, what cannot be held may not; elsewhere it is foreign.
    fn json(&mut self, form: &str, value: &Value) -> Result<bool, Foreign> {
        match self.hold.judge(form, value) {
            Verdict::Foreign(why) => Err(Foreign { why }),
            Verdict::Own { alone } if !self.is_error || alone => {
                self.verified = true;
                Ok(true)
            }
            Verdict::Nothing(_) if self.hold.unverifiable => Ok(true),
            Verdict::Nothing(why) if !self.is_error => Err(Foreign { why }),
            Verdict::Own { .. } | Verdict::Nothing(_) => {
                if let Some(text) = words::of_error(value, &self.hold.said) {
                    self.blocks.push(Block::Text(text));
                }
                Ok(false)
            }
        }
    }

    fn block(&mut self, form: &str, block: Block) -> Result<(), Foreign> {
        let text_unchecked = ids::planted::is("tools-owner-text-unchecked");
        match block {
            Block::Text(text) => {
                if text_unchecked || self.text(form, &text)? {
                    self.blocks.push(Block::Text(text));
                }
            }
            Block::Resource { uri, kind, text } => {
                if self.hold.is_anothers(&uri) {
                    return Err(Foreign::because(format!(
                        "the URI of {form} names another account"
                    )));
                }
                if text_unchecked || self.text(form, &text)? {
                    let (hold, kind) = (self.hold, kind.filter(|kind| is_kind(kind)));
                    // Of a URI that cannot be held, the text alone is left.
                    let ours =
                        hold.unverifiable || self.own.repeats(&uri) || links::is_ours(hold, &uri);
                    self.blocks.push(match ours {
                        true => Block::Resource { uri, kind, text },
                        false => Block::Text(text),
                    });
                }
            }
            Block::Link(link) => {
                let link = self.link(form, link)?;
                self.verified = true;
                if !self.is_error {
                    self.blocks.push(Block::Link(link));
                }
            }
            Block::Blob { .. } | Block::Media { .. } if self.hold.unverifiable => {
                self.blocks.push(block);
            }
            Block::Blob { .. } | Block::Media { .. } => {
                return Err(Foreign::because(format!("{form} cannot be held against its owner")));
            }
        }
        Ok(())
    }

    /// Whether a text may be handed on.
    fn text(&mut self, form: &str, text: &str) -> Result<bool, Foreign> {
        match self.hold.read(text) {
            Text::Blank => Ok(false),
            Text::Refused(why) => Err(Foreign::because(format!("{form} is refused: {why}"))),
            Text::Json(value) => match self.own.contains(&value) {
                true => Ok(true),
                false => self.json(form, &value),
            },
            Text::Free => {
                let free = self.hold.unverifiable || self.is_free(text);
                self.left_out |= !free;
                Ok(free)
            }
        }
    }

    /// Whether a text repeats what is ours, or says nothing of anybody.
    fn is_free(&self, text: &str) -> bool {
        self.own.repeats(text) || words::are_plain(text, &self.hold.said)
    }

    fn link(&self, form: &str, link: Link) -> Result<Link, Foreign> {
        let hold = self.hold;
        let unchecked = hold.unverifiable && !hold.is_anothers(&link.uri)
            || ids::planted::is("tools-resource-link-unchecked");
        if unchecked {
            return Ok(link);
        }
        if !self.own.repeats(&link.uri) && !links::is_ours(hold, &link.uri) {
            return Err(Foreign::because(format!(
                "the link in {form} does not say that it is ours"
            )));
        }
        let free = |text: &String| self.is_free(text);
        Ok(Link {
            name: Some(link.name).filter(free).unwrap_or_else(|| link.uri.clone()),
            title: link.title.filter(free),
            description: link.description.filter(free),
            kind: link.kind.filter(|kind| is_kind(kind)),
            ..link
        })
    }
}

/// `application/json`: a type, a subtype, and no parameters.
fn is_kind(kind: &str) -> bool {
    kind.len() <= 100
        && kind.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'+' | b'-' | b'.'))
}

/// Holds what an HTTP API answered, and rebuilds it. `read` is what the body says, if it was read already.
pub(super) fn hold_http(
    hold: &Hold<'_>,
    status: StatusCode,
    content_type: Option<&str>,
    (body, read): (&Bytes, Option<Value>),
) -> Result<Content, Foreign> {
    let is_error = !status.is_success();
    if body.trim_ascii().is_empty() && !is_error {
        return Ok(Content::Http { status, content_type: None, body: Bytes::new() });
    }
    let as_it_is = |content_type: Option<&str>| Content::Http {
        status,
        content_type: content_type.map(str::to_owned),
        body: body.clone(),
    };
    let json = Some("application/json");
    let refused = |words: Option<String>| {
        let code = status.as_u16();
        let message = match words {
            Some(words) => format!("the upstream refused ({code}): {words}"),
            None => format!("the upstream refused ({code})"),
        };
        let body = Json::Object(vec![("message".to_owned(), Json::String(message))]).to_vec();
        Ok(Content::Http { status, content_type: json.map(str::to_owned), body: body.into() })
    };
    let text = || std::str::from_utf8(body).unwrap_or("?");
    let value = match hold.whole(read, text) {
        Text::Json(value) => value,
        Text::Refused(why) => return Err(Foreign::because(format!("the body is refused: {why}"))),
        Text::Free | Text::Blank if hold.unverifiable => return Ok(as_it_is(content_type)),
        Text::Free | Text::Blank if is_error => {
            return refused(
                Some(text().trim().to_owned())
                    .filter(|text| !text.is_empty() && words::are_plain(text, &hold.said)),
            );
        }
        Text::Free | Text::Blank => {
            return Err(Foreign::because(
                "the body is not JSON and cannot be held against its owner",
            ));
        }
    };
    match hold.judge("the body", &value) {
        Verdict::Foreign(why) => Err(Foreign { why }),
        Verdict::Own { alone } if !is_error || alone => Ok(as_it_is(json)),
        _ if hold.unverifiable => Ok(as_it_is(content_type)),
        Verdict::Nothing(why) if !is_error => Err(Foreign { why }),
        _ => refused(words::of_error(&value, &hold.said)),
    }
}
