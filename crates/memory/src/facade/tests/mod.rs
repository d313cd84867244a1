//! Reads over real rows, real indexes, a real vault and real doors.

mod groups;
mod hostile;
mod locks;
mod reach;
mod reads;
mod recall;
mod writes;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ids::{BoxFuture, ManualClock, Millis, OsEntropy};
use scope::{Grants, Scope, Write};
use serde_json::{Value, json};
use store::{Options, Store};
use testkit::Kit;
use vault::{FileRoot, Vault};

use super::*;
use crate::{
    CollectionName, Dense, Distance, EmbedError, Point, Schema, Sparse, Vector, WorkflowFilter,
    reach::digest,
    request::{
        Count, Facet, Groups, Query, Scroll, parse_count, parse_facet, parse_groups, parse_query,
        parse_retrieve, parse_scroll,
    },
    truth::Row,
};

/// The grants of an end user's token: not those of everybody's points.
pub(super) const USER: &str = "memory:read memory:write memory:collections";

pub(super) struct World {
    pub(super) kit: Kit,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Store,
    pub(super) vault: Vault,
    pub(super) directory: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let kit = Kit::new(clock.clone()).await;
        let store =
            Store::open(&Options::new(directory.path().join("data")), clock.clone()).unwrap();
        Self { kit, clock, store, vault, directory }
    }

    pub(super) fn memory(&self, settings: MemorySettings) -> Memory {
        self.with(settings, None)
    }

    pub(super) fn with(
        &self,
        settings: MemorySettings,
        embedder: Option<Arc<dyn Embedder>>,
    ) -> Memory {
        Memory::open(settings, self.parts(embedder)).unwrap()
    }

    pub(super) fn parts(&self, embedder: Option<Arc<dyn Embedder>>) -> Parts {
        Parts {
            store: self.store.clone(),
            vault: self.vault.clone(),
            clock: self.clock.clone(),
            entropy: Arc::new(OsEntropy),
            index_dir: self.directory.path().join("index"),
            embedder,
            subject_key: [5; 32],
        }
    }

    /// The holder of every grant.
    pub(super) async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    /// An end user of `acme`'s, or none.
    pub(super) async fn user(&self, subject: Option<&str>) -> Scope<Write> {
        self.scope("support", subject, USER).await
    }

    pub(super) async fn scope(
        &self,
        workflow: &str,
        subject: Option<&str>,
        grants: &str,
    ) -> Scope<Write> {
        let mut ask = Kit::ask("acme", "live", workflow);
        ask.subject = subject.map(|subject| subject.parse().unwrap());
        ask.grants = Some(Grants::parse(grants).unwrap());
        let minted = self.kit.doors.exchange(&self.kit.service().await, ask).await.unwrap();
        self.kit.authenticate(&minted.secret).await.unwrap()
    }
}

/// A collection of one plain space of two dimensions, with indexes.
pub(super) fn plain(indexes: &[(&str, &str)]) -> Schema {
    let space = Dense { size: 2, distance: Distance::Dot, multi: false };
    let index = |(field, kind): &(&str, &str)| ((*field).to_owned(), json!({"type": kind}));
    Schema {
        vectors: BTreeMap::from([(String::new(), space)]),
        sparse: BTreeMap::from([("words".to_owned(), Sparse { idf: true })]),
        indexes: indexes.iter().map(index).collect(),
        ..Schema::default()
    }
}

pub(super) fn name() -> CollectionName {
    CollectionName::parse("docs").unwrap()
}

pub(super) fn point(id: u64, vector: [f32; 2], payload: Value) -> Point {
    Point {
        id: PointId::Num(id),
        version: 0,
        vectors: Vectors::from([(String::new(), Vector::Dense(vector.to_vec()))]),
        payload: payload.as_object().unwrap().clone(),
        subject: None,
        expires: None,
    }
}

impl Memory {
    pub(super) async fn made(&self, scope: &Scope<Write>, schema: Schema) -> Collection {
        assert!(self.inner.truth.of(scope).create(&name(), schema).await.unwrap());
        self.inner.truth.of(scope).collection(&name()).await.unwrap().unwrap()
    }

