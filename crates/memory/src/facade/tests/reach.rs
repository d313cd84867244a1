//! What a scope may reach: end users apart, nothing that expired, nothing beyond a workflow's
//! filter.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    reach::{Reach, Rules},
    request::Filter,
};

/// Nobody's 1 to 3, Alice's 11 to 13, Bob's 21 to 23, each the nearer the higher its id.
async fn three_owners(world: &World, memory: &Memory) -> Scope<Write> {
    let acme = world.acme().await;
    memory.made(&acme, plain(&[("kind", "keyword"), ("n", "integer")])).await;
    let mut points = Vec::new();
    for (owner, tens) in [(None, 0), (Some("alice"), 10), (Some("bob"), 20)] {
        for one in 1..=3_u64 {
            let (id, kind) = (tens + one, owner.unwrap_or("nobody"));
            let payload = json!({"kind": kind, "n": id, "all": "same"});
            let mut point = point(id, [id as f32, 1.0], payload);
            point.subject = owner.map(|owner| memory.subject(&acme, owner));
            points.push(point);
        }
    }
    memory.put(&acme, points).await;
    acme
}

#[tokio::test]
async fn end_users_are_apart_in_everything_that_can_be_asked() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = three_owners(&world, &memory).await;
    let everyone: Vec<u64> = [1, 2, 3, 11, 12, 13, 21, 22, 23].into();
    for (scope, mine) in [
        (world.user(None).await, vec![1, 2, 3]),
        (world.user(Some("alice")).await, vec![1, 2, 3, 11, 12, 13]),
        (world.user(Some("bob")).await, vec![1, 2, 3, 21, 22, 23]),
        (world.user(Some("carol")).await, vec![1, 2, 3]),
        (acme.clone(), everyone.clone()),
    ] {
        let nearest: Vec<u64> = mine.iter().rev().copied().collect();
        let all = json!({"query": [1.0, 0.0], "limit": 100});
        assert_eq!(memory.asks(&scope, all).await, nearest, "query");
        let rank = json!({"query": {"order_by": "n"}, "limit": 100});
        assert_eq!(memory.asks(&scope, rank).await, mine, "order_by");
        let fused = json!({"prefetch": [
            {"query": [1.0, 0.0], "limit": 100},
            {"prefetch": {"query": [1.0, 0.0], "limit": 100}, "query": [0.0, 1.0], "limit": 100},
        ], "query": {"fusion": "rrf"}, "limit": 100});
        let mut found = memory.asks(&scope, fused).await;
        found.sort_unstable();
        assert_eq!(found, mine, "prefetches");
        // What lets through more than all: the reach is not widened by it.
        let wide = json!({"limit": 100, "filter": {"should": [
            {"has_id": everyone}, {"must_not": {"key": "x", "match": {"value": 1}}},
        ], "must_not": [{"key": "kind", "match": {"value": "nothing"}}]}});
        assert_eq!(memory.scrolls(&scope, wide.clone()).await, mine, "scroll");
        let ordered = json!({"limit": 100, "order_by": {"key": "n", "direction": "desc"}});
        assert_eq!(memory.scrolls(&scope, ordered).await, nearest, "ordered scroll");
        assert_eq!(memory.gets(&scope, &everyone).await, mine, "retrieve");
        for exact in [true, false] {
            let count = json!({"exact": exact});
            assert_eq!(memory.counts(&scope, count).await, mine.len() as u64, "count");
            let facet = json!({"key": "kind", "exact": exact, "limit": 100});
            let kinds = memory.facets(&scope, facet).await;
            assert_eq!(kinds.len(), mine.len() / 3, "facet");
            assert!(kinds.iter().all(|(_, many)| *many == 3), "facet");
        }
        let groups = memory.parsed_groups(
            json!({"query": [1.0, 0.0], "group_by": "kind", "limit": 9, "group_size": 9}),
        );
        let groups = memory.of(&scope).groups(&name(), groups).await.unwrap();
        let mut grouped: Vec<u64> = groups.iter().flat_map(|group| ids(&group.hits)).collect();
        grouped.sort_unstable();
        assert_eq!(grouped, mine, "groups");
        assert_eq!(memory.of(&scope).info(&name()).await.unwrap().points, mine.len() as u64);
        for example in &everyone {
            for query in [
                json!({"query": example}),
                json!({"query": {"recommend": {"positive": [example]}}}),
                json!({"query": {"recommend": {"positive": [mine[0]], "negative": [example]}}}),
                json!({"prefetch": {"query": example}, "query": [1.0, 0.0]}),
            ] {
                let found = memory.of(&scope).query(&name(), memory.query(query.clone())).await;
                match found {
                    Ok(found) => {
                        assert!(mine.contains(example), "{query}");
                        let found = ids(&found);
                        assert!(found.iter().all(|id| mine.contains(id)), "{query}");
                        assert!(!found.contains(example), "{query}");
                    }
                    Err(error) => {
                        assert!(!mine.contains(example), "{query}");
                        assert_eq!(error.code(), "memory.no_point", "{query}");
                    }
                }
            }
        }
    }
    assert_eq!(memory.figures().distrusted, 0);
}

