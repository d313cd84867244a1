//! Names of collections.

use std::fmt;

use crate::Error;

/// The name of a collection: 1 to 128 bytes, nothing that a path, a log or a terminal would
/// understand as something else. It names a collection within a tenant's environment only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionName(String);

impl CollectionName {
    /// # Errors
    /// Empty, too long, `.`, `..`, or with one of `< > : " / \ | ? *`, a space at an end, or a
    /// control character.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let bad = |c: char| c.is_control() || "<>:\"/\\|?*".contains(c);
        let whole = name.trim() == name && !matches!(name, "" | "." | "..");
        if !whole || name.len() > 128 || name.contains(bad) {
            return Err(Error::Invalid(
                "Wrong input: a collection's name is 1 to 128 bytes without < > : \" / \\ | ? *"
                    .into(),
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
