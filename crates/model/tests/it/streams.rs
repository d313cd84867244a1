//! Streams: as they come, no further than they are read, and ended when they must be.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bulkhead_model::{Body, CacheStatus, ChatStream};
use bytes::Bytes;
use futures_util::StreamExt;
use records::End;
use tokio::sync::mpsc;

use super::{
    standin::{Raw, RawStandIn, Reply, StandIn, chunks, events, json},
    world::{World, secret_of, settings, stream_prompt, text},
};

/// A stream-in that sends what the test sends.
async fn led_by_hand(upstream: &StandIn) -> mpsc::Sender<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = std::sync::Mutex::new(Some(receiver));
    upstream
        .answers(move |_, _| receiver.lock().unwrap().take().map_or(Reply::Never, Reply::Stream));
    sender
}

async fn open(world: &World, upstream: &StandIn, route: &str) -> ChatStream {
    let model = world.hop(settings(upstream.address));
    let answer = world.ask(&model, &world.acme().await, &stream_prompt(route, "x")).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.content_type.as_bytes()),
        (200, &b"text/event-stream"[..])
    );
    match answer.body {
        Body::Stream(stream) => stream,
        Body::Full(_) => panic!("a stream was asked for"),
    }
}

async fn next(stream: &mut ChatStream) -> Option<String> {
    let waited = tokio::time::timeout(testkit::PATIENCE, stream.next()).await;
    let piece = waited.expect("something came")?;
    Some(String::from_utf8(piece.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn events_are_handed_on_as_they_come() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let by_hand = led_by_hand(&upstream).await;
    let mut stream = open(&world, &upstream, "plain").await;
    for piece in ["data: {\"a\":1}\n\n", ": ping\n\n", "data: {\"b\":2}\r\n\r\n"] {
        by_hand.send(Bytes::from(piece)).await.unwrap();
        assert_eq!(next(&mut stream).await.as_deref(), Some(piece));
    }
    // Half an event waits for its other half.
    by_hand.send("data: {\"c\"".into()).await.unwrap();
    by_hand.send(":3}\n\ndata: {\"d\":4}\n\nda".into()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), "data: {\"c\":3}\n\ndata: {\"d\":4}\n\n");
    by_hand.send("ta: [DONE]\n\n".into()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), "data: [DONE]\n\n");
    drop(by_hand);
    assert_eq!(next(&mut stream).await, None);
    drop(stream);

    let event = &world.events(&world.acme().await).await[0].event;
    assert_eq!((event.end, event.code.as_deref()), (End::Complete, None));
    assert_eq!(event.bytes_out, 15 + 8 + 17 + 30 + 14);
}

#[tokio::test]
async fn a_stream_is_read_no_faster_than_its_reader() {
    const PIECE: usize = 64 * 1024;
    const ALL: usize = 4_096;
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let mut settings = settings(upstream.address);
    settings.providers[0].max_response_bytes = u64::MAX;
    let sent = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel(1);
    let receiver = std::sync::Mutex::new(Some(receiver));
    upstream
        .answers(move |_, _| receiver.lock().unwrap().take().map_or(Reply::Never, Reply::Stream));
    let counting = sent.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let event = format!("data: {{\"x\":\"{}\"}}\n\n", "x".repeat(PIECE));
        for _ in 0..ALL {
            if sender.send(Bytes::from(event.clone())).await.is_err() {
                return;
            }
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    let model = world.hop(settings);
    let body = stream_prompt("plain", "x");
    let answer = world.ask(&model, &world.acme().await, &body).await.unwrap();
    let Body::Stream(mut stream) = answer.body else { panic!("a stream was asked for") };
    next(&mut stream).await.unwrap();
    // The provider may go on for as long as anything takes what it sends: buffers of sockets.
    for _ in 0..20_000 {
        tokio::task::yield_now().await;
    }
    let went = sent.load(Ordering::SeqCst);
    assert!(went < ALL / 2, "{went} of {ALL} pieces went somewhere although nobody read them");
    drop(stream);
    tasks.join_all().await;
    assert!(sent.load(Ordering::SeqCst) < ALL, "dropping the stream ended the provider's");
}

#[tokio::test]
async fn revocation_ends_a_stream_in_flight() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    for (route, how) in [("plain", "epoch"), ("kept", "suspended"), ("plain", "erased")] {
        let by_hand = led_by_hand(&upstream).await;
        let mut stream = open(&world, &upstream, route).await;
        by_hand.send("data: {\"a\":1}\n\ndata: {\"half\"".into()).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap(), "data: {\"a\":1}\n\n");
        let status = match how {
            "suspended" => scope::Status::Suspended,
            "erased" => scope::Status::Erased,
            _ => scope::Status::Active,
        };
        world
            .kit
            .change("acme", |record| {
                record.epoch += u64::from(how == "epoch");
                record.status = status;
            })
            .await;
        let event = next(&mut stream).await.unwrap();
        let data = event.strip_prefix("data: ").and_then(|e| e.strip_suffix("\n\n")).unwrap();
        let error: serde_json::Value = serde_json::from_str(data).unwrap();
        let code = error["error"]["code"].as_str().unwrap();
        assert!(code.starts_with("scope."), "{how}: {event}");
        assert!(error["error"]["message"].is_string() && error["error"]["type"].is_string());
        assert_eq!(next(&mut stream).await, None, "{how}");
        // The connection upstream is closed at once, while the answer's body is still held.
        by_hand.closed().await;
        world.kit.change("acme", |record| record.status = scope::Status::Active).await;
        if how == "epoch" {
            // Tokens are made with whole seconds: one of the new epoch takes a later one.
            world.clock.advance(std::time::Duration::from_secs(2));
        }
    }
}

