//! A collection of Qdrant's becomes one of each tenant's own, and nobody gets what is not
//! certainly theirs. Source and deployment are stand-ins that write down what they are asked.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::deployment::{Told, bulkhead};

/// A request as it came, without its reason.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    key: String,
    body: Value,
}

/// A Qdrant with one collection `docs`, and the admin API of a deployment.
#[derive(Default)]
struct World {
    seen: Vec<Seen>,
    info: Value,
    points: Vec<Value>,
    /// What each tenant has, by id.
    kept: BTreeMap<String, BTreeMap<String, Value>>,
    indexes: usize,
    /// So many requests that put points go well, and then none.
    puts: Option<usize>,
    redirects: bool,
}

struct StandIn {
    url: String,
    world: Arc<Mutex<World>>,
    dir: TempDir,
}

/// Points of two tenants, and one of each kind that is nobody's.
fn points() -> Vec<Value> {
    let payloads = [
        json!({"tenant_id": "acme", "page_content": "a", "n": null}),
        json!({"tenant_id": "org_globex", "page_content": "b"}),
        json!({"tenant_id": ["acme", "globex"], "page_content": "of both"}),
        json!({"page_content": "nobody's"}),
        json!({"tenant_id": "Acme"}),
        json!({"tenant_id": ["globex", null]}),
        json!({"tenant_id": 1.5}),
        json!({"tenant_id": ["acme"]}),
        json!({"tenant_id": 42}),
        json!({"tenant_id": "nowhere"}),
        json!({"tenant_id": null}),
        json!({"tenant_id": "globex"}),
    ];
    let point =
        |(id, payload): (usize, Value)| json!({"id": id, "payload": payload, "vector": [0.1, 0.2]});
    payloads.into_iter().enumerate().map(point).collect()
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({
            "params": {"vectors": {"size": 2, "distance": "Cosine"}, "shard_number": 1},
            "hnsw_config": {"m": 0, "payload_m": 16, "ef_construct": 100},
        });
        let keyword =
            json!({"data_type": "keyword", "params": {"type": "keyword", "is_tenant": true}});
        let info =
            json!({"config": config, "points_count": 12, "payload_schema": {"tenant_id": keyword}});
        let world = Arc::new(Mutex::new(World { info, points: points(), ..World::default() }));
        let shared = Arc::clone(&world);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let world = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &world));
            }
        });
        Self { url, world, dir: tempfile::tempdir().unwrap() }
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    fn seen(&self) -> Vec<Seen> {
        self.world.lock().unwrap().seen.clone()
    }

    /// Ids that a tenant has, of all that it has.
    fn ids(&self, tenant: &str) -> Vec<String> {
        let world = self.world.lock().unwrap();
        world.kept.get(tenant).map(|kept| kept.keys().cloned().collect()).unwrap_or_default()
    }

    fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("bulkhead-adopt-docs.json")
    }

    fn adopt(&self, more: &[&str]) -> Told {
        let mut command = bulkhead();
        command
            .args(["collection", "adopt", "--collection", "docs", "--tenant-field", "tenant_id"])
            .args(["--batch", "3", "--from", &self.url, "--url", &self.url])
            .args(["--from-api-key", "env:SOURCE_KEY"])
            .args(more)
            .env("BULKHEAD_OPERATOR_TOKEN", "bo_an_operator")
            .env("SOURCE_KEY", "the-key-of-the-source")
            .current_dir(self.dir.path());
        Told::of(command.output().unwrap())
    }
}

