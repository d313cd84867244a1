//! A caller of the data plane, over real HTTP, who writes down everything that comes back.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use reqwest::{Method, Url};
use serde_json::{Value, json};

/// What was asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: Method,
    url: Url,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Ask {
    /// A request without a body.
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: None }
    }

    /// A request with a JSON body, byte for byte.
    pub(super) fn post(url: Url, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Self { method: Method::POST, url, headers, body: Some(body.into()) }
    }

    /// To keep JSON under a name.
    pub(super) fn put(url: Url, body: impl Into<String>) -> Self {
        Self { method: Method::PUT, ..Self::post(url, body) }
    }

    /// With a credential, as the OpenAI SDK sends it.
    #[must_use]
    pub(super) fn bearer(self, credential: &str) -> Self {
        self.header("authorization", &format!("Bearer {credential}"))
    }

    /// With a header.
    #[must_use]
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// Whose credential asked; empty for nobody's.
    pub(super) who: String,
    /// What for, in words.
    pub(super) what: String,
    /// The status.
    pub(super) status: u16,
    /// The error's code, or nothing.
    pub(super) code: String,
    /// `x-bulkhead-cache`, or nothing.
    pub(super) cache: String,
    /// `x-request-id`.
    pub(super) request: String,
    /// The id that the provider gave the answer.
    pub(super) id: String,
    /// Tokens that the provider counted.
    pub(super) tokens: u64,
    /// Whether it came as a complete stream.
    pub(super) streamed: bool,
    /// How long it took, to the last byte.
    pub(super) took: Duration,
    /// Status, headers and body, for the search.
    pub(super) everything: String,
}

/// The client and its transcript.
pub(super) struct Caller {
    http: reqwest::Client,
    heard: Mutex<Vec<Heard>>,
}

impl Caller {
    pub(super) fn new() -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(120))
            .build()
            .context("setting up the HTTP client")?;
        Ok(Self { http, heard: Mutex::default() })
    }

    /// Everything that came back so far.
    pub(super) fn transcript(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, in the name of `who`.
    pub(super) async fn ask(&self, who: &str, what: &str, ask: Ask) -> Result<Heard> {
        let Ask { method, url, headers, body } = ask;
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let began = Instant::now();
        let response = request.send().await.with_context(|| format!("{what}: no answer"))?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = response.text().await.with_context(|| format!("{what}: half an answer"))?;
        let took = began.elapsed();
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let streamed = header("content-type").starts_with("text/event-stream");
        let read = if streamed { read_stream(&body) } else { read_whole(&body) };
        let heard = Heard {
            who: who.to_owned(),
            what: what.to_owned(),
            status: status.as_u16(),
            code: read.code,
            cache: header("x-bulkhead-cache"),
            request: header("x-request-id"),
            id: read.id,
            tokens: read.tokens,
            streamed: streamed && read.complete,
            took,
            everything: format!("{status}\n{headers:?}\n{body}"),
        };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard.clone());
        Ok(heard)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    id: String,
    code: String,
    tokens: u64,
    complete: bool,
}

fn read_whole(body: &str) -> Read {
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    read_value(&value)
}

/// A chat completion, or an error in OpenAI's shape, Qdrant's, or that of RFC 9457.
fn read_value(value: &Value) -> Read {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let within = ["error", "status"].into_iter().map(|name| &value[name]).find(|v| v.is_object());
    let code = &within.unwrap_or(value)["code"];
    Read {
        id: text(&value["id"]),
        code: text(code),
        tokens: value["usage"]["total_tokens"].as_u64().unwrap_or_default(),
        complete: true,
    }
}

fn read_stream(body: &str) -> Read {
    let mut all = Read::default();
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if data == "[DONE]" {
            all.complete = true;
            continue;
        }
        let Read { id, code, tokens, .. } = read_whole(data);
        all.id = if id.is_empty() { all.id } else { id };
        all.code = if code.is_empty() { all.code } else { code };
        all.tokens = all.tokens.max(tokens);
    }
    all
}

/// A chat request.
pub(super) fn chat(model: &str, prompt: &str, stream: bool) -> Value {
    let system = "You are the accounts assistant. Answer in one short sentence.";
    let mut body = json!({
        "model": model,
        "messages": [
            { "role": "system", "content": system },
            { "role": "user", "content": prompt },
        ],
    });
    if stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_errors_and_streams_are_read() {
        let whole = read_whole(r#"{"id":"chatcmpl-1","usage":{"total_tokens":5}}"#);
        assert_eq!((whole.id.as_str(), whole.tokens), ("chatcmpl-1", 5));
        assert_eq!(read_whole(r#"{"error":{"code":"scope.missing"}}"#).code, "scope.missing");
        assert_eq!(read_whole(r#"{"code":"not_found","status":404}"#).code, "not_found");
        let qdrants = r#"{"status":{"error":"no","code":"memory.busy"},"result":null,"time":0}"#;
        assert_eq!(read_whole(qdrants).code, "memory.busy");
        let stream =
            "data: {\"id\":\"c1\"}\n\ndata: {\"usage\":{\"total_tokens\":7}}\n\ndata: [DONE]\n\n";
        let read = read_stream(stream);
        assert_eq!((read.id.as_str(), read.tokens, read.complete), ("c1", 7, true));
        assert!(!read_stream("data: {\"id\":\"c1\"}\n\n").complete);
    }
}
