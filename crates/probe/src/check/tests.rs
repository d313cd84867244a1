//! The checks over any place, at a small server with one mistake at a time, and at servers that
//! answer so that nothing can be proven.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use ids::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{objects, race};
use crate::{
    Depth, Options, Plan, Silent, Verdict,
    budget::Budget,
    canary::{Canaries, Side},
    catalog::Surface,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    sheet::Sheet,
    verdict::{Finding, Halt},
    wire::{Exchange, Request},
};

/// Notes, or, if nothing is remembered, questions.
struct Notes {
    remembers: bool,
}

impl Place for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn surface(&self) -> Surface {
        Surface::Objects
    }

    fn remembers(&self) -> bool {
        self.remembers
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(async move {
            let path = if self.remembers { "/notes" } else { "/ask" };
            let request = Request::new(Method::POST, path).json(&json!({ "text": text }));
            let exchange = lab.send(by, request.example(json!({ "id": "n1" }))).await?;
            if !exchange.accepted() {
                return Err(Halt::Failed(format!("planting: {}", exchange.status())));
            }
            let id = exchange.json()["id"].as_str().unwrap_or("none").to_owned();
            Ok(Planted { text: text.to_owned(), handles: vec![("id".into(), id)], exchange })
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move {
            let request = match self.remembers {
                true => Request::get(format!("/notes/{}", planted.handles[0].1)),
                false => {
                    let asked = json!({ "text": planted.text });
                    Request::new(Method::POST, "/ask").json(&asked)
                }
            };
            lab.send(by, request.twisted(twist)).await
        })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async move {
            if !self.remembers {
                return Ok(None);
            }
            let path = format!("/notes/{}", planted.handles[0].1);
            lab.send(by, Request::new(Method::DELETE, path)).await.map(Some)
        })
    }
}

/// The server, and what is wrong with it.
#[derive(Default)]
struct Server {
    flaw: &'static str,
    notes: Mutex<BTreeMap<String, (String, String)>>,
    replica: Mutex<BTreeMap<String, (String, String)>>,
    cache: Mutex<BTreeMap<String, String>>,
    /// Whose request it is, and for what: one for all.
    current: Mutex<(String, String)>,
    pipe: tokio::sync::Mutex<VecDeque<(Instant, Response)>>,
    lane: tokio::sync::Mutex<()>,
    bucket: Mutex<VecDeque<Instant>>,
}

type Shared = State<Arc<Server>>;

fn user(headers: &HeaderMap) -> Option<String> {
    let token = headers.get("authorization")?.to_str().ok()?;
    matches!(token, "Bearer tok-a" | "Bearer tok-b").then(|| token.to_owned())
}

