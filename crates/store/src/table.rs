//! Files, tables, ranges: how rows are named.

use std::fmt;

use crate::Error;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1_024;
/// The largest value, in bytes.
pub const MAX_VALUE: usize = 16 << 20;
/// The most rows that one scan may ask for.
pub const MAX_SCAN: usize = 10_000;

/// A file of the data directory. Files are apart by their kind of load, so that a flood of
/// one kind does not hold up the commits of another. A file comes into being with its first
/// write; `core` is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum File {
    /// Tenants, credentials, and everything small.
    Core,
    /// Jobs.
    Queue,
    /// Events and audit.
    Records,
    /// Memory and retrieval.
    Memory,
    /// Cached answers.
    Cache,
    /// State of runs, and what tenants own at providers.
    State,
}

impl File {
    /// Every file.
    pub const ALL: [Self; 6] =
        [Self::Core, Self::Queue, Self::Records, Self::Memory, Self::Cache, Self::State];

    /// Its name, without `.db`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Queue => "queue",
            Self::Records => "records",
            Self::Memory => "memory",
            Self::Cache => "cache",
            Self::State => "state",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of row. Declared as a constant by the crate that owns the rows; the id is unique
/// within the whole program and never used again for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// The file it is in.
    pub file: File,
    /// What stands in the rows.
    pub id: u16,
    /// For people.
    pub name: &'static str,
}

/// Which rows a scan returns, in the order of their keys (bytewise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// Only keys beyond this one (below it, in reverse): the last key of the page before.
    pub after: Option<Vec<u8>>,
    /// At most this many rows; no more than [`MAX_SCAN`].
    pub limit: usize,
    /// From the last key to the first.
    pub reverse: bool,
}

impl Default for Range {
    fn default() -> Self {
        Self { prefix: Vec::new(), after: None, limit: 1_000, reverse: false }
    }
}

impl Range {
    /// The first 1,000 rows of a table.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The first 1,000 rows whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// Goes on behind `key`.
    #[must_use]
    pub fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// At most `limit` rows.
    #[must_use]
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// From the last key to the first.
    #[must_use]
    pub const fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    pub(crate) const fn check(&self) -> Result<(), Error> {
        if self.limit > MAX_SCAN {
            return Err(Error::TooLarge { what: "a scan", size: self.limit, bound: MAX_SCAN });
        }
        Ok(())
    }

    /// The range as `low <= key < high`.
    pub(crate) fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let mut low = self.prefix.clone();
        let mut high = successor(&self.prefix);
        if let Some(after) = &self.after {
            if self.reverse {
                high = high.min(after.clone());
            } else {
                let mut beyond = after.clone();
                beyond.push(0);
                low = low.max(beyond);
            }
        }
        (low, high)
    }
}

/// The least key that is greater than every key with this prefix.
fn successor(prefix: &[u8]) -> Vec<u8> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX);
    match keep {
        Some(last) => {
            let mut next = prefix[..=last].to_vec();
            next[last] += 1;
            next
        }
        // No key is longer than MAX_KEY, so nothing sorts at or behind this.
        None => vec![u8::MAX; MAX_KEY + 1],
    }
}

/// What a table, or a file, holds for one partition. Kept in the transaction of the writes
/// that change it, so it is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Rows, with expired ones that were not swept yet.
    pub rows: u64,
    /// Bytes of keys and values as stored: each value with its 16 bytes of tag.
    pub bytes: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What an erasure removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Per file, those that held anything.
    pub files: Vec<(File, Usage)>,
}

impl Erased {
    /// Over all files.
    #[must_use]
    pub fn total(&self) -> Usage {
        self.files.iter().fold(Usage::default(), |sum, (_, usage)| sum.plus(*usage))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bounds_hold_exactly_the_range(
            prefix in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..4),
            after in prop::option::of(prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..5)),
            key in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..6),
            reverse: bool,
        ) {
            let beyond = after.as_ref().is_none_or(|a| if reverse { key < *a } else { key > *a });
            let expected = key.starts_with(&prefix) && beyond;
            let (low, high) = Range { prefix, after, limit: 1, reverse }.bounds();
            prop_assert_eq!(low <= key && key < high, expected);
        }
    }

    #[test]
    fn the_longest_key_is_within_an_open_range() {
        let (_, high) = Range::all().bounds();
        assert!(vec![u8::MAX; MAX_KEY] < high);
    }
}
