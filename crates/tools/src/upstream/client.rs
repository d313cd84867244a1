//! One HTTP client for each owner, and nothing that two owners share: no connection, no TLS
//! session, no cookie.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use ids::{ProviderId, planted};
use parking_lot::Mutex;
use reqwest::{Url, redirect, retry};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use scope::{Access, Scope};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    Error, Fault, FaultKind, Timeouts, Upstream, UpstreamKind,
    credential::{Authorized, Identity},
    shares::Shares,
};

/// Idle connections of one client at most.
const IDLE: usize = 8;
/// How long a connection may be idle. Shorter than what servers allow.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Whose client it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    partition: [u8; 32],
    upstream: ProviderId,
    /// Of the credential; a changed credential starts afresh.
    version: u64,
}

impl Owner {
    pub(crate) fn of<A: Access>(scope: &Scope<A>, upstream: &Upstream, by: &Authorized) -> Self {
        let mut partition = *scope.partition_bytes();
        if planted::is("tools-client-across-tenants") {
            partition = [0; 32];
        }
        Self { partition, upstream: upstream.id.clone(), version: by.version }
    }

    /// Whose share of what is kept it counts against.
    pub(crate) const fn partition(&self) -> &[u8; 32] {
        &self.partition
    }
}

/// An upstream's address and what may vouch for it, taken apart once.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    roots: Arc<RootCertStore>,
    timeouts: Timeouts,
}

impl Target {
    /// Refuses what would send a credential elsewhere or in the open.
    pub(super) fn parse(upstream: &Upstream) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Settings(format!("upstream `{}`: {why}", upstream.id));
        let url = Url::parse(&upstream.url).map_err(|_| refuse("url is not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("url holds a user: credentials come from the vault"));
        }
        if url.fragment().is_some() {
            return Err(refuse("url has a fragment"));
        }
        if upstream.kind == UpstreamKind::Http && url.query().is_some() {
            return Err(refuse("url has a query"));
        }
        match url.scheme() {
            "https" => {}
            "http" if upstream.allow_plain_http || is_this_machine(&url) => {}
            "http" => {
                return Err(refuse(
                    "url is http: to another machine; use https:, or set allow_plain_http",
                ));
            }
            _ => return Err(refuse("url begins with neither https: nor http:")),
        }
        let roots = match &upstream.ca_file {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(path) => authorities(path)
                .map_err(|why| refuse(&format!("ca_file {}: {why}", path.display())))?,
        };
        Ok(Self { url, roots: Arc::new(roots), timeouts: upstream.timeouts })
    }

    /// A path behind the base, if nothing of it leads out of it.
    pub(super) fn behind(&self, path: &str, query: Option<&str>) -> Option<Url> {
        let base = self.url.path().trim_end_matches('/');
        let path = format!("{base}{path}");
        let mut url = self.url.clone();
        url.set_path(&path);
        url.set_query(query);
        // The parser takes dots out of paths. What it had to change was not a path of a template's.
        let same = url.path() == path && url.query() == query;
        same.then_some(url)
    }

