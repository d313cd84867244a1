//! A review is its tenant's, and what is in it nobody else's.

use bulkhead_reviews::{Error, OPEN, QUARANTINE, REVIEWS};
use ids::{OsEntropy, RandomId};
use store::Range;

use super::world::{WANTED, World, decision, finding, system};

#[tokio::test]
async fn nobody_reaches_anothers_review() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let staging = world.kit.scope("acme", "staging").await;
    let review = world.approved().await;
    world.reviews.of(&acme).get(review.id).await.unwrap();
    let never = RandomId::draw(&OsEntropy);
    for other in [&globex, &staging] {
        let inbox = world.reviews.of(other);
        for id in [review.id, never] {
            let answers = [
                inbox.get(id).await.err(),
                inbox.record(id).await.err(),
                inbox.may_settle(id, &finding(other, true)).await.err(),
                inbox.settle(id, finding(other, true)).await.err(),
                inbox.list(Some(id), 10).await.err(),
                inbox.decide(id, decision(other, true)).await.err(),
                inbox.close(id, "x", "x").await.err(),
                inbox.edit(id, vec![], [0; 32], "x").await.err(),
                inbox.redeem(id, WANTED).await.err(),
                world.reviews.waiting(other, id).await.err(),
            ];
            for answer in answers {
                assert!(matches!(answer, Some(Error::Missing)), "{answer:?}");
            }
        }
        assert!(inbox.list(None, 10).await.unwrap().is_empty());
    }
    world.reviews.of(&acme).redeem(review.id, WANTED).await.unwrap();
}

/// The second lock alone: another's rows, put under one's own partition, do not open.
#[tokio::test]
async fn anothers_rows_do_not_open() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let review = world.approved().await;
    for (key, value) in world.store.of(&acme).scan(REVIEWS, Range::all()).await.unwrap() {
        world.store.of(&globex).put(REVIEWS, &key, &value).await.unwrap();
    }
    let inbox = world.reviews.of(&globex);
    for answer in [
        inbox.get(review.id).await.err(),
        inbox.redeem(review.id, WANTED).await.err(),
        inbox.list(None, 10).await.err(),
    ] {
        assert!(matches!(answer, Some(Error::Vault(vault::Error::Foreign))), "{answer:?}");
    }
}

/// An earlier record, put back by a hand in the file, is one that was approved and not used. It is the
/// hand that the seal cannot see; that arguments and record are of one edition it does see.
#[tokio::test]
async fn arguments_of_another_review_do_not_open() {
    let world = World::new().await;
    let acme = world.acme().await;
    let (one, two) = (world.ask(&acme).await, world.ask(&acme).await);
    let view = world.store.of(&acme);
    let payload = |id: &RandomId| [&b"p"[..], id.as_bytes()].concat();
    let theirs = view.get(REVIEWS, &payload(&two.id)).await.unwrap().unwrap();
    view.put(REVIEWS, &payload(&one.id), &theirs).await.unwrap();
    let got = world.reviews.of(&acme).get(one.id).await;
    assert!(matches!(got, Err(Error::Vault(vault::Error::Foreign))), "{got:?}");
}

#[tokio::test]
async fn nothing_of_it_lies_in_the_clear() {
    let world = World::new().await;
    let acme = world.acme().await;
    world.ask(&acme).await;
    let doubtful = bulkhead_reviews::Doubtful {
        what: "crm.get".into(),
        upstream: None,
        payload: b"canary-77aa of somebody".to_vec(),
        reason: "acct_9 canary".into(),
    };
    world.reviews.quarantine(&acme, doubtful).await.unwrap();
    let own = world.store.of(&acme).scan(REVIEWS, Range::all()).await.unwrap();
    let system = system();
    let view = world.store.system(&system);
    let open = view.scan(OPEN, Range::all()).await.unwrap();
    let quarantine = view.scan(QUARANTINE, Range::all()).await.unwrap();
    assert!(!own.is_empty() && !open.is_empty() && !quarantine.is_empty());
    for (key, value) in own.iter().chain(&open).chain(&quarantine) {
        for needle in ["canary", "crm", "refund", "acme", "token:"] {
            for bytes in [key, value] {
                let holds = bytes.windows(needle.len()).any(|at| at == needle.as_bytes());
                assert!(!holds, "{needle}");
            }
        }
    }
}

#[tokio::test]
async fn an_erased_tenant_leaves_the_index() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    for _ in 0..3 {
        world.ask(&acme).await;
    }
    let stays = world.ask(&globex).await;
    for scope in [&acme, &globex] {
        let review = world.approved_with_mandate(scope).await;
        assert!(world.reviews.due(&system(), scope, review.id).await.unwrap().is_some());
    }
    let gone = world.reviews.forget(&system(), &acme).await.unwrap();
    assert_eq!(gone, 4);
    let owing = world.reviews.owing(&system()).await.unwrap();
    assert_eq!(owing.len(), 1);
    let (due, _) = world.reviews.due_of(&system(), &owing[0], None).await.unwrap();
    assert!(due[0].is_of(&globex));
    let left = world.reviews.pending(&system(), None, 10).await.unwrap();
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [stays.id]);
}
