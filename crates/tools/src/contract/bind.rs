//! Arguments that come from the scope: the caller supplies none of them, in no spelling.

use std::collections::{BTreeMap, BTreeSet};

use ids::{AccountId, json::Json, planted};
use scope::{Scope, Write};

use super::{alike::Folded, schema, verdict::Verdict};
use crate::{
    Error, Source, Upstream,
    pointer::{Pointer, Step, index},
};

/// What is known of the value at a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It comes from the scope.
    Bound(Source),
    /// It is filled in when the call is sent.
    Withheld,
    /// The caller's, and the contract says something of it.
    Ruled,
}

/// Every place that a contract knows, as a tree.
#[derive(Debug, Default)]
pub(super) struct Places {
    top: Level,
    sources: Vec<Source>,
    bound: Vec<(Pointer, Source)>,
}

/// What is known of the members of one object, or of the items of one list.
#[derive(Debug, Default)]
struct Level {
    names: BTreeMap<String, Place>,
    /// Of every member and item, whatever its name.
    every: Option<Box<Level>>,
    /// What the schema has here, to the letter.
    declared: BTreeSet<String>,
    /// Names and paths that no other key here may look like.
    spellings: Vec<Spelling>,
    /// A bound pointer that leads through here by a name.
    by_name: Option<String>,
    /// A bound pointer that leads through here by `*`.
    by_every: Option<String>,
}

#[derive(Debug)]
struct Place {
    pointer: String,
    kind: Option<Kind>,
    below: Level,
}

#[derive(Debug)]
struct Spelling {
    folded: Folded,
    pointer: String,
    bound: bool,
}

impl Places {
    /// Makes the tree, with the schema of the arguments, if it is known.
    pub(super) fn new(known: &[(Pointer, Kind)], schema: Option<&Json>) -> Self {
        let mut places = Self::default();
        for (pointer, kind) in known {
            places.top.insert(pointer.steps(), pointer, *kind);
            let Kind::Bound(source) = kind else { continue };
            places.bound.push((pointer.clone(), *source));
            if !places.sources.contains(source) {
                places.sources.push(*source);
            }
        }
        places.top.finish(schema.map(|root| (root, root)));
        places
    }

    /// Two pointers of the contract, one of them bound, that a reader may take for one.
    pub(super) fn confused(&self) -> Option<(&str, &str)> {
        self.top.confused()
    }

    /// Whether anything is bound to this.
    pub(super) fn binds(&self, source: Source) -> bool {
        self.sources.contains(&source)
    }

    /// Holds the caller's arguments: nothing bound is among them, and nothing that is spelled like
    /// what the contract knows. Where that is only observed, what would be refused of what is bound is
    /// left out: it never goes on.
    pub(super) fn hold(&self, arguments: &mut Json, verdict: &mut Verdict) -> Result<(), Error> {
        self.top.hold(arguments, verdict).map(drop)
    }

