//! Tests of significance on latencies: an exact one-sided Kolmogorov–Smirnov test of two samples,
//! Holm's correction, and power by simulation.
//!
//! The method is that of Gu et al., "Auditing Prompt Caching in Language Model APIs" (arXiv
//! 2502.07776), made one-sided: only answers that come *sooner* can come from a cache, so slower
//! ones are no detection. Nothing here reads a clock, and all randomness is seeded.

/// Below this a test counts, after the correction.
pub const ALPHA: f64 = 1e-3;

/// Samples of more pairs than this are tested by the asymptotic formula.
const EXACT: usize = 4_000_000;

/// What the test says of two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ks {
    /// The largest lead of the first sample's distribution function: 0 to 1.
    pub d: f64,
    /// How probable a lead so large is, if both samples are of one distribution.
    pub p: f64,
}

/// Whether the first sample tends to be smaller than the second: one-sided, two samples.
///
/// The p-value is exact, also with ties: the share of all ways to deal the pooled values out to
/// samples of these sizes in which the lead is at least the one that was seen. Paths through the
/// lattice are counted (Hodges 1958); within a group of equal values no lead is looked at, as
/// their order means nothing.
///
/// Empty samples have no lead, and `p` is 1.
#[must_use]
pub fn faster(hits: &[f64], misses: &[f64]) -> Ks {
    let (lead, ends) = lead(hits, misses);
    let (n, m) = (hits.len(), misses.len());
    if lead <= 0 {
        return Ks { d: 0.0, p: 1.0 };
    }
    let d = lead as f64 / (n * m) as f64;
    let p = if n * m > EXACT { asymptotic(n, m, d) } else { exact(n, m, lead, Some(&ends)) };
    Ks { d, p }
}

/// The largest lead, times the product of the sizes, so that it is a whole number; and after how
/// many of the pooled values a group of equal ones ends.
fn lead(hits: &[f64], misses: &[f64]) -> (i64, Vec<bool>) {
    let pooled = hits.iter().map(|value| (*value, true));
    let mut pooled: Vec<_> = pooled.chain(misses.iter().map(|value| (*value, false))).collect();
    pooled.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (n, m) = (hits.len() as i64, misses.len() as i64);
    let (mut i, mut j, mut most) = (0, 0, 0);
    let mut ends = vec![true; pooled.len() + 1];
    for (at, (value, hit)) in pooled.iter().enumerate() {
        if *hit {
            i += 1
        } else {
            j += 1
        }
        let last = pooled.get(at + 1).is_none_or(|(next, _)| next > value);
        ends[at + 1] = last;
        if last {
            most = most.max(i * m - j * n);
        }
    }
    (most, ends)
}

/// The share of all lattice paths from (0, 0) to (n, m) that reach the lead somewhere.
///
/// Of the paths to (i, j), i / (i + j) come from (i - 1, j); so shares, not counts, are carried,
/// and nothing overflows. Those that have reached it are summed, not the others: small
/// probabilities keep their digits.
fn exact(n: usize, m: usize, lead: i64, ends: Option<&[bool]>) -> f64 {
    let reaches = |i: usize, j: usize| {
        ends.is_none_or(|ends| ends[i + j]) && (i * m) as i64 - (j * n) as i64 >= lead
    };
    let mut row = vec![0.0_f64; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            row[j] = if reaches(i, j) {
                1.0
            } else if i + j == 0 {
                0.0
            } else {
                let below = if i > 0 { row[j] * i as f64 } else { 0.0 };
                let left = if j > 0 { row[j - 1] * j as f64 } else { 0.0 };
                (below + left) / (i + j) as f64
            };
        }
    }
    row[m].min(1.0)
}

/// Smirnov's limit, for samples too big to count paths. Hodges' correction of it is left out: with
/// it, probabilities at equal sizes come out too small.
fn asymptotic(n: usize, m: usize, d: f64) -> f64 {
    let (n, m) = (n as f64, m as f64);
    (-2.0 * (n * m / (n + m)) * d * d).exp().clamp(0.0, 1.0)
}

/// The smallest lead, times the product of the sizes, that has at most this probability, when no
/// values are equal.
fn critical(n: usize, m: usize, alpha: f64) -> i64 {
    let p = |lead: i64| match n * m > EXACT {
        true => asymptotic(n, m, lead as f64 / (n * m) as f64),
        false => exact(n, m, lead, None),
    };
    let (mut low, mut high) = (0, (n * m) as i64 + 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if p(middle) <= alpha { high = middle } else { low = middle }
    }
    high
}

