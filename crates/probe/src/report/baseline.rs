//! An earlier report: to compare with, and to run one of its proofs again.

use serde::{Deserialize, Serialize};

use super::{Outcome, Report, SCHEMA, Source};
use crate::{
    Error,
    ledger::Planting,
    questions::{Question, Reply},
    run::Depth,
    verdict::{Proof, Verdict},
};

/// A report that was written down. Fields that are not needed are not read.
#[derive(Clone, Debug, Deserialize)]
pub struct Earlier {
    /// The version of its form.
    pub schema: u32,
    /// Its target file.
    pub file: String,
    /// Where the targets were named.
    #[serde(default)]
    pub source: Source,
    /// How much was asked.
    pub depth: Depth,
    /// Orders and shuffles.
    pub seed: u64,
    /// Whether load was allowed.
    #[serde(default)]
    pub allow_flood: bool,
    /// What was found.
    pub findings: Vec<EarlierFinding>,
    /// How the five questions were answered.
    #[serde(default)]
    pub questions: Vec<EarlierAnswer>,
    /// What became of its canaries.
    #[serde(default)]
    pub canaries: Planting,
}

/// A finding of it.
#[derive(Clone, Debug, Deserialize)]
pub struct EarlierFinding {
    /// The target's name in the file.
    pub target: String,
    /// Where in it.
    pub place: String,
    /// The check's id; perhaps of one that there is no more.
    pub check: String,
    /// What it showed.
    pub verdict: Verdict,
    /// In a few words.
    #[serde(default)]
    pub summary: String,
    /// For a leak.
    pub proof: Option<Proof>,
}

/// An answer of it.
#[derive(Clone, Debug, Deserialize)]
pub struct EarlierAnswer {
    /// Which.
    pub question: Question,
    /// The answer.
    pub answer: Reply,
}

impl Earlier {
    /// Reads one.
    ///
    /// # Errors
    /// It is no report, or of a newer form.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let earlier: Self = serde_json::from_str(text).map_err(|why| {
            Error::Plan(format!("{name} is no report of `bulkhead probe`: {why}"))
        })?;
        if earlier.schema > SCHEMA {
            let newer = earlier.schema;
            return Err(Error::Plan(format!(
                "{name} is a report of form {newer}; this bulkhead knows form {SCHEMA} and older"
            )));
        }
        Ok(earlier)
    }

    /// The finding with the proof of this number.
    #[must_use]
    pub fn proof(&self, number: usize) -> Option<(&EarlierFinding, &Proof)> {
        self.findings.iter().find_map(|finding| {
            let proof = finding.proof.as_ref().filter(|proof| proof.number == number)?;
            Some((finding, proof))
        })
    }

    fn verdict(&self, place: &Place) -> Option<Verdict> {
        let same = |finding: &&EarlierFinding| {
            (&finding.target, &finding.place, finding.check.as_str())
                == (&place.target, &place.place, place.check.as_str())
        };
        // The worst of them, where a check was done there several times.
        self.findings.iter().filter(same).map(|finding| finding.verdict).min()
    }
}

/// By what findings of two runs are told to be the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The target's name in the file.
    pub target: String,
    /// Where in it.
    pub place: String,
    /// The check's id.
    pub check: String,
    /// What it shows now; what it showed, of what is shown no more.
    pub verdict: Verdict,
}

/// A report held against an earlier one.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The earlier one's target file.
    pub file: String,
    /// What is new alone: a leak that was none, something not proven that was isolated or was not
    /// asked, a question that was answered NO.
    pub outcome: Outcome,
    /// Leaks that were none, and what is not proven and was isolated or not asked.
    pub new: Vec<Place>,
    /// Was a leak or not proven, and is isolated.
    pub fixed: Vec<Place>,
    /// Is what it was, and not isolated.
    pub unchanged: Vec<Place>,
    /// Was a leak, and is not proven or was not asked: neither fixed nor shown again.
    pub unclear: Vec<Place>,
}

impl Compared {
    pub(super) fn new(report: &Report, earlier: &Earlier) -> Self {
        let mut compared = Self {
            file: earlier.file.clone(),
            outcome: Outcome::Clean,
            new: Vec::new(),
            fixed: Vec::new(),
            unchanged: Vec::new(),
            unclear: Vec::new(),
        };
        for place in now(report) {
            let was = earlier.verdict(&place);
            let list = match (was, place.verdict) {
                (Some(Verdict::Isolated) | None, Verdict::Isolated) => continue,
                (Some(_), Verdict::Isolated) => &mut compared.fixed,
                (Some(Verdict::Leak), Verdict::NotProven) => &mut compared.unclear,
                (Some(was), is) if was == is => &mut compared.unchanged,
                _ => &mut compared.new,
            };
            list.push(place);
        }
        compared.unclear.extend(gone(report, earlier));
        compared.outcome = compared.concluded(report, earlier);
        compared
    }

    fn concluded(&self, report: &Report, earlier: &Earlier) -> Outcome {
        let new = |verdict| self.new.iter().any(|place| place.verdict == verdict);
        let was = |question| earlier.questions.iter().find(|answer| answer.question == question);
        let lost = report.questions.iter().any(|now| {
            now.answer == Reply::NotProven
                && was(now.question).is_none_or(|was| was.answer == Reply::No)
        });
        // Where nothing could be removed before, either, that is known.
        let unremoved = report.canaries.failed() > 0 && earlier.canaries.failed() == 0;
        if new(Verdict::Leak) {
            Outcome::Leak
        } else if new(Verdict::NotProven) || report.stopped || unremoved {
            Outcome::NotProven
        } else if report.findings.is_empty() || (report.only.is_empty() && lost) {
            Outcome::LittleCovered
        } else {
            Outcome::Clean
        }
    }
}

/// Where the report has a finding: each place once, with the worst that was found there.
fn now(report: &Report) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for finding in &report.findings {
        let place = Place {
            target: finding.target.clone(),
            place: finding.place.clone(),
            check: finding.check.id.to_owned(),
            verdict: finding.verdict,
        };
        match places.iter_mut().find(|known| known.is(&place)) {
            Some(known) => known.verdict = known.verdict.min(place.verdict),
            None => places.push(place),
        }
    }
    places
}

/// Leaks of the earlier one of which this one says nothing, though it was to ask everything.
fn gone(report: &Report, earlier: &Earlier) -> Vec<Place> {
    if !report.only.is_empty() {
        return Vec::new();
    }
    let known = now(report);
    let leaks = earlier.findings.iter().filter(|finding| finding.verdict == Verdict::Leak);
    let places = leaks.map(|finding| Place {
        target: finding.target.clone(),
        place: finding.place.clone(),
        check: finding.check.clone(),
        verdict: finding.verdict,
    });
    places.filter(|place| !known.iter().any(|known| known.is(place))).collect()
}

impl Place {
    fn is(&self, other: &Self) -> bool {
        (&self.target, &self.place, &self.check) == (&other.target, &other.place, &other.check)
    }
}

#[cfg(test)]
mod tests;
