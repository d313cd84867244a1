use std::time::Duration;

use bulkhead_records::{Counts, EVENTS, EVENTS_OF_RUN, End, Filter, Options};
use ids::{Clock as _, RunId};
use scope::{Decision, Status};

use super::world::{World, list, on_disk};

fn run(name: &str) -> Option<RunId> {
    Some(RunId::parse(name).unwrap())
}

#[tokio::test]
async fn an_event_arrives_whole_and_only_where_it_belongs() {
    let world = World::new().await;
    let recorder = world.recorder(Options::default());
    let mut event = world.event(&world.acme);
    event.run = run("run-canary");
    event.step = Some("step-1".parse().unwrap());
    event.decision = Decision::Denied;
    event.code = Some("policy.denied".into());
    (event.bytes_in, event.bytes_out) = (2_048, 512);
    (event.tokens_in, event.tokens_out) = (Some(400), Some(12));
    event.latency_us = 1_234;
    event.cache = Some("miss".into());
    event.provider = Some("openai".parse().unwrap());
    event.route = Some("gpt-5".parse().unwrap());
    event.end = End::Cancelled;
    assert_eq!(event.workflow.as_ref().unwrap().as_str(), "support");
    recorder.event(&world.acme, event.clone());
    let theirs = world.event(&world.globex);
    recorder.event(&world.globex, theirs.clone());
    recorder.flush().await;

    let acmes = list(&recorder, &world.acme.read_only()).await;
    assert_eq!(acmes.iter().map(|kept| &kept.event).collect::<Vec<_>>(), [&event]);
    let globexs = list(&recorder, &world.globex).await;
    assert_eq!(globexs.iter().map(|kept| &kept.event).collect::<Vec<_>>(), [&theirs]);
    // Not in the same tenant's other environment, nor by the other's run or place.
    let staging = world.kit.scope("acme", "staging").await;
    assert!(list(&recorder, &staging).await.is_empty());
    for after in [None, Some(acmes[0].id)] {
        let filter = Filter { run: run("run-canary"), after, ..Filter::default() };
        assert!(recorder.list(&world.globex, &filter).await.unwrap().is_empty());
    }
    // The row of one does not open for the other, even in its partition.
    let key = world.store.of(&world.acme).scan(EVENTS, store::Range::all()).await.unwrap();
    let (key, row) = &key[0];
    world.store.of(&world.globex).put(EVENTS, key, row).await.unwrap();
    let answer = recorder.list(&world.globex, &Filter::default()).await;
    assert_eq!(answer.unwrap_err().code(), "vault.foreign");

    assert_eq!(recorder.counts(), Counts { written: 2, ..Counts::default() });
    assert!(!on_disk(&world, "run-canary") && !on_disk(&world, "policy.denied"), "sealed");
}

#[tokio::test]
async fn listings_filter_by_run_and_page_both_ways() {
    let world = World::new().await;
    let recorder = world.recorder(Options::default());
    // In chunks of all sizes: one event alone, full ones, and a rest.
    for (batch, count) in [1, 300, 2, 97].into_iter().enumerate() {
        for n in 0..count {
            let mut event = world.event(&world.acme);
            event.run = if n % 3 == 0 { run("third") } else { run("other") };
            event.latency_us = (batch * 1_000 + n) as u64;
            recorder.event(&world.acme, event);
        }
        recorder.flush().await;
        world.clock.advance(Duration::from_millis(1));
    }
    let all = list(&recorder, &world.acme).await;
    let order: Vec<_> = all.iter().map(|kept| kept.event.latency_us).collect();
    assert_eq!(order.len(), 400);
    assert!(order.is_sorted());

    for run in [None, run("third"), run("never")] {
        let asked = |kept: &&bulkhead_records::Recorded| run.is_none() || kept.event.run == run;
        let mut expected: Vec<_> = all.iter().filter(asked).cloned().collect();
        for newest_first in [false, true] {
            for limit in [7, 100, 400] {
                let mut paged = Vec::new();
                loop {
                    let after = paged.last().map(|kept: &bulkhead_records::Recorded| kept.id);
                    let filter = Filter { run: run.clone(), after, limit, newest_first };
                    let page = recorder.list(&world.acme, &filter).await.unwrap();
                    assert!(page.len() <= limit);
                    if page.is_empty() {
                        break;
                    }
                    paged.extend(page);
                }
                assert_eq!(paged, expected, "{run:?} {newest_first} {limit}");
            }
            expected.reverse();
        }
    }
}

