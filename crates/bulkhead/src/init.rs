//! `bulkhead init`: makes a deployment.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use ids::OperatorName;
use serde_json::json;
use server::{Deployment, RootKey, Settings};

use crate::{
    cli::Place,
    config,
    fault::Fault,
    print::{Ink, Printer, progress},
    secret::Text,
    serve::explain,
};

/// What to make.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes, and overwrites nothing:
  bulkhead.toml     the configuration, every field explained
  keys/root.key     the root key (mode 0600); without it nothing can ever be opened: keep a copy safe
  keys/keystore.db  wrapped keys and the ledger of erasures; back it up apart from the data
  data/             what is kept, sealed
  operator.token    the first operator's credential (mode 0600), which other commands find")]
pub(crate) struct Args {
    /// The directory, which is made if it is not there [default: --dir, or .]
    directory: Option<PathBuf>,
    /// The first operator's name
    #[arg(long, value_name = "NAME", default_value = "admin")]
    operator: String,
}

pub(crate) async fn run(args: Args, place: &Place, out: Printer) -> Result<()> {
    let directory = args.directory.unwrap_or_else(|| place.directory());
    let operator = OperatorName::parse(&args.operator)
        .map_err(|error| Fault::usage(format!("--operator: {error}")))?;
    let file = directory.join("bulkhead.toml");
    let settings = config::parse(&file, config::TEMPLATE)?;
    let token = directory.join("operator.token");
    vacant(&file, &token, &settings)?;
    private_dir(&directory)?;
    let secret = progress("making keys", create(&settings, &operator, &file)).await?;
    write_new(&token, format!("{}\n", secret.expose()).as_bytes(), 0o600)?;
    write_new(&file, config::TEMPLATE.as_bytes(), 0o644)?;
    if out.is_json() {
        return out.value(&json!({
            "config": file, "operator": operator, "operator_token_file": token,
            "keys": settings.storage.keys, "data": settings.storage.data.dir,
        }));
    }
    said(&file, &token, &settings, out)
}

/// Makes keys, data files and the first operator, whose secret this returns.
pub(crate) async fn create(
    settings: &Settings,
    operator: &OperatorName,
    file: &Path,
) -> Result<Text> {
    private_dir(&settings.storage.keys)?;
    private_dir(&settings.storage.data.dir)?;
    let secret =
        Deployment::create(settings, operator).await.map_err(|error| explain(error, file))?;
    Ok(Text::new(secret.expose().to_owned()))
}

/// Refuses to overwrite.
fn vacant(file: &Path, token: &Path, settings: &Settings) -> Result<()> {
    let mut there =
        vec![file.to_owned(), token.to_owned(), settings.storage.keys.join("keystore.db")];
    if let RootKey::File(path) = &settings.storage.root_key {
        there.push(path.clone());
    }
    there.push(settings.storage.data.dir.join("core.db"));
    let found: Vec<String> =
        there.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Fault::failed(format!("there already is {}", found.join(", ")))
        .advise("nothing was changed; name another directory: bulkhead init DIR")
        .into())
}

fn said(file: &Path, token: &Path, settings: &Settings, out: Printer) -> Result<()> {
    let key = match &settings.storage.root_key {
        RootKey::File(path) => path.display().to_string(),
        RootKey::Environment(name) => format!("${name}"),
    };
    let bare = |path: &Path| path.display().to_string();
    out.fields(&[
        ("configuration", bare(file)),
        ("root key", format!("{key}   keep a copy safe: without it nothing can be opened")),
        ("keystore", format!("{}   back it up apart from the data", bare(&settings.storage.keys))),
        ("data", bare(&settings.storage.data.dir)),
        ("operator", bare(token)),
    ])?;
    let directory = file.parent().unwrap_or(Path::new("."));
    let cd = if matches!(directory.to_str(), Some("." | "")) {
        String::new()
    } else {
        format!("cd {} && ", directory.display())
    };
    out.line(format!("\n{}", out.ink(Ink::Bold, "Next")))?;
    out.line(format!("  name a provider and a model in {}", bare(file)))?;
    out.line(format!("  {cd}bulkhead serve"))
}

/// A directory that only its user may look into; one that is there stays as it is.
fn private_dir(dir: &Path) -> Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|error| Fault::failed(format!("cannot make {}: {error}", dir.display())).into())
}

/// Writes a file that is not there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let name = || format!("writing {}", path.display());
    let mut file = options.open(path).with_context(name)?;
    file.write_all(bytes).with_context(name)?;
    file.sync_all().with_context(name)
}
