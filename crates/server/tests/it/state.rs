//! Run state over HTTP: bytes as they are, versions, compare-and-set, and whose it is.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Headers, Reply, Rig};

const RUN: &str = "run_7";

/// A token for a run.
async fn token(rig: &Rig, tenant: &str, environment: &str, run: &str) -> String {
    let minted = rig.minted(tenant, environment, &[("scope", ALL), ("run", run)]).await;
    minted["access_token"].as_str().unwrap().to_owned()
}

async fn put(rig: &Rig, token: &str, path: &str, headers: Headers<'_>, body: &str) -> Reply {
    rig.call(token, Method::PUT, path, headers, body.to_owned()).await
}

fn keys(reply: &Reply) -> Vec<String> {
    let json = reply.json();
    let items = json["items"].as_array().unwrap();
    items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn compare_and_set() {
    let rig = Rig::start().await;
    let a = token(&rig, "acme", "live", RUN).await;
    let path = format!("/v1/state/{RUN}/checkpoint");
    let create = [("if-none-match", "*"), ("content-type", "application/json")];
    let made = put(&rig, &a, &path, &create, "{\"n\":1}").await.good();
    assert_eq!(made.status, 201);
    let first = made.header("etag").to_owned();
    assert_eq!(made.json()["etag"], first);
    put(&rig, &a, &path, &create, "{}").await.refused(412, "state.conflict");
    let got = rig.get(&a, &path).await.good();
    assert_eq!((got.text().as_str(), got.header("etag")), ("{\"n\":1}", first.as_str()));
    assert_eq!(got.header("content-type"), "application/json");

    let second = put(&rig, &a, &path, &[("if-match", &first)], "two").await.good();
    assert_eq!((second.status, second.header("x-bulkhead-state-version")), (200, "2"));
    put(&rig, &a, &path, &[("if-match", &first)], "x").await.refused(412, "state.conflict");
    let second = second.header("etag").to_owned();
    // Many at once: one wins.
    let body = |n: usize| format!("writer {n}");
    let writers = (0..20).map(|n| {
        let (rig, a, path, second) = (&rig, &a, &path, &second);
        async move { put(rig, a, path, &[("if-match", second)], &body(n)).await.status }
    });
    let mut statuses = join_all(writers).await;
    statuses.sort_unstable();
    assert_eq!(statuses[..2], [200, 412], "{statuses:?}");
    assert!(statuses[1..].iter().all(|status| *status == 412));

    let now = rig.get(&a, &path).await.good();
    let third = now.header("etag").to_owned();
    let fresh = rig.call(&a, Method::GET, &path, &[("if-none-match", &third)], "").await;
    assert_eq!((fresh.status, fresh.body.len(), fresh.header("etag")), (304, 0, third.as_str()));
    rig.call(&a, Method::GET, &path, &[("if-none-match", &second)], "").await.good();
    let other = rig.call(&a, Method::GET, &path, &[("if-match", &second)], "").await;
    other.refused(412, "state.conflict");

    let stale = rig.call(&a, Method::DELETE, &path, &[("if-match", &second)], "").await;
    stale.refused(412, "state.conflict");
    let gone = rig.call(&a, Method::DELETE, &path, &[("if-match", &third)], "").await;
    assert_eq!(gone.status, 204);
    rig.get(&a, &path).await.refused(404, "not_found");
    // A version from before never fits again.
    let again = put(&rig, &a, &path, &create, "anew").await.good();
    for etag in [&first, &second, &third] {
        assert_ne!(again.header("etag"), etag);
        put(&rig, &a, &path, &[("if-match", etag)], "x").await.refused(412, "state.conflict");
    }
}

#[tokio::test]
async fn versions_lists_and_ends() {
    let mut rig = Rig::start().await;
    let a = token(&rig, "acme", "live", RUN).await;
    let at = |key: &str| format!("/v1/state/{RUN}/{key}");
    for n in 1..=3 {
        put(&rig, &a, &at("steps/a"), &[("content-type", "text/plain")], &format!("v{n}"))
            .await
            .good();
    }
    let kept = rig.get(&a, &format!("{}?history=true", at("steps/a"))).await.good().json();
    let versions: Vec<_> =
        kept["items"].as_array().unwrap().iter().map(|i| &i["version"]).collect();
    assert_eq!(versions, [3, 2, 1]);
    for n in 1..=3 {
        let version = rig.get(&a, &format!("{}?version={n}", at("steps/a"))).await.good();
        assert_eq!(version.text(), format!("v{n}"));
        assert_eq!(version.header("etag"), kept["items"][3 - n]["etag"]);
    }
    rig.get(&a, &format!("{}?version=9", at("steps/a"))).await.refused(404, "not_found");
    rig.get(&a, &format!("{}?history=true", at("none"))).await.refused(404, "not_found");
    let both = rig.get(&a, &format!("{}?history=true&version=1", at("steps/a"))).await;
    both.refused(400, "request.malformed");
    rig.get(&a, &format!("{}?versions=1", at("steps/a"))).await.refused(400, "request.malformed");

    for key in ["steps/b", "steps/c%2Fd", "other", "%C3%A4%20%22"] {
        put(&rig, &a, &at(key), &[], key).await.good();
    }
    let run = format!("/v1/state/{RUN}");
    let all = rig.get(&a, &run).await.good();
    assert_eq!(keys(&all), ["other", "steps/a", "steps/b", "steps/c/d", "\u{e4} \""]);
    assert_eq!(all.json()["items"][1]["bytes"], 2);
    let page = rig.get(&a, &format!("{run}?prefix=steps/&limit=2")).await.good();
    assert_eq!(
        (keys(&page), &page.json()["next"]),
        (vec!["steps/a".into(), "steps/b".into()], &json!("steps/b"))
    );
    let rest = rig.get(&a, &format!("{run}?prefix=steps/&limit=2&after=steps/b")).await.good();
    assert_eq!((keys(&rest), &rest.json()["next"]), (vec!["steps/c/d".to_owned()], &Value::Null));

    put(&rig, &a, &at("brief"), &[("x-bulkhead-ttl", "60")], "soon over").await.good();
    let longest = [("x-bulkhead-ttl", "18446744073709551615")];
    put(&rig, &a, &at("steps/b"), &longest, "for ever").await.good();
    rig.call(&a, Method::PUT, "/v1/cache/e/k", &longest, "for long").await.good();
    rig.clock.advance(Duration::from_secs(59));
    assert_eq!(rig.get(&a, "/v1/cache/e/k").await.good().text(), "for long");
    rig.get(&a, &at("brief")).await.good();
    rig.clock.advance(Duration::from_secs(2));
    rig.get(&a, &at("brief")).await.refused(404, "not_found");

    // It is durable, and it can be removed.
    rig.stop().await;
    rig.serve_again().await;
    assert_eq!(rig.get(&a, &at("steps/a")).await.good().text(), "v3");
    let gone = rig.call(&a, Method::DELETE, &run, &[], "").await.good();
    assert_eq!(gone.json(), json!({"deleted": 5}));
    assert_eq!(rig.get(&a, &run).await.good().json(), json!({"items": [], "next": null}));
}

#[tokio::test]
async fn bytes_come_back_as_they_were_and_open_in_no_browser() {
    let rig = Rig::start().await;
    let a = token(&rig, "acme", "live", RUN).await;
    for (n, (kind, stored, inline)) in [
        (None, "application/octet-stream", true),
        (Some("application/json"), "application/json", true),
        (Some("text/plain; charset=utf-8"), "text/plain; charset=utf-8", true),
        (Some("text/html"), "text/html", false),
        (Some("image/svg+xml"), "image/svg+xml", false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/v1/state/{RUN}/{n}");
        let headers: Vec<_> = kind.iter().map(|kind| ("content-type", *kind)).collect();
        let bytes: Vec<u8> = (0..=255).cycle().take(n * 30_000).collect();
        rig.call(&a, Method::PUT, &path, &headers, bytes.clone()).await.good();
        let got = rig.get(&a, &path).await.good();
        assert_eq!((got.header("content-type"), got.body.to_vec() == bytes), (stored, true));
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert_eq!(got.header("content-disposition"), if inline { "" } else { "attachment" });
        assert_eq!(got.header("cache-control"), "no-store");
    }
    let bad = [("content-type", "a"), ("content-type", "b")];
    put(&rig, &a, &format!("/v1/state/{RUN}/x"), &bad, "").await.refused(400, "request.malformed");
}

/// A credential for a run touches that run's state alone, and trying is on record; one without
/// a run may touch every run of its workflow, and of nobody else's.
#[tokio::test]
async fn soft_scope() {
    let rig = Rig::start().await;
    let a = token(&rig, "acme", "live", RUN).await;
    let path = format!("/v1/state/{RUN}/secret");
    put(&rig, &a, &path, &[], "canary").await.good();

    let other = token(&rig, "acme", "live", "run_8").await;
    let run = format!("/v1/state/{RUN}");
    for (method, path) in [
        (Method::GET, &path),
        (Method::PUT, &path),
        (Method::DELETE, &path),
        (Method::GET, &run),
        (Method::DELETE, &run),
    ] {
        let reply = rig.call(&other, method, path, &[], "mine").await;
        reply.refused(403, "scope.mismatch");
    }
    let denied: Vec<_> = rig
        .audit("acme", "live")
        .await
        .into_iter()
        .filter(|entry| entry["action"] == "hop.denied" && entry["code"] == "scope.mismatch")
        .map(|entry| entry["target"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(denied, [RUN; 5], "each is on record");

    // Nor does a header, a field or a query name another run.
    for headers in [[("x-run-id", RUN)], [("x-bulkhead-run", RUN)]] {
        let reply = rig.call(&other, Method::GET, "/v1/state/run_8/secret", &headers, "").await;
        reply.refused(404, "not_found");
    }
    rig.get(&other, "/v1/state/run_8/secret?run=run_7").await.refused(400, "request.malformed");

    // Keys are for no run: of the same workflow …
    let text = |json: &Value| json["secret"].as_str().unwrap().to_owned();
    let key = text(&rig.key("acme", "live").await);
    assert_eq!(rig.get(&key, &path).await.good().text(), "canary");
    // … and of another, another environment's and another tenant's.
    let at = "/admin/v1/tenants/acme/environments/live/keys";
    let billing = json!({"workflow": "billing", "scope": ALL});
    let billing = text(&rig.admin(Method::POST, at, billing).await.good().json());
    let staging = text(&rig.key("acme", "staging").await);
    let foreign = text(&rig.key("globex", "live").await);
    let mut answers = BTreeSet::new();
    for secret in [&billing, &staging, &foreign] {
        let missing = rig.get(secret, "/v1/state/run_9/secret").await.refused(404, "not_found");
        let theirs = rig.get(secret, &path).await.refused(404, "not_found");
        assert_eq!(theirs.body, missing.body);
        answers.insert(theirs.text());
        assert_eq!(rig.get(secret, &run).await.good().json()["items"], json!([]));
        put(&rig, secret, &path, &[("if-match", "*")], "x").await.refused(412, "state.conflict");
        put(&rig, secret, &path, &[], "theirs").await.good();
        rig.call(secret, Method::DELETE, &run, &[], "").await.good();
    }
    assert_eq!(answers.len(), 1);
    assert_eq!(rig.get(&a, &path).await.good().text(), "canary");
}

#[tokio::test]
async fn what_is_too_much_or_makes_no_sense_is_refused() {
    let rig = Rig::with(|settings| {
        settings.state.value_max_bytes = 1_000;
        settings.state.keys_per_run = 3;
    })
    .await;
    let a = token(&rig, "acme", "live", RUN).await;
    let at = |key: &str| format!("/v1/state/{RUN}/{key}");
    let long = "k".repeat(769);
    for (key, headers, body, status, code) in [
        ("a%0Ab", &[][..], "", 400, "request.malformed"),
        ("a%7Fb", &[], "", 400, "request.malformed"),
        ("a%FFb", &[], "", 400, "request.malformed"),
        (long.as_str(), &[], "", 400, "request.malformed"),
        (&long[..513], &[], "", 413, "request.too_large"),
        ("k", &[], &"v".repeat(1_001), 413, "request.too_large"),
        ("k", &[("x-bulkhead-ttl", "0")], "", 400, "request.malformed"),
        ("k", &[("x-bulkhead-ttl", "soon")], "", 400, "request.malformed"),
        ("k", &[("if-none-match", "\"v1\"")], "", 400, "request.malformed"),
        ("k", &[("if-match", "v1")], "", 400, "request.malformed"),
        ("k", &[("if-match", "*"), ("if-none-match", "*")], "", 400, "request.malformed"),
        ("k", &[("if-unmodified-since", "now")], "", 400, "request.unsupported"),
    ] {
        let reply = put(&rig, &a, &at(key), headers, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{key} {headers:?}");
    }
    assert_eq!(rig.get(&a, &format!("/v1/state/{RUN}")).await.good().json()["items"], json!([]));
    for key in ["1", "2", "3"] {
        put(&rig, &a, &at(key), &[], &"v".repeat(1_000)).await.good();
    }
    put(&rig, &a, &at("4"), &[], "").await.refused(507, "state.full");
    let bad = rig.call(&a, Method::GET, "/v1/state/a%20b/k", &[], "").await;
    bad.refused(404, "not_found");
}

#[tokio::test]
async fn state_goes_with_its_tenant() {
    let rig = Rig::start().await;
    let a = token(&rig, "acme", "live", RUN).await;
    let path = format!("/v1/state/{RUN}/k");
    put(&rig, &a, &path, &[], "canary").await.good();
    let suspend = |what: &str| format!("/admin/v1/tenants/acme/{what}");
    rig.admin(Method::POST, &suspend("suspend"), Value::Null).await.good();
    rig.get(&a, &path).await.refused(403, "scope.suspended");
    rig.admin(Method::POST, &suspend("resume"), Value::Null).await.good();
    assert_eq!(rig.get(&a, &path).await.good().text(), "canary");
    let receipt = rig.admin(Method::DELETE, "/admin/v1/tenants/acme", Value::Null).await.good();
    let rows = |at: usize| receipt.json()["environments"][at]["rows"].as_u64().unwrap();
    // Environments are in the order of their names: live, where the state was, and staging.
    assert!(rows(0) >= rows(1) + 4, "{}", receipt.text());
    rig.get(&a, &path).await.refused(403, "scope.tenant");
    put(&rig, &a, &path, &[], "again").await.refused(403, "scope.tenant");
}
