//! `/qdrant`: what clients of Qdrant send, and what they get.

use bulkhead_server::routes::Plane;
use http::Method;
use serde_json::{Value, json};

use super::rig::{ALL, Rig};

const DOCS: &str = "/qdrant/collections/docs";

/// Points 1 to 3, each nearer to `[1, 0]` than the next.
async fn filled(rig: &Rig, token: &str) {
    rig.collection(token, "docs").await;
    let body = json!({"points": [
        {"id": 1, "vector": {"": [3.0, 0.0], "words": {"indices": [1], "values": [1.0]}},
            "payload": {"topic": "a", "n": 1, "page_content": "the first"}},
        {"id": 2, "vector": [2.0, 0.5], "payload": {"topic": "b", "n": 2}},
        {"id": "00000000-0000-0000-0000-0000000000ff", "vector": [1.0, 1.0],
            "payload": {"topic": "a", "n": 3}},
    ]});
    let put = rig.ask(token, "PUT", &format!("{DOCS}/points?wait=true"), body).await.good().json();
    assert_eq!(put["result"]["status"], "completed", "{put}");
}

/// Result of a good answer, whose envelope is as clients want it.
#[track_caller]
fn result(reply: super::rig::Reply) -> Value {
    let mut json = reply.good().json();
    assert_eq!(json["status"], "ok", "{json}");
    assert!(json["time"].is_f64(), "{json}");
    json["result"].take()
}

#[tokio::test]
async fn a_collection_is_made_told_changed_and_removed() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let ask =
        async |method: &str, path: &str, body: Value| rig.ask(&token, method, path, body).await;
    let whole = json!({
        "vectors": {"": {"size": 3, "distance": "Cosine"},
            "many": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        "sparse_vectors": {"words": {"modifier": "idf"}},
        "hnsw_config": {"m": 8, "ef_construct": 50},
        "metadata": {"made": "here"},
    });
    assert_eq!(result(ask("GET", &format!("{DOCS}/exists"), Value::Null).await)["exists"], false);
    assert_eq!(result(ask("PUT", DOCS, whole.clone()).await), true);
    let exists = ask("PUT", DOCS, whole).await.refused(409, "memory.exists");
    assert!(exists.text().contains("already exists"), "{}", exists.text());
    assert_eq!(result(ask("GET", &format!("{DOCS}/exists"), Value::Null).await)["exists"], true);
    let listed = result(ask("GET", "/qdrant/collections", Value::Null).await);
    assert_eq!(listed, json!({"collections": [{"name": "docs"}]}));

    let info = result(ask("GET", DOCS, Value::Null).await);
    assert_eq!((&info["status"], &info["optimizer_status"]), (&json!("green"), &json!("ok")));
    assert_eq!((&info["points_count"], &info["segments_count"]), (&json!(0), &json!(1)));
    let config = &info["config"];
    assert_eq!(config["params"]["vectors"]["many"]["multivector_config"]["comparator"], "max_sim");
    assert_eq!(config["params"]["vectors"][""], json!({"size": 3, "distance": "Cosine"}));
    assert_eq!(config["params"]["sparse_vectors"], json!({"words": {"modifier": "idf"}}));
    assert_eq!(
        (&config["hnsw_config"]["m"], &config["metadata"]["made"]),
        (&json!(8), &json!("here"))
    );
    for needed in ["full_scan_threshold", "ef_construct"] {
        assert!(config["hnsw_config"][needed].is_u64(), "{config}");
    }
    for needed in ["default_segment_number", "flush_interval_sec"] {
        assert!(config["optimizer_config"][needed].is_u64(), "{config}");
    }
    assert_eq!(info["payload_schema"], json!({}));

    let index = json!({"field_name": "topic", "field_schema": "keyword"});
    let made = result(ask("PUT", &format!("{DOCS}/index?wait=true"), index).await);
    assert_eq!(made["status"], "completed", "{made}");
    let info = result(ask("GET", DOCS, Value::Null).await);
    assert_eq!(info["payload_schema"]["topic"]["data_type"], "keyword", "{info}");
    assert_eq!(info["payload_schema"]["topic"]["points"], 0, "{info}");
    let gone = result(ask("DELETE", &format!("{DOCS}/index/topic"), Value::Null).await);
    assert_eq!(gone["status"], "acknowledged", "{gone}");
    assert_eq!(result(ask("GET", DOCS, Value::Null).await)["payload_schema"], json!({}));

    let patch = json!({"hnsw_config": {"m": 4}, "metadata": {"more": 1}});
    assert_eq!(result(ask("PATCH", DOCS, patch).await), true);
    let config = result(ask("GET", DOCS, Value::Null).await)["config"].clone();
    assert_eq!(config["metadata"], json!({"made": "here", "more": 1}));
    assert_eq!(config["hnsw_config"]["m"], 4);
    assert_eq!(result(ask("DELETE", DOCS, Value::Null).await), true);
    assert_eq!(result(ask("DELETE", DOCS, Value::Null).await), false);
    let missing = ask("GET", DOCS, Value::Null).await.refused(404, "memory.no_collection");
    assert!(missing.text().contains("Collection `docs` doesn't exist!"), "{}", missing.text());
}

