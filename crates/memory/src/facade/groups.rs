//! Results by the value of a field, with Qdrant's semantics: the groups are those of the best
//! results, in their order; each holds its own best.

use std::collections::{HashMap, HashSet};

use scope::Access;
use serde_json::{Value, json};

use super::{Asked, Group, Record, shown::Shown};
use crate::{
    Error, Point,
    path::Path,
    reach::ours,
    request::{Filter, Groups, Query},
};

/// Rounds after which what was found has to do.
const ROUNDS: usize = 32;

/// By what results are grouped: a text or a whole number. Others have no group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(String),
    Int(i64),
    Large(u64),
}

impl Key {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(n) => n.as_i64().map(Self::Int).or_else(|| n.as_u64().map(Self::Large)),
            _ => None,
        }
    }

    /// In all groups of an array's elements.
    fn all(path: &Path, row: &Point) -> Vec<Self> {
        let (mut keys, mut once) = (Vec::new(), HashSet::new());
        let mut add = |value: &Value| {
            if let Some(key) = Self::of(value).filter(|key| once.insert(key.clone())) {
                keys.push(key);
            }
        };
        for value in path.values(&row.payload) {
            match value {
                Value::Array(values) => values.iter().for_each(&mut add),
                value => add(value),
            }
        }
        keys
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.clone()),
            Self::Int(n) => Value::from(*n),
            Self::Large(n) => Value::from(*n),
        }
    }
}

/// What was found so far.
struct Found {
    groups: Vec<(Key, Vec<Record>)>,
    /// Where each group is.
    places: HashMap<Key, usize>,
    limit: usize,
    size: usize,
}

impl Found {
    /// Puts a row into its groups; whether that brought anything.
    fn add(&mut self, keys: Vec<Key>, record: &Record, new_groups: bool) -> bool {
        let (mut brought, mut room) = (false, self.missing());
        for key in keys {
            let place = self.places.get(&key).copied();
            match place.and_then(|place| self.groups.get_mut(place)) {
                Some((_, hits)) => {
                    let known = hits.iter().any(|hit| hit.id == record.id);
                    if !known && hits.len() < self.size {
                        hits.push(record.clone());
                        brought = true;
                    }
                }
                None if new_groups && room > 0 => {
                    self.places.insert(key.clone(), self.groups.len());
                    self.groups.push((key, vec![record.clone()]));
                    (brought, room) = (true, room - 1);
                }
                None => {}
            }
        }
        brought
    }

    fn missing(&self) -> usize {
        self.limit - self.groups.len()
    }

    fn unfilled(&self) -> Vec<&Key> {
        let short = self.groups.iter().filter(|(_, hits)| hits.len() < self.size);
        short.map(|(key, _)| key).collect()
    }
}

