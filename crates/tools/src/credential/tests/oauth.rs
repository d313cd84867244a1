//! Tokens: asked for once, kept apart by whose they are, and never lost or overwritten.

use super::*;

#[tokio::test]
async fn a_token_is_asked_for_as_the_rfc_says_and_used_until_it_nears_its_end() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.client();
    let keys = world.keys(&upstream);
    let version = world.set(&scope, None, "app:canary+secret").await;
    for _ in 0..3 {
        let carried = keys.of(&scope, &upstream).await.unwrap();
        assert_eq!(shown(&carried), "authorization: Bearer token-app-0");
        assert_eq!(carried.version, version);
        for secret in
            ["token-app-0", "canary+secret", "canary%2Bsecret", "YXBwOmNhbmFyeSUyQnNlY3JldA=="]
        {
            assert!(carried.secrets.found_in(secret.as_bytes()), "{secret}");
        }
    }
    let [asked] = world.server.seen().try_into().unwrap();
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&scope=read+write&resource=https%3A%2F%2Fcrm.example%2Fapi"
    );
    assert_eq!(asked.headers[header::AUTHORIZATION], "Basic YXBwOmNhbmFyeSUyQnNlY3JldA==");
    assert_eq!(asked.headers[header::ACCEPT], "application/json");
    // An hour, less a minute.
    world.clock.advance(Duration::from_secs(3_539));
    assert_eq!(
        shown(&keys.of(&scope, &upstream).await.unwrap()),
        "authorization: Bearer token-app-0"
    );
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        shown(&keys.of(&scope, &upstream).await.unwrap()),
        "authorization: Bearer token-app-1"
    );
    // A changed secret, without a restart.
    world.set(&scope, None, "app2:canary-2").await;
    assert_eq!(
        shown(&keys.of(&scope, &upstream).await.unwrap()),
        "authorization: Bearer token-app2-2"
    );
    world.credentials.of(&scope).remove(&upstream.id, None).await.unwrap();
    assert!(matches!(keys.of(&scope, &upstream).await, Err(Error::NoCredential(_))));
}

#[tokio::test]
async fn nobody_gets_anothers_token() {
    let world = World::new().await;
    let upstream = world.client();
    let keys = world.keys(&upstream);
    let mut scopes = Vec::new();
    for tenant in ["acme", "globex"] {
        for environment in ["live", "staging"] {
            let scope = world.kit.scope(tenant, environment).await;
            let whose = format!("{tenant}-{environment}");
            world.set(&scope, None, &format!("{whose}:secret-of-{whose}")).await;
            scopes.push((scope, whose));
        }
    }
    // A workflow of its own, in one of them.
    let refunds = world.kit.scope_for("acme", "live", "refunds").await;
    world.set(&refunds, Some("refunds"), "acme-refunds:secret-of-refunds").await;
    scopes.push((refunds, "acme-refunds".to_owned()));
    for _ in 0..2 {
        for (scope, whose) in &scopes {
            let carried = shown(&keys.of(scope, &upstream).await.unwrap());
            let expected = format!("authorization: Bearer token-{whose}-");
            assert!(carried.starts_with(&expected), "{whose}: {carried}");
        }
    }
    assert_eq!(world.server.count(), scopes.len());
}

#[tokio::test]
async fn those_who_ask_at_once_ask_once() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.client();
    let keys = world.keys(&upstream);
    world.set(&scope, None, "app:canary-secret").await;
    world.server.inside.turns.forget_permits(1_000);
    let callers = (0..32).map(|_| keys.of(&scope, &upstream));
    let (carried, ()) = tokio::join!(join_all(callers), async {
        world.server.until_asked(1).await;
        world.server.inside.turns.add_permits(1_000);
    });
    for carried in carried {
        assert_eq!(shown(&carried.unwrap()), "authorization: Bearer token-app-0");
    }
    assert_eq!(world.server.count(), 1);
}