    /// A client with TLS sessions of its own.
    fn client(&self, identity: Option<&Identity>) -> Result<Line, Error> {
        let refused = |_| Error::Internal("a client cannot be made");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_root_certificates(Arc::clone(&self.roots));
        let mut tls = match identity {
            None => tls.with_no_client_auth(),
            Some(identity) => tls
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(refused)?,
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(match planted::is("tools-redirect-followed") {
                true => redirect::Policy::default(),
                false => redirect::Policy::none(),
            })
            .retry(retry::never())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .referer(false)
            .user_agent(concat!("bulkhead/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(self.timeouts.connect_ms))
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE)
            .tcp_nodelay(true)
            .build()
            .map_err(|_| Error::Internal("a client cannot be made"))?;
        Ok(Line { client })
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(roots) }
}

/// The clients of all owners, the ones used last.
pub(super) struct Clients {
    by_owner: Mutex<Shares<Owner, Arc<Line>>>,
}

impl Clients {
    pub(super) fn new(most: usize) -> Self {
        Self { by_owner: Mutex::new(Shares::new(most)) }
    }

    /// The owner's client.
    pub(super) fn of(
        &self,
        owner: &Owner,
        target: &Target,
        by: &Authorized,
    ) -> Result<Arc<Line>, Error> {
        if let Some(line) = self.by_owner.lock().get(owner.partition(), owner) {
            return Ok(Arc::clone(line));
        }
        let line = Arc::new(target.client(by.identity.as_deref())?);
        let mut by_owner = self.by_owner.lock();
        // Another call of the same owner may have been quicker.
        if let Some(line) = by_owner.get(owner.partition(), owner) {
            return Ok(Arc::clone(line));
        }
        let gone = by_owner.put(owner.partition(), owner.clone(), Arc::clone(&line));
        drop(by_owner);
        drop(gone);
        Ok(line)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_owner.lock().len()
    }
}

/// One owner's connections to one upstream.
#[derive(Debug)]
pub(super) struct Line {
    client: reqwest::Client,
}

/// A request, whole.
pub(super) struct Wanted {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// How long a call may take and how much it may answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) until: Instant,
    pub(super) idle: Duration,
    pub(super) most: u64,
}

impl Bounds {
    pub(super) fn of(timeouts: Timeouts, total_ms: Option<u64>, most: u64) -> Self {
        let total = Duration::from_millis(total_ms.unwrap_or(timeouts.total_ms));
        let idle = Duration::from_millis(timeouts.idle_ms);
        Self { until: Instant::now() + total, idle, most }
    }
}

impl Line {
    /// Sends a request, once, and gives back the head of its answer. Redirects and refused
    /// credentials are faults.
    pub(super) async fn send(
        &self,
        wanted: Wanted,
        by: &Authorized,
        bounds: &Bounds,
    ) -> Result<Incoming, Fault> {
        let Wanted { method, url, mut headers, body } = wanted;
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // The credential comes last, so that nothing stands in its place.
        for (name, value) in &by.headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut request = self.client.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = match timeout_at(bounds.until, request.send()).await {
            Err(_) => return Err(Fault::sent(FaultKind::Timeout)),
            Ok(Err(error)) => return Err(failed(&error)),
            Ok(Ok(answer)) => answer,
        };
        let status = answer.status();
        if status.is_redirection() {
            return Err(Fault::sent(FaultKind::Redirect(status)));
        }
        if let Some(kind) = refusal(status, answer.headers()) {
            return Err(Fault::sent(kind));
        }
        let coding = answer.headers().get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Fault::sent(FaultKind::Malformed("it is compressed")));
        }
        if answer.content_length().is_some_and(|length| length > bounds.most) {
            return Err(Fault::sent(FaultKind::TooLarge(bounds.most)));
        }
        Ok(Incoming { answer, left: bounds.most, bounds: *bounds })
    }
}

/// Whether it refuses the credential, or what the credential may not do. Of another's record many say
/// `insufficient_scope`: a token is not thrown away for that, or whoever guesses ids would stop its whole tenant.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Option<FaultKind> {
    let mut challenges = headers.get_all(header::WWW_AUTHENTICATE).iter().peekable();
    match status {
        StatusCode::UNAUTHORIZED => Some(FaultKind::Credential),
        StatusCode::FORBIDDEN => {
            challenges.peek()?;
            let bad = challenges.any(|challenge| {
                memchr::memmem::find(challenge.as_bytes(), b"invalid_token").is_some()
            });
            let bad = bad || planted::is("tools-guess-throws-token-away");
            Some(if bad { FaultKind::Credential } else { FaultKind::Forbidden })
        }
        _ => None,
    }
}

