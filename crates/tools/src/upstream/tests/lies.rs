//! Upstreams that lie.

use std::sync::Arc;

use ::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = HttpStandIn::new().await;
    for status in [301, 302, 303, 307, 308] {
        let standin = HttpStandIn::new().await;
        let to = format!("http://{}/api/there", elsewhere.address());
        standin.answers(move |_, _| {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [("location", to.clone())]).into_response()
        });
        let redirect = FaultKind::Redirect(StatusCode::from_u16(status).unwrap());
        let bench = Bench::of(world::http(standin.address())).await;
        let acme = bench.world.acme().await;
        let post = filled(Method::POST, "/a", Some(r#"{"secret":1}"#));
        assert_eq!(kind(bench.request(&acme, "/a").await), redirect);
        assert_eq!(kind(bench.send(&acme, post).await), redirect);

        let bench = Bench::of(world::mcp(standin.address())).await;
        let acme = bench.world.acme().await;
        let fault = bench.tool(&acme, "whoami", json!({})).await.unwrap_err();
        assert_eq!(fault, Fault::unsent(redirect));
    }
    assert!(elsewhere.book().seen().is_empty());
}

#[tokio::test]
async fn lies_in_messages_are_found() {
    let ok = |id: u64| result(id, "fine");
    type Lie = Box<dyn Fn(u64) -> Response + Send + Sync>;
    let lies: Vec<(&str, Lie)> = vec![
        (
            "names the same key twice",
            Box::new(|id| {
                let text = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"content":[]}}}}"#
                );
                whole(200, "application/json", text)
            }),
        ),
        (
            "names the same key twice",
            Box::new(|id| {
                stream(&[format!(r#"{{"jsonrpc":"2.0","id":{id},"id":1,"result":{{}}}}"#)])
            }),
        ),
        ("not asked", Box::new(move |id| whole(200, "application/json", ok(id + 1)))),
        ("not asked", Box::new(move |id| stream(&[ok(id + 1), ok(id)]))),
        (
            "not asked",
            Box::new(move |id| {
                whole(
                    200,
                    "application/json",
                    ok(id).replace(&format!("\"id\":{id}"), &format!("\"id\":\"{id}\"")),
                )
            }),
        ),
        ("answers twice", Box::new(move |id| stream(&[ok(id), ok(id)]))),
        ("answers twice", Box::new(move |id| stream(&[ok(id), "{}".into()]))),
        ("not JSON", Box::new(move |id| whole(200, "application/json", ok(id) + &ok(id)))),
        ("no message", Box::new(move |id| whole(200, "application/json", format!("[{}]", ok(id))))),
        ("no answer", Box::new(|_| StatusCode::ACCEPTED.into_response())),
        ("no answer", Box::new(move |id| whole(200, "text/html", ok(id)))),
        (
            "no object",
            Box::new(|id| {
                whole(
                    200,
                    "application/json",
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":[]}}"#),
                )
            }),
        ),
        (
            "nested too deeply",
            Box::new(|id| {
                let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
                whole(
                    200,
                    "application/json",
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{deep}}}"#),
                )
            }),
        ),
        (
            "asks back",
            Box::new(move |id| {
                let asks = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned();
                let mut events = vec![asks; 9];
                events.push(ok(id));
                stream(&events)
            }),
        ),
        ("with an error", Box::new(|_| whole(418, "text/plain", "a teapot"))),
    ];
    for (why, lie) in lies {
        let standin = scripted(move |id, _| lie(id)).await;
        let bench = Bench::of(world::mcp(standin.address())).await;
        let acme = bench.world.acme().await;
        let fault = kind(bench.tool(&acme, "t", json!({})).await);
        assert!(
            matches!(fault, FaultKind::Malformed(_) | FaultKind::Status(_))
                && fault.to_string().contains(why),
            "{why}: {fault:?}"
        );
    }
}

