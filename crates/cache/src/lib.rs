//! Floor 5: what is kept for a tenant's environment, and for nobody else.
//!
//! * [`Cache`]: a response cache in which every tenant's environment has a shelf of its own
//!   ([`Shelf`]), over tiers that keep sealed bytes ([`Backend`]: memory, then disk). A flight
//!   ([`Leader`], [`Follower`]) makes one of many equal requests do the work.
//! * [`Entries`]: results that agents themselves keep on that shelf.
//! * [`Semantic`]: which kept answers are near a question. It knows keys and vectors alone.
//! * [`State`]: the state of runs ([`Book`]), with versions and conditions. No cache: what was
//!   acknowledged is there.
//!
//! Two locks, either of which holds with the other broken:
//! * keys derive from the scope. On a shelf that is a keyed BLAKE3 over length-framed tenant,
//!   environment, workflow, entity, versions and request ([`CacheKey`], [`SemanticKey`]); in
//!   state and in the index it is the scope's partition, and in it the framed workflow and run
//!   or that key. Without a scope there is no key;
//! * the value is sealed under the data key of the tenant's environment and bound to its key:
//!   what a backend answers with in error does not open. On a shelf it is a miss and a security
//!   event, in state an error. A neighbour that is not one's own is a key that opens nothing.
//!
//! Absent on purpose: reading without a scope, listing a shelf's keys, and any name of a
//! partition that a caller could choose.

mod backend;
mod cache;
mod content;
mod disk;
mod entries;
mod error;
mod flight;
mod key;
mod memory;
mod semantic;
mod settings;
mod shelf;
mod state;

pub use backend::{Backend, Stamp, Stamps, Usage};
pub use cache::{Alarm, Cache, Counts, LogAlarm};
pub use disk::{Disk, TABLES};
pub use entries::{Entries, Entry, EntryName};
pub use error::Error;
pub use flight::{Follower, Leader, Turn};
pub use key::{CacheKey, KeyParts, SemanticKey, Version};
pub use memory::Memory;
pub use semantic::{Near, Neighbours, Semantic, SemanticCounts, SemanticSettings};
pub use settings::Settings;
pub use shelf::{Found, Hit, Shelf};
pub use state::{Book, Condition, Item, Listed, MAX_LIST, Put, STATE_TABLES, State, StateSettings};
