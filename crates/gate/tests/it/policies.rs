use bulkhead_gate::{Action, Gate, Hop, Kept, Policies, Reading, Touch, Use};
use ids::{OsEntropy, RequestId};
use scope::{Scope, Write};
use testkit::Kit;

use super::world::{World, chat, says};

const ALL: &str = "permit (principal, action, resource);";

fn model(name: &str) -> Hop {
    Hop::model(Action::Chat, name, RequestId::draw(&OsEntropy))
}

/// A scope that has everything that a scope can have.
async fn whole(world: &World) -> Scope<Write> {
    let mut ask = Kit::ask("acme", "live", "support");
    ask.run = Some("run_7".parse().unwrap());
    ask.agent = Some("triage".parse().unwrap());
    ask.subject = Some("ada@acme".parse().unwrap());
    let token = world.kit.doors.exchange(&world.kit.service().await, ask).await.unwrap();
    world.kit.authenticate(&token.secret).await.unwrap()
}

/// What a policy can speak of, each in a policy that permits exactly that and in one that
/// permits what is just beside it.
#[tokio::test]
async fn a_policy_sees_who_asks_for_what() {
    let world = World::new().await;
    let scope = whole(&world).await;
    let when =
        |condition: &str| format!("permit (principal, action, resource) when {{ {condition} }};");
    let cases = [
        (r#"permit (principal in Bulkhead::Tenant::"acme", action, resource);"#.to_owned(), true),
        (r#"permit (principal in Bulkhead::Tenant::"globex", action, resource);"#.into(), false),
        (r#"permit (principal in Bulkhead::Workflow::"acme/live/support", action, resource);"#.into(), true),
        (r#"permit (principal in Bulkhead::Workflow::"acme/staging/support", action, resource);"#.into(), false),
        (r#"permit (principal == Bulkhead::Agent::"acme/live/support/triage", action, resource);"#.into(), true),
        (r#"permit (principal == Bulkhead::Agent::"acme/live/support/", action, resource);"#.into(), false),
        (when(r#"principal.tenant == "acme""#), true),
        (when(r#"principal.tenant == "globex""#), false),
        (when(r#"principal.environment == "live""#), true),
        (when(r#"principal.environment == "staging""#), false),
        (when(r#"principal has workflow && principal.workflow == "support""#), true),
        (when(r#"principal has workflow && principal.workflow == "billing""#), false),
        (when(r#"principal has agent && principal.agent == "triage""#), true),
        (when(r#"principal has run && principal.run == "run_7""#), true),
        (when(r#"principal has run && principal.run == "run_8""#), false),
        (when(r#"principal has subject && principal.subject == "ada@acme""#), true),
        (when(r#"principal has subject && principal.subject like "*@globex""#), false),
        (when(r#"principal.grants.contains("model:*")"#), true),
        (when(r#"principal.grants.contains("model:chat")"#), false),
        (when(r#"principal.credential == "token""#), true),
        (when(r#"principal.credential == "key""#), false),
        (r#"permit (principal, action == Bulkhead::Action::"model:chat", resource);"#.into(), true),
        (r#"permit (principal, action == Bulkhead::Action::"model:models", resource);"#.into(), false),
        (r#"permit (principal, action in Bulkhead::Action::"model", resource);"#.into(), true),
        (r#"permit (principal, action in Bulkhead::Action::"records", resource);"#.into(), false),
        (r#"permit (principal, action, resource == Bulkhead::Route::"gpt-5");"#.into(), true),
        (r#"permit (principal, action, resource == Bulkhead::Route::"gpt-4");"#.into(), false),
        (r#"permit (principal, action, resource is Bulkhead::Log);"#.into(), false),
        (r#"permit (principal, action, resource is Bulkhead::Route) when { resource.name like "gpt-*" };"#.into(), true),
        (r#"permit (principal, action, resource is Bulkhead::Route) when { resource has provider && resource.provider == "openai" };"#.into(), true),
        (r#"permit (principal, action, resource is Bulkhead::Route) when { resource has provider && resource.provider == "azure" };"#.into(), false),
        (when("context.bytes <= 1000"), true),
        (when("context.bytes < 1000"), false),
        (when("context.stream"), true),
        (when("!context.stream"), false),
    ];
    for (policy, permitted) in cases {
        let gate = world.ruled(&policy);
        let hop = model("gpt-5").provider("openai".parse().unwrap()).bytes_in(1_000).stream(true);
        let expected = if permitted { "ok" } else { "policy.denied" };
        assert_eq!(says(&gate, &scope, hop).await, expected, "{policy}");
    }
}

/// Actions that are not asked about are in what they are in all the same, wherever a policy says so.
#[tokio::test]
async fn a_policy_knows_the_actions_that_it_names() {
    let world = World::new().await;
    let scope = world.kit.scope("acme", "live").await;
    for (condition, held) in [
        (r#"Bulkhead::Action::"tools:write" in Bulkhead::Action::"tools""#, true),
        (r#"[Bulkhead::Action::"tools:write"].contains(action)"#, false),
        (r#"action in [Bulkhead::Action::"tools", Bulkhead::Action::"model"]"#, true),
        (r#"action in [Bulkhead::Action::"tools", Bulkhead::Action::"cache"]"#, false),
        (
            r#"if action == Bulkhead::Action::"cache:read" then false else Bulkhead::Action::"cache:read" in Bulkhead::Action::"cache""#,
            true,
        ),
    ] {
        // A policy that forbids by it, too: what is not known must not let anything through.
        for (rule, expected) in [
            (format!("permit (principal, action, resource) when {{ {condition} }};"), held),
            (format!("{ALL} forbid (principal, action, resource) when {{ {condition} }};"), !held),
        ] {
            let expected = if expected { "ok" } else { "policy.denied" };
            assert_eq!(says(&world.ruled(&rule), &scope, chat()).await, expected, "{rule}");
        }
    }
}

/// What is absent is absent: a policy has to ask, and strict validation sees that it does.
#[tokio::test]
async fn what_a_credential_does_not_name_is_absent() {
    let world = World::new().await;
    let key = world.kit.registry.add_key("acme", "live", None);
    let scope = world.kit.authenticate(&key).await.unwrap();
    for (condition, expected) in [
        ("principal has run", "policy.denied"),
        ("principal has agent", "policy.denied"),
        ("principal has subject", "policy.denied"),
        (r#"principal.credential == "key""#, "ok"),
    ] {
        let gate =
            world.ruled(&format!("permit (principal, action, resource) when {{ {condition} }};"));
        assert_eq!(says(&gate, &scope, chat()).await, expected, "{condition}");
    }
}

/// Which of them answers is only known later, so one that is forbidden forbids all.
#[tokio::test]
async fn a_hop_to_several_providers_is_permitted_if_it_is_to_each() {
    let world = World::new().await;
    let scope = world.kit.scope("acme", "live").await;
    let rule = r#"forbid (principal, action, resource)
        when { resource has provider && resource.provider == "azure" };"#;
    for context in ["", "permit (principal, action, resource) when { context.stream };"] {
        let gate = world.ruled(&format!("{ALL} {rule} {context}"));
        for (providers, expected) in [
            (&["openai"][..], "ok"),
            (&["azure"], "policy.denied"),
            (&["openai", "azure"], "policy.denied"),
            (&["azure", "openai"], "policy.denied"),
            (&["openai", "vllm"], "ok"),
            (&[], "ok"),
        ] {
            let to = |hop: Hop, name: &&str| hop.provider(name.parse().unwrap());
            let hop = providers.iter().fold(model("gpt-5"), to);
            assert_eq!(says(&gate, &scope, hop).await, expected, "{providers:?}");
        }
    }
}

#[tokio::test]
async fn a_policy_tells_what_is_kept_where() {
    let world = World::new().await;
    let scope = whole(&world).await;
    let request = RequestId::draw(&OsEntropy);
    let hops = [
        Hop::resource(Kept::Files, Touch::Write, request).provider("openai".parse().unwrap()),
        Hop::resource(Kept::Conversations, Touch::Read, request),
        Hop::model(Action::Responses, "gpt-5", request),
        Hop::cache(Touch::Write, "prices", request),
        Hop::state(Touch::Read, "run_7", request),
        Hop::state(Touch::Write, "run_8", request),
        Hop::memory(Use::Read, "docs", request),
        Hop::memory(Use::Write, "notes", request),
        Hop::memory(Use::Collections, "docs", request),
    ];
    for (forbidden, rule) in [
        (&[0][..], r#"action, resource == Bulkhead::Account::"files")"#),
        (
            &[0],
            r#"action, resource is Bulkhead::Account) when { resource has provider && resource.provider == "openai" }"#,
        ),
        (&[1], r#"action == Bulkhead::Action::"model:responses", resource is Bulkhead::Account)"#),
        (&[1, 2], r#"action == Bulkhead::Action::"model:responses", resource)"#),
        (&[2], r#"action, resource == Bulkhead::Route::"gpt-5")"#),
        (&[3], r#"action in Bulkhead::Action::"cache", resource)"#),
        (&[3], r#"action, resource is Bulkhead::Shelf) when { resource.name == "prices" }"#),
        (&[4, 5], r#"action in Bulkhead::Action::"state", resource)"#),
        (
            &[5],
            r#"action, resource is Bulkhead::Run) unless { principal has run && resource.name == principal.run }"#,
        ),
        (&[6, 7, 8], r#"action in Bulkhead::Action::"memory", resource)"#),
        (&[6, 8], r#"action, resource == Bulkhead::Collection::"docs")"#),
        (&[7], r#"action, resource is Bulkhead::Collection) unless { resource.name == "docs" }"#),
        (&[8], r#"action == Bulkhead::Action::"memory:collections", resource)"#),
    ] {
        let gate = world.ruled(&format!("{ALL} forbid (principal, {rule};"));
        for (at, hop) in hops.iter().enumerate() {
            let expected = if forbidden.contains(&at) { "policy.denied" } else { "ok" };
            assert_eq!(says(&gate, &scope, hop.clone()).await, expected, "{hop:?} under {rule}");
        }
    }
}

#[tokio::test]
async fn a_tenants_own_records_are_a_hop_too() {
    let world = World::new().await;
    let scope = world.kit.scope("acme", "live").await;
    let gate = world
        .ruled(&format!("{ALL} forbid (principal, action, resource == Bulkhead::Log::\"runs\");"));
    let request = RequestId::draw(&OsEntropy);
    assert_eq!(says(&gate, &scope, Hop::records(Reading::Audit, request)).await, "ok");
    assert_eq!(says(&gate, &scope, Hop::records(Reading::Runs, request)).await, "policy.denied");
    assert_eq!(says(&gate, &scope, Hop::model(Action::Models, "*", request)).await, "ok");
}

/// Cedar skips a policy that fails to evaluate. A `forbid` that is skipped does not forbid,
/// so with us a failing policy refuses the hop.
#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_is_a_denial() {
    let world = World::new().await;
    let scope = world.kit.scope("acme", "live").await;
    let overflow = "9223372036854775807 + context.bytes > 0";
    for policy in [
        format!("{ALL} forbid (principal, action, resource) when {{ {overflow} }};"),
        format!("{ALL} forbid (principal, action, resource) unless {{ {overflow} }};"),
        format!("{ALL} permit (principal, action, resource) when {{ {overflow} }};"),
        format!("permit (principal, action, resource) when {{ {overflow} }};"),
    ] {
        let gate = world.ruled(&policy);
        assert_eq!(says(&gate, &scope, chat().bytes_in(1)).await, "policy.error", "{policy}");
    }
    let log = world.kit.audit.of("acme/live");
    assert_eq!(log.len(), 4);
    assert!(log.iter().all(|entry| entry.code.as_deref() == Some("policy.error")));
    assert!(!log[0].reason.as_deref().unwrap().contains("overflow"), "the cause is for our log");
    // The same policies, where nothing overflows.
    let gate = world
        .ruled(&format!("{ALL} forbid (principal, action, resource) unless {{ {overflow} }};"));
    assert_eq!(says(&gate, &scope, chat().bytes_in(0)).await, "ok");
}

const BAD: [(&str, &str); 15] = [
    ("a syntax error", "permit (principal, action);"),
    ("not a policy", "allow everything"),
    (
        "a misspelled attribute",
        r#"permit (principal, action, resource) when { principal.tennant == "a" };"#,
    ),
    (
        "a misspelled attribute behind has",
        r#"forbid (principal, action, resource) when { principal has tennant };"#,
    ),
    (
        "an optional attribute, not asked for",
        r#"forbid (principal, action, resource) when { principal.run == "r" };"#,
    ),
    (
        "an unknown action",
        r#"permit (principal, action == Bulkhead::Action::"model:chatt", resource);"#,
    ),
    ("an unknown type", r#"permit (principal in Bulkhead::Customer::"a", action, resource);"#),
    ("a type without its namespace", r#"permit (principal in Tenant::"acme", action, resource);"#),
    ("a number for a text", "permit (principal, action, resource) when { principal.tenant == 1 };"),
    (
        "an attribute of another resource",
        r#"permit (principal, action, resource) when { resource.provider == "x" };"#,
    ),
    (
        "a set for a text",
        r#"permit (principal, action, resource) when { principal.grants == "x" };"#,
    ),
    (
        "one that can never apply",
        r#"forbid (principal, action, resource) when { principal == resource };"#,
    ),
    (
        "an action of another resource",
        r#"forbid (principal, action == Bulkhead::Action::"model:chat", resource is Bulkhead::Log);"#,
    ),
    (
        "a hidden direction mark",
        "permit (principal, action, resource) when { principal.tenant == \"a\u{202e}b\" };",
    ),
    ("a template", "permit (principal == ?principal, action, resource);"),
];

#[tokio::test]
async fn what_does_not_fit_the_schema_is_not_loaded() {
    let world = World::new().await;
    for (what, policy) in BAD {
        for text in [policy.to_owned(), format!("{ALL}\n{policy}")] {
            let refused = Policies::load(&world.file(&text)).unwrap_err();
            assert_eq!(refused.code(), "policy.invalid", "{what}");
            assert!(refused.to_string().len() > 40, "{what}: {refused}");
        }
    }
    let missing = Policies::load(&world.dir.path().join("none.cedar")).unwrap_err();
    assert!(missing.to_string().contains("none.cedar"), "{missing}");
    let huge = format!("{ALL} // {}", "x".repeat(1 << 20));
    let huge = Policies::load(&world.file(&huge)).unwrap_err();
    assert!(huge.to_string().contains("1 MiB"), "{huge}");
    std::fs::write(world.dir.path().join("policy.cedar"), [0xff, 0xfe]).unwrap();
    Policies::load(&world.dir.path().join("policy.cedar")).unwrap_err();
}

#[tokio::test]
async fn a_bad_file_leaves_the_last_good_set_in_force() {
    let world = World::new().await;
    let scope = world.kit.scope("acme", "live").await;
    let no_gpt =
        format!("{ALL} forbid (principal, action, resource == Bulkhead::Route::\"gpt-5\");");
    let gate = world.ruled(&no_gpt);
    let first = gate.policies().version();
    let holds = async |gate: &Gate| {
        assert_eq!(says(gate, &scope, model("gpt-5")).await, "policy.denied");
        assert_eq!(says(gate, &scope, model("gpt-4")).await, "ok");
        assert_eq!(gate.policies().version(), first);
        assert_eq!(gate.policies().describe().text, no_gpt);
    };
    holds(&gate).await;
    for (what, policy) in BAD {
        world.file(policy);
        assert!(gate.policies().reload().is_err(), "{what}");
        holds(&gate).await;
    }
    std::fs::remove_file(world.dir.path().join("policy.cedar")).unwrap();
    assert!(gate.policies().reload().is_err(), "a file that is gone is not an empty one");
    holds(&gate).await;
    world.file(ALL);
    let second = gate.policies().reload().unwrap();
    assert_ne!(second, first);
    assert_eq!(says(&gate, &scope, model("gpt-5")).await, "ok");
    world.file(&no_gpt);
    assert_eq!(gate.policies().reload().unwrap(), first, "the same text, the same version");
    holds(&gate).await;
}

#[tokio::test]
async fn an_empty_file_permits_nothing_and_none_permits_what_is_granted() {
    let world = World::new().await;
    let scope = world.kit.scope("acme", "live").await;
    for empty in ["", "  \n", "// only a comment\n"] {
        assert_eq!(says(&world.ruled(empty), &scope, chat()).await, "policy.denied");
    }
    let gate = world.gate(Policies::built_in(), Vec::new());
    assert_eq!(says(&gate, &scope, chat()).await, "ok");
    let described = gate.policies().describe();
    assert_eq!((described.path, described.policies, described.remembered), (None, 1, true));
    assert_eq!(gate.policies().reload().unwrap(), described.version, "nothing to read");
}
