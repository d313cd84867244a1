//! Connections to one provider, kept apart by whose they are.
//!
//! A pool belongs to one partition and one version of its credential: no connection ever
//! carries two tenants' requests. A connection comes back to its pool only after an answer
//! that ended in order; when it is taken out it is looked at once more, so that bytes which
//! nobody asked for, or an end, are noticed before it carries anything.

use std::{
    future::poll_fn,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::Full;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use vault::{Forms, SecretText};
use zeroize::Zeroizing;

use crate::{Kind, retry::Budget};

/// Pools kept at most; the one unused for longest goes.
const POOLS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

/// Idle connections of one pool at most.
const IDLE_PER_POOL: usize = 64;

/// Idle connections of a provider at most. A file descriptor each.
const IDLE_TOTAL: usize = 512;

/// How long a connection may be idle. Shorter than what servers allow.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// A socket, plain or under TLS.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// One HTTP/1.1 connection and what drives it. It is driven by whoever uses it, so that an
/// answer needs no second task and a dropped one closes its socket at once.
pub(crate) struct Line {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Box<dyn Wire>>, Full<Bytes>>,
    over: bool,
}

impl Line {
    pub(crate) const fn new(
        sender: SendRequest<Full<Bytes>>,
        connection: Connection<TokioIo<Box<dyn Wire>>, Full<Bytes>>,
    ) -> Self {
        Self { sender, connection, over: false }
    }

    /// Moves bytes; whether the connection is still there.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.over && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.over = true;
        }
        !self.over
    }

    /// Whether the last answer ended in order and another request can be sent.
    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx) && self.sender.is_ready()
    }
}

/// Whose connections they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) partition: [u8; 32],
    /// Of the credential; a changed credential starts afresh.
    pub(crate) version: u64,
}

/// The pools of one provider.
pub(crate) struct Pools {
    kind: Kind,
    by_owner: Mutex<LruCache<Owner, Arc<Pool>>>,
    idle: Arc<AtomicUsize>,
}

/// The idle connections of one owner, and the headers that all its requests carry.
pub(crate) struct Pool {
    pub(crate) headers: HeaderMap,
    /// The secret that answers must not repeat.
    pub(crate) secret: Arc<Forms>,
    /// What may be asked again.
    pub(crate) budget: Budget,
    idle: Mutex<Vec<Idle>>,
    total: Arc<AtomicUsize>,
}

struct Idle {
    line: Box<Line>,
    since: Instant,
    _counted: Counted,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pools {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, by_owner: Mutex::new(LruCache::sparse(POOLS)), idle: Arc::default() }
    }

    /// The owner's pool.
    pub(crate) fn of(&self, owner: Owner, secret: &SecretText, host: &HeaderValue) -> Arc<Pool> {
        if let Some(pool) = self.by_owner.lock().get(&owner) {
            return Arc::clone(pool);
        }
        let pool = Arc::new(Pool {
            headers: headers(self.kind, secret, host),
            secret: Arc::new(Forms::of(secret.expose())),
            budget: Budget::new(),
            idle: Mutex::default(),
            total: Arc::clone(&self.idle),
        });
        let mut by_owner = self.by_owner.lock();
        let gone = by_owner.push(owner, Arc::clone(&pool));
        drop(by_owner);
        drop(gone);
        pool
    }

    /// Keeps a connection for the owner's next request.
    pub(crate) fn park(&self, pool: &Pool, line: Box<Line>) {
        if self.idle.load(Ordering::Relaxed) >= IDLE_TOTAL {
            // Who has not asked for longest gives way, rather than who asks most.
            let oldest = self.by_owner.lock().pop_lru();
            drop(oldest);
        }
        pool.park(line);
    }

    /// Closes connections that were idle for too long, of owners that ask no more.
    pub(crate) fn tidy(&self) {
        let pools: Vec<_> = self.by_owner.lock().iter().map(|(_, pool)| Arc::clone(pool)).collect();
        for pool in pools {
            pool.drop_old();
        }
    }

    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }
}

impl Pool {
    /// A connection that is idle and still good.
    pub(crate) async fn take(&self) -> Option<Box<Line>> {
        loop {
            // The latest first: the others may age and go.
            let Idle { mut line, since, _counted } = self.idle.lock().pop()?;
            if since.elapsed() < IDLE_FOR && poll_fn(|cx| Poll::Ready(line.is_ready(cx))).await {
                return Some(line);
            }
        }
    }

