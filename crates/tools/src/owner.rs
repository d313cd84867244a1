//! Whose is it? Where the owner stands in an answer, and what it has to be.
//!
//! An answer says things in several forms at once, and an upstream that mixes up two tenants mixes
//! them up in any of them. So each form is held by itself, and what is handed on is rebuilt from
//! what was held ([`Owners::check`] gives it back):
//!
//! * **JSON** (structured content, a text that is JSON, an HTTP body, rows) is *own* if the declared
//!   paths find records in it, or the empty list where they would be; if every record names an owner
//!   that is ours; if no list holds an object or a list that no path leads to; and if nothing in it,
//!   at any depth and in JSON within strings too, stands where an owner stands and names another.
//!   Around the records there may be values, lists of them, and objects: totals, pages, links.
//!   A record without an owner is nobody's, so not ours. `1.0` is not `1`, `Acct_1` is not `acct_1`.
//!   Beside the empty list there may be less: numbers and truths, known words, cursors, and what is known
//!   of whoever calls; but no other text, and no number where an owner would stand (`customer`).
//! * **Text that is JSON** may also repeat what own structured content says, in whole or in part.
//! * **Free text** cannot be held. It is left out, unless it repeats a value of own structured content,
//!   or is made of few known words, numbers and what the call itself said ([`words`]).
//! * **Links** have to be a value of own structured content, or have the account as a whole part of
//!   their URI and nothing that looks like another. Titles and names go the way of free text.
//! * **Pictures, sounds and blobs** cannot be held and are refused.
//! * **Errors**: what is another's is refused as elsewhere. Of the rest, own records are handed on if
//!   nothing is said around them, and of words those that free text may have; else they are ours:
//!   that the upstream refused.
//!
//! A success that says something and has no form in which a record can be held is foreign. With
//! `unverifiable = true` forms that cannot be held pass; what can be is held all the same.
//!
//! An upstream of one tenant must not keep the workers of all busy: blocks, and values in all forms
//! together, are bounded, and the cost of a check is about that of a few walks over the answer.
//!
//! What this cannot see: a wrong record under the right owner's name, and what an upstream writes
//! of others into a tenant's own records.

use ids::json::Json;
use scope::{Scope, Write};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Content, Contract, Note, Progress, Source, contract::Final};

mod blocks;
mod clean;
mod judge;
mod links;
mod own;
mod path;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use clean::{clean, silent};
pub(crate) use judge::{json_of, value};

use judge::{Hold, Verdict};
use path::Place;

/// Why an answer is not handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// Which check found it, for the audit log: never the record itself, nor a key of it.
    pub(crate) why: String,
}

impl Foreign {
    fn because(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

/// What an owner may equal: what is known of whoever calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// The tenant.
    pub tenant: String,
    /// The environment.
    pub environment: String,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The end user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The tenant's external accounts in the upstream's system.
    pub accounts: Vec<String>,
}

impl Facts {
    /// Of a scope, for an upstream of this system.
    #[must_use]
    pub fn of(scope: &Scope<Write>, system: &str) -> Self {
        let record = scope.tenant_record();
        let accounts = record.accounts.get(system);
        Self {
            tenant: scope.tenant().to_string(),
            environment: scope.environment().to_string(),
            workflow: scope.workflow().map(ToString::to_string),
            run: scope.run().map(ToString::to_string),
            subject: scope.subject().map(ToString::to_string),
            accounts: accounts.into_iter().flatten().map(ToString::to_string).collect(),
        }
    }

    /// The one text that a source stands for, where it is one.
    pub(crate) fn one(&self, source: Source) -> Option<&str> {
        match source {
            Source::Account => match self.accounts.as_slice() {
                [one] => Some(one),
                _ => None,
            },
            Source::Accounts => None,
            Source::Tenant => Some(&self.tenant),
            Source::Environment => Some(&self.environment),
            Source::Workflow => self.workflow.as_deref(),
            Source::Run => self.run.as_deref(),
            Source::Subject => self.subject.as_deref(),
        }
    }

