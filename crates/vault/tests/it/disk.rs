use std::{os::unix::fs::PermissionsExt as _, path::Path};

use bulkhead_vault::{Error, FileRoot, KeyProvider as _, Plain, SecretText, Vault};
use ids::{OsEntropy, ProviderId, text};
use store::{Options, Store};

use super::world::{PLACE, World, bytes_below, holds, system};

/// A world in which every kind of key was made, and its data store.
async fn lived_in(world: &World) -> Store {
    let store =
        Store::open(&Options::new(world.directory.path().join("data")), world.clock.clone());
    let store = store.unwrap();
    for scope in [world.acme().await, world.globex().await] {
        world.seal(&scope, "plaintext canary").await;
        let secret = SecretText::parse(format!("sk-canary-{}", scope.tenant())).unwrap();
        let provider = ProviderId::parse("openai").unwrap();
        let credentials = world.vault.credentials(&store);
        credentials.of(&scope).set(&provider, None, secret, false).await.unwrap();
    }
    world.vault.rotate_data_key(&world.acme().await).await.unwrap();
    world.vault.rotate_signing(&system(), "tokens", usize::MAX).await.unwrap();
    world.vault.renew_root(&system(), |_| {}).await.unwrap();
    world.vault.shred(&world.globex().await).await.unwrap();
    store
}

#[tokio::test]
async fn no_file_but_the_root_keys_holds_a_plain_key_or_secret() {
    let mut world = World::new().await;
    let store = lived_in(&world).await;
    let keys = world.entropy.keys();
    // Two roots, the master, three data keys, a seed.
    assert!(keys.len() >= 7, "{}", keys.len());
    for closed in [false, true] {
        if closed {
            store.close().await.unwrap();
            world.vault.close().await.unwrap();
        }
        let mut files = 0;
        for (path, bytes) in bytes_below(world.directory.path()) {
            if path == world.root.path() {
                continue;
            }
            files += 1;
            for key in &keys {
                for form in [key.to_vec(), text::hex(key).into(), text::base64url(key).into()] {
                    assert!(!holds(&bytes, &form), "{} holds a key", path.display());
                }
            }
            assert!(!holds(&bytes, b"canary"), "{} holds plain text", path.display());
        }
        assert!(files >= 2);
    }
    world.vault = world.open_with(&world.root).await.unwrap();
}

#[tokio::test]
async fn debug_prints_no_secret() {
    let world = World::new().await;
    let store = lived_in(&world).await;
    let acme = world.acme().await;
    let provider = ProviderId::parse("openai").unwrap();
    let credentials = world.vault.credentials(&store);
    let wallet = credentials.of(&acme);
    let credential = wallet.get(&provider, None).await.unwrap().unwrap();
    let sealer = world.vault.of(&acme);
    let sealed = sealer.seal(&PLACE, b"plaintext canary").await.unwrap();
    let plain: Plain = sealer.open(&PLACE, &sealed).await.unwrap();
    let seeds = world.vault.signing_seeds(&system(), "tokens").await.unwrap();
    let roots = world.root.roots().unwrap();
    let list = wallet.list().await.unwrap();
    let shown = [
        format!("{:?} {:#?}", world.vault, world.vault),
        format!("{sealer:?} {sealer:#?} {credentials:?} {wallet:?} {list:?}"),
        format!("{credential:?} {credential:#?} {plain:?} {plain:#?}"),
        format!("{seeds:?} {seeds:#?} {roots:?} {roots:#?} {:?}", world.root),
        serde_json::to_string(&list).unwrap(),
    ];
    for shown in shown {
        let shown = shown.replace(['\n', ' '], "");
        assert!(!shown.contains("canary"), "{shown}");
        for key in world.entropy.keys() {
            let decimal: Vec<_> = key[..4].iter().map(u8::to_string).collect();
            for form in [decimal.join(","), text::hex(&key[..4]), text::base64url(&key)] {
                assert!(!shown.contains(&form), "{shown} shows a key");
            }
        }
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_root_key_file_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    let root = FileRoot::create(&path, &OsEntropy).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(FileRoot::create(&path, &OsEntropy).is_err(), "never over an existing one");
    // Its group is this process's, since this process made it.
    for (bits, good) in [
        (0o600, true),
        (0o400, true),
        (0o440, true),
        (0o640, false),
        (0o660, false),
        (0o644, false),
        (0o604, false),
        (0o666, false),
        (0o700, false),
    ] {
        mode(&path, bits);
        match root.roots() {
            Ok(_) => assert!(good, "{bits:o}"),
            Err(error) => {
                let told = error.to_string();
                assert!(!good, "{bits:o}: {told}");
                for part in ["root.key", &format!("{bits:04o}"), "chmod", "0600"] {
                    assert!(told.contains(part), "{told}");
                }
                assert_eq!(error.code(), "vault.root");
            }
        }
    }
    // As root, the file can be given to a group that is not ours.
    if std::os::unix::fs::chown(&path, None, Some(54_321)).is_ok() {
        mode(&path, 0o440);
        let told = root.roots().unwrap_err().to_string();
        assert!(told.contains("group 54321"), "{told}");
        mode(&path, 0o600);
        assert!(root.roots().is_ok());
    }
}

#[tokio::test]
async fn a_mounted_root_key_is_changed_by_hand_and_a_crash_between_leaves_a_whole_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    let root = FileRoot::create(&path, &OsEntropy).unwrap();
    let before = root.roots().unwrap().current.id().to_owned();
    mode(&path, 0o400);
    let told = root.renew(&OsEntropy).unwrap_err().to_string();
    assert!(told.contains("read-only") && told.contains("put the new line first"), "{told}");
    assert!(root.retire().is_err());
    mode(&path, 0o600);
    std::fs::write(directory.path().join("root.key.new"), "half a li").unwrap();
    root.renew(&OsEntropy).unwrap();
    let after = root.roots().unwrap();
    assert_ne!(after.current.id(), before);
    assert_eq!(after.older.iter().map(|root| root.id()).collect::<Vec<_>>(), [before]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_keystore_is_never_made_by_opening_nor_made_twice() {
    let world = World::new().await;
    let elsewhere = world.directory.path().join("elsewhere");
    let (clock, entropy) = (world.clock.clone(), world.entropy.clone());
    let open = Vault::open(&elsewhere, world.root.clone(), clock, entropy).await;
    assert!(matches!(open, Err(Error::Missing(_))), "{open:?}");
    assert!(!elsewhere.exists());

    world.vault.close().await.unwrap();
    let (clock, entropy) = (world.clock.clone(), world.entropy.clone());
    let again = Vault::create(&world.keys(), world.root.clone(), clock, entropy).await;
    assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
    drop(again);

    let other = FileRoot::create(world.directory.path().join("other.key"), &OsEntropy).unwrap();
    let wrong = world.open_with(&other).await;
    let id = world.root.roots().unwrap().current.id().to_owned();
    assert!(matches!(&wrong, Err(Error::NoRoot { root }) if *root == id), "{wrong:?}");
}
