use std::collections::BTreeSet;

use bulkhead_store::{Depth, Error, File, Range};
use ids::Clock;

use super::world::{OTHERS, THINGS, World, system};

/// Catches the planted bug `store-view-ignores-partition`.
#[tokio::test]
async fn one_key_has_a_value_for_each_tenant_and_environment() {
    let world = World::new().await;
    let (store, system) = (world.open(), system());
    let mut scopes = Vec::new();
    for tenant in ["acme", "globex"] {
        for environment in ["live", "staging"] {
            scopes.push(world.kit.scope(tenant, environment).await);
        }
    }
    let partitions: BTreeSet<_> = scopes.iter().map(bulkhead_store::Partition::of).collect();
    assert_eq!(partitions.len(), 4);

    for scope in &scopes {
        assert_eq!(store.of(scope).get(THINGS, b"key").await.unwrap(), None);
        let value = format!("{}/{}", scope.tenant(), scope.environment());
        store.of(scope).put(THINGS, b"key", value.as_bytes()).await.unwrap();
    }
    store.system(&system).put(THINGS, b"key", b"deployment").await.unwrap();

    for scope in &scopes {
        let own = format!("{}/{}", scope.tenant(), scope.environment());
        let reader = scope.read_only();
        let view = store.of(&reader);
        assert_eq!(view.get(THINGS, b"key").await.unwrap().unwrap(), own);
        let rows = view.scan(THINGS, Range::all()).await.unwrap();
        assert_eq!(rows, [("key".into(), own.clone().into())]);
        assert_eq!(view.usage(THINGS).await.unwrap().rows, 1);
        assert_eq!(view.get(OTHERS, b"key").await.unwrap(), None, "another table");
        let write = store.of(scope).write(File::Core, 0, |txn| {
            Ok::<_, Error>((txn.get(THINGS, b"key")?, txn.scan(THINGS, &Range::all())?))
        });
        let (got, scanned) = write.await.unwrap();
        assert_eq!((got.unwrap(), scanned.len()), (own.into(), 1));
    }

    assert!(store.of(&scopes[0]).delete(THINGS, b"key").await.unwrap());
    assert!(!store.of(&scopes[0]).delete(THINGS, b"key").await.unwrap());
    for scope in &scopes[1..] {
        assert!(store.of(scope).get(THINGS, b"key").await.unwrap().is_some());
    }
    assert!(store.system(&system).get(THINGS, b"key").await.unwrap().is_some());
    assert_eq!(store.foreign_rows(), 0);
}

/// Catches the planted bug `store-row-unchecked`.
#[tokio::test]
async fn a_row_under_the_wrong_partition_is_withheld_and_counted() {
    let world = World::new().await;
    let store = world.open();
    let (acme, globex) = (world.acme().await, world.globex().await);
    store.of(&acme).put(THINGS, b"secret", b"of acme").await.unwrap();
    store.of(&globex).put(THINGS, b"own", b"of globex").await.unwrap();
    world
        .raw(File::Core)
        .execute(
            "INSERT INTO rows SELECT ?2, tbl, key, val, expires FROM rows WHERE part = ?1",
            (acme.partition_bytes(), globex.partition_bytes()),
        )
        .unwrap();

    let view = store.of(&globex);
    let got = view.get(THINGS, b"secret").await;
    assert!(matches!(got, Err(Error::ForeignRow)), "{got:?}");
    assert_eq!(store.foreign_rows(), 1);
    let several = view.get_many(THINGS, vec![b"own".into(), b"secret".into()]).await;
    assert!(matches!(several, Err(Error::ForeignRow)), "{several:?}");
    let scanned = view.scan(THINGS, Range::all()).await;
    assert!(matches!(scanned, Err(Error::ForeignRow)), "{scanned:?}");
    let read = view.write(File::Core, 0, |txn| txn.get(THINGS, b"secret")).await;
    assert!(matches!(read, Err(Error::ForeignRow)), "{read:?}");
    assert_eq!(store.foreign_rows(), 4);

    // It does not keep them from what is theirs.
    let own = view.scan_own(THINGS, Range::all()).await.unwrap();
    assert_eq!(own, [("own".into(), Some("of globex".into())), ("secret".into(), None)]);
    assert_eq!(store.foreign_rows(), 5);

    // What is theirs is still there, and a thorough check finds the row.
    assert_eq!(view.get(THINGS, b"own").await.unwrap().unwrap(), "of globex");
    assert_eq!(store.of(&acme).get(THINGS, b"secret").await.unwrap().unwrap(), "of acme");
    store.check_integrity(&system(), Depth::Quick).await.unwrap();
    let checked = store.check_integrity(&system(), Depth::Full).await;
    assert!(matches!(checked, Err(Error::Corrupt { file: File::Core, .. })), "{checked:?}");
}

/// A few are read at once, many away from the tasks: both answer alike.
#[tokio::test]
async fn several_keys_are_read_in_their_order() {
    let world = World::new().await;
    let store = world.open();
    let (acme, globex) = (world.acme().await, world.globex().await);
    let view = store.of(&acme);
    let key = |n: usize| format!("key {n}").into_bytes();
    assert_eq!(view.get_many(THINGS, vec![key(1)]).await.unwrap(), [None], "no file yet");
    for n in 0..80 {
        view.put(THINGS, &key(n), n.to_string().as_bytes()).await.unwrap();
    }
    let soon = world.clock.now().plus(std::time::Duration::from_secs(1));
    view.put_until(THINGS, b"ends", b"soon", soon).await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(1));
    store.of(&globex).put(THINGS, b"theirs", b"of globex").await.unwrap();

    for many in [3, 80] {
        let mut keys: Vec<_> = (0..many).rev().map(key).collect();
        keys.extend([b"theirs".to_vec(), b"ends".to_vec(), key(0)]);
        let values = view.get_many(THINGS, keys).await.unwrap();
        let own = (0..many).rev().map(Some).chain([None, None, Some(0)]);
        let own: Vec<_> = own.map(|n| n.map(|n| n.to_string().into())).collect();
        assert_eq!(values, own);
    }
    let many = view.get_many(THINGS, vec![key(1); bulkhead_store::MAX_SCAN + 1]).await;
    assert!(matches!(many, Err(Error::TooLarge { .. })), "{many:?}");
}
