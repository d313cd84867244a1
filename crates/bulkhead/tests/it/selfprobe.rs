//! `bulkhead probe --self`: a deployment of the built binary probes itself, from outside.
//!
//! The tests that probe one group of checks are those that must catch planted bugs
//! (`cargo xtask planted`): they fail for a leak that was found, and for nothing less.

use std::{fs, time::Duration};

use serde_json::Value;

use super::deployment::{Deployment, Provider, Told, chat, client, send};

/// A deployment with customers of its own, who have nothing to do with it.
fn started(settings: &str) -> (Provider, Deployment) {
    let provider = Provider::start();
    let mut deployment = Deployment::made(&provider.url);
    let file = deployment.path().join("bulkhead.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("[probe]\n", &format!("[probe]\n{settings}\n"), 1)).unwrap();
    deployment.start();
    (provider, deployment)
}

fn probe(deployment: &Deployment, args: &[&str]) -> (Told, Value) {
    let mut command = deployment.command(["probe", "--self", "--json"].iter().chain(args));
    // The last report is this user's to replay; no test writes it.
    command.env("XDG_STATE_HOME", deployment.path().join("state"));
    let told = Told::of(command.output().unwrap());
    let report = serde_json::from_str(&told.out).unwrap_or_else(|e| panic!("{e}: {told:?}"));
    (told, report)
}

/// One line a finding.
fn lines(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap();
    let line = |finding: &Value| {
        let (requests, took) = (&finding["requests"], &finding["milliseconds"]);
        let [verdict, check, place, summary] =
            ["verdict", "check", "place", "summary"].map(|name| text(&finding[name]));
        format!("{verdict:10} {check:18} {place:24} {summary} ({requests} requests, {took} ms)")
    };
    findings.iter().map(line).collect()
}

fn of<'l>(verdict: &str, lines: &'l [String]) -> Vec<&'l String> {
    lines.iter().filter(|line| line.starts_with(verdict)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_surface_is_isolated() {
    let (_provider, mut deployment) = started("");
    deployment.tenant("acme");
    let acme = deployment.token("acme");
    // What is for probing is nobody else's.
    let body = serde_json::json!({ "model": "bulkhead-probe-chat",
        "messages": [{ "role": "user", "content": "Hello" }] });
    let url = deployment.data("/v1/chat/completions");
    let asked = send(&client(), "POST", url, &acme, Some(body)).await.unwrap();
    assert_eq!((asked.status, &asked.json["error"]["code"]), (404, &"model.unknown".into()));

    let told = deployment.tell(&["doctor"]);
    assert!(told.out.contains("not since its start"), "{told:?}");
    let (told, report) = probe(&deployment, &[]);
    let lines = lines(&report);
    for line in &lines {
        println!("{line}");
    }
    println!("{} ms, {}", report["milliseconds"], report["spent"]);
    assert_eq!(of("leak", &lines), Vec::<&String>::new());
    let mut open = of("not_proven", &lines);
    // Where the machine has much else to do, time tells nothing, which is then said.
    let timed = open.iter().any(|line| line.contains("prompt-timing"));
    open.retain(|line| !line.contains("prompt-timing"));
    assert_eq!(open, Vec::<&String>::new());
    let left = report["canaries"]["left"].as_array().unwrap();
    assert!(left.iter().all(|left| left["failed"] == false), "{left:?}");
    assert_eq!(told.status, if timed { 2 } else { 0 }, "{report:#}");
    for (surface, checks) in [
        ("state", 10),
        ("agents' cache", 10),
        ("memory", 10),
        ("points", 10),
        ("chat", 10),
        ("responses", 3),
        ("conversations", 3),
        ("contents of files", 2),
        ("outputs of batches", 2),
        ("cited handles", 1),
        ("messages", 5),
        ("embeddings", 3),
        ("models", 3),
        ("control plane", 1),
        ("figures and logs", 1),
        ("audit log", 1),
        ("events of runs", 1),
        ("streams", 1),
    ] {
        let found = report["findings"].as_array().unwrap().iter();
        let found = found.filter(|finding| finding["place"] == surface).count();
        assert!(found >= checks, "{surface}: {found} checks");
    }
    for question in report["questions"].as_array().unwrap() {
        // No load is made unless somebody asks for it: this machine may have enough to do.
        let open = question["question"] == "load" || (timed && question["question"] == "context");
        assert_eq!(question["answer"], if open { "not_proven" } else { "no" }, "{question:#}");
    }

    afterwards(&deployment, timed).await;
    // Everybody else is served as before.
    assert_eq!(chat(&deployment, &acme).await.status, 200);
    assert_eq!(deployment.stop(), 0);
}

/// What it needed stands in lists and logs, and is of no use to anybody.
async fn afterwards(deployment: &Deployment, timed: bool) {
    let tenants = deployment.run(&["tenant", "list", "--json"]).json();
    for tenant in tenants["items"].as_array().unwrap() {
        let own = tenant["id"].as_str().unwrap().starts_with("bulkhead-probe-");
        assert_eq!(tenant["status"], if own { "suspended" } else { "active" }, "{tenant:#}");
    }
    let operators = deployment.run(&["access", "operator", "list", "--json"]).out;
    assert!(!operators.contains("bulkhead-probe"), "{operators}");
    let told = deployment.run(&["doctor"]);
    assert!(told.out.contains(&format!("0 leaks, {} not proven", u8::from(timed))), "{told:?}");
    let figures = metrics(deployment).await;
    assert!(figures.contains("bulkhead_probe_leaks 0\n"), "{figures}");
    let end = if timed { "not_proven" } else { "clean" };
    let runs = format!("bulkhead_probe_runs_total{{end=\"{end}\"}} 1\n");
    assert!(figures.contains(&runs), "{figures}");
}

async fn metrics(deployment: &Deployment) -> String {
    let url = deployment.control("/metrics");
    let answer = client().get(url).bearer_auth(deployment.operator()).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_probes_and_the_end_of_the_server_ends_it() {
    let (_provider, mut deployment) = started("every_seconds = 1");
    let running = async || {
        let url = deployment.control("/admin/v1/probe");
        let told = send(&client(), "GET", url, &deployment.operator(), None).await.unwrap();
        told.json["running"]["by"] == "schedule"
    };
    while !running().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(deployment.stop(), 0);
}

#[test]
fn what_means_nothing_here_is_refused() {
    let (_provider, deployment) = started("");
    for args in [&["--dry-run"][..], &["--max-requests", "7"]] {
        let told = deployment.tell(&[&["probe", "--self"], args].concat());
        assert_eq!(told.status, 3, "{told:?}");
        assert!(told.err.contains("--self"), "{told:?}");
    }
    let told = deployment.tell(&["probe", "--self", "--only", "no-such-check"]);
    assert!(told.status == 3 && told.err.contains("no-such-check"), "{told:?}");
}

/// Probes with some checks; nothing leaks.
fn no_leak(checks: &[&str]) {
    let (_provider, deployment) = started("");
    let (_, report) = probe(&deployment, &["--only", &checks.join(","), "--seed", "7"]);
    let lines = lines(&report);
    assert!(!of("isolated", &lines).is_empty(), "{lines:#?}");
    assert_eq!(of("leak", &lines), Vec::<&String>::new(), "{lines:#?}");
}

#[test]
fn model() {
    no_leak(&[
        "exact-key",
        "caller-namespace",
        "soft-scope",
        "cached-errors",
        "prompt-cache",
        "key-escape",
    ]);
}

#[test]
fn objects() {
    no_leak(&["object-id", "erasure", "shared-http-cache", "caller-id"]);
}

#[test]
fn memory() {
    no_leak(&["crowding", "non-interference", "filter-escape", "corpus-statistics"]);
}

#[test]
fn identity() {
    no_leak(&[
        "identity-missing",
        "identity-expired",
        "identity-conflict",
        "identity-swap",
        "tenant-arg",
        "token-prefix",
        "platform-secret",
    ]);
}

#[test]
fn races() {
    no_leak(&["shared-env", "redis-desync"]);
}

#[test]
fn records() {
    no_leak(&["admin-route", "open-log-store", "object-id"]);
}
