//! What is in doubt: kept for operators, bounded, and never dropped.

use bulkhead_reviews::{Doubtful, Error, QUARANTINE, Settings, State};
use ids::{Clock as _, OsEntropy, RandomId};
use scope::{Scope, Write};
use store::{File, Range};

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
    let mut world = World::with(Settings { quarantine: 2, ..Settings::default() }).await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let mut kept = Vec::new();
    for (n, scope) in [&acme, &globex].into_iter().enumerate() {
        let thing = doubtful(u32::try_from(n).unwrap());
        kept.push(world.reviews.quarantine(scope, thing).await.unwrap());
    }
    for scope in [&acme, &globex] {
        let full = world.reviews.quarantine(scope, doubtful(9)).await;
        assert!(matches!(full, Err(Error::QuarantineFull(2))), "{full:?}");
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
async fn one_tenant_does_not_fill_it_for_others_nor_one_environment_for_its_tenant() {
    // Three for a tenant, two for an environment.
    let world = World::with(Settings { quarantine: 12, ..Settings::default() }).await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    let put = async |scope: &Scope<Write>| world.reviews.quarantine(scope, doubtful(1)).await;
    put(&acme).await.unwrap();
    let id = put(&acme).await.unwrap();
    let full = put(&acme).await;
    assert!(matches!(full, Err(Error::QuarantineFull(2))), "{full:?}");
    put(&staging).await.unwrap();
    let full = put(&staging).await;
    assert!(matches!(full, Err(Error::QuarantineFull(3))), "{full:?}");
    put(&globex).await.unwrap();
    // Room is made where it was taken.
    world.reviews.settle(&system(), id, "operator:ada", "seen").await.unwrap();
    put(&acme).await.unwrap();
    assert!(put(&staging).await.is_err());
}

#[tokio::test]
async fn bytes_are_shared_as_things_are() {
    let large = || Doubtful { payload: vec![b'x'; 20_000], ..doubtful(1) };
    let settings = Settings { quarantine_bytes: 8 * 50_000, ..Settings::default() };
    let world = World::with(settings).await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let put = async |scope: &Scope<Write>| world.reviews.quarantine(scope, large()).await;
    let first = put(&acme).await.unwrap();
    put(&acme).await.unwrap();
    let full = put(&acme).await;
    assert!(matches!(full, Err(Error::QuarantineFull(2))), "{full:?}");
    // Something small has room still, and others have all of theirs.
    world.reviews.quarantine(&acme, doubtful(1)).await.unwrap();
    put(&globex).await.unwrap();
    put(&globex).await.unwrap();
    world.reviews.settle(&system(), first, "operator:ada", "seen").await.unwrap();
    put(&acme).await.unwrap();
    assert!(put(&acme).await.is_err());
}

#[tokio::test]
async fn its_last_quarter_is_for_who_has_little_in_it() {
    // Two for a tenant, one for an environment.
    let world = World::with(Settings { quarantine: 8, ..Settings::default() }).await;
    for tenant in ["initech", "hooli", "umbrella"] {
        world.kit.registry.add_tenant(tenant, &["live", "staging"], world.clock.now());
    }
    let put = async |tenant: &str, environment: &str| {
        let scope = world.kit.scope(tenant, environment).await;
        world.reviews.quarantine(&scope, doubtful(1)).await
    };
    for tenant in ["acme", "globex", "initech"] {
        put(tenant, "live").await.unwrap();
        put(tenant, "staging").await.unwrap();
    }
    put("hooli", "live").await.unwrap();
    let full = put("hooli", "staging").await;
    assert!(matches!(full, Err(Error::QuarantineFull(1))), "{full:?}");
    put("umbrella", "live").await.unwrap();
}

/// In that lane of the store everybody's writes wait.
#[tokio::test]
async fn what_has_no_room_does_not_reach_the_store() {
    let world = World::with(Settings { quarantine: 8, ..Settings::default() }).await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    world.reviews.quarantine(&acme, doubtful(1)).await.unwrap();
    let writes = || world.store.figures(File::State).writes;
    let before = writes();
    for _ in 0..5 {
        let large = Doubtful { payload: vec![b'x'; 4 << 20], ..doubtful(1) };
        let full = world.reviews.quarantine(&acme, large).await;
        assert!(matches!(full, Err(Error::QuarantineFull(1))), "{full:?}");
    }
    assert_eq!(writes(), before);
    world.reviews.quarantine(&globex, doubtful(1)).await.unwrap();
    assert!(writes() > before);
}

#[tokio::test]
async fn a_few_of_one_tenants_are_on_their_way_in_at_once() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    let put = |scope| world.reviews.quarantine(scope, doubtful(1));
    for _ in 0..2 {
        let all = tokio::join!(
            put(&acme),
            put(&staging),
            put(&acme),
            put(&staging),
            put(&acme),
            put(&staging),
            put(&globex),
        );
        let (one, two, three, four, five, six, others) = all;
        for taken in [one, two, three, four, others] {
            taken.unwrap();
        }
        for late in [five, six] {
            assert!(matches!(late, Err(Error::Store(store::Error::Busy))), "{late:?}");
        }
    }
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
