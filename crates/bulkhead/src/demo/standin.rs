//! The stand-in for a model provider: answers chat completions as JSON and as server-sent
//! events, and embeddings, responses and messages as JSON; says what it is, and gives every answer a number of its own, so that an answer
//! tells where it came from.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use ids::{OsEntropy, RandomId};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

/// How long it thinks: a model takes longer, but the demo should not.
pub(super) const THINKS: Duration = Duration::from_millis(25);
/// The prompt that it answers a word at a time, without an end.
pub(super) const SLOWLY: &str = "Read all our invoices to me, slowly";
/// Between two words of that answer.
const WORD: Duration = Duration::from_millis(5);

const BANNER: &str = "(a stand-in, not a model)";

/// A request as the provider saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The secret that it came with.
    pub(super) credential: String,
    /// All headers and the body, as text.
    pub(super) text: String,
}

/// What every connection shares.
struct Shared {
    /// Secrets, each with the word that its account's answers hold.
    accounts: Vec<(String, String)>,
    seen: Mutex<Vec<Seen>>,
    /// Told when a slow answer is under way.
    reading: Notify,
}

/// The stand-in, running until it is dropped.
pub(super) struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl StandIn {
    /// Starts on a free loopback port. An account is a secret with the word that is in every
    /// answer to it.
    pub(super) async fn start(accounts: Vec<(String, String)>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the stand-in provider")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { accounts, seen: Mutex::default(), reading: Notify::new() });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// Its base URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns when a slow answer is under way.
    pub(super) async fn streaming(&self) {
        self.shared.reading.notified().await;
    }

    /// Everything that reached it.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(|request| answer(&shared, request));
                    // A caller that goes away is no failure of the stand-in.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(error(StatusCode::BAD_REQUEST, "the body did not arrive"));
    };
    let body = body.to_bytes();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|bearer| bearer.strip_prefix("Bearer "));
    let credential = bearer.or(header("x-api-key")).unwrap_or_default().to_owned();
    let text = format!("{:?}\n{}", head.headers, String::from_utf8_lossy(&body));
    let account = shared.accounts.iter().find(|(secret, _)| *secret == credential);
    shared
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Seen { credential: credential.clone(), text });
    let Some((_, word)) = account else {
        return Ok(error(StatusCode::UNAUTHORIZED, "no such account"));
    };
    let Ok(ask) = serde_json::from_slice::<Value>(&body) else {
        return Ok(error(StatusCode::BAD_REQUEST, "the body is not JSON"));
    };
    tokio::time::sleep(THINKS).await;
    let said = Said::new(&ask, word);
    let path = head.uri.path();
    if let Some((_, other)) = [
        ("/v1/embeddings", Said::embedding as fn(&Said) -> Value),
        ("/v1/responses", Said::response),
        ("/v1/messages", Said::message),
    ]
    .iter()
    .find(|(of, _)| *of == path)
    {
        let answer = other(&said).to_string();
        return Ok(response(StatusCode::OK, "application/json", full(answer)));
    }
    if ask["messages"].as_array().and_then(|all| all.last()).is_some_and(|m| m["content"] == SLOWLY)
    {
        return Ok(said.slowly(Arc::clone(shared)));
    }
    Ok(if ask.get("stream") == Some(&Value::Bool(true)) { said.stream() } else { said.whole() })
}

/// What it says to one request.
struct Said {
    id: String,
    model: Value,
    text: String,
    prompt_tokens: usize,
}

impl Said {
    fn new(ask: &Value, word: &str) -> Self {
        let prompt = ask.get("messages").map(Value::to_string).unwrap_or_default();
        let id = format!("chatcmpl-{}", RandomId::draw(&OsEntropy));
        let text = format!(
            "{BANNER} For account {word}: three invoices are open. The oldest is 41 days past \
             due and a reminder has gone out twice; the other two fall due this week. Nothing \
             is disputed. I suggest a call about the first, and to leave the others alone until \
             they are late. Totals, by age: 0 to 30 days 2; 31 to 60 days 1; older 0."
        );
        // About four characters a token, and a system prompt such as agents have.
        Self { id, model: ask["model"].clone(), text, prompt_tokens: prompt.len() / 4 + 280 }
    }

