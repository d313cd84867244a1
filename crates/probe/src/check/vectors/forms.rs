//! The ways of asking by which one tenant may come to another's points.

use serde_json::{Value, json};

use crate::{
    canary::Side,
    drive::vectors::{MARK, Store, TOPIC, matching, shown_vector},
};

/// How it shows in the answer that a form found what is a's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Points, with the canary in them.
    Points,
    /// How many there are.
    Count,
    /// Ids of points, without anything of theirs.
    Ids,
    /// Points that were looked up besides.
    Lookup,
    /// The order and the scores of other points, by how near they are to the one that is named.
    Reference,
}

/// A way of asking.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) shows: Shows,
    pub(super) tail: &'static str,
    pub(super) body: Value,
}

/// What the forms ask for: what is a's, and what an attacker knows of it.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// Near a's points.
    pub(super) query: Vec<f32>,
    /// Of a's points alone.
    pub(super) topic: String,
    /// A's points; the first is the one that is named.
    pub(super) ids: Vec<String>,
    /// What a is called.
    pub(super) tenant: String,
    /// A topic of nobody's.
    pub(super) never: String,
}

/// Where most of them go.
const QUERY: &str = "/points/query";

/// All forms, with what the application puts beside them for `by`.
pub(super) fn all(store: &Store, world: &World, by: Side) -> Vec<Form> {
    let mut all = filters(store, world, by);
    all.extend(queries(store, world, by));
    all.extend(references(store, world, by));
    all.extend(summaries(store, world, by));
    if store.layout().views() {
        let ids = json!({ "ids": world.ids, "with_payload": true });
        all.push(Form { name: "points by ids", shows: Shows::Points, tail: "/points", body: ids });
    }
    all
}

/// Filters that would get around the one that holds a tenant to its points.
fn filters(store: &Store, world: &World, by: Side) -> Vec<Form> {
    let topic = matching(TOPIC, world.topic.as_str());
    let never = matching(TOPIC, world.never.as_str());
    let named = |field| matching(field, world.tenant.as_str());
    let own = [
        ("no filter", None),
        ("must", Some(json!({ "must": [topic] }))),
        ("must, not in a list", Some(json!({ "must": topic }))),
        ("should", Some(json!({ "should": [topic] }))),
        (
            "should with a tenant's name",
            Some(json!({ "should": [
            topic, named("tenant_id"), named("tenant"), named("group_id"), named(store.tenant_field())
        ] })),
        ),
        (
            "nested should",
            Some(json!({ "must": [
            { "should": [topic, { "must_not": [never] }] }
        ] })),
        ),
        ("must_not of nothing", Some(json!({ "must_not": [never] }))),
        (
            "min_should",
            Some(json!({ "min_should": { "conditions": [topic, never], "min_count": 1 } })),
        ),
        ("should of not", Some(json!({ "should": [{ "must_not": [never] }, topic] }))),
        ("has_id", Some(json!({ "must": [{ "has_id": world.ids }] }))),
        ("should has_id", Some(json!({ "should": [{ "has_id": world.ids }] }))),
        ("is_empty", Some(json!({ "must": [{ "is_empty": { "key": world.never } }] }))),
        (
            "match except",
            Some(json!({ "must": [
            { "key": TOPIC, "match": { "except": [world.never] } }
        ] })),
        ),
    ];
    let mut forms = Vec::new();
    for (name, own) in own {
        let body = store.nearest(by, &world.query, 100, own.clone());
        forms.push(Form { name, shows: Shows::Points, tail: QUERY, body });
        if matches!(name, "no filter" | "should" | "nested should" | "should has_id") {
            let page = json!({ "limit": 100, "with_payload": true });
            let name = if name == "no filter" { "scroll" } else { "scroll, with should" };
            let body = store.body(by, page, own);
            forms.push(Form { name, shows: Shows::Points, tail: "/points/scroll", body });
        }
    }
    forms
}

