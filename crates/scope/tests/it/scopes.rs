use ids::Clock as _;

use crate::kit;

#[tokio::test]
async fn partitions_and_fingerprints_tell_units_apart() {
    let (kit, _) = kit().await;
    let scopes = [
        kit.scope_for("acme", "live", "a").await,
        kit.scope_for("acme", "live", "b").await,
        kit.scope_for("acme", "staging", "a").await,
        kit.scope_for("globex", "live", "a").await,
    ];
    for (i, one) in scopes.iter().enumerate() {
        for (j, two) in scopes.iter().enumerate() {
            let same_unit = one.tenant() == two.tenant() && one.environment() == two.environment();
            assert_eq!(one.partition_bytes() == two.partition_bytes(), same_unit, "{i} {j}");
            assert_eq!(one.fingerprint() == two.fingerprint(), i == j, "{i} {j}");
        }
    }
}

/// Incident `shared-env` (GitHub sessions, 2021): what a thread held last was taken for the
/// present request's.
#[tokio::test]
async fn a_spawned_task_keeps_its_scope() {
    let (kit, _) = kit().await;
    let scopes = [kit.scope("acme", "live").await, kit.scope("globex", "live").await];
    let mut tasks = Vec::new();
    for round in 0..200 {
        let scope = &scopes[round % 2];
        let meant = scope.tenant().clone();
        let task = scope.spawn(|scope| async move {
            tokio::task::yield_now().await;
            scope.tenant().clone()
        });
        tasks.push((meant, task));
    }
    for (meant, task) in tasks {
        assert_eq!(task.await.unwrap(), meant);
    }
    kit.doors.drained().await;
}

#[tokio::test]
async fn debug_output_holds_no_secret() {
    let (kit, clock) = kit().await;
    let token = kit.mint("acme", "live", "support").await;
    let scope = kit.authenticate(&token.secret).await.unwrap();
    let shown = format!("{scope:?} {:?}", scope.read_only());
    assert!(shown.starts_with("Scope(acme/live token:"), "{shown}");
    assert!(!shown.contains(&token.secret[..30]));
    assert!(scope.expires() > clock.now());
}
