//! Whoever takes too much is the one who gets no more of it.

use std::time::Duration;

use bulkhead_server::routes::Plane;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::rig::{ALL, Rig, chat_body};

/// Every way in for a tenant's body.
const BODIES: [&str; 9] = [
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/embeddings",
    "POST /v1/messages",
    "POST /v1/messages/count_tokens",
    "POST /v1/files",
    "POST /v1/batches",
    "PUT /v1/cache/e/k",
    "PUT /v1/state/r/k",
];
const PLANES: [Plane; 2] = [Plane::Data, Plane::Control];

async fn connect(rig: &Rig, plane: Plane) -> TcpStream {
    TcpStream::connect(rig.address(plane)).await.unwrap()
}

/// Everything that comes until the end; a reset is one, too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A chat request that announces so many bytes, and sends one of them.
async fn half(rig: &Rig, token: &str, length: usize) -> TcpStream {
    half_of(rig, token, "POST /v1/chat/completions", length).await
}

/// The same of another endpoint.
async fn half_of(rig: &Rig, token: &str, what: &str, length: usize) -> TcpStream {
    let mut stream = connect(rig, Plane::Data).await;
    let head = format!(
        "{what} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Asks until it is answered like this; what it waits for has no other sign.
async fn until(rig: &Rig, token: &str, prompt: &str, status: u16) {
    loop {
        let reply = rig.chat(token, "plain", prompt).await;
        if reply.status == status {
            if status == 429 {
                assert_eq!(reply.header("retry-after"), "1");
                reply.refused(429, "limit.concurrency");
            }
            return;
        }
    }
}

#[tokio::test]
async fn silent_connections_give_way_on_both_planes() {
    let rig = Rig::with(|settings| settings.limits.connections = 4).await;
    let mut silent = Vec::new();
    for plane in PLANES {
        for _ in 0..12 {
            silent.push(connect(&rig, plane).await);
        }
    }
    let token = rig.token("acme", "live", ALL).await;
    rig.chat(&token, "plain", "hello").await.good();
    for first in [0, 12] {
        assert_eq!(rest(&mut silent[first]).await, "");
    }
}

#[tokio::test]
async fn what_is_at_work_keeps_its_connection() {
    let rig = Rig::with(|settings| settings.limits.connections = 1).await;
    let token = rig.token("acme", "live", ALL).await;
    let mut stream = rig.stream(&token, "plain", "tell me [hold] all").await;
    assert!(stream.next().await.is_some());
    let mut second = connect(&rig, Plane::Data).await;
    let answer = rest(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.contains("limit.connections"), "{answer}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    rig.upstream.release.add_permits(1);
    assert!(stream.rest().await.ends_with("data: [DONE]\n\n"));
    // Idle, it makes room.
    let mut third = connect(&rig, Plane::Data).await;
    let probe = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    third.write_all(probe.as_bytes()).await.unwrap();
    assert!(rest(&mut third).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_connection_without_a_credential_is_closed_after_a_while() {
    let rig = Rig::empty(|_| {}).await;
    for plane in PLANES {
        let mut stream = connect(&rig, plane).await;
        let probes = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(64);
        stream.write_all(probes.as_bytes()).await.unwrap();
        let answers = rest(&mut stream).await;
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 64);
        assert_eq!(answers.matches("connection: close").count(), 1);
    }
}

/// With a credential it may go on.
#[tokio::test]
async fn a_connection_with_a_credential_is_not() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    for _ in 0..70 {
        let models = rig.get(&token, "/v1/models").await.good();
        assert_eq!(models.header("connection"), "");
    }
}

#[tokio::test]
async fn no_body_is_read_for_who_may_not_ask() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", "audit:read").await;
    for what in BODIES {
        let answer = rest(&mut half_of(&rig, &token, what, 100_000).await).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("scope.grant"), "{answer}");
    }
    let audit = rig.audit("acme", "live").await;
    let denied = audit.iter().filter(|entry| entry["code"] == "scope.grant").count();
    assert_eq!(denied, BODIES.len(), "{audit:?}");
}

#[tokio::test]
async fn hops_are_bounded_before_their_bodies_came() {
    let rig = Rig::with(|settings| settings.limits.hops_per_tenant = 2).await;
    let [acme, globex] = [rig.token("acme", "live", ALL), rig.token("globex", "live", ALL)];
    let (acme, globex) = tokio::join!(acme, globex);
    let halves = [half(&rig, &acme, 1_000).await, half(&rig, &acme, 1_000).await];
    until(&rig, &acme, "one more", 429).await;
    rig.chat(&globex, "plain", "not mine").await.good();
    drop(halves);
    until(&rig, &acme, "again", 200).await;
    let path = "/admin/v1/tenants/acme/environments/live/events?limit=1000";
    loop {
        let events = rig.admin(Method::GET, path, Value::Null).await.good().json();
        let refused = |event: &&Value| event["code"] == "limit.concurrency";
        if let Some(event) = events["items"].as_array().unwrap().iter().find(refused) {
            assert_eq!((&event["decision"], &event["end"]), (&"denied".into(), &"failed".into()));
            break;
        }
    }
}

#[tokio::test]
async fn bodies_of_a_tenant_are_bounded_and_nobody_elses() {
    let rig = Rig::with(|settings| {
        settings.limits.body_bytes = 70_000;
        settings.limits.bodies_bytes_per_tenant = 70_000;
    })
    .await;
    let [acme, globex] = [rig.token("acme", "live", ALL), rig.token("globex", "live", ALL)];
    let (acme, globex) = tokio::join!(acme, globex);
    let long = "x".repeat(20_000);
    // A key is for no run.
    let key = rig.key("acme", "live").await["secret"].as_str().unwrap().to_owned();
    for what in BODIES {
        let half = half_of(&rig, &key, what, 60_000).await;
        until(&rig, &acme, &long, 429).await;
        rig.chat(&globex, "plain", &long).await.good();
        rig.chat(&acme, "plain", "a short one fits").await.good();
        drop(half);
        until(&rig, &acme, &long, 200).await;
    }
}

#[tokio::test]
async fn a_chat_body_has_the_smaller_of_two_bounds() {
    let rig = Rig::with(|settings| settings.model.limits.body_bytes = 1_000).await;
    let token = rig.token("acme", "live", ALL).await;
    let answer = rest(&mut half(&rig, &token, 1_001).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Operators have theirs.
    let aliases: Vec<_> = (0..16).map(|n| format!("{n}-{}", "a".repeat(100))).collect();
    let tenant = json!({"id": "wide", "aliases": aliases, "environments": ["live"]});
    rig.admin(Method::POST, "/admin/v1/tenants", tenant).await.good();
}

#[tokio::test]
async fn a_body_is_the_same_in_small_pieces_and_in_large_ones() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let prompt = "word ".repeat(80_000);
    let body = chat_body("plain", &prompt, false);
    rig.chat(&token, "plain", &prompt).await.good();

    let short = chat_body("plain", &"word ".repeat(1_000), false);
    let pieces = short.to_string().into_bytes();
    let pieces: Vec<_> = pieces
        .chunks(1)
        .map(|byte| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(byte))))
        .collect();
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let uri = format!("http://{}/v1/chat/completions", rig.address(Plane::Data));
    let request = Request::post(uri).header("authorization", format!("Bearer {token}"));
    let sent = request.body(StreamBody::new(stream::iter(pieces))).unwrap();
    assert_eq!(client.request(sent).await.unwrap().status(), 200);
    let seen: Vec<_> = rig.upstream.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(seen.len(), 2);
    for (seen, sent) in seen.iter().zip([&body, &short]) {
        assert!(seen["messages"] == sent["messages"]);
    }

    // A large one is held against the credential as any other.
    let mut foreign = body;
    foreign["tenant_id"] = "globex".into();
    rig.chat_with(&token, &[], foreign).await.refused(403, "scope.mismatch");
}

