//! Canaries: 128 random bits with a tag, planted as one tenant and hunted in everything that the
//! other one gets.
//!
//! A canary is `bhc`, 8 hex digits of the run, `a` or `b`, and 32 hex digits. The hunt goes by
//! windows of 16 hex digits, which are 64 bits: one over the tag and the first digits, for what
//! was cut short, and one over each half. Whatever spelling an answer has a canary in, it is in
//! one of the answer's views ([`views`]) as such a window.

pub(crate) mod views;

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{PoisonError, RwLock},
};

use ids::Entropy as _;
use serde::Serialize;

use self::views::{Window, views, windows};
use crate::wire::{Answer, Exchange, Veil};

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first tenant of the target file: whose things are planted, most of the time.
    A,
    /// The second one: who attacks.
    B,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// As in the target file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// Something that only one tenant can know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canary {
    pub(crate) side: Side,
    /// Where it was planted.
    pub(crate) surface: String,
    /// Letters and digits only, so that no system cuts it.
    pub(crate) text: String,
}

/// Where a canary was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) canary: Canary,
    /// In words: "in the body", "in header x-cache-key, base64", "in the body, over the pieces of
    /// a stream".
    pub(crate) place: String,
    /// The bytes around it, fit to be shown.
    pub(crate) excerpt: String,
}

/// What a window of 16 hex digits belongs to.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Which of the canaries.
    canary: usize,
    /// Read from behind.
    reversed: bool,
}

/// Canaries, and the windows by which they are found.
#[derive(Debug, Default)]
struct Index {
    canaries: Vec<Canary>,
    marks: HashMap<u64, Vec<Mark>>,
    /// A bit for the last 16 bits of each window: most of what is no canary's is told by it.
    bits: Vec<u64>,
}

/// All canaries of a run.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// By this a run's canaries are told from another run's.
    run: String,
    known: RwLock<Index>,
}

impl Canaries {
    pub(crate) fn new(run: String) -> Self {
        Self { run, known: RwLock::default() }
    }

    /// The run that they belong to.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// What this run's canaries have in common, before the letter of the tenant.
    pub(crate) fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.run.hash(&mut hasher);
        format!("bhc{:08x}", hasher.finish() & 0xffff_ffff)
    }

    /// A new one, hunted from now on.
    pub(crate) fn draw(&self, side: Side, surface: &str) -> Canary {
        let mut secret = [0; 16];
        ids::OsEntropy.fill(&mut secret);
        let text = format!("{}{}{}", self.tag(), side.name(), ids::text::hex(&secret));
        let canary = Canary { side, surface: surface.to_owned(), text };
        self.known.write().unwrap_or_else(PoisonError::into_inner).add(canary.clone());
        canary
    }

    /// One that is never planted: whoever finds it finds anything.
    pub(crate) fn never_planted(&self, side: Side) -> Canary {
        self.draw(side, "never planted")
    }

    /// Every canary in an answer that its request did not itself say.
    pub(crate) fn hunt(&self, exchange: &Exchange) -> Vec<Sighting> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).hunt(exchange)
    }
}

impl Canary {
    /// Looked for in every encoding, in status line, headers, body, and over the pieces of a
    /// stream. Nothing if the request itself said it.
    pub(crate) fn seen_in(&self, exchange: &Exchange) -> Option<Sighting> {
        let mut index = Index::default();
        index.add(self.clone());
        index.hunt(exchange).pop()
    }
}

impl Index {
    fn add(&mut self, canary: Canary) {
        let hex = canary.text.as_bytes().get(3..).unwrap_or_default();
        let number = self.canaries.len();
        // The tag with the first digits, and both halves of the 128 bits.
        for window in [0, 9, 25].into_iter().filter_map(|from| hex.get(from..from + 16)) {
            let forth = window.iter().copied();
            for (key, reversed) in [(key(forth.clone()), false), (key(forth.rev()), true)] {
                self.bits.resize(1 << 10, 0);
                let (word, bit) = place(key);
                self.bits[word] |= bit;
                self.marks.entry(key).or_default().push(Mark { canary: number, reversed });
            }
        }
        self.canaries.push(canary);
    }