/// The writer cannot run before the test waits, so the queue's bound is exact.
#[tokio::test]
async fn the_queue_is_bounded_fair_and_counts_what_it_drops() {
    let world = World::new().await;
    let recorder = world.recorder(Options { queue: 100, ..Options::default() });
    for _ in 0..1_000 {
        recorder.event(&world.acme, world.event(&world.acme));
    }
    for _ in 0..20 {
        recorder.event(&world.globex, world.event(&world.globex));
    }
    recorder.flush().await;
    // Fifty and twenty, and one that tells acme of the rest.
    assert_eq!(recorder.counts(), Counts { written: 71, dropped: 950, failed: 0 });
    let acme: Vec<_> = list(&recorder, &world.acme).await;
    let told: Vec<_> = acme.iter().filter_map(|kept| kept.event.dropped).collect();
    assert_eq!((acme.len(), told), (51, vec![950]));
    assert_eq!(list(&recorder, &world.globex).await.len(), 20, "a flood took nobody's place");
    recorder.event(&world.acme, world.event(&world.acme));
    recorder.flush().await;
    assert_eq!(recorder.counts().written, 72);
}

#[tokio::test]
async fn the_oldest_go_when_an_environment_has_its_share() {
    let world = World::new().await;
    let share = 20_000;
    let recorder = world.recorder(Options { bytes_per_environment: share, ..Options::default() });
    for n in 0..200 {
        let mut event = world.event(&world.acme);
        event.latency_us = n;
        event.run = run(&format!("run-{n}"));
        recorder.event(&world.acme, event);
        recorder.flush().await;
    }
    let view = world.store.of(&world.acme);
    let used = view.usage(EVENTS).await.unwrap();
    assert!(used.bytes <= share && used.rows > 5, "{used:?}");
    assert_eq!(
        view.usage(EVENTS_OF_RUN).await.unwrap().rows,
        used.rows,
        "no index without its row"
    );
    let kept: Vec<_> =
        list(&recorder, &world.acme).await.iter().map(|kept| kept.event.latency_us).collect();
    assert_eq!(kept.last(), Some(&199));
    assert_eq!(kept, (200 - kept.len() as u64..200).collect::<Vec<_>>());
    assert_eq!(recorder.counts().failed, 0);
}

#[tokio::test]
async fn events_end_with_their_keeping_and_with_their_tenant() {
    let world = World::new().await;
    let recorder = world.recorder(Options { keep_days: 2, ..Options::default() });
    recorder.event(&world.acme, world.event(&world.acme));
    recorder.flush().await;
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(list(&recorder, &world.acme).await.len(), 1);
    world.clock.advance(Duration::from_secs(86_400));
    assert!(list(&recorder, &world.acme).await.is_empty());

    // What still waits when its tenant is erased does not come back afterwards.
    recorder.event(&world.acme, world.event(&world.acme));
    world.kit.change("acme", |record| record.status = Status::Erased).await;
    recorder.flush().await;
    assert_eq!(recorder.counts(), Counts { written: 1, dropped: 1, failed: 0 });
}

#[tokio::test]
async fn events_survive_their_recorder_which_leaves_nothing_running() {
    let world = World::new().await;
    for n in 1..=2 {
        let recorder = world.recorder(Options::default());
        recorder.event(&world.acme, world.event(&world.acme));
        recorder.flush().await;
        recorder.flush().await;
        assert_eq!(list(&recorder, &world.acme).await.len(), n);
    }
    world.store.close().await.unwrap();
    let recorder = world.recorder(Options::default());
    recorder.event(&world.acme, world.event(&world.acme));
    recorder.flush().await;
    assert_eq!(recorder.counts(), Counts { written: 0, dropped: 0, failed: 1 });
}

#[tokio::test]
async fn a_full_disk_loses_events_and_says_how_many() {
    let world = World::on_disk_of(Some(64)).await;
    let recorder = world.recorder(Options::default());
    let mut sent = 0;
    while recorder.counts().failed == 0 {
        assert!(sent < 1_000_000, "the disk never filled");
        for _ in 0..500 {
            recorder.event(&world.acme, world.event(&world.acme));
        }
        sent += 500;
        recorder.flush().await;
    }
    let Counts { written, dropped, failed } = recorder.counts();
    assert_eq!((written + failed, dropped), (sent, 0));
    assert!(written > 0 && !list(&recorder, &world.acme).await.is_empty(), "reading goes on");
}

#[tokio::test(start_paused = true)]
async fn events_are_written_without_anybody_asking() {
    let world = World::new().await;
    let recorder = world.recorder(Options::default());
    let before = world.clock.now();
    recorder.event(&world.acme, world.event(&world.acme));
    // The runtime's clock is virtual, the disk's is not.
    let since = std::time::Instant::now();
    while recorder.counts().written == 0 {
        assert!(since.elapsed() < testkit::PATIENCE, "nobody wrote");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(list(&recorder, &world.acme).await[0].event.at, before);
}
