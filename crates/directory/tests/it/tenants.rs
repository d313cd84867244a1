use std::{collections::BTreeSet, sync::Arc};

use bulkhead_directory::{Error, MAX_REVOKED, REVOCATION_MEMORY, Registry, TenantSpec};
use futures_util::future::join_all;
use ids::{Millis, OsEntropy, RandomId};
use scope::{Directory as _, Revoked, Status};

use super::world::{START, World, id, org, spec};

#[tokio::test]
async fn a_name_names_one_tenant() {
    let world = World::new().with(&["acme", "globex"]).await;
    let registry = &world.registry;
    for (new, code) in [
        (spec("acme", &["live"], &[]), "directory.exists"),
        (spec("initech", &["live"], &["org_acme"]), "directory.alias_taken"),
        (spec("initech", &["live"], &["globex"]), "directory.alias_taken"),
        (spec("org_acme", &["live"], &[]), "directory.alias_taken"),
        (spec("initech", &["live"], &["initech"]), "directory.invalid"),
        (spec("initech", &[], &[]), "directory.invalid"),
        (TenantSpec::of(id("initech")), "directory.invalid"),
        (
            TenantSpec { status: Some(Status::Erased), ..spec("initech", &["live"], &[]) },
            "directory.invalid",
        ),
    ] {
        let refused = registry.create_tenant(new.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{new:?}");
    }
    assert!(registry.find("initech").await.unwrap().is_none(), "nothing is left of a refusal");
    assert_eq!(registry.count().await.unwrap(), 2);
    for name in ["acme", "org_acme"] {
        assert_eq!(world.tenant(name).await.id, id("acme"));
    }
    for nobody in ["", "org_nobody", "ACME", "acme ", "a\0", "org_acme\0"] {
        assert!(registry.find(nobody).await.unwrap().is_none(), "{nobody:?}");
    }
    let missing = registry.change_tenant(TenantSpec::of(id("initech"))).await.unwrap_err();
    assert_eq!(missing.code(), "directory.missing");
}

#[tokio::test]
async fn one_of_many_gets_the_alias() {
    let world = World::new();
    let tries = (0..50).map(|i| {
        let registry = world.registry.clone();
        async move { registry.create_tenant(spec(&format!("t{i}"), &["live"], &["org_x"])).await }
    });
    let made: Vec<_> = join_all(tries).await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(world.registry.count().await.unwrap(), 1);
    assert_eq!(world.tenant("org_x").await.id, made[0].id);
}

#[tokio::test]
async fn an_epoch_only_rises() {
    let world = World::new().with(&["acme"]).await;
    let mut last = world.tenant("acme").await;
    assert_eq!(last.epoch, START.secs() - 3_600, "sessions from just before are good");
    let hour = 3_600_000;
    for clock in [0, 0, 1, 999, 1_000, 5_000, hour, 0, 0, 10 * hour, 1] {
        // In the same second, in the next, and with the clock set back.
        world.clock.set(Millis(START.0 + clock));
        let next = world.registry.revoke_all(&id("acme")).await.unwrap();
        assert!(next.epoch > last.epoch, "{} then {}", last.epoch, next.epoch);
        assert!(next.epoch >= ids::Clock::now(&*world.clock).secs());
        assert!(next.revision > last.revision);
        last = next;
    }
    world.clock.set(Millis(0));
    let world = world.reopen().await;
    assert!(world.registry.revoke_all(&id("acme")).await.unwrap().epoch > last.epoch);
}

#[tokio::test]
async fn status_is_changed_and_told_apart() {
    let world = World::new().with(&["acme"]).await;
    let registry = &world.registry;
    let before = world.tenant("acme").await;
    assert_eq!(registry.suspend(&id("acme")).await.unwrap().status, Status::Suspended);
    let again = registry.suspend(&id("acme")).await.unwrap();
    assert_eq!(again.revision, before.revision + 1, "the second changed nothing");
    assert_eq!(world.tenant("org_acme").await.status, Status::Suspended);
    assert_eq!(registry.resume(&id("acme")).await.unwrap().status, Status::Active);
    assert_eq!(world.tenant("acme").await.epoch, before.epoch, "credentials live on");
    assert_eq!(registry.suspend(&id("nobody")).await.unwrap_err().code(), "directory.missing");
}

#[tokio::test]
async fn an_erased_tenant_leaves_its_id_taken() {
    let world = World::new().with(&["acme", "globex"]).await;
    let registry = &world.registry;
    let before = world.tenant("acme").await;
    let erased = registry.erase_tenant(&id("acme")).await.unwrap();
    assert_eq!(erased.status, Status::Erased);
    assert!(erased.epoch > before.epoch && erased.aliases.is_empty());
    assert_eq!(registry.erase_tenant(&id("acme")).await.unwrap(), erased, "again is once");
    assert!(registry.find("org_acme").await.unwrap().is_none());
    for refused in [
        registry.create_tenant(spec("acme", &["live"], &[])).await,
        registry.create_tenant(spec("x", &["live"], &["acme"])).await,
        registry.change_tenant(TenantSpec::of(id("acme"))).await,
        registry.resume(&id("acme")).await,
        registry.revoke_all(&id("acme")).await,
        registry.erase_tenant(&id("nobody")).await,
    ] {
        refused.unwrap_err();
    }
    registry.create_tenant(spec("acme2", &["live"], &["org_acme"])).await.unwrap();
    assert_eq!(world.tenant("org_acme").await.id, id("acme2"));
}

#[tokio::test]
async fn revocations_are_kept_as_long_as_they_matter_and_bounded() {
    let world = World::new().with(&["acme", "globex"]).await;
    let registry = &world.registry;
    let (acme, any) = (id("acme"), || RandomId::draw(&OsEntropy));
    let held = async || world.tenant("acme").await.revoked;
    let token = any();
    registry.revoke(&acme, token, Millis(START.0 + 1)).await.unwrap();
    let before = world.tenant("acme").await;
    registry.revoke(&acme, token, START).await.unwrap();
    assert_eq!(world.tenant("acme").await, before, "again changes nothing");
    let until = START.plus(REVOCATION_MEMORY);
    assert_eq!(before.revoked, [Revoked { id: token, until }]);
    assert!(world.tenant("globex").await.revoked.is_empty());
    // A mandate written under that token may wait for 90 days.
    world.advance(90 * 24 * 3_600);
    registry.revoke(&acme, any(), START).await.unwrap();
    assert!(held().await.iter().any(|revoked| revoked.id == token));
    world.advance(REVOCATION_MEMORY.as_secs());
    registry.revoke(&acme, any(), START).await.unwrap();
    assert_eq!(held().await.len(), 1, "the others cannot matter any more");

    let fill = async |from: usize| {
        for some in (from..MAX_REVOKED).collect::<Vec<_>>().chunks(1_000) {
            let some = some.iter().map(|_| registry.revoke(&acme, any(), START));
            assert!(join_all(some).await.iter().all(Result::is_ok));
        }
        assert_eq!(held().await.len(), MAX_REVOKED);
        let full = registry.revoke(&acme, any(), START).await.unwrap_err();
        assert_eq!(full.code(), "directory.full");
        assert!(full.to_string().contains("revoke all"), "{full}");
    };
    fill(1).await;
    registry.revoke_all(&acme).await.unwrap();
    // Those expire, too.
    world.advance(REVOCATION_MEMORY.as_secs());
    registry.revoke(&acme, any(), START).await.unwrap();
    assert_eq!(held().await.len(), 1);
    registry.erase_tenant(&acme).await.unwrap();
    assert!(held().await.is_empty());
}

#[tokio::test]
async fn pages_through_a_thousand_tenants() {
    let world = World::new();
    let document = bulkhead_directory::Document {
        tenants: (0..1_234).map(|i| spec(&format!("t{i}"), &["live"], &[])).collect(),
    };
    let changes = world.registry.apply(document, Default::default()).await.unwrap();
    assert_eq!(changes.len(), 2 * 1_234, "created, and an environment each");
    for size in [1, 7, 100, 617, 1_000, 50_000] {
        let (mut seen, mut after, mut pages) = (BTreeSet::new(), None, 0);
        loop {
            let page = world.registry.tenants(after.as_deref(), size).await.unwrap();
            assert!(page.items.len() <= size.min(1_000));
            for tenant in page.items {
                assert!(seen.insert(tenant.id.to_string()), "{} twice", tenant.id);
            }
            pages += 1;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen.len(), 1_234, "in pages of {size}");
        assert!(pages >= 1_234 / size);
    }
}

#[tokio::test]
async fn all_epochs_rise_together() {
    let world = World::new();
    let tenants: Vec<_> =
        (0..2_500).map(|i| spec(&format!("t{i}"), &["live"], &[&format!("org_{i}")])).collect();
    let document = bulkhead_directory::Document { tenants };
    world.registry.apply(document, Default::default()).await.unwrap();
    world.registry.erase_tenant(&id("t7")).await.unwrap();
    let ahead = {
        // One whose epoch runs ahead of the clock.
        world.advance(10);
        let ahead = world.registry.revoke_all(&id("t9")).await.unwrap().epoch;
        world.clock.set(START);
        ahead
    };
    let mut before = std::collections::BTreeMap::new();
    for i in 0..2_500 {
        let record = world.tenant(&format!("t{i}")).await;
        before.insert(record.id.clone(), record.epoch);
    }
    assert_eq!(world.registry.bump_all_epochs().await.unwrap(), 2_500);
    for (tenant, epoch) in before {
        let now = world.tenant(tenant.as_str()).await.epoch;
        assert!(now > epoch && now >= START.secs(), "{tenant}: {epoch} then {now}");
    }
    assert_eq!(world.tenant("t9").await.epoch, ahead + 1);
}

#[tokio::test]
async fn what_is_written_is_there_after_a_restart() {
    let world = World::new().with(&["acme"]).await;
    let before = world.tenant("acme").await;
    let world = world.reopen().await;
    assert_eq!(world.tenant("acme").await, before);
    assert_eq!(world.tenant(&org("acme")).await, before);
}

/// Readers that never stop, and a writer: after a write has returned, nobody reads what was
/// there before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_look_up_answers_from_before_a_change() {
    let world = World::new().with(&["acme"]).await;
    let floor = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let order = std::sync::atomic::Ordering::SeqCst;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = ["acme", "org_acme", "acme", "org_acme"]
        .map(|name| {
            let (registry, floor, done) = (world.registry.clone(), floor.clone(), done.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let mut reads = 0_u64;
                while !done.load(order) {
                    let floor = floor.load(order);
                    let record = runtime.block_on(registry.tenant(name)).unwrap().unwrap();
                    assert!(record.revision >= floor, "{} after {floor}", record.revision);
                    reads += 1;
                }
                reads
            })
        })
        .into();
    for _ in 0..300 {
        let record = world.registry.revoke_all(&id("acme")).await.unwrap();
        floor.store(record.revision, order);
        let read = world.tenant("org_acme").await;
        assert_eq!(read, record);
    }
    done.store(true, order);
    let reads: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(reads.iter().all(|reads| *reads > 0), "{reads:?}");
}

