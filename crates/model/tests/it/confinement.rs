//! What a body cannot ask for, and what an answer cannot say.

use bulkhead_model::{CacheStatus, REFUSED_FIELDS, STRIPPED_FIELDS};
use ids::text::base64url;

use super::{
    standin::{Reply, StandIn, chunks, completion, events, json},
    world::{World, prompt, secret_of, settings, stream_prompt, text},
};

fn with(field: &str) -> String {
    prompt("plain", "x").replacen('{', &format!("{{{field},"), 1)
}

#[tokio::test]
async fn fields_that_nobody_allowed_are_not_sent_on_a_shared_credential() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let unknown = ["chat_template", "chat_template_kwargs", "media_io_kwargs", "vllm_xargs"];
    let unknown: Vec<_> = unknown.into_iter().chain(["priority", "top_k", "route"]).collect();
    for shared in [true, false] {
        world.set(&acme, "p", "sk-everybody-0123", shared).await;
        for name in REFUSED_FIELDS.iter().map(|(name, _)| name.replace('*', "x")) {
            let error = world.ask(&model, &acme, &with(&format!(r#""{name}":["x"]"#))).await;
            let error = error.unwrap_err();
            assert_eq!(error.code(), "request.unsupported", "{name}");
        }
        assert_eq!(upstream.asked(), 0);
        for name in &unknown {
            let body = with(&format!(r#""{name}": ["x"]"#));
            let before = upstream.asked();
            match world.ask(&model, &acme, &body).await {
                Err(error) => {
                    assert_eq!((error.code(), shared), ("request.unsupported", true), "{name}");
                    assert!(error.to_string().contains(name), "{error}");
                    assert_eq!(upstream.asked(), before);
                }
                Ok(_) => {
                    assert!(!shared, "{name}");
                    assert_eq!(upstream.seen()[before].body, body, "byte for byte");
                }
            }
        }
        if shared {
            let allowed = with(r#""x_unknown":1,"store":false"#);
            text(world.ask(&model, &acme, &allowed).await.unwrap()).await;
            assert_eq!(upstream.seen()[0].body, allowed);
            // From here on it counts from nothing.
            assert_eq!(upstream.asked(), 1);
            upstream.forget();
        }
    }
}

#[tokio::test]
async fn what_says_whose_it_is_stays_here() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    for shared in [false, true] {
        world.set(&acme, "p", "sk-everybody-0123", shared).await;
        for name in STRIPPED_FIELDS {
            for spelled in [(*name).to_owned(), name.to_uppercase(), name.replace('_', "-")] {
                upstream.forget();
                let body = with(&format!(r#""{spelled}":"globex""#));
                text(world.ask(&model, &acme, &body).await.unwrap()).await;
                assert_eq!(upstream.seen()[0].body, prompt("plain", "x"), "{spelled}");
            }
        }
    }
}

#[test]
fn what_is_refused_by_name_cannot_be_allowed() {
    let mut settings = settings("127.0.0.1:1".parse().unwrap());
    for (field, fits) in [("top_k", true), ("models", false), ("Cache-Salt", false)] {
        settings.providers[0].extra_fields = vec![field.to_owned()];
        assert_eq!(settings.check().is_ok(), fits, "{field}");
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_credential_is_none_and_is_not_kept() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let secret = secret_of("acme", "live");
    let encoded = base64url(format!("Bearer {secret}").as_bytes());
    for said in [format!("you sent Bearer {secret}"), format!("you sent {encoded}")] {
        let echo = said.clone();
        upstream.answers(move |_, seen| match seen.body.starts_with(br#"{"stream":true"#) {
            true => events(format!("data: {{}}\n\n{}", chunks(&echo))),
            false => json(completion(&echo)),
        });
        for round in 0..2 {
            let before = upstream.asked();
            let error = world.ask(&model, &acme, &prompt("kept", "x")).await.unwrap_err();
            assert_eq!(error.code(), "upstream.malformed");
            let answer = world.ask(&model, &acme, &stream_prompt("kept", "x")).await.unwrap();
            assert_eq!(answer.cache, CacheStatus::Miss);
            let got = text(answer).await;
            assert!(got.contains("upstream.malformed") && !got.contains("[DONE]"), "{got}");
            assert!(!got.contains(&said) && !got.contains(&secret), "{got}");
            assert_eq!(upstream.asked() - before, 2, "round {round}");
        }
    }
    let recorded = world.events(&acme).await;
    assert!(recorded.iter().all(|e| e.event.code.as_deref() == Some("upstream.malformed")));
}

#[tokio::test]
async fn retry_after_says_when_and_nothing_else() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    for (says, passes) in [("7", true), (secret_of("acme", "live").as_str(), false)] {
        let says = says.to_owned();
        upstream.answers(move |_, _| {
            let kind = ("content-type", "application/json".to_owned());
            Reply::Whole(429, vec![kind, ("retry-after", says.clone())], "{}".into())
        });
        let answer = world.ask(&model, &acme, &prompt("plain", "x")).await.unwrap();
        assert_eq!(answer.retry_after.is_some(), passes);
    }
}

#[tokio::test]
async fn kept_answers_go_with_the_credential() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let asked = prompt("kept", "x");
    for cache in [CacheStatus::Miss, CacheStatus::Hit] {
        let answer = world.ask(&model, &acme, &asked).await.unwrap();
        assert_eq!(answer.cache, cache);
        text(answer).await;
    }
    let provider = "p".parse().unwrap();
    assert!(world.credentials.of(&acme).remove(&provider, None).await.unwrap());
    let error = world.ask(&model, &acme, &asked).await.unwrap_err();
    assert_eq!(error.code(), "model.no_credential");
}
