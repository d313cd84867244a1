//! Floor 8: the black-box isolation prober. It speaks protocols from outside, with two tenants'
//! credentials, and shows for each way in which systems leak whether this one does.
//!
//! It shares no code with what enforces: of the floors below it uses `ids` alone. A verdict is
//! never a model's opinion. It is LEAK when something of one tenant's was in an answer to the
//! other, ISOLATED only when the very same look finds what is there and nothing that is not, and
//! NOT PROVEN otherwise.
//!
//! A [`Plan`] is what a target file says; [`run`] goes through it and makes a [`Report`];
//! `report` turns that into what people and programs read.

mod budget;
mod canary;
pub mod catalog;
mod check;
mod coverage;
pub mod demo;
mod drive;
mod error;
mod foresee;
mod lab;
mod ledger;
mod place;
mod questions;
mod reach;
pub mod report;
mod run;
mod sheet;
pub mod stats;
pub mod target;
mod verdict;
mod wire;

pub use budget::{Allowed, Spent};
pub use check::CONTROL_ROUTES;
pub use coverage::Uncovered;
pub use error::Error;
pub use foresee::{Foreseen, Repeated};
pub use ledger::{Leftover, Planting};
pub use questions::{Answered, Missing, Question, Reply};
pub use report::{FailOn, Format, Outcome, Report, Source};
pub use run::{Depth, Options, Progress, Silent, run};
pub use target::Plan;
pub use verdict::{Control, Finding, Proof, Statistic, Step, Strength, Verdict};
