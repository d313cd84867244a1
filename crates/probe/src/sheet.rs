//! The sheet: which checks a run does at a target, and what came of each.

use std::time::{Duration, Instant};

use crate::{
    catalog::Check,
    lab::Lab,
    run::{Options, Progress},
    verdict::{Conclusion, Finding, Halt, Proof, Trial, Verdict},
};

/// How long a request that is under way when the user ends the run may still take: what it plants
/// would not be known otherwise, and could not be removed.
const GRACE: Duration = Duration::from_secs(5);

/// The findings of one target, as they come.
pub(crate) struct Sheet<'a> {
    lab: &'a Lab,
    progress: &'a dyn Progress,
    findings: Vec<Finding>,
    /// Why no more is done at this target.
    over: Option<Halt>,
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(lab: &'a Lab, progress: &'a dyn Progress) -> Self {
        Self { lab, progress, findings: Vec::new(), over: None }
    }

    /// Does one check at one place, if it is wanted. An `Err` ends it as NOT PROVEN, with why.
    pub(crate) async fn run(
        &mut self,
        check: &'static Check,
        place: &str,
        body: impl AsyncFnOnce(&mut Trial) -> Result<(), Halt>,
    ) {
        if !self.lab.options.wants(check) || !self.lab.options.wants_place(place) {
            return;
        }
        self.lab.begin(check.id, place);
        self.progress.begins(&self.lab.target.name, check);
        let (begun, before) = (Instant::now(), self.lab.wire.sent());
        let mut trial = Trial::new(check, self.lab.options.dry_run);
        let ended = match &self.over {
            Some(halt) => Err(halt.clone()),
            None => unless_ended(&self.lab.options, body(&mut trial)).await,
        };
        let halt = ended.err();
        if let Some(over @ (Halt::Budget(_) | Halt::Ended)) = &halt {
            self.over = Some(over.clone());
        }
        let Conclusion {
            verdict,
            summary,
            strength,
            positive,
            negative,
            attacks,
            statistic,
            steps,
        } = trial.conclude(halt.as_ref());
        let finding = Finding {
            target: self.lab.target.name.clone(),
            place: place.to_owned(),
            check,
            verdict,
            summary,
            strength,
            positive,
            negative,
            attacks,
            statistic,
            proof: (verdict == Verdict::Leak).then_some(Proof { number: 0, steps }),
            requests: self.lab.wire.sent() - before,
            milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            line: self.lab.target.line,
        };
        self.progress.ended(&finding);
        self.findings.push(finding);
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// Goes on until the user ends the run, and then for as long as what is under way may need.
async fn unless_ended(
    options: &Options,
    work: impl Future<Output = Result<(), Halt>>,
) -> Result<(), Halt> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                if options.ended() {
                    break;
                }
            }
        }
    }
    tokio::time::timeout(GRACE, work).await.unwrap_or(Err(Halt::Ended))
}