#[tokio::test]
async fn hanging_up_closes_the_connection_upstream() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let by_hand = led_by_hand(&upstream).await;
    let mut stream = open(&world, &upstream, "kept").await;
    let told = r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
    by_hand.send(format!("data: {told}\n\n").into()).await.unwrap();
    next(&mut stream).await.unwrap();
    drop(stream);
    by_hand.closed().await;
    let acme = world.acme().await;
    let event = &world.events(&acme).await[0].event;
    assert_eq!(event.end, End::Cancelled);
    // What was used by then is on record.
    assert_eq!((event.tokens_in, event.tokens_out), (Some(9), Some(2)));

    // Nothing of it was kept, and its connection carries nothing more.
    upstream.answers(|_, _| events(chunks("after")));
    let model = world.hop(settings(upstream.address));
    let answer = world.ask(&model, &acme, &stream_prompt("kept", "x")).await.unwrap();
    assert_eq!(answer.cache, CacheStatus::Miss);
    assert_eq!(text(answer).await, chunks("after"));
    assert_ne!(upstream.seen()[1].connection, upstream.seen()[0].connection);
}

/// Streams that break: what was whole is handed on, then an event says why it ends.
#[tokio::test]
async fn broken_streams_end_with_an_error_and_are_not_kept() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    let chunked = |body: &str| {
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len())
    };
    let first = "data: {\"a\":1}\n\n";
    let half = format!("{first}data: {{\"ha");
    let error = format!(
        "{first}data: {{\"error\":{{\"message\":\"bad key {}\"}}}}\n\n",
        secret_of("acme", "live")
    );
    let long = format!("{first}data: {}\n\n", "x".repeat(2 << 20));
    for (reply, code) in [
        (Raw::Reset(chunked(&half).into()), "upstream.unreachable"),
        (Raw::Close(chunked(&half).into()), "upstream.unreachable"),
        (Raw::Close(format!("{}0\r\n\r\n", chunked(first)).into()), "upstream.malformed"),
        (
            Raw::Close(format!("{head}connection: close\r\n\r\n{first}").into()),
            "upstream.malformed",
        ),
        (Raw::Hang(chunked(first).into()), "upstream.timeout"),
        (Raw::Hang(format!("{}zz\r\n", chunked(first)).into()), "upstream.unreachable"),
        (Raw::Hang(chunked(&error).into()), "upstream.error"),
        (Raw::Hang(chunked(&long).into()), "upstream.too_large"),
    ] {
        let whole = format!("{}0\r\n\r\n", chunked(&chunks("whole")));
        let upstream = RawStandIn::new(vec![reply, Raw::Close(whole.into())]).await;
        let world = World::new().await;
        let mut settings = settings(upstream.address);
        if code == "upstream.timeout" {
            settings.providers[0].timeouts.idle_ms = 20;
        }
        let model = world.hop(settings);
        let acme = world.acme().await;
        let body = stream_prompt("kept", "x");
        let got = text(world.ask(&model, &acme, &body).await.unwrap()).await;
        let rest = got.strip_prefix(first).unwrap_or_else(|| panic!("{code}: {got}"));
        let data = rest.strip_prefix("data: ").and_then(|e| e.strip_suffix("\n\n")).unwrap();
        let says: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(says["error"]["code"], code, "{got}");
        assert!(!got.contains("sk-acme"), "{got}");
        let events = world.events(&acme).await;
        assert_eq!(
            (events[0].event.end, events[0].event.code.as_deref()),
            (End::Failed, Some(code))
        );

        let again = world.ask(&model, &acme, &body).await.unwrap();
        assert_eq!(again.cache, CacheStatus::Miss, "{code}");
        assert_eq!(text(again).await, chunks("whole"), "{code}");
        let third = world.ask(&model, &acme, &body).await.unwrap();
        assert_eq!((third.cache, text(third).await), (CacheStatus::Hit, chunks("whole")), "{code}");
        assert_eq!(upstream.asked.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_provider_that_does_not_stream_is_refused() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    upstream.answers(|_, _| json("{\"choices\":[{}]}"));
    let error = world.ask(&model, &acme, &stream_prompt("plain", "x")).await.unwrap_err();
    assert_eq!(error.code(), "upstream.malformed");
}

#[tokio::test]
async fn what_comes_behind_the_end_is_not_handed_on() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    upstream.answers(|_, _| events(format!("{}data: {{\"of\":\"whom\"}}\n\n", chunks("x"))));
    for cache in [CacheStatus::Miss, CacheStatus::Hit] {
        let answer = world.ask(&model, &acme, &stream_prompt("kept", "x")).await.unwrap();
        assert_eq!(answer.cache, cache);
        assert_eq!(text(answer).await, chunks("x"));
    }
}
