//! `bulkhead doctor`: looks for what is wrong with a deployment, running or not.

mod files;
mod indexes;
mod isolation;
mod offline;
mod online;
mod probed;

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use server::Settings;

pub(crate) use files::references;

use crate::{
    cli::Place,
    config::{self, Loaded},
    fault::Fault,
    print::{Ink, Printer},
};

/// Where to look.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --offline it asks a running deployment by its admin API: readiness, security events,
lost records, the audit log, which providers' secrets are shared, the indexes of collections, how
it stood when it was last probed from outside. If
the configuration file is on this machine, it is looked at too: what is isolated at each
provider, and what is not.

With --offline, and the server stopped: file modes, root key, schema, integrity of every file,
whether the keys open, shared secrets, disk space, whether the keystore stands apart from the data.

Exits with 1 if anything is wrong; a warning is not wrong.")]
pub(crate) struct Args {
    /// Look into the files of a stopped deployment
    #[arg(long)]
    offline: bool,
}

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Wrong,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Warning => "warn",
            Self::Wrong => "WRONG",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    what: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn good(what: &'static str, detail: impl fmt::Display) -> Self {
        Self { what, state: State::Good, detail: detail.to_string(), advice: None }
    }

    /// Worth a look, and what to do.
    pub(crate) fn warning(
        what: &'static str,
        detail: impl fmt::Display,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self { what, state: State::Warning, detail: detail.to_string(), advice }
    }

    /// Wrong, and what to do.
    pub(crate) fn wrong(
        what: &'static str,
        detail: impl fmt::Display,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self { what, state: State::Wrong, detail: detail.to_string(), advice }
    }

    /// Wrong, as a fault says it.
    pub(crate) fn fault(what: &'static str, fault: &Fault) -> Self {
        let advice = fault.advice().map(str::to_owned);
        Self { what, state: State::Wrong, detail: fault.to_string(), advice }
    }

    /// How good it is.
    #[cfg(test)]
    pub(crate) const fn state(&self) -> State {
        self.state
    }
}

pub(crate) async fn run(args: Args, place: &Place, out: Printer) -> Result<()> {
    let findings = if args.offline {
        let Loaded { path, settings } = config::load(place)?;
        let mut findings = vec![Finding::good("configuration", path.display())];
        findings.extend(references(&settings));
        findings.extend(files::modes(place, &settings));
        findings.extend(indexes::directory(&settings));
        findings.extend(offline::look(&settings, &path).await);
        findings
    } else {
        let mut findings = Vec::new();
        let mut known = None;
        if place.config_file().is_file() {
            let Loaded { path, settings } = config::load(place)?;
            findings.push(Finding::good("configuration", path.display()));
            findings.extend(references(&settings));
            findings.extend(files::modes(place, &settings));
            findings.extend(indexes::directory(&settings));
            findings.extend(online::providers(&settings).await);
            known = Some(settings);
        }
        match ask(place, known.as_ref()).await {
            Ok(more) => findings.extend(more),
            Err(error) => {
                // What was found so far may be why.
                list(&findings, out)?;
                return Err(error);
            }
        }
        findings
    };
    report("", &findings, out)
}

async fn ask(place: &Place, settings: Option<&Settings>) -> Result<Vec<Finding>> {
    online::look(&place.admin()?, settings).await
}

/// Prints what was found; an error if anything is wrong.
pub(crate) fn report(what: &str, findings: &[Finding], out: Printer) -> Result<()> {
    list(findings, out)?;
    match (count(findings, State::Wrong), count(findings, State::Warning)) {
        (0, _) if out.is_json() => Ok(()),
        (0, 0) => out.line(format!("{what}nothing is wrong")),
        (0, n) => out.line(format!("{what}nothing is wrong; {n} to look at")),
        (n, _) => Err(Fault::failed(format!("{what}{n} of {} are wrong", findings.len())).into()),
    }
}

fn count(findings: &[Finding], state: State) -> usize {
    findings.iter().filter(|finding| finding.state == state).count()
}

fn list(findings: &[Finding], out: Printer) -> Result<()> {
    let (wrong, warnings) = (count(findings, State::Wrong), count(findings, State::Warning));
    if out.is_json() {
        return out.value(&json!({ "findings": findings, "wrong": wrong, "warnings": warnings }));
    }
    for Finding { what, state, detail, advice } in findings {
        let ink = match state {
            State::Good => Ink::Green,
            State::Warning => Ink::Yellow,
            State::Wrong => Ink::Red,
        };
        let mark = format!("{state:<5}");
        out.line(format!("{}  {what:<16}  {detail}", out.ink(ink, &mark)))?;
        for line in advice.iter().flat_map(|advice| advice.lines()) {
            out.line(format!("       → {line}"))?;
        }
    }
    Ok(())
}
