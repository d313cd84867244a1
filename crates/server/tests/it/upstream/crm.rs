//! A stand-in for a CRM that several tenants use: an HTTP API and an MCP server. It is what an
//! upstream must not be: it does whatever it is asked, for whatever account an argument names,
//! whoever's credential comes. What stands between two tenants here is Bulkhead alone.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

/// What a call was, as the CRM got it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) secret: String,
    pub(crate) what: String,
    pub(crate) headers: String,
    pub(crate) body: Value,
}

#[derive(Default)]
struct State {
    records: Mutex<Vec<Value>>,
    /// What was changed.
    writes: Mutex<Vec<Value>>,
    asked: Mutex<Vec<Asked>>,
    /// What every record says besides: what a poisoned document says.
    poison: Mutex<Option<String>>,
    count: AtomicU64,
}

#[derive(Clone)]
pub(crate) struct Crm {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    /// A permit for each request that waits.
    held: Arc<Semaphore>,
    /// Lets one that waits go on.
    release: Arc<Semaphore>,
}

/// `[tools]` for it.
pub(crate) fn tools(address: SocketAddr) -> Value {
    let text = json!({"type": "string"});
    let schema = |names: &[&str]| {
        let properties: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
        json!({"type": "object", "properties": properties, "required": names})
    };
    let own = json!([{"owner": "/account_id"}, {"owner": "/environment", "equals": "environment"}]);
    let each = json!([
        {"records": "$.notes[*]", "owner": "/account_id"},
        {"records": "$.notes[*]", "owner": "/environment", "equals": "environment"},
    ]);
    let bind = json!({"/account_id": "account", "/environment": "environment"});
    let contract = |name: &str, effect: &str, method: &str, path: &str, fields: &[&str]| {
        let mut all = vec!["account_id", "environment"];
        all.extend_from_slice(fields);
        let mut contract = json!({
            "name": name, "upstream": "crm", "effect": effect, "bind": bind, "owner": own,
            "parameters": schema(&all), "request": {"method": method, "path": path},
        });
        if effect != "read" {
            contract["mode"] = json!("execute");
        }
        if method == "GET" || method == "DELETE" {
            contract["request"]["query"] =
                json!({"account_id": "/account_id", "environment": "/environment"});
        }
        contract
    };
    let mut list = contract("list_notes", "read", "GET", "/notes", &[]);
    list["owner"] = each;
    let mut refund = contract("refund", "destructive", "POST", "/refunds", &["text"]);
    refund["mode"] = json!("approve");
    let mut suggested = contract("suggest_note", "write", "POST", "/suggestions", &["text"]);
    suggested["mode"] = json!("suggest");
    let mcp = |name: &str, tool: &str| {
        json!({"name": name, "upstream": "crm-mcp", "tool": tool, "effect": "read", "bind": bind,
            "owner": own})
    };
    json!({
        "upstreams": [
            {"id": "crm", "kind": "http", "url": format!("http://{address}/api")},
            {"id": "crm-mcp", "kind": "mcp", "system": "crm", "url": format!("http://{address}/mcp")},
        ],
        "origins": ["https://app.example.com"],
        "contracts": [
            list, refund, suggested,
            contract("get_note", "read", "GET", "/notes/{id}", &["id"]),
            contract("slow_note", "read", "GET", "/slow/{id}", &["id"]),
            contract("fail_note", "read", "GET", "/fail/{id}", &["id"]),
            contract("add_note", "write", "POST", "/notes", &["text"]),
            contract("put_note", "write", "PUT", "/notes/{id}", &["id", "text"]),
            contract("patch_note", "write", "PATCH", "/notes/{id}", &["id", "text"]),
            contract("delete_note", "write", "DELETE", "/notes/{id}", &["id"]),
            mcp("mcp_note", "note"),
            mcp("mcp_count", "count"),
        ],
    })
}

