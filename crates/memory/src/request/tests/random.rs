//! Filters and bodies at random: nothing panics, here or in the engine, and a filter that is put
//! together with another lets nothing through that the other does not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    bounds,
    shelf::{Shelf, shelf},
};
use crate::request::{
    Filter, parse_batch, parse_create, parse_groups, parse_index, parse_query, parse_scroll,
    parse_upsert,
};

fn key() -> impl Strategy<Value = String> {
    let keys = [
        "n",
        "f",
        "city",
        "b",
        "ts",
        "t",
        "loc",
        "tags",
        "list",
        "list[].a",
        "list[0].b",
        "m",
        "m.k.deep",
        "maybe",
        "gone",
        "tags[]",
        "t[]",
        "loc.lon",
    ];
    prop::sample::select(keys.to_vec()).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_i64..9).prop_map(Value::from),
        Just(json!("Bern")),
        Just(json!("quick fox")),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!("")),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3.0..9.0).prop_map(|n: f64| json!(n)),
        Just(json!(1e300)),
        Just(json!(-1e300)),
        Just(json!(0)),
        Just(json!(null)),
        Just(json!("2024-01-04T00:00:00Z")),
        Just(json!("0001-01-01T00:00:00Z")),
        Just(json!("9999-12-31T23:59:59Z")),
        any::<i64>().prop_map(Value::from),
    ]
}

fn place() -> impl Strategy<Value = Value> {
    let on = |bound: f64| prop_oneof![-bound..bound, Just(bound), Just(-bound), Just(0.0)];
    (on(180.0), on(90.0)).prop_map(|(lon, lat)| json!({ "lon": lon, "lat": lat }))
}

fn line() -> impl Strategy<Value = Value> {
    prop::collection::vec(place(), 1..6).prop_map(|mut points| {
        points.push(points[0].clone());
        json!({ "points": points })
    })
}

fn on_a_field() -> impl Strategy<Value = Value> {
    let range = (number(), number()).prop_map(|(a, b)| json!({ "gte": a, "lt": b }));
    let strings = prop::collection::vec(prop_oneof![Just("Bern"), Just("Chur"), Just("")], 0..3);
    let count = prop_oneof![Just(json!(0)), Just(json!(3)), Just(json!(u64::MAX))];
    let radius = prop_oneof![
        Just(0.0),
        Just(1.0),
        Just(1e5),
        Just(2e7),
        Just(1e9),
        Just(f64::MAX),
        Just(1e-300)
    ];
    let condition = prop_oneof![
        scalar().prop_map(|value| ("match", json!({ "value": value }))),
        strings.clone().prop_map(|any| ("match", json!({ "any": any }))),
        prop::collection::vec(any::<i64>(), 0..4)
            .prop_map(|any| ("match", json!({ "except": any }))),
        // Values that there are: of others the engine asserts, in development builds only, that
        // it can tell how many points are left.
        prop::collection::vec(prop_oneof![Just("Bern"), Just("Chur")], 0..3)
            .prop_map(|any| ("match", json!({ "except": any }))),
        "[a-z ]{0,12}".prop_map(|text| ("match", json!({ "text": text }))),
        "(quick|red|fox| ){0,4}".prop_map(|text| ("match", json!({ "text_any": text }))),
        "(quick|red|fox| ){0,4}".prop_map(|text| ("match", json!({ "phrase": text }))),
        range.prop_map(|range| ("range", range)),
        (count.clone(), count).prop_map(|(a, b)| ("values_count", json!({ "gt": a, "lte": b }))),
        (place(), place())
            .prop_map(|(a, b)| ("geo_bounding_box", json!({ "top_left": a, "bottom_right": b }))),
        (place(), radius).prop_map(|(a, r)| ("geo_radius", json!({ "center": a, "radius": r }))),
        (line(), line())
            .prop_map(|(a, b)| ("geo_polygon", json!({ "exterior": a, "interiors": [b] }))),
        any::<bool>().prop_map(|yes| ("is_empty", json!(yes))),
        any::<bool>().prop_map(|yes| ("is_null", json!(yes))),
    ];
    (key(), condition).prop_map(|(key, (name, value))| {
        let mut condition = json!({ "key": key });
        condition[name] = value;
        condition
    })
}

