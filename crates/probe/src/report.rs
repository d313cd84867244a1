//! What a run found, as one value; and how it is written down.
//!
//! The JSON form is what serde makes of [`Report`], no more and no less: [`Earlier`] reads it
//! back, to compare with it and to run one of its proofs again.

mod baseline;
mod format;
mod html;
mod junit;
mod markdown;
mod read;
mod sarif;

use serde::{Deserialize, Serialize};

pub use baseline::{Compared, Earlier, EarlierFinding, Place};
pub use format::Format;

use crate::{
    budget::{Allowed, Spent},
    coverage::Uncovered,
    foresee::Foreseen,
    ledger::Planting,
    questions::{Answered, Question, Reply},
    run::Depth,
    verdict::{Finding, Verdict},
};

/// The version of the JSON form; `docs/probe-report.schema.json` is its schema.
pub const SCHEMA: u32 = 1;

/// Where the targets were named, so that a proof can be run again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// In a target file.
    File {
        /// Its path, as it was given.
        path: String,
    },
    /// On the command line. Credentials are named there, never given.
    Flags {
        /// The target file that says the same.
        toml: String,
    },
    /// The demo's stack.
    Demo {
        /// What was wrong with it; nothing in the fixed twin.
        flaws: Vec<String>,
    },
    /// The deployment that probes itself.
    Own,
    /// By a program, which has the targets still.
    #[default]
    Given,
}

/// What it all comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was asked is isolated, and enough was asked.
    Clean,
    /// Something leaks.
    Leak,
    /// Something was not proven, or what was planted could not be shown to be removed.
    NotProven,
    /// All that was asked is isolated, but some of the five questions was not asked at all.
    LittleCovered,
}

/// What makes a run fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOn {
    /// A leak.
    Leak,
    /// A leak, something not proven, too little covered.
    #[default]
    NotProven,
    /// Nothing.
    Never,
}

/// A target, as it was probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// Its name in the file.
    pub name: String,
    /// What it is: `openai`, `http`, ….
    pub kind: &'static str,
    /// Where it is, without credentials.
    pub url: String,
    /// The line of the target file where it begins.
    pub line: usize,
    /// Requests that it took, with those that plant and clean up.
    pub requests: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of the prober.
    pub version: &'static str,
    /// Names the run, and is in every canary's ledger entry.
    pub run: String,
    /// The target file, or what stands for it.
    pub file: String,
    /// Where the targets were named.
    pub source: Source,
    /// When it began, RFC 3339.
    pub begun: String,
    /// How long it took.
    pub milliseconds: u64,
    /// How much was asked.
    pub depth: Depth,
    /// Orders and shuffles, to run it so again.
    pub seed: u64,
    /// Checks and targets by name, if not all were asked.
    pub only: Vec<String>,
    /// Whether load was allowed.
    pub allow_flood: bool,
    /// Whether nothing was sent, and `foreseen` is all that there is.
    pub dry_run: bool,
    /// Whether the user ended it before its end.
    pub stopped: bool,
    /// What it might have cost.
    pub budget: Allowed,
    /// What it cost.
    pub spent: Spent,
    /// What it comes to.
    pub outcome: Outcome,
    /// The targets, in the order of the file.
    pub targets: Vec<Probed>,
    /// What became of the canaries.
    pub canaries: Planting,
    /// What was found, in the order of the targets and checks.
    pub findings: Vec<Finding>,
    /// The five questions.
    pub questions: Vec<Answered>,
    /// Checks that no target could be put to, with what to add.
    pub uncovered: Vec<Uncovered>,
    /// In a dry run: every request. Otherwise: how many there would be.
    pub foreseen: Vec<Foreseen>,
    /// Held against an earlier report.
    pub baseline: Option<Compared>,
}

impl Report {
    /// How many findings have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The finding with the proof of this number.
    #[must_use]
    pub fn proof(&self, number: usize) -> Option<&Finding> {
        let numbered =
            |finding: &&Finding| finding.proof.as_ref().is_some_and(|proof| proof.number == number);
        self.findings.iter().find(numbered)
    }

    /// Holds it against an earlier one.
    pub fn compare(&mut self, earlier: &Earlier) {
        self.baseline = Some(Compared::new(self, earlier));
    }

    /// What it comes to, by the rule that [`Outcome`] states.
    pub(crate) fn concluded(&self) -> Outcome {
        let unasked = |answered: &Answered| answered.answer == Reply::NotProven;
        if self.count(Verdict::Leak) > 0 {
            Outcome::Leak
        } else if self.count(Verdict::NotProven) > 0 || self.stopped || self.canaries.failed() > 0 {
            Outcome::NotProven
        } else if self.findings.is_empty()
            || (self.only.is_empty() && self.questions.iter().any(unasked))
        {
            Outcome::LittleCovered
        } else {
            Outcome::Clean
        }
    }

    /// The exit status: 0, 1 for a leak, 2 for what is not proven or too little covered. Against
    /// a baseline only what is new counts.
    #[must_use]
    pub fn status(&self, on: FailOn) -> u8 {
        if self.dry_run || on == FailOn::Never {
            return 0;
        }
        let outcome = match &self.baseline {
            Some(compared) => compared.outcome,
            None => self.outcome,
        };
        match (outcome, on) {
            (Outcome::Leak, _) => 1,
            (Outcome::NotProven | Outcome::LittleCovered, FailOn::NotProven) => 2,
            _ => 0,
        }
    }

    /// The answer to one of the five.
    #[must_use]
    pub fn answer(&self, question: Question) -> Option<&Answered> {
        self.questions.iter().find(|answered| answered.question == question)
    }
}
