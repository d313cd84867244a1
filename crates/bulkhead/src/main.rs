//! The `bulkhead` command: the one binary of Bulkhead.
//!
//! It turns `bulkhead.toml` into settings and serves them (`serve`), makes a deployment
//! (`init`), shows what it does (`demo`), and is an operator's hand: nearly every other command
//! speaks to the admin API of a running deployment and knows nothing else of it.

mod admin;
mod adopt;
mod cli;
mod config;
mod demo;
mod doctor;
mod fault;
mod init;
mod print;
mod probe;
mod restore;
mod secret;
mod selfprobe;
mod serve;
mod standin;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        // Says why the command line is wrong, or the help that was asked for.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(fault::of_command_line(&error, std::env::args()));
        }
    };
    // The one cryptography provider, for every client and server of this process. It is not
    // installed twice, so there is nothing to do about a failure.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => Err(anyhow::Error::new(error).context("starting the runtime")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if fault::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if fault::is_said(&error) => ExitCode::from(fault::status(&error)),
        Err(error) => {
            print::note(fault::describe(&error));
            ExitCode::from(fault::status(&error))
        }
    }
}
