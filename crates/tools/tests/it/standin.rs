//! Stand-ins for upstreams: servers on loopback that say what they are, and remember what they
//! got. One is a real MCP server (rmcp's), in both protocol versions; one is a plain HTTP API
//! that answers as it is told to; one writes whatever bytes it is told to.
#![allow(dead_code, reason = "shared with the unit tests, each of which needs a part of it")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use bytes::Bytes;
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
        PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// A request as the upstream got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// On which connection.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The secret that came along as `Authorization: Bearer`.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// Of a message of MCP's: its method.
    pub(crate) fn rpc(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }
}

/// What came in, in order.
#[derive(Debug, Default)]
pub(crate) struct Book {
    seen: Mutex<Vec<Seen>>,
    news: Notify,
}

impl Book {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Those that MCP calls by this method.
    pub(crate) fn rpc(&self, method: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.rpc() == method).collect()
    }

    pub(crate) fn forget(&self) {
        self.seen.lock().clear();
    }

    /// Waits until this holds of what was seen. It has to come.
    pub(crate) async fn until(&self, holds: impl Fn(&[Seen]) -> bool) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if holds(&self.seen.lock()) {
                return;
            }
            news.await;
        }
    }

    fn note(&self, seen: Seen) -> usize {
        let mut all = self.seen.lock();
        all.push(seen);
        self.news.notify_waiters();
        all.len() - 1
    }
}

/// Which connection a request came on.
#[derive(Clone, Copy, Debug)]
struct Connection(SocketAddr);

impl axum::extract::connect_info::Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A server on loopback.
pub(crate) struct Standing {
    pub(crate) address: SocketAddr,
    pub(crate) book: Arc<Book>,
    _tasks: JoinSet<()>,
}

async fn stand(router: Router, book: Arc<Book>) -> Standing {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router.layer(from_fn_with_state(Arc::clone(&book), note));
    let service = router.into_make_service_with_connect_info::<Connection>();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
    Standing { address, book, _tasks: tasks }
}

async fn note(
    State(book): State<Arc<Book>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    book.note(Seen {
        // A port is of one connection while it lasts, and tells two apart.
        connection: connection.0.port().into(),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers.clone(),
        body: body.clone(),
    });
    next.run(Request::from_parts(head, Body::from(body))).await
}

/// Which protocol version the MCP stand-in speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// 2026-07-28, without sessions.
    Stateless,
    /// Those with sessions alone.
    Sessions,
}

/// What an MCP tool of the stand-in does with its arguments.
pub(crate) type Does = Arc<dyn Fn(&Value) -> Result<Value, String> + Send + Sync>;

/// The tools of the MCP stand-in, which a test may change while it stands.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    tools: Arc<Mutex<BTreeMap<String, (Value, Does)>>>,
    /// How many notes each call gives before it answers.
    pub(crate) notes: Arc<AtomicUsize>,
    /// While set, calls wait for [`Shelf::go_on`].
    pub(crate) holds: Arc<std::sync::atomic::AtomicBool>,
    goes_on: Arc<Notify>,
    /// Calls that were cancelled.
    pub(crate) cancelled: Arc<AtomicUsize>,
}

impl Shelf {
    /// Puts a tool there, or another in its place. `definition` is what `tools/list` says of it besides
    /// its name; the result of `does` is `structuredContent`, and the text of it.
    pub(crate) fn put(
        &self,
        name: &str,
        definition: Value,
        does: impl Fn(&Value) -> Result<Value, String> + Send + Sync + 'static,
    ) {
        self.tools.lock().insert(name.to_owned(), (definition, Arc::new(does)));
    }

    /// Lets waiting calls go on.
    pub(crate) fn go_on(&self) {
        self.holds.store(false, Ordering::SeqCst);
        self.goes_on.notify_waiters();
    }

    async fn waits(&self) {
        let goes_on = self.goes_on.notified();
        tokio::pin!(goes_on);
        goes_on.as_mut().enable();
        if self.holds.load(Ordering::SeqCst) {
            goes_on.await;
        }
    }
}

impl ServerHandler for Shelf {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.tools.lock();
        let tools = tools.iter().map(|(name, (definition, _))| {
            let mut tool = definition.clone();
            tool["name"] = json!(name);
            if tool.get("inputSchema").is_none() {
                tool["inputSchema"] = json!({"type": "object"});
            }
            serde_json::from_value::<Tool>(tool).unwrap()
        });
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let does = self.tools.lock().get(&*request.name).map(|(_, does)| Arc::clone(does));
        let Some(does) = does else {
            return Err(ErrorData::invalid_params("the stand-in has no such tool", None));
        };
        if let Some(token) = context.meta.get_progress_token() {
            for nth in 0..self.notes.load(Ordering::SeqCst) {
                let note = ProgressNotificationParam::new(token.clone(), nth as f64)
                    .with_message(format!("step {nth} of {}", request.name));
                let _ = context.peer.notify_progress(note).await;
            }
        }
        tokio::select! {
            () = self.waits() => {}
            () = context.ct.cancelled() => {
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                return Err(ErrorData::internal_error("cancelled", None));
            }
        }
        let arguments = request.arguments.map_or_else(|| json!({}), Value::Object);
        let result = match does(&arguments) {
            Ok(result) => CallToolResult::structured(result),
            Err(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
        };
        Ok(result.into())
    }
}

/// A real MCP server that says what it is.
pub(crate) struct McpStandIn {
    pub(crate) shelf: Shelf,
    standing: Standing,
}

