//! A workflow's filter as it is held against a row: the subset of Qdrant's filters that needs
//! nothing but the payload, with Qdrant's semantics (a condition on an array holds if it holds
//! for any of its elements; a field that is not there meets no condition).

use std::collections::{BTreeMap, BTreeSet};

use ids::planted;
use serde_json::{Map, Value};

use crate::{Payload, path::Path};

/// How deep filters may stand in filters.
const DEPTH: usize = 8;

/// All of `must`, one of `should`, none of `must_not`.
#[derive(Debug)]
pub(super) struct Clause {
    must: Vec<Condition>,
    should: Vec<Condition>,
    must_not: Vec<Condition>,
}

#[derive(Debug)]
enum Condition {
    Field { key: String, path: Path, test: Test },
    Clause(Clause),
}

#[derive(Debug)]
enum Test {
    Bool(bool),
    Strings(Vec<String>),
    Integers(Vec<i64>),
    NotStrings(Vec<String>),
    NotIntegers(Vec<i64>),
    Range { gt: Option<f64>, gte: Option<f64>, lt: Option<f64>, lte: Option<f64> },
}

/// How an index makes the engine read a field otherwise than it stands there.
#[derive(Clone, Debug, Default)]
pub(super) struct Spelling {
    /// Indexed as UUIDs: compared by what they mean, not by how they are spelt.
    uuids: BTreeSet<String>,
    /// Indexed as dates: a range of numbers is one of microseconds.
    dates: BTreeSet<String>,
}

impl Spelling {
    pub(super) fn of(indexes: &BTreeMap<String, Value>) -> Self {
        let fields = |kind: &str| {
            let such = |schema: &Value| schema.get("type").unwrap_or(schema) == kind;
            let fields = indexes.iter().filter(|(_, schema)| such(schema));
            fields.map(|(field, _)| field.clone()).collect()
        };
        Self { uuids: fields("uuid"), dates: fields("datetime") }
    }

    fn same(&self, key: &str, a: &str, b: &str) -> bool {
        a == b || self.uuids.contains(key) && uuid(a).is_some_and(|a| uuid(b) == Some(a))
    }
}

fn uuid(text: &str) -> Option<String> {
    let text = text.strip_prefix("urn:uuid:").unwrap_or(text);
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let digits = text.replace('-', "").to_ascii_lowercase();
    (digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digits)
}

impl Clause {
    /// What is wrong with it, if it is not of the subset.
    pub(super) fn parse(filter: &Value) -> Result<Self, String> {
        clause(filter, false, DEPTH)
    }

    /// A field whose numbers are asked for, where the engine would look for dates.
    pub(super) fn misread<'c>(&'c self, spelling: &Spelling) -> Option<&'c str> {
        let misread = |condition: &'c Condition| match condition {
            Condition::Clause(clause) => clause.misread(spelling),
            Condition::Field { key, test: Test::Range { .. }, .. } => {
                spelling.dates.contains(key).then_some(key.as_str())
            }
            Condition::Field { .. } => None,
        };
        self.must.iter().chain(&self.should).chain(&self.must_not).find_map(misread)
    }

    pub(super) fn holds(&self, payload: &Payload, spelling: &Spelling) -> bool {
        let holds = |condition: &Condition| condition.holds(payload, spelling);
        self.must.iter().all(holds)
            && (self.should.is_empty() || self.should.iter().any(holds))
            && !self.must_not.iter().any(holds)
    }
}

impl Condition {
    fn holds(&self, payload: &Payload, spelling: &Spelling) -> bool {
        match self {
            Self::Clause(clause) => clause.holds(payload, spelling),
            Self::Field { key, path, test } => {
                let one = |value: &Value| test.holds(value, |a, b| spelling.same(key, a, b));
                path.values(payload).into_iter().any(|value| match value {
                    Value::Array(values) => values.iter().any(one),
                    value => one(value),
                })
            }
        }
    }
}

impl Test {
    fn holds(&self, value: &Value, same: impl Fn(&str, &str) -> bool) -> bool {
        match (self, value) {
            (Self::Bool(wanted), Value::Bool(stored)) => wanted == stored,
            (Self::Strings(any), Value::String(stored)) => any.iter().any(|s| same(s, stored)),
            (Self::Integers(any), Value::Number(stored)) => {
                stored.as_i64().is_some_and(|stored| any.contains(&stored))
            }
            (Self::NotStrings(_) | Self::NotIntegers(_), Value::Null) => false,
            (Self::NotStrings(none), Value::String(stored)) => {
                !none.iter().any(|s| same(s, stored))
            }
            (Self::NotIntegers(none), Value::Number(stored)) => {
                !stored.as_i64().is_some_and(|stored| none.contains(&stored))
            }
            (Self::NotStrings(_) | Self::NotIntegers(_), _) => true,
            (Self::Range { gt, gte, lt, lte }, Value::Number(stored)) => {
                stored.as_f64().is_some_and(|stored| {
                    gt.is_none_or(|bound| stored > bound)
                        && gte.is_none_or(|bound| stored >= bound)
                        && lt.is_none_or(|bound| stored < bound)
                        && lte.is_none_or(|bound| stored <= bound)
                })
            }
            _ => false,
        }
    }
}

