//! What a run will ask: the same plan, gone through without sending anything.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    budget::{Budget, Spent},
    canary::{Canaries, Side},
    check,
    lab::{Caller, Lab},
    run::{Options, Silent},
    sheet::Sheet,
    target::{Credential, Plan, Target},
    wire::Planned,
};

/// So much of a body is listed.
const BODY: usize = 240;
/// A text of a body that is longer than this is prose: that it is another is not told.
const PROSE: usize = 40;

/// The requests that one target will get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foreseen {
    /// The target's name in the file.
    pub target: String,
    /// How many.
    pub requests: u64,
    /// What they cost at most.
    pub usd: f64,
    /// Each, in a dry run; those that differ in canaries and numbers alone are one row.
    pub items: Vec<Repeated>,
}

/// A request, and how often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// How often.
    pub times: usize,
    /// In whose name.
    pub who: String,
    /// Method and address, or the command.
    pub line: String,
    /// The beginning of the body.
    pub body: Option<String>,
}

/// All of a plan, target by target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forecast {
    pub(crate) targets: Vec<Foreseen>,
    /// Every address that would be asked, with the target's name.
    pub(crate) addresses: Vec<(String, String)>,
}

impl Forecast {
    /// What it all comes to.
    pub(crate) fn sum(&self) -> Spent {
        self.targets.iter().fold(Spent::default(), |sum, target| Spent {
            requests: sum.requests + target.requests,
            usd: sum.usd + target.usd,
        })
    }

    /// Without the lists.
    pub(crate) fn brief(mut self) -> Vec<Foreseen> {
        self.targets.iter_mut().for_each(|target| target.items.clear());
        self.targets
    }
}

/// Goes through a plan without sending anything, without asking for any credential.
pub(crate) async fn foresee(plan: &Plan, options: &Options) -> Forecast {
    let options = Arc::new(Options { dry_run: true, ..options.clone() });
    let canaries = Arc::new(Canaries::new("foreseen".to_owned()));
    let mut forecast = Forecast::default();
    for target in plan.targets.iter().filter(|target| options.probes(target)) {
        let budget = Arc::new(Budget::boundless());
        let callers = (stand_in(plan, target, Side::A), stand_in(plan, target, Side::B));
        let lab = Lab::new(
            Arc::clone(target),
            Arc::clone(&budget),
            Arc::clone(&canaries),
            Arc::clone(&options),
            callers,
        );
        let mut sheet = Sheet::new(&lab, &Silent);
        check::all(&lab, &mut sheet).await;
        let planned = lab.wire.planned();
        let addresses = planned.iter().filter_map(|planned| address(&planned.line));
        forecast.addresses.extend(addresses.map(|url| (target.name.clone(), url.to_owned())));
        let Spent { requests, usd } = budget.spent();
        let (target, items) = (target.name.clone(), collapsed(&planned));
        forecast.targets.push(Foreseen { target, requests, usd, items });
    }
    forecast.addresses.dedup();
    forecast
}

/// A tenant without its credential.
fn stand_in(plan: &Plan, target: &Target, side: Side) -> Caller {
    let headers = target.tenant(plan, side).map(|tenant| tenant.headers.clone());
    Caller {
        side: Some(side),
        label: side.name().to_owned(),
        credential: Some(Credential::new(format!("credential-of-{}", side.name()))),
        headers: headers.into_iter().flatten().collect(),
    }
}

fn address(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.contains("://"))
}

/// Requests that differ in canaries, numbers and prose alone are one row, where the first of them
/// stands.
fn collapsed(planned: &[Planned]) -> Vec<Repeated> {
    let mut rows: Vec<Repeated> = Vec::new();
    let mut known: HashMap<(String, String, String), usize> = HashMap::new();
    for one in planned {
        let body = one.body.as_deref().unwrap_or_default();
        let key = (one.who.clone(), alike(&one.line), alike(&without_prose(body)));
        match known.get(&key).and_then(|at| rows.get_mut(*at)) {
            Some(row) => row.times += 1,
            None => {
                known.insert(key, rows.len());
                rows.push(Repeated {
                    times: 1,
                    who: one.who.clone(),
                    line: named(&one.line),
                    body: one.body.as_deref().map(|body| cut(&named(body))),
                });
            }
        }
    }
    rows
}