/// What reqwest says, in our words. Only what never had a connection was certainly not sent.
fn failed(error: &reqwest::Error) -> Fault {
    let unsent = error.is_connect() || error.is_builder();
    let kind = if error.is_timeout() { FaultKind::Timeout } else { FaultKind::Unreachable };
    if unsent { Fault::unsent(kind) } else { Fault::sent(kind) }
}

/// An answer whose body is still to come.
pub(super) struct Incoming {
    answer: reqwest::Response,
    left: u64,
    bounds: Bounds,
}

impl Incoming {
    pub(super) fn status(&self) -> StatusCode {
        self.answer.status()
    }

    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&HeaderValue> {
        self.answer.headers().get(name)
    }

    /// The media type, as it was written.
    pub(super) fn content_type(&self) -> Option<&str> {
        self.header(header::CONTENT_TYPE)?.to_str().ok()
    }

    /// The next piece of the body, within the bounds.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let wait = timeout(self.bounds.idle, self.answer.chunk());
        let piece = match timeout_at(self.bounds.until, wait).await {
            Err(_) | Ok(Err(_)) => return Err(Fault::sent(FaultKind::Timeout)),
            Ok(Ok(Err(_))) => return Err(Fault::sent(FaultKind::Unreachable)),
            Ok(Ok(Ok(piece))) => piece,
        };
        let Some(piece) = piece else { return Ok(None) };
        match self.left.checked_sub(piece.len() as u64) {
            Some(left) => self.left = left,
            None => return Err(Fault::sent(FaultKind::TooLarge(self.bounds.most))),
        }
        Ok(Some(piece))
    }

    /// All of the body.
    pub(super) async fn whole(mut self) -> Result<Bytes, Fault> {
        let Some(first) = self.piece().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.piece().await? else { return Ok(first) };
        let mut all = BytesMut::with_capacity(first.len() + second.len());
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = self.piece().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

/// The essence of a media type, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a media type is JSON's.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(url: &str) -> Upstream {
        toml::from_str(&format!("id = \"u\"\nkind = \"http\"\nurl = \"{url}\"")).unwrap()
    }

    #[test]
    fn addresses() {
        for (url, why) in [
            ("https://api.example.com/v1", None),
            ("http://127.0.0.1:9/v1/", None),
            ("http://[::1]:9", None),
            ("http://localhost", None),
            ("http://api.example.com", Some("another machine")),
            ("http://127.0.0.1.example.com", Some("another machine")),
            ("https://u:p@h/", Some("a user")),
            ("https://h/?key=1", Some("a query")),
            ("https://h/#x", Some("a fragment")),
            ("ftp://h/", Some("neither")),
            ("h/v1", Some("not a URL")),
        ] {
            let got = Target::parse(&upstream(url)).map_err(|error| error.to_string());
            match (got, why) {
                (Ok(_), None) => {}
                (Err(said), Some(part)) => assert!(said.contains(part), "{url}: {said}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_the_base() {
        let target = Target::parse(&upstream("https://h/api/v1/")).unwrap();
        for (path, query, expected) in [
            ("/a/b", None, Some("https://h/api/v1/a/b")),
            ("/a%2F..%2Fb", Some("x=1&y=%26"), Some("https://h/api/v1/a%2F..%2Fb?x=1&y=%26")),
            ("/..", None, None),
            ("/a/../../b", None, None),
            ("/%2e%2e/b", None, None),
            ("/.%2E/b", None, None),
            ("/./b", None, None),
            ("/a\\..\\b", None, None),
            ("/a?x=1", None, None),
            ("/a#x", None, None),
            ("/a b", None, None),
            ("/a\r\nx: y", None, None),
            ("/a\tb", None, None),
            ("/a", Some("x y"), None),
            ("/a", Some("x#y"), None),
        ] {
            let got = target.behind(path, query).map(|url| url.to_string());
            assert_eq!(got.as_deref(), expected, "{path}?{query:?}");
        }
    }
}
