//! Drafts of contracts, for a person to finish.
//!
//! A draft guesses from names and methods, and every guess errs to the strict side: what looks like
//! whose data it is gets bound, what looks like an owner is held, and no write is executed
//! (`mode = "suggest"`; reads have no mode). What was guessed says so in a comment that begins with
//! `decide:`. Where no owner was seen, the contract is not accepted before somebody decides. Words of the
//! document or the calls stand in quotes only, never in a comment as they are.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Content, Effect, Error, openapi::Document, owner::value};

mod draft;
mod names;
#[cfg(test)]
mod tests;

use draft::{Draft, Form, quoted};
use names::{binds, owners};

/// The most contracts that are drafted at once.
const MOST: usize = 500;

/// What contracts are drafted from.
#[derive(Clone, Copy, Debug)]
pub enum Material<'a> {
    /// An OpenAPI document: its text.
    OpenApi(&'a [u8]),
    /// Calls and what was answered.
    Calls(&'a [Recorded]),
}

/// A call that was recorded. Either `tool`, or `method` and `path`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recorded {
    /// `mcp`: the tool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// `http`: the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `http`: the path, without the upstream's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `http`: the query's parameters.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub query: std::collections::BTreeMap<String, String>,
    /// The arguments, or the body.
    pub arguments: Value,
    /// `http`: the status of the answer. Default 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer: the result of `tools/call`, the body of an HTTP answer, or rows.
    pub answer: Value,
}

impl Recorded {
    /// The answer, as the owner check takes it.
    ///
    /// # Errors
    /// A status that is none.
    pub fn content(&self) -> Result<Content, Error> {
        let text = self.answer.to_string();
        if self.tool.is_some() {
            let json = ids::json::Json::parse(text.as_bytes(), &ids::json::Limits::default())?;
            return Ok(Content::Mcp(json));
        }
        let status = http::StatusCode::from_u16(self.status.unwrap_or(200))
            .map_err(|_| Error::Settings("a recorded status is none".to_owned()))?;
        let body = match &self.answer {
            Value::Null => bytes::Bytes::new(),
            Value::String(text) => text.clone().into(),
            _ => text.into(),
        };
        Ok(Content::Http { status, content_type: Some("application/json".to_owned()), body })
    }
}

/// Drafts contracts for an upstream, as TOML.
///
/// # Errors
/// The document cannot be read, or a recorded call is neither of a tool nor of a path.
pub fn learn(upstream: &str, from: Material<'_>) -> Result<String, Error> {
    let mut out = String::from(HEAD);
    let (drafts, left_out) = match from {
        Material::OpenApi(text) => of_document(text).map_err(Error::Settings)?,
        Material::Calls(calls) => of_calls(calls).map_err(Error::Settings)?,
    };
    for (name, why) in left_out {
        out.push_str(&format!("# {} is left out: {}\n", quoted(&name), quoted(&why)));
    }
    let mut taken = Vec::new();
    for draft in drafts.iter().take(MOST) {
        draft.write(upstream, &mut taken, &mut out);
    }
    if drafts.len() > MOST {
        out.push_str(&format!("\n# The first {MOST} of {} are here.\n", drafts.len()));
    }
    Ok(out)
}

const HEAD: &str = "\
# Drafted by `bulkhead tool learn`. Nothing in here was decided: delete the tools that no agent needs, and go
# through every comment that begins with `decide:`. No write is executed while `mode` is \"suggest\"; a read is.
";

type Drafts = (Vec<Draft>, Vec<(String, String)>);

fn of_document(text: &[u8]) -> Result<Drafts, String> {
    let document = Document::parse(text)?;
    let (mut drafts, mut left_out) = (Vec::new(), Vec::new());
    for id in document.operations() {
        match document.operation(id) {
            Ok(operation) => {
                let method = operation.request.method.as_str();
                drafts.push(Draft {
                    name: id.to_owned(),
                    effect: effect_of(method),
                    guessed: format!("guessed from {method}"),
                    binds: binds(&value(&operation.parameters)),
                    owners: operation.answer.as_ref().map(owners).unwrap_or_default(),
                    form: Form::Operation(id.to_owned()),
                    parameters: None,
                });
            }
            Err(why) => left_out.push((id.to_owned(), why)),
        }
    }
    Ok((drafts, left_out))
}

