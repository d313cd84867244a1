//! One registry of typed ids. An id that exists is valid: bounds and alphabet are checked
//! where it is parsed, and deserializing parses.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Entropy, text};

/// An id that could not be parsed. Does not repeat the offending text, which may be a secret
/// pasted into the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {rule}")]
pub struct Error {
    /// Which kind of id.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn slug(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')
}

fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':')
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $what:literal, $max:literal, $rule:expr, |$t:ident| $valid:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The greatest length, in bytes.
            pub const MAX: usize = $max;

            /// Parses, checking bounds and alphabet.
            ///
            /// # Errors
            /// The rule that the text breaks.
            pub fn parse($t: &str) -> Result<Self, Error> {
                if !$t.is_empty() && $t.len() <= $max && $valid {
                    Ok(Self($t.into()))
                } else {
                    Err(Error { what: $what, rule: $rule })
                }
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

const SLUG: &str = "1 to 63 of a-z, 0-9, '-', '_', starting with a letter or digit";

fn is_slug(text: &str) -> bool {
    text.bytes().all(slug) && !text.starts_with(['-', '_'])
}

fn is_token(text: &str) -> bool {
    text.bytes().all(token) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

ids! {
    /// A customer.
    TenantId: "tenant", 63, SLUG, |text| is_slug(text);
    /// `live`, `staging`, `test`, …: data of two environments never mix.
    Environment: "environment", 63, SLUG, |text| is_slug(text);
    /// What an agent does.
    WorkflowId: "workflow", 63, "1 to 63 of a-z, 0-9, '-', '_', '.', starting with a letter or digit",
        |text| text.bytes().all(|b| slug(b) || b == b'.') && !text.starts_with(['-', '_', '.']);
    /// Another name of a tenant, such as its id in the identity provider.
    Alias: "alias", 128, "1 to 128 letters, digits, '.', '_', '-', ':', '@'",
        |text| text.bytes().all(|b| token(b) || b == b'@');
    /// One execution of a workflow.
    RunId: "run", 128, "1 to 128 letters, digits, '.', '_', '-', ':', starting with a letter or digit",
        |text| is_token(text);
    /// A step within a run.
    StepId: "step", 128, "1 to 128 letters, digits, '.', '_', '-', ':', starting with a letter or digit",
        |text| is_token(text);
    /// Which agent acts.
    AgentId: "agent", 128, "1 to 128 letters, digits, '.', '_', '-', ':', starting with a letter or digit",
        |text| is_token(text);
    /// The end user within the tenant.
    Subject: "subject", 255, "1 to 255 bytes without control characters", |text| is_printable(text);
    /// An outside system in which tenants have accounts.
    System: "system", 63, SLUG, |text| is_slug(text);
    /// A tenant's id in an outside system.
    AccountId: "external account", 255, "1 to 255 bytes without control characters", |text| is_printable(text);
    /// A configured model provider.
    ProviderId: "provider", 63, SLUG, |text| is_slug(text);
    /// The model name that callers use.
    RouteName: "model", 128, "1 to 128 letters, digits, '.', '_', '-', ':', '/', '@'",
        |text| text.bytes().all(|b| token(b) || matches!(b, b'/' | b'@'));
    /// A person who supports or debugs.
    OperatorName: "operator", 63, "1 to 63 of a-z, 0-9, '-', '_', '.', '@', starting with a letter or digit",
        |text| text.bytes().all(|b| slug(b) || matches!(b, b'.' | b'@')) && !text.starts_with(['-', '_', '.', '@']);
    /// The company's backend or worker.
    ServiceName: "service", 63, SLUG, |text| is_slug(text);
    /// A configured OIDC issuer.
    IssuerName: "issuer", 63, SLUG, |text| is_slug(text);
    /// The caller's own part of a cache partition.
    Entity: "entity", 255, "1 to 255 bytes without control characters", |text| is_printable(text);
}

/// 128 random bits, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RandomId([u8; 16]);

/// The id of a token.
pub type Jti = RandomId;

impl RandomId {
    /// A new one.
    pub fn draw(entropy: &(impl Entropy + ?Sized)) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// From its bytes, such as the first half of a digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses 32 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(digits: &str) -> Result<Self, Error> {
        let invalid = Error { what: "id", rule: "32 lower-case hexadecimal digits" };
        let bytes = text::unhex(digits).ok_or(invalid.clone())?;
        bytes.try_into().map(Self).map_err(|_| invalid)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first eight digits, for showing.
    #[must_use]
    pub fn short(&self) -> String {
        text::hex(&self.0[..4])
    }
}

impl fmt::Display for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RandomId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for RandomId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let digits = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse(&digits).map_err(serde::de::Error::custom)
    }
}

/// Our own id of a request; a caller's names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub RandomId);

impl RequestId {
    /// A new one.
    pub fn draw(entropy: &(impl Entropy + ?Sized)) -> Self {
        Self(RandomId::draw(entropy))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req_{}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_alphabets() {
        let long = "a".repeat(64);
        for (text, good) in [
            ("acme", true),
            ("acme-2_b", true),
            ("", false),
            ("Acme", false),
            ("-a", false),
            ("a b", false),
            ("a/b", false),
            ("a\0", false),
            ("ä", false),
            (long.as_str(), false),
        ] {
            assert_eq!(TenantId::parse(text).is_ok(), good, "{text:?}");
        }
        assert!(WorkflowId::parse("billing.refund").is_ok());
        assert!(RunId::parse("run:2026-11-22.a").is_ok());
        assert!(RunId::parse("../x").is_err());
        assert!(RouteName::parse("openai/gpt-5.2").is_ok());
        assert!(Subject::parse("Ädä <a@b>").is_ok());
        assert!(Subject::parse("a\nb").is_err());
    }

    #[test]
    fn deserializing_parses() {
        assert!(serde_json::from_str::<TenantId>("\"acme\"").is_ok());
        assert!(serde_json::from_str::<TenantId>("\"AC ME\"").is_err());
        let id = RandomId::draw(&crate::OsEntropy);
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<RandomId>(&text).unwrap(), id);
        assert!(RandomId::parse(&id.to_string().to_uppercase().replace('0', "A")).is_err());
    }

    #[test]
    fn an_error_does_not_repeat_the_text() {
        let error = TenantId::parse("sk-SECRET").unwrap_err().to_string();
        assert!(!error.contains("SECRET"), "{error}");
    }
}
