//! `bulkhead probe`: does what runs here keep two tenants apart? The `probe` crate asks; here is
//! the command line, what is printed, and what is kept for the next time.

mod again;
mod checks;
mod demo;
mod output;
mod own;
mod progress;
mod state;
mod steps;
mod table;
mod what;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use ids::Clock as _;
use probe::{Depth, FailOn, Options, Plan, Report, Source};

use crate::{
    cli::Place,
    fault::{self, Fault},
    print::{self, Printer},
};

const HELP: &str = "\
Examples:
  bulkhead probe --demo                        about a minute, nothing of yours is asked
  bulkhead probe stack.toml --dry-run          what would be asked, and what it would cost
  bulkhead probe stack.toml                    ask it
  bulkhead probe replay 2                      proof 2 of the last report, again
  bulkhead probe checks exact-key              what a check means, and how to mend a leak
  bulkhead probe --kind openai --url http://127.0.0.1:4000/v1 --model gpt-4o-mini \\
      --a env:KEY_OF_ACME --b env:KEY_OF_GLOBEX
  bulkhead probe stack.toml --format sarif --output probe.sarif --baseline main.json

Verdicts:
  LEAK        one tenant got what is the other's; there is a proof that can be run again
  ISOLATED    it did not, and the same look does find what is there and nothing else
  NOT PROVEN  silence would mean nothing: a control failed, or something is missing

Exit status:
  0  clean: every check is ISOLATED, and all five questions are answered NO
  1  a leak
  2  something is NOT PROVEN; or too little is covered: one of the five questions has nothing
     that bears on it in this file, or a surface that a target has was not looked at
     (with --only, what was asked counts alone); or what was planted is there still
  3  it could not probe: target file, credential, consent, command line
  --fail-on leak leaves 2 out; --fail-on never ends with 0 or 3. With --baseline only what is
  new counts. The last report is kept in $XDG_STATE_HOME/bulkhead/probe/last.json
  (~/.local/state if that is not set), readable by you alone.";

/// What is probed, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    what: what::What,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The checks: all of them, or what one means, where standards ask for it, how to mend a leak
    Checks(checks::Args),
    /// Run one proof of a report again, with new canaries: does it leak still?
    Replay(again::Args),
}

/// How it is probed.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "How")]
struct How {
    /// Of checks and targets these alone, by their names
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Less: 50 samples for each test of timing, short races
    #[arg(long, conflicts_with = "deep")]
    quick: bool,
    /// More: 250 samples, long races
    #[arg(long)]
    deep: bool,
    /// Make load too, to see whether one tenant's is felt by the other
    #[arg(long)]
    allow_flood: bool,
    /// I may probe these targets: needed for all that are not on this machine
    #[arg(long)]
    i_am_authorized: bool,
    /// Orders and shuffles; the report says which it was [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// List every request and what it would cost; send none
    #[arg(long)]
    dry_run: bool,
}

/// Where the report goes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Report")]
struct To {
    /// As what; --json is the same as --format json [default: terminal, or as FILE is called]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Into this file, and the table is printed besides; several, if they are called .json, .sarif,
    /// .xml (JUnit), .md or .html
    #[arg(long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// An earlier report (JSON): tell what is new, fixed, unchanged; only what is new fails
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// What makes it fail
    #[arg(long, value_enum, value_name = "WHAT", default_value = "not-proven")]
    fail_on: Fails,
    /// One line a check, however many there are
    #[arg(long)]
    verbose: bool,
}

/// A form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    Terminal,
    /// All of it; the schema is docs/probe-report.schema.json
    Json,
    /// For code scanning
    Sarif,
    /// For test reports; NOT PROVEN is skipped, with the reason
    Junit,
    /// For a pull request
    Markdown,
    /// One page that needs nothing else
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fails {
    /// A leak
    Leak,
    /// A leak, or what is not proven, or too little covered
    NotProven,
    /// Nothing that is found
    Never,
}

impl From<Fails> for FailOn {
    fn from(fails: Fails) -> Self {
        match fails {
            Fails::Leak => Self::Leak,
            Fails::NotProven => Self::NotProven,
            Fails::Never => Self::Never,
        }
    }
}

impl How {
    fn depth(&self) -> Depth {
        match (self.quick, self.deep) {
            (true, _) => Depth::Quick,
            (_, true) => Depth::Deep,
            _ => Depth::Default,
        }
    }

