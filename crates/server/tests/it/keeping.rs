//! What becomes of collections in the life of a deployment: operators who mend and erase, tenants
//! that go, backups, restarts.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bulkhead_server::restore_with;
use http::Method;
use ids::OsEntropy;
use serde_json::{Value, json};

use super::rig::{ALL, Rig};

const BASE: &str = "/admin/v1/tenants/acme/environments/live/collections";
const CANARY: &str = "canary-of-a-payload";
/// A vector whose bytes are found if they are anywhere.
const VECTOR: [f32; 2] = [1234.567, -7654.321];

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all
}

/// The files that hold the canary's payload or its vector.
fn traces(dir: &Path) -> Vec<PathBuf> {
    let vector: Vec<u8> = VECTOR.iter().flat_map(|number| number.to_le_bytes()).collect();
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        has(CANARY.as_bytes()) || has(&vector)
    };
    files(dir).into_iter().filter(holds).collect()
}

/// A collection with one point of the canary, in its index by a query.
async fn canary(rig: &Rig, token: &str) {
    rig.collection(token, "docs").await;
    let body = json!({"points": [
        {"id": 1, "vector": VECTOR, "payload": {"topic": CANARY, "text": CANARY}},
        {"id": 2, "vector": [1.0, 0.0], "payload": {"topic": "plain"}},
    ]});
    rig.ask(token, "PUT", "/qdrant/collections/docs/points?wait=true", body).await.good();
    assert_eq!(found(rig, token).await, [1, 2]);
}

/// The ids that a query finds.
async fn found(rig: &Rig, token: &str) -> Vec<u64> {
    let body = json!({"query": VECTOR, "limit": 10});
    let reply = rig.ask(token, "POST", "/qdrant/collections/docs/points/query", body).await;
    let points = reply.good().json()["result"]["points"].clone();
    points.as_array().unwrap().iter().map(|point| point["id"].as_u64().unwrap()).collect()
}

fn data(rig: &Rig) -> PathBuf {
    rig.settings.storage.data.dir.clone()
}

#[tokio::test]
async fn an_erased_tenant_leaves_no_index() {
    let mut rig = Rig::start().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    canary(&rig, &a).await;
    canary(&rig, &b).await;
    let indexes = rig.settings.index_dir();
    let before = fs::read_dir(&indexes).unwrap().count();
    rig.admin(Method::POST, "/admin/v1/tenants/acme/suspend", Value::Null).await.good();
    let after = fs::read_dir(&indexes).unwrap().count();
    assert_eq!(after, before, "whoever is suspended keeps what it has");
    rig.admin(Method::DELETE, "/admin/v1/tenants/acme", Value::Null).await.good();
    let after = fs::read_dir(&indexes).unwrap().count();
    assert_eq!(after, before - 1, "one tenant's directory is gone");
    assert_eq!(found(&rig, &b).await, [1, 2], "and nobody else's");
    rig.admin(Method::DELETE, "/admin/v1/tenants/globex", Value::Null).await.good();
    rig.stop().await;
    assert_eq!(traces(&data(&rig)), Vec::<PathBuf>::new());
}

/// The positive control of the hunt above: an index does hold what it filters and ranks by.
#[tokio::test]
async fn an_index_holds_what_it_ranks_by_and_no_content() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    canary(&rig, &token).await;
    rig.stop().await;
    let traces = traces(&data(&rig));
    let indexes = rig.settings.index_dir();
    assert!(!traces.is_empty(), "the hunt can find");
    assert!(traces.iter().all(|path| path.starts_with(&indexes)), "{traces:?}");
    rig.serve_again().await;
    rig.collection(&token, "sealed").await;
    rig.point(&token, "sealed", json!(1), json!({"text": "only-as-content"})).await.good();
    let body = json!({"query": [1.0, 0.0]});
    rig.ask(&token, "POST", "/qdrant/collections/sealed/points/query", body).await.good();
    rig.stop().await;
    for path in files(&data(&rig)) {
        let bytes = fs::read(&path).unwrap();
        let content = b"only-as-content";
        let found = bytes.windows(content.len()).any(|window| window == content);
        assert!(!found, "{}", path.display());
    }
}

