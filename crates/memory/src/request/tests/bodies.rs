use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bounds, bounds, invalid, refusal, unsupported};
use crate::{
    Document, Error, PointId, Vector,
    request::{
        Given, NewPoint, Operation, Selector, parse_batch, parse_clear, parse_delete,
        parse_delete_payload, parse_delete_vectors, parse_overwrite_payload, parse_set_payload,
        parse_update_vectors, parse_upsert,
    },
};

type Parse = fn(&[u8], &Bounds) -> Result<Operation, Error>;

fn read(parse: Parse, body: &Value) -> Operation {
    let read = parse(body.to_string().as_bytes(), &bounds());
    read.unwrap_or_else(|error| panic!("{error} for {body}"))
}

fn points(body: &Value) -> Vec<NewPoint> {
    match read(parse_upsert, body) {
        Operation::Upsert(points) => points,
        other => panic!("{other:?}"),
    }
}

fn dense(values: &[f32]) -> Given {
    Given::Vector(Vector::Dense(values.to_vec()))
}

fn vectors_of(vector: &Value) -> BTreeMap<String, Given> {
    let body = json!({ "points": [{ "id": 1, "vector": vector }] });
    points(&body).remove(0).vectors
}

fn document(text: &str, model: &str, options: Value) -> Given {
    let Value::Object(options) = options else { panic!("no object") };
    Given::Document(Document { text: text.into(), model: model.into(), options })
}

#[test]
fn vectors_in_all_their_forms() {
    let unnamed = |given: Given| BTreeMap::from([(String::new(), given)]);
    assert_eq!(vectors_of(&json!([1, 2.5, -3])), unnamed(dense(&[1.0, 2.5, -3.0])));
    let multi = Given::Vector(Vector::Multi(vec![vec![1.0, 2.0], vec![3.0, 4.0]]));
    assert_eq!(vectors_of(&json!([[1, 2], [3.0, 4.0]])), unnamed(multi.clone()));
    assert_eq!(vectors_of(&json!({})), BTreeMap::new());
    let options = json!({ "k": 1.2 });
    let text = json!({ "options": options, "model": "m", "text": "hello" });
    assert_eq!(vectors_of(&text), unnamed(document("hello", "m", options.clone())));
    let sparse = Given::Vector(Vector::Sparse { indices: vec![1, 5], values: vec![0.5, 2.0] });
    let named = json!({
        "": [1.0], "mv": [[1, 2], [3, 4]], "s": { "indices": [5, 1], "values": [2.0, 0.5] },
        "d": { "text": "hello", "model": "m", "options": options },
    });
    let want = BTreeMap::from([
        (String::new(), dense(&[1.0])),
        ("mv".into(), multi),
        ("s".into(), sparse.clone()),
        ("d".into(), document("hello", "m", options)),
    ]);
    assert_eq!(vectors_of(&named), want);
    // What a text is made of may be what vectors are called.
    let called = json!({
        "text": [1.0], "image": [2.0], "model": [3.0], "object": { "indices": [1, 5], "values": [0.5, 2.0] },
        "options": { "text": "hello", "model": "m" },
    });
    let want = BTreeMap::from([
        ("text".into(), dense(&[1.0])),
        ("image".into(), dense(&[2.0])),
        ("model".into(), dense(&[3.0])),
        ("object".into(), sparse),
        ("options".into(), document("hello", "m", json!({}))),
    ]);
    assert_eq!(vectors_of(&called), want);
}

