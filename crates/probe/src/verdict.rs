//! Verdicts, and the one rule by which they are reached.
//!
//! A [`Trial`] collects what one check saw. Only [`Trial::conclude`] makes a verdict, so that no
//! check can call something isolated without both controls.

use serde::{Deserialize, Serialize};

use crate::{canary::Sighting, catalog::Check, wire::Exchange};

/// What a check showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One tenant got what is another's, or worked with an identity that is in doubt.
    Leak,
    /// Neither control nor attack could be carried out so that silence would mean something.
    NotProven,
    /// The look finds what is there, nothing that is not, and nothing of the other tenant.
    Isolated,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Leak => "LEAK",
            Self::NotProven => "NOT PROVEN",
            Self::Isolated => "ISOLATED",
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// A canary, or an acceptance, byte for byte.
    Exact,
    /// What the system itself reports of its caches or counts.
    Metadata,
    /// A test of significance, with its power.
    Statistical,
}

/// Whether a look works.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Control {
    /// Whether it did what it had to.
    pub held: bool,
    /// What was looked for, in words.
    pub note: String,
}

/// A test of significance.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Statistic {
    /// Its name.
    pub test: &'static str,
    /// Samples of each arm.
    pub samples: usize,
    /// Corrected for the number of tests (Holm).
    pub p: f64,
    /// Below which it counts.
    pub alpha: f64,
    /// How probable it is that an effect of the published size would have been seen.
    pub power: f64,
    /// Difference of the medians, in milliseconds.
    pub effect_ms: f64,
}

/// One request and what came of it, fit to be shown: credentials and bodies redacted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Whose credential: `a`, `b`, `nobody`, or what was done to one.
    pub who: String,
    /// Method and address, or the command.
    pub line: String,
    /// Names and values of headers that matter; credentials as `$A` and `$B`.
    pub headers: Vec<(String, String)>,
    /// The body that was sent, canaries and all; these are ours.
    pub body: Option<String>,
    /// The status, or why there was none.
    pub outcome: String,
    /// The part of the answer that shows it, nothing else of it.
    pub excerpt: Option<String>,
}

/// What somebody else needs to see the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// Its number in the report; given by the run.
    pub number: usize,
    /// The requests, in their order.
    pub steps: Vec<Step>,
}

/// What one check found at one place.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The target's name in the file.
    pub target: String,
    /// Where in it, e.g. `documents`.
    pub place: String,
    /// Which check.
    #[serde(serialize_with = "id_of")]
    pub check: &'static Check,
    /// What it showed.
    pub verdict: Verdict,
    /// In a few words: what was got, or what was missing.
    pub summary: String,
    /// How sure.
    pub strength: Strength,
    /// It finds what is there.
    pub positive: Option<Control>,
    /// It does not find what is not there.
    pub negative: Option<Control>,
    /// Attacks that were carried out.
    pub attacks: usize,
    /// If it is statistical.
    pub statistic: Option<Statistic>,
    /// For a leak.
    pub proof: Option<Proof>,
    /// Requests that it took.
    pub requests: u64,
    /// How long it took.
    pub milliseconds: u64,
    /// The line of the target file where the target begins.
    pub line: usize,
}

fn id_of<S: serde::Serializer>(check: &&'static Check, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(check.id)
}

/// Why a check ended before its end. Never a leak, never isolation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    /// The budget is used up.
    #[error("{0}")]
    Budget(String),
    /// It cannot be done with what the target file says.
    #[error("{0}")]
    Lacking(String),
    /// The target did not do what the check needs: no answer, an error.
    #[error("{0}")]
    Failed(String),
    /// The user ended the run.
    #[error("the run was ended")]
    Ended,
}

/// What one check sees, until it is concluded.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) check: &'static Check,
    /// In a dry run nothing is sent, so that no control can fail.
    dry: bool,
    positive: Option<Control>,
    negative: Option<Control>,
    attacks: usize,
    leaks: Vec<String>,
    doubts: Vec<String>,
    steps: Vec<Step>,
    statistic: Option<Statistic>,
    strength: Strength,
    summary: Option<String>,
}

/// What [`Trial::conclude`] makes of it all.
pub(crate) struct Conclusion {
    pub(crate) verdict: Verdict,
    pub(crate) summary: String,
    pub(crate) strength: Strength,
    pub(crate) positive: Option<Control>,
    pub(crate) negative: Option<Control>,
    pub(crate) attacks: usize,
    pub(crate) statistic: Option<Statistic>,
    pub(crate) steps: Vec<Step>,
}

