//! Vectors of length one.

use zeroize::Zeroizing;

/// Numbers in a vector, at most.
const MAX: usize = 16_384;

/// How many sums run side by side: as many as a wide register holds, twice.
const LANES: usize = 16;

/// A vector of length one; overwritten when dropped.
pub(super) struct Unit(Zeroizing<Box<[f32]>>);

impl Unit {
    /// The direction of a vector. None of what is empty, too long, not finite, or has no
    /// direction.
    pub(super) fn of(vector: &[f32]) -> Option<Self> {
        if vector.is_empty() || vector.len() > MAX || !vector.iter().all(|x| x.is_finite()) {
            return None;
        }
        let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if !length.is_finite() || length < f64::from(f32::MIN_POSITIVE) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 1, and single is enough")]
        let unit = vector.iter().map(|&x| (f64::from(x) / length) as f32).collect();
        Some(Self(Zeroizing::new(unit)))
    }

    /// Bytes of its numbers.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&**self.0)
    }

    /// The cosine of the angle between two of the same number of dimensions; at most 1.
    pub(super) fn cosine(&self, other: &Self) -> Option<f32> {
        (self.0.len() == other.0.len()).then(|| dot(&self.0, &other.0).clamp(-1.0, 1.0))
    }
}

/// Sums in lanes, so that the compiler may use wide registers: it does not reorder a single
/// sum of floating-point numbers by itself.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_no_direction_is_none() {
        for bad in [
            vec![],
            vec![0.0; 8],
            vec![f32::NAN, 1.0],
            vec![1.0, f32::INFINITY],
            vec![1.0, f32::NEG_INFINITY],
            vec![1e-45; 2],
            vec![1.0; MAX + 1],
        ] {
            assert!(Unit::of(&bad).is_none());
        }
        // Too large, or too small, to be squared in single precision.
        for good in [vec![f32::MAX; 3], vec![1e-30; 3], vec![1.0; MAX]] {
            let unit = Unit::of(&good).unwrap();
            assert!((unit.cosine(&unit).unwrap() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn another_number_of_dimensions_is_never_near() {
        let (two, three) = (Unit::of(&[1.0, 0.0]).unwrap(), Unit::of(&[1.0, 0.0, 0.0]).unwrap());
        assert!(two.cosine(&three).is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_sum(
            pairs in proptest::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 1..100),
            scale in 1e-6_f32..1e6,
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let b: Vec<f32> = b.into_iter().map(|x| x * scale).collect();
            let (Some(one), Some(other)) = (Unit::of(&a), Unit::of(&b)) else { return Ok(()) };
            let sum = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let expected = sum(&a, &b) / (sum(&a, &a).sqrt() * sum(&b, &b).sqrt());
            let cosine = one.cosine(&other).unwrap();
            prop_assert!((f64::from(cosine) - expected).abs() < 1e-4);
            prop_assert!(cosine <= 1.0);
        }
    }
}
