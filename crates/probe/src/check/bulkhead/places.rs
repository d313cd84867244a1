//! The places of a deployment that no other driver has.

use http::Method;
use ids::BoxFuture;
use serde_json::{Value, json};

use super::Known;
use crate::{
    canary::Side,
    catalog::Surface,
    drive::{chat::repeat, vectors::fresh_word},
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    verdict::Halt,
    wire::{Exchange, Request, quote},
};

/// Which place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A value of a run's state, by a key of the caller's choice.
    State,
    /// A result that agents keep.
    Cache,
    /// What agents remember, found by what it says.
    Memory,
    /// What an uploaded file holds.
    Content,
    /// What a batch made.
    Output,
    /// Embeddings of a text; nothing stays.
    Embeddings,
    /// Which models there are; nothing stays.
    Models,
}

/// One of these.
pub(super) struct Spot {
    pub(super) what: What,
    run: String,
    model: String,
    embedding_model: String,
    collection: String,
}

/// The text of a multipart body.
const BOUNDARY: &str = "bulkhead-probe-boundary";

impl Spot {
    pub(super) fn new(what: What, known: &Known<'_>, lab: &Lab) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let run: String = lab.canaries.run().chars().take(12).collect();
        Self {
            what,
            run: known.run().to_owned(),
            model: text(known.model),
            embedding_model: text(known.embedding_model),
            collection: format!("bulkhead-probe-{run}"),
        }
    }

    /// Removes what is there for the whole place.
    pub(super) async fn close(&self, lab: &Lab) {
        if self.what != What::Memory {
            return;
        }
        let _cleaning = lab.wire.cleaning();
        for side in [Side::A, Side::B] {
            let path = format!("/qdrant/collections/{}", self.collection);
            // It may not have been made.
            let _ = lab.send(lab.caller(side), Request::new(Method::DELETE, path)).await;
        }
    }

    /// The path of what is kept by this name.
    fn path(&self, key: &str) -> String {
        let key = quote(key);
        match self.what {
            What::State => format!("/v1/state/{}/{key}", quote(&self.run)),
            What::Cache => format!("/v1/cache/bulkhead-probe/{key}"),
            What::Memory => format!("/v1/memory/{}/{key}", self.collection),
            What::Content | What::Output => format!("/v1/files/{key}"),
            What::Embeddings => "/v1/embeddings".into(),
            What::Models => "/v1/models".into(),
        }
    }

    fn reading(&self, planted: &Planted) -> Request {
        let key = handle(planted, "id");
        let request = match self.what {
            What::State | What::Cache => Request::get(self.path(key)),
            What::Content | What::Output => Request::get(format!("{}/content", self.path(key))),
            What::Memory => {
                let search = json!({ "text": handle(planted, "topic"), "limit": 5 });
                let path = format!("/v1/memory/{}/search", self.collection);
                Request::new(Method::POST, path).json(&search)
            }
            What::Embeddings => Request::new(Method::POST, self.path(""))
                .json(&json!({ "model": self.embedding_model, "input": repeat(&planted.text) })),
            What::Models => Request::get(self.path("")),
        };
        request.example(json!({ "text": planted.text }))
    }

    /// Sends what has to be done; what there was to it is the name of what was made.
    async fn done(&self, lab: &Lab, by: &Caller, request: Request) -> Result<Exchange, Halt> {
        let exchange = lab.patiently(by, request).await?;
        match exchange.accepted() {
            true => Ok(exchange),
            false => {
                let (who, status) = (&by.label, exchange.status());
                Err(Halt::Failed(format!("{} of {who}: {status}", self.name())))
            }
        }
    }

    async fn upload(
        &self,
        lab: &Lab,
        by: &Caller,
        (purpose, text): (&str, &str),
    ) -> Result<(String, Exchange), Halt> {
        let mut request = Request::new(Method::POST, "/v1/files");
        request.body = Some(form(purpose, text));
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let request =
            request.header("content-type", &kind).example(json!({ "id": "file-example" }));
        let exchange = self.done(lab, by, request).await?;
        Ok((id_of(&exchange, "/id")?, exchange))
    }

    /// A batch of one line, worked off.
    async fn batch(
        &self,
        lab: &Lab,
        by: &Caller,
        text: &str,
    ) -> Result<(Vec<(String, String)>, Exchange), Halt> {
        let line = json!({
            "custom_id": "one", "method": "POST", "url": "/v1/chat/completions",
            "body": { "model": self.model, "max_tokens": 96,
                "messages": [{ "role": "user", "content": repeat(text) }] },
        });
        let (input, _) = self.upload(lab, by, ("batch", &format!("{line}\n"))).await?;
        let ask = json!({ "input_file_id": input, "endpoint": "/v1/chat/completions",
            "completion_window": "24h" });
        let example = json!({ "id": "batch-example", "output_file_id": "file-output-example" });
        let request = Request::new(Method::POST, "/v1/batches").json(&ask).example(example.clone());
        let begun = self.done(lab, by, request).await?;
        let batch = id_of(&begun, "/id")?;
        let request = Request::get(format!("/v1/batches/{}", quote(&batch))).example(example);
        let ended = self.done(lab, by, request).await?;
        let output = id_of(&ended, "/output_file_id")
            .map_err(|_| Halt::Failed("the batch is not worked off in time".into()))?;
        Ok((vec![("id".into(), output), ("input".into(), input)], ended))
    }

