//! The first lock: a key that no other tenant, environment, workflow or request can have.

use std::fmt;

use ids::{frame, planted};
use scope::{Access, Scope};

/// Separates these keys from everything else that is hashed under the same secret. Counts up
/// when the layout below changes.
const DOMAIN: &[u8] = b"bulkhead.cache.key.1";

/// The same for keys of the semantic index: no key of one kind is a key of the other.
const SEMANTIC_DOMAIN: &[u8] = b"bulkhead.cache.semantic.1";

/// A fingerprint of a configuration or of policies: what changes it empties the cache, as far
/// as anybody can tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Version([u8; 32]);

impl Version {
    /// Of a text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(*blake3::hash(text).as_bytes())
    }

    /// Of a digest made elsewhere.
    #[must_use]
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", ids::text::hex(&self.0[..4]))
    }
}

/// What a key is made of, besides the scope and the deployment's secret. It is destructured
/// exhaustively, so that a new field that nobody hashes is a compile error.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// Which surface keeps what kind of thing, such as `model.chat`; never a caller's word.
    pub kind: &'static str,
    /// What it is about: the route, the entity.
    pub entity: &'a str,
    /// The caller's own versions. They tell its answers apart; they cannot reach another's.
    pub versions: &'a [&'a str],
    /// Which policies are in force.
    pub policy: Version,
    /// Which configuration is in force.
    pub config: Version,
    /// The request in canonical form.
    pub request: &'a [u8],
}

/// Where one thing stands on one shelf: 256 bits of keyed BLAKE3 ([paper], keyed mode).
///
/// [paper]: https://github.com/BLAKE3-team/BLAKE3-specs
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    pub(crate) fn new<A: Access>(
        secret: &[u8; 32],
        scope: &Scope<A>,
        parts: &KeyParts<'_>,
    ) -> Self {
        Self::derive(secret, &Owner::of(scope), parts)
    }

    fn derive(secret: &[u8; 32], owner: &Owner<'_>, parts: &KeyParts<'_>) -> Self {
        Self(digest(DOMAIN, secret, owner, parts))
    }

    /// Its bytes, for a backend.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({})", ids::text::hex(&self.0[..4]))
    }
}

/// Which things of one shelf may answer for each other, if they are near enough: made like a
/// [`CacheKey`], of everything but what is compared by its meaning. From [`Shelf::partition`].
///
/// [`Shelf::partition`]: crate::Shelf::partition
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SemanticKey([u8; 32]);

impl SemanticKey {
    pub(crate) fn new<A: Access>(
        secret: &[u8; 32],
        scope: &Scope<A>,
        parts: &KeyParts<'_>,
    ) -> Self {
        Self(digest(SEMANTIC_DOMAIN, secret, &Owner::of(scope), parts))
    }
}

impl fmt::Debug for SemanticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SemanticKey({})", ids::text::hex(&self.0[..4]))
    }
}

/// The one place where the parts of a key are hashed: all of them, framed.
fn digest(domain: &[u8], secret: &[u8; 32], owner: &Owner<'_>, parts: &KeyParts<'_>) -> [u8; 32] {
    let Owner { mut tenant, mut environment, workflow } = *owner;
    let KeyParts { kind, entity, versions, policy, config, request } = *parts;
    if planted::is("cache-key-without-tenant") {
        tenant = "";
    }
    if planted::is("cache-key-without-environment") {
        environment = "";
    }
    if planted::is("cache-caller-namespace") {
        let named = versions.iter().find_map(|v| v.strip_prefix("namespace="));
        tenant = named.unwrap_or(tenant);
    }
    let mut hasher = blake3::Hasher::new_keyed(secret);
    let mut field = |bytes: &[u8]| {
        if planted::is("cache-key-unframed") {
            hasher.update(bytes);
        } else {
            frame::field(
                &mut |part| {
                    hasher.update(part);
                },
                bytes,
            );
        }
    };
    field(domain);
    field(tenant.as_bytes());
    field(environment.as_bytes());
    // Absent and empty differ: a field that says whether there is one.
    field(&[u8::from(workflow.is_some())]);
    field(workflow.unwrap_or_default().as_bytes());
    field(kind.as_bytes());
    field(entity.as_bytes());
    field(&(versions.len() as u64).to_le_bytes());
    for version in versions {
        field(version.as_bytes());
    }
    field(&policy.0);
    field(&config.0);
    field(request);
    *hasher.finalize().as_bytes()
}

/// Whose key it is; comes from a scope alone.
struct Owner<'a> {
    tenant: &'a str,
    environment: &'a str,
    workflow: Option<&'a str>,
}

