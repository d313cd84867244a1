//! The cache in front of providers. Incidents `exact-key`, `caller-namespace`, `caller-id`.

use std::time::Duration;

use bulkhead_model::{CacheStatus, CallerCache, REFUSED_FIELDS, STRIPPED_FIELDS};
use gate::Policies;
use http::{HeaderMap, HeaderName};
use scope::{Scope, Write};

use super::{
    standin::{StandIn, chunks, completion, events, json, status},
    world::{World, max_age, prompt, settings, stream_prompt, text},
};

const HIT: CacheStatus = CacheStatus::Hit;
const MISS: CacheStatus = CacheStatus::Miss;
const BYPASS: CacheStatus = CacheStatus::Bypass;

struct Bench {
    world: World,
    upstream: StandIn,
    model: bulkhead_model::ModelHop,
}

impl Bench {
    async fn new() -> Self {
        let (world, upstream) = (World::new().await, StandIn::new().await);
        let model = world.hop(settings(upstream.address));
        Self { world, upstream, model }
    }

    async fn got(
        &self,
        scope: &Scope<Write>,
        body: &str,
        caller: CallerCache,
    ) -> (CacheStatus, String) {
        let answer = self.world.chat(&self.model, scope, body, caller).await.unwrap();
        (answer.cache, text(answer).await)
    }

    async fn ask(&self, scope: &Scope<Write>, body: &str) -> (CacheStatus, String) {
        self.got(scope, body, CallerCache::default()).await
    }
}

#[tokio::test]
async fn exact_key() {
    let bench = Bench::new().await;
    let kit = &bench.world.kit;
    let acme = bench.world.acme().await;
    for body in [prompt("kept", "same"), stream_prompt("kept", "same")] {
        let (cache, first) = bench.ask(&acme, &body).await;
        assert_eq!(cache, MISS);
        assert_eq!(bench.ask(&acme, &body).await, (HIT, first.clone()), "byte for byte");
        assert_eq!(bench.ask(&bench.world.acme().await, &body).await, (HIT, first.clone()));
        for (what, other) in [
            ("tenant", bench.world.globex().await),
            ("environment", kit.scope("acme", "staging").await),
            ("workflow", kit.scope_for("acme", "live", "billing").await),
        ] {
            let (cache, theirs) = bench.ask(&other, &body).await;
            assert_eq!(cache, MISS, "{what}");
            assert_ne!(theirs, first, "{what}");
            assert_eq!(bench.ask(&other, &body).await, (HIT, theirs), "{what}");
        }
    }
    assert_eq!(bench.upstream.asked(), 8);
    let events = bench.world.events(&acme).await;
    let cache: Vec<_> = events.iter().filter_map(|e| e.event.cache.as_deref()).collect();
    // Acme's three scopes of `live`, twice.
    assert_eq!(cache, ["miss", "hit", "hit", "miss", "hit"].repeat(2));
}