#[tokio::test]
async fn points_are_put_changed_looked_up_and_removed() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    filled(&rig, &token).await;
    let ask = async |method: &str, path: &str, body: Value| {
        result(rig.ask(&token, method, &format!("{DOCS}{path}"), body).await)
    };
    let one = ask("GET", "/points/1", Value::Null).await;
    assert_eq!(one["payload"]["page_content"], "the first", "{one}");
    assert_eq!(one["vector"][""], json!([3.0, 0.0]));
    assert_eq!(one["vector"]["words"], json!({"indices": [1], "values": [1.0]}));
    let uuid = "00000000-0000-0000-0000-0000000000ff";
    let one = ask("GET", &format!("/points/{}", uuid.replace('-', "")), Value::Null).await;
    assert_eq!((&one["id"], &one["vector"]), (&json!(uuid), &json!([1.0, 1.0])));
    let some = json!({"ids": [2, 9, 1], "with_payload": ["n"], "with_vector": false});
    let some = ask("POST", "/points", some).await;
    assert_eq!(some, json!([{"id": 2, "payload": {"n": 2}}, {"id": 1, "payload": {"n": 1}}]));

    let seq = |updated: Value| updated["operation_id"].as_u64().unwrap();
    let payload =
        async |id: u64| ask("GET", &format!("/points/{id}"), Value::Null).await["payload"].clone();
    let first =
        seq(ask("POST", "/points/payload", json!({"payload": {"x": 1}, "points": [2]})).await);
    assert_eq!(payload(2).await, json!({"topic": "b", "n": 2, "x": 1}));
    let then = seq(ask(
        "POST",
        "/points/payload/delete",
        json!({"keys": ["n", "x"], "points": [2]}),
    )
    .await);
    assert!(then > first, "{then} after {first}");
    assert_eq!(payload(2).await, json!({"topic": "b"}));
    ask("PUT", "/points/payload", json!({"payload": {"y": 2}, "points": [2]})).await;
    assert_eq!(payload(2).await, json!({"y": 2}));
    ask("POST", "/points/payload/clear", json!({"points": [2]})).await;
    assert_eq!(payload(2).await, json!({}));
    ask("PUT", "/points/vectors", json!({"points": [{"id": 2, "vector": [9.0, 9.0]}]})).await;
    assert_eq!(ask("GET", "/points/2", Value::Null).await["vector"], json!([9.0, 9.0]));
    ask("POST", "/points/vectors/delete", json!({"vector": ["words"], "points": [1]})).await;
    assert_eq!(ask("GET", "/points/1", Value::Null).await["vector"], json!([3.0, 0.0]));

    let operations = json!({"operations": [
        {"set_payload": {"payload": {"z": 1}, "points": [1, 2]}},
        {"delete": {"points": [1]}},
    ]});
    let both = ask("POST", "/points/batch?wait=false", operations).await;
    let told: Vec<_> = both.as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(told, ["acknowledged", "acknowledged"]);
    assert_eq!(payload(2).await, json!({"z": 1}));
    let missing = rig.ask(&token, "GET", &format!("{DOCS}/points/1"), Value::Null).await;
    missing.refused(404, "memory.no_point");
    let filter = json!({"filter": {"must": [{"key": "topic", "match": {"value": "a"}}]}});
    ask("POST", "/points/delete", filter).await;
    assert_eq!(ask("POST", "/points/count", json!({"exact": true})).await["count"], 1);
}

