//! Small applications with one thing about them that is to be told apart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{Depth, Finding, Options, Plan, Silent, Verdict, run};

/// Documents by their addresses, with whose they are and how often each was asked for.
#[derive(Default)]
struct App {
    documents: BTreeMap<String, (String, String)>,
    requests: usize,
    /// When something was taken away that is another's.
    struck: bool,
}

/// One request: whose, what, where, with what.
struct Asked {
    by: String,
    method: Method,
    path: String,
    text: String,
}

type Reply = (u16, Value);

/// Leaves, reads and removes, under any address; each its own, but for what `other` answers.
fn documents(
    app: &mut App,
    asked: &Asked,
    other: impl Fn(&mut App, &Asked) -> Option<Reply>,
) -> Reply {
    app.requests += 1;
    if asked.by.is_empty() {
        return (401, json!({"error": "who?"}));
    }
    if let Some(reply) = other(app, asked) {
        return reply;
    }
    let owned = app.documents.get(&asked.path).is_some_and(|(owner, _)| *owner == asked.by);
    match asked.method {
        Method::POST => {
            let id = format!("d{:x}", 0xa0_0000 + app.requests * 7919);
            let document = (asked.by.clone(), asked.text.clone());
            app.documents.insert(format!("{}/{id}", asked.path), document);
            (201, json!({ "id": id }))
        }
        Method::DELETE if owned => {
            app.documents.remove(&asked.path);
            (204, Value::Null)
        }
        Method::GET if owned => (200, json!({ "text": app.documents[&asked.path].1 })),
        _ => (404, json!({"error": "none"})),
    }
}

/// What the checks find of an application, by its file and what it answers.
async fn probed(
    file: &str,
    only: &[&str],
    other: impl Fn(&mut App, &Asked) -> Option<Reply> + Clone + Send + Sync + 'static,
) -> Vec<Finding> {
    let _known = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Arc::new(Mutex::new(App::default()));
    let routes =
        Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let token = headers.get("authorization").and_then(|value| value.to_str().ok());
            let by = token.and_then(|token| token.strip_prefix("Bearer tok-")).unwrap_or_default();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let asked = Asked {
                by: by.to_owned(),
                method,
                path: uri.path().to_owned(),
                text: body["text"].as_str().unwrap_or_default().to_owned(),
            };
            let (status, body) = documents(&mut app.lock().unwrap(), &asked, &other);
            async move { (StatusCode::from_u16(status).unwrap(), body.to_string()) }
        });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let file = format!(
        "[tenant.a]\ntoken = \"tok-acme\"\nnames = [\"acme\"]\n\
         [tenant.b]\ntoken = \"tok-globex\"\nnames = [\"globex\"]\n\
         [target.t]\nkind = \"http\"\nurl = \"http://{address}\"\n{file}"
    );
    let only = only.iter().map(|id| (*id).to_owned()).collect();
    let options = Options { only, depth: Depth::Quick, ..Options::default() };
    run(&Plan::parse("a test", &file).unwrap(), options, &Silent).await.unwrap().findings
}

fn is(findings: &[Finding], verdict: Verdict, summary: &str) {
    let told: Vec<_> =
        findings.iter().map(|each| (each.verdict, &each.place, &each.summary)).collect();
    let found = |each: &Finding| each.verdict == verdict && each.summary.contains(summary);
    assert!(findings.iter().any(found), "{told:#?}");
    let rank = |each: &Finding| each.verdict == verdict;
    assert!(findings.iter().all(rank), "{told:#?}");
}

#[tokio::test]
async fn no_id_is_isolated_where_only_questions_are_asked() {
    let file = "plant = { post = \"/docs\", json = { text = \"{canary}\" }, id = \"/id\" }\n\
                ask = { post = \"/chat\", json = { q = \"{prompt}\" }, answer = \"/text\" }\n\
                cleanup = { delete = \"/docs/{id}\" }\n";
    let all = |app: &mut App, asked: &Asked| {
        let own = app.documents.values().filter(|(owner, _)| *owner == asked.by);
        let own: Vec<_> = own.map(|(_, text)| text.as_str()).collect();
        (asked.path == "/chat").then(|| (200, json!({ "text": own.join(" ") })))
    };
    let findings = probed(file, &["object-id"], all).await;
    is(&findings, Verdict::NotProven, "add the route that reads it to `objects`");
}

