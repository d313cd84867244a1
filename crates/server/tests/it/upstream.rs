//! A stand-in provider. It knows credentials by what it is told, answers with what the owner of
//! a credential is marked with, and does what a prompt says: `[hold]` waits to be released,
//! `[fail]` is an error that quotes the credential, `[leak]` is one in a stream.

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
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::task::TaskTracker;

/// A request as the provider got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) secret: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Default)]
pub(crate) struct State {
    /// What answers to a credential are marked with.
    marks: Mutex<HashMap<String, String>>,
    seen: Mutex<Vec<Seen>>,
    count: AtomicU64,
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

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            held: Arc::new(Semaphore::new(0)),
            release: Arc::new(Semaphore::new(0)),
        };
        let (tasks, serving) = (TaskTracker::new(), this.clone());
        let inner = tasks.clone();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let upstream = serving.clone();
                inner.spawn(async move {
                    let service = service_fn(move |request| {
                        let upstream = upstream.clone();
                        async move { Ok::<_, Infallible>(upstream.answer(request).await) }
                    });
                    // A connection that breaks is what some tests are about.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
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
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let secret = parts.headers.get(header::AUTHORIZATION);
        let secret = secret.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let secret = secret.trim_start_matches("Bearer ").to_owned();
        let seen = Seen { secret: secret.clone(), headers: parts.headers, body: body.clone() };
        self.state.seen.lock().push(seen);
        let mark = self.state.marks.lock().get(&secret).cloned();
        let Some(mark) = mark else {
            return json_response(401, &json!({"error": {"message": format!("bad key {secret}")}}));
        };
        let prompt = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        if prompt.contains("[fail]") {
            let message = format!("database of {mark} is down for key {secret}");
            return json_response(500, &json!({"error": {"message": message, "type": "oops"}}));
        }
        let number = self.state.count.fetch_add(1, Ordering::SeqCst);
        let said = format!("{mark} #{number} heard: {prompt}");
        if body["stream"] == true {
            return self.stream(&said, &prompt, &secret);
        }
        if prompt.contains("[hold]") {
            self.held.add_permits(1);
            self.release.acquire().await.unwrap().forget();
        }
        json_response(
            200,
            &json!({
                "id": format!("chatcmpl-{number}"), "object": "chat.completion", "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": said}}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
            }),
        )
    }

    fn stream(&self, said: &str, prompt: &str, secret: &str) -> Response<Body> {
        let event = |content: &str| {
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
                "model": "m", "choices": [{"index": 0, "delta": {"content": content}}]});
            Bytes::from(format!("data: {chunk}\n\n"))
        };
        let words: Vec<Bytes> = said.split_inclusive(' ').map(event).collect();
        let (first, rest) = words.split_at(1);
        let (first, rest) = (first.to_vec(), rest.to_vec());
        let last = if prompt.contains("[leak]") {
            Bytes::from(format!("data: {{\"error\":{{\"message\":\"key {secret}\"}}}}\n\n"))
        } else {
            Bytes::from("data: [DONE]\n\n")
        };
        let holds = prompt.contains("[hold]");
        let (held, release) = (Arc::clone(&self.held), Arc::clone(&self.release));
        let wait = stream::once(async move {
            if holds {
                held.add_permits(1);
                release.acquire().await.unwrap().forget();
            }
            Bytes::new()
        });
        let all = stream::iter(first)
            .chain(wait)
            .chain(stream::iter(rest))
            .chain(stream::iter([last]))
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
