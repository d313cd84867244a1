//! What everybody does with collections: they have the same names and the same ids everywhere,
//! and the oracle knows exactly what each credential must find there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Unit, World};
use crate::it::rig::Reply;

/// What a point says, and whose it is within the tenant.
#[derive(Clone)]
pub(super) struct Kept {
    value: String,
    owner: Option<String>,
}

/// A word that is in every text.
const COMMON: &str = "lighthouse";
/// The grant that lifts the bound of end users.
const SUBJECTS: &str = "memory:subjects";

impl World {
    /// One request about collections, looked at without the name that it asked for: that is the
    /// caller's own word.
    async fn asked(&self, of: usize, name: &str, what: (&str, &str, Value)) -> Reply {
        let (method, path, body) = what;
        let at = match path.strip_prefix('.') {
            Some(rest) => format!("/v1/memory/{name}{rest}"),
            None => format!("/qdrant/collections/{name}{path}"),
        };
        let mut reply = self.rig.ask(&self.held[of].secret, method, &at, body).await;
        reply.body = reply.text().replace(&format!("`{name}`"), "it").into();
        reply
    }

    /// Whether this credential reaches a point of its own unit.
    fn reaches(&self, of: usize, kept: &Kept) -> bool {
        let held = &self.held[of];
        held.grants.contains(SUBJECTS) || kept.owner.is_none() || kept.owner == held.sub
    }

    /// Whose a point becomes that this credential puts.
    fn owner(&self, of: usize) -> Option<String> {
        let held = &self.held[of];
        held.sub.clone().filter(|_| !held.grants.contains(SUBJECTS))
    }

    /// Whether this credential may change it: an end user's own changes nothing of others, and
    /// nothing that is nobody's.
    fn changes(&self, of: usize, kept: &Kept) -> bool {
        let owner = self.owner(of);
        self.reaches(of, kept) && (owner.is_none() || kept.owner == owner)
    }

    /// Everything of a collection that a credential must find: ids and values.
    fn reached(&self, of: usize, at: &(Unit, String)) -> BTreeSet<(u64, String)> {
        let kept = self.points.get(at).into_iter().flatten();
        let kept = kept.filter(|(_, kept)| self.reaches(of, kept));
        kept.map(|(id, kept)| (*id, kept.value.clone())).collect()
    }

    pub(super) async fn collect(&mut self, of: usize) {
        let unit = self.held[of].unit;
        let at = (unit, self.name());
        match self.dice.roll(16) {
            0 | 1 => self.make(of, at).await,
            2 if self.dice.roll(3) == 0 => self.drop_collection(of, at).await,
            2..=6 => self.put(of, at).await,
            7 => self.remove(of, at).await,
            8 => self.remove_matching(of, at).await,
            9 | 10 => self.remember(of).await,
            11 => self.list(of).await,
            _ => self.find(of, at).await,
        }
    }

    /// A name that everybody uses, or, now and then, one that somebody made up.
    fn name(&mut self) -> String {
        let made_up: Vec<_> = self.points.keys().filter(|(_, name)| name.len() > 4).collect();
        if !made_up.is_empty() && self.dice.roll(4) == 0 {
            return self.dice.pick(&made_up).1.clone();
        }
        format!("col{}", self.dice.roll(2))
    }

    async fn make(&mut self, of: usize, at: (Unit, String)) {
        let unit = at.0;
        // What somebody else made up is not made here: it would be one's own then.
        let name = match self.dice.roll(3) {
            0 => self.canary('n', unit),
            _ if at.1.len() > 4 => "col0".to_owned(),
            _ => at.1,
        };
        let body = json!({"vectors": {"size": 2, "distance": "Dot"},
            "sparse_vectors": {"words": {"modifier": "idf"}}});
        let reply = self.asked(of, &name, ("PUT", "", body)).await;
        let exists = self.points.contains_key(&(unit, name.clone()));
        let good: &[u16] = if exists { &[409] } else { &[200] };
        self.judge(of, "memory:collections", "make", &reply, good);
        if reply.status != 200 {
            return;
        }
        self.points.insert((unit, name.clone()), std::collections::BTreeMap::new());
        let index = json!({"field_name": "topic", "field_schema": "keyword"});
        let reply = self.asked(of, &name, ("PUT", "/index?wait=true", index)).await;
        self.judge(of, "memory:collections", "index", &reply, &[200]);
    }

