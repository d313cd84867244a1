//! Floor 5: a response cache in which every tenant's environment has a shelf of its own.
//!
//! Two locks, either of which holds with the other broken:
//! * the key is a keyed BLAKE3 over length-framed tenant, environment, workflow, entity,
//!   versions and request ([`CacheKey`]); without a scope there is no key;
//! * the value is sealed under the data key of the tenant's environment and bound to its key:
//!   what a backend answers with in error does not open. It is a miss and a security event.
//!
//! [`Cache`] holds what all shelves share, [`Shelf`] is what one scope sees of it, [`Backend`]
//! is a tier that keeps sealed bytes: memory, then disk. A flight ([`Leader`], [`Follower`])
//! makes one of many equal requests do the work.
//!
//! Absent on purpose: reading without a scope, listing keys, and any name of a partition that
//! a caller could choose.

mod backend;
mod cache;
mod disk;
mod error;
mod flight;
mod key;
mod memory;
mod settings;
mod shelf;

pub use backend::{Backend, Usage};
pub use cache::{Alarm, Cache, Counts, LogAlarm};
pub use disk::{Disk, TABLES};
pub use error::Error;
pub use flight::{Follower, Leader, Turn};
pub use key::{CacheKey, KeyParts, Version};
pub use memory::Memory;
pub use settings::Settings;
pub use shelf::{Found, Hit, Shelf};
