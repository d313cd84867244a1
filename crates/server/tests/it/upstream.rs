//! A stand-in provider of every endpoint. It knows credentials by what it is told, answers with
//! what the owner of a credential is marked with, and does what a prompt says: `[hold]` waits to
//! be released, `[fail]` is an error that quotes the credential, `[leak]` is one in a stream.
//!
//! What it keeps it shows to every credential: whose it is, is not its business.

pub(crate) mod crm;
mod keeper;
mod shapes;

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::task::TaskTracker;

use self::{keeper::Kept, shapes::Shape};

/// The type of what [`form`] makes.
pub(crate) const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=xx");

/// A file as SDKs upload it (RFC 7578).
pub(crate) fn form(purpose: &str, content: &str) -> String {
    let part = "Content-Disposition: form-data; name=";
    format!(
        "--xx\r\n{part}\"purpose\"\r\n\r\n{purpose}\r\n--xx\r\n{part}\"file\"; \
         filename=\"f\"\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--xx--\r\n"
    )
}

/// A request as the provider got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) secret: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Null if it is no JSON.
    pub(crate) body: Value,
    pub(crate) bytes: Bytes,
}

#[derive(Default)]
pub(crate) struct State {
    /// What answers to a credential are marked with.
    marks: Mutex<HashMap<String, String>>,
    seen: Mutex<Vec<Seen>>,
    count: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    /// A permit for each request that waits.
    pub(crate) held: Arc<Semaphore>,
    /// Lets one that waits go on.
    pub(crate) release: Arc<Semaphore>,
}

/// Answers whoever comes, each connection by itself.
fn serve<F>(listener: TcpListener, answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static)
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let inner = tasks.clone();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            inner.spawn(async move {
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                // A connection that breaks is what some tests are about.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            held: Arc::new(Semaphore::new(0)),
            release: Arc::new(Semaphore::new(0)),
        };
        let serving = this.clone();
        serve(listener, move |request| {
            let upstream = serving.clone();
            async move { upstream.answer(request).await }
        });
        this
    }

    pub(crate) fn mark(&self, secret: &str, mark: &str) {
        self.state.marks.lock().insert(secret.to_owned(), mark.to_owned());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// Waits until so many requests more than before are held here.
    pub(crate) async fn holding(&self, count: u32) {
        self.held.acquire_many(count).await.unwrap().forget();
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, bytes) = request.into_parts();
        let bytes = bytes.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let of = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let secret = of("authorization").or(of("x-api-key")).unwrap_or_default();
        let secret = secret.trim_start_matches("Bearer ").to_owned();
        let (method, path) = (parts.method, parts.uri.path().to_owned());
        let seen = Seen {
            secret: secret.clone(),
            method: method.clone(),
            path: path.clone(),
            headers: parts.headers,
            body: body.clone(),
            bytes: bytes.clone(),
        };
        self.state.seen.lock().push(seen);
        let mark = self.state.marks.lock().get(&secret).cloned();
        let Some(mark) = mark else {
            return json_response(401, &json!({"error": {"message": format!("bad key {secret}")}}));
        };
        let path = path.trim_start_matches("/v1");
        let Some(shape) = Shape::of(&method, path) else {
            return self.state.kept.lock().answer(&method, path, &mark, &body, &bytes);
        };
        let prompt = shape.prompt(&body);
        if prompt.contains("[fail]") {
            let message = format!("database of {mark} is down for key {secret}");
            let error = json!({"message": message, "type": "oops"});
            return json_response(500, &json!({"type": "error", "error": error}));
        }
        let number = self.state.count.fetch_add(1, Ordering::SeqCst);
        let said = format!("{mark} #{number} heard: {prompt}");
        let whole = shape.whole(number, &said, &body);
        if shape == Shape::Response && body["store"] != false {
            self.state.kept.lock().keep(&whole);
        }
        let hold = prompt.contains("[hold]");
        if body["stream"] == true {
            let mut events = shape.events(number, &said, &whole);
            if prompt.contains("[leak]") {
                let error = json!({"error": {"message": format!("key {secret}")}});
                let last = events.len() - 1;
                events[last] = Bytes::from(format!("data: {error}\n\n"));
            }
            return self.stream(events, hold);
        }
        if hold {
            self.held.add_permits(1);
            self.release.acquire().await.unwrap().forget();
        }
        json_response(200, &whole)
    }

    fn stream(&self, events: Vec<Bytes>, hold: bool) -> Response<Body> {
        let (first, rest) = events.split_at(1);
        let (first, rest) = (first.to_vec(), rest.to_vec());
        let (held, release) = (Arc::clone(&self.held), Arc::clone(&self.release));
        let wait = stream::once(async move {
            if hold {
                held.add_permits(1);
                release.acquire().await.unwrap().forget();
            }
            Bytes::new()
        });
        let all = stream::iter(first)
            .chain(wait)
            .chain(stream::iter(rest))
            .filter(|bytes| std::future::ready(!bytes.is_empty()))
            .map(Ok::<_, Infallible>);
        Response::builder()
            .header(header::CONTENT_TYPE, "text/event-stream")
            .body(Body::from_stream(all))
            .unwrap()
    }
}

fn json_response(status: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}
