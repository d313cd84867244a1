//! Partitions: whose rows they are.

use std::{fmt, sync::LazyLock};

use scope::{Access, Scope, SystemScope};

/// Bytes of the tag that begins every stored value.
pub(crate) const TAG: usize = 16;

/// Keys the hash that makes tags, so that a tag is no part of the partition itself: a query
/// that went wrong in its partition does not come out right in its tag.
const TAG_KEY: &[u8; 32] = b"bulkhead store: tag of a row, v1";

/// The deployment's own partition. Tenants' partitions are hashes in another domain
/// (`Scope::partition_bytes`), so none of them can be this one.
static DEPLOYMENT: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("bulkhead store 2026 partition of the deployment", b""));

/// Whose rows: one tenant's environment, or the deployment itself. Opaque, and to be had
/// from a scope alone.
///
/// ```compile_fail
/// let anybody = bulkhead_store::Partition::from([0; 32]);
/// ```
/// ```
/// fn of<A: scope::Access>(scope: &scope::Scope<A>) -> bulkhead_store::Partition {
///     bulkhead_store::Partition::of(scope)
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition([u8; 32]);

impl Partition {
    /// The partition of the scope's tenant and environment.
    #[must_use]
    pub fn of<A: Access>(scope: &Scope<A>) -> Self {
        Self(*scope.partition_bytes())
    }

    /// The deployment's own.
    #[must_use]
    pub fn of_deployment(_: &SystemScope) -> Self {
        Self::deployment()
    }

    pub(crate) fn deployment() -> Self {
        Self(*DEPLOYMENT)
    }

    pub(crate) const fn key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The tag of this partition's rows.
    pub(crate) fn tag(&self) -> [u8; TAG] {
        tag_of(&self.0)
    }

    /// The partition that a stored row stands under, for maintenance over all of them.
    pub(crate) const fn read(stored: [u8; 32]) -> Self {
        Self(stored)
    }

    #[cfg(test)]
    pub(crate) const fn numbered(n: u8) -> Self {
        Self([n; 32])
    }
}

/// The tag of the rows that stand under the key `partition`.
pub(crate) fn tag_of(partition: &[u8; 32]) -> [u8; TAG] {
    let hash = blake3::keyed_hash(TAG_KEY, partition);
    let mut tag = [0; TAG];
    tag.copy_from_slice(&hash.as_bytes()[..TAG]);
    tag
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({})", ids::text::hex(&self.0[..4]))
    }
}
