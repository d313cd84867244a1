//! One JSON value, held against its owner.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
};

use ids::json::{self, Json};
use serde_json::Value;

use super::{
    Facts, links, own,
    path::{Key, Place},
    words,
};
use crate::{Source, contract::Final};

/// JSON within strings is looked into so often.
pub(super) const NESTED: usize = 3;

/// Values and keys that are looked at, in all forms of an answer together: as many as one document may
/// have, in structured content and once more in texts.
const NODES: usize = 400_000;

/// What is known of a value.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Every record in it is ours; `alone` if there is one at least and no words stand around them.
    Own {
        /// See there.
        alone: bool,
    },
    /// It cannot be told whose it is.
    Nothing(String),
    /// Another's is in it.
    Foreign(String),
}

/// What an answer is held against.
pub(super) struct Hold<'a> {
    places: &'a [Place],
    facts: &'a Facts,
    account: Option<&'a str>,
    pub(super) said: HashSet<String>,
    pub(super) unverifiable: bool,
    /// Records that may still be looked at.
    left: Cell<usize>,
    /// Values and keys.
    nodes: Cell<usize>,
}

impl<'a> Hold<'a> {
    pub(super) fn new(
        places: &'a [Place],
        facts: &'a Facts,
        call: &'a Final,
        unverifiable: bool,
        most: usize,
    ) -> Self {
        let account = call.account.as_ref().map(ids::AccountId::as_str);
        let said = words::said(call);
        let (left, nodes) = (Cell::new(most), Cell::new(NODES));
        Self { places, facts, account, said, unverifiable, left, nodes }
    }

    /// Begins with another answer.
    pub(super) fn renew(&self, most: usize) {
        self.left.set(most);
        self.nodes.set(NODES);
    }

    /// Reads a text, at the expense of what may still be looked at: an upstream chooses how many there are.
    pub(super) fn read(&self, text: &str) -> Text {
        match read_of(text, self.nodes.get()) {
            Text::Json(value) if !self.spend(&value) => Text::Refused(json::Error::Nodes),
            read => read,
        }
    }

