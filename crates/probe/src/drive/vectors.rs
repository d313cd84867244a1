//! Qdrant, and what speaks like it.
//!
//! Two ways in which tenants share one are spoken to:
//!
//! * **Two credentials**, each with a view of its own: a server or a proxy that scopes by the
//!   credential. Both tenants then say the very same bytes, and whoever attacks says what the
//!   other one would say. Where the two may not use one name, `collection = "docs-{tenant}"`
//!   gives each its own, and the attacker asks for the other's.
//! * **One credential and a `tenant_field`**: the application is the one client, and holds each
//!   tenant to its points by a filter that it puts into every request. So does this driver, and
//!   whatever an attacker says of its own is put beside that filter, never in its place. What is
//!   attacked is then whether the server keeps to the filter: in ranking, statistics, facets,
//!   prefetches, and for ids that stand outside of it. What has no filter at all (points by id,
//!   listings, other collections, writes by id) proves nothing about a server that was told to
//!   trust this one client, and is not attacked. Whether the application ever forgets its filter
//!   can only be seen at the application: a target of kind `http`.
//!
//! Without a `collection`, each check makes one of its own and removes it. With one, only points
//! of the run are put, asked for and removed: each of them has a `probe` field, by which every
//! request without ids is narrowed, so that nobody's own points are ever read.

mod place;
mod points;

use serde_json::{Map, Value, json};

pub(crate) use self::{
    place::Points,
    points::{
        Point, brief, counted, done, fresh_id, fresh_word, hit_ids, hits, matching, shown_vector,
    },
};
use crate::{
    canary::Side,
    lab::{Caller, Lab},
    ledger::Mark,
    target::{Kind, Target},
    verdict::Halt,
    wire::{Exchange, Request, quote},
};

/// The field by which points of one check are told from everything else.
pub(crate) const TAG: &str = "probe";
/// The field that has the canary, where there is one.
pub(crate) const MARK: &str = "mark";
/// The field with a word that an attacker may know.
pub(crate) const TOPIC: &str = "topic";
/// Dimensions of collections that are made.
const SIZE: usize = 32;
/// Bytes of one request that writes, roughly.
const BATCH_BYTES: usize = 500_000;

/// How the two tenants share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// What comes before `/collections`.
    pub(crate) base: String,
    /// An existing collection; `{tenant}` in it stands for the tenant's name.
    pub(crate) collection: Option<String>,
    /// By which an application's one credential tells tenants apart.
    pub(crate) tenant_field: Option<String>,
}

impl Layout {
    /// As the target file says.
    pub(crate) fn of(target: &Target) -> Self {
        match &target.kind {
            Kind::Qdrant { tenant_field, collection } => Self {
                base: String::new(),
                collection: collection.clone(),
                tenant_field: tenant_field.clone(),
            },
            _ => Self::default(),
        }
    }

    /// Each tenant has a credential, and with it a view.
    pub(crate) const fn views(&self) -> bool {
        self.tenant_field.is_none()
    }

    /// Collections are made for the checks.
    pub(crate) const fn makes(&self) -> bool {
        self.collection.is_none()
    }
}

/// A collection that both tenants use, each through its own credential or filter.
pub(crate) struct Store {
    layout: Layout,
    /// The name that each says.
    names: [String; 2],
    /// What each is called, for `tenant_field`.
    tenants: [String; 2],
    /// The name of the dense vector; empty if it has none.
    pub(crate) dense: String,
    pub(crate) size: usize,
    /// A sparse vector whose weights count how rare a word is.
    pub(crate) sparse: Option<String>,
    tag: String,
    /// What was made, in the ledger.
    marks: [Option<Mark>; 2],
}

impl Store {
    /// Makes the collection, or looks at the one that is named.
    pub(crate) async fn open(lab: &Lab, layout: &Layout) -> Result<Self, Halt> {
        let run: String = lab.canaries.run().chars().take(8).collect();
        let tag = format!("bulkhead-probe-{run}-{}", fresh_word());
        let tenants = [Side::A, Side::B].map(|side| tenant_name(&lab.target, side));
        let name = layout.collection.clone().unwrap_or_else(|| tag.clone());
        let names = [0, 1].map(|side: usize| name.replace("{tenant}", &tenants[side]));
        let mut store = Self {
            layout: layout.clone(),
            names,
            tenants,
            dense: "dense".to_owned(),
            size: SIZE,
            sparse: Some("words".to_owned()),
            tag,
            marks: [None, None],
        };
        let opened = match store.layout.makes() {
            true => store.make(lab).await,
            false => store.look(lab).await,
        };
        if let Err(halt) = opened {
            store.close(lab).await;
            return Err(halt);
        }
        Ok(store)
    }

