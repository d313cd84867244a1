//! `bulkhead serve`: opens a deployment and serves it until told to end.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use server::{Deployment, Error, Form, Handle, Server, Settings};

use crate::{
    cli::Place,
    config::{self, Loaded},
    fault::Fault,
    print::{self, Printer},
    selfprobe::SelfProber,
};

/// How to serve.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints the addresses on a terminal, and one line of JSON an event on standard error otherwise
(on a terminal, text; `log.form` in bulkhead.toml decides).

SIGTERM or Ctrl-C: /health/ready says no, the listeners close, requests under way finish (up to
limits.drain_seconds), files are closed. A second one does not wait for requests.

SIGHUP: TLS certificates and keys of both planes and the policy file are read again while serving.
Each is checked first; a bad one changes nothing, and the log says why.")]
pub(crate) struct Args {
    /// Check everything, open all files, and end without serving
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(args: Args, place: &Place) -> Result<()> {
    let Loaded { path, mut settings } = config::load(place)?;
    if io::stderr().is_terminal() && !config::says(&path, "log", "form") {
        settings.log.form = Form::Text;
    }
    let logs = server::logs::dispatch(&settings.log, io::stderr).map_err(|e| explain(e, &path))?;
    tracing::dispatcher::set_global_default(logs).context("setting up the log")?;
    writable(&settings)?;
    let schemes = schemes(&settings);
    let prober = if args.check { None } else { prober(&mut settings).await };
    let deployment = Deployment::open(settings).await.map_err(|error| explain(error, &path))?;
    let deployment = probed(deployment, prober);
    if args.check {
        return deployment.close().await.map_err(|error| explain(error, &path).into());
    }
    let running = Running::over(deployment, schemes, &path).await?;
    // Where somebody looks; the log says it for everybody else.
    if io::stdout().is_terminal() {
        let out = Printer::new(false);
        out.line(format!("data plane     {}/v1   (OPENAI_BASE_URL)", running.data_url()))?;
        out.line(format!("control plane  {}", running.control_url()))?;
        out.line("Ctrl-C ends it")?;
    }
    let Running { handle, path, .. } = running;
    handle.until_signal_reloading().await.map_err(|error| explain(error, &path).into())
}

/// A deployment that is served by this process.
pub(crate) struct Running {
    handle: Handle,
    path: std::path::PathBuf,
    schemes: [&'static str; 2],
}

impl Running {
    /// Opens and serves; `path` is the file that the settings come from, for errors.
    pub(crate) async fn start(mut settings: Settings, path: &Path) -> Result<Self> {
        let schemes = schemes(&settings);
        let prober = prober(&mut settings).await;
        let deployment = Deployment::open(settings).await.map_err(|e| explain(e, path))?;
        Self::over(probed(deployment, prober), schemes, path).await
    }