fn serve(stream: TcpStream, world: &Mutex<World>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if !matches!(reader.read_line(&mut first), Ok(read) if read > 0) {
            return;
        }
        let (mut length, mut key) = (0, String::new());
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "api-key" | "authorization" => key.push_str(value.trim()),
                _ => {}
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut words = first.split(' ');
        let method = words.next().unwrap().to_owned();
        let path = words.next().unwrap().split('?').next().unwrap().to_owned();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let seen = Seen { method, path, key, body };
        let mut world = world.lock().unwrap();
        let (status, answer) = world.answer(&seen);
        world.seen.push(seen);
        drop(world);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nlocation: /collections/docs\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if reader.get_mut().write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

impl World {
    fn answer(&mut self, seen: &Seen) -> (u16, Value) {
        let path: Vec<&str> = seen.path.trim_start_matches('/').split('/').collect();
        match (seen.method.as_str(), &path[..]) {
            _ if self.redirects && path[0] == "collections" => (302, Value::Null),
            ("GET", ["collections", "docs"]) => (200, json!({"status": "ok", "result": self.info})),
            ("POST", ["collections", "docs", "points", "scroll"]) => (200, self.scroll(&seen.body)),
            ("GET", ["admin", "v1", "tenants"]) => {
                let tenant = |id: &str, aliases: &[&str], environments: &[&str]| json!({"id": id, "aliases": aliases, "environments": environments, "status": "active"});
                let items = [
                    tenant("acme", &["42"], &["live"]),
                    tenant("globex", &["org_globex"], &["live"]),
                    tenant("nowhere", &[], &["staging"]),
                ];
                (200, json!({"items": items, "next": null}))
            }
            (
                method,
                [
                    "admin",
                    "v1",
                    "tenants",
                    tenant,
                    "environments",
                    "live",
                    "collections",
                    "docs",
                    rest @ ..,
                ],
            ) => self.collection(method, tenant, rest, &seen.body),
            _ => (404, json!({"code": "not_found", "title": "no such thing"})),
        }
    }

    fn scroll(&self, ask: &Value) -> Value {
        let (from, limit) = (ask["offset"].as_u64().unwrap_or(0), ask["limit"].as_u64().unwrap());
        let page: Vec<_> = self.points.iter().filter(|p| p["id"].as_u64() >= Some(from)).collect();
        let next = page.get(usize::try_from(limit).unwrap()).map(|point| point["id"].clone());
        let page: Vec<_> = page.into_iter().take(usize::try_from(limit).unwrap()).collect();
        json!({"status": "ok", "result": {"points": page, "next_page_offset": next}})
    }

    fn collection(
        &mut self,
        method: &str,
        tenant: &str,
        rest: &[&str],
        body: &Value,
    ) -> (u16, Value) {
        match (method, rest) {
            ("PUT", []) => {
                assert_eq!(body["vectors"], json!({"size": 2, "distance": "Cosine"}));
                assert_eq!(body["hnsw_config"]["m"], 16, "its own graph");
                let created = !self.kept.contains_key(tenant);
                self.kept.entry(tenant.to_owned()).or_default();
                (200, json!({ "created": created }))
            }
            ("GET", []) => {
                let points = self.kept[tenant].len();
                let config = json!({"vectors": {"size": 2, "distance": "Cosine"}});
                (200, json!({"name": "docs", "points": points, "config": config}))
            }
            ("PUT", ["index"]) => {
                assert_eq!(*body, json!({"field_name": "tenant_id", "field_schema": "keyword"}));
                self.indexes += 1;
                (200, json!({"seq": 1}))
            }
            ("PUT", ["points"]) => {
                match &mut self.puts {
                    Some(0) => {
                        return (507, json!({"code": "store.full", "title": "the disk is full"}));
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
                let points = body["points"].as_array().unwrap();
                let kept = self.kept.get_mut(tenant).unwrap();
                for point in points {
                    kept.insert(point["id"].to_string(), point.clone());
                }
                (200, json!({"points": points.len(), "seq": 2}))
            }
            _ => (404, json!({"code": "not_found", "title": "no such thing"})),
        }
    }
}

fn puts(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.method == "PUT").count()
}

#[test]
fn nobody_is_given_what_is_not_certainly_theirs() {
    let stand_in = StandIn::start();
    let told = stand_in.adopt(&["--report", "left.jsonl", "--json"]);
    assert_eq!(told.status, 4, "something was left out: {told:?}");
    assert_eq!(stand_in.ids("acme"), ["0", "7", "8"]);
    assert_eq!(stand_in.ids("globex"), ["1", "11"]);
    assert!(stand_in.ids("nowhere").is_empty());
    let kept = stand_in.world.lock().unwrap().kept["acme"]["0"].clone();
    let whole = json!({"tenant_id": "acme", "page_content": "a", "n": null});
    assert_eq!(kept, json!({"id": 0, "vector": [0.1, 0.2], "payload": whole}));

    let found = told.json();
    assert_eq!((&found["read"], &found["taken"]), (&json!(12), &json!(5)), "{found}");
    let left = json!({
        "no_value": {"points": 2, "ids": [3, 10]},
        "several_values": {"points": 2, "ids": [2, 5]},
        "unknown_tenant": {"points": 1, "ids": [4]},
        "not_text_or_integer": {"points": 1, "ids": [6]},
        "no_such_environment": {"points": 1, "ids": [9]},
    });
    assert_eq!(found["left_out"], left);
    let lines = fs::read_to_string(stand_in.dir.path().join("left.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 7);
    assert!(lines.contains(&json!({"id": 4, "why": "unknown_tenant", "value": "Acme"})));

    for seen in stand_in.seen() {
        let source = seen.path.starts_with("/collections");
        let key = if source { "the-key-of-the-source" } else { "Bearer bo_an_operator" };
        assert_eq!(seen.key, key, "each its own: {}", seen.path);
    }
    assert!(!told.out.contains("the-key-of") && !told.err.contains("the-key-of"), "{told:?}");
    assert_eq!(stand_in.world.lock().unwrap().indexes, 2);

    let asked = stand_in.seen().len();
    let again = stand_in.adopt(&["--report", "left.jsonl"]);
    assert!(again.status == 4 && again.err.contains("done already"), "{again:?}");
    assert_eq!(puts(&stand_in.seen()[asked..]), 0);
}

#[test]
fn it_goes_on_where_it_stopped() {
    // Cut off at each request that puts points: in the first page, twice, and in later ones.
    for (puts, offset) in [(0, Value::Null), (1, Value::Null), (2, json!(6)), (3, json!(9))] {
        let stand_in = StandIn::start();
        stand_in.change(|world| world.puts = Some(puts));
        let cut = stand_in.adopt(&["--report", "left.jsonl"]);
        assert_eq!(cut.status, 1, "{cut:?}");
        assert!(cut.err.contains("store.full"), "{cut:?}");
        let state: Value = serde_json::from_slice(&fs::read(stand_in.state()).unwrap()).unwrap();
        assert_eq!((&state["offset"], &state["done"]), (&offset, &json!(false)), "{state}");

        stand_in.change(|world| {
            world.puts = None;
            world.seen.clear();
        });
        let told = stand_in.adopt(&["--report", "left.jsonl", "--json"]);
        assert_eq!(told.status, 4, "{told:?}");
        let seen = stand_in.seen();
        let first = seen.iter().find(|seen| seen.path.ends_with("scroll")).unwrap();
        assert_eq!(first.body["offset"], offset, "what is done is not read again");
        assert_eq!(stand_in.ids("acme"), ["0", "7", "8"]);
        assert_eq!(stand_in.ids("globex"), ["1", "11"]);
        let found = told.json();
        assert_eq!((&found["read"], &found["taken"]), (&json!(12), &json!(5)), "{found}");
        let lines = fs::read_to_string(stand_in.dir.path().join("left.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 7, "none twice: {lines}");
    }
}

#[test]
fn a_rehearsal_writes_nothing() {
    let stand_in = StandIn::start();
    let told = stand_in.adopt(&["--dry-run"]);
    assert_eq!(told.status, 4, "{told:?}");
    assert!(told.out.contains("would adopt 5 of 12 points"), "{told:?}");
    assert!(told.out.contains("left out, several values: 2 (2, 5)"), "{told:?}");
    assert_eq!(puts(&stand_in.seen()), 0);
    assert!(!stand_in.state().exists());
    // The points, without what they mean.
    let seen = stand_in.seen();
    assert!(
        seen.iter().filter(|s| s.path.ends_with("scroll")).all(|s| s.body["with_vector"] == false)
    );
}

#[test]
fn what_is_there_is_not_mixed_with_what_comes() {
    let stand_in = StandIn::start();
    let theirs = BTreeMap::from([("99".to_owned(), json!({"id": 99}))]);
    stand_in.change(|world| drop(world.kept.insert("acme".into(), theirs)));
    let told = stand_in.adopt(&[]);
    assert_eq!(told.status, 1, "{told:?}");
    assert!(told.err.contains("with 1 points") && told.err.contains("--into-existing"), "{told:?}");
    assert_eq!(stand_in.ids("acme"), ["99"]);
    let told = stand_in.adopt(&["--into-existing"]);
    assert_eq!(told.status, 4, "{told:?}");
    assert_eq!(stand_in.ids("acme"), ["0", "7", "8", "99"]);
}

#[test]
fn another_adoptions_state_and_what_cannot_be_taken_stop_it_at_once() {
    let stand_in = StandIn::start();
    assert_eq!(stand_in.adopt(&[]).status, 4);
    let other = stand_in.adopt(&["--to", "others"]);
    assert_eq!(other.status, 1, "{other:?}");
    assert!(other.err.contains("another adoption: its collection is docs"), "{other:?}");
    fs::remove_file(stand_in.state()).unwrap();

    let stand_in = StandIn::start();
    stand_in.change(|world| {
        world.info["config"]["quantization_config"] = json!({"scalar": {"type": "int8"}});
    });
    let told = stand_in.adopt(&[]);
    assert_eq!((told.status, puts(&stand_in.seen())), (1, 0), "{told:?}");
    assert!(told.err.contains("quantization_config") && told.err.contains("--without"), "{told:?}");
    let told = stand_in.adopt(&["--without", "quantization"]);
    assert!(told.status == 4 && told.out.contains("not taken: quantization_config"), "{told:?}");

    let stand_in = StandIn::start();
    stand_in.change(|world| world.redirects = true);
    let told = stand_in.adopt(&[]);
    assert_eq!((told.status, puts(&stand_in.seen())), (1, 0), "{told:?}");
    assert!(told.err.contains("a redirect, which is not followed"), "{told:?}");
    assert_eq!(stand_in.seen().len(), 1, "nobody went there");
}
