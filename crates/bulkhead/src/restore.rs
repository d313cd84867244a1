//! `bulkhead restore`: puts a backup in the place of lost data. Offline.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::{
    cli::Place,
    config::{self, Loaded},
    print::{Printer, progress},
    serve::explain,
};

/// What to restore.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The server is stopped, and the data directory is empty or not there: move what is left of it away.
The keystore and the root key are those of the deployment; they are in no backup of the data.

A backup knows nothing of what came after it. So every credential of every tenant is void after a
restore (mint fresh ones), and tenants that were erased since are erased again. Services and
operators that were removed since are there again: look through `access service list`.")]
pub(crate) struct Args {
    /// The directory that `bulkhead backup` wrote
    backup: PathBuf,
}

pub(crate) async fn run(args: Args, place: &Place, out: Printer) -> Result<()> {
    let Loaded { path, settings } = config::load(place)?;
    let work = server::restore(&settings, &args.backup);
    let restored = progress("restoring", work).await.map_err(|error| explain(error, &path))?;
    let erased: Vec<_> = restored.erased.iter().map(ToString::to_string).collect();
    let done = json!({ "tenants": restored.tenants, "erased_again": erased });
    let again = match erased.len() {
        0 => String::new(),
        _ => format!("; erased again: {}", erased.join(" ")),
    };
    out.said(
        &done,
        format!(
            "restored {} tenants into {}; their credentials of before are void{again}",
            restored.tenants,
            settings.storage.data.dir.display()
        ),
    )
}
