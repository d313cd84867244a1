//! What every test here stands on.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bulkhead_memory::{
    CollectionName, Error, Group, Memory, MemorySettings, Parts, PointId, Record, Seq, request,
};
use ids::{ManualClock, Millis, OsEntropy};
use scope::{Scope, Write};
use serde_json::{Value, json};
use store::{Options, Store};
use testkit::Kit;
use vault::{FileRoot, Vault};

/// A small generator: splitmix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Between -1 and 1.
    pub(crate) fn even(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(crate) fn vector(&mut self, size: usize) -> Vec<f32> {
        (0..size).map(|_| self.even()).collect()
    }

    /// Near to another.
    pub(crate) fn near(&mut self, to: &[f32], far: f32) -> Vec<f32> {
        to.iter().map(|x| x + far * self.even()).collect()
    }
}

/// A deployment's disk, and who may use it.
pub(crate) struct World {
    pub(crate) kit: Kit,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) directory: PathBuf,
    kept: tempfile::TempDir,
    cuts: usize,
}

/// What runs over it.
pub(crate) struct Running {
    pub(crate) memory: Memory,
    pub(crate) store: Store,
    pub(crate) index: PathBuf,
}

impl World {
    pub(crate) async fn new() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let directory = kept.path().join("first");
        fs::create_dir(&directory).unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.join("root.key"), &OsEntropy).unwrap();
        let keys = directory.join("keys");
        Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let kit = Kit::new(clock.clone()).await;
        Self { kit, clock, directory, kept, cuts: 0 }
    }

    /// As a start does.
    pub(crate) async fn start(&self, settings: MemorySettings) -> Running {
        self.start_with(settings, |_| ()).await
    }

    pub(crate) async fn start_with(
        &self,
        settings: MemorySettings,
        change: impl FnOnce(&mut Options),
    ) -> Running {
        start(&self.directory, settings, change, &self.clock).await
    }

    /// The disk as it is now: what a start after a power cut finds. Nothing is told to those who use it.
    pub(crate) fn power_cut(&mut self) {
        self.cuts += 1;
        let next = self.kept.path().join(format!("after-{}", self.cuts));
        copy(&self.directory, &next);
        self.directory = next;
    }

    pub(crate) async fn scope(&self, tenant: &str, environment: &str) -> Scope<Write> {
        self.kit.scope(tenant, environment).await
    }
}

pub(crate) async fn start(
    directory: &Path,
    settings: MemorySettings,
    change: impl FnOnce(&mut Options),
    clock: &Arc<ManualClock>,
) -> Running {
    let root = FileRoot::new(directory.join("root.key"));
    let entropy = Arc::new(OsEntropy);
    let vault =
        Vault::open(&directory.join("keys"), root, clock.clone(), entropy.clone()).await.unwrap();
    let mut options = Options::new(directory.join("data"));
    change(&mut options);
    let store = Store::open(&options, clock.clone()).unwrap();
    let index = directory.join("index");
    let parts = Parts {
        store: store.clone(),
        vault,
        clock: clock.clone(),
        entropy,
        index_dir: index.clone(),
        embedder: None,
        subject_key: [5; 32],
    };
    Running { memory: Memory::open(settings, parts).unwrap(), store, index }
}

impl Running {
    /// One collection as its tenant has it.
    pub(crate) fn of<'a>(&'a self, scope: &'a Scope<Write>, collection: &str) -> Own<'a> {
        let name = CollectionName::parse(collection).unwrap();
        Own { memory: &self.memory, scope, name }
    }

    /// Directories of indexes, below those of tenants.
    pub(crate) fn indexes(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> =
            directories(&self.index).iter().flat_map(|tenant| directories(tenant)).collect();
        found.sort();
        found
    }

    pub(crate) async fn stop(self) {
        self.memory.close().await;
        drop(self.memory);
        self.store.close().await.unwrap();
    }
}

/// A collection of a tenant's, asked as clients ask: in JSON.
pub(crate) struct Own<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) scope: &'a Scope<Write>,
    pub(crate) name: CollectionName,
}

