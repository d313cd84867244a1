use serde_json::{Value, json};

use super::{bounds, shelf::shelf};
use crate::{Error, request::Filter};

/// Each condition, and what it lets through. 8 has no payload.
#[test]
fn every_condition_chooses() {
    let shelf = shelf();
    let must = |condition: Value| json!({ "must": [condition] });
    let on = |key: &str, name: &str, value: Value| {
        let mut condition = json!({ "key": key });
        condition[name] = value;
        must(condition)
    };
    let cases: &[(Value, &[u64])] = &[
        (on("city", "match", json!({ "value": "Bern" })), &[1, 2, 3]),
        (on("n", "match", json!({ "value": 4 })), &[4]),
        (on("b", "match", json!({ "value": true })), &[2, 4, 6]),
        (on("n", "match", json!({ "any": [1, 7, 9] })), &[1, 7]),
        (on("city", "match", json!({ "any": ["Chur"] })), &[4, 5, 6, 7]),
        (on("city", "match", json!({ "except": ["Chur"] })), &[1, 2, 3]),
        (on("t", "match", json!({ "text": "brown" })), &[3, 6]),
        (on("t", "match", json!({ "text_any": "brown red" })), &[1, 2, 3, 4, 5, 6, 7]),
        (on("t", "match", json!({ "phrase": "quick brown" })), &[3, 6]),
        (on("t", "match", json!({ "phrase": "brown quick" })), &[]),
        (on("n", "range", json!({ "gt": 5 })), &[6, 7]),
        (on("n", "range", json!({ "gte": 5, "lt": 7 })), &[5, 6]),
        (on("f", "range", json!({ "lte": 1.0, "gt": null })), &[1, 2]),
        (on("ts", "range", json!({ "gt": "2024-01-05T00:00:00Z" })), &[6, 7]),
        (on("ts", "range", json!({ "lt": "2024-01-02" })), &[1]),
        (
            on(
                "loc",
                "geo_bounding_box",
                json!({ "top_left": { "lon": 2.5, "lat": 1.0 }, "bottom_right": { "lon": 4.5, "lat": -1.0 } }),
            ),
            &[3, 4],
        ),
        (
            on(
                "loc",
                "geo_radius",
                json!({ "center": { "lon": 1.0, "lat": 0.0 }, "radius": 1000.0 }),
            ),
            &[1],
        ),
        (
            on(
                "loc",
                "geo_polygon",
                json!({
                    "exterior": { "points": [{ "lon": 0.5, "lat": 1.0 }, { "lon": 3.5, "lat": 1.0 }, { "lon": 3.5, "lat": -1.0 }, { "lon": 0.5, "lat": -1.0 }, { "lon": 0.5, "lat": 1.0 }] },
                    "interiors": [{ "points": [{ "lon": 1.5, "lat": 0.5 }, { "lon": 2.5, "lat": 0.5 }, { "lon": 2.5, "lat": -0.5 }, { "lon": 1.5, "lat": -0.5 }, { "lon": 1.5, "lat": 0.5 }] }],
                }),
            ),
            &[1, 3],
        ),
        (on("tags", "values_count", json!({ "gte": 6 })), &[6, 7]),
        (on("tags", "values_count", json!({ "lt": 2, "gt": 0 })), &[1]),
        (on("tags", "values_count", json!({ "lte": 1 })), &[1]),
        (on("maybe", "is_empty", json!(false)), &[6]),
        (on("maybe", "is_null", json!(true)), &[5]),
        (must(json!({ "is_empty": { "key": "n" } })), &[8]),
        (must(json!({ "is_null": { "key": "maybe" } })), &[5]),
        (must(json!({ "has_id": [1, 3, 99] })), &[1, 3]),
        (must(json!({ "has_vector": "far" })), &[1, 2, 3, 4, 5, 6, 7]),
        (
            must(
                json!({ "nested": { "key": "list", "filter": { "must": [{ "key": "a", "match": { "value": 0 } }, { "key": "b", "match": { "value": 2 } }] } } }),
            ),
            &[2],
        ),
        (on("list[].a", "match", json!({ "value": 3 })), &[3]),
        (on("m.k.deep", "range", json!({ "lt": 3 })), &[1, 2]),
        (must(json!({ "should": [{ "has_id": [1] }, { "has_id": [2] }] })), &[1, 2]),
        (json!({ "must": { "has_id": [1, 2] } }), &[1, 2]),
        (json!({ "must": [{ "has_id": [1, 2] }, { "has_id": [2, 3] }] }), &[2]),
        (json!({ "should": [{ "has_id": [1] }, { "has_id": [2] }] }), &[1, 2]),
        (json!({ "must_not": { "has_id": [1, 2, 3, 4] } }), &[5, 6, 7, 8]),
        (
            json!({ "min_should": { "conditions": [{ "has_id": [1, 2] }, { "has_id": [2, 3] }, { "has_id": [3] }], "min_count": 2 } }),
            &[2, 3],
        ),
        (json!({}), &[1, 2, 3, 4, 5, 6, 7, 8]),
        (json!({ "must": [], "should": null }), &[1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    for (filter, ids) in cases {
        assert_eq!(shelf.filtered(filter), *ids, "{filter}");
    }
}

fn refused(filter: &Value) -> Error {
    match Filter::parse(filter, &bounds()) {
        Ok(_) => panic!("{filter} was read"),
        Err(error) => error,
    }
}

#[test]
fn filters_that_cannot_be() {
    let on = |name: &str, value: Value| {
        let mut condition = json!({ "key": "a" });
        condition[name] = value;
        json!({ "must": [condition] })
    };
    for (filter, words) in [
        (json!([]), "expected an object"),
        (json!({ "musts": [] }), "unknown field `musts`"),
        (json!({ "must": [{ "key": "a", "matches": {} }] }), "must[0]: unknown field `matches`"),
        (json!({ "must": [{ "key": "a" }] }), "at least one field condition"),
        (json!({ "must": [{ "key": 1, "match": { "value": 1 } }] }), "`key` is the path"),
        (json!({ "must": [1] }), "expected a condition"),
        (json!({ "must": "secret" }), "must: expected a list of conditions"),
        (json!({ "must": [{ "has_id": [1], "key2": 1 }] }), "unknown field `key2` beside `has_id`"),
        (json!({ "must": [{ "has_id": ["secret"] }] }), "must[0].has_id[0]: a point's id"),
        (json!({ "must": [{ "has_id": [-1] }] }), "a point's id"),
        (json!({ "must": [{ "has_id": 1 }] }), "expected a list of ids"),
        (json!({ "must": [{ "has_vector": 1 }] }), "the name of a vector"),
        (json!({ "must": [{ "nested": { "key": "a" } }] }), "nested.filter: expected an object"),
        (json!({ "must": [{ "is_null": { "key": "a", "x": 1 } }] }), "is_null: unknown field `x`"),
        (json!({ "min_should": { "conditions": [] } }), "min_count"),
        (json!({ "min_should": { "min_count": 1 } }), "conditions"),
        (
            on("match", json!({ "value": "secret", "any": ["secret"] })),
            "match: expected exactly one",
        ),
        (on("match", json!({ "value": 1.5 })), "cannot be matched with"),
        (on("match", json!({ "value": ["secret"] })), "cannot be matched with"),
        (on("match", json!({ "any": [1, "secret"] })), "cannot be matched with"),
        (on("match", json!({ "text": 1 })), "cannot be matched with"),
        (on("match", json!("secret")), "expected an object"),
        (on("range", json!({})), "at least one of lt"),
        (on("range", json!({ "gt": "secret" })), "no such condition"),
        (on("range", json!({ "gt": 1, "lt": "2024-01-01" })), "no such condition"),
        (on("range", json!({ "above": 1 })), "range: unknown field `above`"),
        (on("values_count", json!({ "gt": -1 })), "no such condition"),
        (on("geo_radius", json!({ "center": { "lon": 1, "lat": 1 }, "radius": -1 })), "from 0 on"),
        (
            on("geo_radius", json!({ "center": { "lon": 1, "lat": 91 }, "radius": 1 })),
            "no such condition",
        ),
        (
            on("geo_radius", json!({ "center": { "lon": 1, "lat": 1, "x": 1 }, "radius": 1 })),
            "unknown field `x`",
        ),
        (
            on("geo_bounding_box", json!({ "top_left": { "lon": 1, "lat": 1 } })),
            "no such condition",
        ),
        (
            on("geo_polygon", json!({ "exterior": { "points": [{ "lon": 1, "lat": 1 }] } })),
            "no such condition",
        ),
        (on("is_empty", json!("secret")), "true or false"),
        (json!({ "must": [{ "key": "a b", "is_null": true }] }), "is no path"),
    ] {
        let error = refused(&filter);
        assert!(matches!(error, Error::Invalid(_)), "{error} for {filter}");
        assert!(error.to_string().contains(words), "{error} for {filter}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for (filter, name) in [
        (json!({ "must": [{ "slice": { "total": 2, "index": 0 } }] }), "must[0].slice"),
        (on("match", json!({ "prefix": "a" })), "must[0].match.prefix"),
        (on("match", json!({ "substring": "a" })), "must[0].match.substring"),
        (
            json!({ "must": [{ "key": "a", "is_null": true, "is_empty": true }] }),
            "in one condition",
        ),
    ] {
        match refused(&filter) {
            Error::Unsupported(what) => assert!(what.contains(name), "{what}"),
            other => panic!("{other} for {filter}"),
        }
    }
}

/// Every way to a content field, each by its name.
#[test]
fn content_cannot_be_asked_about() {
    let mut bounds = bounds();
    bounds.content_fields.push("meta.notes[].body".into());
    let leaf = |key: &str| json!({ "key": key, "match": { "value": "x" } });
    let nested = |key: &str, inner: Value| json!({ "nested": { "key": key, "filter": inner } });
    let escapes: Vec<(&str, Value, &str)> = vec![
        ("the field", leaf("page_content"), "page_content"),
        ("the field in quotes", leaf("\"page_content\""), "page_content"),
        ("below it", leaf("text.a"), "text"),
        ("in it as a list", leaf("document[]"), "document"),
        ("one of it as a list", leaf("document[0].a"), "document"),
        ("above it", leaf("meta"), "meta.notes[].body"),
        ("above it, as a list", leaf("meta.notes[]"), "meta.notes[].body"),
        ("without the list", leaf("meta.notes.body"), "meta.notes[].body"),
        ("one of the list", leaf("meta.notes[3].body"), "meta.notes[].body"),
        ("nested", nested("meta.notes", json!({ "must": leaf("body") })), "meta.notes[].body"),
        (
            "nested with a list",
            nested("meta.notes[]", json!({ "must": leaf("body") })),
            "meta.notes[].body",
        ),
        (
            "nested twice",
            nested("meta", json!({ "must": nested("notes", json!({ "should": leaf("body") })) })),
            "meta.notes[].body",
        ),
        ("nested at it", nested("text", json!({})), "text"),
        ("is_empty", json!({ "is_empty": { "key": "text" } }), "text"),
        ("is_null", json!({ "is_null": { "key": "text" } }), "text"),
        ("range", json!({ "key": "text", "range": { "gt": 1 } }), "text"),
        ("values_count", json!({ "key": "text", "values_count": { "gt": 1 } }), "text"),
        (
            "geo",
            json!({ "key": "text", "geo_radius": { "center": { "lon": 1, "lat": 1 }, "radius": 1 } }),
            "text",
        ),
        ("the field's is_null", json!({ "key": "text", "is_null": false }), "text"),
        ("full text", json!({ "key": "_node_content", "match": { "text": "x" } }), "_node_content"),
    ];
    for (name, condition, field) in escapes {
        for filter in [
            json!({ "must": [condition] }),
            json!({ "must": condition }),
            json!({ "should": [{ "must_not": [condition] }] }),
            json!({ "must_not": [condition] }),
            json!({ "min_should": { "conditions": [condition], "min_count": 0 } }),
        ] {
            match Filter::parse(&filter, &bounds) {
                Err(Error::Content(found)) => assert_eq!(found, field, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    for beside in ["page_contents", "a.text", "meta.other", "metadata.text", "texts[]"] {
        Filter::parse(&json!({ "must": leaf(beside) }), &bounds).unwrap();
    }
    let beside = nested("a", json!({ "must": leaf("text") }));
    Filter::parse(&json!({ "must": beside }), &bounds).unwrap();
}

#[test]
fn what_is_ours_cannot_be_asked_about_but_by_us() {
    for condition in [
        json!({ "key": "_bulkhead.subject", "match": { "value": "x" } }),
        json!({ "key": "_bulkhead", "is_null": true }),
        json!({ "key": "\"_bulkhead\".expires", "range": { "gt": 1 } }),
        json!({ "is_empty": { "key": "_bulkhead.subject" } }),
        json!({ "is_null": { "key": "_bulkhead[].subject" } }),
        json!({ "nested": { "key": "_bulkhead", "filter": { "must": { "key": "subject", "is_null": true } } } }),
    ] {
        let filter = json!({ "should": [{ "must_not": condition }] });
        let error = refused(&filter);
        assert!(error.to_string().contains("`_bulkhead` is reserved"), "{error}");
        Filter::internal(&filter, &bounds()).unwrap();
    }
    let inside = json!({ "must": { "nested": { "key": "a", "filter": { "must": { "key": "_bulkhead", "is_null": true } } } } });
    Filter::parse(&inside, &bounds()).unwrap();
}

#[test]
fn conditions_and_depth_are_bounded() {
    let many = |count: usize| json!({ "should": vec![json!({ "has_id": [1] }); count] });
    assert_eq!(Filter::parse(&many(1_000), &bounds()).unwrap().conditions, 1_000);
    assert!(matches!(refused(&many(1_001)), Error::TooLarge { size: 1_001, bound: 1_000, .. }));
    let mut deep = json!({});
    for _ in 0..7 {
        deep = json!({ "must": deep });
    }
    Filter::parse(&deep, &bounds()).unwrap();
    assert!(matches!(refused(&json!({ "must": deep })), Error::TooLarge { .. }));
    let nested = json!({ "must": { "nested": { "key": "a", "filter": deep } } });
    assert!(matches!(refused(&nested), Error::TooLarge { .. }));
}