impl Crm {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            held: Arc::new(Semaphore::new(0)),
            release: Arc::new(Semaphore::new(0)),
        };
        let serving = this.clone();
        super::serve(listener, move |request| {
            let crm = serving.clone();
            async move { crm.answer(request).await }
        });
        this
    }

    /// A record of somebody's.
    pub(crate) fn keep(&self, id: &str, account: &str, environment: &str, text: &str) {
        let record =
            json!({"id": id, "account_id": account, "environment": environment, "text": text});
        self.state.records.lock().push(record);
    }

    /// What every record says besides, from now on.
    pub(crate) fn poison(&self, text: &str) {
        *self.state.poison.lock() = Some(text.to_owned());
    }

    pub(crate) fn writes(&self) -> Vec<Value> {
        self.state.writes.lock().clone()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().clone()
    }

    /// Waits until one request more than before is held here.
    pub(crate) async fn holding(&self) {
        self.held.acquire().await.unwrap().forget();
    }

    /// Lets one go on.
    pub(crate) fn release(&self) {
        self.release.add_permits(1);
    }

    fn seen(&self, record: &Value) -> Value {
        let mut record = record.clone();
        if let Some(poison) = &*self.state.poison.lock() {
            record["comment"] = json!(poison);
        }
        record
    }

    fn record(&self, id: &str) -> Option<Value> {
        let records = self.state.records.lock();
        let found = records.iter().find(|record| record["id"] == id).cloned();
        drop(records);
        found.map(|record| self.seen(&record))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let secret = parts.headers.get(header::AUTHORIZATION);
        let secret = secret.and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.state.asked.lock().push(Asked {
            secret: secret.trim_start_matches("Bearer ").to_owned(),
            what: format!("{} {}", parts.method, parts.uri),
            headers: format!("{:?}", parts.headers),
            body: body.clone(),
        });
        if parts.uri.path() == "/mcp" {
            return self.mcp(&body);
        }
        self.http(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), body)
            .await
    }

    async fn http(&self, method: &Method, path: &str, query: &str, body: Value) -> Response<Body> {
        let asked = |name: &str| {
            let prefix = format!("{name}=");
            let found = query.split('&').find_map(|pair| pair.strip_prefix(&prefix));
            found.unwrap_or_default().to_owned()
        };
        let segments: Vec<_> = path.trim_start_matches("/api/").split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["notes"]) => {
                let (account, environment) = (asked("account_id"), asked("environment"));
                let records = self.state.records.lock().clone();
                let own = |record: &&Value| {
                    record["account_id"] == account && record["environment"] == environment
                };
                let notes: Vec<_> = records.iter().filter(own).map(|r| self.seen(r)).collect();
                reply(200, &json!({"notes": notes}))
            }
            // By its id, whoever's it is.
            ("GET", ["notes" | "slow", id]) => {
                if segments[0] == "slow" {
                    self.held.add_permits(1);
                    self.release.acquire().await.unwrap().forget();
                }
                match self.record(id) {
                    Some(record) => reply(200, &record),
                    None => reply(404, &json!({"error": "there is none"})),
                }
            }
            ("GET", ["fail", id]) => {
                let record = self.record(id).unwrap_or_default();
                reply(500, &json!({"error": "it broke", "while_reading": record}))
            }
            ("POST", ["notes" | "refunds" | "suggestions"]) => {
                let nth = self.state.count.fetch_add(1, Ordering::SeqCst);
                let id = format!("note-{nth}");
                self.write(&id, &body)
            }
            // Done, and nobody is told.
            ("POST", ["lost"]) => {
                let mut lost = self.write("lost", &body);
                *lost.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                lost
            }
            ("PUT" | "PATCH", ["notes", id]) => self.write(id, &body),
            ("DELETE", ["notes", id]) => {
                let account = asked("account_id");
                self.state.records.lock().retain(|record| record["id"] != *id);
                let gone = json!({"id": id, "account_id": account,
                    "environment": asked("environment"), "gone": true});
                self.state.writes.lock().push(gone.clone());
                reply(200, &gone)
            }
            _ => reply(404, &json!({"error": "no such path"})),
        }
    }

    fn write(&self, id: &str, body: &Value) -> Response<Body> {
        let record = json!({"id": id, "account_id": body["account_id"],
            "environment": body["environment"], "text": body["text"]});
        self.state.writes.lock().push(record.clone());
        let mut records = self.state.records.lock();
        records.retain(|record| record["id"] != id);
        records.push(record.clone());
        reply(201, &record)
    }

    /// An MCP server of the versions that begin with `initialize`, without sessions.
    fn mcp(&self, message: &Value) -> Response<Body> {
        let id = &message["id"];
        let result =
            |result: Value| reply(200, &json!({"jsonrpc": "2.0", "id": id, "result": result}));
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => result(json!({"protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}}, "serverInfo": {"name": "crm", "version": "1"}})),
            "notifications/initialized" | "notifications/cancelled" => {
                Response::builder().status(StatusCode::ACCEPTED).body(Body::empty()).unwrap()
            }
            "ping" => result(json!({})),
            "tools/list" => {
                let schema = json!({"type": "object", "required": ["account_id", "environment", "id"],
                    "properties": {"account_id": {"type": "string"},
                        "environment": {"type": "string"}, "id": {"type": "string"}}});
                let tool = |name: &str| {
                    json!({"name": name, "description": "A note, by its id.",
                        "inputSchema": schema})
                };
                result(json!({"tools": [tool("note"), tool("count")]}))
            }
            "tools/call" => {
                let record = self.record(params["arguments"]["id"].as_str().unwrap_or_default());
                let answer = match record {
                    Some(record) => json!({"structuredContent": record,
                        "content": [{"type": "text", "text": record.to_string()}]}),
                    None => json!({"isError": true,
                        "content": [{"type": "text", "text": "there is none"}]}),
                };
                match params["name"].as_str() {
                    Some("note") => result(answer),
                    _ => counted(id, params, &answer),
                }
            }
            _ => reply(
                404,
                &json!({"jsonrpc": "2.0", "id": id,
                "error": {"code": -32601, "message": "method not found"}}),
            ),
        }
    }
}

/// An answer that says how far it is before it is there.
fn counted(id: &Value, params: &Value, answer: &Value) -> Response<Body> {
    let mut text = String::new();
    let mut event = |message: Value| text.push_str(&format!("event: message\ndata: {message}\n\n"));
    for progress in 1..=2 {
        let said = json!({"progressToken": params["_meta"]["progressToken"],
            "progress": progress, "total": 2});
        event(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": said}));
    }
    event(json!({"jsonrpc": "2.0", "id": id, "result": answer}));
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(Body::from(text))
        .unwrap()
}

fn reply(status: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-leak", "a header of the upstream's own")
        .body(Body::from(Bytes::from(body.to_string())))
        .unwrap()
}
