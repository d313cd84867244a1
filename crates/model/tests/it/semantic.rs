//! Answers to questions that mean the same, and to no others.

use bulkhead_model::{
    Api, CacheStatus, Caller, CallerCache, Kind, ModelHop, Route, SemanticRoute, Settings,
};
use scope::{Scope, Write};
use serde_json::json as value;

use super::{
    shapes::{api_of, body, reply, streamed},
    standin::{Reply, Seen, StandIn, json, status},
    world::{World, max_age, provider, settings, text},
};

/// Hashed trigrams: like an honest model, it puts "cancel" and "do not cancel" close together.
fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; 512];
    let padded = format!("  {}  ", text.to_lowercase());
    let letters: Vec<char> = padded.chars().collect();
    for gram in letters.windows(3) {
        let hash = gram.iter().fold(17_usize, |h, c| h.wrapping_mul(31).wrapping_add(*c as usize));
        vector[hash % 512] += 1.0;
    }
    vector
}

fn cosine(a: &str, b: &str) -> f32 {
    let (a, b) = (vector(a), vector(b));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

fn measured(seen: &Seen) -> Reply {
    let asked = seen.json();
    assert_eq!(asked["encoding_format"], "float");
    let vector = vector(asked["input"].as_str().unwrap());
    json(
        value!({"data": [{"embedding": vector}], "usage": {"prompt_tokens": 3, "total_tokens": 3}})
            .to_string(),
    )
}

/// Route `kept` looks for similar questions by route `embed`, of provider `e`.
fn similar(upstream: &StandIn, threshold: f64) -> Settings {
    upstream.answers(|nth, seen| match api_of(&seen.path) {
        Api::Embeddings => measured(seen),
        _ => reply(seen, &format!("answer {nth} to {}", seen.whose())),
    });
    let mut settings = settings(upstream.address);
    settings.providers[0].apis = Some(vec![Api::Chat, Api::Responses, Api::Messages]);
    settings.providers.push(provider("e", Kind::Openai, upstream.address));
    settings.routes.push(Route {
        upstream_model: Some("text-embedding".into()),
        ..Route::new("embed".parse().unwrap(), "e".parse().unwrap())
    });
    settings.routes[1].semantic = Some(SemanticRoute {
        embeddings: "embed".parse().unwrap(),
        threshold: threshold.try_into().unwrap(),
        across_subjects: false,
    });
    settings
}

async fn world() -> (World, [Scope<Write>; 3]) {
    let world = World::new().await;
    let scopes =
        [world.acme().await, world.globex().await, world.kit.scope("acme", "staging").await];
    for (nth, scope) in scopes.iter().enumerate() {
        world.set(scope, "e", &format!("sk-embeddings-{nth}-0123"), false).await;
    }
    (world, scopes)
}

struct Got {
    cache: CacheStatus,
    off: Option<&'static str>,
    text: String,
}

impl Got {
    fn similarity(&self) -> Option<f32> {
        match self.cache {
            CacheStatus::Semantic { similarity } => Some(similarity),
            _ => None,
        }
    }
}

async fn ask(world: &World, model: &ModelHop, scope: &Scope<Write>, api: Api, body: &str) -> Got {
    asked(world, model, scope, api, body, CallerCache::default()).await
}

async fn asked(
    world: &World,
    model: &ModelHop,
    scope: &Scope<Write>,
    api: Api,
    body: &str,
    cache: CallerCache,
) -> Got {
    let caller = Caller { cache, ..Caller::default() };
    let got = world.call(model, scope, api, body, caller).await.unwrap();
    let (cache, off) = (got.cache, got.semantic_off);
    let got = Got { cache, off, text: text(got).await };
    // What is kept in the background of a stream is there before anything else is asked.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    got
}

fn question(text: &str) -> String {
    body(Api::Chat, "kept", text, "")
}

const ASKED: &str = "How can I change the address of my order?";
const ALIKE: &str = "How could I change the address of my order?";

#[tokio::test]
async fn a_question_that_means_the_same_is_answered_from_the_cache() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let model = world.hop(similar(&upstream, 0.85));
    for (api, stream) in [
        (Api::Chat, false),
        (Api::Chat, true),
        (Api::Responses, false),
        (Api::Responses, true),
        (Api::Messages, false),
        (Api::Messages, true),
    ] {
        let sent = |text: &str| match stream {
            true => streamed(api, "kept", text),
            false => body(api, "kept", text, ""),
        };
        let first = ask(&world, &model, &acme, api, &sent(ASKED)).await;
        assert_eq!((first.cache, first.off), (CacheStatus::Miss, None), "{api:?}");
        let before = upstream.asked();
        let again = ask(&world, &model, &acme, api, &sent(ASKED)).await;
        assert_eq!(again.cache, CacheStatus::Hit);
        assert_eq!(upstream.asked(), before, "the same question is not measured");
        let alike = ask(&world, &model, &acme, api, &sent(ALIKE)).await;
        let similarity = alike.similarity().unwrap_or_else(|| panic!("{api:?} {stream}"));
        assert!((similarity - cosine(ASKED, ALIKE)).abs() < 0.001, "{similarity}");
        assert_eq!(alike.text, first.text);
        let last = upstream.seen().pop().unwrap();
        assert_eq!((upstream.asked(), last.path.as_str()), (before + 1, "/v1/embeddings"));
        assert_eq!(last.json()["model"], "text-embedding");
        assert!(last.json()["user"].as_str().unwrap().starts_with("bk_"));
        let event = world.events(&acme).await.pop().unwrap().event;
        assert_eq!(event.cache.as_deref(), Some("semantic"));
        assert_eq!((event.tokens_in, event.tokens_out), (None, None));
    }
}