/// A read has a method that changes nothing; what deletes, loses something; anything else writes.
fn effect_of(method: &str) -> Effect {
    match method {
        "GET" => Effect::Read,
        "DELETE" => Effect::Destructive,
        _ => Effect::Write,
    }
}

/// Of a tool there is only its name to guess from. What does not begin like a read is a write.
fn effect_of_tool(name: &str) -> Effect {
    let words: Vec<String> = names::words(name);
    let first = words.first().map_or("", String::as_str);
    let any = |of: &[&str]| words.iter().any(|word| of.contains(&word.as_str()));
    if any(&["delete", "remove", "destroy", "purge", "drop", "cancel", "refund", "revoke", "erase"])
    {
        Effect::Destructive
    } else if ["get", "list", "search", "find", "read", "fetch", "lookup", "describe", "count"]
        .contains(&first)
        && !any(&["create", "update", "set", "add", "write", "send", "and", "or"])
    {
        Effect::Read
    } else {
        Effect::Write
    }
}

fn of_calls(calls: &[Recorded]) -> Result<Drafts, String> {
    let mut groups: Vec<(Key, Vec<&Recorded>)> = Vec::new();
    for call in calls {
        let key = Key::of(call)?;
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, all)) => all.push(call),
            None => groups.push((key, vec![call])),
        }
    }
    Ok((groups.into_iter().map(|(key, calls)| key.draft(&calls)).collect(), Vec::new()))
}

/// What calls of one contract have in common.
#[derive(PartialEq)]
enum Key {
    Tool(String),
    Request { method: String, path: String },
}

impl Key {
    fn of(call: &Recorded) -> Result<Self, String> {
        match (&call.tool, &call.method, &call.path) {
            (Some(tool), None, None) => Ok(Self::Tool(tool.clone())),
            (None, Some(method), Some(path)) => Ok(Self::Request {
                method: method.to_ascii_uppercase(),
                path: names::template(path),
            }),
            _ => Err("a recorded call has either `tool`, or `method` and `path`".to_owned()),
        }
    }

    fn draft(self, calls: &[&Recorded]) -> Draft {
        let mut arguments = json!({"type": "object"});
        let mut answers = json!({});
        for call in calls {
            names::merge(&mut arguments, &names::shape(&call.arguments));
            let good = call.status.unwrap_or(200) < 400;
            for said in good.then(|| said(call)).into_iter().flatten() {
                names::merge(&mut answers, &names::shape(&said));
            }
        }
        let owners = owners(&answers);
        match self {
            Self::Tool(tool) => {
                let effect = effect_of_tool(&tool);
                Draft {
                    name: tool.clone(),
                    effect,
                    guessed: "guessed from its name".to_owned(),
                    binds: binds(&arguments),
                    owners,
                    form: Form::Tool(tool),
                    parameters: None,
                }
            }
            Self::Request { method, path } => {
                let query: Vec<String> = {
                    let mut all: Vec<_> =
                        calls.iter().flat_map(|call| call.query.keys().cloned()).collect();
                    all.sort();
                    all.dedup();
                    all
                };
                for name in names::places(&path).into_iter().chain(query.iter().map(String::as_str))
                {
                    arguments["properties"][name] = json!({"type": "string"});
                }
                Draft {
                    name: names::of_request(&method, &path),
                    effect: effect_of(&method),
                    guessed: format!("guessed from {}", quoted(&method)),
                    binds: binds(&arguments),
                    owners,
                    form: Form::Request { method, path, query },
                    parameters: Some(arguments),
                }
            }
        }
    }
}

/// The JSON that a recorded answer holds: of an MCP result, structured content or texts.
fn said(call: &Recorded) -> Vec<Value> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    if call.tool.is_none() {
        return match &call.answer {
            Value::String(text) => parse(text).into_iter().collect(),
            other => vec![other.clone()],
        };
    }
    if let Some(structured) = call.answer.get("structuredContent") {
        return vec![structured.clone()];
    }
    let blocks = call.answer.get("content").and_then(Value::as_array);
    let texts = blocks.into_iter().flatten().filter_map(|block| block.get("text")?.as_str());
    texts.filter_map(parse).filter(|json| json.is_object() || json.is_array()).collect()
}