/// What was deleted by an operator is gone from every file when the answer comes.
#[tokio::test]
async fn an_operator_erases_points_a_match_and_a_collection() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let erase =
        async |body: Value| rig.admin(Method::POST, &format!("{BASE}/docs/erase"), body).await;
    canary(&rig, &token).await;
    let filter = json!({"must": [{"key": "topic", "match": {"value": CANARY}}]});
    for what in [json!({"points": [1]}), json!({"filter": filter})] {
        let erased = erase(what).await.good().json();
        assert_eq!(erased, json!({"erased": 1, "collection": false}));
        assert_eq!(traces(&rig.settings.index_dir()), Vec::<PathBuf>::new());
        assert_eq!(found(&rig, &token).await, [2]);
        let point = json!({"topic": CANARY});
        let body = json!({"points": [{"id": 1, "vector": VECTOR, "payload": point}]});
        rig.ask(&token, "PUT", "/qdrant/collections/docs/points?wait=true", body).await.good();
        assert_eq!(found(&rig, &token).await, [1, 2]);
    }
    for unclear in [json!({}), json!({"all": true, "points": [1]}), json!({"everything": true})] {
        erase(unclear).await.refused(400, "request.malformed");
    }
    let erased = erase(json!({"all": true})).await.good().json();
    assert_eq!(erased, json!({"erased": 2, "collection": true}));
    erase(json!({"all": true})).await.refused(404, "memory.no_collection");
    rig.get(&token, "/qdrant/collections/docs").await.refused(404, "memory.no_collection");
    rig.stop().await;
    assert_eq!(traces(&data(&rig)), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_operator_sees_what_collections_take_and_mends_them() {
    let rig = Rig::start().await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    canary(&rig, &a).await;
    rig.collection(&b, "theirs").await;
    let get = async |path: &str| {
        rig.admin(Method::GET, &format!("{BASE}{path}"), Value::Null).await.good().json()
    };
    rig.collection(&a, "another").await;
    let page = get("?limit=1").await;
    assert_eq!((&page["items"][0]["name"], &page["next"]), (&json!("another"), &json!("another")));
    let rest = get("?after=another").await;
    assert_eq!((&rest["items"][0]["name"], &rest["next"]), (&json!("docs"), &Value::Null));
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "{rest}");
    let docs = get("/docs").await;
    assert_eq!((&docs["points"], &docs["index"]["open"]), (&json!(2), &json!(true)));
    assert!(docs["index"]["bytes"].as_u64().unwrap() > 0, "{docs}");
    assert_eq!(docs["config"]["vectors"], json!({"size": 2, "distance": "Dot"}));
    assert_eq!(docs["payload_schema"]["topic"]["data_type"], "keyword");
    assert!(!docs.to_string().contains(CANARY));
    let good = json!({"rows": 2, "missing": 0, "foreign": 0, "different": 0, "good": true});
    assert_eq!(get("/docs/verify").await, good);
    let path = format!("{BASE}/docs/rebuild");
    let rebuilt = rig.admin(Method::POST, &path, Value::Null).await.good().json();
    assert_eq!(rebuilt["points"], 2);
    assert_eq!((get("/docs/verify").await, found(&rig, &a).await), (good, vec![1, 2]));

    // As an adoption does.
    let body = json!({"vectors": {"size": 2, "distance": "Dot"}});
    let path = format!("{BASE}/adopted");
    let made = rig.admin(Method::PUT, &path, body.clone()).await;
    assert_eq!((made.status, made.json()), (201, json!({"created": true})));
    let again = rig.admin(Method::PUT, &path, body).await;
    assert_eq!((again.status, again.json()), (200, json!({"created": false})));
    let points = json!({"points": [{"id": 5, "vector": [1.0, 2.0], "payload": {"k": 1}}]});
    let path = format!("{BASE}/adopted/points");
    let put = rig.admin(Method::PUT, &path, points.clone()).await.good().json();
    assert_eq!(put["points"], 1);
    let one = rig.get(&a, "/qdrant/collections/adopted/points/5").await.good().json();
    assert_eq!(one["result"]["payload"], json!({"k": 1}));
    rig.get(&b, "/qdrant/collections/adopted").await.refused(404, "memory.no_collection");

    // All of it is in the tenant's own log, with the reason, and nowhere else's.
    let told: Vec<_> = rig
        .audit("acme", "live")
        .await
        .iter()
        .filter(|entry| entry["actor"] == "operator:ada")
        .filter(|entry| entry["action"].as_str().unwrap().starts_with("collection."))
        .map(|entry| (entry["action"].clone(), entry["target"].clone(), entry["reason"].clone()))
        .collect();
    let entry = |action: &str, target: &str| (json!(action), json!(target), json!("a test"));
    assert_eq!(
        told,
        [
            entry("collection.rebuild", "docs"),
            entry("collection.create", "adopted"),
            entry("collection.create", "adopted"),
            entry("collection.put", "adopted"),
        ]
    );
    let others = rig.audit("globex", "live").await;
    assert!(others.iter().all(|entry| entry["action"] != "collection.put"), "{others:#?}");

    // Who may change and not enter changes nothing in there.
    let eve = json!({"name": "eve", "rights": ["read", "write"]});
    let eve = rig.admin(Method::POST, "/admin/v1/operators", eve).await.good().json();
    let eve = eve["secret"].as_str().unwrap();
    rig.admin_as(eve, Method::PUT, &path, points).await.refused(403, "scope.grant");
    let all = json!({"all": true});
    let path = format!("{BASE}/docs/erase");
    rig.admin_as(eve, Method::POST, &path, all.clone()).await.refused(403, "scope.grant");
    // Nor does whoever does not say why.
    let bearer = format!("Bearer {}", rig.operator);
    let plane = bulkhead_server::routes::Plane::Control;
    let headers = [("authorization", bearer.as_str())];
    let unsaid = rig.send(plane, Method::POST, &path, &headers, all.to_string()).await;
    unsaid.refused(400, "request.malformed");
    assert_eq!(found(&rig, &a).await, [1, 2]);
}

