use qdrant_edge::{PayloadFieldSchema, ScoringQuery};
use serde_json::{Value, json};

use super::{bounds, invalid, refusal, shelf::Shelf, unsupported, with};
use crate::{
    Dense, Distance, Error, Hnsw, Schema, Sparse,
    request::{PatchHnsw, field_schema, parse_create, parse_index, parse_patch},
};

fn create(body: &Value) -> Schema {
    let read = parse_create(body.to_string().as_bytes(), &bounds());
    read.unwrap_or_else(|error| panic!("{error} for {body}"))
}

#[test]
fn collections_are_read() {
    let unnamed = create(&json!({ "vectors": { "size": 3, "distance": "Cosine" } }));
    let dense = Dense { size: 3, distance: Distance::Cosine, multi: false };
    assert_eq!(unnamed.vectors, [(String::new(), dense.clone())].into());
    assert_eq!(unnamed.hnsw, Hnsw::default());
    // As LangChain and LlamaIndex say it.
    let named = create(&json!({
        "vectors": { "": { "size": 3, "distance": "Cosine" } }, "sparse_vectors": {},
    }));
    assert_eq!(named, unnamed);
    let sparse = create(&json!({ "vectors": {}, "sparse_vectors": { "langchain-sparse": {} } }));
    assert_eq!(sparse.sparse, [("langchain-sparse".into(), Sparse { idf: false })].into());
    let hybrid = json!({
        "vectors": { "text-dense": { "size": 3, "distance": "Dot" } },
        "sparse_vectors": { "text-sparse-new": { "index": {} } },
    });
    assert_eq!((create(&hybrid).vectors.len(), create(&hybrid).sparse.len()), (1, 1));
    // A vector called `size` is one.
    let size = create(&json!({ "vectors": { "size": { "size": 3, "distance": "Cosine" } } }));
    assert_eq!(size.vectors, [("size".into(), dense)].into());
    assert_eq!(create(&json!({})), Schema::default());
}

#[test]
fn every_field_of_a_collection_changes_it() {
    let base = json!({ "vectors": { "size": 3, "distance": "Dot" } });
    for field in [
        json!({ "vectors": { "size": 4, "distance": "Dot" } }),
        json!({ "vectors": { "size": 3, "distance": "Manhattan" } }),
        json!({ "vectors": { "size": 3, "distance": "Euclid" } }),
        json!({ "vectors": { "size": 3, "distance": "Dot", "multivector_config": { "comparator": "max_sim" } } }),
        json!({ "sparse_vectors": { "s": {} } }),
        json!({ "sparse_vectors": { "s": { "modifier": "idf" } } }),
        json!({ "hnsw_config": { "m": 8 } }),
        json!({ "hnsw_config": { "ef_construct": 8 } }),
        json!({ "metadata": { "a": 1 } }),
    ] {
        assert_ne!(create(&base), create(&with(&base, &field)), "{field}");
    }
    // What is so anyway may be said.
    for field in [
        json!({ "on_disk_payload": true, "shard_number": 1, "replication_factor": 1 }),
        json!({ "write_consistency_factor": 1, "sharding_method": "auto" }),
        json!({ "quantization_config": null, "optimizers_config": null, "wal_config": null }),
        json!({ "vectors": { "size": 3, "distance": "Dot", "on_disk": true, "datatype": "float32", "hnsw_config": null } }),
    ] {
        assert_eq!(create(&base), create(&with(&base, &field)), "{field}");
    }
}

#[test]
fn every_refused_field_of_a_collection_is_refused_by_name() {
    for (field, value) in [
        ("shard_number", json!(2)),
        ("sharding_method", json!("custom")),
        ("replication_factor", json!(2)),
        ("write_consistency_factor", json!(2)),
        ("on_disk_payload", json!(false)),
        ("payload", json!({})),
        ("id_tracker", json!({})),
        ("wal_config", json!({})),
        ("optimizers_config", json!({})),
        ("quantization_config", json!({})),
        ("strict_mode_config", json!({})),
    ] {
        let mut body = json!({});
        body[field] = value;
        unsupported(parse_create, &body, field);
    }
    for (field, value) in [
        ("hnsw_config", json!({ "m": 8 })),
        ("quantization_config", json!({})),
        ("on_disk", json!(false)),
        ("memory", json!("cold")),
        ("datatype", json!("uint8")),
        ("multivector_config", json!({ "comparator": "other" })),
    ] {
        let mut vectors = json!({ "size": 3, "distance": "Dot" });
        vectors[field] = value;
        unsupported(parse_create, &json!({ "vectors": vectors }), &format!("vectors.{field}"));
        let named = json!({ "vectors": { "a": vectors } });
        unsupported(parse_create, &named, &format!("vectors.*.{field}"));
    }
    for (field, value) in [
        ("full_scan_threshold", json!(1)),
        ("on_disk", json!(true)),
        ("memory", json!("cold")),
        ("datatype", json!("float16")),
    ] {
        let mut index = json!({});
        index[field] = value;
        let body = json!({ "sparse_vectors": { "a": { "index": index } } });
        unsupported(parse_create, &body, &format!("sparse_vectors.*.index.{field}"));
    }
    for (field, value) in [
        ("full_scan_threshold", json!(1)),
        ("max_indexing_threads", json!(1)),
        ("on_disk", json!(true)),
        ("memory", json!("cold")),
        ("payload_m", json!(1)),
        ("inline_storage", json!(true)),
    ] {
        let mut hnsw = json!({});
        hnsw[field] = value;
        let body = json!({ "hnsw_config": hnsw });
        unsupported(parse_create, &body, &format!("hnsw_config.{field}"));
        unsupported(parse_patch, &body, &format!("hnsw_config.{field}"));
    }
    for field in [
        "vectors",
        "params",
        "sparse_vectors",
        "optimizers_config",
        "quantization_config",
        "strict_mode_config",
    ] {
        let mut body = json!({});
        body[field] = json!({});
        unsupported(parse_patch, &body, field);
    }
}

