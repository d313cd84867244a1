//! `bulkhead access …`: who may do what.

mod key;
mod people;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{
    listing::{BY_CLI, TRYING},
    span::Span,
};
use crate::{
    admin::Admin,
    fault::Fault,
    print::{self, Printer, field, time},
    secret::Source,
};

/// What a token may do if nothing else is asked for.
const GRANTS: &str = "model:*";

/// Credentials.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mint a tenant token for trying something out; backends use /oauth/token
    #[command(after_help = "\
Examples:
  export OPENAI_API_KEY=$(bulkhead access token --tenant acme --environment live \\
      --workflow support)
  bulkhead access token -t acme -e live -w support --grants 'model:chat state:read state:write'")]
    Token(TokenArgs),
    /// Make a run grant: days long, good for nothing but fresh tokens of one run
    #[command(after_help = "Backends make theirs at /oauth/token, with their service credential.")]
    Grant(GrantArgs),
    /// API keys, for clients that cannot fetch tokens
    #[command(subcommand)]
    Key(key::Command),
    /// Service credentials: your backends and workers, which mint tokens
    #[command(subcommand)]
    Service(people::Service),
    /// Operators: people who support or debug
    #[command(subcommand)]
    Operator(people::Operator),
    /// Void a credential, with all that came of it, at once. (All of a tenant's: tenant revoke)
    Revoke(RevokeArgs),
}

/// For whom a credential is.
#[derive(Debug, clap::Args)]
pub(crate) struct Whom {
    /// The tenant, by id or alias
    #[arg(long, short, value_name = "TENANT")]
    pub(crate) tenant: String,
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    pub(crate) environment: String,
}

/// For what a credential is.
#[derive(Debug, clap::Args)]
pub(crate) struct For {
    /// The workflow
    #[arg(long, short, value_name = "NAME")]
    workflow: String,
    /// What it may do, separated by spaces: model:chat, model:responses, model:embeddings,
    /// model:messages, model:models, model:files, model:batches; cache:read, cache:write;
    /// state:read, state:write; memory:read, memory:write, memory:collections, memory:subjects;
    /// tools:list, tools:read, tools:write, tools:destructive; reviews:read, reviews:decide;
    /// audit:read; records:read; `model:*` is every action of one surface
    #[arg(long, short, value_name = "GRANTS", default_value = GRANTS)]
    grants: String,
}

/// Which run.
#[derive(Debug, clap::Args)]
pub(crate) struct Of {
    /// The run [default: a new one]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Which agent acts
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// The end user within the tenant
    #[arg(long, value_name = "SUBJECT")]
    sub: Option<String>,
}

/// Why a credential is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Because {
    /// Why; it is on the record, where the tenant can read it
    #[arg(long, value_name = "TEXT", default_value = TRYING)]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MintArgs {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    what: For,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    why: Because,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    args: MintArgs,
    /// How long it lasts: 1s to 15m
    #[arg(long, value_name = "SPAN", default_value = "15m")]
    ttl: Span,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GrantArgs {
    #[command(flatten)]
    args: MintArgs,
    /// How long it lasts: 1s to 90d
    #[arg(long, value_name = "SPAN", default_value = "1d")]
    ttl: Span,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false, id = "which")]
pub(crate) struct Which {
    /// The token, run grant or API key itself: a file, env:NAME, or - for standard input
    #[arg(long, value_name = "FROM")]
    token: Option<String>,
    /// The id of a token
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// The id of a token or run grant, with all that came of it
    #[arg(long, value_name = "ID")]
    lineage: Option<String>,
    /// The id of a run grant
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// Whose, by id or alias; needed with an id
    #[arg(long, short, value_name = "TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    which: Which,
}

pub(crate) async fn run(command: Command, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Command::Token(TokenArgs { args, ttl }) => mint(args, false, ttl, admin, out).await,
        Command::Grant(GrantArgs { args, ttl }) => mint(args, true, ttl, admin, out).await,
        Command::Key(command) => key::run(command, admin, out).await,
        Command::Service(command) => people::service(command, admin, out).await,
        Command::Operator(command) => people::operator(command, admin, out).await,
        Command::Revoke(args) => revoke(args, admin, out).await,
    }
}

/// A JSON object of the pairs that have a value.
pub(crate) fn object<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Value {
    let present = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

async fn mint(args: MintArgs, grant: bool, ttl: Span, admin: &Admin, out: Printer) -> Result<()> {
    let MintArgs { whom, what, of, why } = args;
    let ask = object([
        ("tenant", Some(json!(whom.tenant))),
        ("environment", Some(json!(whom.environment))),
        ("workflow", Some(json!(what.workflow))),
        ("scope", Some(json!(what.grants))),
        ("run", of.run.map(Into::into)),
        ("agent", of.agent.map(Into::into)),
        ("sub", of.sub.map(Into::into)),
        ("ttl_seconds", Some(json!(ttl.secs()))),
        ("run_grant", Some(json!(grant))),
        ("reason", Some(json!(why.reason))),
    ]);
    let minted = admin.post("/tokens", &ask).await?;
    secret(&minted, "token", out)
}

async fn revoke(args: RevokeArgs, admin: &Admin, out: Printer) -> Result<()> {
    let RevokeArgs { tenant, which } = args;
    let hint = "give it in a file or as env:NAME";
    let token = match which.token {
        Some(from) => Some(json!(source(&from)?.read(hint)?.expose())),
        None => None,
    };
    let ask = object([
        ("tenant", tenant.map(Into::into)),
        ("token", token),
        ("jti", which.jti.map(Into::into)),
        ("lineage", which.lineage.map(Into::into)),
        ("grant", which.grant.map(Into::into)),
        ("reason", Some(json!(BY_CLI))),
    ]);
    let done = admin.post("/revocations", &ask).await?;
    out.said(&done, "revoked; streams that it had open have ended")
}

/// Where a secret is read from, by an argument. Not parsed by clap, whose errors would repeat
/// a secret that was given by mistake.
pub(crate) fn source(from: &str) -> Result<Source> {
    from.parse().map_err(|why: String| Fault::usage(why).into())
}

/// Prints a secret that is shown once: alone on standard output, so that a shell can take it,
/// with what it is beside it on standard error.
pub(crate) fn secret(made: &Value, name: &str, out: Printer) -> Result<()> {
    if out.is_json() {
        return out.value(made);
    }
    let shown = [
        ("id", field(made, "id")),
        ("tenant", field(made, "tenant")),
        ("environment", field(made, "environment")),
        ("run", field(made, "run")),
        ("grants", field(made, "scope")),
        ("expires", time(made.get("expires"))),
    ];
    let known: Vec<_> = shown.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let known: Vec<_> = known.iter().map(|(name, value)| format!("{name} {value}")).collect();
    print::note(format!("{} · shown this once", print::tame(&known.join(" · "))));
    out.line(field(made, name))
}
