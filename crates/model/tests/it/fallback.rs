//! Routes with several targets.

use bulkhead_model::{Api, CacheStatus, Caller, Kind, ModelHop, Route, RouteTarget, Settings};
use records::End;
use scope::{Scope, Write};
use tokio::sync::mpsc;

use super::{
    shapes::{body, response, streamed},
    standin::{Raw, RawStandIn, Reply, StandIn, completion, json, status},
    world::{World, bytes, provider, settings, text},
};

/// Providers `p` and `q`, and a route `m` to both.
fn two(p: std::net::SocketAddr, q: std::net::SocketAddr, weights: [u32; 2]) -> Settings {
    let mut two = settings(p);
    two.providers.push(provider("q", Kind::OpenaiCompatible, q));
    let target = |id: &str, weight| RouteTarget {
        provider: id.parse().unwrap(),
        upstream_model: Some(format!("{id}-model")),
        weight,
    };
    two.routes.push(Route {
        provider: None,
        targets: vec![target("p", weights[0]), target("q", weights[1])],
        ..Route::new("m".parse().unwrap(), "p".parse().unwrap())
    });
    two
}

async fn world() -> (World, Scope<Write>) {
    let world = World::new().await;
    let acme = world.acme().await;
    world.set(&acme, "q", "sk-of-q-012345", false).await;
    (world, acme)
}

async fn ask(world: &World, model: &ModelHop, scope: &Scope<Write>) -> Result<u16, &'static str> {
    let sent = body(Api::Chat, "m", "q", "");
    let got = world.call(model, scope, Api::Chat, &sent, Caller::default()).await;
    match got {
        Ok(answer) => {
            let status = answer.status.as_u16();
            bytes(answer).await;
            Ok(status)
        }
        Err(error) => Err(error.code()),
    }
}

#[tokio::test]
async fn the_load_follows_the_weights() {
    let (world, acme) = world().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    for (weights, least, most) in
        [([1, 0], 200, 200), ([0, 5], 0, 0), ([3, 1], 120, 180), ([1, 1], 70, 130)]
    {
        let model = world.hop(two(p.address, q.address, weights));
        p.forget();
        q.forget();
        for _ in 0..200 {
            assert_eq!(ask(&world, &model, &acme).await, Ok(200));
        }
        assert_eq!(p.asked() + q.asked(), 200);
        assert!((least..=most).contains(&p.asked()), "{weights:?}: {}", p.asked());
        let by_name = |upstream: &StandIn, name: &str| {
            upstream.seen().iter().all(|seen| seen.json()["model"] == name)
        };
        assert!(by_name(&p, "p-model") && by_name(&q, "q-model"));
    }
}

