//! One request to a provider and its answer.

use std::{
    borrow::Cow,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as _;
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use ids::planted;
use scope::{Scope, Write};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_rustls::TlsConnector;
use vault::{Credential, Forms};

use crate::{
    Api, Fault, Phase, Provider, Timeouts,
    answer::{EVENTS, JSON},
    pool::{Line, Owner, Pool, Pools, Wire},
    retry::Failed,
    target::Target,
};

/// What hyper may buffer of a head (of 100 fields at most), and reads at once, in bytes.
const BUFFER: usize = 128 * 1024;

/// A request, but for whose it is and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Behind the provider's base URL; ids in it are encoded.
    pub(crate) path: Cow<'static, str>,
    /// What stands behind the `?`, encoded.
    pub(crate) query: Option<String>,
    /// Of the body, if there is one.
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) accept: HeaderValue,
    pub(crate) body: Bytes,
    /// Further headers. None of them is the caller's.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Call {
    /// A body in JSON, for an answer in JSON or in events.
    pub(crate) fn post(path: impl Into<Cow<'static, str>>, body: Bytes, stream: bool) -> Self {
        Self {
            content_type: Some(HeaderValue::from_static(JSON)),
            accept: HeaderValue::from_static(if stream { EVENTS } else { JSON }),
            body,
            ..Self::bare(Method::POST, path)
        }
    }

    /// Without a body, for an answer in JSON.
    pub(crate) fn bare(method: Method, path: impl Into<Cow<'static, str>>) -> Self {
        Self {
            method,
            path: path.into(),
            query: None,
            content_type: None,
            accept: HeaderValue::from_static(JSON),
            body: Bytes::new(),
            headers: Vec::new(),
        }
    }
}

/// A provider, ready to be asked.
pub(crate) struct Upstream {
    target: Target,
    tls: TlsConnector,
    timeouts: Timeouts,
    max_response_bytes: u64,
    /// Azure's older paths: deployments, and this version in every query.
    api_version: Option<String>,
    pools: Pools,
}

impl Upstream {
    pub(crate) fn new(provider: &Provider, target: Target, tls: TlsConnector) -> Self {
        Self {
            target,
            tls,
            timeouts: provider.timeouts,
            max_response_bytes: provider.max_response_bytes,
            api_version: provider.api_version.clone(),
            pools: Pools::new(provider.kind),
        }
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn tidy(&self) {
        self.pools.tidy();
    }

    /// The path of an endpoint for a model.
    pub(crate) fn path(&self, api: Api, model: &str) -> Cow<'static, str> {
        match (&self.api_version, api) {
            (Some(_), Api::Chat | Api::Embeddings) => {
                format!("/deployments/{model}{}", api.path()).into()
            }
            _ => api.path().into(),
        }
    }

    /// The connections and the budget of one credential of a scope.
    pub(crate) fn pool(&self, scope: &Scope<Write>, credential: &Credential) -> Arc<Pool> {
        let mut owner = Owner { partition: *scope.partition_bytes(), version: credential.version };
        if planted::is("pool-across-tenants") {
            owner = Owner { partition: [0; 32], version: 0 };
        }
        self.pools.of(owner, &credential.secret, &self.target.authority)
    }

    /// Sends a request once and waits for the head of its answer.
    pub(crate) async fn send(
        self: &Arc<Self>,
        scope: &Scope<Write>,
        credential: &Credential,
        call: Call,
    ) -> Result<Box<Exchange>, Fault> {
        let pool = self.pool(scope, credential);
        self.attempt(&pool, call).await.map_err(|failed| failed.fault)
    }