#[tokio::test]
async fn points_are_found_in_every_way() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    filled(&rig, &token).await;
    let ask = async |path: &str, body: Value| {
        result(rig.ask(&token, "POST", &format!("{DOCS}{path}"), body).await)
    };
    let ids = |points: &Value| {
        points.as_array().unwrap().iter().map(|p| p["id"].clone()).collect::<Vec<_>>()
    };
    let uuid = json!("00000000-0000-0000-0000-0000000000ff");
    let near = json!({"query": [1.0, 0.0], "limit": 2, "with_payload": ["n"]});
    let found = ask("/points/query", near.clone()).await;
    assert_eq!(ids(&found["points"]), [json!(1), json!(2)]);
    let first = &found["points"][0];
    assert_eq!((&first["score"], &first["payload"]), (&json!(3.0), &json!({"n": 1})));
    assert!(first["version"].is_u64() && first.get("vector").is_none(), "{first}");
    let both = json!({"searches": [near, {"query": [0.0, 1.0], "limit": 1, "with_vector": true}]});
    let both = ask("/points/query/batch", both).await;
    assert_eq!(ids(&both[0]["points"]), [json!(1), json!(2)]);
    assert_eq!(
        (&both[1]["points"][0]["id"], &both[1]["points"][0]["vector"]),
        (&uuid, &json!([1.0, 1.0]))
    );
    let hybrid = json!({"prefetch": [{"query": [1.0, 0.0], "limit": 3},
        {"query": {"indices": [1], "values": [1.0]}, "using": "words", "limit": 3}],
        "query": {"fusion": "rrf"}, "limit": 1});
    assert_eq!(ids(&ask("/points/query", hybrid).await["points"]), [json!(1)]);
    let groups = json!({"query": [1.0, 0.0], "group_by": "topic", "group_size": 1, "limit": 5});
    let groups = ask("/points/query/groups", groups).await;
    let told: Vec<_> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (group["id"].clone(), group["hits"][0]["id"].clone()))
        .collect();
    assert_eq!(told, [(json!("a"), json!(1)), (json!("b"), json!(2))]);
    let page = ask("/points/scroll", json!({"limit": 2, "with_payload": false})).await;
    assert_eq!(
        (ids(&page["points"]), &page["next_page_offset"]),
        (vec![json!(1), json!(2)], &uuid)
    );
    let rest = ask("/points/scroll", json!({"limit": 2, "offset": uuid})).await;
    assert_eq!((ids(&rest["points"]), &rest["next_page_offset"]), (vec![uuid], &Value::Null));
    let only = json!({"filter": {"must": [{"key": "topic", "match": {"value": "a"}}]}});
    assert_eq!(ask("/points/count", only).await, json!({"count": 2}));
    let facet = ask("/facet", json!({"key": "topic"})).await;
    assert_eq!(facet, json!({"hits": [{"value": "a", "count": 2}, {"value": "b", "count": 1}]}));
}