#[tokio::test]
async fn another_tenants_name_is_tried_wherever_the_file_has_a_place_for_it() {
    let file = "plant = { post = \"/t/{tenant}/docs\", json = { text = \"{canary}\" }, id = \"/id\" }\n\
                objects = [\"/t/{tenant}/docs/{id}\"]\n\
                cleanup = { delete = \"/t/{tenant}/docs/{id}\" }\n";
    // Whoever is known reads whatever is under the address, which names the tenant.
    let trusting = |app: &mut App, asked: &Asked| {
        let found = app.documents.get(&asked.path).filter(|_| asked.method == Method::GET);
        found.map(|(_, text)| (200, json!({ "text": text })))
    };
    let findings = probed(file, &["object-id"], trusting).await;
    is(&findings, Verdict::Leak, "by A's name");
    let findings = probed(file, &["tenant-arg"], trusting).await;
    is(&findings, Verdict::Leak, "by {tenant}");
    let findings = probed(file, &["object-id", "tenant-arg"], |_, _| None).await;
    is(&findings, Verdict::Isolated, "");
}

/// The routes by which a document is read and removed.
const REMOVABLE: &str = "plant = { post = \"/docs\", json = { text = \"{canary}\" }, id = \"/id\" }\n\
     objects = [\"/docs/{id}\", \"DELETE /docs/{id}\"]\n\
     cleanup = { delete = \"/docs/{id}\" }\n";

#[tokio::test]
async fn an_outage_after_anothers_removal_is_no_removal() {
    for status in [500, 401, 408, 404] {
        // From B's removal, which does nothing, until the next document: for everything of A's.
        let outage = move |app: &mut App, asked: &Asked| {
            app.struck &= asked.method != Method::POST;
            let owner = app.documents.get(&asked.path).map(|(owner, _)| owner);
            let another = owner.is_some_and(|owner| *owner != asked.by);
            app.struck |= another && asked.method == Method::DELETE;
            let out = app.struck && asked.method == Method::GET && asked.by == "acme";
            out.then(|| (status, json!({"error": "out"})))
        };
        let findings = probed(REMOVABLE, &["object-id"], outage).await;
        is(&findings, Verdict::NotProven, "");
        assert_eq!(findings.len(), 2, "the place and the route");
    }
    let removing = |app: &mut App, asked: &Asked| {
        let removed = asked.method == Method::DELETE && app.documents.remove(&asked.path).is_some();
        removed.then_some((204, Value::Null))
    };
    let findings = probed(REMOVABLE, &["object-id"], removing).await;
    is(&findings, Verdict::Leak, "B removed what is A's");
    is(&probed(REMOVABLE, &["object-id"], |_, _| None).await, Verdict::Isolated, "");
}

#[tokio::test]
async fn a_log_that_changes_by_itself_shows_nothing_of_what_is_done() {
    let file = "plant = { post = \"/docs\", json = { text = \"{canary}\" }, id = \"/id\" }\n\
                objects = [\"/docs/{id}\"]\ncleanup = { delete = \"/docs/{id}\" }\nlogs = [\"/log\"]\n";
    let clock =
        |app: &mut App, asked: &Asked| (asked.path == "/log").then(|| (200, json!(app.requests)));
    let findings = probed(file, &["open-log-store"], clock).await;
    is(&findings, Verdict::NotProven, "changes by itself");
    // What strangers see changes with what is done; its reader's view never does.
    let strange = |app: &mut App, asked: &Asked| {
        let seen = if asked.by == "acme" { 0 } else { app.documents.len() };
        (asked.path == "/log").then(|| (200, json!(seen)))
    };
    is(&probed(file, &["open-log-store"], strange).await, Verdict::NotProven, "nothing to anybody");
    let own = |app: &mut App, asked: &Asked| {
        let log = (asked.path == "/log" && asked.by == "acme").then_some(app.documents.len());
        log.map(|log| (200, json!(log)))
    };
    is(&probed(file, &["open-log-store"], own).await, Verdict::Isolated, "");
    // Written in batches: B's fourth look is the one after a while.
    let looks = Arc::new(Mutex::new(0));
    let late = move |app: &mut App, asked: &Asked| {
        if asked.path != "/log" || asked.by != "globex" {
            return None;
        }
        *looks.lock().unwrap() += 1;
        let texts: Vec<_> = app.documents.values().map(|(_, text)| text.clone()).collect();
        (*looks.lock().unwrap() > 3).then(|| (200, json!(texts)))
    };
    is(&probed(file, &["open-log-store"], late).await, Verdict::Leak, "B finds A's text");
}