    /// The same on a pool that is at hand; says whether what failed was sent.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        call: Call,
    ) -> Result<Box<Exchange>, Failed> {
        let mut unsent = self.request(pool, call).map_err(Failed::unsent)?;
        let mut watch = Watch::start(&self.timeouts);
        // A connection that closes while it is idle may do so when it is taken. What was not
        // sent on it is sent on a new one; what was sent is not sent again here.
        while let Some(mut line) = pool.take().await {
            match send(&mut line, unsent, &mut watch).await {
                Ok(response) => {
                    return self.exchange(response, line, pool, watch).map_err(Failed::sent);
                }
                Err(unanswered) => match *unanswered {
                    (_, Some(request)) => unsent = request,
                    (fault, None) => return Err(Failed::sent(fault)),
                },
            }
        }
        let mut line = self.connect().await.map_err(Failed::unsent)?;
        watch.restart(&self.timeouts);
        match send(&mut line, unsent, &mut watch).await {
            Ok(response) => self.exchange(response, line, pool, watch).map_err(Failed::sent),
            Err(unanswered) => Err(Failed { fault: unanswered.0, sent: unanswered.1.is_none() }),
        }
    }

    /// The request as it goes out: the pool's headers, and the call's own.
    fn request(&self, pool: &Pool, call: Call) -> Result<Asked, Fault> {
        let Call { method, path, query, content_type, accept, body, headers } = call;
        let mut query = query.unwrap_or_default();
        if let Some(version) = &self.api_version {
            let and = if query.is_empty() { "" } else { "&" };
            query = format!("{query}{and}api-version={version}");
        }
        let uri = self.target.uri(&path, &query);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.ok_or(Fault::Malformed("there is no such path"))?;
        *request.headers_mut() = pool.headers.clone();
        request.headers_mut().insert(header::ACCEPT, accept);
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        request.headers_mut().extend(headers);
        Ok(request)
    }

    fn exchange(
        self: &Arc<Self>,
        response: http::Response<Incoming>,
        line: Box<Line>,
        pool: &Arc<Pool>,
        mut watch: Watch,
    ) -> Result<Box<Exchange>, Fault> {
        let (head, body) = response.into_parts();
        watch.phase = Phase::Idle;
        if head.status.is_redirection() {
            return Err(Fault::Redirect(head.status));
        }
        let encoding = head.headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Fault::Malformed("it is compressed, which was not asked for"));
        }
        let most = self.max_response_bytes;
        let announced = body.size_hint().lower();
        if announced > most {
            return Err(Fault::TooLarge(most));
        }
        Ok(Box::new(Exchange {
            status: head.status,
            headers: head.headers,
            body,
            line: Some(line),
            pool: Arc::clone(pool),
            upstream: Arc::clone(self),
            watch,
            received: 0,
            most,
        }))
    }

    async fn connect(&self) -> Result<Box<Line>, Fault> {
        let connecting = async {
            let address = (self.target.host.as_str(), self.target.port);
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let wire: Box<dyn Wire> = match &self.target.tls {
                None => Box::new(socket),
                Some(name) => Box::new(self.tls.connect(name.clone(), socket).await?),
            };
            Ok::<_, std::io::Error>(wire)
        };
        let patience = Duration::from_millis(self.timeouts.connect_ms);
        let wire = match timeout(patience, connecting).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) => {
                tracing::debug!(host = self.target.host, %error, "no connection to the provider");
                return Err(Fault::Unreachable);
            }
            Err(_) => return Err(Fault::Timeout(Phase::Connect)),
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| broke(&error))?;
        Ok(Box::new(Line::new(sender, connection)))
    }
}

type Asked = Request<Full<Bytes>>;

/// Why there is no answer, and the request if nothing of it was sent.
type Unanswered = (Fault, Option<Asked>);

/// Sends, and waits for the head. Gives the request back if nothing of it was sent.
async fn send(
    line: &mut Line,
    request: Asked,
    watch: &mut Watch,
) -> Result<http::Response<Incoming>, Box<Unanswered>> {
    let mut response = pin!(line.sender.try_send_request(request));
    poll_fn(|cx| {
        line.drive(cx);
        match response.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(mut error)) => {
                let unsent = error.take_message();
                Poll::Ready(Err(Box::new((broke(error.error()), unsent))))
            }
            Poll::Pending => watch.poll(cx).map(|fault| Err(Box::new((fault, None)))),
        }
    })
    .await
}

fn broke(error: &hyper::Error) -> Fault {
    tracing::debug!(error = error as &dyn std::error::Error, "the provider broke off");
    if error.is_parse() || error.is_parse_too_large() {
        Fault::Malformed("it is not HTTP")
    } else {
        Fault::Unreachable
    }
}

/// An answer that is under way. Dropped before its end, it closes the connection.
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    line: Option<Box<Line>>,
    pool: Arc<Pool>,
    upstream: Arc<Upstream>,
    watch: Watch,
    received: u64,
    most: u64,
}

