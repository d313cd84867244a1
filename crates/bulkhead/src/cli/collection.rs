//! `bulkhead collection …`: what tenants keep for retrieval, seen and kept in order from outside.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{
    access::Whom,
    listing::{BY_CLI, Part},
};
use crate::{
    admin::{Admin, segment},
    adopt,
    fault::Fault,
    print::{self, Ink, Printer, bytes, field, progress, time},
};

/// Collections.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List a tenant's collections
    List {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        part: Part,
        /// Why you look; the tenant can read it in its audit log
        #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
        reason: String,
    },
    /// Show one: its vectors, indexes and sizes. Never a point
    Show(One),
    /// Hold its index against the sealed rows; changes nothing
    #[command(after_help = "Exits with 1 if they differ: `bulkhead collection rebuild` makes the \
                            index again.")]
    Verify(One),
    /// Make its index again from the sealed rows, while it is being used
    Rebuild(One),
    /// Erase points, or the whole collection: rows, and every byte in the index's files
    #[command(after_help = ERASE)]
    Erase(EraseArgs),
    /// Read an existing Qdrant collection, and give each tenant its own points
    #[command(after_help = adopt::HELP)]
    Adopt(adopt::Args),
}

const ERASE: &str = "\
Examples:
  bulkhead collection erase docs -t acme -e live --all --reason 'contract ended'
  bulkhead collection erase docs -t acme -e live --id 7 --id 5c56c793-69f3-4fbf-87e6-c4bf54c28c26 \\
      --reason 'ticket 4711'
  bulkhead collection erase docs -t acme -e live --reason 'GDPR request 12' \\
      --filter '{\"must\":[{\"key\":\"metadata.user\",\"match\":{\"value\":\"u_7\"}}]}'

What is left of the points when it returns is in backups, and in what left the deployment.";

/// Which collection.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name
    collection: String,
    #[command(flatten)]
    whom: Whom,
    /// Why; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = false, args = ["all", "ids", "filter"])]