    /// Whether this names what a source stands for. `account` is the one that a call was for.
    fn accepts(&self, source: Source, account: Option<&str>, named: &str) -> bool {
        match (source, account) {
            (Source::Account, Some(account)) => named == account,
            (Source::Account, None) | (Source::Accounts, _) => {
                self.accounts.iter().any(|own| own == named)
            }
            (source, _) => self.one(source) == Some(named),
        }
    }
}

/// Where owners stand, ready to be looked up.
#[derive(Debug)]
pub(crate) struct Owners {
    places: Vec<Place>,
    unverifiable: bool,
    system: String,
}

impl Owners {
    /// Of a contract at an upstream of this system.
    pub(crate) fn compile(contract: &Contract, system: &str) -> Result<Self, String> {
        let places: Result<_, _> = contract.owner.iter().map(Place::compile).collect();
        let (places, system) = (places?, system.to_owned());
        Ok(Self { places, unverifiable: contract.unverifiable, system })
    }

    /// Holds an answer against the scope and the account that the call was for, in every form in
    /// which it says something, and gives back what may be handed on of it. `read` is the body of an
    /// HTTP answer, if it was read already. `most` records are looked at; an answer with more is withheld.
    pub(crate) fn check(
        &self,
        scope: &Scope<Write>,
        call: &Final,
        (content, read): (&Content, Option<Value>),
        most: usize,
    ) -> Result<Content, Foreign> {
        self.held(&Facts::of(scope, &self.system), call, (content, read), most)
    }

    /// As [`Self::check`], against facts.
    pub(crate) fn hold(
        &self,
        facts: &Facts,
        call: &Final,
        content: &Content,
        most: usize,
    ) -> Result<Content, Foreign> {
        self.held(facts, call, (content, None), most)
    }

    fn held(
        &self,
        facts: &Facts,
        call: &Final,
        (content, read): (&Content, Option<Value>),
        most: usize,
    ) -> Result<Content, Foreign> {
        let unheld = content.is_error() && ids::planted::is("tools-owner-unchecked-on-errors");
        if unheld || self.places.is_empty() {
            if !unheld && !self.unverifiable {
                return Err(Foreign::because("the contract does not say where owners stand"));
            }
            return clean(content).map_err(|fault| Foreign::because(fault.to_string()));
        }
        let hold = Hold::new(&self.places, facts, call, self.unverifiable, most);
        match content {
            Content::Mcp(result) => {
                let parts = clean::Parts::read(result);
                let parts = parts.map_err(|fault| Foreign::because(fault.to_string()))?;
                blocks::hold(&hold, parts).map(Content::Mcp)
            }
            Content::Http { status, content_type, body } => {
                blocks::hold_http(&hold, *status, content_type.as_deref(), (body, read))
            }
            Content::Rows(rows) => self.rows(&hold, &judge::value(rows)).map(|()| content.clone()),
        }
    }

    fn rows(&self, hold: &Hold<'_>, rows: &Value) -> Result<(), Foreign> {
        match hold.judge("the rows", rows) {
            Verdict::Own { .. } => Ok(()),
            Verdict::Nothing(_) if self.unverifiable => Ok(()),
            Verdict::Nothing(why) | Verdict::Foreign(why) => Err(Foreign { why }),
        }
    }

    /// Of rows that are not handed on together those that are ours, each held by itself.
    pub(crate) fn own_rows(
        &self,
        facts: &Facts,
        call: &Final,
        rows: &[Json],
        most: usize,
    ) -> Vec<Json> {
        // Made once: whoever calls chooses how much it says, and the upstream how many rows there are.
        let hold = Hold::new(&self.places, facts, call, self.unverifiable, most);
        let is_own = |row: &&Json| {
            hold.renew(most);
            self.rows(&hold, &Value::Array(vec![judge::value(row)])).is_ok()
        };
        rows.iter().filter(is_own).cloned().collect()
    }

    /// Where an upstream's notes go: to `progress`, each with what may be handed on of its message.
    pub(crate) fn notes(&self, call: &Final, progress: &Progress) -> Progress {
        let (progress, said) = (progress.clone(), words::said(call));
        let (held, unverifiable) = (!self.places.is_empty(), self.unverifiable);
        let unchecked = ids::planted::is("tools-owner-notes-unchecked");
        Progress::to(move |note: Note| {
            let message = note.message.filter(|text| {
                text.len() <= words::LONGEST
                    && (unverifiable || unchecked || (held && words::are_plain(text, &said)))
            });
            progress.say(Note { message, ..note });
        })
    }
}
