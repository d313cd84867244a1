//! What the stand-in keeps: files, batches, responses, conversations.

use std::collections::BTreeMap;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};

use super::json_response;

#[derive(Default)]
pub(super) struct Kept {
    objects: BTreeMap<String, Value>,
    contents: BTreeMap<String, Bytes>,
    items: BTreeMap<String, Vec<Value>>,
    count: u64,
}

impl Kept {
    pub(super) fn keep(&mut self, object: &Value) {
        self.objects.insert(object["id"].as_str().unwrap().to_owned(), object.clone());
    }

    fn id(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{}", self.count)
    }

    pub(super) fn answer(
        &mut self,
        method: &Method,
        path: &str,
        mark: &str,
        body: &Value,
        bytes: &Bytes,
    ) -> Response<Body> {
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match (method.as_str(), &parts[..]) {
            ("POST", ["files"]) => {
                let id = self.id("file-");
                self.contents.insert(id.clone(), part(bytes, "file"));
                let purpose = String::from_utf8(part(bytes, "purpose").to_vec()).unwrap();
                self.made(json!({"id": id, "object": "file", "created_at": 1, "purpose": purpose,
                    "bytes": bytes.len(), "filename": mark, "status": "processed"}))
            }
            ("GET", ["files", id, "content"]) => match self.contents.get(*id) {
                Some(content) => Response::builder()
                    .header("content-type", "application/octet-stream")
                    .body(Body::from(content.clone()))
                    .unwrap(),
                None => missing(),
            },
            ("POST", ["batches"]) => {
                let (id, output) = (self.id("batch_"), self.id("file-"));
                let input = body["input_file_id"].as_str().unwrap_or_default();
                let lines = self.contents.get(input).cloned().unwrap_or_default();
                let said = format!("{mark} worked off: {}", String::from_utf8_lossy(&lines));
                self.contents.insert(output.clone(), Bytes::from(said));
                self.keep(&json!({"id": output, "object": "file", "created_at": 1,
                    "purpose": "batch_output", "bytes": 1, "filename": mark}));
                self.made(json!({"id": id, "object": "batch", "endpoint": body["endpoint"],
                    "input_file_id": input, "completion_window": "24h", "created_at": 1,
                    "status": "completed", "output_file_id": output, "error_file_id": null,
                    "metadata": {"of": mark}}))
            }
            ("POST", ["conversations"]) => {
                let id = self.id("conv_");
                self.add(&id, mark, &body["items"]);
                self.made(json!({"id": id, "object": "conversation", "created_at": 1,
                    "metadata": {"of": mark}}))
            }
            ("POST", ["conversations", id, "items"]) => {
                let added = self.add(id, mark, &body["items"]);
                list(&added)
            }
            ("GET", ["conversations" | "responses", id, "items" | "input_items"]) => {
                list(self.items.get(*id).map_or(&[], Vec::as_slice))
            }
            ("GET" | "DELETE", ["conversations", id, "items", item]) => {
                let items = self.items.get(*id).map_or(&[][..], Vec::as_slice);
                match items.iter().find(|one| one["id"] == **item) {
                    Some(_) if method == "DELETE" => self.found(id),
                    Some(one) => json_response(200, one),
                    None => missing(),
                }
            }
            ("POST", ["conversations", id]) | ("POST", [_, id, "cancel"]) | ("GET", [_, id]) => {
                self.found(id)
            }
            ("DELETE", [_, id]) => match self.objects.remove(*id) {
                Some(one) => {
                    json_response(200, &json!({"id": id, "object": one["object"], "deleted": true}))
                }
                None => missing(),
            },
            _ => missing(),
        }
    }

    fn made(&mut self, object: Value) -> Response<Body> {
        self.keep(&object);
        json_response(200, &object)
    }

    fn found(&self, id: &str) -> Response<Body> {
        self.objects.get(id).map_or_else(missing, |object| json_response(200, object))
    }

    fn add(&mut self, of: &str, mark: &str, items: &Value) -> Vec<Value> {
        let mut added = Vec::new();
        for item in items.as_array().into_iter().flatten() {
            let mut item = item.clone();
            item["id"] = json!(self.id("item_"));
            item["by"] = json!(mark);
            added.push(item);
        }
        self.items.entry(of.to_owned()).or_default().extend(added.clone());
        added
    }
}

fn list(items: &[Value]) -> Response<Body> {
    json_response(200, &json!({"object": "list", "data": items, "has_more": false}))
}

fn missing() -> Response<Body> {
    json_response(404, &json!({"error": {"message": "no such thing", "type": "invalid"}}))
}

/// A part of a form (RFC 7578), as simply as it can be read.
fn part(form: &Bytes, name: &str) -> Bytes {
    let text = String::from_utf8_lossy(form);
    let wanted = format!("name=\"{name}\"");
    let at = text.find(&wanted).unwrap_or_else(|| panic!("no {name} in {text}"));
    let begin = at + text[at..].find("\r\n\r\n").unwrap() + 4;
    let end = begin + text[begin..].find("\r\n--").unwrap();
    form.slice(begin..end)
}
