use serde_json::{Value, json};

use super::{bounds, invalid, refusal, shelf::shelf, unsupported, with};
use crate::{
    Error, PointId,
    request::{
        Order, Scroll, Show, ShowPayload, ShowVectors, parse_count, parse_facet, parse_groups,
        parse_queries, parse_query, parse_retrieve, parse_scroll, plan,
    },
};

fn read<T>(parse: fn(&[u8], &super::Bounds) -> Result<T, Error>, body: &Value) -> T {
    parse(body.to_string().as_bytes(), &bounds()).unwrap_or_else(|e| panic!("{e} for {body}"))
}

/// Base bodies, and what each field added to them makes of the result.
#[test]
fn every_field_of_a_query_changes_what_is_found() {
    let shelf = shelf();
    let near = json!({ "query": [1.0, 0.0], "limit": 8 });
    let rrf = json!({
        "prefetch": [{ "query": [1.0, 0.0], "limit": 3 }, { "query": [0.0, 1.0], "limit": 3 }],
        "query": { "fusion": "rrf" },
    });
    let two = json!({ "prefetch": { "query": [0.0, 1.0], "limit": 2 }, "query": [1.0, 0.0] });
    let recommend = json!({ "query": { "recommend": { "positive": [1], "negative": [6] } } });
    let asked = |mmr: Value| json!({ "query": { "nearest": [1.0, 0.0], "mmr": mmr }, "limit": 3 });
    let mmr = asked(json!({ "diversity": 0.9, "candidates_limit": 7 }));
    let order = json!({ "query": { "order_by": "n" }, "limit": 8 });
    let cases = [
        (&near, json!({ "query": [0.0, 1.0] })),
        (&near, json!({ "query": 7 })),
        (&near, json!({ "query": { "nearest": 7 } })),
        (&near, json!({ "query": null })),
        (&near, json!({ "using": "far" })),
        (&near, json!({ "filter": { "must": { "key": "n", "range": { "gt": 3 } } } })),
        (&near, json!({ "score_threshold": 0.9 })),
        (&near, json!({ "limit": 2 })),
        (&near, json!({ "offset": 1 })),
        (&near, json!({ "prefetch": { "query": [0.0, 1.0], "limit": 2 } })),
        (&two, json!({ "prefetch": { "query": [0.0, 1.0], "limit": 3 } })),
        (&two, json!({ "prefetch": { "query": [0.0, 1.0], "limit": 2, "using": "far" } })),
        (&two, json!({ "prefetch": { "query": [0.0, 1.0], "limit": 2, "score_threshold": 0.98 } })),
        (
            &two,
            json!({ "prefetch": { "query": [0.0, 1.0], "limit": 2, "filter": { "must_not": { "has_id": [7] } } } }),
        ),
        (
            &two,
            json!({ "prefetch": { "query": [0.0, 1.0], "limit": 2, "prefetch": { "query": [1.0, 0.0], "limit": 3 } } }),
        ),
        (&two, json!({ "prefetch": { "limit": 3 } })),
        (&rrf, json!({ "query": { "fusion": "dbsf" } })),
        (&rrf, json!({ "query": { "rrf": { "weights": [1.0, 5.0] } } })),
        (&recommend, json!({ "query": { "recommend": { "positive": [6], "negative": [1] } } })),
        (&recommend, json!({ "query": { "recommend": { "positive": [1, 2] } } })),
        (
            &recommend,
            json!({ "query": { "recommend": { "positive": [1], "negative": [6], "strategy": "best_score" } } }),
        ),
        (&mmr, asked(json!({ "diversity": 0.0, "candidates_limit": 7 }))),
        (&mmr, asked(json!({ "diversity": 0.9, "candidates_limit": 4 }))),
        (&mmr, asked(json!({}))),
        (&order, json!({ "query": { "order_by": "f" }, "offset": 2 })),
        (&order, json!({ "query": { "order_by": { "key": "n", "direction": "desc" } } })),
        (&order, json!({ "query": { "order_by": { "key": "n", "start_from": 3 } } })),
        (
            &order,
            json!({ "query": { "order_by": { "key": "ts", "start_from": "2024-01-04T00:00:00Z" } } }),
        ),
    ];
    for (base, field) in cases {
        let changed = with(base, &field);
        let (before, after) = (shelf.scores(base, None), shelf.scores(&changed, None));
        assert_ne!(before, after, "{field} changes nothing of {base}");
    }
}