    /// A whole document: as it was read already, just as strictly, or its text.
    pub(super) fn whole<'t>(&self, read: Option<Value>, text: impl Fn() -> &'t str) -> Text {
        match read {
            Some(value) if !self.spend(&value) => Text::Refused(json::Error::Nodes),
            Some(value @ (Value::Object(_) | Value::Array(_))) => Text::Json(value),
            // A number or a word by itself is free text.
            _ => self.read(text()),
        }
    }

    /// Whether there is enough left to look at this.
    pub(super) fn spend(&self, value: &Value) -> bool {
        let left = self.nodes.get().checked_sub(own::nodes(value));
        self.nodes.set(left.unwrap_or_default());
        left.is_some()
    }

    /// Whether a part of a URI names us. That others have a `live` or a `support`, too, says nothing.
    pub(super) fn is_ours(&self, part: &str) -> bool {
        self.places.iter().map(|place| place.equals).any(|source| {
            !matches!(source, Source::Environment | Source::Workflow)
                && self.facts.accepts(source, self.account, part)
        })
    }

    /// Whether a word looks like an account of the same system that is not ours.
    pub(super) fn is_anothers(&self, text: &str) -> bool {
        links::names_another(&self.facts.accounts, text)
    }

    /// Judges a value. `form` says which, for messages.
    pub(super) fn judge(&self, form: &str, value: &Value) -> Verdict {
        let mut anchors = Addresses::default();
        let mut records = 0;
        let mut unsaid = None;
        for place in self.places {
            let found = place.records(value);
            if found.is_empty() {
                anchors.extend(place.empty(value).into_iter().map(address));
                continue;
            }
            records += found.len();
            let Some(left) = self.left.get().checked_sub(found.len()) else {
                return Verdict::Foreign(format!("{form} holds more records than are looked at"));
            };
            self.left.set(left);
            let most = match ids::planted::is("tools-owner-first-record-only") {
                true => 1,
                false => usize::MAX,
            };
            for (at, record) in found.into_iter().enumerate() {
                anchors.insert(address(record));
                if at >= most {
                    continue;
                }
                match place.owner(record) {
                    None | Some(Value::Null) => {
                        unsaid.get_or_insert((at, place));
                    }
                    Some(owner) if self.owns(place, owner) => {}
                    Some(_) => return foreign(form, at, place),
                }
            }
        }
        if !ids::planted::is("tools-owner-sweep-skipped")
            && let Some(why) = self.sweep(form, value, 0)
        {
            return Verdict::Foreign(why);
        }
        if anchors.is_empty() {
            return Verdict::Nothing(format!("{form} has no record where one should stand"));
        }
        if let Some((at, place)) = unsaid
            && !ids::planted::is("tools-owner-missing-passes")
        {
            return Verdict::Nothing(format!(
                "record {at} of {form} does not say whose it is at `{}`",
                place.name
            ));
        }
        self.around(form, value, &anchors, records)
    }

    /// Judges what stands around the records.
    fn around(&self, form: &str, value: &Value, anchors: &Addresses, records: usize) -> Verdict {
        let mut leading = Addresses::default();
        leads(value, anchors, &mut leading);
        let leading = &leading;
        let mut around =
            Around { hold: self, anchors, leading, words: false, another: false, news: false };
        if !around.covers(value, Key::default()) {
            return Verdict::Nothing(format!("{form} has a list of records that no path leads to"));
        }
        if around.another {
            return Verdict::Foreign(format!("{form} names another account around its records"));
        }
        // A record of nobody's beside the empty list is what an upstream says when it mixes up two answers.
        if records == 0 && around.news && !ids::planted::is("tools-owner-empty-list-passes") {
            return Verdict::Nothing(format!(
                "{form} has no record and says something all the same"
            ));
        }
        Verdict::Own { alone: records > 0 && !around.words }
    }

    fn owns(&self, place: &Place, owner: &Value) -> bool {
        match owner {
            Value::Array(all) => {
                !all.is_empty() && all.iter().all(|one| !one.is_array() && self.owns(place, one))
            }
            one => {
                text(one).is_some_and(|text| self.facts.accepts(place.equals, self.account, &text))
            }
        }
    }

    /// Looks in every object for what stands where an owner would and names another: records hide
    /// within records, beside them, and in JSON within strings.
    fn sweep(&self, form: &str, value: &Value, nested: usize) -> Option<String> {
        own::step();
        match value {
            Value::Array(items) => items.iter().find_map(|item| self.sweep(form, item, nested)),
            Value::Object(entries) => {
                for place in self.places {
                    if place.names(value, |named| self.names_another(place, named)) {
                        return Some(format!("{form} names another owner, as at `{}`", place.name));
                    }
                }
                entries.values().find_map(|value| self.sweep(form, value, nested))
            }
            Value::String(text) => match self.read(text) {
                Text::Free | Text::Blank => None,
                Text::Json(_) if nested == NESTED => {
                    Some(format!("{form} holds JSON in strings in strings"))
                }
                Text::Json(value) => self.sweep(form, &value, nested + 1),
                Text::Refused(why) => Some(format!("{form} holds JSON that is refused: {why}")),
            },
            _ => None,
        }
    }

    /// What a key says of what stands there. `above` is of the key that its object stands at.
    fn key(&self, key: &str, above: Key) -> Key {
        Key::read(key, above).or_owner(self.places.iter().any(|place| place.is_named(key)))
    }

    /// Whether a text beside the empty list tells nothing of a record.
    fn is_no_news(&self, text: &str, key: Key) -> bool {
        if self.is_known(text) || text.trim().is_empty() {
            return true;
        }
        // Small numbers are plain, but here they would be an owner's.
        let plain = words::are_plain(text, &self.said)
            && !(key.owner && text.contains(|c: char| c.is_ascii_digit()));
        plain || (key.page && is_opaque(text))
    }

    /// What is known of whoever calls, or was said by the call.
    fn is_known(&self, text: &str) -> bool {
        let Facts { tenant, environment, workflow, run, subject, accounts } = self.facts;
        let more = [workflow, run, subject].into_iter().flatten().chain(accounts);
        self.said.contains(text)
            || [tenant, environment].into_iter().chain(more).any(|own| own == text)
    }

    fn names_another(&self, place: &Place, named: &Value) -> bool {
        // One key with two meanings (a tenant's, an account's) may name either.
        let owned = |one: &Value| {
            self.places.iter().any(|other| other.is_at(place) && self.owns(other, one))
        };
        match named {
            Value::Null | Value::Bool(_) | Value::Object(_) => false,
            Value::Array(items) => items
                .iter()
                .any(|item| matches!(item, Value::String(_) | Value::Number(_)) && !owned(item)),
            one => !owned(one),
        }
    }
}