    fn tokens(&self) -> Value {
        let completion = self.text.len() / 4;
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        })
    }

    fn whole(&self) -> Response<Body> {
        let answer = json!({
            "id": self.id, "object": "chat.completion", "created": 0, "model": self.model,
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": self.text },
            }],
            "usage": self.tokens(),
        });
        response(StatusCode::OK, "application/json", full(answer.to_string()))
    }

    /// A vector of its own making, which means nothing.
    fn embedding(&self) -> Value {
        let usage =
            json!({ "prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens });
        json!({
            "object": "list", "model": self.model, "usage": usage,
            "data": [{ "object": "embedding", "index": 0, "embedding": [0.6, 0.8] }],
        })
    }

    fn response(&self) -> Value {
        let id = RandomId::draw(&OsEntropy);
        let part = json!({ "type": "output_text", "text": self.text, "annotations": [] });
        json!({
            "id": format!("resp_{id}"), "object": "response", "created_at": 0,
            "status": "completed", "model": self.model, "error": null,
            "output": [{
                "type": "message", "id": format!("msg_{id}"), "role": "assistant",
                "status": "completed", "content": [part],
            }],
            "usage": self.used("total_tokens"),
        })
    }

    fn message(&self) -> Value {
        json!({
            "id": format!("msg_{}", RandomId::draw(&OsEntropy)), "type": "message",
            "role": "assistant", "model": self.model, "stop_reason": "end_turn",
            "stop_sequence": null, "content": [{ "type": "text", "text": self.text }],
            "usage": self.used("cache_read_input_tokens"),
        })
    }

    fn used(&self, more: &str) -> Value {
        let output = self.text.len() / 4;
        let sum = if more == "total_tokens" { self.prompt_tokens + output } else { 0 };
        json!({ "input_tokens": self.prompt_tokens, "output_tokens": output, more: sum })
    }

    fn chunk(&self, delta: &Value, end: &Value, usage: &Value) -> String {
        let event = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": 0,
            "model": self.model, "usage": usage,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": end }],
        });
        format!("data: {event}\n\n")
    }

    /// The same words over and over, until the caller goes away.
    fn slowly(self, shared: Arc<Shared>) -> Response<Body> {
        let words: Vec<String> = self.text.split_inclusive(' ').map(str::to_owned).collect();
        let frames = stream::unfold(0, move |at| {
            let word = json!({ "content": words[at % words.len()] });
            let event = self.chunk(&word, &Value::Null, &Value::Null);
            let shared = Arc::clone(&shared);
            async move {
                tokio::time::sleep(WORD).await;
                if at == 5 {
                    shared.reading.notify_one();
                }
                Some((Ok(Frame::data(Bytes::from(event))), at + 1))
            }
        });
        response(StatusCode::OK, "text/event-stream", BoxBody::new(StreamBody::new(frames)))
    }

    fn stream(&self) -> Response<Body> {
        let words = self.text.split_inclusive(' ');
        let mut events: Vec<String> = words
            .map(|word| self.chunk(&json!({ "content": word }), &Value::Null, &Value::Null))
            .collect();
        events.push(self.chunk(&json!({}), &json!("stop"), &self.tokens()));
        events.push("data: [DONE]\n\n".to_owned());
        let frames = events.into_iter().map(|event| Ok(Frame::data(Bytes::from(event))));
        let body = BoxBody::new(StreamBody::new(stream::iter(frames)));
        response(StatusCode::OK, "text/event-stream", body)
    }
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed()
}

fn error(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({ "error": { "message": message, "type": "standin", "code": "standin" } });
    response(status, "application/json", full(body.to_string()))
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
