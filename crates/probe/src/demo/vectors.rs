//! What speaks enough of Qdrant: collections of each customer's own, and ways to get that wrong.

mod engine;
mod filter;
mod ranking;

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use self::engine::Engine;
use super::{Cast, Flaw, Flaws};
use crate::{Error, catalog};

/// What can be wrong with it.
pub(crate) static FLAWS: &[Flaw] = &[
    Flaw {
        name: "points-post-filter",
        check: &catalog::CROWDING,
        also: &[&catalog::NON_INTERFERENCE],
        what: "one index for all is ranked first, and the ranking filtered by customer afterwards",
    },
    Flaw {
        name: "points-prefetch",
        check: &catalog::FILTER_ESCAPE,
        also: &[&catalog::CROWDING, &catalog::NON_INTERFERENCE],
        what: "the customer's filter is put beside the query, and not into its prefetches",
    },
    Flaw {
        name: "points-idf",
        check: &catalog::CORPUS,
        also: &[&catalog::NON_INTERFERENCE],
        what: "how rare a word is is counted over everybody's points",
    },
    Flaw {
        name: "points-normalised",
        check: &catalog::NON_INTERFERENCE,
        also: &[],
        what: "scores are divided by the best one in the whole index",
    },
    Flaw {
        name: "points-info",
        check: &catalog::NON_INTERFERENCE,
        also: &[],
        what: "the number of points that a collection tells is everybody's",
    },
    Flaw {
        name: "points-numbers",
        check: &catalog::NON_INTERFERENCE,
        also: &[],
        what: "one counter numbers everybody's writes",
    },
    Flaw {
        name: "points-or-filter",
        check: &catalog::FILTER_ESCAPE,
        also: &[],
        what: "the customer's clause is added to the caller's `should`, where any one of them will do",
    },
    Flaw {
        name: "points-scroll",
        check: &catalog::FILTER_ESCAPE,
        also: &[&catalog::NON_INTERFERENCE, &catalog::EXACT_KEY],
        what: "queries are held to the customer, and scrolling was forgotten",
    },
    Flaw {
        name: "points-count",
        check: &catalog::FILTER_ESCAPE,
        also: &[&catalog::NON_INTERFERENCE],
        what: "a count is taken from the index, which is everybody's",
    },
    Flaw {
        name: "points-facet",
        check: &catalog::FILTER_ESCAPE,
        also: &[&catalog::NON_INTERFERENCE],
        what: "facets come from the counters of the payload index, which is everybody's",
    },
    Flaw {
        name: "points-matrix",
        check: &catalog::FILTER_ESCAPE,
        also: &[],
        what: "the distance matrix samples everybody's points",
    },
    Flaw {
        name: "points-open-id",
        check: &catalog::FILTER_ESCAPE,
        also: &[&catalog::OBJECT_ID],
        what: "a point that is asked for by its id is given to whoever asks",
    },
    Flaw {
        name: "points-reference",
        check: &catalog::FILTER_ESCAPE,
        also: &[],
        what: "the example of a recommendation is looked up among everybody's points",
    },
    Flaw {
        name: "points-lookup-from",
        check: &catalog::FILTER_ESCAPE,
        also: &[],
        what: "the collection of `lookup_from` is opened without asking whose it is",
    },
    Flaw {
        name: "points-group-lookup",
        check: &catalog::FILTER_ESCAPE,
        also: &[],
        what: "the collection of `with_lookup` is opened without asking whose it is",
    },
    Flaw {
        name: "points-query-cache",
        check: &catalog::EXACT_KEY,
        also: &[&catalog::FILTER_ESCAPE, &catalog::OBJECT_ID, &catalog::CROWDING],
        what: "answers of queries are kept under their path and body, without the customer",
    },
    Flaw {
        name: "points-foreign-write",
        check: &catalog::CALLER_ID,
        also: &[],
        what: "one space of ids for all: a write goes to the point of that id, whosever it is",
    },
    Flaw {
        name: "collections-listing",
        check: &catalog::OBJECT_ID,
        also: &[],
        what: "the list of collections is everybody's",
    },
    Flaw {
        name: "collections-exists",
        check: &catalog::OBJECT_ID,
        also: &[],
        what: "whether there is a collection is told of everybody's",
    },
    Flaw {
        name: "collections-by-name",
        check: &catalog::OBJECT_ID,
        also: &[],
        what: "a collection is opened by its name alone",
    },
    Flaw {
        name: "collections-removal",
        check: &catalog::OBJECT_ID,
        also: &[],
        what: "a collection is removed by its name alone",
    },
    Flaw {
        name: "collections-telemetry",
        check: &catalog::OBJECT_ID,
        also: &[],
        what: "the page for operators is open to customers, and names every collection",
    },
    Flaw {
        name: "points-soft-delete",
        check: &catalog::ERASURE,
        also: &[],
        what: "a deleted point is marked so, and only the lookup by id heeds the mark",
    },
    Flaw {
        name: "collections-resurrected",
        check: &catalog::ERASURE,
        also: &[],
        what: "the points of a removed collection are in the next one of its name",
    },
];