#[tokio::test]
async fn a_failure_is_remembered_for_longer_and_longer() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.client();
    let keys = world.keys(&upstream);
    world.set(&scope, None, "app:canary-secret").await;
    let refused = r#"{"error":"invalid_client","error_description":"not app:canary-secret"}"#;
    world.server.say(move |_, _| (401, Vec::new(), refused.to_owned()));
    let mut asked = 0;
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        asked += 1;
        for _ in 0..3 {
            let answer = keys.of(&scope, &upstream).await;
            let told = format!("{answer:?}");
            assert!(!told.contains("canary"), "{told}");
            assert!(why(answer).contains("does not know the client"));
            assert_eq!(world.server.count(), asked, "{seconds}");
        }
        world.clock.advance(Duration::from_secs(seconds) - Duration::from_millis(1));
        keys.of(&scope, &upstream).await.unwrap_err();
        assert_eq!(world.server.count(), asked, "{seconds}");
        world.clock.advance(Duration::from_millis(1));
    }
    // Another secret is asked with at once; so is another tenant's.
    keys.of(&scope, &upstream).await.unwrap_err();
    world.server.say(|n, seen| json(&format!("token-{}-{n}", seen.client())));
    world.set(&scope, None, "app:canary-new").await;
    assert!(shown(&keys.of(&scope, &upstream).await.unwrap()).contains("token-app-"));
}

#[tokio::test]
async fn a_refresh_token_that_is_replaced_is_kept_before_the_token_is_used() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.refresh();
    let keys = world.keys(&upstream);
    let first = world.set(&scope, None, "app:canary-secret:refresh-one").await;
    world.server.say(|n, seen| {
        with_refresh(&format!("access-for{}", after_refresh(seen)), &format!("refresh:{n}"))
    });
    let carried = keys.of(&scope, &upstream).await.unwrap();
    assert_eq!(shown(&carried), "authorization: Bearer access-for-one");
    assert_eq!(world.stored(&scope).await, "app:canary-secret:refresh:0");
    assert!(carried.version > first);
    for secret in ["access-for-one", "refresh-one", "refresh:0", "canary-secret"] {
        assert!(carried.secrets.found_in(secret.as_bytes()), "{secret}");
    }
    assert_eq!(keys.of(&scope, &upstream).await.unwrap().version, carried.version);
    assert_eq!(world.server.seen()[0].body, "grant_type=refresh_token&refresh_token=refresh-one");
    // After a restart nothing is remembered but what is in the vault.
    let keys = world.keys(&upstream);
    let carried = keys.of(&scope, &upstream).await.unwrap();
    assert_eq!(shown(&carried), "authorization: Bearer access-for%3A0");
    assert_eq!(world.stored(&scope).await, "app:canary-secret:refresh:1");
    world.clock.advance(Duration::from_secs(3_600));
    keys.of(&scope, &upstream).await.unwrap();
    assert_eq!(world.server.count(), 3);
    assert!(world.server.seen()[2].body.ends_with("refresh%3A1"));
    // A public client says who it is in the body.
    world.set(&scope, None, "public::refresh-two").await;
    world.server.say(|_, _| with_refresh("access-for-public", "refresh-three"));
    keys.of(&scope, &upstream).await.unwrap();
    let last = world.server.seen().pop().unwrap();
    assert!(!last.headers.contains_key(header::AUTHORIZATION));
    assert!(last.body.ends_with("&client_id=public"), "{}", last.body);
    assert_eq!(world.stored(&scope).await, "public::refresh-three");
}

/// Whoever asked is gone when the answer comes: it is the only copy of the next refresh token.
#[tokio::test]
async fn a_caller_who_hangs_up_loses_no_refresh_token() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.refresh();
    let keys = world.keys(&upstream);
    world.set(&scope, None, "app:canary-secret:refresh-one").await;
    world.server.say(|n, _| with_refresh(&format!("access-{n}"), &format!("refresh-{n}")));
    world.server.inside.turns.forget_permits(1_000);
    tokio::select! {
        biased;
        _ = keys.of(&scope, &upstream) => panic!("nobody answered"),
        () = world.server.until_asked(1) => {}
    }
    world.server.inside.turns.add_permits(1_000);
    let carried = keys.of(&scope, &upstream).await.unwrap();
    assert_eq!(shown(&carried), "authorization: Bearer access-0");
    assert_eq!(world.stored(&scope).await, "app:canary-secret:refresh-0");
    assert_eq!(world.server.count(), 1);
}

