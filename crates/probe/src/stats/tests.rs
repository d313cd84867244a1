//! Held against brute force over all permutations, and against simulated latencies whose effect is
//! known.

use super::*;

/// The definition: every way to deal the pooled values out.
fn brute(hits: &[f64], misses: &[f64]) -> f64 {
    let pooled: Vec<f64> = hits.iter().chain(misses).copied().collect();
    let seen = lead(hits, misses).0;
    let (mut all, mut reached) = (0_u64, 0_u64);
    for chosen in 0_u32..1 << pooled.len() {
        if chosen.count_ones() as usize != hits.len() {
            continue;
        }
        let (mut some, mut rest) = (Vec::new(), Vec::new());
        for (at, value) in pooled.iter().enumerate() {
            if chosen >> at & 1 == 1 { some.push(*value) } else { rest.push(*value) }
        }
        all += 1;
        reached += u64::from(lead(&some, &rest).0 >= seen);
    }
    reached as f64 / all as f64
}

#[test]
fn exact_p_values_are_those_of_all_permutations() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (n, m) = (rng.usize(1..=6), rng.usize(1..=6));
        // Few values, so that there are ties; or many.
        let values = if rng.bool() { 4 } else { 1_000_000 };
        let mut draw =
            |count| -> Vec<f64> { (0..count).map(|_| rng.u32(..values).into()).collect() };
        let (hits, misses) = (draw(n), draw(m));
        let (ours, truth) = (faster(&hits, &misses).p, brute(&hits, &misses));
        assert!((ours - truth).abs() < 1e-12, "seed {seed}: {hits:?} {misses:?}: {ours} {truth}");
    }
}

#[test]
fn without_a_lead_nothing_is_seen() {
    let (low, high) = ([1.0, 2.0, 3.0], [7.0, 8.0, 9.0]);
    assert!((faster(&low, &high).p - 1.0 / 20.0).abs() < 1e-12, "the one best of 20 deals");
    assert_eq!(faster(&high, &low), Ks { d: 0.0, p: 1.0 }, "slower ones are no detection");
    assert_eq!(faster(&low, &low).p, 1.0);
    assert_eq!(faster(&[], &low).p, 1.0);
    assert_eq!(faster(&low, &[]).p, 1.0);
    assert_eq!(faster(&[5.0; 40], &[5.0; 40]).p, 1.0, "a clock that stands shows nothing");
}

#[test]
fn small_probabilities_keep_their_digits() {
    // One path of all reaches the whole lead: 1 / C(100, 50).
    let (low, high): (Vec<f64>, Vec<f64>) =
        ((0..50).map(f64::from).collect(), (50..100).map(f64::from).collect());
    let p = faster(&low, &high).p;
    assert!((p / 9.911_653e-30 - 1.0).abs() < 1e-5, "{p}");
}

#[test]
fn big_samples_agree_with_the_exact_ones() {
    for (n, m) in [(400, 400), (500, 500), (300, 700)] {
        for d in [0.08, 0.12, 0.15] {
            let lead = (d * (n * m) as f64) as i64;
            let (exact, near) = (exact(n, m, lead, None), asymptotic(n, m, d));
            assert!((0.99..1.15).contains(&(near / exact)), "{n} {m} {d}: {exact} {near}");
        }
    }
    let mut rng = fastrand::Rng::with_seed(3);
    let (hit, miss) = (Latency { median: 90.0, sigma: 0.2 }, Latency { median: 100.0, sigma: 0.2 });
    let (hits, misses) = (hit.sample(&mut rng, 2_100), miss.sample(&mut rng, 2_100));
    assert!(faster(&hits, &misses).p < 1e-9);
    assert!(faster(&misses, &hits).p > 0.9);
}

#[test]
fn a_critical_lead_is_the_first_that_counts() {
    for (n, m) in [(25, 25), (50, 50), (100, 100), (40, 70)] {
        let bar = critical(n, m, ALPHA);
        assert!(exact(n, m, bar, None) <= ALPHA);
        assert!(exact(n, m, bar - 1, None) > ALPHA);
    }
    // Three of each: even the best of 20 deals is not rare enough.
    assert_eq!(critical(3, 3, ALPHA), 10);
}

