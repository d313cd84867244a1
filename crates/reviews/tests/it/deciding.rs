//! Who decides, on what, and what follows.

use bulkhead_reviews::{Error, Kind, New, State};

use super::world::{ARGUMENTS, HOUR, WANTED, World, decision};

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
    let unknown = New { kind: Kind::Unknown, ..world.asked() };
    let unknown = world.reviews.of(&asker).ask(unknown).await.unwrap();
    let closed = world.reviews.of(&another).decide(unknown.id, decision(&another, false)).await;
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
    for kind in [Kind::Suggestion, Kind::Unknown, Kind::Drift] {
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
async fn a_mandate_is_there_for_what_was_allowed_alone() {
    let world = World::new().await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    let mandate = world.kit.doors.mandate(&acme, "tool.execute", HOUR).unwrap();
    let with = || New { mandate: Some(mandate.clone()), ..world.asked() };
    let inbox = world.reviews.of(&acme);

    let review = inbox.ask(with()).await.unwrap();
    assert_eq!(inbox.mandate(review.id).await.unwrap(), None);
    world.approve(&ada, review.id).await.unwrap();
    assert_eq!(inbox.mandate(review.id).await.unwrap(), Some(mandate.clone()));
    inbox.redeem(review.id, WANTED).await.unwrap();
    assert_eq!(inbox.mandate(review.id).await.unwrap(), Some(mandate.clone()));

    let refused = inbox.ask(with()).await.unwrap();
    world.reviews.of(&ada).decide(refused.id, decision(&ada, false)).await.unwrap();
    assert_eq!(inbox.mandate(refused.id).await.unwrap(), None);
}