    async fn over(deployment: Deployment, schemes: [&'static str; 2], path: &Path) -> Result<Self> {
        let handle = Server::start(deployment).await.map_err(|error| explain(error, path))?;
        Ok(Self { handle, path: path.to_owned(), schemes })
    }

    /// Where the data plane is.
    pub(crate) fn data_url(&self) -> String {
        format!("{}://{}", self.schemes[0], self.handle.data_address())
    }

    /// Where the control plane is.
    pub(crate) fn control_url(&self) -> String {
        format!("{}://{}", self.schemes[1], self.handle.control_address())
    }

    /// Serves until told to end, then ends in order.
    pub(crate) async fn until_signal(self) -> Result<()> {
        let Self { handle, path, .. } = self;
        handle.until_signal().await.map_err(|error| explain(error, &path).into())
    }

    /// Ends in order.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { handle, path, .. } = self;
        handle.shutdown().await.map_err(|error| explain(error, &path).into())
    }
}

/// Who probes the deployment. That it cannot be probed keeps nobody from being served.
async fn prober(settings: &mut Settings) -> Option<SelfProber> {
    match SelfProber::prepare(settings).await {
        Ok(prober) => Some(prober),
        Err(error) => {
            let why = format!("{error:#}");
            tracing::warn!(why, "the deployment cannot probe itself");
            None
        }
    }
}

fn probed(deployment: Deployment, prober: Option<SelfProber>) -> Deployment {
    match prober {
        Some(prober) => deployment.probed_by(Arc::new(prober)),
        None => deployment,
    }
}

/// How the data plane and the control plane are spoken to.
fn schemes(settings: &Settings) -> [&'static str; 2] {
    [&settings.data, &settings.control]
        .map(|listener| if listener.tls.is_some() { "https" } else { "http" })
}

/// Refuses to start where nothing could be written: no audit entry, no revocation.
fn writable(settings: &Settings) -> Result<()> {
    for dir in [&settings.storage.data.dir, &settings.storage.keys] {
        if !dir.is_dir() {
            continue;
        }
        tempfile::Builder::new().prefix(".writable").tempfile_in(dir).map_err(|error| {
            Fault::failed(format!("store.read_only: cannot write to {}: {error}", dir.display()))
                .advise("check its mount, its owner and its space: nothing could be recorded there")
        })?;
    }
    Ok(())
}

/// Why a deployment could not be opened or served, with what to do about it.
pub(crate) fn explain(error: Error, path: &Path) -> Fault {
    let file = path.display();
    let advice = match &error {
        Error::Listen { address, why } => match why.kind() {
            io::ErrorKind::AddrInUse => Some(format!(
                "another process listens there (`ss -ltnp 'sport = :{}'` names it);\nstop it, or set another `address` in {file}",
                address.port()
            )),
            io::ErrorKind::PermissionDenied => {
                Some(format!("ports below 1024 need a privilege; set another `address` in {file}"))
            }
            io::ErrorKind::AddrNotAvailable => {
                Some(format!("this machine has no such address; correct it in {file}"))
            }
            _ => None,
        },
        Error::Settings { .. } | Error::Model(_) | Error::Cache(_) => {
            Some(format!("correct it in {file}; `bulkhead config check` looks for more"))
        }
        Error::Tls { .. } => Some(format!("correct the path in {file}, or the PEM file")),
        Error::Store(error) => of_store(error),
        Error::Vault(error) => of_vault(error),
        _ => None,
    };
    let fault = Fault::failed(format!("{}: {}", error.code(), chain(&error)));
    match advice {
        Some(advice) => fault.advise(advice),
        None => fault,
    }
}

/// An error with its causes; one that a message repeats already is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = print::tame(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = print::tame(&error.to_string());
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    text
}

fn of_store(error: &store::Error) -> Option<String> {
    use store::Error as Store;
    let advice = match error {
        Store::Newer { .. } => {
            "these files were written by a newer bulkhead: use that one.\nTo go back, restore a backup from before into an empty directory"
        }
        Store::InUse { .. } => "a bulkhead is running there: stop it first, or speak to it",
        Store::Corrupt { .. } => {
            "stop, move the data directory away, and `bulkhead restore` a backup"
        }
        Store::HalfRestored { .. } => "empty the data directory and run `bulkhead restore` again",
        Store::NotEmpty { .. } => "name a directory that is empty or not there",
        Store::ReadOnly => "check the mount and the owner of the data directory",
        Store::BadBackup(_) => "use another backup; this one was changed or not finished",
        _ => return None,
    };
    Some(advice.to_owned())
}

fn of_vault(error: &vault::Error) -> Option<String> {
    use vault::Error as Vault;
    let advice = match error {
        Vault::Missing(_) => {
            "a new deployment: `bulkhead init`. Otherwise put the keystore back from its own backup"
        }
        Vault::Root(why) if why.contains("cannot be opened") || why.contains("is not set") => {
            "the root key is where `storage.root_key` says; put the file back from where you keep it safe"
        }
        Vault::NoRoot { .. } => {
            "this is not the root key of this keystore, or an older one is missing"
        }
        Vault::Store(error) => return of_store(error),
        _ => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_to_fail_says_what_to_do() {
        let listen = |kind: io::ErrorKind| Error::Listen {
            address: ([127, 0, 0, 1], 8642).into(),
            why: kind.into(),
        };
        for (error, told) in [
            (listen(io::ErrorKind::AddrInUse), "sport = :8642"),
            (listen(io::ErrorKind::PermissionDenied), "below 1024"),
            (store::Error::ReadOnly.into(), "check the mount"),
            (vault::Error::Missing("/k".into()).into(), "bulkhead init"),
            (vault::Error::Root("r.key cannot be opened".into()).into(), "storage.root_key"),
        ] {
            let error = anyhow::Error::new(explain(error, Path::new("b.toml")));
            let text = crate::fault::describe(&error);
            assert!(text.contains(told) && text.contains("\n  → "), "{text}");
        }
    }
}
