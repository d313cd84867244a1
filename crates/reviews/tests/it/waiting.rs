//! Whoever waits for a decision hears of it.

use bulkhead_reviews::{Error, Review, State};
use scope::{Scope, Write};
use tokio::task::JoinHandle;

use super::world::{HOUR, World, decision};

fn wait(world: &World, scope: &Scope<Write>, review: &Review) -> JoinHandle<Result<Review, Error>> {
    let (reviews, id) = (world.reviews.clone(), review.id);
    scope.spawn(move |scope| async move { reviews.waiting(&scope, id).await })
}

#[tokio::test]
async fn a_decision_ends_the_waiting_of_all_who_wait_for_it() {
    let world = World::new().await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    for (approve, state) in [(true, State::Approved), (false, State::Denied)] {
        let (review, other) = (world.ask(&acme).await, world.ask(&acme).await);
        let waiting = [wait(&world, &acme, &review), wait(&world, &acme, &review)];
        let not_this = wait(&world, &acme, &other);
        tokio::task::yield_now().await;
        world.reviews.of(&ada).decide(review.id, decision(&ada, approve)).await.unwrap();
        for one in waiting {
            let heard = tokio::time::timeout(testkit::PATIENCE, one).await.unwrap();
            assert_eq!(heard.unwrap().unwrap().state, state);
        }
        assert!(!not_this.is_finished());
        not_this.abort();
        // Whoever comes later does not wait.
        assert_eq!(world.reviews.waiting(&acme, review.id).await.unwrap().state, state);
    }
}

#[tokio::test(start_paused = true)]
async fn its_end_ends_the_waiting() {
    let world = World::new().await;
    let acme = world.acme().await;
    let review = world.ask(&acme).await;
    let waiting = wait(&world, &acme, &review);
    tokio::task::yield_now().await;
    world.clock.advance(HOUR);
    assert_eq!(waiting.await.unwrap().unwrap().state, State::Expired);
}

#[tokio::test]
async fn revocation_ends_the_waiting() {
    let world = World::new().await;
    let acme = world.acme().await;
    let review = world.ask(&acme).await;
    let waiting = wait(&world, &acme, &review);
    tokio::task::yield_now().await;
    world.kit.revoke("acme", *acme.jti()).await;
    let heard = tokio::time::timeout(testkit::PATIENCE, waiting).await.unwrap().unwrap();
    assert!(matches!(heard, Err(Error::Scope(_))), "{heard:?}");
}