/// A body without its longer texts: prompts are drawn at random.
fn without_prose(body: &str) -> String {
    fn silence(value: &mut Value) {
        match value {
            Value::String(text) if text.len() > PROSE => *text = "…".to_owned(),
            Value::Array(all) => all.iter_mut().for_each(silence),
            Value::Object(all) => all.values_mut().for_each(silence),
            _ => {}
        }
    }
    match serde_json::from_str::<Value>(body) {
        Ok(mut value) => {
            silence(&mut value);
            value.to_string()
        }
        Err(_) => body.to_owned(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(BODY) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Canaries by name: they are drawn anew by the run itself.
fn named(text: &str) -> String {
    words(text, |word| match is_canary(word) {
        true => "{canary}".to_owned(),
        false => word.to_owned(),
    })
}

/// Canaries, numbers and long ids left out.
fn alike(text: &str) -> String {
    words(text, |word| match word {
        word if is_canary(word) => "{canary}".to_owned(),
        word if word.len() >= 16 && word.bytes().any(|byte| byte.is_ascii_digit()) => "{id}".into(),
        word => {
            let mut kept: String = word.chars().filter(|c| !c.is_ascii_digit()).collect();
            if kept.len() < word.len() {
                kept.push('#');
            }
            kept
        }
    })
}

fn is_canary(word: &str) -> bool {
    // As `canary` draws them: the run's eight digits, whose it is, and 32 more.
    word.len() == 44 && word.starts_with("bhc") && matches!(word.as_bytes()[11], b'a' | b'b')
}

/// Each run of letters and digits, changed.
fn words(text: &str, mut change: impl FnMut(&str) -> String) -> String {
    let (mut changed, mut word) = (String::with_capacity(text.len()), String::new());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            changed.push_str(&change(&word));
            word.clear();
        }
        changed.push(c);
    }
    if !word.is_empty() {
        changed.push_str(&change(&word));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(who: &str, line: &str, body: &str) -> Planned {
        Planned { who: who.into(), line: line.into(), body: Some(body.into()) }
    }

    #[test]
    fn requests_that_differ_in_canaries_and_numbers_are_one_row() {
        let canary = |digit: char| format!("bhc01234567a{}", String::from(digit).repeat(32));
        let body = |digit| format!("{{\"text\":\"{}\",\"v\":[0.{digit}]}}", canary(digit));
        let rows = collapsed(&[
            planned("a", "POST http://x/docs", &body('1')),
            planned("b", "GET http://x/docs/17", ""),
            planned("a", "POST http://x/docs", &body('2')),
            planned("a", "POST http://x/docs", "{\"other\":true}"),
            planned("b", "GET http://x/docs/18", ""),
            planned("a", "GET http://x/docs/19", ""),
        ]);
        let told: Vec<_> = rows.iter().map(|row| (row.times, &*row.who, &*row.line)).collect();
        assert_eq!(
            told,
            [
                (2, "a", "POST http://x/docs"),
                (2, "b", "GET http://x/docs/17"),
                (1, "a", "POST http://x/docs"),
                (1, "a", "GET http://x/docs/19"),
            ]
        );
        assert_eq!(rows[0].body.as_deref(), Some("{\"text\":\"{canary}\",\"v\":[0.1]}"));
    }

    #[test]
    fn questions_that_differ_in_their_words_are_one_row() {
        let ask = |text: &str| planned("a", "POST /chat", &format!("{{\"q\":\"{text}\",\"n\":1}}"));
        let long = |word: &str| ask(&word.repeat(20));
        let rows = collapsed(&[long("robin "), long("oxygen "), ask("short"), ask("other")]);
        let times: Vec<_> = rows.iter().map(|row| row.times).collect();
        assert_eq!(times, [2, 1, 1]);
    }

    #[test]
    fn long_bodies_are_cut_between_characters() {
        let rows = collapsed(&[planned("a", "POST /", &"ä".repeat(1_000))]);
        assert_eq!(rows[0].body.as_ref().map(|body| body.chars().count()), Some(BODY + 1));
    }
}
