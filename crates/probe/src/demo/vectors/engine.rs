//! Collections and points, and what is done to them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::filter::meets;
use crate::demo::Flaws;

/// What is answered: a result, or a status and why.
pub(super) type Reply = Result<Value, (u16, String)>;
/// Whose, and of which name.
pub(super) type Key = (usize, String);

#[derive(Clone, Debug, Default)]
pub(super) struct Point {
    pub(super) id: String,
    pub(super) dense: Vec<f32>,
    pub(super) words: Vec<(u32, f32)>,
    pub(super) payload: Map<String, Value>,
    version: u64,
    /// Deleted, where deleting is marking.
    hidden: bool,
}

impl Point {
    fn parse(given: &Value, version: u64) -> Option<Self> {
        let vector = given.get("vector")?;
        let dense = vector.get("dense").or_else(|| vector.is_array().then_some(vector));
        let words = vector.get("words").map(words).unwrap_or_default();
        let payload = given.get("payload").and_then(Value::as_object).cloned().unwrap_or_default();
        let id = given.get("id")?;
        let id = id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned);
        let dense = dense.map(numbers).unwrap_or_default();
        Some(Self { id, dense, words, payload, version, hidden: false })
    }

    pub(super) fn shown(&self, asked: &Value) -> Value {
        let wanted = |name, default| asked.get(name).and_then(Value::as_bool).unwrap_or(default);
        let mut shown = json!({ "id": self.id, "version": self.version });
        if wanted("with_payload", false) {
            shown["payload"] = json!(self.payload);
        }
        if wanted("with_vector", false) {
            shown["vector"] = json!({ "dense": self.dense });
        }
        shown
    }
}

pub(super) fn numbers(value: &Value) -> Vec<f32> {
    let all = value.as_array().into_iter().flatten();
    all.map(|number| number.as_f64().unwrap_or_default() as f32).collect()
}

pub(super) fn words(value: &Value) -> Vec<(u32, f32)> {
    let indices = value.get("indices").and_then(Value::as_array).into_iter().flatten();
    let indices = indices.map(|index| u32::try_from(index.as_u64().unwrap_or(0)).unwrap_or(0));
    indices.zip(value.get("values").map(numbers).unwrap_or_default()).collect()
}

#[derive(Debug, Default)]
struct Collection {
    points: BTreeMap<String, Point>,
    writes: u64,
}

/// All collections of all customers.
pub(super) struct Engine {
    flaws: Arc<Flaws>,
    collections: BTreeMap<Key, Collection>,
    /// Of removed ones, where removing forgets to.
    attic: BTreeMap<Key, Collection>,
    cache: HashMap<(String, String), Value>,
    writes: u64,
}

/// There is no such thing, for this customer.
pub(super) fn absent(what: &str) -> (u16, String) {
    (404, format!("Not found: {what}"))
}

impl Engine {
    pub(super) fn new(flaws: Arc<Flaws>) -> Self {
        Self {
            flaws,
            collections: BTreeMap::new(),
            attic: BTreeMap::new(),
            cache: HashMap::new(),
            writes: 0,
        }
    }

    pub(super) fn wrong(&self, flaw: &str) -> bool {
        self.flaws.has(flaw)
    }

    pub(super) fn answer(
        &mut self,
        customer: usize,
        method: &Method,
        path: &str,
        body: &Value,
    ) -> Reply {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match (method.as_str(), &parts[..]) {
            ("GET", ["collections"]) => Ok(self.listing(customer)),
            ("GET", ["aliases"]) => Ok(json!({ "aliases": [] })),
            ("GET", ["telemetry"]) if self.wrong("collections-telemetry") => {
                let names: Vec<&String> = self.collections.keys().map(|(_, name)| name).collect();
                Ok(json!({ "collections": names }))
            }
            (method, ["collections", name]) => self.collection(customer, method, name),
            ("GET", ["collections", name, "exists"]) => {
                let mut keys = self.collections.keys();
                let open = self.wrong("collections-exists");
                let any = keys.any(|(whose, own)| own == name && (open || *whose == customer));
                Ok(json!({ "exists": any }))
            }
            (method, ["collections", name, rest @ ..]) => {
                let key = self.key(customer, name);
                self.inside(&key, method, rest, path, body)
            }
            _ => Err(absent("no such route")),
        }
    }

    fn listing(&self, customer: usize) -> Value {
        let all = self.wrong("collections-listing");
        let keys = self.collections.keys().filter(|(whose, _)| all || *whose == customer);
        let names: Vec<Value> = keys.map(|(_, name)| json!({ "name": name })).collect();
        json!({ "collections": names })
    }

    /// The customer's own collection of this name.
    fn key(&self, customer: usize, name: &str) -> Key {
        let own = (customer, name.to_owned());
        let other = (1 - customer, name.to_owned());
        let lost = !self.collections.contains_key(&own) && self.wrong("collections-by-name");
        if lost && self.collections.contains_key(&other) { other } else { own }
    }