fn clause(filter: &Value, negated: bool, depth: usize) -> Result<Clause, String> {
    let map = filter.as_object().ok_or("a filter is a table of `must`, `should`, `must_not`")?;
    if depth == 0 {
        return Err(format!("filters stand in filters more than {DEPTH} deep"));
    }
    let mut read = Clause { must: vec![], should: vec![], must_not: vec![] };
    for (word, given) in map {
        let (to, negated) = match word.as_str() {
            "must" => (&mut read.must, negated),
            "should" => (&mut read.should, negated),
            "must_not" => (&mut read.must_not, true),
            other => {
                return Err(format!(
                    "`{other}` cannot be held against a row: only must, should, must_not"
                ));
            }
        };
        let conditions = match given {
            Value::Array(conditions) => conditions.as_slice(),
            one => std::slice::from_ref(one),
        };
        if conditions.is_empty() {
            return Err(format!("`{word}` is empty"));
        }
        for given in conditions {
            to.push(condition(given, negated, depth - 1)?);
        }
    }
    if map.is_empty() {
        return Err("it has no condition".into());
    }
    Ok(read)
}

fn condition(given: &Value, negated: bool, depth: usize) -> Result<Condition, String> {
    let map = given.as_object().ok_or("a condition is a table")?;
    let Some(key) = map.get("key") else {
        return clause(given, negated, depth).map(Condition::Clause);
    };
    let key = key.as_str().ok_or("`key` is a text")?.to_owned();
    let path = Path::parse(&key).ok_or_else(|| format!("`{key}` is no path of a field"))?;
    let tests: Vec<_> = map.iter().filter(|(word, _)| *word != "key").collect();
    let test = match tests.as_slice() {
        [(word, given)] if *word == "match" => matching(given, negated)?,
        // What the field's index does not know, it does not exclude: fractions in one of whole
        // numbers, numbers in one of dates.
        [(word, _)] if *word == "range" && negated && !planted::is("memory-range-negated") => {
            return Err(format!(
                "`{key}`: no `range` in `must_not`; write in `must` what is let through"
            ));
        }
        [(word, given)] if *word == "range" => range(given)?,
        _ => return Err(format!("`{key}` has one of `match` and `range`, and nothing else")),
    };
    Ok(Condition::Field { key, path, test })
}

fn matching(given: &Value, negated: bool) -> Result<Test, String> {
    const WRONG: &str = "`match` has one of `value`, `any`, `except`";
    let map = given.as_object().filter(|map| map.len() == 1).ok_or(WRONG)?;
    let (word, given) = map.iter().next().ok_or(WRONG)?;
    let values = match given {
        Value::Array(values) if word != "value" => values.as_slice(),
        one if word == "value" => std::slice::from_ref(one),
        _ => return Err(format!("`{word}` is a list")),
    };
    if let ("value", [Value::Bool(wanted)]) = (word.as_str(), values) {
        return Ok(Test::Bool(*wanted));
    }
    let strings: Option<Vec<String>> =
        values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    let integers: Option<Vec<i64>> = values.iter().map(Value::as_i64).collect();
    match (word.as_str(), strings, integers) {
        _ if values.is_empty() => Err(format!("`{word}` is empty")),
        ("value" | "any", Some(strings), _) => Ok(Test::Strings(strings)),
        ("value" | "any", _, Some(integers)) => Ok(Test::Integers(integers)),
        // Whether it holds for a value of another kind depends on the field's index.
        ("except", ..) if negated => Err("`except` in `must_not` is `any` in `must`".into()),
        ("except", Some(strings), _) => Ok(Test::NotStrings(strings)),
        ("except", _, Some(integers)) => Ok(Test::NotIntegers(integers)),
        ("value" | "any" | "except", ..) => Err(format!("`{word}` is of texts or whole numbers")),
        _ => Err(WRONG.into()),
    }
}

fn range(given: &Value) -> Result<Test, String> {
    let map: &Map<String, Value> =
        given.as_object().filter(|map| !map.is_empty()).ok_or("`range` is a table")?;
    let bound = |word: &str| match map.get(word) {
        None => Ok(None),
        Some(value) => {
            let number = value.as_f64().ok_or_else(|| format!("`range.{word}` is a number"))?;
            Ok::<_, String>(Some(number))
        }
    };
    if let Some(other) = map.keys().find(|w| !matches!(w.as_str(), "gt" | "gte" | "lt" | "lte")) {
        return Err(format!("`range.{other}` is not known: gt, gte, lt, lte"));
    }
    Ok(Test::Range { gt: bound("gt")?, gte: bound("gte")?, lt: bound("lt")?, lte: bound("lte")? })
}
