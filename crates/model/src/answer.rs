//! What a caller gets.

use std::{fmt, pin::Pin};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, StatusCode};
use ids::{ProviderId, RouteName};

use crate::Error;

/// What the cache had to do with an answer; the value of `x-bulkhead-cache`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CacheStatus {
    /// It came from the cache.
    Hit,
    /// It came from the cache, where it was kept for a question that means the same.
    Semantic {
        /// How alike the two are: cosine, at most 1.
        similarity: f32,
    },
    /// It came from the provider, after the cache was asked.
    Miss,
    /// The cache was not asked: the route keeps nothing, or the caller wished so.
    Bypass,
}

impl CacheStatus {
    /// As it stands in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Semantic { .. } => "semantic",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// An answer, the provider's or the cache's.
#[derive(Debug)]
pub struct Answer {
    /// The provider's status; an error of the provider's is an answer too.
    pub status: StatusCode,
    /// `application/json` or `text/event-stream`; of a file, what the provider says.
    pub content_type: HeaderValue,
    /// What the cache had to do with it.
    pub cache: CacheStatus,
    /// When the provider says that asking again may help: `Retry-After`.
    pub retry_after: Option<HeaderValue>,
    /// Why no similar question was looked for, on a route that does so.
    pub semantic_off: Option<&'static str>,
    /// The bytes.
    pub body: Body,
}

/// The bytes of an answer.
pub enum Body {
    /// All of them.
    Full(Bytes),
    /// As they come.
    Stream(ChatStream),
}

/// Whole events as they come. It ends early, with an event that is an error, when the
/// provider fails or the scope is revoked; dropping it closes the connection upstream.
pub type ChatStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENTS: &str = "text/event-stream";

impl Answer {
    pub(crate) fn new(
        status: StatusCode,
        content_type: &'static str,
        cache: CacheStatus,
        body: Body,
    ) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        Self { status, content_type, cache, retry_after: None, semantic_off: None, body }
    }
}

/// A model that a caller may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCard {
    /// The name that callers use, or another name for it.
    pub name: RouteName,
    /// The first provider that can answer.
    pub provider: ProviderId,
}
