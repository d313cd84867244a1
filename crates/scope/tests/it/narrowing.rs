use std::time::Duration;

use proptest::prelude::*;
use scope::{Error, Exchange, Grants, Listed, Minted, Source, Want};
use testkit::Kit;

use crate::{code, kit};

fn bare(source: Source<'_>) -> Exchange<'_> {
    Exchange {
        source,
        want: Want::Token,
        environment: None,
        workflow: None,
        run: None,
        agent: None,
        subject: None,
        grants: None,
        life: None,
    }
}

async fn exchange(kit: &Kit, ask: Exchange<'_>) -> Result<Minted, Error> {
    kit.doors.exchange(&kit.service().await, ask).await
}

#[tokio::test]
async fn narrowing_removes_and_never_adds() {
    let (kit, _) = kit().await;
    let grants = |text: &str| Some(Grants::parse(text).unwrap());
    let parent = exchange(
        &kit,
        Exchange { grants: grants("model:* cache:read"), ..Kit::ask("acme", "live", "support") },
    )
    .await
    .unwrap();
    let narrow = |change: fn(&mut Exchange<'_>)| {
        let mut ask = bare(Source::Token(&parent.secret));
        change(&mut ask);
        exchange(&kit, ask)
    };
    let child =
        narrow(|ask| ask.grants = Some(Grants::parse("model:chat").unwrap())).await.unwrap();
    assert_eq!(child.grants.to_string(), "model:chat");
    assert!(child.expires <= parent.expires);
    assert_eq!(child.run, parent.run);

    let cases: [(&str, fn(&mut Exchange<'_>), &str); 8] = [
        ("the same", |_| {}, "ok"),
        (
            "a grant more",
            |a| a.grants = Grants::parse("model:chat cache:write").ok(),
            "scope.grant",
        ),
        ("wider", |a| a.grants = Grants::parse("cache:*").ok(), "scope.grant"),
        ("environment", |a| a.environment = "staging".parse().ok(), "scope.mismatch"),
        ("workflow", |a| a.workflow = "other".parse().ok(), "scope.mismatch"),
        ("run", |a| a.run = "other".parse().ok(), "scope.mismatch"),
        ("longer", |a| a.life = Some(Duration::from_secs(901)), "request.malformed"),
        ("an agent where none was", |a| a.agent = "a1".parse().ok(), "ok"),
    ];
    for (name, change, expected) in cases {
        assert_eq!(code(narrow(change).await), expected, "{name}");
    }

    let grandchild = exchange(&kit, bare(Source::Token(&child.secret))).await.unwrap();
    kit.revoke("acme", parent.id).await;
    for (name, token) in [("parent", &parent), ("child", &child), ("grandchild", &grandchild)] {
        assert_eq!(code(kit.authenticate(&token.secret).await), "scope.revoked", "{name}");
    }
}

#[tokio::test]
async fn a_middle_of_the_lineage_takes_what_descends_from_it() {
    let (kit, _) = kit().await;
    let mut chain = vec![kit.mint("acme", "live", "support").await];
    for _ in 0..8 {
        let ask = bare(Source::Token(&chain.last().unwrap().secret));
        chain.push(exchange(&kit, ask).await.unwrap());
    }
    let deeper = exchange(&kit, bare(Source::Token(&chain.last().unwrap().secret))).await;
    assert_eq!(code(deeper), "request.malformed", "the chain is bounded");
    kit.revoke("acme", chain[4].id).await;
    for (depth, token) in chain.iter().enumerate() {
        let expected = if depth < 4 { "ok" } else { "scope.revoked" };
        assert_eq!(code(kit.authenticate(&token.secret).await), expected, "depth {depth}");
    }
}

#[tokio::test]
async fn a_run_grant_travels_and_opens_nothing_itself() {
    let (kit, clock) = kit().await;
    let ask = Exchange {
        want: Want::RunGrant,
        run: "run:7".parse().ok(),
        life: Some(Duration::from_secs(7 * 86_400)),
        ..Kit::ask("acme", "live", "support")
    };
    let grant = exchange(&kit, ask).await.unwrap();
    assert!(grant.secret.starts_with("bg_"));
    assert_eq!(code(kit.authenticate(&grant.secret).await), "scope.malformed");

    clock.advance(Duration::from_secs(6 * 86_400));
    let token = exchange(&kit, bare(Source::RunGrant(&grant.secret))).await.unwrap();
    let scope = kit.authenticate(&token.secret).await.unwrap();
    assert_eq!((scope.tenant().as_str(), scope.run().unwrap().as_str()), ("acme", "run:7"));
    let again = Exchange { want: Want::RunGrant, ..bare(Source::RunGrant(&grant.secret)) };
    let again = Exchange { life: Some(Duration::from_secs(30 * 86_400)), ..again };
    assert_eq!(exchange(&kit, again).await.unwrap().expires, grant.expires, "no longer life");

    let short = Exchange { want: Want::RunGrant, ..bare(Source::Token(&token.secret)) };
    assert!(exchange(&kit, short).await.unwrap().expires <= token.expires);

    kit.revoke("acme", grant.id).await;
    assert_eq!(code(kit.authenticate(&token.secret).await), "scope.revoked");
    let dead = exchange(&kit, bare(Source::RunGrant(&grant.secret))).await;
    assert_eq!(code(dead), "scope.revoked");
    let unknown = format!("bg_00000000_{}", "A".repeat(43));
    assert_eq!(code(exchange(&kit, bare(Source::RunGrant(&unknown))).await), "scope.unknown");
}

#[tokio::test]
async fn a_service_mints_within_its_bounds() {
    let (kit, _) = kit().await;
    let listed = |name: &str| Listed::from_names(vec![name.to_owned()]);
    let secret = kit.registry.add_service("b", listed("acme"), listed("live"), "model:chat");
    let service = kit.doors.service(&secret).await.unwrap();
    let grants = |text: &str| Grants::parse(text).ok();
    for (tenant, env, scope, expected) in [
        ("acme", "live", "model:chat", "ok"),
        ("org_acme", "live", "model:chat", "ok"),
        ("globex", "live", "model:chat", "scope.grant"),
        ("acme", "staging", "model:chat", "scope.grant"),
        ("acme", "live", "model:*", "scope.grant"),
        ("acme", "nowhere", "model:chat", "scope.grant"),
        // What may not be minted for and what is not there give the same answer.
        ("globex", "nowhere", "model:chat", "scope.grant"),
        ("initech", "live", "model:chat", "scope.grant"),
    ] {
        let ask = Exchange { grants: grants(scope), ..Kit::ask(tenant, env, "support") };
        let outcome = kit.doors.exchange(&service, ask).await;
        assert_eq!(code(outcome), expected, "{tenant} {env} {scope}");
    }
    let everybodys = kit.service().await;
    for (tenant, env, expected) in
        [("initech", "live", "scope.tenant"), ("acme", "nowhere", "scope.environment")]
    {
        let outcome = kit.doors.exchange(&everybodys, Kit::ask(tenant, env, "support")).await;
        assert_eq!(code(outcome), expected, "{tenant} {env}");
    }
    for leave_out in ["environment", "workflow", "scope"] {
        let mut ask = Exchange { grants: grants("model:chat"), ..Kit::ask("acme", "live", "w") };
        match leave_out {
            "environment" => ask.environment = None,
            "workflow" => ask.workflow = None,
            _ => ask.grants = None,
        }
        let outcome = kit.doors.exchange(&service, ask).await;
        assert_eq!(code(outcome), "request.malformed", "without {leave_out}");
    }
    let foreign = kit.mint("globex", "live", "support").await;
    let outcome = kit.doors.exchange(&service, bare(Source::Token(&foreign.secret))).await;
    assert_eq!(code(outcome), "scope.grant", "not through narrowing either");
}

proptest! {
    #[test]
    fn covering_is_what_containing_says(
        a in proptest::collection::vec("[a-c]:([a-c]|\\*)", 0..6),
        b in proptest::collection::vec("[a-c]:([a-c]|\\*)", 0..6),
    ) {
        let [a, b] = [a, b].map(|g| Grants::parse(&g.join(" ")).unwrap());
        if a.covers(&b) {
            for surface in ["a", "b", "c"] {
                for action in ["a", "b", "c", "d"] {
                    let grant = format!("{surface}:{action}");
                    prop_assert!(a.contains(&grant) || !b.contains(&grant), "{grant}");
                }
            }
        }
    }
}
