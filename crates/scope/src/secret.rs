//! Long-lived secrets: what they look like, and the digest that stands for them on disk.

use std::fmt;

use ids::{Entropy, RandomId, text};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Which kind of credential a secret is; its prefix tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `bk_`: an API key.
    ApiKey,
    /// `bs_`: a service credential.
    Service,
    /// `bo_`: an operator's.
    Operator,
    /// `bg_`: a run grant.
    RunGrant,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::ApiKey, "bk_"),
        (Self::Service, "bs_"),
        (Self::Operator, "bo_"),
        (Self::RunGrant, "bg_"),
    ];

    /// Of a text that begins as one of ours does.
    #[must_use]
    pub fn of(secret: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, prefix)| secret.starts_with(prefix)).map(|(kind, _)| *kind)
    }

    fn prefix(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, prefix)| prefix)
    }
}

/// A new secret: 256 random bits behind a prefix that may be shown. Shown once, then known by
/// its digest only.
pub struct Secret {
    id: RandomId,
    prefix: String,
    text: Zeroizing<String>,
}

impl Secret {
    /// Draws one.
    pub fn draw(kind: Kind, entropy: &dyn Entropy) -> Self {
        let id = RandomId::draw(entropy);
        let mut bits = Zeroizing::new([0; 32]);
        entropy.fill(bits.as_mut());
        let prefix = format!("{}{}", kind.prefix(), id.short());
        let text = Zeroizing::new(format!("{prefix}_{}", text::base64url(bits.as_ref())));
        Self { id, prefix, text }
    }

    /// The id of the credential.
    #[must_use]
    pub const fn id(&self) -> RandomId {
        self.id
    }

    /// The part that may be shown.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The secret itself, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}_…)", self.prefix)
    }
}

/// The keyed digest of a secret: all that is stored of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}…)", text::hex(&self.0[..4]))
    }
}

/// Makes digests under the deployment's own key, so that a stolen registry names no secret
/// and cannot be added to.
pub struct Digester(Zeroizing<[u8; 32]>);

impl Digester {
    /// With the deployment's key for this purpose.
    #[must_use]
    pub const fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// The digest of a secret.
    #[must_use]
    pub fn digest(&self, secret: &str) -> Digest {
        Digest(*blake3::keyed_hash(&self.0, secret.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester(…)")
    }
}

#[cfg(test)]
mod tests {
    use ids::OsEntropy;

    use super::*;

    #[test]
    fn a_secret_is_told_by_its_prefix_and_never_printed() {
        for (kind, prefix) in Kind::ALL {
            let secret = Secret::draw(kind, &OsEntropy);
            assert_eq!(Kind::of(secret.expose()), Some(kind));
            assert!(secret.expose().starts_with(prefix));
            assert_eq!(secret.expose().len(), prefix.len() + 8 + 1 + 43);
            let tail = &secret.expose()[12..];
            assert!(!format!("{secret:?}").contains(tail));
        }
        assert_eq!(Kind::of("eyJ"), None);
    }
}