#[tokio::test]
async fn an_end_user_is_another_in_another_place() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let staging = world.kit.scope("acme", "staging").await;
    let other = world.kit.scope("globex", "live").await;
    let here = memory.subject(&world.acme().await, "alice");
    assert_ne!(here, memory.subject(&staging, "alice"));
    assert_ne!(here, memory.subject(&other, "alice"));
    assert_ne!(here, memory.subject(&world.acme().await, "bob"));
}

#[tokio::test]
async fn a_crowd_of_others_points_starves_nobody() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[])).await;
    let (alice, bob) = (memory.subject(&acme, "alice"), memory.subject(&acme, "bob"));
    let owned =
        |id: u64, vector, owner| Point { subject: Some(owner), ..point(id, vector, json!({})) };
    let crowd = (1_000..3_000).map(|id| owned(id, [9.0, 9.0], bob));
    let few = (1..=5).map(|id| owned(id, [1.0, 1.0 - id as f32 / 10.0], alice));
    memory.put(&acme, crowd.chain(few).collect()).await;
    let scope = world.user(Some("alice")).await;
    let query = json!({"query": [1.0, 1.0], "limit": 10});
    assert_eq!(memory.asks(&scope, query).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_expired_is_not_there() {
    let world = World::new().await;
    let memory = world.memory(MemorySettings::default());
    let acme = world.acme().await;
    memory.made(&acme, plain(&[("kind", "keyword")])).await;
    let until = |id: u64, seconds: Option<u64>| {
        let end = |s| world.clock.now().plus(Duration::from_secs(s));
        Point { expires: seconds.map(end), ..point(id, [1.0, id as f32], json!({"kind": "a"})) }
    };
    memory.put(&acme, vec![until(1, None), until(2, Some(10)), until(3, Some(20))]).await;
    for (seconds, there) in [(0, vec![1, 2, 3]), (9, vec![1, 2, 3]), (1, vec![1, 3]), (10, vec![1])]
    {
        world.clock.advance(Duration::from_secs(seconds));
        assert_eq!(memory.scrolls(&acme, json!({})).await, there);
        assert_eq!(memory.gets(&acme, &[1, 2, 3]).await, there);
        assert_eq!(memory.asks(&acme, json!({"query": [1.0, 0.0]})).await.len(), there.len());
        assert_eq!(memory.counts(&acme, json!({"exact": true})).await, there.len() as u64);
        let facet = memory.facets(&acme, json!({"key": "kind"})).await;
        assert_eq!(facet, [(json!("a"), there.len() as u64)]);
        let found = memory.of(&acme).query(&name(), memory.query(json!({"query": 3}))).await;
        assert_eq!(found.is_ok(), there.contains(&3), "an example that expired");
    }
    assert_eq!(memory.figures().distrusted, 0);
}

#[tokio::test]
async fn a_workflow_is_held_to_its_filter_at_every_depth() {
    let world = World::new().await;
    let filter = json!({"must": [{"key": "level", "range": {"lte": 2}}],
                        "must_not": [{"key": "tags", "match": {"value": "secret"}}]});
    let settings = held_to("triage", "docs", filter);
    let memory = world.memory(settings);
    let acme = world.acme().await;
    memory.made(&acme, plain(&[("level", "integer")])).await;
    let doc = |id: u64, level: u64, tags: Value| {
        point(id, [id as f32, 1.0], json!({"level": level, "tags": tags}))
    };
    memory
        .put(
            &acme,
            vec![
                doc(1, 1, json!([])),
                doc(2, 2, json!(["open"])),
                doc(3, 3, json!([])),
                doc(4, 1, json!(["open", "secret"])),
                doc(5, 1, json!("secret")),
            ],
        )
        .await;
    let triage = world.scope("triage", None, "memory:* memory:subjects").await;
    let escapes = [
        json!({"query": [1.0, 0.0]}),
        json!({"query": [1.0, 0.0], "filter": {"should": [{"key": "level", "range": {"gt": 2}},
            {"key": "level", "range": {"lte": 2}}]}}),
        json!({"query": [1.0, 0.0], "filter": {"should": [{"has_id": [1, 2, 3, 4, 5]}]}}),
        json!({"query": [1.0, 0.0], "filter": {"min_should": {"conditions": [
            {"has_id": [1, 2, 3, 4, 5]}], "min_count": 1}}}),
        json!({"prefetch": {"query": [1.0, 0.0], "limit": 50}, "query": {"fusion": "rrf"}}),
        json!({"prefetch": {"prefetch": {"prefetch": {"query": [1.0, 0.0], "limit": 2},
            "query": [1.0, 0.0]}, "query": [1.0, 0.0]}, "query": [1.0, 0.0]}),
    ];
    for query in escapes {
        let mut found = memory.asks(&triage, query.clone()).await;
        found.sort_unstable();
        assert_eq!(found, [1, 2], "{query}");
    }
    assert_eq!(memory.gets(&triage, &[1, 2, 3, 4, 5]).await, [1, 2]);
    assert_eq!(memory.counts(&triage, json!({"exact": false})).await, 2);
    let code = |result: Result<Vec<Record>, Error>| result.unwrap_err().code();
    for query in [json!({"query": 3}), json!({"prefetch": {"query": 4}, "query": [1.0, 0.0]})] {
        let found = memory.of(&triage).query(&name(), memory.query(query)).await;
        assert_eq!(code(found), "memory.no_point");
    }
    assert_eq!(memory.figures().distrusted, 0);
    // Another workflow is not held to it.
    assert_eq!(memory.gets(&acme, &[1, 2, 3, 4, 5]).await, [1, 2, 3, 4, 5]);
}

#[test]
fn filters_that_cannot_be_held_are_refused_when_they_are_read() {
    let code = |filter: Value| Rules::of(&held_to("w", "*", filter)).map(|_| ()).unwrap_err();
    for bad in [
        json!({}),
        json!([]),
        json!({"must": []}),
        json!({"must": [{"has_id": [1]}]}),
        json!({"must": [{"key": "a", "match": {"text": "x"}}]}),
        json!({"must": [{"key": "a", "match": {"value": 1.5}}]}),
        json!({"must": [{"key": "a", "match": {"any": []}}]}),
        json!({"must": [{"key": "a", "match": {"any": ["x", 1]}}]}),
        json!({"must": [{"key": "a", "range": {}}]}),
        json!({"must": [{"key": "a", "range": {"gt": "2020-01-01T00:00:00Z"}}]}),
        json!({"must": [{"key": "a", "range": {"gt": 1}, "match": {"value": 1}}]}),
        json!({"must": [{"key": "a"}]}),
        json!({"must": [{"key": "a..b", "match": {"value": 1}}]}),
        json!({"must_not": [{"key": "a", "match": {"except": [1]}}]}),
        json!({"min_should": {"conditions": [], "min_count": 1}}),
        json!({"must": [{"key": "page_content", "match": {"value": "x"}}]}),
        json!({"must": [{"key": "_bulkhead.subject", "match": {"value": "x"}}]}),
        json!({"shall": [{"key": "a", "match": {"value": 1}}]}),
    ] {
        assert_eq!(code(bad.clone()).code(), "config.invalid", "{bad}");
    }
    for good in [
        json!({"must": {"key": "a", "match": {"value": true}}}),
        json!({"should": [{"key": "a[].b", "match": {"any": [1, 2]}}, {"must": [
            {"key": "c", "match": {"except": ["x"]}}]}]}),
    ] {
        assert!(Rules::of(&held_to("w", "docs", good)).is_ok());
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => (0..4_i64).prop_map(Value::from),
        3 => "[xy]".prop_map(Value::from),
        1 => Just(json!(1.5)),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!("c0a80101-0000-4000-8000-00000000000a")),
        1 => Just(json!("C0A8010100004000800000000000000A")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn condition(negated: bool) -> BoxedStrategy<Value> {
    let key = prop::sample::select(vec!["a", "b", "a[]", "a.b", "b[].a", "a[0]"]);
    let one = prop_oneof![
        (0..4_i64).prop_map(Value::from),
        "[xy]".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!("c0a80101-0000-4000-8000-00000000000a")),
    ];
    let list = prop_oneof![
        prop::collection::vec(0..4_i64, 1..3).prop_map(|list| json!(list)),
        prop::collection::vec("[xy]", 1..3).prop_map(|list| json!(list)),
    ];
    let test = prop_oneof![
        one.prop_map(|value| json!({"match": {"value": value}})),
        list.clone().prop_map(|list| json!({"match": {"any": list}})),
        list.prop_map(move |list| {
            json!({"match": if negated { json!({"any": list}) } else { json!({"except": list}) }})
        }),
    ];
    let range = (0..4_i64, any::<bool>()).prop_map(|(bound, above)| match above {
        true => json!({"range": {"gt": bound}}),
        false => json!({"range": {"gte": 0.5, "lte": bound}}),
    });
    // None of those may be negated.
    let test = prop_oneof![4 => test, u32::from(!negated) => range];
    let with_key = |(key, test): (&str, Value)| {
        let mut test = test;
        test["key"] = key.into();
        test
    };
    (key, test).prop_map(with_key).boxed()
}

fn filter() -> impl Strategy<Value = Value> {
    let list = |negated| prop::collection::vec(condition(negated), 1..3).prop_map(|l| json!(l));
    let words = move || {
        (prop::option::of(list(false)), prop::option::of(list(false)), prop::option::of(list(true)))
            .prop_filter_map("no condition", |(must, should, must_not)| {
                let words = [("must", must), ("should", should), ("must_not", must_not)];
                let map: serde_json::Map<_, _> =
                    words.into_iter().filter_map(|(w, l)| Some((w.to_owned(), l?))).collect();
                (!map.is_empty()).then_some(Value::Object(map))
            })
    };
    prop_oneof![words(), (words(), words()).prop_map(|(a, b)| json!({"should": [a, b]}))]
}

/// The engine is the oracle of the second lock.
#[tokio::test]
async fn a_row_is_within_reach_if_the_engine_finds_it() {
    let world = World::new().await;
    let settings = MemorySettings::default();
    let mut runner = TestRunner::default();
    let draw = |runner: &mut TestRunner, what: &BoxedStrategy<Value>| {
        what.new_tree(runner).unwrap().current()
    };
    let (values, filters) = (value().boxed(), filter().boxed());
    let memory = world.memory(settings.clone());
    let acme = world.acme().await;
    let mut met = 0;
    let collection = memory.made(&acme, plain(&[])).await;
    let points: Vec<Point> = (0..200)
        .map(|id| {
            let (a, b) = (draw(&mut runner, &values), draw(&mut runner, &values));
            point(id, [1.0, 0.0], json!({"a": a, "b": b}))
        })
        .collect();
    memory.put(&acme, points.clone()).await;
    let shard = memory.inner.shards.open(&memory.inner.truth, &acme, &collection).await.unwrap();
    for _ in 0..400 {
        let filter = draw(&mut runner, &filters);
        let settings = held_to("support", "*", filter.clone());
        let rules = Rules::of(&settings).unwrap();
        let reach = Reach::by(&rules, &acme, &collection, world.clock.now());
        let engine = Filter::parse(&filter, &settings).unwrap();
        let found = shard.scroll(Some(&engine), None, 1_000).unwrap();
        for point in &points {
            let within = reach.holds(point);
            met += usize::from(within);
            assert_eq!(within, found.contains(&point.id), "{filter} on {:?}", point.payload);
        }
    }
    assert!(met > 1_000, "the filters let something through");
}

/// An index of a payload field may compare more exactly than a row can be: the engine then finds
/// what the row, looked at, does not allow. It does not leave, and the index is not wrong.
#[tokio::test]
async fn where_an_index_says_more_than_the_row_the_row_decides() {
    let world = World::new().await;
    let filter = json!({"must": [
        {"key": "level", "range": {"gt": 9_007_199_254_740_992_i64}},
        {"key": "id", "match": {"value": "c0a80101-0000-4000-8000-00000000000a"}},
    ]});
    let memory = world.memory(held_to("triage", "*", filter));
    let acme = world.acme().await;
    memory.made(&acme, plain(&[("level", "integer"), ("id", "uuid")])).await;
    let doc =
        |n: u64, level: i64, id: &str| point(n, [n as f32, 1.0], json!({"level": level, "id": id}));
    let (known, spelt) =
        ("c0a80101-0000-4000-8000-00000000000a", "C0A8010100004000800000000000000A");
    let (at, above) = (9_007_199_254_740_993, 9_007_199_254_740_996);
    memory.put(&acme, vec![doc(1, above, known), doc(2, at, known), doc(4, above, spelt)]).await;
    let triage = world.scope("triage", None, "memory:* memory:subjects").await;
    let within = memory.gets(&triage, &[1, 2, 3, 4]).await;
    assert_eq!(within, [1, 4]);
    assert_eq!(memory.asks(&triage, json!({"query": [1.0, 0.0]})).await, [4, 1]);
    assert_eq!(memory.scrolls(&triage, json!({})).await, [1, 4]);
    assert_eq!(memory.figures().distrusted, 0);
}

/// Counts and facets have no rows that could be held against a filter: what an index of the
/// field does not know must not make it let more through.
#[tokio::test]
async fn an_index_blinds_no_workflow_filter() {
    let range = json!({"key": "level", "range": {"gt": 2}});
    for blind in [
        json!({"must_not": [range]}),
        json!({"must": [{"must_not": range}]}),
        json!({"must_not": [{"should": [range]}]}),
    ] {
        let refused = Rules::of(&held_to("triage", "*", blind.clone())).map(drop).unwrap_err();
        assert_eq!(refused.code(), "config.invalid", "{blind}");
    }
    let world = World::new().await;
    let memory = world.memory(held_to("triage", "*", json!({"must": [range]})));
    let acme = world.acme().await;
    memory.made(&acme, plain(&[("kind", "keyword")])).await;
    let doc = |n: u64, level: Value| {
        point(n, [n as f32, 1.0], json!({"level": level, "kind": format!("kind {n}")}))
    };
    let past = json!("2024-01-01T00:00:00Z");
    memory.put(&acme, vec![doc(1, json!(3)), doc(2, json!(1)), doc(3, past)]).await;
    let triage = world.scope("triage", None, "memory:*").await;
    let mine = [(json!("kind 1"), 1)];
    assert_eq!(memory.facets(&triage, json!({"key": "kind"})).await, mine);
    // Whoever may make indexes does not see more by one.
    let docs = name();
    let index = |kind: &str| memory.of(&triage).create_index(&docs, "level".into(), json!(kind));
    index("datetime").await.unwrap();
    for exact in [true, false] {
        let count = Count { filter: None, exact };
        let refused = memory.of(&triage).count(&name(), count).await.unwrap_err();
        assert!(refused.to_string().contains("delete the index"), "{refused}");
    }
    index("integer").await.unwrap();
    assert_eq!(memory.counts(&triage, json!({})).await, 1);
    assert_eq!(memory.facets(&triage, json!({"key": "kind"})).await, mine);
}
