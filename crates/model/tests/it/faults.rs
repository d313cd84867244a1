//! Providers that fail, in every way that was thought of.

use std::{net::TcpListener, sync::atomic::Ordering};

use bulkhead_model::{CacheStatus, CallerCache};
use records::End;

use super::{
    standin::{Raw, RawStandIn, Reply, StandIn, completion, json, status},
    world::{World, prompt, secret_of, settings, text, whose},
};

fn http(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()
}

const JSON: &str = "content-type: application/json";

/// Asks once for each reply: the code, the event, nothing kept, no second try, no credential.
async fn fail(cases: Vec<(&str, Raw, &str)>) {
    for (what, reply, code) in cases {
        let upstream = RawStandIn::new(vec![reply]).await;
        let world = World::new().await;
        let mut settings = settings(upstream.address);
        if code == "upstream.timeout" {
            settings.providers[0].timeouts.first_byte_ms = 20;
            settings.providers[0].timeouts.idle_ms = 20;
        }
        let model = world.hop(settings);
        let acme = world.acme().await;
        let error = world.ask(&model, &acme, &prompt("kept", "x")).await.unwrap_err();
        assert_eq!(error.code(), code, "{what}: {error}");
        assert!(!error.to_string().contains("sk-"), "{what}: {error}");
        assert_eq!(upstream.asked.load(Ordering::SeqCst), 1, "{what}: asked once, never again");
        let event = &world.events(&acme).await[0].event;
        assert_eq!((event.end, event.code.as_deref()), (End::Failed, Some(code)), "{what}");
        assert_eq!(world.cache.counts().kept, 0, "{what}");
    }
}

#[tokio::test]
async fn answers_that_break() {
    let whole = completion("x");
    let half = http(&format!("200 OK\r\n{JSON}"), &whole)[..200].to_vec();
    let half_head = b"HTTP/1.1 200 OK\r\ncontent-".to_vec();
    let huge = format!("HTTP/1.1 200 OK\r\n{JSON}\r\ncontent-length: 99999999\r\n\r\n{{");
    let endless = format!(
        "HTTP/1.1 200 OK\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n200000\r\n{}\r\n",
        " ".repeat(0x20_0000)
    );
    fail(vec![
        ("closed without a word", Raw::Close(Vec::new()), "upstream.unreachable"),
        ("reset without a word", Raw::Reset(Vec::new()), "upstream.unreachable"),
        ("half a head", Raw::Close(half_head), "upstream.unreachable"),
        ("half a body", Raw::Close(half.clone()), "upstream.unreachable"),
        ("reset in its body", Raw::Reset(half.clone()), "upstream.unreachable"),
        ("never", Raw::Hang(Vec::new()), "upstream.timeout"),
        ("stops in its body", Raw::Hang(half), "upstream.timeout"),
        ("announced too large", Raw::Hang(huge.into()), "upstream.too_large"),
        ("too large", Raw::Hang(endless.into()), "upstream.too_large"),
    ])
    .await;
}

#[tokio::test]
async fn answers_that_are_none() {
    let whole = completion("x");
    let of_json = |body: &str| Raw::GoOn(http(&format!("200 OK\r\n{JSON}"), body));
    let headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: b\r\n".repeat(300));
    let elsewhere = "302 Found\r\nlocation: http://127.0.0.1:1/";
    let zipped = format!("200 OK\r\n{JSON}\r\ncontent-encoding: gzip");
    let refused = format!("401 No\r\n{JSON}");
    fail(vec![
        ("elsewhere", Raw::GoOn(http(elsewhere, "")), "upstream.redirect"),
        ("moved", Raw::GoOn(http("308 Moved\r\nlocation: /other", "")), "upstream.redirect"),
        ("not HTTP", Raw::Close(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), "upstream.malformed"),
        ("too many headers", Raw::Close(headers.into()), "upstream.malformed"),
        ("not JSON", of_json("<html>"), "upstream.malformed"),
        ("no object", of_json("[1]"), "upstream.malformed"),
        ("keys twice", of_json("{\"choices\":1,\"choices\":2}"), "upstream.malformed"),
        (
            "HTML",
            Raw::GoOn(http("200 OK\r\ncontent-type: text/html", &whole)),
            "upstream.malformed",
        ),
        ("of no type", Raw::GoOn(http("200 OK", &whole)), "upstream.malformed"),
        ("compressed", Raw::GoOn(http(&zipped, &whole)), "upstream.malformed"),
        ("credential refused", Raw::GoOn(http(&refused, "{}")), "upstream.credential"),
        ("forbidden", Raw::GoOn(http("403 No", "sk-acme")), "upstream.credential"),
    ])
    .await;
}

#[tokio::test]
async fn nobody_there() {
    let world = World::new().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let model = world.hop(settings(free));
    let error = world.ask(&model, &world.acme().await, &prompt("plain", "x")).await.unwrap_err();
    assert_eq!(error.code(), "upstream.unreachable");
    assert!(!error.to_string().contains(&free.to_string()), "{error}");
}

