//! An MCP server with notes, in both versions of the protocol: a stand-in for what people put
//! before their own data. Right as it is written; each flaw is a mistake that somebody has made,
//! and has a switch.

mod tools;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{Cast, Flaw, Flaws};
use crate::{
    Error,
    catalog::{
        CACHED_ERRORS, CONFLICT, ERROR_RECORD, HANDLE_REUSE, ID_RESOLVE, ID_SPELLING, LIST_SCOPE,
        OBJECT_ID, PLATFORM_SECRET, RPC_ID, RPC_IDEMPOTENCY, SESSION_REUSE, TENANT_ARG,
        TOKEN_IN_ADDRESS,
    },
};

/// What can be wrong with it.
pub(super) static FLAWS: &[Flaw] = &[
    Flaw {
        name: "mcp-tool-unowned",
        check: &ID_RESOLVE,
        also: &[],
        what: "one of two tools that read a note fetches it by its id alone",
    },
    Flaw {
        name: "mcp-id-normalized",
        check: &ID_SPELLING,
        also: &[],
        what: "whose a note is, is asked of the id as it came; it is fetched by the trimmed one",
    },
    Flaw {
        name: "mcp-equal-names",
        check: &ID_SPELLING,
        also: &[],
        what: "of two equal names the guard reads the first, the tool the last",
    },
    Flaw {
        name: "mcp-rpc-map",
        check: &RPC_ID,
        also: &[],
        what: "answers under way are kept in one map, by their JSON-RPC id",
    },
    Flaw {
        name: "mcp-rpc-idempotent",
        check: &RPC_IDEMPOTENCY,
        also: &[],
        what: "a write is taken for a repetition if its JSON-RPC id was there before",
    },
    Flaw {
        name: "mcp-session-is-identity",
        check: &SESSION_REUSE,
        also: &[],
        what: "who asks is proven when a session is opened, and never again",
    },
    Flaw {
        name: "mcp-session-ended",
        check: &SESSION_REUSE,
        also: &[],
        what: "calls ask whose a session is, ending it does not",
    },
    Flaw {
        name: "mcp-cursor",
        check: &HANDLE_REUSE,
        also: &[],
        what: "a cursor says whose list goes on",
    },
    Flaw {
        name: "mcp-resource-unowned",
        check: &HANDLE_REUSE,
        also: &[&ID_RESOLVE, &ERROR_RECORD],
        what: "tools ask whose a note is, resources do not: their URIs are secret, after all",
    },
    Flaw {
        name: "mcp-request-state",
        check: &HANDLE_REUSE,
        also: &[],
        what: "an interrupted call goes on for whoever has its state",
    },
    Flaw {
        name: "mcp-error-quotes",
        check: &ERROR_RECORD,
        also: &[],
        what: "a wrong format is told with the note that it was asked for, whoever asked",
    },
    Flaw {
        name: "mcp-existence",
        check: &ERROR_RECORD,
        also: &[&OBJECT_ID],
        what: "another's note is refused, a missing one is not found",
    },
    Flaw {
        name: "mcp-cached-errors",
        check: &CACHED_ERRORS,
        also: &[],
        what: "errors of a tool are kept under its name",
    },
    Flaw {
        name: "mcp-tools-cached",
        check: &LIST_SCOPE,
        also: &[],
        what: "the list of tools is made once, for whoever asks first",
    },
    Flaw {
        name: "mcp-notes-cached",
        check: &LIST_SCOPE,
        also: &[&HANDLE_REUSE],
        what: "the first page of notes is kept under the tool and its arguments",
    },
    Flaw {
        name: "mcp-tenant-argument",
        check: &TENANT_ARG,
        also: &[&PLATFORM_SECRET],
        what: "tenant_id among the arguments, which no schema has, overrides the token's",
    },
    Flaw {
        name: "mcp-token-in-query",
        check: &TOKEN_IN_ADDRESS,
        also: &[&CONFLICT],
        what: "a token in the address is taken where there is none in the header",
    },
];

/// How long a call is worked on.
const WORK: Duration = Duration::from_millis(2);
/// The version without sessions.
const STATELESS: &str = "2026-07-28";
const SESSION: &str = "mcp-session-id";

/// A customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tenant {
    Acme,
    Globex,
}

#[derive(Clone, Debug)]
struct Note {
    owner: Tenant,
    text: String,
}

/// What the server keeps.
#[derive(Debug, Default)]
struct Store {
    notes: BTreeMap<String, Note>,
    sessions: BTreeMap<String, Tenant>,
    /// Cursors: whose list, and after which note it goes on.
    cursors: BTreeMap<String, (Tenant, String)>,
    /// Interrupted calls: whose, and about which note.
    states: BTreeMap<String, (Tenant, String)>,
    /// What is wrong keeps these for everybody: answers under way, writes, errors, lists.
    pending: BTreeMap<String, Value>,
    written: BTreeMap<String, Value>,
    errors: BTreeMap<String, Value>,
    lists: BTreeMap<String, Value>,
}

struct Service {
    cast: Arc<Cast>,
    flaws: Arc<Flaws>,
    store: Mutex<Store>,
}

/// One message, with who says it.
struct Asked {
    by: Tenant,
    id: Value,
    method: String,
    params: Value,
    /// As it came.
    raw: String,
}

/// A result, or a code and why.
type Outcome = Result<Value, (i32, String)>;

