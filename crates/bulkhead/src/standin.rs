//! The stand-in for model providers, of the demo and of what probes a deployment from outside. It
//! answers every endpoint, says what it is, and gives every answer a number of its own, so that an
//! answer tells where it came from.
//!
//! It keeps what it is told to keep, and shows it to everybody of the same account: whose it is
//! within an account is not its business, as it is not a provider's.

mod cached;
mod kept;
mod said;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ids::{OsEntropy, RandomId};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

use self::{cached::Prefixes, kept::Kept, said::Said};

/// How long it thinks in the demo: a model takes longer, but the demo should not.
pub(crate) const THINKS: Duration = Duration::from_millis(25);
/// The prompt that it answers a word at a time, without an end.
pub(crate) const SLOWLY: &str = "Read all our invoices to me, slowly";
/// In a prompt: answer with an error that quotes the credential, as providers do.
pub(crate) const FAIL: &str = "[answer with an error]";
/// The same, in an answer whose status is 200; each time another one.
pub(crate) const FAIL_SOFTLY: &str = "[answer with an error in a 200]";
/// The model whose prompts are cached, as an engine caches them.
pub(crate) const ENGINE: &str = "stand-in-engine";

/// The longest body that it reads: as much as the largest file of a probe needs, and no more than
/// this process can spare.
const MOST: usize = 32 << 20;

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// To be looked at: it thinks, says what an assistant could say, and remembers what it saw.
    Shown,
    /// To be probed: it repeats what it was asked.
    Probed,
}

/// A request as the provider saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The secret that it came with.
    pub(crate) credential: String,
    /// All headers and the body, as text.
    pub(crate) text: String,
}

/// What every connection shares.
struct Shared {
    manner: Manner,
    /// Secrets, each with the word that its account's answers hold.
    accounts: Mutex<Vec<(String, String)>>,
    seen: Mutex<Vec<Seen>>,
    kept: Mutex<Kept>,
    prefixes: Mutex<Prefixes>,
    connections: AtomicU64,
    /// Told when a slow answer is under way.
    reading: Notify,
}

impl Shared {
    /// The word of an account that is open now.
    fn word(&self, credential: &str) -> Option<String> {
        let accounts = lock(&self.accounts);
        accounts.iter().find(|(secret, _)| secret == credential).map(|(_, word)| word.clone())
    }

    /// What is kept, for an account that is open still: one that was closed while its request was
    /// under way leaves nothing behind, since what is kept is emptied after the accounts are.
    fn held<'s, T>(&self, kept: &'s Mutex<T>, credential: &str) -> Option<MutexGuard<'s, T>> {
        let kept = lock(kept);
        self.word(credential).map(|_| kept)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stand-in, running until it is dropped.
