//! One run over all targets of a plan.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use ids::Clock as _;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Report,
    budget::{Allowed, Budget, Spent},
    canary::Canaries,
    catalog::{self, Check},
    check, coverage,
    foresee::{self, Forecast},
    lab::{Caller, Lab},
    ledger::Planting,
    questions, reach,
    report::{Outcome, Probed, SCHEMA, Source},
    sheet::Sheet,
    target::{Plan, Target},
    verdict::Finding,
};

/// How much is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Under a minute; timing with 50 samples an arm.
    Quick,
    /// Timing with 100.
    #[default]
    Default,
    /// Timing with 250, longer races, more ids.
    Deep,
}

impl Depth {
    /// Samples of each arm of a test of timing.
    #[must_use]
    pub const fn samples(self) -> usize {
        match self {
            Self::Quick => 50,
            Self::Default => 100,
            Self::Deep => 250,
        }
    }

    /// How often a race is run.
    #[must_use]
    pub const fn races(self) -> usize {
        match self {
            Self::Quick => 20,
            Self::Default => 100,
            Self::Deep => 1_000,
        }
    }
}

/// What a run may and should do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is asked.
    pub depth: Depth,
    /// List every request; send none.
    pub dry_run: bool,
    /// The user says that the targets may be probed, also where they are not on this machine.
    pub authorized: bool,
    /// Load may be made, to see whether it is felt elsewhere.
    pub allow_flood: bool,
    /// Checks or targets by their names; empty for all. Of the checks, and of the targets, those
    /// that are named; all, if none is.
    pub only: Vec<String>,
    /// At this place of the targets alone: to run a proof again.
    pub at: Option<String>,
    /// Orders and shuffles.
    pub seed: u64,
    /// Set to end early: what is planted is removed still.
    pub stop: Arc<AtomicBool>,
    /// Where the targets were named, for the report.
    pub source: Source,
    /// Whether everything is gone through without sending it first, to say what it will take. Not
    /// needed where nobody pays and nobody waits for it.
    pub foresee: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            depth: Depth::default(),
            dry_run: false,
            authorized: false,
            allow_flood: false,
            only: Vec::new(),
            at: None,
            seed: 0,
            stop: Arc::default(),
            source: Source::default(),
            foresee: true,
        }
    }
}

impl Options {
    /// Whether this check is to be done. A name that is no check's is a target's.
    pub(crate) fn wants(&self, check: &Check) -> bool {
        let mut named = self.only.iter().filter(|name| catalog::of(name).is_some()).peekable();
        named.peek().is_none() || named.any(|name| name == check.id)
    }

    /// Whether it is to be done at this place.
    pub(crate) fn wants_place(&self, place: &str) -> bool {
        self.at.as_deref().is_none_or(|at| at == place)
    }

    /// Whether this target is to be probed.
    pub(crate) fn probes(&self, target: &Target) -> bool {
        let mut named = self.only.iter().filter(|name| catalog::of(name).is_none()).peekable();
        named.peek().is_none() || named.any(|name| *name == target.name)
    }