impl Service {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, flaw: &'static str) -> bool {
        self.flaws.has(flaw)
    }

    /// Whose request this is: every credential of it, and they have to agree.
    fn who(&self, headers: &HeaderMap, uri: &Uri) -> Option<Tenant> {
        let session = headers.get(SESSION).and_then(|value| value.to_str().ok());
        if self.wrong("mcp-session-is-identity")
            && let Some(opened) = session.and_then(|name| self.store().sessions.get(name).copied())
        {
            return Some(opened);
        }
        let prove = |token: &str| match token {
            token if token == self.cast.a => Some(Tenant::Acme),
            token if token == self.cast.b => Some(Tenant::Globex),
            _ => None,
        };
        let presented = headers.get_all("authorization").iter();
        let mut proven: Vec<Option<Tenant>> =
            presented.map(|value| prove(value.to_str().ok()?.strip_prefix("Bearer ")?)).collect();
        if self.wrong("mcp-token-in-query") && proven.is_empty() {
            let pairs = uri.query().unwrap_or_default().split('&');
            let mut tokens = pairs.filter_map(|pair| pair.strip_prefix("access_token="));
            proven.extend(tokens.next().map(prove));
        }
        let first = proven.first().copied().flatten()?;
        proven.iter().all(|other| *other == Some(first)).then_some(first)
    }
}

fn draw(kind: &str) -> String {
    format!("{kind}_{}", ids::RandomId::draw(&ids::OsEntropy))
}

/// Starts it, and says how a target file names it.
pub(super) async fn start(
    cast: &Arc<Cast>,
    flaws: &Arc<Flaws>,
    tasks: &mut JoinSet<()>,
) -> Result<String, Error> {
    let (cast, flaws) = (Arc::clone(cast), Arc::clone(flaws));
    let service = Arc::new(Service { cast, flaws, store: Mutex::default() });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(|why| Error::Demo(format!("no port: {why}")))?;
    let address = listener.local_addr().map_err(|why| Error::Demo(why.to_string()))?;
    let router = Router::new().route("/mcp", any(endpoint)).with_state(service);
    tasks.spawn(async move {
        // It ends with the stack, or with the listener; nobody is left to tell.
        let _ended = axum::serve(listener, router).await;
    });
    Ok(FILE.replace("$ADDRESS", &address.to_string()))
}

async fn endpoint(
    State(service): State<Arc<Service>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(by) = service.who(&headers, &uri) else {
        let challenge = [("www-authenticate", "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    };
    let stateless = headers.get("mcp-protocol-version").is_some_and(|version| version == STATELESS);
    let session = headers.get(SESSION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if method != Method::POST {
        return on_session(&service, &method, by, session);
    }
    let raw = String::from_utf8_lossy(&body).into_owned();
    let Ok(mut message) = serde_json::from_str::<Value>(&raw) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let name = message["method"].as_str().unwrap_or_default().to_owned();
    if name == "initialize" {
        return hello(&service, by, &message["id"]);
    }
    let mirrored = headers.get("mcp-method").is_some_and(|said| said.as_bytes() == name.as_bytes());
    if stateless && !mirrored {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if !stateless && service.store().sessions.get(session) != Some(&by) {
        return StatusCode::NOT_FOUND.into_response();
    }
    if name.starts_with("notifications/") {
        return StatusCode::ACCEPTED.into_response();
    }
    let (id, params) = (message["id"].take(), message["params"].take());
    let asked = Asked { by, id, method: name, params, raw };
    let outcome = tools::answered(&service, &asked).await;
    reply(stateless, asked.id, outcome)
}

/// Opens a session.
fn hello(service: &Service, by: Tenant, id: &Value) -> Response {
    let session = draw("session");
    service.store().sessions.insert(session.clone(), by);
    let result = json!({
        "protocolVersion": "2025-11-25", "capabilities": { "tools": {}, "resources": {} },
        "serverInfo": { "name": "notes", "version": "1" },
    });
    let mut response = reply(true, id.clone(), Ok(result));
    if let Ok(session) = session.parse() {
        response.headers_mut().insert(SESSION, session);
    }
    response
}

/// Listening to a session, and ending it.
fn on_session(service: &Service, method: &Method, by: Tenant, session: &str) -> Response {
    let mut store = service.store();
    let own = store.sessions.get(session) == Some(&by);
    let known = store.sessions.contains_key(session);
    match *method {
        Method::DELETE if own || (known && service.wrong("mcp-session-ended")) => {
            store.sessions.remove(session);
            StatusCode::NO_CONTENT.into_response()
        }
        // There is nothing to be said to anybody.
        Method::GET if own => {
            ([("content-type", "text/event-stream")], ": nothing\n\n").into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A document; in a session a stream, as many servers have it.
fn reply(document: bool, id: Value, outcome: Outcome) -> Response {
    let body = match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, why)) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": why } })
        }
    };
    let (kind, body) = match document {
        true => ("application/json", body.to_string()),
        false => ("text/event-stream", format!("event: message\ndata: {body}\n\n")),
    };
    ([("content-type", kind), ("cache-control", "no-store")], body).into_response()
}

/// Its part of the target file.
const FILE: &str = r#"[target.notes]
kind = "mcp"
url = "http://$ADDRESS/mcp"
plant = { tool = "create_note", arguments = { text = "{canary}" }, id = "/structuredContent/id" }
read = { tool = "get_note", arguments = { id = "{id}" } }
list = { tool = "list_notes", arguments = { limit = 2, cursor = "{cursor}" }, cursor = "/structuredContent/nextCursor" }
remove = { tool = "delete_note", arguments = { id = "{id}" } }
fail = { tool = "export_note", arguments = { id = "{id}" } }
resume = { tool = "publish_note", arguments = { id = "{id}" }, answers = { sure = { action = "accept", content = { sure = true } } } }
tools = "auto"
resource = "note://{id}"
tenant_arguments = ["tenant_id"]
private = { a = ["acme_ledger"], b = ["globex_ledger"] }

"#;
