//! Providers that mean harm, at every endpoint: what they send is bounded, comes to a clear
//! error, and is not kept.

use bulkhead_model::{Api, Caller, Settings};

use super::{
    shapes::{body, stream, streamed, whole},
    standin::{Raw, RawStandIn},
    world::{LONG, World, settings, text},
};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn head(kind: &str, rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{rest}\r\n")
}

fn sized(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = head(kind, &format!("content-length: {}\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

fn chunked(kind: &str, rest: &str) -> Vec<u8> {
    format!("{}{rest}", head(kind, "transfer-encoding: chunked\r\n")).into()
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// One provider of every endpoint; each wait is short where one has to end.
fn of_all(address: std::net::SocketAddr, impatient: bool) -> Settings {
    let mut settings = settings(address);
    settings.providers[0].apis = Some(Api::ALL.to_vec());
    if impatient {
        settings.providers[0].timeouts.first_byte_ms = 30;
        settings.providers[0].timeouts.idle_ms = 30;
    }
    settings
}

/// A stream of zeros, compressed: 64 KiB of them in 94 bytes or so, and over again.
fn bomb() -> Vec<u8> {
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bomb.extend(
        std::iter::repeat_n([0xec, 0xc1, 0x01, 0x01, 0, 0, 0, 0x80, 0x90, 0xfe], 1_000).flatten(),
    );
    bomb
}

#[tokio::test]
async fn documents() {
    for api in Api::ALL {
        let good = whole(api, "x");
        let half = &good[..good.len() / 2];
        let mut invalid = good.clone().into_bytes();
        // Within a text, where nothing of ours looks: in place of the last letter of a word.
        let at = good.find("\"x\"").map_or(good.len() - 3, |at| at + 1);
        invalid[at] = 0xff;
        let long_head = format!("HTTP/1.1 200 OK\r\nx-long: {}", "a".repeat(1 << 20));
        let many_heads = format!("HTTP/1.1 200 OK\r\n{}", "x-a: b\r\n".repeat(100_000));
        let endless = chunk(&" ".repeat(0x8_0000)).repeat(3);
        let large = format!("content-length: {}\r\n", 1_u64 << 40);
        let zipped = head(JSON, "content-encoding: gzip\r\ncontent-length: 10010\r\n");
        for (what, reply, code) in [
            ("slow", Raw::Hang(Vec::new()), "upstream.timeout"),
            ("slow in its head", Raw::Hang(b"HTTP/1.1 200".to_vec()), "upstream.timeout"),
            ("slow in its body", Raw::Hang(chunked(JSON, &chunk(half))), "upstream.timeout"),
            ("half a chunk", Raw::Hang(chunked(JSON, "ffff\r\n{")), "upstream.timeout"),
            ("endless", Raw::Hang(chunked(JSON, &endless)), "upstream.too_large"),
            ("a lie about its size", Raw::Hang(head(JSON, &large).into()), "upstream.too_large"),
            ("cut off", Raw::Close(chunked(JSON, &chunk(half))), "upstream.unreachable"),
            ("no JSON", Raw::GoOn(sized(JSON, half.as_bytes())), "upstream.malformed"),
            ("mislabelled", Raw::GoOn(sized(EVENTS, good.as_bytes())), "upstream.malformed"),
            ("of no kind", Raw::GoOn(sized("text/plain", good.as_bytes())), "upstream.malformed"),
            ("no text", Raw::GoOn(sized(JSON, &invalid)), "upstream.malformed"),
            ("endless header", Raw::Hang(long_head.into()), "upstream.malformed"),
            ("endless headers", Raw::Hang(many_heads.into()), "upstream.malformed"),
            ("a bomb", Raw::Hang([zipped.into_bytes(), bomb()].concat()), "upstream.malformed"),
            ("a bad chunk", Raw::Hang(chunked(JSON, "zz\r\n")), "upstream.unreachable"),
        ] {
            let (world, upstream) = (World::new().await, RawStandIn::new(vec![reply]).await);
            let model = world.hop(of_all(upstream.address, code == "upstream.timeout"));
            let sent = body(api, "kept", "q", "");
            let acme = world.acme().await;
            let got = world.call(&model, &acme, api, &sent, Caller::default()).await;
            let error = got.err().unwrap_or_else(|| panic!("{api:?}: {what}"));
            assert_eq!(error.code(), code, "{api:?}: {what}: {error}");
            assert!(error.to_string().len() < 200, "{error}");
            assert_eq!(world.cache.counts().kept, 0, "{api:?}: {what}");
            let event = world.events(&acme).await.remove(0).event;
            assert_eq!(event.code.as_deref(), Some(code));
        }
    }
}

#[tokio::test]
async fn streams() {
    for api in Api::ALL.into_iter().filter(|api| api.streams()) {
        let good = stream(api, "x");
        let half = &good[..good.rfind("\n\n").unwrap() - 4];
        let event = &good[..good.find("\n\n").unwrap() + 2];
        let mut invalid = good.clone().into_bytes();
        let at = good.find("\"x\"").unwrap() + 1;
        invalid[at] = 0xff;
        let endless = chunk(&event.repeat(0x1_0000 / event.len() + 1)).repeat(40);
        let line = chunk(&"a".repeat(0x8_0000)).repeat(3);
        for (what, reply, code) in [
            ("slow", Raw::Hang(chunked(EVENTS, &chunk(event))), "upstream.timeout"),
            ("half an event", Raw::Hang(chunked(EVENTS, &chunk(half))), "upstream.timeout"),
            ("half a chunk", Raw::Hang(chunked(EVENTS, "ffff\r\ndata: {")), "upstream.timeout"),
            ("cut off", Raw::Close(chunked(EVENTS, &chunk(event))), "upstream.unreachable"),
            ("ended early", Raw::GoOn(sized(EVENTS, event.as_bytes())), "upstream.malformed"),
            ("ended in an event", Raw::GoOn(sized(EVENTS, half.as_bytes())), "upstream.malformed"),
            ("endless", Raw::Hang(chunked(EVENTS, &endless)), "upstream.too_large"),
            ("an endless line", Raw::Hang(chunked(EVENTS, &line)), "upstream.too_large"),
            ("no text", Raw::GoOn(sized(EVENTS, &invalid)), "upstream.malformed"),
        ] {
            let (world, upstream) = (World::new().await, RawStandIn::new(vec![reply]).await);
            let mut settings = of_all(upstream.address, code == "upstream.timeout");
            settings.providers[0].timeouts.first_byte_ms = LONG;
            let model = world.hop(settings);
            let acme = world.acme().await;
            let sent = streamed(api, "kept", "q");
            let got = world.call(&model, &acme, api, &sent, Caller::default()).await.unwrap();
            let got = text(got).await;
            assert!(got.contains(code), "{api:?}: {what}: {got:.400}");
            let last = got.trim_end().rsplit("\n\n").next().unwrap();
            assert!(last.contains(code) && last.contains("data: "), "{api:?}: {what}: {last:.400}");
            assert_eq!(world.cache.counts().kept, 0, "{api:?}: {what}");
            let event = world.events(&acme).await.remove(0).event;
            assert_eq!(event.code.as_deref(), Some(code), "{api:?}: {what}");
        }
        // What is no stream at all never begins.
        for reply in [
            sized(JSON, whole(api, "x").as_bytes()),
            format!("{}{good}", head("text/event-stream", "content-encoding: br\r\n")).into(),
        ] {
            let (world, upstream) =
                (World::new().await, RawStandIn::new(vec![Raw::GoOn(reply)]).await);
            let model = world.hop(of_all(upstream.address, false));
            let sent = streamed(api, "kept", "q");
            let acme = world.acme().await;
            let got = world.call(&model, &acme, api, &sent, Caller::default()).await;
            assert_eq!(got.unwrap_err().code(), "upstream.malformed", "{api:?}");
        }
    }
}
