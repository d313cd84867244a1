//! Upstream MCP servers over Streamable HTTP, in version 2026-07-28 and those with sessions.
//!
//! A client of our own rather than an SDK's: every request goes out once, with the credential
//! of the very call that it is for; the bytes of what comes back are bounded and parsed strictly
//! before anybody believes them; no task runs on behind a call's back; and whoever hangs up ends the call.
//! A request whose stream breaks is never sent again, and its stream not taken up again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use ids::{Subject, json::Json, planted};
use parking_lot::Mutex;
use reqwest::Url;
use scope::{Scope, Write};
use tokio::time::{Instant, timeout, timeout_at};

mod events;
mod result;
mod wire;

use events::Events;
pub(crate) use result::Asks;
pub(super) use result::{Given, asks, block, from_call};
pub(super) use wire::mirrors;
use wire::{Heard, Mirrors, Version};

use super::{
    client::{Bounds, Incoming, Line, Owner, Wanted, essence, is_json},
    held,
    http::strict,
};
use crate::{Fault, FaultKind, Progress, credential::Authorized, shares::Shares};

/// A session that was not used for this long is looked at before it carries a call.
const UNSURE: Duration = Duration::from_secs(30);
/// How long a stream may stay open behind its answer.
const DRAIN: Duration = Duration::from_millis(250);
/// How long is taken for telling a server that nobody waits any more.
const FAREWELL: Duration = Duration::from_secs(5);
/// Most requests of a server's own in the stream of one call.
const ASKED: usize = 8;
/// Most bytes of an answer to what nobody waits for.
const SMALL: u64 = 64 << 10;

/// Whose session it is: never two end users' either.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Whose {
    owner: Owner,
    subject: Option<Subject>,
}

/// By the names of tools.
type ByTool = Vec<(String, Mirrors)>;

/// The sessions of all owners, the ones used last.
pub(super) struct Sessions {
    by_owner: Mutex<Shares<Whose, Arc<Session>>>,
    /// What tools want to see in headers, by their owners: it came with their definitions.
    mirrors: Mutex<Shares<Owner, Arc<ByTool>>>,
}

/// What is agreed with one server for one owner.
#[derive(Debug, Default)]
struct Session {
    ids: AtomicU64,
    /// Held while hands are shaken, so that it is done once.
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
}

#[derive(Debug)]
struct Link {
    version: Version,
    id: Option<HeaderValue>,
    used: Mutex<Instant>,
}

/// One request's surroundings.
pub(super) struct Call<'a> {
    pub(super) scope: &'a Scope<Write>,
    pub(super) owner: Owner,
    pub(super) line: Arc<Line>,
    pub(super) url: &'a Url,
    pub(super) by: &'a Authorized,
    pub(super) bounds: Bounds,
    pub(super) progress: Option<&'a Progress>,
    /// What whoever calls may be asked for.
    pub(super) capabilities: Option<&'a Json>,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Failed {
    /// No answer, or none that makes sense.
    Fault(Fault),
    /// The server's refusal: its code and its words, which do not hold the credential.
    Refused(i64, String),
    /// The server's refusal, for what whoever calls did not declare.
    Needs(&'static str),
    /// An error of HTTP's, without a message.
    Status(StatusCode),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Failed {
    /// As a fault, of whatever kind of answer was no result.
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Refused(..) | Self::Needs(_) => {
                Fault::sent(FaultKind::Malformed("it refuses what it offered"))
            }
            Self::Status(status) if status.is_server_error() => Fault::sent(FaultKind::Unreachable),
            Self::Status(StatusCode::TOO_MANY_REQUESTS) => Fault::sent(FaultKind::Unreachable),
            Self::Status(status) => Fault::sent(FaultKind::Status(status)),
        }
    }
}

impl Sessions {
    pub(super) fn new(most: usize) -> Self {
        let (by_owner, mirrors) = (Shares::new(most), Shares::new(most));
        Self { by_owner: Mutex::new(by_owner), mirrors: Mutex::new(mirrors) }
    }

    fn of(&self, call: &Call<'_>) -> Arc<Session> {
        let subject = call.scope.subject().cloned();
        let whose = Whose { owner: call.owner.clone(), subject };
        self.by_owner.lock().get_or_insert(call.owner.partition(), whose, Arc::default)
    }

