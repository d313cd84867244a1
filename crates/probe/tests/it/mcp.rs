//! The MCP server: each flaw is found by its check, and by no other; the twin is isolated, in both
//! versions of the protocol.

use bulkhead_probe::{
    Depth, Finding, Options, Plan, Report, Silent, Verdict,
    demo::{Flaw, Flaws, Stack, flaws},
    run,
};

use crate::it::flaws::{each_is_found, line, seeds, told};

const TARGET: &str = "notes";
/// What any store is put to is shown at the other stand-ins.
const OWN: [&str; 11] = [
    "id-resolve",
    "id-spelling",
    "error-record",
    "cached-errors",
    "rpc-id",
    "rpc-idempotency",
    "session-reuse",
    "handle-reuse",
    "list-scope",
    "tenant-arg",
    "token-in-address",
];

fn plan(stack: &Stack, more: &str) -> Plan {
    let file = stack.file().replace("kind = \"mcp\"\n", &format!("kind = \"mcp\"\n{more}"));
    let mut plan = Plan::parse("the demo", &file).expect("a plan");
    plan.targets.retain(|target| target.name == TARGET);
    plan.budget.requests = 100_000;
    plan
}

async fn probed(flaws: Flaws, more: &str, seed: u64, only: &[&str]) -> Report {
    let stack = Stack::start(flaws).await.expect("a stack");
    let only = only.iter().map(|id| (*id).to_owned()).collect();
    let options = Options { depth: Depth::Quick, seed, only, ..Options::default() };
    run(&plan(&stack, more), options, &Silent).await.expect("a report")
}

/// Load is not made, and what nobody made shows nothing.
const FLOOD: &str = "noisy-neighbour";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_twin_is_isolated() {
    for seed in seeds() {
        let report = probed(Flaws::none(), "", seed, &[]).await;
        let other = report
            .findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Isolated && finding.check.id != FLOOD);
        let other: Vec<String> = other.map(line).collect();
        assert!(other.is_empty(), "seed {seed}\n{}\n\nall:\n{}", other.join("\n"), told(&report));
        let canaries = &report.canaries;
        assert!(canaries.planted > 50 && canaries.left.is_empty(), "{canaries:#?}");
        assert_eq!(canaries.planted, canaries.removed, "{canaries:?}");
        if seed == 0 {
            println!("{} requests\n{}", report.spent.requests, told(&report));
        }
    }
}

/// What only such servers have, and who somebody is, asked in sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_twin_is_isolated_in_sessions() {
    let identity =
        ["identity-missing", "identity-swap", "identity-conflict", "object-id", "erasure"];
    let only: Vec<&str> = OWN.into_iter().chain(identity).collect();
    let report = probed(Flaws::none(), "protocol = \"2025-11-25\"\n", 1, &only).await;
    let other = report.findings.iter().filter(|finding| finding.verdict != Verdict::Isolated);
    let other: Vec<String> = other.map(line).collect();
    // An interrupted call goes on in the newer version alone, which is spoken for it.
    assert!(other.is_empty(), "{}\n\nall:\n{}", other.join("\n"), told(&report));
    assert!(report.findings.len() >= only.len(), "{}", told(&report));
}

fn own() -> impl Iterator<Item = &'static Flaw> {
    flaws().filter(|flaw| flaw.name.starts_with("mcp-"))
}

