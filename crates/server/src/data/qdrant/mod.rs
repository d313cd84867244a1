//! `/qdrant`: a tenant's own collections, in the words of Qdrant's REST API. A client gets its
//! address with `/qdrant` behind it and a tenant's credential as its api key, and nothing else of
//! it changes.

pub(crate) mod collections;
mod envelope;
pub(crate) mod points;
pub(crate) mod query;

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use gate::{Hop, Permit, Use};
use memory::{CollectionName, MemorySettings};
use scope::{Scope, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

pub(crate) use self::envelope::{hnsw, indexes, params};
use super::{body, stepped};
use crate::{
    App,
    ask::{Ask, json_answer, ok},
    fault::Fault,
    held::held,
    load::Charge,
};

/// The version of Qdrant whose words these are: clients warn of one that is far from theirs.
const SPOKEN: &str = "1.20.0";

/// What a read may say in its query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    timeout: Option<u64>,
    consistency: Option<String>,
}

/// What a write may say in its query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Writing {
    #[serde(default)]
    wait: bool,
    timeout: Option<u64>,
    ordering: Option<String>,
}

/// What a change of a collection may say in its query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changing {
    timeout: Option<u64>,
}

impl Reading {
    fn of(app: &App, ask: &Ask) -> Result<Patience, Fault> {
        let Self { timeout, consistency } = ask.query(app)?;
        // There is one copy: every reader sees it, so each of these is met.
        known("consistency", consistency, &["1", "majority", "quorum", "all"])?;
        Patience::of(timeout)
    }
}

impl Writing {
    /// How long somebody waits, and how an update is answered.
    fn of(app: &App, ask: &Ask) -> Result<(Patience, &'static str), Fault> {
        let Self { wait, timeout, ordering } = ask.query(app)?;
        // Writes of a collection happen one after the other, so each of these is met.
        known("ordering", ordering, &["weak", "medium", "strong"])?;
        // It is durable either way: who does not wait is not told more than that.
        let status = if wait { "completed" } else { "acknowledged" };
        Ok((Patience::of(timeout)?, status))
    }
}

impl Changing {
    fn of(app: &App, ask: &Ask) -> Result<Patience, Fault> {
        let Self { timeout } = ask.query(app)?;
        Patience::of(timeout)
    }
}

fn known(name: &str, value: Option<String>, words: &[&str]) -> Result<(), Fault> {
    match value {
        Some(value) if !words.contains(&value.as_str()) => {
            let words = words.join(", ");
            Err(Fault::malformed(format!("`{name}` is one of {words}")))
        }
        _ => Ok(()),
    }
}

/// How long somebody waits, if there is a bound.
#[derive(Clone, Copy, Debug)]
struct Patience(Option<Duration>);

impl Patience {
    fn of(seconds: Option<u64>) -> Result<Self, Fault> {
        match seconds {
            Some(0) => Err(Fault::malformed("`timeout` is a number of seconds, 1 or more")),
            seconds => Ok(Self(seconds.map(Duration::from_secs))),
        }
    }
}

/// A request about a collection.
struct Call {
    hop: Hop,
    patience: Patience,
    began: Instant,
    /// Of its body, for as long as that is in memory in one form or another.
    held: Option<(Charge, Permit)>,
}

/// The collection of the path.
fn named(ask: &Ask) -> Result<CollectionName, Fault> {
    Ok(CollectionName::parse(ask.param("collection"))?)
}

impl Call {
    /// One that reads the collection of the path.
    fn reading(app: &App, ask: &Ask) -> Result<(CollectionName, Self), Fault> {
        let name = named(ask)?;
        let call = Self::new(ask, Use::Read, name.as_str(), Reading::of(app, ask)?)?;
        Ok((name, call))
    }

    fn new(ask: &Ask, how: Use, target: &str, patience: Patience) -> Result<Self, Fault> {
        let how = if ids::planted::is("memory-writes-as-reads") { Use::Read } else { how };
        let hop = stepped(ask, Hop::memory(how, target, ask.request))?;
        Ok(Self { hop, patience, began: Instant::now(), held: None })
    }

    /// What the body asks for, read strictly.
    async fn body<T: Send + 'static>(
        &mut self,
        app: &Arc<App>,
        scope: &Scope<Write>,
        ask: &mut Ask,
        parse: impl FnOnce(&[u8], &MemorySettings) -> Result<T, memory::Error> + Send + 'static,
    ) -> Result<T, Fault> {
        let body::Body { bytes, charge, entered } =
            body::read(app, scope, ask, &self.hop, usize::MAX).await?;
        self.hop = self.hop.clone().bytes_in(bytes.len() as u64);
        let parse = move |app: &App, _: &Scope<Write>, bytes: bytes::Bytes| {
            // To clients, no body is an object with nothing in it.
            let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
            parse(bytes, app.memory.settings())
        };
        let (parsed, charge) = body::understood(app, scope, bytes, charge, parse).await?;
        self.held = Some((charge, entered));
        Ok(parsed?)
    }

    /// Passes the gate, and only then does the work: nothing of it is begun before.
    async fn answer<T: Serialize>(
        self,
        app: &App,
        scope: &Scope<Write>,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<Response, Fault> {
        let Self { hop, patience, began, held: body } = self;
        app.gate
            .pass(scope, hop, |pass| async move {
                let result = match patience.0 {
                    None => work.await?,
                    Some(bound) => {
                        tokio::time::timeout(bound, work).await.map_err(|_| late())??
                    }
                };
                let response = ok(&envelope::Envelope::new(result, began))?;
                drop(body);
                Ok(held(response, scope, pass).await)
            })
            .await
    }
}

