//! Decisions are remembered, and never for anybody or anything else.

use bulkhead_gate::{Action, Gate, Hop, Kept, Touch};
use ids::{OsEntropy, RequestId};
use scope::{Exchange, Scope, Write};
use testkit::Kit;

use super::world::{World, chat, says};

const ALL: &str = "permit (principal, action, resource);";

fn evaluations(gate: &Gate) -> u64 {
    gate.policies().describe().evaluations
}

#[tokio::test]
async fn a_decision_is_worked_out_once() {
    let world = World::new().await;
    let gate = world.ruled(ALL);
    let scope = world.kit.scope("acme", "live").await;
    for _ in 0..5 {
        // Another request, another size, a stream or not: no policy looks at those.
        assert_eq!(says(&gate, &scope, chat().bytes_in(7).stream(true)).await, "ok");
        assert_eq!(says(&gate, &scope, chat()).await, "ok");
    }
    assert_eq!(evaluations(&gate), 1);
    let again = world.kit.scope("acme", "live").await;
    assert_eq!(says(&gate, &again, chat()).await, "ok");
    assert_eq!(evaluations(&gate), 2, "another run");
}

/// Whoever asks for models that nobody has pushes no one's decisions out.
#[tokio::test]
async fn names_that_a_caller_made_up_are_not_remembered() {
    let world = World::new().await;
    let gate = world.ruled(ALL);
    let scope = world.kit.scope("acme", "live").await;
    let made_up = |action| Hop::model(action, "made-up", RequestId::draw(&OsEntropy));
    for _ in 0..3 {
        assert_eq!(says(&gate, &scope, chat()).await, "ok");
        assert_eq!(says(&gate, &scope, made_up(Action::Chat)).await, "ok");
        assert_eq!(says(&gate, &scope, made_up(Action::Models)).await, "ok");
    }
    assert_eq!(evaluations(&gate), 1 + 6);
    let request = RequestId::draw(&OsEntropy);
    for _ in 0..3 {
        for hop in [
            Hop::cache(Touch::Read, "made-up", request),
            Hop::state(Touch::Write, "made-up", request),
            // Four words are no end of names.
            Hop::resource(Kept::Files, Touch::Read, request),
        ] {
            assert_eq!(says(&gate, &scope, hop).await, "ok");
        }
    }
    assert_eq!(evaluations(&gate), 1 + 6 + 6 + 1);
}

#[tokio::test]
async fn a_policy_that_looks_at_the_context_is_asked_each_time() {
    let world = World::new().await;
    let gate = world.ruled("permit (principal, action, resource) when { context.bytes < 10 };");
    let scope = world.kit.scope("acme", "live").await;
    assert!(!gate.policies().describe().remembered);
    for (bytes, expected) in [(9, "ok"), (10, "policy.denied"), (9, "ok"), (11, "policy.denied")] {
        assert_eq!(says(&gate, &scope, chat().bytes_in(bytes)).await, expected);
    }
    assert_eq!(evaluations(&gate), 4);
}

async fn minted(world: &World, ask: Exchange<'_>) -> Scope<Write> {
    let token = world.kit.doors.exchange(&world.kit.service().await, ask).await.unwrap();
    world.kit.authenticate(&token.secret).await.unwrap()
}

