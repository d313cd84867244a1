//! A stand-in for an upstream that answers at once, as an HTTP API and as an MCP server without sessions: this program, started again.

use std::{
    convert::Infallible,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, body::Incoming, header::CONTENT_TYPE, header::HeaderValue,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// Whose records these are.
pub(crate) const ACCOUNT: &str = "acct_42";

/// In a process of its own; ends with us.
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts this program as the upstream; it prints its address.
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("upstream")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().parse().context("it printed no address")?;
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

fn contacts() -> Value {
    let each = |n| {
        let note = "Called about the renewal of the contract; asked for the figures of last year and for a \
                    date in March. Prefers to be written to, in the morning.";
        json!({"id": format!("c-{n}"), "account_id": ACCOUNT, "name": format!("contact {n}"), "note": note})
    };
    json!({"contacts": (0..50).map(each).collect::<Vec<_>>()})
}

/// The body of the answer: about 10 KB.
pub(crate) fn body() -> String {
    contacts().to_string()
}

fn answered(body: &[u8]) -> Value {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let schema = json!({
        "type": "object",
        "properties": {"account_id": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["account_id"],
    });
    let result = match asked["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "stand-in", "version": "1"},
        }),
        "server/discover" => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28", "2025-11-25"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "stand-in", "version": "1"},
            "ttlMs": 0, "cacheScope": "private",
        }),
        "tools/list" => json!({
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            "tools": [{"name": "list_contacts", "description": "Contacts", "inputSchema": schema}],
        }),
        "tools/call" => {
            let (text, structured) = (contacts().to_string(), contacts());
            json!({
                "resultType": "complete",
                "content": [{"type": "text", "text": text}], "structuredContent": structured,
            })
        }
        _ => {
            return json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no such method"}});
        }
    };
    json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})
}

/// Answers until it is killed.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        #[expect(clippy::print_stdout, reason = "whoever started this reads the address")]
        {
            println!("{}", listener.local_addr()?);
        }
        let api = Bytes::from(body());
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let api = api.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let api = api.clone();
                async move {
                    let mcp = request.uri().path() == "/mcp";
                    let read = request.into_body().collect().await;
                    let read = read.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    let notified = mcp && !read.windows(5).any(|part| part == b"\"id\":");
                    let answer = match (mcp, notified) {
                        (_, true) => Bytes::new(),
                        (true, false) => answered(&read).to_string().into(),
                        (false, false) => api,
                    };
                    let mut response = Response::new(Full::new(answer));
                    if notified {
                        *response.status_mut() = hyper::StatusCode::ACCEPTED;
                    }
                    let json = HeaderValue::from_static("application/json");
                    response.headers_mut().insert(CONTENT_TYPE, json);
                    Ok::<_, Infallible>(response)
                }
            });
            connections.spawn(async move {
                // A connection that breaks has nobody to tell.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
            while connections.try_join_next().is_some() {}
        }
    })
}
