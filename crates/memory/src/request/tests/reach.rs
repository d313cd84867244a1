//! The reach, in every sub-query: nothing that a caller says lets more through.

use qdrant_edge::Condition;
use serde_json::{Value, json};

use super::{bounds, shelf::shelf};
use crate::request::Filter;

fn filter(value: &Value) -> Filter {
    Filter::parse(value, &bounds()).unwrap()
}

/// Only odd points.
fn reach() -> Filter {
    filter(&json!({ "must": { "key": "b", "match": { "value": false } } }))
}

/// Planted: `memory-filter-merged`.
#[test]
fn filters_that_are_put_together_stay_what_they_are() {
    let shelf = shelf();
    let reach = filter(&json!({ "should": [{ "has_id": [1] }, { "has_id": [3] }] }));
    for (own, want) in [
        (json!({ "should": [{ "has_id": [2] }, { "has_id": [3] }] }), &[3][..]),
        (json!({ "should": [{ "has_id": [2] }] }), &[]),
        (json!({}), &[1, 3]),
        (json!({ "must_not": { "has_id": [1] } }), &[3]),
        (json!({ "must": { "has_id": [1, 2] } }), &[1]),
    ] {
        let own = filter(&own);
        assert_eq!(shelf.through(&own.clone().and(reach.clone())), want);
        assert_eq!(shelf.through(&reach.clone().and(own.clone())), want);
        assert_eq!(own.clone().and(reach.clone()).conditions, own.conditions + 2);
    }
    let two = |a: &[u64], b: &[u64], count: usize| {
        let conditions = json!([{ "has_id": a }, { "has_id": b }]);
        filter(&json!({ "min_should": { "conditions": conditions, "min_count": count } }))
    };
    let (reach, own) = (two(&[1], &[1, 2], 2), two(&[2, 3], &[3, 1], 1));
    assert_eq!(shelf.through(&own.and(reach)), [1]);
}

/// Sub-queries of every kind and depth, none of which may find what is out of reach.
fn bodies() -> Vec<Value> {
    let near = json!([1.0, 0.0]);
    let wide = json!({ "should": [{ "has_id": [2, 4, 6, 8] }, { "has_id": [1] }] });
    let all = json!({ "min_should": { "conditions": [{ "has_id": [2] }], "min_count": 0 } });
    vec![
        json!({ "query": near }),
        json!({ "query": near, "filter": wide }),
        json!({ "query": near, "filter": all }),
        json!({ "query": near, "filter": { "must_not": [{ "has_id": [1] }] } }),
        json!({ "query": 2 }),
        json!({ "filter": wide }),
        json!({ "query": { "order_by": "n" }, "filter": wide }),
        json!({ "query": { "recommend": { "positive": [2], "negative": [4] } } }),
        json!({ "query": { "recommend": { "positive": [2], "strategy": "best_score" } } }),
        json!({ "query": { "nearest": near, "mmr": {} }, "filter": wide }),
        json!({ "prefetch": { "query": near, "filter": wide }, "query": near }),
        json!({ "prefetch": { "query": near, "filter": wide }, "query": { "order_by": "n" } }),
        json!({ "prefetch": [{ "query": near, "filter": wide }, { "filter": all }], "query": { "fusion": "rrf" } }),
        json!({ "prefetch": [{ "query": near }, { "query": { "order_by": "n" } }], "query": { "fusion": "dbsf" }, "filter": wide }),
        json!({ "prefetch": { "query": { "nearest": near, "mmr": {} }, "filter": wide }, "query": { "fusion": "rrf" } }),
        json!({
            "prefetch": {
                "prefetch": [{ "query": near, "filter": wide }, { "query": 4, "filter": all }],
                "query": { "fusion": "rrf" }, "filter": wide,
            },
            "query": { "nearest": near, "mmr": {} }, "filter": all,
        }),
    ]
}

#[test]
fn nothing_out_of_reach_is_found() {
    let shelf = shelf();
    let reach = reach();
    for body in bodies() {
        let found = shelf.scores(&body, Some(&reach));
        assert!(found.iter().all(|(id, _)| id % 2 == 1), "{found:?} for {body}");
        let open = shelf.scores(&body, None);
        assert!(open.iter().any(|(id, _)| id % 2 == 0), "{body} shows nothing");
    }
}

/// The engine hands a root's filter down, so this cannot be seen in what is found: it is looked
/// for in what is asked. Planted: `memory-reach-root-only`.
#[test]
fn the_reach_stands_in_every_sub_query() {
    let shelf = shelf();
    let reach = reach();
    let stands = Condition::Filter(reach.engine.clone());
    for body in bodies() {
        let plan = shelf.plan(&body, Some(&reach)).unwrap();
        let filters = plan.engine.filter_refs();
        assert_eq!(filters.len(), 1 + sub_queries(&plan.engine.prefetches), "{body}");
        for filter in filters {
            let filter = filter.unwrap_or_else(|| panic!("no reach at all in {body}"));
            assert!(filter.must.as_ref().is_some_and(|must| must.contains(&stands)), "{body}");
            assert!(filter.should.is_none() && filter.min_should.is_none(), "{body}");
            assert!(filter.must_not.is_none(), "{body}");
        }
    }
}

fn sub_queries(prefetches: &[qdrant_edge::Prefetch]) -> usize {
    prefetches.iter().map(|prefetch| 1 + sub_queries(&prefetch.prefetches)).sum()
}
