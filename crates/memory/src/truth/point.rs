//! A point as bytes, under its seal.
//!
//! ```text
//! format 1 ‖ flags ‖ [subject, 16] ‖ [end, u64]
//!   ‖ vectors, u16 ‖ each: kind, u8 ‖ length of name, u16 ‖ name ‖ numbers
//!   ‖ payload: a JSON object
//! ```
//! Numbers are little-endian. Dense: length, u32 ‖ f32 each. Sparse: length, u32 ‖ u32 each ‖
//! f32 each. Multi: rows, u32 ‖ each as a dense one. There is one way to write a point: names
//! stand in ascending order, and so do sparse indices.

use ids::Millis;

use crate::{Error, Payload, Point, PointId, Seq, Vector, Vectors};

const FORMAT: u8 = 1;
const SUBJECT: u8 = 1;
const EXPIRES: u8 = 2;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const MULTI: u8 = 2;

/// # Errors
/// [`Error::TooLarge`] for more than its counters can tell.
pub(super) fn encode(point: &Point) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let flags = (u8::from(point.subject.is_some()) * SUBJECT)
        | (u8::from(point.expires.is_some()) * EXPIRES);
    bytes.extend([FORMAT, flags]);
    if let Some(subject) = &point.subject {
        bytes.extend_from_slice(subject);
    }
    if let Some(end) = point.expires {
        bytes.extend_from_slice(&end.0.to_le_bytes());
    }
    bytes.extend_from_slice(&short(point.vectors.len())?);
    for (name, vector) in &point.vectors {
        bytes.push(match vector {
            Vector::Dense(_) => DENSE,
            Vector::Sparse { .. } => SPARSE,
            Vector::Multi(_) => MULTI,
        });
        bytes.extend_from_slice(&short(name.len())?);
        bytes.extend_from_slice(name.as_bytes());
        match vector {
            Vector::Dense(values) => dense(&mut bytes, values)?,
            Vector::Sparse { indices, values } if indices.len() == values.len() => {
                bytes.extend_from_slice(&long(indices.len())?);
                bytes.extend(indices.iter().flat_map(|index| index.to_le_bytes()));
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            // Checked at the door.
            Vector::Sparse { .. } => return Err(Error::Damaged),
            Vector::Multi(rows) => {
                bytes.extend_from_slice(&long(rows.len())?);
                for row in rows {
                    dense(&mut bytes, row)?;
                }
            }
        }
    }
    serde_json::to_writer(&mut bytes, &point.payload).map_err(|_| Error::Damaged)?;
    Ok(bytes)
}

fn dense(bytes: &mut Vec<u8>, values: &[f32]) -> Result<(), Error> {
    bytes.extend_from_slice(&long(values.len())?);
    bytes.reserve(values.len() * 4);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(())
}

fn short(number: usize) -> Result<[u8; 2], Error> {
    let bound = u16::MAX;
    let short = u16::try_from(number).map_err(|_| Error::TooLarge {
        what: "a point",
        size: number as u64,
        bound: bound.into(),
    })?;
    Ok(short.to_le_bytes())
}

fn long(number: usize) -> Result<[u8; 4], Error> {
    let bound = u32::MAX;
    let long = u32::try_from(number).map_err(|_| Error::TooLarge {
        what: "a point",
        size: number as u64,
        bound: bound.into(),
    })?;
    Ok(long.to_le_bytes())
}

/// # Errors
/// [`Error::Damaged`] for anything that [`encode`] does not write.
pub(super) fn decode(id: PointId, version: Seq, plain: &[u8]) -> Result<Point, Error> {
    let mut left = Left(plain);
    let [format, flags] = left.some()?;
    if format != FORMAT || flags & !(SUBJECT | EXPIRES) != 0 {
        return Err(Error::Damaged);
    }
    let subject = if flags & SUBJECT != 0 { Some(left.some()?) } else { None };
    let expires = match flags & EXPIRES {
        0 => None,
        _ => Some(Millis(u64::from_le_bytes(left.some()?))),
    };
    let mut vectors = Vectors::new();
    for _ in 0..u16::from_le_bytes(left.some()?) {
        let [kind] = left.some()?;
        let length = u16::from_le_bytes(left.some()?);
        let name = std::str::from_utf8(left.take(length.into())?).map_err(|_| Error::Damaged)?;
        if vectors.last_key_value().is_some_and(|(last, _)| last.as_str() >= name) {
            return Err(Error::Damaged);
        }
        let name = name.to_owned();
        vectors.insert(name, left.vector(kind)?);
    }
    let payload: Payload = serde_json::from_slice(left.0).map_err(|_| Error::Damaged)?;
    Ok(Point { id, version, vectors, payload, subject, expires })
}

