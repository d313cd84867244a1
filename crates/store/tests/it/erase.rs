use bulkhead_store::{Depth, Error, File, Range, Store, Usage};
use scope::{Scope, Write};

use super::world::{EVENTS, Held, OTHERS, Pending, THINGS, World, system};

const CANARY: &[u8] = b"canary-of-acme";

/// Files of the data directory in which the canary stands, and how often.
fn found(world: &World, canary: &[u8]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(world.path()).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        let times = bytes.windows(canary.len()).filter(|window| *window == canary).count();
        if times > 0 {
            found.push((entry.file_name().into_string().unwrap(), times));
        }
    }
    found
}

/// Numbers that are the same in every run (xorshift64, G. Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound).unwrap()
    }
}

/// Writes, rewrites and deletes rows of all sizes, in cells and in overflow pages, so that
/// the tree is rebalanced again and again and rows move between pages of several owners.
async fn churn(store: &Store, scopes: &[(Scope<Write>, Vec<u8>)]) {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for _ in 0..900 {
        let (scope, canary) = &scopes[numbers.below(scopes.len() as u64)];
        let mut ops = Vec::new();
        for _ in 0..6 {
            let key = [canary.as_slice(), &[u8::try_from(numbers.below(60)).unwrap()]].concat();
            let bound = [10, 50, 200, 800, 3_000, 9_000][numbers.below(6)];
            let value = canary.repeat(numbers.below(bound) / canary.len() + 1);
            let expires = (numbers.below(3) == 0).then_some(ids::Millis(u64::MAX));
            ops.push((numbers.below(10) < 7, key, value, expires));
        }
        let write = store.of(scope).write(File::Core, 0, move |txn| {
            for (put, key, value, expires) in ops {
                match (put, expires) {
                    (true, None) => txn.put(THINGS, &key, &value)?,
                    (true, Some(at)) => txn.put_until(THINGS, &key, &value, at)?,
                    (false, _) => drop(txn.delete(THINGS, &key)?),
                }
            }
            Ok::<_, Error>(())
        });
        write.await.unwrap();
    }
}

/// Catches the planted bugs `store-erase-keeps-log` and `store-erase-keeps-moved`.
#[tokio::test]
async fn an_erasure_leaves_no_bytes_in_the_files() {
    let world = World::new().await;
    let store = world.open();
    let mut scopes = Vec::new();
    for n in 0..12 {
        let name = format!("tenant{n:02}");
        world.kit.registry.add_tenant(&name, &["live"], ids::Clock::now(&*world.clock));
        scopes.push((world.kit.scope(&name, "live").await, format!("canary-of-{n:02}.").into()));
    }
    churn(&store, &scopes).await;
    for (scope, canary) in &scopes {
        store.of(scope).put(EVENTS, canary, canary).await.unwrap();
        store.of(scope).put(OTHERS, canary, b"").await.unwrap();
    }
    while let Some((scope, canary)) = scopes.pop() {
        assert!(found(&world, &canary).len() >= 2, "the search finds what is there");
        let view = store.of(&scope);
        let core = view.usage(THINGS).await.unwrap().plus(view.usage(OTHERS).await.unwrap());
        let records = view.usage(EVENTS).await.unwrap();
        let erased = view.erase_all().await.unwrap();
        assert_eq!(erased.files, [(File::Core, core), (File::Records, records)]);
        assert_eq!(found(&world, &canary), []);

        for table in [THINGS, OTHERS, EVENTS] {
            assert_eq!(view.usage(table).await.unwrap(), Usage::default());
            assert!(view.scan(table, Range::all()).await.unwrap().is_empty());
        }
        assert_eq!(view.erase_all().await.unwrap().files, []);
        store.check_integrity(&system(), Depth::Full).await.unwrap();
    }
}