async fn add(State(server): Shared, headers: HeaderMap, Json(note): Json<Value>) -> Response {
    let Some(user) = user(&headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    let id = format!("note-{}", ids::RandomId::draw(&ids::OsEntropy));
    let text = note["text"].as_str().unwrap_or_default().to_owned();
    server.replica.lock().unwrap().insert(id.clone(), (user.clone(), text.clone()));
    server.notes.lock().unwrap().insert(id.clone(), (user, text));
    (StatusCode::CREATED, Json(json!({ "id": id }))).into_response()
}

async fn one(
    State(server): Shared,
    method: Method,
    Path(mut id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(mut user) = user(&headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    let removing = method == Method::DELETE;
    if removing {
        let mut notes = server.notes.lock().unwrap();
        let own = notes.get(&id).is_some_and(|(owner, _)| *owner == user);
        return match own || server.flaw == "remove-any" {
            true if notes.remove(&id).is_some() => StatusCode::NO_CONTENT.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    }
    if server.flaw == "one-lane" {
        let _turn = server.lane.lock().await;
        tokio::time::sleep(Duration::from_millis(12)).await;
    }
    if server.flaw == "one-bucket" {
        let mut bucket = server.bucket.lock().unwrap();
        bucket.retain(|at| at.elapsed() < Duration::from_millis(100));
        bucket.push_back(Instant::now());
        if bucket.len() > 60 {
            return StatusCode::TOO_MANY_REQUESTS.into_response();
        }
    }
    if server.flaw == "shared-env" {
        *server.current.lock().unwrap() = (user, id);
        tokio::time::sleep(Duration::from_millis(2)).await;
        // All think that they are the one who came last.
        (user, id) = server.current.lock().unwrap().clone();
    }
    let name = ["x-request-id", "traceparent"].iter().find_map(|name| headers.get(*name));
    let key = match server.flaw {
        "http-cache" => Some(id.clone()),
        "request-id" => name.map(|value| value.to_str().unwrap().to_owned()),
        _ => None,
    };
    if let Some(hit) = key.as_ref().and_then(|key| server.cache.lock().unwrap().get(key).cloned()) {
        return ([("x-cache", "HIT")], Json(json!({ "text": hit }))).into_response();
    }
    let table = if server.flaw == "stale" { &server.replica } else { &server.notes };
    let note = table.lock().unwrap().get(&id).cloned();
    let response = match note {
        Some((owner, text)) if owner == user || server.flaw == "no-owner" => {
            if let Some(key) = key {
                server.cache.lock().unwrap().insert(key, text.clone());
            }
            ([("cache-control", "no-store")], Json(json!({ "text": text }))).into_response()
        }
        Some(_) if server.flaw == "forbidden" => StatusCode::FORBIDDEN.into_response(),
        Some(_) if server.flaw == "named" => {
            (StatusCode::NOT_FOUND, "this is not yours").into_response()
        }
        _ => (StatusCode::NOT_FOUND, format!("no note {id}")).into_response(),
    };
    match server.flaw {
        "desync" => over_the_pipe(&server, response).await,
        _ => response,
    }
}

/// Replies of a backend come in the order of the questions; whoever is cancelled leaves one.
async fn over_the_pipe(server: &Server, response: Response) -> Response {
    let mut pipe = server.pipe.lock().await;
    pipe.push_back((Instant::now(), response));
    tokio::time::sleep(Duration::from_millis(3)).await;
    pipe.pop_front().unwrap().1
}

async fn ask(State(server): Shared, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    if user(&headers).is_none() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let key = headers.get("x-request-id").map(|value| value.to_str().unwrap().to_owned());
    if let ("request-id", Some(key)) = (server.flaw, key) {
        let mut cache = server.cache.lock().unwrap();
        let text = asked["text"].as_str().unwrap().to_owned();
        return Json(json!({ "answer": cache.entry(key).or_insert(text) })).into_response();
    }
    Json(json!({ "answer": asked["text"] })).into_response()
}

/// Whatever is asked, the same.
async fn stubborn(State(server): Shared, uri: Uri, body: Bytes) -> Response {
    match server.flaw {
        "all-500" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "all-403" => StatusCode::FORBIDDEN.into_response(),
        "all-429" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        "all-200" => Json(json!({ "id": "n1" })).into_response(),
        _ => format!("{uri} {}", String::from_utf8_lossy(&body)).into_response(),
    }
}

async fn serve(flaw: &'static str, tasks: &mut JoinSet<()>) -> String {
    let server = Arc::new(Server { flaw, ..Server::default() });
    let router = match flaw.starts_with("all-") {
        true => Router::new().fallback(any(stubborn)),
        false => Router::new()
            .route("/notes", post(add))
            .route("/notes/{id}", get(one).delete(one))
            .route("/ask", post(ask)),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router.with_state(server)).await.unwrap() });
    url
}

async fn probed(flaw: &'static str, remembers: bool, options: Options) -> Vec<Finding> {
    let mut tasks = JoinSet::new();
    let url = serve(flaw, &mut tasks).await;
    let file = format!(
        "[budget]\nrequests = 100000\n[tenant.a]\ntoken = \"tok-a\"\n[tenant.b]\ntoken = \"tok-b\"\n\
         [target.notes]\nkind = \"bulkhead\"\nurl = \"{url}\"\n"
    );
    let plan = Plan::parse("t.toml", &file).unwrap();
    let target = Arc::clone(&plan.targets[0]);
    let a = plan.caller(&target, Side::A).await.unwrap();
    let b = plan.caller(&target, Side::B).await.unwrap();
    let budget = Arc::new(Budget::new(plan.budget.clone()));
    let canaries = Arc::new(Canaries::new(flaw.to_owned()));
    let lab = Lab::new(target, budget, canaries, Arc::new(options), (a, b));
    let mut sheet = Sheet::new(&lab, &Silent);
    let place = Notes { remembers };
    objects::all(&place, &lab, &mut sheet).await;
    race::all(&place, &lab, &mut sheet).await;
    sheet.into_findings()
}

fn quick() -> Options {
    Options { depth: Depth::Quick, allow_flood: true, seed: 3, ..Options::default() }
}

fn told(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let Finding { check, verdict, summary, requests, milliseconds, .. } = finding;
        let verdict = verdict.label();
        format!("{verdict:<10} {:<18} {summary} ({requests}, {milliseconds} ms)", check.id)
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn leaking(findings: &[Finding]) -> Vec<&'static str> {
    let leaks = findings.iter().filter(|finding| finding.verdict == Verdict::Leak);
    leaks.map(|finding| finding.check.id).collect()
}

#[tokio::test]
async fn what_is_right_is_isolated() {
    for (remembers, most) in [(true, 7), (false, 4)] {
        let findings = probed("", remembers, quick()).await;
        println!("{}", told(&findings));
        assert_eq!(findings.len(), most, "{}", told(&findings));
        for finding in &findings {
            // A machine that is busy otherwise shows nothing of load; it never shows a leak.
            let noise = finding.check.id == "noisy-neighbour";
            let busy = noise && finding.verdict == Verdict::NotProven;
            assert!(finding.verdict == Verdict::Isolated || busy, "{}", told(&findings));
        }
    }
}

#[tokio::test]
async fn each_mistake_is_found_by_its_check() {
    let mistakes: &[(&str, &[&str])] = &[
        ("no-owner", &["object-id"]),
        ("forbidden", &["object-id"]),
        ("named", &["object-id"]),
        ("remove-any", &["object-id"]),
        ("request-id", &["caller-id"]),
        // What is cached by its address alone is also still there when it was removed.
        ("http-cache", &["object-id", "shared-http-cache", "erasure"]),
        ("stale", &["erasure"]),
        ("shared-env", &["shared-env"]),
        ("desync", &["redis-desync"]),
    ];
    for (flaw, meant) in mistakes {
        let findings = probed(flaw, true, Options { allow_flood: false, ..quick() }).await;
        println!("== {flaw}\n{}", told(&findings));
        let leaks = leaking(&findings);
        assert!(!leaks.is_empty(), "{flaw}:\n{}", told(&findings));
        assert!(leaks.iter().all(|id| meant.contains(id)), "{flaw}:\n{}", told(&findings));
        assert!(leaks.contains(meant.last().unwrap()), "{flaw}:\n{}", told(&findings));
    }
    // An idempotency key is tried by POST alone.
    for (remembers, said) in [(true, "5 of 5"), (false, "6 of 6")] {
        let findings = probed("", remembers, quick()).await;
        let found = findings.iter().find(|finding| finding.check.id == "caller-id").unwrap();
        assert!(found.summary.starts_with(said), "{}", found.summary);
    }
    let asked = probed("request-id", false, quick()).await;
    assert_eq!(leaking(&asked), ["caller-id"], "{}", told(&asked));
}

/// A machine that is busy otherwise shows nothing of load, and that is said: a flood that is felt
/// is never called isolated. How often it is found stands in the benchmark of the prober.
#[tokio::test]
async fn a_flood_that_is_felt_is_not_called_isolated() {
    for flaw in ["one-lane", "one-bucket"] {
        let findings = probed(flaw, true, quick()).await;
        let noise = |finding: &&Finding| finding.check.id == "noisy-neighbour";
        let felt = findings.iter().find(noise).expect("it was looked at");
        assert_ne!(felt.verdict, Verdict::Isolated, "{flaw}:\n{}", told(&findings));
        let others = leaking(&findings).into_iter().filter(|id| *id != "noisy-neighbour");
        assert_eq!(others.count(), 0, "{flaw}:\n{}", told(&findings));
    }
}

#[tokio::test]
async fn a_server_that_answers_all_alike_proves_nothing() {
    for flaw in ["all-500", "all-403", "all-429", "all-200", "all-echo"] {
        let findings = probed(flaw, true, quick()).await;
        println!("== {flaw}\n{}", told(&findings));
        for finding in &findings {
            assert_eq!(finding.verdict, Verdict::NotProven, "{flaw}:\n{}", told(&findings));
        }
    }
}

#[tokio::test]
async fn nobody_floods_unasked_and_a_dry_run_sends_nothing() {
    let calm = Options { allow_flood: false, ..quick() };
    let findings = probed("", true, calm).await;
    let noise = findings.iter().find(|finding| finding.check.id == "noisy-neighbour").unwrap();
    assert_eq!((noise.verdict, noise.summary.as_str()), (Verdict::NotProven, "--allow-flood"));
    assert_eq!(noise.requests, 0);

    // At a server that would answer anything with an error.
    let dry = Options { dry_run: true, ..quick() };
    let findings = probed("all-500", true, dry).await;
    for finding in &findings {
        assert_ne!(finding.verdict, Verdict::Leak, "{}", told(&findings));
        assert!(!finding.summary.contains("500"), "{}", told(&findings));
    }
}