#[test]
fn holm_steps_down() {
    assert_eq!(holm(&[]), Vec::<f64>::new());
    assert_eq!(holm(&[0.01]), [0.01]);
    // By hand: 3 × 0.01, 2 × 0.02, and the last no less than the one before it.
    assert_eq!(holm(&[0.02, 0.01, 0.03]), [0.04, 0.03, 0.04]);
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let p: Vec<f64> = (0..rng.usize(1..8)).map(|_| rng.f64()).collect();
        for (own, corrected) in p.iter().zip(holm(&p)) {
            let bonferroni = (own * p.len() as f64).min(1.0);
            assert!(*own <= corrected && corrected <= bonferroni, "seed {seed}");
        }
    }
}

#[test]
fn no_effect_is_seen_no_more_often_than_the_level_allows() {
    let noise = Latency { median: 120.0, sigma: 0.35 };
    for (n, seed) in [(25, 11), (50, 12), (100, 13)] {
        for alpha in [0.05, 0.01, ALPHA] {
            let runs = 4_000;
            let seen = power(seed, runs, n, alpha, |rng| noise.draw(rng), |rng| noise.draw(rng));
            // Three standard errors above the level.
            let most = alpha + 3.0 * (alpha * (1.0 - alpha) / runs as f64).sqrt();
            assert!(seen <= most, "n {n}, level {alpha}: {seen}");
        }
    }
}

#[test]
fn slower_hits_are_never_seen() {
    let (slow, base) =
        (Latency { median: 150.0, sigma: 0.2 }, Latency { median: 100.0, sigma: 0.2 });
    let seen = power(5, 2_000, 50, 0.05, |rng| slow.draw(rng), |rng| base.draw(rng));
    assert!(seen < 0.001, "{seen}");
}

#[test]
fn power_grows_with_the_samples_and_the_effect() {
    let base = Latency { median: 100.0, sigma: 0.25 };
    let at = |n, median| {
        let hit = Latency { median, ..base };
        power(7, 1_000, n, ALPHA, |rng| hit.draw(rng), |rng| base.draw(rng))
    };
    assert!(at(25, 80.0) < at(50, 80.0) && at(50, 80.0) < at(100, 80.0));
    assert!(at(50, 95.0) < at(50, 85.0) && at(50, 85.0) < at(50, 70.0));
    assert!(at(50, 60.0) > 0.99);
}

/// The power that is told where an effect was seen, and the true one.
fn told(n: usize, median: f64) -> (f64, f64) {
    let miss = Latency { median: 100.0, sigma: 0.25 };
    let hit = Latency { median, ..miss };
    let truth = power(21, 1_500, n, ALPHA, |rng| hit.draw(rng), |rng| miss.draw(rng));
    let mut told = Vec::new();
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (hits, misses) = (hit.sample(&mut rng, n), miss.sample(&mut rng, n));
        if told.len() < 8 && faster(&hits, &misses).p < ALPHA {
            told.push(resampled(seed, &hits, &misses, n, ALPHA));
        }
    }
    (told.iter().sum::<f64>() / told.len() as f64, truth)
}

#[test]
fn the_power_that_is_told_is_no_better_than_the_true_one() {
    for (n, median) in [(50, 80.0), (100, 85.0), (100, 80.0), (50, 70.0)] {
        let (told, truth) = told(n, median);
        assert!(told < truth + 0.05, "n {n}, {median}: {told}, truly {truth}");
        assert!(told > truth - 0.4, "n {n}, {median}: {told}, truly {truth}");
    }
    let (told, truth) = told(100, 65.0);
    assert!(told > 0.95 && truth > 0.99, "{told}, truly {truth}");
}

#[test]
fn the_published_power() {
    for (n, power) in [(25, 0.55), (50, 0.83), (100, 0.98)] {
        assert!((published(n) - power).abs() < 0.001, "{n}: {}", published(n));
    }
    assert!(published(250) > 0.9999 && published(10) < 0.4 && published(0) == 0.0);
}

#[test]
fn equal_seeds_draw_equally() {
    let noise = Latency { median: 10.0, sigma: 0.5 };
    let of = |seed| noise.sample(&mut fastrand::Rng::with_seed(seed), 100);
    assert_eq!(of(4), of(4));
    assert_ne!(of(4), of(5));
    let mean = median(&noise.sample(&mut fastrand::Rng::with_seed(1), 20_000));
    assert!((mean - 10.0).abs() < 0.2, "{mean}");
    assert_eq!(median(&[]), 0.0);
    assert_eq!(median(&[3.0, 1.0]), 2.0);
}
