//! A model gateway with caches of answers, of similar questions, of prompts, and with what it
//! keeps for its customers; and the stand-in model behind it. Right as it is written; each flaw is
//! a mistake that somebody has made, and has a switch.

mod caches;
mod door;
mod kept;
mod model;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    response::Response,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::{Cast, Flaw, Flaws};
use crate::{
    Error,
    catalog::{
        CACHED_ERRORS, CALLER_ID, CALLER_NAMESPACE, CONFLICT, DESYNC, ERASURE, EXACT_KEY,
        OBJECT_ID, PROMPT_CACHE, PROMPT_TIMING, SHARED_ENV, SHARED_HTTP_CACHE, SOFT_SCOPE,
        TOKEN_PREFIX,
    },
};

/// What can be wrong with it.
pub(super) static FLAWS: &[Flaw] = &[
    Flaw {
        name: "gateway-cache-without-tenant",
        check: &EXACT_KEY,
        // Whoever names a partition, too, gets what was kept there.
        also: &[&CALLER_NAMESPACE],
        what: "answers are kept under the request alone",
    },
    Flaw {
        name: "gateway-namespace-from-caller",
        check: &CALLER_NAMESPACE,
        also: &[],
        what: "a namespace that the caller names stands in the key in the place of its tenant",
    },
    Flaw {
        name: "gateway-request-id-key",
        check: &CALLER_ID,
        also: &[],
        what: "answers are kept under the X-Request-Id that the caller sent",
    },
    Flaw {
        name: "gateway-tenant-in-text",
        check: &SOFT_SCOPE,
        // An equal question is a similar one, too.
        also: &[&EXACT_KEY, &CALLER_NAMESPACE],
        what: "similar questions are looked for among all; the tenant is a word of what is compared",
    },
    Flaw {
        name: "gateway-errors-by-kind",
        check: &CACHED_ERRORS,
        also: &[],
        what: "errors, which quote what was wrong, are kept by their kind, to spare the provider",
    },
    Flaw {
        name: "gateway-error-kept",
        check: &CACHED_ERRORS,
        also: &[],
        what: "an error is kept as an answer, under the messages alone",
    },
    Flaw {
        name: "gateway-prompt-cache-shared",
        check: &PROMPT_CACHE,
        also: &[&PROMPT_TIMING],
        what: "one provider key for all, so that the prompt cache is everybody's",
    },
    Flaw {
        name: "gateway-prompt-cache-silent",
        check: &PROMPT_TIMING,
        also: &[],
        what: "the same; the report of cached tokens is made to look as if it were not",
    },
    Flaw {
        name: "gateway-salt-from-caller",
        check: &PROMPT_CACHE,
        also: &[],
        what: "cache_salt of the caller's goes to the provider in the place of the tenant's",
    },
    Flaw {
        name: "gateway-token-prefix",
        check: &TOKEN_PREFIX,
        also: &[],
        what: "proven tokens are remembered under their first twenty characters",
    },
    Flaw {
        name: "gateway-first-credential-wins",
        check: &CONFLICT,
        also: &[],
        what: "of two credentials the first is taken, and nobody looks whether they agree",
    },
    Flaw {
        name: "gateway-shared-buffer",
        check: &SHARED_ENV,
        also: &[&DESYNC],
        what: "the answer waits to be written out in a field that all requests share",
    },
    Flaw {
        name: "gateway-connection-desync",
        check: &DESYNC,
        also: &[&SHARED_ENV],
        what: "a cancelled request leaves its answer in the connection that the next one takes",
    },
    Flaw {
        name: "gateway-response-unowned",
        check: &OBJECT_ID,
        also: &[&CALLER_ID, &SHARED_HTTP_CACHE],
        what: "a kept response is found by its id alone",
    },
    Flaw {
        name: "gateway-response-continued",
        check: &OBJECT_ID,
        also: &[],
        what: "previous_response_id is handed on to the provider, whose account is everybody's",
    },
    Flaw {
        name: "gateway-files-listed",
        check: &OBJECT_ID,
        also: &[&CALLER_ID, &SHARED_HTTP_CACHE],
        what: "the list of files is the provider's, whose account is everybody's",
    },
    Flaw {
        name: "gateway-http-cache",
        check: &SHARED_HTTP_CACHE,
        also: &[&OBJECT_ID, &CALLER_ID, &ERASURE],
        what: "a cache in front keeps what is asked for by GET under its address",
    },
    Flaw {
        name: "gateway-erasure-hides",
        check: &ERASURE,
        also: &[],
        what: "deleting sets a mark, which the list looks at, and reading by id does not",
    },
];

