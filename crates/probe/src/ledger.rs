//! The ledger: what was left at a target, whether it was removed, and whether its owner then looks
//! for it in vain. What cannot be removed is told, with how to do it by hand.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ids::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{
    catalog::Surface,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    verdict::Halt,
    wire::Exchange,
};

/// After so many removals without any answer nobody is asked any more.
const PATIENCE: usize = 3;

/// Something that is left at a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The target's name in the file.
    pub target: String,
    /// Where in it.
    pub place: String,
    /// What: its ids, or its canary.
    pub what: String,
    /// Why it is there still.
    pub why: String,
    /// How to remove it.
    pub by_hand: String,
    /// Whether removing it was tried and failed, and not merely impossible.
    pub failed: bool,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, place, what, why, by_hand, .. } = self;
        write!(f, "{target} {place}: {what} ({why}); {by_hand}")
    }
}

/// What became of the canaries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planting {
    /// Left at some place.
    pub planted: usize,
    /// Removed again.
    pub removed: usize,
    /// Of these, shown to be gone: its owner no longer found it.
    pub verified: usize,
    /// What is there still.
    pub left: Vec<Leftover>,
}

impl Planting {
    /// How many could not be removed, though it was tried.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.left.iter().filter(|left| left.failed).count()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.planted += other.planted;
        self.removed += other.removed;
        self.verified += other.verified;
        self.left.extend(other.left);
    }
}

/// What became of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Being left right now; if this stays, nobody knows whether it is there.
    Unknown,
    There,
    /// The place has no way to remove it.
    Stays,
    /// Removed, as the target says; its owner has no way to look for it.
    Removed,
    /// Removed, and its owner looked for it in vain.
    Gone,
    /// Removed, as the target says, but not shown to be gone.
    Found,
    Failed(String),
}

#[derive(Debug)]
struct Entry {
    place: String,
    what: String,
    by_hand: String,
    /// For a place: who left it, and what; of other things their makers take care.
    planted: Option<(Caller, Planted)>,
    fate: Fate,
}

/// One thing in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(usize);

/// What was left at one target.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Vec<Entry>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, entry: Entry) -> Mark {
        let mut entries = self.lock();
        entries.push(entry);
        Mark(entries.len() - 1)
    }

    fn fate(&self, mark: Mark, fate: Fate) {
        if let Some(entry) = self.lock().get_mut(mark.0) {
            entry.fate = fate;
        }
    }

    /// Something that is no canary at a place, e.g. a collection, was made: what it is, and how
    /// to remove it by hand. Whoever made it removes it, and says so by [`Ledger::removed`].
    pub(crate) fn made(&self, place: &str, what: &str, by_hand: &str) -> Mark {
        self.enter(Entry {
            place: place.to_owned(),
            what: what.to_owned(),
            by_hand: by_hand.to_owned(),
            planted: None,
            fate: Fate::There,
        })
    }

    /// What was made was removed; `verified` if it was looked for and is gone.
    pub(crate) fn removed(&self, mark: Mark, verified: bool) {
        self.fate(mark, if verified { Fate::Gone } else { Fate::Found });
    }

    /// What was made was removed, as the target says, and nobody can look for it.
    pub(crate) fn taken(&self, mark: Mark) {
        self.fate(mark, Fate::Removed);
    }

    /// There is no way to remove it.
    pub(crate) fn stays(&self, mark: Mark) {
        self.fate(mark, Fate::Stays);
    }

    /// What was made could not be removed.
    pub(crate) fn failed(&self, mark: Mark, why: impl Into<String>) {
        self.fate(mark, Fate::Failed(why.into()));
    }

    fn intends(&self, place: &dyn Place, by: &Caller, text: &str) -> Mark {
        self.enter(Entry {
            place: place.name().to_owned(),
            what: format!("the text {text}"),
            by_hand: format!("look for it as {} and remove it", by.label),
            planted: None,
            fate: Fate::Unknown,
        })
    }

    fn there(&self, mark: Mark, by: &Caller, planted: &Planted) {
        let handles: Vec<String> =
            planted.handles.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if let Some(entry) = self.lock().get_mut(mark.0) {
            if !handles.is_empty() {
                entry.what = handles.join(", ");
            }
            entry.planted = Some((by.clone(), planted.clone()));
            entry.fate = Fate::There;
        }
    }

    /// It was not left after all.
    fn never(&self, mark: Mark) {
        // The place in the list is kept: marks are places in it.
        self.fate(mark, Fate::Gone);
        if let Some(entry) = self.lock().get_mut(mark.0) {
            entry.what.clear();
        }
    }

    /// The entry of what this caller left, if it is there still.
    fn of(&self, by: &Caller, planted: &Planted) -> Option<Mark> {
        let entries = self.lock();
        let same = |entry: &Entry| {
            let own = entry.planted.as_ref();
            matches!(entry.fate, Fate::There | Fate::Failed(_))
                && own
                    .is_some_and(|(owner, own)| owner.label == by.label && own.text == planted.text)
        };
        entries.iter().position(same).map(Mark)
    }

    /// What is there still at a place, with who left it.
    fn at(&self, place: &str) -> Vec<(Mark, Caller, Planted)> {
        let entries = self.lock();
        let there = entries.iter().enumerate().filter(|(_, entry)| {
            entry.place == place && matches!(entry.fate, Fate::There | Fate::Failed(_))
        });
        let owned = there.filter_map(|(at, entry)| {
            let (by, planted) = entry.planted.clone()?;
            Some((Mark(at), by, planted))
        });
        owned.collect()
    }

    /// What it comes to.
    pub(crate) fn sum(&self, target: &str) -> Planting {
        let mut sum = Planting::default();
        for entry in self.lock().iter().filter(|entry| !entry.what.is_empty()) {
            sum.planted += 1;
            let (why, failed) = match &entry.fate {
                Fate::Gone => {
                    sum.removed += 1;
                    sum.verified += 1;
                    continue;
                }
                Fate::Removed => {
                    sum.removed += 1;
                    continue;
                }
                Fate::Found => ("its owner finds it still, or could not look", true),
                Fate::Unknown => ("the run was ended while it was being left", true),
                Fate::There => ("it was not removed", true),
                Fate::Stays => ("nothing in the target file says how to remove it", false),
                Fate::Failed(why) => (why.as_str(), true),
            };
            sum.left.push(Leftover {
                target: target.to_owned(),
                place: entry.place.clone(),
                what: entry.what.clone(),
                why: why.to_owned(),
                by_hand: entry.by_hand.clone(),
                failed,
            });
        }
        sum
    }
}