#[test]
fn results_are_those_that_are_meant() {
    let shelf = shelf();
    let is = |body: Value, ids: &[u64]| assert_eq!(shelf.query(&body), ids, "{body}");
    is(json!({ "query": [1.0, 0.0], "limit": 3 }), &[1, 2, 3]);
    is(json!({ "query": [1.0, 0.0], "limit": 3, "offset": 2 }), &[3, 4, 5]);
    is(json!({ "query": [0.0, 0.0], "using": "far", "limit": 2 }), &[1, 2]);
    is(json!({ "query": { "indices": [105], "values": [1.0] }, "using": "plain" }), &[5]);
    is(
        json!({ "query": { "nearest": { "values": [1.0], "indices": [105] } }, "using": "idf" }),
        &[5],
    );
    is(json!({ "query": [0.0, 1.0], "using": "multi", "limit": 2 }), &[7, 6]);
    is(json!({ "query": [[0.0, 1.0], [0.0, 1.0]], "using": "multi", "limit": 1 }), &[7]);
    // An example is not among what it finds, neither where it is asked for, nor above.
    is(json!({ "query": 1, "limit": 2 }), &[2, 3]);
    is(json!({ "prefetch": { "query": 1 }, "query": [1.0, 0.0], "limit": 2 }), &[2, 3]);
    is(json!({ "query": { "recommend": { "positive": [4] } }, "limit": 2 }), &[5, 3]);
    is(
        json!({ "query": { "recommend": { "positive": [1, [1.0, 0.0]], "negative": [7] } }, "limit": 2 }),
        &[2, 3],
    );
    is(
        json!({ "query": { "recommend": { "negative": [7], "strategy": "best_score" } }, "limit": 1 }),
        &[8],
    );
    is(
        json!({ "query": { "recommend": { "positive": [2, 6], "strategy": "sum_scores" } }, "limit": 1 }),
        &[4],
    );
    is(
        json!({ "query": { "recommend": { "positive": [2] } }, "using": "plain", "limit": 1 }),
        &[7],
    );
    is(
        json!({ "query": { "order_by": { "key": "n", "direction": "desc" } }, "limit": 2 }),
        &[7, 6],
    );
    is(json!({ "limit": 3 }), &[1, 2, 3]);
    is(
        json!({ "prefetch": [{ "query": { "order_by": "n" }, "limit": 4 }], "query": [0.0, 1.0], "limit": 2 }),
        &[4, 3],
    );
    let all = [1, 2, 3, 4, 5, 6, 7, 8];
    is(json!({ "query": [1.0, 0.0], "limit": 8, "params": { "exact": true, "hnsw_ef": 8 } }), &all);
    is(
        json!({ "query": [1.0, 0.0], "limit": 8, "params": { "idf": "global", "acorn": null } }),
        &all,
    );
}

/// `exact`, `hnsw_ef` and `indexed_only` are of a graph, which eight points do not have: here
/// they are held against what the engine is asked.
#[test]
fn the_engine_is_asked_as_it_was_said() {
    let shelf = shelf();
    let asked = |params: Value| {
        let body = json!({ "query": [1.0, 0.0], "params": params });
        shelf.plan(&body, None).unwrap().engine.params.unwrap()
    };
    let default = asked(json!({}));
    assert_eq!((default.exact, default.hnsw_ef, default.indexed_only), (false, Some(144), false));
    assert!(asked(json!({ "exact": true })).exact);
    assert_eq!(asked(json!({ "hnsw_ef": 77 })).hnsw_ef, Some(77));
    assert!(asked(json!({ "indexed_only": true })).indexed_only);
    let inner = json!({ "prefetch": { "params": { "exact": true } }, "query": [1.0, 0.0] });
    let plan = shelf.plan(&inner, None).unwrap();
    assert!(plan.engine.prefetches[0].params.unwrap().exact);
    let plan = shelf.plan(&json!({ "query": [1.0, 0.0], "with_payload": true }), None).unwrap();
    assert!(!plan.engine.with_payload.is_required(), "content comes from the rows");
}

