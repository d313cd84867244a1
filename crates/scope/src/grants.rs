//! What a credential may do: the OAuth `scope` claim.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// A set of grants such as `model:chat`. `model:*` covers every action of one surface; there
/// is no grant that covers every surface, and the empty set grants nothing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Grants(Arc<BTreeSet<String>>);

impl Grants {
    /// The most grants that one credential may hold.
    pub const MAX: usize = 64;

    /// Parses grants separated by single spaces (RFC 6749, section 3.3).
    ///
    /// # Errors
    /// A malformed grant, or more than [`Grants::MAX`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let set: BTreeSet<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        if set.len() > Self::MAX {
            return Err(Error::Invalid(format!("more than {} grants", Self::MAX)));
        }
        match set.iter().find(|grant| !well_formed(grant)) {
            Some(_) => Err(Error::Invalid(
                "a grant is `surface:action` or `surface:*`, of a-z, '_' and '.'".into(),
            )),
            None => Ok(Self(Arc::new(set))),
        }
    }

    /// Whether this grant is among them, itself or by its surface's `*`.
    #[must_use]
    pub fn contains(&self, grant: &str) -> bool {
        self.0.contains(grant)
            || grant.split_once(':').is_some_and(|(surface, _)| {
                self.0.iter().any(|held| held.strip_suffix(":*") == Some(surface))
            })
    }

    /// Whether everything in `other` is granted here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|grant| self.contains(grant))
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn well_formed(grant: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_' | b'.'))
    };
    grant.len() <= 64
        && grant
            .split_once(':')
            .is_some_and(|(surface, action)| word(surface) && (action == "*" || word(action)))
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, grant) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(grant)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grants({self})")
    }
}

impl Serialize for Grants {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stay_within_a_surface() {
        let held = Grants::parse("model:* cache:read").unwrap();
        for (grant, yes) in [
            ("model:chat", true),
            ("cache:read", true),
            ("cache:write", false),
            ("models:chat", false),
            ("model", false),
        ] {
            assert_eq!(held.contains(grant), yes, "{grant}");
        }
        assert!(held.covers(&Grants::parse("model:chat model:*").unwrap()));
        assert!(!Grants::parse("model:chat").unwrap().covers(&Grants::parse("model:*").unwrap()));
        assert!(!Grants::default().contains("model:chat"));
    }

    #[test]
    fn refuses_what_would_cover_everything() {
        for bad in ["*", "*:*", "*:chat", "model:", ":chat", "Model:chat", "model:chat:x", "a:b*"] {
            assert!(Grants::parse(bad).is_err(), "{bad}");
        }
        let many: String = (0..65).map(|i| format!("s:{} ", "a".repeat(i % 60 + 1))).collect();
        assert!(Grants::parse(&many).is_ok(), "repeats count once");
    }
}
