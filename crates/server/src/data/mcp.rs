//! `/mcp`: the tools of every upstream as one MCP server, without sessions.
//!
//! A message is read strictly by us before the SDK sees it, and the server that answers it is made
//! for it alone, with the scope inside: nothing is looked up by an id that a caller says.

mod calls;
mod message;
mod mirror;
mod served;
mod shown;
mod waiting;

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body as Outgoing, Bytes},
    response::Response,
};
use gate::{Hop, Permit};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use ids::{BoxFuture, json::Limits, planted};
use parking_lot::Mutex;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use scope::{Scope, Write};

pub(crate) use calls::Calls;
pub(super) use mirror::Mirrored;
pub(crate) use shown::value;
pub(super) use waiting::decided;

use self::{
    message::{Call, Kind, Message, Unreadable},
    served::Served,
};
use super::{
    body::{self, Body},
    claims, stepped,
};
use crate::{
    App,
    ask::Ask,
    fault::{Coded, Fault, McpError},
};

/// What a message may have around its arguments, in bytes.
const ENVELOPE: usize = 64 << 10;
/// How much deeper than its arguments a message is nested, and how many more values it has.
const AROUND: Limits = Limits { depth: 8, nodes: 2_000 };
/// How often a stream that has nothing to say says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the SDK has to see of a request's headers: nothing that proves who somebody is.
const PASSED: [&str; 5] =
    ["accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name"];

/// A place among its tenant's requests; given up while a person decides.
pub(super) type Place = Arc<Mutex<Option<Permit>>>;

pub(crate) async fn post(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let hop = stepped(&ask, Hop::tools(ask.request))?;
    if let Err(fault) = origin(ask.headers(), &app.settings.tools.origins) {
        app.gate.refuse(&scope, &hop, fault.code, &fault.message).await;
        return Err(fault);
    }
    let limits = &app.settings.tools.limits;
    let most = limits.arguments_bytes.saturating_add(ENVELOPE);
    let Body { bytes, charge, entered } = body::read(&app, &scope, &mut ask, &hop, most).await?;
    let bounds = Limits {
        depth: limits.depth.saturating_add(AROUND.depth),
        nodes: limits.nodes.saturating_add(AROUND.nodes),
    };
    let parse = move |_: &App, _: &Scope<Write>, body: Bytes| Message::read(&body, &bounds);
    let (read, charge) = body::understood(&app, &scope, bytes.clone(), charge, parse).await?;
    let message = match read {
        Ok(message) => message,
        Err(unreadable) => return unread(&app, &scope, &hop, unreadable).await,
    };
    if let Err(error) = named(&app, &scope, &message, "_meta") {
        app.gate.refuse(&scope, &hop, error.code(), &error.to_string()).await;
        return Err(error.into());
    }
    if let Err(why) = mirror::held(ask.headers(), &message) {
        app.gate.refuse(&scope, &hop, "request.malformed", &why).await;
        return mismatched(&message, why);
    }
    if let Kind::Notification = message.kind {
        return Ok(noticed(&app, &scope, &message));
    }
    if planted::is("mcp-described-before-the-gate")
        && let Some(name) = message.tool()
    {
        let _ = app.tools.described(&scope, name).await;
    }
    let message = Arc::new(message);
    let place: Place = Arc::new(Mutex::new(Some(entered)));
    let said = Arc::new(OnceLock::new());
    let served = Served {
        app: Arc::clone(&app),
        scope: scope.clone(),
        hop,
        request: ask.request,
        call: message.call(&app, &scope, &ask)?.map(Arc::new),
        id: message.id(),
        mirrored: Mirrored::of(ask.headers(), &message),
        message,
        place: Arc::clone(&place),
        said: Arc::clone(&said),
    };
    let response = answered(served, ask.headers(), bytes, most).await?;
    drop(charge);
    Ok(delivered(response, &scope, &place, said.get().copied()))
}

/// There is no stream to open and no session to end: nothing outlives its request.
pub(crate) async fn other(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let hop = Hop::tools(ask.request);
    if !scope.may(hop.grant()) {
        let error = scope::Error::Grant(hop.grant().to_owned());
        app.gate.refuse(&scope, &hop, error.code(), &error.to_string()).await;
        return Err(error.into());
    }
    Err(Fault::method())
}

/// Whether a browser's page may speak to us. What is no browser says nothing of its origin.
fn origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), Fault> {
    if planted::is("mcp-origin-unchecked") {
        return Ok(());
    }
    let same = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default().trim_end_matches('/');
        allowed.iter().any(|one| one.trim_end_matches('/').eq_ignore_ascii_case(origin))
    };
    match headers.get_all(header::ORIGIN).iter().all(same) {
        true => Ok(()),
        false => Err(Fault::new(
            "request.origin",
            "pages of this origin may not speak to this server; add it to `tools.origins`",
        )),
    }
}

/// A body that is no message of the protocol. One that says two things is on record.
async fn unread(
    app: &App,
    scope: &Scope<Write>,
    hop: &Hop,
    unreadable: Unreadable,
) -> Result<Response, Fault> {
    let Unreadable { code, rpc, message, id } = unreadable;
    if code == "scope.mismatch" {
        app.gate.refuse(scope, hop, code, &message).await;
    }
    McpError { rpc, code, message, id }.into_response()
}

/// Headers that say something else than the body.
fn mismatched(message: &Message, why: String) -> Result<Response, Fault> {
    let id = message.id().map(|id| id.to_value());
    McpError { rpc: -32020, code: "request.malformed", message: why, id }.into_response()
}

