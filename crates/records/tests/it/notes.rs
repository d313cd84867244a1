//! Signed heads, checked without any of the code that made them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bulkhead_records::{Audit, Export, SignedNote, Verdict, verify_export, verify_note};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::world::{World, fill, intact, system};

/// By the words of <https://c2sp.org/signed-note> and <https://c2sp.org/tlog-checkpoint>.
fn independently(note: &str, verifier_key: &str) -> Result<(String, u64, Vec<u8>), &'static str> {
    let (name, rest) = verifier_key.split_once('+').ok_or("key")?;
    let (id, key) = rest.split_once('+').ok_or("key")?;
    let key = STANDARD.decode(key).map_err(|_| "key")?;
    let hash = Sha256::digest([name.as_bytes(), b"\n", &key].concat());
    let id_of_key: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    if key[0] != 1 || id_of_key != id {
        return Err("key id");
    }
    let public = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).map_err(|_| "key")?;

    let end = note.rfind("\n\n").ok_or("no signatures")?;
    let (text, signatures) = (&note[..=end], &note[end + 2..]);
    let line = signatures.strip_suffix('\n').ok_or("no end")?;
    let signature = line.strip_prefix(&format!("— {name} ")).ok_or("name")?;
    let signature = STANDARD.decode(signature).map_err(|_| "base64")?;
    if signature[..4] != hash[..4] {
        return Err("another key");
    }
    let signature = Signature::from_slice(&signature[4..]).map_err(|_| "length")?;
    public.verify_strict(text.as_bytes(), &signature).map_err(|_| "signature")?;

    let mut lines = text.lines();
    let (origin, size, root) = (lines.next(), lines.next(), lines.next());
    let root = STANDARD.decode(root.ok_or("root")?).map_err(|_| "root")?;
    Ok((origin.ok_or("origin")?.to_owned(), size.ok_or("size")?.parse().unwrap(), root))
}

#[tokio::test]
async fn a_head_is_a_signed_note_that_anybody_can_check() {
    let world = World::new().await;
    let audit = world.audit_named("prod.eu-1").await;
    fill(&audit, &world.acme, 5).await;
    let acme = audit.of(&world.acme.read_only());
    let globex = audit.of(&world.globex);
    let deployment = audit.of_deployment(&system());
    for (log, entries) in [(&acme, 5), (&globex, 0), (&deployment, 0)] {
        let note: SignedNote = log.head().await.unwrap();
        let key = log.verifier_keys().remove(0);
        let (origin, size, root) = independently(&note.text, &key).unwrap();
        assert_eq!((origin.as_str(), size), (log.origin(), entries));
        assert!(origin.starts_with("bulkhead/prod.eu-1/"), "{origin}");
        assert_eq!(root, note.root.0);
        assert_eq!(verify_note(&note.text, &key).unwrap().root, note.root);
        assert_eq!(intact(log.verify_since(&note.text).await.unwrap()).head, note.root);
    }
    let partition = ids::text::hex(world.acme.partition_bytes());
    assert_eq!(acme.origin(), format!("bulkhead/prod.eu-1/{partition}"));

    // One tenant's key does not vouch for another's log, nor a changed note.
    let note = acme.head().await.unwrap();
    assert!(independently(&note.text, &globex.verifier_keys()[0]).is_err());
    let changed = note.text.replace("\n5\n", "\n4\n");
    assert_eq!(independently(&changed, &acme.verifier_keys()[0]), Err("signature"));
    assert!(globex.verify_since(&note.text).await.is_err());
    assert!(acme.verify_since(&changed).await.is_err());
}

#[tokio::test]
async fn the_chain_is_as_documented() {
    let world = World::new().await;
    let audit = world.audit().await;
    fill(&audit, &world.acme, 20).await;
    let log = audit.of(&world.acme);
    let export = log.export(0, 100).await.unwrap();
    let field = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let mut link = Sha256::digest([&[0][..], &field(export.origin.as_bytes())].concat()).to_vec();
    for entry in &export.entries {
        let body = entry.body.as_ref().unwrap();
        let salt = ids::text::unhex(&body.salt).unwrap();
        assert_eq!(salt.len(), 32);
        let commitment = Sha256::digest([&salt[..], body.text.as_bytes()].concat());
        assert_eq!(commitment[..], entry.commitment.0);
        let parts = [field(&link), field(&entry.seq.to_le_bytes()), field(&commitment)];
        link = Sha256::digest([&[1][..], &parts.concat()].concat()).to_vec();
    }
    let (_, size, root) = independently(&export.note, &log.verifier_keys()[0]).unwrap();
    assert_eq!((size, root), (20, link));
}