#[test]
fn collections_that_cannot_be() {
    let dense = json!({ "size": 3, "distance": "Dot" });
    for (body, words) in [
        (json!({ "vector": {} }), "unknown field `vector`"),
        (json!({ "vectors": [] }), "vectors: expected vector params"),
        (json!({ "vectors": { "size": 0, "distance": "Dot" } }), "`size` is a number from 1 on"),
        (
            json!({ "vectors": { "size": 1.5, "distance": "Dot" } }),
            "vectors.size: expected a number",
        ),
        (json!({ "vectors": { "size": 3, "distance": "dot" } }), "`distance` is one of"),
        (json!({ "vectors": { "size": 3 } }), "missing field `distance`"),
        (json!({ "vectors": { "a": 1 } }), "vectors.*: expected an object"),
        (json!({ "sparse_vectors": { "": {} } }), "a sparse vector has a name"),
        (json!({ "sparse_vectors": { "a": { "modifier": "x" } } }), "none, idf"),
        (
            json!({ "vectors": { "a": dense }, "sparse_vectors": { "a": {} } }),
            "two vectors called `a`",
        ),
        (json!({ "hnsw_config": { "ef_construct": 3 } }), "from 4 on"),
        // Names of vectors are names of the engine's files.
        (json!({ "vectors": { "../../etc": dense } }), "a vector's name is"),
        (json!({ "sparse_vectors": { "a/b": {} } }), "a vector's name is"),
        (json!({ "vectors": { "a\u{0}": dense } }), "a vector's name is"),
        (json!({ "vectors": { "..": dense } }), "a vector's name is"),
    ] {
        invalid(parse_create, &body, words);
    }
    let large = |body: Value| {
        let error = refusal(parse_create, &body);
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    };
    large(json!({ "vectors": { "size": 4_097, "distance": "Dot" } }));
    large(json!({ "hnsw_config": { "m": 1_000_000 } }));
    large(json!({ "hnsw_config": { "ef_construct": 1_000_000 } }));
    large(json!({ "metadata": { "a": "x".repeat(300_000) } }));
    let many = (0..17).map(|at| (format!("v{at}"), dense.clone()));
    large(json!({ "vectors": many.collect::<serde_json::Map<_, _>>() }));
}

#[test]
fn patches_are_read() {
    let read = |body: Value| parse_patch(body.to_string().as_bytes(), &bounds()).unwrap();
    let patch = read(json!({ "hnsw_config": { "m": 8 }, "metadata": { "k": 2 } }));
    assert_eq!(patch.hnsw, Some(PatchHnsw { m: Some(8), ef_construct: None }));
    let hnsw = Hnsw { m: 16, ef_construct: 77 };
    assert_eq!(patch.hnsw.unwrap().of(hnsw), Hnsw { m: 8, ef_construct: 77 });
    assert_eq!(patch.metadata.unwrap()["k"], 2);
    let patch = read(json!({ "hnsw_config": { "ef_construct": 9 } }));
    assert_eq!(patch.hnsw.unwrap().of(hnsw), Hnsw { m: 16, ef_construct: 9 });
    assert!(read(json!({})).hnsw.is_none());
}

fn index(schema: &Value) -> Value {
    let body = json!({ "field_name": "a", "field_schema": schema }).to_string();
    match parse_index(body.as_bytes(), &bounds()) {
        Ok((field, schema)) => {
            assert_eq!(field, "a");
            let engine: PayloadFieldSchema = serde_json::from_value(schema.clone()).unwrap();
            drop(engine);
            schema
        }
        Err(error) => panic!("{error} for {schema}"),
    }
}

#[test]
fn indexes_are_read() {
    for kind in ["keyword", "integer", "float", "bool", "geo", "datetime", "text", "uuid"] {
        assert_eq!(index(&json!(kind)), kind);
        assert_eq!(index(&json!({ "type": kind })), kind);
        assert_eq!(index(&json!({ "type": kind, "on_disk": null, "memory": null })), kind);
        let on_disk = json!({ "type": kind, "on_disk": true });
        assert_eq!(index(&on_disk), on_disk);
        assert_eq!(field_schema(&json!(kind)), json!({ "data_type": kind }));
        assert_eq!(field_schema(&on_disk), json!({ "data_type": kind, "params": on_disk }));
    }
    let tenant = json!({ "type": "keyword", "is_tenant": true });
    assert_eq!(index(&tenant), tenant);
    assert_eq!(index(&json!({ "type": "text", "stemmer": { "type": "none" } })), "text");
    let canonical = json!({ "field_name": "\"a\".b[]", "field_schema": "keyword" }).to_string();
    assert_eq!(parse_index(canonical.as_bytes(), &bounds()).unwrap().0, "a.b[]");
}

