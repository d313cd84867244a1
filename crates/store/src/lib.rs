//! Floor 2: scoped views over opaque bytes.
//!
//! There is one doorway: [`Store::of`] takes a scope and gives a [`View`] of that scope's
//! rows. No method takes a tenant id. A row is a key and a value in a [`Table`] of a
//! [`Partition`]; what the bytes mean is for the crate that owns the table.
//!
//! Two locks stand on every row. The partition, a hash of tenant and environment, leads
//! its key, so that no query reaches another's rows. And the stored value begins with a tag
//! of its partition, which is checked on every read: a row that turned up under the wrong
//! partition, by a bug here or a hand in the file, is an error ([`Error::ForeignRow`]) and
//! counted, never data.
//!
//! Writes to a file are committed in groups by its one writer thread. Writes wait in a lane
//! per partition, and lanes take turns, so that a tenant who floods the store waits for
//! itself. Reads do not wait for writes.
//!
//! Behind the doorway stands an engine. There is one today, SQLite (module `sqlite`); a
//! second, for Postgres, needs nothing from the crates above.

mod backup;
mod engine;
mod error;
mod options;
mod partition;
mod sqlite;
mod store;
mod table;
mod view;

pub use backup::{Manifest, ManifestFile};
pub use engine::Row;
pub use error::{Cause, Error};
pub use options::{Check, Depth, Options};
pub use partition::Partition;
pub use store::{Figures, Store};
pub use table::{Erased, File, MAX_KEY, MAX_SCAN, MAX_VALUE, Range, Table, Usage};
pub use view::{SystemView, Txn, View};
