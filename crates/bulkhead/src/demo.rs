//! `bulkhead demo`: what Bulkhead does, shown by doing it. A deployment in a temporary
//! directory, two tenants with the same prompts, real HTTP; then what must be refused; then
//! everything that came back is searched for what is another's.

mod asks;
mod caller;
mod canary;
mod crm;
mod provider;
mod refusals;
mod report;
mod retrieval;
mod stage;
mod surfaces;
mod tools;

use anyhow::Result;
use report::Findings;
use stage::Stage;

use self::{caller::Ask, provider::Provider};
use crate::{fault::Fault, print::Printer, standin::StandIn};

/// How the demo is run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With OPENAI_API_KEY set, a real provider answers (OPENAI_BASE_URL is respected): about a dozen
short completions. Else a stand-in inside this process does, and says so.

Exits with 1 if anything leaked, or was not refused that should have been.")]
pub(crate) struct Args {
    /// Leave it running until Ctrl-C, to try things out
    #[arg(long)]
    keep: bool,
    /// Use the stand-in provider, even if OPENAI_API_KEY is set
    #[arg(long)]
    stand_in: bool,
    /// The real provider's model
    #[arg(long, value_name = "MODEL", env = "OPENAI_MODEL", default_value = "gpt-4o-mini")]
    model: String,
}

pub(crate) async fn run(args: Args, out: Printer) -> Result<()> {
    let provider = Provider::find(&args.model, args.stand_in)?;
    report::head(&provider.describe(), out)?;
    let mut stage = Stage::set(&provider).await?;
    let found = play(&mut stage).await?;
    report::body(&found, out)?;
    report::paste(&stage, args.keep, out)?;
    stage.strike(args.keep).await?;
    if found.good() {
        return Ok(());
    }
    Err(Fault::failed("the demo did not go as it should: see the lines marked ✗ and LEAK").into())
}

/// All acts, then the search.
async fn play(stage: &mut Stage) -> Result<Findings> {
    let mut asks = asks::run(stage).await?;
    if let Some(wrong) = asks.first().and_then(|row| row.wrong.as_deref())
        && stage.standin.is_none()
    {
        return Err(Fault::failed(format!("the provider did not answer: {wrong}"))
            .advise("check OPENAI_API_KEY, OPENAI_BASE_URL and --model, or use --stand-in")
            .into());
    }
    let more = surfaces::run(stage).await?;
    asks.extend(more.asks);
    let mut refusals = refusals::run(stage).await?;
    refusals.extend(more.refusals);
    let more = retrieval::run(stage).await?;
    asks.extend(more.asks);
    refusals.extend(more.refusals);
    let more = tools::run(stage).await?;
    asks.extend(more.asks);
    refusals.extend(more.refusals);
    own_views(stage).await?;
    let transcript = stage.caller.transcript();
    let seen = stage.standin.as_ref().map(StandIn::seen).unwrap_or_default();
    let mut leaks: Vec<_> =
        transcript.iter().flat_map(|heard| stage.canaries.search(heard)).collect();
    for seen in &seen {
        let place = format!(
            "a request with the account {}…",
            &seen.credential[..14.min(seen.credential.len())]
        );
        // Nothing of ours may reach it: no token, no key, no request id.
        leaks.extend(stage.canaries.search_text("the provider", &place, &seen.text));
    }
    let checks = transcript.len() + seen.len();
    Ok(Findings { asks, refusals, leaks, checks, canaries: stage.canaries.len() })
}

/// Each tenant looks at what it may see of itself.
async fn own_views(stage: &Stage) -> Result<()> {
    for (who, credential) in [("acme", &stage.cast.acme), ("globex", &stage.cast.globex)] {
        let ask = Ask::get(stage.data("/v1/models")?).bearer(credential);
        stage.caller.ask(who, "its models", ask).await?;
    }
    Ok(())
}
