//! The wire: one HTTP request, in somebody's name, and everything that came back of it.
//!
//! Each tenant has connections of its own, so that nothing crosses over here. Redirects are not
//! followed. Every request is charged to the budget before it is sent; in a dry run it is listed,
//! and answered with the example that its maker gave. Trailers are not looked at: the client does
//! not hand them out.

mod redact;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use serde_json::Value;

pub(crate) use self::redact::Veil;
use self::redact::{Known, Secrets};
use crate::{
    budget::Budget,
    canary::{Sighting, views},
    lab::Caller,
    place::Twist,
    run::Options,
    target::Target,
    verdict::{Halt, Step},
};

/// The longest answer that is read; what is longer is cut, and says so.
const MOST: usize = 8 * 1024 * 1024;
/// The longest answer that is read as JSON where only a few values are looked for.
pub(crate) const READABLE: usize = 1024 * 1024;
/// A connection that takes longer than this is none.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a request is sent at most that was answered "later", and how long that may be.
const TRIES: usize = 3;
const LATER: Duration = Duration::from_secs(5);

/// A request that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: http::Method,
    /// A whole address, or a path under the target's.
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    /// What it may cost.
    pub(crate) usd: f64,
    /// Hang up after this long.
    pub(crate) hang_up: Option<Duration>,
    /// Hang up when the first bytes of the body are there.
    pub(crate) hang_up_in_body: bool,
    pub(crate) timeout: Duration,
    /// The answer in a dry run.
    pub(crate) example: Value,
}

impl Request {
    pub(crate) fn new(method: http::Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: None,
            usd: 0.0,
            hang_up: None,
            hang_up_in_body: false,
            timeout: Duration::from_secs(30),
            example: Value::Null,
        }
    }

    pub(crate) fn get(url: impl Into<String>) -> Self {
        Self::new(http::Method::GET, url)
    }

    /// With a body of JSON.
    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.headers.push(("content-type".into(), "application/json".into()));
        self.body = Some(body.to_string().into_bytes());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What a dry run takes for the answer.
    pub(crate) fn example(mut self, answer: Value) -> Self {
        self.example = answer;
        self
    }

    /// Changed as an attack wants it.
    pub(crate) fn twisted(mut self, twist: &Twist) -> Self {
        self.headers.extend(twist.headers.iter().cloned());
        self.hang_up = twist.hang_up.or(self.hang_up);
        self.hang_up_in_body |= twist.hang_up_in_body;
        if !twist.query.is_empty() {
            let more =
                twist.query.iter().map(|(name, value)| format!("{}={}", quote(name), quote(value)));
            let more = more.collect::<Vec<_>>().join("&");
            self.url.push(if self.url.contains('?') { '&' } else { '?' });
            self.url.push_str(&more);
        }
        let object = self.body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
        if let (false, Some(Value::Object(mut body))) = (twist.fields.is_empty(), object) {
            body.extend(twist.fields.iter().cloned());
            self.body = Some(Value::Object(body).to_string().into_bytes());
        }
        self
    }
}

