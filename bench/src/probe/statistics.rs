//! The test of timing, on latencies that are simulated.

use probe::stats::{self, ALPHA, Latency};
use serde_json::{Value, json};

/// Answers to new texts; log-normal, with the spread of a hosted model's.
const NEW: Latency = Latency { median: 300.0, sigma: 0.25 };
/// By how much those from a cache come sooner.
const EFFECTS: [f64; 5] = [0.0, 0.05, 0.10, 0.20, 0.30];
/// An arm at `--quick`, by default, at `--deep`; and the smallest that is tested.
const SAMPLES: [usize; 4] = [25, 50, 100, 250];

/// Prints the table; the same for the JSON.
pub(crate) fn measure(tests: usize) -> Value {
    println!(
        "One-sided KS at {ALPHA}, {tests} simulated tests a row, ten times as many without an effect; log-normal, median {} ms, sigma {}\n",
        NEW.median, NEW.sigma
    );
    println!(
        "{:>8} {:>12} {:>7} {:>9} {:>10}",
        "samples", "sooner by", "seen", "printed", "published"
    );
    let mut rows = Vec::new();
    for samples in SAMPLES {
        for effect in EFFECTS {
            rows.push(row(samples, effect, tests));
        }
    }
    let family = family(tests * 5);
    json!({"alpha": ALPHA, "tests": tests, "median_ms": NEW.median, "sigma": NEW.sigma, "rows": rows, "family": family})
}

fn row(samples: usize, effect: f64, tests: usize) -> Value {
    // What is seen where nothing is has to be counted among many more.
    let tests = if effect == 0.0 { tests * 10 } else { tests };
    let cached = Latency { median: NEW.median * (1.0 - effect), ..NEW };
    let mut rng = fastrand::Rng::with_seed(samples as u64 * 1_000 + (effect * 100.0) as u64);
    let mut seen = 0_usize;
    let (mut printed, mut prints) = (0.0, 0.0_f64);
    for test in 0..tests {
        let (hits, misses) = (cached.sample(&mut rng, samples), NEW.sample(&mut rng, samples));
        let detected = stats::faster(&hits, &misses).p < ALPHA;
        seen += usize::from(detected);
        // The prober prints it where its own repeats are seen; a resampling costs a thousand tests.
        if detected && prints < 20.0 {
            printed += stats::resampled(test as u64, &hits, &misses, samples, ALPHA);
            prints += 1.0;
        }
    }
    let seen = seen as f64 / tests as f64;
    let printed = if prints > 0.0 { printed / prints } else { f64::NAN };
    let published = stats::published(samples);
    println!(
        "{samples:>8} {:>10.0} % {seen:>7.3} {:>9} {published:>10.2}",
        effect * 100.0,
        if printed.is_nan() { "-".to_owned() } else { format!("{printed:.2}") },
    );
    json!({"samples": samples, "effect": effect, "seen": seen, "printed": printed, "published": published})
}

/// How often any of a family of tests sees something where nothing is.
fn family(runs: usize) -> Value {
    println!("\n{:>8} {:>7} {:>14} {:>10}", "family", "level", "uncorrected", "Holm");
    let mut rows = Vec::new();
    for (tests, alpha) in [(2, 0.05), (6, 0.05), (2, ALPHA), (6, ALPHA)] {
        let mut rng = fastrand::Rng::with_seed(tests as u64);
        let (mut raw, mut corrected) = (0_usize, 0_usize);
        for _ in 0..runs {
            let mut draw = || stats::faster(&NEW.sample(&mut rng, 50), &NEW.sample(&mut rng, 50)).p;
            let family: Vec<f64> = (0..tests).map(|_| draw()).collect();
            raw += usize::from(family.iter().any(|p| *p < alpha));
            corrected += usize::from(stats::holm(&family).iter().any(|p| *p < alpha));
        }
        let rate = |count: usize| count as f64 / runs as f64;
        println!("{tests:>8} {alpha:>7} {:>14.4} {:>10.4}", rate(raw), rate(corrected));
        rows.push(json!({"tests": tests, "level": alpha, "uncorrected": rate(raw), "holm": rate(corrected)}));
    }
    json!(rows)
}
