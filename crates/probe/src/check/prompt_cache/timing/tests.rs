//! On simulated latencies: what is shared is found, what is not is not, and where nothing could be
//! seen nothing is claimed.

use super::*;
use crate::stats::Latency;

const NEW: Latency = Latency { median: 300.0, sigma: 0.25 };
const CACHED: Latency = Latency { median: 210.0, sigma: 0.25 };

fn measured(seed: u64, n: usize, own: Latency, others: Latency) -> Measured {
    let mut rng = fastrand::Rng::with_seed(seed);
    Measured {
        clock: "simulated",
        new: NEW.sample(&mut rng, n),
        own: own.sample(&mut rng, n),
        others: others.sample(&mut rng, n),
    }
}

#[test]
fn a_shared_cache_is_seen() {
    for seed in 0..20 {
        let judged = judge(&[measured(seed, 100, CACHED, CACHED)], seed);
        assert!(judged.sees && judged.blind && judged.shared, "seed {seed}: {judged:?}");
        assert!(judged.statistic.effect_ms > 40.0 && judged.statistic.power > 0.9);
    }
}

#[test]
fn a_cache_of_ones_own_is_not_taken_for_a_shared_one() {
    let (mut shared, mut unclear) = (0, 0);
    for seed in 0..100 {
        let judged = judge(&[measured(seed, 50, CACHED, NEW)], seed);
        shared += usize::from(judged.shared);
        unclear += usize::from(!judged.sees || judged.statistic.power < ENOUGH);
    }
    assert!(shared <= 1, "{shared} of 100 at a level of 1e-3");
    assert!(unclear < 30, "{unclear}");
}

#[test]
fn slower_is_no_detection() {
    for seed in 0..20 {
        let slow = Latency { median: 500.0, ..NEW };
        let judged = judge(&[measured(seed, 100, CACHED, slow)], seed);
        assert!(!judged.shared && judged.statistic.p > 0.01, "seed {seed}");
    }
}

#[test]
fn without_a_cache_nothing_is_claimed() {
    let mut seen = 0;
    for seed in 0..200 {
        let judged = judge(&[measured(seed, 50, NEW, NEW)], seed);
        assert!(judged.sees || (judged.statistic.power - 0.83).abs() < 0.01);
        seen += usize::from(judged.sees || judged.shared);
    }
    assert!(seen <= 3, "{seen}");
}

#[test]
fn two_clocks_are_two_tests() {
    let quiet = measured(1, 50, NEW, NEW);
    let shows = measured(2, 50, CACHED, CACHED);
    let alone = judge(std::slice::from_ref(&shows), 0);
    let both = judge(&[quiet, Measured { clock: "the other", ..shows }], 0);
    assert_eq!(both.clock, "the other");
    assert!((both.statistic.p / alone.statistic.p - 2.0).abs() < 1e-9, "Holm");
}

#[test]
fn a_clock_that_stands_sees_nothing() {
    let still =
        Measured { new: vec![5.0; 50], own: vec![5.0; 50], others: vec![5.0; 50], clock: "" };
    let judged = judge(&[still], 0);
    assert!(!judged.sees && !judged.shared && judged.blind);
    assert!(!judge(&[], 0).sees);
}
