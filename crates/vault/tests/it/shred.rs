use bulkhead_vault::Error;
use ids::{Clock as _, text};

use super::world::{World, bytes_below, holds, system};

#[tokio::test]
async fn what_was_shredded_never_opens_again_and_the_ledger_says_so() {
    let mut world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    let mut old = vec![world.seal(&acme, "one").await];
    world.vault.rotate_data_key(&acme).await.unwrap();
    old.push(world.seal(&acme, "two").await);
    let kept = [(&globex, "theirs"), (&staging, "other environment")];
    let kept = [
        (kept[0], world.seal(kept[0].0, kept[0].1).await),
        (kept[1], world.seal(kept[1].0, kept[1].1).await),
    ];
    let living = world.vault.data_key_versions(&acme).await.unwrap();

    let receipt = world.vault.shred(&acme).await.unwrap();
    assert_eq!(receipt.keys, living);
    assert_eq!((receipt.tenant.as_str(), receipt.environment.as_str()), ("acme", "live"));
    assert_eq!(receipt.partition, text::hex(acme.partition_bytes()));
    assert_eq!(receipt.at, world.clock.now());

    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for sealed in &old {
            let answer = world.open(&acme, sealed).await;
            assert!(matches!(answer, Err(Error::Shredded)), "{answer:?}");
        }
        for ((scope, plain), sealed) in &kept {
            assert_eq!(world.open(scope, sealed).await.unwrap(), *plain);
        }
        assert_eq!(world.vault.erasures(&system()).await.unwrap(), std::slice::from_ref(&receipt));
    }

    for sealed in &old {
        // Not even under another key's number.
        let mut renumbered = sealed.clone();
        renumbered[1..5].copy_from_slice(&3_u32.to_be_bytes());
        assert!(matches!(world.open(&acme, &renumbered).await, Err(Error::Foreign)));
    }
    let second = world.vault.shred(&acme).await.unwrap();
    assert!(second.keys.is_empty());
    assert_eq!(world.vault.erasures(&system()).await.unwrap(), [receipt, second]);
}

/// What is under way when its owner is erased cannot be sealed any more, whether the owner has
/// sealed before or not, while its erasure goes on and after a restart. Catches the planted bug
/// `vault-key-after-shredding`.
#[tokio::test]
async fn a_unit_in_the_ledger_gets_no_key_again() {
    let mut world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    let place = bulkhead_vault::Place { surface: "test", key: b"k", version: 0 };
    world.seal(&acme, "one").await;
    let suspended = |record: &mut scope::TenantRecord| record.status = scope::Status::Suspended;
    for tenant in ["acme", "globex"] {
        world.kit.change(tenant, suspended).await;
    }
    for scope in [&acme, &globex] {
        world.vault.shred(scope).await.unwrap();
    }
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for scope in [&acme, &globex] {
            let sealer = world.vault.of(scope);
            assert!(sealer.try_seal(&place, b"late").is_none());
            let late = sealer.seal(&place, b"late").await;
            assert!(matches!(late, Err(Error::Shredded)), "{late:?}");
            let rotated = world.vault.rotate_data_key(scope).await;
            assert!(matches!(rotated, Err(Error::Shredded)), "{rotated:?}");
            assert!(world.vault.data_key_versions(scope).await.unwrap().is_empty());
        }
    }
    assert_eq!(world.vault.erasures(&system()).await.unwrap().len(), 2);
    world.seal(&staging, "of another environment").await;
}

/// Even the wrapped key is gone from the files, the write-ahead log included.
#[tokio::test]
async fn a_shredded_key_leaves_no_bytes_behind() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    for scope in [&acme, &globex] {
        world.seal(scope, "x").await;
    }
    let wrapped_key = |fingerprint: &str| {
        let marker = format!("\"id\":\"{fingerprint}\",\"key\":\"");
        bytes_below(&world.keys()).into_iter().find_map(|(_, bytes)| {
            let at = bytes.windows(marker.len()).position(|window| window == marker.as_bytes())?;
            let from = at + marker.len();
            Some(bytes[from..from + 96].to_vec())
        })
    };
    let version = |versions: Vec<bulkhead_vault::KeyVersion>| versions[0].fingerprint.clone();
    let acmes = version(world.vault.data_key_versions(&acme).await.unwrap());
    let globexs = version(world.vault.data_key_versions(&globex).await.unwrap());
    let (gone, stays) = (wrapped_key(&acmes).unwrap(), wrapped_key(&globexs).unwrap());
    world.vault.shred(&acme).await.unwrap();
    let files = bytes_below(&world.keys());
    assert!(files.iter().any(|(_, bytes)| holds(bytes, &stays)));
    for (path, bytes) in files {
        assert!(!holds(&bytes, &gone), "{}", path.display());
    }
}

#[tokio::test]
async fn an_erased_owner_gets_no_key_again() {
    let world = World::new().await;
    let acme = world.acme().await;
    let sealed = world.seal(&acme, "one").await;
    world.kit.change("acme", |record| record.status = scope::Status::Erased).await;
    // Until it is shredded the key that is there serves: an erasure reads and signs.
    world.seal(&acme, "two").await;
    world.vault.shred(&acme).await.unwrap();
    let place = bulkhead_vault::Place { surface: "test", key: b"k", version: 0 };
    assert!(matches!(world.vault.of(&acme).seal(&place, b"three").await, Err(Error::Shredded)));
    assert!(matches!(world.vault.rotate_data_key(&acme).await, Err(Error::Shredded)));
    assert!(world.vault.data_key_versions(&acme).await.unwrap().is_empty());
    assert!(matches!(world.open(&acme, &sealed).await, Err(Error::Shredded)));
    world.seal(&world.kit.scope("globex", "live").await, "theirs").await;
}