    fn collection(&mut self, customer: usize, method: &str, name: &str) -> Reply {
        let key = (customer, name.to_owned());
        match method {
            "PUT" if self.collections.contains_key(&key) => {
                Err((409, format!("Wrong input: collection {name} already exists")))
            }
            "PUT" => {
                let kept = self.attic.remove(&key).unwrap_or_default();
                self.collections.insert(key, kept);
                Ok(json!(true))
            }
            "DELETE" => {
                self.cache.clear();
                let removed = self.collections.remove(&key);
                if self.wrong("collections-removal") {
                    self.collections.retain(|(_, other), _| other != name);
                }
                let found = removed.is_some();
                if let Some(kept) = removed.filter(|_| self.wrong("collections-resurrected")) {
                    self.attic.insert(key, kept);
                }
                Ok(json!(found))
            }
            "GET" => {
                let key = self.key(customer, name);
                if !self.collections.contains_key(&key) {
                    return Err(absent("collection"));
                }
                let count = self.pool(&key, self.wrong("points-info")).len();
                let vectors = json!({ "dense": { "size": 32, "distance": "Cosine" } });
                let sparse = json!({ "words": { "modifier": "idf" } });
                let params = json!({ "vectors": vectors, "sparse_vectors": sparse });
                Ok(
                    json!({ "status": "green", "points_count": count, "config": { "params": params } }),
                )
            }
            _ => Err((405, "method".into())),
        }
    }

    fn inside(
        &mut self,
        key: &Key,
        method: &str,
        rest: &[&str],
        path: &str,
        body: &Value,
    ) -> Reply {
        let kept = (path.to_owned(), body.to_string());
        let cached = rest.contains(&"query") && self.wrong("points-query-cache");
        if let Some(known) = self.cache.get(&kept).filter(|_| cached) {
            return Ok(known.clone());
        }
        if !self.collections.contains_key(key) {
            return Err(absent("collection"));
        }
        if matches!((method, rest), ("PUT", ["index"])) {
            return Ok(json!({ "status": "completed" }));
        }
        if let Some(read) = self.read(key, method, rest, body) {
            if let (true, Ok(result)) = (cached, &read) {
                self.cache.insert(kept, result.clone());
            }
            return read;
        }
        self.cache.clear();
        let number = self.number(key);
        self.write(key, method, rest, body, number)?;
        Ok(json!({ "operation_id": number, "status": "completed" }))
    }

    /// `None` for what is no reading.
    fn read(&self, key: &Key, method: &str, rest: &[&str], body: &Value) -> Option<Reply> {
        Some(match (method, rest) {
            ("GET", ["points", id]) => {
                let found = self.by_id(key, id).map(|point| {
                    point.shown(&json!({
                        "with_payload": true, "with_vector": true
                    }))
                });
                found.ok_or_else(|| absent("point"))
            }
            ("POST", ["points"]) => {
                let ids = body.get("ids").and_then(Value::as_array).into_iter().flatten();
                let found = ids.filter_map(|id| self.by_id(key, id.as_str()?));
                Ok(found.map(|point| point.shown(body)).collect())
            }
            ("POST", ["points", "query"]) => self.query(key, body),
            ("POST", ["points", "query", "batch"]) => {
                let all = body.get("searches").and_then(Value::as_array).into_iter().flatten();
                all.map(|one| self.query(key, one)).collect::<Result<Value, _>>()
            }
            ("POST", ["points", "query", "groups"]) => self.groups(key, body),
            ("POST", ["points", "scroll"]) => {
                let points =
                    self.candidates(key, &[body.get("filter")], self.wrong("points-scroll"));
                let limit = limit(body);
                let shown: Value =
                    points.iter().take(limit).map(|point| point.shown(body)).collect();
                Ok(json!({ "points": shown, "next_page_offset": null }))
            }
            ("POST", ["points", "count"]) => {
                let wide = self.wrong("points-count");
                Ok(json!({ "count": self.candidates(key, &[body.get("filter")], wide).len() }))
            }
            ("POST", ["facet"]) => Ok(self.facet(key, body)),
            ("POST", ["points", "search", "matrix", form]) => self.matrix(key, form, body),
            _ => return None,
        })
    }

    fn by_id(&self, key: &Key, id: &str) -> Option<&Point> {
        let wide = self.wrong("points-open-id");
        let mut keys =
            self.collections.iter().filter(|(own, _)| *own == key || (wide && own.1 == key.1));
        keys.find_map(|(_, collection)| collection.points.get(id)).filter(|point| !point.hidden)
    }

    fn number(&mut self, key: &Key) -> u64 {
        self.writes += 1;
        let own = self.collections.get_mut(key).map_or(0, |collection| {
            collection.writes += 1;
            collection.writes
        });
        if self.wrong("points-numbers") { self.writes } else { own }
    }

    /// The points of a collection; or, wrongly, those of every collection of its name.
    pub(super) fn pool(&self, key: &Key, wide: bool) -> Vec<&Point> {
        let keys =
            self.collections.iter().filter(|(own, _)| *own == key || (wide && own.1 == key.1));
        keys.flat_map(|(_, collection)| collection.points.values()).collect()
    }

