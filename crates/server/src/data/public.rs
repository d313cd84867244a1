//! What anybody may see: it says nothing of any tenant.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::{
    App,
    ask::{Ask, json_answer, ok},
    fault::Fault,
};

pub(crate) async fn jwks(app: Arc<App>, _: Ask) -> Result<Response, Fault> {
    ok(&app.doors.jwks())
}

/// RFC 9728: where a client that was refused learns whose tokens are accepted.
pub(crate) async fn resource(app: Arc<App>, _: Ask) -> Result<Response, Fault> {
    // Where to go is a URL; the name of our own issuer need not be one.
    let mut servers = app.doors.issuers();
    servers.retain(|issuer| issuer.contains("://"));
    ok(&json!({
        "resource": app.resource(),
        "authorization_servers": servers,
        "bearer_methods_supported": ["header"],
        "scopes_supported": app.grants(),
        "resource_name": app.settings.name,
    }))
}

pub(crate) async fn live(_: Arc<App>, _: Ask) -> Result<Response, Fault> {
    ok(&json!({"status": "ok"}))
}

pub(crate) async fn ready(app: Arc<App>, _: Ask) -> Result<Response, Fault> {
    if app.is_ready() {
        return ok(&json!({"status": "ok"}));
    }
    json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "draining"}))
}