#[test]
fn reciprocal_ranks_are_qdrants() {
    let shelf = shelf();
    let body = |rrf: Value| {
        json!({
            "prefetch": [{ "query": [1.0, 0.0], "limit": 2 }, { "query": [0.0, 1.0], "limit": 1 }],
            "query": rrf,
        })
    };
    let default = shelf.scores(&body(json!({ "fusion": "rrf" })), None);
    // 1 / (k + rank), k is 2.
    let score = |id: u64, all: &[(u64, f32)]| all.iter().find(|(other, _)| *other == id).unwrap().1;
    assert!((score(1, &default) - 0.5).abs() < 1e-6);
    assert!((score(2, &default) - 1.0 / 3.0).abs() < 1e-6);
    assert_eq!(default, shelf.scores(&body(json!({ "rrf": { "k": 2 } })), None));
    let sixty = shelf.scores(&body(json!({ "rrf": { "k": 60 } })), None);
    assert!((score(1, &sixty) - 1.0 / 60.0).abs() < 1e-6);
}

/// The first of both sub-queries tie, and so do their second ones.
#[test]
fn ties_are_not_left_to_chance() {
    let shelf = shelf();
    let body = |limit: usize, offset: usize, how: &str| {
        json!({
            "prefetch": [{ "query": [1.0, 0.0], "limit": 3 }, { "query": [0.0, 1.0], "limit": 3 }],
            "query": { "fusion": how }, "limit": limit, "offset": offset,
        })
    };
    for _ in 0..32 {
        assert_eq!(shelf.query(&body(6, 0, "rrf")), [1, 7, 2, 6, 3, 5]);
        assert_eq!(shelf.query(&body(1, 0, "rrf")), [1]);
        assert_eq!(shelf.query(&body(2, 1, "rrf")), [7, 2]);
        assert_eq!(shelf.query(&body(6, 0, "dbsf")), shelf.query(&body(6, 0, "dbsf")));
    }
}

/// In a sub-query the engine alone would not diversify, and would not keep to the limit.
#[test]
fn mmr_is_mmr_in_a_prefetch_too() {
    let shelf = shelf();
    let mmr = json!({ "nearest": [1.0, 0.0], "mmr": { "diversity": 0.9, "candidates_limit": 7 } });
    let root = shelf.query(&json!({ "query": mmr, "limit": 2 }));
    assert_ne!(root, [1, 2], "this is no diversity");
    let inner = json!({
        "prefetch": { "query": mmr, "limit": 2 },
        "query": { "fusion": "rrf" },
    });
    assert_eq!(shelf.query(&inner), root);
    let nested = json!({
        "prefetch": { "prefetch": { "query": [0.0, 1.0], "limit": 7 }, "query": mmr, "limit": 2 },
        "query": { "fusion": "rrf" },
    });
    assert_eq!(shelf.query(&nested), root);
}

#[test]
fn a_query_is_held_against_the_collection() {
    let shelf = shelf();
    let wrong = |body: Value, words: &str| match shelf.plan(&body, None) {
        Ok(_) => panic!("{body} has a plan"),
        Err(error) => assert!(error.to_string().contains(words), "{error} for {body}"),
    };
    wrong(json!({ "query": [1.0], }), "expected dim: 2, got 1");
    wrong(
        json!({ "query": [1.0, 0.0], "using": "gone" }),
        "Not existing vector name error: `gone`",
    );
    wrong(json!({ "query": 1, "using": "gone" }), "Not existing vector name error: `gone`");
    wrong(json!({ "query": [1.0, 0.0], "using": "idf" }), "expected `indices` and `values`");
    wrong(json!({ "query": { "indices": [1], "values": [1.0] } }), "expected a list of numbers");
    wrong(json!({ "query": [[1.0, 0.0]] }), "expected a list of numbers");
    wrong(json!({ "query": [[1.0]], "using": "multi" }), "expected dim: 2, got 1");
    wrong(json!({ "query": 99 }), "Not found: No point with id 99 found");
    wrong(
        json!({ "query": "00000000-0000-0000-0000-00000000000a" }),
        "No point with id 00000000-0000-0000-0000-00000000000a",
    );
    wrong(json!({ "query": 8, "using": "far" }), "has no vector called `far`");
    wrong(json!({ "query": { "text": "secret", "model": "m" } }), "not embedded");
    wrong(json!({ "query": { "order_by": "city" } }), "No range index");
    wrong(json!({ "query": { "order_by": "gone" } }), "No range index");
    wrong(
        json!({ "query": { "nearest": { "indices": [1], "values": [1.0] }, "mmr": {} }, "using": "idf" }),
        "`mmr` of sparse vectors is not supported",
    );
    wrong(
        json!({ "prefetch": { "query": [1.0, 0.0] }, "query": { "rrf": { "weights": [1.0, 2.0] } } }),
        "there are 2 `weights` and 1 prefetches",
    );
    let missing = shelf.plan(&json!({ "query": 99 }), None).unwrap_err();
    assert_eq!(missing.code(), "memory.no_point");
}

