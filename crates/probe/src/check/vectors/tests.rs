//! Each check finds what it is for in a stand-in that has it, and keeps silent on one that has
//! not; and on a server that answers whatever it likes nothing is ever called isolated.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use axum::{Json, Router, body::Bytes, http::StatusCode, response::IntoResponse};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    Depth, Options, Plan, Silent, Verdict,
    demo::{Cast, Flaw, Flaws, vectors},
    verdict::Finding,
};

fn cast() -> Arc<Cast> {
    let draw = || ids::RandomId::draw(&ids::OsEntropy).to_string();
    Arc::new(Cast { a: draw(), b: draw(), expired: draw() })
}

fn file(cast: &Cast, address: SocketAddr, more: &str) -> String {
    format!(
        "[tenant.a]\ntoken = \"{}\"\nnames = [\"acme\"]\nexpired = \"{}\"\n\
         [tenant.b]\ntoken = \"{}\"\nnames = [\"globex\"]\n\
         [target.points]\nkind = \"qdrant\"\nurl = \"http://{address}\"\n{more}\n",
        cast.a, cast.expired, cast.b
    )
}

/// Everything that a target of this kind is put to.
async fn probed(file: &str, seed: u64, only: &[&str]) -> crate::Report {
    let plan = Plan::parse("test.toml", file).unwrap();
    let only = only.iter().map(|&name| name.to_owned()).collect();
    let options =
        Options { depth: Depth::Quick, seed, allow_flood: true, only, ..Options::default() };
    crate::run(&plan, options, &Silent).await.unwrap()
}

/// The checks of this file; the others have their own tests.
const OWN: [(&str, &str); 9] = [
    ("identity-missing", "queries"),
    ("crowding", "points"),
    ("non-interference", "points"),
    ("filter-escape", "points"),
    ("corpus-statistics", "points"),
    ("erasure", "queries"),
    ("exact-key", "queries"),
    ("caller-id", "point ids"),
    ("object-id", "collections"),
];

fn own(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| OWN.contains(&(finding.check.id, finding.place.as_str())))
}

fn said(finding: &Finding) -> String {
    let Finding { check, place, verdict, summary, positive, negative, .. } = finding;
    format!("{} {place}: {verdict:?}: {summary} {positive:?} {negative:?}", check.id)
}

async fn with(flaws: Flaws, shared: bool, seed: u64, more: &str) -> crate::Report {
    put(flaws, shared, seed, (more, &OWN.map(|(id, _)| id))).await
}

async fn put(
    flaws: Flaws,
    shared: bool,
    seed: u64,
    (more, only): (&str, &[&str]),
) -> crate::Report {
    let (cast, mut tasks) = (cast(), JoinSet::new());
    let address = vectors::serve(&cast, &Arc::new(flaws), shared, &mut tasks).await.unwrap();
    probed(&file(&cast, address, more), seed, only).await
}

