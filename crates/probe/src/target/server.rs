//! What a target file says of an MCP server: which tools leave, read, list and remove something.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::template;
use crate::canary::Side;

/// Which version of the protocol is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// The newer one, if the server discovers itself in it.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Each request for itself.
    #[serde(rename = "2026-07-28")]
    Stateless,
    /// `initialize` first, in sessions if the server makes any.
    #[serde(rename = "2025-11-25")]
    Sessions,
}

/// One call of a tool, with places for what is known: `{canary}`, `{id}`, ….
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Call {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Option<Value>,
    /// Where the result has the id of what was made. Goes on into a text that is JSON.
    pub id: Option<String>,
    /// Where the result has the cursor of what follows.
    pub cursor: Option<String>,
    /// What an interrupted call is answered with, as `inputResponses`.
    pub answers: Option<Value>,
}

/// Something of a tenant's that is there already.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// What it says and nothing else does.
    pub text: String,
}

/// The same of both tenants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Both<T> {
    a: Option<T>,
    b: Option<T>,
}

/// An MCP server, by its tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// The version of the protocol.
    pub protocol: Protocol,
    /// Leaves something with `{canary}` in it.
    pub plant: Option<Call>,
    /// Reads it by its `{id}`.
    pub read: Option<Call>,
    /// Lists what the caller has, from `{cursor}` on.
    pub list: Option<Call>,
    /// Removes it.
    pub remove: Option<Call>,
    /// Fails, with an error that quotes what it failed on.
    pub fail: Option<Call>,
    /// Is interrupted for a question, and goes on with `answers`.
    pub resume: Option<Call>,
    /// Other tools that read by ids.
    pub tools: Vec<Call>,
    /// Whether tools that say that they only read are found by listing them.
    pub discover: bool,
    /// The URI of a record, with `{id}` in it.
    pub resource: Option<String>,
    /// Arguments that would name a tenant, also those that no schema declares.
    pub tenant_arguments: Vec<String>,
    /// What is there already, of a server where nothing is to be left.
    pub known: BTreeMap<Side, Known>,
    /// Tools that only this tenant may see.
    pub private: BTreeMap<Side, Vec<String>>,
}

/// The longest name of a tool, and the longest pointer.
const MOST: usize = 256;
/// A shorter text may be in anything.
const TELLING: usize = 8;

impl<T> Both<T> {
    pub(super) fn sides(self) -> BTreeMap<Side, T> {
        let both = [(Side::A, self.a), (Side::B, self.b)].into_iter();
        both.filter_map(|(side, own)| Some((side, own?))).collect()
    }
}

impl Call {
    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        check_name(&self.tool)?;
        for (name, object) in [("arguments", &self.arguments), ("answers", &self.answers)] {
            match object {
                Some(Value::Object(_)) | None => {}
                Some(_) => return Err(format!("{name} is a table")),
            }
            object.as_ref().map_or(Ok(()), template::check_json)?;
        }
        for pointer in [&self.id, &self.cursor].into_iter().flatten() {
            if !pointer.starts_with('/') || pointer.len() > MOST {
                return Err(format!("`{pointer}` is no JSON pointer, which begins with \"/\""));
            }
        }
        Ok(())
    }

    /// The names that its arguments have places for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let place = format!("{{{name}}}");
        self.arguments.as_ref().is_some_and(|arguments| arguments.to_string().contains(&place))
    }
}

impl Known {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.id.is_empty() || self.text.chars().count() < TELLING {
            return Err(format!(
                "an id, and a text of at least {TELLING} characters that nothing else says"
            ));
        }
        Ok(())
    }
}

impl Server {
    /// Every call that it names.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        let one = [&self.plant, &self.read, &self.list, &self.remove, &self.fail, &self.resume];
        one.into_iter().flatten().chain(&self.tools)
    }

    /// Whether something of each tenant's is there or can be left, and read.
    pub(crate) fn readable(&self) -> bool {
        let kept = self.plant.is_some() || self.known.len() == 2;
        kept && (self.read.is_some() || self.resource.is_some())
    }

    /// Whether it is said how a cursor, a resource or the state of a request comes about.
    pub(crate) fn gives_handles(&self) -> bool {
        let paged = self.list.as_ref().is_some_and(|list| list.cursor.is_some());
        paged || self.resource.is_some() || self.resume.is_some()
    }
}

/// What is wrong with the name of a tool or an argument, if anything.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    match name.is_empty() || name.len() > MOST || name.chars().any(char::is_control) {
        true => Err("say the tool's name: tool = \"…\"".to_owned()),
        false => Ok(()),
    }
}

/// What is wrong with a URI, if anything.
pub(super) fn check_resource(uri: &str) -> Result<(), String> {
    if uri.contains("{id}") && uri.contains(':') && uri.len() <= MOST {
        return template::placeholders(uri);
    }
    Err(format!("`{uri}` is no URI with {{id}} in it"))
}
