//! What the directory of an index says about itself: sealed under its tenant's data key and
//! bound to the collection's incarnation, so that nobody else's directory passes for it.

use scope::{Read, Scope};
use serde::{Deserialize, Serialize};
use vault::{Place, Vault};

use crate::{Collection, Error, Seq};

/// Raised when an older program's index is not to be read.
const FORMAT: u32 = 1;
/// Most bytes of a sealed stamp: nothing larger is read.
pub(super) const BOUND: u64 = 4_096;

/// Which generation of files is the index, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    pub(super) format: u32,
    /// Which directory.
    pub(super) generation: u64,
    /// Everything up to this write is in its files.
    pub(super) seq: Seq,
    /// What it was made for: see [`super::form::shape`].
    pub(super) shape: [u8; 32],
    /// Points that were deleted or replaced, with their bytes still in the files.
    pub(super) dead: u64,
    /// Points in it, and how many of them a graph knows: for whoever asks without opening it.
    pub(super) points: u64,
    pub(super) indexed: u64,
    /// What the files were when it was closed in order. `None` while it is open, and after it
    /// was not closed in order.
    pub(super) clean: Option<[u8; 32]>,
}

impl Stamp {
    pub(super) const fn new(generation: u64, seq: Seq, shape: [u8; 32]) -> Self {
        Self { format: FORMAT, generation, seq, shape, dead: 0, points: 0, indexed: 0, clean: None }
    }

    pub(super) async fn seal(
        &self,
        vault: &Vault,
        scope: &Scope<Read>,
        collection: &Collection,
    ) -> Result<Vec<u8>, Error> {
        let plain = serde_json::to_vec(self).map_err(|_| Error::Damaged)?;
        Ok(vault.of(scope).seal(&place(collection), &plain).await?)
    }

    /// `None` for bytes that are no stamp of this collection's.
    pub(super) async fn open(
        sealed: &[u8],
        vault: &Vault,
        scope: &Scope<Read>,
        collection: &Collection,
    ) -> Result<Option<Self>, Error> {
        match vault.of(scope).open(&place(collection), sealed).await {
            Ok(plain) => {
                let stamp = serde_json::from_slice::<Self>(&plain).ok();
                Ok(stamp.filter(|stamp| stamp.format == FORMAT))
            }
            Err(vault::Error::Foreign) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn place(collection: &Collection) -> Place<'_> {
    Place { surface: "memory.index", key: &collection.incarnation, version: u64::from(FORMAT) }
}
