//! The indexes: one shard of the engine's per tenant, environment and collection, opened on
//! demand, closed by least recent use, made again whenever it is missing, behind, or wrong.
//!
//! An index is a directory of files (`home`) under a sealed stamp (`stamp`), which says which
//! write they are up to. `opening` leads from there to a shard that has everything, `build` makes
//! a new generation of files beside the one in use, `upkeep` decides when. Two locks order all of
//! it (`slot`): `work` for whoever opens, catches up, puts in place or closes, `building` for
//! whoever makes a generation. Queries hold neither.

mod build;
mod forget;
mod form;
mod home;
mod lanes;
mod opening;
mod shard;
mod shards;
mod slot;
mod stamp;
#[cfg(test)]
mod tests;
mod upkeep;

pub use self::home::remove_indexes;
pub(crate) use self::{
    lanes::Lanes,
    shard::{Held, Shard, Verdict},
    shards::Shards,
};
