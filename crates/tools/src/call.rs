//! One call, as it comes and as it is answered.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use ids::{RandomId, RequestId, StepId, json::Json};

use crate::Receipt;

/// One call, as it came.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which tool, as agents call it.
    pub name: String,
    /// The arguments: the text of a JSON object. Nothing of it was looked at yet.
    pub arguments: Bytes,
    /// Our id of the request.
    pub request: RequestId,
    /// The step of the run, if the caller names one.
    pub step: Option<StepId>,
    /// The caller's `Idempotency-Key`, 1 to 255 visible characters. It tells calls apart that are
    /// alike, within what the scope, the run and the step tell apart; it never joins two.
    pub key: Option<String>,
    /// The review by which it was approved.
    pub review: Option<RandomId>,
}

/// What an upstream says while it works on a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// How far it is.
    pub progress: f64,
    /// Of how much.
    pub total: Option<f64>,
    /// In words. Held against the owner like everything else.
    pub message: Option<String>,
}

/// Where notes go.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Note) + Send + Sync>);

impl Progress {
    /// To this.
    #[must_use]
    pub fn to(sink: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self::to(|_| {})
    }

    /// Hands a note on.
    pub fn say(&self, note: Note) {
        (self.0)(note);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// What MCP's `tools/call` gives: `content`, `structuredContent`, `isError`, and no `_meta`.
    Mcp(Json),
    /// What an HTTP API answered.
    Http {
        /// Its status.
        status: StatusCode,
        /// Its type, such as `application/json`.
        content_type: Option<String>,
        /// Its body. Parsed strictly wherever it is JSON.
        body: Bytes,
    },
    /// Rows of a database: a list of objects.
    Rows(Json),
}

impl Content {
    /// Whether the upstream says that it failed.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self {
            Self::Mcp(result) => result.get("isError").and_then(Json::as_bool).unwrap_or(false),
            Self::Http { status, .. } => !status.is_success(),
            Self::Rows(_) => false,
        }
    }
}

/// The answer to a call, held against its owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What the tool said.
    pub content: Content,
    /// Of a write: what proves it.
    pub receipt: Option<Receipt>,
    /// Of a write: whether it had been done before, and this is what was answered then.
    pub duplicate: bool,
    /// What would have been refused, if the contract were enforced.
    pub observed: Vec<String>,
}
