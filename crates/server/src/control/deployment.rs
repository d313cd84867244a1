//! The deployment itself: status, figures, backup, policies, keys.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use scope::{Entry, Operator};
use serde::Deserialize;
use serde_json::{Value, json};
use store::File;

use super::{Why, announce, cause, models, needed, probe, time};
use crate::{
    App, Settings,
    ask::{Ask, ok},
    fault::Fault,
    metrics::Text,
    openapi,
    routes::Watching,
    selfprobe::is_reserved,
    signing::Signs,
};

/// The files of the store, with the names that figures have for them.
const FILES: [(File, &str); 6] = [
    (File::Core, "core"),
    (File::Queue, "queue"),
    (File::Records, "records"),
    (File::Memory, "memory"),
    (File::Cache, "cache"),
    (File::State, "state"),
];

/// A backup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// An absolute path on the server, of a directory that is empty or not there.
    path: PathBuf,
    reason: Option<String>,
}

/// How the root key is rotated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateRoot {
    /// Draw a new root key into the key file first. Default false: the operator has put one in
    /// front.
    #[serde(default)]
    renew: bool,
    /// Drop the older root keys from the key file afterwards. Default false.
    #[serde(default)]
    retire: bool,
    reason: Option<String>,
}

/// How keys are rotated that sign.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateSigning {
    /// What they sign: `tokens` (default), `assertions` or `receipts`.
    #[serde(default)]
    of: Signs,
    /// Destroy the older keys at once: everything that they signed is void, but for receipts, which are
    /// signed again when they are read. For a key that somebody else may have. Default false: what
    /// they signed is good until it expires.
    #[serde(default)]
    retire_now: bool,
    reason: Option<String>,
}

pub(crate) async fn openapi(_: Arc<App>, _: Operator, _: Ask) -> Result<Response, Fault> {
    ok(&openapi::document())
}

pub(crate) async fn status(app: Arc<App>, _: Operator, _: Ask) -> Result<Response, Fault> {
    let policy = app.gate.policies().describe();
    let files: serde_json::Map<String, Value> = FILES
        .iter()
        .map(|(file, name)| {
            let figures = app.store.figures(*file);
            let waiting = json!({"commits": figures.commits, "waiting": figures.waiting});
            ((*name).to_owned(), waiting)
        })
        .collect();
    let (cached, records) = (app.cache.counts(), app.recorder.counts());
    let routes: Vec<_> = app
        .settings
        .model
        .routes
        .iter()
        .filter(|route| !is_reserved(route.name.as_str()))
        .map(|route| {
            let (name, aliases) = (&route.name, &route.aliases);
            json!({"name": name, "aliases": aliases, "semantic": route.semantic.is_some()})
        })
        .collect();
    let similar = app.semantic.counts();
    let memory = app.memory.figures();
    ok(&json!({
        "name": app.settings.name,
        "version": env!("CARGO_PKG_VERSION"),
        "started": time(app.started),
        "ready": app.is_ready(),
        "tenants": app.registry.count().await?,
        "issuers": app.doors.issuers(),
        "audience": app.doors.audience(),
        "policy": {"version": policy.version.to_string(), "policies": policy.policies},
        "models": routes.len(),
        "routes": routes,
        "providers": app.settings.model.providers.iter().filter(|p| p.only.is_empty()).count(),
        "shared_credentials": app.shared.get(&app).await.as_deref(),
        "semantic": {"tenants": similar.tenants, "bytes": similar.bytes},
        "cache": {
            "hits": cached.hits,
            "misses": cached.misses,
            "memory_bytes": cached.memory_bytes,
        },
        "memory": {
            "open": memory.open,
            "open_bytes": memory.open_bytes,
            "opened": memory.opened,
            "evicted": memory.evicted,
            "rebuilt": memory.rebuilt,
            "distrusted": memory.distrusted,
            "waiting": memory.waiting,
            "queries": memory.queries,
            "visited": memory.visited,
        },
        "events": {
            "written": records.written,
            "dropped": records.dropped,
            "failed": records.failed,
        },
        "foreign": {
            "cache": cached.foreign,
            "vault": app.vault.foreign(),
            "store": app.store.foreign_rows(),
        },
        "files": files,
    }))
}