impl Exchange {
    /// Whether the body is of this type, whatever its parameters.
    pub(crate) fn is(&self, content_type: &str) -> bool {
        let value = self.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let essence = value.and_then(|v| v.split(';').next()).unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(content_type)
    }

    /// What the answer must not repeat.
    pub(crate) fn secret(&self) -> Arc<Forms> {
        Arc::clone(&self.pool.secret)
    }

    /// Accepts no more than this, for an error's body.
    pub(crate) fn at_most(&mut self, bytes: u64) {
        self.most = self.most.min(bytes);
    }

    /// All that mattered is here: what is left is waited for briefly, so that the connection
    /// can be used again.
    pub(crate) fn finish_soon(&mut self) {
        let soon = Duration::from_secs(1);
        self.watch.idle = self.watch.idle.min(soon);
        self.watch.over = self.watch.over.min(Instant::now() + soon);
    }

    /// The next piece; nothing when the answer has ended in order.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Fault>> {
        // Asking the body tells the connection to read, driving it reads: twice, so that what
        // is there already is found without waking up again.
        for _ in 0..2 {
            if let Poll::Ready(piece) = self.poll_body(cx) {
                return Poll::Ready(piece);
            }
            if let Some(line) = &mut self.line {
                line.drive(cx);
            }
        }
        match self.poll_body(cx) {
            Poll::Ready(piece) => Poll::Ready(piece),
            Poll::Pending => self.watch.poll(cx).map(Err),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    if let Some(line) = self.line.take() {
                        self.pool.give_back(&self.upstream.pools, line, cx);
                    }
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.line = None;
                    return Poll::Ready(Err(broke(&error)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing that we hand on.
                    let Ok(piece) = frame.into_data() else { continue };
                    self.received += piece.len() as u64;
                    if self.received > self.most {
                        self.line = None;
                        return Poll::Ready(Err(Fault::TooLarge(self.most)));
                    }
                    if let Err(fault) = self.watch.progress() {
                        self.line = None;
                        return Poll::Ready(Err(fault));
                    }
                    return Poll::Ready(Ok(Some(piece)));
                }
            }
        }
    }

    /// All of it.
    pub(crate) async fn collect(mut self) -> Result<Bytes, Fault> {
        let Some(first) = poll_fn(|cx| self.poll_piece(cx)).await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = poll_fn(|cx| self.poll_piece(cx)).await? else { return Ok(first) };
        let mut all = BytesMut::with_capacity(first.len() + second.len() + BUFFER);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = poll_fn(|cx| self.poll_piece(cx)).await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

/// Watches over the time that a provider takes. Time in which nobody asks it for more does
/// not count as idle; it counts for the whole.
struct Watch {
    timer: Pin<Box<Sleep>>,
    phase: Phase,
    first_byte: Duration,
    idle: Duration,
    /// Since when the provider is waited for, if it is.
    waiting: Option<Instant>,
    over: Instant,
}

impl Watch {
    fn start(timeouts: &Timeouts) -> Self {
        let now = Instant::now();
        let first_byte = Duration::from_millis(timeouts.first_byte_ms);
        let over = now + Duration::from_millis(timeouts.total_ms);
        Self {
            timer: Box::pin(sleep_until(over.min(now + first_byte))),
            phase: Phase::FirstByte,
            first_byte,
            idle: Duration::from_millis(timeouts.idle_ms),
            waiting: Some(now),
            over,
        }
    }

    /// A new connection was made: the wait for the first byte begins now.
    fn restart(&mut self, timeouts: &Timeouts) {
        let now = Instant::now();
        self.waiting = Some(now);
        self.over = now + Duration::from_millis(timeouts.total_ms);
    }

    /// Something came.
    fn progress(&mut self) -> Result<(), Fault> {
        self.waiting = None;
        if Instant::now() >= self.over { Err(Fault::Timeout(Phase::Total)) } else { Ok(()) }
    }

    /// Ready when the provider took too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        let patience = if self.phase == Phase::FirstByte { self.first_byte } else { self.idle };
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let due = self.over.min(since + patience);
        // An earlier alarm only finds that it is not yet time; a later one would be too late.
        if self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
        loop {
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                let phase = if due == self.over { Phase::Total } else { self.phase };
                return Poll::Ready(Fault::Timeout(phase));
            }
            self.timer.as_mut().reset(due);
        }
    }
}
