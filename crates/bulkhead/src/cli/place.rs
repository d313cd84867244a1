//! Which deployment a command is about, and how it is reached.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use reqwest::Url;

use crate::{admin::Admin, config, fault::Fault, secret::Text};

/// The variable that holds an operator's credential.
const OPERATOR: &str = "BULKHEAD_OPERATOR_TOKEN";
/// Where the control plane listens if nothing says otherwise.
const CONTROL: &str = "http://127.0.0.1:8643";

/// Which deployment.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Which deployment")]
pub(crate) struct Place {
    /// Its directory, as `init` made it [default: the directory of --config, or .]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Its configuration file [default: bulkhead.toml in --dir]
    #[arg(long, global = true, value_name = "FILE", env = "BULKHEAD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Its control plane [default: as the configuration file says, or http://127.0.0.1:8643]
    #[arg(long, global = true, value_name = "URL", env = "BULKHEAD_ADMIN_URL")]
    url: Option<String>,
    /// File with the operator credential [default: $BULKHEAD_OPERATOR_TOKEN, or operator.token
    /// in the deployment's directory]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust for --url, instead of the system's
    #[arg(long, global = true, value_name = "FILE", env = "BULKHEAD_ADMIN_CA")]
    ca: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Place {
    /// The deployment's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        if let Some(dir) = &self.dir {
            return dir.clone();
        }
        match self.config.as_deref().and_then(Path::parent) {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// The configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        match (&self.dir, &self.config) {
            // What is named on the command line goes before what the environment says.
            (Some(dir), _) => dir.join("bulkhead.toml"),
            (None, Some(file)) => file.clone(),
            (None, None) => PathBuf::from("bulkhead.toml"),
        }
    }

    /// The control plane's address.
    pub(crate) fn url(&self) -> Result<Url> {
        if let Some(url) = &self.url {
            return parse(url).with_context(|| "--url or BULKHEAD_ADMIN_URL".to_owned());
        }
        parse(&config::control_url(&self.config_file()).unwrap_or_else(|| CONTROL.to_owned()))
    }

    /// The operator's credential.
    fn operator(&self) -> Result<Text> {
        if let Some(file) = &self.token_file {
            return Text::from_file(file);
        }
        if let Some(token) = Text::from_env(OPERATOR) {
            return Ok(token);
        }
        let file = self.directory().join("operator.token");
        if file.exists() {
            return Text::from_file(&file);
        }
        Err(Fault::failed(format!("no operator credential: there is no {}", file.display()))
            .advise(
                "name the deployment's directory with --dir, the file with --token-file, or set BULKHEAD_OPERATOR_TOKEN",
            )
            .into())
    }

    /// The admin API.
    pub(crate) fn admin(&self) -> Result<Admin> {
        Admin::new(self.url()?, self.operator()?, self.ca.as_deref())
    }
}

fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none()
    });
    parsed.ok_or_else(|| {
        Fault::usage(format!("{url:?} is not an http or https address"))
            .advise("write it as http://127.0.0.1:8643")
            .into()
    })
}
