//! `bulkhead access service …` and `bulkhead access operator …`

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{object, secret};
use crate::{
    admin::{Admin, segment},
    cli::{listing::Part, span::Span},
    print::{Printer, field, time},
};

/// Service credentials.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Create a service credential; it is shown this once
    #[command(
        after_help = "Example:  bulkhead access service create backend --tenants '*' --environments live --workflows support,billing --grants 'model:* cache:* state:*'"
    )]
    Create {
        /// Its name
        name: String,
        /// The tenants that it may mint for, separated by commas; '*' is every one
        #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
        tenants: Vec<String>,
        /// In which environments, separated by commas; '*' is every one
        #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
        environments: Vec<String>,
        /// For which workflows, separated by commas; '*' is every one
        #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
        workflows: Vec<String>,
        /// The most that its tokens may do, separated by spaces
        #[arg(long, value_name = "GRANTS", required = true)]
        grants: String,
        /// How long it lasts, as in 365d [default: until it is revoked]
        #[arg(long, value_name = "SPAN")]
        expires: Option<Span>,
    },
    /// List service credentials, without the secrets
    List,
    /// Void a service credential, at once
    Revoke {
        /// Its name
        name: String,
    },
}

/// Operators.
#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Create an operator's credential; it is shown this once
    #[command(
        after_help = "Example:  bulkhead access operator create ada@example.com --rights read,enter --expires 90d"
    )]
    Create {
        /// Who: a name or an address
        name: String,
        /// read: registries and configuration; write: change tenants, credentials and keys;
        /// enter: one tenant at a time, with a reason
        #[arg(
            long,
            value_name = "RIGHTS",
            value_delimiter = ',',
            required = true,
            value_parser = ["read", "write", "enter"]
        )]
        rights: Vec<String>,
        /// How long it lasts, as in 90d [default: until it is revoked]
        #[arg(long, value_name = "SPAN")]
        expires: Option<Span>,
    },
    /// List operators, without the secrets
    List,
    /// Void an operator's credential, at once
    Revoke {
        /// Who
        name: String,
    },
}

pub(super) async fn service(command: Service, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Service::Create { name, tenants, environments, workflows, grants, expires } => {
            let ask = object([
                ("name", Some(json!(name))),
                ("tenants", Some(json!(tenants))),
                ("environments", Some(json!(environments))),
                ("workflows", Some(json!(workflows))),
                ("scope", Some(json!(grants))),
                ("ttl_seconds", expires.map(|span| json!(span.secs()))),
            ]);
            secret(&admin.post("/services", &ask).await?, "secret", out)
        }
        Service::List => {
            let columns = ["name", "tenants", "environments", "workflows", "scope"];
            list("services", &columns, admin, out).await
        }
        Service::Revoke { name } => revoke("services", &name, admin, out).await,
    }
}

pub(super) async fn operator(command: Operator, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Operator::Create { name, rights, expires } => {
            let ask = object([
                ("name", Some(json!(name))),
                ("rights", Some(json!(rights))),
                ("ttl_seconds", expires.map(|span| json!(span.secs()))),
            ]);
            secret(&admin.post("/operators", &ask).await?, "secret", out)
        }
        Operator::List => list("operators", &["name", "rights"], admin, out).await,
        Operator::Revoke { name } => revoke("operators", &name, admin, out).await,
    }
}

async fn list(what: &str, columns: &[&'static str], admin: &Admin, out: Printer) -> Result<()> {
    let listed = Part::whole().read(admin, &format!("/{what}"), &[]).await?;
    if out.is_json() {
        return out.value(&listed.json());
    }
    let row = |one: &Value| {
        let mut cells: Vec<String> = columns.iter().map(|name| field(one, name)).collect();
        cells.push(time(one.get("created")));
        cells.push(time(one.get("expires")));
        cells
    };
    let named = |column: &&'static str| if *column == "scope" { "grants" } else { *column };
    let heads: Vec<_> = columns.iter().map(named).chain(["created", "expires"]).collect();
    out.table(&heads, &listed.items.iter().map(row).collect::<Vec<_>>())
}

async fn revoke(what: &str, name: &str, admin: &Admin, out: Printer) -> Result<()> {
    let done = admin.delete(&format!("/{what}/{}", segment(name)), &[]).await?;
    out.said(&done, format!("revoked {name}"))
}
