//! The values of marks: one for each tenant's environment, provider and mark.

use std::fmt;

use ids::{ProviderId, frame::Frame, planted, text::base64url};
use scope::{Access, Scope};
use zeroize::Zeroizing;

use crate::Mark;

/// Derives marks. Whoever does not hold its secret can neither tell whose a mark is nor make
/// the mark of another; the same scope has the same mark for as long as the secret lives.
#[derive(Clone)]
pub struct Salts(Zeroizing<[u8; 32]>);

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(..)")
    }
}

impl Salts {
    /// From a secret that is for this alone.
    #[must_use]
    pub const fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        Self(secret)
    }

    /// The value of a mark: `bk_` and 43 letters of base64url, as `docs/isolation.md` says.
    #[must_use]
    pub fn of<A: Access>(&self, scope: &Scope<A>, provider: &ProviderId, mark: Mark) -> String {
        self.derive(mark, provider.as_str(), scope.tenant().as_str(), scope.environment().as_str())
    }

    fn derive(&self, mark: Mark, provider: &str, tenant: &str, environment: &str) -> String {
        let frame =
            Frame::new("bulkhead.provider.mark.1").field(mark.name()).field(provider).field(tenant);
        let frame = match planted::is("salt-without-environment") {
            true => frame,
            false => frame.field(environment),
        };
        let digest = blake3::keyed_hash(&self.0, &frame.finish());
        format!("bk_{}", base64url(digest.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc};

    use ids::{ManualClock, Millis};
    use testkit::Kit;

    use super::*;

    /// As `docs/isolation.md` has them, made by another implementation.
    const GOLDEN: [(Mark, &str, &str, &str, &str); 6] = [
        (Mark::CacheSalt, "vllm", "acme", "live", "bk_CUm22Bi2LsBo8WLSIp-dgX06XnVUZI7nZRg2J8URjoc"),
        (
            Mark::CacheSalt,
            "vllm",
            "acme",
            "staging",
            "bk_GpuCPXCSd3tDQ9z9OpeaKwbSJHiDd4NdqWUx43G6BY4",
        ),
        (
            Mark::CacheSalt,
            "vllm",
            "globex",
            "live",
            "bk_d63V6lP2wtdurc5wUzntP8bCPh6DCkrtQKyMbi0ggIk",
        ),
        (Mark::ExtraKey, "vllm", "acme", "live", "bk__8-nU8Scw2wjfgFQQtPJ8p2kS6qO-oqrANxaZLcdp0M"),
        (
            Mark::CacheSalt,
            "vllm-2",
            "acme",
            "live",
            "bk_jNK_PYgS4ksEMqlokVKKJRKFbLAYSv0ZJnOHGm9Pndk",
        ),
        (
            Mark::UserId,
            "anthropic",
            "acme",
            "live",
            "bk_37Va9NayLx8azBe0yaA5EpgkpXSxxs5vrPSaEqeil-g",
        ),
    ];

    fn salts() -> Salts {
        Salts::new(Zeroizing::new(std::array::from_fn(|at| u8::try_from(at).unwrap())))
    }

    async fn kit() -> Kit {
        Kit::new(Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)))).await
    }

    #[tokio::test]
    async fn a_mark_is_one_environments_at_one_provider() {
        let kit = kit().await;
        let (salts, mut marks) = (salts(), HashSet::new());
        let mut made = 0;
        for (tenant, environment) in
            [("acme", "live"), ("acme", "staging"), ("globex", "live"), ("globex", "staging")]
        {
            let scope = kit.scope(tenant, environment).await;
            for provider in ["p", "q"] {
                for mark in Mark::ALL {
                    made += 1;
                    marks.insert(salts.of(&scope, &provider.parse().unwrap(), mark));
                }
            }
        }
        assert_eq!(marks.len(), made, "no two are the same");
    }

    #[tokio::test]
    async fn marks_are_made_as_the_guide_says() {
        let kit = kit().await;
        let page = include_str!("../../../docs/isolation.md");
        for (mark, provider, tenant, environment, expected) in GOLDEN {
            let scope = kit.scope(tenant, environment).await;
            let got = salts().of(&scope, &provider.parse().unwrap(), mark);
            assert_eq!(got, expected, "{mark:?} {provider} {tenant} {environment}");
            let row = format!(
                "| `{}` | `{provider}` | `{tenant}` | `{environment}` | `{expected}` |",
                mark.name()
            );
            assert!(page.contains(&row), "docs/isolation.md has no row {row}");
            assert!(got.len() <= 64);
            let again = salts().of(&scope.read_only(), &provider.parse().unwrap(), mark);
            assert_eq!(again, expected);
            let other = Salts::new(Zeroizing::new([7; 32]));
            assert_ne!(other.of(&scope, &provider.parse().unwrap(), mark), expected);
        }
        assert_eq!(format!("{:?}", salts()), "Salts(..)");
    }
}