/// Whatever refuses, a client of Qdrant can read why.
#[tokio::test]
async fn every_refusal_is_in_qdrants_shape() {
    let rig = Rig::with(|settings| {
        settings.limits.body_bytes = 4_096;
        settings.memory.results = 50;
        settings.memory.batch = 2;
        settings.memory.dimensions = 8;
    })
    .await;
    let token = rig.token("acme", "live", ALL).await;
    let narrow = rig.token("acme", "live", "memory:read").await;
    rig.collection(&token, "docs").await;
    let at = |path: &str| format!("{DOCS}{path}");
    let big = json!({"limit": 1, "filter": {"must": [{"key": "n", "match": {"value": "x".repeat(5_000)}}]}});
    let points: Vec<_> = (0..3).map(|id| json!({"id": id, "vector": [1.0, 1.0]})).collect();
    let near = |more: Value| {
        let mut body = json!({"query": [1.0, 0.0]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (token, method, path, body, status, code) in [
        ("", "GET", at(""), Value::Null, 401, "scope.missing"),
        ("nonsense", "GET", at(""), Value::Null, 401, "scope.malformed"),
        (&narrow, "DELETE", at(""), Value::Null, 403, "scope.grant"),
        (&narrow, "PUT", at("/points"), json!({"points": []}), 403, "scope.grant"),
        (&token, "GET", "/qdrant/nothing/here".into(), Value::Null, 404, "not_found"),
        (&token, "GET", "/qdrant/aliases".into(), Value::Null, 400, "memory.unsupported"),
        (
            &token,
            "POST",
            "/qdrant/collections/aliases".into(),
            json!({}),
            400,
            "memory.unsupported",
        ),
        (&token, "POST", at("/points/search"), json!({}), 400, "memory.unsupported"),
        (&token, "POST", at("/points/recommend"), json!({}), 400, "memory.unsupported"),
        (&token, "POST", at("/points/search/matrix/pairs"), json!({}), 400, "memory.unsupported"),
        (&token, "PUT", at("/shards"), json!({}), 400, "memory.unsupported"),
        (&token, "POST", at("/snapshots"), json!({}), 400, "memory.unsupported"),
        (&token, "GET", "/qdrant/cluster".into(), Value::Null, 400, "memory.unsupported"),
        (&token, "POST", at(""), json!({}), 405, "request.method"),
        (&token, "GET", at("/points/query"), Value::Null, 405, "request.method"),
        (&token, "PUT", at("/points/scroll"), json!({}), 405, "request.method"),
        (&token, "POST", at("/points/scroll"), big, 413, "request.too_large"),
        (&token, "PUT", at("/points"), json!({"points": points}), 413, "request.too_large"),
        (&token, "POST", at("/points/query"), near(json!({"limit": 51})), 413, "request.too_large"),
        (
            &token,
            "POST",
            at("/points/query"),
            near(json!({"lookup_from": {}})),
            400,
            "memory.unsupported",
        ),
        (
            &token,
            "POST",
            at("/points/query"),
            near(json!({"tenant": "x"})),
            400,
            "request.malformed",
        ),
        (&token, "POST", at("/points/scroll"), json!([]), 400, "request.malformed"),
        (
            &token,
            "POST",
            at("/points/query"),
            json!({"query": [1.0, 0.0, 0.0]}),
            400,
            "request.malformed",
        ),
        (&token, "POST", at("/facet"), json!({"key": "page_content"}), 400, "memory.content_field"),
        (
            &token,
            "PUT",
            at("2"),
            json!({"vectors": {"size": 9, "distance": "Dot"}}),
            413,
            "request.too_large",
        ),
        (&token, "GET", "/qdrant/collections/a%2Fb".into(), Value::Null, 400, "request.malformed"),
        (
            &token,
            "POST",
            "/qdrant/collections/none/points/count".into(),
            json!({}),
            404,
            "memory.no_collection",
        ),
        (&token, "POST", at("/points/count?consistency=2"), json!({}), 400, "request.malformed"),
        (&token, "POST", at("/points/count?wait=true"), json!({}), 400, "request.malformed"),
        (&token, "POST", at("/points/count?timeout=0"), json!({}), 400, "request.malformed"),
        (
            &token,
            "PUT",
            at("/points?ordering=loose"),
            json!({"points": []}),
            400,
            "request.malformed",
        ),
        (&token, "PUT", at("/points?wait=maybe"), json!({"points": []}), 400, "request.malformed"),
        (&token, "GET", at("?verbose=1"), Value::Null, 400, "request.malformed"),
        (&token, "POST", at("/points/count?tenant_id=globex"), json!({}), 403, "scope.mismatch"),
    ] {
        let reply = match token {
            "" => rig.send(Plane::Data, method.parse().unwrap(), &path, &[], "").await,
            token => rig.ask(token, method, &path, body).await,
        };
        let reply = reply.refused(status, code);
        let json = reply.json();
        assert!(json["status"]["error"].as_str().is_some_and(|told| !told.is_empty()), "{path}");
        assert_eq!((&json["result"], json["time"].is_f64()), (&Value::Null, true), "{path} {json}");
        assert_eq!(reply.header("content-type"), "application/json", "{path}");
        assert_eq!(reply.header("cache-control"), "no-store", "{path}");
    }
    for allowed in
        ["consistency=1", "consistency=majority", "consistency=quorum&timeout=5", "consistency=all"]
    {
        rig.ask(&token, "POST", &at(&format!("/points/count?{allowed}")), json!({})).await.good();
    }
    for allowed in ["ordering=weak", "ordering=medium&wait=true", "ordering=strong&timeout=5"] {
        let body = json!({"points": [{"id": 1, "vector": [1.0, 1.0]}]});
        rig.ask(&token, "PUT", &at(&format!("/points?{allowed}")), body).await.good();
    }
}

/// Who answers, and that nobody does without a credential.
#[tokio::test]
async fn the_root_says_who_it_is_to_whoever_may_read() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", "memory:read").await;
    for path in ["/qdrant", "/qdrant/"] {
        let told = rig.get(&token, path).await.good().json();
        assert_eq!(told["version"], "1.20.0");
        assert!(told["title"].as_str().unwrap().contains("Bulkhead"));
        let header = [("api-key", token.as_str())];
        rig.send(Plane::Data, Method::GET, path, &header, "").await.good();
        rig.send(Plane::Data, Method::GET, path, &[], "").await.refused(401, "scope.missing");
    }
    let other = rig.token("acme", "live", "memory:write").await;
    rig.get(&other, "/qdrant").await.refused(403, "scope.grant");
}

/// A hop like every other: a policy can forbid one collection.
#[tokio::test]
async fn policies_know_collections() {
    let rig = Rig::with(|settings| {
        let path = settings.storage.keys.with_file_name("policies.cedar");
        let text = r#"permit (principal, action, resource);
            forbid (principal, action in Bulkhead::Action::"memory", resource == Bulkhead::Collection::"hidden");
            forbid (principal, action == Bulkhead::Action::"memory:write", resource is Bulkhead::Collection)
            when { resource.name == "docs" && principal.environment == "live" };"#;
        std::fs::write(&path, text).unwrap();
        settings.policy.file = Some(path);
    })
    .await;
    let token = rig.token("acme", "live", ALL).await;
    rig.collection(&token, "docs").await;
    rig.get(&token, "/qdrant/collections/hidden/exists").await.refused(403, "policy.denied");
    rig.point(&token, "docs", json!(1), json!({})).await.refused(403, "policy.denied");
    let staging = rig.token("acme", "staging", ALL).await;
    rig.collection(&staging, "docs").await;
    rig.point(&staging, "docs", json!(1), json!({})).await.good();
    let denied = rig.audit("acme", "live").await;
    let told: Vec<_> = denied
        .iter()
        .filter(|entry| entry["action"] == "hop.denied")
        .map(|entry| (entry["target"].clone(), entry["detail"]["hop"].clone()))
        .collect();
    assert_eq!(
        told,
        [(json!("hidden"), json!("memory:read")), (json!("docs"), json!("memory:write"))]
    );
}

/// What a tenant keeps is bounded, and the bound is its own.
#[tokio::test]
async fn quotas_are_each_tenants_own() {
    let rig = Rig::with(|settings| {
        settings.memory.collections = 2;
        settings.memory.points = 3;
    })
    .await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    let make = async |token: &str, name: &str| {
        let body = json!({"vectors": {"size": 2, "distance": "Dot"}});
        rig.ask(token, "PUT", &format!("/qdrant/collections/{name}"), body).await
    };
    make(&a, "one").await.good();
    make(&a, "two").await.good();
    make(&a, "three").await.refused(507, "memory.full");
    make(&b, "one").await.good();
    let put = async |token: &str, id: u64| {
        let body = json!({"points": [{"id": id, "vector": [1.0, 1.0]}]});
        rig.ask(token, "PUT", "/qdrant/collections/one/points?wait=true", body).await
    };
    for id in 0..3 {
        put(&a, id).await.good();
    }
    put(&a, 3).await.refused(507, "memory.full");
    put(&a, 2).await.good();
    put(&b, 3).await.good();
    let count = rig.ask(&a, "POST", "/qdrant/collections/one/points/count", json!({})).await;
    assert_eq!(count.good().json()["result"]["count"], 3);
}

/// An answer of many megabytes, whose head is there and whose body nobody reads.
async fn unread(rig: &Rig, token: &str) -> http::Response<hyper::body::Incoming> {
    rig.collection(token, "docs").await;
    let at = "/qdrant/collections/docs/points";
    let large = "y".repeat(200 << 10);
    for from in [0, 20] {
        let points: Vec<_> = (from..from + 20)
            .map(|id| json!({"id": id, "vector": [1.0, 1.0], "payload": {"large": large}}))
            .collect();
        let body = json!({"points": points});
        rig.ask(token, "PUT", &format!("{at}?wait=true"), body).await.good();
    }
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let body = json!({"limit": 40, "with_payload": true}).to_string().into();
    let path = format!("{at}/scroll");
    let answer = rig.open(Plane::Data, Method::POST, &path, &headers, body).await;
    assert_eq!(answer.status(), 200);
    answer
}

/// An answer that is on its way ends when the credential does.
#[tokio::test]
async fn an_answer_under_way_ends_with_its_scope() {
    let rig = Rig::start().await;
    let token = rig.token("acme", "live", ALL).await;
    let answer = unread(&rig, &token).await;
    rig.admin(Method::POST, "/admin/v1/tenants/acme/suspend", Value::Null).await.good();
    assert!(super::rig::Streaming::of(answer).cut_off().await);
}

/// Whoever does not read what was asked for has no place left, and is told when to come again.
#[tokio::test]
async fn who_asks_for_too_much_at_once_is_told_when_to_come_again() {
    let rig = Rig::with(|settings| settings.limits.hops_per_tenant = 1).await;
    let (a, b) = (rig.token("acme", "live", ALL).await, rig.token("globex", "live", ALL).await);
    let answer = unread(&rig, &a).await;
    let told = rig.get(&a, "/qdrant/collections").await.refused(429, "limit.concurrency");
    assert!(told.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(told.json()["status"]["error"].is_string(), "{}", told.text());
    rig.get(&b, "/qdrant/collections").await.good();
    drop(answer);
}
