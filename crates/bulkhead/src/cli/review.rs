//! `bulkhead review …`: what people have to decide: writes that wait for an approval, and what is in
//! quarantine.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    access::Whom,
    listing::{BY_CLI, Listed, Part},
};
use crate::{
    admin::{Admin, segment},
    fault::Fault,
    print::{self, Ink, Printer, field, time},
};

/// Reviews.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what waits, of all tenants; with a tenant, all of its reviews
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        part: Part,
        /// Why you look; the tenant can read it in its audit log
        #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
        reason: String,
    },
    /// Show one, with all that is to be decided on
    Show(One),
    /// Allow what is asked: once, and exactly that
    #[command(after_help = APPROVE)]
    Approve(Decide),
    /// Refuse what is asked, or stop what was allowed and is not used yet
    Deny(Decide),
    /// Say of a write whose outcome is not known whether it was done
    #[command(after_help = SETTLE)]
    Settle(Settle),
    /// Put other arguments in place of those that are asked for; earlier decisions are void
    #[command(after_help = "\
Example:
  bulkhead review edit 5d1e… -t acme -e live --arguments '{\"text\":\"50\"}' --reason 'too much'

What comes from the credential stays as it is. What is edited still has to be approved.")]
    Edit(Edit),
    /// What turned up where it must not: list, look, settle
    #[command(subcommand)]
    Quarantine(Quarantine),
}

const APPROVE: &str = "\
On a terminal it is shown first, and asked for. Elsewhere say what you decide on:
  bulkhead review show 5d1e… -t acme -e live              says its digest
  bulkhead review approve 5d1e… -t acme -e live --digest 9f2c… --reason 'ticket 4711'

The approval is for these arguments of this tool under the policies in force, until it expires.";

const SETTLE: &str = "\
Look at the upstream first: what was not done may be sent again.
On a terminal the review is shown, and you are asked. Elsewhere say what you saw:
  bulkhead review settle 5d1e… -t acme -e live --done --digest 9f2c… --reason 'it is in the ledger'

What was done has a receipt from then on.";

/// Whose reviews: everybody's, or those of one tenant's environment. The two go together.
#[derive(Debug, clap::Args)]
pub(crate) struct Whose {
    /// The tenant, by id or alias
    #[arg(long, short, value_name = "TENANT", requires = "environment")]
    tenant: Option<String>,
    /// The environment
    #[arg(long, short, value_name = "NAME", requires = "tenant")]
    environment: Option<String>,
}

impl Whose {
    fn whom(self) -> Option<Whom> {
        let (tenant, environment) = self.tenant.zip(self.environment)?;
        Some(Whom { tenant, environment })
    }
}

