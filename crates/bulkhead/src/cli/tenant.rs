//! `bulkhead tenant …`

use std::{
    io::{BufRead as _, IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::listing::{BY_CLI, Part};

use crate::{
    admin::{Admin, segment},
    fault::Fault,
    print::{self, Ink, Printer, field, progress, time},
};

/// Tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a tenant
    #[command(
        after_help = "Example:  bulkhead tenant create acme --environment live --environment staging --alias org_7H2k"
    )]
    Create {
        /// Its id: 1 to 63 of a-z, 0-9, '-' and '_'
        id: String,
        /// An environment, such as live or staging; may be repeated
        #[arg(long = "environment", short = 'e', value_name = "NAME", required = true)]
        environments: Vec<String>,
        /// Another name of it, such as its id in your identity provider; may be repeated
        #[arg(long = "alias", value_name = "ALIAS")]
        aliases: Vec<String>,
        /// Its account in an outside system, as SYSTEM=ID; may be repeated
        #[arg(long = "account", value_name = "SYSTEM=ID")]
        accounts: Vec<String>,
        /// Why; it is on the record
        #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
        reason: String,
    },
    /// List tenants, in the order of their ids
    List(Part),
    /// Show one tenant
    Show {
        /// Its id or an alias
        tenant: String,
    },
    /// Bring tenants to what a document says; what is so already stays as it is
    #[command(after_help = APPLY)]
    Apply {
        /// A TOML or JSON file, or - for JSON on standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Suspend tenants that the document does not name
        #[arg(long)]
        prune: bool,
        /// Why; it is on the record
        #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
        reason: String,
    },
    /// Stop serving a tenant, at once; nothing is deleted
    Suspend(Take),
    /// Serve a suspended tenant again
    Resume(Act),
    /// Void every credential that was given out for a tenant, at once
    Revoke(Take),
    /// Erase a tenant: destroy its keys, delete its rows, end its runs. Cannot be undone
    Erase {
        /// Its id; not an alias, which may have moved
        tenant: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Why; it is on the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

const APPLY: &str = "\
Example of a document:
  [[tenants]]
  id = \"acme\"
  environments = [\"live\", \"staging\"]
  aliases = [\"org_7H2k\"]
  accounts = { crm = [\"acct_42\"] }

All of it is applied, or nothing. Tenants that the document does not name stay as they are,
unless --prune is given; what it leaves out of a tenant stays as it is, too.";

/// What is done to a whole tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct Act {
    /// Its id or an alias
    tenant: String,
    /// Why; it is on the record
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

/// What is taken from a whole tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct Take {
    /// Its id or an alias
    tenant: String,
    /// Why; it is on the record, where the tenant can read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl From<Take> for Act {
    fn from(Take { tenant, reason }: Take) -> Self {
        Self { tenant, reason }
    }
}

pub(crate) async fn run(command: Command, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Command::Create { id, environments, aliases, accounts, reason } => {
            let spec = json!({
                "id": id,
                "environments": environments,
                "aliases": aliases,
                "accounts": accounts_of(&accounts)?,
                "reason": reason,
            });
            let made = admin.post("/tenants", &spec).await?;
            out.said(&made, format!("created {id}: {}", environments.join(", ")))
        }
        Command::List(which) => list(&which, admin, out).await,
        Command::Show { tenant } => {
            let found = admin.get(&format!("/tenants/{}", segment(&tenant)), &[]).await?;
            if out.is_json() { out.value(&found) } else { show(&found, out) }
        }
        Command::Apply { file, dry_run, prune, reason } => {
            let query = [
                ("dry_run", dry_run.to_string()),
                ("prune", prune.to_string()),
                ("reason", reason),
            ];
            apply(&file, dry_run, &query, admin, out).await
        }
        Command::Suspend(act) => act_on(act.into(), "suspend", "suspended", admin, out).await,
        Command::Resume(act) => act_on(act, "resume", "resumed", admin, out).await,
        Command::Revoke(act) => {
            act_on(act.into(), "revoke", "voided every credential of", admin, out).await
        }
        Command::Erase { tenant, yes, reason } => erase(&tenant, yes, &reason, admin, out).await,
    }
}

fn accounts_of(pairs: &[String]) -> Result<Value> {
    let mut accounts = serde_json::Map::new();
    for pair in pairs {
        let (system, id) = pair.split_once('=').ok_or_else(|| {
            Fault::usage(format!("--account {pair:?} is not of the form SYSTEM=ID"))
        })?;
        let of = accounts.entry(system).or_insert_with(|| json!([]));
        if let Value::Array(ids) = of {
            ids.push(json!(id));
        }
    }
    Ok(Value::Object(accounts))
}

async fn list(part: &Part, admin: &Admin, out: Printer) -> Result<()> {
    let listed = part.read(admin, "/tenants", &[]).await?;
    if out.is_json() {
        return out.value(&listed.json());
    }
    let rows: Vec<Vec<String>> = listed
        .items
        .iter()
        .map(|tenant| {
            vec![
                field(tenant, "id"),
                field(tenant, "status"),
                field(tenant, "environments"),
                field(tenant, "aliases"),
                time(tenant.get("created")),
            ]
        })
        .collect();
    out.table(&["tenant", "status", "environments", "aliases", "created"], &rows)?;
    listed.say_if_more();
    Ok(())
}

fn show(tenant: &Value, out: Printer) -> Result<()> {
    let epoch = tenant.get("epoch").and_then(Value::as_u64).map(|secs| json!(secs * 1_000));
    out.fields(&[
        ("tenant", field(tenant, "id")),
        ("status", field(tenant, "status")),
        ("environments", field(tenant, "environments")),
        ("aliases", field(tenant, "aliases")),
        ("accounts", field(tenant, "accounts")),
        ("created", time(tenant.get("created"))),
        ("credentials count from", time(epoch.as_ref())),
    ])
}

async fn apply(
    file: &std::path::Path,
    dry_run: bool,
    query: &[(&str, String)],
    admin: &Admin,
    out: Printer,
) -> Result<()> {
    let document = document(file)?;
    let done = admin.put("/tenants", query, &document).await?;
    if out.is_json() {
        return out.value(&done);
    }
    let changes = match done.get("changes") {
        Some(Value::Array(changes)) => changes.as_slice(),
        _ => &[],
    };
    let verb = if dry_run { "would change" } else { "changed" };
    if changes.is_empty() {
        return out.line("nothing to change");
    }
    for change in changes {
        let what = format!("{} {}", field(change, "what").replace('_', " "), field(change, "name"));
        let tenant = field(change, "tenant");
        out.line(print::tame(format!("{verb} {tenant}: {what}").trim_end()))?;
    }
    Ok(())
}

/// Reads a document of tenants.
fn document(file: &std::path::Path) -> Result<Value> {
    let name = file.display();
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("reading standard input")?;
        text
    } else {
        std::fs::read_to_string(file)
            .map_err(|error| Fault::failed(format!("cannot read {name}: {error}")))?
    };
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text)
            .map_err(|error| Fault::failed(format!("{name}: {error}")).into());
    }
    toml::from_str(&text)
        .map_err(|error| crate::config::located(&name.to_string(), &text, &error).into())
}

