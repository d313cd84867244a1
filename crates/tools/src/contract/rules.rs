//! What arguments may be.

use std::cmp::Ordering;

use ids::{AccountId, json::Json, planted};
use regex::{Regex, RegexBuilder};
use serde_json::{Number, Value};

use super::verdict::Verdict;
use crate::{
    Error, Rule,
    pointer::{Pointer, Step},
    template::scalar,
};

/// Longest pattern, and most bytes that it may take when it is compiled.
const PATTERN_BYTES: usize = 2_048;
const COMPILED_BYTES: usize = 1 << 20;

/// A rule, ready.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) pointer: Pointer,
    required: bool,
    account: bool,
    one_of: Option<Vec<Json>>,
    pattern: Option<(Regex, String)>,
    min: Option<f64>,
    max: Option<f64>,
    max_length: Option<usize>,
}

/// The account that the caller chose, and by which argument.
pub(super) type Chosen = Option<(AccountId, String)>;

impl Held {
    pub(super) fn compile(rule: &Rule) -> Result<Self, String> {
        let pointer = Pointer::within(&rule.argument)?;
        let wrong = |why: String| format!("rule for `{}`: {why}", rule.argument);
        let held = Self {
            pointer,
            required: rule.required,
            account: rule.account,
            one_of: rule.one_of.as_deref().map(choices).transpose().map_err(wrong)?,
            pattern: rule.pattern.as_deref().map(anchored).transpose().map_err(wrong)?,
            min: rule.min,
            max: rule.max,
            max_length: rule.max_length,
        };
        held.makes_sense().map(|()| held).map_err(|why| wrong(why.to_owned()))
    }

    fn makes_sense(&self) -> Result<(), &'static str> {
        let Self { required, account, one_of, pattern, min, max, max_length, .. } = self;
        let bounds = min.is_some() || max.is_some();
        if [*min, *max].into_iter().flatten().any(|bound| !bound.is_finite()) {
            return Err("`min` and `max` are finite numbers");
        }
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err("`min` is greater than `max`");
        }
        if bounds && (pattern.is_some() || max_length.is_some() || *account) {
            return Err(
                "`min` and `max` are of numbers; `pattern`, `max_length` and `account` are not",
            );
        }
        if !(*required || *account || bounds)
            && one_of.is_none()
            && pattern.is_none()
            && max_length.is_none()
        {
            return Err("it says nothing");
        }
        Ok(())
    }

    /// Whether the caller chooses one of the tenant's accounts by it.
    pub(super) const fn chooses(&self) -> bool {
        self.account
    }

    /// Whether the rule keeps this text away from `argument`, however its letters are cased: an
    /// upstream may not care about that.
    pub(super) fn keeps_away(&self, argument: &str, text: &str) -> bool {
        if !matches!(self.pointer.steps(), [Step::Name(name)] if name == argument) {
            return false;
        }
        let same = |choice: &Json| scalar(choice).is_some_and(|t| t.eq_ignore_ascii_case(text));
        let unlisted = self.one_of.as_ref().is_some_and(|choices| !choices.iter().any(same));
        let unmatched = self.pattern.as_ref().is_some_and(|(pattern, as_written)| {
            // A part of it may insist on case, so what is written is tried as well.
            let cased = [text.to_owned(), text.to_ascii_lowercase(), text.to_ascii_uppercase()];
            let caseless = RegexBuilder::new(&format!(r"\A(?:{as_written})\z"))
                .size_limit(COMPILED_BYTES)
                .case_insensitive(true)
                .build();
            // One that cannot be read without case says nothing that can be relied on.
            caseless.is_ok_and(|caseless| !caseless.is_match(text))
                && !cased.iter().any(|text| pattern.is_match(text))
        });
        unlisted || unmatched
    }

    /// Holds the rule, and says which account the caller chose by it.
    pub(super) fn hold(
        &self,
        arguments: &Json,
        accounts: &[AccountId],
        chosen: &mut Chosen,
        verdict: &mut Verdict,
    ) -> Result<(), Error> {
        let found = self.pointer.find(arguments);
        if self.required && found.missing {
            verdict.breach(broken(self.pointer.as_str(), "it has to be there".to_owned()))?;
        }
        for (at, value) in found.values {
            if let Err(rule) = self.admits(value) {
                verdict.breach(broken(&at, rule))?;
            }
            if !self.account {
                continue;
            }
            match own(value, accounts) {
                None => verdict.breach(broken(
                    &at,
                    "one of the tenant's own accounts in the upstream's system".to_owned(),
                ))?,
                Some(account) => match chosen {
                    Some((before, by)) if *before != account => {
                        let rule = format!("the same account as `{by}`");
                        verdict.breach(broken(&at, rule))?;
                    }
                    Some(_) => {}
                    None => *chosen = Some((account, at)),
                },
            }
        }
        Ok(())
    }

    fn admits(&self, value: &Json) -> Result<(), String> {
        if self.required && matches!(value, Json::Null) {
            return Err("it has to be there".to_owned());
        }
        if let Some(choices) = &self.one_of
            && !choices.iter().any(|choice| choice.to_vec() == value.to_vec())
        {
            return Err("one of the values that the tool's contract lists".to_owned());
        }
        if let Some((pattern, as_written)) = &self.pattern
            && !value.as_str().is_some_and(|text| pattern.is_match(text))
        {
            return Err(format!("a text that matches `{as_written}` from end to end"));
        }
        if let Some(most) = self.max_length {
            let length = match value {
                Json::String(text) => Some(text.len()),
                Json::Array(items) => Some(items.len()),
                _ => None,
            };
            if length.is_none_or(|length| length > most) {
                return Err(format!("a text of at most {most} bytes, or a list of so many items"));
            }
        }
        self.within_bounds(value)
    }

    fn within_bounds(&self, value: &Json) -> Result<(), String> {
        if self.min.is_none() && self.max.is_none() {
            return Ok(());
        }
        let Json::Number(number) = value else {
            return Err("a number, and not as text".to_owned());
        };
        if let Some(min) = self.min
            && compare(number, min).is_none_or(Ordering::is_lt)
        {
            return Err(format!("a number that is at least {min}"));
        }
        if let Some(max) = self.max
            && compare(number, max).is_none_or(Ordering::is_gt)
        {
            return Err(format!("a number that is at most {max}"));
        }
        Ok(())
    }
}

