use std::{collections::HashSet, sync::Arc};

use bulkhead_vault::{Error, FileRoot, KeyProvider as _};
use futures_util::future::{join, join_all};
use tokio::sync::Notify;

use super::world::{PLACE, World, system, version_in};

#[tokio::test]
async fn after_a_data_key_rotation_old_bytes_open_and_new_ones_have_the_new_version() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let old = world.seal(&acme, "old").await;
    assert_eq!(world.vault.rotate_data_key(&acme).await.unwrap(), 2);
    let new = world.seal(&acme, "new").await;
    assert_eq!((version_in(&old), version_in(&new)), (1, 2));
    for _ in 0..2 {
        assert_eq!(world.open(&acme, &old).await.unwrap(), "old");
        assert_eq!(world.open(&acme, &new).await.unwrap(), "new");
        world.restart().await;
    }
    let versions = world.vault.data_key_versions(&acme.read_only()).await.unwrap();
    let told: Vec<_> = versions.iter().map(|v| (v.version, v.current)).collect();
    assert_eq!(told, [(1, false), (2, true)]);
    assert_ne!(versions[0].fingerprint, versions[1].fingerprint);
    let globex = world.globex().await;
    assert!(world.vault.data_key_versions(&globex).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn data_keys_rotate_while_sealing_goes_on() {
    let world = World::new().await;
    let acme = world.acme().await;
    let sealers = (0..4).map(|_| {
        let vault = world.vault.clone();
        acme.spawn(move |scope| async move {
            let mut all = Vec::new();
            for _ in 0..200 {
                all.push(vault.of(&scope).seal(&PLACE, b"canary").await.unwrap());
                tokio::task::yield_now().await;
            }
            all
        })
    });
    let (sealed, ()) = join(join_all(sealers), async {
        for expected in 1..=20 {
            let made = world.vault.rotate_data_key(&acme).await.unwrap();
            assert!(made == expected || made == expected + 1, "{made}: none is skipped");
        }
    })
    .await;
    for sealed in sealed.into_iter().flat_map(Result::unwrap) {
        assert_eq!(world.open(&acme, &sealed).await.unwrap(), "canary");
    }
    assert!(version_in(&world.seal(&acme, "x").await) >= 20);
}

/// The whole life of a root key: used, followed while sealing runs, cut off half way, finished
/// after a restart, removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_root_rotation_is_resumable_and_then_the_old_root_is_not_needed() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let mut sealed = vec![(acme.clone(), world.seal(&acme, "first").await, "first")];
    let subkey = world.vault.subkey(&system(), "a purpose");
    let seeds = world.vault.signing_seeds(&system(), "tokens").await.unwrap();
    join_all((0..400).map(|_| world.vault.rotate_data_key(&acme))).await;
    let old_root = FileRoot::new(world.directory.path().join("old.key"));
    std::fs::copy(world.root.path(), old_root.path()).unwrap();
    let total = 1 + 1 + 1 + 400;

    // Cut off after the first batch, while new tenants seal for the first time.
    let cut = Arc::new(Notify::new());
    let newcomers = join_all((0..30).map(|n| {
        let world = &world;
        async move {
            let scope = world.tenant(&format!("new-{n}")).await;
            let bytes = world.seal(&scope, "new").await;
            (scope, bytes, "new")
        }
    }));
    let rotation = async {
        let signal = cut.clone();
        tokio::select! {
            biased;
            () = cut.notified() => {}
            done = world.vault.renew_root(&SYSTEM, move |_| signal.notify_one()) => {
                unreachable!("not cut off: {done:?}")
            }
        }
    };
    let (new, ()) = join(newcomers, rotation).await;
    sealed.extend(new);
    assert!(matches!(world.vault.retire_roots(&system()).await, Err(Error::InUse)));

    // Killed there, both roots are needed and both are there.
    world.restart().await;
    for (scope, bytes, plain) in &sealed {
        assert_eq!(world.open(scope, bytes).await.unwrap(), *plain);
    }
    let mut told = Vec::new();
    let rotated = world.vault.rotate_root(&system(), |at| told.push(at)).await.unwrap();
    assert_eq!(rotated.current, world.root.roots().unwrap().current.id());
    assert_eq!(rotated.rewrapped + rotated.already, total + 30);
    assert!(rotated.already > 0 && rotated.rewrapped > 0 && rotated.stranded == 0, "{rotated:?}");
    assert_eq!(told.last().unwrap().done, total + 30);
    assert!(told.iter().all(|at| at.total == total + 30 && at.done <= at.total));

    // Now the old root goes.
    world.vault.retire_roots(&system()).await.unwrap();
    assert!(world.root.roots().unwrap().older.is_empty());
    world.restart().await;
    for (scope, bytes, plain) in &sealed {
        assert_eq!(world.open(scope, bytes).await.unwrap(), *plain);
    }
    assert_eq!(*world.vault.subkey(&system(), "a purpose"), *subkey);
    let kept = world.vault.signing_seeds(&system(), "tokens").await.unwrap();
    assert_eq!(kept[0].expose(), seeds[0].expose());
    world.vault.close().await.unwrap();
    assert!(matches!(world.open_with(&old_root).await, Err(Error::NoRoot { .. })));
}

