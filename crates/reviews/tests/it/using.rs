//! An approval is used once, for what was approved, before anything is done.

use bulkhead_reviews::{Error, New, State, Wanted};

use super::world::{WANTED, World};

#[tokio::test]
async fn an_approval_is_used_once() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let review = world.approved().await;
    let used = world.reviews.of(&acme).redeem(review.id, WANTED).await.unwrap();
    assert_eq!(used.state, State::Used);
    for _ in 0..2 {
        let again = world.reviews.of(&acme).redeem(review.id, WANTED).await;
        assert!(matches!(again, Err(Error::Settled("used"))), "{again:?}");
        world.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_uses_it() {
    let world = World::new().await;
    for _ in 0..8 {
        let review = world.approved().await;
        let mut tasks = Vec::new();
        for _ in 0..16 {
            let (reviews, id) = (world.reviews.clone(), review.id);
            let acme = world.acme().await;
            tasks.push(acme.spawn(move |scope| async move {
                reviews.of(&scope).redeem(id, WANTED).await.is_ok()
            }));
        }
        let mut won = 0;
        for task in tasks {
            won += usize::from(task.await.unwrap());
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn an_approval_is_for_what_was_decided_on() {
    let world = World::new().await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    // Decided on other arguments than those that are kept.
    let review = world.ask(&acme).await;
    let mut other = super::world::decision(&ada, true);
    other.digest = [7; 32];
    let decided = world.reviews.of(&ada).decide(review.id, other).await;
    assert!(matches!(decided, Err(Error::Other(_))), "{decided:?}");
    assert_eq!(world.state(review.id).await, State::Open);

    // Used for something else.
    let review = world.approved().await;
    for wanted in [
        Wanted { what: "crm.delete", ..WANTED },
        Wanted { digest: [7; 32], ..WANTED },
        Wanted { policy: [7; 32], ..WANTED },
    ] {
        let used = world.reviews.of(&acme).redeem(review.id, wanted).await;
        assert!(matches!(used, Err(Error::Other(_))), "{used:?}");
    }
    // None of which has used it up.
    world.reviews.of(&acme).redeem(review.id, WANTED).await.unwrap();
}

/// What was allowed for one workflow, end user or account is not used for another. Another run is
/// no other caller.
#[tokio::test]
async fn an_approval_is_for_whose_call_it_was() {
    let world = World::new().await;
    let asker = world.for_subject("run-1", Some("user-1")).await;
    let account = "acct_acme".parse().unwrap();
    let new = New { account: Some(account), ..world.asked() };
    let review = world.reviews.of(&asker).ask(new).await.unwrap();
    world.approve(&world.ada().await, review.id).await.unwrap();
    let account = review.account.as_ref();
    let wanted = Wanted { account, ..WANTED };
    for other in [
        world.for_subject("run-1", Some("user-2")).await,
        world.for_subject("run-1", None).await,
        world.approver().await,
    ] {
        let used = world.reviews.of(&other).redeem(review.id, wanted).await;
        assert!(matches!(used, Err(Error::Other(_))), "{used:?}");
    }
    let another = "acct_globex".parse().unwrap();
    for account in [None, Some(&another)] {
        let used = world.reviews.of(&asker).redeem(review.id, Wanted { account, ..WANTED }).await;
        assert!(matches!(used, Err(Error::Other(_))), "{used:?}");
    }
    // None of which has used it up.
    let later = world.for_subject("run-2", Some("user-1")).await;
    let used = world.reviews.of(&later).redeem(review.id, wanted).await.unwrap();
    assert_eq!((used.state, used.used_for), (State::Used, Some(WANTED.intent)));
}

#[tokio::test]
async fn what_is_decided_outlives_a_restart() {
    let mut world = World::new().await;
    let acme = world.acme().await;
    let (open, approved) = (world.ask(&acme).await, world.approved().await);
    world.restart().await;
    assert_eq!(world.state(open.id).await, State::Open);
    assert_eq!(world.state(approved.id).await, State::Approved);
    let listed = world.reviews.pending(&super::world::system(), None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [open.id]);
    world.reviews.of(&acme).redeem(approved.id, WANTED).await.unwrap();
}

/// The credential that asked has ended: another one of the same tenant's uses what was approved.
#[tokio::test]
async fn it_is_used_by_a_later_credential() {
    let world = World::new().await;
    let asker = world.acme().await;
    let review = world.ask(&asker).await;
    world.approve(&world.ada().await, review.id).await.unwrap();
    world.kit.revoke("acme", *asker.jti()).await;
    let used = world.reviews.of(&asker).redeem(review.id, WANTED).await;
    assert!(matches!(used, Err(Error::Scope(_))), "a revoked credential uses nothing: {used:?}");
    world.reviews.of(&world.acme().await).redeem(review.id, WANTED).await.unwrap();
}

/// Whoever hangs up leaves it done or not begun.
#[tokio::test]
async fn a_caller_who_hangs_up_leaves_all_of_it_or_nothing() {
    let world = World::new().await;
    let acme = world.acme().await;
    for polls in 0..4 {
        let before = world.told.all().len();
        {
            let inbox = world.reviews.of(&acme);
            let mut asking = std::pin::pin!(inbox.ask(world.asked()));
            for _ in 0..polls {
                let once = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(asking.as_mut().poll(context).is_ready())
                });
                if once.await {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // All of it is there, or nothing: as many records as notices.
        let patience = tokio::time::timeout(testkit::PATIENCE, async {
            loop {
                let kept = world.reviews.of(&acme).list(None, 100).await.unwrap().len();
                let told = world.told.all().len();
                if kept == told && (polls == 0 || told > before) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
        patience.await.unwrap();
    }
}