/// Which customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tenant {
    Acme,
    Globex,
}

/// What the gateway keeps.
#[derive(Debug, Default)]
struct Store {
    /// Answers, by what they are kept under.
    answers: BTreeMap<String, model::Answer>,
    /// Questions that later ones may be like.
    similar: Vec<caches::Question>,
    /// Prefixes that the provider has computed, by whose they are; and whoever sent them.
    prompts: BTreeMap<String, Vec<Tenant>>,
    /// Errors, by what they are kept under.
    errors: BTreeMap<String, Value>,
    /// Errors that are kept as if they were answers.
    failures: BTreeMap<String, Value>,
    /// Responses, conversations and files.
    objects: Vec<kept::Object>,
    /// Proven tokens, by what they are remembered under.
    proven: BTreeMap<String, Tenant>,
    /// What a cache in front of it keeps.
    pages: BTreeMap<String, Value>,
    /// The field that requests share, if that is wrong.
    buffer: Option<model::Answer>,
}

/// The gateway.
struct Gateway {
    cast: Arc<Cast>,
    flaws: Arc<Flaws>,
    store: Mutex<Store>,
    /// The connection to where answers are kept, and those that wait in it.
    connection: tokio::sync::Mutex<VecDeque<model::Answer>>,
    /// Of Acme, of Globex.
    lanes: [Semaphore; 2],
}

impl Gateway {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, flaw: &'static str) -> bool {
        self.flaws.has(flaw)
    }
}

/// Starts it, and says how a target file names it.
pub(super) async fn start(
    cast: &Arc<Cast>,
    flaws: &Arc<Flaws>,
    tasks: &mut JoinSet<()>,
) -> Result<String, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|why| Error::Demo(format!("no port: {why}")))?;
    let address = listener.local_addr().map_err(|why| Error::Demo(why.to_string()))?;
    let gateway = Arc::new(Gateway {
        cast: Arc::clone(cast),
        flaws: Arc::clone(flaws),
        store: Mutex::default(),
        connection: tokio::sync::Mutex::default(),
        lanes: [Semaphore::new(1), Semaphore::new(1)],
    });
    let routes = Router::new()
        .route("/v1/models", get(model::models))
        .route("/v1/chat/completions", post(model::chat))
        .route("/v1/messages", post(model::messages))
        .route("/v1/responses", post(kept::respond))
        .route("/v1/responses/{id}", get(kept::read).delete(kept::remove))
        .route("/v1/conversations", post(kept::converse))
        .route("/v1/conversations/{id}", axum::routing::delete(kept::remove))
        .route("/v1/conversations/{id}/items", get(kept::read))
        .route("/v1/files", post(kept::upload).get(kept::list))
        .route("/v1/files/{id}", get(kept::read).delete(kept::remove))
        .with_state(gateway);
    tasks.spawn(async move {
        // Ends with the stack; what breaks before that shows as a target that does not answer.
        let _ = axum::serve(listener, routes).await;
    });
    Ok(format!(
        "[target.gateway]\nkind = \"openai\"\nurl = \"http://{address}/v1\"\nmodel = \"{}\"\n\n",
        model::NAME
    ))
}

/// An answer that no cache on the way keeps.
fn answered(status: StatusCode, headers: &[(&'static str, String)], body: Value) -> Response {
    typed(status, "application/json", headers, body.to_string())
}

fn typed(
    status: StatusCode,
    kind: &'static str,
    headers: &[(&'static str, String)],
    body: String,
) -> Response {
    let mut builder = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, "no-store");
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    // Names and values are ours; were one not fit for a header, the answer would be empty.
    builder.body(Body::from(body)).unwrap_or_default()
}

/// An error as OpenAI's and Anthropic's clients both know it.
fn error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let kind = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        _ => "invalid_request_error",
    };
    answered(status, &[], error(kind, message))
}

#[cfg(test)]
mod tests;