#[tokio::test]
async fn order_and_spacing_do_not_matter_and_content_does() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    for (body, cache) in [
        (r#"{"model":"kept","messages":[],"temperature":0.5}"#, MISS),
        (r#"{ "temperature":0.5, "messages": [ ], "model": "kept" }"#, HIT),
        (r#"{"model":"kept","messages":[],"temperature":0.6}"#, MISS),
        (r#"{"model":"kept","messages":[]}"#, MISS),
        (r#"{"model":"kept","messages":[],"x_unknown":1}"#, MISS),
        (r#"{"model":"kept","messages":[],"user":"someone"}"#, MISS),
        (r#"{"model":"kept","messages":[],"stream":true}"#, MISS),
    ] {
        assert_eq!(bench.ask(&acme, body).await.0, cache, "{body}");
    }
}

#[tokio::test]
async fn off_by_default() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    for body in [prompt("plain", "x"), stream_prompt("plain", "x")] {
        for _ in 0..2 {
            assert_eq!(bench.ask(&acme, &body).await.0, BYPASS);
        }
    }
    assert_eq!(bench.upstream.asked(), 4);
    assert_eq!(bench.world.cache.counts().kept, 0);
}

#[tokio::test]
async fn callers_can_only_narrow() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    let body = prompt("kept", "x");
    let no_store = CallerCache { no_store: true, ..CallerCache::default() };
    let no_cache = CallerCache { no_cache: true, ..CallerCache::default() };
    let version = |v: &str| CallerCache { version: Some(v.into()), ..CallerCache::default() };
    let mut answers = Vec::new();
    for (nth, (caller, cache)) in [
        (no_store.clone(), BYPASS),
        (CallerCache::default(), MISS),
        (no_store, BYPASS),
        (CallerCache::default(), HIT),
        (no_cache, BYPASS),
        (CallerCache::default(), HIT),
        (version("7"), MISS),
        (version("7"), HIT),
        (version("8"), MISS),
        (CallerCache::default(), HIT),
    ]
    .into_iter()
    .enumerate()
    {
        let (got, answer) = bench.got(&acme, &body, caller).await;
        assert_eq!(got, cache, "{nth}");
        answers.push(answer);
    }
    assert_eq!(answers[3], answers[1]);
    assert_eq!(answers[5], answers[4], "what no-cache asked for was kept");
    assert_eq!(answers[9], answers[4]);

    bench.world.clock.advance(Duration::from_secs(60));
    assert_eq!(bench.got(&acme, &body, max_age(60)).await.0, HIT);
    assert_eq!(bench.got(&acme, &body, max_age(59)).await.0, MISS);
    assert_eq!(bench.got(&acme, &body, max_age(0)).await.0, HIT, "just kept");
    bench.world.clock.advance(Duration::from_secs(3_599));
    let acme = bench.world.acme().await;
    assert_eq!(bench.got(&acme, &body, max_age(1_000_000)).await.0, HIT);
    bench.world.clock.advance(Duration::from_secs(1));
    let acme = bench.world.acme().await;
    assert_eq!(
        bench.got(&acme, &body, max_age(1_000_000)).await.0,
        MISS,
        "no older than its route says"
    );
}

#[tokio::test]
async fn caller_namespace() {
    let bench = Bench::new().await;
    let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
    let plain = prompt("kept", "x");
    let (_, of_acme) = bench.ask(&acme, &plain).await;
    let asked = bench.upstream.asked();
    for (field, _) in REFUSED_FIELDS {
        let body = plain.replacen('{', &format!("{{\"{field}\":\"acme\","), 1);
        let error = bench.world.ask(&bench.model, &globex, &body).await.unwrap_err();
        assert_eq!(error.code(), "request.unsupported", "{field}");
    }
    assert_eq!(bench.upstream.asked(), asked, "nothing of it went upstream");
    // Fields that would name a partition stay here, and choose none.
    for field in STRIPPED_FIELDS {
        for value in [r#""acme""#, r#"{"namespace":"acme"}"#, r#"{"no-cache":true}"#, "null"] {
            let body = plain.replacen('{', &format!("{{\"{field}\":{value},"), 1);
            let (status, of_acme) = bench.ask(&acme, &body).await;
            assert_eq!(status, MISS, "{field}");
            let (status, of_globex) = bench.ask(&globex, &body).await;
            assert_eq!((status, of_globex == of_acme), (MISS, false), "{field}: {value}");
            assert!(bench.upstream.seen().iter().all(|seen| seen.body == plain), "{field}");
        }
    }
    // Names in headers, and in fields that pass through, reach nobody else's answers either.
    for header in ["x-bf-cache-key", "helicone-cache-seed", "x-tenant-id", "x-cache-namespace"] {
        let mut headers = HeaderMap::new();
        headers.insert(header.parse::<HeaderName>().unwrap(), "acme".parse().unwrap());
        let caller = CallerCache::from_headers(&headers).unwrap();
        assert_ne!(bench.got(&globex, &plain, caller).await.1, of_acme);
    }
    let body = plain.replacen('{', "{\"seed\":\"acme\",", 1);
    assert_eq!(bench.ask(&acme, &body).await.0, MISS);
    assert_eq!(bench.ask(&globex, &body).await.0, MISS);
    let caller = CallerCache { version: Some("namespace=acme".into()), ..CallerCache::default() };
    assert_ne!(bench.got(&globex, &plain, caller).await.1, of_acme);
}

#[tokio::test]
async fn caller_id() {
    let bench = Bench::new().await;
    let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
    let body = prompt("kept", "x");
    let mut headers = HeaderMap::new();
    for name in ["x-request-id", "traceparent", "x-session-id", "idempotency-key"] {
        headers.insert(name.parse::<HeaderName>().unwrap(), "of-acme".parse().unwrap());
    }
    let caller = CallerCache::from_headers(&headers).unwrap();
    let (_, of_acme) = bench.got(&acme, &body, caller.clone()).await;
    // B replays every id that A sent; and an id of its own does not tell A's answers apart.
    let (cache, of_globex) = bench.got(&globex, &body, caller).await;
    assert_eq!(cache, MISS);
    assert_ne!(of_globex, of_acme);
    assert_eq!(bench.ask(&acme, &body).await, (HIT, of_acme));
}

#[tokio::test]
async fn what_is_not_a_whole_answer_is_not_kept() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    type Make = fn() -> super::standin::Reply;
    let cases: [(&str, Make); 7] = [
        ("500", || status(500, r#"{"error":{"message":"m"}}"#)),
        ("429", || status(429, r#"{"error":{"message":"m"}}"#)),
        ("201", || status(201, r#"{"choices":[{}]}"#)),
        ("an error with 200", || json(r#"{"error":{"message":"m"},"choices":[]}"#)),
        ("an empty list", || json(r#"{"object":"chat.completion","choices":[]}"#)),
        ("no choices", || json(r#"{"object":"chat.completion"}"#)),
        ("not said to be an answer", || json("{}")),
    ];
    for (what, make) in cases {
        bench.upstream.answers(move |_, _| make());
        for _ in 0..2 {
            let before = bench.upstream.asked();
            assert_eq!(bench.ask(&acme, &prompt("kept", what)).await.0, MISS, "{what}");
            assert_eq!(bench.upstream.asked(), before + 1, "{what}");
        }
    }
    assert_eq!(bench.world.cache.counts().kept, 0);
}

/// What a provider made for one request and keeps is no answer for another.
#[tokio::test]
async fn an_answer_that_names_what_the_provider_keeps_is_not_kept() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    let answer =
        r#"{"choices":[{"message":{"role":"assistant","content":"x","audio":{"id":"audio_1"}}}]}"#;
    bench.upstream.answers(move |_, seen| match seen.json()["stream"].as_bool() {
        Some(true) => {
            events(format!("data: {}\n\ndata: [DONE]\n\n", answer.replace("message", "delta")))
        }
        _ => json(answer),
    });
    for body in [prompt("kept", "say it"), stream_prompt("kept", "say it")] {
        for _ in 0..2 {
            let (cache, said) = bench.ask(&acme, &body).await;
            assert_eq!(cache, MISS);
            assert!(said.contains("audio_1"), "{said}");
        }
    }
    assert_eq!(bench.world.cache.counts().kept, 0);
}

#[tokio::test]
async fn what_is_too_large_is_not_kept() {
    let bench = Bench::new().await;
    let mut settings = settings(bench.upstream.address);
    for route in &mut settings.routes {
        if let Some(cache) = &mut route.cache {
            cache.max_value_bytes = 400;
        }
    }
    let bench = Bench { model: bench.world.hop(settings), ..bench };
    let acme = bench.world.acme().await;
    let (small, large) = ("x".repeat(10), "x".repeat(400));
    for (text, second) in [(&small, HIT), (&large, MISS)] {
        for stream in [false, true] {
            let said = text.clone();
            bench.upstream.answers(move |_, _| {
                if stream { events(chunks(&said)) } else { json(completion(&said)) }
            });
            let body = if stream { stream_prompt("kept", text) } else { prompt("kept", text) };
            assert_eq!(bench.ask(&acme, &body).await.0, MISS);
            assert_eq!(bench.ask(&acme, &body).await.0, second, "{stream} {text}");
        }
    }
}

#[tokio::test]
async fn answers_do_not_outlive_the_policies_and_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policies.cedar");
    std::fs::write(&path, "permit (principal, action, resource);").unwrap();
    let world = World::under(Policies::load(&path).unwrap()).await;
    let upstream = StandIn::new().await;
    let acme = world.acme().await;
    let mut settings = settings(upstream.address);
    let model = world.hop(settings.clone());
    let body = prompt("kept", "x");
    for cache in [MISS, HIT] {
        assert_eq!(world.ask(&model, &acme, &body).await.unwrap().cache, cache);
    }
    std::fs::write(&path, "permit (principal, action, resource); // changed").unwrap();
    world.gate.policies().reload().unwrap();
    for cache in [MISS, HIT] {
        assert_eq!(world.ask(&model, &acme, &body).await.unwrap().cache, cache, "new policies");
    }
    settings.providers[0].timeouts.idle_ms = 1_000;
    let model = world.hop(settings.clone());
    assert_eq!(world.ask(&model, &acme, &body).await.unwrap().cache, HIT, "of no matter");
    settings.routes[1].upstream_model = Some("another".into());
    let model = world.hop(settings.clone());
    for cache in [MISS, HIT] {
        assert_eq!(world.ask(&model, &acme, &body).await.unwrap().cache, cache, "another model");
    }
    settings.providers[0].base_url.push('/');
    let model = world.hop(settings);
    assert_eq!(world.ask(&model, &acme, &body).await.unwrap().cache, MISS, "another place");
}

#[tokio::test]
async fn a_hit_needs_no_provider_but_a_scope_that_holds() {
    let bench = Bench::new().await;
    let acme = bench.world.acme().await;
    let body = prompt("kept", "x");
    bench.ask(&acme, &body).await;
    bench.upstream.answers(|_, _| super::standin::Reply::Never);
    assert_eq!(bench.ask(&acme, &body).await.0, HIT);
    bench.world.kit.bump_epoch("acme").await;
    let error = bench.world.ask(&bench.model, &acme, &body).await.unwrap_err();
    assert_eq!(error.code(), "scope.revoked");
}