async fn act_on(act: Act, verb: &str, done: &str, admin: &Admin, out: Printer) -> Result<()> {
    let path = format!("/tenants/{}/{verb}", segment(&act.tenant));
    let answer = admin.post(&path, &json!({ "reason": act.reason })).await?;
    out.said(&answer, format!("{done} {}", act.tenant))
}

async fn erase(tenant: &str, yes: bool, reason: &str, admin: &Admin, out: Printer) -> Result<()> {
    let path = format!("/tenants/{}", segment(tenant));
    if !yes {
        let found = admin.get(&path, &[]).await?;
        confirm(&field(&found, "id"), out)?;
    }
    let query = [("reason", reason.to_owned())];
    let erased = progress(&format!("erasing {tenant}"), admin.delete(&path, &query)).await?;
    let done = match erased.get("finished").and_then(Value::as_bool) {
        Some(false) => "destroyed the keys of",
        _ => "erased",
    };
    if done != "erased" {
        print::note("some rows that they sealed wait to be removed: the server goes on by itself");
    }
    out.said(&erased, format!("{done} {tenant}; a restored backup erases it again"))
}

fn confirm(id: &str, out: Printer) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Fault::usage(format!("erasing {id} cannot be undone"))
            .advise("add --yes to do it without being asked")
            .into());
    }
    let mut err = std::io::stderr().lock();
    let warning = out.ink(Ink::Red, "This destroys its keys: no backup brings the data back.");
    write!(err, "Erase {}? {warning}\nType the tenant's id to go on: ", print::tame(id))?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    if answer.trim() == id {
        return Ok(());
    }
    Err(Fault::failed("not erased: that was not its id").into())
}