fn foreign(form: &str, at: usize, place: &Place) -> Verdict {
    Verdict::Foreign(format!("record {at} of {form} is not ours by `{}`", place.name))
}

/// What stands around the records.
struct Around<'a> {
    hold: &'a Hold<'a>,
    anchors: &'a Addresses,
    /// What holds one of them.
    leading: &'a Addresses,
    /// Whether there are texts.
    words: bool,
    /// Whether one of them, or a number where an owner would stand, names another account.
    another: bool,
    /// Whether something is said that may be of a record.
    news: bool,
}

impl Around<'_> {
    /// Whether each object in a list is a record, or leads to one.
    fn covers(&mut self, value: &Value, key: Key) -> bool {
        own::step();
        if self.anchors.contains(&address(value)) {
            return true;
        }
        match value {
            // A list of lists is a table: its rows are records, too.
            Value::Array(items) => items.iter().all(|item| {
                let scalar = !matches!(item, Value::Object(_) | Value::Array(_));
                (scalar || is_empty(item) || self.leading.contains(&address(item)))
                    && self.covers(item, key.listed())
            }),
            Value::Object(entries) => {
                entries.iter().all(|(name, value)| self.covers(value, self.hold.key(name, key)))
            }
            Value::String(text) => {
                self.words |= !text.trim().is_empty();
                self.another |= self.hold.is_anothers(text);
                self.news |= !self.hold.is_no_news(text, key);
                true
            }
            Value::Number(number) if key.owner => {
                let text = number.to_string();
                self.another |= self.hold.is_anothers(&text);
                self.news |= !self.hold.is_known(&text);
                true
            }
            _ => true,
        }
    }
}

/// Finds what leads to an anchor, in one walk: asked at each list anew, lists in lists would be walked
/// over as often as they are deep.
fn leads(value: &Value, anchors: &Addresses, leading: &mut Addresses) -> bool {
    own::step();
    // Counted, since `any` would stop at the first.
    let leads = anchors.contains(&address(value))
        || match value {
            Value::Array(items) => {
                items.iter().filter(|item| leads(item, anchors, leading)).count() > 0
            }
            Value::Object(entries) => {
                entries.values().filter(|value| leads(value, anchors, leading)).count() > 0
            }
            _ => false,
        };
    if leads {
        leading.insert(address(value));
    }
    leads
}

/// Cursors and links to pages are one word.
fn is_opaque(text: &str) -> bool {
    text.len() <= words::LONGEST && text.bytes().all(|b| b.is_ascii_graphic() && b != b'@')
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Of values: looked up for each that an answer holds, and nothing that an upstream chooses.
type Addresses = HashSet<usize, BuildHasherDefault<Spread>>;

/// Spreads addresses, whose last bits are all alike, by a multiplication.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // A table goes by the last bits and by the first.
        self.0.rotate_left(26)
    }
}

/// What tells values of one document apart.
fn address(value: &Value) -> usize {
    std::ptr::from_ref(value) as usize
}

/// What an owner is called: a string as it is, a whole number by its digits.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) if !number.is_f64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// What a text is.
pub(super) enum Text {
    /// White space.
    Blank,
    /// An object or a list.
    Json(Value),
    /// Neither.
    Free,
    /// JSON that two readers may read as two things.
    Refused(json::Error),
}

/// Reads a text strictly.
pub(super) fn read(text: &str) -> Text {
    read_of(text, usize::MAX)
}

/// As [`read`], of so many values and keys at most.
fn read_of(text: &str, most: usize) -> Text {
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    if trimmed.is_empty() {
        return Text::Blank;
    }
    if !trimmed.starts_with(['{', '[']) {
        return Text::Free;
    }
    let limits = json::Limits::default();
    let limits = json::Limits { nodes: limits.nodes.min(most), ..limits };
    match json::value(trimmed.as_bytes(), &limits) {
        Ok(value) => Text::Json(value),
        Err(json::Error::Syntax { .. }) => Text::Free,
        Err(why) => Text::Refused(why),
    }
}

/// The same value in the form that paths are looked up in.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => Value::Number(number.clone()),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(entries) => {
            Value::Object(entries.iter().map(|(key, json)| (key.clone(), value(json))).collect())
        }
    }
}

/// And the other way round.
pub(crate) fn json_of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(number) => Json::Number(number.clone()),
        Value::String(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(json_of).collect()),
        Value::Object(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), json_of(value))).collect())
        }
    }
}
