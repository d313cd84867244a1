use std::sync::Arc;

use bulkhead_vault::{Error, OVERHEAD, Place, Sealed};
use futures_util::future::join_all;

use super::world::{PLACE, World, system, version_in};

#[tokio::test]
async fn bytes_open_for_their_owner_in_their_place_and_nowhere_else() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    let sealed = world.seal(&acme, "canary").await;
    assert_eq!(sealed.len(), "canary".len() + OVERHEAD);
    assert_eq!(world.open(&acme, &sealed).await.unwrap(), "canary");
    assert_eq!(&*world.vault.of(&acme.read_only()).open(&PLACE, &sealed).await.unwrap(), b"canary");
    // Each has a key of the same version.
    for other in [&globex, &staging] {
        assert_eq!(version_in(&world.seal(other, "theirs").await), 1);
    }

    let mut foreign = 0;
    for (what, scope, place) in [
        ("tenant", &globex, PLACE),
        ("environment", &staging, PLACE),
        ("surface", &acme, Place { surface: "cache", ..PLACE }),
        ("key", &acme, Place { key: b"other", ..PLACE }),
        ("version", &acme, Place { version: 2, ..PLACE }),
    ] {
        let answer = world.vault.of(scope).open(&place, &sealed).await;
        assert!(matches!(answer, Err(Error::Foreign)), "{what}: {answer:?}");
        foreign += 1;
        assert_eq!(world.vault.foreign(), foreign, "{what}");
    }
    let answer = world.vault.of_deployment(&system()).open(&PLACE, &sealed).await;
    assert!(matches!(answer, Err(Error::Foreign)), "the deployment: {answer:?}");
}

#[tokio::test]
async fn no_byte_may_change() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let sealed = world.seal(&acme, "canary").await;
    // Version 2 exists, so that a changed version is not just an unknown one.
    world.vault.rotate_data_key(&acme).await.unwrap();
    for cold in [false, true] {
        if cold {
            world.restart().await;
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 3;
            let answer = world.open(&acme, &changed).await;
            assert!(matches!(answer, Err(Error::Foreign)), "byte {at}: {answer:?}");
        }
        for cut in [0, 1, OVERHEAD - 1, sealed.len() - 1] {
            let answer = world.open(&acme, &sealed[..cut]).await;
            assert!(matches!(answer, Err(Error::Foreign)), "cut at {cut}: {answer:?}");
        }
        assert_eq!(world.open(&acme, &sealed).await.unwrap(), "canary");
    }
}

#[tokio::test]
async fn another_deployments_bytes_do_not_open() {
    let (world, other) = (World::new().await, World::new().await);
    let sealed = other.seal(&other.acme().await, "theirs").await;
    let acme = world.acme().await;
    world.seal(&acme, "ours").await;
    assert!(matches!(world.open(&acme, &sealed).await, Err(Error::Foreign)));
}

#[tokio::test]
async fn the_fast_path_answers_once_the_key_is_in_memory() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    assert!(world.vault.of(&acme).try_seal(&PLACE, b"x").is_none());
    let sealed = world.seal(&acme, "canary").await;
    let again = world.vault.of(&acme).try_seal(&PLACE, b"canary").unwrap().unwrap();
    assert_ne!(again, sealed, "a nonce is never used twice");
    for sealed in [&sealed, &again] {
        let plain = world.vault.of(&acme).try_open(&PLACE, sealed).unwrap().unwrap();
        assert_eq!(&*plain, b"canary");
    }
    world.restart().await;
    assert!(world.vault.of(&acme).try_open(&PLACE, &sealed).is_none());
    assert_eq!(world.open(&acme, &sealed).await.unwrap(), "canary");
    assert!(world.vault.of(&acme).try_open(&PLACE, &sealed).is_some());
}

#[tokio::test]
async fn the_deployment_has_a_key_of_its_own() {
    let mut world = World::new().await;
    let sealer = world.vault.of_deployment(&system());
    let sealed = sealer.seal(&PLACE, b"quarantined").await.unwrap();
    let acme = world.acme().await;
    assert!(matches!(world.open(&acme, &sealed).await, Err(Error::Foreign)));
    world.restart().await;
    let plain = world.vault.of_deployment(&system()).open(&PLACE, &sealed).await.unwrap();
    assert_eq!(&*plain, b"quarantined");
}

#[tokio::test]
async fn a_typed_value_opens_as_itself() {
    let world = World::new().await;
    let acme = world.acme().await;
    let sealer = world.vault.of(&acme);
    let value = vec!["a".to_owned(), "b".to_owned()];
    let sealed = Sealed::seal(&sealer, &PLACE, &value).await.unwrap();
    assert_eq!(sealed.open(&sealer, &PLACE).await.unwrap(), value);
    let other: Sealed<u64> = Sealed::from_bytes(sealed.as_bytes().to_vec());
    assert!(matches!(other.open(&sealer, &PLACE).await, Err(Error::Malformed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_first_seals_one_makes_the_key() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let start = Arc::new(tokio::sync::Barrier::new(100));
    let tasks = (0..100).map(|n| {
        let (vault, start) = (world.vault.clone(), start.clone());
        acme.spawn(move |scope| async move {
            start.wait().await;
            vault.of(&scope).seal(&PLACE, format!("{n}").as_bytes()).await.unwrap()
        })
    });
    let sealed: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert!(sealed.iter().all(|sealed| version_in(sealed) == 1));
    assert_eq!(world.vault.data_key_versions(&acme).await.unwrap().len(), 1);
    for _ in 0..2 {
        for (n, sealed) in sealed.iter().enumerate() {
            assert_eq!(world.open(&acme, sealed).await.unwrap(), n.to_string());
        }
        world.restart().await;
    }
}
