//! Servers at which the checks' own controls break: nothing is called isolated there, and nothing
//! a leak.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex},
};

use axum::{Json, Router, body::Bytes, http::StatusCode, response::IntoResponse as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{Depth, Finding, Options, Plan, Report, Silent, Verdict, catalog, run};

/// What these tests are about; the rest is any place's.
const CHECKS: [&str; 6] = [
    catalog::EXACT_KEY.id,
    catalog::CALLER_NAMESPACE.id,
    catalog::SOFT_SCOPE.id,
    catalog::CACHED_ERRORS.id,
    catalog::PROMPT_CACHE.id,
    catalog::PROMPT_TIMING.id,
];

type Reply = (StatusCode, Value);

/// A server that answers everything with this, by the body and the number of the request.
async fn against(
    only: &[&str],
    reply: impl Fn(&Value, usize) -> Reply + Clone + Send + Sync + 'static,
) -> Report {
    let _known = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(0));
    let routes = Router::new().fallback(move |body: Bytes| {
        let (reply, asked) = (reply.clone(), Arc::clone(&asked));
        async move {
            let number = {
                let mut asked = asked.lock().unwrap();
                *asked += 1;
                *asked
            };
            let (status, body) = reply(&serde_json::from_slice(&body).unwrap_or_default(), number);
            (status, Json(body)).into_response()
        }
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let file = format!(
        "[tenant.a]\ntoken = \"one-of-a\"\n\n[tenant.b]\ntoken = \"one-of-b\"\n\n\
         [target.model]\nkind = \"openai\"\nurl = \"http://{address}\"\nmodel = \"m\"\n"
    );
    let only = only.iter().map(|id| (*id).to_owned()).collect();
    let options = Options { only, depth: Depth::Quick, ..Options::default() };
    run(&Plan::parse("a test", &file).unwrap(), options, &Silent).await.unwrap()
}

fn all_are(report: &Report, verdict: Verdict, about: &str) {
    assert!(!report.findings.is_empty());
    for Finding { check, verdict: is, summary, .. } in &report.findings {
        assert_eq!(*is, verdict, "{about}: {}: {summary}", check.id);
    }
}

fn completion(id: &str, created: u64, text: &str) -> Value {
    json!({"id": id, "created": created, "choices": [{"message": {"content": text}}]})
}

/// A number that is made of the question alone.
fn hash(body: &Value) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(body["messages"].to_string())
}

fn now() -> u64 {
    use ids::Clock as _;
    ids::SystemClock.now().secs()
}

#[tokio::test]
async fn where_controls_break_nothing_is_proven() {
    let ok = StatusCode::OK;
    let broken = against(&CHECKS, |_, _| (StatusCode::INTERNAL_SERVER_ERROR, json!({}))).await;
    all_are(&broken, Verdict::NotProven, "an error for everything");
    let refuses = against(&CHECKS, |_, _| (StatusCode::UNAUTHORIZED, json!({"error": "no"}))).await;
    all_are(&refuses, Verdict::NotProven, "refuses everybody");
    let empty = against(&CHECKS, move |_, _| (ok, json!({}))).await;
    all_are(&empty, Verdict::NotProven, "says nothing");
    let echo = against(&CHECKS, move |body, _| (ok, body.clone())).await;
    all_are(&echo, Verdict::NotProven, "says everything again");
    let same = against(&CHECKS, move |_, _| (ok, completion("chatcmpl-1", 7, "yes"))).await;
    all_are(&same, Verdict::NotProven, "says always the same");
}

#[tokio::test]
async fn without_any_cache_an_answer_is_each_ones_own() {
    let reply = |_: &Value, number: usize| {
        (StatusCode::OK, completion(&format!("chatcmpl-{number}"), now(), "yes"))
    };
    let report = against(&["exact-key", "caller-namespace", "soft-scope"], reply).await;
    all_are(&report, Verdict::Isolated, "no cache");
    assert!(report.findings.iter().all(|finding| finding.summary.contains("no cache seen")));
    // No cached tokens, no time saved: here silence means nothing.
    let report = against(&["prompt-cache", "cached-errors"], reply).await;
    all_are(&report, Verdict::NotProven, "no cache");
}

#[tokio::test]
async fn ids_made_of_the_question_are_no_leak() {
    let reply = |body: &Value, _: usize| {
        (StatusCode::OK, completion(&format!("chatcmpl-{:x}", hash(body)), now(), "yes"))
    };
    all_are(&against(&["exact-key"], reply).await, Verdict::Isolated, "made of the question");
    let still = |body: &Value, _: usize| {
        (StatusCode::OK, completion(&format!("chatcmpl-{:x}", hash(body)), 1_700_000_000, "yes"))
    };
    all_are(&against(&["exact-key"], still).await, Verdict::NotProven, "and time stands still");
}

#[tokio::test]
async fn a_cache_that_all_share_is_a_leak() {
    let kept = Arc::new(Mutex::new(BTreeMap::<u64, Value>::new()));
    let reply = move |body: &Value, number: usize| {
        let mut kept = kept.lock().unwrap();
        let answer = kept
            .entry(hash(body))
            .or_insert_with(|| completion(&format!("chatcmpl-{number}"), now(), "yes"));
        (StatusCode::OK, answer.clone())
    };
    let report = against(&["exact-key", "caller-namespace"], reply).await;
    all_are(&report, Verdict::Leak, "one cache for all");
    let proof = report.findings[0].proof.as_ref().unwrap();
    assert_eq!(proof.steps.iter().map(|step| step.who.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn overload_is_no_error_and_what_tells_nothing_is_not_claimed() {
    let id = |number| completion(&format!("chatcmpl-{number}"), now(), "yes");
    let faulty = |body: &Value| {
        let role = body["messages"][0]["role"] != "user";
        role || body["temperature"].is_string()
            || body["tool_choice"].is_object()
            || body["model"] != "m"
    };
    let busy = move |body: &Value, number: usize| match faulty(body) {
        true => (StatusCode::SERVICE_UNAVAILABLE, json!({})),
        false => (StatusCode::OK, id(number)),
    };
    let report = against(&["cached-errors"], busy).await;
    all_are(&report, Verdict::NotProven, "overload for an error");
    let tells = move |telling: bool| {
        move |body: &Value, number: usize| match (faulty(body), telling) {
            (true, true) => (StatusCode::BAD_REQUEST, json!({"error": body.to_string()})),
            (true, false) => (StatusCode::BAD_REQUEST, json!({"error": "bad"})),
            _ => (StatusCode::OK, id(number)),
        }
    };
    let report = against(&["cached-errors"], tells(true)).await;
    all_are(&report, Verdict::Isolated, "errors that tell");
    assert!(report.findings[0].summary.contains("none kept"), "{}", report.findings[0].summary);
    let report = against(&["cached-errors"], tells(false)).await;
    all_are(&report, Verdict::Isolated, "errors that tell nothing");
    assert!(report.findings[0].summary.contains("none tells"), "{}", report.findings[0].summary);
}
