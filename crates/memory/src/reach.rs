//! What of a collection a scope may reach: the workflow's filter, the end user's own, what has
//! not expired. It is ANDed into every sub-query before anything is ranked (first lock), and
//! every row is held against it before it leaves or is changed (second lock).
//!
//! The two locks share no code: the first is a filter that the engine evaluates on what it has,
//! the second is evaluated here, on the row.

mod clause;

use std::sync::Arc;

use ids::{Millis, frame::Frame, planted};
use scope::{Access, Actor, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use self::clause::{Clause, Spelling};
use crate::{Collection, Error, MemorySettings, Point, Subject, facade::Inner, request::Filter};

/// The grant that lifts the bound of end users. It has no route of its own.
const SUBJECTS: &str = "memory:subjects";

/// What a workflow is held to in a collection. Of Qdrant's filters, those that can be held
/// against a row alone: `must`, `should`, `must_not` of `match` (value, any, except) and `range`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowFilter {
    /// The workflow.
    pub workflow: String,
    /// The collection; `*` for all.
    pub collection: String,
    /// The filter, in Qdrant's words.
    pub filter: Value,
}

/// All workflow filters, read.
pub(crate) struct Rules(Vec<Arc<Rule>>);

struct Rule {
    workflow: String,
    collection: String,
    /// For the engine.
    filter: Filter,
    /// For rows.
    clause: Clause,
}

impl Rules {
    /// # Errors
    /// [`Error::Settings`] for what cannot be held against a row, or asks about content.
    pub(crate) fn of(settings: &MemorySettings) -> Result<Self, Error> {
        let read = |given: &WorkflowFilter| {
            let WorkflowFilter { workflow, collection, filter } = given;
            let wrong = |what: String| {
                Error::Settings(format!(
                    "the filter of workflow `{workflow}` in collection `{collection}`: {what}"
                ))
            };
            let clause = Clause::parse(filter).map_err(wrong)?;
            let filter = Filter::parse(filter, settings).map_err(|e| wrong(e.to_string()))?;
            let (workflow, collection) = (workflow.clone(), collection.clone());
            Ok(Arc::new(Rule { workflow, collection, filter, clause }))
        };
        settings.filters.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn held<A: Access>(&self, scope: &Scope<A>, collection: &Collection) -> Vec<Arc<Rule>> {
        let Some(workflow) = scope.workflow() else { return Vec::new() };
        if planted::is("memory-workflow-filter-skipped") {
            return Vec::new();
        }
        let name = collection.name.as_str();
        let meant = |rule: &&Arc<Rule>| {
            rule.workflow == workflow.as_str()
                && (rule.collection == "*" || rule.collection == name)
        };
        self.0.iter().filter(meant).cloned().collect()
    }
}

/// Whose points are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Everybody's.
    All,
    /// Nobody's, and one end user's.
    Own(Subject),
    /// Nobody's.
    Nobodys,
}

/// What one scope may reach of one collection, now.
#[derive(Clone)]
pub(crate) struct Reach {
    rules: Vec<Arc<Rule>>,
    whose: Whose,
    /// Whose a new point is.
    owner: Option<Subject>,
    now: Millis,
    spelling: Spelling,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reach({} rules)", self.rules.len())
    }
}

impl Reach {
    /// What this scope may reach.
    pub(crate) fn of<A: Access>(inner: &Inner, scope: &Scope<A>, collection: &Collection) -> Self {
        let own = scope.subject().map(|subject| digest(inner, scope, subject.as_str()));
        let whose = match own {
            _ if lifted(scope) => Whose::All,
            Some(own) => Whose::Own(own),
            None => Whose::Nobodys,
        };
        Self {
            rules: inner.rules.held(scope, collection),
            // Whoever acts for all leaves what is everybody's.
            owner: own.filter(|_| whose != Whose::All),
            whose,
            now: inner.clock.now(),
            spelling: Spelling::of(&collection.schema.indexes),
        }
    }

    /// What these rules alone leave.
    #[cfg(test)]
    pub(crate) fn by<A: Access>(
        rules: &Rules,
        scope: &Scope<A>,
        collection: &Collection,
        now: Millis,
    ) -> Self {
        let spelling = Spelling::of(&collection.schema.indexes);
        let rules = rules.held(scope, collection);
        Self { rules, whose: Whose::All, owner: None, now, spelling }
    }

