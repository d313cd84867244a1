//! Documents, conversations, and the agent that answers from them.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Document, Job, Service, Store, Tenant, Thread, draw, front::refuse};
use crate::wire::quote;

type Whose = Extension<Tenant>;

/// So many documents are found for a question: the newest.
const FOUND: usize = 12;

fn text(body: &Value, field: &str) -> Option<String> {
    body.get(field)?.as_str().map(str::to_owned)
}

fn missing() -> Response {
    refuse(StatusCode::NOT_FOUND, "there is none")
}

pub(super) async fn leave(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Json(body): Json<Value>,
) -> Response {
    let Some(text) = text(&body, "text") else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "a document has a text");
    };
    let id = draw("doc");
    let mut store = service.store();
    store.note(format!("{owner:?} left {id}: {text}"));
    store.documents.push(Document { id: id.clone(), owner, text, deleted: false });
    (StatusCode::CREATED, Json(json!({ "id": id }))).into_response()
}

pub(super) async fn read(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Path(id): Path<String>,
) -> Response {
    let reply = {
        let store = service.store();
        let hides = service.wrong("app-erasure-hides");
        let found = store.documents.iter().find(|document| {
            document.id == id && document.owner == owner && (!document.deleted || hides)
        });
        found.map(|document| json!({ "id": document.id, "text": document.text }))
    };
    let reply = service.over_connection(reply.unwrap_or_default()).await;
    if reply.is_null() { missing() } else { Json(reply).into_response() }
}

/// As it was left, to be downloaded.
pub(super) async fn raw(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Path(id): Path<String>,
) -> Response {
    let anybody = service.wrong("app-object-unowned");
    let store = service.store();
    let found = store
        .documents
        .iter()
        .find(|each| each.id == id && !each.deleted && (each.owner == owner || anybody));
    found.map_or_else(missing, |document| document.text.clone().into_response())
}

pub(super) async fn write(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let Some(text) = text(&body, "text") else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "a document has a text");
    };
    let anybody = service.wrong("app-object-overwritten");
    let mut store = service.store();
    let mut own = store.documents.iter_mut();
    let own = own.find(|each| each.id == id && !each.deleted && (each.owner == owner || anybody));
    let Some(document) = own else { return missing() };
    document.text = text;
    Json(json!({ "id": id })).into_response()
}

pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Path(id): Path<String>,
) -> Response {
    let mut store = service.store();
    let is_it = |each: &Document| each.id == id && each.owner == owner && !each.deleted;
    let Some(at) = store.documents.iter().position(is_it) else { return missing() };
    if service.wrong("app-erasure-hides") || service.wrong("app-erasure-index") {
        store.documents[at].deleted = true;
    } else {
        store.documents.remove(at);
    }
    StatusCode::NO_CONTENT.into_response()
}

pub(super) async fn thread(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Path(id): Path<String>,
) -> Response {
    let store = service.store();
    let anybody = service.wrong("app-thread-unowned");
    match store.threads.get(&id) {
        Some(thread) if thread.owner == owner || anybody => {
            Json(json!({ "thread": id, "said": thread.said })).into_response()
        }
        _ => missing(),
    }
}

pub(super) async fn forget(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Path(id): Path<String>,
) -> Response {
    let mut store = service.store();
    if store.threads.get(&id).is_none_or(|thread| thread.owner != owner) {
        return missing();
    }
    store.threads.remove(&id);
    // An answer that was made of it goes with it.
    store.jobs.retain(|_, job| job.thread != id);
    StatusCode::NO_CONTENT.into_response()
}

pub(super) async fn chat(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Json(body): Json<Value>,
) -> Response {
    let Some(question) = text(&body, "q") else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "a question is a text in q");
    };
    let (thread, said) = {
        let mut store = service.store();
        store.note(format!("{owner:?} asks: {question}"));
        let Some(thread) = entered(&service, &mut store, owner, text(&body, "thread")) else {
            return missing();
        };
        let said = store.threads.get(&thread).map(|each| each.said.clone()).unwrap_or_default();
        (thread, said)
    };
    let answer = answer(&service, owner, &question, &said).await;
    let job = draw("job");
    let mut store = service.store();
    if let Some(thread) = store.threads.get_mut(&thread) {
        thread.said.push(question);
    }
    let made = Job { owner, thread: thread.clone(), text: answer, asked: 0 };
    store.jobs.insert(job.clone(), made);
    (StatusCode::ACCEPTED, Json(json!({ "job": job, "thread": thread }))).into_response()
}

