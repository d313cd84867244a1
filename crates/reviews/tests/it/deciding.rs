//! Who decides, on what, and what follows.

use bulkhead_reviews::{Error, Finding, Kind, New, OPEN, State};
use ids::Clock as _;
use store::File;

use super::world::{ARGUMENTS, DIGEST, HOUR, WANTED, World, decision, finding, system};

#[tokio::test]
async fn what_is_asked_comes_back_whole_and_is_announced_without_what_is_in_it() {
    let world = World::new().await;
    let acme = world.acme().await;
    let review = world.ask(&acme).await;
    let (got, payload) = world.reviews.of(&acme).get(review.id).await.unwrap();
    assert_eq!((&got, &*payload), (&review, ARGUMENTS));
    assert_eq!(got.state, State::Open);
    assert_eq!(got.asked_by, acme.actor().to_string());
    assert_eq!(got.workflow.as_ref(), acme.workflow());
    let told = world.told.all();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].id, told[0].tenant.as_ref()), (review.id, Some(acme.tenant())));
    assert!(!serde_json::to_string(&told).unwrap().contains("canary"));
}

#[tokio::test]
async fn a_person_allows_or_refuses_and_that_settles_it() {
    let world = World::new().await;
    let (acme, ada, approver) = (world.acme().await, world.ada().await, world.approver().await);
    for who in [&ada, &approver] {
        let review = world.ask(&acme).await;
        let decided = world.approve(who, review.id).await.unwrap();
        assert_eq!(decided.state, State::Approved);
        assert_eq!(decided.decisions[0].by, who.actor().to_string());
        let again = world.approve(&world.bob().await, review.id).await;
        assert!(matches!(again, Err(Error::Settled("approved"))), "{again:?}");

        let refused = world.ask(&acme).await;
        let inbox = world.reviews.of(who);
        assert_eq!(
            inbox.decide(refused.id, decision(who, false)).await.unwrap().state,
            State::Denied
        );
        let after = world.approve(who, refused.id).await;
        assert!(matches!(after, Err(Error::Settled("denied"))), "{after:?}");
        let used = world.reviews.of(&acme).redeem(refused.id, WANTED).await;
        assert!(matches!(used, Err(Error::Settled("denied"))), "{used:?}");
    }
}

#[tokio::test]
async fn what_was_allowed_can_be_stopped_until_it_is_used() {
    let world = World::new().await;
    let (acme, bob) = (world.acme().await, world.bob().await);
    let review = world.approved().await;
    let stopped = world.reviews.of(&bob).decide(review.id, decision(&bob, false)).await.unwrap();
    assert_eq!(stopped.state, State::Denied);
    assert!(world.reviews.of(&acme).redeem(review.id, WANTED).await.is_err());

    let review = world.approved().await;
    world.reviews.of(&acme).redeem(review.id, WANTED).await.unwrap();
    let late = world.reviews.of(&bob).decide(review.id, decision(&bob, false)).await;
    assert!(matches!(late, Err(Error::Settled("used"))), "{late:?}");
}

/// Neither with the credential that asked, nor with another one of the same agent's.
#[tokio::test]
async fn who_asked_approves_nothing() {
    let world = World::new().await;
    let (asker, another) = (world.acme().await, world.acme().await);
    assert_ne!(asker.jti(), another.jti());
    for who in [&asker, &another] {
        let review = world.ask(&asker).await;
        let approved = world.approve(who, review.id).await;
        assert!(matches!(approved, Err(Error::SamePerson)), "{approved:?}");
        assert_eq!(world.state(review.id).await, State::Open);
        // It may take back what it asked for.
        let inbox = world.reviews.of(who);
        assert_eq!(
            inbox.decide(review.id, decision(who, false)).await.unwrap().state,
            State::Denied
        );
    }
    // Nor make something go away that people should look at.
    let drift = New { kind: Kind::Drift, ..world.asked() };
    let drift = world.reviews.of(&asker).ask(drift).await.unwrap();
    let closed = world.reviews.of(&another).decide(drift.id, decision(&another, false)).await;
    assert!(matches!(closed, Err(Error::SamePerson)), "{closed:?}");
}

