//! `bulkhead keys …`: rotation.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{
    access::{Whom, object},
    listing::BY_CLI,
};
use crate::{
    admin::{Admin, segment},
    print::{Printer, field, progress},
};

/// What a key of the deployment signs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Signs {
    /// Tenant tokens
    Tokens,
    /// What says to your own tools for whom a call is (`auth.kind` `assertion`)
    Assertions,
    /// Receipts of writes
    Receipts,
}

impl Signs {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Assertions => "assertions",
            Self::Receipts => "receipts",
        }
    }
}

/// Rotations; all of them while serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Wrap every key under a new root key; what was interrupted goes on when called again
    #[command(after_help = "\
Where the root key is a file that the server may write, this draws the new key. Where it is
mounted read-only or in the environment, put the new line in front of the old one first, then
call this with --given, then remove the old line.")]
    #[command(name = "rotate-root")]
    Root {
        /// The new root key is there already, in front: draw none
        #[arg(long)]
        given: bool,
        /// Drop the older root keys from the file afterwards. Backups of the keystore from before
        /// cannot be opened without them: keep a copy
        #[arg(long)]
        retire: bool,
    },
    /// Seal what a tenant writes from now on under a new data key; what is there stays readable
    #[command(name = "rotate-data")]
    Data {
        #[command(flatten)]
        whom: Whom,
    },
    /// Sign tokens, assertions or receipts under a new key; what the old one signed stays good
    #[command(after_help = "\
Old keys stay in /.well-known/jwks.json until tokens and assertions that they signed have expired;
those of receipts stay, the last 16. A receipt whose key is gone is signed again when it is read,
while its write is on record (intent_days).")]
    #[command(name = "rotate-signing")]
    Signing {
        /// What the key signs
        #[arg(long, value_enum, default_value_t = Signs::Tokens)]
        of: Signs,
        /// Destroy the older keys at once: every token and assertion that they signed is void. For
        /// a key that somebody else may have
        #[arg(long, requires = "reason")]
        retire_now: bool,
        /// Why; it is on the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

pub(crate) async fn run(command: Command, admin: &Admin, out: Printer) -> Result<()> {
    let why = ("reason", Some(json!(BY_CLI)));
    let (path, what, ask) = match command {
        Command::Root { given, retire } => {
            let ask =
                object([("renew", Some(json!(!given))), ("retire", Some(json!(retire))), why]);
            ("/keys/root/rotate".to_owned(), "rotated the root key", ask)
        }
        Command::Data { whom } => {
            let (tenant, environment) = (segment(&whom.tenant), segment(&whom.environment));
            let path = format!("/tenants/{tenant}/environments/{environment}/data-key/rotate");
            (path, "rotated the data key", object([why]))
        }
        Command::Signing { of, retire_now, reason } => {
            let ask = object([
                ("of", Some(json!(of.as_str()))),
                ("retire_now", Some(json!(retire_now))),
                ("reason", Some(json!(reason.as_deref().unwrap_or(BY_CLI)))),
            ]);
            ("/signing-keys/rotate".to_owned(), "rotated the signing key", ask)
        }
    };
    let done = progress("rotating", admin.post(&path, &ask)).await?;
    let detail = field(&done, "version");
    out.said(
        &done,
        if detail.is_empty() { what.to_owned() } else { format!("{what}: version {detail}") },
    )
}
