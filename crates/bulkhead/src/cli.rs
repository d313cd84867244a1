//! The command line: what there is, and where each command goes.

mod access;
mod audit;
pub(crate) mod collection;
mod credential;
mod keys;
pub(crate) mod listing;
mod model;
mod operate;
mod place;
mod policy;
mod review;
mod span;
mod tenant;
mod tool;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use place::Place;

use crate::{config, demo, doctor, init, print::Printer, probe, restore, serve};

const ABOUT: &str = "Keeps one customer's AI agent from bleeding into another's";

const EXAMPLES: &str = "\
Examples:
  bulkhead demo                                     see it work, in a temporary directory
  bulkhead init && bulkhead serve                   a deployment in this directory
  bulkhead tenant create acme --environment live    a customer
  bulkhead credential set openai --tenant acme --environment live --from env:OPENAI_API_KEY
  bulkhead probe --demo                             leaks found in a stack that has them all
  export OPENAI_API_KEY=$(bulkhead access token --tenant acme --environment live \\
      --workflow support) OPENAI_BASE_URL=http://127.0.0.1:8642/v1

Exit status: 0 done · 1 refused or failed · 2 wrong command line · 3 the server cannot be reached
             4 done, but for what was left out and is listed (collection adopt)
             `probe` has its own: 0 clean · 1 a leak · 2 not proven, or too little covered
             3 it could not probe";

/// Bulkhead.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, about = ABOUT, after_help = EXAMPLES)]
#[command(propagate_version = false, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what Bulkhead does with two tenants, real HTTP and a provider, in under 5 seconds
    Demo(demo::Args),
    /// Make a deployment: bulkhead.toml, root key, keystore, data, first operator credential
    Init(init::Args),
    /// Run the deployment until SIGTERM or Ctrl-C, then drain and end
    Serve(serve::Args),
    /// Check bulkhead.toml, or show what is in force
    #[command(subcommand)]
    Config(config::Command),
    /// Look for what is wrong with a deployment, running or not
    Doctor(doctor::Args),
    /// Probe what you run for leaks between two tenants: black box, with proofs
    Probe(Box<probe::Args>),
    /// Tenants: create, list, show, apply, suspend, resume, revoke, erase
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Who may do what: tenant tokens, run grants, API keys, services, operators; revocation
    #[command(subcommand)]
    Access(access::Command),
    /// Tenants' own credentials at model providers
    #[command(subcommand)]
    Credential(credential::Command),
    /// The audit log: who did what, and proof that nothing was taken out of it
    #[command(subcommand)]
    Audit(audit::Command),
    /// Runs: what one run of a workflow did, hop by hop
    #[command(subcommand)]
    Run(operate::RunCommand),
    /// Copy the data while it is being served; the keystore is not in the copy
    Backup(operate::BackupArgs),
    /// Put a backup in the place of lost data (offline)
    Restore(restore::Args),
    /// Rotate the root key, a tenant's data key, or the keys that sign tokens and logs
    #[command(subcommand)]
    Keys(keys::Command),
    /// Cedar policies: check a file, reload it into a running server, show what is in force
    #[command(subcommand)]
    Policy(policy::Command),
    /// Models: what callers may name, where it goes, what is isolated there, and whether it answers
    #[command(subcommand)]
    Model(model::Command),
    /// Collections of points: what there is, whether indexes are right, erasing, adopting Qdrant's
    #[command(subcommand)]
    Collection(collection::Command),
    /// Reviews: what people have to decide; approve, deny, and what is in quarantine
    #[command(subcommand)]
    Review(review::Command),
    /// Tools: what agents may call, pinned definitions, how far writes go, contracts tried and drafted
    #[command(subcommand)]
    Tool(tool::Command),
    /// Print a completion script for your shell
    #[command(after_help = "Example:  bulkhead completions bash > /etc/bash_completion.d/bulkhead")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Does what was asked.
    pub(crate) async fn run(self) -> Result<()> {
        let place = self.place;
        let out = Printer::new(place.json);
        match self.command {
            Command::Demo(args) => demo::run(args, out).await,
            Command::Init(args) => init::run(args, &place, out).await,
            Command::Serve(args) => serve::run(args, &place).await,
            Command::Config(command) => config::run(command, &place, out),
            Command::Doctor(args) => doctor::run(args, &place, out).await,
            Command::Probe(args) => probe::run(*args, &place, out).await,
            Command::Tenant(command) => tenant::run(command, &place.admin()?, out).await,
            Command::Access(command) => access::run(command, &place.admin()?, out).await,
            Command::Credential(command) => credential::run(command, &place, out).await,
            Command::Audit(command) => audit::run(command, &place, out).await,
            Command::Run(command) => operate::run(command, &place.admin()?, out).await,
            Command::Backup(args) => operate::backup(args, &place.admin()?, out).await,
            Command::Restore(args) => restore::run(args, &place, out).await,
            Command::Keys(command) => keys::run(command, &place.admin()?, out).await,
            Command::Policy(command) => policy::run(command, &place, out).await,
            Command::Model(command) => model::run(command, &place, out).await,
            Command::Collection(command) => collection::run(command, &place.admin()?, out).await,
            Command::Review(command) => review::run(command, &place.admin()?, out).await,
            Command::Tool(command) => tool::run(command, &place, out).await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "bulkhead", &mut script);
                out.line(String::from_utf8_lossy(&script).trim_end())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_argument_is_explained() {
        fn explained(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
                if argument.get_help().is_none() {
                    missing.push(format!("{path} {}", argument.get_id()));
                }
            }
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                if sub.get_about().is_none() {
                    missing.push(path.clone());
                }
                explained(sub, &path, missing);
            }
        }
        let command = Cli::command();
        command.clone().debug_assert();
        let mut missing = Vec::new();
        explained(&command, "bulkhead", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }
}
