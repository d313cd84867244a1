//! Arguments as they come, made final.

use ids::{
    AccountId,
    json::{self, Json},
    planted,
};
use scope::{Scope, Write};

use super::{Final, Tool, amount, bind, facts, verdict::Verdict};
use crate::{Enforcement, Error, Limits, Source};

/// From here on a float does not tell whole numbers apart: what came as one was not kept as it was.
const WHOLE_FLOATS_END: f64 = 9_007_199_254_740_992.0;

impl Tool {
    /// Reads the caller's arguments strictly, fills in what is bound, and holds the rules.
    pub(crate) fn finalize(
        &self,
        scope: &Scope<Write>,
        arguments: &[u8],
        limits: &Limits,
    ) -> Result<Final, Error> {
        let mut arguments = read(arguments, limits)?;
        let mut verdict = Verdict::new(self.contract.enforcement);
        self.places.hold(&mut arguments, &mut verdict)?;
        self.hold_schema(&arguments, &mut verdict)?;
        let chosen = self.hold_rules(scope, &arguments, &mut verdict)?;
        self.places.fill(&mut arguments, scope, &self.upstream, chosen.as_ref())?;
        let account = chosen.or_else(|| self.bound_account(scope));
        let amount = self.amount(&arguments, &mut verdict)?;
        let facts = facts::of(&arguments, limits.values)?;
        let canonical = arguments.to_vec();
        Ok(Final {
            digest: *blake3::hash(&canonical).as_bytes(),
            arguments,
            account,
            facts,
            amount,
            observed: verdict.observed(),
        })
    }

    /// Takes out what is bound, so that it comes from the scope again.
    pub(crate) fn unbind(&self, arguments: &mut Json) {
        self.places.strip(arguments);
    }

    /// Final arguments as a person edited them: what is bound stays as it was.
    ///
    /// # Errors
    /// Something stands where it has to, or is spelled like it.
    pub(crate) fn rebind(&self, before: &Json, after: &mut Json) -> Result<(), Error> {
        self.places.strip(after);
        self.places.hold(after, &mut Verdict::new(Enforcement::Enforce))?;
        self.places.refill(before, after);
        Ok(())
    }

    /// Where the schema is closed, nothing that it does not have.
    fn hold_schema(&self, arguments: &Json, verdict: &mut Verdict) -> Result<(), Error> {
        let (Some(known), Json::Object(entries)) = (&self.closed, arguments) else { return Ok(()) };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(key)) {
            let argument: String = key.chars().filter(|c| !c.is_control()).take(64).collect();
            let rule = "this tool has no such argument".to_owned();
            verdict.breach(Error::Rule { argument: format!("/{argument}"), rule })?;
        }
        Ok(())
    }

    /// Holds every rule, and says which account the caller chose.
    fn hold_rules(
        &self,
        scope: &Scope<Write>,
        arguments: &Json,
        verdict: &mut Verdict,
    ) -> Result<Option<AccountId>, Error> {
        let own = bind::accounts(scope, &self.upstream);
        let mut chosen = None;
        for rule in &self.rules {
            rule.hold(arguments, &own, &mut chosen, verdict)?;
        }
        Ok(chosen.map(|(account, _)| account))
    }

    /// The account that is bound, where there is one only.
    fn bound_account(&self, scope: &Scope<Write>) -> Option<AccountId> {
        if !self.places.binds(Source::Account) && !self.places.binds(Source::Accounts) {
            return None;
        }
        match bind::accounts(scope, &self.upstream).as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    fn amount(&self, arguments: &Json, verdict: &mut Verdict) -> Result<Option<i64>, Error> {
        let Some(pointer) = &self.amount else { return Ok(None) };
        let Some(value) = pointer.one(arguments) else { return Ok(None) };
        let amount = amount::of(value);
        if amount.is_none() {
            let rule = "a number with at most two decimals, and not as text".to_owned();
            verdict.breach(Error::Rule { argument: pointer.as_str().to_owned(), rule })?;
        }
        Ok(amount)
    }
}

/// Reads the text of an object, which means one thing only.
fn read(text: &[u8], limits: &Limits) -> Result<Json, Error> {
    if text.len() > limits.arguments_bytes {
        return Err(Error::TooLarge { bytes: text.len(), most: limits.arguments_bytes });
    }
    let bounds = json::Limits { depth: limits.depth, nodes: limits.nodes };
    let arguments = if planted::is("tools-duplicate-keys") {
        serde_json::from_slice(text)
            .ok()
            .and_then(|value| super::from_value(&value).ok())
            .unwrap_or(Json::Null)
    } else {
        Json::parse(text, &bounds)?
    };
    let refuse = |rule: &str| Err(Error::Rule { argument: String::new(), rule: rule.to_owned() });
    match &arguments {
        Json::Object(_) if kept_as_they_came(&arguments) => Ok(arguments),
        Json::Object(_) => refuse("whole numbers of more than 64 bits are sent as text"),
        _ => refuse("the arguments are an object"),
    }
}

/// Whether no number was rounded on the way in: what goes on would not be what came.
fn kept_as_they_came(json: &Json) -> bool {
    match json {
        Json::Number(number) => {
            !number.is_f64() || number.as_f64().is_some_and(|float| float.abs() < WHOLE_FLOATS_END)
        }
        Json::Array(items) => items.iter().all(kept_as_they_came),
        Json::Object(entries) => entries.iter().all(|(_, value)| kept_as_they_came(value)),
        _ => true,
    }
}