pub(crate) async fn metrics(app: Arc<App>, who: Watching, _: Ask) -> Result<Response, Fault> {
    let mut out = Text::default();
    app.metrics.write(&mut out, who);
    let (cached, records) = (app.cache.counts(), app.recorder.counts());
    out.family("bulkhead_cache_reads_total", "counter", "Reads of the cache, by result.");
    out.sample("bulkhead_cache_reads_total", &[("result", "hit")], cached.hits);
    out.sample("bulkhead_cache_reads_total", &[("result", "miss")], cached.misses);
    out.family("bulkhead_cache_kept_total", "counter", "Values that the cache kept.");
    out.sample("bulkhead_cache_kept_total", &[], cached.kept);
    out.family("bulkhead_cache_memory_bytes", "gauge", "Bytes in the memory tier.");
    out.sample("bulkhead_cache_memory_bytes", &[], cached.memory_bytes);
    out.family(
        "bulkhead_foreign_total",
        "counter",
        "Bytes or rows of another owner that turned up and were withheld: a security event each.",
    );
    for (at, count) in [
        ("cache", cached.foreign),
        ("vault", app.vault.foreign()),
        ("store", app.store.foreign_rows()),
    ] {
        out.sample("bulkhead_foreign_total", &[("where", at)], count);
    }
    out.family("bulkhead_events_total", "counter", "Events of hops, by what became of them.");
    for (end, count) in
        [("written", records.written), ("dropped", records.dropped), ("failed", records.failed)]
    {
        out.sample("bulkhead_events_total", &[("end", end)], count);
    }
    write_models(&app, &mut out).await;
    write_memory(&app, &mut out);
    write_store(&app, &mut out);
    probe::write(&app, &mut out);
    out.family("bulkhead_ready", "gauge", "Whether requests are taken.");
    out.sample("bulkhead_ready", &[], u64::from(app.is_ready()));
    let mut response = Response::new(Body::from(out.finish()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// What providers share between tenants, and what is remembered of what questions mean.
async fn write_models(app: &App, out: &mut Text) {
    const SHARED: &str = "bulkhead_model_shared_prompt_cache";
    if let Some(shared) = app.shared.get(app).await {
        out.family(
            SHARED,
            "gauge",
            "Whether tenants share a domain of prompt caching at a provider: one account or one server, and no salt.",
        );
        for provider in app.settings.model.providers.iter().filter(|p| p.only.is_empty()) {
            let shares = models::shares_prompts(provider, &shared);
            out.sample(SHARED, &[("provider", provider.id.as_str())], u64::from(shares));
        }
    }
    out.family("bulkhead_semantic_bytes", "gauge", "Bytes in the index of similar questions.");
    out.sample("bulkhead_semantic_bytes", &[], app.semantic.counts().bytes);
}

/// Indexes of collections, of all tenants together.
fn write_memory(app: &App, out: &mut Text) {
    let memory = app.memory.figures();
    for (family, kind, help, value) in [
        ("bulkhead_memory_open_indexes", "gauge", "Indexes that are open.", memory.open),
        ("bulkhead_memory_open_bytes", "gauge", "Bytes of open indexes.", memory.open_bytes),
        (
            "bulkhead_memory_background_waiting",
            "gauge",
            "Indexes that wait for work.",
            memory.waiting,
        ),
        ("bulkhead_memory_indexes_opened_total", "counter", "Indexes opened.", memory.opened),
        (
            "bulkhead_memory_indexes_evicted_total",
            "counter",
            "Indexes closed to make room.",
            memory.evicted,
        ),
        ("bulkhead_memory_indexes_rebuilt_total", "counter", "Indexes made again.", memory.rebuilt),
        (
            "bulkhead_memory_indexes_distrusted_total",
            "counter",
            "Indexes that were somebody else's, changed or wrong, and thrown away: a security event each.",
            memory.distrusted,
        ),
        ("bulkhead_memory_queries_total", "counter", "Queries that were ranked.", memory.queries),
        (
            "bulkhead_memory_visited_total",
            "counter",
            "Points in the indexes that were asked: no query visited more.",
            memory.visited,
        ),
    ] {
        out.family(family, kind, help);
        out.sample(family, &[], value);
    }
}

fn write_store(app: &App, out: &mut Text) {
    let files = FILES.map(|(file, name)| (name, app.store.figures(file)));
    out.family("bulkhead_store_waiting", "gauge", "Writes that wait, by file.");
    for (name, figures) in &files {
        out.sample("bulkhead_store_waiting", &[("file", name)], figures.waiting);
    }
    for (family, help, of) in [
        (
            "bulkhead_store_commits_total",
            "Transactions committed.",
            (|figures| figures.commits) as fn(&store::Figures) -> u64,
        ),
        ("bulkhead_store_writes_total", "Writes in them.", |figures| figures.writes),
        ("bulkhead_store_refused_total", "Writes refused because too many waited.", |figures| {
            figures.refused
        }),
    ] {
        out.family(family, "counter", help);
        for (name, figures) in &files {
            out.sample(family, &[("file", name)], of(figures));
        }
    }
}

pub(crate) async fn backup(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Backup { path, reason } = ask.json(&app).await?;
    // What `..` leads to may not be there yet, and be made on the way.
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(Fault::malformed("`path` has to be absolute, without `..`"));
    }
    let (settings, to) = (app.settings.clone(), path.clone());
    // Looking at paths is work that blocks.
    let own = tokio::task::spawn_blocking(move || is_own(&settings, &to)).await;
    if own.map_err(|error| Fault::internal(&error))? {
        return Err(Fault::malformed("a backup goes neither to the data nor to the keys"));
    }
    announce(&operator, "backup", path.display(), &cause(&ask, reason)?).await?;
    let manifest = app.store.backup(&app.system, &path, |_, _| {}).await?;
    ok(&json!({"path": path, "manifest": manifest}))
}

/// Whether a path is, or would be, within the deployment's own directories.
fn is_own(settings: &Settings, path: &Path) -> bool {
    let at = real(path);
    let storage = &settings.storage;
    let indexes = settings.index_dir();
    [&storage.data.dir, &storage.keys, &indexes].into_iter().any(|dir| at.starts_with(real(dir)))
}

/// A path as it is once links are followed, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    loop {
        if let Ok(found) = at.canonicalize() {
            return rest.into_iter().rev().fold(found, |found, part| found.join(part));
        }
        let last = at.components().next_back().map(|part| part.as_os_str().to_owned());
        match last {
            Some(part) if at.pop() => rest.push(part),
            _ => return path.to_owned(),
        }
    }
}