/// Other ways to have points ranked.
fn queries(store: &Store, world: &World, by: Side) -> Vec<Form> {
    let own = || Some(json!({ "should": [matching(TOPIC, world.topic.as_str())] }));
    let vector = shown_vector(&world.query);
    let query = |body: Value, own| store.body(by, body, own);
    // The filter stands beside the whole, as the application puts it, and the caller's own inside.
    let inner = store.using(json!({ "query": vector, "limit": 100, "filter": own() }));
    let fused = json!({
        "prefetch": [inner], "query": { "fusion": "rrf" }, "limit": 100, "with_payload": true
    });
    let again = store.using(json!({
        "prefetch": [inner], "query": vector, "limit": 100, "with_payload": true
    }));
    let nested = json!({
        "prefetch": [{ "prefetch": [inner], "query": { "fusion": "rrf" }, "limit": 100 }],
        "query": { "fusion": "rrf" }, "limit": 100, "with_payload": true
    });
    let sampled = json!({ "query": { "sample": "random" }, "limit": 100, "with_payload": true });
    let grouped = store.using(json!({
        "query": vector, "group_by": TOPIC, "group_size": 10, "limit": 10, "with_payload": true
    }));
    let search = json!({ "vector": legacy(store, &vector), "limit": 100, "with_payload": true });
    let lookup = store.using(json!({
        "query": vector, "group_by": "group", "group_size": 3, "limit": 10,
        "with_lookup": { "collection": store.name(Side::A), "with_payload": true }
    }));
    let points = [
        ("prefetch", QUERY, query(fused, None)),
        ("prefetch, ranked again", QUERY, query(again, None)),
        ("nested prefetch", QUERY, query(nested, None)),
        ("sample", QUERY, query(sampled, None)),
        ("by their order", QUERY, query(json!({ "limit": 100, "with_payload": true }), None)),
        (
            "batch",
            "/points/query/batch",
            json!({
                "searches": [store.nearest(by, &world.query, 100, own())]
            }),
        ),
        ("groups", "/points/query/groups", query(grouped, own())),
        ("search", "/points/search", query(search, own())),
    ];
    let form = |(name, tail, body)| Form { name, shows: Shows::Points, tail, body };
    let mut forms: Vec<Form> = points.into_iter().map(form).collect();
    forms.push(Form {
        name: "group lookup",
        shows: Shows::Lookup,
        tail: "/points/query/groups",
        body: query(lookup, None),
    });
    forms
}

fn legacy(store: &Store, vector: &Value) -> Value {
    match store.dense.is_empty() {
        true => vector.clone(),
        false => json!({ "name": store.dense, "vector": vector }),
    }
}

/// A point of a's named where a vector could stand.
fn references(store: &Store, world: &World, by: Side) -> Vec<Form> {
    let id = world.ids.first().map(String::as_str).unwrap_or_default();
    let from = json!({ "collection": store.name(Side::A), "vector": store.dense });
    let query = |query: Value| {
        let body = json!({ "query": query, "limit": 100, "with_payload": true });
        store.body(by, store.using(body), None)
    };
    let mut lookup = query(json!(id));
    let mut recommended = query(json!({ "recommend": { "positive": [id] } }));
    for body in [&mut lookup, &mut recommended] {
        if let (false, Some(object)) = (store.dense.is_empty(), body.as_object_mut()) {
            object.insert("lookup_from".into(), from.clone());
        }
    }
    let inner = store.using(json!({ "query": id, "limit": 100 }));
    let prefetched = json!({
        "prefetch": [inner], "query": { "fusion": "rrf" }, "limit": 100, "with_payload": true
    });
    let best = json!({ "recommend": { "positive": [id], "strategy": "best_score" } });
    let legacy = json!({ "positive": [id], "limit": 100, "with_payload": true });
    let bodies = [
        ("query by id", QUERY, query(json!(id))),
        ("recommend", QUERY, query(json!({ "recommend": { "positive": [id] } }))),
        ("recommend, best score", QUERY, query(best)),
        ("lookup_from", QUERY, lookup),
        ("recommend, lookup_from", QUERY, recommended),
        ("discover", QUERY, query(json!({ "discover": { "target": id, "context": [] } }))),
        ("query by id in a prefetch", QUERY, store.body(by, prefetched, None)),
        (
            "recommend, as before 1.10",
            "/points/recommend",
            store.body(by, store.using(legacy), None),
        ),
    ];
    let form = |(name, tail, body)| Form { name, shows: Shows::Reference, tail, body };
    bodies.into_iter().map(form).collect()
}

/// Numbers and values of many points at once.
fn summaries(store: &Store, world: &World, by: Side) -> Vec<Form> {
    let topic = || Some(json!({ "should": [matching(TOPIC, world.topic.as_str())] }));
    let count = || json!({ "exact": true });
    let facet = || json!({ "key": MARK, "limit": 1000, "exact": true });
    let matrix = || store.using(json!({ "sample": 100, "limit": 5 }));
    let bodies = [
        ("count", Shows::Count, "/points/count", count(), topic()),
        (
            "count of ids",
            Shows::Count,
            "/points/count",
            count(),
            Some(json!({
                "should": [{ "has_id": world.ids }]
            })),
        ),
        ("facet", Shows::Points, "/facet", facet(), None),
        ("facet, with should", Shows::Points, "/facet", facet(), topic()),
        ("matrix of pairs", Shows::Ids, "/points/search/matrix/pairs", matrix(), None),
        ("matrix of offsets", Shows::Ids, "/points/search/matrix/offsets", matrix(), topic()),
    ];
    let form = |(name, shows, tail, body, own)| Form {
        name,
        shows,
        tail,
        body: store.body(by, body, own),
    };
    bodies.into_iter().map(form).collect()
}
