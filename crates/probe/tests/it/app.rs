//! The application: each flaw is found by its check, and by no other; the twin is isolated.

use bulkhead_probe::{
    Depth, Options, Report, Silent, Verdict,
    demo::{Flaw, Flaws, Stack, flaws},
    run,
};

use crate::it::flaws::{each_is_found, line, seeds, told};

/// The application, and its documents behind a cache.
const TARGETS: [&str; 2] = ["agent", "cdn"];

async fn probed(flaws: Flaws, targets: &[&str], seed: u64, allow_flood: bool) -> Report {
    let stack = Stack::start(flaws).await.expect("a stack");
    let mut plan = stack.plan().expect("a plan");
    plan.targets.retain(|target| targets.contains(&target.name.as_str()));
    plan.budget.requests = 100_000;
    let options = Options { depth: Depth::Quick, allow_flood, seed, ..Options::default() };
    run(&plan, options, &Silent).await.expect("a report")
}

fn own() -> impl Iterator<Item = &'static Flaw> {
    flaws().filter(|flaw| flaw.name.starts_with("app-"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_twin_is_isolated() {
    for seed in seeds() {
        let report = probed(Flaws::none(), &TARGETS, seed, floods()).await;
        let other = report.findings.iter().filter(|finding| finding.verdict != Verdict::Isolated);
        let other = other.filter(|finding| floods() || finding.check.id != FLOOD);
        let other: Vec<String> = other.map(line).collect();
        assert!(other.is_empty(), "seed {seed}\n{}\n\nall:\n{}", other.join("\n"), told(&report));
        if seed == 0 {
            println!("{} requests\n{}", report.spent.requests, told(&report));
        }
    }
}

/// What is felt under load depends on what else the machine does: only where it is asked for, by
/// `PROBE_FLOOD=1`.
fn floods() -> bool {
    std::env::var_os("PROBE_FLOOD").is_some()
}

const FLOOD: &str = "noisy-neighbour";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flaw_is_found() {
    let asked_for = |flaw: &&Flaw| floods() || flaw.check.id != FLOOD;
    let probed = async |flaw: &'static Flaw, seed| {
        // What is wrong at the one is wrong at the other, too; but for the cache.
        let at = usize::from(flaw.name == "app-http-cache");
        let flood = flaw.check.id == FLOOD;
        probed(Flaws::one(flaw.name), &TARGETS[at..=at], seed, flood).await
    };
    each_is_found(own().filter(asked_for), probed).await;
}

/// What answers everything alike: nothing that it is silent about is isolation.
mod alike {
    use axum::{
        Router,
        body::{Bytes, to_bytes},
        extract::Request,
        http::StatusCode,
        response::{IntoResponse as _, Response},
    };
    use bulkhead_probe::Plan;
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    /// A server of this kind of answers, probed as if it were the application.
    async fn answers(of: fn(String, Bytes) -> Response) -> Report {
        let served = move |request: Request| async move {
            let line = format!("{} {}", request.method(), request.uri());
            of(line, to_bytes(request.into_body(), 1 << 20).await.expect("a body"))
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().fallback(served)).await });
        let stack = Stack::start(Flaws::none()).await.expect("a stack");
        let file = stack.file().lines().map(|line| match line.starts_with("url = \"http://") {
            true => format!("url = \"http://{address}\"\n"),
            false => format!("{line}\n"),
        });
        let mut plan = Plan::parse("alike.toml", &file.collect::<String>()).expect("a plan");
        plan.targets.retain(|target| target.name == TARGETS[0]);
        let options = Options { depth: Depth::Quick, ..Options::default() };
        run(&plan, options, &Silent).await.expect("a report")
    }

    fn nothing_is_isolated(report: &Report) {
        assert_eq!(report.count(Verdict::Isolated), 0, "{}", told(report));
    }

    #[tokio::test]
    async fn errors() {
        let report = answers(|_, _| StatusCode::INTERNAL_SERVER_ERROR.into_response()).await;
        nothing_is_isolated(&report);
        assert_eq!(report.count(Verdict::Leak), 0, "{}", told(&report));
    }

    #[tokio::test]
    async fn refusals() {
        let report = answers(|_, _| StatusCode::NOT_FOUND.into_response()).await;
        nothing_is_isolated(&report);
        assert_eq!(report.count(Verdict::Leak), 0, "{}", told(&report));
    }

    #[tokio::test]
    async fn ok() {
        let report = answers(|_, _| "ok".into_response()).await;
        nothing_is_isolated(&report);
    }

    /// With everything in it that the templates look for, and with what was asked.
    #[tokio::test]
    async fn echoes() {
        let report = answers(|line, body| {
            let said = String::from_utf8_lossy(&body).into_owned();
            let answer = serde_json::json!({
                "id": "1", "job": "1", "thread": "1", "done": true, "text": said, "line": line,
            });
            answer.to_string().into_response()
        })
        .await;
        nothing_is_isolated(&report);
    }
}

/// With everything wrong at once a newcomer still sees most of it, and nothing is called isolated
/// that the same stack is known to leak.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once() {
    let report = probed(Flaws::all(), &TARGETS, 0, floods()).await;
    let found = |flaw: &&Flaw| {
        let mut leaks = report.findings.iter().filter(|each| each.verdict == Verdict::Leak);
        leaks.any(|leak| leak.check == flaw.check)
    };
    let unfound: Vec<&str> = own()
        .filter(|flaw| floods() || flaw.check.id != FLOOD)
        .filter(|flaw| !found(flaw))
        .map(|flaw| flaw.name)
        .collect();
    assert!(unfound.is_empty(), "{unfound:?}\n{}", told(&report));
}

/// What is left is removed, and shown to be gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left() {
    let report = probed(Flaws::none(), &TARGETS, 0, false).await;
    let canaries = &report.canaries;
    assert!(canaries.planted > 50, "{canaries:?}");
    assert!(canaries.left.is_empty(), "{:#?}", canaries.left);
    assert_eq!(canaries.planted, canaries.removed, "{canaries:?}");
}

/// A dry run lists what would be sent, and sends nothing.
#[tokio::test]
async fn a_dry_run_sends_nothing() {
    let stack = Stack::start(Flaws::none()).await.expect("a stack");
    let mut plan = stack.plan().expect("a plan");
    drop(stack);
    plan.targets.retain(|target| target.name == TARGETS[0]);
    let options = Options { depth: Depth::Quick, dry_run: true, ..Options::default() };
    let report = run(&plan, options, &Silent).await.expect("a report");
    let items = report.foreseen.iter().flat_map(|target| &target.items);
    let lines: Vec<&str> = items.map(|item| item.line.as_str()).collect();
    for path in ["/docs", "/chat", "/jobs/", "/tools/export", "/rpc", "/admin/jobs", "/metrics"] {
        assert!(lines.iter().any(|line| line.contains(path)), "{path}: {lines:#?}");
    }
    let halted = report.findings.iter().filter(|each| each.verdict == Verdict::NotProven);
    let halted: Vec<String> = halted.map(line).filter(|line| !line.contains("flood")).collect();
    assert!(halted.is_empty(), "{halted:#?}");
}
