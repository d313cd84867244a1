//! Whoever can write the rows of a log can break it, and is found, with the place.

use bulkhead_records::{AUDIT, AUDIT_HEAD, AUDIT_NOTES, Audit, Verdict};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::{Range, View};

use super::world::{World, fill, intact};

type Rows<'a> = View<'a, scope::Write>;

const ENTRIES: u64 = 300;

fn key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

async fn row(rows: &Rows<'_>, seq: u64) -> Vec<u8> {
    rows.get(AUDIT, &key(seq)).await.unwrap().unwrap().to_vec()
}

async fn change(rows: &Rows<'_>, seq: u64, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&row(rows, seq).await).unwrap();
    change(&mut value);
    rows.put(AUDIT, &key(seq), value.to_string().as_bytes()).await.unwrap();
}

/// Computes all links anew from an entry on, as a forger would.
async fn relink(rows: &Rows<'_>, from: u64, through: u64) -> Vec<u8> {
    let field = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let hash = |value: &Value, name| ids::text::unhex(value[name].as_str().unwrap()).unwrap();
    let before: Value = serde_json::from_slice(&row(rows, from - 1).await).unwrap();
    let mut link = hash(&before, "link");
    for seq in from..=through {
        let value: Value = serde_json::from_slice(&row(rows, seq).await).unwrap();
        let parts = [field(&link), field(&seq.to_le_bytes()), field(&hash(&value, "commitment"))];
        link = Sha256::digest([&[1][..], &parts.concat()].concat()).to_vec();
        change(rows, seq, |value| value["link"] = ids::text::hex(&link).into()).await;
    }
    link
}

#[derive(Clone, Copy, Debug)]
enum Tamper {
    ChangeBody,
    ChangeCommitment,
    ChangeLink,
    EraseBody,
    ExchangeBodies,
    Garbage,
    Remove,
    RemoveFirst,
    RemoveLast,
    Swap,
    InsertBehind,
    InsertBetween,
    ForgeHead,
    RemoveHead,
    RelinkAll,
    RelinkBehindTheNote,
    ForgeNote,
    RemoveTail,
}

use Tamper::*;