#[tokio::test]
async fn a_slow_whole_is_bounded() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let upstream = RawStandIn::new(vec![Raw::Hang(head.into())]).await;
    let world = World::new().await;
    let mut settings = settings(upstream.address);
    settings.providers[0].timeouts.total_ms = 20;
    let model = world.hop(settings);
    let error = world.ask(&model, &world.acme().await, &prompt("plain", "x")).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider took too long to finish its answer");
}

/// Incident `cached-errors` in its first half: errors are looked at, too.
#[tokio::test]
async fn errors_are_passed_on_without_credentials() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let secret = secret_of("acme", "live");
    let echo = [
        format!(
            r#"{{"error":{{"message":"bad key {secret}","type":"{secret}","param":"{secret}","code":"{secret}"}}}}"#
        ),
        format!(
            r#"{{"error":{{"message":"bad key {}…","seen":"Bearer {secret}"}}}}"#,
            &secret[..14]
        ),
        format!(r#"{{"error":{{"message":"got Authorization: Bearer {secret} from you"}}}}"#),
        format!(r#"{{"error":"sent \u0073k-{}"}}"#, &secret[3..]),
        format!("<html>{secret}</html>"),
        format!("{{\"error\":{{\"message\":\"{}{secret}\"}}}}", "x".repeat(100_000)),
        secret.clone(),
        String::new(),
    ];
    for body in echo {
        for code in [400, 404, 422, 429, 500, 503] {
            let sent = body.clone();
            upstream.answers(move |_, _| status(code, sent.clone()));
            let answer = world.ask(&model, &acme, &prompt("kept", "x")).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.cache), (code, CacheStatus::Miss));
            assert_eq!(answer.content_type, "application/json");
            let text = text(answer).await;
            let shape: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(shape["error"]["message"].is_string() && shape["error"]["code"].is_string());
            for part in secret.as_bytes().windows(9) {
                let part = std::str::from_utf8(part).unwrap();
                assert!(!text.contains(part), "{part} in {text}");
            }
        }
    }
    upstream.answers(|_, _| {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("retry-after", "7".to_owned()),
            ("set-cookie", "a=b".to_owned()),
        ];
        let body = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
        Reply::Whole(429, headers, body.into())
    });
    let answer = world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap();
    assert_eq!(answer.retry_after.clone().unwrap(), "7");
    let shape: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(shape["error"]["message"], "slow down");
    assert_eq!(shape["error"]["type"], "requests");
    assert_eq!(shape["error"]["code"], "rate_limit_exceeded");
    let events = world.events(&acme).await;
    assert!(events.iter().all(|e| e.event.code.as_deref() == Some("upstream.error")));
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_costs_nothing() {
    let answer = |text: &str| http("200 OK\r\ncontent-type: application/json", &completion(text));
    let upstream = RawStandIn::new(vec![Raw::Close(answer("1")), Raw::Close(answer("2"))]).await;
    let world = World::new().await;
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    for nth in ["1", "2"] {
        let got = world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap();
        assert_eq!(text(got).await, completion(nth));
        // The provider's end of it is closed by now, or is while the next one is asked.
        tokio::task::yield_now().await;
    }
}

