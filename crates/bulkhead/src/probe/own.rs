//! `bulkhead probe --self`: asks a running deployment to probe itself, waits, and tells what came of
//! it as of any other probe.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result};
use probe::{Depth, Report, report::Earlier};
use serde_json::{Value, json};

use super::{Args, Format, How, ended, explained, output, state};
use crate::{
    admin::Admin,
    cli::Place,
    fault::Fault,
    print::{self, Printer, field},
};

/// How often it is asked how far it is.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(args: &Args, place: &Place, out: Printer) -> Result<()> {
    let Args { what, how, to, .. } = args;
    if how.dry_run || what.limits() {
        return Err(Fault::usage(
            "--self has no budget and no dry run: it asks this deployment alone",
        )
        .advise("no provider is asked; `bulkhead probe checks` lists what is looked for")
        .into());
    }
    let baseline = to.baseline.as_deref().map(output::earlier).transpose()?;
    output::writable(to)?;
    let admin = place.admin()?;
    let id = begun(&admin, how).await?;
    let people = to.printed(out) == Format::Terminal && std::io::stdout().is_terminal();
    let told = awaited(&admin, &id, people).await?;
    if people {
        print::tick("");
    }
    let mut report = read(&told)?;
    if let Some(earlier) = &baseline {
        report.compare(earlier);
    }
    state::keep(&report);
    output::tell(&report, to, out)?;
    ended(report.status(to.fail_on.into()))
}

/// One check of an earlier report, by the deployment of the command line.
pub(super) async fn again(place: &Place, earlier: &Earlier, check: &str) -> Result<Report> {
    let admin = place.admin()?;
    let depth = match earlier.depth {
        Depth::Quick => "quick",
        Depth::Default => "default",
        Depth::Deep => "deep",
    };
    let ask = json!({
        "reason": "bulkhead probe replay", "depth": depth, "flood": earlier.allow_flood,
        "only": [check], "seed": earlier.seed,
    });
    let id = field(&admin.post("/probe", &ask).await?, "id");
    read(&awaited(&admin, &id, false).await?)
}

/// The report of a run that is at its end.
fn read(told: &Value) -> Result<Report> {
    if let Some(why) = told.pointer("/last/failed") {
        let why = print::cell(why);
        return Err(Fault::failed(format!("the deployment could not be probed: {why}"))
            .advise("its log says more")
            .into());
    }
    let report = told.pointer("/last/report").context("the server told no report")?;
    Report::read(report).map_err(explained)
}

/// Begins a run, or finds the one that goes on.
async fn begun(admin: &Admin, how: &How) -> Result<String> {
    let now = admin.get("/probe", &[]).await?;
    let running = field(&now, "running.id");
    if !running.is_empty() {
        print::note(format!("a run goes on already ({running}): waiting for that one"));
        return Ok(running);
    }
    let mut ask = json!({ "reason": "bulkhead probe --self" });
    if how.quick || how.deep {
        ask["depth"] = json!(if how.deep { "deep" } else { "quick" });
    }
    if how.allow_flood {
        ask["flood"] = json!(true);
    }
    if !how.only.is_empty() {
        ask["only"] = json!(how.only);
    }
    if let Some(seed) = how.seed {
        ask["seed"] = json!(seed);
    }
    Ok(field(&admin.post("/probe", &ask).await?, "id"))
}

/// Waits for the end of a run; with its report.
async fn awaited(admin: &Admin, id: &str, people: bool) -> Result<Value> {
    loop {
        let now = admin.get("/probe", &[]).await?;
        if field(&now, "running.id") != id {
            break;
        }
        if people {
            let (done, doing) = (field(&now, "running.done"), field(&now, "running.doing"));
            print::tick(&format!("bulkhead {doing} … {done} checks"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let told = admin.get("/probe", &[("report", "true".to_owned())]).await?;
    match field(&told, "last.id") == id {
        true => Ok(told),
        false => Err(Fault::failed("another run has begun and ended meanwhile").into()),
    }
}
