use std::time::Duration;

use ids::ManualClock;
use proptest::prelude::*;

use super::*;
use crate::key::tests::{any, any_partition};

const A: Partition = [1; 32];
const B: Partition = [2; 32];
const GROUP: SemanticKey = any_partition(7);

/// What a vector of four numbers weighs.
const ONE: usize = 16 + space::OVERHEAD;

fn index(per_tenant: usize, total: usize, entries: u64) -> (Semantic, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Millis(1_000)));
    let settings = SemanticSettings {
        bytes_per_tenant: per_tenant as u64,
        bytes_total: total as u64,
        entries_per_partition: entries,
    };
    settings.check().unwrap();
    (Semantic::new(settings, clock.clone()), clock)
}

/// A direction of its own for each byte.
fn vector(of: u8) -> [f32; 4] {
    let angle = f32::from(of) / 255.0 * std::f32::consts::TAU;
    [angle.cos(), angle.sin(), 0.0, 0.0]
}

fn add(index: &Semantic, whose: &Partition, of: u8, expires: u64) -> bool {
    index.add(whose, &GROUP, &vector(of), Entry::new(any(of), Millis(expires)))
}

fn finds(index: &Semantic, whose: &Partition, of: u8) -> bool {
    index.find(whose, &GROUP, &vector(of), 0.9999).is_some_and(|near| near.key == any(of))
}

/// Catches the planted bug `semantic-index-across-tenants`: the first lock alone, with keys
/// that collide.
#[test]
fn two_tenants_share_no_vectors_even_if_their_keys_collide() {
    let (index, _) = index(1 << 20, 1 << 20, 512);
    assert!(add(&index, &A, 1, 9_000));
    assert!(finds(&index, &A, 1));
    assert!(index.find(&B, &GROUP, &vector(1), 0.0).is_none());
    assert!(add(&index, &B, 1, 9_000));
    index.forget_tenant(&B);
    assert!(finds(&index, &A, 1));
    assert_eq!(index.counts(), SemanticCounts { tenants: 1, bytes: ONE as u64 });
}

#[test]
fn the_nearest_that_is_near_enough() {
    let (index, _) = index(1 << 20, 1 << 20, 512);
    for (key, x) in [(1, 0.0), (2, 0.5), (3, 0.6)] {
        let entry = Entry::new(any(key), Millis(9_000));
        assert!(index.add(&A, &GROUP, &[1.0, x], entry));
    }
    let find =
        |vector: &[f32], threshold| index.find(&A, &GROUP, vector, threshold).map(|near| near.key);
    assert_eq!(find(&[2.0, 0.9], 0.9), Some(any(2)));
    assert_eq!(find(&[100.0, 0.0], 0.9999), Some(any(1)));
    assert_eq!(find(&[1.0, 10.0], 0.5), Some(any(3)));
    assert_eq!(find(&[1.0, 10.0], 0.9), None);
    assert_eq!(find(&[-1.0, 0.0], 0.0), None);
    for threshold in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5] {
        assert_eq!(find(&[1.0, 0.0], threshold), None);
    }
    for bad in [&[][..], &[0.0, 0.0], &[f32::NAN, 1.0], &[1.0, 0.0, 0.0]] {
        assert_eq!(find(bad, -1.0), None);
    }
    for bad in [&[][..], &[0.0, 0.0], &[f32::INFINITY, 1.0]] {
        assert!(!index.add(&A, &GROUP, bad, Entry::new(any(9), Millis(9_000))));
    }
    assert!(index.find(&A, &any_partition(8), &[1.0, 0.0], -1.0).is_none(), "another partition");
}

#[test]
fn an_answer_has_one_vector() {
    let (index, _) = index(1 << 20, 1 << 20, 512);
    for of in [vector(0), vector(100)] {
        assert!(index.add(&A, &GROUP, &of, Entry::new(any(1), Millis(9_000))));
    }
    assert!(index.find(&A, &GROUP, &vector(0), 0.99).is_none());
    assert!(index.find(&A, &GROUP, &vector(100), 0.99).is_some());
    assert_eq!(index.counts().bytes, ONE as u64);
    index.change(&A, |space| space.forget(&any(1)));
    assert_eq!(index.counts(), SemanticCounts::default());
}

#[test]
fn a_tenant_evicts_its_own_least_recently_used() {
    let (index, _) = index(3 * ONE, 1 << 20, 512);
    for of in [0, 50, 100] {
        assert!(add(&index, &A, of, 9_000));
    }
    assert!(finds(&index, &A, 0));
    assert!(add(&index, &A, 150, 9_000));
    let kept: Vec<bool> = [0, 50, 100, 150].iter().map(|of| finds(&index, &A, *of)).collect();
    assert_eq!(kept, [true, false, true, true]);
    // What cannot fit pushes nothing out.
    let large = vec![1.0; 1_000];
    assert!(!index.add(&A, &GROUP, &large, Entry::new(any(9), Millis(9_000))));
    assert_eq!(index.counts().bytes, 3 * ONE as u64);
}

#[test]
fn a_search_compares_with_so_many() {
    let (index, _) = index(1 << 20, 1 << 20, 3);
    for of in [0, 50, 100] {
        assert!(add(&index, &A, of, 9_000));
    }
    assert!(index.add(&A, &any_partition(8), &vector(0), Entry::new(any(9), Millis(9_000))));
    assert!(finds(&index, &A, 0));
    assert!(add(&index, &A, 150, 9_000));
    let kept: Vec<bool> = [0, 50, 100, 150].iter().map(|of| finds(&index, &A, *of)).collect();
    assert_eq!(kept, [true, false, true, true]);
    assert!(index.find(&A, &any_partition(8), &vector(0), 0.99).is_some(), "not this partition's");
}