    fn park(&self, line: Box<Line>) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_PER_POOL {
            self.total.fetch_add(1, Ordering::Relaxed);
            let _counted = Counted(Arc::clone(&self.total));
            idle.push(Idle { line, since: Instant::now(), _counted });
        }
    }

    fn drop_old(&self) {
        let old: Vec<Idle> = {
            let mut idle = self.idle.lock();
            let first_good = idle.iter().position(|idle| idle.since.elapsed() < IDLE_FOR);
            let old = first_good.unwrap_or(idle.len());
            idle.drain(..old).collect()
        };
        drop(old);
    }

    /// Gives a connection back if it is fit for another request.
    pub(crate) fn give_back(&self, pools: &Pools, mut line: Box<Line>, cx: &mut Context<'_>) {
        if line.is_ready(cx) {
            pools.park(self, line);
        }
    }
}

/// What every request carries besides what its own call says. Built from nothing of the
/// caller's.
fn headers(kind: Kind, secret: &SecretText, host: &HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::HOST, host.clone());
    let (name, value) = authorization(kind, secret);
    headers.insert(name, value);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("bulkhead/", env!("CARGO_PKG_VERSION"))),
    );
    headers
}

/// The credential, where this kind of provider looks for it: `Bearer` and the secret, or a
/// header of its own. A secret that holds a scheme already (`Basic …`) stands as it is.
fn authorization(kind: Kind, secret: &SecretText) -> (HeaderName, HeaderValue) {
    let secret = secret.expose();
    let (name, scheme) = match kind {
        _ if secret.contains(' ') => (header::AUTHORIZATION, ""),
        Kind::Anthropic => (HeaderName::from_static("x-api-key"), ""),
        Kind::AzureOpenai => (HeaderName::from_static("api-key"), ""),
        _ => (header::AUTHORIZATION, "Bearer "),
    };
    let mut line = Zeroizing::new(Vec::with_capacity(scheme.len() + secret.len()));
    line.extend_from_slice(scheme.as_bytes());
    line.extend_from_slice(secret.as_bytes());
    // The header shares these bytes, which are zeroized when the last one lets go.
    #[expect(clippy::expect_used, reason = "the vault takes visible ASCII and inner spaces only")]
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(line))
        .expect("a secret from the vault fits in a header");
    value.set_sensitive(true);
    (name, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretText {
        SecretText::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn headers_are_these_and_no_others() {
        for (kind, text, name, value) in [
            (Kind::Openai, "sk-1", "authorization", "Bearer sk-1"),
            (Kind::OpenaiCompatible, "sk-1", "authorization", "Bearer sk-1"),
            (Kind::Vllm, "sk-1", "authorization", "Bearer sk-1"),
            (Kind::Sglang, "sk-1", "authorization", "Bearer sk-1"),
            (Kind::Anthropic, "sk-1", "x-api-key", "sk-1"),
            (Kind::AzureOpenai, "sk-1", "api-key", "sk-1"),
            (Kind::Openai, "Basic dTpw", "authorization", "Basic dTpw"),
            (Kind::Anthropic, "Bearer sk-1", "authorization", "Bearer sk-1"),
            (Kind::AzureOpenai, "Bearer sk-1", "authorization", "Bearer sk-1"),
        ] {
            let headers = headers(kind, &secret(text), &HeaderValue::from_static("h:1"));
            let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            let mut expected = ["accept-encoding", name, "host", "user-agent"];
            expected.sort_unstable();
            assert_eq!(names, expected, "{kind:?}");
            assert_eq!(headers[name], value, "{kind:?}");
            assert!(!format!("{headers:?}").contains("sk-1"));
        }
    }

    #[test]
    fn pools_are_bounded_and_apart() {
        let pools = Pools::new(Kind::Openai);
        let host = HeaderValue::from_static("h");
        let owner = |n: u64| Owner { partition: [0; 32], version: n };
        let first = pools.of(owner(0), &secret("a"), &host);
        assert!(Arc::ptr_eq(&first, &pools.of(owner(0), &secret("a"), &host)));
        for n in 1..2_000 {
            let other = pools.of(owner(n), &secret("b"), &host);
            assert!(!Arc::ptr_eq(&first, &other));
        }
        assert_eq!(pools.by_owner.lock().len(), POOLS.get());
        assert_eq!(pools.idle(), 0);
    }
}