pub(crate) async fn policy(app: Arc<App>, _: Operator, _: Ask) -> Result<Response, Fault> {
    ok(&described(&app))
}

pub(crate) async fn reload_policy(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let Why { reason } = ask.json(&app).await?;
    announce(&operator, "policy.reload", "policy", &cause(&ask, reason)?).await?;
    let gate = Arc::clone(&app.gate);
    // Reading a file and validating it is work that blocks.
    let reloaded = tokio::task::spawn_blocking(move || gate.policies().reload()).await;
    reloaded.map_err(|error| Fault::internal(&error))??;
    ok(&described(&app))
}

fn described(app: &App) -> Value {
    let policy = app.gate.policies().describe();
    json!({
        "path": policy.path,
        "version": policy.version.to_string(),
        "policies": policy.policies,
        "remembered": policy.remembered,
        "text": policy.text,
        "schema": gate::SCHEMA,
    })
}

pub(crate) async fn rotate_root(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let RotateRoot { renew, retire, reason } = ask.json(&app).await?;
    announce(&operator, "root_key.rotate", "root key", &cause(&ask, reason)?).await?;
    let rotation = if renew {
        app.vault.renew_root(&app.system, |_| {}).await?
    } else {
        app.vault.rotate_root(&app.system, |_| {}).await?
    };
    if retire {
        app.vault.retire_roots(&app.system).await?;
    }
    ok(&rotation)
}

pub(crate) async fn rotate_signing(
    app: Arc<App>,
    operator: Operator,
    mut ask: Ask,
) -> Result<Response, Fault> {
    let RotateSigning { of, retire_now, reason } = ask.json(&app).await?;
    let why = if retire_now { needed(&ask, reason)? } else { cause(&ask, reason)? };
    let entry = Entry::allowed(operator.actor(), "signing_key.rotate", "signing keys");
    let entry = entry.because(why).with("of", of.as_str()).with("retire_now", retire_now);
    operator.announce(entry).await?;
    app.rotate_signing(of, retire_now).await?;
    ok(&app.published(of))
}
