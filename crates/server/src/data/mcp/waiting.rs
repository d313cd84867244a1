//! Waiting for a person. A caller that wants to wait is given something to come back with: the
//! review, sealed for this tenant, this end user and this tool. It is no capability: what it
//! leads to is asked of the tenant's own reviews.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ids::{RandomId, Subject};
use scope::{Scope, Write};
use tools::Error;
use vault::Place;

use crate::App;

/// What every such state begins with; those that lead on to an upstream begin otherwise.
pub(super) const MARK: &str = "bhw1_";

/// Where it is sealed for.
fn place(scope: &Scope<Write>, tool: &str) -> Vec<u8> {
    let mut key = Vec::new();
    let sink = &mut |bytes: &[u8]| key.extend_from_slice(bytes);
    ids::frame::field(sink, tool.as_bytes());
    ids::frame::option(sink, scope.subject().map(|subject| Subject::as_str(subject).as_bytes()));
    key
}

const fn sealed_at(key: &[u8]) -> Place<'_> {
    Place { surface: "mcp-state", key, version: 0 }
}

pub(super) async fn sealed(
    app: &App,
    scope: &Scope<Write>,
    tool: &str,
    review: RandomId,
) -> Result<String, Error> {
    let key = place(scope, tool);
    let sealed = app.vault.of(scope).seal(&sealed_at(&key), review.as_bytes()).await?;
    Ok(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(sealed)))
}

/// The review that somebody comes back with. One of another's is like one that never was.
pub(super) async fn opened(
    app: &App,
    scope: &Scope<Write>,
    tool: &str,
    state: &str,
) -> Result<RandomId, Error> {
    let unknown = || Error::Handle("requestState");
    let sealed = state.strip_prefix(MARK).ok_or_else(unknown)?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| unknown())?;
    let key = place(scope, tool);
    let opened = app.vault.of(scope).open(&sealed_at(&key), &sealed).await;
    let opened = opened.map_err(|_| unknown())?;
    let bytes: [u8; 16] = opened[..].try_into().map_err(|_| unknown())?;
    Ok(RandomId::from_bytes(bytes))
}

/// Waits until a review is decided, for at most so many seconds and for what is allowed.
pub(in crate::data) async fn decided(
    app: &App,
    scope: &Scope<Write>,
    review: RandomId,
    seconds: u64,
) -> bool {
    let most = app.settings.tools.limits.approval_wait_seconds;
    let looking = app.reviews.waiting(scope, review);
    // Whatever else it comes to, the call itself will be told.
    tokio::time::timeout(Duration::from_secs(seconds.min(most)), looking).await.is_ok()
}
