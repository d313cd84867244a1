//! A contract, tried on a recorded call: what would be bound, refused, sent, and handed on.
//!
//! It is the same code that holds the contract for real; only nothing is sent and nothing is written down.

use std::collections::BTreeMap;

use ids::json::Json;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Content, Error, Source,
    contract::{Final, Form, Tool},
    owner::{Facts, clean, value},
};

#[cfg(test)]
mod tests;

/// What would come of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The tool.
    pub tool: String,
    /// What is bound, and to what: JSON Pointers of arguments, and their values.
    pub bound: BTreeMap<String, Value>,
    /// Why its arguments would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// What would have been refused, if the contract did more than observe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<String>,
    /// What would be sent, but for the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// What would become of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Verdict>,
}

/// Why arguments are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// In words.
    pub message: String,
}

/// What would be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sent {
    /// The request line, the tool or the statement.
    pub line: String,
    /// The body, the arguments or the parameters.
    pub body: Value,
}

/// What becomes of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It is handed on.
    Own {
        /// Of what could not be held against an owner, what is left out or rewritten.
        changed: Vec<String>,
        /// What cannot be held, and is handed on because the contract says that this is known.
        unverifiable: bool,
    },
    /// It is withheld.
    Foreign {
        /// Which check found it.
        why: String,
    },
}

/// Reports on a call whose arguments were made final, or refused, and on a recorded answer to it.
pub(crate) fn report(
    tool: &Tool,
    facts: &Facts,
    prepared: Result<Final, Error>,
    answer: Option<&Content>,
    most: usize,
) -> Report {
    let bound = tool.contract.bind.iter().map(|(pointer, source)| {
        let value = match source {
            Source::Accounts => Value::from(facts.accounts.clone()),
            source => facts.one(*source).map_or(Value::Null, Value::from),
        };
        (pointer.clone(), value)
    });
    let mut report = Report {
        tool: tool.contract.name.clone(),
        bound: bound.collect(),
        refused: None,
        observed: Vec::new(),
        sent: None,
        answer: None,
    };
    let refusal = |error: &Error| Refusal { code: error.code(), message: error.to_string() };
    let call = match prepared {
        Ok(call) => call,
        Err(error) => {
            report.refused = Some(refusal(&error));
            return report;
        }
    };
    report.observed.clone_from(&call.observed);
    match sent(tool, &call) {
        Ok(sent) => report.sent = Some(sent),
        Err(error) => report.refused = Some(refusal(&error)),
    }
    report.answer = answer.map(|answer| match tool.owners.hold(facts, &call, answer, most) {
        Ok(held) => Verdict::Own {
            changed: changed(answer, &held),
            unverifiable: tool.contract.unverifiable,
        },
        Err(foreign) => Verdict::Foreign { why: foreign.why },
    });
    report
}

fn sent(tool: &Tool, call: &Final) -> Result<Sent, Error> {
    match &tool.form {
        Form::Mcp(name) => {
            Ok(Sent { line: format!("tools/call {name}"), body: value(&call.arguments) })
        }
        Form::Http(template) => {
            let filled = template.fill(&call.arguments)?;
            let query = filled.query.map(|query| format!("?{query}")).unwrap_or_default();
            let body = filled.body.and_then(|body| serde_json::from_slice(&body).ok());
            let line = format!("{} {}{query}", filled.method, filled.path);
            Ok(Sent { line, body: body.unwrap_or_default() })
        }
        Form::Sql(query) => {
            let arguments = value(&call.arguments);
            let parameters = query
                .parameters
                .iter()
                .map(|pointer| arguments.pointer(pointer).cloned().unwrap_or_default());
            Ok(Sent { line: query.sql.clone(), body: parameters.collect() })
        }
    }
}

/// Which forms of an answer are not handed on as they came.
fn changed(answer: &Content, held: &Content) -> Vec<String> {
    let Ok(answer) = clean(answer) else { return Vec::new() };
    match (&answer, held) {
        (Content::Mcp(before), Content::Mcp(after)) => {
            let blocks = |json: &Json| match json.get("content") {
                Some(Json::Array(blocks)) => blocks.clone(),
                _ => Vec::new(),
            };
            let kept = blocks(after);
            let mut changed: Vec<_> = blocks(before)
                .iter()
                .enumerate()
                .filter(|(_, block)| !kept.contains(block))
                .map(|(at, _)| format!("content[{at}]"))
                .collect();
            if before.get("structuredContent") != after.get("structuredContent") {
                changed.push("structuredContent".to_owned());
            }
            changed
        }
        (Content::Http { body: before, .. }, Content::Http { body: after, .. })
            if before != after =>
        {
            vec!["the body".to_owned()]
        }
        _ => Vec::new(),
    }
}
