//! Collections by the command line: seen, verified, made again, erased; and adopted from a
//! source that is a Qdrant to whoever asks it.

use std::fs;

use serde_json::{Value, json};

use super::deployment::{Deployment, client, send};

const DOCS: &str = "/qdrant/collections/docs";
const WHOM: [&str; 4] = ["--tenant", "acme", "--environment", "live"];

fn deployment(tenants: &[&str]) -> Deployment {
    let deployment = Deployment::started("http://127.0.0.1:9/v1");
    for tenant in tenants {
        deployment.run(&["tenant", "create", tenant, "--environment", "live"]);
    }
    deployment
}

fn token(deployment: &Deployment, tenant: &str) -> String {
    let mint = ["access", "token", "-t", tenant, "-e", "live", "-w", "support"];
    let told = deployment.run(&[&mint[..], &["--grants", "memory:*"]].concat());
    told.out.trim().to_owned()
}

async fn ask(deployment: &Deployment, who: &str, how: &str, path: &str, body: Value) -> Value {
    let body = (!body.is_null()).then_some(body);
    let got = send(&client(), how, deployment.data(path), who, body).await.unwrap();
    assert_eq!(got.status, 200, "{how} {path}: {got:?}");
    got.json["result"].clone()
}

/// A collection `docs` with so many points, whose payloads these are.
async fn fill(deployment: &Deployment, who: &str, payloads: &[Value]) {
    let shape = json!({"vectors": {"size": 2, "distance": "Cosine"}, "sparse_vectors": {"s": {"modifier": "idf"}}});
    ask(deployment, who, "PUT", DOCS, shape).await;
    let index =
        json!({"field_name": "tenant_id", "field_schema": {"type": "keyword", "is_tenant": true}});
    ask(deployment, who, "PUT", &format!("{DOCS}/index?wait=true"), index).await;
    let point = |(id, payload): (usize, &Value)| {
        let sparse = json!({"indices": [id], "values": [1.0]});
        json!({"id": id, "vector": {"": [1.0, id], "s": sparse}, "payload": payload})
    };
    let points: Vec<Value> = payloads.iter().enumerate().map(point).collect();
    ask(deployment, who, "PUT", &format!("{DOCS}/points?wait=true"), json!({ "points": points }))
        .await;
}

async fn ids(deployment: &Deployment, who: &str) -> Vec<Value> {
    let page = json!({"limit": 100, "with_payload": true, "with_vector": true});
    let found = ask(deployment, who, "POST", &format!("{DOCS}/points/scroll"), page).await;
    found["points"].as_array().unwrap().clone()
}