#[test]
fn every_refused_field_of_a_query_is_refused_by_name() {
    for (body, name) in [
        (json!({ "shard_key": "a" }), "shard_key"),
        (json!({ "lookup_from": { "collection": "b" } }), "lookup_from"),
        (json!({ "prefetch": { "lookup_from": { "collection": "b" } } }), "prefetch.lookup_from"),
        (json!({ "params": { "quantization": {} } }), "params.quantization"),
        (json!({ "params": { "acorn": { "enable": true } } }), "params.acorn"),
        (json!({ "params": { "idf": { "corpus": {} } } }), "params.idf"),
        (json!({ "query": { "discover": { "target": 1 } } }), "query.discover"),
        (json!({ "query": { "context": [] } }), "query.context"),
        (json!({ "query": { "formula": "$score" } }), "query.formula"),
        (json!({ "query": { "sample": "random" } }), "query.sample"),
        (json!({ "query": { "relevance_feedback": {} } }), "query.relevance_feedback"),
        (json!({ "query": { "image": "x", "model": "m" } }), "query.image"),
        (json!({ "query": { "nearest": { "object": {}, "model": "m" } } }), "query.nearest.object"),
    ] {
        unsupported(parse_query, &body, name);
    }
    let groups = json!({ "group_by": "city", "with_lookup": "other" });
    unsupported(parse_groups, &groups, "with_lookup");
    let (name, body) = ("shard_key", json!({ "shard_key": 1 }));
    unsupported(parse_scroll, &body, name);
    unsupported(parse_count, &body, name);
    unsupported(parse_facet, &with(&body, &json!({ "key": "a" })), name);
    unsupported(parse_retrieve, &with(&body, &json!({ "ids": [] })), name);
    unsupported(parse_groups, &with(&body, &json!({ "group_by": "a" })), name);
}

