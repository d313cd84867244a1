//! Walking a chain: the same check for stored rows and for exports.

use std::fmt;

use serde::Serialize;

use super::{
    ERASED, Told,
    chain::{Hash, commitment, link},
};

/// A chain that is as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries looked at.
    pub entries: u64,
    /// Of these, how many have no readable body any more, because of an erasure.
    pub erased: u64,
    /// Signed heads that agree with the chain.
    pub notes: u64,
    /// The number of the last entry.
    pub through: u64,
    /// The last link.
    pub head: Hash,
    /// Whether it goes up to the signed head: always, but for a part of an export.
    pub complete: bool,
}

/// Where a chain is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The number of the first entry that is wrong or missing.
    pub seq: u64,
    /// What is wrong about it.
    pub why: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken at entry {}: {}", self.seq, self.why)
    }
}

/// The result of verifying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it was written.
    Intact(Verified),
    /// Not as it was written.
    Broken(Broken),
}

impl Verdict {
    /// Whether it is as it was written.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        matches!(self, Self::Intact(_))
    }
}

/// A body as the checker sees it.
pub(crate) enum Seen<'a> {
    Open {
        salt: &'a [u8],
        text: &'a [u8],
    },
    /// There is none.
    Missing,
    /// There is one that cannot be opened any more, because its key was destroyed.
    Shredded,
}

/// Walks a chain, entry by entry.
pub(crate) struct Walk {
    /// The number of the last entry that was right.
    pub(crate) seq: u64,
    /// Its link.
    pub(crate) link: Hash,
    entries: u64,
    erased: u64,
    /// Ranges of entries without a body, which an erasure that is on record has to explain.
    missing: Vec<(u64, u64)>,
    /// Up to where erasures are on record.
    through: u64,
    pub(crate) notes: u64,
}

impl Walk {
    pub(crate) const fn from(seq: u64, link: Hash) -> Self {
        Self { seq, link, entries: 0, erased: 0, missing: Vec::new(), through: 0, notes: 0 }
    }

    pub(crate) fn broken(&self, why: &'static str) -> Broken {
        Broken { seq: self.seq + 1, why }
    }

    /// Takes the next entry.
    pub(crate) fn step(
        &mut self,
        seq: u64,
        committed: &Hash,
        stored: Option<&Hash>,
        body: &Seen<'_>,
    ) -> Result<(), Broken> {
        if seq != self.seq + 1 {
            return Err(self.broken("it is missing"));
        }
        match body {
            Seen::Open { salt, text } => {
                if commitment(salt, text) != *committed {
                    return Err(self.broken("its body is not the one that was committed to"));
                }
                self.note_erasure(text);
            }
            Seen::Missing => {
                self.erased += 1;
                match self.missing.last_mut() {
                    Some((_, last)) if *last + 1 == seq => *last = seq,
                    _ => self.missing.push((seq, seq)),
                }
            }
            Seen::Shredded => self.erased += 1,
        }
        let next = link(&self.link, seq, committed);
        if stored.is_some_and(|stored| *stored != next) {
            return Err(self.broken("its link does not follow from the one before"));
        }
        (self.seq, self.link) = (seq, next);
        self.entries += 1;
        Ok(())
    }

    fn note_erasure(&mut self, text: &[u8]) {
        // Cheaper than parsing every body.
        if !text.windows(ERASED.len()).any(|window| window == ERASED.as_bytes()) {
            return;
        }
        let through = serde_json::from_slice::<Told>(text)
            .ok()
            .filter(|told| told.entry.action == ERASED)
            .and_then(|told| told.entry.detail.get("through")?.parse().ok());
        // An erasure reaches back only.
        self.through = self.through.max(through.unwrap_or(0).min(self.seq));
    }

    /// The end; `complete` if there is no more of the chain.
    pub(crate) fn finish(self, complete: bool) -> Verdict {
        let unexplained = self.missing.iter().find(|(_, last)| *last > self.through);
        if let Some((first, _)) = unexplained
            && complete
        {
            let seq = (*first).max(self.through + 1);
            return Verdict::Broken(Broken {
                seq,
                why: "its body is gone, and no erasure is on record",
            });
        }
        Verdict::Intact(Verified {
            entries: self.entries,
            erased: self.erased,
            notes: self.notes,
            through: self.seq,
            head: self.link,
            complete,
        })
    }
}
