//! The OpenAPI 3.1 document, from the table of routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::routes::{Need, Plane, ROUTES, Route};

/// Both planes' routes; each operation says on which listener it is.
pub(crate) fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES {
        let methods = paths.entry(route.path.replace("{*", "{")).or_default();
        // The health routes are the same on both listeners.
        methods.entry(route.method.to_ascii_lowercase()).or_insert_with(|| operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bulkhead",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The data plane, where agents come, and the control plane, where \
                            operators and services come: two listeners.",
        },
        "tags": [{"name": "data"}, {"name": "control"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "tenant": {"type": "http", "scheme": "bearer",
                    "description": "A tenant token or API key; `x-api-key` and `api-key` too."},
                "service": {"type": "http", "scheme": "bearer",
                    "description": "A service credential; HTTP Basic with the service's name too."},
                "operator": {"type": "http", "scheme": "bearer",
                    "description": "An operator's credential."},
            },
            "schemas": {"Problem": {
                "description": "RFC 9457",
                "type": "object",
                "required": ["type", "title", "status", "code"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "code": {"type": "string"},
                },
            }},
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "tags": [route.plane.name()],
        "parameters": parameters(route),
        "responses": {
            "default": {
                "description": "A refusal, with a stable code.",
                "content": {"application/problem+json":
                    {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
            "200": {"description": "As asked."},
        },
        "security": security(route.need()),
    });
    if let Some(fields) = route.body {
        let properties: Map<String, Value> =
            fields().iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        let form = route.path == "/oauth/token";
        let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        operation["requestBody"] = json!({"content": {kind: {"schema": {
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        }}}});
    }
    if route.path.starts_with("/qdrant") {
        operation["externalDocs"] = json!({
            "description": "Bodies and answers are Qdrant's.",
            "url": "https://api.qdrant.tech/api-reference",
        });
    }
    if let Need::Operator(right) = route.need() {
        operation["x-bulkhead-right"] = json!(right);
    }
    if route.plane == Plane::Data
        && let Need::Tenant(grant) = route.need()
    {
        operation["x-bulkhead-grant"] = json!(grant);
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let name = name.trim_start_matches('*');
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect()
}

fn security(need: Need) -> Value {
    match need {
        Need::Nothing => json!([]),
        Need::Tenant(_) => json!([{"tenant": []}]),
        Need::Service => json!([{"service": []}]),
        Need::Operator(_) => json!([{"operator": []}]),
        Need::Watcher => json!([{"operator": []}, {"service": []}]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_it_with_what_it_needs() {
        let document = document();
        for route in ROUTES {
            let path = route.path.replace("{*", "{");
            let operation = &document["paths"][&path][route.method.to_ascii_lowercase()];
            assert_eq!(operation["summary"], route.summary, "{route:?}");
            let open = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(open, route.need() == Need::Nothing, "{route:?}");
            assert_eq!(operation.get("requestBody").is_some(), route.body.is_some(), "{route:?}");
        }
        let body = &document["paths"]["/admin/v1/tokens"]["post"]["requestBody"];
        let properties = &body["content"]["application/json"]["schema"]["properties"];
        assert!(properties.get("ttl_seconds").is_some(), "{properties}");
    }
}
