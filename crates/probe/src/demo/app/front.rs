//! What stands before the routes of customers: the cache, the door, the queue. And what stands
//! behind them: the connection to where documents are.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

use super::{Service, Tenant, WORK, door::Refused};

/// The longest body that is read.
const MOST: usize = 1024 * 1024;

/// An answer, as it is kept.
#[derive(Clone, Debug)]
struct Kept {
    status: StatusCode,
    session: Option<HeaderValue>,
    body: Bytes,
}

impl Kept {
    fn response(self) -> Response {
        let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
        let mut response = (self.status, headers, self.body).into_response();
        if let Some(session) = self.session {
            response.headers_mut().insert("mcp-session-id", session);
        }
        response
    }
}

/// What lives as long as the application.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// By address, or by a caller's own id.
    kept: Mutex<BTreeMap<String, Kept>>,
    /// The one answer that is being written.
    reply: Mutex<Option<Kept>>,
    connection: tokio::sync::Mutex<Connection>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Through here goes every request of a customer.
pub(super) async fn pass(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let is_read = parts.method == Method::GET;
    let path = parts.uri.path().to_owned();
    let shelves = shelves(&service, &parts);
    for shelf in &shelves {
        if let Some(kept) = locked(&service.front.kept).get(shelf).cloned() {
            return kept.response();
        }
    }
    let words: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tenant = match service.who(&parts.headers, &parts.uri, &words) {
        Ok(tenant) => tenant,
        Err(Refused::Unproven) => return refuse(StatusCode::UNAUTHORIZED, "no such credential"),
        Err(Refused::Contradicting) => return refuse(StatusCode::FORBIDDEN, "not your name"),
    };
    let Some(_turn) = service.turn(tenant).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(tenant);
    let response = next.run(request).await;
    let status = response.status();
    let session = response.headers().get("mcp-session-id").cloned();
    let Ok(body) = to_bytes(response.into_body(), MOST).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut kept = Kept { status, session, body };
    let is_document = path.contains("/docs/");
    if is_read && !is_document && status.is_success() && service.wrong("app-shared-reply") {
        *locked(&service.front.reply) = Some(kept.clone());
        tokio::time::sleep(Duration::from_millis(1)).await;
        kept = locked(&service.front.reply).clone().unwrap_or(kept);
    }
    // What is not done yet is not kept, or else it never would be.
    let is_done = !kept.body.windows(12).any(|window| window == b"\"done\":false");
    if status.is_success() && is_done {
        let shelved = shelves.into_iter().map(|shelf| (shelf, kept.clone()));
        locked(&service.front.kept).extend(shelved);
    }
    let mut response = kept.response();
    if is_read && path.starts_with("/cdn/") && service.wrong("app-http-cache") {
        let public = HeaderValue::from_static("public, max-age=60");
        response.headers_mut().insert("cache-control", public);
    }
    response
}

/// Whoever waits is counted, until it is served or gone.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    /// Waits for a worker, and has it work. There is one for each customer; or one for all, which
    /// is the slower the more wait for it.
    async fn turn(&self, tenant: Tenant) -> Option<SemaphorePermit<'_>> {
        if !self.wrong("app-one-queue") {
            let turn = self.workers[tenant as usize].acquire().await.ok();
            tokio::time::sleep(WORK).await;
            return turn;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        let turn = self.workers[0].acquire().await.ok();
        let waiting = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(1);
        tokio::time::sleep(WORK * waiting.min(12)).await;
        turn
    }
}

/// Under which names an answer is kept; under none, if all is well.
fn shelves(service: &Service, parts: &axum::http::request::Parts) -> Vec<String> {
    let mut shelves = Vec::new();
    if service.wrong("app-http-cache") && parts.method == Method::GET {
        let is_cached = parts.uri.path().starts_with("/cdn/");
        shelves.extend(is_cached.then(|| parts.uri.to_string()));
    }
    if service.wrong("app-request-id-key") {
        let own = ["x-request-id", "idempotency-key"];
        let own = own.iter().filter_map(|name| parts.headers.get(*name)?.to_str().ok());
        shelves.extend(own.map(|id| format!("{} {id}", parts.method)));
    }
    shelves
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Response {
    let body = Bytes::from(json!({ "error": why }).to_string());
    Kept { status, session: None, body }.response()
}

/// A connection to where documents are, on which answers come in the order of the questions.
#[derive(Debug, Default)]
struct Connection {
    replies: VecDeque<Value>,
    asked: usize,
    last: Option<Instant>,
}

impl Connection {
    /// A pool opens a new one after a hundred questions, and after a pause.
    fn renew(&mut self) {
        let idle = self.last.is_none_or(|last| last.elapsed() > Duration::from_millis(50));
        if idle || self.asked > 100 {
            *self = Self::default();
        }
        self.asked += 1;
        self.last = Some(Instant::now());
    }
}

impl Service {
    /// Asks for what is known to be `reply`, over a connection that is the request's own.
    ///
    /// If it is everybody's, then whoever goes away between question and answer leaves the answer
    /// for the next one.
    pub(super) async fn over_connection(&self, reply: Value) -> Value {
        if !self.wrong("app-connection-desync") {
            tokio::time::sleep(WORK).await;
            return reply;
        }
        // Whoever is cancelled here lets go of the connection, but takes no answer from it.
        let mut connection = self.front.connection.lock().await;
        connection.renew();
        connection.replies.push_back(reply);
        tokio::time::sleep(WORK).await;
        connection.replies.pop_front().unwrap_or_default()
    }
}
