//! Agents' memory in two calls: remember a text, find it again.

use std::{collections::BTreeMap, time::Duration};

use ids::{Millis, planted};
use scope::Write;
use serde_json::{Map, Value};

use crate::{
    Collection, CollectionName, Dense, Distance, Document, Error, Payload, Point, PointId, Schema,
    Sparse, Subject, Vector, Vectors, bm25, embed,
    facade::{Asked, Collections},
    reach::{self, Reach},
    request::{Example, Filter, Fusion, Given, Query, Rank, Show, ShowPayload, ShowVectors},
};

/// Its sparse vectors' name; the dense one has none.
const WORDS: &str = "bm25";
/// Longest time to keep something for that has an end: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A text to remember.
#[derive(Clone)]
pub struct Remember {
    /// The text. Sealed, in no index but by its vector.
    pub text: String,
    /// What it can be filtered by.
    pub metadata: Payload,
    /// For how long; the setting's if absent.
    pub ttl: Option<Duration>,
    /// Whose it is. The credential's own subject if absent; another than that only with the
    /// grant `memory:subjects`.
    pub subject: Option<String>,
}

/// What to find.
#[derive(Clone)]
pub struct Recall {
    /// Like this.
    pub text: String,
    /// At most so many.
    pub limit: usize,
    /// Only these, in Qdrant's words; fields are those of the metadata.
    pub filter: Option<Value>,
    /// Whose, with the grant `memory:subjects`; else the credential's own and nobody's.
    pub subject: Option<String>,
}

/// A text that was found.
#[derive(Clone, PartialEq)]
#[expect(missing_docs, reason = "as they were remembered")]
pub struct Found {
    pub id: PointId,
    pub score: f32,
    pub text: String,
    pub metadata: Payload,
    pub subject: Option<String>,
    pub created: Millis,
    pub expires: Option<Millis>,
}

impl std::fmt::Debug for Remember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remember({} bytes)", self.text.len())
    }
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recall({} of {} bytes)", self.limit, self.text.len())
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Found({})", self.id)
    }
}