#[tokio::test]
async fn four_eyes_are_two_people() {
    let world = World::new().await;
    let (acme, ada, bob) = (world.acme().await, world.ada().await, world.bob().await);
    let four_eyes = || New { four_eyes: true, ..world.asked() };

    let review = world.reviews.of(&acme).ask(four_eyes()).await.unwrap();
    assert_eq!(world.approve(&ada, review.id).await.unwrap().state, State::Open);
    let used = world.reviews.of(&acme).redeem(review.id, WANTED).await;
    assert!(matches!(used, Err(Error::Settled("open"))), "{used:?}");
    // The same operator, entered anew.
    let twice = world.approve(&world.ada().await, review.id).await;
    assert!(matches!(twice, Err(Error::SamePerson)), "{twice:?}");
    assert_eq!(world.approve(&bob, review.id).await.unwrap().state, State::Approved);

    // Two tokens of one workflow say nothing of two people.
    let review = world.reviews.of(&acme).ask(four_eyes()).await.unwrap();
    world.approve(&world.approver().await, review.id).await.unwrap();
    let twice = world.approve(&world.approver().await, review.id).await;
    assert!(matches!(twice, Err(Error::SamePerson)), "{twice:?}");
    // One refusal is enough.
    let refused = world.reviews.of(&bob).decide(review.id, decision(&bob, false)).await.unwrap();
    assert_eq!(refused.state, State::Denied);
}

#[tokio::test]
async fn an_edit_is_another_thing_to_decide_on() {
    let world = World::new().await;
    let (acme, ada, bob) = (world.acme().await, world.ada().await, world.bob().await);
    let review = world.approved().await;
    let other = [9; 32];
    let inbox = world.reviews.of(&bob);
    let edited = inbox.edit(review.id, b"{\"amount\":5}".to_vec(), other, "operator:bob").await;
    assert_eq!(edited.unwrap().state, State::Open);
    // In the operators' list again.
    assert_eq!(world.reviews.pending(&super::world::system(), None, 9).await.unwrap().len(), 1);
    let (review, payload) = world.reviews.of(&acme).get(review.id).await.unwrap();
    assert_eq!(&*payload, b"{\"amount\":5}");
    assert_eq!(review.approvals(), 0);
    assert!(review.decisions.iter().all(|one| one.void));

    let before = world.approve(&ada, review.id).await;
    assert!(matches!(before, Err(Error::Other(_))), "decided on what stood there before");
    let mut anew = decision(&ada, true);
    anew.digest = other;
    world.reviews.of(&ada).decide(review.id, anew).await.unwrap();
    let inbox = world.reviews.of(&acme);
    assert!(matches!(inbox.redeem(review.id, WANTED).await, Err(Error::Other(_))));
    let wanted = bulkhead_reviews::Wanted { digest: other, ..WANTED };
    inbox.redeem(review.id, wanted).await.unwrap();

    // Whoever asked does not change what people look at.
    let review = world.ask(&acme).await;
    let by = acme.actor().to_string();
    let edited = world.reviews.of(&acme).edit(review.id, b"{}".to_vec(), other, &by).await;
    assert!(matches!(edited, Err(Error::SamePerson)), "{edited:?}");
}

#[tokio::test]
async fn what_is_no_approval_is_closed_and_never_used() {
    let world = World::new().await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    for kind in [Kind::Suggestion, Kind::Drift] {
        let review = world.reviews.of(&acme).ask(New { kind, ..world.asked() }).await.unwrap();
        let decided = world.approve(&ada, review.id).await.unwrap();
        assert_eq!(decided.state, State::Closed);
        let used = world.reviews.of(&acme).redeem(review.id, WANTED).await;
        assert!(matches!(used, Err(Error::Other(_))), "{used:?}");
    }
    let review = world.ask(&acme).await;
    let closed = world.reviews.of(&acme).close(review.id, "bulkhead", "reconciled").await.unwrap();
    assert_eq!(closed.state, State::Closed);
    assert!(world.approve(&ada, review.id).await.is_err());
}

