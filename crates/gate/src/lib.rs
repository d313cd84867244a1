//! Floor 6: the one way through for every hop.
//!
//! [`Gate::pass`] asks, in this order and for everybody: does the scope still hold, does it
//! have the grant, do the policies permit it, is it admitted now. Then it hands the surface a
//! [`Pass`] and records how the hop ended: exactly one event, whatever happens to the hop.
//!
//! A surface takes a [`Pass`] as an argument; there is no other way to get one than through
//! the gate, so a surface cannot be reached around it:
//! ```compile_fail
//! fn surface(pass: bulkhead_gate::Pass) { pass.complete() }
//! fn forge() { surface(Default::default()) }
//! ```
//! ```compile_fail
//! fn surface(pass: bulkhead_gate::Pass) { pass.complete() }
//! fn forge(scope: &scope::Scope<scope::Write>) { surface(scope.into()) }
//! ```
//! ```compile_fail
//! fn surface(pass: bulkhead_gate::Pass) { pass.complete() }
//! fn again(pass: bulkhead_gate::Pass) { surface(pass.clone()); surface(pass) }
//! ```
//! ```compile_fail
//! fn forge(policy: bulkhead_gate::Version) -> bulkhead_gate::Pass {
//!     bulkhead_gate::Pass { policy, ..unreachable!() }
//! }
//! ```
//! Nor does it end unnoticed, or twice:
//! ```compile_fail
//! fn surface(pass: bulkhead_gate::Pass) { pass.complete(); pass.failed("internal") }
//! ```
//! The compiling twin: a surface, and the way to it.
//! ```
//! use bulkhead_gate::{Action, Error, Gate, Hop, Pass};
//! async fn surface(mut pass: Pass) -> Result<(), Error> {
//!     pass.tally().bytes_out(2);
//!     pass.complete();
//!     Ok(())
//! }
//! async fn serve(gate: &Gate, scope: &scope::Scope<scope::Write>, id: ids::RequestId) {
//!     let hop = Hop::model(Action::Chat, "gpt-5", id);
//!     let _: Result<(), Error> = gate.pass(scope, hop, surface).await;
//! }
//! ```

mod admission;
mod error;
mod gate;
mod hop;
mod pass;
mod policy;
mod words;

pub use admission::{Admission, InFlight, Permit, Refusal};
pub use error::{Coded, Error};
pub use gate::Gate;
pub use hop::{Action, Effect, Hop, Kept, Reading, ToolCall, Touch, Use};
pub use pass::{Meter, Pass, Tally};
pub use policy::{Described, MAX_POLICY_BYTES, Policies, Version};
pub use words::SCHEMA;