    async fn drop_collection(&mut self, of: usize, at: (Unit, String)) {
        let reply = self.asked(of, &at.1, ("DELETE", "", Value::Null)).await;
        self.judge(of, "memory:collections", "drop", &reply, &[200]);
        if reply.status == 200 {
            let was = self.points.remove(&at).is_some();
            assert_eq!(reply.json()["result"], was, "{at:?}");
        }
    }

    async fn put(&mut self, of: usize, at: (Unit, String)) {
        let (unit, id) = (at.0, self.dice.roll(5) as u64);
        let value = self.canary('v', unit);
        let text = format!("{COMMON} {value}");
        let words = json!({"text": text, "model": "Qdrant/bm25"});
        let side = self.dice.roll(100) as f64 / 100.0;
        let point = json!({"id": id, "vector": {"": [1.0, side], "words": words},
            "payload": {"topic": value, "text": text, "nested": {"topic": value}}});
        let what = ("PUT", "/points?wait=true", json!({"points": [point]}));
        let reply = self.asked(of, &at.1, what).await;
        let kept = self.points.get(&at);
        let before = kept.and_then(|kept| kept.get(&id)).cloned();
        let reached = before.as_ref().is_none_or(|before| self.changes(of, before));
        let good = match kept {
            None => 404,
            Some(_) if reached => 200,
            Some(_) => 403,
        };
        self.judge(of, "memory:write", "put", &reply, &[good]);
        if reply.status == 200 {
            let lifted = self.held[of].grants.contains(SUBJECTS);
            // Whoever acts for all leaves it to whose it was.
            let owner = match before {
                Some(before) if lifted => before.owner,
                _ => self.owner(of),
            };
            self.points.entry(at).or_default().insert(id, Kept { value, owner });
        } else if good == 403 && reply.code() == "memory.out_of_reach" {
            self.tried += 1;
        }
    }

    async fn remove(&mut self, of: usize, at: (Unit, String)) {
        let id = self.dice.roll(5) as u64;
        let what = ("POST", "/points/delete?wait=true", json!({"points": [id]}));
        let reply = self.asked(of, &at.1, what).await;
        let before = self.points.get(&at).and_then(|kept| kept.get(&id)).cloned();
        let reached = before.as_ref().is_none_or(|before| self.changes(of, before));
        let good: &[u16] = match self.points.get(&at) {
            None => &[404],
            Some(_) if reached => &[200],
            // It says so, or does as if there were nothing.
            Some(_) => &[200, 403],
        };
        self.judge(of, "memory:write", "remove", &reply, good);
        if reply.status == 200
            && reached
            && let Some(kept) = self.points.get_mut(&at)
        {
            kept.remove(&id);
        }
    }

    /// By what some point says, whoever's it is.
    async fn remove_matching(&mut self, of: usize, at: (Unit, String)) {
        let all: Vec<_> = self.points.values().flat_map(|kept| kept.values()).collect();
        if all.is_empty() {
            return;
        }
        let value = self.dice.pick(&all).value.clone();
        let filter = json!({"should": [{"key": "topic", "match": {"value": value}}]});
        let what = ("POST", "/points/delete?wait=true", json!({"filter": filter}));
        let reply = self.asked(of, &at.1, what).await;
        let good: &[u16] = if self.points.contains_key(&at) { &[200] } else { &[404] };
        self.judge(of, "memory:write", "remove matching", &reply, good);
        if reply.status == 200 {
            let gone = |kept: &Kept| kept.value == value && self.changes(of, kept);
            let kept = &self.points[&at];
            let gone: Vec<_> =
                kept.iter().filter(|(_, kept)| gone(kept)).map(|(id, _)| *id).collect();
            let kept = self.points.get_mut(&at).unwrap();
            gone.iter().for_each(|id| drop(kept.remove(id)));
        }
    }

