//! An event: what one hop was and how it ended. Never a payload.

use std::borrow::Cow;

use ids::{Millis, ProviderId, RandomId, RequestId, RouteName, RunId, StepId, WorkflowId};
use scope::{Access, Decision, Scope};
use serde::{Deserialize, Serialize};

/// A short word of our own: a surface, an action, a code.
pub type Word = Cow<'static, str>;

/// How a hop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The whole answer went out.
    Complete,
    /// The caller, or a revocation, ended it early.
    Cancelled,
    /// It was refused or broke.
    Failed,
}

/// One hop. Tenant and environment are those of the partition that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it began.
    pub at: Millis,
    /// Our id of the request.
    pub request: RequestId,
    /// The workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The step of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// Which surface: `model`, `cache`, …
    pub surface: Word,
    /// What was asked of it: `chat`, …
    pub action: Word,
    /// Whether it was let through.
    pub decision: Decision,
    /// The code, if it was denied or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Word>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Tokens of the prompt, as the provider counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u64>,
    /// Tokens of the answer, as the provider counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
    /// Cost, in millionths of the currency of the price list. Not known yet: always absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// From the request to the last byte of the answer, in microseconds.
    pub latency_us: u64,
    /// What the cache did: `hit`, `miss`, `bypass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Word>,
    /// Which provider answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// By which route, as the caller named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteName>,
    /// How many events of this tenant and environment were dropped around then, because too
    /// many waited to be written. Such an event stands for those, and for no hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// How it ended.
    pub end: End,
}

impl Event {
    /// A hop of this scope that was let through and went well so far.
    pub fn of<A: Access>(
        scope: &Scope<A>,
        at: Millis,
        request: RequestId,
        surface: &'static str,
        action: &'static str,
    ) -> Self {
        Self {
            at,
            request,
            workflow: scope.workflow().cloned(),
            run: scope.run().cloned(),
            step: None,
            surface: surface.into(),
            action: action.into(),
            decision: Decision::Allowed,
            code: None,
            bytes_in: 0,
            bytes_out: 0,
            tokens_in: None,
            tokens_out: None,
            cost: None,
            latency_us: 0,
            cache: None,
            provider: None,
            route: None,
            dropped: None,
            end: End::Complete,
        }
    }

    /// For events that were dropped, none so far; the first at this time and for this request.
    pub(crate) fn dropped<A: Access>(scope: &Scope<A>, at: Millis, request: RequestId) -> Self {
        Self {
            workflow: None,
            run: None,
            dropped: Some(0),
            end: End::Failed,
            ..Self::of(scope, at, request, "records", "dropped")
        }
    }
}

/// An event as it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its place in the order of events; to go on behind it.
    pub id: RandomId,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one run only.
    pub run: Option<RunId>,
    /// Beyond this one, in the direction of the listing.
    pub after: Option<RandomId>,
    /// At most this many; at most [`Filter::MOST`]. 0 is that too.
    pub limit: usize,
    /// From the newest to the oldest.
    pub newest_first: bool,
}

impl Filter {
    /// The most that one listing gives.
    pub const MOST: usize = 1_000;

    pub(crate) fn most(&self) -> usize {
        if self.limit == 0 { Self::MOST } else { self.limit.min(Self::MOST) }
    }
}
