//! What is asked again, how often, and how soon.

use std::time::{Duration, Instant};

use bulkhead_model::{Api, Caller, Retries, Settings};

use super::{
    shapes::body,
    standin::{Raw, RawStandIn, Reply, StandIn, completion, json, status},
    world::{World, bytes, settings, text},
};

fn patient(address: std::net::SocketAddr, most: u32) -> Settings {
    let mut settings = settings(address);
    settings.providers[0].retries =
        Retries { most, backoff_ms: 1, wait_most_ms: 2_000, budget_percent: 20 };
    settings
}

fn busy(code: u16, headers: &[(&'static str, &str)]) -> Reply {
    let mut all = vec![("content-type", "application/json".to_owned())];
    all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Reply::Whole(code, all, r#"{"error":{"message":"busy"}}"#.into())
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let model = world.hop(patient(upstream.address, 2));
    let sent = body(Api::Chat, "kept", "q", r#""n":1"#);
    for (code, failures, asked, expected) in [
        (503, 0, 1, 200),
        (503, 1, 2, 200),
        (529, 2, 3, 200),
        (500, 3, 3, 500),
        (429, 9, 3, 429),
        (400, 1, 1, 400),
        (404, 1, 1, 404),
    ] {
        upstream.forget();
        upstream.answers(move |nth, _| match nth < failures {
            true => busy(code, &[]),
            false => json(completion("x")),
        });
        let caller = Caller {
            cache: bulkhead_model::CallerCache { no_store: true, ..Default::default() },
            ..Caller::default()
        };
        let answer = world.call(&model, &acme, Api::Chat, &sent, caller).await.unwrap();
        assert_eq!(answer.status, expected, "{code}");
        bytes(answer).await;
        assert_eq!(upstream.asked(), asked, "{code}");
        assert!(upstream.seen().iter().all(|seen| seen.body == sent), "the same each time");
    }
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    let world = World::new().await;
    let acme = world.acme().await;
    let answer = completion("x");
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    );
    let closes = || Raw::Close(Vec::new());
    let upstream = RawStandIn::new(vec![closes(), closes(), Raw::GoOn(whole.into())]).await;
    let model = world.hop(patient(upstream.address, 2));
    let sent = body(Api::Chat, "plain", "q", "");
    let got = world.call(&model, &acme, Api::Chat, &sent, Caller::default()).await.unwrap();
    assert_eq!(text(got).await, answer);
    assert_eq!(upstream.asked.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_providers_wish_is_honoured_up_to_a_point() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let model = world.hop(patient(upstream.address, 1));
    let sent = body(Api::Chat, "plain", "q", "");
    for (wish, asked, least) in [
        ([("retry-after-ms", "40")], 2, 40),
        ([("retry-after", "0")], 2, 0),
        ([("retry-after", "3")], 1, 0),
        ([("retry-after", "86400")], 1, 0),
        ([("retry-after-ms", "2001")], 1, 0),
        // The clock of this world stands in November 2026.
        ([("retry-after", "Fri, 01 Jan 2027 00:00:00 GMT")], 1, 0),
        ([("retry-after", "Thu, 01 Jan 2026 00:00:00 GMT")], 2, 0),
        ([("retry-after", "nonsense")], 2, 0),
    ] {
        upstream.forget();
        upstream.answers(move |_, _| busy(429, &wish));
        let began = Instant::now();
        let answer = world.call(&model, &acme, Api::Chat, &sent, Caller::default()).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(least), "{wish:?}");
        assert_eq!(upstream.asked(), asked, "{wish:?}");
        assert_eq!(answer.status, 429);
        let (name, value) = wish[0];
        let shown = answer.retry_after.as_ref().and_then(|value| value.to_str().ok());
        let expected = (name == "retry-after" && value != "nonsense").then_some(value);
        assert_eq!(shown, expected);
    }
}

#[tokio::test]
async fn a_tenants_budget_runs_out_and_is_nobody_elses() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let (acme, globex) = (world.acme().await, world.globex().await);
    let mut settings = patient(upstream.address, 1);
    settings.providers[0].retries.budget_percent = 0;
    let model = world.hop(settings);
    upstream.answers(|_, _| status(503, "{}"));
    let sent = body(Api::Chat, "plain", "q", "");
    for (scope, rounds, expected) in [(&acme, 30, 40), (&acme, 5, 5), (&globex, 5, 10)] {
        upstream.forget();
        for _ in 0..rounds {
            bytes(world.call(&model, scope, Api::Chat, &sent, Caller::default()).await.unwrap())
                .await;
        }
        assert_eq!(upstream.asked(), expected);
    }
}

#[tokio::test]
async fn whoever_leaves_is_asked_for_no_more() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let model = world.hop(patient(upstream.address, 5));
    upstream.answers(|_, _| busy(503, &[("retry-after-ms", "5")]));
    let sent = body(Api::Chat, "plain", "q", "");
    {
        let mut asking = Box::pin(world.call(&model, &acme, Api::Chat, &sent, Caller::default()));
        while upstream.asked() == 0 {
            assert!(futures_util::poll!(asking.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    // Another one is asked three times meanwhile; the first is not heard of again.
    let other = body(Api::Chat, "plain", "other", "");
    let globex = world.globex().await;
    bytes(world.call(&model, &globex, Api::Chat, &other, Caller::default()).await.unwrap()).await;
    let own = upstream.seen().iter().filter(|seen| seen.body == sent).count();
    assert_eq!((own, upstream.asked()), (1, 7));
}