    pub(super) fn owns(&self, key: &Key, id: &str) -> bool {
        self.collections.get(key).is_some_and(|collection| collection.points.contains_key(id))
    }

    /// What may be ranked, counted, listed. Wrongly: everything, whatever the filter says of it.
    pub(super) fn candidates(&self, key: &Key, by: &[Option<&Value>], wide: bool) -> Vec<&Point> {
        let met = |point: &Point| by.iter().flatten().all(|filter| meets(point, filter));
        if wide {
            return self.pool(key, true);
        }
        let loose = self.wrong("points-or-filter");
        let mut all = self.pool(key, loose);
        all.retain(|point| {
            let should =
                || by.iter().flatten().any(|filter| super::filter::meets_should(point, filter));
            (self.owns(key, &point.id) && met(point)) || (loose && should())
        });
        all
    }

    fn facet(&self, key: &Key, body: &Value) -> Value {
        let field = body.get("key").and_then(Value::as_str).unwrap_or_default();
        let mut counts = BTreeMap::<&str, usize>::new();
        for point in self.candidates(key, &[body.get("filter")], self.wrong("points-facet")) {
            if let Some(value) = point.payload.get(field).and_then(Value::as_str) {
                *counts.entry(value).or_default() += 1;
            }
        }
        let hits = counts.iter().map(|(value, count)| json!({ "value": value, "count": count }));
        json!({ "hits": hits.collect::<Vec<_>>() })
    }

    fn write(
        &mut self,
        key: &Key,
        method: &str,
        rest: &[&str],
        body: &Value,
        number: u64,
    ) -> Result<(), (u16, String)> {
        if (method, rest) == ("PUT", &["points"]) {
            for given in body.get("points").and_then(Value::as_array).into_iter().flatten() {
                let point = Point::parse(given, number).ok_or((400, "a point".to_owned()))?;
                let key = self.home(key, &point.id);
                if let Some(collection) = self.collections.get_mut(&key) {
                    collection.points.insert(point.id.clone(), point);
                }
            }
            return Ok(());
        }
        if (method, rest) == ("POST", &["points", "batch"]) {
            for operation in body.get("operations").and_then(Value::as_array).into_iter().flatten()
            {
                let delete = operation.get("delete").ok_or((400, "operation".to_owned()))?;
                self.write(key, "POST", &["points", "delete"], delete, number)?;
            }
            return Ok(());
        }
        let change: fn(&mut Point, &Value) = match (method, rest) {
            ("POST", ["points", "delete"]) => |point, _| point.hidden = true,
            ("POST", ["points", "payload"]) => |point, body| point.payload.extend(fields(body)),
            ("PUT", ["points", "payload"]) => |point, body| point.payload = fields(body),
            ("POST", ["points", "payload", "delete"]) => |point, body| {
                let keys = body.get("keys").and_then(Value::as_array).into_iter().flatten();
                keys.filter_map(Value::as_str).for_each(|key| {
                    point.payload.remove(key);
                });
            },
            ("PUT", ["points", "vectors"]) => |point, body| {
                let own = body.get("points").and_then(Value::as_array).into_iter().flatten();
                let own = own.filter_map(|given| Point::parse(given, 0));
                own.filter(|given| given.id == point.id)
                    .for_each(|given| point.dense = given.dense);
            },
            _ => return Err(absent("no such route")),
        };
        self.change(key, body, number, change);
        Ok(())
    }

    fn change(&mut self, key: &Key, body: &Value, number: u64, change: fn(&mut Point, &Value)) {
        let named = body.get("points").and_then(Value::as_array).into_iter().flatten();
        let named = named.filter_map(|id| id.as_str().or_else(|| id.get("id")?.as_str()));
        let mut ids: Vec<String> = named.map(ToOwned::to_owned).collect();
        if let Some(filter) = body.get("filter") {
            let met = self.pool(key, false).into_iter().filter(|point| meets(point, filter));
            ids.extend(met.map(|point| point.id.clone()));
        }
        let soft = self.wrong("points-soft-delete");
        for id in ids {
            let key = self.home(key, &id);
            let Some(collection) = self.collections.get_mut(&key) else { continue };
            if let Some(point) = collection.points.get_mut(&id) {
                change(point, body);
                point.version = number;
            }
            collection.points.retain(|_, point| soft || !point.hidden);
        }
    }

    /// Where a point of this id is written.
    fn home(&self, key: &Key, id: &str) -> Key {
        let other = (1 - key.0, key.1.clone());
        let foreign = self.wrong("points-foreign-write") && self.owns(&other, id);
        if foreign { other } else { key.clone() }
    }
}

fn fields(body: &Value) -> Map<String, Value> {
    body.get("payload").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// How many are wanted.
pub(super) fn limit(body: &Value) -> usize {
    let asked = body.get("limit").and_then(Value::as_u64).unwrap_or(10);
    usize::try_from(asked).unwrap_or(10)
}