pub(crate) struct StandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl StandIn {
    /// Starts on a free loopback port. An account is a secret with the word that is in every
    /// answer to it.
    pub(crate) async fn start(manner: Manner, accounts: Vec<(String, String)>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the stand-in provider")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            manner,
            accounts: Mutex::new(accounts),
            seen: Mutex::default(),
            kept: Mutex::default(),
            prefixes: Mutex::default(),
            connections: AtomicU64::new(0),
            reading: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns when a slow answer is under way.
    pub(crate) async fn streaming(&self) {
        self.shared.reading.notified().await;
    }

    /// Everything that reached it.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// From now on these accounts and no others; nothing of the former ones is left.
    pub(crate) fn open(&self, accounts: Vec<(String, String)>) {
        *lock(&self.shared.accounts) = accounts;
        *lock(&self.shared.kept) = Kept::default();
        *lock(&self.shared.prefixes) = Prefixes::default();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // One that was given up before it was taken is no reason to end.
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                    let service =
                        hyper::service::service_fn(|request| answer(&shared, number, request));
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
    connection: u64,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|bearer| bearer.strip_prefix("Bearer "));
    let credential = bearer.or(header("x-api-key")).unwrap_or_default().to_owned();
    let saw = |body: &[u8]| {
        if shared.manner == Manner::Shown {
            let text = format!("{:?}\n{}", head.headers, String::from_utf8_lossy(body));
            lock(&shared.seen).push(Seen { credential: credential.clone(), text });
        }
    };
    // Everybody on this machine reaches it: of whoever has no account nothing is read.
    let Some(word) = shared.word(&credential) else {
        saw(b"");
        return Ok(stranger());
    };
    let body = match Limited::new(body, MOST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(why) if why.is::<LengthLimitError>() => {
            return Ok(error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"));
        }
        Err(_) => return Ok(error(StatusCode::BAD_REQUEST, "the body did not arrive")),
    };
    saw(&body);
    let path = head.uri.path().strip_prefix("/v1").unwrap_or_default().to_owned();
    let models = ["/chat/completions", "/embeddings", "/responses", "/messages"];
    if head.method != Method::POST || !models.contains(&path.as_str()) {
        let asked = serde_json::from_slice(&body).unwrap_or_default();
        return Ok(match path.as_str() {
            "/messages/count_tokens" => json_of(&json!({ "input_tokens": body.len() / 4 })),
            _ => match shared.held(&shared.kept, &credential) {
                Some(mut kept) => kept.answer(&head.method, &path, &word, &asked, &body),
                None => stranger(),
            },
        });
    }
    let Ok(ask) = serde_json::from_slice::<Value>(&body) else {
        return Ok(error(StatusCode::BAD_REQUEST, "the body is not JSON"));
    };
    let asked = Asked { path, ask, word, credential, connection };
    Ok(asked.answered(shared).await)
}

/// A question to a model.
struct Asked {
    path: String,
    ask: Value,
    word: String,
    credential: String,
    connection: u64,
}

impl Asked {
    async fn answered(self, shared: &Arc<Shared>) -> Response<Body> {
        let Self { path, ask, word, credential, connection } = self;
        let prompt = said::last(&ask);
        if prompt.contains(FAIL) {
            let message = format!("the database of {word} is down, for key {credential}: {prompt}");
            return error(StatusCode::INTERNAL_SERVER_ERROR, &message);
        }
        if prompt.contains(FAIL_SOFTLY) {
            let message = format!("it is down: {}", RandomId::draw(&OsEntropy));
            let body = json!({ "error": { "message": message, "type": "standin" } });
            return json_of(&body);
        }
        let cached = match ask["model"] == ENGINE {
            true => match shared.held(&shared.prefixes, &credential) {
                Some(mut prefixes) => prefixes.met(&word, &ask),
                None => return stranger(),
            },
            false => 0,
        };
        let thinks = match shared.manner {
            Manner::Shown => THINKS,
            Manner::Probed if ask["model"] == ENGINE => cached::time(cached, &ask),
            Manner::Probed => Duration::ZERO,
        };
        if !thinks.is_zero() {
            tokio::time::sleep(thinks).await;
        }
        let before = lock(&shared.kept).context(&word, &ask);
        let said = Said::new(&ask, &word, shared.manner, &before).over(connection).with(cached);
        if path == "/responses" {
            match shared.held(&shared.kept, &credential) {
                Some(mut kept) => kept.keep_response(&word, &ask, &said.response()),
                None => return stranger(),
            }
        }
        if prompt == SLOWLY {
            return said.slowly(Arc::clone(shared));
        }
        let streamed = ask.get("stream") == Some(&Value::Bool(true));
        match (path.as_str(), streamed) {
            ("/embeddings", _) => json_of(&said.embedding(&ask, shared.manner)),
            ("/responses", false) => json_of(&said.response()),
            ("/responses", true) => said.response_stream(),
            ("/messages", false) => json_of(&said.message()),
            ("/messages", true) => said.message_stream(),
            (_, true) => said.stream(),
            _ => said.whole(),
        }
    }
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed()
}

fn json_of(value: &Value) -> Response<Body> {
    response(StatusCode::OK, "application/json", full(value.to_string()))
}

fn error(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({ "error": { "message": message, "type": "standin", "code": "standin" } });
    response(status, "application/json", full(body.to_string()))
}

fn stranger() -> Response<Body> {
    error(StatusCode::UNAUTHORIZED, "no such account")
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    /// The status of what came back for a head, and a body that need not be all of it.
    async fn told(standin: &StandIn, head: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(standin.address).await.unwrap();
        let text = format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn nothing_is_read_of_whoever_has_no_account() {
        let standin = StandIn::start(Manner::Probed, Vec::new()).await.unwrap();
        let of = |key: &str, length: usize| {
            format!(
                "POST /v1/files HTTP/1.1\r\nauthorization: Bearer {key}\r\ncontent-length: {length}"
            )
        };
        // Its body never comes: it is not waited for.
        assert_eq!(told(&standin, &of("sk-a", 1 << 40), "").await, 401);
        standin.open(vec![("sk-a".into(), "a".into())]);
        assert_eq!(told(&standin, &of("sk-b", 1 << 40), "").await, 401);
        assert_eq!(told(&standin, &of("sk-a", MOST + 1), &" ".repeat(MOST + 1)).await, 413);
        assert_eq!(told(&standin, &of("sk-a", 2), "{}").await, 400);
    }

    #[tokio::test]
    async fn nothing_is_left_of_an_account_that_was_closed() {
        let standin = StandIn::start(Manner::Probed, Vec::new()).await.unwrap();
        let shared = &standin.shared;
        let mine = || vec![("sk-a".to_owned(), "a".to_owned())];
        let made = json!({ "id": "resp_1" });
        standin.open(mine());
        let mut kept = shared.held(&shared.kept, "sk-a").unwrap();
        kept.keep_response("a", &json!({ "input": "the secret" }), &made);
        drop(kept);
        let before = || {
            let after = json!({ "previous_response_id": "resp_1", "conversation": "resp_1" });
            lock(&shared.kept).context("a", &after)
        };
        assert!(before().contains("the secret"));
        standin.open(Vec::new());
        assert!(shared.held(&shared.kept, "sk-a").is_none());
        standin.open(mine());
        assert_eq!(before(), "");
    }
}
