//! Batches: every line of a file is held to what holds for a request of its own.

use bulkhead_model::{Error, Resource};
use scope::{Scope, Write};
use serde_json::{Value, json};

use super::estate::{Estate, Got, Sent};

fn line(id: &str, body: &Value) -> String {
    let url = "/v1/chat/completions";
    json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string()
}

fn chat(id: &str, more: &Value) -> String {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    line(id, &body)
}

async fn begin(
    estate: &Estate,
    scope: &Scope<Write>,
    file: &str,
    more: &Value,
) -> Result<Got, Error> {
    let endpoint = "/v1/chat/completions";
    let mut body = json!({"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    estate.ask(scope, Resource::CreateBatch, &[], &[], Sent::Json(body)).await
}

#[tokio::test]
async fn a_batch_from_its_file_to_its_output() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let file = format!("{}\n{}\n", chat("a", &json!({})), chat("b", &json!({"n": 2})));
    let file = estate.upload(&acme, "batch", &file).await.unwrap().id();
    let more = json!({"metadata": {"job": "nightly"},
        "output_expires_after": {"anchor": "created_at", "seconds": 3600}});
    let begun = begin(&estate, &acme, &file, &more).await.unwrap();
    assert_eq!(begun.json()["status"], "in_progress");
    assert_eq!(
        estate.depot.last().json(),
        json!({"input_file_id": file, "endpoint": "/v1/chat/completions",
            "completion_window": "24h", "metadata": {"job": "nightly"},
            "output_expires_after": {"anchor": "created_at", "seconds": 3600}})
    );
    // A list shows how it stands by now, and what came of it is the scope's from then on.
    let listed = estate.get(&acme, Resource::ListBatches, &[]).await.unwrap();
    assert_eq!(listed.json()["data"][0]["status"], "completed");
    let output = listed.json()["data"][0]["output_file_id"].as_str().unwrap().to_owned();
    let got = estate.get(&acme, Resource::FileContent, &[&output]).await.unwrap();
    assert_eq!(got.bytes, "done");
    let error = estate.get(&globex, Resource::FileContent, &[&output]).await.unwrap_err();
    assert_eq!(error.code(), "model.handle");
    let files = estate.get(&acme, Resource::ListFiles, &[]).await.unwrap();
    assert!(files.ids().contains(&output), "{files:?}");
    // What is over is not asked after again.
    let asked = estate.depot.asked();
    estate.get(&acme, Resource::ListBatches, &[]).await.unwrap();
    assert_eq!(estate.depot.asked(), asked);

    let second = begin(&estate, &acme, &file, &json!({})).await.unwrap().id();
    let got = estate.get(&acme, Resource::CancelBatch, &[&second]).await.unwrap();
    assert_eq!(got.json()["status"], "cancelled");
    let third = begin(&estate, &acme, &file, &json!({})).await.unwrap().id();
    let got = estate.get(&acme, Resource::Batch, &[&third]).await.unwrap();
    let output = got.json()["output_file_id"].as_str().unwrap().to_owned();
    estate.get(&acme, Resource::File, &[&output]).await.unwrap();
    let query = [("limit", "1"), ("after", &*third)];
    let page = estate.ask(&acme, Resource::ListBatches, &[], &query, Sent::Nothing).await.unwrap();
    assert_eq!(page.ids().len(), 1);
}

/// The model by the provider's name, the tenant's marks and none of the caller's.
#[tokio::test]
async fn lines_are_dressed_like_requests() {
    let estate = Estate::shared().await;
    let claims = json!({"user": "mallory", "safety_identifier": "s", "prompt_cache_key": "k",
        "n": 1, "tenant_id": "acme", "metadata": {"environment": "live"}});
    let (mut marks, mut bodies) = (Vec::new(), Vec::new());
    let scopes = [estate.acme().await, estate.acme().await, estate.globex().await];
    for (nth, scope) in scopes.iter().enumerate() {
        let claims = if nth < 2 { claims.clone() } else { json!({"n": 1}) };
        let file = estate.upload(scope, "batch", &chat("a", &claims)).await.unwrap().id();
        let line: Value = serde_json::from_str(estate.depot.content(&file).trim()).unwrap();
        assert_eq!(line["custom_id"], "a");
        assert_eq!(line["url"], "/v1/chat/completions");
        assert_eq!(line["body"]["model"], "real");
        assert!(line["body"].get("user").is_none());
        let mark = line["body"]["safety_identifier"].as_str().unwrap().to_owned();
        assert!(mark.starts_with("bk_"), "{mark}");
        assert_ne!(line["body"]["prompt_cache_key"], mark.as_str());
        marks.push(mark);
        bodies.push(line["body"].clone());
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(marks[0], marks[1]);
    assert_ne!(marks[0], marks[2]);
}

/// What a request of its own could not say no line of a file says either, and the line is
/// named. Nothing of such a file goes up.
#[tokio::test]
async fn a_line_that_may_not_be_is_named() {
    let estate = Estate::shared().await;
    let (acme, globex) = (estate.acme().await, estate.globex().await);
    let theirs = estate.upload(&globex, "user_data", "x").await.unwrap().id();
    let asked = estate.depot.asked();
    let file = |id: &str| json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": id}}]}]});
    let good = chat("a", &json!({}));
    for (bad, code, says) in [
        (chat("b", &file(&theirs)), "model.handle", "`file_id`"),
        (chat("b", &file("file-never")), "model.handle", "`file_id`"),
        (chat("b", &json!({"cache_namespace": {"a": 1}, "n": 1})), "", ""),
        (chat("b", &json!({"web_search_options": {}})), "model.tool", "web_search"),
        (chat("b", &json!({"tools": [{"type": "mcp"}]})), "model.tool", "mcp"),
        (chat("b", &json!({"tenant_id": "globex"})), "scope.mismatch", ""),
        (chat("b", &json!({"metadata": {"env": "staging"}})), "scope.mismatch", ""),
        (chat("b", &json!({"api_base": "http://x"})), "request.unsupported", "api_base"),
        (chat("b", &json!({"what_is_this": 1})), "request.unsupported", "what_is_this"),
        (chat("b", &json!({"store": true})), "request.unsupported", "store"),
        (chat("b", &json!({"stream": true})), "request.malformed", "`stream`"),
        (chat("b", &json!({"model": "unknown"})), "model.unknown", ""),
        (chat("b", &json!({"model": "q"})), "request.malformed", "`model`"),
        (chat("b", &json!({})).replace("POST", "PUT"), "request.malformed", "`method`"),
        (
            chat("b", &json!({})).replace("chat/completions", "responses"),
            "request.malformed",
            "`url`",
        ),
        ("{".into(), "request.malformed", "`line`"),
    ] {
        let uploaded = estate.upload(&acme, "batch", &format!("{good}\n\n{bad}")).await;
        if code.is_empty() {
            continue;
        }
        let error = uploaded.unwrap_err();
        let told = error.to_string();
        assert_eq!(error.code(), code, "{bad}: {told}");
        assert!(told.starts_with("line 3: ") && told.contains(says), "{bad}: {told}");
    }
    let seen = estate.depot.seen();
    let uploads = seen[asked..].iter().filter(|asked| !asked.body.is_empty());
    // The one with a field that is dropped from whoever it comes.
    assert_eq!(uploads.count(), 1);
    // A route that allows a tool does so here, too.
    let tool = json!({"model": "tools", "web_search_options": {}});
    estate.upload(&acme, "batch", &chat("a", &tool)).await.unwrap();
    let own = estate.upload(&acme, "user_data", "x").await.unwrap().id();
    estate.upload(&acme, "batch", &chat("a", &file(&own))).await.unwrap();
}

/// A file whose lines were not judged is never worked off, and one is for its endpoint alone.
#[tokio::test]
async fn only_a_file_that_was_judged_becomes_a_batch() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let good = chat("a", &json!({}));
    let judged = estate.upload(&acme, "batch", &good).await.unwrap().id();
    let asked = estate.depot.asked() + 1;
    let other = estate.upload(&acme, "user_data", &good).await.unwrap().id();
    let endpoint = json!({"endpoint": "/v1/responses"});
    for (file, more) in [(&other, json!({})), (&judged, endpoint)] {
        let error = begin(&estate, &acme, file, &more).await.unwrap_err();
        assert_eq!(error.code(), "request.malformed");
        assert!(error.to_string().contains("`input_file_id`"), "{error}");
    }
    for (more, code) in [
        (json!({"endpoint": "/v1/moderations"}), "request.malformed"),
        (json!({"completion_window": "1h"}), "request.malformed"),
        (json!({"completion_window": null}), "request.malformed"),
        (json!({"input_file_id": 7}), "request.malformed"),
        (json!({"input_file_id": "a b"}), "model.handle"),
        (json!({"metadata": {"a": 1}}), "request.malformed"),
        (json!({"metadata": {"tenant": "globex"}}), "scope.mismatch"),
        (json!({"metadata": []}), "request.malformed"),
        (json!({"output_expires_after": {"anchor": "now", "seconds": 3600}}), "request.malformed"),
        (
            json!({"output_expires_after": {"anchor": "created_at", "seconds": 1}}),
            "request.malformed",
        ),
        (json!({"user": "x"}), "request.unsupported"),
        (json!({"model": "x"}), "request.unsupported"),
    ] {
        let error = begin(&estate, &acme, &judged, &more).await.unwrap_err();
        assert_eq!(error.code(), code, "{more}");
    }
    assert_eq!(estate.depot.asked(), asked);
    begin(&estate, &acme, &judged, &json!({"metadata": {"tenant": "acme"}})).await.unwrap();
}

/// A large file is judged aside, and comes out the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_are_judged_too() {
    let estate = Estate::shared().await;
    let acme = estate.acme().await;
    let mut lines: Vec<_> = (0..3_000).map(|n| chat(&n.to_string(), &json!({}))).collect();
    let file = estate.upload(&acme, "batch", &lines.join("\n")).await.unwrap().id();
    assert_eq!(estate.depot.content(&file).lines().count(), 3_000);
    lines.push(chat("bad", &json!({"tenant_id": "globex"})));
    let error = estate.upload(&acme, "batch", &lines.join("\n")).await.unwrap_err();
    assert_eq!(error.code(), "scope.mismatch");
    assert!(error.to_string().starts_with("line 3001: "), "{error}");
}
