//! A report read again, whole: of the deployment that probed itself, by who asked it to.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Probed, Report, SCHEMA};
use crate::{
    Error,
    catalog::{self, Check},
    coverage::{Uncovered, unmet},
    verdict::{Control, Finding, Proof, Statistic, Strength, Verdict},
};

impl Report {
    /// Reads one that this very version wrote.
    ///
    /// # Errors
    /// It is no report, or another version's.
    pub fn read(json: &Value) -> Result<Self, Error> {
        let fields = json.as_object().ok_or_else(|| wrong("it is no object"))?;
        let schema: u32 = field(fields, "schema")?;
        if schema != SCHEMA {
            let why = format!("it is of form {schema}; this bulkhead knows form {SCHEMA}");
            return Err(wrong(&why));
        }
        let findings: Vec<Written> = field(fields, "findings")?;
        let targets: Vec<Target> = field(fields, "targets")?;
        let uncovered: Vec<Open> = field(fields, "uncovered")?;
        Ok(Self {
            schema,
            version: told(field(fields, "version")?),
            run: field(fields, "run")?,
            file: field(fields, "file")?,
            source: field(fields, "source")?,
            begun: field(fields, "begun")?,
            milliseconds: field(fields, "milliseconds")?,
            depth: field(fields, "depth")?,
            seed: field(fields, "seed")?,
            only: field(fields, "only")?,
            allow_flood: field(fields, "allow_flood")?,
            dry_run: field(fields, "dry_run")?,
            stopped: field(fields, "stopped")?,
            budget: field(fields, "budget")?,
            spent: field(fields, "spent")?,
            outcome: field(fields, "outcome")?,
            targets: targets.into_iter().map(Target::probed).collect(),
            canaries: field(fields, "canaries")?,
            findings: findings.into_iter().map(Written::finding).collect::<Result<_, _>>()?,
            questions: field(fields, "questions")?,
            uncovered: uncovered.iter().filter_map(Open::uncovered).collect(),
            foreseen: field(fields, "foreseen")?,
            baseline: None,
        })
    }

    /// What one check found at one place, as if nothing else had been asked.
    #[must_use]
    pub fn alone(mut self, check: &str, place: &str) -> Self {
        self.findings.retain(|finding| finding.check.id == check && finding.place == place);
        self.only = vec![check.to_owned()];
        self.outcome = self.concluded();
        self
    }
}

fn wrong(why: &str) -> Error {
    Error::Plan(format!("the report cannot be read: {why}"))
}

fn field<T: DeserializeOwned>(fields: &Map<String, Value>, name: &str) -> Result<T, Error> {
    let value = fields.get(name).ok_or_else(|| wrong(&format!("it has no {name}")))?;
    T::deserialize(value).map_err(|why| wrong(&format!("{name}: {why}")))
}

/// Names of versions and tests are known for as long as the process runs; so few are read that
/// they may stay.
fn told(text: String) -> &'static str {
    text.leak()
}

fn known(id: &str) -> Result<&'static Check, Error> {
    catalog::of(id).ok_or_else(|| wrong(&format!("there is no check {id}")))
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: String,
    url: String,
    line: usize,
    requests: u64,
    milliseconds: u64,
}

impl Target {
    fn probed(self) -> Probed {
        let Self { name, kind, url, line, requests, milliseconds } = self;
        Probed { name, kind: told(kind), url, line, requests, milliseconds }
    }
}

#[derive(Deserialize)]
struct Open {
    check: String,
}

impl Open {
    fn uncovered(&self) -> Option<Uncovered> {
        catalog::of(&self.check).map(unmet)
    }
}

#[derive(Deserialize)]
struct Test {
    test: String,
    samples: usize,
    p: f64,
    alpha: f64,
    power: f64,
    effect_ms: f64,
}

#[derive(Deserialize)]
struct Written {
    target: String,
    place: String,
    check: String,
    verdict: Verdict,
    summary: String,
    strength: Strength,
    positive: Option<Control>,
    negative: Option<Control>,
    attacks: usize,
    statistic: Option<Test>,
    proof: Option<Proof>,
    requests: u64,
    milliseconds: u64,
    line: usize,
}

impl Written {
    fn finding(self) -> Result<Finding, Error> {
        let statistic = self.statistic.map(|said| {
            let Test { test, samples, p, alpha, power, effect_ms } = said;
            Statistic { test: told(test), samples, p, alpha, power, effect_ms }
        });
        Ok(Finding {
            target: self.target,
            place: self.place,
            check: known(&self.check)?,
            verdict: self.verdict,
            summary: self.summary,
            strength: self.strength,
            positive: self.positive,
            negative: self.negative,
            attacks: self.attacks,
            statistic,
            proof: self.proof,
            requests: self.requests,
            milliseconds: self.milliseconds,
            line: self.line,
        })
    }
}