/// What was not read yet.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let (taken, left) = self.0.split_at_checked(bytes).ok_or(Error::Damaged)?;
        self.0 = left;
        Ok(taken)
    }

    fn some<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Damaged)
    }

    fn length(&mut self) -> Result<usize, Error> {
        usize::try_from(u32::from_le_bytes(self.some()?)).map_err(|_| Error::Damaged)
    }

    /// So many numbers of 4 bytes. Nothing is allocated for what is not there.
    fn numbers<T>(&mut self, many: usize, of: fn([u8; 4]) -> T) -> Result<Vec<T>, Error> {
        let bytes = self.take(many.checked_mul(4).ok_or(Error::Damaged)?)?;
        Ok(bytes.as_chunks().0.iter().map(|number| of(*number)).collect())
    }

    fn dense(&mut self) -> Result<Vec<f32>, Error> {
        let many = self.length()?;
        self.numbers(many, f32::from_le_bytes)
    }

    fn vector(&mut self, kind: u8) -> Result<Vector, Error> {
        match kind {
            DENSE => Ok(Vector::Dense(self.dense()?)),
            SPARSE => {
                let many = self.length()?;
                let indices = self.numbers(many, u32::from_le_bytes)?;
                let values = self.numbers(many, f32::from_le_bytes)?;
                if !indices.is_sorted_by(|a, b| a < b) {
                    return Err(Error::Damaged);
                }
                Ok(Vector::Sparse { indices, values })
            }
            MULTI => {
                let rows = self.length()?;
                (0..rows).map(|_| self.dense()).collect::<Result<_, _>>().map(Vector::Multi)
            }
            _ => Err(Error::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn number() -> impl Strategy<Value = f32> + Clone {
        any::<f32>().prop_filter("finite", |number| number.is_finite())
    }

    fn vector() -> impl Strategy<Value = Vector> {
        let dense = prop::collection::vec(number(), 0..20);
        let sparse = prop::collection::btree_map(any::<u32>(), number(), 0..20);
        prop_oneof![
            dense.clone().prop_map(Vector::Dense),
            sparse.prop_map(|terms| {
                let (indices, values) = terms.into_iter().unzip();
                Vector::Sparse { indices, values }
            }),
            prop::collection::vec(dense, 0..5).prop_map(Vector::Multi),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let float = any::<f64>().prop_filter("finite", |number| number.is_finite());
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            float.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    prop_compose! {
        fn point()(
            id in prop_oneof![
                any::<u64>().prop_map(PointId::Num),
                any::<[u8; 16]>().prop_map(PointId::Uuid),
            ],
            version: u64,
            vectors in prop::collection::btree_map(any::<String>(), vector(), 0..4),
            payload in prop::collection::btree_map(any::<String>(), value(), 0..4),
            subject: Option<[u8; 16]>,
            expires in prop::option::of(any::<u64>().prop_map(Millis)),
        ) -> Point {
            Point { id, version, vectors, payload: payload.into_iter().collect(), subject, expires }
        }
    }

    proptest! {
        #[test]
        fn a_point_comes_back(point in point()) {
            let bytes = encode(&point).unwrap();
            prop_assert_eq!(decode(point.id, point.version, &bytes).unwrap(), point);
        }

        /// Whatever is left out, added or changed: it is refused, or it is a point; never worse.
        #[test]
        fn nothing_panics(
            point in point(),
            noise in prop::collection::vec(any::<u8>(), 0..64),
            at: prop::sample::Index,
            cut: prop::sample::Index,
        ) {
            let bytes = encode(&point).unwrap();
            let short = cut.index(bytes.len());
            prop_assert!(decode(point.id, 0, &bytes[..short]).is_err());
            let longer = [&bytes[..], b"}"].concat();
            prop_assert!(decode(point.id, 0, &longer).is_err());
            let mut changed = bytes.clone();
            changed[at.index(bytes.len())] ^= 1 << (noise.len() % 8);
            let _ = decode(point.id, 0, &changed);
            let _ = decode(point.id, 0, &noise);
        }
    }

    #[test]
    fn what_is_not_written_so_is_refused() {
        let refused = |bytes: &[u8]| decode(PointId::Num(1), 1, bytes).is_err();
        assert!(!refused(b"\x01\x00\x00\x00{}"));
        assert!(refused(b"\x02\x00\x00\x00{}"), "another format");
        assert!(refused(b"\x01\x04\x00\x00{}"), "a flag that is not known");
        assert!(refused(b"\x01\x00\x00\x00[]"), "no object");
        assert!(refused(b"\x01\x00\x00\x00{}{}"), "more than one");
        assert!(refused(b"\x01\x00\x01\x00\x07\x00\x00\x00\x00\x00\x00{}"), "another kind");
        let twice = b"\x01\x00\x02\x00\x00\x00\x00\0\0\0\0\x00\x00\x00\0\0\0\0{}";
        assert!(refused(twice), "a name twice");
        let descending =
            b"\x01\x00\x01\x00\x01\x00\x00\x02\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0{}";
        assert!(refused(descending), "indices descend");
        let much = b"\x01\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff{}";
        assert!(refused(much), "more numbers than there are");
    }
}
