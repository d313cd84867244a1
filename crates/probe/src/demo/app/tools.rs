//! Tools, called by name or over JSON-RPC.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Document, Service, Tenant, WORK, agent, draw, front::refuse};

pub(super) async fn get_document(
    State(service): State<Arc<Service>>,
    Extension(owner): Extension<Tenant>,
    Json(body): Json<Value>,
) -> Response {
    let anybody = service.wrong("app-tool-unowned");
    let store = service.store();
    let found = store.documents.iter().find(|each| {
        Some(each.id.as_str()) == body["id"].as_str()
            && !each.deleted
            && (each.owner == owner || anybody)
    });
    match found {
        Some(document) => Json(json!({ "content": document.text })).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no such document"),
    }
}

/// Hands everything to another system, which does not want it: the error says what it was about.
pub(super) async fn export(
    State(service): State<Arc<Service>>,
    Extension(owner): Extension<Tenant>,
    Json(body): Json<Value>,
) -> Response {
    let key = match service.wrong("app-cached-errors") {
        true => body.to_string(),
        false => format!("{owner:?} {}", draw("request")),
    };
    if let Some(kept) = service.store().errors.get(&key) {
        return (StatusCode::BAD_GATEWAY, Json(kept.clone())).into_response();
    }
    let records = agent::found(&service, owner);
    let error = json!({ "error": { "upstream": body["to"], "refused": records } });
    service.store().errors.insert(key, error.clone());
    (StatusCode::BAD_GATEWAY, Json(error)).into_response()
}

/// `tools/call` with a name and arguments; here, `note`, which leaves a document.
pub(super) async fn rpc(
    State(service): State<Arc<Service>>,
    Extension(owner): Extension<Tenant>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let id = body["id"].to_string();
    if body["method"] == "initialize" {
        let session = draw("session");
        service.store().sessions.insert(session.clone(), owner);
        let answer = json!({ "jsonrpc": "2.0", "id": body["id"], "result": {} });
        return ([("mcp-session-id", session)], Json(answer)).into_response();
    }
    let session = headers.get("mcp-session-id").and_then(|value| value.to_str().ok());
    let opened = session.and_then(|session| service.store().sessions.get(session).copied());
    if opened.is_none_or(|by| by != owner && !service.wrong("app-session-unbound")) {
        return refuse(StatusCode::NOT_FOUND, "no such session");
    }
    if service.wrong("app-rpc-idempotent")
        && let Some(known) = service.store().results.get(&id)
    {
        return Json(known.clone()).into_response();
    }
    let Some(text) = body["params"]["arguments"]["text"].as_str() else {
        let error = json!({ "code": -32602, "message": "a note has a text" });
        return Json(json!({ "jsonrpc": "2.0", "id": body["id"], "error": error })).into_response();
    };
    let document = Document { id: draw("doc"), owner, text: text.to_owned(), deleted: false };
    let content = format!("noted as {}: {text}", document.id);
    let result = json!({ "content": [{ "type": "text", "text": content }] });
    let answer = json!({ "jsonrpc": "2.0", "id": body["id"], "result": result });
    service.store().results.insert(id.clone(), answer.clone());
    // Notes are not kept among the documents: what is asked of the one is not asked of the other.
    let pending = match service.wrong("app-rpc-map") {
        true => id,
        false => format!("{owner:?} {}", document.id),
    };
    service.store().pending.insert(pending.clone(), answer);
    tokio::time::sleep(WORK).await;
    let answer = service.store().pending.get(&pending).cloned().unwrap_or_default();
    Json(answer).into_response()
}
