//! From a found route to its handler: the proof that the route needs, or a refusal.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawPathParams, rejection::RawPathParamsRejection},
    response::Response,
};
use http::Request;
use ids::RequestId;
use scope::{Entry, Kind, Operator, Right, Scope, Service, Write};

use crate::{
    App, Plane,
    ask::Ask,
    edge::{Found, Known},
    extract,
    fault::{Coded, Fault},
    metrics::{Decision, HopKind},
    routes::{Need, ROUTES, Reply, Route, Serve, Watching},
};

pub(crate) async fn dispatch(
    app: Arc<App>,
    index: usize,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request<Body>,
) -> Response {
    let route = &ROUTES[index];
    let mut known = Known::default();
    let (parts, body) = request.into_parts();
    let request = parts.extensions.get::<RequestId>().copied();
    let request = request.unwrap_or_else(|| RequestId::draw(&*app.entropy));
    let asked = match &params {
        Ok(params) => Ask::new(request, parts, body, params),
        Err(_) => Err(Fault::malformed("the path is not UTF-8")),
    };
    let served = match asked {
        Ok(ask) => serve(&app, route, ask, &mut known).await,
        Err(fault) => Err(fault),
    };
    let mut response = match served {
        Ok(response) => response,
        Err(fault) => {
            let challenge = app.challenge(route.path).filter(|_| route.plane == Plane::Data);
            fault.into_response(route.shape(), request, challenge)
        }
    };
    count(&app, route.need(), &known, &response);
    let extensions = response.extensions_mut();
    extensions.insert(known);
    extensions.insert(Found(index));
    response
}

async fn serve(
    app: &Arc<App>,
    route: &Route,
    ask: Ask,
    known: &mut Known,
) -> Result<Response, Fault> {
    match route.serve {
        Serve::Public(handler) => handler(Arc::clone(app), ask).await,
        Serve::Tenant(_, handler) => tenant(app, handler, ask, known).await,
        Serve::Service(handler) => {
            let service = service(app, &ask).await?;
            known.actor = Some(format!("service:{}", service.name()));
            handler(Arc::clone(app), service, ask).await
        }
        Serve::Operator(right, handler) => {
            let operator = operator(app, &ask).await?;
            known.actor = Some(operator.actor().to_string());
            if let Err(error) = operator.require(right) {
                let entry =
                    Entry::denied(operator.actor(), "operator.denied", route.path, error.code());
                operator.announce(entry).await?;
                return Err(error.into());
            }
            handler(Arc::clone(app), operator, ask).await
        }
        Serve::Watcher(handler) => {
            let mut who = Watching::Operator;
            if !ids::planted::is("server-metrics-open") {
                let (actor, proven) = watcher(app, &ask).await?;
                (known.actor, who) = (Some(actor), proven);
            }
            handler(Arc::clone(app), who, ask).await
        }
    }
}

async fn tenant(
    app: &Arc<App>,
    handler: fn(Arc<App>, Scope<Write>, Ask) -> Reply,
    ask: Ask,
    known: &mut Known,
) -> Result<Response, Fault> {
    let scope = {
        let presented = app.extract.presented(ask.headers(), &ask.query)?;
        app.doors.authenticate(&presented).await?
    };
    known.tenant = Some(scope.tenant().clone());
    known.environment = Some(scope.environment().clone());
    known.workflow = scope.workflow().cloned();
    known.run = scope.run().cloned();
    known.actor = Some(scope.actor().to_string());
    let watched = scope.clone();
    // A revocation ends what is in flight, and so does a suspension and an erasure. Streams
    // watch for themselves once they have begun.
    tokio::select! {
        biased;
        answer = handler(Arc::clone(app), scope, ask) => answer,
        why = watched.ended() => Err(why.into()),
    }
}

async fn service(app: &App, ask: &Ask) -> Result<Service, Fault> {
    let client = extract::client(ask.headers())?;
    hidden(&client.secret, Kind::Service)?;
    let service = app.doors.service(&client.secret).await?;
    match client.name {
        Some(name) if name != service.name() => Err(scope::Error::Unknown.into()),
        _ => Ok(service),
    }
}

async fn operator(app: &App, ask: &Ask) -> Result<Operator, Fault> {
    let secret = extract::one_bearer(ask.headers())?;
    hidden(secret, Kind::Operator)?;
    Ok(app.doors.operator(secret).await?)
}

async fn watcher(app: &App, ask: &Ask) -> Result<(String, Watching), Fault> {
    let secret = extract::one_bearer(ask.headers())?;
    if Kind::of(secret) == Some(Kind::Service) {
        let service = app.doors.service(secret).await?;
        return Ok((format!("service:{}", service.name()), Watching::Service));
    }
    let operator = operator(app, ask).await?;
    operator.require(Right::Read)?;
    Ok((operator.actor().to_string(), Watching::Operator))
}

/// To whoever comes with a tenant's credential, the control plane is not there.
fn hidden(secret: &str, wanted: Kind) -> Result<(), Fault> {
    match Kind::of(secret) {
        Some(kind) if kind == wanted => Ok(()),
        Some(Kind::Service | Kind::Operator) => Err(scope::Error::Unknown.into()),
        Some(Kind::ApiKey | Kind::RunGrant) | None => Err(Fault::not_found()),
    }
}

fn count(app: &App, need: Need, known: &Known, response: &Response) {
    let code = response.extensions().get::<Coded>().map(|coded| coded.0);
    let decision = match (code, response.status().as_u16()) {
        // Answers to whoever may ask: there is no such thing, or not as it was.
        (None | Some("not_found" | "state.conflict" | "state.full"), _) => Decision::Allowed,
        (Some("memory.no_collection" | "memory.no_point" | "memory.exists" | "memory.full"), _) => {
            Decision::Allowed
        }
        (Some("review.missing" | "review.settled" | "review.kind" | "review.full"), _) => {
            Decision::Allowed
        }
        (Some(_), 500..) => Decision::Failed,
        (Some(_), _) => Decision::Denied,
    };
    match (need, &known.tenant) {
        (Need::Tenant(grant), Some(tenant)) => {
            let code = code.unwrap_or_default();
            app.metrics.hop(tenant, HopKind { grant, decision, code });
        }
        _ if known.actor.is_none() => {
            if let Some(code) = code {
                app.metrics.unproven(code);
            }
        }
        _ => {}
    }
}