    /// Fills in what is bound.
    pub(super) fn fill(
        &self,
        arguments: &mut Json,
        scope: &Scope<Write>,
        upstream: &Upstream,
        chosen: Option<&AccountId>,
    ) -> Result<(), Error> {
        let values = self
            .sources
            .iter()
            .map(|source| Ok((*source, value(*source, scope, upstream, chosen)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        self.top.fill(arguments, &values);
        Ok(())
    }

    /// Takes out what is bound.
    pub(super) fn strip(&self, arguments: &mut Json) {
        self.top.strip(arguments);
    }

    /// Fills in what is bound as it was filled in before.
    pub(super) fn refill(&self, before: &Json, after: &mut Json) {
        let filled = |(pointer, source): &(Pointer, Source)| {
            let (_, value) = pointer.find(before).values.into_iter().next()?;
            Some((*source, value.clone()))
        };
        let values: Vec<_> = self.bound.iter().filter_map(filled).collect();
        self.top.fill(after, &values);
    }
}

impl Level {
    fn insert(&mut self, steps: &[Step], pointer: &Pointer, kind: Kind) {
        let Some((step, rest)) = steps.split_first() else { return };
        let bound = (kind != Kind::Ruled).then(|| pointer.as_str().to_owned());
        let next = match step {
            Step::Every => {
                self.by_every = self.by_every.take().or(bound);
                self.every.get_or_insert_default()
            }
            Step::Name(name) => {
                self.by_name = self.by_name.take().or(bound);
                let place = self.names.entry(name.clone()).or_insert_with(|| Place {
                    pointer: pointer.as_str().to_owned(),
                    kind: None,
                    below: Self::default(),
                });
                if rest.is_empty() && place.kind.is_none_or(|known| known == Kind::Ruled) {
                    place.kind = Some(kind);
                    pointer.as_str().clone_into(&mut place.pointer);
                }
                &mut place.below
            }
        };
        next.insert(rest, pointer, kind);
    }

    /// Learns what the schema has here, and folds what nothing here may look like.
    fn finish(&mut self, schema: Option<(&Json, &Json)>) {
        let node = schema.and_then(|(root, node)| Some((root, schema::followed(root, node)?)));
        let child = |name: &str| {
            let (root, node) = node?;
            Some((root, node.get("properties")?.get(name)?))
        };
        if let Some(Json::Object(properties)) = node.and_then(|(_, node)| node.get("properties")) {
            self.declared = properties.iter().map(|(name, _)| name.clone()).collect();
        }
        for (name, place) in &mut self.names {
            place.below.finish(child(name));
        }
        if let Some(every) = &mut self.every {
            let items = node.and_then(|(root, node)| {
                let of = node.get("items").or_else(|| node.get("additionalProperties"));
                Some((root, of?))
            });
            every.finish(items);
        }
        let mut spellings = Vec::new();
        self.spell("", &mut spellings);
        self.spellings = spellings;
    }

    /// Every name here, and every path below as one name: `filter.account`, `filter[account]`.
    fn spell(&self, before: &str, spellings: &mut Vec<Spelling>) {
        for (name, place) in &self.names {
            let path = format!("{before}{name}");
            spellings.push(Spelling {
                folded: Folded::of(&path),
                pointer: place.pointer.clone(),
                bound: place.is_bound() || place.below.binds(),
            });
            place.below.spell(&path, spellings);
        }
        if let Some(every) = &self.every
            && !before.is_empty()
        {
            every.spell(before, spellings);
        }
    }

    const fn binds(&self) -> bool {
        self.by_name.is_some() || self.by_every.is_some()
    }

    /// Whether something is filled in here even if the caller supplies nothing.
    fn fills(&self) -> bool {
        self.names
            .values()
            .any(|place| matches!(place.kind, Some(Kind::Bound(_))) || place.below.fills())
    }

    /// Two names of the contract, one of them bound, that a reader may take for one.
    fn confused(&self) -> Option<(&str, &str)> {
        let bound = self.names.iter().filter(|(_, place)| place.is_bound());
        for (name, place) in bound {
            let folded = Folded::of(name);
            let mut others = self.names.iter().filter(|(other, _)| {
                *other != name
                    && !self.declared.contains(*other)
                    && Folded::of(other).alike(&folded)
            });
            if let Some((_, other)) = others.next() {
                return Some((&place.pointer, &other.pointer));
            }
        }
        let below = self.names.values().map(|place| &place.below).chain(self.every.as_deref());
        below.into_iter().find_map(Self::confused)
    }

    /// Whether the value may stay.
    fn hold(&self, at: &mut Json, verdict: &mut Verdict) -> Result<bool, Error> {
        let in_the_way = match at {
            Json::Object(_) => None,
            // No list is no list to bind anything in.
            Json::Array(_) | Json::Null => self.by_name.as_ref(),
            _ => self.by_name.as_ref().or(self.by_every.as_ref()),
        };
        if let Some(pointer) = in_the_way {
            return verdict.breach(Error::Bound(pointer.clone())).map(|()| false);
        }
        let mut wrong = None;
        let mut keep = |held: Result<bool, Error>| match held {
            Ok(keep) => keep,
            Err(error) => {
                wrong.get_or_insert(error);
                true
            }
        };
        match at {
            Json::Object(entries) => {
                entries.retain_mut(|(key, value)| keep(self.member(key, value, verdict)));
            }
            Json::Array(items) => {
                for (name, place) in &self.names {
                    if let Some(item) = index(name).and_then(|i| items.get_mut(i)) {
                        keep(place.below.hold(item, verdict));
                    }
                }
                if let Some(every) = &self.every {
                    items.retain_mut(|item| keep(every.hold(item, verdict)));
                }
            }
            _ => {}
        }
        wrong.map_or(Ok(true), Err)
    }

    /// Whether a member of an object may stay.
    fn member(&self, key: &str, value: &mut Json, verdict: &mut Verdict) -> Result<bool, Error> {
        let stays = match self.names.get(key) {
            Some(place) if place.is_bound() => {
                if planted::is("tools-bound-overwritten") {
                    return Ok(false);
                }
                verdict.breach(Error::Bound(place.pointer.clone())).map(|()| false)?
            }
            Some(place) => place.below.hold(value, verdict)?,
            None => match self.resembles(key) {
                Some(Spelling { pointer, bound: true, .. }) => {
                    verdict.breach(Error::Bound(pointer.clone())).map(|()| false)?
                }
                Some(Spelling { pointer, .. }) => {
                    let rule =
                        "another key is spelled like it; send it once, as it is spelled here";
                    let breach = Error::Rule { argument: pointer.clone(), rule: rule.to_owned() };
                    verdict.breach(breach).map(|()| true)?
                }
                None => true,
            },
        };
        match &self.every {
            Some(every) if stays => every.hold(value, verdict),
            _ => Ok(stays),
        }
    }

    /// What a key here may be taken for, though it is not it.
    fn resembles(&self, key: &str) -> Option<&Spelling> {
        if self.declared.contains(key)
            || self.spellings.is_empty()
            || planted::is("tools-bound-lookalike")
        {
            return None;
        }
        let folded = Folded::of(key);
        let mut alike = self.spellings.iter().filter(|known| known.folded.alike(&folded));
        let first = alike.next()?;
        if first.bound { Some(first) } else { alike.find(|known| known.bound).or(Some(first)) }
    }

    fn strip(&self, at: &mut Json) {
        if let Json::Object(entries) = at {
            entries.retain(|(key, _)| {
                let place = self.names.get(key);
                !place.is_some_and(|place| matches!(place.kind, Some(Kind::Bound(_))))
            });
            for (key, value) in entries.iter_mut() {
                if let Some(place) = self.names.get(key) {
                    place.below.strip(value);
                }
                if let Some(every) = &self.every {
                    every.strip(value);
                }
            }
        } else if let (Json::Array(items), Some(every)) = (at, &self.every) {
            items.iter_mut().for_each(|item| every.strip(item));
        }
    }

    fn fill(&self, at: &mut Json, values: &[(Source, Json)]) {
        if !self.binds() {
            return;
        }
        if let Some(every) = &self.every {
            match at {
                Json::Object(entries) => {
                    entries.iter_mut().for_each(|(_, value)| every.fill(value, values));
                }
                Json::Array(items) => items.iter_mut().for_each(|item| every.fill(item, values)),
                _ => {}
            }
        }
        let Json::Object(entries) = at else { return };
        for (name, place) in &self.names {
            match place.kind {
                Some(Kind::Bound(source)) => {
                    let value = values.iter().find(|(of, _)| *of == source);
                    if let Some((_, value)) = value {
                        // Nothing of this name is here: `hold` saw to that.
                        entries.push((name.clone(), value.clone()));
                    }
                }
                _ if place.below.binds() => {
                    let there = entries.iter_mut().find(|(key, _)| key == name);
                    if let Some((_, below)) = there {
                        place.below.fill(below, values);
                    } else if place.below.fills() {
                        let mut below = Json::Object(Vec::new());
                        place.below.fill(&mut below, values);
                        entries.push((name.clone(), below));
                    }
                }
                _ => {}
            }
        }
    }
}

impl Place {
    const fn is_bound(&self) -> bool {
        matches!(self.kind, Some(Kind::Bound(_) | Kind::Withheld))
    }
}

/// The external accounts of the scope's tenant in the upstream's system.
pub(super) fn accounts(scope: &Scope<Write>, upstream: &Upstream) -> Vec<AccountId> {
    scope.tenant_record().accounts.get(upstream.system()).cloned().unwrap_or_default()
}

/// The value of a source, for a call that is for this account, if it is for one.
fn value(
    source: Source,
    scope: &Scope<Write>,
    upstream: &Upstream,
    chosen: Option<&AccountId>,
) -> Result<Json, Error> {
    let text = |text: Option<&str>, what| {
        text.map(|text| Json::String(text.to_owned())).ok_or(Error::Unbound(what))
    };
    match source {
        Source::Account => match chosen {
            Some(account) => Ok(Json::String(account.as_str().to_owned())),
            None => {
                let accounts = accounts(scope, upstream);
                let [only] = accounts.as_slice() else {
                    return Err(Error::Unbound("exactly one account in the upstream's system"));
                };
                Ok(Json::String(only.as_str().to_owned()))
            }
        },
        Source::Accounts => {
            let accounts = accounts(scope, upstream);
            if accounts.is_empty() {
                return Err(Error::Unbound("an account in the upstream's system"));
            }
            let texts = accounts.iter().map(|account| Json::String(account.as_str().to_owned()));
            Ok(Json::Array(texts.collect()))
        }
        Source::Tenant => text(Some(scope.tenant().as_str()), "a tenant"),
        Source::Environment => text(Some(scope.environment().as_str()), "an environment"),
        Source::Workflow => text(scope.workflow().map(AsRef::as_ref), "a workflow"),
        Source::Run => text(scope.run().map(AsRef::as_ref), "a run"),
        Source::Subject => text(scope.subject().map(AsRef::as_ref), "an end user"),
    }
}