/// What agents keep is as large, and takes its reader as long.
#[tokio::test]
async fn a_value_that_is_not_read_keeps_its_place_and_ends_with_the_credential() {
    let rig = Rig::with(|settings| {
        settings.limits.hops_per_tenant = 1;
        settings.state.value_max_bytes = 8 << 20;
        settings.cache.value_max_bytes = 8 << 20;
    })
    .await;
    let value = "x".repeat(8_000_000);
    for path in ["/v1/state/r/k", "/v1/cache/e/k"] {
        let minted = rig.minted("acme", "live", &[("scope", ALL), ("run", "r")]).await;
        let token = minted["access_token"].as_str().unwrap().to_owned();
        rig.call(&token, Method::PUT, path, &[], value.clone()).await.good();
        let mut stream = connect(&rig, Plane::Data).await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK", "{path}");
        rig.chat(&token, "plain", "one more").await.refused(429, "limit.concurrency");
        let revoke = "/admin/v1/tenants/acme/revoke";
        rig.clock.advance(Duration::from_secs(2));
        rig.admin(Method::POST, revoke, json!({"reason": "a test"})).await.good();
        rig.clock.advance(Duration::from_secs(2));
        assert!(rest(&mut stream).await.len() < value.len(), "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_keeps_its_place_and_ends_with_the_credential() {
    let rig = Rig::with(|settings| settings.limits.hops_per_tenant = 1).await;
    let token = rig.token("acme", "live", ALL).await;
    // More than the system keeps for two sockets.
    let prompt = "x".repeat(8_000_000);
    let body = chat_body("plain", &prompt, false).to_string();
    let mut stream = half(&rig, &token, body.len()).await;
    stream.write_all(&body.as_bytes()[1..]).await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    rig.chat(&token, "plain", "one more").await.refused(429, "limit.concurrency");
    let suspend = "/admin/v1/tenants/acme/suspend";
    rig.admin(Method::POST, suspend, json!({"reason": "a test"})).await.good();
    assert!(rest(&mut stream).await.len() < prompt.len());
}