#[tokio::test]
async fn what_a_server_asks_back_is_refused() {
    let standin = scripted(move |id, _| {
        let asks = |id: &str, method: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#)
        };
        stream(&[
            asks("\"s-1\"", "sampling/createMessage"),
            asks("2", "elicitation/create"),
            asks("3", "roots/list"),
            asks("4", "ping"),
            result(id, "done"),
        ])
    })
    .await;
    let bench = Bench::of(world::mcp(standin.address())).await;
    let acme = bench.world.acme().await;
    let answer = bench.tool(&acme, "t", json!({})).await.unwrap();
    assert_eq!(answer["content"][0]["text"], "done");
    let seen = standin.book().seen();
    let told: Vec<_> = seen
        .iter()
        .map(Seen::json)
        .filter(|message| message.get("method").is_none())
        .map(|message| (message["id"].clone(), message["error"]["code"].clone()))
        .collect();
    let no = json!(-32_601);
    let expected = [
        (json!("s-1"), no.clone()),
        (json!(2), no.clone()),
        (json!(3), no),
        (json!(4), Value::Null),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_refused_credential_is_that_and_its_words_are_kept_back() {
    for (status, challenge, expected) in [
        (401, "", FaultKind::Credential),
        (401, "Bearer", FaultKind::Credential),
        (403, r#"Bearer error="invalid_token""#, FaultKind::Credential),
        (403, r#"Bearer error="insufficient_scope""#, FaultKind::Forbidden),
        (403, "Bearer", FaultKind::Forbidden),
    ] {
        let answer = move || {
            let mut answer =
                whole(status, "text/plain", "your key crm-acme-live-0123456789 is bad");
            if !challenge.is_empty() {
                let value = HeaderValue::from_static(challenge);
                answer.headers_mut().insert("www-authenticate", value);
            }
            answer
        };
        let standin = HttpStandIn::new().await;
        standin.answers(move |_, _| answer());
        let bench = Bench::of(world::http(standin.address())).await;
        let acme = bench.world.acme().await;
        assert_eq!(kind(bench.request(&acme, "/a").await), expected);
        let standin = scripted(move |_, _| answer()).await;
        let bench = Bench::of(world::mcp(standin.address())).await;
        let acme = bench.world.acme().await;
        assert_eq!(kind(bench.tool(&acme, "t", json!({})).await), expected);
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_credential_is_withheld() {
    let secret = secret_of("acme", "live");
    let escaped: String = secret.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let repeats = FaultKind::Malformed("it repeats the credential");
    for said in [secret.clone(), escaped] {
        for kind_of in ["application/json", "text/plain"] {
            let text = format!(r#"{{"key":"{said}"}}"#);
            if said.contains('\\') && kind_of == "text/plain" {
                continue;
            }
            let standin = HttpStandIn::new().await;
            standin.answers(move |_, _| whole(500, kind_of, text.clone()));
            let bench = Bench::of(world::http(standin.address())).await;
            let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
            assert_eq!(kind(bench.request(&acme, "/a").await), repeats);
            // To whom it is not a secret it is a text.
            assert!(bench.request(&globex, "/a").await.is_ok());
        }
        for form in 0..4 {
            let said = said.clone();
            let standin = scripted(move |id, _| {
                let whole_answer = result(id, "X").replace('X', &said);
                let note = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":
                    {{"progressToken":{id},"progress":1,"message":"{said}"}}}}"#
                )
                .replace('\n', "");
                let error = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":1,"message":"{said}"}}}}"#
                );
                match form {
                    0 => whole(200, "application/json", whole_answer),
                    1 => stream(&[whole_answer]),
                    2 => stream(&[note, result(id, "fine")]),
                    _ => whole(400, "application/json", error),
                }
            })
            .await;
            let bench = Bench::of(world::mcp(standin.address())).await;
            let acme = bench.world.acme().await;
            let heard = Arc::new(Mutex::new(0));
            let count = Arc::clone(&heard);
            let progress = Progress::to(move |_| *count.lock() += 1);
            let answer = bench.tool_noting(&acme, "t", json!({}), &progress).await;
            assert_eq!(kind(answer), repeats, "form {form}");
            assert_eq!(*heard.lock(), 0);
        }
    }
}

#[tokio::test]
async fn bodies_of_http_are_what_they_say() {
    type Case =
        (&'static str, Vec<(&'static str, &'static str)>, &'static str, Option<&'static str>);
    let cases: [Case; 8] = [
        ("application/json", vec![], r#"{"a":1}"#, None),
        ("application/json", vec![], "", None),
        ("text/html", vec![], "<p>", None),
        ("application/problem+json", vec![], r#"{"a":1,"a":2}"#, Some("the same key twice")),
        (
            "application/json; charset=utf-8",
            vec![],
            r#"{"a":{"b":1,"b":2}}"#,
            Some("the same key twice"),
        ),
        ("application/json", vec![], "{\"a\":1}{", Some("not JSON")),
        ("application/json", vec![("content-encoding", "gzip")], "{}", Some("compressed")),
        ("application/json", vec![("content-encoding", "identity")], "{}", None),
    ];
    for (content_type, headers, body, why) in cases {
        let standin = HttpStandIn::new().await;
        let more = headers.clone();
        standin.answers(move |_, _| {
            let mut answer = whole(200, content_type, body);
            for (name, value) in &more {
                answer.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            answer
        });
        let bench = Bench::of(world::http(standin.address())).await;
        let acme = bench.world.acme().await;
        let got = bench.send(&acme, filled(Method::POST, "/a/b%2Fc", Some("{}"))).await;
        match why {
            None => {
                let Ok(Content::Http { status, body: got, .. }) = got else { panic!("{got:?}") };
                assert_eq!((status, &got[..]), (StatusCode::OK, body.as_bytes()));
            }
            Some(why) => {
                let fault = kind(got);
                assert!(
                    matches!(fault, FaultKind::Malformed(said) if said.contains(why)),
                    "{fault:?}"
                );
            }
        }
        let seen = standin.book().seen().remove(0);
        assert_eq!(seen.path, "/api/a/b%2Fc");
        assert_eq!(seen.header("idempotency-key"), Some("07070707070707070707070707070707"));
        assert_eq!(seen.header("cookie"), None);
    }
}

fn head(content_type: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n").into()
}

#[tokio::test]
async fn answers_without_an_end_are_cut_off() {
    let most = 64 << 10;
    let limited = |upstream: Upstream| Upstream { max_response_bytes: most, ..upstream };
    let large = FaultKind::TooLarge(most);
    for piece in [
        " ",
        ": a comment\n",
        "data: {}\n",
        "\n",
        "data: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n",
    ] {
        let again = piece.repeat(1_000).into_bytes();
        let flood = again.clone();
        let standin =
            RawStandIn::new(move |_| Raw::Flood(head("application/json"), flood.clone())).await;
        let bench = Bench::of(limited(world::http(standin.address))).await;
        let acme = bench.world.acme().await;
        assert_eq!(kind(bench.request(&acme, "/a").await), large);

        let standin = RawStandIn::new(move |body| {
            let Ok(asked) = serde_json::from_str::<Value>(body) else {
                return Raw::Close(Vec::new());
            };
            match asked["method"].as_str() {
                Some("server/discover") => {
                    let found = json!({"jsonrpc": "2.0", "id": asked["id"],
                        "result": {"supportedVersions": ["2026-07-28"], "capabilities": {}}});
                    let mut answer = head("application/json");
                    answer.extend_from_slice(found.to_string().as_bytes());
                    Raw::Close(answer)
                }
                _ => Raw::Flood(head("text/event-stream"), again.clone()),
            }
        })
        .await;
        let bench = Bench::of(limited(world::mcp(standin.address))).await;
        let acme = bench.world.acme().await;
        assert_eq!(kind(bench.tool(&acme, "t", json!({})).await), large, "{piece:?}");
    }
    // One that says how long it will be is not waited for.
    let long = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
    let standin = RawStandIn::new(move |_| Raw::Hang(long.clone())).await;
    let bench = Bench::of(limited(world::http(standin.address))).await;
    let acme = bench.world.acme().await;
    assert_eq!(kind(bench.request(&acme, "/a").await), large);
}

#[tokio::test]
async fn silence_is_not_waited_for() {
    let timeouts = Timeouts { connect_ms: 600_000, idle_ms: 2_000, total_ms: 600_000 };
    for (written, timeouts) in [
        (Vec::new(), Timeouts { total_ms: 3_000, ..timeouts }),
        (b"HTTP/1.1 200 O".to_vec(), Timeouts { total_ms: 3_000, ..timeouts }),
        (head("application/json"), timeouts),
        ([head("application/json"), b"{\"a\":".to_vec()].concat(), timeouts),
    ] {
        let standin = RawStandIn::new(move |_| Raw::Hang(written.clone())).await;
        let bench = Bench::of(Upstream { timeouts, ..world::http(standin.address) }).await;
        let acme = bench.world.acme().await;
        let asks = bench.request(&acme, "/a");
        tokio::pin!(asks);
        tokio::select! {
            answered = &mut asks => panic!("{answered:?}"),
            () = standin.book.until(|seen| seen.len() == 1) => {}
        }
        tokio::time::pause();
        assert_eq!(kind(asks.await), FaultKind::Timeout);
        tokio::time::resume();
    }
}
