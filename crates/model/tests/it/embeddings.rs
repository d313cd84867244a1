//! Texts of other surfaces, embedded by the tenant's own route and through the gate.

use std::sync::Arc;

use bulkhead_model::{Embeddings, Kind, Route, RouteTarget, Settings};
use gate::{Gate, InFlight, Policies};
use memory::{EmbedError, Embedder};
use records::End;
use scope::{Grants, Scope, Write};
use serde_json::{Value, json as value};
use testkit::Kit;

use super::{
    standin::{Reply, Seen, StandIn, json, status},
    world::{World, provider, secret_of, settings},
};

/// A number for each text, which says how long it is; the last text first.
fn measured(seen: &Seen) -> Reply {
    let asked = seen.json();
    assert_eq!(asked["encoding_format"], "float");
    let texts = asked["input"].as_array().unwrap();
    let one = |(index, text): (usize, &Value)| {
        let length = u32::try_from(text.as_str().unwrap().len()).unwrap();
        value!({"object": "embedding", "index": index, "embedding": [f64::from(length), -0.5]})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(one).rev().collect();
    let usage = value!({"prompt_tokens": texts.len(), "total_tokens": texts.len()});
    json(value!({"object": "list", "data": data, "usage": usage}).to_string())
}

/// Route `embed`, also called `vectors`, to providers `p` and `q`; route `q-alone`, for which
/// nobody has a credential.
fn routes(upstream: &StandIn) -> Settings {
    upstream.answers(|_, seen| measured(seen));
    let mut settings = settings(upstream.address);
    settings.providers.push(provider("q", Kind::OpenaiCompatible, upstream.address));
    let target = |id: &str, weight| RouteTarget {
        provider: id.parse().unwrap(),
        upstream_model: Some(format!("{id}-embed")),
        weight,
    };
    settings.routes.push(Route {
        provider: None,
        targets: vec![target("p", 1), target("q", 0)],
        aliases: vec!["vectors".parse().unwrap()],
        ..Route::new("embed".parse().unwrap(), "p".parse().unwrap())
    });
    settings.routes.push(Route::new("q-alone".parse().unwrap(), "q".parse().unwrap()));
    settings
}

fn gate(world: &World, policies: Policies, at_once: u32) -> Arc<Gate> {
    let (audit, clock) = (world.kit.audit.clone(), world.clock.clone());
    let admission = Arc::new(InFlight::new(at_once));
    let recorder = world.recorder.clone();
    Arc::new(Gate::new(policies, vec![admission], recorder, audit, clock))
}

fn embeddings(world: &World, upstream: &StandIn) -> Embeddings {
    Embeddings::new(gate(world, Policies::built_in(), 8), world.hop(routes(upstream)))
}

async fn refused(embeddings: &Embeddings, scope: &Scope<Write>, model: &str) -> EmbedError {
    embeddings.embed(scope, model, vec!["a secret text".into()]).await.unwrap_err()
}

#[tokio::test]
async fn a_text_goes_to_ones_own_route_and_is_on_ones_own_record() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let embeddings = embeddings(&world, &upstream);
    for (scope, tenant) in [(world.acme().await, "acme"), (world.globex().await, "globex")] {
        for (name, text) in [("embed", "ab"), ("vectors", "\"abc\"\n")] {
            upstream.forget();
            let got = embeddings.embed(&scope, name, vec![text.into()]).await.unwrap();
            #[expect(clippy::cast_precision_loss, reason = "a few bytes")]
            let length = text.len() as f32;
            assert_eq!(got, [[length, -0.5]]);
            let [seen] = &upstream.seen()[..] else { panic!("once") };
            let own = format!("Bearer {}", secret_of(tenant, "live"));
            assert!(seen.authorization() == own, "{}", seen.whose());
            assert_eq!(
                (&seen.json()["model"], seen.path.as_str()),
                (&value!("p-embed"), "/v1/embeddings")
            );
        }
        let events = world.events(&scope).await;
        assert_eq!(events.len(), 2, "a hop each, and on nobody else's record");
        for recorded in events {
            let event = recorded.event;
            assert_eq!((event.surface.as_ref(), event.action.as_ref()), ("model", "embeddings"));
            assert_eq!(event.route.as_ref().map(|route| route.as_str()), Some("embed"));
            assert_eq!((event.tokens_in, event.end), (Some(1), End::Complete));
        }
    }
}

