use std::time::Duration;

use bulkhead_records::{AUDIT, AUDIT_HEAD, AUDIT_NOTES, Audit, AuditEntry};
use scope::{AuditSink as _, Entry, Scope, Status, Write};

use super::world::{World, intact, system};

async fn flood(audit: &Audit, scope: &Scope<Write>, code: &str, times: usize) {
    let denied = || Entry::denied(scope.actor(), "hop.denied", "gpt-5", code);
    let all = (0..times).map(|_| audit.record(scope, denied()));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
}

/// How many denials the log tells of, and in how many entries.
async fn told(audit: &Audit, scope: &Scope<Write>, code: &str) -> (u64, usize) {
    let entries = audit.of(scope).list(0, 10_000).await.unwrap();
    let of_code: Vec<_> = entries
        .into_iter()
        .filter_map(|AuditEntry { entry, .. }| entry)
        .filter(|entry| entry.code.as_deref() == Some(code))
        .collect();
    let counts = of_code.iter().map(|entry| match entry.action.as_str() {
        "denials.summary" => entry.detail["count"].parse().unwrap(),
        _ => 1,
    });
    (counts.sum(), of_code.len())
}

#[tokio::test]
async fn a_flood_of_denials_is_few_entries_with_the_exact_count() {
    let world = World::new().await;
    let audit = world.audit().await;
    flood(&audit, &world.acme, "policy.denied", 10_000).await;
    flood(&audit, &world.acme, "scope.grant", 61).await;
    flood(&audit, &world.globex, "policy.denied", 3).await;
    audit.settle().await.unwrap();
    assert_eq!(told(&audit, &world.acme, "policy.denied").await, (60, 60), "the minute runs");
    world.clock.advance(Duration::from_secs(60));
    audit.settle().await.unwrap();
    assert_eq!(told(&audit, &world.acme, "policy.denied").await, (10_000, 61));
    assert_eq!(told(&audit, &world.acme, "scope.grant").await, (61, 61));
    assert_eq!(told(&audit, &world.globex, "policy.denied").await, (3, 3));

    // The next minute begins anew; what it leaves over is told at shutdown.
    flood(&audit, &world.acme, "policy.denied", 100).await;
    audit.close().await.unwrap();
    assert_eq!(told(&audit, &world.acme, "policy.denied").await, (10_100, 122));
    assert!(intact(audit.of(&world.acme).verify().await.unwrap()).notes >= 1);
    audit.close().await.unwrap();
    assert_eq!(told(&audit, &world.acme, "policy.denied").await, (10_100, 122), "told once");
}

#[tokio::test]
async fn the_deployments_own_denials_are_bounded_too() {
    let world = World::new().await;
    let audit = world.audit().await;
    for _ in 0..500 {
        let entry = Entry::denied("unknown", "operator.authenticate", "x", "scope.unknown");
        audit.record_deployment(&system(), entry).await.unwrap();
    }
    audit.close().await.unwrap();
    let log = audit.of_deployment(&system()).list(0, 1_000).await.unwrap();
    assert_eq!(log.len(), 61);
    assert_eq!(log[60].entry.as_ref().unwrap().detail["count"], "440");
}

#[tokio::test]
async fn allowed_entries_are_never_summed_up() {
    let world = World::new().await;
    let audit = world.audit().await;
    super::world::fill(&audit, &world.acme, 200).await;
    assert_eq!(audit.of(&world.acme).list(0, 1_000).await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_count_that_cannot_be_written_waits() {
    let world = World::new().await;
    let audit = world.audit().await;
    flood(&audit, &world.acme, "policy.denied", 100).await;
    world.clock.advance(Duration::from_secs(60));
    world.store.close().await.unwrap();
    for _ in 0..2 {
        assert_eq!(audit.settle().await.unwrap_err().code(), "store.closed");
    }
}

#[tokio::test]
async fn nothing_comes_back_after_an_erasure() {
    let world = World::new().await;
    let audit = world.audit().await;
    flood(&audit, &world.acme, "policy.denied", 100).await;
    world.kit.change("acme", |record| record.status = Status::Erased).await;
    world.store.of(&world.acme).erase_all().await.unwrap();
    world.vault.shred(&world.acme).await.unwrap();
    // A hop that was under way is refused.
    flood(&audit, &world.acme, "scope.revoked", 100).await;
    let entry = Entry::allowed("bulkhead", "tenant.change", "acme");
    assert!(audit.record(&world.acme, entry).await.is_err(), "nothing seals it");
    world.clock.advance(Duration::from_secs(60));
    audit.settle().await.unwrap();
    audit.close().await.unwrap();
    assert!(audit.of(&world.acme).list(0, 10).await.unwrap().is_empty());
    for table in [AUDIT, AUDIT_HEAD, AUDIT_NOTES] {
        assert_eq!(world.store.of(&world.acme).usage(table).await.unwrap().rows, 0, "{table:?}");
    }
    assert!(world.vault.data_key_versions(&world.acme).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_minute_is_summed_up_without_anybody_asking() {
    let world = World::new().await;
    let audit = world.audit().await;
    flood(&audit, &world.acme, "policy.denied", 100).await;
    world.clock.advance(Duration::from_secs(60));
    // The runtime's clock is virtual, the disk's is not.
    let since = std::time::Instant::now();
    while told(&audit, &world.acme, "policy.denied").await != (100, 61) {
        assert!(since.elapsed() < testkit::PATIENCE, "nobody summed up");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_days_denials_are_bounded() {
    let world = World::new().await;
    let audit = world.audit().await;
    audit.hold_denials_to(100);
    for _ in 0..10 {
        flood(&audit, &world.acme, "policy.denied", 50).await;
        world.clock.advance(Duration::from_secs(60));
    }
    flood(&audit, &world.globex, "policy.denied", 3).await;
    audit.close().await.unwrap();
    assert_eq!(told(&audit, &world.acme, "policy.denied").await, (500, 101));
    assert_eq!(told(&audit, &world.globex, "policy.denied").await, (3, 3));
}

/// As long as an erasure waits for a reader, its tenant is suspended and not yet erased.
#[tokio::test]
async fn nothing_comes_back_while_an_erasure_goes_on() {
    let world = World::new().await;
    let audit = world.audit().await;
    flood(&audit, &world.acme, "policy.denied", 100).await;
    world.kit.change("acme", |record| record.status = Status::Suspended).await;
    world.vault.shred(&world.acme).await.unwrap();
    world.store.of(&world.acme).erase_all().await.unwrap();
    flood(&audit, &world.acme, "scope.suspended", 100).await;
    let entry = Entry::allowed("bulkhead", "tenant.change", "acme");
    assert!(audit.record(&world.acme, entry).await.is_err(), "nothing seals it");
    world.clock.advance(Duration::from_secs(60));
    audit.settle().await.unwrap();
    audit.close().await.unwrap();
    for table in [AUDIT, AUDIT_HEAD, AUDIT_NOTES] {
        assert_eq!(world.store.of(&world.acme).usage(table).await.unwrap().rows, 0, "{table:?}");
    }
}
