//! What we are measured against: an upstream that answers at once, and a reverse proxy that does nothing else. Both
//! are this program, started again.

use std::{
    convert::Infallible,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::CONTENT_TYPE,
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, task::JoinSet};

/// A peer in a process of its own; ends with us.
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts this program in a role; it prints its address.
    pub(crate) fn start(role: &[String]) -> Result<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).args(role).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address =
            line.trim().parse().with_context(|| format!("{role:?} printed no address"))?;
        Ok(Self { child, address })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone already; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ANSWER: &str = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"The constant answer of a benchmark's upstream: it says neither more nor less, whatever it is asked, and takes no time over it. Three invoices are open, the oldest for forty days, and none of them is disputed."}}],"usage":{"prompt_tokens":512,"completion_tokens":48,"total_tokens":560}}"#;

/// Pieces of an answer that comes as a stream.
const PIECES: usize = 32;
/// Of an embedding.
const DIMENSIONS: usize = 512;

/// Answers everything with the same bytes: a chat completion, whole or as a stream, or an embedding.
pub(crate) fn upstream() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let embedding = embedding();
    let events = events();
    runtime.block_on(serve(move |request: Request<Incoming>| {
        let (embedding, events) = (embedding.clone(), events.clone());
        async move {
            let embeds = request.uri().path().ends_with("/embeddings");
            // The body is read to its end, as a provider would.
            let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            let streams = body.is_ok_and(|body| asks_for_stream(&body));
            let (kind, answer) = match (embeds, streams) {
                (true, _) => ("application/json", Full::new(embedding).boxed()),
                (false, true) => {
                    let frames = events.into_iter().map(|event| Ok(Frame::data(event)));
                    let body = StreamBody::new(futures_util::stream::iter(frames));
                    ("text/event-stream", body.boxed())
                }
                (false, false) => {
                    ("application/json", Full::new(Bytes::from_static(ANSWER.as_bytes())).boxed())
                }
            };
            let mut response = Response::new(answer);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            Ok::<_, Infallible>(response)
        }
    }))
}

/// Looks at the end: that is where the load generator puts it, and nothing is parsed.
fn asks_for_stream(body: &[u8]) -> bool {
    let end = &body[body.len().saturating_sub(256)..];
    end.windows(13).any(|part| part == b"\"stream\":true")
}

fn embedding() -> Bytes {
    let vector = vec![0.25; DIMENSIONS];
    let answer = serde_json::json!({
        "object": "list",
        "model": "bench",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "usage": {"prompt_tokens": 512, "total_tokens": 512},
    });
    answer.to_string().into()
}

fn events() -> Vec<Bytes> {
    let piece = |delta: serde_json::Value, end: Option<&str>| {
        let event = serde_json::json!({
            "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "bench", "choices": [{"index": 0, "delta": delta, "finish_reason": end}],
        });
        Bytes::from(format!("data: {event}\n\n"))
    };
    let mut events: Vec<_> =
        (0..PIECES).map(|_| piece(serde_json::json!({"content": "invoice "}), None)).collect();
    events.push(piece(serde_json::json!({}), Some("stop")));
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// Hands every request on and every answer back, over pooled connections, on as many threads as there are cores.
pub(crate) fn proxy(to: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
        serve(move |mut request: Request<Incoming>| {
            let client = client.clone();
            async move {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                *request.uri_mut() = format!("http://{to}{path}").parse()?;
                anyhow::Ok(client.request(request).await?)
            }
        })
        .await
    })
}

async fn serve<F, A, B, E>(answer: F) -> Result<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        connections.spawn(async move {
            // A connection that breaks is the load generator's to report.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}