fn leaks(findings: &[Finding]) -> BTreeSet<&'static str> {
    let leaks = own(findings).filter(|finding| finding.verdict == Verdict::Leak);
    leaks.map(|finding| finding.check.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fixed_twin_is_isolated() {
    for seed in 0..3 {
        let report = with(Flaws::none(), false, seed, "").await;
        let seen: Vec<String> = own(&report.findings).map(said).collect();
        assert_eq!(seen.len(), OWN.len() - 1, "{seen:#?}");
        let isolated = |finding: &Finding| finding.verdict == Verdict::Isolated;
        assert!(own(&report.findings).all(isolated), "seed {seed}: {seen:#?}");
        let canaries = &report.canaries;
        assert_eq!(canaries.verified, canaries.planted, "{canaries:#?}");
    }
}

/// They put thousands of points; flaws that do not concern them are put to them all at once.
const HEAVY: [&str; 2] = ["crowding", "corpus-statistics"];

fn concerned(flaw: &Flaw) -> BTreeSet<&'static str> {
    flaw.also.iter().map(|check| check.id).chain([flaw.check.id]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_flaw_is_found_by_its_check_and_by_none_that_it_does_not_concern() {
    for flaw in vectors::FLAWS {
        let (name, may) = (flaw.name, concerned(flaw));
        let wanted = OWN.iter().map(|(id, _)| *id);
        let wanted = wanted.filter(|id| !HEAVY.contains(id) || may.contains(id));
        let wanted: Vec<&str> = wanted.collect();
        let report = put(Flaws::one(name), false, name.len() as u64, ("", &wanted)).await;
        let found = leaks(&report.findings);
        let seen: Vec<String> = own(&report.findings).map(said).collect();
        assert!(found.contains(flaw.check.id), "{name}: {} is silent: {seen:#?}", flaw.check.id);
        assert!(found.is_subset(&may), "{name}: found by {found:?}: {seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaws_that_do_not_concern_them_leave_crowding_and_statistics_silent() {
    let apart = |flaw: &&Flaw| !concerned(flaw).iter().any(|id| HEAVY.contains(id));
    let names: Vec<String> =
        vectors::FLAWS.iter().filter(apart).map(|flaw| flaw.name.to_owned()).collect();
    let report = put(Flaws::named(&names).unwrap(), false, 5, ("", &HEAVY)).await;
    let seen: Vec<String> = own(&report.findings).map(said).collect();
    let isolated = |finding: &Finding| finding.verdict == Verdict::Isolated;
    assert!(seen.len() == 2 && own(&report.findings).all(isolated), "{names:?}: {seen:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_credential_and_a_field_are_held_to_the_filter() {
    let more = "tenant_field = \"customer\"";
    let report = with(Flaws::none(), true, 1, more).await;
    let seen: Vec<String> = own(&report.findings).map(said).collect();
    assert_eq!(seen.len(), 6, "{seen:#?}");
    let isolated = |finding: &Finding| finding.verdict == Verdict::Isolated;
    assert!(own(&report.findings).all(isolated), "{seen:#?}");
    let findable = [
        ("points-post-filter", "crowding"),
        ("points-idf", "corpus-statistics"),
        ("points-prefetch", "filter-escape"),
        ("points-facet", "filter-escape"),
        ("points-count", "filter-escape"),
        ("points-reference", "filter-escape"),
        ("points-group-lookup", "filter-escape"),
        ("points-normalised", "non-interference"),
        ("points-soft-delete", "erasure"),
    ];
    for (flaw, check) in findable {
        let report = put(Flaws::one(flaw), true, 1, (more, &[check])).await;
        let seen: Vec<String> = own(&report.findings).map(said).collect();
        assert!(leaks(&report.findings).contains(check), "{flaw}: {seen:#?}");
    }
}

async fn said_by(token: &str, address: SocketAddr, method: &str, path: &str, body: Value) -> Value {
    let _known = rustls::crypto::ring::default_provider().install_default();
    let method = method.parse::<http::Method>().unwrap();
    let request = reqwest::Client::new().request(method, format!("http://{address}{path}"));
    let request = request.header("api-key", token).body(body.to_string());
    let text = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Each has its own by convention; B asks for A's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_the_tenant_in_it_is_asked_for_by_the_other() {
    for flaw in [None, Some("collections-by-name")] {
        let (cast, mut tasks) = (cast(), JoinSet::new());
        let flaws = Arc::new(flaw.map_or_else(Flaws::none, Flaws::one));
        let address = vectors::serve(&cast, &flaws, false, &mut tasks).await.unwrap();
        said_by(&cast.a, address, "PUT", "/collections/docs-acme", json!({})).await;
        said_by(&cast.b, address, "PUT", "/collections/docs-globex", json!({})).await;
        let file = file(&cast, address, "collection = \"docs-{tenant}\"");
        let report = probed(&file, 2, &["filter-escape", "crowding", "caller-id"]).await;
        let seen: Vec<String> = own(&report.findings).map(said).collect();
        assert_eq!(seen.len(), 3, "{seen:#?}");
        assert_eq!(leaks(&report.findings).contains("filter-escape"), flaw.is_some(), "{seen:#?}");
        assert!(own(&report.findings).all(|one| one.verdict != Verdict::NotProven), "{seen:#?}");
        assert_eq!(report.canaries.verified, report.canaries.planted, "{:#?}", report.canaries);
    }
}

/// Two credentials for one and the same: nothing is anybody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_credentials_that_open_the_same_are_found() {
    let report = with(Flaws::none(), true, 4, "").await;
    let found = leaks(&report.findings);
    let seen: Vec<String> = own(&report.findings).map(said).collect();
    for check in ["filter-escape", "object-id", "caller-id"] {
        assert!(found.contains(check), "{check}: {seen:#?}");
    }
}

/// Only points of the run are asked for, and what was there stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_named_keeps_what_is_in_it() {
    let (cast, mut tasks) = (cast(), JoinSet::new());
    let address = vectors::serve(&cast, &Arc::new(Flaws::none()), true, &mut tasks).await.unwrap();
    let send = async |method, path, body| said_by(&cast.a, address, method, path, body).await;
    send("PUT", "/collections/docs", json!({})).await;
    let vector = json!({ "dense": vec![0.1; 32] });
    let point = json!({ "id": "mine", "vector": vector, "payload": { "customer": "acme", "mark": "private" } });
    send("PUT", "/collections/docs/points", json!({ "points": [point] })).await;
    let more = "tenant_field = \"customer\"\ncollection = \"docs\"";
    let report = probed(&file(&cast, address, more), 3, &OWN.map(|(id, _)| id)).await;
    let seen: Vec<String> = own(&report.findings).map(said).collect();
    let isolated = |finding: &Finding| finding.verdict == Verdict::Isolated;
    assert!(own(&report.findings).all(isolated), "{seen:#?}");
    let left = send("POST", "/collections/docs/points/scroll", json!({ "limit": 9 })).await;
    let ids: Vec<&str> = left["result"]["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["mine"]);
}

type Stub = fn(&Bytes) -> (StatusCode, Value);

async fn stub(answer: Stub, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(async move |body: Bytes| {
        let (status, body) = answer(&body);
        (status, Json(body)).into_response()
    });
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_answers_anything_is_never_isolated() {
    let stubs: [(&str, Stub); 5] = [
        ("echo", |body| (StatusCode::OK, serde_json::from_slice(body).unwrap_or_default())),
        ("errors", |_| (StatusCode::INTERNAL_SERVER_ERROR, json!({ "status": "error" }))),
        ("always well", |_| (StatusCode::OK, json!({ "result": true, "status": "ok" }))),
        ("empty", |_| {
            (StatusCode::OK, json!({ "result": { "points": [], "count": 0, "hits": [] } }))
        }),
        ("refuses", |_| (StatusCode::FORBIDDEN, json!({ "status": { "error": "no" } }))),
    ];
    for (name, answer) in stubs {
        let (cast, mut tasks) = (cast(), JoinSet::new());
        let address = stub(answer, &mut tasks).await;
        let report = probed(&file(&cast, address, ""), 1, &OWN.map(|(id, _)| id)).await;
        for finding in own(&report.findings) {
            assert_eq!(finding.verdict, Verdict::NotProven, "{name}: {}", said(finding));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_lists_everything_and_sends_nothing() {
    let cast = cast();
    let address: SocketAddr = ([127, 0, 0, 1], 9).into();
    let plan = Plan::parse("test.toml", &file(&cast, address, "")).unwrap();
    let options = Options { dry_run: true, depth: Depth::Quick, ..Options::default() };
    let report = crate::run(&plan, options, &Silent).await.unwrap();
    let planned: u64 = report.foreseen.iter().map(|target| target.requests).sum();
    assert!(planned > 150, "{planned}");
    assert!(own(&report.findings).all(|finding| finding.verdict != Verdict::Leak));
}