impl Own<'_> {
    pub(crate) async fn create(&self, schema: Value) {
        let schema = request::parse_create(&bytes(&schema), self.memory.settings()).unwrap();
        self.memory.of(self.scope).create(&self.name, schema).await.unwrap();
    }

    pub(crate) async fn index(&self, field: &str, schema: &str) {
        let body = json!({"field_name": field, "field_schema": schema});
        let (field, schema) = request::parse_index(&bytes(&body), self.memory.settings()).unwrap();
        self.memory.of(self.scope).create_index(&self.name, field, schema).await.unwrap();
    }

    /// Points `{"id", "vector", "payload"?}`.
    pub(crate) async fn try_put(&self, points: Vec<Value>) -> Result<Vec<Seq>, Error> {
        let body = json!({ "points": points });
        let put = request::parse_upsert(&bytes(&body), self.memory.settings()).unwrap();
        self.memory.of(self.scope).write(&self.name, vec![put]).await
    }

    pub(crate) async fn put(&self, points: Vec<Value>) {
        self.try_put(points).await.unwrap();
    }

    pub(crate) async fn delete(&self, which: Value) {
        let body = request::parse_delete(&bytes(&which), self.memory.settings()).unwrap();
        self.memory.of(self.scope).write(&self.name, vec![body]).await.unwrap();
    }

    pub(crate) async fn erase(&self, which: Value) -> u64 {
        let body = request::parse_delete(&bytes(&which), self.memory.settings()).unwrap();
        let request::Operation::Delete(which) = body else { unreachable!("it was asked for") };
        self.memory.of(self.scope).erase(&self.name, which).await.unwrap()
    }

    pub(crate) async fn rebuild(&self) {
        self.memory.of(self.scope).rebuild(&self.name).await.unwrap();
    }

    pub(crate) async fn drop_all(&self) -> bool {
        self.memory.of(self.scope).delete(&self.name).await.unwrap()
    }

    pub(crate) async fn try_query(&self, query: Value) -> Result<Vec<Record>, Error> {
        let query = request::parse_query(&bytes(&query), self.memory.settings())?;
        self.memory.of(self.scope).query(&self.name, query).await
    }

    pub(crate) async fn query(&self, query: Value) -> Vec<Record> {
        self.try_query(query).await.unwrap()
    }

    pub(crate) async fn groups(&self, groups: Value) -> Vec<Group> {
        let groups = request::parse_groups(&bytes(&groups), self.memory.settings()).unwrap();
        self.memory.of(self.scope).groups(&self.name, groups).await.unwrap()
    }

    /// Every point, page by page.
    pub(crate) async fn scroll(&self, filter: Value) -> Vec<Record> {
        let mut all = Vec::new();
        let mut body =
            json!({"limit": 100, "with_payload": true, "with_vector": true, "filter": filter});
        loop {
            let page = request::parse_scroll(&bytes(&body), self.memory.settings()).unwrap();
            let (records, next) =
                self.memory.of(self.scope).scroll(&self.name, page).await.unwrap();
            all.extend(records);
            let Some(next) = next else { return all };
            body["offset"] = next.json();
        }
    }

    pub(crate) async fn count(&self, filter: Value) -> u64 {
        let body = json!({"exact": true, "filter": filter});
        let count = request::parse_count(&bytes(&body), self.memory.settings()).unwrap();
        self.memory.of(self.scope).count(&self.name, count).await.unwrap()
    }

    pub(crate) async fn facet(&self, key: &str) -> Vec<(Value, u64)> {
        let body = json!({"key": key, "exact": true, "limit": 100});
        let facet = request::parse_facet(&bytes(&body), self.memory.settings()).unwrap();
        self.memory.of(self.scope).facet(&self.name, facet).await.unwrap()
    }

    pub(crate) async fn try_retrieve(&self, ids: &[u64]) -> Result<Vec<Record>, Error> {
        let body = json!({"ids": ids, "with_payload": true, "with_vector": true});
        let retrieve = request::parse_retrieve(&bytes(&body), self.memory.settings()).unwrap();
        self.memory.of(self.scope).retrieve(&self.name, retrieve).await
    }

    pub(crate) async fn retrieve(&self, ids: &[u64]) -> Vec<Record> {
        self.try_retrieve(ids).await.unwrap()
    }

    /// That index and rows agree in everything.
    pub(crate) async fn agree(&self, rows: u64) {
        let found = self.memory.of(self.scope).verify(&self.name).await.unwrap();
        assert_eq!((found.rows, found.missing, found.foreign, found.different), (rows, 0, 0, 0));
    }
}

pub(crate) fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// Dense vectors without a name.
pub(crate) fn dense(size: usize, distance: &str) -> Value {
    json!({"vectors": {"size": size, "distance": distance}})
}

pub(crate) fn point(id: u64, vector: &[f32], payload: Value) -> Value {
    json!({"id": id, "vector": vector, "payload": payload})
}

/// The ids that are numbers, in their order.
pub(crate) fn ids_of(records: &[Record]) -> Vec<u64> {
    let number = |record: &Record| match record.id {
        PointId::Num(number) => number,
        PointId::Uuid(_) => unreachable!("only numbers are used here"),
    };
    records.iter().map(number).collect()
}

/// Everything that a caller is told, to the last bit.
pub(crate) fn told(records: &[Record]) -> String {
    let one = |record: &Record| {
        let Record { id, version, score, order, payload, vectors } = record;
        let vectors = vectors.as_ref().map(|vectors| {
            let named = vectors.iter().map(|(name, vector)| (name.clone(), bits(vector)));
            named.collect::<Vec<_>>()
        });
        format!("{id} {version} {:08x} {order:?} {payload:?} {vectors:?}\n", score.to_bits())
    };
    records.iter().map(one).collect()
}

fn bits(vector: &bulkhead_memory::Vector) -> Vec<u32> {
    use bulkhead_memory::Vector;
    let of = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    match vector {
        Vector::Dense(values) => of(values),
        Vector::Sparse { indices, values } => [indices.clone(), of(values)].concat(),
        Vector::Multi(rows) => rows.iter().flat_map(|row| of(row)).collect(),
    }
}

pub(crate) fn directories(below: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
        .collect();
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a directory.
pub(crate) fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