/// Whether a part of the message names somebody else than the credential does.
fn named(
    app: &App,
    scope: &Scope<Write>,
    message: &Message,
    part: &str,
) -> Result<(), scope::Error> {
    let claims = &app.settings.model.limits.claims;
    message.param(part).map_or(Ok(()), |json| claims::concur(scope, claims, part, json))
}

/// A notification is taken and has no answer. The one that means anything here ends a call of the
/// caller's own.
fn noticed(app: &App, scope: &Scope<Write>, message: &Message) -> Response {
    if let Some(id) = message.cancelled() {
        app.calls.cancel(scope, &id);
    }
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = http::StatusCode::ACCEPTED;
    response
}

/// What the SDK answers, through a server that is made for this message alone.
async fn answered(
    served: Served,
    headers: &HeaderMap,
    body: Bytes,
    most: usize,
) -> Result<Response, Fault> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(Some(KEEP_ALIVE))
        .with_sse_retry(None)
        .with_max_request_body_bytes(most)
        // `edge` has looked at the host, and we at the origin.
        .disable_allowed_hosts()
        .enforce_origin_validation();
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(served.clone()), sessions, config);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    // It wants to see one; `edge` has held the caller's against our names.
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    for (name, value) in headers {
        let name_is = name.as_str();
        if PASSED.contains(&name_is) || name_is.starts_with(mirror::PARAMETER) {
            request.headers_mut().append(name.clone(), value.clone());
        }
    }
    let (mut parts, body) = service.handle(request).await.into_parts();
    let kind = parts.headers.remove(header::CONTENT_TYPE);
    parts.headers = HeaderMap::new();
    if let Some(kind) = kind {
        parts.headers.insert(header::CONTENT_TYPE, kind);
    }
    Ok(Response::from_parts(parts, Outgoing::new(body)))
}

/// The answer on its way out, and what it is for the log and the figures.
fn delivered(
    mut response: Response,
    scope: &Scope<Write>,
    place: &Place,
    said: Option<&'static str>,
) -> Response {
    let code = said.or_else(|| (!response.status().is_success()).then_some("request.malformed"));
    if let Some(code) = code {
        response.extensions_mut().insert(Coded(code));
    }
    let entered = place.lock().take();
    leaving(response, scope, entered)
}

/// An answer that ends with its scope, and counts until it is read.
pub(super) fn leaving(
    response: Response,
    scope: &Scope<Write>,
    entered: Option<Permit>,
) -> Response {
    let (parts, body) = response.into_parts();
    let scope = scope.clone();
    let ended = Box::pin(async move { scope.ended().await });
    let leaving = Leaving { body: Some(body), ended, _entered: entered };
    Response::from_parts(parts, Outgoing::new(leaving))
}

struct Leaving {
    body: Option<Outgoing>,
    ended: BoxFuture<'static, scope::Error>,
    _entered: Option<Permit>,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.body.is_some()
            && let Poll::Ready(why) = self.ended.as_mut().poll(cx)
        {
            // With the body goes the call that fills it.
            self.body = None;
            return Poll::Ready(Some(Err(axum::Error::new(why))));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

/// What a call says besides its arguments, in headers or in `_meta`; both have to be the same.
fn said<'a>(
    ask: &'a Ask,
    message: &'a Message,
    header: &str,
    key: &str,
) -> Result<Option<&'a str>, Fault> {
    let mut values = ask.headers().get_all(header).iter();
    let text = |value: &'a HeaderValue| {
        value.to_str().map_err(|_| Fault::malformed(format!("{header} has to be text")))
    };
    let stated = values.next().map(text).transpose()?;
    if values.next().is_some() {
        return Err(Fault::malformed(format!("{header} is there twice")));
    }
    let in_body = message.meta(key);
    let in_body = match in_body {
        None | Some(ids::json::Json::Null) => None,
        Some(value) => {
            let text = value.as_str();
            Some(text.ok_or_else(|| Fault::malformed(format!("_meta `{key}` has to be text")))?)
        }
    };
    match (stated, in_body) {
        (Some(one), Some(other)) if one != other => {
            Err(Fault::malformed(format!("{header} and _meta `{key}` differ")))
        }
        (one, other) => Ok(one.or(other)),
    }
}

impl Message {
    /// The call that this is, if it is one of a tool.
    fn call(&self, app: &App, scope: &Scope<Write>, ask: &Ask) -> Result<Option<Call>, Fault> {
        let Some(name) = self.tool() else { return Ok(None) };
        let step = said(ask, self, super::STEP, "bulkhead/step")?;
        let key = said(ask, self, super::tools::IDEMPOTENCY, "bulkhead/idempotency-key")?;
        let review = said(ask, self, super::tools::REVIEW.as_str(), "bulkhead/review")?;
        Ok(Some(Call {
            ask: super::tools::asked(
                name,
                self.arguments.clone(),
                ask.request,
                super::tools::Said { step, key, review },
            )?,
            wait: self.wait(),
            state: self.state().map(str::to_owned),
            mismatch: named(app, scope, self, "arguments").err().map(|error| error.to_string()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_that_is_listed_or_none() {
        let allowed = ["https://app.example.com".to_owned(), "http://localhost:3000/".to_owned()];
        for (origins, good) in [
            (&[][..], true),
            (&["https://app.example.com"], true),
            (&["HTTPS://App.Example.com"], true),
            (&["http://localhost:3000"], true),
            (&["http://localhost:3001"], false),
            (&["https://app.example.com:444"], false),
            (&["https://app.example.com.evil.example"], false),
            (&["http://app.example.com"], false),
            (&["null"], false),
            (&[""], false),
            (&["https://app.example.com", "https://evil.example"], false),
        ] {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(origin(&headers, &allowed).is_ok(), good, "{origins:?}");
        }
    }
}