/// What a person did meanwhile is not undone by an answer that comes late.
#[tokio::test]
async fn a_credential_that_was_set_or_removed_meanwhile_stays_so() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.refresh();
    for removed in [false, true] {
        let keys = world.keys(&upstream);
        world.set(&scope, None, &format!("app:canary:refresh-before-{removed}")).await;
        world.server.say(|_, seen| {
            let shown = after_refresh(seen);
            with_refresh(&format!("access-for{shown}"), &format!("refresh{shown}-next"))
        });
        let (before, permits) =
            (world.server.count(), world.server.inside.turns.available_permits());
        world.server.inside.turns.forget_permits(permits);
        let (carried, ()) = tokio::join!(keys.of(&scope, &upstream), async {
            world.server.until_asked(before + 1).await;
            match removed {
                true => {
                    world.credentials.of(&scope).remove(&upstream.id, None).await.unwrap();
                }
                false => {
                    world.set(&scope, None, "app:canary:refresh-by-hand").await;
                }
            }
            world.server.inside.turns.add_permits(1_000);
        });
        if removed {
            assert!(matches!(carried, Err(Error::NoCredential(_))), "{carried:?}");
            let wallet = world.credentials.of(&scope);
            assert!(wallet.get(&upstream.id, None).await.unwrap().is_none());
        } else {
            let carried = shown(&carried.unwrap());
            assert_eq!(carried, "authorization: Bearer access-for-by-hand");
            assert_eq!(world.stored(&scope).await, "app:canary:refresh-by-hand-next");
        }
    }
}

#[tokio::test]
async fn a_token_that_the_upstream_refuses_is_made_anew_once() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.client();
    let keys = world.keys(&upstream);
    world.set(&scope, None, "app:canary-secret").await;
    let old = keys.of(&scope, &upstream).await.unwrap();
    world.clock.advance(Duration::from_secs(600));
    // Several calls carried it; the first to say so is enough.
    assert!(keys.reject(&scope, &upstream, &old).await);
    let new = keys.of(&scope, &upstream).await.unwrap();
    assert_eq!(shown(&new), "authorization: Bearer token-app-1");
    for _ in 0..3 {
        assert!(keys.reject(&scope, &upstream, &old).await);
        assert_eq!(shown(&keys.of(&scope, &upstream).await.unwrap()), shown(&new));
    }
    // The new one is refused as well: it is not that it became old.
    assert!(!keys.reject(&scope, &upstream, &new).await);
    assert!(why(keys.of(&scope, &upstream).await).contains("refuses the tokens"));
    assert_eq!(world.server.count(), 2);
    world.clock.advance(Duration::from_secs(5));
    let third = keys.of(&scope, &upstream).await.unwrap();
    assert!(!keys.reject(&scope, &upstream, &third).await);
    world.clock.advance(Duration::from_secs(9));
    why(keys.of(&scope, &upstream).await);
    assert_eq!(world.server.count(), 3);
}

