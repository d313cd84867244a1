//! Whose credential, whose body, whose models.

use bulkhead_model::{Api, CallerCache, Error, Kind, Mark, Provider, Route};
use gate::{Action, Hop};
use ids::{OsEntropy, RequestId};
use tokio::task::JoinSet;
use vault::SecretText;

use super::{
    standin::{StandIn, completion, json},
    world::{World, prompt, provider, secret_of, settings, text, whose},
};

#[tokio::test]
async fn each_tenant_and_environment_uses_its_own_credential() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let mut expected = Vec::new();
    for tenant in ["acme", "globex"] {
        for environment in ["live", "staging"] {
            let scope = world.kit.scope(tenant, environment).await;
            text(world.ask(&model, &scope, &prompt("plain", "x")).await.unwrap()).await;
            expected.push(format!("Bearer {}", secret_of(tenant, environment)));
        }
    }
    let billing = world.kit.scope_for("acme", "live", "billing").await;
    let secret = SecretText::parse("sk-of-billing".into()).unwrap();
    let (provider, workflow) = ("p".parse().unwrap(), "billing".parse().unwrap());
    let wallet = world.credentials.of(&billing);
    wallet.set(&provider, Some(&workflow), secret, false).await.unwrap();
    text(world.ask(&model, &billing, &prompt("plain", "x")).await.unwrap()).await;
    text(world.ask(&model, &world.acme().await, &prompt("plain", "x")).await.unwrap()).await;
    expected.push("Bearer sk-of-billing".into());
    expected.push(format!("Bearer {}", secret_of("acme", "live")));
    let used: Vec<_> = upstream.seen().iter().map(|seen| seen.authorization()).collect();
    assert_eq!(used, expected);
}

#[tokio::test]
async fn without_a_credential_nothing_is_sent() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    let provider = "p".parse().unwrap();
    assert!(world.credentials.of(&acme).remove(&provider, None).await.unwrap());
    for route in ["plain", "kept"] {
        let error = world.ask(&model, &acme, &prompt(route, "x")).await.unwrap_err();
        assert_eq!(error.code(), "model.no_credential");
        assert!(error.to_string().contains("`p`"), "{error}");
    }
    assert_eq!(upstream.asked(), 0);
    let events = world.events(&acme).await;
    assert_eq!(events[0].event.code.as_deref(), Some("model.no_credential"));
}

