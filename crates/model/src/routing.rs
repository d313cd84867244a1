//! Which of a route's targets is asked first, and which ones after it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Spreads calls over targets by weight, without a lock.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    calls: AtomicU64,
}

impl Spread {
    /// The order in which to ask targets of these weights: one by its weight first, then the
    /// others as they are listed. Where every weight is 0, as they are listed.
    pub(crate) fn order(&self, weights: &[u32]) -> Vec<usize> {
        let first = if weights.len() < 2 { None } else { self.draw(weights) };
        let others = (0..weights.len()).filter(|at| Some(*at) != first);
        first.into_iter().chain(others).collect()
    }

    fn draw(&self, weights: &[u32]) -> Option<usize> {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut point = mixed(call).checked_rem(total)?;
        weights.iter().position(|weight| match point.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        })
    }
}

/// SplitMix64's finalizer over its sequence: neighbours look unlike each other, and over many
/// calls every value is as likely (S. Vigna, <https://prng.di.unimi.it/splitmix64.c>).
const fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept_over_many_calls() {
        for weights in [&[1, 1][..], &[3, 1], &[0, 1, 9], &[5, 0, 5]] {
            let spread = Spread::default();
            let mut firsts = vec![0_u32; weights.len()];
            const CALLS: u32 = 10_000;
            for _ in 0..CALLS {
                let order = spread.order(weights);
                firsts[order[0]] += 1;
                let mut all = order.clone();
                all.sort_unstable();
                assert_eq!(all, (0..weights.len()).collect::<Vec<_>>());
                assert!(order[1..].is_sorted(), "the others as they are listed");
            }
            let total: u32 = weights.iter().sum();
            for (at, weight) in weights.iter().enumerate() {
                let expected = CALLS * weight / total;
                assert!(firsts[at].abs_diff(expected) < 300, "{weights:?}: {firsts:?}");
                assert_eq!(firsts[at] == 0, *weight == 0, "{weights:?}: {firsts:?}");
            }
        }
    }

    #[test]
    fn without_a_choice_as_they_are_listed() {
        let spread = Spread::default();
        assert_eq!(spread.order(&[]), [0; 0]);
        assert_eq!(spread.order(&[0]), [0]);
        assert_eq!(spread.order(&[0, 0, 0]), [0, 1, 2]);
    }
}