/// Holm's correction: p-values of a family of tests, each made so large that comparing it with a
/// level holds the level for the family. In the order in which they were given.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    let (mut corrected, mut least) = (vec![1.0; p.len()], 0.0_f64);
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max((p[at] * (p.len() - rank) as f64).min(1.0));
        corrected[at] = least;
    }
    corrected
}

/// How often the test sees a difference between what two models draw, `n` each, at this level.
#[must_use]
pub fn power(
    seed: u64,
    runs: usize,
    n: usize,
    alpha: f64,
    mut hit: impl FnMut(&mut fastrand::Rng) -> f64,
    mut miss: impl FnMut(&mut fastrand::Rng) -> f64,
) -> f64 {
    if n == 0 || runs == 0 {
        return 0.0;
    }
    let (bar, mut rng) = (critical(n, n, alpha), fastrand::Rng::with_seed(seed));
    let seen = (0..runs).filter(|_| {
        let hits: Vec<f64> = (0..n).map(|_| hit(&mut rng)).collect();
        let misses: Vec<f64> = (0..n).map(|_| miss(&mut rng)).collect();
        lead(&hits, &misses).0 >= bar
    });
    seen.count() as f64 / runs as f64
}

/// Samples that might have been measured as well, by which a measured power is doubted.
const DOUBTS: usize = 20;
/// Which of the powers that follow from these is told, from the lowest: about a tenth is below.
const TOLD: usize = 2;

/// Power, at least, for an effect as large as the one between two samples that were measured, `n`
/// each.
///
/// Both samples are drawn again, with replacement (bootstrap), and the power is that of tests on
/// draws from these. The power of the samples themselves would be too good: it is asked for only
/// where an effect was seen, and an effect that is seen by luck looks larger than it is. So the
/// tenth percentile is told.
#[must_use]
pub fn resampled(seed: u64, hits: &[f64], misses: &[f64], n: usize, alpha: f64) -> f64 {
    if hits.is_empty() || misses.is_empty() {
        return 0.0;
    }
    let of = |values: &[f64], rng: &mut fastrand::Rng| values[rng.usize(..values.len())];
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut powers: Vec<f64> = (0..DOUBTS)
        .map(|_| {
            let again = |values: &[f64], rng: &mut fastrand::Rng| -> Vec<f64> {
                values.iter().map(|_| of(values, rng)).collect()
            };
            let (hits, misses) = (again(hits, &mut rng), again(misses, &mut rng));
            power(rng.u64(..), 200, n, alpha, |rng| of(&hits, rng), |rng| of(&misses, rng))
        })
        .collect();
    powers.sort_by(f64::total_cmp);
    powers[TOLD]
}

/// Power at [`ALPHA`] for the effect that was published: 0.55, 0.83 and 0.98 for 25, 50 and 100
/// samples an arm (from the data of arXiv 2502.07776 and 2605.30613).
///
/// In between, and beyond: on the probit scale these three lie on a line over the square root of
/// the number of samples, within 0.02.
#[must_use]
pub fn published(n: usize) -> f64 {
    /// Square roots of the numbers of samples, and the probits of the powers.
    const KNOWN: [(f64, f64); 3] = [(5.0, 0.125_66), (7.071_07, 0.954_17), (10.0, 2.053_75)];
    let root = (n as f64).sqrt();
    let pair = if root < KNOWN[1].0 { [KNOWN[0], KNOWN[1]] } else { [KNOWN[1], KNOWN[2]] };
    let slope = (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0);
    if n == 0 { 0.0 } else { normal(pair[0].1 + slope * (root - pair[0].0)) }
}

/// The distribution function of the standard normal distribution, to 1e-7 (Abramowitz and Stegun,
/// 26.2.17).
fn normal(x: f64) -> f64 {
    const B: [f64; 5] =
        [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial = B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let tail = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * polynomial;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The middle one.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// How latencies are simulated: log-normal, which is how those of networks and of model servers
/// look, with a long tail to the right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// In milliseconds.
    pub median: f64,
    /// The standard deviation of the logarithm.
    pub sigma: f64,
}

impl Latency {
    /// One of them.
    pub fn draw(&self, rng: &mut fastrand::Rng) -> f64 {
        // Box and Muller; 1 - x, as the logarithm of 0 is none.
        let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
        self.median * (self.sigma * normal).exp()
    }

    /// As many as wanted.
    pub fn sample(&self, rng: &mut fastrand::Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.draw(rng)).collect()
    }
}

#[cfg(test)]
mod tests;