#[test]
fn a_flood_takes_nothing_from_a_tenant_under_its_share() {
    let (index, _) = index(100 * ONE, 100 * ONE, 512);
    for of in 0..50 {
        assert!(add(&index, &A, of * 5, 9_000));
    }
    for _ in 0..4 {
        for of in 0..=255 {
            assert!(add(&index, &B, of, 9_000));
        }
    }
    assert!((0..50).all(|of| finds(&index, &A, of * 5)));
    assert_eq!(index.counts().bytes, 100 * ONE as u64);
    assert!(finds(&index, &B, 255) && !finds(&index, &B, 0));
}

#[test]
fn ends_with_its_time_and_is_dropped_without_being_asked_for() {
    let (index, clock) = index(1 << 20, 1 << 20, 512);
    for of in 0..6 {
        assert!(add(&index, &A, of * 40, 2_000));
    }
    assert!(!add(&index, &A, 250, 1_000), "over already");
    clock.advance(Duration::from_millis(999));
    assert!(finds(&index, &A, 0));
    clock.advance(Duration::from_millis(1));
    assert!(index.find(&A, &GROUP, &vector(0), -1.0).is_none());
    assert_eq!(index.counts(), SemanticCounts::default());
    // Another's write sees to those who do not come back.
    assert!(add(&index, &A, 0, 3_000));
    clock.advance(Duration::from_millis(1_000));
    assert!(add(&index, &B, 0, 9_000));
    assert_eq!(index.counts(), SemanticCounts { tenants: 1, bytes: ONE as u64 });
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let good = SemanticSettings::default();
    assert!(good.check().is_ok());
    for bad in [
        SemanticSettings { bytes_total: 1, ..good.clone() },
        SemanticSettings { entries_per_partition: 1 << 20, ..good.clone() },
    ] {
        assert_eq!(bad.check().unwrap_err().code(), "config.invalid", "{bad:?}");
    }
    let (none, _) = index(0, 0, 512);
    assert!(!add(&none, &A, 0, 9_000));
    let (none, _) = index(1 << 20, 1 << 20, 0);
    assert!(!add(&none, &A, 0, 9_000));
}

/// What is left of groups that were full weighs what it takes.
#[test]
fn groups_that_were_full_hold_no_empty_places() {
    let (index, _) = index(300 * ONE, 300 * ONE, 256);
    for group in 0..20 {
        for of in 0..=255 {
            let entry = Entry::new(any(of), Millis(9_000));
            index.add(&A, &any_partition(group), &vector(of), entry);
        }
        assert!(balances(&index), "{group}");
    }
    for of in 1..=255 {
        index.change(&A, |space| space.forget(&any(of)));
    }
    assert!(balances(&index));
}

/// Writers, searches and erasures at once: nothing deadlocks, and the books are right after.
#[test]
fn the_books_are_right_after_a_crowd() {
    let (index, _) = index(20 * ONE, 50 * ONE, 8);
    std::thread::scope(|threads| {
        for thread in 0..4_u8 {
            let index = &index;
            threads.spawn(move || {
                for i in 0..2_000_u16 {
                    let whose = [(i % 5) as u8; 32];
                    let of = (i % 251) as u8 ^ thread;
                    match i % 17 {
                        0 => index.forget_tenant(&whose),
                        1..6 => drop(index.find(&whose, &GROUP, &vector(of), 0.5)),
                        _ => drop(add(index, &whose, of, 9_000)),
                    }
                }
            });
        }
    });
    assert!(balances(&index));
}

fn balances(index: &Semantic) -> bool {
    let books = index.inner.books.lock();
    let mut weight = 0;
    let each = books.spaces.iter().all(|(partition, held)| {
        let space = held.space.lock();
        weight += held.weight;
        space.is_open()
            && space.balances()
            && space.weight() == held.weight
            && held.weight > 0
            && books.by_weight.contains(&(held.weight, *partition))
            && held.end.is_some_and(|end| books.by_end.contains(&(end, *partition)))
    });
    each && weight == books.weight
        && [books.by_weight.len(), books.by_end.len()] == [books.spaces.len(); 2]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// The books are right after any sequence, and no bound is passed.
    #[test]
    fn books_balance(steps: Vec<(u8, u8, u8, u16)>) {
        let (index, clock) = index(6 * ONE, 10 * ONE, 4);
        for (what, tenant, of, life) in steps {
            let whose = [tenant % 4; 32];
            match what % 6 {
                0 => index.forget_tenant(&whose),
                1 => drop(index.find(&whose, &GROUP, &vector(of), 0.9)),
                2 => drop(index.change(&whose, |space| space.forget(&any(of)))),
                _ => {
                    let group = any_partition(of % 2);
                    let entry = Entry::new(any(of), Millis(clock.now().0 + u64::from(life)));
                    index.add(&whose, &group, &vector(of), entry);
                }
            }
            clock.advance(Duration::from_millis(500));
            prop_assert!(index.counts().bytes <= 10 * ONE as u64);
            prop_assert!(balances(&index));
        }
    }
}
