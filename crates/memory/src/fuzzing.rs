//! Ways to what is private here, for the fuzz targets alone.

use std::collections::BTreeMap;

use ids::Millis;

use crate::{
    Collection, CollectionName, Error, Point, PointId, Schema, Vector,
    request::{Bounds, Filter, Query, plan::Plan},
};

/// How many sub-queries of a query are held to a reach, and how many there are: what the engine
/// would be asked, in a collection of this schema where every id is a point.
///
/// # Errors
/// The query does not fit the collection.
pub fn held(query: &Query, schema: &Schema, bounds: &Bounds) -> Result<(usize, usize), Error> {
    let collection = Collection {
        name: CollectionName::parse("fuzzed")?,
        incarnation: [0; 16],
        schema: schema.clone(),
        revision: 1,
        created: Millis(0),
    };
    let reach = serde_json::json!({ "should": [{ "key": "_bulkhead.subject", "is_null": true }] });
    let reach = Filter::internal(&reach, bounds)?;
    let point = |id: PointId| Some(point(id, schema));
    let plan = Plan::new(query, &collection, Some(&reach), &point)?;
    let stands = qdrant_edge::Condition::Filter(reach.engine.clone());
    let filters = plan.engine.filter_refs();
    let held = filters.iter().flatten().filter(|filter| {
        let alone = filter.should.is_none() && filter.min_should.is_none();
        alone && filter.must.as_ref().is_some_and(|must| must.contains(&stands))
    });
    Ok((held.count(), filters.len()))
}

/// A point with something in every space.
fn point(id: PointId, schema: &Schema) -> Point {
    let dense = schema.vectors.iter().map(|(name, space)| {
        let row = vec![1.0; space.size];
        let vector = if space.multi { Vector::Multi(vec![row]) } else { Vector::Dense(row) };
        (name.clone(), vector)
    });
    let sparse = schema.sparse.keys();
    let sparse =
        sparse.map(|name| (name.clone(), Vector::Sparse { indices: vec![1], values: vec![1.0] }));
    Point {
        id,
        version: 1,
        vectors: dense.chain(sparse).collect::<BTreeMap<_, _>>(),
        payload: serde_json::Map::new(),
        subject: None,
        expires: None,
    }
}