impl<'a> Owner<'a> {
    fn of<A: Access>(scope: &'a Scope<A>) -> Self {
        Self {
            tenant: scope.tenant().as_str(),
            environment: scope.environment().as_str(),
            workflow: scope.workflow().map(ids::WorkflowId::as_str),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key out of the air, for tests of what holds even if keys collide.
    pub(crate) const fn any(byte: u8) -> CacheKey {
        CacheKey([byte; 32])
    }

    pub(crate) const fn any_partition(byte: u8) -> SemanticKey {
        SemanticKey([byte; 32])
    }

    /// Everything that goes into a key, as text.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct All {
        tenant: String,
        environment: String,
        workflow: Option<String>,
        entity: String,
        versions: Vec<String>,
        policy: u8,
        config: u8,
        request: String,
    }

    impl All {
        fn key(&self) -> CacheKey {
            let owner = Owner {
                tenant: &self.tenant,
                environment: &self.environment,
                workflow: self.workflow.as_deref(),
            };
            let versions: Vec<&str> = self.versions.iter().map(String::as_str).collect();
            let parts = KeyParts {
                kind: "test",
                entity: &self.entity,
                versions: &versions,
                policy: Version::of(&[self.policy]),
                config: Version::of(&[self.config]),
                request: self.request.as_bytes(),
            };
            CacheKey::derive(&[7; 32], &owner, &parts)
        }
    }

    fn base() -> All {
        All {
            tenant: "acme".into(),
            environment: "live".into(),
            workflow: Some("support".into()),
            entity: "gpt".into(),
            versions: vec!["v1".into(), "v2".into()],
            policy: 1,
            config: 1,
            request: "{}".into(),
        }
    }

    #[test]
    fn each_part_counts() {
        let same = base();
        assert_eq!(same.key(), base().key());
        for (what, other) in [
            ("tenant", All { tenant: "globex".into(), ..base() }),
            ("environment", All { environment: "test".into(), ..base() }),
            ("workflow", All { workflow: Some("billing".into()), ..base() }),
            ("no workflow", All { workflow: None, ..base() }),
            ("entity", All { entity: "gpt-mini".into(), ..base() }),
            ("versions", All { versions: vec!["v1".into()], ..base() }),
            ("policy", All { policy: 2, ..base() }),
            ("config", All { config: 2, ..base() }),
            ("request", All { request: "{ }".into(), ..base() }),
        ] {
            assert_ne!(same.key(), other.key(), "{what}");
        }
        let parts = base();
        let owner = Owner { tenant: "acme", environment: "live", workflow: None };
        let of = |kind, secret| {
            CacheKey::derive(
                secret,
                &owner,
                &KeyParts {
                    kind,
                    entity: &parts.entity,
                    versions: &[],
                    policy: Version::of(b""),
                    config: Version::of(b""),
                    request: b"",
                },
            )
        };
        assert_ne!(of("test", &[7; 32]), of("other", &[7; 32]), "kind");
        assert_ne!(of("test", &[7; 32]), of("test", &[8; 32]), "secret");
    }

    #[test]
    fn no_byte_moves_to_a_neighbour() {
        let with = |tenant: &str, env: &str, workflow: Option<&str>, entity: &str, v: &[&str]| {
            All {
                tenant: tenant.into(),
                environment: env.into(),
                workflow: workflow.map(Into::into),
                entity: entity.into(),
                versions: v.iter().map(|&v| v.into()).collect(),
                ..base()
            }
            .key()
        };
        for (what, a, b) in [
            (
                "tenant | environment",
                with("acme", "live", None, "e", &[]),
                with("acm", "elive", None, "e", &[]),
            ),
            (
                "environment | workflow",
                with("acme", "live", Some("x"), "e", &[]),
                with("acme", "liv", Some("ex"), "e", &[]),
            ),
            (
                "workflow | entity",
                with("acme", "live", Some("xe"), "", &[]),
                with("acme", "live", Some("x"), "e", &[]),
            ),
            (
                "absent | empty",
                with("acme", "live", None, "e", &[]),
                with("acme", "live", Some(""), "e", &[]),
            ),
            (
                "entity | version",
                with("acme", "live", None, "ev", &[""]),
                with("acme", "live", None, "e", &["v"]),
            ),
            (
                "version | version",
                with("acme", "live", None, "e", &["ab", "c"]),
                with("acme", "live", None, "e", &["a", "bc"]),
            ),
            (
                "versions split",
                with("acme", "live", None, "e", &["abc"]),
                with("acme", "live", None, "e", &["abc", ""]),
            ),
        ] {
            assert_ne!(a, b, "{what}");
        }
    }

    #[test]
    fn a_callers_namespace_is_a_version_and_no_more() {
        let of = |tenant: &str| All {
            tenant: tenant.into(),
            versions: vec!["namespace=acme".into()],
            ..base()
        };
        assert_ne!(of("acme").key(), of("globex").key());
    }

    fn few(max: usize) -> impl Strategy<Value = String> {
        // Two letters and short lengths, so that a missing frame collides often.
        proptest::collection::vec(prop_oneof![Just('a'), Just('b')], 0..=max)
            .prop_map(|letters| letters.into_iter().collect())
    }

    prop_compose! {
        fn all()(
            tenant in few(2),
            environment in few(2),
            workflow in proptest::option::of(few(1)),
            entity in few(2),
            versions in proptest::collection::vec(few(1), 0..3),
            policy in 0..2_u8,
            config in 0..2_u8,
            request in few(2),
        ) -> All {
            All { tenant, environment, workflow, entity, versions, policy, config, request }
        }
    }

    proptest! {
        // A planted bug must fail here and leave no file behind.
        #![proptest_config(ProptestConfig {
            cases: 4_096,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn injective(a in all(), b in all()) {
            prop_assert_eq!(a == b, a.key() == b.key());
        }

        /// Moves one byte from a field to the next one.
        #[test]
        fn injective_when_a_byte_moves(a in all(), at in 0..3_usize) {
            let mut b = a.clone();
            let moved = match at {
                0 => b.tenant.pop().map(|c| b.environment.insert(0, c)),
                1 => b.environment.pop().map(|c| b.entity.insert(0, c)),
                _ => b.entity.pop().map(|c| b.request.insert(0, c)),
            };
            prop_assert_eq!(moved.is_none(), a.key() == b.key());
        }
    }
}