/// A place of which the ledger is kept: whatever is planted there is noted, and to remove it is
/// to show that it is gone.
pub(crate) struct Tended<'p>(&'p dyn Place);

impl<'p> Tended<'p> {
    pub(crate) fn new(place: &'p dyn Place) -> Self {
        Self(place)
    }

    /// Removes what is left of all that was planted here. Neither the budget nor the user's ending
    /// of the run keeps it from doing so.
    pub(crate) async fn sweep(&self, lab: &Lab) {
        let mut silent = 0;
        for (mark, by, planted) in lab.ledger.at(self.0.name()) {
            if silent >= PATIENCE {
                lab.ledger.failed(mark, "the target does not answer any more");
                continue;
            }
            let answered = match self.tend(lab, &by, &planted, mark).await {
                Ok(Some(exchange)) => exchange.answer().is_some(),
                Ok(None) => true,
                Err(_) => false,
            };
            silent = if answered { 0 } else { silent + 1 };
        }
    }

    /// Removes one thing in its owner's name, and lets the owner look for it.
    async fn tend(
        &self,
        lab: &Lab,
        by: &Caller,
        planted: &Planted,
        mark: Mark,
    ) -> Result<Option<Exchange>, Halt> {
        let _cleaning = lab.wire.cleaning();
        let removed = match self.0.remove(lab, by, planted).await {
            Ok(Some(exchange)) => exchange,
            Ok(None) => {
                lab.ledger.stays(mark);
                return Ok(None);
            }
            Err(halt) => {
                lab.ledger.failed(mark, format!("removing it: {halt}"));
                return Err(halt);
            }
        };
        let verified = lab.options.dry_run || self.gone(lab, by, planted).await;
        let done = removed.accepted() || verified;
        match done {
            true => lab.ledger.removed(mark, verified),
            false => {
                let why = match &removed.outcome {
                    Ok(answer) => format!("{} answered {}", removed.line, answer.status),
                    Err(why) => format!("{}: {why}", removed.line),
                };
                lab.ledger.failed(mark, why);
            }
        }
        Ok(Some(removed))
    }

    /// The owner asks for it and is told something else. No answer, or an error, says nothing.
    async fn gone(&self, lab: &Lab, by: &Caller, planted: &Planted) -> bool {
        let Ok(exchange) = self.0.read(lab, by, planted, &Twist::none()).await else {
            return false;
        };
        let Some(answer) = exchange.answer() else { return false };
        let held = String::from_utf8_lossy(&answer.body).contains(&planted.text);
        answer.status < 500 && !matches!(answer.status, 401 | 403 | 429) && !held
    }
}

impl Place for Tended<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn surface(&self) -> Surface {
        self.0.surface()
    }

    fn remembers(&self) -> bool {
        self.0.remembers()
    }

    fn by_id(&self) -> bool {
        self.0.by_id()
    }

    fn takes_headers(&self) -> bool {
        self.0.takes_headers()
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        if !self.0.remembers() {
            return self.0.plant(lab, by, text);
        }
        Box::pin(async move {
            let mark = lab.ledger.intends(self.0, by, text);
            let planted = self.0.plant(lab, by, text).await;
            match &planted {
                Ok(planted) => lab.ledger.there(mark, by, planted),
                Err(_) => lab.ledger.never(mark),
            }
            planted
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        self.0.read(lab, by, planted, twist)
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async move {
            match lab.ledger.of(by, planted) {
                Some(mark) => self.tend(lab, by, planted, mark).await,
                // Somebody else tries to: an attack, or what is gone already.
                None => self.0.remove(lab, by, planted).await,
            }
        })
    }
}

#[cfg(test)]
mod tests;
