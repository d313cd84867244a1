//! A stand-in for a provider that keeps things: one account, which it takes all callers for.
//! Whoever names an id gets what it names, whoever made it. What is kept apart is so by
//! others.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Behind `/v1`.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A field of a form, and the file's name if it is one.
    pub(crate) fn field(&self, name: &str) -> Option<(Option<String>, Bytes)> {
        fields(&self.headers, &self.body).into_iter().find(|f| f.0 == name).map(|f| (f.1, f.2))
    }

    /// The names of a form's fields.
    pub(crate) fn fields(&self) -> Vec<String> {
        fields(&self.headers, &self.body).into_iter().map(|f| f.0).collect()
    }
}

fn fields(headers: &HeaderMap, body: &Bytes) -> Vec<(String, Option<String>, Bytes)> {
    let kind = headers[header::CONTENT_TYPE].to_str().unwrap();
    let boundary = multer::parse_boundary(kind).unwrap();
    let body = body.clone();
    let whole = futures_util::stream::iter([Ok::<_, Infallible>(body)]);
    let mut form = multer::Multipart::new(whole, boundary);
    futures_util::FutureExt::now_or_never(async {
        let mut fields = Vec::new();
        while let Some(field) = form.next_field().await.unwrap() {
            let name = field.name().unwrap().to_owned();
            let file = field.file_name().map(str::to_owned);
            fields.push((name, file, field.bytes().await.unwrap()));
        }
        fields
    })
    .unwrap()
}

/// What it answers: a status, a type, and bytes.
pub(crate) type Said = (u16, &'static str, Bytes);
type Script = Box<dyn Fn(&Asked) -> Option<Said> + Send>;

#[derive(Default)]
struct Kept {
    /// By path: `files/file-1`.
    things: BTreeMap<String, Value>,
    contents: BTreeMap<String, Bytes>,
    seen: Vec<Asked>,
    made: u64,
    script: Option<Script>,
}

/// The stand-in.
pub(crate) struct Depot {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    _tasks: JoinSet<()>,
}

impl Depot {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let mut tasks = JoinSet::new();
        let shared = kept.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let kept = shared.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(kept.clone(), request));
                    // A connection may be dropped at any time.
                    let socket = TokioIo::new(socket);
                    let _ = http1::Builder::new().serve_connection(socket, service).await;
                });
            }
        });
        Self { address, kept, _tasks: tasks }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.kept().seen.clone()
    }

    pub(crate) fn last(&self) -> Asked {
        self.kept().seen.last().unwrap().clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.kept().seen.len()
    }

    /// From now on it answers so where the script answers at all.
    pub(crate) fn says(&self, script: impl Fn(&Asked) -> Option<Said> + Send + 'static) {
        self.kept().script = Some(Box::new(script));
    }

    /// What a file holds, as it has it.
    pub(crate) fn content(&self, id: &str) -> String {
        String::from_utf8(self.kept().contents[id].to_vec()).unwrap()
    }

    /// Keeps a thing that nobody made through us.
    pub(crate) fn put(&self, path: &str, thing: Value) {
        self.kept().things.insert(path.to_owned(), thing);
    }
}

async fn answer(
    kept: Arc<Mutex<Kept>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path().strip_prefix("/v1/").unwrap().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let asked = Asked { method: head.method, path, query, headers: head.headers, body };
    let mut kept = kept.lock().unwrap();
    kept.seen.push(asked.clone());
    let scripted = kept.script.as_ref().and_then(|script| script(&asked));
    let (status, kind, body) = scripted.unwrap_or_else(|| kept.serve(&asked));
    let response = Response::builder().status(status).header("content-type", kind);
    Ok(response.body(Full::new(body)).unwrap())
}

/// A document.
pub(crate) fn says(body: &Value) -> Said {
    (200, "application/json", body.to_string().into())
}

fn missing(path: &str) -> Said {
    let body = json!({"error": {"message": format!("no {path} here"), "code": "gone"}});
    (404, "application/json", body.to_string().into())
}

impl Kept {
    fn make(&mut self, kind: &str, object: &str, more: &Value) -> Value {
        self.made += 1;
        let prefix = match kind {
            "files" => "file-",
            "batches" => "batch_",
            "responses" => "resp_",
            "conversations" => "conv_",
            _ => "msg_",
        };
        let id = format!("{prefix}{}", self.made);
        let mut thing = json!({"id": id, "object": object, "created_at": 1_795_000_000});
        for (name, value) in more.as_object().unwrap() {
            thing[name] = value.clone();
        }
        self.things.insert(format!("{kind}/{id}"), thing.clone());
        thing
    }