/// Indexes are no part of a backup, and what was in them before is not served after.
#[tokio::test]
async fn a_restore_begins_without_indexes() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    canary(&rig, &token).await;
    let backup = rig.dir.path().join("backup");
    rig.admin(Method::POST, "/admin/v1/backup", json!({"path": backup})).await.good();
    assert!(
        traces(&backup).is_empty()
            && backup.read_dir().unwrap().all(|e| e.unwrap().path().is_file())
    );
    let within = json!({"path": rig.settings.index_dir().join("backup")});
    rig.admin(Method::POST, "/admin/v1/backup", within).await.refused(400, "request.malformed");
    // What came after the backup is in the index, and not in what is restored.
    rig.point(&token, "docs", json!(3), json!({"topic": "later"})).await.good();
    assert_eq!(found(&rig, &token).await.len(), 3);
    rig.stop().await;
    for file in fs::read_dir(data(&rig)).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    let indexes = rig.settings.index_dir();
    let mut left = fs::read_dir(&indexes).expect("left where it was").map(|e| e.unwrap().path());
    let left = left.find(|path| path.file_name().is_some_and(|name| name.len() == 64)).unwrap();
    fs::write(left.join("left"), b"over").unwrap();
    restore_with(&rig.settings, &backup, rig.clock.clone(), Arc::new(OsEntropy)).await.unwrap();
    assert!(!left.exists());
    rig.serve_again().await;
    let token = rig.token("acme", "live", ALL).await;
    assert_eq!(found(&rig, &token).await, [1, 2]);
}

/// After a restart everything is as it was, whatever became of the indexes.
#[tokio::test]
async fn indexes_can_be_removed_at_any_time() {
    let mut rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    canary(&rig, &token).await;
    rig.stop().await;
    rig.serve_again().await;
    assert_eq!(found(&rig, &token).await, [1, 2]);
    rig.stop().await;
    fs::remove_dir_all(rig.settings.index_dir()).unwrap();
    rig.serve_again().await;
    assert_eq!(found(&rig, &token).await, [1, 2]);
    let status = rig.admin(Method::GET, "/admin/v1/status", Value::Null).await.good().json();
    assert_eq!(status["memory"]["open"], 1, "{status}");
    assert!(status["memory"]["queries"].as_u64().unwrap() > 0, "{status}");
    let figures = rig.admin(Method::GET, "/metrics", Value::Null).await.good().text();
    for family in ["open_indexes 1", "indexes_distrusted_total 0", "background_waiting 0"] {
        assert!(figures.contains(&format!("bulkhead_memory_{family}")), "{family}: {figures}");
    }
}