/// Whoever stops waiting stops neither the write nor what follows from it.
#[tokio::test]
async fn a_change_is_forgotten_and_told_though_nobody_waits() {
    let world = World::new().with(&["acme"]).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    world.registry.listen(Box::new(move |tenant| {
        let tell = tell.clone();
        Box::pin(async move { tell.send(tenant).unwrap() })
    }));
    let before = world.tenant("acme").await;
    let acme = id("acme");
    {
        let revoking = world.registry.revoke_all(&acme);
        let mut revoking = Box::pin(revoking);
        // Polled once, so that it is begun, and dropped.
        let poll = futures_util::poll!(&mut revoking);
        assert!(poll.is_pending());
    }
    assert_eq!(told.recv().await.unwrap(), acme);
    assert!(world.tenant("acme").await.epoch > before.epoch);
}

#[tokio::test]
async fn a_full_store_fails_closed_and_changes_nothing() {
    let world = World::new().with(&["acme"]).await;
    let before = world.tenant("acme").await;
    world.store.close().await.unwrap();
    let refused = world.registry.revoke_all(&id("acme")).await.unwrap_err();
    assert!(matches!(refused, Error::Store(store::Error::Closed)), "{refused:?}");
    let looked = Registry::tenant(&world.registry, "acme").await;
    assert!(looked.is_err(), "not remembered past a change that failed");
    let world = world.reopen().await;
    assert_eq!(world.tenant("acme").await, before);
}