#[tokio::test]
async fn a_body_may_agree_and_never_choose() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let model = world.hop(settings(upstream.address));
    let acme = world.acme().await;
    for (field, code) in [
        (r#""metadata":{"tenant_id":"acme"}"#, ""),
        (r#""metadata":{"tenant_id":"org_acme","env":"live"}"#, ""),
        (r#""tenant":"acme","environment":"live""#, ""),
        (r#""metadata":{"tenant_id":"globex"}"#, "scope.mismatch"),
        (r#""metadata":{"tenantId":"globex"}"#, "scope.mismatch"),
        (r#""metadata":{"tenant":"org_globex"}"#, "scope.mismatch"),
        (r#""metadata":{"environment":"staging"}"#, "scope.mismatch"),
        (r#""metadata":{"tenant_id":"acme","TenantId":"globex"}"#, "scope.mismatch"),
        (r#""tenant_id":"globex""#, "scope.mismatch"),
        (r#""tenant_id":["acme"]"#, "scope.mismatch"),
        (r#""environment":"staging""#, "scope.mismatch"),
        (r#""metadata":{"tenant_id":"acme","tenant_id":"acme"}"#, "scope.mismatch"),
        (r#""model":"plain""#, "scope.mismatch"),
    ] {
        let body = prompt("plain", "x").replacen('{', &format!("{{{field},"), 1);
        let before = upstream.asked();
        let got = world.ask(&model, &acme, &body).await;
        let got_code = got.as_ref().map_or_else(Error::code, |_| "");
        assert_eq!(got_code, code, "{field}");
        assert_eq!(upstream.asked() - before, usize::from(code.is_empty()), "{field}");
    }
}

#[tokio::test]
async fn models_are_those_with_a_credential() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let mut settings = settings(upstream.address);
    let mut other = settings.providers[0].clone();
    other.id = "q".parse().unwrap();
    settings.providers.push(other);
    let mut route = settings.routes[0].clone();
    route.name = "of-q".parse().unwrap();
    route.provider = Some("q".parse().unwrap());
    settings.routes.push(route);
    let model = world.hop(settings);

    let acme = world.acme().await;
    let secret = SecretText::parse("sk-for-q".into()).unwrap();
    world.credentials.of(&acme).set(&"q".parse().unwrap(), None, secret, false).await.unwrap();
    for (scope, expected) in [
        (&acme, &["plain", "kept", "alias", "of-q"][..]),
        (&world.globex().await, &["plain", "kept", "alias"]),
    ] {
        let hop = Hop::model(Action::Models, "*", RequestId::draw(&OsEntropy));
        let listed: Result<Vec<bulkhead_model::ModelCard>, Error> =
            world.gate.pass(scope, hop, |pass| model.models(scope, pass)).await;
        let names: Vec<_> = listed.unwrap().iter().map(|card| card.name.to_string()).collect();
        assert_eq!(names, expected);
    }
    assert_eq!(
        world.ask(&model, &acme, &prompt("none", "x")).await.unwrap_err().code(),
        "model.unknown"
    );
    assert!(model.route("kept").is_some() && model.route("none").is_none());
}

/// Incident `shared-env`: two tenants at once, every answer carries its own nonce.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_env() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    upstream.answers(|_, seen| {
        let wanted: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let said = wanted["messages"][0]["content"].as_str().unwrap();
        json(completion(&format!("{said} for {}", seen.whose())))
    });
    let model = world.hop(settings(upstream.address));
    let world = std::sync::Arc::new(world);
    let mut all = JoinSet::new();
    for nth in 0..200 {
        let tenant = ["acme", "globex"][nth % 2];
        let route = ["plain", "kept"][nth / 2 % 2];
        let scope = world.kit.scope(tenant, "live").await;
        let (world, model) = (world.clone(), model.clone());
        all.spawn(async move {
            let nonce = format!("nonce {} of {tenant}", nth / 4);
            let asked = prompt(route, &nonce);
            let got = world.chat(&model, &scope, &asked, CallerCache::default()).await.unwrap();
            let expected = format!("{nonce} for {}", whose(&secret_of(tenant, "live")));
            assert_eq!(text(got).await, completion(&expected));
        });
    }
    all.join_all().await;
}

#[tokio::test]
async fn how_a_tenant_stands_with_each_route() {
    let (world, upstream) = (World::new().await, StandIn::new().await);
    let acme = world.acme().await;
    let mut settings = settings(upstream.address);
    let mut of_kind = |id: &str, kind: Kind, change: fn(&mut Provider)| {
        let mut provider = provider(id, kind, upstream.address);
        change(&mut provider);
        settings.providers.push(provider);
        settings.routes.push(Route::new(id.parse().unwrap(), id.parse().unwrap()));
    };
    type Case = (&'static str, Kind, fn(&mut Provider), &'static str, &'static str);
    let cases: [Case; 8] = [
        ("openai", Kind::Openai, |_| {}, "account", "shared prompt-cache domain"),
        ("azure", Kind::AzureOpenai, |_| {}, "account", "shared prompt-cache domain"),
        ("anthropic", Kind::Anthropic, |_| {}, "workspace", "shared prompt-cache domain"),
        ("vllm", Kind::Vllm, |_| {}, "salted", "salted"),
        ("sglang", Kind::Sglang, |p| p.external_kv_tiers = true, "salted", "salted"),
        // Keys of one's own mean nothing to a server of one's own.
        (
            "bare",
            Kind::Vllm,
            |p| p.marks = Some(vec![]),
            "shared prompt-cache domain",
            "shared prompt-cache domain",
        ),
        (
            "messages",
            Kind::Vllm,
            |p| p.apis = Some(vec![Api::Chat, Api::Messages]),
            "shared prompt-cache domain",
            "shared prompt-cache domain",
        ),
        (
            "dynamo",
            Kind::OpenaiCompatible,
            |p| p.marks = Some(vec![Mark::TenantHeader]),
            "salted",
            "salted",
        ),
    ];
    for (id, kind, change, ..) in cases {
        of_kind(id, kind, change);
    }
    settings.routes[3].aliases = vec!["gpt".parse().unwrap()];
    let model = world.hop(settings);
    for shared in [false, true] {
        for (id, ..) in cases {
            world.set(&acme, id, &format!("sk-for-{id}-0123"), shared).await;
        }
        let standing = model.standing(&acme).await.unwrap();
        for (at, (id, kind, _, own, of_all)) in cases.iter().enumerate() {
            let route = &standing[3 + at];
            let target = &route.targets[0];
            assert_eq!((route.name.as_str(), target.kind), (*id, *kind));
            let expected = if shared { of_all } else { own };
            assert_eq!(target.isolation, Some(*expected), "{id} {shared}");
            assert_eq!((target.credential, target.shared), (true, shared));
            assert_eq!(target.warning.is_some(), *id == "sglang");
        }
        assert_eq!(standing[3].aliases[0].as_str(), "gpt");
    }
    let shown = serde_json::to_value(model.standing(&world.globex().await).await.unwrap()).unwrap();
    assert_eq!(shown[3]["targets"][0]["credential"], false);
    assert_eq!(shown[3]["targets"][0].get("isolation"), None);
    assert_eq!(shown[3]["targets"][0]["kind"], "openai");
    assert!(!shown.to_string().contains("sk-"));
    // A card for each name.
    let hop = Hop::model(Action::Models, "*", RequestId::draw(&OsEntropy));
    let listed: Result<Vec<bulkhead_model::ModelCard>, Error> =
        world.gate.pass(&acme, hop, |pass| model.models(&acme, pass)).await;
    let names: Vec<_> = listed.unwrap().iter().map(|card| card.name.to_string()).collect();
    assert_eq!(names[3..5], ["openai", "gpt"]);
}