    /// Remembers what the owner's tools want to see in headers. Of a tool that breaks the rules for it
    /// nothing is offered.
    pub(super) fn mirror(&self, owner: &Owner, mirrors: Vec<(String, Mirrors)>) {
        self.mirrors.lock().put(owner.partition(), owner.clone(), Arc::new(mirrors));
    }

    fn mirrors(&self, owner: &Owner, tool: &str) -> Option<Mirrors> {
        let mirrors = self.mirrors.lock().get(owner.partition(), owner).cloned()?;
        let of = mirrors.iter().find(|(name, _)| name == tool);
        Some(of.map(|(_, mirrors)| mirrors.clone()).unwrap_or_default())
    }

    /// Asks, once. The result is whatever object the server gave; it does not hold the credential.
    pub(super) async fn ask(
        &self,
        call: &Call<'_>,
        method: &'static str,
        params: Vec<(String, Json)>,
    ) -> Result<Json, Failed> {
        let session = self.of(call);
        let link = session.link(call).await?;
        let mirrored = match link.version {
            Version::Stateless => {
                let tool = params.iter().find(|(key, _)| key == "name");
                let tool = tool.and_then(|(_, name)| name.as_str()).unwrap_or_default();
                wire::repeated(
                    method,
                    &params,
                    &self.mirrors(&call.owner, tool).unwrap_or_default(),
                )?
            }
            _ => Vec::new(),
        };
        let answered = session.exchange(call, &link, method, params.clone(), mirrored).await;
        match answered {
            Err(Failed::Status(StatusCode::NOT_FOUND)) if link.id.is_some() => {
                session.forget(&link).await;
                if planted::is("tools-call-resent") {
                    let link = session.link(call).await?;
                    let again = session.exchange(call, &link, method, params, Vec::new()).await;
                    return again.map(|said| said.result);
                }
                // The next call begins a new session. This one may have been done.
                Err(Fault::sent(FaultKind::Unreachable).into())
            }
            other => other.map(|said| said.result),
        }
    }
}

/// A result, and the session that came with it.
struct Said {
    result: Json,
    session: Option<HeaderValue>,
}

impl Session {
    /// What is agreed with the server. Nothing of the call itself was sent, whatever fails here.
    async fn link(&self, call: &Call<'_>) -> Result<Arc<Link>, Fault> {
        let unsent = |failed: Failed| Fault::unsent(failed.fault().kind);
        let Ok(mut held) = timeout_at(call.bounds.until, self.link.lock()).await else {
            return Err(Fault::unsent(FaultKind::Timeout));
        };
        if let Some(link) = &*held {
            let idle = link.used.lock().elapsed();
            if link.id.is_none() || idle < UNSURE {
                *link.used.lock() = Instant::now();
                return Ok(Arc::clone(link));
            }
            let link = Arc::clone(link);
            if self.exchange(call, &link, "ping", Vec::new(), Vec::new()).await.is_ok() {
                *link.used.lock() = Instant::now();
                return Ok(link);
            }
            *held = None;
        }
        let link = Arc::new(self.shake_hands(call).await.map_err(unsent)?);
        *held = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Lets go of what was agreed, unless somebody agreed anew.
    async fn forget(&self, gone: &Arc<Link>) {
        let mut held = self.link.lock().await;
        if held.as_ref().is_some_and(|link| Arc::ptr_eq(link, gone)) {
            *held = None;
        }
    }

    async fn shake_hands(&self, call: &Call<'_>) -> Result<Link, Failed> {
        let link = |version, id| Link { version, id, used: Mutex::new(Instant::now()) };
        let modern = link(Version::Stateless, None);
        let method = "server/discover";
        let mirrored = wire::repeated(method, &[], &[])?;
        match self.exchange(call, &modern, method, Vec::new(), mirrored).await {
            Ok(said) => {
                let versions = match said.result.get("supportedVersions") {
                    Some(Json::Array(versions)) => versions.as_slice(),
                    _ => &[],
                };
                if versions.iter().any(|version| version.as_str() == Some(wire::STATELESS)) {
                    return Ok(modern);
                }
            }
            // A server that does not know the question says so in many ways.
            Err(Failed::Refused(..) | Failed::Needs(_)) => {}
            Err(Failed::Status(status)) if status.is_client_error() => {}
            Err(failed) => return Err(failed),
        }
        let params = vec![
            ("protocolVersion".to_owned(), wire::text(wire::WITH_SESSIONS[0])),
            ("capabilities".to_owned(), wire::object([])),
            ("clientInfo".to_owned(), wire::client_info()),
        ];
        let none = link(Version::None, None);
        let said = self.exchange(call, &none, "initialize", params, Vec::new()).await?;
        let agreed = said.result.get("protocolVersion").and_then(Json::as_str);
        let agreed = wire::WITH_SESSIONS.into_iter().find(|version| agreed == Some(*version));
        let Some(agreed) = agreed else {
            return Err(Fault::sent(FaultKind::Malformed("its version is not spoken here")).into());
        };
        let link = link(Version::Agreed(agreed), said.session);
        let ready = wire::notification("notifications/initialized", wire::object([]));
        let headers = wire::headers(link.version, link.id.as_ref(), Vec::new());
        let incoming = post(call, headers, ready).await?;
        match incoming.status() {
            status if status.is_success() => {
                incoming.whole().await?;
                Ok(link)
            }
            status => Err(Failed::Status(status)),
        }
    }

    /// One request and its answer.
    async fn exchange(
        &self,
        call: &Call<'_>,
        link: &Link,
        method: &'static str,
        params: Vec<(String, Json)>,
        mirrored: Vec<(http::HeaderName, HeaderValue)>,
    ) -> Result<Said, Failed> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        let text = wire::request(link.version, id, method, params, call.capabilities);
        let headers = wire::headers(link.version, link.id.as_ref(), mirrored);
        let mut hangs_up = HangsUp::armed(call, link, id);
        let said = self.converse(call, link, id, headers, text).await;
        if !said.as_ref().is_err_and(leaves_it_running) {
            hangs_up.farewell = None;
        }
        said
    }