#[tokio::test]
async fn another_provider_answers_for_one_that_is_not_well() {
    let (world, acme) = world().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    let model = world.hop(two(p.address, q.address, [1, 0]));
    for (code, passes) in [
        (408, true),
        (429, true),
        (500, true),
        (502, true),
        (503, true),
        (504, true),
        (529, true),
        (400, false),
        (404, false),
        (409, false),
        (422, false),
        (501, false),
    ] {
        p.answers(move |_, _| status(code, r#"{"error":{"message":"no"}}"#));
        q.forget();
        let got = ask(&world, &model, &acme).await;
        assert_eq!(got, Ok(if passes { 200 } else { code }), "{code}");
        assert_eq!(q.asked(), usize::from(passes), "{code}");
        let event = world.events(&acme).await.pop().unwrap().event;
        let answered = if passes { "q" } else { "p" };
        assert_eq!(event.provider.unwrap().as_str(), answered, "{code}");
        assert_eq!(event.end, if passes { End::Complete } else { End::Failed });
    }
    // A refused credential is a mistake to mend, not to hide.
    p.answers(|_, _| status(401, "{}"));
    q.forget();
    assert_eq!(ask(&world, &model, &acme).await, Err("upstream.credential"));
    // So is an answer that is none.
    p.answers(|_, _| json("<html>"));
    assert_eq!(ask(&world, &model, &acme).await, Err("upstream.malformed"));
    assert_eq!(q.asked(), 0);
}

#[tokio::test]
async fn nobody_there_or_nothing_said() {
    let (world, acme) = world().await;
    let q = StandIn::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let model = world.hop(two(free, q.address, [1, 0]));
    assert_eq!(ask(&world, &model, &acme).await, Ok(200));
    let closes = RawStandIn::new(vec![Raw::Close(Vec::new())]).await;
    let model = world.hop(two(closes.address, q.address, [1, 0]));
    assert_eq!(ask(&world, &model, &acme).await, Ok(200));
    let hangs = RawStandIn::new(vec![Raw::Hang(Vec::new())]).await;
    let mut slow = two(hangs.address, q.address, [1, 0]);
    slow.providers[0].timeouts.first_byte_ms = 20;
    assert_eq!(ask(&world, &world.hop(slow), &acme).await, Ok(200));
    assert_eq!(q.asked(), 3);
}

#[tokio::test]
async fn nobody_else_is_asked_once_an_answer_has_begun() {
    let (world, acme) = world().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    let model = world.hop(two(p.address, q.address, [1, 0]));
    p.answers(|_, _| {
        let (by_hand, pieces) = mpsc::channel(2);
        by_hand.try_send("data: {\"choices\":[]}\n\n".into()).unwrap();
        Reply::Stream(pieces)
    });
    let sent = streamed(Api::Chat, "m", "q");
    let got = world.call(&model, &acme, Api::Chat, &sent, Caller::default()).await.unwrap();
    let got = text(got).await;
    assert!(got.starts_with("data: {\"choices\"") && got.contains("upstream.malformed"), "{got}");
    let half = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{}",
        completion("x")
    );
    let breaks = RawStandIn::new(vec![Raw::Close(half.into())]).await;
    let model = world.hop(two(breaks.address, q.address, [1, 0]));
    assert_eq!(ask(&world, &model, &acme).await, Err("upstream.unreachable"));
    assert_eq!(q.asked(), 0);
}

#[tokio::test]
async fn where_none_is_well_the_first_word_counts() {
    let (world, acme) = world().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    p.answers(|_, _| status(503, "{}"));
    q.answers(|_, _| status(429, "{}"));
    for (first, second, expected) in [
        (p.address, q.address, Ok(503)),
        (q.address, p.address, Ok(429)),
        (free, q.address, Ok(429)),
        (q.address, free, Ok(429)),
        (free, free, Err("upstream.unreachable")),
    ] {
        let model = world.hop(two(first, second, [1, 0]));
        assert_eq!(ask(&world, &model, &acme).await, expected);
    }
    assert_eq!(world.cache.counts().kept, 0);
}

#[tokio::test]
async fn a_target_without_a_credential_is_none() {
    let (world, acme) = world().await;
    let globex = world.globex().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    let model = world.hop(two(p.address, q.address, [0, 1]));
    assert_eq!(ask(&world, &model, &acme).await, Ok(200));
    assert_eq!(ask(&world, &model, &globex).await, Ok(200));
    assert_eq!((p.asked(), q.asked()), (1, 1));
    // What the one does not answer is not asked of the other with somebody else's.
    p.answers(|_, _| status(503, "{}"));
    assert_eq!(ask(&world, &model, &globex).await, Ok(503));
    assert_eq!(q.asked(), 1);
    assert!(world.credentials.of(&globex).remove(&"p".parse().unwrap(), None).await.unwrap());
    assert_eq!(ask(&world, &model, &globex).await, Err("model.no_credential"));
}

/// What leaves something behind at a provider is not done twice.
#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let (world, acme) = world().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    let mut settings = two(p.address, q.address, [1, 0]);
    settings.providers[0].retries.most = 1;
    settings.providers[0].retries.backoff_ms = 1;
    let model = world.hop(settings.clone());
    q.answers(|nth, _| json(response("x", &format!("resp_{nth}"), &format!("msg_{nth}"))));
    let sent = r#"{"model":"m","input":"q"}"#;
    for (code, tries, elsewhere) in [(503, 1, false), (500, 1, false), (429, 2, true)] {
        p.answers(move |_, _| status(code, "{}"));
        p.forget();
        let before = q.asked();
        let got = world.call(&model, &acme, Api::Responses, sent, Caller::default()).await.unwrap();
        assert_eq!(got.status.as_u16(), if elsewhere { 200 } else { code });
        assert_eq!(got.cache, CacheStatus::Bypass);
        assert_eq!(p.asked(), tries, "{code}");
        assert_eq!(q.asked() - before, usize::from(elsewhere), "{code}");
    }
    let before = q.asked();
    let closes = RawStandIn::new(vec![Raw::Close(Vec::new())]).await;
    settings.providers[0].base_url = format!("http://{}/v1", closes.address);
    let model = world.hop(settings.clone());
    let got = world.call(&model, &acme, Api::Responses, sent, Caller::default()).await;
    assert_eq!(got.unwrap_err().code(), "upstream.unreachable");
    assert_eq!(q.asked(), before);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    settings.providers[0].base_url = format!("http://{free}/v1");
    let model = world.hop(settings);
    let got = world.call(&model, &acme, Api::Responses, sent, Caller::default()).await.unwrap();
    assert_eq!(
        (got.status.as_u16(), q.asked() - before),
        (200, 1),
        "nothing was sent to the first"
    );
}

