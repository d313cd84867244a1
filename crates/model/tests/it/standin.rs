//! Stand-ins for a provider: real servers on loopback that say what they are. One speaks HTTP
//! through hyper, the other one writes whatever bytes it is told to.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A request as the provider got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// On which connection, counted from 0.
    pub(crate) connection: usize,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The names of all headers, sorted.
    pub(crate) fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn authorization(&self) -> String {
        self.headers[header::AUTHORIZATION].to_str().unwrap().to_owned()
    }

    /// Whose credential came along, without repeating it.
    pub(crate) fn whose(&self) -> String {
        super::world::whose(self.authorization().trim_start_matches("Bearer "))
    }
}

/// What the stand-in answers.
pub(crate) enum Reply {
    Whole(u16, Vec<(&'static str, String)>, Bytes),
    /// Pieces as they are sent; the end of the channel is the end of the answer.
    Stream(mpsc::Receiver<Bytes>),
    /// No answer at all.
    Never,
}

/// A whole JSON answer.
pub(crate) fn json(body: impl Into<Bytes>) -> Reply {
    status(200, body)
}

pub(crate) fn status(status: u16, body: impl Into<Bytes>) -> Reply {
    Reply::Whole(status, vec![("content-type", "application/json".into())], body.into())
}

/// A whole event stream, in one piece.
pub(crate) fn events(body: impl Into<Bytes>) -> Reply {
    Reply::Whole(200, vec![("content-type", "text/event-stream".into())], body.into())
}

/// A completion that says who made it.
pub(crate) fn completion(text: &str) -> String {
    format!(
        "{{\"object\": \"chat.completion\",  \"system_fingerprint\":\"stand-in\",\n \"choices\":\
         [{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}}}}], \
         \"usage\":{{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}} }}"
    )
}

/// The same as events.
pub(crate) fn chunks(text: &str) -> String {
    format!(
        ": stand-in\n\ndata: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\"{text}\"}}}}]}}\n\ndata: {{\"choices\":[],\"usage\":\
         {{\"prompt_tokens\":11,\"completion_tokens\":7}}}}\n\ndata: [DONE]\n\n"
    )
}

type Script = Box<dyn Fn(usize, &Seen) -> Reply + Send + Sync>;

struct State {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    script: Mutex<Arc<Script>>,
}

/// A provider over HTTP.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl StandIn {
    /// Answers with the prompt's own text and the credential that came along, so that an
    /// answer shows whose it is.
    pub(crate) async fn new() -> Self {
        Self::listen(None).await
    }

    /// The same under TLS, with the certificate in `tls/`.
    pub(crate) async fn over_tls() -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/certificate.pem"));
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.unwrap()], key)
            .unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let script: Script = Box::new(|nth, seen| {
            let text = format!("answer {nth} to {}", seen.whose());
            let wanted: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            if wanted["stream"] == true { events(chunks(&text)) } else { json(completion(&text)) }
        });
        let state = Arc::new(State {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            script: Mutex::new(Arc::new(script)),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// From now on it answers so; the script gets the number of the request, from 0.
    pub(crate) fn answers(&self, script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) {
        *self.state.script.lock().unwrap() = Arc::new(Box::new(script));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// From now on it was never asked before.
    pub(crate) fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let nth = state.connections.fetch_add(1, Ordering::SeqCst);
        let (state, tls) = (state.clone(), tls.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), nth, request));
            // A connection that the other side drops is what some tests are about.
            let served = http1::Builder::new();
            let _ = match tls {
                None => served.serve_connection(TokioIo::new(socket), service).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(socket) => served.serve_connection(TokioIo::new(socket), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

async fn answer(
    state: Arc<State>,
    connection: usize,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().map(str::to_owned);
    let seen = Seen { connection, path, query, headers: head.headers, body };
    let nth = {
        let mut all = state.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    let script = state.script.lock().unwrap().clone();
    let mut response = Response::builder().header("server", "stand-in");
    let body = match script(nth, &seen) {
        Reply::Never => std::future::pending().await,
        Reply::Whole(status, headers, body) => {
            response = response.status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Full::new(body).boxed()
        }
        Reply::Stream(pieces) => {
            response = response.header("content-type", "text/event-stream; charset=utf-8");
            let pieces = stream::unfold(pieces, async |mut pieces| {
                pieces.recv().await.map(|piece| (piece, pieces))
            });
            BodyExt::boxed(StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))))
        }
    };
    Ok(response.body(body).unwrap())
}

/// What a raw connection does after it has read a request.
#[derive(Clone)]
pub(crate) enum Raw {
    /// Writes, and closes in order.
    Close(Vec<u8>),
    /// Writes, and resets.
    Reset(Vec<u8>),
    /// Writes, and keeps silent.
    Hang(Vec<u8>),
    /// Writes, and takes the next request.
    GoOn(Vec<u8>),
    /// Writes, then writes more that nobody asked for, and takes the next request.
    Later(Vec<u8>, Vec<u8>),
}

/// A provider that writes what it is told to. Each request takes the next of its replies.
pub(crate) struct RawStandIn {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl RawStandIn {
    pub(crate) async fn new(replies: Vec<Raw>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let count = asked.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            let replies = Arc::new(Mutex::new(replies.into_iter()));
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(raw(socket, replies.clone(), count.clone()));
            }
        });
        Self { address, asked, _tasks: tasks }
    }
}

async fn raw(
    mut socket: TcpStream,
    replies: Arc<Mutex<std::vec::IntoIter<Raw>>>,
    asked: Arc<AtomicUsize>,
) {
    while read_request(&mut socket).await {
        asked.fetch_add(1, Ordering::SeqCst);
        let Some(reply) = replies.lock().unwrap().next() else { return };
        let (Raw::Close(bytes)
        | Raw::Reset(bytes)
        | Raw::Hang(bytes)
        | Raw::GoOn(bytes)
        | Raw::Later(bytes, _)) = &reply;
        socket.write_all(bytes).await.unwrap();
        match reply {
            Raw::Close(_) => return,
            Raw::Reset(_) => {
                socket.set_zero_linger().unwrap();
                return;
            }
            Raw::Hang(_) => std::future::pending().await,
            Raw::GoOn(_) => {}
            Raw::Later(_, more) => {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                socket.write_all(&more).await.unwrap();
            }
        }
    }
}

/// Reads one request with a `Content-Length`, to its end.
async fn read_request(socket: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|l| l.lines().next());
            if body.len() >= length.unwrap_or("0").parse::<usize>().unwrap() {
                return true;
            }
        }
        match socket.read_buf(&mut read).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}
