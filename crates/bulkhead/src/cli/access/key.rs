//! `bulkhead access key …`

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::{Because, For, Whom, object, secret};
use crate::{
    admin::{Admin, segment},
    cli::{
        listing::{Listed, Part},
        span::Span,
    },
    print::{Printer, field, time},
};

/// API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an API key; it is shown this once
    #[command(after_help = "\
Examples:
  bulkhead access key create --tenant acme --environment live --workflow support --expires 90d
  bulkhead access key create -t acme -e live -w support --grants 'model:* cache:* state:*'")]
    Create {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        what: For,
        /// How long it lasts, as in 90d [default: until it is revoked]
        #[arg(long, value_name = "SPAN")]
        expires: Option<Span>,
        #[command(flatten)]
        why: Because,
    },
    /// List a tenant's API keys, without the secrets
    List {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        part: Part,
    },
    /// Put a new key in the place of one, which stays good for a while
    Rotate {
        /// The id of the key
        id: String,
        /// How long the old one stays good
        #[arg(long, value_name = "SPAN", default_value = "1h")]
        overlap: Span,
    },
    /// Void an API key, at once
    Revoke {
        /// The id of the key
        id: String,
    },
}

pub(super) async fn run(command: Command, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Command::Create { whom, what, expires, why } => {
            let ask = object([
                ("workflow", Some(json!(what.workflow))),
                ("scope", Some(json!(what.grants))),
                ("ttl_seconds", expires.map(|span| json!(span.secs()))),
                ("reason", Some(json!(why.reason))),
            ]);
            secret(&admin.post(&keys(&whom), &ask).await?, "secret", out)
        }
        Command::List { whom, part } => {
            let listed = part.read(admin, &keys(&whom), &[]).await?;
            if out.is_json() { out.value(&listed.json()) } else { list(&listed, out) }
        }
        Command::Rotate { id, overlap } => {
            let ask = json!({ "overlap_seconds": overlap.secs() });
            let made = admin.post(&format!("/keys/{}/rotate", segment(&id)), &ask).await?;
            secret(&made, "secret", out)
        }
        Command::Revoke { id } => {
            let done = admin.delete(&format!("/keys/{}", segment(&id)), &[]).await?;
            out.said(&done, format!("revoked {id}"))
        }
    }
}

fn keys(whom: &Whom) -> String {
    format!("/tenants/{}/environments/{}/keys", segment(&whom.tenant), segment(&whom.environment))
}

fn list(listed: &Listed, out: Printer) -> Result<()> {
    let rows: Vec<Vec<String>> = listed
        .items
        .iter()
        .map(|key| {
            vec![
                field(key, "id"),
                format!("{}…", field(key, "prefix")),
                field(key, "workflow"),
                field(key, "scope"),
                time(key.get("created")),
                time(key.get("expires")),
                if field(key, "revoked") == "true" { "revoked".into() } else { "good".into() },
            ]
        })
        .collect();
    out.table(&["id", "key", "workflow", "grants", "created", "expires", "state"], &rows)?;
    listed.say_if_more();
    Ok(())
}
