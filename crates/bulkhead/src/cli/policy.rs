//! `bulkhead policy …`

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{Place, listing::BY_CLI};
use crate::{
    config::{self, Loaded},
    fault::Fault,
    print::{Printer, field, note},
};

/// Policies in the Cedar language.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a policy file against the schema, strictly, without a server
    Check {
        /// The file [default: the one of the configuration]
        file: Option<PathBuf>,
    },
    /// Let a running server read its policy file again; a bad one leaves the last good one in force
    Reload {
        /// Why; it is on the record
        #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
        reason: String,
    },
    /// Show the policies in force on a running server
    Show {
        /// Show the schema, which says what policies may speak of
        #[arg(long)]
        schema: bool,
    },
}

pub(crate) async fn run(command: Command, place: &Place, out: Printer) -> Result<()> {
    match command {
        Command::Check { file } => check(file, place, out),
        Command::Reload { reason } => {
            let done = place.admin()?.post("/policy/reload", &json!({ "reason": reason })).await?;
            if field(&done, "path").is_empty() {
                note(
                    "the server was started without a policy file: after `[policy] file` was set, start it again",
                );
            }
            out.said(&done, format!("in force: {}", described(&done)))
        }
        Command::Show { schema } => {
            let found = place.admin()?.get("/policy", &[]).await?;
            if out.is_json() {
                return out.value(&found);
            }
            if !schema {
                out.line(format!("// {}", described(&found)))?;
            }
            out.line(field(&found, if schema { "schema" } else { "text" }).trim_end())
        }
    }
}

fn described(policy: &Value) -> String {
    let (count, version, path) =
        (field(policy, "policies"), field(policy, "version"), field(policy, "path"));
    let path = if path.is_empty() { "built in".to_owned() } else { path };
    format!("{count} policies, version {version}, {path}")
}

fn check(file: Option<PathBuf>, place: &Place, out: Printer) -> Result<()> {
    let file = match file {
        Some(file) => file,
        None => {
            let Loaded { path, settings } = config::load(place)?;
            settings.policy.file.ok_or_else(|| {
                Fault::failed(format!("{} names no policy file", path.display()))
                    .advise("name one: bulkhead policy check FILE")
            })?
        }
    };
    let policies = gate::Policies::load(&file)
        .map_err(|error| Fault::failed(format!("{}: {error}", file.display())))?
        .describe();
    if policies.policies == 0 {
        note(
            "it has no policy, so nothing would be permitted: begin with `permit (principal, action, resource);`",
        );
    }
    let done = json!({
        "file": file, "policies": policies.policies, "version": policies.version.to_string(),
    });
    out.said(
        &done,
        format!(
            "{} is good: {} policies, version {}",
            file.display(),
            policies.policies,
            policies.version
        ),
    )
}
