//! `bulkhead tool …`: what agents may call, whether it is what was pinned, and what a contract does.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    Place,
    access::{Whom, object},
    listing::BY_CLI,
};
use crate::{
    admin::{Admin, segment},
    fault::Fault,
    print::{self, Printer, field, progress, time},
};

/// Tools.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what is declared: effect, mode, enforcement, and whether a definition has changed
    #[command(after_help = "Example:  bulkhead tool list --json")]
    List,
    /// Show a contract, and the definition that is pinned
    Show {
        /// The tool, as agents call it
        tool: String,
    },
    /// Accept a tool's definition for all tenants, after looking at what changed
    #[command(after_help = "\
Example:
  bulkhead tool pin get_contact b3:0123…     `bulkhead tool show get_contact` says which there are")]
    Pin {
        /// The tool, as agents call it
        tool: String,
        /// The hash of the definition that you looked at
        hash: String,
        /// Why; it is on the record
        #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
        reason: String,
    },
    /// Show or set how far writes of a tenant's environment go at most
    #[command(after_help = "\
Examples:
  bulkhead tool mode -t acme -e live                what is set
  bulkhead tool mode -t acme -e live approve        a person says yes to each write
  bulkhead tool mode -t acme -e live none           as tools and workflows have it

Of the tool's, the workflow's and this one, the strictest holds.")]
    Mode {
        #[command(flatten)]
        whom: Whom,
        /// How far
        mode: Option<Mode>,
        /// Why; the tenant can read it in its audit log
        #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
        reason: String,
    },
    /// Call a tool that reads, as a tenant's own agents do
    #[command(after_help = "\
Example:
  bulkhead tool call get_contact -t acme -e live --arguments '{\"contact_id\":\"c-1\"}' \\
      --reason 'ticket 4711'")]
    Call(Try),
    /// Say what a contract would bind, refuse, send and withhold
    #[command(after_help = "\
Example:
  bulkhead tool test get_contact -t acme -e live --arguments '{\"contact_id\":\"c-1\"}' \\
      --answer recorded.json

A recorded answer is JSON: {\"tool\":\"get_contact\",\"answer\":{…}} of an MCP server,
{\"method\":\"GET\",\"path\":\"/contacts/c-1\",\"status\":200,\"answer\":{…}} of an HTTP API.
Exits with 1 if the call would be refused, fails, or its answer would be withheld.")]
    Test {
        #[command(flatten)]
        of: Try,
        /// What the upstream answered, as it was recorded
        #[arg(long, value_name = "FILE")]
        answer: Option<PathBuf>,
        /// Ask the upstream, with the tenant's credential; of a tool that reads
        #[arg(long, conflicts_with = "answer")]
        live: bool,
    },
    /// Draft contracts from an OpenAPI document or recorded calls, for you to finish
    #[command(after_help = "\
Examples:
  bulkhead tool learn crm openapi.json > contracts.toml
  bulkhead tool learn crm --calls calls.json

Nothing in a draft was decided: go through every comment that begins with `decide:`.")]
    Learn {
        /// The upstream's id in bulkhead.toml
        upstream: String,
        /// An OpenAPI document (JSON)
        #[arg(required_unless_present = "calls")]
        document: Option<PathBuf>,
        /// Recorded calls and their answers: a JSON list
        #[arg(long, value_name = "FILE", conflicts_with = "document")]
        calls: Option<PathBuf>,
    },
}

/// How far writes go at most.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// Recorded, not executed
    Suggest,
    /// A person decides
    Approve,
    /// Executed
    Execute,
    /// As tools and workflows have it
    None,
}

impl Mode {
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Suggest => Some("suggest"),
            Self::Approve => Some("approve"),
            Self::Execute => Some("execute"),
            Self::None => None,
        }
    }
}

