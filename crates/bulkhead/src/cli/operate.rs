//! `bulkhead backup`, `bulkhead run …`

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    access::Whom,
    listing::{BY_CLI, Part},
};
use crate::{
    admin::{Admin, segment},
    fault::Fault,
    print::{Printer, bytes, field, progress, time},
};

/// Where the copy goes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The server writes it, to its own disk, while it serves; the copy is of one moment. It holds the
data files alone: copy the keystore (keys/keystore.db, with the server stopped) and the root key
apart from it, and never onto the same medium.")]
pub(crate) struct BackupArgs {
    /// A directory on the server's machine that is empty or not there
    directory: PathBuf,
    /// Why; it is on the record
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

pub(crate) async fn backup(args: BackupArgs, admin: &Admin, out: Printer) -> Result<()> {
    let path = std::path::absolute(&args.directory).context("the directory's path")?;
    let ask = json!({ "path": path, "reason": args.reason });
    let done = progress("copying", admin.post("/backup", &ask)).await?;
    let files = done.pointer("/manifest/files").and_then(Value::as_array);
    let (count, size) = files.map_or((0, 0), |files| {
        let size = files.iter().filter_map(|file| file.get("bytes")?.as_u64()).sum();
        (files.len(), size)
    });
    out.said(&done, format!("backed up {count} files, {}, to {}", bytes(size), path.display()))
}

/// Runs.
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Show the hops of a run: what was asked of what, how it ended. Never a payload
    #[command(
        after_help = "Example:  bulkhead run show run_7f3a --tenant acme --environment live --reason 'ticket 4711'"
    )]
    Show {
        /// The run's id
        run: String,
        #[command(flatten)]
        whom: Whom,
        /// Why you look; the tenant can read it in its audit log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        part: Part,
    },
}

pub(crate) async fn run(command: RunCommand, admin: &Admin, out: Printer) -> Result<()> {
    let RunCommand::Show { run, whom, reason, part } = command;
    let (tenant, environment) = (segment(&whom.tenant), segment(&whom.environment));
    let path = format!("/tenants/{tenant}/environments/{environment}/events");
    let query = [("run", run.clone()), ("reason", reason)];
    let listed = part.read(admin, &path, &query).await?;
    if out.is_json() {
        return out.value(&listed.json());
    }
    if listed.items.is_empty() {
        let Whom { tenant, environment } = whom;
        return Err(Fault::failed(format!("no events of {run} for {tenant} in {environment}"))
            .advise(
                "events are written within a second of the hop and kept for `records.keep_days`",
            )
            .into());
    }
    let rows: Vec<Vec<String>> = listed.items.iter().map(event).collect();
    let heads =
        ["at", "step", "hop", "model", "provider", "cache", "tokens", "ms", "end", "request"];
    out.table(&heads, &rows)?;
    listed.say_if_more();
    Ok(())
}

fn event(event: &Value) -> Vec<String> {
    let tokens = [field(event, "tokens_in"), field(event, "tokens_out")].join("+");
    let ms = event.get("latency_us").and_then(Value::as_u64).unwrap_or_default();
    let code = field(event, "code");
    vec![
        time(event.get("at")),
        field(event, "step"),
        format!("{}:{}", field(event, "surface"), field(event, "action")),
        field(event, "route"),
        field(event, "provider"),
        field(event, "cache"),
        if tokens == "+" { String::new() } else { tokens },
        format!("{}.{}", ms / 1_000, ms % 1_000 / 100),
        if code.is_empty() { field(event, "end") } else { code },
        field(event, "request"),
    ]
}
