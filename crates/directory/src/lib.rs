//! Floor 4: the registry of tenants and credentials.
//!
//! [`Registry`] is what the doors of `scope` look things up in. It knows tenants (aliases,
//! environments, external accounts, status, epoch), API keys, services, operators, run
//! grants, revocations, and which mandates are spent. Of a secret it sees and keeps the keyed
//! digest alone.
//!
//! What holds here:
//! * A name names one tenant: no two tenants share an id or an alias, no alias is another
//!   tenant's id, and the id of an erased tenant is not given out again.
//! * A change is one transaction: checked and written together, wholly or not at all.
//! * An epoch only rises, whatever the clock does.
//! * Once a change has returned, no look-up answers from before it, and whoever listens (the
//!   doors) has been told; also if the caller stopped waiting.

mod apply;
mod error;
mod keys;
mod memory;
mod registry;
mod rows;
mod runs;
mod staff;
mod tenants;

pub use apply::{Applied, Change, Document, TenantSpec, What};
pub use error::Error;
pub use keys::{Fresh, MAX_OVERLAP, NewKey};
pub use registry::{Listener, Page, Registry};
pub use rows::TABLES;
pub use staff::{NewOperator, NewService};
pub use tenants::{MAX_ACCOUNTS, MAX_ALIASES, MAX_ENVIRONMENTS, MAX_REVOKED, REVOCATION_MEMORY};
