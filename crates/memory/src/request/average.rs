//! The one vector that stands for examples: the mean of what is liked, moved away from the mean
//! of what is not, `p + p - n`, as Qdrant has it (`recommend`, strategy `average_vector`).

use std::collections::BTreeMap;

use crate::{Error, Vector};

/// # Errors
/// Nothing is liked; vectors of different kinds or sizes.
pub(super) fn of(positive: Vec<Vector>, negative: Vec<Vector>) -> Result<Vector, Error> {
    let liked = mean(positive)?;
    if negative.is_empty() {
        return Ok(liked);
    }
    match (liked, mean(negative)?) {
        (Vector::Dense(liked), Vector::Dense(not)) if liked.len() == not.len() => {
            let moved = liked.iter().zip(&not).map(|(liked, not)| liked + liked - not);
            Ok(Vector::Dense(moved.collect()))
        }
        (Vector::Sparse { indices, values }, Vector::Sparse { indices: not, values: nots }) => {
            let mut terms: BTreeMap<_, _> =
                indices.into_iter().zip(values.iter().map(|liked| liked + liked)).collect();
            for (index, not) in not.into_iter().zip(nots) {
                *terms.entry(index).or_default() -= not;
            }
            Ok(sparse(terms))
        }
        (Vector::Multi(mut rows), Vector::Multi(nots)) => {
            let away = |row: Vec<f32>| row.into_iter().map(|value| -value).collect();
            rows.extend(nots.into_iter().map(away));
            Ok(Vector::Multi(rows))
        }
        _ => Err(mixed()),
    }
}

/// Of several vectors' rows all.
fn mean(vectors: Vec<Vector>) -> Result<Vector, Error> {
    #[expect(clippy::cast_precision_loss, reason = "at most as many as examples of a request")]
    let count = vectors.len() as f32;
    let mut all = vectors.into_iter();
    let Some(first) = all.next() else {
        return Err(Error::Invalid(
            "Wrong input: average_vector needs a positive example at least".into(),
        ));
    };
    match first {
        Vector::Dense(mut sum) => {
            for vector in all {
                let Vector::Dense(values) = vector else {
                    return Err(mixed());
                };
                if values.len() != sum.len() {
                    return Err(mixed());
                }
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            sum.iter_mut().for_each(|sum| *sum /= count);
            Ok(Vector::Dense(sum))
        }
        Vector::Sparse { indices, values } => {
            let mut sum: BTreeMap<_, _> = indices.into_iter().zip(values).collect();
            for vector in all {
                let Vector::Sparse { indices, values } = vector else {
                    return Err(mixed());
                };
                for (index, value) in indices.into_iter().zip(values) {
                    *sum.entry(index).or_default() += value;
                }
            }
            sum.values_mut().for_each(|sum| *sum /= count);
            Ok(sparse(sum))
        }
        Vector::Multi(mut rows) => {
            for vector in all {
                let Vector::Multi(more) = vector else {
                    return Err(mixed());
                };
                rows.extend(more);
            }
            Ok(Vector::Multi(rows))
        }
    }
}

fn sparse(terms: BTreeMap<u32, f32>) -> Vector {
    let (indices, values) = terms.into_iter().unzip();
    Vector::Sparse { indices, values }
}

fn mixed() -> Error {
    Error::Invalid("Wrong input: examples of different kinds or sizes have no average".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense() {
        let of = |positive, negative| of(positive, negative).unwrap();
        let (a, b) = (Vector::Dense(vec![1.0, 2.0]), Vector::Dense(vec![3.0, 4.0]));
        assert_eq!(of(vec![a.clone(), b.clone()], vec![]), Vector::Dense(vec![2.0, 3.0]));
        assert_eq!(of(vec![a], vec![b]), Vector::Dense(vec![-1.0, 0.0]));
    }

    #[test]
    fn sparse() {
        let v = |indices: &[u32], values: &[f32]| Vector::Sparse {
            indices: indices.to_vec(),
            values: values.to_vec(),
        };
        let liked = vec![v(&[1, 5], &[1.0, 2.0]), v(&[5], &[4.0])];
        assert_eq!(of(liked.clone(), vec![]).unwrap(), v(&[1, 5], &[0.5, 3.0]));
        let not = vec![v(&[5, 9], &[1.0, 1.0])];
        assert_eq!(of(liked, not).unwrap(), v(&[1, 5, 9], &[1.0, 5.0, -1.0]));
    }

    #[test]
    fn several_rows() {
        let (a, b) = (Vector::Multi(vec![vec![1.0, 2.0]]), Vector::Multi(vec![vec![3.0, 4.0]]));
        let both = of(vec![a], vec![b]).unwrap();
        assert_eq!(both, Vector::Multi(vec![vec![1.0, 2.0], vec![-3.0, -4.0]]));
    }

    #[test]
    fn mixed_examples() {
        let (a, b) = (Vector::Dense(vec![1.0]), Vector::Multi(vec![vec![3.0]]));
        assert!(of(vec![a.clone(), b.clone()], vec![]).is_err());
        assert!(of(vec![a.clone()], vec![b]).is_err());
        assert!(of(vec![], vec![a]).is_err());
    }
}
