use serde_json::{Value, json};

use super::*;
use crate::template::Template;

fn document(paths: Value) -> Value {
    json!({
        "openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": paths,
        "components": {
            "securitySchemes": {"k": {"type": "apiKey", "in": "query", "name": "Token"}},
            "parameters": {"Id": {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}},
            "schemas": {
                "Contact": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string", "nullable": true, "example": "secret"},
                    "id": {"type": "integer", "readOnly": true},
                    "friend": {"$ref": "#/components/schemas/Contact"}}},
                "Loop": {"$ref": "#/components/schemas/Loop"},
                "a/b~c": {"type": "number", "minimum": 1, "exclusiveMinimum": true}
            }
        }
    })
}

fn operation(operation: Value) -> Result<Operation, String> {
    of("/contacts/{id}", "post", operation)
}

fn of(path: &str, method: &str, mut operation: Value) -> Result<Operation, String> {
    operation["operationId"] = json!("op");
    let document = document(json!({path: {method: operation}})).to_string();
    let operation = Document::parse(document.as_bytes())?.operation("op")?;
    Template::compile(&operation.request)?;
    Ok(operation)
}

#[test]
fn an_operation_becomes_a_request_and_a_schema() {
    let operation = operation(json!({
        "summary": "Short", "description": "Long",
        "parameters": [
            {"$ref": "#/components/parameters/Id"},
            {"name": "tag", "in": "query", "description": "by tag", "schema": {"type": "array", "items": {"type": "string"}}},
            {"name": "Token", "in": "query", "required": true, "schema": {"type": "string"}},
            {"name": "Authorization", "in": "header", "required": true, "schema": {"type": "string"}},
            {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
            {"name": "session", "in": "cookie", "schema": {"type": "string"}},
        ],
        "requestBody": {"required": true, "content": {"application/json; charset=utf-8": {"schema": {"type": "object",
            "required": ["name"], "properties": {
                "name": {"type": "string", "nullable": true, "example": "secret"},
                "at": {"$ref": "#/components/schemas/a~1b~0c", "description": "when"},
                "made": {"type": "string", "readOnly": true}}}}}},
        "responses": {"404": {"description": "x"}, "200": {"description": "ok", "content": {"application/json":
            {"schema": {"$ref": "#/components/schemas/Contact"}}}}},
    }))
    .unwrap();
    assert_eq!(
        (operation.title.as_deref(), operation.description.as_deref()),
        (Some("Short"), Some("Long"))
    );
    assert_eq!(operation.request.method, "POST");
    assert_eq!(operation.request.query, BTreeMap::from([("tag".to_owned(), "/tag".to_owned())]));
    assert_eq!(operation.request.body, None);
    assert_eq!(
        value(&operation.parameters),
        json!({"type": "object", "additionalProperties": false, "required": ["id", "name"], "properties": {
            "id": {"type": "integer"},
            "tag": {"type": "array", "items": {"type": "string"}, "description": "by tag"},
            "name": {"type": ["string", "null"]},
            "at": {"type": "number", "exclusiveMinimum": 1, "description": "when"}}})
    );
    // A reference that leads to itself ends.
    let answer = operation.answer.unwrap();
    assert_eq!(answer["properties"]["friend"], json!({}));
}

#[test]
fn a_body_that_is_no_plain_object_is_one_argument() {
    for schema in [
        json!({"type": "array", "items": {}}),
        json!({"oneOf": [{"type": "object"}]}),
        json!({"type": "object", "properties": {"id": {}}}),
        json!({"type": "object"}),
    ] {
        let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        let operation = operation(json!({"requestBody": body})).unwrap();
        assert_eq!(operation.request.body.as_deref(), Some("/body"), "{schema}");
        assert_eq!(value(&operation.parameters)["required"], json!(["id", "body"]));
    }
}

#[test]
fn what_cannot_be_said_is_refused() {
    let parameter = |place: &str, more: Value| {
        let mut parameter =
            json!({"name": "p", "in": place, "required": true, "schema": {"type": "string"}});
        for (key, value) in more.as_object().unwrap() {
            parameter[key] = value.clone();
        }
        operation(json!({"parameters": [parameter]}))
    };
    assert!(parameter("query", json!({})).is_ok());
    for (place, more) in [
        ("header", json!({})),
        ("cookie", json!({})),
        ("query", json!({"style": "deepObject", "schema": {"type": "object"}})),
        ("query", json!({"explode": false, "schema": {"type": "array"}})),
        ("query", json!({"content": {"application/json": {}}})),
        ("query", json!({"schema": {"$ref": "#/components/schemas/Loop"}})),
        ("query", json!({"schema": {"$ref": "other.json#/x"}})),
        ("query", json!({"schema": {"$ref": "#/nowhere"}})),
        ("elsewhere", json!({})),
        ("query", json!({"name": "id"})),
    ] {
        assert!(parameter(place, more.clone()).is_err(), "{place} {more}");
    }
    let xml = json!({"required": true, "content": {"application/xml": {}}});
    assert!(operation(json!({"requestBody": xml})).is_err());
    assert!(of("/a/{x}{y}", "get", json!({})).is_err());
    assert!(of("/a/../b", "get", json!({})).is_err());
}

#[test]
fn a_document_is_bounded_and_read_strictly() {
    let twice = json!({"/a": {"get": {"operationId": "x"}}, "/b": {"get": {"operationId": "x"}}});
    let document = |text: String| Document::parse(text.as_bytes());
    let ambiguous = document(document_text(twice)).unwrap();
    assert_eq!(ambiguous.operations(), ["x", "x"]);
    assert!(ambiguous.operation("x").unwrap_err().contains("two operations"));
    assert!(ambiguous.operation("y").is_err());
    for bad in [
        "{}",
        "{\"openapi\":\"2.0\"}",
        "{\"openapi\":\"3.0.0\",\"openapi\":\"3.0.0\"}",
        "openapi: 3.0.0",
        "[]",
    ] {
        assert!(document(bad.to_owned()).is_err(), "{bad}");
    }
    assert!(document("{\"openapi\":\"3.1.0\"}".to_owned()).unwrap().operations().is_empty());
    assert!(document(" ".repeat(usize::try_from(LARGEST).unwrap() + 1)).is_err());
    assert!(Document::read(std::path::Path::new("/nowhere")).is_err());
}

fn document_text(paths: Value) -> String {
    document(paths).to_string()
}

#[test]
fn references_that_multiply_are_bounded() {
    let mut schemas = serde_json::Map::new();
    for level in 0..20 {
        let next = json!({"$ref": format!("#/components/schemas/s{}", level + 1)});
        schemas.insert(
            format!("s{level}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        );
    }
    schemas.insert("s20".to_owned(), json!({"type": "string"}));
    let body = json!({"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/s0"}}}});
    let mut document =
        document(json!({"/a": {"post": {"operationId": "op", "requestBody": body}}}));
    document["components"]["schemas"] = Value::Object(schemas);
    let refusal =
        Document::parse(document.to_string().as_bytes()).unwrap().operation("op").unwrap_err();
    assert!(refusal.contains("too many"), "{refusal}");
}