    async fn converse(
        &self,
        call: &Call<'_>,
        link: &Link,
        id: u64,
        headers: HeaderMap,
        text: Vec<u8>,
    ) -> Result<Said, Failed> {
        let incoming = post(call, headers, text).await?;
        let status = incoming.status();
        let session = match incoming.header("mcp-session-id") {
            Some(session) if link.version == Version::None => Some(own(session)?),
            _ => None,
        };
        let kind = incoming.content_type().map(essence).unwrap_or_default();
        if !status.is_success() {
            if !is_json(&kind) {
                return Err(Failed::Status(status));
            }
            let body = incoming.whole().await?;
            let Ok(message) = strict(&body) else { return Err(Failed::Status(status)) };
            return match wire::hear(message, id, true) {
                // A session that is gone is gone, whatever is said of it.
                Ok(Heard::Refusal(..) | Heard::Needs(_))
                    if status == StatusCode::NOT_FOUND && link.id.is_some() =>
                {
                    Err(Failed::Status(status))
                }
                Ok(Heard::Refusal(code, said)) => Err(refused(call, code, said)?),
                Ok(Heard::Needs(what)) => Err(Failed::Needs(what)),
                _ => Err(Failed::Status(status)),
            };
        }
        let result = match kind.as_str() {
            "text/event-stream" => listen(call, link, id, incoming).await?,
            kind if is_json(kind) => {
                let body = incoming.whole().await?;
                held(call.by, &body)?;
                match wire::hear(strict(&body)?, id, false)? {
                    Heard::Answer(result) => result,
                    Heard::Refusal(code, said) => return Err(refused(call, code, said)?),
                    Heard::Needs(what) => return Err(Failed::Needs(what)),
                    _ => return Err(malformed("it gave no answer")),
                }
            }
            _ => return Err(malformed("it gave no answer")),
        };
        if !matches!(result, Json::Object(_)) {
            return Err(malformed("a result that is no object"));
        }
        // Escapes hide nothing.
        held(call.by, &result.to_vec())?;
        Ok(Said { result, session })
    }
}

const fn malformed(why: &'static str) -> Failed {
    Failed::Fault(Fault::sent(FaultKind::Malformed(why)))
}

/// A refusal, unless it repeats the credential.
fn refused(call: &Call<'_>, code: i64, said: String) -> Result<Failed, Fault> {
    held(call.by, said.as_bytes())?;
    Ok(Failed::Refused(code, said))
}

/// Whether the server may be at work still, although nobody listens any more.
fn leaves_it_running(failed: &Failed) -> bool {
    let Failed::Fault(fault) = failed else { return false };
    fault.sent
        && matches!(
            fault.kind,
            FaultKind::Timeout | FaultKind::TooLarge(_) | FaultKind::Malformed(_)
        )
}

