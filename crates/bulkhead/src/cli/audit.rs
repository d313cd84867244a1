//! `bulkhead audit …`

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use records::{Broken, Export, Verdict, Verified};
use serde_json::{Value, json};

use super::{Place, listing::Part};
use crate::{
    admin::{Admin, segment},
    fault::Fault,
    print::{self, Ink, Printer, field, progress, time},
};

/// Entries of one page of an export.
const PAGE: usize = 1_000;

/// The audit log: the deployment's own, or a tenant's.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List entries, oldest first
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        part: Part,
    },
    /// Fetch the log, compute its chain here, and check it against the signed head
    #[command(after_help = VERIFY)]
    Verify {
        #[command(flatten)]
        whose: Whose,
        /// The deployment's own log and those of every tenant
        #[arg(long, conflicts_with_all = ["tenant", "export"], requires = "reason")]
        all: bool,
        /// The verifier key that you noted down earlier, or a file that holds it
        #[arg(long, value_name = "KEY|FILE")]
        key: Option<String>,
        /// Check a saved export (`audit export`) and ask no server; needs --key
        #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "tenant")]
        export: Option<PathBuf>,
    },
    /// Save a log with its signed head, for somebody else to verify
    Export {
        #[command(flatten)]
        whose: Whose,
    },
    /// Show the signed head (a C2SP signed note) and the keys that verify it
    Head {
        #[command(flatten)]
        whose: Whose,
    },
}

const VERIFY: &str = "\
Every entry is committed to in a chain of hashes whose head the server signs. This fetches the
entries, computes the chain on this machine and checks the signature: an entry that was changed,
moved or taken out is found, even if the server lies about the result.

The server also says which key verifies its heads; a server that was taken over could name
another. Note the key down once (`audit head`) and give it with --key.";

