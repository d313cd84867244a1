//! `bulkhead credential …`: tenants' own credentials at model providers.

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Place,
    access::{Whom, object, source},
};
use crate::{
    admin::segment,
    config,
    print::{self, Printer, field, time},
};

/// Provider credentials.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a tenant's credential at a provider, in the place of the former one
    #[command(after_help = "\
Examples:
  bulkhead credential set openai --tenant acme --environment live --from env:ACME_OPENAI_KEY
  bulkhead credential set openai --tenant acme --environment live < key.txt
  bulkhead credential set anthropic -t acme -e live --workflow refunds --from key.txt

It is sealed under the tenant's own key and never shown again. The same secret for two tenants,
or two environments, is refused: it would be one account for both. --shared says that it is meant;
then all who hold it share one prompt cache at the provider, unless its kind takes a salt (vllm,
sglang), and on it every field that is not known is refused.")]
    Set {
        /// The provider's id in bulkhead.toml
        provider: String,
        #[command(flatten)]
        whom: Whom,
        /// For one workflow only
        #[arg(long, short, value_name = "NAME")]
        workflow: Option<String>,
        /// Where the secret is: a file, env:NAME, or - for standard input
        #[arg(long, value_name = "FROM", default_value = "-")]
        from: String,
        /// The same secret may be stored for others who say so too
        #[arg(long)]
        shared: bool,
    },
    /// List a tenant's credentials, without the secrets
    #[command(after_help = "Example:  bulkhead credential list --tenant acme --environment live")]
    List {
        #[command(flatten)]
        whom: Whom,
    },
    /// Remove a tenant's credential at a provider
    #[command(
        after_help = "Example:  bulkhead credential remove openai --tenant acme --environment live"
    )]
    Remove {
        /// The provider's id in bulkhead.toml
        provider: String,
        #[command(flatten)]
        whom: Whom,
        /// The one for this workflow only
        #[arg(long, short, value_name = "NAME")]
        workflow: Option<String>,
    },
}

const HINT: &str =
    "pipe it in (`… < key.txt`), or say where it is: --from env:NAME, --from key.txt";

pub(crate) async fn run(command: Command, place: &Place, out: Printer) -> Result<()> {
    let admin = &place.admin()?;
    match command {
        Command::Set { provider, whom, workflow, from, shared } => {
            let secret = source(&from)?.read(HINT)?;
            let ask = object([
                ("secret", Some(json!(secret.expose()))),
                ("workflow", workflow.map(Into::into)),
                ("shared", Some(json!(shared))),
                ("reason", Some(json!("credential set by the command line"))),
            ]);
            let path = format!("{}/{}", credentials(&whom), segment(&provider));
            let done = admin.put(&path, &[], &ask).await?;
            let version = field(&done, "version");
            if shared {
                print::note(of_shared(&provider, place));
            }
            let Whom { tenant, environment } = whom;
            out.said(
                &done,
                format!("stored {provider} for {tenant} in {environment}, version {version}"),
            )
        }
        Command::List { whom } => {
            let query = [("reason", "credential list by the command line".to_owned())];
            let listed = admin.get(&credentials(&whom), &query).await?;
            if out.is_json() { out.value(&listed) } else { list(&listed, out) }
        }
        Command::Remove { provider, whom, workflow } => {
            let mut query = vec![("reason", "credential remove by the command line".to_owned())];
            query.extend(workflow.map(|workflow| ("workflow", workflow)));
            let path = format!("{}/{}", credentials(&whom), segment(&provider));
            let done = admin.delete(&path, &query).await?;
            let Whom { tenant, environment } = whom;
            out.said(&done, format!("removed {provider} of {tenant} in {environment}"))
        }
    }
}

/// What sharing means there: the kind is known where the configuration file is.
fn of_shared(provider: &str, place: &Place) -> String {
    let loaded = config::load(place).ok();
    let known = loaded.and_then(|loaded| {
        let all = loaded.settings.model.providers.into_iter();
        all.into_iter().find(|one| one.id.as_str() == provider)
    });
    let provider = print::tame(provider);
    match known.map(|known| known.salts_prompts()) {
        Some(true) => format!(
            "note: all who hold this secret are one account at {provider}: one rate limit, one bill.\n  Its prompt cache is salted for each tenant and environment"
        ),
        Some(false) => format!(
            "warning: all who hold this secret are one account at {provider}: a shared prompt-cache domain\n  (nothing that this kind takes keeps their prompt caches apart), one rate limit, one bill.\n  → give each tenant its own secret where timing of a prompt cache must not tell of another's"
        ),
        None => format!(
            "warning: all who hold this secret are one account at {provider}: one rate limit, one bill, and,\n  unless its kind takes a salt (vllm, sglang), a shared prompt-cache domain; `bulkhead doctor` says"
        ),
    }
}

fn credentials(whom: &Whom) -> String {
    let (tenant, environment) = (segment(&whom.tenant), segment(&whom.environment));
    format!("/tenants/{tenant}/environments/{environment}/credentials")
}

fn list(listed: &Value, out: Printer) -> Result<()> {
    let all = match listed.get("items") {
        Some(Value::Array(all)) => all.as_slice(),
        _ => &[],
    };
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            vec![
                field(one, "provider"),
                field(one, "workflow"),
                field(one, "version"),
                field(one, "fingerprint"),
                field(one, "shared"),
                time(one.get("set")),
            ]
        })
        .collect();
    out.table(&["provider", "workflow", "version", "fingerprint", "shared", "set"], &rows)
}