/// Incident `soft-scope`: a tenant, a system prompt or a denial that only moves a vector a
/// little. None of them is compared by meaning.
#[tokio::test]
async fn soft_scope() {
    let (world, [acme, globex, staging]) = world().await;
    let upstream = StandIn::new().await;
    let model = world.hop(similar(&upstream, 0.80));
    let with =
        |turns: &str, more: &str| format!(r#"{{"model":"kept",{more}"messages":[{turns}]}}"#);
    let turn = |role: &str, text: &str| format!(r#"{{"role":"{role}","content":"{text}"}}"#);
    let user = turn("user", ASKED);
    let base = with(&user, "");
    let first = ask(&world, &model, &acme, Api::Chat, &base).await;
    assert_eq!(first.cache, CacheStatus::Miss);
    let alike = ask(&world, &model, &acme, Api::Chat, &with(&turn("user", ALIKE), "")).await;
    assert!(alike.similarity().is_some());
    for (what, sent) in [
        ("a system prompt", with(&format!("{},{user}", turn("system", "Be kind.")), "")),
        ("another one", with(&format!("{},{user}", turn("system", "Be kind!")), "")),
        ("an earlier turn", with(&format!("{},{user}", turn("user", "Hello")), "")),
        ("temperature", with(&user, r#""temperature":1,"#)),
        ("tools", with(&user, r#""tools":[{"type":"function","function":{"name":"f"}}],"#)),
        ("a form", with(&user, r#""response_format":{"type":"json_object"},"#)),
    ] {
        let sent = sent.replace(ASKED, ALIKE);
        let got = ask(&world, &model, &acme, Api::Chat, &sent).await;
        assert_eq!((got.cache, got.off), (CacheStatus::Miss, None), "{what}");
    }
    let other_run = world.kit.scope_for("acme", "live", "billing").await;
    for (what, scope) in
        [("a tenant", &globex), ("an environment", &staging), ("a workflow", &other_run)]
    {
        for text in [ASKED, ALIKE] {
            let got = ask(&world, &model, scope, Api::Chat, &question(text)).await;
            assert!(got.text != first.text, "{what}");
            // Its own first one answers its second.
            assert_eq!(got.cache == CacheStatus::Miss, text == ASKED, "{what}");
        }
    }
    let version = CallerCache { version: Some("2".into()), ..CallerCache::default() };
    let got = asked(&world, &model, &acme, Api::Chat, &question(ALIKE), version).await;
    assert_eq!(got.cache, CacheStatus::Miss);
}

/// Incident `soft-scope` again: near in letters, and in every honest measure, far in meaning.
#[tokio::test]
async fn near_duplicates_that_mean_something_else() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let model = world.hop(similar(&upstream, 0.80));
    for (asked, alike) in [
        ("please cancel my subscription today", "please do not cancel my subscription today"),
        ("Is the delivery of my order late?", "Isn't the delivery of my order late?"),
        ("Refund 100 euros to the customer", "Refund 1000 euros to the customer"),
        ("What is the dose for 5 mg tablets?", "What is the dose for 50 mg tablets?"),
        ("Book a table for the 3rd of March", "Book a table for the 4th of March"),
        ("Users with the right to delete", "Users without the right to delete"),
        ("Ship order A-1001 to the customer", "Ship order A-1002 to the customer"),
        ("You can always call the support line", "You can never call the support line"),
        ("Enable logging on every machine", "Disable logging on every machine"),
    ] {
        assert!(cosine(asked, alike) >= 0.80, "{asked}: {}", cosine(asked, alike));
        for text in [asked, alike] {
            let got = ask(&world, &model, &acme, Api::Chat, &question(text)).await;
            assert_eq!((got.cache, got.off), (CacheStatus::Miss, None), "{text}");
        }
    }
}

/// Who controls a question can make its answer a lie: it is for nobody else.
#[tokio::test]
async fn a_subject_has_its_own_answers() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let of = async |subject: &str| {
        let ask = scope::Exchange {
            subject: Some(subject.parse().unwrap()),
            ..testkit::Kit::ask("acme", "live", "support")
        };
        let token = world.kit.doors.exchange(&world.kit.service().await, ask).await.unwrap();
        world.kit.authenticate(&token.secret).await.unwrap()
    };
    let (eve, bob) = (of("eve").await, of("bob").await);
    let mut settings = similar(&upstream, 0.80);
    let apart = world.hop(settings.clone());
    let lie = ask(&world, &apart, &eve, Api::Chat, &question(ASKED)).await;
    // Each in words of its own, or the exact cache would answer.
    for (who, text, cached) in [
        (&bob, ALIKE, false),
        (&acme, "How would I change the address of my order?", false),
        (&eve, "How might I change the address of my order?", true),
    ] {
        let got = ask(&world, &apart, who, Api::Chat, &question(text)).await;
        assert_eq!(got.similarity().is_some(), cached, "{text}");
        assert_eq!(got.text == lie.text, cached, "{text}");
    }
    let got = ask(&world, &apart, &bob, Api::Chat, &question(ASKED)).await;
    assert_eq!(got.cache, CacheStatus::Hit, "an equal request has an equal answer");
    settings.routes[1].semantic.as_mut().unwrap().across_subjects = true;
    let together = world.hop(settings);
    world.cache.of(&acme).clear().await.unwrap();
    let first = ask(&world, &together, &eve, Api::Chat, &question(ASKED)).await;
    let got = ask(&world, &together, &bob, Api::Chat, &question(ALIKE)).await;
    assert!(got.similarity().is_some() && got.text == first.text);
}

/// A call of a tool says again what one question said.
#[tokio::test]
async fn an_answer_that_acts_answers_its_own_question_only() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let model = world.hop(similar(&upstream, 0.80));
    let call =
        value!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let acts = value!({"choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": [call]}}]});
    upstream.answers(move |_, seen| match api_of(&seen.path) {
        Api::Embeddings => measured(seen),
        _ => json(acts.to_string()),
    });
    for (text, expected) in
        [(ASKED, CacheStatus::Miss), (ASKED, CacheStatus::Hit), (ALIKE, CacheStatus::Miss)]
    {
        let caller = Caller::default();
        let got = world.call(&model, &acme, Api::Chat, &question(text), caller).await.unwrap();
        assert_eq!(got.cache, expected, "{text}");
    }
}

#[tokio::test]
async fn the_threshold_decides() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let near = f64::from(cosine(ASKED, ALIKE));
    assert!((0.85..0.99).contains(&near), "{near}");
    for (threshold, hit) in [(near - 0.01, true), (near + 0.01, false), (1.0, false)] {
        let model = world.hop(similar(&upstream, threshold));
        world.semantic.of(&acme).clear();
        world.cache.of(&acme).clear().await.unwrap();
        ask(&world, &model, &acme, Api::Chat, &question(ASKED)).await;
        let got = ask(&world, &model, &acme, Api::Chat, &question(ALIKE)).await;
        assert_eq!(got.similarity().is_some(), hit, "{threshold}");
    }
}

#[tokio::test]
async fn it_is_off_and_says_so() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let model = world.hop(similar(&upstream, 0.80));
    // Off by default.
    let plain = world.hop(settings(upstream.address));
    let got = ask(&world, &plain, &acme, Api::Chat, &question(ASKED)).await;
    assert_eq!((got.cache, got.off), (CacheStatus::Miss, None));
    let picture = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}"#;
    let shown =
        format!(r#"{{"model":"kept","messages":[{{"role":"user","content":[{picture}]}}]}}"#);
    let tool = r#"{"model":"kept","messages":[{"role":"tool","tool_call_id":"c","content":"q"}]}"#;
    for sent in [shown.as_str(), tool] {
        let got = ask(&world, &model, &acme, Api::Chat, sent).await;
        assert_eq!((got.cache, got.off), (CacheStatus::Miss, Some("not-comparable")), "{sent}");
    }
    assert!(world.credentials.of(&acme).remove(&"e".parse().unwrap(), None).await.unwrap());
    for text in [ASKED, ALIKE] {
        let got = ask(&world, &model, &acme, Api::Chat, &question(text)).await;
        assert_eq!((got.cache, got.off), (CacheStatus::Miss, Some("no-credential")));
    }
    // What was kept meanwhile answers the same question all the same.
    let got = ask(&world, &model, &acme, Api::Chat, &question(ASKED)).await;
    assert_eq!((got.cache, got.off), (CacheStatus::Hit, None));
}