/// Each parameter of a text index, by what is found with it and without.
#[test]
fn every_parameter_of_an_index_changes_what_is_found() {
    let found = |params: &Value, words: &Value| {
        let create = json!({ "vectors": { "size": 1, "distance": "Dot" } });
        let texts = ["Hello World", "the running foxes", "caf\u{e9} au lait", "an ox"];
        let points = texts.iter().zip(1..).map(
            |(text, id): (_, u64)| json!({ "id": id, "vector": [1.0], "payload": { "t": text } }),
        );
        let points = json!({ "points": points.collect::<Vec<_>>() });
        let index = with(&json!({ "type": "text" }), params);
        let shelf = Shelf::new(&create, &[("t", index)], &points);
        shelf.filtered(&json!({ "must": { "key": "t", "match": words } }))
    };
    for (params, words) in [
        (json!({ "lowercase": false }), json!({ "text": "hello" })),
        (json!({ "tokenizer": "prefix" }), json!({ "text": "hell" })),
        (json!({ "min_token_len": 3 }), json!({ "text": "ox" })),
        (json!({ "max_token_len": 3 }), json!({ "text": "world" })),
        (json!({ "ascii_folding": true }), json!({ "text": "cafe" })),
        (
            json!({ "stemmer": { "type": "snowball", "language": "english" } }),
            json!({ "text": "runs" }),
        ),
        (json!({ "stopwords": { "custom": ["world"] } }), json!({ "text": "world" })),
        (json!({ "stopwords": "english" }), json!({ "text": "the" })),
        (json!({ "phrase_matching": true }), json!({ "phrase": "the foxes" })),
    ] {
        let (without, with) = (found(&json!({}), &words), found(&params, &words));
        if params.get("phrase_matching").is_none() {
            assert_ne!(without, with, "{params}");
        } else {
            assert!(with.is_empty(), "no phrase");
        }
    }
    // An integer's: without `range` nothing can be ordered by it.
    let create = json!({ "vectors": { "size": 1, "distance": "Dot" } });
    let points = json!({ "points": [{ "id": 1, "vector": [1.0], "payload": { "n": 1 } }] });
    let order = json!({ "query": { "order_by": "n" } });
    let ranged = Shelf::new(&create, &[("n", json!("integer"))], &points);
    let plan = ranged.plan(&order, None).unwrap();
    assert!(matches!(plan.engine.query, Some(ScoringQuery::OrderBy(_))));
    assert_eq!(ranged.query(&order), [1]);
    let lookup = json!({ "type": "integer", "lookup": true, "range": false });
    let lookup = Shelf::new(&create, &[("n", lookup)], &points);
    lookup.plan(&order, None).unwrap_err();
    let counted = |shelf: &Shelf| crate::request::plan::check_facet("n", &shelf.collection.schema);
    counted(&lookup).unwrap();
    let range = json!({ "type": "integer", "lookup": false, "range": true });
    counted(&Shelf::new(&create, &[("n", range)], &points)).unwrap_err();
}

#[test]
fn indexes_that_cannot_be() {
    let body = |schema: Value| json!({ "field_name": "a", "field_schema": schema });
    for (schema, words) in [
        (json!("number"), "expected one of keyword"),
        (json!(null), "expected one of keyword"),
        (json!({}), "expected one of keyword"),
        (json!({ "type": "keyword", "lookup": true }), "unknown field `lookup`"),
        (json!({ "type": "keyword", "is_tenant": "yes" }), "none that there is"),
        (json!({ "type": "integer", "lookup": false, "range": false }), "cannot be both false"),
        (json!({ "type": "text", "tokenizer": "code" }), "none that there is"),
        (
            json!({ "type": "text", "stemmer": { "type": "snowball", "language": "english", "x": 1 } }),
            "unknown field `x`",
        ),
        (json!({ "type": "text", "stopwords": { "x": 1 } }), "unknown field `x`"),
    ] {
        invalid(parse_index, &body(schema), words);
    }
    for name in ["memory", "prefix", "nested", "scoring"] {
        let mut schema = json!({ "type": "text" });
        schema[name] = json!(true);
        unsupported(parse_index, &body(schema), &format!("field_schema.{name}"));
    }
    let field = |field: &str| json!({ "field_name": field, "field_schema": "keyword" });
    invalid(parse_index, &field("_bulkhead.subject"), "is reserved");
    invalid(parse_index, &field("a b"), "is no path");
    for content in ["text", "text.a", "page_content[]", "\"document\""] {
        assert!(matches!(refusal(parse_index, &field(content)), Error::Content(_)), "{content}");
    }
}