    /// As if for one end user: nobody's and theirs. Never more than before.
    pub(crate) fn narrowed(mut self, subject: Subject) -> Self {
        if self.whose == Whose::All {
            self.whose = Whose::Own(subject);
            self.owner = Some(subject);
        }
        self
    }

    /// As a filter for the engine, to be ANDed into every sub-query; `None` if there is no bound
    /// at all.
    ///
    /// # Errors
    /// A payload index by which the engine would understand a workflow's filter otherwise.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, Error> {
        let misread = self.rules.iter().find_map(|rule| rule.clause.misread(&self.spelling));
        if let Some(field) = misread.filter(|_| !planted::is("memory-range-misread")) {
            return Err(Error::Invalid(format!(
                "Wrong input: `{field}` has a payload index of dates, and the filter that this \
                 workflow is held to asks for numbers in it: delete the index"
            )));
        }
        let mut all: Vec<Filter> = self.rules.iter().map(|rule| rule.filter.clone()).collect();
        let mut own = serde_json::Map::new();
        let nobodys = json!({"is_empty": {"key": "_bulkhead.subject"}});
        match self.whose {
            _ if planted::is("memory-subject-unfiltered") => {}
            Whose::All => {}
            Whose::Nobodys => _ = own.insert("must".into(), json!([nobodys])),
            Whose::Own(subject) => {
                let hex = ids::text::hex(&subject);
                let theirs = json!({"key": "_bulkhead.subject", "match": {"value": hex}});
                own.insert("should".into(), json!([nobodys, theirs]));
            }
        }
        if !planted::is("memory-expired-returned") {
            let over = json!({"key": "_bulkhead.expires", "range": {"lte": self.now.0}});
            own.insert("must_not".into(), json!([over]));
        }
        if !own.is_empty() {
            all.push(ours(&Value::Object(own))?);
        }
        Ok(all.into_iter().reduce(Filter::and))
    }

    /// Whether a row is within reach.
    pub(crate) fn holds(&self, point: &Point) -> bool {
        let theirs = match (self.whose, point.subject) {
            (Whose::All, _) | (_, None) => true,
            (Whose::Own(own), Some(subject)) => own == subject,
            (Whose::Nobodys, Some(_)) => false,
        };
        let there = point.expires.is_none_or(|expires| expires > self.now);
        if planted::is("memory-reach-unheld") {
            return true;
        }
        (theirs || planted::is("memory-subject-unfiltered"))
            && (there || planted::is("memory-expired-returned"))
            && self.rules.iter().all(|rule| rule.clause.holds(&point.payload, &self.spelling))
    }

    /// Whose a new point is.
    pub(crate) fn owner(&self) -> Option<Subject> {
        self.owner
    }

    /// The time for which it was made.
    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    /// Whether others of the tenant may reach more.
    pub(crate) fn bounded(&self) -> bool {
        self.whose != Whose::All || !self.rules.is_empty()
    }
}

/// Whether a scope reaches every end user's points. The grant has to be there by its name:
/// `memory:*` is what a caller may do, not whose it may do it to. An operator does: somebody must
/// be able to erase them, and a reason is on record.
pub(crate) fn lifted<A: Access>(scope: &Scope<A>) -> bool {
    let named = scope.grants().iter().any(|grant| grant == SUBJECTS);
    let lifted =
        if ids::planted::is("memory-subjects-by-wildcard") { scope.may(SUBJECTS) } else { named };
    lifted || matches!(scope.actor(), Actor::Operator(_))
}

/// What index and rows know of an end user. Keyed, and of one tenant's environment: nobody who
/// has the digests can try names, and the same name is another one elsewhere.
pub(crate) fn digest<A: Access>(inner: &Inner, scope: &Scope<A>, subject: &str) -> Subject {
    let whole = Frame::new("bulkhead memory subject 1")
        .field(scope.partition_bytes())
        .field(subject)
        .finish();
    let mut short = Subject::default();
    let hash = blake3::keyed_hash(&inner.subject_key, &whole);
    short.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

/// A filter of this program's own making: it may ask about what no caller may, and counts for
/// none of their bounds.
pub(crate) fn ours(filter: &Value) -> Result<Filter, Error> {
    Filter::internal(filter, &MemorySettings::default())
}
