//! Floor 1: the proven identity inside the process, and the doors that mint it.
//!
//! A [`Scope`] cannot be constructed, only obtained: from [`Doors::authenticate`] (a
//! credential), [`Doors::redeem`] (a mandate) or [`Operator::enter`] (a person, with a reason
//! and an audit record). Whoever holds one knows for which tenant, environment and workflow
//! it works; whoever holds none reaches nothing.
//!
//! There is no public constructor:
//! ```compile_fail
//! # fn need(_: bulkhead_scope::Scope<bulkhead_scope::Write>) {}
//! need(bulkhead_scope::Scope::default());
//! ```
//! A tenant id does not turn into a scope:
//! ```compile_fail
//! fn forge(tenant: ids::TenantId) -> bulkhead_scope::Scope<bulkhead_scope::Read> { tenant.into() }
//! ```
//! Nor does anything that was received:
//! ```compile_fail
//! fn forge(text: &str) -> bulkhead_scope::Scope<bulkhead_scope::Read> { serde_json::from_str(text).unwrap() }
//! ```
//! Its parts cannot be written down:
//! ```compile_fail
//! # fn forge(s: bulkhead_scope::Scope<bulkhead_scope::Read>) -> bulkhead_scope::Scope<bulkhead_scope::Write> {
//! let bulkhead_scope::Scope { inner, .. } = s; bulkhead_scope::Scope { inner, access: Default::default() }
//! # }
//! ```
//! Reading does not widen to writing:
//! ```compile_fail
//! fn widen(s: &bulkhead_scope::Scope<bulkhead_scope::Read>) -> bulkhead_scope::Scope<bulkhead_scope::Write> { s.clone().into() }
//! ```
//! There is no third kind of access:
//! ```compile_fail
//! struct Everything; impl bulkhead_scope::Access for Everything {}
//! ```
//! A scope that is obtained must be used:
//! ```compile_fail
//! #![deny(unused_must_use)]
//! fn drop_it(s: &bulkhead_scope::Scope<bulkhead_scope::Write>) { s.read_only(); }
//! ```
//!
//! The compiling twins: what holders of a scope do with it.
//! ```
//! fn need<A: bulkhead_scope::Access>(s: &bulkhead_scope::Scope<A>) -> &ids::TenantId { s.tenant() }
//! fn narrow(s: &bulkhead_scope::Scope<bulkhead_scope::Write>) -> bulkhead_scope::Scope<bulkhead_scope::Read> { s.read_only() }
//! fn keep(s: &bulkhead_scope::Scope<bulkhead_scope::Write>) -> bulkhead_scope::Scope<bulkhead_scope::Write> { s.clone() }
//! fn parsed(text: &str) -> ids::TenantId { serde_json::from_str(text).unwrap() }
//! fn used(s: &bulkhead_scope::Scope<bulkhead_scope::Write>) { let read = s.read_only(); need(&read); }
//! # assert_eq!(parsed("\"acme\"").as_str(), "acme");
//! ```

mod audit;
mod claim;
mod directory;
mod doors;
mod error;
mod exchange;
mod grants;
mod identity;
mod issuer;
mod mandate;
mod operator;
mod presented;
mod secret;
mod standing;
mod system;
mod token;

pub use audit::{AuditSink, Decision, Entry};
pub use claim::{Claim, Names};
pub use directory::{
    ApiKeyRecord, Directory, EnvironmentRecord, Listed, OperatorRecord, Revoked, Right,
    RunGrantRecord, ServiceRecord, Status, TenantRecord, Unavailable,
};
pub use doors::Doors;
pub use error::Error;
pub use exchange::{Exchange, Minted, Service, Source, Want};
pub use grants::Grants;
pub use identity::{Access, Actor, Read, Scope, Write};
pub use issuer::{Algorithm, Bound, Issuer, KeySource};
pub use mandate::{Commission, Mandate};
pub use operator::Operator;
pub use presented::{Presented, Settings};
pub use secret::{Digest, Digester, Kind, Secret};
pub use system::{Maintenance, SystemScope};
pub use token::{MAX_TOKEN_LIFE, SigningKey, TokenKeys};