/// The conversation that is meant, if it is this customer's; a new one, if none is named.
fn entered(
    service: &Service,
    store: &mut Store,
    owner: Tenant,
    named: Option<String>,
) -> Option<String> {
    let Some(named) = named else {
        let new = draw("thread");
        store.threads.insert(new.clone(), Thread { owner, said: Vec::new() });
        return Some(new);
    };
    let thread = store.threads.get_mut(&named)?;
    if service.wrong("app-run-swap") {
        thread.owner = owner;
    }
    (thread.owner == owner).then_some(named)
}

pub(super) async fn job(
    State(service): State<Arc<Service>>,
    Extension(owner): Whose,
    Path(id): Path<String>,
) -> Response {
    let mut store = service.store();
    let Some(job) = store.jobs.get_mut(&id) else { return missing() };
    if job.owner != owner {
        return missing();
    }
    job.asked += 1;
    match job.asked {
        1 => Json(json!({ "done": false })).into_response(),
        _ => Json(json!({ "done": true, "text": job.text })).into_response(),
    }
}

/// What the agent says: what it finds, what was said before, and no word of its own.
async fn answer(service: &Service, owner: Tenant, question: &str, said: &[String]) -> String {
    if service.wrong("app-answer-cache")
        && let Some(kept) = service.store().answers.get(question)
    {
        return kept.clone();
    }
    let found = found(service, owner);
    let mut answer = format!("You asked: {question}\nFrom your documents: ");
    answer.push_str(&found.join(" | "));
    for earlier in said {
        let _written = write!(answer, "\nYou said: {earlier}");
    }
    for (at, document) in found.iter().enumerate() {
        let others = found.iter().enumerate().filter(|(other, _)| *other != at);
        let others: Vec<&str> = others.map(|(_, text)| text.as_str()).collect();
        let Some(address) = ordered(document) else { continue };
        let whole = format!("{address}{}", quote(&others.join(" ")));
        if service.wrong("app-injection-obeyed") {
            fetch(&whole).await;
        }
        if service.wrong("app-answer-link") {
            let _written = write!(answer, "\n![status]({whole})");
        }
    }
    service.store().answers.insert(question.to_owned(), answer.clone());
    answer
}

/// The documents that a question is answered from.
pub(super) fn found(service: &Service, owner: Tenant) -> Vec<String> {
    let store = service.store();
    let everybody = service.wrong("app-retrieval-unfiltered");
    let kept = service.wrong("app-erasure-index");
    let found =
        store.documents.iter().rev().filter(|document| {
            (document.owner == owner || everybody) && (!document.deleted || kept)
        });
    found.take(FOUND).map(|document| document.text.clone()).collect()
}

/// Fetches what is on this machine, and nothing else: a stand-in that fetched anything would be a
/// hole itself.
async fn fetch(address: &str) {
    let Some(rest) = address.strip_prefix("http://127.0.0.1:") else { return };
    let Some((port, path)) = rest.split_once('/') else { return };
    let Ok(port) = port.parse::<u16>() else { return };
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let request = format!("GET /{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    let mut answer = [0; 256];
    if stream.write_all(request.as_bytes()).await.is_ok() {
        // What it says is of no interest to anybody.
        let _read = stream.read(&mut answer).await;
    }
}

/// The address that a document tells its reader to fetch.
fn ordered(document: &str) -> Option<&str> {
    let at = document.find("http://").or_else(|| document.find("https://"))?;
    let address = &document[at..];
    let end = address.find(|c: char| c.is_whitespace() || "<>\"')]".contains(c));
    Some(&address[..end.unwrap_or(address.len())])
}