    async fn make(&mut self, lab: &Lab) -> Result<(), Halt> {
        let mut made = self.create(lab, Side::A).await?;
        if made.refused() {
            self.sparse = None;
            made = self.create(lab, Side::A).await?;
        }
        done(&made, "A makes a collection")?;
        self.note(lab, Side::A);
        if self.layout.views() {
            made = self.create(lab, Side::B).await?;
            if made.refused() {
                // One name for all, and it is a's: b needs one of its own.
                self.names[1].push_str("-b");
                made = self.create(lab, Side::B).await?;
            }
            done(&made, "B makes a collection")?;
            self.note(lab, Side::B);
        }
        for &side in self.sides() {
            self.index(lab, side).await?;
        }
        Ok(())
    }

    /// For the ledger.
    fn note(&mut self, lab: &Lab, side: Side) {
        let name = self.name(side).to_owned();
        let by_hand = format!("DELETE {} as {}", self.path(side, ""), side.name());
        let mark = lab.ledger.made("collections", &format!("collection {name}"), &by_hand);
        self.marks[side as usize] = Some(mark);
    }

    async fn create(&self, lab: &Lab, side: Side) -> Result<Exchange, Halt> {
        let mut body = json!({ "vectors": { "dense": { "size": SIZE, "distance": "Cosine" } } });
        if self.sparse.is_some() {
            body["sparse_vectors"] = json!({ "words": { "modifier": "idf" } });
        }
        let request = Request::new(http::Method::PUT, self.path(side, ""));
        let request = request.json(&body).example(json!({ "result": true }));
        send(lab, lab.caller(side), request).await
    }

    /// Makes the tenant's collection once more, after it was removed.
    pub(crate) async fn make_again(&self, lab: &Lab, side: Side) -> Result<(), Halt> {
        done(
            &self.create(lab, side).await?,
            &format!("{} makes a collection", side.name().to_uppercase()),
        )?;
        self.index(lab, side).await
    }

    /// The same under another name, which is not yet made.
    pub(crate) fn elsewhere(&self, name: &str) -> Self {
        let (layout, dense, tag) = (self.layout.clone(), self.dense.clone(), self.tag.clone());
        let (sparse, tenants) = (self.sparse.clone(), self.tenants.clone());
        let names = [name.to_owned(), name.to_owned()];
        let marks = [None, None];
        Self { layout, names, tenants, dense, size: self.size, sparse, tag, marks }
    }