/// For a part of an address.
pub(crate) fn quote(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let each = text.bytes().map(|byte| match keep(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    each.collect()
}

/// The same for an id that a target gave, which is to be one part of a path: none of those that
/// an address is made without.
pub(crate) fn segment(id: &str) -> Result<String, Halt> {
    match id {
        "" | "." | ".." => Err(Halt::Failed("an id that is no id".into())),
        id => Ok(quote(id)),
    }
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The words of the status line, where they are not the usual ones.
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// To the headers.
    pub(crate) first_byte: Duration,
    /// To the last byte.
    pub(crate) whole: Duration,
    /// Whether it is not all: too long, cut off, hung up.
    pub(crate) cut: bool,
    /// Whether the request was to hang up in the body, so that to be cut says nothing.
    pub(crate) hung_up: bool,
    /// Credentials that were in it though the request did not present them, by what stands for
    /// them: `$A`. They are taken out.
    pub(crate) revealed: Vec<String>,
    /// Looks at excerpts for credentials that could not be taken out.
    pub(crate) veil: Veil,
}

/// A request and its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) who: String,
    pub(crate) line: String,
    /// As sent, with `$A` and the like for credentials.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) outcome: Result<Answer, String>,
}

impl Exchange {
    /// What came back, if anything did.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        self.outcome.as_ref().ok()
    }

    /// The status; 0 if there was no answer.
    pub(crate) fn status(&self) -> u16 {
        self.answer().map_or(0, |answer| answer.status)
    }

    /// It was done.
    pub(crate) fn accepted(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// It was refused for whose it is, or hidden: 401, 403, 404, or 400 and 409 and 421 and 422
    /// for what contradicts itself.
    pub(crate) fn refused(&self) -> bool {
        matches!(self.status(), 400 | 401 | 403 | 404 | 409 | 421 | 422)
    }

    /// Neither yes nor no: silence, "later", an error of the server's, or half an answer that we
    /// did not ask to be half. What is missing may be what would have shown a leak.
    pub(crate) fn inconclusive(&self) -> bool {
        let half = self.answer().is_some_and(|answer| answer.cut && !answer.hung_up);
        half || matches!(self.status(), 0 | 408 | 425 | 429 | 500..)
    }

    /// The body as JSON, or null.
    pub(crate) fn json(&self) -> Value {
        let body = self.answer().map(|answer| &answer.body[..]).unwrap_or_default();
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// How long the target asks to wait, if it answered "later" and the wait is a short one.
    pub(crate) fn later(&self) -> Option<Duration> {
        if !matches!(self.status(), 429 | 503) {
            return None;
        }
        let said = self.header("retry-after").and_then(|text| text.trim().parse().ok());
        let wait = Duration::try_from_secs_f64(said.unwrap_or(0.3)).ok()?;
        (wait <= LATER).then_some(wait.max(Duration::from_millis(20)))
    }

    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = &self.answer()?.headers;
        let found = headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the request itself held this text, in whatever spelling, so that to find it in the
    /// answer says nothing.
    pub(crate) fn said(&self, text: &str) -> bool {
        views::holds(&self.request(), text)
    }

    /// Everything that was sent, credentials left out.
    pub(crate) fn request(&self) -> Vec<u8> {
        let mut sent = format!("{}\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            sent.extend_from_slice(format!("{name}: {value}\n").as_bytes());
        }
        sent.extend_from_slice(self.body.as_deref().unwrap_or_default());
        sent
    }

    /// As a step of a proof.
    pub(crate) fn step(&self, seen: Option<&Sighting>) -> Step {
        let outcome = match &self.outcome {
            Ok(answer) => {
                format!("{} in {:.1} ms", answer.status, answer.whole.as_secs_f64() * 1e3)
            }
            Err(why) => why.clone(),
        };
        Step {
            who: self.who.clone(),
            line: self.line.clone(),
            headers: self.headers.clone(),
            body: self.body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned()),
            outcome,
            excerpt: seen.map(|seen| seen.excerpt.clone()),
        }
    }
}

/// A request of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Planned {
    /// In whose name.
    pub who: String,
    /// Method and address.
    pub line: String,
    /// The body.
    pub body: Option<String>,
}

/// Where requests go out.
pub(crate) struct Wire {
    target: Arc<Target>,
    budget: Arc<Budget>,
    options: Arc<Options>,
    /// Of a, of b, and of everybody else.
    clients: OnceLock<Result<[reqwest::Client; 3], String>>,
    secrets: Known,
    sent: AtomicU64,
    planned: Mutex<Vec<Planned>>,
}

impl Wire {
    pub(crate) fn new(target: Arc<Target>, budget: Arc<Budget>, options: Arc<Options>) -> Self {
        let (clients, secrets) = (OnceLock::new(), Known::default());
        let (sent, planned) = (AtomicU64::new(0), Mutex::default());
        Self { target, budget, options, clients, secrets, sent, planned }
    }