#[tokio::test]
async fn what_has_expired_is_neither_decided_nor_used() {
    let world = World::new().await;
    let (open, approved) = (world.ask(&world.acme().await).await, world.approved().await);
    world.clock.advance(HOUR);
    let (acme, ada) = (world.acme().await, world.ada().await);
    let inbox = world.reviews.of(&acme);
    for review in [&open, &approved] {
        assert_eq!(inbox.record(review.id).await.unwrap().state, State::Expired);
        let used = inbox.redeem(review.id, WANTED).await;
        assert!(matches!(used, Err(Error::Settled("expired"))), "{used:?}");
        let decided = world.approve(&ada, review.id).await;
        assert!(matches!(decided, Err(Error::Settled("expired"))), "{decided:?}");
    }
    let pending = world.reviews.pending(&super::world::system(), None, 9).await.unwrap();
    assert_eq!(pending, Vec::new(), "nobody is asked for what cannot be decided any more");
}

#[tokio::test]
async fn of_an_outcome_is_said_how_it_was_and_not_that_it_may_be() {
    let world = World::new().await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    let unknown = async || {
        let new = New { kind: Kind::Unknown, ..world.asked() };
        world.reviews.of(&acme).ask(new).await.unwrap().id
    };
    for done in [true, false] {
        let id = unknown().await;
        for approve in [true, false] {
            let decided = world.reviews.of(&ada).decide(id, decision(&ada, approve)).await;
            assert!(matches!(decided, Err(Error::Kind(Kind::Unknown))), "{decided:?}");
        }
        // Whoever wants it done again does not say that it was not done, nor who else works there.
        let asked = world.reviews.of(&acme).settle(id, finding(&acme, done)).await;
        assert!(matches!(asked, Err(Error::SamePerson)), "{asked:?}");
        let beside = world.for_subject("run-2", None).await;
        let said = world.reviews.of(&beside).settle(id, finding(&beside, done)).await;
        assert!(matches!(said, Err(Error::SamePerson)), "{said:?}");
        let unseen = Finding { digest: [9; 32], ..finding(&ada, done) };
        let said = world.reviews.of(&ada).settle(id, unseen).await;
        assert!(matches!(said, Err(Error::Other(_))), "{said:?}");

        let inbox = world.reviews.of(&ada);
        inbox.may_settle(id, &finding(&ada, done)).await.unwrap();
        assert_eq!(inbox.record(id).await.unwrap().state, State::Open);
        let settled = inbox.settle(id, finding(&ada, done)).await.unwrap();
        assert_eq!((settled.state, settled.decisions[0].done), (State::Closed, Some(done)));
        assert_eq!(settled.approvals(), 0);
        let again = inbox.settle(id, finding(&ada, done)).await;
        assert!(matches!(again, Err(Error::Settled("closed"))), "{again:?}");
    }
    let person = world.approver().await;
    let id = unknown().await;
    world.reviews.of(&person).settle(id, finding(&person, true)).await.unwrap();
    // Of what was never sent nobody says that it was done.
    let review = world.ask(&acme).await;
    let said = world.reviews.of(&ada).settle(review.id, finding(&ada, true)).await;
    assert!(matches!(said, Err(Error::Kind(Kind::Approval))), "{said:?}");
}