fn verdict(export: &Export, key: &str) -> Verdict {
    verify_export(&serde_json::to_vec(export).unwrap(), key).unwrap()
}

fn broken_at(export: &Export, key: &str) -> u64 {
    match verdict(export, key) {
        Verdict::Broken(broken) => broken.seq,
        Verdict::Intact(verified) => unreachable!("{verified:?}"),
    }
}

#[tokio::test]
async fn an_export_verifies_offline_and_any_change_is_found() {
    let world = World::new().await;
    let audit = world.audit().await;
    fill(&audit, &world.acme, 20).await;
    let log = audit.of(&world.acme);
    let key = log.verifier_keys().remove(0);
    let export = log.export(0, 100).await.unwrap();
    let verified = intact(verdict(&export, &key));
    assert_eq!((verified.entries, verified.notes, verified.complete), (20, 1, true));
    assert!(verify_export(&serde_json::to_vec(&export).unwrap(), "x+00000000+AQ==").is_err());
    assert!(verify_export(b"{}", &key).is_err());

    let changed = |change: fn(&mut Export)| {
        let mut other = export.clone();
        change(&mut other);
        broken_at(&other, &key)
    };
    assert_eq!(changed(|e| e.entries[6].body.as_mut().unwrap().text.push(' ')), 7);
    assert_eq!(changed(|e| e.entries[6].commitment.0[0] ^= 1), 7);
    assert_eq!(changed(|e| drop(e.entries.remove(6))), 7);
    assert_eq!(changed(|e| e.entries.swap(6, 7)), 7);
    assert_eq!(changed(|e| e.entries[6].body = None), 7);
    assert_eq!(changed(|e| e.link.0[0] ^= 1), 1);
    // Renumbered, so that only the last link tells.
    assert_eq!(
        changed(|e| {
            let (a, b) = (e.entries[6].clone(), e.entries[7].clone());
            (e.entries[6].commitment, e.entries[6].body) = (b.commitment, b.body);
            (e.entries[7].commitment, e.entries[7].body) = (a.commitment, a.body);
        }),
        20
    );
    assert_eq!(
        changed(|e| {
            let mut more = e.entries[19].clone();
            more.seq = 21;
            e.entries.push(more);
        }),
        21
    );

    // Parts, each beginning where the one before ended.
    let (first, second) = (log.export(0, 12).await.unwrap(), log.export(12, 100).await.unwrap());
    let (first, second) = (intact(verdict(&first, &key)), intact(verdict(&second, &key)));
    assert_eq!((first.through, first.complete), (12, false));
    assert_eq!((second.entries, second.through, second.complete), (8, 20, true));
    assert!(log.export(99, 1).await.is_err());
}

#[tokio::test]
async fn an_export_after_an_erasure_verifies() {
    let world = World::new().await;
    let audit = world.audit().await;
    fill(&audit, &world.acme, 10).await;
    audit.erase_bodies(&world.acme).await.unwrap();
    fill(&audit, &world.acme, 5).await;
    let log = audit.of(&world.acme);
    let key = log.verifier_keys().remove(0);
    let export = log.export(0, 100).await.unwrap();
    assert_eq!(intact(verdict(&export, &key)).erased, 10);
    let mut changed = export.clone();
    changed.entries[12].body = None;
    assert_eq!(broken_at(&changed, &key), 13, "no erasure is on record for this one");
    world.vault.shred(&world.acme).await.unwrap();
    assert_eq!(intact(verdict(&log.export(0, 100).await.unwrap(), &key)).erased, 15);
}

#[tokio::test]
async fn signing_keys_rotate_and_old_notes_still_count() {
    let world = World::new().await;
    let audit = world.audit().await;
    fill(&audit, &world.acme, 256).await;
    let log = audit.of(&world.acme);
    let (old_key, old_note) = (log.verifier_keys().remove(0), log.head().await.unwrap());
    let purpose = Audit::signing_purpose();
    let seeds = world.vault.rotate_signing(&system(), purpose, usize::MAX).await.unwrap();
    audit.reload_keys().await.unwrap();
    let keys = log.verifier_keys();
    assert_eq!((keys.len(), &keys[1]), (2, &old_key));
    fill(&audit, &world.acme, 256).await;
    assert!(independently(&log.head().await.unwrap().text, &keys[0]).is_ok());
    assert_eq!(intact(log.verify_since(&old_note.text).await.unwrap()).notes, 2);

    // Retired, the old key proves nothing any more, and breaks nothing either.
    world.vault.retire_signing(&system(), purpose, seeds[1].id).await.unwrap();
    audit.reload_keys().await.unwrap();
    assert_eq!(intact(log.verify().await.unwrap()).notes, 1);
    assert!(log.verify_since(&old_note.text).await.is_err());
}
