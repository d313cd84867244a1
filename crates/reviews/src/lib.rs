//! Floor 5: what a person has to decide, as one inbox: approvals of writes, suggestions, outcomes
//! that are not known, definitions that changed, and things whose owner is in doubt.
//!
//! What belongs to a tenant lies in its partition, sealed under its key. What is in doubt is nobody's to
//! read but the operators': it lies in the deployment's partition, sealed under the quarantine
//! key. An approval binds the tool, the digest of its final arguments, the policies in force, whose
//! call it is and an expiry, and is used once, for one intent.
//!
//! The quarantine key is the vault's data key of the deployment itself: no tenant's scope leads to it,
//! it is no tenant's to have destroyed, and it is rotated like every other. What it seals here is bound
//! to the surface `quarantine` and to its id.

mod course;
mod due;
mod error;
mod inbox;
mod index;
mod quarantine;
mod review;
mod row;
mod settings;
mod waiting;

pub use due::Due;
pub use error::Error;
pub use inbox::{Inbox, Reviews};
pub use quarantine::{Doubt, Doubtful};
pub use review::{Decided, Decision, Finding, Kind, New, Notice, Notify, Review, State, Wanted};
pub use settings::{Settings, Webhook};

use store::{File, Table};

/// Reviews of a tenant's environment.
pub const REVIEWS: Table = Table { file: File::State, id: 651, name: "reviews.items" };
/// Which reviews are open, of all tenants, and what was approved and is Bulkhead's own to do, without what is
/// in them: in the deployment's partition.
pub const OPEN: Table = Table { file: File::State, id: 652, name: "reviews.open" };
/// What is in doubt, in the deployment's partition.
pub const QUARANTINE: Table = Table { file: File::State, id: 653, name: "reviews.quarantine" };

/// Every table of this crate.
pub const TABLES: [Table; 3] = [REVIEWS, OPEN, QUARANTINE];