/// The id of a session, as it may stand in a header of ours.
fn own(session: &HeaderValue) -> Result<HeaderValue, Fault> {
    let fits = session.len() <= 1_024 && session.as_bytes().iter().all(u8::is_ascii_graphic);
    let bad = Fault::sent(FaultKind::Malformed("the id of a session with other characters"));
    let mut session = fits.then(|| session.clone()).ok_or(bad)?;
    session.set_sensitive(true);
    Ok(session)
}

async fn post(call: &Call<'_>, headers: HeaderMap, text: Vec<u8>) -> Result<Incoming, Fault> {
    let url = call.url.clone();
    let wanted = Wanted { method: Method::POST, url, headers, body: Some(text.into()) };
    call.line.send(wanted, call.by, &call.bounds).await
}

/// Reads a stream up to the answer, and a little behind it: a second answer is a lie.
async fn listen(call: &Call<'_>, link: &Link, id: u64, incoming: Incoming) -> Result<Json, Failed> {
    let mut events = Events::of(incoming);
    let mut asked = 0;
    let answer = loop {
        let Some(event) = events.next().await? else {
            return Err(Fault::sent(FaultKind::Unreachable).into());
        };
        held(call.by, &event)?;
        match wire::hear(strict(&event)?, id, false)? {
            Heard::Answer(result) => break Ok(result),
            Heard::Refusal(code, said) => break Err(refused(call, code, said)?),
            Heard::Needs(what) => break Err(Failed::Needs(what)),
            Heard::Progress(note) => {
                if let Some(message) = &note.message {
                    held(call.by, message.as_bytes())?;
                }
                if let Some(progress) = call.progress {
                    progress.say(note);
                }
            }
            Heard::Asked(of, method) => {
                asked += 1;
                if link.version == Version::Stateless || asked > ASKED {
                    return Err(malformed("it asks back, and nobody here may answer"));
                }
                let headers = wire::headers(link.version, link.id.as_ref(), Vec::new());
                post(call, headers, wire::refusal(of, &method)).await?.whole().await?;
            }
            Heard::Nothing => {}
        }
    };
    match timeout(DRAIN, events.next()).await {
        Ok(Ok(Some(_))) => Err(malformed("it answers twice")),
        // Its end, or the connection's, which is of no interest any more.
        Ok(Ok(None) | Err(_)) | Err(_) => answer,
    }
}

/// Tells a server with sessions that nobody waits for an answer any more, if its caller is dropped
/// or gives up. One without sessions sees it by its stream, which closes.
struct HangsUp {
    farewell: Option<Farewell>,
}

struct Farewell {
    scope: Scope<Write>,
    line: Arc<Line>,
    by: Authorized,
    url: Url,
    headers: HeaderMap,
    text: Vec<u8>,
    idle: Duration,
}

impl HangsUp {
    fn armed(call: &Call<'_>, link: &Link, id: u64) -> Self {
        if !matches!(link.version, Version::Agreed(_)) {
            return Self { farewell: None };
        }
        let params = wire::object([
            ("requestId", Json::Number(id.into())),
            ("reason", wire::text("nobody waits for it any more")),
        ]);
        let farewell = Farewell {
            scope: call.scope.clone(),
            line: Arc::clone(&call.line),
            by: call.by.clone(),
            url: call.url.clone(),
            headers: wire::headers(link.version, link.id.as_ref(), Vec::new()),
            text: wire::notification("notifications/cancelled", params),
            idle: call.bounds.idle,
        };
        Self { farewell: Some(farewell) }
    }
}

impl Drop for HangsUp {
    fn drop(&mut self) {
        let Some(farewell) = self.farewell.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let scope = farewell.scope.clone();
        scope.spawn(move |_scope| async move {
            let Farewell { line, by, url, headers, text, idle, .. } = farewell;
            let bounds = Bounds { until: Instant::now() + FAREWELL, idle, most: SMALL };
            let wanted = Wanted { method: Method::POST, url, headers, body: Some(text.into()) };
            if let Ok(incoming) = line.send(wanted, &by, &bounds).await {
                // What it says to that is of no interest; the connection is worth keeping.
                let _ = incoming.whole().await;
            }
        });
    }
}
