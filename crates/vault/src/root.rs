//! Root keys: what wraps every other key, and where it comes from.
//!
//! A source is text with one key a line, `rk1:<id>:<32 bytes in base64url>`; the first is the
//! current one, the others are only for reading what they wrapped. Lines that are empty or
//! begin with `#` are skipped.

use std::{fmt, sync::Arc};

use ids::{Entropy, text};
use zeroize::Zeroizing;

use crate::Error;

/// A greatest number of root keys in one source.
const MOST: usize = 16;
const PREFIX: &str = "rk1:";

/// A root key.
pub struct Root {
    id: String,
    key: Zeroizing<[u8; 32]>,
}

impl Root {
    /// A new key with a random id.
    pub fn generate(entropy: &(impl Entropy + ?Sized)) -> Self {
        let mut id = [0; 6];
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut id);
        entropy.fill(&mut *key);
        Self { id: text::hex(&id), key }
    }

    /// Its id, which is no secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The line that stands for it in a source: the secret itself.
    #[must_use]
    pub fn line(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(text::base64url(&*self.key));
        let mut line = Zeroizing::new(String::with_capacity(128));
        for part in [PREFIX, &self.id, ":", &key, "\n"] {
            line.push_str(part);
        }
        line
    }

    fn parse(line: &str) -> Result<Self, &'static str> {
        let rest = line.strip_prefix(PREFIX).ok_or("does not begin with \"rk1:\"")?;
        let (id, key) = rest.split_once(':').ok_or("is not of the form rk1:<id>:<key>")?;
        let is_id = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if id.is_empty() || id.len() > 32 || !id.bytes().all(is_id) {
            return Err("has an id that is not 1 to 32 of a-z, 0-9, '-', '_'");
        }
        let bytes = Zeroizing::new(text::unbase64url(key).unwrap_or_default());
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err("has a key that is not 32 bytes in base64url without padding");
        }
        key.copy_from_slice(&bytes);
        Ok(Self { id: id.to_owned(), key })
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.id)
    }
}

/// The root keys of a source.
#[derive(Debug)]
pub struct Roots {
    /// Wraps from now on.
    pub current: Root,
    /// Unwrap what they wrapped, until a rotation is done.
    pub older: Vec<Root>,
}

impl Roots {
    /// Parses a source.
    ///
    /// # Errors
    /// [`Error::Root`] naming the line and the rule; never content.
    pub fn parse(source: &str) -> Result<Self, Error> {
        let mut roots: Vec<Root> = Vec::new();
        for (number, line) in (1..).zip(source.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let root =
                Root::parse(line).map_err(|rule| Error::Root(format!("line {number} {rule}")))?;
            if roots.iter().any(|known| known.id == root.id) {
                return Err(Error::Root(format!("line {number} repeats an id")));
            }
            roots.push(root);
        }
        if roots.len() > MOST {
            return Err(Error::Root(format!("more than {MOST} keys")));
        }
        if roots.is_empty() {
            return Err(Error::Root("the source holds no key".into()));
        }
        let current = roots.remove(0);
        Ok(Self { current, older: roots })
    }

    /// The root of an id.
    pub(crate) fn find(&self, id: &str) -> Result<&Root, Error> {
        std::iter::once(&self.current)
            .chain(&self.older)
            .find(|root| root.id == id)
            .ok_or_else(|| Error::NoRoot { root: id.to_owned() })
    }
}

/// Where root keys come from: a file or the environment; later, others.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`Error::Root`] when the source is absent, unreadable, too widely readable or
    /// ill-formed.
    fn roots(&self) -> Result<Roots, Error>;

    /// Puts a new key in front, durably, keeping the others.
    ///
    /// # Errors
    /// [`Error::Root`] when the source cannot be written by us: then a person puts the new
    /// line in front.
    fn renew(&self, _entropy: &dyn Entropy) -> Result<(), Error> {
        Err(by_hand())
    }

    /// Drops every key but the current one, durably.
    ///
    /// # Errors
    /// As for [`KeyProvider::renew`].
    fn retire(&self) -> Result<(), Error> {
        Err(by_hand())
    }
}

impl<T: KeyProvider + ?Sized> KeyProvider for Arc<T> {
    fn roots(&self) -> Result<Roots, Error> {
        (**self).roots()
    }
    fn renew(&self, entropy: &dyn Entropy) -> Result<(), Error> {
        (**self).renew(entropy)
    }
    fn retire(&self) -> Result<(), Error> {
        (**self).retire()
    }
}

fn by_hand() -> Error {
    Error::Root(
        "this source is not ours to write: put the new line first and leave the old one after it, rotate, then remove the old line"
            .into(),
    )
}

/// Root keys in an environment variable, in the format of a file.
#[derive(Clone, Debug)]
pub struct EnvRoot {
    variable: String,
}

impl EnvRoot {
    /// Of the variable of this name.
    #[must_use]
    pub fn new(variable: impl Into<String>) -> Self {
        Self { variable: variable.into() }
    }
}

impl KeyProvider for EnvRoot {
    fn roots(&self) -> Result<Roots, Error> {
        let name = &self.variable;
        let source = std::env::var(name)
            .map(Zeroizing::new)
            .map_err(|_| Error::Root(format!("the environment variable {name} is not set")))?;
        Roots::parse(&source).map_err(|error| match error {
            Error::Root(why) => Error::Root(format!("in the environment variable {name}: {why}")),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use ids::OsEntropy;

    use super::*;

    #[test]
    fn a_source_round_trips_and_prints_no_key() {
        let (a, b) = (Root::generate(&OsEntropy), Root::generate(&OsEntropy));
        let source = format!("# ours\n\n{}{}", *a.line(), *b.line());
        let roots = Roots::parse(&source).unwrap();
        assert_eq!(roots.current.key(), a.key());
        assert_eq!(roots.find(b.id()).unwrap().key(), b.key());
        assert!(matches!(roots.find("other"), Err(Error::NoRoot { root }) if root == "other"));
        let shown = format!("{roots:?}");
        assert!(shown.contains(a.id()) && !shown.contains(&text::base64url(a.key())));
    }

    #[test]
    fn an_ill_formed_source_is_told_by_line_and_not_by_content() {
        let key = text::base64url(&[7; 32]);
        for (source, told) in [
            (String::new(), "no key"),
            (format!("{key}\n"), "line 1 does not begin"),
            (format!("rk1:a{key}"), "line 1 is not of the form"),
            (format!("\nrk1:A:{key}"), "line 2 has an id"),
            (format!("rk1:a:{key}AA"), "line 1 has a key"),
            (format!("rk1:a:{key}\nrk1:a:{key}"), "line 2 repeats"),
        ] {
            let error = Roots::parse(&source).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains(&key), "{error}");
        }
    }

    #[test]
    fn the_environment_is_read_and_never_shown() {
        assert!(EnvRoot::new("BULKHEAD_NO_SUCH_VARIABLE").roots().is_err());
        let path = std::env::var("PATH").unwrap();
        let error = EnvRoot::new("PATH").roots().unwrap_err().to_string();
        assert!(error.contains("PATH: line 1") && !error.contains(&path), "{error}");
    }
}