    /// Takes the credentials of a tenant out of everything that comes back from now on.
    pub(crate) fn knows(&self, by: &Caller) {
        self.secrets.learn(&self.target, by);
    }

    /// Requests that the budget still allows.
    pub(crate) fn left(&self) -> u64 {
        self.budget.left()
    }

    /// Until this is dropped neither the budget nor the user's ending of the run stops a request:
    /// what was planted is removed.
    pub(crate) fn cleaning(&self) -> crate::budget::Cleaning<'_> {
        self.budget.cleaning()
    }

    /// Requests so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The requests of a dry run.
    pub(crate) fn planned(&self) -> Vec<Planned> {
        self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Charges and counts a request that some other protocol's driver sends itself. `Ok(false)`:
    /// this is a dry run, and it was listed instead.
    pub(crate) fn charge(&self, planned: Planned, usd: f64) -> Result<bool, Halt> {
        if self.options.ended() && !self.budget.is_cleaning() {
            return Err(Halt::Ended);
        }
        self.budget.charge(usd)?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.options.dry_run {
            self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(planned);
            return Ok(false);
        }
        Ok(true)
    }

    /// Sends, and waits for the whole answer. A credential of a program's that has become old is
    /// made again if it is refused.
    pub(crate) async fn send(&self, by: &Caller, request: Request) -> Result<Exchange, Halt> {
        let exchange = self.once(by, &request).await?;
        if let (401, Some(credential)) = (exchange.status(), &by.credential)
            && credential.renew().await.map_err(Halt::Failed)?
        {
            self.knows(by);
            return self.once(by, &request).await;
        }
        Ok(exchange)
    }

    /// As [`Wire::send`], and again a little later if that is the answer.
    pub(crate) async fn send_patiently(
        &self,
        by: &Caller,
        request: Request,
    ) -> Result<Exchange, Halt> {
        let mut tries = 1;
        loop {
            let exchange = self.send(by, request.clone()).await?;
            match exchange.later() {
                Some(wait) if tries < TRIES => tokio::time::sleep(wait).await,
                _ => return Ok(exchange),
            }
            tries += 1;
        }
    }

    async fn once(&self, by: &Caller, request: &Request) -> Result<Exchange, Halt> {
        let url = self.target.address(&request.url)?;
        let secrets = self.secrets.with(&self.target, by);
        let headers = self.headers(by, request);
        let mut exchange = self.shown(by, request, &url, &secrets);
        let planned = Planned {
            who: by.label.clone(),
            line: exchange.line.clone(),
            body: exchange.body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned()),
        };
        if !self.charge(planned, request.usd)? {
            let body = Bytes::from(request.example.to_string());
            exchange.outcome = Ok(Answer { status: 200, body, ..Answer::default() });
            return Ok(exchange);
        }
        let clients = self.clients.get_or_init(|| clients(&self.target));
        let clients = clients.as_ref().map_err(|why| Halt::Failed(why.clone()))?;
        let client = &clients[by.side.map_or(2, |side| side as usize)];
        let mut builder = client.request(request.method.clone(), url).timeout(request.timeout);
        let mut sent = request.url.clone();
        for (name, value) in &headers {
            builder = builder.header(name, value);
            sent.push_str(&format!("\n{value}"));
        }
        if let Some(body) = &request.body {
            sent.push_str(&String::from_utf8_lossy(body));
            builder = builder.body(body.clone());
        }
        let asking = whole(builder, request.hang_up_in_body);
        exchange.outcome = match request.hang_up {
            None => asking.await,
            Some(after) => tokio::time::timeout(after, asking)
                .await
                .unwrap_or_else(|_| Err("hung up".to_owned())),
        };
        if let Ok(answer) = &mut exchange.outcome {
            secrets.clean(answer, &sent);
        }
        Ok(exchange)
    }

    /// Everything in the head of a request: a header that stands there twice is sent twice.
    fn headers(&self, by: &Caller, request: &Request) -> Vec<(String, String)> {
        let mut headers = request.headers.clone();
        headers.extend(by.headers.iter().cloned());
        headers.extend(self.target.presented(by));
        // Nothing is hidden from the hunt by packing it.
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept-encoding")) {
            headers.push(("accept-encoding".into(), "identity".into()));
        }
        headers
    }

    /// A request as it may be shown.
    fn shown(
        &self,
        by: &Caller,
        request: &Request,
        url: &reqwest::Url,
        secrets: &Secrets,
    ) -> Exchange {
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in request.headers.iter().chain(&by.headers) {
            headers.push((name.clone(), secrets.redacted(value)));
        }
        let credential = by.credential.as_ref();
        headers.extend(credential.map(|known| self.target.auth.shown(known.shown())));
        Exchange {
            who: by.label.clone(),
            line: format!("{} {}", request.method, secrets.redacted(url.as_str())),
            headers,
            body: request.body.clone().map(|body| secrets.cleaned(&Bytes::from(body))),
            outcome: Err("not sent".into()),
        }
    }
}