#[test]
fn routes_are_checked() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    type Change = fn(&mut Settings);
    let cases: [(&str, Change); 13] = [
        ("both provider and targets", |s| s.routes[3].provider = Some("p".parse().unwrap())),
        ("neither provider nor targets", |s| s.routes[3].targets.clear()),
        ("upstream_model stands in each", |s| s.routes[3].upstream_model = Some("x".into())),
        ("every target has weight 0", |s| s.routes[3].targets[0].weight = 0),
        ("weight is more than", |s| s.routes[3].targets[0].weight = u32::MAX),
        ("no provider z", |s| s.routes[3].targets[1].provider = "z".parse().unwrap()),
        ("more than 16 targets", |s| {
            let one = s.routes[3].targets[0].clone();
            s.routes[3].targets = vec![one; 17];
        }),
        ("hosted_tools", |s| s.routes[3].hosted_tools = vec![String::new()]),
        ("`Web-Search` is called `web_search`", |s| {
            s.routes[3].hosted_tools = vec!["Web-Search".into()];
        }),
        ("apis is empty", |s| s.providers[0].apis = Some(vec![])),
        ("retries", |s| s.providers[0].retries.most = 11),
        ("budget_percent", |s| s.providers[0].retries.budget_percent = 101),
        ("betas", |s| s.providers[0].betas = vec!["A".into()]),
    ];
    for (part, change) in cases {
        let mut settings = two(nowhere, nowhere, [1, 0]);
        settings.check().unwrap();
        change(&mut settings);
        let error = settings.check().unwrap_err();
        assert_eq!(error.code(), "config.invalid");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let mut settings = two(nowhere, nowhere, [1, 0]);
    assert!(settings.resources().unwrap().is_none(), "of two none is chosen by chance");
    settings.resources = Some("q".parse().unwrap());
    assert_eq!(settings.resources().unwrap().unwrap().id.as_str(), "q");
    settings.providers[1].kind = Kind::Anthropic;
    assert!(settings.check().unwrap_err().to_string().contains("resources"));
    settings.resources = None;
    assert_eq!(settings.resources().unwrap().unwrap().id.as_str(), "p");
    settings.providers[0].api_version = Some("2024-10-21".into());
    assert!(settings.check().unwrap_err().to_string().contains("azure-openai alone"));
}