#[test]
fn queries_that_cannot_be() {
    for (body, words) in [
        (json!({ "limits": 1 }), "unknown field `limits`"),
        (json!({ "query": { "nearest": 1, "fusion": "rrf" } }), "query: expected one of nearest"),
        (json!({ "query": {} }), "expected one of nearest"),
        (json!({ "query": { "mmr": {} } }), "stands beside `nearest`"),
        (json!({ "query": { "fusion": "rrf" } }), "needs a `prefetch`"),
        (json!({ "prefetch": {} }), "a `query` is needed"),
        (
            json!({ "prefetch": {}, "query": { "fusion": "rrf" }, "using": "a" }),
            "leave out `using`",
        ),
        (json!({ "query": { "recommend": {} } }), "needs a positive example"),
        (json!({ "query": { "recommend": { "strategy": "best_score" } } }), "needs an example"),
        (
            json!({ "query": { "recommend": { "positive": [1], "strategy": "x" } } }),
            "`strategy` is one of",
        ),
        (json!({ "query": { "nearest": 1, "mmr": { "diversity": 1.5 } } }), "from 0 to 1"),
        (json!({ "prefetch": {}, "query": { "rrf": { "k": 0 } } }), "`k` is a number from 1 on"),
        (json!({ "prefetch": {}, "query": { "rrf": { "weights": [-1.0] } } }), "from 0 on"),
        (json!({ "prefetch": {}, "query": { "fusion": "sum" } }), "rrf, dbsf"),
        (json!({ "limit": 0 }), "`limit` is a number from 1 on"),
        (json!({ "limit": -1 }), "limit: expected a number from 0 on"),
        (json!({ "query": -1 }), "query: expected a query, a vector"),
        (json!({ "query": "secret" }), "a point's id is"),
        (json!({ "query": [] }), "without dimensions"),
        (json!({ "query": [1.0, "secret"] }), "query: expected a number of single precision"),
        (json!({ "query": [1e39] }), "query: expected a number"),
        (json!({ "query": { "indices": [1, 1], "values": [1, 1] } }), "must be unique"),
        (json!({ "query": { "indices": [1], "values": [] } }), "of one length"),
        (json!({ "query": { "order_by": { "key": "a", "direction": "up" } } }), "asc, desc"),
        (
            json!({ "query": { "order_by": { "key": "a", "start_from": "secret" } } }),
            "a number or a date",
        ),
        (json!({ "query": { "order_by": "a b" } }), "is no path"),
        (json!({ "query": { "order_by": "_bulkhead.subject" } }), "is reserved"),
        (json!({ "with_payload": { "include": [], "exclude": [] } }), "either include or exclude"),
    ] {
        invalid(parse_query, &body, words);
        assert!(!refusal(parse_query, &body).to_string().contains("secret"), "{body}");
    }
    let both = json!({ "order_by": "n", "offset": 1 });
    invalid(parse_scroll, &both, "cannot be used with `order_by`");
    for field in ["page_content", "text.a", "document[]", "_node_content"] {
        let content = |error: Error| assert!(matches!(error, Error::Content(_)), "{error}");
        content(refusal(parse_query, &json!({ "query": { "order_by": field } })));
        content(refusal(parse_scroll, &json!({ "order_by": field })));
        content(refusal(parse_facet, &json!({ "key": field })));
        content(refusal(parse_groups, &json!({ "group_by": field })));
    }
}

#[test]
fn bounds_hold_while_a_query_is_read() {
    let large = |body: &Value| {
        let error = refusal(parse_query, body);
        assert!(matches!(error, Error::TooLarge { .. }), "{error} for {body}");
    };
    large(&json!({ "limit": 10_001 }));
    large(&json!({ "limit": 5_001, "offset": 5_000 }));
    large(&json!({ "limit": 1, "offset": u64::MAX }));
    large(&json!({ "query": vec![1.0; 4_097] }));
    large(&json!({ "query": { "recommend": { "positive": vec![1; 1_001] } } }));
    large(&json!({ "query": { "nearest": 1, "mmr": {} }, "limit": 1_001 }));
    large(&json!({ "query": { "nearest": 1, "mmr": { "candidates_limit": 1_001 } } }));
    large(&json!({ "query": 1, "prefetch": vec![json!({}); 257] }));
    large(&json!({ "with_vector": vec!["a"; 17] }));
    large(&json!({ "filter": { "must": vec![json!({ "has_id": [] }); 1_001] } }));
    let mut deep = json!({});
    for _ in 0..9 {
        deep = json!({ "query": 1, "prefetch": deep });
    }
    large(&deep);
    let batch = json!({ "searches": vec![json!({}); 65] });
    assert!(matches!(refusal(parse_queries, &batch), Error::TooLarge { .. }));
    let groups = json!({ "group_by": "a", "limit": 101, "group_size": 100 });
    assert!(matches!(refusal(parse_groups, &groups), Error::TooLarge { .. }));
    let ids = json!({ "ids": vec![1; 10_001] });
    assert!(matches!(refusal(parse_retrieve, &ids), Error::TooLarge { .. }));
}

