//! Indexes over real rows, a real vault and real doors.

mod distrust;
mod forgetting;
mod graphs;
mod order;
mod room;
mod shard;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ids::{Clock, ManualClock, Millis, OsEntropy};
use scope::{Scope, Write};
use serde_json::json;
use store::{Options, Store};
use testkit::Kit;
use vault::{FileRoot, Vault};

use super::{Lanes, Shard, Shards};
use crate::{
    Collection, CollectionName, Dense, Distance, MemorySettings, Payload, Point, PointId, Schema,
    Seq, Vector,
    truth::{Row, Truth},
};

/// Called at the steps of writing to the disk.
pub(super) type Step = Arc<dyn Fn(&'static str) + Send + Sync>;

const HOUR: Duration = Duration::from_secs(3_600);

/// Dimensions of every dense vector here.
const DIMENSIONS: usize = 8;

struct World {
    kit: Kit,
    clock: Arc<ManualClock>,
    vault: Vault,
    truth: Truth,
    settings: Arc<MemorySettings>,
    lanes: Lanes,
    shards: Shards,
    directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(MemorySettings { threads: 2, ..MemorySettings::default() }).await
    }

    async fn with(settings: MemorySettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let entropy = Arc::new(OsEntropy);
        let vault = Vault::create(&keys, root, clock.clone(), entropy.clone()).await.unwrap();
        let kit = Kit::new(clock.clone()).await;
        let options = Options::new(directory.path().join("data"));
        let store = Store::open(&options, clock.clone()).unwrap();
        let settings = Arc::new(settings);
        let truth = Truth::new(settings.clone(), store, vault.clone(), clock.clone(), entropy);
        let lanes = Lanes::start(&settings).unwrap();
        let index = directory.path().join("index");
        let shards =
            Shards::open_at(index, settings.clone(), vault.clone(), clock.clone(), lanes.clone())
                .unwrap();
        Self { kit, clock, vault, truth, settings, lanes, shards, directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("index")
    }

    /// As another process would find them there.
    fn shards_at(&self, root: PathBuf) -> Shards {
        let (settings, vault) = (self.settings.clone(), self.vault.clone());
        Shards::open_at(root, settings, vault, self.clock.clone(), self.lanes.clone()).unwrap()
    }

    /// Closes them in order, and starts again.
    async fn restart(&mut self) {
        self.shards.close().await;
        self.shards = self.shards_at(self.root());
    }

    async fn acme(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    async fn globex(&self) -> Scope<Write> {
        self.kit.scope("globex", "live").await
    }

    async fn collection(&self, scope: &Scope<Write>, name: &str) -> Collection {
        let dense = Dense { size: DIMENSIONS, distance: Distance::Dot, multi: false };
        let schema = Schema { vectors: [(String::new(), dense)].into(), ..Schema::default() };
        self.collection_of(scope, name, schema).await
    }

    async fn collection_of(&self, scope: &Scope<Write>, name: &str, schema: Schema) -> Collection {
        let name = CollectionName::parse(name).unwrap();
        let rows = self.truth.of(scope);
        assert!(rows.create(&name, schema).await.unwrap());
        rows.collection(&name).await.unwrap().unwrap()
    }

    async fn write(&self, scope: &Scope<Write>, collection: &Collection, rows: Vec<Row>) -> Seq {
        let head = self.truth.of(scope).head(collection).await.unwrap();
        self.truth.of(scope).commit(collection, head.seq, rows).await.unwrap().unwrap()
    }

    async fn put(&self, scope: &Scope<Write>, collection: &Collection, ids: std::ops::Range<u64>) {
        let rows = ids.map(|id| Row::Put(point(id))).collect();
        self.write(scope, collection, rows).await;
    }

    async fn delete(&self, scope: &Scope<Write>, of: &Collection, ids: std::ops::Range<u64>) {
        let rows = ids.map(|id| Row::Delete(PointId::Num(id))).collect();
        self.write(scope, of, rows).await;
    }

    async fn open(&self, scope: &Scope<Write>, collection: &Collection) -> Arc<Shard> {
        self.shards.open(&self.truth, scope, collection).await.unwrap()
    }

    /// Numbers of the points that the index has.
    async fn ids(&self, scope: &Scope<Write>, collection: &Collection) -> Vec<u64> {
        ids_of(&*self.open(scope, collection).await)
    }

    /// The directory of a collection's index.
    fn home(&self, scope: &Scope<Write>, collection: &Collection) -> PathBuf {
        home(&self.root(), scope, collection)
    }

    async fn tend(&self) -> usize {
        let now = self.clock.now();
        self.shards.tend(now).await + self.shards.renew(now).await
    }
}

fn home(root: &Path, scope: &Scope<Write>, collection: &Collection) -> PathBuf {
    let hex = ids::text::hex;
    root.join(hex(scope.partition_bytes())).join(hex(&collection.incarnation))
}

/// The files of the only generation in a directory.
fn generation(home: &Path) -> PathBuf {
    let found = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = found.filter(|path| path.is_dir()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn ids_of(shard: &Shard) -> Vec<u64> {
    let number = |id| match id {
        PointId::Num(n) => n,
        PointId::Uuid(_) => panic!("{id}"),
    };
    shard.scroll(None, None, 1_000_000).unwrap().into_iter().map(number).collect()
}

/// A vector of its own for each number.
fn vector(id: u64) -> Vec<f32> {
    let digest = blake3::hash(&id.to_le_bytes());
    let values = digest.as_bytes().chunks_exact(4).take(DIMENSIONS);
    values.map(|four| f32::from(four[0]) / 64.0 + f32::from(four[1]) / 16_384.0 - 2.0).collect()
}

fn point(id: u64) -> Point {
    let payload: Payload =
        json!({"n": id, "word": word(id), "text": secret(id)}).as_object().unwrap().clone();
    Point {
        id: PointId::Num(id),
        version: 0,
        vectors: [(String::new(), Vector::Dense(vector(id)))].into(),
        payload,
        subject: None,
        expires: None,
    }
}

/// Stands in the index for as long as its point does.
fn word(id: u64) -> String {
    format!("word-{}", blake3::hash(&id.to_be_bytes()).to_hex())
}

/// Stands in no index.
fn secret(id: u64) -> String {
    format!("secret-{}", blake3::hash(format!("secret {id}").as_bytes()).to_hex())
}

/// Everything that stands in the files below a directory.
struct Files(Vec<String>);

impl Files {
    fn of(root: &Path) -> Self {
        let mut files = Self(Vec::new());
        files.add(root);
        files
    }

    fn add(&mut self, root: &Path) {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add(&path);
                continue;
            }
            // Files of the engine are holes for the most part.
            let read = fs::read(&path).unwrap();
            let pages = read.chunks(4_096).filter(|page| **page != [0; 4_096][..page.len()]);
            self.0.push(text(&pages.collect::<Vec<_>>().concat()));
        }
    }

    fn hold(&self, bytes: &[u8]) -> bool {
        let bytes = text(bytes);
        self.0.iter().any(|file| file.contains(&bytes))
    }
}

/// A character for each byte: to search in text is fast in unoptimized tests, too.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn stands(root: &Path, bytes: &[u8]) -> bool {
    Files::of(root).hold(bytes)
}

/// As files have it.
fn bytes_of(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Copies a directory as a process that ends right now would leave it.
fn snapshot(root: &Path, to: &Path) {
    super::home::copy(root, to).unwrap();
}