/// Scopes that differ in one thing from the first.
async fn neighbours(world: &World) -> Vec<(&'static str, Scope<Write>)> {
    type Change = fn(&mut Exchange<'_>);
    let base = |tenant, environment, workflow| {
        let mut ask = Kit::ask(tenant, environment, workflow);
        ask.run = Some("run_1".parse().unwrap());
        ask.agent = Some("a".parse().unwrap());
        ask.subject = Some("ada".parse().unwrap());
        ask
    };
    let mut all = vec![
        ("acme", minted(world, base("acme", "live", "support")).await),
        ("globex", minted(world, base("globex", "live", "support")).await),
        ("staging", minted(world, base("acme", "staging", "support")).await),
        ("billing", minted(world, base("acme", "live", "billing")).await),
    ];
    let changes: [(&str, Change); 6] = [
        ("run", |ask| ask.run = Some("run_2".parse().unwrap())),
        ("agent", |ask| ask.agent = Some("b".parse().unwrap())),
        ("no agent", |ask| ask.agent = None),
        ("subject", |ask| ask.subject = Some("bob".parse().unwrap())),
        ("no subject", |ask| ask.subject = None),
        ("grants", |ask| ask.grants = Some(scope::Grants::parse("model:chat").unwrap())),
    ];
    for (name, change) in changes {
        let mut ask = base("acme", "live", "support");
        change(&mut ask);
        all.push((name, minted(world, ask).await));
    }
    let key = world.kit.registry.add_key("acme", "live", None);
    all.push(("key", world.kit.authenticate(&key).await.unwrap()));
    all
}

/// Everything that a policy can see of a scope is in its fingerprint, which stands for it in
/// the memory.
#[tokio::test]
async fn what_a_policy_sees_is_in_the_fingerprint() {
    let world = World::new().await;
    let all = neighbours(&world).await;
    for (i, (one, a)) in all.iter().enumerate() {
        for (two, b) in &all[..i] {
            assert_ne!(a.fingerprint(), b.fingerprint(), "{one} and {two}");
        }
    }
}

/// Every scope is permitted or forbidden by itself, whoever was asked about before.
#[tokio::test]
async fn a_decision_is_nobody_elses() {
    let world = World::new().await;
    let all = neighbours(&world).await;
    let conditions = [
        ("globex", r#"principal.tenant == "globex""#),
        ("staging", r#"principal.environment == "staging""#),
        ("billing", r#"principal has workflow && principal.workflow == "billing""#),
        ("run", r#"principal has run && principal.run == "run_2""#),
        ("agent", r#"principal has agent && principal.agent == "b""#),
        ("no agent", r#"principal.credential == "token" && !(principal has agent)"#),
        ("subject", r#"principal has subject && principal.subject == "bob""#),
        ("no subject", r#"principal.credential == "token" && !(principal has subject)"#),
        ("grants", r#"!principal.grants.contains("model:*")"#),
        ("key", r#"principal.credential == "key""#),
    ];
    for (forbidden, condition) in conditions {
        let policy = format!("{ALL} forbid (principal, action, resource) when {{ {condition} }};");
        for reverse in [false, true] {
            let gate = world.ruled(&policy);
            assert!(gate.policies().describe().remembered);
            let mut order: Vec<_> = all.iter().collect();
            if reverse {
                order.reverse();
            }
            for _ in 0..2 {
                for (name, scope) in &order {
                    let expected = if *name == forbidden { "policy.denied" } else { "ok" };
                    assert_eq!(
                        says(&gate, scope, chat()).await,
                        expected,
                        "{name} under {condition}"
                    );
                }
            }
            assert_eq!(evaluations(&gate), all.len() as u64);
        }
    }
}

#[tokio::test]
async fn a_decision_is_about_one_thing() {
    let world = World::new().await;
    let scope = world.kit.scope("acme", "live").await;
    let hop = |action, target: &str, provider: Option<&str>| {
        let hop = Hop::model(action, target, RequestId::draw(&OsEntropy));
        provider.map_or(hop.clone(), |name| hop.provider(name.parse().unwrap()))
    };
    let asks = [
        (Action::Chat, "gpt-5", None),
        (Action::Chat, "gpt-4", None),
        (Action::Models, "gpt-5", None),
        (Action::Chat, "gpt-5", Some("openai")),
        (Action::Chat, "gpt-5", Some("azure")),
        (Action::Chat, "gpt-5openai", None),
    ];
    let rules = [
        r#"action == Bulkhead::Action::"model:chat", resource == Bulkhead::Route::"gpt-5") unless { resource has provider }"#,
        r#"action, resource == Bulkhead::Route::"gpt-4")"#,
        r#"action == Bulkhead::Action::"model:models", resource)"#,
        r#"action, resource is Bulkhead::Route) when { resource has provider && resource.provider == "openai" }"#,
        r#"action, resource is Bulkhead::Route) when { resource has provider && resource.provider == "azure" }"#,
        r#"action, resource == Bulkhead::Route::"gpt-5openai")"#,
    ];
    for (forbidden, rule) in rules.iter().enumerate() {
        for reverse in [false, true] {
            let gate = world.ruled(&format!("{ALL} forbid (principal, {rule};"));
            let mut order: Vec<_> = asks.iter().enumerate().collect();
            if reverse {
                order.reverse();
            }
            for (i, (action, target, provider)) in order.iter().chain(&order) {
                let expected = if *i == forbidden { "policy.denied" } else { "ok" };
                let says = says(&gate, &scope, hop(*action, target, *provider)).await;
                assert_eq!(says, expected, "{target} {provider:?} under {rule}");
            }
        }
    }
}

#[tokio::test]
async fn a_reload_forgets_every_decision() {
    let world = World::new().await;
    let gate = world.ruled(ALL);
    let scope = world.kit.scope("acme", "live").await;
    for _ in 0..3 {
        world.file(ALL);
        gate.policies().reload().unwrap();
        assert_eq!(says(&gate, &scope, chat()).await, "ok");
        world.file("forbid (principal, action, resource);");
        gate.policies().reload().unwrap();
        assert_eq!(says(&gate, &scope, chat()).await, "policy.denied");
    }
}

/// A remembered decision is about policy only: revocation and grants are asked each time.
#[tokio::test]
async fn what_is_remembered_does_not_outlive_the_scope() {
    let world = World::new().await;
    let gate = world.ruled(ALL);
    let scope = world.kit.scope("acme", "live").await;
    assert_eq!(says(&gate, &scope, chat()).await, "ok");
    world.kit.revoke("acme", *scope.jti()).await;
    assert_eq!(says(&gate, &scope, chat()).await, "scope.revoked");
}
