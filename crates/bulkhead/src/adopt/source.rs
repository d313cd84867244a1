//! The Qdrant that is read: where the operator says it is, and nowhere else.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode, Url, header::HeaderValue};
use serde_json::{Value, json};

use crate::{
    admin::{is_loopback, segment},
    fault::Fault,
    print,
    secret::Text,
};

/// How long it may take to take a connection, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const MOST: usize = 128 << 20;
/// Of its errors, so much is repeated.
const SAID: usize = 300;

/// A collection of a running Qdrant.
pub(super) struct Source {
    http: reqwest::Client,
    /// Of the collection.
    base: Url,
    key: Option<HeaderValue>,
}

/// A page of points.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) points: Vec<Value>,
    /// Where the next one begins.
    pub(super) next: Option<Value>,
}

impl Source {
    /// Nothing is sent yet. `authority` is a PEM file with the certificates to trust.
    pub(super) fn open(
        from: &str,
        collection: &str,
        key: Option<&Text>,
        authority: Option<&Path>,
    ) -> Result<Self> {
        let base = base(from, collection)?;
        // The place that is named, and no other that it or the environment may name.
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("bulkhead/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = authority {
            let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no PEM certificates", path.display()))?;
            http = http.tls_certs_only(certificates);
        } else if base.scheme() == "http" {
            // A machine without certificates can speak plain HTTP all the same.
            http = http.tls_certs_only([]);
            if !is_loopback(&base) {
                print::note(
                    "warning: --from is plain HTTP: its key and every point cross the network readable",
                );
            }
        }
        let key = key.map(|key| {
            let mut value = HeaderValue::from_str(key.expose())
                .map_err(|_| Fault::usage("the key of --from is no text for a header"))?;
            value.set_sensitive(true);
            Ok::<_, Fault>(value)
        });
        let http = http.build().context("setting up the HTTP client")?;
        Ok(Self { http, base, key: key.transpose()? })
    }

    /// Which collection it is, without anything secret.
    pub(super) fn name(&self) -> &str {
        self.base.as_str()
    }

    /// What it is made of.
    pub(super) async fn describe(&self) -> Result<Value> {
        self.ask(Method::GET, "", None).await
    }

    /// Up to `limit` points from `offset` on, in the order of their ids.
    pub(super) async fn scroll(
        &self,
        offset: Option<&Value>,
        limit: usize,
        vectors: bool,
    ) -> Result<Page> {
        let mut ask = json!({ "limit": limit, "with_payload": true, "with_vector": vectors });
        if let Some(offset) = offset {
            ask["offset"] = offset.clone();
        }
        let mut answer = self.ask(Method::POST, "/points/scroll", Some(&ask)).await?;
        let Some(Value::Array(points)) = answer.get_mut("points").map(Value::take) else {
            return Err(self.stranger("its answer has no `points`").into());
        };
        let next = answer.get_mut("next_page_offset").map(Value::take);
        let next = next.filter(|next| !next.is_null());
        if points.iter().any(|point| point.get("id").and_then(place).is_none()) {
            return Err(self.stranger("a point has no id").into());
        }
        if let Some(next) = &next
            && (points.is_empty() || place(next) <= offset.and_then(place))
        {
            return Err(self.stranger("its pages do not go on").into());
        }
        Ok(Page { points, next })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.header("api-key", key.clone());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut answer = request.send().await.map_err(|error| self.lost(&error))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.lost(&error))? {
            if bytes.len() + piece.len() > MOST {
                let most = print::bytes(MOST as u64);
                return Err(Fault::failed(format!("a page of the source is over {most}"))
                    .advise("ask for fewer points at once: --batch")
                    .into());
            }
            bytes.extend_from_slice(&piece);
        }
        let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match value.get_mut("result").map(Value::take) {
            Some(result) if status == StatusCode::OK && !result.is_null() => Ok(result),
            _ => Err(self.refused(status, &value).into()),
        }
    }

    fn refused(&self, status: StatusCode, value: &Value) -> Fault {
        if status.is_redirection() {
            return self.stranger("it answered with a redirect, which is not followed");
        }
        let said = value.pointer("/status/error").and_then(Value::as_str).unwrap_or_default();
        let said = print::tame(&said[..said.floor_char_boundary(SAID)]);
        let fault = Fault::failed(format!("{} answered {status}: {said}", self.base));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                fault.advise("name its key: --from-api-key env:QDRANT_API_KEY")
            }
            StatusCode::NOT_FOUND => fault.advise("is the name of --collection right?"),
            _ => fault,
        }
    }

    fn stranger(&self, why: &str) -> Fault {
        Fault::failed(format!("{}: {why}", self.base))
            .advise("is --from the REST address of a Qdrant, as in http://127.0.0.1:6333?")
    }

    fn lost(&self, error: &reqwest::Error) -> Fault {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Fault::failed(format!("cannot read {}: {cause}", self.base))
            .advise("run the same command again: it goes on where it stopped")
    }
}

/// The collection's address: what is before `/collections` may be a path of its own.
fn base(from: &str, collection: &str) -> Result<Url> {
    let parsed = Url::parse(from).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let mut url = parsed.ok_or_else(|| {
        Fault::usage("--from is not the address of a Qdrant")
            .advise("write it as http://127.0.0.1:6333; its key goes into --from-api-key")
    })?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{path}/collections/{}", segment(collection)));
    Ok(url)
}

/// Where an id stands among others: numbers first, then UUIDs.
fn place(id: &Value) -> Option<(u64, String)> {
    match id {
        Value::Number(number) => number.as_u64().map(|number| (number, String::new())),
        Value::String(uuid) if !uuid.is_empty() => Some((u64::MAX, uuid.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_without_a_secret() {
        for (from, url) in [
            ("http://127.0.0.1:6333", "http://127.0.0.1:6333/collections/a%2Fb"),
            ("https://q.example.com/prefix/", "https://q.example.com/prefix/collections/a%2Fb"),
        ] {
            assert_eq!(base(from, "a/b").unwrap().as_str(), url);
        }
        for wrong in ["", "127.0.0.1:6333", "ftp://a", "http://u:p@h", "http://h/?k=1", "file:///a"]
        {
            let error = base(wrong, "docs").unwrap_err().to_string();
            assert!(!error.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn ids_have_an_order() {
        let uuid = json!("5c56c793-69f3-4fbf-87e6-c4bf54c28c26");
        assert!(place(&json!(1)) < place(&json!(20)));
        assert!(place(&json!(u64::MAX)) < place(&uuid));
        assert_eq!((place(&json!(-1)), place(&json!(null)), place(&json!(""))), (None, None, None));
    }
}