    async fn planted(
        &self,
        lab: &Lab,
        by: &Caller,
        text: &str,
    ) -> Result<(Vec<(String, String)>, Exchange), Halt> {
        let key = fresh_word();
        match self.what {
            What::State | What::Cache => {
                let mut request = Request::new(Method::PUT, self.path(&key))
                    .header("content-type", "text/plain")
                    .header("x-bulkhead-ttl", "900");
                request.body = Some(text.as_bytes().to_vec());
                let exchange = self.done(lab, by, request).await?;
                Ok((vec![("id".into(), key)], exchange))
            }
            What::Memory => {
                let new = json!({ "text": format!("{key} {text}"), "ttl": 900 });
                let request = Request::new(Method::POST, format!("/v1/memory/{}", self.collection))
                    .json(&new)
                    .example(json!({ "id": "memory-example" }));
                let exchange = self.done(lab, by, request).await?;
                let id = id_of(&exchange, "/id")?;
                Ok((vec![("id".into(), id), ("topic".into(), key)], exchange))
            }
            What::Content => {
                let (id, exchange) = self.upload(lab, by, ("user_data", text)).await?;
                Ok((vec![("id".into(), id)], exchange))
            }
            What::Output => self.batch(lab, by, text).await,
            What::Embeddings | What::Models => {
                let nothing = Exchange {
                    who: by.label.clone(),
                    line: String::new(),
                    headers: Vec::new(),
                    body: None,
                    outcome: Err("nothing stays here".into()),
                };
                let planted = Planted { text: text.into(), handles: Vec::new(), exchange: nothing };
                let exchange = self.done(lab, by, self.reading(&planted)).await?;
                Ok((Vec::new(), exchange))
            }
        }
    }
}

fn handle<'p>(planted: &'p Planted, name: &str) -> &'p str {
    let found = planted.handles.iter().find(|(own, _)| own == name);
    found.map_or("", |(_, value)| value.as_str())
}

fn id_of(exchange: &Exchange, pointer: &str) -> Result<String, Halt> {
    let json = exchange.json();
    let id = json.pointer(pointer).and_then(Value::as_str).filter(|id| !id.is_empty());
    let missing = || Halt::Failed(format!("no {pointer} in the answer to {}", exchange.line));
    id.map(str::to_owned).ok_or_else(missing)
}

fn form(purpose: &str, text: &str) -> Vec<u8> {
    let part = "content-disposition: form-data; name=";
    format!(
        "--{BOUNDARY}\r\n{part}\"purpose\"\r\n\r\n{purpose}\r\n--{BOUNDARY}\r\n{part}\"file\"; \
         filename=\"probe.jsonl\"\r\ncontent-type: text/plain\r\n\r\n{text}\r\n--{BOUNDARY}--\r\n"
    )
    .into_bytes()
}

impl Place for Spot {
    fn name(&self) -> &str {
        match self.what {
            What::State => "state",
            What::Cache => "agents' cache",
            What::Memory => "memory",
            What::Content => "contents of files",
            What::Output => "outputs of batches",
            What::Embeddings => "embeddings",
            What::Models => "models",
        }
    }

    fn surface(&self) -> Surface {
        match self.what {
            What::State | What::Cache => Surface::Cache,
            What::Memory => Surface::Memory,
            _ => Surface::Model,
        }
    }

    fn remembers(&self) -> bool {
        !matches!(self.what, What::Embeddings | What::Models)
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(async move {
            let (handles, exchange) = self.planted(lab, by, text).await?;
            Ok(Planted { text: text.to_owned(), handles, exchange })
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move { lab.patiently(by, self.reading(planted).twisted(twist)).await })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async move {
            if !self.remembers() {
                return Ok(None);
            }
            let input = handle(planted, "input");
            if !input.is_empty() {
                lab.patiently(by, Request::new(Method::DELETE, self.path(input))).await?;
            }
            let path = self.path(handle(planted, "id"));
            Ok(Some(lab.patiently(by, Request::new(Method::DELETE, path)).await?))
        })
    }
}

/// A place under another name, where the same kind of place is there twice.
pub(super) struct Named<'p> {
    pub(super) name: &'static str,
    pub(super) place: &'p dyn Place,
}

impl Place for Named<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn surface(&self) -> Surface {
        self.place.surface()
    }

    fn remembers(&self) -> bool {
        self.place.remembers()
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        self.place.plant(lab, by, text)
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        self.place.read(lab, by, planted, twist)
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        self.place.remove(lab, by, planted)
    }
}
