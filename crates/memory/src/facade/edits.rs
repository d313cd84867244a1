//! What operations do to a point. Qdrant's rules; nothing here waits or reads.

use serde_json::Value;

use crate::{
    Distance, Error, MemorySettings, Payload, Point, Schema, Vector, Vectors,
    request::{
        Given,
        edit::{self, At},
        paths, points,
    },
    vector::normalize,
};

/// Deepest nesting of a payload: what is deeper, rows do not come back from (the reader of JSON
/// stops at 128).
const DEEPEST: usize = 100;

/// What is done to a point that is there.
pub(super) enum Edit {
    /// It goes.
    Delete,
    /// Fields are merged into its payload.
    Set(Payload, Option<At>),
    /// Its payload is replaced.
    Overwrite(Payload),
    /// Fields go.
    Remove(Vec<At>),
    /// Vectors of these names go.
    Drop(Vec<String>),
}

impl Edit {
    /// The point as it is afterwards; `None` if it is gone.
    pub(super) fn of(
        &self,
        mut point: Point,
        settings: &MemorySettings,
    ) -> Result<Option<Point>, Error> {
        match self {
            Self::Delete => return Ok(None),
            Self::Set(fields, None) => edit::merge(&mut point.payload, fields),
            Self::Set(fields, Some(at)) => at.set(&mut point.payload, fields),
            Self::Overwrite(payload) => point.payload = payload.clone(),
            Self::Remove(all) => all.iter().for_each(|at| at.remove(&mut point.payload)),
            Self::Drop(names) => point.vectors.retain(|name, _| !names.contains(name)),
        }
        check_payload(&point.payload, settings)?;
        Ok(Some(point))
    }
}

/// Vectors as a point of the collection has them.
///
/// # Errors
/// What does not fit the collection.
pub(super) fn fitted(
    given: impl IntoIterator<Item = (String, Given)>,
    schema: &Schema,
) -> Result<Vectors, Error> {
    let mut vectors = Vectors::new();
    for (name, given) in given {
        let vector = match given {
            Given::Vector(vector) => vector,
            Given::Document(_) => {
                return Err(Error::Embedding("a text was left that is no vector yet".into()));
            }
        };
        schema.check_vector(&name, &vector)?;
        let mut vector = sorted(vector)?;
        check_numbers(&vector)?;
        if schema.vectors.get(&name).is_some_and(|space| space.distance == Distance::Cosine) {
            match &mut vector {
                Vector::Dense(values) => normalize(values),
                Vector::Multi(rows) => rows.iter_mut().for_each(|row| normalize(row)),
                Vector::Sparse { .. } => {}
            }
        }
        vectors.insert(name, vector);
    }
    Ok(vectors)
}

/// The dimensions of a sparse vector in ascending order.
fn sorted(vector: Vector) -> Result<Vector, Error> {
    let Vector::Sparse { indices, values } = vector else { return Ok(vector) };
    let wrong = |what: &str| Error::Invalid(format!("Wrong input: a sparse vector's {what}"));
    if indices.len() != values.len() {
        return Err(wrong("indices and values are not of one length"));
    }
    let mut terms: Vec<_> = indices.into_iter().zip(values).collect();
    terms.sort_unstable_by_key(|(index, _)| *index);
    if terms.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err(wrong("indices are not unique"));
    }
    let (indices, values) = terms.into_iter().unzip();
    Ok(Vector::Sparse { indices, values })
}

fn check_numbers(vector: &Vector) -> Result<(), Error> {
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    let all = match vector {
        Vector::Dense(values) | Vector::Sparse { values, .. } => finite(values),
        Vector::Multi(rows) => rows.iter().all(|row| finite(row)),
    };
    if all {
        return Ok(());
    }
    Err(Error::Invalid("Wrong input: a vector has a number that is not finite".into()))
}

/// # Errors
/// A payload that is too large or too deep, or has a field that is this program's own.
pub(super) fn check_payload(payload: &Payload, settings: &MemorySettings) -> Result<(), Error> {
    let (size, bound) = (points::size(payload), settings.payload_bytes);
    if size > bound {
        let (size, bound) = (size as u64, bound as u64);
        return Err(Error::TooLarge { what: "bytes of a payload", size, bound });
    }
    if payload.values().any(|value| deeper(value, DEEPEST)) {
        return Err(Error::TooLarge {
            what: "the depth of a payload",
            size: DEEPEST as u64 + 1,
            bound: DEEPEST as u64,
        });
    }
    payload.keys().try_for_each(|key| paths::reserved(key))
}

