//! The five questions, answered from the findings and from nothing else.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    coverage,
    target::Target,
    verdict::{Finding, Verdict},
};

/// One of the five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// 1: Could one tenant's context show up in another tenant's prompt?
    Context,
    /// 2: Could one tenant's load degrade everyone else?
    Load,
    /// 3: Could one tenant's credentials touch another tenant's systems?
    Credentials,
    /// 4: Could support or debugging tools expose cross-tenant artefacts?
    Debugging,
    /// 5: Could the workflow continue if tenant identity became ambiguous mid-run?
    Ambiguity,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// There is at least one proof that it could.
    Yes,
    /// On every surface that the targets have and that bears on it, something was looked at and
    /// is isolated, and nothing is not proven.
    No,
    /// Something that bears on it was not looked at, or not conclusively.
    NotProven,
}

/// What keeps a question from being answered NO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Of which target; empty if no target has it.
    pub target: String,
    /// Which check was not conclusive, or which surface was not looked at.
    pub what: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [self.target.as_str(), self.what.as_str()];
        let named = named.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>();
        match named.is_empty() {
            true => f.write_str(&self.why),
            false => write!(f, "{}: {}", named.join(" "), self.why),
        }
    }
}

/// A question with its answer and its evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// Which.
    pub question: Question,
    /// The answer.
    pub answer: Reply,
    /// Numbers of proofs.
    pub proofs: Vec<usize>,
    /// How many checks say so.
    pub checks: usize,
    /// What is missing.
    pub missing: Vec<Missing>,
}

impl Question {
    /// All five, in their order.
    pub const ALL: [Self; 5] =
        [Self::Context, Self::Load, Self::Credentials, Self::Debugging, Self::Ambiguity];

    /// As it is asked.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Context => "Could one tenant's context show up in another tenant's prompt?",
            Self::Load => "Could one tenant's load degrade everyone else?",
            Self::Credentials => "Could one tenant's credentials touch another tenant's systems?",
            Self::Debugging => "Could support or debugging tools expose cross-tenant artefacts?",
            Self::Ambiguity => {
                "Could the workflow continue if tenant identity became ambiguous mid-run?"
            }
        }
    }

    /// In three words, for a column.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Context => "Context crosses?",
            Self::Load => "Load degrades?",
            Self::Credentials => "Credentials cross?",
            Self::Debugging => "Debug tools expose?",
            Self::Ambiguity => "Runs on, ambiguous?",
        }
    }

    /// Its number, 1 to 5.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize + 1
    }
}

impl Reply {
    /// As it is printed.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Yes => "YES",
            Self::No => "NO",
            Self::NotProven => "NOT PROVEN",
        }
    }
}

/// Answers all five.
pub(crate) fn answer(findings: &[Finding], targets: &[Arc<Target>]) -> Vec<Answered> {
    Question::ALL.map(|question| one(question, findings, targets)).into()
}

fn one(question: Question, findings: &[Finding], targets: &[Arc<Target>]) -> Answered {
    let bearing: Vec<&Finding> =
        findings.iter().filter(|finding| finding.check.questions.contains(&question)).collect();
    let of = |verdict| bearing.iter().filter(move |finding| finding.verdict == verdict);
    let proofs: Vec<usize> = of(Verdict::Leak)
        .filter_map(|finding| finding.proof.as_ref())
        .map(|proof| proof.number)
        .collect();
    let mut missing: Vec<Missing> = of(Verdict::NotProven).map(|finding| told(finding)).collect();
    missing.extend(unseen(question, &bearing, targets));
    let (leaks, isolated) = (of(Verdict::Leak).count(), of(Verdict::Isolated).count());
    let (answer, checks) = match (leaks, missing.is_empty() && isolated > 0) {
        (0, true) => (Reply::No, isolated),
        (0, false) => (Reply::NotProven, isolated),
        (leaks, _) => (Reply::Yes, leaks),
    };
    Answered { question, answer, proofs, checks, missing }
}

fn told(finding: &Finding) -> Missing {
    Missing {
        target: finding.target.clone(),
        what: finding.check.id.to_owned(),
        why: finding.summary.clone(),
    }
}

/// What nobody looked at: surfaces of which no finding says anything at all.
fn unseen(question: Question, bearing: &[&Finding], targets: &[Arc<Target>]) -> Vec<Missing> {
    let Some(gaps) = coverage::gaps(question, targets, bearing) else {
        // What was shown at things that are not in the tables here was shown all the same.
        let shown = bearing.iter().any(|finding| finding.verdict == Verdict::Isolated);
        let why = coverage::advice(question).to_owned();
        let none = Missing { target: String::new(), what: String::new(), why };
        return if shown { Vec::new() } else { vec![none] };
    };
    let said = |gap: &coverage::Gap| {
        bearing
            .iter()
            .any(|finding| finding.target == gap.target && finding.check.surface == gap.surface)
    };
    let silent = gaps.into_iter().filter(|gap| !said(gap));
    let missing = silent.map(|gap| Missing {
        target: gap.target,
        what: coverage::surface(gap.surface).to_owned(),
        why: "nothing that bears on it was looked at".to_owned(),
    });
    missing.collect()
}

#[cfg(test)]
mod tests;