    /// By one of the ways there are; what is found is exactly what is within reach.
    async fn find(&mut self, of: usize, at: (Unit, String)) {
        let near = json!({"query": [1.0, 0.5], "limit": 50, "with_payload": true,
            "with_vector": true});
        let common = json!({"text": COMMON, "model": "Qdrant/bm25"});
        let words = json!({"query": {"nearest": common}, "using": "words", "limit": 50,
            "with_payload": true});
        // A filter that would be true of everything.
        let wide = json!({"limit": 50, "with_payload": true, "filter": {"should": [
            {"must_not": [{"has_id": [99]}]}, {"is_empty": {"key": "topic"}}]}});
        let (path, body) = match self.dice.roll(9) {
            0 => ("/points/query", near),
            1 => ("/points/query", words),
            2 => ("/points/query/batch", json!({"searches": [near, words]})),
            3 => (
                "/points/query/groups",
                json!({"query": [1.0, 0.5], "group_by": "topic",
                "limit": 50, "group_size": 5, "with_payload": true}),
            ),
            4 => ("/points/scroll", wide),
            5 => ("/points/count", json!({"exact": true})),
            6 => ("/facet", json!({"key": "topic", "limit": 50, "exact": true})),
            7 => ("/points", json!({"ids": [0, 1, 2, 3, 4], "with_payload": true})),
            _ => (
                "/points/query",
                json!({"query": {"recommend": {"positive": [0]}}, "limit": 50,
                "with_payload": true}),
            ),
        };
        let what = format!("{path} {body} in {at:?}");
        let reply = self.asked(of, &at.1, ("POST", path, body.clone())).await;
        let reached = self.reached(of, &at);
        // To recommend by what one does not reach is to ask for nothing.
        let by_example = body["query"]["recommend"].is_object();
        let example = reached.iter().any(|(id, _)| *id == 0);
        let good: &[u16] = match self.points.get(&at) {
            None => &[404],
            Some(_) if by_example && !example => &[400, 404],
            Some(_) => &[200],
        };
        self.judge(of, "memory:read", &what, &reply, good);
        if reply.status != 200 {
            return;
        }
        let result = &reply.json()["result"];
        let mut expected: BTreeSet<_> = reached.into_iter().map(|(_, value)| value).collect();
        if by_example {
            // It is not among what is like it.
            let own = self.points[&at][&0].value.clone();
            expected.remove(&own);
        }
        if path == "/points/count" {
            assert_eq!(result["count"], expected.len(), "{what}");
        } else {
            let found = values(result);
            assert_eq!(found, expected, "{what}: {}", reply.text());
        }
        self.found += u64::from(!expected.is_empty());
    }

    /// Each sees its own names, all of them, and no others.
    async fn list(&mut self, of: usize) {
        let unit = self.held[of].unit;
        let reply = self.rig.get(&self.held[of].secret, "/qdrant/collections").await;
        self.judge(of, "memory:read", "list", &reply, &[200]);
        if reply.status == 200 {
            let told = reply.json()["result"]["collections"].clone();
            let told: BTreeSet<_> = told
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].as_str().unwrap().to_owned())
                .collect();
            let own = self.points.keys().filter(|at| at.0 == unit).map(|at| at.1.clone());
            let notes = self.notes.contains_key(&unit).then(|| "notes".to_owned());
            assert_eq!(told, own.chain(notes).collect(), "of {unit}");
        }
    }

    /// An agent's memory: a text, and everything that is remembered.
    async fn remember(&mut self, of: usize) {
        let unit = self.held[of].unit;
        let value = self.canary('v', unit);
        let body = json!({"text": format!("{COMMON} {value}"), "metadata": {"topic": value}});
        let reply = self.asked(of, "notes", ("POST", ".", body)).await;
        self.judge(of, "memory:write", "remember", &reply, &[201]);
        if reply.status == 201 {
            // A memory is its end user's, whatever else the credential may.
            let owner = self.held[of].sub.clone();
            self.notes.entry(unit).or_default().push(Kept { value, owner });
        }
        let body = json!({"text": COMMON, "limit": 500});
        let reply = self.asked(of, "notes", ("POST", "./search", body)).await;
        self.judge(of, "memory:read", "recall", &reply, &[200]);
        if reply.status == 200 {
            let held = &self.held[of];
            let all = held.sub.is_none() && held.grants.contains(SUBJECTS);
            let own = |kept: &&Kept| all || kept.owner.is_none() || kept.owner == held.sub;
            let kept = self.notes.get(&unit).into_iter().flatten().filter(own);
            let expected: BTreeSet<_> = kept.map(|kept| kept.value.clone()).collect();
            let json = reply.json();
            let found: BTreeSet<_> = json["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["metadata"]["topic"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(found, expected, "{}", reply.text());
            self.found += u64::from(!expected.is_empty());
        }
    }
}

/// Every topic in an answer, wherever it stands.
fn values(json: &Value) -> BTreeSet<String> {
    match json {
        Value::String(text) => text
            .split_whitespace()
            .filter(|word| word.starts_with(super::MARK))
            .map(str::to_owned)
            .collect(),
        Value::Array(all) => all.iter().flat_map(values).collect(),
        Value::Object(all) => all.values().flat_map(values).collect(),
        _ => BTreeSet::new(),
    }
}