#[tokio::test]
async fn vectors_come_in_the_order_of_the_texts_however_many_there_are() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let embeddings = embeddings(&world, &upstream);
    let acme = world.acme().await;
    let texts: Vec<String> = (0..300).map(|n| "x".repeat(n)).collect();
    let got = embeddings.embed(&acme, "embed", texts).await.unwrap();
    let lengths: Vec<f32> = got.iter().map(|vector| vector[0]).collect();
    let expected: Vec<f32> = (0..300_u16).map(f32::from).collect();
    assert_eq!(lengths, expected);
    assert_eq!(upstream.asked(), 3, "so many as a provider takes at once");
    let none = embeddings.embed(&acme, "embed", Vec::new()).await.unwrap();
    assert!(none.is_empty() && upstream.asked() == 3);
}

#[tokio::test]
async fn grant_policy_and_admission_hold_as_for_the_route_itself() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(routes(&upstream));
    let acme = world.acme().await;
    let open = Embeddings::new(gate(&world, Policies::built_in(), 8), model.clone());

    let mut ask = Kit::ask("acme", "live", "support");
    ask.grants = Some(Grants::parse("model:chat").unwrap());
    let token = world.kit.doors.exchange(&world.kit.service().await, ask).await.unwrap();
    let narrow = world.kit.authenticate(&token.secret).await.unwrap();
    assert_eq!(refused(&open, &narrow, "embed").await.code, "scope.grant");

    // The second target is a fallback only: the policy has to permit it all the same.
    let file = tempfile::NamedTempFile::new().unwrap();
    let policy = r#"permit (principal, action, resource);
        forbid (principal, action, resource) when { resource has provider && resource.provider == "q" };"#;
    std::fs::write(file.path(), policy).unwrap();
    let policies = Policies::load(file.path()).unwrap();
    let held = Embeddings::new(gate(&world, policies, 8), model.clone());
    assert_eq!(refused(&held, &acme, "embed").await.code, "policy.denied");
    assert!(held.embed(&acme, "plain", vec!["x".into()]).await.is_ok(), "a route without it");

    let full = Embeddings::new(gate(&world, Policies::built_in(), 0), model);
    let error = refused(&full, &acme, "embed").await;
    assert_eq!((error.code, error.retry_after), ("limit.concurrency", Some(1)));
    assert_eq!(upstream.asked(), 1, "nothing that was refused was asked");
    assert_eq!(refused(&open, &acme, "nothing").await.code, "model.unknown");
    assert_eq!(refused(&open, &acme, "q-alone").await.code, "model.no_credential");
    world.kit.bump_epoch("acme").await;
    assert_eq!(refused(&open, &acme, "embed").await.code, "scope.revoked");
}

#[tokio::test]
async fn what_a_provider_does_wrong_is_told_and_not_repeated() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let embeddings = embeddings(&world, &upstream);
    let acme = world.acme().await;
    let secret = secret_of("acme", "live");
    let leak = value!({"error": {"message": format!("no quota for {secret}"), "code": "x"}});
    type Case = (Box<dyn Fn() -> Reply + Send + Sync>, &'static str);
    let late = vec![("content-type", "application/json".into()), ("retry-after", "7".into())];
    let quota = leak.to_string();
    let cases: Vec<Case> = vec![
        (Box::new(|| status(401, "{}")), "upstream.credential"),
        (Box::new(move || Reply::Whole(400, late.clone(), quota.clone().into())), "upstream.error"),
        (Box::new(|| json("{}")), "upstream.malformed"),
        (Box::new(|| json(r#"{"data":[]}"#)), "upstream.malformed"),
        (Box::new(|| json(r#"{"data":[{"index":3,"embedding":[1]}]}"#)), "upstream.malformed"),
        (
            Box::new(|| Reply::Whole(302, vec![("location", "/".into())], "".into())),
            "upstream.redirect",
        ),
    ];
    for (reply, code) in cases {
        upstream.answers(move |_, _| reply());
        let error = refused(&embeddings, &acme, "plain").await;
        assert_eq!(error.code, code, "{error}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains(&secret) && !told.contains("a secret text"), "{told}");
        if code == "upstream.error" {
            assert!(error.message.contains("400") && error.message.contains("no quota"), "{error}");
            assert_eq!(error.retry_after, Some(7));
        }
    }
}