fn late() -> Fault {
    Fault::new(
        "memory.timeout",
        "it took longer than `timeout`; a write goes on, and may yet be done",
    )
}

/// Who answers here: a probe of clients, for whoever may read.
pub(crate) async fn root(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let _: Changing = ask.query(&app)?;
    let hop = stepped(&ask, Hop::memory(Use::Read, "*", ask.request))?;
    let told = json!({"title": "Bulkhead, in the words of Qdrant", "version": SPOKEN});
    app.gate
        .pass(&scope, hop, |pass| async {
            Ok(held(json_answer(http::StatusCode::OK, &told)?, &scope, pass).await)
        })
        .await
}

/// What Qdrant has and we do not, by name; and what nobody has.
pub(crate) async fn other(app: Arc<App>, scope: Scope<Write>, ask: Ask) -> Result<Response, Fault> {
    let path = ask.parts.uri.path().trim_start_matches("/qdrant/");
    let fault = unsupported(ask.parts.method.as_str(), path).unwrap_or_else(|| {
        // A path of ours, by a method that it does not take, or none.
        if ask.param("rest").is_empty() { Fault::method() } else { Fault::not_found() }
    });
    let hop = stepped(&ask, Hop::memory(Use::Read, "*", ask.request))?;
    // Whoever may not read learns nothing of what there is.
    app.gate.pass(&scope, hop, |_pass| async { Err(fault) }).await
}

/// Why a path leads nowhere here that leads somewhere in Qdrant.
fn unsupported(method: &str, path: &str) -> Option<Fault> {
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let what = match (method, &parts[..]) {
        (_, ["aliases"] | ["collections", "aliases"] | ["collections", _, "aliases"]) => {
            "an alias (names are a tenant's own: name the collection itself)"
        }
        (_, ["snapshots", ..] | ["collections", _, "snapshots", ..]) => {
            "a snapshot (`bulkhead backup` has all of it)"
        }
        (_, ["collections", _, "shards", ..]) => "a shard key (each tenant has its own shards)",
        (_, ["cluster", ..] | ["collections", _, "cluster", ..]) => "a cluster",
        (_, ["collections", _, "points", "search", "matrix", _]) => "a distance matrix",
        (
            "POST",
            ["collections", _, "points", "search" | "recommend"]
            | ["collections", _, "points", "search" | "recommend", "batch" | "groups"]
            | ["collections", _, "points", "discover"]
            | ["collections", _, "points", "discover", "batch"],
        ) => {
            "an endpoint of before 1.10 (use points/query, points/query/batch or points/query/groups)"
        }
        ("PUT" | "DELETE", ["collections", _, "vectors", _]) => {
            "a vector name that is added or removed later (make another collection)"
        }
        (_, ["collections", _, "optimizations"]) => "a list of optimizations",
        (_, ["telemetry" | "metrics" | "locks" | "issues" | "quotas", ..]) => {
            "what Qdrant tells of its own process (the control plane has /metrics)"
        }
        _ => return None,
    };
    Some(memory::Error::Unsupported(what.to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_refused_by_name() {
        for (method, path, said) in [
            ("GET", "aliases", "alias"),
            ("POST", "collections/aliases", "alias"),
            ("GET", "collections/c/aliases", "alias"),
            ("POST", "collections/c/points/search", "points/query"),
            ("POST", "collections/c/points/recommend/groups", "points/query"),
            ("POST", "collections/c/points/discover", "points/query"),
            ("POST", "collections/c/points/search/matrix/pairs", "matrix"),
            ("GET", "collections/c/snapshots/", "snapshot"),
            ("POST", "snapshots", "snapshot"),
            ("PUT", "collections/c/shards", "shard key"),
            ("GET", "cluster", "cluster"),
            ("POST", "collections/c/cluster", "cluster"),
            ("PUT", "collections/c/vectors/v", "vector name"),
        ] {
            let fault = unsupported(method, path).unwrap();
            assert_eq!(fault.code, "memory.unsupported", "{path}");
            assert!(fault.message.contains(said), "{path}: {}", fault.message);
        }
        for path in ["", "x", "collections/c/x", "collections/c/points/search/x"] {
            assert!(unsupported("POST", path).is_none(), "{path}");
        }
    }
}