impl McpStandIn {
    /// With one tool, `whoami`, which gives its arguments back.
    pub(crate) async fn new(speaks: Speaks) -> Self {
        let shelf = Shelf::default();
        shelf.put("whoami", json!({"description": "a stand-in's"}), |arguments| {
            Ok(json!({"by": "stand-in", "arguments": arguments}))
        });
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(speaks == Speaks::Sessions)
            .with_sse_keep_alive(None);
        let handler = shelf.clone();
        let service = StreamableHttpService::new(
            move || Ok(Versioned { shelf: handler.clone(), speaks }),
            LocalSessionManager::default().into(),
            config,
        );
        let router = Router::new().route_service("/mcp", service);
        let standing = stand(router, Arc::default()).await;
        Self { shelf, standing }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.standing.address
    }

    pub(crate) fn book(&self) -> &Book {
        &self.standing.book
    }
}

/// A shelf that speaks one version.
#[derive(Clone)]
struct Versioned {
    shelf: Shelf,
    speaks: Speaks,
}

impl ServerHandler for Versioned {
    fn get_info(&self) -> ServerConfig {
        self.shelf.get_info()
    }

    fn supported_protocol_versions(
        &self,
    ) -> std::borrow::Cow<'static, [rmcp::model::ProtocolVersion]> {
        use rmcp::model::ProtocolVersion;
        match self.speaks {
            Speaks::Stateless => vec![ProtocolVersion::V_2026_07_28].into(),
            Speaks::Sessions => vec![ProtocolVersion::V_2025_11_25].into(),
        }
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.shelf.list_tools(page, context).await
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.shelf.call_tool(request, context).await
    }
}

/// An answer of the HTTP stand-in.
pub(crate) fn whole(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// One of JSON.
pub(crate) fn json_reply(body: &Value) -> Response {
    whole(200, "application/json", body.to_string())
}

pub(crate) type Script = Arc<dyn Fn(usize, &Seen) -> Response + Send + Sync>;

/// A plain HTTP server that answers as it is told to.
pub(crate) struct HttpStandIn {
    script: Arc<Mutex<Script>>,
    standing: Standing,
}

impl HttpStandIn {
    /// Answers with what it was asked.
    pub(crate) async fn new() -> Self {
        let script: Script = Arc::new(|nth, seen| {
            json_reply(&json!({
                "by": "stand-in", "nth": nth, "method": seen.method, "path": seen.path,
                "query": seen.query, "body": seen.json(),
            }))
        });
        let script = Arc::new(Mutex::new(script));
        let book = Arc::<Book>::default();
        let state = (Arc::clone(&script), Arc::clone(&book));
        let router = Router::new().fallback(scripted).with_state(state);
        let standing = stand(router, book).await;
        Self { script, standing }
    }

    /// From now on it answers so; the script gets the number of the request, from 0.
    pub(crate) fn answers(
        &self,
        script: impl Fn(usize, &Seen) -> Response + Send + Sync + 'static,
    ) {
        *self.script.lock() = Arc::new(script);
    }

    /// How it answers now.
    pub(crate) fn script(&self) -> Script {
        Arc::clone(&*self.script.lock())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.standing.address
    }

    pub(crate) fn book(&self) -> &Book {
        &self.standing.book
    }
}

/// A script that may be changed, and the book that it answers from.
type Scripted = (Arc<Mutex<Script>>, Arc<Book>);

async fn scripted(
    State((script, book)): State<Scripted>,
    ConnectInfo(connection): ConnectInfo<Connection>,
) -> Response {
    let seen = book.seen();
    // The one that was noted last on this connection is this one.
    let port = usize::from(connection.0.port());
    let nth = seen.iter().rposition(|seen| seen.connection == port).unwrap();
    let script = Arc::clone(&*script.lock());
    script(nth, &seen[nth])
}

/// What a raw connection does after it has read a request.
#[derive(Clone)]
pub(crate) enum Raw {
    /// Writes, and closes in order.
    Close(Vec<u8>),
    /// Writes, and keeps silent.
    Hang(Vec<u8>),
    /// Writes this again and again, without end.
    Flood(Vec<u8>, Vec<u8>),
}

/// A server that writes what it is told to: each request takes what the script says of its body.
pub(crate) struct RawStandIn {
    pub(crate) address: SocketAddr,
    pub(crate) book: Arc<Book>,
    _tasks: JoinSet<()>,
}

impl RawStandIn {
    pub(crate) async fn new(script: impl Fn(&str) -> Raw + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::<Book>::default();
        let mut tasks = JoinSet::new();
        let (script, noted) = (Arc::new(script), Arc::clone(&book));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (script, book) = (Arc::clone(&script), Arc::clone(&noted));
                connections.spawn(async move { raw(socket, &*script, &book).await });
            }
        });
        Self { address, book, _tasks: tasks }
    }
}

async fn raw(mut socket: TcpStream, script: &(dyn Fn(&str) -> Raw + Send + Sync), book: &Book) {
    let mut text = Vec::new();
    let body = loop {
        let mut piece = [0; 4_096];
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(n) => text.extend_from_slice(&piece[..n]),
        }
        let head = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = head.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse().unwrap());
        if body.len() >= length {
            break body.to_owned();
        }
    };
    book.note(Seen {
        connection: socket.peer_addr().unwrap().port().into(),
        method: String::new(),
        path: String::new(),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from(body.clone()),
    });
    match script(&body) {
        Raw::Close(bytes) => {
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
        }
        Raw::Hang(bytes) => {
            let _ = socket.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
        Raw::Flood(bytes, again) => {
            let mut written = socket.write_all(&bytes).await;
            while written.is_ok() {
                written = socket.write_all(&again).await;
            }
        }
    }
}
