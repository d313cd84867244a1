//! What goes upstream and what comes back.

use bulkhead_model::CacheStatus;
use http::header;
use records::End;

use super::{
    standin::{StandIn, completion, json},
    world::{World, prompt, secret_of, settings, text, whose},
};

#[tokio::test]
async fn bodies_pass_byte_for_byte() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let sent = "{ \"messages\" :\n[ {\"content\":\"h\\u00e9 \u{1f512}\", \"role\":\"user\"} ],\
        \"temperature\": 1.00, \"x_unknown\": {\"deep\":[null, 1e3]}, \"model\" : \"plain\" ,\
        \"seed\":18446744073709551615, \"metadata\":{\"tenant_id\":\"acme\",\"env\":\"live\"} }";
    let answer = world.ask(&model, &acme, sent).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.cache), (200, CacheStatus::Bypass));
    assert_eq!(answer.content_type, "application/json");
    let expected = completion(&format!("answer 0 to {}", whose(&secret_of("acme", "live"))));
    assert_eq!(text(answer).await, expected);

    let seen = &upstream.seen()[0];
    assert_eq!(seen.body, sent.as_bytes());
    assert_eq!(seen.path, "/v1/chat/completions");

    let events = world.events(&acme).await;
    let event = &events[0].event;
    assert_eq!((event.end, event.code.as_deref()), (End::Complete, None));
    assert_eq!((event.bytes_in, event.bytes_out), (sent.len() as u64, expected.len() as u64));
    assert_eq!((event.tokens_in, event.tokens_out), (Some(11), Some(7)));
    assert_eq!(event.cache.as_deref(), Some("bypass"));
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn only_the_models_name_is_rewritten() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let body = "{\"x_unknown\":\"alias\",  \"model\" :\t\"alias\",\"messages\":[\"alias\"] }";
    world.ask(&model, &acme, body).await.unwrap();
    let expected =
        "{\"x_unknown\":\"alias\",  \"model\" :\t\"real-name\",\"messages\":[\"alias\"] }";
    assert_eq!(upstream.seen()[0].body, expected);
}

#[tokio::test]
async fn headers_upstream_are_ours_alone() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    for stream in ["false", "true"] {
        let body = prompt("plain", "x").replacen('{', &format!("{{\"stream\":{stream},"), 1);
        text(world.ask(&model, &acme, &body).await.unwrap()).await;
    }
    for (seen, accept) in upstream.seen().iter().zip(["application/json", "text/event-stream"]) {
        let mut names: Vec<_> = seen.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "accept-encoding",
                "authorization",
                "content-length",
                "content-type",
                "host",
                "user-agent",
            ],
            "no credential, tenant id, organization, project, baggage, cookie or trace of the caller"
        );
        assert_eq!(seen.authorization(), format!("Bearer {}", secret_of("acme", "live")));
        assert_eq!(seen.headers[header::ACCEPT], accept);
        assert_eq!(seen.headers[header::HOST], upstream.address.to_string());
    }
}

#[tokio::test]
async fn an_answer_may_come_in_pieces_and_be_empty() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let big = completion(&"x".repeat(700_000));
    upstream.answers({
        let big = big.clone();
        move |nth, _| json(if nth == 0 { big.clone() } else { String::new() })
    });
    assert_eq!(text(world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap()).await, big);
    let error = world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
}

#[tokio::test]
async fn connections_are_reused_in_one_partition_and_one_credential_only() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let staging = world.kit.scope("acme", "staging").await;
    let globex = world.globex().await;
    let other_token = world.kit.scope_for("acme", "live", "billing").await;
    for scope in [&acme, &acme, &other_token, &globex, &staging, &acme, &globex] {
        text(world.ask(&model, scope, &prompt("plain", "x")).await.unwrap()).await;
    }
    world.set_secret(&acme, "sk-acme-live-rotated").await;
    for _ in 0..2 {
        text(world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap()).await;
    }
    let seen = upstream.seen();
    let connections: Vec<_> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 2, 0, 1, 3, 3]);
    assert_eq!(seen[8].authorization(), "Bearer sk-acme-live-rotated");
    let stream = super::world::stream_prompt("plain", "x");
    for _ in 0..2 {
        text(world.ask(&model, &acme, &stream).await.unwrap()).await;
    }
    assert_eq!(upstream.seen()[10].connection, 3, "streams give their connection back, too");
    model.tidy();
}
