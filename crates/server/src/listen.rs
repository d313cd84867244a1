//! Accepting connections: bounded, timed, and drained in order.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    App, Error, Plane,
    delivery::Delivery,
    edge,
    places::{Line, Place, Places},
    routes,
    settings::{Limits, Listener},
    stall::Stall,
    tls::Certificate,
};

/// How long a listener rests after the system refused it a connection (no descriptors left).
const REST: Duration = Duration::from_millis(100);
/// How often it is said that connections are turned away.
const SAID: Duration = Duration::from_secs(10);

/// The phases of an orderly end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phases {
    /// No new connections; what is in flight finishes.
    pub(crate) closing: CancellationToken,
    /// Nothing finishes any more.
    pub(crate) over: CancellationToken,
}

/// A listener that has its address, and does not accept yet.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) address: SocketAddr,
    plane: Plane,
}

impl Bound {
    pub(crate) async fn bind(settings: &Listener, port: u16, plane: Plane) -> Result<Self, Error> {
        let address = settings.address_or(port);
        let refused = |why| Error::Listen { address, why };
        let certificate = settings.tls.as_ref().map(Certificate::load).transpose()?;
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        if certificate.is_none() && !address.ip().is_loopback() {
            tracing::warn!(%address, "this listener has no TLS and is not on loopback: put it behind something that has");
        }
        Ok(Self { listener, certificate: certificate.map(Arc::new), address, plane })
    }

    /// Accepts until `phases.closing`; returns at once then, the socket closed. At most `most`
    /// connections are open at once.
    pub(crate) async fn accept(
        self,
        app: Arc<App>,
        phases: Phases,
        open: TaskTracker,
        most: usize,
    ) {
        let router = routes::router(Arc::clone(&app), self.plane);
        let limits = &app.settings.limits;
        let places = Places::new(most, limits.connections_per_peer);
        app.metrics.connections(self.plane, Arc::clone(&places.free), most);
        let (mut full, mut failing) = (Seldom::default(), Seldom::default());
        loop {
            let accepted = tokio::select! {
                () = phases.closing.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(count) = failing.again() {
                        tracing::warn!(%error, count, "connections could not be accepted");
                    }
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let place = tokio::select! {
                () = phases.closing.cancelled() => return,
                place = places.take(peer.ip()) => place,
            };
            let Some(place) = place else {
                turn_away(&stream, self.certificate.is_some());
                if let Some(count) = full.again() {
                    let (plane, code) = (self.plane.name(), "limit.connections");
                    tracing::warn!(code, plane, count, "connections were turned away");
                }
                continue;
            };
            let served = Served {
                app: Arc::clone(&app),
                plane: self.plane,
                router: router.clone(),
                phases: phases.clone(),
            };
            let tls = self.certificate.as_ref().map(|certificate| certificate.acceptor());
            // A connection belongs to no tenant; each request on it gets its own scope.
            open.spawn(async move { served.wanted(stream, tls, place).await });
        }
    }
}

/// Answers without reading, and closes.
fn turn_away(stream: &TcpStream, tls: bool) {
    const BODY: &str = r#"{"type":"urn:bulkhead:error:limit.connections","title":"too many connections","status":503,"code":"limit.connections"}"#;
    if !tls {
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncache-control: no-store\r\n\
             content-type: application/problem+json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{BODY}",
            BODY.len()
        );
        // Best effort: the peer sees a closed connection otherwise.
        let _ = stream.try_write(answer.as_bytes());
    }
}

/// Says something that may happen often at once the first time, then with a count now and then.
#[derive(Debug, Default)]
struct Seldom {
    said: Option<Instant>,
    count: u64,
}

impl Seldom {
    /// It happened again; how often since it was last said, if it is to be said now.
    fn again(&mut self) -> Option<u64> {
        self.count += 1;
        if self.said.is_some_and(|said| said.elapsed() < SAID) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

/// What serves a connection.
struct Served {
    app: Arc<App>,
    plane: Plane,
    router: Router,
    phases: Phases,
}

impl Served {
    /// Until it ends, or its place is better given to another.
    async fn wanted(&self, stream: TcpStream, tls: Option<TlsAcceptor>, place: Place) {
        let patience = Duration::from_secs(self.app.settings.limits.first_request_seconds);
        tokio::select! {
            () = self.connection(stream, tls, &place.line) => {}
            () = place.line.unwanted(patience) => {
                tracing::debug!("a connection was closed that nothing came on");
            }
        }
    }

    async fn connection(&self, stream: TcpStream, tls: Option<TlsAcceptor>, line: &Arc<Line>) {
        // Latency matters more than small packets; a failure costs nothing but latency.
        let _ = stream.set_nodelay(true);
        let limits = &self.app.settings.limits;
        let unread = limits.unread_seconds;
        let floor = limits.unread_bytes_per_second.saturating_mul(unread).max(1);
        let stream = Stall::new(stream, Duration::from_secs(unread), floor);
        let Some(tls) = tls else { return self.serve(stream, line).await };
        let patience = Duration::from_secs(limits.header_seconds);
        let shaken = tokio::select! {
            () = self.phases.closing.cancelled() => return,
            shaken = tokio::time::timeout(patience, tls.accept(stream)) => shaken,
        };
        if let Ok(Ok(stream)) = shaken {
            self.serve(stream, line).await;
        }
    }

    async fn serve<S>(&self, stream: S, line: &Arc<Line>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let (app, router, plane) = (Arc::clone(&self.app), self.router.clone(), self.plane);
            let (line, busy) = (Arc::clone(line), line.begin());
            async move {
                let mut answer = edge::answer(app, plane, router, request).await;
                if line.answered(edge::proven(&answer)) {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                let answer = answer.map(|body| Delivery::new(body, busy));
                Ok::<Response<Delivery>, Infallible>(answer)
            }
        });
        let mut connection = pin!(
            builder(&self.app.settings.limits).serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.phases.closing.cancelled() => {
                // No further request; the one in flight finishes.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.phases.over.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            // A peer that went away, or spoke no HTTP: not ours to worry about.
            tracing::debug!(%error, "a connection ended");
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.header_seconds))
        .max_buf_size(limits.header_bytes)
        .max_header_size(limits.header_bytes);
    // Its own default needs no allocation; any set value does.
    if limits.headers != 100 {
        builder.max_headers(limits.headers);
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_said_seldom() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.again(), Some(1));
        for _ in 0..1_000 {
            assert_eq!(seldom.again(), None);
        }
        tokio::time::advance(SAID).await;
        assert_eq!(seldom.again(), Some(1_001));
    }
}
