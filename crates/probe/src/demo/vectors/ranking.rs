//! What is nearest, by vectors, words, examples and fusions of these.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    engine::{Engine, Key, Point, Reply, absent, limit, numbers, words},
    filter::meets,
};

/// A point and how well it fits.
type Ranked<'a> = Vec<(f64, &'a Point)>;
type Refused = (u16, String);

impl Engine {
    pub(super) fn query(&self, key: &Key, body: &Value) -> Reply {
        let ranked = self.ranked(key, body, &[])?;
        let points: Value = ranked.iter().map(|(score, point)| hit(*score, point, body)).collect();
        Ok(json!({ "points": points }))
    }

    /// What a query finds; `outer` are the filters of what it is a part of.
    fn ranked<'a>(
        &'a self,
        key: &Key,
        body: &Value,
        outer: &[Option<&Value>],
    ) -> Result<Ranked<'a>, Refused> {
        let filters: Vec<Option<&Value>> =
            outer.iter().copied().chain([body.get("filter")]).collect();
        let prefetch = match body.get("prefetch") {
            Some(Value::Array(all)) => all.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        if !prefetch.is_empty() {
            let within = |one: &&Value| match self.wrong("points-prefetch") {
                true => self.unfiltered(key, one),
                false => self.ranked(key, one, &filters),
            };
            let lists = prefetch.iter().map(within).collect::<Result<Vec<_>, _>>()?;
            return self.fused(key, body, lists, &filters);
        }
        let mut ranked = match body.get("query") {
            None => {
                let all = self.candidates(key, &filters, false);
                all.into_iter().map(|point| (0.0, point)).collect()
            }
            Some(query) if query.get("sample").is_some() => {
                let all = self.candidates(key, &filters, false);
                all.into_iter().map(|point| (0.0, point)).collect()
            }
            Some(query) if query.get("indices").is_some() => {
                self.worded(key, &words(query), &filters)
            }
            Some(query) => {
                let (vector, but) = self.example(key, body, query, &filters)?;
                let mut near = self.near(key, &vector, limit(body), &filters);
                near.retain(|(_, point)| !but.contains(&point.id));
                near
            }
        };
        ranked.truncate(limit(body));
        Ok(ranked)
    }

    /// A prefetch that nobody put the customer's filter into.
    fn unfiltered<'a>(&'a self, key: &Key, body: &Value) -> Result<Ranked<'a>, Refused> {
        let inner = match body.get("prefetch") {
            Some(Value::Array(all)) => all.first(),
            one => one,
        };
        let body = inner.unwrap_or(body);
        let query = body.get("query").ok_or((400, "query".to_owned()))?;
        let (vector, _) = self.example(key, body, query, &[])?;
        let mut all = self.pool(key, true);
        all.retain(|point| body.get("filter").is_none_or(|filter| meets(point, filter)));
        let mut ranked = scored(all, &vector);
        ranked.truncate(limit(body));
        Ok(ranked)
    }

    fn fused<'a>(
        &'a self,
        key: &Key,
        body: &Value,
        lists: Vec<Ranked<'a>>,
        filters: &[Option<&Value>],
    ) -> Result<Ranked<'a>, Refused> {
        let query = body.get("query").ok_or((400, "query".to_owned()))?;
        let mut fused = BTreeMap::<&str, (f64, &Point)>::new();
        for list in lists {
            for (rank, (_, point)) in list.into_iter().enumerate() {
                fused.entry(&point.id).or_insert((0.0, point)).0 += 1.0 / (rank as f64 + 2.0);
            }
        }
        let mut all: Ranked<'a> = fused.into_values().collect();
        if query.get("fusion").is_none() {
            let (vector, _) = self.example(key, body, query, filters)?;
            all = scored(all.into_iter().map(|(_, point)| point).collect(), &vector);
        }
        sort(&mut all);
        all.truncate(limit(body));
        Ok(all)
    }

    fn near<'a>(
        &'a self,
        key: &Key,
        vector: &[f32],
        limit: usize,
        filters: &[Option<&Value>],
    ) -> Ranked<'a> {
        if self.wrong("points-post-filter") {
            let mut ranked = scored(self.pool(key, true), vector);
            ranked.truncate(limit * 4);
            ranked.retain(|(_, point)| {
                self.owns(key, &point.id)
                    && filters.iter().flatten().all(|filter| meets(point, filter))
            });
            return ranked;
        }
        let mut ranked = scored(self.candidates(key, filters, false), vector);
        if self.wrong("points-normalised") {
            let all = scored(self.pool(key, true), vector);
            let best = all.first().map_or(1.0, |(score, _)| *score);
            ranked.iter_mut().for_each(|(score, _)| *score /= best);
        }
        ranked
    }

    fn worded<'a>(&'a self, key: &Key, query: &[(u32, f32)], by: &[Option<&Value>]) -> Ranked<'a> {
        let own = self.candidates(key, by, false);
        let corpus = if self.wrong("points-idf") { self.pool(key, true) } else { own.clone() };
        let weight = |word: u32| {
            let has = |point: &&&Point| point.words.iter().any(|(own, _)| *own == word);
            let (all, with) = (corpus.len() as f64, corpus.iter().filter(has).count() as f64);
            (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
        };
        let weighed: Vec<(u32, f64)> =
            query.iter().map(|&(word, value)| (word, f64::from(value) * weight(word))).collect();
        let score = |point: &Point| -> f64 {
            let each = point.words.iter().map(|(own, value)| {
                let found = weighed.iter().find(|(word, _)| word == own);
                found.map_or(0.0, |(_, weight)| weight * f64::from(*value))
            });
            each.sum()
        };
        let mut ranked: Ranked<'a> = own.into_iter().map(|point| (score(point), point)).collect();
        ranked.retain(|(score, _)| *score > 0.0);
        sort(&mut ranked);
        ranked
    }

    /// The vector that is meant, and the points that gave it.
    fn example(
        &self,
        key: &Key,
        body: &Value,
        query: &Value,
        filters: &[Option<&Value>],
    ) -> Result<(Vec<f32>, Vec<String>), Refused> {
        let ids: Vec<&str> = match (query, query.pointer("/recommend/positive")) {
            (Value::Array(_), _) => return Ok((numbers(query), Vec::new())),
            (Value::String(id), _) => vec![id],
            (_, Some(Value::Array(ids))) => ids.iter().filter_map(Value::as_str).collect(),
            _ => {
                let target = query.pointer("/discover/target").and_then(Value::as_str);
                vec![target.ok_or((400, "this query is not known".to_owned()))?]
            }
        };
        let elsewhere = body.pointer("/lookup_from/collection").and_then(Value::as_str);
        let within = (key.0, elsewhere.unwrap_or(&key.1).to_owned());
        let wide = self.wrong("points-reference")
            || (elsewhere.is_some() && self.wrong("points-lookup-from"));
        let known = self.candidates(&within, filters, wide);
        let mut sum = Vec::new();
        for id in &ids {
            let point = known.iter().find(|point| point.id == *id);
            let point = point.ok_or_else(|| absent(&format!("No point with id {id} found")))?;
            sum.resize(point.dense.len(), 0.0);
            sum.iter_mut().zip(&point.dense).for_each(|(sum, value)| *sum += value);
        }
        Ok((sum, ids.into_iter().map(ToOwned::to_owned).collect()))
    }

    pub(super) fn groups(&self, key: &Key, body: &Value) -> Reply {
        let field = body.get("group_by").and_then(Value::as_str).unwrap_or_default();
        let mut wide = body.clone();
        wide["limit"] = json!(1_000);
        let mut groups = BTreeMap::<String, Vec<Value>>::new();
        for (score, point) in self.ranked(key, &wide, &[])? {
            if let Some(value) = point.payload.get(field).and_then(Value::as_str) {
                groups.entry(value.to_owned()).or_default().push(hit(score, point, body));
            }
        }
        let lookup = body.pointer("/with_lookup/collection").and_then(Value::as_str);
        let found = |id: &str| {
            let within = (key.0, lookup?.to_owned());
            let open = self.wrong("points-group-lookup");
            let known = self.candidates(&within, &[body.get("filter")], open);
            let point = known.into_iter().find(|point| point.id == id)?;
            Some(json!({ "id": id, "payload": point.payload }))
        };
        let shown = groups
            .into_iter()
            .map(|(value, hits)| json!({ "id": value, "hits": hits, "lookup": found(&value) }));
        Ok(json!({ "groups": shown.collect::<Vec<_>>() }))
    }

    pub(super) fn matrix(&self, key: &Key, form: &str, body: &Value) -> Reply {
        let filters = [body.get("filter")];
        let points = self.candidates(key, &filters, self.wrong("points-matrix"));
        let ids: Vec<&String> = points.iter().map(|point| &point.id).collect();
        let pairs = || {
            let each = points.iter().zip(points.iter().skip(1));
            let pair = |(one, other): (&&Point, &&Point)| json!({ "a": one.id, "b": other.id, "score": cosine(&one.dense, &other.dense) });
            each.map(pair).collect::<Vec<_>>()
        };
        match form {
            "pairs" => Ok(json!({ "pairs": pairs() })),
            "offsets" => Ok(json!({ "ids": ids })),
            _ => Err(absent("no such route")),
        }
    }
}

fn hit(score: f64, point: &Point, body: &Value) -> Value {
    let mut shown = point.shown(body);
    shown["score"] = json!(score);
    shown
}

fn scored<'a>(points: Vec<&'a Point>, vector: &[f32]) -> Ranked<'a> {
    let with = points.into_iter().filter(|point| !point.dense.is_empty());
    let mut ranked: Ranked<'a> = with.map(|point| (cosine(&point.dense, vector), point)).collect();
    sort(&mut ranked);
    ranked
}

fn sort(ranked: &mut Ranked<'_>) {
    ranked.sort_by(|(one, point), (other, next)| {
        other.total_cmp(one).then_with(|| point.id.cmp(&next.id))
    });
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |one: &[f32], other: &[f32]| -> f64 {
        one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt().max(f64::MIN_POSITIVE)
}
