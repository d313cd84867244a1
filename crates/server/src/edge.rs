//! What every request passes on its way in and out, whatever its route: an id of ours, the
//! check of `Host`, the bound on time, the net under panics, `no-store`, one log line.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Uri, header, uri::Authority};
use ids::RequestId;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::{
    App, Plane,
    fault::{Coded, Fault, Shape},
    metrics::{Ended, Metrics},
};

/// Our id of a request, in answers and in records.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The same, where SDKs of Anthropic look for it.
const ANTHROPIC_REQUEST_ID: &str = "request-id";

/// What is known of a request once it was answered; for the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) tenant: Option<ids::TenantId>,
    pub(crate) environment: Option<ids::Environment>,
    pub(crate) workflow: Option<ids::WorkflowId>,
    pub(crate) run: Option<ids::RunId>,
    pub(crate) actor: Option<String>,
}

/// Whether an answer is to somebody whose credential holds.
pub(crate) fn proven(response: &Response) -> bool {
    let known = response.extensions().get::<Known>();
    known.is_some_and(|known| known.tenant.is_some() || known.actor.is_some())
}

/// The route that was found, as an index into the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found(pub(crate) usize);

pub(crate) async fn answer<B>(
    app: Arc<App>,
    plane: Plane,
    router: Router,
    request: Request<B>,
) -> Response
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let began = Instant::now();
    let id = match replayed(request.headers()) {
        Some(id) => id,
        // Whatever id the caller sends names nothing here.
        None => RequestId::draw(&*app.entropy),
    };
    let shape = Shape::of(request.uri().path());
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(id);
    let mut response = match admit(&app, plane, &request) {
        Ok(()) => routed(&app, router, request, (shape, id)).await,
        Err(fault) => fault.into_response(shape, id, None),
    };
    finish(response.headers_mut(), shape, id);
    let took = began.elapsed();
    let route = response.extensions().get::<Found>().map(|found| found.0);
    app.metrics.ended(&Ended { route, plane, status: response.status().as_u16(), took });
    log(id, plane, route, &response, took);
    response
}

/// The planted bug: a request id as the caller sends it.
fn replayed(headers: &HeaderMap) -> Option<RequestId> {
    if !ids::planted::is("server-request-id-from-caller") {
        return None;
    }
    let sent = headers.get(REQUEST_ID)?.to_str().ok()?;
    ids::RandomId::parse(sent.strip_prefix("req_")?).ok().map(RequestId)
}

async fn routed(
    app: &App,
    router: Router,
    request: Request<Body>,
    form: (Shape, RequestId),
) -> Response {
    let handled = async {
        match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    };
    netted(handled, app.settings.limits.request_time(), form, &app.metrics).await
}

/// Bounds a handler in time, and catches it if it panics: the server goes on.
async fn netted(
    handled: impl Future<Output = Response>,
    patience: Duration,
    (shape, id): (Shape, RequestId),
    metrics: &Metrics,
) -> Response {
    match tokio::time::timeout(patience, AssertUnwindSafe(handled).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            // What it said is for the panic hook; it may hold anything, so it goes nowhere else.
            metrics.panicked();
            Fault::internal(&"a handler panicked").into_response(shape, id, None)
        }
        Err(_) => {
            let late = Fault::new("request.timeout", "the request took too long");
            late.into_response(shape, id, None)
        }
    }
}

fn finish(headers: &mut HeaderMap, shape: Shape, id: RequestId) {
    if !ids::planted::is("server-answers-cacheable") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        if shape == Shape::Anthropic {
            headers.insert(ANTHROPIC_REQUEST_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
}

/// What can be refused without looking at the route.
fn admit(app: &App, plane: Plane, request: &Request<Body>) -> Result<(), Fault> {
    // Probes of an orchestrator come by address, and learn nothing.
    if request.uri().path().starts_with("/health/") {
        return Ok(());
    }
    let allowed = match plane {
        Plane::Data => &app.settings.data.hosts,
        Plane::Control => &app.settings.control.hosts,
    };
    if host_allowed(request.headers(), request.uri(), allowed) {
        return Ok(());
    }
    Err(Fault::new(
        "request.host",
        "this server is not known under that name; add it to `hosts` of the listener",
    ))
}

/// Whether a request names this server as one of its names. A request that names it in two
/// ways has to mean the same by both.
fn host_allowed(headers: &HeaderMap, uri: &Uri, allowed: &[String]) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    if uri.authority().is_some_and(|authority| *authority != host) {
        return false;
    }
    let name = host.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || allowed.iter().any(|host| host.trim_matches(['[', ']']).eq_ignore_ascii_case(name))
}

fn log(id: RequestId, plane: Plane, route: Option<usize>, response: &Response, took: Duration) {
    let extensions = response.extensions();
    let nobody = Known::default();
    let known = extensions.get::<Known>().unwrap_or(&nobody);
    let route = route.map(|route| crate::routes::ROUTES[route]);
    tracing::info!(
        request = %id,
        plane = plane.name(),
        method = route.map(|route| route.method),
        // The pattern: what stands in its place may be anything.
        path = route.map(|route| route.path),
        status = response.status().as_u16(),
        code = extensions.get::<Coded>().map(|coded| coded.0),
        tenant = known.tenant.as_ref().map(ids::TenantId::as_str),
        environment = known.environment.as_ref().map(ids::Environment::as_str),
        workflow = known.workflow.as_ref().map(ids::WorkflowId::as_str),
        run = known.run.as_ref().map(ids::RunId::as_str),
        actor = known.actor.as_deref(),
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_a_hang_are_answers() {
        let metrics = Metrics::new(0);
        let patience = Duration::from_secs(5);
        let panics = async { panic!("a canary") };
        let id = RequestId(ids::RandomId::from_bytes([7; 16]));
        let response = netted(panics, patience, (Shape::Native, id), &metrics).await;
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let told = String::from_utf8(body.to_vec()).unwrap();
        assert!(told.contains("\"internal\"") && !told.contains("canary"), "{told}");
        let hangs = netted(std::future::pending(), patience, (Shape::OpenAi, id), &metrics).await;
        assert_eq!(hangs.status(), 408);
    }

    #[test]
    fn only_names_of_ours_are_hosts() {
        let allowed = ["bulkhead.internal".to_owned(), "[fd00::1]".to_owned()];
        for (hosts, uri, good) in [
            (vec!["localhost"], "/", true),
            (vec!["LOCALHOST:8642"], "/", true),
            (vec!["127.0.0.1:8642"], "/", true),
            (vec!["[::1]:8642"], "/", true),
            (vec!["bulkhead.internal:443"], "/", true),
            (vec!["[fd00::1]:1"], "/", true),
            (vec!["evil.example"], "/", false),
            (vec!["bulkhead.internal.evil.example"], "/", false),
            (vec!["127.0.0.1.evil.example"], "/", false),
            (vec![], "/", false),
            (vec!["localhost", "localhost"], "/", false),
            (vec!["a b"], "/", false),
            (vec!["localhost"], "http://localhost/", true),
            (vec!["localhost"], "http://evil.example/", false),
        ] {
            let mut headers = HeaderMap::new();
            for host in &hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(host_allowed(&headers, &uri, &allowed), good, "{hosts:?} {uri}");
        }
    }
}
