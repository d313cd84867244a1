//! What an operator declares of a tool.

use std::collections::BTreeMap;

use ids::{ProviderId, WorkflowId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Mode;

/// What a tool does to the world. What its upstream says of it never lowers this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing changes.
    Read,
    /// Something changes.
    Write,
    /// Something is lost.
    Destructive,
}

/// Whether what a contract says is held, or only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// Held.
    #[default]
    Enforce,
    /// What would have been refused is recorded, and goes on: for adopting a contract. A bound
    /// argument is filled in all the same.
    Observe,
}

/// Where a bound argument comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The tenant's external account in the upstream's system. It has to have exactly one.
    Account,
    /// All of them, as a list.
    Accounts,
    /// The tenant's id.
    Tenant,
    /// The environment.
    Environment,
    /// The workflow; a call without one is refused.
    Workflow,
    /// The run; likewise.
    Run,
    /// The end user; likewise.
    Subject,
}

/// What one argument may be. Everything that is set has to hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Which: a JSON Pointer (RFC 6901), in which `*` stands for every item or key.
    pub argument: String,
    /// Has to be there.
    pub required: bool,
    /// One of the tenant's external accounts in the upstream's system.
    pub account: bool,
    /// One of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Value>>,
    /// The whole text matches this regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// A number that is at least this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// A number that is at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// A text of at most so many bytes, or a list of so many items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
}

/// Where the owner stands in each record of what a tool answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// A JSONPath (RFC 9535) to the records. Default `$`: the answer is one record.
    #[serde(default = "whole")]
    pub records: String,
    /// A JSON Pointer within a record to what names its owner. A record without it is foreign.
    pub owner: String,
    /// What the owner has to equal. Default `account`: one of the tenant's external accounts, or the one
    /// that the call was for.
    #[serde(default = "account")]
    pub equals: Source,
}

fn whole() -> String {
    "$".to_owned()
}

const fn account() -> Source {
    Source::Account
}

/// `http`: the request that a call becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Behind the upstream's `url`; `{name}` is an argument, encoded so that it stays in its segment.
    pub path: String,
    /// Query parameters: their names, and the arguments that they are of.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// The argument (a JSON Pointer) that is the body; without, whatever is neither in the path nor in
    /// the query, if the method takes a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Headers with fixed values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// `postgres`: the query that a call becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// One statement, with `$1`, `$2`, … for its parameters.
    pub sql: String,
    /// The arguments (JSON Pointers) that the parameters are.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// A setting that row-level security looks at, such as `app.tenant`: set for the transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// What it is set to. Default `account`.
    #[serde(default = "account")]
    pub setting_from: Source,
}

/// Who decides on a write in mode `approve`, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Approval {
    /// Seconds until a review expires. Default one day.
    pub expires_seconds: u64,
    /// Two different people have to agree.
    pub four_eyes: bool,
    /// Bulkhead itself executes what was approved; else the agent's retry does.
    pub execute: bool,
    /// Where the amount stands in the arguments: policies see it as `context.amount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// In mode `execute`, from this amount on a person has to approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
}

impl Default for Approval {
    fn default() -> Self {
        Self {
            expires_seconds: 86_400,
            four_eyes: false,
            execute: false,
            amount: None,
            above: None,
        }
    }
}

/// How a repeated write is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// `http`: a header by which the upstream knows a repetition; it gets the intent's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// An argument (a JSON Pointer) that gets the intent's id; the caller cannot supply it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
}

/// How it is found out whether a write was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    /// A contract of effect `read`, by its name.
    pub tool: String,
    /// Its arguments: JSON Pointers in them, and where they come from: `argument:/id` (of the write's
    /// arguments), `result:/id` (of what the write answered), `intent` (the intent's id).
    #[serde(default)]
    pub arguments: BTreeMap<String, String>,
    /// What has to hold in what it answers. All of it: then the write was done.
    pub holds: Vec<Holds>,
}

/// One thing that has to hold in an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    /// A JSONPath; it has to find exactly one value.
    pub path: String,
    /// What that has to be: a value, or `{ from = "argument:/amount" }`, as in `arguments`.
    pub equals: Value,
}

/// A tool, and what holds for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// What agents call it: 1 to 64 of A-Z, a-z, 0-9, '_', '-'.
    pub name: String,
    /// Where it is.
    pub upstream: ProviderId,
    /// `mcp`: its name there. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// `http`: the request that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<HttpRequest>,
    /// `http`: or the `operationId` in the upstream's OpenAPI document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// `postgres`: the query that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// What the model reads of it. Default: what the upstream or the OpenAPI document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its arguments. Default: likewise; needed for `request` and `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// What it does.
    pub effect: Effect,
    /// How far a call goes at most. Default: a read is executed, a write is suggested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether this contract is held or only reported on.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// The workflows that it is for. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflows: Option<Vec<WorkflowId>>,
    /// Arguments (JSON Pointers) that come from the scope. The model does not see them.
    #[serde(default)]
    pub bind: BTreeMap<String, Source>,
    /// What the other arguments may be.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Where the owner stands in its answers; one of them at least, unless `unverifiable`.
    #[serde(default)]
    pub owner: Vec<Owner>,
    /// Says that no owner can be found in its answers, and that this is known.
    #[serde(default)]
    pub unverifiable: bool,
    /// Who approves.
    #[serde(default)]
    pub approval: Approval,
    /// How a repetition is known.
    #[serde(default)]
    pub idempotency: Idempotency,
    /// How it is found out whether a write was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Reconcile>,
    /// Milliseconds for the whole call, if not the upstream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Most bytes of its answer, if not the upstream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_response_bytes: Option<u64>,
    /// The hash of its definition, for everybody. Default: the one that was accepted (`bulkhead tool
    /// pin`), or the first one that a tenant's environment sees, for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
}
