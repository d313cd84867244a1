//! Every endpoint, whole and as a stream.

use bulkhead_model::{Api, CacheStatus, Caller, Kind, Settings};
use records::End;

use super::{
    shapes::{OPENAI, body, reply, stream, streamed, whole},
    standin::{StandIn, events},
    world::{World, provider, settings, text},
};

/// Provider `p` of OpenAI's kind, `q` of Anthropic's, and routes `plain`, `kept` and `alias`
/// to either.
fn both(upstream: &StandIn) -> Settings {
    upstream.answers(|nth, seen| reply(seen, &format!("answer {nth}")));
    let mut both = settings(upstream.address);
    both.providers.push(provider("q", Kind::Anthropic, upstream.address));
    // Marks have tests of their own.
    both.providers[1].marks = Some(vec![]);
    for route in both.routes.clone() {
        let mut other = route.clone();
        other.name = format!("q-{}", route.name.as_str()).parse().unwrap();
        other.provider = Some("q".parse().unwrap());
        both.routes.push(other);
    }
    both
}

fn route(api: Api, name: &str) -> String {
    match OPENAI.contains(&api) {
        true => name.to_owned(),
        false => format!("q-{name}"),
    }
}

#[tokio::test]
async fn answers_pass_byte_for_byte_are_counted_and_kept() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(both(&upstream));
    let acme = world.acme().await;
    world.set(&acme, "q", "sk-of-q-012345", false).await;
    for api in Api::ALL {
        for streaming in [false, true] {
            if streaming && !api.streams() {
                continue;
            }
            let name = route(api, "kept");
            let sent = match streaming {
                true => streamed(api, &name, "q"),
                false => body(api, &name, "q", ""),
            };
            upstream.forget();
            let expected = match streaming {
                true => stream(api, "answer 0"),
                false => whole(api, "answer 0"),
            };
            for cache in [CacheStatus::Miss, CacheStatus::Hit] {
                let answer = world.call(&model, &acme, api, &sent, Caller::default()).await;
                let answer = answer.unwrap();
                let kind = if streaming { "text/event-stream" } else { "application/json" };
                assert_eq!((answer.status.as_u16(), answer.cache), (200, cache), "{api:?}");
                assert_eq!(answer.content_type, kind);
                assert_eq!(text(answer).await, expected, "{api:?}");
            }
            assert_eq!(upstream.asked(), 1);
            assert_eq!(upstream.seen()[0].body, sent, "{api:?}");
            let accept = if streaming { "text/event-stream" } else { "application/json" };
            assert_eq!(upstream.seen()[0].headers["accept"], accept);

            let events = world.events(&acme).await;
            let miss = &events[events.len() - 2].event;
            assert_eq!(miss.end, End::Complete);
            assert_eq!(miss.cache.as_deref(), Some("miss"));
            let tokens = match api {
                Api::CountTokens => (None, None),
                Api::Embeddings => (Some(11), Some(0)),
                _ => (Some(11), Some(7)),
            };
            assert_eq!((miss.tokens_in, miss.tokens_out), tokens, "{api:?}");
            let of = if OPENAI.contains(&api) { "p" } else { "q" };
            assert_eq!(miss.provider.as_ref().unwrap().as_str(), of);
        }
    }
}

#[tokio::test]
async fn one_route_serves_the_endpoints_of_its_providers() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let mut settings = both(&upstream);
    let model = world.hop(settings.clone());
    let acme = world.acme().await;
    world.set(&acme, "q", "sk-of-q-012345", false).await;
    for api in Api::ALL {
        for name in ["plain", "q-plain"] {
            let served = route(api, "plain") == name;
            let sent = body(api, name, "q", "");
            let got = world.call(&model, &acme, api, &sent, Caller::default()).await;
            match got {
                Ok(answer) => assert!(served && answer.status == 200, "{api:?} {name}"),
                Err(error) => {
                    assert!(!served && error.code() == "model.unknown", "{api:?} {name}: {error}");
                    let elsewhere = if name == "plain" { "/v1/responses" } else { "/v1/messages" };
                    assert!(error.to_string().contains(elsewhere), "{error}");
                }
            }
        }
    }
    // Where a provider has other endpoints than its kind.
    settings.providers[0].apis = Some(vec![Api::Messages]);
    let model = world.hop(settings);
    for (api, served) in [(Api::Messages, true), (Api::Chat, false)] {
        let sent = body(api, "plain", "q", "");
        let got = world.call(&model, &acme, api, &sent, Caller::default()).await;
        assert_eq!(got.is_ok(), served, "{api:?}");
    }
}

#[tokio::test]
async fn usage_is_asked_for_and_left_out_unseen() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}\n\n";
    let plain = stream(Api::Chat, "x").replace(usage, "");
    assert!(plain.len() < stream(Api::Chat, "x").len());
    for (nth, (asks, configured, shown, sent)) in [
        ("", true, false, true),
        ("", false, true, false),
        (r#","stream_options":{"include_usage":true}"#, true, true, true),
        (r#","stream_options":{"include_usage":true}"#, false, true, true),
        (r#","stream_options":{"include_usage":false}"#, true, false, true),
        (r#","stream_options":null"#, true, false, true),
    ]
    .into_iter()
    .enumerate()
    {
        for name in ["plain", "kept"] {
            let mut settings = both(&upstream);
            settings.providers[0].stream_usage = configured;
            let model = world.hop(settings);
            upstream.answers(|_, _| events(stream(Api::Chat, "x")));
            upstream.forget();
            let asked = body(Api::Chat, name, &format!("question {nth}"), "").replacen(
                '{',
                &format!(r#"{{"stream":true{asks},"#),
                1,
            );
            for _ in 0..2 {
                let got = world.call(&model, &acme, Api::Chat, &asked, Caller::default()).await;
                let got = text(got.unwrap()).await;
                let expected = if shown { stream(Api::Chat, "x") } else { plain.clone() };
                assert_eq!(got, expected, "{asks} {configured} {name}");
            }
            let seen = upstream.seen()[0].json();
            assert_eq!(seen["stream_options"]["include_usage"] == true, sent, "{asks}");
            let events = world.events(&acme).await;
            assert_eq!(events[events.len() - 2].event.tokens_in, Some(11));
        }
    }
}

#[tokio::test]
async fn other_names_for_a_model() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let mut settings = both(&upstream);
    settings.routes[0].aliases = vec!["gpt-latest".parse().unwrap(), "other/name".parse().unwrap()];
    let model = world.hop(settings.clone());
    let acme = world.acme().await;
    for name in ["plain", "gpt-latest", "other/name"] {
        upstream.forget();
        let sent = body(Api::Chat, name, "q", "");
        text(world.call(&model, &acme, Api::Chat, &sent, Caller::default()).await.unwrap()).await;
        assert_eq!(upstream.seen()[0].json()["model"], "plain");
        assert_eq!(model.route(name).unwrap().name.as_str(), "plain");
    }
    settings.routes[1].aliases = vec!["plain".parse().unwrap()];
    assert!(settings.check().unwrap_err().to_string().contains("plain is there twice"));
}
