//! What the stand-in keeps: files, batches, responses, conversations. Each account has its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use ids::{OsEntropy, RandomId};
use serde_json::{Value, json};

use super::{Body, error, full, json_of, response, said};

/// The most that is kept of anything, so that no run fills the memory.
const MOST: usize = 20_000;

/// By account and id.
type Of = (String, String);

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    objects: BTreeMap<Of, Value>,
    contents: BTreeMap<Of, Bytes>,
    items: BTreeMap<Of, Vec<Value>>,
}

fn id(prefix: &str) -> String {
    format!("{prefix}{}", RandomId::draw(&OsEntropy))
}

impl Kept {
    /// What was said before, in the response or conversation that a question goes on with.
    pub(super) fn context(&self, account: &str, ask: &Value) -> String {
        let of = |id: &str| (account.to_owned(), id.to_owned());
        let named = |value: &Value| value.as_str().or(value["id"].as_str()).map(of);
        let mut before = String::new();
        if let Some(earlier) = ask.get("previous_response_id").and_then(named) {
            before.push_str(&said::text_of(self.objects.get(&earlier)));
        }
        if let Some(conversation) = ask.get("conversation").and_then(named) {
            for item in self.items.get(&conversation).into_iter().flatten() {
                before.push_str(&item["content"].to_string());
            }
        }
        before
    }

    /// A response, unless it is not to be kept.
    pub(super) fn keep_response(&mut self, account: &str, ask: &Value, made: &Value) {
        if ask.get("store") == Some(&Value::Bool(false)) {
            return;
        }
        let at = self.keep(account, made);
        let asked = match &ask["input"] {
            Value::Array(items) => items.clone(),
            text => vec![json!({ "type": "message", "role": "user", "content": text })],
        };
        self.add(at, &asked);
    }