#[tokio::test]
async fn a_rotation_under_a_source_that_lost_a_needed_root_changes_nothing() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let sealed = world.seal(&acme, "canary").await;
    let kept = std::fs::read(world.root.path()).unwrap();
    std::fs::remove_file(world.root.path()).unwrap();
    FileRoot::create(world.root.path(), &*world.entropy).unwrap();
    let answer = world.vault.rotate_root(&system(), |_| {}).await;
    assert!(matches!(answer, Err(Error::NoRoot { .. })), "{answer:?}");
    std::fs::write(world.root.path(), kept).unwrap();
    world.restart().await;
    assert_eq!(world.open(&acme, &sealed).await.unwrap(), "canary");
}

#[tokio::test]
async fn signing_seeds_rotate_with_overlap_and_retire() {
    let mut world = World::new().await;
    let first = world.vault.signing_seeds(&system(), "tokens").await.unwrap();
    assert_eq!(first.len(), 1);
    let both = world.vault.rotate_signing(&system(), "tokens", usize::MAX).await.unwrap();
    assert_eq!((both.len(), both[1].id), (2, first[0].id));
    let other = world.vault.signing_seeds(&system(), "token").await.unwrap();
    let distinct: HashSet<_> = both.iter().chain(&other).map(|seed| *seed.expose()).collect();
    assert_eq!(distinct.len(), 3);

    let retire = |id| world.vault.retire_signing(&SYSTEM, "tokens", id);
    assert!(matches!(retire(both[0].id).await, Err(Error::InUse)));
    assert!(matches!(retire(other[0].id).await, Err(Error::NoSuchKey)));
    assert_eq!(retire(first[0].id).await.unwrap().len(), 1);
    world.restart().await;
    let left = world.vault.signing_seeds(&system(), "tokens").await.unwrap();
    assert_eq!(left.iter().map(|seed| seed.id).collect::<Vec<_>>(), [both[0].id]);
}

/// Those that are to go are gone as soon as the new one is there.
#[tokio::test]
async fn signing_seeds_rotate_and_go_in_one() {
    let mut world = World::new().await;
    let rotate = async |vault: &bulkhead_vault::Vault, keep| {
        let left = vault.rotate_signing(&system(), "tokens", keep).await;
        left.map(|seeds| seeds.iter().map(|seed| seed.id).collect::<Vec<_>>())
    };
    let other = world.vault.signing_seeds(&system(), "token").await.unwrap();
    let mut drawn = rotate(&world.vault, usize::MAX).await.unwrap();
    for keep in [usize::MAX, 3, 2, 2] {
        let left = rotate(&world.vault, keep).await.unwrap();
        drawn.insert(0, left[0]);
        assert_eq!(left, drawn[..drawn.len().min(keep)], "{keep}");
    }
    while rotate(&world.vault, usize::MAX).await.is_ok() {}
    // However many there are, a leaked one can be got rid of.
    let last = rotate(&world.vault, 1).await.unwrap();
    world.restart().await;
    let left = world.vault.signing_seeds(&system(), "tokens").await.unwrap();
    assert_eq!(left.iter().map(|seed| seed.id).collect::<Vec<_>>(), last);
    assert_eq!(world.vault.signing_seeds(&system(), "token").await.unwrap()[0].id, other[0].id);
}

static SYSTEM: scope::SystemScope = system();

#[tokio::test]
async fn subkeys_differ_by_purpose_and_deployment() {
    let (world, other) = (World::new().await, World::new().await);
    let keys: HashSet<_> = [
        world.vault.subkey(&system(), "a"),
        world.vault.subkey(&system(), "b"),
        other.vault.subkey(&system(), "a"),
    ]
    .iter()
    .map(|key| **key)
    .collect();
    assert_eq!(keys.len(), 3);
}