/// A call that is tried.
#[derive(Debug, clap::Args)]
pub(crate) struct Try {
    /// The tool, as agents call it
    tool: String,
    #[command(flatten)]
    whom: Whom,
    /// Its arguments, as a JSON object, without what is bound
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    arguments: String,
    /// In this workflow
    #[arg(long, short, value_name = "NAME")]
    workflow: Option<String>,
    /// Why; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

pub(crate) async fn run(command: Command, place: &Place, out: Printer) -> Result<()> {
    match command {
        Command::Learn { upstream, document, calls } => learn(&upstream, document, calls, out),
        Command::List => list(&place.admin()?, out).await,
        Command::Show { tool } => show(&place.admin()?, &tool, out).await,
        Command::Pin { tool, hash, reason } => {
            let ask = json!({"hash": hash, "reason": reason});
            let path = format!("/tools/{}/pin", segment(&tool));
            let done = place.admin()?.post(&path, &ask).await?;
            let told = format!("pinned {}: {}", print::tame(&tool), field(&done, "hash"));
            out.said(&done, told)
        }
        Command::Mode { whom, mode, reason } => {
            mode_of(&place.admin()?, &whom, mode, reason, out).await
        }
        Command::Call(of) => {
            let ask = asked(&of)?;
            let path = at(&of.whom, &of.tool, "call");
            let admin = place.admin()?;
            let what = print::tame(&format!("calling {}", of.tool));
            let done = progress(&what, admin.post(&path, &ask)).await?;
            out.value(&done["answer"])
        }
        Command::Test { of, answer, live } => {
            let mut ask = asked(&of)?;
            ask["live"] = live.into();
            if let Some(path) = answer {
                let text =
                    fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                ask["answer"] = serde_json::from_slice(&text)
                    .with_context(|| format!("{} is no JSON", path.display()))?;
            }
            test(&place.admin()?, &of, &ask, out).await
        }
    }
}

fn of_tenant(whom: &Whom) -> String {
    let (tenant, environment) = (segment(&whom.tenant), segment(&whom.environment));
    format!("/tenants/{tenant}/environments/{environment}/tools")
}

fn at(whom: &Whom, tool: &str, what: &str) -> String {
    format!("{}/{}/{what}", of_tenant(whom), segment(tool))
}

fn asked(of: &Try) -> Result<Value> {
    let arguments: Value =
        serde_json::from_str(&of.arguments).context("--arguments has to be a JSON object")?;
    Ok(object([
        ("arguments", Some(arguments)),
        ("workflow", of.workflow.clone().map(Into::into)),
        ("reason", Some(json!(of.reason))),
    ]))
}

async fn list(admin: &Admin, out: Printer) -> Result<()> {
    let listed = admin.get("/tools", &[]).await?;
    if out.is_json() {
        return out.value(&listed);
    }
    let rows: Vec<Vec<String>> = items(&listed["items"]).map(row).collect();
    if rows.is_empty() {
        print::note(
            "no tools: add [[tools.upstreams]] and [[tools.contracts]] to the server's bulkhead.toml",
        );
    }
    out.table(&["tool", "upstream", "effect", "mode", "enforcement", "definition"], &rows)?;
    if rows.iter().any(|row| row[5].starts_with("changed")) {
        print::note(
            "what has changed is withheld: bulkhead tool show TOOL, then bulkhead tool pin TOOL HASH",
        );
    }
    Ok(())
}

fn row(item: &Value) -> Vec<String> {
    let (contract, pin) = (&item["contract"], &item["pin"]);
    let mode = field(contract, "mode");
    let mut seen = items(&item["seen"]).peekable();
    let fixed = !pin.is_null() || !field(contract, "pin").is_empty();
    let unseen = seen.peek().is_none();
    // With anybody.
    let changed = seen.any(|of| !field(of, "drifted").is_empty());
    let definition = match (changed, fixed, unseen) {
        (true, ..) => "changed",
        (false, true, _) => "pinned",
        (false, false, false) => "as first seen",
        (false, false, true) => "not seen",
    };
    vec![
        field(contract, "name"),
        field(contract, "upstream"),
        field(contract, "effect"),
        match (mode.is_empty(), field(contract, "effect") == "read") {
            (true, true) => "execute".to_owned(),
            (true, false) => "suggest".to_owned(),
            (false, _) => mode,
        },
        field(contract, "enforcement"),
        definition.to_owned(),
    ]
}

async fn show(admin: &Admin, tool: &str, out: Printer) -> Result<()> {
    let listed = admin.get("/tools", &[]).await?;
    let found = items(&listed["items"]).find(|item| item["contract"]["name"] == tool);
    let found = found.ok_or_else(|| {
        Fault::failed(format!("no tool {} is declared", print::tame(tool)))
            .advise("`bulkhead tool list` says which are")
    })?;
    if out.is_json() {
        return out.value(found);
    }
    let pin = &found["pin"];
    out.fields(&[
        ("tool", tool.to_owned()),
        ("upstream", field(found, "contract.upstream")),
        ("pinned", field(pin, "hash")),
        ("since", time(pin.get("since"))),
    ])?;
    let seen: Vec<Vec<String>> = items(&found["seen"])
        .map(|of| ["tenant", "environment", "hash", "drifted"].map(|key| field(of, key)).to_vec())
        .collect();
    if !seen.is_empty() {
        out.table(&["tenant", "environment", "held to", "withheld"], &seen)?;
    }
    out.line(serde_json::to_string_pretty(&found["contract"])?)
}

async fn mode_of(
    admin: &Admin,
    whom: &Whom,
    mode: Option<Mode>,
    reason: String,
    out: Printer,
) -> Result<()> {
    let path = format!("{}/mode", of_tenant(whom));
    let done = match mode {
        None => admin.get(&path, &[("reason", reason)]).await?,
        Some(mode) => {
            let ask = json!({"mode": mode.name(), "reason": reason});
            admin.put(&path, &[], &ask).await?
        }
    };
    let set = field(&done, "mode");
    let Whom { tenant, environment } = whom;
    let (tenant, environment) = (print::tame(tenant), print::tame(environment));
    let told = match set.is_empty() {
        true => {
            format!("writes of {tenant} in {environment} go as far as tools and workflows let them")
        }
        false => format!("writes of {tenant} in {environment} go at most as far as: {set}"),
    };
    out.said(&done, told)
}

async fn test(admin: &Admin, of: &Try, ask: &Value, out: Printer) -> Result<()> {
    let report = admin.post(&at(&of.whom, &of.tool, "test"), ask).await?;
    if out.is_json() {
        out.value(&report)?;
    } else {
        out.line(serde_json::to_string_pretty(&report)?)?;
    }
    verdict(&report)
}

/// Whether a call would be let through, and its answer too.
fn verdict(report: &Value) -> Result<()> {
    if let Some(refused) = report.get("refused") {
        let (code, why) = (field(refused, "code"), field(refused, "message"));
        return Err(Fault::failed(format!("refused: {code}: {}", print::tame(&why))).into());
    }
    if let Some(failed) = report.get("live") {
        let (code, why) = (field(failed, "code"), field(failed, "message"));
        return Err(Fault::failed(format!("the call failed: {code}: {}", print::tame(&why))).into());
    }
    if field(report, "answer.verdict") == "foreign" {
        let why = print::tame(&field(report, "answer.why"));
        return Err(Fault::failed(format!("the answer would be withheld: {why}")).into());
    }
    Ok(())
}

fn learn(
    upstream: &str,
    document: Option<PathBuf>,
    calls: Option<PathBuf>,
    out: Printer,
) -> Result<()> {
    let path = document.as_ref().or(calls.as_ref());
    let path = path.context("name a document, or --calls")?;
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let recorded: Vec<tools::Recorded> = match calls.is_some() {
        true => serde_json::from_slice(&text)
            .with_context(|| format!("{} is no list of recorded calls", path.display()))?,
        false => Vec::new(),
    };
    let material = match calls.is_some() {
        true => tools::Material::Calls(&recorded),
        false => tools::Material::OpenApi(&text),
    };
    let drafts = tools::learn(upstream, material)
        .map_err(|error| Fault::failed(format!("{}: {error}", path.display())))?;
    if out.is_json() {
        return out.value(&json!({ "toml": drafts }));
    }
    out.line(drafts.trim_end())
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_a_line() {
        let item = |mode: Value, pin: Value, seen: Value| {
            json!({"contract": {"name": "refund", "upstream": "crm", "effect": "write",
                "mode": mode, "enforcement": "enforce"}, "pin": pin, "seen": seen})
        };
        let pinned = json!({"hash": "b3:00", "since": "2026-11-22T00:00:00.000Z"});
        let seen = json!([{"tenant": "acme", "environment": "live", "hash": "b3:00"}]);
        let changed = json!([{"tenant": "acme", "environment": "live", "hash": "b3:00"},
            {"tenant": "globex", "environment": "live", "hash": "b3:00", "drifted": "b3:11"}]);
        for (mode, pin, seen, last) in [
            (json!("approve"), pinned.clone(), json!([]), ["approve", "enforce", "pinned"]),
            (Value::Null, pinned, changed.clone(), ["suggest", "enforce", "changed"]),
            (Value::Null, Value::Null, changed, ["suggest", "enforce", "changed"]),
            (Value::Null, Value::Null, seen, ["suggest", "enforce", "as first seen"]),
            (Value::Null, Value::Null, json!([]), ["suggest", "enforce", "not seen"]),
        ] {
            assert_eq!(row(&item(mode, pin, seen))[3..], last);
        }
    }

    #[test]
    fn what_would_not_pass_fails_the_command() {
        assert!(verdict(&json!({"tool": "t", "answer": {"verdict": "own"}})).is_ok());
        let refused = json!({"refused": {"code": "tool.argument_bound", "message": "m"}});
        assert!(verdict(&refused).is_err());
        let foreign = json!({"answer": {"verdict": "foreign", "why": "an account"}});
        assert!(verdict(&foreign).is_err());
    }
}