#[tokio::test]
async fn what_was_allowed_is_due_and_nothing_else() {
    let mut world = World::new().await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    let mandate = || world.kit.doors.mandate(&acme, "tool.execute", HOUR).unwrap();
    let mandates = vec![mandate(), mandate()];
    let with = New { mandates: mandates.clone(), ..world.asked() };
    let inbox = world.reviews.of(&acme);
    let review = inbox.ask(with.clone()).await.unwrap();
    let refused = inbox.ask(with).await.unwrap();
    world.reviews.of(&ada).decide(refused.id, decision(&ada, false)).await.unwrap();
    assert!(world.reviews.owing(&system()).await.unwrap().is_empty());
    world.approve(&ada, review.id).await.unwrap();
    // Nobody does by itself what nobody gave a mandate for.
    world.approved().await;

    world.restart().await;
    let owing = world.reviews.owing(&system()).await.unwrap();
    assert_eq!(owing.len(), 1);
    let (all, last) = world.reviews.due_of(&system(), &owing[0], None).await.unwrap();
    assert_eq!((all.len(), all[0].id, &all[0].mandates), (1, review.id, &mandates));
    assert!(all[0].is_of(&acme) && !all[0].is_of(&world.globex().await));
    let (behind, end) = world.reviews.due_of(&system(), &owing[0], last).await.unwrap();
    assert!(behind.is_empty() && end.is_none());
    let globex = world.globex().await;
    assert!(world.reviews.due(&system(), &globex, review.id).await.unwrap().is_none());
    world.clock.advance(HOUR);
    assert!(world.reviews.owing(&system()).await.unwrap().is_empty(), "it has expired");
}

#[tokio::test]
async fn what_is_due_is_begun_by_one_and_over_for_what_was_read() {
    let world = World::new().await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    let review = world.approved_with_mandate(&acme).await;
    let due = async || world.reviews.due(&system(), &acme, review.id).await.unwrap();
    let first = due().await.unwrap();
    let mandates = || vec![world.kit.doors.mandate(&acme, "tool.execute", HOUR).unwrap()];
    let next = world.clock.now().plus(HOUR);
    let begun = world.reviews.begun(&system(), &first, mandates(), next).await.unwrap().unwrap();
    assert_eq!((begun.looks, begun.next), (1, next));
    assert!(world.reviews.begun(&system(), &first, mandates(), next).await.unwrap().is_none());
    world.reviews.over(&system(), &first).await.unwrap();
    assert_eq!(due().await.unwrap().mandates, begun.mandates);

    // Edited and approved anew, it is due anew, whoever still works on what it was.
    let inbox = world.reviews.of(&ada);
    inbox.edit(review.id, b"{}".to_vec(), DIGEST, "operator:bob").await.unwrap();
    world.approve(&ada, review.id).await.unwrap();
    world.reviews.over(&system(), &begun).await.unwrap();
    let anew = due().await.unwrap();
    // By what was written down last: what it was opened with is spent.
    assert_eq!((anew.looks, &anew.mandates), (0, &begun.mandates));
    world.reviews.over(&system(), &anew).await.unwrap();
    assert!(due().await.is_none());
}

#[tokio::test]
async fn what_cannot_be_read_hides_nothing_behind_it() {
    let world = World::new().await;
    let acme = world.acme().await;
    let review = world.approved_with_mandate(&acme).await;
    let system = system();
    let owing = world.reviews.owing(&system).await.unwrap();
    let first = owing[0].clone();
    let written = world.store.system(&system).write(File::State, 16_384, move |txn| {
        for n in 0..256_u128 {
            txn.put(OPEN, &[&first[..], &n.to_be_bytes()].concat(), b"unreadable")?;
        }
        Ok::<_, store::Error>(())
    });
    written.await.unwrap();
    let (all, last) = world.reviews.due_of(&system, &owing[0], None).await.unwrap();
    assert!(all.is_empty());
    let (all, _) = world.reviews.due_of(&system, &owing[0], last).await.unwrap();
    assert_eq!(all.iter().map(|due| due.id).collect::<Vec<_>>(), [review.id]);
}
