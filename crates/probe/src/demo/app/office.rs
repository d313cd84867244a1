//! What operators look at: customers, jobs, logs, traces, metrics.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Service, front::refuse};

fn hidden() -> Response {
    refuse(StatusCode::NOT_FOUND, "there is none")
}

pub(super) async fn tenants(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let authenticated = service.wrong("app-admin-authenticated") && service.is_tenant(&headers);
    if !service.is_operator(&headers) && !authenticated {
        return hidden();
    }
    Json(json!({ "tenants": ["acme", "globex"] })).into_response()
}

pub(super) async fn jobs(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    if !service.is_operator(&headers) && !service.wrong("app-admin-open") {
        return hidden();
    }
    let store = service.store();
    let jobs =
        store.jobs.iter().map(|(id, job)| json!({ "id": id, "owner": format!("{:?}", job.owner) }));
    Json(jobs.collect::<Vec<_>>()).into_response()
}

pub(super) async fn logs(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    if !service.is_operator(&headers) && !service.wrong("app-open-logs") {
        return hidden();
    }
    service.store().log.make_contiguous().join("\n").into_response()
}

pub(super) async fn traces(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    if !service.is_operator(&headers) {
        return hidden();
    }
    let store = service.store();
    let spans = store.log.iter().map(|line| json!({ "span": "request", "input": line }));
    Json(spans.collect::<Vec<_>>()).into_response()
}

/// Open to all, as is usual: counts, and nothing that anybody wrote.
pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let store = service.store();
    let mut text = format!("documents {}\njobs {}\n", store.documents.len(), store.jobs.len());
    if service.wrong("app-metrics-content") {
        for document in &store.documents {
            let title: String = document.text.chars().take(60).collect();
            text.push_str(&format!("document_reads{{title={title:?}}} 1\n"));
        }
    }
    text.into_response()
}