fn of(deployment: &Deployment, what: &[&str]) -> super::deployment::Told {
    deployment.run(&[&["collection"], what, &WHOM].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_seen_verified_made_again_and_erased() {
    let deployment = deployment(&["acme", "globex"]);
    let acme = token(&deployment, "acme");
    let payloads: Vec<Value> = (0..9).map(|n| json!({"n": n, "page_content": "sealed"})).collect();
    fill(&deployment, &acme, &payloads).await;

    let list = of(&deployment, &["list"]).out;
    assert!(list.lines().nth(1).unwrap().starts_with("docs        9 "), "{list}");
    let show = of(&deployment, &["show", "docs"]).out;
    for shown in ["2 × Cosine", "s: idf", "tenant_id (keyword)"] {
        assert!(show.contains(shown), "{shown}: {show}");
    }
    assert!(!show.contains("sealed"), "never a point: {show}");
    let verified = of(&deployment, &["verify", "docs", "--json"]).json();
    assert_eq!((&verified["rows"], &verified["good"]), (&json!(9), &json!(true)), "{verified}");
    let rebuilt = of(&deployment, &["rebuild", "docs"]).out;
    assert!(rebuilt.contains("docs again: 9 points"), "{rebuilt}");

    let one =
        [&["collection", "erase", "docs", "--id", "3", "--reason", "asked"][..], &WHOM].concat();
    let unsure = deployment.tell(&one);
    assert_eq!(unsure.status, 2, "it cannot be undone: {unsure:?}");
    assert_eq!(ids(&deployment, &acme).await.len(), 9);
    let erased = deployment.run(&[&one[..], &["--yes"]].concat()).out;
    assert!(erased.contains("erased 1 points of docs"), "{erased}");
    let filter = r#"{"must":[{"key":"n","range":{"gte":6}}]}"#;
    let some = ["erase", "docs", "--yes", "--reason", "asked", "--filter", filter];
    assert!(of(&deployment, &some).out.contains("erased 3 points"), "6, 7 and 8");
    let left: Vec<Value> = ids(&deployment, &acme).await.iter().map(|p| p["id"].clone()).collect();
    assert_eq!(left, [0, 1, 2, 4, 5]);
    assert!(of(&deployment, &["verify", "docs"]).out.contains("5 rows"), "and the index is theirs");
    let all = of(&deployment, &["erase", "docs", "--all", "--yes", "--reason", "asked"]).out;
    assert!(all.contains("and the collection"), "{all}");
    let gone = deployment.tell(&[&["collection", "show", "docs"][..], &WHOM].concat());
    assert!(gone.status == 1 && gone.err.contains("memory.no_collection"), "{gone:?}");

    let other = deployment.run(&["collection", "list", "-t", "globex", "-e", "live"]).out;
    assert_eq!(other.lines().count(), 1, "{other}");
    let log = deployment.run(&[&["audit", "list", "--reason", "looking"][..], &WHOM].concat()).out;
    assert!(log.contains("collection.erase") && log.contains("asked"), "{log}");
    let doctor = deployment.run(&["doctor"]).out;
    assert!(doctor.contains("indexes") && doctor.contains("open files"), "{doctor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_for_all_becomes_one_of_each() {
    let deployment = deployment(&["acme", "globex", "pool"]);
    let pool = token(&deployment, "pool");
    let payloads = [
        json!({"tenant_id": "acme", "page_content": "of acme"}),
        json!({"tenant_id": "globex", "page_content": "of globex"}),
        json!({"tenant_id": ["acme", "globex"], "page_content": "of both"}),
        json!({"tenant_id": ["acme"], "nested": {"deep": [1, null]}}),
        json!({"page_content": "of nobody"}),
    ];
    fill(&deployment, &pool, &payloads).await;
    let key = deployment.path().join("pool.token");
    fs::write(&key, &pool).unwrap();
    let (from, key) = (deployment.data("/qdrant"), key.to_str().unwrap().to_owned());
    let state = deployment.path().join("state.json");
    let adopt = [
        "collection",
        "adopt",
        "--from",
        &from,
        "--from-api-key",
        &key,
        "--collection",
        "docs",
        "--tenant-field",
        "tenant_id",
        "--batch",
        "2",
        "--state",
        state.to_str().unwrap(),
        "--json",
    ];
    let told = deployment.tell(&adopt);
    assert_eq!(told.status, 4, "{told:?}");
    let found = told.json();
    assert_eq!(found["left_out"]["several_values"], json!({"points": 1, "ids": [2]}), "{found}");
    assert_eq!(found["left_out"]["no_value"], json!({"points": 1, "ids": [4]}), "{found}");

    let source = ids(&deployment, &pool).await;
    for (tenant, own) in [("acme", &[0, 3][..]), ("globex", &[1])] {
        let who = token(&deployment, tenant);
        let expected: Vec<Value> = own.iter().map(|at| source[*at].clone()).collect();
        assert_eq!(ids(&deployment, &who).await, expected, "{tenant}: whole, and nothing else");
        let info = ask(&deployment, &who, "GET", DOCS, Value::Null).await;
        assert_eq!(info["payload_schema"]["tenant_id"]["data_type"], "keyword", "{info}");
        let whom = ["-t", tenant, "-e", "live"];
        deployment.run(&[&["collection", "verify", "docs"][..], &whom].concat());
    }
    let rights = deployment.run(&[&["audit", "list", "--reason", "looking"][..], &WHOM].concat());
    assert!(rights.out.contains("collection.put"), "{rights:?}");
}