    fn serve(&mut self, asked: &Asked) -> Said {
        let path = asked.path.clone();
        let segments: Vec<_> = path.split('/').collect();
        match (asked.method.as_str(), &segments[..]) {
            ("POST", ["files"]) => says(&self.upload(asked)),
            ("POST", ["batches"]) => {
                let asked = asked.json();
                says(&self.make(
                    "batches",
                    "batch",
                    &json!({
                        "input_file_id": asked["input_file_id"],
                        "endpoint": asked["endpoint"],
                        "metadata": asked["metadata"],
                        "status": "in_progress",
                        // Some providers say null, some say it so.
                        "output_file_id": "",
                        "error_file_id": null,
                    }),
                ))
            }
            ("POST", ["conversations"]) => {
                says(&self.make("conversations", "conversation", &asked.json()))
            }
            ("POST", ["chat", "completions"]) => {
                let audio = self.make("audio", "audio", &json!({}));
                let message = json!({"role": "assistant", "audio": {"id": audio["id"]}});
                says(&json!({"id": "chatcmpl-1", "choices": [{"index": 0, "message": message}]}))
            }
            ("POST", ["messages"]) => {
                let container = self.make("containers", "container", &json!({}));
                let container = json!({"id": container["id"]});
                says(&json!({"type": "message", "content": [], "container": container}))
            }
            ("POST", ["messages", "count_tokens"]) => says(&json!({"input_tokens": 1})),
            ("POST", ["responses"]) => says(&self.respond()),
            ("POST", ["conversations", id, "items"]) => {
                let id = format!("conversations/{id}/items");
                let added: Vec<_> = asked.json()["items"].as_array().unwrap().clone();
                let items: Vec<_> = added.iter().map(|item| self.make(&id, "item", item)).collect();
                says(&json!({"object": "list", "data": items}))
            }
            ("GET", ["responses", _, "input_items"] | ["conversations", _, "items"]) => {
                self.items(&path)
            }
            ("GET", ["files", id, "content"]) => match self.contents.get(*id) {
                Some(content) => (200, "text/html", content.clone()),
                None => missing(&path),
            },
            ("GET", ["batches", id]) => self.worked_off(id),
            ("POST", [kind, id, "cancel"]) => self.change(&format!("{kind}/{id}"), "cancelled"),
            ("POST", ["conversations", _]) => self.change(&path, "changed"),
            ("GET", _) => self.things.get(&path).map_or_else(|| missing(&path), says),
            ("DELETE", ["conversations", id, "items", _]) => match self.things.remove(&path) {
                Some(_) => says(&self.things[&format!("conversations/{id}")]),
                None => missing(&path),
            },
            ("DELETE", _) => match self.things.remove(&path) {
                Some(thing) => says(&json!({"id": thing["id"], "deleted": true})),
                None => missing(&path),
            },
            _ => missing(&path),
        }
    }

    fn upload(&mut self, asked: &Asked) -> Value {
        let text =
            |name| asked.field(name).map(|field| String::from_utf8(field.1.to_vec()).unwrap());
        let (name, content) = asked.field("file").unwrap();
        let file = self.make(
            "files",
            "file",
            &json!({
                "purpose": text("purpose"),
                "filename": name,
                "bytes": content.len(),
                "status": "processed",
            }),
        );
        self.contents.insert(file["id"].as_str().unwrap().to_owned(), content);
        file
    }

    fn respond(&mut self) -> Value {
        let said = self.make("items", "item", &json!({"type": "message", "content": []}));
        let conversation = self.make("conversations", "conversation", &json!({}));
        let response = self.make(
            "responses",
            "response",
            &json!({
                "status": "completed",
                "conversation": {"id": conversation["id"]},
                "output": [said],
            }),
        );
        let items = format!("responses/{}/input_items", response["id"].as_str().unwrap());
        self.make(&items, "item", &json!({"type": "message"}));
        response
    }

    fn items(&self, path: &str) -> Said {
        let prefix = format!("{path}/");
        let items = self.things.iter().filter(|(at, _)| at.starts_with(&prefix));
        let items: Vec<_> = items.map(|(_, item)| item).collect();
        says(&json!({"object": "list", "data": items, "has_more": false}))
    }

    /// A batch that is asked after is done.
    fn worked_off(&mut self, id: &str) -> Said {
        let path = format!("batches/{id}");
        let Some(mut batch) = self.things.get(&path).cloned() else { return missing(&path) };
        if batch["status"] == "in_progress" {
            let output = self.make("files", "file", &json!({"purpose": "batch_output"}));
            self.contents.insert(output["id"].as_str().unwrap().to_owned(), "done".into());
            batch["output_file_id"] = output["id"].clone();
            batch["status"] = "completed".into();
            self.things.insert(path, batch.clone());
        }
        says(&batch)
    }

    fn change(&mut self, path: &str, status: &str) -> Said {
        match self.things.get_mut(path) {
            Some(thing) => {
                thing["status"] = status.into();
                says(&thing.clone())
            }
            None => missing(path),
        }
    }
}
