//! A contract, ready to be held: what was configured, checked and taken apart once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ids::{AccountId, WorkflowId, json::Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Contract, Effect, Enforcement, Error, Settings, Upstream, WorkflowMode, openapi,
    owner::Owners,
    pointer::Pointer,
    template::{Overlap, Template},
};

mod alike;
mod amount;
mod arguments;
mod bind;
mod compile;
mod facts;
mod rules;
mod schema;
mod verdict;

/// How far a call goes at most. Of several, the strictest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Recorded, not executed.
    Suggest,
    /// Waits for a person.
    Approve,
    /// Executed.
    Execute,
}

/// What a call becomes at its upstream.
#[derive(Debug)]
pub(crate) enum Form {
    /// A call of this tool.
    Mcp(String),
    /// A request.
    Http(Template),
    /// A query.
    Sql(crate::settings::Query),
}

/// A tool, ready.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) contract: Contract,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) form: Form,
    pub(crate) owners: Owners,
    /// The JSON Schema of its arguments, where it is known without asking the upstream; bound
    /// arguments are still in it.
    pub(crate) schema: Option<Json>,
    /// What the model reads of it, where that is known without asking the upstream.
    pub(crate) description: Option<String>,
    /// How far a call of it goes at most.
    pub(crate) mode: Mode,
    /// Every place in the arguments that the contract knows.
    places: bind::Places,
    rules: Vec<rules::Held>,
    /// What the model does not see.
    hidden: Vec<Pointer>,
    /// The arguments that there are, where the schema says that there are no others.
    closed: Option<BTreeSet<String>>,
    amount: Option<Pointer>,
    /// In hundredths: from this amount on a person has to approve.
    above: Option<i64>,
}

/// The arguments as they go to the upstream, and nothing changes them from here on.
#[derive(Clone, Debug)]
pub(crate) struct Final {
    pub(crate) arguments: Json,
    /// The external account that the call is for: the bound one, or the one that a rule
    /// (`account = true`) let the caller choose of its own.
    pub(crate) account: Option<AccountId>,
    /// BLAKE3 of the canonical form of the final arguments.
    pub(crate) digest: [u8; 32],
    /// `pointer=value` of every scalar among them, for policies.
    pub(crate) facts: Vec<String>,
    /// The amount, in hundredths, where the contract says where it stands.
    pub(crate) amount: Option<i64>,
    /// What would have been refused, where the contract only observes.
    pub(crate) observed: Vec<String>,
}

impl Tool {
    /// How long a call of it is waited for, in all.
    pub(crate) fn total(&self) -> Duration {
        let ms = self.contract.timeout_ms.unwrap_or(self.upstream.timeouts.total_ms);
        Duration::from_millis(ms)
    }

    /// How a call of one of the two can be the other's request.
    fn overlaps(&self, other: &Self) -> Option<Overlap> {
        let (Form::Http(one), Form::Http(two)) = (&self.form, &other.form) else { return None };
        let mine = |argument: &str, text: &str| self.keeps_away(argument, text);
        let theirs = |argument: &str, text: &str| other.keeps_away(argument, text);
        if self.upstream.id != other.upstream.id {
            return None;
        }
        one.overlaps(two, &mine, &theirs)
    }

    /// Whether a rule that is held, and not only observed, keeps a text away from an argument.
    fn keeps_away(&self, argument: &str, text: &str) -> bool {
        self.contract.enforcement == Enforcement::Enforce
            && self.rules.iter().any(|rule| rule.keeps_away(argument, text))
    }