    /// Commits rows as they are.
    pub(super) async fn put(&self, scope: &Scope<Write>, points: Vec<Point>) {
        self.rows(scope, points.into_iter().map(Row::Put).collect()).await;
    }

    pub(super) async fn rows(&self, scope: &Scope<Write>, rows: Vec<Row>) {
        let truth = self.inner.truth.of(scope);
        let collection = truth.collection(&name()).await.unwrap().unwrap();
        let head = truth.head(&collection).await.unwrap();
        truth.commit(&collection, head.seq, rows).await.unwrap().unwrap();
    }

    /// Whose points of this end user's are.
    pub(super) fn subject(&self, scope: &Scope<Write>, subject: &str) -> crate::Subject {
        digest(&self.inner, scope, subject)
    }

    pub(super) async fn asks(&self, scope: &Scope<Write>, query: Value) -> Vec<u64> {
        ids(&self.of(scope).query(&name(), self.query(query)).await.unwrap())
    }

    pub(super) fn query(&self, query: Value) -> Query {
        parse_query(query.to_string().as_bytes(), self.settings()).unwrap()
    }

    pub(super) fn parsed_groups(&self, groups: Value) -> Groups {
        parse_groups(groups.to_string().as_bytes(), self.settings()).unwrap()
    }

    pub(super) async fn scrolls(&self, scope: &Scope<Write>, scroll: Value) -> Vec<u64> {
        ids(&self.of(scope).scroll(&name(), self.parsed_scroll(scroll)).await.unwrap().0)
    }

    pub(super) fn parsed_scroll(&self, scroll: Value) -> Scroll {
        parse_scroll(scroll.to_string().as_bytes(), self.settings()).unwrap()
    }

    pub(super) async fn counts(&self, scope: &Scope<Write>, count: Value) -> u64 {
        let count: Count = parse_count(count.to_string().as_bytes(), self.settings()).unwrap();
        self.of(scope).count(&name(), count).await.unwrap()
    }

    pub(super) async fn facets(&self, scope: &Scope<Write>, facet: Value) -> Vec<(Value, u64)> {
        let facet: Facet = parse_facet(facet.to_string().as_bytes(), self.settings()).unwrap();
        self.of(scope).facet(&name(), facet).await.unwrap()
    }

    pub(super) async fn gets(&self, scope: &Scope<Write>, wanted: &[u64]) -> Vec<u64> {
        let body = json!({"ids": wanted}).to_string();
        let retrieve = parse_retrieve(body.as_bytes(), self.settings()).unwrap();
        ids(&self.of(scope).retrieve(&name(), retrieve).await.unwrap())
    }
}

pub(super) fn ids(records: &[Record]) -> Vec<u64> {
    let id = |record: &Record| match record.id {
        PointId::Num(id) => id,
        PointId::Uuid(_) => panic!("a UUID"),
    };
    records.iter().map(id).collect()
}

/// Embeds texts by what stands in them: `[x, y]` per `x` and `y` in the text.
#[derive(Default)]
pub(super) struct Letters {
    pub(super) calls: AtomicUsize,
    pub(super) wrong: Option<Vec<Vec<f32>>>,
}

impl Embedder for Letters {
    fn embed<'a>(
        &'a self,
        _: &'a Scope<Write>,
        model: &'a str,
        texts: Vec<String>,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if model != "letters" {
                let message = "no such route".into();
                return Err(EmbedError { code: "model.no_route", message, retry_after: None });
            }
            if let Some(wrong) = &self.wrong {
                return Ok(wrong.clone());
            }
            let of = |text: &str, letter| text.matches(letter).count() as f32;
            Ok(texts.iter().map(|text| vec![of(text, 'x') + 0.01, of(text, 'y') + 0.01]).collect())
        })
    }
}

pub(super) fn held_to(workflow: &str, collection: &str, filter: Value) -> MemorySettings {
    let (workflow, collection) = (workflow.into(), collection.into());
    let filters = vec![WorkflowFilter { workflow, collection, filter }];
    MemorySettings { filters, ..MemorySettings::default() }
}