/// What is under way when its tenant is erased leaves nothing behind, whatever files it writes.
/// Catches the planted bug `store-late-write-kept`.
#[tokio::test]
async fn an_erasure_leaves_others_alone_and_nothing_comes_after_it() {
    let world = World::new().await;
    let (store, acme, globex) = (world.open(), world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    for scope in [&acme, &globex, &staging] {
        store.of(scope).put(THINGS, b"key", b"value").await.unwrap();
    }
    store.system(&system()).put(THINGS, b"key", b"value").await.unwrap();
    store.of(&acme).erase_all().await.unwrap();
    for scope in [&globex, &staging] {
        assert!(store.of(scope).get(THINGS, b"key").await.unwrap().is_some());
    }
    assert!(store.system(&system()).get(THINGS, b"key").await.unwrap().is_some());
    let view = store.of(&acme);
    let late = view.write(File::Core, 0, |txn| {
        assert_eq!(txn.get(THINGS, b"key")?, None);
        txn.put_until(THINGS, b"late", b"row", ids::Millis(u64::MAX))
    });
    for (what, refused) in [
        ("put", view.put(THINGS, b"late", b"row").await),
        ("put until", view.put_until(EVENTS, b"late", b"row", ids::Millis(u64::MAX)).await),
        ("write", late.await),
    ] {
        assert!(matches!(refused, Err(Error::Erased)), "{what}: {refused:?}");
    }
    // Who cleans up does not have to know.
    assert!(!view.delete(THINGS, b"key").await.unwrap());
    for table in [THINGS, EVENTS] {
        assert_eq!(view.usage(table).await.unwrap(), Usage::default());
    }
    store.of(&globex).put(THINGS, b"more", b"value").await.unwrap();
    store.of(&staging).put(THINGS, b"more", b"value").await.unwrap();
}

/// Accepted before the erasure, run after it began.
#[tokio::test]
async fn what_waits_while_an_erasure_begins_is_gone_after_it() {
    let world = World::new().await;
    let (store, acme, system) = (world.open(), world.acme().await, system());
    let (held, hold) = Held::new(&store, &system, File::Core);
    let view = store.of(&acme);
    let mut before = Pending::new();
    before.push(view.put(THINGS, b"before", b"row"));
    let mut erasure = Pending::new();
    erasure.push(view.erase_all());
    let mut after = Pending::new();
    after.push(view.put(THINGS, b"after", b"row"));
    hold.let_go();
    held.await.unwrap();
    let (before, erased, after) = tokio::join!(before.all(), erasure.all(), after.all());
    assert!(matches!(before[..], [Ok(()) | Err(Error::Erased)]), "{before:?}");
    assert!(matches!(after[..], [Err(Error::Erased)]), "{after:?}");
    assert!(matches!(erased[..], [Ok(_)]), "{erased:?}");
    assert_eq!(view.usage(THINGS).await.unwrap(), Usage::default());
}

#[tokio::test]
async fn an_erasure_of_many_rows_goes_in_batches() {
    let world = World::new().await;
    let (store, acme, globex) = (world.open(), world.acme().await, world.globex().await);
    let write = store.of(&acme).write(File::Core, 0, |txn| {
        for n in 0..1_200u32 {
            txn.put(THINGS, &n.to_be_bytes(), CANARY)?;
        }
        Ok::<_, Error>(())
    });
    write.await.unwrap();
    store.of(&globex).put(THINGS, b"key", b"value").await.unwrap();
    let before = store.figures(File::Core).commits;
    assert_eq!(store.of(&acme).erase_all().await.unwrap().total().rows, 1_200);
    assert_eq!(store.figures(File::Core).commits - before, 4, "500, 500, 200, none left");
    assert!(store.of(&globex).get(THINGS, b"key").await.unwrap().is_some());
    assert_eq!(found(&world, CANARY), []);
}

#[tokio::test]
async fn an_erasure_says_when_a_reader_still_needs_the_log() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    store.of(&acme).put(THINGS, CANARY, CANARY).await.unwrap();
    let raw = world.raw(File::Core);
    raw.execute_batch("BEGIN; SELECT count(*) FROM rows;").unwrap();
    let erased = store.of(&acme).erase_all().await;
    assert!(matches!(erased, Err(Error::Busy)), "{erased:?}");
    assert_eq!(store.of(&acme).get(THINGS, CANARY).await.unwrap(), None);
    raw.execute_batch("COMMIT").unwrap();
    store.of(&acme).erase_all().await.unwrap();
    assert_eq!(found(&world, CANARY), []);
}

/// The file that has to be waited for is the first; the second is erased all the same.
#[tokio::test]
async fn an_erasure_goes_on_with_the_other_files_past_a_busy_one() {
    let world = World::new().await;
    let (store, acme) = (world.open(), world.acme().await);
    let view = store.of(&acme);
    view.put(THINGS, CANARY, CANARY).await.unwrap();
    view.put(EVENTS, CANARY, CANARY).await.unwrap();
    let raw = world.raw(File::Core);
    raw.execute_batch("BEGIN; SELECT count(*) FROM rows;").unwrap();
    let erased = view.erase_all().await;
    assert!(matches!(erased, Err(Error::Busy)), "{erased:?}");
    assert_eq!(view.usage(EVENTS).await.unwrap(), Usage::default());
    let left: Vec<_> = found(&world, CANARY).into_iter().map(|(name, _)| name).collect();
    assert!(left.iter().all(|name| name.starts_with("core.db")), "{left:?}");
    drop(raw);
    view.erase_all().await.unwrap();
    assert_eq!(found(&world, CANARY), []);
}