fn deeper(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(values) => left == 0 || values.iter().any(|value| deeper(value, left - 1)),
        Value::Object(fields) => left == 0 || fields.values().any(|value| deeper(value, left - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Dense, PointId, Sparse};

    fn object(value: Value) -> Payload {
        value.as_object().unwrap().clone()
    }

    fn after(edit: &Edit, payload: Value) -> Value {
        let point = Point {
            id: PointId::Num(1),
            version: 1,
            vectors: Vectors::from([
                (String::new(), Vector::Dense(vec![1.0])),
                ("other".into(), Vector::Dense(vec![2.0])),
            ]),
            payload: object(payload),
            subject: None,
            expires: None,
        };
        Value::Object(edit.of(point, &MemorySettings::default()).unwrap().unwrap().payload)
    }

    /// As Qdrant 1.15 answers (its documentation, "Payload", and its own tests).
    #[test]
    fn payloads_are_changed_as_qdrant_does_it() {
        let at = |path: &str| At::parse(path).unwrap();
        let set = |fields: Value, key: Option<&str>| Edit::Set(object(fields), key.map(at));
        let there = json!({"a": 1, "b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}, {"x": 3}]});
        let is = |edit: &Edit, wanted: Value| assert_eq!(after(edit, there.clone()), wanted);

        is(&set(json!({"a": 9, "b": {"e": 1}, "l": null}), None), json!({"a": 9, "b": {"e": 1}}));
        is(
            &set(json!({"e": 1, "c": null}), Some("b")),
            json!({"a": 1, "b": {"d": 3, "e": 1}, "l": there["l"]}),
        );
        is(
            &set(json!({"z": 0}), Some("l[].n")),
            json!({"a": 1, "b": there["b"], "l": [
                {"x": 1, "y": 2, "n": {"z": 0}}, {"x": 3, "n": {"z": 0}},
            ]}),
        );
        is(
            &set(json!({"z": 0}), Some("new.path")),
            json!({"a": 1, "b": there["b"], "l": there["l"], "new": {"path": {"z": 0}}}),
        );
        is(&Edit::Overwrite(object(json!({"q": 1}))), json!({"q": 1}));
        is(&Edit::Overwrite(Payload::new()), json!({}));
        let remove = |paths: &[&str]| Edit::Remove(paths.iter().map(|path| at(path)).collect());
        is(
            &remove(&["b.c", "l[].x", "none", "a.b.c"]),
            json!({
                "a": 1, "b": {"d": 3}, "l": [{"y": 2}, {}],
            }),
        );
        is(&remove(&["l[0].x", "b"]), json!({"a": 1, "l": [{"y": 2}, {"x": 3}]}));
    }

    #[test]
    fn vectors_go_by_name_and_the_point_stays() {
        let edit = Edit::Drop(vec!["other".into(), "none".into()]);
        let point = Point {
            id: PointId::Num(1),
            version: 1,
            vectors: Vectors::from([("other".into(), Vector::Dense(vec![2.0]))]),
            payload: Payload::new(),
            subject: Some([1; 16]),
            expires: None,
        };
        let left = edit.of(point, &MemorySettings::default()).unwrap().unwrap();
        assert!(left.vectors.is_empty());
        assert_eq!(left.subject, Some([1; 16]));
    }

    #[test]
    fn payloads_are_bounded() {
        let settings = MemorySettings { payload_bytes: 128, ..MemorySettings::default() };
        let large = object(json!({"a": "x".repeat(128)}));
        assert!(matches!(check_payload(&large, &settings), Err(Error::TooLarge { .. })));
        let reserved = object(json!({"_bulkhead": {"subject": "x"}}));
        let refused = check_payload(&reserved, &settings).unwrap_err();
        assert_eq!(refused.code(), "request.malformed");
        assert!(At::parse("_bulkhead.subject").is_err());
        // However it comes about: what is too deep for its row to be read again is refused.
        let deep = At::parse(&vec!["a"; 101].join(".")).unwrap();
        let mut payload = Payload::new();
        deep.set(&mut payload, &object(json!({"b": 1})));
        let refused = check_payload(&payload, &MemorySettings::default());
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
        let text = serde_json::to_vec(&payload).unwrap();
        serde_json::from_slice::<Payload>(&text).expect("the bound is within what can be read");
    }

    #[test]
    fn vectors_are_held_against_the_collection() {
        let space = |size, distance, multi| Dense { size, distance, multi };
        let schema = Schema {
            vectors: [
                (String::new(), space(2, Distance::Cosine, false)),
                ("dot".into(), space(2, Distance::Dot, false)),
                ("late".into(), space(2, Distance::Cosine, true)),
            ]
            .into(),
            sparse: [("words".into(), Sparse::default())].into(),
            ..Schema::default()
        };
        let fit = |name: &str, vector| fitted([(name.to_owned(), Given::Vector(vector))], &schema);
        let one = |name: &str, vector| fit(name, vector).unwrap().remove(name).unwrap();
        assert_eq!(one("", Vector::Dense(vec![3.0, 4.0])), Vector::Dense(vec![0.6, 0.8]));
        assert_eq!(one("", Vector::Dense(vec![0.0, 0.0])), Vector::Dense(vec![0.0, 0.0]));
        assert_eq!(one("dot", Vector::Dense(vec![3.0, 4.0])), Vector::Dense(vec![3.0, 4.0]));
        let multi = Vector::Multi(vec![vec![3.0, 4.0], vec![0.0, 2.0]]);
        assert_eq!(one("late", multi), Vector::Multi(vec![vec![0.6, 0.8], vec![0.0, 1.0]]));
        let sparse = |indices: &[u32], values: &[f32]| Vector::Sparse {
            indices: indices.to_vec(),
            values: values.to_vec(),
        };
        assert_eq!(one("words", sparse(&[9, 2], &[0.5, 1.5])), sparse(&[2, 9], &[1.5, 0.5]));
        for (name, wrong) in [
            ("", Vector::Dense(vec![1.0])),
            ("", Vector::Dense(vec![1.0, f32::NAN])),
            ("", Vector::Dense(vec![1.0, f32::INFINITY])),
            ("", Vector::Multi(vec![vec![1.0, 2.0]])),
            ("", sparse(&[1], &[1.0])),
            ("none", Vector::Dense(vec![1.0, 2.0])),
            ("late", Vector::Multi(vec![])),
            ("late", Vector::Multi(vec![vec![1.0, 2.0], vec![1.0]])),
            ("words", Vector::Dense(vec![1.0, 2.0])),
            ("words", sparse(&[1, 1], &[1.0, 2.0])),
            ("words", sparse(&[1, 2], &[1.0])),
            ("words", sparse(&[1], &[f32::NAN])),
        ] {
            let refused = fit(name, wrong.clone()).expect_err("it does not fit");
            assert_eq!(refused.code(), "request.malformed", "{name:?} {wrong:?}");
        }
    }
}