    fn hunt(&self, exchange: &Exchange) -> Vec<Sighting> {
        let Some(answer) = exchange.answer() else { return Vec::new() };
        let mut found = self.find(&answer.body, &answer.veil);
        for find in self.find(head(answer).as_bytes(), &answer.veil) {
            if found.iter().all(|known| known.canary != find.canary) {
                found.push(Find { place: self.header(find.canary, answer), ..find });
            }
        }
        if found.is_empty() {
            return Vec::new();
        }
        let said = self.find(&exchange.request(), &Veil::default()).into_iter();
        let said: BTreeSet<usize> = said.map(|find| find.canary).collect();
        found.retain(|find| !said.contains(&find.canary));
        let sighting = |Find { canary, place, how, excerpt }: Find| {
            let place = [&[place.as_str()], &how[..]].concat().join(", ");
            Some(Sighting { canary: self.canaries.get(canary)?.clone(), place, excerpt })
        };
        found.into_iter().filter_map(sighting).collect()
    }

    /// The header that a canary is in.
    fn header(&self, canary: usize, answer: &Answer) -> String {
        let find = |text: &str| self.find(text.as_bytes(), &Veil::default());
        let holds = |text: &str| find(text).iter().any(|find| find.canary == canary);
        let named = answer.headers.iter().any(|(name, _)| holds(name));
        match answer.headers.iter().find(|(_, value)| holds(value)) {
            Some((name, _)) if !named => format!("in header {name}"),
            None if holds(&answer.reason) => "in the status line".to_owned(),
            _ => "in the headers".to_owned(),
        }
    }

    /// The canaries in a text, each once, as plain as they are there.
    fn find(&self, text: &[u8], veil: &Veil) -> Vec<Find> {
        let mut found: Vec<Find> = Vec::new();
        for view in views(text) {
            windows(&view.bytes, |window: Window<'_>| {
                let (word, bit) = place(window.key);
                if self.bits.get(word).is_none_or(|bits| bits & bit == 0) {
                    return;
                }
                for mark in self.marks.get(&window.key).into_iter().flatten() {
                    if found.iter().any(|known| known.canary == mark.canary) {
                        continue;
                    }
                    let reversed = mark.reversed.then_some("reversed");
                    found.push(Find {
                        canary: mark.canary,
                        place: "in the body".to_owned(),
                        how: [view.how, window.how, reversed].into_iter().flatten().collect(),
                        // Of a view: what is escaped in the answer is not in it, a credential
                        // neither.
                        excerpt: veil
                            .over(window.within, window.at)
                            .unwrap_or_else(|| excerpt(window.within, window.at)),
                    });
                }
            });
        }
        found
    }
}

/// The bit of a window.
const fn place(key: u64) -> (usize, u64) {
    let low = (key & 0xffff) as usize;
    (low >> 6, 1 << (low & 63))
}

/// A canary in a text.
struct Find {
    canary: usize,
    place: String,
    how: Vec<&'static str>,
    excerpt: String,
}

/// What is hunted of the head of an answer.
fn head(answer: &Answer) -> String {
    let mut head = format!("{}\n", answer.reason);
    for (name, value) in &answer.headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push('\n');
    }
    head
}

/// 16 hex digits as a number.
fn key(digits: impl Iterator<Item = u8>) -> u64 {
    digits.fold(0, |key, digit| key << 4 | u64::from(nibble(digit).unwrap_or_default()))
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What is around a window, and not more.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let around = &bytes[at.saturating_sub(52)..bytes.len().min(at + 32)];
    let text = String::from_utf8_lossy(around);
    text.chars().map(|c| if c.is_control() || c == '\u{fffd}' { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests;