    /// Who has a collection.
    fn sides(&self) -> &'static [Side] {
        if self.layout.views() { &[Side::A, Side::B] } else { &[Side::A] }
    }

    /// Indexes of the fields; servers that need none may refuse.
    async fn index(&self, lab: &Lab, side: Side) -> Result<(), Halt> {
        let mut fields = vec![(MARK, json!("keyword")), (TOPIC, json!("keyword"))];
        if let Some(field) = &self.layout.tenant_field {
            fields.push((field, json!({ "type": "keyword", "is_tenant": true })));
        }
        for (field, schema) in fields {
            let body = json!({ "field_name": field, "field_schema": schema });
            let path = self.path(side, "/index?wait=true");
            let request = Request::new(http::Method::PUT, path).json(&body);
            send(lab, lab.caller(side), request).await?;
        }
        Ok(())
    }

    /// Learns of an existing collection what its vectors are.
    async fn look(&mut self, lab: &Lab) -> Result<(), Halt> {
        let example =
            json!({ "result": { "config": { "params": { "vectors": { "size": SIZE } } } } });
        let request = Request::get(self.path(Side::A, "")).example(example);
        let seen = send(lab, lab.caller(Side::A), request).await?;
        done(&seen, "A asks what the collection is")?;
        let params = seen.json().pointer("/result/config/params").cloned().unwrap_or_default();
        let size = |vector: &Value| vector.get("size").and_then(Value::as_u64);
        let vectors = params.get("vectors").cloned().unwrap_or_default();
        let named = vectors.as_object().into_iter().flatten();
        let (name, size) = match size(&vectors) {
            Some(size) => (String::new(), size),
            None => named
                .filter(|(_, vector)| vector.get("multivector_config").is_none_or(Value::is_null))
                .find_map(|(name, vector)| Some((name.clone(), size(vector)?)))
                .ok_or_else(|| Halt::Lacking("the collection has no dense vector".into()))?,
        };
        for side in [Side::A, Side::B] {
            let what = format!("points of {} in {}", side.name(), self.name(side));
            let by_hand = format!("delete the points whose `{TAG}` is {}", self.tag);
            self.marks[side as usize] = Some(lab.ledger.made("points", &what, &by_hand));
        }
        self.dense = name;
        self.size = usize::try_from(size).unwrap_or(SIZE);
        let sparse = params.get("sparse_vectors").and_then(Value::as_object).into_iter().flatten();
        self.sparse = sparse
            .filter(|(_, vector)| vector.get("modifier").and_then(Value::as_str) == Some("idf"))
            .map(|(name, _)| name.clone())
            .next();
        Ok(())
    }

    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The name by which a tenant knows it.
    pub(crate) fn name(&self, side: Side) -> &str {
        &self.names[side as usize]
    }

    /// What a tenant is called.
    pub(crate) fn tenant(&self, side: Side) -> &str {
        &self.tenants[side as usize]
    }

    /// The field that tells tenants apart, or a common name for one.
    pub(crate) fn tenant_field(&self) -> &str {
        self.layout.tenant_field.as_deref().unwrap_or("org_id")
    }

    /// What every point of a tenant's has in its payload here.
    pub(crate) fn own_payload(&self, side: Side) -> Map<String, Value> {
        let mut payload = Map::from_iter([(TAG.to_owned(), json!(self.tag))]);
        if let Some(field) = &self.layout.tenant_field {
            payload.insert(field.clone(), json!(self.tenant(side)));
        }
        payload
    }

    /// A path under the collection that `at` knows.
    pub(crate) fn path(&self, at: Side, tail: &str) -> String {
        format!("{}/collections/{}{tail}", self.layout.base, quote(self.name(at)))
    }

    /// A filter with what the application puts beside it, and with what keeps the probe from
    /// reading anything but its own points.
    pub(crate) fn filter(&self, by: Side, own: Option<Value>) -> Option<Value> {
        let mut must = Vec::new();
        if let Some(field) = &self.layout.tenant_field {
            must.push(matching(field, self.tenant(by)));
        }
        if !self.layout.makes() {
            must.push(matching(TAG, self.tag.as_str()));
        }
        if must.is_empty() {
            return own;
        }
        must.extend(own);
        Some(json!({ "must": must }))
    }

    /// A body, with the filter.
    pub(crate) fn body(&self, by: Side, mut body: Value, own: Option<Value>) -> Value {
        if let (Some(filter), Some(object)) = (self.filter(by, own), body.as_object_mut()) {
            object.insert("filter".into(), filter);
        }
        body
    }

    /// Named as the collection names its dense vector.
    pub(crate) fn using(&self, mut body: Value) -> Value {
        if let (false, Some(object)) = (self.dense.is_empty(), body.as_object_mut()) {
            object.insert("using".into(), json!(self.dense));
        }
        body
    }

    /// The body of a query for what is nearest.
    pub(crate) fn nearest(&self, by: Side, to: &[f32], limit: usize, own: Option<Value>) -> Value {
        let body = json!({ "query": shown_vector(to), "limit": limit, "with_payload": true });
        self.body(by, self.using(body), own)
    }

    /// The body of a query by words.
    pub(crate) fn worded(&self, by: Side, words: &[(u32, f32)], limit: usize) -> Value {
        let (indices, values): (Vec<u32>, Vec<f32>) = words.iter().copied().unzip();
        let query = json!({ "indices": indices, "values": values });
        let using = self.sparse.as_deref().unwrap_or_default();
        let body = json!({ "query": query, "using": using, "limit": limit, "with_payload": true });
        self.body(by, body, None)
    }

    /// A POST to a path under the collection that `at` knows.
    pub(crate) fn post(&self, at: Side, tail: &str, body: &Value) -> Request {
        let example = json!({ "result": { "points": [], "count": 0, "status": "completed" } });
        Request::new(http::Method::POST, self.path(at, tail)).json(body).example(example)
    }

    /// Asks its own collection, in the tenant's name.
    pub(crate) async fn ask(
        &self,
        lab: &Lab,
        by: Side,
        tail: &str,
        body: &Value,
    ) -> Result<Exchange, Halt> {
        send(lab, lab.caller(by), self.post(by, tail, body)).await
    }

    /// One point as it is sent.
    fn shown(&self, by: Side, point: &Point) -> Value {
        let mut payload = self.own_payload(by);
        payload.extend(point.payload.clone());
        let words = self.sparse.as_ref().filter(|_| !point.words.is_empty());
        let vector = match (words, self.dense.is_empty()) {
            (None, true) => shown_vector(&point.dense),
            (words, _) => {
                let mut named = Map::new();
                if !point.dense.is_empty() {
                    named.insert(self.dense.clone(), shown_vector(&point.dense));
                }
                if let Some(name) = words {
                    let (indices, values): (Vec<u32>, Vec<f32>) =
                        point.words.iter().copied().unzip();
                    named.insert(name.clone(), json!({ "indices": indices, "values": values }));
                }
                Value::Object(named)
            }
        };
        json!({ "id": point.id, "vector": vector, "payload": payload })
    }

    /// The request that puts points.
    pub(crate) fn put_request(&self, by: Side, points: &[Point]) -> Request {
        let points: Vec<Value> = points.iter().map(|point| self.shown(by, point)).collect();
        Request::new(http::Method::PUT, self.path(by, "/points?wait=true"))
            .json(&json!({ "points": points }))
            .example(json!({ "result": { "status": "completed", "operation_id": 0 } }))
    }

    /// Puts points, in as many requests as they need; answers with the last.
    pub(crate) async fn put(
        &self,
        lab: &Lab,
        by: Side,
        points: &[Point],
    ) -> Result<Exchange, Halt> {
        let dense = points.iter().map(|point| point.dense.len()).max().unwrap_or(0);
        let batch = (BATCH_BYTES / (dense * 8 + 300)).clamp(1, 500);
        let mut last = Err(Halt::Failed("nothing was to be put".into()));
        for chunk in points.chunks(batch) {
            let exchange = send(lab, lab.caller(by), self.put_request(by, chunk)).await?;
            done(&exchange, &format!("{} puts {} points", by.name().to_uppercase(), chunk.len()))?;
            last = Ok(brief(exchange));
        }
        last
    }

    /// Removes every point of this store that is the tenant's.
    pub(crate) async fn clear(&self, lab: &Lab, by: Side) -> Result<Exchange, Halt> {
        let own = json!({ "must": [matching(TAG, self.tag.as_str())] });
        let filter = self.filter(by, Some(own));
        self.ask(lab, by, "/points/delete?wait=true", &json!({ "filter": filter })).await
    }

    /// Removes points by their ids.
    pub(crate) async fn delete(
        &self,
        lab: &Lab,
        by: Side,
        ids: &[String],
    ) -> Result<Exchange, Halt> {
        self.ask(lab, by, "/points/delete?wait=true", &json!({ "points": ids })).await
    }

    /// Removes what was made, the collection or the points, whatever became of the run, and
    /// looks whether it is gone.
    pub(crate) async fn close(&self, lab: &Lab) {
        let _cleaning = lab.wire.cleaning();
        for side in [Side::A, Side::B] {
            let Some(mark) = self.marks[side as usize] else { continue };
            let removed = match self.layout.makes() {
                true => {
                    let request = Request::new(http::Method::DELETE, self.path(side, ""));
                    send(lab, lab.caller(side), request).await
                }
                false => self.clear(lab, side).await,
            };
            match removed.and_then(|exchange| done(&exchange, "removing it")) {
                Ok(()) => lab.ledger.removed(mark, self.gone(lab, side).await),
                // A check may have removed it already, as one way to attack it or to erase.
                Err(_) if self.gone(lab, side).await => lab.ledger.removed(mark, true),
                Err(why) => lab.ledger.failed(mark, why.to_string()),
            }
        }
    }

    /// Its owner looks for it in vain.
    async fn gone(&self, lab: &Lab, side: Side) -> bool {
        let body = self.body(side, json!({ "exact": true }), None);
        let Ok(exchange) = self.ask(lab, side, "/points/count", &body).await else { return false };
        let nothing = exchange.accepted() && counted(&exchange) == Some(0);
        let absent = self.layout.makes() && matches!(exchange.status(), 403 | 404);
        lab.options.dry_run || nothing || absent
    }
}

/// What a tenant is called in the target file, or `a` and `b`.
fn tenant_name(target: &Target, side: Side) -> String {
    let named = target.tenants.get(&side).and_then(|tenant| tenant.names.first());
    named.cloned().unwrap_or_else(|| side.name().to_owned())
}

/// Sends, and again where the target asks to come back later.
pub(crate) async fn send(lab: &Lab, by: &Caller, request: Request) -> Result<Exchange, Halt> {
    lab.wire.send_patiently(by, request).await
}
