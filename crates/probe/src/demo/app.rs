//! An application with documents, conversations, jobs, tools, JSON-RPC, administration and logs: a
//! stand-in for what people build around a model. Right as it is written; each flaw is a mistake
//! that somebody has made, and has a switch.

mod agent;
mod door;
mod front;
mod office;
mod tools;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::{Cast, Flaw, Flaws};
use crate::{
    Error,
    catalog::{
        ADMIN_ROUTE, CACHED_ERRORS, CALLER_ID, CONFLICT, DESYNC, ERASURE, EXACT_KEY, EXPIRED,
        ID_RESOLVE, INJECTION_EGRESS, MISSING, NOISY_NEIGHBOUR, OBJECT_ID, OPEN_LOG_STORE,
        PLATFORM_SECRET, RPC_ID, RPC_IDEMPOTENCY, SHARED_ENV, SHARED_HTTP_CACHE, SWAP, TENANT_ARG,
        TOKEN_PREFIX,
    },
};

/// What can be wrong with it.
pub(super) static FLAWS: &[Flaw] = &[
    Flaw {
        name: "app-no-credential",
        check: &MISSING,
        // What stands where no credential is looked for makes the request nobody's, too.
        also: &[&CONFLICT],
        what: "a request without a credential is served as the first customer, as in development",
    },
    Flaw {
        name: "app-expired-accepted",
        check: &EXPIRED,
        also: &[],
        what: "the signature of a token is verified, its expiry is not",
    },
    Flaw {
        name: "app-first-credential-wins",
        check: &CONFLICT,
        also: &[],
        what: "of two credentials the first is taken, and nobody looks whether they agree",
    },
    Flaw {
        name: "app-run-swap",
        check: &SWAP,
        also: &[&OBJECT_ID, &EXPIRED, &CONFLICT, &SHARED_ENV, &DESYNC, &CALLER_ID],
        what: "a conversation goes on in the name of whoever says the next thing in it",
    },
    Flaw {
        name: "app-tenant-header",
        check: &TENANT_ARG,
        also: &[&PLATFORM_SECRET],
        what: "X-Tenant-Id, meant for the proxy in front, is believed from anybody",
    },
    Flaw {
        name: "app-tenant-argument",
        check: &TENANT_ARG,
        also: &[&PLATFORM_SECRET],
        what: "tenant_id in the body or the query overrides the token's",
    },
    Flaw {
        name: "app-email-is-identity",
        check: &PLATFORM_SECRET,
        also: &[&TENANT_ARG],
        what: "any valid credential plus an email address is that person",
    },
    Flaw {
        name: "app-token-prefix",
        check: &TOKEN_PREFIX,
        also: &[],
        what: "proven tokens are remembered under their first twenty characters",
    },
    Flaw {
        name: "app-shared-reply",
        check: &SHARED_ENV,
        also: &[&EXACT_KEY, &DESYNC, &CALLER_ID, &SWAP],
        what: "the answer is kept in a field of the application until it is written out",
    },
    Flaw {
        name: "app-connection-desync",
        check: &DESYNC,
        also: &[&SHARED_ENV, &NOISY_NEIGHBOUR, &OBJECT_ID, &ERASURE, &MISSING],
        what: "a cancelled request leaves its reply in the connection that the next one takes",
    },
    Flaw {
        name: "app-http-cache",
        check: &SHARED_HTTP_CACHE,
        also: &[
            &OBJECT_ID,
            &MISSING,
            &EXPIRED,
            &CONFLICT,
            &SWAP,
            &TENANT_ARG,
            &TOKEN_PREFIX,
            &PLATFORM_SECRET,
            &CALLER_ID,
            &SHARED_ENV,
            &DESYNC,
            &ERASURE,
        ],
        what: "the cache in front keeps answers by their address alone",
    },
    Flaw {
        name: "app-request-id-key",
        check: &CALLER_ID,
        also: &[&SHARED_HTTP_CACHE],
        what: "answers are kept under the X-Request-Id or Idempotency-Key that the caller sent",
    },
    Flaw {
        name: "app-object-unowned",
        check: &OBJECT_ID,
        also: &[],
        what: "a document is downloaded by its id alone; reading it is not",
    },
    Flaw {
        name: "app-object-overwritten",
        check: &OBJECT_ID,
        also: &[],
        what: "reading asks whose a document is, writing does not",
    },
    Flaw {
        name: "app-thread-unowned",
        check: &OBJECT_ID,
        also: &[],
        what: "a conversation is shown to whoever names it",
    },
    Flaw {
        name: "app-tool-unowned",
        check: &ID_RESOLVE,
        also: &[],
        what: "the tool resolves ids by a query without the tenant; the routes do not",
    },
    Flaw {
        name: "app-rpc-map",
        check: &RPC_ID,
        also: &[],
        what: "answers under way are kept in one map, by their JSON-RPC id",
    },
    Flaw {
        name: "app-rpc-idempotent",
        check: &RPC_IDEMPOTENCY,
        also: &[&RPC_ID],
        what: "a write is taken for a repetition if its JSON-RPC id was there before",
    },
    Flaw {
        name: "app-session-unbound",
        check: &SWAP,
        also: &[],
        what: "a session is found by its id, whoever opened it",
    },
    Flaw {
        name: "app-injection-obeyed",
        check: &INJECTION_EGRESS,
        also: &[],
        what: "the agent does what its documents say, and may fetch any address",
    },
    Flaw {
        name: "app-answer-link",
        check: &INJECTION_EGRESS,
        also: &[],
        what: "links that a document asks for come into the answer, where they are fetched",
    },
    Flaw {
        name: "app-admin-authenticated",
        check: &ADMIN_ROUTE,
        also: &[],
        what: "administration asks for a credential, not for an operator's",
    },
    Flaw {
        name: "app-admin-open",
        check: &ADMIN_ROUTE,
        also: &[],
        what: "the routes of background jobs ask for nothing, being internal",
    },
    Flaw {
        name: "app-open-logs",
        check: &OPEN_LOG_STORE,
        also: &[],
        what: "the log store is open, and has whole prompts in it",
    },
    Flaw {
        name: "app-metrics-content",
        check: &OPEN_LOG_STORE,
        also: &[],
        what: "metrics are open, and titles of documents are among their labels",
    },
    Flaw {
        name: "app-cached-errors",
        check: &CACHED_ERRORS,
        also: &[],
        what: "errors, which quote what they failed on, are kept without the tenant",
    },
    Flaw {
        name: "app-answer-cache",
        check: &EXACT_KEY,
        also: &[],
        what: "answers are kept under the question alone",
    },
    Flaw {
        name: "app-retrieval-unfiltered",
        check: &EXACT_KEY,
        also: &[&OBJECT_ID, &INJECTION_EGRESS, &SHARED_ENV, &DESYNC, &CACHED_ERRORS],
        what: "documents are looked for among those of all customers",
    },
    Flaw {
        name: "app-erasure-hides",
        check: &ERASURE,
        also: &[],
        what: "deleting sets a mark, which reading by id does not look at",
    },
    Flaw {
        name: "app-erasure-index",
        check: &ERASURE,
        also: &[],
        what: "deleting takes away the row; what answers are made of keeps the text",
    },
    Flaw {
        name: "app-one-queue",
        check: &NOISY_NEIGHBOUR,
        also: &[],
        what: "one queue for all customers, and the longer it is, the slower each",
    },
];