#[test]
fn ids_in_all_their_forms() {
    let uuid = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26";
    for text in [
        uuid,
        "5c56c79369f34fbf87e6c4bf54c28c26",
        &format!("urn:uuid:{uuid}"),
        "5C56C793-69F3-4FBF-87E6-C4BF54C28C26",
    ] {
        let body = json!({ "points": [{ "id": text, "vector": [1] }] });
        assert_eq!(points(&body)[0].id.json(), json!(uuid));
    }
    let body = json!({ "points": [{ "id": u64::MAX, "vector": [1] }] });
    assert_eq!(points(&body)[0].id, PointId::Num(u64::MAX));
    for id in [json!(-1), json!(1.5), json!("secret"), json!(null), json!([1]), json!(true)] {
        let body = json!({ "points": [{ "id": id, "vector": [1] }] });
        let error = refusal(parse_upsert, &body).to_string();
        assert!(error.contains("points[0].id") && error.contains("a UUID"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn points_and_batches_are_the_same() {
    let rows = json!({ "points": [
        { "id": 1, "vector": { "a": [1.0], "s": { "indices": [1], "values": [1.0] } }, "payload": { "x": [1, { "y": null }] } },
        { "id": 2, "vector": { "a": [2.0], "s": { "indices": [2], "values": [2.0] } }, "payload": null },
    ] });
    let columns = json!({ "batch": {
        "ids": [1, 2],
        "vectors": { "a": [[1.0], [2.0]], "s": [{ "indices": [1], "values": [1.0] }, { "indices": [2], "values": [2.0] }] },
        "payloads": [{ "x": [1, { "y": null }] }, null],
    } });
    assert_eq!(points(&rows), points(&columns));
    let rows = json!({ "points": [{ "id": 1, "vector": [1.0] }, { "id": 2, "vector": { "text": "t", "model": "m" } }] });
    let columns =
        json!({ "batch": { "ids": [1, 2], "vectors": [[1.0], { "text": "t", "model": "m" }] } });
    assert_eq!(points(&rows), points(&columns));
    assert!(points(&json!({ "points": [{ "id": 1 }] }))[0].vectors.is_empty());
    for (batch, words) in [
        (json!({ "ids": [1], "vectors": [] }), "1 `ids` and 0 `vectors`"),
        (json!({ "ids": [1], "vectors": { "a": [[1.0], [2.0]] } }), "1 `ids` and 2 `vectors`"),
        (json!({ "ids": [1], "vectors": [[1.0]], "payloads": [] }), "1 `ids` and 0 `payloads`"),
        (json!({ "ids": [1] }), "missing field `vectors`"),
    ] {
        invalid(parse_upsert, &json!({ "batch": batch }), words);
    }
    invalid(parse_upsert, &json!({}), "either `points` or `batch`");
    invalid(
        parse_upsert,
        &json!({ "points": [], "batch": { "ids": [], "vectors": [] } }),
        "either",
    );
}

#[test]
fn points_that_cannot_be() {
    let row = |vector: Value| json!({ "points": [{ "id": 1, "vector": vector }] });
    for (vector, words) in [
        (json!([]), "points[0].vector: a vector without dimensions"),
        (json!([[]]), "without dimensions"),
        (json!([[1.0], [1.0, 2.0]]), "rows of different sizes"),
        (json!([1.0, null]), "expected a number of single precision"),
        (json!([1.0, [2.0]]), "expected a number"),
        (json!([1e39]), "expected a number"),
        (json!("secret"), "points[0].vector: expected a vector"),
        (json!({ "a": "secret" }), "points[0].vector.*: expected a vector"),
        (json!({ "a": { "indices": [1, 1], "values": [1, 2] } }), "must be unique"),
        (
            json!({ "a": { "indices": [-1], "values": [1] } }),
            "indices[0]: expected a number from 0",
        ),
        (json!({ "a": { "indices": [1] } }), "expected either `indices`"),
        (json!({ "a": { "text": "secret" } }), "expected either `indices`"),
        (json!({ "text": "secret" }), "vector.text: a vector, or a `model`"),
        (json!({ "text": "secret", "model": "m", "b": [1.0] }), "unknown field `b`"),
        (json!({ "text": [1.0], "model": "m" }), "a document is"),
        (json!({ "options": { "k": 1 } }), "vector.options: unknown field `k`"),
    ] {
        invalid(parse_upsert, &row(vector.clone()), words);
        assert!(!refusal(parse_upsert, &row(vector)).to_string().contains("secret"));
    }
    for (vector, name) in [
        (json!({ "image": "http://x", "model": "m" }), "vector.image"),
        (json!({ "object": {}, "model": "m" }), "vector.object"),
        (json!({ "a": { "image": "x", "model": "m" } }), "vector.*.image"),
        (json!({ "a": { "object": 1, "model": "m" } }), "vector.*.object"),
    ] {
        unsupported(parse_upsert, &row(vector), name);
    }
    for (field, value) in [
        ("shard_key", json!("a")),
        ("update_filter", json!({})),
        ("update_mode", json!("insert_only")),
    ] {
        let mut body = json!({ "points": [] });
        body[field] = value;
        unsupported(parse_upsert, &body, field);
    }
    invalid(
        parse_upsert,
        &json!({ "points": [{ "id": 1, "vectors": [1] }] }),
        "unknown field `vectors`",
    );
    invalid(
        parse_upsert,
        &json!({ "points": [{ "id": 1, "payload": { "_bulkhead": 1 } }] }),
        "is reserved",
    );
    invalid(
        parse_upsert,
        &json!({ "points": [{ "id": 1, "payload": [] }] }),
        "payload: expected an object",
    );
}

/// What JSON can say twice, and what it cannot say.
#[test]
fn a_body_says_everything_once() {
    for (body, words) in [
        (r#"{"points":[],"points":[]}"#, "field `points` stands there twice"),
        (r#"{"points":[{"id":1,"id":2}]}"#, "points[0]: field `id` stands there twice"),
        (r#"{"points":[{"id":1,"vector":{"a":[1],"a":[1]}}]}"#, "field `a` stands there twice"),
        (r#"{"points":[{"id":1,"vector":{"text":[1],"text":[1]}}]}"#, "field `text` stands there"),
        (r#"{"points":[{"id":1,"payload":{"a":1,"a":2}}]}"#, "field `a` stands there twice"),
        (r#"{"points":[{"id":1,"payload":{"a":[{"b":1,"\u0062":2}]}}]}"#, "field `b` stands there"),
        (
            r#"{"batch":{"ids":[1],"vectors":{"a":[[1]],"a":[[1]]}}}"#,
            "field `a` stands there twice",
        ),
        (r#"{"points":[]} x"#, "trailing characters"),
        (r#"{"points":[NaN]}"#, "expected"),
        (r#"{"points":[{"id":1,"vector":[1e999]}]}"#, "out of range"),
        ("", "EOF"),
        ("[]", "expected an object"),
        ("\"secret\"", "expected an object"),
    ] {
        let error = parse_upsert(body.as_bytes(), &bounds()).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error} for {body}");
        assert!(error.to_string().contains(words), "{error} for {body}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    // serde_json's own trees would read an object of this name as what stands in it.
    let magic =
        r#"{"points":[{"id":1,"payload":{"a":{"$serde_json::private::RawValue":"{\"b\":1}"}}}]}"#;
    let Operation::Upsert(read) = parse_upsert(magic.as_bytes(), &bounds()).unwrap() else {
        panic!("no upsert");
    };
    assert_eq!(read[0].payload["a"]["$serde_json::private::RawValue"], "{\"b\":1}");
    let name = format!("{{\"{}\u{1b}\":1}}", "x".repeat(1_000)).replace('\u{1b}', "\\u001b");
    let error = parse_upsert(name.as_bytes(), &bounds()).unwrap_err().to_string();
    assert!(error.len() < 200 && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn bounds_hold_while_points_are_read() {
    let large = |body: &Value, what: &str| match refusal(parse_upsert, body) {
        Error::TooLarge { what: found, .. } => assert_eq!(found, what),
        other => panic!("{other}"),
    };
    let row = |vector: Value, payload: Value| json!({ "points": [{ "id": 1, "vector": vector, "payload": payload }] });
    large(
        &json!({ "points": vec![json!({ "id": 1, "vector": [1] }); 10_001] }),
        "points of a request",
    );
    large(&json!({ "batch": { "ids": vec![1; 10_001], "vectors": [] } }), "points of a request");
    large(&row(json!(vec![1; 4_097]), json!({})), "dimensions of a vector");
    large(&row(json!([vec![1; 4_097]]), json!({})), "dimensions of a vector");
    large(&row(json!(vec![vec![1; 4_096]; 257]), json!({})), "numbers of a multi-vector");
    let names: serde_json::Map<_, _> = (0..17).map(|at| (format!("v{at}"), json!([1]))).collect();
    large(&row(json!(names), json!({})), "vectors of a point");
    large(&row(json!([1]), json!({ "a": "x".repeat(256 << 10) })), "bytes of a payload");
    let mut deep = json!(1);
    for _ in 0..65 {
        deep = json!([deep]);
    }
    large(&row(json!([1]), json!({ "a": deep })), "nesting of values");
    let mut small = bounds();
    small.batch = 2;
    let ids = json!({ "points": [1, 2, 3] }).to_string();
    assert!(matches!(parse_delete(ids.as_bytes(), &small), Err(Error::TooLarge { .. })));
    // Over all operations of a batch, not for each.
    let batch = json!({ "operations": [{ "delete": { "points": [1, 2] } }, { "clear_payload": { "points": [3] } }] });
    let error = parse_batch(batch.to_string().as_bytes(), &small).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

fn chosen(points: &Selector) -> Vec<PointId> {
    match points {
        Selector::Ids(ids) => ids.clone(),
        Selector::Filter(_) => panic!("a filter"),
    }
}

#[test]
fn writes_are_read() {
    let one = vec![PointId::Num(1)];
    let Operation::Delete(points) = read(parse_delete, &json!({ "points": [1] })) else { panic!() };
    assert_eq!(chosen(&points), one);
    let filter = json!({ "filter": { "must": { "has_id": [1] } } });
    let Operation::Delete(Selector::Filter(_)) = read(parse_delete, &filter) else { panic!() };
    let set = json!({ "payload": { "a": 1 }, "points": [1], "key": "b.c" });
    let Operation::SetPayload { payload, points, key } = read(parse_set_payload, &set) else {
        panic!()
    };
    assert_eq!(
        (payload["a"].clone(), chosen(&points), key.as_deref()),
        (json!(1), one.clone(), Some("b.c"))
    );
    let Operation::OverwritePayload { key, .. } = read(parse_overwrite_payload, &set) else {
        panic!()
    };
    assert_eq!(key.as_deref(), Some("b.c"));
    let keys = json!({ "keys": ["a", "b[].c"], "points": [1] });
    let Operation::DeletePayload { keys, .. } = read(parse_delete_payload, &keys) else { panic!() };
    assert_eq!(keys, ["a", "b[].c"]);
    let Operation::ClearPayload(points) = read(parse_clear, &json!({ "points": [1] })) else {
        panic!()
    };
    assert_eq!(chosen(&points), one);
    let update = json!({ "points": [{ "id": 1, "vector": { "a": [1.0] } }] });
    let Operation::UpdateVectors(rows) = read(parse_update_vectors, &update) else { panic!() };
    assert_eq!(rows, [(PointId::Num(1), BTreeMap::from([("a".into(), dense(&[1.0]))]))]);
    let delete = json!({ "vector": ["a"], "points": [1] });
    let Operation::DeleteVectors { names, .. } = read(parse_delete_vectors, &delete) else {
        panic!()
    };
    assert_eq!(names, ["a"]);
}

#[test]
fn a_batch_is_its_operations() {
    let points = json!({ "points": [1] });
    let set = json!({ "payload": {}, "points": [1] });
    let batch = json!({ "operations": [
        { "upsert": { "points": [] } }, { "delete": points }, { "set_payload": set },
        { "overwrite_payload": set }, { "delete_payload": { "keys": ["a"], "points": [1] } },
        { "clear_payload": points }, { "update_vectors": { "points": [] } },
        { "delete_vectors": { "vector": ["a"], "points": [1] } },
    ] });
    let all = parse_batch(batch.to_string().as_bytes(), &bounds()).unwrap();
    assert!(matches!(
        all[..],
        [
            Operation::Upsert(_),
            Operation::Delete(_),
            Operation::SetPayload { .. },
            Operation::OverwritePayload { .. },
            Operation::DeletePayload { .. },
            Operation::ClearPayload(_),
            Operation::UpdateVectors(_),
            Operation::DeleteVectors { .. },
        ]
    ));
    let each = |one: Value| json!({ "operations": [{ "delete": points }, one] });
    invalid(parse_batch, &each(json!({})), "operations[1]: expected one operation");
    invalid(
        parse_batch,
        &each(json!({ "delete": points, "clear_payload": points })),
        "expected one",
    );
    invalid(parse_batch, &each(json!({ "create": {} })), "operations[1]: unknown field `create`");
    unsupported(
        parse_batch,
        &each(json!({ "delete": { "points": [], "shard_key": 1 } })),
        "operations[1].delete.shard_key",
    );
}

#[test]
fn writes_that_cannot_be() {
    for parse in [parse_delete as Parse, parse_clear] {
        invalid(parse, &json!({}), "either `points` or `filter`");
        invalid(parse, &json!({ "points": [1], "filter": {} }), "either `points` or `filter`");
        unsupported(parse, &json!({ "points": [1], "shard_key": "a" }), "shard_key");
        let content = json!({ "filter": { "must": { "key": "text", "match": { "value": "x" } } } });
        assert!(matches!(refusal(parse, &content), Error::Content(_)));
    }
    for parse in [parse_set_payload as Parse, parse_overwrite_payload] {
        invalid(parse, &json!({ "points": [1] }), "missing field `payload`");
        invalid(parse, &json!({ "payload": {} }), "either `points` or `filter`");
        invalid(parse, &json!({ "payload": {}, "points": [1], "key": "a b" }), "is no path");
        invalid(parse, &json!({ "payload": {}, "points": [1], "key": "_bulkhead" }), "is reserved");
        invalid(parse, &json!({ "payload": { "_bulkhead": {} }, "points": [1] }), "is reserved");
        unsupported(parse, &json!({ "payload": {}, "points": [1], "shard_key": 1 }), "shard_key");
    }
    let keys = |key: &str| json!({ "keys": [key], "points": [1] });
    invalid(parse_delete_payload, &keys("_bulkhead.subject"), "is reserved");
    invalid(parse_delete_payload, &keys(""), "is no path");
    unsupported(
        parse_delete_payload,
        &json!({ "keys": [], "points": [], "shard_key": 1 }),
        "shard_key",
    );
    unsupported(
        parse_update_vectors,
        &json!({ "points": [], "update_filter": {} }),
        "update_filter",
    );
    unsupported(parse_update_vectors, &json!({ "points": [], "shard_key": 1 }), "shard_key");
    invalid(parse_update_vectors, &json!({ "points": [{ "id": 1 }] }), "missing field `vector`");
    invalid(parse_delete_vectors, &json!({ "vector": [], "points": [1] }), "names no vector");
    unsupported(
        parse_delete_vectors,
        &json!({ "vector": ["a"], "points": [], "shard_key": 1 }),
        "shard_key",
    );
}
