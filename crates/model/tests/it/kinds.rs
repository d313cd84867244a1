//! Each kind of provider is asked in its own way, and told whose a request is by us alone.

use bulkhead_model::{Api, Caller, Kind, Mark, ModelHop, Salts, Settings};
use http::{HeaderMap, HeaderValue};
use scope::{Scope, Write};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    shapes::{body, reply},
    standin::{Seen, StandIn},
    world::{World, provider, secret_of, settings, text},
};

fn of_kind(upstream: &StandIn, kind: Kind) -> Settings {
    upstream.answers(|_, seen| reply(seen, "x"));
    let mut settings = settings(upstream.address);
    settings.providers = vec![provider("p", kind, upstream.address)];
    settings
}

async fn asked(
    world: &World,
    upstream: &StandIn,
    model: &ModelHop,
    scope: &Scope<Write>,
    (api, body): (Api, &str),
    caller: Caller,
) -> Seen {
    upstream.forget();
    text(world.call(model, scope, api, body, caller).await.unwrap()).await;
    upstream.seen().remove(0)
}

/// A value of the body, by a dotted path.
fn at<'a>(body: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(body, |value, name| &value[name])
}

#[tokio::test]
async fn paths_credentials_and_marks() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let secret = secret_of("acme", "live");
    let bearer = format!("Bearer {secret}");
    let salts = Salts::new(Zeroizing::new([7; 32]));
    let (auth, x_key, az_key) = ("authorization", "x-api-key", "api-key");
    use Kind::{Anthropic, AzureOpenai, Openai, OpenaiCompatible, Sglang, Vllm};
    let openai = vec![Mark::SafetyIdentifier, Mark::PromptCacheKey];
    for (kind, api, path, header, value, marks) in [
        (Openai, Api::Chat, "/v1/chat/completions", auth, &bearer, openai.clone()),
        (Openai, Api::Responses, "/v1/responses", auth, &bearer, openai),
        (Openai, Api::Embeddings, "/v1/embeddings", auth, &bearer, vec![Mark::User]),
        (AzureOpenai, Api::Chat, "/v1/chat/completions", az_key, &secret, vec![Mark::User]),
        (AzureOpenai, Api::Embeddings, "/v1/embeddings", az_key, &secret, vec![Mark::User]),
        (Anthropic, Api::Messages, "/v1/messages", x_key, &secret, vec![Mark::UserId]),
        (Anthropic, Api::CountTokens, "/v1/messages/count_tokens", x_key, &secret, vec![]),
        (Vllm, Api::Chat, "/v1/chat/completions", auth, &bearer, vec![Mark::CacheSalt]),
        (Vllm, Api::Embeddings, "/v1/embeddings", auth, &bearer, vec![]),
        (
            Sglang,
            Api::Chat,
            "/v1/chat/completions",
            auth,
            &bearer,
            vec![Mark::CacheSalt, Mark::ExtraKey],
        ),
        (OpenaiCompatible, Api::Chat, "/v1/chat/completions", auth, &bearer, vec![]),
    ] {
        let model = world.hop(of_kind(&upstream, kind));
        let sent = body(api, "alias", "q", "");
        let seen = asked(&world, &upstream, &model, &acme, (api, &sent), Caller::default()).await;
        assert_eq!((seen.path.as_str(), &seen.query), (path, &None), "{kind:?}");
        assert_eq!(seen.headers[header], value.as_str(), "{kind:?}");
        let mut headers = vec![
            header,
            "accept",
            "accept-encoding",
            "content-length",
            "content-type",
            "host",
            "user-agent",
        ];
        headers.extend((kind == Anthropic).then_some("anthropic-version"));
        headers.sort_unstable();
        assert_eq!(seen.header_names(), headers, "{kind:?}");
        let mut got = seen.json();
        for mark in &marks {
            let expected = salts.of(&acme, &"p".parse().unwrap(), *mark);
            assert_eq!(at(&got, mark.body_field().unwrap()), &expected, "{kind:?} {mark:?}");
        }
        // Besides the marks it is what the caller sent, to the model by its name there.
        let fields = got.as_object_mut().unwrap();
        for mark in marks {
            fields.remove(mark.body_field().unwrap().split('.').next().unwrap());
        }
        let renamed: Value = serde_json::from_str(&body(api, "real-name", "q", "")).unwrap();
        assert_eq!(got, renamed, "{kind:?} {api:?}");
    }
}