impl<A: Access> Asked<'_, A> {
    pub(super) async fn groups(&self, asked: &Groups) -> Result<Vec<Group>, Error> {
        let path = Path::parse(&asked.by).ok_or_else(|| {
            Error::Invalid(format!("Wrong input: `{}` is no path of a field", asked.by))
        })?;
        let shown = Shown::of(&asked.query.show, &self.collection)?;
        let (groups, places) = (Vec::new(), HashMap::new());
        let mut found = Found { groups, places, limit: asked.query.limit, size: asked.size };
        let grouping = Grouping { asked, path, shown, most: self.of.inner.settings.results };
        if !self.find(&grouping, &mut found).await? {
            self.fill(&grouping, &mut found).await?;
        }
        let group = |(key, hits): (Key, Vec<Record>)| Group { id: key.json(), hits };
        Ok(found.groups.into_iter().map(group).collect())
    }

    /// Looks for the best groups. Whether every point there is was seen, and nothing is left
    /// to fill.
    async fn find(&self, by: &Grouping<'_>, found: &mut Found) -> Result<bool, Error> {
        let most = by.most;
        let mut limit = found.limit.saturating_mul(found.size).clamp(1, most);
        for round in 0..ROUNDS {
            let known: Vec<&Key> = found.groups.iter().map(|(key, _)| key).collect();
            let filter = by.others(&known)?;
            let (seen, brought) = self.round(by, filter, limit, found, true).await?;
            if seen < limit {
                return Ok(round == 0);
            }
            if found.missing() == 0 {
                return Ok(false);
            }
            if !brought {
                if limit >= most {
                    return Ok(false);
                }
                limit = limit.saturating_mul(4).min(most);
            }
        }
        Ok(false)
    }

    /// Looks for more of the groups that are not full.
    async fn fill(&self, by: &Grouping<'_>, found: &mut Found) -> Result<(), Error> {
        let most = by.most;
        let mut wider = 1;
        for _ in 0..ROUNDS {
            let unfilled = found.unfilled();
            let Some(filter) = by.among(&unfilled)? else { return Ok(()) };
            let limit = (unfilled.len() * found.size).saturating_mul(2 * wider).clamp(1, most);
            let (seen, brought) = self.round(by, Some(filter), limit, found, false).await?;
            if seen < limit || !brought && limit >= most {
                return Ok(());
            }
            wider = if brought { 1 } else { wider * 4 };
        }
        Ok(())
    }

    async fn round(
        &self,
        by: &Grouping<'_>,
        filter: Option<Filter>,
        limit: usize,
        found: &mut Found,
        new_groups: bool,
    ) -> Result<(usize, bool), Error> {
        let query = by.query(filter, limit)?;
        let held = self.ranked(&query).await?;
        let mut brought = false;
        for (verdict, row) in held.rows {
            let keys = Key::all(&by.path, &row);
            let record = by.shown.record(row, verdict);
            brought |= found.add(keys, &record, new_groups);
            // A row may be in as many groups as fit into it.
            tokio::task::yield_now().await;
        }
        Ok((held.named, brought))
    }
}

struct Grouping<'a> {
    asked: &'a Groups,
    path: Path,
    shown: Shown<'a>,
    most: usize,
}

impl Grouping<'_> {
    /// The query with another limit, and held to what has the field at all.
    fn query(&self, filter: Option<Filter>, limit: usize) -> Result<Query, Error> {
        let there = ours(&json!({"must_not": [{"is_empty": {"key": self.asked.by}}]}))?;
        let mut query = self.asked.query.clone();
        query.filter = query.filter.into_iter().chain(filter).chain([there]).reduce(Filter::and);
        query.limit = limit;
        let most = self.most;
        query.prefetch.iter_mut().for_each(|prefetch| deeper(prefetch, self.asked.size, most));
        Ok(query)
    }

    /// What is in another group than these, too.
    fn others(&self, known: &[&Key]) -> Result<Option<Filter>, Error> {
        let conditions = self.conditions(known, "except");
        if conditions.is_empty() {
            return Ok(None);
        }
        ours(&json!({"must": conditions})).map(Some)
    }

    /// What is in one of these groups.
    fn among(&self, keys: &[&Key]) -> Result<Option<Filter>, Error> {
        let conditions = self.conditions(keys, "any");
        if conditions.is_empty() {
            return Ok(None);
        }
        ours(&json!({"should": conditions})).map(Some)
    }

    fn conditions(&self, keys: &[&Key], word: &str) -> Vec<Value> {
        let of = |list: Vec<Value>| {
            let condition = json!({"key": self.asked.by, "match": {word: list}});
            (!list.is_empty()).then_some(condition)
        };
        let texts = keys.iter().filter(|key| matches!(key, Key::Text(_)));
        let numbers = keys.iter().filter(|key| matches!(key, Key::Int(_)));
        let lists = [texts.map(|k| k.json()).collect(), numbers.map(|k| k.json()).collect()];
        lists.into_iter().filter_map(of).collect()
    }
}

/// As Qdrant does: what is fused must reach as deep as the groups.
fn deeper(prefetch: &mut Query, size: usize, most: usize) {
    prefetch.limit = prefetch.limit.saturating_mul(size).min(most.max(prefetch.limit));
    prefetch.prefetch.iter_mut().for_each(|inner| deeper(inner, size, most));
}