    pub(super) fn answer(
        &mut self,
        method: &Method,
        path: &str,
        account: &str,
        body: &Value,
        bytes: &Bytes,
    ) -> Response<Body> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let of = |id: &str| (account.to_owned(), id.to_owned());
        match (method.as_str(), &parts[..]) {
            ("POST", ["files"]) => self.file(account, bytes),
            ("GET", ["files", id, "content"]) => match self.contents.get(&of(id)) {
                Some(content) => {
                    let text = String::from_utf8_lossy(content).into_owned();
                    response(StatusCode::OK, "application/octet-stream", full(text))
                }
                None => missing(),
            },
            ("POST", ["batches"]) => self.batch(account, body),
            ("POST", ["conversations"]) => {
                let object = json!({ "id": id("conv_"), "object": "conversation",
                    "created_at": 1, "metadata": body["metadata"] });
                let at = self.keep(account, &object);
                self.add(at, body["items"].as_array().map_or(&[], Vec::as_slice));
                json_of(&object)
            }
            ("POST", ["conversations", id, "items"]) if self.objects.contains_key(&of(id)) => {
                let items = body["items"].as_array().map_or(&[][..], Vec::as_slice);
                listed(&self.add(of(id), items))
            }
            ("GET", ["conversations" | "responses", id, "items" | "input_items"])
                if self.objects.contains_key(&of(id)) =>
            {
                listed(self.items.get(&of(id)).map_or(&[], Vec::as_slice))
            }
            ("GET", ["conversations", id, "items", item]) => {
                let items = self.items.get(&of(id)).map_or(&[][..], Vec::as_slice);
                items.iter().find(|one| one["id"] == **item).map_or_else(missing, json_of)
            }
            ("DELETE", ["conversations", id, "items", item]) => {
                if let Some(items) = self.items.get_mut(&of(id)) {
                    items.retain(|one| one["id"] != **item);
                }
                self.found(&of(id))
            }
            ("POST", ["conversations", id]) => {
                if let Some(object) = self.objects.get_mut(&of(id)) {
                    object["metadata"] = body["metadata"].clone();
                }
                self.found(&of(id))
            }
            ("POST", [_, id, "cancel"]) | ("GET", [_, id]) => self.found(&of(id)),
            ("DELETE", [_, id]) => self.removed(&of(id)),
            _ => missing(),
        }
    }

    fn file(&mut self, account: &str, form: &Bytes) -> Response<Body> {
        let (Some(content), Some(purpose)) = (part(form, "file"), part(form, "purpose")) else {
            return error(StatusCode::BAD_REQUEST, "a form with a file and its purpose is needed");
        };
        let object = json!({ "id": id("file-"), "object": "file", "created_at": 1,
            "bytes": content.len(), "filename": filename(form), "status": "processed",
            "purpose": String::from_utf8_lossy(&purpose) });
        let at = self.keep(account, &object);
        self.contents.insert(at, content);
        json_of(&object)
    }

    fn batch(&mut self, account: &str, body: &Value) -> Response<Body> {
        let input = body["input_file_id"].as_str().unwrap_or_default();
        let lines = self.contents.get(&(account.to_owned(), input.to_owned())).cloned();
        let Some(lines) = lines else { return missing() };
        let output = json!({ "id": id("file-"), "object": "file", "created_at": 1,
            "purpose": "batch_output", "bytes": lines.len(), "filename": "output" });
        let at = self.keep(account, &output);
        self.contents.insert(at, lines);
        let object = json!({ "id": id("batch_"), "object": "batch", "created_at": 1,
            "endpoint": body["endpoint"], "input_file_id": input, "completion_window": "24h",
            "status": "completed", "output_file_id": output["id"], "error_file_id": null,
            "metadata": body["metadata"] });
        self.keep(account, &object);
        json_of(&object)
    }

    fn keep(&mut self, account: &str, object: &Value) -> Of {
        if self.objects.len() >= MOST {
            *self = Self::default();
        }
        let at = (account.to_owned(), object["id"].as_str().unwrap_or_default().to_owned());
        self.objects.insert(at.clone(), object.clone());
        at
    }

    fn found(&self, at: &Of) -> Response<Body> {
        self.objects.get(at).map_or_else(missing, json_of)
    }

    fn removed(&mut self, at: &Of) -> Response<Body> {
        self.contents.remove(at);
        self.items.remove(at);
        match self.objects.remove(at) {
            Some(one) => json_of(&json!({ "id": at.1, "object": one["object"], "deleted": true })),
            None => missing(),
        }
    }

    fn add(&mut self, to: Of, items: &[Value]) -> Vec<Value> {
        let mut added = Vec::with_capacity(items.len());
        for item in items {
            let mut item = item.clone();
            if item.is_object() {
                item["id"] = json!(id("msg_"));
                added.push(item);
            }
        }
        self.items.entry(to).or_default().extend(added.iter().cloned());
        added
    }
}

fn listed(items: &[Value]) -> Response<Body> {
    json_of(&json!({ "object": "list", "data": items, "has_more": false }))
}

fn missing() -> Response<Body> {
    let mut response = error(StatusCode::NOT_FOUND, "no such thing");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

/// A part of a form (RFC 7578), as simply as it can be read.
fn part(form: &Bytes, name: &str) -> Option<Bytes> {
    let find = |from: usize, what: &[u8]| {
        form[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let at = find(0, format!("name=\"{name}\"").as_bytes())?;
    let begin = find(at, b"\r\n\r\n")? + 4;
    let end = find(begin, b"\r\n--")?;
    Some(form.slice(begin..end))
}

/// What the uploaded file is called.
fn filename(form: &Bytes) -> String {
    let text = String::from_utf8_lossy(form);
    let after = text.split("filename=\"").nth(1);
    let name = after.and_then(|rest| rest.split('"').next());
    name.unwrap_or("upload").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read() {
        let form = Bytes::from(
            "--xx\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xx\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\none\ntwo\r\n--xx--\r\n",
        );
        assert_eq!(part(&form, "purpose").unwrap(), "batch");
        assert_eq!(part(&form, "file").unwrap(), "one\ntwo");
        assert_eq!(part(&form, "more"), None);
        assert_eq!(filename(&form), "f");
    }
}
