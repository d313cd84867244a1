//! Floor 4: what happened, kept per tenant and environment.
//!
//! * **Events**, one per hop, never with a payload: [`Recorder`]. They are for looking at; when
//!   too many wait they are dropped, and counted.
//! * The **audit log**: [`Audit`], a hash chain per tenant and environment, and one of the
//!   deployment's own. What it accepts is durable, and what it cannot write is an error that
//!   its caller sees. Its heads are signed notes that anybody can check without us.
//!
//! Both lie in the partition of the scope, sealed under its data key.

mod audit;
mod error;
mod event;
mod lanes;
mod recorder;

pub use audit::{
    AUDIT, AUDIT_HEAD, AUDIT_NOTES, Audit, AuditEntry, Broken, Checkpoint, Export, ExportedBody,
    ExportedEntry, Hash, Log, SignedNote, Verdict, Verified, verify_export, verify_note,
};
pub use error::Error;
pub use event::{End, Event, Filter, Recorded, Word};
pub use recorder::{Counts, EVENTS, EVENTS_OF_RUN, Options, Recorder};
