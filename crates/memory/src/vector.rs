//! How near two vectors are, by our own arithmetic: what the index says of a row is held
//! against the row.

use crate::{Dense, Distance, Vector};

/// Relative to what could be: a score of the engine's that is further off than this is not of
/// this row. Its own arithmetic, in single precision and in another order, is far within.
const SLACK: f64 = 1e-3;

/// To length one; what has no length stays as it is, as in Qdrant.
pub(crate) fn normalize(vector: &mut [f32]) {
    let square: f32 = vector.iter().map(|x| x * x).sum();
    if square < f32::EPSILON || (square - 1.0).abs() <= 1e-6 {
        return;
    }
    let length = square.sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
}

/// What a plain nearest query ranked by: whoever has a row's vector can check its score.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    pub(crate) using: String,
    pub(crate) query: Vec<f32>,
    pub(crate) distance: Distance,
}

impl Ranked {
    pub(crate) fn new(using: &str, query: &[f32], space: &Dense) -> Option<Self> {
        if space.multi || query.len() != space.size {
            return None;
        }
        let mut query = query.to_vec();
        if space.distance == Distance::Cosine {
            normalize(&mut query);
        }
        Some(Self { using: using.to_owned(), query, distance: space.distance })
    }

    /// Whether the score can be that of this vector.
    pub(crate) fn explains(&self, vector: Option<&Vector>, score: f32) -> bool {
        let Some(Vector::Dense(vector)) = vector else { return false };
        if vector.len() != self.query.len() {
            return false;
        }
        let pairs = || self.query.iter().zip(vector).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let (right, scale) = match self.distance {
            Distance::Cosine | Distance::Dot => {
                let lengths = pairs().fold((0.0, 0.0), |(a, b), (x, y)| (a + x * x, b + y * y));
                (pairs().map(|(a, b)| a * b).sum::<f64>(), (lengths.0 * lengths.1).sqrt())
            }
            Distance::Euclid => {
                let distance = pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                (distance, distance)
            }
            Distance::Manhattan => {
                let distance = pairs().map(|(a, b)| (a - b).abs()).sum::<f64>();
                (distance, distance)
            }
        };
        if !score.is_finite() {
            // Beyond what single precision can tell, on the way or in the end.
            let most = if self.distance == Distance::Euclid { scale * scale } else { scale };
            return most * 2.0 > f64::from(f32::MAX);
        }
        (right - f64::from(score)).abs() <= SLACK * scale.max(SLACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_other_vectors_are_not_explained() {
        for (distance, score) in [
            (Distance::Cosine, 0.96),
            (Distance::Dot, 24.0),
            (Distance::Euclid, 2_f32.sqrt()),
            (Distance::Manhattan, 2.0),
        ] {
            let space = Dense { size: 2, distance, multi: false };
            let ranked = Ranked::new("", &[3.0, 4.0], &space).unwrap();
            let mut row = vec![4.0, 3.0];
            if distance == Distance::Cosine {
                normalize(&mut row);
            }
            let row = Vector::Dense(row);
            assert!(ranked.explains(Some(&row), score), "{distance:?}");
            assert!(!ranked.explains(Some(&row), score * 1.01), "{distance:?}");
            assert!(!ranked.explains(None, score), "{distance:?}");
        }
        let space = Dense { size: 2, distance: Distance::Dot, multi: true };
        assert!(Ranked::new("", &[3.0, 4.0], &space).is_none());
    }

    #[test]
    fn what_is_beyond_single_precision_is_nobody_s_fault() {
        for (distance, large) in
            [(Distance::Dot, 1e38), (Distance::Euclid, 1e30), (Distance::Manhattan, 3e38)]
        {
            let space = Dense { size: 2, distance, multi: false };
            let ranked = |at| Ranked::new("", &[at, -at], &space).unwrap();
            let row = Vector::Dense(vec![-large, large]);
            for score in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                assert!(ranked(large).explains(Some(&row), score), "{distance:?} {score}");
                let near = Vector::Dense(vec![-1.0, 1.0]);
                assert!(!ranked(1.0).explains(Some(&near), score), "{distance:?} {score}");
            }
        }
    }

    #[test]
    fn nothing_has_no_direction() {
        let mut zero = [0.0, 0.0];
        normalize(&mut zero);
        assert_eq!(zero, [0.0, 0.0]);
        let mut some = [3.0, 4.0];
        normalize(&mut some);
        assert_eq!(some, [0.6, 0.8]);
    }
}
