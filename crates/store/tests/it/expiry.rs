use std::time::Duration;

use bulkhead_store::{Depth, Error, File, Range, Usage};
use ids::Clock;

use super::world::{EVENTS, THINGS, World, system};

#[tokio::test]
async fn an_expired_row_is_not_there_and_the_sweep_removes_it() {
    let world = World::new().await;
    let store = world.open();
    let (acme, globex) = (world.acme().await, world.globex().await);
    let minute = world.clock.now().plus(Duration::from_secs(60));
    for scope in [&acme, &globex] {
        let view = store.of(scope);
        view.put_until(THINGS, b"short", b"value", minute).await.unwrap();
        view.put_until(EVENTS, b"short", b"value", minute).await.unwrap();
        view.put(THINGS, b"stays", b"value").await.unwrap();
        view.put_until(THINGS, b"renewed", b"value", minute).await.unwrap();
        view.put_until(THINGS, b"renewed", b"value", minute.plus(Duration::from_millis(1)))
            .await
            .unwrap();
        view.put_until(THINGS, b"kept", b"value", minute).await.unwrap();
        view.put(THINGS, b"kept", b"value").await.unwrap();
    }
    let view = store.of(&acme);
    let before = view.usage(THINGS).await.unwrap();
    assert_eq!(store.sweep(&system()).await.unwrap(), Usage::default());

    world.clock.set(minute);
    assert_eq!(view.get(THINGS, b"short").await.unwrap(), None);
    let there = view.write(File::Core, 0, |txn| {
        assert_eq!(txn.get(THINGS, b"short")?, None);
        Ok::<_, Error>(txn.scan(THINGS, &Range::all())?.len())
    });
    assert_eq!(there.await.unwrap(), 3);
    let keys: Vec<_> =
        view.scan(THINGS, Range::all()).await.unwrap().into_iter().map(|r| r.0).collect();
    assert_eq!(keys, ["kept", "renewed", "stays"]);
    assert_eq!(view.usage(THINGS).await.unwrap(), before, "not swept yet");
    assert!(!view.delete(EVENTS, b"short").await.unwrap(), "it was not there any more");

    // "short" and its value, in globex's two files and acme's one.
    let row = 5 + 16 + 5;
    assert_eq!(store.sweep(&system()).await.unwrap(), Usage { rows: 3, bytes: 3 * row });
    assert_eq!(view.usage(THINGS).await.unwrap().rows, 3);
    assert_eq!(view.usage(EVENTS).await.unwrap(), Usage::default());
    store.check_integrity(&system(), Depth::Full).await.unwrap();
}

#[tokio::test]
async fn the_sweep_goes_on_until_nothing_is_left() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    let soon = world.clock.now().plus(Duration::from_secs(1));
    let write = store.of(&acme).write(File::Core, 0, move |txn| {
        for n in 0..1_700u32 {
            txn.put_until(THINGS, &n.to_be_bytes(), b"", soon)?;
        }
        txn.put(THINGS, b"stays", b"")
    });
    write.await.unwrap();
    world.clock.set(soon);
    assert_eq!(store.sweep(&system()).await.unwrap().rows, 1_700);
    assert_eq!(store.of(&acme).usage(THINGS).await.unwrap().rows, 1);
}