/// How long a request is worked on.
const WORK: Duration = Duration::from_millis(2);

/// So many lines of the log are kept.
const LINES: usize = 200;

/// A customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tenant {
    Acme,
    Globex,
}

#[derive(Clone, Debug)]
struct Document {
    id: String,
    owner: Tenant,
    text: String,
    /// Marked as deleted; only what is wrong keeps such.
    deleted: bool,
}

#[derive(Clone, Debug)]
struct Thread {
    owner: Tenant,
    said: Vec<String>,
}

#[derive(Clone, Debug)]
struct Job {
    owner: Tenant,
    thread: String,
    text: String,
    asked: usize,
}

/// What the application keeps.
#[derive(Debug, Default)]
struct Store {
    documents: Vec<Document>,
    threads: BTreeMap<String, Thread>,
    jobs: BTreeMap<String, Job>,
    /// Answers, by what they are kept under.
    answers: BTreeMap<String, String>,
    /// Errors, by what they are kept under.
    errors: BTreeMap<String, Value>,
    /// Results of JSON-RPC, by what they are kept under.
    results: BTreeMap<String, Value>,
    /// Answers of JSON-RPC that are under way.
    pending: BTreeMap<String, Value>,
    /// Sessions of JSON-RPC, with who opened them.
    sessions: BTreeMap<String, Tenant>,
    log: VecDeque<String>,
}

