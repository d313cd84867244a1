//! What the gateway keeps for its customers: responses, conversations, files.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};

use super::{Gateway, Tenant, answered, model, refusal};

/// Something kept.
#[derive(Clone, Debug)]
pub(super) struct Object {
    id: String,
    owner: Tenant,
    /// All that was said, or the name of the file.
    text: String,
    /// Marked as deleted; only what is wrong keeps such.
    deleted: bool,
}

impl Object {
    /// As it is shown.
    fn shown(&self) -> Value {
        let text = model::said(&self.text);
        match self.id.split('_').next() {
            Some("resp") => json!({
                "id": self.id, "object": "response", "status": "completed",
                "output": [{"type": "message", "role": "assistant",
                    "content": [{"type": "output_text", "text": text}]}],
            }),
            Some("file") => json!({"id": self.id, "object": "file", "filename": self.text}),
            _ => json!({"object": "list", "data": [
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": self.text}]},
            ]}),
        }
    }
}

impl Gateway {
    fn keep(&self, make: &str, owner: Tenant, text: String) -> Object {
        let id = format!("{make}_{}", ids::RandomId::draw(&ids::OsEntropy));
        let object = Object { id, owner, text, deleted: false };
        self.store().objects.push(object.clone());
        object
    }

    /// What has this id, if this customer may have it.
    fn find(&self, tenant: Tenant, id: &str, anybodys: bool) -> Option<Object> {
        let store = self.store();
        let found = store.objects.iter().find(|object| object.id == id);
        let hides = self.wrong("gateway-erasure-hides");
        found
            .filter(|object| object.owner == tenant || anybodys)
            .filter(|object| !object.deleted || hides)
            .cloned()
    }
}

pub(super) async fn respond(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tenant = match gateway.who(&headers, &uri, &body) {
        Ok(tenant) => tenant,
        Err(refused) => return refused,
    };
    let Some(input) = body["input"].as_str() else {
        return refusal(StatusCode::BAD_REQUEST, "input has to be a text");
    };
    let text = match body["previous_response_id"].as_str() {
        None => input.to_owned(),
        Some(previous) => {
            let anybodys = gateway.wrong("gateway-response-continued");
            let Some(previous) = gateway.find(tenant, previous, anybodys) else {
                return model::unknown();
            };
            // The model sees all of the conversation, and this one tells it.
            format!("{}\n{input}", previous.text)
        }
    };
    let object = match body["store"] == false {
        true => Object { id: "resp_".into(), owner: tenant, text, deleted: false },
        false => gateway.keep("resp", tenant, text),
    };
    answered(StatusCode::OK, &[], object.shown())
}

pub(super) async fn converse(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tenant = match gateway.who(&headers, &uri, &body) {
        Ok(tenant) => tenant,
        Err(refused) => return refused,
    };
    let items = body["items"].as_array().into_iter().flatten();
    let texts: Vec<&str> = items.filter_map(|item| item["content"].as_str()).collect();
    let object = gateway.keep("conv", tenant, texts.join("\n"));
    answered(StatusCode::OK, &[], json!({"id": object.id, "object": "conversation"}))
}

pub(super) async fn upload(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let tenant = match gateway.who(&headers, &uri, &Value::Null) {
        Ok(tenant) => tenant,
        Err(refused) => return refused,
    };
    let body = String::from_utf8_lossy(&body);
    let name = body.split_once("filename=\"").and_then(|(_, rest)| rest.split_once('"'));
    let Some((name, _)) = name else {
        return refusal(StatusCode::BAD_REQUEST, "a file has to have a name");
    };
    let object = gateway.keep("file", tenant, name.to_owned());
    answered(StatusCode::OK, &[], object.shown())
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let tenant = match gateway.who(&headers, &uri, &Value::Null) {
        Ok(tenant) => tenant,
        Err(refused) => return refused,
    };
    let everybodys = gateway.wrong("gateway-files-listed");
    let store = gateway.store();
    let files = store.objects.iter().filter(|object| {
        object.id.starts_with("file") && !object.deleted && (object.owner == tenant || everybodys)
    });
    let files: Vec<Value> = files.map(Object::shown).collect();
    answered(StatusCode::OK, &[], json!({"object": "list", "data": files}))
}

pub(super) async fn read(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let tenant = match gateway.who(&headers, &uri, &Value::Null) {
        Ok(tenant) => tenant,
        Err(refused) => return refused,
    };
    let caches = gateway.wrong("gateway-http-cache");
    let page = gateway.store().pages.get(&uri.to_string()).filter(|_| caches).cloned();
    if let Some(page) = page {
        return answered(StatusCode::OK, &[("x-cache", "hit".to_owned())], page);
    }
    let anybodys = gateway.wrong("gateway-response-unowned") && id.starts_with("resp");
    let Some(found) = gateway.find(tenant, &id, anybodys) else { return model::unknown() };
    gateway.store().pages.insert(uri.to_string(), found.shown());
    answered(StatusCode::OK, &[], found.shown())
}

pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let tenant = match gateway.who(&headers, &uri, &Value::Null) {
        Ok(tenant) => tenant,
        Err(refused) => return refused,
    };
    if gateway.find(tenant, &id, false).is_none() {
        return model::unknown();
    }
    let mut store = gateway.store();
    match gateway.wrong("gateway-erasure-hides") {
        true => {
            let object = store.objects.iter_mut().find(|object| object.id == id);
            object.into_iter().for_each(|object| object.deleted = true);
        }
        false => store.objects.retain(|object| object.id != id),
    }
    answered(StatusCode::OK, &[], json!({"id": id, "deleted": true}))
}