/// Whose log.
#[derive(Debug, clap::Args)]
pub(crate) struct Whose {
    /// A tenant's, by id or alias [default: the deployment's own]
    #[arg(long, short, value_name = "TENANT", requires = "environment", requires = "reason")]
    tenant: Option<String>,
    /// In which environment
    #[arg(long, short, value_name = "NAME", requires = "tenant")]
    environment: Option<String>,
    /// Why you look; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// One log, by its path.
struct Log {
    name: String,
    path: String,
    query: Vec<(&'static str, String)>,
}

impl Whose {
    fn log(&self) -> Log {
        match (&self.tenant, &self.environment) {
            (Some(tenant), Some(environment)) => {
                Log::of(tenant, environment, self.reason.as_deref().unwrap_or_default())
            }
            _ => Log { name: "the deployment".into(), path: "/audit".into(), query: Vec::new() },
        }
    }
}

impl Log {
    fn of(tenant: &str, environment: &str, reason: &str) -> Self {
        let path =
            format!("/tenants/{}/environments/{}/audit", segment(tenant), segment(environment));
        let name = format!("{tenant} in {environment}");
        Self { name, path, query: vec![("reason", reason.to_owned())] }
    }
}

pub(crate) async fn run(command: Command, place: &Place, out: Printer) -> Result<()> {
    match command {
        Command::List { whose, part } => list(&whose.log(), &part, &place.admin()?, out).await,
        Command::Verify { whose, all, key, export } => {
            let pinned = key.as_deref().map(pinned).transpose()?;
            if let Some(file) = export {
                return saved(&file, pinned.as_deref().unwrap_or_default(), out);
            }
            let admin = place.admin()?;
            let logs = if all { every(&whose, &admin).await? } else { vec![whose.log()] };
            verify(&logs, pinned.as_deref(), &admin, out).await
        }
        Command::Export { whose } => {
            let (log, admin) = (whose.log(), place.admin()?);
            match fetch(&log, &admin).await? {
                Some(export) => out.value(&serde_json::to_value(export)?),
                // Whatever else it has to say about this log.
                None => admin.get(&format!("{}/head", log.path), &log.query).await.and(Err(none())),
            }
        }
        Command::Head { whose } => {
            let log = whose.log();
            let head = place.admin()?.get(&format!("{}/head", log.path), &log.query).await?;
            if out.is_json() {
                return out.value(&head);
            }
            out.line(field(&head, "text").trim_end())?;
            keys(&head).iter().try_for_each(|key| out.line(format!("\nverifier key: {key}")))
        }
    }
}

async fn list(log: &Log, part: &Part, admin: &Admin, out: Printer) -> Result<()> {
    let listed = part.read(admin, &log.path, &log.query).await?;
    if out.is_json() {
        return out.value(&listed.json());
    }
    let rows: Vec<Vec<String>> = listed
        .items
        .iter()
        .map(|entry| {
            let code = field(entry, "code");
            vec![
                field(entry, "seq"),
                time(entry.get("at")),
                field(entry, "actor"),
                field(entry, "action"),
                field(entry, "target"),
                if code.is_empty() { field(entry, "decision") } else { code },
                field(entry, "reason"),
                field(entry, "detail"),
            ]
        })
        .collect();
    out.table(&["no", "at", "actor", "action", "target", "outcome", "reason", "detail"], &rows)?;
    listed.say_if_more();
    Ok(())
}

/// A verifier key, or the file that holds it.
fn pinned(key: &str) -> Result<String> {
    if std::path::Path::new(key).is_file() {
        let text = std::fs::read_to_string(key).with_context(|| format!("reading {key}"))?;
        return Ok(text.trim().to_owned());
    }
    Ok(key.trim().to_owned())
}

/// The deployment's own log, and those of all tenants that are not erased.
async fn every(whose: &Whose, admin: &Admin) -> Result<Vec<Log>> {
    let reason = whose.reason.clone().unwrap_or_default();
    let mut logs = vec![whose.log()];
    for tenant in Part::whole().read(admin, "/tenants", &[]).await?.items {
        if field(&tenant, "status") == "erased" {
            continue;
        }
        let id = field(&tenant, "id");
        if let Some(Value::Array(all)) = tenant.get("environments") {
            logs.extend(all.iter().map(|name| Log::of(&id, &print::cell(name), &reason)));
        }
    }
    Ok(logs)
}

fn keys(head: &Value) -> Vec<String> {
    match head.get("keys") {
        Some(Value::Array(keys)) => keys.iter().map(print::cell).collect(),
        _ => Vec::new(),
    }
}

/// Fetches a whole log, page by page, as one export. It may grow meanwhile: the last page's
/// note is of the whole. Nothing, if the server gives no exports.
async fn fetch(log: &Log, admin: &Admin) -> Result<Option<Export>> {
    let path = format!("{}/export", log.path);
    let mut whole: Option<Export> = None;
    loop {
        let after = whole.as_ref().and_then(|whole| whole.entries.last()).map_or(0, |e| e.seq);
        let mut query = log.query.clone();
        query.extend([("after", after.to_string()), ("limit", PAGE.to_string())]);
        let Some(page) = admin.find(&path, &query).await? else { return Ok(None) };
        let page: Export =
            serde_json::from_value(page).context("the server's answer is no export")?;
        let last = page.entries.len() < PAGE;
        match &mut whole {
            None => whole = Some(page),
            Some(whole) => {
                whole.entries.extend(page.entries);
                whole.note = page.note;
            }
        }
        if last {
            return Ok(whole);
        }
    }
}

async fn verify(logs: &[Log], pinned: Option<&str>, admin: &Admin, out: Printer) -> Result<()> {
    let (mut told, mut broken) = (Vec::new(), 0);
    for log in logs {
        let what = format!("fetching the log of {}", log.name);
        let head = admin.get(&format!("{}/head", log.path), &log.query).await?;
        let export = progress(&what, fetch(log, admin)).await?.ok_or_else(none)?;
        let known = pinned.map_or_else(|| keys(&head), |key| vec![key.to_owned()]);
        let verdict = whole(judged(&export, &known)?);
        broken += usize::from(!verdict.is_intact());
        if out.is_json() {
            told.push(json!({ "log": log.name, "origin": export.origin, "result": verdict }));
        } else {
            say(&log.name, &verdict, out)?;
        }
    }
    if out.is_json() {
        out.value(&json!({ "items": told, "intact": broken == 0 }))?;
    } else if pinned.is_none() {
        print::note(
            "checked against the key that the server names; note it down (`audit head`) and give it with --key",
        );
    }
    if broken == 0 { Ok(()) } else { Err(tampered(broken)) }
}

fn none() -> anyhow::Error {
    Fault::failed("this server gives no exports of its audit log, so nothing can be verified here")
        .advise("`bulkhead doctor` lets the server itself verify it; use a server of this version")
        .into()
}

fn tampered(broken: usize) -> anyhow::Error {
    Fault::failed(format!("{broken} audit logs are not as they were written"))
        .advise("keep the files as they are, and compare with a backup: `audit verify --export` checks a saved log")
        .into()
}

/// What the chain and the note say, by the first of the keys that signed it.
fn judged(export: &Export, keys: &[String]) -> Result<Verdict> {
    let bytes = serde_json::to_vec(export)?;
    let mut why = None;
    for key in keys {
        match records::verify_export(&bytes, key) {
            Ok(verdict) => return Ok(verdict),
            Err(error) => why = Some(error),
        }
    }
    let why = why.map_or("the server names no verifier key".to_owned(), |why| why.to_string());
    Err(Fault::failed(format!("the log of {} cannot be verified: {why}", export.origin))
        .advise("is --key of this very log? Each log has a key name of its own: see `audit head`")
        .into())
}

/// A server that hands out less than the head that it signed keeps something back.
fn whole(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Intact(Verified { through, complete: false, .. }) => Verdict::Broken(Broken {
            seq: through + 1,
            why: "the signed head counts it, and the server did not hand it out",
        }),
        verdict => verdict,
    }
}

fn say(name: &str, verdict: &Verdict, out: Printer) -> Result<()> {
    match verdict {
        Verdict::Intact(Verified { entries, erased, head, complete, .. }) => {
            let erased = if *erased == 0 { String::new() } else { format!(", {erased} erased") };
            let part = if *complete { "" } else { ", a part of the log" };
            let good = out.ink(Ink::Green, "intact");
            out.line(format!("{name}: {good}, {entries} entries{erased}{part}, head {head}"))
        }
        Verdict::Broken(Broken { seq, why }) => {
            let bad = out.ink(Ink::Red, "BROKEN");
            out.line(format!("{name}: {bad} at entry {seq}: {why}"))
        }
    }
}

/// A saved export, against a key.
fn saved(file: &std::path::Path, key: &str, out: Printer) -> Result<()> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file)
        .map_err(|error| Fault::failed(format!("cannot read {name}: {error}")))?;
    let verdict = records::verify_export(&bytes, key)
        .map_err(|error| Fault::failed(format!("{name}: {error}")))?;
    if out.is_json() {
        out.value(&json!({ "items": [{ "log": name, "result": verdict }], "intact": verdict.is_intact() }))?;
    } else {
        say(&name, &verdict, out)?;
    }
    if verdict.is_intact() { Ok(()) } else { Err(tampered(1)) }
}
