use std::sync::Arc;

use bulkhead_records::{AUDIT, Audit};
use ids::{Clock as _, OsEntropy};
use scope::{AuditSink as _, Entry};

use super::world::{World, fill, intact, on_disk, system};

#[tokio::test]
async fn what_was_accepted_is_there_in_order_and_verifies() {
    let world = World::new().await;
    let audit = world.audit().await;
    let entry = Entry::denied(world.acme.actor(), "hop.denied", "gpt-5", "policy.denied")
        .because("a reason")
        .with("surface", "model");
    audit.record(&world.acme, entry.clone()).await.unwrap();
    fill(&audit, &world.acme, 600).await;

    let log = audit.of(&world.acme);
    let first = log.list(0, 1).await.unwrap();
    assert_eq!((first[0].seq, first[0].at), (1, Some(world.clock.now())));
    assert_eq!(first[0].entry.as_ref(), Some(&entry));
    let mut all = Vec::new();
    loop {
        let page = log.list(all.len() as u64, 250).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert!(all.iter().map(|entry| entry.seq).eq(1..=601));

    let verified = intact(log.verify().await.unwrap());
    assert_eq!((verified.entries, verified.through, verified.erased), (601, 601, 0));
    assert_eq!(verified.notes, 2, "a head is signed every 256 entries");
    assert!(!on_disk(&world, "canary reason"), "sealed");

    // The same after a restart, going on where it was.
    let again = world.audit().await;
    fill(&again, &world.acme, 1).await;
    assert_eq!(intact(again.of(&world.acme).verify().await.unwrap()).entries, 602);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_tenants_chains_never_mix() {
    let world = World::new().await;
    let audit = world.audit().await;
    let staging = world.kit.scope("acme", "staging").await;
    let units = [(&world.acme, 50), (&world.globex, 70), (&staging, 30)];
    futures_util::future::join_all(units.map(|(scope, n)| fill(&audit, scope, n))).await;
    audit
        .record_deployment(&system(), Entry::allowed("operator:ada", "backup", "x"))
        .await
        .unwrap();

    let mut origins = vec![audit.of_deployment(&system()).origin().to_owned()];
    for (scope, entries) in units {
        let log = audit.of(scope);
        assert_eq!(intact(log.verify().await.unwrap()).entries, entries);
        for entry in log.list(0, 1_000).await.unwrap() {
            assert_eq!(entry.entry.unwrap().actor, scope.actor().to_string());
        }
        origins.push(log.origin().to_owned());
    }
    origins.sort();
    origins.dedup();
    assert_eq!(origins.len(), 4);
    assert_eq!(intact(audit.of_deployment(&system()).verify().await.unwrap()).entries, 1);

    // Another's whole row, in the place of one's own.
    let key = 5_u64.to_be_bytes();
    let theirs = world.store.of(&world.globex).get(AUDIT, &key).await.unwrap().unwrap();
    world.store.of(&world.acme).put(AUDIT, &key, &theirs).await.unwrap();
    assert!(!audit.of(&world.acme).verify().await.unwrap().is_intact());
    assert!(audit.of(&world.acme).list(4, 1).await.is_err());
    assert!(audit.of(&world.globex).verify().await.unwrap().is_intact());
}

#[tokio::test]
async fn erasing_bodies_keeps_the_chain_verifying() {
    let world = World::new().await;
    let audit = world.audit().await;
    fill(&audit, &world.acme, 300).await;
    let before = audit.of(&world.acme).head().await.unwrap();
    assert_eq!(audit.erase_bodies(&world.acme).await.unwrap(), 300);
    fill(&audit, &world.acme, 3).await;

    let log = audit.of(&world.acme);
    let verified = intact(log.verify_since(&before.text).await.unwrap());
    assert_eq!((verified.entries, verified.erased, verified.notes), (304, 300, 1));
    let list = log.list(0, 1_000).await.unwrap();
    assert!(list[..300].iter().all(|entry| entry.entry.is_none() && entry.at.is_none()));
    assert_eq!(list[300].entry.as_ref().unwrap().action, "audit.bodies_erased");
    assert!(list[301..].iter().all(|entry| entry.entry.is_some()));

    // Once more, cut off or not, does what is left.
    assert_eq!(audit.erase_bodies(&world.acme).await.unwrap(), 3);
    assert_eq!(intact(log.verify().await.unwrap()).erased, 303);

    // And when the key is shredded on top, what says so is still readable.
    fill(&audit, &world.acme, 2).await;
    world.vault.shred(&world.acme).await.unwrap();
    let verified = intact(log.verify().await.unwrap());
    assert_eq!((verified.entries, verified.erased), (307, 305));
    let list = log.list(0, 1_000).await.unwrap();
    assert_eq!(list.iter().filter(|entry| entry.entry.is_some()).count(), 2);
    let forged = Entry::allowed("x", "audit.bodies_erased", "audit").with("through", 1_000);
    assert!(audit.record(&world.acme, forged).await.is_err(), "nobody else says so");
}

#[tokio::test]
async fn an_entry_that_cannot_be_written_is_an_error_that_the_caller_sees() {
    let world = World::on_disk_of(Some(64)).await;
    let audit = world.audit().await;
    let mut accepted = 0;
    let failed = loop {
        let entry = Entry::allowed("operator:ada", "tenant.change", "x".repeat(400));
        match audit.record(&world.acme, entry).await {
            Ok(()) => accepted += 1,
            Err(unavailable) => break unavailable.to_string(),
        }
        assert!(accepted < 10_000, "the disk never filled");
    };
    assert!(failed.contains("store.full"), "{failed}");
    assert!(accepted > 0);
    let log = audit.of(&world.acme);
    assert_eq!(intact(log.verify().await.unwrap()).entries, accepted, "each accepted one is there");
}

#[tokio::test]
async fn what_is_too_long_is_cut_and_still_verifies() {
    let world = World::new().await;
    let audit = world.audit().await;
    let mut entry = Entry::denied("ä".repeat(1_000), "a", "t".repeat(1 << 20), "scope.mismatch")
        .because("r".repeat(1 << 20));
    for n in 0..1_000 {
        entry = entry.with(&format!("{n}"), "v".repeat(1_000));
    }
    audit.record(&world.acme, entry).await.unwrap();
    let log = audit.of(&world.acme);
    let kept = log.list(0, 1).await.unwrap().remove(0).entry.unwrap();
    assert!(kept.target.len() < 600 && kept.reason.unwrap().len() < 2_100);
    assert_eq!(kept.detail.len(), 32);
    assert!(log.verify().await.unwrap().is_intact());
}

#[tokio::test]
async fn a_deployments_name_has_to_fit_into_a_note() {
    let world = World::new().await;
    let too_long = "x".repeat(64);
    for name in ["", "a b", "a+b", "a\nb", "a/b", &too_long] {
        let (clock, entropy) = (world.clock.clone(), Arc::new(OsEntropy));
        let opened = Audit::open(name, &world.store, &world.vault, clock, entropy).await;
        assert_eq!(opened.unwrap_err().code(), "config.invalid", "{name:?}");
    }
}