fn filter() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => on_a_field(),
        1 => prop::collection::vec(0_u64..10, 0..5).prop_map(|ids| json!({ "has_id": ids })),
        1 => key().prop_map(|key| json!({ "is_null": { "key": key } })),
        1 => key().prop_map(|key| json!({ "is_empty": { "key": key } })),
        1 => prop_oneof![Just("far"), Just("idf"), Just("gone"), Just("")]
            .prop_map(|name| json!({ "has_vector": name })),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 0..3);
        let clause = |name: &'static str| {
            some().prop_map(move |all| {
                let mut filter = json!({});
                filter[name] = json!(all);
                filter
            })
        };
        prop_oneof![
            clause("must"),
            clause("should"),
            clause("must_not"),
            (some(), 0_u64..4).prop_map(|(all, count)| {
                json!({ "min_should": { "conditions": all, "min_count": count } })
            }),
            (some(), some(), some())
                .prop_map(|(a, b, c)| json!({ "must": a, "should": b, "must_not": c })),
            (prop_oneof![Just("list"), Just("list[]"), Just("gone"), Just("m")], some()).prop_map(
                |(key, all)| json!({ "nested": { "key": key, "filter": { "must": all } } })
            ),
        ]
    })
    .prop_map(|condition| json!({ "must": [condition] }))
}

thread_local! {
    static SHELF: Shelf = shelf();
}

fn through(filter: &Filter) -> Vec<u64> {
    SHELF.with(|shelf| shelf.through(filter))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Planted: `memory-filter-merged`.
    #[test]
    fn two_filters_let_through_what_both_do(a in filter(), b in filter()) {
        let read = |filter: &Value| Filter::parse(filter, &bounds());
        if let (Ok(a), Ok(b)) = (read(&a), read(&b)) {
            // The clauses of both at the top, where they could run together.
            let open = |filter: &Filter| match &filter.engine.must.as_deref() {
                Some([qdrant_edge::Condition::Filter(inner)]) => {
                    Filter { engine: inner.clone(), ..filter.clone() }
                }
                _ => filter.clone(),
            };
            let (a, b) = (open(&a), open(&b));
            let (of_a, of_b) = (through(&a), through(&b));
            let both: Vec<u64> = of_a.iter().copied().filter(|id| of_b.contains(id)).collect();
            prop_assert_eq!(through(&a.and(b)), both);
        }
    }

    /// Ranking with a filter and a reach finds the same points as both let through.
    #[test]
    fn ranking_keeps_to_filter_and_reach(a in filter(), b in filter()) {
        let body = json!({ "query": [1.0, 0.0], "limit": 8, "filter": a });
        let reach = Filter::parse(&b, &bounds());
        if let (Ok(own), Ok(reach)) = (Filter::parse(&a, &bounds()), reach) {
            let both = through(&own.and(reach.clone()));
            let mut found: Vec<u64> = SHELF
                .with(|shelf| shelf.scores(&body, Some(&reach)))
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            found.sort_unstable();
            prop_assert_eq!(found, both);
        }
    }

    #[test]
    fn nothing_panics(body in any_json()) {
        let bounds = bounds();
        drop(Filter::parse(&body, &bounds));
        let body = body.to_string().into_bytes();
        drop(parse_upsert(&body, &bounds));
        drop(parse_batch(&body, &bounds));
        drop(parse_query(&body, &bounds));
        drop(parse_groups(&body, &bounds));
        drop(parse_scroll(&body, &bounds));
        drop(parse_create(&body, &bounds));
        drop(parse_index(&body, &bounds));
    }
}

/// JSON of the words that bodies are made of.
fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "points",
        "batch",
        "ids",
        "vectors",
        "vector",
        "payload",
        "id",
        "query",
        "nearest",
        "mmr",
        "recommend",
        "positive",
        "prefetch",
        "filter",
        "must",
        "should",
        "key",
        "match",
        "value",
        "indices",
        "values",
        "text",
        "model",
        "options",
        "size",
        "distance",
        "using",
        "order_by",
        "field_name",
        "field_schema",
        "type",
        "operations",
        "upsert",
        "delete",
        "nested",
        "has_id",
    ];
    let word = prop::sample::select(words.to_vec()).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