#[tokio::test]
async fn azures_older_paths() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let mut settings = of_kind(&upstream, Kind::AzureOpenai);
    settings.providers[0].base_url = format!("http://{}/openai", upstream.address);
    settings.providers[0].api_version = Some("2024-10-21".into());
    let model = world.hop(settings.clone());
    for (api, path) in [
        (Api::Chat, "/openai/deployments/real-name/chat/completions"),
        (Api::Embeddings, "/openai/deployments/real-name/embeddings"),
        (Api::Responses, "/openai/responses"),
    ] {
        let sent = body(api, "alias", "q", "");
        let seen = asked(&world, &upstream, &model, &acme, (api, &sent), Caller::default()).await;
        assert_eq!(seen.path, path);
        assert_eq!(seen.query.as_deref(), Some("api-version=2024-10-21"));
    }
    settings.routes[2].upstream_model = Some("../other".into());
    assert!(settings.check().unwrap_err().to_string().contains("deployment"));
}

#[tokio::test]
async fn marks_tell_scopes_apart_and_no_caller_chooses_them() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let (acme, globex) = (world.acme().await, world.globex().await);
    let other_run = world.kit.scope_for("acme", "live", "billing").await;
    let staging = world.kit.scope("acme", "staging").await;
    for (kind, api, fields) in [
        (Kind::Openai, Api::Chat, &["safety_identifier", "prompt_cache_key"][..]),
        (Kind::Openai, Api::Responses, &["safety_identifier", "prompt_cache_key"]),
        (Kind::Openai, Api::Embeddings, &["user"]),
        (Kind::AzureOpenai, Api::Chat, &["user"]),
        (Kind::Vllm, Api::Chat, &["cache_salt"]),
        (Kind::Sglang, Api::Responses, &["cache_salt", "extra_key"]),
        (Kind::Anthropic, Api::Messages, &["metadata.user_id"]),
    ] {
        let model = world.hop(of_kind(&upstream, kind));
        for field in fields {
            let mut got = Vec::new();
            for scope in [&acme, &other_run, &staging, &globex] {
                let named = match field.split_once('.') {
                    Some((outer, inner)) => format!(r#""{outer}":{{"{inner}":"globex"}}"#),
                    None => format!(r#""{field}":"globex""#),
                };
                let shouted = named.to_uppercase().replace("GLOBEX", "globex");
                for more in ["", &named, &shouted] {
                    // Anthropic's `metadata` is known in one spelling.
                    if more == shouted && field.contains('.') {
                        continue;
                    }
                    let sent = body(api, "plain", "q", more);
                    let caller = Caller::default();
                    let seen =
                        asked(&world, &upstream, &model, scope, (api, &sent), caller).await.json();
                    let value = at(&seen, field).as_str().unwrap().to_owned();
                    assert!(value.starts_with("bk_") && value.len() <= 64, "{value}");
                    assert!(!seen.to_string().contains("globex"), "{seen}");
                    got.push(value);
                }
            }
            let each = got.len() / 4;
            let (of_acme, rest) = got.split_at(2 * each);
            let (of_staging, of_globex) = rest.split_at(each);
            assert!(of_acme.iter().all(|value| *value == of_acme[0]), "{kind:?} {field}");
            assert!(of_staging.iter().all(|value| *value == of_staging[0]));
            assert!(of_globex.iter().all(|value| *value == of_globex[0]));
            let mut different = vec![&of_acme[0], &of_staging[0], &of_globex[0]];
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), 3, "{kind:?} {field}");
        }
    }
}