/// Connections of a, of b, and of everybody else.
fn clients(target: &Target) -> Result<[reqwest::Client; 3], String> {
    // The binary has set the same one; tests and others may not have.
    let _known = rustls::crypto::ring::default_provider().install_default();
    let plain = !target.places().iter().any(|place| place.starts_with("https:"));
    let roots = match &target.ca {
        Some(path) => {
            let told = |why: String| format!("{}: {why}", path.display());
            let pem = std::fs::read(path).map_err(|why| told(why.to_string()))?;
            let bundle = reqwest::Certificate::from_pem_bundle(&pem);
            Some(bundle.map_err(|_| told("no certificates (PEM)".to_owned()))?)
        }
        // A machine without certificates can speak plain HTTP all the same.
        None => plain.then(Vec::new),
    };
    let pinned: Vec<(String, SocketAddr)> = match target.connect {
        Some(ip) => {
            let urls = target.places().into_iter().filter_map(|at| reqwest::Url::parse(at).ok());
            let hosts = urls.filter_map(|url| url.host_str().map(str::to_owned));
            // The port of an address goes before this one.
            hosts.map(|host| (host, SocketAddr::new(ip, 0))).collect()
        }
        None => Vec::new(),
    };
    let client = || {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bulkhead-probe/", env!("CARGO_PKG_VERSION")));
        if let Some(roots) = &roots {
            builder = builder.tls_certs_only(roots.clone());
        }
        for (host, at) in &pinned {
            builder = builder.resolve(host, *at);
        }
        builder.build().map_err(|why| format!("the HTTP client: {}", root(&why)))
    };
    Ok([client()?, client()?, client()?])
}

async fn whole(builder: reqwest::RequestBuilder, hang_up: bool) -> Result<Answer, String> {
    let begun = Instant::now();
    let mut response = builder.send().await.map_err(|why| lost(&why))?;
    let first_byte = begun.elapsed();
    let headers = response.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
    let reason = reason.map(|words| String::from_utf8_lossy(words.as_bytes()).into_owned());
    let mut answer = Answer {
        status: response.status().as_u16(),
        reason: reason.unwrap_or_default(),
        headers: headers.collect(),
        first_byte,
        hung_up: hang_up,
        ..Answer::default()
    };
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MOST => {
                body.extend_from_slice(&chunk);
                answer.cut = hang_up;
            }
            Ok(None) => break,
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..MOST - body.len()]);
                answer.cut = true;
            }
            Err(_) => answer.cut = true,
        }
        if answer.cut {
            break;
        }
    }
    answer.body = body.freeze();
    answer.whole = begun.elapsed();
    Ok(answer)
}

/// Why there is no answer; without the address, which may hold a credential.
fn lost(error: &reqwest::Error) -> String {
    match root(error) {
        _ if error.is_timeout() => "no answer in time".to_owned(),
        why if error.is_connect() => format!("no connection: {why}"),
        why if error.is_builder() => format!("it cannot be sent: {why}"),
        why => format!("no answer: {why}"),
    }
}

/// The innermost reason.
fn root(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests;