/// The application. Its mistakes are spread over its routes, so that with all of them at once each
/// is to be found still: who somebody is at `/docs`, whose a run is at `/chat`, what a
/// cache keeps at `/cdn`.
struct Service {
    cast: Arc<Cast>,
    flaws: Arc<Flaws>,
    operator: String,
    store: Mutex<Store>,
    front: front::Front,
    /// Of Acme, of Globex; with one queue for all, the first is everybody's.
    workers: [Semaphore; 2],
    /// Requests that wait for a worker, and those that have one.
    waiting: AtomicUsize,
    /// Proven tokens, by what they are remembered under.
    proven: Mutex<BTreeMap<String, Tenant>>,
}

impl Store {
    /// Keeps the newest lines: a log that grew for ever would be read for ever.
    fn note(&mut self, line: String) {
        if self.log.len() >= LINES {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }
}

impl Service {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, flaw: &'static str) -> bool {
        self.flaws.has(flaw)
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
    let service = Arc::new(Service {
        cast: Arc::clone(cast),
        flaws: Arc::clone(flaws),
        operator: draw("tok-operator"),
        store: Mutex::default(),
        front: front::Front::default(),
        workers: [Semaphore::new(1), Semaphore::new(1)],
        waiting: AtomicUsize::new(0),
        proven: Mutex::default(),
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(|why| Error::Demo(format!("no port: {why}")))?;
    let address = listener.local_addr().map_err(|why| Error::Demo(why.to_string()))?;
    let file =
        FILE.replace("$ADDRESS", &address.to_string()).replace("$OPERATOR", &service.operator);
    let router = router(service);
    tasks.spawn(async move {
        // It ends with the stack, or with the listener; nobody is left to tell.
        let _ended = axum::serve(listener, router).await;
    });
    Ok(file)
}

fn router(service: Arc<Service>) -> Router {
    let tenants = Router::new()
        .route("/docs", post(agent::leave))
        .route("/docs/{id}", get(agent::read).put(agent::write).delete(agent::delete))
        .route("/docs/{id}/raw", get(agent::raw))
        .route("/cdn/docs", post(agent::leave))
        .route("/cdn/docs/{id}", get(agent::read).delete(agent::delete))
        .route("/threads/{thread}", get(agent::thread).delete(agent::forget))
        .route("/chat", post(agent::chat))
        .route("/jobs/{job}", get(agent::job))
        .route("/tools/get_document", post(tools::get_document))
        .route("/tools/export", post(tools::export))
        .route("/rpc", post(tools::rpc))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), front::pass));
    let office = Router::new()
        .route("/admin/tenants", get(office::tenants))
        .route("/admin/jobs", get(office::jobs))
        .route("/logs", get(office::logs))
        .route("/traces", get(office::traces))
        .route("/metrics", get(office::metrics));
    tenants.merge(office).with_state(service)
}

/// Its part of the target file.
const FILE: &str = r#"[target.agent]
kind = "http"
url = "http://$ADDRESS"
plant = { post = "/docs", json = { text = "{canary}" }, id = "/id" }
ask = { post = "/chat", json = { thread = "{thread}", q = "{prompt}" }, job = "/job", thread = "/thread" }
poll = { get = "/jobs/{job}", until = "/done", answer = "/text", seconds = 2 }
objects = ["/docs/{id}", "/docs/{id}/raw", "/threads/{thread}", "PUT /docs/{id}", "DELETE /threads/{thread}"]
tools = [{ post = "/tools/get_document", json = { id = "{id}" } }]
open = [{ post = "/rpc", json = { jsonrpc = "2.0", id = 0, method = "initialize" }, session = "header:mcp-session-id" }]
rpc = { post = "/rpc", headers = { Mcp-Session-Id = "{session}" }, json = { jsonrpc = "2.0", id = "{rpc_id}", method = "tools/call", params = { name = "note", arguments = { text = "{canary}" } } } }
fail = { post = "/tools/export", json = { to = "nowhere" } }
admin = ["/admin/tenants", "/admin/jobs"]
logs = ["/logs", "/traces", "/metrics"]
cleanup = { delete = "/docs/{id}" }
operator = "$OPERATOR"

# The same documents, behind a cache.
[target.cdn]
kind = "http"
url = "http://$ADDRESS/cdn"
plant = { post = "/docs", json = { text = "{canary}" }, id = "/id" }
objects = ["/docs/{id}"]
cleanup = { delete = "/docs/{id}" }

"#;