#[tokio::test]
async fn whatever_a_token_server_says_no_secret_leaves_and_no_other_place_is_asked() {
    let world = World::new().await;
    let scope = world.acme().await;
    let elsewhere = Server::new().await;
    let location = || vec![("location", elsewhere.url.clone())];
    let huge =
        format!(r#"{{"access_token":"t","token_type":"bearer","x":"{}"}}"#, "x".repeat(70_000));
    let twice = r#"{"access_token":"a","token_type":"bearer","access_token":"b"}"#;
    let echo = |what: &str| format!(r#"{{"access_token":"{what}","token_type":"bearer"}}"#);
    let absurd = r#"{"access_token":"a","token_type":"bearer","expires_in":-1}"#;
    let cases: Vec<(Said, &str)> = vec![
        ((302, location(), String::new()), "redirect"),
        ((307, location(), String::new()), "redirect"),
        ((308, location(), String::new()), "redirect"),
        ((200, Vec::new(), huge), "64 KiB"),
        ((200, Vec::new(), twice.to_owned()), "twice"),
        ((200, Vec::new(), absurd.to_owned()), "expires_in"),
        ((200, Vec::new(), echo("canary-secret")), "credential itself"),
        ((200, Vec::new(), echo("x.Y2FuYXJ5LXNlY3JldA.y")), "credential itself"),
        ((200, Vec::new(), echo("refresh-canary")), "credential itself"),
        ((200, Vec::new(), echo("a\\r\\nx-tenant: globex")), "cannot be one"),
        ((200, Vec::new(), "canary-secret".to_owned()), "not JSON"),
        ((204, Vec::new(), String::new()), "failed"),
        ((400, Vec::new(), r#"{"error":"invalid_grant"}"#.to_owned()), "refresh token"),
        ((400, Vec::new(), r#"{"error":"canary-secret"}"#.to_owned()), "refused"),
        ((403, Vec::new(), "canary-secret".to_owned()), "refused"),
        ((429, Vec::new(), String::new()), "too often"),
        ((500, Vec::new(), "canary-secret".to_owned()), "failed"),
    ];
    let upstream = world.refresh();
    for (n, (said, part)) in cases.into_iter().enumerate() {
        let keys = world.keys(&upstream);
        world.set(&scope, None, &format!("app{n}:canary-secret:refresh-canary")).await;
        world.server.say(move |_, _| said.clone());
        let answer = keys.of(&scope, &upstream).await;
        let told = format!("{answer:?} {}", answer.as_ref().unwrap_err());
        assert!(!told.contains("canary"), "{told}");
        assert!(why(answer).contains(part), "{part}: {told}");
    }
    assert_eq!(elsewhere.count(), 0);
    assert!(world.server.seen().iter().all(|seen| seen.path == "/token"));
}

/// A token server behind a cache that looks at the path alone.
#[tokio::test]
async fn a_token_that_somebody_else_has_is_not_used() {
    let world = World::new().await;
    let upstream = world.client();
    let keys = world.keys(&upstream);
    let (acme, globex) = (world.acme().await, world.kit.scope("globex", "live").await);
    world.set(&acme, None, "acme:canary-secret-1").await;
    world.set(&globex, None, "globex:canary-secret-2").await;
    world.server.say(|_, _| json("one-for-all"));
    assert_eq!(
        shown(&keys.of(&acme, &upstream).await.unwrap()),
        "authorization: Bearer one-for-all"
    );
    assert!(why(keys.of(&globex, &upstream).await).contains("somebody else has"));
    assert!(keys.of(&acme, &upstream).await.is_ok());
}

/// The next refresh token cannot be written: it is not lost, and nothing is used before it is.
#[tokio::test]
async fn what_could_not_be_written_is_written_before_anything_is_asked() {
    let world = World::new().await;
    let scope = world.acme().await;
    let upstream = world.refresh();
    let keys = world.keys(&upstream);
    world.set(&scope, None, "app:canary-secret:refresh-one").await;
    world.server.say(|n, _| with_refresh(&format!("access-{n}"), &format!("refresh-{n}")));
    let wallet = world.credentials.of(&scope);
    // It can be read from memory.
    assert!(wallet.get(&upstream.id, scope.workflow()).await.unwrap().is_some());
    world.store.close().await.unwrap();
    assert!(keys.of(&scope, &upstream).await.is_err());
    assert_eq!(world.server.count(), 1);
    for _ in 0..3 {
        assert!(keys.of(&scope, &upstream).await.is_err());
    }
    assert_eq!(world.server.count(), 1);
}