#[tokio::test]
async fn marks_can_be_configured() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let mut settings = of_kind(&upstream, Kind::Openai);
    settings.providers[0].marks = Some(vec![Mark::TenantHeader, Mark::CacheSalt]);
    let model = world.hop(settings.clone());
    let salts = Salts::new(Zeroizing::new([7; 32]));
    let of = |mark| salts.of(&acme, &"p".parse().unwrap(), mark);
    let sent = body(Api::Chat, "plain", "q", "");
    let seen = asked(&world, &upstream, &model, &acme, (Api::Chat, &sent), Caller::default()).await;
    assert_eq!(seen.headers["x-tenant-id"], of(Mark::TenantHeader).as_str());
    assert_eq!(seen.json()["cache_salt"], of(Mark::CacheSalt));
    assert!(seen.json().get("safety_identifier").is_none());
    settings.providers[0].marks = Some(vec![]);
    let model = world.hop(settings);
    let seen = asked(&world, &upstream, &model, &acme, (Api::Chat, &sent), Caller::default()).await;
    assert_eq!(seen.body, sent);
    assert!(!seen.headers.contains_key("x-tenant-id"));
}

#[tokio::test]
async fn of_a_callers_headers_anthropics_version_and_betas_go_on() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let mut settings = of_kind(&upstream, Kind::Anthropic);
    settings.providers[0].betas = vec!["files-api-2025-04-14".into()];
    let model = world.hop(settings);
    let caller = |pairs: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Caller::from_headers(&headers).unwrap()
    };
    let sent = body(Api::Messages, "plain", "q", "");
    for (pairs, version, betas) in [
        (vec![], "2023-06-01", None),
        (vec![("anthropic-version", "2024-02-29")], "2024-02-29", None),
        (vec![("anthropic-version", "../x")], "2023-06-01", None),
        (
            vec![
                ("anthropic-beta", "files-api-2025-04-14"),
                ("x-api-key", "sk-other"),
                ("x-tenant-id", "globex"),
            ],
            "2023-06-01",
            Some("files-api-2025-04-14"),
        ),
        (vec![("anthropic-beta", "b, a")], "2023-06-01", Some("b,a")),
    ] {
        for shared in [false, true] {
            world.set(&acme, "p", "sk-of-anthropic", shared).await;
            upstream.forget();
            let got = world.call(&model, &acme, Api::Messages, &sent, caller(&pairs)).await;
            if shared && betas == Some("b,a") {
                let error = got.unwrap_err();
                assert_eq!(error.code(), "request.unsupported");
                assert!(error.to_string().contains("`b`"), "{error}");
                assert_eq!(upstream.asked(), 0);
                continue;
            }
            text(got.unwrap()).await;
            let seen = upstream.seen().remove(0);
            assert_eq!(seen.headers["anthropic-version"], version);
            let got = seen.headers.get("anthropic-beta").map(|value| value.to_str().unwrap());
            assert_eq!(got, betas);
            assert_eq!(seen.headers["x-api-key"], "sk-of-anthropic");
            assert!(!seen.headers.contains_key("x-tenant-id"));
        }
    }
    // Of OpenAI's kind nothing of it goes on.
    let model = world.hop(of_kind(&upstream, Kind::Openai));
    let sent = body(Api::Chat, "plain", "q", "");
    let caller = caller(&[("anthropic-beta", "a"), ("anthropic-version", "2024-02-29")]);
    let seen = asked(&world, &upstream, &model, &acme, (Api::Chat, &sent), caller).await;
    assert!(seen.header_names().iter().all(|name| !name.starts_with("anthropic")));
}

/// A caller's betas change what it gets: they are a part of the key.
#[tokio::test]
async fn kept_answers_differ_by_version_and_betas() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let model = world.hop(of_kind(&upstream, Kind::Anthropic));
    let sent = body(Api::Messages, "kept", "q", "");
    let version = |text: &'static str| Caller {
        anthropic_version: Some(HeaderValue::from_static(text)),
        ..Caller::default()
    };
    let betas = |names: &[&str]| Caller {
        anthropic_beta: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Caller::default()
    };
    for (nth, caller) in [
        Caller::default(),
        version("2024-01-01"),
        version("2024-01-02"),
        betas(&["a"]),
        betas(&["a", "b"]),
        Caller { anthropic_beta: vec!["a".into()], ..version("2024-01-01") },
    ]
    .into_iter()
    .enumerate()
    {
        for _ in 0..2 {
            let got = world.call(&model, &acme, Api::Messages, &sent, caller.clone()).await;
            text(got.unwrap()).await;
        }
        assert_eq!(upstream.asked(), nth + 1, "{caller:?}");
    }
}