/// Starts it, and says how a target file names it.
pub(super) async fn start(
    cast: &Arc<Cast>,
    flaws: &Arc<Flaws>,
    tasks: &mut JoinSet<()>,
) -> Result<String, Error> {
    let address = serve(cast, flaws, false, tasks).await?;
    Ok(format!("[target.vectors]\nkind = \"qdrant\"\nurl = \"http://{address}\"\n\n"))
}

/// Serves on a free port. `shared`: it takes both credentials for those of one application, which
/// tells its customers apart by itself.
pub(crate) async fn serve(
    cast: &Arc<Cast>,
    flaws: &Arc<Flaws>,
    shared: bool,
    tasks: &mut JoinSet<()>,
) -> Result<std::net::SocketAddr, Error> {
    let broken = |why: std::io::Error| Error::Demo(format!("vectors: {why}"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(broken)?;
    let address = listener.local_addr().map_err(broken)?;
    let engine = Mutex::new(Engine::new(Arc::clone(flaws)));
    let server = Arc::new(Server { cast: Arc::clone(cast), shared, engine });
    let router = Router::new().fallback(answer).with_state(server);
    tasks.spawn(async move {
        // It ends with its task.
        let _ = axum::serve(listener, router).await;
    });
    Ok(address)
}

struct Server {
    cast: Arc<Cast>,
    shared: bool,
    engine: Mutex<Engine>,
}

impl Server {
    /// Whose a request is, if all credentials in it say the same.
    fn customer(&self, headers: &HeaderMap) -> Result<usize, (u16, String)> {
        let keys = headers.get_all("api-key").iter().map(|value| value.to_str().ok());
        let bearers = headers.get_all("authorization").iter();
        let bearers = bearers.map(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let mut whose = None;
        for presented in keys.chain(bearers) {
            let customer = match presented {
                Some(token) if token == self.cast.a => 0,
                Some(token) if token == self.cast.b => usize::from(!self.shared),
                _ => return Err((401, "the credential is not known".into())),
            };
            if whose.is_some_and(|known| known != customer) {
                return Err((401, "the credentials do not agree".into()));
            }
            whose = Some(customer);
        }
        whose.ok_or_else(|| (401, "no credential".into()))
    }
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let customer = server.customer(&headers);
    let done = customer.and_then(|customer| {
        let body = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body).map_err(|why| (400, why.to_string()))?,
        };
        let mut engine = server.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.answer(customer, &method, uri.path(), &body)
    });
    let (status, whole) = match done {
        Ok(result) => (200, json!({ "result": result, "status": "ok", "time": fastrand::f64() })),
        Err((status, why)) => {
            (status, json!({ "result": null, "status": { "error": why }, "time": fastrand::f64() }))
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("cache-control", "no-store")], Json(whole)).into_response()
}