    /// The schema that the model sees: without what is bound.
    ///
    /// # Errors
    /// What is bound cannot be taken out of it, or is not in it at all: the tool is not offered.
    pub(crate) fn shown(&self, schema: &Json) -> Result<Json, String> {
        let hidden: Vec<_> = self.hidden.iter().collect();
        let (shown, declared) = schema::without(schema, &hidden)?;
        // A contract may leave out what the model does not see. An upstream that has arguments, and
        // not the bound one, would take the tenant from somewhere else, or from nowhere.
        let theirs = self.schema.is_none() && schema.get("properties").is_some();
        let strange = hidden.iter().zip(declared).find(|(_, declared)| theirs && !declared);
        match strange {
            Some((pointer, _)) => Err(format!(
                "the upstream's definition has no argument `{}`, which the contract binds",
                pointer.as_str()
            )),
            None => Ok(shown),
        }
    }
}

/// Every tool, by its name.
///
/// # Errors
/// What is wrong in a contract: which, and where.
pub(crate) fn table(settings: &Settings) -> Result<BTreeMap<String, Arc<Tool>>, Error> {
    let mut upstreams = BTreeMap::new();
    for upstream in &settings.upstreams {
        let document = match &upstream.openapi {
            None => None,
            Some(path) => Some(openapi::Document::read(path).map_err(|why| {
                Error::Settings(format!("upstream `{}`: openapi: {why}", upstream.id))
            })?),
        };
        upstreams.insert(upstream.id.clone(), (Arc::new(upstream.clone()), document));
    }
    let mut tools: BTreeMap<String, Arc<Tool>> = BTreeMap::new();
    for contract in &settings.contracts {
        let wrong = |why: String| Error::Settings(format!("contract `{}`: {why}", contract.name));
        let Some((upstream, document)) = upstreams.get(&contract.upstream) else {
            return Err(wrong(format!("upstream: there is no upstream `{}`", contract.upstream)));
        };
        let tool = Tool::compile(settings, contract, upstream, document.as_ref()).map_err(wrong)?;
        let overlap =
            |other: &Arc<Tool>| Some((tool.overlaps(other)?, other.contract.name.clone()));
        if let Some((how, other)) = tools.values().find_map(overlap) {
            return Err(wrong(overlapping(how, &other)));
        }
        if tools.insert(contract.name.clone(), Arc::new(tool)).is_some() {
            return Err(wrong("name: another contract has it; names are unique".to_owned()));
        }
    }
    Ok(tools)
}

/// What is wrong with two contracts whose requests meet, and what can be done.
fn overlapping(how: Overlap, other: &str) -> String {
    let what = match how {
        Overlap::Kept => {
            "add a rule with `pattern` or `one_of`, in a contract that is enforced, that keeps what \
             stands in the other path away from that argument"
        }
        Overlap::Unkept => {
            "no rule about an argument can keep the two apart; leave one of them out"
        }
    };
    format!(
        "request: an argument in its path, or in that of contract `{other}`, can make the one \
         request the other, under the wrong contract's rules; {what}"
    )
}

/// How far a call goes: the strictest of what holds for the tool, the workflow and the tenant; and
/// an amount from which on a person has to approve, or one that is not said, goes no further
/// than to a person.
pub(crate) fn mode(
    tool: &Tool,
    workflows: &[WorkflowMode],
    workflow: Option<&WorkflowId>,
    tenant: Option<Mode>,
    amount: Option<i64>,
) -> Mode {
    // What is said of workflows and tenants is about writes.
    if tool.contract.effect == Effect::Read {
        return tool.mode;
    }
    // A call without a workflow is held to the strictest that any is held to.
    let of_workflow = workflows
        .iter()
        .filter(|of| workflow.is_none_or(|workflow| of.workflow == *workflow))
        .map(|of| of.mode);
    let strictest = of_workflow.chain(tenant).chain([tool.mode]).min().unwrap_or(Mode::Suggest);
    // A negative amount is as large as its opposite.
    let above = tool.above.is_some_and(|above| {
        amount.is_none_or(|amount| amount.unsigned_abs() >= above.unsigned_abs())
    });
    if above { strictest.min(Mode::Approve) } else { strictest }
}

/// A value of the settings.
fn from_value(value: &Value) -> Result<Json, String> {
    let text = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    Json::parse(&text, &ids::json::Limits::default()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