    pub(crate) fn ended(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Refuses names that nothing has.
    fn known(&self, plan: &Plan) -> Result<(), Error> {
        let has = |name: &str| {
            catalog::of(name).is_some() || plan.targets.iter().any(|target| target.name == name)
        };
        match self.only.iter().find(|name| !has(name)) {
            Some(name) => Err(Error::Plan(format!(
                "--only {name}: there is no check and no target of this name; `bulkhead probe checks` lists the checks, {} has {}",
                plan.file,
                plan.targets.iter().map(|target| &*target.name).collect::<Vec<_>>().join(", "),
            ))),
            None => Ok(()),
        }
    }
}

/// Who is told while it goes on.
pub trait Progress: Sync {
    /// Before anything is sent: so much will be asked, and so much may be.
    fn foreseen(&self, _needed: Spent, _allowed: Allowed) {}
    /// A check begins at a target.
    fn begins(&self, target: &str, check: &'static Check);
    /// A check ended.
    fn ended(&self, finding: &Finding);
}

/// Nobody is told.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begins(&self, _: &str, _: &'static Check) {}
    fn ended(&self, _: &Finding) {}
}

/// Goes through a plan.
///
/// # Errors
/// A credential that cannot be had, a target that may not be probed; never what a target does.
pub async fn run(plan: &Plan, options: Options, progress: &dyn Progress) -> Result<Report, Error> {
    options.known(plan)?;
    let begun = Instant::now();
    let at = ids::SystemClock.now().to_string();
    let forecast = match options.foresee || options.dry_run {
        true => foresee::foresee(plan, &options).await,
        false => Forecast::default(),
    };
    let mut done = Done::default();
    if !options.dry_run {
        // Nothing is sent anywhere, and no credential is asked for, before this.
        reach::allowed(plan, &options, &forecast).await?;
        progress.foreseen(forecast.sum(), Allowed::from(&plan.budget));
        done.probe(plan, &options, progress).await?;
    }
    let mut report = done.report(plan, &options, forecast);
    (report.begun, report.milliseconds) = (at, millis(begun));
    Ok(report)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What was done so far.
#[derive(Default)]
struct Done {
    run: String,
    spent: Spent,
    findings: Vec<Finding>,
    targets: Vec<Probed>,
    canaries: Planting,
}

impl Done {
    /// Every target after the other.
    async fn probe(
        &mut self,
        plan: &Plan,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let wanted = plan.targets.iter().filter(|target| options.probes(target));
        let mut cast: Vec<(&Arc<Target>, (Caller, Caller))> = Vec::new();
        // A credential that cannot be had ends the run before anything is planted anywhere.
        for target in wanted {
            cast.push((target, plan.callers(target).await?));
        }
        let (options, budget) =
            (Arc::new(options.clone()), Arc::new(Budget::new(plan.budget.clone())));
        self.run = ids::RandomId::draw(&ids::OsEntropy).to_string();
        let canaries = Arc::new(Canaries::new(self.run.clone()));
        for (target, callers) in cast {
            if options.ended() {
                break;
            }
            let lab = Lab::new(
                Arc::clone(target),
                Arc::clone(&budget),
                Arc::clone(&canaries),
                Arc::clone(&options),
                callers,
            );
            self.one(&lab, progress).await;
        }
        self.spent = budget.spent();
        Ok(())
    }

    async fn one(&mut self, lab: &Lab, progress: &dyn Progress) {
        let begun = Instant::now();
        let mut sheet = Sheet::new(lab, progress);
        check::all(lab, &mut sheet).await;
        self.findings.extend(sheet.into_findings());
        self.canaries.add(lab.ledger.sum(&lab.target.name));
        let mut probed = described(&lab.target);
        (probed.requests, probed.milliseconds) = (lab.wire.sent(), millis(begun));
        self.targets.push(probed);
    }

    fn report(mut self, plan: &Plan, options: &Options, forecast: Forecast) -> Report {
        let proofs = self.findings.iter_mut().filter_map(|finding| finding.proof.as_mut());
        for (at, proof) in proofs.enumerate() {
            proof.number = at + 1;
        }
        if options.dry_run {
            let wanted = plan.targets.iter().filter(|target| options.probes(target));
            self.targets = wanted.map(|target| described(target)).collect();
        }
        let mut report = Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            run: self.run,
            file: plan.file.clone(),
            source: options.source.clone(),
            begun: String::new(),
            milliseconds: 0,
            depth: options.depth,
            seed: options.seed,
            only: options.only.clone(),
            allow_flood: options.allow_flood,
            dry_run: options.dry_run,
            stopped: options.ended(),
            budget: Allowed::from(&plan.budget),
            spent: self.spent,
            outcome: Outcome::LittleCovered,
            targets: self.targets,
            canaries: self.canaries,
            questions: questions::answer(&self.findings, &plan.targets),
            uncovered: match options.dry_run {
                true => Vec::new(),
                false => coverage::uncovered(options, &self.findings),
            },
            findings: self.findings,
            foreseen: if options.dry_run { forecast.targets } else { forecast.brief() },
            baseline: None,
        };
        report.outcome = report.concluded();
        report
    }
}

/// A target without its credentials.
fn described(target: &Target) -> Probed {
    Probed {
        name: target.name.clone(),
        kind: coverage::kind(target),
        url: without_userinfo(&target.url),
        line: target.line,
        requests: 0,
        milliseconds: 0,
    }
}

/// An address without `user:password@` and without what stands behind `?`.
fn without_userinfo(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    format!("{scheme}{host}{path}")
}

#[cfg(test)]
mod tests;