impl Collections<'_, Write> {
    /// Keeps a text, in a collection that is made if there is none.
    ///
    /// # Errors
    /// [`Error::Unreachable`] for somebody else's; as [`Self::write`].
    pub async fn remember(
        self,
        name: &CollectionName,
        remember: Remember,
    ) -> Result<PointId, Error> {
        let mut remember = remember;
        let named = remember.subject.take();
        let whose = self.whose(named.as_deref())?;
        let expires = self.expiry(remember.ttl)?;
        if remember.text.trim().is_empty() {
            return Err(Error::Invalid("`text` is empty".into()));
        }
        embed::bounded(self.inner, &remember.text)?;
        let dense = self.meaning(&remember.text).await?;
        let collection = self.kept_in(name, dense.as_ref().map(Vec::len)).await?;
        let mut vectors = Vectors::new();
        vectors.insert(WORDS.into(), self.words(&remember.text, false).await?);
        if let (Some(vector), Some(space)) = (dense, meant(&collection, true)?) {
            vectors.insert(String::new(), fitting(vector, space, &collection)?);
        }
        let now = self.inner.clock.now();
        let point = Point {
            id: drawn(self.inner, now),
            version: 0,
            vectors,
            payload: payload(remember, whose.map(|(name, _)| name), now, expires),
            subject: whose.map(|(_, digest)| digest),
            expires,
        };
        let id = point.id;
        self.keep(name, point).await?;
        Ok(id)
    }

    /// What is remembered, most alike first; nothing if nothing ever was.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn recall(self, name: &CollectionName, recall: Recall) -> Result<Vec<Found>, Error> {
        let settings = &self.inner.settings;
        if !(1..=settings.results).contains(&recall.limit) {
            let most = settings.results;
            return Err(Error::Invalid(format!("`limit` is from 1 to {most}")));
        }
        embed::bounded(self.inner, &recall.text)?;
        let whose = self.whose(recall.subject.as_deref())?;
        let filter = match &recall.filter {
            Some(filter) => Some(Filter::parse(&under("metadata", filter), settings)?),
            None => None,
        };
        let Some(collection) = self.inner.truth.of(self.scope).collection(name).await? else {
            return Ok(Vec::new());
        };
        let space = meant(&collection, self.inner.settings.embedding.is_some())?;
        let dense = match space {
            Some(space) => match self.meaning(&recall.text).await? {
                Some(vector) => Some(fitting(vector, space, &collection)?),
                None => None,
            },
            None => None,
        };
        let sparse = self.words(&recall.text, true).await?;
        let query = self.asked_for(&recall, filter, sparse, dense);
        let mut reach = Reach::of(self.inner, self.scope, &collection);
        if let Some((_, subject)) = whose {
            reach = reach.narrowed(subject);
        }
        let asked = Asked { of: self, collection, reach };
        let held = asked.within_time(asked.ranked(&query)).await?;
        Ok(held.rows.into_iter().map(|(verdict, row)| self.found(verdict.score, row)).collect())
    }

    /// A row as a memory. Whose it is and until when says the row: a payload may be anybody's
    /// who writes points by other ways, and names whom it likes.
    fn found(&self, score: f32, row: Point) -> Found {
        let Point { id, mut payload, subject, expires, .. } = row;
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let whose = |name: &String| {
            let told = planted::is("memory-subject-as-told");
            told || subject == Some(reach::digest(self.inner, self.scope, name))
        };
        Found {
            id,
            score,
            text: text(payload.remove("text")).unwrap_or_default(),
            metadata: match payload.remove("metadata") {
                Some(Value::Object(map)) => map,
                _ => Payload::new(),
            },
            subject: text(payload.remove("subject")).filter(whose),
            created: payload.get("created").and_then(Value::as_u64).map(Millis).unwrap_or_default(),
            expires,
        }
    }

    /// For whom: the one who is named, or the credential's own.
    fn whose<'s>(&'s self, named: Option<&'s str>) -> Result<Option<(&'s str, Subject)>, Error> {
        let own = self.scope.subject().map(ids::Subject::as_str);
        let name = match named {
            Some(named) if own != Some(named) => {
                // The form of an end user's id is that of a credential's.
                ids::Subject::parse(named)
                    .map_err(|error| Error::Invalid(format!("`subject`: {error}")))?;
                if !reach::lifted(self.scope) {
                    return Err(Error::Unreachable(
                        "`subject` names somebody else; that needs the grant memory:subjects",
                    ));
                }
                Some(named)
            }
            _ => own,
        };
        Ok(name.map(|name| (name, reach::digest(self.inner, self.scope, name))))
    }

    fn expiry(&self, ttl: Option<Duration>) -> Result<Option<Millis>, Error> {
        let default = self.inner.settings.ttl_seconds.map(Duration::from_secs);
        match ttl.or(default) {
            None => Ok(None),
            Some(ttl) if ttl >= Duration::from_secs(1) && ttl <= LONGEST => {
                Ok(Some(self.inner.clock.now().plus(ttl)))
            }
            Some(_) => {
                Err(Error::Invalid(format!("`ttl` is from 1 to {} seconds", LONGEST.as_secs())))
            }
        }
    }

    /// The text's sparse vector.
    async fn words(&self, text: &str, query: bool) -> Result<Vector, Error> {
        let words =
            Document { text: text.to_owned(), model: bm25::MODEL.into(), options: Map::new() };
        let vectors = embed::words(self.inner, self.scope, vec![words], query).await?;
        vectors.into_iter().next().ok_or_else(|| Error::Embedding("no words".into()))
    }

    /// The text's dense vector, if a route is configured.
    async fn meaning(&self, text: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(route) = &self.inner.settings.embedding else { return Ok(None) };
        let texts = vec![text.to_owned()];
        Ok(embed::embedded(self.inner, self.scope, route, texts).await?.pop())
    }

    /// The collection, made if there is none.
    async fn kept_in(
        self,
        name: &CollectionName,
        size: Option<usize>,
    ) -> Result<Collection, Error> {
        for _ in 0..3 {
            if let Some(collection) = self.inner.truth.of(self.scope).collection(name).await? {
                meant(&collection, size.is_some())?;
                return Ok(collection);
            }
            match self.create(name, schema(size)).await {
                Ok(()) | Err(Error::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoCollection(name.to_string()))
    }

    fn asked_for(
        &self,
        recall: &Recall,
        filter: Option<Filter>,
        sparse: Vector,
        dense: Option<Vector>,
    ) -> Query {
        let most = self.inner.settings.results;
        let one = |vector: Vector, using: &str, limit: usize| Query {
            prefetch: Vec::new(),
            rank: Some(Rank::Nearest(Example::Given(Given::Vector(vector)))),
            using: using.into(),
            filter: filter.clone(),
            score_threshold: None,
            limit,
            offset: 0,
            ef: None,
            exact: false,
            indexed_only: false,
            show: Show { payload: ShowPayload::All(true), vectors: ShowVectors::All(false) },
        };
        let Some(dense) = dense else { return one(sparse, WORDS, recall.limit) };
        // Deeper than what is asked for: ranks are fused, and both lists have a say.
        let deep = recall.limit.saturating_mul(4).max(50).min(most);
        Query {
            prefetch: vec![one(dense, "", deep), one(sparse.clone(), WORDS, deep)],
            rank: Some(Rank::Fusion(Fusion::Rrf { k: 2, weights: None })),
            using: String::new(),
            ..one(sparse, WORDS, recall.limit)
        }
    }
}

/// What such a collection is made of.
fn schema(size: Option<usize>) -> Schema {
    let space = |size| (String::new(), Dense { size, distance: Distance::Cosine, multi: false });
    Schema {
        vectors: size.map(space).into_iter().collect(),
        sparse: BTreeMap::from([(WORDS.to_owned(), Sparse { idf: true })]),
        ..Schema::default()
    }
}

/// The dense space of such a collection, if there is one and it is of use.
fn meant(collection: &Collection, wanted: bool) -> Result<Option<&Dense>, Error> {
    let words = collection.schema.sparse.get(WORDS).is_some_and(|space| space.idf);
    let dense = collection.schema.vectors.get("");
    if !words || dense.is_some_and(|space| space.multi) {
        return Err(Error::Invalid(format!(
            "collection `{}` was not made by /v1/memory: it needs the sparse vector `{WORDS}` \
             with the modifier idf, and beside it at most one dense vector without a name",
            collection.name
        )));
    }
    // One made before there was a route goes on by words alone.
    Ok(dense.filter(|_| wanted))
}

fn fitting(vector: Vec<f32>, space: &Dense, collection: &Collection) -> Result<Vector, Error> {
    if vector.len() != space.size {
        return Err(Error::Embedding(format!(
            "the route of embeddings gives {} dimensions, and collection `{}` has {}: use the \
             route it was made with, or another collection",
            vector.len(),
            collection.name,
            space.size
        )));
    }
    let mut vector = vector;
    if space.distance == Distance::Cosine {
        crate::vector::normalize(&mut vector);
    }
    Ok(Vector::Dense(vector))
}

fn payload(
    remember: Remember,
    subject: Option<&str>,
    created: Millis,
    expires: Option<Millis>,
) -> Payload {
    let mut payload = Payload::new();
    payload.insert("text".into(), remember.text.into());
    payload.insert("metadata".into(), Value::Object(remember.metadata));
    if let Some(subject) = subject {
        payload.insert("subject".into(), subject.into());
    }
    payload.insert("created".into(), created.0.into());
    if let Some(expires) = expires {
        payload.insert("expires".into(), expires.0.into());
    }
    payload
}

/// A UUID of version 7 (RFC 9562): later ones are greater.
fn drawn(inner: &crate::facade::Inner, now: Millis) -> PointId {
    let mut bytes = [0; 16];
    inner.entropy.fill(&mut bytes);
    let time = now.0.to_be_bytes();
    bytes.iter_mut().zip(&time[2..]).for_each(|(to, from)| *to = *from);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    PointId::Uuid(bytes)
}

/// A filter on fields as if they stood below `top`. What is no filter stays as it is, and is
/// refused where filters are read.
fn under(top: &str, filter: &Value) -> Value {
    let Some(map) = filter.as_object() else { return filter.clone() };
    let keyed = |value: &Value| match value {
        Value::Object(map) => {
            let mut map = map.clone();
            if let Some(Value::String(key)) = map.get_mut("key") {
                key.insert_str(0, &format!("{top}."));
            }
            Value::Object(map)
        }
        other => other.clone(),
    };
    let each = |value: &Value| match value {
        Value::Array(values) => values.iter().map(|value| under(top, value)).collect(),
        one => under(top, one),
    };
    let mut out = Map::new();
    for (word, value) in map {
        let value = match (word.as_str(), value) {
            ("key", Value::String(key)) => Value::from(format!("{top}.{key}")),
            ("is_empty" | "is_null" | "nested", Value::Object(_)) => keyed(value),
            ("must" | "should" | "must_not" | "conditions", _) => each(value),
            ("min_should", _) => under(top, value),
            _ => value.clone(),
        };
        out.insert(word.clone(), value);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_of_the_metadata() {
        let given = json!({
            "must": [
                {"key": "a", "match": {"value": "key"}},
                {"should": {"key": "b[].c", "range": {"gt": 1}}},
                {"is_empty": {"key": "d"}},
                {"nested": {"key": "e", "filter": {"must": [{"key": "f", "match": {"value": 1}}]}}},
                {"has_id": [1]},
                {"key": "g", "is_null": true},
            ],
            "must_not": {"is_null": {"key": "h"}},
            "min_should": {"conditions": [{"key": "i", "match": {"any": [1]}}], "min_count": 1},
        });
        let want = json!({
            "must": [
                {"key": "metadata.a", "match": {"value": "key"}},
                {"should": {"key": "metadata.b[].c", "range": {"gt": 1}}},
                {"is_empty": {"key": "metadata.d"}},
                {"nested": {"key": "metadata.e",
                            "filter": {"must": [{"key": "f", "match": {"value": 1}}]}}},
                {"has_id": [1]},
                {"key": "metadata.g", "is_null": true},
            ],
            "must_not": {"is_null": {"key": "metadata.h"}},
            "min_should": {"conditions": [{"key": "metadata.i", "match": {"any": [1]}}],
                           "min_count": 1},
        });
        assert_eq!(under("metadata", &given), want);
        assert_eq!(under("metadata", &json!("x")), json!("x"));
    }
}