/// Incident `redis-desync`, upstream: an answer that nobody asked for stands on the
/// connection. It is never read as the next answer.
#[tokio::test]
async fn an_answer_too_many_is_nobodys() {
    let answer = |text: &str| http("200 OK\r\ncontent-type: application/json", &completion(text));
    let stray = answer("not asked for");
    let along = Raw::GoOn([answer("1"), stray.clone()].concat());
    let later = Raw::Later(answer("1"), stray);
    for first in [along, later] {
        let upstream = RawStandIn::new(vec![first, Raw::GoOn(answer("2"))]).await;
        let world = World::new().await;
        let model = world.hop(settings(upstream.address));
        let acme = world.acme().await;
        for nth in ["1", "2"] {
            let got = world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap();
            assert_eq!(text(got).await, completion(nth));
            // While the connection is idle, the stray answer comes.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn a_cancelled_request_leaves_no_answer_behind() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    for nth in 0..50 {
        let body = prompt("plain", &format!("cancelled {nth}"));
        let mut cancelled = Box::pin(world.ask(&model, &acme, &body));
        // Some die before they are sent, some while they wait, some after.
        for _ in 0..nth % 7 {
            let polled = futures_util::poll!(cancelled.as_mut());
            if polled.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(cancelled);
        upstream.answers(|_, seen| {
            let wanted: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            json(completion(wanted["messages"][0]["content"].as_str().unwrap()))
        });
        let own = format!("mine {nth}");
        let got = world.ask(&model, &acme, &prompt("plain", &own)).await.unwrap();
        assert_eq!(text(got).await, completion(&own));
    }
}

#[tokio::test]
async fn revocation_ends_a_request_in_flight() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let (came, has_come) = tokio::sync::oneshot::channel();
    let came = std::sync::Mutex::new(Some(came));
    upstream.answers(move |_, _| {
        came.lock().unwrap().take().unwrap().send(()).unwrap();
        Reply::Never
    });
    let body = prompt("kept", "x");
    let asking = world.chat(&model, &acme, &body, CallerCache::default());
    let revoking = async {
        has_come.await.unwrap();
        world.kit.revoke("acme", *acme.jti()).await;
    };
    let (got, ()) = tokio::join!(asking, revoking);
    assert_eq!(got.unwrap_err().code(), "scope.revoked");
}

#[tokio::test]
async fn settings_are_checked() {
    let world = World::new().await;
    let address = "127.0.0.1:1".parse().unwrap();
    type Change = fn(&mut bulkhead_model::Settings);
    let cases: [(&str, Change); 9] = [
        ("another machine", |s| s.providers[0].base_url = "http://10.0.0.1/v1".into()),
        ("a user", |s| s.providers[0].base_url = "https://k:v@h/v1".into()),
        ("timeout", |s| s.providers[0].timeouts.idle_ms = 0),
        ("max_response_bytes", |s| s.providers[0].max_response_bytes = 0),
        ("p is there twice", |s| s.providers.push(s.providers[0].clone())),
        ("kept is there twice", |s| s.routes.push(s.routes[1].clone())),
        ("no provider q", |s| s.routes[0].provider = Some("q".parse().unwrap())),
        ("ttl_seconds", |s| s.routes[1].cache.as_mut().unwrap().ttl_seconds = 0),
        ("upstream_model", |s| s.routes[2].upstream_model = Some(String::new())),
    ];
    for (part, change) in cases {
        let mut settings = settings(address);
        assert!(settings.check().is_ok());
        change(&mut settings);
        let error = settings.check().unwrap_err();
        assert_eq!(error.code(), "config.invalid");
        assert!(error.to_string().contains(part), "{part}: {error}");
        let opened = bulkhead_model::ModelHop::open(settings, world.parts());
        assert!(opened.is_err());
    }
    let text = r#"
        [[providers]]
        id = "openai"
        kind = "openai"
        base_url = "https://api.openai.com/v1"
        [[routes]]
        name = "gpt"
        provider = "openai"
        cache = { ttl_seconds = 60 }
    "#;
    let settings: bulkhead_model::Settings = toml::from_str(text).unwrap();
    settings.check().unwrap();
    assert!(toml::from_str::<bulkhead_model::Settings>(&format!("{text}\nsecret = 1")).is_err());
}

fn over_tls(address: std::net::SocketAddr, ca_file: Option<&str>) -> bulkhead_model::Settings {
    let mut settings = settings(address);
    settings.providers[0].base_url = format!("https://{address}/v1");
    let here = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls"));
    settings.providers[0].ca_file = ca_file.map(|name| here.join(name));
    settings
}

#[tokio::test]
async fn tls_needs_a_certificate_of_an_authority_that_is_trusted() {
    let (world, upstream) = (World::new().await, StandIn::over_tls().await);
    let acme = world.acme().await;
    let model = world.hop(over_tls(upstream.address, Some("authority.pem")));
    for _ in 0..2 {
        let answer = world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap();
        assert!(text(answer).await.contains(&whose(&secret_of("acme", "live"))));
    }
    let connections: Vec<_> = upstream.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0]);
    // By the public authorities nobody vouches for it; and by this name, neither.
    let mut elsewhere = over_tls(upstream.address, Some("authority.pem"));
    elsewhere.providers[0].base_url = format!("https://localhost:{}/v1", upstream.address.port());
    for settings in [over_tls(upstream.address, None), elsewhere] {
        let model = world.hop(settings);
        let error = world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap_err();
        assert_eq!(error.code(), "upstream.unreachable");
    }
    assert_eq!(upstream.asked(), 2, "the credential was never sent");
    for bad in ["README", "none"] {
        let settings = over_tls(upstream.address, Some(bad));
        let opened = bulkhead_model::ModelHop::open(settings, world.parts());
        assert_eq!(opened.unwrap_err().code(), "config.invalid");
    }
}

#[tokio::test]
async fn a_handshake_that_stands_still_is_bounded() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = over_tls(listener.local_addr().unwrap(), None);
    settings.providers[0].timeouts.connect_ms = 20;
    let model = world.hop(settings);
    let error = world.ask(&model, &world.acme().await, &prompt("plain", "x")).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider took too long to accept a connection");
}

#[tokio::test]
async fn plain_http_is_no_tls() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(over_tls(upstream.address, None));
    let error = world.ask(&model, &world.acme().await, &prompt("plain", "x")).await.unwrap_err();
    assert_eq!(error.code(), "upstream.unreachable");
    assert_eq!(upstream.asked(), 0);
}
