use std::sync::atomic::{AtomicBool, Ordering};

use bulkhead_store::{Error, File, MAX_KEY, MAX_SCAN, MAX_VALUE, Options, Range, Store};
use futures_util::FutureExt;

use super::world::{EVENTS, Held, OTHERS, Pending, THINGS, World, system};

#[tokio::test]
async fn writes_that_wait_share_a_commit() {
    let world = World::new().await;
    let (store, system, acme) = (world.open(), system(), world.acme().await);
    let before = store.figures(File::Core);
    let (hold, held) = Held::new(&store, &system, File::Core);
    let mut pending = Pending::new();
    for n in 0..300u32 {
        let view = store.of(&acme);
        pending.push(async move { view.put(THINGS, &n.to_be_bytes(), b"value").await });
    }
    assert_eq!(store.figures(File::Core).waiting, 300);
    held.let_go();
    hold.await.unwrap();
    assert!(pending.all().await.into_iter().all(|put| put.is_ok()));
    let after = store.figures(File::Core);
    // The one that held, then 256 and 44.
    assert_eq!((after.commits - before.commits, after.writes - before.writes), (3, 301));
    assert_eq!(store.of(&acme).usage(THINGS).await.unwrap().rows, 300);
}

/// Catches the planted bug `store-failed-write-kept`.
#[tokio::test]
async fn a_write_that_fails_is_undone_and_others_are_kept() {
    #[derive(Debug, PartialEq)]
    enum Own {
        Store(&'static str),
        Refused,
    }
    impl From<Error> for Own {
        fn from(error: Error) -> Self {
            Self::Store(error.code())
        }
    }
    let world = World::new().await;
    let (store, system) = (world.open(), system());
    let (acme, globex) = (world.acme().await, world.globex().await);
    let view = store.of(&acme);
    view.put(THINGS, b"old", b"kept").await.unwrap();
    let before = store.figures(File::Core).commits;

    let (hold, held) = Held::new(&store, &system, File::Core);
    let mut pending: Pending<'_, Result<(), Own>> = Pending::new();
    pending.push(async { Ok(store.of(&globex).put(THINGS, b"1", b"one").await?) });
    pending.push(async {
        view.write(File::Core, 10, |txn| {
            txn.put(THINGS, b"half", b"done")?;
            assert!(txn.delete(THINGS, b"old")?);
            assert_eq!(txn.usage(THINGS)?.rows, 1);
            Err(Own::Refused)
        })
        .await
    });
    pending.push(async {
        view.write(File::Core, 10, |txn| {
            txn.put(THINGS, b"panic", b"half")?;
            panic!("on purpose")
        })
        .await
    });
    pending.push(async { Ok(view.put(THINGS, b"2", b"two").await?) });
    held.let_go();
    hold.await.unwrap();
    let ended = pending.all().await;
    assert_eq!(ended, [Ok(()), Err(Own::Refused), Err(Own::Store("internal")), Ok(())]);
    assert_eq!(store.figures(File::Core).commits - before, 2, "the four are one commit");

    let keys: Vec<_> =
        view.scan(THINGS, Range::all()).await.unwrap().into_iter().map(|r| r.0).collect();
    assert_eq!(keys, ["2", "old"]);
    assert_eq!(view.usage(THINGS).await.unwrap().rows, 2);
    assert!(store.of(&globex).get(THINGS, b"1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_transaction_sees_itself_and_nobody_sees_it_before_its_end() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    let view = store.of(&acme);
    view.put(OTHERS, b"count", &[1]).await.unwrap();
    let both = view.write(File::Core, 0, |txn| {
        let count = txn.get(OTHERS, b"count")?.unwrap()[0];
        txn.put(OTHERS, b"count", &[count + 1])?;
        txn.put(THINGS, b"a", b"1")?;
        txn.put(THINGS, b"b", b"22")?;
        assert!(txn.delete(THINGS, b"a")?);
        assert_eq!(txn.scan(THINGS, &Range::all())?.len(), 1);
        assert_eq!(txn.usage(OTHERS)?.rows, 1);
        Ok::<_, Error>(txn.get(OTHERS, b"count")?.unwrap()[0])
    });
    assert_eq!(both.await.unwrap(), 2);
    assert_eq!(view.get(OTHERS, b"count").await.unwrap().unwrap()[..], [2]);
}

#[tokio::test]
async fn scans_page_in_both_directions() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    let view = store.of(&acme);
    view.write(File::Core, 0, |txn| {
        for n in 0..100u8 {
            txn.put(THINGS, &[b'a', n], &[n])?;
            txn.put(THINGS, &[b'b', n], &[n])?;
        }
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    for reverse in [false, true] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let range = Range { prefix: b"b".to_vec(), after, limit: 7, reverse };
            let page = view.scan(THINGS, range).await.unwrap();
            after = page.last().map(|(key, _)| key.to_vec());
            seen.extend(page.iter().map(|(_, value)| value[0]));
            if page.len() < 7 {
                break;
            }
        }
        let expected: Vec<u8> = if reverse { (0..100).rev().collect() } else { (0..100).collect() };
        assert_eq!(seen, expected);
    }
    let from = view.scan(THINGS, Range::prefix("a").after([b'a', 90]).limit(3)).await.unwrap();
    assert_eq!(from.iter().map(|(key, _)| key[1]).collect::<Vec<_>>(), [91, 92, 93]);
}

#[tokio::test]
async fn bounds_are_refused_by_name() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    let view = store.of(&acme);
    view.put(THINGS, &[1; MAX_KEY], &vec![2; MAX_VALUE]).await.unwrap();
    assert_eq!(view.get(THINGS, &[1; MAX_KEY]).await.unwrap().unwrap().len(), MAX_VALUE);
    for (refused, expected) in [
        (view.put(THINGS, &[1; MAX_KEY + 1], b"").await, "a key of 1025 is over the bound of 1024"),
        (
            view.put(THINGS, b"k", &vec![0; MAX_VALUE + 1]).await,
            "a value of 16777217 is over the bound of 16777216",
        ),
        (
            view.scan(THINGS, Range::all().limit(MAX_SCAN + 1)).await.map(drop),
            "a scan of 10001 is over the bound of 10000",
        ),
        (
            view.write(File::Core, 0, |txn| txn.put(EVENTS, b"k", b"v")).await,
            "table events is not in the file of this write",
        ),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_written() {
    let world = World::new().await;
    let (store, system, acme) = (world.open(), system(), world.acme().await);
    let (hold, held) = Held::new(&store, &system, File::Core);
    {
        let view = store.of(&acme);
        let mut put = Box::pin(async move { view.put(THINGS, b"key", b"value").await });
        assert!((&mut put).now_or_never().is_none());
    }
    held.let_go();
    hold.await.unwrap();
    store.flush().await;
    assert!(store.of(&acme).get(THINGS, b"key").await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_lane_is_busy_and_others_are_not() {
    let world = World::new().await;
    let options = Options { lane_writes: 10, ..world.options() };
    let store = Store::open(&options, world.clock()).unwrap();
    let (system, acme, globex) = (system(), world.acme().await, world.globex().await);
    let (hold, held) = Held::new(&store, &system, File::Core);
    let mut pending = Pending::new();
    for n in 0..10u8 {
        let view = store.of(&acme);
        pending.push(async move { view.put(THINGS, &[n], b"").await });
    }
    let refused = store.of(&acme).put(THINGS, b"one more", b"").now_or_never();
    assert!(matches!(refused, Some(Err(Error::Busy))), "{refused:?}");
    pending.push(async { store.of(&globex).put(THINGS, b"key", b"").await });
    held.let_go();
    hold.await.unwrap();
    assert!(pending.all().await.into_iter().all(|put| put.is_ok()));
    assert_eq!(store.figures(File::Core).refused, 1);
    store.of(&acme).put(THINGS, b"now", b"").await.unwrap();
}

#[tokio::test]
async fn files_do_not_wait_for_each_other() {
    let world = World::new().await;
    let (store, system, acme) = (world.open(), system(), world.acme().await);
    let (hold, held) = Held::new(&store, &system, File::Core);
    store.of(&acme).put(EVENTS, b"key", b"value").await.unwrap();
    assert!(store.of(&acme).get(EVENTS, b"key").await.unwrap().is_some());
    held.let_go();
    hold.await.unwrap();
}

#[tokio::test]
async fn reads_do_not_wait_for_writes() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    let view = store.of(&acme);
    view.put(THINGS, b"key", b"before").await.unwrap();
    static READ: AtomicBool = AtomicBool::new(false);
    let write = view.write(File::Core, 0, |txn| {
        txn.put(THINGS, b"key", b"after")?;
        while !READ.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok::<_, Error>(())
    });
    let read = async {
        let rows = view.scan(THINGS, Range::all()).await.unwrap();
        assert_eq!(view.get(THINGS, b"key").await.unwrap().unwrap(), "before");
        assert_eq!(rows.len(), 1);
        READ.store(true, Ordering::SeqCst);
    };
    let (written, ()) = futures_util::join!(write, read);
    written.unwrap();
    assert_eq!(view.get(THINGS, b"key").await.unwrap().unwrap(), "after");
}