impl Trial {
    pub(crate) fn new(check: &'static Check, dry: bool) -> Self {
        Self {
            check,
            dry,
            positive: None,
            negative: None,
            attacks: 0,
            leaks: Vec::new(),
            doubts: Vec::new(),
            steps: Vec::new(),
            statistic: None,
            strength: Strength::Exact,
            summary: None,
        }
    }

    /// The look finds what is there: several may be asked for, and all must hold. Answers whether
    /// to go on.
    pub(crate) fn positive(&mut self, held: bool, note: impl Into<String>) -> bool {
        Self::control(&mut self.positive, held || self.dry, note.into())
    }

    /// The look does not find what is not there.
    pub(crate) fn negative(&mut self, held: bool, note: impl Into<String>) -> bool {
        Self::control(&mut self.negative, held || self.dry, note.into())
    }

    fn control(control: &mut Option<Control>, held: bool, note: String) -> bool {
        match control {
            // The first that failed is the one to tell.
            Some(known) if !known.held => {}
            Some(known) if held => known.held = true,
            _ => *control = Some(Control { held, note }),
        }
        held
    }

    /// An attack was carried out, and what came back was looked at.
    pub(crate) fn attacked(&mut self) {
        self.attacks += 1;
    }

    /// One tenant got what is the other's. The exchanges are the proof, in their order; the last
    /// one is where it shows.
    pub(crate) fn leak(&mut self, what: impl Into<String>, proof: &[&Exchange]) {
        if self.dry {
            return;
        }
        if self.leaks.is_empty() {
            self.steps = proof.iter().map(|exchange| exchange.step(None)).collect();
        }
        self.leaks.push(what.into());
    }

    /// As [`Trial::leak`], shown by what was seen in the last of the exchanges.
    pub(crate) fn leaked(&mut self, what: &str, seen: &Sighting, proof: &[&Exchange]) {
        if self.leaks.is_empty() && !self.dry {
            let last = proof.len().saturating_sub(1);
            let step =
                |(at, exchange): (usize, &&Exchange)| exchange.step((at == last).then_some(seen));
            self.steps = proof.iter().enumerate().map(step).collect();
            self.leaks.push(format!("{what} ({})", seen.place));
            return;
        }
        self.leak(what, proof);
    }

    /// Something that keeps silence from meaning anything: it is NOT PROVEN then, unless it leaks.
    pub(crate) fn doubt(&mut self, why: impl Into<String>) {
        if !self.dry {
            self.doubts.push(why.into());
        }
    }

    /// It rests on this test, and on nothing stronger.
    pub(crate) fn statistic(&mut self, statistic: Statistic) {
        self.statistic = Some(statistic);
        self.strength = Strength::Statistical;
    }

    /// How sure it is, if not exact.
    pub(crate) fn strength(&mut self, strength: Strength) {
        self.strength = strength;
    }

    /// What to say if it is isolated, e.g. "10 of 10, with 5,000 nearer".
    pub(crate) fn summary(&mut self, text: impl Into<String>) {
        self.summary = Some(text.into());
    }

    /// The rule.
    pub(crate) fn conclude(self, halted: Option<&Halt>) -> Conclusion {
        let failed = |control: &Option<Control>, which: &str| match control {
            None => Some(format!("no {which} control was carried out")),
            Some(Control { held: false, note }) => Some(format!("{which} control failed: {note}")),
            Some(_) => None,
        };
        let broken = self.negative.as_ref().is_some_and(|control| !control.held);
        let silence = halted
            .map(ToString::to_string)
            .or_else(|| failed(&self.positive, "positive"))
            .or_else(|| failed(&self.negative, "negative"))
            .or_else(|| self.doubts.first().cloned())
            .or_else(|| (self.attacks == 0).then(|| "no attack was carried out".to_owned()));
        let (verdict, summary) = match (self.leaks.first(), silence) {
            // A look that sees what is not there proves nothing at all.
            (Some(_), Some(why)) if broken => (Verdict::NotProven, why),
            (Some(first), _) => {
                let more = self.leaks.len() - 1;
                let more = if more == 0 { String::new() } else { format!(", and {more} more") };
                (Verdict::Leak, format!("{first}{more}"))
            }
            (None, Some(why)) => (Verdict::NotProven, why),
            (None, None) => {
                let said = self.summary.unwrap_or_else(|| match self.attacks {
                    1 => "1 attack".to_owned(),
                    attacks => format!("{attacks} attacks"),
                });
                (Verdict::Isolated, said)
            }
        };
        Conclusion {
            verdict,
            summary,
            strength: self.strength,
            positive: self.positive,
            negative: self.negative,
            attacks: self.attacks,
            statistic: self.statistic,
            steps: if verdict == Verdict::Leak { self.steps } else { Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests;
