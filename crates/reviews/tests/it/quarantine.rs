//! What is in doubt: kept for operators, bounded, and never dropped.

use bulkhead_reviews::{Doubtful, Error, QUARANTINE, Settings, State};
use ids::{OsEntropy, RandomId};
use store::Range;

use super::world::{HOUR, World, system};

fn doubtful(n: u32) -> Doubtful {
    Doubtful {
        what: "crm.get".into(),
        upstream: Some("crm".parse().unwrap()),
        payload: format!("{{\"owner\":\"acct_{n}\"}}").into_bytes(),
        reason: "another owner".into(),
    }
}

#[tokio::test]
async fn a_thing_in_doubt_is_for_operators_alone() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let id = world.reviews.quarantine(&acme, doubtful(1)).await.unwrap();
    // Whoever's hop it turned up on cannot have it.
    let inbox = world.reviews.of(&acme);
    assert!(matches!(inbox.get(id).await, Err(Error::Missing)));
    assert!(inbox.list(None, 10).await.unwrap().is_empty());
    // People are told that there is one, and not on whose hop.
    let told = world.told.all();
    assert_eq!((told[0].id, &told[0].tenant), (id, &None));

    world.restart().await;
    let (doubt, thing) = world.reviews.doubtful(&system(), id).await.unwrap();
    assert_eq!(thing.unwrap(), doubtful(1).payload);
    assert_eq!((&doubt.tenant, doubt.review.state), (acme.tenant(), State::Open));
    let missing = world.reviews.doubtful(&system(), RandomId::draw(&OsEntropy)).await;
    assert!(matches!(missing, Err(Error::Missing)));

    // Under a tenant's own key it does not open either.
    let system = system();
    let view = world.store.system(&system);
    let rows = view.scan(QUARANTINE, Range::prefix("p")).await.unwrap();
    let place = vault::Place { surface: "quarantine-thing", key: id.as_bytes(), version: 0 };
    let opened = world.vault.of(&acme).open(&place, &rows[0].1).await;
    assert!(matches!(opened, Err(vault::Error::Foreign)));
}

#[tokio::test]
async fn a_full_quarantine_takes_nothing_in_and_lets_nothing_go() {
    let mut world = World::with(Settings { quarantine: 3, ..Settings::default() }).await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let mut kept = Vec::new();
    for (n, scope) in [&acme, &acme, &globex].into_iter().enumerate() {
        let thing = doubtful(u32::try_from(n).unwrap());
        kept.push(world.reviews.quarantine(scope, thing).await.unwrap());
    }
    for scope in [&acme, &globex] {
        let full = world.reviews.quarantine(scope, doubtful(9)).await;
        assert!(matches!(full, Err(Error::QuarantineFull(3))), "{full:?}");
    }
    // However long it lies there.
    world.clock.advance(HOUR * 24 * 400);
    world.restart().await;
    let _ = world.store.sweep(&system()).await.unwrap();
    for (n, id) in kept.iter().enumerate() {
        let (_, thing) = world.reviews.doubtful(&system(), *id).await.unwrap();
        assert_eq!(thing.unwrap(), doubtful(u32::try_from(n).unwrap()).payload);
    }
    // A person makes room.
    world.reviews.settle(&system(), kept[0], "operator:ada", "test data").await.unwrap();
    let acme = world.acme().await;
    world.reviews.quarantine(&acme, doubtful(4)).await.unwrap();
}

#[tokio::test]
async fn one_tenant_does_not_fill_it_for_all() {
    let world = World::with(Settings { quarantine: 4, ..Settings::default() }).await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    world.reviews.quarantine(&acme, doubtful(1)).await.unwrap();
    let id = world.reviews.quarantine(&acme, doubtful(2)).await.unwrap();
    let full = world.reviews.quarantine(&acme, doubtful(3)).await;
    assert!(matches!(full, Err(Error::QuarantineFull(2))), "{full:?}");
    world.reviews.quarantine(&globex, doubtful(4)).await.unwrap();
    world.reviews.settle(&system(), id, "operator:ada", "seen").await.unwrap();
    world.reviews.quarantine(&acme, doubtful(5)).await.unwrap();
}

#[tokio::test]
async fn what_is_settled_leaves_its_record() {
    let world = World::with(Settings { keep_days: 1, ..Settings::default() }).await;
    let acme = world.acme().await;
    let id = world.reviews.quarantine(&acme, doubtful(1)).await.unwrap();
    let other = world.reviews.quarantine(&acme, doubtful(2)).await.unwrap();
    let settled = world.reviews.settle(&system(), id, "operator:ada", "told globex").await.unwrap();
    assert_eq!(settled.review.state, State::Closed);
    assert_eq!(settled.review.decisions[0].by, "operator:ada");
    let again = world.reviews.settle(&system(), id, "operator:bob", "me too").await;
    assert!(matches!(again, Err(Error::Settled("closed"))), "{again:?}");
    let (doubt, thing) = world.reviews.doubtful(&system(), id).await.unwrap();
    assert_eq!((doubt, thing), (settled, None));
    let all = world.reviews.quarantined(&system(), None, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    let behind = world.reviews.quarantined(&system(), Some(all[0].review.id), 10).await.unwrap();
    assert_eq!(behind, all[1..]);
    world.clock.advance(HOUR * 24);
    let left = world.reviews.quarantined(&system(), None, 10).await.unwrap();
    assert_eq!(left.iter().map(|one| one.review.id).collect::<Vec<_>>(), [other]);
}
