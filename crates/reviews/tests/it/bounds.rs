//! How many, in which order, and for how long.

use std::time::Duration;

use bulkhead_reviews::{Error, REVIEWS, Settings, Webhook};
use ids::Clock as _;
use store::Usage;

use super::world::{HOUR, WANTED, World, decision, system};

fn settings(open_per_tenant: u64) -> Settings {
    Settings { open_per_tenant, ..Settings::default() }
}

#[tokio::test]
async fn a_tenant_fills_its_own_inbox_alone() {
    let world = World::with(settings(3)).await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let first = world.ask(&acme).await;
    world.ask(&acme).await;
    world.ask(&acme).await;
    let inbox = world.reviews.of(&acme);
    let full = inbox.ask(world.asked()).await;
    assert!(matches!(full, Err(Error::Full(3))), "{full:?}");
    assert_eq!(world.told.all().len(), 3, "nobody is told of what was not opened");
    assert_eq!(world.reviews.pending(&system(), None, 10).await.unwrap().len(), 3);
    world.ask(&globex).await;

    // What is allowed still counts until it is used or ends.
    let ada = world.ada().await;
    world.approve(&ada, first.id).await.unwrap();
    assert!(inbox.ask(world.asked()).await.is_err());
    inbox.redeem(first.id, WANTED).await.unwrap();
    let next = world.ask(&acme).await;
    assert!(inbox.ask(world.asked()).await.is_err());
    world.reviews.of(&ada).decide(next.id, decision(&ada, false)).await.unwrap();
    world.ask(&acme).await;
    assert!(inbox.ask(world.asked()).await.is_err());

    // So does nobody decide: then they end, and there is room.
    world.clock.advance(HOUR);
    let acme = world.acme().await;
    for _ in 0..3 {
        world.ask(&acme).await;
    }
    assert!(world.reviews.of(&acme).ask(world.asked()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_do_not_pass_the_bound() {
    let world = World::with(settings(5)).await;
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let (reviews, asked) = (world.reviews.clone(), world.asked());
        let acme = world.acme().await;
        tasks.push(
            acme.spawn(move |scope| async move { reviews.of(&scope).ask(asked).await.is_ok() }),
        );
    }
    let mut opened = 0;
    for task in tasks {
        opened += usize::from(task.await.unwrap());
    }
    assert_eq!(opened, 5);
    assert_eq!(world.reviews.pending(&system(), None, 100).await.unwrap().len(), 5);
}

#[tokio::test]
async fn settled_ones_make_room_and_open_ones_never_do() {
    let world = World::with(settings(2)).await;
    let (acme, ada) = (world.acme().await, world.ada().await);
    let stays = world.ask(&acme).await;
    for _ in 0..60 {
        world.clock.advance(Duration::from_millis(1));
        let review = world.ask(&acme).await;
        world.reviews.of(&ada).decide(review.id, decision(&ada, false)).await.unwrap();
    }
    let Usage { rows, .. } = world.store.of(&acme).usage(REVIEWS).await.unwrap();
    assert!(rows <= 110, "{rows} rows");
    world.reviews.of(&acme).get(stays.id).await.unwrap();
}

#[tokio::test]
async fn a_list_is_in_order_and_goes_on_where_it_stopped() {
    let world = World::new().await;
    let (acme, globex) = (world.acme().await, world.globex().await);
    let mut opened = Vec::new();
    for n in 0..7_u64 {
        world.clock.advance(Duration::from_millis(n % 3));
        opened.push(world.ask(&acme).await);
        world.ask(&globex).await;
    }
    // Those of one moment are in the order of their ids.
    opened.sort_by_key(|review| std::cmp::Reverse((review.opened, review.id)));
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = world.reviews.of(&acme).list(after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        listed.extend(page);
    }
    assert_eq!(listed, opened);

    let (mut pending, mut after) = (Vec::new(), None);
    loop {
        let page = world.reviews.pending(&system(), after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.opened, last.id));
        pending.extend(page);
    }
    assert_eq!(pending.len(), 14);
    let of_acme = pending.iter().filter(|one| one.tenant.as_ref() == Some(acme.tenant()));
    assert!(of_acme.map(|one| one.id).eq(opened.iter().map(|one| one.id)));
}

#[tokio::test]
async fn reviews_are_kept_for_as_long_as_the_settings_say() {
    let world = World::with(Settings { keep_days: 2, ..Settings::default() }).await;
    let acme = world.acme().await;
    let review = world.ask(&acme).await;
    world.clock.advance(HOUR * 48);
    world.reviews.of(&world.acme().await).get(review.id).await.unwrap();
    world.clock.advance(HOUR);
    let got = world.reviews.of(&world.acme().await).get(review.id).await;
    assert!(matches!(got, Err(Error::Missing)), "{got:?}");
    assert!(world.clock.now() > review.expires);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    let hook = |url: &str, allow_private| Webhook {
        url: url.into(),
        secret_env: "SECRET".into(),
        allow_private,
    };
    let good = Settings::default();
    for (settings, fits) in [
        (good.clone(), true),
        (Settings { open_per_tenant: 0, ..good.clone() }, false),
        (Settings { quarantine: 0, ..good.clone() }, false),
        (Settings { quarantine_bytes: 0, ..good.clone() }, false),
        (Settings { quarantine_bytes: 2 << 40, ..good.clone() }, false),
        (Settings { keep_days: 0, ..good.clone() }, false),
        (Settings { webhooks: vec![hook("https://example.com/h", false)], ..good.clone() }, true),
        (Settings { webhooks: vec![hook("http://example.com/h", false)], ..good.clone() }, false),
        (Settings { webhooks: vec![hook("http://127.0.0.1/h", true)], ..good.clone() }, true),
        (Settings { webhooks: vec![hook("ftp://example.com", true)], ..good.clone() }, false),
    ] {
        let world = World::new().await;
        let (store, vault) = (&world.store, &world.vault);
        let (clock, entropy) = (world.clock.clone(), std::sync::Arc::new(ids::OsEntropy));
        let opened = bulkhead_reviews::Reviews::open(
            settings.clone(),
            store,
            vault,
            system(),
            clock,
            entropy,
            world.told.clone(),
        );
        assert_eq!(opened.is_ok(), fits, "{settings:?}");
    }
}
