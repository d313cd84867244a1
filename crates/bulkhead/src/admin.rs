//! The client of the admin API: what every command but a few offline ones speaks.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::{fault::Fault, print, secret::Text};

/// What is spoken to, in errors.
const ADMIN: &str = "the admin API";
/// How long the server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The admin API of one deployment, as one operator.
pub(crate) struct Admin {
    http: reqwest::Client,
    base: Url,
    token: Text,
}

impl Admin {
    /// Opens a client; nothing is sent yet. `authority` is a PEM file with the certificates to
    /// trust instead of the system's.
    pub(crate) fn new(base: Url, token: Text, authority: Option<&Path>) -> Result<Self> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
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
                print::note(format!(
                    "warning: {base} is plain HTTP: the operator credential travels in the clear"
                ));
            }
        }
        Ok(Self { http: http.build().context("setting up the HTTP client")?, base, token })
    }

    /// Opens one to a listener of this very process.
    pub(crate) fn own(endpoint: &server::selfprobe::Endpoint, token: Text) -> Result<Self> {
        let base = Url::parse(&endpoint.url).context("our own address")?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("bulkhead-probe/", env!("CARGO_PKG_VERSION")));
        http = match &endpoint.pinned {
            None => http.tls_certs_only([]),
            Some((at, path)) => {
                let pem =
                    std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                let chain = reqwest::Certificate::from_pem_bundle(&pem)
                    .with_context(|| format!("{} holds no PEM certificates", path.display()))?;
                http.tls_certs_only(chain).resolve(base.host_str().unwrap_or_default(), *at)
            }
        };
        Ok(Self { http: http.build().context("setting up the HTTP client")?, base, token })
    }

    /// Which deployment it is of.
    pub(crate) fn name(&self) -> &str {
        self.base.as_str()
    }

    /// Reads.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        self.send(Method::GET, path, query, None).await
    }

    /// Reads something that may not be there.
    pub(crate) async fn find(&self, path: &str, query: &[(&str, String)]) -> Result<Option<Value>> {
        let (status, value) = self.exchanged(Method::GET, path, query, None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            _ => self.judged(ADMIN, status, value).map(Some),
        }
    }

    /// Creates, or does.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// Sets.
    pub(crate) async fn put(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: &Value,
    ) -> Result<Value> {
        self.send(Method::PUT, path, query, Some(body)).await
    }

    /// Removes.
    pub(crate) async fn delete(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        self.send(Method::DELETE, path, query, None).await
    }

    /// A form to the token endpoint, as a service.
    pub(crate) async fn exchange(&self, service: &Text, form: &[(&str, String)]) -> Result<Value> {
        let url = self.at("/oauth/token", &[])?;
        let body = Url::parse_with_params("form:/", form).context("writing the form")?;
        let request = self
            .http
            .post(url)
            .bearer_auth(service.expose())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.query().unwrap_or_default().to_owned());
        let what = "the token endpoint";
        let (status, value) = self.answer(request, what).await?;
        self.judged(what, status, value)
    }

    fn at(&self, path: &str, query: &[(&str, String)]) -> Result<Url> {
        let mut url = self.base.join(path).with_context(|| format!("the path {path}"))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query.iter().map(|(n, v)| (*n, v.as_str())));
        }
        Ok(url)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value> {
        let (status, value) = self.exchanged(method, path, query, body).await?;
        // Whoever may not use the admin API is told that there is none. Which of the two it is
        // shows in what every operator who may read can see.
        if status == StatusCode::NOT_FOUND
            && self.exchanged(Method::GET, "/status", &[], None).await?.0 == StatusCode::NOT_FOUND
        {
            return Err(self.nobody("").into());
        }
        self.judged(ADMIN, status, value)
    }

    async fn exchanged(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        let url = self.at(&format!("/admin/v1{path}"), query)?;
        let mut request = self.http.request(method, url).bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request, ADMIN).await
    }

    /// What came back; text that is no JSON is null.
    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        what: &str,
    ) -> Result<(StatusCode, Value)> {
        let answer = request.send().await.map_err(|error| self.lost(what, &error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.lost(what, &error))?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    fn judged(&self, what: &str, status: StatusCode, value: Value) -> Result<Value> {
        if status.is_success() && !value.is_null() {
            return Ok(value);
        }
        Err(self.refused(what, status, &value).into())
    }

    fn nobody(&self, why: &str) -> Fault {
        let base = self.base.as_str().trim_end_matches('/');
        Fault::failed(format!("the operator credential was not taken by {base}{why}")).advise(
            "is it this deployment's? Name its file with --token-file, or set BULKHEAD_OPERATOR_TOKEN;\nand is --url its control plane, not its data plane?",
        )
    }

    fn lost(&self, what: &str, error: &reqwest::Error) -> Fault {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Fault::unreachable(format!("cannot reach {what} at {}: {cause}", self.base)).advise(
            "is `bulkhead serve` running there? Name another place with --url or BULKHEAD_ADMIN_URL",
        )
    }

    fn stranger(&self, what: &str, status: StatusCode) -> Fault {
        Fault::failed(format!("{} answered {status}, but not as {what} does", self.base))
            .advise("is --url the control plane of a Bulkhead, and not something else's?")
    }

    /// A refusal in the shapes of RFC 9457 or RFC 6749.
    fn refused(&self, what: &str, status: StatusCode, problem: &Value) -> Fault {
        let text = |name: &str| problem.get(name).and_then(Value::as_str);
        let Some(code) = text("code").or_else(|| text("error")) else {
            return self.stranger(what, status);
        };
        let why = text("detail").or_else(|| text("error_description")).or_else(|| text("title"));
        let why: Vec<String> =
            why.unwrap_or("no reason was given").lines().map(print::tame).collect();
        let why = why.join("\n");
        if status == StatusCode::UNAUTHORIZED && what == ADMIN {
            return self.nobody(&format!(": {code}: {why}"));
        }
        let fault = Fault::failed(format!("{code}: {why}"));
        match remedy(code) {
            Some(advice) => fault.advise(advice),
            None => fault,
        }
    }
}

/// What to do about a refusal, where its message cannot know the command for it.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "directory.missing" => {
            "`bulkhead tenant list`, `model list` and the other `… list` commands say what there is"
        }
        "not_found" => {
            "is the id right (see the `… list` commands), and the credential an operator's?"
        }
        "vault.duplicate" => "if one account for both is meant: --shared, for each of them",
        "vault.root" => {
            "is the root key in the environment, or its file read-only? Then put the new line in front\nof the old one yourself, and: bulkhead keys rotate-root --given"
        }
        "store.not_empty" => "name a directory that is empty or not there",
        _ => return None,
    })
}

/// Whether a URL stays on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// A name as a segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-_~".contains(&byte)
            || (byte == b'.' && name.len() > 2)
        {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_segment() {
        for (name, part) in
            [("acme", "acme"), ("a/b", "a%2Fb"), ("..", "%2E%2E"), ("org:1@x", "org%3A1%40x")]
        {
            assert_eq!(segment(name), part);
        }
    }

    #[test]
    fn loopback_is_told_from_other_hosts() {
        for (url, yes) in [
            ("http://127.0.0.1:8643", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://10.0.0.1:1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), yes, "{url}");
        }
    }
}
