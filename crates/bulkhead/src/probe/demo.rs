//! `bulkhead probe --demo`: a stack in this process that leaks in every way that is known, and its
//! fixed twin.

use anyhow::Result;
use probe::{
    Depth, Options, Plan, Report, Source,
    demo::{Flaws, Stack},
};

use super::{Format, How, To, ended, explained, output, state, watched, what::What};
use crate::{
    fault::Fault,
    print::{Ink, Printer},
};

const FLAWED: &str = "A stand-in: a stack in this process that leaks on purpose. Nothing of yours \
                      is asked, and no model.";
const TWIN: &str = "Its twin: the same stack, mended.";

pub(super) async fn run(what: &What, how: &How, to: &To, out: Printer) -> Result<()> {
    let baseline = to.baseline.as_deref().map(output::earlier).transpose()?;
    output::writable(to)?;
    let people = to.printed(out) == Format::Terminal;
    let flaws = if what.fixed { Flaws::none() } else { Flaws::all() };
    if people {
        out.line(out.ink(Ink::Dim, FLAWED))?;
        if what.fixed {
            out.line(out.ink(Ink::Dim, TWIN))?;
        }
        out.line("")?;
    }
    let mut report = probed(flaws, what, how, to, out).await?;
    if let Some(earlier) = &baseline {
        report.compare(earlier);
    }
    state::keep(&report);
    output::tell(&report, to, out)?;
    let status = report.status(to.fail_on.into());
    // Programs get one report; people see that it is the leaks that are found, and not the stack.
    let both = people && !what.fixed && !how.dry_run && !report.stopped;
    if both {
        out.line(format!("\n\n{}\n", out.ink(Ink::Dim, TWIN)))?;
        let twin = probed(Flaws::none(), what, how, to, out).await?;
        let beside = To { output: Vec::new(), ..to.clone() };
        output::tell(&twin, &beside, out)?;
        if twin.count(probe::Verdict::Leak) > 0 {
            return Err(Fault::failed("a leak was found where there is none: the prober is wrong")
                .advise("please report it, with the output of --demo --fixed --json")
                .into());
        }
        out.line(format!(
            "\nYours: write a target file (docs/probe-targets.md), then `bulkhead probe FILE --dry-run`    exit {status}"
        ))?;
    }
    ended(status)
}

async fn probed(flaws: Flaws, what: &What, how: &How, to: &To, out: Printer) -> Result<Report> {
    let source = Source::Demo { flaws: flaws.names() };
    let name = if source == (Source::Demo { flaws: Vec::new() }) { "demo, mended" } else { "demo" };
    let stack = Stack::start(flaws).await.map_err(explained)?;
    let mut plan: Plan = stack.plan().map_err(explained)?;
    plan.file = name.to_owned();
    what.limit(&mut plan);
    let mut options: Options = how.options(source);
    // It is all in this process: nobody else feels the load, and less than all takes half of the time.
    options.allow_flood = true;
    if !how.deep {
        options.depth = Depth::Quick;
    }
    watched(&plan, options, to, out).await
}