    fn options(&self, source: Source) -> Options {
        Options {
            depth: self.depth(),
            dry_run: self.dry_run,
            authorized: self.i_am_authorized,
            allow_flood: self.allow_flood,
            only: self.only.clone(),
            seed: self.seed.unwrap_or_else(|| ids::SystemClock.now().0 % 1_000_000),
            source,
            ..Options::default()
        }
    }
}

impl To {
    /// As what it is printed: what goes into files leaves the table to be printed.
    fn printed(&self, out: Printer) -> Format {
        match (self.format, out.is_json()) {
            (_, true) => Format::Json,
            (Some(format), _) if self.output.is_empty() => format,
            _ => Format::Terminal,
        }
    }
}

pub(crate) async fn run(args: Args, place: &Place, out: Printer) -> Result<()> {
    let ended = match args.command {
        Some(Command::Checks(args)) => checks::run(&args, out),
        Some(Command::Replay(args)) => again::run(args, place, out).await,
        None if args.what.demo() => demo::run(&args.what, &args.how, &args.to, out).await,
        None if args.what.own() => own::run(&args, place, out).await,
        None => probed(&args, place, out).await,
    };
    // Whatever kept it from probing is told apart from what probing found.
    ended.map_err(|error| match fault::is_said(&error) || fault::is_closed_pipe(&error) {
        true => error,
        false => as_tool_error(&error),
    })
}

fn as_tool_error(error: &anyhow::Error) -> anyhow::Error {
    let fault = Fault::failed(format!("{error:#}")).with_status(fault::TOOL);
    let advice = error.chain().find_map(|cause| cause.downcast_ref::<Fault>()?.advice());
    match advice {
        Some(advice) => fault.advise(advice).into(),
        None => fault.into(),
    }
}

async fn probed(args: &Args, place: &Place, out: Printer) -> Result<()> {
    let (plan, source) = args.what.plan(place).await?;
    let baseline = args.to.baseline.as_deref().map(output::earlier).transpose()?;
    output::writable(&args.to)?;
    let mut report = watched(&plan, args.how.options(source), &args.to, out).await?;
    if let Some(earlier) = &baseline {
        report.compare(earlier);
    }
    state::keep(&report);
    output::tell(&report, &args.to, out)?;
    ended(report.status(args.to.fail_on.into()))
}

/// Ends with this status; what there is to say is printed.
fn ended(status: u8) -> Result<()> {
    match status {
        0 => Ok(()),
        status => Err(Fault::said(status).into()),
    }
}

/// Goes through a plan and shows how far it is. The first Ctrl-C ends it in order, the second one
/// at once.
async fn watched(plan: &Plan, options: Options, to: &To, out: Printer) -> Result<Report> {
    let progress = progress::Line::new(to.printed(out) == Format::Terminal);
    let stop = Arc::clone(&options.stop);
    let report = tokio::select! {
        report = probe::run(plan, options, &progress) => report,
        () = twice_told(&stop) => {
            progress.clear();
            return Err(Fault::failed("ended before what was planted was removed")
                .advise("each canary begins with bhc and has 44 letters and digits: look for these where you probed")
                .into());
        }
    };
    progress.clear();
    report.map_err(explained)
}

/// Returns when the user asked twice to end.
async fn twice_told(stop: &AtomicBool) {
    told_to_end().await;
    stop.store(true, Ordering::Relaxed);
    print::note("\nending: what was planted is being removed (Ctrl-C again to leave it there)");
    told_to_end().await;
}

async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let ended = async {
        match signal(SignalKind::terminate()) {
            Ok(mut ended) => drop(ended.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        // Without a handler a signal ends the process, which is what was wanted.
        _ = tokio::signal::ctrl_c() => {}
        () = ended => {}
    }
}

/// With what to do about it.
fn explained(error: probe::Error) -> anyhow::Error {
    let fault = Fault::failed(format!("{}: {error}", error.code()));
    match &error {
        probe::Error::Credential { .. } => fault.advise(
            "a credential is `env:NAME`, `file:PATH`, or what `token_cmd` prints; docs/probe-targets.md",
        ),
        probe::Error::Authorization(_) => fault.advise(
            "--dry-run lists what would be asked; probe only what is yours, or what you were asked to probe",
        ),
        _ => fault,
    }
    .into()
}