/// What is in doubt.
#[derive(Debug, Subcommand)]
pub(crate) enum Quarantine {
    /// List what is there; that you looked is in the deployment's audit log
    List {
        #[command(flatten)]
        part: Part,
        /// Why you look
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Show one, with all of it
    Show {
        /// Its id
        id: String,
        /// Why you look
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Settle one: the thing goes, its record stays for a while
    Settle {
        /// Its id
        id: String,
        /// What came of it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Which review.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its id
    id: String,
    #[command(flatten)]
    whom: Whom,
    /// Why; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

/// A decision.
#[derive(Debug, clap::Args)]
pub(crate) struct Decide {
    /// Its id
    id: String,
    #[command(flatten)]
    whom: Whom,
    /// The digest of what you saw: nothing is decided about something else
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// Why; it stands in the review, and the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// How a write went.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("outcome").required(true).args(["done", "not_done"])))]
pub(crate) struct Settle {
    /// Its id
    id: String,
    #[command(flatten)]
    whom: Whom,
    /// It was done: never to be sent again
    #[arg(long)]
    done: bool,
    /// It was not done: it may be sent again
    #[arg(long)]
    not_done: bool,
    /// The digest of what you saw: nothing is said of something else
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// How you know; it stands in the review, and the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// An edit.
#[derive(Debug, clap::Args)]
pub(crate) struct Edit {
    /// Its id
    id: String,
    #[command(flatten)]
    whom: Whom,
    /// All arguments: a JSON object, or @FILE
    #[arg(long, value_name = "JSON")]
    arguments: String,
    /// Why; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(command: Command, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Command::List { whose, part, reason } => match whose.whom() {
            None => pending(&part, admin, out).await,
            Some(whom) => of_tenant(&whom, &part, reason, admin, out).await,
        },
        Command::Show(one) => show(one, admin, out).await,
        Command::Approve(decide) => decided(decide, true, admin, out).await,
        Command::Deny(decide) => decided(decide, false, admin, out).await,
        Command::Settle(args) => settle(args, admin, out).await,
        Command::Edit(args) => edit(args, admin, out).await,
        Command::Quarantine(command) => quarantine(command, admin, out).await,
    }
}

fn reviews(whom: &Whom) -> String {
    let (tenant, environment) = (segment(&whom.tenant), segment(&whom.environment));
    format!("/tenants/{tenant}/environments/{environment}/reviews")
}

fn path(whom: &Whom, id: &str) -> String {
    format!("{}/{}", reviews(whom), segment(id))
}

fn listed(listed: &Listed, heads: &[&str], names: &[&str], out: Printer) -> Result<()> {
    if out.is_json() {
        return out.value(&listed.json());
    }
    let row = |one: &Value| {
        let cell = |name: &&str| match *name {
            "opened" | "expires" => time(one.get(*name)),
            name => field(one, name),
        };
        names.iter().map(cell).collect()
    };
    let rows: Vec<Vec<String>> = listed.items.iter().map(row).collect();
    out.table(heads, &rows)?;
    listed.say_if_more();
    Ok(())
}

async fn pending(part: &Part, admin: &Admin, out: Printer) -> Result<()> {
    let found = part.read(admin, "/reviews", &[]).await?;
    let names = ["id", "kind", "tenant", "environment", "what", "opened", "expires"];
    listed(&found, &names.map(|name| if name == "id" { "review" } else { name }), &names, out)
}

async fn of_tenant(
    whom: &Whom,
    part: &Part,
    reason: String,
    admin: &Admin,
    out: Printer,
) -> Result<()> {
    let found = part.read(admin, &reviews(whom), &[("reason", reason)]).await?;
    let names = ["id", "kind", "state", "what", "asked_by", "opened", "expires"];
    let heads = ["review", "kind", "state", "what", "asked by", "opened", "expires"];
    listed(&found, &heads, &names, out)
}

async fn show(one: One, admin: &Admin, out: Printer) -> Result<()> {
    let found = admin.get(&path(&one.whom, &one.id), &[("reason", one.reason)]).await?;
    if out.is_json() {
        return out.value(&found);
    }
    print_review(&found, out)
}

fn print_review(found: &Value, out: Printer) -> Result<()> {
    let four_eyes = found.get("four_eyes") == Some(&Value::Bool(true));
    out.fields(&[
        ("review", field(found, "id")),
        ("kind", field(found, "kind")),
        ("state", field(found, "state")),
        ("what", field(found, "what")),
        ("upstream", field(found, "upstream")),
        ("account", field(found, "account")),
        ("why", field(found, "reason")),
        ("asked by", field(found, "asked_by")),
        ("workflow", field(found, "workflow")),
        ("run", field(found, "run")),
        ("agent", field(found, "agent")),
        ("end user", field(found, "subject")),
        ("needs", if four_eyes { "two people" } else { "one person" }.to_owned()),
        ("opened", time(found.get("opened"))),
        ("expires", time(found.get("expires"))),
        ("digest", field(found, "digest")),
        ("write", field(found, "intent")),
        ("used for", field(found, "used_for")),
    ])?;
    for one in found.get("decisions").and_then(Value::as_array).into_iter().flatten() {
        let is = |name| one.get(name).and_then(Value::as_bool);
        let word = match (is("done"), is("approved"), is("void")) {
            (Some(true), ..) => "said to be done",
            (Some(false), ..) => "said not to be done",
            (.., Some(true)) => "void",
            (_, Some(true), _) => "approved",
            _ => "not approved",
        };
        let (by, at) = (field(one, "by"), time(one.get("at")));
        out.line(print::tame(&format!("{word} by {by} at {at}: {}", field(one, "reason"))))?;
    }
    // As it is, to the last digit: what is decided on is these bytes.
    let text = found.get("canonical").and_then(Value::as_str).unwrap_or_default();
    out.line(out.ink(Ink::Bold, "arguments"))?;
    out.line(seen(text))
}

/// Text in which nothing hides: what turns the direction of writing, has no width, or steers a
/// terminal is written out.
fn seen(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' | '\u{3164}' | '\u{115f}' | '\u{1160}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

async fn decided(decide: Decide, approve: bool, admin: &Admin, out: Printer) -> Result<()> {
    let Decide { id, whom, digest, reason } = decide;
    let at = path(&whom, &id);
    let digest = match digest {
        Some(digest) => digest,
        None => {
            let found = admin.get(&at, &[("reason", reason.clone())]).await?;
            if approve {
                confirm(&found, "Allow exactly this, once?", "not approved", out)?;
            }
            field(&found, "digest")
        }
    };
    let ask = json!({"approve": approve, "digest": digest, "reason": reason});
    let done = admin.post(&format!("{at}/decide"), &ask).await?;
    let (what, state) = (field(&done, "what"), field(&done, "state"));
    let told = match (approve, state.as_str()) {
        (true, "approved") => format!("approved {what}: once, and exactly that"),
        (true, "open") => format!("noted for {what}: a second person has to agree"),
        _ => format!("{state} {what}"),
    };
    out.said(&done, print::tame(&told))
}

async fn settle(args: Settle, admin: &Admin, out: Printer) -> Result<()> {
    let Settle { id, whom, done, not_done: _, digest, reason } = args;
    let at = path(&whom, &id);
    let digest = match digest {
        Some(digest) => digest,
        None => {
            let found = admin.get(&at, &[("reason", reason.clone())]).await?;
            let asks = if done { "Was exactly this done?" } else { "Was this not done, for sure?" };
            confirm(&found, asks, "not settled", out)?;
            field(&found, "digest")
        }
    };
    let ask = json!({"done": done, "digest": digest, "reason": reason});
    let settled = admin.post(&format!("{at}/settle"), &ask).await?;
    let what = field(&settled, "what");
    let told = match done {
        true => format!("settled {what}: it was done, and has a receipt"),
        false => format!("settled {what}: it was not done, and may be sent again"),
    };
    out.said(&settled, print::tame(&told))
}

async fn edit(args: Edit, admin: &Admin, out: Printer) -> Result<()> {
    let Edit { id, whom, arguments, reason } = args;
    let text = match arguments.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Fault::failed(format!("cannot read {file}: {error}")))?,
        None => arguments,
    };
    let arguments: Value = serde_json::from_str(&text)
        .map_err(|error| Fault::usage(format!("--arguments is not JSON: {error}")))?;
    let ask = json!({"arguments": arguments, "reason": reason});
    let done = admin.post(&format!("{}/edit", path(&whom, &id)), &ask).await?;
    let (what, digest) = (field(&done, "what"), field(&done, "digest"));
    out.said(&done, print::tame(&format!("edited {what}: it waits for approval as {digest}")))
}

/// Shows what is decided on, and asks.
fn confirm(found: &Value, asks: &str, otherwise: &str, out: Printer) -> Result<()> {
    if !std::io::stdin().is_terminal() || out.is_json() {
        return Err(Fault::usage("say what you decide on: --digest")
            .advise("`bulkhead review show` says it, with everything that is in it")
            .into());
    }
    print_review(found, out)?;
    let mut err = std::io::stderr().lock();
    write!(err, "{asks} Type yes to go on: ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Fault::failed(otherwise.to_owned()).into())
}

async fn quarantine(command: Quarantine, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Quarantine::List { part, reason } => {
            let found = part.read(admin, "/quarantine", &[("reason", reason)]).await?;
            let names = [
                "id",
                "state",
                "what",
                "found_on.tenant",
                "found_on.environment",
                "reason",
                "opened",
            ];
            let heads = ["id", "state", "what", "on a hop of", "in", "what is wrong", "found"];
            listed(&found, &heads, &names, out)
        }
        Quarantine::Show { id, reason } => {
            let at = format!("/quarantine/{}", segment(&id));
            let found = admin.get(&at, &[("reason", reason)]).await?;
            if out.is_json() {
                return out.value(&found);
            }
            out.fields(&[
                ("id", field(&found, "id")),
                ("state", field(&found, "state")),
                ("what", field(&found, "what")),
                ("upstream", field(&found, "upstream")),
                ("what is wrong", field(&found, "reason")),
                ("on a hop of", field(&found, "found_on.tenant")),
                ("in", field(&found, "found_on.environment")),
                ("asked by", field(&found, "asked_by")),
                ("run", field(&found, "run")),
                ("found", time(found.get("opened"))),
                ("written as", field(&found, "encoding")),
            ])?;
            out.line(seen(&field(&found, "payload")))
        }
        Quarantine::Settle { id, reason } => {
            let at = format!("/quarantine/{}/settle", segment(&id));
            let done = admin.post(&at, &json!({ "reason": reason })).await?;
            out.said(
                &done,
                format!("settled {}: the thing is gone, its record stays", print::tame(&id)),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Typed {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn reviews_are_listed_of_everybody_or_of_one() {
        for (line, one) in [
            ("review list", Some(false)),
            ("review list -t acme -e live", Some(true)),
            ("review list -t acme", None),
            ("review list -e live", None),
        ] {
            let typed = Typed::try_parse_from(line.split(' ')).ok().map(|typed| typed.command);
            let got = typed.map(|command| match command {
                Command::List { whose, .. } => whose.whom().is_some(),
                other => panic!("{other:?}"),
            });
            assert_eq!(got, one, "{line}");
        }
    }

    #[test]
    fn nothing_hides_in_what_is_shown() {
        for (text, shown) in [
            (r#"{"to":"acct_1","n":1}"#, r#"{"to":"acct_1","n":1}"#),
            ("größe 12 €", "größe 12 €"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\x1b[2J", "\\u{1b}[2J"),
        ] {
            assert_eq!(seen(text), shown);
        }
    }
}