async fn every(more: &'static str) {
    let probed = async |flaw: &'static Flaw, seed| {
        // In sessions no check is another one: that it finds its flaw is enough.
        let own = [flaw.check.id];
        let only: &[&str] = match (std::env::var_os("PROBE_WHOLE"), more.is_empty()) {
            (Some(_), _) => &[],
            (None, true) => &OWN,
            (None, false) => &own,
        };
        probed(Flaws::one(flaw.name), more, seed, only).await
    };
    each_is_found(own(), probed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flaw_is_found() {
    every("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flaw_is_found_in_sessions() {
    every("protocol = \"2025-11-25\"\n").await;
}

/// With everything wrong at once each is found still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once() {
    let report = probed(Flaws::all(), "", 0, &OWN).await;
    let found = |flaw: &&Flaw| {
        let mut leaks = report.findings.iter().filter(|each| each.verdict == Verdict::Leak);
        leaks.any(|leak| leak.check == flaw.check)
    };
    let unfound: Vec<&str> = own().filter(|flaw| !found(flaw)).map(|flaw| flaw.name).collect();
    assert!(unfound.is_empty(), "{unfound:?}\n{}", told(&report));
}

/// Where nothing may be left, what is there already is asked for, and nothing is written.
mod read_only {
    use serde_json::{Value, json};

    use super::*;

    /// The target's address, and both tenants' credentials.
    fn at(stack: &Stack) -> (String, [String; 2]) {
        let said = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
        let lines = stack.file().lines();
        let tokens: Vec<String> =
            lines.clone().filter(|line| line.starts_with("token = ")).map(said).collect();
        let url = lines.filter(|line| line.ends_with("/mcp\"")).map(said).next();
        (url.expect("an address"), [tokens[0].clone(), tokens[1].clone()])
    }

    async fn note(url: &str, token: &str, text: &str) -> String {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "create_note", "arguments": { "text": text } },
        });
        let sent = reqwest::Client::new()
            .post(url)
            .header("authorization", format!("Bearer {token}"))
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .body(call.to_string());
        let answer = sent.send().await.expect("an answer").text().await.expect("a body");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["result"]["structuredContent"]["id"].as_str().expect("an id").to_owned()
    }

    async fn known(flaws: Flaws) -> Report {
        let stack = Stack::start(flaws).await.expect("a stack");
        let (url, [a, b]) = at(&stack);
        let (of_a, of_b) = (
            note(&url, &a, "the quarterly figures of Acme").await,
            note(&url, &b, "what Globex pays for oil").await,
        );
        let file = format!(
            "[tenant.a]\ntoken = \"{a}\"\nnames = [\"acme\"]\n\
             [tenant.b]\ntoken = \"{b}\"\nnames = [\"globex\"]\n\
             [target.notes]\nkind = \"mcp\"\nurl = \"{url}\"\n\
             read = {{ tool = \"get_note\", arguments = {{ id = \"{{id}}\" }} }}\n\
             tools = [{{ tool = \"fetch_note\", arguments = {{ id = \"{{id}}\" }} }}]\n\
             [target.notes.known]\n\
             a = {{ id = \"{of_a}\", text = \"the quarterly figures of Acme\" }}\n\
             b = {{ id = \"{of_b}\", text = \"what Globex pays for oil\" }}\n"
        );
        let plan = Plan::parse("a test", &file).expect("a plan");
        let options = Options { depth: Depth::Quick, ..Options::default() };
        run(&plan, options, &Silent).await.expect("a report")
    }

    #[tokio::test]
    async fn nothing_is_left_and_leaks_are_found() {
        let report = known(Flaws::none()).await;
        let isolated = |each: &Finding| each.verdict == Verdict::Isolated;
        assert!(report.findings.iter().all(isolated), "{}", told(&report));
        assert!(report.findings.len() >= 6, "{}", told(&report));
        assert_eq!(report.canaries.planted, 0);
        let report = known(Flaws::one("mcp-tool-unowned")).await;
        let leak = report.findings.iter().find(|each| each.verdict == Verdict::Leak);
        let leak = leak.expect("a leak");
        assert_eq!(leak.check.id, "id-resolve");
        let proof = serde_json::to_string(&leak.proof).expect("a proof");
        assert!(!proof.contains("quarterly"), "what is somebody's own is not shown: {proof}");
    }
}

/// What answers everything alike: nothing that it is silent about is isolation.
mod alike {
    use axum::{
        Router,
        body::Bytes,
        extract::Request,
        http::StatusCode,
        response::{IntoResponse as _, Response},
    };
    use serde_json::{Value, json};
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    async fn answers(of: fn(Bytes) -> Response) -> Report {
        let served = move |request: Request| async move {
            of(axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body"))
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().fallback(served)).await });
        let stack = Stack::start(Flaws::none()).await.expect("a stack");
        let file = stack.file().lines().map(|line| match line.ends_with("/mcp\"") {
            true => format!("url = \"http://{address}\"\n"),
            false => format!("{line}\n"),
        });
        let mut plan = Plan::parse("alike.toml", &file.collect::<String>()).expect("a plan");
        plan.targets.retain(|target| target.name == TARGET);
        let only = OWN.into_iter().chain(["identity-missing", "object-id", "shared-env"]);
        let only = only.map(str::to_owned).collect();
        let options = Options { depth: Depth::Quick, only, ..Options::default() };
        run(&plan, options, &Silent).await.expect("a report")
    }

    #[tokio::test]
    async fn nothing_is_isolated() {
        let all: [fn(Bytes) -> Response; 5] = [
            |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            |_| StatusCode::NOT_FOUND.into_response(),
            |_| "ok".into_response(),
            |body| {
                let id = serde_json::from_slice::<Value>(&body).unwrap_or_default()["id"].take();
                let error = json!({ "code": -32602, "message": "no" });
                json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string().into_response()
            },
            // With everything in it that is looked for, and with what was asked.
            |body| {
                let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
                let result = json!({
                    "structuredContent": { "id": "17", "nextCursor": "c", "asked": asked },
                    "requestState": "s", "supportedVersions": ["2026-07-28"],
                });
                let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result });
                answer.to_string().into_response()
            },
        ];
        for (at, answer) in all.into_iter().enumerate() {
            let report = answers(answer).await;
            assert_eq!(report.count(Verdict::Isolated), 0, "{at}\n{}", told(&report));
            assert!(at > 2 || report.count(Verdict::Leak) == 0, "{at}\n{}", told(&report));
        }
    }
}

/// A dry run lists what would be sent, and sends nothing.
#[tokio::test]
async fn a_dry_run_sends_nothing() {
    let stack = Stack::start(Flaws::none()).await.expect("a stack");
    let plan = plan(&stack, "");
    drop(stack);
    let options = Options { depth: Depth::Quick, dry_run: true, ..Options::default() };
    let report = run(&plan, options, &Silent).await.expect("a report");
    let items = report.foreseen.iter().flat_map(|target| &target.items);
    let bodies: Vec<String> = items.filter_map(|item| item.body.clone()).collect();
    for said in
        ["create_note", "get_note", "list_notes", "delete_note", "resources/read", "initialize"]
    {
        assert!(bodies.iter().any(|body| body.contains(said)), "{said}: {bodies:#?}");
    }
    let halted = report.findings.iter().filter(|each| each.verdict == Verdict::NotProven);
    let halted: Vec<String> = halted.map(line).filter(|line| !line.contains("flood")).collect();
    assert!(halted.is_empty(), "{halted:#?}");
}