#[tokio::test]
async fn a_measure_that_fails_fails_nothing() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let mut settings = similar(&upstream, 0.80);
    settings.providers[1].timeouts.total_ms = 50;
    let model = world.hop(settings);
    let many = value!({"data": [{"embedding": vec![1.0; 8_193]}]}).to_string();
    let huge = format!("{}{many}", " ".repeat(1 << 20));
    type Answer = Box<dyn Fn() -> Reply + Send + Sync>;
    let whole = |text: &str| -> Answer {
        let text = text.to_owned();
        Box::new(move || json(text.clone()))
    };
    let cases: Vec<(&str, Answer)> = vec![
        ("an error", Box::new(|| status(500, "{}"))),
        ("a refused credential", Box::new(|| status(401, "{}"))),
        ("nothing", Box::new(|| Reply::Never)),
        ("no JSON", whole("<html>")),
        ("no vector", whole(r#"{"data":[]}"#)),
        ("no direction", whole(r#"{"data":[{"embedding":[]}]}"#)),
        ("infinite", whole(r#"{"data":[{"embedding":[1e999]}]}"#)),
        ("too many", whole(&many)),
        ("too large", whole(&huge)),
    ];
    for (nth, (what, answer)) in cases.into_iter().enumerate() {
        upstream.answers(move |_, seen| match api_of(&seen.path) {
            Api::Embeddings => answer(),
            _ => reply(seen, "x"),
        });
        let sent = question(&format!("{ASKED} Case {nth}."));
        let got = ask(&world, &model, &acme, Api::Chat, &sent).await;
        assert_eq!((got.cache, got.off), (CacheStatus::Miss, Some("embedding-failed")), "{what}");
    }
}

#[tokio::test]
async fn callers_narrow_it_too() {
    let (world, [acme, ..]) = world().await;
    let upstream = StandIn::new().await;
    let model = world.hop(similar(&upstream, 0.80));
    ask(&world, &model, &acme, Api::Chat, &question(ASKED)).await;
    world.clock.advance(std::time::Duration::from_secs(60));
    let no_store = CallerCache { no_store: true, ..CallerCache::default() };
    let no_cache = CallerCache { no_cache: true, ..CallerCache::default() };
    let alike = question(ALIKE);
    for (wish, hit) in [
        (no_store, false),
        (max_age(30), false),
        (CallerCache::default(), true),
        (max_age(90), true),
        (no_cache, false),
    ] {
        // Each time as if nobody had asked this one before.
        let key_gone = world.hop(similar(&upstream, 0.80));
        let got = asked(&world, &key_gone, &acme, Api::Chat, &alike, wish.clone()).await;
        let from_cache = !matches!(got.cache, CacheStatus::Miss | CacheStatus::Bypass);
        assert_eq!(from_cache, hit, "{wish:?}");
    }
    // What is gone from the cache is not found by its vector.
    world.cache.of(&acme).clear().await.unwrap();
    let got = ask(&world, &model, &acme, Api::Chat, &alike).await;
    assert_eq!(got.cache, CacheStatus::Miss);
}

#[test]
fn settings_are_checked() {
    let text = |threshold: &str| {
        format!(
            r#"
            [[providers]]
            id = "p"
            kind = "openai"
            base_url = "http://127.0.0.1:1/v1"
            [[routes]]
            name = "embed"
            provider = "p"
            [[routes]]
            name = "m"
            provider = "p"
            cache = {{ ttl_seconds = 60 }}
            semantic = {{ embeddings = "embed"{threshold} }}
            "#
        )
    };
    for (threshold, expected) in [
        ("", Some("0.9700")),
        (", threshold = 0.8", Some("0.8000")),
        (", threshold = 1.0", Some("1.0000")),
        (", threshold = 0.7999", None),
        (", threshold = 1.01", None),
        (", threshold = nan", None),
    ] {
        let parsed: Result<Settings, _> = toml::from_str(&text(threshold));
        let got = parsed.ok().map(|settings| {
            settings.check().unwrap();
            settings.routes[1].semantic.as_ref().unwrap().threshold.to_string()
        });
        assert_eq!(got.as_deref(), expected, "{threshold}");
    }
    type Change = fn(&mut Settings);
    let cases: [(&str, Change); 3] = [
        ("semantic needs cache", |s| s.routes[1].cache = None),
        ("no model embed", |s| s.routes[0].name = "other".parse().unwrap()),
        ("does not serve embeddings", |s| s.providers[0].apis = Some(vec![Api::Chat])),
    ];
    for (part, change) in cases {
        let mut settings: Settings = toml::from_str(&text("")).unwrap();
        change(&mut settings);
        let error = settings.check().unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}
