//! Types for what must not be printed, compared in the open, or left in memory.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

use crate::Error;

/// A secret of an outside system, such as a provider's API key. Zeroized when dropped; has no
/// `Display` and no `Serialize`; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The greatest length, in bytes: a chain of certificates with its key fits in.
    pub const MAX: usize = 16 * 1024;

    /// Takes the text, which has to fit in an HTTP header.
    ///
    /// # Errors
    /// [`Error::Secret`] for nothing, too much, spaces around it, or anything but visible ASCII
    /// and inner spaces. The text is zeroized in that case, too.
    pub fn parse(text: String) -> Result<Self, Error> {
        let text = Zeroizing::new(text);
        let rule = match text.as_bytes() {
            [] => "it is empty",
            bytes if bytes.len() > Self::MAX => "it is longer than 16384 bytes",
            [b' ' | b'\n' | b'\r' | b'\t', ..] | [.., b' ' | b'\n' | b'\r' | b'\t'] => {
                "it has white space around it"
            }
            bytes if !bytes.iter().all(|b| matches!(b, b' '..=b'~')) => {
                "it has characters other than visible ASCII"
            }
            _ => return Ok(Self(text)),
        };
        Err(Error::Secret(rule))
    }

    /// The secret itself. Each use is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// Opened bytes. Zeroized when dropped; `Debug` shows their number alone.
pub struct Plain(Zeroizing<Vec<u8>>);

impl Plain {
    pub(crate) const fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Takes the bytes out, for callers that hand them on; from here on nobody zeroizes them.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }
}

impl Deref for Plain {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plain({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_alphabet() {
        let long = "k".repeat(SecretText::MAX + 1);
        for (text, good) in [
            ("sk-proj-abc_123", true),
            ("Basic dXNlcjpwYXNz", true),
            ("", false),
            (" sk", false),
            ("sk\n", false),
            ("s\0k", false),
            ("schlüssel", false),
            (long.as_str(), false),
        ] {
            assert_eq!(SecretText::parse(text.to_owned()).is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn neither_debug_nor_an_error_shows_it() {
        let secret = SecretText::parse("sk-canary".into()).unwrap();
        let plain = Plain::new(Zeroizing::new(b"canary".to_vec()));
        let refused = SecretText::parse("sk-canary\n".into()).unwrap_err();
        for shown in [
            format!("{secret:?} {plain:?}"),
            format!("{refused:?} {refused}"),
            serde_json::from_str::<SecretText>("\"canary \"").unwrap_err().to_string(),
        ] {
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}
