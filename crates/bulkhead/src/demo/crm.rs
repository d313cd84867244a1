//! A stand-in for a company's CRM, as an HTTP API: it does what it is asked for whatever account the
//! path names, and looks at nobody's credential. It says that it is one.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// The longest body that it reads.
const MOST: usize = 64 << 10;

/// What every connection shares.
struct Shared {
    /// Invoices by id: whose, and a word that is theirs alone.
    invoices: BTreeMap<String, (String, String)>,
    /// What was paid back, and to which account.
    refunds: Mutex<Vec<(String, Value)>>,
}

/// The stand-in, running until it is dropped.
pub(super) struct Crm {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Crm {
    /// Starts on a free loopback port; invoices are (id, account, word).
    pub(super) async fn start(invoices: Vec<(String, String, String)>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the stand-in CRM")?;
        let address = listener.local_addr()?;
        let invoices = invoices.into_iter().map(|(id, account, word)| (id, (account, word)));
        let shared = Arc::new(Shared { invoices: invoices.collect(), refunds: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// Its base URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The accounts that something was paid back to, in order.
    pub(super) fn refunded(&self) -> Vec<String> {
        let refunds = self.shared.refunds.lock().unwrap_or_else(PoisonError::into_inner);
        refunds.iter().map(|(account, _)| account.clone()).collect()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(|request| answer(&shared, request));
                    // A caller that goes away is no failure of the stand-in.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
    Ok(match (&head.method, path.as_slice()) {
        (&Method::GET, ["accounts", account, "invoices"]) => {
            said(StatusCode::OK, &list(shared, account))
        }
        (&Method::GET, ["accounts", _, "invoices", id]) => match shared.invoices.get(*id) {
            // Whose it is, is not looked at.
            Some((owner, word)) => said(StatusCode::OK, &invoice(id, owner, word)),
            None => said(StatusCode::NOT_FOUND, &json!({ "error": "there is none" })),
        },
        (&Method::POST, ["accounts", account, "refunds"]) => {
            let body = Limited::new(body, MOST).collect().await.map(|body| body.to_bytes());
            let asked: Value =
                serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
            let done = json!({ "account_id": account, "amount": asked["amount"] });
            let mut refunds = shared.refunds.lock().unwrap_or_else(PoisonError::into_inner);
            refunds.push(((*account).to_owned(), asked));
            said(StatusCode::CREATED, &done)
        }
        _ => said(StatusCode::NOT_FOUND, &json!({ "error": "a stand-in has no such thing" })),
    })
}

fn invoice(id: &str, owner: &str, word: &str) -> Value {
    json!({ "id": id, "account_id": owner, "note": word })
}

fn list(shared: &Shared, account: &str) -> Value {
    let own = shared.invoices.iter().filter(|(_, (owner, _))| owner == account);
    let own: Vec<Value> = own.map(|(id, (owner, word))| invoice(id, owner, word)).collect();
    json!({ "invoices": own })
}

fn said(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
