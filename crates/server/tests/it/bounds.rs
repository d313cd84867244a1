//! Every bound that is set is kept.

use bulkhead_server::routes::Plane;
use http::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::rig::{ALL, Rig, chat_body};

/// Sends bytes as they are, and gives everything that comes back until the end.
async fn raw(rig: &Rig, sent: &str) -> String {
    let mut stream = TcpStream::connect(rig.address(Plane::Data)).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const HEAD: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";

#[tokio::test]
async fn heads_are_bounded() {
    let rig = Rig::empty(|settings| {
        settings.limits.headers = 20;
        settings.limits.header_bytes = 8_192;
    })
    .await;
    let fine = format!("{HEAD}{}\r\n", "x-a: 1\r\n".repeat(10));
    assert!(raw(&rig, &fine).await.starts_with("HTTP/1.1 200"));
    for bad in [
        format!("{HEAD}{}\r\n", "x-a: 1\r\n".repeat(20)),
        format!("{HEAD}x-a: {}\r\n\r\n", "1".repeat(9_000)),
    ] {
        let answer = raw(&rig, &bad).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

/// This waits for a second, and so does the next: the smallest bound that can be set.
#[tokio::test]
async fn a_head_is_awaited_for_so_long() {
    let rig = Rig::empty(|settings| settings.limits.header_seconds = 1).await;
    let answer = raw(&rig, "GET /health/live HTTP/1.1\r\nhost: loc").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn waiting_is_bounded() {
    let rig = Rig::with(|settings| {
        settings.limits.body_seconds = 1;
        settings.limits.request_seconds = 3;
    })
    .await;
    let token = rig.token("acme", "live", ALL).await;
    let half_body = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n{{"
    );
    let half_body = raw(&rig, &half_body);
    let no_answer = rig.chat(&token, "plain", "[hold]");
    let (half_body, no_answer) = tokio::join!(half_body, no_answer);
    assert!(half_body.starts_with("HTTP/1.1 408"), "{half_body}");
    assert!(half_body.contains("request.timeout"), "{half_body}");
    no_answer.refused(408, "request.timeout");
    // A stream has begun by then, and goes on.
    let mut stream = rig.stream(&token, "plain", "[hold] on").await;
    assert!(stream.next().await.is_some());
    rig.upstream.release.add_permits(2);
    assert!(stream.rest().await.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn hops_of_a_tenant_are_bounded_and_nobody_elses() {
    let rig = Rig::with(|settings| settings.limits.hops_per_tenant = 2).await;
    let tokens = [
        rig.token("acme", "live", ALL).await,
        rig.token("acme", "staging", ALL).await,
        rig.token("globex", "live", ALL).await,
    ];
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = rig.stream(&tokens[0], "plain", "[hold]").await;
        stream.next().await.unwrap();
        streams.push(stream);
    }
    let reply = rig.chat(&tokens[0], "plain", "one more").await;
    let reply = reply.refused(429, "limit.concurrency");
    assert_eq!(reply.header("retry-after"), "1");
    for other in &tokens[1..] {
        rig.chat(other, "plain", "not mine").await.good();
    }
    rig.upstream.release.add_permits(2);
    for stream in streams {
        stream.rest().await;
    }
    rig.chat(&tokens[0], "plain", "again").await.good();
}

/// What a caller says of a step is recorded, and what the provider counted.
#[tokio::test]
async fn a_hop_is_recorded_as_it_was() {
    let rig = Rig::start().await;
    let minted = rig.minted("acme", "live", &[("scope", ALL), ("run", "r-7")]).await;
    let token = minted["access_token"].as_str().unwrap();
    let body = chat_body("cached", "canary of the prompt", false);
    rig.chat_with(token, &[("x-bulkhead-step", "s-1")], body.clone()).await.good();
    rig.chat_with(token, &[("x-bulkhead-step", "a b")], body.clone())
        .await
        .refused(400, "request.malformed");
    rig.chat_with(token, &[], body.clone()).await.good();
    let path = "/admin/v1/tenants/acme/environments/live/events?run=r-7";
    let mut events = Value::Null;
    while events["items"].as_array().is_none_or(|all| all.len() < 2) {
        events = rig.admin(Method::GET, path, Value::Null).await.good().json();
    }
    let first = &events["items"][0];
    for (name, value) in [
        ("surface", "model"),
        ("action", "chat"),
        ("run", "r-7"),
        ("step", "s-1"),
        ("workflow", "support"),
        ("decision", "allowed"),
        ("end", "complete"),
        ("cache", "miss"),
        ("route", "cached"),
        ("provider", "standin"),
    ] {
        assert_eq!(first[name], value, "{name} of {first}");
    }
    assert_eq!((&first["tokens_in"], &first["tokens_out"]), (&5.into(), &7.into()));
    assert_eq!(first["bytes_in"], body.to_string().len());
    assert_eq!(events["items"][1]["cache"], "hit");
    assert!(!events.to_string().contains("canary"), "{events}");
}