async fn tamper(rows: &Rows<'_>, how: Tamper) {
    match how {
        ChangeBody => {
            // A byte of the ciphertext.
            change(rows, 100, |value| {
                let sealed = value["body"]["sealed"].as_str().unwrap().to_owned();
                let mut sealed = ids::text::unbase64url(&sealed).unwrap();
                *sealed.last_mut().unwrap() ^= 1;
                value["body"]["sealed"] = ids::text::base64url(&sealed).into();
            })
            .await;
        }
        ChangeCommitment => {
            change(rows, 100, |value| value["commitment"] = "00".repeat(32).into()).await;
        }
        ChangeLink => change(rows, 100, |value| value["link"] = "00".repeat(32).into()).await,
        EraseBody => change(rows, 100, |value| value["body"] = "erased".into()).await,
        ExchangeBodies => {
            let body = |row: &[u8]| serde_json::from_slice::<Value>(row).unwrap()["body"].clone();
            let (a, b) = (body(&row(rows, 100).await), body(&row(rows, 200).await));
            change(rows, 100, |value| value["body"] = b).await;
            change(rows, 200, |value| value["body"] = a).await;
        }
        Garbage => rows.put(AUDIT, &key(100), b"{}").await.unwrap(),
        Remove => assert!(rows.delete(AUDIT, &key(100)).await.unwrap()),
        RemoveFirst => assert!(rows.delete(AUDIT, &key(1)).await.unwrap()),
        RemoveLast => assert!(rows.delete(AUDIT, &key(ENTRIES)).await.unwrap()),
        Swap => {
            let (a, b) = (row(rows, 100).await, row(rows, 200).await);
            rows.put(AUDIT, &key(100), &b).await.unwrap();
            rows.put(AUDIT, &key(200), &a).await.unwrap();
        }
        InsertBehind => {
            let last = row(rows, ENTRIES).await;
            rows.put(AUDIT, &key(ENTRIES + 1), &last).await.unwrap();
            relink(rows, ENTRIES + 1, ENTRIES + 1).await;
        }
        InsertBetween => {
            let between = [&key(100)[..], b"\x01"].concat();
            rows.put(AUDIT, &between, &row(rows, 100).await).await.unwrap();
        }
        ForgeHead => {
            let head = rows.get(AUDIT_HEAD, b"head").await.unwrap().unwrap();
            let mut head: Value = serde_json::from_slice(&head).unwrap();
            head["seq"] = json!(ENTRIES - 1);
            rows.put(AUDIT_HEAD, b"head", head.to_string().as_bytes()).await.unwrap();
        }
        RemoveHead => assert!(rows.delete(AUDIT_HEAD, b"head").await.unwrap()),
        RelinkAll => {
            // Everything a forger can make consistent: entry 100 is gone, the rest moved up.
            for seq in 100..ENTRIES {
                let next = row(rows, seq + 1).await;
                rows.put(AUDIT, &key(seq), &next).await.unwrap();
            }
            rows.delete(AUDIT, &key(ENTRIES)).await.unwrap();
            relink(rows, 100, ENTRIES - 1).await;
        }
        RelinkBehindTheNote => {
            let (a, b) = (row(rows, 270).await, row(rows, 280).await);
            rows.put(AUDIT, &key(270), &b).await.unwrap();
            rows.put(AUDIT, &key(280), &a).await.unwrap();
            relink(rows, 270, ENTRIES).await;
        }
        ForgeNote => {
            let note = rows.get(AUDIT_NOTES, &key(256)).await.unwrap().unwrap();
            let note = String::from_utf8(note.to_vec()).unwrap().replace("\n256\n", "\n255\n");
            rows.put(AUDIT_NOTES, &key(256), note.as_bytes()).await.unwrap();
        }
        RemoveTail => {
            for seq in 200..=ENTRIES {
                rows.delete(AUDIT, &key(seq)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_changed_removed_swapped_or_inserted_row_is_found_with_its_place() {
    let world = World::new().await;
    let audit = world.audit().await;
    for (tenant, (how, place)) in [
        (ChangeBody, 100),
        (ChangeCommitment, 100),
        (ChangeLink, 100),
        (EraseBody, 100),
        (ExchangeBodies, 100),
        (Garbage, 100),
        (Remove, 100),
        (RemoveFirst, 1),
        (RemoveLast, ENTRIES),
        (Swap, 100),
        (InsertBehind, ENTRIES + 1),
        (InsertBetween, 101),
        (ForgeHead, ENTRIES),
        (RemoveHead, 1),
        (RelinkAll, 256),
        (RelinkBehindTheNote, ENTRIES),
        (ForgeNote, 256),
        (RemoveTail, 200),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("tenant-{tenant}");
        world.kit.registry.add_tenant(&name, &["live"], ids::Clock::now(&*world.clock));
        let scope = world.kit.scope(&name, "live").await;
        fill(&audit, &scope, ENTRIES).await;
        assert_eq!(intact(audit.of(&scope).verify().await.unwrap()).entries, ENTRIES);
        tamper(&world.store.of(&scope), how).await;
        match audit.of(&scope).verify().await.unwrap() {
            Verdict::Broken(broken) => assert_eq!(broken.seq, place, "{how:?}: {broken}"),
            Verdict::Intact(verified) => unreachable!("{how:?} was not found: {verified:?}"),
        }
    }
}

/// The whole log as it was an hour ago, head and notes included: within the log nothing is
/// wrong, so it takes a note that was handed out.
#[tokio::test]
async fn a_log_set_back_as_a_whole_is_found_by_a_note_that_was_handed_out() {
    let world = World::new().await;
    let audit = world.audit().await;
    let rows = world.store.of(&world.acme);
    fill(&audit, &world.acme, 10).await;
    let head = rows.get(AUDIT_HEAD, b"head").await.unwrap().unwrap();
    let old_note = audit.of(&world.acme).head().await.unwrap();
    fill(&audit, &world.acme, 10).await;
    let note = audit.of(&world.acme).head().await.unwrap();
    for seq in 11..=20 {
        rows.delete(AUDIT, &key(seq)).await.unwrap();
    }
    rows.put(AUDIT_HEAD, b"head", &head).await.unwrap();

    let log = audit.of(&world.acme);
    assert!(log.verify().await.unwrap().is_intact());
    assert!(log.verify_since(&old_note.text).await.unwrap().is_intact());
    let Verdict::Broken(broken) = log.verify_since(&note.text).await.unwrap() else {
        unreachable!("not found")
    };
    assert_eq!(broken.seq, 11);
    // And with another history in its place.
    fill(&audit, &world.acme, 10).await;
    let Verdict::Broken(broken) = log.verify_since(&note.text).await.unwrap() else {
        unreachable!("not found")
    };
    assert_eq!(broken.seq, 20);
}

#[tokio::test]
async fn nothing_is_appended_to_a_head_that_is_not_ours() {
    let world = World::new().await;
    let audit: Audit = world.audit().await;
    fill(&audit, &world.acme, 300).await;
    tamper(&world.store.of(&world.acme), ForgeHead).await;
    let entry = scope::Entry::allowed("operator:ada", "tenant.change", "x");
    let answer = scope::AuditSink::record(&audit, &world.acme, entry).await;
    assert!(answer.unwrap_err().to_string().contains("records.damaged"));
    assert_eq!(audit.of(&world.acme).head().await.unwrap_err().code(), "records.damaged");
    let kept = world.store.of(&world.acme).scan(AUDIT, Range::all().limit(1_000)).await.unwrap();
    assert_eq!(kept.len(), 300);
}