fn broken(argument: &str, rule: String) -> Error {
    Error::Rule { argument: argument.to_owned(), rule }
}

fn choices(values: &[Value]) -> Result<Vec<Json>, String> {
    if values.is_empty() {
        return Err("`one_of` names nothing".to_owned());
    }
    values.iter().map(super::from_value).collect()
}

/// The whole text, from its beginning to its end, whatever the pattern says of lines.
fn anchored(pattern: &str) -> Result<(Regex, String), String> {
    if pattern.len() > PATTERN_BYTES {
        return Err(format!("`pattern` has at most {PATTERN_BYTES} bytes"));
    }
    let compiled = |text: &str| {
        RegexBuilder::new(text).size_limit(COMPILED_BYTES).build().map_err(|error| {
            format!("`pattern` is no regular expression that can be used: {error}")
        })
    };
    // On its own first: `a)|(b` would leave the group that anchors it.
    let alone = compiled(pattern)?;
    if planted::is("tools-pattern-unanchored") {
        return Ok((alone, pattern.to_owned()));
    }
    Ok((compiled(&format!(r"\A(?:{pattern})\z"))?, pattern.to_owned()))
}

/// The tenant's own account that a value names, to the letter. Some systems number theirs.
fn own(value: &Json, accounts: &[AccountId]) -> Option<AccountId> {
    let named = match value {
        Json::String(text) => text.clone(),
        Json::Number(number) if !number.is_f64() => number.to_string(),
        _ => return None,
    };
    if planted::is("tools-account-unlisted") {
        return AccountId::parse(&named).ok();
    }
    accounts.iter().find(|account| account.as_str() == named).cloned()
}

/// Compares without rounding: a whole number of 64 bits is more than a float can tell apart.
fn compare(number: &Number, bound: f64) -> Option<Ordering> {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let Some(whole) = whole else { return number.as_f64()?.partial_cmp(&bound) };
    // Further out than any number of 64 bits; a cast of less is exact.
    if bound.abs() >= 1e30 {
        return 0.0.partial_cmp(&bound);
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole, and less than 1e30")]
    let floor = bound.floor() as i128;
    Some(match whole.cmp(&floor) {
        Ordering::Equal if bound > bound.floor() => Ordering::Less,
        other => other,
    })
}

#[cfg(test)]
mod tests;