pub(crate) struct EraseArgs {
    /// Its name
    collection: String,
    #[command(flatten)]
    whom: Whom,
    /// The whole collection
    #[arg(long)]
    all: bool,
    /// A point, by number or UUID; may be repeated
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// The points that a filter of Qdrant's selects: JSON, or @FILE
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Why; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(command: Command, admin: &Admin, out: Printer) -> Result<()> {
    match command {
        Command::List { whom, part, reason } => list(&whom, &part, reason, admin, out).await,
        Command::Show(one) => show(one, admin, out).await,
        Command::Verify(one) => verify(one, admin, out).await,
        Command::Rebuild(one) => rebuild(one, admin, out).await,
        Command::Erase(args) => erase(args, admin, out).await,
        Command::Adopt(args) => adopt::run(args, admin, out).await,
    }
}

/// Where the collections of a tenant's environment are in the admin API.
pub(crate) fn collections(tenant: &str, environment: &str) -> String {
    format!("/tenants/{}/environments/{}/collections", segment(tenant), segment(environment))
}

impl One {
    fn path(&self) -> String {
        path(&self.whom, &self.collection)
    }
}

fn path(whom: &Whom, collection: &str) -> String {
    format!("{}/{}", collections(&whom.tenant, &whom.environment), segment(collection))
}

async fn list(whom: &Whom, part: &Part, reason: String, admin: &Admin, out: Printer) -> Result<()> {
    let path = collections(&whom.tenant, &whom.environment);
    let listed = part.read(admin, &path, &[("reason", reason)]).await?;
    if out.is_json() {
        return out.value(&listed.json());
    }
    let row = |one: &Value| {
        vec![
            field(one, "name"),
            field(one, "points"),
            size(one),
            field(one, "index.indexed"),
            if one.pointer("/index/open") == Some(&json!(true)) { "open" } else { "closed" }.into(),
            time(one.get("created")),
        ]
    };
    let rows: Vec<_> = listed.items.iter().map(row).collect();
    out.table(&["collection", "points", "index", "in a graph", "", "created"], &rows)?;
    listed.say_if_more();
    Ok(())
}

fn size(one: &Value) -> String {
    one.pointer("/index/bytes").and_then(Value::as_u64).map(bytes).unwrap_or_default()
}

async fn show(one: One, admin: &Admin, out: Printer) -> Result<()> {
    let found = admin.get(&one.path(), &[("reason", one.reason)]).await?;
    if out.is_json() {
        return out.value(&found);
    }
    let vectors = found.pointer("/config/vectors").map(spaces).unwrap_or_default();
    let sparse = match found.pointer("/config/sparse_vectors") {
        Some(Value::Object(all)) => all.iter().map(sparse).collect::<Vec<_>>().join("; "),
        _ => String::new(),
    };
    let indexes = match found.get("payload_schema") {
        Some(Value::Object(all)) => all
            .iter()
            .map(|(name, index)| format!("{name} ({})", field(index, "data_type")))
            .collect::<Vec<_>>()
            .join(", "),
        _ => String::new(),
    };
    out.fields(&[
        ("collection", field(&found, "name")),
        ("points", field(&found, "points")),
        ("vectors", vectors),
        ("sparse vectors", sparse),
        ("payload indexes", indexes),
        ("metadata", field(&found, "metadata")),
        ("last write", field(&found, "seq")),
        ("index", size(&found)),
        ("in a graph", field(&found, "index.indexed")),
        ("index is open", field(&found, "index.open")),
        ("created", time(found.get("created"))),
    ])
}

/// Dense vectors: one without a name, or several with theirs.
fn spaces(vectors: &Value) -> String {
    let one = |space: &Value| {
        let multi = if space.get("multivector_config").is_some_and(|config| !config.is_null()) {
            ", several a point"
        } else {
            ""
        };
        format!("{} × {}{multi}", field(space, "size"), field(space, "distance"))
    };
    match vectors {
        Value::Object(all) if all.contains_key("size") => one(vectors),
        Value::Object(all) => all
            .iter()
            .map(|(name, space)| format!("{name}: {}", one(space)))
            .collect::<Vec<_>>()
            .join("; "),
        _ => String::new(),
    }
}

fn sparse((name, space): (&String, &Value)) -> String {
    match field(space, "modifier").as_str() {
        "" | "none" => name.clone(),
        modifier => format!("{name}: {modifier}"),
    }
}

async fn verify(one: One, admin: &Admin, out: Printer) -> Result<()> {
    let (path, name) = (format!("{}/verify", one.path()), print::tame(&one.collection));
    let query = [("reason", one.reason)];
    let found = progress("holding the index against the rows", admin.get(&path, &query)).await?;
    let good = found.get("good") == Some(&Value::Bool(true));
    let counts = ["missing", "foreign", "different"]
        .map(|what| format!("{} {what}", field(&found, what)))
        .join(", ");
    let rows = field(&found, "rows");
    let sentence = format!("{name}: {rows} rows, each of them opened; in the index {counts}");
    if out.is_json() || good {
        out.said(&found, &sentence)?;
    }
    if good {
        return Ok(());
    }
    Err(Fault::failed(sentence)
        .advise("make the index again: bulkhead collection rebuild; the rows are what counts")
        .into())
}

async fn rebuild(one: One, admin: &Admin, out: Printer) -> Result<()> {
    let path = format!("{}/rebuild", one.path());
    let ask = json!({ "reason": one.reason });
    let done = progress("making the index again", admin.post(&path, &ask)).await?;
    let (name, points) = (print::tame(&one.collection), field(&done, "points"));
    out.said(&done, format!("made the index of {name} again: {points} points"))
}

async fn erase(args: EraseArgs, admin: &Admin, out: Printer) -> Result<()> {
    let EraseArgs { collection, whom, all, ids, filter, yes, reason } = args;
    let mut ask = Map::new();
    let what = if all {
        ask.insert("all".into(), true.into());
        "the whole collection".to_owned()
    } else if let Some(filter) = filter {
        ask.insert("filter".into(), read_filter(&filter)?);
        "every point that the filter selects".to_owned()
    } else {
        ask.insert("points".into(), ids.iter().map(|id| point_id(id)).collect());
        format!("{} points", ids.len())
    };
    ask.insert("reason".into(), reason.into());
    let shown = print::tame(&collection);
    if !yes {
        confirm(&what, &shown, &print::tame(&whom.tenant), out)?;
    }
    let path = format!("{}/erase", path(&whom, &collection));
    let ask = Value::Object(ask);
    let work = admin.post(&path, &ask);
    let done = progress("erasing, and making the index again", work).await?;
    let gone = done.get("collection") == Some(&Value::Bool(true));
    let whole = if gone { ", and the collection" } else { "" };
    let points = field(&done, "erased");
    out.said(
        &done,
        format!("erased {points} points of {shown}{whole}: rows, and the index's files"),
    )
}

/// A number where it is one, as Qdrant has ids.
fn point_id(id: &str) -> Value {
    match id.parse::<u64>() {
        Ok(number) if number.to_string() == id => number.into(),
        _ => id.into(),
    }
}

fn read_filter(filter: &str) -> Result<Value> {
    let text = match filter.strip_prefix('@') {
        Some(file) => {
            let file = PathBuf::from(file);
            std::fs::read_to_string(&file).map_err(|error| {
                Fault::failed(format!("cannot read {}: {error}", file.display()))
            })?
        }
        None => filter.to_owned(),
    };
    match serde_json::from_str(&text) {
        // An empty one would select everything: that is what --all is for.
        Ok(Value::Object(fields)) if !fields.is_empty() => Ok(Value::Object(fields)),
        Ok(_) => Err(Fault::usage("--filter is not a filter of Qdrant's")
            .advise("as in {\"must\":[{\"key\":\"city\",\"match\":{\"value\":\"Oslo\"}}]}; everything: --all")
            .into()),
        Err(error) => Err(Fault::usage(format!("--filter is not JSON: {error}")).into()),
    }
}

fn confirm(what: &str, collection: &str, tenant: &str, out: Printer) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Fault::usage(format!("erasing {what} of {collection} cannot be undone"))
            .advise("add --yes to do it without being asked")
            .into());
    }
    let mut err = std::io::stderr().lock();
    let warning = out.ink(Ink::Red, "It cannot be undone.");
    write!(
        err,
        "Erase {what} of {collection}, of tenant {tenant}? {warning}\nType the collection's name to go on: "
    )?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    if answer.trim_end_matches(['\r', '\n']) == collection {
        return Ok(());
    }
    Err(Fault::failed("not erased: that was not its name").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_where_they_are_and_filters_select_something() {
        assert_eq!(point_id("7"), json!(7));
        for text in ["07", "-7", "+7", "5c56c793-69f3-4fbf-87e6-c4bf54c28c26", "1e3"] {
            assert_eq!(point_id(text), json!(text));
        }
        assert!(read_filter(r#"{"must":[]}"#).is_ok());
        for wrong in ["{}", "[]", "7", "{", "@nowhere"] {
            assert!(read_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn vectors_are_told_in_a_line() {
        for (vectors, told) in [
            (json!({"size": 3, "distance": "Cosine"}), "3 × Cosine"),
            (
                json!({"a": {"size": 3, "distance": "Dot"}, "b": {"size": 4, "distance": "Cosine",
                    "multivector_config": {"comparator": "max_sim"}}}),
                "a: 3 × Dot; b: 4 × Cosine, several a point",
            ),
            (json!({}), ""),
            (json!(null), ""),
        ] {
            assert_eq!(spaces(&vectors), told);
        }
        assert_eq!(sparse((&"s".into(), &json!({"modifier": "idf"}))), "s: idf");
        assert_eq!(sparse((&"s".into(), &json!({}))), "s");
    }
}