#[test]
fn defaults_are_qdrants() {
    let nothing = Show { payload: ShowPayload::All(false), vectors: ShowVectors::All(false) };
    let payload = Show { payload: ShowPayload::All(true), vectors: ShowVectors::All(false) };
    let query = read(parse_query, &json!({}));
    assert_eq!((query.limit, query.offset, query.using.as_str()), (10, 0, ""));
    assert_eq!(query.show, nothing);
    let queries = read(parse_queries, &json!({ "searches": [{}, { "limit": 3 }] }));
    assert_eq!(queries.iter().map(|query| query.limit).collect::<Vec<_>>(), [10, 3]);
    let groups = read(parse_groups, &json!({ "group_by": "a" }));
    assert_eq!((groups.query.limit, groups.size, groups.by.as_str()), (10, 3, "a"));
    let Scroll { filter, offset, limit, order, show } = read(parse_scroll, &json!({}));
    assert!(filter.is_none());
    assert_eq!((offset, limit, order, show), (None, 10, None, payload.clone()));
    assert!(read(parse_count, &json!({})).exact);
    let facet = read(parse_facet, &json!({ "key": "a" }));
    assert_eq!((facet.limit, facet.exact, facet.key.as_str()), (10, false, "a"));
    let retrieve = read(parse_retrieve, &json!({ "ids": [1] }));
    assert_eq!((retrieve.ids, retrieve.show), (vec![PointId::Num(1)], payload));
}

#[test]
fn what_is_said_is_read() {
    let scroll = json!({
        "limit": 5, "offset": "5c56c793-69f3-4fbf-87e6-c4bf54c28c26",
        "with_payload": ["a", "b.c"], "with_vectors": ["far"],
        "filter": { "must": [] },
    });
    let scroll = read(parse_scroll, &scroll);
    assert_eq!(scroll.limit, 5);
    assert_eq!(scroll.offset.unwrap().to_string(), "5c56c793-69f3-4fbf-87e6-c4bf54c28c26");
    assert_eq!(scroll.show.payload, ShowPayload::Only(vec!["a".into(), "b.c".into()]));
    assert_eq!(scroll.show.vectors, ShowVectors::Only(vec!["far".into()]));
    assert!(scroll.filter.is_some());
    let order = json!({ "order_by": { "key": "n", "direction": "desc", "start_from": 3.5 } });
    let order = read(parse_scroll, &order).order.unwrap();
    let want = Order { key: "n".into(), descending: true, start_from: Some(json!(3.5)) };
    assert_eq!(order, want);
    let count = read(parse_count, &json!({ "exact": false, "filter": {} }));
    assert!(!count.exact && count.filter.is_some());
    let facet = json!({ "key": "a", "limit": 3, "exact": true, "filter": {} });
    let facet = read(parse_facet, &facet);
    assert!(facet.limit == 3 && facet.exact && facet.filter.is_some());
    let without = json!({ "ids": [1], "with_payload": { "exclude": ["a"] }, "with_vector": true });
    let show = read(parse_retrieve, &without).show;
    assert_eq!(show.payload, ShowPayload::Without(vec!["a".into()]));
    assert_eq!(show.vectors, ShowVectors::All(true));
    let include = json!({ "ids": [1], "with_payload": { "include": ["a"] } });
    assert_eq!(read(parse_retrieve, &include).show.payload, ShowPayload::Only(vec!["a".into()]));
    let query = json!({ "with_payload": true, "with_vector": ["a"] });
    let show = read(parse_query, &query).show;
    assert_eq!(
        (show.payload, show.vectors),
        (ShowPayload::All(true), ShowVectors::Only(vec!["a".into()]))
    );
}

#[test]
fn orders_and_facets_need_their_indexes() {
    let shelf = shelf();
    let schema = &shelf.collection.schema;
    let order = |key: &str| Order { key: key.into(), descending: false, start_from: None };
    for key in ["n", "f", "ts", "\"n\""] {
        plan::check_order(&order(key), schema).unwrap();
    }
    for key in ["city", "t", "gone"] {
        plan::check_order(&order(key), schema).unwrap_err();
    }
    for key in ["n", "city"] {
        plan::check_facet(key, schema).unwrap();
        let request = qdrant_edge::FacetRequest {
            key: key.parse().unwrap(),
            limit: 3,
            filter: None,
            exact: true,
        };
        assert!(!shelf.edge.facet(request).unwrap().hits.is_empty());
    }
    for key in ["f", "ts", "t", "gone"] {
        plan::check_facet(key, schema).unwrap_err();
    }
}
